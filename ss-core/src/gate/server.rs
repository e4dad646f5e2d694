//! The server's side of a gate: it knows its shares only when the input is there, so it speaks first.
//!
//! Arrays, not structures, as on the client's side. The *state* of a term x = i·T + t is one word:
//!
//! | bits | field |
//! |---|---|
//! | 0 … 15 | the random index of the digit tables, ℓ bits |
//! | 16 … 22 | pad bits of its entries: g_0 … g_{D−2}, e_1 … e_{D−1}, g_{D−1} |
//! | 23 … 28 | the random index of the combining table |
//! | 29 | the pad bit of its entry |
//! | 30 | the random choice b of the multiplexer |
//! | 31 | online: this party's share of the top digit's g |
//!
//! [`ServerGate::receive`] keeps 12 bytes of the 17 *per transfer* of a term at once; a whole network's gates
//! can then wait for the client's corrections.

use zeroize::ZeroizeOnDrop;

use super::tables::Tables;
use super::{GateSpec, Lift, by_digits, lane_pad};
use crate::bits::BitWriter;
use crate::compare::Comparison;
use crate::error::{SsError, expect_length};
use crate::ot::pads::receiver_pad;
use crate::ot::{RotReceiver, RotSender};
use crate::secret::Secret;

const TABLE_PADS: u32 = 16;
const COMBINE_INDEX: u32 = 23;
const COMBINE_PAD: u32 = 29;
const SELECT: u32 = 30;
const TOP: u32 = 31;

/// The transfers of a gate in which the server chooses, cut down to what the gate needs; the client's corrections are
/// still to come.
pub struct ServerWaiting {
    pub(super) spec: GateSpec,
    pub(super) n: usize,
    pub(super) state: Secret<u32>,
    /// Per lane the pad P_b of the multiplexer.
    pub(super) chosen: Vec<Secret<u64>>,
}

// All parts wipe themselves; a `Drop` here would forbid handing them on. So it is with all states below.
impl ZeroizeOnDrop for ServerWaiting {}

impl ServerWaiting {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.n
    }

    /// Whether the gate has no elements.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    fn fill<const D: usize>(&mut self, received: &RotReceiver) {
        let test = self.spec.comparison();
        let (tables, digit_bits) = (Tables::<D>::new(test), test.low_bits() as usize);
        let per = self.spec.server_transfers_per_term();
        let transfers = received.choices().chunks_exact(per).zip(received.pads().chunks_exact(per));
        for (x, (choices, pads)) in transfers.enumerate() {
            let (indices, table_pads) = tables.receiver_pads(&choices[..digit_bits], &pads[..digit_bits]);
            let mut state = indices | table_pads << TABLE_PADS;
            if D > 1 {
                let (index, bit) = receiver_pad(&choices[digit_bits..per - 1], &pads[digit_bits..per - 1], 1);
                state |= index << COMBINE_INDEX | bit << COMBINE_PAD;
            }
            self.state[x] = state | u32::from(choices[per - 1]) << SELECT;
            for (l, chosen) in self.chosen.iter_mut().enumerate() {
                chosen[x] = lane_pad(pads[per - 1], l);
            }
        }
    }

    /// Turns the transfers in which the client chose and its corrections into the gate.
    ///
    /// # Errors
    /// [`SsError`] when a count or the message does not fit the gate.
    pub fn complete(self, sent: RotSender, corrections: &[u8]) -> Result<ServerGate, SsError> {
        let Self { spec, n, state, mut chosen } = self;
        expect_length("transfers sent for a gate", n * spec.client_transfers(), sent.len())?;
        let mut reader = spec.open(0, n, corrections)?;
        let (terms, per, ring_bits) =
            (spec.terms(), spec.client_transfers_per_term(), spec.comparison().ring_bits());
        let lanes = |len: usize| spec.lanes().iter().map(|_| Secret::zeros(len)).collect::<Vec<_>>();
        let (mut base, mut difference) = (lanes(n), lanes(n * terms));
        let mut lifts = Secret::zeros(if spec.lifted() { n * terms } else { 0 });
        for i in 0..n {
            let mut own = [0u64; 2];
            for x in i * terms..(i + 1) * terms {
                let random = u64::from(state[x] >> SELECT & 1).wrapping_neg();
                let pairs = &sent.pairs()[x * per..][..per];
                for (l, lane) in spec.lanes().iter().enumerate() {
                    let correction = reader.read(lane.bits());
                    chosen[l][x] = chosen[l][x].wrapping_add(correction & random);
                    let (zero, one) = (lane_pad(pairs[0][0], l), lane_pad(pairs[0][1], l));
                    difference[l][x] = zero.wrapping_sub(one);
                    own[l] = own[l].wrapping_sub(zero);
                }
                if let [_, carry, both] = pairs {
                    lifts[x] = [carry, both].map(|pair| (pair[0] as u64).wrapping_sub(pair[1] as u64));
                    let pads = (carry[0] as u64).wrapping_add(both[0] as u64);
                    own[0] = own[0].wrapping_sub(pads << ring_bits);
                }
            }
            for ((base, own), lane) in base.iter_mut().zip(own).zip(spec.lanes()) {
                base[i] = own << lane.shift();
            }
        }
        reader.finish()?;
        Ok(ServerGate { spec, n, state, chosen, base, difference, lifts })
    }
}

