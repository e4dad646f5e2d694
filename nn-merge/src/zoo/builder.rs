//! A graph under construction, with random weights.
//!
//! Every call appends a node behind the current one and makes it the current one; [`Builder::at`] goes back to an
//! earlier node, which is how branches are made. Weights are uniform with variance 2/fan-in (He), so that a ReLU
//! behind every layer keeps the size of the values; normalisations are near the identity for the same reason.

use conv_fast::{ConvGeometry, ConvShape};
use rand_core::Rng;

use crate::error::NnError;
use crate::graph::{BatchNorm, Function, Graph, Linear, NodeId, Op};
use crate::model::{PoolGeometry, PoolShape};

/// A graph under construction: each call appends one node behind the last.
pub struct Builder<'r, R: Rng> {
    graph: Graph,
    rng: &'r mut R,
}

impl<'r, R: Rng> Builder<'r, R> {
    /// Starts with an input of `shape` (batch axis included).
    ///
    /// # Errors
    /// As [`Graph::new`].
    pub fn new(shape: &[usize], rng: &'r mut R) -> Result<Self, NnError> {
        Ok(Self { graph: Graph::new("input", shape)?, rng })
    }

    /// The node appended last.
    pub fn last(&self) -> NodeId {
        self.graph.output()
    }

    /// The graph so far.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Goes on from another graph.
    pub fn replace(&mut self, graph: Graph) {
        self.graph = graph;
    }

    /// The finished graph.
    pub fn finish(self) -> Graph {
        self.graph
    }

    /// A uniform value in [−1, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.rng.next_u64() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    /// Goes on from an earlier node.
    ///
    /// # Errors
    /// [`NnError::Shape`] if there is no such node.
    pub fn at(&mut self, id: NodeId) -> Result<&mut Self, NnError> {
        self.graph.set_output(id)?;
        Ok(self)
    }

    /// Appends an operation on any nodes.
    ///
    /// # Errors
    /// As [`Graph::push`].
    pub fn push(&mut self, op: Op, inputs: &[NodeId]) -> Result<&mut Self, NnError> {
        let name = format!("{}_{}", op.kind().to_lowercase().replace(' ', "_"), self.graph.nodes().len());
        self.graph.push(&name, op, inputs)?;
        Ok(self)
    }

    /// Appends the sum of the current node and another.
    ///
    /// # Errors
    /// As [`Graph::push`].
    pub fn add(&mut self, other: NodeId) -> Result<&mut Self, NnError> {
        let last = self.last();
        self.push(Op::Add, &[last, other])
    }

    /// Appends any operation that reads the last node.
    ///
    /// # Errors
    /// As [`Graph::push`].
    pub fn op(&mut self, op: Op) -> Result<&mut Self, NnError> {
        let last = self.last();
        self.push(op, &[last])
    }

    /// Appends a convolution with random weights.
    ///
    /// # Errors
    /// [`NnError::Shape`] if it does not fit the last node.
    pub fn conv(
        &mut self,
        outputs: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
        groups: usize,
    ) -> Result<&mut Self, NnError> {
        let shape = self.plane()?;
        self.linear(ConvShape {
            in_channels: shape[0],
            in_height: shape[1],
            in_width: shape[2],
            out_channels: outputs,
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: [padding; 4],
            dilation: [1, 1],
            groups,
        })
    }

    /// Appends a linear map of any shape with random weights.
    ///
    /// # Errors
    /// [`NnError::Shape`] if it does not fit the last node.
    pub fn linear(&mut self, shape: ConvShape) -> Result<&mut Self, NnError> {
        let geometry = ConvGeometry::new(shape).map_err(|e| NnError::shape("linear", e.to_string()))?;
        let range = (6.0 / geometry.terms() as f64).sqrt();
        let weights = (0..geometry.weights_len()).map(|_| self.uniform() * range).collect();
        let bias = (0..shape.out_channels).map(|_| self.uniform() * 0.1).collect();
        let linear = Linear::new("linear", geometry, weights, bias)?;
        self.op(Op::Linear(linear))
    }

    /// Appends a fully connected layer with random weights on all values of the last node.
    ///
    /// # Errors
    /// [`NnError::Shape`] for sizes above the caps.
    pub fn dense(&mut self, outputs: usize) -> Result<&mut Self, NnError> {
        let inputs = self.graph.node(self.last()).elements();
        self.linear(ConvShape {
            in_channels: inputs,
            in_height: 1,
            in_width: 1,
            out_channels: outputs,
            kernel: [1; 2],
            stride: [1; 2],
            padding: [0; 4],
            dilation: [1; 2],
            groups: 1,
        })
    }

