//! Parameter sets: a degree, a modulus, and the proof that they were checked.
//!
//! | profile | N | q | security (bits, classical) | for |
//! |---|---|---|---|---|
//! | `tiny` | 1024 | largest prime below 2^26 that is 1 mod 2N | 131.3 | smallest replies, small networks |
//! | `narrow` | 2048 | the same below 2^32 | 218.8 | 32-bit words; no room for a dither |
//! | `wide` (default) | 2048 | the same below 2^50: 1125899906826241 | 137.1 | 52-bit multiply-add words; room for the dither |
//! | `exact` | 4096 | q0 q1, the two largest primes below 2^48 that are 1 mod 2N | at least 137.2 | a dither that drowns all that the client knows |
//!
//! The security figures are the least of uSVP, BDD and dual hybrid in the public lattice estimator, for a ternary secret
//! and the centred binomial error of this crate. They hold for those secrets only. For `exact` (q just below 2^96) it is
//! the figure of the larger modulus 2^100 at the same N, hence a lower bound. Who has a [`Params`] has a set below the
//! cap of [`crate::security`], which is on log2 of the whole q; there is no other way to get one.
//!
//! **Limbs.** q is a product of one or two distinct primes, and everything modulo q is held as residues, limb by limb
//! (the Chinese remainder theorem: Z_q is the product of the Z_{q_i}). Small integers, secrets and errors above all, are
//! the same integer in every limb. [`Params::tables`] and [`Params::moduli`] have one entry per limb; [`crate::rns`] has
//! the polynomials and [`crate::basis`] the ways between residues, integers and rings of powers of two.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::basis::Basis;
use crate::error::HeError;
use crate::modulus::Modulus;
use crate::ntt::NttTable;
use crate::prime::{largest_ntt_prime, two_largest_ntt_primes};
use crate::sample::ERROR_ETA;
use crate::security;

/// The parameter sets that a model can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// N = 1024, q < 2^26.
    Tiny,
    /// N = 2048, q < 2^32.
    Narrow,
    /// N = 2048, q < 2^50.
    #[default]
    Wide,
    /// N = 4096, q < 2^96 with two prime factors.
    Exact,
}

impl Profile {
    /// All profiles, narrowest modulus first.
    pub const ALL: [Self; 4] = [Self::Tiny, Self::Narrow, Self::Wide, Self::Exact];

    fn degree(self) -> usize {
        match self {
            Self::Tiny => 1024,
            Self::Narrow | Self::Wide => 2048,
            Self::Exact => 4096,
        }
    }

    /// The prime factors of q, limb by limb.
    fn primes(self) -> Option<Vec<u64>> {
        let two_n = 2 * self.degree() as u64;
        match self {
            Self::Tiny => largest_ntt_prime(26, two_n).map(|q| vec![q]),
            Self::Narrow => largest_ntt_prime(32, two_n).map(|q| vec![q]),
            Self::Wide => largest_ntt_prime(50, two_n).map(|q| vec![q]),
            Self::Exact => two_largest_ntt_primes(48, two_n).map(|primes| primes.to_vec()),
        }
    }

    fn security_bits(self) -> f64 {
        match self {
            Self::Tiny => 131.3,
            Self::Narrow => 218.8,
            Self::Wide => 137.1,
            Self::Exact => 137.2,
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tiny => "tiny",
            Self::Narrow => "narrow",
            Self::Wide => "wide",
            Self::Exact => "exact",
        })
    }
}

impl FromStr for Profile {
    type Err = HeError;

    fn from_str(name: &str) -> Result<Self, HeError> {
        Self::ALL
            .into_iter()
            .find(|profile| profile.to_string() == name)
            .ok_or_else(|| HeError::UnknownProfile { name: name.to_owned() })
    }
}

/// A checked parameter set with its transform tables. Cloning shares the tables.
#[derive(Debug, Clone)]
pub struct Params {
    profile: Option<Profile>,
    /// One or two, limb by limb.
    tables: Vec<NttTable>,
    moduli: Vec<Modulus>,
    q: u128,
    basis: Basis,
    security_bits: f64,
}

