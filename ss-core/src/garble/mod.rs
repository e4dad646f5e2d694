//! The gate in one round trip: z = Σ of d_t·(A + C_t), the function of [`crate::gate`], by a garbled comparison.
//!
//! For links whose round-trip time outweighs their bytes. The function, the verdict rule, the operands and the result
//! z + κ at the server are those of [`GateSpec`], bit for bit; only the construction differs. The client garbles,
//! with its inputs hard-wired, offline; the server evaluates. Half gates are those of [`half_gates`].
//!
//! **Comparison.** With the low h bits dropped, the verdict is d = 1 ⊕ μ ⊕ γ ⊕ carry, where carry is the carry out of
//! the low ℓ bits of m + c. A ripple of AND gates computes it from the lowest bit up, c_i folded into zero labels:
//!
//! > carry_1 = m_0·c_0,  carry_(i+1) = (m_i ⊕ c_i)·(carry_i ⊕ c_i) ⊕ c_i
//!
//! *Labels of m.* Per bit i there is a random transfer with the pads K_i (zero) and K_i', the server's choice ρ_i.
//! Offline the client sends K_i ⊕ K_i' ⊕ Δ, so the server holds K_i ⊕ ρ_i·Δ. Online the server sends f_i = m_i ⊕ ρ_i
//! and the client answers X_i ⊕ f_i·Δ, X_i from a generator: their sum is the active label of m_i under the zero
//! label K_i ⊕ X_i. For i = 0, where c_0·Δ takes the place of Δ, it is the label of carry_1 at once: the first gate
//! is free. The top bit needs no answer: the carry's label plus K_μ ⊕ ρ_μ·Δ is a label of carry ⊕ ρ_μ, and f_μ is
//! public. The terms of an element share the labels of m but that of bit 0.
//!
//! *Verdict.* With the colour q of that last label, d_S = q ⊕ f_μ ⊕ δ; the client publishes δ offline such that its
//! own share d_C = d ⊕ d_S is the bit that it had drawn and chosen with in its transfers ([`choices`]).
//!
//! **Multiplexer and lift.** d·A = d_S·A + (1 − 2d_S)·d_C·A, so the products that the server's online values enter
//! are d_C·A, and where there is a lift e·μ and e·d_C·μ (e = γ for [`Lift::Positive`], 1 − g for [`Lift::Guarded`]):
//! none depends on d_S. They are transfers in which the client chooses; the server's corrections travel with its f_i.
//! Then, for either colour q, the client knows d_S(q), hence the whole of its part V(q) of s·d·(A + C) + …, and sends
//! two rows V(q) + pad(q), pad(q) the hash of the label of colour q. The server opens the row of its colour and adds
//! its part. κ rides in the rows of term 0. Every further term has a mask r_t of its own (subtracted in term 0),
//! chosen such that its row for q = 0 is zero and need not be sent.
//!
//! **Messages**, bits per element, T terms, w the bits of a lane, w + j with its shift; numbers for the default ReLU
//! (k = 18, ℓ = 11, w = 32, j = 14), a maximum (k = 18, ℓ = 11) and a clip of two terms (as the ReLU):
//!
//! | | from | content | bits | ReLU | maximum | clip |
//! |---|---|---|---|---|---|---|
//! | offline | C | label corrections | 128·(ℓ + T) | 1,536 | 1,536 | 1,664 |
//! | | | AND gates | 256·T(ℓ − 1) | 2,560 | 2,560 | 5,120 |
//! | | | δ (and, once a message, 128 bits: the key of H) | T | 1 | 1 | 2 |
//! | 1 | S | f | ℓ + T | 12 | 12 | 13 |
//! | | | corrections for d_C·A, and the two lifts | T·Σ w + 2T(w − k) | 60 | 18 | 120 |
//! | 2 | C | labels | 128·(ℓ + T − 1) | 1,408 | 1,408 | 1,536 |
//! | | | rows | (T + 1)·Σ (w + j) | 92 | 36 | 138 |
//! | | | **online, both** | | **1,572** | **1,474** | **1,807** |
//! | | | random transfers, S choosing + C choosing | ℓ + T, and 3T or T | 12 + 3 | 12 + 1 | 13 + 6 |
//!
//! Against the some 200 bits and three round trips of [`crate::gate`] this is 1,370 bits more and two round trips
//! fewer: on a link of b bits a second and a round-trip time of t it pays below 2·t·b/1370 elements a step, which is
//! 5,800 at 100 Mbit/s and 40 ms. It also costs half a kilobyte per element in preprocessing and in the server's
//! memory.
//!
//! | at rest, bytes per element | ReLU | |
//! |---|---|---|
//! | client, in memory | 33 | flags, V(q) and pad(q) as words; Δ and the X_i are a 16-byte seed |
//! | client, stored | 23.5 | the same, packed |
//! | server, waiting | 204 | 17 bytes a transfer |
//! | server, complete | 565 | 192 labels, 320 rows, 12 choices, 41 of δ, lane and lifts |
//!
//! **Security** (semi-honest). *The client* sees f_i, masked by the random ρ_i, and corrections, masked by the
//! difference of two pads of which it holds one: all uniform, and each pad serves once. *The server*: the pad of a
//! transfer that it did not choose is uniform and makes each label correction uniform, so neither Δ nor c_0 shows.
//! X_i makes each answer uniform before the labels meet the gates; with them it holds one label of every wire. Half
//! gates then hide all other labels, and so all of c, and colours inside the ripple are coins. δ is masked by d_C,
//! which otherwise only enters transfers. The row of the other colour is masked by the hash of a label that the
//! server does not hold. What it opens in a term behind the first is V + r_t, masked by r_t: at colour 1 because r_t
//! contains the unknown pad(0), at colour 0 because V + r_t is −pad(0), which it could compute before. In term 0 the
//! mask is κ. So the opened rows give z + κ and nothing else. (The gates travel before m is fixed; a semi-honest server
//! does not choose m by them.)
//!
//! *Fixed-key AES* loses concrete security with the number of hashes under one key and one Δ (about one bit per
//! doubling; Guo, Katz, Wang, Weng, Yu, CRYPTO 2020). Both are therefore fresh for every [`BLOCK`] elements: the keys
//! hashed from 16 random bytes that each message of corrections carries and the number of the block, Δ from the
//! client's secret seed. A block of one term at ℓ = 11 makes 42·512 hashes, under 2^15: some 113 bits remain. Tweaks
//! never repeat in a block.
//!
//! Nothing branches on or indexes by a secret; every half is consumed by value and wiped.

