//! Sums of products against plain arithmetic, with transfers from an ideal dealer.

pub(crate) use crate::testing::{deal, fresh_rng};
use rand_chacha::ChaCha20Rng;
use rand_core::Rng;

use super::*;

pub(crate) fn random_bits(rng: &mut ChaCha20Rng, n: usize) -> Vec<u8> {
    (0..n).map(|_| (rng.next_u32() & 1) as u8).collect()
}

/// One case of random operands, all of them on record.
struct Case {
    spec: ProductSpec,
    constants: Vec<u64>,
    client: Vec<(Factors, u64, u8)>,
    server: Vec<(Factors, u64, u64)>,
}

impl Case {
    fn random(rng: &mut ChaCha20Rng, spec: &ProductSpec, n: usize) -> Self {
        let output = spec.output();
        let mut client = Vec::new();
        let mut server = Vec::new();
        for _ in 0..n {
            let mut x = [0; MAX_FIELDS];
            for (x, field) in x.iter_mut().zip(&spec.fields) {
                *x = rng.next_u64() & ((1 << field.bits) - 1);
            }
            client.push((core::array::from_fn(|_| rng.next_u64()), rng.next_u64(), random_bits(rng, 1)[0]));
            server.push((x, rng.next_u64(), rng.next_u64()));
        }
        let constants = (0..n).map(|_| rng.next_u64() & output.mask()).collect();
        Self { spec: spec.clone(), constants, client, server }
    }

    /// z·2^shift + κ of element i, from the definition.
    fn expected(&self, i: usize) -> u64 {
        let ((v, own, b), (x, local, selected)) = (&self.client[i], &self.server[i]);
        let mut z = own.wrapping_add(*local);
        for (f, field) in self.spec.fields.iter().enumerate() {
            z = z.wrapping_add(v[f].wrapping_mul(x[f]) << field.exponent);
        }
        if let Some(exponent) = self.spec.select {
            z = z.wrapping_add(u64::from(*b) * (selected << exponent));
        }
        self.spec.output().add(z << self.spec.shift, self.constants[i])
    }

    fn run(
        &self,
        rng: &mut ChaCha20Rng,
        mut pass: impl FnMut(usize, &mut Vec<u8>),
    ) -> Result<Vec<u64>, SsError> {
        let (spec, n) = (&self.spec, self.constants.len());
        let selected = self.client.iter().take(n * spec.client_transfers()).map(|c| c.2).collect();
        let random = random_bits(rng, n * spec.server_transfers());
        let (sent, received) = deal(rng, random);
        let (server_sent, client_received) = deal(rng, selected);
        let sizes = spec.message_bytes(n);
        let mut pass = |step: usize, mut message: Vec<u8>| {
            assert_eq!(message.len(), sizes[step]);
            pass(step, &mut message);
            message
        };
        let chosen = (client_received.choices(), client_received.pads());
        let (message, client) =
            ProductClient::prepare(spec, &self.constants, sent.pairs(), chosen, |i, factors| {
                *factors = self.client[i].0;
                self.client[i].1
            })?;
        let bytes = client.into_bytes();
        assert_eq!(bytes.len(), ProductClient::stored_len(spec, n));
        assert!(bytes.is_empty() || ProductClient::from_bytes(spec, n, &bytes[1..]).is_err());
        let client = ProductClient::from_bytes(spec, n, &bytes)?;
        let server = ProductWaiting::receive(spec, n, received.choices(), received.pads())?;
        let server = server.complete(server_sent.pairs(), &pass(0, message))?;
        let (message, server) = server.begin(|i, factors| {
            *factors = self.server[i].0;
            (self.server[i].1, self.server[i].2)
        })?;
        let message = client.answer(&pass(1, message))?;
        server.finish(&pass(2, message))
    }
}

fn random_spec(rng: &mut ChaCha20Rng) -> ProductSpec {
    let ring = 1 + rng.next_u32() % 60;
    let shift = rng.next_u32() % (61 - ring);
    let fields = (0..rng.next_u32() % 5)
        .map(|_| {
            let exponent = rng.next_u32() % ring;
            Field { bits: 1 + rng.next_u32() % (ring - exponent), exponent }
        })
        .collect();
    let select = (rng.next_u32() & 1 == 1).then(|| rng.next_u32() % ring);
    ProductSpec::new(ring, shift, fields, select).unwrap()
}

#[test]
fn sums_match_the_definition_in_random_shapes() {
    let mut rng = fresh_rng();
    for round in 0..300 {
        let spec = random_spec(&mut rng);
        let n = [0, 1, 7, 33][round % 4];
        let case = Case::random(&mut rng, &spec, n);
        let out = case.run(&mut rng, |_, _| {}).unwrap();
        assert_eq!(out, (0..n).map(|i| case.expected(i)).collect::<Vec<_>>(), "{spec:?}");
    }
}

/// A plain oblivious linear evaluation of two 60-bit values, and the largest shape.
#[test]
fn extreme_shapes() {
    let mut rng = fresh_rng();
    let full = Field { bits: 60, exponent: 0 };
    for (fields, select) in
        [(vec![full; MAX_FIELDS], Some(0)), (vec![full], None), (vec![], None), (vec![], Some(59))]
    {
        let spec = ProductSpec::new(60, 0, fields, select).unwrap();
        let case = Case::random(&mut rng, &spec, 5);
        let out = case.run(&mut rng, |_, _| {}).unwrap();
        assert_eq!(out, (0..5).map(|i| case.expected(i)).collect::<Vec<_>>(), "{spec:?}");
    }
}

