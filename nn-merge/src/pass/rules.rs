//! Rule by rule: a network that a rule is made for, and one that it must leave alone.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::tests::{count, difference, random_input, shapes};
use super::*;
use crate::NnError;
use crate::evaluate::run_f64;
use crate::graph::{Diagonal, Function, Op};
use crate::zoo::{self, Builder};

type Draft<'r> = Builder<'r, ChaCha8Rng>;

/// The network before and after merging; both compute the same.
fn merged(shape: &[usize], build: impl FnOnce(&mut Draft<'_>) -> Result<(), NnError>) -> (Graph, Graph) {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut b = Builder::new(shape, &mut rng).expect("small");
    build(&mut b).expect("fits");
    let graph = b.finish();
    let (merged, _) = run(&graph).expect("runs");
    let worst = difference(&graph, &merged, 12);
    assert!(worst < 1e-9, "{worst}\n{graph:?}\n{merged:?}");
    (graph, merged)
}

fn linear(op: &Op) -> bool {
    matches!(op, Op::Linear(_))
}

fn diagonal(op: &Op) -> bool {
    matches!(op, Op::BatchNorm(_) | Op::Scale(_))
}

const CONCAT: Op = Op::Concat { axis: 1 };
const IMAGE: [usize; 4] = [1, 4, 8, 8];

#[test]
fn a_normalisation_goes_through_a_sum_into_both_summands() {
    let (_, out) = merged(&IMAGE, |b| {
        let left = b.relu()?.conv(4, 3, 1, 1, 1)?.last();
        let right = b.at(0)?.activation(Function::HardSwish)?.conv(4, 5, 1, 2, 1)?.last();
        b.at(left)?.add(right)?.batch_norm(true)?.relu().map(|_| ())
    });
    assert_eq!(count(&out, diagonal), 0, "{out:?}");
    // A summand that somebody else reads must not change: the normalisation stays and becomes a map of its own.
    let (before, out) = merged(&IMAGE, |b| {
        let left = b.relu()?.conv(4, 3, 1, 1, 1)?.last();
        let right = b.at(0)?.activation(Function::HardSwish)?.conv(4, 5, 1, 2, 1)?.last();
        let norm = b.at(left)?.add(right)?.batch_norm(true)?.relu()?.last();
        b.at(left)?.activation(Function::HardSwish)?.add(norm).map(|_| ())
    });
    assert_eq!(count(&out, linear), count(&before, linear) + 1, "{out:?}");
}

#[test]
fn scales_go_through_everything_that_keeps_channels_apart() {
    let (_, out) = merged(&IMAGE, |b| {
        let left = b.conv(4, 3, 1, 1, 1)?.last();
        b.at(0)?.activation(Function::HardSwish)?.conv(2, 3, 1, 1, 1)?;
        let right = b.last();
        b.push(CONCAT, &[left, right])?.op(Op::Upsample([2, 2]))?.average_pool(2, 2, 0, true)?;
        b.op(Op::Slice { start: vec![0, 1, 0, 0], step: vec![1, 2, 1, 1], size: vec![1, 2, 8, 8] })?;
        b.batch_norm(true)?.activation(Function::HardSwish).map(|_| ())
    });
    assert_eq!(count(&out, diagonal), 0, "{out:?}");
    // Zeros of padding are not shifted, so a shift behind them cannot go before them; a scale can.
    for (shift, left) in [(0.0, 0), (0.5, 1)] {
        let (_, out) = merged(&IMAGE, |b| {
            b.conv(4, 3, 1, 1, 1)?.op(Op::Pad { before: vec![0, 0, 1, 0], after: vec![0; 4] })?;
            b.op(Op::Scale(Diagonal { scale: vec![-2.0; 4], shift: vec![shift; 4] }))?;
            b.activation(Function::HardSwish).map(|_| ())
        });
        assert_eq!(count(&out, diagonal), left, "{out:?}");
    }
}

#[test]
fn a_normalisation_before_a_relu_leaves_only_a_shift_of_the_sum() {
    // Pre-activation blocks: the sum is read by the next sum as well.
    let (_, out) = merged(&IMAGE, |b| {
        let start = b.conv(4, 3, 1, 1, 1)?.last();
        b.batch_norm(false)?.relu()?.conv(4, 3, 1, 1, 1)?.add(start)?;
        b.activation(Function::HardSwish).map(|_| ())
    });
    let rest: Vec<&Diagonal> =
        out.nodes().iter().filter_map(|n| if let Op::Scale(d) = &n.op { Some(d) } else { None }).collect();
    assert_eq!(rest.len(), 1, "{out:?}");
    assert!(rest[0].scale.iter().all(|&s| s == 1.0));
}

#[test]
fn a_shift_before_padding_stays_with_the_activation() {
    let shifted = |padding| {
        merged(&IMAGE, |b| {
            b.relu()?.op(Op::Scale(Diagonal { scale: vec![2.0; 4], shift: vec![1.0; 4] }))?;
            b.conv(4, 3, 1, padding, 1)?.relu().map(|_| ())
        })
    };
    assert_eq!(count(&shifted(0).1, diagonal), 0);
    assert_eq!(count(&shifted(1).1, diagonal), 1);
    // The input is nobody's activation: there it takes a linear map.
    let (_, out) = merged(&IMAGE, |b| {
        b.op(Op::Scale(Diagonal { scale: vec![2.0; 4], shift: vec![1.0; 4] }))?;
        b.conv(4, 3, 1, 1, 1)?.relu().map(|_| ())
    });
    assert_eq!((count(&out, diagonal), count(&out, linear)), (0, 2), "{out:?}");
}

#[test]
fn maxima_go_before_monotone_activations_only() {
    let order = |function: Function| {
        let (_, out) = merged(&IMAGE, |b| {
            b.conv(4, 3, 1, 1, 1)?
                .activation(function.clone())?
                .max_pool(2, 2, 0)?
                .conv(2, 1, 1, 0, 1)
                .map(|_| ())
        });
        matches!(out.node(2).op, Op::MaxPool(_))
    };
    assert!(order(Function::Relu));
    assert!(order(Function::Leaky { slope: 0.1 }));
    assert!(order(Function::PRelu { slopes: vec![0.1, 0.2, 0.0, 0.3] }));
    assert!(order(Function::Clip { low: 0.0, high: 6.0 }));
    assert!(order(Function::Smooth(crate::model::SmoothName::Tanh)));
    assert!(!order(Function::Leaky { slope: -0.1 }));
    assert!(!order(Function::PRelu { slopes: vec![0.1, 0.2, 0.0, -0.3] }));
    assert!(!order(Function::HardSwish));
    assert!(!order(Function::Smooth(crate::model::SmoothName::Gelu)));
}

#[test]
fn a_planted_exchange_of_a_maximum_and_a_falling_function_is_noticed() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut b = Builder::new(&IMAGE, &mut rng).expect("small");
    b.conv(4, 3, 1, 1, 1).expect("fits").activation(Function::Leaky { slope: -0.5 }).expect("fits");
    b.max_pool(2, 2, 0).expect("fits");
    let graph = b.finish();
    let mut wrong = graph.clone();
    wrong.swap_ops(2, 3);
    assert!(difference(&graph, &wrong.rebuild().expect("fits"), 4) > 1e-3);
}

