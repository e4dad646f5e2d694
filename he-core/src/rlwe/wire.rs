//! Wire forms of ciphertexts and keys.
//!
//! | bytes | what |
//! |---|---|
//! | 0 | version, 1 |
//! | 1 | kind: 1 ciphertext, 2 seeded ciphertext, 3 public key, 4 relinearisation key, 5 Galois keys, 6 secret key |
//! | 2 | limbs |
//! | 3 | parts of a ciphertext, 2 or 3; digits of a key of key switching; 1 otherwise |
//! | 4..12 | digest of the parameters: the first 8 bytes of SHA3-256 of N, the primes, and how many are special |
//! | 12.. | the body |
//!
//! | kind | body |
//! |---|---|
//! | ciphertext | the parts, each limb after limb: N values of as many bits as the prime has, packed ([`crate::wire`]) |
//! | seeded ciphertext, public key | 32 bytes of seed, one part |
//! | relinearisation key | 32 bytes of seed, one part modulo all primes per digit |
//! | Galois keys | their number as u32, then for each, by growing exponent: the exponent as u32, seed and parts as above |
//! | secret key | N coefficients of 2 bits: 0, 1, and 2 for -1 |
//!
//! The receiver knows the parameters. The length of a body follows from the header and is checked before anything is
//! allocated, so a message never makes its reader allocate more than a constant times its own length. Every form is
//! canonical: what is accepted is what would be written. Bytes of a peer are refused, never panicked at.

use sha3::{Digest, Sha3_256};
use zeroize::Zeroizing;

use crate::error::HeError;
use crate::ntt::NttTable;
use crate::poly::{Ntt, Poly};
use crate::rlwe::encrypt::PublicSeed;
use crate::rlwe::{
    Ciphertext, GaloisKeys, KeySwitchKey, PublicKey, RelinKey, RlweParams, SecretKey, SeededCiphertext,
};
use crate::rns::{RnsPoly, Tables};
use crate::wire::{pack, pack_into, packed_len, unpack};

const VERSION: u8 = 1;
const HEADER: usize = 12;
const SEED: usize = 32;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ciphertext = 1,
    Seeded = 2,
    PublicKey = 3,
    RelinKey = 4,
    GaloisKeys = 5,
    SecretKey = 6,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Ciphertext => "a ciphertext",
            Self::Seeded => "a seeded ciphertext",
            Self::PublicKey => "a public key",
            Self::RelinKey => "a relinearisation key",
            Self::GaloisKeys => "Galois keys",
            Self::SecretKey => "a secret key",
        }
    }
}

/// What a peer's messages are checked against.
fn digest(params: &RlweParams) -> [u8; 8] {
    let mut hash = Sha3_256::new();
    hash.update(b"hushnet/he-core/rlwe/params/v1");
    hash.update((params.n() as u64).to_le_bytes());
    hash.update((params.digit_len() as u64).to_le_bytes());
    for modulus in params.all_moduli() {
        hash.update(modulus.value().to_le_bytes());
    }
    let digest = hash.finalize();
    core::array::from_fn(|i| digest[i])
}

fn header(params: &RlweParams, kind: Kind, limbs: usize, count: usize) -> Vec<u8> {
    let mut bytes = vec![VERSION, kind as u8, limbs as u8, count as u8];
    bytes.extend_from_slice(&digest(params));
    bytes
}

/// Checks all but limbs and count, which it returns with the body.
fn open<'a>(params: &RlweParams, kind: Kind, bytes: &'a [u8]) -> Result<(usize, usize, &'a [u8]), HeError> {
    let Some((head, body)) = bytes.split_first_chunk::<HEADER>() else {
        return Err(HeError::Length {
            what: "the header of a wire form",
            expected: HEADER,
            found: bytes.len(),
        });
    };
    if head[0] != VERSION {
        return Err(HeError::WireVersion { found: head[0], known: VERSION });
    }
    if head[1] != kind as u8 {
        return Err(HeError::WireKind { expected: kind.name(), found: head[1] });
    }
    if head[4..] != digest(params) {
        return Err(HeError::OtherParameters { what: kind.name() });
    }
    Ok((usize::from(head[2]), usize::from(head[3]), body))
}

