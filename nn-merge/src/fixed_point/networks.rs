//! Integer networks made by hand or at random, without a file or calibration: for tests of what runs manifests.
//!
//! A [`Sketch`] grows a manifest node by node. It keeps an interval bound of every tensor and draws weights so small that
//! nothing can leave its range (raw results stay within a tenth of a turn), so that what it [gives](Sketch::finish) is right
//! for all inputs the manifest accepts. [`random`] draws whole graphs: residuals, joins, cuts, pools, every activation,
//! strides, dilations, groups, odd and asymmetric paddings.
//!
//! Not promised: that the numbers mean anything. All weights are random.

mod random;

use conv_fast::{ConvGeometry, ConvShape};
use he_core::Profile;
use rand_core::Rng;
use ss_core::activation::{ActivationPlan, Widths};

use crate::NnError;
use crate::model::{
    ActivationSpec, FunctionSpec, InputSpec, Kind, LocalOp, Manifest, Model, NodeSpec, NodeWeights, OpSpec,
    OutputSpec, PartSpec, PoolGeometry, PoolShape, Shape, limits,
};

pub use random::{functions, random};

/// Largest part of a turn that a linear layer's results may reach.
const REACH: f64 = 0.1;

/// A network in the making.
pub struct Sketch<'r, R> {
    rng: &'r mut R,
    profile: Profile,
    /// w of all masked tensors.
    width: u32,
    nodes: Vec<NodeSpec>,
    own: Vec<NodeWeights>,
    shapes: Vec<Shape>,
    kinds: Vec<Kind>,
    /// Largest magnitude: units of a masked tensor, turns of a raw one.
    reach: Vec<f64>,
}

/// What a convolution has beside its input's shape.
#[derive(Clone, Copy, Debug)]
pub struct Conv {
    /// Output channels.
    pub channels: usize,
    /// Kernel.
    pub kernel: [usize; 2],
    /// Strides.
    pub stride: [usize; 2],
    /// Padding: top, left, bottom, right.
    pub padding: [usize; 4],
    /// Dilations.
    pub dilation: [usize; 2],
    /// Groups.
    pub groups: usize,
}

impl Conv {
    /// An odd square kernel with stride 1 that keeps the plane.
    pub fn same(channels: usize, side: usize) -> Self {
        Self { padding: [side / 2; 4], ..Self::plain(channels, [side; 2]) }
    }

    /// A kernel and nothing else.
    pub fn plain(channels: usize, kernel: [usize; 2]) -> Self {
        Self { channels, kernel, stride: [1; 2], padding: [0; 4], dilation: [1; 2], groups: 1 }
    }
}

impl<'r, R: Rng> Sketch<'r, R> {
    /// Begins with an input of this shape and values in ±`limit` integers; masked tensors have `width` bits.
    pub fn new(profile: Profile, shape: Shape, width: u32, limit: f64, rng: &'r mut R) -> Self {
        let input = NodeSpec { name: "input".into(), op: OpSpec::Input { width }, inputs: vec![] };
        Self {
            rng,
            profile,
            width,
            nodes: vec![input],
            own: vec![NodeWeights::default()],
            shapes: vec![shape],
            kinds: vec![Kind::Masked { width }],
            reach: vec![limit],
        }
    }

    /// The profile that it is for.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// The last node.
    pub fn last(&self) -> u32 {
        self.nodes.len() as u32 - 1
    }

    /// A node's shape.
    pub fn shape(&self, node: u32) -> Shape {
        self.shapes[node as usize]
    }

    /// Whether a node's result is masked.
    pub fn is_masked(&self, node: u32) -> bool {
        matches!(self.kinds[node as usize], Kind::Masked { .. })
    }

