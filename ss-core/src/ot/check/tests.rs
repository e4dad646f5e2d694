//! Tests of the check by itself, on dealt rows with planted errors, and between two parties.

use super::*;
use crate::error::SsError;
use crate::gf128::mul;
use crate::ot::setup::{ReceiverSetup, SenderSetup};
use crate::ot::{ExtensionParams, ExtensionReceiver, ExtensionSender};
use crate::testing::fresh_rng;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

fn random_word(rng: &mut ChaCha20Rng) -> u128 {
    u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64())
}

/// One chunk as both parties see it.
struct Chunk {
    rows: Vec<Row>,
    choices: Vec<[u8; 16]>,
    /// What the receiver adds to the choices of each row.
    errors: Vec<Row>,
    message: Vec<u8>,
}

impl Chunk {
    fn deal(blocks: usize, rng: &mut ChaCha20Rng) -> Self {
        let mut rows = vec![Row::ZERO; ROWS];
        for row in &mut rows {
            rng.fill_bytes(row.bytes_mut(blocks));
        }
        let choices = (0..blocks).map(|_| random_word(rng).to_le_bytes()).collect();
        let mut message = vec![0; 50];
        rng.fill_bytes(&mut message);
        Self { rows, choices, errors: vec![Row::ZERO; ROWS], message }
    }

    /// Plants an error; a cheating receiver's message shows it, and both parties digest that.
    fn plant(&mut self, row: usize, block: usize, bit: usize) {
        self.errors[row].0[block][bit / 8] ^= 1 << (bit % 8);
        self.message.extend_from_slice(&[row as u8, block as u8, bit as u8]);
    }

    /// q = v ⊕ Δ·(x ⊕ e).
    fn of_sender(&self, delta: u128) -> Vec<Row> {
        let mut rows = self.rows.clone();
        for (r, row) in rows.iter_mut().enumerate().filter(|(r, _)| delta >> r & 1 == 1) {
            for (b, choices) in self.choices.iter().enumerate() {
                let bytes = row.0[b].iter_mut().zip(choices).zip(&self.errors[r].0[b]);
                for ((byte, choices), error) in bytes {
                    *byte ^= choices ^ error;
                }
            }
        }
        rows
    }
}

/// The check of both parties over the same chunks, as messages of some number of chunks.
fn run(messages: &[&[Chunk]], delta: u128) -> (Check, Check) {
    let (mut receiver, mut sender) = (Check::new(&[3; 16]), Check::new(&[3; 16]));
    for (m, chunks) in messages.iter().enumerate() {
        let digest = |c: usize, chunk: &Chunk| Check::digest(1, (100 * m + c) as u64, 7, &chunk.message);
        let sum = |rows: &dyn Fn(&Chunk) -> Vec<Row>, choices: bool| -> Vec<ChunkCheck> {
            let chunks = chunks.iter().enumerate();
            chunks
                .map(|(c, chunk)| {
                    let blocks = chunk.choices.len();
                    let choices = if choices { &chunk.choices[..] } else { &[] };
                    ChunkCheck::sum(digest(c, chunk), &rows(chunk), blocks, choices)
                })
                .collect()
        };
        receiver.add_message(&mut sum(&|chunk| chunk.rows.clone(), true));
        sender.add_message(&mut sum(&|chunk| chunk.of_sender(delta), false));
    }
    (receiver, sender)
}

fn passes(messages: &[&[Chunk]], delta: u128) -> bool {
    let (mut receiver, mut sender) = run(messages, delta);
    sender.verify(delta, &receiver.prove())
}

fn deal_some(rng: &mut ChaCha20Rng) -> [Vec<Chunk>; 2] {
    [vec![Chunk::deal(64, rng), Chunk::deal(3, rng)], vec![Chunk::deal(5, rng)]]
}

