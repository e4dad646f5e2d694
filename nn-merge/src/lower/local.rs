//! Moving elements about: graph operations on any number of axes as local maps of three.
//!
//! Axes of one element vanish and axes that stay together are joined, so that a map that touches one axis sees at most three
//! blocks: before, the axis, behind.

use crate::graph::Op;
use crate::model::{LocalOp, Shape};

use super::canonical;

/// The local maps, one after the other, that do what `op` does to one tensor of shape `from`, giving `to` (canonical both).
/// The error is a clause.
pub(super) fn maps(op: &Op, from: &[usize], to: &[usize]) -> Result<Vec<LocalOp>, String> {
    let mut maps = match op {
        Op::Reshape(_) => Vec::new(),
        Op::Transpose(perm) => transpose(from, perm)?,
        Op::Slice { start, step, size } => {
            let one = |axis: usize, side: usize, kept: usize| {
                let touched = !(start[axis] == 0 && step[axis] == 1 && size[axis] == side);
                touched.then(|| {
                    let op = LocalOp::Slice {
                        start: [0, start[axis], 0],
                        step: [1, step[axis], 1],
                        size: [0, kept, 0],
                    };
                    (op, size[axis])
                })
            };
            by_axis(from, canonical(to), |axis, side| one(axis, side, size[axis]))
        }
        Op::Pad { before, after } => by_axis(from, canonical(to), |axis, side| {
            let touched = before[axis] + after[axis] > 0;
            touched.then(|| {
                let op = LocalOp::Pad { before: [0, before[axis], 0], after: [0, after[axis], 0] };
                (op, side + before[axis] + after[axis])
            })
        }),
        &Op::Upsample(factors) => vec![LocalOp::Upsample(factors)],
        other => return Err(format!("a {} does not move elements", other.kind())),
    };
    maps.push(LocalOp::Reshape(canonical(to)));
    Ok(maps)
}

/// What brings an input of shape `from` into the form in which tensors joined along `axis` lie one behind the other as
/// channels, and what brings the joined tensor, of shape `to`, back.
pub(super) fn joining(axis: usize, from: &[usize], to: &[usize]) -> (Vec<LocalOp>, Vec<LocalOp>) {
    let blocks = |shape: &[usize]| -> Shape {
        [shape[..axis].iter().product(), shape[axis], shape[axis + 1..].iter().product()]
    };
    let ([outer, side, inner], joined) = (blocks(from), blocks(to));
    if axis == 1 && from[0] == 1 {
        return (Vec::new(), Vec::new());
    }
    if outer == 1 {
        return (vec![LocalOp::Reshape([side, inner, 1])], vec![LocalOp::Reshape(canonical(to))]);
    }
    let back = vec![LocalOp::Permute([1, 0, 2]), LocalOp::Reshape(canonical(to))];
    debug_assert_eq!(joined[0], outer);
    (vec![LocalOp::Reshape([outer, side, inner]), LocalOp::Permute([1, 0, 2])], back)
}

/// One map per touched axis, each on the blocks before, at and behind it; the op's middle size is filled in here. Slices of
/// a plain C×H×W tensor stay one map.
fn by_axis(
    from: &[usize],
    to: Shape,
    mut touch: impl FnMut(usize, usize) -> Option<(LocalOp, usize)>,
) -> Vec<LocalOp> {
    let touched: Vec<_> = (0..from.len()).map(|axis| touch(axis, from[axis])).collect();
    if from.len() <= 4 && from[0] == 1 && touched[0].is_none() {
        let mut all: Option<LocalOp> = None;
        for (axis, part) in touched.iter().enumerate() {
            let Some((op, _)) = part else { continue };
            all = Some(joined(all, op, axis - 1, canonical(from), to));
        }
        return all.into_iter().collect();
    }
    let mut shape = from.to_vec();
    let mut maps = Vec::new();
    for (axis, part) in touched.into_iter().enumerate() {
        let Some((op, side)) = part else { continue };
        let outer = shape[..axis].iter().product();
        let inner = shape[axis + 1..].iter().product();
        maps.push(LocalOp::Reshape([outer, shape[axis], inner]));
        maps.push(match op {
            LocalOp::Slice { start, step, size } => {
                LocalOp::Slice { start, step, size: [outer, size[1], inner] }
            }
            other => other,
        });
        shape[axis] = side;
    }
    maps
}

/// A one-axis map, as [`by_axis`] is given it, put at `axis` of a map of all three.
fn joined(all: Option<LocalOp>, op: &LocalOp, axis: usize, from: Shape, to: Shape) -> LocalOp {
    let set = |mut sides: Shape, from: &Shape| {
        sides[axis] = from[1];
        sides
    };
    match (all, op) {
        (Some(LocalOp::Slice { start: a, step: b, size: c }), LocalOp::Slice { start, step, size }) => {
            LocalOp::Slice { start: set(a, start), step: set(b, step), size: set(c, size) }
        }
        (Some(LocalOp::Pad { before: a, after: b }), LocalOp::Pad { before, after }) => {
            LocalOp::Pad { before: set(a, before), after: set(b, after) }
        }
        (_, LocalOp::Slice { start, step, .. }) => {
            let size: Shape = std::array::from_fn(|a| if a == axis { to[a] } else { from[a] });
            LocalOp::Slice { start: set([0; 3], start), step: set([1; 3], step), size }
        }
        (_, LocalOp::Pad { before, after }) => {
            LocalOp::Pad { before: set([0; 3], before), after: set([0; 3], after) }
        }
        (_, other) => other.clone(),
    }
}

