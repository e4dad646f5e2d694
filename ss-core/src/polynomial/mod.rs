//! Polynomials, lifts and products of shared values, each in one round trip.
//!
//! y is shared as m + c modulo 2^k, m at the server and online, c at the client and offline. The server ends with
//!
//! | step | z, in Z_2^w | for |
//! |---|---|---|
//! | [`PolynomialSpec::lift`] | y | a change from Z_2^k to a wider ring |
//! | [`PolynomialSpec::square`] | y² | quadratic activations |
//! | [`PolynomialSpec::polynomial`] | Σ_e coef_e·y^e, public coef_e, degree 1 to 7 | approximations |
//! | [`PolynomialSpec::product`] | y·u, u already shared in Z_2^w | hard-swish: y·clip(y + 3, 0, 6)/6 |
//!
//! as z·2^shift + κ, for **−2^(k−2) ≤ y < 2^(k−2)** (one guard bit), exactly modulo 2^(w + shift).
//!
//! **Which turn of the circle.** Let c'' = c + 2^(k−2) mod 2^k, g its top bit, C = c'' − 2^k·g − 2^(k−2), a
//! signed integer that the client knows. Let μ be the top bit of m, M_0 = m and M_1 = m − 2^k·μ. Then
//! **y = M_b + C over the integers, with b = 1 − g**. For g = 1, C lies in [−3·2^(k−2), −2^(k−2)) and M_0 in
//! [0, 2^k); for g = 0, C lies in [−2^(k−2), 2^(k−2)) and M_1 in [−2^(k−1), 2^(k−1)). In both cases the sum lies in
//! [−3·2^(k−2), 3·2^(k−2)), is congruent to y, and of y and y ± 2^k only y is in there.
//!
//! **As a sum of products.** With m = m' + h, h = 2^(k−1)·μ, and s = 1 − 2b = ±1, M_b = m' + s·h, and M_b^i = E_i + s·O_i
//! where E_i, O_i ≥ 0 are the parts of (m' + h)^i of even and odd degree in h: the server knows both. With the
//! client's v_i = Σ_(e≥i) coef_e·C(e,i)·C^(e−i):
//!
//! > z = v_0 + Σ_(0<i<d) (v_i·E_i + (s·v_i)·O_i) + coef_d·M_0^d + b·(−2·coef_d·O_d)
//!
//! v_0 is the client's own; the middle sum consists of *fields* of [`crate::product`] (server's integer times client's ring
//! element); coef_d·M_0^d is the server's own; the last term is the selected value, one transfer in which the client
//! chooses b. Degree 1 is instead coef_1·m and one field: the single bit μ times −2^k·b·coef_1. For y·u, with u = m_u +
//! c_u: fields m'·c_u, h·(s·c_u) and m_u·C, the server's own m·m_u, the client's C·c_u, selected −b·2^k·μ·m_u.
//!
//! Low bits that are always zero (2^k in D, powers of two in the coefficients) are never transferred.
//!
//! | step, w | transfers S / C receives | corrections | S1 | C1 (bits) | online bytes |
//! |---|---|---|---|---|---|
//! | lift, k = 18, w = 46 | 1 / 0 | 28 | 1 | 46 | 5.9 |
//! | square, k = 18, w = 36 | 18 / 1 | 477 | 35 | 36 | 8.9 |
//! | square, k = 20, w = 46 | 20 / 1 | 710 | 45 | 46 | 11.4 |
//! | cubic, k = 16, w = 46 | 62 / 1 | 1,922 | 92 | 46 | 17.3 |
//! | product, k = 18, w = 36 | 54 / 1 | 1,161 | 72 | 36 | 13.5 |
//!
//! Corrections are sent offline. At rest the client holds as many bits as the corrections and w + shift + 1; the
//! server a bit more per transfer. Rounds online: one. Security: that of [`crate::product`]; the client's only choice
//! bit is b, offline.
//!
//! Not promised: anything for y outside the range; the result is then the polynomial at M_b + C, that is at y ± 2^k.

mod client;
mod server;

pub use client::{PolynomialClient, choices};
pub use server::{PolynomialFinish, PolynomialServer, PolynomialWaiting};

use crate::error::SsError;
use crate::product::{Field, ProductSpec};
use crate::ring::Z2k;

/// Greatest degree of a polynomial.
pub const MAX_DEGREE: usize = 7;

