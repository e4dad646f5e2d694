//! The search for a good network: how to cut a window, and how to merge two sorted lists.
//!
//! Lists are named by their wires, largest value first. Three mergers compete, all pruned to the wanted results:
//!
//! | merger | of lists of p and q | comes from |
//! |---|---|---|
//! | odd-even | merges the lists' even places, the odd ones, and then neighbours | Batcher 1968 |
//! | bitonic | one list upside down behind the other is a valley; halves are compared | Batcher 1968 |
//! | half-cleaner | a_i against b_{k−1−i} gives the k largest of both as a valley, which is sorted | Batcher 1968 |
//!
//! Lists of 5, 6 and 10 values have sorting networks of fewer levels than any merging gives (Knuth, section 5.3.4 and
//! its exercises; that they sort is tested with all inputs of zeros and ones, which suffices by the 0-1 principle).

use std::collections::HashMap;

use super::network::Network;

/// Values up to which every way to cut a list in two is tried.
const THOROUGH: usize = 48;

/// Sorting networks, levels flattened: the larger value goes to the first of a pair.
const SORTERS: [(usize, &[[usize; 2]]); 3] = [
    (5, &[[0, 3], [1, 4], [0, 2], [1, 3], [0, 1], [2, 4], [1, 2], [3, 4], [2, 3]]),
    (6, &[[0, 5], [1, 3], [2, 4], [1, 2], [3, 4], [0, 3], [2, 5], [0, 1], [2, 3], [4, 5], [1, 2], [3, 4]]),
    (
        10,
        &[
            [0, 1],
            [2, 5],
            [3, 6],
            [4, 7],
            [8, 9],
            [0, 6],
            [1, 8],
            [2, 4],
            [3, 9],
            [5, 7],
            [0, 2],
            [1, 3],
            [4, 5],
            [6, 8],
            [7, 9],
            [0, 1],
            [2, 7],
            [3, 5],
            [4, 6],
            [8, 9],
            [1, 2],
            [3, 4],
            [5, 6],
            [7, 8],
            [1, 3],
            [2, 4],
            [5, 7],
            [6, 8],
            [2, 3],
            [4, 5],
            [6, 7],
        ],
    ),
];

/// The network for the k largest of n values, 1 ≤ k ≤ n, largest first.
pub(super) fn top(n: usize, k: usize) -> Network {
    let mut search = Search { k, cuts: HashMap::new(), mergers: HashMap::new() };
    let (mut comparators, wires) = (Vec::new(), (0..n).collect::<Vec<_>>());
    let mut outputs = search.sort(&wires, &mut comparators);
    outputs.truncate(k);
    Network::new(n, &comparators, outputs)
}

/// Levels, then gates: less is better.
type Cost = (usize, usize);

/// How to get the largest values of a list.
#[derive(Clone, Copy)]
enum Cut {
    /// There is one value only.
    Single,
    /// By a sorting network of the table.
    Table(&'static [[usize; 2]]),
    /// By merging what comes of the first values and of the rest.
    At(usize),
}

/// What is known so far about lists of n, of which min(n, k) values are wanted.
struct Search {
    k: usize,
    cuts: HashMap<usize, (Cost, Cut)>,
    mergers: HashMap<[usize; 2], (Cost, Merger)>,
}

/// A merger of two lists: comparators on the wires 0.. of the first list and then of the second, and the results.
#[derive(Clone)]
struct Merger {
    comparators: Vec<[usize; 2]>,
    outputs: Vec<usize>,
}

impl Search {
    /// Emits comparators after which the returned wires hold the largest values of `wires` in order.
    fn sort(&mut self, wires: &[usize], comparators: &mut Vec<[usize; 2]>) -> Vec<usize> {
        match self.cut(wires.len()).1 {
            Cut::Single => wires.to_vec(),
            Cut::Table(sorter) => {
                comparators.extend(sorter.iter().map(|pair| pair.map(|at| wires[at])));
                wires[..wires.len().min(self.k)].to_vec()
            }
            Cut::At(at) => {
                let (first, second) = wires.split_at(at);
                let mut lists = self.sort(first, comparators);
                let split = lists.len();
                lists.extend(self.sort(second, comparators));
                let (_, merger) = self.merger(split, lists.len() - split);
                comparators.extend(merger.comparators.iter().map(|pair| pair.map(|at| lists[at])));
                merger.outputs.iter().map(|&at| lists[at]).collect()
            }
        }
    }

