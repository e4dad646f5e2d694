//! The client's half, without messages: keys, masks and their encryptions, the bundle, arithmetic online.
//!
//! | step | what |
//! |---|---|
//! | [`ClientKeys::masks`] | r_l on the grid, encrypted two images at a time |
//! | [`ClientKeys::shares`] | decrypts c_l |
//! | [`ClientKeys::factors`] | encrypts c_l for the square, and takes the encoding for c_l from there on |
//! | [`ClientKeys::products`] | decrypts e_l |
//! | [`Bundle::masked`] | X_1 = x − r_1, x rounded to the grid |
//! | [`Bundle::back`] | V = y² + e − r, y = D + c, y² + e rounded to the grid; ReLUs are in [`super::activation`] |
//!
//! A [`Bundle`] is moved into the inference that uses it and wiped when it is dropped. Decrypted numbers are raw: what goes
//! back to the server of them goes rounded to a grid and masked on the same grid.

use he_core::Seed;
use he_core::ckks::complex::Complex;
use he_core::rlwe::{self, PublicKey, SecretKey};
use nn_merge::fixed_point::first_largest;
use rayon::prelude::*;
use zeroize::Zeroizing;

use super::layout::Layouts;
use super::masks::{Exact, rounded, vector, wide};
use super::plan::{MASK_SCALE, PRODUCT_BITS, Plan, SHARE_BITS};
use crate::error::{ProtocolError, caller, check_length, malformed};
use crate::slots::{pairs, wire};
use crate::steps::ClientSteps;

/// The keys of a session; the secret one is wiped on drop.
pub struct ClientKeys {
    secret: SecretKey,
    seed: Seed,
}

/// The client's half of a bundle, usable once.
pub struct Bundle {
    pub(super) number: u64,
    pub(super) images: usize,
    /// r of all layers, images × elements.
    pub(super) masks: Vec<Zeroizing<Vec<f64>>>,
    /// c of all layers, likewise; nothing any more where a ReLU follows, whose steps have taken it in.
    pub(super) shares: Vec<Zeroizing<Vec<f64>>>,
    /// e behind all layers, likewise; nothing where no square follows.
    pub(super) products: Vec<Zeroizing<Vec<f64>>>,
    /// The halves of all ReLUs' steps.
    pub(super) steps: Vec<ClientSteps>,
}

/// What an inference gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Answers {
    /// Logits, image after image.
    pub logits: Vec<Vec<f64>>,
    /// The largest one's index, the first among equals, image after image.
    pub labels: Vec<usize>,
}

impl ClientKeys {
    /// Draws a secret key; the seed is used up.
    #[must_use]
    pub fn new(layouts: &Layouts, seed: Seed) -> Self {
        let secret = SecretKey::generate(layouts.params().rlwe(), seed.fork("float: secret key", &[]));
        Self { secret, seed }
    }

    /// The bytes of the public key and of the rotation keys.
    #[must_use]
    pub fn public(&self, layouts: &Layouts) -> [Vec<u8>; 2] {
        let seed = |label| self.seed.fork(label, &[]);
        let params = layouts.params();
        let public = PublicKey::new(&self.secret, seed("float: public key"));
        let galois =
            params.galois_keys(&self.secret, layouts.rotations(), false, seed("float: rotation keys"));
        [public.to_bytes(), galois.to_bytes(params.rlwe())]
    }

