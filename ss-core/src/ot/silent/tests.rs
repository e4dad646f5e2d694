//! Two-party tests of the silent extension, over byte vectors.

use super::pool::Pool;
use super::receiver::ReceiverSide;
use super::sender::SenderSide;
use super::*;
use crate::error::SsError;
use crate::hash::Prg;
use crate::ot::setup::{ReceiverSetup, SenderSetup};
use crate::ot::softspoken::ExtensionParams;
use crate::testing::{agreeing, assert_fair_bits, fresh_rng};
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;
use sha3::{Digest, Sha3_256};

const SESSION: [u8; 32] = [8; 32];

/// Both ends, with nothing in stock.
fn set_up(log_base: u32, rng: &mut ChaCha20Rng) -> (SilentSender, SilentReceiver) {
    let extension = ExtensionParams::default();
    let (message1, receiver) = ReceiverSetup::begin(&SESSION, extension, rng);
    let (message2, sender) = SenderSetup::begin(&SESSION, extension, rng, &message1).unwrap();
    let (message3, receiver) = receiver.finish(rng, &message2).unwrap();
    let sender = sender.finish(&message3).unwrap();
    let params = SilentParams::with_log_base(log_base).unwrap();
    (SilentSender::new(&SESSION, sender, params), SilentReceiver::new(&SESSION, receiver, params))
}

fn refill(sender: &mut SilentSender, receiver: &mut SilentReceiver) -> (Vec<u8>, Vec<u8>) {
    let request = receiver.refill_begin().unwrap();
    let answer = sender.refill(&request).unwrap();
    receiver.refill_finish(&answer).unwrap();
    (request, answer)
}

/// Both ends after a refill from a base that a dealer made of `seed`: quick, and independent of the set-up.
/// Also the answer, and K, M and Δ of the base.
fn dealt(log_base: u32, seed: u128) -> (SilentSender, SilentReceiver, Dealt) {
    let params = SilentParams::with_log_base(log_base).unwrap();
    let mut stream = Prg::new(seed);
    let delta = stream.next_block() | 1;
    let mut bytes = vec![0u8; 16 * params.base_len()];
    stream.fill(&mut bytes);
    let words: Vec<u128> = bytes.as_chunks().0.iter().map(|cell| u128::from_le_bytes(*cell)).collect();
    // Bit 0 of a word decides the choice.
    let keys: Vec<u128> = words.iter().map(|word| word & !1).collect();
    let blocks: Vec<u128> = words.iter().map(|word| (word & !1) ^ (delta * (word & 1))).collect();

    let mut sender =
        SilentSender { extension: None, pool: Pool::new(&SESSION, params, SenderSide { delta }) };
    let answer = sender.iterate(&keys);
    let side = ReceiverSide { depth: params.depth() };
    let pending = Some(Blocks::copy_of(&blocks));
    let mut receiver = SilentReceiver { extension: None, pending, pool: Pool::new(&SESSION, params, side) };
    receiver.refill_finish(&answer).unwrap();
    (sender, receiver, Dealt { delta, keys, blocks, answer })
}

struct Dealt {
    delta: u128,
    keys: Vec<u128>,
    blocks: Vec<u128>,
    answer: Vec<u8>,
}

#[test]
fn every_transfer_agrees_over_three_iterations() {
    let mut rng = fresh_rng();
    let (mut sender, mut receiver) = set_up(16, &mut rng);
    let params = sender.params();
    for iteration in 0..3 {
        let expected = sender.request_len();
        let (request, answer) = refill(&mut sender, &mut receiver);
        assert_eq!(request.len(), expected);
        let first = params.first_request_len(ExtensionParams::default());
        assert_eq!(request.len(), if iteration == 0 { first } else { 0 });
        assert_eq!(answer.len(), params.answer_len());
        assert_eq!((sender.available(), receiver.available()), (params.usable(), params.usable()));
        let (theirs, mine) =
            (sender.take(params.usable()).unwrap(), receiver.take_random(params.usable()).unwrap());
        assert_eq!(agreeing(&theirs, &mine), params.usable(), "iteration {iteration}");
        assert_eq!((sender.available(), receiver.available()), (0, 0));
    }
}

