//! The client's side of a gate: everything it contributes is fixed offline; online it permutes and sends.

use std::fmt;

use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{GateSpec, join, lane_pad, lane_vectors};
use crate::bits::BitWriter;
use crate::compare::digit_table;
use crate::error::{SsError, expect_length};
use crate::ot::pads::{permute_xor, sender_pads};
use crate::ot::{RotReceiver, RotSender};

/// What the client brings to a gate of n elements, all known before any input exists. Borrowed: whoever owns the
/// shares wipes them.
pub struct ClientInputs<'a> {
    /// Its share of the compared value, k bits.
    pub compare: &'a [u64],
    /// Per lane its share of the gated value (signed meaning is taken from the ring of the comparison for a lifted lane).
    pub lanes: &'a [&'a [u64]],
    /// Per lane the constant κ, in the lane's output ring.
    pub constants: &'a [&'a [u64]],
}

impl fmt::Debug for ClientInputs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientInputs({} elements, {} lanes, redacted)", self.compare.len(), self.lanes.len())
    }
}

/// Fresh random verdict shares d_C and the choice bits of the transfers in which the client receives:
/// per element d_C and, for a lifted gate, γ and γ·d_C. Feed them to the OT extension, then to
/// [`ClientGate::prepare`] with what comes out.
pub fn choices(spec: &GateSpec, compare: &[u64], rng: &mut impl CryptoRng) -> Zeroizing<Vec<u8>> {
    let mut bits = Zeroizing::new(Vec::with_capacity(compare.len() * spec.client_transfers()));
    let (mut pool, mut left) = (0u64, 0);
    for &share in compare {
        if left == 0 {
            (pool, left) = (rng.next_u64(), 64);
        }
        let verdict = (pool & 1) as u8;
        (pool, left) = (pool >> 1, left - 1);
        bits.push(verdict);
        if spec.lifted {
            let top = spec.comparison.top(share) as u8;
            bits.extend([top, top & verdict]);
        }
    }
    bits
}

/// Prepared, unused client material for one gate. One-time: every step consumes it.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct ClientGate {
    #[zeroize(skip)]
    pub(super) spec: GateSpec,
    pub(super) n: usize,
    /// Per element and digit: the table under the client's share bits, and its pads (planes of 2^width bits).
    pub(super) tables: Vec<u32>,
    pub(super) table_pads: Vec<u32>,
    pub(super) combine: Vec<u64>,
    pub(super) combine_pads: Vec<u64>,
    /// Per element d_C, γ, γ·d_C in bits 0 to 2.
    pub(super) bits: Vec<u8>,
    /// Per lane: the result for f = 0, and what f = 1 adds.
    pub(super) base: Vec<Vec<u64>>,
    pub(super) flip: Vec<Vec<u64>>,
}

impl ClientGate {
    /// A gate without elements, with room for `n`: [`ClientGate::append`] then moves nothing that is already there.
    pub fn with_capacity(spec: &GateSpec, n: usize) -> Self {
        let digits = spec.comparison.digits();
        Self {
            spec: spec.clone(),
            n: 0,
            tables: Vec::with_capacity(n * digits),
            table_pads: Vec::with_capacity(n * digits),
            combine: Vec::with_capacity(n),
            combine_pads: Vec::with_capacity(n),
            bits: Vec::with_capacity(n),
            base: lane_vectors(spec, n),
            flip: lane_vectors(spec, n),
        }
    }

    /// Turns random transfers into gate material; returns the offline message of corrections with it.
    ///
    /// `choices` are those of [`choices`], `received` the transfers obtained with them, `sent` the transfers in
    /// which the server chose at random ([`GateSpec::server_transfers`] per element).
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
        let n = inputs.compare.len();
        expect_length("transfers sent for a gate", n * spec.server_transfers(), sent.len())?;
        expect_length("transfers received for a gate", n * spec.client_transfers(), received.len())?;
        expect_length("lanes of a gate", spec.lanes.len(), inputs.lanes.len())?;
        expect_length("constants of a gate", spec.lanes.len(), inputs.constants.len())?;
        for (lane, constants) in inputs.lanes.iter().zip(inputs.constants) {
            expect_length("values of a gate's lane", n, lane.len())?;
            expect_length("constants of a gate's lane", n, constants.len())?;
        }