#[test]
fn max_pools_merge_where_windows_leave_no_gap_and_no_work_is_added() {
    let pools = |first: (usize, usize, usize), second: (usize, usize, usize)| {
        let (_, out) = merged(&[1, 2, 17, 16], |b| {
            b.max_pool(first.0, first.1, first.2)?.max_pool(second.0, second.1, second.2)?;
            b.conv(2, 1, 1, 0, 1).map(|_| ())
        });
        count(&out, |op| matches!(op, Op::MaxPool(_)))
    };
    assert_eq!(pools((2, 2, 0), (2, 2, 0)), 1);
    assert_eq!(pools((3, 1, 1), (3, 1, 1)), 2, "overlapping windows: more comparisons");
    assert_eq!(pools((1, 2, 0), (2, 2, 0)), 2, "pixels between the windows");
}

#[test]
fn linear_maps_merge_when_it_is_cheaper() {
    let (_, out) = merged(&[1, 100], |b| b.dense(50)?.dense(20)?.relu().map(|_| ()));
    assert_eq!(count(&out, linear), 1);
    // A bottleneck: the product is a far larger matrix.
    let (_, out) = merged(&[1, 1000], |b| b.dense(2)?.dense(1000)?.relu().map(|_| ()));
    assert_eq!(count(&out, linear), 2);
}

