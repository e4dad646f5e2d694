//! The server's side of a polynomial step: it knows its shares only when the input is there, so it speaks first.

use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::{Kind, MAX_DEGREE, PolynomialSpec};
use crate::error::{SsError, expect_length};
use crate::ot::{RotReceiver, RotSender};
use crate::product::{ProductFinish, ProductServer, ProductWaiting};

/// The server's half before the client's corrections are there.
pub struct PolynomialWaiting {
    spec: PolynomialSpec,
    inner: ProductWaiting,
}

impl ZeroizeOnDrop for PolynomialWaiting {}

impl PolynomialWaiting {
    /// Applies the corrections; `sent` are the transfers in which the client receives.
    ///
    /// # Errors
    /// [`SsError`] when a count or the message does not fit.
    pub fn complete(self, sent: RotSender, corrections: &[u8]) -> Result<PolynomialServer, SsError> {
        Ok(PolynomialServer { inner: self.inner.complete(sent.pairs(), corrections)?, spec: self.spec })
    }
}

/// Prepared, unused server material for a polynomial step. One-time.
pub struct PolynomialServer {
    spec: PolynomialSpec,
    inner: ProductServer,
}

impl ZeroizeOnDrop for PolynomialServer {}

impl PolynomialServer {
    /// Keeps of `received`, [`PolynomialSpec::server_transfers`] per element, what is needed.
    ///
    /// # Errors
    /// [`SsError::WrongLength`] where the counts do not fit.
    pub fn receive(
        spec: &PolynomialSpec,
        n: usize,
        received: RotReceiver,
    ) -> Result<PolynomialWaiting, SsError> {
        let inner = ProductWaiting::receive(&spec.product, n, received.choices(), received.pads())?;
        Ok(PolynomialWaiting { spec: spec.clone(), inner })
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.inner.len()
    }

    /// Whether the step has no elements.
    pub fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }

    /// Starts the step: `compare` the server's k-bit shares of y, `lanes` (a product only) its share of u. Gives S1.
    /// The operands are wiped.
    ///
    /// # Errors
    /// [`SsError::WrongLength`] when the operands do not have the step's size.
    pub fn begin(
        self,
        compare: Vec<u64>,
        lanes: Vec<Vec<u64>>,
    ) -> Result<(Vec<u8>, PolynomialFinish), SsError> {
        let (compare, lanes) = (Zeroizing::new(compare), Zeroizing::new(lanes));
        let Self { spec, inner } = self;
        expect_length("operands of a polynomial", inner.len(), compare.len())?;
        expect_length("lanes of a polynomial", spec.lanes(), lanes.len())?;
        if let Some(lane) = lanes.first() {
            expect_length("operands of a product's lane", inner.len(), lane.len())?;
        }
        let k = spec.ring_bits;
        let ring = spec.product.ring_bits();
        let (message, inner) = inner.begin(|i, factors| {
            let (low, high) = spec.server_parts(compare[i]);
            match &spec.kind {
                Kind::Product => {
                    let lane = lanes[0][i] & ((1 << ring) - 1);
                    factors[..3].copy_from_slice(&[low, high >> (k - 1), lane]);
                    let selected = lane & (high >> (k - 1)).wrapping_neg();
                    ((low | high).wrapping_mul(lane), selected.wrapping_neg())
                }
                Kind::Polynomial { coefficients, terms, select } => {
                    // (E_i, O_i) for every i up to the degree, modulo 2^64.
                    let mut powers = Zeroizing::new([(1u64, 0u64); MAX_DEGREE + 1]);
                    for power in 1..coefficients.len() {
                        let (even, odd) = powers[power - 1];
                        powers[power] = (
                            low.wrapping_mul(even).wrapping_add(high.wrapping_mul(odd)),
                            low.wrapping_mul(odd).wrapping_add(high.wrapping_mul(even)),
                        );
                    }
                    for ((factor, term), field) in factors.iter_mut().zip(terms).zip(spec.product.fields()) {
                        let (even, odd) = powers[term.power];
                        let value = if term.odd { odd } else { even };
                        *factor = (value >> term.inner) & ((1 << field.bits) - 1);
                    }
                    let degree = coefficients.len() - 1;
                    let (leading, (even, odd)) = (coefficients[degree] as u64, powers[degree]);
                    let selected = leading.wrapping_mul(odd).wrapping_mul(2).wrapping_neg() >> select;
                    (leading.wrapping_mul(even.wrapping_add(odd)), selected)
                }
            }
        })?;
        Ok((message, PolynomialFinish { inner }))
    }
}

/// After S1.
pub struct PolynomialFinish {
    inner: ProductFinish,
}

impl ZeroizeOnDrop for PolynomialFinish {}

impl PolynomialFinish {
    /// C1 in; one lane out: z·2^shift + κ in the output ring, a share, for the caller to wipe.
    ///
    /// # Errors
    /// [`SsError`] when the client's message has the wrong length or stray bits.
    pub fn finish(self, message: &[u8]) -> Result<Vec<Vec<u64>>, SsError> {
        Ok(vec![self.inner.finish(message)?])
    }
}
