//! Flags for what leaves the two-party computation.
//!
//! | output | client ([`OutputFlags`]) | server | leaves |
//! |---|---|---|---|
//! | the best label | nothing, or `--top 1` | always given | its index |
//! | the N best labels | `--top N` | `serve --top N` or more | their indices, largest logit first, no logits |
//! | logits | `--logits` | `serve --output logits` | all logits, rounded |
//!
//! What the server does not give it refuses in a sentence of its own; more labels than the model has classes are found
//! out by the client as soon as it knows the model, see [`OutputFlags::check`].

use clap::{Args, ValueEnum};
use protocol::ClientOptions;
use protocol::plan::MAX_TOP;

use crate::error::Failure;

/// What a client asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct OutputFlags {
    /// Ask for logits, not only labels; the server must give them
    #[arg(long)]
    pub(crate) logits: bool,
    /// Ask for the N best labels (1 to 16; 1: as without it), largest logit first; nothing else about the
    /// logits leaves. The server must give as many
    #[arg(long, value_name = "N", value_parser = labels(), conflicts_with = "logits")]
    pub(crate) top: Option<u32>,
}

/// Names of the outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputName {
    /// The index of the largest logit and nothing else
    Label,
    /// All logits, rounded, to whoever asks; labels to others
    Logits,
}

/// Names of the ways to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeName {
    /// On secret shares, with preprocessing: any network, labels only if the server wants it so
    Shares,
    /// On ciphertexts alone, one round trip: networks of linear maps and squares; gives logits
    He,
}

/// Names of what the shares are numbers of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ArithmeticName {
    /// Rings: a share alone is a random number
    Ring,
    /// INSECURE: floating-point numbers, as the published scheme has them; a share tells something about its
    /// value. For comparisons only. Chains of linear maps with squares or ReLUs (max-pooling before them or not)
    /// between; gives logits
    Float,
}

impl OutputFlags {
    /// `options` with the output asked for.
    pub(super) fn into_options(self, options: ClientOptions) -> ClientOptions {
        let options = options.logits(self.logits);
        self.top.map_or(options, |labels| options.labels(labels))
    }

    /// Whether a model of so many classes has the labels that are asked for.
    ///
    /// # Errors
    /// [`Failure::Usage`] if it has fewer.
    pub(crate) fn check(self, classes: usize) -> Result<(), Failure> {
        check_top(self.top, classes)
    }

    /// The word for it in documents: `label`, `top` or `logits`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self { logits: true, .. } => "logits",
            Self { top: Some(2..), .. } => "top",
            _ => "label",
        }
    }
}

/// Whether a model of so many classes has as many labels as `--top` says.
///
/// # Errors
/// [`Failure::Usage`] if it has fewer.
pub(crate) fn check_top(top: Option<u32>, classes: usize) -> Result<(), Failure> {
    match top {
        Some(labels) if labels as usize > classes.max(1) => {
            Err(Failure::Usage(format!("--top {labels} can't be had: this model has {classes} classes")))
        }
        _ => Ok(()),
    }
}

/// Numbers of labels that can be asked for, or given.
pub(super) fn labels() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=i64::from(MAX_TOP))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn top(labels: u32) -> OutputFlags {
        OutputFlags { logits: false, top: Some(labels) }
    }

    #[test]
    fn flags_become_options_and_words() {
        let none = OutputFlags::default();
        let logits = OutputFlags { logits: true, top: None };
        let options = |flags: OutputFlags| flags.into_options(ClientOptions::new());
        assert_eq!(options(none), ClientOptions::new());
        assert_eq!(options(logits), ClientOptions::new().logits(true));
        assert_eq!(options(top(3)), ClientOptions::new().labels(3));
        assert_eq!(
            [none, top(1), top(2), logits].map(OutputFlags::word),
            ["label", "label", "top", "logits"]
        );
    }

    #[test]
    fn there_are_no_more_labels_than_classes() {
        for (flags, classes, is_right) in
            [(top(10), 10, true), (top(11), 10, false), (top(1), 1, true), (OutputFlags::default(), 1, true)]
        {
            let checked = flags.check(classes);
            assert_eq!(checked.is_ok(), is_right, "{flags:?} of {classes}");
            if let Err(failure) = checked {
                assert_eq!(
                    (failure.code(), failure.to_string().contains("10 classes")),
                    (2, true),
                    "{failure}"
                );
            }
        }
    }
}
