//! The linear map and its small companions in eight lanes of 52-bit multiply-add (AVX-512F, AVX-512IFMA).
//!
//! As the portable loops of [`super::linear`], [`super::centred`] and [`super::drop`], word for word, for sources and
//! targets below 2^50. Low and high halves of the products are summed apart, without a carry between them, and folded
//! once: high * (2^52 mod p) by Shoup's multiplication plus low by Barrett's, below 4p < 2^52.
//!
//! | value | range |
//! |---|---|
//! | sums of low halves | < 2^59 (at most 60 products, own words, digits and r itself) |
//! | sums of high halves, with what the low ones carry | < 2^52, because a group of sources is folded in time |
//! | S | < 2^58 in its fraction, r < 2^56 |
//!
//! Sixteen positions are done together, for up to four targets at once: sixteen sums hide the latency of the multiplier
//! behind its throughput, and each constant is broadcast once for two registers. The residues of these positions are
//! copied first, since limbs of a power of two of words lie in the same few sets of the cache.
//!
//! An [`Ifma`] exists only after the CPU was asked: that makes the calls below sound.
#![expect(unsafe_code, reason = "vector loads and stores, and calls of target_feature functions")]

use core::arch::x86_64::*;

use zeroize::Zeroize;

use super::centred::Place;
use super::linear::{Fold, LinearMap, MOST_PRIMES, NARROW, Target};

const LANES: usize = 8;
/// Positions done together.
const SPAN: usize = 2 * LANES;
const MASK: i64 = (1 << 52) - 1;

/// The knowledge that this CPU has AVX-512F and AVX-512IFMA.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ifma(());

impl Ifma {
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512ifma")).then_some(Self(()))
    }

    /// As the loop of [`super::centred::Centred::apply`]; returns how many positions it did. Both slices have one length.
    pub(super) fn centred(self, place: &Place, half: u64, from: &[u64], to: &mut [u64]) -> usize {
        // A sum that is to be reduced must fit 52 bits; then p < q, so that 2p fits them too.
        if place.one != 0 && half >= NARROW / 2 {
            return 0;
        }
        // SAFETY: `self` exists, so the CPU has both features.
        unsafe { centred(place, half, from, to) }
        from.len() - from.len() % LANES
    }

    /// values = (values - correction) * w mod p with `quotient` = floor(w * 2^64 / p); returns how many positions it did, none
    /// unless p < 2^50. Both slices have one length.
    pub(super) fn finish(
        self,
        p: u64,
        w: u64,
        quotient: u64,
        values: &mut [u64],
        correction: &[u64],
    ) -> usize {
        if p >= NARROW {
            return 0;
        }
        // SAFETY: `self` exists, so the CPU has both features.
        unsafe { finish(p, w, quotient >> 12, values, correction) }
        values.len() - values.len() % LANES
    }
}

/// The factors of a linear map in the order in which they are read.
#[derive(Debug, Clone)]
pub(super) struct Tiles {
    /// For each tile of targets, for each source, the factors of the tile's targets.
    factors: Vec<u64>,
    /// The targets of each tile: at most four, all as equal as can be.
    sizes: Vec<usize>,
    /// Sources whose products may be summed before the sum must be folded.
    group: usize,
    /// Asked for here: the CPU has the features.
    _proof: Ifma,
}

impl Tiles {
    /// The factors c_ij at `[j * sources + i]` in their new order, if the CPU can use them.
    pub(super) fn new(factors: &[u64], sources: usize, group: usize) -> Option<Self> {
        let targets = factors.len() / sources;
        let (mut sizes, mut ordered, mut first) = (Vec::new(), Vec::with_capacity(factors.len()), 0);
        while first < targets {
            let left = targets - first;
            let size = left.div_ceil(left.div_ceil(4));
            for i in 0..sources {
                ordered.extend((first..first + size).map(|j| factors[j * sources + i]));
            }
            sizes.push(size);
            first += size;
        }
        Ifma::detect().map(|proof| Self { factors: ordered, sizes, group, _proof: proof })
    }

