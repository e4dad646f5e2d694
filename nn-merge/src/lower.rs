//! Lowering: from a merged graph to the chain that the protocol runs.
//!
//! The private protocol runs `linear (max-pool)? ReLU linear (max-pool)? ReLU … linear`. [`lower`] reads a graph as such
//! a chain or says which node breaks it. Reshapes between layers vanish: every layer takes its input as a flat
//! row-major vector. Where a chain begins with an activation or ends with one, a 1×1 identity map is added.
//!
//! Not supported yet, and reported by name: residual connections and other branches, max-pooling without a ReLU,
//! transposes that no fully connected layer absorbs, softmax in the middle.

use crate::error::{NnError, shown};
use crate::graph::{Graph, Linear, NodeId, Op};
use crate::model::PoolGeometry;
use crate::pass::{MAX_MERGED_WEIGHTS, merged_weights};

/// One linear layer with what follows it.
#[derive(Clone, PartialEq)]
pub struct ChainLayer {
    /// Name of the linear node.
    pub name: String,
    /// The linear map.
    pub linear: Linear,
    /// Maximum pooling between it and the ReLU.
    pub pool: Option<PoolGeometry>,
    /// Whether a ReLU follows: true for all layers but the last.
    pub relu: bool,
}

/// Reads a merged graph as a chain.
///
/// # Errors
/// [`NnError::NotAChain`] naming the node that does not fit.
pub fn lower(graph: &Graph) -> Result<Vec<ChainLayer>, NnError> {
    let mut layers: Vec<ChainLayer> = Vec::new();
    for id in path(graph)? {
        let node = graph.node(id);
        let before = &graph.node(node.inputs[0]).shape;
        let open = layers.last().is_some_and(|l| !l.relu);
        match &node.op {
            Op::Linear(linear) => {
                if let Some(last) = layers.last().filter(|l| !l.relu) {
                    return Err(unmerged(last, linear, &node.name));
                }
                layers.push(ChainLayer {
                    name: shown(&node.name),
                    linear: linear.clone(),
                    pool: None,
                    relu: false,
                });
            }
            Op::Relu => {
                if !open {
                    layers.push(identity(&node.name, before)?);
                }
                if let Some(last) = layers.last_mut() {
                    last.relu = true;
                }
            }
            Op::MaxPool(window) => {
                if !open {
                    layers.push(identity(&node.name, before)?);
                }
                match layers.last_mut() {
                    Some(last) if last.pool.is_none() => last.pool = Some(window.clone()),
                    _ => {
                        return Err(NnError::chain(
                            &node.name,
                            "two max-poolings follow each other; replace them by one with a larger window",
                        ));
                    }
                }
            }
            Op::Reshape(_) => {}
            other => return Err(misplaced(&node.name, other)),
        }
    }
    finish(graph, layers)
}

/// The chain as a graph again (for evaluation and bounds), and the node of every layer's linear map.
///
/// # Errors
/// [`NnError::Shape`] if the layers do not fit each other.
pub fn chain_graph(layers: &[ChainLayer], input: &[usize]) -> Result<(Graph, Vec<NodeId>), NnError> {
    let mut graph = Graph::new("input", input)?;
    let mut ids = Vec::with_capacity(layers.len());
    for layer in layers {
        let s = layer.linear.geometry.shape();
        let wanted = vec![1, s.in_channels, s.in_height, s.in_width];
        if !layer.linear.is_flat() && graph.node(graph.output()).shape != wanted {
            graph.push("reshape", Op::Reshape(wanted), &[graph.output()])?;
        }
        ids.push(graph.push(&layer.name, Op::Linear(layer.linear.clone()), &[graph.output()])?);
        if let Some(window) = &layer.pool {
            let p = window.shape();
            let wanted = vec![1, p.channels, p.in_height, p.in_width];
            if graph.node(graph.output()).shape != wanted {
                graph.push("reshape", Op::Reshape(wanted), &[graph.output()])?;
            }
            graph.push("max-pool", Op::MaxPool(window.clone()), &[graph.output()])?;
        }
        if layer.relu {
            graph.push("relu", Op::Relu, &[graph.output()])?;
        }
    }
    Ok((graph, ids))
}

/// The nodes from the input (excluded) to the output, each the only reader of the one before.
fn path(graph: &Graph) -> Result<Vec<NodeId>, NnError> {
    let consumers = graph.consumers();
    let mut path = Vec::new();
    let mut id = 0;
    while id != graph.output() {
        match consumers[id].as_slice() {
            [next] => id = *next,
            many => {
                return Err(NnError::chain(
                    &graph.node(id).name,
                    format!(
                        "its result is read in {} places (a branch or residual connection); only plain chains are \
                         supported so far",
                        many.len()
                    ),
                ));
            }
        }
        path.push(id);
    }
    Ok(path)
}

