//! Ciphertexts of either scheme, as polynomials in the secret.
//!
//! | degree | parts | phase |
//! |---|---|---|
//! | 1 | c0, c1 | c0 + c1 s |
//! | 2, after a product | c0, c1, c2 | c0 + c1 s + c2 s^2 |
//!
//! All parts are in NTT form modulo the first `limbs` ciphertext primes of their parameters. Ciphertexts are public:
//! they may be copied, explicitly.

use core::ops::{Add, AddAssign, Sub, SubAssign};

use crate::error::HeError;
use crate::poly::Ntt;
use crate::rns::RnsPoly;

/// Two or three polynomials in NTT form over the same limbs.
#[derive(Debug)]
pub struct Ciphertext {
    parts: Vec<RnsPoly<Ntt>>,
}

impl Ciphertext {
    /// The ciphertext of these parts.
    ///
    /// # Errors
    /// [`HeError::Length`] unless there are two or three, all with the same number of limbs and degree.
    pub fn from_parts(parts: Vec<RnsPoly<Ntt>>) -> Result<Self, HeError> {
        if !(2..=3).contains(&parts.len()) {
            return Err(HeError::Length {
                what: "the parts of a ciphertext",
                expected: 2,
                found: parts.len(),
            });
        }
        for part in &parts[1..] {
            if part.limb_count() != parts[0].limb_count() || part.n() != parts[0].n() {
                let (expected, found) = (parts[0].limb_count(), part.limb_count());
                return Err(HeError::Length { what: "the limbs of a ciphertext's part", expected, found });
            }
        }
        Ok(Self { parts })
    }

    /// The parts, c0 first.
    #[must_use]
    pub fn parts(&self) -> &[RnsPoly<Ntt>] {
        &self.parts
    }

    /// The parts, for operations of a scheme.
    pub(crate) fn parts_mut(&mut self) -> &mut [RnsPoly<Ntt>] {
        &mut self.parts
    }

    /// Puts something in the place of each part; all answers have one number of limbs.
    pub(crate) fn map_parts(&mut self, change: impl FnMut(RnsPoly<Ntt>) -> RnsPoly<Ntt>) {
        self.parts = core::mem::take(&mut self.parts).into_iter().map(change).collect();
    }

    /// The parts, given away.
    #[must_use]
    pub fn into_parts(self) -> Vec<RnsPoly<Ntt>> {
        self.parts
    }

    /// The degree in the secret: 1, or 2 after a product.
    #[must_use]
    pub fn degree(&self) -> usize {
        self.parts.len() - 1
    }

    /// The number of ciphertext primes that it lives modulo.
    #[must_use]
    pub fn limbs(&self) -> usize {
        self.parts[0].limb_count()
    }

    /// The degree N of the ring.
    #[must_use]
    pub fn n(&self) -> usize {
        self.parts[0].n()
    }

    /// A copy.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self { parts: self.parts.iter().map(RnsPoly::duplicate).collect() }
    }

    /// Changes the sign of the phase.
    pub fn negate(&mut self) {
        self.parts.iter_mut().for_each(RnsPoly::negate);
    }

    /// The same phase modulo fewer primes, exactly: what is kept are residues. (A scheme that scales its message with
    /// the modulus wants to round instead.)
    ///
    /// # Panics
    /// Unless 1 <= limbs <= the number there is.
    pub fn truncate(&mut self, limbs: usize) {
        self.parts.iter_mut().for_each(|part| part.truncate(limbs));
    }

    /// Makes room for the degree of another ciphertext; parts that are missing are zero.
    fn combine(&mut self, other: &Self, change: impl Fn(&mut RnsPoly<Ntt>, &RnsPoly<Ntt>), negative: bool) {
        assert_eq!(self.limbs(), other.limbs(), "ciphertexts of different limbs");
        for (part, other) in self.parts.iter_mut().zip(&other.parts) {
            change(part, other);
        }
        for more in other.parts.iter().skip(self.parts.len()) {
            let mut more = more.duplicate();
            if negative {
                more.negate();
            }
            self.parts.push(more);
        }
    }
}

impl Add for &Ciphertext {
    type Output = Ciphertext;

    /// # Panics
    /// When the two have different limbs.
    fn add(self, other: Self) -> Ciphertext {
        assert_eq!(self.limbs(), other.limbs(), "ciphertexts of different limbs");
        let longer = if self.parts.len() < other.parts.len() { other } else { self };
        let mut parts: Vec<_> = self.parts.iter().zip(&other.parts).map(|(a, b)| a + b).collect();
        parts.extend(longer.parts[parts.len()..].iter().map(RnsPoly::duplicate));
        Ciphertext { parts }
    }
}

impl Sub for &Ciphertext {
    type Output = Ciphertext;

    /// # Panics
    /// When the two have different limbs.
    fn sub(self, other: Self) -> Ciphertext {
        assert_eq!(self.limbs(), other.limbs(), "ciphertexts of different limbs");
        let mut parts: Vec<_> = self.parts.iter().zip(&other.parts).map(|(a, b)| a - b).collect();
        let both = parts.len();
        parts.extend(self.parts[both..].iter().map(RnsPoly::duplicate));
        parts.extend(other.parts[both..].iter().map(|part| {
            let mut part = part.duplicate();
            part.negate();
            part
        }));
        Ciphertext { parts }
    }
}

impl AddAssign<&Self> for Ciphertext {
    /// # Panics
    /// When the two have different limbs.
    fn add_assign(&mut self, other: &Self) {
        self.combine(other, |a, b| *a += b, false);
    }
}

impl SubAssign<&Self> for Ciphertext {
    /// # Panics
    /// When the two have different limbs.
    fn sub_assign(&mut self, other: &Self) {
        self.combine(other, |a, b| *a -= b, true);
    }
}
