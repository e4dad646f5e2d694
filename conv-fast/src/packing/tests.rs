//! The layout is held to the definition: garbage wherever nothing is promised, random values at the listed zeros.

use super::*;
use crate::direct;
use crate::testing::{Random, random_geometry};
use he_core::Modulus;

const Q: u64 = 1_125_899_906_826_241;

/// The product of a sparse signed and a dense polynomial modulo X^N + 1.
fn product(modulus: &Modulus, terms: &[(usize, i64)], dense: &[u64]) -> Vec<u64> {
    let n = dense.len();
    let mut out = vec![0; n];
    for &(position, weight) in terms {
        let weight = modulus.from_i64(weight);
        for (i, &value) in dense.iter().enumerate() {
            let term = modulus.mul(weight, value);
            let at = (position + i) % n;
            out[at] = if position + i < n { modulus.add(out[at], term) } else { modulus.sub(out[at], term) };
        }
    }
    out
}

/// All output polynomials of all the input polynomials given.
fn products(packing: &Packing, modulus: &Modulus, weights: &[i32], inputs: &[Vec<u64>]) -> Vec<Vec<u64>> {
    (0..packing.output_polys())
        .map(|o| {
            let mut sum = vec![0; packing.degree()];
            for i in packing.pairs(o) {
                for (s, p) in
                    sum.iter_mut().zip(product(modulus, &packing.weight_terms(o, i, weights), &inputs[i]))
                {
                    *s = modulus.add(*s, p);
                }
            }
            sum
        })
        .collect()
}

/// Runs one layout on random data; `known` says which coefficients the server is told. Returns whether all outputs match.
fn holds(packing: &Packing, random: &mut Random, known: &[Vec<u32>]) -> bool {
    let geometry = packing.geometry();
    let modulus = Modulus::new(Q).unwrap();
    let weights: Vec<i32> = (0..geometry.weights_len()).map(|_| random.signed(2048)).collect();
    let wide: Vec<i64> = weights.iter().map(|&w| i64::from(w)).collect();
    let images = packing.images();
    let tensors: Vec<Vec<u64>> =
        (0..images).map(|_| (0..geometry.input_len()).map(|_| random.below(Q)).collect()).collect();
    // Garbage everywhere, then the masks of the known zeros, then the data.
    let polys = packing.input_polys();
    let mut inputs: Vec<Vec<u64>> =
        (0..polys).map(|_| (0..packing.degree()).map(|_| random.below(Q)).collect()).collect();
    let mut masks = vec![vec![0; packing.degree()]; polys];
    for (poly, positions) in known.iter().enumerate() {
        for &position in positions {
            masks[poly][position as usize] = inputs[poly][position as usize];
        }
    }
    for (image, tensor) in tensors.iter().enumerate() {
        for (index, &value) in tensor.iter().enumerate() {
            let (poly, coefficient) = packing.input_index(image, index);
            assert_eq!(masks[poly][coefficient], 0, "a pixel lies on a known zero");
            inputs[poly][coefficient] = value;
        }
    }
    let results = products(packing, &modulus, &weights, &inputs);
    let corrections = products(packing, &modulus, &weights, &masks);
    (0..images).all(|image| {
        let expected = direct(geometry, modulus, &wide, &tensors[image]);
        expected.iter().enumerate().all(|(index, &value)| {
            let (poly, coefficient) = packing.output_index(image, index);
            modulus.sub(results[poly][coefficient], corrections[poly][coefficient]) == value
        })
    })
}

fn zeros(packing: &Packing) -> Vec<Vec<u32>> {
    (0..packing.input_polys()).map(|poly| packing.zero_reads(poly)).collect()
}

/// A random geometry with a random layout that fits degree `degree`.
fn random_packing(random: &mut Random, degree: usize) -> Packing {
    loop {
        let geometry = random_geometry(random);
        let split_stride = random.below(2) == 1;
        let single = Layout { images: 1, channels: 1, outputs: 1, split_stride };
        let Ok(packing) = Packing::with_layout(&geometry, degree, single) else { continue };
        let mut capacity = degree / packing.plane_len();
        let mut draw = |cap: usize| {
            let value = 1 + random.below(cap.min(capacity) as u64) as usize;
            capacity /= value;
            value
        };
        let layout = Layout { outputs: draw(9), channels: draw(12), images: draw(4), split_stride };
        return Packing::with_layout(&geometry, degree, layout).expect("it was drawn to fit");
    }
}

