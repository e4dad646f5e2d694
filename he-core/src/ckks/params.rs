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
//! [`Literal`] says how the primes of 40 bits are chosen. The first prime leaves 2^9 for the values themselves, signs
//! included, when all others are dropped.

use std::sync::{Arc, OnceLock};

use super::chain::Literal;
use super::embedding::{Embedding, FloatKernel};
use super::residues::Reconstruction;
use super::wide::WideRoots;
use crate::error::HeError;
use crate::ntt::NttTable;
use crate::poly::Ntt;
use crate::rlwe::RlweParams;
use crate::rns::RnsPoly;
use crate::rns::drop::ModDown;

struct Inner {
    rlwe: RlweParams,
    scale: f64,
    embedding: Embedding,
    simd: FloatKernel,
    reconstruction: Reconstruction,
    /// X^(N/2): the imaginary unit in every slot.
    imaginary: RnsPoly<Ntt>,
    /// Division by the last of l primes, entry l - 2.
    rescalings: Vec<OnceLock<ModDown>>,
    /// Of wide decoding, made when it is first asked for.
    wide_roots: OnceLock<WideRoots>,
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
        let simd = FloatKernel::best();
        let moduli = rlwe.moduli(rlwe.limbs());
        let tables = rlwe.ciphertext_tables(rlwe.limbs());
        let imaginary = RnsPoly::from_signed(tables, &[(rlwe.n() / 2, 1)]).into_ntt(tables);
        Ok(Self(Arc::new(Inner {
            embedding: Embedding::with_kernel(rlwe.n() / 2, simd),
            reconstruction: Reconstruction::new(moduli, simd),
            rescalings: (1..rlwe.limbs()).map(|_| OnceLock::new()).collect(),
            wide_roots: OnceLock::new(),
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
        let (depth, special_bits, special_primes) = match degree {
            8192 => (2, 50, 1),
            16384 => (6, 50, 1),
            32768 => (17, 44, 3),
            _ => return Err(HeError::Degree { n: degree }),
        };
        Self::from_literal(&Literal {
            degree,
            first_bits: 50,
            scale_bits: 40,
            depth,
            special_bits,
            special_primes,
        })
    }

    /// The parameters that a literal wishes for, with its scale.
    ///
    /// # Errors
    /// As [`Literal::chain`], [`RlweParams::new`] and [`Params::new`].
    pub fn from_literal(literal: &Literal) -> Result<Self, HeError> {
        Self::new(RlweParams::new(&literal.chain()?)?, literal.scale())
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

    pub(super) fn simd(&self) -> FloatKernel {
        self.0.simd
    }

    pub(super) fn reconstruction(&self) -> &Reconstruction {
        &self.0.reconstruction
    }

    pub(super) fn wide_roots(&self) -> &WideRoots {
        self.0.wide_roots.get_or_init(|| WideRoots::new(self.slots()))
    }

    /// X^(N/2) modulo all ciphertext primes.
    pub(super) fn imaginary(&self) -> &RnsPoly<Ntt> {
        &self.0.imaginary
    }

    /// Division by the last of `limbs` primes, 2 <= limbs <= L.
    pub(super) fn rescaling(&self, limbs: usize) -> &ModDown {
        self.0.rescalings[limbs - 2].get_or_init(|| {
            let (kept, dropped) = self.0.rlwe.moduli(limbs).split_at(limbs - 1);
            ModDown::new(dropped, kept)
        })
    }
}
