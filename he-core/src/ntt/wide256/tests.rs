//! The kernel of 64-bit words in halves against exact arithmetic and against the portable twin.

use super::*;
use crate::ntt::{NttTable, reference};
use crate::prime::{is_prime, largest_ntt_prime};
use crate::seed::Seed;
use rand_core::Rng;

fn present() -> bool {
    let present = Wide256::detect().is_some();
    if !present {
        println!("this CPU has no AVX2: nothing tested");
    }
    present
}

/// The primes of degree n at both ends of the kernel's range, and some between.
fn primes(n: usize) -> Vec<u64> {
    let two_n = 2 * n as u64;
    let least = ((1 << 50) / two_n..).map(|i| i * two_n + 1).find(|&q| q > 1 << 50 && is_prime(q)).unwrap();
    let mut primes = vec![least];
    primes.extend([52, 55, 58, 60, 61].map(|bits| largest_ntt_prime(bits, two_n).unwrap()));
    primes
}

fn table(n: usize, q: u64) -> NttTable {
    let table = NttTable::with_kernel(n, Modulus::new(q).unwrap(), Kernel::Avx2).unwrap();
    assert!(matches!(table.inner.twiddles, crate::ntt::Twiddles::Wide256(..)));
    table
}

fn words(q: u64, n: usize, kind: usize, stream: &mut impl Rng) -> Vec<u64> {
    (0..n)
        .map(|i| match kind {
            0 => 0,
            1 => q - 1,
            2 => (i as u64 % 2) * (q - 1),
            3 => u64::from(i == n - 1) * (q - 1),
            4 => stream.next_u64() % 2 * (q - 1),
            _ => stream.next_u64() % q,
        })
        .collect()
}

#[test]
fn both_directions_agree_with_the_portable_twin_at_every_degree() {
    if !present() {
        return;
    }
    let mut stream = Seed::from_bytes([61; 32]).stream();
    for n in (5..=16).map(|log| 1 << log) {
        for q in primes(n) {
            let table = table(n, q);
            let twin = NttTable::with_kernel(n, *table.modulus(), Kernel::Portable).unwrap();
            for kind in 0..6 {
                let a = words(q, n, kind, &mut stream);
                let (mut fast, mut slow) = (a.clone(), a.clone());
                table.forward(&mut fast);
                twin.forward(&mut slow);
                assert!(fast == slow, "forward of kind {kind}, degree {n} modulo {q}");
                table.inverse(&mut fast);
                assert!(fast == a, "forward and back of kind {kind}, degree {n} modulo {q}");
                let (mut fast, mut slow) = (a.clone(), a);
                table.inverse(&mut fast);
                twin.inverse(&mut slow);
                assert!(fast == slow, "inverse of kind {kind}, degree {n} modulo {q}");
            }
        }
    }
}

#[test]
fn forward_is_evaluation() {
    if !present() {
        return;
    }
    let mut stream = Seed::from_bytes([62; 32]).stream();
    for n in [32, 64, 128] {
        for q in primes(n) {
            let table = table(n, q);
            for kind in [1, 4, 5] {
                let a = words(q, n, kind, &mut stream);
                let mut values = a.clone();
                table.forward(&mut values);
                let slow = reference::evaluate(table.modulus(), table.psi(), &a);
                assert_eq!(values, slow, "degree {n} modulo {q}");
            }
        }
    }
}

#[target_feature(enable = "avx2")]
fn product(s: Wide256, q: u64, w: u64, quotient: u64, x: [u64; 4]) -> [u64; 4] {
    let mut out = [0; 4];
    let factor = Lazy::factor(s, s.splat(w), s.splat(quotient));
    let [product] = Lazy::mul(s, [factor], [s.load(&x)], Lazy::modulus(s, q));
    s.store(&mut out, product);
    out
}

#[test]
fn a_product_of_any_word_is_below_four_moduli() {
    let Some(s) = Wide256::detect() else {
        return assert!(!present());
    };
    let mut stream = Seed::from_bytes([63; 32]).stream();
    let mut largest = 0;
    for q in [3, 12289, (1 << 31) - 1, (1 << 50) - 27, (1 << 52) - 47, (1 << 60) - 93, (1 << 61) - 1] {
        let m = Modulus::new(q).unwrap();
        for round in 0..20_000_u64 {
            let w = if round % 4 == 0 { q - 1 - round % 3.min(q) } else { stream.next_u64() % q };
            let x = [0, 1, 2, 3].map(|lane| match (lane + round) % 9 {
                0 => u64::MAX - round,
                1 => (1 << 32) - 1,
                2 => !(round << 40),
                3 => q - 1,
                4 => (4 * q).wrapping_sub(1),
                5 => stream.next_u64() | 0xffff_ffff,
                _ => stream.next_u64(),
            });
            // SAFETY: the CPU was asked.
            let product = unsafe { product(s, q, w, m.shoup(w), x) };
            for lane in 0..4 {
                let exact = (u128::from(x[lane]) * u128::from(w) % u128::from(q)) as u64;
                assert!(product[lane] < 4 * q && product[lane] % q == exact, "{} * {w} modulo {q}", x[lane]);
                largest = largest.max(product[lane] / q);
            }
        }
    }
    assert!(largest >= 2, "the bound of four is never tried: {largest}");
}

#[test]
fn sums_agree_with_the_portable_twin() {
    if !present() {
        return;
    }
    let mut stream = Seed::from_bytes([64; 32]).stream();
    let n = 64;
    for q in primes(n) {
        let table = table(n, q);
        let twin = NttTable::with_kernel(n, *table.modulus(), Kernel::Portable).unwrap();
        for kind in [1, 2, 4, 5] {
            let factors: Vec<_> = (0..14).map(|_| words(q, n, kind, &mut stream)).collect();
            for count in [0, 1, LEAST_TERMS - 1, LEAST_TERMS, 7, MOST_TERMS, 5 * MOST_TERMS + 1] {
                let terms: Vec<_> =
                    (0..count).map(|i| (&factors[i % 14][..], &factors[i * 5 % 14][..])).collect();
                let (mut fast, mut slow) = (vec![1; n], vec![2; n]);
                table.dot(&terms, &mut fast);
                twin.dot(&terms, &mut slow);
                assert_eq!(fast, slow, "{count} terms of kind {kind} modulo {q}");
                table.mul_acc(&mut fast, &factors[0], &factors[1]);
                twin.mul_acc(&mut slow, &factors[0], &factors[1]);
                assert_eq!(fast, slow, "one more term of kind {kind} modulo {q}");
            }
        }
    }
}
