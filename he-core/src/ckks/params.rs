//! CKKS parameters: checked RLWE parameters, a scale, and what encoding needs.
//!
//! | quantity | meaning | range |
//! |---|---|---|
//! | N, N/2 | ring degree; complex slots of a message | N from 8 in tests, 1024..=32768 otherwise |
//! | scale Delta | a value z is held as about Delta z | 1 <= Delta, 4 Delta <= Q |
//! | limbs l | primes that a ciphertext lives modulo; rescaling drops the last | 1..=L |
//! | depth | how often a fresh ciphertext can be rescaled | L - 1 |
//!
//! | preset | ciphertext primes (bits) | special primes (bits) | log2 Q P | scale | depth |
//! |---|---|---|---|---|---|
//! | 8192 | 50, two of 40 | 50 | 180 | 2^40 | 2 |
//! | 16384 | 50, six of 40 | 50 | 340 | 2^40 | 6 |
//! | 32768 | 50, seventeen of 40 | three of 44 | 862 | 2^40 | 17 |
//!
//! The primes of 40 bits are near 2^40 on both sides. A product at scale S has scale S^2 / q once it is rescaled,
//! which doubles any drift, so each prime is the one that undoes it best: scales stay within 2^-16 of 2^40 down to
//! the last level (compare A. Kim, A. Papadimitriou, Y. Polyakov, *Approximate homomorphic encryption with reduced
//! approximation error*, CT-RSA 2022, section 3, on what scales that drift cost). The first prime leaves 2^9 for the
//! values themselves, signs included, when all others are dropped.

use std::sync::{Arc, OnceLock};

use super::embedding::{Embedding, Simd};
use super::residues::Reconstruction;
use crate::error::HeError;
use crate::ntt::NttTable;
use crate::poly::Ntt;
use crate::prime::is_prime;
use crate::rlwe::{RlweLiteral, RlweParams};
use crate::rns::convert::Converter;
use crate::rns::{RnsPoly, Tables};

struct Inner {
    rlwe: RlweParams,
    scale: f64,
    embedding: Embedding,
    simd: Simd,
    reconstruction: Reconstruction,
    /// X^(N/2): the imaginary unit in every slot.
    imaginary: RnsPoly<Ntt>,
    rescalings: Vec<OnceLock<Rescaling>>,
}

/// What dropping the last of l primes needs; entry l - 2 of the list.
pub(super) struct Rescaling {
    /// From the last prime to those before it.
    pub(super) down: Converter,
    /// The inverse of the last prime modulo those before it.
    pub(super) inverse: Vec<u64>,
}

/// A checked CKKS parameter set. Cloning shares the tables.
#[derive(Clone)]
pub struct Params(Arc<Inner>);

impl core::fmt::Debug for Params {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "ckks::Params({:?}, scale 2^{:.3})", self.0.rlwe, self.0.scale.log2())
    }
}

impl PartialEq for Params {
    fn eq(&self, other: &Self) -> bool {
        self.0.rlwe == other.0.rlwe && self.0.scale == other.0.scale
    }
}

impl Params {
    /// CKKS over these parameters with this default scale.
    ///
    /// # Errors
    /// [`HeError::ScaleRange`] unless 1 <= scale and 4 scale <= Q (and scale < 2^120), [`HeError::Degree`] below N = 8.
    pub fn new(rlwe: RlweParams, scale: f64) -> Result<Self, HeError> {
        let log2_most = (rlwe.log2_q(rlwe.limbs()) - 2.0).min(120.0);
        if !(scale >= 1.0 && scale.log2() <= log2_most) {
            return Err(HeError::ScaleRange { log2_scale: scale.log2(), log2_most });
        }
        if rlwe.n() < 8 {
            return Err(HeError::Degree { n: rlwe.n() });
        }
        let simd = Simd::best();
        let moduli = rlwe.moduli(rlwe.limbs());
        let tables = rlwe.ciphertext_tables(rlwe.limbs());
        let imaginary = RnsPoly::from_signed(tables, &[(rlwe.n() / 2, 1)]).into_ntt(tables);
        Ok(Self(Arc::new(Inner {
            embedding: Embedding::with_kernel(rlwe.n() / 2, simd),
            reconstruction: Reconstruction::new(moduli, simd),
            rescalings: (1..rlwe.limbs()).map(|_| OnceLock::new()).collect(),
            imaginary,
            simd,
            scale,
            rlwe,
        })))
    }

    /// The preset of a degree, 8192 to 32768: see the module essay.
    ///
    /// # Errors
    /// [`HeError::Degree`] for a degree without a preset.
    pub fn preset(degree: usize) -> Result<Self, HeError> {
        let (inner, special_bits, special) = match degree {
            8192 => (2, 50, 1),
            16384 => (6, 50, 1),
            32768 => (17, 44, 3),
            _ => return Err(HeError::Degree { n: degree }),
        };
        let literal = literal(degree, 50, 40, inner, special_bits, special)?;
        Self::new(RlweParams::new(&literal)?, 2.0_f64.powi(40))
    }

    /// The parameters of the ring, for keys.
    #[must_use]
    pub fn rlwe(&self) -> &RlweParams {
        &self.0.rlwe
    }

