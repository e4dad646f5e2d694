//! Which known zeros an output reads: exact, from the structure of the weights alone.
//!
//! Output slot u of an output polynomial reads, through the weights of slot s in the same polynomial, the pixels that it
//! reads through its own weights, shifted by (u − s)·D (signs of X^N = −1 do not matter for the question). So the
//! reads of an input polynomial are the union of shifts of one set, and the shifts form an interval, since the used
//! slots and the slots of one group both do. Cost: about 2N set operations per input polynomial.

use super::Packing;
use std::collections::HashMap;
use std::ops::RangeInclusive;

pub(super) fn zero_reads(packing: &Packing, in_poly: usize) -> Vec<u32> {
    let key = Pattern::new(packing, in_poly);
    let marks = marks(packing, &key);
    (0u32..).zip(&marks).filter(|&(_, &mark)| mark).map(|(position, _)| position).collect()
}

/// Sum over all input polynomials; polynomials with the same pattern are counted once and multiplied.
pub(super) fn total(packing: &Packing) -> usize {
    let mut known: HashMap<Pattern, usize> = HashMap::new();
    (0..packing.input_polys())
        .map(|in_poly| {
            let key = Pattern::new(packing, in_poly);
            match known.get(&key) {
                Some(&count) => count,
                None => {
                    let count = marks(packing, &key).iter().filter(|&&mark| mark).count();
                    known.insert(key, count);
                    count
                }
            }
        })
        .sum()
}

/// All that the reads of an input polynomial depend on.
#[derive(PartialEq, Eq, Hash)]
struct Pattern {
    /// Runs of equal phases along the slots: (phase, slots).
    runs: Vec<(usize, usize)>,
    /// Differences used slot − weight slot; `None` if no output polynomial meets this one.
    shifts: Option<RangeInclusive<isize>>,
}

impl Pattern {
    fn new(packing: &Packing, in_poly: usize) -> Self {
        let mut runs: Vec<(usize, usize)> = Vec::new();
        let slots: Vec<usize> = packing.slots(in_poly).map(|(phase, _)| phase).collect();
        for phase in slots {
            match runs.last_mut() {
                Some((last, count)) if *last == phase => *count += 1,
                _ => runs.push((phase, 1)),
            }
        }
        Self { runs, shifts: shifts(packing, in_poly) }
    }
}

fn shifts(packing: &Packing, in_poly: usize) -> Option<RangeInclusive<isize>> {
    let size = packing.geometry.group_outputs();
    let group = in_poly / packing.polys_per_group;
    let per_poly = packing.layout.outputs;
    // Only polynomials that hold outputs of this group; the inner ones among them are all alike.
    let (first, last) = (group * size / per_poly, ((group + 1) * size - 1) / per_poly);
    let candidates = [first, first + 1, last.saturating_sub(1), last];
    candidates
        .into_iter()
        .filter_map(|out_poly| {
            let weights = packing.meeting(out_poly, in_poly)?;
            let used = packing.outputs_of(out_poly);
            let lowest = used.start as isize - (weights.end as isize - 1);
            let highest = used.end as isize - 1 - weights.start as isize;
            Some(lowest..=highest)
        })
        .reduce(|a, b| *a.start().min(b.start())..=*a.end().max(b.end()))
}

/// For each coefficient whether it has to be known to be zero.
fn marks(packing: &Packing, pattern: &Pattern) -> Vec<bool> {
    let degree = packing.degree as isize;
    let mut marks = vec![false; packing.degree];
    let Some(shifts) = pattern.shifts.clone() else { return marks };
    let plane = &packing.plane;
    let slots: Vec<usize> =
        pattern.runs.iter().flat_map(|&(phase, count)| std::iter::repeat_n(phase, count)).collect();
    for image in 0..packing.layout.images {
        for (slot, &phase) in slots.iter().enumerate() {
            let base = packing.input_base(image, slot) as isize;
            for shift in shifts.clone() {
                let base = base + shift * packing.block as isize;
                for &read in &plane.phases[phase].reads {
                    marks[(base + read).rem_euclid(degree) as usize] = true;
                }
            }
        }
    }
    for image in 0..packing.layout.images {
        for (slot, &phase) in slots.iter().enumerate() {
            let base = packing.input_base(image, slot);
            for position in plane.pixels(phase) {
                marks[base + position] = false;
            }
        }
    }
    marks
}
