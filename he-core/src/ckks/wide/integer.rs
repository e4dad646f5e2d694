//! Signed integers of 256 bits, in constant time: what wide decoding computes with.
//!
//! Two's complement in four words, the lowest first. Sums, products and shifts wrap modulo 2^256; callers know their
//! ranges. No operation branches on a value or looks one up, and there is no division instruction but by public numbers
//! ([`Wide::div_small`], for tables).
//!
//! | operation | result | range |
//! |---|---|---|
//! | [`Wide::add`], [`Wide::sub`] | exact | result in \[-2^255, 2^255) |
//! | [`Wide::mul_small`] | exact | likewise |
//! | [`Wide::shift_round`] | floor(x / 2^s + 1/2) | x + 2^(s-1) likewise |
//! | [`turn`] | (a + i b)(c + i s) / 2^126, each part rounded once | \|a\|, \|b\| < 2^254, c^2 + s^2 about 2^252 |
//! | [`Wide::mul_fraction`] | floor(x y / 2^192) | 0 <= x, y; for tables |
//!
//! Long multiplication is that of D. E. Knuth, *The Art of Computer Programming*, vol. 2, 4.3.1, algorithm M.

use rand_core::CryptoRng;

use crate::modulus::Modulus;

/// Bits after the binary point of the parts of a root of unity.
pub(in crate::ckks) const ROOT_BITS: u32 = 126;

/// A signed integer below 2^255 in magnitude.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::ckks) struct Wide(pub(in crate::ckks) [u64; 4]);

impl Wide {
    pub(in crate::ckks) const ZERO: Self = Self([0; 4]);

    /// Uniform in [-2^(bits-1), 2^(bits-1)), 1 <= bits <= 255.
    pub(in crate::ckks) fn uniform<R: CryptoRng + ?Sized>(rng: &mut R, bits: u32) -> Self {
        let mut x = Self([0; 4]);
        for (i, word) in x.0.iter_mut().enumerate() {
            let left = bits.saturating_sub(64 * i as u32);
            if left > 0 {
                *word = rng.next_u64() & (u64::MAX >> (64 - left.min(64)));
            }
        }
        let mut half = Self::ZERO;
        half.0[(bits - 1) as usize / 64] = 1 << ((bits - 1) % 64);
        x.sub(half)
    }

    pub(in crate::ckks) fn from_i64(x: i64) -> Self {
        let sign = (x >> 63) as u64;
        Self([x as u64, sign, sign, sign])
    }

    pub(in crate::ckks) fn from_i128(x: i128) -> Self {
        let sign = (x >> 127) as u64;
        Self([x as u64, (x >> 64) as u64, sign, sign])
    }

    /// The low 128 bits, which are x where x fits them.
    pub(in crate::ckks) fn to_i128(self) -> i128 {
        (u128::from(self.0[0]) | u128::from(self.0[1]) << 64) as i128
    }

    /// All ones for negative numbers, else zero.
    #[inline(always)]
    fn sign(self) -> u64 {
        ((self.0[3] as i64) >> 63) as u64
    }

    #[inline(always)]
    pub(in crate::ckks) fn add(self, other: Self) -> Self {
        let mut sum = self.0;
        add_words(&mut sum, &other.0);
        Self(sum)
    }

    #[inline(always)]
    pub(in crate::ckks) fn sub(self, other: Self) -> Self {
        let mut difference = self.0;
        sub_words(&mut difference, &other.0, u64::MAX);
        Self(difference)
    }

    /// x times a word.
    #[inline(always)]
    pub(in crate::ckks) fn mul_small(self, factor: u64) -> Self {
        let (mut out, mut carry) = ([0; 4], 0);
        for (out, x) in out.iter_mut().zip(self.0) {
            let product = u128::from(x) * u128::from(factor) + carry;
            (*out, carry) = (product as u64, product >> 64);
        }
        Self(out)
    }

    /// x / divisor, rounded down, for x >= 0 and a public divisor.
    pub(in crate::ckks) fn div_small(self, divisor: u64) -> Self {
        let (mut out, mut rest) = ([0; 4], 0);
        for (out, x) in out.iter_mut().zip(self.0).rev() {
            let x = rest << 64 | u128::from(x);
            (*out, rest) = ((x / u128::from(divisor)) as u64, x % u128::from(divisor));
        }
        Self(out)
    }