/// Prepared, unused server material for one gate. One-time: every step consumes it.
pub struct ServerGate {
    pub(super) spec: GateSpec,
    pub(super) n: usize,
    pub(super) state: Secret<u32>,
    /// Per lane: Q = P0 + b·Δ and K0 − K1 of every term, and of every element the sum of this party's own pads.
    pub(super) chosen: Vec<Secret<u64>>,
    pub(super) difference: Vec<Secret<u64>>,
    pub(super) base: Vec<Secret<u64>>,
    /// Per term K0 − K1 of the two lift transfers; empty without a lift.
    pub(super) lifts: Secret<[u64; 2]>,
}

impl ZeroizeOnDrop for ServerGate {}

impl ServerGate {
    /// First half of the preparation: takes the n·[`GateSpec::server_transfers`] transfers in which the server chose at
    /// random, and keeps what the gate needs of them.
    ///
    /// # Errors
    /// [`SsError::WrongLength`] for another number of transfers.
    pub fn receive(spec: &GateSpec, n: usize, received: RotReceiver) -> Result<ServerWaiting, SsError> {
        expect_length("transfers received for a gate", n * spec.server_transfers(), received.len())?;
        let total = n * spec.terms();
        let mut waiting = ServerWaiting {
            spec: spec.clone(),
            n,
            state: Secret::zeros(total),
            chosen: spec.lanes().iter().map(|_| Secret::zeros(total)).collect(),
        };
        by_digits!(spec.comparison(), waiting.fill(&received));
        Ok(waiting)
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.n
    }

    /// Whether the gate has no elements.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// Starts the gate: `compare` the server's k-bit shares, one per element, `lanes` its shares of each gated value
    /// (not read for a lifted gate, which gates what it compares). Gives message 1.
    /// The operands are wiped when the gate is done, or refused.
    ///
    /// # Errors
    /// [`SsError::WrongLength`] when the operands do not have the gate's size.
    pub fn begin(self, compare: Vec<u64>, lanes: Vec<Vec<u64>>) -> Result<(Vec<u8>, ServerCombine), SsError> {
        let operands =
            Operands { compare: Secret::from(compare), lanes: lanes.into_iter().map(Secret::from).collect() };
        expect_length("compared shares of a gate", self.n, operands.compare.len())?;
        if !self.spec.lifted() {
            expect_length("lanes of a gate", self.spec.lanes().len(), operands.lanes.len())?;
            for lane in &operands.lanes {
                expect_length("values of a gate's lane", self.n, lane.len())?;
            }
        }
        let test = self.spec.comparison();
        let (bits, mask) = (test.low_bits(), (1 << test.low_bits()) - 1);
        let mut writer = BitWriter::with_capacity_bits(self.spec.total_bits(1, self.n));
        for (&share, states) in operands.compare.iter().zip(self.state.chunks_exact(self.spec.terms())) {
            for &state in states {
                writer.push(u64::from(test.low(share) ^ (state & mask)), bits);
            }
        }
        Ok((writer.finish(), ServerCombine { gate: self, operands }))
    }
}

/// The server's shares of one gate.
pub(super) struct Operands {
    pub(super) compare: Secret<u64>,
    pub(super) lanes: Vec<Secret<u64>>,
}

impl ZeroizeOnDrop for Operands {}

/// After message 1.
pub struct ServerCombine {
    pub(super) gate: ServerGate,
    pub(super) operands: Operands,
}

impl ZeroizeOnDrop for ServerCombine {}

impl ServerCombine {
    /// Message 2 in, message 3 out.
    ///
    /// # Errors
    /// [`SsError`] when the client's message has the wrong length or stray bits.
    pub fn combine(mut self, tables: &[u8]) -> Result<(Vec<u8>, ServerSelect), SsError> {
        let message = by_digits!(self.gate.spec.comparison(), self.open_tables(tables))?;
        Ok((message, ServerSelect { gate: self.gate, operands: self.operands }))
    }

    fn open_tables<const D: usize>(&mut self, message: &[u8]) -> Result<Vec<u8>, SsError> {
        let gate = &mut self.gate;
        let test = gate.spec.comparison();
        let tables = Tables::<D>::new(test);
        let combine_bits = 2 * (D as u32 - 1);
        let mut reader = gate.spec.open(2, gate.n, message)?;
        let mut writer = BitWriter::with_capacity_bits(gate.spec.total_bits(3, gate.n));
        for state in gate.state.iter_mut() {
            let words = [reader.read(tables.bits[0]), reader.read(tables.bits[1])];
            let opened = tables.open(words, *state) ^ *state >> TABLE_PADS;
            writer.push(u64::from(opened ^ *state >> COMBINE_INDEX), combine_bits);
            *state |= (opened >> combine_bits & 1) << TOP;
        }
        reader.finish()?;
        Ok(writer.finish())
    }
}

