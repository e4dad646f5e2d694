//! Joined sums against plain integers, measured noise against its bound, planted faults, hostile bytes.

use rand_core::Rng;

use super::join::Joins;
use super::*;
use crate::params::{Params, Profile};
use crate::rlwe::RlweLiteral;
use crate::rns::big::{Big, compose};

const N: usize = 64;
const T26: u64 = 67_104_769;
const T50: u64 = 1_125_899_906_826_241;
const T48: [u64; 2] = [281_474_976_694_273, 281_474_976_636_929];

fn seed() -> Seed {
    let mut bytes = [0; 32];
    Seed::from_os().unwrap().stream().fill_bytes(&mut bytes);
    println!("seed {bytes:?}");
    Seed::from_bytes(bytes)
}

/// A small ring without security, with room for sums with weights up to 2^20 together and for `levels` levels.
fn small(plain: &[u64], kept: &[u32], dropped: &[u32], levels: u32) -> ShareRing {
    let literal = RlweLiteral::from_bits(N, &[kept, dropped].concat(), &[]).unwrap();
    let plain: Vec<Modulus> = plain.iter().map(|&t| Modulus::new(t).unwrap()).collect();
    let rlwe = RlweParams::insecure_for_tests(&literal).unwrap();
    room::with_joins(ShareRing::over(rlwe, kept.len(), &plain, 20.0).unwrap(), levels).unwrap()
}

/// With and without primes to drop, of one and two factors.
fn rings(levels: u32) -> [ShareRing; 4] {
    [
        small(&[T26], &[36], &[40], levels),
        small(&[T26], &[60], &[], levels),
        small(&[T50], &[45, 40], &[30], levels),
        small(&T48, &[53, 53], &[40], levels),
    ]
}

/// Weights as (place, weight), of at most 12 bits, and how many there are.
fn weights(rng: &mut impl Rng) -> Vec<(usize, i64)> {
    (0..N).step_by(7).map(|place| (place, (rng.next_u64() % 8191) as i64 - 4095)).collect()
}

/// The product of weights with a message, modulo t, limb by limb.
fn product(ring: &ShareRing, terms: &[(usize, i64)], message: &[Vec<u64>]) -> Vec<Vec<u64>> {
    let limb = |(t, message): (&Modulus, &Vec<u64>)| {
        let mut sum = vec![0; N];
        for &(place, weight) in terms {
            for (at, &m) in message.iter().enumerate() {
                let product = t.mul(t.from_i64(weight), m);
                let to = &mut sum[(at + place) % N];
                *to = if at + place < N { t.add(*to, product) } else { t.sub(*to, product) };
            }
        }
        sum
    };
    ring.plain().iter().zip(message).map(limb).collect()
}

/// What is planted.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// Keys of another secret.
    Keys,
    /// Weights that are not scaled.
    Scale,
    /// Leaves in another order.
    Order,
}

/// The largest distance of both shares from the exact numbers at places that count, in units of Z_t; more than one for
/// residues that do not agree.
fn worst(ring: &ShareRing, levels: u32, leaves: usize, residue: usize, fault: Fault, seed: &Seed) -> u64 {
    let secret = SecretKey::generate(ring.rlwe(), seed.fork("secret", &[]));
    let other = SecretKey::generate(ring.rlwe(), seed.fork("another secret", &[]));
    let public = PublicKey::new(&secret, seed.fork("public", &[]));
    let owner = if fault == Fault::Keys { &other } else { &secret };
    let keys = ring.join_keys(owner, ring.join_levels(), seed.fork("join", &[]));
    let mut rng = seed.fork("numbers", &[]).stream();
    let (mut exact, mut sums) = (Vec::new(), Vec::new());
    for leaf in 0..leaves as u64 {
        let mut limb = |t: &Modulus| (0..N).map(|_| rng.next_u64() % t.value()).collect();
        let message: Vec<Vec<u64>> = ring.plain().iter().map(&mut limb).collect();
        let terms = weights(&mut rng);
        exact.push(product(ring, &terms, &message));
        let sent = ring.encrypt(&secret, &message, seed.fork("encryption", &[leaf])).expand(ring.rlwe());
        let scaled = if fault == Fault::Scale { 0 } else { levels };
        sums.push(ring.dot(&[(&ring.weights_to_join(&terms, scaled, residue), &sent)]));
    }
    if fault == Fault::Order {
        sums.reverse();
    }
    let joined = ring.join(&keys, levels, sums);
    let (c0, c1) = ring.finish(joined, &public, seed.fork("reply", &[]));
    let mut values: Vec<Vec<u64>> = c0.limbs().iter().map(|limb| limb.coefficients().to_vec()).collect();
    let server = ring.mask(&mut values, &mut seed.fork("mask", &[]).stream());
    let key_part = ring.key_part(&secret, &c1);
    for ((values, part), q) in values.iter_mut().zip(key_part.limbs()).zip(ring.reply_moduli()) {
        values.iter_mut().zip(part.coefficients()).for_each(|(value, &part)| *value = q.add(*value, part));
    }
    let client = ring.open(&values);
    let mut worst = 0;
    for (leaf, exact) in exact.iter().enumerate() {
        for place in (residue..N).step_by(1 << levels) {
            let at = place - residue + leaf;
            let off = |(limb, t): (usize, &Modulus)| {
                t.center(t.sub(t.add(client[limb][at], server[limb][at]), exact[limb][place]))
            };
            let off: Vec<i64> = ring.plain().iter().enumerate().map(off).collect();
            let distance =
                if off.iter().all(|other| *other == off[0]) { off[0].unsigned_abs() } else { u64::MAX };
            worst = worst.max(distance);
        }
    }
    worst
}