pub mod half_gates;

mod client;
mod server;
mod stored;

pub use client::GarbleClient;
pub use server::{GarbleServer, GarbleServerState, GarbleServerWaiting};

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::bits::bytes_for_bits;
use crate::error::{SsError, expect_length};
use crate::gate::{self, GateSpec, Lane, Lift};
use crate::hash::TweakedHash;

/// Elements that share one key of the hash and one Δ.
pub const BLOCK: usize = 512;

/// Bytes of the key that opens the corrections.
const KEY: usize = 16;

/// A gate that is to run in one round trip: public, equal on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GarbleSpec {
    gate: GateSpec,
}

impl GarbleSpec {
    /// The one-round form of any gate.
    #[must_use]
    pub fn new(gate: &GateSpec) -> Self {
        Self { gate: gate.clone() }
    }

    /// The function.
    #[must_use]
    pub fn gate(&self) -> &GateSpec {
        &self.gate
    }

    /// Random OTs per element with the server receiving: ℓ + T.
    #[must_use]
    pub fn server_transfers(&self) -> usize {
        self.low_bits() + self.terms()
    }

    /// Random OTs per element with the client receiving, with the choices of [`choices`]: per term 1, with a lift 3.
    #[must_use]
    pub fn client_transfers(&self) -> usize {
        self.terms() * self.transfers_per_term()
    }

    /// Bits per element of the corrections, of the server's message and of the client's answer. The corrections have
    /// 128 bits more per message.
    #[must_use]
    pub fn message_bits(&self) -> Vec<u32> {
        let (terms, transfers) = (self.terms() as u32, self.server_transfers() as u32);
        vec![
            128 * self.rows() as u32 + terms,
            transfers
                + terms * (self.lanes().iter().map(|lane| lane.bits()).sum::<u32>() + 2 * self.lift_bits()),
            128 * self.answers() as u32 + self.opened_bits(),
        ]
    }

