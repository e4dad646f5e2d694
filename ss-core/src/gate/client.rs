//! The client's side of a gate: everything it contributes is fixed offline; online it permutes and sends.
//!
//! Arrays, not structures: one field of all terms side by side. A term x = i·T + t of element i. A term's *state* packs
//! its small fields into one word:
//!
//! | bits | field |
//! |---|---|
//! | 0 … 5 | the client's shares of the combining table's variables |
//! | 6 | the constant that makes the server's share of the verdict what it has to be |
//! | 7, 8, 9 | d_C, λ, λ·d_C |

use std::fmt;

use rand_core::CryptoRng;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::tables::Tables;
use super::{GateSpec, Lift, by_digits, lane_pad};
use crate::bits::BitWriter;
use crate::error::{SsError, expect_length};
use crate::ot::pads::sender_pads;
use crate::ot::{RotReceiver, RotSender};
use crate::secret::Secret;

/// Place of the constant in a term's state.
const CONSTANT: u32 = 6;
/// Place of d_C in a term's state; λ and λ·d_C follow.
const CHOSEN: u32 = 7;

/// What the client brings to a gate of n elements, all known before any input exists. Borrowed: whoever owns the
/// shares wipes them.
pub struct ClientInputs<'a> {
    /// Its share of every compared value, k bits: n·T, the terms of an element side by side.
    pub compare: &'a [u64],
    /// Per lane its n shares of the gated value. Not read for a lifted gate, which gates what it compares.
    pub lanes: &'a [&'a [u64]],
    /// Per lane the n constants κ, in the lane's output ring.
    pub constants: &'a [&'a [u64]],
}

impl fmt::Debug for ClientInputs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientInputs({} elements, {} lanes, redacted)", self.compare.len(), self.lanes.len())
    }
}

/// Fresh random verdict shares d_C and the choice bits of the transfers in which the client receives:
/// per term d_C and, for a lifted gate, λ and λ·d_C. Feed them to the OT extension, then to
/// [`ClientGate::prepare`] with what comes out. `compare` as in [`ClientInputs`].
pub fn choices(spec: &GateSpec, compare: &[u64], rng: &mut impl CryptoRng) -> Zeroizing<Vec<u8>> {
    let per = spec.client_transfers_per_term();
    let mut bits = Zeroizing::new(vec![0; compare.len() * per]);
    let view = ShareView::new(spec);
    for (shares, bits) in compare.chunks(64).zip(bits.chunks_mut(64 * per)) {
        let mut pool = rng.next_u64();
        for (&share, bits) in shares.iter().zip(bits.chunks_exact_mut(per)) {
            bits[0] = (pool & 1) as u8;
            pool >>= 1;
            if let [verdict, carry, both] = bits {
                *carry = view.carry(share) as u8;
                *both = *carry & *verdict;
            }
        }
    }
    bits
}

/// Prepared, unused client material for one gate. One-time: every step consumes it.
pub struct ClientGate {
    pub(super) spec: GateSpec,
    pub(super) n: usize,
    /// Per table word (the second empty where one is enough) and term: tables under the client's share bits, and pads.
    pub(super) tables: [Secret<u64>; 2],
    pub(super) table_pads: [Secret<u64>; 2],
    /// Per term the pads of the combining table; empty where there is one digit.
    pub(super) combine_pads: Secret<u64>,
    pub(super) state: Secret<u16>,
    /// Per lane: of every element the result for f = 0, and what f = 1 of every term adds.
    pub(super) base: Vec<Secret<u64>>,
    pub(super) flip: Vec<Secret<u64>>,
}

// All parts wipe themselves; a `Drop` here would forbid handing them on. So it is with all states below.
impl ZeroizeOnDrop for ClientGate {}

