//! Numbered tasks that threads share.

use rayon::prelude::*;
use std::ops::Range;

/// As [`in_parallel`]'s `least`: all on this thread.
pub(crate) const ALONE: usize = usize::MAX;

/// All tasks below `count`. Threads take `least` of them or more at a time; if that is all of them, or there is one thread, they run
/// here, one after the other.
pub(crate) fn in_parallel(count: usize, least: usize, task: impl Fn(usize) + Send + Sync) {
    if least >= count || rayon::current_num_threads() == 1 {
        (0..count).for_each(task);
    } else {
        (0..count).into_par_iter().with_min_len(least).for_each(task);
    }
}

/// Into how many equal tasks to cut what is worth up to `most`: `each` for every thread, or fewer of them, so that no thread
/// waits for another's last.
#[cfg(any(test, target_arch = "x86_64"))]
pub(crate) fn number(most: usize, each: usize) -> usize {
    match rayon::current_num_threads() {
        1 => 1,
        threads if most < threads => most,
        threads => threads * each.min(most / threads),
    }
}

/// Part `number` of `parts` nearly equal ones of `0..whole`.
pub(crate) fn part_of(whole: usize, number: usize, parts: usize) -> Range<usize> {
    whole * number / parts..whole * (number + 1) / parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::time::{Duration, Instant};

    #[test]
    fn as_many_for_every_thread() {
        let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let numbers = |threads| pool(threads).install(|| [1, 2, 3, 4, 5, 7, 100].map(|most| number(most, 2)));
        assert_eq!(numbers(1), [1; 7]);
        assert_eq!(numbers(2), [1, 2, 2, 4, 4, 4, 4]);
        assert_eq!(numbers(3), [1, 2, 3, 3, 3, 6, 6]);
    }

    #[test]
    fn every_task_once() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        for (count, least) in [(0, 1), (1, 1), (1, 0), (7, 1), (7, 3), (7, 6), (7, 7), (100, 9), (100, ALONE)]
        {
            let runs: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
            pool.install(|| in_parallel(count, least, |task| _ = runs[task].fetch_add(1, Relaxed)));
            assert!(runs.iter().all(|runs| runs.load(Relaxed) == 1), "{count} tasks, {least} at a time");
        }
    }

    #[test]
    fn two_at_once() {
        let (pool, both) =
            (rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap(), AtomicUsize::new(0));
        let (start, long) = (Instant::now(), Duration::from_secs(60));
        pool.install(|| {
            in_parallel(2, 1, |_| {
                both.fetch_add(1, Relaxed);
                // Each waits for the other.
                while both.load(Relaxed) < 2 {
                    assert!(start.elapsed() < long, "one after the other");
                    std::thread::yield_now();
                }
            });
        });
    }

    #[test]
    fn parts_are_all_of_it() {
        for (whole, parts) in [(0, 1), (1, 3), (7, 2), (7, 7), (100, 9)] {
            let all: Vec<usize> = (0..parts).flat_map(|number| part_of(whole, number, parts)).collect();
            assert_eq!(all, Vec::from_iter(0..whole));
            let lens = (0..parts).map(|number| part_of(whole, number, parts).len());
            assert!(lens.clone().max().unwrap() - lens.min().unwrap() <= 1, "{whole} in {parts}");
        }
    }
}