impl Params {
    /// The set of a profile, with the fastest kernel of this machine.
    #[must_use]
    pub fn new(profile: Profile) -> Self {
        let primes = profile.primes().expect("each profile has its primes");
        let params = Self::of_primes(profile.degree(), &primes).expect("each profile is below its cap");
        Self { profile: Some(profile), security_bits: profile.security_bits(), ..params }
    }

    /// A set outside the profiles, of one limb: degree n, prime modulus q = 1 mod 2n below 2^61.
    ///
    /// # Errors
    /// [`HeError::Insecure`] above the cap or for a degree without one, [`HeError::ModulusRange`],
    /// [`HeError::NotPrime`] or [`HeError::NoRoot`] for a modulus that does not serve.
    pub fn checked(n: usize, q: u64) -> Result<Self, HeError> {
        Self::of_primes(n, &[q])
    }

    /// A set of one or two limbs with these distinct primes. The cap is on the bits of their product.
    fn of_primes(n: usize, primes: &[u64]) -> Result<Self, HeError> {
        let moduli = primes.iter().map(|&q| Modulus::new(q)).collect::<Result<Vec<_>, _>>()?;
        let q: u128 = primes.iter().map(|&q| u128::from(q)).product();
        security::check(n, u128::BITS - q.leading_zeros())?;
        let tables = moduli.iter().map(|&q| NttTable::new(n, q)).collect::<Result<Vec<_>, _>>()?;
        let sigma = (f64::from(ERROR_ETA) / 2.0).sqrt();
        let security_bits = security::floor(n, (q as f64).log2(), sigma);
        let basis = Basis::new(&moduli);
        Ok(Self { profile: None, tables, moduli, q, basis, security_bits })
    }

    /// The same set with another kernel: for comparisons and tests.
    ///
    /// # Errors
    /// [`HeError::KernelUnavailable`] when the kernel cannot run here.
    pub fn with_kernel(&self, kernel: crate::ntt::Kernel) -> Result<Self, HeError> {
        let of = |&q: &Modulus| NttTable::with_kernel(self.n(), q, kernel);
        let tables = self.moduli.iter().map(of).collect::<Result<_, _>>()?;
        Ok(Self { tables, ..self.clone() })
    }

    /// The profile, or `None` for a set built by [`Params::checked`].
    #[must_use]
    pub fn profile(&self) -> Option<Profile> {
        self.profile
    }

    /// The ring degree N.
    #[must_use]
    pub fn n(&self) -> usize {
        self.tables[0].n()
    }

    /// The number of primes whose product q is: 1 or 2.
    #[must_use]
    pub fn limbs(&self) -> usize {
        self.tables.len()
    }

    /// The prime factors of q, limb by limb.
    #[must_use]
    pub fn moduli(&self) -> &[Modulus] {
        &self.moduli
    }

    /// The transform tables, limb by limb.
    #[must_use]
    pub fn tables(&self) -> &[NttTable] {
        &self.tables
    }

    /// The modulus of limb 0. It is q itself in a set of one limb, and only a factor of it otherwise: code that uses it
    /// for q serves sets of one limb alone.
    #[must_use]
    pub fn modulus(&self) -> &Modulus {
        &self.moduli[0]
    }

    /// The transform table of limb 0; see [`Params::modulus`].
    #[must_use]
    pub fn table(&self) -> &NttTable {
        &self.tables[0]
    }

    /// The whole modulus q, the product over all limbs.
    #[must_use]
    pub fn q(&self) -> u128 {
        self.q
    }

    /// log2 of the whole modulus q.
    #[must_use]
    pub fn log2_q(&self) -> f64 {
        (self.q as f64).log2()
    }

    /// ceil(log2 q) of the whole modulus.
    #[must_use]
    pub fn q_bits(&self) -> u32 {
        u128::BITS - self.q.leading_zeros()
    }

    pub(crate) fn basis(&self) -> &Basis {
        &self.basis
    }

