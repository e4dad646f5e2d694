//! A comparison network over the values of one window.
//!
//! A *wire* carries one value through the levels. A comparator [a, b] puts the larger of two wires' values on a and the
//! smaller on b. Comparators are listed in an order in which they may be run one after the other; each takes part in
//! the earliest level in which both its wires are ready. [`Network::new`] leaves out what no output depends on.

use super::{Level, Slot};

/// Comparators in levels, and the wires that hold the results after the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Network {
    levels: Vec<Vec<[usize; 2]>>,
    outputs: Vec<usize>,
    /// Per wire: the first level from which on nobody needs its value any more.
    unneeded: Vec<usize>,
}

impl Network {
    /// The network over `wires` wires that gives `outputs`, without comparators that none of these depends on.
    pub(super) fn new(wires: usize, comparators: &[[usize; 2]], outputs: Vec<usize>) -> Self {
        let mut needed = vec![false; wires];
        outputs.iter().for_each(|&wire| needed[wire] = true);
        let mut kept: Vec<[usize; 2]> = Vec::new();
        for &[a, b] in comparators.iter().rev() {
            if needed[a] || needed[b] {
                (needed[a], needed[b]) = (true, true);
                kept.push([a, b]);
            }
        }
        let mut ready = vec![0; wires];
        let mut levels: Vec<Vec<[usize; 2]>> = Vec::new();
        for &[a, b] in kept.iter().rev() {
            let level = ready[a].max(ready[b]);
            (ready[a], ready[b]) = (level + 1, level + 1);
            if level == levels.len() {
                levels.push(Vec::new());
            }
            levels[level].push([a, b]);
        }
        // After its last comparator a wire is needed only if it is an output.
        let mut unneeded = ready;
        outputs.iter().for_each(|&wire| unneeded[wire] = usize::MAX);
        Self { levels, outputs, unneeded }
    }

    /// Number of levels.
    pub(super) fn depth(&self) -> usize {
        self.levels.len()
    }

    /// Number of comparators.
    pub(super) fn gates(&self) -> usize {
        self.levels.iter().map(Vec::len).sum()
    }

    /// The wires of the results, largest first.
    pub(super) fn outputs(&self) -> &[usize] {
        &self.outputs
    }

    /// Adds this network's level `number` to `level`. `places` says per wire where among the values its own is, and
    /// afterwards where among the next level's; None if it is needed no more.
    pub(super) fn place(&self, number: usize, places: &mut [Option<u32>], level: &mut Level) {
        let mut slots: Vec<Option<Slot>> = places.iter().map(|place| place.map(Slot::Carried)).collect();
        for &[a, b] in self.levels.get(number).into_iter().flatten() {
            // A wire that still meets another one is still needed, so it has a place.
            if let (Some(first), Some(second)) = (places[a], places[b]) {
                let pair = level.pairs.len() as u32;
                level.pairs.push([first, second]);
                (slots[a], slots[b]) = (Some(Slot::Winner(pair)), Some(Slot::Loser(pair)));
            }
        }
        for ((place, slot), &unneeded) in places.iter_mut().zip(slots).zip(&self.unneeded) {
            *place = slot.filter(|_| unneeded > number + 1).map(|slot| {
                level.next.push(slot);
                level.next.len() as u32 - 1
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_output_depends_on_is_left_out() {
        // Sorting three, of which only the largest is wanted: the last comparator goes.
        let network = Network::new(3, &[[0, 1], [0, 2], [1, 2]], vec![0]);
        assert_eq!((network.depth(), network.gates()), (2, 2));
        assert_eq!(network.outputs(), [0]);
    }

    #[test]
    fn comparators_take_part_as_early_as_they_can() {
        let network = Network::new(4, &[[0, 1], [0, 2], [3, 1], [2, 3]], (0..4).collect());
        assert_eq!(network.levels, [vec![[0, 1]], vec![[0, 2], [3, 1]], vec![[2, 3]]]);
    }

    #[test]
    fn values_that_nobody_needs_do_not_go_on() {
        let network = Network::new(3, &[[0, 1], [0, 2]], vec![0]);
        let (mut level, mut places) = (Level::default(), vec![Some(0), Some(1), Some(2)]);
        network.place(0, &mut places, &mut level);
        assert_eq!(
            (level.next, places),
            (vec![Slot::Winner(0), Slot::Carried(2)], vec![Some(0), None, Some(1)])
        );
    }
}