/// The correlation in all 128 bits, before the hash, and the receiver's bit in the lowest.
#[test]
fn the_next_base_is_correlated() {
    for (log_base, seed) in [(16, 5), (17, 6)] {
        let (sender, receiver, dealt) = dealt(log_base, seed);
        let (keys, blocks) = (sender.pool.next_base().unwrap(), receiver.pool.next_base().unwrap());
        assert!(keys.len() >= sender.params().base_len());
        let mut ones = 0;
        for (key, block) in keys.iter().zip(blocks.iter()) {
            assert_eq!(key & 1, 0);
            assert_eq!(*block, key ^ (dealt.delta * (block & 1)));
            ones += (block & 1) as usize;
        }
        // Five standard deviations of a fair coin.
        assert!((ones as f64 - keys.len() as f64 / 2.0).abs() < 2.5 * (keys.len() as f64).sqrt());
    }
}

/// Outputs by the formulas of the papers, one at a time, from the base: walks, single AES calls, sums.
#[test]
fn outputs_match_the_slow_twin() {
    let (mut sender, mut receiver, dealt) = dealt(16, 11);
    let params = sender.params();
    let (depth, k) = (params.depth(), params.base_rows());
    let session = Sha3_256::new().chain_update(b"hushnet/silent/v1").chain_update(SESSION);
    let session: [u8; 32] = session.chain_update(16u32.to_le_bytes()).finalize().into();
    let keys = Sha3_256::new().chain_update(b"hushnet/silent-iteration/v1").chain_update(session);
    let keys = keys.chain_update(0u64.to_le_bytes()).finalize();
    let aes = |key: &[u8], x: u128| {
        let mut block = aes::Block::from(x.to_le_bytes());
        aes::Aes128::new_from_slice(key).unwrap().encrypt_block(&mut block);
        u128::from_le_bytes(block.0)
    };
    let whole = Sha3_256::new().chain_update(b"hushnet/tweaked-hash/v1").chain_update(session).finalize();
    let pad = |x: u128, i: u128| {
        // Every tree has a key of its own.
        let part = Sha3_256::new().chain_update(b"hushnet/tweaked-hash-part/v1").chain_update(&whole[16..]);
        let part = part.chain_update((i as u64 >> depth).to_le_bytes()).finalize();
        let image = aes(&part[..16], x);
        aes(&part[..16], image ^ i) ^ image
    };
    let count = 70 << depth;
    let (theirs, mine) = (sender.take(count).unwrap(), receiver.take_random(count).unwrap());
    for j in (0..count).step_by(997).chain([0, 1, 1023, 1024, count - 1]) {
        let (tree, leaf) = (j >> depth, j & ((1 << depth) - 1));
        let tree_keys = k + tree * depth..k + (tree + 1) * depth;
        let mut node = dealt.keys[tree_keys.start] ^ (dealt.delta * (leaf as u128 & 1));
        for turn in 1..depth {
            let sigma = ((node >> 64) ^ node) << 64 | node >> 64;
            let child = aes(&keys[..16], sigma) ^ sigma;
            node = if leaf >> turn & 1 == 1 { node ^ child } else { child };
        }
        let places: Vec<usize> = [0u128, 1]
            .map(|half| aes(&keys[16..], 2 * j as u128 + half))
            .iter()
            .flat_map(|block| [0, 21, 42, 64, 85].map(|bit| (block >> bit) as usize % k))
            .collect();
        let key = places.iter().fold(node & !1, |sum, &place| sum ^ dealt.keys[place]);
        assert_eq!(theirs.pairs()[j], [pad(key, j as u128), pad(key ^ dealt.delta, j as u128)], "output {j}");
        // The choice: noise at the leaf that no choice bit of the tree's keys turns away from.
        let noise = tree_keys.enumerate().all(|(i, key)| {
            let turned_away = dealt.blocks[key] & 1;
            (leaf >> i) as u128 & 1 == 1 - turned_away
        });
        let choice = places.iter().fold(u128::from(noise), |sum, &place| sum ^ (dealt.blocks[place] & 1));
        assert_eq!(u128::from(mine.choices()[j]), choice, "output {j}");
    }
    assert_eq!(agreeing(&theirs, &mine), count);
}

