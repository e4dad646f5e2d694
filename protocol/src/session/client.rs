//! The client's side of a session.

use std::sync::Arc;

use he_core::Seed;
use nn_merge::model::Manifest;
use rand_core::Rng;

use super::ClientOptions;
use crate::channel::{Channel, Kind, Traffic};
use crate::encrypted::{Encrypted, Mode};
use crate::error::ProtocolError;
use crate::float::FloatSession;
use crate::handshake::{Greeting, Offer, Request, Terms, ask, bundle_name, greet};
use crate::link::{LinkEstimate, Rounds, measure};
use crate::offline::construction::ClientKeys;
use crate::offline::stage::Session;
use crate::offline::{ClientBundle, stage};
use crate::online::{self, Output, Progress};
use crate::plan::{OutputMode, Plan};
use crate::report::{Report, Stage, Start};
use crate::rounds::RoundChoice;
use crate::transfers::Transfers;

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

/// Model and terms are agreed.
pub struct Ready {
    terms: Terms,
    rounds: Rounds,
    link: Option<LinkEstimate>,
    session: [u8; 32],
    transfers: Option<Transfers>,
    bundles: u64,
    /// Of the preprocessing, from the first bundle on.
    keys: Option<ClientKeys>,
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

    /// Agrees on the output, and on the server's defaults for the rest.
    ///
    /// # Errors
    /// The server's refusal: logits from a server that gives labels, say.
    pub fn agree(self, logits: bool) -> Result<Client<Ready>, ProtocolError> {
        self.agree_on(ClientOptions::new().logits(logits))
    }

    /// Goes on without preprocessing and transfers, on ciphertexts alone: see [`crate::encrypted`]. Makes keys and sends
    /// them.
    ///
    /// # Errors
    /// The server's refusal, which names the layer that is in the way.
    pub fn encrypted(self, mode: Mode) -> Result<Encrypted, ProtocolError> {
        Encrypted::open(self.channel, self.greeting, mode, &self.seed)
    }

    /// Goes on with **insecure** floating-point shares and masks of so many bits: see [`crate::float`]. Makes keys and sends
    /// them.
    ///
    /// # Errors
    /// The refusal of a server that was not started for it, or whose network is none for it.
    pub fn float(self, mask_bits: u32) -> Result<FloatSession, ProtocolError> {
        FloatSession::open(self.channel, self.greeting, mask_bits, self.seed, self.report)
    }

    /// Agrees on the session's terms.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] for options that do not exist, the server's refusal of those that it does not allow.
    pub fn agree_on(mut self, options: ClientOptions) -> Result<Client<Ready>, ProtocolError> {
        let start = Start::now(&self.channel);
        // Asking for what the server does not give is left to the server to refuse: its sentence is the better one.
        let terms = options.terms(&self.greeting.offer)?;
        ask(&mut self.channel, &Request::Agree { terms, digest: self.greeting.digest })?;
        self.channel.receive(Kind::Agreed, 0, 0)?;
        self.report.add(Stage::Setup, "handshake", "handshake", &start, &self.channel);
        let session = self.greeting.session(&terms);
        let state = Ready {
            terms,
            rounds: options.rounds,
            link: options.link,
            session,
            transfers: None,
            bundles: 0,
            keys: None,
            plan: None,
        };
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
        self.state.terms.mode
    }

    /// All that was agreed.
    pub fn terms(&self) -> Terms {
        self.state.terms
    }

    /// The link, as far as it was given or measured.
    pub fn link(&self) -> Option<LinkEstimate> {
        self.state.link
    }

    /// Measures the link anew, with at most 7 probes of at most 64 KiB each way (see [`crate::link`]); bundles prepared
    /// from now on go by it when the client's choice of rounds is [`Rounds::Auto`].
    ///
    /// # Errors
    /// What the channel did, or the server's refusal after too many probes.
    pub fn measure_link(&mut self) -> Result<LinkEstimate, ProtocolError> {
        let start = Start::now(&self.channel);
        let link = measure(&mut self.channel)?;
        self.report.add(Stage::Setup, "link", "measurement", &start, &self.channel);
        self.state.link = Some(link);
        Ok(link)
    }

    /// The choice for the next bundle.
    fn rounds(&mut self) -> Result<RoundChoice, ProtocolError> {
        Ok(match self.state.rounds {
            Rounds::Three => RoundChoice::Three,
            Rounds::One => RoundChoice::One,
            // Without the alternative there is nothing to weigh.
            Rounds::Auto if !self.greeting.offer.methods.one_round => RoundChoice::Three,
            Rounds::Auto => match self.state.link {
                Some(link) => RoundChoice::Fastest(link),
                None => RoundChoice::Fastest(self.measure_link()?),
            },
        })
    }

    /// The preprocessing stage for one bundle of `images`. The server holds one waiting bundle per session: a second
    /// call replaces one that was neither used nor kept.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] for a number of images that no plan has; else a refusal (too many images, quota), or what
    /// the channel or the peer did. The session is over then: whoever failed in base transfers or in the check of an
    /// extension must not see a second run of them.
    pub fn prepare(&mut self, images: usize, progress: Progress<'_>) -> Result<ClientBundle, ProtocolError> {
        let rounds = self.rounds()?;
        let plan = match self.state.plan.take() {
            Some(plan) if plan.images() == images && plan.rounds() == rounds => plan,
            _ => Arc::new(Plan::with_preprocessing(
                &self.greeting.manifest,
                images,
                self.state.terms.mode,
                rounds,
                self.state.terms.preprocessing,
            )?),
        };
        self.state.plan = Some(plan.clone());
        let bundle = self.prepare_planned(&plan, progress);
        if bundle.is_err() {
            self.state.transfers = None;
            self.channel.give_up();
        }
        bundle
    }

    fn prepare_planned(
        &mut self,
        plan: &Arc<Plan>,
        progress: Progress<'_>,
    ) -> Result<ClientBundle, ProtocolError> {
        let Self { channel, report, greeting, state, seed } = self;
        let (images, rounds) = (plan.images(), plan.rounds());
        if state.transfers.is_none() {
            let start = Start::now(channel);
            ask(channel, &Request::Transfers)?;
            state.transfers = Some(Transfers::set_up(channel, &state.session, &state.terms, seed, true)?);
            report.add(Stage::Setup, "base transfers", "base transfers", &start, channel);
        }
        let start = Start::now(channel);
        ask(channel, &Request::Prepare { images, rounds })?;
        channel.receive(Kind::Agreed, 0, 0)?;
        report.add(Stage::Preprocessing, "request", "request", &start, channel);
        let number = state.bundles;
        state.bundles += 1;
        let id = bundle_name(&state.session, number, images, rounds);
        let session = Session { epoch: &greeting.epoch, keys: &mut state.keys, seed };
        let seed = &seed.fork("bundle", &[number]);
        let Some(transfers) = state.transfers.as_mut() else {
            return Err(ProtocolError::Caller("base transfers are missing".into()));
        };
        let bundle = stage::client(channel, transfers, plan, session, id, seed, report, progress);
        // Prepared means that both halves are: what the server still has to do is not online time.
        let start = Start::now(channel);
        let bundle = bundle.and_then(|bundle| channel.receive(Kind::Agreed, 0, 0).map(|_| bundle));
        report.add(Stage::Preprocessing, "both halves ready", "wait", &start, channel);
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
        let output = ask(&mut self.channel, &Request::Infer { id: *bundle.id() })
            .and_then(|()| online::client(&mut self.channel, bundle, inputs, &mut self.report, progress));
        if output.is_err() {
            self.channel.give_up();
        }
        output
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