#[test]
fn parallel_branches_become_one_convolution() {
    // RepVGG: 3×3, 1×1 and a normalisation of one input, added.
    let (_, out) = merged(&IMAGE, |b| {
        let start = b.relu()?.last();
        let wide = b.conv(4, 3, 1, 1, 1)?.last();
        let both = b.at(start)?.conv(4, 1, 1, 0, 1)?.add(wide)?.last();
        b.at(start)?.batch_norm(false)?.add(both)?.activation(Function::HardSwish).map(|_| ())
    });
    assert_eq!((count(&out, linear), out.nodes().len()), (1, 4), "{out:?}");
    // A projected shortcut: both inputs joined, the strided one cut.
    let (_, out) = merged(&IMAGE, |b| {
        let start = b.relu()?.last();
        let branch = b.conv(8, 3, 2, 1, 1)?.relu()?.conv(8, 3, 1, 1, 1)?.last();
        b.at(start)?.conv(8, 1, 2, 0, 1)?.add(branch)?.relu().map(|_| ())
    });
    let found: Vec<_> = shapes(&out).iter().map(|s| (s.in_channels, s.kernel, s.stride)).collect();
    assert_eq!(found, [(4, [3, 3], [2, 2]), (12, [3, 3], [1, 1])], "{out:?}");
    // A summand with another reader stays.
    let (_, out) = merged(&IMAGE, |b| {
        let start = b.relu()?.last();
        let wide = b.conv(4, 3, 1, 1, 1)?.last();
        let sum = b.at(start)?.conv(4, 5, 1, 2, 1)?.add(wide)?.relu()?.last();
        b.at(wide)?.activation(Function::HardSwish)?.add(sum).map(|_| ())
    });
    assert_eq!(count(&out, |op| matches!(op, Op::Add)), 2, "{out:?}");
}

#[test]
fn maps_of_one_input_join_unless_zeros_cost_more() {
    let fire = |kernel: usize, side: usize, channels: usize| {
        let (_, out) = merged(&[1, channels, side, side], |b| {
            let start = b.relu()?.last();
            let narrow = b.conv(channels, 1, 1, 0, 1)?.relu()?.last();
            let wide = b.at(start)?.conv(channels, kernel, 1, kernel / 2, 1)?.relu()?.last();
            b.push(CONCAT, &[narrow, wide])?.conv(2, 1, 1, 0, 1).map(|_| ())
        });
        (count(&out, linear), count(&out, |op| matches!(op, Op::Activation(_))))
    };
    assert_eq!(fire(3, 8, 4), (2, 2), "one map, one activation, and the reader");
    assert_eq!(fire(7, 5, 128), (3, 2), "forty-eight zeros for every weight");
}

