//! From sums of digit products back to elements of the ring, eight at a time.
//!
//! With digit totals t_{e,d} (part e of the weight, digit d of the value) the result is
//!
//! ```text
//! S = Σ_{e,d} t_{e,d} · 2^(s·e + b·d)   mod q
//! ```
//!
//! S itself may need a hundred bits, but S − k·q for the right k needs only the low 64 bits of both, computed with wrapping
//! arithmetic, and k is estimated in double precision: with the pairs low_e = t_{e,0} + t_{e,1}·2^b and high_e = t_{e,2} +
//! t_{e,3}·2^b, integers below 2^63,
//!
//! ```text
//! k = round( Σ_e low_e·(2^(s·e)/q) + high_e·(2^(s·e + 2b)/q) − 1/2 − 1/4 )
//! ```
//!
//! If the sum of the terms' absolute values is below 2^48, each product, constant and addition is off by at most
//! 2^-53 of that, all together by less than 1/4, so that S/q − k lies strictly within (0, 3/2): one conditional
//! subtraction (an unsigned minimum) ends in [0, q). The rounding to an integer is the addition of 1.5·2^52, after which
//! the integer stands in the low bits of the double.
//!
//! [`Decode::new`] checks the bound from the weights. In Z_2^k the low 64 bits of S are all that is needed.

#![cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "calls of the AVX-512 twin"))]

use super::buffer::Vector;
use super::cut::{Cut, MAX_DIGITS};
#[cfg(target_arch = "x86_64")]
use super::decode_avx512 as avx512;
use super::panels::{MAX_SUMS, Sums};
use crate::kernel::Kernel;
use crate::lanes::{LANES, Signed, Words};
use crate::{ConvError, Ring};

/// 32-bit sums of one vector.
pub(crate) const WIDTH: usize = 16;
/// Limit for twice the greatest sum of |w|, parts rounded up: a quarter of what the estimate of quotients allows.
const MAX_SUM: u64 = 1 << 46;
/// 1.5·2^52, whose neighbours are integers.
pub(super) const MAGIC: f64 = 6_755_399_441_055_744.0;

/// Constants of one ring and cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decode {
    pub(super) cut: Cut,
    pub(super) q: u64,
    pub(super) mask: u64,
    /// What the estimate starts from.
    pub(super) start: f64,
    /// For each part: 2^(s·e)/q and 2^(s·e + 2b)/q.
    pub(super) factors: [[f64; 2]; 3],
    /// q times the bits of [`MAGIC`], wrapping.
    pub(super) correction: u64,
}

impl Decode {
    /// For sums with Σ|w| ≤ `norm` over `terms` terms.
    ///
    /// # Errors
    /// [`ConvError::TooLarge`] if the sums are too large for the estimate of quotients.
    pub(crate) fn new(ring: &Ring, cut: Cut, norm: u64, terms: usize) -> Result<Self, ConvError> {
        let mut decode =
            Self { cut, q: 0, mask: ring.greatest(), start: -0.75, factors: [[0.0; 2]; 3], correction: 0 };
        if let Ring::Prime(modulus) = ring {
            // What the parts of a weight exceed it by, in absolute value, is at most the unit of the topmost.
            let rounding = match cut.parts as u32 - 1 {
                0 => 0,
                last => (terms as u64).saturating_mul(1 << (last * cut.part_bits)),
            };
            let sum = norm.saturating_add(rounding).saturating_mul(2);
            if sum > MAX_SUM {
                return Err(ConvError::TooLarge {
                    what: "twice the sum of an output's weights",
                    value: sum,
                    limit: MAX_SUM,
                });
            }
            decode.q = modulus.value();
            decode.correction = decode.q.wrapping_mul(MAGIC.to_bits());
            for (e, factors) in decode.factors.iter_mut().enumerate() {
                let unit = (cut.part_bits as usize * e) as i32;
                *factors = [unit, unit + 2 * cut.bits as i32].map(|power| 2f64.powi(power) / decode.q as f64);
            }
        }
        Ok(decode)
    }