#[test]
fn joined_sums_are_right_to_one_unit() {
    let root = seed();
    for (which, ring) in rings(4).iter().enumerate() {
        for levels in 0..=4 {
            // Full, all but one, half and one, one alone; residues at both ends.
            let full = 1_usize << levels;
            for leaves in [full, full - 1, full / 2 + 1, 1].into_iter().filter(|&leaves| leaves > 0) {
                for residue in [0, full - 1] {
                    let own = root.fork("run", &[which as u64, u64::from(levels), leaves as u64]);
                    let off = worst(ring, levels, leaves.min(full), residue, Fault::None, &own);
                    assert!(off <= 1, "ring {which}, {leaves} in {levels} levels: {off} units");
                }
            }
        }
    }
}

#[test]
fn what_is_wrong_is_noticed() {
    let root = seed();
    for (which, ring) in rings(3).iter().enumerate() {
        for fault in [Fault::Keys, Fault::Scale, Fault::Order] {
            let off = worst(ring, 3, 8, 1, fault, &root.fork("run", &[which as u64]));
            assert!(off > 1, "ring {which}");
        }
    }
}

/// Ciphertexts of zero without any noise, joined: what is left is the noise of the key switches alone.
#[test]
fn noise_is_that_of_the_bound() {
    let root = seed();
    for (which, ring) in rings(3).iter().enumerate() {
        let (mut sum, mut count, mut most) = (0.0, 0.0, 0.0_f64);
        for round in 0..24 {
            let own = root.fork("run", &[which as u64, round]);
            let secret = SecretKey::generate(ring.rlwe(), own.fork("secret", &[]));
            let keys = ring.join_keys(&secret, 3, own.fork("join", &[]));
            let mut rng = own.fork("ciphertexts", &[]).stream();
            let leaf = |_| {
                let c1 = RnsPoly::<Ntt>::uniform(ring.tables(), &mut rng);
                let mut c0 = c1.mul(ring.tables(), secret.values());
                c0.negate();
                Ciphertext::from_parts(vec![c0, c1]).unwrap()
            };
            let joined = ring.join(&keys, 3, (0..8).map(leaf).collect());
            let phase = secret.phase(&joined).into_coeff(ring.tables());
            let moduli = ring.rlwe().moduli(ring.rlwe().limbs());
            for at in 0..N {
                let residues: Vec<u64> = phase.limbs().iter().map(|limb| limb.coefficients()[at]).collect();
                let noise = compose(&residues, moduli).center(&Big::product(moduli)).abs().to_f64();
                (sum, count, most) = (sum + noise * noise, count + 1.0, most.max(noise));
            }
        }
        let moduli = ring.rlwe().moduli(ring.rlwe().limbs());
        let bound = ring.joins.unwrap().variance(N, moduli);
        // Digits are at most 2^(w-1), and uniform: a third of the bound, less where the last one is shorter.
        let ratio = sum / count / bound;
        println!("ring {which}: {:?}, 2^{:.1}, {ratio:.3} of the bound", ring.joins, bound.log2() / 2.0);
        assert!((0.1..0.5).contains(&ratio), "ring {which}: {ratio} of the bound");
        assert!(most < 6.0 * bound.sqrt(), "ring {which}");
    }
}

