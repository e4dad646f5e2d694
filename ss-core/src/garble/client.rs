//! The client's side: it garbles offline, and online answers labels and two rows per result.
//!
//! Order of material, for n elements in blocks of [`BLOCK`](super::BLOCK): transfers in which the server chooses lie
//! by block, slot and element (slots: bit 0 for each term, bits 1 to ℓ − 1, the top bit); those in which the client
//! chooses by element and term, as [`crate::gate::choices`] gives them. Fields of messages lie by kind, not by
//! element:
//!
//! | message | content in order |
//! |---|---|
//! | corrections | key; per block the rows of all slots, then of all gates (by term, bit, G before E); δ by term |
//! | server's | per block f by slot; per term the corrections of its lanes, then of its two lift bits |
//! | client's | per block the labels of all slots but the top; per lane two rows of term 0, then one of each other term |
//!
//! The generator of the secret seed gives, block by block, Δ and the X of all slots. So Δ and the labels are not
//! stored.

use rand_core::CryptoRng;
use zeroize::ZeroizeOnDrop;

use super::half_gates::{Garbler, Row, colour, times};
use super::{BLOCK, GarbleSpec, KEY, block_hash, blocks, expect_sizes, gate_tweak, pad_tweak};
use crate::bits::{BitReader, BitWriter, bytes_for_bits};
use crate::error::{SsError, expect_length};
use crate::gate::{ClientInputs, Lift};
use crate::hash::Prg;
use crate::ot::{RotReceiver, RotSender};
use crate::secret::Secret;

/// Bits of a term's flags: d_C, e, δ, and c_0.
const VERDICT: u32 = 0;
const LIFT: u32 = 1;
const DELTA: u32 = 2;
const LOWEST: u32 = 3;
/// Number of flags.
pub(super) const FLAGS: u32 = 4;

/// Prepared, unused client material for n elements. One-time.
pub struct GarbleClient {
    pub(super) spec: GarbleSpec,
    pub(super) n: usize,
    /// The seed of Δ and of the X, alone in its vector.
    pub(super) seed: Secret<u128>,
    /// By term and element, the flags.
    pub(super) flags: Secret<u8>,
    /// By term, lane and element: V for d_S = 0 and 1, in the output ring.
    pub(super) parts: Secret<[u64; 2]>,
    /// In the same order: the pads of colours 0 and 1, in the output ring.
    pub(super) pads: Secret<[u64; 2]>,
}

// Every field wipes itself.
impl ZeroizeOnDrop for GarbleClient {}

impl GarbleClient {
    /// Garbles; returns the offline message of corrections with the material.
    ///
    /// `inputs` as for [`crate::gate::ClientGate::prepare`]: T·n k-bit shares, for a gate without lift n shares per lane,
    /// n constants per lane. `received` are the transfers obtained with [`super::choices`], `sent` those in which the
    /// server chose at random.
    ///
    /// # Errors
    /// [`SsError::WrongLength`] when a slice does not fit the gate.
    pub fn prepare(
        spec: &GarbleSpec,
        inputs: &ClientInputs<'_>,
        sent: RotSender,
        received: RotReceiver,
        rng: &mut impl CryptoRng,
    ) -> Result<(Vec<u8>, Self), SsError> {
        let (terms, lanes) = (spec.terms(), spec.lanes().len());
        let n = inputs.compare.len() / terms;
        let given = if spec.lifted() { 0 } else { lanes };
        expect_sizes(&[
            ("shares of a garbled gate", n * terms, inputs.compare.len()),
            ("transfers sent for a garbled gate", n * spec.server_transfers(), sent.len()),
            ("transfers received for a garbled gate", n * spec.client_transfers(), received.len()),
            ("lanes of a garbled gate", given, inputs.lanes.len()),
            ("constants of a garbled gate", lanes, inputs.constants.len()),
        ])?;
        for values in inputs.lanes.iter().chain(inputs.constants) {
            expect_length("values of a garbled gate's lane", n, values.len())?;
        }
        let mut seed = Secret::<u128>::zeros(1);
        seed[0] = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
        let mut key = [0; KEY];
        rng.fill_bytes(&mut key);
        let mut client = Self {
            spec: spec.clone(),
            n,
            seed,
            flags: Secret::zeros(n * terms),
            parts: Secret::zeros(n * terms * lanes),
            pads: Secret::zeros(n * terms * lanes),
        };
        client.fix_flags(inputs.compare, received.choices());
        let mut message = vec![0; KEY + 16 * n * spec.rows()];
        message.reserve_exact(bytes_for_bits(n * terms));
        message[..KEY].copy_from_slice(&key);
        client.garble(inputs.compare, sent.pairs(), &key, message[KEY..].as_chunks_mut().0);
        client.fix_parts(inputs, &received);
        let mut writer = BitWriter::with_capacity_bits(n * terms);
        client.flags.iter().for_each(|flags| writer.push(u64::from(flags >> DELTA), 1));
        message.extend(writer.finish());
        Ok((message, client))
    }

    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.n
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// The flags that are known before garbling; δ follows.
    fn fix_flags(&mut self, compare: &[u64], choices: &[u8]) {
        let (n, terms, per) = (self.n, self.spec.terms(), self.spec.transfers_per_term());
        let (lifted, ignored) = (u8::from(self.spec.lifted()), self.spec.gate().comparison().ignored_bits());
        for (i, (chosen, &share)) in choices.chunks_exact(per).zip(compare).enumerate() {
            let lift = chosen[per / 2] & lifted;
            let lowest = (share >> ignored) as u8 & 1;
            self.flags[i % terms * n + i / terms] = chosen[0] << VERDICT | lift << LIFT | lowest << LOWEST;
        }
    }