/// The same transfers come out however they are taken, over borders of trees and of iterations.
#[test]
fn sizes_of_takes_do_not_matter() {
    let (mut sender, mut receiver, _) = dealt(16, 12);
    let usable = sender.params().usable();
    refill(&mut sender, &mut receiver);
    assert_eq!((sender.available(), receiver.available()), (2 * usable, 2 * usable));
    let (all, _) = (sender.take(2 * usable).unwrap().into_pairs(), ());

    let (mut sender, mut receiver, _) = dealt(16, 12);
    refill(&mut sender, &mut receiver);
    let mut start = 0;
    let sizes = [0, 1, 1022, 1, 1023, 1024, 1025, 0, 2047, 3, 4096, 100_000, 690_000, 5, 1, 0];
    for count in sizes.into_iter().chain([2 * usable - sizes.iter().sum::<usize>()]) {
        let (theirs, mine) = (sender.take(count).unwrap(), receiver.take_random(count).unwrap());
        assert_eq!(theirs.pairs(), &all[start..start + count], "{count} from {start}");
        assert_eq!(agreeing(&theirs, &mine), count, "{count} from {start}");
        start += count;
        assert_eq!((sender.available(), receiver.available()), (2 * usable - start, 2 * usable - start));
    }
    assert_eq!(start, 2 * usable);
}

#[test]
fn the_number_of_threads_does_not_matter() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let (mut sender, mut receiver, dealt) = dealt(16, 13);
            let (theirs, mine) = (sender.take(9000).unwrap(), receiver.take_random(9000).unwrap());
            (dealt.answer, theirs.into_pairs(), mine.into_parts())
        })
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn chosen_transfers_have_the_choices() {
    let mut rng = fresh_rng();
    let (mut sender, mut receiver, _) = dealt(16, 14);
    for count in [0usize, 1, 7, 8, 9, 1023, 1024, 1025, 5000] {
        let choices: Vec<u8> = (0..count).map(|_| rng.next_u32() as u8 & 1).collect();
        let (flips, mine) = receiver.take_chosen(&choices).unwrap();
        assert_eq!(flips.len(), count.div_ceil(8));
        let theirs = sender.take_chosen(count, &flips).unwrap();
        assert_eq!(mine.choices(), choices);
        assert_eq!(agreeing(&theirs, &mine), count);
    }
    // With all choices zero the flips are the random choices, and must be fair: five standard deviations.
    let (flips, _) = receiver.take_chosen(&vec![0; 80_000]).unwrap();
    let ones: u32 = flips.iter().map(|byte| byte.count_ones()).sum();
    assert!(ones.abs_diff(40_000) < 708, "{ones} of 80000 flips are 1");
}

#[test]
fn a_flipped_flip_gives_the_other_pad() {
    let (mut sender, mut receiver, _) = dealt(16, 15);
    let (mut flips, mine) = receiver.take_chosen(&[1; 100]).unwrap();
    flips[5] ^= 4;
    let theirs = sender.take_chosen(100, &flips).unwrap();
    assert_eq!(agreeing(&theirs, &mine), 99);
    assert_eq!(theirs.pairs()[42][0], mine.pads()[42]);
}

#[test]
fn pads_and_choices_look_uniform() {
    let mut rng = fresh_rng();
    let (mut sender, mut receiver) = set_up(16, &mut rng);
    let (_, answer) = refill(&mut sender, &mut receiver);
    let count = 200_000;
    let (theirs, mine) = (sender.take(count).unwrap(), receiver.take_random(count).unwrap());
    let pairs = theirs.pairs();
    let seen: std::collections::HashSet<u128> = pairs.iter().flatten().copied().collect();
    assert_eq!(seen.len(), 2 * count, "a pad came twice");
    let cells = answer.as_chunks().0.iter().map(|cell| u128::from_le_bytes(*cell)).collect::<Vec<_>>();
    for words in [
        pairs.iter().map(|pair| pair[0]).collect(),
        pairs.iter().map(|pair| pair[0] ^ pair[1]).collect(),
        mine.pads().to_vec(),
        cells,
    ] {
        assert_fair_bits(&words);
    }
    // Choices, and their sums at distances that tree, code or batch could betray: five standard deviations.
    for distance in [0, 1, 2, 64, 1024] {
        let sum = |j: usize| if distance == 0 { 0 } else { mine.choices()[j - distance] };
        let ones = (distance..count).filter(|&j| mine.choices()[j] ^ sum(j) == 1).count();
        let (ones, count) = (ones as f64, (count - distance) as f64);
        assert!((ones - count / 2.0).abs() < 2.5 * count.sqrt(), "{ones} of {count} at {distance}");
    }
}

