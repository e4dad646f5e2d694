//! What a client wants of a session.
//!
//! Every option has a default: labels, the server's kind of transfers (SoftSpoken over its field where it allows it), base
//! transfers over Ristretto where it allows them, the preprocessing `split` where it allows it, rounds by the measured link. [`ClientOptions::terms`] turns the options
//! into the terms that go over the wire.

use ss_core::ot::BaseKind;

use crate::error::ProtocolError;
use crate::handshake::{Offer, Terms, TransferKind, is_field};
use crate::link::{LinkEstimate, Rounds};
use crate::offline::construction::Preprocessing;
use crate::plan::OutputMode;

/// Logit bits asked from a server that offers none, so that it can refuse in its own words.
const ANY_LOGIT_BITS: u32 = 12;

/// What a client wants; options that are not set are the server's to say.
///
/// ```
/// use protocol::{BaseKind, ClientOptions, Rounds, TransferKind};
/// let options = ClientOptions::new()
///     .logits(true)
///     .transfers(TransferKind::SoftSpoken { field_bits: 4 })
///     .base(BaseKind::MlKem)
///     .rounds(Rounds::Three);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientOptions {
    pub(super) logits: bool,
    pub(super) labels: u32,
    pub(super) transfers: Option<TransferKind>,
    pub(super) base: Option<BaseKind>,
    pub(super) preprocessing: Option<Preprocessing>,
    pub(super) rounds: Rounds,
    pub(super) link: Option<LinkEstimate>,
}

impl ClientOptions {
    /// All defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Logits (of as many bits as the server gives) in place of labels.
    #[must_use]
    pub fn logits(self, logits: bool) -> Self {
        Self { logits, ..self }
    }

    /// The best `count` labels of an image, largest logit first, in place of one.
    #[must_use]
    pub fn labels(self, count: u32) -> Self {
        Self { labels: count, ..self }
    }

    /// The kind of transfers.
    #[must_use]
    pub fn transfers(self, kind: TransferKind) -> Self {
        Self { transfers: Some(kind), ..self }
    }

    /// The kind of base transfers.
    #[must_use]
    pub fn base(self, kind: BaseKind) -> Self {
        Self { base: Some(kind), ..self }
    }

    /// The construction of the linear layers' preprocessing.
    #[must_use]
    pub fn preprocessing(self, construction: Preprocessing) -> Self {
        Self { preprocessing: Some(construction), ..self }
    }

    /// How activations trade round trips for bytes.
    #[must_use]
    pub fn rounds(self, rounds: Rounds) -> Self {
        Self { rounds, ..self }
    }

    /// A link that is known: [`Rounds::Auto`] measures nothing then.
    #[must_use]
    pub fn link(self, link: LinkEstimate) -> Self {
        Self { link: Some(link), ..self }
    }

    /// The terms to ask a server for.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] for a field that does not exist, or an estimate that can't be.
    pub(crate) fn terms(&self, offer: &Offer) -> Result<Terms, ProtocolError> {
        let (own, methods) = (TransferKind::SoftSpoken { field_bits: offer.field_bits }, &offer.methods);
        let transfers =
            self.transfers.unwrap_or(if methods.soft_spoken { own } else { TransferKind::Silent });
        if let TransferKind::SoftSpoken { field_bits } = transfers
            && !is_field(field_bits)
        {
            return Err(ProtocolError::Caller(format!(
                "the transfer extension works over fields of 1, 2, 4 or 8 bits, not of {field_bits}"
            )));
        }
        if let Some(link) = self.link
            && !link.is_plausible()
        {
            return Err(ProtocolError::Caller(format!("there is no link of {link}")));
        }
        let base = self.base.unwrap_or(if methods.ristretto { BaseKind::Ristretto } else { BaseKind::MlKem });
        let mode = if self.logits {
            OutputMode::Logits { bits: offer.logit_bits.unwrap_or(ANY_LOGIT_BITS) }
        } else if self.labels > 1 {
            OutputMode::Top { labels: self.labels }
        } else {
            OutputMode::Label
        };
        let preprocessing = self.preprocessing.unwrap_or_else(|| methods.preprocessing());
        Ok(Terms { mode, transfers, base, preprocessing })
    }
}