fn check_count(what: &'static str, found: usize, least: usize, most: usize) -> Result<(), HeError> {
    if (least..=most).contains(&found) { Ok(()) } else { Err(HeError::Count { what, found, least, most }) }
}

fn check_len(what: &'static str, bytes: &[u8], expected: usize) -> Result<(), HeError> {
    if bytes.len() == expected { Ok(()) } else { Err(HeError::Length { what, expected, found: bytes.len() }) }
}

/// Bytes of one polynomial.
fn poly_len(tables: &[NttTable]) -> usize {
    let limb = |table: &NttTable| packed_len(table.n(), table.modulus().bits());
    tables.iter().map(|table| limb(table).expect("a limb has less than 2^23 bits")).sum()
}

fn write_poly(bytes: &mut Vec<u8>, poly: &RnsPoly<Ntt>) {
    for limb in poly.limbs() {
        pack_into(limb.values(), limb.modulus().bits(), bytes);
    }
}

/// Reads one polynomial, `poly_len` bytes of it.
fn read_poly(tables: &[NttTable], mut bytes: &[u8]) -> Result<RnsPoly<Ntt>, HeError> {
    let mut limbs = Vec::with_capacity(tables.len());
    for table in tables {
        let (own, rest) =
            bytes.split_at_checked(poly_len(core::slice::from_ref(table))).ok_or(HeError::Length {
                what: "a packed polynomial",
                expected: poly_len(tables),
                found: bytes.len(),
            })?;
        limbs.push(Poly::from_values(table, unpack(own, table.n(), table.modulus().bits())?)?);
        bytes = rest;
    }
    Ok(RnsPoly::from_limbs(limbs))
}

impl Ciphertext {
    /// Bytes of the wire form of a ciphertext of this degree (1 or 2) and so many limbs.
    ///
    /// # Panics
    /// Unless 1 <= limbs <= L.
    #[must_use]
    pub fn wire_len(params: &RlweParams, limbs: usize, degree: usize) -> usize {
        HEADER + (degree + 1) * poly_len(params.ciphertext_tables(limbs))
    }

    /// The wire form.
    #[must_use]
    pub fn to_bytes(&self, params: &RlweParams) -> Vec<u8> {
        let mut bytes = header(params, Kind::Ciphertext, self.limbs(), self.parts().len());
        self.parts().iter().for_each(|part| write_poly(&mut bytes, part));
        bytes
    }

    /// Reads the wire form of a peer.
    ///
    /// # Errors
    /// [`HeError::WireVersion`], [`HeError::WireKind`], [`HeError::OtherParameters`], [`HeError::Count`],
    /// [`HeError::Length`], [`HeError::Padding`] or [`HeError::OutOfRange`], each for what its name says.
    pub fn from_bytes(params: &RlweParams, bytes: &[u8]) -> Result<Self, HeError> {
        let (limbs, parts, body) = open(params, Kind::Ciphertext, bytes)?;
        check_count("the limbs of a ciphertext", limbs, 1, params.limbs())?;
        check_count("the parts of a ciphertext", parts, 2, 3)?;
        let tables = params.ciphertext_tables(limbs);
        check_len("a ciphertext", body, parts * poly_len(tables))?;
        let parts = body.chunks_exact(poly_len(tables)).map(|part| read_poly(tables, part));
        Self::from_parts(parts.collect::<Result<_, _>>()?)
    }
}

impl SeededCiphertext {
    /// Bytes of the wire form of a seeded ciphertext of so many limbs.
    ///
    /// # Panics
    /// Unless 1 <= limbs <= L.
    #[must_use]
    pub fn wire_len(params: &RlweParams, limbs: usize) -> usize {
        HEADER + SEED + poly_len(params.ciphertext_tables(limbs))
    }

    /// The wire form.
    #[must_use]
    pub fn to_bytes(&self, params: &RlweParams) -> Vec<u8> {
        self.write(params, Kind::Seeded)
    }

    /// Reads the wire form of a peer.
    ///
    /// # Errors
    /// As [`Ciphertext::from_bytes`].
    pub fn from_bytes(params: &RlweParams, bytes: &[u8]) -> Result<Self, HeError> {
        Self::read(params, Kind::Seeded, bytes)
    }

    fn write(&self, params: &RlweParams, kind: Kind) -> Vec<u8> {
        let mut bytes = header(params, kind, self.limbs(), 1);
        bytes.extend_from_slice(self.seed());
        write_poly(&mut bytes, self.part());
        bytes
    }