impl ClientGate {
    /// Turns random transfers into gate material; returns the offline message of corrections with it.
    ///
    /// `received` are the transfers obtained with the bits of [`choices`], `sent` the transfers in which the server
    /// chose at random ([`GateSpec::server_transfers`] per element).
    ///
    /// # Errors
    /// [`SsError::WrongLength`] when a slice does not fit the gate.
    pub fn prepare(
        spec: &GateSpec,
        inputs: &ClientInputs<'_>,
        sent: RotSender,
        received: RotReceiver,
        rng: &mut impl CryptoRng,
    ) -> Result<(Vec<u8>, Self), SsError> {
        let n = inputs.compare.len() / spec.terms();
        expect_length("compared shares of a gate", n * spec.terms(), inputs.compare.len())?;
        expect_length("transfers sent for a gate", n * spec.server_transfers(), sent.len())?;
        expect_length("transfers received for a gate", n * spec.client_transfers(), received.len())?;
        if !spec.lifted() {
            expect_length("lanes of a gate", spec.lanes().len(), inputs.lanes.len())?;
            for lane in inputs.lanes {
                expect_length("values of a gate's lane", n, lane.len())?;
            }
        }
        expect_length("constants of a gate", spec.lanes().len(), inputs.constants.len())?;
        for constants in inputs.constants {
            expect_length("constants of a gate's lane", n, constants.len())?;
        }
        let mut random = Secret::zeros(inputs.compare.len());
        rng.fill_bytes(&mut random);
        let mut gate = Self::blank(spec, n);
        by_digits!(spec.comparison(), gate.fill_tables(inputs.compare, &sent, &received, &random));
        let corrections = gate.fill_lanes(inputs, &sent, &received);
        Ok((corrections, gate))
    }

    /// A gate of the right sizes, all zeros.
    pub(super) fn blank(spec: &GateSpec, n: usize) -> Self {
        let (test, total) = (spec.comparison(), n * spec.terms());
        let words = || [Secret::zeros(total), Secret::zeros(if test.table_bits() > 64 { total } else { 0 })];
        let lanes = |len: usize| spec.lanes().iter().map(|_| Secret::zeros(len)).collect();
        Self {
            spec: spec.clone(),
            n,
            tables: words(),
            table_pads: words(),
            combine_pads: Secret::zeros(if test.combine_entries() > 0 { total } else { 0 }),
            state: Secret::zeros(total),
            base: lanes(n),
            flip: lanes(total),
        }
    }

    /// The sign tests: digit tables under random share bits, which also shift the combining table.
    fn fill_tables<const D: usize>(
        &mut self,
        compare: &[u64],
        sent: &RotSender,
        received: &RotReceiver,
        random: &[u8],
    ) {
        let (spec, test) = (&self.spec, self.spec.comparison());
        let tables = Tables::<D>::new(test);
        let combine_bits = test.combine_bits();
        let digit_pairs = test.low_bits() as usize;
        let transfers = sent.pairs().chunks_exact(spec.server_transfers_per_term());
        let chosen = received.choices().chunks_exact(spec.client_transfers_per_term());
        for (x, ((&share, pairs), chosen)) in compare.iter().zip(transfers).zip(chosen).enumerate() {
            let verdict = u32::from(chosen[0]);
            let outer = test.top(share) as u32 ^ 1 ^ verdict;
            // One digit alone: its share is what makes the verdict right. d_C is random, so it is too.
            let shares = if D == 1 { outer } else { u32::from(random[x]) & ((1 << (2 * D - 1)) - 1) };
            let (words, pads) =
                (tables.masked(test.threshold(share), shares), tables.sender_pads(&pairs[..digit_pairs]));
            (self.tables[0][x], self.table_pads[0][x]) = (words[0], pads[0]);
            if tables.bits[1] > 0 {
                (self.tables[1][x], self.table_pads[1][x]) = (words[1], pads[1]);
            }
            if D > 1 {
                self.combine_pads[x] = sender_pads(&pairs[digit_pairs..][..combine_bits as usize], 1);
            }
            let constant = (shares >> combine_bits) ^ outer;
            let mut state = shares & ((1 << combine_bits) - 1) | constant << CONSTANT;
            for (b, &bit) in chosen.iter().enumerate() {
                state |= u32::from(bit) << (CHOSEN + b as u32);
            }
            self.state[x] = state as u16;
        }
    }

