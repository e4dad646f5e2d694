//! The split construction against its identity, its noise prediction, its known answers, and planted faults.

use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use sha3::{Digest, Sha3_256};

use super::*;
use crate::error::HeError;
use crate::modulus::Modulus;
use crate::noise::SplitNoise;
use crate::ntt::Kernel;
use crate::ntt::reference::negacyclic_product;
use crate::params::{Params, Profile};
use crate::poly::{Coeff, Ntt, Poly};
use crate::seed::Seed;
use crate::vectors::KNOWN;

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
    weights: Vec<Poly<Ntt>>,
    publics: Vec<Poly<Ntt>>,
    pk_a: Poly<Ntt>,
    secret: ClientSecret,
    key: PublicKey,
    masks: Vec<Poly<Coeff>>,
    hint: Hint,
}

impl Layer {
    fn new(params: &Params, inputs: u32, seed: &Seed) -> Self {
        let (params, mut rng) = (params.clone(), seed.fork("client", &[]).stream());
        let epoch = Epoch::new([5; 32]);
        let weights: Vec<_> = (0..inputs)
            .map(|j| Poly::from_signed(params.table(), &taps(i64::from(j))).into_ntt(params.table()))
            .collect();
        let publics: Vec<_> = (0..inputs).map(|j| epoch.public_a(&params, 0, j)).collect();
        let pk_a = epoch.public_key_a(&params, 0);
        let secret = ClientSecret::generate(&params, &mut rng);
        let key = secret.public_key(&params, &pk_a, &mut rng);
        let masks = publics.iter().map(|a| secret.mask(&params, a, &mut rng)).collect();
        let hint = Hint::new(&params, &weights.iter().zip(&publics).collect::<Vec<_>>());
        Self { params, weights, publics, pk_a, secret, key, masks, hint }
    }

    fn modulus(&self) -> &Modulus {
        self.params.modulus()
    }

    /// e_j = r_j - a_j s.
    fn input_error(&self, j: usize) -> Poly<Coeff> {
        let mut error =
            self.publics[j].mul(self.params.table(), self.secret.values()).into_coeff(self.params.table());
        error -= &self.masks[j];
        let modulus = *self.modulus();
        error.words_mut().iter_mut().for_each(|w| *w = modulus.neg(*w));
        error
    }

    /// m + c - W x + W e for a random input x: what is left is small + rho s, centred.
    fn residue(&self, reply: &Reply, mask: ServerMask, rng: &mut ChaCha20Rng) -> Vec<i64> {
        let table = self.params.table();
        let mut sum = mask.into_poly();
        sum += &self.secret.open(&self.params, reply);
        for (j, w) in self.weights.iter().enumerate() {
            let x = Poly::<Coeff>::uniform(table, rng);
            let mut masked = Poly::from_coefficients(table, x.coefficients().to_vec()).unwrap();
            masked -= &self.masks[j];
            let mut expected = x;
            expected -= &self.input_error(j);
            sum += &w.mul(table, &masked.into_ntt(table)).into_coeff(table);
            sum -= &w.mul(table, &expected.into_ntt(table)).into_coeff(table);
        }
        sum.coefficients().iter().map(|&v| self.modulus().center(v)).collect()
    }
}

fn deviation(values: &[i64]) -> f64 {
    (values.iter().map(|&v| (v as f64).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
}

/// Whether a measured noise may pass for the predicted one: within ten per cent, above as well as below.
fn agrees(measured: f64, predicted: f64) -> bool {
    (measured / predicted - 1.0).abs() < 0.1
}

#[test]
fn linear_layer_with_the_predicted_noise_on_every_profile() {
    // t near q: small alone. t far below: the rounding of the reply dominates.
    for (profile, ts) in [(Profile::Tiny, [26, 18]), (Profile::Narrow, [32, 22]), (Profile::Wide, [50, 24])] {
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
                for output in 0..15_360 / params.n() as u64 {
                    let seed = seed.fork("reply", &[output]);
                    let (reply, mask) =
                        masked_reply(&params, &layer.hint, &layer.pk_a, &layer.key, t, seed).unwrap();
                    values.extend(layer.residue(&reply, mask, &mut rng));
                }
            }
            assert!(values.len() >= 100_000);
            let predicted = noise.small_deviation().hypot(noise.rounding_deviation());
            let measured = deviation(&values);
            println!("{profile} t = {t}: measured {measured:.1}, predicted {predicted:.1}");
            assert!(
                agrees(measured, predicted),
                "{profile} t = {t}: {measured} measured, {predicted} predicted"
            );
            assert!(values.iter().all(|&v| (v.unsigned_abs() as f64) < bound));
        }
    }
}

