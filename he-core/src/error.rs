//! The one error type of this crate.
//!
//! Every variant is a sentence with the facts that somebody needs to act on it. Two groups: faults of the
//! caller's parameters (degree, modulus, bits, dither) and faults of bytes that came from a peer (length, range,
//! padding, degenerate key). Nothing secret is ever placed in an error: values shown are public parameters or
//! positions inside a message, never coefficients.

use core::fmt;

use crate::ntt::Kernel;

/// What can go wrong in this crate; see each variant for its facts.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum HeError {
    /// A modulus outside the supported range 2 < q < 2^61.
    ModulusRange {
        /// The offered modulus.
        q: u64,
    },
    /// A modulus that is not prime.
    NotPrime {
        /// The offered modulus.
        q: u64,
    },
    /// A ring degree that is not a power of two in 2..=2^16.
    Degree {
        /// The offered degree.
        n: usize,
    },
    /// The modulus has no primitive 2N-th root of unity, so there is no negacyclic transform.
    NoRoot {
        /// The ring degree N.
        n: usize,
        /// The modulus, which is not 1 mod 2N.
        q: u64,
    },
    /// The kernel cannot run: the CPU lacks it, the modulus is too wide or the degree too small for it.
    KernelUnavailable {
        /// The kernel asked for.
        kernel: Kernel,
        /// The modulus.
        q: u64,
        /// The ring degree N.
        n: usize,
    },
    /// Primes that do not make a chain: none, equal ones, or special primes that are too small.
    PrimeChain {
        /// What is wrong with them.
        what: &'static str,
    },
    /// There is no key for an automorphism.
    NoGaloisKey {
        /// The exponent g of X to X^g.
        exponent: usize,
        /// The ring degree N.
        n: usize,
    },
    /// A plaintext modulus outside 2..=2^60.
    PlainModulus {
        /// The offered modulus.
        t: u64,
    },
    /// A plaintext modulus that a ciphertext prime divides.
    PlainNotCoprime {
        /// The plaintext modulus.
        t: u64,
        /// The prime.
        q: u64,
    },
    /// The ciphertext modulus is too small for the plaintext modulus: fresh encryptions might not decrypt.
    NoRoom {
        /// The plaintext modulus.
        t: u64,
        /// log2 of the ciphertext modulus.
        log2_q: f64,
        /// log2 of the noise of a fresh encryption, exceeded with probability 2^-64.
        log2_noise: f64,
    },
    /// The modulus is above the cap for 128-bit security at this ring degree.
    Insecure {
        /// The ring degree N.
        n: usize,
        /// log2 of the modulus offered, rounded up.
        log2_q: u32,
        /// The largest log2 of the modulus allowed; 0 when the degree itself is not in the table.
        cap: u32,
    },
    /// A profile name that is not `tiny`, `narrow`, `wide` or `exact`.
    UnknownProfile {
        /// The name as given.
        name: String,
    },
    /// A number of bits outside of what the operation supports.
    Bits {
        /// What the bits belong to.
        what: &'static str,
        /// Bits asked for.
        bits: u32,
        /// Fewest allowed.
        least: u32,
        /// Most allowed.
        most: u32,
    },
    /// A dither so wide that it would wrap around the modulus, or not a finite number of bits.
    Dither {
        /// log2 of the standard deviation asked for.
        log2_sigma: f64,
        /// log2 of the modulus.
        log2_q: f64,
    },
    /// Something has the wrong length.
    Length {
        /// What was measured.
        what: &'static str,
        /// The length it must have.
        expected: usize,
        /// The length it has.
        found: usize,
    },
    /// A value in a message is not below its bound.
    OutOfRange {
        /// What the value belongs to.
        what: &'static str,
        /// The position of the first such value, in its limb.
        index: usize,
        /// The exclusive bound.
        bound: u64,
    },
    /// The unused bits at the end of a packed message are not zero.
    Padding {
        /// How many bits must be zero.
        bits: u32,
    },
    /// A message of a version that this library does not read.
    WireVersion {
        /// The version of the message.
        found: u8,
        /// The version that is read.
        known: u8,
    },
    /// A message of another kind than is wanted.
    WireKind {
        /// What is wanted.
        expected: &'static str,
        /// The kind of the message.
        found: u8,
    },
    /// A message made for other parameters.
    OtherParameters {
        /// What the message holds.
        what: &'static str,
    },
    /// A number of things outside of its range.
    Count {
        /// What was counted.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// Fewest allowed.
        least: usize,
        /// Most allowed.
        most: usize,
    },
    /// The exponent of an automorphism that is even or too large, or that does not grow in a list.
    Exponent {
        /// The exponent g of X to X^g.
        exponent: usize,
        /// The ring degree N.
        n: usize,
    },
    /// A scale of CKKS outside of what the modulus holds.
    ScaleRange {
        /// log2 of the scale.
        log2_scale: f64,
        /// log2 of the largest scale possible; the smallest is 1.
        log2_most: f64,
    },
    /// Two CKKS messages of different scales where equal ones are needed.
    UnequalScales {
        /// The scale of the left operand.
        left: f64,
        /// The scale of the right one, or the one that is wanted.
        right: f64,
    },
    /// A ciphertext or plaintext that lives modulo another number of primes than is needed.
    Limbs {
        /// The number needed.
        needed: usize,
        /// The number found.
        found: usize,
    },
    /// A number that is not finite where only finite ones have a meaning.
    NotFinite {
        /// What the number belongs to.
        what: &'static str,
        /// Its position.
        index: usize,
    },
    /// An encoded message with a coefficient too large for the modulus.
    Overflow {
        /// log2 of what fits.
        log2_most: f64,
    },
    /// The ends of an interval that is none.
    Interval {
        /// The lower end.
        low: f64,
        /// The upper end.
        high: f64,
    },
    /// More bits of a result than noise and its hiding leave.
    Precision {
        /// Bits after the binary point asked for.
        bits: u32,
        /// Bits that are possible.
        possible: f64,
    },
    /// A public key that would switch off re-randomisation modulo one of the primes.
    DegenerateKey,
    /// The operating system gave no randomness.
    Entropy {
        /// What it said instead.
        reason: String,
    },
}

