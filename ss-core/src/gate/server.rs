//! The server's side of a gate: it knows its shares only when the input is there, so it speaks first.

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::client::sign_extend;
use super::{GateSpec, join, lane_pad, lane_vectors};
use crate::bits::BitWriter;
use crate::error::{SsError, expect_length};
use crate::ot::pads::receiver_pad;
use crate::ot::{RotReceiver, RotSender};

/// Prepared, unused server material for one gate. One-time: every step consumes it.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct ServerGate {
    #[zeroize(skip)]
    spec: GateSpec,
    n: usize,
    /// Per element and digit the random index, and above it (bit 4 up) the pad bits at that index.
    digits: Vec<u8>,
    /// Per element the random index of the combining transfer, and in bit 7 its pad bit.
    combine: Vec<u8>,
    /// Per element the random choice b of the multiplexer.
    select: Vec<u8>,
    /// Per lane: Q = P0 + b·Δ, the sum of its own pads (output ring), and K0 − K1.
    chosen: Vec<Vec<u64>>,
    base: Vec<Vec<u64>>,
    difference: Vec<Vec<u64>>,
    /// K0 − K1 of the two lift transfers.
    lifts: Vec<[u64; 2]>,
}

impl ServerGate {
    /// A gate without elements, with room for `n`: [`ServerGate::append`] then moves nothing that is already there.
    pub fn with_capacity(spec: &GateSpec, n: usize) -> Self {
        Self {
            spec: spec.clone(),
            n: 0,
            digits: Vec::with_capacity(n * spec.comparison.digits()),
            combine: Vec::with_capacity(n),
            select: Vec::with_capacity(n),
            chosen: lane_vectors(spec, n),
            base: lane_vectors(spec, n),
            difference: lane_vectors(spec, n),
            lifts: Vec::with_capacity(if spec.lifted { n } else { 0 }),
        }
    }

    /// Turns random transfers and the client's offline corrections into gate material.
    ///
    /// # Errors
    /// [`SsError`] when a count or the message does not fit the gate.
    pub fn prepare(
        spec: &GateSpec,
        n: usize,
        received: RotReceiver,
        sent: RotSender,
        corrections: &[u8],
    ) -> Result<Self, SsError> {
        expect_length("transfers received for a gate", n * spec.server_transfers(), received.len())?;
        expect_length("transfers sent for a gate", n * spec.client_transfers(), sent.len())?;
        let test = spec.comparison;
        let mut gate = Self::with_capacity(spec, n);
        gate.n = n;
        let mut reader = spec.open(0, n, corrections)?;
        for i in 0..n {
            let per = spec.server_transfers();
            let (mut choices, mut pads) =
                (&received.choices()[i * per..][..per], &received.pads()[i * per..][..per]);
            let mut draw = |count: u32, planes: u32| {
                let (own, rest) = (choices.split_at(count as usize), pads.split_at(count as usize));
                (choices, pads) = (own.1, rest.1);
                receiver_pad(own.0, rest.0, planes)
            };
            for d in 0..test.digits() {
                let (index, bits) = draw(test.width(d), test.planes(d));
                gate.digits.push((index | bits << 4) as u8);
            }
            let (index, bit) = draw(test.combine_bits(), 1);
            gate.combine.push((index | bit << 7) as u8);
            gate.select.push(choices[0]);
            let random = u64::from(choices[0]).wrapping_neg();

            let pairs = &sent.pairs()[i * spec.client_transfers()..][..spec.client_transfers()];
            for (l, lane) in spec.lanes.iter().enumerate() {
                let correction = reader.read(lane.bits);
                gate.chosen[l].push(lane_pad(pads[0], l).wrapping_add(correction & random));
                let (zero, one) = (lane_pad(pairs[0][0], l), lane_pad(pairs[0][1], l));
                gate.difference[l].push(zero.wrapping_sub(one));
                let mut own = zero;
                if spec.lifted {
                    let lifts = lane_pad(pairs[1][0], 0).wrapping_add(lane_pad(pairs[2][0], 0));
                    own = own.wrapping_add(lifts << test.ring_bits());
                }
                gate.base[l].push((own << lane.shift).wrapping_neg());
            }
            if spec.lifted {
                gate.lifts.push([1, 2].map(|t| (pairs[t][0] as u64).wrapping_sub(pairs[t][1] as u64)));
            }
        }
        reader.finish()?;
        Ok(gate)
    }

