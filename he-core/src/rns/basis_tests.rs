//! Every change of basis against exact integers, on every kernel present: random numbers, small ones, the ends of
//! (-Q/2, Q/2], and fractions at the edge of where a rounding is promised.

use super::big::{Big, compose};
use super::convert::{Converter, MOST_PRIMES};
use super::drop::{ModDown, division};
use super::linear::LinearMap;
use super::scale::{FactorRound, MOST_PLAIN, PlainRound, ScaleRound};
use crate::modulus::Modulus;
use crate::ntt::Kernel;
use crate::prime::is_prime;
use crate::seed::Seed;
use core::cmp::Ordering;
use proptest::prelude::*;
use rand_core::Rng;

/// The `count` largest primes below 2^bits that are not among `others`.
fn primes(bits: u32, count: usize, others: &[Modulus]) -> Vec<Modulus> {
    (3..1 << bits)
        .rev()
        .filter(|&q| q % 2 == 1 && is_prime(q) && others.iter().all(|other| other.value() != q))
        .take(count)
        .map(|q| Modulus::new(q).unwrap())
        .collect()
}

/// Two disjoint bases of l and m primes of these widths, taken in turns.
fn bases(l: usize, m: usize, widths: &[u32]) -> [Vec<Modulus>; 2] {
    let mut all: Vec<Modulus> = Vec::new();
    for i in 0..l + m {
        let more = primes(widths[i % widths.len()], 1, &all);
        all.extend(more);
    }
    let right = all.split_off(l);
    [all, right]
}

/// c l / 2^s, what the fraction of l sources may fall short of: 1.25 l / 2^52 or 3 l / 2^60.
fn shortfall(from: &[Modulus]) -> (i128, i128) {
    let l = from.len() as i128;
    if from.iter().all(|q| q.value() < 1 << 50) { (5 * l, 1 << 54) } else { (3 * l, 1 << 60) }
}

/// round(x / d), and whether one less is allowed: x / d is above the half by less than the shortfall of d's primes.
fn rounded(x: &Big, d: &[Modulus]) -> (Big, bool) {
    let (shortfall, (top, bottom)) = (Big::product(d), shortfall(d));
    let round = x.round_div(&shortfall);
    // 2 x - (2 round - 1) d: twice the height above the half, in units of 1/d.
    let two = Big::new(2);
    let above = x.mul(&two).sub(&round.mul(&two).sub(&Big::new(1)).mul(&shortfall));
    let allowed = shortfall.mul(&two).mul(&Big::new(top));
    (round, above.mul(&Big::new(bottom)).cmp(&allowed) == Ordering::Less)
}

/// Numbers modulo the product D of `divisor` times that of `others` that try the rounding of t x / D: none of them need be
/// centred. `seed` steers the random ones.
fn numbers(divisor: &[Modulus], others: &[Modulus], t: u64, seed: u64) -> Vec<Big> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut rng = Seed::from_bytes(bytes).stream();
    let all: Vec<_> = divisor.iter().chain(others).copied().collect();
    let (d, whole) = (Big::product(divisor), Big::product(&all));
    let half = d.div_rem(&Big::new(2)).0;
    let (top, bottom) = shortfall(divisor);
    let edge = d.mul(&Big::new(top)).div_rem(&Big::new(bottom)).0;
    let inverse = Big::unsigned(t);
    let mut out = Vec::new();
    for small in -2..=2 {
        let small = Big::new(small);
        out.push(small.clone());
        for place in
            [half.clone(), half.neg(), d.clone(), half.neg().add(&edge), half.add(&edge), half.sub(&edge)]
        {
            let place = place.add(&small);
            // t x is near the place: x = place / t, rounded; and the same some multiples of D away.
            out.push(place.round_div(&inverse));
            let turns = Big::unsigned(rng.next_u64());
            out.push(place.add(&turns.mul(&d)).round_div(&inverse));
            out.push(place);
        }
    }
    let whole_half = whole.div_rem(&Big::new(2)).0;
    out.extend([whole_half.clone(), whole_half.neg(), whole.sub(&Big::new(1))]);
    for _ in 0..30 {
        let residues: Vec<_> = all.iter().map(|q| q.reduce(rng.next_u64())).collect();
        out.push(compose(&residues, &all));
    }
    // All residues q - 1, 0 and 1 in turns are extremes of the sums.
    for turn in 0..3 {
        let pick = |(i, q): (usize, &Modulus)| [q.value() - 1, 0, 1][(i * turn + turn) % 3];
        out.push(compose(&all.iter().enumerate().map(pick).collect::<Vec<_>>(), &all));
    }
    out.push(compose(&all.iter().map(|q| q.value() - 1).collect::<Vec<_>>(), &all));
    out
}

