//! What a transform asks of a vector of words, and of the way in which residues are kept in it.
//!
//! [`Lanes`] is a register and how words move in it, [`Width`] the arithmetic modulo q; `passes` beside walks over memory
//! with both. A value of a type that is [`Lanes`] proves that the CPU has the instructions, so its methods are safe to
//! call. They compile to those instructions only inside a function of that target feature, into which all of this is
//! inlined.
//!
//! | lanes | words | arithmetic |
//! |---|---|---|
//! | AVX-512 (16), AVX2 (8), NEON (4) | 32 bits | `narrow::simd`: three widths, q < 2^30, 2^31, 2^32 |
//! | AVX2 (4) | 64 bits | `wide256`: q < 2^61 |
//!
//! With P the range of a product by a factor and R that of a sum or difference, a forward level takes R to R and an inverse
//! level P to P; each arithmetic says which they are.

/// Lanes of words, and how they move.
pub(super) trait Lanes: Copy {
    /// What a lane holds.
    type Word: Copy;
    /// A register.
    type V: Copy;
    /// The words of a register in memory.
    type Chunk;
    /// Lanes in a register.
    const LANES: usize;
    /// Whether there are registers for four pairs at a time (32 of them), or for one.
    const MANY: bool;

    fn chunks(words: &[Self::Word]) -> &[Self::Chunk];
    fn chunks_mut(words: &mut [Self::Word]) -> &mut [Self::Chunk];
    fn load(self, chunk: &Self::Chunk) -> Self::V;
    fn store(self, chunk: &mut Self::Chunk, x: Self::V);
    fn splat(self, x: Self::Word) -> Self::V;
    /// M words (a power of two up to the lanes), again and again.
    fn repeat<const M: usize>(self, words: &[Self::Word; M]) -> Self::V;
    /// x0 y0 x1 y1 ..: the lower halves of x and y, then the upper halves.
    fn interleave(self, x: Self::V, y: Self::V) -> (Self::V, Self::V);
    /// Undoes [`Lanes::interleave`].
    fn separate(self, x: Self::V, y: Self::V) -> (Self::V, Self::V);
}

/// How residues are kept and multiplied.
pub(super) trait Width<S: Lanes>: Copy {
    /// Multiples of the modulus, in every lane.
    type Q: Copy;
    /// Lanes of factors.
    type Factor: Copy;

    fn modulus(s: S, q: S::Word) -> Self::Q;
    /// Lanes of factors from lanes of both words of the table.
    fn factor(s: S, word: S::V, second: S::V) -> Self::Factor;
    /// K products, for any word x.
    fn mul<const K: usize>(s: S, w: [Self::Factor; K], x: [S::V; K], q: Self::Q) -> [S::V; K];
    /// A sum of two such products or words of the inverse.
    fn sum(s: S, a: S::V, b: S::V, q: Self::Q) -> S::V;
    /// A difference, likewise, in the range of a sum.
    fn difference(s: S, a: S::V, b: S::V, q: Self::Q) -> S::V;
    /// A sum or difference to the range of a product.
    fn shrink(s: S, x: S::V, q: Self::Q) -> S::V;
    /// A sum, difference or product to [0, q).
    fn settle(s: S, x: S::V, q: Self::Q) -> S::V;

    /// K Cooley–Tukey butterflies a, b = a + b*w, a - b*w.
    #[inline(always)]
    fn forward<const K: usize>(s: S, w: [Self::Factor; K], a: &mut [S::V; K], b: &mut [S::V; K], q: Self::Q) {
        let v = Self::mul(s, w, *b, q);
        for i in 0..K {
            let u = Self::shrink(s, a[i], q);
            (a[i], b[i]) = (Self::sum(s, u, v[i], q), Self::difference(s, u, v[i], q));
        }
    }

    /// K Gentleman–Sande butterflies a, b = a + b, (a - b)*w.
    #[inline(always)]
    fn inverse<const K: usize>(s: S, w: [Self::Factor; K], a: &mut [S::V; K], b: &mut [S::V; K], q: Self::Q) {
        let mut difference = *a;
        for i in 0..K {
            difference[i] = Self::difference(s, a[i], b[i], q);
            a[i] = Self::shrink(s, Self::sum(s, a[i], b[i], q), q);
        }
        *b = Self::mul(s, w, difference, q);
    }
}
