//! The server's side: a model made ready once, then any number of sessions.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use conv_fast::PreparedConv;
use he_core::split::Epoch;
use he_core::{Params, Profile, Seed};
use nn_merge::model::Model;
use rand_core::Rng;

use crate::channel::{Channel, Kind};
use crate::encrypted::session::Ready;
use crate::error::{ProtocolError, Refusal, RefusalCode};
use crate::float::{self, Arithmetic};
use crate::handshake::{Methods, Offer, Request, Terms, bundle_name, next_request, session, welcome};
use crate::link;
use crate::offline::construction::{Material, ServerKeys, bfv, ckks};
use crate::offline::{BundleId, ServerBundle, stage};
use crate::online::{self, NodeNumbers};
use crate::plan::{LinearPlan, OutputMode, Plan};
use crate::report::{Report, Stage, Start};
use crate::rounds::RoundChoice;
use crate::transfers::Transfers;

use super::limits::Place;
use super::material::Materials;

/// What a server gives, and how much.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Shown to every client.
    pub offer: Offer,
    /// Images that one client (one address) may ask for while the server runs; aborted ones count.
    pub quota: u64,
    /// Images of bundles being prepared or waiting in sessions, over all clients.
    pub preparing: usize,
    /// Images of kept bundles in memory, over all clients.
    pub shelf: usize,
    /// Bytes of prepared bundles in memory over all clients, and as many again of kept ones. One-round bundles take some
    /// ten times the memory of others. Of ciphertexts alone: keys, what is being computed, and the prepared weights.
    pub memory: usize,
    /// How long a client may stay silent between requests.
    pub idle: Duration,
    /// Whether clients may ask for inference on ciphertexts alone. It gives them logits, whatever the offer says
    /// ([`crate::encrypted`]), so it is off unless asked for.
    pub encrypted: bool,
    /// What the server computes on. [`Arithmetic::Float`] is **insecure**, gives clients logits whatever the offer says, and
    /// goes with nothing else ([`crate::float`]).
    pub arithmetic: Arithmetic,
}

impl Default for Policy {
    /// The best label only, bundles of up to 64 images, 256 images in preparation and 256 kept, 4 GiB of either,
    /// five minutes of silence, nothing on ciphertexts alone, rings.
    fn default() -> Self {
        Self {
            offer: Offer {
                logit_bits: None,
                labels: 1,
                max_images: 64,
                field_bits: 8,
                methods: Methods::default(),
            },
            quota: u64::MAX,
            preparing: 256,
            shelf: 256,
            memory: 4 << 30,
            idle: Duration::from_secs(300),
            encrypted: false,
            arithmetic: Arithmetic::Ring,
        }
    }
}

/// A model ready to be served. Shared by all sessions.
pub struct Server {
    model: Model,
    manifest: Vec<u8>,
    digest: [u8; 32],
    params: Params,
    epoch: Epoch,
    pub(super) policy: Policy,
    /// Biases per node.
    numbers: Vec<NodeNumbers>,
    materials: Materials,
    shelf: Mutex<HashMap<BundleId, ServerBundle>>,
    /// Images asked for by each client so far.
    pub(super) asked: Mutex<HashMap<String, u64>>,
    /// Images and bytes of bundles that sessions are preparing or holding.
    pub(super) held: [AtomicUsize; 2],
    /// The model made ready for ciphertexts alone, by mode, or why it can't be.
    pub(super) encrypted: [OnceLock<Result<Ready, Refusal>>; 2],
    /// The model made ready for floating-point shares, where the policy is to compute on them.
    pub(super) float: Option<float::Ready>,
    /// Held while that is done.
    pub(super) making: Mutex<()>,
}

/// What a session did, for the server's log.
#[derive(Debug)]
pub struct Served {
    /// Costs.
    pub report: Report,
    /// Images run.
    pub images: usize,
}

