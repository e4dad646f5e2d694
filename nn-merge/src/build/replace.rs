//! Exchanging activations before merging: a ReLU here and there for a square or for nothing at all.
//!
//! Networks keep most of their accuracy with a part of their ReLUs if they were trained for that: Mishra, Lehmkuhl,
//! Srinivasan, Zheng, Popa, *Delphi* (USENIX Security 2020) by layer; Lou, Shen, Jin, Jiang, *SAFENet* (ICLR 2021) and Jha,
//! Ghodsi, Garg, Reagen, *DeepReDuce* (ICML 2021) by channel and layer. Which ones is the user's list; nothing is
//! trained here.

use serde::{Deserialize, Serialize};

use crate::error::NnError;
use crate::graph::{Function, Graph, Op, Part};
use crate::lower::canonical;

/// One line of the list: what the activation `layer` computes from now on, everywhere or on some channels.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Replacement {
    /// Name of an activation node.
    pub layer: String,
    /// Channels, all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<Vec<ChannelRange>>,
    /// The function.
    pub function: ReplacementFunction,
}

/// Channels: one number, or `"5..9"` (5 to 8).
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(untagged)]
pub enum ChannelRange {
    /// One channel.
    One(usize),
    /// `"first..end"`, the end not included.
    Run(String),
}

/// A function that can be put in place of an activation.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum ReplacementFunction {
    /// x
    Identity,
    /// max(0, x)
    Relu,
    /// x²
    Square,
    /// Σ c\[e\]·x^e, from the constant up.
    Polynomial(Vec<f64>),
}

impl ReplacementFunction {
    fn function(&self) -> Function {
        match self {
            Self::Identity => Function::Identity,
            Self::Relu => Function::Relu,
            Self::Square => Function::Polynomial { coefficients: vec![vec![0.0, 0.0, 1.0]] },
            Self::Polynomial(row) => Function::Polynomial { coefficients: vec![row.clone()] },
        }
    }
}

impl ChannelRange {
    fn channels(&self) -> Result<std::ops::Range<usize>, String> {
        match self {
            &Self::One(channel) => Ok(channel..channel.saturating_add(1)),
            Self::Run(text) => {
                let ends = text.split_once("..").map(|(a, b)| (a.trim().parse(), b.trim().parse()));
                match ends {
                    Some((Ok(first), Ok(end))) if first < end => Ok(first..end),
                    _ => Err(format!("channels {text:?} are not of the form \"first..end\"")),
                }
            }
        }
    }
}

/// The graph with all replacements made, in their order; and how many activations (of single values) they changed.
///
/// # Errors
/// [`NnError::BuildOption`] for a layer that is no activation, and channels that it does not have.
pub fn replace(graph: &Graph, list: &[Replacement]) -> Result<(Graph, usize), NnError> {
    let mut out = graph.clone();
    let mut changed = 0;
    for line in list {
        let wrong = |what: String| NnError::option(&format!("replacement of {}", line.layer), what);
        let found = out
            .nodes()
            .iter()
            .position(|node| node.name == line.layer && matches!(node.op, Op::Activation(_) | Op::Mixed(_)));
        let Some(id) = found else {
            let names: Vec<String> = out
                .nodes()
                .iter()
                .filter(|node| matches!(node.op, Op::Activation(_) | Op::Mixed(_)))
                .map(|node| crate::error::shown(&node.name))
                .collect();
            let shown = names.iter().take(12).cloned().collect::<Vec<_>>().join(", ");
            let more = if names.len() > 12 { ", …" } else { "" };
            return Err(wrong(format!("no activation has that name; there are {shown}{more}")));
        };
        let node = out.node(id);
        let [channels, height, width] = canonical(&node.shape);
        let mut chosen = vec![line.channels.is_none(); channels];
        for range in line.channels.iter().flatten() {
            let range = range.channels().map_err(wrong)?;
            let slots = chosen.get_mut(range.clone());
            slots.ok_or_else(|| wrong(format!("it has {channels} channels, not {range:?}")))?.fill(true);
        }
        changed += chosen.iter().filter(|&&c| c).count() * height * width;
        let function = line.function.function();
        let op = if chosen.iter().all(|&c| c) {
            Op::Activation(function)
        } else {
            mixed(&node.op, &chosen, function)
        };
        out.node_mut(id).op = op;
    }
    Ok((out.rebuild()?, changed))
}

