//! Local maps: what both parties apply to their shares without a word.
//!
//! Each is linear with coefficients 0 and 1, hence the same on the server's share, the client's share and the value.
//! [`LocalOp::index_map`] says, for every element of the result, which elements of the inputs are summed.

use serde::{Deserialize, Serialize};

use super::PoolGeometry;
use super::node::Shape;

/// Most elements of a tensor.
pub(crate) const MAX_TENSOR: usize = 1 << 26;

/// A local map; axes are channels, height, width.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub enum LocalOp {
    /// The same elements, read in another shape.
    Reshape(Shape),
    /// One input after the other along the channels.
    Concat,
    /// Every step-th element from start on, size of them.
    Slice {
        /// First index.
        start: Shape,
        /// Distance, at least 1.
        step: Shape,
        /// Number of elements.
        size: Shape,
    },
    /// Zeros around.
    Pad {
        /// In front.
        before: Shape,
        /// Behind.
        after: Shape,
    },
    /// Axis i of the result is axis `.0[i]` of the input.
    Permute([u8; 3]),
    /// The sum over each window; padding adds nothing.
    SumPool(PoolGeometry),
    /// Every pixel repeated that many times along height and width.
    Upsample([usize; 2]),
}

/// For every element of a result the elements that it sums, counted through all inputs one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexMap {
    /// Where the sources of element i begin; one more entry than elements.
    starts: Vec<u32>,
    sources: Vec<u32>,
}

impl IndexMap {
    /// Every element is the same element of the input.
    pub fn identity(length: usize) -> Self {
        Self::of((0..length).map(|i| Some(i as u32)))
    }

    /// Of at most one source each.
    pub fn of(sources: impl Iterator<Item = Option<u32>>) -> Self {
        let mut map = Self { starts: vec![0], sources: Vec::new() };
        for source in sources {
            map.sources.extend(source);
            map.starts.push(map.sources.len() as u32);
        }
        map
    }

    /// Of any number of sources each.
    pub fn sums<I: IntoIterator<Item = u32>>(elements: impl Iterator<Item = I>) -> Self {
        let mut map = Self { starts: vec![0], sources: Vec::new() };
        for sources in elements {
            map.sources.extend(sources);
            map.starts.push(map.sources.len() as u32);
        }
        map
    }

    /// Elements of the result.
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Whether the result is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What element `index` sums; nothing where it is zero.
    ///
    /// # Panics
    /// If `index` is out of range.
    pub fn sources(&self, index: usize) -> &[u32] {
        &self.sources[self.starts[index] as usize..self.starts[index + 1] as usize]
    }

    /// Sources of this map behind `first`, all elements together: what [`IndexMap::after`] writes.
    ///
    /// # Panics
    /// As [`IndexMap::after`], if this map reads elements that `first` does not have.
    pub fn sources_after(&self, first: &Self) -> u64 {
        self.sources.iter().map(|&middle| first.sources(middle as usize).len() as u64).sum()
    }

    /// This map behind `first`.
    pub fn after(&self, first: &Self) -> Self {
        Self::sums((0..self.len()).map(|i| {
            self.sources(i).iter().flat_map(|&middle| first.sources(middle as usize).iter().copied())
        }))
    }

    /// Whether every element has exactly one source, its own index.
    pub fn is_identity(&self) -> bool {
        self.sources.len() == self.len()
            && self.sources.iter().enumerate().all(|(i, &s)| i == s as usize)
            && self.starts.iter().enumerate().all(|(i, &s)| i == s as usize)
    }

    /// Applies the map to values, adding with `add` from `zero`.
    pub fn apply<T: Copy>(&self, values: &[T], zero: T, add: impl Fn(T, T) -> T) -> Vec<T> {
        (0..self.len())
            .map(|i| match *self.sources(i) {
                [] => zero,
                [one] => values[one as usize],
                ref many => many.iter().fold(zero, |sum, &s| add(sum, values[s as usize])),
            })
            .collect()
    }
}

