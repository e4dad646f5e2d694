//! The client's side of a polynomial step: its factors are fixed offline, online it answers once.

use rand_core::CryptoRng;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::{Kind, PolynomialSpec, binomial};
use crate::error::{SsError, expect_length};
use crate::gate::ClientInputs;
use crate::ot::{RotReceiver, RotSender};
use crate::product::ProductClient;

/// The choice bits of the transfers in which the client receives: b of every element, or none where no value is
/// selected. They follow from the shares; the generator is for steps whose choices are random.
pub fn choices(spec: &PolynomialSpec, compare: &[u64], _rng: &mut impl CryptoRng) -> Zeroizing<Vec<u8>> {
    let count = compare.len() * spec.client_transfers();
    Zeroizing::new(compare.iter().take(count).map(|&share| spec.client_part(share).0 as u8).collect())
}

/// Prepared, unused client material for a polynomial step. One-time.
///
/// ```compile_fail
/// fn twice(half: ss_core::polynomial::PolynomialClient) -> [ss_core::polynomial::PolynomialClient; 2] {
///     [half.clone(), half]
/// }
/// ```
pub struct PolynomialClient {
    inner: ProductClient,
}

impl ZeroizeOnDrop for PolynomialClient {}

impl PolynomialClient {
    /// Turns random transfers into material; returns the corrections with it.
    ///
    /// `inputs.compare` are the client's shares of y, `inputs.lanes` (a product only) its share of u, and
    /// `inputs.constants[0]` κ in the output ring. `sent` are the transfers in which the server chose at random,
    /// `received` those with the choices of [`choices`].
    ///
    /// # Errors
    /// [`SsError::WrongLength`] where a slice does not fit, [`SsError::BadValue`] where `received` was not made with
    /// the choices of these shares.
    pub fn prepare(
        spec: &PolynomialSpec,
        inputs: &ClientInputs<'_>,
        sent: RotSender,
        received: RotReceiver,
        rng: &mut impl CryptoRng,
    ) -> Result<(Vec<u8>, Self), SsError> {
        let n = inputs.compare.len();
        expect_length("lanes of a polynomial", spec.lanes(), inputs.lanes.len())?;
        expect_length("constants of a polynomial (lanes)", 1, inputs.constants.len())?;
        expect_length("constants of a polynomial", n, inputs.constants[0].len())?;
        if let Some(lane) = inputs.lanes.first() {
            expect_length("values of a product's lane", n, lane.len())?;
        }
        let chosen = choices(spec, inputs.compare, rng);
        expect_length("transfers received for a polynomial", chosen.len(), received.len())?;
        let differ = chosen.iter().zip(received.choices()).fold(0, |all, (a, b)| all | (a ^ b));
        if differ != 0 {
            return Err(SsError::BadValue {
                what: "the choices of a polynomial's transfers (those of its shares)",
            });
        }
        let (corrections, inner) = ProductClient::prepare(
            &spec.product,
            inputs.constants[0],
            sent.pairs(),
            (received.choices(), received.pads()),
            |i, factors| {
                let (b, own) = spec.client_part(inputs.compare[i]);
                let sign = b.wrapping_neg();
                let negated = |value: u64| (value ^ sign).wrapping_sub(sign);
                match &spec.kind {
                    Kind::Product => {
                        let lane = inputs.lanes[0][i];
                        factors[..3].copy_from_slice(&[lane, negated(lane), own]);
                        own.wrapping_mul(lane)
                    }
                    Kind::Polynomial { coefficients, terms, .. } => {
                        if coefficients.len() == 2 {
                            let slope = coefficients[1];
                            factors[0] = (slope >> slope.trailing_zeros()) as u64 & sign;
                            factors[0] = factors[0].wrapping_neg();
                        } else {
                            for (factor, term) in factors.iter_mut().zip(terms) {
                                let value = derived(coefficients, term.power, own) >> term.zeros;
                                *factor = if term.odd { negated(value) } else { value };
                            }
                        }
                        derived(coefficients, 0, own)
                    }
                }
            },
        )?;
        Ok((corrections, Self { inner }))
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.inner.len()
    }

    /// Whether the step has no elements.
    pub fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }

    /// Bytes of a stored step of `n` elements.
    pub fn stored_len(spec: &PolynomialSpec, n: usize) -> usize {
        ProductClient::stored_len(&spec.product, n)
    }

    /// The material as bytes, wiped when dropped: as secret as the material, and to be used at most once.
    pub fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        self.inner.into_bytes()
    }

    /// A stored step of `n` elements.
    ///
    /// # Errors
    /// [`SsError`] unless the record has exactly its size and no stray bits.
    pub fn from_bytes(spec: &PolynomialSpec, n: usize, bytes: &[u8]) -> Result<Self, SsError> {
        Ok(Self { inner: ProductClient::from_bytes(&spec.product, n, bytes)? })
    }

    /// S1 in, C1 out; the client is done and its material wiped.
    ///
    /// # Errors
    /// [`SsError`] when the server's message has the wrong length or stray bits.
    pub fn answer(self, message: &[u8]) -> Result<Vec<u8>, SsError> {
        self.inner.answer(message)
    }
}

/// v_i = Σ_(e≥i) coef_e·C(e,i)·C^(e−i) modulo 2^64.
fn derived(coefficients: &[i64], power: usize, own: u64) -> u64 {
    (power..coefficients.len()).rev().fold(0u64, |sum, e| {
        sum.wrapping_mul(own).wrapping_add((coefficients[e] as u64).wrapping_mul(binomial(e, power)))
    })
}
