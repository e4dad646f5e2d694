//! A model as what a homomorphic scheme evaluates: linear maps over the reals with squares between; and, for
//! [floating-point shares](crate::float), with ReLUs ([`super::chain`]).
//!
//! | layer l | takes | gives |
//! |---|---|---|
//! | linear map, bias | the input; squares; ReLUs | u_l |
//! | square, between two linear maps | u_l | u_l^2, element by element |
//! | ReLU, between two linear maps | u_l | max(u, 0) of the largest u of each window, or of each element |
//! | after the last map | u_L | logits: u_L times [`Network::logit_unit`] |
//!
//! A quadratic c2 y^2 + c1 y + c0 is c2 (y + c1/2c2)^2 + (c0 - c1^2/4c2): the shift joins the bias before it, factor and
//! constant join the map behind it, where the constant meets the map's padding as any value would.
//!
//! **Units.** The model's own raw tensors are torus values in [-1/2, 1/2), calibrated not to leave them
//! ([`nn_merge::model`]). Here u_l is [`GAIN`] times that, so |u_l| <= [`BOUND`]; the last one stays as it is, |u_L| <=
//! 1/2. Values of the input are the network's own real input.
//!
//! Sums over windows and reshapes in front of a fully connected layer are folded into its weights. The model's
//! roundings to rings are left out: this is the network that they approximate.
//!
//! # Not supported
//! Anything but one chain of these; what is in the way is named. Polynomials of other degrees are not offered either. On
//! ciphertexts alone there are squares only.

use conv_fast::{ConvGeometry, direct_f64};
use nn_merge::model::{ActivationSpec, FunctionSpec, IndexMap, Manifest, Model, NodeWeights, OpSpec, Shape};

use super::chain::{Accepted, Between, Step, steps};
use crate::error::ProtocolError;

/// What hidden layers' values are multiplied with.
pub const GAIN: f64 = 4.0;
/// No value of a hidden layer is larger, if the model was calibrated right.
pub const BOUND: f64 = GAIN / 2.0;
/// Most products of all layers, padding counted.
const MOST_PRODUCTS: u64 = 1 << 30;
/// Most weights of all layers.
const MOST_WEIGHTS: usize = 1 << 26;

/// The public half: the linear maps' shapes, and what follows each of them but the last.
#[derive(Clone, Debug, PartialEq)]
pub struct Shapes {
    /// The input: channels, height, width.
    pub input: Shape,
    /// The maps.
    pub layers: Vec<ConvGeometry>,
    /// What follows each map but the last.
    pub between: Vec<Between>,
}

/// One linear map. It holds weights: no `Debug`.
pub struct Layer {
    /// Its shape.
    pub geometry: ConvGeometry,
    /// Outputs x inputs of a group x kernel rows x kernel columns.
    pub weights: Vec<f64>,
    /// One per output element.
    pub bias: Vec<f64>,
}

/// A model as linear maps and what is between them.
pub struct Network {
    shapes: Shapes,
    layers: Vec<Layer>,
    logit_unit: f64,
}

impl Shapes {
    /// The shapes of a manifest.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] that names the first layer that is neither linear nor accepted between linear maps; for
    /// more than 2^30 products, 2^26 weights, or 2^22 cells of pooling windows and moved elements.
    pub fn new(manifest: &Manifest, accepted: Accepted) -> Result<Self, ProtocolError> {
        Self::of_steps(manifest, &steps(manifest, accepted)?)
    }

    fn of_steps(manifest: &Manifest, steps: &[Step<'_>]) -> Result<Self, ProtocolError> {
        let input = [manifest.input.channels, manifest.input.height, manifest.input.width];
        let (mut layers, mut between) = (Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Linear { geometry, .. } => layers.push(geometry.clone()),
                Step::Shift { .. } => {}
                Step::Between { between: own, .. } => between.push(own.clone()),
            }
        }
        bounded(&layers)?;
        Ok(Self { input, layers, between })
    }

    /// Maps with squares between.
    #[must_use]
    pub fn of_squares(input: Shape, layers: Vec<ConvGeometry>) -> Self {
        let between = vec![Between::Square; layers.len().saturating_sub(1)];
        Self { input, layers, between }
    }

    /// Squares between the maps: all that is between them where nothing else was accepted.
    #[must_use]
    pub fn squares(&self) -> usize {
        self.between.iter().filter(|between| **between == Between::Square).count()
    }

