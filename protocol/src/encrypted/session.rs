//! The messages of a session on ciphertexts alone.
//!
//! | | from | frame | content |
//! |---|---|---|---|
//! | greeting | both | hello, welcome | as in every session ([`crate::handshake`]) |
//! | request | C | request | [`Request::Encrypted`]: the mode, the manifest's digest |
//! | terms | S | agreed | e, for the scale 2^(e/8) of the input (0 in single mode): 4 bytes; or a refusal |
//! | keys | C | keys 0, 1, 2 | public key; relinearisation key; rotation keys, none in batch mode |
//! | request | C | request | [`Request::Evaluate`]: how many images |
//! | | S | agreed | nothing, or a refusal |
//! | input | C | input 0, 1, .. | the seeded ciphertexts |
//! | answer | S | output 0, 1, .. | the ciphertexts |
//!
//! The last four repeat until the client says [`Request::Finish`]. With keys sent, an evaluation is one round trip of
//! data.
//!
//! **Checks.** A frame has a cap that follows from the plan; he-core's decoders refuse all but canonical forms of the
//! plan's parameters. The server takes fresh ciphertexts of all primes with exactly the agreed scale, the client answers
//! of one prime whose scale leaves room for a value of 1/2. Hostile keys or ciphertexts give wrong answers to their owner,
//! in the same time; nothing of the server's is decided by them.

use std::time::{Duration, Instant};

use he_core::Seed;
use he_core::ckks::{Ciphertext, SeededCiphertext};
use he_core::rlwe::{PublicKey, RelinKey};
use nn_merge::model::{Manifest, Model};
use serde::Serialize;

use super::chain::Accepted;
use super::client::{ClientKeys, Decrypted, EvaluationKeys};
use super::network::{Network, Shapes};
use super::{Mode, Plan, batch, hide, single};
use crate::channel::{Channel, Kind, Traffic};
use crate::error::{PeerResult, ProtocolError, Refusal, RefusalCode, malformed};
use crate::handshake::{Greeting, Request, ask};
use crate::online::Progress;
use crate::slots::wire;

/// How long a client waits for an evaluation: batches on small machines take minutes.
const EVALUATION: Duration = Duration::from_secs(1800);

/// A server's network made ready for one mode.
pub struct Ready {
    plan: Plan,
    evaluator: Evaluator,
}

enum Evaluator {
    Single(single::Evaluator),
    Batch(batch::Evaluator),
}

impl Ready {
    /// Makes a model ready.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] with a sentence for the client: a network that is no chain of linear maps and squares, or
    /// that parameters, slots or scales have no room for.
    pub fn new(model: &Model, mode: Mode) -> Result<Self, ProtocolError> {
        let network = Network::new(model)?;
        let plan = Plan::new(network.shapes(), mode)?;
        let evaluator = match mode {
            Mode::Single => Evaluator::Single(single::Evaluator::new(&network, &plan)?),
            Mode::Batch => Evaluator::Batch(batch::Evaluator::new(&network, &plan)?),
        };
        Ok(Self { plan, evaluator })
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Bytes of prepared weights.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.evaluator {
            Evaluator::Single(evaluator) => evaluator.bytes(),
            Evaluator::Batch(evaluator) => evaluator.bytes(),
        }
    }

    /// e of the input's scale; 0 in single mode.
    #[must_use]
    pub fn exponent(&self) -> u32 {
        match &self.evaluator {
            Evaluator::Single(_) => 0,
            Evaluator::Batch(evaluator) => evaluator.exponent(),
        }
    }

    /// Evaluates the network, and hides what the answers show beside their values; the seed is used up.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] for ciphertexts or keys that are not of the plan.
    pub fn evaluate(
        &self,
        input: Vec<SeededCiphertext>,
        keys: &EvaluationKeys,
        seed: &Seed,
        progress: Progress<'_>,
    ) -> Result<Vec<Ciphertext>, ProtocolError> {
        let params = self.plan.params();
        let mut answers = match &self.evaluator {
            Evaluator::Single(evaluator) => {
                let input = input.into_iter().map(|x| x.expand(params)).collect();
                evaluator.evaluate(input, &keys.relin, &keys.galois, progress)?
            }
            Evaluator::Batch(evaluator) => {
                let mut input: Vec<Option<SeededCiphertext>> = input.into_iter().map(Some).collect();
                let mut take = |at: usize| {
                    let x = input.get_mut(at).and_then(Option::take);
                    x.map(|x| x.expand(params)).ok_or_else(|| {
                        ProtocolError::Caller("an element of the input that is not there".into())
                    })
                };
                evaluator.evaluate(&mut take, &keys.relin, progress)?
            }
        };
        let last = self.plan.layouts().last();
        let copies = last.map_or(1, |layout| layout.slots() / layout.period());
        for (at, answer) in answers.iter_mut().enumerate() {
            let seed = seed.fork("encrypted: answer", &[at as u64]);
            hide::hide(params, &keys.public, answer, copies, seed)?;
        }
        Ok(answers)
    }
}

