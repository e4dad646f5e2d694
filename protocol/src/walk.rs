//! What both parties do alike with their shares on the walk through the plan: sums and local maps.
//!
//! A sum takes raw shares as they are. A masked operand z with the public factor v counts as the torus value v·z/2^w: each
//! party lifts v times its share, modulo 2^w, to Z_q. The two roundings add up to at most one unit of Z_q, and turns of
//! the torus vanish, so nothing has to be said.
//!
//! *What public numbers tell.* A factor v, like the corners of a clip and the widths w, is in the manifest: it tells the
//! ratio of the bounds B of the two tensors (in a residual block, of the block's result and its input), a number or two per
//! activation that calibration has found, and no weight. What leaves a sum was dithered in every linear layer that enters
//! it; a masked operand adds nothing that its own activation had not given away.

use zeroize::Zeroizing;

use crate::error::ProtocolError;
use crate::plan::{LocalPlan, Plan};
use crate::raw::Raw;
use nn_merge::model::Kind;

/// A share of the sum at `node`; `masked` gives a party's share of a masked operand of width w.
pub(crate) fn sum(
    plan: &Plan,
    node: usize,
    operands: &[(usize, i64)],
    raw: &[Option<Raw>],
    mut masked: impl FnMut(usize, u32) -> Result<Zeroizing<Vec<u64>>, ProtocolError>,
) -> Result<Raw, ProtocolError> {
    let params = plan.params();
    let mut sum = Raw::zeros(params, plan.images() * plan.tensors()[node].elements());
    for &(operand, factor) in operands {
        match plan.tensors()[operand].kind {
            Kind::Raw => sum.add(params, raw[operand].as_ref().ok_or_else(missing)?),
            Kind::Masked { width } => {
                let mut values = masked(operand, width)?;
                let full = (1u64 << width) - 1;
                values.iter_mut().for_each(|value| *value = value.wrapping_mul(factor as u64) & full);
                sum.add(params, &Raw::up(params, &values, width));
            }
        }
    }
    Ok(sum)
}

/// A share of a local map of raw tensors.
pub(crate) fn mapped(
    plan: &Plan,
    map: &LocalPlan,
    inputs: &[usize],
    raw: &[Option<Raw>],
) -> Result<Raw, ProtocolError> {
    let inputs: Vec<&Raw> =
        inputs.iter().map(|&input| raw[input].as_ref()).collect::<Option<_>>().ok_or_else(missing)?;
    Ok(Raw::mapped(plan.params(), map, &inputs, plan.images()))
}

fn missing() -> ProtocolError {
    ProtocolError::Caller("the walk has lost a tensor that it still needs".into())
}
