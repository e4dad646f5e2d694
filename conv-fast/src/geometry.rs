//! The shape of one (grouped, strided, dilated, padded) two-dimensional convolution.
//!
//! This is the one home of convolution arithmetic on shapes; every other crate asks here. The operation is the
//! cross-correlation that machine learning calls convolution, with zero padding:
//!
//! ```text
//! out[o, y, x] = Σ_{c, i, j} w[o, c, i, j] · in[g·C/groups + c, y·s₀ + i·d₀ − top, x·s₁ + j·d₁ − left]
//! ```
//!
//! with g = o / (O/groups) and `in` read as zero outside the image.
//!
//! | tensor | order, row-major | elements |
//! |---|---|---|
//! | input | channel, row, column | C·H·W |
//! | weights | output, channel of its group, row, column | O·(C/groups)·kh·kw |
//! | output | output channel, row, column | O·OH·OW |
//!
//! A batch is several inputs (or outputs) back to back. A fully connected layer is a 1×1 convolution on a 1×1 plane.
//!
//! A [`ConvGeometry`] that exists is valid: it is checked on construction and on deserialisation alike. Caps keep all
//! later index arithmetic far away from overflow: spatial sizes are below 2^16, channels at most 2^20, each tensor at most
//! 2^28 elements. Ceiling-mode and other exotic roundings of the output size are not offered.

use crate::ConvError;
use serde::{Deserialize, Serialize};

/// Greatest number of elements of an input, weight or output tensor.
pub const MAX_ELEMENTS: u64 = 1 << 28;
const MAX_CHANNELS: u64 = 1 << 20;
const MAX_SPATIAL: u64 = (1 << 16) - 1;

/// The unchecked description of a convolution; [`ConvGeometry::new`] turns it into a checked one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ConvShape {
    /// Input channels C.
    pub in_channels: usize,
    /// Input rows H, without padding.
    pub in_height: usize,
    /// Input columns W, without padding.
    pub in_width: usize,
    /// Output channels O.
    pub out_channels: usize,
    /// Kernel rows and columns.
    pub kernel: [usize; 2],
    /// Stride over rows and columns.
    pub stride: [usize; 2],
    /// Zero rows and columns around the image: top, left, bottom, right (ONNX order).
    pub padding: [usize; 4],
    /// Distance of neighbouring taps in rows and columns.
    pub dilation: [usize; 2],
    /// Groups; both channel counts are multiples of it.
    pub groups: usize,
}

impl ConvShape {
    /// A square kernel of `taps` × `taps` over planes with these rows and columns, from input to output channels, stride and
    /// dilation one, one group, with ⌊taps/2⌋ zeros around: an odd kernel keeps the size of the plane.
    pub fn same(
        [in_channels, out_channels]: [usize; 2],
        [in_height, in_width]: [usize; 2],
        taps: usize,
    ) -> Self {
        Self {
            in_channels,
            in_height,
            in_width,
            out_channels,
            kernel: [taps; 2],
            stride: [1; 2],
            padding: [taps / 2; 4],
            dilation: [1; 2],
            groups: 1,
        }
    }
}

/// A checked convolution shape: positive sizes, groups that divide, at least one output, bounded tensors.
///
/// Tensors are flat and row-major: input C·H·W (channel, row, column), weights O·(C/groups)·kh·kw (output, channel of its
/// group, row, column), output O·OH·OW. A batch is several inputs or outputs back to back.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "ConvShape", into = "ConvShape")]
pub struct ConvGeometry {
    shape: ConvShape,
    out_height: usize,
    out_width: usize,
}

