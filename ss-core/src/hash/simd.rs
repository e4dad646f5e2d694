//! AES kernels for x86-64: key expansion, counters, the tweaked hash, at three vector widths.
//!
//! The kernels are written once over the trait [`Vector`], some number of 128-bit blocks side by side, and
//! compiled once per width by a function that names its instructions. All of the trait and of the generic
//! code is inlined into that function, so that each becomes straight vector code; eight vectors are in flight
//! at a time, which covers the latency of the AES instructions.
//!
//! | type | path | blocks |
//! |---|---|---|
//! | [`V512`] | `Vaes512` | 4 |
//! | [`V256`] | `Vaes256` | 2 |
//! | [`V128`] | `AesNi` | 1 |
//!
//! The entrances are safe: they check the instructions and the lengths. A rest that does not fill a group of
//! vectors goes through a padded group, so time depends on the number of blocks only. The twin of all of this
//! is the portable path in [`cipher`](super::cipher).
#![expect(unsafe_code, reason = "AES instructions, vector loads and stores")]

use super::cipher::{Path, RoundKeys};
use core::arch::x86_64::*;

/// Vectors in flight.
const WAYS: usize = 8;

/// Blocks of 128 bits side by side in one register.
///
/// # Safety
/// Every method may only run, inlined, in a function with the instructions of the type.
pub(crate) trait Vector: Copy {
    /// Number of blocks.
    const LANES: usize;
    /// Blocks from a place that holds at least `LANES` of them.
    unsafe fn load(from: *const u128) -> Self;
    /// Blocks to a place with room for `LANES` of them.
    unsafe fn store(self, to: *mut u128);
    /// All blocks the same.
    unsafe fn splat(block: &u128) -> Self;
    /// The counter blocks `first`, `first + 1`, …, modulo 2^64.
    unsafe fn counters(first: u64) -> Self;
    unsafe fn xor(self, other: Self) -> Self;
    /// One round of AES.
    unsafe fn round(self, key: Self) -> Self;
    /// The last round of AES.
    unsafe fn last_round(self, key: Self) -> Self;
    /// Stores `[self_0, other_0, self_1, other_1, …]`, 2·`LANES` blocks.
    unsafe fn store_pairs(self, other: Self, to: *mut u128);
}

#[derive(Clone, Copy)]
pub(crate) struct V512(__m512i);