#[test]
fn wrong_messages_and_wrong_order_are_refused_and_change_nothing() {
    let mut rng = fresh_rng();
    let (mut sender, mut receiver) = set_up(16, &mut rng);
    assert!(matches!(sender.take(1), Err(SsError::Exhausted { wanted: 1, left: 0, .. })));
    assert!(matches!(receiver.refill_finish(&[]), Err(SsError::OutOfOrder { .. })));
    let request = receiver.refill_begin().unwrap();
    assert!(matches!(receiver.refill_begin(), Err(SsError::OutOfOrder { .. })));
    assert!(matches!(sender.refill(&[]), Err(SsError::WrongLength { .. })));
    assert!(matches!(sender.refill(&request[1..]), Err(SsError::WrongLength { .. })));
    let answer = sender.refill(&request).unwrap();
    assert!(matches!(receiver.refill_finish(&answer[16..]), Err(SsError::WrongLength { .. })));
    receiver.refill_finish(&answer).unwrap();
    assert!(matches!(receiver.refill_finish(&answer), Err(SsError::OutOfOrder { .. })));
    assert!(matches!(sender.refill(&request), Err(SsError::WrongLength { expected: 0, .. })));

    let usable = sender.params().usable();
    let exhausted = SsError::Exhausted { what: "silent transfers", wanted: usable + 1, left: usable };
    assert_eq!(sender.take(usable + 1).unwrap_err(), exhausted);
    assert_eq!(receiver.take_random(usable + 1).unwrap_err(), exhausted);
    assert_eq!(receiver.take_chosen(&vec![0; usable + 1]).unwrap_err(), exhausted);
    assert!(matches!(receiver.take_chosen(&[2]), Err(SsError::BadValue { .. })));
    assert!(matches!(sender.take_chosen(9, &[0]), Err(SsError::WrongLength { expected: 2, got: 1, .. })));
    assert!(matches!(sender.take_chosen(9, &[0, 2]), Err(SsError::BadValue { .. })));
    let (theirs, mine) = (sender.take(5000).unwrap(), receiver.take_random(5000).unwrap());
    assert_eq!(agreeing(&theirs, &mine), 5000);
}

/// The first request proves its base: a bit changed in rows, mask or proof ends the sender, and gives nothing out.
#[test]
fn an_inconsistent_base_ends_the_sender() {
    let mut rng = fresh_rng();
    let (sender, mut receiver) = set_up(16, &mut rng);
    let length = receiver.refill_begin().unwrap().len();
    assert_eq!(length, sender.request_len());
    for place in [rng.next_u64() as usize % (length - 288), length - 100, length - 40, length - 1] {
        let (mut sender, mut receiver) = set_up(16, &mut rng);
        let mut request = receiver.refill_begin().unwrap();
        // The highest bit of a byte may be an unused one, which is refused with another error; the lowest never is.
        request[place] ^= 1;
        assert_eq!(sender.refill(&request), Err(SsError::Inconsistent), "byte {place} of {length}");
        request[place] ^= 1;
        assert_eq!(sender.refill(&request), Err(SsError::Inconsistent), "and stays so");
        assert_eq!(sender.available(), 0);
    }
}

/// An extension whose check failed makes no silent sender that gives anything out.
#[test]
fn a_failed_extension_gives_nothing() {
    let mut rng = fresh_rng();
    let (mut sender, mut receiver) = set_up(16, &mut rng);
    let mut extension = sender.extension.take().unwrap();
    let proof = vec![7; extension.params().proof_len()];
    assert_eq!(extension.verify(&proof), Err(SsError::Inconsistent));
    let mut sender = SilentSender::new(&SESSION, extension, sender.params());
    let request = receiver.refill_begin().unwrap();
    assert_eq!(sender.refill(&request), Err(SsError::Inconsistent));
    assert!(matches!(sender.take(1), Err(SsError::Exhausted { left: 0, .. })));
}

/// One wrong bit in the answer spoils a subtree and its sibling's leaf sums; everything else agrees still.
#[test]
fn a_flipped_bit_of_the_answer_breaks_the_agreement() {
    for (tree, level) in [(0, 2), (1, 10), (3, 6)] {
        let (mut sender, _, dealt) = dealt(16, 16);
        let params = sender.params();
        let mut answer = dealt.answer;
        answer[16 * (tree * (params.depth() - 1) + level - 2) + 3] ^= 1;
        let side = ReceiverSide { depth: params.depth() };
        let pending = Some(Blocks::copy_of(&dealt.blocks));
        let pool = Pool::new(&SESSION, params, side);
        let mut receiver = SilentReceiver { extension: None, pending, pool };
        receiver.refill_finish(&answer).unwrap();
        for at in 0..4 {
            let (theirs, mine) = (sender.take(1024).unwrap(), receiver.take_random(1024).unwrap());
            let wrong = 1024 - agreeing(&theirs, &mine);
            if at == tree {
                // The sibling's 2^(10 − level) leaves at least, and the leaf of the path.
                assert!(wrong > 1 << (params.depth() - level), "{wrong} wrong at level {level}");
            } else {
                assert_eq!(wrong, 0);
            }
        }
    }
}