#[test]
fn random_layouts_match_direct_convolution() {
    let mut random = Random::new("packing layouts");
    let mut seen = [0; 5];
    for round in 0..400 {
        let packing = random_packing(&mut random, 256);
        let s = *packing.geometry().shape();
        seen[0] += usize::from(s.groups > 1);
        seen[1] += usize::from(packing.layout.outputs > 1 && packing.layout.images > 1);
        seen[2] += usize::from(s.stride != [1, 1] && packing.layout.split_stride);
        seen[3] += usize::from(s.padding.iter().any(|&p| p > 0));
        seen[4] += usize::from(packing.plane.lead > 0);
        let known = zeros(&packing);
        assert!(holds(&packing, &mut random, &known), "round {round}: {s:?} {:?}", packing.layout);
        assert_eq!(packing.zero_reads_total(), known.iter().map(Vec::len).sum::<usize>());
    }
    // The draw reaches the interesting corners, or the test would prove little.
    assert!(seen.iter().all(|&count| count >= 8), "{seen:?}");
}

/// Exactness from the other side: each listed zero is needed, so that dropping any one of them breaks the result.
#[test]
fn dropping_a_known_zero_is_noticed() {
    let mut random = Random::new("dropped zeros");
    let mut dropped = 0;
    while dropped < 150 {
        let packing = random_packing(&mut random, 128);
        let mut known = zeros(&packing);
        let poly = random.below(known.len() as u64) as usize;
        if known[poly].is_empty() {
            continue;
        }
        let victim = random.below(known[poly].len() as u64) as usize;
        // A weight that happens to be zero would excuse the missing mask; three tries make that impossible in practice.
        let position = known[poly].remove(victim);
        let unnoticed = (0..3).all(|_| holds(&packing, &mut random, &known));
        assert!(!unnoticed, "{:?} {:?} {poly} {position}", packing.geometry(), packing.layout);
        dropped += 1;
    }
}

/// The correction of a random packing by shifted images against the products of polynomials; `fault` spoils one mask.
fn correction_holds(packing: &Packing, random: &mut Random, fault: bool) -> Option<bool> {
    let known = zeros(packing);
    let Some(correction) = ZeroCorrection::new(packing) else {
        assert!(known.iter().all(Vec::is_empty));
        return None;
    };
    let modulus = Modulus::new(Q).unwrap();
    let weights: Vec<i32> =
        (0..packing.geometry().weights_len()).map(|_| 1 + random.below(2048) as i32).collect();
    let mut masks = vec![vec![0; packing.degree()]; packing.input_polys()];
    for (poly, positions) in known.iter().enumerate() {
        positions.iter().for_each(|&at| masks[poly][at as usize] = random.below(Q));
    }
    let expected = products(packing, &modulus, &weights, &masks);
    if fault {
        let poly = known.iter().position(|known| !known.is_empty())?;
        masks[poly][known[poly][0] as usize] ^= 1;
    }
    let algorithm = crate::plan::choose(correction.geometry(), modulus);
    let conv = crate::PreparedConv::new(correction.geometry().clone(), modulus, &weights, algorithm).unwrap();
    let images = random.between(1, packing.images());
    let result = correction.run(&conv, &modulus, &masks, images);
    assert_eq!(result.len(), images * packing.geometry().output_len());
    Some((0..images).all(|image| {
        let result = &result[image * packing.geometry().output_len()..];
        (0..packing.geometry().output_len()).all(|index| {
            let (poly, at) = packing.output_index(image, index);
            result[index] == expected[poly][at]
        })
    }))
}

#[test]
fn corrections_match_products() {
    let mut random = Random::new("corrections");
    let (mut held, mut wrapped, mut fewer) = (0, 0, 0);
    for _ in 0..300 {
        let packing = random_packing(&mut random, 256);
        if let Some(holds) = correction_holds(&packing, &mut random, false) {
            assert!(holds, "{:?} {:?}", packing.geometry(), packing.layout);
            held += 1;
            wrapped += usize::from(packing.layout.outputs > 2);
            fewer += usize::from(packing.layout.images > 1);
        }
    }
    assert!(held > 100 && wrapped > 20 && fewer > 20, "{held} {wrapped} {fewer}");
}

