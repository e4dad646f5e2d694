//! The slow, obvious convolution: seven nested loops, one per symbol of the definition in [`crate::geometry`].
//!
//! Three coefficient domains share the loops: a [`Ring`] ([`direct`], the twin that every fast algorithm of this crate is held
//! to), `f64` ([`direct_f64`], the oracle for float networks) and wrapping words ([`direct_wrapping`], for fixed-point oracles).
//! Nothing here is meant to be fast.

use crate::{ConvGeometry, Float, Ring};

/// Convolution over a ring of one image or a batch of them.
///
/// `weights` are signed integers, flat as in [`ConvGeometry`]; `input` holds elements in canonical form, `batch·input_len`
/// of them. Returns `batch·output_len` elements.
///
/// # Panics
/// If `weights` or `input` do not have the lengths that the geometry asks for.
pub fn direct(geometry: &ConvGeometry, ring: impl Into<Ring>, weights: &[i64], input: &[u64]) -> Vec<u64> {
    let ring = ring.into();
    if weights.iter().all(|weight| weight.unsigned_abs() <= 1 << 32) {
        // At most 2^28 products below 2^96: one reduction at the end.
        let sums = walk(geometry, weights, input, 0i128, |sum, weight, value: u64| {
            sum + i128::from(weight) * i128::from(value)
        });
        return sums.into_iter().map(|sum| ring.from_i128(sum)).collect();
    }
    walk(geometry, weights, input, 0, |sum, weight, value| {
        ring.add(sum, ring.mul(ring.from_i64(weight), value))
    })
}

/// Convolution of `f64` tensors, summed in the order channel, row, column of the kernel.
///
/// # Panics
/// As [`direct`].
pub fn direct_f64(geometry: &ConvGeometry, weights: &[f64], input: &[f64]) -> Vec<f64> {
    direct_float(geometry, weights, input)
}

/// As [`direct_f64`] for any floating-point type.
///
/// # Panics
/// As [`direct`].
pub fn direct_float<T: Float>(geometry: &ConvGeometry, weights: &[T], input: &[T]) -> Vec<T> {
    walk(geometry, weights, input, T::default(), |sum, weight, value| sum + weight * value)
}

/// Convolution over Z_2^64: all sums and products wrap.
///
/// # Panics
/// As [`direct`].
pub fn direct_wrapping(geometry: &ConvGeometry, weights: &[i64], input: &[u64]) -> Vec<u64> {
    walk(geometry, weights, input, 0, |sum: u64, weight, value| {
        sum.wrapping_add((weight as u64).wrapping_mul(value))
    })
}

fn walk<W: Copy, X: Copy, S: Copy>(
    geometry: &ConvGeometry,
    weights: &[W],
    input: &[X],
    zero: S,
    multiply_add: impl Fn(S, W, X) -> S,
) -> Vec<S> {
    assert_eq!(weights.len(), geometry.weights_len(), "number of weights");
    assert!(input.len().is_multiple_of(geometry.input_len()), "number of input values");
    let s = geometry.shape();
    let (height, width) = (s.in_height, s.in_width);
    let mut output = Vec::with_capacity(input.len() / geometry.input_len() * geometry.output_len());
    for image in input.chunks_exact(geometry.input_len()) {
        for o in 0..s.out_channels {
            let group = o / geometry.group_outputs();
            for y in 0..geometry.out_height() {
                for x in 0..geometry.out_width() {
                    let mut sum = zero;
                    for c in 0..geometry.group_inputs() {
                        let channel = group * geometry.group_inputs() + c;
                        for i in 0..s.kernel[0] {
                            for j in 0..s.kernel[1] {
                                // Coordinates in the padded image; below the padding the value is zero.
                                let row = y * s.stride[0] + i * s.dilation[0];
                                let column = x * s.stride[1] + j * s.dilation[1];
                                let (Some(row), Some(column)) =
                                    (row.checked_sub(s.padding[0]), column.checked_sub(s.padding[1]))
                                else {
                                    continue;
                                };
                                if row < height && column < width {
                                    let weight = ((o * geometry.group_inputs() + c) * s.kernel[0] + i)
                                        * s.kernel[1]
                                        + j;
                                    sum = multiply_add(
                                        sum,
                                        weights[weight],
                                        image[(channel * height + row) * width + column],
                                    );
                                }
                            }
                        }
                    }
                    output.push(sum);
                }
            }
        }
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ConvShape;
    use he_core::Modulus;

    fn small() -> ConvGeometry {
        ConvGeometry::new(ConvShape {
            in_channels: 1,
            in_height: 2,
            in_width: 3,
            out_channels: 1,
            kernel: [2, 2],
            stride: [1, 2],
            padding: [1, 0, 0, 1],
            dilation: [1, 1],
            groups: 1,
        })
        .unwrap()
    }

    /// Worked out on paper: rows (0 0 0 0), (1 2 3 0), (4 5 6 0); kernel (1 −2 / 3 10).
    #[test]
    fn by_hand() {
        let expected: [i64; 4] = [3 + 20, 9, 1 - 4 + 12 + 50, 3 + 18];
        let modulus = Modulus::new(12289).unwrap();
        let signed = [1, -2, 3, 10];
        let values = [1, 2, 3, 4, 5, 6];
        let over_q = direct(&small(), modulus, &signed, &values);
        assert_eq!(over_q, expected.map(|v| modulus.from_i64(v)));
        let over_floats = direct_f64(&small(), &signed.map(|v| v as f64), &values.map(|v| v as f64));
        assert_eq!(over_floats, expected.map(|v| v as f64));
        assert_eq!(direct_wrapping(&small(), &signed, &values), expected.map(|v| v as u64));
    }

    #[test]
    fn a_batch_is_its_images() {
        let modulus = Modulus::new(97).unwrap();
        let weights = [5, -7, 11, 13];
        let images: Vec<u64> = (0..18).map(|v| v * v % 97).collect();
        let together = direct(&small(), modulus, &weights, &images);
        let apart: Vec<u64> =
            images.chunks(6).flat_map(|image| direct(&small(), modulus, &weights, image)).collect();
        assert_eq!(together, apart);
    }
}
