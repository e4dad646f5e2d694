//! Shares add up to the message within the stated error, look like nothing else apart, and are refused where they would not.

use super::*;
use crate::ckks::tests::Party;
use crate::ckks::{Complex, Diagonals, LinearTransform};
use crate::rlwe::{GaloisKeys, RlweLiteral, RlweParams};

/// Three primes to share in, one to rescale by, one special.
fn params(n: usize) -> Params {
    let literal = RlweLiteral::from_bits(n, &[45, 45, 44, 40], &[49]).unwrap();
    Params::new(RlweParams::insecure_for_tests(&literal).unwrap(), 2.0_f64.powi(50)).unwrap()
}

const MASKING: Masking = Masking { statistical_bits: 40, ciphertexts: 4 };

struct Case {
    party: Party,
    /// The message that is shared, its ciphertext and estimate.
    message: Vec<Complex>,
    ciphertext: Ciphertext,
    noise: NoiseEstimate,
}

/// A small matrix of whole numbers times a vector of numbers below one half, rescaled, as a layer of a network has it.
fn case(n: usize, label: u64) -> Case {
    let mut party = Party::new(params(n), label);
    let params = party.params.clone();
    let slots = params.slots();
    let x: Vec<Complex> =
        (0..slots).map(|_| Complex::new(party.number() / 2.0, party.number() / 2.0)).collect();
    let diagonal = |k: i64, party: &mut Party| {
        (k, (0..slots).map(|_| Complex::from((party.number() * 100.0).round())).collect())
    };
    let diagonals: Vec<(i64, Vec<Complex>)> = (-2..3).map(|k| diagonal(k, &mut party)).collect();
    let matrix = Diagonals::new(slots, diagonals).unwrap();
    let transform: LinearTransform = params.linear_transform(&matrix, 4).unwrap();
    let seed = party.seed();
    let keys: GaloisKeys = params.galois_keys(&party.secret, &transform.rotations(), false, seed);
    let mut ciphertext = params.transform(&party.encrypt(&x), &transform, &keys).unwrap();
    params.rescale(&mut ciphertext).unwrap();

    let weight = NoiseEstimate::plaintext(&params, 100.0, 4, params.last_prime(4));
    let fresh = NoiseEstimate::secret_key(&params, 0.5_f64.sqrt(), 4, params.scale());
    let term = fresh.key_switched().product(&weight).key_switched();
    let noise = (1..5).fold(term.clone(), |sum, _| sum.sum_independent(&term)).rescaled();
    Case { message: matrix.apply(&x), party, ciphertext, noise }
}

impl Case {
    fn share(&mut self, masking: &Masking, step: u32) -> Result<(Ciphertext, WideSlots), HeError> {
        let (public, seed) = (self.party.public(), self.party.seed());
        self.party.params.share(&self.ciphertext, &self.noise, masking, &public, step, seed)
    }
}

#[test]
fn shares_add_up_within_the_stated_error() {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    let label = u64::from_le_bytes(bytes);
    println!("label {label}");
    for n in [256, 1024] {
        let mut case = case(n, label);
        let params = case.party.params.clone();
        for step in [26, 30, 40, 50] {
            let (sent, own) = case.share(&MASKING, step).unwrap();
            let opened = params.open_share(&case.party.secret, &sent, step).unwrap();
            let error = MASKING.error(&case.noise, step);
            let unit = case.ciphertext.scale() / f64::from(step).exp2();
            let mut worst = 0.0_f64;
            for (j, y) in case.message.iter().enumerate() {
                for (c, s, y) in [(opened.re()[j], own.re()[j], y.re), (opened.im()[j], own.im()[j], y.im)] {
                    worst = worst.max(((c + s) as f64 - y * unit).abs());
                }
            }
            // The message itself was computed in doubles here.
            let slack = 1e-12 * 500.0 * unit;
            assert!(worst <= error + slack, "N = {n}, step 2^{step}: {worst} against {error}");
            // Coarse steps are off by roundings alone: by one sometimes, never by more.
            if step >= 40 {
                assert!(error < 1.5 && worst > 0.1, "{worst} against {error}");
            }
        }
    }
}

/// What a share looks like: its mean square is that of a uniform mask, and it does not follow the message.
fn correlation(share: &[i128], message: &[f64]) -> f64 {
    let dot: f64 = share.iter().zip(message).map(|(&a, b)| a as f64 * b).sum();
    let norm = |sum: f64| sum.sqrt();
    dot / (norm(share.iter().map(|&a| (a as f64).powi(2)).sum()) * norm(message.iter().map(|b| b * b).sum()))
}