impl LocalOp {
    /// The shape of the result.
    ///
    /// # Errors
    /// A clause that says what does not fit.
    pub fn shape(&self, inputs: &[Shape]) -> Result<Shape, String> {
        let first = *inputs.first().ok_or("it reads nothing")?;
        if inputs.len() != 1 && *self != Self::Concat {
            return Err(format!("it takes one input, not {}", inputs.len()));
        }
        let shape = match self {
            &Self::Reshape(shape) => {
                if elements(shape)? != elements(first)? {
                    return Err(format!("{first:?} cannot be read as {shape:?}"));
                }
                shape
            }
            Self::Concat => {
                if inputs.iter().any(|shape| shape[1..] != first[1..]) {
                    return Err(format!("inputs of shapes {inputs:?} cannot be joined along the channels"));
                }
                let channels = inputs.iter().try_fold(0usize, |sum, shape| sum.checked_add(shape[0]));
                [channels.ok_or("too many channels")?, first[1], first[2]]
            }
            Self::Slice { start, step, size } => {
                for axis in 0..3 {
                    let last = size[axis]
                        .checked_sub(1)
                        .and_then(|n| n.checked_mul(step[axis]))
                        .and_then(|n| n.checked_add(start[axis]));
                    if step[axis] == 0 || last.is_none_or(|last| last >= first[axis]) {
                        return Err(format!("a slice of axis {axis} that {first:?} does not have"));
                    }
                }
                *size
            }
            Self::Pad { before, after } => {
                let mut shape = first;
                for axis in 0..3 {
                    let side = shape[axis].checked_add(before[axis]).and_then(|n| n.checked_add(after[axis]));
                    shape[axis] = side.ok_or("too much padding")?;
                }
                shape
            }
            Self::Permute(axes) => {
                let mut sorted = *axes;
                sorted.sort_unstable();
                if sorted != [0, 1, 2] {
                    return Err(format!("{axes:?} is not an order of three axes"));
                }
                axes.map(|axis| first[usize::from(axis)])
            }
            Self::SumPool(pool) => {
                let s = pool.shape();
                if [s.channels, s.in_height, s.in_width] != first {
                    return Err(format!("its windows do not lie in {first:?}"));
                }
                [s.channels, pool.out_height(), pool.out_width()]
            }
            &Self::Upsample([rows, columns]) => {
                let sides = [first[1].checked_mul(rows), first[2].checked_mul(columns)];
                let [Some(height), Some(width)] = sides else { return Err("too large an image".into()) };
                [first[0], height, width]
            }
        };
        elements(shape)?;
        Ok(shape)
    }

    /// The map, for inputs of shapes that [`LocalOp::shape`] accepts.
    ///
    /// # Panics
    /// If it does not.
    pub fn index_map(&self, inputs: &[Shape]) -> IndexMap {
        let first = inputs[0];
        let out = self.shape(inputs).expect("a shape that was checked");
        let at = |c: usize, y: usize, x: usize| ((c * first[1] + y) * first[2] + x) as u32;
        let every = || {
            (0..out[0]).flat_map(move |c| (0..out[1]).flat_map(move |y| (0..out[2]).map(move |x| [c, y, x])))
        };
        match self {
            Self::Reshape(_) | Self::Concat => IndexMap::identity(out.iter().product()),
            Self::Slice { start, step, .. } => IndexMap::of(every().map(|i| {
                let [c, y, x] = [0, 1, 2].map(|a| start[a] + i[a] * step[a]);
                Some(at(c, y, x))
            })),
            Self::Pad { before, .. } => IndexMap::of(every().map(|i| {
                let mut source = [0; 3];
                for axis in 0..3 {
                    source[axis] = i[axis].checked_sub(before[axis]).filter(|&v| v < first[axis])?;
                }
                Some(at(source[0], source[1], source[2]))
            })),
            Self::Permute(axes) => IndexMap::of(every().map(|i| {
                let mut source = [0; 3];
                for (axis, &from) in axes.iter().enumerate() {
                    source[usize::from(from)] = i[axis];
                }
                Some(at(source[0], source[1], source[2]))
            })),
            Self::SumPool(pool) => {
                IndexMap::sums(pool.windows().map(|window| window.into_iter().map(|i| i as u32)))
            }
            &Self::Upsample([rows, columns]) => {
                IndexMap::of(every().map(|[c, y, x]| Some(at(c, y / rows, x / columns))))
            }
        }
    }
}

