//! Tables against the formula of the module, slot by slot and bit by bit.

use super::*;
use crate::ot::chosen::tests::{LENGTHS, digest, fresh_rng, looks_uniform, word};
use crate::ot::rot::deal;
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const LABEL: [u8; 32] = [4; 32];

fn slots(spec: TableSpec, tables: usize, rng: &mut ChaCha20Rng) -> Vec<u8> {
    (0..tables).map(|_| (rng.next_u32() as usize % spec.slots()) as u8).collect()
}

fn entries(spec: TableSpec, tables: usize, rng: &mut ChaCha20Rng) -> Vec<u128> {
    (0..tables * spec.slots() * spec.words()).map(|_| word(rng)).collect()
}

/// The formula: for every slot the exclusive or of its keys, one hash per word, one bit at a time.
fn send_slow(
    spec: TableSpec,
    label: &[u8; 32],
    entries: &[u128],
    pairs: &[[u128; 2]],
    flips: &[u8],
) -> Vec<u8> {
    let (width, words) = (spec.transfers(), spec.words());
    let hash = spec.hash(label);
    let mut out = vec![0u8; spec.message_bytes(pairs.len() / width)];
    let mut position = 0;
    for table in 0..pairs.len() / width {
        for slot in 0..spec.slots() {
            let mut input = 0;
            for b in 0..width {
                let place = table * width + b;
                let flip = flips[place / 8] >> (place % 8) & 1;
                input ^= pairs[place][(slot >> b & 1) ^ flip as usize];
            }
            for bit in 0..spec.entry_bits as usize {
                let pad = hash.hash_one((table * words + bit / 128) as u64, input);
                let value = entries[(table * spec.slots() + slot) * words + bit / 128] ^ pad;
                out[position / 8] |= ((value >> (bit % 128) & 1) as u8) << (position % 8);
                position += 1;
            }
        }
    }
    out
}

fn check(spec: TableSpec, tables: usize, rng: &mut ChaCha20Rng) {
    let (sender, receiver) = deal(tables * spec.transfers(), rng);
    let pairs = sender.pairs().to_vec();
    let (slots, entries) = (slots(spec, tables, rng), entries(spec, tables, rng));
    let (flips, pending) = ChoosingTables::begin(spec, &slots, receiver).unwrap();
    assert_eq!(flips.len(), spec.flips_bytes(tables));
    let sent = send_tables(spec, &LABEL, &entries, sender, &flips).unwrap();
    assert_eq!(sent, send_slow(spec, &LABEL, &entries, &pairs, &flips), "{spec:?}, {tables} tables");
    let opened = pending.finish(&LABEL, &sent).unwrap();
    assert_eq!(opened.len(), tables * spec.words());
    for (table, &slot) in slots.iter().enumerate() {
        for bit in 0..128 * spec.words() {
            let at = |slot: usize| (table * spec.slots() + slot) * spec.words() + bit / 128;
            let expected = if bit < spec.entry_bits as usize {
                entries[at(slot as usize)] >> (bit % 128) & 1
            } else {
                0
            };
            assert_eq!(opened[table * spec.words() + bit / 128] >> (bit % 128) & 1, expected, "{spec:?}");
        }
    }
}

#[test]
fn every_width_and_length_opens_the_chosen_entry() {
    let mut rng = fresh_rng();
    for tables in LENGTHS {
        check(TableSpec::new(4, 5).unwrap(), tables, &mut rng);
    }
    for width in 1..=8 {
        for bits in [1, 63, 64, 65, 127, 128, 129, 300] {
            check(TableSpec::new(width, bits).unwrap(), 3, &mut rng);
        }
    }
    // More words than one batch of the hash holds, and more tables.
    check(TableSpec::new(1, 128 * 130 + 1).unwrap(), 2, &mut rng);
    check(TableSpec::new(2, 128 * 50).unwrap(), 7, &mut rng);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn random_shapes_match_the_formula(
        seed in any::<[u8; 32]>(),
        width in 1u32..=5,
        bits in 1u32..=400,
        tables in 0usize..=40,
    ) {
        check(TableSpec::new(width, bits).unwrap(), tables, &mut ChaCha20Rng::from_seed(seed));
    }
}

