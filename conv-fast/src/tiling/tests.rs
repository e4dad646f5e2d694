//! A layer through its tiles is the layer: by direct convolution of the tiles, and by the products of their packing.

use super::*;
use crate::testing::{Random, random_geometry};
use crate::{ConvShape, MAX_ELEMENTS, direct};
use he_core::Modulus;

const Q: u64 = 1_125_899_906_826_241;

fn cost(random: &mut Random) -> PackingCost {
    PackingCost {
        reply_bits: random.between(10, 40) as u32,
        zero_bits: random.between(1, 50) as u32,
        key_bits: random.below(1 << 17),
        input_bits: random.below(2) as u32 * random.between(1, 60) as u32,
        joining: None,
    }
}

/// A random layer, larger than the ring of degree `degree` now and then, and its tiling there.
fn random_tiling(random: &mut Random) -> Tiling {
    loop {
        let mut shape = *random_geometry(random).shape();
        if random.below(2) == 0 {
            shape.in_height += random.between(0, 20);
            shape.in_width += random.between(0, 20);
        }
        if random.below(4) == 0 {
            (shape.stride, shape.dilation) = ([2, 4], [4, 2]);
        }
        let degree = 64 << random.below(3);
        let Ok(geometry) = ConvGeometry::new(shape) else { continue };
        match Tiling::choose(&geometry, degree, random.between(1, 3), &cost(random)) {
            Ok(tiling) => return tiling,
            // A dilated kernel may cover more than the ring holds.
            Err(error) => assert!(matches!(error, ConvError::PlaneTooLarge { .. }), "{error} {shape:?}"),
        }
    }
}

/// The slots of one image, `fill` where nothing is read.
fn spread(tiling: &Tiling, image: &[u64], fill: &mut impl FnMut() -> u64) -> Vec<u64> {
    let (slots, read) = (tiling.slots(), tiling.read());
    assert_eq!((slots.len(), read.len()), (tiling.slot_count(), tiling.slot_count()));
    let value = |(slot, read): (Option<u32>, bool)| match (slot, read) {
        (_, false) => fill(),
        (Some(element), true) => image[element as usize],
        (None, true) => 0,
    };
    slots.into_iter().zip(read).map(value).collect()
}

fn through_tiles(tiling: &Tiling, modulus: &Modulus, weights: &[i64], slots: &[u64]) -> Vec<u64> {
    let tiles = direct(tiling.tile(), modulus, weights, slots);
    assert_eq!(tiles.len(), tiling.output_slots());
    tiling.outputs().into_iter().map(|at| tiles[at as usize]).collect()
}

#[test]
fn tiles_match_direct_convolution() {
    let mut random = Random::new("tiles");
    let modulus = Modulus::new(Q).unwrap();
    let mut seen = [0; 6];
    // The rarest kind comes once in forty draws: as many as it takes, within a bound.
    let mut rounds = 0;
    while rounds < 300 || seen.iter().any(|&count| count < 4) {
        rounds += 1;
        assert!(rounds < 4000, "a kind of tiling is hardly ever drawn: {seen:?}");
        let tiling = random_tiling(&mut random);
        let geometry = tiling.whole().clone();
        let (s, tile) = (geometry.shape(), tiling.tile().shape());
        seen[0] += usize::from(tiling.tiles() > 1);
        seen[1] += usize::from(tiling.cuts[0].tiles > 1 && tiling.cuts[1].tiles > 1);
        seen[2] += usize::from(tile.padding != [0; 4]);
        seen[3] += usize::from(tile.padding == [0; 4] && s.padding != [0; 4] && tiling.tiles() == 1);
        seen[4] += usize::from(tile.stride != s.stride);
        seen[5] += usize::from(!geometry.out_height().is_multiple_of(tiling.cuts[0].size));
        let weights: Vec<i64> =
            random.weights(geometry.weights_len(), 99).into_iter().map(i64::from).collect();
        let image = random.words(geometry.input_len(), Q);
        let slots = spread(&tiling, &image, &mut || random.below(Q));
        assert_eq!(
            through_tiles(&tiling, &modulus, &weights, &slots),
            direct(&geometry, modulus, &weights, &image),
            "{s:?} in tiles {tile:?}"
        );
    }
    println!("{rounds} rounds: {seen:?}");
}

/// `read` is exact: a change of any slot that is read changes a used output (all weights are positive here).
#[test]
fn every_slot_that_is_read_matters() {
    let mut random = Random::new("reads");
    let modulus = Modulus::new(Q).unwrap();
    for _ in 0..30 {
        let tiling = random_tiling(&mut random);
        let weights = vec![1; tiling.whole().weights_len()];
        let mut slots = vec![0; tiling.slot_count()];
        for (at, read) in tiling.read().into_iter().enumerate() {
            slots[at] = 1;
            let changed = through_tiles(&tiling, &modulus, &weights, &slots).iter().any(|&value| value != 0);
            assert_eq!(changed, read, "slot {at} of {:?}", tiling.whole());
            slots[at] = 0;
        }
    }
}

