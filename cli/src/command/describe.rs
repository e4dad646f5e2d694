//! The nodes of a manifest in words.

use nn_merge::model::{ActivationSpec, FunctionSpec, LocalOp, OpSpec, Shape};

/// What a node computes.
pub(super) fn kind(op: &OpSpec) -> String {
    match op {
        OpSpec::Input { .. } => "input".to_owned(),
        OpSpec::Linear { geometry, .. } => {
            let s = geometry.shape();
            if [s.in_height, s.in_width, geometry.out_height(), geometry.out_width()] == [1; 4] {
                return format!("dense {} → {}", s.in_channels, s.out_channels);
            }
            let mut text = format!("conv {}×{}", s.kernel[0], s.kernel[1]);
            if s.stride != [1, 1] {
                text.push_str(&format!(", stride {}×{}", s.stride[0], s.stride[1]));
            }
            if s.dilation != [1, 1] {
                text.push_str(&format!(", dilation {}×{}", s.dilation[0], s.dilation[1]));
            }
            if s.groups > 1 {
                text.push_str(&format!(", {} groups", s.groups));
            }
            text
        }
        OpSpec::Sum { factors } => match factors[..] {
            [_] => "as raw".to_owned(),
            _ => format!("sum of {}", factors.len()),
        },
        OpSpec::Activation(activation) => functions(activation),
        OpSpec::Local(local) => match local {
            LocalOp::Reshape(_) => "reshape".to_owned(),
            LocalOp::Concat => "concat".to_owned(),
            LocalOp::Slice { .. } => "slice".to_owned(),
            LocalOp::Pad { .. } => "pad".to_owned(),
            LocalOp::Permute(_) => "transpose".to_owned(),
            LocalOp::SumPool(pool) => {
                format!("sum-pool {}×{}", pool.shape().kernel[0], pool.shape().kernel[1])
            }
            LocalOp::Upsample([rows, columns]) => format!("repeat {rows}×{columns}"),
        },
    }
}

/// Pool and functions of an activation.
fn functions(activation: &ActivationSpec) -> String {
    let mut words = Vec::new();
    if let Some(pool) = &activation.pool {
        words.push(format!("max-pool {}×{}", pool.shape().kernel[0], pool.shape().kernel[1]));
    }
    let several = activation.parts.len() > 1;
    for part in &activation.parts {
        let mut word = match &part.function {
            FunctionSpec::Identity => "lift".to_owned(),
            FunctionSpec::Relu => "ReLU".to_owned(),
            FunctionSpec::Clip { .. } => "clip".to_owned(),
            FunctionSpec::Leaky { .. } => "leaky ReLU".to_owned(),
            FunctionSpec::PRelu => "PReLU".to_owned(),
            FunctionSpec::Polynomial { coefficients } => match coefficients[..] {
                [0, 0, 1] => "square".to_owned(),
                _ => format!("polynomial of degree {}", coefficients.len().saturating_sub(1)),
            },
            FunctionSpec::HardSwish { .. } => "hard swish".to_owned(),
            FunctionSpec::Smooth { function, .. } => function.function().name().to_owned(),
        };
        if several {
            let channels: u32 = part.channels.iter().map(|&(_, count)| count).sum();
            word.push_str(&format!(" on {channels}"));
        }
        words.push(word);
    }
    words.join(", ")
}

/// k, h, w, t of a node, where it has them.
pub(super) fn widths(op: &OpSpec) -> [Option<u32>; 4] {
    match op {
        OpSpec::Input { width } => [None, None, Some(*width), None],
        OpSpec::Linear { reply_bits, .. } => [None, None, None, Some(*reply_bits)],
        OpSpec::Activation(a) => [Some(a.ring_bits), Some(a.ignored_bits), Some(a.width), None],
        OpSpec::Sum { .. } | OpSpec::Local(_) => [None; 4],
    }
}

/// Channels, height and width; a vector by its length alone.
pub(super) fn shape(shape: Shape) -> String {
    match shape {
        [length, 1, 1] => length.to_string(),
        [channels, height, width] => format!("{channels}×{height}×{width}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_in_words() {
        let square = FunctionSpec::Polynomial { coefficients: vec![0, 0, 1] };
        let mut activation = ActivationSpec {
            ring_bits: 18,
            ignored_bits: 6,
            width: 40,
            pool: None,
            parts: ActivationSpec::single(square, 4),
        };
        assert_eq!(functions(&activation), "square");
        activation.parts[0].channels = vec![(0, 3)];
        activation.parts.extend(ActivationSpec::single(FunctionSpec::Relu, 1));
        let op = OpSpec::Activation(activation);
        assert_eq!(kind(&op), "square on 3, ReLU on 1");
        assert_eq!(widths(&op), [Some(18), Some(6), Some(40), None]);
        assert_eq!(kind(&OpSpec::Sum { factors: vec![1, 512] }), "sum of 2");
        assert_eq!(kind(&OpSpec::Sum { factors: vec![512] }), "as raw");
        assert_eq!((shape([5, 1, 1]).as_str(), shape([5, 2, 1]).as_str()), ("5", "5×2×1"));
    }
}
