//! The client's side of a session.

use std::sync::Arc;

use he_core::Seed;
use nn_merge::model::Manifest;
use rand_core::Rng;

use super::set_up_transfers;
use crate::channel::{Channel, Kind, Traffic};
use crate::error::ProtocolError;
use crate::handshake::{Greeting, Offer, Request, ask, derive, greet};
use crate::offline::{ClientBundle, stage};
use crate::online::{self, Output, Progress};
use crate::plan::{OutputMode, Plan};
use crate::report::{Report, Stage, Start};

/// A client in a state of its session.
pub struct Client<State> {
    channel: Channel,
    seed: Seed,
    report: Report,
    greeting: Greeting,
    state: State,
}

/// The server has introduced itself; nothing is agreed.
#[derive(Debug)]
pub struct Greeted(());

/// Output and model are agreed.
pub struct Ready {
    mode: OutputMode,
    session: [u8; 32],
    transfers: Option<stage::Transfers>,
    bundles: u64,
    /// The plan of the last bundle; most bundles of a session are alike.
    plan: Option<Arc<Plan>>,
}

impl Client<Greeted> {
    /// Greets the server. All randomness of the session comes from `seed`: [`Seed::from_os`] in earnest.
    ///
    /// # Errors
    /// See [`greet`].
    pub fn connect(mut channel: Channel, seed: Seed) -> Result<Self, ProtocolError> {
        let (start, mut report) = (Start::now(&channel), Report::default());
        let mut nonce = [0; 32];
        seed.fork("nonce", &[]).stream().fill_bytes(&mut nonce);
        let greeting = greet(&mut channel, nonce)?;
        report.add(Stage::Setup, "handshake", "handshake", &start, &channel);
        Ok(Self { channel, seed, report, greeting, state: Greeted(()) })
    }

    /// Agrees on the output.
    ///
    /// # Errors
    /// The server's refusal: logits from a server that gives labels, say.
    pub fn agree(mut self, logits: bool) -> Result<Client<Ready>, ProtocolError> {
        let start = Start::now(&self.channel);
        // Asking a labels-only server for logits is left to the server to refuse: its sentence is the better one.
        let mode = if logits {
            OutputMode::Logits { bits: self.greeting.offer.logit_bits.unwrap_or(12) }
        } else {
            OutputMode::Label
        };
        ask(&mut self.channel, &Request::Agree { mode, digest: self.greeting.digest })?;
        self.channel.receive(Kind::Agreed, 0, 0)?;
        self.report.add(Stage::Setup, "handshake", "handshake", &start, &self.channel);
        let session = self.greeting.session(mode);
        let state = Ready { mode, session, transfers: None, bundles: 0, plan: None };
        Ok(Client {
            channel: self.channel,
            seed: self.seed,
            report: self.report,
            greeting: self.greeting,
            state,
        })
    }
}

impl<State> Client<State> {
    /// The server's public manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.greeting.manifest
    }

    /// Its digest.
    pub fn digest(&self) -> &[u8; 32] {
        &self.greeting.digest
    }

    /// Names the server process and its model: prepared bundles on disk are good for this origin only.
    pub fn origin(&self) -> [u8; 32] {
        self.greeting.origin()
    }

    /// Bytes and rounds so far.
    pub fn traffic(&self) -> Traffic {
        self.channel.traffic()
    }

    /// What the server gives.
    pub fn offer(&self) -> Offer {
        self.greeting.offer
    }

    /// Costs so far.
    pub fn report(&self) -> &Report {
        &self.report
    }
}

impl Client<Ready> {
    /// The agreed output.
    pub fn mode(&self) -> OutputMode {
        self.state.mode
    }

    /// The preprocessing stage for one bundle of `images`. The server holds one waiting bundle per session: a second
    /// call replaces one that was neither used nor kept.
    ///
    /// # Errors
    /// A refusal (too many images, quota), or what the channel or the peer did.
    pub fn prepare(&mut self, images: usize, progress: Progress<'_>) -> Result<ClientBundle, ProtocolError> {
        let Self { channel, report, greeting, state, seed } = self;
        if state.transfers.is_none() {
            let start = Start::now(channel);
            ask(channel, &Request::Transfers)?;
            let field_bits = greeting.offer.field_bits;
            state.transfers = Some(set_up_transfers(channel, &state.session, field_bits, seed, true)?);
            report.add(Stage::Setup, "base transfers", "base transfers", &start, channel);
        }
        let plan = match state.plan.take() {
            Some(plan) if plan.images() == images => plan,
            _ => Arc::new(Plan::new(&greeting.manifest, images, state.mode)?),
        };
        state.plan = Some(plan.clone());
        let start = Start::now(channel);
        ask(channel, &Request::Prepare { images })?;
        channel.receive(Kind::Agreed, 0, 0)?;
        report.add(Stage::Preprocessing, "request", "request", &start, channel);
        let number = state.bundles;
        state.bundles += 1;
        let (id, seed) = (derive(&state.session, "bundle", number), seed.fork("bundle", &[number]));
        let Some(transfers) = state.transfers.as_mut() else {
            return Err(ProtocolError::Caller("base transfers are missing".into()));
        };
        let bundle = stage::client(channel, transfers, &plan, &greeting.epoch, id, &seed, report, progress);
        // Prepared means that both halves are: what the server still has to do is not online time.
        let start = Start::now(channel);
        let bundle = bundle.and_then(|bundle| channel.receive(Kind::Agreed, 0, 0).map(|_| bundle));
        report.add(Stage::Preprocessing, "both halves ready", "wait", &start, channel);
        if bundle.is_err() {
            // Whatever went wrong, these transfers are not used again.
            state.transfers = None;
        }
        bundle
    }

    /// The online stage: `inputs` are quantised integers, image after image.
    ///
    /// # Errors
    /// What the channel or the peer did; the bundle is gone either way.
    pub fn infer(
        &mut self,
        bundle: ClientBundle,
        inputs: &[i64],
        progress: Progress<'_>,
    ) -> Result<Output, ProtocolError> {
        ask(&mut self.channel, &Request::Infer { id: *bundle.id() })?;
        online::client(&mut self.channel, bundle, inputs, &mut self.report, progress)
    }

    /// Asks the server to keep its half of a bundle beyond this connection, for [`crate::store`].
    ///
    /// # Errors
    /// The server's refusal when its shelf is full.
    pub fn keep(&mut self, bundle: &ClientBundle) -> Result<(), ProtocolError> {
        ask(&mut self.channel, &Request::Keep { id: *bundle.id() })?;
        self.channel.receive(Kind::Agreed, 0, 0).map(drop)
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