/// A reply and mask written out from the definition, with a switch for each error.
fn faulty_reply(layer: &Layer, t: u32, seed: &Seed, errors: [bool; 2], zero_u: bool) -> (Reply, ServerMask) {
    let (params, table) = (&layer.params, layer.params.table());
    let u = if zero_u { Poly::zero(table) } else { Poly::ternary(table, &mut seed.fork("u", &[]).stream()) };
    let u = u.into_ntt(table);
    let mut answer = layer.pk_a.mul(table, &u);
    answer += layer.hint.values();
    let mut answer = answer.into_coeff(table);
    let mut mask = layer.key.values().mul(table, &u).into_coeff(table);
    if errors[0] {
        answer += &Poly::error(table, &mut seed.fork("error of the reply", &[]).stream());
    }
    if errors[1] {
        mask += &Poly::error(table, &mut seed.fork("error of the mask", &[]).stream());
    }
    let mask_bytes = mask.coefficients().to_vec();
    let mut holder = masked_reply(params, &layer.hint, &layer.pk_a, &layer.key, t, root(0)).unwrap().1;
    holder.overwrite(&mask_bytes);
    (Reply::round(params, t, &answer), holder)
}

#[test]
fn the_reply_is_its_definition_and_a_missing_error_is_seen_in_the_noise() {
    let params = Params::new(Profile::Wide);
    let layer = Layer::new(&params, 2, &root(2));
    let predicted = SplitNoise::new(&params, 50).small_deviation();
    let measure = |errors: [bool; 2], zero_u: bool| {
        let mut rng = root(3).stream();
        let values: Vec<_> = (0..50)
            .flat_map(|i| {
                let (reply, mask) = faulty_reply(&layer, 50, &root(4).fork("reply", &[i]), errors, zero_u);
                layer.residue(&reply, mask, &mut rng)
            })
            .collect();
        deviation(&values)
    };
    let (reply, mask) =
        masked_reply(&params, &layer.hint, &layer.pk_a, &layer.key, 50, root(4).fork("reply", &[0])).unwrap();
    let (slow_reply, slow_mask) = faulty_reply(&layer, 50, &root(4).fork("reply", &[0]), [true, true], false);
    assert!(reply == slow_reply && mask.coefficients() == slow_mask.coefficients());

    assert!(agrees(measure([true, true], false), predicted));
    assert!(!agrees(measure([false, true], false), predicted), "a reply without error went unseen");
    assert!(!agrees(measure([true, true], true), predicted), "a reply without u went unseen");
}

/// Whether values look centred binomial of eta = 21: second and fourth moment within five deviations of their estimate.
fn looks_like_the_error(values: &[i64]) -> bool {
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
    let params = Params::new(Profile::Wide);
    let (table, modulus) = (params.table(), params.modulus());
    let layer = Layer::new(&params, 8, &root(6));
    let centred =
        |poly: &Poly<Coeff>| -> Vec<i64> { poly.coefficients().iter().map(|&v| modulus.center(v)).collect() };
    let errors: Vec<_> = (0..8).flat_map(|j| centred(&layer.input_error(j))).collect();
    assert!(looks_like_the_error(&errors));
    assert_ne!(errors[..2048], errors[2048..4096]);
    // pk_b + pk_a s is an error as well.
    let mut error = layer.pk_a.mul(table, layer.secret.values());
    error += layer.key.values();
    assert!(looks_like_the_error(&centred(&error.into_coeff(table))));
    // Planted: no error at all, and errors of half and of one and a half times the variance.
    assert!(!looks_like_the_error(&[0; 16384]));
    for eta in [10, 32] {
        let mut words = vec![0; 2048];
        crate::sample::centred_binomial(&mut root(6).stream(), eta, modulus, &mut words);
        assert!(
            !looks_like_the_error(&words.iter().map(|&v| modulus.center(v)).collect::<Vec<_>>()),
            "eta = {eta}"
        );
    }
}

/// The largest |X1 - X2 - (x1 - x2)| for one secret: small when the server can see the difference of two inputs.
fn visible_difference(params: &Params, a: [&Poly<Ntt>; 2]) -> u64 {
    let mut rng = root(7).stream();
    let secret = ClientSecret::generate(params, &mut rng);
    let mut difference = secret.mask(params, a[0], &mut rng);
    difference -= &secret.mask(params, a[1], &mut rng);
    difference.coefficients().iter().map(|&v| params.modulus().center(v).unsigned_abs()).max().unwrap()
}

