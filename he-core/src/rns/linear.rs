//! The one inner loop behind every change of basis: a linear map of residues with a rounded correction.
//!
//! For sources q_0..q_(l-1), targets p_0..p_(m-1) and residues x_i modulo q_i a [`LinearMap`] computes
//!
//! > out_j = sum_i x_i c_ij + own_j * out_j + r d_j mod p_j, r = floor(sum_i x_i f_i + 1/2).
//!
//! S. Halevi, Y. Polyakov and V. Shoup (*An Improved RNS Variant of the BFV Homomorphic Encryption Scheme*, CT-RSA
//! 2019, sections 2.2 to 2.4) express base conversion and both scalings like this. They multiply x_i by a constant modulo
//! q_i first where a conversion is wanted; here that constant is folded into c_ij and f_i everywhere, as they do for
//! scaling only. It saves the reductions modulo q_i and costs a fraction f_i of two words instead of one.
//!
//! | user | sources -> targets | own_j | d_j |
//! |---|---|---|---|
//! | [`super::convert::Converter`] | Q -> P | - | -Q |
//! | [`super::drop::ModDown`] | P -> Q | 1/P | 1 |
//! | [`super::scale::ScaleRound`] | Q -> B | t/Q | 1 |
//! | [`super::scale::PlainRound`] | Q -> t, any integer | - | 1 |
//!
//! **Fractions.** f_i = a_i / q_i with a_i < q_i public. In words of W bits, f_i = (f_i0 + f_i1 2^-W) 2^-W less the rest
//! below 2^-2W, and the sum is S = sum_i (x_i f_i0 + floor(x_i f_i1 / 2^W)) in units of 2^-W.
//!
//! | all q_i below | W | S falls short of sum_i x_i f_i by less than |
//! |---|---|---|
//! | 2^50 | 52 | l * 1.25 * 2^-52 |
//! | 2^61 | 60 | l * 3 * 2^-60 |
//!
//! So r is exact, or one too small where the true sum lies less than that above a half of an odd integer. W depends on
//! the sources only: every kernel gives the same words, there too.
//!
//! **Ranges.** x_i < q_i < 2^61, c_ij, own_j, d_j < p_j < 2^61, at most [`MOST_PRIMES`] sources: sums of products fit 128
//! bits (62 * 2^122), S fits 127. r < sum q_i is used as two digits of W bits. The last step folds the sum at 2^64 (or at
//! 2^52 in vectors): high * (2^64 mod p) by Shoup's multiplication plus low by Barrett's, together below 4p.
//!
//! The time depends on shapes and constants alone. Not promised: residues out of range give wrong numbers.

use core::ops::Range;

use zeroize::Zeroize;

use crate::modulus::{Modulus, reduce_once};

/// The most sources of one map: with own words and two digits of r the 128-bit sums stay below 62 * 2^122.
pub const MOST_PRIMES: usize = 60;

/// Sources below this bound have fractions in words of 52 bits, and vectors serve sources and targets below it.
pub(super) const NARROW: u64 = 1 << 50;

/// A map from residues modulo the sources to residues modulo the targets; all of it is public.
#[derive(Debug, Clone)]
pub(super) struct LinearMap {
    pub(super) sources: Vec<Source>,
    pub(super) targets: Vec<Target>,
    /// c_ij at `[j * sources + i]`.
    factors: Vec<u64>,
    /// W.
    digit: u32,
    /// Whether a target's previous word takes part, times own_j.
    pub(super) own: bool,
    /// Whether all d_j are 1, so that r is added as it is.
    pub(super) unit: bool,
    #[cfg(target_arch = "x86_64")]
    vectors: Option<super::tiles::Tiles>,
}

/// One source prime.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    pub(super) q: u64,
    /// f_i0, f_i1.
    pub(super) fraction: [u64; 2],
}

