//! Numbers on grids, and encodings as what they encode.
//!
//! | thing | law |
//! |---|---|
//! | [`uniform`] | multiples of 2^-j in \[-2^m, 2^m), each as likely |
//! | [`rounded`] | to the nearest multiple of 2^-j |
//! | [`Exact`] | a vector encoded as a polynomial, and the slots that this polynomial really has |
//!
//! A polynomial's slots differ from the vector that it was made of by roundings: some 2^-31 at the scale of d, and by what
//! double-precision transforms lose, some 2^-46 of the largest entry. In a product with c both would grow beyond what
//! labels bear; so each party goes on with the slots of the polynomial, decoded with long integers.
//!
//! **t** is drawn in two parts, 27 high bits and 53 below: a mask on the grid of one double would show the low bits of
//! what it masks, here 2 d c.

use he_core::Seed;
use he_core::ckks::complex::Complex;
use he_core::ckks::{Params, Plaintext};
use rand_core::Rng;
use zeroize::Zeroizing;

use crate::error::{ProtocolError, caller};

/// High bits of t.
const HIGH_BITS: u32 = 27;

/// An encoded vector.
pub struct Exact {
    /// The polynomial.
    pub plaintext: Plaintext,
    /// The real parts of its slots.
    pub values: Zeroizing<Vec<f64>>,
}

/// A multiple of 2^-grid, uniform in \[-2^bits, 2^bits).
pub fn uniform(rng: &mut impl Rng, bits: i32, grid: i32) -> f64 {
    // bits + grid is 52 at most, and 0 at least, by the plan.
    let width = (bits + grid).clamp(0, 52) as u32;
    let steps = (rng.next_u64() >> (63 - width)) as i64 - (1_i64 << width);
    steps as f64 * f64::from(-grid).exp2()
}

/// A double in \[-most, most), uniform on 2^53 values.
pub fn even(rng: &mut impl Rng, most: f64) -> f64 {
    let steps = (rng.next_u64() >> 11) as i64 - (1_i64 << 52);
    steps as f64 * (-52.0_f64).exp2() * most
}

/// The nearest multiple of 2^-grid.
#[must_use]
pub fn rounded(value: f64, grid: i32) -> f64 {
    let step = f64::from(grid).exp2();
    (value * step).round() / step
}

/// `count` masks of this width on this grid; the seed is used up.
#[must_use]
pub fn vector(seed: &Seed, count: usize, bits: i32, grid: i32) -> Zeroizing<Vec<f64>> {
    let mut rng = seed.stream();
    Zeroizing::new((0..count).map(|_| uniform(&mut rng, bits, grid)).collect())
}

impl Exact {
    /// Encodes real values at the scale 2^`scale_bits`.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] for values that the scale has no room for.
    pub fn new(params: &Params, values: &[f64], scale_bits: u32) -> Result<Self, ProtocolError> {
        let scale = f64::from(scale_bits).exp2();
        let encode = |limbs| params.encode_at(values, limbs, scale).map_err(caller);
        // The same integers, modulo fewer primes: long integers decode these to more bits behind the point.
        let values = wide(params, &encode(params.limbs().min(2))?, scale_bits, values.len())?;
        Ok(Self { plaintext: encode(params.limbs())?, values })
    }

    /// A mask of all slots, real and imaginary parts uniform in ±`most`, at the scale 2^`scale_bits`; the first `count`
    /// slots are kept.
    ///
    /// # Errors
    /// As [`Exact::new`].
    pub fn mask(
        params: &Params,
        rng: &mut impl Rng,
        most: f64,
        scale_bits: u32,
        count: usize,
    ) -> Result<Self, ProtocolError> {
        let scale = f64::from(scale_bits).exp2();
        let cell = most / f64::from(HIGH_BITS - 1).exp2();
        let mut draw = |high: bool| -> Result<Plaintext, ProtocolError> {
            let mut number = || match high {
                // The middle of one of 2^27 cells.
                true => uniform(rng, HIGH_BITS as i32 - 1, 0) * cell + 0.5 * cell,
                false => even(rng, 0.5 * cell),
            };
            let slots: Vec<Complex> =
                (0..params.slots()).map(|_| Complex { re: number(), im: number() }).collect();
            params.encode_at(&Zeroizing::new(slots), params.limbs(), scale).map_err(caller)
        };
        let (high, low) = (draw(true)?, draw(false)?);
        let mut sum = high.poly().duplicate();
        sum += low.poly();
        let plaintext = Plaintext::from_parts(params, sum, scale).map_err(caller)?;
        let values = wide(params, &plaintext, scale_bits, count)?;
        Ok(Self { plaintext, values })
    }
}

