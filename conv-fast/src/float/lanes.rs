//! Vectors of floating-point numbers, one type per instruction set.
//!
//! [`Lanes`] is what the algorithms are written in: load, store, multiply-add, and the register tile of the matrix
//! product. [`Numbers`] names the vector types of f32 and f64; [`dispatch`] picks one for a [`Kernel`] and compiles the
//! work for it.
//!
//! All methods are `unsafe` for one reason: the machine must have the instruction set of the type. They are inlined into
//! functions compiled for that set, which [`dispatch`] calls after asking whether the machine has it.
//!
//! The portable vectors multiply and add with two roundings, all others with one (fused): results of different kernels
//! differ in the last places, results of one kernel never do.

#![expect(unsafe_code, reason = "vectors of instruction sets that were found")]

use crate::Kernel;
use std::fmt::Debug;
use std::ops::{Add, Mul, Sub};

/// A real number of the machine: its arithmetic and its vector types. Not for implementing elsewhere.
pub trait Numbers:
    Copy
    + Default
    + Debug
    + PartialEq
    + PartialOrd
    + Send
    + Sync
    + 'static
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
{
    /// Numbers in 64 bytes, the output channels of one block.
    const BLOCK: usize;
    /// Vectors of plain Rust.
    type Portable: Lanes<Number = Self>;
    /// 256-bit vectors.
    #[cfg(target_arch = "x86_64")]
    type Avx2: Lanes<Number = Self>;
    /// 512-bit vectors.
    #[cfg(target_arch = "x86_64")]
    type Avx512: Lanes<Number = Self>;
    /// 128-bit vectors.
    #[cfg(target_arch = "aarch64")]
    type Neon: Lanes<Number = Self>;

    /// The nearest number.
    fn from_f64(value: f64) -> Self;
    /// The same number.
    fn to_f64(self) -> f64;
    /// Neither infinite nor NaN.
    fn is_finite(self) -> bool;
}

/// Operands of one register tile: `pixels.len()` × `blocks` blocks of sums, each the sum over k of a weight and the number
/// at `pixel + offsets[k]`.
#[derive(Clone, Copy)]
pub struct Operands<'a, T> {
    /// `[k][blocks·BLOCK]` weights.
    pub weights: *const T,
    /// Where k lies from a pixel, in elements.
    pub offsets: &'a [usize],
    /// The pixels.
    pub pixels: &'a [*const T],
    /// `[pixel][blocks·BLOCK]` sums.
    pub sums: *mut T,
    /// Whether the sums start from zero, not from what `sums` holds.
    pub fresh: bool,
}

/// One vector.
pub trait Lanes: Copy + 'static {
    /// Its elements.
    type Number: Numbers;
    /// How many.
    const LEN: usize;
    /// Register tiles: pixels at a time for one, two, ... blocks of output channels. The length is the most blocks.
    const TILES: &'static [usize];

    /// All lanes equal.
    ///
    /// # Safety
    /// The machine has the instruction set.
    unsafe fn splat(value: Self::Number) -> Self;
    /// Loads `LEN` numbers, aligned or not.
    ///
    /// # Safety
    /// As [`Lanes::splat`], and they can be read.
    unsafe fn load(from: *const Self::Number) -> Self;
    /// Loads `count` ≤ `LEN` numbers; the other lanes are zero.
    ///
    /// # Safety
    /// As [`Lanes::load`] for the numbers it loads.
    #[inline(always)]
    unsafe fn load_some(from: *const Self::Number, count: usize) -> Self {
        let mut numbers = [Self::Number::default(); 16];
        // SAFETY: the caller's promises; no vector has more than sixteen lanes.
        unsafe {
            for (i, number) in numbers.iter_mut().enumerate().take(count.min(Self::LEN)) {
                *number = *from.add(i);
            }
            Self::load(numbers.as_ptr())
        }
    }
    /// Stores the first `count` ≤ `LEN` numbers.
    ///
    /// # Safety
    /// As [`Lanes::store`] for the numbers it stores.
    #[inline(always)]
    unsafe fn store_some(self, to: *mut Self::Number, count: usize) {
        let mut numbers = [Self::Number::default(); 16];
        // SAFETY: the caller's promises; no vector has more than sixteen lanes.
        unsafe {
            self.store(numbers.as_mut_ptr());
            for (i, number) in numbers.iter().enumerate().take(count.min(Self::LEN)) {
                *to.add(i) = *number;
            }
        }
    }
    /// Stores `LEN` numbers, aligned or not.
    ///
    /// # Safety
    /// As [`Lanes::splat`], and they can be written.
    unsafe fn store(self, to: *mut Self::Number);
    /// Sum.
    ///
    /// # Safety
    /// As [`Lanes::splat`].
    unsafe fn add(self, other: Self) -> Self;
    /// Difference.
    ///
    /// # Safety
    /// As [`Lanes::splat`].
    unsafe fn sub(self, other: Self) -> Self;
    /// Product.
    ///
    /// # Safety
    /// As [`Lanes::splat`].
    unsafe fn mul(self, other: Self) -> Self;
    /// self·factor + sum.
    ///
    /// # Safety
    /// As [`Lanes::splat`].
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self;

    /// The numbers of even and of odd index of two vectors in a row.
    ///
    /// # Safety
    /// As [`Lanes::splat`].
    #[inline(always)]
    unsafe fn halves(first: Self, second: Self) -> [Self; 2] {
        let mut numbers = [Self::Number::default(); 32];
        let mut parts = [[Self::Number::default(); 16]; 2];
        // SAFETY: no vector has more than sixteen lanes.
        unsafe {
            first.store(numbers.as_mut_ptr());
            second.store(numbers[Self::LEN..].as_mut_ptr());
            for i in 0..Self::LEN {
                (parts[0][i], parts[1][i]) = (numbers[2 * i], numbers[2 * i + 1]);
            }
            [Self::load(parts[0].as_ptr()), Self::load(parts[1].as_ptr())]
        }
    }

    /// Transposes a square: `LEN` rows of `LEN` numbers, from rows `from_step` apart to rows `to_step` apart.
    ///
    /// # Safety
    /// As [`Lanes::splat`]; the rows can be read and written, and do not overlap.
    #[inline(always)]
    unsafe fn transpose(from: *const Self::Number, from_step: usize, to: *mut Self::Number, to_step: usize) {
        for row in 0..Self::LEN {
            for column in 0..Self::LEN {
                // SAFETY: inside both squares.
                unsafe { *to.add(column * to_step + row) = *from.add(row * from_step + column) };
            }
        }
    }

    /// Computes a register tile. `operands.pixels` has a length out of [`tile_pixels`].
    ///
    /// # Safety
    /// As [`Lanes::splat`], and every pointer reaches as far as [`Operands`] says.
    unsafe fn tile(blocks: usize, operands: Operands<'_, Self::Number>);
}

