//! A strided convolution as one of stride one over the phases of its input (space to depth).
//!
//! Pixels of the padded image are sorted by row mod s₀ and column mod s₁ into s₀·s₁ smaller images, which become channels:
//!
//! out(y, x) = Σ_{c, i, j} w(c, i, j)·in(c, s₀·y + i·d₀, s₁·x + j·d₁), with i·d₀ = s₀·i′ + a and j·d₁ = s₁·j′ + b,
//! is Σ_{c, a, b, i′, j′} w′((c, a, b), i′, j′)·in′((c, a, b), y + i′, x + j′).
//!
//! Kernels shrink to ⌈r/s⌉ per axis; taps that the original does not have are zero. Where the dilation is a multiple of the
//! stride only one phase is read and the new dilation is d/s; where it is one, all are read. Other dilations are refused, as
//! their kernels would consist of holes. Phases of a channel stay in its group, and the outputs are the original ones in the
//! original order: every fast algorithm for stride one serves strided layers. It is an exact re-indexing over any ring.
//!
//! The case that pays most: 7×7 with stride 2 from 3 channels becomes 4×4 from 12 channels.

use crate::{ConvGeometry, ConvShape, Word};

/// A convolution of stride one that computes a strided one.
#[derive(Clone, Debug)]
pub(crate) struct Polyphase {
    outer: ConvGeometry,
    inner: ConvGeometry,
    axes: [Axis; 2],
}

/// One axis: rows or columns.
#[derive(Clone, Copy, Debug)]
struct Axis {
    stride: usize,
    /// Phases that are read: all, or the first alone.
    phases: usize,
    padding: usize,
    /// Pixels of the original and of a phase.
    size: usize,
    length: usize,
}

impl Polyphase {
    /// `None` for stride one on both axes, for dilations that are neither one nor a multiple of their stride, and where the
    /// inner shape exceeds the caps of [`ConvGeometry`].
    pub(crate) fn new(geometry: &ConvGeometry) -> Option<Self> {
        let s = geometry.shape();
        if s.stride == [1, 1] {
            return None;
        }
        let outputs = [geometry.out_height(), geometry.out_width()];
        let sizes = [s.in_height, s.in_width];
        let mut axes = [Axis { stride: 1, phases: 1, padding: 0, size: 0, length: 0 }; 2];
        let (mut kernel, mut dilation) = ([0; 2], [0; 2]);
        for axis in 0..2 {
            let stride = s.stride[axis];
            (kernel[axis], dilation[axis]) = if s.dilation[axis].is_multiple_of(stride) {
                (s.kernel[axis], s.dilation[axis] / stride)
            } else if s.dilation[axis] == 1 {
                (s.kernel[axis].div_ceil(stride), 1)
            } else if s.kernel[axis] == 1 {
                (1, 1)
            } else {
                return None;
            };
            let phases = if s.dilation[axis] == 1 { stride.min(s.kernel[axis]) } else { 1 };
            // Exactly what the outputs read.
            let length = outputs[axis] + (kernel[axis] - 1) * dilation[axis];
            axes[axis] = Axis { stride, phases, padding: s.padding[axis], size: sizes[axis], length };
        }
        let phases = axes[0].phases * axes[1].phases;
        let shape = ConvShape {
            in_channels: s.in_channels.checked_mul(phases)?,
            in_height: axes[0].length,
            in_width: axes[1].length,
            out_channels: s.out_channels,
            kernel,
            stride: [1; 2],
            padding: [0; 4],
            dilation,
            groups: s.groups,
        };
        let inner = ConvGeometry::new(shape).ok()?;
        debug_assert_eq!([inner.out_height(), inner.out_width()], outputs, "the outputs stay");
        Some(Self { outer: geometry.clone(), inner, axes })
    }

    /// The convolution of stride one, without padding (it is in the gathered input).
    pub(crate) fn inner(&self) -> &ConvGeometry {
        &self.inner
    }

    /// The weights for [`Polyphase::inner`].
    ///
    /// # Panics
    /// If `weights` does not have the length of the original's.
    pub(crate) fn weights(&self, weights: &[i32]) -> Vec<i32> {
        assert_eq!(weights.len(), self.outer.weights_len(), "number of weights");
        let (from, to) = (self.outer.shape(), self.inner.shape());
        let taps = from.kernel[0] * from.kernel[1];
        let phase_taps = to.kernel[0] * to.kernel[1];
        let phases = self.axes[0].phases * self.axes[1].phases;
        let mut out = vec![0; self.inner.weights_len()];
        let pairs = weights.chunks_exact(taps).zip(out.chunks_exact_mut(phases * phase_taps));
        for (kernel, channels) in pairs {
            for (tap, &weight) in kernel.iter().enumerate() {
                let (phase_row, row) = self.tap(0, tap / from.kernel[1]);
                let (phase_column, column) = self.tap(1, tap % from.kernel[1]);
                let phase = phase_row * self.axes[1].phases + phase_column;
                channels[phase * phase_taps + row * to.kernel[1] + column] = weight;
            }
        }
        out
    }

