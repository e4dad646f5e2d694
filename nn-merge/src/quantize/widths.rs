//! k of every activation and w of every masked tensor.
//!
//! A *demand* is a reader's wish: a linear map whose largest real weight on a class is W reads it as W·worth·2^w/2B and wants
//! so many bits of that; a sum wants ten bits of its public factor. Since the worth of a square falls with 4^-k, of a ReLU
//! with 2^-k, a ring that is too fine leaves no room for weights. So k is the one, from the default down, for which the
//! smaller of (weight bits within the greatest width) and (k − 3, the bits of a typical value) is largest; the input's bits
//! likewise. Then w is the least that satisfies the readers.

use super::bounds::{Bounds, root};
use super::classes::{Class, Layout};
use super::function::{self, Realised, realise};
use super::{LayerOptions, Settings};
use crate::error::NnError;
use crate::lower::{Program, ProgramOp};
use crate::model::LocalOp;

/// Bits of the factor of a sum.
const FACTOR_BITS: u32 = 10;
/// Bits that weights on a class that adds less than the reader's largest may lack.
const LESSER: u32 = 4;
/// Fewest bits of y that lowering k leaves, and of the input.
const LEAST_RING: u32 = 8;

/// What was chosen for a producer of a masked tensor.
#[derive(Clone, Debug)]
pub(crate) struct Producer {
    /// k; of the input the bits of the largest value.
    pub(crate) ring: u32,
    /// h.
    pub(crate) ignored: u32,
    /// w.
    pub(crate) width: u32,
    /// Its functions.
    pub(crate) parts: Vec<Realised>,
}

/// The choices for all producers.
pub(crate) struct Plan {
    /// Per program node that is the input or an activation.
    pub(crate) producers: Vec<Option<Producer>>,
}

impl Plan {
    pub(super) fn producer(&self, at: usize) -> &Producer {
        self.producers[at].as_ref().expect("classes name inputs and activations")
    }

    /// The real worth of one unit of a class.
    pub(super) fn worth(&self, class: &Class) -> f64 {
        self.producer(class.producer).parts[class.part].worth * class.factor
    }
}

/// One reader's wish on one class.
struct Demand {
    class: Class,
    /// |weight| (or 1) per turn: times worth and 2^w it is the integer.
    need: f64,
    bits: u32,
    /// The integer stays below two to that.
    cap: u32,
    reader: usize,
}

pub(super) fn plan(
    program: &Program,
    bounds: &Bounds,
    layouts: &[Option<Layout>],
    limit: f64,
    settings: &Settings,
) -> Result<Plan, NnError> {
    let demands = demands(program, bounds, layouts, settings)?;
    let mut producers: Vec<Option<Producer>> = Vec::with_capacity(program.nodes.len());
    for (at, node) in program.nodes.iter().enumerate() {
        let own: Vec<&Demand> = demands.iter().filter(|demand| demand.class.producer == at).collect();
        let options = settings.layer(&node.name);
        producers.push(match &node.op {
            ProgramOp::Input => Some(
                best(settings.input, false, &own, settings, |bits| {
                    let units = (2f64.powi(bits as i32 - 1) - 2.0) / limit;
                    let input = Realised {
                        spec: crate::model::FunctionSpec::Identity,
                        worth: 1.0 / units,
                        reach: units * limit,
                        min_width: bits + 1,
                    };
                    Ok((vec![input], 0))
                })
                .map_err(|what| NnError::quantize(&node.name, what))?,
            ),
            ProgramOp::Activation(activation) => {
                let turn = bounds.turn(program, node.inputs[0]);
                let base = bounds.base(at);
                let first = options.ring_bits.unwrap_or(settings.ring).min(settings.max_width - 1);
                let fixed = options.ring_bits.is_some() || settings.ring_fixed;
                let made = best(first, fixed, &own, settings, |k| {
                    let unit = turn / 2f64.powi(k as i32);
                    let room = settings.max_width.saturating_sub(k + settings.weight + 4);
                    let parts = activation.parts.iter().map(|part| {
                        realise(&part.function, base, unit, k, room, settings.max_width)
                            .map_err(|what| format!("its {}: {what}", part.function.name()))
                    });
                    let mut parts = parts.collect::<Result<Vec<_>, String>>()?;
                    function::balance(&mut parts, k, settings.max_width);
                    Ok((parts, ignored(k, &options, settings)))
                });
                Some(made.map_err(|what| NnError::quantize(&node.name, what))?)
            }
            _ => None,
        });
    }
    let mut plan = Plan { producers };
    choose_widths(program, layouts, &demands, &mut plan, settings)?;
    Ok(plan)
}

