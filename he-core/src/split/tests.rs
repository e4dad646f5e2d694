//! The split construction against its identity, its noise prediction, its known answers, and planted faults.

use crate::seed::Stream;
use proptest::prelude::*;
use sha3::{Digest, Sha3_256};

use super::*;
use crate::error::HeError;
use crate::noise::SplitNoise;
use crate::ntt::Kernel;
use crate::ntt::reference::negacyclic_product;
use crate::params::{Params, Profile};
use crate::poly::{Coeff, Ntt, Poly};
use crate::rns::RnsPoly;
use crate::seed::Seed;
use crate::vectors::KNOWN;

mod exact;
mod wire;

fn root(i: u8) -> Seed {
    Seed::from_bytes([i; 32])
}

/// Sparse small weights, as a kernel of nine taps gives them.
fn taps(i: i64) -> Vec<(usize, i64)> {
    (0..9_usize).map(|k| (k / 3 * 30 + k % 3, ((i + 1) * (k as i64 * 389 + 71)) % 4095 - 2047)).collect()
}

/// One layer of `inputs` input polynomials and one secret, with everything that a test may look at.
struct Layer {
    params: Params,
    weights: Vec<RnsPoly<Ntt>>,
    publics: Vec<RnsPoly<Ntt>>,
    pk_a: RnsPoly<Ntt>,
    secret: ClientSecret,
    key: PublicKey,
    masks: Vec<RnsPoly<Coeff>>,
    hint: Hint,
}

impl Layer {
    fn new(params: &Params, inputs: u32, seed: &Seed) -> Self {
        let (params, mut rng) = (params.clone(), seed.fork("client", &[]).stream());
        let epoch = Epoch::new([5; 32]);
        let weights: Vec<_> = (0..inputs)
            .map(|j| RnsPoly::from_signed(&params, &taps(i64::from(j))).into_ntt(&params))
            .collect();
        let publics: Vec<_> = (0..inputs).map(|j| epoch.public_a(&params, 0, j)).collect();
        let pk_a = epoch.public_key_a(&params, 0);
        let secret = ClientSecret::generate(&params, &mut rng);
        let key = secret.public_key(&params, &pk_a, &mut rng);
        let masks = publics.iter().map(|a| secret.mask(&params, a, &mut rng)).collect();
        let hint = Hint::new(&params, &weights.iter().zip(&publics).collect::<Vec<_>>());
        Self { params, weights, publics, pk_a, secret, key, masks, hint }
    }

    /// e_j = r_j - a_j s.
    fn input_error(&self, j: usize) -> RnsPoly<Coeff> {
        let mut error = copy(&self.params, &self.masks[j]);
        error -= &self.publics[j].mul(&self.params, self.secret.values()).into_coeff(&self.params);
        error
    }

    /// m + c - W x + W e for a random input x and the client's share c: what is left is small + rho s, centred.
    fn residue(&self, share: &RnsPoly<Coeff>, mask: ServerMask, rng: &mut Stream) -> Vec<i128> {
        let params = &self.params;
        let mut sum = mask.into_poly();
        sum += share;
        for (j, w) in self.weights.iter().enumerate() {
            let x = RnsPoly::<Coeff>::uniform(params, rng);
            let mut masked = copy(params, &x);
            masked -= &self.masks[j];
            let mut expected = x;
            expected -= &self.input_error(j);
            sum += &w.mul(params, &masked.into_ntt(params)).into_coeff(params);
            sum -= &w.mul(params, &expected.into_ntt(params)).into_coeff(params);
        }
        centred(params, &sum)
    }

    /// a' times s without a rounding of a'.
    fn open_unrounded(&self, answer: RnsPoly<Coeff>) -> RnsPoly<Coeff> {
        answer.into_ntt(&self.params).mul(&self.params, self.secret.values()).into_coeff(&self.params)
    }
}

fn copy(params: &Params, poly: &RnsPoly<Coeff>) -> RnsPoly<Coeff> {
    let words = poly.limbs().iter().map(|limb| limb.coefficients().to_vec()).collect();
    RnsPoly::from_residues(params, words).unwrap()
}

/// The coefficients in (-q/2, q/2].
fn centred(params: &Params, poly: &RnsPoly<Coeff>) -> Vec<i128> {
    let column = |i| poly.limbs().iter().map(|limb| limb.coefficients()[i]).collect::<Vec<_>>();
    (0..params.n()).map(|i| params.center(&column(i))).collect()
}

