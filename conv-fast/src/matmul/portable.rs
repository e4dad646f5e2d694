//! The multiply-add kernel in plain Rust; compilers turn its inner loop into the target's 16-bit multiply-adds.

use super::buffer::Vector;
use super::decode::WIDTH;
use super::panels::{Sums, Tile};

/// The sums of `width` vectors of weights with the columns of the tile.
#[inline(always)]
pub(super) fn run<const D: usize>(tile: &Tile<'_>, width: usize, sums: &mut Sums) {
    for (column, &start) in tile.starts.iter().enumerate() {
        for v in 0..width {
            for d in 0..D {
                let (mut low, mut high) = ([0i32; WIDTH], [0i32; WIDTH]);
                let mut weights = tile.weights.chunks_exact(width);
                for segment in tile.segments {
                    let words = &tile.words[start + segment.offset..][..segment.pairs * D];
                    for (words, weights) in words.chunks_exact(D).zip(&mut weights) {
                        low = add(low, &weights[v], words[d]);
                    }
                    if segment.spill {
                        for (high, low) in high.iter_mut().zip(&mut low) {
                            *high += *low >> 16;
                            *low &= 0xffff;
                        }
                    }
                }
                let at = (column * width + v) * D + d;
                (sums.sums[at], sums.highs[at]) = (Vector(low), Vector(high));
            }
        }
    }
}

/// Adds both products of each lane; the segments keep the sums below 2^31.
#[inline(always)]
fn add(mut sums: [i32; WIDTH], weights: &Vector, word: i32) -> [i32; WIDTH] {
    let (x0, x1) = (i32::from(word as i16), word >> 16);
    for (sum, &weight) in sums.iter_mut().zip(&weights.0) {
        *sum += i32::from(weight as i16) * x0 + (weight >> 16) * x1;
    }
    sums
}
