//! The transform against evaluation at every root, its inverse, its stated error, and kernels bit by bit.

use super::*;
use crate::seed::Seed;
use rand_core::Rng;

/// Numbers in -1..1 from a seed.
fn numbers(count: usize, label: u64) -> Vec<f64> {
    let mut stream = Seed::from_bytes([11; 32]).fork("numbers", &[label]).stream();
    (0..count).map(|_| stream.next_u64() as i64 as f64 / 2.0_f64.powi(63)).collect()
}

#[test]
fn slots_are_the_values_at_the_powers_of_five() {
    for log in 0..=10 {
        let n = 1 << log;
        let coefficients = numbers(2 * n, log);
        let expected = evaluate_naively(&coefficients);
        let embedding = Embedding::new(n);
        let (mut re, mut im) = (coefficients[..n].to_vec(), coefficients[n..].to_vec());
        embedding.to_slots(&mut re, &mut im);
        let norm = coefficients.iter().map(|c| c * c).sum::<f64>().sqrt();
        let bound = embedding.relative_error() * (n as f64).sqrt() * norm;
        // The twin itself adds up 2n rounded terms.
        let slack = 4.0 * f64::EPSILON * 2.0 * n as f64;
        for (j, z) in expected.iter().enumerate() {
            let error = (*z - Complex::new(re[j], im[j])).abs();
            assert!(error <= bound + slack, "n = {n}, slot {j}: off by {error}, bound {bound}");
        }
    }
}

#[test]
fn there_and_back_within_the_bound() {
    for log in 0..=14 {
        let n = 1 << log;
        let embedding = Embedding::new(n);
        let (re, im) = (numbers(n, 2 * log), numbers(n, 2 * log + 1));
        let (mut x, mut y) = (re.clone(), im.clone());
        embedding.to_coefficients(&mut x, &mut y, 3.0);
        embedding.to_slots(&mut x, &mut y);
        let norm = re.iter().chain(&im).map(|v| v * v).sum::<f64>().sqrt();
        let error =
            |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| (a / 3.0 - b).powi(2)).sum() };
        let error = (error(&x, &re) + error(&y, &im)).sqrt();
        let bound = (2.0 * embedding.relative_error() + 2.0 * f64::EPSILON) * norm;
        assert!(error <= bound, "n = {n}: {error} against {bound}");
        // The bound is not idle: errors add up like a random walk and stay within a factor of it.
        assert!(n < 64 || error > bound / 60.0, "n = {n}: {error} against {bound}");
    }
}

#[test]
fn single_slots_and_single_coefficients() {
    let n = 256;
    let embedding = Embedding::new(n);
    // The monomial i X^0 = X^n: every slot is i.
    let (mut re, mut im) = (vec![0.0; n], vec![0.0; n]);
    im[0] = 1.0;
    embedding.to_slots(&mut re, &mut im);
    assert!(re.iter().all(|&x| x == 0.0) && im.iter().all(|&y| y == 1.0));
    // All slots one: the constant polynomial 1.
    let (mut re, mut im) = (vec![1.0; n], vec![0.0; n]);
    embedding.to_coefficients(&mut re, &mut im, 1.0);
    assert_eq!(re[0], 1.0);
    assert!(re[1..].iter().chain(&im).all(|&x| x == 0.0));
}

#[test]
fn every_kernel_gives_the_same_bits() {
    for log in 0..=13 {
        let n = 1 << log;
        let (re, im) = (numbers(n, 100 + log), numbers(n, 200 + log));
        let run = |simd| {
            let embedding = Embedding::with_kernel(n, simd);
            let (mut a, mut b) = (re.clone(), im.clone());
            embedding.to_slots(&mut a, &mut b);
            let (mut c, mut d) = (re.clone(), im.clone());
            embedding.to_coefficients(&mut c, &mut d, 1e12);
            [a, b, c, d].concat().iter().map(|x| x.to_bits()).collect::<Vec<_>>()
        };
        let expected = run(FloatKernel::Portable);
        for simd in FloatKernel::available() {
            assert!(run(simd) == expected, "{simd:?} at n = {n}");
        }
    }
}
