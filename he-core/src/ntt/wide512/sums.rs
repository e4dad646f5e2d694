//! Sums of products of 61-bit residues, reduced once.
//!
//! With a = ah * 2^52 + al and b = bh * 2^52 + bl, the product has the weight 1 for the low 52 bits of al*bl, 2^52 for
//! its high bits and for the low bits of ah*bl and al*bh, and 2^104 for their high bits and for ah*bh. Each weight has
//! its own 64-bit sum, so that a term costs seven 52-bit multiply-adds and two shifts and no carry.
//!
//! | sum | of each term at most | with [`MOST_TERMS`] |
//! |---|---|---|
//! | low | 2^52 | 2^62.4 |
//! | middle | 3 * 2^52 | 2^63.9 |
//! | high | 2^18 + 2 * 2^9 | 2^28.5 |

use core::arch::x86_64::*;

use super::lanes::{Chunk, Factor, LANES, Q, load, reduce_once, splat, store};
use crate::modulus::Modulus;

/// Terms that the 64-bit sums surely hold, beside the word they are added to.
pub(crate) const MOST_TERMS: usize = 1300;

/// acc = acc + sum of products, all residues; at most [`MOST_TERMS`] terms, equal lengths, a multiple of 8.
pub(crate) fn accumulate(terms: &[(&[u64], &[u64])], acc: &mut [u64], modulus: &Modulus) {
    assert!(terms.len() <= MOST_TERMS && acc.len().is_multiple_of(LANES));
    assert!(terms.iter().all(|(a, b)| a.len() == acc.len() && b.len() == acc.len()));
    // SAFETY: called only for a table whose CPU was asked (see the essay of the module above).
    unsafe { accumulate_wide(terms, acc, modulus) }
}

/// The three sums of eight lanes.
#[derive(Clone, Copy)]
struct Sums {
    low: __m512i,
    middle: __m512i,
    high: __m512i,
}

impl Sums {
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn add(&mut self, a: __m512i, b: __m512i) {
        let (a_above, b_above) = (_mm512_srli_epi64::<52>(a), _mm512_srli_epi64::<52>(b));
        self.low = _mm512_madd52lo_epu64(self.low, a, b);
        self.middle = _mm512_madd52hi_epu64(self.middle, a, b);
        self.middle = _mm512_madd52lo_epu64(self.middle, a_above, b);
        self.middle = _mm512_madd52lo_epu64(self.middle, a, b_above);
        self.high = _mm512_madd52hi_epu64(self.high, a_above, b);
        self.high = _mm512_madd52hi_epu64(self.high, a, b_above);
        self.high = _mm512_madd52lo_epu64(self.high, a_above, b_above);
    }
}

#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn accumulate_wide(terms: &[(&[u64], &[u64])], acc: &mut [u64], modulus: &Modulus) {
    let q = Q::new(modulus.value());
    let weight = |bits: u32| {
        let w = modulus.reduce_u128(1 << bits);
        (splat(w), splat(modulus.shoup(w)))
    };
    let (one, limb, two_limbs) = (weight(0), weight(52), weight(104));
    let (one, limb, two_limbs) =
        (Factor::new(one.0, one.1), Factor::new(limb.0, limb.1), Factor::new(two_limbs.0, two_limbs.1));
    let zero = _mm512_setzero_si512();
    let (chunks, _) = acc.as_chunks_mut::<LANES>();
    for (i, out) in chunks.iter_mut().enumerate() {
        let mut sums = Sums { low: load(out), middle: zero, high: zero };
        for (a, b) in terms {
            sums.add(load(chunk(a, i)), load(chunk(b, i)));
        }
        // Each is below 4q, then 2q; the sum below 6q.
        let low = reduce_once(one.mul(sums.low, q), q.two);
        let middle = reduce_once(limb.mul(sums.middle, q), q.two);
        let high = reduce_once(two_limbs.mul(sums.high, q), q.two);
        let sum = _mm512_add_epi64(low, _mm512_add_epi64(middle, high));
        store(out, q.settle(reduce_once(sum, q.four)));
    }
}

#[inline]
fn chunk(words: &[u64], i: usize) -> &Chunk {
    &words.as_chunks::<LANES>().0[i]
}
