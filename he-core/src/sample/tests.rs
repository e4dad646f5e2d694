//! Goodness of fit of every sampler, with samplers that are wrong on purpose to show that the tests would see it.
//! Draws are from fixed seeds, so a pass today is a pass tomorrow. Each kernel is tested by its own draws.

mod twins;

use super::*;
use crate::error::HeError;
use crate::seed::{Seed, Stream};
use rand_core::Rng;

const DRAWS: usize = 4_000_000;

fn rng(label: &'static str) -> Stream {
    Seed::from_bytes([42; 32]).fork(label, &[]).stream()
}

fn wide() -> Modulus {
    Modulus::new(1_125_899_906_826_241).unwrap()
}

/// Pearson's statistic of counts against probabilities, as a standard normal deviate (Wilson and Hilferty 1931).
/// Below -4.75 or above 4.75 has probability about 2e-6 for a correct sampler.
fn deviate(counts: &[u64], probabilities: &[f64]) -> f64 {
    let total: u64 = counts.iter().sum();
    let statistic: f64 = counts
        .iter()
        .zip(probabilities)
        .map(|(&count, p)| (count as f64 - p * total as f64).powi(2) / (p * total as f64))
        .sum();
    let freedom = (counts.len() - 1) as f64;
    ((statistic / freedom).cbrt() - (1.0 - 2.0 / (9.0 * freedom))) / (2.0 / (9.0 * freedom)).sqrt()
}

fn fits(counts: &[u64], probabilities: &[f64]) -> bool {
    assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    deviate(counts, probabilities).abs() < 4.75
}

/// Counts of values in -reach..=reach; panics on anything outside.
fn histogram(modulus: &Modulus, words: &[u64], reach: i64) -> Vec<u64> {
    let mut counts = vec![0; 2 * reach as usize + 1];
    for &word in words {
        counts[(modulus.center(word) + reach) as usize] += 1;
    }
    counts
}

/// Binomial(2 eta, 1/2), shifted: the exact probabilities of the centred binomial.
fn binomial(eta: u32) -> Vec<f64> {
    let mut row = vec![1.0];
    for _ in 0..2 * eta {
        let mut next = vec![0.0; row.len() + 1];
        for (i, p) in row.iter().enumerate() {
            next[i] += p / 2.0;
            next[i + 1] += p / 2.0;
        }
        row = next;
    }
    row
}

/// Folds the tails of a distribution until every cell expects at least ten draws.
fn fold(counts: &[u64], probabilities: &[f64]) -> (Vec<u64>, Vec<f64>) {
    let total: u64 = counts.iter().sum();
    let (mut folded, mut kept) = (vec![0], vec![0.0]);
    for (&count, p) in counts.iter().zip(probabilities) {
        *folded.last_mut().unwrap() += count;
        *kept.last_mut().unwrap() += p;
        if kept.last().unwrap() * total as f64 >= 10.0 {
            folded.push(0);
            kept.push(0.0);
        }
    }
    let (count, p) = (folded.pop().unwrap(), kept.pop().unwrap());
    *folded.last_mut().unwrap() += count;
    *kept.last_mut().unwrap() += p;
    (folded, kept)
}

#[test]
fn uniform_is_uniform() {
    let bounds = [257, 12289, 67_104_769, 4_294_955_009, wide().value(), (1 << 61) - 1];
    for (q, simd) in bounds.into_iter().flat_map(|q| Simd::available().into_iter().map(move |simd| (q, simd)))
    {
        let mut words = vec![0; DRAWS];
        uniform_below(simd, &mut rng("uniform"), q, &mut words);
        assert!(words.iter().all(|&w| w < q));
        // 257 cells of equal width up to one value; and the lowest bits.
        let cells = 257;
        let mut counts = vec![0; cells];
        words.iter().for_each(|&w| counts[(u128::from(w) * cells as u128 / u128::from(q)) as usize] += 1);
        let edge = |i: u128| (i * u128::from(q)).div_ceil(cells as u128);
        let probabilities: Vec<_> =
            (0..cells as u128).map(|i| (edge(i + 1) - edge(i)) as f64 / q as f64).collect();
        assert!(fits(&counts, &probabilities), "q = {q}, {simd:?}: {}", deviate(&counts, &probabilities));
        let mut low = [0; 16];
        words.iter().for_each(|&w| low[(w % 16) as usize] += 1);
        let shares: Vec<_> = (0..16).map(|i| ((q - i - 1) / 16 + 1) as f64 / q as f64).collect();
        assert!(fits(&low, &shares), "q = {q}, {simd:?}");
    }
}

