//! The hint: a layer's weights applied to the public randomness, once per model.

use crate::params::Params;
use crate::poly::{Ntt, Poly};

/// H = sum over j of w_j * a_j for one output polynomial, as values. It depends on the weights alone and is a secret of
/// the server; it serves every client and every inference of its epoch. Wiped on drop, prints its shape only.
#[derive(Debug)]
pub struct Hint(Poly<Ntt>);

impl Hint {
    /// The hint of one output polynomial from its (weights, a_j) pairs; zero without pairs. All pairs are summed before
    /// one reduction.
    ///
    /// # Panics
    /// When a polynomial is of another ring than `params`.
    #[must_use]
    pub fn new(params: &Params, terms: &[(&Poly<Ntt>, &Poly<Ntt>)]) -> Self {
        Self(Poly::dot(params.table(), terms))
    }

    pub(super) fn values(&self) -> &Poly<Ntt> {
        &self.0
    }
}
