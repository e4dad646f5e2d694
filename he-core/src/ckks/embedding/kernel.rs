//! The two passes of the embedding, compiled once per instruction set.
//!
//! One body serves all: blocks of eight columns as arrays of eight doubles, which the compiler turns into one
//! 512-bit, two 256-bit or four 128-bit vectors. A kernel is that body under a `#[target_feature]`; it contains no
//! intrinsics and no fused multiply-add, so all kernels give the same bits.
//!
//! | pass (towards slots) | rows of a block | lanes | twiddle factors |
//! |---|---|---|---|
//! | 1: levels L = 1 .. n1/2 | n1, n2 apart | 8 neighbouring of the n2 residues | one per row pair |
//! | 2: levels L = n1 .. n/2 | n2 | 8 neighbouring of the n1 points | a vector per row pair |
//!
//! Rows are loaded in bit-reversed order. Between the passes stands the transposition of the n1 x n2 matrix. The way
//! back runs the same levels in reverse with conjugated factors. Planes shorter than 64 take blocks of one column.
#![cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "calls of target_feature functions"))]

use crate::scratch::{Wipe, Wiped};

/// Columns per block: the doubles of a 512-bit register.
const LANES: usize = 8;

/// Which instruction set the body is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FloatKernel {
    /// What the target has for certain.
    Portable,
    /// 256-bit vectors.
    Avx2,
    /// 512-bit vectors.
    Avx512,
}

impl FloatKernel {
    /// All that this CPU has, the slowest first.
    pub(crate) fn available() -> Vec<Self> {
        [Self::Portable, Self::Avx2, Self::Avx512].into_iter().filter(|simd| simd.detected()).collect()
    }

    /// The last of [`FloatKernel::available`].
    pub(crate) fn best() -> Self {
        Self::available().pop().expect("the portable body runs anywhere")
    }