#[test]
fn one_a_must_not_be_met_twice_by_one_secret() {
    let params = Params::new(Profile::Narrow);
    let epoch = Epoch::new([8; 32]);
    let (first, second) = (epoch.public_a(&params, 1, 0), epoch.public_a(&params, 1, 1));
    assert!(visible_difference(&params, [&first, &first]) <= 42, "the planted reuse should be visible");
    assert!(visible_difference(&params, [&first, &second]) > params.modulus().value() / 4);
}

#[test]
fn replies_look_uniform_and_one_without_u_does_not() {
    let params = Params::new(Profile::Wide);
    let layer = Layer::new(&params, 1, &root(9));
    let zero_hint = Layer { hint: Hint::new(&params, &[]), ..Layer::new(&params, 1, &root(10)) };
    // 64 cells of the 24-bit words of 50 replies: 63 degrees of freedom, mean 63, deviation 11.2.
    let statistic = |layer: &Layer, zero_u: bool| {
        let mut counts = [0_f64; 64];
        for i in 0..50 {
            let (reply, _) = faulty_reply(layer, 24, &root(11).fork("reply", &[i]), [true, true], zero_u);
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

#[test]
fn known_answers() {
    let digest = |words: &[u64]| -> [u8; 32] {
        let mut hash = Sha3_256::new();
        words.iter().for_each(|w| hash.update(w.to_le_bytes()));
        hash.finalize().into()
    };
    for (profile, known) in Profile::ALL.into_iter().zip(KNOWN) {
        for kernel in Kernel::available() {
            let params = Params::new(profile).with_kernel(kernel).unwrap();
            let (table, modulus) = (params.table(), params.modulus());
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
            assert_eq!(digest(epoch.public_a(&params, 3, 5).values()), known.public_a);
            assert_eq!(digest(epoch.public_key_a(&params, 3).values()), known.public_key_a);
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
            (
                layer.key.to_bytes(),
                reply.to_bytes(),
                mask.into_poly().coefficients().to_vec(),
                share.coefficients().to_vec(),
            )
        };
        let portable = transcript(Kernel::Portable);
        for kernel in Kernel::available() {
            assert!(transcript(kernel) == portable, "{profile}: {kernel:?} differs from the portable kernel");
        }
    }
}

#[test]
fn hint_and_share_against_the_quadratic_product() {
    let params = Params::new(Profile::Tiny);
    let (table, m) = (params.table(), params.modulus());
    let layer = Layer::new(&params, 2, &root(14));
    let coefficients = |p: &Poly<Ntt>| {
        Poly::from_values(table, p.values().to_vec()).unwrap().into_coeff(table).coefficients().to_vec()
    };
    let mut slow = vec![0; params.n()];
    for (w, a) in layer.weights.iter().zip(&layer.publics) {
        let product = negacyclic_product(m, &coefficients(w), &coefficients(a));
        slow.iter_mut().zip(product).for_each(|(x, y)| *x = m.add(*x, y));
    }
    assert_eq!(coefficients(layer.hint.values()), slow);
    let (reply, _) = masked_reply(&params, &layer.hint, &layer.pk_a, &layer.key, 18, root(15)).unwrap();
    let lifted = reply.lift(&params);
    let slow = negacyclic_product(m, lifted.coefficients(), &coefficients(layer.secret.values()));
    assert_eq!(layer.secret.open(&params, &reply).coefficients(), slow);
}

#[test]
fn dither_is_added_to_the_mask() {
    let params = Params::new(Profile::Wide);
    let layer = Layer::new(&params, 1, &root(16));
    let make = || masked_reply(&params, &layer.hint, &layer.pk_a, &layer.key, 24, root(17)).unwrap().1;
    let (plain, mut dithered) = (make(), make());
    dithered.add_dither(&params, 30.0, &mut root(18).stream()).unwrap();
    let m = params.modulus();
    let added: Vec<_> = dithered
        .coefficients()
        .iter()
        .zip(plain.coefficients())
        .map(|(&x, &y)| m.center(m.sub(x, y)))
        .collect();
    assert!((deviation(&added).log2() - 30.0).abs() < 0.1);
    assert!(matches!(
        dithered.add_dither(&params, 49.0, &mut root(18).stream()),
        Err(HeError::Dither { .. })
    ));
    // `narrow` has no room for the dither that a wide layer uses.
    let narrow = Params::new(Profile::Narrow);
    let layer = Layer::new(&narrow, 1, &root(16));
    let mut mask = masked_reply(&narrow, &layer.hint, &layer.pk_a, &layer.key, 22, root(17)).unwrap().1;
    assert!(mask.add_dither(&narrow, 30.0, &mut root(18).stream()).is_err());
}

#[test]
fn public_randomness_is_separated() {
    let params = Params::new(Profile::Tiny);
    let epoch = Epoch::new([1; 32]);
    let heads = [
        epoch.public_a(&params, 0, 0),
        epoch.public_a(&params, 0, 1),
        epoch.public_a(&params, 1, 0),
        epoch.public_key_a(&params, 0),
        epoch.public_key_a(&params, 1),
        Epoch::new([2; 32]).public_a(&params, 0, 0),
        epoch.public_a(&Params::new(Profile::Narrow), 0, 0),
    ]
    .map(|p| p.values()[..4].to_vec());
    for (i, head) in heads.iter().enumerate() {
        assert!(!heads[i + 1..].contains(head), "polynomial {i} is met twice");
    }
    assert_eq!(epoch.public_a(&params, 0, 0).values()[..4], heads[0]);
    assert!(format!("{epoch:?}").starts_with("Epoch(0101"));
}

#[test]
fn wire_forms_are_exact() {
    for profile in Profile::ALL {
        let params = Params::new(profile);
        let layer = Layer::new(&params, 1, &root(19));
        let bytes = layer.key.to_bytes();
        assert_eq!(bytes.len(), PublicKey::wire_len(&params));
        assert_eq!(PublicKey::from_bytes(&params, &bytes).unwrap().to_bytes(), bytes);
        assert!(matches!(PublicKey::from_bytes(&params, &bytes[1..]), Err(HeError::Length { .. })));
        assert_eq!(
            PublicKey::from_bytes(&params, &vec![0; bytes.len()]).unwrap_err(),
            HeError::DegenerateKey
        );
        assert!(matches!(
            PublicKey::from_bytes(&params, &vec![0xff; bytes.len()]),
            Err(HeError::OutOfRange { index: 0, .. })
        ));
        let (reply, _) = masked_reply(&params, &layer.hint, &layer.pk_a, &layer.key, 20, root(20)).unwrap();
        let bytes = reply.to_bytes();
        assert_eq!((bytes.len(), reply.bits()), (20 * params.n() / 8, 20));
        assert_eq!(bytes.len(), Reply::wire_len(&params, 20));
        assert!(Reply::from_bytes(&params, 20, &bytes).unwrap() == reply);
        for t in [0, params.modulus().bits() + 1, 63, 64, u32::MAX] {
            assert!(matches!(Reply::from_bytes(&params, t, &bytes), Err(HeError::Bits { .. })));
            let refused = masked_reply(&params, &layer.hint, &layer.pk_a, &layer.key, t, root(20));
            assert!(matches!(refused, Err(HeError::Bits { .. })));
        }
    }
}

#[test]
fn secrets_print_nothing() {
    let params = Params::new(Profile::Tiny);
    let layer = Layer::new(&params, 1, &root(21));
    let (reply, mask) = masked_reply(&params, &layer.hint, &layer.pk_a, &layer.key, 20, root(20)).unwrap();
    let shape = "1024 words modulo 67104769";
    assert_eq!(format!("{:?}", layer.secret), format!("ClientSecret(Poly<Ntt>({shape}))"));
    assert_eq!(format!("{mask:?}"), format!("ServerMask(Poly<Coeff>({shape}))"));
    assert_eq!(format!("{:?}", layer.hint), format!("Hint(Poly<Ntt>({shape}))"));
    assert_eq!(format!("{reply:?}"), "Reply(1024 words of 20 bits)");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn bytes_of_a_peer_never_panic(seed: u64, cut in 0_usize..3, flip in any::<prop::sample::Index>(), t in 0_u32..40) {
        use rand_core::Rng;
        let params = Params::new(Profile::Tiny);
        let mut label = [0; 32];
        label[..8].copy_from_slice(&seed.to_le_bytes());
        let mut rng = Seed::from_bytes(label).stream();
        for length in [PublicKey::wire_len(&params), Reply::wire_len(&params, t), 8 * cut] {
            let mut bytes = vec![0; length.saturating_sub(cut)];
            rng.fill_bytes(&mut bytes);
            if let Some(byte) = (!bytes.is_empty()).then(|| flip.index(bytes.len())) {
                bytes[byte] = 0xff;
            }
            if let Ok(key) = PublicKey::from_bytes(&params, &bytes) {
                prop_assert_eq!(&key.to_bytes(), &bytes);
            }
            if let Ok(reply) = Reply::from_bytes(&params, t, &bytes) {
                prop_assert_eq!(&reply.to_bytes(), &bytes);
                // Whatever was accepted can be opened.
                let secret = ClientSecret::generate(&params, &mut rng);
                prop_assert_eq!(secret.open(&params, &reply).n(), params.n());
            }
        }
    }
}
