//! Which instruction set does the transforms: a closed list, asked once at run time.

use crate::modulus::Modulus;

/// An implementation of the transform and of the pointwise products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// 64-bit Shoup butterflies, any CPU, q < 2^61.
    Portable,
    /// Four lanes of 32-bit words (aarch64 NEON): for [`super::NarrowTable`] alone, N >= 64. There is no vector
    /// multiplier of 64-bit words: a product of twiddle and word takes nine multiplications of 32 bits and a dozen other
    /// instructions for two lanes, against three multiplications of 64 bits by plain instructions for one.
    Neon,
    /// Four lanes (x86-64 AVX2 and FMA), N >= 32: of doubles with fused multiply-add for q < 2^50, of 64-bit words above.
    Avx2,
    /// Eight lanes of 64-bit words (x86-64 AVX-512F, DQ and IFMA), 2^12 < q < 2^61, N >= 32.
    Avx512,
    /// Eight lanes with 52-bit multiply-add (x86-64 AVX-512F and AVX-512IFMA), q < 2^50, N >= 256.
    Avx512Ifma,
}

/// The kernels of doubles and 52-bit words keep residues below 2^50: 4q fits the 52 bits that their multipliers see.
pub(super) const SIMD_BOUND: u64 = 1 << 50;
/// The kernel of 64-bit words divides 2^64 by q to 52 bits.
const WIDE_LEAST: u64 = 1 << 12;

impl Kernel {
    /// The kernels that this CPU can run, slowest first (where all serve); never empty. [`Kernel::serves`] says whether one
    /// has a form for a modulus of 64-bit words.
    #[must_use]
    pub fn available() -> Vec<Self> {
        [Self::Portable, Self::Neon, Self::Avx2, Self::Avx512, Self::Avx512Ifma]
            .into_iter()
            .filter(|k| k.detected())
            .collect()
    }

    /// The fastest kernel that can run here for degree n modulo q.
    #[must_use]
    pub fn best(n: usize, modulus: &Modulus) -> Self {
        [Self::Avx512Ifma, Self::Avx512, Self::Avx2]
            .into_iter()
            .find(|k| k.serves(n, modulus))
            .unwrap_or(Self::Portable)
    }

    /// The kernel with the longest vectors of words, for loops that need no table.
    pub(crate) fn widest() -> Self {
        [Self::Avx512Ifma, Self::Avx2].into_iter().find(|k| k.detected()).unwrap_or(Self::Portable)
    }

    /// Whether this kernel can run here for degree n modulo q, on 64-bit words ([`super::NttTable`]).
    #[must_use]
    pub fn serves(self, n: usize, modulus: &Modulus) -> bool {
        self.detected() && n >= self.least_degree() && self.spans(modulus)
    }

    /// The smallest degree for which every stage fills its registers.
    fn least_degree(self) -> usize {
        match self {
            Self::Portable => 1,
            Self::Neon => 64,
            Self::Avx2 | Self::Avx512 => 32,
            Self::Avx512Ifma => 256,
        }
    }

    /// Whether the modulus is in the range of this kernel.
    fn spans(self, modulus: &Modulus) -> bool {
        match self {
            Self::Portable | Self::Avx2 => true,
            Self::Neon => false,
            Self::Avx512Ifma => modulus.value() < SIMD_BOUND,
            Self::Avx512 => modulus.value() > WIDE_LEAST,
        }
    }

    pub(super) fn detected(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Self::Avx512Ifma.detected() && is_x86_feature_detected!("avx512dq"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Ifma => is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512ifma"),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            _ => false,
        }
    }
}