#[test]
fn quadratics_become_squares() {
    let square = Function::Polynomial { coefficients: vec![vec![0.0, 0.0, 1.0]] };
    let quadratic = |coefficients: &[[f64; 3]], padding| {
        let rows = coefficients.iter().map(|row| row.to_vec()).collect();
        merged(&IMAGE, |b| {
            b.conv(4, 3, 1, 1, 1)?.activation(Function::Polynomial { coefficients: rows })?;
            b.conv(3, 3, 1, padding, 1)?.relu().map(|_| ())
        })
        .1
    };
    let out = quadratic(&[[0.3, 0.5, 0.2]], 0);
    assert!(matches!(&out.node(2).op, Op::Activation(f) if *f == square), "{out:?}");
    assert_eq!(count(&out, diagonal), 0, "shift and scale are in the convolutions");
    // The constant must not reach the zeros of the border.
    let out = quadratic(&[[0.3, 0.5, 0.2]], 1);
    assert!(matches!(&out.node(3).op, Op::Scale(d) if d.scale == [1.0; 4] && d.shift[0] != 0.0), "{out:?}");
    // A straight line is no square.
    let out = quadratic(&[[0.3, 0.5, 0.2], [0.1, 0.7, 0.0], [0.0, 0.0, 0.0], [0.0, 0.2, -0.1]], 0);
    let Op::Mixed(parts) = &out.node(2).op else { panic!("a mixed activation: {out:?}") };
    assert_eq!(parts.iter().map(|p| p.channels.len()).collect::<Vec<_>>(), [2, 2]);
    assert_eq!(parts[1].function, Function::Identity);
    // Nowhere to put the shift: the polynomial is monic and keeps its linear term.
    let (_, out) = merged(&IMAGE, |b| {
        let sum = b.conv(4, 3, 1, 1, 1)?.last();
        b.activation(Function::Polynomial { coefficients: vec![vec![1.0, 3.0, 2.0]] })?
            .conv(4, 1, 1, 0, 1)?;
        b.add(sum)?.relu().map(|_| ())
    });
    let monic = Function::Polynomial { coefficients: vec![vec![0.0, 1.5, 1.0]] };
    assert!(matches!(&out.node(2).op, Op::Activation(f) if *f == monic), "{out:?}");
}

#[test]
fn higher_degrees_become_monic() {
    let (_, out) = merged(&IMAGE, |b| {
        b.conv(4, 3, 1, 1, 1)?
            .activation(Function::Polynomial { coefficients: vec![vec![1.0, 2.0, 0.0, 4.0]] })?;
        b.conv(3, 1, 1, 0, 1)?.relu().map(|_| ())
    });
    let monic = Function::Polynomial { coefficients: vec![vec![0.0, 0.5, 0.0, 1.0]] };
    assert!(matches!(&out.node(2).op, Op::Activation(f) if *f == monic), "{out:?}");
    assert_eq!(count(&out, diagonal), 0);
}

#[test]
fn two_activations_in_a_row_become_one_where_there_is_one() {
    let clip = |low, high| Function::Clip { low, high };
    let both = |first: Function, second: Function| {
        let (_, out) = merged(&IMAGE, |b| {
            b.conv(4, 3, 1, 1, 1)?.activation(first)?.activation(second)?.conv(2, 1, 1, 0, 1).map(|_| ())
        });
        let found = |n: &crate::graph::Node| match &n.op {
            Op::Activation(function) => Some(function.clone()),
            _ => None,
        };
        out.nodes().iter().filter_map(found).collect::<Vec<Function>>()
    };
    assert_eq!(both(Function::Relu, Function::Relu), [Function::Relu]);
    assert_eq!(both(Function::Relu, clip(0.0, 6.0)), [clip(0.0, 6.0)]);
    assert_eq!(both(clip(0.0, 6.0), Function::Relu), [clip(0.0, 6.0)]);
    assert_eq!(both(clip(-1.0, 0.5), clip(0.0, 6.0)), [clip(0.0, 0.5)]);
    assert_eq!(
        both(Function::Leaky { slope: 0.5 }, Function::Leaky { slope: -0.5 }),
        [Function::Leaky { slope: -0.25 }]
    );
    assert!(both(clip(-2.0, -1.0), clip(0.0, 6.0)).is_empty(), "a constant");
    assert_eq!(both(Function::Leaky { slope: -0.5 }, Function::Relu).len(), 2);
    assert_eq!(both(Function::Relu, Function::HardSwish).len(), 2);
}

