//! A linear layer in the plan: its tiles, its slots, what its messages hold.
//!
//! The layer's input, with the halos and borders that its tiles take, is a list of *slots*, tile after tile. A slot holds an
//! element of the input tensor (the same element may be in several), or a known zero. The tiles of all images are the
//! *virtual images* of the packing: tile t of image b is number b·tiles + t. They are spread over *groups* of as many as
//! one polynomial holds; every group has an RLWE secret of its own.
//!
//! Where the preprocessing is not `split` ([`crate::offline::construction`]) no slot is bound and there are no deltas: the
//! table is that of `split`.
//!
//! | slot | X at the server, in Z_2^p | delta on the wire |
//! |---|---|---|
//! | bound | 2^(p−w)·z − r | p − w bits |
//! | free | likewise | p bits (a residue per limb in `exact`) |
//! | known zero | −r | likewise |
//! | unread | 0: no used output reads it | nothing |

use conv_fast::{ConvGeometry, Packing, Tiling};
use he_core::Params;
use nn_merge::model::Tensor;
use ss_core::bits::bytes_for_bits;
use ss_core::ring::Switch;

use super::masked::{Arena, Places};
use super::size::Budget;
use crate::error::{PeerResult, ProtocolError};
use crate::offline::construction::Scheme;

/// In `LinearPlan::slots`: no element, a known zero.
const ZERO: u32 = u32::MAX;
/// In `LinearPlan::slots`: nobody reads it.
pub(crate) const UNREAD: u32 = u32::MAX - 1;
/// In `LinearPlan::bound`: bound to no place.
pub(crate) const FREE: u32 = u32::MAX;

/// One linear layer.
#[derive(Debug)]
pub struct LinearPlan {
    /// Its node, which names its public polynomials and its frames.
    pub node: usize,
    /// Name from the model.
    pub name: String,
    /// The node that it reads.
    pub input: usize,
    /// w of that tensor.
    pub width: u32,
    /// Z_q and the ring of slots, Z_2^p; none in `exact`.
    pub masked: Option<Switch>,
    /// p; none in `exact`.
    pub masked_bits: Option<u32>,
    /// k: the finest ring in which somebody reads the result.
    pub ring_bits: u32,
    /// Bits per coefficient of a reply of `split`.
    pub reply_bits: u32,
    /// Tiles and packing.
    pub tiling: Tiling,
    /// Groups of virtual images.
    pub groups: usize,
    /// Per input polynomial the coefficients that hold known zeros which used outputs read (those of the packing; zero
    /// slots are not among them); none where nothing is said of them.
    pub zero_reads: Vec<Vec<u32>>,
    /// Slots that are bound and all other read ones, of one image; none where there are no deltas.
    pub deltas: [usize; 2],
    /// Per slot of an image its element of the input tensor, or `ZERO` or `UNREAD`.
    pub(crate) slots: Vec<u32>,
    /// Per slot the place of the arena that it is bound to, or `FREE`.
    pub(crate) bound: Vec<u32>,
    /// What stands behind the elements of the input tensor.
    pub(crate) places: Places,
    /// Per element of the result its place in the tiles' outputs; none where it is the same.
    pub(crate) outputs: Option<Vec<u32>>,
    /// Where input element i of the first virtual image of a group sits: (polynomial, coefficient).
    pub(crate) input_map: Vec<(u32, u32)>,
    /// Where its output element i is read.
    pub(crate) output_map: Vec<(u32, u32)>,
}

/// What the manifest says of a linear layer, and what the walk has found out.
pub(super) struct LinearSpec<'a> {
    pub(super) node: usize,
    pub(super) name: &'a str,
    pub(super) input: usize,
    pub(super) tensor: Tensor,
    pub(super) width: u32,
    pub(super) masked_bits: Option<u32>,
    pub(super) geometry: &'a ConvGeometry,
    pub(super) ring_bits: u32,
    pub(super) reply_bits: u32,
}

