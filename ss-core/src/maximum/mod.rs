//! Maxima and the k largest over windows: which values meet in which level.
//!
//! A [`Tournament`] is public and equal on both sides. In each of its levels pairs of values meet in one gate each
//! (d·(a − b), see [`crate::gate`]). The larger is b + d·(a − b). Where the smaller is needed as well, it is
//! a + b − larger, which costs nothing: every party computes it from its shares. Windows may overlap and differ in
//! size (pooling with padding).
//!
//! | plan | levels | gates per window of n |
//! |---|---|---|
//! | [`Tournament::new`]: the largest | ⌈log2 n⌉ | n − 1 |
//! | [`Tournament::top`]: the k largest, in order | about 1 + ⌈log2 k⌉ per halving of n | see the table below |
//!
//! The k largest are found by a comparison network (Batcher 1968; Knuth, *The Art of Computer Programming* 3, section
//! 5.3.4): short lists are sorted, then sorted lists are merged two by two, only the k largest of both going on.
//! Which merger, and how a window is cut, is searched for, fewest levels first, then fewest gates; what no output
//! depends on is left out.
//!
//! | n, k | 10, 1 | 10, 3 | 10, 5 | 100, 3 | 100, 5 | 1000, 5 | 1000, 10 |
//! |---|---|---|---|---|---|---|---|
//! | levels | 4 | 7 | 7 | 18 | 22 | 34 | 40 |
//! | gates | 9 | 24 | 29 | 247 | 348 | 3502 | 5239 |
//!
//! **Error.** The sign test ignores h bits, so the smaller of two values that are less than 2^h apart may be taken for
//! the larger one. The two then go on in the other order; neither is lost. The r-th result is within levels · 2^h of the
//! true r-th largest value: a level errs by less than 2^h in each result, and the maximum and the minimum of two values
//! move by no more than the values do.
//!
//! **Ties.** Of two equal values the first of the pair wins. An index that rides along is that of a value of the right
//! size, but which of several equal ones it names follows from the network, not from the order in the window. All
//! indices of one result are different.
//!
//! **Range.** a − b must fit the ring: one bit more than a and b themselves.

mod merge;
mod network;

use std::collections::HashMap;

use crate::error::SsError;
use crate::ring::Z2k;

use network::Network;

/// The levels of a comparison network over windows of an input tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tournament {
    inputs: usize,
    levels: Vec<Level>,
    /// For windows of one value there may be no level at all: the gather of the first level.
    winners: Vec<u32>,
}

/// One level: the pairs that meet, and where the next level's values come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Level {
    pairs: Vec<[u32; 2]>,
    next: Vec<Slot>,
}

/// Origin of a value of the next level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    /// The larger of this level's pair.
    Winner(u32),
    /// The smaller of this level's pair.
    Loser(u32),
    /// A value that had no opponent.
    Carried(u32),
}

impl Tournament {
    /// Plans the maxima of `windows` (indices into a tensor of `inputs` values).
    ///
    /// # Errors
    /// [`SsError::BadValue`] for an empty window or an index out of range.
    pub fn new(inputs: usize, windows: &[Vec<u32>]) -> Result<Self, SsError> {
        check(inputs, windows, 1)?;
        let mut alive: Vec<Vec<u32>> = windows.to_vec();
        let mut levels = Vec::new();
        while alive.iter().any(|window| window.len() > 1) {
            let mut level = Level::default();
            for window in &mut alive {
                let first = level.next.len() as u32;
                for met in window.chunks(2) {
                    level.next.push(match *met {
                        [a, b] => {
                            level.pairs.push([a, b]);
                            Slot::Winner(level.pairs.len() as u32 - 1)
                        }
                        _ => Slot::Carried(met[0]),
                    });
                }
                *window = (first..level.next.len() as u32).collect();
            }
            levels.push(level);
        }
        Ok(Self { inputs, levels, winners: alive.into_iter().map(|window| window[0]).collect() })
    }

    /// Plans the `k` largest values of each of `windows` (indices into a tensor of `inputs` values), largest first.
    /// With k = 1 this is [`Self::new`].
    ///
    /// # Errors
    /// [`SsError::BadValue`] for k = 0, a window of fewer than k values, or an index out of range.
    pub fn top(inputs: usize, windows: &[Vec<u32>], k: usize) -> Result<Self, SsError> {
        if k == 1 {
            return Self::new(inputs, windows);
        }
        check(inputs, windows, k)?;
        // Windows mostly have one size: its network is searched for once.
        let mut networks: HashMap<usize, Network> = HashMap::new();
        for window in windows {
            networks.entry(window.len()).or_insert_with(|| merge::top(window.len(), k));
        }
        let depth = networks.values().map(Network::depth).max().unwrap_or(0);
        let mut alive: Vec<Vec<Option<u32>>> =
            windows.iter().map(|window| window.iter().map(|&at| Some(at)).collect()).collect();
        let mut levels = Vec::with_capacity(depth);
        for number in 0..depth {
            let mut level = Level::default();
            for (window, places) in windows.iter().zip(&mut alive) {
                networks[&window.len()].place(number, places, &mut level);
            }
            levels.push(level);
        }
        let winners = windows.iter().zip(&alive).flat_map(|(window, places)| {
            networks[&window.len()].outputs().iter().filter_map(|&wire| places[wire])
        });
        Ok(Self { inputs, winners: winners.collect(), levels })
    }

