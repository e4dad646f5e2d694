//! Parameter sets: a degree, a modulus, and the proof that they were checked.
//!
//! | profile | N | q | security (bits, classical) | for |
//! |---|---|---|---|---|
//! | `tiny` | 1024 | largest prime below 2^26 that is 1 mod 2N | 131.3 | smallest replies, small networks |
//! | `narrow` | 2048 | the same below 2^32 | 218.8 | 32-bit words; no room for a dither |
//! | `wide` (default) | 2048 | the same below 2^50: 1125899906826241 | 137.1 | 52-bit multiply-add words; room for the dither |
//!
//! The security figures are the least of uSVP, BDD and dual hybrid in the public lattice estimator, for a ternary secret
//! and the centred binomial error of this crate. They hold for those secrets only. Who has a [`Params`] has a set below
//! the cap of [`crate::security`]; there is no other way to get one.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::HeError;
use crate::modulus::Modulus;
use crate::ntt::NttTable;
use crate::prime::largest_ntt_prime;
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
}

impl Profile {
    /// All profiles, narrowest modulus first.
    pub const ALL: [Self; 3] = [Self::Tiny, Self::Narrow, Self::Wide];

    fn degree(self) -> usize {
        match self {
            Self::Tiny => 1024,
            Self::Narrow | Self::Wide => 2048,
        }
    }

    fn modulus_bits(self) -> u32 {
        match self {
            Self::Tiny => 26,
            Self::Narrow => 32,
            Self::Wide => 50,
        }
    }

    fn security_bits(self) -> f64 {
        match self {
            Self::Tiny => 131.3,
            Self::Narrow => 218.8,
            Self::Wide => 137.1,
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tiny => "tiny",
            Self::Narrow => "narrow",
            Self::Wide => "wide",
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

/// A checked parameter set with its transform table. Cloning shares the table.
#[derive(Debug, Clone)]
pub struct Params {
    profile: Option<Profile>,
    table: NttTable,
    security_bits: f64,
}

impl Params {
    /// The set of a profile, with the fastest kernel of this machine.
    #[must_use]
    pub fn new(profile: Profile) -> Self {
        let n = profile.degree();
        let q = largest_ntt_prime(profile.modulus_bits(), 2 * n as u64).expect("each profile has a prime");
        let params = Self::checked(n, q).expect("each profile is below its cap");
        Self { profile: Some(profile), security_bits: profile.security_bits(), ..params }
    }

    /// A set outside the profiles: degree n, prime modulus q = 1 mod 2n below 2^61.
    ///
    /// # Errors
    /// [`HeError::Insecure`] above the cap or for a degree without one, [`HeError::ModulusRange`],
    /// [`HeError::NotPrime`] or [`HeError::NoRoot`] for a modulus that does not serve.
    pub fn checked(n: usize, q: u64) -> Result<Self, HeError> {
        let modulus = Modulus::new(q)?;
        security::check(n, modulus.bits())?;
        let table = NttTable::new(n, modulus)?;
        let sigma = (f64::from(ERROR_ETA) / 2.0).sqrt();
        let security_bits = security::floor(n, (q as f64).log2(), sigma);
        Ok(Self { profile: None, table, security_bits })
    }

    /// The same set with another kernel: for comparisons and tests.
    ///
    /// # Errors
    /// [`HeError::KernelUnavailable`] when the kernel cannot run here.
    pub fn with_kernel(&self, kernel: crate::ntt::Kernel) -> Result<Self, HeError> {
        let table = NttTable::with_kernel(self.n(), *self.modulus(), kernel)?;
        Ok(Self { table, ..self.clone() })
    }

    /// The profile, or `None` for a set built by [`Params::checked`].
    #[must_use]
    pub fn profile(&self) -> Option<Profile> {
        self.profile
    }

    /// The ring degree N.
    #[must_use]
    pub fn n(&self) -> usize {
        self.table.n()
    }

    /// The modulus q.
    #[must_use]
    pub fn modulus(&self) -> &Modulus {
        self.table.modulus()
    }

    /// The transform table.
    #[must_use]
    pub fn table(&self) -> &NttTable {
        &self.table
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
        for (profile, n, bits) in
            [(Profile::Tiny, 1024, 26), (Profile::Narrow, 2048, 32), (Profile::Wide, 2048, 50)]
        {
            let params = Params::new(profile);
            assert_eq!((params.n(), params.modulus().bits(), params.profile()), (n, bits, Some(profile)));
            assert_eq!(params.modulus().value() % (2 * n as u64), 1);
        }
        assert_eq!(Params::new(Profile::default()).modulus().value(), 1_125_899_906_826_241);
    }

    #[test]
    fn stated_security_agrees_with_the_closed_form() {
        for profile in Profile::ALL {
            let params = Params::new(profile);
            let independent = Params::checked(params.n(), params.modulus().value()).unwrap().security_bits();
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
        assert!(serde_json::from_str::<Profile>("\"exact\"").is_err());
    }
}
