//! The kernel of 64-bit words against exact arithmetic and against the portable twin, at the ends of each of its modes.

use super::lanes::{Factor, Q};
use super::*;
use crate::modulus::Modulus;
use crate::ntt::{Kernel, NttTable, reference};
use crate::prime::{is_prime, largest_ntt_prime};
use crate::seed::Seed;
use rand_core::Rng;

fn present() -> bool {
    let present = Kernel::available().contains(&Kernel::Avx512);
    if !present {
        println!("this CPU has no AVX-512F, DQ and IFMA: nothing tested");
    }
    present
}

/// The nearest primes to a bound that are 1 modulo 2N: at most the bound, and above it (if below 2^61).
fn around(bound: u64, n: usize) -> Vec<u64> {
    let two_n = 2 * n as u64;
    let bottom = bound - (bound - 1) % two_n;
    let below = (1..).map(|i| (bottom + two_n) - i * two_n).find(|&q| is_prime(q));
    let above = (1..).map(|i| bottom + i * two_n).find(|&q| is_prime(q)).filter(|&q| q < 1 << 61);
    below.into_iter().chain(above).collect()
}

/// Primes at both ends of the kernel's range and of each mode of it.
fn primes(n: usize) -> Vec<u64> {
    let least = (1..).map(|i| 2 * n as u64 * i + 1).find(|&q| q > 1 << 12 && is_prime(q)).unwrap();
    let mut primes = vec![least, largest_ntt_prime(61, 2 * n as u64).unwrap()];
    for bound in
        [1 << 50, 1 << 52, u64::MAX / (4 * u64::from(n.trailing_zeros()) + 1), LOOSE_INVERSE, 1 << 60]
    {
        primes.extend(around(bound, n));
    }
    primes
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
    let mut stream = Seed::from_bytes([41; 32]).stream();
    for log in 5..=16 {
        let n = 1 << log;
        for q in primes(n) {
            let m = Modulus::new(q).unwrap();
            let table = NttTable::with_kernel(n, m, Kernel::Avx512).unwrap();
            let twin = NttTable::with_kernel(n, m, Kernel::Portable).unwrap();
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
fn forward_is_evaluation_at_the_ends_of_each_mode() {
    if !present() {
        return;
    }
    let mut stream = Seed::from_bytes([42; 32]).stream();
    for n in [32, 64, 128, 256] {
        for q in primes(n) {
            let m = Modulus::new(q).unwrap();
            let table = NttTable::with_kernel(n, m, Kernel::Avx512).unwrap();
            for kind in [1, 4, 5] {
                let a = words(q, n, kind, &mut stream);
                let mut values = a.clone();
                table.forward(&mut values);
                assert_eq!(values, reference::evaluate(&m, table.psi(), &a), "degree {n} modulo {q}");
            }
        }
    }
}

/// Both modes are sound for moduli at the border, so a wrong choice between them would not show in results:
/// the looser mode is held to be chosen exactly where its words fit.
#[test]
fn modes_are_chosen_where_their_words_fit() {
    for log in 5..=16_u32 {
        let n = 1_usize << log;
        for q in [
            1 << 13,
            (1 << 57) - 1,
            1 << 58,
            1 << 59,
            1 << 60,
            (1 << 61) - 1,
            u64::MAX / 65,
            u64::MAX / 65 + 1,
        ] {
            let fits = u128::from(4 * log + 1) * u128::from(q) < 1 << 64;
            assert_eq!(loose_forward(n, q), fits, "degree {n} modulo {q}");
            assert_eq!(q <= LOOSE_INVERSE, 32 * u128::from(q) < 1 << 64);
        }
    }
}

#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn products_and_folds(q: u64, w: u64, quotient: u64, x: [u64; 8]) -> ([u64; 8], [u64; 8]) {
    let (mut product, mut folded) = ([0; 8], [0; 8]);
    let multiples = Q::new(q);
    let factor = Factor::new(lanes::splat(w), lanes::splat(quotient));
    lanes::store(&mut product, factor.mul(lanes::load(&x), multiples));
    lanes::store(&mut folded, multiples.fold(lanes::load(&x)));
    (product, folded)
}

#[test]
fn a_product_of_any_word_is_below_four_moduli() {
    if !present() {
        return;
    }
    let mut stream = Seed::from_bytes([43; 32]).stream();
    let mut largest = 0;
    for q in [4099, 12289, (1 << 50) - 27, (1 << 52) - 47, (1 << 60) - 93, (1 << 61) - 1] {
        let m = Modulus::new(q).unwrap();
        for round in 0..20_000_u64 {
            let w = if round % 4 == 0 { q - 1 - round % 8 } else { stream.next_u64() % q };
            let x = [0, 1, 2, 3, 4, 5, 6, 7].map(|lane| match (lane + round) % 11 {
                0 => u64::MAX - round,
                1 => (1 << 52) - 1,
                2 => 1 << 52,
                3 => !(round << 40),
                4 => q - 1,
                5 => (4 * q).wrapping_sub(1),
                _ => stream.next_u64(),
            });
            // SAFETY: the CPU was asked.
            let (product, folded) = unsafe { products_and_folds(q, w, m.shoup(w), x) };
            for lane in 0..8 {
                let exact = (u128::from(x[lane]) * u128::from(w) % u128::from(q)) as u64;
                assert!(product[lane] < 4 * q && product[lane] % q == exact, "{} * {w} modulo {q}", x[lane]);
                assert!(folded[lane] < 3 * q && folded[lane] % q == x[lane] % q, "{} modulo {q}", x[lane]);
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
    let mut stream = Seed::from_bytes([44; 32]).stream();
    let n = 64;
    for q in primes(n) {
        let m = Modulus::new(q).unwrap();
        let table = NttTable::with_kernel(n, m, Kernel::Avx512).unwrap();
        let twin = NttTable::with_kernel(n, m, Kernel::Portable).unwrap();
        for kind in [1, 2, 4, 5] {
            let factors: Vec<_> = (0..14).map(|_| words(q, n, kind, &mut stream)).collect();
            for count in [0, 1, 2, 7, MOST_TERMS, 2 * MOST_TERMS + 1] {
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
