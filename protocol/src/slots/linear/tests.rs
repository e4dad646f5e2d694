//! Linear maps as diagonals on slots against the definition, on random shapes.

use conv_fast::{ConvShape, direct_f64};
use he_core::Seed;
use rand_core::Rng;

use super::*;

/// A number below `most`.
fn below(rng: &mut impl Rng, most: usize) -> usize {
    rng.next_u64() as usize % most
}

/// A whole number from -8 to 8: sums of products are exact.
fn small(rng: &mut impl Rng) -> f64 {
    below(rng, 17) as f64 - 8.0
}

fn geometry(rng: &mut impl Rng) -> ConvGeometry {
    loop {
        let groups = 1 + below(rng, 2);
        let stride = 1 + below(rng, 3);
        let shape = ConvShape {
            in_channels: groups * (1 + below(rng, 4)),
            in_height: 1 + below(rng, 9),
            in_width: 1 + below(rng, 9),
            out_channels: groups * (1 + below(rng, 5)),
            kernel: [1 + below(rng, 4), 1 + below(rng, 4)],
            stride: [stride, if below(rng, 4) == 0 { 1 + below(rng, 3) } else { stride }],
            padding: [below(rng, 3), below(rng, 3), below(rng, 3), below(rng, 3)],
            dilation: [1 + below(rng, 2), 1 + below(rng, 2)],
            groups,
        };
        if let Ok(geometry) = ConvGeometry::new(shape) {
            return geometry;
        }
    }
}

fn check(geometry: &ConvGeometry, input: &SlotLayout, output: &SlotLayout, rng: &mut impl Rng) {
    let weights: Vec<f64> = (0..geometry.weights_len()).map(|_| small(rng)).collect();
    let image: Vec<f64> = (0..geometry.input_len()).map(|_| small(rng)).collect();
    let map = SlotMap::new(geometry, &weights, input, output).unwrap();
    assert!(input.is_injective() && output.is_injective());

    let mut slots = input.scatter(&image).unwrap();
    // What lies in free slots must not matter.
    let used: Vec<Vec<f64>> = input.scatter(&vec![1.0; image.len()]).unwrap();
    for (slots, used) in slots.iter_mut().zip(&used) {
        slots.iter_mut().zip(used).filter(|(_, used)| **used == 0.0).for_each(|(slot, _)| *slot = 1e6);
    }
    let complex: Vec<Vec<Complex>> =
        slots.iter().map(|slots| slots.iter().map(|&x| Complex::from(x)).collect()).collect();
    let found = map.apply(&complex);
    let expected = direct_f64(geometry, &weights, &image);
    let real: Vec<Vec<f64>> = found.iter().map(|y| y.iter().map(|z| z.re).collect()).collect();
    assert_eq!(output.gather(&real).unwrap(), expected, "{geometry:?}");
    // Every copy has it, and free slots are zero in every copy or hold something; a scatter says which are used.
    let whole = output.scatter(&expected).unwrap();
    let used = output.scatter(&vec![1.0; expected.len()]).unwrap();
    for ((found, whole), used) in real.iter().zip(&whole).zip(&used) {
        for ((found, whole), used) in found.iter().zip(whole).zip(used) {
            assert!(*used == 0.0 || found == whole, "{geometry:?}");
        }
    }
    // As the module essay bounds them.
    let most = input.period().min(output.period());
    for to in 0..output.ciphertexts() {
        for from in 0..input.ciphertexts() {
            assert!(map.matrix(to, from).is_none_or(|matrix| matrix.indices().count() <= most));
        }
    }
}

