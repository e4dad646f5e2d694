//! AES-128 encryption on the widest instructions of the machine.
//!
//! One block cipher serves the whole crate: as a public permutation in [`TweakedHash`](super::TweakedHash) and
//! as a generator under secret seeds. The [`Path`] is chosen once per key, at run time:
//!
//! | path | instructions | blocks per instruction |
//! |---|---|---|
//! | `Vaes512` | VAES on 512-bit vectors, AVX-512F | 4 |
//! | `Vaes256` | VAES on 256-bit vectors, AVX2 | 2 |
//! | `AesNi` | AES-NI, SSE2 | 1 |
//! | `Portable` | the `aes` crate: ARMv8 instructions where there are some, else constant-time bit slicing | |
//!
//! The first three run kernels of [`simd`](super::simd), which take plain round keys ([`RoundKeys`], made by
//! `AESKEYGENASSIST`); the `aes` crate keeps its own form. On every path time depends on the number of blocks
//! only. Blocks are `u128`, little-endian as bytes; counters are 64 bits, the upper half of a counter block is
//! zero.
//!
//! The standard is FIPS 197; all paths are held to its examples and to each other in the tests.

#[cfg(target_arch = "x86_64")]
use super::simd;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use aes::{Aes128Enc, Block};
use zeroize::Zeroize;
#[cfg(target_arch = "x86_64")]
use zeroize::ZeroizeOnDrop;

/// Blocks that go through the `aes` crate in one call.
const BATCH: usize = 64;

/// Which instructions encrypt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    #[cfg(target_arch = "x86_64")]
    Vaes512,
    #[cfg(target_arch = "x86_64")]
    Vaes256,
    #[cfg(target_arch = "x86_64")]
    AesNi,
    Portable,
}

impl Path {
    /// All paths of this architecture, best first.
    const ALL: &[Self] = &[
        #[cfg(target_arch = "x86_64")]
        Self::Vaes512,
        #[cfg(target_arch = "x86_64")]
        Self::Vaes256,
        #[cfg(target_arch = "x86_64")]
        Self::AesNi,
        Self::Portable,
    ];

    /// Whether this machine has the instructions.
    pub(crate) fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Vaes512 => is_x86_feature_detected!("vaes") && is_x86_feature_detected!("avx512f"),
            #[cfg(target_arch = "x86_64")]
            Self::Vaes256 => is_x86_feature_detected!("vaes") && is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Self::AesNi => is_x86_feature_detected!("aes") && is_x86_feature_detected!("sse2"),
            Self::Portable => true,
        }
    }

    /// The paths that this machine has, best first.
    pub(crate) fn available() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(|path| path.is_available())
    }

    /// The best path of this machine.
    pub(crate) fn best() -> Self {
        Self::available().next().unwrap_or(Self::Portable)
    }
}

/// The eleven round keys of AES-128; wiped on drop.
#[cfg(target_arch = "x86_64")]
#[derive(Zeroize, ZeroizeOnDrop)]
#[repr(C, align(16))]
pub(crate) struct RoundKeys(pub(super) [u128; 11]);

#[cfg(target_arch = "x86_64")]
impl RoundKeys {
    /// The keys of a place whose stream is never used.
    pub(crate) const UNUSED: Self = Self([0; 11]);

    /// The key of one round, 0 to 10.
    #[inline(always)]
    pub(crate) fn round(&self, round: usize) -> &u128 {
        &self.0[round]
    }
}

/// One key, ready to encrypt.
pub(crate) enum Cipher {
    /// For the kernels; the path is never `Portable`.
    #[cfg(target_arch = "x86_64")]
    Kernel(Path, RoundKeys),
    /// For the `aes` crate.
    Portable(Box<Aes128Enc>),
}

impl Cipher {
    /// A key on the best path.
    pub(crate) fn new(key: u128) -> Self {
        Self::on(Path::best(), key)
    }

