//! Numbered tasks that threads share.

use rayon::prelude::*;
use std::ops::Range;

/// As [`in_parallel`]'s `least`: all on this thread.
pub(crate) const ALONE: usize = usize::MAX;

/// All tasks below `count`. Threads take `least` of them or more at a time: with fewer than two such shares, or one thread,
/// they run here, one after the other.
pub(crate) fn in_parallel(count: usize, least: usize, task: impl Fn(usize) + Send + Sync) {
    if least >= count || rayon::current_num_threads() == 1 {
        (0..count).for_each(task);
    } else {
        (0..count).into_par_iter().with_min_len(least).for_each(task);
    }
}

/// Into how many equal tasks to cut what is worth up to `most`: `each` for every thread, or fewer of them, so that no thread
/// waits for another's last.
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
}
