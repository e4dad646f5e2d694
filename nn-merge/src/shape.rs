//! Shape inference: what shape a node's output has, or why its inputs do not fit it.
//!
//! Shapes are static and carry a leading batch axis of 1. All products are checked against one cap, so that
//! later index arithmetic cannot overflow.

use crate::graph::{Linear, Op};
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
        Op::Input | Op::Relu | Op::Identity | Op::Dropout | Op::Softmax | Op::LogSoftmax => input.to_vec(),
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

/// For every output position of a transpose the input position it shows, both row-major.
pub(crate) fn transpose_map(shape: &[usize], perm: &[usize]) -> Result<Vec<usize>, String> {
    let out = transposed(shape, perm)?;
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    let mut map = vec![0];
    for (&side, &axis) in out.iter().zip(perm) {
        map = map
            .iter()
            .flat_map(|&base| (0..side).map(move |i| (base, i)))
            .map(|(base, i)| base + i * strides[axis])
            .collect();
    }
    Ok(map)
}

fn channels(shape: &[usize]) -> Result<usize, String> {
    shape.get(1).copied().ok_or_else(|| format!("a tensor of shape {shape:?} has no channel axis"))
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
    fn shapes_are_capped() {
        assert!(check(&[1 << 14, 1 << 14]).is_err());
        assert!(check(&[usize::MAX, usize::MAX]).is_err());
        assert!(check(&[1, 0]).is_err());
        assert!(check(&[]).is_err());
        assert_eq!(check(&[1, 3, 4]), Ok(12));
    }
}