/// A permutation of blocks of axes that stay together.
fn transpose(from: &[usize], perm: &[usize]) -> Result<Vec<LocalOp>, String> {
    // The result's axes that are longer than 1, as runs of neighbouring input axes.
    let kept: Vec<usize> = (0..from.len()).filter(|&axis| from[axis] > 1).collect();
    let place = |axis: usize| kept.iter().position(|&k| k == axis);
    let mut blocks: Vec<Vec<usize>> = Vec::new();
    for position in perm.iter().filter_map(|&axis| place(axis)) {
        match blocks.last_mut() {
            Some(block) if block.last().is_some_and(|&last| last + 1 == position) => block.push(position),
            _ => blocks.push(vec![position]),
        }
    }
    if blocks.len() <= 1 {
        return Ok(Vec::new());
    }
    if blocks.len() > 3 {
        return Err(format!(
            "it permutes {} blocks of axes of a tensor of shape {from:?}, at most three are supported",
            blocks.len()
        ));
    }
    let mut order: Vec<usize> = (0..blocks.len()).collect();
    order.sort_by_key(|&block| blocks[block][0]);
    let mut shape = [1; 3];
    let mut axes = [0u8, 1, 2];
    for (input, &block) in order.iter().enumerate() {
        shape[input] = blocks[block].iter().map(|&position| from[kept[position]]).product();
        axes[block] = input as u8;
    }
    Ok(vec![LocalOp::Reshape(shape), LocalOp::Permute(axes)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::IndexMap;
    use crate::shape::{ZERO, index_map, infer};
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    fn below(rng: &mut impl Rng, bound: usize) -> usize {
        (rng.next_u64() % bound as u64) as usize
    }

    fn random_op(rng: &mut impl Rng, shape: &[usize]) -> Op {
        match below(rng, 4) {
            0 => {
                let mut perm: Vec<usize> = (0..shape.len()).collect();
                for i in 1..perm.len() {
                    perm.swap(i, below(rng, i + 1));
                }
                Op::Transpose(perm)
            }
            1 => {
                let start: Vec<usize> = shape.iter().map(|&side| below(rng, side)).collect();
                let step: Vec<usize> = shape.iter().map(|_| 1 + below(rng, 2)).collect();
                let size =
                    shape.iter().zip(start.iter().zip(&step)).map(|(side, (s, d))| (side - s).div_ceil(*d));
                Op::Slice { size: size.collect(), start, step }
            }
            2 => {
                let mut side =
                    || (0..shape.len()).map(|axis| if axis == 0 { 0 } else { below(rng, 2) }).collect();
                Op::Pad { before: side(), after: side() }
            }
            _ => Op::Reshape(vec![1, shape.iter().product()]),
        }
    }

    #[test]
    fn maps_move_elements_as_the_graph_does() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut refused = 0;
        for trial in 0..3000 {
            let shape: Vec<usize> = (0..1 + below(&mut rng, 5))
                .map(|axis| if axis == 0 { 1 } else { 1 + below(&mut rng, 4) })
                .collect();
            let op = random_op(&mut rng, &shape);
            let to = infer(&op, &[&shape]).expect("made to fit");
            let wanted = index_map(&op, &[&shape]).expect("fits").expect("moves elements");
            let Ok(maps) = maps(&op, &shape, &to) else {
                refused += 1;
                continue;
            };
            let mut at = canonical(&shape);
            let mut got = IndexMap::identity(at.iter().product());
            for map in maps {
                got = map.index_map(&[at]).after(&got);
                at = map.shape(&[at]).unwrap_or_else(|e| panic!("trial {trial}: {e}"));
            }
            assert_eq!(at, canonical(&to));
            let wanted = IndexMap::of(wanted.into_iter().map(|i| (i != ZERO).then_some(i)));
            assert_eq!(got, wanted, "trial {trial}: {shape:?} {to:?}");
        }
        assert!(refused < 300, "{refused}");
    }

    #[test]
    fn joining_is_concat_along_any_axis() {
        for shape in [vec![1, 2, 3, 4], vec![2, 3], vec![1, 1, 4], vec![1, 3]] {
            for axis in 0..shape.len() {
                let mut other = shape.clone();
                other[axis] += 1;
                let shapes = [shape.clone(), other];
                let refs: Vec<&[usize]> = shapes.iter().map(Vec::as_slice).collect();
                let op = Op::Concat { axis };
                let to = infer(&op, &refs).expect("fits");
                let wanted = index_map(&op, &refs).expect("fits").expect("moves elements");
                let mut sources: Vec<Option<u32>> = Vec::new();
                let mut parts = Vec::new();
                let mut back = Vec::new();
                for one in &shapes {
                    let (maps, behind) = joining(axis, one, &to);
                    let mut at = canonical(one);
                    let mut map = IndexMap::identity(at.iter().product());
                    for op in maps {
                        map = op.index_map(&[at]).after(&map);
                        at = op.shape(&[at]).expect("fits");
                    }
                    let first = sources.len() as u32;
                    sources.extend((0..map.len()).map(|i| Some(first + map.sources(i)[0])));
                    parts.push(at);
                    back = behind;
                }
                let mut at = LocalOp::Concat.shape(&parts).expect("fits");
                let mut map = IndexMap::of(sources.into_iter());
                for op in back {
                    map = op.index_map(&[at]).after(&map);
                    at = op.shape(&[at]).expect("fits");
                }
                assert_eq!(at, canonical(&to));
                assert_eq!(map, IndexMap::of(wanted.into_iter().map(Some)), "{shape:?} {axis}");
            }
        }
    }
}