#[test]
fn a_uniform_sampler_with_modulo_bias_is_caught() {
    // 32 bits reduced modulo 0.75 * 2^32 hit the lower third twice as often.
    let q = 3_221_225_473_u64;
    let mut source = rng("biased");
    let mut counts = [0; 3];
    (0..DRAWS).for_each(|_| counts[(u64::from(source.next_u32()) % q * 3 / q) as usize] += 1);
    assert!(!fits(&counts, &[1.0 / 3.0; 3]));
}

#[test]
fn ternary_is_uniform_and_its_neighbours_are_independent() {
    let modulus = wide();
    for simd in Simd::available() {
        let mut words = vec![0; DRAWS];
        ternary_with(simd, &mut rng("ternary"), &modulus, &mut words);
        let counts = histogram(&modulus, &words, 1);
        assert!(fits(&counts, &[1.0 / 3.0; 3]), "{simd:?}: {counts:?}");
        // All 243 digit groups, as the bytes produce them, and groups across bytes.
        for offset in [0, 3] {
            let mut groups = vec![0; 243];
            for group in words[offset..].chunks_exact(5) {
                let place = group.iter().fold(0, |sum, &w| 3 * sum + (modulus.center(w) + 1) as usize);
                groups[place] += 1;
            }
            assert!(fits(&groups, &[1.0 / 243.0; 243]), "{simd:?}, offset {offset}");
        }
    }
}

#[test]
fn a_ternary_sampler_without_rejection_is_caught() {
    // A byte modulo 3 gives 0 with probability 86/256.
    let mut source = rng("biased");
    let mut bytes = vec![0; DRAWS];
    source.fill_bytes(&mut bytes);
    let mut counts = [0; 3];
    bytes.iter().for_each(|&b| counts[usize::from(b % 3)] += 1);
    assert!(!fits(&counts, &[1.0 / 3.0; 3]));
}

#[test]
fn centred_binomial_has_the_exact_distribution() {
    let modulus = wide();
    let etas = [1, 2, 21, 32];
    for (eta, simd) in
        etas.into_iter().flat_map(|eta| Simd::available().into_iter().map(move |simd| (eta, simd)))
    {
        let mut words = vec![0; DRAWS];
        binomial_with(simd, &mut rng("binomial"), eta, &modulus, &mut words);
        let counts = histogram(&modulus, &words, i64::from(eta));
        let (counts, probabilities) = fold(&counts, &binomial(eta));
        assert!(fits(&counts, &probabilities), "eta = {eta}, {simd:?}: {}", deviate(&counts, &probabilities));
        let variance: f64 =
            words.iter().map(|&w| (modulus.center(w) as f64).powi(2)).sum::<f64>() / DRAWS as f64;
        assert!((variance / (f64::from(eta) / 2.0) - 1.0).abs() < 0.01, "eta = {eta}: variance {variance}");
        // Neighbours are uncorrelated.
        let product: f64 =
            words.windows(2).map(|w| modulus.center(w[0]) as f64 * modulus.center(w[1]) as f64).sum();
        assert!((product / DRAWS as f64 / variance).abs() < 5.0 / (DRAWS as f64).sqrt());
    }
}

#[test]
fn a_binomial_of_one_coin_less_is_caught() {
    let modulus = wide();
    let mut words = vec![0; DRAWS];
    centred_binomial(&mut rng("binomial"), 20, &modulus, &mut words);
    let (counts, probabilities) = fold(&histogram(&modulus, &words, 21), &binomial(21));
    assert!(!fits(&counts, &probabilities));
}

/// The distribution function of the sum of four uniforms on [0, 1] (Irwin and Hall 1927).
fn irwin_hall(x: f64) -> f64 {
    [1.0, -4.0, 6.0, -4.0, 1.0]
        .iter()
        .enumerate()
        .map(|(i, c)| c * (x - i as f64).max(0.0).powi(4))
        .sum::<f64>()
        / 24.0
}