#[test]
fn layers_are_what_direct_convolution_gives() {
    let mut rng = Seed::from_bytes([71; 32]).stream();
    for round in 0..120 {
        let geometry = geometry(&mut rng);
        let s = geometry.shape();
        let shape = [s.in_channels, s.in_height, s.in_width];
        let slots = [256, 512, 2048][below(&mut rng, 3)];
        let repeated = below(&mut rng, 3) > 0;
        let input = match below(&mut rng, 2) {
            0 => SlotLayout::dense(slots, shape, repeated).unwrap(),
            _ => SlotLayout::aligned(slots, shape, repeated).unwrap(),
        };
        let output = match below(&mut rng, 3) {
            0 => {
                SlotLayout::dense(slots, [s.out_channels, geometry.out_height(), geometry.out_width()], true)
            }
            _ => input.after(&geometry, below(&mut rng, 3) > 0),
        };
        let Ok(output) = output else {
            // Planes of up to 12 x 12 in 256 slots may not fit once they are aligned.
            assert_eq!(slots, 256, "round {round}: {geometry:?}");
            continue;
        };
        check(&geometry, &input, &output, &mut rng);
    }
}

#[test]
fn a_chain_with_strides_keeps_positions_and_ends_in_a_vector() {
    let mut rng = Seed::from_bytes([72; 32]).stream();
    let conv = |channels, side, taps, stride| {
        ConvGeometry::new(ConvShape { stride: [stride; 2], ..ConvShape::same(channels, [side; 2], taps) })
            .unwrap()
    };
    let slots = 4096;
    let mut layout = SlotLayout::aligned(slots, [1, 28, 28], true).unwrap();
    assert_eq!(layout.period(), 1024);
    let layers = [conv([1, 16], 28, 5, 2), conv([16, 32], 14, 5, 2), conv([32, 48], 7, 3, 1)];
    for (geometry, (period, diagonals)) in layers.iter().zip([(4096, 36), (2048, 338), (4096, 450)]) {
        let next = layout.after(geometry, true).unwrap();
        assert_eq!(next.period(), period);
        let weights = vec![1.0; geometry.weights_len()];
        let map = SlotMap::new(geometry, &weights, &layout, &next).unwrap();
        assert_eq!(map.matrix(0, 0).unwrap().indices().count(), diagonals);
        layout = next;
    }
    let dense = ConvGeometry::fully_connected(48 * 49, 10).unwrap();
    let last = layout.after(&dense, true).unwrap();
    assert_eq!(last.period(), 16);
    check(&dense, &layout, &last, &mut rng);
}

#[test]
fn tensors_over_several_ciphertexts() {
    let mut rng = Seed::from_bytes([73; 32]).stream();
    let geometry =
        ConvGeometry::new(ConvShape { stride: [2; 2], ..ConvShape::same([5, 7], [8, 8], 3) }).unwrap();
    for slots in [64, 128, 256] {
        let input = SlotLayout::aligned(slots, [5, 8, 8], true).unwrap();
        assert_eq!(input.ciphertexts(), (5 * 64_usize).div_ceil(slots));
        let output = input.after(&geometry, true).unwrap();
        check(&geometry, &input, &output, &mut rng);
        let dense = ConvGeometry::fully_connected(5 * 64, 3).unwrap();
        check(&dense, &input, &input.after(&dense, true).unwrap(), &mut rng);
        // An output that is repeated, of an input that is not.
        check(&dense, &input, &input.after(&dense, false).unwrap(), &mut rng);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    assert!(SlotLayout::dense(100, [1, 1, 1], true).is_err());
    assert!(SlotLayout::dense(128, [1, 12, 12], true).is_err());
    assert!(SlotLayout::dense(128, [0, 12, 12], true).is_err());
    assert!(SlotLayout::dense(64, [64 << 13, 1, 1], true).is_err());
    let layout = SlotLayout::dense(128, [2, 8, 8], true).unwrap();
    assert!(layout.scatter(&[0.0; 127]).is_err());
    assert!(layout.gather(&[vec![0.0; 64]]).is_err());
    let other = ConvGeometry::fully_connected(127, 3).unwrap();
    assert!(layout.after(&other, true).is_err());
    let dense = ConvGeometry::fully_connected(128, 3).unwrap();
    let output = layout.after(&dense, true).unwrap();
    assert!(SlotMap::new(&dense, &[0.0; 3], &layout, &output).is_err());
    assert!(SlotMap::new(&dense, &[0.0; 384], &layout, &layout).is_err());
    let zeros = SlotMap::new(&dense, &[0.0; 384], &layout, &output).unwrap();
    assert!(zeros.matrix(0, 0).is_none());
}
