//! Convolutions and fully connected layers as diagonals, one matrix for every pair of ciphertexts.
//!
//! Element o of the output lies in slot s + m P, element i of the input in b + n p, for all m and n (periods P and p).
//! The product w x_i may be added to any one copy m or to all, at distance k = b + n p - s - m P:
//!
//! | periods | distance k | which copies of the output get the product | afterwards |
//! |---|---|---|---|
//! | P >= p | (b - s) mod p | all | nothing |
//! | P < p | (b - s) mod P | those with s + m P + k = b modulo p | sums of rotations by P, 2 P, .. p/2 |
//!
//! The sums go round the whole ciphertext, so that in the end every copy has the whole of every element.
//!
//! | quantity | bound |
//! |---|---|
//! | diagonals of one matrix | min(p, P) |
//! | rotations for the sums | log2(p / P) |
//! | multiplicative depth | 1 |
//!
//! Outputs that read nothing but padding have no diagonal; a matrix of zeros is left out. Which diagonals there are
//! otherwise shows which weights are zero; [`distances`] has those of the shape alone.

use std::collections::BTreeMap;

use conv_fast::ConvGeometry;
use he_core::ckks::Diagonals;
use he_core::ckks::complex::Complex;

use super::SlotLayout;
use crate::error::{ProtocolError, caller};

/// Most diagonals of one layer, times slots: 2^26 complex numbers are a gibibyte.
const MOST_NUMBERS: usize = 1 << 26;

/// A linear layer between two layouts. It holds weights: no `Debug`.
pub struct SlotMap {
    /// Row by row: entry (o, i) takes ciphertext i of the input to ciphertext o of the output.
    matrices: Vec<Option<Diagonals>>,
    inputs: usize,
    folds: Vec<i64>,
}

impl SlotMap {
    /// The layer with these weights (outputs x inputs of a group x kernel rows x columns), without bias.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] unless geometry, layouts and weights fit each other, and beyond a gibibyte of diagonals.
    pub fn new(
        geometry: &ConvGeometry,
        weights: &[f64],
        input: &SlotLayout,
        output: &SlotLayout,
    ) -> Result<Self, ProtocolError> {
        input.check_input(geometry)?;
        let wanted = [geometry.shape().out_channels, geometry.out_height(), geometry.out_width()];
        if output.shape() != wanted
            || output.slots() != input.slots()
            || weights.len() != geometry.weights_len()
        {
            return Err(ProtocolError::Caller(format!(
                "a layer of {} weights to {wanted:?} was given {} weights and a layout for {:?}",
                geometry.weights_len(),
                weights.len(),
                output.shape()
            )));
        }
        let slots = input.slots();
        let (p, q) = (input.period(), output.period());
        let mut all: BTreeMap<(usize, usize), BTreeMap<usize, Vec<Complex>>> = BTreeMap::new();
        let mut numbers = 0;
        for (o, i, w) in products(geometry, weights) {
            let ((to, s), (from, b)) = (output.place(o), input.place(i));
            let k = (b + slots - s) & (p.min(q) - 1);
            let matrix = all.entry((to, from)).or_default();
            if !matrix.contains_key(&k) {
                numbers += slots;
                if numbers > MOST_NUMBERS {
                    return Err(ProtocolError::Caller(format!(
                        "this layer has more than {} diagonals of {slots} slots",
                        MOST_NUMBERS / slots
                    )));
                }
            }
            let diagonal = matrix.entry(k).or_insert_with(|| vec![Complex::ZERO; slots]);
            if q >= p {
                diagonal[s..].iter_mut().step_by(q).for_each(|d| d.re += w);
            } else {
                // s + m q + k = b modulo p fixes the copy m modulo p / q.
                let first = (b + slots - k) & (p - 1);
                diagonal[first..].iter_mut().step_by(p).for_each(|d| d.re += w);
            }
        }
        let mut matrices: Vec<Option<Diagonals>> = Vec::new();
        for to in 0..output.ciphertexts() {
            for from in 0..input.ciphertexts() {
                let diagonals = all.remove(&(to, from)).unwrap_or_default();
                let diagonals = diagonals.into_iter().map(|(k, d)| (k as i64, d));
                let matrix = Diagonals::new(slots, diagonals).map_err(caller)?;
                let is_empty = matrix.indices().next().is_none();
                matrices.push((!is_empty).then_some(matrix));
            }
        }
        let folds = core::iter::successors(Some(q), |&step| Some(2 * step)).take_while(|&step| step < p);
        Ok(Self { matrices, inputs: input.ciphertexts(), folds: folds.map(|step| step as i64).collect() })
    }

