//! Where the elements of a tensor lie.
//!
//! | quantity | meaning | range |
//! |---|---|---|
//! | slots | slots of one ciphertext | a power of two |
//! | period p | the contents of a ciphertext repeat with it | a power of two up to slots; slots with several ciphertexts |
//! | place of a channel | ciphertext, and the slot of its element (0, 0) below p | |
//! | strides | slots from one row, one column to the next | |
//!
//! The element (c, y, x) lies in the slots place(c) + y row + x column + k p, all k. Elements never share a slot; slots
//! that no element has are zero when a tensor is written ([`SlotLayout::scatter`]) and arbitrary otherwise.
//!
//! A plane never straddles two ciphertexts: one with more elements than slots is refused.

use std::collections::HashSet;

use conv_fast::ConvGeometry;

use crate::error::ProtocolError;

/// Most ciphertexts of a tensor.
const MOST_CIPHERTEXTS: usize = 1 << 12;

/// The slots of a tensor channels x height x width; see the module essay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotLayout {
    slots: usize,
    period: usize,
    shape: [usize; 3],
    /// Ciphertext and first slot of each channel.
    places: Vec<(usize, usize)>,
    strides: [usize; 2],
    /// Slots from one row of the undilated plane to the next.
    pitch: usize,
    ciphertexts: usize,
}

impl SlotLayout {
    /// Row after row, channel after channel without gaps: a vector is a tensor n x 1 x 1. Repeated as often as it fits
    /// (`repeated`), or there once.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] for slots that are no power of two, an empty shape, a plane larger than the slots, or
    /// more than 2^12 ciphertexts.
    pub fn dense(slots: usize, shape: [usize; 3], repeated: bool) -> Result<Self, ProtocolError> {
        Self::pitched(slots, shape, shape[2], shape[1] * shape[2], 1, repeated)
    }

    /// Rows at distances that are a power of two, planes too: what [`SlotLayout::after`] keeps aligned. The layout for a
    /// network's input.
    ///
    /// # Errors
    /// As [`SlotLayout::dense`].
    pub fn aligned(slots: usize, shape: [usize; 3], repeated: bool) -> Result<Self, ProtocolError> {
        let pitch = shape[2].next_power_of_two();
        Self::pitched(slots, shape, pitch, (shape[1] * pitch).next_power_of_two(), 1, repeated)
    }

    /// The layout of a convolution's output that keeps positions: strides multiply with those of the convolution, and
    /// channels fill the places between first. Fully connected layers give a vector, [`SlotLayout::dense`].
    ///
    /// # Errors
    /// As [`SlotLayout::dense`]; unless the convolution reads this tensor's shape (as it is, or flat); for a stride whose
    /// places would not fit.
    pub fn after(&self, geometry: &ConvGeometry, repeated: bool) -> Result<Self, ProtocolError> {
        self.check_input(geometry)?;
        let s = geometry.shape();
        let shape = [s.out_channels, geometry.out_height(), geometry.out_width()];
        let dilation = self.strides[1] * s.stride[0].max(s.stride[1]);
        // Rows and columns must be dilated alike for channels to fill the places between.
        let regular = s.stride[0] == s.stride[1] && self.strides[0] == self.pitch * self.strides[1];
        let flat = s.in_height * s.in_width == 1;
        if flat || !regular || self.pitch < shape[2] * dilation {
            return if flat {
                Self::dense(self.slots, shape, repeated)
            } else {
                Self::aligned(self.slots, shape, repeated)
            };
        }
        let block = (self.pitch * shape[1] * dilation).next_power_of_two();
        Self::pitched(self.slots, shape, self.pitch, block, dilation, repeated)
    }

