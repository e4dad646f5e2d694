//! Residual networks: of basic blocks for CIFAR images, of basic or bottleneck blocks for ImageNet's.

use rand_core::Rng;

use super::Builder;
use crate::error::NnError;
use crate::graph::{Graph, NodeId, Op};

/// Scale of the last normalisation of a block: sums of blocks then grow slowly.
const BRANCH: f64 = 0.5;

/// The network of 6n+2 layers (20, 32, 44, 56, …) for 3×32×32: three stages of n blocks with 16, 32 and 64 channels;
/// shortcuts between stages take every second pixel and pad the channels with zeros (option A).
///
/// # Errors
/// [`NnError::Shape`] for a depth that is not 6n+2.
pub fn resnet_cifar(depth: usize, rng: &mut impl Rng) -> Result<Graph, NnError> {
    if depth < 8 || depth % 6 != 2 {
        return Err(NnError::shape("resnet", format!("no residual network of this kind has {depth} layers")));
    }
    let mut b = Builder::new(&[1, 3, 32, 32], rng)?;
    b.conv_norm(16, 3, 1, 1, 1.0)?.relu()?;
    for channels in [16, 32, 64] {
        for block in 0..depth / 6 {
            let stride = if block == 0 && channels > 16 { 2 } else { 1 };
            let start = b.last();
            let shortcut = if stride == 2 { thinned(&mut b, start)? } else { start };
            b.at(start)?.conv_norm(channels, 3, stride, 1, 1.0)?.relu()?;
            b.conv_norm(channels, 3, 1, 1, BRANCH)?.add(shortcut)?.relu()?;
        }
    }
    b.global_average()?.dense(10)?;
    Ok(b.finish())
}

/// Every second pixel, and as many zero channels again.
fn thinned(b: &mut Builder<'_, impl Rng>, start: NodeId) -> Result<NodeId, NnError> {
    let [channels, height, width] = b.at(start)?.plane()?;
    let size = vec![1, channels, height.div_ceil(2), width.div_ceil(2)];
    b.op(Op::Slice { start: vec![0; 4], step: vec![1, 1, 2, 2], size })?;
    let (before, after) = (channels / 2, channels - channels / 2);
    b.op(Op::Pad { before: vec![0, before, 0, 0], after: vec![0, after, 0, 0] })?;
    Ok(b.last())
}

/// ResNet-18, -34 (basic blocks) or -50, -101, -152 (bottlenecks) on 3 × `side` × `side`, 1000 logits; projections (1×1
/// convolutions) where the shape changes.
///
/// # Errors
/// [`NnError::Shape`] for another depth, or a side below 32.
pub fn resnet_imagenet(depth: usize, side: usize, rng: &mut impl Rng) -> Result<Graph, NnError> {
    let (blocks, bottleneck) = match depth {
        18 => ([2, 2, 2, 2], false),
        34 => ([3, 4, 6, 3], false),
        50 => ([3, 4, 6, 3], true),
        101 => ([3, 4, 23, 3], true),
        152 => ([3, 8, 36, 3], true),
        _ => {
            return Err(NnError::shape(
                "resnet",
                format!("no residual network of this kind has {depth} layers"),
            ));
        }
    };
    let mut b = Builder::new(&[1, 3, side, side], rng)?;
    b.conv_norm(64, 7, 2, 1, 1.0)?.relu()?.max_pool(3, 2, 1)?;
    for (stage, &count) in blocks.iter().enumerate() {
        let inner = 64 << stage;
        let outputs = if bottleneck { 4 * inner } else { inner };
        for block in 0..count {
            let stride = if block == 0 && stage > 0 { 2 } else { 1 };
            let start = b.last();
            let mut shortcut = start;
            if stride == 2 || b.plane()?[0] != outputs {
                shortcut = b.conv_norm(outputs, 1, stride, 1, BRANCH)?.last();
            }
            b.at(start)?;
            if bottleneck {
                b.conv_norm(inner, 1, 1, 1, 1.0)?.relu()?.conv_norm(inner, 3, stride, 1, 1.0)?.relu()?;
                b.conv_norm(outputs, 1, 1, 1, BRANCH)?;
            } else {
                b.conv_norm(inner, 3, stride, 1, 1.0)?.relu()?.conv_norm(outputs, 3, 1, 1, BRANCH)?;
            }
            b.add(shortcut)?.relu()?;
        }
    }
    b.global_average()?.dense(1000)?;
    Ok(b.finish())
}