/// What a step computes: public, equal on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolynomialSpec {
    ring_bits: u32,
    kind: Kind,
    product: ProductSpec,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// Constant first, the last one not zero; the terms say which server's integer each field holds.
    Polynomial { coefficients: Vec<i64>, terms: Vec<Term>, select: u32 },
    /// y·u: the fields are m', μ and m_u.
    Product,
}

/// A field: v_i·2^(−zeros) at the client, O_i or E_i at the server, of which the low `inner` bits are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Term {
    power: usize,
    odd: bool,
    zeros: u32,
    inner: u32,
}

impl PolynomialSpec {
    /// Σ_e `coefficients[e]`·y^e of a k-bit y, k = `ring_bits`, in Z_2^`bits`, times 2^`shift`.
    ///
    /// # Errors
    /// [`SsError::BadValue`] unless 3 ≤ k ≤ 32, k ≤ bits, bits + shift ≤ 60, the degree is 1 to 7 and its coefficient not
    /// zero modulo 2^bits.
    pub fn polynomial(ring_bits: u32, coefficients: &[i64], bits: u32, shift: u32) -> Result<Self, SsError> {
        check_rings(ring_bits, bits)?;
        let degree = coefficients.len().wrapping_sub(1);
        let bad = SsError::BadValue {
            what: "polynomial (degree 1 to 7, leading coefficient not zero in its ring)",
        };
        if !(1..=MAX_DEGREE).contains(&degree) || coefficients[degree].trailing_zeros() >= bits {
            return Err(bad);
        }
        let (mut fields, mut terms) = (Vec::new(), Vec::new());
        let mut add = |term: Term, width: u32| {
            let exponent = term.zeros + term.inner;
            if exponent < bits && width > 0 {
                fields.push(Field { bits: width.min(bits - exponent), exponent });
                terms.push(term);
            }
        };
        let mut select = None;
        if degree == 1 {
            let zeros = coefficients[1].trailing_zeros();
            // Its client's factor is −b·coef_1, the server's the bit μ = O_1 / 2^(k−1), in units of 2^k.
            add(Term { power: 1, odd: true, zeros: zeros + 1, inner: ring_bits - 1 }, 1);
        } else {
            for power in 1..degree {
                let zeros = factor_zeros(coefficients, power).min(bits);
                let width = power as u32 * ring_bits - 1;
                add(Term { power, odd: false, zeros, inner: 0 }, width);
                let inner = odd_zeros(ring_bits, power);
                let width = if power == 1 { 1 } else { width - inner };
                add(Term { power, odd: true, zeros, inner }, width);
            }
            let exponent = 1 + odd_zeros(ring_bits, degree) + coefficients[degree].trailing_zeros();
            select = (exponent < bits).then_some(exponent);
        }
        let product = ProductSpec::new(bits, shift, fields, select)?;
        let select = select.unwrap_or(0);
        let kind = Kind::Polynomial { coefficients: coefficients.to_vec(), terms, select };
        Ok(Self { ring_bits, kind, product })
    }

    /// y itself, from Z_2^`ring_bits` into Z_2^`bits`, times 2^`shift`.
    ///
    /// # Errors
    /// As [`PolynomialSpec::polynomial`].
    pub fn lift(ring_bits: u32, bits: u32, shift: u32) -> Result<Self, SsError> {
        Self::polynomial(ring_bits, &[0, 1], bits, shift)
    }

    /// y² in Z_2^`bits`, times 2^`shift`.
    ///
    /// # Errors
    /// As [`PolynomialSpec::polynomial`].
    pub fn square(ring_bits: u32, bits: u32, shift: u32) -> Result<Self, SsError> {
        Self::polynomial(ring_bits, &[0, 0, 1], bits, shift)
    }

    /// y·u of a `ring_bits`-bit y and a u shared in Z_2^`bits`, times 2^`shift`. The shares of u are lane 0.
    ///
    /// # Errors
    /// [`SsError::BadValue`] unless 3 ≤ ring_bits ≤ 32, ring_bits ≤ bits, bits + shift ≤ 60.
    pub fn product(ring_bits: u32, bits: u32, shift: u32) -> Result<Self, SsError> {
        check_rings(ring_bits, bits)?;
        let fields = vec![
            Field { bits: ring_bits - 1, exponent: 0 },
            Field { bits: 1, exponent: ring_bits - 1 },
            Field { bits, exponent: 0 },
        ];
        let select = (ring_bits < bits).then_some(ring_bits);
        let product = ProductSpec::new(bits, shift, fields, select)?;
        Ok(Self { ring_bits, kind: Kind::Product, product })
    }

