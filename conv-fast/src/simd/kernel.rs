//! The instruction set, chosen once at run time.
//!
//! Two ways lead from one source to several instruction sets. The products ([`crate::matmul`], [`crate::wide`]) are written
//! by hand for each set. Everything else (transforms, digits, reductions, transposes) is plain Rust over arrays of
//! eight words, a [`Task`], that [`Kernel::run`] compiles once per set and that the compiler turns into vector code. So
//! that code is its own twin: the same lines, other registers.

#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "calls of functions compiled for an instruction set that was found")
)]

/// An instruction set. [`Kernel::Portable`] is the twin that the others are tested against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kernel {
    /// Plain Rust.
    Portable,
    /// 128-bit NEON of 64-bit ARM.
    Neon,
    /// 256-bit AVX2 with FMA.
    Avx2,
    /// 512-bit AVX-512 F, BW, DQ, VL with VNNI, VBMI and IFMA.
    Avx512,
}

/// Work that is compiled once per instruction set. `run` and all it calls should be `#[inline(always)]`.
pub(crate) trait Task {
    /// What it returns.
    type Output;
    /// Does the work.
    fn run(self) -> Self::Output;
}

impl Kernel {
    /// The kernels that this machine can run, slowest first.
    pub fn available() -> Vec<Self> {
        let all = [Self::Portable, Self::Neon, Self::Avx2, Self::Avx512];
        all.into_iter().filter(|kernel| kernel.is_available()).collect()
    }

    /// The fastest kernel of this machine.
    pub fn best() -> Self {
        Self::available().last().copied().unwrap_or(Self::Portable)
    }

    /// Whether this machine can run it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            Self::Neon => cfg!(target_arch = "aarch64"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
                    && is_x86_feature_detected!("avx512vbmi")
                    && is_x86_feature_detected!("avx512ifma")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 => false,
        }
    }

    /// Runs a task compiled for this instruction set.
    ///
    /// # Panics
    /// If the machine lacks it (one load and a compare per feature: cheap beside any task).
    #[inline]
    pub(crate) fn run<T: Task>(self, task: T) -> T::Output {
        assert!(self.is_available(), "this machine has no {self:?}");
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the features were found just above.
            Self::Avx512 => unsafe { avx512(task) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the features were found just above.
            Self::Avx2 => unsafe { avx2(task) },
            _ => task.run(),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi,avx512ifma")]
fn avx512<T: Task>(task: T) -> T::Output {
    task.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<T: Task>(task: T) -> T::Output {
    task.run()
}
