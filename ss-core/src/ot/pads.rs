//! Pads for 1-of-2^w tables of short entries, from w random transfers.
//!
//! Naor and Pinkas, *Oblivious transfer and polynomial evaluation* (STOC 1999), turn w 1-of-2 transfers with
//! keys `K_b^0, K_b^1` into a 1-of-2^w transfer: slot i of the table is masked by a function of the keys that
//! the bits of i select. Here the entries are so short that the whole table fits into the low 64 bits of a key
//! (one machine word), and the function is plain exclusive or of *different key bits for different slots*:
//!
//! > pad\[p\]\[i\] = ⊕_b bit (p·2^w + i) of K_b^{bit b of i}
//!
//! | symbol | meaning | range |
//! |---|---|---|
//! | w | transfers per table | 1 to 6 |
//! | i | slot | 0 to 2^w − 1 |
//! | p | plane: which bit of an entry | 0 to planes − 1 |
//! | planes | bits of an entry | 1 to 32 |
//! | planes·2^w | bits of the table | at most 64 |
//!
//! **Why it is secure, without a further hash.** Let the receiver hold `K_b^{c_b}` for all b, and take any
//! slot i ≠ c. There is a b with `i_b ≠ c_b`, so the key `K_b^{i_b}` is unknown to the receiver, uniform and
//! independent of all it has. Its bit `p·2^w + i` enters the pad of plane p in slot i and nothing else: the
//! position names the slot. So the pads of all slots but c are independent, uniform bits for the receiver: a
//! one-time pad. For that the keys must serve one table only, which the one-time types of [`crate::ot::rot`]
//! see to.
//!
//! The order of bits is plane-major: bit `p·2^w + i` belongs to plane p, slot i. Nothing here branches on, or
//! indexes by, a choice or a key.

/// For each b below 6, the positions of a word whose index has bit b set.
pub(crate) const INDEX_BIT: [u64; 6] = {
    let mut masks = [0u64; 6];
    let mut position = 0;
    while position < 64 {
        let mut b = 0;
        while b < 6 {
            masks[b] |= ((position >> b & 1) as u64) << position;
            b += 1;
        }
        position += 1;
    }
    masks
};

/// The pads of all slots: bit `plane·2^w + slot`, the bits from `planes·2^w` up zero.
///
/// `pairs` are the w transfers of one table, bit b of the slot index choosing in `pairs[b]`.
///
/// # Panics
/// Unless w is 1 to 6, `planes` 1 to 32 and `planes·2^w` at most 64: all are constants of the protocol that
/// calls.
#[inline]
#[must_use]
pub fn sender_pads(pairs: &[[u128; 2]], planes: u32) -> u64 {
    let used = check_shape(pairs.len(), planes);
    let pads = pairs.iter().zip(INDEX_BIT).fold(0, |pads, (&[zero, one], mask)| {
        let (zero, one) = (zero as u64, one as u64);
        pads ^ zero ^ ((zero ^ one) & mask)
    });
    pads & used
}

/// The index that the random choices make, and the pads of that slot: `(index, bits)`, plane p in bit p of
/// `bits`.
///
/// `choices` are w values of 0 or 1, least significant first, and `pads` the w chosen pads. `index` is below
/// 2^w, `bits` below `2^planes`.
///
/// # Panics
/// Unless w is 1 to 6, `pads` as long as `choices`, `planes` 1 to 32 and `planes·2^w` at most 64.
#[inline]
#[must_use]
pub fn receiver_pad(choices: &[u8], pads: &[u128], planes: u32) -> (u32, u32) {
    check_shape(choices.len(), planes);
    assert_eq!(choices.len(), pads.len(), "one pad per choice");
    let (mut index, mut word) = (0u32, 0u64);
    for (b, (&choice, &pad)) in choices.iter().zip(pads).enumerate() {
        index |= u32::from(choice & 1) << b;
        word ^= pad as u64;
    }
    // The chosen slot of every plane moves to the front: below 64, whatever the choices.
    let word = word >> index;
    let bits =
        (0..planes).fold(0, |bits, plane| bits | ((word >> (plane << pads.len())) as u32 & 1) << plane);
    (index, bits)
}