/// Residues limb by limb.
fn limbs(numbers: &[Big], primes: &[Modulus]) -> Vec<Vec<u64>> {
    primes.iter().map(|q| numbers.iter().map(|x| x.residue(q.value())).collect()).collect()
}

fn slices(limbs: &[Vec<u64>]) -> Vec<&[u64]> {
    limbs.iter().map(Vec::as_slice).collect()
}

fn slices_mut(limbs: &mut [Vec<u64>]) -> Vec<&mut [u64]> {
    limbs.iter_mut().map(Vec::as_mut_slice).collect()
}

/// Each column of `found` must be the residues of the rounded quotient, or of one less where that is allowed.
fn check_rounded(quotients: impl Iterator<Item = (Big, bool)>, found: &[Vec<u64>], moduli: &[u64]) {
    for (at, (quotient, may_be_less)) in quotients.enumerate() {
        let less = quotient.sub(&Big::new(1));
        let agrees = |x: &Big| found.iter().zip(moduli).all(|(limb, &p)| limb[at] == x.residue(p));
        assert!(agrees(&quotient) || may_be_less && agrees(&less), "position {at}, edge: {may_be_less}");
    }
}

fn values(primes: &[Modulus]) -> Vec<u64> {
    primes.iter().map(Modulus::value).collect()
}

fn check_convert(from: &[Modulus], to: &[Modulus], seed: u64) {
    let q = Big::product(from);
    let numbers: Vec<_> = numbers(from, &[], 1, seed).iter().map(|x| x.center(&q)).collect();
    let input = limbs(&numbers, from);
    let converter = Converter::new(from, to);
    let [found, portable] = [converter.clone(), converter.portable()].map(|converter| {
        let mut out = vec![vec![u64::MAX; numbers.len()]; to.len()];
        converter.convert(&slices(&input), &mut slices_mut(&mut out));
        out
    });
    assert_eq!(found, portable);
    for (at, x) in numbers.iter().enumerate() {
        // x = x - 0 Q where round(x / Q) = 0; one less makes it x + Q. One source is always exact.
        let (zero, may_be_less) = rounded(x, from);
        assert_eq!(zero, Big::new(0));
        let agrees = |x: &Big| found.iter().zip(to).all(|(limb, p)| limb[at] == x.residue(p.value()));
        assert!(agrees(x) || may_be_less && from.len() > 1 && agrees(&x.add(&q)), "position {at}");
    }
}

fn check_drop(dropped: &[Modulus], kept: &[Modulus], seed: u64) {
    let numbers = numbers(dropped, kept, 1, seed);
    let (input, before) = (limbs(&numbers, dropped), limbs(&numbers, kept));
    let down = ModDown::new(dropped, kept);
    let [found, portable] = [&down, &down.clone().portable()].map(|down| {
        let mut out = before.clone();
        down.apply(&slices(&input), &mut slices_mut(&mut out));
        // The two steps do the same.
        let (mut steps, mut correction) = (before.clone(), vec![vec![0; numbers.len()]; kept.len()]);
        down.correction(&slices(&input), &mut slices_mut(&mut correction));
        for (limb, (values, correction)) in steps.iter_mut().zip(&correction).enumerate() {
            down.finish(limb, values, correction);
        }
        assert_eq!(out, steps);
        out
    });
    assert_eq!(found, portable);
    let exact = dropped.len() == 1;
    let quotients = numbers.iter().map(|x| rounded(x, dropped)).map(|(x, less)| (x, less && !exact));
    check_rounded(quotients, &found, &values(kept));
}

