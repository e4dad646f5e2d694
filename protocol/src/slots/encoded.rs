//! A layer's matrices encoded once, and their products with ciphertexts: diagonals, a chain of rotations, sums.
//!
//! Weights that are zero are encoded like others, so that work and keys show the layer's shape only. Encoded diagonals are
//! polynomials modulo all primes of their level, hundreds of megabytes for a network of convolutions: a [`Room`] counts
//! them before they are made.

use std::collections::BTreeSet;

use conv_fast::ConvGeometry;
use he_core::HeError;
use he_core::ckks::{Ciphertext, LinearTransform, Params};
use he_core::rlwe::GaloisKeys;
use zeroize::Zeroizing;

use super::{SlotLayout, SlotMap};
use crate::error::{ProtocolError, caller};

/// Stands for a weight that is zero: it is encoded as zero, but its diagonal is kept.
const NOTHING: f64 = 1e-200;
/// What a rotation costs that shares no decomposition, in those that do; for the choice of baby steps.
const GIANT_COST: usize = 3;

/// Bytes of a network's encoded maps, and how many there may be.
pub(crate) struct Room {
    most: usize,
    taken: usize,
}

/// A layer encoded for ciphertexts of one level. It holds weights: no `Debug`.
pub(crate) struct EncodedMap {
    /// Row by row, for each pair of an output's and an input's ciphertext; `None` where nothing is read.
    maps: Vec<Option<LinearTransform>>,
    inputs: usize,
    folds: Vec<i64>,
}

impl Room {
    /// Room for so many bytes.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, taken: 0 }
    }

    /// Bytes taken so far.
    pub(crate) fn taken(&self) -> usize {
        self.taken
    }

    fn take(&mut self, bytes: usize) -> Result<(), ProtocolError> {
        self.taken += bytes;
        if self.taken <= self.most {
            return Ok(());
        }
        Err(ProtocolError::Caller(format!(
            "this network's matrices take more than {} GB as polynomials",
            self.most / 1_000_000_000
        )))
    }
}

impl EncodedMap {
    /// Encodes a layer for ciphertexts of `limbs` limbs, at the scale of the prime that is divided out by rescaling.
    ///
    /// # Errors
    /// As [`SlotMap::new`]; [`ProtocolError::Caller`] for more bytes than there is room for, before anything is encoded,
    /// and for weights that do not fit the scale.
    pub(crate) fn new(
        params: &Params,
        geometry: &ConvGeometry,
        weights: &[f64],
        [input, output]: [&SlotLayout; 2],
        baby_steps: usize,
        limbs: usize,
        room: &mut Room,
    ) -> Result<Self, ProtocolError> {
        let kept = weights.iter().map(|&w| if w == 0.0 { NOTHING } else { w });
        let kept: Zeroizing<Vec<f64>> = Zeroizing::new(kept.collect());
        let map = SlotMap::new(geometry, &kept, input, output)?;
        room.take(map.diagonals() * limbs * params.n() * size_of::<u64>())?;
        let scale = params.last_prime(limbs);
        let maps = map.encoded(|matrix| params.linear_transform_at(matrix, limbs, scale, baby_steps));
        Ok(Self { maps: maps.map_err(caller)?, inputs: input.ciphertexts(), folds: map.folds().to_vec() })
    }

    /// Ciphertext `output` of the layer's result, not rescaled; `None` where it reads nothing but padding.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] for another number of ciphertexts than the layout's, of other limbs than the map was
    /// made for, or keys that lack one of its [`rotation_steps`].
    ///
    /// # Panics
    /// Beyond the last ciphertext of the result, and for operands of other parameters.
    pub(crate) fn product(
        &self,
        params: &Params,
        x: &[Ciphertext],
        output: usize,
        galois: &GaloisKeys,
    ) -> Result<Option<Ciphertext>, ProtocolError> {
        if x.len() != self.inputs {
            return Err(ProtocolError::Caller(format!("{} ciphertexts for {}", x.len(), self.inputs)));
        }
        let row = &self.maps[output * self.inputs..][..self.inputs];
        let mut sum = row_product(row, x, |x, map| params.transform_chained(x, map, galois))?;
        if let Some(sum) = &mut sum {
            for &step in &self.folds {
                let turned = params.rotate(sum, step, galois).map_err(caller)?;
                sum.add(&turned).map_err(caller)?;
            }
        }
        Ok(sum)
    }
}

