//! The server's side: it holds the garbled gates, says its masked bits, and evaluates.
//!
//! Orders of transfers and of message fields are those of [`super::client`]. In a chunk of n elements, by block, slot
//! and element: ρ as bytes; K ⊕ ρ·Δ, which turns into the active label of a bit of m by adding the client's answer.
//! By block: the rows of all gates, as received. By term, lane and element: what the server adds to an opened row,
//! for both values of its verdict share, and what masks its corrections.
//!
//! Evaluation keeps one label per wire of the block at hand; the labels of m serve all terms.

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::half_gates::{Evaluator, Row, colour, times};
use super::{GarbleSpec, KEY, block_hash, blocks, expect_sizes, gate_tweak, pad_tweak};
use crate::bits::{BitReader, BitWriter, bytes_for_bits};
use crate::error::{SsError, expect_length};
use crate::gate::Lift;
use crate::ot::{RotReceiver, RotSender};
use crate::secret::Secret;

/// The server's random choices, before the client's corrections.
pub struct GarbleServerWaiting {
    pub(super) spec: GarbleSpec,
    pub(super) n: usize,
    pub(super) choices: Secret<u8>,
    pub(super) labels: Secret<u128>,
}

// Every field wipes itself; so below.
impl ZeroizeOnDrop for GarbleServerWaiting {}

/// Prepared, unused server material for n elements. One-time.
pub struct GarbleServer {
    pub(super) spec: GarbleSpec,
    pub(super) n: usize,
    pub(super) key: [u8; KEY],
    /// ρ.
    pub(super) choices: Secret<u8>,
    /// K ⊕ ρ·Δ, for the lowest bits K ⊕ ρ·c_0·Δ.
    pub(super) labels: Secret<u128>,
    /// Garbled gates; no secret of the server's.
    pub(super) gates: Vec<Row>,
    /// By term and element: δ.
    pub(super) deltas: Secret<u8>,
    /// By term, lane and element: what is added for a verdict share 0 and 1 (output ring), and K0 − K1.
    pub(super) own: Secret<[u64; 2]>,
    pub(super) differences: Secret<u64>,
    /// By term, lift bit and element: K0 − K1.
    pub(super) lifts: Secret<u64>,
}

impl ZeroizeOnDrop for GarbleServer {}

/// After the server's message.
pub struct GarbleServerState {
    pub(super) server: GarbleServer,
    /// By lane: A, modulo 2^64.
    pub(super) values: Zeroizing<Vec<Vec<u64>>>,
}

impl ZeroizeOnDrop for GarbleServerState {}

