//! From the graph's functions to functions of a normal form, with the affine map around them apart.
//!
//! Whatever is factor·f(x) + shift, per channel, becomes f: factors go into the units of the result and shifts into the
//! server's private offset. So hard sigmoid is a clip, a polynomial is monic without a constant, and hard swish has no 1/6.

use super::{RealActivation, RealFunction, RealPart};
use crate::graph::{Function, Part};

/// Largest degree that the protocol has.
const MAX_DEGREE: usize = 7;

/// Most functions of one activation: each is a step of its own.
const MAX_FUNCTIONS: usize = 64;

/// What one channel gets.
#[derive(Clone, Debug, PartialEq)]
struct Channel {
    function: RealFunction,
    factor: f64,
    shift: f64,
}

/// The parts of an activation of `channels` channels, without pooling, and the slopes if it is a PReLU. The error is a
/// clause.
pub(super) fn normal_form(
    parts: &[Part],
    channels: usize,
    leaky_as_pair: bool,
) -> Result<(RealActivation, Option<Vec<f64>>), String> {
    if let [Part { function: Function::PRelu { slopes }, .. }] = parts
        && slopes.iter().any(|&slope| slope != slopes[0])
    {
        return Ok((pair(channels), Some(slopes.clone())));
    }
    let mut each: Vec<Option<Channel>> = vec![None; channels];
    for part in parts {
        for (row, &channel) in part.channels.iter().enumerate() {
            let normal = one(&part.function, row)?;
            // The graph's own checks name a channel that is missing or too high.
            if let Some(slot) = each.get_mut(channel) {
                *slot = Some(normal);
            }
        }
    }
    let each: Vec<Channel> = each.into_iter().collect::<Option<_>>().ok_or("a channel has no function")?;
    if let [Channel { function: RealFunction::Leaky { slope }, factor, shift }, rest @ ..] = &each[..]
        && leaky_as_pair
        && rest.iter().all(|c| *c == each[0])
        && (*factor, *shift) == (1.0, 0.0)
    {
        return Ok((pair(channels), Some(vec![*slope; channels])));
    }
    let mut out: Vec<RealPart> = Vec::new();
    for (channel, normal) in each.iter().enumerate() {
        let channel = channel as u32;
        match out.iter_mut().find(|part| part.function == normal.function) {
            Some(part) => match part.channels.last_mut() {
                Some((first, count)) if *first + *count == channel => *count += 1,
                _ => part.channels.push((channel, 1)),
            },
            None => out.push(RealPart { channels: vec![(channel, 1)], function: normal.function.clone() }),
        }
    }
    if out.len() > MAX_FUNCTIONS {
        return Err(format!(
            "its channels have {} different functions, at most {MAX_FUNCTIONS} are supported; give groups of channels the \
             same coefficients",
            out.len()
        ));
    }
    let activation = RealActivation {
        pool: None,
        parts: out,
        factor: shortest(each.iter().map(|c| c.factor).collect()),
        shift: shortest(each.iter().map(|c| c.shift).collect()),
    };
    Ok((activation, None))
}

/// An activation that changes nothing.
pub(super) fn identity(channels: usize) -> RealActivation {
    let parts = vec![RealPart { channels: vec![(0, channels as u32)], function: RealFunction::Identity }];
    RealActivation { pool: None, parts, factor: vec![1.0], shift: vec![0.0] }
}

fn pair(channels: usize) -> RealActivation {
    let mut activation = identity(channels);
    activation.parts[0].function = RealFunction::Pair;
    activation
}

/// One number where all are equal.
pub(super) fn shortest(values: Vec<f64>) -> Vec<f64> {
    match values.first() {
        Some(&first) if values.iter().all(|&v| v == first) => vec![first],
        _ => values,
    }
}

/// One row of a function.
fn one(function: &Function, row: usize) -> Result<Channel, String> {
    let plain = |function| Channel { function, factor: 1.0, shift: 0.0 };
    let at = |len: usize| if len == 1 { 0 } else { row };
    Ok(match function {
        Function::Identity => plain(RealFunction::Identity),
        Function::Relu => plain(RealFunction::Relu),
        &Function::Clip { low, high } => {
            if low.is_nan() || high.is_nan() || low >= high {
                return Err(format!("it clips to {low}..{high}, an empty range"));
            }
            plain(RealFunction::Clip { low, high })
        }
        &Function::Leaky { slope } => plain(leaky(slope)),
        Function::PRelu { slopes } => plain(leaky(slopes[at(slopes.len())])),
        &Function::HardSigmoid { alpha, beta } => {
            if !(alpha.is_finite() && beta.is_finite() && alpha != 0.0) {
                return Err(format!("its slope is {alpha} and its offset {beta}"));
            }
            let ends = [-beta / alpha, (1.0 - beta) / alpha];
            let (low, high) = (ends[0].min(ends[1]), ends[0].max(ends[1]));
            Channel { function: RealFunction::Clip { low, high }, factor: alpha, shift: beta }
        }
        Function::HardSwish => Channel { function: RealFunction::HardSwish, factor: 1.0 / 6.0, shift: 0.0 },
        &Function::Smooth(name) => plain(RealFunction::Smooth(name)),
        Function::Polynomial { coefficients } => polynomial(&coefficients[at(coefficients.len())])?,
    })
}

