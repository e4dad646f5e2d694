//! Noise bounds: what a circuit leaves of the room for noise, computed without keys.
//!
//! The phase of a ciphertext is Q m/t + v modulo Q, with v the *noise*, a polynomial of rational coefficients. It decrypts
//! to m exactly when |v| < Q/(2t) in every coefficient (less the rounding of [`crate::rns::scale`], below 2^-40 of it).
//! [`super::budget`] measures the noise that a ciphertext has; here it is foretold.
//!
//! A [`NoiseBound`] holds the standard deviation of a coefficient of v and follows a circuit:
//!
//! | operation | standard deviation afterwards |
//! |---|---|
//! | secret-key encryption | sqrt(eta/2 + 1/12) |
//! | public-key encryption | sqrt(eta/2 (1 + 2 (2N/3)) + 1/12) |
//! | sum of any two | d + d'; of two with independent noise sqrt(d^2 + d'^2) |
//! | plaintext added | sqrt(d^2 + 1/12) |
//! | product with a plaintext m, a number k | \|\|m\|\|_2 d, \|k\| d |
//! | product of any two | sqrt(N K) ((p + 1) d + (p' + 1) d') + sqrt(N) binomial(p + p', p) d d' t/Q + rounding |
//! | product of two that share no ciphertext | the same with (p + 1)^(1/2), (p' + 1)^(1/2), binomial(p + p', p)^(1/2) |
//! | relinearisation, rotation | sqrt(d^2 + s^2), s^2 of [`crate::rlwe::Decomposed::noise_variance`] |
//! | modulus switch from Q to Q' | sqrt((d Q'/Q)^2 + rounding^2) |
//! | packing of LWE ciphertexts | sqrt(d^2 + s^2 (N^2 - 1)/3) |
//!
//! The product: with centred representatives phase = Q m/t + v + Q k, hence t/Q times the product of two phases is
//! Q m m'/t + v (m' + t k') + v' (m + t k) + t v v'/Q modulo Q, and m + t k = t/Q (c0 + c1 s - v) has variance
//! K = t^2/12 (1 + 2N/3). Rounding parts has the variance (1 + 2N/3)/12 for two of them, (1 + 2N/3 + 2 (2N/3)^2)/12 for
//! three.
//!
//! **Heuristics**, all of them customary (A. Costache, K. Laine, R. Player, *Evaluating the effectiveness of heuristic
//! worst-case noise analysis in FHE*, ESORICS 2020; B. Biasioli, C. Marcolla, M. Calderini, J. Mono, *Improving and
//! automating BFV parameters selection: an average-case approach*, ePrint 2023/600):
//!
//! 1. Ciphertext parts and rounding errors are uniform and independent of the secret.
//! 2. Powers of the secret are not independent of each other: its values at roots of unity are close to complex Gaussians,
//!    for which the mean of |s|^(2p) is p! (2N/3)^p. The bound counts the power p of s in the noise; a product raises
//!    it, which is where p + 1 and the binomial come from. A ciphertext that is a factor more than once, as x is in
//!    x^(k+1) = x^k x (Horner's rule), brings the same lift k = c1 s/Q each time, and the powers of c1 count like those of
//!    s: the mean is (p!)^2 rather than p!, and the deviation rises by p + 1 rather than by its square root.
//!    [`NoiseBound::multiply`] takes this for granted; [`NoiseBound::multiply_independent`] is tighter where every ciphertext
//!    goes into one of the two factors only.
//! 3. Plaintext factors do not single out a root of unity where the noise is large: so for coefficients of mean zero that
//!    are independent of each other, and for monomials. Coefficients of one sign, {0, 1} with their mean of 1/2 among
//!    them, are not like this: they are large at the roots next to 1, and several such factors of one ciphertext add
//!    up there. What always holds is (\|\|m\|\|_1 d), with the sum of the absolute values for the norm:
//!    [`NoiseBound::multiply_plain`] takes the norm to use.
//! 4. For a fixed secret a coefficient has the tails of a normal distribution with this deviation.
//!
//! The deviation is a mean over keys and ciphertexts. The higher the power p, the more of that mean is due to few keys,
//! and the further heuristic 4 is from a proof: for high powers read 2^-64 as a figure for the encryption of a typical
//! key, not as a share of all keys.
//!
//! Then P(|v_i| > b) <= 2 exp(-b^2/(2 d^2)), and a union bound over N coefficients gives both [`NoiseBound::log2_bound`], which
//! holds but with probability 2^-64, and [`NoiseBound::log2_failure`], the bound on the probability of a wrong
//! decryption. Sums add deviations, so that dependent noise (x + x, x^2 + x) is covered: nothing about the independence of
//! ciphertexts is assumed unless the caller says so with [`NoiseBound::add_independent`] or
//! [`NoiseBound::multiply_independent`].

