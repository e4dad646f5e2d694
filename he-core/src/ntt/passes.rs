//! The walk over memory of a transform, with words and registers of any length ([`super::lanes`]).
//!
//! | pass | levels (half the length of a block) | side by side |
//! |---|---|---|
//! | radix 4 | h and h/2, h at least twice the lanes | 2 butterflies |
//! | last (first, of the inverse) | the lanes (if left over), half of them, .., 2, 1 | 2K pairs of registers, K = 4 or 1 |
//!
//! In the last pass each level below the first is one interleaving of the two registers away from the one before: a
//! perfect shuffle (M. Pease, *An adaptation of the fast Fourier transform for parallel processing*, J. ACM 15(2),
//! 1968), which leaves the words of block k of 2^j in the lanes that are k modulo 2^j. Pairs are taken side by side
//! because the instructions of one depend on each other.

use super::Roots;
use super::lanes::{Lanes, Width};

/// Bytes that a block may have to be finished by itself.
const NEAR: usize = 32 << 10;

/// In place; [0, q) natural order to [0, q) bit-reversed order; N a multiple of 16 registers (MANY), or 4.
#[inline(always)]
pub(super) fn forward<S: Lanes, W: Width<S>>(
    s: S,
    words: &mut [S::Word],
    roots: &Roots<S::Word>,
    modulus: S::Word,
) {
    let q = W::modulus(s, modulus);
    let (n, near) = (words.len(), near::<S>(words.len()));
    let mut length = n;
    while length > near {
        forward_quarters::<S, W>(s, words, length, n / length, roots, q);
        length /= 4;
    }
    for (part, block) in words.chunks_exact_mut(near).zip(n / near..) {
        let mut length = near;
        while length > 2 * S::LANES {
            forward_quarters::<S, W>(s, part, length, block * near / length, roots, q);
            length /= 4;
        }
        let at = block * near / (2 * S::LANES);
        match (S::MANY, length == 2 * S::LANES) {
            (true, true) => forward_last::<S, W, true, 4>(s, part, at, roots, q),
            (true, false) => forward_last::<S, W, false, 4>(s, part, at, roots, q),
            (false, true) => forward_last::<S, W, true, 1>(s, part, at, roots, q),
            (false, false) => forward_last::<S, W, false, 1>(s, part, at, roots, q),
        }
    }
}

/// In place; [0, q) bit-reversed order to [0, q) natural order, divided by N; N as for [`forward`].
#[inline(always)]
pub(super) fn inverse<S: Lanes, W: Width<S>>(
    s: S,
    words: &mut [S::Word],
    roots: &Roots<S::Word>,
    modulus: S::Word,
) {
    let q = W::modulus(s, modulus);
    let (n, near) = (words.len(), near::<S>(words.len()));
    for (part, block) in words.chunks_exact_mut(near).zip(n / near..) {
        let mut length = near;
        while length > 2 * S::LANES {
            length /= 4;
        }
        let at = block * near / (2 * S::LANES);
        match (S::MANY, length == 2 * S::LANES) {
            (true, true) => inverse_first::<S, W, true, 4>(s, part, at, roots, q),
            (true, false) => inverse_first::<S, W, false, 4>(s, part, at, roots, q),
            (false, true) => inverse_first::<S, W, true, 1>(s, part, at, roots, q),
            (false, false) => inverse_first::<S, W, false, 1>(s, part, at, roots, q),
        }
        while length < near {
            length *= 4;
            inverse_quarters::<S, W>(s, part, length, block * near / length, roots, q);
        }
    }
    let mut length = near;
    while length < n {
        length *= 4;
        inverse_quarters::<S, W>(s, words, length, n / length, roots, q);
    }
}

/// The length of the blocks that are finished one by one: N quartered until it is at most [`NEAR`].
fn near<S: Lanes>(mut length: usize) -> usize {
    while length > NEAR / size_of::<S::Word>() {
        length /= 4;
    }
    length
}

