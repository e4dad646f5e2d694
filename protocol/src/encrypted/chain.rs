//! A manifest as a chain: linear maps, and what stands between two of them.
//!
//! | between | accepted by |
//! |---|---|
//! | squares: polynomials of degree two, a quadratic per channel | everybody |
//! | ReLU on all channels, with max-pooling before it or without | floating-point shares |
//!
//! Sums over windows and reshapes in front of a fully connected layer are folded into it. Whatever else there is is refused
//! by one sentence, which names the first layer in the way.

use conv_fast::ConvGeometry;
use nn_merge::model::{ActivationSpec, FunctionSpec, IndexMap, LocalOp, Manifest, OpSpec, PoolGeometry};

use crate::error::ProtocolError;
use crate::plan::cells;

/// Most products of a map into which others were folded.
const MOST_FOLDED: usize = 1 << 24;
/// Most cells of all pooling windows with eight for each window, elements that are moved, and sources of moves behind moves.
const MOST_CELLS: u64 = 1 << 22;

/// What may stand between two linear maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// Squares.
    Squares,
    /// Squares, and ReLU on all channels.
    Activations,
}

/// What stands between two linear maps.
#[derive(Clone, Debug, PartialEq)]
pub enum Between {
    /// The square, element by element.
    Square,
    /// A ReLU.
    Relu(Relu),
}

/// ReLU on all channels.
#[derive(Clone, Debug, PartialEq)]
pub struct Relu {
    /// Max-pooling before it.
    pub pool: Option<PoolGeometry>,
    /// Bits of the model's ring that its sign tests look at, the sign among them.
    pub compared_bits: u32,
}

/// What a manifest's node is here.
pub(super) enum Step<'m> {
    /// A linear map, and the map of elements in front of it that its weights take in.
    Linear { node: usize, geometry: ConvGeometry, folded: Option<IndexMap> },
    /// A bias.
    Shift { node: usize },
    /// What is between two linear maps.
    Between { node: usize, spec: &'m ActivationSpec, between: Between },
}

impl Accepted {
    /// The end of every refusal.
    fn sentence(self) -> &'static str {
        match self {
            Self::Squares => "on ciphertexts alone, a network is one chain of linear maps and squares",
            Self::Activations => {
                "on floating-point shares, a network is one chain of linear maps with squares or ReLUs between, and \
                 max-pooling before ReLUs only"
            }
        }
    }
}

impl Between {
    /// What it makes of u in the clear.
    ///
    /// # Panics
    /// For another number of values than a pool has inputs.
    #[must_use]
    pub fn evaluate(&self, mut u: Vec<f64>) -> Vec<f64> {
        match self {
            Self::Square => u.iter_mut().for_each(|u| *u *= *u),
            Self::Relu(relu) => {
                if let Some(pool) = &relu.pool {
                    let largest =
                        |window: Vec<usize>| window.iter().map(|&at| u[at]).fold(f64::NEG_INFINITY, f64::max);
                    u = pool.windows().map(largest).collect();
                }
                u.iter_mut().for_each(|u| *u = u.max(0.0));
            }
        }
        u
    }
}

/// An activation behind a linear map, or what is wrong with it.
fn between(spec: &ActivationSpec, accepted: Accepted) -> Result<Between, &'static str> {
    let activations = accepted == Accepted::Activations;
    if activations && spec.parts.iter().all(|part| part.function == FunctionSpec::Relu) {
        let compared_bits = spec.ring_bits.saturating_sub(spec.ignored_bits);
        return Ok(Between::Relu(Relu { pool: spec.pool.clone(), compared_bits }));
    }
    if spec.pool.is_some() {
        return Err(if activations { "takes maxima without a ReLU on all channels" } else { "takes maxima" });
    }
    for part in &spec.parts {
        return Err(match &part.function {
            FunctionSpec::Polynomial { coefficients }
                if coefficients.get(2).is_some_and(|&c| c != 0)
                    && coefficients.iter().skip(3).all(|&c| c == 0) =>
            {
                continue;
            }
            FunctionSpec::Polynomial { .. } => "is a polynomial of another degree than two",
            FunctionSpec::Identity => "is an identity",
            FunctionSpec::Relu if activations => "is a ReLU on some of its channels",
            FunctionSpec::Relu => "is a ReLU",
            _ if activations => "is neither a polynomial nor a ReLU",
            _ => "is no polynomial",
        });
    }
    Ok(Between::Square)
}

