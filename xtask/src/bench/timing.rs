//! Medians of short batches: robust against a busy neighbour, honest about a warm cache.

use std::time::{Duration, Instant};

/// Seconds per call of `act`: the median over batches of at least 50 µs, for about `budget`.
pub(super) fn median(budget: Duration, mut act: impl FnMut()) -> f64 {
    act();
    let mut calls = 1u32;
    let mut batch = |calls: u32| {
        let start = Instant::now();
        (0..calls).for_each(|_| act());
        start.elapsed()
    };
    while batch(calls) < Duration::from_micros(50) && calls < 1 << 24 {
        calls *= 2;
    }
    let (start, mut times) = (Instant::now(), Vec::new());
    while times.len() < 3 || (start.elapsed() < budget && times.len() < 10_000) {
        times.push(batch(calls).as_secs_f64() / f64::from(calls));
    }
    middle(&mut times)
}

/// The median of some figures; 0 of none.
pub(super) fn middle(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_an_odd_and_an_empty_list() {
        assert_eq!(middle(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(middle(&mut []), 0.0);
    }

    #[test]
    fn longer_work_measures_longer() {
        let work = |n: u64| {
            move || {
                std::hint::black_box((0..n).fold(0u64, |a, b| std::hint::black_box(a ^ b)));
            }
        };
        let budget = Duration::from_millis(5);
        assert!(median(budget, work(20_000)) > 4.0 * median(budget, work(200)));
    }
}
