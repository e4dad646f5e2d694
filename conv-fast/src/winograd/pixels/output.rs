//! From sums at sixteen positions to elements of the ring.
//!
//! Aᵀ Y A of four tiles is four vectors of [tile][digit], 32 bits each, one for each output of a tile. The two of a row interleave
//! by 64 bits: digits 0 and 1 of eight neighbouring outputs, and digits 2 and 3. Of each, low + high·2^13 is a 64-bit
//! integer; these are added over the blocks of channels. With L and H the totals,
//!
//! ```text
//! element = L + H·2^26 − k·q,    k = L/q + H·2^26/q to the nearest, in double precision
//! ```
//!
//! Σ|w| < 2^26 keeps L and H below 2^52 and k, for q > 2^32, below 2^46, so k is off by less than 1/2 + 1/16; what is left
//! lies within 0.57·q, below 2^51, and is computed modulo 2^52.

use super::input::Rows;
use super::products::SUMS_STEP;
use super::{BITS, OUTPUTS, POSITIONS, STEP, VECTORS, WIDTH};
use crate::Ring;
use crate::word::avx512::{store, store_some};
use std::arch::x86_64::*;
use std::ops::Range;

/// Words of the totals of eight outputs of [`VECTORS`] vectors.
pub(super) fn totals_len() -> usize {
    OUTPUTS * VECTORS * 4 * WIDTH
}

/// Whether a block of channels is the first, and the last.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    pub(super) first: bool,
    pub(super) last: bool,
}

/// Constants of a ring.
#[derive(Clone, Copy)]
pub(super) struct Finish {
    /// Zero for powers of two.
    q: u64,
    /// 1/q and 2^26/q.
    factors: [f64; 2],
    /// The element's bits.
    mask: u64,
}

impl Finish {
    pub(super) fn new(ring: &Ring) -> Self {
        match ring {
            Ring::Prime(modulus) => {
                let q = modulus.value();
                let factors = [1.0, f64::from(1 << (2 * BITS))].map(|unit| unit / q as f64);
                Self { q, factors, mask: u64::MAX }
            }
            Ring::PowerOfTwo(_) => Self { q: 0, factors: [0.0; 2], mask: ring.greatest() },
        }
    }

    /// Transforms the sums of some of eight outputs at C vectors of tiles, and adds them to the totals; stores elements if the
    /// block is the last.
    ///
    /// # Panics
    /// If a buffer is shorter than it has to be, there are more than eight outputs, or not so many vectors.
    ///
    /// # Safety
    /// The machine has AVX-512 F, DQ, VL and IFMA; `out` points to the output of the image that `rows` are of, and nobody else
    /// writes these rows of these outputs.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    pub(super) unsafe fn outputs<const C: usize>(
        &self,
        sums: &[i32],
        totals: &mut [i32],
        ends: Ends,
        rows: &Rows<'_>,
        first: usize,
        outputs: Range<usize>,
        out: *mut u64,
    ) {
        assert!(sums.len() >= POSITIONS * SUMS_STEP, "sums");
        assert!(totals.len() >= OUTPUTS * C * 4 * WIDTH, "totals");
        assert!(outputs.len() <= OUTPUTS && first + C <= rows.vectors(), "outputs and vectors");
        let [height, width] = rows.out;
        let places: [[usize; 2]; C] = std::array::from_fn(|vector| rows.place(first + vector));
        for (number, output) in outputs.enumerate() {
            for (vector, &[row, column]) in places.iter().enumerate() {
                let at = number * C + vector;
                let mask = ((1u32 << (width - column).min(STEP)) - 1) as u8;
                let to = out.wrapping_add((output * height + row) * width + column);
                // SAFETY: within the buffers, by the assertions; rows and columns that are stored are in the image.
                unsafe {
                    let [upper, lower] = transform(sums.as_ptr().add(at * WIDTH));
                    let total = totals.as_mut_ptr().add(at * 4 * WIDTH);
                    let mask_below = if row + 1 < height { mask } else { 0 };
                    self.row(upper, total, ends, (to, mask));
                    self.row(lower, total.add(2 * WIDTH), ends, (to.wrapping_add(width), mask_below));
                }
            }
        }
    }

    /// Adds eight outputs to their totals; stores those that the mask names if the block is the last.
    ///
    /// # Safety
    /// As [`Finish::outputs`]; `total` points to two lines, and `to` to the outputs that the mask names.
    #[inline(always)]
    unsafe fn row(
        &self,
        [mut low, mut high]: [__m512i; 2],
        total: *mut i32,
        ends: Ends,
        (to, mask): (*mut u64, u8),
    ) {
        // SAFETY: by the caller's promise.
        unsafe {
            let second = total.add(WIDTH);
            if !ends.first {
                low = _mm512_add_epi64(low, _mm512_load_si512(total.cast()));
                high = _mm512_add_epi64(high, _mm512_load_si512(second.cast()));
            }
            if !ends.last {
                _mm512_store_si512(total.cast(), low);
                _mm512_store_si512(second.cast(), high);
            } else if mask == u8::MAX {
                store(to, self.element(low, high));
            } else {
                store_some(mask, to, self.element(low, high));
            }
        }
    }

    /// Lower and upper digits of eight values to elements.
    ///
    /// # Safety
    /// The machine has AVX-512 F, DQ and IFMA.
    #[inline(always)]
    unsafe fn element(&self, low: __m512i, high: __m512i) -> __m512i {
        const UP: u32 = 2 * BITS;
        // SAFETY: arithmetic on registers.
        unsafe {
            let value = _mm512_add_epi64(low, _mm512_slli_epi64::<UP>(high));
            if self.q == 0 {
                return _mm512_and_si512(value, _mm512_set1_epi64(self.mask as i64));
            }
            let q = _mm512_set1_epi64(self.q as i64);
            let [one, two] = [_mm512_set1_pd(self.factors[0]), _mm512_set1_pd(self.factors[1])];
            let quotient = _mm512_mul_pd(_mm512_cvtepi64_pd(high), two);
            let quotient = _mm512_cvtpd_epi64(_mm512_fmadd_pd(_mm512_cvtepi64_pd(low), one, quotient));
            let rest =
                _mm512_madd52lo_epu64(value, quotient, _mm512_set1_epi64(self.q.wrapping_neg() as i64));
            // The low 52 bits, with their sign.
            let rest = _mm512_srai_epi64::<12>(_mm512_slli_epi64::<12>(rest));
            _mm512_min_epu64(rest, _mm512_add_epi64(rest, q))
        }
    }
}