impl fmt::Display for HeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ModulusRange { q } => write!(f, "the modulus {q} is outside 3..2^61"),
            Self::NotPrime { q } => write!(f, "the modulus {q} is not prime"),
            Self::Degree { n } => write!(f, "the ring degree {n} is not a power of two in 2..=65536"),
            Self::NoRoot { n, q } => {
                write!(f, "the modulus {q} is not 1 mod {}, so degree {n} has no transform", 2 * n)
            }
            Self::KernelUnavailable { kernel, q, n } => {
                write!(f, "kernel {kernel:?} cannot serve degree {n} modulo {q} on this machine")
            }
            Self::NoGaloisKey { exponent, n } => {
                write!(f, "there is no Galois key for X to X^{exponent} in the ring of degree {n}")
            }
            Self::PrimeChain { what } => write!(f, "the primes make no chain: {what}"),
            Self::PlainModulus { t } => write!(f, "the plaintext modulus {t} is outside 2..=2^60"),
            Self::PlainNotCoprime { t, q } => {
                write!(f, "the plaintext modulus {t} is a multiple of the ciphertext prime {q}")
            }
            Self::NoRoom { t, log2_q, log2_noise } => write!(
                f,
                "a ciphertext modulus of {log2_q:.1} bits has no room for the plaintext modulus {t} and fresh noise of \
                 {log2_noise:.1} bits"
            ),
            Self::Insecure { n, cap: 0, .. } => {
                write!(f, "no security figure is known for ring degree {n} (1024..=32768, powers of two)")
            }
            Self::Insecure { n, log2_q, cap } => write!(
                f,
                "a modulus of {log2_q} bits is below 128-bit security at ring degree {n}; at most {cap} bits"
            ),
            Self::UnknownProfile { name } => {
                write!(f, "unknown profile {name:?}; there are tiny, narrow, wide and exact")
            }
            Self::Bits { what, bits, least, most } => {
                write!(f, "{what} of {bits} bits; {least} to {most} are supported")
            }
            Self::Dither { log2_sigma, log2_q } => write!(
                f,
                "a dither of standard deviation 2^{log2_sigma:.2} does not fit a modulus of {log2_q:.2} bits"
            ),
            Self::Length { what, expected, found } => {
                write!(f, "{what}: length {found} where {expected} is needed")
            }
            Self::OutOfRange { what, index, bound } => {
                write!(f, "{what}: the value at position {index} is not below {bound}")
            }
            Self::Padding { bits } => write!(f, "the last {bits} bits of a packed message are not all zero"),
            Self::WireVersion { found, known } => {
                write!(f, "a message of version {found}; version {known} is read here")
            }
            Self::WireKind { expected, found } => {
                write!(f, "a message of kind {found} where {expected} is wanted")
            }
            Self::OtherParameters { what } => write!(f, "{what} of other parameters"),
            Self::Count { what, found, least, most } => {
                write!(f, "{what}: {found}, where {least} to {most} are possible")
            }
            Self::Exponent { exponent, n } => {
                write!(f, "the exponent {exponent} is not odd, below {}, and above the one before it", 2 * n)
            }
            Self::ScaleRange { log2_scale, log2_most } => {
                write!(
                    f,
                    "a scale of 2^{log2_scale:.2}; scales from 2^0 to 2^{log2_most:.2} are possible here"
                )
            }
            Self::UnequalScales { left, right } => {
                let (log2_left, log2_right) = (left.log2(), right.log2());
                write!(f, "the scales {left:e} (2^{log2_left:.6}) and {right:e} (2^{log2_right:.6}) differ")
            }
            Self::Limbs { needed, found } => write!(f, "{found} limbs where {needed} are needed"),
            Self::NotFinite { what, index } => write!(f, "{what}, at position {index}, is not finite"),
            Self::Overflow { log2_most } => {
                write!(
                    f,
                    "an encoded message has a coefficient of 2^{log2_most:.2} or more, which does not fit"
                )
            }
            Self::Interval { low, high } => write!(f, "{low} to {high} is no interval of finite numbers"),
            Self::Precision { bits, possible } => {
                write!(f, "{bits} bits after the binary point are asked for; {possible:.1} are possible")
            }
            Self::DegenerateKey => {
                write!(f, "the public key is all zero modulo a prime of q and would hide nothing")
            }
            Self::Entropy { reason } => write!(f, "the operating system gave no randomness: {reason}"),
        }
    }
}

impl std::error::Error for HeError {}