    /// x 2^bits, bits below 64.
    pub(in crate::ckks) fn shift_up(self, bits: u32) -> Self {
        self.mul_small(1 << bits)
    }

    /// floor(x / 2^bits + 1/2), bits at most 255.
    #[inline(always)]
    pub(in crate::ckks) fn shift_round(self, bits: u32) -> Self {
        if bits == 0 {
            return self;
        }
        let mut half = Self::ZERO;
        half.0[(bits - 1) as usize / 64] = 1 << ((bits - 1) % 64);
        let sum = self.add(half);
        let (words, bits, sign) = (bits as usize / 64, bits % 64, sum.sign());
        let word = |i: usize| sum.0.get(i).copied().unwrap_or(sign);
        let mut out = [0; 4];
        for (i, out) in out.iter_mut().enumerate() {
            // Two shifts up: for bits = 0 a single one would be by the whole width.
            *out = word(i + words) >> bits | (word(i + words + 1) << 1) << (63 - bits);
        }
        Self(out)
    }

    /// x y / 2^192, rounded down, for x, y >= 0.
    pub(in crate::ckks) fn mul_fraction(self, other: Self) -> Self {
        let mut product = [0_u64; 8];
        for (j, y) in other.0.into_iter().enumerate() {
            let mut carry = 0;
            for (place, x) in product[j..].iter_mut().zip(self.0) {
                let sum = u128::from(x) * u128::from(y) + u128::from(*place) + carry;
                (*place, carry) = (sum as u64, sum >> 64);
            }
            product[j + 4] = carry as u64;
        }
        Self([product[3], product[4], product[5], product[6]])
    }

    /// x mod q.
    pub(in crate::ckks) fn residue(self, q: &Modulus) -> u64 {
        let word = |rest: u64, word: &u64| q.reduce_u128(u128::from(rest) << 64 | u128::from(*word));
        let unsigned = self.0.iter().rev().fold(0, word);
        // A negative number is its word form less 2^256.
        let turn = [0, 0, 0, 0, 1].iter().rev().fold(0, word);
        q.sub(unsigned, turn & self.sign())
    }
}

/// (a + i b)(c + i s) with c and s in units of 2^-126.
#[inline(always)]
pub(in crate::ckks) fn turn(a: Wide, b: Wide, [c, s]: [i128; 2]) -> [Wide; 2] {
    let (mut re, mut im) = (product(a, c), product(a, s));
    sub_words(&mut re, &product(b, s), u64::MAX);
    add_words(&mut im, &product(b, c));
    [rounded(re), rounded(im)]
}

/// x y in six words.
#[inline(always)]
fn product(x: Wide, y: i128) -> [u64; 6] {
    let factor = [y as u64, (y as u128 >> 64) as u64];
    let mut out = [0_u64; 6];
    for (j, y) in factor.into_iter().enumerate() {
        let mut carry = 0;
        for (place, x) in out[j..].iter_mut().zip(x.0) {
            let sum = u128::from(x) * u128::from(y) + u128::from(*place) + carry;
            (*place, carry) = (sum as u64, sum >> 64);
        }
        out[j + 4] = carry as u64;
    }
    // A negative factor is its words less 2^256, or less 2^128.
    sub_words(&mut out[4..], &factor, x.sign());
    sub_words(&mut out[2..], &x.0, (y >> 127) as u64);
    out
}

/// floor(x / 2^126 + 1/2) in four words.
#[inline(always)]
fn rounded(mut x: [u64; 6]) -> Wide {
    add_words(&mut x, &[0, 1 << (ROOT_BITS - 65), 0, 0, 0, 0]);
    let shift = ROOT_BITS - 64;
    let mut out = [0; 4];
    for (i, out) in out.iter_mut().enumerate() {
        *out = x[i + 1] >> shift | x[i + 2] << (64 - shift);
    }
    Wide(out)
}

/// x += y, as many words as both have.
#[inline(always)]
fn add_words(x: &mut [u64], y: &[u64]) {
    let mut carry = false;
    for (x, &y) in x.iter_mut().zip(y) {
        let (sum, first) = x.overflowing_add(y);
        let (sum, second) = sum.overflowing_add(u64::from(carry));
        (*x, carry) = (sum, first | second);
    }
}

