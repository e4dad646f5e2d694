//! ONNX import: bytes in, checked [`Graph`] out.
//!
//! Bytes pass a structural check (`wire`), then rten-onnx's parser, then a walk over the nodes in file order.
//! Every name is either a constant (initialisers, `Constant` nodes, and whatever is computed from constants
//! alone: reshaped weights, shape arithmetic) or a node of the graph. Nothing is optimised here; the passes do
//! that, and the imported graph computes exactly what the file says.
//!
//! | read | supported |
//! |---|---|
//! | operator sets | 8 to 22, default domain |
//! | linear | Conv (2-D), Gemm, MatMul with constant weights |
//! | per channel | BatchNormalization, Add/Sub/Mul/Div with a constant |
//! | activation | Relu, MaxPool, GlobalMaxPool |
//! | averaging | AveragePool, GlobalAveragePool, ReduceMean over the image |
//! | index maps | Reshape, Flatten, Squeeze, Unsqueeze, Transpose, Identity, Dropout |
//! | sums | Add of two tensors (residual connection) |
//! | end | Softmax, LogSoftmax |
//!
//! The batch axis is 1 or symbolic (then taken as 1). An input of order N×H×W×C is recognised by the transpose
//! behind it (or by its sides) and becomes C×H×W; [`Graph::channels_last`] remembers.
//!
//! Hostile files: caps on bytes, parts, nodes, elements; no panic, no unbounded recursion or allocation.

mod attributes;
mod binary;
mod convert;
mod fold;
mod layout;
mod spatial;
mod tensor;
mod wire;

use std::collections::HashMap;
use std::sync::Arc;

use rten_onnx::onnx::{GraphProto, ModelProto, ValueInfoProto};

use crate::error::{NnError, shown};
use crate::graph::{Graph, NodeId, Op};
use attributes::View;
use tensor::Constant;

pub use tensor::{MAX_CONSTANT, read_tensor};

/// Largest ONNX file.
pub const MAX_ONNX_BYTES: usize = 1 << 30;
/// Operator-set versions understood.
pub const OPSETS: std::ops::RangeInclusive<i64> = 8..=22;

/// What a name stands for during import.
#[derive(Clone)]
enum Value {
    Constant(Arc<Constant>),
    Node(NodeId),
}

/// The state of an import.
struct Importer {
    graph: Graph,
    values: HashMap<String, Value>,
    opset: i64,
    /// Elements of constants computed or copied so far; a small file must not make much of them.
    charged: u64,
}

/// Most elements that import computes or copies out of one file's constants.
const MAX_CHARGED: u64 = 1 << 29;

/// Imports a network from the bytes of an ONNX file.
///
/// # Errors
/// A sentence naming the operator, node, tensor or size at fault; see [`NnError`].
pub fn import(bytes: &[u8]) -> Result<Graph, NnError> {
    if bytes.len() > MAX_ONNX_BYTES {
        return Err(NnError::TooLarge {
            what: "the ONNX file".into(),
            size: bytes.len() as u64,
            cap: MAX_ONNX_BYTES as u64,
        });
    }
    wire::check(bytes, wire::Message::Model)?;
    let model = ModelProto::parse_buf(bytes).map_err(|e| NnError::onnx(e.to_string()))?;
    let opset = opset(&model)?;
    let graph =
        model.graph.as_ref().ok_or_else(|| NnError::onnx("it holds no graph (empty or truncated file)"))?;
    let mut values = HashMap::new();
    for initializer in &graph.initializer {
        let name = initializer.name.clone().unwrap_or_default();
        let constant = tensor::from_proto(initializer, "(initializer)")?;
        values.insert(name, Value::Constant(Arc::new(constant)));
    }
    let (input, start) = input_node(graph, &values)?;
    let last = start.output();
    let mut importer = Importer { graph: start, values, opset, charged: 0 };
    importer.values.insert(input, Value::Node(last));
    for (index, proto) in graph.node.iter().enumerate() {
        importer.node(&View::new(proto, index))?;
    }
    importer.finish(graph)
}

fn opset(model: &ModelProto) -> Result<i64, NnError> {
    let entry =
        model.opset_import.iter().find(|e| matches!(e.domain.as_deref(), None | Some("" | "ai.onnx")));
    let version = entry
        .and_then(|e| e.version)
        .ok_or_else(|| NnError::onnx("it names no operator set (empty or truncated file)"))?;
    if OPSETS.contains(&version) {
        return Ok(version);
    }
    Err(NnError::onnx(format!(
        "operator set {version}; export the model with one from {} to {}",
        OPSETS.start(),
        OPSETS.end()
    )))
}

