//! The tiles in plain Rust: one block of eight outputs with up to four columns, compiled for each instruction set.
//!
//! Factors are sign-extended 32-bit halves where they can be, so that a compiler has 32-bit vector products to take.

use super::{Form, Narrow, Sums, Weights, WideMatrix, Work};
use crate::lanes::{LANES, Signed};

/// Adds the products of `work` to `sums`.
#[inline(always)]
pub(super) fn tile(matrix: &WideMatrix, work: &Work<'_>, sums: &mut Sums) {
    if work.fresh {
        sums.fill([0; LANES]);
    }
    match work.shape {
        [1, 1] => columns::<1>(matrix, work, sums),
        [1, 2] => columns::<2>(matrix, work, sums),
        [1, 3] => columns::<3>(matrix, work, sums),
        [1, 4] => columns::<4>(matrix, work, sums),
        _ => unreachable!("tiles of one block and at most four columns"),
    }
}

#[inline(always)]
fn columns<const P: usize>(matrix: &WideMatrix, work: &Work<'_>, sums: &mut Sums) {
    let &Work { from, terms, x, stride, .. } = work;
    let mut columns: [&[u64]; P] = [&[]; P];
    for (p, column) in columns.iter_mut().enumerate() {
        *column = &x[p * stride..][..terms];
    }
    let x = columns;
    match (&matrix.weights, matrix.form) {
        (Weights::Long(weights), _) => {
            single(weights[from..from + terms].iter().map(|weights| weights.0), x, sums);
        }
        (Weights::Narrow(weights), Form::Single) => {
            single(weights[from..from + terms].iter().map(extended), x, sums);
        }
        (Weights::Narrow(weights), Form::Once) => once(&weights[from..from + terms], x, sums),
        (Weights::Narrow(weights), Form::Quarters) => {
            quarters(weights[2 * from..2 * (from + terms)].as_chunks().0, x, sums);
        }
        (Weights::Narrow(weights), _) => halves(&weights[from..from + terms], x, sums),
    }
}

#[inline(always)]
fn extended(weights: &Narrow) -> Signed {
    weights.0.map(i64::from)
}

#[inline(always)]
fn load<const P: usize>(sums: &Sums, j: usize) -> [Signed; P] {
    std::array::from_fn(|p| sums[j * P + p].map(|word| word as i64))
}

#[inline(always)]
fn store<const P: usize>(sums: &mut Sums, j: usize, total: [Signed; P]) {
    for (sum, total) in sums[j * P..].iter_mut().zip(total) {
        *sum = total.map(|word| word as u64);
    }
}

#[inline(always)]
fn multiply_add(total: &mut Signed, weights: Signed, word: i64) {
    for lane in 0..LANES {
        total[lane] = total[lane].wrapping_add(weights[lane].wrapping_mul(word));
    }
}

/// Products of 64 bits.
#[inline(always)]
fn single<const P: usize>(weights: impl Iterator<Item = Signed>, x: [&[u64]; P], sums: &mut Sums) {
    let mut total = load::<P>(sums, 0);
    for (k, weights) in weights.enumerate() {
        for p in 0..P {
            multiply_add(&mut total[p], weights, x[p][k] as i64);
        }
    }
    store(sums, 0, total);
}

/// Products of 32-bit factors.
#[inline(always)]
fn once<const P: usize>(weights: &[Narrow], x: [&[u64]; P], sums: &mut Sums) {
    let mut total = load::<P>(sums, 0);
    for (k, weights) in weights.iter().enumerate() {
        for p in 0..P {
            multiply_add(&mut total[p], extended(weights), i64::from(x[p][k] as i32));
        }
    }
    store(sums, 0, total);
}

/// The two 26-bit parts of a word.
#[inline(always)]
fn parts(word: u64) -> [i64; 2] {
    [word & ((1 << 26) - 1), word >> 26].map(|part| i64::from(part as i32))
}

/// Products with the two parts of x.
#[inline(always)]
fn halves<const P: usize>(weights: &[Narrow], x: [&[u64]; P], sums: &mut Sums) {
    let (mut low, mut high) = (load::<P>(sums, 0), load::<P>(sums, 1));
    for (k, weights) in weights.iter().enumerate() {
        for p in 0..P {
            let [x0, x1] = parts(x[p][k]);
            multiply_add(&mut low[p], extended(weights), x0);
            multiply_add(&mut high[p], extended(weights), x1);
        }
    }
    store(sums, 0, low);
    store(sums, 1, high);
}

/// Products of both parts of x with both parts of w.
#[inline(always)]
fn quarters<const P: usize>(weights: &[[Narrow; 2]], x: [&[u64]; P], sums: &mut Sums) {
    let mut total: [[Signed; P]; 3] = std::array::from_fn(|j| load::<P>(sums, j));
    for (k, [w0, w1]) in weights.iter().enumerate() {
        for p in 0..P {
            let [x0, x1] = parts(x[p][k]);
            multiply_add(&mut total[0][p], extended(w0), x0);
            multiply_add(&mut total[1][p], extended(w0), x1);
            multiply_add(&mut total[1][p], extended(w1), x0);
            multiply_add(&mut total[2][p], extended(w1), x1);
        }
    }
    for (j, total) in total.into_iter().enumerate() {
        store(sums, j, total);
    }
}