    /// Decodes what one kernel call left in `sums`: `columns` columns of `width` vectors, of which `blocks` blocks of
    /// eight outputs are wanted. Block b of column c goes to the eight words from `out[(b·pitch + c)·8]` on. `PRIME` says
    /// which ring.
    ///
    /// # Panics
    /// If there are not as many sums, or `out` is too short.
    #[inline(always)]
    pub(crate) fn tile<const D: usize, const PRIME: bool>(
        &self,
        kernel: Kernel,
        (sums, spills): (&Sums, bool),
        [columns, width, blocks]: [usize; 3],
        (out, pitch): (&mut [u64], usize),
    ) {
        let parts = self.cut.parts;
        assert!(columns * width * D <= MAX_SUMS && blocks.div_ceil(2) * parts <= width, "sums");
        assert!(columns > 0 && blocks > 0 && ((blocks - 1) * pitch + columns) * LANES <= out.len(), "room");
        #[cfg(target_arch = "x86_64")]
        if kernel == Kernel::Avx512 {
            let size = [columns, width, blocks];
            // SAFETY: this kernel only runs on machines that have AVX-512; sizes were checked just above.
            unsafe { avx512::tile::<D, PRIME>(self, (sums, spills), size, (out.as_mut_ptr(), pitch)) };
            return;
        }
        let _ = kernel;
        for column in 0..columns {
            for block in 0..blocks {
                let from = column * width * D + block / 2 * parts * D;
                let highs = if spills { Some(&sums.highs[from..][..parts * D]) } else { None };
                let words = self.eight::<D, PRIME>(&sums.sums[from..][..parts * D], highs, block % 2 * LANES);
                out[(block * pitch + column) * LANES..][..LANES].copy_from_slice(&words);
            }
        }
    }

    /// The elements of eight outputs: those from `lane` on of vectors `[part][digit][WIDTH]` of sums, with `highs` of the
    /// same form where sums were spilled.
    #[inline(always)]
    fn eight<const D: usize, const PRIME: bool>(
        &self,
        sums: &[Vector],
        highs: Option<&[Vector]>,
        lane: usize,
    ) -> Words {
        const { assert!(D >= 1 && D <= MAX_DIGITS) }
        let Cut { parts, bits, part_bits, .. } = self.cut;
        let mut sum = [0i64; LANES];
        let mut estimate = [self.start; LANES];
        for e in 0..parts {
            let total = |d: usize| -> Signed {
                let low = eight(&sums[e * D + d], lane);
                match highs {
                    Some(highs) => {
                        let high = eight(&highs[e * D + d], lane);
                        std::array::from_fn(|i| low[i] + (high[i] << 16))
                    }
                    None => low,
                }
            };
            let pair = |d: usize| -> Signed {
                let low = total(d);
                if d + 1 == D {
                    return low;
                }
                let high = total(d + 1);
                std::array::from_fn(|i| low[i].wrapping_add(high[i] << bits))
            };
            let shift = part_bits * e as u32;
            // Shifts are at most 2·15 + 2·16.
            let mut add = |value: Signed, shift: u32, factor: f64| {
                for i in 0..LANES {
                    sum[i] = sum[i].wrapping_add(value[i] << shift);
                    if PRIME {
                        estimate[i] += float(value[i]) * factor;
                    }
                }
            };
            add(pair(0), shift, self.factors[e][0]);
            if D > 2 {
                add(pair(2), shift + 2 * bits, self.factors[e][1]);
            }
        }
        if PRIME {
            std::array::from_fn(|i| {
                let quotient = (estimate[i] + MAGIC).to_bits();
                let rest =
                    (sum[i] as u64).wrapping_add(self.correction).wrapping_sub(quotient.wrapping_mul(self.q));
                rest.min(rest.wrapping_sub(self.q))
            })
        } else {
            sum.map(|sum| sum as u64 & self.mask)
        }
    }
}

/// The nearest double, by operations that vectors of all machines have: the two halves are converted by standing them into
/// the low bits of 2^52, the upper one (its sign flipped) less 2^31.
#[inline(always)]
fn float(x: i64) -> f64 {
    const TWO_52: f64 = 4_503_599_627_370_496.0;
    let bits = x as u64 ^ 1 << 63;
    let high = f64::from_bits(bits >> 32 | TWO_52.to_bits()) - (TWO_52 + 2_147_483_648.0);
    let low = f64::from_bits(bits & 0xffff_ffff | TWO_52.to_bits()) - TWO_52;
    high * 4_294_967_296.0 + low
}

/// Eight words of a vector, extended.
#[inline(always)]
fn eight(vector: &Vector, lane: usize) -> Signed {
    let words: &[i32; LANES] = vector.0[lane..lane + LANES].try_into().expect("eight words");
    words.map(i64::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    #[test]
    fn doubles_are_the_nearest() {
        let mut random = Random::new("doubles");
        let random: Vec<i64> = (0..1000).map(|_| random.below(u64::MAX) as i64 >> random.below(63)).collect();
        for x in [0, 1, -1, i64::MAX, i64::MIN, 1 << 32, -(1 << 32), (1 << 53) + 1].into_iter().chain(random)
        {
            assert_eq!(float(x), x as f64, "{x}");
        }
    }
}