    /// Applies the map to the first positions; returns to how many. All limbs have `len` words.
    pub(super) fn apply(&self, map: &LinearMap, from: &[&[u64]], to: &mut [&mut [u64]], len: usize) -> usize {
        let done = len - len % SPAN;
        // SAFETY: a proof exists that the CPU has both features.
        unsafe { apply(map, self, from, to, done) };
        done
    }
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

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn load_one(words: &[u64; LANES]) -> __m512i {
    // SAFETY: the array has eight words.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn store_one(words: &mut [u64; LANES], x: __m512i) {
    // SAFETY: the array has eight words.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), x) }
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

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn splat(x: u64) -> __m512i {
    _mm512_set1_epi64(x as i64)
}

/// x < 2m to x < m: the unsigned minimum of x and x - m, which wraps when x < m.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn reduce_once(x: __m512i, m: __m512i) -> __m512i {
    _mm512_min_epu64(x, _mm512_sub_epi64(x, m))
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
        let (mut factors, mut places, mut to) = (&tiles.factors[..], &map.targets[..], &mut to[..]);
        for &tile in &tiles.sizes {
            let (these, left) = to.split_at_mut(tile);
            let rounds = Rounds { map, words: &*words, group: tiles.group, rounded, at };
            match tile {
                4 => targets::<4>(&rounds, factors, places, these),
                3 => targets::<3>(&rounds, factors, places, these),
                2 => targets::<2>(&rounds, factors, places, these),
                _ => targets::<1>(&rounds, factors, places, these),
            }
            (factors, places, to) = (&factors[l * tile..], &places[tile..], left);
        }
    }
    words.iter_mut().for_each(|words| words.0.zeroize());
}

/// The residues of one source at sixteen positions, in two lines of the cache.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Words([u64; SPAN]);

/// What all targets share at sixteen positions.
struct Rounds<'a> {
    map: &'a LinearMap,
    words: &'a [Words],
    group: usize,
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

/// Finishes the T targets of a tile at sixteen positions; `factors` and `places` start with those of the tile.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn targets<const T: usize>(rounds: &Rounds<'_>, factors: &[u64], places: &[Target], to: &mut [&mut [u64]]) {
    let Rounds { map, words, group, rounded, at } = *rounds;
    let places: &[Target; T] = places.first_chunk().expect("a tile lies within the targets");
    let factors = &factors.as_chunks::<T>().0[..words.len()];
    let mut sums = [Sum::zero(); T];
    for (number, (words, factors)) in words.chunks(group).zip(factors.chunks(group)).enumerate() {
        if number > 0 {
            for (sum, place) in sums.iter_mut().zip(places) {
                *sum = Sum { low: sum.fold(&place.narrow), ..Sum::zero() };
            }
        }
        sums = products(sums, words, factors);
    }
    let digits = [rounded, [_mm512_srli_epi64::<52>(rounded[0]), _mm512_srli_epi64::<52>(rounded[1])]];
    for ((sum, place), out) in sums.iter().zip(places).zip(to) {
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
            if map.two_digits {
                sum = sum.plus(digits[1], splat(place.wrap[1]));
            }
        }
        let (p, two_p) = (splat(place.narrow.p[0]), splat(place.narrow.p[1]));
        let [a, b] = sum.fold(&place.narrow);
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

#[target_feature(enable = "avx512f,avx512ifma")]
fn centred(place: &Place, half: u64, from: &[u64], to: &mut [u64]) {
    let (half, add, p, one) = (splat(half), splat(place.add), splat(place.p), splat(place.one >> 12));
    let minus_p = splat(place.p.wrapping_neg() & MASK as u64);
    let (from, to) = (from.as_chunks::<LANES>().0, to.as_chunks_mut::<LANES>().0);
    for (from, to) in from.iter().zip(to) {
        let x = load_one(from);
        let mut sum = _mm512_mask_add_epi64(x, _mm512_cmpgt_epu64_mask(x, half), x, add);
        if place.one != 0 {
            let times = _mm512_madd52hi_epu64(_mm512_setzero_si512(), sum, one);
            sum = _mm512_and_si512(_mm512_madd52lo_epu64(sum, times, minus_p), _mm512_set1_epi64(MASK));
            sum = reduce_once(sum, p);
        }
        store_one(to, sum);
    }
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn finish(p: u64, w: u64, quotient: u64, values: &mut [u64], correction: &[u64]) {
    let minus_p = splat(p.wrapping_neg() & MASK as u64);
    let (p, w, quotient) = (splat(p), splat(w), splat(quotient));
    let (values, correction) = (values.as_chunks_mut::<LANES>().0, correction.as_chunks::<LANES>().0);
    for (values, correction) in values.iter_mut().zip(correction) {
        let x = _mm512_sub_epi64(_mm512_add_epi64(load_one(values), p), load_one(correction));
        let times = _mm512_madd52hi_epu64(_mm512_setzero_si512(), x, quotient);
        let product = _mm512_madd52lo_epu64(_mm512_setzero_si512(), x, w);
        let rest = _mm512_madd52lo_epu64(product, times, minus_p);
        store_one(values, reduce_once(_mm512_and_si512(rest, _mm512_set1_epi64(MASK)), p));
    }
}
