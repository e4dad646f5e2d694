//! Chains of layers: perceptrons, LeNet, MiniONN's networks, VGG.

use rand_core::Rng;

use super::Builder;
use crate::error::NnError;
use crate::graph::Graph;

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

/// MiniONN's CIFAR-10 network: six convolutions of 64 channels (two average poolings between), one of 16, and 10 logits.
///
/// # Errors
/// None in practice: the shapes are fixed and fit.
pub fn minionn_cifar(rng: &mut impl Rng) -> Result<Graph, NnError> {
    let mut b = Builder::new(&[1, 3, 32, 32], rng)?;
    b.conv(64, 3, 1, 1, 1)?.relu()?.conv(64, 3, 1, 1, 1)?.relu()?.average_pool(2, 2, 0, true)?;
    b.conv(64, 3, 1, 1, 1)?.relu()?.conv(64, 3, 1, 1, 1)?.relu()?.average_pool(2, 2, 0, true)?;
    b.conv(64, 3, 1, 1, 1)?.relu()?.conv(64, 1, 1, 0, 1)?.relu()?.conv(16, 1, 1, 0, 1)?.relu()?;
    b.dense(10)?;
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

/// VGG-16 on 3 × `side` × `side` (a multiple of 32): thirteen 3×3 convolutions in five stages, 4096, 4096, 1000.
///
/// # Errors
/// [`NnError::Shape`] or [`NnError::Manifest`] for a side below 32.
pub fn vgg16(side: usize, rng: &mut impl Rng) -> Result<Graph, NnError> {
    let mut b = Builder::new(&[1, 3, side, side], rng)?;
    for (layers, channels) in [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)] {
        for _ in 0..layers {
            b.conv(channels, 3, 1, 1, 1)?.relu()?;
        }
        b.max_pool(2, 2, 0)?;
    }
    b.dense(4096)?.relu()?.dense(4096)?.relu()?.dense(1000)?;
    Ok(b.finish())
}
