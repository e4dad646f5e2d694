//! Packing: many LWE ciphertexts as the coefficients of one ciphertext of the ring.
//!
//! H. Chen, W. Dai, M. Kim, Y. Song, *Efficient homomorphic conversion between (ring) LWE ciphertexts*, ACNS 2021,
//! algorithms 1 and 2. Embedded LWE ciphertexts have their number at X^0 and rubbish elsewhere. A tree joins pairs: with
//! Y = X^(N/2^k) and g = 2^k + 1, which sends Y to -Y, (even + Y odd) + (even - Y odd)(X^g) doubles what is at the places
//! that count and moves the odd half beside the even one. When n = 2^k are joined, the traces f + f(X^(2^k + 1)) of the
//! remaining k up to log2 N remove the rubbish at all other places, doubling what counts each time.
//!
//! | axis | what |
//! |---|---|
//! | input | 1 to N LWE ciphertexts of one level; missing ones up to the next power of two n count as zero |
//! | output | number j at X^(j N/n), zero at all other places |
//! | key switches | n - 1 + log2(N/n) |
//! | keys | X to X^(2^k + 1), k = 1 to log2 N: [`Params::packing_keys`] |
//!
//! **The factor N.** In all, what counts is multiplied by N. The LWE ciphertexts are multiplied with 1/N *modulo Q* at the
//! start, which exists for every t because Q is odd: the doublings cancel it exactly, phase and noise are what they were,
//! and no plaintext modulus, power of two or not, needs a correction (section 3.2 there). Only the noise of the key
//! switches is doubled on its way: see [`super::NoiseBound::pack`].
//!
//! Everything here is public.

use crate::error::HeError;
use crate::rlwe::{self, GaloisKeys, SecretKey};
use crate::rns::RnsPoly;
use crate::seed::Seed;

use super::cipher::Ciphertext;
use super::lwe::LweCiphertext;
use super::params::Params;

impl Params {
    /// The keys that packing needs, log2 N of them; the seed is used up.
    ///
    /// # Panics
    /// When the secret is of another ring, or the ring has no special primes.
    #[must_use]
    pub fn packing_keys(&self, secret: &SecretKey, seed: Seed) -> GaloisKeys {
        self.assert_ring(secret.params());
        let exponents: Vec<_> = (1..=self.n().ilog2()).map(|k| (1 << k) + 1).collect();
        GaloisKeys::new(secret, &exponents, seed)
    }

    /// The ciphertext with number j at X^(j N/n), n the next power of two of how many there are, and zero elsewhere.
    ///
    /// # Errors
    /// [`HeError::Length`] unless there are 1 to N, [`HeError::NoGaloisKey`] when a key is missing.
    ///
    /// # Panics
    /// When the LWE ciphertexts are of different levels, or anything is of another ring.
    pub fn pack(&self, ciphertexts: &[LweCiphertext], keys: &GaloisKeys) -> Result<Ciphertext, HeError> {
        let n = self.n();
        if ciphertexts.is_empty() || ciphertexts.len() > n {
            let found = ciphertexts.len();
            return Err(HeError::Length { what: "the LWE ciphertexts to pack", expected: n, found });
        }
        let limbs = ciphertexts[0].limbs();
        assert!(
            ciphertexts.iter().all(|ciphertext| ciphertext.limbs() == limbs),
            "LWE ciphertexts of one level"
        );
        let depth = ciphertexts.len().next_power_of_two().ilog2();
        let tables = self.rlwe().ciphertext_tables(limbs);
        let shift = |k: u32| RnsPoly::from_signed(tables, &[(n >> k, 1)]).into_ntt(tables);
        let packing = Packing {
            params: self,
            ciphertexts,
            keys,
            factors: self.rlwe().moduli(limbs).iter().map(|q| q.inv(q.reduce(n as u64))).collect(),
            shifts: (1..=depth).map(shift).collect(),
        };
        let mut sum = packing.tree(0, depth)?.expect("the first of the leaves is there");
        for k in depth + 1..=n.ilog2() {
            let image = packing.image(&sum, k)?;
            sum += &image;
        }
        Ok(Ciphertext::wrap(sum))
    }
}

struct Packing<'a> {
    params: &'a Params,
    ciphertexts: &'a [LweCiphertext],
    keys: &'a GaloisKeys,
    /// 1/N modulo each prime.
    factors: Vec<u64>,
    /// The values of X^(N/2^k), k from 1.
    shifts: Vec<RnsPoly<crate::Ntt>>,
}

impl Packing<'_> {
    /// The ciphertexts `first`, `first` + n/2^k, ... of n in all, joined; `None` when all are missing.
    fn tree(&self, first: usize, k: u32) -> Result<Option<rlwe::Ciphertext>, HeError> {
        if k == 0 {
            let leaf = self.ciphertexts.get(first);
            return Ok(leaf.map(|leaf| self.params.embed_scaled(leaf, &self.factors)));
        }
        let stride = 1 << (self.shifts.len() as u32 - k);
        let halves = || (self.tree(first, k - 1), self.tree(first + stride, k - 1));
        let (even, odd) = if rayon::current_num_threads() > 1 {
            rayon::join(|| self.tree(first, k - 1), || self.tree(first + stride, k - 1))
        } else {
            halves()
        };
        let Some(mut sum) = even? else { return Ok(None) };
        let Some(mut odd) = odd? else {
            let image = self.image(&sum, k)?;
            sum += &image;
            return Ok(Some(sum));
        };
        let (shift, tables) =
            (&self.shifts[k as usize - 1], self.params.rlwe().ciphertext_tables(self.factors.len()));
        for part in odd.parts_mut() {
            *part = part.mul(tables, shift);
        }
        let mut difference = sum.duplicate();
        difference -= &odd;
        sum += &odd;
        let image = self.image(&difference, k)?;
        sum += &image;
        Ok(Some(sum))
    }

    /// The image under X to X^(2^k + 1).
    fn image(&self, ciphertext: &rlwe::Ciphertext, k: u32) -> Result<rlwe::Ciphertext, HeError> {
        self.keys.apply(self.params.rlwe(), ciphertext, (1 << k) + 1)
    }
}