    /// Masks r of layer `at` for so many images, and their encryptions. The seed is used up.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] for masks that the scheme has no room for, which no plan has.
    pub fn masks(
        &self,
        plan: &Plan,
        at: usize,
        images: usize,
        seed: &Seed,
    ) -> Result<(Zeroizing<Vec<f64>>, Vec<u8>), ProtocolError> {
        let (own, layout) = (plan.magnitudes(at), &plan.layouts().layers()[at].input);
        let (params, length) = (plan.params(), layout.elements());
        let masks = vector(&seed.fork("r", &[]), images * length, own.input_mask, own.input_grid);
        let encrypt = |index: usize| {
            let slots = pairs::fill(layout, images, index, |image, element| masks[image * length + element]);
            let plaintext = params.encode_at(&slots, params.limbs(), MASK_SCALE).map_err(caller)?;
            let seed = seed.fork("encrypted", &[index as u64]);
            Ok(params.encrypt(&self.secret, &plaintext, seed).as_rlwe().to_bytes(params.rlwe()))
        };
        let count = pairs::count(images) * layout.ciphertexts();
        let parts: Vec<Vec<u8>> =
            (0..count).into_par_iter().map(encrypt).collect::<Result<_, ProtocolError>>()?;
        Ok((masks, parts.concat()))
    }

    /// The shares c of layer `at` in the server's answer.
    ///
    /// # Errors
    /// [`ProtocolError::Peer`] for an answer that does not decode, or whose values the plan excludes.
    pub fn shares(
        &self,
        plan: &Plan,
        at: usize,
        images: usize,
        answer: &[u8],
    ) -> Result<Zeroizing<Vec<f64>>, ProtocolError> {
        const WHAT: &str = "encrypted shares";
        let (params, layout) = (plan.params(), &plan.layouts().layers()[at].output);
        let one = rlwe::Ciphertext::wire_len(params.rlwe(), params.limbs() - 1, 1);
        check_length(WHAT, answer, plan.share_bytes(at, images))?;
        let open = |bytes: &[u8]| {
            let ciphertext = wire::ciphertext(params, bytes, params.limbs() - 1, plan.share_scale(), WHAT)?;
            Ok(Zeroizing::new(params.decode(&params.decrypt(&self.secret, &ciphertext))))
        };
        let slots: Vec<Zeroizing<Vec<Complex>>> =
            answer.par_chunks(one).map(open).collect::<Result<_, ProtocolError>>()?;
        let shares = pairs::read(layout, images, &slots);
        within(&shares, plan.magnitudes(at).share, WHAT)?;
        Ok(shares)
    }

    /// Encrypts shares c of layer `at` for its square, and puts what was encoded in their place. The seed is used up.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] for shares that the scheme has no room for, which [`Self::shares`] does not give.
    pub fn factors(
        &self,
        plan: &Plan,
        shares: &mut Zeroizing<Vec<f64>>,
        seed: &Seed,
    ) -> Result<Vec<u8>, ProtocolError> {
        let params = plan.params();
        let encrypt = |(index, values): (usize, &mut [f64])| {
            let exact = Exact::new(params, values, SHARE_BITS)?;
            values.copy_from_slice(&exact.values);
            let seed = seed.fork("encrypted", &[index as u64]);
            Ok(params.encrypt(&self.secret, &exact.plaintext, seed).as_rlwe().to_bytes(params.rlwe()))
        };
        let parts: Vec<Vec<u8>> = shares
            .par_chunks_mut(params.slots())
            .enumerate()
            .map(encrypt)
            .collect::<Result<_, ProtocolError>>()?;
        Ok(parts.concat())
    }

    /// e of the square behind layer `at` in the server's answer.
    ///
    /// # Errors
    /// [`ProtocolError::Peer`] for an answer that does not decode.
    pub fn products(
        &self,
        plan: &Plan,
        at: usize,
        images: usize,
        answer: &[u8],
    ) -> Result<Zeroizing<Vec<f64>>, ProtocolError> {
        const WHAT: &str = "encrypted products";
        let (params, total) = (plan.params(), images * plan.geometry(at).output_len());
        check_length(WHAT, answer, plan.product_bytes(at, images))?;
        let one = rlwe::Ciphertext::wire_len(params.rlwe(), params.limbs(), 1);
        let scale = f64::from(PRODUCT_BITS).exp2();
        let open = |(index, bytes): (usize, &[u8])| {
            let ciphertext = wire::ciphertext(params, bytes, params.limbs(), scale, WHAT)?;
            let count = params.slots().min(total - index * params.slots());
            wide(params, &params.decrypt(&self.secret, &ciphertext), PRODUCT_BITS, count)
        };
        let parts: Vec<Zeroizing<Vec<f64>>> =
            answer.par_chunks(one).enumerate().map(open).collect::<Result<_, ProtocolError>>()?;
        let mut all = Zeroizing::new(Vec::with_capacity(total));
        parts.iter().for_each(|part| all.extend_from_slice(part));
        Ok(all)
    }
}