/// A million bits of pads of slots that were not chosen look uniform, each and in all sums with others. Pads
/// that are bare exclusive ors of keys pass the first of these tests and not the last.
#[test]
fn pads_of_other_slots_look_uniform() {
    let mut rng = fresh_rng();
    let spec = TableSpec::new(2, 128).unwrap();
    let tables = 1 << 13;
    let (sender, receiver) = deal(2 * tables, &mut rng);
    let bare: Vec<[u128; 4]> = sender
        .pairs()
        .as_chunks::<2>()
        .0
        .iter()
        .map(|[low, high]| core::array::from_fn(|slot| low[slot & 1] ^ high[slot >> 1]))
        .collect();
    let (flips, pending) = ChoosingTables::begin(spec, &vec![1; tables], receiver).unwrap();
    let sent = send_tables(spec, &LABEL, &vec![0; 4 * tables], sender, &flips).unwrap();
    let (words, _) = sent.as_chunks::<16>();
    let hashed: Vec<[u128; 4]> =
        words.as_chunks::<4>().0.iter().map(|table| table.map(u128::from_le_bytes)).collect();
    let opened = pending.finish(&LABEL, &sent).unwrap();
    assert!(opened.iter().all(|entry| *entry == 0));
    for (pads, is_hashed) in [(hashed, true), (bare, false)] {
        let sum = |mask: u32| -> Vec<u128> {
            let term = |table: &[u128; 4], slot: usize| if mask >> slot & 1 == 1 { table[slot] } else { 0 };
            pads.iter().map(|table| (0..4).fold(0, |sum, slot| sum ^ term(table, slot))).collect()
        };
        for mask in 1..16 {
            assert_eq!(looks_uniform(&sum(mask)), is_hashed || mask != 15, "slots {mask:04b}");
        }
    }
}

/// Words of one entry, and entries of different tables with the same keys, have pads of their own; so has
/// every label.
#[test]
fn tweaks_and_labels_keep_pads_apart() {
    let mut rng = fresh_rng();
    let spec = TableSpec::new(3, 384).unwrap();
    let (sender, _) = deal(3, &mut rng);
    let twice = |label: &[u8; 32]| {
        let pairs = [sender.pairs(), sender.pairs()].concat();
        send_tables(spec, label, &[0; 2 * 8 * 3], RotSender::from_pairs(pairs), &[0]).unwrap()
    };
    let mut seen = std::collections::HashSet::new();
    for label in [[0; 32], [1; 32]] {
        for block in twice(&label).as_chunks::<16>().0 {
            assert!(seen.insert(*block), "a pad came twice");
        }
    }
    assert_eq!(seen.len(), 2 * 2 * 8 * 3);
}

/// What changes on the way shows in the chosen entry of that table and nowhere else.
#[test]
fn a_flipped_bit_shows_in_its_table_alone() {
    let mut rng = fresh_rng();
    let (spec, tables) = (TableSpec::new(3, 100).unwrap(), 10);
    let entries = entries(spec, tables, &mut rng);
    #[derive(Clone, Copy)]
    enum Fault {
        None,
        Flip(usize),
        Key(usize),
        Bit(usize),
        Label,
    }
    for round in 0..20 {
        let slots = slots(spec, tables, &mut rng);
        let mut wrong = |fault: Fault| {
            let (sender, receiver) = deal(tables * 3, &mut rng);
            let mut pairs = sender.pairs().to_vec();
            if let Fault::Key(place) = fault {
                pairs[place][receiver.choices()[place] as usize] ^= 1 << 5;
            }
            let (mut flips, pending) = ChoosingTables::begin(spec, &slots, receiver).unwrap();
            if let Fault::Flip(place) = fault {
                flips[place / 8] ^= 1 << (place % 8);
            }
            let mut sent = send_tables(spec, &LABEL, &entries, RotSender::from_pairs(pairs), &flips).unwrap();
            if let Fault::Bit(place) = fault {
                sent[place / 8] ^= 1 << (place % 8);
            }
            let label = if let Fault::Label = fault { [5; 32] } else { LABEL };
            let opened = pending.finish(&label, &sent).unwrap();
            let mask = (1u128 << 100) - 1;
            (0..tables)
                .filter(|&t| opened[t] != entries[8 * t + slots[t] as usize] & mask)
                .collect::<Vec<_>>()
        };
        let table = round % tables;
        let (chosen, other) = (slots[table] as usize, slots[table] as usize ^ 5);
        assert_eq!(wrong(Fault::None), [0; 0]);
        assert_eq!(wrong(Fault::Flip(3 * table + 1)), [table]);
        assert_eq!(wrong(Fault::Key(3 * table + 2)), [table]);
        assert_eq!(wrong(Fault::Bit((8 * table + chosen) * 100 + 99)), [table]);
        assert_eq!(wrong(Fault::Bit((8 * table + other) * 100 + 99)), [0; 0]);
        assert_eq!(wrong(Fault::Label), (0..tables).collect::<Vec<_>>());
    }
}