use core::f64::consts::{LN_2, LOG2_E};

use crate::rlwe::Decomposed;
use crate::sample::ERROR_ETA;

use super::params::Params;

/// log2 of the failure probability that bounds are made for.
pub const LOG2_FAILURE: f64 = -64.0;

/// The standard deviation of the noise of a ciphertext, without keys: see the module essay.
#[derive(Debug, Clone, PartialEq)]
pub struct NoiseBound {
    params: Params,
    limbs: usize,
    /// Of a coefficient, in units of Z_Q.
    deviation: f64,
    /// The power of the secret in the noise.
    power: u32,
    /// The degree of the ciphertext in the secret: 1, or 2 after a product until it is relinearised.
    degree: u32,
}

impl NoiseBound {
    /// A fresh secret-key encryption of all limbs.
    #[must_use]
    pub fn secret_key(params: &Params) -> Self {
        Self::fresh(params, f64::from(ERROR_ETA) / 2.0 + 1.0 / 12.0, 0)
    }

    /// A fresh public-key encryption of all limbs.
    #[must_use]
    pub fn public_key(params: &Params) -> Self {
        let secret = 2.0 * params.n() as f64 / 3.0;
        let variance = f64::from(ERROR_ETA) / 2.0 * (1.0 + 2.0 * secret) + 1.0 / 12.0;
        Self::fresh(params, variance, 1)
    }

    fn fresh(params: &Params, variance: f64, power: u32) -> Self {
        Self { params: params.clone(), limbs: params.limbs(), deviation: variance.sqrt(), power, degree: 1 }
    }

    /// The limbs of the ciphertext.
    #[must_use]
    pub fn limbs(&self) -> usize {
        self.limbs
    }

    /// The standard deviation of a coefficient of v.
    #[must_use]
    pub fn deviation(&self) -> f64 {
        self.deviation
    }

    /// log2 of a bound on all coefficients of v, wrong with probability 2^-64 at most.
    #[must_use]
    pub fn log2_bound(&self) -> f64 {
        let tail = (2.0 * (-LOG2_FAILURE * LN_2 + (2.0 * self.n()).ln())).sqrt();
        (self.deviation * tail).log2()
    }

    /// The bits left: log2(Q/(2t)) less [`NoiseBound::log2_bound`].
    #[must_use]
    pub fn budget(&self) -> f64 {
        self.log2_room() - self.log2_bound()
    }

    /// log2 of a bound on the probability that some coefficient decrypts wrongly; at most 0.
    #[must_use]
    pub fn log2_failure(&self) -> f64 {
        let ratio = (self.log2_room() - self.deviation.log2()).exp2();
        ((2.0 * self.n()).log2() - ratio * ratio / 2.0 * LOG2_E).min(0.0)
    }

    /// Whether decryption fails with probability 2^-64 at most.
    #[must_use]
    pub fn decrypts(&self) -> bool {
        self.log2_failure() <= LOG2_FAILURE
    }

    /// After the sum with, or difference from, any ciphertext of the same level.
    ///
    /// # Panics
    /// When the two are of different levels or parameters, as for the other operations of two.
    #[must_use]
    pub fn add(&self, other: &Self) -> Self {
        self.joined(other, self.deviation + other.deviation)
    }

    /// After the sum with a ciphertext whose noise is independent of this one's (fresh encryptions, say).
    #[must_use]
    pub fn add_independent(&self, other: &Self) -> Self {
        self.joined(other, self.deviation.hypot(other.deviation))
    }

    /// After a plaintext was added.
    #[must_use]
    pub fn add_plain(&self) -> Self {
        self.with(self.deviation.hypot((1.0_f64 / 12.0).sqrt()), self.power)
    }

    /// After a product with a plaintext of this Euclidean norm ([`super::Plaintext::norm`]; N^(1/2) t/12^(1/2) for a random
    /// one), which needs heuristic 3. The sum of the absolute values of the centred coefficients, the l1 norm, in its place
    /// holds for every plaintext.
    #[must_use]
    pub fn multiply_plain(&self, norm: f64) -> Self {
        self.with(self.deviation * norm, self.power)
    }

    /// After a product with a number.
    #[must_use]
    pub fn multiply_scalar(&self, k: i64) -> Self {
        self.with(self.deviation * k.unsigned_abs() as f64, self.power)
    }