    /// Bytes of the corrections, of the server's message and of the client's answer for `n` elements.
    #[must_use]
    pub fn message_bytes(&self, n: usize) -> Vec<usize> {
        let bits = self.message_bits();
        vec![
            KEY + bytes_for_bits(bits[0] as usize * n),
            bytes_for_bits(bits[1] as usize * n),
            bytes_for_bits(bits[2] as usize * n),
        ]
    }

    fn terms(&self) -> usize {
        self.gate.terms()
    }

    fn lanes(&self) -> &[Lane] {
        self.gate.lanes()
    }

    fn low_bits(&self) -> usize {
        self.gate.comparison().low_bits() as usize
    }

    fn lifted(&self) -> bool {
        self.gate.lift() != Lift::None
    }

    fn transfers_per_term(&self) -> usize {
        if self.lifted() { 3 } else { 1 }
    }

    /// Bits of a lift correction: those of the lane above k. None without a lift.
    fn lift_bits(&self) -> u32 {
        if self.lifted() { self.lanes()[0].bits() - self.gate.comparison().ring_bits() } else { 0 }
    }

    /// Labels that the client answers per element: bit 0 of every term, and the bits above it.
    fn answers(&self) -> usize {
        self.low_bits() + self.terms() - 1
    }

    /// AND gates per element.
    fn gates(&self) -> usize {
        self.terms() * (self.low_bits() - 1)
    }

    /// 16-byte rows of corrections per element: one per transfer, two per AND gate.
    fn rows(&self) -> usize {
        self.server_transfers() + 2 * self.gates()
    }

    /// Bits of opened rows per element: two rows for the first term, one for each other.
    fn opened_bits(&self) -> u32 {
        (self.terms() as u32 + 1) * self.lanes().iter().map(|lane| lane.bits() + lane.shift()).sum::<u32>()
    }

    /// What multiplies the server's value of a term where its share of the verdict is `share`, without and with the
    /// client's share: (b + s·d_S, s·(1 − 2d_S)), modulo 2^64.
    fn factors(&self, term: usize, share: u64) -> (u64, u64) {
        let base = if term == 0 { self.gate.base() as u64 } else { 0 };
        let slope = self.gate.slopes()[term] as u64;
        (base.wrapping_add(slope.wrapping_mul(share)), slope.wrapping_sub(slope.wrapping_mul(2 * share)))
    }

    /// What multiplies the lift's bits: ±2^k modulo 2^64.
    fn lift_unit(&self) -> u64 {
        let unit = 1u64 << self.gate.comparison().ring_bits();
        if self.gate.lift() == Lift::Guarded { unit.wrapping_neg() } else { unit }
    }
}

/// Fresh random verdict shares and the client's choice bits, as [`gate::choices`]: [`GarbleSpec::client_transfers`]
/// per element. `compare` holds the client's k-bit shares, T per element.
pub fn choices(spec: &GarbleSpec, compare: &[u64], rng: &mut impl CryptoRng) -> Zeroizing<Vec<u8>> {
    gate::choices(&spec.gate, compare, rng)
}

/// The blocks of a chunk of `n` elements: first element and length.
fn blocks(n: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n).step_by(BLOCK).map(move |start| (start, BLOCK.min(n - start)))
}

/// The hash of the block that starts at element `start`.
fn block_hash(key: &[u8; KEY], start: usize) -> TweakedHash {
    let mut session = *b"................ block garbling ";
    session[..KEY].copy_from_slice(key);
    session[KEY..KEY + 8].copy_from_slice(&((start / BLOCK) as u64).to_le_bytes());
    TweakedHash::new(&session)
}

/// The first tweak of an AND gate of a block: each takes 2·BLOCK.
fn gate_tweak(gate: usize) -> u64 {
    (2 * BLOCK * gate) as u64
}

/// The first tweak of the pads from a term's last labels, behind those of all gates.
fn pad_tweak(spec: &GarbleSpec, term: usize) -> u64 {
    (BLOCK * (2 * spec.gates() + term)) as u64
}

/// Checks the size of a message and of the caller's material in one place.
fn expect_sizes(checks: &[(&'static str, usize, usize)]) -> Result<(), SsError> {
    checks.iter().try_for_each(|&(what, expected, got)| expect_length(what, expected, got))
}

#[cfg(test)]
mod tests;
