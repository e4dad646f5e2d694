//! The two rings of a session and the local walk between them.
//!
//! Linear layers live in Z_q (q an odd prime below 2^50), activations in Z_2^k with k of 6 to 24 bits, and the masked
//! inputs of a linear layer in Z_2^p (p of 8 to 49 bits, below those of q). A value means a point of the *torus*: v/q, y/2^k
//! and D/2^p are the same real number modulo one, so a change of ring is a change of resolution:
//!
//! | walk | formula | error |
//! |---|---|---|
//! | [`Switch::down`] | round(v·2^k/q) mod 2^k | at most half a unit of 2^-k |
//! | [`Switch::up`] | round(D·q/2^p) mod q | at most half a unit of 1/q |
//!
//! Both are *local*: two additive shares that are switched apart still add up, with the sum of the two rounding
//! errors and never a wrap, because m + c = y + z·q over the integers and z·q is a multiple of the full turn
//! (the local modulus switch of the learning-with-errors literature; protocol statement, section 4).
//!
//! Nothing here branches on or divides by a secret: quotients come from a precomputed reciprocal and two masked
//! corrections.

use crate::error::SsError;

/// The ring Z_2^k of activations, 1 ≤ k ≤ 63; elements are `u64` below 2^k.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Z2k {
    bits: u32,
}

impl Z2k {
    /// The ring of `bits` bits.
    ///
    /// # Errors
    /// [`SsError::BadValue`] unless 1 ≤ `bits` ≤ 63.
    pub fn new(bits: u32) -> Result<Self, SsError> {
        if (1..=63).contains(&bits) {
            Ok(Self { bits })
        } else {
            Err(SsError::BadValue { what: "bits of a power-of-two ring (1 to 63)" })
        }
    }

    /// Number of bits k.
    pub fn bits(self) -> u32 {
        self.bits
    }

    /// 2^k − 1.
    pub fn mask(self) -> u64 {
        (1u64 << self.bits) - 1
    }

    /// a + b mod 2^k.
    pub fn add(self, a: u64, b: u64) -> u64 {
        a.wrapping_add(b) & self.mask()
    }

    /// a − b mod 2^k.
    pub fn sub(self, a: u64, b: u64) -> u64 {
        a.wrapping_sub(b) & self.mask()
    }

    /// The representative in [−2^(k−1), 2^(k−1)).
    pub fn signed(self, a: u64) -> i64 {
        let shift = 64 - self.bits;
        ((a << shift) as i64) >> shift
    }

    /// The element congruent to a signed integer.
    pub fn from_signed(self, a: i64) -> u64 {
        a as u64 & self.mask()
    }
}

/// The walk between Z_q and Z_2^bits, with its reciprocal precomputed.
#[derive(Clone, Copy, Debug)]
pub struct Switch {
    q: u64,
    bits: u32,
    /// floor(2^(bits+63) / q): below 2^63 because 2^bits ≤ q.
    reciprocal: u64,
}

impl Switch {
    /// The walk between Z_q and Z_2^bits.
    ///
    /// # Errors
    /// [`SsError::BadValue`] unless q is odd, below 2^60, and 2^bits < q.
    pub fn new(q: u64, bits: u32) -> Result<Self, SsError> {
        if q & 1 == 0 || q >= 1 << 60 || bits == 0 || bits >= 60 || (1u64 << bits) >= q {
            return Err(SsError::BadValue { what: "modulus switch (needs odd q < 2^60 and 2^bits < q)" });
        }
        let reciprocal = ((1u128 << (bits + 63)) / u128::from(q)) as u64;
        Ok(Self { q, bits, reciprocal })
    }

    /// round(v·2^bits/q) mod 2^bits for v in [0, q).
    pub fn down(&self, v: u64) -> u64 {
        self.divide(v, self.q / 2)
    }

    /// The same walk for a *mask*: exactly uniform on Z_2^bits when v is uniform on Z_q and `fraction` on \[0, 2^bits).
    ///
    /// Rounding to the nearest would not do: 2^bits does not divide q, so some results would have one preimage more
    /// than others. With a random fraction below it, v becomes uniform on q·2^bits values, of which every result
    /// gets q. The result is off by at most half a unit of 2^-bits plus half a unit of 1/q.
    pub fn down_mask(&self, v: u64, fraction: u64) -> u64 {
        debug_assert!(fraction < 1 << self.bits);
        self.divide(v, fraction + (self.q - (1 << self.bits)) / 2)
    }

    /// floor((v·2^bits + extra)/q) mod 2^bits for extra below q.
    fn divide(&self, v: u64, extra: u64) -> u64 {
        debug_assert!(v < self.q && extra < self.q);
        let numerator = (u128::from(v) << self.bits) + u128::from(extra);
        // The estimate is at most two too small: the reciprocal and the shift are floored, `extra` is left out.
        let mut quotient = ((u128::from(v) * u128::from(self.reciprocal)) >> 63) as u64;
        let mut rest = (numerator - u128::from(quotient) * u128::from(self.q)) as u64;
        for _ in 0..2 {
            let carry = 1 ^ (rest.wrapping_sub(self.q) >> 63);
            quotient += carry;
            rest = rest.wrapping_sub(self.q & carry.wrapping_neg());
        }
        debug_assert!(rest < self.q);
        quotient & ((1 << self.bits) - 1)
    }