/// The input's scale of a plan, for the exponent that the server said.
fn input_scale(plan: &Plan, exponent: u32) -> f64 {
    match plan.mode() {
        Mode::Single => plan.params().scale(),
        Mode::Batch => batch::input_scale(exponent),
    }
}

/// Server: terms and keys of a session.
pub(crate) fn receive_keys(channel: &mut Channel, ready: &Ready) -> Result<EvaluationKeys, ProtocolError> {
    let plan = &ready.plan;
    channel.send(Kind::Agreed, 0, &ready.exponent().to_le_bytes())?;
    channel.flush()?;
    let [limbs, all] = plan.limbs();
    let rlwe = plan.params().rlwe();
    let public = channel.receive_up_to_at(Kind::Keys, 0, plan.message_cap(1, limbs))?;
    let public = PublicKey::from_bytes(rlwe, &public).or_malformed("public key")?;
    let relin = channel.receive_up_to_at(Kind::Keys, 1, plan.message_cap(plan.digits(), all))?;
    let relin = RelinKey::from_bytes(rlwe, &relin).or_malformed("relinearisation key")?;
    let cap = plan.message_cap(plan.rotations().len() * plan.digits(), all) + 64 * plan.rotations().len();
    let galois = channel.receive_up_to_at(Kind::Keys, 2, cap)?;
    let exponents = wire::exponents(plan.params().n(), plan.rotations().iter().copied());
    let galois = wire::rotation_keys(rlwe, &galois, &exponents)?;
    Ok(EvaluationKeys { public, relin, galois })
}

/// Server: one evaluation, after its request was granted.
pub(crate) fn serve(
    channel: &mut Channel,
    ready: &Ready,
    keys: &EvaluationKeys,
    seed: &Seed,
) -> Result<(), ProtocolError> {
    let plan = &ready.plan;
    let params = plan.params();
    let scale = input_scale(plan, ready.exponent());
    let mut input = Vec::new();
    for at in 0..plan.inputs() {
        let bytes = channel.receive_up_to_at(Kind::Input, at, plan.message_cap(1, params.limbs()))?;
        let x = SeededCiphertext::from_bytes(params, &bytes).or_malformed("encrypted input")?;
        if x.limbs() != params.limbs() || x.scale() != scale {
            return Err(malformed("encrypted input", "another scale or level than was agreed"));
        }
        input.push(x);
    }
    let answers = ready.evaluate(input, keys, seed, &mut |_, _| ())?;
    for (at, answer) in answers.iter().enumerate() {
        channel.send(Kind::Output, at, &answer.to_bytes(params))?;
    }
    channel.flush()
}

/// A client's session on ciphertexts alone: keys are with the server.
pub struct Encrypted {
    channel: Channel,
    greeting: Greeting,
    plan: Plan,
    keys: ClientKeys,
    scale: f64,
    /// Keys made and sent, server's part of the setup not counted.
    pub setup: Timings,
}

/// What a part of a session cost the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Timings {
    /// Making keys, or encrypting.
    pub encrypting: f64,
    /// Sending, and waiting for the server, which computes.
    pub waiting: f64,
    /// Decrypting.
    pub decrypting: f64,
    /// Bytes to the server.
    pub sent: u64,
    /// Bytes from the server.
    pub received: u64,
}

