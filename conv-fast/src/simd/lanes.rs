//! Eight words at a time: reductions, products with constants, transposes.
//!
//! Plain Rust over arrays of eight, meant to be inlined into a [`crate::kernel::Task`]; no branch depends on a value.
//!
//! Modulo q quotients are estimated in double precision: for |x| < min(2^63, 2^50·q) the estimate of x/q is off by less
//! than one, and the remainder, which needs only the low 64 bits of its two terms, is exact.

use crate::Ring;

/// Words of one step.
pub(crate) const LANES: usize = 8;
/// Eight signed words.
pub(crate) type Signed = [i64; LANES];
/// Eight elements of a ring.
pub(crate) type Words = [u64; LANES];

/// A constant factor c of a ring with its quotient c/q.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Constant {
    pub(crate) value: u64,
    quotient: f64,
}

/// Lane arithmetic of one kind of ring. Implementations are `Copy` bundles of constants; all methods inline.
pub(crate) trait LaneRing: Copy + Send + Sync {
    /// Any |x| < min(2^63, 2^50·q) (any x in Z_2^k) as elements.
    fn reduce(self, x: Signed) -> Words;
    /// x·c for |x| < 2^51 (any x in Z_2^k), as elements.
    fn times(self, x: Signed, c: Constant) -> Words;
    /// As [`LaneRing::reduce`] but only to (−2q, 2q): fewer instructions where another reduction follows.
    fn lazy(self, x: Signed) -> Signed;
    /// As [`LaneRing::times`] but only to (−2q, 2q).
    fn times_lazy(self, x: Signed, c: Constant) -> Signed;
}

/// Z_q for q < 2^52.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PrimeLanes {
    q: i64,
    inverse: f64,
}

/// Z_2^k.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PowerLanes {
    mask: u64,
}

impl PrimeLanes {
    /// Whether the estimates of quotients hold for this modulus.
    pub(crate) fn serves(q: u64) -> bool {
        q < 1 << 52
    }

    /// # Panics
    /// Unless [`PrimeLanes::serves`].
    pub(crate) fn new(q: u64) -> Self {
        assert!(Self::serves(q), "a modulus of at most 52 bits");
        Self { q: q as i64, inverse: 1.0 / q as f64 }
    }
}

impl PowerLanes {
    pub(crate) fn new(bits: u32) -> Self {
        Self { mask: u64::MAX >> (64 - bits) }
    }
}

impl Constant {
    /// The element `value` of `ring` as a factor.
    pub(crate) fn new(ring: &Ring, value: u64) -> Self {
        let quotient = match ring {
            Ring::Prime(modulus) => value as f64 / modulus.value() as f64,
            Ring::PowerOfTwo(_) => 0.0,
        };
        Self { value, quotient }
    }
}

/// Truncation of |x| < 2^63.
#[inline(always)]
#[expect(unsafe_code, reason = "the checked conversion costs more than the product it serves")]
fn truncate(x: f64) -> i64 {
    debug_assert!(x.abs() < 9.2e18, "out of range");
    // SAFETY: callers pass |x| ≤ 2^63 times 1/q ≤ 1/3 or c/q < 1, and the greatest double below one times 2^63 is an i64.
    unsafe { x.to_int_unchecked() }
}

/// Lane by lane. A loop: closures in array methods are compiled without the task's instruction set if not inlined.
macro_rules! lanes {
    ($x:ident => $value:expr) => {{
        let mut out = [0; LANES];
        for (out, $x) in out.iter_mut().zip($x) {
            *out = $value;
        }
        out
    }};
}

impl PrimeLanes {
    /// (−2q, 2q) to [0, q).
    #[inline(always)]
    fn canonical(self, x: Signed) -> Words {
        let q = self.q;
        lanes!(x => {
            // (−q, 2q), (−2q, q), (−q, q), [0, q)
            let x = x + ((x >> 63) & q) - q;
            let x = x + ((x >> 63) & q);
            (x + ((x >> 63) & q)) as u64
        })
    }
}

impl LaneRing for PrimeLanes {
    #[inline(always)]
    fn lazy(self, x: Signed) -> Signed {
        lanes!(x => {
            let quotient = truncate(x as f64 * self.inverse);
            x.wrapping_sub(quotient.wrapping_mul(self.q))
        })
    }