impl ConvGeometry {
    /// Checks a shape.
    ///
    /// # Errors
    /// [`ConvError`] names the first rule that the shape breaks: zero sizes, caps, groups, kernel larger than the image.
    pub fn new(shape: ConvShape) -> Result<Self, ConvError> {
        let s = &shape;
        for (what, value, limit) in [
            ("input channels", s.in_channels, MAX_CHANNELS),
            ("output channels", s.out_channels, MAX_CHANNELS),
            ("groups", s.groups, MAX_CHANNELS),
            ("input height", s.in_height, MAX_SPATIAL),
            ("input width", s.in_width, MAX_SPATIAL),
            ("kernel height", s.kernel[0], MAX_SPATIAL),
            ("kernel width", s.kernel[1], MAX_SPATIAL),
            ("stride over rows", s.stride[0], MAX_SPATIAL),
            ("stride over columns", s.stride[1], MAX_SPATIAL),
            ("dilation of rows", s.dilation[0], MAX_SPATIAL),
            ("dilation of columns", s.dilation[1], MAX_SPATIAL),
        ] {
            if value == 0 {
                return Err(ConvError::Zero { what });
            }
            cap(what, value as u64, limit)?;
        }
        for padding in s.padding {
            cap("padding", padding as u64, MAX_SPATIAL)?;
        }
        if !s.in_channels.is_multiple_of(s.groups) || !s.out_channels.is_multiple_of(s.groups) {
            return Err(ConvError::Groups {
                groups: s.groups,
                in_channels: s.in_channels,
                out_channels: s.out_channels,
            });
        }
        // Every factor is below 2^17 here, so that the products fit u64 whatever the platform's word.
        let span = |axis: usize| (s.kernel[axis] as u64 - 1) * s.dilation[axis] as u64 + 1;
        let image = [
            (s.in_height + s.padding[0] + s.padding[2]) as u64,
            (s.in_width + s.padding[1] + s.padding[3]) as u64,
        ];
        if span(0) > image[0] || span(1) > image[1] {
            return Err(ConvError::KernelTooLarge {
                kernel: [span(0) as usize, span(1) as usize],
                image: [image[0] as usize, image[1] as usize],
            });
        }
        let out_height = ((image[0] - span(0)) / s.stride[0] as u64 + 1) as usize;
        let out_width = ((image[1] - span(1)) / s.stride[1] as u64 + 1) as usize;
        bounded("input elements", &[s.in_channels, s.in_height, s.in_width])?;
        bounded("output elements", &[s.out_channels, out_height, out_width])?;
        bounded("weights", &[s.out_channels, s.in_channels / s.groups, s.kernel[0], s.kernel[1]])?;
        bounded("padded image", &[image[0] as usize, image[1] as usize])?;
        Ok(Self { shape, out_height, out_width })
    }

    /// A fully connected layer: a 1×1 convolution on a 1×1 plane.
    ///
    /// # Errors
    /// As [`ConvGeometry::new`].
    pub fn fully_connected(inputs: usize, outputs: usize) -> Result<Self, ConvError> {
        Self::pointwise([inputs, outputs], [1, 1], 1)
    }

    /// A 1×1 convolution of input to output channels, on planes with these rows and columns.
    ///
    /// # Errors
    /// As [`ConvGeometry::new`].
    pub fn pointwise(
        [in_channels, out_channels]: [usize; 2],
        [in_height, in_width]: [usize; 2],
        groups: usize,
    ) -> Result<Self, ConvError> {
        Self::new(ConvShape {
            groups,
            ..ConvShape::same([in_channels, out_channels], [in_height, in_width], 1)
        })
    }

    /// The description this geometry was made from.
    pub fn shape(&self) -> &ConvShape {
        &self.shape
    }

    /// Output rows OH.
    pub fn out_height(&self) -> usize {
        self.out_height
    }

    /// Output columns OW.
    pub fn out_width(&self) -> usize {
        self.out_width
    }

    /// Elements of one input tensor, C·H·W.
    pub fn input_len(&self) -> usize {
        self.shape.in_channels * self.shape.in_height * self.shape.in_width
    }

    /// Elements of one output tensor, O·OH·OW.
    pub fn output_len(&self) -> usize {
        self.shape.out_channels * self.out_height * self.out_width
    }

    /// Elements of the weight tensor, O·(C/groups)·kh·kw.
    pub fn weights_len(&self) -> usize {
        self.shape.out_channels * self.terms()
    }

    /// Products that one output value sums: (C/groups)·kh·kw.
    pub fn terms(&self) -> usize {
        self.group_inputs() * self.shape.kernel[0] * self.shape.kernel[1]
    }

    /// Input channels of one group.
    pub fn group_inputs(&self) -> usize {
        self.shape.in_channels / self.shape.groups
    }

    /// Output channels of one group.
    pub fn group_outputs(&self) -> usize {
        self.shape.out_channels / self.shape.groups
    }

