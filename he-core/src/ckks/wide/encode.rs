//! Wide encoding: slots to plaintexts in integers, for messages whose error has to be small beside their last bit.
//!
//! [`Params::encode_at`] transforms in doubles: coefficients are right to some 2^-48 of the largest slot. A sum of a
//! thousand products of such plaintexts, which is to be right to 2^-30, needs more. So this twin computes in integers of 128
//! bits, with the roots of unity of wide decoding; its error has a bound that no model enters.
//!
//! | step | from | to |
//! |---|---|---|
//! | fix | parts of slots, doubles below 2^20 | nearest multiples of 2^-80; whole numbers and their parts of up to 80 bits exactly |
//! | transform | slots | n = N/2 numbers (m_i + i m_(i + n)) n |
//! | scale | those | m times a product of whole numbers over n, each coefficient rounded once |
//!
//! The transform is that of [`super`] backwards: (even, odd) becomes even + odd and (even - odd) times the conjugate root,
//! with the halvings of all levels at the end.
//!
//! **Error**, in units of 2^-80. Fixing is off by 1/2 per part, sqrt(1/2) per number. A level doubles errors at most and
//! adds that of one product: each of its four parts is off by at most 1/2 and 2^-62, so the product by sqrt(2) (1 + 2^-61),
//! and the root's error, below 2^-126, times less than 2^116 is nothing beside it. After l = log2 n levels that is below 2^l
//! (sqrt(1/2) + sqrt(2)) < 2.13 n, and divided by n 2.13. A slot sums n such numbers times roots:
//!
//! 2.13 n 2^-80, that is 2^-66.9 for N = 8192 ([`Params::wide_encoding_error`]),
//!
//! whatever the message. Rounding of coefficients comes on top, as with every encoding: half a unit each.
//!
//! The scale is given as whole numbers whose product it is, because a double holds no product of two primes. Nothing branches
//! on a value, nor is one looked up; slots that are too large are refused.

use super::super::Params;
use super::super::cipher::Plaintext;
use super::super::complex::Complex;
use super::WideRoots;
use super::integer::{ROOT_BITS, Wide};
use crate::error::HeError;
use crate::poly::{Coeff, Poly};
use crate::rns::RnsPoly;
use crate::scratch::Wiped;

/// Bits after the binary point of slots.
const FRACTION: u32 = 80;
/// Of those, the bits that are fixed first.
const FIRST: u32 = 30;
/// log2 of the largest part of a slot.
const LOG2_PART: u32 = 20;
/// Coefficients must be below 2^126.
const LOG2_MOST: f64 = 126.0;
/// 3/2 2^52: added to a number below 2^51 it leaves the nearest whole number in the lowest bits.
const SHIFTER: f64 = 6_755_399_441_055_744.0;

impl Params {
    /// The plaintext of at most N/2 values at the scale that is the product of `factors`, modulo the first `limbs` primes.
    /// Slots are off by [`Params::wide_encoding_error`] and the rounding of coefficients.
    ///
    /// # Errors
    /// [`HeError::Count`] for too many values, [`HeError::NotFinite`] for a NaN or an infinity, [`HeError::Bits`] for a part
    /// of a value above 2^20, [`HeError::ScaleRange`] for a scale that is too large or zero, [`HeError::Overflow`] when
    /// coefficients may not fit the modulus or 126 bits.
    ///
    /// # Panics
    /// Unless 1 <= limbs <= L.
    pub fn encode_wide(
        &self,
        values: &[Complex],
        limbs: usize,
        factors: &[u64],
    ) -> Result<Plaintext, HeError> {
        let slots = self.slots();
        if values.len() > slots {
            let what = "values to encode";
            return Err(HeError::Count { what, found: values.len(), least: 0, most: slots });
        }
        let scale = factors.iter().map(|&factor| factor as f64).product();
        let scale = self.product_scale(scale, 1.0, limbs)?;
        self.check_slots(values, limbs, scale)?;
        let mut numbers = Wiped::from(vec![[0_i128; 2]; slots]);
        numbers.iter_mut().zip(values).for_each(|(number, z)| *number = [fixed(z.re), fixed(z.im)]);
        self.wide_roots().to_coefficients(&mut numbers);
        let shift = FRACTION + slots.trailing_zeros();
        let scaled = |x: i128| {
            let product =
                factors.iter().fold(Wide::from_i128(x), |product, &factor| product.mul_small(factor));
            product.shift_round(shift).to_i128()
        };
        // Real parts and then imaginary parts are the coefficients in their order.
        let coefficients: Vec<i128> =
            [0, 1].iter().flat_map(|&part| numbers.iter().map(move |number| scaled(number[part]))).collect();
        let coefficients = Wiped::from(coefficients);
        let tables = self.tables(limbs);
        let limb = |table| {
            let mut poly = Poly::<Coeff>::zero(table);
            let modulus = *poly.modulus();
            let words = poly.words_mut().iter_mut();
            words.zip(coefficients.iter()).for_each(|(word, &x)| *word = modulus.from_i128(x));
            poly
        };
        let poly = RnsPoly::from_limbs(tables.iter().map(limb).collect());
        Ok(Plaintext { poly: poly.into_ntt(tables), scale })
    }