#[test]
fn wrong_lengths_and_values_are_refused() {
    let mut rng = fresh_rng();
    for (width, bits) in [(0, 1), (9, 1), (1, 0), (1, MAX_ENTRY_BITS + 1)] {
        assert!(TableSpec::new(width, bits).is_err(), "{width} {bits}");
    }
    let spec = TableSpec::new(3, 7).unwrap();
    let begin = |slots: &[u8], count, rng: &mut _| ChoosingTables::begin(spec, slots, deal(count, rng).1);
    assert!(matches!(begin(&[1, 2], 5, &mut rng), Err(SsError::WrongLength { expected: 6, got: 5, .. })));
    assert!(matches!(begin(&[1, 8], 6, &mut rng), Err(SsError::BadValue { .. })));
    let pending = |rng: &mut _| begin(&[1, 7, 0], 9, rng).unwrap().1;
    // 3·8·7 = 168 bits are 21 bytes.
    assert!(pending(&mut rng).finish(&LABEL, &[0; 20]).is_err());
    assert!(pending(&mut rng).finish(&LABEL, &[0; 22]).is_err());
    assert!(pending(&mut rng).finish(&LABEL, &[0; 21]).is_ok());
    let odd = TableSpec::new(1, 3).unwrap();
    let pending_odd = ChoosingTables::begin(odd, &[1], deal(1, &mut rng).1).unwrap().1;
    assert!(matches!(pending_odd.finish(&LABEL, &[0x40]), Err(SsError::BadValue { .. })));
    let mut send = |count, entries: usize, flips: &[u8]| {
        send_tables(spec, &LABEL, &vec![0; entries], deal(count, &mut rng).0, flips)
    };
    assert!(send(9, 24, &[0, 0]).is_ok());
    assert!(send(8, 24, &[0, 0]).is_err());
    assert!(send(9, 23, &[0, 0]).is_err());
    assert!(send(9, 24, &[0]).is_err());
    assert!(send(9, 24, &[0, 2]).is_err());
    assert_eq!(format!("{:?}", pending(&mut rng)), "ChoosingTables(3 tables, secret)");
}

/// SHA3-256 over both messages with fixed seeds. Made by this implementation and no proof of it; it fails
/// when the wire or the hash changes, which needs a new protocol version.
#[test]
fn the_wire_is_as_recorded() {
    let mut rng = ChaCha20Rng::from_seed([32; 32]);
    for (width, bits, expected) in
        [(4, 2, "8b431a9a98534eb4"), (8, 128, "63908f91c6167682"), (2, 700, "07646885e7a59ebe")]
    {
        let spec = TableSpec::new(width, bits).unwrap();
        let (sender, receiver) = deal(5 * spec.transfers(), &mut rng);
        let (flips, _) = ChoosingTables::begin(spec, &[0, 1, 2, 3, 2], receiver).unwrap();
        let entries = entries(spec, 5, &mut rng);
        let sent = send_tables(spec, &LABEL, &entries, sender, &flips).unwrap();
        assert_eq!(digest(&[&flips, &sent]), expected, "{width} {bits}");
    }
}