    /// Puts the elements of `other`, a gate of the same shape, behind these. Leaves no unwiped copy of either; without
    /// room from [`ServerGate::with_capacity`] every element moves.
    ///
    /// # Errors
    /// [`SsError::BadValue`] for a gate of another shape.
    pub fn append(&mut self, other: Self) -> Result<(), SsError> {
        if self.spec != other.spec {
            return Err(SsError::BadValue { what: "gates of one shape can be joined" });
        }
        self.n += other.n;
        join(&mut self.digits, &other.digits);
        join(&mut self.combine, &other.combine);
        join(&mut self.select, &other.select);
        let lanes = [
            (&mut self.chosen, &other.chosen),
            (&mut self.base, &other.base),
            (&mut self.difference, &other.difference),
        ];
        for (own, more) in lanes {
            own.iter_mut().zip(more).for_each(|(own, more)| join(own, more));
        }
        join(&mut self.lifts, &other.lifts);
        Ok(())
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.n
    }

    /// Whether the gate has no elements.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// Starts the gate: `compare` the server's k-bit shares, `lanes` its share of each gated value. Gives message 1.
    /// The operands are wiped when the gate is done, or refused.
    ///
    /// # Errors
    /// [`SsError::WrongLength`] when the operands do not have the gate's size.
    pub fn begin(self, compare: Vec<u64>, lanes: Vec<Vec<u64>>) -> Result<(Vec<u8>, ServerCombine), SsError> {
        let (compare, lanes) = (Zeroizing::new(compare), Zeroizing::new(lanes));
        let wrong = |got| SsError::WrongLength { what: "operands of a gate", expected: self.n, got };
        if lanes.len() != self.spec.lanes.len() {
            return Err(SsError::WrongLength {
                what: "lanes of a gate",
                expected: self.spec.lanes.len(),
                got: lanes.len(),
            });
        }
        if let Some(bad) = lanes.iter().chain([&*compare]).find(|values| values.len() != self.n) {
            return Err(wrong(bad.len()));
        }
        let test = self.spec.comparison;
        let mut writer = BitWriter::with_capacity_bits(self.n * test.low_bits() as usize);
        for (i, &share) in compare.iter().enumerate() {
            for d in 0..test.digits() {
                let index = u32::from(self.digits[i * test.digits() + d]) & 15;
                writer.push(u64::from(test.digit(share, d) ^ index), test.width(d));
            }
        }
        Ok((writer.finish(), ServerCombine { gate: self, compare, lanes }))
    }
}

/// After message 1.
pub struct ServerCombine {
    pub(super) gate: ServerGate,
    pub(super) compare: Zeroizing<Vec<u64>>,
    pub(super) lanes: Zeroizing<Vec<Vec<u64>>>,
}

// All parts wipe themselves; a `Drop` here would forbid handing them on. So it is below.
impl ZeroizeOnDrop for ServerCombine {}

impl ServerCombine {
    /// Message 2 in, message 3 out.
    ///
    /// # Errors
    /// [`SsError`] when the client's message has the wrong length or stray bits.
    pub fn combine(self, tables: &[u8]) -> Result<(Vec<u8>, ServerSelect), SsError> {
        let Self { gate, compare, lanes } = self;
        let test = gate.spec.comparison;
        let mut reader = gate.spec.open(2, gate.n, tables)?;
        let mut writer = BitWriter::with_capacity_bits(gate.n * test.combine_bits() as usize);
        let mut verdicts = Zeroizing::new(Vec::with_capacity(gate.n));
        let digits = test.digits();
        for (i, &share) in compare.iter().enumerate() {
            let (mut index, mut top) = (0u32, 0u32);
            for d in 0..digits {
                let (width, planes) = (test.width(d), test.planes(d));
                let entry = u32::from(gate.digits[i * digits + d]);
                let table = reader.read(planes << width);
                let greater = (table >> (entry & 15)) as u32 & 1 ^ (entry >> 4 & 1);
                if d + 1 == digits {
                    top = greater
                } else {
                    index |= greater << d
                }
                if d > 0 {
                    let equal = (table >> ((entry & 15) + (1 << width))) as u32 & 1 ^ (entry >> 5 & 1);
                    index |= equal << (digits + d - 2);
                }
            }
            let random = u32::from(gate.combine[i]) & 63;
            writer.push(u64::from(index ^ random), test.combine_bits());
            verdicts.push(top as u8 ^ test.top(share) as u8);
        }
        reader.finish()?;
        Ok((writer.finish(), ServerSelect { gate, compare, lanes, verdicts }))
    }
}