    /// Logits of an image.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.layers.last().map_or(0, ConvGeometry::output_len)
    }

    /// Values of an image.
    #[must_use]
    pub fn input_len(&self) -> usize {
        self.input.iter().product()
    }
}

/// A manifest of a few bytes must not keep its reader busy: planning looks at every product once.
pub(super) fn bounded(layers: &[ConvGeometry]) -> Result<(), ProtocolError> {
    let products = layers.iter().map(ConvGeometry::macs).fold(0, u64::saturating_add);
    let weights = layers.iter().map(ConvGeometry::weights_len).fold(0, usize::saturating_add);
    if products > MOST_PRODUCTS || weights > MOST_WEIGHTS {
        return Err(ProtocolError::Caller(format!(
            "the network has {products} products and {weights} weights, of which this takes {MOST_PRODUCTS} and \
             {MOST_WEIGHTS}"
        )));
    }
    Ok(())
}

impl Network {
    /// The network of a model with squares between its linear maps.
    ///
    /// # Errors
    /// As [`Shapes::new`]; for weights that do not fit the manifest.
    pub fn new(model: &Model) -> Result<Self, ProtocolError> {
        Self::accepting(model, Accepted::Squares)
    }

    /// The network of a model with what is accepted between its linear maps.
    ///
    /// # Errors
    /// As [`Network::new`].
    pub fn accepting(model: &Model, accepted: Accepted) -> Result<Self, ProtocolError> {
        let manifest = &model.manifest;
        let steps = steps(manifest, accepted)?;
        let shapes = Shapes::of_steps(manifest, &steps)?;
        let OpSpec::Input { width } = manifest.nodes[0].op else {
            return Err(ProtocolError::Caller("a manifest begins with its input".into()));
        };
        // A value z of the masked tensor that the next map reads is `unit` times ours, plus `constant`.
        let elements = shapes.input_len();
        let mut masked = Masked {
            turn: f64::from(width).exp2(),
            unit: vec![manifest.input.units; elements],
            constant: vec![0.0; elements],
        };
        let mut layers: Vec<Layer> = Vec::with_capacity(shapes.layers.len());
        for step in steps {
            match step {
                Step::Linear { node, geometry, folded } => {
                    let gain = if layers.len() + 1 < shapes.layers.len() { GAIN } else { 1.0 };
                    layers.push(masked.layer(&model.nodes[node], geometry, folded.as_ref(), gain)?);
                }
                Step::Shift { node } => {
                    let gain = if layers.len() < shapes.layers.len() { GAIN } else { 1.0 };
                    if let Some(layer) = layers.last_mut() {
                        add_bias(layer, &model.nodes[node].bias, gain)?;
                    }
                }
                Step::Between { node, spec, .. } => {
                    let Some(layer) = layers.last_mut() else {
                        return Err(ProtocolError::Caller(
                            "an activation before the first linear map".into(),
                        ));
                    };
                    masked = Masked::after(spec, &model.nodes[node].bias, layer)?;
                }
            }
        }
        Ok(Self { shapes, layers, logit_unit: manifest.output.scale })
    }

    /// The shapes.
    #[must_use]
    pub fn shapes(&self) -> &Shapes {
        &self.shapes
    }

    /// The maps.
    #[must_use]
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// A logit per unit of the last map's result.
    #[must_use]
    pub fn logit_unit(&self) -> f64 {
        self.logit_unit
    }

    /// Logits of an image in the clear, in double precision: the twin of evaluation under encryption.
    ///
    /// # Panics
    /// For another number of values than the input has.
    #[must_use]
    pub fn evaluate(&self, image: &[f64]) -> Vec<f64> {
        let mut x = image.to_vec();
        for (at, layer) in self.layers.iter().enumerate() {
            let mut y = direct_f64(&layer.geometry, &layer.weights, &x);
            y.iter_mut().zip(&layer.bias).for_each(|(y, bias)| *y += bias);
            x = match self.shapes.between.get(at) {
                None => y,
                Some(between) => between.evaluate(y),
            };
        }
        x.iter().map(|u| u * self.logit_unit).collect()
    }
}

/// How a masked tensor's integers z hang together with our values v: z = unit v + constant, element by element.
struct Masked {
    /// 2^w.
    turn: f64,
    unit: Vec<f64>,
    constant: Vec<f64>,
}

