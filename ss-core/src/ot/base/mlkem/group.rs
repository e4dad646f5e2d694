//! The group of encapsulation keys of ML-KEM-768: Z_3329^768 × {0,1}^256.
//!
//! An element is t, 768 coefficients below q, and ρ, 32 bytes; t is added modulo q, ρ by exclusive or. Every
//! element is an encapsulation key in the encoding of FIPS 203 (ByteEncode_12: twelve bits per coefficient,
//! little-endian, then ρ; 1184 bytes), and every canonical encoding an element. Whether t stands for values
//! or for coefficients of polynomials does not matter to the group.
//!
//! All of it takes a time that does not depend on values, but for [`GroupElement::decode`] refusing what is
//! not canonical.

use ml_kem::ml_kem_768::EncapsulationKey;
use shake::{ExtendableOutput, Shake256, Update, XofReader};

/// The modulus of ML-KEM.
pub(super) const Q: u16 = 3329;

/// Coefficients of a key, 3·256.
pub(super) const COEFFICIENTS: usize = 768;

/// Bytes of an encapsulation key: 768 coefficients of 12 bits, then ρ.
pub(super) const KEY_BYTES: usize = 1184;

/// Where ρ starts in an encoded key.
pub(super) const RHO: usize = KEY_BYTES - 32;

/// An encoded key.
pub(super) type KeyBytes = [u8; KEY_BYTES];

/// An element of the group of encapsulation keys, Z_q^768 × {0,1}^256. Coefficients are below q.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct GroupElement {
    pub(super) t: [u16; COEFFICIENTS],
    pub(super) rho: [u8; 32],
}

impl GroupElement {
    /// The element that SHAKE256 makes of `parts`, uniform to within 2^−106. All parts but the last have a
    /// fixed length.
    pub(super) fn stream(parts: &[&[u8]]) -> Self {
        let mut shake = Shake256::default();
        parts.iter().for_each(|part| shake.update(part));
        let mut stream = shake.finalize_xof();
        let mut t = [0; COEFFICIENTS];
        let mut bytes = [0u8; 16 * 64];
        for batch in t.chunks_exact_mut(64) {
            stream.read(&mut bytes);
            let (words, _) = bytes.as_chunks::<16>();
            for (coefficient, word) in batch.iter_mut().zip(words) {
                *coefficient = reduce(u128::from_le_bytes(*word));
            }
        }
        let mut rho = [0; 32];
        stream.read(&mut rho);
        Self { t, rho }
    }

    /// The element of an encoding, or nothing where a coefficient is not below q.
    pub(super) fn decode(bytes: &KeyBytes) -> Option<Self> {
        let element = Self::of_valid(bytes);
        element.t.iter().all(|&coefficient| coefficient < Q).then_some(element)
    }

    /// The element of an encoding that is known to be canonical.
    pub(super) fn of_valid(bytes: &KeyBytes) -> Self {
        let mut t = [0; COEFFICIENTS];
        let (triples, _) = bytes[..RHO].as_chunks::<3>();
        for (pair, &[low, middle, high]) in t.as_chunks_mut::<2>().0.iter_mut().zip(triples) {
            let [low, middle, high] = [low, middle, high].map(u16::from);
            *pair = [low | (middle & 15) << 8, middle >> 4 | high << 4];
        }
        let mut rho = [0; 32];
        rho.copy_from_slice(&bytes[RHO..]);
        Self { t, rho }
    }

    /// The encoding of FIPS 203: twelve bits per coefficient, then ρ.
    pub(super) fn encode(&self) -> KeyBytes {
        let mut bytes = [0u8; KEY_BYTES];
        let (triples, _) = bytes[..RHO].as_chunks_mut::<3>();
        for (triple, &[even, odd]) in triples.iter_mut().zip(self.t.as_chunks::<2>().0) {
            *triple = [even as u8, (even >> 8 | odd << 4) as u8, (odd >> 4) as u8];
        }
        bytes[RHO..].copy_from_slice(&self.rho);
        bytes
    }

    pub(super) fn add(&self, other: &Self) -> Self {
        self.combine(other, |a, b| below_q(a + b))
    }

    pub(super) fn subtract(&self, other: &Self) -> Self {
        self.combine(other, |a, b| below_q(a + Q - b))
    }

    /// Coefficient by coefficient; ρ by exclusive or either way.
    fn combine(&self, other: &Self, op: impl Fn(u16, u16) -> u16) -> Self {
        Self {
            t: core::array::from_fn(|i| op(self.t[i], other.t[i])),
            rho: core::array::from_fn(|i| self.rho[i] ^ other.rho[i]),
        }
    }

    /// The encapsulation key that the element stands for: every one does.
    pub(super) fn into_key(self) -> EncapsulationKey {
        EncapsulationKey::new(&self.encode().into()).expect("coefficients of an element are below q")
    }
}

/// `value` mod q, for `value` < 2q, without a branch.
fn below_q(value: u16) -> u16 {
    let reduced = value.wrapping_sub(Q);
    // The sign bit is set where the subtraction went below zero.
    reduced.wrapping_add(Q & (reduced >> 15).wrapping_neg())
}

/// `value` mod q: 32 bits at a time, because 128-bit division takes a time that depends on its operands.
pub(super) fn reduce(value: u128) -> u16 {
    let step = |rest: u64, shift: u32| (rest << 32 | (value >> shift) as u64 & 0xffff_ffff) % u64::from(Q);
    [96, 64, 32, 0].into_iter().fold(0, step) as u16
}