/// h for a ring of k bits: as far below k as the default is below the default k.
fn ignored(k: u32, options: &LayerOptions, settings: &Settings) -> u32 {
    let default = (settings.ignored + k).saturating_sub(settings.ring);
    options.ignored_bits.unwrap_or(default).clamp(k.saturating_sub(17), k.saturating_sub(3))
}

/// The best k from `first` down.
fn best(
    first: u32,
    fixed: bool,
    demands: &[&Demand],
    settings: &Settings,
    make: impl Fn(u32) -> Result<(Vec<Realised>, u32), String>,
) -> Result<Producer, String> {
    let last = if fixed { first } else { LEAST_RING.min(first) };
    let mut best: Option<(f64, Producer)> = None;
    let mut refused = String::new();
    for ring in (last..=first).rev() {
        let (parts, ignored) = match make(ring) {
            Ok(made) => made,
            Err(what) => {
                refused = what;
                continue;
            }
        };
        let lacking = parts.iter().any(|part| part.min_width > settings.max_width);
        if lacking {
            refused = format!("its results need more than {} bits", settings.max_width);
            continue;
        }
        let values: Vec<f64> = demands
            .iter()
            .map(|demand| (parts[demand.class.part].worth * demand.class.factor.abs() * demand.need).log2())
            .collect();
        let score = demands
            .iter()
            .zip(&values)
            .map(|(demand, &value)| {
                // Beside a class of more worth, in the same reader, w ends where that one's integers do.
                let beside = demands.iter().zip(&values).filter(|(other, _)| other.reader == demand.reader);
                let top = beside.fold(value, |top, (_, &other)| top.max(other));
                let most = f64::from(settings.max_width).min(f64::from(demand.cap) - 0.01 - top);
                let bits = value + most;
                // Below the wanted bits every bit counts; a sum's factor and a lesser class count as much.
                bits.floor().min(f64::from(demand.bits)) - f64::from(demand.bits) + f64::from(settings.weight)
            })
            .fold(f64::from(ring) - 3.0, f64::min);
        if best.as_ref().is_none_or(|(so_far, _)| score > *so_far) {
            best = Some((score, Producer { ring, ignored, width: 0, parts }));
        }
        // A smaller ring can't be better than that.
        if score >= (f64::from(ring) - 3.0).min(f64::from(settings.weight)) {
            break;
        }
    }
    best.map(|(_, producer)| producer).ok_or(refused)
}

fn demands(
    program: &Program,
    bounds: &Bounds,
    layouts: &[Option<Layout>],
    settings: &Settings,
) -> Result<Vec<Demand>, NnError> {
    let mut demands = Vec::new();
    for (at, node) in program.nodes.iter().enumerate() {
        let options = settings.layer(&node.name);
        match &node.op {
            ProgramOp::Linear(linear) => {
                let Some(layout) = &layouts[node.inputs[0]] else { continue };
                let s = linear.geometry.shape();
                let classes = layout
                    .channels(s.in_channels, s.in_height * s.in_width)
                    .map_err(|what| NnError::private(&node.name, what))?;
                let mut largest = vec![0f64; layout.classes.len()];
                let taps = s.kernel[0] * s.kernel[1];
                let (group_in, group_out) = (linear.geometry.group_inputs(), linear.geometry.group_outputs());
                for (o, row) in linear.weights.chunks(linear.geometry.terms()).enumerate() {
                    for (i, cell) in row.chunks(taps).enumerate() {
                        let slot = &mut largest[classes[o / group_out * group_in + i] as usize];
                        *slot = cell.iter().fold(*slot, |m, w| m.max(w.abs()));
                    }
                }
                let turn = bounds.turn(program, at);
                for (&class, &weight) in layout.classes.iter().zip(&largest).filter(|(_, w)| **w > 0.0) {
                    let bits = options.weight_bits.unwrap_or(settings.weight);
                    demands.push(Demand { class, need: weight / turn, bits, cap: 20, reader: at });
                }
            }
            ProgramOp::Sum => {
                for &input in &node.inputs {
                    let Some(layout) = &layouts[input] else { continue };
                    let [class] = layout.classes[..] else {
                        return Err(NnError::private(&node.name, "it adds elements of different units"));
                    };
                    let need = 1.0 / bounds.turn(program, at);
                    demands.push(Demand { class, need, bits: FACTOR_BITS, cap: 30, reader: at });
                }
            }
            _ => {}
        }
    }
    Ok(demands)
}