    fn push(
        &mut self,
        op: OpSpec,
        inputs: &[u32],
        own: NodeWeights,
        shape: Shape,
        kind: Kind,
        reach: f64,
    ) -> u32 {
        let what = match &op {
            OpSpec::Input { .. } => "input",
            OpSpec::Linear { .. } => "linear",
            OpSpec::Sum { .. } => "sum",
            OpSpec::Activation(_) => "activation",
            OpSpec::Local(_) => "local",
        };
        self.nodes.push(NodeSpec {
            name: format!("{what} {}", self.nodes.len()),
            op,
            inputs: inputs.to_vec(),
        });
        self.own.push(own);
        self.shapes.push(shape);
        self.kinds.push(kind);
        self.reach.push(reach);
        self.last()
    }

    /// A number in 0..below.
    pub fn draw(&mut self, below: usize) -> usize {
        (self.rng.next_u64() % below.max(1) as u64) as usize
    }

    /// A convolution of a masked tensor.
    ///
    /// # Errors
    /// [`NnError::Manifest`] where it does not fit the tensor.
    pub fn conv(&mut self, source: u32, conv: Conv) -> Result<u32, NnError> {
        let [in_channels, in_height, in_width] = self.shape(source);
        let shape = ConvShape {
            in_channels,
            in_height,
            in_width,
            out_channels: conv.channels,
            kernel: conv.kernel,
            stride: conv.stride,
            padding: conv.padding,
            dilation: conv.dilation,
            groups: conv.groups,
        };
        self.linear(source, ConvGeometry::new(shape).map_err(|e| NnError::manifest(e.to_string()))?)
    }

    /// A fully connected layer of a masked tensor.
    ///
    /// # Errors
    /// [`NnError::Manifest`] for sizes beyond the caps.
    pub fn dense(&mut self, source: u32, outputs: usize) -> Result<u32, NnError> {
        let inputs = self.shape(source).iter().product();
        let geometry = ConvGeometry::fully_connected(inputs, outputs);
        self.linear(source, geometry.map_err(|e| NnError::manifest(e.to_string()))?)
    }

    fn linear(&mut self, source: u32, geometry: ConvGeometry) -> Result<u32, NnError> {
        let Kind::Masked { width } = self.kinds[source as usize] else {
            return Err(NnError::manifest("a linear map of a raw tensor"));
        };
        let fan = geometry.weights_len() / geometry.shape().out_channels;
        let turn = f64::from(width).exp2();
        let wanted = REACH * turn / (self.reach[source as usize].max(1.0) * fan as f64);
        // Beyond, some weights would not fit; below one, only a few are drawn.
        let most = wanted.min(f64::from((1 << 19) - 1)).max(1.0) as u64;
        let dense = wanted.min(1.0);
        let weights: Vec<i32> = (0..geometry.weights_len())
            .map(|_| {
                let drawn = self.rng.next_u64() % (2 * most + 1);
                let kept = (self.rng.next_u32() as f64) < dense * f64::from(u32::MAX);
                if kept { drawn as i32 - most as i32 } else { 0 }
            })
            .collect();
        let outputs = geometry.output_len();
        let biases = match self.draw(4) {
            0 => outputs,
            _ => geometry.shape().out_channels,
        };
        // Up to a hundredth of a turn.
        let bias = (0..biases).map(|_| self.noise(1 << 55)).collect();
        let largest = weights.chunks(fan).map(|row| row.iter().map(|&w| f64::from(w.abs())).sum::<f64>());
        let reach = largest.fold(0.0, f64::max) * self.reach[source as usize] / turn + 0.01;
        let shape = [geometry.shape().out_channels, geometry.out_height(), geometry.out_width()];
        let reply_bits =
            (limits(self.profile).ring_bits + 6).min(limits(self.profile).modulus_bits - 1).min(62);
        let op = OpSpec::Linear { geometry, reply_bits };
        Ok(self.push(op, &[source], NodeWeights { weights, bias }, shape, Kind::Raw, reach))
    }

    /// A number in ±limit.
    fn noise(&mut self, limit: i64) -> i64 {
        (self.rng.next_u64() % (2 * limit as u64 + 1)) as i64 - limit
    }