#[test]
fn a_share_looks_like_a_mask_and_without_one_it_is_the_message() {
    let mut case = case(1024, 7);
    let params = case.party.params.clone();
    let re: Vec<f64> = case.message.iter().map(|z| z.re).collect();
    let (sent, own) = case.share(&MASKING, 40).unwrap();
    let opened = params.open_share(&case.party.secret, &sent, 40).unwrap();
    // 512 slots: a correlation of independent vectors is about 1/sqrt(512).
    assert!(correlation(opened.re(), &re).abs() < 0.25, "{}", correlation(opened.re(), &re));
    assert!(correlation(own.re(), &re).abs() < 0.25);
    // Coefficients uniform in 2^k numbers: slots have variance N 2^2k / 12, halved between the parts.
    let bits = MASKING.bits(&case.noise).unwrap();
    let expected = 512.0 * f64::from(2 * bits - 80).exp2() / 12.0;
    let found = opened.re().iter().map(|&a| (a as f64).powi(2)).sum::<f64>() / 512.0;
    assert!((found / expected - 1.0).abs() < 0.4, "{found:e} against {expected:e}");
    // The mask left out: C holds the message itself, to its roundings. This is what the test above would see.
    let plain = params.open_share(&case.party.secret, &case.ciphertext, 40).unwrap();
    assert!(correlation(plain.re(), &re) > 0.999);
    // A mask without a statistical margin: the message shows.
    let (sent, _) = case.share(&Masking { statistical_bits: 0, ciphertexts: 1 }, 40).unwrap();
    let narrow = params.open_share(&case.party.secret, &sent, 40).unwrap();
    let narrow = narrow.re().iter().map(|&a| (a as f64).powi(2)).sum::<f64>();
    let wide = opened.re().iter().map(|&a| (a as f64).powi(2)).sum::<f64>();
    assert!(narrow < wide * 2.0_f64.powi(-70));
}

#[test]
fn the_second_part_is_made_anew() {
    let mut case = case(256, 8);
    let sent = [(); 2].map(|()| case.share(&MASKING, 40).unwrap().0);
    let second = |c: &Ciphertext| c.as_rlwe().parts()[1].limbs()[0].values().to_vec();
    let own = second(&case.ciphertext);
    assert!(second(&sent[0]) != own && second(&sent[0]) != second(&sent[1]));
}

#[test]
fn the_width_is_that_of_the_essay_and_keeps_its_promise() {
    let case = case(256, 9);
    let before = MASKING.bits(&case.noise).unwrap();
    for statistical_bits in 30..50 {
        for ciphertexts in [1, 3, 4, 100] {
            let masking = Masking { statistical_bits, ciphertexts };
            let distance = masking.log2_distance(&case.noise).unwrap();
            let promised = -f64::from(statistical_bits);
            assert!(distance <= promised && distance > promised - 1.0, "{masking:?}: 2^{distance}");
        }
    }
    assert_eq!(Masking { statistical_bits: 47, ..MASKING }.bits(&case.noise).unwrap(), before + 7);
    // The coefficients of the phase really have no larger norm than B.
    let plaintext = case.party.params.decrypt(&case.party.secret, &case.ciphertext);
    let slots = case.party.params.decode(&plaintext);
    let most = slots.iter().map(|z| z.abs()).fold(0.0, f64::max) * plaintext.scale();
    assert!(most <= phase_bound(&case.noise), "{most:e}");
}

#[test]
fn what_would_wrap_or_does_not_belong_is_refused() {
    let mut case = case(256, 10);
    let log2_most = case.party.params.rlwe().log2_q(3) - 1.0;
    assert_eq!(
        case.share(&Masking { statistical_bits: 80, ciphertexts: 1 }, 40).unwrap_err(),
        HeError::Overflow { log2_most }
    );
    assert!(matches!(
        Masking { statistical_bits: 150, ciphertexts: 1 }.bits(&case.noise),
        Err(HeError::Bits { most: 190, .. })
    ));
    assert!(matches!(case.share(&MASKING, 10).unwrap_err(), HeError::Bits { .. }));
    let (public, seed) = (case.party.public(), case.party.seed());
    let params = case.party.params.clone();
    let other = NoiseEstimate::secret_key(&params, 1.0, 4, params.scale());
    let shared = params.share(&case.ciphertext, &other, &MASKING, &public, 40, seed);
    assert_eq!(shared.unwrap_err(), HeError::Limbs { needed: 3, found: 4 });
    let other = NoiseEstimate::secret_key(&params, 1.0, 3, 2.0 * params.scale());
    let seed = case.party.seed();
    let shared = params.share(&case.ciphertext, &other, &MASKING, &public, 40, seed);
    assert!(matches!(shared.unwrap_err(), HeError::UnequalScales { .. }));
}
