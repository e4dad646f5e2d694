//! One node of the file into nodes of the graph.

use conv_fast::{ConvGeometry, ConvShape};

use super::Importer;
use super::attributes::View;
use super::spatial::{Window, window};
use crate::error::{NnError, shown};
use crate::graph::{BatchNorm, Linear, NodeId, Op};
use crate::model::{PoolGeometry, PoolShape};

impl Importer {
    /// Converts a node that depends on the network's input.
    pub(super) fn convert(&mut self, view: &View<'_>) -> Result<NodeId, NnError> {
        match view.operator {
            "Conv" => self.conv(view),
            "Gemm" => self.gemm(view),
            "MatMul" => self.matmul(view),
            "BatchNormalization" => self.batch_norm(view),
            "Add" | "Sub" | "Mul" | "Div" => self.binary(view),
            "MaxPool" | "AveragePool" | "GlobalMaxPool" | "GlobalAveragePool" => self.pool(view),
            "ReduceMean" => self.reduce_mean(view),
            "Relu" => self.unary(view, Op::Relu),
            "Identity" => self.unary(view, Op::Identity),
            "Dropout" => self.unary(view, Op::Dropout),
            "Softmax" | "LogSoftmax" => self.softmax(view),
            "Cast" => match view.int("to", 0) {
                1 | 10 | 11 => self.unary(view, Op::Identity),
                to => Err(view.unsupported(format!("casting the network's values to element type {to}"))),
            },
            "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => {
                let x = self.tensor(view, 0)?;
                let shape = self.target_shape(view, &self.graph.node(x).shape)?;
                self.graph.push(&view.name, Op::Reshape(shape), &[x])
            }
            "Transpose" => {
                let x = self.tensor(view, 0)?;
                let perm = self.permutation(view, self.graph.node(x).shape.len())?;
                self.graph.push(&view.name, Op::Transpose(perm), &[x])
            }
            other => Err(NnError::UnsupportedOperator {
                operator: shown(other),
                node: view.name.clone(),
                hint: hint(other).into(),
            }),
        }
    }

    fn unary(&mut self, view: &View<'_>, op: Op) -> Result<NodeId, NnError> {
        let x = self.tensor(view, 0)?;
        self.graph.push(&view.name, op, &[x])
    }

    /// Channels, rows and columns of input 0, which must be 1×C×H×W.
    fn image(&self, view: &View<'_>) -> Result<(NodeId, [usize; 3]), NnError> {
        let x = self.tensor(view, 0)?;
        match self.graph.node(x).shape[..] {
            [1, c, h, w] => Ok((x, [c, h, w])),
            ref other => {
                Err(view.shape(format!("it takes 1xCxHxW, the tensor before it has shape {other:?}")))
            }
        }
    }

    fn conv(&mut self, view: &View<'_>) -> Result<NodeId, NnError> {
        let (x, [c, h, w]) = self.image(view)?;
        let weights = self.required_constant(view, 1)?;
        let [outputs, per_group, kh, kw] = weights.shape[..] else {
            return Err(
                view.unsupported(format!("weights of shape {:?}; only 2-D convolutions", weights.shape))
            );
        };
        if view.has("kernel_shape") && view.sizes::<2>("kernel_shape", 1, 1)? != [kh, kw] {
            return Err(view.shape("kernel_shape differs from the weights' shape"));
        }
        if kh == 0 || kw == 0 || kh > 1 << 16 || kw > 1 << 16 {
            return Err(view.shape(format!("a kernel of {kh}x{kw}")));
        }
        let groups = usize::try_from(view.int("group", 1)).unwrap_or(0);
        let Window { stride, dilation, padding, .. } = window(view, [kh, kw], [h, w])?;
        let geometry = ConvGeometry::new(ConvShape {
            in_channels: c,
            in_height: h,
            in_width: w,
            out_channels: outputs,
            kernel: [kh, kw],
            stride,
            padding,
            dilation,
            groups,
        })
        .map_err(|e| view.shape(e.to_string()))?;
        if geometry.group_inputs() != per_group {
            return Err(view.shape(format!("weights for {per_group} channels per group on {c} channels")));
        }
        let bias = match self.constant(view, 2)? {
            Some(bias) => bias.to_f64(),
            None => vec![0.0; outputs],
        };
        self.charge(weights.len())?;
        let linear = Linear::new(&view.name, geometry, weights.to_f64(), bias)?;
        let is_flat = linear.is_flat();
        let id = self.graph.push(&view.name, Op::Linear(linear), &[x])?;
        if is_flat {
            // On a 1×1 plane the graph's form is 1×O; the file's is 1×O×1×1.
            return self.graph.push(
                &format!("{} (plane)", view.name),
                Op::Reshape(vec![1, outputs, 1, 1]),
                &[id],
            );
        }
        Ok(id)
    }

    fn gemm(&mut self, view: &View<'_>) -> Result<NodeId, NnError> {
        let x = self.tensor(view, 0)?;
        let [1, inputs] = self.graph.node(x).shape[..] else {
            return Err(
                view.shape(format!("it takes 1xK, the tensor before it is {:?}", self.graph.node(x).shape))
            );
        };
        if view.int("transA", 0) != 0 && inputs != 1 {
            return Err(view.unsupported("transA"));
        }
        let weights = self.required_constant(view, 1)?;
        let [rows, columns] = weights.shape[..] else {
            return Err(view.shape(format!("weights of shape {:?}", weights.shape)));
        };
        let (alpha, beta) = (view.float("alpha", 1.0)?, view.float("beta", 1.0)?);
        let rows_are_outputs = view.int("transB", 0) != 0;
        let outputs = if rows_are_outputs { rows } else { columns };
        let bias = match self.constant(view, 2)? {
            None => vec![0.0; outputs],
            Some(c) if c.len() == 1 => vec![c.to_f64()[0] * beta; outputs],
            Some(c) if c.len() == outputs && c.shape.last() == Some(&outputs) => {
                c.to_f64().iter().map(|v| v * beta).collect()
            }
            Some(c) => return Err(view.shape(format!("a bias of shape {:?} for {outputs} outputs", c.shape))),
        };
        self.charge(weights.len())?;
        let mut matrix = weights.to_f64();
        if !rows_are_outputs {
            matrix = transposed(&matrix, rows, columns);
        }
        matrix.iter_mut().for_each(|v| *v *= alpha);
        self.dense(view, x, inputs, outputs, matrix, bias)
    }

    fn matmul(&mut self, view: &View<'_>) -> Result<NodeId, NnError> {
        let weights_first = matches!(self.required(view, 0)?, super::Value::Constant(_));
        let (data, constant) = if weights_first { (1, 0) } else { (0, 1) };
        let x = self.tensor(view, data).map_err(|_| {
            view.unsupported("a product of two tensors of the network (only constant weights are supported)")
        })?;
        let weights = match self.constant(view, constant) {
            Ok(Some(weights)) => weights,
            _ => {
                return Err(view.unsupported(
                    "a product of two tensors of the network (only constant weights are supported)",
                ));
            }
        };
        let [rows, columns] = weights.shape[..] else {
            return Err(view.unsupported(format!("weights of shape {:?}; only matrices", weights.shape)));
        };
        let shape = self.graph.node(x).shape.clone();
        let rank = shape.len();
        let (inner, outputs, inner_axis) =
            if weights_first { (columns, rows, rank.wrapping_sub(2)) } else { (rows, columns, rank - 1) };
        let others_are_one = shape.iter().enumerate().all(|(axis, &side)| axis == inner_axis || side == 1);
        if shape.get(inner_axis) != Some(&inner) || !others_are_one {
            return Err(view.unsupported(format!(
                "a {rows}x{columns} matrix on a tensor of shape {shape:?}; only one vector at a time is supported"
            )));
        }
        self.charge(weights.len())?;
        let matrix =
            if weights_first { weights.to_f64() } else { transposed(&weights.to_f64(), rows, columns) };
        let flat = match shape[..] {
            [1, _] if !weights_first => x,
            _ => self.graph.push(&format!("{} (flattened)", view.name), Op::Reshape(vec![1, inner]), &[x])?,
        };
        let product = self.dense(view, flat, inner, outputs, matrix, vec![0.0; outputs])?;
        let mut target = shape;
        target[inner_axis] = outputs;
        if target == [1, outputs] {
            return Ok(product);
        }
        self.graph.push(&format!("{} (restored)", view.name), Op::Reshape(target), &[product])
    }

    fn dense(
        &mut self,
        view: &View<'_>,
        x: NodeId,
        inputs: usize,
        outputs: usize,
        matrix: Vec<f64>,
        bias: Vec<f64>,
    ) -> Result<NodeId, NnError> {
        let geometry =
            ConvGeometry::fully_connected(inputs, outputs).map_err(|e| view.shape(e.to_string()))?;
        let linear = Linear::new(&view.name, geometry, matrix, bias)?;
        self.graph.push(&view.name, Op::Linear(linear), &[x])
    }

    fn batch_norm(&mut self, view: &View<'_>) -> Result<NodeId, NnError> {
        let x = self.tensor(view, 0)?;
        if view.int("training_mode", 0) != 0 {
            return Err(view.unsupported("it is in training mode; export the network in evaluation mode"));
        }
        if self.opset < 9 && view.int("spatial", 1) == 0 {
            return Err(view.unsupported("spatial = 0"));
        }
        let part = |index| self.required_constant(view, index).map(|c| c.to_f64());
        let norm = BatchNorm {
            gamma: part(1)?,
            beta: part(2)?,
            mean: part(3)?,
            variance: part(4)?,
            epsilon: view.float("epsilon", 1e-5)?,
        };
        if norm.variance.iter().any(|v| v + norm.epsilon <= 0.0) {
            return Err(view.unsupported("a variance that is not positive"));
        }
        self.graph.push(&view.name, Op::BatchNorm(norm), &[x])
    }

    fn pool(&mut self, view: &View<'_>) -> Result<NodeId, NnError> {
        let (x, [channels, h, w]) = self.image(view)?;
        let parts = if view.operator.starts_with("Global") {
            Window { kernel: [h, w], stride: [1, 1], dilation: [1, 1], padding: [0; 4], extended: false }
        } else {
            if !view.has("kernel_shape") {
                return Err(view.shape("it has no kernel_shape"));
            }
            window(view, view.sizes::<2>("kernel_shape", 1, 1)?, [h, w])?
        };
        if parts.dilation != [1, 1] {
            return Err(view.unsupported("dilated pooling"));
        }
        let geometry = PoolGeometry::new(PoolShape {
            channels,
            in_height: h,
            in_width: w,
            kernel: parts.kernel,
            stride: parts.stride,
            padding: parts.padding,
        })
        .map_err(|e| view.shape(e.to_string()))?;
        if view.operator.ends_with("MaxPool") {
            return self.graph.push(&view.name, Op::MaxPool(geometry), &[x]);
        }
        let count_padding = view.int("count_include_pad", 0) != 0;
        if count_padding && parts.extended {
            return Err(view.unsupported("average pooling that counts padding, in ceiling mode"));
        }
        self.graph.push(&view.name, Op::AveragePool { window: geometry, count_padding }, &[x])
    }

    /// The mean over rows and columns is a global average pooling.
    fn reduce_mean(&mut self, view: &View<'_>) -> Result<NodeId, NnError> {
        let (x, [channels, h, w]) = self.image(view)?;
        let mut axes = self.axes(view, 4)?.unwrap_or_default();
        axes.sort_unstable();
        if axes != [2, 3] {
            return Err(view.unsupported("a mean over other axes than rows and columns"));
        }
        let window = PoolGeometry::new(PoolShape {
            channels,
            in_height: h,
            in_width: w,
            kernel: [h, w],
            stride: [1, 1],
            padding: [0; 4],
        })
        .map_err(|e| view.shape(e.to_string()))?;
        let mean = self.graph.push(&view.name, Op::AveragePool { window, count_padding: true }, &[x])?;
        if view.int("keepdims", 1) != 0 {
            return Ok(mean);
        }
        self.graph.push(&format!("{} (squeezed)", view.name), Op::Reshape(vec![1, channels]), &[mean])
    }

    fn softmax(&mut self, view: &View<'_>) -> Result<NodeId, NnError> {
        let x = self.tensor(view, 0)?;
        let shape = &self.graph.node(x).shape;
        let rank = shape.len();
        let default = if self.opset < 13 { 1 } else { -1 };
        let axis = super::layout::axis(view, view.int("axis", default), rank)?;
        // Older operator sets flatten all axes from this one on into one.
        let is_last = match self.opset {
            ..13 => shape[axis..rank - 1].iter().all(|&side| side == 1),
            _ => axis == rank - 1,
        };
        if !is_last {
            return Err(view.unsupported(format!("over axis {axis} of {shape:?}; only the last axis")));
        }
        let op = if view.operator == "Softmax" { Op::Softmax } else { Op::LogSoftmax };
        self.graph.push(&view.name, op, &[x])
    }
}