    /// Whether the fast algorithms take it: strides up to 256, at most 2^24 values in the window of one output, holes of a
    /// dilation included, and at most 2^28 in a zero-padded image. Others are left to [`crate::direct()`], which reads what is
    /// there and no padding.
    pub fn is_ordinary(&self) -> bool {
        let s = &self.shape;
        let span = [0, 1].map(|axis| ((s.kernel[axis] - 1) * s.dilation[axis] + 1) as u64);
        let padded = [
            (s.in_height + s.padding[0] + s.padding[2]) as u64,
            (s.in_width + s.padding[1] + s.padding[3]) as u64,
        ];
        // Spatial sizes are below 2^18, channels at most 2^20.
        s.stride.iter().all(|&stride| stride <= 256)
            && self.group_inputs() as u64 * span[0] * span[1] <= 1 << 24
            && s.in_channels as u64 * padded[0] * padded[1] <= MAX_ELEMENTS
    }

    /// Multiplications of the direct method for one image, padding included.
    pub fn macs(&self) -> u64 {
        self.output_len() as u64 * self.terms() as u64
    }
}

impl TryFrom<ConvShape> for ConvGeometry {
    type Error = ConvError;

    fn try_from(shape: ConvShape) -> Result<Self, ConvError> {
        Self::new(shape)
    }
}

impl From<ConvGeometry> for ConvShape {
    fn from(geometry: ConvGeometry) -> Self {
        geometry.shape
    }
}

fn cap(what: &'static str, value: u64, limit: u64) -> Result<(), ConvError> {
    if value > limit { Err(ConvError::TooLarge { what, value, limit }) } else { Ok(()) }
}

fn bounded(what: &'static str, factors: &[usize]) -> Result<(), ConvError> {
    let product = factors.iter().fold(1u64, |product, &factor| product.saturating_mul(factor as u64));
    cap(what, product, MAX_ELEMENTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape() -> ConvShape {
        ConvShape {
            in_channels: 4,
            in_height: 9,
            in_width: 7,
            out_channels: 6,
            kernel: [3, 2],
            stride: [2, 1],
            padding: [1, 0, 2, 1],
            dilation: [1, 3],
            groups: 2,
        }
    }

    #[test]
    fn sizes_by_hand() {
        let geometry = ConvGeometry::new(shape()).unwrap();
        // Rows: 9 + 3 = 12 padded, span 3, stride 2: 5. Columns: 7 + 1 = 8 padded, span 4: 5.
        assert_eq!((geometry.out_height(), geometry.out_width()), (5, 5));
        assert_eq!(geometry.input_len(), 252);
        assert_eq!(geometry.weights_len(), 6 * 2 * 6);
        assert_eq!(geometry.output_len(), 150);
        assert_eq!(geometry.macs(), 150 * 12);
        let dense = ConvGeometry::fully_connected(10, 3).unwrap();
        assert_eq!((dense.input_len(), dense.output_len(), dense.weights_len()), (10, 3, 30));
    }

    #[test]
    fn each_rule_is_enforced() {
        type Edit = fn(&mut ConvShape);
        let broken: [(Edit, &str); 8] = [
            (|s| s.groups = 0, "at least one"),
            (|s| s.groups = 3, "do not divide"),
            (|s| s.kernel = [20, 1], "more than the padded image"),
            (|s| s.stride = [0, 1], "at least one"),
            (|s| s.in_height = 1 << 17, "at most"),
            (|s| s.out_channels = usize::MAX, "at most"),
            (|s| (s.in_height, s.in_width, s.in_channels) = (1 << 14, 1 << 14, 4), "at most"),
            (|s| s.padding = [usize::MAX, 0, 0, 0], "at most"),
        ];
        for (edit, message) in broken {
            let mut broken = shape();
            edit(&mut broken);
            let error = ConvGeometry::new(broken).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn deserialisation_checks_too() {
        let good = serde_json::to_string(&ConvGeometry::new(shape()).unwrap()).unwrap();
        assert_eq!(serde_json::from_str::<ConvGeometry>(&good).unwrap(), ConvGeometry::new(shape()).unwrap());
        let bad = good.replace("\"groups\":2", "\"groups\":3");
        assert_ne!(good, bad);
        let error = serde_json::from_str::<ConvGeometry>(&bad).unwrap_err().to_string();
        assert!(error.contains("do not divide"), "{error}");
    }
}