    /// round(d·q/2^bits) mod q for d in [0, 2^bits).
    pub fn up(&self, d: u64) -> u64 {
        debug_assert!(d < 1 << self.bits);
        let product = u128::from(d) * u128::from(self.q) + (1u128 << (self.bits - 1));
        let lifted = (product >> self.bits) as u64;
        // The largest d can round up to q itself.
        let full = 1 ^ (lifted.wrapping_sub(self.q) >> 63);
        lifted.wrapping_sub(self.q & full.wrapping_neg())
    }

    /// [`Self::down`] over a slice.
    pub fn down_all(&self, values: &[u64]) -> Vec<u64> {
        values.iter().map(|&v| self.down(v)).collect()
    }

    /// [`Self::up`] over a slice.
    pub fn up_all(&self, values: &[u64]) -> Vec<u64> {
        values.iter().map(|&d| self.up(d)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MODULI: [u64; 3] = [67_094_529, 4_294_955_009, 1_125_899_906_826_241];

    /// The slow twin, straight from the definition.
    fn down_slow(v: u64, q: u64, bits: u32) -> u64 {
        let doubled = (u128::from(v) << (bits + 1)) + u128::from(q);
        ((doubled / (2 * u128::from(q))) & ((1 << bits) - 1)) as u64
    }

    proptest! {
        #[test]
        fn down_equals_the_definition(which in 0usize..3, v in any::<u64>(), bits in 4u32..25) {
            let q = MODULI[which];
            let switch = Switch::new(q, bits).unwrap();
            for v in [v % q, 0, q - 1, q / 2, q / 2 + 1] {
                prop_assert_eq!(switch.down(v), down_slow(v, q, bits));
            }
        }

        #[test]
        fn wide_masks_too(v in 0u64..1_125_899_906_826_241, bits in 40u32..50) {
            let q = MODULI[2];
            let switch = Switch::new(q, bits).unwrap();
            prop_assert_eq!(switch.down(v), down_slow(v, q, bits));
            prop_assert!(switch.up(v & ((1 << bits) - 1)) < q);
        }

        #[test]
        fn up_then_down_is_the_identity(which in 0usize..3, d in any::<u64>(), bits in 4u32..25) {
            let switch = Switch::new(MODULI[which], bits).unwrap();
            for d in [d & ((1 << bits) - 1), 0, (1 << bits) - 1] {
                prop_assert_eq!(switch.down(switch.up(d)), d);
            }
        }

        #[test]
        fn shares_switched_apart_stay_within_one_unit(value in any::<i32>(), mask in any::<u64>()) {
            let (q, bits) = (MODULI[2], 18);
            let (switch, ring) = (Switch::new(q, bits).unwrap(), Z2k::new(bits).unwrap());
            let value = (i64::from(value) << 17).rem_euclid(q as i64) as u64;
            let client = mask % q;
            let server = (value + q - client) % q;
            let sum = ring.add(switch.down(server), switch.down(client));
            let off = ring.signed(ring.sub(sum, switch.down(value)));
            prop_assert!(off.abs() <= 1, "{off} units off");
        }
    }

    #[test]
    fn masks_are_exactly_uniform() {
        // All values and fractions of a small ring: every result has exactly q of them.
        let (q, bits) = (97u64, 4);
        let switch = Switch::new(q, bits).unwrap();
        let mut counts = [0u64; 16];
        let mut plain = [0u64; 16];
        for v in 0..q {
            plain[switch.down(v) as usize] += 1;
            for fraction in 0..16 {
                let result = switch.down_mask(v, fraction);
                counts[result as usize] += 1;
                let off = (result as f64 - v as f64 * 16.0 / 97.0 + 8.0).rem_euclid(16.0) - 8.0;
                assert!(off.abs() <= 0.5 + 8.0 / 97.0 + 1e-9, "{v} {fraction}: {off}");
            }
        }
        assert_eq!(counts, [q; 16]);
        // The twin: plain rounding is not uniform, and this test would see it.
        assert_ne!(plain, [plain[0]; 16]);
    }

    #[test]
    fn impossible_walks_are_refused() {
        assert!(Switch::new(1 << 20, 10).is_err(), "even modulus");
        assert!(Switch::new(67_094_529, 26).is_err(), "2^26 exceeds q");
        assert!(Z2k::new(0).is_err() && Z2k::new(64).is_err());
    }

    #[test]
    fn signed_representatives() {
        let ring = Z2k::new(5).unwrap();
        assert_eq!((ring.signed(15), ring.signed(16), ring.signed(31)), (15, -16, -1));
        assert_eq!(ring.from_signed(-1), 31);
    }
}
