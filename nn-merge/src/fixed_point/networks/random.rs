//! Whole random graphs, and the functions that activations may have.

use he_core::Profile;
use rand_core::Rng;

use crate::NnError;
use crate::model::{ActivationSpec, FunctionSpec, LocalOp, Model, PartSpec, SmoothName, limits};

use super::{Conv, Sketch};

/// Every kind of function with the k that it is made for, for values within an eighth of a turn and results of `width`
/// bits. The first six take the profile's k.
pub fn functions(profile: Profile, width: u32) -> Vec<(u32, FunctionSpec)> {
    let bits = limits(profile).ring_bits;
    // Squares have twice the bits.
    let narrow = bits.min(width / 2 - 2);
    let (turn, small) = (1i64 << bits, 1i64 << narrow);
    let step = 32.0 / turn as f64;
    let smooth =
        |function| FunctionSpec::Smooth { function, step, scale: turn as f64 / 16.0, tolerance: 0.05 };
    let usual = [
        FunctionSpec::Relu,
        FunctionSpec::Identity,
        FunctionSpec::Clip { low: 0, high: turn / 32 },
        FunctionSpec::Clip { low: -turn / 64, high: turn / 40 },
        FunctionSpec::Leaky { negative: 1, positive: 8 },
        FunctionSpec::Leaky { negative: -1, positive: 1 },
        FunctionSpec::PRelu,
        smooth(SmoothName::Sigmoid),
        smooth(SmoothName::Silu),
    ];
    let steep = [
        FunctionSpec::Polynomial { coefficients: vec![0, 0, 1] },
        FunctionSpec::Polynomial { coefficients: vec![7, -3, 2] },
        FunctionSpec::HardSwish { three: small / 16 },
    ];
    usual.map(|f| (bits, f)).into_iter().chain(steep.map(|f| (narrow, f))).collect()
}

/// A random graph of up to `nodes` nodes behind the input, with a small output.
///
/// # Errors
/// None that is known: what does not fit is not taken.
pub fn random<R: Rng>(profile: Profile, nodes: usize, rng: &mut R) -> Result<Model, NnError> {
    let numbers = limits(profile);
    let mut pick = |from: &[usize]| from[(rng.next_u64() % from.len() as u64) as usize];
    let shape = [pick(&[1, 2, 3, 4]), pick(&[1, 4, 5, 6, 7, 9]), pick(&[1, 3, 6, 7, 8])];
    let widths: Vec<usize> = [numbers.max_width, numbers.max_width, 36, 32]
        .iter()
        .map(|&w| w.min(numbers.max_width) as usize)
        .collect();
    let width = pick(&widths) as u32;
    let limit = f64::from(pick(&[6, 10, 16, 40]).min(width as usize - 8) as u32).exp2();
    let mut sketch = Sketch::new(profile, shape, width, limit, rng);
    let choices = functions(profile, width);
    for _ in 0..nodes {
        let source = sketch.draw(sketch.nodes.len()) as u32;
        let source = if sketch.draw(3) > 0 { sketch.last() } else { source };
        // What does not fit is not added; the next draw may fit better.
        let _ = grow(&mut sketch, source, &choices);
    }
    if sketch.is_masked(sketch.last()) || sketch.shape(sketch.last()).iter().product::<usize>() > 40 {
        let masked: Vec<u32> = (0..=sketch.last()).filter(|&node| sketch.is_masked(node)).collect();
        let (last, outputs) = (masked[masked.len() - 1], 2 + sketch.draw(6));
        sketch.dense(last, outputs)?;
    }
    let output = sketch.last();
    sketch.finish(output)
}

