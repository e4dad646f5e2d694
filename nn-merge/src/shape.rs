//! Shape inference: what shape a node's output has, or why its inputs do not fit it.
//!
//! Shapes are static and carry a leading batch axis of 1. All products are checked against one cap, so that
//! later index arithmetic cannot overflow.

use crate::graph::{Function, Linear, Op};
use crate::model::PoolGeometry;

/// Most elements of a tensor between nodes.
pub const MAX_ELEMENTS: usize = 1 << 26;
/// Most axes.
pub const MAX_RANK: usize = 8;

/// Checks a shape: rank, no zero, capped product.
pub(crate) fn check(shape: &[usize]) -> Result<usize, String> {
    if shape.is_empty() || shape.len() > MAX_RANK {
        return Err(format!("a tensor of {} axes, wanted 1 to {MAX_RANK}", shape.len()));
    }
    let mut product = 1usize;
    for &side in shape {
        product = product.checked_mul(side).filter(|&p| p > 0 && p <= MAX_ELEMENTS).ok_or_else(|| {
            format!("a tensor of shape {shape:?} is empty or above {MAX_ELEMENTS} elements")
        })?;
    }
    Ok(product)
}

/// The output shape of `op` on inputs of the given shapes; the error is a clause without the node's name.
pub(crate) fn infer(op: &Op, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
    let arity = match op {
        Op::Input => 0,
        Op::Add => 2,
        Op::Concat { .. } => inputs.len().max(1),
        _ => 1,
    };
    if inputs.len() != arity {
        return Err(format!("{} takes {arity} inputs, not {}", op.kind(), inputs.len()));
    }
    let Some(&input) = inputs.first() else {
        return Err("a second input node".into());
    };
    let shape = match op {
        Op::Linear(linear) => linear_shape(linear, input)?,
        Op::BatchNorm(norm) => {
            let channels = channels(input)?;
            let all = [&norm.gamma, &norm.beta, &norm.mean, &norm.variance];
            if all.iter().any(|v| v.len() != channels) {
                return Err(format!("batch normalisation parameters do not have {channels} channels"));
            }
            input.to_vec()
        }
        Op::Scale(diagonal) => {
            let channels = channels(input)?;
            if diagonal.scale.len() != channels || diagonal.shift.len() != channels {
                return Err(format!("scale and shift do not have {channels} channels"));
            }
            input.to_vec()
        }
        Op::MaxPool(window) | Op::AveragePool { window, .. } => pool_shape(window, input)?,
        Op::Reshape(target) => {
            if check(target)? != check(input)? {
                return Err(format!("{input:?} cannot become {target:?}"));
            }
            target.clone()
        }
        Op::Transpose(perm) => transposed(input, perm)?,
        Op::Add => {
            if inputs[0] != inputs[1] {
                return Err(format!("the summands have shapes {:?} and {:?}", inputs[0], inputs[1]));
            }
            input.to_vec()
        }
        Op::Activation(function) => {
            check_function(function, input, None)?;
            input.to_vec()
        }
        Op::Mixed(parts) => {
            let mut covered = vec![false; channels(input)?];
            for part in parts {
                for &channel in &part.channels {
                    match covered.get_mut(channel) {
                        Some(mark) if !*mark => *mark = true,
                        _ => return Err(format!("channel {channel} has two functions or does not exist")),
                    }
                }
                if !part.channels.is_sorted() {
                    return Err("channels of a part are not in ascending order".into());
                }
                check_function(&part.function, input, Some(part.channels.len()))?;
            }
            if let Some(channel) = covered.iter().position(|&mark| !mark) {
                return Err(format!("channel {channel} has no function"));
            }
            input.to_vec()
        }
        Op::Slice { start, step, size } => {
            if [start.len(), step.len(), size.len()] != [input.len(); 3] {
                return Err(format!("a slice of {} axes of a tensor of shape {input:?}", start.len()));
            }
            for (axis, &side) in input.iter().enumerate() {
                let last = size[axis].checked_sub(1).and_then(|n| n.checked_mul(step[axis]));
                let last = last.and_then(|n| n.checked_add(start[axis]));
                if step[axis] == 0 || last.is_none_or(|last| last >= side) {
                    return Err(format!(
                        "a slice of axis {axis} (from {}, {} elements, step {}) that {input:?} does not have",
                        start[axis], size[axis], step[axis]
                    ));
                }
            }
            size.clone()
        }
        Op::Pad { before, after } => {
            if [before.len(), after.len()] != [input.len(); 2] {
                return Err(format!("padding for {} axes of a tensor of shape {input:?}", before.len()));
            }
            let sides = input.iter().zip(before).zip(after);
            let padded = sides.map(|((&side, &b), &a)| side.checked_add(b).and_then(|n| n.checked_add(a)));
            padded.collect::<Option<Vec<_>>>().ok_or("too much padding")?
        }
        Op::Upsample(factors) => match *input {
            [n, c, h, w] => {
                let sides = [h.checked_mul(factors[0]), w.checked_mul(factors[1])];
                let [Some(height), Some(width)] = sides else { return Err("too large an image".into()) };
                vec![n, c, height, width]
            }
            _ => return Err(format!("it takes 1xCxHxW, the tensor before it has shape {input:?}")),
        },
        Op::Concat { axis } => joined(inputs, *axis)?,
        Op::Input | Op::Identity | Op::Dropout | Op::Softmax | Op::LogSoftmax => input.to_vec(),
    };
    check(&shape)?;
    Ok(shape)
}