impl Encrypted {
    /// Agrees on the mode after a greeting, makes keys and sends them. All randomness comes from `seed`.
    ///
    /// # Errors
    /// The server's refusal, which names the layer that is in the way; what the channel or the peer did.
    pub(crate) fn open(
        mut channel: Channel,
        greeting: Greeting,
        mode: Mode,
        seed: &Seed,
    ) -> Result<Self, ProtocolError> {
        let before = channel.traffic();
        ask(&mut channel, &Request::Encrypted { mode, digest: greeting.digest })?;
        let terms = channel.receive(Kind::Agreed, 0, 4)?;
        let exponent = terms.first_chunk().copied().map(u32::from_le_bytes).unwrap_or_default();
        if exponent > batch::MOST_EXPONENT {
            return Err(malformed("terms", "an impossible scale"));
        }
        // The server's sentence about networks that can't be is the better one, so this comes second.
        let plan = Plan::new(&Shapes::new(&greeting.manifest, Accepted::Squares)?, mode)?;
        let clock = Instant::now();
        let keys = ClientKeys::new(&plan, seed.fork("encrypted", &[]));
        let own = keys.evaluation_keys(&plan);
        let encrypting = clock.elapsed().as_secs_f64();
        let clock = Instant::now();
        let rlwe = plan.params().rlwe();
        channel.send(Kind::Keys, 0, &own.public.to_bytes())?;
        channel.send(Kind::Keys, 1, &own.relin.to_bytes(rlwe))?;
        channel.send(Kind::Keys, 2, &own.galois.to_bytes(rlwe))?;
        channel.flush()?;
        let setup = Timings {
            encrypting,
            waiting: clock.elapsed().as_secs_f64(),
            decrypting: 0.0,
            ..bytes(channel.traffic() - before)
        };
        let scale = input_scale(&plan, exponent);
        Ok(Self { channel, greeting, plan, keys, scale, setup })
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

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Classifies images, network inputs channel by channel; as many as [`Plan::most_images`] says at most.
    ///
    /// # Errors
    /// As [`ClientKeys::encrypt`]; a refusal (a quota, memory), or what the channel or the peer did.
    pub fn classify(
        &mut self,
        images: &[Vec<f64>],
        progress: Progress<'_>,
    ) -> Result<(Decrypted, Timings), ProtocolError> {
        let result = self.run(images, progress);
        if result.is_err() {
            self.channel.give_up();
        }
        result
    }

    fn run(
        &mut self,
        images: &[Vec<f64>],
        progress: Progress<'_>,
    ) -> Result<(Decrypted, Timings), ProtocolError> {
        let Self { channel, plan, keys, .. } = self;
        let params = plan.params();
        let before = channel.traffic();
        let clock = Instant::now();
        let input = keys.encrypt(plan, images, self.scale)?;
        let encrypting = clock.elapsed().as_secs_f64();
        ask(channel, &Request::Evaluate { images: images.len() })?;
        channel.receive(Kind::Agreed, 0, 0)?;
        let clock = Instant::now();
        let steps = plan.inputs() + plan.outputs();
        for (at, x) in input.into_iter().enumerate() {
            channel.send(Kind::Input, at, &x.to_bytes(params))?;
            progress(at + 1, steps);
        }
        channel.flush()?;
        channel.set_patience(EVALUATION);
        let mut answers = Vec::new();
        for at in 0..plan.outputs() {
            let cap = plan.message_cap(2, plan.answer_limbs());
            let answer = channel.receive_up_to_at(Kind::Output, at, cap)?;
            let answer = Ciphertext::from_bytes(params, &answer).or_malformed("encrypted answer")?;
            if answer.limbs() != plan.answer_limbs() || answer.degree() != 1 {
                return Err(malformed("encrypted answer", "another level than was agreed"));
            }
            answers.push(answer);
            progress(plan.inputs() + at + 1, steps);
        }
        let waiting = clock.elapsed().as_secs_f64();
        let clock = Instant::now();
        let answers = keys.decrypt(plan, &answers, images.len(), self.greeting.manifest.output.scale)?;
        let decrypting = clock.elapsed().as_secs_f64();
        if answers.logits.iter().flatten().any(|logit| !logit.is_finite()) {
            return Err(malformed("encrypted answer", "logits that are no numbers"));
        }
        Ok((answers, Timings { encrypting, waiting, decrypting, ..bytes(channel.traffic() - before) }))
    }

    /// Says goodbye.
    ///
    /// # Errors
    /// What the channel did.
    pub fn finish(mut self) -> Result<(), ProtocolError> {
        ask(&mut self.channel, &Request::Finish)?;
        self.channel.flush()
    }
}

fn bytes(traffic: Traffic) -> Timings {
    Timings { sent: traffic.sent, received: traffic.received, ..Timings::default() }
}

/// The refusal of a mode that this server does not serve, with the sentence that says why.
pub(crate) fn refusal(error: &ProtocolError) -> Refusal {
    Refusal { code: RefusalCode::Method, reason: error.to_string() }
}
