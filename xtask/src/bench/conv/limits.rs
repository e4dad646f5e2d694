//! How fast the processor's multipliers could be at best: the yardstick for "how far from the limit".
//!
//! The clock is measured, by a chain of dependent instructions; what a cycle can do is a table. With 512-bit vectors a
//! core of the kind that this was written on (Zen 5) issues per cycle, measured:
//!
//! | instruction | per cycle | products in each |
//! |---|---|---|
//! | `vpdpwssd` (16×16 bits, pairs summed in 32) | 2 | 32 |
//! | `vpmadd52luq`, `vpmadd52huq` (52×52 bits) | 1.98 | 8 halves |
//! | `vfmadd231ps` (f32, the rival's) | 2 | 16 |
//!
//! A residue of b bits is D = ⌈b/16⌉ digits of 16 bits, a weight one: 64/D multiply-adds per cycle; over two primes the two
//! rates add up like resistors in parallel. That is the limit here, for layers as the definition counts them: an algorithm
//! that saves multiplications (Winograd, transforms) may go beyond 100 %, and the rival's own limit is 32.

use std::hint::black_box;
use std::time::{Duration, Instant};

use conv_fast::Kernel;

/// Multiply-adds of f32 per cycle: the rival's limit.
pub(super) const FLOAT: f64 = 32.0;
/// Products of 16-bit words per cycle.
const WORDS: f64 = 64.0;
const WORD_BITS: u32 = 16;

/// Multiply-adds per cycle for residues of these widths together; nothing is known of other processors.
pub(super) fn per_cycle(kernel: Kernel, modulus_bits: &[u32]) -> Option<f64> {
    let digits: u32 = modulus_bits.iter().map(|bits| bits.div_ceil(WORD_BITS)).sum();
    (kernel == Kernel::Avx512 && digits > 0).then(|| WORDS / f64::from(digits))
}

/// Cycles per second of one core at work: the greatest of a few measurements.
pub(super) fn clock() -> f64 {
    const STEPS: u32 = 100_000;
    let mask = black_box(0x9e37_79b9_7f4a_7c15u64);
    let (mut x, mut best, start) = (black_box(1u64), 0f64, Instant::now());
    while start.elapsed() < Duration::from_millis(100) {
        let turn = Instant::now();
        for _ in 0..STEPS {
            // Two dependent instructions of one cycle each; no rule of algebra merges several steps.
            x = x.wrapping_add(x ^ mask);
        }
        x = black_box(x);
        best = best.max(2.0 * f64::from(STEPS) / turn.elapsed().as_secs_f64());
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_by_hand() {
        let limit = |bits: &[u32]| per_cycle(Kernel::Avx512, bits).unwrap();
        assert_eq!([limit(&[26]), limit(&[32]), limit(&[50])], [32.0, 32.0, 16.0]);
        assert!((limit(&[48, 48]) - 64.0 / 6.0).abs() < 1e-9);
        assert_eq!(per_cycle(Kernel::Portable, &[32]), None);
    }

    #[test]
    fn the_clock_is_a_processors() {
        let clock = clock();
        assert!((2e8..2e10).contains(&clock), "{clock}");
    }
}