/// The chain of a manifest, or what is in the way.
pub(super) fn steps(manifest: &Manifest, accepted: Accepted) -> Result<Vec<Step<'_>>, ProtocolError> {
    let refused = |node: usize, what: &str| {
        ProtocolError::Caller(format!(
            "layer `{}` {what}: {}",
            manifest.nodes[node].name,
            accepted.sentence()
        ))
    };
    let tensors = manifest.tensors().map_err(|error| ProtocolError::Caller(error.to_string()))?;
    let mut steps = Vec::new();
    // Index maps since the last linear map or square.
    let mut moved: Option<IndexMap> = None;
    let mut source = tensors[0].shape;
    let mut taken = 0_u64;
    let mut take = |at: usize, more: u64| {
        taken = taken.saturating_add(more);
        match taken <= MOST_CELLS {
            true => Ok(()),
            false => Err(refused(at, "and those before it pool or move too many values")),
        }
    };
    for (at, node) in manifest.nodes.iter().enumerate().skip(1) {
        if node.inputs != [at as u32 - 1] {
            return Err(refused(at, "joins or repeats tensors"));
        }
        let after_linear = matches!(steps.last(), Some(Step::Linear { .. } | Step::Shift { .. }));
        match &node.op {
            OpSpec::Input { .. } => return Err(refused(at, "is a second input")),
            OpSpec::Linear { geometry, .. } if !after_linear => {
                let s = geometry.shape();
                let identity = moved.as_ref().is_none_or(IndexMap::is_identity);
                let reads_source = [s.in_channels, s.in_height, s.in_width] == source;
                let dense = s.in_height * s.in_width == 1 && s.kernel == [1, 1] && s.groups == 1;
                let elements: usize = source.iter().product();
                let (geometry, folded) = if identity && (reads_source || dense) {
                    (geometry.clone(), None)
                } else if dense && elements.saturating_mul(s.out_channels) <= MOST_FOLDED {
                    let folded = ConvGeometry::fully_connected(elements, s.out_channels)
                        .map_err(|error| refused(at, &error.to_string()))?;
                    (folded, moved.take())
                } else {
                    return Err(refused(at, "reads a tensor whose elements were moved or summed"));
                };
                moved = None;
                steps.push(Step::Linear { node: at, geometry, folded });
            }
            OpSpec::Linear { .. } => return Err(refused(at, "follows another linear map")),
            OpSpec::Sum { factors } if after_linear && factors == &[1] => {
                steps.push(Step::Shift { node: at })
            }
            OpSpec::Sum { .. } => return Err(refused(at, "sums tensors")),
            OpSpec::Activation(spec) if after_linear => {
                let between = between(spec, accepted).map_err(|what| refused(at, what))?;
                if let Between::Relu(Relu { pool: Some(pool), .. }) = &between {
                    take(at, cells(pool))?;
                }
                source = tensors[at].shape;
                steps.push(Step::Between { node: at, spec, between });
            }
            OpSpec::Activation(_) => return Err(refused(at, "does not follow a linear map")),
            OpSpec::Local(_) if after_linear => {
                return Err(refused(at, "moves the elements of a linear map's result"));
            }
            OpSpec::Local(op) => {
                let summed = if let LocalOp::SumPool(pool) = op { cells(pool) } else { 0 };
                take(at, summed.saturating_add(tensors[at].elements() as u64))?;
                let map = op.index_map(&[tensors[at - 1].shape]);
                moved = Some(match &moved {
                    Some(first) => {
                        // Sums of sums repeat their sources: a few nodes would fill any memory.
                        take(at, map.sources_after(first))?;
                        map.after(first)
                    }
                    None => map,
                });
            }
        }
    }
    let last = manifest.nodes.len() - 1;
    if !matches!(steps.last(), Some(Step::Linear { .. } | Step::Shift { .. })) {
        return Err(refused(last, "ends the network"));
    }
    if manifest.output.node as usize != last {
        return Err(refused(last, "is not the output"));
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::small_model;
    use nn_merge::model::{NodeSpec, PoolShape};

    /// What becomes of a fully connected layer on an image of 28 x 28 that is summed over windows so often before.
    fn summed(times: u32) -> [Result<(), String>; 2] {
        let mut manifest = small_model().manifest;
        (manifest.input.height, manifest.input.width) = (28, 28);
        let shape = PoolShape {
            channels: 1,
            in_height: 28,
            in_width: 28,
            kernel: [3; 2],
            stride: [1; 2],
            padding: [1; 4],
        };
        let pool = PoolGeometry::new(shape).unwrap();
        let node = |at: u32| NodeSpec {
            name: format!("sum{at}"),
            op: OpSpec::Local(LocalOp::SumPool(pool.clone())),
            inputs: vec![at],
        };
        let mut last = manifest.nodes.pop().unwrap();
        let OpSpec::Linear { geometry, .. } = &mut last.op else { panic!("{last:?}") };
        *geometry = ConvGeometry::fully_connected(28 * 28, 3).unwrap();
        last.inputs = vec![times];
        manifest.nodes.truncate(1);
        manifest.nodes.extend((0..times).map(node));
        manifest.nodes.push(last);
        manifest.output.node = times + 1;
        [Accepted::Squares, Accepted::Activations]
            .map(|accepted| steps(&manifest, accepted).map(|_| ()).map_err(|error| error.to_string()))
    }

    /// Each of a few nodes makes the map nine times larger: the seventh would take 15 GB.
    #[test]
    fn sums_of_sums_are_refused_before_they_fill_the_memory() {
        assert_eq!(summed(2), [Ok(()), Ok(())]);
        for times in [5, 7, 100] {
            for many in summed(times).map(Result::unwrap_err) {
                assert!(many.contains("layer `sum3` and those before it pool or move too many"), "{many}");
            }
        }
    }
}