#[test]
fn a_spoilt_mask_spoils_the_correction() {
    let mut random = Random::new("spoilt corrections");
    let mut spoilt = 0;
    while spoilt < 30 {
        let packing = random_packing(&mut random, 128);
        // Masks of later images do not reach the first ones, so that the fault may go unseen in a smaller set.
        if packing.images() > 1 {
            continue;
        }
        if let Some(holds) = correction_holds(&packing, &mut random, true) {
            assert!(!holds, "{:?} {:?}", packing.geometry(), packing.layout);
            spoilt += 1;
        }
    }
}

#[test]
fn input_and_output_maps_are_injective() {
    let mut random = Random::new("injective maps");
    for _ in 0..100 {
        let packing = random_packing(&mut random, 512);
        let geometry = packing.geometry();
        for (len, polys, output) in [
            (geometry.input_len(), packing.input_polys(), false),
            (geometry.output_len(), packing.output_polys(), true),
        ] {
            let mut seen = std::collections::HashSet::new();
            for image in 0..packing.images() {
                for index in 0..len {
                    let (poly, at) = if output {
                        packing.output_index(image, index)
                    } else {
                        packing.input_index(image, index)
                    };
                    assert!(poly < polys && at < packing.degree());
                    assert!(seen.insert((poly, at)), "two elements at ({poly}, {at})");
                }
            }
        }
    }
}

#[test]
fn unmet_pairs_have_no_terms() {
    let mut random = Random::new("pairs");
    for _ in 0..100 {
        let packing = random_packing(&mut random, 256);
        let weights = vec![1; packing.geometry().weights_len()];
        for o in 0..packing.output_polys() {
            let pairs = packing.pairs(o);
            for i in 0..packing.input_polys() {
                let terms = packing.weight_terms(o, i, &weights);
                assert_eq!(pairs.contains(&i), !terms.is_empty());
                assert!(terms.windows(2).all(|pair| pair[0].0 < pair[1].0));
            }
        }
        assert!(packing.pairs(packing.output_polys()).is_empty());
    }
}

fn image_layer(size: usize, channels: [usize; 2], kernel: usize, stride: usize) -> ConvGeometry {
    ConvGeometry::new(crate::ConvShape {
        in_channels: channels[0],
        in_height: size,
        in_width: size,
        out_channels: channels[1],
        kernel: [kernel; 2],
        stride: [stride; 2],
        padding: [kernel / 2; 4],
        dilation: [1; 2],
        groups: 1,
    })
    .unwrap()
}

#[test]
fn border_counts_by_hand() {
    // 8×8 with a 3×3 kernel: pitch 9, eight shared columns of one, a row of border between planes (and corners).
    let geometry = image_layer(8, [1, 1], 3, 1);
    let packing = Packing::new(&geometry, 2048, 1, 1, 1).unwrap();
    assert_eq!(packing.plane_len(), 8 * 9 - 1 + 10);
    // Above: 10 (with the corner left), below: 10, between the rows: 7.
    assert_eq!(packing.zero_reads(0).len(), 10 + 10 + 7);
}

