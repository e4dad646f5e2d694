//! The client's half: keys, encryption of images, decryption of logits.
//!
//! | message | batch, MNIST | single, MNIST |
//! |---|---|---|
//! | public key, relinearisation key | 0.4 MB, 2 MB | 0.7 MB, 3.4 MB |
//! | Galois keys | none | one per step of the plan |
//! | input, seeded: half of each ciphertext | one ciphertext per pixel, for up to 8192 images | one |
//!
//! Keys are drawn per session and are the session's own. Decrypted values are raw ([`he_core::ckks::encode`]): they show
//! the noise to the client, who has the key anyway, and are **not for others**, nor are they ever sent to the server.

use he_core::Seed;
use he_core::ckks::{Ciphertext, SeededCiphertext};
use he_core::rlwe::{GaloisKeys, PublicKey, RelinKey, SecretKey};
use nn_merge::fixed_point::first_largest;
use rayon::prelude::*;
use zeroize::Zeroizing;

use super::{Mode, Plan};
use crate::error::{ProtocolError, caller};

/// The keys of a session; the secret one is wiped on drop.
pub struct ClientKeys {
    secret: SecretKey,
    seed: Seed,
    /// Evaluations encrypted so far: each draws from a seed of its own.
    evaluations: u64,
}

/// Answers of an evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct Decrypted {
    /// Logits, image after image.
    pub logits: Vec<Vec<f64>>,
    /// The largest one's index, the first among equals, image after image.
    pub labels: Vec<usize>,
}

/// What the server computes with.
pub struct EvaluationKeys {
    /// For fresh encryptions of zero.
    pub public: PublicKey,
    /// For squares.
    pub relin: RelinKey,
    /// For rotations; empty in batch mode.
    pub galois: GaloisKeys,
}

impl ClientKeys {
    /// Draws a secret key; the seed is used up.
    #[must_use]
    pub fn new(plan: &Plan, seed: Seed) -> Self {
        let secret = SecretKey::generate(plan.params().rlwe(), seed.fork("encrypted: secret key", &[]));
        Self { secret, seed, evaluations: 0 }
    }

    /// The keys for the server.
    #[must_use]
    pub fn evaluation_keys(&self, plan: &Plan) -> EvaluationKeys {
        let seed = |label| self.seed.fork(label, &[]);
        EvaluationKeys {
            public: PublicKey::new(&self.secret, seed("encrypted: public key")),
            relin: RelinKey::new(&self.secret, seed("encrypted: relinearisation key")),
            galois: plan.params().galois_keys(
                &self.secret,
                plan.rotations(),
                false,
                seed("encrypted: Galois keys"),
            ),
        }
    }

    /// Encrypts images (network inputs, channel by channel) with this scale: ciphertexts in the order of the plan.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] for no images or more than the plan takes, images of another size, or values that are
    /// not finite.
    pub fn encrypt(
        &mut self,
        plan: &Plan,
        images: &[Vec<f64>],
        scale: f64,
    ) -> Result<Vec<SeededCiphertext>, ProtocolError> {
        let (most, elements) = (plan.most_images(), plan.shapes().input_len());
        if images.is_empty() || images.len() > most {
            return Err(ProtocolError::Caller(format!(
                "{} images, the mode takes 1 to {most}",
                images.len()
            )));
        }
        if let Some(image) = images.iter().find(|image| image.len() != elements) {
            return Err(ProtocolError::Caller(format!("an image of {} values, not {elements}", image.len())));
        }
        let vectors: Zeroizing<Vec<Vec<f64>>> = Zeroizing::new(match plan.mode() {
            Mode::Single => plan.layouts()[0].scatter(&images[0])?,
            Mode::Batch => (0..elements).map(|at| images.iter().map(|image| image[at]).collect()).collect(),
        });
        let (params, evaluation) = (plan.params(), self.evaluations);
        self.evaluations += 1;
        let encrypt = |(at, values): (usize, &Vec<f64>)| {
            let plaintext = params.encode_at(values, params.limbs(), scale).map_err(caller)?;
            let seed = self.seed.fork("encrypted: input", &[evaluation, at as u64]);
            Ok(params.encrypt(&self.secret, &plaintext, seed))
        };
        vectors.par_iter().enumerate().map(encrypt).collect()
    }

    /// The logits of `images` images in units of `logit_unit`.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] unless there are as many ciphertexts as the plan says.
    pub fn decrypt(
        &self,
        plan: &Plan,
        answers: &[Ciphertext],
        images: usize,
        logit_unit: f64,
    ) -> Result<Decrypted, ProtocolError> {
        if answers.len() != plan.outputs() {
            return Err(ProtocolError::Caller(format!(
                "{} ciphertexts of an answer of {}",
                answers.len(),
                plan.outputs()
            )));
        }
        let params = plan.params();
        let open = |answer: &Ciphertext| params.decode_real(&params.decrypt(&self.secret, answer));
        let slots: Zeroizing<Vec<Vec<f64>>> = Zeroizing::new(answers.par_iter().map(open).collect());
        let mut logits: Vec<Vec<f64>> = match plan.mode() {
            Mode::Single => {
                let layout = plan.layouts().last();
                vec![layout.map_or_else(|| Ok(Vec::new()), |layout| layout.gather(&slots))?]
            }
            Mode::Batch => (0..images.min(params.slots()))
                .map(|image| slots.iter().map(|s| s[image]).collect())
                .collect(),
        };
        logits.iter_mut().flatten().for_each(|logit| *logit *= logit_unit);
        let labels = logits.iter().map(|row| first_largest(row)).collect();
        Ok(Decrypted { logits, labels })
    }
}