/// After message 3.
pub struct ServerSelect {
    pub(super) gate: ServerGate,
    pub(super) operands: Operands,
}

impl ZeroizeOnDrop for ServerSelect {}

impl ServerSelect {
    /// Message 4 in, message 5 out.
    ///
    /// # Errors
    /// [`SsError`] when the client's message has the wrong length or stray bits.
    pub fn select(self, tables: &[u8]) -> Result<(Vec<u8>, ServerFinish), SsError> {
        let Self { mut gate, operands } = self;
        let spec = &gate.spec;
        let (test, terms, lift_bits) = (spec.comparison(), spec.terms(), spec.lift_bits());
        let entries = test.combine_entries();
        let view = ShareView::new(spec);
        let mut reader = spec.open(4, gate.n, tables)?;
        let mut writer = BitWriter::with_capacity_bits(spec.total_bits(5, gate.n));
        for (i, &share) in operands.compare.iter().enumerate() {
            let top = test.top(share);
            let mut own = [0u64; 2];
            for (t, &slope) in spec.slopes().iter().enumerate() {
                let x = i * terms + t;
                let state = gate.state[x];
                let entry = reader.read(entries) >> (state >> COMBINE_INDEX & 63);
                let verdict = (entry ^ u64::from(state >> COMBINE_PAD ^ state >> TOP) ^ top) & 1;
                let flip = verdict ^ u64::from(state >> SELECT & 1);
                writer.push(flip, 1);
                for (l, lane) in spec.lanes().iter().enumerate() {
                    let (value, straight) = if spec.lifted() {
                        let integer = view.integer(share);
                        (integer.wrapping_mul(slope as u64), integer.wrapping_mul(spec.base_of(t) as u64))
                    } else {
                        (operands.lanes[l][i], 0)
                    };
                    let delta = value.wrapping_sub(value.wrapping_mul(2 * verdict));
                    writer.push(gate.difference[l][x].wrapping_add(delta), lane.bits());
                    // ±Q: the transfer was made for b; f says whether d_S is b or its complement.
                    let chosen = gate.chosen[l][x].wrapping_sub(gate.chosen[l][x].wrapping_mul(2 * flip));
                    own[l] = own[l]
                        .wrapping_add(value.wrapping_mul(verdict))
                        .wrapping_add(chosen)
                        .wrapping_add(straight);
                }
                if lift_bits > 0 {
                    let [base, step] = view.lift_slopes(spec.base_of(t), slope);
                    let mask = top.wrapping_neg();
                    let carry = base.wrapping_add(step.wrapping_mul(verdict)) & mask;
                    let both = step.wrapping_sub(step.wrapping_mul(2 * verdict)) & mask;
                    writer.push(gate.lifts[x][0].wrapping_add(carry), lift_bits);
                    writer.push(gate.lifts[x][1].wrapping_add(both), lift_bits);
                }
            }
            for (l, lane) in spec.lanes().iter().enumerate() {
                gate.base[l][i] = gate.base[l][i].wrapping_add(own[l] << lane.shift());
            }
        }
        reader.finish()?;
        Ok((writer.finish(), ServerFinish { gate }))
    }
}

/// After message 5.
pub struct ServerFinish {
    pub(super) gate: ServerGate,
}

impl ZeroizeOnDrop for ServerFinish {}

impl ServerFinish {
    /// Message 6 in; per lane z + κ in the lane's output ring comes out: a share, for the caller to wipe.
    ///
    /// # Errors
    /// [`SsError`] when the client's message has the wrong length or stray bits.
    pub fn finish(self, message: &[u8]) -> Result<Vec<Vec<u64>>, SsError> {
        let mut gate = self.gate;
        let mut reader = gate.spec.open(6, gate.n, message)?;
        for i in 0..gate.n {
            for (lane, results) in gate.spec.lanes().iter().zip(&mut gate.base) {
                let received = reader.read(lane.bits() + lane.shift());
                results[i] = lane.output().add(results[i], received);
            }
        }
        reader.finish()?;
        Ok(gate.base.into_iter().map(Secret::into_inner).collect())
    }
}

/// A server's share as the integer A of the lift, and the slopes of the lift's correction.
#[derive(Clone, Copy)]
struct ShareView {
    /// k.
    test: Comparison,
    guarded: bool,
}

impl ShareView {
    fn new(spec: &GateSpec) -> Self {
        Self { test: spec.comparison(), guarded: spec.lift() == Lift::Guarded }
    }

    /// A, modulo 2^64: signed, or unsigned for a guarded lift.
    #[inline]
    fn integer(self, share: u64) -> u64 {
        let unused = 64 - self.test.ring_bits();
        let moved = share << unused;
        if self.guarded { moved >> unused } else { (moved as i64 >> unused) as u64 }
    }

    /// B and S of the lift's coefficient μ·(B + S·d).
    #[inline]
    fn lift_slopes(self, base: i64, slope: i64) -> [u64; 2] {
        if self.guarded {
            [base.wrapping_neg() as u64, slope.wrapping_neg() as u64]
        } else {
            [0, slope as u64]
        }
    }
}