    /// The products: per lane the client's own part, what a flip adds, and the corrections for the server.
    fn fill_lanes(&mut self, inputs: &ClientInputs<'_>, sent: &RotSender, received: &RotReceiver) -> Vec<u8> {
        let spec = &self.spec;
        let (terms, per, per_client) =
            (spec.terms(), spec.server_transfers_per_term(), spec.client_transfers_per_term());
        let (view, ring_bits) = (ShareView::new(spec), spec.comparison().ring_bits());
        let mut corrections = BitWriter::with_capacity_bits(spec.total_bits(0, self.n));
        for i in 0..self.n {
            let mut own = [0u64; 2];
            for (t, &slope) in spec.slopes().iter().enumerate() {
                let x = i * terms + t;
                let (select, pads) =
                    (&sent.pairs()[(x + 1) * per - 1], &received.pads()[x * per_client..][..per_client]);
                let verdict = u64::from(self.state[x]) >> CHOSEN & 1;
                for (l, lane) in spec.lanes().iter().enumerate() {
                    let (zero, one) = (lane_pad(select[0], l), lane_pad(select[1], l));
                    let value = if let [_, carry, both] = pads {
                        let integer = view.integer(inputs.compare[x]);
                        let lifts = (*carry as u64).wrapping_add(*both as u64) << ring_bits;
                        let straight = integer.wrapping_mul(spec.base_of(t) as u64);
                        own[l] = own[l].wrapping_add(lifts).wrapping_add(straight);
                        integer.wrapping_mul(slope as u64)
                    } else {
                        inputs.lanes[l][i]
                    };
                    // Δ = V·(1 − 2d_C); f = 1 turns −P0 into Δ + P0.
                    let delta = value.wrapping_sub(value.wrapping_mul(2 * verdict));
                    corrections.push(zero.wrapping_sub(one).wrapping_add(delta), lane.bits());
                    own[l] = own[l]
                        .wrapping_add(lane_pad(pads[0], l))
                        .wrapping_add(value.wrapping_mul(verdict))
                        .wrapping_sub(zero);
                    self.flip[l][x] = delta.wrapping_add(zero << 1) << lane.shift();
                }
            }
            for (l, lane) in spec.lanes().iter().enumerate() {
                self.base[l][i] = (own[l] << lane.shift()).wrapping_add(inputs.constants[l][i]);
            }
        }
        corrections.finish()
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.n
    }

    /// Whether the gate has no elements.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// Message 1 in, message 2 out.
    ///
    /// # Errors
    /// [`SsError`] when the server's message has the wrong length or stray bits.
    pub fn tables(self, offsets: &[u8]) -> Result<(Vec<u8>, ClientCombine), SsError> {
        let message = by_digits!(self.spec.comparison(), self.answer_tables(offsets))?;
        Ok((message, ClientCombine { gate: self }))
    }

    fn answer_tables<const D: usize>(&self, offsets: &[u8]) -> Result<Vec<u8>, SsError> {
        let test = self.spec.comparison();
        let tables = Tables::<D>::new(test);
        let mut reader = self.spec.open(1, self.n, offsets)?;
        let mut writer = BitWriter::with_capacity_bits(self.spec.total_bits(2, self.n));
        for x in 0..self.state.len() {
            let offset = reader.read(test.low_bits()) as u32;
            for w in 0..2 {
                if tables.bits[w] > 0 {
                    let table = tables.permute(w, self.tables[w][x], offset);
                    writer.push(table ^ self.table_pads[w][x], tables.bits[w]);
                }
            }
        }
        reader.finish()?;
        Ok(writer.finish())
    }
}

/// After message 2.
pub struct ClientCombine {
    pub(super) gate: ClientGate,
}

impl ZeroizeOnDrop for ClientCombine {}

impl ClientCombine {
    /// Message 3 in, message 4 out.
    ///
    /// # Errors
    /// [`SsError`] when the server's message has the wrong length or stray bits.
    pub fn respond(self, offsets: &[u8]) -> Result<(Vec<u8>, ClientSelect), SsError> {
        let message = by_digits!(self.gate.spec.comparison(), self.answer(offsets))?;
        Ok((message, ClientSelect { gate: self.gate }))
    }