    /// Writes label corrections and gates, and takes δ and the pads from the last labels.
    fn garble(&mut self, compare: &[u64], mut pairs: &[[u128; 2]], key: &[u8; KEY], mut rows: &mut [Row]) {
        let spec = self.spec.clone();
        let (terms, low, test) = (spec.terms(), spec.low_bits(), spec.gate().comparison());
        let room = BLOCK.min(self.n);
        let mut stream = Prg::new(self.seed[0]);
        let mut answers = Secret::<[u8; 16]>::zeros(room * spec.answers());
        let mut zeros = Secret::<u128>::zeros(room * spec.server_transfers());
        let (mut left, mut shares) = (Secret::<u128>::zeros(room), Secret::<u64>::zeros(room));
        let mut pads = Secret::<u128>::zeros(2 * room);
        for (start, len) in blocks(self.n) {
            let delta = stream.next_block() | 1;
            let mut garbler = Garbler::new(block_hash(key, start), delta, len);
            let answers = &mut answers[..len * spec.answers()];
            stream.fill(answers.as_flattened_mut());

            // The zero label of every slot, and what turns the server's pad into a label.
            let (corrections, gates);
            (corrections, rows) = rows.split_at_mut(len * spec.server_transfers());
            (gates, rows) = rows.split_at_mut(2 * len * spec.gates());
            let own;
            (own, pairs) = pairs.split_at(len * spec.server_transfers());
            let zeros = &mut zeros[..own.len()];
            for ((row, zero), &[k0, k1]) in corrections.iter_mut().zip(&mut *zeros).zip(own) {
                *row = (k0 ^ k1 ^ delta).to_le_bytes();
                *zero = k0;
            }
            for (zero, answer) in zeros.iter_mut().zip(&*answers) {
                *zero ^= u128::from_le_bytes(*answer);
            }
            let (zeros, tops) = zeros.split_at_mut(len * spec.answers());
            let (carries, upper) = zeros.split_at_mut(len * terms);
            for term in 0..terms {
                let flags = &mut self.flags[term * self.n + start..][..len];
                for (row, flags) in corrections[term * len..].iter_mut().zip(&*flags) {
                    // For bit 0 the label moves by c_0·Δ.
                    let fixed = u128::from_le_bytes(*row) ^ times(u64::from(!flags >> LOWEST), delta);
                    *row = fixed.to_le_bytes();
                }
                let shares = &mut shares[..len];
                for (share, all) in shares.iter_mut().zip(compare[start * terms..].chunks_exact(terms)) {
                    *share = all[term] >> test.ignored_bits();
                }
                let (carry, left) = (&mut carries[term * len..][..len], &mut left[..len]);
                for bit in 1..low {
                    let label = &upper[(bit - 1) * len..][..len];
                    for j in 0..len {
                        let own = times(shares[j] >> bit, delta);
                        left[j] = label[j] ^ own;
                        carry[j] ^= own;
                    }
                    let gate = term * (low - 1) + bit - 1;
                    garbler.and(gate_tweak(gate), left, carry, &mut gates[2 * gate * len..][..2 * len]);
                    carry
                        .iter_mut()
                        .zip(&*shares)
                        .for_each(|(carry, share)| *carry ^= times(share >> bit, delta));
                }
                // The last label's two values, by colour.
                let (even, odd) = pads[..2 * len].split_at_mut(len);
                for j in 0..len {
                    let zero = carry[j] ^ tops[j];
                    let first = colour(zero);
                    even[j] = zero ^ times(first, delta);
                    odd[j] = even[j] ^ delta;
                    let gamma = shares[j] >> low;
                    flags[j] |= ((first ^ gamma ^ 1 ^ u64::from(flags[j] >> VERDICT)) as u8 & 1) << DELTA;
                }
                garbler.hash(pad_tweak(&spec, term), even);
                garbler.hash(pad_tweak(&spec, term), odd);
                for (l, lane) in spec.lanes().iter().enumerate() {
                    let ring = lane.output();
                    let pads = &mut self.pads[(term * spec.lanes().len() + l) * self.n + start..][..len];
                    for (j, pad) in pads.iter_mut().enumerate() {
                        *pad = [even[j], odd[j]].map(|hash| (hash >> (64 * l)) as u64 & ring.mask());
                    }
                }
            }
        }
    }

