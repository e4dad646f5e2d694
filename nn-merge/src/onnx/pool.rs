//! Poolings and reductions.
//!
//! A reduction over any axes is a pooling over one long row: the axes that stay come first, those that go become the row.

use super::attributes::View;
use super::linear::Image;
use super::spatial::{Window, window};
use super::{Importer, layout};
use crate::error::NnError;
use crate::graph::{NodeId, Op};
use crate::model::{PoolGeometry, PoolShape};

impl Importer {
    pub(super) fn pool(&mut self, view: &View<'_>) -> Result<NodeId, NnError> {
        if view.operator.starts_with("Global") {
            return self.global(view);
        }
        let Image { id: mut x, channels, mut size, axes } = self.image(view)?;
        if !view.has("kernel_shape") {
            return Err(view.shape("it has no kernel_shape"));
        }
        let kernel = view.plane("kernel_shape", axes, 1, 1)?;
        let Window { kernel, stride, dilation, mut padding, extension } = window(view, kernel, size, axes)?;
        if dilation != [1, 1] {
            return Err(view.unsupported("dilated pooling; use a convolution or plain pooling instead"));
        }
        let is_maximum = view.operator == "MaxPool";
        let mut count_padding = !is_maximum && view.int("count_include_pad", 0) != 0;
        if count_padding && extension != [0, 0] {
            // Only declared padding counts: make it part of the tensor.
            let [top, left, bottom, right] = padding;
            let (before, after) =
                (vec![0, 0, top, left], vec![0, 0, bottom - extension[0], right - extension[1]]);
            x = self.push(&format!("{} (padded)", view.name), Op::Pad { before, after }, &[x])?;
            size = [self.graph.node(x).shape[2], self.graph.node(x).shape[3]];
            padding = [0, 0, extension[0], extension[1]];
            count_padding = false;
        }
        let window = geometry(view, channels, size, kernel, stride, padding)?;
        let op = if is_maximum { Op::MaxPool(window) } else { Op::AveragePool { window, count_padding } };
        let y = self.push(&view.name, op, &[x])?;
        self.back(view, y, axes)
    }

    fn global(&mut self, view: &View<'_>) -> Result<NodeId, NnError> {
        let x = self.tensor(view, 0)?;
        let shape = self.graph.node(x).shape.clone();
        if shape.len() < 3 {
            return Err(view.shape(format!("it takes 1xCxHxW, the tensor before it has shape {shape:?}")));
        }
        let axes: Vec<usize> = (2..shape.len()).collect();
        self.over(view, x, &axes, view.operator == "GlobalMaxPool", true)
    }

    /// ReduceMean, ReduceSum, ReduceMax.
    pub(super) fn reduce(&mut self, view: &View<'_>) -> Result<NodeId, NnError> {
        let x = self.tensor(view, 0)?;
        let shape = self.graph.node(x).shape.clone();
        let mut axes = match self.axes(view, shape.len())? {
            Some(axes) if !axes.is_empty() => axes,
            _ if view.int("noop_with_empty_axes", 0) != 0 => {
                return self.push(&view.name, Op::Identity, &[x]);
            }
            _ => (0..shape.len()).collect(),
        };
        axes.sort_unstable();
        axes.dedup();
        let keep = view.int("keepdims", 1) != 0;
        let y = self.over(view, x, &axes, view.operator == "ReduceMax", keep)?;
        if view.operator != "ReduceSum" {
            return Ok(y);
        }
        let count: usize = axes.iter().map(|&a| shape[a]).product();
        self.scale(&format!("{} (sum)", view.name), y, vec![count as f64], vec![0.0])
    }

    /// The mean or maximum over some axes (ascending).
    fn over(
        &mut self,
        view: &View<'_>,
        x: NodeId,
        axes: &[usize],
        is_maximum: bool,
        keep: bool,
    ) -> Result<NodeId, NnError> {
        let shape = self.graph.node(x).shape.clone();
        let stay: Vec<usize> = (0..shape.len()).filter(|a| !axes.contains(a)).collect();
        let kept: usize = stay.iter().map(|&a| shape[a]).product();
        let length: usize = axes.iter().map(|&a| shape[a]).product();
        let mut target: Vec<usize> = match keep {
            true => (0..shape.len()).map(|a| if axes.contains(&a) { 1 } else { shape[a] }).collect(),
            false => stay.iter().map(|&a| shape[a]).collect(),
        };
        if target.is_empty() {
            target.push(1);
        }
        if length == 1 {
            return self.reshape(&view.name, x, target);
        }
        let (image, size) = match shape[..] {
            // The image as it stands.
            [1, _, h, w] if axes == [2, 3] => (x, [h, w]),
            _ => {
                let order = stay.iter().chain(axes).copied().collect();
                let moved = self.transpose(&format!("{} (axes last)", view.name), x, order)?;
                let row = vec![1, kept, 1, length];
                (self.reshape(&format!("{} (as rows)", view.name), moved, row)?, [1, length])
            }
        };
        let window = geometry(view, kept, size, size, [1, 1], [0; 4])?;
        let op =
            if is_maximum { Op::MaxPool(window) } else { Op::AveragePool { window, count_padding: true } };
        let y = self.push(&view.name, op, &[image])?;
        self.reshape(&format!("{} (axes dropped)", view.name), y, target)
    }

    pub(super) fn softmax(&mut self, view: &View<'_>) -> Result<NodeId, NnError> {
        let x = self.tensor(view, 0)?;
        let shape = self.graph.node(x).shape.clone();
        let rank = shape.len();
        let default = if self.opset < 13 { 1 } else { -1 };
        let axis = layout::axis(view, view.int("axis", default), rank)?;
        let op = if view.operator == "Softmax" { Op::Softmax } else { Op::LogSoftmax };
        // Older operator sets flatten all axes from this one on into one.
        let length: usize = if self.opset < 13 { shape[axis..].iter().product() } else { shape[axis] };
        if length == shape[rank - 1] && shape[axis..rank - 1].iter().all(|&side| side == 1) {
            return self.push(&view.name, op, &[x]);
        }
        let behind: usize = shape[axis..].iter().product::<usize>() / length;
        if behind != 1 {
            return Err(view.unsupported(format!("over axis {axis} of {shape:?}; only over the last axis")));
        }
        let rows: usize = shape.iter().product::<usize>() / length;
        let x = self.reshape(&format!("{} (as rows)", view.name), x, vec![rows, length])?;
        let y = self.push(&view.name, op, &[x])?;
        self.reshape(&format!("{} (restored)", view.name), y, shape)
    }
}

fn geometry(
    view: &View<'_>,
    channels: usize,
    size: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 4],
) -> Result<PoolGeometry, NnError> {
    let shape = PoolShape { channels, in_height: size[0], in_width: size[1], kernel, stride, padding };
    PoolGeometry::new(shape).map_err(|e| view.shape(e.to_string()))
}