/// Pixels of the next register tile where `left` are left: the full tile, or four, two or one.
#[inline(always)]
pub(crate) fn tile_pixels<L: Lanes>(blocks: usize, left: usize) -> usize {
    let full = L::TILES[blocks - 1];
    match left {
        1 => 1,
        2 => 2,
        3 | 4 if full > 4 => 4,
        _ => full,
    }
}

/// N vectors that start `step` apart. (Not `array::from_fn`: its closures are compiled without the instruction set.)
///
/// # Safety
/// As [`Lanes::load`].
#[inline(always)]
pub(crate) unsafe fn loads<L: Lanes, const N: usize>(from: *const L::Number, step: usize) -> [L; N] {
    // SAFETY: the caller's promises.
    unsafe {
        let mut all = [L::splat(L::Number::default()); N];
        for (i, vector) in all.iter_mut().enumerate() {
            *vector = L::load(from.add(i * step));
        }
        all
    }
}

/// Stores N vectors `step` apart.
///
/// # Safety
/// As [`Lanes::store`].
#[inline(always)]
pub(crate) unsafe fn stores<L: Lanes, const N: usize>(vectors: &[L; N], to: *mut L::Number, step: usize) {
    for (i, vector) in vectors.iter().enumerate() {
        // SAFETY: the caller's promises.
        unsafe { vector.store(to.add(i * step)) };
    }
}

/// The register tile of V vectors and P pixels: V·P vectors of sums live in registers.
///
/// # Safety
/// As [`Lanes::tile`], with P pixels and V·LEN output channels.
#[inline(always)]
pub(crate) unsafe fn tile<L: Lanes, const V: usize, const P: usize>(operands: Operands<'_, L::Number>) {
    let Operands { weights, offsets, pixels, sums, fresh } = operands;
    assert!(pixels.len() == P, "pixels of a tile");
    let mut starts = [weights; P];
    starts.copy_from_slice(pixels);
    // SAFETY: the caller's promises: weights for every k, numbers at every offset, V·P vectors of sums.
    unsafe {
        let mut acc = [[L::splat(L::Number::default()); V]; P];
        if !fresh {
            for (p, acc) in acc.iter_mut().enumerate() {
                *acc = loads::<L, V>(sums.add(p * V * L::LEN), L::LEN);
            }
        }
        let mut weights = weights;
        for &offset in offsets {
            let row = loads::<L, V>(weights, L::LEN);
            for p in 0..P {
                let value = L::splat(*starts[p].add(offset));
                for v in 0..V {
                    acc[p][v] = row[v].mul_add(value, acc[p][v]);
                }
            }
            weights = weights.add(V * L::LEN);
        }
        for (p, acc) in acc.iter().enumerate() {
            for (v, acc) in acc.iter().enumerate() {
                acc.store(sums.add((p * V + v) * L::LEN));
            }
        }
    }
}