fn finish(graph: &Graph, mut layers: Vec<ChainLayer>) -> Result<Vec<ChainLayer>, NnError> {
    let end = graph.node(graph.output());
    if layers.last().is_none_or(|l| l.relu) {
        layers.push(identity(&end.name, &end.shape)?);
    }
    if let Some(layer) = layers.iter().find(|l| l.pool.is_some() && !l.relu) {
        return Err(without_relu(&layer.name));
    }
    Ok(layers)
}

fn without_relu(name: &str) -> NnError {
    NnError::chain(
        name,
        "a max-pooling follows it without a ReLU; add a ReLU behind the pooling (not supported yet otherwise)",
    )
}

fn unmerged(last: &ChainLayer, next: &Linear, name: &str) -> NnError {
    if last.pool.is_some() {
        return without_relu(&last.name);
    }
    NnError::chain(
        name,
        format!(
            "it follows the linear map {} with no activation between, and merging them takes {} weights, above the cap \
             of {MAX_MERGED_WEIGHTS}; put an activation between them",
            last.name,
            merged_weights(&last.linear, next)
        ),
    )
}

fn misplaced(name: &str, op: &Op) -> NnError {
    let why = match op {
        Op::Add => "it adds two tensors (a residual connection), which is not supported yet".to_string(),
        Op::Transpose(_) => {
            "it permutes axes where no fully connected layer follows to absorb that".to_string()
        }
        Op::Softmax | Op::LogSoftmax => {
            "softmax is supported only at the very end, where it is dropped".to_string()
        }
        Op::AveragePool { .. } => {
            "this average pooling does not count its padding and is too large to become a matrix; set \
             count_include_pad or remove its padding"
                .to_string()
        }
        other => format!("a {} is left over that no linear map could absorb", other.kind()),
    };
    NnError::chain(name, why)
}

/// An identity map on a tensor of the given shape.
fn identity(name: &str, shape: &[usize]) -> Result<ChainLayer, NnError> {
    let (channels, sides) = match shape[..] {
        [1, c, h, w] => (c, [h, w]),
        _ => (shape.iter().product(), [1, 1]),
    };
    let linear = Linear::per_channel(name, sides, vec![1.0; channels], vec![0.0; channels])?;
    Ok(ChainLayer { name: format!("identity at {}", shown(name)), linear, pool: None, relu: false })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::run_f64;
    use crate::zoo::Builder;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    fn message(build: impl FnOnce(&mut Builder<'_, ChaCha8Rng>)) -> String {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut b = Builder::new(&[1, 2, 6, 6], &mut rng).expect("small");
        build(&mut b);
        let (merged, _) = crate::pass::run(&b.finish()).expect("runs");
        match lower(&merged) {
            Err(error) => error.to_string(),
            Ok(layers) => panic!("lowered to {} layers", layers.len()),
        }
    }

    #[test]
    fn what_is_no_chain_is_named() {
        let text = message(|b| {
            b.conv(2, 3, 1, 1, 1).expect("fits");
            let before = b.last();
            let after = b.relu().expect("fits").last();
            let mut graph = b.graph().clone();
            graph.push("the sum", Op::Add, &[before, after]).expect("fits");
            b.replace(graph);
        });
        assert!(text.contains("residual"), "{text}");
        let text = message(|b| {
            b.conv(2, 3, 1, 1, 1).expect("fits").max_pool(2, 2, 0).expect("fits").dense(3).expect("fits");
        });
        assert!(text.contains("without a ReLU"), "{text}");
        let text = message(|b| {
            b.relu()
                .expect("fits")
                .op(Op::Softmax)
                .expect("fits")
                .relu()
                .expect("fits")
                .dense(3)
                .expect("fits");
        });
        assert!(text.contains("softmax"), "{text}");
        let text = message(|b| {
            b.relu().expect("fits").op(Op::Transpose(vec![0, 1, 3, 2])).expect("fits");
            b.conv(2, 3, 1, 1, 1).expect("fits");
        });
        assert!(text.contains("permutes axes"), "{text}");
    }

    #[test]
    fn activations_at_the_ends_get_identity_maps() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let mut b = Builder::new(&[1, 2, 6, 6], &mut rng).expect("small");
        b.max_pool(2, 2, 0)
            .expect("fits")
            .relu()
            .expect("fits")
            .conv(3, 3, 1, 0, 1)
            .expect("fits")
            .relu()
            .expect("fits");
        let graph = b.finish();
        let layers = lower(&graph).expect("a chain");
        assert_eq!(layers.iter().map(|l| l.relu).collect::<Vec<_>>(), [true, true, false]);
        let (chain, ids) = chain_graph(&layers, &[1, 2, 6, 6]).expect("fits");
        assert_eq!(ids.len(), 3);
        let input: Vec<f64> = (0..72).map(|i| f64::from(i * 37 % 19) - 9.0).collect();
        assert_eq!(run_f64(&graph, &input).expect("fits"), run_f64(&chain, &input).expect("fits"));
    }
}