#[test]
fn sums_match_the_definition() {
    let mut rng = fresh_rng();
    let [first, second] = deal_some(&mut rng);
    let (receiver, _) = run(&[&first, &second], 0);
    // Weights over again, as the module's text has them.
    let mut chain: [u8; 32] =
        Sha3_256::new().chain_update(b"hushnet/softspoken/check/v1").chain_update([3; 16]).finalize().into();
    let mut sums = [0u128; ROWS + 1];
    for (m, chunks) in [&first, &second].into_iter().enumerate() {
        let digests: Vec<[u8; 32]> = (0..chunks.len())
            .map(|c| Check::digest(1, (100 * m + c) as u64, 7, &chunks[c].message))
            .collect();
        chain = Sha3_256::new()
            .chain_update(b"hushnet/softspoken/message/v1")
            .chain_update(chain)
            .chain_update(digests.concat())
            .finalize()
            .into();
        let mut psi = Prg::new(first_word(&chain));
        for (chunk, digest) in chunks.iter().zip(&digests) {
            let (psi, mut chi) = (psi.next_block(), Prg::new(first_word(digest)));
            for b in 0..chunk.choices.len() {
                let weight = mul(psi, chi.next_block());
                for (sum, row) in sums.iter_mut().zip(&chunk.rows) {
                    *sum ^= mul(weight, u128::from_le_bytes(row.0[b]));
                }
                sums[ROWS] ^= mul(weight, u128::from_le_bytes(chunk.choices[b]));
            }
        }
    }
    assert_eq!(*receiver.sums, sums);
    assert_eq!(receiver.chain, chain);
}

#[test]
fn honest_rows_pass_and_any_changed_proof_fails() {
    let mut rng = fresh_rng();
    let delta = random_word(&mut rng);
    let [first, second] = deal_some(&mut rng);
    assert!(passes(&[&first, &second], delta));
    assert!(passes(&[&second], delta));
    assert!(passes(&[], delta));
    for byte in 0..PROOF_BYTES {
        let (mut receiver, mut sender) = run(&[&first, &second], delta);
        let mut proof = receiver.prove();
        proof[byte] ^= 1 << (byte % 8);
        assert!(!sender.verify(delta, &proof), "byte {byte}");
    }
    // Two wrong parties: another secret, and messages in another order.
    let (mut receiver, mut sender) = run(&[&first, &second], delta);
    assert!(!sender.verify(delta ^ 1 << 77, &receiver.prove()));
    let (mut receiver, _) = run(&[&first, &second], delta);
    let (_, mut sender) = run(&[&second, &first], delta);
    assert!(!sender.verify(delta, &receiver.prove()));
}

/// A planted bit is caught exactly where the secret makes it matter.
#[test]
fn one_wrong_bit_of_one_row_is_caught() {
    let mut rng = fresh_rng();
    for row in (0..ROWS).step_by(9) {
        let delta = random_word(&mut rng);
        let [mut first, second] = deal_some(&mut rng);
        first[row % 2].plant(row, row % 3, (5 * row) % 128);
        assert!(!passes(&[&first, &second], delta | 1 << row), "row {row}");
        assert!(passes(&[&first, &second], delta & !(1 << row)), "row {row}, where it changes nothing");
    }
}

/// Errors that cancel in a plain sum over blocks, chunks or messages do not cancel under the weights.
#[test]
fn errors_do_not_cancel() {
    let mut rng = fresh_rng();
    for [a, b] in [[(0, 0, 5), (0, 0, 6)], [(0, 0, 1), (0, 1, 1)], [(0, 0, 2), (1, 0, 2)]] {
        let mut messages = deal_some(&mut rng);
        for (message, chunk, block) in [a, b] {
            messages[message][chunk].plant(40, block, 99);
        }
        // The fault is a real one: rows differ from what the choices say, at two places.
        let wrong = |chunk: &Chunk| {
            let errors = chunk.errors.iter().flat_map(|row| row.bytes(64));
            errors.map(|byte| byte.count_ones()).sum::<u32>()
        };
        assert_eq!(messages.iter().flatten().map(wrong).sum::<u32>(), 2);
        let [first, second] = &messages;
        assert!(!passes(&[first, second], random_word(&mut rng) | 1 << 40), "{a:?} and {b:?}");
    }
}

/// Other choices in half of the rows: no one vector of choices explains all rows.
#[test]
fn two_vectors_of_choices_are_caught() {
    let mut rng = fresh_rng();
    let [mut first, second] = deal_some(&mut rng);
    for row in 64..ROWS {
        first[0].plant(row, 17, 3);
    }
    assert!(!passes(&[&first, &second], random_word(&mut rng)));
    // The same change in all rows is nothing but another choice, which the receiver takes into its proof.
    let mut all = Chunk::deal(4, &mut rng);
    for row in 0..ROWS {
        all.plant(row, 2, 3);
    }
    all.choices[2][0] ^= 8;
    all.errors = vec![Row::ZERO; ROWS];
    assert!(passes(&[&[all]], random_word(&mut rng)));
}

