//! What the passes need to know of activation functions, and activation nodes taken apart by channel.
//!
//! | property | functions |
//! |---|---|
//! | monotone (never falling) | identity, ReLU, clip, leaky ReLU and PReLU with slopes ≥ 0, hard sigmoid with α ≥ 0, sigmoid, tanh, softplus, ELU, exp |
//! | positively homogeneous, f(s·x) = s·f(x) for s > 0 | identity, ReLU, leaky ReLU, PReLU |
//! | never negative | ReLU, clip from 0 on, hard sigmoid, sigmoid, softplus, exp, x² |
//!
//! An activation node is read as one [`Function`] per channel ([`functions`]) and put together again from such a list
//! ([`regroup`]): equal functions share a part, PReLU's slopes and polynomials of one degree share one each.

use crate::graph::{Function, Op, Part};
use crate::model::SmoothName;

/// Whether f never falls.
pub(super) fn is_monotone(function: &Function) -> bool {
    match function {
        Function::Identity | Function::Relu | Function::Clip { .. } => true,
        Function::Leaky { slope } => *slope >= 0.0,
        Function::PRelu { slopes } => slopes.iter().all(|&s| s >= 0.0),
        Function::HardSigmoid { alpha, .. } => *alpha >= 0.0,
        Function::Smooth(name) => matches!(
            name,
            SmoothName::Sigmoid | SmoothName::Tanh | SmoothName::Softplus | SmoothName::Elu | SmoothName::Exp
        ),
        _ => false,
    }
}

/// Whether f(s·x) = s·f(x) for all s > 0.
pub(super) fn is_homogeneous(function: &Function) -> bool {
    matches!(function, Function::Identity | Function::Relu | Function::Leaky { .. } | Function::PRelu { .. })
}

/// Whether f is never negative.
fn is_nonnegative(function: &Function) -> bool {
    match function {
        Function::Relu | Function::HardSigmoid { .. } => true,
        Function::Clip { low, .. } => *low >= 0.0,
        Function::Smooth(name) => {
            matches!(name, SmoothName::Sigmoid | SmoothName::Softplus | SmoothName::Exp)
        }
        Function::Polynomial { coefficients } => coefficients.iter().all(|row| *row == [0.0, 0.0, 1.0]),
        _ => false,
    }
}

/// Whether f(0) = 0, so that padding and f commute.
pub(super) fn keeps_zero(function: &Function) -> bool {
    match function {
        Function::Identity
        | Function::Relu
        | Function::Leaky { .. }
        | Function::PRelu { .. }
        | Function::HardSwish => true,
        Function::Clip { low, high } => *low <= 0.0 && *high >= 0.0,
        Function::Smooth(name) => matches!(
            name,
            SmoothName::Tanh | SmoothName::Gelu | SmoothName::GeluTanh | SmoothName::Silu | SmoothName::Elu
        ),
        Function::Polynomial { coefficients } => {
            coefficients.iter().all(|row| row.first().is_none_or(|&c| c == 0.0))
        }
        _ => false,
    }
}

/// The functions of an activation node: one if all channels share it, else one per channel, each without numbers for
/// other channels. `None` for other nodes.
pub(super) fn functions(op: &Op, channels: usize) -> Option<Vec<Function>> {
    match op {
        Op::Activation(function) => Some((0..function.rows()).map(|row| row_of(function, row)).collect()),
        Op::Mixed(parts) => {
            let mut all = vec![Function::Identity; channels];
            for part in parts {
                for (row, &channel) in part.channels.iter().enumerate() {
                    *all.get_mut(channel)? = row_of(&part.function, row);
                }
            }
            Some(all)
        }
        _ => None,
    }
}

/// What a function does on its channel number `row`.
fn row_of(function: &Function, row: usize) -> Function {
    match function {
        Function::PRelu { slopes } => match slopes.get(row).or(slopes.first()) {
            Some(&slope) => Function::Leaky { slope },
            None => Function::Identity,
        },
        Function::Polynomial { coefficients } => {
            let row = coefficients.get(row).or(coefficients.first());
            Function::Polynomial { coefficients: row.cloned().into_iter().collect() }
        }
        other => other.clone(),
    }
}

