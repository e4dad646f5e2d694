//! Choice of the tiles by the bits they cost.
//!
//! For B images cut into T tiles each, a packing of the tile with G virtual images a set costs
//!
//! ```text
//! ⌈B·T/G⌉ · (output polynomials · N · t + zeros of the packing · p + key)  +  B · (read slots − distinct elements) · p
//! ```
//!
//! bits, where the last term counts explicit zeros and halo copies: the first slot of an element costs the same in every
//! tiling and is left out. The term is a product over the two axes and exact.
//!
//! All pairs of cuts (see `axis`) are ranked by a lower bound: replies and keys as if every coefficient of the ring were
//! used by whole planes, and then, for those that may still win, the least bound over all layouts of the packing. In that order packings
//! are chosen until no bound is below the best. Ties go to fewer products and then to larger tiles. Work is
//! bounded as in [`crate::packing::choose`], by one limit for the layer: what is spent ends the search with the best so far.

use super::Tiling;
use super::axis::{Cut, Line};
use crate::packing::{Search, plane_len};
use crate::{ConvError, ConvGeometry, ConvShape, MAX_ELEMENTS, PackingCost};

/// Tilings whose packing is chosen before the search ends.
const MAX_TRIES: usize = 24;

struct Candidate {
    bound: u64,
    extra: u64,
    tiles: usize,
    tile: ConvGeometry,
    cuts: [usize; 2],
}

pub(super) fn choose(
    geometry: &ConvGeometry,
    degree: usize,
    images: usize,
    cost: &PackingCost,
) -> Result<Tiling, ConvError> {
    if images == 0 {
        return Err(ConvError::Zero { what: "images in a bundle" });
    }
    let lines = [Line::new(geometry, 0), Line::new(geometry, 1)];
    let cuts = lines.map(|line| line.cuts());
    let mut search = Search::new(geometry, degree, cost)?;
    let mut candidates = Vec::new();
    let mut refusal = None;
    for (i, rows) in cuts[0].iter().enumerate() {
        for (j, columns) in cuts[1].iter().enumerate() {
            match candidate(geometry, &lines, [rows, columns], degree, images, cost) {
                Ok((bound, extra, tile)) => {
                    let tiles = rows.tiles * columns.tiles;
                    candidates.push(Candidate { bound, extra, tiles, tile, cuts: [i, j] });
                }
                Err(error) => refusal = Some(error),
            }
        }
    }
    // Stable: larger tiles come first among equals.
    candidates.sort_by_key(|candidate| candidate.bound);
    let mut best: Option<((u64, u64), Tiling)> = None;
    let mut refined: Vec<(u64, &Candidate)> = Vec::new();
    for candidate in &candidates {
        let [rows, columns] = [&cuts[0][candidate.cuts[0]], &cuts[1][candidate.cuts[1]]];
        let plane = plane_len(&candidate.tile, degree)?;
        let bound = search.bound(
            &candidate.tile,
            images.saturating_mul(candidate.tiles),
            plane,
            rows.reads * columns.reads,
        );
        let bound = bound.saturating_add(candidate.extra);
        refined.push((bound.max(candidate.bound), candidate));
    }
    refined.sort_by_key(|&(bound, candidate)| (bound, candidate.tiles));
    for (bound, candidate) in refined.into_iter().take(MAX_TRIES) {
        let least = best.as_ref().map(|&(rank, _)| rank);
        if least.is_some_and(|(bits, _)| bound > bits) {
            break;
        }
        let budget = least.map(|(bits, products)| (bits - candidate.extra.min(bits), products));
        match search.choose(&candidate.tile, images.saturating_mul(candidate.tiles), budget) {
            Ok(Some(((bits, products), packing))) => {
                let rank = (bits + candidate.extra, products);
                if least.is_none_or(|least| rank < least) {
                    let [i, j] = candidate.cuts;
                    let cuts = [cuts[0][i].clone(), cuts[1][j].clone()];
                    let tiling = Tiling { whole: geometry.clone(), cuts, packing, bits: rank.0 };
                    best = Some((rank, tiling));
                }
            }
            // No better one, or no more work to be spent.
            Ok(None) => {}
            Err(error) => refusal = Some(error),
        }
    }
    match (best, refusal) {
        (Some((_, tiling)), _) => Ok(tiling),
        (None, Some(error)) if candidates.is_empty() => Err(error),
        (None, _) => Err(search.exhausted()),
    }
}

/// The bound, the exact cost of copies and zero slots, and the tile's geometry.
fn candidate(
    geometry: &ConvGeometry,
    lines: &[Line; 2],
    cuts: [&Cut; 2],
    degree: usize,
    images: usize,
    cost: &PackingCost,
) -> Result<(u64, u64, ConvGeometry), ConvError> {
    let s = geometry.shape();
    let tile = ConvGeometry::new(ConvShape {
        in_height: cuts[0].len,
        in_width: cuts[1].len,
        padding: [cuts[0].padding[0], cuts[1].padding[0], cuts[0].padding[1], cuts[1].padding[1]],
        stride: [lines[0].stride, lines[1].stride],
        dilation: [lines[0].dilation, lines[1].dilation],
        ..*s
    })?;
    let plane = plane_len(&tile, degree)?;
    let tiles = cuts[0].tiles as u64 * cuts[1].tiles as u64;
    for (what, len) in [("slots of all tiles", tile.input_len()), ("outputs of all tiles", tile.output_len())]
    {
        let value = tiles.saturating_mul(len as u64);
        if value > MAX_ELEMENTS {
            return Err(ConvError::TooLarge { what, value, limit: MAX_ELEMENTS });
        }
    }
    let slots = cuts[0].slots as u64 * cuts[1].slots as u64;
    let distinct = cuts[0].distinct as u64 * cuts[1].distinct as u64;
    let extra = (slots - distinct.min(slots))
        .saturating_mul(s.in_channels as u64)
        .saturating_mul(images as u64)
        .saturating_mul(u64::from(cost.zero_bits));
    let virtual_images = tiles.saturating_mul(images as u64);
    let capacity = (degree / plane) as u64;
    let polys = virtual_images.saturating_mul(s.out_channels as u64).div_ceil(capacity);
    let replies = polys.saturating_mul(degree as u64).saturating_mul(u64::from(cost.reply_bits));
    let bound = (replies >> cost.joining.map_or(0, |joining| joining.levels))
        .saturating_add(virtual_images.div_ceil(capacity).saturating_mul(cost.key_bits))
        .saturating_add(extra);
    Ok((bound, extra, tile))
}
