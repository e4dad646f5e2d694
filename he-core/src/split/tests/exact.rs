//! Two limbs: a whole layer within its bound, and limbs that do not belong together.

use rand_core::Rng;

use super::*;

#[test]
fn limbs_that_disagree_are_seen_at_once() {
    let params = Params::new(Profile::Exact);
    let layer = Layer::new(&params, 2, &root(22));
    let noise = SplitNoise::new(&params, 40);
    let bound = (noise.small_bound() + noise.rounding_bound()) as u128;
    // The limbs are lost when their secrets, their u or the errors of the mask are not the same integers.
    let largest = |share: &RnsPoly<Coeff>, mask: ServerMask| {
        let left = layer.residue(share, mask, &mut root(23).stream());
        left.into_iter().map(i128::unsigned_abs).max().unwrap()
    };
    let reply = || masked_reply(&params, &layer.hint, &layer.pk_a, &layer.key, 40, root(24)).unwrap();
    let (sent, mask) = reply();
    let share = layer.secret.open(&params, &sent);
    let honest = largest(&share, mask);
    println!("largest noise 2^{:.1}, bound 2^{:.1}", (honest as f64).log2(), (bound as f64).log2());
    assert!(honest < bound);
    // One unit in one limb of one coefficient is q/q1 times something modulo q: far above the bound.
    for limb in 0..2 {
        let mut share = copy(&params, &share);
        let word = &mut share.limbs_mut()[limb].words_mut()[77];
        *word = params.moduli()[limb].add(*word, 1);
        assert!(largest(&share, reply().1) > bound, "a fault in limb {limb} went unseen");
    }
    // Limb 1 of another secret.
    let other = ClientSecret::generate(&params, &mut root(25).stream()).open(&params, &sent);
    let mut limbs = copy(&params, &share).into_limbs();
    limbs[1] = other.into_limbs().remove(1);
    let mixed = limbs.iter().map(|limb| limb.coefficients().to_vec()).collect();
    let mixed = RnsPoly::from_residues(&params, mixed).unwrap();
    assert!(largest(&mixed, reply().1) > bound, "a share of two secrets went unseen");
}

#[test]
fn exact_computes_the_weights_times_the_input_within_its_bound() {
    // Two input polynomials, values of 13 bits, as a layer has them; everything at the scale 2^60.
    let params = Params::new(Profile::Exact);
    let mut rng = root(26).stream();
    let layer = Layer::new(&params, 2, &root(27));
    let (t, scale) = (40, 1_i64 << 40);
    let pixels: Vec<Vec<i64>> =
        (0..2).map(|_| (0..params.n()).map(|_| i64::from(rng.next_u32() as i16 >> 3)).collect()).collect();
    let run = |planted: bool| {
        let seed = root(28);
        let (reply, mask) = masked_reply(&params, &layer.hint, &layer.pk_a, &layer.key, t, seed).unwrap();
        let mut sum = mask.into_poly();
        sum += &layer.secret.open(&params, &reply);
        for (j, (w, x)) in layer.weights.iter().zip(&pixels).enumerate() {
            let terms: Vec<_> = x.iter().map(|&v| v * scale).enumerate().collect();
            let mut masked = RnsPoly::from_signed(&params, &terms);
            // The planted fault: the second input is masked with the first one's mask.
            masked -= &layer.masks[if planted { 0 } else { j }];
            sum += &w.mul(&params, &masked.into_ntt(&params)).into_coeff(&params);
        }
        let mut expected = vec![0_i128; params.n()];
        for (j, x) in pixels.iter().enumerate() {
            for (at, w) in taps(j as i64) {
                for (i, &v) in x.iter().enumerate() {
                    let (place, sign) = ((at + i) % params.n(), if at + i < params.n() { 1 } else { -1 });
                    expected[place] += sign * i128::from(w) * i128::from(v) * i128::from(scale);
                }
            }
        }
        let worst = |(x, y): (&i128, &i128)| (x - y).unsigned_abs();
        centred(&params, &sum).iter().zip(&expected).map(worst).max().unwrap()
    };
    let norm = (0..2).flat_map(taps).map(|(_, w)| (w * w) as f64).sum::<f64>().sqrt();
    let noise = SplitNoise::new(&params, t);
    let bound = noise.small_bound() + noise.rounding_bound() + noise.input_bound(norm);
    let (honest, planted) = (run(false) as f64, run(true) as f64);
    println!("exact: largest error 2^{:.1}, bound 2^{:.1}", honest.log2(), bound.log2());
    assert!(honest < bound && planted > bound);
}