/// x -= y where the mask is all ones; nothing where it is zero.
#[inline(always)]
fn sub_words(x: &mut [u64], y: &[u64], mask: u64) {
    let mut borrow = false;
    for (x, &y) in x.iter_mut().zip(y) {
        let (difference, first) = x.overflowing_sub(y & mask);
        let (difference, second) = difference.overflowing_sub(u64::from(borrow));
        (*x, borrow) = (difference, first | second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rns::big::Big;
    use crate::seed::{Seed, Stream};
    use rand_core::Rng;

    fn big(x: Wide) -> Big {
        let word = |sum: Big, &w: &u64| sum.mul(&Big::new(1 << 64)).add(&Big::unsigned(w));
        let unsigned = x.0.iter().rev().fold(Big::new(0), word);
        if x.sign() == 0 { unsigned } else { unsigned.sub(&power(256)) }
    }

    fn negative(x: Wide) -> Wide {
        Wide::ZERO.sub(x)
    }

    fn power(bits: u32) -> Big {
        (0..bits).fold(Big::new(1), |power, _| power.add(&power))
    }

    /// A number of at most so many bits, of either sign, ends included.
    fn number(rng: &mut Stream, bits: u32) -> Wide {
        let kept = 256 - (1 + rng.next_u32() % bits);
        let mut x = Wide([0; 4].map(|_: u64| rng.next_u64()));
        if rng.next_u32().is_multiple_of(4) {
            x = [Wide([u64::MAX; 4]), Wide::ZERO][rng.next_u32() as usize % 2];
        }
        // An arithmetic shift, by way of the rounding one.
        let whole = x.shift_round(kept);
        let top = Wide::from_i64(1);
        [whole, negative(whole), top, negative(top), Wide::ZERO]
            [(rng.next_u32() % 9).saturating_sub(4) as usize]
    }

    #[test]
    fn arithmetic_is_that_of_plain_integers() {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).unwrap();
        println!("seed {bytes:?}");
        let mut rng = Seed::from_bytes(bytes).stream();
        for round in 0..2000_u32 {
            let (x, y) = (number(&mut rng, 250), number(&mut rng, 250));
            assert!(big(x.add(y)) == big(x).add(&big(y)));
            assert!(big(x.sub(y)) == big(x).sub(&big(y)));
            let small = rng.next_u64() >> (round % 64);
            let short = number(&mut rng, 180);
            assert!(big(short.mul_small(small)) == big(short).mul(&Big::unsigned(small)));
            let low = x.to_i128();
            assert!(big(Wide::from_i128(low)) == Big::new(low));
            let bits = round % 256;
            assert!(big(x.shift_round(bits)) == big(x).round_div(&power(bits)), "by 2^{bits}");
            for q in [3, (1 << 61) - 1, 1_125_899_906_826_241] {
                assert_eq!(x.residue(&Modulus::new(q).unwrap()), big(x).residue(q));
            }
            // Parts of at most one in magnitude, ends included.
            let root = [(); 2].map(|()| {
                let part =
                    (i128::from(rng.next_u64()) << 63 | i128::from(rng.next_u64() >> 1)) >> (round % 100);
                let part = part.min(1 << 126);
                [part, -part, 1 << 126, 0][rng.next_u32() as usize % 4]
            });
            let (a, b) = (number(&mut rng, 252), number(&mut rng, 252));
            let [re, im] = turn(a, b, root);
            let [c, s] = root.map(Big::new);
            assert!(big(re) == big(a).mul(&c).sub(&big(b).mul(&s)).round_div(&power(126)));
            assert!(big(im) == big(a).mul(&s).add(&big(b).mul(&c)).round_div(&power(126)));
        }
    }

    #[test]
    fn parts_of_tables() {
        let mut rng = Seed::from_bytes([5; 32]).stream();
        for _ in 0..500 {
            let positive = |x: Wide| if x.sign() == 0 { x } else { negative(x) };
            let (x, y) = (positive(number(&mut rng, 220)), positive(number(&mut rng, 220)));
            assert!(big(x.mul_fraction(y)) == big(x).mul(&big(y)).div_rem(&power(192)).0);
            let divisor = 1 + (rng.next_u64() >> 20);
            assert!(big(x.div_small(divisor)) == big(x).div_rem(&Big::unsigned(divisor)).0);
            assert!(big(x.shift_up(13)) == big(x).mul(&Big::new(1 << 13)));
        }
    }
}