/// After message 3.
pub struct ServerSelect {
    pub(super) gate: ServerGate,
    pub(super) compare: Zeroizing<Vec<u64>>,
    pub(super) lanes: Zeroizing<Vec<Vec<u64>>>,
    /// Per element this party's share of the top digit's verdict.
    pub(super) verdicts: Zeroizing<Vec<u8>>,
}

impl ZeroizeOnDrop for ServerSelect {}

impl ServerSelect {
    /// Message 4 in, message 5 out.
    ///
    /// # Errors
    /// [`SsError`] when the client's message has the wrong length or stray bits.
    pub fn select(self, tables: &[u8]) -> Result<(Vec<u8>, ServerFinish), SsError> {
        let Self { gate, compare, lanes, verdicts } = self;
        let (spec, test) = (&gate.spec, gate.spec.comparison);
        let mut reader = spec.open(4, gate.n, tables)?;
        let mut writer = BitWriter::with_capacity_bits(8 * spec.message_bytes(gate.n)[5]);
        let mut results = Zeroizing::new(lane_vectors(spec, gate.n));
        for i in 0..gate.n {
            let combine = gate.combine[i];
            let opened = (reader.read(1 << test.combine_bits()) >> (combine & 63)) as u8 & 1 ^ combine >> 7;
            let verdict = u64::from(opened ^ verdicts[i]);
            let flip = verdict ^ u64::from(gate.select[i]);
            writer.push(flip, 1);
            for (l, lane) in spec.lanes.iter().enumerate() {
                let ring = lane.ring();
                let value = if spec.lifted { sign_extend(spec, lanes[l][i]) } else { lanes[l][i] };
                let delta = value.wrapping_sub(value.wrapping_mul(2 * verdict));
                writer.push(ring.add(gate.difference[l][i], delta), lane.bits);
                // ±Q: the transfer was made for b; f says whether d_S is b or its complement.
                let chosen = gate.chosen[l][i].wrapping_sub(gate.chosen[l][i].wrapping_mul(2 * flip));
                let own = value.wrapping_mul(verdict).wrapping_add(chosen);
                results[l].push((own << lane.shift).wrapping_add(gate.base[l][i]));
            }
            if spec.lifted {
                let top = test.top(compare[i]);
                let mask = (1u64 << spec.lift_bits()) - 1;
                let terms = [top & verdict, top.wrapping_sub(2 * (top & verdict))];
                for (term, difference) in terms.into_iter().zip(gate.lifts[i]) {
                    writer.push(difference.wrapping_add(term) & mask, spec.lift_bits());
                }
            }
        }
        reader.finish()?;
        Ok((writer.finish(), ServerFinish { gate, results }))
    }
}

/// After message 5.
pub struct ServerFinish {
    pub(super) gate: ServerGate,
    pub(super) results: Zeroizing<Vec<Vec<u64>>>,
}

impl ZeroizeOnDrop for ServerFinish {}

impl ServerFinish {
    /// Message 6 in; per lane z + κ in the lane's output ring comes out: a share, for the caller to wipe.
    ///
    /// # Errors
    /// [`SsError`] when the client's message has the wrong length or stray bits.
    pub fn finish(self, message: &[u8]) -> Result<Vec<Vec<u64>>, SsError> {
        let Self { gate, mut results } = self;
        let mut reader = gate.spec.open(6, gate.n, message)?;
        for i in 0..gate.n {
            for (lane, results) in gate.spec.lanes.iter().zip(results.iter_mut()) {
                let received = reader.read(lane.bits + lane.shift);
                results[i] = lane.output().add(results[i], received);
            }
        }
        reader.finish()?;
        Ok(std::mem::take(&mut *results))
    }
}
