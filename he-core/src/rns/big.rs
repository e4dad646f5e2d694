//! Plain integers of any size, for tests only: sign and magnitude, schoolbook everything, slow and obvious.
//!
//! The exact reference of every conversion and scaling, and of whatever else a test wants to know about numbers modulo a
//! product of primes: [`compose`] joins residues, [`Big::round_div`] rounds.

use core::cmp::Ordering;

use crate::modulus::Modulus;

/// An integer: words of the magnitude from the lowest, none of them a leading zero; zero is not negative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Big {
    negative: bool,
    words: Vec<u64>,
}

impl Big {
    pub(crate) fn new(value: i128) -> Self {
        let magnitude = value.unsigned_abs();
        Self::signed(value < 0, vec![magnitude as u64, (magnitude >> 64) as u64])
    }

    pub(crate) fn unsigned(value: u64) -> Self {
        Self::signed(false, vec![value])
    }

    /// The product of primes.
    pub(crate) fn product(primes: &[Modulus]) -> Self {
        primes.iter().fold(Self::new(1), |product, q| product.mul(&Self::unsigned(q.value())))
    }

    fn signed(negative: bool, mut words: Vec<u64>) -> Self {
        while words.last() == Some(&0) {
            words.pop();
        }
        Self { negative: negative && !words.is_empty(), words }
    }

    pub(crate) fn neg(&self) -> Self {
        Self::signed(!self.negative, self.words.clone())
    }

    pub(crate) fn add(&self, other: &Self) -> Self {
        if self.negative == other.negative {
            let mut carry = 0;
            let longest = self.words.len().max(other.words.len());
            let mut words: Vec<_> = (0..longest)
                .map(|i| {
                    let sum = u128::from(word(self, i)) + u128::from(word(other, i)) + carry;
                    carry = sum >> 64;
                    sum as u64
                })
                .collect();
            words.push(carry as u64);
            return Self::signed(self.negative, words);
        }
        if magnitudes(self, other) == Ordering::Less {
            return other.add(self);
        }
        let mut borrow = 0;
        let words = (0..self.words.len())
            .map(|i| {
                let difference = i128::from(word(self, i)) - i128::from(word(other, i)) - borrow;
                borrow = i128::from(difference < 0);
                difference as u64
            })
            .collect();
        Self::signed(self.negative, words)
    }

    pub(crate) fn sub(&self, other: &Self) -> Self {
        self.add(&other.neg())
    }

    pub(crate) fn mul(&self, other: &Self) -> Self {
        let mut words = vec![0_u64; self.words.len() + other.words.len()];
        for (i, &a) in self.words.iter().enumerate() {
            let mut carry = 0;
            for (j, &b) in other.words.iter().enumerate() {
                let sum = u128::from(words[i + j]) + u128::from(a) * u128::from(b) + carry;
                words[i + j] = sum as u64;
                carry = sum >> 64;
            }
            words[i + other.words.len()] = carry as u64;
        }
        Self::signed(self.negative != other.negative, words)
    }

    /// Quotient and remainder by a positive integer, the remainder in [0, divisor): bit by bit, shift and subtract.
    pub(crate) fn div_rem(&self, divisor: &Self) -> (Self, Self) {
        assert!(!divisor.negative && !divisor.words.is_empty(), "a positive divisor");
        let mut quotient = vec![0; self.words.len()];
        let mut rest = vec![0; divisor.words.len() + 1];
        for bit in (0..64 * self.words.len()).rev() {
            let mut carry = self.words[bit / 64] >> (bit % 64) & 1;
            for word in &mut rest {
                (carry, *word) = (*word >> 63, *word << 1 | carry);
            }
            if let Some(reduced) = subtract(&rest, &divisor.words) {
                rest = reduced;
                quotient[bit / 64] |= 1 << (bit % 64);
            }
        }
        let (quotient, rest) = (Self::signed(false, quotient), Self::signed(false, rest));
        match (self.negative, rest.words.is_empty()) {
            (false, _) => (quotient, rest),
            (true, true) => (quotient.neg(), rest),
            (true, false) => (quotient.neg().sub(&Self::new(1)), divisor.sub(&rest)),
        }
    }

    /// floor(self / divisor + 1/2) for a positive divisor.
    pub(crate) fn round_div(&self, divisor: &Self) -> Self {
        self.add(self).add(divisor).div_rem(&divisor.add(divisor)).0
    }

    /// self mod m in [0, m), for any m > 0 of one word.
    pub(crate) fn residue(&self, m: u64) -> u64 {
        let rest =
            self.words.iter().rev().fold(0_u128, |rest, &w| ((rest << 64) | u128::from(w)) % u128::from(m));
        if self.negative && rest != 0 { m - rest as u64 } else { rest as u64 }
    }

