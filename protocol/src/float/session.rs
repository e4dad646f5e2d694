//! The messages of a session on floating-point shares.
//!
//! | | from | frame | content |
//! |---|---|---|---|
//! | greeting | both | hello, welcome | as in every session ([`crate::handshake`]) |
//! | request | C | request | [`Request::Float`]: mask bits, the manifest's digest |
//! | terms | S | agreed | one byte per layer: its reach ([`super::plan`]); or a refusal |
//! | keys | C | keys 0, 1 | public key; rotation keys |
//! | request | C | request | [`Request::FloatPrepare`]: how many images |
//! | | S | agreed | nothing, or a refusal |
//! | masks | C | keys l | encryptions of r_l, for all l |
//! | shares | S | replies l | encryptions of c_l, for all l |
//! | factors | C | corrections l | encryptions of c_l, for all squares |
//! | products | S | replies l | encryptions of e_l, for all squares |
//! | request | C | request | [`Request::FloatInfer`]: the bundle's number |
//! | | S | agreed | nothing, or a refusal: the bundle is claimed |
//! | input | C | input | X_1 |
//! | per square | S, C | gate l | D_l; V_l |
//! | output | S | output | a_L |
//!
//! From the second request on it repeats, until the client says [`Request::Finish`]. The server holds one bundle per
//! session, and takes it before it answers. Every frame has the one length that the plan says; doubles are little-endian,
//! and none may be beyond the plan's bounds.

use std::sync::Arc;

use he_core::Seed;
use nn_merge::model::Manifest;

use super::client::{Answers, Bundle, ClientKeys, within};
use super::layout::Layouts;
use super::masks::rounded;
use super::plan::Plan;
use super::server::{Ready, ServerBundle, ServerKeys, opened, squared};
use crate::channel::{Channel, Kind};
use crate::encrypted::network::Shapes;
use crate::error::{PeerResult, ProtocolError};
use crate::handshake::{Greeting, Request, ask};
use crate::online::Progress;
use crate::report::{Report, Stage, Start};