    /// The ring degree N.
    #[must_use]
    pub fn n(&self) -> usize {
        self.0.rlwe.n()
    }

    /// N/2: the complex numbers of a message.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.n() / 2
    }

    /// The number L of ciphertext primes: the limbs of a fresh ciphertext.
    #[must_use]
    pub fn limbs(&self) -> usize {
        self.0.rlwe.limbs()
    }

    /// How often a fresh ciphertext can be rescaled: L - 1.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.limbs() - 1
    }

    /// The default scale Delta.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.0.scale
    }

    /// The prime that rescaling a ciphertext of `limbs` limbs divides by: the last of the first `limbs`.
    ///
    /// # Panics
    /// Unless 1 <= limbs <= L.
    #[must_use]
    pub fn last_prime(&self, limbs: usize) -> f64 {
        self.0.rlwe.moduli(limbs)[limbs - 1].value() as f64
    }

    /// log2 of the largest scale that a message of size one can have at this number of limbs: log2 Q_l - 2.
    pub(super) fn log2_most_scale(&self, limbs: usize) -> f64 {
        self.0.rlwe.log2_q(limbs) - 2.0
    }

    pub(super) fn tables(&self, limbs: usize) -> &[NttTable] {
        self.0.rlwe.ciphertext_tables(limbs)
    }

    pub(super) fn embedding(&self) -> &Embedding {
        &self.0.embedding
    }

    pub(super) fn simd(&self) -> Simd {
        self.0.simd
    }

    pub(super) fn reconstruction(&self) -> &Reconstruction {
        &self.0.reconstruction
    }

    /// X^(N/2) modulo all ciphertext primes.
    pub(super) fn imaginary(&self) -> &RnsPoly<Ntt> {
        &self.0.imaginary
    }

    /// How to drop the last of `limbs` primes, 2 <= limbs <= L.
    pub(super) fn rescaling(&self, limbs: usize) -> &Rescaling {
        self.0.rescalings[limbs - 2].get_or_init(|| {
            let (last, rest) =
                self.0.rlwe.moduli(limbs).split_last().expect("parameters have at least one prime");
            Rescaling {
                down: Converter::new(&[*last], rest),
                inverse: rest.iter().map(|q| q.inv(q.reduce(last.value()))).collect(),
            }
        })
    }
}

impl Tables for Params {
    /// The tables of all ciphertext primes; unlike those of [`RlweParams`], without the special ones.
    fn tables(&self) -> &[NttTable] {
        self.tables(self.limbs())
    }
}

/// A chain for scales of 2^`bits`: one prime of `first` bits, `inner` primes near 2^`bits` in the order of the module
/// essay, and `special` primes of `special_bits` bits.
///
/// # Errors
/// [`HeError::PrimeChain`] when there are not enough primes.
pub fn literal(
    degree: usize,
    first: u32,
    bits: u32,
    inner: usize,
    special_bits: u32,
    special: usize,
) -> Result<RlweLiteral, HeError> {
    let mut literal = RlweLiteral::from_bits(degree, &[first], &vec![special_bits; special])?;
    let mut taken = literal.ciphertext_primes.clone();
    taken.extend(&literal.special_primes);
    let mut near = primes_near(bits, 2 * degree as u64, inner + SPARE, &taken)?;
    // The scale of squares of squares, over 2^bits: each prime is chosen to bring it back to one.
    let (mut drift, mut inner_primes) = (1.0, Vec::with_capacity(inner));
    for _ in 0..inner {
        let size = |&q: &u64| q as f64 / f64::from(bits).exp2();
        let best = (0..near.len())
            .min_by(|&a, &b| {
                let miss = |i: usize| (drift * drift - size(&near[i])).abs();
                miss(a).total_cmp(&miss(b))
            })
            .expect("there are spare primes");
        drift = drift * drift / size(&near[best]);
        inner_primes.push(near.remove(best));
    }
    literal.ciphertext_primes.extend(inner_primes.into_iter().rev());
    Ok(literal)
}

/// Primes more than needed, to choose from.
const SPARE: usize = 8;

/// Primes that are 1 mod `two_n`, nearest to 2^bits, one above and one below in turn.
fn primes_near(bits: u32, two_n: u64, count: usize, taken: &[u64]) -> Result<Vec<u64>, HeError> {
    let missing = HeError::PrimeChain { what: "there are not enough primes near the scale for this degree" };
    if !(3..=59).contains(&bits) || two_n >= 1 << (bits - 1) {
        return Err(missing);
    }
    let centre = 1_u64 << bits;
    let (mut above, mut below) = (centre + 1, centre + 1 - two_n);
    let mut primes = Vec::with_capacity(count);
    // Within a factor of two of the scale, and not for ever: both walks leave their range.
    while primes.len() < count {
        let up = primes.len() % 2 == 0;
        let candidate = if up { &mut above } else { &mut below };
        while !is_prime(*candidate) || taken.contains(candidate) {
            *candidate =
                if up { *candidate + two_n } else { candidate.checked_sub(two_n).ok_or(missing.clone())? };
            if !(centre / 2..2 * centre).contains(candidate) {
                return Err(missing);
            }
        }
        primes.push(*candidate);
        *candidate = if up { *candidate + two_n } else { *candidate - two_n };
    }
    Ok(primes)
}
