//! The linear layers of the networks that are measured, as the zoo builds them.
//!
//! | name | network | input | multiplications counted |
//! |---|---|---|---|
//! | `resnet20` | He et al. 2016, padded shortcuts (option A) | 3×32×32 | 40.6 M |
//! | `vgg16` | Simonyan, Zisserman 2015, in its form for CIFAR: thirteen convolutions, one layer 512→10 | 3×32×32 | 313.2 M |
//! | `squeezenet1_1` | Iandola et al. 2016 | 3×224×224 | 349.2 M |
//! | `resnet18` | He et al. 2016, projected shortcuts | 3×224×224 | 1814 M |
//! | `resnet50` | the same, stride at the 3×3 layers | 3×224×224 | 4089 M |
//! | `mobilenetv2` | Sandler et al. 2018, width 1 | 3×224×224 | 300.8 M |
//!
//! Counted are the multiplications of convolutions and fully connected layers by the definition, those with padding zeros
//! included, for one image. A layer stands once with the number of times that the network has it.
//!
//! A network also knows how its layers hang together ([`Node`]): that is what a rival gets to run it as a whole, without
//! activations and normalisations, which a float engine folds into its convolutions anyway.

use anyhow::{Result, bail};
use conv_fast::{ConvGeometry, ConvShape};
use nn_merge::model::PoolShape;
use nn_merge::zoo::{self, Builder};
use nn_merge::{Graph, graph::Op};
use rand_core::Rng;
use serde::Serialize;

/// The networks, small inputs first.
pub(super) const NAMES: [&str; 6] =
    ["resnet20", "vgg16", "squeezenet1_1", "resnet18", "resnet50", "mobilenetv2"];

/// A network's linear layers.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) name: &'static str,
    /// Distinct layers, in the order of their first appearance.
    pub(super) layers: Vec<Layer>,
    /// All layers in the order of the network, as indices of `layers`.
    pub(super) sequence: Vec<usize>,
    /// The network without activations and normalisations.
    pub(super) nodes: Vec<Node>,
}

/// One distinct layer.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) name: String,
    pub(super) geometry: ConvGeometry,
    /// How often the network has it.
    pub(super) count: usize,
}

/// A node of a network as the rivals get it. Inputs are indices of earlier nodes; sizes carry a leading 1, the batch.
#[derive(Debug, Serialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(super) enum Node {
    Input { shape: Vec<usize> },
    Linear { inputs: Vec<usize>, shape: ConvShape },
    Add { inputs: Vec<usize> },
    Concat { inputs: Vec<usize>, axis: usize },
    MaxPool { inputs: Vec<usize>, kernel: [usize; 2], stride: [usize; 2], padding: [usize; 4] },
    AveragePool { inputs: Vec<usize>, kernel: [usize; 2], stride: [usize; 2], padding: [usize; 4] },
    Slice { inputs: Vec<usize>, start: Vec<usize>, step: Vec<usize>, size: Vec<usize> },
    Pad { inputs: Vec<usize>, before: Vec<usize>, after: Vec<usize> },
    Reshape { inputs: Vec<usize>, size: Vec<usize> },
}

impl Network {
    /// The network of this name out of [`NAMES`].
    pub(super) fn new(name: &'static str, rng: &mut impl Rng) -> Result<Self> {
        let graph = match name {
            "vgg16" => vgg16_cifar(rng)?,
            _ => zoo::by_name(name, None, rng)?,
        };
        Self::of(name, &graph)
    }

    fn of(name: &'static str, graph: &Graph) -> Result<Self> {
        let mut network = Self { name, layers: Vec::new(), sequence: Vec::new(), nodes: Vec::new() };
        // Where the value of each node of the graph stands in `nodes`.
        let mut place: Vec<usize> = Vec::new();
        for node in graph.nodes() {
            let inputs: Vec<usize> = node.inputs.iter().map(|&input| place[input]).collect();
            let new = match &node.op {
                Op::Activation(_) | Op::BatchNorm(_) | Op::Identity | Op::Dropout => {
                    place.push(inputs[0]);
                    continue;
                }
                Op::Input => Node::Input { shape: node.shape.clone() },
                Op::Linear(linear) => {
                    network.count(&linear.geometry);
                    Node::Linear { inputs, shape: *linear.geometry.shape() }
                }
                Op::Add => Node::Add { inputs },
                Op::Concat { axis } => Node::Concat { inputs, axis: *axis },
                Op::MaxPool(window) => {
                    let PoolShape { kernel, stride, padding, .. } = *window.shape();
                    Node::MaxPool { inputs, kernel, stride, padding }
                }
                Op::AveragePool { window, .. } if window.shape().padding == [0; 4] => {
                    let PoolShape { kernel, stride, padding, .. } = *window.shape();
                    Node::AveragePool { inputs, kernel, stride, padding }
                }
                Op::Slice { start, step, size } => {
                    Node::Slice { inputs, start: start.clone(), step: step.clone(), size: size.clone() }
                }
                Op::Pad { before, after } => {
                    Node::Pad { inputs, before: before.clone(), after: after.clone() }
                }
                Op::Reshape(size) => Node::Reshape { inputs, size: size.clone() },
                other => bail!("{name}: no form of {} for rivals", other.kind()),
            };
            place.push(network.nodes.len());
            network.nodes.push(new);
        }
        Ok(network)
    }

