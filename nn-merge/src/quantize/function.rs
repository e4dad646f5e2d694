//! Real functions as integer functions of y, and what a unit of their results is worth.
//!
//! With u the real worth of one unit of y:
//!
//! | function | integers | worth of one unit of the result |
//! |---|---|---|
//! | identity, ReLU, PReLU | as they are | u |
//! | clip | ends ÷ u; an end that no value reaches is left out | u |
//! | leaky ReLU | slopes × 2^s, s up to 14 | u/2^s |
//! | monic polynomial of degree d | C_e = c_e·u^(e−d) | u^d |
//! | hard swish | 3 ÷ u | u² |
//! | smooth | a table; result × scale | 1/scale |
//!
//! How far a real function of real numbers is from the integer one: half a unit per rounded end, c_e·2^-1·y^e per
//! rounded coefficient, |x|·2^-(s+1) for a rounded slope.

use ss_core::lookup::{Input, LookupSpec, Output};

use crate::lower::RealFunction;
use crate::model::{FunctionSpec, SmoothName};

/// Least and largest s.
const SLOPE_BITS: std::ops::RangeInclusive<u32> = 4..=14;
/// Largest relative error of a slope, where there is room for that.
const SLOPE_ERROR: f64 = 1.0 / 512.0;

/// A function in integers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Realised {
    pub(crate) spec: FunctionSpec,
    pub(crate) worth: f64,
    /// About the largest result, in its units.
    pub(crate) reach: f64,
    /// Least width of the result's ring.
    pub(crate) min_width: u32,
}

/// B that a function needs where its argument is at most `base`.
pub(super) fn room(function: &RealFunction, base: f64) -> f64 {
    match simplified(function, base) {
        RealFunction::Relu => base,
        RealFunction::Clip { low, high } => base + low.abs().max(high.abs()),
        // A table is right below 1 − 2^(1−g) of its range, g at least 3 in practice.
        RealFunction::Smooth(_) => 1.4 * base,
        RealFunction::HardSwish => (2.0 * base).max(6.2),
        RealFunction::Identity | RealFunction::Leaky { .. } | RealFunction::Pair | RealFunction::Monic(_) => {
            2.0 * base
        }
    }
}

/// The same function where |x| is at most `base`: ends of clips that nothing reaches are left out.
pub(super) fn simplified(function: &RealFunction, base: f64) -> RealFunction {
    match *function {
        RealFunction::Clip { low, high } => match (low > -base, high < base) {
            (false, false) => RealFunction::Identity,
            (true, false) if low == 0.0 => RealFunction::Relu,
            // Beyond the values, so that it never acts: the two-sided clip is the only one there is.
            (true, false) => RealFunction::Clip { low, high: base.max(low + base / 64.0) },
            (false, true) => RealFunction::Clip { low: (-base).min(high - base / 64.0), high },
            (true, true) => RealFunction::Clip { low, high },
        },
        _ => function.clone(),
    }
}