/// The known limit: a receiver that guesses the bit of Δ that its error meets, and says what it should, passes;
/// with the wrong guess it fails. One bit, one chance in two.
#[test]
fn a_guess_is_right_or_caught() {
    let mut rng = fresh_rng();
    for (truth, guess) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let delta = random_word(&mut rng) & !(1 << 30) | truth << 30;
        let mut chunk = Chunk::deal(8, &mut rng);
        chunk.plant(30, 7, 127);
        let chunks = [chunk];
        let (mut receiver, mut sender) = run(&[&chunks], delta);
        // Where the bit is set, the sender's sum has the error in it: the receiver puts it into its own as well.
        if guess == 1 {
            let mut chi = Prg::new(first_word(&Check::digest(1, 0, 7, &chunks[0].message)));
            let chi = (0..8).map(|_| chi.next_block()).last().unwrap();
            let psi = Prg::new(first_word(&receiver.chain)).next_block();
            receiver.sums[30] ^= mul(mul(psi, chi), 1 << 127);
        }
        assert_eq!(sender.verify(delta, &receiver.prove()), truth == guess, "bit {truth}, guess {guess}");
    }
}

fn set_up(field_bits: u32, rng: &mut ChaCha20Rng) -> (ExtensionSender, ExtensionReceiver) {
    let params = ExtensionParams::new(field_bits).unwrap();
    let (message1, receiver) = ReceiverSetup::begin(&[9; 32], params, rng);
    let (message2, sender) = SenderSetup::begin(&[9; 32], params, rng, &message1).unwrap();
    let (message3, receiver) = receiver.finish(rng, &message2).unwrap();
    (sender.finish(&message3).unwrap(), receiver)
}

/// Transfers where the receiver's pad is the sender's pad of its choice.
fn agreeing(sender: &crate::ot::RotSender, receiver: &crate::ot::RotReceiver) -> Vec<bool> {
    let ends = sender.pairs().iter().zip(receiver.choices()).zip(receiver.pads());
    ends.map(|((pair, &choice), &pad)| pair[choice as usize] == pad).collect()
}

#[test]
fn honest_parties_pass_with_every_length_form_and_field() {
    let mut rng = fresh_rng();
    for field_bits in [1, 2, 4, 8] {
        let (mut sender, mut receiver) = set_up(field_bits, &mut rng);
        // A proof about nothing, proofs after one batch of each form, then one about many.
        for counts in [&[][..], &[1], &[127], &[128, 129], &[8191, 0, 8192], &[8193, 20_000, 3]] {
            for &count in counts {
                let choices: Vec<u8> = (0..count).map(|_| rng.next_u32() as u8 & 1).collect();
                let (message, _) = receiver.extend(&choices).unwrap();
                sender.extend(count, &message).unwrap();
                let (message, _) = receiver.extend_random(count).unwrap();
                sender.extend_random(count, &message).unwrap();
                let (message, _) = receiver.extend_correlated(count).unwrap();
                sender.extend_correlated(count, &message).unwrap();
            }
            let proof = receiver.prove();
            assert_eq!(proof.len(), sender.params().proof_len());
            assert_eq!(sender.verify(&proof), Ok(()), "f {field_bits}, {counts:?}");
        }
        let (message, mine) = receiver.extend_random(77).unwrap();
        let theirs = sender.extend_random(77, &message).unwrap();
        assert!(agreeing(&theirs, &mine).into_iter().all(|agrees| agrees), "transfers after a proof");
    }
}

#[test]
fn proofs_have_the_documented_length() {
    for (field_bits, bytes) in [(1, 2080), (2, 1056), (4, 544), (8, 288)] {
        assert_eq!(ExtensionParams::new(field_bits).unwrap().proof_len(), bytes);
    }
}

/// Without the check, a bit flipped in one row tells one bit of Δ by whether pads agree; the check catches it.
#[test]
fn a_flipped_bit_would_tell_a_bit_of_the_secret_and_is_caught() {
    let mut rng = fresh_rng();
    for row in [0, 1, 50, 127] {
        let (mut sender, mut receiver) = set_up(1, &mut rng);
        let delta = sender.delta();
        let (mut message, mine) = receiver.extend(&[0; 200]).unwrap();
        message[25 * row + 11] ^= 4;
        let theirs = sender.extend(200, &message).unwrap();
        let agrees = agreeing(&theirs, &mine);
        assert_eq!(agrees[8 * 11 + 2], delta >> row & 1 == 0, "row {row}");
        assert_eq!(agrees.iter().filter(|agrees| !**agrees).count(), (delta >> row & 1) as usize);
        // On the wire the digests part anyway, whatever Δ is.
        assert_eq!(sender.verify(&receiver.prove()), Err(SsError::Inconsistent));
    }
}

