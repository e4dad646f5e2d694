//! One battery for every kernel, against the definitions in `reference`.

use super::*;
use crate::prime::{is_prime, largest_ntt_prime};
use crate::seed::Seed;
use proptest::prelude::*;
use rand_core::Rng;

/// Moduli of every width a kernel may meet, with the degrees to try them at.
fn cases() -> Vec<(usize, Modulus)> {
    let mut cases = Vec::new();
    for (bits, n) in [
        (10, 4),
        (14, 8),
        (26, 32),
        (50, 64),
        (20, 128),
        (26, 256),
        (32, 512),
        (47, 512),
        (48, 256),
        (49, 256),
        (50, 512),
        (50, 1024),
        (61, 64),
    ] {
        let q = largest_ntt_prime(bits, 2 * n as u64).unwrap();
        cases.push((n, Modulus::new(q).unwrap()));
    }
    // The smallest primes that degrees of 64 and 128 allow, and a pair whose transform is a single butterfly.
    cases.push((64, Modulus::new(257).unwrap()));
    cases.push((128, Modulus::new(257).unwrap()));
    cases.push((2, Modulus::new(5).unwrap()));
    cases
}

fn tables() -> Vec<NttTable> {
    cases()
        .into_iter()
        .flat_map(|(n, m)| {
            Kernel::available().into_iter().filter_map(move |k| NttTable::with_kernel(n, m, k).ok())
        })
        .collect()
}

/// Random residues, or extreme ones: all 0, all q-1, alternating.
fn residues(modulus: &Modulus, n: usize, kind: u64, seed: u64) -> Vec<u64> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut rng = Seed::from_bytes(bytes).stream();
    (0..n)
        .map(|i| match kind {
            0 => 0,
            1 => modulus.value() - 1,
            2 => (i as u64 % 2) * (modulus.value() - 1),
            _ => modulus.reduce(rng.next_u64()),
        })
        .collect()
}

