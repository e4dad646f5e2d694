//! From sums back to elements: `scale·(Σ_j 2^(s_j)·sum_j − bias·Σx)`, with one quotient for all parts.
//!
//! Modulo q the result is Σ_i c_i·p_i for constants 0 ≤ c_i < q and parts p_i: the sums themselves, or, where a sum is
//! too long, its low 31 bits and the others. The quotient of that by q is estimated in double precision, as
//! e = Σ_i p_i·(c_i/q) rounded to an integer (by adding 1.5·2^52, whose low mantissa bits are then the integer), and
//! Σ_i c_i·p_i − e·q needs only the low 64 bits of its terms. A sum is cut unless |sum|·c/q ≤ 2^46, and of at most six
//! parts every other one is below 2^31 in quotients; so Σ|p_i|·c_i/q < 2^48. Conversions, the constants c_i/q, products and
//! additions are off by 2^-53 each, relatively, eight of them at most in any term: e is off by less than 2^48·2^-50
//! before it is rounded, so that the remainder lies in (−q, q).
//!
//! Sums stay below min(2^62, 2^50·q) − 8q in absolute value, which is what [`Decoder::new`] sizes `chunk` for. The
//! correction bias·Σx is an element of the ring and taken from the first sum.
//!
//! Without conversions of 64-bit integers (AVX2, portable), a part is converted by the same addition, which needs
//! |p| < 2^51, so that more sums are cut.

use super::form::{Choice, Form};
use crate::Ring;
use crate::kernel::Kernel;
use crate::lanes::{LANES, LaneRing, PowerLanes, PrimeLanes, Signed, Words};
use crate::layout::transpose;

/// 1.5·2^52: a number of this size has integers for its last bits.
const MAGIC: f64 = 6_755_399_441_055_744.0;
/// Words that one lane adds before a fold: 2^9 of 52 bits.
const PIECE: usize = 512;

type Floats = [f64; LANES];

/// The arithmetic of the last step.
pub(super) trait Last: Copy {
    /// Whether this is for AVX-512 (so that other tiles need not be compiled for it, nor this one's for others).
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "for registers of 512 bits"))]
    const WIDE: bool;
    type Lanes: LaneRing;
    /// For the folds on the way.
    fn lanes(self) -> Self::Lanes;
    /// An integer of the size that [`Decoder`] allows.
    fn float(self, x: Signed) -> Floats;
    /// value − round(quotient)·q, as an element.
    fn remainder(self, value: Signed, quotient: Floats) -> Words;
}

/// Z_q.
#[derive(Clone, Copy)]
pub(super) struct PrimeLast<const WIDE: bool> {
    q: i64,
    /// q times the bits of `MAGIC`, wrapping.
    offset: i64,
    lanes: PrimeLanes,
}

impl<const WIDE: bool> PrimeLast<WIDE> {
    pub(super) fn new(q: u64) -> Self {
        let offset = (MAGIC.to_bits() as i64).wrapping_mul(q as i64);
        Self { q: q as i64, offset, lanes: PrimeLanes::new(q) }
    }
}

impl<const WIDE: bool> Last for PrimeLast<WIDE> {
    const WIDE: bool = WIDE;
    type Lanes = PrimeLanes;

    #[inline(always)]
    fn lanes(self) -> PrimeLanes {
        self.lanes
    }

    #[inline(always)]
    fn float(self, x: Signed) -> Floats {
        if WIDE {
            x.map(|x| x as f64)
        } else {
            x.map(|x| f64::from_bits(MAGIC.to_bits().wrapping_add(x as u64)) - MAGIC)
        }
    }

    #[inline(always)]
    fn remainder(self, value: Signed, quotient: Floats) -> Words {
        std::array::from_fn(|lane| {
            let bits = (quotient[lane] + MAGIC).to_bits() as i64;
            let rest = value[lane].wrapping_sub(bits.wrapping_mul(self.q).wrapping_sub(self.offset)) as u64;
            // A negative one is huge, and not the lesser.
            rest.min(rest.wrapping_add(self.q as u64))
        })
    }
}

/// Z_2^k.
#[derive(Clone, Copy)]
pub(super) struct PowerLast<const WIDE: bool> {
    mask: u64,
    lanes: PowerLanes,
}

impl<const WIDE: bool> PowerLast<WIDE> {
    pub(super) fn new(bits: u32) -> Self {
        Self { mask: u64::MAX >> (64 - bits), lanes: PowerLanes::new(bits) }
    }
}