    /// A key on a path that is available.
    pub(crate) fn on(path: Path, key: u128) -> Self {
        match path {
            Path::Portable => Self::Portable(Box::new(portable(key))),
            #[cfg(target_arch = "x86_64")]
            path => Self::Kernel(path, simd::expand_key(key)),
        }
    }

    /// Writes the encryptions of `input`, of the same length.
    pub(crate) fn encrypt(&self, input: &[u128], out: &mut [u128]) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Kernel(path, keys) => simd::encrypt(*path, keys, input, out),
            Self::Portable(cipher) => {
                out.copy_from_slice(input);
                portable_encrypt(cipher, out);
            }
        }
    }

    /// Writes the encryptions of the counters `first`, `first + 1`, ….
    pub(crate) fn counters(&self, first: u64, out: &mut [u128]) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Kernel(path, keys) => simd::counters(*path, keys, first, out),
            Self::Portable(cipher) => portable_counters(cipher, first, out),
        }
    }

    /// Writes `H(input_j, first_tweak + j)`, tweaks modulo 2^64, H as in [`TweakedHash`](super::TweakedHash). One length.
    pub(crate) fn tweaked_hash(&self, first_tweak: u64, input: &[u128], out: &mut [u128]) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Kernel(path, keys) => simd::tweaked_hash(*path, keys, first_tweak, input, out),
            Self::Portable(cipher) => {
                let mut inner = [0u128; BATCH];
                let mut tweak = first_tweak;
                for (input, out) in input.chunks(BATCH).zip(out.chunks_mut(BATCH)) {
                    let inner = &mut inner[..input.len()];
                    inner.copy_from_slice(input);
                    portable_encrypt(cipher, inner);
                    for (out, &image) in out.iter_mut().zip(inner.iter()) {
                        *out = image ^ u128::from(tweak);
                        tweak = tweak.wrapping_add(1);
                    }
                    portable_encrypt(cipher, out);
                    for (out, &image) in out.iter_mut().zip(inner.iter()) {
                        *out ^= image;
                    }
                }
                super::wipe(&mut inner);
            }
        }
    }

    /// Writes `[H(input_j, first_tweak + j), H(input_j ⊕ delta, first_tweak + j)]`. One length.
    pub(crate) fn tweaked_hash_pairs(
        &self,
        first_tweak: u64,
        delta: u128,
        input: &[u128],
        out: &mut [[u128; 2]],
    ) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Kernel(path, keys) => simd::tweaked_hash_pairs(*path, keys, first_tweak, delta, input, out),
            Self::Portable(_) => {
                let mut columns = [0u128; BATCH];
                let mut hashes = [0u128; BATCH];
                let mut first = first_tweak;
                for (input, out) in input.chunks(BATCH).zip(out.chunks_mut(BATCH)) {
                    let (columns, hashes) = (&mut columns[..input.len()], &mut hashes[..input.len()]);
                    for side in 0..2 {
                        let offset = delta & (side as u128).wrapping_neg();
                        for (column, &word) in columns.iter_mut().zip(input) {
                            *column = word ^ offset;
                        }
                        self.tweaked_hash(first, columns, hashes);
                        for (pair, &hash) in out.iter_mut().zip(hashes.iter()) {
                            pair[side] = hash;
                        }
                    }
                    first = first.wrapping_add(BATCH as u64);
                }
                super::wipe(&mut columns);
                super::wipe(&mut hashes);
            }
        }
    }
}

/// A key of the `aes` crate.
pub(crate) fn portable(key: u128) -> Aes128Enc {
    let mut bytes = Array(key.to_le_bytes());
    let cipher = Aes128Enc::new(&bytes);
    bytes.0.zeroize();
    cipher
}

/// Counter blocks through the `aes` crate.
pub(crate) fn portable_counters(cipher: &Aes128Enc, first: u64, out: &mut [u128]) {
    for (word, counter) in out.iter_mut().zip(u128::from(first)..) {
        *word = counter;
    }
    portable_encrypt(cipher, out);
}

