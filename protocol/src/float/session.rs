//! The messages of a session on floating-point shares, and the client's side of them; the server's is in
//! `serving`.
//!
//! | | from | frame | content |
//! |---|---|---|---|
//! | greeting | both | hello, welcome | as in every session ([`crate::handshake`]) |
//! | request | C | request | [`Request::Float`]: mask bits, the manifest's digest |
//! | terms | S | agreed | one byte per layer: its reach ([`super::plan`]); or a refusal |
//! | keys | C | keys 0, 1 | public key; rotation keys |
//! | transfers | C, S | base transfer | only where there are ReLUs: as in sessions on rings, by the server's defaults |
//! | request | C | request | [`Request::FloatPrepare`]: how many images |
//! | | S | agreed | nothing, or a refusal |
//! | masks | C | keys l | encryptions of r_l, for all l |
//! | shares | S | replies l | encryptions of c_l, for all l |
//! | factors | C | corrections l | encryptions of c_l, for all squares |
//! | products | S | replies l | encryptions of e_l, for all squares |
//! | steps | S, C | supply, extension, corrections, check | all steps of all ReLUs ([`crate::steps::prepare`]) |
//! | request | C | request | [`Request::FloatInfer`]: the bundle's number |
//! | | S | agreed | nothing, or a refusal: the bundle is claimed |
//! | input | C | input | X_1 |
//! | per square | S, C | gate l | D_l; V_l |
//! | per ReLU | S, C | gate | its steps, one after the other ([`crate::steps::run`]), numbered over all ReLUs |
//! | output | S | output | a_L |
//!
//! From the second request on it repeats, until the client says [`Request::Finish`]. The server holds one bundle per
//! session, and takes it before it answers. Every frame has the one length that the plan says; doubles are little-endian,
//! and none may be beyond the plan's bounds.

use std::sync::Arc;

use he_core::Seed;
use nn_merge::model::Manifest;
use zeroize::Zeroizing;

use super::client::{Answers, Bundle, ClientKeys};
use super::layout::Layouts;
use super::plan::Plan;
use crate::channel::{Channel, Kind};
use crate::encrypted::chain::Accepted;
use crate::encrypted::network::Shapes;
use crate::error::{PeerResult, ProtocolError};
use crate::handshake::{Greeting, Request, ask, derive};
use crate::online::Progress;
use crate::report::{Report, Stage, Start};
use crate::session::ClientOptions;
use crate::steps::prepare;
use crate::transfers::Transfers;

/// A client's session on floating-point shares: keys are with the server.
pub struct FloatSession {
    channel: Channel,
    greeting: Greeting,
    plan: Plan,
    keys: ClientKeys,
    /// For the steps of ReLUs; nothing where there are none, or where a bundle has failed.
    transfers: Option<Transfers>,
    seed: Seed,
    bundles: u64,
    report: Report,
}

impl FloatSession {
    /// Agrees on the arithmetic after a greeting, makes keys and sends them. All randomness comes from `seed`.
    ///
    /// # Errors
    /// The server's refusal; what the channel or the peer did.
    pub(crate) fn open(
        mut channel: Channel,
        greeting: Greeting,
        mask_bits: u32,
        seed: Seed,
        mut report: Report,
    ) -> Result<Self, ProtocolError> {
        let start = Start::now(&channel);
        ask(&mut channel, &Request::Float { mask_bits, digest: greeting.digest })?;
        // The server's sentence about networks that can't be is the better one, so its answer comes first.
        let most = greeting.manifest.nodes.len();
        let terms = channel.receive_up_to(Kind::Agreed, most)?;
        let layouts = Arc::new(Layouts::new(&Shapes::new(&greeting.manifest, Accepted::Activations)?)?);
        let reaches: Vec<i8> = terms.iter().map(|&byte| byte as i8).collect();
        let limit = greeting.manifest.input.limit;
        let plan = Plan::new(layouts, mask_bits, &reaches, limit).or_malformed("terms")?;
        report.add(Stage::Setup, "handshake", "handshake", &start, &channel);
        let start = Start::now(&channel);
        let keys = ClientKeys::new(plan.layouts(), seed.fork("float", &[]));
        for (at, key) in keys.public(plan.layouts()).iter().enumerate() {
            channel.send(Kind::Keys, at, key)?;
        }
        channel.flush()?;
        report.add(Stage::Setup, "keys", "keys", &start, &channel);
        let mut transfers = None;
        if plan.has_steps() {
            let start = Start::now(&channel);
            let terms = ClientOptions::new().terms(&greeting.offer)?;
            let session = transfers_name(&greeting.session(&terms), mask_bits);
            transfers = Some(Transfers::set_up(&mut channel, &session, &terms, &seed, true)?);
            report.add(Stage::Setup, "base transfers", "base transfers", &start, &channel);
        }
        Ok(Self { channel, greeting, plan, keys, transfers, seed, bundles: 0, report })
    }