    /// Writes the input of [`Polyphase::inner`], padding included, of `batch` images to `out`.
    ///
    /// # Panics
    /// If `input` or `out` does not hold `batch` images.
    pub(crate) fn gather_into<W: Word>(&self, input: &[W], batch: usize, out: &mut [W]) {
        assert_eq!(Some(input.len()), batch.checked_mul(self.outer.input_len()), "number of input values");
        assert_eq!(Some(out.len()), batch.checked_mul(self.inner.input_len()), "number of gathered values");
        let [rows, columns] = self.axes;
        let channels = input
            .chunks_exact(rows.size * columns.size)
            .zip(out.chunks_exact_mut(rows.phases * columns.phases * rows.length * columns.length));
        for (plane, phases) in channels {
            let mut targets = phases.chunks_exact_mut(columns.length);
            for phase_row in 0..rows.phases {
                for phase_column in 0..columns.phases {
                    for y in 0..rows.length {
                        let Some(target) = targets.next() else { continue };
                        let row = (y * rows.stride + phase_row).wrapping_sub(rows.padding);
                        if row < rows.size {
                            columns.pick(&plane[row * columns.size..][..columns.size], phase_column, target);
                        } else {
                            target.fill(W::default());
                        }
                    }
                }
            }
        }
    }

    /// Phase and inner tap of an original tap.
    fn tap(&self, axis: usize, tap: usize) -> (usize, usize) {
        let s = self.outer.shape();
        if s.dilation[axis].is_multiple_of(s.stride[axis]) {
            (0, tap)
        } else {
            (tap % s.stride[axis], tap / s.stride[axis])
        }
    }
}

impl Axis {
    /// The pixels of one phase of a row, zeros outside.
    fn pick<W: Word>(&self, row: &[W], phase: usize, target: &mut [W]) {
        // Target t is pixel t·stride + phase − padding.
        let skip = self.padding.saturating_sub(phase).div_ceil(self.stride).min(target.len());
        let start = skip * self.stride + phase - self.padding.min(skip * self.stride + phase);
        let row = row.get(start..).unwrap_or_default();
        let inside = row.len().div_ceil(self.stride).min(target.len() - skip);
        let (before, target) = target.split_at_mut(skip);
        let (target, after) = target.split_at_mut(inside);
        before.fill(W::default());
        after.fill(W::default());
        match self.stride {
            1 => target.copy_from_slice(&row[..inside]),
            2 => {
                let (pairs, rest) = row.as_chunks::<2>();
                for (target, pair) in target.iter_mut().zip(pairs) {
                    *target = pair[0];
                }
                if let (Some(target), Some(&last)) = (target.get_mut(pairs.len()), rest.first()) {
                    *target = last;
                }
            }
            stride => {
                for (target, &pixel) in target.iter_mut().zip(row.iter().step_by(stride)) {
                    *target = pixel;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::direct;
    use crate::testing::{Random, random_geometry};
    use he_core::Modulus;

    #[test]
    fn computes_the_same() {
        let mut random = Random::new("polyphase");
        let modulus = Modulus::new(1_125_899_906_826_241).unwrap();
        let mut done = 0;
        while done < 300 {
            let geometry = random_geometry(&mut random);
            let Some(phases) = Polyphase::new(&geometry) else {
                let s = geometry.shape();
                let odd =
                    |axis: usize| s.dilation[axis] != 1 && !s.dilation[axis].is_multiple_of(s.stride[axis]);
                assert!(s.stride == [1, 1] || odd(0) || odd(1), "{geometry:?}");
                continue;
            };
            assert_eq!(phases.inner().shape().stride, [1, 1]);
            let batch = random.between(1, 3);
            let weights = random.weights(geometry.weights_len(), 1000);
            let input = random.words(batch * geometry.input_len(), modulus.value());
            let wide = |weights: &[i32]| weights.iter().map(|&w| i64::from(w)).collect::<Vec<_>>();
            let expected = direct(&geometry, modulus, &wide(&weights), &input);
            let inner = wide(&phases.weights(&weights));
            // Everything is written, padding included.
            let mut gathered = vec![7; batch * phases.inner().input_len()];
            phases.gather_into(&input, batch, &mut gathered);
            let output = direct(phases.inner(), modulus, &inner, &gathered);
            assert_eq!(output, expected, "{geometry:?}");
            done += 1;
        }
    }

    #[test]
    fn shapes_by_hand() {
        let shape = ConvShape { stride: [2; 2], ..ConvShape::same([3, 64], [224, 224], 7) };
        let inner = |shape: ConvShape| {
            let phases = Polyphase::new(&ConvGeometry::new(shape).unwrap()).unwrap();
            let s = *phases.inner().shape();
            (s.in_channels, s.in_height, s.kernel, s.dilation)
        };
        assert_eq!(inner(shape), (12, 115, [4, 4], [1, 1]));
        // A 1×1 kernel reads one phase of four.
        assert_eq!(inner(ConvShape { kernel: [1; 2], padding: [0; 4], ..shape }), (3, 112, [1, 1], [1, 1]));
        assert_eq!(inner(ConvShape { dilation: [2; 2], ..shape }).2, [7, 7]);
        assert!(
            Polyphase::new(&ConvGeometry::new(ConvShape { dilation: [3; 2], ..shape }).unwrap()).is_none()
        );
        assert!(Polyphase::new(&ConvGeometry::new(ConvShape { stride: [1; 2], ..shape }).unwrap()).is_none());
    }
}
