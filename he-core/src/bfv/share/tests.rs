//! Shares against plain integers, bounds, planted faults, hostile bytes.

use rand_core::Rng;

use super::*;
use crate::params::{Params, Profile};
use crate::rlwe::RlweLiteral;
use crate::rns::big::{Big, compose};

fn seed() -> Seed {
    let mut bytes = [0; 32];
    Seed::from_os().unwrap().stream().fill_bytes(&mut bytes);
    println!("seed {bytes:?}");
    Seed::from_bytes(bytes)
}

/// A small ring without security; `bits` of the kept primes and the dropped ones.
fn small(plain: &[u64], kept: &[u32], dropped: &[u32], log2_norm: f64) -> Result<ShareRing, HeError> {
    let literal = RlweLiteral::from_bits(64, &[kept, dropped].concat(), &[]).unwrap();
    let plain: Vec<Modulus> = plain.iter().map(|&t| Modulus::new(t).unwrap()).collect();
    ShareRing::over(RlweParams::insecure_for_tests(&literal).unwrap(), kept.len(), &plain, log2_norm)
}

/// Messages of `count` polynomials: uniform, with the extremes in the first places.
fn messages(ring: &ShareRing, count: usize, rng: &mut impl Rng) -> Vec<Vec<Vec<u64>>> {
    let mut limb = |t: &Modulus| {
        let mut limb: Vec<u64> = (0..ring.n()).map(|_| rng.next_u64() % t.value()).collect();
        limb[..4].copy_from_slice(&[0, t.value() - 1, t.value() / 2, t.value() / 2 + 1]);
        limb
    };
    (0..count).map(|_| ring.plain().iter().map(&mut limb).collect()).collect()
}

/// Everything both sides do; gives both shares, coefficient by coefficient, and the exact sum of products, limb by limb.
struct Run {
    client: Residues,
    server: Residues,
    exact: Vec<Vec<u64>>,
    /// What is sent of c0, and the phases that the client reads.
    masked: Vec<Vec<u64>>,
    phases: Vec<Vec<u64>>,
}

fn run(ring: &ShareRing, weights: &[Vec<(usize, i64)>], with_mask: bool, seed: &Seed) -> Run {
    let secret = SecretKey::generate(ring.rlwe(), seed.fork("secret", &[]));
    let public = PublicKey::new(&secret, seed.fork("public", &[]));
    let mut rng = seed.fork("messages", &[]).stream();
    let messages = messages(ring, weights.len(), &mut rng);
    let sent: Vec<Ciphertext> = messages
        .iter()
        .zip(0..)
        .map(|(m, i)| ring.encrypt(&secret, m, seed.fork("encryption", &[i])).expand(ring.rlwe()))
        .collect();
    let prepared: Vec<RnsPoly<Ntt>> = weights.iter().map(|terms| ring.weights(terms)).collect();
    let terms: Vec<_> = prepared.iter().zip(&sent).collect();
    let (c0, c1) = ring.finish(ring.dot(&terms), &public, seed.fork("reply", &[]));
    let mut values: Vec<Vec<u64>> = c0.limbs().iter().map(|limb| limb.coefficients().to_vec()).collect();
    let server = if with_mask {
        ring.mask(&mut values, &mut seed.fork("mask", &[]).stream())
    } else {
        Zeroizing::new(vec![vec![0; ring.n()]; ring.plain().len()])
    };
    // Over the wire.
    let mut bytes = Vec::new();
    ring.pack(c1.limbs().iter().map(Poly::values), &mut bytes);
    assert_eq!(bytes.len(), ring.packed_len(ring.n()));
    let key_part = ring.key_part(&secret, &ring.read_part(&bytes).unwrap());
    let phases: Vec<Vec<u64>> = values
        .iter()
        .zip(key_part.limbs())
        .zip(ring.reply_moduli())
        .map(|((values, part), q)| {
            values.iter().zip(part.coefficients()).map(|(&value, &part)| q.add(value, part)).collect()
        })
        .collect();
    let exact = ring.plain().iter().enumerate().map(|(limb, t)| {
        let mut sum = vec![0; ring.n()];
        for (terms, message) in weights.iter().zip(&messages) {
            for &(place, weight) in terms {
                for (at, &m) in message[limb].iter().enumerate() {
                    let product = t.mul(t.from_i64(weight), m);
                    let to = &mut sum[(at + place) % ring.n()];
                    *to = if at + place < ring.n() { t.add(*to, product) } else { t.sub(*to, product) };
                }
            }
        }
        sum
    });
    Run { client: ring.open(&phases), server, exact: exact.collect(), masked: values, phases }
}