fn transposed(matrix: &[f64], rows: usize, columns: usize) -> Vec<f64> {
    let mut out = Vec::with_capacity(matrix.len());
    for column in 0..columns {
        out.extend((0..rows).map(|row| matrix[row * columns + column]));
    }
    out
}

/// What to do about an operator that is not supported.
fn hint(operator: &str) -> &'static str {
    match operator {
        "Clip" | "LeakyRelu" | "PRelu" | "Elu" | "Selu" | "Celu" | "HardSwish" | "HardSigmoid" | "Gelu"
        | "Mish" | "Sigmoid" | "Tanh" | "Softplus" | "Softsign" | "ThresholdedRelu" | "Erf" | "Exp"
        | "Pow" | "Sqrt" => {
            "the only activation supported so far is Relu; replace it and fine-tune, or wait for a later version"
        }
        "Concat" | "Slice" | "Pad" | "Split" | "Gather" | "ConstantOfShape" | "Expand" | "Tile" => {
            "the network must be a plain chain so far; branches, slices and explicit padding come later (padding \
             can often be moved into the convolution's own pads)"
        }
        "QuantizeLinear" | "DequantizeLinear" | "QLinearConv" | "ConvInteger" | "MatMulInteger" => {
            "export the network in floating point; quantisation is done here"
        }
        "LSTM"
        | "GRU"
        | "RNN"
        | "Attention"
        | "LayerNormalization"
        | "InstanceNormalization"
        | "LRN"
        | "GroupNormalization" => {
            "it is not a linear map with fixed weights; such networks are not supported"
        }
        "ConvTranspose" | "Resize" | "Upsample" => "only down-sampling networks are supported",
        "If" | "Loop" | "Scan" => "control flow is not supported; export a traced network",
        _ => {
            "supported are Conv, Gemm, MatMul, BatchNormalization, Relu, MaxPool, AveragePool, GlobalAveragePool, \
              Add/Sub/Mul/Div with constants, Reshape, Flatten, Squeeze, Unsqueeze, Transpose, Identity, Dropout, \
              and Softmax or LogSoftmax at the end"
        }
    }
}