#[test]
fn a_failed_check_ends_the_sender() {
    let mut rng = fresh_rng();
    let (mut sender, mut receiver) = set_up(8, &mut rng);
    let (message, _) = receiver.extend_random(300).unwrap();
    sender.extend_random(300, &message).unwrap();
    let proof = receiver.prove();
    assert!(matches!(sender.verify(&proof[1..]), Err(SsError::WrongLength { expected: 288, got: 287, .. })));
    assert!(matches!(sender.verify(&[]), Err(SsError::WrongLength { .. })));
    let mut bad = proof.clone();
    bad[0] ^= 1;
    assert_eq!(sender.verify(&bad), Err(SsError::Inconsistent));
    assert_eq!(sender.verify(&proof), Err(SsError::Inconsistent));
    let (message, _) = receiver.extend_random(5).unwrap();
    assert_eq!(sender.extend_random(5, &message).unwrap_err(), SsError::Inconsistent);
    let (message, _) = receiver.extend(&[1, 0]).unwrap();
    assert_eq!(sender.extend(2, &message).unwrap_err(), SsError::Inconsistent);
    let (message, _) = receiver.extend_correlated(2).unwrap();
    assert_eq!(sender.extend_correlated(2, &message).unwrap_err(), SsError::Inconsistent);
}

/// One deviation each, after which the proof has to fail; the honest run beside it passes.
#[test]
fn every_deviation_on_the_wire_is_caught() {
    let mut rng = fresh_rng();
    type Deviation = fn(&mut [Vec<u8>; 2], &mut Vec<u8>, &[u8]);
    let deviations: [(&str, Deviation); 7] = [
        ("none", |_, _, _| {}),
        ("a bit of a row", |messages, _, _| messages[0][700] ^= 1),
        ("messages in another order", |messages, _, _| messages.swap(0, 1)),
        ("one message twice", |messages, _, _| messages[1] = messages[0].clone()),
        ("a bit of the mask", |_, proof, _| proof[20] ^= 1),
        ("the choices' sum", |_, proof, _| *proof.iter_mut().nth_back(40).unwrap() ^= 1),
        ("the proof of earlier", |_, proof, earlier| *proof = earlier.to_vec()),
    ];
    for field_bits in [2, 4, 8] {
        for (name, deviate) in &deviations {
            let (mut sender, mut receiver) = set_up(field_bits, &mut rng);
            let earlier = receiver.prove();
            sender.verify(&earlier).unwrap();
            let mut messages = [0, 1].map(|_| receiver.extend_random(9000).unwrap().0);
            let mut proof = receiver.prove();
            deviate(&mut messages, &mut proof, &earlier);
            for message in &messages {
                sender.extend_random(9000, message).unwrap();
            }
            let expected = if *name == "none" { Ok(()) } else { Err(SsError::Inconsistent) };
            assert_eq!(sender.verify(&proof), expected, "f {field_bits}, {name}");
        }
    }
}

/// A party that makes one batch more than the other, or reads it in another form, is out of step.
#[test]
fn parties_out_of_step_are_caught() {
    let mut rng = fresh_rng();
    let (mut sender, mut receiver) = set_up(4, &mut rng);
    drop(receiver.extend_random(0).unwrap());
    assert_eq!(sender.verify(&receiver.prove()), Err(SsError::Inconsistent));
    let (mut sender, mut receiver) = set_up(4, &mut rng);
    let (message, _) = receiver.extend_random(128).unwrap();
    sender.extend_correlated(128, &message).unwrap();
    assert_eq!(sender.verify(&receiver.prove()), Err(SsError::Inconsistent));
}

#[test]
fn proofs_do_not_depend_on_the_number_of_threads() {
    let proof = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let (_, mut receiver) = set_up(8, &mut ChaCha20Rng::from_seed([5; 32]));
            drop(receiver.extend_random(50_000).unwrap());
            receiver.prove()
        })
    };
    assert_eq!(proof(1), proof(3));
}

/// All choices zero, and still the proof's sum of choices is another one each time: the mask.
#[test]
fn the_sum_of_choices_is_masked() {
    let mut rng = fresh_rng();
    let (_, mut receiver) = set_up(8, &mut rng);
    let ones: u32 = (0..64)
        .map(|_| {
            drop(receiver.extend(&[0; 128]).unwrap());
            let proof = receiver.prove();
            proof[proof.len() - PROOF_BYTES..][..16].iter().map(|byte| byte.count_ones()).sum::<u32>()
        })
        .sum();
    // 8192 fair bits: standard deviation 45; six of them allowed.
    assert!(ones.abs_diff(4096) < 272, "{ones} of 8192 bits are 1");
}
