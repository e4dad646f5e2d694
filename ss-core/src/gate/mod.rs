//! The gate: z = d·(A + C) where d = [m + c ≥ 0], re-shared under masks that the client fixed in advance.
//!
//! Every activation of the protocol is this one gate with other operands (protocol statement, section 5):
//!
//! | activation | compared | lane | lifted | client's constant κ |
//! |---|---|---|---|---|
//! | ReLU | y | y, in Z_2^(p−j), scaled by 2^j | yes | −r, the mask of the next linear layer |
//! | max(a, b) = b + d·(a−b) | a − b | a − b, in Z_2^k | no | c_b − c', c' the new random share |
//! | arg-max | a − b | a − b and the difference of the indices | no | likewise, per lane |
//!
//! The server ends with z + κ (per lane) and adds what it holds itself; the client ends with nothing new: all its
//! shares were fixed before the input existed.
//!
//! **Messages**, for n elements; bits are per element, ℓ, D as in [`Comparison`], w the lane's bits, p = w + j:
//!
//! | | from | content | bits |
//! |---|---|---|---|
//! | offline | C | corrections of the transfers in which the server chooses (P0 − P1 + C·(1−2d_C)) | Σ w |
//! | 1 | S | digits ⊕ random indices | ℓ |
//! | 2 | C | masked digit tables | 64 at ℓ = 11 |
//! | 3 | S | shares of the digits' verdicts ⊕ random index | 2(D−1) |
//! | 4 | C | masked combining table; the server opens its share d_S of the verdict | 2^(2(D−1)) |
//! | 5 | S | d_S ⊕ b; corrections for A·(1−2d_S), and if lifted μ·d_S and μ·(1−2d_S) | 1 + Σ w (+ 2(w−k)) |
//! | 6 | C | its sum of all terms plus κ | Σ p |
//!
//! **Lifting.** With A and C the *signed* values of m and c, y = A + C + 2^k·μγ over the integers whenever y ≥ 0
//! (μ, γ the sign bits), so d·y is an integer in [0, 2^(k−1)) and lands in any larger ring. γ·(d·μ) =
//! γ·μ·d_S + γ·d_C·μ·(1 − 2d_S): two transfers whose choices γ and γ·d_C the client knows in advance.
//!
//! **Security** (semi-honest). Every message is masked by transfer pads that are used once: the client's view is
//! uniform, and the server's is uniform but for the final z + κ, which κ masks. Both parties' material is consumed
//! by value. Nothing branches on or indexes by a secret. What a step holds is wiped when it ends, in success or not,
//! and vectors of secrets never grow past their room: growing would leave a copy behind that nobody wipes.

pub mod client;
pub mod server;
mod stored;

pub use client::{ClientCombine, ClientGate, ClientInputs, ClientSelect, choices};
pub use server::{ServerCombine, ServerFinish, ServerGate, ServerSelect};

use zeroize::Zeroize;

use crate::bits::{BitReader, bytes_for_bits};
use crate::compare::Comparison;
use crate::error::{SsError, expect_length};
use crate::ring::Z2k;

/// A gated value: `bits` wide, its result multiplied by 2^`shift`, so that it ends in the ring of bits + shift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    bits: u32,
    shift: u32,
}

impl Lane {
    /// A lane of `bits` bits scaled by 2^`shift`.
    ///
    /// # Errors
    /// [`SsError::BadValue`] unless 1 ≤ bits and bits + shift ≤ 60.
    pub fn new(bits: u32, shift: u32) -> Result<Self, SsError> {
        if bits == 0 || shift > 60 || bits > 60 || bits + shift > 60 {
            return Err(SsError::BadValue { what: "lane of a gate (1 to 60 bits with its shift)" });
        }
        Ok(Self { bits, shift })
    }

    /// The ring the results live in.
    pub fn output(self) -> Z2k {
        Z2k::new(self.bits + self.shift).expect("checked at construction")
    }

    fn ring(self) -> Z2k {
        Z2k::new(self.bits).expect("checked at construction")
    }
}

/// What a gate computes: public, equal on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateSpec {
    comparison: Comparison,
    lanes: Vec<Lane>,
    lifted: bool,
}