/// A function of y in Z_2^k, `unit` being the worth of y's unit and `base` the largest |argument|; `room_bits` is what w may
/// have beyond k for slopes. The error is a clause.
pub(super) fn realise(
    function: &RealFunction,
    base: f64,
    unit: f64,
    k: u32,
    room_bits: u32,
    max_width: u32,
) -> Result<Realised, String> {
    let largest = base / unit;
    let plain = |spec| Ok(Realised { spec, worth: unit, reach: largest, min_width: k + 1 });
    match simplified(function, base) {
        RealFunction::Identity => plain(FunctionSpec::Identity),
        RealFunction::Relu => plain(FunctionSpec::Relu),
        RealFunction::Pair => plain(FunctionSpec::PRelu),
        RealFunction::Clip { low, high } => {
            let (low, high) = ((low / unit).round() as i64, (high / unit).round() as i64);
            plain(FunctionSpec::Clip { low, high: high.max(low + 1) })
        }
        RealFunction::Leaky { slope } => {
            if !(slope.is_finite() && slope.abs() <= 64.0) {
                return Err(format!("a slope of {slope} below zero, at most 64 is supported"));
            }
            let bits = room_bits.clamp(*SLOPE_BITS.start(), *SLOPE_BITS.end());
            // As few as are good enough.
            let good = |s: &u32| {
                let scaled = slope * 2f64.powi(*s as i32);
                (scaled - scaled.round()).abs() <= SLOPE_ERROR * scaled.abs()
            };
            let s = (0..bits).find(good).unwrap_or(bits);
            let scale = 2f64.powi(s as i32);
            let (negative, positive) = ((slope * scale).round() as i64, 1i64 << s);
            if negative == positive {
                return plain(FunctionSpec::Identity);
            }
            let growth = slope.abs().max(1.0).log2().ceil() as u32;
            let spec = FunctionSpec::Leaky { negative, positive };
            Ok(Realised { spec, worth: unit / scale, reach: largest * scale, min_width: k + s + growth + 1 })
        }
        RealFunction::Monic(rest) => {
            let degree = rest.len() as i32;
            let mut coefficients = Vec::with_capacity(rest.len() + 1);
            for (e, c) in rest.iter().enumerate() {
                let value = (c * unit.powi(e as i32 - degree)).round();
                // Coefficients count modulo the ring; beyond 2^53 they would no longer be exact.
                if value.is_nan() || value.abs() >= 2f64.powi(53) {
                    return Err(format!("its coefficient of degree {e} does not fit; rescale its argument"));
                }
                coefficients.push(value as i64);
            }
            coefficients.push(1);
            let spec = FunctionSpec::Polynomial { coefficients };
            Ok(Realised { spec, worth: unit.powi(degree), reach: largest.powi(degree), min_width: k + 1 })
        }
        RealFunction::HardSwish => {
            let three = (3.0 / unit).round() as i64;
            let (spec, reach) = (FunctionSpec::HardSwish { three }, largest * base.min(6.0) / unit);
            Ok(Realised { spec, worth: unit * unit, reach, min_width: k + 1 })
        }
        RealFunction::Smooth(name) => smooth(name, base, unit, k, max_width),
    }
}

/// Brings ReLUs and identities to the units of the finest function beside them, as far as the rings allow: a weight on a ReLU
/// and one on a square, 2^k apart in worth, would not both have bits to speak of. Both then lift with a guard bit, for
/// which the finer function has made room.
pub(super) fn balance(parts: &mut [Realised], k: u32, max_width: u32) {
    let least = parts.iter().map(|part| part.worth).fold(f64::INFINITY, f64::min);
    if !parts.iter().any(|part| part.worth == least && part.spec.needs_guard_bit()) {
        return;
    }
    for part in parts {
        let bits = (part.worth / least).log2().floor().max(0.0) as u32;
        let bits = bits.min(29).min(max_width.saturating_sub(k + 2));
        let factor = 1i64 << bits;
        part.spec = match part.spec {
            FunctionSpec::Relu if bits > 0 => FunctionSpec::Leaky { negative: 0, positive: factor },
            FunctionSpec::Identity if bits > 0 => FunctionSpec::Polynomial { coefficients: vec![0, factor] },
            _ => continue,
        };
        part.worth /= factor as f64;
        part.min_width = part.min_width.max(k + bits + 1);
    }
}

/// The finest table within reach, and the narrowest ring it fits.
fn smooth(name: SmoothName, base: f64, unit: f64, k: u32, max_width: u32) -> Result<Realised, String> {
    let function = name.function();
    let end = unit * 2f64.powi(k as i32 - 1);
    let peak = function.value(end).abs().max(function.value(-end).abs()).max(0.3);
    if !peak.is_finite() || end > 600.0 {
        return Err(format!(
            "its arguments reach {base:.1}, beyond what a table of {} holds",
            function.name()
        ));
    }
    let scale = 2f64.powi((f64::from(k) - 1.0 - peak.log2()).floor() as i32);
    let table = |width: u32, tolerance: f64| {
        let (input, output) = (Input { bits: k, step: unit }, Output { bits: width, scale });
        let spec = LookupSpec::within(function, input, output, tolerance).ok()?;
        (spec.limit() as f64 * unit >= base).then_some(spec)
    };
    // A few units of the result are as good as exact; from there on coarser until a table exists.
    let finest = (4.0 / scale).max(peak * 2f64.powi(-12));
    for tolerance in (0..8).map(|i| finest * 2f64.powi(i)) {
        // Widths beyond the first that works only give finer units.
        let fits = |width: u32| (width..=max_width.min(width + 4)).all(|w| table(w, tolerance).is_some());
        if let Some(min_width) = (k + 1..=max_width).find(|&width| fits(width)) {
            let spec = FunctionSpec::Smooth { function: name, step: unit, scale, tolerance };
            return Ok(Realised { spec, worth: 1.0 / scale, reach: peak * scale, min_width });
        }
    }
    Err(format!("no table of {} for arguments up to {base:.2} fits this profile's rings", function.name()))
}