/// Two levels on each block of a part; the factor of its first block is at a place of the table.
#[inline(always)]
fn forward_quarters<S: Lanes, W: Width<S>>(
    s: S,
    part: &mut [S::Word],
    length: usize,
    at: usize,
    roots: &Roots<S::Word>,
    q: W::Q,
) {
    let factor = |k: usize| one_factor::<S, W>(s, &roots.forward, &roots.forward_quotient, k);
    for (k, block) in (at..).zip(part.chunks_exact_mut(length)) {
        let (w, w_low, w_high) = (factor(k), factor(2 * k), factor(2 * k + 1));
        let [first, second, third, fourth] = quarters::<S>(block);
        for (((c0, c1), c2), c3) in first.iter_mut().zip(second).zip(third).zip(fourth) {
            let (mut a, mut b) = ([s.load(c0), s.load(c1)], [s.load(c2), s.load(c3)]);
            W::forward(s, [w, w], &mut a, &mut b, q);
            let ([x0, x1], [x2, x3]) = (a, b);
            let (mut a, mut b) = ([x0, x2], [x1, x3]);
            W::forward(s, [w_low, w_high], &mut a, &mut b, q);
            s.store(c0, a[0]);
            s.store(c1, b[0]);
            s.store(c2, a[1]);
            s.store(c3, b[1]);
        }
    }
}

/// Two levels on each block of a part; the very last pass (at 1) divides by N and reduces to [0, q).
#[inline(always)]
fn inverse_quarters<S: Lanes, W: Width<S>>(
    s: S,
    part: &mut [S::Word],
    length: usize,
    at: usize,
    roots: &Roots<S::Word>,
    q: W::Q,
) {
    let factor = |k: usize| one_factor::<S, W>(s, &roots.inverse, &roots.inverse_quotient, k);
    let scale = factor(0);
    for (k, block) in (at..).zip(part.chunks_exact_mut(length)) {
        let (w, w_low, w_high) = (factor(k), factor(2 * k), factor(2 * k + 1));
        let [first, second, third, fourth] = quarters::<S>(block);
        for (((c0, c1), c2), c3) in first.iter_mut().zip(second).zip(third).zip(fourth) {
            let (mut a, mut b) = ([s.load(c0), s.load(c2)], [s.load(c1), s.load(c3)]);
            W::inverse(s, [w_low, w_high], &mut a, &mut b, q);
            let ([x0, x2], [x1, x3]) = (a, b);
            let (mut a, mut b) = ([x0, x1], [x2, x3]);
            if at == 1 {
                // 1/N is folded into the two factors of the last level, so both of its outputs are products.
                let far = [W::difference(s, a[0], b[0], q), W::difference(s, a[1], b[1], q)];
                let near = [W::sum(s, a[0], b[0], q), W::sum(s, a[1], b[1], q)];
                let x = W::mul(s, [scale, scale, w, w], [near[0], near[1], far[0], far[1]], q);
                a = [W::settle(s, x[0], q), W::settle(s, x[1], q)];
                b = [W::settle(s, x[2], q), W::settle(s, x[3], q)];
            } else {
                W::inverse(s, [w, w], &mut a, &mut b, q);
            }
            s.store(c0, a[0]);
            s.store(c1, a[1]);
            s.store(c2, b[0]);
            s.store(c3, b[1]);
        }
    }
}

