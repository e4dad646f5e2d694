//! One bound B per group of raw tensors that sums and local maps connect.
//!
//! Each activation that reads the group, and the output, asks for room: the smaller of margin × measured and the static
//! bound (a 64th, a 16th more for noise, rounding and the sign test's band), and then what its function needs beyond its argument.

use super::{Settings, function};
use crate::error::NnError;
use crate::lower::{Program, ProgramOp};

/// Room beyond a static bound, for rounded weights and all noise.
const STATIC_SLACK: f64 = 1.0 / 16.0;

/// The bounds of a program.
pub(crate) struct Bounds {
    /// Group per program node; raw nodes only.
    group: Vec<usize>,
    /// 2B per group: what one turn of the torus is worth (times the tensor's gain).
    turn: Vec<f64>,
    /// Per program node that is an activation (or the output's node): the largest |argument| it is sized for.
    base: Vec<f64>,
    /// The same of the output.
    pub(crate) output_base: f64,
}

impl Bounds {
    /// 2B of a raw node in terms of its graph value.
    pub(crate) fn turn(&self, program: &Program, node: usize) -> f64 {
        self.turn[self.group[node]] / program.nodes[node].gain
    }

    /// The largest |argument| of an activation.
    pub(crate) fn base(&self, activation: usize) -> f64 {
        self.base[activation]
    }
}

pub(super) fn bounds(
    program: &Program,
    measured: &[f64],
    fixed: &[f64],
    settings: &Settings,
) -> Result<Bounds, NnError> {
    let nodes = &program.nodes;
    let mut parent: Vec<usize> = (0..nodes.len()).collect();
    for (at, node) in nodes.iter().enumerate().filter(|(_, node)| !node.masked) {
        for &input in node.inputs.iter().filter(|&&input| !nodes[input].masked) {
            let (a, b) = (root(&mut parent, at), root(&mut parent, input));
            parent[a.max(b)] = a.min(b);
        }
    }
    let group: Vec<usize> = (0..nodes.len()).map(|at| root(&mut parent, at)).collect();
    // Room for the noise, and for 2^h below the end of a ring of k bits.
    let slack = |k: u32, h: u32| (1.0f64 / 64.0).max(2f64.powi(h as i32 + 2 - k as i32));
    let base = |raw: usize, name: &str, slack: f64| {
        let (seen, limit) = (measured[raw], fixed[raw]);
        if !seen.is_finite() {
            return Err(NnError::quantize(name, "the calibration inputs drive it out of range"));
        }
        let wanted = seen * settings.layer(name).margin.unwrap_or(settings.margin);
        if settings.strict && limit > wanted {
            return Err(NnError::quantize(
                name,
                format!(
                    "an accepted input could reach {limit:.4}, beyond {wanted:.4} (measured times margin): overflow is not \
                     impossible; raise its margin or do without the strict option"
                ),
            ));
        }
        let least = (wanted * (1.0 + slack)).min(limit * (1.0 + STATIC_SLACK.max(slack)));
        Ok(if least > 0.0 { least } else { 1.0 })
    };
    let mut room = vec![0f64; nodes.len()];
    let mut all = vec![0f64; nodes.len()];
    for (at, node) in nodes.iter().enumerate() {
        let ProgramOp::Activation(activation) = &node.op else { continue };
        let own = settings.layer(&node.name);
        let k = own.ring_bits.unwrap_or(settings.ring);
        let base = base(node.inputs[0], &node.name, slack(k, own.ignored_bits.unwrap_or(settings.ignored)))?;
        let needed = activation.parts.iter().map(|part| function::room(&part.function, base));
        // A tournament takes differences.
        let least = if activation.pool.is_some() { 2.0 * base } else { base };
        let raw = node.inputs[0];
        let slot = &mut room[group[raw]];
        *slot = slot.max(nodes[raw].gain * needed.fold(least, f64::max));
        all[at] = base;
    }
    let output = &nodes[program.output];
    let output_base = base(program.output, &output.name, 1.0 / 64.0)?;
    let compared = output.shape.iter().product::<usize>() > 1;
    let slot = &mut room[group[program.output]];
    *slot = slot.max(output.gain * output_base * if compared { 2.0 } else { 1.0 });
    Ok(Bounds { group, turn: room.into_iter().map(|b| 2.0 * b).collect(), base: all, output_base })
}

pub(super) fn root(parent: &mut [usize], mut at: usize) -> usize {
    while parent[at] != at {
        parent[at] = parent[parent[at]];
        at = parent[at];
    }
    at
}
