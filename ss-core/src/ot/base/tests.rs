//! Both kinds through their common shape.

use super::*;
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
use sha3::{Digest, Sha3_256};

const SESSION: [u8; 32] = [5; 32];

/// All that is said and known after one run.
struct Run {
    messages: [Vec<u8>; 3],
    pairs: Zeroizing<Vec<[u128; 2]>>,
    keys: Zeroizing<Vec<u128>>,
}

fn run(kind: BaseKind, choices: &[u8], seed: u8) -> Run {
    let mut rng = ChaCha20Rng::from_seed([seed; 32]);
    let (offer, sender) = Sender::begin(kind, &SESSION, &mut rng);
    let (reply, receiver) = Receiver::begin(kind, &SESSION, &offer, choices, &mut rng).unwrap();
    let (answer, pairs) = sender.finish(choices.len(), &reply, &mut rng).unwrap();
    let keys = receiver.finish(&answer).unwrap();
    Run { messages: [offer, reply, answer], pairs, keys }
}

fn fair_choices(count: usize) -> Vec<u8> {
    (0..count).map(|i| (i * 7 / 3) as u8 & 1).collect()
}

#[test]
fn the_receiver_gets_the_chosen_key_and_only_that() {
    for kind in BaseKind::ALL {
        for count in [0, 1, 2, 40] {
            let choices = fair_choices(count);
            let run = run(kind, &choices, 1);
            let [offer, reply, answer] = &run.messages;
            assert_eq!(offer.len(), kind.offer_bytes());
            assert_eq!(reply.len(), count * kind.reply_bytes());
            assert_eq!(answer.len(), count * kind.answer_bytes());
            assert_eq!((run.pairs.len(), run.keys.len()), (count, count));
            let mut seen = std::collections::HashSet::new();
            for (i, &choice) in choices.iter().enumerate() {
                assert_eq!(run.pairs[i][choice as usize], run.keys[i], "{kind}, transfer {i}");
                assert!(run.pairs[i].iter().all(|key| seen.insert(*key)), "{kind}: a key came twice");
            }
        }
    }
}

/// The bytes are those of a generator, whatever the number of threads.
#[test]
fn bytes_do_not_depend_on_threads() {
    let choices = fair_choices(20);
    for kind in BaseKind::ALL {
        let bytes = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let run = pool.install(|| run(kind, &choices, 2));
            (run.messages, run.keys.to_vec())
        };
        assert_eq!(bytes(1), bytes(3), "{kind}");
    }
}

/// SHA3-256 over the messages of a run with fixed seeds, and over its keys. They come from this
/// implementation and are no proof of it; they fail when the wire, a hash input or the order in which
/// randomness is drawn changes, which needs a new protocol version.
#[test]
fn the_wire_is_as_recorded() {
    for (kind, expected) in [
        (BaseKind::Ristretto, ["044276777de6ab3a", "6c5e16cc124ee636"]),
        (BaseKind::MlKem, ["7c43a9163d10334a", "818b13b44e4c6e0e"]),
    ] {
        let run = run(kind, &fair_choices(9), 3);
        let keys: Vec<u8> = run.keys.iter().flat_map(|key| key.to_le_bytes()).collect();
        let found = [run.messages.concat(), keys].map(|bytes| hex(&Sha3_256::digest(bytes)[..8]));
        assert_eq!(found, expected, "{kind}");
    }
}

#[test]
fn names_are_read_back() {
    for kind in BaseKind::ALL {
        assert_eq!(kind.to_string().parse(), Ok(kind));
    }
    assert!("MlKem".parse::<BaseKind>().is_err());
    assert_eq!(BaseKind::default(), BaseKind::Ristretto);
}

#[test]
fn lengths_are_checked_in_every_step() {
    let mut rng = ChaCha20Rng::from_seed([4; 32]);
    for kind in BaseKind::ALL {
        let run = run(kind, &[0, 1], 4);
        let long = |message: &[u8]| [message, &[0]].concat();
        let [offer, reply, answer] = run.messages.each_ref().map(|message| long(message));
        let begin = |rng: &mut ChaCha20Rng| Sender::begin(kind, &SESSION, rng).1;
        assert!(matches!(
            Receiver::begin(kind, &SESSION, &offer, &[0, 1], &mut rng),
            Err(SsError::WrongLength { .. })
        ));
        for bad in [&reply[..], &reply[..reply.len() - 2], &[]] {
            let error = begin(&mut rng).finish(2, bad, &mut rng).unwrap_err();
            assert!(matches!(error, SsError::WrongLength { .. }), "{kind}: {error}");
        }
        let receiver = Receiver::begin(kind, &SESSION, &run.messages[0], &[0, 1], &mut rng).unwrap().1;
        assert!(matches!(receiver.finish(&answer), Err(SsError::WrongLength { .. })), "{kind}");
    }
}

#[test]
fn nothing_secret_is_printed() {
    let mut rng = ChaCha20Rng::from_seed([6; 32]);
    for (kind, expected) in [
        (BaseKind::Ristretto, "Receiver(Ristretto(Keys(secret)))"),
        (BaseKind::MlKem, "Receiver(MlKem(BaseReceiver(2 transfers, secret)))"),
    ] {
        let (offer, _) = Sender::begin(kind, &SESSION, &mut rng);
        let (_, receiver) = Receiver::begin(kind, &SESSION, &offer, &[0, 1], &mut rng).unwrap();
        assert_eq!(format!("{receiver:?}"), expected);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