fn check_scale(from: &[Modulus], to: &[Modulus], t: u64, seed: u64) {
    let numbers = numbers(from, to, t, seed);
    let (input, before) = (limbs(&numbers, from), limbs(&numbers, to));
    let scale = ScaleRound::new(from, to, t);
    let [found, portable] = [scale.clone(), scale.portable()].map(|scale| {
        let mut out = before.clone();
        scale.apply(&slices(&input), &mut slices_mut(&mut out));
        out
    });
    assert_eq!(found, portable);
    let quotients = || numbers.iter().map(|x| rounded(&x.mul(&Big::unsigned(t)), from));
    check_rounded(quotients(), &found, &values(to));
    // The second basis as the factors of a modulus.
    let factors = FactorRound::new(from, to);
    let [found, portable] = [factors.clone(), factors.portable()].map(|factors| {
        let mut out = vec![vec![u64::MAX; numbers.len()]; to.len()];
        factors.apply(&slices(&input), &mut slices_mut(&mut out));
        out
    });
    assert_eq!(found, portable);
    check_rounded(numbers.iter().map(|x| rounded(&x.mul(&Big::product(to)), from)), &found, &values(to));
    if (2..=MOST_PLAIN).contains(&t) {
        let plain = PlainRound::new(from, t);
        let [found, portable] = [plain.clone(), plain.portable()].map(|plain| {
            let mut out = vec![u64::MAX; numbers.len()];
            plain.apply(&slices(&input), &mut out);
            out
        });
        assert_eq!(found, portable);
        check_rounded(quotients(), &[found], &[t]);
    }
}

/// Widths of primes: vectors serve the first four; the others have fractions of 60 bits or mix both worlds.
const WIDTHS: [&[u32]; 8] = [&[50], &[20, 50], &[43], &[12, 30, 47], &[61], &[61, 24], &[50, 61], &[52, 51]];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn conversions_are_exact(l in 1_usize..9, m in 1_usize..9, widths in 0..WIDTHS.len(), seed: u64) {
        let [from, to] = bases(l, m, WIDTHS[widths]);
        check_convert(&from, &to, seed);
    }

    #[test]
    fn divisions_are_exact(l in 1_usize..6, m in 1_usize..8, widths in 0..WIDTHS.len(), seed: u64) {
        let [dropped, kept] = bases(l, m, WIDTHS[widths]);
        check_drop(&dropped, &kept, seed);
    }

    #[test]
    fn scalings_are_exact(
        l in 1_usize..6,
        m in 1_usize..7,
        widths in 0..WIDTHS.len(),
        t in prop_oneof![
            prop::sample::select(vec![1, 2, 3, 65537, 1 << 16, 1 << 32, (1 << 20) - 12, MOST_PLAIN, MOST_PLAIN - 1, u64::MAX]),
            2..=MOST_PLAIN,
        ],
        seed: u64,
    ) {
        let [from, to] = bases(l, m, WIDTHS[widths]);
        check_scale(&from, &to, t, seed);
    }
}

#[test]
fn vectors_are_tested_where_the_cpu_has_them() {
    let served = |l, m, widths: &[u32]| {
        let [from, to] = bases(l, m, widths);
        division(1, &from, &to).has_vectors()
    };
    let here = Kernel::available().contains(&Kernel::Avx512Ifma);
    assert_eq!((served(3, 2, &[50]), served(2, 2, &[43, 20])), (here, here));
    assert!(
        !served(2, 1, &[50, 61])
            && !division(1, &bases(2, 1, &[50])[0], &bases(1, 1, &[61])[0]).has_vectors()
    );
    let [from, to] = bases(3, 2, &[50]);
    assert!(!division(1, &from, &to).portable().has_vectors());
}

