//! The negacyclic number-theoretic transform: products in Z_q\[X\]/(X^N + 1), pointwise.
//!
//! Lazy butterflies after D. Harvey, *Faster arithmetic for number-theoretic transforms* (2014), in the merged form
//! of P. Longa and M. Naehrig, *Speeding up the number theoretic transform for faster ideal lattice-based
//! cryptography* (CANS 2016, algorithms 1 and 2): the powers of psi, the primitive 2N-th root of unity chosen by
//! [`crate::prime::root_of_unity`], are folded into the twiddle factors.
//!
//! | axis | shape | order | range |
//! |---|---|---|---|
//! | coefficients | N | natural: word i is the coefficient of X^i | [0, q) in and out |
//! | values | N | bit-reversed: word i is the value at psi^(2*brv(i) + 1) | [0, q) in and out |
//!
//! brv reverses the log2 N bits of an index. The order and psi are part of the wire format and the same for every
//! kernel. Kernels differ in words only; [`Kernel`] says which moduli each serves (one of them every q < 2^61), and the
//! SIMD kernels want N >= 32, 64 or 128. A kernel is chosen once, when the table is built, and a table with a kernel that this CPU lacks
//! cannot be built: that check is what makes the calls of the `#[target_feature]` functions sound.
//!
//! `reference` holds the slow twins (quadratic product, evaluation at each root) that every kernel is tested against.
//! All kernels run in time independent of the values. Not promised: slices of the wrong length panic, values
//! outside [0, q) give wrong results (debug builds assert).

pub(crate) mod elementwise;
mod kernel;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod lanes;
mod narrow;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod passes;
mod pointwise;
mod portable;
pub mod reference;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod ifma;
#[cfg(target_arch = "x86_64")]
mod wide256;
#[cfg(target_arch = "x86_64")]
pub(crate) mod wide512;

use std::sync::Arc;

pub use kernel::Kernel;
pub use narrow::NarrowTable;

use crate::error::HeError;
use crate::modulus::Modulus;
use crate::prime::root_of_unity;

/// Twiddle factors in the form that a kernel wants. Index i holds psi^brv(i) (`forward`) or its inverse
/// (`inverse`), next to its quotient (Shoup word, or the factor divided by q). As entry 0 of a plain table would
/// always be 1, `inverse[0]` holds 1/N and `inverse[1]` is multiplied by 1/N: the scaling is free.
#[derive(Debug)]
pub(crate) struct Roots<T> {
    pub(crate) forward: Vec<T>,
    pub(crate) forward_quotient: Vec<T>,
    pub(crate) inverse: Vec<T>,
    pub(crate) inverse_quotient: Vec<T>,
}

impl<T> Roots<T> {
    fn new(forward: &[u64], inverse: &[u64], word: impl Fn(u64) -> T, quotient: impl Fn(u64) -> T) -> Self {
        Self {
            forward: forward.iter().map(|&w| word(w)).collect(),
            forward_quotient: forward.iter().map(|&w| quotient(w)).collect(),
            inverse: inverse.iter().map(|&w| word(w)).collect(),
            inverse_quotient: inverse.iter().map(|&w| quotient(w)).collect(),
        }
    }
}

/// One variant per kernel; that a SIMD variant exists at all proves that the CPU was asked.
#[derive(Debug)]
enum Twiddles {
    Portable(Roots<u64>),
    #[cfg(target_arch = "x86_64")]
    Avx2(Roots<f64>),
    #[cfg(target_arch = "x86_64")]
    Wide256(wide256::Wide256, Roots<u64>),
    #[cfg(target_arch = "x86_64")]
    Ifma(Box<ifma::Tables>),
    #[cfg(target_arch = "x86_64")]
    Wide512(Roots<u64>),
}

#[derive(Debug)]
struct Inner {
    n: usize,
    modulus: Modulus,
    psi: u64,
    kernel: Kernel,
    twiddles: Twiddles,
}

/// Everything precomputed for one (N, q, kernel). Cloning shares the tables.
#[derive(Debug, Clone)]
pub struct NttTable {
    inner: Arc<Inner>,
}

impl NttTable {
    /// The table of degree n (a power of two in 2..=65536) modulo q with the fastest kernel of this machine.
    ///
    /// # Errors
    /// [`HeError::Degree`] or [`HeError::NoRoot`] unless q = 1 mod 2n.
    pub fn new(n: usize, modulus: Modulus) -> Result<Self, HeError> {
        Self::with_kernel(n, modulus, Kernel::best(n, &modulus))
    }

