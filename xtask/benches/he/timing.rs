//! Two pieces of work in turn, so that both meet the same machine.

use std::time::{Duration, Instant};

/// Nanoseconds per call of each piece: medians over batches of at least 40 µs that were taken in turn.
pub(super) fn in_turn<const K: usize>(budget: Duration, mut work: [&mut dyn FnMut(); K]) -> [f64; K] {
    let batch = |work: &mut dyn FnMut(), calls: u32| {
        let start = Instant::now();
        (0..calls).for_each(|_| work());
        start.elapsed()
    };
    let mut calls = [1u32; K];
    for (work, calls) in work.iter_mut().zip(&mut calls) {
        work();
        while batch(work, *calls) < Duration::from_micros(40) && *calls < 1 << 20 {
            *calls *= 2;
        }
    }
    let (start, mut times) = (Instant::now(), [(); K].map(|()| Vec::new()));
    while times[0].len() < 3 || (start.elapsed() < K as u32 * budget && times[0].len() < 20_000) {
        for ((work, times), &calls) in work.iter_mut().zip(&mut times).zip(&calls) {
            times.push(batch(work, calls).as_nanos() as f64 / f64::from(calls));
        }
    }
    times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    })
}