/// The largest distance of the sum of both shares from the exact result, in units of Z_t.
fn worst(ring: &ShareRing, run: &Run) -> f64 {
    let t = Big::product(ring.plain());
    let distance = |i: usize| {
        let residues: Vec<u64> = ring
            .plain()
            .iter()
            .enumerate()
            .map(|(limb, t)| t.sub(t.add(run.client[limb][i], run.server[limb][i]), run.exact[limb][i]))
            .collect();
        compose(&residues, ring.plain()).center(&t).abs().to_f64()
    };
    (0..ring.n()).map(distance).fold(0.0, f64::max)
}

/// Random weights of at most `bits` bits, all extremes of one sign in the first polynomial.
fn weights(ring: &ShareRing, polys: usize, bits: u32, rng: &mut impl Rng) -> (Vec<Vec<(usize, i64)>>, f64) {
    let most = (1i64 << bits) - 1;
    let weights: Vec<Vec<(usize, i64)>> = (0..polys)
        .map(|poly| {
            let mut weight = || (rng.next_u64() % (2 * most as u64 + 1)) as i64 - most;
            let places = (0..ring.n()).step_by(3);
            places.map(|place| (place, if poly == 0 { most } else { weight() })).collect()
        })
        .collect();
    let norm: f64 = weights.iter().flatten().map(|&(_, w)| w.abs() as f64).sum();
    (weights, norm.log2())
}

const T26: u64 = 67_104_769;
const T48: [u64; 2] = [281_474_976_694_273, 281_474_976_636_929];
const T50: u64 = 1_125_899_906_826_241;

/// Rings with and without primes to drop, of one and two factors.
fn rings(log2_norm: f64) -> [ShareRing; 5] {
    [
        small(&[T26], &[36], &[40], log2_norm),
        small(&[T26], &[55], &[], log2_norm),
        small(&[T50], &[59], &[40], log2_norm),
        small(&[T50], &[45, 40], &[20], log2_norm),
        small(&T48, &[53, 53], &[30], log2_norm),
    ]
    .map(|ring| ring.unwrap())
}

#[test]
fn shares_add_up_to_within_one_unit() {
    let root = seed();
    for (which, ring) in rings(20.0).iter().enumerate() {
        for (round, (polys, bits)) in [(1, 14), (3, 12), (5, 0)].into_iter().enumerate() {
            let own = root.fork("run", &[which as u64, round as u64]);
            let (weights, log2_norm) =
                weights(ring, polys, bits.max(1), &mut own.fork("weights", &[]).stream());
            assert!(log2_norm <= 20.0);
            let found = run(ring, &weights, true, &own);
            assert!(worst(ring, &found) <= 1.0, "ring {which}: {}", worst(ring, &found));
        }
    }
}

#[test]
fn what_is_beyond_the_bound_is_noticed() {
    let root = seed();
    for (which, ring) in rings(20.0).iter().enumerate() {
        let own = root.fork("run", &[which as u64]);
        // Far more than there is room for.
        let (weights, _) = weights(ring, 3, 60, &mut own.fork("weights", &[]).stream());
        assert!(worst(ring, &run(ring, &weights, true, &own)) > 1.0, "ring {which}");
    }
    // And a ring without room is not made.
    assert!(matches!(small(&[T26], &[36], &[40], 50.0), Err(HeError::NoRoom { .. })));
    assert!(matches!(small(&[T50], &[52], &[40], 20.0), Err(HeError::NoRoom { .. })), "roundings alone");
    assert!(matches!(small(&[T50, T26, T48[0]], &[59], &[], 1.0), Err(HeError::PrimeChain { .. })));
}

