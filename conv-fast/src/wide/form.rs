//! The choice of a form, and the bounds that make it exact; the forms are explained in [`super`].

use crate::Ring;
use crate::kernel::Kernel;

/// Weights up to which a matrix takes no bias, at twice the bytes if need be.
const SMALL: usize = 4096;

/// How products are split into sums; the table of the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Low,
    Single,
    LowHigh,
    Once,
    Halves,
    Quarters,
}

impl Form {
    /// Weight of each sum, as the exponent of a power of two.
    pub(super) fn shifts(self) -> &'static [u32] {
        match self {
            Self::Low | Self::Single | Self::Once => &[0],
            Self::LowHigh => &[0, 52],
            Self::Halves => &[0, 26],
            Self::Quarters => &[0, 26, 52],
        }
    }
}

/// What the weights and the ring decide: the form, and the bounds that make it exact.
pub(super) struct Choice {
    pub(super) form: Form,
    /// Whether weights take 8 bytes.
    pub(super) long: bool,
    /// Added to every weight.
    pub(super) bias: u64,
    /// Words of x lie below 2^input_bits.
    pub(super) input_bits: u32,
    /// Greatest contribution of one term to each sum.
    pub(super) term: [u128; 3],
}

impl Choice {
    /// For weights of `size` numbers, the greatest of that absolute value.
    pub(super) fn new(ring: &Ring, kernel: Kernel, greatest: u64, size: usize) -> Self {
        let bits = ring.bits();
        let m = u128::from(greatest.max(1));
        let wide = kernel == Kernel::Avx512;
        let choice = |form, long, bias: u128, input_bits, term| Self {
            form,
            long,
            bias: bias as u64,
            input_bits,
            term,
        };
        if let Ring::PowerOfTwo(_) = ring {
            return choice(Form::Single, m >> 31 != 0, 0, 64, [0; 3]);
        }
        if wide {
            // A sum of 64 terms or more, with a bit of slack over the ring's bits.
            let single = m >> 31 == 0 && m << (bits + 1 + 6) <= 1 << 61;
            // Σx costs as much as some thousand products: a small matrix goes without a bias.
            let small = size <= SMALL;
            if !(single && small)
                && let Some(free) = (bits..=bits + 2).rev().find(|&free| m << (free + 1) <= 1 << 52)
            {
                return choice(Form::Low, false, m, free, [m << (free + 1), 0, 0]);
            }
            if single {
                return choice(Form::Single, false, 0, bits + 1, [m << (bits + 1), 0, 0]);
            }
            if m >> 31 == 0 && !small {
                return choice(Form::LowHigh, false, m, 52, [1 << 52, 2 * m, 0]);
            }
            return choice(Form::LowHigh, true, 0, 52, [1 << 52, 1 << bits, 0]);
        }
        if m >> 31 == 0 && bits <= 30 {
            choice(Form::Once, false, 0, bits + 1, [m << (bits + 1), 0, 0])
        } else if m >> 31 == 0 {
            choice(Form::Halves, false, 0, 52, [m << 26, m << 26, 0])
        } else {
            choice(Form::Quarters, false, 0, 52, [1 << 51, 1 << 52, 1 << 51])
        }
    }
}