    /// The sum of tensors of one shape; masked ones get a factor that makes them reach about a tenth of a turn.
    pub fn sum(&mut self, sources: &[u32]) -> u32 {
        let mut reach = 0.01;
        let factors = sources
            .iter()
            .map(|&source| match self.kinds[source as usize] {
                Kind::Raw => {
                    reach += self.reach[source as usize];
                    1
                }
                Kind::Masked { width } => {
                    let turn = f64::from(width).exp2();
                    let most =
                        (REACH * turn / self.reach[source as usize].max(1.0)).clamp(1.0, f64::from(1 << 30));
                    let factor = if self.draw(2) == 0 { most as i64 } else { -(most as i64) };
                    reach += most * self.reach[source as usize] / turn;
                    factor
                }
            })
            .collect();
        let shape = self.shape(sources[0]);
        let biases = [0, shape[0], shape.iter().product()][self.draw(3)];
        let bias = (0..biases).map(|_| self.noise(1 << 55)).collect();
        let own = NodeWeights { weights: vec![], bias };
        self.push(OpSpec::Sum { factors }, sources, own, shape, Kind::Raw, reach)
    }

    /// An activation of a raw tensor: maximum pooling, perhaps, then functions by channels.
    ///
    /// # Errors
    /// [`NnError::Manifest`] for a masked tensor or one that could leave the ring.
    pub fn activation(
        &mut self,
        source: u32,
        pool: Option<PoolGeometry>,
        ring_bits: u32,
        parts: Vec<PartSpec>,
    ) -> Result<u32, NnError> {
        let (reach, numbers) = (self.reach[source as usize], limits(self.profile));
        if self.is_masked(source) || reach >= 0.24 {
            return Err(NnError::manifest("a tensor that an activation cannot take"));
        }
        let ignored_bits = numbers.ignored_bits.min(ring_bits - 4).max(ring_bits.saturating_sub(17));
        let spec = ActivationSpec { ring_bits, ignored_bits, width: self.width, pool, parts };
        let widths = Widths { ring_bits, ignored_bits, output_bits: self.width, shift: 0 };
        for part in &spec.parts {
            let function = part.function.activation(ring_bits, self.width)?;
            ActivationPlan::new(&function, widths, false).map_err(|e| NnError::manifest(e.to_string()))?;
        }
        let mut shape = self.shape(source);
        if let Some(pool) = &spec.pool {
            shape = [shape[0], pool.out_height(), pool.out_width()];
        }
        shape[0] *= spec.outputs();
        let y = reach * f64::from(ring_bits).exp2() + 2.0;
        let largest = spec.parts.iter().map(|part| largest(&part.function, y)).fold(0.0, f64::max);
        let bias: Vec<i64> = match self.draw(2) {
            0 => vec![],
            _ => (0..shape[0]).map(|_| self.noise((largest / 8.0) as i64)).collect(),
        };
        let own = NodeWeights { weights: vec![], bias };
        let (op, kind) = (OpSpec::Activation(spec), Kind::Masked { width: self.width });
        Ok(self.push(op, &[source], own, shape, kind, 1.125 * largest))
    }

    /// The same function on all channels, with k = `ring_bits`.
    ///
    /// # Errors
    /// As [`Sketch::activation`].
    pub fn apply(&mut self, source: u32, ring_bits: u32, function: FunctionSpec) -> Result<u32, NnError> {
        let channels = self.shape(source)[0];
        self.activation(source, None, ring_bits, ActivationSpec::single(function, channels))
    }

    /// ReLU in the profile's ring.
    ///
    /// # Errors
    /// As [`Sketch::activation`].
    pub fn relu(&mut self, source: u32) -> Result<u32, NnError> {
        self.apply(source, limits(self.profile).ring_bits, FunctionSpec::Relu)
    }