impl Masked {
    /// What an activation makes of a layer's results, after the layer's bias was shifted.
    fn after(spec: &ActivationSpec, offsets: &[i64], layer: &mut Layer) -> Result<Self, ProtocolError> {
        let channels = layer.geometry.shape().out_channels;
        let read = layer.geometry.out_height() * layer.geometry.out_width();
        let plane = spec.pool.as_ref().map_or(read, |pool| pool.out_height() * pool.out_width());
        let mut masked = Self {
            turn: f64::from(spec.width).exp2(),
            unit: vec![0.0; channels * plane],
            constant: vec![0.0; channels * plane],
        };
        // y = ring / GAIN * u.
        let ring = f64::from(spec.ring_bits).exp2() / GAIN;
        for part in &spec.parts {
            // The shift of y, and what its square or its maximum is multiplied with and goes with.
            let (shift, unit, constant) = match &part.function {
                FunctionSpec::Polynomial { coefficients } => {
                    let at = |power: usize| coefficients.get(power).map_or(0.0, |&c| c as f64);
                    let (c0, c1, c2) = (at(0), at(1), at(2));
                    let shift = c1 / (2.0 * c2);
                    (shift, c2 * ring * ring, c0 - shift * shift * c2)
                }
                // A positive factor goes through maxima, that with zero among them.
                FunctionSpec::Relu => (0.0, ring, 0.0),
                _ => continue,
            };
            for channel in part.channels.iter().flat_map(|&(first, count)| first..first.saturating_add(count))
            {
                let channel = channel as usize;
                if channel >= channels {
                    return Err(ProtocolError::Caller("an activation on channels that are not there".into()));
                }
                let offset = offsets.get(channel).map_or(0.0, |&offset| offset as f64);
                let biases = &mut layer.bias[channel * read..(channel + 1) * read];
                biases.iter_mut().for_each(|bias| *bias += shift / ring);
                let own = channel * plane..(channel + 1) * plane;
                masked.unit[own.clone()].fill(unit);
                masked.constant[own].fill(constant + offset);
            }
        }
        Ok(masked)
    }

    /// The map that reads this tensor.
    fn layer(
        &self,
        own: &NodeWeights,
        geometry: ConvGeometry,
        folded: Option<&IndexMap>,
        gain: f64,
    ) -> Result<Layer, ProtocolError> {
        let integers: Vec<f64> = own.weights.iter().map(|&w| f64::from(w)).collect();
        let integers = match folded {
            None => integers,
            Some(map) => {
                // Row by row: what an element of the map's result weighs goes to all that it sums.
                let (inputs, outputs) = (geometry.shape().in_channels, geometry.shape().out_channels);
                let mut weights = vec![0.0; inputs * outputs];
                for (row, integers) in weights.chunks_exact_mut(inputs).zip(integers.chunks_exact(map.len()))
                {
                    for (element, w) in integers.iter().enumerate() {
                        map.sources(element).iter().for_each(|&source| row[source as usize] += w);
                    }
                }
                weights
            }
        };
        if integers.len() != geometry.weights_len() || self.unit.len() != geometry.input_len() {
            return Err(ProtocolError::Caller("a model whose weights do not fit its manifest".into()));
        }
        let constant = direct_f64(&geometry, &integers, &self.constant);
        let s = *geometry.shape();
        let plane = s.in_height * s.in_width;
        let (inputs, outputs) = (geometry.group_inputs(), geometry.group_outputs());
        let taps = s.kernel[0] * s.kernel[1];
        // Units are equal over a channel, or the geometry is flat and each element is a channel.
        let weight = |(at, &w): (usize, &f64)| {
            let (output, input) = (at / (inputs * taps), at / taps % inputs);
            let channel = output / outputs * inputs + input;
            w * self.unit[channel * plane] * gain / self.turn
        };
        let weights = integers.iter().enumerate().map(weight).collect();
        let bias = constant.iter().map(|c| c * gain / self.turn).collect();
        let mut layer = Layer { geometry, weights, bias };
        add_bias(&mut layer, &own.bias, gain)?;
        Ok(layer)
    }
}

/// Adds biases in 2^-62 of the torus: none, one per channel or one per element.
fn add_bias(layer: &mut Layer, own: &[i64], gain: f64) -> Result<(), ProtocolError> {
    let (elements, channels) = (layer.bias.len(), layer.geometry.shape().out_channels);
    let each = match own.len() {
        0 => return Ok(()),
        n if n == elements => 1,
        n if n == channels => elements / channels,
        n => return Err(ProtocolError::Caller(format!("{n} biases for {elements} elements"))),
    };
    let unit = gain * (-62_f64).exp2();
    layer.bias.iter_mut().enumerate().for_each(|(at, bias)| *bias += own[at / each] as f64 * unit);
    Ok(())
}