/// The sides of a shape after permuting its axes.
pub(crate) fn transposed(shape: &[usize], perm: &[usize]) -> Result<Vec<usize>, String> {
    let mut seen = vec![false; shape.len()];
    let mut out = Vec::with_capacity(perm.len());
    for &axis in perm {
        match seen.get_mut(axis) {
            Some(mark) if !*mark => *mark = true,
            _ => return Err(format!("{perm:?} is not a permutation of {} axes", shape.len())),
        }
        out.push(shape[axis]);
    }
    if out.len() != shape.len() {
        return Err(format!("{perm:?} is not a permutation of {} axes", shape.len()));
    }
    Ok(out)
}

/// Stands in an [`index_map`] for an element that is zero.
pub(crate) const ZERO: u32 = u32::MAX;

/// For every output element of an op that only moves elements, which input element it shows ([`ZERO`] for padding),
/// all row-major, several inputs counted one after the other; `None` for an op that computes something.
///
/// # Errors
/// As [`infer`].
pub(crate) fn index_map(op: &Op, inputs: &[&[usize]]) -> Result<Option<Vec<u32>>, String> {
    let out = infer(op, inputs)?;
    let input = inputs[0];
    let unit = strides(input);
    let map = match op {
        Op::Reshape(_) | Op::Identity | Op::Dropout => (0..check(&out)? as u32).collect(),
        Op::Transpose(perm) => walk(&out, |axis, i| Some(i * unit[perm[axis]])),
        Op::Slice { start, step, .. } => {
            walk(&out, |axis, i| Some((start[axis] + i * step[axis]) * unit[axis]))
        }
        Op::Pad { before, .. } => {
            walk(&out, |axis, i| Some(i.checked_sub(before[axis]).filter(|&i| i < input[axis])? * unit[axis]))
        }
        Op::Upsample(factors) => walk(&out, |axis, i| match axis {
            2 | 3 => Some(i / factors[axis - 2] * unit[axis]),
            _ => Some(i * unit[axis]),
        }),
        Op::Concat { axis } => {
            let outer: usize = out[..*axis].iter().product();
            let mut map = Vec::with_capacity(out.iter().product());
            for block in 0..outer {
                let mut first = 0;
                for shape in inputs {
                    let run: usize = shape[*axis..].iter().product();
                    map.extend((0..run).map(|i| (first + block * run + i) as u32));
                    first += outer * run;
                }
            }
            map
        }
        _ => return Ok(None),
    };
    Ok(Some(map))
}