    /// As [`NttTable::new`], with the kernel given.
    ///
    /// # Errors
    /// As [`NttTable::new`], and [`HeError::KernelUnavailable`] when the CPU lacks the kernel or the kernel
    /// does not serve this degree or modulus.
    pub fn with_kernel(n: usize, modulus: Modulus, kernel: Kernel) -> Result<Self, HeError> {
        if !n.is_power_of_two() || !(2..=65536).contains(&n) {
            return Err(HeError::Degree { n });
        }
        let q = modulus.value();
        let psi = root_of_unity(&modulus, 2 * n as u64).ok_or(HeError::NoRoot { n, q })?;
        if !kernel.serves(n, &modulus) {
            return Err(HeError::KernelUnavailable { kernel, q, n });
        }
        let (forward, inverse) = powers(n, &modulus, psi);
        let twiddles = match kernel {
            Kernel::Portable => {
                Twiddles::Portable(Roots::new(&forward, &inverse, |w| w, |w| modulus.shoup(w)))
            }
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 if q >= kernel::SIMD_BOUND => {
                let proof = wide256::Wide256::detect().ok_or(HeError::KernelUnavailable { kernel, q, n })?;
                Twiddles::Wide256(proof, Roots::new(&forward, &inverse, |w| w, |w| modulus.shoup(w)))
            }
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => Twiddles::Avx2(Roots::new(
                &forward,
                &inverse,
                |w| modulus.center(w) as f64,
                |w| modulus.center(w) as f64 / q as f64,
            )),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512Ifma => Twiddles::Ifma(Box::new(ifma::Tables::new(&forward, &inverse, q))),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => Twiddles::Wide512(Roots::new(&forward, &inverse, |w| w, |w| modulus.shoup(w))),
            _ => return Err(HeError::KernelUnavailable { kernel, q, n }),
        };
        Ok(Self { inner: Arc::new(Inner { n, modulus, psi, kernel, twiddles }) })
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
    pub fn forward(&self, words: &mut [u64]) {
        self.check(words);
        match &self.inner.twiddles {
            Twiddles::Portable(roots) => portable::forward(words, roots, self.modulus()),
            #[cfg(target_arch = "x86_64")]
            Twiddles::Avx2(roots) => avx2::forward(words, roots, self.modulus().value()),
            #[cfg(target_arch = "x86_64")]
            Twiddles::Wide256(proof, roots) => proof.forward(words, roots, self.modulus().value()),
            #[cfg(target_arch = "x86_64")]
            Twiddles::Ifma(tables) => ifma::forward(words, tables),
            #[cfg(target_arch = "x86_64")]
            Twiddles::Wide512(roots) => wide512::forward(words, roots, self.modulus().value()),
        }
    }

    /// Values (bit-reversed order) to coefficients (natural order), in place, the factor 1/N included.
    ///
    /// # Panics
    /// When the slice does not have N words.
    pub fn inverse(&self, words: &mut [u64]) {
        self.check(words);
        match &self.inner.twiddles {
            Twiddles::Portable(roots) => portable::inverse(words, roots, self.modulus()),
            #[cfg(target_arch = "x86_64")]
            Twiddles::Avx2(roots) => avx2::inverse(words, roots, self.modulus().value()),
            #[cfg(target_arch = "x86_64")]
            Twiddles::Wide256(proof, roots) => proof.inverse(words, roots, self.modulus().value()),
            #[cfg(target_arch = "x86_64")]
            Twiddles::Ifma(tables) => ifma::inverse(words, tables),
            #[cfg(target_arch = "x86_64")]
            Twiddles::Wide512(roots) => wide512::inverse(words, roots, self.modulus().value()),
        }
    }

    fn check(&self, words: &[u64]) {
        assert_eq!(words.len(), self.n(), "a transform of degree {} got another length", self.n());
        debug_assert!(words.iter().all(|&w| w < self.modulus().value()), "a word is not a residue");
    }
}

/// psi^brv(i) and psi^-brv(i) for i < n, the latter with 1/N folded into the entries 0 and 1 (see [`Roots`]).
fn powers(n: usize, modulus: &Modulus, psi: u64) -> (Vec<u64>, Vec<u64>) {
    let (mut forward, mut inverse) = (vec![0; n], vec![0; n]);
    let psi_inverse = modulus.inv(psi);
    let (mut up, mut down) = (1, 1);
    for i in 0..n {
        let place = reverse_bits(i, n);
        forward[place] = up;
        inverse[place] = down;
        up = modulus.mul(up, psi);
        down = modulus.mul(down, psi_inverse);
    }
    let n_inverse = modulus.inv(modulus.reduce(n as u64));
    inverse[0] = n_inverse;
    inverse[1] = modulus.mul(inverse[1], n_inverse);
    (forward, inverse)
}

/// Reverses the log2 n bits of i.
pub(crate) fn reverse_bits(i: usize, n: usize) -> usize {
    i.reverse_bits() >> (usize::BITS - n.trailing_zeros())
}

#[cfg(test)]
mod tests;
