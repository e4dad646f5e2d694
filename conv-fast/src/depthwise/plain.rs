//! Eight lanes in plain Rust, compiled for every instruction set; the twin of the hand-written ones.

use super::lanes::{Buffered, Lanes, Streamed, span};
use crate::Word;
use crate::lanes::{LANES, LaneRing, PowerLanes, PrimeLanes, Signed, Words};

/// Z_q in double precision, for sums below 2^50.
#[derive(Clone, Copy)]
pub(super) struct Doubles {
    q: f64,
    inverse: f64,
    /// Half of a q-th.
    half: f64,
}

impl Doubles {
    pub(super) fn new(q: u64) -> Self {
        Self { q: q as f64, inverse: 1.0 / q as f64, half: 0.5 / q as f64 }
    }
}

/// Integers in 64 bits; q is zero over Z_2^k.
#[derive(Clone, Copy)]
pub(super) struct Integers<R> {
    lanes: R,
    q: u64,
}

impl Integers<PrimeLanes> {
    pub(super) fn prime(q: u64) -> Self {
        Self { lanes: PrimeLanes::new(q), q }
    }
}

impl Integers<PowerLanes> {
    pub(super) fn power(bits: u32) -> Self {
        Self { lanes: PowerLanes::new(bits), q: 0 }
    }
}

/// 2^52: the integers below it are the low bits of its sum with them.
const BASE: f64 = 4_503_599_627_370_496.0;

/// Lane by lane. A loop: closures in array methods are compiled without the task's instruction set if not inlined.
macro_rules! lanes {
    ($lane:ident => $value:expr) => {{
        let mut out = [Default::default(); LANES];
        for ($lane, out) in out.iter_mut().enumerate() {
            *out = $value;
        }
        out
    }};
}

impl<W: Word> Lanes<W> for Doubles {
    type Vector = [f64; LANES];

    #[inline(always)]
    fn splat(self, number: u64) -> Self::Vector {
        [f64::from_bits(number); LANES]
    }

    #[inline(always)]
    fn times(self, words: Self::Vector, weight: Self::Vector) -> Self::Vector {
        lanes!(lane => words[lane] * weight[lane])
    }

    #[inline(always)]
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        lanes!(lane => a[lane] + b[lane])
    }

    #[inline(always)]
    fn times_add(self, words: Self::Vector, weight: Self::Vector, sum: Self::Vector) -> Self::Vector {
        lanes!(lane => words[lane] * weight[lane] + sum[lane])
    }

    #[inline(always)]
    fn finish(self, sum: Self::Vector, _centre: Self::Vector, to: &mut [W]) {
        let elements: [u64; LANES] = lanes!(lane => {
            let quotient = (sum[lane] * self.inverse + self.half).floor();
            (sum[lane] - quotient * self.q + BASE).to_bits() ^ BASE.to_bits()
        });
        store(elements, to);
    }
}

impl<W: Word, R: LaneRing> Lanes<W> for Integers<R> {
    type Vector = Signed;

    #[inline(always)]
    fn splat(self, number: u64) -> Signed {
        [number as i64; LANES]
    }

    #[inline(always)]
    fn times(self, words: Signed, weight: Signed) -> Signed {
        lanes!(lane => words[lane].wrapping_mul(weight[lane]))
    }

    #[inline(always)]
    fn add(self, a: Signed, b: Signed) -> Signed {
        lanes!(lane => a[lane].wrapping_add(b[lane]))
    }

    #[inline(always)]
    fn times_add(self, words: Signed, weight: Signed, sum: Signed) -> Signed {
        lanes!(lane => words[lane].wrapping_mul(weight[lane]).wrapping_add(sum[lane]))
    }

    #[inline(always)]
    fn finish(self, sum: Signed, centre: Signed, to: &mut [W]) {
        store(self.lanes.reduce(Lanes::<W>::add(self, sum, centre)), to);
    }
}

impl<W: Word> Streamed<W> for Doubles {
    const TWO: bool = false;

    fn interleaved(_: usize) -> bool {
        false
    }

    #[inline(always)]
    fn one<const STRIDE: usize>(self, words: &[W], masks: &[u8; 3]) -> [[f64; LANES]; 3] {
        let words = &words[..span(1, STRIDE)];
        let mut taps = [[0.0; LANES]; 3];
        for (tap, (vector, &mask)) in taps.iter_mut().zip(masks).enumerate() {
            for (lane, value) in vector.iter_mut().enumerate() {
                let keep = u64::from(mask >> lane & 1).wrapping_neg();
                let word = words[lane * STRIDE + tap].to_u64() & keep;
                *value = f64::from_bits(BASE.to_bits() | word) - BASE;
            }
        }
        taps
    }

    #[inline(always)]
    fn two<const STRIDE: usize>(self, words: &[W], masks: &[[u8; 3]; 2]) -> [[[f64; LANES]; 3]; 2] {
        let next = &words[LANES * STRIDE..];
        [self.one::<STRIDE>(words, &masks[0]), self.one::<STRIDE>(next, &masks[1])]
    }

    #[inline(always)]
    fn finish_two<const STRIDE: usize>(self, sums: [[f64; LANES]; 2], centre: [f64; LANES], to: &mut [W]) {
        let (low, high) = to.split_at_mut(LANES.min(to.len()));
        self.finish(sums[0], centre, low);
        self.finish(sums[1], centre, high);
    }
}

impl<W: Word, R: LaneRing> Buffered<W> for Integers<R> {
    #[inline(always)]
    fn load(self, words: &Words) -> Signed {
        lanes!(lane => words[lane] as i64)
    }

    #[inline(always)]
    fn fold(self, sum: Signed, shift: u32) -> Signed {
        let sum = self.lanes.lazy(sum);
        lanes!(lane => sum[lane] << shift)
    }

    #[inline(always)]
    fn center<const STRIDE: usize>(self, words: &[W], stride: usize, to: &mut [u64]) {
        let Self { q, .. } = self;
        let half = if q == 0 { u64::MAX } else { q / 2 };
        let centred = |word: W| {
            let word = word.to_u64();
            if word > half { word.wrapping_sub(q) } else { word }
        };
        if STRIDE == 1 {
            for (to, &word) in to.iter_mut().zip(words) {
                *to = centred(word);
            }
        } else if STRIDE == 2 {
            // Pairs, since strided loads would become slow gathers.
            let last = to.len().saturating_sub(1);
            for (to, pair) in to[..last].iter_mut().zip(words.as_chunks::<2>().0) {
                *to = centred(pair[0]);
            }
            if let Some(to) = to.last_mut() {
                *to = centred(words[2 * last]);
            }
        } else {
            for (to, &word) in to.iter_mut().zip(words.iter().step_by(stride)) {
                *to = centred(word);
            }
        }
    }
}

#[inline(always)]
fn store<W: Word>(elements: [u64; LANES], to: &mut [W]) {
    for (to, element) in to.iter_mut().zip(elements) {
        *to = W::from_u64(element);
    }
}
