//! What the server adds to an answer before it leaves.
//!
//! The last ciphertext of an evaluation is an approximation of logits, and its noise depends on the weights; its second
//! part is a function of the weights too. Before it leaves, the server adds an encryption of zero under the client's
//! public key, which makes the second part fresh, with errors e uniform in (-2^f, 2^f) in every coefficient
//! (*flooding*).
//!
//! | quantity | value |
//! |---|---|
//! | f | the largest with a slot's deviation 2^f sqrt(N/3) at most [`SHARE`] A |
//! | A | the answer's scale: a result of the last map is in [-1/2, 1/2], A times that is in the ciphertext |
//! | error of a logit | deviation [`SHARE`] / sqrt(2) and more in units of the range of the logits (the real part of a slot) |
//!
//! **Copies.** A small answer is repeated c times in the slots of one image, and its mean over them depends on the
//! coefficients at multiples of c alone. Errors there are 2^⌈(log2 c)/2⌉ times as large, so that the mean is off by as much as a slot
//! with the errors of all coefficients; a single slot is then off by up to sqrt(3) of that.
//!
//! # What is promised, and what is not
//! The second part and the key's randomness are hidden as RLWE samples are. Of what the evaluation leaves in the first
//! part, in coefficients of size at most b, the statistical distance to an answer without it is at most N b / 2^(f+1)
//! per ciphertext ([`distance`]). With the precision that labels need, f is no more than some 20 to 30, so **that is no
//! proof of anything**: b is 2^10 to 2^20. It costs who wants to learn the noise many queries, and it bounds the
//! precision in which logits are given: about 12 bits of their range. Circuit privacy would take a modulus wider by 40
//! bits and more. The scale A is sent with the answer; in batch mode it depends on the largest weights.

use he_core::Seed;
use he_core::ckks::{Ciphertext, Params, Plaintext};
use he_core::rlwe::PublicKey;
use he_core::rns::RnsPoly;
use rand_core::Rng;
use zeroize::Zeroizing;

use crate::error::{ProtocolError, caller};

/// The flooding's deviation in a slot, as a share of A: 2^-12.
pub const SHARE: f64 = 1.0 / 4096.0;

/// f of an answer with this scale; 0 where there is no room.
#[must_use]
pub fn bits(n: usize, scale: f64) -> u32 {
    let log2 = (SHARE * scale / (n as f64 / 3.0).sqrt()).log2().floor();
    // Doubles of any size and sign: the cast saturates.
    (log2.max(0.0) as u32).min(48)
}

/// A bound on the statistical distance between answers whose coefficients differ by at most `difference`.
#[must_use]
pub fn distance(n: usize, scale: f64, difference: f64) -> f64 {
    (n as f64 * difference / f64::from(bits(n, scale) + 1).exp2()).min(1.0)
}

/// Adds the encryption of zero and the flooding; the seed is used up. `copies`, a power of two, is how often the answer repeats
/// in the slots.
///
/// # Errors
/// [`ProtocolError::Caller`] for a ciphertext of degree 2.
///
/// # Panics
/// When ciphertext or key are of other parameters.
pub fn hide(
    params: &Params,
    public: &PublicKey,
    answer: &mut Ciphertext,
    copies: usize,
    seed: Seed,
) -> Result<(), ProtocolError> {
    if answer.degree() != 1 {
        return Err(ProtocolError::Caller("an answer that was not relinearised".into()));
    }
    let f = bits(params.n(), answer.scale());
    let mut stream = seed.fork("encrypted: flooding", &[]).stream();
    // Uniform in [-2^f, 2^f), and 2^f less one for the one end too many.
    let draw = |at: usize| {
        let f = if at.is_multiple_of(copies) { f + copies.ilog2().div_ceil(2) } else { f };
        ((stream.next_u64() >> (63 - f)) as i64 - (1 << f)).max(1 - (1 << f))
    };
    let errors: Zeroizing<Vec<i64>> = Zeroizing::new((0..params.n()).map(draw).collect());
    let tables = params.rlwe().ciphertext_tables(answer.limbs());
    let poly = RnsPoly::from_small(tables, &errors).into_ntt(tables);
    let zero = Plaintext::from_parts(params, poly, answer.scale()).map_err(caller)?;
    let fresh = params.encrypt_public(public, &zero, seed.fork("encrypted: zero", &[]));
    answer.add(&fresh).map_err(caller)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encrypted::{Mode, Network, Plan};
    use crate::fixtures::small_model;
    use he_core::rlwe::SecretKey;

    /// The mean over copies is hidden as a slot is; with errors of one size it would be known eight times as well.
    #[test]
    fn averaging_copies_does_not_help() {
        let shapes = Network::new(&small_model()).unwrap();
        let plan = Plan::new(shapes.shapes(), Mode::Single).unwrap();
        let params = plan.params();
        let seed = crate::fixtures::fresh_seed();
        let secret = SecretKey::generate(params.rlwe(), seed.fork("secret", &[]));
        let public = PublicKey::new(&secret, seed.fork("public", &[]));
        let (slots, scale, period) = (params.slots(), 2f64.powi(41), 64);
        let deviation = |copies: usize| {
            let nothing = params.encode_at(&vec![0.0; slots], 1, scale).unwrap();
            let mut answer = params.encrypt_public(&public, &nothing, seed.fork("answer", &[]));
            hide(params, &public, &mut answer, copies, seed.fork("hide", &[copies as u64])).unwrap();
            let values = params.decode_real(&params.decrypt(&secret, &answer));
            let mean = |at: usize| {
                values.iter().skip(at).step_by(period).sum::<f64>() * period as f64 / slots as f64
            };
            let squares: f64 = (0..period).map(|at| mean(at).powi(2)).sum();
            // Of real parts: half of a slot's variance.
            (2.0 * squares / period as f64).sqrt()
        };
        let (good, planted) = (deviation(slots / period), deviation(1));
        println!(
            "deviation of the mean of {} copies: {good:e}; by errors of one size: {planted:e}",
            slots / period
        );
        assert!(good > 0.35 * SHARE && good < 3.0 * SHARE, "{good}");
        assert!(planted < 0.3 * SHARE, "{planted}");
    }

    #[test]
    fn flooding_has_the_deviation_it_says() {
        for (n, scale) in [(8192_usize, 2.0_f64.powi(41)), (16384, 2.0_f64.powi(40)), (16384, 3e9)] {
            let deviation = f64::from(bits(n, scale)).exp2() * (n as f64 / 3.0).sqrt() / scale;
            assert!((SHARE / 2.0..=SHARE).contains(&deviation), "{n}, {scale}: {deviation}");
        }
        assert_eq!((bits(8192, 1.0), bits(8192, f64::NAN), bits(8192, 1e300)), (0, 0, 48));
        assert_eq!(distance(8192, 2.0_f64.powi(41), 1e9), 1.0);
        assert!(distance(8192, 2.0_f64.powi(41), 1.0) < 0.01);
    }
}
