//! Wide decoding: slots as integers of up to 126 bits, for polynomials that doubles cannot hold.
//!
//! The way back, wide encoding ([`Params::encode_wide`]), has a module of its own, `encode`.
//!
//! A polynomial that was hidden under a mask has slots of 90 bits and more, of which the lowest count. The decoding of
//! [`super::encode`] is right to about 46 bits, and double-doubles leave too little of their 106 where a bound has to hold
//! for every slot: a transform of 2^12 points bounds them by 2^-98 of the largest. So this twin of it computes in integers of
//! 256 bits, with roots of unity to 126: no rounding depends on sizes, nothing branches on a value, and all machines give
//! the same numbers.
//!
//! | step | from | to |
//! |---|---|---|
//! | join | residues of the centred coefficients, \|m_i\| < Q/2 | integers times 2^16, exact |
//! | transform | n = N/2 numbers m_i + i m_(i + n) | slots times 2^16 |
//! | round | slots | nearest multiples of 2^step, as i128 |
//!
//! The joining is Garner's with signed digits, see the module `residues`; the transform has the levels of the module
//! `embedding` (s\[2L\]\_j, s\[2L\]\_(j+L) = even_j +- zeta_8L^(5^j) odd_j), in place, one after the other.
//!
//! **Error.** Let M bound the coefficients. A level doubles errors at most, adds the error tau < 2^-126 of its root times
//! odd_j, |odd_j| <= sqrt(2) M 2^level, and rho <= 2^-17 sqrt(2) of its rounding. After l = log2 n levels a part of a slot
//! is off by at most
//!
//! l n M 2^-126 + n 2^-16,
//!
//! in units of the coefficients ([`Params::wide_error`]), before it is rounded to a multiple of 2^step. The range is
//! log2 Q + log2 N + 17 <= 254, and log2 Q + log2 N - step <= 126 for the result; others are refused.
//!
//! Not promised: speed. One transform for N = 8192 takes some milliseconds.

mod encode;
pub(super) mod integer;
mod roots;

use core::fmt;

use super::Params;
use super::cipher::Plaintext;
use crate::error::HeError;
use crate::poly::Poly;
use crate::scratch::Wiped;
use integer::{Wide, turn};
use roots::root;

/// Bits after the binary point while slots are computed.
const GUARD: u32 = 16;
/// log2 of the largest result.
const MOST_LOG2: u32 = 126;
/// log2 of the largest number in between.
const MOST_WIDE: f64 = 254.0;

/// Real and imaginary parts of N/2 slots as integers, in units that whoever made them knows. Wiped on drop, not printed, not
/// copied.
pub struct WideSlots {
    re: Wiped<Vec<i128>>,
    im: Wiped<Vec<i128>>,
}

impl WideSlots {
    /// The real parts.
    #[must_use]
    pub fn re(&self) -> &[i128] {
        &self.re
    }

    /// The imaginary parts.
    #[must_use]
    pub fn im(&self) -> &[i128] {
        &self.im
    }
}

impl fmt::Debug for WideSlots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WideSlots({} slots, redacted)", self.re.len())
    }
}

/// Roots of unity of one ring: entry L + j, for L = 1, 2, .., n/2 and j < L, is zeta_8L^(5^j).
pub(super) struct WideRoots(Vec<[i128; 2]>);

impl WideRoots {
    /// For n slots, a power of two.
    pub(super) fn new(slots: usize) -> Self {
        let mut roots = vec![[1 << integer::ROOT_BITS, 0]; slots];
        let mut length = 1;
        while length < slots {
            let mut power = 1;
            for entry in &mut roots[length..2 * length] {
                *entry = root(power, 8 * length);
                power = 5 * power % (8 * length);
            }
            length *= 2;
        }
        Self(roots)
    }

    /// Coefficients m_i + i m_(i + n) to slots, in place.
    fn to_slots(&self, values: &mut [[Wide; 2]]) {
        let n = values.len();
        reverse(values);
        let mut length = 1;
        while length < n {
            let roots = &self.0[length..2 * length];
            for block in values.chunks_exact_mut(2 * length) {
                let (even, odd) = block.split_at_mut(length);
                for ((even, odd), &root) in even.iter_mut().zip(odd).zip(roots) {
                    let turned = turn(odd[0], odd[1], root);
                    *odd = [even[0].sub(turned[0]), even[1].sub(turned[1])];
                    *even = [even[0].add(turned[0]), even[1].add(turned[1])];
                }
            }
            length *= 2;
        }
    }
}

