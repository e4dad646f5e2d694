//! What the tests of several modules share: fresh randomness with its seed printed, an ideal dealer, a statistic.

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use crate::ot::{RotReceiver, RotSender};

/// A generator from the system's randomness; the seed stands in the output of a test that fails.
pub(crate) fn fresh_rng() -> ChaCha20Rng {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).expect("the system has randomness");
    println!("seed {seed:?}");
    ChaCha20Rng::from_seed(seed)
}

/// Random transfers as an extension would give them, for given choices.
pub(crate) fn deal(rng: &mut ChaCha20Rng, choices: Vec<u8>) -> (RotSender, RotReceiver) {
    let mut block = || u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
    let pairs: Vec<[u128; 2]> = choices.iter().map(|_| [block(), block()]).collect();
    let pads = pairs.iter().zip(&choices).map(|(pair, &choice)| pair[usize::from(choice)]).collect();
    let receiver = RotReceiver::from_parts(choices, pads).expect("as many pads as choices");
    (RotSender::from_pairs(pairs), receiver)
}

/// Transfers where the receiver has the pad of its choice, and only that one.
pub(crate) fn agreeing(sender: &RotSender, receiver: &RotReceiver) -> usize {
    assert_eq!(sender.len(), receiver.len());
    let right = |((pair, &choice), &pad): ((&[u128; 2], &u8), &u128)| {
        pair[choice as usize] == pad && pair[1 - choice as usize] != pad
    };
    sender.pairs().iter().zip(receiver.choices()).zip(receiver.pads()).filter(|&entry| right(entry)).count()
}

/// Chi-square over the 128 bit positions: mean 128, standard deviation 16; six deviations allowed.
pub(crate) fn assert_fair_bits(words: &[u128]) {
    let n = words.len() as f64;
    let chi: f64 = (0..128)
        .map(|bit| {
            let ones = words.iter().filter(|&word| word >> bit & 1 == 1).count() as f64;
            (2.0 * ones - n).powi(2) / n
        })
        .sum();
    assert!(chi < 128.0 + 6.0 * 16.0, "chi-square {chi:.1} over {} words", words.len());
}
