//! The masks of a layer's slots, and those that are the lifts of the element's own.
//!
//! `split` draws a slot's mask as an RLWE sample. In the other constructions an encryption hides it whatever it is, so it is
//! simply the lift of the mask of what the slot reads: with Σρ in Z_2^w the sum of the element's masks,
//!
//! > r = round(Σρ·q/2^w), X = round(Z·q/2^w), X + r = round(x·q/2^w) + {−1, 0, 1} modulo q.
//!
//! All slots that read an element share its mask; zeros, borders and free space have r = 0 and X = 0, and nothing has to be
//! said about them. The server sees Z (uniform, since ρ is) and encryptions.

use rayon::prelude::*;
use zeroize::Zeroizing;

use crate::offline::rho::Rho;
use crate::plan::{LinearPlan, Plan, UNREAD};
use crate::raw::Raw;

/// Slots that one task works on.
const CHUNK: usize = 1 << 13;

/// r of every slot that is read (0 of others), images × slots, in the ring in which the profile's slots are: in Z_2^p, or in
/// `exact` residues limb by limb.
pub struct SlotMasks(pub(super) Raw);

impl SlotMasks {
    /// The masks: one vector in Z_2^p, or one of residues per limb.
    pub fn values(&self) -> &[Vec<u64>] {
        self.0.limbs()
    }
}

/// Σρ of every slot in Z_2^w, images × slots; 0 where no element is read.
pub(super) fn sums(plan: &Plan, layer: &LinearPlan, rho: &Rho) -> Zeroizing<Vec<u64>> {
    let (count, full) = (layer.slots.len(), (1u64 << layer.width) - 1);
    let mut sums = Zeroizing::new(vec![0u64; plan.images() * count]);
    sums.par_chunks_mut(CHUNK).enumerate().for_each(|(at, sums)| {
        for (i, sum) in (at * CHUNK..).zip(sums.iter_mut()) {
            let slot = layer.slots[i % count];
            // Neither unread nor a known zero: both lie above all elements.
            if slot < UNREAD {
                *sum = layer.places.sum(slot as usize, rho.image(i / count)) & full;
            }
        }
    });
    sums
}

/// Σρ of every element of the layer's input in Z_2^w, images × elements, whoever reads it: for constructions that know no
/// slots.
pub(super) fn elements(plan: &Plan, layer: &LinearPlan, rho: &Rho) -> Zeroizing<Vec<u64>> {
    let (count, full) = (layer.places.len(), (1u64 << layer.width) - 1);
    let mut sums = Zeroizing::new(vec![0u64; plan.images() * count]);
    sums.par_chunks_mut(count.max(1)).enumerate().for_each(|(image, sums)| {
        let arena = rho.image(image);
        for (element, sum) in sums.iter_mut().enumerate() {
            *sum = layer.places.sum(element, arena) & full;
        }
    });
    sums
}

/// The lifted masks r in Z_q of these sums, and the same as slot masks (which in Z_2^p are Σρ·2^(p−w)).
pub(super) fn lifted(plan: &Plan, layer: &LinearPlan, mut sums: Zeroizing<Vec<u64>>) -> (Raw, SlotMasks) {
    let lifted = Raw::up(plan.params(), &sums, layer.width);
    let slots = match layer.masked_bits {
        Some(_) => {
            let drop = layer.narrow_bits();
            sums.iter_mut().for_each(|sum| *sum <<= drop);
            Raw::new(vec![std::mem::take(&mut *sums)])
        }
        None => Raw::up(plan.params(), &sums, layer.width),
    };
    (lifted, SlotMasks(slots))
}
