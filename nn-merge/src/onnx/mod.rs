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
//! | linear | Conv (one or two axes), Gemm, MatMul with a constant on either side |
//! | per channel | BatchNormalization, Add/Sub/Mul/Div with a constant, Neg |
//! | activation | Relu, LeakyRelu, PRelu, Clip, Max and Min with constants, HardSigmoid, HardSwish, Sigmoid, Tanh, Gelu, Softplus, Elu, Selu, Celu, Exp, Pow; GELU, SiLU, hard swish and polynomials spelled out (`form`) |
//! | pooling | MaxPool, AveragePool, their global forms, ReduceMean, ReduceSum, ReduceMax |
//! | index maps | Reshape, Flatten, Squeeze, Unsqueeze, Transpose, Slice, Split, Gather, Concat, Pad, Tile, Expand, Resize and Upsample (nearest), Identity, Dropout |
//! | sums | Add, Sub, Sum, Mean of tensors (residual connections) |
//! | end | Softmax, LogSoftmax; ArgMax and TopK are left to the client ([`Graph::notes`] says so) |
//! | constants | FLOAT, DOUBLE, FLOAT16, BFLOAT16 and integers; inside the file, in external files (`external`), or in safetensors files ([`SafeTensors`]) |
//!
//! The batch axis is 1 or symbolic (then taken as 1). An input of order N×H×W×C is recognised by the transpose
//! behind it (or by its sides) and becomes C×H×W; [`Graph::channels_last`] remembers.
//!
//! Hostile files: caps on bytes, parts, nodes, elements; no panic, no unbounded recursion or allocation. Nothing here opens
//! a file: whoever calls [`import_with`] decides which files a network may name.

mod activation;
mod attributes;
mod binary;
mod convert;
mod external;
mod fold;
mod fold_math;
mod form;
mod inputs;
mod layout;
mod linear;
mod moving;
mod pool;
mod resize;
mod safetensors;
mod spatial;
mod tensor;
mod wire;

use std::collections::HashMap;
use std::sync::Arc;

use rten_onnx::onnx::{GraphProto, ModelProto};

use crate::error::{NnError, shown};
use crate::graph::{Graph, NodeId, Op};
use attributes::View;
use tensor::Constant;

pub use safetensors::{MAX_HEADER, SafeTensors, Values};
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
    /// The position of the largest values of this tensor.
    Labels(NodeId),
}

/// The state of an import.
struct Importer {
    graph: Graph,
    values: HashMap<String, Value>,
    opset: i64,
    /// Elements of constants computed or copied so far.
    charged: u64,
    /// Those beyond what they were computed from; a small file must not make much of them.
    grown: u64,
    /// Nodes that stand for an unfinished activation.
    pending: HashMap<NodeId, activation::Pending>,
}

/// Most elements that import computes or copies out of one file's constants.
const MAX_CHARGED: u64 = 1 << 29;
/// Most elements of computed constants beyond those that they were computed from.
const MAX_GROWN: u64 = 1 << 25;

/// Imports a network from the bytes of an ONNX file that holds all its weights.
///
/// # Errors
/// A sentence naming the operator, node, tensor or size at fault; see [`NnError`].
pub fn import(bytes: &[u8]) -> Result<Graph, NnError> {
    import_with(bytes, &mut |_| Err("no other file may be read here".into()), &[])
}

