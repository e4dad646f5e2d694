//! Sums, differences, negatives and multiples of words, place by place: what polynomials do in either form.
//!
//! | method | words | range |
//! |---|---|---|
//! | [`NttTable::add_assign`], [`NttTable::sub_assign`] | N and N | residues in [0, q), in and out |
//! | [`NttTable::neg_assign`] | N | the same |
//! | [`NttTable::scale_assign`] | N and a public factor | the same, the factor too |
//!
//! Sums and differences come into new words too, for whoever keeps both operands.
//! The loops are those below. With the AVX2 kernel all but multiples are the same loops compiled for AVX2; with the
//! AVX-512 kernels they are written out in `vector`. Multiples are the kernels' own, by Shoup's multiplication; AVX2 has
//! none for primes of more than 50 bits.
//! Not promised: words outside [0, q) give wrong results (debug builds assert).

use super::{Kernel, NttTable};
use crate::modulus::{Modulus, reduce_once};

#[cfg(target_arch = "x86_64")]
mod vector;

#[cfg(target_arch = "x86_64")]
use super::{avx2, ifma, wide512};

impl NttTable {
    /// x = x + y.
    ///
    /// # Panics
    /// When a slice does not have N words.
    pub fn add_assign(&self, x: &mut [u64], y: &[u64]) {
        self.check(x);
        self.check(y);
        add(self.kernel(), x, y, self.modulus());
    }

    /// x = x - y.
    ///
    /// # Panics
    /// When a slice does not have N words.
    pub fn sub_assign(&self, x: &mut [u64], y: &[u64]) {
        self.check(x);
        self.check(y);
        sub(self.kernel(), x, y, self.modulus());
    }

    /// x = -x.
    ///
    /// # Panics
    /// When the slice does not have N words.
    pub fn neg_assign(&self, x: &mut [u64]) {
        self.check(x);
        neg(self.kernel(), x, self.modulus());
    }

    /// x = x * factor. The factor is public: its quotient takes a division, once.
    ///
    /// # Panics
    /// When the slice does not have N words, or the factor is not below q.
    pub fn scale_assign(&self, x: &mut [u64], factor: u64) {
        self.check(x);
        scale(self.kernel(), x, factor, self.modulus());
    }
}

/// x = x + y with the instructions of a kernel that was asked for on this CPU; equal lengths.
pub(crate) fn add(kernel: Kernel, x: &mut [u64], y: &[u64], modulus: &Modulus) {
    let q = modulus.value();
    match kernel {
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx512Ifma | Kernel::Avx512 => vector::avx512_add(x, y, q),
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx2 => vector::avx2_add(x, y, q),
        _ => add_words(x, y, q),
    }
}

/// x = x - y, as [`add`].
pub(crate) fn sub(kernel: Kernel, x: &mut [u64], y: &[u64], modulus: &Modulus) {
    let q = modulus.value();
    match kernel {
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx512Ifma | Kernel::Avx512 => vector::avx512_sub(x, y, q),
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx2 => vector::avx2_sub(x, y, q),
        _ => sub_words(x, y, q),
    }
}

/// out = x + y, as [`add`]; three equal lengths.
pub(crate) fn sum(kernel: Kernel, x: &[u64], y: &[u64], out: &mut [u64], modulus: &Modulus) {
    assert!(x.len() == y.len() && x.len() == out.len(), "a sum of other lengths");
    let q = modulus.value();
    match kernel {
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx512Ifma | Kernel::Avx512 => vector::avx512_sum(x, y, out, q),
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx2 => vector::avx2_sum(x, y, out, q),
        _ => sum_words(x, y, out, q),
    }
}

/// out = x - y, as [`sum`].
pub(crate) fn difference(kernel: Kernel, x: &[u64], y: &[u64], out: &mut [u64], modulus: &Modulus) {
    assert!(x.len() == y.len() && x.len() == out.len(), "a difference of other lengths");
    let q = modulus.value();
    match kernel {
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx512Ifma | Kernel::Avx512 => vector::avx512_difference(x, y, out, q),
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx2 => vector::avx2_difference(x, y, out, q),
        _ => difference_words(x, y, out, q),
    }
}

/// x = -x, as [`add`].
pub(crate) fn neg(kernel: Kernel, x: &mut [u64], modulus: &Modulus) {
    let q = modulus.value();
    match kernel {
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx512Ifma | Kernel::Avx512 => vector::avx512_neg(x, q),
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx2 => vector::avx2_neg(x, q),
        _ => neg_words(x, q),
    }
}

/// x = x * factor, as [`add`]; the factor is public.
///
/// # Panics
/// When the factor is not below q.
pub(crate) fn scale(kernel: Kernel, x: &mut [u64], factor: u64, modulus: &Modulus) {
    assert!(factor < modulus.value(), "a factor is not a residue");
    #[cfg(target_arch = "x86_64")]
    let done = scale_vectors(kernel, x, factor, modulus);
    #[cfg(not(target_arch = "x86_64"))]
    let (done, _) = (0, kernel);
    scale_words(&mut x[done..], factor, modulus);
}

/// As [`scale`]; returns how many words are done.
#[cfg(target_arch = "x86_64")]
fn scale_vectors(kernel: Kernel, x: &mut [u64], factor: u64, modulus: &Modulus) -> usize {
    let whole = x.len() - x.len() % 8;
    // The lanes of doubles and of 52 bits hold primes below 2^50.
    match (kernel, modulus.bits() <= 50) {
        (Kernel::Avx512Ifma | Kernel::Avx512, true) => ifma::scale(&mut x[..whole], factor, modulus.value()),
        (Kernel::Avx2, true) => avx2::scale(&mut x[..whole], factor, modulus),
        (Kernel::Avx512Ifma | Kernel::Avx512, false) => {
            let multiples = wide512::Multiples::new(modulus.value(), factor, modulus.shoup(factor));
            return multiples.map_or(0, |multiples| multiples.scale(x));
        }
        _ => return 0,
    }
    whole
}

#[inline(always)]
fn add_words(x: &mut [u64], y: &[u64], q: u64) {
    for (x, &y) in x.iter_mut().zip(y) {
        *x = reduce_once(*x + y, q);
    }
}

#[inline(always)]
fn sub_words(x: &mut [u64], y: &[u64], q: u64) {
    for (x, &y) in x.iter_mut().zip(y) {
        *x = reduce_once(*x + (q - y), q);
    }
}

#[inline(always)]
fn sum_words(x: &[u64], y: &[u64], out: &mut [u64], q: u64) {
    for ((&x, &y), out) in x.iter().zip(y).zip(out) {
        *out = reduce_once(x + y, q);
    }
}

#[inline(always)]
fn difference_words(x: &[u64], y: &[u64], out: &mut [u64], q: u64) {
    for ((&x, &y), out) in x.iter().zip(y).zip(out) {
        *out = reduce_once(x + (q - y), q);
    }
}

#[inline(always)]
fn neg_words(x: &mut [u64], q: u64) {
    for x in x {
        *x = reduce_once(q - *x, q);
    }
}

fn scale_words(x: &mut [u64], factor: u64, modulus: &Modulus) {
    let quotient = modulus.shoup(factor);
    for x in x {
        *x = modulus.mul_shoup(*x, factor, quotient);
    }
}

#[cfg(test)]
mod tests;
