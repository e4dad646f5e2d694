//! The negacyclic transform on 32-bit words, for primes q < 2^32: twice the lanes and half the memory.
//!
//! The same transform as [`NttTable`]'s, with the same psi and the same order, so that a polynomial may go from one to
//! the other by widening or narrowing its words. `simd` holds the arithmetic with its ranges, `sums` the sums of
//! products; the walk over memory is that of `super::passes`.
//!
//! | axis | shape | order | range |
//! |---|---|---|---|
//! | coefficients | N | natural: word i is the coefficient of X^i | [0, q) in and out |
//! | values | N | bit-reversed: word i is the value at psi^(2*brv(i) + 1) | [0, q) in and out |
//!
//! | kernel | lanes | least N |
//! |---|---|---|
//! | [`Kernel::Portable`] | 1 | 2 |
//! | [`Kernel::Neon`] | 4 | 64 |
//! | [`Kernel::Avx2`] | 8 | 32 |
//! | [`Kernel::Avx512`] | 16 | 256 |
//!
//! Three widths of q have their own arithmetic, below 2^30, 2^31 and 2^32, the narrower the faster. All kernels run in
//! time independent of the values. Not promised: slices of the wrong length panic, values outside [0, q) give wrong
//! results (debug builds assert).
//!
//! [`NttTable`]: super::NttTable

mod portable;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod simd;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod sums;

use std::sync::Arc;

use super::{Kernel, Roots, powers};
use crate::error::HeError;
use crate::modulus::Modulus;
use crate::prime::root_of_unity;

/// One variant per kernel, with the proof that the CPU has it.
#[derive(Debug, Clone, Copy)]
enum Engine {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Avx512),
    #[cfg(target_arch = "aarch64")]
    Neon(neon::Neon),
}

#[derive(Debug)]
struct Inner {
    n: usize,
    modulus: Modulus,
    q: u32,
    psi: u64,
    kernel: Kernel,
    engine: Engine,
    roots: Roots<u32>,
}

/// Everything precomputed for one (N, q, kernel) with q < 2^32. Cloning shares the tables.
#[derive(Debug, Clone)]
pub struct NarrowTable {
    inner: Arc<Inner>,
}

/// Calls a method of a SIMD engine with the width of the modulus.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! by_width {
    ($engine:ident . $method:ident ( $($argument:expr),* ), $q:expr) => {
        match simd::width($q) {
            30 => $engine.$method::<simd::Quarter>($($argument),*),
            31 => $engine.$method::<simd::Half>($($argument),*),
            _ => $engine.$method::<simd::Whole>($($argument),*),
        }
    };
}

impl NarrowTable {
    /// The table of degree n (a power of two in 2..=65536) modulo q < 2^32 with the fastest kernel of this machine.
    ///
    /// # Errors
    /// [`HeError::Bits`] unless q < 2^32, [`HeError::Degree`] or [`HeError::NoRoot`] unless q = 1 mod 2n.
    pub fn new(n: usize, modulus: Modulus) -> Result<Self, HeError> {
        let fastest = [Kernel::Avx512, Kernel::Avx2, Kernel::Neon]
            .into_iter()
            .find(|&kernel| engine(kernel, n).is_some());
        Self::with_kernel(n, modulus, fastest.unwrap_or(Kernel::Portable))
    }

    /// As [`NarrowTable::new`], with the kernel given: one of [`Kernel::Portable`], [`Kernel::Neon`], [`Kernel::Avx2`]
    /// and [`Kernel::Avx512`].
    ///
    /// # Errors
    /// As [`NarrowTable::new`], and [`HeError::KernelUnavailable`] when the CPU lacks the kernel, the kernel does not
    /// serve this degree, or has no form for 32-bit words.
    pub fn with_kernel(n: usize, modulus: Modulus, kernel: Kernel) -> Result<Self, HeError> {
        if !n.is_power_of_two() || !(2..=65536).contains(&n) {
            return Err(HeError::Degree { n });
        }
        let wide = modulus.value();
        let Ok(q) = u32::try_from(wide) else {
            return Err(HeError::Bits {
                what: "a modulus of 32-bit words",
                bits: modulus.bits(),
                least: 2,
                most: 32,
            });
        };
        let psi = root_of_unity(&modulus, 2 * n as u64).ok_or(HeError::NoRoot { n, q: wide })?;
        let engine = engine(kernel, n).ok_or(HeError::KernelUnavailable { kernel, q: wide, n })?;
        let entry: fn(u32, u32) -> (u32, u32) = match engine {
            Engine::Portable => portable::entry,
            #[cfg(target_arch = "x86_64")]
            Engine::Avx2(_) | Engine::Avx512(_) => simd::entry(q),
            #[cfg(target_arch = "aarch64")]
            Engine::Neon(_) => simd::entry(q),
        };
        let (forward, inverse) = powers(n, &modulus, psi);
        let roots = Roots::new(&forward, &inverse, |w| entry(w as u32, q).0, |w| entry(w as u32, q).1);
        Ok(Self { inner: Arc::new(Inner { n, modulus, q, psi, kernel, engine, roots }) })
    }