impl GarbleServer {
    /// Takes the transfers in which the server's choices are random.
    ///
    /// # Errors
    /// [`SsError::WrongLength`] unless there are [`GarbleSpec::server_transfers`] per element.
    pub fn receive(
        spec: &GarbleSpec,
        n: usize,
        received: RotReceiver,
    ) -> Result<GarbleServerWaiting, SsError> {
        expect_length("transfers received for a garbled gate", n * spec.server_transfers(), received.len())?;
        let (mut choices, mut pads) = received.into_parts();
        Ok(GarbleServerWaiting {
            spec: spec.clone(),
            n,
            choices: std::mem::take(&mut *choices).into(),
            labels: std::mem::take(&mut *pads).into(),
        })
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

    /// Starts the gate: `compare` the server's n shares of y, k bits each; `lanes` per lane its n shares of the gated
    /// value, none for a lifted gate. The operands are wiped when the gate is done, or refused.
    ///
    /// # Errors
    /// [`SsError::WrongLength`] when the operands do not have the gate's size.
    pub fn begin(
        self,
        compare: Vec<u64>,
        lanes: Vec<Vec<u64>>,
    ) -> Result<(Vec<u8>, GarbleServerState), SsError> {
        let (compare, mut values) = (Zeroizing::new(compare), Zeroizing::new(lanes));
        let (spec, n) = (&self.spec, self.n);
        let given = if spec.lifted() { 0 } else { spec.lanes().len() };
        expect_sizes(&[
            ("shares of a garbled gate", n, compare.len()),
            ("lanes of a garbled gate", given, values.len()),
        ])?;
        for lane in values.iter() {
            expect_length("values of a garbled gate's lane", n, lane.len())?;
        }
        if spec.lifted() {
            values.push(compare.iter().map(|&share| server_value(spec, share)).collect());
        }
        let mut writer = BitWriter::with_capacity_bits(spec.message_bits()[1] as usize * n);
        self.write_choices(&compare, &mut writer);
        let top = spec.gate().comparison().ring_bits() - 1;
        for term in 0..spec.terms() {
            for (l, lane) in spec.lanes().iter().enumerate() {
                let differences = &self.differences[(term * spec.lanes().len() + l) * n..][..n];
                for (difference, value) in differences.iter().zip(&values[l]) {
                    writer.push(difference.wrapping_add(*value), lane.bits());
                }
            }
            if spec.lifted() {
                for lifts in self.lifts[2 * term * n..][..2 * n].chunks_exact(n.max(1)) {
                    for (difference, share) in lifts.iter().zip(compare.iter()) {
                        writer.push(difference.wrapping_add(share >> top & 1), spec.lift_bits());
                    }
                }
            }
        }
        let mut server = self;
        server.fold_top(&compare);
        Ok((writer.finish(), GarbleServerState { server, values }))
    }

    /// f = m ⊕ ρ of all slots.
    fn write_choices(&self, compare: &[u64], writer: &mut BitWriter) {
        let (spec, mut choices) = (&self.spec, &*self.choices);
        let test = spec.gate().comparison();
        for (start, len) in blocks(self.n) {
            let shares = &compare[start..start + len];
            for slot in 0..spec.server_transfers() {
                // Bit 0 for every term; then the bits above it, the top one last.
                let position = test.ignored_bits() + (slot + 1).saturating_sub(spec.terms()) as u32;
                let own;
                (own, choices) = choices.split_at(len);
                for (shares, choices) in shares.chunks(64).zip(own.chunks(64)) {
                    let word = shares.iter().zip(choices).rev().fold(0, |word, (share, &choice)| {
                        word << 1 | (share >> position ^ u64::from(choice)) & 1
                    });
                    writer.push(word, shares.len() as u32);
                }
            }
        }
    }

    /// f of the top goes into δ, which makes it d_S ⊕ q.
    fn fold_top(&mut self, compare: &[u64]) {
        let (slots, terms) = (self.spec.server_transfers(), self.spec.terms());
        let top = self.spec.gate().comparison().ring_bits() - 1;
        for (start, len) in blocks(self.n) {
            let choices = &self.choices[start * slots + len * (slots - 1)..][..len];
            for term in 0..terms {
                let deltas = &mut self.deltas[term * self.n + start..][..len];
                for ((delta, choice), share) in deltas.iter_mut().zip(choices).zip(&compare[start..]) {
                    *delta ^= choice ^ (share >> top) as u8 & 1;
                }
            }
        }
    }
}

impl GarbleServerWaiting {
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