/// Blocks in place through the `aes` crate.
fn portable_encrypt(cipher: &Aes128Enc, words: &mut [u128]) {
    let mut blocks = [Block::default(); BATCH];
    for words in words.chunks_mut(BATCH) {
        let blocks = &mut blocks[..words.len()];
        for (block, word) in blocks.iter_mut().zip(words.iter()) {
            *block = Array(word.to_le_bytes());
        }
        cipher.encrypt_blocks(blocks);
        for (block, word) in blocks.iter().zip(words) {
            *word = u128::from_le_bytes(block.0);
        }
    }
    super::wipe(&mut blocks);
}

#[cfg(test)]
mod tests {
    use super::*;
    use aes::Aes128;
    use proptest::prelude::*;

    /// One block through a fresh cipher of the `aes` crate.
    fn slow(key: u128, block: u128) -> u128 {
        let mut cell = Array(block.to_le_bytes());
        Aes128::new(&Array(key.to_le_bytes())).encrypt_block(&mut cell);
        u128::from_le_bytes(cell.0)
    }

    #[test]
    fn key_expansion_and_cipher_of_fips_197() {
        // Appendix A.1: key and the last round key. Appendix C.1: key, plain text, cipher text.
        let key = 0x2b7e_1516_28ae_d2a6_abf7_1588_09cf_4f3c_u128.swap_bytes();
        let last = 0xd014_f9a8_c9ee_2589_e13f_0cc8_b663_0ca6_u128.swap_bytes();
        #[cfg(target_arch = "x86_64")]
        if Path::AesNi.is_available() {
            assert_eq!(simd::expand_key(key).0[0], key);
            assert_eq!(simd::expand_key(key).0[10], last);
        }
        let key = 0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f_u128.swap_bytes();
        let plain = 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff_u128.swap_bytes();
        let expected = 0x69c4_e0d8_6a7b_0430_d8cd_b780_70b4_c55a_u128.swap_bytes();
        assert_eq!(slow(key, plain), expected);
        for path in Path::available() {
            let mut out = [0];
            Cipher::on(path, key).encrypt(&[plain], &mut out);
            assert_eq!(out[0], expected, "{path:?}");
        }
    }

    #[test]
    fn the_best_path_is_named() {
        println!("paths here: {:?}", Path::available().collect::<Vec<_>>());
        assert!(Path::best().is_available());
        assert_eq!(Path::available().last(), Some(Path::Portable));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn every_path_matches_single_blocks(
            key in any::<u128>(),
            delta in any::<u128>(),
            first in prop_oneof![any::<u64>(), (u64::MAX - 80)..=u64::MAX, 0u64..9],
            input in proptest::collection::vec(any::<u128>(), 0..150),
        ) {
            let n = input.len();
            for path in Path::available() {
                let cipher = Cipher::on(path, key);
                let (mut one, mut two, mut stream) = (vec![0; n], vec![[0; 2]; n], vec![0; n]);
                let mut plain = vec![0; n];
                cipher.encrypt(&input, &mut plain);
                cipher.tweaked_hash(first, &input, &mut one);
                cipher.tweaked_hash_pairs(first, delta, &input, &mut two);
                // Counters are 64 bits, and no stream comes near their end.
                let start = first.min(u64::MAX - 200);
                cipher.counters(start, &mut stream);
                for j in 0..n {
                    let tweak = u128::from(first.wrapping_add(j as u64));
                    let hash = |x: u128| {
                        let image = slow(key, x);
                        slow(key, image ^ tweak) ^ image
                    };
                    prop_assert_eq!(one[j], hash(input[j]), "{:?}, block {} of {}", path, j, n);
                    prop_assert_eq!(two[j], [hash(input[j]), hash(input[j] ^ delta)], "{:?}, block {}", path, j);
                    prop_assert_eq!(plain[j], slow(key, input[j]), "{:?}, block {}", path, j);
                    prop_assert_eq!(stream[j], slow(key, u128::from(start) + j as u128), "{:?}, block {}", path, j);
                }
            }
        }
    }
}
