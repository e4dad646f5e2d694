//! Client: encryptions of a layer's masks, and its share from the reply.

use he_core::seed::Seed;
use he_core::{Coeff, RnsPoly};
use rayon::prelude::*;
use zeroize::Zeroizing;

use super::super::masks::{SlotMasks, lifted, sums};
use super::{ClientKeys, Scheme, keys_bytes, levels, read_polys, used};
use crate::error::{PeerResult, ProtocolError};
use crate::offline::rho::Rho;
use crate::plan::{LinearPlan, Plan, UNREAD};
use crate::raw::Raw;

/// Client: the encryptions of one layer's masks from a seed of its own, and the masks.
///
/// # Errors
/// [`ProtocolError::Caller`] for a layer without a key.
pub fn client_keys(
    plan: &Plan,
    scheme: &Scheme,
    layer: &LinearPlan,
    keys: &ClientKeys,
    seed: &Seed,
    rho: &Rho,
) -> Result<(Vec<u8>, SlotMasks), ProtocolError> {
    let secret = &keys.secrets[scheme.number(layer)?];
    let (lifted, masks) = lifted(plan, layer, sums(plan, layer, rho));
    let read: Vec<usize> = read_polys(layer).collect();
    let encrypt = |at: usize| {
        let (group, poly) = (at / read.len(), read[at % read.len()]);
        let message = polynomial(plan, scheme, layer, &lifted, [group, poly]);
        let seed = seed.fork("bfv encryption", &[group as u64, poly as u64]);
        scheme.ring.encrypt(secret, &message, seed).to_bytes(scheme.ring.rlwe())
    };
    let parts: Vec<Vec<u8>> = (0..layer.groups * read.len()).into_par_iter().map(encrypt).collect();
    let mut message = Vec::with_capacity(keys_bytes(scheme, layer));
    parts.iter().for_each(|part| message.extend_from_slice(part));
    Ok((message, masks))
}

/// One input polynomial of a group: the masks of its slots, zero elsewhere; N residues per prime of q.
fn polynomial(
    plan: &Plan,
    scheme: &Scheme,
    layer: &LinearPlan,
    lifted: &Raw,
    [group, poly]: [usize; 2],
) -> Zeroizing<Vec<Vec<u64>>> {
    let (length, tiles) = (layer.tiling.tile().input_len(), layer.tiling.tiles());
    let per_group = layer.packing().images();
    let last = ((group + 1) * per_group).min(plan.images() * tiles);
    let mut message = Zeroizing::new(vec![vec![0; scheme.ring.n()]; plan.params().limbs()]);
    for image in group * per_group..last {
        let own = &layer.slots[image % tiles * length..][..length];
        for (index, &slot) in own.iter().enumerate() {
            let (at, coefficient) = layer.input_at(image, index);
            if at == poly && slot < UNREAD {
                for (limb, values) in message.iter_mut().zip(lifted.limbs()) {
                    limb[coefficient] = values[image * length + index];
                }
            }
        }
    }
    message
}

/// Client: opens the reply; its share of W·r in Z_q, images × elements.
///
/// # Errors
/// [`ProtocolError::Peer`] for a reply that does not decode.
pub fn client_open(
    plan: &Plan,
    scheme: &Scheme,
    layer: &LinearPlan,
    keys: &ClientKeys,
    replies: &[u8],
) -> Result<Raw, ProtocolError> {
    let (ring, secret) = (&scheme.ring, &keys.secrets[scheme.number(layer)?]);
    let (length, levels) = (layer.geometry().output_len(), levels(scheme, layer));
    let outputs = plan.images() * length;
    let (parts, values) = replies.split_at(replies.len() - ring.packed_len(outputs));
    let key_parts: Vec<RnsPoly<Coeff>> = parts
        .par_chunks(ring.packed_len(ring.n()))
        .map(|part| Ok(ring.key_part(secret, &ring.read_part(part).or_malformed("layer replies")?)))
        .collect::<Result<_, ProtocolError>>()?;
    let values = ring.unpack(values, outputs).or_malformed("layer replies")?;
    let open = |image: usize| {
        let limbs = ring.reply_moduli().len();
        let mut phases = Zeroizing::new(used(layer, levels, image, limbs, |reply, limb| {
            key_parts[reply].limb(limb).coefficients()
        }));
        for ((phases, values), q) in phases.iter_mut().zip(&values).zip(ring.reply_moduli()) {
            let values = &values[image * length..][..length];
            phases.iter_mut().zip(values).for_each(|(phase, &value)| *phase = q.add(*phase, value));
        }
        ring.open(&phases)
    };
    Ok(Raw::joined(plan.params(), length, (0..plan.images()).into_par_iter().map(open).collect()))
}
