//! What can go wrong in this crate.
//!
//! Nearly every error here is the fault of the bytes that the other party sent: a message of another length
//! than the plan says, an encoding that is not canonical, a group element that is none. A few are the
//! caller's: taking more one-time material than there is. Each value carries the facts, so that the sentence
//! it displays needs no context. No secret is ever part of an error.
//!
//! After any error of the peer's making the session has to end: the protocols are not made to be retried with
//! the same one-time material.

use core::fmt;

/// An error of the two-party building blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SsError {
    /// A message or slice has another length than agreed.
    WrongLength {
        /// What was being read.
        what: &'static str,
        /// The length that the public parameters imply, in the units of `what`.
        expected: usize,
        /// The length found.
        got: usize,
    },
    /// A group element is not the canonical encoding of a valid point.
    BadPoint {
        /// Position of the element in its message.
        index: usize,
    },
    /// A value lies outside its range.
    BadValue {
        /// Which value, and the range it has to keep.
        what: &'static str,
    },
    /// A batch is larger than this crate allows.
    TooLarge {
        /// What was asked for.
        what: &'static str,
        /// The largest number allowed.
        limit: usize,
        /// The number asked for.
        got: usize,
    },
    /// More one-time material was asked for than is left.
    Exhausted {
        /// Which material.
        what: &'static str,
        /// How many pieces were asked for.
        wanted: usize,
        /// How many are left.
        left: usize,
    },
    /// The consistency check of oblivious transfers failed, now or earlier.
    Inconsistent,
    /// A step was called before the one that it depends on, or twice.
    OutOfOrder {
        /// The step, and what it was waiting for.
        what: &'static str,
    },
}

impl fmt::Display for SsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongLength { what, expected, got } => {
                write!(f, "{what} has length {got}, but {expected} was agreed")
            }
            Self::BadPoint { index } => {
                write!(
                    f,
                    "element {index} of the message is not the canonical encoding of a valid group element"
                )
            }
            Self::BadValue { what } => write!(f, "value out of range: {what}"),
            Self::TooLarge { what, limit, got } => {
                write!(f, "{got} {what} were asked for at once, at most {limit} are allowed")
            }
            Self::Exhausted { what, wanted, left } => {
                write!(f, "{wanted} {what} were asked for, but only {left} are left")
            }
            Self::Inconsistent => f.write_str("the other party's transfers contradict each other"),
            Self::OutOfOrder { what } => write!(f, "step out of order: {what}"),
        }
    }
}

impl core::error::Error for SsError {}

/// Checks that `got` is the agreed length of `what`.
///
/// # Errors
/// [`SsError::WrongLength`] where it is not.
pub fn expect_length(what: &'static str, expected: usize, got: usize) -> Result<(), SsError> {
    if expected == got { Ok(()) } else { Err(SsError::WrongLength { what, expected, got }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_compared_both_ways() {
        assert_eq!(expect_length("a message", 3, 3), Ok(()));
        assert!(expect_length("a message", 3, 2).is_err());
        assert!(expect_length("a message", 3, 4).is_err());
    }

    #[test]
    fn errors_are_sentences_with_facts() {
        let error = SsError::Exhausted { what: "random OTs", wanted: 9, left: 4 };
        assert_eq!(error.to_string(), "9 random OTs were asked for, but only 4 are left");
        let error = SsError::WrongLength { what: "the OT message", expected: 10, got: 11 };
        assert_eq!(error.to_string(), "the OT message has length 11, but 10 was agreed");
    }
}
