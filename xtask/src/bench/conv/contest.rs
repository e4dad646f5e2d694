//! Several contestants in turn, several times: each round gives everyone the same short while, one after the other, so that
//! a busy neighbour or a change of the clock meets all of them.
//!
//! Every turn starts with a run that does not count (the others have emptied the caches in between) and ends after its
//! time or its least number of runs, whichever is later. Buffers are reused: the figures are of hot caches as far as a
//! layer fits them. The *least* time of all rounds is what ratios are made of, since disturbances only add; the median of
//! the rounds' medians stands beside it.

use std::time::{Duration, Instant};

use anyhow::Result;
use rayon::ThreadPool;
use serde::{Deserialize, Serialize};

use crate::bench::timing::middle;

/// Times of one contestant, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Timing {
    /// The least run.
    pub(super) least: f64,
    /// The median of the rounds' medians.
    pub(super) median: f64,
    /// How many runs.
    pub(super) runs: usize,
}

/// How long everyone runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) rounds: usize,
    /// Of one turn.
    pub(super) turn: Duration,
    /// Of one turn, even if they take longer.
    pub(super) least_runs: usize,
}

impl Rules {
    /// One short turn, to see that it runs.
    pub(super) const SMOKE: Self = Self { rounds: 1, turn: Duration::ZERO, least_runs: 1 };
    /// Of a layer.
    pub(super) const LAYER: Self = Self { rounds: 5, turn: Duration::from_millis(30), least_runs: 3 };
    /// Of a whole network.
    pub(super) const NETWORK: Self = Self { rounds: 5, turn: Duration::from_millis(120), least_runs: 2 };
}

/// Who takes part: given the rules, one turn's timing.
pub(super) type Contestant<'a> = Box<dyn FnMut(&Rules) -> Result<Timing> + 'a>;

/// A contestant that is a piece of this program and runs on a pool of threads.
pub(super) fn own<'a>(pool: &'a ThreadPool, mut act: impl FnMut() + Send + 'a) -> Contestant<'a> {
    Box::new(move |rules| Ok(pool.install(|| turn(rules, &mut act))))
}

/// One turn of something that cannot fail.
pub(super) fn turn(rules: &Rules, act: &mut impl FnMut()) -> Timing {
    act();
    let (mut times, start) = (Vec::new(), Instant::now());
    while times.is_empty() || times.len() < rules.least_runs || start.elapsed() < rules.turn {
        let start = Instant::now();
        act();
        times.push(start.elapsed().as_secs_f64());
    }
    let median = middle(&mut times);
    Timing { least: times[0], median, runs: times.len() }
}

/// The timings of all contestants, in their order.
pub(super) fn hold(rules: &Rules, contestants: &mut [Contestant<'_>]) -> Result<Vec<Timing>> {
    let mut rounds = vec![Vec::new(); contestants.len()];
    for _ in 0..rules.rounds {
        for (contestant, turns) in contestants.iter_mut().zip(&mut rounds) {
            turns.push(contestant(rules)?);
        }
    }
    Ok(rounds.iter().map(|turns| merge(turns)).collect())
}

/// One contestant's turns as one.
fn merge(turns: &[Timing]) -> Timing {
    let mut medians: Vec<f64> = turns.iter().map(|turn| turn.median).collect();
    Timing {
        least: turns.iter().map(|turn| turn.least).fold(f64::INFINITY, f64::min),
        median: middle(&mut medians),
        runs: turns.iter().map(|turn| turn.runs).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn everyone_has_a_turn_in_every_round() {
        let log = RefCell::new(Vec::new());
        let log = &log;
        let contestant = |name: char, seconds: f64| -> Contestant<'_> {
            let mut turn = 0.0;
            Box::new(move |_| {
                log.borrow_mut().push(name);
                turn += 1.0;
                Ok(Timing { least: seconds / turn, median: seconds * turn, runs: 2 })
            })
        };
        let rules = Rules { rounds: 3, ..Rules::SMOKE };
        let times = hold(&rules, &mut [contestant('a', 6.0), contestant('b', 3.0)]).unwrap();
        assert_eq!(log.borrow().iter().collect::<String>(), "ababab");
        assert_eq!(times[0], Timing { least: 2.0, median: 12.0, runs: 6 });
        assert_eq!(times[1], Timing { least: 1.0, median: 6.0, runs: 6 });
    }

    #[test]
    fn own_turns_run_as_often_as_the_rules_say() {
        let mut calls = 0;
        let rules = Rules { rounds: 1, turn: Duration::ZERO, least_runs: 4 };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let timing = own(&pool, || calls += 1)(&rules).unwrap();
        assert_eq!((timing.runs, calls), (4, 5));
        assert!(timing.least <= timing.median);
    }

    #[test]
    fn a_failing_contestant_ends_it() {
        let mut contestants: [Contestant<'_>; 1] = [Box::new(|_| anyhow::bail!("gone"))];
        assert!(hold(&Rules::SMOKE, &mut contestants).is_err());
    }
}
