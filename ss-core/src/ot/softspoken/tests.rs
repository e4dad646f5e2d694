//! Two-party tests of the extension, over byte vectors.

use super::*;
use crate::ot::setup::{ReceiverSetup, SenderSetup};
use crate::testing::{agreeing, assert_fair_bits, fresh_rng};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

fn set_up(field_bits: u32, rng: &mut ChaCha20Rng) -> (ExtensionSender, ExtensionReceiver) {
    let params = ExtensionParams::new(field_bits).unwrap();
    let (message1, receiver) = ReceiverSetup::begin(&[8; 32], params, rng);
    let (message2, sender) = SenderSetup::begin(&[8; 32], params, rng, &message1).unwrap();
    let (message3, receiver) = receiver.finish(rng, &message2).unwrap();
    (sender.finish(&message3).unwrap(), receiver)
}

fn random_choices(count: usize, rng: &mut ChaCha20Rng) -> Vec<u8> {
    (0..count).map(|_| rng.next_u32() as u8 & 1).collect()
}

#[test]
fn all_sizes_and_fields_agree_over_many_calls() {
    let mut rng = fresh_rng();
    for field_bits in [1, 2, 4, 8] {
        let (mut sender, mut receiver) = set_up(field_bits, &mut rng);
        let mut seen = std::collections::HashSet::new();
        for count in [0, 1, 127, 128, 129, 8191, 8192, 8193, 20_000, 5] {
            let choices = random_choices(count, &mut rng);
            let (message, mine) = receiver.extend(&choices).unwrap();
            assert_eq!(message.len(), sender.params().message_len(count).unwrap());
            let theirs = sender.extend(count, &message).unwrap();
            assert_eq!(mine.choices(), choices);
            assert_eq!(agreeing(&theirs, &mine), count, "f {field_bits}, {count} chosen");

            let (message, random) = receiver.extend_random(count).unwrap();
            assert_eq!(message.len(), sender.params().random_message_len(count).unwrap());
            let other = sender.extend_random(count, &message).unwrap();
            assert_eq!(agreeing(&other, &random), count, "f {field_bits}, {count} random");
            // Fresh output each time: no pad ever comes twice.
            for pad in theirs.pairs().iter().chain(other.pairs()).flatten() {
                assert!(seen.insert(*pad), "f {field_bits}, {count}: a pad came twice");
            }
        }
    }
}

#[test]
fn message_lengths_are_as_documented() {
    for (field_bits, chosen, random) in [(1, 128, 127), (2, 64, 63), (4, 32, 31), (8, 16, 15)] {
        let params = ExtensionParams::new(field_bits).unwrap();
        assert_eq!(params.message_len(8192).unwrap(), 1024 * chosen);
        assert_eq!(params.random_message_len(8193).unwrap(), 1025 * random);
        assert_eq!(params.message_len(0).unwrap(), 0);
    }
    assert!(ExtensionParams::default().message_len(MAX_BATCH + 1).is_err());
    for field_bits in [0, 3, 5, 16] {
        assert!(ExtensionParams::new(field_bits).is_err());
    }
}

#[test]
fn bytes_do_not_depend_on_the_number_of_threads() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut rng = ChaCha20Rng::from_seed([6; 32]);
            let (mut sender, mut receiver) = set_up(4, &mut rng);
            let (message, mine) = receiver.extend_random(30_000).unwrap();
            let theirs = sender.extend_random(30_000, &message).unwrap();
            (message, mine.into_parts(), theirs.into_pairs())
        })
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn wrong_messages_are_refused_and_change_nothing() {
    let mut rng = fresh_rng();
    let (mut sender, mut receiver) = set_up(8, &mut rng);
    let count = 8192 + 13;
    let (message, mine) = receiver.extend_random(count).unwrap();
    assert!(matches!(sender.extend_random(count, &message[1..]), Err(SsError::WrongLength { .. })));
    assert!(matches!(sender.extend_random(count + 8, &message), Err(SsError::WrongLength { .. })));
    assert!(matches!(sender.extend(count, &message), Err(SsError::WrongLength { .. })));
    assert!(matches!(sender.extend(MAX_BATCH + 1, &message), Err(SsError::TooLarge { .. })));
    for (row, bit) in [(0, 5), (7, 6), (14, 7)] {
        let mut bad = message.clone();
        bad[15 * 1024 + 2 * row + 1] |= 1 << bit;
        assert!(
            matches!(sender.extend_random(count, &bad), Err(SsError::BadValue { .. })),
            "row {row}, bit {bit}"
        );
    }
    assert_eq!(agreeing(&sender.extend_random(count, &message).unwrap(), &mine), count);
    assert!(matches!(receiver.extend(&[0, 1, 2]), Err(SsError::BadValue { .. })));
}