impl<const WIDE: bool> Last for PowerLast<WIDE> {
    const WIDE: bool = WIDE;
    type Lanes = PowerLanes;

    #[inline(always)]
    fn lanes(self) -> PowerLanes {
        self.lanes
    }

    #[inline(always)]
    fn float(self, _: Signed) -> Floats {
        [0.0; LANES]
    }

    #[inline(always)]
    fn remainder(self, value: Signed, _: Floats) -> Words {
        value.map(|word| word as u64 & self.mask)
    }
}

/// A constant c and c/q.
#[derive(Clone, Copy)]
struct Factor {
    value: i64,
    ratio: f64,
}

impl Factor {
    fn new(ring: &Ring, value: u64) -> Self {
        let ratio = match ring {
            Ring::Prime(modulus) => value as f64 / modulus.value() as f64,
            Ring::PowerOfTwo(_) => 0.0,
        };
        Self { value: value as i64, ratio }
    }
}

/// One sum's way into the result.
#[derive(Clone, Copy)]
struct Part {
    factor: Factor,
    /// Whether the sum is cut, and then the factor of sum >> 31.
    cut: bool,
    upper: Factor,
}

impl Part {
    /// coefficient·sum for sums of at most `bound`.
    fn new(ring: &Ring, kernel: Kernel, coefficient: u64, bound: u128) -> Self {
        let cut = match ring {
            Ring::Prime(modulus) => {
                let quotient = bound * u128::from(coefficient) / u128::from(modulus.value());
                quotient > 1 << 46 || (kernel != Kernel::Avx512 && bound >= 1 << 51)
            }
            Ring::PowerOfTwo(_) => false,
        };
        let upper = Factor::new(ring, ring.mul(coefficient, ring.from_i64(1 << 31)));
        Self { factor: Factor::new(ring, coefficient), cut, upper }
    }

    /// Adds coefficient·sum, in 64 bits, to `value`, and its quotient to `quotient`.
    #[inline(always)]
    fn add<L: Last, const CUT: bool>(&self, last: L, sum: Signed, value: &mut Signed, quotient: &mut Floats) {
        let mut add = |part: Signed, factor: Factor| {
            let floats = last.float(part);
            for lane in 0..LANES {
                value[lane] = value[lane].wrapping_add(part[lane].wrapping_mul(factor.value));
                quotient[lane] += floats[lane] * factor.ratio;
            }
        };
        if CUT {
            add(sum.map(|word| word & ((1 << 31) - 1)), self.factor);
            add(sum.map(|word| word >> 31), self.upper);
        } else {
            add(sum, self.factor);
        }
    }
}

/// Constants of the decoding.
pub(super) struct Decoder {
    kernel: Kernel,
    /// Terms after which sums have to be reduced lazily.
    pub(super) chunk: usize,
    parts: [Part; 3],
    sums: usize,
    /// The bias, a factor of Σx; none without a bias.
    bias: Option<Part>,
}

impl Decoder {
    pub(super) fn new(ring: &Ring, kernel: Kernel, choice: &Choice, terms: usize, scale: u64) -> Self {
        // What a sum may reach, and what a fold leaves of it.
        let (limit, fold) = match ring {
            Ring::Prime(modulus) => {
                let q = u128::from(modulus.value());
                ((q << 50).min(1 << 62) - 8 * q, 2 * q)
            }
            Ring::PowerOfTwo(_) => (u128::MAX >> 1, 0),
        };
        let most = choice.term.iter().copied().max().unwrap_or(0);
        let chunk = match most {
            0 => terms,
            most => usize::try_from((limit - fold) / most).unwrap_or(usize::MAX).min(terms),
        };
        assert!(chunk > 0, "one term fits");
        let shifts = choice.form.shifts();
        let part = |sum: usize| {
            let Some(&shift) = shifts.get(sum) else { return Part::new(ring, kernel, 0, 0) };
            let coefficient = ring.mul(scale, ring.from_i128(1 << shift));
            // The sum after the last fold, and the correction.
            let bound = 2 * fold + choice.term[sum] * chunk as u128;
            Part::new(ring, kernel, coefficient, bound)
        };
        let bias = (matches!(choice.form, Form::Low | Form::LowHigh) && choice.bias != 0)
            .then(|| Part::new(ring, kernel, ring.from_i128(i128::from(choice.bias)), 1 << 62));
        Self { kernel, chunk, parts: [part(0), part(1), part(2)], sums: shifts.len(), bias }
    }