/// The least w for every set of producers that joins connect.
fn choose_widths(
    program: &Program,
    layouts: &[Option<Layout>],
    demands: &[Demand],
    plan: &mut Plan,
    settings: &Settings,
) -> Result<(), NnError> {
    let mut parent: Vec<usize> = (0..program.nodes.len()).collect();
    for (node, layout) in program.nodes.iter().zip(layouts) {
        // A join needs one width even where padding or a slice has left nothing of an operand.
        let joins = matches!(node.op, ProgramOp::Local(LocalOp::Concat)) && layout.is_some();
        let operands = if joins { node.inputs.as_slice() } else { &[] };
        let producers: Vec<usize> = operands.iter().flat_map(|&input| producers_of(program, input)).collect();
        for pair in producers.windows(2) {
            let (a, b) = (root(&mut parent, pair[0]), root(&mut parent, pair[1]));
            parent[a.max(b)] = a.min(b);
        }
    }
    // What the class adds to its reader at the most: a square's units are small, its values are not.
    let share = |demand: &Demand| {
        let part = &plan.producer(demand.class.producer).parts[demand.class.part];
        part.worth * part.reach * demand.class.factor.abs() * demand.need
    };
    let shares: Vec<f64> = demands.iter().map(share).collect();
    let mut peak = vec![0f64; program.nodes.len()];
    for (demand, &share) in demands.iter().zip(&shares) {
        peak[demand.reader] = peak[demand.reader].max(share);
    }
    for set in 0..program.nodes.len() {
        let members: Vec<usize> = (0..program.nodes.len())
            .filter(|&at| plan.producers[at].is_some() && root(&mut parent, at) == set)
            .collect();
        if members.is_empty() {
            continue;
        }
        let lower = members
            .iter()
            .flat_map(|&at| &plan.producer(at).parts)
            .map(|part| part.min_width)
            .fold(8, u32::max);
        let mut wanted = f64::from(lower);
        let mut cap = (f64::from(settings.max_width), None);
        let own = demands.iter().zip(&shares).filter(|(demand, _)| members.contains(&demand.class.producer));
        for (demand, &share) in own {
            let value = plan.worth(&demand.class).abs() * demand.need;
            let lesser = share < peak[demand.reader];
            let bits = demand.bits.saturating_sub(if lesser { LESSER } else { 0 });
            let width = f64::from(bits) - value.log2();
            wanted = wanted.max(if demand.cap == 20 { width.floor() } else { width.ceil() });
            // The largest integer stays clearly below its cap: rounding may not reach it.
            let most = (f64::from(demand.cap) - 0.01 - value.log2()).floor();
            if most < cap.0 {
                cap = (most, Some(demand.reader));
            }
        }
        if cap.0 < f64::from(lower) {
            let name = &program.nodes[cap.1.unwrap_or(set)].name;
            return Err(NnError::quantize(
                name,
                "its largest weight would need more than 20 bits; use fewer ring bits before it or a larger margin",
            ));
        }
        let width = wanted.min(cap.0) as u32;
        for at in members {
            if let Some(producer) = &mut plan.producers[at] {
                producer.width = width;
            }
        }
    }
    Ok(())
}

/// The inputs and activations behind a masked node.
pub(super) fn producers_of(program: &Program, at: usize) -> Vec<usize> {
    let node = &program.nodes[at];
    match &node.op {
        ProgramOp::Local(_) | ProgramOp::Scale(_) => {
            node.inputs.iter().flat_map(|&input| producers_of(program, input)).collect()
        }
        _ => vec![at],
    }
}
