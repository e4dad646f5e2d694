//! Which known zeros an output reads: exact, from the structure of the weights alone.
//!
//! Output slot u of an output polynomial reads, through the weights of slot s in the same polynomial, the pixels that it
//! reads through its own weights, shifted by (u − s)·D (signs of X^N = −1 do not matter for the question). So the
//! reads of an input polynomial are the union of shifts of one set, and the shifts form an interval, since the used
//! slots and the slots of one group both do.
//!
//! Input polynomials are many but mostly alike. Within a group they differ by the kinds of their slots alone, groups
//! differ by their shifts alone, and both repeat: [`total`] walks phases and group positions modulo M, never channels, and
//! counts each pattern once. Its [`Work`] is a pure function of the public shape, so that a limit to it is one, too.

use super::Packing;
use super::bits::Bits;
use super::plane::Kind;
use std::collections::HashMap;
use std::ops::Range;

/// Steps taken so far and the limit to them; a step is a few machine instructions.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) spent: u64,
    pub(super) limit: u64,
}

impl Work {
    /// `None` once the limit is passed.
    pub(super) fn spend(&mut self, steps: usize) -> Option<()> {
        self.spent = self.spent.saturating_add(steps as u64);
        (self.spent <= self.limit).then_some(())
    }
}

pub(super) fn zero_reads(packing: &Packing, in_poly: usize) -> Vec<u32> {
    let (group, poly) = (in_poly / packing.polys_per_group, in_poly % packing.polys_per_group);
    if group >= packing.geometry.shape().groups || poly >= packing.used_polys() {
        return Vec::new();
    }
    let runs = runs(packing, poly);
    let shifts = shifts(packing, group);
    let marks = reads(packing, &runs).rotations(shifts.start, shifts.len(), packing.block);
    marks.without(&pixels(packing, &runs)).positions()
}

/// Sum over all input polynomials; `None` if that takes more than the work allowed.
pub(super) fn total(packing: &Packing, work: &mut Work) -> Option<usize> {
    let mut groups: HashMap<Range<isize>, usize> = HashMap::new();
    for (group, count) in alike_groups(packing) {
        work.spend(8)?;
        *groups.entry(shifts(packing, group)).or_default() += count;
    }
    let mut patterns: HashMap<Vec<(Kind, usize)>, usize> = HashMap::new();
    let mut poly = 0;
    while poly < packing.used_polys() {
        let runs = runs(packing, poly);
        work.spend(8 + 4 * packing.phases_in(poly).len())?;
        let alike = alike_polys(packing, poly);
        *patterns.entry(runs).or_default() += alike;
        poly += alike;
    }
    let words = Bits::words(packing.degree);
    let mut sum = 0;
    for (runs, polys) in patterns {
        let slots: usize = runs.iter().map(|&(kind, count)| count * (1 + packing.plane.weight(kind))).sum();
        work.spend(packing.layout.images * slots)?;
        let (reads, pixels) = (reads(packing, &runs), pixels(packing, &runs));
        for (shifts, count) in &groups {
            work.spend(words * (2 + shifts.len().ilog2() as usize))?;
            let marks = reads.rotations(shifts.start, shifts.len(), packing.block);
            sum += count * polys * marks.without(&pixels).count();
        }
    }
    Some(sum)
}

/// Groups that between them have all shifts, each with the number of groups it stands for.
///
/// The shifts of a group depend on where its outputs start within their polynomial, which repeats after M / gcd(M, size)
/// groups, unless it shares the last polynomial, which need not be full.
fn alike_groups(packing: &Packing) -> impl Iterator<Item = (usize, usize)> {
    let (outputs, per_poly) = (packing.geometry.shape().out_channels, packing.layout.outputs);
    let size = packing.geometry.group_outputs();
    let regular = outputs / per_poly * per_poly / size;
    let period = per_poly / gcd(per_poly, size);
    let repeated = (0..period.min(regular)).map(move |group| (group, (regular - group).div_ceil(period)));
    repeated.chain((regular..packing.geometry.shape().groups).map(|group| (group, 1)))
}

/// How many polynomials from `poly` on, within a group, have its runs because they lie in the same phase altogether.
fn alike_polys(packing: &Packing, poly: usize) -> usize {
    let (inputs, per_poly) = (packing.geometry.group_inputs(), packing.layout.channels);
    let phase_end = (poly * per_poly / inputs + 1) * inputs;
    (phase_end / per_poly).saturating_sub(poly).max(1)
}

/// Runs of equal kinds along the filled slots of a group's polynomial: (kind, slots).
fn runs(packing: &Packing, poly: usize) -> Vec<(Kind, usize)> {
    let inputs = packing.geometry.group_inputs();
    let slots = packing.slot_range(poly);
    let mut runs: Vec<(Kind, usize)> = Vec::new();
    for phase in packing.phases_in(poly) {
        let count = slots.end.min((phase + 1) * inputs) - slots.start.max(phase * inputs);
        let kind = packing.plane.kind(phase);
        match runs.last_mut() {
            Some((last, slots)) if *last == kind => *slots += count,
            _ => runs.push((kind, count)),
        }
    }
    runs
}

/// Differences used slot − weight slot over all output polynomials with outputs of this group.
fn shifts(packing: &Packing, group: usize) -> Range<isize> {
    let size = packing.geometry.group_outputs();
    let per_poly = packing.layout.outputs;
    let own = group * size..(group + 1) * size;
    // Only polynomials that hold outputs of this group; the inner ones among them are all alike.
    let (first, last) = (own.start / per_poly, (own.end - 1) / per_poly);
    let inner = (first + 1).min(last);
    let (mut lowest, mut highest) = (0, 0);
    for out_poly in [first, inner, last] {
        let used = packing.outputs_of(out_poly);
        let weights = own.start.max(used.start)..own.end.min(used.end);
        lowest = lowest.min(used.start as isize - (weights.end as isize - 1));
        highest = highest.max(used.end as isize - 1 - weights.start as isize);
    }
    lowest..highest + 1
}

/// What each output slot reads through its own weights.
fn reads(packing: &Packing, runs: &[(Kind, usize)]) -> Bits {
    let mut bits = Bits::new(packing.degree);
    for_each_slot(packing, runs, |kind, base| {
        packing.plane.reads(kind).for_each(|read| bits.insert(base + read));
    });
    bits
}

/// Where pixels lie.
fn pixels(packing: &Packing, runs: &[(Kind, usize)]) -> Bits {
    let mut bits = Bits::new(packing.degree);
    for_each_slot(packing, runs, |kind, base| {
        packing.plane.pixels(kind).for_each(|pixel| bits.insert(base + pixel));
    });
    bits
}

fn for_each_slot(packing: &Packing, runs: &[(Kind, usize)], mut visit: impl FnMut(Kind, isize)) {
    for image in 0..packing.layout.images {
        let kinds = runs.iter().flat_map(|&(kind, count)| std::iter::repeat_n(kind, count));
        for (slot, kind) in kinds.enumerate() {
            visit(kind, packing.input_base(image, slot) as isize);
        }
    }
}

/// Greatest common divisor of two positive numbers.
pub(crate) fn gcd(mut a: usize, mut b: usize) -> usize {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}