        let test = spec.comparison;
        let (digits, combining) = (test.digits(), test.combine_table());
        let mut gate = Self::with_capacity(spec, n);
        gate.n = n;
        let mut corrections = BitWriter::with_capacity_bits(n * spec.lane_bits() as usize);
        for i in 0..n {
            let mut pairs = &sent.pairs()[i * spec.server_transfers()..][..spec.server_transfers()];
            let chosen = &received.choices()[i * spec.client_transfers()..][..spec.client_transfers()];
            let pads = &received.pads()[i * spec.client_transfers()..][..spec.client_transfers()];
            let verdict = u64::from(chosen[0]);
            let share = inputs.compare[i];

            // Digit tables under random share bits; the shares also shift the combining table.
            let random = rng.next_u32();
            let threshold = test.threshold(share);
            let (mut shift, mut top_share) = (0u32, 0u64);
            for d in 0..digits {
                let (width, planes) = (test.width(d), test.planes(d));
                let (greater, equal) = (random >> (2 * d) & 1, random >> (2 * d + 1) & 1);
                let full = (1u64 << (1 << width)) - 1;
                let mask = (full & u64::from(greater).wrapping_neg())
                    | ((full << (1 << width)) & u64::from(equal & (planes - 1)).wrapping_neg());
                gate.tables.push((digit_table(test.digit(threshold, d), width, planes) ^ mask) as u32);
                let (own, rest) = pairs.split_at(width as usize);
                gate.table_pads.push(sender_pads(own, planes) as u32);
                pairs = rest;
                if d + 1 == digits {
                    top_share = u64::from(greater)
                } else {
                    shift |= greater << d
                }
                if d > 0 {
                    shift |= equal << (digits + d - 2);
                }
            }
            let constant = top_share ^ test.top(share) ^ 1 ^ verdict;
            gate.combine.push(permute_xor(combining, test.combine_bits(), shift) ^ constant.wrapping_neg());
            let (own, select) = pairs.split_at(test.combine_bits() as usize);
            gate.combine_pads.push(sender_pads(own, 1) as u64);

            let mut packed = chosen[0];
            for (b, &bit) in chosen.iter().enumerate().skip(1) {
                packed |= bit << b;
            }
            gate.bits.push(packed);

            for (l, lane) in spec.lanes.iter().enumerate() {
                let (ring, output) = (lane.ring(), lane.output());
                let value =
                    if spec.lifted { sign_extend(spec, inputs.lanes[l][i]) } else { inputs.lanes[l][i] };
                // Δ = C·(1 − 2d_C); f = 1 turns −P0 into Δ + P0.
                let delta = value.wrapping_sub(value.wrapping_mul(2 * verdict));
                let (zero, one) = (lane_pad(select[0][0], l), lane_pad(select[0][1], l));
                corrections
                    .push(ring.from_signed(zero.wrapping_sub(one).wrapping_add(delta) as i64), lane.bits);
                let mut own =
                    lane_pad(pads[0], l).wrapping_add(value.wrapping_mul(verdict)).wrapping_sub(zero);
                if spec.lifted {
                    let lifts = lane_pad(pads[1], 0).wrapping_add(lane_pad(pads[2], 0));
                    own = own.wrapping_add(lifts << test.ring_bits());
                }
                gate.base[l].push(output.add(own << lane.shift, inputs.constants[l][i]));
                gate.flip[l].push(output.add(delta.wrapping_add(zero.wrapping_mul(2)) << lane.shift, 0));
            }
        }
        Ok((corrections.finish(), gate))
    }

    /// Puts the elements of `other`, a gate of the same shape, behind these. Leaves no unwiped copy of either; without
    /// room from [`ClientGate::with_capacity`] every element moves.
    ///
    /// # Errors
    /// [`SsError::BadValue`] for a gate of another shape.
    pub fn append(&mut self, other: Self) -> Result<(), SsError> {
        if self.spec != other.spec {
            return Err(SsError::BadValue { what: "gates of one shape can be joined" });
        }
        self.n += other.n;
        join(&mut self.tables, &other.tables);
        join(&mut self.table_pads, &other.table_pads);
        join(&mut self.combine, &other.combine);
        join(&mut self.combine_pads, &other.combine_pads);
        join(&mut self.bits, &other.bits);
        self.base.iter_mut().zip(&other.base).for_each(|(own, more)| join(own, more));
        self.flip.iter_mut().zip(&other.flip).for_each(|(own, more)| join(own, more));
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

    /// Message 1 in, message 2 out.
    ///
    /// # Errors
    /// [`SsError`] when the server's message has the wrong length or stray bits.
    pub fn tables(self, offsets: &[u8]) -> Result<(Vec<u8>, ClientCombine), SsError> {
        let (spec, test) = (&self.spec, self.spec.comparison);
        let mut reader = spec.open(1, self.n, offsets)?;
        let mut writer = BitWriter::with_capacity_bits(self.n * test.table_bits() as usize);
        let digits = test.digits();
        for i in 0..self.n {
            for d in 0..digits {
                let (width, planes) = (test.width(d), test.planes(d));
                let offset = reader.read(width) as u32;
                let table = u64::from(self.tables[i * digits + d]);
                let size = 1u32 << width;
                let plane = (1u64 << size) - 1;
                let mut permuted = permute_xor(table & plane, width, offset);
                if planes == 2 {
                    permuted |= permute_xor(table >> size, width, offset) << size;
                }
                writer.push(permuted ^ u64::from(self.table_pads[i * digits + d]), planes << width);
            }
        }
        reader.finish()?;
        Ok((writer.finish(), ClientCombine { gate: self }))
    }
}