/// The simplest form of a function that acts on one channel.
pub(super) fn simplest(function: &Function) -> Function {
    match function {
        Function::Leaky { slope } if *slope == 0.0 => Function::Relu,
        Function::Leaky { slope } if *slope == 1.0 => Function::Identity,
        Function::Clip { low, high } if *low == f64::NEG_INFINITY && *high == f64::INFINITY => {
            Function::Identity
        }
        Function::Clip { low, high } if *low == 0.0 && *high == f64::INFINITY => Function::Relu,
        Function::Clip { low, high } if low >= high => {
            Function::Polynomial { coefficients: vec![vec![*high]] }
        }
        Function::Polynomial { coefficients } => {
            let mut row = coefficients.first().cloned().unwrap_or_default();
            while row.last() == Some(&0.0) {
                row.pop();
            }
            if row == [0.0, 1.0] {
                return Function::Identity;
            }
            Function::Polynomial { coefficients: vec![row] }
        }
        other => other.clone(),
    }
}

/// The node that computes one function (for every channel) or one per channel.
pub(super) fn regroup(functions: &[Function]) -> Op {
    let mut parts: Vec<Part> = Vec::new();
    for (channel, function) in functions.iter().enumerate() {
        match parts.iter_mut().find(|part| joins(&part.function, function)) {
            Some(part) => {
                part.channels.push(channel);
                match (&mut part.function, function) {
                    (Function::PRelu { slopes }, Function::Leaky { slope }) => slopes.push(*slope),
                    (Function::Polynomial { coefficients: rows }, Function::Polynomial { coefficients }) => {
                        rows.extend(coefficients.iter().cloned());
                    }
                    _ => {}
                }
            }
            None => {
                let function = match function {
                    Function::Leaky { slope } => Function::PRelu { slopes: vec![*slope] },
                    other => other.clone(),
                };
                parts.push(Part { channels: vec![channel], function });
            }
        }
    }
    for part in &mut parts {
        shrink(&mut part.function);
    }
    match parts.len() {
        1 => Op::Activation(parts.remove(0).function),
        _ => Op::Mixed(parts),
    }
}

/// Whether a part takes one more channel with this function.
fn joins(part: &Function, function: &Function) -> bool {
    match (part, function) {
        (Function::PRelu { .. }, Function::Leaky { .. }) => true,
        (Function::Polynomial { coefficients: a }, Function::Polynomial { coefficients: b }) => {
            a.first().map(Vec::len) == b.first().map(Vec::len)
        }
        _ => part == function,
    }
}

/// One set of numbers where all channels have the same.
fn shrink(function: &mut Function) {
    match function {
        Function::PRelu { slopes } if slopes.windows(2).all(|pair| pair[0] == pair[1]) => {
            *function = Function::Leaky { slope: slopes[0] };
        }
        Function::Polynomial { coefficients } if coefficients.windows(2).all(|pair| pair[0] == pair[1]) => {
            coefficients.truncate(1);
        }
        _ => {}
    }
}

/// second ∘ first where one function does both; each acts on one channel.
pub(super) fn combined(first: &Function, second: &Function) -> Option<Function> {
    let ends = |function: &Function| match function {
        Function::Relu => Some((0.0, f64::INFINITY)),
        Function::Clip { low, high } if low <= high => Some((*low, *high)),
        _ => None,
    };
    let within = |low: f64, high: f64| low <= 0.0 && high >= 1.0;
    match (first, second) {
        (Function::Identity, other) | (other, Function::Identity) => return Some(other.clone()),
        // Nothing negative is left for the second to act on.
        (_, Function::Relu | Function::Leaky { .. }) if is_nonnegative(first) => return Some(first.clone()),
        (Function::Leaky { slope }, Function::Relu) if *slope >= 0.0 => return Some(Function::Relu),
        (Function::Leaky { slope: a }, Function::Leaky { slope: b }) if *a >= 0.0 => {
            return Some(Function::Leaky { slope: a * b });
        }
        (
            Function::HardSigmoid { .. } | Function::Smooth(SmoothName::Sigmoid),
            Function::Clip { low, high },
        ) if within(*low, *high) => {
            return Some(first.clone());
        }
        _ => {}
    }
    let ((a, b), (c, d)) = (ends(first)?, ends(second)?);
    let clamp = |v: f64| v.max(c).min(d);
    Some(simplest(&Function::Clip { low: clamp(a), high: clamp(b) }))
}
