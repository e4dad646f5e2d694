//! One direction, rows or columns, of a plane: which taps, reads and pixels fall on which residue of the stride.
//!
//! Coordinates count along the padded image, from its edge. A plane that is split by s sends coordinate a to the residue
//! a mod s and, within it, to ⌊a/s⌋ ("split coordinate"); a plane that is not split is the case s = 1. All lists
//! together are about as long as the padded image in this direction.

use std::collections::HashMap;
use std::ops::Range;

/// One kernel position along one axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tap {
    /// Index within the kernel.
    pub(super) kernel: usize,
    /// Split coordinates from the window's start.
    pub(super) offset: usize,
}

/// The coordinates with one residue.
#[derive(Clone, Debug)]
pub(super) struct Residue {
    /// Ascending.
    pub(super) taps: Vec<Tap>,
    /// Split coordinates that some window reads, ascending, distinct.
    pub(super) reads: Vec<usize>,
    /// Split coordinates of the pixels.
    pub(super) pixels: Range<usize>,
    /// The first residue with the same reads and pixels.
    pub(super) kind: usize,
}

/// All residues of one direction.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    padding: usize,
    /// Taps of the kernel in this direction.
    pub(super) taps: usize,
    /// Stride that remains, in split coordinates.
    pub(super) step: usize,
    /// First split coordinate that holds pixels.
    pub(super) first: usize,
    /// As many as the plane is split by.
    pub(super) residues: Vec<Residue>,
    /// Residues with at least one tap, ascending.
    pub(super) used: Vec<usize>,
    /// How many of those lie before each residue.
    pub(super) used_before: Vec<usize>,
    /// Pixels that some window reads, over all residues.
    pub(super) pixels_read: usize,
}

impl Axis {
    /// An axis split by `split`, for (taps, dilation), (outputs, remaining step) and (padding in front, pixels).
    pub(super) fn new(
        split: usize,
        (taps, dilation): (usize, usize),
        (outputs, step): (usize, usize),
        (padding, image): (usize, usize),
    ) -> Self {
        // The least split coordinate of a residue at or after a coordinate.
        let after = |coordinate: usize, residue: usize| (coordinate + split - 1 - residue) / split;
        let mut residues: Vec<Residue> = (0..split)
            .map(|residue| Residue {
                taps: Vec::new(),
                reads: Vec::new(),
                pixels: after(padding, residue)..after(padding + image, residue),
                kind: residue,
            })
            .collect();
        for kernel in 0..taps {
            let coordinate = kernel * dilation;
            residues[coordinate % split].taps.push(Tap { kernel, offset: coordinate / split });
        }
        let (mut used, mut used_before, mut pixels_read) = (Vec::new(), Vec::new(), 0);
        let mut kinds: HashMap<(Vec<usize>, Range<usize>), usize> = HashMap::new();
        for (index, residue) in residues.iter_mut().enumerate() {
            used_before.push(used.len());
            if !residue.taps.is_empty() {
                used.push(index);
                residue.reads = reads(&residue.taps, outputs, step);
            }
            pixels_read += residue.reads.iter().filter(|&read| residue.pixels.contains(read)).count();
            residue.kind = *kinds.entry((residue.reads.clone(), residue.pixels.clone())).or_insert(index);
        }
        Self { padding, taps, step, first: padding / split, residues, used, used_before, pixels_read }
    }

    /// Residue and split coordinate of a pixel.
    pub(super) fn split_pixel(&self, pixel: usize) -> (usize, usize) {
        let (coordinate, split) = (pixel + self.padding, self.residues.len());
        (coordinate % split, coordinate / split)
    }

    pub(super) fn is_used(&self, residue: usize) -> bool {
        !self.residues[residue].taps.is_empty()
    }
}

/// All sums of a tap's offset and y·step for y < outputs: one sweep that remembers, modulo the step, the last tap seen.
fn reads(taps: &[Tap], outputs: usize, step: usize) -> Vec<usize> {
    let reach = (outputs - 1) * step;
    let (Some(first), Some(last)) = (taps.first(), taps.last()) else { return Vec::new() };
    let mut latest: Vec<Option<usize>> = vec![None; step];
    let mut taps = taps.iter().map(|tap| tap.offset).peekable();
    (first.offset..=last.offset + reach)
        .filter(|&at| {
            let latest = &mut latest[at % step];
            if taps.next_if_eq(&at).is_some() {
                *latest = Some(at);
            }
            latest.is_some_and(|tap| at - tap <= reach)
        })
        .collect()
}
