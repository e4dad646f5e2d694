//! How full the polynomials of a packing are.
//!
//! Every coefficient of an input polynomial costs encryption and upload, every one of a reply download and a transform,
//! whether it carries a value or not. The densities say what share carries one. They are exact fractions of counts that follow
//! from the layout alone; no tensor is looked at.

use super::Packing;

/// Shares of coefficients that carry a value, each above 0 and at most 1.
///
/// ```
/// use conv_fast::{ConvGeometry, Packing};
///
/// # fn main() -> Result<(), conv_fast::ConvError> {
/// // The 10 inputs lie in one polynomial of 128 coefficients, the 20 outputs, at most 12 to a reply, in two.
/// let geometry = ConvGeometry::fully_connected(10, 20)?;
/// let density = Packing::new(&geometry, 128, 1, 10, 12)?.density();
/// assert_eq!((density.inputs, density.replies), (10.0 / 128.0, 20.0 / 256.0));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Density {
    /// Pixels, of all images that share the polynomials, per coefficient of the input polynomials. Pixels that no output
    /// reads (under a stride) count, borders do not.
    pub inputs: f64,
    /// Output values, of all images that share the polynomials, per coefficient of the output polynomials.
    pub replies: f64,
}

impl Packing {
    /// How full the polynomials are if all [`Packing::images`] places are taken.
    pub fn density(&self) -> Density {
        let share = |values: usize, polys: usize| {
            (self.images() as f64 * values as f64) / (polys as f64 * self.degree() as f64)
        };
        Density {
            inputs: share(self.geometry().input_len(), self.input_polys()),
            replies: share(self.geometry().output_len(), self.output_polys()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packing::Layout;
    use crate::testing::{Random, random_geometry};
    use crate::{ConvGeometry, ConvShape};
    use std::collections::HashSet;

    #[test]
    fn by_hand() {
        // Two images of 4 channels of 5×5 pixels, two channels to a polynomial; outputs of 5×5 in three channels.
        let geometry = ConvGeometry::new(ConvShape::same([4, 3], [5, 5], 3)).unwrap();
        let packing = Packing::new(&geometry, 256, 2, 2, 1).unwrap();
        assert_eq!((packing.input_polys(), packing.output_polys()), (2, 3));
        // 2·100 pixels in 512 coefficients; 2·75 outputs in 768.
        assert_eq!(packing.density(), Density { inputs: 200.0 / 512.0, replies: 150.0 / 768.0 });
        // Nothing is left over.
        let dense = ConvGeometry::fully_connected(64, 1).unwrap();
        assert_eq!(Packing::new(&dense, 64, 1, 64, 1).unwrap().density().inputs, 1.0);
        let plane = ConvGeometry::pointwise([1, 1], [8, 8], 1).unwrap();
        assert_eq!(
            Packing::new(&plane, 64, 1, 1, 1).unwrap().density(),
            Density { inputs: 1.0, replies: 1.0 }
        );
    }

    /// The shares are those of the coefficients that the index maps name.
    #[test]
    fn recounted() {
        let mut random = Random::new("density");
        let mut done = 0;
        while done < 200 {
            let geometry = random_geometry(&mut random);
            let layout = Layout {
                images: random.between(1, 3),
                channels: random.between(1, 4),
                outputs: random.between(1, 4),
                split_stride: random.below(2) == 0,
            };
            let Ok(packing) = Packing::with_layout(&geometry, 1 << random.between(5, 10), layout) else {
                continue;
            };
            let places = |count: usize, index: &dyn Fn(usize, usize) -> (usize, usize)| {
                let all: HashSet<_> = (0..layout.images)
                    .flat_map(|image| (0..count).map(move |i| (image, i)))
                    .map(|(image, i)| index(image, i))
                    .collect();
                all.len() as f64
            };
            let inputs = places(geometry.input_len(), &|image, i| packing.input_index(image, i));
            let replies = places(geometry.output_len(), &|image, i| packing.output_index(image, i));
            let density = packing.density();
            let all = |polys: usize| (polys * packing.degree()) as f64;
            assert_eq!(density.inputs, inputs / all(packing.input_polys()), "{packing:?}");
            assert_eq!(density.replies, replies / all(packing.output_polys()), "{packing:?}");
            for share in [density.inputs, density.replies] {
                assert!(share > 0.0 && share <= 1.0, "{packing:?}");
            }
            done += 1;
        }
    }
}