/// The levels within pairs of registers, the first of them only with FIRST, and the reduction to [0, q). The factor of
/// the part's first pair is at a place of the table.
#[inline(always)]
fn forward_last<S: Lanes, W: Width<S>, const FIRST: bool, const K: usize>(
    s: S,
    part: &mut [S::Word],
    at: usize,
    roots: &Roots<S::Word>,
    q: W::Q,
) {
    let table = Last { w: &roots.forward, quotients: &roots.forward_quotient };
    for (i, group) in S::chunks_mut(part).chunks_exact_mut(4 * K).enumerate() {
        let (left, right) = (at + 2 * K * i, at + 2 * K * i + K);
        let (mut a, mut b) =
            (Pairs::<S, K>::load(s, &group[..2 * K]), Pairs::<S, K>::load(s, &group[2 * K..]));
        if FIRST {
            W::forward(s, table.factors::<S, W, 1, K>(s, left), &mut a.x, &mut a.y, q);
            W::forward(s, table.factors::<S, W, 1, K>(s, right), &mut b.x, &mut b.y, q);
        }
        a.interleave(s);
        b.interleave(s);
        W::forward(s, table.factors::<S, W, 2, K>(s, left), &mut a.x, &mut a.y, q);
        a.interleave(s);
        W::forward(s, table.factors::<S, W, 2, K>(s, right), &mut b.x, &mut b.y, q);
        b.interleave(s);
        W::forward(s, table.factors::<S, W, 4, K>(s, left), &mut a.x, &mut a.y, q);
        a.interleave(s);
        W::forward(s, table.factors::<S, W, 4, K>(s, right), &mut b.x, &mut b.y, q);
        b.interleave(s);
        if S::LANES >= 8 {
            W::forward(s, table.factors::<S, W, 8, K>(s, left), &mut a.x, &mut a.y, q);
            a.interleave(s);
            W::forward(s, table.factors::<S, W, 8, K>(s, right), &mut b.x, &mut b.y, q);
            b.interleave(s);
        }
        if S::LANES == 16 {
            W::forward(s, table.factors::<S, W, 16, K>(s, left), &mut a.x, &mut a.y, q);
            a.interleave(s);
            W::forward(s, table.factors::<S, W, 16, K>(s, right), &mut b.x, &mut b.y, q);
            b.interleave(s);
        }
        a.settle::<W>(s, q);
        a.store(s, &mut group[..2 * K]);
        b.settle::<W>(s, q);
        b.store(s, &mut group[2 * K..]);
    }
}

/// The inverse of [`forward_last`], from residues to the range between levels.
#[inline(always)]
fn inverse_first<S: Lanes, W: Width<S>, const FIRST: bool, const K: usize>(
    s: S,
    part: &mut [S::Word],
    at: usize,
    roots: &Roots<S::Word>,
    q: W::Q,
) {
    let table = Last { w: &roots.inverse, quotients: &roots.inverse_quotient };
    for (i, group) in S::chunks_mut(part).chunks_exact_mut(4 * K).enumerate() {
        let (left, right) = (at + 2 * K * i, at + 2 * K * i + K);
        let (mut a, mut b) =
            (Pairs::<S, K>::load(s, &group[..2 * K]), Pairs::<S, K>::load(s, &group[2 * K..]));
        if S::LANES == 16 {
            a.separate(s);
            W::inverse(s, table.factors::<S, W, 16, K>(s, left), &mut a.x, &mut a.y, q);
            b.separate(s);
            W::inverse(s, table.factors::<S, W, 16, K>(s, right), &mut b.x, &mut b.y, q);
        }
        if S::LANES >= 8 {
            a.separate(s);
            W::inverse(s, table.factors::<S, W, 8, K>(s, left), &mut a.x, &mut a.y, q);
            b.separate(s);
            W::inverse(s, table.factors::<S, W, 8, K>(s, right), &mut b.x, &mut b.y, q);
        }
        a.separate(s);
        W::inverse(s, table.factors::<S, W, 4, K>(s, left), &mut a.x, &mut a.y, q);
        b.separate(s);
        W::inverse(s, table.factors::<S, W, 4, K>(s, right), &mut b.x, &mut b.y, q);
        a.separate(s);
        W::inverse(s, table.factors::<S, W, 2, K>(s, left), &mut a.x, &mut a.y, q);
        b.separate(s);
        W::inverse(s, table.factors::<S, W, 2, K>(s, right), &mut b.x, &mut b.y, q);
        a.separate(s);
        b.separate(s);
        if FIRST {
            W::inverse(s, table.factors::<S, W, 1, K>(s, left), &mut a.x, &mut a.y, q);
            W::inverse(s, table.factors::<S, W, 1, K>(s, right), &mut b.x, &mut b.y, q);
        }
        a.store(s, &mut group[..2 * K]);
        b.store(s, &mut group[2 * K..]);
    }
}

