//! From residues modulo t to residues modulo the ciphertext primes.
//!
//! | function | in | out |
//! |---|---|---|
//! | [`Lift::multiply`] | residues x modulo t, a public w | x w mod t |
//! | [`Lift::centre`] | residues x modulo t, a prime q, a public factor f | f c mod q, c the representative of x in (-t/2, t/2] |
//!
//! Products are Shoup's (see [`crate::modulus`]), in words of 64 bits, or of 52 bits in vectors where t and q are below
//! 2^50; both give the same residues. Where t <= q the centred number modulo q is x, or x + (q - t) above t/2; for larger t
//! it is reduced. Messages are secret: the time depends on shapes and moduli alone.

#[cfg(target_arch = "x86_64")]
mod avx512;

use crate::modulus::Modulus;

use super::modulus::PlainModulus;

/// The bound of t and q for vectors: 2x of a residue must fit 52 bits with a bit to spare.
#[cfg(target_arch = "x86_64")]
const NARROW: u64 = 1 << 50;

/// The lift of residues modulo one t.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lift {
    t: PlainModulus,
    #[cfg(target_arch = "x86_64")]
    vectors: Option<avx512::Ifma>,
}

impl Lift {
    pub(super) fn new(t: PlainModulus) -> Self {
        Self {
            t,
            #[cfg(target_arch = "x86_64")]
            vectors: avx512::Ifma::detect(),
        }
    }

    /// This lift without vectors.
    #[cfg(test)]
    pub(super) fn portable(self) -> Self {
        Self {
            #[cfg(target_arch = "x86_64")]
            vectors: None,
            ..self
        }
    }

    /// out = x w mod t for residues x and a public residue w with its Shoup quotient. Both slices have one length.
    pub(super) fn multiply(&self, words: &[u64], (w, quotient): (u64, u64), out: &mut [u64]) {
        assert_eq!(words.len(), out.len(), "words to multiply and their place");
        debug_assert!(words.iter().all(|&word| word < self.t.value()));
        #[cfg(target_arch = "x86_64")]
        let done = match self.vectors {
            Some(ifma) if self.t.value() < NARROW => ifma.multiply(self.t.value(), w, quotient, words, out),
            _ => 0,
        };
        #[cfg(not(target_arch = "x86_64"))]
        let done = 0;
        for (out, &word) in out[done..].iter_mut().zip(&words[done..]) {
            *out = self.t.mul_shoup(word, w, quotient);
        }
    }

    /// out = factor * c mod q for the centred representatives c of residues modulo t. Both slices have one length.
    pub(super) fn centre(&self, words: &[u64], q: &Modulus, factor: u64, out: &mut [u64]) {
        assert_eq!(words.len(), out.len(), "words to lift and their place");
        debug_assert!(words.iter().all(|&word| word < self.t.value()));
        let (t, quotient) = (self.t.value(), q.shoup(factor));
        if t > q.value() {
            for (out, &word) in out.iter_mut().zip(words) {
                *out = q.mul_shoup(q.from_i64(self.t.center(word)), factor, quotient);
            }
            return;
        }
        let (half, up) = (t / 2, q.value() - t);
        #[cfg(target_arch = "x86_64")]
        let done = match self.vectors {
            Some(ifma) if q.value() < NARROW => {
                ifma.centre(half, up, q.value(), (factor, quotient), words, out)
            }
            _ => 0,
        };
        #[cfg(not(target_arch = "x86_64"))]
        let done = 0;
        for (out, &word) in out[done..].iter_mut().zip(&words[done..]) {
            let above = ((half.wrapping_sub(word) as i64) >> 63) as u64;
            *out = q.mul_shoup(word + (up & above), factor, quotient);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prime::largest_ntt_prime;
    use crate::seed::Seed;
    use rand_core::Rng;

    #[test]
    fn both_are_what_integers_say() {
        let mut rng = Seed::from_os().unwrap().stream();
        for t in [2, 3, 255, 65537, 1 << 32, (1 << 49) + 3, (1 << 50) - 27, 1 << 50, (1 << 60) - 93, 1 << 60]
        {
            let modulus = PlainModulus::new(t).unwrap();
            let fast = Lift::new(modulus);
            let mut words: Vec<u64> = (0..77).map(|_| rng.next_u64() % t).collect();
            words[..4].copy_from_slice(&[0, t - 1, t / 2, (t / 2 + 1) % t]);
            for w in [0, 1, t - 1, rng.next_u64() % t] {
                for lift in [fast, fast.portable()] {
                    let mut out = vec![u64::MAX; words.len()];
                    lift.multiply(&words, (w, modulus.shoup(w)), &mut out);
                    for (&x, &out) in words.iter().zip(&out) {
                        assert_eq!(
                            u128::from(out),
                            u128::from(x) * u128::from(w) % u128::from(t),
                            "{x} * {w} mod {t}"
                        );
                    }
                }
            }
            for bits in [8, 20, 35, 49, 50, 51, 61] {
                let q = Modulus::new(largest_ntt_prime(bits, 8).unwrap()).unwrap();
                for factor in [0, 1, q.value() - 1, q.reduce(rng.next_u64())] {
                    for lift in [fast, fast.portable()] {
                        let mut out = vec![u64::MAX; words.len()];
                        lift.centre(&words, &q, factor, &mut out);
                        for (&x, &out) in words.iter().zip(&out) {
                            let product = i128::from(modulus.center(x)) * i128::from(factor);
                            assert_eq!(
                                i128::from(out),
                                product.rem_euclid(i128::from(q.value())),
                                "{x} of {t} to {q:?}"
                            );
                        }
                    }
                }
            }
        }
    }
}
