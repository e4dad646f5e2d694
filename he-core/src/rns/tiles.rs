//! The linear map of [`super::linear`] in eight lanes of 52-bit multiply-add, for sources and targets below 2^50.
//!
//! The words are those of the portable loop. Low and high halves of the products are summed apart, without a carry between
//! them, and folded once: high * (2^52 mod p) by Shoup's multiplication plus low by Barrett's, below 4p < 2^52.
//!
//! | value | range |
//! |---|---|
//! | sums of low halves | < 2^59 (at most 60 products, own words, digits and r itself) |
//! | sums of high halves, with what the low ones carry | < 2^52, because a group of sources is folded in time |
//! | S in units of 2^-52 | its fraction < 2^59, r < 2^56 |
//!
//! Sixteen positions are done together, for up to four targets at once: sixteen sums hide the latency of the multiplier
//! behind its throughput, and each constant is broadcast once for two registers. The residues of these positions are
//! copied first, since limbs of a power of two of words lie in the same few sets of the cache.
//!
//! For l sources and m targets eight positions cost 2 l m + 3 l + 4 m multiply-adds (2 m or 4 m more for d_j, 2 m for own_j)
//! and 7 m other instructions, next to the copies and half a broadcast for each pair of multiply-adds.
#![expect(unsafe_code, reason = "vector loads and stores, and calls of target_feature functions")]

use core::arch::x86_64::*;

use super::ifma::{Ifma, LANES, MASK, reduce_once, splat};
use super::linear::{Fold, LinearMap, MOST_PRIMES, Source, Target};

/// Positions done together.
const SPAN: usize = 2 * LANES;

/// The factors of a linear map in the order in which they are read.
#[derive(Debug, Clone)]
pub(super) struct Tiles {
    /// For each tile of targets, for each source, the factors of the tile's targets.
    factors: Vec<u64>,
    /// The targets of each tile: at most four, all as equal as can be.
    sizes: Vec<usize>,
    /// What folds the sum of each target.
    folds: Vec<Fold>,
    /// Sources whose products may be summed before the sum must be folded.
    group: usize,
    /// Whether r may need its second digit.
    two_digits: bool,
    /// Asked for here: the CPU has the features.
    _proof: Ifma,
}

impl Tiles {
    /// The factors c_ij at `[j * sources + i]` in their new order, if the CPU can use them; sources and targets below 2^50.
    pub(super) fn new(sources: &[Source], targets: &[Target], factors: &[u64]) -> Option<Self> {
        let proof = Ifma::detect()?;
        let (mut sizes, mut ordered, mut first) = (Vec::new(), Vec::with_capacity(factors.len()), 0);
        while first < targets.len() {
            let left = targets.len() - first;
            let size = left.div_ceil(left.div_ceil(4));
            for i in 0..sources.len() {
                ordered.extend((first..first + size).map(|j| factors[j * sources.len() + i]));
            }
            sizes.push(size);
            first += size;
        }
        Some(Self {
            factors: ordered,
            sizes,
            folds: targets.iter().map(|target| Fold::new(target.p, 52)).collect(),
            group: group(sources, targets),
            two_digits: sources.iter().map(|s| u128::from(s.q)).sum::<u128>() >> 52 != 0,
            _proof: proof,
        })
    }

    /// Applies the map to the first positions; returns to how many. All limbs have `len` words.
    pub(super) fn apply(&self, map: &LinearMap, from: &[&[u64]], to: &mut [&mut [u64]], len: usize) -> usize {
        let done = len - len % SPAN;
        // SAFETY: a proof exists that the CPU has both features.
        unsafe { apply(map, self, from, to, done) };
        done
    }
}

