//! Sums over slots, and copies of slots.
//!
//! | operation | slot j of the answer | rotations |
//! |---|---|---|
//! | [`Params::sum_slots`] | sum of the slots j + k stride, k < count, cyclically | 2 log2 count at most |
//! | [`Params::replicate`] | the same with -stride: a slot with zeros before it is copied forward | as above |
//!
//! By doubling: with S_m the sum of m rotations, S_2m = S_m + S_m rotated by m strides, and S_(m+1) = S_m + the
//! ciphertext rotated by m strides. [`sum_rotations`] lists the steps for which keys are needed. Steps wrap modulo
//! 2^64, which changes nothing: they count modulo the number of slots, a power of two.

use super::Params;
use super::cipher::Ciphertext;
use super::evaluate::two_parts;
use crate::error::HeError;
use crate::rlwe::GaloisKeys;

/// The rotation steps that [`Params::sum_slots`] makes for this count and stride; for [`Params::replicate`] with
/// -stride.
#[must_use]
pub fn sum_rotations(count: usize, stride: i64) -> Vec<i64> {
    let mut steps: Vec<_> = chain(count)
        .into_iter()
        .flat_map(|(m, odd)| {
            let step = stride.wrapping_mul(m as i64);
            core::iter::once(step).chain(odd.then_some(step.wrapping_mul(2)))
        })
        .collect();
    steps.sort_unstable();
    steps.dedup();
    steps
}

/// Doublings (m, whether one more is added) from 1 to `count`.
fn chain(count: usize) -> Vec<(usize, bool)> {
    let bits = usize::BITS - count.leading_zeros();
    (1..bits).rev().map(|bit| (count >> bit, count >> (bit - 1) & 1 == 1)).collect()
}

impl Params {
    /// Sums `count` slots that lie `stride` apart, for every slot at once.
    ///
    /// # Errors
    /// [`HeError::Count`] for a count of 0 or above N/2, [`HeError::NoGaloisKey`], [`HeError::Length`] for a
    /// ciphertext of degree 2.
    ///
    /// # Panics
    /// When operands are of other parameters.
    pub fn sum_slots(
        &self,
        a: &Ciphertext,
        count: usize,
        stride: i64,
        keys: &GaloisKeys,
    ) -> Result<Ciphertext, HeError> {
        if count == 0 || count > self.slots() {
            let what = "slots to sum";
            return Err(HeError::Count { what, found: count, least: 1, most: self.slots() });
        }
        two_parts(a)?;
        let mut sum = a.duplicate();
        for (m, odd) in chain(count) {
            let step = stride.wrapping_mul(m as i64);
            let turned = self.rotate(&sum, step, keys)?;
            sum.add(&turned)?;
            if odd {
                sum.add(&self.rotate(a, step.wrapping_mul(2), keys)?)?;
            }
        }
        Ok(sum)
    }

    /// Copies forward: slot j gets the sum of the slots j, j - stride, .., j - (count - 1) stride. Where only one of
    /// them is not zero, that is a copy of it.
    ///
    /// # Errors
    /// As [`Params::sum_slots`].
    ///
    /// # Panics
    /// As [`Params::sum_slots`].
    pub fn replicate(
        &self,
        a: &Ciphertext,
        count: usize,
        stride: i64,
        keys: &GaloisKeys,
    ) -> Result<Ciphertext, HeError> {
        self.sum_slots(a, count, stride.wrapping_neg(), keys)
    }
}
