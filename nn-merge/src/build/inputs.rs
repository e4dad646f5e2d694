//! The input side of a build: how images become network inputs, what values they can take, and made-up ones.

use rand_core::Rng;

use super::options::BuildOptions;
use crate::calibrate::Interval;
use crate::error::NnError;
use crate::graph::Graph;
use crate::model::InputSpec;

/// How images become inputs of a network: the manifest's part that says so, units and limit still open (0).
///
/// # Errors
/// [`NnError::BuildOption`] for means, deviations or a scale that do not fit it.
pub fn input_spec(graph: &Graph, options: &BuildOptions) -> Result<InputSpec, NnError> {
    let shape = &graph.node(0).shape;
    let (channels, height, width) = match shape[..] {
        [1, c, h, w] => (c, h, w),
        // A signal of several channels, or a table: arrays of its own shape are arrays of one channel.
        [1, rows, columns] if rows > 1 && columns > 1 => (1, rows, columns),
        _ => image_of(graph.input_len()),
    };
    let spread = |what: &str, values: &[f64], default: f64| match values {
        [] => Ok(vec![default; channels]),
        [one] => Ok(vec![*one; channels]),
        many if many.len() == channels => Ok(many.to_vec()),
        many => Err(NnError::option(what, format!("{} values for {channels} channels", many.len()))),
    };
    let (mean, std) = (spread("mean", &options.mean, 0.0)?, spread("std", &options.std, 1.0)?);
    let positive = |v: f64| v.is_finite() && v > 0.0;
    if !positive(options.scale) || !std.iter().all(|&s| positive(s)) || mean.iter().any(|m| !m.is_finite()) {
        return Err(NnError::option(
            "input scaling",
            "scale and std must be positive and all of them finite",
        ));
    }
    Ok(InputSpec {
        channels,
        height,
        width,
        channels_last: graph.channels_last,
        scale: options.scale,
        mean,
        std,
        units: 0.0,
        limit: 0.0,
    })
}

/// A network that takes a flat vector: a square image of one channel or of three if the length allows, else one row.
fn image_of(length: usize) -> (usize, usize, usize) {
    let root = |n: usize| Some(n.isqrt()).filter(|r| r * r == n);
    match (root(length), length.is_multiple_of(3).then(|| root(length / 3)).flatten()) {
        (Some(side), _) => (1, side, side),
        (None, Some(side)) => (3, side, side),
        (None, None) => (1, 1, length),
    }
}

/// What raw pixels can become, per channel, widened to hold the calibration inputs.
pub(super) fn input_ranges(input: &InputSpec, calibration: &[Vec<f32>]) -> Vec<Interval> {
    let plane = input.height * input.width;
    (0..input.channels)
        .map(|channel| {
            let (a, b) = (input.normalize(0.0, channel), input.normalize(255.0, channel));
            let seen =
                calibration.iter().filter_map(|image| image.get(channel * plane..(channel + 1) * plane));
            seen.flatten().fold(Interval { low: a.min(b), high: a.max(b) }, |range, &v| Interval {
                low: range.low.min(f64::from(v)),
                high: range.high.max(f64::from(v)),
            })
        })
        .collect()
}

pub(super) fn synthetic_images(
    input: &InputSpec,
    ranges: &[Interval],
    count: usize,
    rng: &mut impl Rng,
) -> Vec<Vec<f32>> {
    let plane = input.height * input.width;
    (0..count)
        .map(|_| {
            ranges
                .iter()
                .flat_map(|range| std::iter::repeat_n(range, plane))
                .map(|range| {
                    let part = f64::from(rng.next_u32()) / f64::from(u32::MAX);
                    (range.low + part * (range.high - range.low)) as f32
                })
                .collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use he_core::Profile;

    #[test]
    fn every_shape_of_input_is_some_image() {
        let of = |shape: &[usize]| {
            let spec =
                input_spec(&Graph::new("x", shape).unwrap(), &BuildOptions::new(Profile::Wide, "x")).unwrap();
            [spec.channels, spec.height, spec.width]
        };
        assert_eq!(of(&[1, 3, 5, 7]), [3, 5, 7]);
        // Not an image of 8×8, whatever its length.
        assert_eq!(of(&[1, 4, 16]), [1, 4, 16]);
        assert_eq!(
            (of(&[1, 784, 1]), of(&[1, 784]), of(&[1, 3072])),
            ([1, 28, 28], [1, 28, 28], [3, 32, 32])
        );
        assert_eq!(of(&[1, 120]), [1, 1, 120]);
    }
}