impl LinearPlan {
    pub(super) fn new(
        params: &Params,
        scheme: &Scheme,
        spec: LinearSpec<'_>,
        images: usize,
        places: &Places,
        arena: &mut Arena,
        budget: &mut Budget,
    ) -> Result<Self, ProtocolError> {
        let (degree, cost) = scheme.packing(params, spec.node, spec.masked_bits, spec.reply_bits);
        let tiling = Tiling::choose(spec.geometry, degree, images, &cost).or_malformed("manifest")?;
        budget.spend(tiling.slot_count() as u64 + tiling.output_slots() as u64, images)?;
        debug_assert_eq!(spec.tensor.elements(), spec.geometry.input_len());

        let mut bound = Vec::with_capacity(tiling.slot_count());
        let mut deltas = [0; 2];
        let told = scheme.has_deltas();
        let narrow = told && spec.masked_bits.is_some();
        let mut slots = Vec::with_capacity(tiling.slot_count());
        for (element, read) in tiling.slots().into_iter().zip(tiling.read()) {
            let mut place = None;
            if let Some(element) = element.filter(|_| read) {
                arena.read_element(places, element as usize)?;
                place = if narrow { arena.bind(places, element as usize) } else { None };
            }
            bound.push(place.unwrap_or(FREE));
            deltas[usize::from(place.is_none())] += usize::from(read && told);
            slots.push(if read { element.unwrap_or(ZERO) } else { UNREAD });
        }
        let packing = tiling.packing();
        let (outputs, length) = (tiling.outputs(), tiling.output_slots());
        let same = outputs.len() == length && outputs.iter().enumerate().all(|(i, &o)| i == o as usize);
        let switch = |bits| Switch::new(params.modulus().value(), bits);
        Ok(Self {
            node: spec.node,
            name: super::printable(spec.name),
            input: spec.input,
            width: spec.width,
            masked: spec.masked_bits.map(switch).transpose().or_malformed("manifest")?,
            masked_bits: spec.masked_bits,
            ring_bits: spec.ring_bits,
            reply_bits: spec.reply_bits,
            groups: (images * tiling.tiles()).div_ceil(packing.images()),
            zero_reads: (0..packing.input_polys())
                .map(|j| if told { packing.zero_reads(j) } else { Vec::new() })
                .collect(),
            deltas,
            slots,
            bound,
            places: places.clone(),
            outputs: (!same).then_some(outputs),
            input_map: packing.input_map(),
            output_map: packing.output_map(),
            tiling,
        })
    }

    /// The convolution as the network has it.
    pub fn geometry(&self) -> &ConvGeometry {
        self.tiling.whole()
    }

    /// Tensor to polynomial coefficients, of a tile.
    pub fn packing(&self) -> &Packing {
        self.tiling.packing()
    }

    /// Known zeros of the packing in one group, over all input polynomials.
    pub fn zeros(&self) -> usize {
        self.zero_reads.iter().map(Vec::len).sum()
    }

    /// Bits in which values of whole slots travel: p, or those of each limb.
    pub(crate) fn wide_bits(&self, params: &Params) -> Vec<u32> {
        match self.masked_bits {
            Some(bits) => vec![bits],
            None => params.moduli().iter().map(he_core::Modulus::bits).collect(),
        }
    }

    /// Bits of the delta of a bound slot.
    pub(crate) fn narrow_bits(&self) -> u32 {
        self.masked_bits.map_or(0, |bits| bits - self.width)
    }

    /// Bytes of the masks of known zeros of one group.
    pub(crate) fn zero_bytes(&self, params: &Params) -> usize {
        let zeros = self.zeros();
        self.wide_bits(params).iter().map(|&bits| bytes_for_bits(zeros * bits as usize)).sum()
    }

    /// Bytes of the deltas of `images`: of bound slots, and of each limb of the others.
    pub(crate) fn delta_bytes(&self, params: &Params, images: usize) -> (usize, Vec<usize>) {
        let [narrow, wide] = self.deltas.map(|count| count * images);
        let bytes = |count: usize, bits: u32| bytes_for_bits(count * bits as usize);
        let wide = self.wide_bits(params).into_iter().map(|bits| bytes(wide, bits)).collect();
        (bytes(narrow, self.narrow_bits()), wide)
    }

    /// Polynomial and coefficient (in the group) of slot `index` of virtual image `image`.
    #[inline]
    pub(crate) fn input_at(&self, image: usize, index: usize) -> (usize, usize) {
        self.at(&self.input_map, image, index)
    }

    /// Where output element `index` of virtual image `image` is read.
    #[inline]
    pub(crate) fn output_at(&self, image: usize, index: usize) -> (usize, usize) {
        self.at(&self.output_map, image, index)
    }

    #[inline]
    fn at(&self, map: &[(u32, u32)], image: usize, index: usize) -> (usize, usize) {
        let packing = self.tiling.packing();
        let (poly, coefficient) = map[index];
        (poly as usize, coefficient as usize + image % packing.images() * packing.image_stride())
    }

    /// Calls `put` for every element of the result of image `image`: element, group, polynomial, coefficient.
    pub(crate) fn each_output(&self, image: usize, mut put: impl FnMut(usize, usize, usize, usize)) {
        let (tiles, per_group) = (self.tiling.tiles(), self.packing().images());
        let length = self.tiling.tile().output_len();
        for element in 0..self.geometry().output_len() {
            let place = self.outputs.as_ref().map_or(element, |outputs| outputs[element] as usize);
            let (virtual_image, index) = (image * tiles + place / length, place % length);
            let (poly, coefficient) = self.output_at(virtual_image, index);
            put(element, virtual_image / per_group, poly, coefficient);
        }
    }
}