    /// The matrix from one ciphertext of the input to one of the output; `None` where it is zero.
    ///
    /// # Panics
    /// Beyond the last ciphertext of either.
    #[must_use]
    pub fn matrix(&self, output: usize, input: usize) -> Option<&Diagonals> {
        assert!(input < self.inputs, "ciphertext {input} of {}", self.inputs);
        self.matrices[output * self.inputs + input].as_ref()
    }

    /// All matrices that are not zero, row by row.
    pub fn matrices(&self) -> impl Iterator<Item = &Diagonals> {
        self.matrices.iter().flatten()
    }

    /// Diagonals of all matrices together.
    #[must_use]
    pub fn diagonals(&self) -> usize {
        self.matrices().map(|matrix| matrix.indices().count()).sum()
    }

    /// What `encode` makes of each matrix, row by row; `None` for those that are zero.
    ///
    /// # Errors
    /// What `encode` says.
    pub fn encoded<T, E>(&self, encode: impl Fn(&Diagonals) -> Result<T, E>) -> Result<Vec<Option<T>>, E> {
        self.matrices.iter().map(|matrix| matrix.as_ref().map(&encode).transpose()).collect()
    }

    /// Rotations to be added to each output ciphertext, one after the other: y becomes y + rot(y).
    #[must_use]
    pub fn folds(&self) -> &[i64] {
        &self.folds
    }

    /// The layer on vectors of slots in the clear: the twin of its evaluation under encryption.
    ///
    /// # Panics
    /// Unless there are as many vectors as input ciphertexts, of as many entries as slots.
    #[must_use]
    pub fn apply(&self, x: &[Vec<Complex>]) -> Vec<Vec<Complex>> {
        assert_eq!(x.len(), self.inputs, "vectors of the input");
        let output = |row: &[Option<Diagonals>]| {
            let mut y = vec![Complex::ZERO; x[0].len()];
            for (matrix, x) in row.iter().zip(x) {
                let Some(matrix) = matrix else { continue };
                y.iter_mut().zip(matrix.apply(x)).for_each(|(y, product)| *y = *y + product);
            }
            for &step in &self.folds {
                let mut turned = y.clone();
                turned.rotate_left(step as usize);
                y.iter_mut().zip(turned).for_each(|(y, turned)| *y = *y + turned);
            }
            y
        };
        self.matrices.chunks(self.inputs).map(output).collect()
    }
}

/// The layer with all weights one, at small cost: which diagonals there are, for who may not know what is in them.
///
/// # Errors
/// As [`SlotMap::new`].
pub fn distances(
    geometry: &ConvGeometry,
    input: &SlotLayout,
    output: &SlotLayout,
) -> Result<SlotMap, ProtocolError> {
    SlotMap::new(geometry, &vec![1.0; geometry.weights_len()], input, output)
}

/// Every product of the layer: output element, input element, weight that is not zero.
pub(crate) fn products<'a>(
    geometry: &'a ConvGeometry,
    weights: &'a [f64],
) -> impl Iterator<Item = (usize, usize, f64)> + 'a {
    let s = *geometry.shape();
    let (height, width) = (geometry.out_height(), geometry.out_width());
    let (inputs, outputs) = (geometry.group_inputs(), geometry.group_outputs());
    let [rows, columns] = s.kernel;
    weights.iter().enumerate().filter(|&(_, &w)| w != 0.0).flat_map(move |(at, &w)| {
        let (j, at) = (at % columns, at / columns);
        let (i, at) = (at % rows, at / rows);
        let (c, o) = (at % inputs, at / inputs);
        let channel = o / outputs * inputs + c;
        (0..height * width).filter_map(move |pixel| {
            let (y, x) = (pixel / width, pixel % width);
            let row = (y * s.stride[0] + i * s.dilation[0]).checked_sub(s.padding[0])?;
            let column = (x * s.stride[1] + j * s.dilation[1]).checked_sub(s.padding[1])?;
            let inside = row < s.in_height && column < s.in_width;
            inside.then_some((
                o * height * width + pixel,
                (channel * s.in_height + row) * s.in_width + column,
                w,
            ))
        })
    })
}

#[cfg(test)]
mod tests;
