//! Masked tensors as views of one arena: whose masks stand behind which element.
//!
//! The results of the input and of every activation (the *producers*) lie one after the other in an arena, per image.
//! A masked tensor is a view of it: a producer's own range, or what local maps make of such ranges, composed once
//! ([`Places`]): per element the places that it sums. The client's masks ρ live in such an arena, image after image.
//!
//! Slots of linear layers that read an element see the sum of its places. *Binding* is the rule by which the client's
//! free choice of ρ makes deltas short (see [`crate::offline`]): walking layers in order and slots in order, a slot is
//! bound to its first place that no slot has read before, unless one place occurs twice in it (its mask would count twice,
//! and half a bit is no choice); from then on all its places are taken. The walk depends on public shapes alone.

use std::sync::Arc;

use nn_merge::model::{IndexMap, Kind, Tensor};

use super::local::LocalPlan;
use crate::error::{PeerFault, ProtocolError};

/// Most sources of all composed maps of a plan and of all that read them, together: neither sums of sums nor their readers
/// may explode.
const MAX_SOURCES: usize = 1 << 26;

/// A tensor whose masks the client chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    /// Its node.
    pub node: usize,
    /// Where it begins in the arena.
    pub first: usize,
    /// Elements per image.
    pub length: usize,
    /// w.
    pub width: u32,
}

/// The places of the arena that the elements of a masked tensor sum.
#[derive(Clone, Debug)]
pub enum Places {
    /// Element i is place first + i.
    Range {
        /// Place of element 0.
        first: usize,
        /// Elements.
        length: usize,
    },
    /// Composed. Shared: whatever reads the tensor, or reads it in another shape, holds no copy.
    Map(Arc<IndexMap>),
}

impl Places {
    /// Elements of the tensor.
    pub fn len(&self) -> usize {
        match self {
            Self::Range { length, .. } => *length,
            Self::Map(map) => map.len(),
        }
    }

    /// Whether the tensor is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The places of one element.
    fn of(&self, element: usize) -> impl Iterator<Item = u32> + '_ {
        let (one, many) = match self {
            Self::Range { first, .. } => (Some((first + element) as u32), &[][..]),
            Self::Map(map) => (None, map.sources(element)),
        };
        one.into_iter().chain(many.iter().copied())
    }

    /// Calls `act` with the places of one element.
    #[inline]
    pub fn with<T>(&self, element: usize, act: impl FnOnce(&[u32]) -> T) -> T {
        match self {
            Self::Range { first, .. } => act(&[(first + element) as u32]),
            Self::Map(map) => act(map.sources(element)),
        }
    }

    /// The sum of an element's places in `arena`, modulo 2^64.
    #[inline]
    pub fn sum(&self, element: usize, arena: &[u64]) -> u64 {
        match self {
            Self::Range { first, .. } => arena[first + element],
            Self::Map(map) => {
                map.sources(element).iter().fold(0, |sum, &place| sum.wrapping_add(arena[place as usize]))
            }
        }
    }

    /// Places over all elements.
    fn sources(&self) -> usize {
        (0..self.len()).map(|element| self.with(element, <[u32]>::len)).sum()
    }
}

/// The arena of a plan while it is lowered.
#[derive(Debug, Default)]
pub(super) struct Arena {
    pub(super) producers: Vec<Producer>,
    pub(super) length: usize,
    /// Per place whether a slot has read it.
    taken: Vec<bool>,
    sources: usize,
}

impl Arena {
    /// A producer behind those before it.
    pub(super) fn produce(&mut self, node: usize, tensor: &Tensor) -> Places {
        let Kind::Masked { width } = tensor.kind else {
            unreachable!("inputs and activations are masked by the rules of the manifest")
        };
        let (first, length) = (self.length, tensor.elements());
        self.producers.push(Producer { node, first, length, width });
        self.length += length;
        self.taken.resize(self.length, false);
        Places::Range { first, length }
    }

    /// What a local map makes of masked tensors.
    pub(super) fn compose(&mut self, map: &LocalPlan, inputs: &[&Places]) -> Result<Places, ProtocolError> {
        let composed = match (map, inputs) {
            (LocalPlan::Same, [one]) => return Ok((*one).clone()),
            (LocalPlan::Map(map), [one]) => {
                let total = (0..map.len())
                    .flat_map(|i| map.sources(i))
                    .map(|&middle| one.with(middle as usize, <[u32]>::len))
                    .fold(0usize, usize::saturating_add);
                self.count(total.max(map.len()))?;
                IndexMap::sums(
                    (0..map.len()).map(|i| map.sources(i).iter().flat_map(|&middle| one.of(middle as usize))),
                )
            }
            _ => {
                self.count(inputs.iter().map(|input| input.sources().max(input.len())).sum())?;
                IndexMap::sums(
                    inputs.iter().flat_map(|input| (0..input.len()).map(move |element| input.of(element))),
                )
            }
        };
        Ok(Places::Map(Arc::new(composed)))
    }