    /// Completes the material with the transfers in which the client chose, and the client's corrections.
    ///
    /// # Errors
    /// [`SsError`] when a count or the message does not fit the gate.
    pub fn complete(self, sent: RotSender, corrections: &[u8]) -> Result<GarbleServer, SsError> {
        let Self { spec, n, choices, mut labels } = self;
        let terms = spec.terms();
        expect_sizes(&[
            ("transfers sent for a garbled gate", n * spec.client_transfers(), sent.len()),
            ("the corrections of a garbled gate", spec.message_bytes(n)[0], corrections.len()),
        ])?;
        let (key, rest) = corrections.split_first_chunk::<KEY>().expect("the length was checked");
        let (rows, deltas) = rest.split_at(16 * n * spec.rows());
        debug_assert_eq!(deltas.len(), bytes_for_bits(n * terms));
        let mut reader = BitReader::new(deltas, n * terms)?;
        let deltas: Vec<u8> = (0..n * terms).map(|_| reader.read(1) as u8).collect();
        reader.finish()?;

        let mut gates = Vec::with_capacity(2 * n * spec.gates());
        let (mut rows, mut at) = (rows.as_chunks::<16>().0, 0);
        for (_, len) in blocks(n) {
            let own;
            (own, rows) = rows.split_at(len * spec.server_transfers());
            let range = at..at + own.len();
            at = range.end;
            for ((label, choice), row) in labels[range.clone()].iter_mut().zip(&choices[range]).zip(own) {
                *label ^= times(u64::from(*choice), u128::from_le_bytes(*row));
            }
            let own;
            (own, rows) = rows.split_at(2 * len * spec.gates());
            gates.extend_from_slice(own);
        }

        let lanes = spec.lanes().len();
        let mut server = GarbleServer {
            key: *key,
            choices,
            labels,
            gates,
            deltas: deltas.into(),
            own: Secret::zeros(n * terms * lanes),
            differences: Secret::zeros(n * terms * lanes),
            lifts: Secret::zeros(if spec.lifted() { 2 * n * terms } else { 0 }),
            n,
            spec,
        };
        server.fix_parts(&sent);
        Ok(server)
    }
}

impl GarbleServer {
    /// The server's own pads: what masks corrections, and what it takes off again.
    fn fix_parts(&mut self, sent: &RotSender) {
        let (spec, n) = (&self.spec, self.n);
        let (terms, per, lanes) = (spec.terms(), spec.transfers_per_term(), spec.lanes().len());
        let unit = spec.lift_unit();
        for term in 0..terms {
            let factors = [spec.factors(term, 0), spec.factors(term, 1)];
            let pairs = |i: usize| &sent.pairs()[(i * terms + term) * per..][..per];
            for (l, lane) in spec.lanes().iter().enumerate() {
                let range = (term * lanes + l) * n..(term * lanes + l + 1) * n;
                let (own, differences) = (&mut self.own[range.clone()], &mut self.differences[range]);
                for (i, (own, difference)) in own.iter_mut().zip(differences).enumerate() {
                    let pairs = pairs(i);
                    let [zero, one] = pairs[0].map(|pad| (pad >> (64 * l)) as u64);
                    *difference = zero.wrapping_sub(one);
                    let lift = |t: usize| if per == 3 { (pairs[t][0] as u64).wrapping_mul(unit) } else { 0 };
                    *own = factors.map(|(plain, shared)| {
                        let sum = plain
                            .wrapping_mul(lift(1))
                            .wrapping_add(shared.wrapping_mul(zero.wrapping_add(lift(2))));
                        lane.output().sub(0, sum << lane.shift())
                    });
                }
            }
            if per == 3 {
                let (first, second) = self.lifts[2 * term * n..][..2 * n].split_at_mut(n);
                for (i, (first, second)) in first.iter_mut().zip(second).enumerate() {
                    let differences =
                        [1, 2].map(|t| (pairs(i)[t][0] as u64).wrapping_sub(pairs(i)[t][1] as u64));
                    [*first, *second] = differences;
                }
            }
        }
    }
}

impl GarbleServer {
    /// Evaluates all gates; gives the pads and the colours of the last labels, by term and element, and leaves d_S in
    /// the place of δ.
    pub(super) fn evaluate(&mut self, mut answers: &[Row]) -> (Secret<u128>, Secret<u8>) {
        let (spec, n) = (&self.spec, self.n);
        let (terms, low) = (spec.terms(), spec.low_bits());
        let (mut pads, mut colours) = (Secret::<u128>::zeros(n * terms), Secret::<u8>::zeros(n * terms));
        let (mut labels, mut gates) = (&mut *self.labels, &*self.gates);
        for (start, len) in blocks(n) {
            let mut evaluator = Evaluator::new(block_hash(&self.key, start), len);
            let (own, rows, answered);
            (own, labels) = labels.split_at_mut(len * spec.server_transfers());
            (rows, gates) = gates.split_at(2 * len * spec.gates());
            (answered, answers) = answers.split_at(len * spec.answers());
            for (label, answer) in own.iter_mut().zip(answered) {
                *label ^= u128::from_le_bytes(*answer);
            }
            let (own, tops) = own.split_at_mut(len * spec.answers());
            let (carries, upper) = own.split_at_mut(len * terms);
            for term in 0..terms {
                let carry = &mut carries[term * len..][..len];
                for bit in 1..low {
                    let gate = term * (low - 1) + bit - 1;
                    let rows = &rows[2 * gate * len..][..2 * len];
                    evaluator.and(gate_tweak(gate), &upper[(bit - 1) * len..][..len], carry, rows);
                }
                let place = term * n + start..term * n + start + len;
                let (pads, colours) = (&mut pads[place.clone()], &mut colours[place.clone()]);
                let deltas = &mut self.deltas[place];
                for j in 0..len {
                    pads[j] = carry[j] ^ tops[j];
                    colours[j] = colour(pads[j]) as u8;
                    deltas[j] ^= colours[j];
                }
                evaluator.hash(pad_tweak(spec, term), pads);
            }
        }
        (pads, colours)
    }
}

impl GarbleServerState {
    /// The client's answer in; per lane z + κ in the lane's output ring comes out: a share, for the caller to wipe.
    ///
    /// # Errors
    /// [`SsError`] when the client's message has the wrong length or stray bits.
    pub fn finish(mut self, answer: &[u8]) -> Result<Vec<Vec<u64>>, SsError> {
        let spec = self.server.spec.clone();
        let (n, terms, lanes) = (self.server.n, spec.terms(), spec.lanes().len());
        expect_length("the client's answer of a garbled gate", spec.message_bytes(n)[2], answer.len())?;
        let (labels, rows) = answer.split_at(16 * n * spec.answers());
        let mut reader = BitReader::new(rows, n * spec.opened_bits() as usize)?;
        let (pads, colours) = self.server.evaluate(labels.as_chunks().0);

        let mut results = Zeroizing::new(Vec::with_capacity(lanes));
        for (l, lane) in spec.lanes().iter().enumerate() {
            let width = lane.bits() + lane.shift();
            let mut sums = vec![0u64; n];
            for term in 0..terms {
                let factors = [spec.factors(term, 0).0, spec.factors(term, 1).0];
                let pads = &pads[term * n..][..n];
                let (shares, colours) = (&self.server.deltas[term * n..][..n], &colours[term * n..][..n]);
                let own = &self.server.own[(term * lanes + l) * n..][..n];
                for (i, sum) in sums.iter_mut().enumerate() {
                    let even = if term == 0 { reader.read(width) } else { 0 };
                    let odd = reader.read(width);
                    let row = even ^ (even ^ odd) & u64::from(colours[i]).wrapping_neg();
                    let share = u64::from(shares[i]).wrapping_neg();
                    let select = |[zero, one]: [u64; 2]| zero ^ (zero ^ one) & share;
                    let value = select(factors).wrapping_mul(self.values[l][i]) << lane.shift();
                    let opened = row.wrapping_sub((pads[i] >> (64 * l)) as u64);
                    *sum = sum.wrapping_add(opened).wrapping_add(value).wrapping_add(select(own[i]));
                }
            }
            sums.iter_mut().for_each(|sum| *sum &= lane.output().mask());
            results.push(sums);
        }
        reader.finish().inspect_err(|_| results.zeroize())?;
        Ok(std::mem::take(&mut *results))
    }
}

/// The server's signed or unsigned part A of a lifted value.
fn server_value(spec: &GarbleSpec, share: u64) -> u64 {
    let unused = 64 - spec.gate().comparison().ring_bits();
    match spec.gate().lift() {
        Lift::Guarded => share << unused >> unused,
        Lift::None | Lift::Positive => ((share << unused) as i64 >> unused) as u64,
    }
}