/// Aᵀ Y A of four tiles, by row of outputs: lower and upper digits of eight neighbouring outputs.
///
/// # Safety
/// The machine has AVX-512 F and DQ; `sums` points to sixteen lines, `SUMS_STEP` apart.
#[inline(always)]
unsafe fn transform(sums: *const i32) -> [[__m512i; 2]; 2] {
    // SAFETY: by the caller's promise.
    unsafe {
        let [a, b, c, d] = [column(sums, 0), column(sums, 1), column(sums, 2), column(sums, 3)];
        [outputs(a[0], b[0], c[0], d[0]), outputs(a[1], b[1], c[1], d[1])]
    }
}

/// The rows of Aᵀ over one column of positions.
///
/// # Safety
/// As [`transform`].
#[inline(always)]
unsafe fn column(sums: *const i32, j: usize) -> [__m512i; 2] {
    // SAFETY: four of sixteen lines.
    unsafe {
        let a = _mm512_load_si512(sums.add(j * SUMS_STEP).cast());
        let b = _mm512_load_si512(sums.add((4 + j) * SUMS_STEP).cast());
        let c = _mm512_load_si512(sums.add((8 + j) * SUMS_STEP).cast());
        let d = _mm512_load_si512(sums.add((12 + j) * SUMS_STEP).cast());
        taps(a, b, c, d)
    }
}

/// Aᵀ = ((1, ½, ½, 0), (0, ½, −½, −1)) of four vectors.
///
/// # Safety
/// The machine has AVX-512 F.
#[inline(always)]
unsafe fn taps(a: __m512i, b: __m512i, c: __m512i, d: __m512i) -> [__m512i; 2] {
    // SAFETY: arithmetic on registers.
    unsafe {
        let sum = _mm512_srai_epi32::<1>(_mm512_add_epi32(b, c));
        let difference = _mm512_srai_epi32::<1>(_mm512_sub_epi32(b, c));
        [_mm512_add_epi32(a, sum), _mm512_sub_epi32(difference, d)]
    }
}

/// Eight outputs of a row.
///
/// # Safety
/// The machine has AVX-512 F and DQ.
#[inline(always)]
unsafe fn outputs(a: __m512i, b: __m512i, c: __m512i, d: __m512i) -> [__m512i; 2] {
    // SAFETY: arithmetic on registers.
    unsafe {
        let [even, odd] = taps(a, b, c, d);
        [joined(_mm512_unpacklo_epi64(even, odd)), joined(_mm512_unpackhi_epi64(even, odd))]
    }
}

/// low + high·2^13 of the signed halves of each lane.
///
/// # Safety
/// The machine has AVX-512 F and DQ.
#[inline(always)]
unsafe fn joined(halves: __m512i) -> __m512i {
    // SAFETY: arithmetic on registers.
    unsafe {
        let low = _mm512_mul_epi32(halves, _mm512_set1_epi64(1));
        let high = _mm512_slli_epi64::<BITS>(_mm512_srai_epi64::<32>(halves));
        _mm512_add_epi64(low, high)
    }
}