#[test]
fn impossible_shapes_are_refused() {
    let field = |bits, exponent| Field { bits, exponent };
    for (ring, shift, fields, select) in [
        (0, 0, vec![], None),
        (61, 0, vec![], None),
        (30, 31, vec![], None),
        (30, u32::MAX, vec![], None),
        (30, 0, vec![field(0, 0)], None),
        (30, 0, vec![field(1, 30)], None),
        (30, 0, vec![field(21, 10)], None),
        (30, 0, vec![field(u32::MAX, 10)], None),
        (30, 0, vec![field(1, 0); MAX_FIELDS + 1], None),
        (30, 0, vec![], Some(30)),
    ] {
        assert!(
            ProductSpec::new(ring, shift, fields.clone(), select).is_err(),
            "{ring} {shift} {fields:?} {select:?}"
        );
    }
}

#[test]
fn a_flipped_bit_in_any_message_shows() {
    let mut rng = fresh_rng();
    let spec = ProductSpec::new(30, 4, vec![Field { bits: 9, exponent: 3 }], Some(11)).unwrap();
    for step in 0..3 {
        let mut shown = 0;
        for _ in 0..100 {
            let case = Case::random(&mut rng, &spec, 8);
            let place = rng.next_u64() as usize;
            let out = case.run(&mut rng, |at, message| {
                if at == step {
                    let bit = place % (message.len() * 8);
                    message[bit / 8] ^= 1 << (bit % 8);
                }
            });
            shown += u32::from(out.unwrap() != (0..8).map(|i| case.expected(i)).collect::<Vec<_>>());
        }
        // A flip may hit a correction whose choice, or a selected value whose bit, masks it out.
        assert!(shown > if step == 2 { 99 } else { 20 }, "step {step}: {shown}");
    }
}

#[test]
fn wrong_lengths_are_refused() {
    let mut rng = fresh_rng();
    let spec = ProductSpec::new(30, 4, vec![Field { bits: 9, exponent: 3 }], Some(11)).unwrap();
    for step in 0..3 {
        for longer in [false, true] {
            let case = Case::random(&mut rng, &spec, 9);
            let out = case.run(&mut rng, |at, message| {
                if at == step {
                    if longer { message.push(0) } else { message.truncate(message.len() - 1) }
                }
            });
            assert!(matches!(out, Err(SsError::WrongLength { .. })), "step {step}: {out:?}");
        }
    }
    let pairs = vec![[0u128; 2]; 9];
    let none: (&[u8], &[u128]) = (&[0], &[0]);
    assert!(ProductClient::prepare(&spec, &[0, 0], &pairs, none, |_, _| 0).is_err());
    assert!(ProductClient::prepare(&spec, &[0], &pairs[1..], none, |_, _| 0).is_err());
    assert!(ProductClient::prepare(&spec, &[0], &pairs, (&[], &[]), |_, _| 0).is_err());
    assert!(ProductWaiting::receive(&spec, 1, &[0; 9], &[0; 8]).is_err());
    assert!(ProductWaiting::receive(&spec, 1, &[0; 8], &[0; 9]).is_err());
}

/// Every bit of every message is set about half the time although all operands are zero, and those of C1 (with a
/// uniform κ) too. The twin: with κ = 0 and known pads the last message is constant.
#[test]
fn messages_are_uniform_for_constant_operands() {
    let mut rng = fresh_rng();
    let spec = ProductSpec::new(13, 2, vec![Field { bits: 5, exponent: 2 }], Some(4)).unwrap();
    for x in [0, 31] {
        let (n, runs) = (8, 600);
        let mut counts = spec.message_bytes(n).map(|bytes| vec![0u32; bytes * 8]);
        for _ in 0..runs {
            let mut case = Case::random(&mut rng, &spec, n);
            case.client.iter_mut().for_each(|c| *c = ([0; MAX_FIELDS], 0, 0));
            case.server.iter_mut().for_each(|s| *s = ([x; MAX_FIELDS], 0, 0));
            case.run(&mut rng, |step, message| {
                for (bit, count) in counts[step].iter_mut().enumerate() {
                    *count += u32::from(message[bit / 8] >> (bit % 8) & 1);
                }
            })
            .unwrap();
        }
        for (step, counts) in counts.iter().enumerate() {
            // Six standard deviations.
            assert!(counts.iter().all(|&c| c.abs_diff(runs / 2) < 74), "step {step}: {counts:?}");
        }
    }
}

/// Holds at compile time: a field that is added without being named here does not compile.
#[expect(dead_code, reason = "checked by compiling it")]
fn every_state_is_wiped(client: ProductClient, server: (ProductWaiting, ProductServer, ProductFinish)) {
    fn wiped(_: &impl ZeroizeOnDrop) {}
    let ProductClient { spec: _, n: _, material } = client;
    wiped(&material);
    let (waiting, prepared, finish) = server;
    let ProductWaiting { spec: _, n: _, material } = waiting;
    wiped(&material);
    let ProductServer { spec: _, n: _, material } = prepared;
    wiped(&material);
    let ProductFinish { spec: _, results } = finish;
    wiped(&results);
}