    /// A plain convolution without bias, as layers before a normalisation have it, and the normalisation, whose scales
    /// are about `gamma`.
    ///
    /// # Errors
    /// As [`Builder::conv`].
    pub fn conv_norm(
        &mut self,
        outputs: usize,
        kernel: usize,
        stride: usize,
        groups: usize,
        gamma: f64,
    ) -> Result<&mut Self, NnError> {
        let [channels, height, width] = self.plane()?;
        let geometry = ConvGeometry::new(ConvShape {
            in_channels: channels,
            in_height: height,
            in_width: width,
            out_channels: outputs,
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: [kernel / 2; 4],
            dilation: [1, 1],
            groups,
        })
        .map_err(|e| NnError::shape("convolution", e.to_string()))?;
        let range = (6.0 / geometry.terms() as f64).sqrt();
        let weights = (0..geometry.weights_len()).map(|_| self.uniform() * range).collect();
        self.op(Op::Linear(Linear::new("convolution", geometry, weights, vec![0.0; outputs])?))?;
        let mut draw = |scale: f64, offset: f64| -> Vec<f64> {
            (0..outputs).map(|_| offset * (1.0 + scale * self.uniform())).collect()
        };
        let (gamma, variance) = (draw(0.2, gamma), draw(0.2, 1.0));
        let (beta, mean) = (
            (0..outputs).map(|_| 0.1 * self.uniform()).collect(),
            (0..outputs).map(|_| 0.1 * self.uniform()).collect(),
        );
        self.op(Op::BatchNorm(BatchNorm { gamma, beta, mean, variance, epsilon: 1e-5 }))
    }

    /// Appends a batch normalisation with random parameters; some scales are negative if `signs`.
    ///
    /// # Errors
    /// [`NnError::Shape`] if the last node has no channel axis.
    pub fn batch_norm(&mut self, signs: bool) -> Result<&mut Self, NnError> {
        let channels = self.graph.node(self.last()).shape.get(1).copied().unwrap_or(0);
        let mut draw = |scale: f64, offset: f64| -> Vec<f64> {
            (0..channels).map(|_| self.uniform() * scale + offset).collect()
        };
        let (mut gamma, beta, mean, variance) =
            (draw(0.4, 1.0), draw(0.5, 0.0), draw(0.5, 0.0), draw(0.4, 1.0));
        if signs {
            gamma.iter_mut().step_by(2).for_each(|g| *g = -*g);
        }
        self.op(Op::BatchNorm(BatchNorm { gamma, beta, mean, variance, epsilon: 1e-5 }))
    }

    /// Appends a ReLU.
    ///
    /// # Errors
    /// As [`Graph::push`].
    pub fn relu(&mut self) -> Result<&mut Self, NnError> {
        self.activation(Function::Relu)
    }

    /// Appends any activation.
    ///
    /// # Errors
    /// As [`Graph::push`].
    pub fn activation(&mut self, function: Function) -> Result<&mut Self, NnError> {
        self.op(Op::Activation(function))
    }

    /// Appends an average pooling over the whole plane.
    ///
    /// # Errors
    /// As [`Builder::window`].
    pub fn global_average(&mut self) -> Result<&mut Self, NnError> {
        let [channels, in_height, in_width] = self.plane()?;
        let window = PoolGeometry::new(PoolShape {
            channels,
            in_height,
            in_width,
            kernel: [in_height, in_width],
            stride: [1, 1],
            padding: [0; 4],
        })?;
        self.op(Op::AveragePool { window, count_padding: false })
    }

    /// A square pooling window on the last node.
    ///
    /// # Errors
    /// [`NnError::Shape`] or [`NnError::Manifest`] if it does not fit.
    pub fn window(&self, kernel: usize, stride: usize, padding: usize) -> Result<PoolGeometry, NnError> {
        let shape = self.plane()?;
        PoolGeometry::new(PoolShape {
            channels: shape[0],
            in_height: shape[1],
            in_width: shape[2],
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: [padding; 4],
        })
    }

    /// Appends a maximum pooling.
    ///
    /// # Errors
    /// As [`Builder::window`].
    pub fn max_pool(&mut self, kernel: usize, stride: usize, padding: usize) -> Result<&mut Self, NnError> {
        let window = self.window(kernel, stride, padding)?;
        self.op(Op::MaxPool(window))
    }

    /// Appends an average pooling.
    ///
    /// # Errors
    /// As [`Builder::window`].
    pub fn average_pool(
        &mut self,
        kernel: usize,
        stride: usize,
        padding: usize,
        count_padding: bool,
    ) -> Result<&mut Self, NnError> {
        let window = self.window(kernel, stride, padding)?;
        self.op(Op::AveragePool { window, count_padding })
    }

    /// Channels, height and width of the last node.
    ///
    /// # Errors
    /// [`NnError::Shape`] if it is not 1×C×H×W.
    pub fn plane(&self) -> Result<[usize; 3], NnError> {
        match self.graph.node(self.last()).shape[..] {
            [1, c, h, w] => Ok([c, h, w]),
            _ => Err(NnError::shape("builder", "the last node is not 1xCxHxW")),
        }
    }
}