    fn read(params: &RlweParams, kind: Kind, bytes: &[u8]) -> Result<Self, HeError> {
        let (limbs, parts, body) = open(params, kind, bytes)?;
        check_count("the limbs of a seeded ciphertext", limbs, 1, params.limbs())?;
        check_count("the parts of a seeded ciphertext", parts, 1, 1)?;
        let tables = params.ciphertext_tables(limbs);
        check_len("a seeded ciphertext", body, SEED + poly_len(tables))?;
        let (seed, part) = split_seed(body)?;
        Ok(Self::from_parts(read_poly(tables, part)?, seed))
    }
}

fn split_seed(bytes: &[u8]) -> Result<(PublicSeed, &[u8]), HeError> {
    let (seed, rest) = bytes.split_first_chunk::<SEED>().ok_or(HeError::Length {
        what: "the seed of a wire form",
        expected: SEED,
        found: bytes.len(),
    })?;
    Ok((*seed, rest))
}

impl PublicKey {
    /// The wire form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.seeded().write(self.params(), Kind::PublicKey)
    }

    /// Reads the wire form of a peer.
    ///
    /// # Errors
    /// As [`Ciphertext::from_bytes`], and [`HeError::DegenerateKey`] for a key that is zero modulo a prime: what is
    /// encrypted with it would be in the clear there.
    pub fn from_bytes(params: &RlweParams, bytes: &[u8]) -> Result<Self, HeError> {
        let seeded = SeededCiphertext::read(params, Kind::PublicKey, bytes)?;
        check_count("the limbs of a public key", seeded.limbs(), params.limbs(), params.limbs())?;
        if seeded.part().limbs().iter().any(|limb| limb.values().iter().all(|&value| value == 0)) {
            return Err(HeError::DegenerateKey);
        }
        Ok(Self::from_seeded(params, seeded))
    }
}

impl KeySwitchKey {
    fn body_len(params: &RlweParams) -> usize {
        SEED + Self::digits(params) * poly_len(params.tables())
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(self.seed());
        self.parts().iter().for_each(|part| write_poly(bytes, part));
    }

    /// Reads `body_len` bytes.
    fn read(params: &RlweParams, bytes: &[u8]) -> Result<Self, HeError> {
        let (seed, body) = split_seed(bytes)?;
        let parts = body.chunks_exact(poly_len(params.tables())).map(|part| read_poly(params.tables(), part));
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        Ok(Self::from_seeded(params, parts, seed))
    }

    /// Checks limbs and digits of a header.
    fn check(params: &RlweParams, limbs: usize, digits: usize) -> Result<(), HeError> {
        let (all, expected) = (params.tables().len(), Self::digits(params));
        check_count("the limbs of a key", limbs, all, all)?;
        // Parameters without special primes have no digits, and no keys.
        check_count("the digits of a key", digits, expected.max(1), expected)
    }
}

impl RelinKey {
    /// The wire form.
    #[must_use]
    pub fn to_bytes(&self, params: &RlweParams) -> Vec<u8> {
        let mut bytes = header(params, Kind::RelinKey, params.tables().len(), KeySwitchKey::digits(params));
        self.key().write(&mut bytes);
        bytes
    }

    /// Reads the wire form of a peer.
    ///
    /// # Errors
    /// As [`Ciphertext::from_bytes`].
    pub fn from_bytes(params: &RlweParams, bytes: &[u8]) -> Result<Self, HeError> {
        let (limbs, digits, body) = open(params, Kind::RelinKey, bytes)?;
        KeySwitchKey::check(params, limbs, digits)?;
        check_len("a relinearisation key", body, KeySwitchKey::body_len(params))?;
        KeySwitchKey::read(params, body).map(Self::from_key)
    }
}

impl GaloisKeys {
    /// Bytes of the wire form of so many keys.
    #[must_use]
    pub fn wire_len(params: &RlweParams, count: usize) -> usize {
        HEADER + 4 + count * (4 + KeySwitchKey::body_len(params))
    }