/// The real parts of the first `count` slots, right to 2^-36 and to a rounding to double.
///
/// # Errors
/// [`ProtocolError::Caller`] for a scale at which slots may not fit.
pub fn wide(
    params: &Params,
    plaintext: &Plaintext,
    scale_bits: u32,
    count: usize,
) -> Result<Zeroizing<Vec<f64>>, ProtocolError> {
    let step = scale_bits.saturating_sub(36);
    let slots = params.decode_wide(plaintext, step).map_err(caller)?;
    let unit = (f64::from(step) - f64::from(scale_bits)).exp2();
    Ok(Zeroizing::new(slots.re().iter().take(count).map(|&value| value as f64 * unit).collect()))
}

#[cfg(test)]
mod tests {
    use super::super::plan::{FACTOR_BITS, PRODUCT_BITS};
    use super::*;
    use he_core::rlwe::{RlweLiteral, RlweParams};

    fn params() -> Params {
        let literal = RlweLiteral::from_bits(8192, &[50, 45, 45], &[50]).unwrap();
        Params::new(RlweParams::new(&literal).unwrap(), 1.0).unwrap()
    }

    #[test]
    fn masks_are_on_their_grid_and_fill_their_range() {
        let mut rng = Seed::from_bytes([1; 32]).stream();
        for (bits, grid) in [(3, 20), (20, 6), (0, 0), (26, 20), (-3, 10)] {
            let most = f64::from(bits).exp2();
            let drawn: Vec<f64> = (0..4000).map(|_| uniform(&mut rng, bits, grid)).collect();
            assert!(drawn.iter().all(|&r| (-most..most).contains(&r) && rounded(r, grid) == r));
            let mean = drawn.iter().sum::<f64>() / 4000.0;
            // The deviation of the mean is most / sqrt(3 * 4000), and half a step of a coarse grid is missing.
            assert!(mean.abs() < 6.0 * most / 110.0 + f64::from(-grid).exp2(), "{bits}, {grid}: {mean}");
            if bits + grid > 10 {
                let low = drawn.iter().filter(|&&r| r < -0.5 * most).count();
                assert!((850..1150).contains(&low), "{bits}, {grid}: {low}");
            }
        }
        assert_eq!([rounded(0.3, 1), rounded(-0.3, 2), rounded(5.0, -2)], [0.5, -0.25, 4.0]);
    }

    #[test]
    fn encodings_have_the_slots_that_they_say() {
        let params = params();
        let mut rng = Seed::from_bytes([2; 32]).stream();
        let values: Vec<f64> = (0..100).map(|_| even(&mut rng, 131_072.0)).collect();
        let exact = Exact::new(&params, &values, FACTOR_BITS).unwrap();
        let worst = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst(&exact.values, &values) < 1e-7);
        let plain = params.decode_real(&exact.plaintext);
        assert!(worst(&exact.values, &plain) < 1e-8);

        let most = 41_f64.exp2();
        let mask = Exact::mask(&params, &mut rng, most, PRODUCT_BITS, 4096).unwrap();
        assert_eq!(mask.values.len(), 4096);
        assert!(mask.values.iter().all(|t| t.abs() <= most * 1.000_001));
        assert!((1800..2300).contains(&mask.values.iter().filter(|&&t| t > 0.0).count()));
        let imaginary = params.decode(&mask.plaintext);
        assert!(imaginary.iter().filter(|t| t.im.abs() > 0.5 * most).count() > 1800);
        // Below the cells of the high part there is something everywhere: no grid.
        let cell = most / 26_f64.exp2();
        let quarter = |t: &f64| (t / cell).rem_euclid(1.0) * 4.0;
        let counts = (0..4).map(|q| mask.values.iter().filter(|t| quarter(t) as usize == q).count());
        assert!(counts.into_iter().all(|count| (880..1170).contains(&count)));
        assert!(Exact::new(&params, &[1e30], PRODUCT_BITS).is_err());
    }
}
