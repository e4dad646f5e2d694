//! The group against plain arithmetic, and what goes wrong when something is changed on the way.

use super::group::{COEFFICIENTS, Q, RHO, reduce};
use super::*;
use crate::testing::fresh_rng;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;

const SESSION: [u8; 32] = [9; 32];

fn element(rng: &mut ChaCha20Rng) -> GroupElement {
    let t = core::array::from_fn(|_| (rng.next_u32() % u32::from(Q)) as u16);
    let mut rho = [0; 32];
    rng.fill_bytes(&mut rho);
    GroupElement { t, rho }
}

/// Twelve bits per coefficient, one bit at a time.
fn encode_slow(element: &GroupElement) -> KeyBytes {
    let mut bytes = [0u8; KEY_BYTES];
    for (i, coefficient) in element.t.iter().enumerate() {
        for bit in 0..12 {
            bytes[(12 * i + bit) / 8] |= ((coefficient >> bit & 1) as u8) << ((12 * i + bit) % 8);
        }
    }
    bytes[RHO..].copy_from_slice(&element.rho);
    bytes
}

#[test]
fn the_group_is_the_plain_one() {
    let mut rng = fresh_rng();
    let (mut a, mut b) = (element(&mut rng), element(&mut rng));
    // The edges of both reductions.
    for (i, (x, y)) in [(0, 0), (0, Q - 1), (Q - 1, 0), (Q - 1, Q - 1), (1, Q - 1)].into_iter().enumerate() {
        (a.t[i], b.t[i]) = (x, y);
    }
    let q = i64::from(Q);
    let (sum, difference) = (a.add(&b), a.subtract(&b));
    for i in 0..COEFFICIENTS {
        let (x, y) = (i64::from(a.t[i]), i64::from(b.t[i]));
        assert_eq!(i64::from(sum.t[i]), (x + y) % q);
        assert_eq!(i64::from(difference.t[i]), (x - y).rem_euclid(q));
    }
    assert!(sum.rho.iter().zip(a.rho).zip(b.rho).all(|((sum, a), b)| *sum == a ^ b));
    assert_eq!(sum.subtract(&b), a);
    assert_eq!(a.encode(), encode_slow(&a));
    assert_eq!(GroupElement::decode(&a.encode()), Some(a.clone()));
    // The crate's own encoding of a key is this one.
    assert_eq!(<[u8; KEY_BYTES]>::from(a.clone().into_key().to_bytes()), a.encode());

    for _ in 0..1000 {
        let value = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
        assert_eq!(u128::from(reduce(value)), value % u128::from(Q));
    }
    assert_eq!(u128::from(reduce(u128::MAX)), u128::MAX % u128::from(Q));
}

/// Masks and drawn elements hit every residue about equally often: χ² with 3328 degrees of freedom has mean
/// 3328 and standard deviation 82.
#[test]
fn streams_are_uniform_in_the_group() {
    let mut rng = fresh_rng();
    let mut counts = vec![0u32; Q as usize];
    let mut ones = 0;
    for index in 0..400 {
        let mask = mask(&SESSION, index, 1, &element(&mut rng).encode());
        mask.t.iter().for_each(|&coefficient| counts[coefficient as usize] += 1);
        ones += mask.rho.iter().map(|byte| byte.count_ones()).sum::<u32>();
    }
    let expected = 400.0 * COEFFICIENTS as f64 / f64::from(Q);
    let chi: f64 = counts.iter().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum();
    assert!((2900.0..3760.0).contains(&chi), "χ² {chi}");
    // 102,400 bits: standard deviation 160.
    assert!((50_400..52_000).contains(&ones), "{ones} ones");
}

#[test]
fn every_part_of_a_mask_counts() {
    let mut rng = fresh_rng();
    let bytes = element(&mut rng).encode();
    let base = mask(&SESSION, 3, 0, &bytes);
    let mut changed = bytes;
    changed[700] ^= 1;
    for other in [
        mask(&[8; 32], 3, 0, &bytes),
        mask(&SESSION, 4, 0, &bytes),
        mask(&SESSION, 3, 1, &bytes),
        mask(&SESSION, 3, 0, &changed),
    ] {
        let same = base.t.iter().zip(other.t).filter(|(a, b)| *a == b).count();
        assert!(same < 12, "{same} coefficients are the same");
        assert_ne!(base.rho, other.rho);
    }
}

/// Choices 0 and 1 draw the same and send what looks the same: uniform keys in both slots.
#[test]
fn replies_look_alike_for_both_choices() {
    let mut rng = fresh_rng();
    for choice in 0..2 {
        let (reply, _) = BaseReceiver::begin(&SESSION, &[choice; 60], &mut rng);
        let (keys, _) = reply.as_chunks::<KEY_BYTES>();
        for slot in 0..2 {
            let mut counts = [0u32; 13];
            for key in keys.iter().skip(slot).step_by(2) {
                let element = GroupElement::decode(key).expect("an honest reply is canonical");
                element.t.iter().for_each(|coefficient| counts[*coefficient as usize / 257] += 1);
            }
            // 46,080 coefficients in 12 classes of 257 residues and one of 245; 12 degrees of freedom.
            let chi: f64 = counts
                .iter()
                .enumerate()
                .map(|(class, &count)| {
                    let share = if class == 12 { 245.0 } else { 257.0 } / f64::from(Q);
                    let expected = 60.0 * COEFFICIENTS as f64 * share;
                    (f64::from(count) - expected).powi(2) / expected
                })
                .sum();
            assert!(chi < 50.0, "choice {choice}, slot {slot}: χ² {chi}");
        }
    }
}

