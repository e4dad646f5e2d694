//! Primes that suit a negacyclic transform, and their roots of unity.
//!
//! Primality is the Miller–Rabin test with the first twelve primes as bases, which is exact below 3.3 * 10^24
//! (J. Sorenson, J. Webster, *Strong pseudoprimes to twelve prime bases*, Math. Comp. 86, 2017) and so for every
//! u64. Everything here handles public parameters only and takes variable time.
//!
//! The choice of the root of unity is part of the wire format: polynomials that are derived from a public label are
//! sampled directly as values at the odd powers of psi, so both parties must agree on psi. The rule is in
//! [`root_of_unity`].

use crate::modulus::Modulus;

const BASES: [u64; 12] = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37];

/// Whether n is prime; exact for every u64.
#[must_use]
pub fn is_prime(n: u64) -> bool {
    if n < 2 {
        return false;
    }
    for p in BASES {
        if n.is_multiple_of(p) {
            return n == p;
        }
    }
    let twos = (n - 1).trailing_zeros();
    let odd = (n - 1) >> twos;
    BASES.iter().all(|&base| {
        let mut power = power_mod(base, odd, n);
        if power == 1 || power == n - 1 {
            return true;
        }
        (1..twos).any(|_| {
            power = mul_mod(power, power, n);
            power == n - 1
        })
    })
}

/// The primes q < 2^bits with q = 1 mod `two_n`, largest first; `two_n` is the order 2N of the wanted root.
///
/// There are none for bits outside 2..=61 or `two_n` = 0.
pub fn ntt_primes(bits: u32, two_n: u64) -> impl Iterator<Item = u64> {
    let served = (2..=61).contains(&bits) && two_n != 0 && two_n < 1 << bits;
    let first = served.then(|| {
        let top = (1_u64 << bits) - 1;
        top - (top - 1) % two_n
    });
    core::iter::successors(first, move |candidate| candidate.checked_sub(two_n))
        .take_while(|&candidate| candidate > 2)
        .filter(|&candidate| is_prime(candidate))
}

/// The first of [`ntt_primes`], if there is one.
#[must_use]
pub fn largest_ntt_prime(bits: u32, two_n: u64) -> Option<u64> {
    ntt_primes(bits, two_n).next()
}

/// The first two of [`ntt_primes`], if there are two.
#[must_use]
pub fn two_largest_ntt_primes(bits: u32, two_n: u64) -> Option<[u64; 2]> {
    let mut primes = ntt_primes(bits, two_n);
    Some([primes.next()?, primes.next()?])
}

/// The canonical primitive root of unity of order `two_n` (a power of two, at least 2) modulo q.
///
/// It is x^((q-1)/two_n) for the smallest x >= 2 for which that has the full order, that is, for which its
/// (two_n/2)-th power is -1. `None` when `two_n` does not divide q - 1 or is not a power of two.
#[must_use]
pub fn root_of_unity(modulus: &Modulus, two_n: u64) -> Option<u64> {
    let q = modulus.value();
    if two_n < 2 || !two_n.is_power_of_two() || !(q - 1).is_multiple_of(two_n) {
        return None;
    }
    (2..q).map(|x| modulus.pow(x, (q - 1) / two_n)).find(|&root| modulus.pow(root, two_n / 2) == q - 1)
}

fn mul_mod(a: u64, b: u64, n: u64) -> u64 {
    (u128::from(a) * u128::from(b) % u128::from(n)) as u64
}

fn power_mod(base: u64, mut exponent: u64, n: u64) -> u64 {
    let (mut result, mut square) = (1, base % n);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = mul_mod(result, square, n);
        }
        square = mul_mod(square, square, n);
        exponent >>= 1;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_trial_division() {
        let slow = |n: u64| n >= 2 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d));
        for n in 0..20_000 {
            assert_eq!(is_prime(n), slow(n), "{n}");
        }
    }

    #[test]
    fn strong_pseudoprimes_and_large_values() {
        // Strong pseudoprimes to the bases 2; 2,3,5,7; 2..17; and 2..31 (OEIS A014233).
        for n in [2047, 3_215_031_751, 341_550_071_728_321, 3_825_123_056_546_413_051] {
            assert!(!is_prime(n), "{n}");
        }
        for n in [(1 << 61) - 1, u64::MAX - 58, 1_125_899_906_826_241] {
            assert!(is_prime(n), "{n}");
        }
        assert!(!is_prime(u64::MAX));
    }

    #[test]
    fn the_primes_of_the_profiles() {
        assert_eq!(largest_ntt_prime(50, 4096), Some(1_125_899_906_826_241));
        for (bits, two_n) in [(26, 2048), (32, 4096), (50, 4096), (61, 65536)] {
            let q = largest_ntt_prime(bits, two_n).unwrap();
            assert!(q < 1 << bits && q % two_n == 1 && is_prime(q));
            assert!(
                (q + 1..1 << bits).filter(|x| x % two_n == 1).all(|x| !is_prime(x)),
                "{q} is not the largest"
            );
        }
        let [first, second] = two_largest_ntt_primes(48, 8192).unwrap();
        assert_eq!((Some(first), first >> 47, second >> 47), (largest_ntt_prime(48, 8192), 1, 1));
        let between = (second..first).filter(|x| x % 8192 == 1 && is_prime(*x)).collect::<Vec<_>>();
        assert_eq!(between, [second]);
        assert_eq!(two_largest_ntt_primes(5, 8), None);
        assert_eq!(largest_ntt_prime(4, 32), None);
        assert_eq!(largest_ntt_prime(62, 32), None);
        assert_eq!(largest_ntt_prime(5, 8), Some(17));
    }

    #[test]
    fn roots_have_exactly_their_order() {
        let m = Modulus::new(12289).unwrap();
        for log in 1..=12 {
            let order = 1_u64 << log;
            let root = root_of_unity(&m, order).unwrap();
            let mut power = root;
            for k in 1..order {
                assert_ne!(power, 1, "order of {root} is {k}, not {order}");
                power = m.mul(power, root);
            }
            assert_eq!(power, 1);
        }
        assert_eq!(root_of_unity(&m, 8192), None);
        assert_eq!(root_of_unity(&m, 12), None);
    }
}
