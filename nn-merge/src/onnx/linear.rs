//! Convolutions, matrix products with a constant, batch normalisation.
//!
//! A product of a constant matrix with a tensor of many rows (or columns) is a 1×1 convolution over them: the axis that is
//! summed becomes the channel axis, all others together the image. A convolution over one axis is one over an image of a
//! single row.

use conv_fast::{ConvGeometry, ConvShape};

use super::attributes::View;
use super::spatial::{Window, window};
use super::{Importer, Value};
use crate::error::NnError;
use crate::graph::{BatchNorm, Linear, NodeId, Op};

/// Input 0 of an operator on images.
pub(super) struct Image {
    pub(super) id: NodeId,
    pub(super) channels: usize,
    /// Rows and columns; one row where the file has no rows.
    pub(super) size: [usize; 2],
    /// Spatial axes in the file: 1 or 2.
    pub(super) axes: usize,
}

impl Importer {
    /// Input 0, which must be 1×C×L or 1×C×H×W, as 1×C×H×W.
    pub(super) fn image(&mut self, view: &View<'_>) -> Result<Image, NnError> {
        let x = self.tensor(view, 0)?;
        match self.graph.node(x).shape[..] {
            [1, channels, h, w] => Ok(Image { id: x, channels, size: [h, w], axes: 2 }),
            [1, channels, length] => {
                let shape = vec![1, channels, 1, length];
                let id = self.reshape(&format!("{} (as an image)", view.name), x, shape)?;
                Ok(Image { id, channels, size: [1, length], axes: 1 })
            }
            ref other => {
                Err(view
                    .shape(format!("it takes 1xCxHxW (or 1xCxL), the tensor before it has shape {other:?}")))
            }
        }
    }

    /// The file's form of a result on an image: without the row axis that [`Importer::image`] put in.
    pub(super) fn back(&mut self, view: &View<'_>, id: NodeId, axes: usize) -> Result<NodeId, NnError> {
        match (axes, &self.graph.node(id).shape[..]) {
            (1, &[1, channels, 1, length]) => {
                self.reshape(&format!("{} (as a row)", view.name), id, vec![1, channels, length])
            }
            _ => Ok(id),
        }
    }

    pub(super) fn conv(&mut self, view: &View<'_>) -> Result<NodeId, NnError> {
        let Image { id: x, channels, size, axes } = self.image(view)?;
        let weights = self.required_constant(view, 1)?;
        let (outputs, per_group, kernel) = match (axes, &weights.shape[..]) {
            (2, &[o, c, kh, kw]) => (o, c, [kh, kw]),
            (1, &[o, c, k]) => (o, c, [1, k]),
            (_, other) => {
                return Err(view.unsupported(format!(
                    "weights of shape {other:?}; supported are convolutions over one or two axes"
                )));
            }
        };
        if kernel.iter().any(|&k| k == 0 || k > 1 << 16) {
            return Err(view.shape(format!("a kernel of {}x{}", kernel[0], kernel[1])));
        }
        if view.has("kernel_shape") && view.plane("kernel_shape", axes, 1, 1)? != kernel {
            return Err(view.shape("kernel_shape differs from the weights' shape"));
        }
        let groups = usize::try_from(view.int("group", 1)).unwrap_or(0);
        let Window { stride, dilation, padding, .. } = window(view, kernel, size, axes)?;
        let geometry = ConvGeometry::new(ConvShape {
            in_channels: channels,
            in_height: size[0],
            in_width: size[1],
            out_channels: outputs,
            kernel,
            stride,
            padding,
            dilation,
            groups,
        })
        .map_err(|e| view.shape(e.to_string()))?;
        if geometry.group_inputs() != per_group {
            return Err(
                view.shape(format!("weights for {per_group} channels per group on {channels} channels"))
            );
        }
        let bias = match self.constant(view, 2)? {
            Some(bias) => bias.to_f64(),
            None => vec![0.0; outputs],
        };
        self.charge(weights.len())?;
        let linear = Linear::new(&view.name, geometry, weights.to_f64(), bias)?;
        let is_flat = linear.is_flat();
        let mut id = self.push(&view.name, Op::Linear(linear), &[x])?;
        if is_flat {
            // On a 1×1 plane the graph's form is 1×O; the file's is 1×O×1×1.
            id = self.reshape(&format!("{} (plane)", view.name), id, vec![1, outputs, 1, 1])?;
        }
        self.back(view, id, axes)
    }