/// A receiver that flips a bit of every row of one transfer gets the other pad: the check of the other tests
/// would notice.
#[test]
fn a_flipped_choice_breaks_the_agreement() {
    let mut rng = fresh_rng();
    for field_bits in [1, 2, 4, 8] {
        let (mut sender, mut receiver) = set_up(field_bits, &mut rng);
        let (mut message, mine) = receiver.extend(&random_choices(300, &mut rng)).unwrap();
        for row in message.chunks_exact_mut(bytes_for_bits(300)) {
            row[77 / 8] ^= 1 << (77 % 8);
        }
        let theirs = sender.extend(300, &message).unwrap();
        assert_eq!(agreeing(&theirs, &mine), 299);
        assert_eq!(theirs.pairs()[77][1 - mine.choices()[77] as usize], mine.pads()[77]);
    }
}

/// A bit flipped in one row only spoils both pads, wherever the sender's secret is not zero in that row.
#[test]
fn a_flipped_bit_of_one_row_breaks_the_agreement() {
    let mut rng = fresh_rng();
    let (mut sender, mut receiver) = set_up(8, &mut rng);
    let tree = (0..16).find(|tree| sender.delta >> (8 * tree) & 255 != 0).unwrap();
    let (mut message, mine) = receiver.extend(&[0; 100]).unwrap();
    message[tree * 13 + 5] ^= 2;
    let theirs = sender.extend(100, &message).unwrap();
    assert_eq!(agreeing(&theirs, &mine), 99);
    assert!(!theirs.pairs()[41].contains(&mine.pads()[41]));
}

/// A sender with one wrong bit in its secret loses the transfers that the bit matters for.
#[test]
fn a_wrong_secret_breaks_the_agreement() {
    let mut rng = fresh_rng();
    for bit in [0, 63, 64, 127] {
        let (mut sender, mut receiver) = set_up(8, &mut rng);
        sender.delta ^= 1 << bit;
        let (message, mine) = receiver.extend_random(1000).unwrap();
        let theirs = sender.extend_random(1000, &message).unwrap();
        let good = agreeing(&theirs, &mine);
        assert!((380..620).contains(&good), "{good} of 1000 agree, bit {bit}");
    }
}

/// Parties that disagree on session or parameters share nothing.
#[test]
fn another_session_breaks_the_agreement() {
    let mut rng = fresh_rng();
    let params = ExtensionParams::default();
    let (message1, receiver) = ReceiverSetup::begin(&[1; 32], params, &mut rng);
    let (message2, sender) = SenderSetup::begin(&[2; 32], params, &mut rng, &message1).unwrap();
    let (message3, mut receiver) = receiver.finish(&mut rng, &message2).unwrap();
    let mut sender = sender.finish(&message3).unwrap();
    let (message, mine) = receiver.extend_random(500).unwrap();
    assert_eq!(agreeing(&sender.extend_random(500, &message).unwrap(), &mine), 0);
}

/// Every bit position of pads, of both pads' sum and of message rows is set about half the time, and choices
/// are fair.
#[test]
fn pads_choices_and_messages_look_uniform() {
    let mut rng = fresh_rng();
    let count = 20_000;
    let (mut sender, mut receiver) = set_up(8, &mut rng);
    let (message, mine) = receiver.extend_random(count).unwrap();
    let theirs = sender.extend_random(count, &message).unwrap();
    let zeros: Vec<u128> = theirs.pairs().iter().map(|pair| pair[0]).collect();
    let sums: Vec<u128> = theirs.pairs().iter().map(|pair| pair[0] ^ pair[1]).collect();
    for words in [&zeros, &sums, &mine.pads().to_vec()] {
        assert_fair_bits(words);
    }
    // All choices zero: the message is bare stream, and must still show nothing.
    let (message, _) = receiver.extend(&vec![0; count]).unwrap();
    let words: Vec<u128> = message.as_chunks::<16>().0.iter().map(|b| u128::from_le_bytes(*b)).collect();
    assert_fair_bits(&words);
    let ones: usize = mine.choices().iter().map(|&choice| choice as usize).sum();
    // Five standard deviations of a fair coin.
    assert!(ones.abs_diff(count / 2) < 354, "{ones} of {count} choices are 1");
}

#[test]
fn nothing_secret_is_printed() {
    let (sender, receiver) = set_up(2, &mut ChaCha20Rng::from_seed([1; 32]));
    for text in [format!("{sender:?}"), format!("{receiver:?}")] {
        assert!(text.ends_with("(ExtensionParams { field_bits: 2 }, 0 blocks used, secret)"), "{text}");
    }
}