    /// log2 of the cost of the best known classical attack: the stated figure of a profile; for other sets the floor of
    /// [`security::floor`].
    #[must_use]
    pub fn security_bits(&self) -> f64 {
        self.security_bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profiles_are_what_the_table_says() {
        for (profile, n, bits, limbs) in [
            (Profile::Tiny, 1024, 26, 1),
            (Profile::Narrow, 2048, 32, 1),
            (Profile::Wide, 2048, 50, 1),
            (Profile::Exact, 4096, 96, 2),
        ] {
            let params = Params::new(profile);
            assert_eq!((params.n(), params.q_bits(), params.profile()), (n, bits, Some(profile)));
            assert_eq!((params.limbs(), params.tables().len(), params.moduli().len()), (limbs, limbs, limbs));
            assert_eq!(params.moduli().iter().map(|q| u128::from(q.value())).product::<u128>(), params.q());
            assert!((params.log2_q() - f64::from(bits)).abs() < 1e-3);
            for (modulus, table) in params.moduli().iter().zip(params.tables()) {
                assert_eq!((table.modulus(), table.n()), (modulus, n));
                assert_eq!(modulus.value() % (2 * n as u64), 1);
                assert_eq!(modulus.bits(), bits / limbs as u32);
            }
        }
        let exact = Params::new(Profile::Exact);
        assert_eq!(
            [exact.moduli()[0], exact.moduli()[1]].map(|q| q.value()),
            [281_474_976_694_273, 281_474_976_636_929]
        );
        assert_eq!(exact.modulus(), &exact.moduli()[0]);
        assert_eq!(Params::new(Profile::default()).modulus().value(), 1_125_899_906_826_241);
    }

    #[test]
    fn stated_security_agrees_with_the_closed_form() {
        for profile in Profile::ALL {
            let params = Params::new(profile);
            let primes: Vec<_> = params.moduli().iter().map(|q| q.value()).collect();
            let independent = Params::of_primes(params.n(), &primes).unwrap().security_bits();
            assert!(params.security_bits() >= 128.0);
            // The figure of a custom set is a floor: never above the stated one, and not far below.
            let slack = params.security_bits() - independent;
            assert!(
                (0.0..8.0).contains(&slack),
                "{profile}: the floor {independent} is {slack} below the stated figure"
            );
        }
    }

    #[test]
    fn sets_above_the_cap_are_refused() {
        let q = |bits: u32, n: u64| largest_ntt_prime(bits, 2 * n).unwrap();
        assert!(Params::checked(2048, q(53, 2048)).is_ok());
        assert_eq!(
            Params::checked(2048, q(54, 2048)).unwrap_err(),
            HeError::Insecure { n: 2048, log2_q: 54, cap: 53 }
        );
        assert!(Params::checked(1024, q(26, 1024)).is_ok());
        assert_eq!(
            Params::checked(1024, q(27, 1024)).unwrap_err(),
            HeError::Insecure { n: 1024, log2_q: 27, cap: 26 }
        );
        // Two limbs count together: each of these is far below the cap alone.
        let pair = |bits: u32| two_largest_ntt_primes(bits, 8192).unwrap();
        assert!(Params::of_primes(4096, &pair(53)).is_ok());
        assert_eq!(
            Params::of_primes(4096, &pair(54)).unwrap_err(),
            HeError::Insecure { n: 4096, log2_q: 108, cap: 106 }
        );
        assert!(matches!(Params::checked(512, 12289), Err(HeError::Insecure { cap: 0, .. })));
        assert!(matches!(Params::checked(4096, 12289), Err(HeError::NoRoot { .. })));
        assert!(matches!(Params::checked(2048, 12288), Err(HeError::NotPrime { .. })));
    }

    #[test]
    fn names() {
        for profile in Profile::ALL {
            assert_eq!(profile.to_string().parse::<Profile>().unwrap(), profile);
            let json = serde_json::to_string(&profile).unwrap();
            assert_eq!(json, format!("\"{profile}\""));
            assert_eq!(serde_json::from_str::<Profile>(&json).unwrap(), profile);
        }
        assert!("Wide".parse::<Profile>().is_err());
        assert!(serde_json::from_str::<Profile>("\"Exact\"").is_err());
    }
}