    /// This tournament, and then `second` among its results: the maxima of the columns of a window after those of its
    /// rows, say, where overlapping windows share rows.
    ///
    /// # Errors
    /// [`SsError::WrongLength`] unless `second` takes as many values as there are results.
    pub fn then(mut self, second: Self) -> Result<Self, SsError> {
        crate::error::expect_length("inputs of a second tournament", self.outputs(), second.inputs)?;
        let among = |at: &mut u32| *at = self.winners[*at as usize];
        let (mut levels, mut winners) = (second.levels, second.winners);
        match levels.first_mut() {
            None => winners.iter_mut().for_each(among),
            Some(level) => {
                level.pairs.iter_mut().flatten().for_each(among);
                level.next.iter_mut().for_each(|slot| match slot {
                    Slot::Carried(at) => among(at),
                    Slot::Winner(_) | Slot::Loser(_) => {}
                });
            }
        }
        self.levels.extend(levels);
        self.winners = winners;
        Ok(self)
    }

    /// The same tournament on each of `times` tensors that follow one another; results likewise. It is the plan that
    /// [`Tournament::new`] makes of the windows of all of them.
    ///
    /// # Errors
    /// [`SsError::TooLarge`] where indices would not fit 32 bits.
    pub fn repeat(&self, times: usize) -> Result<Self, SsError> {
        let widest = self.levels.iter().map(|level| level.next.len()).chain([self.inputs]).max().unwrap_or(0);
        if widest.checked_mul(times).is_none_or(|all| u32::try_from(all).is_err()) {
            let limit = u32::MAX as usize / widest.max(1);
            return Err(SsError::TooLarge { what: "tensors of a tournament", limit, got: times });
        }
        let copies = |length: usize| (0..times as u32).map(move |copy| copy * length as u32);
        let mut length = self.inputs;
        let mut levels = Vec::with_capacity(self.levels.len());
        for level in &self.levels {
            let pairs = copies(length)
                .flat_map(|from| level.pairs.iter().map(move |pair| pair.map(|at| at + from)))
                .collect();
            let next = copies(length)
                .zip(copies(level.pairs.len()))
                .flat_map(|(value, gate)| {
                    level.next.iter().map(move |slot| match *slot {
                        Slot::Winner(at) => Slot::Winner(at + gate),
                        Slot::Loser(at) => Slot::Loser(at + gate),
                        Slot::Carried(at) => Slot::Carried(at + value),
                    })
                })
                .collect();
            levels.push(Level { pairs, next });
            length = level.next.len();
        }
        let winners = copies(length).flat_map(|from| self.winners.iter().map(move |&at| at + from)).collect();
        Ok(Self { inputs: times * self.inputs, levels, winners })
    }

    /// Length of the input tensor.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Number of results: k per window.
    pub fn outputs(&self) -> usize {
        self.winners.len()
    }

    /// The levels in order.
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// All gates of all levels.
    pub fn gates(&self) -> usize {
        self.levels.iter().map(Level::gates).sum()
    }

    /// Picks the results, window by window, the largest first, from the values after the last level (or the inputs
    /// if there is none).
    pub fn winners(&self, values: &[u64]) -> Vec<u64> {
        self.winners.iter().map(|&i| values[i as usize]).collect()
    }
}

impl Level {
    /// Number of pairs that meet.
    pub fn gates(&self) -> usize {
        self.pairs.len()
    }

    /// The first of each pair.
    pub fn first(&self, values: &[u64]) -> Vec<u64> {
        self.pairs.iter().map(|pair| values[pair[0] as usize]).collect()
    }

    /// The second of each pair.
    pub fn second(&self, values: &[u64]) -> Vec<u64> {
        self.pairs.iter().map(|pair| values[pair[1] as usize]).collect()
    }

    /// The next level's values from this level's and from the larger one of each pair, `results`, as plain values or
    /// as either party's shares. The smaller ones, if any go on, come out modulo 2^64: see [`Self::advance_in`].
    pub fn advance(&self, values: &[u64], results: &[u64]) -> Vec<u64> {
        let pick = |slot: &Slot| match *slot {
            Slot::Winner(i) => results[i as usize],
            Slot::Loser(i) => {
                let [a, b] = self.pairs[i as usize].map(|at| values[at as usize]);
                a.wrapping_add(b).wrapping_sub(results[i as usize])
            }
            Slot::Carried(i) => values[i as usize],
        };
        self.next.iter().map(pick).collect()
    }

    /// [`Self::advance`] with every value reduced into `ring`, the one that the values live in.
    pub fn advance_in(&self, ring: Z2k, values: &[u64], results: &[u64]) -> Vec<u64> {
        let mut next = self.advance(values, results);
        next.iter_mut().for_each(|value| *value &= ring.mask());
        next
    }
}

fn check(inputs: usize, windows: &[Vec<u32>], k: usize) -> Result<(), SsError> {
    if k == 0 || windows.iter().any(|w| w.len() < k || w.iter().any(|&i| i as usize >= inputs)) {
        return Err(SsError::BadValue {
            what: "window of a maximum (fewer values than results, or outside the tensor)",
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