/// Element i changes places with that of its bits reversed.
fn reverse<T>(values: &mut [T]) {
    let shift = usize::BITS - values.len().trailing_zeros();
    for i in 0..values.len() {
        let reversed = i.reverse_bits().checked_shr(shift).unwrap_or(0);
        if i < reversed {
            values.swap(i, reversed);
        }
    }
}

impl Params {
    /// The slots of a plaintext in units of its polynomial, rounded to multiples of 2^`step`: slot times scale over
    /// 2^step. **Raw** as [`Params::decode`]: of a decryption, for its owner only.
    ///
    /// Each part is off by at most half a unit and 2^-step [`Params::wide_error`].
    ///
    /// # Errors
    /// [`HeError::Bits`] when slots may not fit 126 bits at this step or the numbers in between not 254.
    ///
    /// # Panics
    /// When the plaintext is of other parameters.
    pub fn decode_wide(&self, plaintext: &Plaintext, step: u32) -> Result<WideSlots, HeError> {
        let limbs = plaintext.limbs();
        self.check_wide(self.rlwe().log2_q(limbs), step)?;
        let poly = plaintext.poly().duplicate().into_coeff(self.tables(limbs));
        let residues: Vec<&[u64]> = poly.limbs().iter().map(Poly::coefficients).collect();
        let mut digits = Wiped::from(vec![0; limbs]);
        let coefficient = |at: usize| {
            self.reconstruction().digits(&residues, at, &mut digits);
            let moduli = self.rlwe().moduli(limbs).iter();
            let join = |sum: Wide, (&digit, q): (&i64, &crate::Modulus)| {
                sum.mul_small(q.value()).add(Wide::from_i64(digit))
            };
            digits.iter().zip(moduli).rev().fold(Wide::ZERO, join)
        };
        let coefficients: Vec<Wide> = (0..self.n()).map(coefficient).collect();
        Ok(self.wide_slots(&Wiped::from(coefficients), step))
    }

    /// By how much a part of a slot that [`Params::decode_wide`] makes of `limbs` limbs can be off before it is rounded, in
    /// units of the polynomial.
    ///
    /// # Panics
    /// Unless 1 <= limbs <= L.
    #[must_use]
    pub fn wide_error(&self, limbs: usize) -> f64 {
        let (slots, log2_most) = (self.slots() as f64, self.rlwe().log2_q(limbs) - 1.0);
        slots.log2() * slots * (log2_most - 126.0).exp2() + slots / f64::from(GUARD).exp2()
    }

    /// The slots of integer coefficients, which the caller has checked with [`Params::check_wide`].
    pub(super) fn wide_slots(&self, coefficients: &[Wide], step: u32) -> WideSlots {
        let (low, high) = coefficients.split_at(self.slots());
        let pair = |(&re, &im): (&Wide, &Wide)| [re, im].map(|x| x.shift_up(GUARD));
        let mut values: Wiped<Vec<[Wide; 2]>> =
            Wiped::from(low.iter().zip(high).map(pair).collect::<Vec<_>>());
        self.wide_roots().to_slots(&mut values);
        let part = |part: usize| {
            let round = |value: &[Wide; 2]| value[part].shift_round(step + GUARD).to_i128();
            Wiped::from(values.iter().map(round).collect::<Vec<_>>())
        };
        WideSlots { re: part(0), im: part(1) }
    }

    /// Refuses coefficients below 2^log2_most in magnitude, times two, whose slots do not fit.
    pub(super) fn check_wide(&self, log2_most: f64, step: u32) -> Result<(), HeError> {
        let log2_slot = log2_most + (self.n() as f64).log2();
        let refuse =
            |what, most: u32| Err(HeError::Bits { what, bits: log2_slot.ceil() as u32, least: 0, most });
        if log2_slot + f64::from(GUARD) + 1.0 > MOST_WIDE {
            return refuse("slots of a wide decoding", MOST_WIDE as u32 - GUARD - 1);
        }
        // A shift by less than the width of a number.
        if step > 230 || log2_slot - f64::from(step) > f64::from(MOST_LOG2) {
            return refuse("slots of a wide decoding, in steps", MOST_LOG2 + step.min(230));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