    /// A sum reads a masked tensor: what adding up its places takes counts like a map of them.
    pub(super) fn read(&mut self, places: &Places) -> Result<(), ProtocolError> {
        match places {
            Places::Range { .. } => Ok(()),
            Places::Map(_) => self.count(places.sources()),
        }
    }

    /// A slot reads an element; of several places.
    pub(super) fn read_element(&mut self, places: &Places, element: usize) -> Result<(), ProtocolError> {
        self.count(places.with(element, <[u32]>::len).saturating_sub(1))
    }

    fn count(&mut self, sources: usize) -> Result<(), ProtocolError> {
        self.sources = self.sources.saturating_add(sources);
        if self.sources > MAX_SOURCES {
            let reason = format!("its local maps and what reads them sum more than {MAX_SOURCES} elements");
            return Err(PeerFault::Malformed { what: "manifest", reason }.into());
        }
        Ok(())
    }

    /// A slot reads an element: the place that it is bound to, if any; all its places are taken from now on.
    pub(super) fn bind(&mut self, places: &Places, element: usize) -> Option<u32> {
        let taken = &mut self.taken;
        places.with(element, |places| {
            let free = places.iter().copied().find(|&place| !taken[place as usize]);
            places.iter().for_each(|&place| taken[place as usize] = true);
            free.filter(|_| distinct(places))
        })
    }
}

/// Whether no place occurs twice.
fn distinct(places: &[u32]) -> bool {
    if places.len() < 2 {
        return true;
    }
    let mut sorted = places.to_vec();
    sorted.sort_unstable();
    sorted.windows(2).all(|pair| pair[0] != pair[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(elements: usize) -> Tensor {
        Tensor { shape: [elements, 1, 1], kind: Kind::Masked { width: 20 } }
    }

    #[test]
    fn views_compose_and_places_are_bound_once() {
        let mut arena = Arena::default();
        let (a, b) = (arena.produce(0, &masked(3)), arena.produce(4, &masked(2)));
        let both = arena.compose(&LocalPlan::Joined, &[&a, &b]).unwrap();
        let sums = LocalPlan::Map(IndexMap::sums([vec![0, 4], vec![4, 4], vec![]].into_iter()));
        let view = arena.compose(&sums, &[&both]).unwrap();
        assert_eq!(view.with(0, <[u32]>::to_vec), [0, 4]);
        assert_eq!(view.sum(1, &[1, 10, 100, 1000, 10_000]), 20_000);
        assert_eq!(view.sum(2, &[1; 5]), 0);
        assert_eq!(arena.bind(&view, 1), None, "a place that counts twice");
        assert_eq!(arena.bind(&view, 0), Some(0), "its first free place");
        assert_eq!(arena.bind(&view, 0), None, "all taken");
        assert_eq!(arena.bind(&a, 0), None, "taken through another view");
        assert_eq!(arena.bind(&b, 0), Some(3));
    }

    #[test]
    fn sums_of_sums_do_not_explode() {
        let mut arena = Arena::default();
        let wide = arena.produce(0, &masked(1 << 12));
        let all = LocalPlan::Map(IndexMap::sums((0..1 << 12).map(|_| 0..1 << 12)));
        let once = arena.compose(&all, &[&wide]).unwrap();
        assert!(arena.compose(&all, &[&once]).is_err());
    }

    #[test]
    fn readers_of_large_sums_do_not_explode() {
        let mut arena = Arena::default();
        let wide = arena.produce(0, &masked(1 << 12));
        let all = LocalPlan::Map(IndexMap::sums((0..1 << 12).map(|_| 0..1 << 12)));
        let sums = arena.compose(&all, &[&wide]).unwrap();
        // Read in another shape it is the same map, not a second one.
        let again = arena.compose(&LocalPlan::Same, &[&sums]).unwrap();
        let (Places::Map(one), Places::Map(other)) = (&sums, &again) else { panic!("two maps") };
        assert!(Arc::ptr_eq(one, other));
        // A quarter of the sources are in the map, three sums take the rest, and then not even a slot may read one.
        assert!((0..3).all(|_| arena.read(&again).is_ok()));
        assert!(arena.read(&sums).is_err() && arena.read_element(&sums, 0).is_err());
        assert!(arena.read(&wide).is_ok(), "a producer's own range sums nothing");
    }
}