/// Counts of dither values in 64 cells of equal width over the support, and the cells' probabilities.
fn dither_cells(modulus: &Modulus, words: &[u64], width: u64) -> (Vec<u64>, Vec<f64>) {
    let cells = 64;
    let mut counts = vec![0; cells];
    for &word in words {
        // The continuous sum that this integer stands for lies in the middle of its interval.
        let x = (modulus.center(word) + 2 * (width as i64 - 1)) as f64 + 2.0;
        counts[((x / (4 * width) as f64 * cells as f64) as usize).min(cells - 1)] += 1;
    }
    let at = |i: usize| irwin_hall(4.0 * i as f64 / cells as f64);
    fold(&counts, &(0..cells).map(|i| at(i + 1) - at(i)).collect::<Vec<_>>())
}

#[test]
fn dither_is_irwin_hall_with_the_deviation_asked_for() {
    let modulus = wide();
    for log2_sigma in [20.0, 31.5, 44.0] {
        let width = dither_width(&modulus, log2_sigma).unwrap();
        let mut words = vec![0; DRAWS / 4];
        dither(&mut rng("dither"), &modulus, log2_sigma, &mut words).unwrap();
        let (counts, probabilities) = dither_cells(&modulus, &words, width);
        assert!(fits(&counts, &probabilities), "{}", deviate(&counts, &probabilities));
        let values: Vec<_> = words.iter().map(|&w| modulus.center(w) as f64).collect();
        let count = values.len() as f64;
        let deviation = (values.iter().map(|v| v * v).sum::<f64>() / count).sqrt();
        assert!((deviation.log2() - log2_sigma).abs() < 0.01);
        assert!((values.iter().sum::<f64>() / count / deviation).abs() < 5.0 / count.sqrt());
        assert!(values.iter().all(|v| v.abs() <= 2.0 * (width as f64 - 1.0)));
    }
    // A small one, exactly: width 2 is the binomial of four coins.
    let mut words = vec![0; DRAWS / 4];
    dither(&mut rng("dither"), &modulus, 0.0, &mut words).unwrap();
    assert_eq!(dither_width(&modulus, 0.0), Ok(2));
    assert!(fits(&histogram(&modulus, &words, 2), &binomial(2)));
}

#[test]
fn a_uniform_dither_is_caught() {
    let modulus = wide();
    let width = dither_width(&modulus, 30.0).unwrap();
    let mut words = vec![0; DRAWS / 4];
    uniform_below(Simd::best(), &mut rng("dither"), 4 * width - 3, &mut words);
    words.iter_mut().for_each(|w| *w = signed_residue(w.wrapping_sub(2 * (width - 1)), modulus.value()));
    let (counts, probabilities) = dither_cells(&modulus, &words, width);
    assert!(!fits(&counts, &probabilities));
}

#[test]
fn a_dither_that_does_not_fit_is_refused() {
    let modulus = wide();
    assert!(dither_width(&modulus, 47.0).is_ok());
    for log2_sigma in [47.3, 60.0, 1e9, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut words = [7; 4];
        assert!(matches!(
            dither(&mut rng("dither"), &modulus, log2_sigma, &mut words),
            Err(HeError::Dither { .. })
        ));
        assert_eq!(words, [7; 4]);
    }
}

#[test]
fn any_length_and_any_split_of_a_block_is_filled() {
    let modulus = wide();
    for length in [0, 1, 4, 5, 6, 4095, 4096, 4097, 10_000] {
        let mut words = vec![u64::MAX; length];
        uniform(&mut rng("lengths"), &modulus, &mut words);
        assert!(words.iter().all(|&w| w < modulus.value()));
        words.fill(u64::MAX);
        ternary(&mut rng("lengths"), &modulus, &mut words);
        assert!(words.iter().all(|&w| modulus.center(w % modulus.value()).abs() <= 1 && w < modulus.value()));
        words.fill(u64::MAX);
        centred_binomial(&mut rng("lengths"), ERROR_ETA, &modulus, &mut words);
        assert!(words.iter().all(|&w| w < modulus.value()));
    }
}
