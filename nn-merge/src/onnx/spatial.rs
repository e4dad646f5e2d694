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
    /// Rows and columns of the padding at the bottom and the right that ceiling mode added to the declared ones.
    pub(super) extension: [usize; 2],
}

/// Reads the window attributes of a node for an image of `size` rows and columns, of which the file knows the last `axes`.
pub(super) fn window(
    view: &View<'_>,
    kernel: [usize; 2],
    size: [usize; 2],
    axes: usize,
) -> Result<Window, NnError> {
    let stride = view.plane("strides", axes, 1, 1)?;
    let dilation = view.plane("dilations", axes, 1, 1)?;
    let mut padding = match axes {
        1 => view.sizes::<2>("pads", 0, 0).map(|[left, right]| [0, left, 0, right])?,
        _ => view.sizes::<4>("pads", 0, 0)?,
    };
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
    let mut extension = [0; 2];
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
                extension[axis] = stride[axis] - left_over;
                padding[axis + 2] += extension[axis];
            }
        }
    }
    Ok(Window { kernel, stride, dilation, padding, extension })
}