/// The functions of `op` where `chosen` does not say otherwise.
fn mixed(op: &Op, chosen: &[bool], function: Function) -> Op {
    let before = match op {
        Op::Activation(function) => {
            vec![Part { channels: (0..chosen.len()).collect(), function: function.clone() }]
        }
        Op::Mixed(parts) => parts.clone(),
        _ => Vec::new(),
    };
    let mut parts: Vec<Part> = before
        .into_iter()
        .filter_map(|part| {
            let kept: Vec<usize> =
                (0..part.channels.len()).filter(|&row| !chosen[part.channels[row]]).collect();
            let pick = |len: usize, row: usize| if len == 1 { 0 } else { row };
            let function = match part.function {
                Function::PRelu { slopes } => Function::PRelu {
                    slopes: kept.iter().map(|&row| slopes[pick(slopes.len(), row)]).collect(),
                },
                Function::Polynomial { coefficients } => Function::Polynomial {
                    coefficients: kept
                        .iter()
                        .map(|&row| coefficients[pick(coefficients.len(), row)].clone())
                        .collect(),
                },
                other => other,
            };
            let channels: Vec<usize> = kept.iter().map(|&row| part.channels[row]).collect();
            (!channels.is_empty()).then_some(Part { channels, function })
        })
        .collect();
    parts.push(Part { channels: (0..chosen.len()).filter(|&c| chosen[c]).collect(), function });
    Op::Mixed(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::run_f64;

    fn line(layer: &str, channels: Option<Vec<ChannelRange>>, function: ReplacementFunction) -> Replacement {
        Replacement { layer: layer.into(), channels, function }
    }

    #[test]
    fn layers_and_channels_are_replaced() {
        let mut graph = Graph::new("input", &[1, 4, 1, 1]).unwrap();
        let slopes = vec![0.5, 0.25, 2.0, 3.0];
        graph.push("act", Op::Activation(Function::PRelu { slopes }), &[0]).unwrap();
        let x = [-1.0, -2.0, -3.0, 4.0];
        let some = Some(vec![ChannelRange::One(3), ChannelRange::Run("0..1".into())]);
        let (out, changed) = replace(&graph, &[line("act", some, ReplacementFunction::Square)]).unwrap();
        assert_eq!((run_f64(&out, &x).unwrap(), changed), (vec![1.0, -0.5, -6.0, 16.0], 2));
        let again = Some(vec![ChannelRange::Run("1..2".into())]);
        let (out, _) = replace(&out, &[line("act", again, ReplacementFunction::Identity)]).unwrap();
        assert_eq!(run_f64(&out, &x).unwrap(), [1.0, -2.0, -6.0, 16.0]);
        let polynomial = ReplacementFunction::Polynomial(vec![1.0, 0.0, 0.0, 1.0]);
        let (out, changed) = replace(&graph, &[line("act", None, polynomial)]).unwrap();
        assert_eq!((run_f64(&out, &x).unwrap(), changed), (vec![0.0, -7.0, -26.0, 65.0], 4));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut graph = Graph::new("input", &[1, 4, 1, 1]).unwrap();
        graph.push("act", Op::Activation(Function::Relu), &[0]).unwrap();
        let square = ReplacementFunction::Square;
        let unknown = replace(&graph, &[line("bct", None, square.clone())]).unwrap_err().to_string();
        assert!(unknown.contains("there are act"), "{unknown}");
        for run in ["1..5", "4..2", "x", "0..99999999999999999999"] {
            let ranges = Some(vec![ChannelRange::Run(run.into())]);
            assert!(replace(&graph, &[line("act", ranges, square.clone())]).is_err(), "{run}");
        }
        let high = Some(vec![ChannelRange::One(usize::MAX)]);
        assert!(replace(&graph, &[line("act", high, square)]).is_err());
    }
}