    /// Bits k of the shared y.
    pub fn ring_bits(&self) -> u32 {
        self.ring_bits
    }

    /// The ring of the results, bits + shift.
    pub fn output(&self) -> Z2k {
        self.product.output()
    }

    /// Shared values besides y: 1 for a product, else 0.
    pub fn lanes(&self) -> usize {
        usize::from(matches!(self.kind, Kind::Product))
    }

    /// Random transfers per element in which the server receives with random choices.
    pub fn server_transfers(&self) -> usize {
        self.product.server_transfers()
    }

    /// Random transfers per element in which the client receives with the choices of [`choices`]: 0 or 1.
    pub fn client_transfers(&self) -> usize {
        self.product.client_transfers()
    }

    /// Bits per element of the corrections, of S1 and of C1.
    pub fn message_bits(&self) -> Vec<u32> {
        self.product.message_bits().to_vec()
    }

    /// Bytes for `n` elements of the corrections, of S1 and of C1.
    pub fn message_bytes(&self, n: usize) -> Vec<usize> {
        self.product.message_bytes(n).to_vec()
    }

    /// The plaintext oracle: z·2^shift modulo the output ring, for the shares of y and (a product) of u.
    ///
    /// Bit for bit what the step gives, less κ, for y outside the guarded range too. Branches on its arguments:
    /// for tests and checks.
    pub fn value(&self, server: u64, client: u64, lane: Option<(u64, u64)>) -> u64 {
        let k = self.ring_bits;
        let mask = (1u64 << k) - 1;
        let (server, client) = (server & mask, client & mask);
        // Straight from the definition, in signed integers.
        let moved = (client + (1 << (k - 2))) & mask;
        let top = moved >> (k - 1);
        let own = moved as i64 - ((top as i64) << k) - (1 << (k - 2));
        let turn = if top == 0 { (server >> (k - 1)) << k } else { 0 };
        let y = (server as i64 - turn as i64 + own) as u64;
        let z = match &self.kind {
            Kind::Polynomial { coefficients, .. } => {
                coefficients.iter().rev().fold(0u64, |sum, &c| sum.wrapping_mul(y).wrapping_add(c as u64))
            }
            Kind::Product => {
                let (m, c) = lane.unwrap_or_default();
                y.wrapping_mul(m.wrapping_add(c))
            }
        };
        (z << self.product.shift()) & self.output().mask()
    }

    /// The client's b and its signed part C (as a word modulo 2^64).
    fn client_part(&self, share: u64) -> (u64, u64) {
        let k = self.ring_bits;
        let moved = share.wrapping_add(1 << (k - 2)) & ((1 << k) - 1);
        let top = moved >> (k - 1);
        (1 - top, moved.wrapping_sub(top << k).wrapping_sub(1 << (k - 2)))
    }

    /// The server's m' and h.
    fn server_parts(&self, share: u64) -> (u64, u64) {
        let half = 1u64 << (self.ring_bits - 1);
        (share & (half - 1), share & half)
    }
}

fn check_rings(ring_bits: u32, bits: u32) -> Result<(), SsError> {
    if !(3..=32).contains(&ring_bits) || bits < ring_bits || bits > 60 {
        return Err(SsError::BadValue {
            what: "rings of a polynomial (3 to 32 bits into as many, at most 60)",
        });
    }
    Ok(())
}

/// C(n, r) for n up to 7.
const fn binomial(n: usize, r: usize) -> u64 {
    let (mut value, mut i) = (1, 0);
    while i < r {
        value = value * (n - i) as u64 / (i + 1) as u64;
        i += 1;
    }
    value
}

/// Low bits of v_i that are zero whatever the client's share is.
fn factor_zeros(coefficients: &[i64], power: usize) -> u32 {
    (power..coefficients.len())
        .map(|e| (coefficients[e] as u64).wrapping_mul(binomial(e, power)).trailing_zeros())
        .min()
        .unwrap_or(64)
}

/// Low bits of O_i that are always zero: h divides it, and 2h where i is even.
fn odd_zeros(ring_bits: u32, power: usize) -> u32 {
    ring_bits - 1 + u32::from(power.is_multiple_of(2))
}

#[cfg(test)]
mod tests;