    /// After a product with any ciphertext of the same level, not yet relinearised: also with itself, or with one that was
    /// computed from the same ciphertexts, like x^k and x.
    #[must_use]
    pub fn multiply(&self, other: &Self) -> Self {
        self.product(other, 1.0)
    }

    /// After a product with a ciphertext of the same level that shares no ciphertext with this one: no encryption went into
    /// both factors. Tighter than [`NoiseBound::multiply`], and too small where that is not so.
    #[must_use]
    pub fn multiply_independent(&self, other: &Self) -> Self {
        self.product(other, 0.5)
    }

    /// A product; moments that the power of the secret stands for enter to the power `moment`: 1/2 where the secret alone is
    /// a factor repeatedly, 1 where parts of ciphertexts are so too (heuristic 2).
    fn product(&self, other: &Self, moment: f64) -> Self {
        let (n, t) = (self.n(), self.params.t() as f64);
        let secret = 2.0 * n / 3.0;
        let lift = (n / 12.0 * (1.0 + secret)).sqrt() * t;
        let raised = |power: u32| f64::from(power + 1).powf(moment);
        let linear = lift * (raised(self.power) * self.deviation + raised(other.power) * other.deviation);
        let scale = (t.log2() - self.params.rlwe().log2_q(self.limbs)).exp2();
        let square = n.sqrt() * binomial(self.power + other.power, self.power).powf(moment);
        let square = square * self.deviation * (other.deviation * scale);
        let (power, degree) = ((self.power.max(other.power) + 1).max(2), 2);
        let mut product = Self { power, degree, ..self.joined(other, 0.0) };
        product.deviation = (linear + square).hypot(product.rounding());
        product
    }

    /// After relinearisation, a rotation or any other automorphism.
    #[must_use]
    pub fn key_switch(&self) -> Self {
        let deviation = self.deviation.hypot(self.key_switch_deviation());
        Self { degree: 1, ..self.with(deviation, self.power.max(1)) }
    }

    /// After a switch to fewer limbs.
    ///
    /// # Panics
    /// Unless 1 <= limbs <= the limbs now.
    #[must_use]
    pub fn switch_modulus(&self, limbs: usize) -> Self {
        assert!((1..=self.limbs).contains(&limbs), "{limbs} of {} limbs", self.limbs);
        if limbs == self.limbs {
            return self.clone();
        }
        let rlwe = self.params.rlwe();
        let ratio = (rlwe.log2_q(limbs) - rlwe.log2_q(self.limbs)).exp2();
        let deviation = (self.deviation * ratio).hypot(self.rounding());
        Self { limbs, ..self.with(deviation, self.power.max(self.degree)) }
    }

    /// After re-randomisation with flooding of standard deviation 2^log2_sigma, or without.
    #[must_use]
    pub fn rerandomise(&self, log2_sigma: Option<f64>) -> Self {
        let fresh = Self { limbs: self.limbs, ..Self::public_key(&self.params) };
        let flood = log2_sigma.map_or(0.0, f64::exp2);
        let sum = self.add_independent(&fresh);
        sum.with(sum.deviation.hypot(flood), sum.power)
    }

    /// After packing LWE ciphertexts, none of which has more noise than this one.
    #[must_use]
    pub fn pack(&self) -> Self {
        let doubled = self.key_switch_deviation() * ((self.n() * self.n() - 1.0) / 3.0).sqrt();
        self.with(self.deviation.hypot(doubled), self.power.max(1))
    }

    fn key_switch_deviation(&self) -> f64 {
        Decomposed::noise_variance(self.params.rlwe(), self.limbs).sqrt()
    }

    fn n(&self) -> f64 {
        self.params.n() as f64
    }

    /// log2(Q/(2t)).
    fn log2_room(&self) -> f64 {
        self.params.rlwe().log2_q(self.limbs) - 1.0 - (self.params.t() as f64).log2()
    }

    fn with(&self, deviation: f64, power: u32) -> Self {
        Self { deviation, power, ..self.clone() }
    }

    /// The standard deviation of what rounding all parts of the ciphertext adds.
    fn rounding(&self) -> f64 {
        let secret = 2.0 * self.n() / 3.0;
        let square = if self.degree > 1 { 2.0 * secret * secret } else { 0.0 };
        ((1.0 + secret + square) / 12.0).sqrt()
    }

    fn joined(&self, other: &Self, deviation: f64) -> Self {
        assert!(self.limbs == other.limbs && self.params == other.params, "noise of different rings");
        Self { degree: self.degree.max(other.degree), ..self.with(deviation, self.power.max(other.power)) }
    }
}

fn binomial(n: u32, k: u32) -> f64 {
    (0..k).fold(1.0, |product, i| product * f64::from(n - i) / f64::from(i + 1))
}
