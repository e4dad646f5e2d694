//! What can be wrong with a shape, a layout or a set of weights.
//!
//! Every variant carries the facts; the sentence is for people. All of them are the caller's fault (or that of the
//! file a shape was read from); nothing in this crate meets a peer.

use std::fmt;

/// Why a geometry, a packing or a prepared convolution was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConvError {
    /// A size that has to be at least one is zero.
    Zero {
        /// Which size.
        what: &'static str,
    },
    /// A size, or a product of sizes, exceeds its cap.
    TooLarge {
        /// Which size.
        what: &'static str,
        /// Its value (saturated at `u64::MAX`).
        value: u64,
        /// The greatest value allowed.
        limit: u64,
    },
    /// The number of groups does not divide the number of channels.
    Groups {
        /// Groups asked for.
        groups: usize,
        /// Input channels.
        in_channels: usize,
        /// Output channels.
        out_channels: usize,
    },
    /// The dilated kernel is larger than the padded image.
    KernelTooLarge {
        /// Rows and columns that the dilated kernel covers.
        kernel: [usize; 2],
        /// Rows and columns of the padded image.
        image: [usize; 2],
    },
    /// One channel's plane has more coefficients than the ring.
    PlaneTooLarge {
        /// Coefficients that one zero-padded plane takes.
        plane: usize,
        /// Ring degree N.
        degree: usize,
    },
    /// Images × channels × outputs planes do not fit into one polynomial.
    LayoutTooLarge {
        /// Coefficients that the layout takes.
        coefficients: u64,
        /// Ring degree N.
        degree: usize,
    },
    /// The ring degree is not a power of two of at least two.
    Degree {
        /// The degree asked for.
        degree: usize,
    },
    /// A flat tensor has the wrong number of elements.
    Length {
        /// Which tensor.
        what: &'static str,
        /// Elements that the geometry asks for.
        expected: usize,
        /// Elements given.
        got: usize,
    },
    /// The modulus lies outside what an algorithm supports.
    Modulus {
        /// The modulus q.
        modulus: u64,
        /// What was wanted of it.
        wanted: &'static str,
    },
    /// Words are too short for the elements of the ring.
    Word {
        /// Bits of a word.
        word: u32,
        /// Bits of an element.
        element: u32,
    },
    /// A weight lies outside the range that the arithmetic was sized for.
    Weight {
        /// Index in the flat weight tensor.
        index: usize,
        /// Greatest absolute value allowed.
        limit: u32,
    },
    /// A weight of a float convolution is infinite or not a number.
    NotFinite {
        /// Index in the flat weight tensor.
        index: usize,
    },
    /// The algorithm cannot compute this geometry.
    Unsupported {
        /// The algorithm's name.
        algorithm: &'static str,
        /// Which condition the geometry misses.
        condition: &'static str,
    },
}

impl fmt::Display for ConvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero { what } => write!(f, "{what} must be at least one"),
            Self::TooLarge { what, value, limit } => {
                write!(f, "{what} is {value}, but at most {limit} is supported")
            }
            Self::Groups { groups, in_channels, out_channels } => write!(
                f,
                "{groups} groups do not divide {in_channels} input channels and {out_channels} output channels"
            ),
            Self::KernelTooLarge { kernel: [kh, kw], image: [h, w] } => {
                write!(f, "the dilated kernel covers {kh}×{kw}, more than the padded image of {h}×{w}")
            }
            Self::PlaneTooLarge { plane, degree } => {
                write!(f, "one padded channel takes {plane} coefficients, more than the ring's {degree}")
            }
            Self::LayoutTooLarge { coefficients, degree } => {
                write!(f, "the layout takes {coefficients} coefficients, more than the ring's {degree}")
            }
            Self::Degree { degree } => write!(f, "the ring degree {degree} is not a power of two above one"),
            Self::Length { what, expected, got } => {
                write!(f, "{what} has {got} elements where the geometry asks for {expected}")
            }
            Self::Modulus { modulus, wanted } => write!(f, "the modulus {modulus} is not {wanted}"),
            Self::Word { word, element } => {
                write!(f, "elements of {element} bits do not fit words of {word} bits")
            }
            Self::Weight { index, limit } => {
                write!(f, "weight number {index} exceeds {limit} in absolute value")
            }
            Self::NotFinite { index } => write!(f, "weight number {index} is infinite or not a number"),
            Self::Unsupported { algorithm, condition } => {
                write!(f, "{algorithm} convolution needs {condition}")
            }
        }
    }
}

impl std::error::Error for ConvError {}