    /// V(d_S) as far as it is known before the server's corrections, constants included.
    fn fix_parts(&mut self, inputs: &ClientInputs<'_>, received: &RotReceiver) {
        let (spec, n) = (&self.spec, self.n);
        let (terms, per, lanes) = (spec.terms(), spec.transfers_per_term(), spec.lanes().len());
        let unit = spec.lift_unit();
        for term in 0..terms {
            let factors = [spec.factors(term, 0), spec.factors(term, 1)];
            for (l, lane) in spec.lanes().iter().enumerate() {
                let parts = &mut self.parts[(term * lanes + l) * n..][..n];
                let flags = &self.flags[term * n..][..n];
                for (i, (parts, flags)) in parts.iter_mut().zip(flags).enumerate() {
                    let pads = &received.pads()[(i * terms + term) * per..][..per];
                    let value = if spec.lifted() {
                        client_value(spec, inputs.compare[i * terms + term])
                    } else {
                        inputs.lanes[l][i]
                    };
                    let constant = if term == 0 { inputs.constants[l][i] } else { 0 };
                    let product = (pads[0] >> (64 * l)) as u64;
                    let lift = |t: usize| if per == 3 { (pads[t] as u64).wrapping_mul(unit) } else { 0 };
                    let verdict = u64::from(flags >> VERDICT & 1);
                    for (part, (own, shared)) in parts.iter_mut().zip(factors) {
                        // b + s·d, for d = d_S ⊕ d_C.
                        let whole = own.wrapping_add(shared.wrapping_mul(verdict)).wrapping_mul(value);
                        let sum = whole
                            .wrapping_add(own.wrapping_mul(lift(1)))
                            .wrapping_add(shared.wrapping_mul(product.wrapping_add(lift(2))));
                        *part = lane.output().add(sum << lane.shift(), constant);
                    }
                }
            }
        }
    }

    /// The server's message in, the answer out; the client is done and its material wiped.
    ///
    /// # Errors
    /// [`SsError`] when the server's message has the wrong length or stray bits.
    pub fn answer(mut self, message: &[u8]) -> Result<Vec<u8>, SsError> {
        let sizes = self.spec.message_bytes(self.n);
        expect_length("the server's message of a garbled gate", sizes[1], message.len())?;
        let mut reader = BitReader::new(message, self.spec.message_bits()[1] as usize * self.n)?;
        let mut answer = vec![0; 16 * self.n * self.spec.answers()];
        answer.reserve_exact(sizes[2] - answer.len());
        self.answer_labels(&mut reader, answer.as_chunks_mut().0);
        self.add_corrections(&mut reader);
        reader.finish()?;
        answer.extend(self.rows());
        Ok(answer)
    }

    /// X_i ⊕ f_i·Δ for all slots; f of the top goes into δ, which makes it d_S ⊕ q.
    fn answer_labels(&mut self, reader: &mut BitReader<'_>, mut labels: &mut [Row]) {
        let (n, terms) = (self.n, self.spec.terms());
        let mut stream = Prg::new(self.seed[0]);
        for (start, len) in blocks(n) {
            let delta = stream.next_block() | 1;
            let own;
            (own, labels) = labels.split_at_mut(len * self.spec.answers());
            stream.fill(own.as_flattened_mut());
            for (slot, labels) in own.chunks_exact_mut(len).enumerate() {
                for (at, labels) in labels.chunks_mut(64).enumerate() {
                    let mut bits = reader.read(labels.len() as u32);
                    if slot < terms {
                        let flags = &self.flags[slot * n + start + 64 * at..][..labels.len()];
                        let lowest =
                            flags.iter().rev().fold(0, |all, f| all << 1 | u64::from(f >> LOWEST & 1));
                        bits &= lowest;
                    }
                    for label in labels {
                        *label = (u128::from_le_bytes(*label) ^ times(bits, delta)).to_le_bytes();
                        bits >>= 1;
                    }
                }
            }
            for at in (0..len).step_by(64) {
                let bits = reader.read((len - at).min(64) as u32);
                for term in 0..terms {
                    let flags = &mut self.flags[term * n + start + at..][..(len - at).min(64)];
                    for (j, flags) in flags.iter_mut().enumerate() {
                        *flags ^= ((bits >> j) as u8 & 1) << DELTA;
                    }
                }
            }
        }
    }