fn leaky(slope: f64) -> RealFunction {
    match slope {
        0.0 => RealFunction::Relu,
        1.0 => RealFunction::Identity,
        slope => RealFunction::Leaky { slope },
    }
}

fn polynomial(coefficients: &[f64]) -> Result<Channel, String> {
    if coefficients.iter().any(|c| !c.is_finite()) {
        return Err("a coefficient is not finite".into());
    }
    let degree = coefficients.iter().rposition(|&c| c != 0.0).unwrap_or(0);
    let shift = coefficients.first().copied().unwrap_or(0.0);
    match degree {
        0 => Err("a channel's polynomial is a constant; leave the channel out of the network".into()),
        1 => Ok(Channel { function: RealFunction::Identity, factor: coefficients[1], shift }),
        2..=MAX_DEGREE => {
            let leading = coefficients[degree];
            let mut rest: Vec<f64> = coefficients[..degree].iter().map(|c| c / leading).collect();
            rest[0] = 0.0;
            Ok(Channel { function: RealFunction::Monic(rest), factor: leading, shift })
        }
        _ => Err(format!("its polynomial has degree {degree}, at most {MAX_DEGREE} are supported")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SmoothName;

    fn value(channel: &Channel, x: f64) -> f64 {
        let f = match &channel.function {
            RealFunction::Identity => x,
            RealFunction::Relu => x.max(0.0),
            RealFunction::Clip { low, high } => x.max(*low).min(*high),
            RealFunction::Leaky { slope } => {
                if x < 0.0 {
                    slope * x
                } else {
                    x
                }
            }
            RealFunction::Monic(rest) => rest.iter().rev().fold(1.0, |sum, c| sum * x + c),
            RealFunction::HardSwish => x * (x + 3.0).clamp(0.0, 6.0),
            RealFunction::Smooth(name) => name.function().value(x),
            RealFunction::Pair => f64::NAN,
        };
        channel.factor * f + channel.shift
    }

    #[test]
    fn the_affine_map_around_a_function_is_exact() {
        type Case = (Function, fn(f64) -> f64);
        let cases: [Case; 7] = [
            (Function::HardSigmoid { alpha: 0.2, beta: 0.5 }, |x| (0.2 * x + 0.5).clamp(0.0, 1.0)),
            (Function::HardSigmoid { alpha: -0.5, beta: 0.25 }, |x| (-0.5 * x + 0.25).clamp(0.0, 1.0)),
            (Function::HardSwish, |x| x * (x + 3.0).clamp(0.0, 6.0) / 6.0),
            (Function::Polynomial { coefficients: vec![vec![0.3, -1.0, 0.25, 0.0]] }, |x| {
                0.3 - x + 0.25 * x * x
            }),
            (Function::Polynomial { coefficients: vec![vec![2.0, -0.5]] }, |x| 2.0 - 0.5 * x),
            (Function::Polynomial { coefficients: vec![vec![1.0, 2.0, 3.0, -0.1]] }, |x| {
                1.0 + 2.0 * x + 3.0 * x * x - 0.1 * x * x * x
            }),
            (Function::Smooth(SmoothName::Tanh), f64::tanh),
        ];
        for (function, wanted) in cases {
            let normal = one(&function, 0).expect("supported");
            for i in -40..=40 {
                let x = f64::from(i) / 7.0;
                assert!((value(&normal, x) - wanted(x)).abs() < 1e-5, "{function:?} {x}");
            }
        }
    }

    #[test]
    fn channels_with_one_function_are_one_part() {
        let rows = vec![vec![0.0, 0.0, 2.0], vec![1.0, 3.0], vec![0.5, 0.0, -1.0], vec![0.0, 1.0, 1.0]];
        let part = Part { channels: vec![0, 1, 2, 3], function: Function::Polynomial { coefficients: rows } };
        let (activation, slopes) = normal_form(&[part], 4, false).expect("supported");
        assert!(slopes.is_none());
        let runs: Vec<_> = activation.parts.iter().map(|p| p.channels.clone()).collect();
        assert_eq!(runs, [vec![(0, 1), (2, 1)], vec![(1, 1)], vec![(3, 1)]]);
        assert_eq!(activation.factor, [2.0, 3.0, -1.0, 1.0]);
        assert_eq!(activation.shift, [0.0, 1.0, 0.5, 0.0]);
        let constant =
            Part { channels: vec![0], function: Function::Polynomial { coefficients: vec![vec![1.0, 0.0]] } };
        assert!(normal_form(&[constant], 1, false).is_err());
        let slopes = Part { channels: vec![0, 1], function: Function::PRelu { slopes: vec![0.1, 0.2] } };
        let (activation, slopes) = normal_form(&[slopes], 2, false).expect("supported");
        assert_eq!((activation.parts[0].function.outputs(), slopes), (2, Some(vec![0.1, 0.2])));
    }
}
