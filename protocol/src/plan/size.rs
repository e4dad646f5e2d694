//! Caps before anything is allocated: a manifest is the peer's word.

use nn_merge::model::{LocalOp, Manifest, OpSpec, PoolGeometry, Tensor};

use crate::error::{PeerFault, ProtocolError};

/// Most tensor elements (results, further operands of sums, slots of linear layers with their borders and halos, cells of
/// pooling windows, and eight for each window) that one bundle may touch. The material of a bundle takes some hundred bytes for each, so beyond this it would not fit a machine;
/// and a manifest of a few bytes that describes such a network must cost its reader nothing.
pub const MAX_ELEMENTS: u64 = 1 << 27;

/// What a bundle touches so far.
#[derive(Debug, Default)]
pub(super) struct Budget(u64);

/// Cells of a pool's windows, and eight for each window, since planning takes a list per window.
pub(crate) fn cells(pool: &PoolGeometry) -> u64 {
    let [height, width] = pool.shape().kernel;
    (pool.output_len() as u64).saturating_mul(height as u64 * width as u64 + 8)
}

/// Refuses bundles of so many images that touch so many elements each.
///
/// # Errors
/// [`ProtocolError::Caller`] with how many images fit.
pub(crate) fn check_images(elements: u64, images: usize) -> Result<(), ProtocolError> {
    if elements.saturating_mul(images as u64) <= MAX_ELEMENTS {
        return Ok(());
    }
    let most = MAX_ELEMENTS / elements.max(1);
    Err(ProtocolError::Caller(format!("a bundle of this network holds at most {most} images, not {images}")))
}

impl Budget {
    /// Everything that the manifest says of itself.
    pub(super) fn new(manifest: &Manifest, tensors: &[Tensor], images: usize) -> Result<Self, ProtocolError> {
        let node = |(node, tensor): (&nn_merge::model::NodeSpec, &Tensor)| {
            let more = match &node.op {
                OpSpec::Linear { geometry, .. } => {
                    let shape = geometry.shape();
                    let [top, left, bottom, right] = shape.padding;
                    let plane =
                        (shape.in_height + top + bottom) as u64 * (shape.in_width + left + right) as u64;
                    (shape.in_channels as u64).saturating_mul(plane)
                }
                OpSpec::Activation(spec) => spec.pool.as_ref().map_or(0, cells),
                OpSpec::Local(LocalOp::SumPool(pool)) => cells(pool),
                // What each further operand adds: an edge costs its sender two bytes, its reader a tensor.
                OpSpec::Sum { factors } => {
                    (factors.len() as u64 - 1).saturating_mul(tensor.elements() as u64)
                }
                _ => 0,
            };
            more.saturating_add(tensor.elements() as u64)
        };
        let mut budget = Self::default();
        let elements = manifest.nodes.iter().zip(tensors).map(node).fold(0, u64::saturating_add);
        budget.spend(elements, images)?;
        Ok(budget)
    }

    /// More elements, of one image each.
    pub(super) fn spend(&mut self, elements: u64, images: usize) -> Result<(), ProtocolError> {
        self.0 = self.0.saturating_add(elements);
        if self.0 > MAX_ELEMENTS {
            let reason = format!(
                "its layers touch {} elements for one image, at most {MAX_ELEMENTS} can be run",
                self.0
            );
            return Err(PeerFault::Malformed { what: "manifest", reason }.into());
        }
        check_images(self.0, images)
    }
}
