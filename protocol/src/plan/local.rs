//! Local maps over the images of a bundle.

use nn_merge::model::{IndexMap, LocalOp, Shape};
use rayon::prelude::*;
use zeroize::Zeroizing;

/// What both parties apply to their shares, image by image.
#[derive(Debug)]
pub enum LocalPlan {
    /// The same elements in the same order.
    Same,
    /// One input after the other.
    Joined,
    /// Per element of the result the elements of the only input that it sums.
    Map(IndexMap),
}

impl LocalPlan {
    pub(super) fn new(op: &LocalOp, shapes: &[Shape]) -> Self {
        match op {
            LocalOp::Reshape(_) => Self::Same,
            LocalOp::Concat => Self::Joined,
            other => Self::Map(other.index_map(shapes)),
        }
    }

    /// Applies it to the values of `images`, image after image, adding with `add` from zero.
    ///
    /// # Panics
    /// For inputs of other lengths than those it was planned for.
    pub(crate) fn apply(
        &self,
        inputs: &[&[u64]],
        images: usize,
        add: impl Fn(u64, u64) -> u64 + Sync,
    ) -> Zeroizing<Vec<u64>> {
        let lengths: Vec<usize> = inputs.iter().map(|input| input.len() / images).collect();
        Zeroizing::new(match self {
            Self::Same => inputs[0].to_vec(),
            Self::Joined => {
                let mut joined = Vec::with_capacity(inputs.iter().map(|input| input.len()).sum());
                for image in 0..images {
                    for (input, &length) in inputs.iter().zip(&lengths) {
                        joined.extend_from_slice(&input[image * length..][..length]);
                    }
                }
                joined
            }
            Self::Map(map) => {
                let mut out = vec![0; images * map.len()];
                let (input, length) = (inputs[0], lengths[0]);
                out.par_chunks_mut(map.len()).zip(input.par_chunks(length)).for_each(|(out, input)| {
                    for (i, out) in out.iter_mut().enumerate() {
                        *out = match *map.sources(i) {
                            [] => 0,
                            [one] => input[one as usize],
                            ref many => many.iter().fold(0, |sum, &s| add(sum, input[s as usize])),
                        };
                    }
                });
                out
            }
        })
    }
}