#[test]
fn the_largest_sums_fit() {
    for bits in [50, 61] {
        for (l, own, unit) in
            [(MOST_PRIMES, true, false), (MOST_PRIMES, true, true), (11, false, false), (10, true, false)]
        {
            let [from, to] = bases(l, 5, &[bits]);
            let tops =
                |primes: &[Modulus]| primes.iter().map(|q| vec![q.value() - 1; 21]).collect::<Vec<_>>();
            let sources: Vec<_> = from.iter().map(|q| (q, q.value() - 1)).collect();
            let targets: Vec<_> = to.iter().map(|p| (p.value(), p.value() - 1, p.value() - 1)).collect();
            let map = LinearMap::new(&sources, &targets, |_, j| to[j].value() - 1, own, unit);
            // (q - 1)^2 / q = q - 2 + 1/q, and the rest of all sources is far below one half.
            let rounded = from.iter().fold(Big::new(0), |sum, q| sum.add(&Big::unsigned(q.value() - 2)));
            let all = from.iter().fold(Big::new(0), |sum, q| sum.add(&Big::unsigned(q.value() - 1)));
            let expected = to.iter().map(|p| {
                let top = Big::unsigned(p.value() - 1);
                let sum = all.mul(&top).add(&if own { top.mul(&top) } else { Big::new(0) });
                let sum = sum.add(&if unit { rounded.clone() } else { rounded.mul(&top) });
                vec![sum.residue(p.value()); 21]
            });
            let expected: Vec<_> = expected.collect();
            for map in [map.clone(), map.portable()] {
                let mut out = tops(&to);
                map.apply(&slices(&tops(&from)), &mut slices_mut(&mut out));
                assert_eq!(out, expected, "{l} primes of {bits} bits");
            }
        }
    }
}

#[test]
fn many_primes_and_tiny_ones() {
    // More sources than one group of vector sums holds, at both ends of the widths, and every size of tile.
    for (l, m, widths) in
        [(15, 16, 50), (23, 5, 50), (MOST_PRIMES, 1, 50), (MOST_PRIMES, 2, 61), (12, 11, 49)]
    {
        let [from, to] = bases(l, m, &[widths]);
        check_convert(&from, &to, 1);
        check_drop(&from, &to, 2);
        check_scale(&from, &to, 65537, 3);
    }
    // With few small primes every number can be tried.
    let [from, to] =
        [[3, 5, 7], [11, 13, 2_305_843_009_213_693_951]].map(|list| list.map(|q| Modulus::new(q).unwrap()));
    let all: Vec<_> = (-52..=52).map(Big::new).collect();
    let mut out = vec![vec![0; all.len()]; 3];
    Converter::new(&from, &to).convert(&slices(&limbs(&all, &from)), &mut slices_mut(&mut out));
    assert_eq!(out, limbs(&all, &to));
    let mut out = limbs(&all, &to);
    ModDown::new(&from, &to).apply(&slices(&limbs(&all, &from)), &mut slices_mut(&mut out));
    assert!(out.iter().all(|limb| limb.iter().all(|&x| x == 0)));
}

#[test]
fn a_prime_may_be_converted_to_itself() {
    for widths in [50, 61] {
        let [from, mut to] = bases(3, 1, &[widths]);
        to.extend(&from);
        check_convert(&from, &to, 5);
        check_convert(&from[..1], &to, 6);
    }
}

#[test]
fn one_prime_is_exact_at_its_half() {
    for bits in [5, 20, 50, 51, 52, 53, 61] {
        let [from, to] = bases(1, 4, &[bits, 50, 61, 30, 4]);
        let q = from[0].value();
        let edge: Vec<u64> = (0..20)
            .flat_map(|i| [(q / 2 + i) % q, (q / 2).wrapping_sub(i) % q, i % q, q - 1 - i % q])
            .collect();
        let centred: Vec<_> = edge.iter().map(|&x| Big::new(from[0].center(x).into())).collect();
        for converter in [Converter::new(&from, &to), Converter::new(&from, &to).portable()] {
            let mut out = vec![vec![0; edge.len()]; 4];
            converter.convert(&[&edge], &mut slices_mut(&mut out));
            assert_eq!(out, limbs(&centred, &to));
        }
    }
}

mod polynomials;