impl GateSpec {
    /// ReLU of a `comparison.ring_bits()`-bit value into the ring of `output_bits`, scaled by 2^`shift`.
    ///
    /// # Errors
    /// [`SsError::BadValue`] unless ring_bits + shift ≤ output_bits ≤ 60.
    pub fn relu(comparison: Comparison, output_bits: u32, shift: u32) -> Result<Self, SsError> {
        if comparison.ring_bits() + shift > output_bits {
            return Err(SsError::BadValue {
                what: "ReLU (the output ring is too narrow for the lifted value)",
            });
        }
        Ok(Self { comparison, lanes: vec![Lane::new(output_bits - shift, shift)?], lifted: true })
    }

    /// b + d·(a − b) on k-bit values and, for arg-max, on an index of `index_bits` riding along.
    ///
    /// # Errors
    /// [`SsError::BadValue`] for an index wider than 32 bits.
    pub fn maximum(comparison: Comparison, index_bits: Option<u32>) -> Result<Self, SsError> {
        let mut lanes = vec![Lane::new(comparison.ring_bits(), 0)?];
        if let Some(bits) = index_bits {
            if bits > 32 {
                return Err(SsError::BadValue { what: "arg-max (an index has at most 32 bits)" });
            }
            lanes.push(Lane::new(bits, 0)?);
        }
        Ok(Self { comparison, lanes, lifted: false })
    }

    /// The sign test.
    pub fn comparison(&self) -> Comparison {
        self.comparison
    }

    /// The gated values, one or two.
    pub fn lanes(&self) -> &[Lane] {
        &self.lanes
    }

    /// Random OTs per element with the server receiving.
    pub fn server_transfers(&self) -> usize {
        self.comparison.transfers() + 1
    }

    /// Random OTs per element with the client receiving (choices d_C and, if lifted, γ and γ·d_C).
    pub fn client_transfers(&self) -> usize {
        if self.lifted { 3 } else { 1 }
    }

    /// Bits of a lift correction: what is left of the output ring above k (+ shift) bits.
    fn lift_bits(&self) -> u32 {
        self.lanes[0].bits - self.comparison.ring_bits()
    }

    fn lane_bits(&self) -> u32 {
        self.lanes.iter().map(|lane| lane.bits).sum()
    }

    /// Bits of each message per element: the offline corrections first, then messages 1 to 6.
    fn message_bits(&self) -> [u32; 7] {
        let test = self.comparison;
        let lift = if self.lifted { 2 * self.lift_bits() } else { 0 };
        [
            self.lane_bits(),
            test.low_bits(),
            test.table_bits(),
            test.combine_bits(),
            1 << test.combine_bits(),
            1 + self.lane_bits() + lift,
            self.lanes.iter().map(|lane| lane.bits + lane.shift).sum(),
        ]
    }

    /// Bytes of each message for `n` elements: the offline corrections first, then messages 1 to 6.
    pub fn message_bytes(&self, n: usize) -> [usize; 7] {
        self.message_bits().map(|bits| bytes_for_bits(bits as usize * n))
    }

    /// A reader over a message of the other party, its length checked.
    fn open<'a>(&self, step: usize, n: usize, message: &'a [u8]) -> Result<BitReader<'a>, SsError> {
        expect_length(STEPS[step], self.message_bytes(n)[step], message.len())?;
        BitReader::new(message, self.message_bits()[step] as usize * n)
    }
}

const STEPS: [&str; 7] = [
    "gate corrections",
    "digit offsets",
    "digit tables",
    "combine offsets",
    "combine tables",
    "multiplexer corrections",
    "gate results",
];

/// Which half of a 128-bit pad masks a lane.
fn lane_pad(pad: u128, lane: usize) -> u64 {
    (pad >> (64 * lane)) as u64
}

/// One empty vector per lane with room for `n` values. (Cloning an empty vector would lose the room.)
fn lane_vectors(spec: &GateSpec, n: usize) -> Vec<Vec<u64>> {
    spec.lanes.iter().map(|_| Vec::with_capacity(n)).collect()
}

/// Puts `more` behind `own`; where there is no room, what moves is wiped in its old place.
fn join<T: Zeroize + Copy>(own: &mut Vec<T>, more: &[T]) {
    if own.capacity() - own.len() < more.len() {
        let mut roomy = Vec::with_capacity(own.len() + more.len());
        roomy.extend_from_slice(own);
        own.zeroize();
        *own = roomy;
    }
    own.extend_from_slice(more);
}

#[cfg(test)]
mod tests;