    #[inline(always)]
    fn reduce(self, x: Signed) -> Words {
        self.canonical(self.lazy(x))
    }

    #[inline(always)]
    fn times_lazy(self, x: Signed, c: Constant) -> Signed {
        lanes!(x => {
            let quotient = truncate(x as f64 * c.quotient);
            x.wrapping_mul(c.value as i64).wrapping_sub(quotient.wrapping_mul(self.q))
        })
    }

    #[inline(always)]
    fn times(self, x: Signed, c: Constant) -> Words {
        self.canonical(self.times_lazy(x, c))
    }
}

impl LaneRing for PowerLanes {
    #[inline(always)]
    fn reduce(self, x: Signed) -> Words {
        lanes!(x => x as u64 & self.mask)
    }

    #[inline(always)]
    fn times(self, x: Signed, c: Constant) -> Words {
        lanes!(x => (x as u64).wrapping_mul(c.value) & self.mask)
    }

    #[inline(always)]
    fn lazy(self, x: Signed) -> Signed {
        x
    }

    #[inline(always)]
    fn times_lazy(self, x: Signed, c: Constant) -> Signed {
        lanes!(x => x.wrapping_mul(c.value as i64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Kernel, Task};
    use crate::testing::Random;
    use he_core::Modulus;

    /// All four operations on eight words.
    struct All<R>(R, Signed, Constant);

    impl<R: LaneRing> Task for All<R> {
        type Output = (Words, Words, Signed, Signed);

        #[inline(always)]
        fn run(self) -> Self::Output {
            let Self(ring, x, c) = self;
            // `times` takes words below 2^51.
            let short = x.map(|x| x >> 12);
            (ring.reduce(x), ring.times(short, c), ring.lazy(x), ring.times_lazy(short, c))
        }
    }

    fn check(kernel: Kernel, ring: &Ring, lanes: impl LaneRing, x: Signed, c: u64, slack: i128) {
        let (reduced, times, lazy, times_lazy) = kernel.run(All(lanes, x, Constant::new(ring, c)));
        for i in 0..LANES {
            let product = i128::from(x[i] >> 12) * i128::from(c);
            assert_eq!(reduced[i], ring.from_i64(x[i]), "{kernel:?} {ring} {}", x[i]);
            assert_eq!(times[i], ring.from_i128(product), "{kernel:?} {ring} {} · {c}", x[i] >> 12);
            assert_eq!(ring.from_i64(lazy[i]), reduced[i], "{kernel:?} {ring} {}", x[i]);
            assert_eq!(ring.from_i64(times_lazy[i]), times[i], "{kernel:?} {ring} {} · {c}", x[i] >> 12);
            assert!(i128::from(lazy[i]).abs() < slack && i128::from(times_lazy[i]).abs() < slack);
        }
    }

    #[test]
    fn lanes_are_the_ring() {
        let mut random = Random::new("lanes");
        for q in [3, 97, 12_289, 67_108_859, 4_294_967_291, 1_125_899_906_826_241, 4_503_599_627_370_449] {
            let modulus = Modulus::new(q).unwrap();
            let ring = Ring::Prime(modulus);
            let most = i64::try_from((u128::from(q) << 50).min(1 << 63) - 1).unwrap();
            for round in 0..200 {
                let x = match round {
                    0 => [most, -most, 0, 1, -1, q as i64, -(q as i64), most - 1],
                    1 => {
                        [q as i64 - 1, 1 - q as i64, 2 * q as i64, -2 * q as i64, 3, -3, most / 2, -most / 2]
                    }
                    _ => std::array::from_fn(|_| {
                        (random.below(u64::MAX) as i64 >> random.below(63)).clamp(-most, most)
                    }),
                };
                let c = if round % 2 == 0 { q - 1 } else { random.below(q) };
                for kernel in Kernel::available() {
                    check(kernel, &ring, PrimeLanes::new(q), x, c, 2 * i128::from(q));
                }
            }
        }
        for bits in [1, 7, 32, 63, 64] {
            let ring = Ring::power_of_two(bits).unwrap();
            for _ in 0..50 {
                let x = std::array::from_fn(|_| random.below(u64::MAX) as i64);
                let c = random.below(u64::MAX) & ring.greatest();
                for kernel in Kernel::available() {
                    check(kernel, &ring, PowerLanes::new(bits), x, c, i128::MAX);
                }
            }
        }
    }
}