#[test]
fn no_layout_is_much_better_than_the_choice() {
    let mut random = Random::new("choice");
    let split =
        PackingCost { reply_bits: 24, zero_bits: 46, key_bits: 2048 * 50, input_bits: 0, joining: None };
    let both = PackingCost { reply_bits: 58, zero_bits: 0, key_bits: 0, input_bits: 96, joining: None };
    let mut worst: f64 = 0.0;
    for (bundle, cost) in [1usize, 3, 8].into_iter().flat_map(|bundle| [(bundle, split), (bundle, both)]) {
        for _ in 0..12 {
            let geometry = random_geometry(&mut random);
            let degree = 256;
            let Ok(best) = choose(&geometry, degree, bundle, &cost) else { continue };
            let price = |packing: &Packing| bundle.div_ceil(packing.images()) as u64 * cost.bits(packing);
            for split_stride in [false, true] {
                for images in [1, 2, 4, 8].into_iter().filter(|&images| images <= bundle) {
                    for channels in 1..=degree {
                        for outputs in 1..=geometry.shape().out_channels {
                            let layout = Layout { images, channels, outputs, split_stride };
                            if let Ok(other) = Packing::with_layout(&geometry, degree, layout) {
                                worst = worst.max(price(&best) as f64 / price(&other) as f64);
                            } else {
                                break;
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(worst <= 1.05, "a layout that was not tried is {worst} times better");
}

#[test]
fn chosen_layouts_of_real_layers_hold() {
    let mut random = Random::new("chosen layouts");
    let cost =
        PackingCost { reply_bits: 24, zero_bits: 46, key_bits: 2048 * 50, input_bits: 0, joining: None };
    let layers = [
        image_layer(28, [1, 16], 5, 1),
        image_layer(14, [16, 16], 5, 1),
        image_layer(16, [8, 16], 3, 2),
        ConvGeometry::fully_connected(100, 10).unwrap(),
    ];
    for geometry in layers {
        for bundle in [1, 8] {
            let packing = choose(&geometry, 2048, bundle, &cost).unwrap();
            assert!(holds(&packing, &mut random, &zeros(&packing)), "{:?}", packing.layout());
        }
    }
}

#[test]
fn refusals() {
    let big = image_layer(64, [3, 8], 3, 1);
    assert!(matches!(Packing::new(&big, 2048, 1, 1, 1), Err(ConvError::PlaneTooLarge { .. })));
    let cost = PackingCost { reply_bits: 24, zero_bits: 46, key_bits: 0, input_bits: 0, joining: None };
    assert!(matches!(choose(&big, 2048, 1, &cost), Err(ConvError::PlaneTooLarge { .. })));
    let small = image_layer(8, [3, 8], 3, 1);
    assert!(matches!(Packing::new(&small, 2048, 5, 3, 2), Err(ConvError::LayoutTooLarge { .. })));
    assert!(matches!(Packing::new(&small, 2047, 1, 1, 1), Err(ConvError::Degree { degree: 2047 })));
    assert!(matches!(Packing::new(&small, 2048, 0, 1, 1), Err(ConvError::Zero { .. })));
    assert!(matches!(choose(&small, 2048, 0, &cost), Err(ConvError::Zero { .. })));
    assert!(matches!(choose(&small, usize::MAX, 1, &cost), Err(ConvError::Degree { .. })));
}

/// Products of a random interleaved packing, all coefficients without a pixel being zero, against the definition.
#[test]
fn interleaved_layouts_match_direct_convolution() {
    let mut random = Random::new("interleaved layouts");
    let mut seen = [0; 6];
    let mut held = 0;
    while held < 400 {
        let plain = random_packing(&mut random, 256);
        let (geometry, layout) = (plain.geometry(), plain.layout());
        let plane = Arc::clone(&plain.plane);
        let packing = Packing::from_plane(geometry, 256, layout, plane, true).unwrap();
        if !packing.is_interleaved() {
            // Then nothing is different.
            assert_eq!(packing.output_map(), plain.output_map());
            continue;
        }
        held += 1;
        let s = *geometry.shape();
        seen[0] += usize::from(s.groups > 1);
        seen[1] += usize::from(layout.outputs > 1 && layout.images > 1);
        seen[2] += usize::from(s.stride != [1, 1] && layout.split_stride);
        seen[3] += usize::from(s.padding.iter().any(|&p| p > 0));
        seen[4] += usize::from(packing.gap() > 2 && layout.channels > 1 && geometry.out_width() > 1);
        seen[5] += usize::from(packing.plane.lead > 0);
        let modulus = Modulus::new(Q).unwrap();
        let weights: Vec<i32> = (0..geometry.weights_len()).map(|_| random.signed(2048)).collect();
        let wide: Vec<i64> = weights.iter().map(|&w| i64::from(w)).collect();
        let mut inputs = vec![vec![0; 256]; packing.input_polys()];
        let mut maps = [packing.input_map(), packing.output_map()].map(Vec::into_iter);
        let tensors: Vec<Vec<u64>> = (0..packing.images())
            .map(|_| (0..geometry.input_len()).map(|_| 1 + random.below(Q - 1)).collect())
            .collect();
        for (image, tensor) in tensors.iter().enumerate() {
            for (index, &value) in tensor.iter().enumerate() {
                let (poly, at) = packing.input_index(image, index);
                assert_eq!(inputs[poly][at], 0, "two pixels share a coefficient");
                inputs[poly][at] = value;
                if image == 0 {
                    assert_eq!(maps[0].next(), Some((poly as u32, at as u32)));
                }
            }
        }
        let results = products(&packing, &modulus, &weights, &inputs);
        let mut residues = std::collections::HashSet::new();
        for (image, tensor) in tensors.iter().enumerate() {
            for (index, &value) in direct(geometry, modulus, &wide, tensor).iter().enumerate() {
                let (poly, at) = packing.output_index(image, index);
                assert_eq!(results[poly][at], value, "{s:?} {layout:?}");
                residues.insert(at % packing.gap());
                if image == 0 {
                    assert_eq!(maps[1].next(), Some((poly as u32, at as u32)));
                } else {
                    let first = packing.output_index(0, index);
                    assert_eq!((poly, at), (first.0, first.1 + image * packing.image_stride()));
                }
            }
        }
        assert_eq!(residues.len(), 1, "{s:?} {layout:?}");
    }
    assert!(seen.iter().all(|&count| count >= 8), "{seen:?}");
}

/// A gap is a promise about plain packings too.
#[test]
fn gaps_hold() {
    let mut random = Random::new("gaps");
    let mut wide = 0;
    for _ in 0..3000 {
        let packing = random_packing(&mut random, 256);
        let mut places = (0..packing.images()).flat_map(|image| {
            let packing = &packing;
            (0..packing.geometry().output_len()).map(move |index| packing.output_index(image, index).1)
        });
        let gap = packing.gap();
        let residue = places.next().unwrap() % gap;
        assert!(places.all(|place| place % gap == residue), "{packing:?}");
        wide += usize::from(gap > 1);
    }
    assert!(wide > 8, "{wide}");
}

/// The choice for joined replies: no layout is much better, and bounds are bounds.
#[test]
fn layouts_for_joined_replies() {
    let mut random = Random::new("joined choice");
    let joining = Some(Joining { levels: 4, bits: 1000 });
    let cost = PackingCost { reply_bits: 58, zero_bits: 0, key_bits: 0, input_bits: 96, joining };
    let separate = PackingCost { joining: None, ..cost };
    let (mut worst, mut better): (f64, _) = (0.0, 0);
    for bundle in [1usize, 3, 8] {
        for _ in 0..36 {
            let geometry = random_geometry(&mut random);
            let degree = 256;
            let Ok(best) = choose(&geometry, degree, bundle, &cost) else { continue };
            let price = |packing: &Packing, cost: &PackingCost| {
                let sets = bundle.div_ceil(packing.images());
                let polys = sets * packing.output_polys();
                let replies = polys.div_ceil(1 << cost.joined(packing));
                let read = (0..packing.input_polys()).filter(|&poly| packing.is_read(poly)).count();
                let sent = replies as u64 * u64::from(cost.reply_bits)
                    + (sets * read) as u64 * u64::from(cost.input_bits);
                sent * degree as u64 + (polys - replies) as u64 * cost.joining.map_or(0, |j| j.bits)
            };
            let least = price(&best, &cost);
            let alone = choose(&geometry, degree, bundle, &separate).unwrap();
            assert!(least <= price(&alone, &separate), "joining is a choice");
            better += usize::from(4 * least < 3 * price(&alone, &separate));
            for split_stride in [false, true] {
                let Ok(plane) = Plane::new(&geometry, degree, split_stride) else { continue };
                let plane = Arc::new(plane);
                for images in [1, 2, 4, 8].into_iter().filter(|&images| images <= bundle) {
                    for channels in 1..=degree {
                        for outputs in 1..=geometry.shape().out_channels {
                            let layout = Layout { images, channels, outputs, split_stride };
                            match Packing::from_plane(&geometry, degree, layout, Arc::clone(&plane), true) {
                                Ok(other) => worst = worst.max(least as f64 / price(&other, &cost) as f64),
                                Err(_) => break,
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(worst <= 1.05, "a layout that was not tried is {worst} times better");
    assert!(better > 3, "joining pays for {better} layers");
}