#[test]
fn only_equal_activations_are_joined() {
    let joined = |second: Function, shared: bool| {
        let (_, out) = merged(&IMAGE, |b| {
            let left = b.conv(4, 3, 1, 1, 1)?.relu()?.last();
            let right = b.at(0)?.conv(3, 5, 1, 2, 1)?.activation(second)?.last();
            b.push(CONCAT, &[left, right])?.conv(4, 1, 1, 0, 1)?;
            if shared {
                b.add(left)?;
            }
            Ok(())
        });
        count(&out, |op| matches!(op, Op::Activation(_)))
    };
    assert_eq!(joined(Function::Relu, false), 1);
    assert_eq!(joined(Function::Clip { low: 0.0, high: 1.0 }, false), 2);
    assert_eq!(joined(Function::Relu, true), 2);
}

#[test]
fn maps_that_undo_each_other_disappear() {
    let slice = |from: usize, size: usize| Op::Slice {
        start: vec![0, from, 0, 0],
        step: vec![1; 4],
        size: vec![1, size, 8, 8],
    };
    let (_, out) = merged(&IMAGE, |b| {
        let parts =
            [b.op(slice(0, 1))?.last(), b.at(0)?.op(slice(1, 2))?.last(), b.at(0)?.op(slice(3, 1))?.last()];
        b.push(CONCAT, &parts)?.conv(4, 3, 1, 1, 1).map(|_| ())
    });
    assert_eq!(out.nodes().len(), 2, "{out:?}");
    let (_, out) = merged(&IMAGE, |b| {
        let other = b.relu()?.last();
        b.push(CONCAT, &[0, other])?.op(slice(5, 2))?.op(slice(1, 1))?.conv(4, 3, 1, 1, 1).map(|_| ())
    });
    assert!(
        matches!(&out.node(1).op, Op::Slice { start, size, .. } if start[1] == 2 && size[1] == 1),
        "{out:?}"
    );
    // In another order it is no identity.
    let (_, out) = merged(&IMAGE, |b| {
        let parts = [b.op(slice(2, 2))?.last(), b.at(0)?.op(slice(0, 2))?.last()];
        b.push(CONCAT, &parts)?.conv(4, 3, 1, 1, 1).map(|_| ())
    });
    assert_eq!(out.nodes().len(), 5, "{out:?}");
}

#[test]
fn a_padded_shortcut_of_a_residual_network_stays_local() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let graph = zoo::resnet_cifar(20, &mut rng).expect("fixed shapes");
    let (out, _) = run(&graph).expect("runs");
    let cost = Cost::of(&out);
    assert_eq!((cost.linear_levels, cost.activation_levels), (20, 19));
    assert_eq!(count(&out, |op| matches!(op, Op::Pad { .. })), 2);
    let input = random_input(&mut rng, graph.input_len());
    let (a, b) = (run_f64(&graph, &input).expect("runs"), run_f64(&out, &input).expect("runs"));
    assert!(a.iter().zip(&b).all(|(x, y)| (x - y).abs() < 1e-9));
}

#[test]
fn averages_with_uneven_windows_are_cut_into_regions() {
    let (_, out) = merged(&[1, 2, 7, 6], |b| {
        b.relu()?.average_pool(3, 2, 1, false)?.conv(2, 1, 1, 0, 1)?.relu().map(|_| ())
    });
    assert_eq!(count(&out, |op| matches!(op, Op::AveragePool { .. })), 0, "{out:?}");
    // Rows 2+3+3+2 cells, columns 2+3+3: three runs and two.
    assert_eq!(count(&out, linear), 3 * 2 + 1);
}

#[test]
fn pointwise_convolutions_go_behind_the_average() {
    let (_, out) = merged(&[1, 8, 16, 16], |b| {
        b.relu()?.conv(4, 1, 1, 0, 1)?.average_pool(2, 2, 0, true)?.relu().map(|_| ())
    });
    assert!(matches!(out.node(2).op, Op::AveragePool { .. }), "{out:?}");
    assert_eq!(shapes(&out)[0].in_height, 8);
}