/// Row-major strides.
fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// All positions of a tensor of shape `out` as sums of what `offset` gives per axis and index; nothing makes [`ZERO`].
fn walk(out: &[usize], offset: impl Fn(usize, usize) -> Option<usize>) -> Vec<u32> {
    let mut map = vec![0u32];
    for (axis, &side) in out.iter().enumerate() {
        let offsets: Vec<u32> = (0..side).map(|i| offset(axis, i).map_or(ZERO, |o| o as u32)).collect();
        map = map
            .iter()
            .flat_map(|&base| {
                offsets.iter().map(move |&o| if base == ZERO || o == ZERO { ZERO } else { base + o })
            })
            .collect();
    }
    map
}

/// For every output position of a transpose the input position it shows, both row-major.
pub(crate) fn transpose_map(shape: &[usize], perm: &[usize]) -> Result<Vec<usize>, String> {
    let out = transposed(shape, perm)?;
    let unit = strides(shape);
    Ok(walk(&out, |axis, i| Some(i * unit[perm[axis]])).into_iter().map(|i| i as usize).collect())
}

/// The shape of several tensors joined along `axis`.
fn joined(inputs: &[&[usize]], axis: usize) -> Result<Vec<usize>, String> {
    let mut out = inputs[0].to_vec();
    if axis >= out.len() {
        return Err(format!("joining along axis {axis} of tensors of shape {out:?}"));
    }
    for other in &inputs[1..] {
        let fits = other.len() == out.len() && (0..out.len()).all(|a| a == axis || other[a] == out[a]);
        if !fits {
            return Err(format!(
                "tensors of shapes {out:?} and {other:?} cannot be joined along axis {axis}"
            ));
        }
        out[axis] = out[axis].saturating_add(other[axis]);
    }
    Ok(out)
}

/// Whether a function's numbers fit a tensor of shape `input`, or the `count` channels of it that it acts on.
fn check_function(function: &Function, input: &[usize], count: Option<usize>) -> Result<(), String> {
    let rows = match function {
        Function::PRelu { slopes } => slopes.len(),
        Function::Polynomial { coefficients } => coefficients.len(),
        _ => return Ok(()),
    };
    // One row serves tensors without a channel axis as well.
    if rows == 1 {
        return Ok(());
    }
    let channels = match count {
        Some(count) => count,
        None => channels(input)?,
    };
    if rows == channels {
        Ok(())
    } else {
        Err(format!("{} numbers for {rows} channels on {channels}", function.name()))
    }
}

fn channels(shape: &[usize]) -> Result<usize, String> {
    match *shape {
        [1, channels, ..] => Ok(channels),
        _ => Err(format!("a tensor of shape {shape:?} has no channel axis behind a batch of 1")),
    }
}

fn linear_shape(linear: &Linear, input: &[usize]) -> Result<Vec<usize>, String> {
    let geometry = &linear.geometry;
    let s = geometry.shape();
    let elements = check(input)?;
    if elements != geometry.input_len() {
        return Err(format!(
            "it takes {} values, the tensor before it has shape {input:?}",
            geometry.input_len()
        ));
    }
    if linear.weights.len() != geometry.weights_len() || linear.bias.len() != s.out_channels {
        return Err("weights or biases do not fit the geometry".into());
    }
    if linear.is_flat() {
        return Ok(vec![1, s.out_channels]);
    }
    if input == [1, s.in_channels, s.in_height, s.in_width] {
        return Ok(vec![1, s.out_channels, geometry.out_height(), geometry.out_width()]);
    }
    Err(format!(
        "it takes 1x{}x{}x{}, the tensor before it has shape {input:?}",
        s.in_channels, s.in_height, s.in_width
    ))
}

