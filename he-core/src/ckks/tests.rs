//! CKKS against arithmetic in the clear, with errors held to their predictions.

use rand_core::Rng;

use super::*;
use crate::rlwe::{PublicKey, RelinKey, RlweParams, SecretKey};
use crate::seed::Seed;

mod encoding;
mod exact;
mod laws;
mod levels;
mod moves;
mod published;

/// Parameters, keys and a stream of numbers for a small ring.
pub(super) struct Party {
    pub(super) params: Params,
    pub(super) secret: SecretKey,
    pub(super) relin: RelinKey,
    /// Boxed: the type of a seed's stream does not matter here.
    stream: Box<dyn Rng>,
    seeds: u64,
    root: Seed,
}

/// 50 bits, `inner` primes near 2^40, and as many special primes as asked for.
pub(super) fn small(n: usize, inner: usize, special: usize) -> Params {
    let special_bits = if special == 1 { 50 } else { 46 };
    let literal = Literal {
        degree: n,
        first_bits: 50,
        scale_bits: 40,
        depth: inner,
        special_bits,
        special_primes: special,
    };
    let rlwe = RlweParams::insecure_for_tests(&literal.chain().unwrap()).unwrap();
    Params::new(rlwe, literal.scale()).unwrap()
}

impl Party {
    pub(super) fn new(params: Params, label: u64) -> Self {
        let root = Seed::from_bytes([31; 32]).fork("party", &[label]);
        let secret = SecretKey::generate(params.rlwe(), root.fork("secret", &[]));
        let relin = RelinKey::new(&secret, root.fork("relin", &[]));
        let stream = Box::new(root.fork("numbers", &[]).stream());
        Self { params, secret, relin, stream, seeds: 0, root }
    }

    pub(super) fn seed(&mut self) -> Seed {
        self.seeds += 1;
        self.root.fork("fresh", &[self.seeds])
    }

    pub(super) fn public(&mut self) -> PublicKey {
        let seed = self.seed();
        PublicKey::new(&self.secret, seed)
    }

    /// A number in -1..1.
    pub(super) fn number(&mut self) -> f64 {
        self.stream.next_u64() as i64 as f64 / 2.0_f64.powi(63)
    }

    /// Slots with |z| <= 1.
    pub(super) fn slots(&mut self) -> Vec<Complex> {
        let half = core::f64::consts::FRAC_1_SQRT_2;
        (0..self.params.slots()).map(|_| Complex::new(self.number(), self.number()).scale(half)).collect()
    }

    pub(super) fn encrypt(&mut self, values: &[Complex]) -> Ciphertext {
        let (seed, params) = (self.seed(), self.params.clone());
        params.encrypt(&self.secret, &params.encode(values).unwrap(), seed).expand(&params)
    }

    pub(super) fn open(&self, ciphertext: &Ciphertext) -> Vec<Complex> {
        self.params.decode(&self.params.decrypt(&self.secret, ciphertext))
    }

    /// The estimate of what [`Party::encrypt`] makes.
    pub(super) fn fresh(&self) -> NoiseEstimate {
        NoiseEstimate::secret_key(&self.params, 1.0, self.params.limbs(), self.params.scale())
    }

    /// Decrypts, compares, and holds the error to its prediction.
    pub(super) fn check(
        &self,
        what: &str,
        found: &Ciphertext,
        expected: &[Complex],
        noise: &NoiseEstimate,
    ) -> PrecisionReport {
        assert_eq!(found.limbs(), noise.dropped_to(found.limbs()).limbs(), "{what}: limbs");
        assert!((found.scale() / noise.scale() - 1.0).abs() < 1e-9, "{what}: scale");
        let report = PrecisionReport::new(expected, &self.open(found)).unwrap();
        let bound = noise.error_bound();
        assert!(report.worst_error <= bound, "{what}: error {:e} above {bound:e}", report.worst_error);
        report
    }
}

/// Slot by slot.
pub(super) fn zip(a: &[Complex], b: &[Complex], f: impl Fn(Complex, Complex) -> Complex) -> Vec<Complex> {
    a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect()
}
