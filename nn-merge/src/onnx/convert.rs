//! One node of the file into nodes of the graph: which operator goes where, and what to do about those that go nowhere.

use super::attributes::View;
use super::{Importer, Value};
use crate::error::{NnError, shown};
use crate::graph::{NodeId, Op};

impl Importer {
    /// Converts a node that depends on the network's input; one value per output.
    pub(super) fn convert(&mut self, view: &View<'_>) -> Result<Vec<Value>, NnError> {
        match view.operator {
            "Split" => return Ok(self.split(view)?.into_iter().map(Value::Node).collect()),
            "ArgMax" | "TopK" => return self.labels(view),
            _ => {}
        }
        if let Some(Value::Labels(logits)) = self.input(view, 0)? {
            return match view.operator {
                "Cast" | "Identity" | "Reshape" | "Squeeze" | "Unsqueeze" | "Flatten" => {
                    Ok(vec![Value::Labels(logits)])
                }
                _ => Err(view.unsupported("it computes with labels (the result of ArgMax or TopK)")),
            };
        }
        self.one(view).map(|id| vec![Value::Node(id)])
    }

    fn one(&mut self, view: &View<'_>) -> Result<NodeId, NnError> {
        if let Some(id) = self.activation(view)? {
            return Ok(id);
        }
        match view.operator {
            "Conv" => self.conv(view),
            "Gemm" => self.gemm(view),
            "MatMul" => self.matmul(view),
            "BatchNormalization" => self.batch_norm(view),
            "Add" | "Sub" | "Mul" | "Div" => self.binary(view),
            "Sum" | "Mean" => self.variadic(view),
            "MaxPool" | "AveragePool" | "GlobalMaxPool" | "GlobalAveragePool" => self.pool(view),
            "ReduceMean" | "ReduceSum" | "ReduceMax" => self.reduce(view),
            "Identity" => self.unary(view, Op::Identity),
            "Dropout" => self.dropout(view),
            "Softmax" | "LogSoftmax" => self.softmax(view),
            "Cast" | "CastLike" => match view.int("to", 1) {
                1 | 10 | 11 | 16 => self.unary(view, Op::Identity),
                to => Err(view.unsupported(format!("casting the network's values to element type {to}"))),
            },
            "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => {
                let x = self.tensor(view, 0)?;
                let shape = self.target_shape(view, &self.graph.node(x).shape)?;
                let shape = if shape.is_empty() { vec![1] } else { shape };
                self.push(&view.name, Op::Reshape(shape), &[x])
            }
            "Transpose" => {
                let x = self.tensor(view, 0)?;
                let perm = self.permutation(view, self.graph.node(x).shape.len())?;
                self.push(&view.name, Op::Transpose(perm), &[x])
            }
            "Slice" => self.slice(view),
            "Gather" => self.gather(view),
            "Concat" => self.concat(view),
            "Pad" => self.pad(view),
            "Tile" | "Expand" => self.expand(view),
            "Resize" | "Upsample" => self.resize(view),
            other => Err(NnError::UnsupportedOperator {
                operator: shown(other),
                node: view.name.clone(),
                hint: hint(other).unwrap_or(SUPPORTED).into(),
            }),
        }
    }

    fn unary(&mut self, view: &View<'_>, op: Op) -> Result<NodeId, NnError> {
        let x = self.tensor(view, 0)?;
        self.push(&view.name, op, &[x])
    }

    fn dropout(&mut self, view: &View<'_>) -> Result<NodeId, NnError> {
        let is_training = self.constant(view, 2)?.is_some_and(|c| c.to_f64().iter().any(|&v| v != 0.0));
        if is_training {
            return Err(view.unsupported("it is in training mode; export the network in evaluation mode"));
        }
        self.unary(view, Op::Dropout)
    }

    /// The choice of the largest is the client's: the values that it chooses from are the network's result.
    fn labels(&mut self, view: &View<'_>) -> Result<Vec<Value>, NnError> {
        let x = self.tensor(view, 0)?;
        let shape = &self.graph.node(x).shape;
        let axis = super::layout::axis(
            view,
            view.int("axis", if view.operator == "TopK" { -1 } else { 0 }),
            shape.len(),
        )?;
        if shape[axis] != shape.iter().product::<usize>() {
            return Err(view.unsupported(format!(
                "over axis {axis} of {shape:?}; only over all values of one vector at the end of the network"
            )));
        }
        self.graph.notes.push(format!(
            "{} (node {}) is left to the client: the result is the tensor before it",
            shown(view.operator),
            view.name
        ));
        Ok(vec![Value::Labels(x); view.proto.output.len().min(2)])
    }
}

const SUPPORTED: &str = "supported are Conv, Gemm, MatMul, BatchNormalization, the usual activations, pooling, \
     Add/Sub/Mul/Div with constants, residual Add, Concat, Split, Slice, Pad, Resize (nearest), reductions, reshapes, and \
     Softmax, LogSoftmax or ArgMax at the end";

/// What to do about an operator that is not supported.
pub(super) fn hint(operator: &str) -> Option<&'static str> {
    Some(match operator {
        "Mish" | "Softsign" | "ThresholdedRelu" | "Shrink" | "Log" | "Sqrt" | "Reciprocal" | "Abs"
        | "Sin" | "Cos" | "Sign" | "Hardmax" => {
            "replace it by one of Relu, LeakyRelu, PRelu, Clip, HardSigmoid, HardSwish, Sigmoid, Tanh, Gelu, SiLU \
             (x·Sigmoid(x)), Softplus, Elu or a polynomial, and fine-tune"
        }
        "GatherElements" | "GatherND" | "ScatterND" | "ScatterElements" | "Where" | "NonZero" | "OneHot"
        | "Equal" | "Greater" | "Less" | "NonMaxSuppression" | "RoiAlign" | "GridSample" => {
            "it selects by values of the network, which nobody sees; move it behind the network's output"
        }
        "QuantizeLinear"
        | "DequantizeLinear"
        | "DynamicQuantizeLinear"
        | "QLinearConv"
        | "QLinearMatMul"
        | "ConvInteger"
        | "MatMulInteger" => "export the network in floating point; quantisation is done here",
        "LSTM"
        | "GRU"
        | "RNN"
        | "Attention"
        | "MultiHeadAttention"
        | "LayerNormalization"
        | "RMSNormalization"
        | "InstanceNormalization"
        | "LpNormalization"
        | "MeanVarianceNormalization"
        | "LRN"
        | "GroupNormalization" => {
            "it is not a linear map with fixed weights; use a network with BatchNormalization and without recurrence \
             or attention"
        }
        "LpPool" | "GlobalLpPool" | "MaxRoiPool" | "MaxUnpool" => "replace it by MaxPool or AveragePool",
        "ConvTranspose" | "DepthToSpace" | "SpaceToDepth" | "Einsum" => {
            "write it as Resize (nearest), Reshape, Transpose, Conv or MatMul"
        }
        "If" | "Loop" | "Scan" | "SequenceAt" => "control flow is not supported; export a traced network",
        "RandomNormal" | "RandomUniform" | "RandomNormalLike" | "RandomUniformLike" | "Multinomial"
        | "Bernoulli" => "it is random; export the network in evaluation mode",
        _ => return None,
    })
}
