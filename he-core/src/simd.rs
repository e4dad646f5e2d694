//! Which instruction sets streams and samplers may use: a closed list, asked once at run time.
//!
//! The transforms have their own list ([`crate::ntt::Kernel`]), because there a kernel also decides the form of the
//! tables. Here every level computes the same bytes from the same bytes; levels differ in speed only.
//!
//! | level | instructions | first CPUs |
//! |---|---|---|
//! | [`Simd::Portable`] | none beyond the target's own | any |
//! | [`Simd::Avx2`] | AVX2, POPCNT | Haswell, Excavator |
//! | [`Simd::Avx512`] | AVX-512 F, BW, DQ, VL, VBMI, VBMI2, VPOPCNTDQ | Ice Lake, Zen 4 |
//!
//! The last level is taken whole: a CPU with a part of it (Skylake-X) runs the one before. Callers outside of tests get
//! a level from [`Simd::best`] alone, and that is what makes the calls of `#[target_feature]` functions sound.

/// A set of instructions that kernels of [`crate::seed`] and [`crate::sample`] are written for, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Simd {
    /// No assumption about the CPU.
    Portable,
    /// x86-64 with AVX2 and POPCNT.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// x86-64 with AVX-512 as of Ice Lake: see the table above.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Simd {
    /// The strongest level of this CPU. The answer is kept by the standard library; asking costs a few loads.
    #[inline]
    pub(crate) fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if avx512() {
                return Self::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt") {
                return Self::Avx2;
            }
        }
        Self::Portable
    }

    /// Every level that this CPU has, weakest first; never empty.
    #[cfg(test)]
    pub(crate) fn available() -> Vec<Self> {
        let best = Self::best();
        let all = [
            Self::Portable,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512,
        ];
        all.into_iter().filter(|&level| level <= best).collect()
    }
}

/// The knowledge that this CPU has AVX-512F and AVX-512IFMA. Modules add the loops that need it as methods.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ifma(());

#[cfg(target_arch = "x86_64")]
impl Ifma {
    pub(crate) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512ifma")).then_some(Self(()))
    }
}

#[cfg(target_arch = "x86_64")]
fn avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vbmi")
        && is_x86_feature_detected!("avx512vbmi2")
        && is_x86_feature_detected!("avx512vpopcntdq")
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("popcnt")
}