impl Bundle {
    /// Images.
    #[must_use]
    pub fn images(&self) -> usize {
        self.images
    }

    /// X_1 of these inputs, image after image.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] for another number of images or values than the bundle's, or values beyond the plan's limit.
    pub fn masked(&self, plan: &Plan, images: &[Vec<f64>]) -> Result<Zeroizing<Vec<f64>>, ProtocolError> {
        let length = plan.geometry(0).input_len();
        if images.len() != self.images || images.iter().any(|image| image.len() != length) {
            return Err(ProtocolError::Caller(format!(
                "{} images for a bundle of {}, or some not of {length} values",
                images.len(),
                self.images
            )));
        }
        let limit = plan.limit();
        // A NaN is in no range.
        if !images.iter().flatten().all(|value| (-limit..=limit).contains(value)) {
            return Err(ProtocolError::Caller(format!("an input value beyond ±{limit}")));
        }
        let grid = plan.magnitudes(0).input_grid;
        let values = images.iter().flatten().zip(self.masks[0].iter());
        Ok(Zeroizing::new(values.map(|(&x, r)| rounded(x, grid) - r).collect()))
    }

    /// V behind layer `at` for the server's D.
    ///
    /// # Errors
    /// [`ProtocolError::Peer`] when D, or what was prepared with it, is beyond the plan's bounds.
    pub fn back(&self, plan: &Plan, at: usize, opened: &[f64]) -> Result<Zeroizing<Vec<f64>>, ProtocolError> {
        within(opened, plan.magnitudes(at).opened, "opened values")?;
        let grid = plan.magnitudes(at + 1).input_grid;
        let own = self.shares[at].iter().zip(self.products[at].iter()).zip(self.masks[at + 1].iter());
        let one = |(big, ((c, e), r)): (&f64, ((&f64, &f64), &f64))| {
            let y = big + c;
            rounded(y.mul_add(y, *e), grid) - r
        };
        let back: Zeroizing<Vec<f64>> = Zeroizing::new(opened.iter().zip(own).map(one).collect());
        within(&back, plan.magnitudes(at).back, "products")?;
        Ok(back)
    }

    /// Logits and labels for the server's last share, in units of `logit_unit`.
    ///
    /// # Errors
    /// [`ProtocolError::Peer`] for a share beyond the plan's bounds.
    pub fn answers(&self, plan: &Plan, last: &[f64], logit_unit: f64) -> Result<Answers, ProtocolError> {
        let at = plan.layers() - 1;
        within(last, plan.magnitudes(at).opened, "last share")?;
        let logits: Vec<f64> =
            last.iter().zip(self.shares[at].iter()).map(|(a, c)| (a + c) * logit_unit).collect();
        let logits: Vec<Vec<f64>> =
            logits.chunks(plan.geometry(at).output_len()).map(<[f64]>::to_vec).collect();
        let labels = logits.iter().map(|row| first_largest(row)).collect();
        Ok(Answers { logits, labels })
    }
}

/// Refuses numbers beyond a bound, NaN among them.
pub(super) fn within(values: &[f64], most: f64, what: &'static str) -> Result<(), ProtocolError> {
    if values.iter().all(|value| value.abs() <= most) {
        return Ok(());
    }
    Err(malformed(what, "a number beyond the bound that was agreed"))
}