    /// The best way to the min(n, k) largest of n values.
    fn cut(&mut self, n: usize) -> (Cost, Cut) {
        if n <= 1 {
            return ((0, 0), Cut::Single);
        }
        if let Some(&known) = self.cuts.get(&n) {
            return known;
        }
        let mut places: Vec<usize> = match n <= THOROUGH {
            true => (1..=n / 2).collect(),
            false => vec![n / 2, 1 << (n - 1).ilog2(), n - (1 << (n - 1).ilog2())],
        };
        places.retain(|&at| at > 0 && at < n);
        let mut best: Option<(Cost, Cut)> = None;
        let mut offer = |cost: Cost, cut: Cut| {
            if best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, cut));
            }
        };
        for at in places {
            let ((a_depth, a_gates), (b_depth, b_gates)) = (self.cut(at).0, self.cut(n - at).0);
            let ((depth, gates), _) = self.merger(at.min(self.k), (n - at).min(self.k));
            offer((a_depth.max(b_depth) + depth, a_gates + b_gates + gates), Cut::At(at));
        }
        if let Some(&(_, sorter)) = SORTERS.iter().find(|(size, _)| *size == n) {
            let network = Network::new(n, sorter, (0..n.min(self.k)).collect());
            offer((network.depth(), network.gates()), Cut::Table(sorter));
        }
        let best = best.unwrap_or(((0, 0), Cut::Single));
        self.cuts.insert(n, best);
        best
    }

    /// The best merger of lists of p and q, at most k each.
    fn merger(&mut self, p: usize, q: usize) -> (Cost, Merger) {
        if let Some(known) = self.mergers.get(&[p, q]) {
            return known.clone();
        }
        let (a, b): (Vec<usize>, Vec<usize>) = ((0..p).collect(), (p..p + q).collect());
        let keep = (p + q).min(self.k);
        let best = [odd_even(&a, &b), bitonic(&a, &b), half_cleaner(&a, &b, keep)]
            .into_iter()
            .map(|mut merger| {
                merger.outputs.truncate(keep);
                let network = Network::new(p + q, &merger.comparators, merger.outputs.clone());
                ((network.depth(), network.gates()), merger)
            })
            .min_by_key(|(cost, _)| *cost)
            .expect("three mergers are offered");
        self.mergers.insert([p, q], best.clone());
        best
    }
}

/// Batcher's odd-even merge of lists of any lengths.
fn odd_even(a: &[usize], b: &[usize]) -> Merger {
    if a.is_empty() || b.is_empty() {
        return Merger { comparators: Vec::new(), outputs: [a, b].concat() };
    }
    if let ([first], [second]) = (a, b) {
        return Merger { comparators: vec![[*first, *second]], outputs: vec![*first, *second] };
    }
    let every_other =
        |list: &[usize], from: usize| -> Vec<usize> { list.iter().skip(from).step_by(2).copied().collect() };
    let even = odd_even(&every_other(a, 0), &every_other(b, 0));
    let odd = odd_even(&every_other(a, 1), &every_other(b, 1));
    let mut merger =
        Merger { comparators: [even.comparators, odd.comparators].concat(), outputs: Vec::new() };
    // The largest leads the even ones; then each odd one meets the next even one.
    let (mut evens, mut odds) = (even.outputs.into_iter(), odd.outputs.into_iter());
    merger.outputs.extend(evens.next());
    loop {
        match (odds.next(), evens.next()) {
            (Some(larger), Some(smaller)) => {
                merger.comparators.push([larger, smaller]);
                merger.outputs.extend([larger, smaller]);
            }
            (None, None) => return merger,
            (left, right) => merger.outputs.extend(left.or(right)),
        }
    }
}

/// The second list upside down behind the first: a valley, to be sorted.
fn bitonic(a: &[usize], b: &[usize]) -> Merger {
    let valley: Vec<usize> = a.iter().chain(b.iter().rev()).copied().collect();
    let mut comparators = Vec::new();
    sort_valley(&valley, &mut comparators);
    Merger { comparators, outputs: valley.into_iter().rev().collect() }
}