    /// ReLU behind a maximum pool.
    ///
    /// # Errors
    /// As [`Sketch::activation`], and for windows that do not fit.
    pub fn pooled_relu(&mut self, source: u32, side: usize, stride: usize) -> Result<u32, NnError> {
        let pool = self.pool(source, [side; 2], [stride; 2], [0; 4])?;
        let parts = ActivationSpec::single(FunctionSpec::Relu, self.shape(source)[0]);
        self.activation(source, Some(pool), limits(self.profile).ring_bits, parts)
    }

    /// The geometry of pooling a node's tensor.
    ///
    /// # Errors
    /// [`NnError::Manifest`] for windows that do not fit.
    pub fn pool(
        &self,
        source: u32,
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 4],
    ) -> Result<PoolGeometry, NnError> {
        let [channels, in_height, in_width] = self.shape(source);
        PoolGeometry::new(PoolShape { channels, in_height, in_width, kernel, stride, padding })
    }

    /// A local map.
    ///
    /// # Errors
    /// [`NnError::Manifest`] where it does not fit.
    pub fn local(&mut self, sources: &[u32], op: LocalOp) -> Result<u32, NnError> {
        let shapes: Vec<Shape> = sources.iter().map(|&s| self.shape(s)).collect();
        let kind = self.kinds[sources[0] as usize];
        let shape = op.shape(&shapes).map_err(NnError::manifest)?;
        if sources.iter().any(|&s| self.kinds[s as usize] != kind) {
            return Err(NnError::manifest("it joins tensors of different kinds"));
        }
        let terms = match &op {
            LocalOp::SumPool(pool) => pool.shape().kernel.iter().product::<usize>() as f64,
            _ => 1.0,
        };
        let reach = sources.iter().map(|&s| self.reach[s as usize]).fold(0.0, f64::max) * terms;
        let fits = match kind {
            Kind::Raw => reach < 0.24,
            Kind::Masked { width } => reach < f64::from(width - 2).exp2(),
        };
        if !fits {
            return Err(NnError::manifest("sums that could leave their ring"));
        }
        Ok(self.push(OpSpec::Local(op), sources, NodeWeights::default(), shape, kind, reach))
    }

    /// The model whose output is a raw node.
    ///
    /// # Errors
    /// [`NnError::Manifest`] if something does not fit after all.
    pub fn finish(self, output: u32) -> Result<Model, NnError> {
        let [channels, height, width] = self.shapes[0];
        let salt = [7; 32];
        let manifest = Manifest {
            name: "sketch".into(),
            profile: self.profile,
            input: InputSpec {
                channels,
                height,
                width,
                channels_last: false,
                scale: 1.0,
                mean: vec![0.0; channels],
                std: vec![1.0; channels],
                units: self.reach[0].floor(),
                limit: 1.0,
            },
            nodes: self.nodes,
            output: OutputSpec { node: output, ring_bits: limits(self.profile).last_ring_bits, scale: 16.0 },
            weights_commitment: Model::commitment(&salt, &self.own),
        };
        let model = Model { manifest, nodes: self.own, salt };
        model.validate()?;
        Ok(model)
    }
}

/// The largest magnitude of a function's results for |y| up to `y`.
fn largest(function: &FunctionSpec, y: f64) -> f64 {
    match function {
        FunctionSpec::Identity | FunctionSpec::Relu | FunctionSpec::PRelu => y,
        &FunctionSpec::Clip { low, high } => low.unsigned_abs().max(high.unsigned_abs()) as f64,
        &FunctionSpec::Leaky { negative, positive } => {
            negative.unsigned_abs().max(positive.unsigned_abs()) as f64 * y
        }
        FunctionSpec::Polynomial { coefficients } => {
            coefficients.iter().rev().fold(0.0, |sum, &a| sum * y + a.unsigned_abs() as f64)
        }
        &FunctionSpec::HardSwish { three } => y * 2.0 * three as f64,
        FunctionSpec::Smooth { step, scale, .. } => scale * (1.0 + y * step),
    }
}