/// How many products x_i c_ij fit below 2^104 beside own_j * out_j, the digits of r and a folded sum below 4p.
fn group(sources: &[Source], targets: &[Target]) -> usize {
    let q = sources.iter().map(|s| s.q).fold(0, u64::max);
    let p = targets.iter().map(|t| t.p).fold(0, u64::max);
    let (q, p) = (u128::from(q), u128::from(p));
    // Digits of r are below 2^52 and 2^6 (60 * 2^50 < 2^56, of which 52 bits are the first).
    let beside = p * p + p * ((1 << 52) + (1 << 6)) + 4 * p;
    (((1 << 104) - beside) / (p * q)).min(MOST_PRIMES as u128) as usize
}

type Pair = [__m512i; 2];

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn load(words: &[u64; SPAN]) -> Pair {
    // SAFETY: the array has sixteen words.
    unsafe {
        [_mm512_loadu_si512(words.as_ptr().cast()), _mm512_loadu_si512(words.as_ptr().add(LANES).cast())]
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn store(words: &mut [u64; SPAN], pair: Pair) {
    // SAFETY: the array has sixteen words.
    unsafe {
        _mm512_storeu_si512(words.as_mut_ptr().cast(), pair[0]);
        _mm512_storeu_si512(words.as_mut_ptr().add(LANES).cast(), pair[1]);
    }
}

/// The sixteen words at a place.
#[inline(always)]
fn span(words: &[u64], at: usize) -> &[u64; SPAN] {
    words[at..at + SPAN].first_chunk().expect("a slice of sixteen words")
}

/// The sixteen words at a place.
#[inline(always)]
fn span_mut(words: &mut [u64], at: usize) -> &mut [u64; SPAN] {
    words[at..at + SPAN].first_chunk_mut().expect("a slice of sixteen words")
}

/// Sums of products of two registers, low and high halves apart.
#[derive(Clone, Copy)]
struct Sum {
    low: Pair,
    high: Pair,
}

impl Sum {
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn zero() -> Self {
        let zero = [_mm512_setzero_si512(); 2];
        Self { low: zero, high: zero }
    }

    /// Adds x * c; both below 2^52, or their low 52 bits taken.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn plus(self, x: Pair, c: __m512i) -> Self {
        let ([low0, low1], [high0, high1]) = (self.low, self.high);
        Self {
            low: [_mm512_madd52lo_epu64(low0, x[0], c), _mm512_madd52lo_epu64(low1, x[1], c)],
            high: [_mm512_madd52hi_epu64(high0, x[0], c), _mm512_madd52hi_epu64(high1, x[1], c)],
        }
    }

    /// The sum modulo p, below 4p. Needs a sum below 2^104.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn fold(self, fold: &Fold) -> Pair {
        let (weight, quotient, one) = (splat(fold.weight), splat(fold.quotient), splat(fold.one));
        let minus = splat(fold.minus);
        let mut out = self.low;
        for (low, high) in out.iter_mut().zip(self.high) {
            // The multiplier reads the low 52 bits of `low`: what is above went to `high`.
            let high = _mm512_add_epi64(high, _mm512_srli_epi64::<52>(*low));
            let times = _mm512_madd52hi_epu64(_mm512_setzero_si512(), high, quotient);
            let times = _mm512_madd52hi_epu64(times, *low, one);
            let rest = _mm512_madd52lo_epu64(*low, high, weight);
            let rest = _mm512_madd52lo_epu64(rest, times, minus);
            // Each quotient is short by less than 2, so the true rest is in [0, 4p).
            *low = _mm512_and_si512(rest, _mm512_set1_epi64(MASK));
        }
        out
    }
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn apply(map: &LinearMap, tiles: &Tiles, from: &[&[u64]], to: &mut [&mut [u64]], len: usize) {
    let l = map.sources.len();
    let mut words = [Words([0; SPAN]); MOST_PRIMES];
    let words = &mut words[..l];
    for at in (0..len).step_by(SPAN) {
        let rounded = gather(map, from, words, at);
        let rounds = Rounds { map, tiles, words: &*words, rounded, at };
        let mut first = 0;
        for &tile in &tiles.sizes {
            match tile {
                4 => targets::<4>(&rounds, first, to),
                3 => targets::<3>(&rounds, first, to),
                2 => targets::<2>(&rounds, first, to),
                _ => targets::<1>(&rounds, first, to),
            }
            first += tile;
        }
    }
    // Faster than word by word: the barrier is what keeps the writes.
    words.fill(Words([0; SPAN]));
    zeroize::optimization_barrier(words);
}

/// The residues of one source at sixteen positions, in two lines of the cache.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Words([u64; SPAN]);

/// What all targets share at sixteen positions.
struct Rounds<'a> {
    map: &'a LinearMap,
    tiles: &'a Tiles,
    words: &'a [Words],
    /// r.
    rounded: Pair,
    at: usize,
}