/// A client's session on floating-point shares: keys are with the server.
pub struct FloatSession {
    channel: Channel,
    greeting: Greeting,
    plan: Plan,
    keys: ClientKeys,
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
        let layouts = Arc::new(Layouts::new(&Shapes::new(&greeting.manifest)?)?);
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
        Ok(Self { channel, greeting, plan, keys, seed, bundles: 0, report })
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
            self.channel.give_up();
        }
        bundle
    }

    fn prepare_bundle(&mut self, images: usize, progress: Progress<'_>) -> Result<Bundle, ProtocolError> {
        let Self { channel, plan, keys, report, .. } = self;
        let start = Start::now(channel);
        ask(channel, &Request::FloatPrepare { images })?;
        channel.receive(Kind::Agreed, 0, 0)?;
        report.add(Stage::Preprocessing, "request", "request", &start, channel);
        let number = self.bundles;
        self.bundles += 1;
        let seed = self.seed.fork("float: bundle", &[number]);
        let (layers, squares) = (plan.layers(), plan.squares());
        let steps = 2 * (layers + squares);
        let start = Start::now(channel);
        let mut bundle =
            Bundle { number, images, masks: Vec::new(), shares: Vec::new(), products: Vec::new() };
        for at in 0..layers {
            let (masks, message) = keys.masks(plan, at, images, &seed.fork("masks", &[at as u64]))?;
            channel.send(Kind::Keys, at, &message)?;
            bundle.masks.push(masks);
            progress(at + 1, steps);
        }
        channel.flush()?;
        for at in 0..layers {
            let answer = channel.receive(Kind::Replies, at, plan.share_bytes(at, images))?;
            bundle.shares.push(keys.shares(plan, at, images, &answer)?);
            progress(layers + at + 1, steps);
        }
        report.add(Stage::Preprocessing, "all maps", "linear", &start, channel);
        let start = Start::now(channel);
        for (at, shares) in bundle.shares.iter_mut().take(squares).enumerate() {
            let message = keys.factors(plan, shares, &seed.fork("factors", &[at as u64]))?;
            channel.send(Kind::Corrections, at, &message)?;
            progress(2 * layers + at + 1, steps);
        }
        channel.flush()?;
        for at in 0..squares {
            let answer = channel.receive(Kind::Replies, at, plan.product_bytes(at, images))?;
            bundle.products.push(keys.products(plan, at, images, &answer)?);
            progress(2 * layers + squares + at + 1, steps);
        }
        report.add(Stage::Preprocessing, "all squares", "square", &start, channel);
        Ok(bundle)
    }

    /// Classifies images, network inputs channel by channel, as many as the bundle was made for.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] for other images than the bundle's plan takes; what the channel or the peer did. The bundle
    /// is gone either way.
    #[expect(clippy::needless_pass_by_value, reason = "a bundle is used once")]
    pub fn infer(&mut self, bundle: Bundle, images: &[Vec<f64>]) -> Result<Answers, ProtocolError> {
        let answers = self.run(&bundle, images);
        if answers.is_err() {
            self.channel.give_up();
        }
        answers
    }

    fn run(&mut self, bundle: &Bundle, images: &[Vec<f64>]) -> Result<Answers, ProtocolError> {
        let Self { channel, plan, report, .. } = self;
        let masked = bundle.masked(plan, images)?;
        let start = Start::now(channel);
        ask(channel, &Request::FloatInfer { bundle: bundle.number })?;
        // Nothing masked leaves before the server has said that its half is claimed.
        channel.receive(Kind::Agreed, 0, 0)?;
        channel.send(Kind::Input, 0, &bytes(&masked))?;
        channel.flush()?;
        report.add(Stage::Online, "input", "input", &start, channel);
        for at in 0..plan.squares() {
            let start = Start::now(channel);
            let opened = numbers(&channel.receive(Kind::Gate, at, 8 * bundle.shares[at].len())?);
            let back = bundle.back(plan, at, &opened)?;
            channel.send(Kind::Gate, at, &bytes(&back))?;
            channel.flush()?;
            report.add(Stage::Online, &name("square", at), "square", &start, channel);
        }
        let start = Start::now(channel);
        let last = numbers(&channel.receive(Kind::Output, 0, 8 * bundle.shares[plan.squares()].len())?);
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

/// Server: terms and keys of a session.
pub(crate) fn receive_keys(channel: &mut Channel, ready: &Ready) -> Result<ServerKeys, ProtocolError> {
    let terms: Vec<u8> = ready.reaches().iter().map(|&reach| reach as u8).collect();
    channel.send(Kind::Agreed, 0, &terms)?;
    channel.flush()?;
    let [public, galois] = ready.layouts().key_bytes();
    let public = channel.receive(Kind::Keys, 0, public)?;
    let galois = channel.receive(Kind::Keys, 1, galois)?;
    ServerKeys::read(ready.layouts(), &public, &galois)
}

/// Server: a bundle, after its request was granted.
pub(crate) fn prepare(
    channel: &mut Channel,
    ready: &Ready,
    plan: &Plan,
    keys: &ServerKeys,
    images: usize,
    seed: &Seed,
    report: &mut Report,
) -> Result<ServerBundle, ProtocolError> {
    let (layers, squares) = (plan.layers(), plan.squares());
    let mut bundle = ServerBundle { images, shares: Vec::new(), factors: Vec::new() };
    let start = Start::now(channel);
    // All of it is read before the first answer: two parties that both write would wait for each other.
    let receive = |channel: &mut Channel, kind, count, length: &dyn Fn(usize) -> usize| {
        (0..count).map(|at| channel.receive(kind, at, length(at))).collect::<Result<Vec<_>, _>>()
    };
    let messages = receive(channel, Kind::Keys, layers, &|at| plan.mask_bytes(at, images))?;
    for (at, message) in messages.iter().enumerate() {
        let seed = seed.fork("shares", &[at as u64]);
        let (answer, own) = ready.shares(plan, at, images, keys, message, &seed)?;
        channel.send(Kind::Replies, at, &answer)?;
        bundle.shares.push(own);
    }
    channel.flush()?;
    report.add(Stage::Preprocessing, "all maps", "linear", &start, channel);
    let start = Start::now(channel);
    let messages = receive(channel, Kind::Corrections, squares, &|at| plan.factor_bytes(at, images))?;
    for (at, message) in messages.iter().enumerate() {
        let seed = seed.fork("products", &[at as u64]);
        let (answer, factors) = ready.products(plan, at, images, keys, message, &seed)?;
        channel.send(Kind::Replies, at, &answer)?;
        bundle.factors.push(factors);
    }
    channel.flush()?;
    report.add(Stage::Preprocessing, "all squares", "square", &start, channel);
    Ok(bundle)
}

/// Server: runs its half of a bundle.
#[expect(clippy::needless_pass_by_value, reason = "a bundle is used once")]
pub(crate) fn run(
    channel: &mut Channel,
    ready: &Ready,
    plan: &Plan,
    bundle: ServerBundle,
    report: &mut Report,
) -> Result<(), ProtocolError> {
    let images = bundle.images;
    let start = Start::now(channel);
    channel.send(Kind::Agreed, 0, &[])?;
    let mut x = numbers(&channel.receive(Kind::Input, 0, 8 * images * plan.geometry(0).input_len())?);
    within(&x, f64::from(plan.magnitudes(0).input_mask).exp2() + plan.limit() + 1.0, "masked input")?;
    report.add(Stage::Online, "input", "input", &start, channel);
    for (at, own) in bundle.shares.iter().enumerate() {
        let start = Start::now(channel);
        let a = ready.linear(at, images, &x, own);
        report.add(Stage::Online, &name("map", at), "linear", &start, channel);
        let start = Start::now(channel);
        let Some(factors) = bundle.factors.get(at) else {
            // Low bits of a double would show those of W X.
            let grid = plan.magnitudes(at).opened_grid;
            let last: Vec<f64> = a.iter().map(|&a| rounded(a, grid)).collect();
            channel.send(Kind::Output, 0, &bytes(&last))?;
            channel.flush()?;
            report.add(Stage::Online, "output", "output", &start, channel);
            break;
        };
        let opened = opened(plan, at, &a, &factors.own);
        channel.send(Kind::Gate, at, &bytes(&opened))?;
        let back = numbers(&channel.receive(Kind::Gate, at, 8 * opened.len())?);
        within(&back, plan.magnitudes(at).back, "products")?;
        x = squared(&back, &opened, factors);
        report.add(Stage::Online, &name("square", at), "square", &start, channel);
    }
    Ok(())
}

fn name(what: &str, at: usize) -> String {
    format!("{what} {}", at + 1)
}

fn bytes(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn numbers(bytes: &[u8]) -> zeroize::Zeroizing<Vec<f64>> {
    let number = |bytes: &[u8]| bytes.first_chunk().copied().map_or(f64::NAN, f64::from_le_bytes);
    zeroize::Zeroizing::new(bytes.chunks_exact(8).map(number).collect())
}
