//! The names of the algorithms.

use std::fmt;

/// How a prepared convolution computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// The definition, seven loops; the slow twin.
    Direct,
    /// A matrix product with the implicit matrix of shifted images, in digits of 16 bits.
    Im2col,
    /// Sums over few taps on whole rows: for groups with few inputs.
    Depthwise,
    /// Winograd's minimal filtering with tiles of `tile` rows × columns of outputs; strided layers by their phases.
    Winograd {
        /// Outputs per tile, rows and columns, 1 to 8.
        tile: [usize; 2],
        /// What multiplies in the transformed domain.
        products: Products,
    },
    /// Products of polynomials by the number-theoretic transform.
    Ntt,
}

/// The products behind a Winograd transform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Products {
    /// 16-bit digits and 16-bit weights: for tiles that keep the weights short.
    Digits,
    /// Whole words: for weights of any length.
    Words,
}

impl fmt::Display for Products {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Digits => "digits",
            Self::Words => "words",
        })
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct => f.write_str("direct"),
            Self::Im2col => f.write_str("im2col"),
            Self::Depthwise => f.write_str("depthwise"),
            Self::Winograd { tile: [rows, columns], products } => {
                write!(f, "winograd {rows}×{columns} {products}")
            }
            Self::Ntt => f.write_str("ntt"),
        }
    }
}