    /// By how much a slot that [`Params::encode_wide`] encodes is off at most, as a complex number in units of the message, the
    /// rounding of coefficients not counted.
    #[must_use]
    pub fn wide_encoding_error(&self) -> f64 {
        2.13 * self.slots() as f64 / f64::from(FRACTION).exp2()
    }

    /// Refuses slots that are no numbers or too large. A coefficient is a mean of slots, so it is at most as large as they are.
    fn check_slots(&self, values: &[Complex], limbs: usize, scale: f64) -> Result<(), HeError> {
        if let Some(index) = values.iter().position(|z| !z.is_finite()) {
            return Err(HeError::NotFinite { what: "a value to encode", index });
        }
        let largest = values.iter().fold(0.0_f64, |most, z| most.max(z.re.abs()).max(z.im.abs()));
        if largest > f64::from(LOG2_PART).exp2() {
            let bits = largest.log2().ceil() as u32;
            return Err(HeError::Bits { what: "a value to encode", bits, least: 0, most: LOG2_PART });
        }
        let log2_most = (self.rlwe().log2_q(limbs) - 1.0).min(LOG2_MOST);
        // Its own error included; a little below, because the logarithm of Q is rounded.
        let most = (core::f64::consts::SQRT_2 * largest + self.wide_encoding_error()) * scale + 1.0;
        if most < (log2_most - 1e-9).exp2() { Ok(()) } else { Err(HeError::Overflow { log2_most }) }
    }
}

impl WideRoots {
    /// Slots to n times the numbers m_i + i m_(i + n), in place.
    fn to_coefficients(&self, values: &mut [[i128; 2]]) {
        let n = values.len();
        let mut length = n / 2;
        while length > 0 {
            let roots = &self.0[length..2 * length];
            for block in values.chunks_exact_mut(2 * length) {
                let (even, odd) = block.split_at_mut(length);
                for ((even, odd), &[c, s]) in even.iter_mut().zip(odd).zip(roots) {
                    let [re, im] = [even[0] - odd[0], even[1] - odd[1]];
                    *even = [even[0] + odd[0], even[1] + odd[1]];
                    *odd = [times(re, c) + times(im, s), times(im, c) - times(re, s)];
                }
            }
            length /= 2;
        }
        super::reverse(values);
    }
}

/// The nearest multiple of 2^-80 of a number below 2^21, in that unit.
fn fixed(x: f64) -> i128 {
    let first = f64::from(FIRST).exp2();
    let high = whole(x * first);
    // Exact: a multiple of the last place of x, and not above x.
    let low = whole((x - high as f64 / first) * f64::from(FRACTION).exp2());
    (i128::from(high) << (FRACTION - FIRST)) + i128::from(low)
}

/// The nearest whole number of one below 2^51.
fn whole(x: f64) -> i64 {
    (x + SHIFTER).to_bits().cast_signed() - SHIFTER.to_bits().cast_signed()
}

/// x y / 2^126 for |x| < 2^120 and |y| <= 2^126, off by at most 1/2 and 2^-62.
#[inline(always)]
fn times(x: i128, y: i128) -> i128 {
    let ([x1, x0], [y1, y0]) = (halves(x), halves(y));
    // x0 y0 / 2^64 is below 2^64; of it the fraction is dropped.
    let lowest = ((x0 as u128 * y0 as u128) >> 64) as i128;
    let middle = x1 * y0 + x0 * y1 + lowest;
    let shift = ROOT_BITS - 64;
    ((x1 * y1) << (128 - ROOT_BITS)) + ((middle + (1 << (shift - 1))) >> shift)
}

/// x = high 2^64 + low with 0 <= low < 2^64.
#[inline(always)]
fn halves(x: i128) -> [i128; 2] {
    [x >> 64, i128::from(x as u64)]
}

#[cfg(test)]
mod tests;