/// One target modulus; only the maps to primes invert anything, so here it may be any integer from 2 to 2^61.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) p: u64,
    pub(super) own: u64,
    /// d_j and 2^W d_j mod p.
    pub(super) wrap: [u64; 2],
    fold: Fold,
}

/// What reduces high * 2^b + low modulo p, for b = 64 or 52; of use where p < 2^(b-2).
#[derive(Debug, Clone, Copy)]
pub(super) struct Fold {
    /// p times 1 and 2.
    pub(super) p: [u64; 2],
    /// 2^b - p.
    pub(super) minus: u64,
    /// 2^b mod p.
    pub(super) weight: u64,
    /// floor(weight * 2^b / p).
    pub(super) quotient: u64,
    /// floor(2^b / p).
    pub(super) one: u64,
}

impl Fold {
    pub(super) fn new(p: u64, bits: u32) -> Self {
        let (wide, power) = (u128::from(p), 1_u128 << bits);
        let weight = power % wide;
        let [minus, weight, quotient, one] =
            [power - wide, weight, (weight << bits) / wide, power / wide].map(|constant| constant as u64);
        Self { p: [p, 2 * p], minus, weight, quotient, one }
    }
}

impl LinearMap {
    /// The map with sources (q_i, a_i), targets (p_j, own_j, d_j) and c_ij = `factor(i, j)`, all constants reduced.
    /// `own` and `unit` say whether the own_j, and d_j other than 1, are wanted.
    ///
    /// # Panics
    /// Unless there are 1 to [`MOST_PRIMES`] sources.
    pub(super) fn new(
        sources: &[(&Modulus, u64)],
        targets: &[(u64, u64, u64)],
        factor: impl Fn(usize, usize) -> u64,
        own: bool,
        unit: bool,
    ) -> Self {
        assert!(
            (1..=MOST_PRIMES).contains(&sources.len()),
            "a change of basis from {} primes; 1 to {MOST_PRIMES} are supported",
            sources.len()
        );
        let narrow_sources = sources.iter().all(|(q, _)| q.value() < NARROW);
        let digit = if narrow_sources { 52 } else { 60 };
        let factors = (0..targets.len())
            .flat_map(|j| (0..sources.len()).map(move |i| (i, j)))
            .map(|(i, j)| factor(i, j));
        let factors: Vec<u64> = factors.collect();
        let sources: Vec<_> = sources.iter().map(|&(q, a)| Source::new(q.value(), a, digit)).collect();
        let targets: Vec<_> = targets.iter().map(|&(p, own, d)| Target::new(p, own, d, digit)).collect();
        debug_assert!(factors.iter().zip(0..).all(|(&c, at)| c < targets[at / sources.len()].p));
        #[cfg(target_arch = "x86_64")]
        let narrow = narrow_sources && targets.iter().all(|t| t.p < NARROW);
        Self {
            #[cfg(target_arch = "x86_64")]
            vectors: if narrow { super::tiles::Tiles::new(&sources, &targets, &factors) } else { None },
            factors,
            digit,
            own,
            unit,
            sources,
            targets,
        }
    }

    /// This map without vector kernels.
    #[cfg(test)]
    pub(super) fn portable(self) -> Self {
        Self {
            #[cfg(target_arch = "x86_64")]
            vectors: None,
            ..self
        }
    }

    /// Whether vectors do the work.
    #[cfg(test)]
    pub(super) fn has_vectors(&self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return self.vectors.is_some();
        #[cfg(not(target_arch = "x86_64"))]
        return false;
    }

    /// Applies the map to every position.
    ///
    /// # Panics
    /// Unless there is one slice per source and one per target, all of one length.
    pub(super) fn apply(&self, from: &[&[u64]], to: &mut [&mut [u64]]) {
        let len = check_shapes(self.sources.len(), self.targets.len(), from, to);
        debug_assert!(
            from.iter().zip(&self.sources).all(|(limb, s)| limb.iter().all(|&x| x < s.q)),
            "a word is not a residue"
        );
        #[cfg(target_arch = "x86_64")]
        let done = self.vectors.as_ref().map_or(0, |tiles| tiles.apply(self, from, to, len));
        #[cfg(not(target_arch = "x86_64"))]
        let done = 0;
        self.apply_portable(from, to, done..len);
    }