    /// bias·Σx of every column of x, `[column][stride]`, as elements; zeros without a bias.
    #[inline(always)]
    pub(super) fn corrections<L: Last>(
        &self,
        last: L,
        x: &[u64],
        [stride, terms]: [usize; 2],
        corrections: &mut [u64],
    ) {
        let Some(part) = &self.bias else { return };
        for (columns, corrections) in x.chunks(stride * LANES).zip(corrections.as_chunks_mut::<LANES>().0) {
            let mut totals = [[0; LANES]; LANES];
            for (column, total) in columns.chunks_exact(stride).zip(&mut totals) {
                *total = sum(last.lanes(), column, terms).map(|word| word as u64);
            }
            let totals = transpose(self.kernel, totals).iter().fold([0; LANES], |a: Signed, b| {
                std::array::from_fn(|lane| a[lane].wrapping_add(b[lane] as i64))
            });
            let (mut value, mut quotient) = ([0; LANES], [0.0; LANES]);
            part.add::<L, true>(last, totals, &mut value, &mut quotient);
            *corrections = last.remainder(value, quotient);
        }
    }

    /// Results of one block: sum j of column p is `sums[j·apart + p]`.
    #[inline(always)]
    pub(super) fn decode<L: Last>(
        &self,
        last: L,
        sums: &[Words],
        apart: usize,
        corrections: &[u64],
        out: &mut [u64],
    ) {
        match (self.sums, self.parts.map(|part| part.cut)) {
            (1, [false, ..]) => self.decode_as::<L, 1, false, false>(last, sums, apart, corrections, out),
            (1, [true, ..]) => self.decode_as::<L, 1, true, false>(last, sums, apart, corrections, out),
            (2, [false, false, _]) => {
                self.decode_as::<L, 2, false, false>(last, sums, apart, corrections, out)
            }
            (2, [true, false, _]) => self.decode_as::<L, 2, true, false>(last, sums, apart, corrections, out),
            // A sum that may be cut may be long or not.
            (2, _) => self.decode_as::<L, 2, true, true>(last, sums, apart, corrections, out),
            _ => self.decode_as::<L, 3, true, true>(last, sums, apart, corrections, out),
        }
    }

    #[inline(always)]
    fn decode_as<L: Last, const SUMS: usize, const CUT: bool, const CUTS: bool>(
        &self,
        last: L,
        sums: &[Words],
        apart: usize,
        corrections: &[u64],
        out: &mut [u64],
    ) {
        let out = out.as_chunks_mut::<LANES>().0;
        let mut rows: [&[Words]; SUMS] = [&[]; SUMS];
        for (j, row) in rows.iter_mut().enumerate() {
            *row = &sums[j * apart..][..out.len()];
        }
        for (p, (out, &correction)) in out.iter_mut().zip(corrections).enumerate() {
            let (mut value, mut quotient) = ([0; LANES], [0.0; LANES]);
            let first = rows[0][p].map(|word| word.wrapping_sub(correction) as i64);
            self.parts[0].add::<L, CUT>(last, first, &mut value, &mut quotient);
            #[expect(clippy::needless_range_loop, reason = "a chain of iterators is not unrolled here")]
            for j in 1..SUMS {
                let sum = rows[j][p].map(|word| word as i64);
                self.parts[j].add::<L, CUTS>(last, sum, &mut value, &mut quotient);
            }
            *out = last.remainder(value, quotient);
        }
    }
}

/// Eight parts of a representative of the sum of a column's first `terms` words, together at most 2^62 in size.
#[inline(always)]
fn sum<R: LaneRing>(lanes: R, column: &[u64], terms: usize) -> Signed {
    let (whole, rest) = (terms / LANES, terms % LANES);
    let column = column.as_chunks::<LANES>().0;
    let mut total: Signed = [0; LANES];
    for piece in column[..whole].chunks(PIECE) {
        for words in piece {
            total = std::array::from_fn(|lane| total[lane].wrapping_add(words[lane] as i64));
        }
        if whole > PIECE / LANES {
            total = lanes.lazy(total);
        }
    }
    if rest > 0 {
        let words = column[whole];
        total = std::array::from_fn(|lane| {
            // The padding of the column does not count.
            let kept = if lane < rest { words[lane] } else { 0 };
            total[lane].wrapping_add(kept as i64)
        });
    }
    total
}
