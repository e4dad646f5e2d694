//! Small networks with random weights, for tests, benchmarks and examples.
//!
//! The layer shapes are those of the literature; the weights are uniform with He's scaling (variance 2/fan-in),
//! so that activations neither vanish nor explode. Nothing here was trained: labels are meaningless.

use conv_fast::{ConvGeometry, ConvShape};
use rand_core::Rng;

use crate::error::NnError;
use crate::graph::{BatchNorm, Graph, Linear, NodeId, Op};
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

    /// Appends any operation that reads the last node.
    ///
    /// # Errors
    /// As [`Graph::push`].
    pub fn op(&mut self, op: Op) -> Result<&mut Self, NnError> {
        let name = format!("{}_{}", op.kind().to_lowercase(), self.graph.nodes().len());
        let last = self.last();
        self.graph.push(&name, op, &[last])?;
        Ok(self)
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
        self.op(Op::Relu)
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

    fn plane(&self) -> Result<[usize; 3], NnError> {
        match self.graph.node(self.last()).shape[..] {
            [1, c, h, w] => Ok([c, h, w]),
            _ => Err(NnError::shape("builder", "the last node is not 1xCxHxW")),
        }
    }
}

/// MiniONN's MNIST network: conv 5×5×16, ReLU, max-pool, twice; fully connected 100, ReLU, 10.
///
/// # Errors
/// None in practice: the shapes are fixed and fit.
pub fn minionn_mnist(rng: &mut impl Rng) -> Result<Graph, NnError> {
    let mut b = Builder::new(&[1, 1, 28, 28], rng)?;
    b.conv(16, 5, 1, 0, 1)?.relu()?.max_pool(2, 2, 0)?;
    b.conv(16, 5, 1, 0, 1)?.relu()?.max_pool(2, 2, 0)?;
    b.dense(100)?.relu()?.dense(10)?;
    Ok(b.finish())
}

/// LeNet-like: conv 5×5×6 with padding, batch norm, average pooling, conv 5×5×16, average pooling, 120, 84, 10.
///
/// # Errors
/// None in practice: the shapes are fixed and fit.
pub fn lenet(rng: &mut impl Rng) -> Result<Graph, NnError> {
    let mut b = Builder::new(&[1, 1, 28, 28], rng)?;
    b.conv(6, 5, 1, 2, 1)?.batch_norm(false)?.relu()?.average_pool(2, 2, 0, true)?;
    b.conv(16, 5, 1, 0, 1)?.batch_norm(false)?.relu()?.average_pool(2, 2, 0, true)?;
    b.dense(120)?.relu()?.dense(84)?.relu()?.dense(10)?;
    Ok(b.finish())
}

/// A multi-layer perceptron with ReLU between layers.
///
/// # Errors
/// [`NnError::Shape`] for sizes of zero or above the caps.
pub fn mlp(sizes: &[usize], rng: &mut impl Rng) -> Result<Graph, NnError> {
    let (&inputs, layers) = sizes
        .split_first()
        .ok_or_else(|| NnError::shape("mlp", "a perceptron needs at least an input size"))?;
    let mut b = Builder::new(&[1, inputs], rng)?;
    for (index, &outputs) in layers.iter().enumerate() {
        b.dense(outputs)?;
        if index + 1 < layers.len() {
            b.relu()?;
        }
    }
    Ok(b.finish())
}