    /// The wire form.
    #[must_use]
    pub fn to_bytes(&self, params: &RlweParams) -> Vec<u8> {
        let mut bytes = header(params, Kind::GaloisKeys, params.tables().len(), KeySwitchKey::digits(params));
        bytes.extend_from_slice(&(self.keys().count() as u32).to_le_bytes());
        for (exponent, key) in self.keys() {
            bytes.extend_from_slice(&(exponent as u32).to_le_bytes());
            key.write(&mut bytes);
        }
        bytes
    }

    /// Reads the wire form of a peer.
    ///
    /// # Errors
    /// As [`Ciphertext::from_bytes`]; [`HeError::Exponent`] for exponents that are even, too large or do not grow.
    pub fn from_bytes(params: &RlweParams, bytes: &[u8]) -> Result<Self, HeError> {
        let (limbs, digits, body) = open(params, Kind::GaloisKeys, bytes)?;
        KeySwitchKey::check(params, limbs, digits)?;
        let short = HeError::Length { what: "the number of Galois keys", expected: 4, found: body.len() };
        let (count, body) = body.split_first_chunk::<4>().ok_or(short)?;
        let count = u32::from_le_bytes(*count) as usize;
        check_count("Galois keys", count, 0, params.n())?;
        let one = 4 + KeySwitchKey::body_len(params);
        check_len("Galois keys", body, count * one)?;
        let mut keys: Vec<(usize, KeySwitchKey)> = Vec::with_capacity(count);
        for bytes in body.chunks_exact(one) {
            let (exponent, key) = bytes.split_first_chunk::<4>().expect("a chunk begins with an exponent");
            let exponent = u32::from_le_bytes(*exponent) as usize;
            let grows = keys.last().is_none_or(|(last, _)| *last < exponent);
            if exponent.is_multiple_of(2) || exponent >= 2 * params.n() || !grows {
                return Err(HeError::Exponent { exponent, n: params.n() });
            }
            keys.push((exponent, KeySwitchKey::read(params, key)?));
        }
        Ok(Self::from_keys(params, keys))
    }
}

impl SecretKey {
    /// The key for its owner's safe, wiped on drop: **secret**.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let params = self.params();
        let table = &params.tables()[0];
        let coefficients = self.values().limb(0).duplicate().into_coeff(table);
        // 0, 1, q - 1 to 0, 1, 2 without branches.
        let digit = |&c: &u64| table.modulus().center(c) as u64 & 3;
        let digits =
            Zeroizing::new(coefficients.coefficients().iter().map(digit).map(fold).collect::<Vec<_>>());
        let mut bytes = Zeroizing::new(header(params, Kind::SecretKey, 1, 1));
        // All room at once: growing would leave copies behind.
        let packed = Zeroizing::new(pack(&digits, 2));
        bytes.reserve_exact(packed.len());
        bytes.extend_from_slice(&packed);
        bytes
    }

    /// Reads what [`SecretKey::to_bytes`] wrote.
    ///
    /// # Errors
    /// As [`Ciphertext::from_bytes`], and [`HeError::DegenerateKey`] for a key that is zero.
    pub fn from_bytes(params: &RlweParams, bytes: &[u8]) -> Result<Self, HeError> {
        let (limbs, parts, body) = open(params, Kind::SecretKey, bytes)?;
        check_count("the limbs of a secret key", limbs, 1, 1)?;
        check_count("the parts of a secret key", parts, 1, 1)?;
        check_len("a secret key", body, params.n() / 4)?;
        let digits = Zeroizing::new(unpack(body, params.n(), 2)?);
        let wrong = digits.iter().fold(0, |wrong, digit| wrong | (digit >> 1 & digit));
        if wrong != 0 {
            let index = digits.iter().position(|&digit| digit == 3).unwrap_or(0);
            return Err(HeError::OutOfRange { what: "a coefficient of a secret key", index, bound: 3 });
        }
        if digits.iter().fold(0, |any, digit| any | digit) == 0 {
            return Err(HeError::DegenerateKey);
        }
        // 0, 1, 2 to 0, 1, -1.
        let small: Zeroizing<Vec<i64>> =
            Zeroizing::new(digits.iter().map(|&d| (d & 1) as i64 - (d >> 1) as i64).collect());
        Ok(Self::from_values(params, RnsPoly::from_small(params, &small).into_ntt(params)))
    }
}

/// 3, which is -1 modulo 4, to 2.
fn fold(digit: u64) -> u64 {
    digit ^ (digit >> 1 & digit)
}