impl Vector for V512 {
    const LANES: usize = 4;
    #[inline(always)]
    unsafe fn load(from: *const u128) -> Self {
        unsafe { Self(_mm512_loadu_si512(from.cast())) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut u128) {
        unsafe { _mm512_storeu_si512(to.cast(), self.0) }
    }
    #[inline(always)]
    unsafe fn splat(block: &u128) -> Self {
        unsafe { Self(_mm512_broadcast_i32x4(_mm_loadu_si128(core::ptr::from_ref(block).cast()))) }
    }
    #[inline(always)]
    unsafe fn counters(first: u64) -> Self {
        let lane = |i: u64| first.wrapping_add(i) as i64;
        unsafe { Self(_mm512_set_epi64(0, lane(3), 0, lane(2), 0, lane(1), 0, lane(0))) }
    }
    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        unsafe { Self(_mm512_xor_si512(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn round(self, key: Self) -> Self {
        unsafe { Self(_mm512_aesenc_epi128(self.0, key.0)) }
    }
    #[inline(always)]
    unsafe fn last_round(self, key: Self) -> Self {
        unsafe { Self(_mm512_aesenclast_epi128(self.0, key.0)) }
    }
    #[inline(always)]
    unsafe fn store_pairs(self, other: Self, to: *mut u128) {
        unsafe {
            let low = _mm512_set_epi64(11, 10, 3, 2, 9, 8, 1, 0);
            let high = _mm512_set_epi64(15, 14, 7, 6, 13, 12, 5, 4);
            _mm512_storeu_si512(to.cast(), _mm512_permutex2var_epi64(self.0, low, other.0));
            _mm512_storeu_si512(to.add(4).cast(), _mm512_permutex2var_epi64(self.0, high, other.0));
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct V256(__m256i);

impl Vector for V256 {
    const LANES: usize = 2;
    #[inline(always)]
    unsafe fn load(from: *const u128) -> Self {
        unsafe { Self(_mm256_loadu_si256(from.cast())) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut u128) {
        unsafe { _mm256_storeu_si256(to.cast(), self.0) }
    }
    #[inline(always)]
    unsafe fn splat(block: &u128) -> Self {
        unsafe { Self(_mm256_broadcastsi128_si256(_mm_loadu_si128(core::ptr::from_ref(block).cast()))) }
    }
    #[inline(always)]
    unsafe fn counters(first: u64) -> Self {
        unsafe { Self(_mm256_set_epi64x(0, first.wrapping_add(1) as i64, 0, first as i64)) }
    }
    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        unsafe { Self(_mm256_xor_si256(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn round(self, key: Self) -> Self {
        unsafe { Self(_mm256_aesenc_epi128(self.0, key.0)) }
    }
    #[inline(always)]
    unsafe fn last_round(self, key: Self) -> Self {
        unsafe { Self(_mm256_aesenclast_epi128(self.0, key.0)) }
    }
    #[inline(always)]
    unsafe fn store_pairs(self, other: Self, to: *mut u128) {
        unsafe {
            _mm256_storeu_si256(to.cast(), _mm256_permute2x128_si256::<0x20>(self.0, other.0));
            _mm256_storeu_si256(to.add(2).cast(), _mm256_permute2x128_si256::<0x31>(self.0, other.0));
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct V128(__m128i);

impl Vector for V128 {
    const LANES: usize = 1;
    #[inline(always)]
    unsafe fn load(from: *const u128) -> Self {
        unsafe { Self(_mm_loadu_si128(from.cast())) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut u128) {
        unsafe { _mm_storeu_si128(to.cast(), self.0) }
    }
    #[inline(always)]
    unsafe fn splat(block: &u128) -> Self {
        unsafe { Self::load(block) }
    }
    #[inline(always)]
    unsafe fn counters(first: u64) -> Self {
        unsafe { Self(_mm_set_epi64x(0, first as i64)) }
    }
    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        unsafe { Self(_mm_xor_si128(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn round(self, key: Self) -> Self {
        unsafe { Self(_mm_aesenc_si128(self.0, key.0)) }
    }
    #[inline(always)]
    unsafe fn last_round(self, key: Self) -> Self {
        unsafe { Self(_mm_aesenclast_si128(self.0, key.0)) }
    }
    #[inline(always)]
    unsafe fn store_pairs(self, other: Self, to: *mut u128) {
        unsafe {
            self.store(to);
            other.store(to.add(1));
        }
    }
}

/// The round keys of a key.
pub(super) fn expand_key(key: u128) -> RoundKeys {
    assert!(Path::AesNi.is_available(), "AES-NI is missing");
    // SAFETY: the instructions are there.
    unsafe { expand(key) }
}

#[target_feature(enable = "aes,sse2")]
fn expand(key: u128) -> RoundKeys {
    let mut keys = RoundKeys([0; 11]);
    // SAFETY: both places hold 16 bytes.
    let mut last = unsafe { V128::load(&key).0 };
    macro_rules! next {
        ($round:literal, $constant:literal) => {
            unsafe { V128(last).store(&mut keys.0[$round - 1]) };
            let mixed = _mm_shuffle_epi32::<0xff>(_mm_aeskeygenassist_si128::<$constant>(last));
            last = _mm_xor_si128(last, _mm_slli_si128::<4>(last));
            last = _mm_xor_si128(last, _mm_slli_si128::<8>(last));
            last = _mm_xor_si128(last, mixed);
        };
    }
    next!(1, 0x01);
    next!(2, 0x02);
    next!(3, 0x04);
    next!(4, 0x08);
    next!(5, 0x10);
    next!(6, 0x20);
    next!(7, 0x40);
    next!(8, 0x80);
    next!(9, 0x1b);
    next!(10, 0x36);
    unsafe { V128(last).store(&mut keys.0[10]) };
    keys
}

/// Compiles a generic kernel once per width and calls the one of the path.
macro_rules! dispatch {
    ($path:expr, $kernel:ident($($name:ident: $type:ty),*)) => {{
        #[target_feature(enable = "avx512f,vaes")]
        fn vaes512($($name: $type),*) {
            // SAFETY: this function has the instructions; the caller checked lengths.
            unsafe { $kernel::<V512>($($name),*) }
        }
        #[target_feature(enable = "avx2,vaes")]
        fn vaes256($($name: $type),*) {
            // SAFETY: as above.
            unsafe { $kernel::<V256>($($name),*) }
        }
        #[target_feature(enable = "aes,sse2")]
        fn aes_ni($($name: $type),*) {
            // SAFETY: as above.
            unsafe { $kernel::<V128>($($name),*) }
        }
        let path = $path;
        assert!(path.is_available() && path != Path::Portable, "the instructions of {path:?} are missing");
        // SAFETY: the instructions are there.
        unsafe {
            match path {
                Path::Vaes512 => vaes512($($name),*),
                Path::Vaes256 => vaes256($($name),*),
                Path::AesNi | Path::Portable => aes_ni($($name),*),
            }
        }
    }};
}
pub(crate) use dispatch;

/// Writes the encryptions of `input`.
pub(super) fn encrypt(path: Path, keys: &RoundKeys, input: &[u128], out: &mut [u128]) {
    assert_eq!(input.len(), out.len(), "one block per block");
    dispatch!(path, encrypt_kernel(keys: &RoundKeys, input: &[u128], out: &mut [u128]));
}

/// Writes the encryptions of the counters from `first` on.
pub(super) fn counters(path: Path, keys: &RoundKeys, first: u64, out: &mut [u128]) {
    dispatch!(path, counters_kernel(keys: &RoundKeys, first: u64, out: &mut [u128]));
}

/// Writes the tweaked hashes of `input`.
pub(super) fn tweaked_hash(path: Path, keys: &RoundKeys, first: u64, input: &[u128], out: &mut [u128]) {
    assert_eq!(input.len(), out.len(), "one hash per block");
    dispatch!(path, hash_kernel(keys: &RoundKeys, first: u64, input: &[u128], out: &mut [u128]));
}

/// Writes the tweaked hashes of `input` and of `input ⊕ delta`.
pub(super) fn tweaked_hash_pairs(
    path: Path,
    keys: &RoundKeys,
    first: u64,
    delta: u128,
    input: &[u128],
    out: &mut [[u128; 2]],
) {
    assert_eq!(input.len(), out.len(), "two hashes per block");
    dispatch!(
        path,
        pairs_kernel(keys: &RoundKeys, first: u64, delta: u128, input: &[u128], out: &mut [[u128; 2]])
    );
}

/// Encrypts `N` vectors in place.
#[inline(always)]
unsafe fn encrypt_vectors<V: Vector, const N: usize>(keys: &[V; 11], blocks: &mut [V; N]) {
    unsafe {
        for block in blocks.iter_mut() {
            *block = block.xor(keys[0]);
        }
        for key in &keys[1..10] {
            for block in blocks.iter_mut() {
                *block = block.round(*key);
            }
        }
        for block in blocks.iter_mut() {
            *block = block.last_round(keys[10]);
        }
    }
}

/// The round keys, one vector each.
#[inline(always)]
unsafe fn splat_keys<V: Vector>(keys: &RoundKeys) -> [V; 11] {
    unsafe {
        let mut vectors = [V::splat(&keys.0[0]); 11];
        for (vector, key) in vectors.iter_mut().zip(&keys.0) {
            *vector = V::splat(key);
        }
        vectors
    }
}

#[inline(always)]
unsafe fn encrypt_kernel<V: Vector>(keys: &RoundKeys, input: &[u128], out: &mut [u128]) {
    unsafe {
        let keys = splat_keys::<V>(keys);
        let group = WAYS * V::LANES;
        for (input, out) in input.chunks(group).zip(out.chunks_mut(group)) {
            let mut rest = [0u128; WAYS * 4];
            let full = input.len() == group;
            if !full {
                rest[..input.len()].copy_from_slice(input);
            }
            let from = if full { input.as_ptr() } else { rest.as_ptr() };
            let mut blocks = [keys[0]; WAYS];
            for (w, block) in blocks.iter_mut().enumerate() {
                *block = V::load(from.add(w * V::LANES));
            }
            encrypt_vectors(&keys, &mut blocks);
            let to = if full { out.as_mut_ptr() } else { rest.as_mut_ptr() };
            for (w, block) in blocks.iter().enumerate() {
                block.store(to.add(w * V::LANES));
            }
            if !full {
                out.copy_from_slice(&rest[..out.len()]);
                super::wipe(&mut rest);
            }
        }
    }
}

#[inline(always)]
unsafe fn counters_kernel<V: Vector>(keys: &RoundKeys, first: u64, out: &mut [u128]) {
    unsafe {
        let keys = splat_keys::<V>(keys);
        let mut next = first;
        for out in out.chunks_mut(WAYS * V::LANES) {
            let mut blocks = [keys[0]; WAYS];
            for block in &mut blocks {
                *block = V::counters(next);
                next = next.wrapping_add(V::LANES as u64);
            }
            encrypt_vectors(&keys, &mut blocks);
            if out.len() == WAYS * V::LANES {
                for (w, block) in blocks.iter().enumerate() {
                    block.store(out.as_mut_ptr().add(w * V::LANES));
                }
            } else {
                let mut rest = [0u128; WAYS * 4];
                for (w, block) in blocks.iter().enumerate() {
                    block.store(rest.as_mut_ptr().add(w * V::LANES));
                }
                out.copy_from_slice(&rest[..out.len()]);
                super::wipe(&mut rest);
            }
        }
    }
}

#[inline(always)]
unsafe fn hash_kernel<V: Vector>(keys: &RoundKeys, first: u64, input: &[u128], out: &mut [u128]) {
    unsafe {
        let keys = splat_keys::<V>(keys);
        let group = WAYS * V::LANES;
        let starts = (0..).map(|g: u64| first.wrapping_add(g.wrapping_mul(group as u64)));
        for ((input, out), first) in input.chunks(group).zip(out.chunks_mut(group)).zip(starts) {
            if input.len() == group {
                hash_group(&keys, first, input.as_ptr(), out.as_mut_ptr());
            } else {
                let mut rest = [0u128; WAYS * 4];
                rest[..input.len()].copy_from_slice(input);
                let place = rest.as_mut_ptr();
                hash_group(&keys, first, place, place);
                out.copy_from_slice(&rest[..out.len()]);
                super::wipe(&mut rest);
            }
        }
    }
}

/// The hashes of one full group.
#[inline(always)]
unsafe fn hash_group<V: Vector>(keys: &[V; 11], first: u64, input: *const u128, out: *mut u128) {
    unsafe {
        let mut images = [keys[0]; WAYS];
        for (w, image) in images.iter_mut().enumerate() {
            *image = V::load(input.add(w * V::LANES));
        }
        let hashes = hash_vectors(keys, first, &mut images);
        for (w, hash) in hashes.iter().enumerate() {
            hash.store(out.add(w * V::LANES));
        }
    }
}

/// The hashes of consecutive vectors, which become their images under π.
#[inline(always)]
unsafe fn hash_vectors<V: Vector, const N: usize>(keys: &[V; 11], first: u64, images: &mut [V; N]) -> [V; N] {
    unsafe {
        encrypt_vectors(keys, images);
        let mut hashes = *images;
        for (w, hash) in hashes.iter_mut().enumerate() {
            *hash = hash.xor(V::counters(first.wrapping_add((w * V::LANES) as u64)));
        }
        encrypt_vectors(keys, &mut hashes);
        for (hash, image) in hashes.iter_mut().zip(images.iter()) {
            *hash = hash.xor(*image);
        }
        hashes
    }
}

#[inline(always)]
unsafe fn pairs_kernel<V: Vector>(
    keys: &RoundKeys,
    first: u64,
    delta: u128,
    input: &[u128],
    out: &mut [[u128; 2]],
) {
    unsafe {
        let keys = splat_keys::<V>(keys);
        let delta = V::splat(&delta);
        let group = WAYS * V::LANES;
        let starts = (0..).map(|g: u64| first.wrapping_add(g.wrapping_mul(group as u64)));
        for ((input, out), first) in input.chunks(group).zip(out.chunks_mut(group)).zip(starts) {
            if input.len() == group {
                pairs_group(&keys, first, delta, input.as_ptr(), out.as_mut_ptr().cast());
            } else {
                let (mut rest, mut pairs) = ([0u128; WAYS * 4], [[0u128; 2]; WAYS * 4]);
                rest[..input.len()].copy_from_slice(input);
                pairs_group(&keys, first, delta, rest.as_ptr(), pairs.as_mut_ptr().cast());
                out.copy_from_slice(&pairs[..out.len()]);
                super::wipe(&mut rest);
                super::wipe(&mut pairs);
            }
        }
    }
}

/// Both hashes of one full group.
#[inline(always)]
unsafe fn pairs_group<V: Vector>(keys: &[V; 11], first: u64, delta: V, input: *const u128, out: *mut u128) {
    unsafe {
        let mut zeros = [delta; WAYS];
        for (w, zero) in zeros.iter_mut().enumerate() {
            *zero = V::load(input.add(w * V::LANES));
        }
        let mut ones = zeros;
        for one in &mut ones {
            *one = one.xor(delta);
        }
        let zeros = hash_vectors(keys, first, &mut zeros);
        let ones = hash_vectors(keys, first, &mut ones);
        for (w, (zero, one)) in zeros.iter().zip(&ones).enumerate() {
            zero.store_pairs(*one, out.add(2 * w * V::LANES));
        }
    }
}