    fn count(&mut self, geometry: &ConvGeometry) {
        let known = self.layers.iter().position(|layer| layer.geometry == *geometry);
        let at = known.unwrap_or_else(|| {
            self.layers.push(Layer { name: title(geometry), geometry: geometry.clone(), count: 0 });
            self.layers.len() - 1
        });
        self.layers[at].count += 1;
        self.sequence.push(at);
    }
}

/// A layer's name: kernel, channels, input plane, stride.
fn title(geometry: &ConvGeometry) -> String {
    let s = geometry.shape();
    let channels = format!("{}→{}", s.in_channels, s.out_channels);
    if [s.in_height, s.in_width] == [1, 1] {
        return format!("fully connected {channels}");
    }
    let kind = match s.groups {
        1 => "",
        groups if groups == s.in_channels => " depthwise",
        _ => " grouped",
    };
    let stride = if s.stride == [1, 1] { String::new() } else { format!(" /{}", s.stride[0]) };
    format!("{}×{}{kind} {channels} {}×{}{stride}", s.kernel[0], s.kernel[1], s.in_height, s.in_width)
}

/// VGG-16 in its usual form for CIFAR: one fully connected layer behind the thirteen convolutions.
fn vgg16_cifar(rng: &mut impl Rng) -> Result<Graph> {
    let mut b = Builder::new(&[1, 3, 32, 32], rng)?;
    for (layers, channels) in [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)] {
        for _ in 0..layers {
            b.conv(channels, 3, 1, 1, 1)?.relu()?;
        }
        b.max_pool(2, 2, 0)?;
    }
    b.dense(10)?;
    Ok(b.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    fn network(name: &'static str) -> Network {
        Network::new(name, &mut ChaCha8Rng::seed_from_u64(1)).unwrap()
    }

    #[test]
    fn multiplications_are_those_of_the_literature() {
        // (network, layers, distinct layers, thousands of multiplications of one image)
        let published = [
            ("resnet20", 20, 7, 40_551),
            ("vgg16", 14, 10, 313_201),
            ("squeezenet1_1", 26, 18, 349_151),
            ("resnet18", 21, 12, 1_814_073),
            ("resnet50", 54, 24, 4_089_184),
            ("mobilenetv2", 53, 31, 300_774),
        ];
        assert_eq!(published.map(|row| row.0), NAMES);
        for (name, all, distinct, thousands) in published {
            let network = network(name);
            assert_eq!(network.sequence.len(), all, "{name}");
            assert_eq!(network.layers.len(), distinct, "{name}");
            assert_eq!(network.layers.iter().map(|layer| layer.count).sum::<usize>(), all, "{name}");
            let macs: u64 = network.layers.iter().map(|l| l.geometry.macs() * l.count as u64).sum();
            assert_eq!(macs / 1000, thousands, "{name}");
        }
    }

    #[test]
    fn nodes_refer_to_earlier_ones_and_hold_every_layer() {
        for name in NAMES {
            let network = network(name);
            let mut linear = 0;
            for (at, node) in network.nodes.iter().enumerate() {
                let value = serde_json::to_value(node).unwrap();
                let inputs = value["inputs"].as_array().map_or(0, |inputs| {
                    inputs.iter().for_each(|input| assert!(input.as_u64().unwrap() < at as u64));
                    inputs.len()
                });
                assert_eq!(inputs == 0, value["op"] == "input", "{name} {value}");
                linear += usize::from(value["op"] == "linear");
            }
            assert_eq!(linear, network.sequence.len(), "{name}");
        }
    }

    #[test]
    fn names_are_distinct_and_say_what_is_special() {
        let network = network("mobilenetv2");
        let mut names: Vec<&str> = network.layers.iter().map(|layer| layer.name.as_str()).collect();
        assert!(names.contains(&"3×3 depthwise 96→96 112×112 /2") && names.contains(&"1×1 16→96 112×112"));
        assert!(names.contains(&"fully connected 1280→1000"));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), network.layers.len());
    }
}