    /// Adds what the server's corrections give to V, for both values of d_S.
    fn add_corrections(&mut self, reader: &mut BitReader<'_>) {
        let (n, spec) = (self.n, &self.spec);
        for term in 0..spec.terms() {
            let flags = &self.flags[term * n..][..n];
            let factors = [0, 1].map(|share| spec.factors(term, share));
            let shared = factors.map(|(_, shared)| shared);
            let own = factors.map(|(own, _)| own);
            let bits = |flags: u8, flag: u32| u64::from(flags >> flag & 1).wrapping_neg();
            for (l, lane) in spec.lanes().iter().enumerate() {
                let parts = &mut self.parts[(term * spec.lanes().len() + l) * n..][..n];
                for (part, &flags) in parts.iter_mut().zip(flags) {
                    let value = (reader.read(lane.bits()) & bits(flags, VERDICT)) << lane.shift();
                    *part = [0, 1].map(|share| part[share].wrapping_add(shared[share].wrapping_mul(value)));
                }
            }
            if !spec.lifted() {
                continue;
            }
            let parts = &mut self.parts[term * n..][..n];
            let unit = spec.lift_unit() << spec.lanes()[0].shift();
            for (factors, both) in [(own, false), (shared, true)] {
                for (part, &flags) in parts.iter_mut().zip(flags) {
                    let chosen = bits(flags, LIFT) & (bits(flags, VERDICT) | u64::from(!both).wrapping_neg());
                    let value = (reader.read(spec.lift_bits()) & chosen).wrapping_mul(unit);
                    *part = [0, 1].map(|share| part[share].wrapping_add(factors[share].wrapping_mul(value)));
                }
            }
        }
    }

    /// The rows of all lanes, packed. A term behind the first gets the mask that makes its row of colour 0 zero; term
    /// 0 takes the masks out again.
    fn rows(&self) -> Vec<u8> {
        let (n, spec) = (self.n, &self.spec);
        let (terms, lanes) = (spec.terms(), spec.lanes().len());
        let mut writer = BitWriter::with_capacity_bits(n * spec.opened_bits() as usize);
        // V(q) + pad(q) of an element, q the colour: d_S(0) is in the flags.
        let row = |term: usize, l: usize, i: usize| {
            let at = (term * lanes + l) * n + i;
            let ([zero, one], [even, odd]) = (self.parts[at], self.pads[at]);
            let swap = (zero ^ one) & u64::from(self.flags[term * n + i] >> DELTA & 1).wrapping_neg();
            [(zero ^ swap).wrapping_add(even), (one ^ swap).wrapping_add(odd)]
        };
        for (l, lane) in spec.lanes().iter().enumerate() {
            let width = lane.bits() + lane.shift();
            for i in 0..n {
                let masks = (1..terms).fold(0u64, |sum, term| sum.wrapping_add(row(term, l, i)[0]));
                let [even, odd] = row(0, l, i);
                writer.push(even.wrapping_add(masks), width);
                writer.push(odd.wrapping_add(masks), width);
            }
            for term in 1..terms {
                for i in 0..n {
                    let [even, odd] = row(term, l, i);
                    writer.push(odd.wrapping_sub(even), width);
                }
            }
        }
        writer.finish()
    }
}

/// The client's signed part C of a lifted value.
fn client_value(spec: &GarbleSpec, share: u64) -> u64 {
    let bits = spec.gate().comparison().ring_bits();
    let signed = |value: u64| ((value << (64 - bits)) as i64 >> (64 - bits)) as u64;
    match spec.gate().lift() {
        Lift::Guarded => {
            let quarter = 1u64 << (bits - 2);
            signed(share.wrapping_add(quarter)).wrapping_sub(quarter)
        }
        Lift::None | Lift::Positive => signed(share),
    }
}
