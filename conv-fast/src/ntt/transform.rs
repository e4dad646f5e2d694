//! Negacyclic transforms of eight polynomials at a time, one per lane.
//!
//! Coefficient k of the eight polynomials is one step of eight words: every stage works on whole steps, nothing is shuffled,
//! and a twiddle is one word for all lanes. Stages in the merged form of P. Longa and M. Naehrig, *Speeding up the number
//! theoretic transform for faster ideal lattice-based cryptography* (CANS 2016), two at a time, so that a step is loaded and
//! stored half as often. Values come out bit-reversed and in *groups* of four neighbours, which the last two stages of the
//! forward transform write and the first two of the inverse read, wherever they lie. The inverse leaves out the factor 1/N:
//! it is in the weights.

use super::field::{Field, Twiddle};
use crate::lanes::Words;
use he_core::Modulus;
use he_core::prime::root_of_unity;

/// Steps of a group.
pub(super) const GROUP: usize = 4;
/// Words of a group.
pub(super) const GROUP_WORDS: usize = GROUP * 8;

/// Powers of ψ, the primitive 2N-th root of unity: entry i ≥ 1 of `forward` is ψ^brv(i), of `inverse` its inverse.
#[derive(Debug)]
pub(super) struct Roots {
    forward: Vec<Twiddle>,
    inverse: Vec<Twiddle>,
}

impl Roots {
    /// For polynomials of `n` coefficients, a power of two of at least 32; `None` unless 2n divides q − 1.
    pub(super) fn new<F: Field>(field: F, modulus: &Modulus, n: usize) -> Option<Self> {
        let psi = root_of_unity(modulus, 2 * n as u64)?;
        let table = |psi: u64| {
            let mut table = vec![[0; 2]; n];
            let mut power = 1;
            for i in 0..n {
                table[i.reverse_bits() >> (usize::BITS - n.trailing_zeros())] = field.twiddle(power);
                power = modulus.mul(power, psi);
            }
            table
        };
        Some(Self { forward: table(psi), inverse: table(modulus.inv(psi)) })
    }
}

/// Where groups of transformed values go, and where they come from. (Traits rather than closures: all that computes has to
/// be inlined into the function that is compiled for an instruction set.)
pub(super) trait Groups<F: Field> {
    /// Takes the group with this number.
    fn put(&mut self, group: usize, lanes: [F::Lanes; GROUP]);
}

/// See [`Groups`].
pub(super) trait Values<F: Field> {
    /// The group with this number.
    fn get(&self, group: usize) -> [F::Lanes; GROUP];
}

/// Transforms `rows` (destroyed) and hands each group of values to `out`.
#[inline(always)]
pub(super) fn forward<F: Field>(field: F, rows: &mut [Words], roots: &Roots, out: &mut impl Groups<F>) {
    let n = rows.len();
    let table = &roots.forward;
    let (mut blocks, mut half) = (1, n / 2);
    if n.trailing_zeros() % 2 == 1 {
        let (low, high) = rows.split_at_mut(half);
        let w = field.factor(table[1]);
        for (a, b) in low.iter_mut().zip(high) {
            let (x, y) = field.forward_pair(field.load(a), field.load(b), w);
            field.store(x, a);
            field.store(y, b);
        }
        (blocks, half) = (2, half / 2);
    }
    while half > 2 {
        for (i, block) in rows.chunks_exact_mut(2 * half).enumerate() {
            let w = factors(field, table, blocks + i);
            let (ab, cd) = block.split_at_mut(half);
            let ((a, b), (c, d)) = (ab.split_at_mut(half / 2), cd.split_at_mut(half / 2));
            for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
                let four = [field.load(a), field.load(b), field.load(c), field.load(d)];
                let four = forward_four(field, four, w);
                field.store(four[0], a);
                field.store(four[1], b);
                field.store(four[2], c);
                field.store(four[3], d);
            }
        }
        blocks *= 4;
        half /= 4;
    }
    for (i, [a, b, c, d]) in rows.as_chunks::<GROUP>().0.iter().enumerate() {
        let four = [field.load(a), field.load(b), field.load(c), field.load(d)];
        out.put(i, forward_four(field, four, factors(field, table, blocks + i)));
    }
}

/// Fills `rows` with the coefficients, times N, of `values`.
#[inline(always)]
pub(super) fn inverse<F: Field>(field: F, rows: &mut [Words], roots: &Roots, values: &impl Values<F>) {
    let n = rows.len();
    let table = &roots.inverse;
    let mut blocks = n / 4;
    for (i, [a, b, c, d]) in rows.as_chunks_mut::<GROUP>().0.iter_mut().enumerate() {
        let four = inverse_four(field, values.get(i), factors(field, table, blocks + i));
        field.store(four[0], a);
        field.store(four[1], b);
        field.store(four[2], c);
        field.store(four[3], d);
    }
    let mut quarter = GROUP;
    while blocks >= 4 {
        blocks /= 4;
        for (i, block) in rows.chunks_exact_mut(4 * quarter).enumerate() {
            let w = factors(field, table, blocks + i);
            let (ab, cd) = block.split_at_mut(2 * quarter);
            let ((a, b), (c, d)) = (ab.split_at_mut(quarter), cd.split_at_mut(quarter));
            for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
                let four = [field.load(a), field.load(b), field.load(c), field.load(d)];
                let four = inverse_four(field, four, w);
                field.store(four[0], a);
                field.store(four[1], b);
                field.store(four[2], c);
                field.store(four[3], d);
            }
        }
        quarter *= 4;
    }
    if blocks == 2 {
        let (low, high) = rows.split_at_mut(n / 2);
        let w = field.factor(table[1]);
        for (a, b) in low.iter_mut().zip(high) {
            let (x, y) = field.inverse_pair(field.load(a), field.load(b), w);
            field.store(x, a);
            field.store(y, b);
        }
    }
}

/// The factors of two stages on one block: that of the longer stage, those of the shorter one's two blocks.
#[inline(always)]
fn factors<F: Field>(field: F, table: &[Twiddle], at: usize) -> [F::Factor; 3] {
    [field.factor(table[at]), field.factor(table[2 * at]), field.factor(table[2 * at + 1])]
}

/// Two stages on four steps a quarter of a block apart.
#[inline(always)]
fn forward_four<F: Field>(
    field: F,
    [a, b, c, d]: [F::Lanes; GROUP],
    [w0, w1, w2]: [F::Factor; 3],
) -> [F::Lanes; GROUP] {
    let (a, c) = field.forward_pair(a, c, w0);
    let (b, d) = field.forward_pair(b, d, w0);
    let (a, b) = field.forward_pair(a, b, w1);
    let (c, d) = field.forward_pair(c, d, w2);
    [a, b, c, d]
}

/// The inverse of [`forward_four`] but for a factor of four.
#[inline(always)]
fn inverse_four<F: Field>(
    field: F,
    [a, b, c, d]: [F::Lanes; GROUP],
    [w0, w1, w2]: [F::Factor; 3],
) -> [F::Lanes; GROUP] {
    let (a, b) = field.inverse_pair(a, b, w1);
    let (c, d) = field.inverse_pair(c, d, w2);
    let (a, c) = field.inverse_pair(a, c, w0);
    let (b, d) = field.inverse_pair(b, d, w0);
    [a, b, c, d]
}
