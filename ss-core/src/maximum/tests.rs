//! Networks against sorting, on plain values and on shares.

use proptest::prelude::*;

use super::*;

/// Runs a plan on plain values; `swaps` says of a pair whether its sign test errs.
fn run(tournament: &Tournament, inputs: &[u64], mut swaps: impl FnMut(u64, u64) -> bool) -> Vec<u64> {
    let ring = Z2k::new(32).unwrap();
    let mut values = inputs.to_vec();
    for level in tournament.levels() {
        let met = level.first(&values).into_iter().zip(level.second(&values));
        let results: Vec<u64> = met.map(|(a, b)| if swaps(a, b) { a.min(b) } else { a.max(b) }).collect();
        values = level.advance_in(ring, &values, &results);
    }
    tournament.winners(&values)
}

/// The k largest of every window, by sorting.
fn largest(windows: &[Vec<u32>], inputs: &[u64], k: usize) -> Vec<u64> {
    let sorted = |window: &Vec<u32>| {
        let mut values: Vec<u64> = window.iter().map(|&i| inputs[i as usize]).collect();
        values.sort_unstable_by(|a, b| b.cmp(a));
        values.truncate(k);
        values
    };
    windows.iter().flat_map(sorted).collect()
}

fn whole(n: usize) -> Vec<Vec<u32>> {
    vec![(0..n as u32).collect()]
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
        prop_assert_eq!(run(&tournament, &inputs, |_, _| false), largest(&windows, &inputs, 1));
        prop_assert_eq!(tournament.gates(), windows.iter().map(|w| w.len() - 1).sum::<usize>());
    }

    #[test]
    fn repeated_plans_are_the_plan_of_all_windows(
        inputs in 1usize..20,
        picks in proptest::collection::vec(proptest::collection::vec(any::<u32>(), 1..9), 1..8),
        times in 1usize..4,
    ) {
        let windows: Vec<Vec<u32>> =
            picks.iter().map(|w| w.iter().map(|i| i % inputs as u32).collect()).collect();
        let all: Vec<Vec<u32>> = (0..times)
            .flat_map(|copy| windows.iter().map(move |w| w.iter().map(|&i| i + (copy * inputs) as u32).collect()))
            .collect();
        let one = Tournament::new(inputs, &windows).unwrap();
        prop_assert_eq!(one.repeat(times).unwrap(), Tournament::new(times * inputs, &all).unwrap());
    }

    #[test]
    fn a_second_plan_finds_the_maxima_of_maxima(
        inputs in proptest::collection::vec(0u64..1000, 1..30),
        first in proptest::collection::vec(proptest::collection::vec(any::<u32>(), 1..6), 1..9),
        second in proptest::collection::vec(proptest::collection::vec(any::<u32>(), 1..6), 1..9),
    ) {
        let within = |windows: &[Vec<u32>], n: usize| -> Vec<Vec<u32>> {
            windows.iter().map(|w| w.iter().map(|i| i % n as u32).collect()).collect()
        };
        let (first, second) = (within(&first, inputs.len()), within(&second, first.len()));
        let rows = Tournament::new(inputs.len(), &first).unwrap();
        let columns = Tournament::new(first.len(), &second).unwrap();
        prop_assert!(rows.clone().then(Tournament::new(first.len() + 1, &[vec![0]]).unwrap()).is_err());
        let (gates, both) = (rows.gates() + columns.gates(), rows.then(columns).unwrap());
        prop_assert_eq!(both.gates(), gates);
        let maxima = largest(&first, &inputs, 1);
        prop_assert_eq!(run(&both, &inputs, |_, _| false), largest(&second, &maxima, 1));
    }

    #[test]
    fn finds_the_largest_of_windows_of_any_sizes(
        inputs in proptest::collection::vec(0u64..50, 1..60),
        picks in proptest::collection::vec(proptest::collection::vec(any::<u32>(), 4..30), 1..6),
        k in 1usize..5,
    ) {
        let windows: Vec<Vec<u32>> =
            picks.iter().map(|w| w.iter().map(|i| i % inputs.len() as u32).collect()).collect();
        let plan = Tournament::top(inputs.len(), &windows, k).unwrap();
        prop_assert_eq!(run(&plan, &inputs, |_, _| false), largest(&windows, &inputs, k));
        prop_assert_eq!(plan.outputs(), windows.len() * k);
    }

    #[test]
    fn erring_sign_tests_lose_nothing_and_stay_within_the_bound(
        inputs in proptest::collection::vec(0u64..400, 8..40),
        errs in proptest::collection::vec(any::<bool>(), 64),
        k in 2usize..9,
    ) {
        const APART: u64 = 16;
        let windows = whole(inputs.len());
        let plan = Tournament::top(inputs.len(), &windows, k).unwrap();
        let mut errs = errs.iter().cycle();
        let found = run(&plan, &inputs, |a, b| a.abs_diff(b) < APART && *errs.next().unwrap());
        let bound = APART * plan.levels().len() as u64;
        for (&found, true_value) in found.iter().zip(largest(&windows, &inputs, k)) {
            prop_assert!(found.abs_diff(true_value) <= bound);
        }
        // Every value found is one of the inputs, and none is found more often than it is there.
        let count = |list: &[u64], value: u64| list.iter().filter(|&&other| other == value).count();
        prop_assert!(found.iter().all(|&value| count(&found, value) <= count(&inputs, value)));
    }

    #[test]
    fn shares_go_the_way_of_their_values(
        pairs in proptest::collection::vec((0u64..1 << 16, 0u64..1 << 18, 0u64..1 << 18), 3..40),
        k in 1usize..4,
    ) {
        let ring = Z2k::new(18).unwrap();
        let index_ring = Z2k::new(6).unwrap();
        let inputs: Vec<u64> = pairs.iter().map(|pair| pair.0).collect();
        let plan = Tournament::top(inputs.len(), &whole(inputs.len()), k).unwrap();
        // Two lanes, value and index, as (server's, client's) shares; a fresh client share per gate.
        let mut lanes = [
            (ring, pairs.iter().map(|p| ring.sub(p.0, p.1)).collect::<Vec<_>>(), pairs.iter().map(|p| p.1).collect::<Vec<_>>()),
            (index_ring, (0..inputs.len() as u64).collect(), vec![0; inputs.len()]),
        ];
        let mut fresh = pairs.iter().map(|pair| pair.2).cycle();
        for level in plan.levels() {
            let (ring, server, client) = &lanes[0];
            let sum = |at: &dyn Fn(&[u64]) -> Vec<u64>| -> Vec<u64> {
                at(server).iter().zip(at(client)).map(|(&m, c)| ring.add(m, c)).collect()
            };
            let (first, second) = (sum(&|v| level.first(v)), sum(&|v| level.second(v)));
            let verdicts: Vec<bool> = first.iter().zip(&second).map(|(a, b)| a >= b).collect();
            for (ring, server, client) in &mut lanes {
                let pick = |values: &[u64]| -> Vec<u64> {
                    let both = level.first(values).into_iter().zip(level.second(values));
                    both.zip(&verdicts).map(|((a, b), &d)| if d { a } else { b }).collect()
                };
                let own: Vec<u64> = verdicts.iter().map(|_| fresh.next().unwrap() & ring.mask()).collect();
                let results: Vec<u64> = pick(server)
                    .into_iter()
                    .zip(pick(client))
                    .zip(&own)
                    .map(|((m, c), &r)| ring.sub(ring.add(m, c), r))
                    .collect();
                *server = level.advance_in(*ring, server, &results);
                *client = level.advance_in(*ring, client, &own);
            }
        }
        let opened: Vec<Vec<u64>> = lanes
            .iter()
            .map(|(ring, server, client)| {
                plan.winners(server).iter().zip(plan.winners(client)).map(|(&m, c)| ring.add(m, c)).collect()
            })
            .collect();
        prop_assert_eq!(&opened[0], &largest(&whole(inputs.len()), &inputs, k));
        for (value, index) in opened[0].iter().zip(&opened[1]) {
            prop_assert_eq!(*value, inputs[*index as usize]);
        }
        let distinct: std::collections::HashSet<u64> = opened[1].iter().copied().collect();
        prop_assert_eq!(distinct.len(), k);
    }
}

