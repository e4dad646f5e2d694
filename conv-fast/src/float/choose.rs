//! Which float algorithm for which layer: a small model of the cycles of one core.
//!
//! Vectors of 64 bytes, two multiply-adds a cycle, nine bytes a cycle for weights that no cache near the core holds. The
//! constants were measured on one machine with AVX-512; narrower vectors scale everything alike. Winograd competes only
//! with forms whose error factor (see `winograd`) stays below [`most_error`].

use super::lanes::Numbers;
use super::winograd::{Winograd, error_factor};
use super::{Float, FloatAlgorithm};
use crate::ConvGeometry;

/// Bytes of weights per cycle.
const STREAM: f64 = 9.0;
/// Cycles to gather and transform one vector, or to transform and scatter it.
const TRANSFORM: f64 = 7.0;
/// Cycles to move one vector of a plane.
const MOVE: f64 = 4.0;
/// Cycles to start a group on a register tile.
const GROUP: f64 = 1500.0;

/// The algorithm with the least estimated time for one image.
///
/// Winograd is taken over f32 only where its error stays below 25·2^-23 of the greatest Σ|w·x|: tiles of 2 or 4 for
/// kernels of 3, of 2 for kernels of 5. Over f64 every tile may be.
pub fn choose<T: Float>(geometry: &ConvGeometry) -> FloatAlgorithm {
    if !geometry.is_ordinary() {
        return FloatAlgorithm::Direct;
    }
    let mut best = (im2col::<T>(geometry), FloatAlgorithm::Im2col);
    let mut offer = |cycles: f64, algorithm| {
        if cycles < best.0 {
            best = (cycles, algorithm);
        }
    };
    offer(depthwise::<T>(geometry), FloatAlgorithm::Depthwise);
    for m0 in [2, 4, 6] {
        for m1 in [2, 4, 6] {
            let tile = [m0, m1];
            if Winograd::<T>::refusal(geometry, tile).is_none()
                && error_factor(geometry.shape().kernel, tile) <= most_error::<T>()
            {
                offer(winograd::<T>(geometry, tile), FloatAlgorithm::Winograd { tile });
            }
        }
    }
    best.1
}

/// The greatest error factor of a form that is chosen unasked.
fn most_error<T>() -> f64 {
    if size_of::<T>() == 4 { 25.0 } else { f64::INFINITY }
}

/// A matrix product: `matrices` times outputs × terms by terms × columns.
fn product<T: Numbers>(matrices: usize, outputs: usize, terms: usize, columns: usize) -> f64 {
    let weights = (matrices * outputs.div_ceil(T::BLOCK) * terms) as f64;
    let arithmetic = weights * columns.next_multiple_of(6) as f64 / 2.0;
    arithmetic.max(weights * 64.0 / STREAM)
}

fn im2col<T: Numbers>(geometry: &ConvGeometry) -> f64 {
    let groups = geometry.shape().groups;
    let pixels = geometry.out_height() * geometry.out_width();
    let vectors = groups * geometry.group_outputs().div_ceil(T::BLOCK) * pixels;
    product::<T>(groups, geometry.group_outputs(), geometry.terms(), pixels)
        + vectors as f64 * MOVE
        + groups as f64 * GROUP
}

fn depthwise<T: Numbers>(geometry: &ConvGeometry) -> f64 {
    let width = geometry.out_width() + geometry.shape().kernel[1] - 1;
    let vectors = (geometry.out_height() * width).div_ceil(T::BLOCK) as f64;
    let planes = (geometry.input_len() + geometry.output_len()) as f64 / T::BLOCK as f64;
    geometry.shape().out_channels as f64 * vectors * geometry.terms() as f64 + planes * MOVE
}

fn winograd<T: Numbers>(geometry: &ConvGeometry, tile: [usize; 2]) -> f64 {
    let s = geometry.shape();
    let positions = (tile[0] + s.kernel[0] - 1) * (tile[1] + s.kernel[1] - 1);
    let tiles = geometry.out_height().div_ceil(tile[0]) * geometry.out_width().div_ceil(tile[1]);
    let (inputs, outputs) = (geometry.group_inputs(), geometry.group_outputs());
    let blocks = s.groups * (inputs.div_ceil(T::BLOCK) + outputs.div_ceil(T::BLOCK));
    product::<T>(positions * s.groups, outputs, inputs, tiles)
        + (blocks * tiles * positions) as f64 * TRANSFORM
        + s.groups as f64 * GROUP
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ConvShape;

    fn layer([inputs, size, outputs, kernel, groups]: [usize; 5]) -> ConvGeometry {
        ConvGeometry::new(ConvShape {
            in_channels: inputs,
            in_height: size,
            in_width: size,
            out_channels: outputs,
            kernel: [kernel; 2],
            stride: [1; 2],
            padding: [kernel / 2; 4],
            dilation: [1; 2],
            groups,
        })
        .unwrap()
    }

    #[test]
    fn layers_whose_best_algorithm_is_beyond_doubt() {
        let winograd = |tile| FloatAlgorithm::Winograd { tile };
        assert_eq!(choose::<f32>(&layer([64, 56, 64, 3, 1])), winograd([4, 4]));
        assert_eq!(choose::<f32>(&layer([512, 7, 512, 3, 1])), winograd([2, 2]));
        assert_eq!(choose::<f32>(&layer([256, 14, 64, 1, 1])), FloatAlgorithm::Im2col);
        assert_eq!(choose::<f32>(&layer([144, 28, 144, 3, 144])), FloatAlgorithm::Depthwise);
        assert_eq!(choose::<f32>(&ConvGeometry::fully_connected(512, 10).unwrap()), FloatAlgorithm::Im2col);
        assert!(matches!(choose::<f64>(&layer([64, 28, 64, 5, 1])), FloatAlgorithm::Winograd { .. }));
    }
}
