//! The hint: a layer's weights applied to the public randomness, once per model.

use crate::params::Params;
use crate::poly::Ntt;
use crate::rns::RnsPoly;

/// H = sum over j of w_j * a_j for one output polynomial, as values. It depends on the weights alone and is a secret of
/// the server; it serves every client and every inference of its epoch. Wiped on drop, prints its shape only.
#[derive(Debug)]
pub struct Hint(RnsPoly<Ntt>);

impl Hint {
    /// The hint of one output polynomial from its (weights, a_j) pairs; zero without pairs. All pairs are summed before
    /// one reduction.
    ///
    /// # Panics
    /// When a polynomial is of another ring than `params`.
    #[must_use]
    pub fn new(params: &Params, terms: &[(&RnsPoly<Ntt>, &RnsPoly<Ntt>)]) -> Self {
        Self(RnsPoly::dot(params, terms))
    }

    pub(super) fn values(&self) -> &RnsPoly<Ntt> {
        &self.0
    }
}
