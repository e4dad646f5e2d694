//! Batch encoding: N numbers modulo a prime t = 1 mod 2N as one plaintext that adds and multiplies slot by slot.
//!
//! Z_t\[X\]/(X^N + 1) is then a product of N copies of Z_t, one for each odd power of psi, a primitive 2N-th root of unity
//! modulo t (N. Smart, F. Vercauteren, *Fully homomorphic SIMD operations*, Des. Codes Cryptogr. 71, 2014). The slots form
//! a matrix of 2 rows and N/2 columns:
//!
//! | slot | place in the slice | value of the polynomial at |
//! |---|---|---|
//! | row 0, column j | j | psi^(5^j) |
//! | row 1, column j | N/2 + j | psi^(-5^j) |
//!
//! X to X^(5^k) moves the value of column j + k to column j in both rows: a rotation to the left by k. X to X^(2N-1)
//! exchanges the rows. For any other t there are the coefficients themselves: [`super::Plaintext::from_coefficients`].
//!
//! Values are secret; the order of the slots is public, so look-ups go by public indices only.

use zeroize::Zeroizing;

use super::params::Params;
use super::plaintext::Plaintext;
use crate::error::HeError;
use crate::modulus::Modulus;
use crate::ntt::{NttTable, reverse_bits};
use crate::pool::Words;

/// The batch encoder of a ring; it owns the transform modulo t.
#[derive(Debug, Clone)]
pub struct BatchEncoder {
    params: Params,
    table: NttTable,
    /// The word of the transform (bit-reversed order) that holds each slot.
    word_of_slot: Vec<u32>,
}

impl BatchEncoder {
    /// The encoder of these parameters.
    ///
    /// # Errors
    /// [`HeError::NotPrime`], [`HeError::ModulusRange`] or [`HeError::NoRoot`] unless t is an odd prime and 1 mod 2N.
    pub fn new(params: &Params) -> Result<Self, HeError> {
        let n = params.n();
        let table = NttTable::new(n, Modulus::new(params.t())?)?;
        let mut word_of_slot = vec![0; n];
        let mut exponent = 1;
        for column in 0..n / 2 {
            for (slot, exponent) in [(column, exponent), (n / 2 + column, 2 * n - exponent)] {
                word_of_slot[slot] = reverse_bits((exponent - 1) / 2, n) as u32;
            }
            exponent = exponent * 5 % (2 * n);
        }
        Ok(Self { params: params.clone(), table, word_of_slot })
    }

    /// The number of slots, N.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.table.n()
    }

    /// The columns of the matrix, N/2; row 1 starts at this place of a slice.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.slots() / 2
    }

    /// The plaintext with these residues in its first slots and zero in the others.
    ///
    /// # Errors
    /// [`HeError::Length`] for more than N of them, [`HeError::OutOfRange`] unless each is below t.
    pub fn encode(&self, slots: &[u64]) -> Result<Plaintext, HeError> {
        const WHAT: &str = "slots of a plaintext";
        let (n, bound) = (self.slots(), self.params.t());
        if slots.len() > n {
            return Err(HeError::Length { what: WHAT, expected: n, found: slots.len() });
        }
        if let Some(index) = slots.iter().position(|&word| word >= bound) {
            return Err(HeError::OutOfRange { what: WHAT, index, bound });
        }
        let mut words = Words::zeros(n);
        for (&slot, &word) in self.word_of_slot.iter().zip(slots) {
            words[slot as usize] = word;
        }
        self.table.inverse(&mut words);
        Ok(Plaintext::from_residues(*self.params.modulus(), words))
    }

    /// The plaintext with these numbers modulo t (any i64) in its first slots and zero in the others.
    ///
    /// # Errors
    /// [`HeError::Length`] for more than N of them.
    pub fn encode_signed(&self, slots: &[i64]) -> Result<Plaintext, HeError> {
        let modulus = self.params.modulus();
        let residues: Zeroizing<Vec<u64>> =
            Zeroizing::new(slots.iter().map(|&value| modulus.from_i64(value)).collect());
        self.encode(&residues)
    }

    /// The N slots of a plaintext, residues modulo t.
    ///
    /// # Panics
    /// When the plaintext is of another ring.
    #[must_use]
    pub fn decode(&self, plaintext: &Plaintext) -> Zeroizing<Vec<u64>> {
        let mut slots = Zeroizing::new(vec![0; self.slots()]);
        self.decode_into(plaintext, &mut slots);
        slots
    }

    /// As [`BatchEncoder::decode`], into a place of N words.
    ///
    /// # Panics
    /// When the plaintext is of another ring, or unless there are N places.
    pub fn decode_into(&self, plaintext: &Plaintext, slots: &mut [u64]) {
        assert!(
            plaintext.n() == self.slots() && plaintext.modulus() == self.params.modulus(),
            "{plaintext:?} met an encoder of {} slots modulo {}",
            self.slots(),
            self.params.t()
        );
        assert_eq!(slots.len(), self.slots(), "places for the slots of a plaintext");
        let mut words = Words::copy(plaintext.coefficients());
        self.table.forward(&mut words);
        for (slot, &word) in slots.iter_mut().zip(&self.word_of_slot) {
            *slot = words[word as usize];
        }
    }

    /// The N slots of a plaintext, in (-t/2, t/2].
    ///
    /// # Panics
    /// When the plaintext is of another ring.
    #[must_use]
    pub fn decode_signed(&self, plaintext: &Plaintext) -> Zeroizing<Vec<i64>> {
        let modulus = self.params.modulus();
        Zeroizing::new(self.decode(plaintext).iter().map(|&word| modulus.center(word)).collect())
    }
}