/// Checks the shape of a table and returns the mask of its bits.
#[inline]
fn check_shape(width: usize, planes: u32) -> u64 {
    assert!((1..=6).contains(&width), "a table is chosen from by 1 to 6 transfers");
    assert!((1..=32).contains(&planes), "a slot has 1 to 32 bits");
    let bits = planes << width;
    assert!(bits <= 64, "a table fits into a word");
    u64::MAX >> (64 - bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ot::rot::deal;
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    fn bit(word: u64, position: usize) -> u64 {
        word >> position & 1
    }

    /// The formula of the module, one bit at a time.
    fn sender_pads_slow(pairs: &[[u128; 2]], planes: u32) -> u64 {
        let slots = 1usize << pairs.len();
        let mut out = 0;
        for plane in 0..planes as usize {
            for slot in 0..slots {
                let position = plane * slots + slot;
                let pad = pairs
                    .iter()
                    .enumerate()
                    .fold(0, |pad, (b, pair)| pad ^ bit(pair[slot >> b & 1] as u64, position));
                out |= pad << position;
            }
        }
        out
    }

    /// Every allowed shape.
    fn shapes() -> impl Iterator<Item = (usize, u32)> {
        (1..=6).flat_map(|w| (1..=(64u32 >> w).min(32)).map(move |planes| (w, planes)))
    }

    #[test]
    fn both_ends_agree_in_every_shape() {
        let mut rng = ChaCha20Rng::from_seed([9; 32]);
        for (w, planes) in shapes() {
            for _ in 0..20 {
                let (sender, receiver) = deal(w, &mut rng);
                let table = sender_pads(sender.pairs(), planes);
                assert_eq!(table, sender_pads_slow(sender.pairs(), planes));
                let (index, bits) = receiver_pad(receiver.choices(), receiver.pads(), planes);
                let expected_index: u32 =
                    receiver.choices().iter().enumerate().map(|(b, &c)| u32::from(c) << b).sum();
                assert_eq!(index, expected_index);
                for plane in 0..planes {
                    let position = (plane << w | index) as usize;
                    assert_eq!(bit(table, position) as u32, bits >> plane & 1, "w {w}, planes {planes}");
                }
                assert_eq!(u64::from(bits) >> planes, 0);
            }
        }
    }

    /// The claim of the module: for each slot but the chosen one, flipping one unknown key bit flips that pad
    /// bit alone.
    #[test]
    fn every_other_slot_has_a_key_bit_of_its_own() {
        let mut rng = ChaCha20Rng::from_seed([10; 32]);
        for (w, planes) in [(1, 3), (3, 2), (5, 2), (6, 1)] {
            let (sender, receiver) = deal(w, &mut rng);
            let pads = sender_pads(sender.pairs(), planes);
            let (index, _) = receiver_pad(receiver.choices(), receiver.pads(), planes);
            for position in 0..(planes as usize) << w {
                let slot = position % (1 << w);
                let Some(b) = (0..w).find(|&b| (slot as u32 ^ index) >> b & 1 == 1) else {
                    continue;
                };
                let mut pairs = sender.pairs().to_vec();
                pairs[b][slot >> b & 1] ^= 1 << position;
                assert_ne!(
                    (slot >> b & 1) as u8,
                    receiver.choices()[b],
                    "the flipped key must be the unknown one"
                );
                assert_eq!(sender_pads(&pairs, planes) ^ pads, 1 << position);
            }
        }
    }

    /// A receiver that claims another choice than it has the key for opens its slot with the wrong pad about
    /// half the time.
    #[test]
    fn a_wrong_choice_is_noticed() {
        let mut rng = ChaCha20Rng::from_seed([11; 32]);
        let wrong = (0..400)
            .filter(|_| {
                let (sender, receiver) = deal(4, &mut rng);
                let table = sender_pads(sender.pairs(), 1);
                let mut choices = receiver.choices().to_vec();
                choices[2] ^= 1;
                let (index, bits) = receiver_pad(&choices, receiver.pads(), 1);
                bit(table, index as usize) as u32 != bits
            })
            .count();
        assert!((140..260).contains(&wrong), "{wrong} of 400");
    }

    #[test]
    fn impossible_shapes_are_refused() {
        for (w, planes) in [(0, 1), (7, 1), (6, 2), (1, 65), (4, 0), (1, 1 << 31)] {
            let pairs = vec![[0u128; 2]; w];
            assert!(std::panic::catch_unwind(|| sender_pads(&pairs, planes)).is_err(), "{w} {planes}");
        }
    }
}