/// The key to the other slot is one that the receiver has no secret to: decapsulating the other ciphertext
/// gives nothing that the sender has.
#[test]
fn the_other_ciphertext_does_not_open() {
    let mut rng = fresh_rng();
    let choices = [0, 1, 1, 0];
    let (reply, receiver) = BaseReceiver::begin(&SESSION, &choices, &mut rng);
    let (mut answer, pairs) = send(&SESSION, 4, &reply, &mut rng).unwrap();
    for transfer in answer.chunks_exact_mut(ANSWER_BYTES) {
        let (zero, one) = transfer.split_at_mut(CIPHERTEXT_BYTES);
        zero.swap_with_slice(one);
    }
    let keys = receiver.finish(&answer).unwrap();
    assert!(keys.iter().all(|key| !pairs.as_flattened().contains(key)));
}

/// One bit changed anywhere, and the key of that transfer is gone while the others stay.
#[test]
fn a_flipped_bit_loses_its_transfer() {
    let mut rng = fresh_rng();
    let choices = [1, 0, 1];
    let agreeing = |flip_reply: Option<usize>, flip_answer: Option<usize>, rng: &mut ChaCha20Rng| {
        let (mut reply, receiver) = BaseReceiver::begin(&SESSION, &choices, rng);
        flip_reply.into_iter().for_each(|bit| reply[bit / 8] ^= 1 << (bit % 8));
        let (mut answer, pairs) = send(&SESSION, 3, &reply, rng).unwrap();
        flip_answer.into_iter().for_each(|bit| answer[bit / 8] ^= 1 << (bit % 8));
        let keys = receiver.finish(&answer).unwrap();
        (0..3).filter(|&i| pairs[i][choices[i] as usize] == keys[i]).collect::<Vec<_>>()
    };
    assert_eq!(agreeing(None, None, &mut rng), [0, 1, 2]);
    // Bits of ρ in both slots of transfer 1: any value is canonical.
    for slot in 0..2 {
        let bit = 8 * (REPLY_BYTES + slot * KEY_BYTES + RHO) + rng.next_u32() as usize % 256;
        assert_eq!(agreeing(Some(bit), None, &mut rng), [0, 2], "slot {slot}");
    }
    // A bit of the ciphertext that transfer 2 opens, and one of the ciphertext that it does not.
    let bit = rng.next_u32() as usize % (8 * CIPHERTEXT_BYTES);
    let start = 8 * 2 * ANSWER_BYTES;
    assert_eq!(agreeing(None, Some(start + 8 * CIPHERTEXT_BYTES + bit), &mut rng), [0, 1]);
    assert_eq!(agreeing(None, Some(start + bit), &mut rng), [0, 1, 2]);
}

#[test]
fn coefficients_above_the_modulus_are_refused() {
    let mut rng = fresh_rng();
    let (reply, _) = BaseReceiver::begin(&SESSION, &[0, 1], &mut rng);
    for (index, coefficient, value) in [(0, 0, Q), (1, 767, Q), (3, 100, 4095)] {
        let mut bad = reply.clone();
        let key = &mut bad[index * KEY_BYTES..][..KEY_BYTES];
        let mut element = GroupElement::decode((&*key).try_into().unwrap()).unwrap();
        element.t[coefficient] = value;
        key.copy_from_slice(&encode_slow(&element));
        assert_eq!(send(&SESSION, 2, &bad, &mut rng).unwrap_err(), SsError::BadPoint { index });
        // The largest coefficient that there is.
        let mut good = reply.clone();
        element.t[coefficient] = Q - 1;
        good[index * KEY_BYTES..][..KEY_BYTES].copy_from_slice(&encode_slow(&element));
        assert!(send(&SESSION, 2, &good, &mut rng).is_ok());
    }
}

#[test]
fn another_session_or_position_gives_other_keys() {
    let mut rng = fresh_rng();
    let (reply, receiver) = BaseReceiver::begin(&SESSION, &[0, 1], &mut rng);
    let (answer, pairs) = send(&[1; 32], 2, &reply, &mut rng).unwrap();
    let keys = receiver.finish(&answer).unwrap();
    assert!(keys.iter().all(|key| !pairs.as_flattened().contains(key)));

    let (reply, receiver) = BaseReceiver::begin(&SESSION, &[0, 1], &mut rng);
    let swapped = [&reply[REPLY_BYTES..], &reply[..REPLY_BYTES]].concat();
    let (answer, pairs) = send(&SESSION, 2, &swapped, &mut rng).unwrap();
    let keys = receiver.finish(&answer).unwrap();
    assert!(keys.iter().all(|key| !pairs.as_flattened().contains(key)));
}