    pub(super) fn gemm(&mut self, view: &View<'_>) -> Result<NodeId, NnError> {
        let (alpha, beta) = (view.float("alpha", 1.0)?, view.float("beta", 1.0)?);
        let flip = [view.int("transA", 0) != 0, view.int("transB", 0) != 0];
        let (data, constant) = self.sides(view)?;
        let mut x = self.tensor(view, data)?;
        let weights = self.required_constant(view, constant)?;
        let ([rows, columns], [_, _]) = (&weights.shape[..], &self.graph.node(x).shape[..]) else {
            return Err(view.shape(format!(
                "weights of shape {:?} and a tensor of shape {:?}, wanted two matrices",
                weights.shape,
                self.graph.node(x).shape
            )));
        };
        let (mut rows, mut columns, mut matrix) = (*rows, *columns, weights.to_f64());
        self.charge(weights.len())?;
        if flip[constant] {
            matrix = transposed(&matrix, rows, columns);
            (rows, columns) = (columns, rows);
        }
        if flip[data] {
            x = self.push(&format!("{} (input transposed)", view.name), Op::Transpose(vec![1, 0]), &[x])?;
        }
        matrix.iter_mut().for_each(|v| *v *= alpha);
        let outputs = if constant == 1 { columns } else { rows };
        // A bias along the outputs goes into the layer; any other is added behind it.
        let (mut bias, mut later) = (vec![0.0; outputs], None);
        match self.input(view, 2)? {
            Some(Value::Constant(c)) if c.len() == 1 => bias = vec![c.to_f64()[0] * beta; outputs],
            Some(Value::Constant(c))
                if c.len() == outputs && (constant == 1) == (c.shape.last() == Some(&outputs)) =>
            {
                bias = c.to_f64().iter().map(|v| v * beta).collect();
            }
            Some(other) => later = Some(other),
            None => {}
        }
        let y = self.product(view, x, constant == 0, [rows, columns], matrix, bias)?;
        match later {
            None => Ok(y),
            Some(Value::Node(id)) => {
                let name = format!("{} (C)", view.name);
                let scaled = self.affine(&name, id, vec![beta], vec![0.0])?;
                let target = self.graph.node(y).shape.clone();
                let scaled = self.widened(view, scaled, &target)?;
                self.push(&name, Op::Add, &[y, scaled])
            }
            Some(Value::Constant(c)) => {
                let shape = self.graph.node(y).shape.clone();
                let (per_channel, values) = super::binary::spread(view, &shape, &c)?;
                self.charge(values.len())?;
                let shift: Vec<f64> = values.iter().map(|v| v * beta).collect();
                let scale = vec![1.0; shift.len()];
                let op = Op::Scale(crate::graph::Diagonal { scale, shift });
                let name = format!("{} (C)", view.name);
                if per_channel { self.push(&name, op, &[y]) } else { self.flattened(&name, op, y) }
            }
            Some(Value::Labels(_)) => Err(view.unsupported("its bias is a label")),
        }
    }

    pub(super) fn matmul(&mut self, view: &View<'_>) -> Result<NodeId, NnError> {
        let (data, constant) = self.sides(view)?;
        let x = self.tensor(view, data)?;
        let weights = self.required_constant(view, constant)?;
        // Leading axes of one do not matter; a vector is a column on the right and a row on the left.
        let ones = weights.shape.len().saturating_sub(2);
        if weights.shape[..ones].iter().any(|&side| side != 1) {
            return Err(view.unsupported(format!(
                "weights of shape {:?}; one matrix for all rows is supported, not a batch of them",
                weights.shape
            )));
        }
        let (rows, columns, is_vector) = match (&weights.shape[ones..], constant) {
            (&[rows, columns], _) => (rows, columns, false),
            (&[length], 1) => (length, 1, true),
            (&[length], _) => (1, length, true),
            _ => return Err(view.shape("weights without an axis")),
        };
        self.charge(weights.len())?;
        let outputs = if constant == 1 { columns } else { rows };
        let bias = vec![0.0; outputs];
        let mut x = x;
        let rank = self.graph.node(x).shape.len();
        let was_vector = rank == 1;
        if was_vector {
            let length = self.graph.node(x).shape[0];
            let shape = if constant == 1 { vec![1, length] } else { vec![length, 1] };
            x = self.reshape(&format!("{} (as a matrix)", view.name), x, shape)?;
        }
        let y = self.product(view, x, constant == 0, [rows, columns], weights.to_f64(), bias)?;
        // Axes that numpy's rule drops again: of a vector of weights, of a vector of data.
        let mut target = self.graph.node(y).shape.clone();
        let last = target.len() - 1;
        if is_vector {
            target.remove(if constant == 1 { last } else { last - 1 });
        }
        if was_vector {
            let last = target.len() - 1;
            let at = if constant == 1 { last.saturating_sub(usize::from(!is_vector)) } else { last };
            target.remove(at);
        }
        if target.is_empty() {
            target.push(1);
        }
        let missing = ones.saturating_sub(target.len().saturating_sub(2));
        target.splice(0..0, std::iter::repeat_n(1, missing));
        self.reshape(&format!("{} (restored)", view.name), y, target)
    }