    /// The residues modulo each prime.
    pub(crate) fn residues(&self, primes: &[Modulus]) -> Vec<u64> {
        primes.iter().map(|q| self.residue(q.value())).collect()
    }

    /// The representative modulo an odd m in (-m/2, m/2).
    pub(crate) fn center(&self, m: &Self) -> Self {
        let rest = self.div_rem(m).1;
        if rest.add(&rest).cmp(m) == Ordering::Greater { rest.sub(m) } else { rest }
    }

    pub(crate) fn cmp(&self, other: &Self) -> Ordering {
        let difference = self.sub(other);
        match (difference.negative, difference.words.is_empty()) {
            (true, _) => Ordering::Less,
            (false, true) => Ordering::Equal,
            (false, false) => Ordering::Greater,
        }
    }

    pub(crate) fn abs(&self) -> Self {
        Self::signed(false, self.words.clone())
    }

    /// The nearest-ish double: the relative error is below 2^-50.
    pub(crate) fn to_f64(&self) -> f64 {
        let magnitude = self.words.iter().rev().fold(0.0, |sum, &w| sum * 2_f64.powi(64) + w as f64);
        if self.negative { -magnitude } else { magnitude }
    }
}

/// The centred integer with these residues modulo distinct primes, by the Chinese remainder theorem.
pub(crate) fn compose(residues: &[u64], primes: &[Modulus]) -> Big {
    let whole = Big::product(primes);
    let term = |(&x, q): (&u64, &Modulus)| {
        let cofactor = whole.div_rem(&Big::unsigned(q.value())).0;
        let digit = q.mul(x, q.inv(cofactor.residue(q.value())));
        cofactor.mul(&Big::unsigned(digit))
    };
    residues.iter().zip(primes).map(term).fold(Big::new(0), |sum, term| sum.add(&term)).center(&whole)
}

/// a - b where that is not negative; b has one word less than a.
fn subtract(a: &[u64], b: &[u64]) -> Option<Vec<u64>> {
    let longer = b.iter().chain(&[0]);
    if a.iter().rev().cmp(longer.clone().rev()) == Ordering::Less {
        return None;
    }
    let mut borrow = false;
    let words = a.iter().zip(longer).map(|(&a, &b)| {
        let (difference, first) = a.overflowing_sub(b);
        let (difference, second) = difference.overflowing_sub(u64::from(borrow));
        borrow = first || second;
        difference
    });
    Some(words.collect())
}

fn word(x: &Big, i: usize) -> u64 {
    x.words.get(i).copied().unwrap_or(0)
}

fn magnitudes(a: &Big, b: &Big) -> Ordering {
    a.words.len().cmp(&b.words.len()).then_with(|| a.words.iter().rev().cmp(b.words.iter().rev()))
}

/// The reference itself, against i128.
#[test]
fn small_integers_agree_with_i128() {
    let values = [0, 1, -1, 5, -7, 1 << 63, -(1 << 64), (1 << 64) + 3, (1 << 100) - 1, -(1 << 100) + 12345];
    for a in values {
        for b in values {
            let (x, y) = (Big::new(a), Big::new(b));
            assert_eq!(x.add(&y), Big::new(a + b));
            assert_eq!(x.sub(&y), Big::new(a - b));
            assert_eq!(x.cmp(&y), a.cmp(&b));
            if let Some(product) = a.checked_mul(b) {
                assert_eq!(x.mul(&y), Big::new(product));
            }
            if b > 0 {
                assert_eq!(x.div_rem(&y), (Big::new(a.div_euclid(b)), Big::new(a.rem_euclid(b))));
                assert_eq!(x.round_div(&y), Big::new((2 * a + b).div_euclid(2 * b)));
                if let Ok(m) = u64::try_from(b) {
                    assert_eq!(i128::from(x.residue(m)), a.rem_euclid(b));
                }
                if b % 2 == 1 {
                    let centred = x.center(&y);
                    assert!(centred.add(&centred).abs().cmp(&y) != Ordering::Greater);
                    assert_eq!(centred.sub(&x).div_rem(&y).1, Big::new(0));
                }
            }
        }
        assert_eq!(Big::new(a).to_f64(), a as f64);
        assert_eq!(Big::new(a).abs(), Big::new(a.abs()));
        let primes = [(1 << 61) - 1, 1_125_899_906_826_241].map(|q| Modulus::new(q).unwrap());
        assert_eq!(compose(&Big::new(a).residues(&primes), &primes), Big::new(a));
    }
}
