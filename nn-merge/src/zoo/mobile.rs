//! Networks made for few weights: MobileNetV2 (depthwise convolutions) and SqueezeNet (narrow layers before wide ones).

use rand_core::Rng;

use super::Builder;
use crate::error::NnError;
use crate::graph::{Function, Graph, Op};

/// MobileNetV2 of width 1 on 3 × `side` × `side`, 1000 logits.
///
/// # Errors
/// [`NnError::Shape`] for a side below 32.
pub fn mobilenet_v2(side: usize, rng: &mut impl Rng) -> Result<Graph, NnError> {
    let relu6 = Function::Clip { low: 0.0, high: 6.0 };
    let mut b = Builder::new(&[1, 3, side, side], rng)?;
    b.conv_norm(32, 3, 2, 1, 1.0)?.activation(relu6.clone())?;
    // Expansion, channels, blocks, stride of the first.
    let stages = [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ];
    for (expansion, channels, count, first) in stages {
        for block in 0..count {
            let stride = if block == 0 { first } else { 1 };
            let start = b.last();
            let inputs = b.plane()?[0];
            if expansion > 1 {
                // Its input passed no activation: no half of the variance is missing.
                b.conv_norm(inputs * expansion, 1, 1, 1, 0.7)?.activation(relu6.clone())?;
            }
            let hidden = inputs * expansion;
            b.conv_norm(hidden, 3, stride, hidden, 1.0)?.activation(relu6.clone())?;
            b.conv_norm(channels, 1, 1, 1, 0.7)?;
            if stride == 1 && inputs == channels {
                b.add(start)?;
            }
        }
    }
    b.conv_norm(1280, 1, 1, 1, 0.7)?.activation(relu6)?;
    b.global_average()?.dense(1000)?;
    Ok(b.finish())
}

/// SqueezeNet 1.0 (or 1.1) on 3 × `side` × `side`, 1000 logits.
///
/// # Errors
/// [`NnError::Shape`] for a side below 32.
pub fn squeezenet(second: bool, side: usize, rng: &mut impl Rng) -> Result<Graph, NnError> {
    let mut b = Builder::new(&[1, 3, side, side], rng)?;
    // Squeeze channels; zero stands for a max-pool.
    let fires: [usize; 10] =
        if second { [16, 16, 0, 32, 32, 0, 48, 48, 64, 64] } else { [16, 16, 32, 0, 32, 48, 48, 64, 0, 64] };
    match second {
        true => b.conv(64, 3, 2, 0, 1)?.relu()?.max_pool(3, 2, 0)?,
        false => b.conv(96, 7, 2, 0, 1)?.relu()?.max_pool(3, 2, 0)?,
    };
    for squeeze in fires {
        if squeeze == 0 {
            b.max_pool(3, 2, 0)?;
            continue;
        }
        let start = b.conv(squeeze, 1, 1, 0, 1)?.relu()?.last();
        let narrow = b.conv(4 * squeeze, 1, 1, 0, 1)?.relu()?.last();
        let wide = b.at(start)?.conv(4 * squeeze, 3, 1, 1, 1)?.relu()?.last();
        b.push(Op::Concat { axis: 1 }, &[narrow, wide])?;
    }
    b.conv(1000, 1, 1, 0, 1)?.relu()?.global_average()?.op(Op::Reshape(vec![1, 1000]))?;
    Ok(b.finish())
}