    /// The server's public manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.greeting.manifest
    }

    /// Its digest.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.greeting.digest
    }

    /// The plan, which has the distances.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Most images of a bundle.
    #[must_use]
    pub fn most_images(&self) -> usize {
        self.greeting.offer.max_images.max(1)
    }

    /// Costs so far.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Everything ahead of the images. The server holds one bundle per session: a second call replaces one that was not
    /// used.
    ///
    /// # Errors
    /// A refusal (a limit, a quota, memory), or what the channel or the peer did; the session is over then.
    pub fn prepare(&mut self, images: usize, progress: Progress<'_>) -> Result<Bundle, ProtocolError> {
        let bundle = self.prepare_bundle(images, progress);
        if bundle.is_err() {
            // Whoever failed in the check of an extension must not see a second run of it.
            self.transfers = None;
            self.channel.give_up();
        }
        bundle
    }

    fn prepare_bundle(&mut self, images: usize, progress: Progress<'_>) -> Result<Bundle, ProtocolError> {
        let Self { channel, plan, keys, transfers, report, .. } = self;
        plan.check_images(images)?;
        let start = Start::now(channel);
        ask(channel, &Request::FloatPrepare { images })?;
        channel.receive(Kind::Agreed, 0, 0)?;
        report.add(Stage::Preprocessing, "request", "request", &start, channel);
        let number = self.bundles;
        self.bundles += 1;
        let seed = self.seed.fork("float: bundle", &[number]);
        let layers = plan.layers();
        let squares: Vec<usize> = (0..layers).filter(|&at| plan.is_square(at)).collect();
        let steps = plan.steps(images);
        let (mut done, all) = (0, 2 * (layers + squares.len()) + steps.len());
        let mut tell = || {
            done += 1;
            progress(done, all);
        };
        let start = Start::now(channel);
        let (masks, shares, products) = (Vec::new(), Vec::new(), vec![Zeroizing::default(); layers]);
        let mut bundle = Bundle { number, images, masks, shares, products, steps: Vec::new() };
        for at in 0..layers {
            let (masks, message) = keys.masks(plan, at, images, &seed.fork("masks", &[at as u64]))?;
            channel.send(Kind::Keys, at, &message)?;
            bundle.masks.push(masks);
            tell();
        }
        channel.flush()?;
        for at in 0..layers {
            let answer = channel.receive(Kind::Replies, at, plan.share_bytes(at, images))?;
            bundle.shares.push(keys.shares(plan, at, images, &answer)?);
            tell();
        }
        report.add(Stage::Preprocessing, "all maps", "linear", &start, channel);
        if !squares.is_empty() {
            let start = Start::now(channel);
            for &at in &squares {
                let seed = seed.fork("factors", &[at as u64]);
                let message = keys.factors(plan, &mut bundle.shares[at], &seed)?;
                channel.send(Kind::Corrections, at, &message)?;
                tell();
            }
            channel.flush()?;
            for &at in &squares {
                let answer = channel.receive(Kind::Replies, at, plan.product_bytes(at, images))?;
                bundle.products[at] = keys.products(plan, at, images, &answer)?;
                tell();
            }
            report.add(Stage::Preprocessing, "all squares", "square", &start, channel);
        }
        if !steps.is_empty() {
            let start = Start::now(channel);
            let transfers = transfers.as_mut().ok_or_else(no_transfers)?;
            let mut rng = seed.fork("operands", &[]).stream();
            let mut operands = Vec::with_capacity(steps.len());
            for at in 0..layers {
                let Some(activation) = plan.activation(at) else { continue };
                // Its steps have taken it in: nothing else needs it.
                let shares = std::mem::take(&mut bundle.shares[at]);
                operands.extend(activation.client(images, &shares, &bundle.masks[at + 1], &mut rng)?);
            }
            let seed = seed.fork("steps", &[]);
            let done = &mut |_, _, _| tell();
            bundle.steps = prepare::client(channel, transfers, &steps, &operands, &seed, done)?;
            report.add(Stage::Preprocessing, "all ReLUs", "ReLU", &start, channel);
        }
        Ok(bundle)
    }

    /// Classifies images, network inputs channel by channel, as many as the bundle was made for.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] for other images than the bundle's plan takes; what the channel or the peer did. The bundle
    /// is gone either way.
    pub fn infer(&mut self, bundle: Bundle, images: &[Vec<f64>]) -> Result<Answers, ProtocolError> {
        let answers = self.run(bundle, images);
        if answers.is_err() {
            self.channel.give_up();
        }
        answers
    }

    fn run(&mut self, mut bundle: Bundle, images: &[Vec<f64>]) -> Result<Answers, ProtocolError> {
        let Self { channel, plan, report, .. } = self;
        let masked = bundle.masked(plan, images)?;
        let start = Start::now(channel);
        ask(channel, &Request::FloatInfer { bundle: bundle.number })?;
        // Nothing masked leaves before the server has said that its half is claimed.
        channel.receive(Kind::Agreed, 0, 0)?;
        channel.send(Kind::Input, 0, &bytes(&masked))?;
        channel.flush()?;
        report.add(Stage::Online, "input", "input", &start, channel);
        let mut steps = std::mem::take(&mut bundle.steps).into_iter().enumerate();
        for at in 0..plan.layers() {
            if let Some(activation) = plan.activation(at) {
                activation.answer(channel, &mut steps, (at + 1, &mut *report))?;
            } else if plan.is_square(at) {
                let start = Start::now(channel);
                let opened = numbers(&channel.receive(Kind::Gate, at, 8 * bundle.shares[at].len())?);
                let back = bundle.back(plan, at, &opened)?;
                channel.send(Kind::Gate, at, &bytes(&back))?;
                channel.flush()?;
                report.add(Stage::Online, &name("square", at), "square", &start, channel);
            }
        }
        let start = Start::now(channel);
        let length = 8 * bundle.images * plan.geometry(plan.layers() - 1).output_len();
        let last = numbers(&channel.receive(Kind::Output, 0, length)?);
        let answers = bundle.answers(plan, &last, self.greeting.manifest.output.scale);
        report.add(Stage::Online, "output", "output", &start, channel);
        answers
    }

    /// Says goodbye and gives the costs.
    ///
    /// # Errors
    /// What the channel did.
    pub fn finish(mut self) -> Result<Report, ProtocolError> {
        ask(&mut self.channel, &Request::Finish)?;
        self.channel.flush()?;
        Ok(self.report)
    }
}

/// What both parties derive their transfers from, apart from those of any session on rings.
pub(crate) fn transfers_name(session: &[u8; 32], mask_bits: u32) -> [u8; 32] {
    derive(session, "floating-point shares", u64::from(mask_bits))
}

/// ReLUs have transfers from the session's beginning to its first failure.
pub(super) fn no_transfers() -> ProtocolError {
    ProtocolError::Caller("the transfers of this session are gone".into())
}

pub(super) fn name(what: &str, at: usize) -> String {
    format!("{what} {}", at + 1)
}

pub(super) fn bytes(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

pub(super) fn numbers(bytes: &[u8]) -> Zeroizing<Vec<f64>> {
    let number = |bytes: &[u8]| bytes.first_chunk().copied().map_or(f64::NAN, f64::from_le_bytes);
    Zeroizing::new(bytes.chunks_exact(8).map(number).collect())
}
