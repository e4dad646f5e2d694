//! What is there before the first node: constants (initialisers, side files) and the network's one input.
//!
//! The batch axis is 1 or symbolic. Whether the file's input is N×H×W×C is decided here.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rten_onnx::onnx::{GraphProto, ValueInfoProto};

use super::{SafeTensors, Value, external};
use crate::error::{NnError, shown};
use crate::graph::{Graph, Op};

/// All constants that have a name before the first node.
pub(super) fn initializers(
    graph: &GraphProto,
    files: &mut external::Files<'_>,
    side: &[SafeTensors],
) -> Result<HashMap<String, Value>, NnError> {
    let mut values = HashMap::new();
    for initializer in &graph.initializer {
        let name = initializer.name.clone().unwrap_or_default();
        let constant = match side.iter().find_map(|s| s.get(&name)) {
            Some(replacement) => {
                let constant = replacement?;
                let sides: Vec<i64> = constant.shape.iter().map(|&s| s as i64).collect();
                if sides != initializer.dims {
                    return Err(NnError::onnx(format!(
                        "tensor {} has shape {:?} in the network and {sides:?} in the side file",
                        shown(&name),
                        initializer.dims
                    )));
                }
                constant
            }
            None => external::constant(initializer, files)?,
        };
        values.insert(name, Value::Constant(Arc::new(constant)));
    }
    // What nodes read and nobody writes may be in a side file as well.
    let written: HashSet<&String> = graph.node.iter().flat_map(|node| &node.output).collect();
    for node in &graph.node {
        for name in node.input.iter().filter(|name| !name.is_empty() && !written.contains(name)) {
            if !values.contains_key(name)
                && let Some(constant) = side.iter().find_map(|s| s.get(name))
            {
                values.insert(name.clone(), Value::Constant(Arc::new(constant?)));
            }
        }
    }
    Ok(values)
}

/// The name of the only true input and a graph that begins with it in C×H×W order.
pub(super) fn input_node(
    graph: &GraphProto,
    values: &HashMap<String, Value>,
) -> Result<(String, Graph), NnError> {
    let inputs: Vec<&ValueInfoProto> =
        graph.input.iter().filter(|i| !values.contains_key(i.name.as_deref().unwrap_or_default())).collect();
    let [input] = inputs.as_slice() else {
        return Err(NnError::onnx(format!("it has {} inputs, wanted exactly one", inputs.len())));
    };
    let name = input.name.clone().unwrap_or_default();
    let shape = input_shape(input, &name)?;
    let is_last = match shape[..] {
        [1, first, _, last] => {
            transposed_first(graph, &name)
                || (matches!(last, 1 | 3) && !matches!(first, 1 | 3) && !read_by_channels(graph, &name))
        }
        _ => false,
    };
    if !is_last {
        return Ok((name.clone(), Graph::new(&name, &shape)?));
    }
    let mut start = Graph::new(&name, &[1, shape[3], shape[1], shape[2]])?;
    start.push(&format!("{name} (channels last)"), Op::Transpose(vec![0, 2, 3, 1]), &[0])?;
    start.channels_last = true;
    Ok((name, start))
}

/// Whether everybody who reads the input transposes it from N×H×W×C to N×C×H×W.
fn transposed_first(graph: &GraphProto, name: &str) -> bool {
    let mut readers = graph.node.iter().filter(|n| n.input.iter().any(|i| i == name)).peekable();
    readers.peek().is_some()
        && readers.all(|n| {
            n.op_type.as_deref() == Some("Transpose")
                && n.attribute.iter().any(|a| a.name.as_deref() == Some("perm") && a.ints == [0, 3, 1, 2])
        })
}

/// Whether an operator reads the input for which axis 1 is the channels by definition.
fn read_by_channels(graph: &GraphProto, name: &str) -> bool {
    let mut readers = graph.node.iter().filter(|n| n.input.first().is_some_and(|i| i == name));
    readers.any(|n| {
        n.op_type.as_deref().is_some_and(|o| o == "Conv" || o == "BatchNormalization" || o.ends_with("Pool"))
    })
}

fn input_shape(input: &ValueInfoProto, name: &str) -> Result<Vec<usize>, NnError> {
    let dims = input
        .r#type
        .as_ref()
        .and_then(|t| t.tensor_type.as_ref())
        .and_then(|t| t.shape.as_ref())
        .map(|s| s.dim.as_slice())
        .ok_or_else(|| NnError::onnx(format!("input {} has no shape", shown(name))))?;
    let mut shape = Vec::with_capacity(dims.len().min(16));
    for (axis, dim) in dims.iter().enumerate() {
        let value = dim.dim_value.unwrap_or(0);
        let side = match usize::try_from(value) {
            Ok(side) if side > 0 => side,
            _ if axis == 0 => 1,
            _ => {
                let symbol = dim.dim_param.as_deref().unwrap_or("unknown");
                return Err(NnError::onnx(format!(
                    "axis {axis} of input {} is {}; only the batch axis may be symbolic: export with fixed sizes",
                    shown(name),
                    shown(symbol)
                )));
            }
        };
        shape.push(side);
    }
    if shape.len() > 1 && shape[0] != 1 {
        return Err(NnError::onnx(format!(
            "input {} has the shape {shape:?}; export it with a batch of 1 or a symbolic batch",
            shown(name)
        )));
    }
    Ok(shape)
}