impl Server {
    /// Makes a model ready: convolutions, biases, an epoch of its own, the first allowed preprocessing's weights for single
    /// images. A preprocessing that has no room for the model is not offered. The seed is
    /// consumed: two servers of one seed would share the public polynomials that their clients' masks stand on.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] for a model that can't be planned, or for logits in a profile that must not give them.
    pub fn new(model: Model, policy: Policy, seed: Seed) -> Result<Self, ProtocolError> {
        let caller = |error: &dyn std::fmt::Display| ProtocolError::Caller(error.to_string());
        let profile = model.manifest.profile;
        let roomy = matches!(profile, Profile::Wide | Profile::Exact);
        if policy.offer.logit_bits.is_some() && !roomy {
            return Err(ProtocolError::Caller(format!(
                "a model in profile `{profile}` has no room for the noise that hides its weights behind logits: \
                 serve labels, or merge it for profile `wide` or `exact`"
            )));
        }
        let mut policy = policy;
        let methods = &mut policy.offer.methods;
        let by_bfv = methods.bfv || methods.bfv_packed;
        if by_bfv && !model.nodes.iter().all(|node| bfv::has_room_for(&node.weights)) {
            tracing::warn!(
                "the model's weights are too large for the preprocessing `bfv`: it is not offered, packed or not"
            );
            (methods.bfv, methods.bfv_packed) = (false, false);
        }
        if methods.ckks && !ckks::Scheme::fits(&Params::new(profile), &model) {
            tracing::info!("the model has no room in the preprocessing `ckks`: it is not offered");
            methods.ckks = false;
        }
        if !methods.suffice() {
            return Err(ProtocolError::Caller(
                "a server has to allow one kind of transfers, one of base transfers and one preprocessing at least"
                    .into(),
            ));
        }
        let first = methods.preprocessing();
        let float = match policy.arithmetic {
            Arithmetic::Ring => None,
            Arithmetic::Float => Some(float::Ready::new(&model)?),
        };
        let params = Params::new(profile);
        let tensors = model.manifest.tensors().map_err(|error| caller(&error))?;
        let numbers = tensors
            .iter()
            .zip(&model.nodes)
            .map(|(tensor, own)| NodeNumbers::new(&params, tensor, own))
            .collect();
        let mut label = [0; 32];
        seed.fork("epoch", &[]).stream().fill_bytes(&mut label);
        let server = Self {
            manifest: model.manifest.encode().map_err(|error| caller(&error))?,
            digest: model.manifest.digest().map_err(|error| caller(&error))?,
            model,
            params,
            epoch: Epoch::new(label),
            policy,
            numbers,
            materials: Materials::default(),
            shelf: Mutex::default(),
            asked: Mutex::default(),
            held: Default::default(),
            encrypted: Default::default(),
            making: Mutex::default(),
            float,
        };
        if policy.arithmetic == Arithmetic::Float {
            return Ok(server);
        }
        let (manifest, mode, rounds) = (&server.model.manifest, OutputMode::Label, RoundChoice::Three);
        let plan = Plan::with_preprocessing(manifest, 1, mode, rounds, first)
            .map_err(|error| ProtocolError::Caller(format!("this model can't be served: {error}")))?;
        server.materials(&plan)?;
        server.convolutions(&plan)?;
        Ok(server)
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The public label behind all public polynomials.
    pub fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    /// Biases and offsets per node, in the rings of the protocol.
    pub fn numbers(&self) -> &[NodeNumbers] {
        &self.numbers
    }

    /// The biases of every linear layer of `plan`, in Z_q, limb by limb.
    pub fn biases(&self, plan: &Plan) -> Vec<&[Vec<u64>]> {
        plan.layers().iter().map(|layer| self.numbers[layer.node].residues()).collect()
    }

    /// The weights of every layer of `plan` as its preprocessing takes them, computed once per layout by whoever asks first.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] for a layer that no algorithm convolves, or that the preprocessing has no room for.
    pub fn materials(&self, plan: &Plan) -> Result<Vec<Arc<Material>>, ProtocolError> {
        let of_layer = |layer: &LinearPlan| {
            self.materials.layer(plan, &self.epoch, layer, &self.model.nodes[layer.node].weights)
        };
        plan.layers().iter().map(of_layer).collect()
    }

    /// Prepared convolutions of every layer of `plan`, one per limb, likewise.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] for a layer that no algorithm computes.
    pub fn convolutions(&self, plan: &Plan) -> Result<Vec<Arc<Vec<PreparedConv>>>, ProtocolError> {
        let of_layer =
            |layer| self.materials.convolutions(&self.params, layer, &self.model.nodes[layer.node].weights);
        plan.layers().iter().map(of_layer).collect()
    }

    /// Serves one client to its end; `who` names it for its quota. All randomness of the session comes from `seed`.
    ///
    /// # Errors
    /// Why the session ended early. Its bundles are gone, kept ones excepted.
    pub fn serve(
        &self,
        channel: &mut Channel,
        who: &str,
        message: Duration,
        seed: Seed,
    ) -> Result<Served, ProtocolError> {
        let (start, mut report) = (Start::now(channel), Report::default());
        let mut nonce = [0; 32];
        seed.fork("nonce", &[]).stream().fill_bytes(&mut nonce);
        let nonces = welcome(channel, nonce, &self.epoch, &self.manifest, self.policy.offer)?;
        let first = next_request(channel)?;
        self.check_arithmetic(channel, &first)?;
        if let Request::Float { mask_bits, digest } = first {
            let asked = (mask_bits, digest, nonces);
            return self.serve_float(channel, who, message, asked, (&seed, report, start));
        }
        if let Request::Encrypted { mode, digest } = first {
            return self.serve_encrypted(channel, who, message, (mode, digest), (&seed, report, start));
        }
        let terms = self.agree(channel, first)?;
        report.add(Stage::Setup, "handshake", "handshake", &start, channel);
        let (session, mode) = (session(&nonces, &self.digest, &self.epoch, &terms), terms.mode);

        let (mut transfers, mut own, mut plan) = (None, None::<Own<'_>>, None::<Arc<Plan>>);
        let (mut keys, mut keys_place) = (None::<ServerKeys>, None::<Place<'_>>);
        let (mut bundles, mut images_run, mut probes) = (0u64, 0, 0);
        loop {
            channel.set_patience(self.policy.idle);
            let request = next_request(channel)?;
            channel.set_patience(message);
            match request {
                Request::Agree { .. }
                | Request::Encrypted { .. }
                | Request::Evaluate { .. }
                | Request::Float { .. }
                | Request::FloatPrepare { .. }
                | Request::FloatInfer { .. } => {
                    return Err(unexpected("a second agreement"));
                }
                Request::Transfers if transfers.is_some() => return Err(unexpected("second base transfers")),
                Request::Transfers => {
                    let start = Start::now(channel);
                    transfers = Some(Transfers::set_up(channel, &session, &terms, &seed, false)?);
                    report.add(Stage::Setup, "base transfers", "base transfers", &start, channel);
                }
                Request::Probe { up, down } => {
                    let start = Start::now(channel);
                    probes += 1;
                    link::answer(channel, probes, up, down)?;
                    report.add(Stage::Setup, "link", "measurement", &start, channel);
                }
                Request::Prepare { images, rounds } => {
                    let Some(transfers) = transfers.as_mut() else {
                        return Err(unexpected("a bundle before base transfers"));
                    };
                    if let Some(reason) = self.policy.offer.methods.objection_to_rounds(&rounds) {
                        return Err(channel.refuse(Refusal { code: RefusalCode::Method, reason }));
                    }
                    self.check_quota(channel, who, images)?;
                    let current = match plan.take() {
                        Some(plan) if plan.images() == images && plan.rounds() == rounds => plan,
                        _ => match self.plan(images, &terms, rounds) {
                            Ok(plan) => Arc::new(plan),
                            Err(error) => {
                                let refusal = Refusal { code: RefusalCode::Limit, reason: error.to_string() };
                                return Err(channel.refuse(refusal));
                            }
                        },
                    };
                    // One waiting bundle per session: what a client piles up it must ask us to keep.
                    drop(own.take());
                    let place = self.reserve(channel, &current)?;
                    if keys_place.is_none() {
                        let bytes = current.scheme().server_key_bytes();
                        keys_place = Some(self.hold_or_refuse(channel, "keys of this session", bytes)?);
                    }
                    channel.send(Kind::Agreed, 0, &[])?;
                    channel.flush()?;
                    let materials = self.materials(&current)?;
                    let id = bundle_name(&session, bundles, images, rounds);
                    let seed = seed.fork("bundle", &[bundles]);
                    bundles += 1;
                    let bundle = stage::server(
                        channel,
                        transfers,
                        &current,
                        &materials,
                        &mut keys,
                        &self.biases(&current),
                        &seed,
                        &mut report,
                    )?;
                    own = Some(Own { id, bundle, _place: place });
                    plan = Some(current);
                    channel.send(Kind::Agreed, 0, &[])?;
                    channel.flush()?;
                }
                Request::Keep { id } => {
                    let Some(Own { bundle, .. }) = own.take().filter(|own| own.id == id) else {
                        return Err(self.no_bundle(channel));
                    };
                    let mut shelf = lock(&self.shelf);
                    let all = || shelf.values().chain([&bundle]).map(|bundle| bundle.plan());
                    let images: usize = all().map(|plan| plan.images()).sum();
                    let bytes: usize = all().map(|plan| plan.server_bytes()).sum();
                    if images > self.policy.shelf || bytes > self.policy.memory {
                        drop(shelf);
                        let reason = format!(
                            "this server keeps at most {} prepared images of {} MB together, and its shelf is full",
                            self.policy.shelf,
                            self.policy.memory / 1_000_000
                        );
                        return Err(channel.refuse(Refusal { code: RefusalCode::Limit, reason }));
                    }
                    shelf.insert(id, bundle);
                    drop(shelf);
                    channel.send(Kind::Agreed, 0, &[])?;
                    channel.flush()?;
                }
                Request::Infer { id } => {
                    // Claimed by taking it: from here on it is gone, whatever happens. Its place stays taken until it has
                    // run: a client that keeps us waiting now holds its memory all the same.
                    let claimed = match own.take() {
                        Some(own) if own.id == id => Some((own.bundle, own._place)),
                        _ => {
                            let kept = lock(&self.shelf).remove(&id);
                            kept.map(|bundle| {
                                let place = self.hold(bundle.plan()).0;
                                (bundle, place)
                            })
                        }
                    };
                    let Some((bundle, _place)) = claimed else { return Err(self.no_bundle(channel)) };
                    if bundle.plan().mode() != mode {
                        let reason = "the prepared bundle gives another output than this session".to_owned();
                        return Err(channel.refuse(Refusal { code: RefusalCode::Output, reason }));
                    }
                    if bundle.plan().preprocessing() != terms.preprocessing {
                        let [own, other] = [bundle.plan().preprocessing(), terms.preprocessing];
                        let reason =
                            format!("the bundle was prepared by `{own}`, this session agreed on `{other}`");
                        return Err(channel.refuse(Refusal { code: RefusalCode::Method, reason }));
                    }
                    images_run += bundle.plan().images();
                    let convolutions = self.convolutions(bundle.plan())?;
                    online::server(channel, bundle, &convolutions, &self.numbers, &mut report)?;
                }
                Request::Finish => return Ok(Served { report, images: images_run }),
            }
        }
    }

    fn plan(&self, images: usize, terms: &Terms, rounds: RoundChoice) -> Result<Plan, ProtocolError> {
        Plan::with_preprocessing(&self.model.manifest, images, terms.mode, rounds, terms.preprocessing)
    }

    fn agree(&self, channel: &mut Channel, first: Request) -> Result<Terms, ProtocolError> {
        let Request::Agree { terms, digest } = first else {
            return Err(unexpected("a request before the agreement"));
        };
        self.check_digest(channel, &digest)?;
        if let OutputMode::Logits { bits } = terms.mode
            && self.policy.offer.logit_bits != Some(bits)
        {
            let reason = match self.policy.offer.logit_bits {
                None => {
                    "this server gives labels only: ask without --logits, or start it with --output logits"
                        .to_owned()
                }
                Some(own) => format!("this server gives logits of {own} bits, not of {bits}"),
            };
            return Err(channel.refuse(Refusal { code: RefusalCode::Output, reason }));
        }
        let (labels, most) = (terms.mode.labels(), self.policy.offer.labels as usize);
        if labels > most.max(1) {
            let reason = if most <= 1 {
                format!("this server gives the best label of an image only, not the best {labels}")
            } else {
                format!("this server gives the best {most} labels of an image, not {labels}")
            };
            return Err(channel.refuse(Refusal { code: RefusalCode::Output, reason }));
        }
        if let Some(reason) = self.policy.offer.methods.objection(&terms) {
            return Err(channel.refuse(Refusal { code: RefusalCode::Method, reason }));
        }
        channel.send(Kind::Agreed, 0, &[])?;
        channel.flush()?;
        Ok(terms)
    }

    /// Refuses a client that understood another manifest.
    pub(super) fn check_digest(&self, channel: &mut Channel, digest: &[u8; 32]) -> Result<(), ProtocolError> {
        if *digest == self.digest {
            return Ok(());
        }
        let reason =
            "client and server understand the model's manifest differently: use equal releases".to_owned();
        Err(channel.refuse(Refusal { code: RefusalCode::Model, reason }))
    }

    /// The policy.
    pub(super) fn policy(&self) -> &Policy {
        &self.policy
    }

    fn no_bundle(&self, channel: &mut Channel) -> ProtocolError {
        let reason =
            "the named bundle is not here: used already, never prepared, or lost when the server restarted"
                .to_owned();
        channel.refuse(Refusal { code: RefusalCode::Bundle, reason })
    }
}

/// A session's own waiting bundle.
struct Own<'a> {
    id: BundleId,
    bundle: ServerBundle,
    _place: Place<'a>,
}

pub(super) fn unexpected(got: &str) -> ProtocolError {
    crate::PeerFault::Unexpected { expected: "the next step of the session", got: got.to_owned() }.into()
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A panic elsewhere leaves these maps whole: every change to them is a single call.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