/// After message 2.
pub struct ClientCombine {
    pub(super) gate: ClientGate,
}

// The gate wipes itself; a `Drop` here would forbid handing it on.
impl ZeroizeOnDrop for ClientCombine {}

impl ClientCombine {
    /// Message 3 in, message 4 out.
    ///
    /// # Errors
    /// [`SsError`] when the server's message has the wrong length or stray bits.
    pub fn respond(self, offsets: &[u8]) -> Result<(Vec<u8>, ClientSelect), SsError> {
        let gate = self.gate;
        let bits = gate.spec.comparison.combine_bits();
        let mut reader = gate.spec.open(3, gate.n, offsets)?;
        let mut writer = BitWriter::with_capacity_bits(gate.n << bits);
        let full = if bits == 6 { u64::MAX } else { (1 << (1u32 << bits)) - 1 };
        for (table, pads) in gate.combine.iter().zip(&gate.combine_pads) {
            let offset = reader.read(bits) as u32;
            writer.push((permute_xor(*table & full, bits, offset) ^ pads) & full, 1 << bits);
        }
        reader.finish()?;
        Ok((writer.finish(), ClientSelect { gate }))
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
        let mut reader = spec.open(5, gate.n, corrections)?;
        let output_bits: u32 = spec.lanes.iter().map(|lane| lane.bits + lane.shift).sum();
        let mut writer = BitWriter::with_capacity_bits(gate.n * output_bits as usize);
        for i in 0..gate.n {
            let packed = u64::from(gate.bits[i]);
            let mask = |bit: u32| (packed >> bit & 1).wrapping_neg();
            let flipped = reader.read(1).wrapping_neg();
            for (l, lane) in spec.lanes.iter().enumerate() {
                let mut sum = reader.read(lane.bits) & mask(0);
                if spec.lifted {
                    let bits = spec.lift_bits();
                    let lifts = (reader.read(bits) & mask(1)).wrapping_add(reader.read(bits) & mask(2));
                    sum = sum.wrapping_add(lifts << spec.comparison.ring_bits());
                }
                let own = gate.base[l][i].wrapping_add(gate.flip[l][i] & flipped);
                writer.push(lane.output().add(own, sum << lane.shift), lane.bits + lane.shift);
            }
        }
        reader.finish()?;
        Ok(writer.finish())
    }
}

/// The signed meaning of a k-bit share, as a word modulo 2^64.
pub(super) fn sign_extend(spec: &GateSpec, share: u64) -> u64 {
    let shift = 64 - spec.comparison.ring_bits();
    (((share << shift) as i64) >> shift) as u64
}