/// Implements [`Lanes::tile`] by the instances that a vector type's `TILES` asks for: (blocks, vectors, pixels of the full
/// tile, pixels of smaller ones as [`tile_pixels`] asks for).
macro_rules! tiles {
    ($(($blocks:literal, $vectors:literal, $pixels:literal $(, $fewer:literal)*)),+) => {
        const TILES: &'static [usize] = &[$($pixels),+];

        #[inline(always)]
        unsafe fn tile(blocks: usize, operands: $crate::float::lanes::Operands<'_, Self::Number>) {
            use $crate::float::lanes::tile;
            // SAFETY: as this function's.
            unsafe {
                match (blocks, operands.pixels.len()) {
                    $(
                        ($blocks, $pixels) => tile::<Self, $vectors, $pixels>(operands),
                        $(($blocks, $fewer) => tile::<Self, $vectors, $fewer>(operands),)*
                    )+
                    (blocks, pixels) => panic!("no tile of {blocks} blocks and {pixels} pixels"),
                }
            }
        }
    };
}
pub(crate) use tiles;

/// Straight-line code: the block once for each number, as a constant. (The compiler leaves longer loops as
/// loops, with vectors in memory and constants looked up at run time.)
macro_rules! repeat {
    ($name:ident in $($number:literal)+ $block:block) => {
        $({
            const $name: usize = $number;
            $block
        })+
    };
}
pub(crate) use repeat;

/// Work written in [`Lanes`]. `run` and all it calls should be `#[inline(always)]`.
pub(crate) trait Job<T: Numbers> {
    /// Does the work.
    ///
    /// # Safety
    /// The machine has the instruction set of L.
    unsafe fn run<L: Lanes<Number = T>>(self);
}

/// Runs a job with the vectors of a kernel, compiled for its instruction set alone.
///
/// # Panics
/// If the machine lacks the kernel.
pub(crate) fn dispatch<T: Numbers, J: Job<T>>(kernel: Kernel, job: J) {
    assert!(kernel.is_available(), "this machine has no {kernel:?}");
    // SAFETY: the features of the kernel were found just above; portable vectors need none.
    unsafe {
        match kernel {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => avx512(job),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => avx2(job),
            #[cfg(target_arch = "aarch64")]
            Kernel::Neon => job.run::<T::Neon>(),
            _ => job.run::<T::Portable>(),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn avx512<T: Numbers, J: Job<T>>(job: J) {
    // SAFETY: the caller's promise.
    unsafe { job.run::<T::Avx512>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<T: Numbers, J: Job<T>>(job: J) {
    // SAFETY: the caller's promise.
    unsafe { job.run::<T::Avx2>() }
}

/// The most blocks of output channels in one register tile of a kernel.
pub(crate) fn most_blocks<T: Numbers>(kernel: Kernel) -> usize {
    match kernel {
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx512 => T::Avx512::TILES.len(),
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx2 => T::Avx2::TILES.len(),
        #[cfg(target_arch = "aarch64")]
        Kernel::Neon => T::Neon::TILES.len(),
        _ => T::Portable::TILES.len(),
    }
}

macro_rules! portable {
    ($number:ty, $len:literal) => {
        impl Lanes for [$number; $len] {
            type Number = $number;
            const LEN: usize = $len;
            tiles!((1, 4, 2, 1));

            #[inline(always)]
            unsafe fn splat(value: $number) -> Self {
                [value; $len]
            }
            #[inline(always)]
            unsafe fn load(from: *const $number) -> Self {
                // SAFETY: the caller's promise.
                unsafe { from.cast::<Self>().read_unaligned() }
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $number) {
                // SAFETY: the caller's promise.
                unsafe { to.cast::<Self>().write_unaligned(self) }
            }
            #[inline(always)]
            unsafe fn add(mut self, other: Self) -> Self {
                for lane in 0..$len {
                    self[lane] += other[lane];
                }
                self
            }
            #[inline(always)]
            unsafe fn sub(mut self, other: Self) -> Self {
                for lane in 0..$len {
                    self[lane] -= other[lane];
                }
                self
            }
            #[inline(always)]
            unsafe fn mul(mut self, other: Self) -> Self {
                for lane in 0..$len {
                    self[lane] *= other[lane];
                }
                self
            }
            #[inline(always)]
            unsafe fn mul_add(mut self, factor: Self, sum: Self) -> Self {
                for lane in 0..$len {
                    self[lane] = self[lane] * factor[lane] + sum[lane];
                }
                self
            }
        }
    };
}
portable!(f32, 4);
portable!(f64, 2);

macro_rules! numbers {
    ($number:ty, $block:literal, $portable:literal, $avx2:ident, $avx512:ident, $neon:ident) => {
        impl Numbers for $number {
            const BLOCK: usize = $block;
            type Portable = [$number; $portable];
            #[cfg(target_arch = "x86_64")]
            type Avx2 = std::arch::x86_64::$avx2;
            #[cfg(target_arch = "x86_64")]
            type Avx512 = std::arch::x86_64::$avx512;
            #[cfg(target_arch = "aarch64")]
            type Neon = std::arch::aarch64::$neon;

            fn from_f64(value: f64) -> Self {
                value as $number
            }
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            fn is_finite(self) -> bool {
                self.is_finite()
            }
        }
    };
}
numbers!(f32, 16, 4, __m256, __m512, float32x4_t);
numbers!(f64, 8, 2, __m256d, __m512d, float64x2_t);