/// The sum of a row's matrices, each times its ciphertext by `product`; `None` if all of them are zero.
///
/// # Errors
/// [`ProtocolError::Caller`] for what `product` says, and for products that do not fit each other.
pub(crate) fn row_product(
    row: &[Option<LinearTransform>],
    x: &[Ciphertext],
    product: impl Fn(&Ciphertext, &LinearTransform) -> Result<Ciphertext, HeError>,
) -> Result<Option<Ciphertext>, ProtocolError> {
    let mut sum: Option<Ciphertext> = None;
    for (matrix, x) in row.iter().zip(x) {
        let Some(matrix) = matrix else { continue };
        let term = product(x, matrix).map_err(caller)?;
        match &mut sum {
            Some(sum) => sum.add(&term).map_err(caller)?,
            None => sum = Some(term),
        }
    }
    Ok(sum)
}

/// Baby steps of a layer's products, one number for all pairs of ciphertexts, that of the fullest; and the rotations that
/// they and the sums over copies make.
pub(crate) fn rotation_steps(map: &SlotMap) -> (usize, BTreeSet<i64>) {
    let fullest = map.matrices().max_by_key(|matrix| matrix.indices().count());
    let baby_steps = fullest.map_or(1, |matrix| matrix.baby_steps(GIANT_COST));
    let chained = map.matrices().flat_map(|matrix| matrix.chained_rotations(baby_steps));
    (baby_steps, chained.chain(map.folds().iter().copied()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slots::distances;
    use conv_fast::ConvShape;
    use he_core::Seed;
    use he_core::ckks::Literal;
    use he_core::rlwe::SecretKey;

    /// What a 3 x 3 convolution of one image gives, and the bytes that it takes.
    fn run(weights: &[f64], most: usize) -> Result<(Vec<f64>, usize), ProtocolError> {
        let geometry = ConvGeometry::new(ConvShape::same([1, 1], [4, 4], 3)).unwrap();
        let (scale_bits, special_bits) = (40, 50);
        let literal =
            Literal { degree: 8192, first_bits: 50, scale_bits, depth: 1, special_bits, special_primes: 1 };
        let params = Params::from_literal(&literal).unwrap();
        let input = SlotLayout::aligned(params.slots(), [1, 4, 4], true).unwrap();
        let output = input.after(&geometry, true).unwrap();
        let (baby_steps, rotations) = rotation_steps(&distances(&geometry, &input, &output).unwrap());
        let (limbs, mut room) = (params.limbs(), Room::new(most));
        let map =
            EncodedMap::new(&params, &geometry, weights, [&input, &output], baby_steps, limbs, &mut room)?;
        let secret = SecretKey::generate(params.rlwe(), Seed::from_bytes([1; 32]));
        let steps: Vec<i64> = rotations.into_iter().collect();
        let galois = params.galois_keys(&secret, &steps, false, Seed::from_bytes([2; 32]));
        let x = params.encode(&input.scatter(&[1.0; 16]).unwrap()[0]).unwrap();
        let x = params.encrypt(&secret, &x, Seed::from_bytes([3; 32])).expand(&params);
        assert!(map.product(&params, &[], 0, &galois).is_err());
        let mut product = map.product(&params, &[x], 0, &galois)?.unwrap();
        params.rescale(&mut product).unwrap();
        let slots = params.decode_real(&params.decrypt(&secret, &product));
        Ok((output.gather(&[slots]).unwrap(), room.taken()))
    }

    #[test]
    fn weights_of_zero_cost_what_others_do() {
        let all: Vec<f64> = (1..=9).map(f64::from).collect();
        let (full, bytes) = run(&all, usize::MAX).unwrap();
        // The second row and column see the whole kernel.
        assert!((full[5] - 45.0).abs() < 1e-4, "{}", full[5]);
        let (empty, same) = run(&[0.0; 9], bytes).unwrap();
        assert_eq!(bytes, same);
        assert!(empty.iter().all(|y| y.abs() < 1e-4), "{empty:?}");
        let refused = run(&all, bytes - 1).err().unwrap().to_string();
        assert!(refused.contains("matrices take more than 0 GB"), "{refused}");
    }
}