/// The name of the only true input and a graph that begins with it in C×H×W order.
fn input_node(graph: &GraphProto, values: &HashMap<String, Value>) -> Result<(String, Graph), NnError> {
    let inputs: Vec<&ValueInfoProto> =
        graph.input.iter().filter(|i| !values.contains_key(i.name.as_deref().unwrap_or_default())).collect();
    let [input] = inputs.as_slice() else {
        return Err(NnError::onnx(format!("it has {} inputs, wanted exactly one", inputs.len())));
    };
    let name = input.name.clone().unwrap_or_default();
    let shape = input_shape(input, &name)?;
    let is_last = match shape[..] {
        [1, first, _, last] => {
            transposed_first(graph, &name) || (matches!(last, 1 | 3) && !matches!(first, 1 | 3))
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

impl Importer {
    /// The value behind the node's input number `index`; absent and empty names are `None`.
    fn input(&self, view: &View<'_>, index: usize) -> Result<Option<Value>, NnError> {
        match view.proto.input.get(index) {
            None => Ok(None),
            Some(name) if name.is_empty() => Ok(None),
            Some(name) => self.values.get(name).cloned().map(Some).ok_or_else(|| {
                NnError::onnx(format!(
                    "node {} reads {}, which nothing before it writes",
                    view.name,
                    shown(name)
                ))
            }),
        }
    }

    fn required(&self, view: &View<'_>, index: usize) -> Result<Value, NnError> {
        self.input(view, index)?.ok_or_else(|| view.shape(format!("input {index} is missing")))
    }

    /// Input `index` as a node of the graph.
    fn tensor(&self, view: &View<'_>, index: usize) -> Result<NodeId, NnError> {
        match self.required(view, index)? {
            Value::Node(id) => Ok(id),
            Value::Constant(_) => Err(view.unsupported(format!("input {index} is a constant"))),
        }
    }

    /// Input `index` as a constant, if present.
    fn constant(&self, view: &View<'_>, index: usize) -> Result<Option<Arc<Constant>>, NnError> {
        match self.input(view, index)? {
            None => Ok(None),
            Some(Value::Constant(constant)) => Ok(Some(constant)),
            Some(Value::Node(_)) => Err(view.unsupported(format!(
                "input {index} is computed from the network's input; only constants are supported there"
            ))),
        }
    }

    fn required_constant(&self, view: &View<'_>, index: usize) -> Result<Arc<Constant>, NnError> {
        self.constant(view, index)?.ok_or_else(|| view.shape(format!("input {index} is missing")))
    }

    /// Converts one node of the file.
    fn node(&mut self, view: &View<'_>) -> Result<(), NnError> {
        let domain = view.proto.domain.as_deref().unwrap_or_default();
        if !matches!(domain, "" | "ai.onnx") {
            return Err(NnError::UnsupportedOperator {
                operator: shown(&format!("{domain}.{}", view.operator)),
                node: view.name.clone(),
                hint:
                    "it belongs to a vendor's own operator set; export the model with standard ONNX operators"
                        .into(),
            });
        }
        let value = match self.fold(view)? {
            Some(constant) => {
                self.charge(constant.len())?;
                Value::Constant(Arc::new(constant))
            }
            None => Value::Node(self.convert(view)?),
        };
        let output = view.proto.output.first().filter(|n| !n.is_empty());
        let output = output.ok_or_else(|| view.shape("it has no output"))?;
        self.values.insert(output.clone(), value);
        Ok(())
    }

    /// Counts elements made from constants against the cap.
    fn charge(&mut self, elements: usize) -> Result<(), NnError> {
        self.charged += elements as u64;
        if self.charged <= MAX_CHARGED {
            return Ok(());
        }
        Err(NnError::TooLarge {
            what: "what the file computes from its constants".into(),
            size: self.charged,
            cap: MAX_CHARGED,
        })
    }

    /// Points the graph at the file's output and drops what it does not need.
    fn finish(mut self, graph: &GraphProto) -> Result<Graph, NnError> {
        let [output] = graph.output.as_slice() else {
            return Err(NnError::onnx(format!("it has {} outputs, wanted exactly one", graph.output.len())));
        };
        let name = output.name.as_deref().unwrap_or_default();
        match self.values.get(name) {
            Some(Value::Node(id)) => self.graph.set_output(*id)?,
            Some(Value::Constant(_)) => return Err(NnError::onnx("its output does not depend on its input")),
            None => return Err(NnError::onnx(format!("no node writes the output {}", shown(name)))),
        }
        self.graph.rebuild()
    }
}
