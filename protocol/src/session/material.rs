//! What a server computes once per model and layout: what the preprocessing needs of the weights, and prepared convolutions.
//!
//! Layouts follow from the number of images in a bundle, which clients choose. So what is remembered is bounded: some
//! layouts per layer ([`MOST_LAYOUTS`]), the one that was asked for longest ago going first. Weights that are prepared for
//! the online convolution serve for the products with known zeros as well, where the geometry is the same.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use conv_fast::{ConvGeometry, Layout, PreparedConv};
use he_core::Params;
use he_core::split::Epoch;

use crate::error::ProtocolError;
use crate::offline::construction::{Material, Preprocessing, prepared};
use crate::plan::{LinearPlan, Plan};

/// Layouts of one layer that are remembered.
const MOST_LAYOUTS: usize = 8;

/// All that is remembered.
#[derive(Default)]
pub(super) struct Materials {
    layers: Memory<(Preprocessing, ConvGeometry, Layout), Material>,
    convolutions: Memory<ConvGeometry, Vec<PreparedConv>>,
}

impl Materials {
    /// A layer's weights as the plan's preprocessing takes them. Layer by layer on the caller's thread, the work inside is
    /// parallel: a worker of the pool must never wait for a cell that is being filled, since the filling may wait for that
    /// worker.
    pub(super) fn layer(
        &self,
        plan: &Plan,
        epoch: &Epoch,
        layer: &LinearPlan,
        weights: &[i32],
    ) -> Result<Arc<Material>, ProtocolError> {
        // Slots are laid out by the layer alone: one matrix for bundles of all sizes.
        let layout = match plan.preprocessing() {
            Preprocessing::Ckks => Layout { images: 1, channels: 1, outputs: 1, split_stride: false },
            _ => layer.packing().layout(),
        };
        let key = (plan.preprocessing(), layer.tiling.tile().clone(), layout);
        self.layers.get(layer.node, key, || {
            let prepare =
                |geometry: &ConvGeometry| self.prepared(plan.params(), layer.node, geometry, weights);
            Material::new(plan, epoch, layer, weights, prepare)
        })
    }

    /// A layer's convolutions of tiles, one per limb.
    pub(super) fn convolutions(
        &self,
        params: &Params,
        layer: &LinearPlan,
        weights: &[i32],
    ) -> Result<Arc<Vec<PreparedConv>>, ProtocolError> {
        self.prepared(params, layer.node, layer.tiling.tile(), weights)
    }

    fn prepared(
        &self,
        params: &Params,
        node: usize,
        geometry: &ConvGeometry,
        weights: &[i32],
    ) -> Result<Arc<Vec<PreparedConv>>, ProtocolError> {
        self.convolutions.get(node, geometry.clone(), || prepared(params, geometry, weights))
    }
}

type Cell<V> = Arc<OnceLock<Arc<V>>>;
/// By layer and key: when it was asked for last, and the value.
type Cells<K, V> = HashMap<(usize, K), (u64, Cell<V>)>;

/// A map that forgets what was asked for longest ago.
struct Memory<K, V> {
    cells: Mutex<Cells<K, V>>,
    clock: AtomicU64,
}

impl<K, V> Default for Memory<K, V> {
    fn default() -> Self {
        Self { cells: Mutex::default(), clock: AtomicU64::default() }
    }
}

impl<K: Hash + Eq + Clone, V> Memory<K, V> {
    /// The value of `node` for `key`. An error is not remembered, and two who ask first at once may both compute.
    fn get<E>(&self, node: usize, key: K, compute: impl FnOnce() -> Result<V, E>) -> Result<Arc<V>, E> {
        let cell = self.cell(node, key);
        if let Some(value) = cell.get() {
            return Ok(value.clone());
        }
        let value = Arc::new(compute()?);
        Ok(cell.get_or_init(|| value).clone())
    }

    fn cell(&self, node: usize, key: K) -> Cell<V> {
        let now = self.clock.fetch_add(1, Ordering::Relaxed);
        // A panic elsewhere leaves the map whole: every change to it is a single call.
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let (asked, cell) = cells.entry((node, key)).or_default();
        *asked = now;
        let cell = cell.clone();
        let own: Vec<_> = cells.iter().filter(|((of, _), _)| *of == node).collect();
        if own.len() > MOST_LAYOUTS {
            let oldest = own.into_iter().min_by_key(|(_, (asked, _))| *asked).map(|(key, _)| key.clone());
            oldest.and_then(|key| cells.remove(&key));
        }
        cell
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn the_longest_unused_layout_goes_first_and_per_layer() {
        let memory = Memory::<usize, usize>::default();
        let computed = AtomicUsize::new(0);
        let get = |node, key| {
            let value = memory.get(node, key, || {
                computed.fetch_add(1, Ordering::Relaxed);
                Ok::<usize, ()>(10 * key)
            });
            *value.unwrap()
        };
        (0..MOST_LAYOUTS).for_each(|key| assert_eq!(get(1, key), 10 * key));
        get(2, 0);
        assert_eq!(computed.load(Ordering::Relaxed), MOST_LAYOUTS + 1);
        // Key 0 is young again, so key 1 is forgotten.
        get(1, 0);
        get(1, MOST_LAYOUTS);
        assert_eq!(computed.load(Ordering::Relaxed), MOST_LAYOUTS + 2);
        get(1, 0);
        get(2, 0);
        assert_eq!(computed.load(Ordering::Relaxed), MOST_LAYOUTS + 2);
        get(1, 1);
        assert_eq!(computed.load(Ordering::Relaxed), MOST_LAYOUTS + 3);
    }
}
