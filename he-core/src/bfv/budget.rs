//! Noise as it is: what the secret key sees in a ciphertext.
//!
//! The phase is Q m/t + v modulo Q, so t v is t times the phase modulo Q, centred: an integer, found by exact residue
//! arithmetic. It is meant for tests and for choosing parameters. What it says depends on the key, and it takes a time
//! that does too: nobody else may see it. [`super::noise`] foretells the same figure without keys.
//!
//! | figure | what |
//! |---|---|
//! | [`Params::noise_bits`] | log2 of the largest coefficient of v |
//! | [`Params::noise_budget`] | log2(Q/(2t)) less that: the bits that are left; below 0 decryption goes wrong |

use crate::modulus::Modulus;
use crate::poly::{Coeff, Poly};
use crate::rlwe::SecretKey;
use crate::rns::RnsPoly;

use super::cipher::Ciphertext;
use super::params::Params;

impl Params {
    /// log2 of the largest coefficient of the noise of a ciphertext, at least -log2 t. It takes the secret key, and what it
    /// says depends on the key: see the module essay.
    ///
    /// # Panics
    /// When the key or the ciphertext is of another ring.
    #[must_use]
    pub fn noise_bits(&self, secret: &SecretKey, ciphertext: &Ciphertext) -> f64 {
        assert!(secret.params() == self.rlwe(), "a secret key of another ring");
        let moduli = self.rlwe().moduli(ciphertext.limbs());
        let mut phase = secret.phase(ciphertext.as_rlwe());
        phase.scale(&moduli.iter().map(|q| q.reduce(self.t())).collect::<Vec<_>>());
        let noise = phase.into_coeff(self.rlwe().ciphertext_tables(ciphertext.limbs()));
        log2_norm(&noise, moduli).max(0.0) - (self.t() as f64).log2()
    }

    /// The bits of noise that a ciphertext can still take: log2(Q/(2t)) less [`Params::noise_bits`]. Below about 0 it does not
    /// decrypt; the same warnings.
    ///
    /// # Panics
    /// When the key or the ciphertext is of another ring.
    #[must_use]
    pub fn noise_budget(&self, secret: &SecretKey, ciphertext: &Ciphertext) -> f64 {
        let room = self.rlwe().log2_q(ciphertext.limbs()) - 1.0 - (self.t() as f64).log2();
        room - self.noise_bits(secret, ciphertext)
    }
}

/// log2 of the largest centred coefficient; minus infinity for the zero polynomial. Variable time.
///
/// Coefficients are taken to mixed radix, x = d_0 + q_0 (d_1 + q_1 (d_2 + ...)), by Garner's method. As the digits of Q - 1
/// are all q_i - 1, those of Q - 1 - x are the differences, and the smaller of x and Q - 1 - x is the one with the smaller
/// top digits.
fn log2_norm(poly: &RnsPoly<Coeff>, moduli: &[Modulus]) -> f64 {
    let limbs: Vec<&[u64]> = poly.limbs().iter().map(Poly::coefficients).collect();
    // 1/q_j modulo q_i for j < i.
    let inverses: Vec<Vec<u64>> = (0..moduli.len())
        .map(|i| (0..i).map(|j| moduli[i].inv(moduli[i].reduce(moduli[j].value()))).collect())
        .collect();
    let value = |digit: &dyn Fn(usize) -> u64| {
        let (mut log2, mut value) = (0.0, 0.0);
        // From the top, with the scale carried as a logarithm: numbers may exceed the range of f64.
        for (i, q) in moduli.iter().enumerate().rev() {
            let digit = digit(i) as f64;
            if value == 0.0 {
                value = digit;
            } else {
                let q = q.value() as f64;
                value += digit / q;
                log2 += q.log2();
            }
        }
        log2 + f64::log2(value)
    };
    let mut digits = vec![0; moduli.len()];
    let mut size = |at: usize| {
        for (i, q) in moduli.iter().enumerate() {
            digits[i] =
                (0..i).fold(limbs[i][at], |rest, j| q.mul(q.sub(rest, q.reduce(digits[j])), inverses[i][j]));
        }
        // Q - x = (Q - 1 - x) + 1; the 1 counts for small numbers only.
        let above = value(&|i| moduli[i].value() - 1 - digits[i]);
        let above = if above < 50.0 { (above.exp2() + 1.0).log2() } else { above };
        value(&|i| digits[i]).min(above)
    };
    (0..poly.n()).map(&mut size).fold(f64::NEG_INFINITY, f64::max)
}