/// Imports a network whose weights may be in other files.
///
/// `file` gives the bytes of an external file that the network names, or says why not; names are relative, with `/`, and
/// without `..`. It is asked once per file. Tensors of `side` replace initialisers of the same name, and stand for inputs
/// without an initialiser; the shapes have to agree where the file gives one.
///
/// # Errors
/// As [`import`]; [`NnError::Onnx`] naming the tensor and file that could not be had.
pub fn import_with(
    bytes: &[u8],
    file: &mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
    side: &[SafeTensors],
) -> Result<Graph, NnError> {
    if bytes.len() > MAX_ONNX_BYTES {
        return Err(NnError::TooLarge {
            what: "the ONNX file".into(),
            size: bytes.len() as u64,
            cap: MAX_ONNX_BYTES as u64,
        });
    }
    let bytes = wire::unpacked(bytes, wire::Message::Model)?;
    let model = ModelProto::parse_buf(&bytes).map_err(|e| NnError::onnx(e.to_string()))?;
    let opset = opset(&model)?;
    let graph =
        model.graph.as_ref().ok_or_else(|| NnError::onnx("it holds no graph (empty or truncated file)"))?;
    let values = inputs::initializers(graph, &mut external::Files::new(file), side)?;
    let (input, start) = inputs::input_node(graph, &values)?;
    let last = start.output();
    let mut importer =
        Importer { graph: start, values, opset, charged: 0, grown: 0, pending: HashMap::new() };
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
            Value::Labels(_) => {
                Err(view.unsupported(format!("input {index} is a label (the result of ArgMax or TopK)")))
            }
        }
    }

    /// Input `index` as a constant, if present.
    fn constant(&self, view: &View<'_>, index: usize) -> Result<Option<Arc<Constant>>, NnError> {
        match self.input(view, index)? {
            None => Ok(None),
            Some(Value::Constant(constant)) => Ok(Some(constant)),
            Some(_) => Err(view.unsupported(format!(
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
        let values = match self.fold(view)? {
            Some(constants) => {
                let made: usize = constants.iter().map(Constant::len).sum();
                self.charge(made)?;
                // What a Constant node holds stands in the file itself.
                let given = if view.operator == "Constant" { made } else { self.given(view) };
                self.grow(made.saturating_sub(given))?;
                constants.into_iter().map(|c| Value::Constant(Arc::new(c))).collect()
            }
            None => self.convert(view)?,
        };
        if view.proto.output.iter().all(String::is_empty) {
            return Err(view.shape("it has no output"));
        }
        for (output, value) in view.proto.output.iter().zip(values).filter(|(name, _)| !name.is_empty()) {
            self.values.insert(output.clone(), value);
        }
        Ok(())
    }

    /// Appends a node, all of whose numbers must be finite.
    fn push(&mut self, name: &str, op: Op, inputs: &[NodeId]) -> Result<NodeId, NnError> {
        if !op.is_finite() {
            return Err(NnError::NotFinite { tensor: shown(name) });
        }
        self.graph.push(name, op, inputs)
    }

    /// A node that shows `x` in another shape, unless it has that shape.
    fn reshape(&mut self, name: &str, x: NodeId, shape: Vec<usize>) -> Result<NodeId, NnError> {
        if self.graph.node(x).shape == shape {
            return Ok(x);
        }
        self.push(name, Op::Reshape(shape), &[x])
    }

    /// A node with `x`'s axes in another order, unless that is theirs.
    fn transpose(&mut self, name: &str, x: NodeId, perm: Vec<usize>) -> Result<NodeId, NnError> {
        if perm.is_sorted() {
            return Ok(x);
        }
        self.push(name, Op::Transpose(perm), &[x])
    }

    /// Elements of the largest constant that a node reads.
    fn given(&self, view: &View<'_>) -> usize {
        let sizes = view.proto.input.iter().map(|name| match self.values.get(name) {
            Some(Value::Constant(constant)) => constant.len(),
            _ => 0,
        });
        sizes.max().unwrap_or(0)
    }

    /// Counts elements that constants have grown by against the cap.
    fn grow(&mut self, elements: usize) -> Result<(), NnError> {
        self.grown += elements as u64;
        if self.grown <= MAX_GROWN {
            return Ok(());
        }
        let what = "what the file makes of its constants".into();
        Err(NnError::TooLarge { what, size: self.grown, cap: MAX_GROWN })
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
        let mut result = None;
        for output in &graph.output {
            let name = output.name.as_deref().unwrap_or_default();
            let id = match self.values.get(name) {
                Some(Value::Node(id) | Value::Labels(id)) => *id,
                Some(Value::Constant(_)) => {
                    return Err(NnError::onnx("its output does not depend on its input"));
                }
                None => return Err(NnError::onnx(format!("no node writes the output {}", shown(name)))),
            };
            if result.is_some_and(|other| other != id) {
                return Err(NnError::onnx(format!(
                    "it has {} outputs, wanted exactly one; export it with the logits only",
                    graph.output.len()
                )));
            }
            result = Some(id);
        }
        let result = result.ok_or_else(|| NnError::onnx("it has 0 outputs, wanted exactly one"))?;
        self.graph.set_output(result)?;
        let mut needed = vec![false; self.graph.nodes().len()];
        needed[result] = true;
        for id in (0..=result).rev().filter(|&id| id > 0) {
            if !needed[id] {
                continue;
            }
            if let Some(pending) = self.pending.get(&id) {
                return Err(pending.error.clone());
            }
            self.graph.node(id).inputs.iter().for_each(|&input| needed[input] = true);
        }
        if !needed[0] {
            return Err(NnError::onnx("its output does not depend on its input"));
        }
        self.graph.rebuild()
    }
}