    /// Blocks of `block` slots with rows of `pitch` slots, in which every `dilation`-th row and column belongs to one
    /// channel: dilation^2 channels a block.
    fn pitched(
        slots: usize,
        shape: [usize; 3],
        pitch: usize,
        block: usize,
        dilation: usize,
        repeated: bool,
    ) -> Result<Self, ProtocolError> {
        let [channels, height, width] = shape;
        let refused =
            |reason: String| ProtocolError::Caller(format!("a tensor {shape:?} in {slots} slots: {reason}"));
        if !slots.is_power_of_two() || shape.contains(&0) || dilation == 0 {
            return Err(refused("slots have to be a power of two, and no side may be empty".into()));
        }
        let fits = |product: Option<usize>| product.is_some_and(|product| product <= slots);
        if !fits(pitch.checked_mul(height)) || pitch < width || block > slots {
            return Err(refused("a plane does not fit one ciphertext".into()));
        }
        let phases = dilation * dilation;
        let blocks = slots / block.max(1);
        let place = |channel: usize| {
            let (group, phase) = (channel / phases, channel % phases);
            (group / blocks, (group % blocks) * block + (phase / dilation) * pitch + phase % dilation)
        };
        let ciphertexts = place(channels - 1).0 + 1;
        if ciphertexts > MOST_CIPHERTEXTS {
            return Err(refused(format!("{ciphertexts} ciphertexts are more than {MOST_CIPHERTEXTS}")));
        }
        let used = channels.div_ceil(phases) * block;
        let period = if repeated && ciphertexts == 1 { used.next_power_of_two().min(slots) } else { slots };
        Ok(Self {
            slots,
            period,
            shape,
            places: (0..channels).map(place).collect(),
            strides: [pitch * dilation, dilation],
            pitch,
            ciphertexts,
        })
    }

    /// Slots of one ciphertext.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// The period with which the contents repeat.
    #[must_use]
    pub fn period(&self) -> usize {
        self.period
    }

    /// Channels, height, width.
    #[must_use]
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Number of elements.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Number of ciphertexts.
    #[must_use]
    pub fn ciphertexts(&self) -> usize {
        self.ciphertexts
    }

    /// Ciphertext and first slot of an element in row-major order.
    ///
    /// # Panics
    /// Beyond the last element.
    #[must_use]
    pub fn place(&self, element: usize) -> (usize, usize) {
        let [_, height, width] = self.shape;
        let (channel, rest) = (element / (height * width), element % (height * width));
        let (ciphertext, slot) = self.places[channel];
        (ciphertext, slot + rest / width * self.strides[0] + rest % width * self.strides[1])
    }

    /// A tensor's slots, ciphertext by ciphertext; free ones are zero.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] for another number of values.
    pub fn scatter(&self, values: &[f64]) -> Result<Vec<Vec<f64>>, ProtocolError> {
        if values.len() != self.elements() {
            return Err(ProtocolError::Caller(format!(
                "{} values for a tensor of {} elements",
                values.len(),
                self.elements()
            )));
        }
        let mut slots = vec![vec![0.0; self.slots]; self.ciphertexts];
        for (element, &value) in values.iter().enumerate() {
            let (ciphertext, first) = self.place(element);
            slots[ciphertext].iter_mut().skip(first).step_by(self.period).for_each(|slot| *slot = value);
        }
        Ok(slots)
    }

    /// The tensor of these slots, read from the first copy.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] for another number of ciphertexts or slots.
    pub fn gather<T: Copy>(&self, slots: &[Vec<T>]) -> Result<Vec<T>, ProtocolError> {
        if slots.len() != self.ciphertexts || slots.iter().any(|slots| slots.len() != self.slots) {
            return Err(ProtocolError::Caller(format!(
                "{} vectors for {} ciphertexts of {} slots",
                slots.len(),
                self.ciphertexts,
                self.slots
            )));
        }
        let value = |element| {
            let (ciphertext, slot) = self.place(element);
            slots[ciphertext][slot]
        };
        Ok((0..self.elements()).map(value).collect())
    }

    /// Refuses a convolution that reads another shape.
    pub(super) fn check_input(&self, geometry: &ConvGeometry) -> Result<(), ProtocolError> {
        let s = geometry.shape();
        let flat = [s.in_channels, s.in_height, s.in_width] == [self.elements(), 1, 1];
        if flat || [s.in_channels, s.in_height, s.in_width] == self.shape {
            return Ok(());
        }
        Err(ProtocolError::Caller(format!(
            "a layer for {} x {} x {} was given a tensor {:?}",
            s.in_channels, s.in_height, s.in_width, self.shape
        )))
    }

    /// Whether no two elements share a slot: true for every layout that exists.
    #[must_use]
    pub fn is_injective(&self) -> bool {
        let mut seen = HashSet::new();
        (0..self.elements())
            .map(|element| self.place(element))
            .all(|(c, s)| s < self.period && seen.insert((c, s)))
    }
}
