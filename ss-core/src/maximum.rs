//! Maxima over windows as tournaments: which values meet in which level.
//!
//! A [`Tournament`] is public and equal on both sides. In each level neighbours within a window meet in one gate
//! (b + d·(a − b), see [`crate::gate`]); an odd value out goes on unchanged. A window of n values takes n − 1
//! gates in ⌈log2 n⌉ levels. Windows may overlap and differ in size (pooling with padding). An error of at most
//! 2^h units per level is possible (the sign test ignores h bits), and a − b must fit the ring: one bit more than
//! a and b themselves.

use crate::error::SsError;

/// The levels of a tournament over windows of an input tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tournament {
    inputs: usize,
    levels: Vec<Level>,
    /// For windows of one value there may be no level at all: the gather of the first level.
    winners: Vec<u32>,
}

/// One level: the pairs that meet, and where the next level's values come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    pairs: Vec<[u32; 2]>,
    next: Vec<Slot>,
}

/// Origin of a value of the next level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    /// The result of this level's pair.
    Pair(u32),
    /// A value that had no opponent.
    Carried(u32),
}

impl Tournament {
    /// Plans the maxima of `windows` (indices into a tensor of `inputs` values).
    ///
    /// # Errors
    /// [`SsError::BadValue`] for an empty window or an index out of range.
    pub fn new(inputs: usize, windows: &[Vec<u32>]) -> Result<Self, SsError> {
        if windows.iter().any(|w| w.is_empty() || w.iter().any(|&i| i as usize >= inputs)) {
            return Err(SsError::BadValue { what: "window of a maximum (empty, or outside the tensor)" });
        }
        let mut alive: Vec<Vec<u32>> = windows.to_vec();
        let mut levels = Vec::new();
        while alive.iter().any(|window| window.len() > 1) {
            let mut level = Level { pairs: Vec::new(), next: Vec::new() };
            for window in &mut alive {
                let first = level.next.len() as u32;
                for met in window.chunks(2) {
                    level.next.push(match *met {
                        [a, b] => {
                            level.pairs.push([a, b]);
                            Slot::Pair(level.pairs.len() as u32 - 1)
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

    /// Length of the input tensor.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Number of maxima.
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

    /// Picks the maxima, in window order, from the values after the last level (or the inputs if there is none).
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

    /// The next level's values from this level's and the pairs' results.
    pub fn advance(&self, values: &[u64], results: &[u64]) -> Vec<u64> {
        let pick = |slot: &Slot| match *slot {
            Slot::Pair(i) => results[i as usize],
            Slot::Carried(i) => values[i as usize],
        };
        self.next.iter().map(pick).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(tournament: &Tournament, inputs: &[u64]) -> Vec<u64> {
        let mut values = inputs.to_vec();
        for level in tournament.levels() {
            let results: Vec<u64> =
                level.first(&values).iter().zip(level.second(&values)).map(|(&a, b)| a.max(b)).collect();
            values = level.advance(&values, &results);
        }
        tournament.winners(&values)
    }

    proptest! {
        #[test]
        fn finds_every_maximum(
            inputs in proptest::collection::vec(0u64..1000, 1..40),
            picks in proptest::collection::vec(proptest::collection::vec(any::<u32>(), 1..9), 1..12),
        ) {
            let windows: Vec<Vec<u32>> =
                picks.iter().map(|w| w.iter().map(|i| i % inputs.len() as u32).collect()).collect();
            let tournament = Tournament::new(inputs.len(), &windows).unwrap();
            let expected: Vec<u64> =
                windows.iter().map(|w| w.iter().map(|&i| inputs[i as usize]).max().unwrap()).collect();
            prop_assert_eq!(run(&tournament, &inputs), expected);
            prop_assert_eq!(tournament.gates(), windows.iter().map(|w| w.len() - 1).sum::<usize>());
        }
    }

    #[test]
    fn bad_windows_are_refused() {
        assert!(Tournament::new(3, &[vec![]]).is_err());
        assert!(Tournament::new(3, &[vec![3]]).is_err());
    }

    #[test]
    fn windows_of_one_need_no_level() {
        let tournament = Tournament::new(3, &[vec![2], vec![0]]).unwrap();
        assert_eq!((tournament.levels().len(), tournament.winners(&[7, 8, 9])), (0, vec![9, 7]));
    }
}