/// K pairs of registers with neighbouring words.
struct Pairs<S: Lanes, const K: usize> {
    x: [S::V; K],
    y: [S::V; K],
}

impl<S: Lanes, const K: usize> Pairs<S, K> {
    #[inline(always)]
    fn load(s: S, chunks: &[S::Chunk]) -> Self {
        let any = s.load(&chunks[0]);
        let mut pairs = Self { x: [any; K], y: [any; K] };
        for (j, pair) in chunks.as_chunks::<2>().0[..K].iter().enumerate() {
            (pairs.x[j], pairs.y[j]) = (s.load(&pair[0]), s.load(&pair[1]));
        }
        pairs
    }

    #[inline(always)]
    fn store(&self, s: S, chunks: &mut [S::Chunk]) {
        for (j, pair) in chunks.as_chunks_mut::<2>().0[..K].iter_mut().enumerate() {
            s.store(&mut pair[0], self.x[j]);
            s.store(&mut pair[1], self.y[j]);
        }
    }

    #[inline(always)]
    fn interleave(&mut self, s: S) {
        for j in 0..K {
            (self.x[j], self.y[j]) = s.interleave(self.x[j], self.y[j]);
        }
    }

    #[inline(always)]
    fn separate(&mut self, s: S) {
        for j in 0..K {
            (self.x[j], self.y[j]) = s.separate(self.x[j], self.y[j]);
        }
    }

    #[inline(always)]
    fn settle<W: Width<S>>(&mut self, s: S, q: W::Q) {
        for j in 0..K {
            (self.x[j], self.y[j]) = (W::settle(s, self.x[j], q), W::settle(s, self.y[j], q));
        }
    }
}

/// A table as the passes within pairs of registers read it: pair k has one factor at its first level, at k, and the
/// factors M*k .. M*k + M at the level of M blocks.
struct Last<'a, T> {
    w: &'a [T],
    quotients: &'a [T],
}

impl<T: Copy> Last<'_, T> {
    /// The factors of the K pairs from one on, at the level of M blocks.
    #[inline(always)]
    fn factors<S: Lanes<Word = T>, W: Width<S>, const M: usize, const K: usize>(
        &self,
        s: S,
        pair: usize,
    ) -> [W::Factor; K] {
        let w = &self.w.as_chunks::<M>().0[pair..][..K];
        let quotients = &self.quotients.as_chunks::<M>().0[pair..][..K];
        let mut factors = [W::factor(s, s.repeat(&w[0]), s.repeat(&quotients[0])); K];
        for j in 1..K {
            factors[j] = W::factor(s, s.repeat(&w[j]), s.repeat(&quotients[j]));
        }
        factors
    }
}

/// The factor at a place of a table, in all lanes.
#[inline(always)]
fn one_factor<S: Lanes, W: Width<S>>(s: S, w: &[S::Word], quotients: &[S::Word], at: usize) -> W::Factor {
    W::factor(s, s.splat(w[at]), s.splat(quotients[at]))
}

/// The words of a block, in chunks of a register, by quarters.
#[inline(always)]
fn quarters<S: Lanes>(block: &mut [S::Word]) -> [&mut [S::Chunk]; 4] {
    let chunks = S::chunks_mut(block);
    let (low, high) = chunks.split_at_mut(chunks.len() / 2);
    let (first, second) = low.split_at_mut(low.len() / 2);
    let (third, fourth) = high.split_at_mut(high.len() / 2);
    [first, second, third, fourth]
}