    fn apply_portable(&self, from: &[&[u64]], to: &mut [&mut [u64]], positions: Range<usize>) {
        let l = self.sources.len();
        let half = 1_u128 << (self.digit - 1);
        let mut words = [0_u64; MOST_PRIMES];
        for at in positions {
            let x = &mut words[..l];
            for (x, limb) in x.iter_mut().zip(from) {
                *x = limb[at];
            }
            let rounded = (self.fraction(x) + half) >> self.digit;
            let low = rounded as u64 & ((1 << self.digit) - 1);
            let high = (rounded >> self.digit) as u64;
            for ((target, row), out) in self.targets.iter().zip(self.factors.chunks_exact(l)).zip(&mut *to) {
                let mut sum: u128 = row.iter().zip(&*x).map(|(&c, &x)| u128::from(c) * u128::from(x)).sum();
                if self.own {
                    sum += u128::from(out[at]) * u128::from(target.own);
                }
                sum += if self.unit {
                    rounded
                } else {
                    u128::from(low) * u128::from(target.wrap[0])
                        + u128::from(high) * u128::from(target.wrap[1])
                };
                out[at] = target.reduce(sum);
            }
        }
        words[..l].zeroize();
    }

    /// S, in units of 2^-W.
    #[inline(always)]
    fn fraction(&self, x: &[u64]) -> u128 {
        let term = |(s, &x): (&Source, &u64)| {
            let [first, second] = s.fraction.map(|f| u128::from(f) * u128::from(x));
            first + (second >> self.digit)
        };
        self.sources.iter().zip(x).map(term).sum()
    }
}

impl Source {
    fn new(q: u64, a: u64, digit: u32) -> Self {
        debug_assert!(a < q);
        let wide = u128::from(a) << digit;
        let (first, rest) = (wide / u128::from(q), wide % u128::from(q));
        Self { q, fraction: [first as u64, ((rest << digit) / u128::from(q)) as u64] }
    }
}

impl Target {
    fn new(p: u64, own: u64, d: u64, digit: u32) -> Self {
        debug_assert!(own < p && d < p);
        let shifted = ((u128::from(d) << digit) % u128::from(p)) as u64;
        Self { p, own, wrap: [d, shifted], fold: Fold::new(p, 64) }
    }

    /// Any double word modulo p.
    #[inline(always)]
    fn reduce(&self, x: u128) -> u64 {
        let high_product = |a: u64, b: u64| ((u128::from(a) * u128::from(b)) >> 64) as u64;
        let (low, high) = (x as u64, (x >> 64) as u64);
        let Fold { p: [p, two_p], minus, weight, quotient, one } = self.fold;
        // Each quotient estimate is short by less than 2: the rest is below 4p < 2^63, exact modulo 2^64.
        let times = high_product(high, quotient).wrapping_add(high_product(low, one));
        let rest = low.wrapping_add(high.wrapping_mul(weight)).wrapping_add(times.wrapping_mul(minus));
        reduce_once(reduce_once(rest, two_p), p)
    }
}

/// The common length of all limbs.
///
/// # Panics
/// Unless there are `sources` and `targets` of them, all of one length.
pub(super) fn check_shapes(sources: usize, targets: usize, from: &[&[u64]], to: &[&mut [u64]]) -> usize {
    assert!(
        from.len() == sources && to.len() == targets,
        "a change of basis from {sources} to {targets} primes got {} and {} limbs",
        from.len(),
        to.len()
    );
    let len = from[0].len();
    assert!(
        from.iter().all(|limb| limb.len() == len) && to.iter().all(|limb| limb.len() == len),
        "the limbs of a change of basis have different lengths"
    );
    len
}