/// Copies the residues of sixteen positions and returns r.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn gather(map: &LinearMap, from: &[&[u64]], words: &mut [Words], at: usize) -> Pair {
    let mut first = Sum::zero();
    // The half that rounds.
    let mut second = [splat(1 << 51); 2];
    for ((source, limb), words) in map.sources.iter().zip(from).zip(words) {
        let x = load(span(limb, at));
        store(&mut words.0, x);
        let fraction = [splat(source.fraction[0]), splat(source.fraction[1])];
        first = first.plus(x, fraction[0]);
        second = [
            _mm512_madd52hi_epu64(second[0], x[0], fraction[1]),
            _mm512_madd52hi_epu64(second[1], x[1], fraction[1]),
        ];
    }
    let mut rounded = first.high;
    for ((rounded, first), second) in rounded.iter_mut().zip(first.low).zip(second) {
        *rounded = _mm512_add_epi64(*rounded, _mm512_srli_epi64::<52>(_mm512_add_epi64(first, second)));
    }
    rounded
}

/// Finishes the T targets of a tile at sixteen positions, `first` being the first of them.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn targets<const T: usize>(rounds: &Rounds<'_>, first: usize, to: &mut [&mut [u64]]) {
    let Rounds { map, tiles, words, rounded, at } = *rounds;
    let (places, folds) = (&map.targets[first..][..T], &tiles.folds[first..][..T]);
    let factors = &tiles.factors[first * words.len()..].as_chunks::<T>().0[..words.len()];
    let mut sums = [Sum::zero(); T];
    for (number, (words, factors)) in words.chunks(tiles.group).zip(factors.chunks(tiles.group)).enumerate() {
        if number > 0 {
            for (sum, fold) in sums.iter_mut().zip(folds) {
                *sum = Sum { low: sum.fold(fold), ..Sum::zero() };
            }
        }
        sums = products(sums, words, factors);
    }
    let digits = [rounded, [_mm512_srli_epi64::<52>(rounded[0]), _mm512_srli_epi64::<52>(rounded[1])]];
    for (((sum, place), fold), out) in sums.iter().zip(places).zip(folds).zip(&mut to[first..]) {
        let out = span_mut(out, at);
        let mut sum = *sum;
        if map.own {
            sum = sum.plus(load(out), splat(place.own));
        }
        if map.unit {
            sum.low = [_mm512_add_epi64(sum.low[0], rounded[0]), _mm512_add_epi64(sum.low[1], rounded[1])];
        } else {
            // The multiplier takes the first digit, the low 52 bits, by itself.
            sum = sum.plus(digits[0], splat(place.wrap[0]));
            if tiles.two_digits {
                sum = sum.plus(digits[1], splat(place.wrap[1]));
            }
        }
        let (p, two_p) = (splat(fold.p[0]), splat(fold.p[1]));
        let [a, b] = sum.fold(fold);
        store(out, [reduce_once(reduce_once(a, two_p), p), reduce_once(reduce_once(b, two_p), p)]);
    }
}

/// The sums and the products of all words with the factors of each target.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn products<const T: usize>(mut sums: [Sum; T], words: &[Words], factors: &[[u64; T]]) -> [Sum; T] {
    for (words, factors) in words.iter().zip(factors) {
        let x = load(&words.0);
        for (sum, &factor) in sums.iter_mut().zip(factors) {
            *sum = sum.plus(x, splat(factor));
        }
    }
    sums
}
