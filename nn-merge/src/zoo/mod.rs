//! Networks with random weights, for tests, benchmarks and examples.
//!
//! The layer shapes are those of the literature; the weights are uniform with He's scaling (variance 2/fan-in), and
//! normalisations are near the identity, so that activations neither vanish nor explode. Nothing here was
//! trained: labels are meaningless. [`by_name`] knows all of them:
//!
//! | name | network | input | source |
//! |---|---|---|---|
//! | `minionn_mnist`, `minionn_cifar` | two and seven convolutions | 1×28×28, 3×32×32 | Liu, Juuti, Lu, Asokan, *MiniONN*, CCS 2017 |
//! | `lenet` | LeNet-like with average pooling | 1×28×28 | LeCun et al., 1998 |
//! | `mlp` | 784, 128, 128, 10 | 784 | |
//! | `resnet20`, `resnet32`, `resnet56` | residual networks, padded shortcuts | 3×32×32 | He, Zhang, Ren, Sun, CVPR 2016 |
//! | `resnet18`, `resnet50` | residual networks, projected shortcuts | 3×224×224 | the same |
//! | `vgg16` | thirteen convolutions | 3×224×224 | Simonyan, Zisserman, ICLR 2015 |
//! | `mobilenetv2` | inverted residuals, ReLU6 | 3×224×224 | Sandler et al., CVPR 2018 |
//! | `squeezenet1_0`, `squeezenet1_1` | fire modules | 3×227×227, 3×224×224 | Iandola et al., 2016 |
//!
//! [`random()`] draws small networks of all operations for tests.

mod builder;
mod classic;
mod mobile;
mod random;
mod residual;

use rand_core::Rng;

use crate::error::NnError;
use crate::graph::Graph;

pub use builder::Builder;
pub use classic::{lenet, minionn_cifar, minionn_mnist, mlp, vgg16};
pub use mobile::{mobilenet_v2, squeezenet};
pub use random::random;
pub use residual::{resnet_cifar, resnet_imagenet};

/// The names that [`by_name`] knows.
pub const NAMES: [&str; 13] = [
    "mlp",
    "minionn_mnist",
    "lenet",
    "minionn_cifar",
    "resnet20",
    "resnet32",
    "resnet56",
    "resnet18",
    "resnet50",
    "vgg16",
    "mobilenetv2",
    "squeezenet1_0",
    "squeezenet1_1",
];

/// A network by its name (see the [table](self)) with random weights; `side` replaces the height and width of the
/// input of the ImageNet networks.
///
/// # Errors
/// [`NnError::Shape`] for a name that is not in [`NAMES`], or a side too small for the network.
pub fn by_name(name: &str, side: Option<usize>, rng: &mut impl Rng) -> Result<Graph, NnError> {
    let large = side.unwrap_or(224);
    match name {
        "mlp" => mlp(&[784, 128, 128, 10], rng),
        "minionn_mnist" => minionn_mnist(rng),
        "lenet" => lenet(rng),
        "minionn_cifar" => minionn_cifar(rng),
        "resnet20" => resnet_cifar(20, rng),
        "resnet32" => resnet_cifar(32, rng),
        "resnet56" => resnet_cifar(56, rng),
        "resnet18" => resnet_imagenet(18, large, rng),
        "resnet50" => resnet_imagenet(50, large, rng),
        "vgg16" => vgg16(large, rng),
        "mobilenetv2" => mobilenet_v2(large, rng),
        "squeezenet1_0" => squeezenet(false, side.unwrap_or(227), rng),
        "squeezenet1_1" => squeezenet(true, large, rng),
        _ => Err(NnError::shape(name, format!("no such network; there are {}", NAMES.join(", ")))),
    }
}

#[cfg(test)]
mod tests;