#[test]
fn every_size_up_to_forty_sorts() {
    let mut state = 1u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    for n in 1..=40 {
        for k in 1..=8.min(n) {
            let plan = Tournament::top(n, &whole(n), k).unwrap();
            for round in 0..40 {
                // Orders, many ties, and zeros and ones.
                let modulus = [1 << 30, n as u64, 2][round % 3];
                let inputs: Vec<u64> = (0..n).map(|_| random() % modulus).collect();
                let found = run(&plan, &inputs, |_, _| false);
                assert_eq!(found, largest(&whole(n), &inputs, k), "{k} of {n}: {inputs:?}");
            }
        }
    }
}

#[test]
fn the_largest_one_is_the_tournament() {
    for n in 1..=40 {
        let windows = [whole(n), whole(n.div_ceil(2))].concat();
        assert_eq!(Tournament::top(n, &windows, 1).unwrap(), Tournament::new(n, &windows).unwrap());
        let tournament = Tournament::new(n, &whole(n)).unwrap();
        assert_eq!(
            (tournament.levels().len(), tournament.gates()),
            ((n.next_power_of_two()).ilog2() as usize, n - 1)
        );
        // The search itself, asked for one, finds nothing worse.
        let network = merge::top(n, 1);
        assert_eq!((network.depth(), network.gates()), (tournament.levels().len(), n - 1));
    }
}

#[test]
fn levels_and_gates_are_as_documented() {
    // (n, k, levels, gates), the table of the module.
    for (n, k, levels, gates) in DOCUMENTED {
        let plan = Tournament::top(n, &whole(n), k).unwrap();
        assert_eq!((plan.levels().len(), plan.gates()), (levels, gates), "{k} of {n}");
    }
}

const DOCUMENTED: [(usize, usize, usize, usize); 7] = [
    (10, 1, 4, 9),
    (10, 3, 7, 24),
    (10, 5, 7, 29),
    (100, 3, 18, 247),
    (100, 5, 22, 348),
    (1000, 5, 34, 3502),
    (1000, 10, 40, 5239),
];

#[test]
fn bad_windows_are_refused() {
    assert!(Tournament::new(3, &[vec![]]).is_err());
    assert!(Tournament::new(3, &[vec![3]]).is_err());
    assert!(Tournament::top(3, &[vec![0, 1]], 0).is_err());
    assert!(Tournament::top(3, &[vec![0, 1], vec![0]], 2).is_err());
    assert!(Tournament::top(3, &[vec![0, 3]], 2).is_err());
    assert!(Tournament::top(3, &[vec![0, 2]], 2).is_ok());
}

#[test]
fn windows_of_one_need_no_level() {
    let tournament = Tournament::new(3, &[vec![2], vec![0]]).unwrap();
    assert_eq!((tournament.levels().len(), tournament.winners(&[7, 8, 9])), (0, vec![9, 7]));
}
