//! How the taps of one output are summed without overflow; the bounds are those of [`super`].

use crate::Ring;

/// A run of taps between two reductions.
#[derive(Clone, Copy)]
pub(super) struct Segment {
    pub(super) taps: usize,
    /// Bits by which the sum is shifted before it, after its reduction.
    pub(super) shift: u32,
}

/// How the taps of a layer are summed without overflow.
pub(super) struct Schedule {
    pub(super) segments: Vec<Segment>,
    /// Length of the digits, if there are several.
    pub(super) digit_bits: u32,
    pub(super) digits: usize,
}

impl Schedule {
    /// For weights `[output][tap]`.
    pub(super) fn new(ring: &Ring, weights: &[i32], taps: usize) -> Self {
        let whole = Self { segments: vec![Segment { taps, shift: 0 }], digit_bits: 0, digits: 1 };
        let Ring::Prime(modulus) = ring else { return whole };
        let q = u128::from(modulus.value());
        let (half, fold) = (q / 2, 2 * q);
        let limit = (q << 50).min(1 << 63) - 1 - fold;
        let size = |weight: &i32| u128::from(weight.unsigned_abs());
        let norm = weights.chunks(taps).map(|weights| weights.iter().map(size).sum()).max().unwrap_or(0u128);
        if norm * half <= limit {
            return whole;
        }
        let greatest = weights.iter().map(size).max().unwrap_or(0);
        let runs = |most: u128, first: u32| {
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            (0..taps).step_by(most).map(move |tap| Segment {
                taps: most.min(taps - tap),
                shift: if tap == 0 { first } else { 0 },
            })
        };
        if greatest * half <= limit {
            let segments = runs(limit / (greatest * half), 0).collect();
            return Self { segments, ..whole };
        }
        // Half of the limit for what is shifted, half for the digit's products.
        let digit_bits = (1..=31).rev().find(|&bits| fold << bits <= limit / 2).unwrap_or(1);
        let most = limit / 2 / (half << (digit_bits - 1));
        let digits = (1..)
            .find(|&digits| (greatest >> (digit_bits * (digits - 1))) < (1 << (digit_bits - 1)))
            .unwrap_or(32);
        let segments = (0..digits).flat_map(|_| runs(most, digit_bits)).collect();
        Self { segments, digit_bits, digits: digits as usize }
    }
}

/// Digit number `digit` of a weight: signed, `bits` long, the last of `digits` what is left.
pub(super) fn balanced_digit(weight: i32, digit: usize, digits: usize, bits: u32) -> i64 {
    let mut weight = i64::from(weight);
    for _ in 0..digit {
        let low = (weight << (64 - bits)) >> (64 - bits);
        weight = (weight - low) >> bits;
    }
    if digit + 1 == digits { weight } else { (weight << (64 - bits)) >> (64 - bits) }
}