    fn answer<const D: usize>(&self, offsets: &[u8]) -> Result<Vec<u8>, SsError> {
        let gate = &self.gate;
        let mut reader = gate.spec.open(3, gate.n, offsets)?;
        let mut writer = BitWriter::with_capacity_bits(gate.spec.total_bits(4, gate.n));
        let (bits, entries) = (2 * (D as u32 - 1), 1 << (2 * (D as u32 - 1)));
        for (&pads, &state) in gate.combine_pads.iter().zip(&*gate.state) {
            let offset = reader.read(bits) as u32 ^ u32::from(state);
            let constant = u64::from(state >> CONSTANT & 1).wrapping_neg();
            writer.push(Tables::<D>::combining(offset) ^ constant ^ pads, entries);
        }
        reader.finish()?;
        Ok(writer.finish())
    }
}

/// After message 4.
pub struct ClientSelect {
    pub(super) gate: ClientGate,
}

impl ZeroizeOnDrop for ClientSelect {}

impl ClientSelect {
    /// Message 5 in, message 6 out; the client is done and its material wiped.
    ///
    /// # Errors
    /// [`SsError`] when the server's message has the wrong length or stray bits.
    pub fn finish(self, corrections: &[u8]) -> Result<Vec<u8>, SsError> {
        let gate = self.gate;
        let spec = &gate.spec;
        let (terms, lift_bits, ring_bits) = (spec.terms(), spec.lift_bits(), spec.comparison().ring_bits());
        let mut reader = spec.open(5, gate.n, corrections)?;
        let mut writer = BitWriter::with_capacity_bits(spec.total_bits(6, gate.n));
        for i in 0..gate.n {
            let mut sums = [0u64; 2];
            for x in i * terms..(i + 1) * terms {
                let state = u64::from(gate.state[x]);
                let mask = |bit: u32| (state >> (CHOSEN + bit) & 1).wrapping_neg();
                let flipped = reader.read(1).wrapping_neg();
                for (l, lane) in spec.lanes().iter().enumerate() {
                    let chosen = (reader.read(lane.bits()) & mask(0)) << lane.shift();
                    sums[l] = sums[l].wrapping_add(chosen).wrapping_add(gate.flip[l][x] & flipped);
                }
                if lift_bits > 0 {
                    let (carry, both) = (reader.read(lift_bits) & mask(1), reader.read(lift_bits) & mask(2));
                    let lifts = carry.wrapping_add(both) << ring_bits << spec.lanes()[0].shift();
                    sums[0] = sums[0].wrapping_add(lifts);
                }
            }
            for (l, lane) in spec.lanes().iter().enumerate() {
                writer.push(gate.base[l][i].wrapping_add(sums[l]), lane.bits() + lane.shift());
            }
        }
        reader.finish()?;
        Ok(writer.finish())
    }
}

/// A client's share as the integer C of the lift, and λ, the client's bit in the lift's product.
#[derive(Clone, Copy)]
struct ShareView {
    /// 64 − k.
    unused: u32,
    /// What is added before the sign is read: 2^(k−2) for a guarded lift.
    offset: u64,
    /// 1 for a guarded lift, where λ is the complement of the sign.
    complement: u64,
}

impl ShareView {
    fn new(spec: &GateSpec) -> Self {
        let (ring_bits, guarded) = (spec.comparison().ring_bits(), spec.lift() == Lift::Guarded);
        let offset = if guarded { 1 << (ring_bits - 2) } else { 0 };
        Self { unused: 64 - ring_bits, offset, complement: u64::from(guarded) }
    }

    /// λ.
    fn carry(self, share: u64) -> u64 {
        (share.wrapping_add(self.offset) << self.unused >> 63) ^ self.complement
    }

    /// C, modulo 2^64.
    fn integer(self, share: u64) -> u64 {
        let shifted = share.wrapping_add(self.offset) << self.unused;
        ((shifted as i64 >> self.unused) as u64).wrapping_sub(self.offset)
    }
}