/// Elements of a shape, if it is not empty and below the cap.
pub(crate) fn elements(shape: Shape) -> Result<usize, String> {
    shape
        .iter()
        .try_fold(1usize, |product, &side| product.checked_mul(side))
        .filter(|&product| (1..=MAX_TENSOR).contains(&product))
        .ok_or_else(|| format!("a tensor of shape {shape:?} is empty or above {MAX_TENSOR} elements"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PoolShape;

    #[test]
    fn maps_by_hand() {
        let map = |op: LocalOp, shapes: &[Shape]| op.index_map(shapes);
        let slice = LocalOp::Slice { start: [0, 0, 1], step: [1, 2, 2], size: [1, 2, 1] };
        assert_eq!(map(slice, &[[1, 3, 3]]), IndexMap::of([1, 7].map(Some).into_iter()));
        let pad = LocalOp::Pad { before: [1, 0, 0], after: [0, 0, 1] };
        let sources = [None, None, None, None, Some(0), None, Some(1), None];
        assert_eq!(map(pad, &[[1, 2, 1]]), IndexMap::of(sources.into_iter()));
        assert_eq!(
            map(LocalOp::Permute([2, 0, 1]), &[[2, 1, 2]]),
            IndexMap::of([0, 2, 1, 3].map(Some).into_iter())
        );
        let pool = PoolGeometry::new(PoolShape {
            channels: 1,
            in_height: 2,
            in_width: 3,
            kernel: [2, 2],
            stride: [1, 1],
            padding: [0; 4],
        });
        let sums = map(LocalOp::SumPool(pool.expect("valid")), &[[1, 2, 3]]);
        assert_eq!(sums.apply(&[1, 2, 3, 4, 5, 6], 0, |a, b| a + b), [12, 16]);
        let twice = map(LocalOp::Upsample([1, 2]), &[[1, 1, 2]]);
        assert_eq!(sums.after(&IndexMap::identity(6)), sums);
        assert_eq!(twice.after(&sums).apply(&[1, 2, 3, 4, 5, 6], 0, |a, b| a + b), [12, 12, 16, 16]);
        assert!(IndexMap::identity(3).is_identity() && !twice.is_identity());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let shape: Shape = [2, 4, 4];
        let wrong = [
            LocalOp::Reshape([3, 3, 3]),
            LocalOp::Reshape([usize::MAX, 2, 1]),
            LocalOp::Slice { start: [0; 3], step: [1, 0, 1], size: [1; 3] },
            LocalOp::Slice { start: [0; 3], step: [1; 3], size: [2, 5, 4] },
            LocalOp::Slice { start: [0; 3], step: [1; 3], size: [2, 0, 4] },
            LocalOp::Slice { start: [0; 3], step: [1, usize::MAX, 1], size: [2, 3, 4] },
            LocalOp::Pad { before: [usize::MAX, 0, 0], after: [0; 3] },
            LocalOp::Permute([0, 1, 1]),
            LocalOp::Permute([0, 1, 3]),
            LocalOp::Upsample([1 << 20, 1 << 20]),
            LocalOp::Upsample([0, 1]),
        ];
        for op in wrong {
            assert!(op.shape(&[shape]).is_err(), "{op:?}");
        }
        assert!(LocalOp::Concat.shape(&[shape, [1, 4, 3]]).is_err());
        assert!(LocalOp::Concat.shape(&[]).is_err());
        assert_eq!(LocalOp::Concat.shape(&[shape, [1, 4, 4]]), Ok([3, 4, 4]));
    }
}
