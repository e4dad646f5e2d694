//! Every kernel of 32-bit words against the transform of 64-bit words on the same prime, at both ends of each width.

use super::*;
use crate::ntt::{NttTable, reference};
use crate::prime::{is_prime, largest_ntt_prime};
use crate::seed::Seed;
use proptest::prelude::*;
use rand_core::Rng;

const KERNELS: [Kernel; 4] = [Kernel::Portable, Kernel::Neon, Kernel::Avx2, Kernel::Avx512];

/// The smallest prime of the degree, and those next to 2^30, 2^31 and 2^32 on both sides.
fn primes(n: usize) -> Vec<u64> {
    let two_n = 2 * n as u64;
    let after =
        |bound: u64| (bound / two_n..).map(|i| i * two_n + 1).find(|&q| q > bound && is_prime(q)).unwrap();
    let before = |bits| largest_ntt_prime(bits, two_n).unwrap();
    vec![after(4), before(30), after(1 << 30), before(31), after(1 << 31), before(32)]
}

fn tables(n: usize, q: u64) -> Vec<NarrowTable> {
    let m = Modulus::new(q).unwrap();
    KERNELS.into_iter().filter_map(|kernel| NarrowTable::with_kernel(n, m, kernel).ok()).collect()
}

fn words(q: u64, n: usize, kind: usize, stream: &mut impl Rng) -> Vec<u32> {
    (0..n)
        .map(|i| match kind {
            0 => 0,
            1 => q - 1,
            2 => (i as u64 % 2) * (q - 1),
            3 => u64::from(i == n - 1) * (q - 1),
            4 => stream.next_u64() % 2 * (q - 1),
            _ => stream.next_u64() % q,
        })
        .map(|w| w as u32)
        .collect()
}

fn widen(words: &[u32]) -> Vec<u64> {
    words.iter().map(|&w| u64::from(w)).collect()
}

#[test]
fn all_that_the_cpu_has_is_tested() {
    let found: Vec<_> = tables(256, primes(256)[1]).iter().map(NarrowTable::kernel).collect();
    for kernel in KERNELS {
        assert_eq!(found.contains(&kernel), Kernel::available().contains(&kernel), "{kernel:?}");
    }
}

#[test]
fn both_directions_agree_with_the_transform_of_64_bit_words_at_every_degree() {
    let mut stream = Seed::from_bytes([51; 32]).stream();
    for log in 1..=16 {
        let n = 1 << log;
        for q in primes(n) {
            let twin = NttTable::with_kernel(n, Modulus::new(q).unwrap(), Kernel::Portable).unwrap();
            for kind in 0..6 {
                let a = words(q, n, kind, &mut stream);
                let (mut values, mut coefficients) = (widen(&a), widen(&a));
                twin.forward(&mut values);
                twin.inverse(&mut coefficients);
                for table in tables(n, q) {
                    assert_eq!(table.psi(), twin.psi());
                    let what = || format!("{:?}, kind {kind}, degree {n} modulo {q}", table.kernel());
                    let mut ours = a.clone();
                    table.forward(&mut ours);
                    assert!(widen(&ours) == values, "forward: {}", what());
                    table.inverse(&mut ours);
                    assert!(ours == a, "forward and back: {}", what());
                    table.inverse(&mut ours);
                    assert!(widen(&ours) == coefficients, "inverse: {}", what());
                }
            }
        }
    }
}

#[test]
fn sums_agree_with_exact_ones() {
    let mut stream = Seed::from_bytes([52; 32]).stream();
    let n = 256;
    for q in primes(n) {
        let m = Modulus::new(q).unwrap();
        for kind in [1, 2, 4, 5] {
            let factors: Vec<_> = (0..11).map(|_| words(q, n, kind, &mut stream)).collect();
            for count in [0, 1, 2, 3, 4, 5, 15, 16, 17, 33, 3000] {
                let terms: Vec<_> =
                    (0..count).map(|i| (&factors[i % 11][..], &factors[i * 3 % 11][..])).collect();
                let exact = |start: u32, i: usize| {
                    let sum = terms.iter().map(|(a, b)| u128::from(a[i]) * u128::from(b[i])).sum::<u128>();
                    m.reduce_u128(sum + u128::from(start)) as u32
                };
                for table in tables(n, q) {
                    let mut out = vec![7; n];
                    table.dot(&terms, &mut out);
                    assert!(
                        (0..n).all(|i| out[i] == exact(0, i)),
                        "{:?}, {count} terms modulo {q}",
                        table.kernel()
                    );
                    let start = out.clone();
                    for (a, b) in &terms {
                        table.mul_acc(&mut out, a, b);
                    }
                    assert!((0..n).all(|i| out[i] == exact(start[i], i)), "{:?} one by one", table.kernel());
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn products_are_negacyclic(seed: [u8; 32], log in 1_u32..10, which in 0_usize..6) {
        let n = 1 << log;
        let q = primes(n)[which];
        let m = Modulus::new(q).unwrap();
        let mut stream = Seed::from_bytes(seed).stream();
        let (a, b) = (words(q, n, 5, &mut stream), words(q, n, 5, &mut stream));
        let expected = reference::negacyclic_product(&m, &widen(&a), &widen(&b));
        for table in tables(n, q) {
            let (mut x, mut y, mut product) = (a.clone(), b.clone(), vec![0; n]);
            table.forward(&mut x);
            prop_assert_eq!(widen(&x), reference::evaluate(&m, table.psi(), &widen(&a)));
            table.forward(&mut y);
            table.mul(&x, &y, &mut product);
            table.inverse(&mut product);
            prop_assert_eq!(widen(&product), &expected[..], "{:?} of degree {} modulo {}", table.kernel(), n, q);
        }
    }
}

#[test]
fn what_cannot_be_built() {
    let m = Modulus::new(12289).unwrap();
    assert_eq!(NarrowTable::new(3, m).unwrap_err(), HeError::Degree { n: 3 });
    assert_eq!(NarrowTable::new(1 << 17, m).unwrap_err(), HeError::Degree { n: 1 << 17 });
    assert_eq!(NarrowTable::new(4096, m).unwrap_err(), HeError::NoRoot { n: 4096, q: 12289 });
    let wide = Modulus::new(largest_ntt_prime(33, 4096).unwrap()).unwrap();
    assert!(matches!(NarrowTable::new(2048, wide), Err(HeError::Bits { bits: 33, most: 32, .. })));
    for (kernel, n) in
        [(Kernel::Neon, 32), (Kernel::Avx2, 16), (Kernel::Avx512, 128), (Kernel::Avx512Ifma, 2048)]
    {
        assert_eq!(
            NarrowTable::with_kernel(n, m, kernel).unwrap_err(),
            HeError::KernelUnavailable { kernel, q: 12289, n }
        );
    }
    assert_eq!(NarrowTable::new(2, m).unwrap().kernel(), Kernel::Portable);
}