    pub(crate) fn detected(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("fma")
            }
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }

    pub(super) fn to_slots(self, roots_re: &[f64], roots_im: &[f64], re: &mut [f64], im: &mut [f64]) {
        match self {
            // SAFETY: a table with these kernels exists only if the CPU has them (`Embedding::with_kernel`).
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { to_slots_avx512(roots_re, roots_im, re, im) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { to_slots_avx2(roots_re, roots_im, re, im) },
            _ => to_slots(roots_re, roots_im, re, im),
        }
    }

    pub(super) fn to_coefficients(
        self,
        roots_re: &[f64],
        roots_im: &[f64],
        re: &mut [f64],
        im: &mut [f64],
        factor: f64,
    ) {
        match self {
            // SAFETY: as in `to_slots`.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { to_coefficients_avx512(roots_re, roots_im, re, im, factor) },
            // SAFETY: as in `to_slots`.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { to_coefficients_avx2(roots_re, roots_im, re, im, factor) },
            _ => to_coefficients(roots_re, roots_im, re, im, factor),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,fma")]
fn to_slots_avx512(roots_re: &[f64], roots_im: &[f64], re: &mut [f64], im: &mut [f64]) {
    to_slots(roots_re, roots_im, re, im);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn to_slots_avx2(roots_re: &[f64], roots_im: &[f64], re: &mut [f64], im: &mut [f64]) {
    to_slots(roots_re, roots_im, re, im);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,fma")]
fn to_coefficients_avx512(rr: &[f64], ri: &[f64], re: &mut [f64], im: &mut [f64], factor: f64) {
    to_coefficients(rr, ri, re, im, factor);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn to_coefficients_avx2(rr: &[f64], ri: &[f64], re: &mut [f64], im: &mut [f64], factor: f64) {
    to_coefficients(rr, ri, re, im, factor);
}

#[inline(always)]
fn to_slots(roots_re: &[f64], roots_im: &[f64], re: &mut [f64], im: &mut [f64]) {
    match re.len() {
        64.. => Passes::<LANES>::new(roots_re, roots_im).to_slots(re, im),
        _ => Passes::<1>::new(roots_re, roots_im).to_slots(re, im),
    }
}

#[inline(always)]
fn to_coefficients(roots_re: &[f64], roots_im: &[f64], re: &mut [f64], im: &mut [f64], factor: f64) {
    match re.len() {
        64.. => Passes::<LANES>::new(roots_re, roots_im).to_coefficients(re, im, factor),
        _ => Passes::<1>::new(roots_re, roots_im).to_coefficients(re, im, factor),
    }
}

/// The rows of a block: real and imaginary lanes.
type Row<const L: usize> = [[f64; L]; 2];

struct Passes<'a, const L: usize> {
    re: &'a [f64],
    im: &'a [f64],
    /// Points of a column in pass 1, and of a row in pass 2.
    n1: usize,
    n2: usize,
}

impl<'a, const L: usize> Passes<'a, L> {
    #[inline(always)]
    fn new(re: &'a [f64], im: &'a [f64]) -> Self {
        let n1 = 1 << (re.len().trailing_zeros() / 2);
        Self { re, im, n1, n2: re.len() / n1 }
    }

    #[inline(always)]
    fn to_slots(&self, re: &mut [f64], im: &mut [f64]) {
        let (n1, n2) = (self.n1, self.n2);
        let mut work = [(); 2].map(|()| Wiped::from(vec![0.0; re.len()]));
        let mut rows = vec![[[0.0; L]; 2]; n1.max(n2)];
        for s in (0..n2).step_by(L) {
            for t in 0..n1 {
                rows[reversed(t, n1)] = [lanes(re, s + n2 * t), lanes(im, s + n2 * t)];
            }
            self.up(&mut rows[..n1], |length, j| {
                let at = length + j;
                [[self.re[at]; L], [self.im[at]; L]]
            });
            for part in 0..2 {
                for lane in 0..L {
                    let line = &mut work[part][(s + lane) * n1..][..n1];
                    for (place, row) in line.iter_mut().zip(&rows[..n1]) {
                        *place = row[part][lane];
                    }
                }
            }
        }
        for j in (0..n1).step_by(L) {
            for s in 0..n2 {
                rows[reversed(s, n2)] = [lanes(&work[0], s * n1 + j), lanes(&work[1], s * n1 + j)];
            }
            self.up(&mut rows[..n2], |length, p| self.vector(length, p, j));
            for (p, row) in rows[..n2].iter().enumerate() {
                re[n1 * p + j..][..L].copy_from_slice(&row[0]);
                im[n1 * p + j..][..L].copy_from_slice(&row[1]);
            }
        }
        rows.as_flattened_mut().as_flattened_mut().wipe();
    }

    #[inline(always)]
    fn to_coefficients(&self, re: &mut [f64], im: &mut [f64], factor: f64) {
        let (n1, n2) = (self.n1, self.n2);
        let mut work = [(); 2].map(|()| Wiped::from(vec![0.0; re.len()]));
        let mut rows = vec![[[0.0; L]; 2]; n1.max(n2)];
        for j in (0..n1).step_by(L) {
            for (p, row) in rows[..n2].iter_mut().enumerate() {
                *row = [lanes(re, n1 * p + j), lanes(im, n1 * p + j)];
            }
            self.down(&mut rows[..n2], |length, p| self.vector(length, p, j));
            for s in 0..n2 {
                let row = &rows[reversed(s, n2)];
                work[0][s * n1 + j..][..L].copy_from_slice(&row[0]);
                work[1][s * n1 + j..][..L].copy_from_slice(&row[1]);
            }
        }
        for s in (0..n2).step_by(L) {
            for part in 0..2 {
                for lane in 0..L {
                    let line = &work[part][(s + lane) * n1..][..n1];
                    for (place, row) in line.iter().zip(&mut rows[..n1]) {
                        row[part][lane] = *place;
                    }
                }
            }
            self.down(&mut rows[..n1], |length, j| {
                let at = length + j;
                [[self.re[at]; L], [self.im[at]; L]]
            });
            for t in 0..n1 {
                let row = &rows[reversed(t, n1)];
                for lane in 0..L {
                    re[s + n2 * t + lane] = row[0][lane] * factor;
                    im[s + n2 * t + lane] = row[1][lane] * factor;
                }
            }
        }
        rows.as_flattened_mut().as_flattened_mut().wipe();
    }

    /// The factors of the rows p and p + `length` in pass 2, for the points j..j + L.
    #[inline(always)]
    fn vector(&self, length: usize, p: usize, j: usize) -> Row<L> {
        let at = self.n1 * (length + p) + j;
        [lanes(self.re, at), lanes(self.im, at)]
    }

    /// All levels towards slots on rows in bit-reversed order; they end in natural order.
    #[inline(always)]
    fn up(&self, rows: &mut [Row<L>], factor: impl Fn(usize, usize) -> Row<L>) {
        let mut length = 1;
        while length < rows.len() {
            for j in 0..length {
                let w = factor(length, j);
                for block in rows.chunks_exact_mut(2 * length) {
                    let (even, odd) = (block[j], block[j + length]);
                    let (first, second) = (&mut [[0.0; L]; 2], &mut [[0.0; L]; 2]);
                    for lane in 0..L {
                        let re = odd[0][lane] * w[0][lane] - odd[1][lane] * w[1][lane];
                        let im = odd[0][lane] * w[1][lane] + odd[1][lane] * w[0][lane];
                        first[0][lane] = even[0][lane] + re;
                        first[1][lane] = even[1][lane] + im;
                        second[0][lane] = even[0][lane] - re;
                        second[1][lane] = even[1][lane] - im;
                    }
                    (block[j], block[j + length]) = (*first, *second);
                }
            }
            length *= 2;
        }
    }

    /// All levels towards coefficients on rows in natural order; they end in bit-reversed order, not divided by n.
    #[inline(always)]
    fn down(&self, rows: &mut [Row<L>], factor: impl Fn(usize, usize) -> Row<L>) {
        let mut length = rows.len() / 2;
        while length > 0 {
            for j in 0..length {
                let w = factor(length, j);
                for block in rows.chunks_exact_mut(2 * length) {
                    let (a, b) = (block[j], block[j + length]);
                    let (even, odd) = (&mut [[0.0; L]; 2], &mut [[0.0; L]; 2]);
                    for lane in 0..L {
                        even[0][lane] = a[0][lane] + b[0][lane];
                        even[1][lane] = a[1][lane] + b[1][lane];
                        let (re, im) = (a[0][lane] - b[0][lane], a[1][lane] - b[1][lane]);
                        odd[0][lane] = re * w[0][lane] + im * w[1][lane];
                        odd[1][lane] = im * w[0][lane] - re * w[1][lane];
                    }
                    (block[j], block[j + length]) = (*even, *odd);
                }
            }
            length /= 2;
        }
    }
}

#[inline(always)]
fn lanes<const L: usize>(plane: &[f64], at: usize) -> [f64; L] {
    plane[at..at + L].try_into().expect("a slice of L numbers")
}

#[inline(always)]
fn reversed(i: usize, n: usize) -> usize {
    // Two shifts: for n = 1 a single one would be by the whole width.
    (i.reverse_bits() >> 1) >> (usize::BITS - 1 - n.trailing_zeros())
}