/// Every output has a place of its own, every element that is read has a slot, and the bits are what the parts say.
#[test]
fn maps_and_bits() {
    let mut random = Random::new("tiling bits");
    for _ in 0..200 {
        let images = random.between(1, 4);
        let cost = cost(&mut random);
        let geometry = random_geometry(&mut random);
        let tiling = Tiling::choose(&geometry, 256, images, &cost).unwrap();
        let places: std::collections::HashSet<u32> = tiling.outputs().into_iter().collect();
        assert_eq!(places.len(), geometry.output_len());
        let read: Vec<Option<u32>> = tiling
            .slots()
            .into_iter()
            .zip(tiling.read())
            .filter(|&(_, read)| read)
            .map(|(slot, _)| slot)
            .collect();
        let distinct: std::collections::HashSet<u32> = read.iter().flatten().copied().collect();
        let copies = ((read.len() - distinct.len()) * images) as u64 * u64::from(cost.zero_bits);
        let packing = tiling.packing();
        let sets = (images * tiling.tiles()).div_ceil(packing.images()) as u64;
        assert_eq!(tiling.bits(), sets * cost.bits(packing) + copies, "{geometry:?}");
        let input: Vec<_> = (0..tiling.tile().input_len()).map(|i| packing.input_index(0, i)).collect();
        let output: Vec<_> = (0..tiling.tile().output_len()).map(|i| packing.output_index(0, i)).collect();
        let flat =
            |map: Vec<(u32, u32)>| map.into_iter().map(|(p, c)| (p as usize, c as usize)).collect::<Vec<_>>();
        assert_eq!(flat(packing.input_map()), input);
        assert_eq!(flat(packing.output_map()), output);
        if packing.images() > 1 {
            let (poly, coefficient) = packing.output_index(1, 0);
            assert_eq!((poly, coefficient), (output[0].0, output[0].1 + packing.image_stride()));
        }
    }
}

/// The product of a sparse signed and a dense polynomial modulo X^N + 1, added to `sum`.
fn multiply_add(modulus: &Modulus, terms: &[(usize, i64)], dense: &[u64], sum: &mut [u64]) {
    let n = dense.len();
    for &(position, weight) in terms {
        let weight = modulus.from_i64(weight);
        for (i, &value) in dense.iter().enumerate() {
            let (term, at) = (modulus.mul(weight, value), (position + i) % n);
            sum[at] = if position + i < n { modulus.add(sum[at], term) } else { modulus.sub(sum[at], term) };
        }
    }
}

/// Slots, packing, products, outputs: what the protocol does, with garbage wherever nothing is promised.
#[test]
fn products_of_packed_tiles_match_direct_convolution() {
    let mut random = Random::new("packed tiles");
    let modulus = Modulus::new(Q).unwrap();
    let (mut rounds, mut several) = (0, 0);
    while rounds < 80 || several < 3 {
        rounds += 1;
        assert!(rounds < 2000, "sets of several tiles are hardly ever drawn: {several}");
        let tiling = random_tiling(&mut random);
        let (geometry, packing) = (tiling.whole(), tiling.packing());
        several += usize::from(tiling.tiles() > packing.images() && packing.images() > 1);
        let weights = random.weights(geometry.weights_len(), 2048);
        let wide: Vec<i64> = weights.iter().map(|&w| i64::from(w)).collect();
        let image = random.words(geometry.input_len(), Q);
        let slots = spread(&tiling, &image, &mut || random.below(Q));
        let (input, output, n) = (tiling.tile().input_len(), tiling.tile().output_len(), packing.degree());
        let mut tiles = vec![0; tiling.output_slots()];
        for first in (0..tiling.tiles()).step_by(packing.images()) {
            let group = first..tiling.tiles().min(first + packing.images());
            let mut polys: Vec<Vec<u64>> = (0..packing.input_polys()).map(|_| random.words(n, Q)).collect();
            for (poly, values) in polys.iter_mut().enumerate() {
                packing.zero_reads(poly).into_iter().for_each(|at| values[at as usize] = 0);
            }
            for tile in group.clone() {
                for (i, &(poly, at)) in packing.input_map().iter().enumerate() {
                    let at = at as usize + (tile - first) * packing.image_stride();
                    polys[poly as usize][at] = slots[tile * input + i];
                }
            }
            let products: Vec<Vec<u64>> = (0..packing.output_polys())
                .map(|o| {
                    let mut sum = vec![0; n];
                    for i in packing.pairs(o) {
                        multiply_add(&modulus, &packing.weight_terms(o, i, &weights), &polys[i], &mut sum);
                    }
                    sum
                })
                .collect();
            for tile in group {
                for (i, &(poly, at)) in packing.output_map().iter().enumerate() {
                    let at = at as usize + (tile - first) * packing.image_stride();
                    tiles[tile * output + i] = products[poly as usize][at];
                }
            }
        }
        let result: Vec<u64> = tiling.outputs().into_iter().map(|at| tiles[at as usize]).collect();
        assert_eq!(result, direct(geometry, modulus, &wide, &image), "{geometry:?}");
    }
    println!("{rounds} rounds, {several} with sets of several tiles");
}