/// The `keep` largest of both lists as a valley, to be sorted. Neither list is longer than `keep`; both together are
/// at least as long.
fn half_cleaner(a: &[usize], b: &[usize], keep: usize) -> Merger {
    let mut comparators = Vec::new();
    let valley: Vec<usize> = (0..keep)
        .filter_map(|i| match (a.get(i), b.get(keep - 1 - i)) {
            (Some(&first), Some(&second)) => {
                comparators.push([first, second]);
                Some(first)
            }
            (first, second) => first.or(second).copied(),
        })
        .collect();
    sort_valley(&valley, &mut comparators);
    Merger { comparators, outputs: valley.into_iter().rev().collect() }
}

/// Sorts a valley (falling, then rising), the smallest first: as if values above all others followed it up to the next
/// power of two, for such a sequence is a valley too, and they would never move.
fn sort_valley(wires: &[usize], comparators: &mut Vec<[usize; 2]>) {
    let n = wires.len();
    if n < 2 {
        return;
    }
    let half = 1usize << (n - 1).ilog2();
    comparators.extend((0..n - half).map(|i| [wires[i + half], wires[i]]));
    sort_valley(&wires[..half], comparators);
    sort_valley(&wires[half..], comparators);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs comparators on a word of zeros and ones, bit w for wire w.
    fn run(comparators: &[[usize; 2]], mut word: u64) -> u64 {
        for &[a, b] in comparators {
            let (first, second) = (word >> a & 1, word >> b & 1);
            word = word & !(1 << a | 1 << b) | (first | second) << a | (first & second) << b;
        }
        word
    }

    /// The bits on `wires`, the first wire's at the top.
    fn read(word: u64, wires: &[usize]) -> Vec<u64> {
        wires.iter().map(|&wire| word >> wire & 1).collect()
    }

    #[test]
    fn the_tables_sort_all_zeros_and_ones() {
        for (n, sorter) in SORTERS {
            for word in 0..1u64 << n {
                let sorted = (1u64 << word.count_ones()) - 1;
                assert_eq!(run(sorter, word), sorted, "{n} values, {word:b}");
            }
            // Leaving out any comparator breaks it: the test can fail.
            for at in 0..sorter.len() {
                let less = [&sorter[..at], &sorter[at + 1..]].concat();
                assert!((0..1u64 << n).any(|word| run(&less, word) != (1u64 << word.count_ones()) - 1));
            }
        }
    }

    #[test]
    fn every_merger_merges_all_sorted_zeros_and_ones() {
        for (p, q) in (0..=9).flat_map(|p| (0..=9).map(move |q| (p, q))) {
            let (a, b): (Vec<usize>, Vec<usize>) = ((0..p).collect(), (p..p + q).collect());
            for (ones_a, ones_b) in (0..=p).flat_map(|x| (0..=q).map(move |y| (x, y))) {
                let word = ((1u64 << ones_a) - 1) | ((1u64 << ones_b) - 1) << p;
                let expected: Vec<u64> = (0..p + q).map(|i| u64::from(i < ones_a + ones_b)).collect();
                for merger in [odd_even(&a, &b), bitonic(&a, &b)] {
                    assert_eq!(read(run(&merger.comparators, word), &merger.outputs), expected);
                }
                for keep in p.max(q)..=p + q {
                    let merger = half_cleaner(&a, &b, keep);
                    assert_eq!(read(run(&merger.comparators, word), &merger.outputs), expected[..keep]);
                }
            }
        }
    }

    #[test]
    fn networks_select_all_zeros_and_ones() {
        for n in 1..=12 {
            for k in 1..=n {
                let mut search = Search { k, cuts: HashMap::new(), mergers: HashMap::new() };
                let (mut comparators, wires) = (Vec::new(), (0..n).collect::<Vec<_>>());
                let outputs = search.sort(&wires, &mut comparators);
                assert_eq!(outputs.len(), k);
                for word in 0..1u64 << n {
                    let expected: Vec<u64> =
                        (0..k).map(|i| u64::from(i < word.count_ones() as usize)).collect();
                    assert_eq!(read(run(&comparators, word), &outputs), expected, "{k} of {n}, {word:b}");
                }
            }
        }
    }
}
