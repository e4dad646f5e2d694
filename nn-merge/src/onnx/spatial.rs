//! Windows of convolutions and poolings: explicit padding from pads, automatic padding and ceiling mode.
//!
//! Everything downstream knows explicit padding only. Ceiling mode becomes extra padding at the bottom and the
//! right: exact for maximum pooling (padding never wins) and for averages that do not count padding.

use super::attributes::View;
use crate::error::NnError;

/// Kernel, stride, dilation and explicit padding (top, left, bottom, right).
pub(super) struct Window {
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) dilation: [usize; 2],
    pub(super) padding: [usize; 4],
    /// Ceiling mode added windows that reach beyond the declared padding.
    pub(super) extended: bool,
}

/// Reads the window attributes of a node for an image of `size` rows and columns.
pub(super) fn window(view: &View<'_>, kernel: [usize; 2], size: [usize; 2]) -> Result<Window, NnError> {
    let stride = view.sizes::<2>("strides", 1, 1)?;
    let dilation = view.sizes::<2>("dilations", 1, 1)?;
    let mut padding = view.sizes::<4>("pads", 0, 0)?;
    let span = [0, 1].map(|axis| (kernel[axis] - 1) * dilation[axis] + 1);
    match view.string("auto_pad").unwrap_or("NOTSET") {
        "NOTSET" | "" => {}
        "VALID" => padding = [0; 4],
        mode @ ("SAME_UPPER" | "SAME_LOWER") => {
            for axis in 0..2 {
                let outputs = size[axis].div_ceil(stride[axis]);
                let total = ((outputs - 1) * stride[axis] + span[axis]).saturating_sub(size[axis]);
                let small = total / 2;
                let before = if mode == "SAME_UPPER" { small } else { total - small };
                padding[axis] = before;
                padding[axis + 2] = total - before;
            }
        }
        other => return Err(view.unsupported(format!("auto_pad {}", crate::error::shown(other)))),
    }
    let mut extended = false;
    for axis in 0..2 {
        let padded = size[axis] + padding[axis] + padding[axis + 2];
        let Some(room) = padded.checked_sub(span[axis]) else {
            return Err(view.shape(format!("a window of {} on {padded} padded rows or columns", span[axis])));
        };
        let left_over = room % stride[axis];
        if view.int("ceil_mode", 0) != 0 && left_over != 0 {
            let start = room - left_over + stride[axis];
            // A window that would begin behind the image does not count.
            if start < size[axis] + padding[axis] {
                padding[axis + 2] += stride[axis] - left_over;
                extended = true;
            }
        }
    }
    Ok(Window { kernel, stride, dilation, padding, extended })
}