    /// The ring degree N.
    #[inline]
    #[must_use]
    pub fn n(&self) -> usize {
        self.inner.n
    }

    /// The modulus q.
    #[inline]
    #[must_use]
    pub fn modulus(&self) -> &Modulus {
        &self.inner.modulus
    }

    /// psi, the primitive 2N-th root of unity at whose odd powers polynomials are evaluated.
    #[inline]
    #[must_use]
    pub fn psi(&self) -> u64 {
        self.inner.psi
    }

    /// The kernel that does the work.
    #[inline]
    #[must_use]
    pub fn kernel(&self) -> Kernel {
        self.inner.kernel
    }

    /// Coefficients (natural order) to values (bit-reversed order), in place.
    ///
    /// # Panics
    /// When the slice does not have N words.
    pub fn forward(&self, words: &mut [u32]) {
        self.check(words);
        let Inner { q, engine, roots, .. } = &*self.inner;
        match engine {
            Engine::Portable => portable::forward(words, roots, *q),
            #[cfg(target_arch = "x86_64")]
            Engine::Avx2(engine) => by_width!(engine.forward(words, roots, *q), *q),
            #[cfg(target_arch = "x86_64")]
            Engine::Avx512(engine) => by_width!(engine.forward(words, roots, *q), *q),
            #[cfg(target_arch = "aarch64")]
            Engine::Neon(engine) => by_width!(engine.forward(words, roots, *q), *q),
        }
    }

    /// Values (bit-reversed order) to coefficients (natural order), in place, the factor 1/N included.
    ///
    /// # Panics
    /// When the slice does not have N words.
    pub fn inverse(&self, words: &mut [u32]) {
        self.check(words);
        let Inner { q, engine, roots, .. } = &*self.inner;
        match engine {
            Engine::Portable => portable::inverse(words, roots, *q),
            #[cfg(target_arch = "x86_64")]
            Engine::Avx2(engine) => by_width!(engine.inverse(words, roots, *q), *q),
            #[cfg(target_arch = "x86_64")]
            Engine::Avx512(engine) => by_width!(engine.inverse(words, roots, *q), *q),
            #[cfg(target_arch = "aarch64")]
            Engine::Neon(engine) => by_width!(engine.inverse(words, roots, *q), *q),
        }
    }

    /// out = a * b, pointwise.
    ///
    /// # Panics
    /// When a slice does not have N words.
    pub fn mul(&self, a: &[u32], b: &[u32], out: &mut [u32]) {
        self.dot(&[(a, b)], out);
    }

    /// acc = acc + a * b, pointwise and reduced.
    ///
    /// # Panics
    /// When a slice does not have N words.
    pub fn mul_acc(&self, acc: &mut [u32], a: &[u32], b: &[u32]) {
        self.accumulate(&[(a, b)], acc);
    }

    /// out = the sum over all terms of left * right, pointwise; zero without terms.
    ///
    /// # Panics
    /// When a slice does not have N words.
    pub fn dot(&self, terms: &[(&[u32], &[u32])], out: &mut [u32]) {
        out.fill(0);
        self.accumulate(terms, out);
    }

    fn accumulate(&self, terms: &[(&[u32], &[u32])], acc: &mut [u32]) {
        self.check(acc);
        for (a, b) in terms {
            self.check(a);
            self.check(b);
        }
        match &self.inner.engine {
            Engine::Portable => portable::accumulate(terms, acc, self.modulus()),
            #[cfg(target_arch = "x86_64")]
            Engine::Avx2(engine) => by_width!(engine.accumulate(terms, acc, self.inner.q), self.inner.q),
            #[cfg(target_arch = "x86_64")]
            Engine::Avx512(engine) => by_width!(engine.accumulate(terms, acc, self.inner.q), self.inner.q),
            #[cfg(target_arch = "aarch64")]
            Engine::Neon(engine) => by_width!(engine.accumulate(terms, acc, self.inner.q), self.inner.q),
        }
    }

    fn check(&self, words: &[u32]) {
        assert_eq!(words.len(), self.n(), "a transform of degree {} got another length", self.n());
        debug_assert!(words.iter().all(|&w| w < self.inner.q), "a word is not a residue");
    }
}

/// The engine of a kernel, where this CPU has it and it serves the degree.
fn engine(kernel: Kernel, n: usize) -> Option<Engine> {
    let (least, engine) = match kernel {
        Kernel::Portable => (2, Some(Engine::Portable)),
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx2 => (32, avx2::Avx2::detect().map(Engine::Avx2)),
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx512 => (256, avx512::Avx512::detect().map(Engine::Avx512)),
        #[cfg(target_arch = "aarch64")]
        Kernel::Neon => (64, neon::Neon::detect().map(Engine::Neon)),
        _ => (2, None),
    };
    engine.filter(|_| n >= least)
}

#[cfg(test)]
mod tests;