#[test]
fn simd_kernels_are_tested_where_the_cpu_has_them() {
    let kernels: Vec<_> = tables().iter().map(NttTable::kernel).collect();
    // NEON has a form for words of 32 bits alone.
    for kernel in Kernel::available().into_iter().filter(|&kernel| kernel != Kernel::Neon) {
        assert!(kernels.iter().filter(|&&k| k == kernel).count() >= 7, "{kernel:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn forward_is_evaluation_and_inverse_undoes_it(seed: u64, kind in 0_u64..6) {
        for table in tables() {
            let a = residues(table.modulus(), table.n(), kind, seed);
            let mut words = a.clone();
            table.forward(&mut words);
            prop_assert_eq!(&words, &reference::evaluate(table.modulus(), table.psi(), &a), "{:?}", table.kernel());
            table.inverse(&mut words);
            prop_assert_eq!(&words, &a, "{:?} of degree {} modulo {}", table.kernel(), table.n(), table.modulus().value());
            // Any residues are values too: the inverse alone on worst-case words.
            let mut values = a.clone();
            table.inverse(&mut values);
            prop_assert_eq!(&reference::evaluate(table.modulus(), table.psi(), &values), &a);
        }
    }

    #[test]
    fn products_are_negacyclic(seed: u64, kind in 0_u64..6) {
        for table in tables() {
            let m = table.modulus();
            let a = residues(m, table.n(), kind, seed);
            let b = residues(m, table.n(), (kind + 1).min(4), seed ^ 1);
            let expected = reference::negacyclic_product(m, &a, &b);
            let (mut fa, mut fb, mut product) = (a, b, vec![0; table.n()]);
            table.forward(&mut fa);
            table.forward(&mut fb);
            table.mul(&fa, &fb, &mut product);
            table.inverse(&mut product);
            prop_assert_eq!(&product, &expected, "{:?}", table.kernel());
        }
    }

    #[test]
    fn sums_of_products(seed: u64, kind in 1_u64..4, count in 0_usize..150) {
        for table in tables() {
            let (m, n) = (table.modulus(), table.n());
            let factors: Vec<_> = (0..2 * count as u64).map(|i| residues(m, n, kind, seed ^ i)).collect();
            let terms: Vec<(&[u64], &[u64])> = factors.chunks(2).map(|f| (&f[0][..], &f[1][..])).collect();
            let start = residues(m, n, kind, !seed);
            let mut slow = start.clone();
            for (a, b) in &terms {
                for i in 0..n {
                    slow[i] = m.add(slow[i], m.mul(a[i], b[i]));
                }
            }
            let mut stepwise = start.clone();
            for (a, b) in &terms {
                table.mul_acc(&mut stepwise, a, b);
            }
            prop_assert_eq!(&stepwise, &slow, "{:?}", table.kernel());
            let mut dot = vec![u64::MAX; n];
            table.dot(&terms, &mut dot);
            let slow: Vec<_> = slow.iter().zip(&start).map(|(&x, &y)| m.sub(x, y)).collect();
            prop_assert_eq!(&dot, &slow, "{:?}", table.kernel());
        }
    }
}

#[test]
fn long_sums_do_not_overflow() {
    let modulus = Modulus::new(largest_ntt_prime(50, 256).unwrap()).unwrap();
    let worst = vec![modulus.value() - 1; 128];
    let terms = vec![(&worst[..], &worst[..]); 9001];
    for kernel in Kernel::available().into_iter().filter(|kernel| kernel.serves(128, &modulus)) {
        let table = NttTable::with_kernel(128, modulus, kernel).unwrap();
        let mut sum = vec![0; 128];
        table.dot(&terms, &mut sum);
        // (-1) * (-1), 9001 times.
        assert_eq!(sum, vec![9001; 128], "{kernel:?}");
    }
}

/// The largest and the smallest prime of some bits that degrees up to 65536 allow, and one in the middle.
fn primes(bits: u32) -> [Modulus; 3] {
    let step = 1 << 17;
    let from =
        |start: u64| (start / step..).map(|k| k * step + 1).find(|&q| q > start && is_prime(q)).unwrap();
    [largest_ntt_prime(bits, step).unwrap(), from(1 << (bits - 1)), from(5 << (bits - 3))]
        .map(|q| Modulus::new(q).unwrap())
}

#[test]
fn kernels_agree_at_every_degree_and_width() {
    for modulus in [20, 26, 30, 36, 44, 46, 47, 48, 49, 50, 51, 60].into_iter().flat_map(primes) {
        for n in (5..=16).map(|log| 1 << log) {
            let portable = NttTable::with_kernel(n, modulus, Kernel::Portable).unwrap();
            let others: Vec<_> = Kernel::available()
                .into_iter()
                .filter_map(|kernel| NttTable::with_kernel(n, modulus, kernel).ok())
                .collect();
            for kind in 1..4 {
                let a = residues(&modulus, n, kind, 7 + n as u64);
                let (mut forward, mut inverse) = (a.clone(), a.clone());
                portable.forward(&mut forward);
                portable.inverse(&mut inverse);
                for table in &others {
                    let (mut f, mut i) = (a.clone(), a.clone());
                    table.forward(&mut f);
                    table.inverse(&mut i);
                    let kernel = table.kernel();
                    assert!(
                        f == forward && i == inverse,
                        "{kernel:?} differs at degree {n} modulo {modulus:?}"
                    );
                    table.inverse(&mut f);
                    assert!(f == a, "{kernel:?} is not undone at degree {n} modulo {modulus:?}");
                }
            }
        }
    }
}

#[test]
fn what_cannot_be_built() {
    let m = Modulus::new(12289).unwrap();
    assert_eq!(NttTable::new(3, m).unwrap_err(), HeError::Degree { n: 3 });
    assert_eq!(NttTable::new(1, m).unwrap_err(), HeError::Degree { n: 1 });
    assert_eq!(NttTable::new(1 << 17, m).unwrap_err(), HeError::Degree { n: 1 << 17 });
    assert_eq!(NttTable::new(4096, m).unwrap_err(), HeError::NoRoot { n: 4096, q: 12289 });
    let wide = Modulus::new(largest_ntt_prime(61, 4096).unwrap()).unwrap();
    assert_ne!(NttTable::new(2048, wide).unwrap().kernel(), Kernel::Avx512Ifma);
    for kernel in [Kernel::Neon, Kernel::Avx512Ifma] {
        assert!(matches!(
            NttTable::with_kernel(2048, wide, kernel),
            Err(HeError::KernelUnavailable { n: 2048, .. })
        ));
    }
    for kernel in [Kernel::Neon, Kernel::Avx2, Kernel::Avx512, Kernel::Avx512Ifma] {
        assert!(NttTable::with_kernel(16, m, kernel).is_err());
    }
    assert!(NttTable::with_kernel(32, Modulus::new(193).unwrap(), Kernel::Avx512).is_err());
}