fn pool_shape(window: &PoolGeometry, input: &[usize]) -> Result<Vec<usize>, String> {
    let s = window.shape();
    if input != [1, s.channels, s.in_height, s.in_width] {
        return Err(format!(
            "pooling takes 1x{}x{}x{}, the tensor before it has shape {input:?}",
            s.channels, s.in_height, s.in_width
        ));
    }
    Ok(vec![1, s.channels, window.out_height(), window.out_width()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Part;

    #[test]
    fn transpose_map_follows_the_axes() {
        let map = transpose_map(&[1, 2, 3, 4], &[0, 2, 3, 1]).expect("a permutation");
        for y in 0..3 {
            for x in 0..4 {
                for c in 0..2 {
                    assert_eq!(map[(y * 4 + x) * 2 + c], (c * 3 + y) * 4 + x);
                }
            }
        }
        assert!(transpose_map(&[2, 2], &[0, 0]).is_err());
        assert!(transpose_map(&[2, 2], &[0]).is_err());
        assert!(transpose_map(&[2, 2], &[0, 2]).is_err());
    }

    #[test]
    fn index_maps_by_hand() {
        let map =
            |op: Op, shapes: &[&[usize]]| index_map(&op, shapes).expect("fits").expect("moves elements only");
        let slice = Op::Slice { start: vec![0, 1], step: vec![1, 2], size: vec![2, 2] };
        assert_eq!(map(slice, &[&[2, 4]]), [1, 3, 5, 7]);
        let pad = Op::Pad { before: vec![0, 1], after: vec![1, 0] };
        assert_eq!(map(pad, &[&[1, 2]]), [ZERO, 0, 1, ZERO, ZERO, ZERO]);
        assert_eq!(map(Op::Upsample([1, 2]), &[&[1, 1, 2, 2]]), [0, 0, 1, 1, 2, 2, 3, 3]);
        assert_eq!(map(Op::Concat { axis: 1 }, &[&[2, 1], &[2, 2]]), [0, 2, 3, 1, 4, 5]);
        assert_eq!(map(Op::Reshape(vec![2, 2]), &[&[4]]), [0, 1, 2, 3]);
        assert_eq!(index_map(&Op::Softmax, &[&[4]]), Ok(None));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let part = |channels: &[usize], function| Part { channels: channels.to_vec(), function };
        let prelu = |n| Function::PRelu { slopes: vec![0.1; n] };
        let good = Op::Mixed(vec![part(&[0, 2], prelu(2)), part(&[1], Function::Relu)]);
        assert_eq!(infer(&good, &[&[1, 3, 2, 2]]), Ok(vec![1, 3, 2, 2]));
        let wrong = [
            Op::Mixed(vec![part(&[0, 2], prelu(3)), part(&[1], Function::Relu)]),
            Op::Mixed(vec![part(&[0, 2], Function::Relu)]),
            Op::Mixed(vec![part(&[0, 1, 2, 2], Function::Relu)]),
            Op::Mixed(vec![part(&[0, 1, 2, 3], Function::Relu)]),
            Op::Mixed(vec![part(&[0, 2, 1], Function::Relu)]),
            Op::Activation(prelu(2)),
            Op::Activation(Function::Polynomial { coefficients: Vec::new() }),
            Op::Slice { start: vec![0; 4], step: vec![1, 1, 0, 1], size: vec![1; 4] },
            Op::Slice { start: vec![0; 4], step: vec![1; 4], size: vec![1, 4, 1, 1] },
            Op::Slice { start: vec![0; 4], step: vec![1, usize::MAX, 1, 1], size: vec![1, 3, 1, 1] },
            Op::Slice { start: vec![0; 3], step: vec![1; 3], size: vec![1; 3] },
            Op::Pad { before: vec![0, 0, usize::MAX, 0], after: vec![0; 4] },
            Op::Pad { before: vec![0; 4], after: vec![0; 5] },
            Op::Upsample([0, 1]),
            Op::Upsample([usize::MAX, 2]),
            Op::Concat { axis: 4 },
        ];
        for op in wrong {
            assert!(infer(&op, &[&[1, 3, 2, 2]]).is_err(), "{}", op.kind());
        }
        assert!(infer(&Op::Concat { axis: 1 }, &[]).is_err());
        assert!(infer(&Op::Concat { axis: 1 }, &[&[1, 2], &[1, 2, 3]]).is_err());
        assert!(infer(&Op::Concat { axis: 1 }, &[&[1, 2, 2], &[1, 2, 3]]).is_err());
    }

    #[test]
    fn shapes_are_capped() {
        assert!(check(&[1 << 14, 1 << 14]).is_err());
        assert!(check(&[usize::MAX, usize::MAX]).is_err());
        assert!(check(&[1, 0]).is_err());
        assert!(check(&[]).is_err());
        assert_eq!(check(&[1, 3, 4]), Ok(12));
    }
}
