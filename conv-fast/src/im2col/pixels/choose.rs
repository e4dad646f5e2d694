//! Which form a layer takes, and in which layout: by counting what each does.

use super::layout::{Layout, WIDTH};
use crate::kernel::Kernel;
use crate::{ConvGeometry, Ring};

/// What an image takes in this form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    /// Multiply-adds of sixteen lanes.
    pub(crate) products: f64,
    /// Vectors of sixteen sums of D digits each that are reduced and stored.
    pub(crate) stores: f64,
    /// Vectors of sixteen words of D digits each that are written.
    pub(crate) written: f64,
}

impl Work {
    fn new(geometry: &ConvGeometry, digits: usize, layout: &Layout) -> Self {
        let groups = geometry.shape().groups as f64;
        let pieces = layout.pieces() as f64 * groups;
        // Few sums wait for each other, and calls cost as much as some results.
        let products = layout.whole_pieces()
            * groups
            * (geometry.terms().div_ceil(2) * (geometry.group_outputs() * digits).max(10)) as f64;
        let stores = pieces * (geometry.group_outputs() + 6) as f64;
        let written = (layout.written() * geometry.group_inputs().div_ceil(2)) as f64 * groups;
        Self { products, stores, written }
    }

    /// Cycles, roughly (fitted to a Zen 5).
    fn cycles(&self, digits: usize) -> f64 {
        let [product, store, write] = if digits == 2 { [0.535, 3.2, 9.0] } else { [0.56, 16.0, 24.0] };
        self.products * product + self.stores * store + self.written * write
    }
}

/// What an image takes in this form, with a copy for each column of the kernel or without, if this form is the faster one.
pub(super) fn choose(geometry: &ConvGeometry, ring: &Ring) -> Option<(bool, Work)> {
    let digits = ring.bits().div_ceil(16) as usize;
    if digits == 1 {
        return None;
    }
    let work = |copies| Some(Work::new(geometry, digits, &Layout::new(geometry, digits, copies)?));
    let (plain, copies) = (work(false)?, work(true)?);
    let best = if copies.cycles(digits) < plain.cycles(digits) { (true, copies) } else { (false, plain) };
    (best.1.cycles(digits) <= cycles_of_channels(geometry, digits)).then_some(best)
}

/// What an image takes, if a layer with weights of up to 16 bits is computed in this form.
pub(crate) fn work(geometry: &ConvGeometry, ring: &Ring, kernel: Kernel) -> Option<Work> {
    if kernel == Kernel::Avx512 { choose(geometry, ring).map(|(_, work)| work) } else { None }
}

/// Cycles of an image with channels as lanes.
fn cycles_of_channels(geometry: &ConvGeometry, digits: usize) -> f64 {
    let s = geometry.shape();
    let terms = geometry.terms().div_ceil(2) as f64;
    let outputs = (geometry.out_height() * geometry.out_width() * s.groups) as f64;
    let vectors = geometry.group_outputs().div_ceil(WIDTH) as f64;
    // Two digits have twice the bits of four, so that their sums are spilled more often.
    let (product, store) = if digits == 2 { (0.62, 18.0) } else { (0.54, 24.0) };
    let digits = digits as f64;
    let values = (s.in_height * s.in_width * s.groups * geometry.group_inputs().div_ceil(8)) as f64;
    outputs * vectors * (terms * digits * product + store) + values * (2.0 + 2.0 * digits)
}