#[test]
fn phases_are_uniform_with_the_mask_and_tell_all_without() {
    let root = seed();
    let ring = &rings(20.0)[2];
    let q = ring.reply_moduli()[0];
    // The distance of the phase from Q' y/t, as a part of Q': next to nothing without the mask.
    let distances = |with_mask: bool| -> Vec<f64> {
        (0..64)
            .flat_map(|round| {
                let own = root.fork("run", &[round]);
                let (weights, _) = weights(ring, 2, 12, &mut own.fork("weights", &[]).stream());
                let found = run(ring, &weights, with_mask, &own);
                let t = ring.plain()[0].value() as f64;
                let part = |(&phase, &y): (&u64, &u64)| {
                    let turn = phase as f64 / q.value() as f64 - y as f64 / t;
                    turn - turn.round()
                };
                assert_eq!(found.masked[0].len(), ring.n());
                found.phases[0].iter().zip(&found.exact[0]).map(part).collect::<Vec<_>>()
            })
            .collect()
    };
    let plain = distances(false);
    assert!(plain.iter().all(|x| x.abs() < 1e-12), "without a mask the phase is the message");
    let masked = distances(true);
    let mut counts = [0u32; 16];
    masked.iter().for_each(|x| counts[(((x + 0.5) * 16.0) as usize).min(15)] += 1);
    let mean = masked.len() as f64 / 16.0;
    let chi_square: f64 = counts.iter().map(|&c| (f64::from(c) - mean).powi(2) / mean).sum();
    // 15 degrees of freedom: above 60 with a probability of 10^-6.
    assert!(chi_square < 60.0, "{chi_square}: {counts:?}");
}

#[test]
fn rings_of_the_profiles_have_room_and_no_more() {
    for (profile, log2_norm, degree) in [
        (Profile::Tiny, 18.0, 2048),
        (Profile::Tiny, 30.0, 4096),
        (Profile::Narrow, 30.0, 4096),
        (Profile::Wide, 20.0, 4096),
        (Profile::Wide, 45.0, 4096),
        (Profile::Wide, 60.0, 8192),
        (Profile::Exact, 30.0, 8192),
        (Profile::Exact, 60.0, 8192),
    ] {
        let params = Params::new(profile);
        let ring = ShareRing::new(params.moduli(), log2_norm).unwrap();
        assert_eq!(ring.n(), degree, "{profile} {log2_norm}");
        assert!(ring.log2_failure() <= -64.0);
        let log2_q = ring.rlwe().log2_q(ring.rlwe().limbs());
        let kept: f64 = ring.reply_moduli().iter().map(|q| (q.value() as f64).log2()).sum();
        println!(
            "{profile} {log2_norm}: N = {degree}, Q {log2_q:.1}, Q' {kept:.1}, 2^{:.0}",
            ring.log2_failure()
        );
        assert!(kept <= params.log2_q() + 12.0, "replies of {kept} bits");
        assert!(log2_q <= kept.max(params.log2_q() + log2_norm + 8.0) + 17.0, "ciphertexts of {log2_q} bits");
    }
    assert!(matches!(
        ShareRing::new(Params::new(Profile::Exact).moduli(), 400.0),
        Err(HeError::NoRoom { .. })
    ));
}

#[test]
fn a_real_ring_shares_too() {
    let root = seed();
    let ring = ShareRing::new(Params::new(Profile::Narrow).moduli(), 26.0).unwrap();
    let (weights, log2_norm) = weights(&ring, 2, 13, &mut root.fork("weights", &[]).stream());
    assert!(log2_norm <= 26.0);
    assert!(worst(&ring, &run(&ring, &weights, true, &root)) <= 1.0);
}

#[test]
fn hostile_replies_are_refused() {
    let ring = &rings(20.0)[3];
    let numbers: Vec<Vec<u64>> = ring.reply_moduli().iter().map(|q| vec![q.value() - 1, 0, 5]).collect();
    let mut bytes = Vec::new();
    ring.pack(numbers.iter().map(Vec::as_slice), &mut bytes);
    assert_eq!(ring.unpack(&bytes, 3).unwrap(), numbers);
    assert!(matches!(ring.unpack(&bytes[1..], 3), Err(HeError::Length { .. })));
    assert!(matches!(ring.unpack(&bytes, 4), Err(HeError::Length { .. })));
    let mut large = bytes.clone();
    large[..5].fill(0xff);
    assert!(matches!(ring.unpack(&large, 3), Err(HeError::OutOfRange { index: 0, .. })));
    // One number of 45 bits leaves three bits of its last byte.
    let mut one = Vec::new();
    ring.pack([&[3][..], &[4]], &mut one);
    assert_eq!(ring.unpack(&one, 1).unwrap(), [[3], [4]]);
    one[5] |= 0x80;
    assert!(matches!(ring.unpack(&one, 1), Err(HeError::Padding { .. })));
    assert!(ring.read_part(&bytes).is_err(), "three are not N");
}