fn words<F: crate::poly::Form>(poly: &RnsPoly<F>) -> Vec<u64> {
    poly.limbs().iter().flat_map(|limb| limb.words()).copied().collect()
}

fn deviation(values: &[i128]) -> f64 {
    (values.iter().map(|&v| (v as f64).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
}

/// Whether a measured noise may pass for the predicted one: within ten per cent, above as well as below.
fn agrees(measured: f64, predicted: f64) -> bool {
    (measured / predicted - 1.0).abs() < 0.1
}

#[test]
fn linear_layer_with_the_predicted_noise_on_every_profile() {
    // t near q: small alone. t far below: the rounding of the reply dominates.
    for (profile, ts) in [
        (Profile::Tiny, [26, 18]),
        (Profile::Narrow, [32, 22]),
        (Profile::Wide, [50, 24]),
        (Profile::Exact, [62, 30]),
    ] {
        let params = Params::new(profile);
        for t in ts {
            let noise = SplitNoise::new(&params, t);
            let bound = noise.small_bound() + noise.rounding_bound();
            let mut values = Vec::new();
            // Several secrets, because a secret's weight is a random variable of its own; 10^5 coefficients and more.
            for bundle in 0..7 {
                let seed = root(1).fork("bundle", &[bundle, u64::from(t)]);
                let layer = Layer::new(&params, 3, &seed);
                let mut rng = seed.fork("input", &[]).stream();
                for output in 0..15_360_u64.div_ceil(params.n() as u64) {
                    let seed = seed.fork("reply", &[output]);
                    let (reply, mask) =
                        masked_reply(&params, &layer.hint, &layer.pk_a, &layer.key, t, seed).unwrap();
                    values.extend(layer.residue(&layer.secret.open(&params, &reply), mask, &mut rng));
                }
            }
            assert!(values.len() >= 100_000);
            let predicted = noise.small_deviation().hypot(noise.rounding_deviation());
            let measured = deviation(&values);
            println!(
                "{profile} t = {t}: measured {measured:.4e}, predicted {predicted:.4e}, bound {bound:.4e}"
            );
            assert!(
                agrees(measured, predicted),
                "{profile} t = {t}: {measured} measured, {predicted} predicted"
            );
            assert!(values.iter().all(|&v| (v.unsigned_abs() as f64) < bound));
        }
    }
}

/// a' before its rounding and the mask, written out from the definition, with a switch for each error.
fn faulty_reply(layer: &Layer, seed: &Seed, errors: [bool; 2], zero_u: bool) -> (RnsPoly<Coeff>, ServerMask) {
    let params = &layer.params;
    let u = if zero_u {
        RnsPoly::zero(params)
    } else {
        RnsPoly::ternary(params, &mut seed.fork("u", &[]).stream())
    };
    let u = u.into_ntt(params);
    let mut answer = layer.pk_a.mul(params, &u);
    answer += layer.hint.values();
    let mut answer = answer.into_coeff(params);
    let mut mask = layer.key.values().mul(params, &u).into_coeff(params);
    if errors[0] {
        answer += &RnsPoly::error(params, &mut seed.fork("error of the reply", &[]).stream());
    }
    if errors[1] {
        mask += &RnsPoly::error(params, &mut seed.fork("error of the mask", &[]).stream());
    }
    (answer, ServerMask::planted(mask))
}

#[test]
fn the_reply_is_its_definition_and_a_missing_error_is_seen_in_the_noise() {
    for (profile, t) in [(Profile::Wide, 50), (Profile::Exact, 62)] {
        let params = Params::new(profile);
        let layer = Layer::new(&params, 2, &root(2));
        let (reply, mask) =
            masked_reply(&params, &layer.hint, &layer.pk_a, &layer.key, t, root(4).fork("reply", &[0]))
                .unwrap();
        let (answer, slow_mask) = faulty_reply(&layer, &root(4).fork("reply", &[0]), [true, true], false);
        assert!(reply == Reply::round(&params, t, &answer));
        assert!(words(&mask.into_poly()) == words(&slow_mask.into_poly()));

        // Without any rounding of a', so that `small` stands alone.
        let predicted = SplitNoise::new(&params, t).small_deviation();
        let measure = |errors: [bool; 2], zero_u: bool| {
            let mut rng = root(3).stream();
            let values: Vec<_> = (0..102_400 / params.n() as u64)
                .flat_map(|i| {
                    let (answer, mask) = faulty_reply(&layer, &root(4).fork("reply", &[i]), errors, zero_u);
                    layer.residue(&layer.open_unrounded(answer), mask, &mut rng)
                })
                .collect();
            deviation(&values)
        };
        let measured = measure([true, true], false);
        println!("{profile}: small measured {measured:.1}, predicted {predicted:.1}");
        assert!(agrees(measured, predicted), "{profile}: {measured} measured, {predicted} predicted");
        assert!(!agrees(measure([false, true], false), predicted), "a reply without error went unseen");
        assert!(!agrees(measure([true, true], true), predicted), "a reply without u went unseen");
    }
}

/// Whether values look centred binomial of eta = 21: second and fourth moment within five deviations of their estimate.
fn looks_like_the_error(values: &[i128]) -> bool {
    let count = values.len() as f64;
    let moment = |power: i32| values.iter().map(|&v| (v as f64).powi(power)).sum::<f64>() / count;
    // The fourth moment of 2 eta centred half coins is 3 (eta/2)^2 - eta/4. Estimates from n values have relative
    // deviations of about sqrt(2/n) and sqrt(96/9/n).
    (moment(2) / 10.5 - 1.0).abs() < 5.0 * (2.0 / count).sqrt()
        && (moment(4) / (3.0 * 10.5 * 10.5 - 5.25) - 1.0).abs() < 5.0 * (96.0 / 9.0 / count).sqrt()
        && values.iter().all(|v| v.abs() <= 21)
}

#[test]
fn masks_and_keys_carry_fresh_errors_and_their_absence_is_caught() {
    for profile in [Profile::Wide, Profile::Exact] {
        let params = Params::new(profile);
        let n = params.n();
        let layer = Layer::new(&params, 8, &root(6));
        let errors: Vec<_> = (0..8).flat_map(|j| centred(&params, &layer.input_error(j))).collect();
        assert!(looks_like_the_error(&errors));
        assert_ne!(errors[..n], errors[n..2 * n]);
        // pk_b + pk_a s is an error as well.
        let mut error = layer.pk_a.mul(&params, layer.secret.values());
        error += layer.key.values();
        assert!(looks_like_the_error(&centred(&params, &error.into_coeff(&params))));
    }
    // Planted: no error at all, and errors of half and of one and a half times the variance.
    assert!(!looks_like_the_error(&[0; 16384]));
    let modulus = *Params::new(Profile::Wide).modulus();
    for eta in [10, 32] {
        let mut words = vec![0; 2048];
        crate::sample::centred_binomial(&mut root(6).stream(), eta, &modulus, &mut words);
        assert!(
            !looks_like_the_error(&words.iter().map(|&v| modulus.center(v).into()).collect::<Vec<_>>()),
            "eta = {eta}"
        );
    }
}

/// The largest |X1 - X2 - (x1 - x2)| for one secret: small when the server can see the difference of two inputs.
fn visible_difference(params: &Params, a: [&RnsPoly<Ntt>; 2]) -> u128 {
    let mut rng = root(7).stream();
    let secret = ClientSecret::generate(params, &mut rng);
    let mut difference = secret.mask(params, a[0], &mut rng);
    difference -= &secret.mask(params, a[1], &mut rng);
    centred(params, &difference).into_iter().map(i128::unsigned_abs).max().unwrap()
}

#[test]
fn one_a_must_not_be_met_twice_by_one_secret() {
    for profile in [Profile::Narrow, Profile::Exact] {
        let params = Params::new(profile);
        let epoch = Epoch::new([8; 32]);
        let (first, second) = (epoch.public_a(&params, 1, 0), epoch.public_a(&params, 1, 1));
        assert!(visible_difference(&params, [&first, &first]) <= 42, "the planted reuse should be visible");
        assert!(visible_difference(&params, [&first, &second]) > params.q() / 4);
    }
}

#[test]
fn replies_look_uniform_and_one_without_u_does_not() {
    for profile in [Profile::Wide, Profile::Exact] {
        let params = Params::new(profile);
        let layer = Layer::new(&params, 1, &root(9));
        let zero_hint = Layer { hint: Hint::new(&params, &[]), ..Layer::new(&params, 1, &root(10)) };
        // 64 cells of the 24-bit words of 25 or 50 replies: 63 degrees of freedom, mean 63, deviation 11.2.
        let statistic = |layer: &Layer, zero_u: bool| {
            let mut counts = [0_f64; 64];
            for i in 0..102_400 / params.n() as u64 {
                let (answer, _) = faulty_reply(layer, &root(11).fork("reply", &[i]), [true, true], zero_u);
                let reply = Reply::round(&params, 24, &answer);
                for word in crate::wire::unpack(&reply.to_bytes(), params.n(), 24).unwrap() {
                    counts[(word >> 18) as usize] += 1.0;
                }
            }
            let expected = counts.iter().sum::<f64>() / 64.0;
            counts.iter().map(|c| (c - expected).powi(2) / expected).sum::<f64>()
        };
        for layer in [&layer, &zero_hint] {
            assert!(statistic(layer, false) < 63.0 + 5.0 * 11.2);
        }
        assert!(statistic(&zero_hint, true) > 1000.0);
    }
}

#[test]
fn known_answers() {
    let digest = |words: &[u64]| -> [u8; 32] {
        let mut hash = Sha3_256::new();
        words.iter().for_each(|w| hash.update(w.to_le_bytes()));
        hash.finalize().into()
    };
    let limbs = Profile::ALL
        .into_iter()
        .flat_map(|profile| (0..Params::new(profile).limbs()).map(move |limb| (profile, limb)));
    assert_eq!(limbs.clone().count(), KNOWN.len());
    for ((profile, limb), known) in limbs.zip(KNOWN) {
        for kernel in Kernel::available() {
            let params = Params::new(profile).with_kernel(kernel).unwrap();
            let (table, modulus) = (&params.tables()[limb], &params.moduli()[limb]);
            assert_eq!((params.n(), modulus.value(), table.psi()), (known.n, known.q, known.psi));
            let mut words: Vec<_> = (1..=known.n as u64)
                .map(|i| modulus.mul(modulus.pow(i, 7), modulus.reduce(1_234_567_891)))
                .collect();
            let coefficients = words.clone();
            table.forward(&mut words);
            let some = [0, 1, known.n / 2, known.n - 1].map(|i| words[i]);
            assert_eq!(some, known.some, "{profile} {kernel:?}");
            assert_eq!(digest(&words), known.values, "{profile} {kernel:?}");
            table.inverse(&mut words);
            assert_eq!(words, coefficients, "{profile} {kernel:?}");
            let epoch = Epoch::new([1; 32]);
            assert_eq!(digest(epoch.public_a(&params, 3, 5).limb(limb).values()), known.public_a);
            assert_eq!(digest(epoch.public_key_a(&params, 3).limb(limb).values()), known.public_key_a);
        }
    }
}

#[test]
fn every_kernel_sends_the_same_bytes() {
    for profile in Profile::ALL {
        let transcript = |kernel| {
            let params = Params::new(profile).with_kernel(kernel).unwrap();
            let layer = Layer::new(&params, 4, &root(12));
            let (reply, mask) =
                masked_reply(&params, &layer.hint, &layer.pk_a, &layer.key, 20, root(13)).unwrap();
            let share = layer.secret.open(&params, &reply);
            (layer.key.to_bytes(), reply.to_bytes(), words(&mask.into_poly()), words(&share))
        };
        let portable = transcript(Kernel::Portable);
        for kernel in Kernel::available() {
            assert!(transcript(kernel) == portable, "{profile}: {kernel:?} differs from the portable kernel");
        }
    }
}

#[test]
fn hint_and_share_against_the_quadratic_product() {
    for profile in [Profile::Tiny, Profile::Exact] {
        let params = Params::new(profile);
        let layer = Layer::new(&params, 2, &root(14));
        let (reply, _) = masked_reply(&params, &layer.hint, &layer.pk_a, &layer.key, 18, root(15)).unwrap();
        let (lifted, opened) = (reply.lift(&params), layer.secret.open(&params, &reply));
        for (limb, (table, m)) in params.tables().iter().zip(params.moduli()).enumerate() {
            let coefficients = |p: &RnsPoly<Ntt>| {
                let values = p.limb(limb).values().to_vec();
                Poly::from_values(table, values).unwrap().into_coeff(table).coefficients().to_vec()
            };
            let mut slow = vec![0; params.n()];
            for (w, a) in layer.weights.iter().zip(&layer.publics) {
                let product = negacyclic_product(m, &coefficients(w), &coefficients(a));
                slow.iter_mut().zip(product).for_each(|(x, y)| *x = m.add(*x, y));
            }
            assert_eq!(coefficients(layer.hint.values()), slow);
            let secret = coefficients(layer.secret.values());
            let slow = negacyclic_product(m, lifted.limb(limb).coefficients(), &secret);
            assert_eq!(opened.limb(limb).coefficients(), slow);
        }
    }
}

#[test]
fn dither_is_added_to_the_mask() {
    for (profile, fits, too_wide) in [(Profile::Wide, 30.0, 49.0), (Profile::Exact, 80.0, 95.0)] {
        let params = Params::new(profile);
        let layer = Layer::new(&params, 1, &root(16));
        let make = || masked_reply(&params, &layer.hint, &layer.pk_a, &layer.key, 24, root(17)).unwrap().1;
        let (plain, mut dithered) = (make(), make());
        let refused = dithered.add_dither(&params, too_wide, &mut root(18).stream());
        assert!(matches!(refused, Err(HeError::Dither { .. })));
        assert!((0..params.limbs()).all(|limb| dithered.residues(limb) == plain.residues(limb)));
        dithered.add_dither(&params, fits, &mut root(18).stream()).unwrap();
        let mut added = dithered.into_poly();
        added -= &plain.into_poly();
        assert!((deviation(&centred(&params, &added)).log2() - fits).abs() < 0.1);
    }
    // `narrow` has no room for the dither that a wide layer uses.
    let narrow = Params::new(Profile::Narrow);
    let layer = Layer::new(&narrow, 1, &root(16));
    let mut mask = masked_reply(&narrow, &layer.hint, &layer.pk_a, &layer.key, 22, root(17)).unwrap().1;
    assert!(mask.add_dither(&narrow, 30.0, &mut root(18).stream()).is_err());
}

#[test]
fn public_randomness_is_separated() {
    let params = Params::new(Profile::Tiny);
    let (epoch, exact) = (Epoch::new([1; 32]), Params::new(Profile::Exact));
    let heads = [
        epoch.public_a(&params, 0, 0),
        epoch.public_a(&params, 0, 1),
        epoch.public_a(&params, 1, 0),
        epoch.public_key_a(&params, 0),
        epoch.public_key_a(&params, 1),
        Epoch::new([2; 32]).public_a(&params, 0, 0),
        epoch.public_a(&Params::new(Profile::Narrow), 0, 0),
        // The ring of limb 0 alone is another ring than both limbs together.
        epoch.public_a(&exact, 0, 0),
        epoch.public_a(&Params::checked(exact.n(), exact.modulus().value()).unwrap(), 0, 0),
    ]
    .map(|p| p.limb(0).values()[..4].to_vec());
    for (i, head) in heads.iter().enumerate() {
        assert!(!heads[i + 1..].contains(head), "polynomial {i} is met twice");
    }
    assert_eq!(epoch.public_a(&params, 0, 0).limb(0).values()[..4], heads[0]);
    assert!(format!("{epoch:?}").starts_with("Epoch(0101"));
}

#[test]
fn secrets_print_nothing() {
    let params = Params::new(Profile::Tiny);
    let layer = Layer::new(&params, 1, &root(21));
    let (reply, mask) = masked_reply(&params, &layer.hint, &layer.pk_a, &layer.key, 20, root(20)).unwrap();
    let shape = "1024 words modulo 67104769";
    assert_eq!(format!("{:?}", layer.secret), format!("ClientSecret(RnsPoly[Poly<Ntt>({shape})])"));
    assert_eq!(format!("{mask:?}"), format!("ServerMask(RnsPoly[Poly<Coeff>({shape})])"));
    assert_eq!(format!("{:?}", layer.hint), format!("Hint(RnsPoly[Poly<Ntt>({shape})])"));
    assert_eq!(format!("{reply:?}"), "Reply(1024 words of 20 bits)");
}
