//! Switching between Z_q and Z_2^t by rounding: y = round(x * 2^t / q) mod 2^t and back.
//!
//! This is the modulus switch of RLWE (Z. Brakerski, V. Vaikuntanathan, *Efficient fully homomorphic encryption from
//! (standard) LWE*, FOCS 2011, section 1.1) and, applied to both shares of a sum, the local truncation of the online
//! stage. Both directions are exact roundings of the rational number (q is odd, so the first has no ties; the second
//! rounds ties up), computed with one 128-bit Barrett quotient and without branches on the values.
//!
//! | function | in | out | error |
//! |---|---|---|---|
//! | [`switch_down`] | residue modulo q | [0, 2^t) | at most half a unit of the t-bit ring |
//! | [`lift`] | [0, 2^t) | residue modulo q | at most half a unit of Z_q |

use crate::modulus::{Modulus, reduce_once};

/// round(x * 2^t / q) mod 2^t for a residue x; 1 <= t <= 62.
#[inline]
#[must_use]
pub fn switch_down(modulus: &Modulus, x: u64, t: u32) -> u64 {
    debug_assert!(x < modulus.value() && (1..=62).contains(&t));
    // floor((x * 2^t + floor(q/2)) / q): adding half of an odd q rounds, and a tie cannot happen.
    let shifted = (u128::from(x) << t) + u128::from(modulus.value() / 2);
    modulus.quotient_u128(shifted) & ((1 << t) - 1)
}

/// round(y * q / 2^t) mod q for y in [0, 2^t); 1 <= t <= 62. The way back from [`switch_down`].
#[inline]
#[must_use]
pub fn lift(modulus: &Modulus, y: u64, t: u32) -> u64 {
    debug_assert!((1..=62).contains(&t) && y >> t == 0);
    let rounded = (u128::from(y) * u128::from(modulus.value()) + (1 << (t - 1))) >> t;
    // Rounding up may reach q itself when 2^t > q.
    reduce_once(rounded as u64, modulus.value())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PRIMES: [u64; 5] = [12289, 67_104_769, 4_294_955_009, 1_125_899_906_826_241, (1 << 61) - 1];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn both_are_exact_roundings(prime in prop::sample::select(PRIMES.to_vec()), x: u64, t in 1_u32..=62) {
            let m = Modulus::new(prime).unwrap();
            let (q, unit) = (u128::from(prime), 1_u128 << t);
            for x in [x % prime, prime - 1 - x % 9, x % 9] {
                let wide = u128::from(x);
                prop_assert_eq!(u128::from(switch_down(&m, x, t)), (2 * wide * unit + q) / (2 * q) % unit);
                let y = u128::from(x) % unit;
                prop_assert_eq!(u128::from(lift(&m, y as u64, t)), (2 * y * q + unit) / (2 * unit) % q);
            }
        }

        #[test]
        fn there_and_back(prime in prop::sample::select(PRIMES.to_vec()), x: u64, t in 2_u32..=60) {
            let m = Modulus::new(prime).unwrap();
            let x = x % prime;
            // Down and up again: at most half a unit of the coarser ring, plus the rounding of the lift.
            let back = lift(&m, switch_down(&m, x, t), t);
            let distance = m.center(m.sub(back, x)).unsigned_abs();
            prop_assert!(distance as f64 <= prime as f64 / 2.0_f64.powi(t as i32 + 1) + 1.0, "{}", distance);
            // Up and down again gives the value back while the t-bit ring is the coarser one.
            if t < m.bits() - 1 {
                let y = x & ((1 << t) - 1);
                prop_assert_eq!(switch_down(&m, lift(&m, y, t), t), y);
            }
        }
    }
}