/// A sender with one wrong bit in its secret, or parties of different sessions, lose their transfers.
#[test]
fn another_secret_or_session_breaks_the_agreement() {
    let (mut sender, mut receiver, _) = dealt(16, 17);
    sender.pool.side.delta ^= 1 << 77;
    let (theirs, mine) = (sender.take(2000).unwrap(), receiver.take_random(2000).unwrap());
    // What is left: choice zero, and a leaf below the root itself and not below its sum with the secret.
    let good = agreeing(&theirs, &mine);
    assert!((380..620).contains(&good), "{good} of 2000 agree");

    let (mut sender, _, dealt) = dealt(16, 17);
    let side = ReceiverSide { depth: sender.params().depth() };
    let pool = Pool::new(&[9; 32], sender.params(), side);
    let pending = Some(Blocks::copy_of(&dealt.blocks));
    let mut receiver = SilentReceiver { extension: None, pending, pool };
    receiver.refill_finish(&dealt.answer).unwrap();
    let (theirs, mine) = (sender.take(2000).unwrap(), receiver.take_random(2000).unwrap());
    assert_eq!(agreeing(&theirs, &mine), 0);
}

/// Answer, pads and choices of a fixed base: a change of the wire or of the derivation shows here.
#[test]
fn known_answer() {
    let (mut sender, mut receiver, dealt) = dealt(16, 18);
    let (theirs, mine) = (sender.take(3000).unwrap(), receiver.take_random(3000).unwrap());
    let mut digest = Sha3_256::new().chain_update(&dealt.answer).chain_update(mine.choices());
    for pair in theirs.pairs() {
        digest.update(pair[0].to_le_bytes());
        digest.update(pair[1].to_le_bytes());
    }
    let digest: [u8; 32] = digest.finalize().into();
    assert_eq!(digest[..8], [9, 127, 253, 200, 240, 56, 140, 148]);
}

#[test]
fn nothing_secret_is_printed() {
    let (sender, receiver, _) = dealt(16, 19);
    let inner = "(SilentParams { trees: 850, log_base: 16, depth: 10 }, 795648 transfers, secret)";
    assert_eq!(format!("{sender:?}"), format!("SilentSender{inner}"));
    assert_eq!(format!("{receiver:?}"), format!("SilentReceiver{inner}"));
}

#[test]
#[ignore = "prints times; run alone, optimised"]
fn time() {
    let mut rng = fresh_rng();
    for log_base in 16..=19 {
        let (mut sender, mut receiver) = set_up(log_base, &mut rng);
        let params = sender.params();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        pool.install(|| {
            let mut parts = Vec::new();
            for _ in 0..2 {
                let start = std::time::Instant::now();
                let request = receiver.refill_begin().unwrap();
                let t1 = start.elapsed();
                let answer = sender.refill(&request).unwrap();
                let t2 = start.elapsed() - t1;
                receiver.refill_finish(&answer).unwrap();
                let t3 = start.elapsed() - t1 - t2;
                parts.push([t1, t2, t3]);
                let (mut take_sender, mut take_receiver) = ([0.0; 2], 0.0);
                let count = 1 << 18;
                let rounds = params.usable() / count;
                for _ in 0..rounds {
                    let start = std::time::Instant::now();
                    let theirs = sender.take(count).unwrap();
                    take_sender[0] += start.elapsed().as_secs_f64();
                    let start = std::time::Instant::now();
                    let mine = receiver.take_random(count).unwrap();
                    take_receiver += start.elapsed().as_secs_f64();
                    let start = std::time::Instant::now();
                    assert_eq!(agreeing(&theirs, &mine), count);
                    take_sender[1] += start.elapsed().as_secs_f64();
                }
                let per = 1e9 / (rounds * count) as f64;
                println!(
                    "{params:?}: request {t1:?}, answer {t2:?}, finish {t3:?}; sender {:.1} ns, receiver {:.1} ns",
                    take_sender[0] * per,
                    take_receiver * per
                );
                let left = sender.available();
                drop((sender.take(left).unwrap(), receiver.take_random(left).unwrap()));
            }
        });
    }
}