fn square(size: usize, channels: [usize; 2], kernel: usize, stride: usize, groups: usize) -> ConvGeometry {
    ConvGeometry::new(ConvShape {
        in_channels: channels[0],
        in_height: size,
        in_width: size,
        out_channels: channels[1],
        kernel: [kernel; 2],
        stride: [stride; 2],
        padding: [kernel / 2; 4],
        dilation: [1; 2],
        groups,
    })
    .unwrap()
}

#[test]
fn refusals() {
    let cost = PackingCost { reply_bits: 24, zero_bits: 46, key_bits: 1 << 17, input_bits: 0, joining: None };
    let layer = square(8, [3, 4], 3, 1, 1);
    assert!(matches!(Tiling::choose(&layer, 2047, 1, &cost), Err(ConvError::Degree { degree: 2047 })));
    assert!(matches!(Tiling::choose(&layer, 2048, 0, &cost), Err(ConvError::Zero { .. })));
    let wide = square(224, [1, 1], 101, 1, 1);
    assert!(matches!(Tiling::choose(&wide, 2048, 1, &cost), Err(ConvError::PlaneTooLarge { .. })));
}

/// Layers of real networks: planes beyond the ring are cut, and little more is sent than the outputs themselves.
#[test]
fn real_layers() {
    let cost =
        PackingCost { reply_bits: 24, zero_bits: 46, key_bits: 2048 * 50, input_bits: 0, joining: None };
    // (layer, most bits allowed per output value, least and most tiles)
    for (layer, bits, tiles) in [
        (square(224, [64, 64], 3, 1, 1), 36, 28..=32),
        (square(224, [3, 64], 7, 2, 1), 34, 8..=8),
        (square(112, [32, 32], 3, 1, 32), 36, 7..=8),
        (square(56, [64, 256], 1, 1, 1), 32, 2..=2),
        (square(56, [256, 512], 1, 2, 1), 56, 1..=1),
        (square(32, [16, 16], 3, 1, 1), 60, 1..=1),
    ] {
        let tiling = Tiling::choose(&layer, 2048, 1, &cost).unwrap();
        let sent = tiling.bits() / layer.output_len() as u64;
        assert!(sent <= bits, "{sent} bits per output of {layer:?} in {:?}", tiling.tile());
        assert!(tiles.contains(&tiling.tiles()), "{} tiles for {layer:?}", tiling.tiles());
        if layer.shape().kernel == [1, 1] {
            assert_eq!(tiling.tile().shape().stride, [1, 1]);
        }
    }
}

/// Shapes at the caps: the choice comes to an end soon, in a tiling or a refusal. Its steps are bounded by construction
/// (cuts per axis, tries, the packing's work); the seconds here only notice when that is no longer so.
#[test]
fn hostile_layers_are_chosen_or_refused_in_bounded_time() {
    let million = 1 << 20;
    let shape = *square(8, [1, 1], 3, 1, 1).shape();
    let layers = [
        ConvShape { in_height: 65535, in_width: 4000, ..shape },
        ConvShape { in_height: 16000, in_width: 16000, stride: [3, 5], dilation: [7, 11], ..shape },
        ConvShape {
            in_height: 65535,
            in_width: 1,
            kernel: [2000, 1],
            padding: [65535, 0, 65535, 0],
            ..shape
        },
        ConvShape {
            in_height: 65535,
            in_width: 1,
            kernel: [2, 1],
            dilation: [65535, 1],
            padding: [65535, 0, 65535, 0],
            ..shape
        },
        ConvShape {
            in_height: 4096,
            in_width: 4096,
            kernel: [40, 40],
            stride: [39, 41],
            padding: [0; 4],
            ..shape
        },
        ConvShape {
            in_channels: million,
            out_channels: million,
            groups: million,
            in_height: 16,
            in_width: 16,
            padding: [0; 4],
            ..shape
        },
        ConvShape {
            in_channels: million / 4,
            out_channels: 1024,
            in_height: 1,
            in_width: 1,
            kernel: [1, 1],
            padding: [0; 4],
            ..shape
        },
        ConvShape { in_channels: 16, out_channels: million, kernel: [1, 1], ..shape },
        ConvShape {
            in_height: 1024,
            in_width: 1024,
            kernel: [1024, 1024],
            stride: [1024, 1024],
            padding: [0; 4],
            ..shape
        },
    ];
    let cost = PackingCost { reply_bits: 24, zero_bits: 46, key_bits: 1 << 17, input_bits: 0, joining: None };
    for layer in layers {
        let geometry = ConvGeometry::new(layer).unwrap_or_else(|error| panic!("{layer:?}: {error}"));
        for images in [1, 256] {
            let start = std::time::Instant::now();
            let result = Tiling::choose(&geometry, 2048, images, &cost);
            let seconds = start.elapsed().as_secs_f64();
            assert!(seconds < 2.0, "{seconds} s for {layer:?}");
            if let Ok(tiling) = result {
                assert!(
                    tiling.slot_count() as u64 <= MAX_ELEMENTS
                        && tiling.output_slots() as u64 <= MAX_ELEMENTS
                );
            }
        }
    }
}