#[test]
fn digits_add_up_to_the_residue() {
    for ring in rings(2) {
        for digit in ring.digits() {
            let q = *ring.tables()[digit.limb].modulus();
            for x in [0, 1, 2, q.value() / 2, q.value() / 2 + 1, q.value() - 1] {
                let of_limb: Vec<_> = ring.digits().into_iter().filter(|d| d.limb == digit.limb).collect();
                let mut sum = 0_i128;
                for one in of_limb {
                    let lifted = (q.center(x) + ring.lift(one)) as u64;
                    let mask = if one.last { u64::MAX } else { (1 << one.width) - 1 };
                    let part = (lifted >> one.at & mask) as i64 - (1 << (one.width - 1));
                    assert!(part.abs() <= 1 << (one.width - 1), "{one:?} of {x}: {part}");
                    sum += i128::from(part) << one.at;
                }
                assert_eq!(sum, i128::from(q.center(x)));
            }
        }
    }
}

#[test]
fn rings_of_the_profiles_have_room_for_joining() {
    for (profile, log2_norm, degree) in [
        (Profile::Tiny, 36.0, 4096),
        (Profile::Narrow, 36.0, 4096),
        (Profile::Wide, 38.0, 4096),
        (Profile::Exact, 38.0, 8192),
    ] {
        let params = Params::new(profile);
        let plain = ShareRing::new(params.moduli(), log2_norm).unwrap();
        let ring = ShareRing::for_joining(params.moduli(), log2_norm, 5).unwrap();
        let log2 = |ring: &ShareRing| ring.rlwe().log2_q(ring.rlwe().limbs());
        println!(
            "{profile}: N = {}, Q {:.1} for {:.1}, {} digits, a level {} bytes, 2^{:.0}",
            ring.n(),
            log2(&ring),
            log2(&plain),
            ring.digits().len(),
            ring.join_keys_len(1),
            ring.log2_failure()
        );
        assert_eq!((ring.n(), plain.n(), ring.join_levels(), plain.join_levels()), (degree, degree, 5, 0));
        assert!(ring.log2_failure() <= -64.0 && log2(&ring) <= log2(&plain) + 2.0);
        assert!(ring.digits().len() <= 3 * ring.rlwe().limbs());
    }
}

#[test]
fn wider_digits_than_there_is_room_for_are_not_taken() {
    let mut ring = rings(3)[2].clone();
    let joins = ring.joins.unwrap();
    ring.joins = Some(Joins { width: joins.width + 30, levels: 24 });
    assert!(ring.log2_failure() > -64.0);
    let tight = ShareRing::over(
        RlweParams::insecure_for_tests(&RlweLiteral::from_bits(N, &[40], &[]).unwrap()).unwrap(),
        1,
        &[Modulus::new(T26).unwrap()],
        1.0,
    );
    assert!(matches!(room::with_joins(tight.unwrap(), 5), Err(HeError::NoRoom { .. })));
}

#[test]
fn keys_cross_the_wire_and_hostile_ones_are_refused() {
    let root = seed();
    let ring = &rings(3)[2];
    let secret = SecretKey::generate(ring.rlwe(), root.fork("secret", &[]));
    let keys = ring.join_keys(&secret, 2, root.fork("join", &[]));
    let bytes = keys.to_bytes();
    assert_eq!(bytes.len(), ring.join_keys_len(2));
    let back = ring.read_join_keys(2, &bytes).unwrap();
    assert_eq!(back.to_bytes(), bytes);
    for (own, other) in keys.levels.iter().zip(&back.levels) {
        let polys = |level: &join::Level| -> Vec<Vec<u64>> {
            let all = level.parts.iter().chain(&level.uniform).chain([&level.shift]);
            all.flat_map(RnsPoly::limbs).map(|limb| limb.values().to_vec()).collect()
        };
        assert_eq!(polys(own), polys(other));
        assert_eq!(own.automorphism.exponent(), other.automorphism.exponent());
    }
    assert!(matches!(ring.read_join_keys(3, &bytes), Err(HeError::Length { .. })));
    assert!(matches!(ring.read_join_keys(2, &bytes[1..]), Err(HeError::Length { .. })));
    let mut large = bytes.clone();
    large[32..40].fill(0xff);
    assert!(matches!(ring.read_join_keys(2, &large), Err(HeError::OutOfRange { .. })));
    assert!(ring.read_join_keys(0, &[]).unwrap().levels.is_empty());
}

#[test]
#[should_panic(expected = "levels of joining in a ring made for")]
fn more_levels_than_there_is_room_for_are_a_mistake() {
    let ring = &rings(2)[0];
    let _ = ring.join_keys_len(2);
    let secret = SecretKey::generate(ring.rlwe(), seed());
    let _ = ring.join_keys(&secret, 3, seed());
}