/// Adds one random node (or a few) behind `source`.
fn grow<R: Rng>(s: &mut Sketch<'_, R>, source: u32, choices: &[(u32, FunctionSpec)]) -> Result<u32, NnError> {
    let [channels, height, width] = s.shape(source);
    if !s.is_masked(source) {
        return match s.draw(8) {
            // A branch that joins: any other raw tensor of this shape, or a masked one.
            0 | 1 => {
                let fitting: Vec<u32> = (0..=s.last())
                    .filter(|&n| n != source && s.shape(n) == [channels, height, width])
                    .collect();
                let other =
                    *fitting.get(s.draw(fitting.len())).ok_or_else(|| NnError::manifest("no operand"))?;
                let sum = s.sum(&[source, other]);
                activate(s, sum, choices)
            }
            2 => local(s, source),
            _ => activate(s, source, choices),
        };
    }
    match s.draw(10) {
        0..=5 => {
            let side = |s: &mut Sketch<'_, R>, length: usize| 1 + s.draw(3.min(length));
            let kernel = [side(s, height), side(s, width)];
            let grouped = [1, 1, channels][s.draw(3)];
            let conv = Conv {
                channels: grouped * (1 + s.draw(6 / grouped.min(3))),
                kernel,
                stride: [1 + s.draw(2), 1 + s.draw(2)],
                padding: [0; 4].map(|_| s.draw(2)),
                dilation: [1 + s.draw(2), 1 + s.draw(2)],
                groups: grouped,
            };
            s.conv(source, conv)
        }
        6 => {
            let outputs = 1 + s.draw(12);
            s.dense(source, outputs)
        }
        7 => Ok(s.sum(&[source])),
        _ => local(s, source),
    }
}

/// A random activation of a raw tensor.
fn activate<R: Rng>(
    s: &mut Sketch<'_, R>,
    source: u32,
    choices: &[(u32, FunctionSpec)],
) -> Result<u32, NnError> {
    let channels = s.shape(source)[0];
    let ring_bits = limits(s.profile).ring_bits;
    match s.draw(6) {
        0 => {
            let kernel = [1 + s.draw(3), 1 + s.draw(3)];
            let stride = [1 + s.draw(2), 1 + s.draw(2)];
            let padding = [s.draw(kernel[0]), s.draw(kernel[1]), s.draw(kernel[0]), s.draw(kernel[1])];
            let pool = s.pool(source, kernel, stride, padding)?;
            let function = choices[s.draw(6)].1.clone();
            s.activation(source, Some(pool), ring_bits, ActivationSpec::single(function, channels))
        }
        1 if channels > 1 => {
            // Two functions on two sets of channels.
            let cut = 1 + s.draw(channels - 1) as u32;
            let [first, second] = [0, 1].map(|_| choices[s.draw(6)].1.clone());
            let parts = vec![
                PartSpec { channels: vec![(cut, channels as u32 - cut)], function: first },
                PartSpec { channels: vec![(0, cut)], function: second },
            ];
            s.activation(source, None, ring_bits, parts)
        }
        _ => {
            let (ring_bits, function) = choices[s.draw(choices.len())].clone();
            s.apply(source, ring_bits, function)
        }
    }
}

/// A random local map.
fn local<R: Rng>(s: &mut Sketch<'_, R>, source: u32) -> Result<u32, NnError> {
    let shape = s.shape(source);
    let op = match s.draw(8) {
        0 => LocalOp::Permute([[1, 0, 2], [2, 1, 0], [1, 2, 0]][s.draw(3)]),
        1 => LocalOp::Reshape([shape.iter().product(), 1, 1]),
        2 => LocalOp::Pad { before: [0; 3].map(|_| s.draw(2)), after: [0; 3].map(|_| s.draw(2)) },
        3 => {
            let start = shape.map(|side| s.draw(side));
            let step = [0; 3].map(|_| 1 + s.draw(2));
            let size = [0, 1, 2].map(|a| (shape[a] - start[a]).div_ceil(step[a]));
            LocalOp::Slice { start, step, size }
        }
        4 | 5 => {
            let kernel = [1 + s.draw(3), 1 + s.draw(3)];
            let stride = [1 + s.draw(2), 1 + s.draw(2)];
            LocalOp::SumPool({
                let padding = [s.draw(kernel[0]), 0, s.draw(kernel[0]), 0];
                s.pool(source, kernel, stride, padding)?
            })
        }
        6 if shape[1] * shape[2] < 40 => LocalOp::Upsample([1 + s.draw(2), 1 + s.draw(2)]),
        _ => {
            let fitting: Vec<u32> = (0..=s.last())
                .filter(|&n| s.shape(n)[1..] == shape[1..] && s.kinds[n as usize] == s.kinds[source as usize])
                .collect();
            let other = fitting[s.draw(fitting.len())];
            return s.local(&[source, other], LocalOp::Concat);
        }
    };
    s.local(&[source], op)
}
