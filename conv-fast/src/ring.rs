//! The rings of convolutions: Z_q for a prime q, and Z_2^k.

use crate::ConvError;
use crate::lanes::PrimeLanes;
use he_core::Modulus;

/// Where values live. Elements are `u64` in canonical form: below q, or below 2^k.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    /// Z_q, the ring of the protocol's linear layers.
    Prime(Modulus),
    /// Z_2^k for 1 ≤ k ≤ 64, as [`Ring::power_of_two`] makes it.
    #[non_exhaustive]
    PowerOfTwo(u32),
}

impl From<Modulus> for Ring {
    fn from(modulus: Modulus) -> Self {
        Self::Prime(modulus)
    }
}

impl From<&Modulus> for Ring {
    fn from(modulus: &Modulus) -> Self {
        Self::Prime(*modulus)
    }
}

impl Ring {
    /// Z_2^bits.
    ///
    /// # Errors
    /// [`ConvError::Modulus`] unless 1 ≤ bits ≤ 64.
    pub fn power_of_two(bits: u32) -> Result<Self, ConvError> {
        if (1..=64).contains(&bits) {
            Ok(Self::PowerOfTwo(bits))
        } else {
            Err(ConvError::Modulus { modulus: u64::from(bits), wanted: "1 to 64 bits" })
        }
    }

    /// Bits of an element.
    pub fn bits(&self) -> u32 {
        match self {
            Self::Prime(modulus) => modulus.bits(),
            Self::PowerOfTwo(bits) => *bits,
        }
    }

    /// Whether the fast algorithms serve it: Z_2^k, and Z_q with q < 2^52.
    pub fn is_fast(&self) -> bool {
        match self {
            Self::Prime(modulus) => PrimeLanes::serves(modulus.value()),
            Self::PowerOfTwo(_) => true,
        }
    }

    /// Greatest element.
    pub fn greatest(&self) -> u64 {
        match self {
            Self::Prime(modulus) => modulus.value() - 1,
            Self::PowerOfTwo(bits) => u64::MAX >> (64 - bits),
        }
    }

    /// A signed integer as an element.
    #[inline(always)]
    pub fn from_i64(&self, value: i64) -> u64 {
        match self {
            Self::Prime(modulus) => modulus.from_i64(value),
            Self::PowerOfTwo(_) => value as u64 & self.greatest(),
        }
    }

    /// A signed integer as an element.
    #[inline(always)]
    pub fn from_i128(&self, value: i128) -> u64 {
        match self {
            Self::Prime(modulus) => modulus.from_i128(value),
            Self::PowerOfTwo(_) => value as u64 & self.greatest(),
        }
    }

    /// An element as a signed integer of least absolute value: (−q/2, q/2], or [−2^(k−1), 2^(k−1)).
    #[inline(always)]
    pub fn center(&self, value: u64) -> i64 {
        match self {
            Self::Prime(modulus) => modulus.center(value),
            Self::PowerOfTwo(bits) => ((value << (64 - bits)) as i64) >> (64 - bits),
        }
    }

    /// Sum of two elements.
    #[inline(always)]
    pub fn add(&self, a: u64, b: u64) -> u64 {
        match self {
            Self::Prime(modulus) => modulus.add(a, b),
            Self::PowerOfTwo(_) => a.wrapping_add(b) & self.greatest(),
        }
    }

    /// Product of two elements.
    #[inline(always)]
    pub fn mul(&self, a: u64, b: u64) -> u64 {
        match self {
            Self::Prime(modulus) => modulus.mul(a, b),
            Self::PowerOfTwo(_) => a.wrapping_mul(b) & self.greatest(),
        }
    }
}

impl std::fmt::Display for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Prime(modulus) => write!(f, "Z_{}", modulus.value()),
            Self::PowerOfTwo(bits) => write!(f, "Z_2^{bits}"),
        }
    }
}