    /// Which input is data and which is constant.
    fn sides(&self, view: &View<'_>) -> Result<(usize, usize), NnError> {
        match (self.required(view, 0)?, self.required(view, 1)?) {
            (Value::Node(_), Value::Constant(_)) => Ok((0, 1)),
            (Value::Constant(_), Value::Node(_)) => Ok((1, 0)),
            _ => Err(view.unsupported(
                "a product of two tensors of the network, as in attention; only constant weights are supported",
            )),
        }
    }

    /// `x·M` over the last axis of x, or `M·x` over the last but one when `on_left`; M is rows × columns.
    fn product(
        &mut self,
        view: &View<'_>,
        x: NodeId,
        on_left: bool,
        [rows, columns]: [usize; 2],
        matrix: Vec<f64>,
        bias: Vec<f64>,
    ) -> Result<NodeId, NnError> {
        let shape = self.graph.node(x).shape.clone();
        let (inner, outputs) = if on_left { (columns, rows) } else { (rows, columns) };
        let axis = shape.len().wrapping_sub(if on_left { 2 } else { 1 });
        if shape.get(axis) != Some(&inner) {
            return Err(view.shape(format!("a {rows}x{columns} matrix on a tensor of shape {shape:?}")));
        }
        // Weights of a layer are outputs × inputs.
        let weights = if on_left { matrix } else { transposed(&matrix, rows, columns) };
        let mut target = shape.clone();
        target[axis] = outputs;
        let others = shape.iter().product::<usize>() / inner;
        let name = |what: &str| format!("{} ({what})", view.name);
        if others == 1 {
            let x = self.reshape(&name("flattened"), x, vec![1, inner])?;
            let geometry =
                ConvGeometry::fully_connected(inner, outputs).map_err(|e| view.shape(e.to_string()))?;
            let layer = Linear::new(&view.name, geometry, weights, bias)?;
            let y = self.push(&view.name, Op::Linear(layer), &[x])?;
            return self.reshape(&name("restored"), y, target);
        }
        // The summed axis becomes the channels: behind the batch axis where that is 1, else in front.
        let batch = usize::from(shape[0] == 1 && axis > 0);
        let others: Vec<usize> = (batch..shape.len()).filter(|&a| a != axis).collect();
        let order: Vec<usize> = (0..batch).chain([axis]).chain(others.iter().copied()).collect();
        let back: Vec<usize> =
            (0..shape.len()).map(|a| order.iter().position(|&o| o == a).unwrap_or_default()).collect();
        let height: usize = shape[batch..axis].iter().product();
        let width: usize = shape[axis + 1..].iter().product();
        let x = self.transpose(&name("channels first"), x, order.clone())?;
        let x = self.reshape(&name("as an image"), x, vec![1, inner, height, width])?;
        let geometry = ConvGeometry::pointwise([inner, outputs], [height, width], 1)
            .map_err(|e| view.shape(e.to_string()))?;
        let layer = Linear::new(&view.name, geometry, weights, bias)?;
        let y = self.push(&view.name, Op::Linear(layer), &[x])?;
        let moved = order.iter().map(|&a| target[a]).collect();
        let y = self.reshape(&name("as rows"), y, moved)?;
        self.transpose(&name("channels back"), y, back)
    }

    pub(super) fn batch_norm(&mut self, view: &View<'_>) -> Result<NodeId, NnError> {
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
        self.push(&view.name, Op::BatchNorm(norm), &[x])
    }
}

fn transposed(matrix: &[f64], rows: usize, columns: usize) -> Vec<f64> {
    let mut out = Vec::with_capacity(matrix.len());
    for column in 0..columns {
        out.extend((0..rows).map(|row| matrix[row * columns + column]));
    }
    out
}
