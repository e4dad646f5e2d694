//! Linear transforms of the slot vector: y = M x for a public matrix M and an encrypted x.
//!
//! **Diagonals.** With d_k\[i\] = M\[i\]\[i + k\] (indices modulo the slots), y = sum over k of d_k * rot_k(x), slot
//! by slot (S. Halevi, V. Shoup, *Algorithms in HElib*, CRYPTO 2014, section 4.3). A matrix of dimension d that
//! divides the slots acts on each block of d slots, if x holds its vector repeated in every block.
//!
//! **Baby steps and giant steps.** With k = g b + j: y = sum_g rot_gb( sum_j rot_-gb(d_k) * rot_j(x) ). That takes
//! about b baby rotations, which share one decomposition (hoisting), and K/b giant ones, for K diagonals (J. H.
//! Cheon, K. Han, A. Kim, M. Kim, Y. Song, *Bootstrapping for approximate homomorphic encryption*, EUROCRYPT 2018,
//! section 4). [`Diagonals::baby_steps`] picks b.
//!
//! | quantity | value |
//! |---|---|
//! | depth | one prime, if the caller rescales the answer |
//! | rotations, keys | [`LinearTransform::rotations`] |
//! | scale of the answer | scale of x times [`LinearTransform::scale`], by default the last prime |
//! | encoded diagonals | K plaintexts, l limbs each |

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use super::Params;
use super::cipher::{Ciphertext, Plaintext};
use super::complex::Complex;
use crate::error::HeError;
use crate::ntt::NttTable;
use crate::poly::Poly;
use crate::rlwe::{self, GaloisKeys};
use crate::rns::RnsPoly;

/// What a giant step costs in baby steps, which share their decomposition; for [`Diagonals::baby_steps`].
const GIANT_COST: usize = 2;

/// A giant step, and the encoded diagonals of its baby steps.
type Group = (usize, Vec<(usize, Plaintext)>);

/// A matrix by its diagonals that are not zero.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagonals {
    slots: usize,
    /// d_k for k below the number of slots; all of the full length.
    diagonals: BTreeMap<usize, Vec<Complex>>,
}

impl Diagonals {
    /// The matrix with these diagonals: (k, d_k), k modulo the slots; a diagonal shorter than the slots is repeated.
    /// Diagonals named twice add up.
    ///
    /// # Errors
    /// [`HeError::Length`] for a diagonal whose length does not divide the number of slots.
    pub fn new(
        slots: usize,
        diagonals: impl IntoIterator<Item = (i64, Vec<Complex>)>,
    ) -> Result<Self, HeError> {
        let mut all: BTreeMap<usize, Vec<Complex>> = BTreeMap::new();
        for (k, diagonal) in diagonals {
            if diagonal.is_empty() || !slots.is_multiple_of(diagonal.len()) {
                return Err(HeError::Length { what: "a diagonal", expected: slots, found: diagonal.len() });
            }
            let sum =
                all.entry(k.rem_euclid(slots as i64) as usize).or_insert_with(|| vec![Complex::ZERO; slots]);
            sum.iter_mut().zip(diagonal.iter().cycle()).for_each(|(sum, &d)| *sum = *sum + d);
        }
        all.retain(|_, diagonal| diagonal.iter().any(|&d| d != Complex::ZERO));
        Ok(Self { slots, diagonals: all })
    }

    /// The diagonals of a d x d matrix given by rows, d dividing the slots; see the module essay for d below the slots.
    ///
    /// # Errors
    /// [`HeError::Length`] when the matrix is not square or d does not divide the number of slots.
    pub fn from_matrix<T: Copy + Into<Complex>>(slots: usize, rows: &[Vec<T>]) -> Result<Self, HeError> {
        let d = rows.len();
        if let Some(row) = rows.iter().find(|row| row.len() != d) {
            return Err(HeError::Length { what: "a row of a matrix", expected: d, found: row.len() });
        }
        let diagonal = |k: usize| (k as i64, (0..d).map(|i| rows[i][(i + k) % d].into()).collect());
        Self::new(slots, (0..d).map(diagonal))
    }

    /// The numbers k of the diagonals that are not zero, in order.
    pub fn indices(&self) -> impl Iterator<Item = usize> {
        self.diagonals.keys().copied()
    }

    /// The product with a vector in the clear, straight from the definition.
    ///
    /// # Panics
    /// Unless the vector has as many entries as there are slots.
    #[must_use]
    pub fn apply(&self, x: &[Complex]) -> Vec<Complex> {
        assert_eq!(x.len(), self.slots, "a vector of another length");
        let row = |i| {
            self.diagonals.iter().map(|(k, d): (&usize, &Vec<Complex>)| d[i] * x[(i + k) % self.slots]).sum()
        };
        (0..self.slots).map(row).collect()
    }

    /// The number of baby steps b, a power of two, that makes rotations cheapest; a giant step counts as `giant_cost`
    /// baby steps.
    #[must_use]
    pub fn baby_steps(&self, giant_cost: usize) -> usize {
        let cost = |b: usize| {
            let babies: BTreeSet<_> = self.indices().map(|k| k % b).filter(|&j| j != 0).collect();
            let giants: BTreeSet<_> = self.indices().map(|k| k / b).filter(|&g| g != 0).collect();
            babies.len() + giant_cost * giants.len()
        };
        let steps = (0..=self.slots.trailing_zeros()).map(|log| 1 << log);
        steps.min_by_key(|&b| cost(b)).expect("there is at least one number of steps")
    }

    /// The steps of all rotations that [`Params::transform_chained`] makes for this matrix with so many baby steps: those,
    /// distances between neighbouring giant steps, and where the chain begins. They depend on which diagonals there are,
    /// not on what is in them.
    ///
    /// # Panics
    /// For no baby steps.
    #[must_use]
    pub fn chained_rotations(&self, baby_steps: usize) -> Vec<i64> {
        let giants: BTreeSet<_> = self.indices().map(|k| k - k % baby_steps).collect();
        let (order, start) = chain(&giants.into_iter().collect::<Vec<_>>(), self.slots);
        let gaps = order.iter().map(|&(_, gap)| gap);
        let steps: BTreeSet<_> = self
            .indices()
            .map(|k| k % baby_steps)
            .chain(gaps)
            .chain([start])
            .filter(|&step| step != 0)
            .collect();
        steps.into_iter().map(|step| step as i64).collect()
    }
}

/// Giant steps, ascending, in the order of a chain that begins behind the longest gap: each one's number and the distance
/// to the next (0 for the last); and the first step itself.
fn chain(giants: &[usize], slots: usize) -> (Vec<(usize, usize)>, usize) {
    let count = giants.len();
    let gap = |at: usize| (giants[(at + 1) % count] + slots - giants[at % count]) % slots;
    let Some(widest) = (0..count).max_by_key(|&at| gap(at)) else { return (Vec::new(), 0) };
    let first = widest + 1;
    let order = (0..count).map(|k| ((first + k) % count, if k + 1 < count { gap(first + k) } else { 0 }));
    (order.collect(), giants[first % count])
}

/// A matrix, encoded for one number of limbs.
#[derive(Debug)]
pub struct LinearTransform {
    /// Giant step, and baby steps with their turned diagonals.
    groups: Vec<Group>,
    limbs: usize,
    scale: f64,
}

impl LinearTransform {
    /// The steps of all rotations it makes: each needs a Galois key.
    #[must_use]
    pub fn rotations(&self) -> Vec<i64> {
        let babies = self.groups.iter().flat_map(|(_, terms)| terms.iter().map(|&(j, _)| j));
        let giants = self.groups.iter().map(|&(g, _)| g);
        let steps: BTreeSet<_> = babies.chain(giants).filter(|&step| step != 0).collect();
        steps.into_iter().map(|step| step as i64).collect()
    }

    /// How many diagonals it has: each is a product of a ciphertext with a plaintext.
    #[must_use]
    pub fn diagonals(&self) -> usize {
        self.groups.iter().map(|(_, terms)| terms.len()).sum()
    }

    /// The limbs that it is made for: ciphertexts may have fewer.
    #[must_use]
    pub fn limbs(&self) -> usize {
        self.limbs
    }

    /// What the scale of a ciphertext is multiplied with.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.scale
    }
}

impl Params {
    /// Encodes a matrix for ciphertexts of `limbs` limbs, with scale q = the last of their primes: after rescaling,
    /// answers have the scale of their input.
    ///
    /// # Errors
    /// As [`Params::linear_transform_at`].
    ///
    /// # Panics
    /// Unless 1 <= limbs <= L.
    pub fn linear_transform(&self, matrix: &Diagonals, limbs: usize) -> Result<LinearTransform, HeError> {
        self.linear_transform_at(matrix, limbs, self.last_prime(limbs), matrix.baby_steps(GIANT_COST))
    }

    /// As [`Params::linear_transform`] with scale and number of baby steps given.
    ///
    /// # Errors
    /// [`HeError::Length`] for a matrix of other slots, [`HeError::Count`] for no baby steps or more than slots; as
    /// [`Params::encode_at`].
    ///
    /// # Panics
    /// Unless 1 <= limbs <= L.
    pub fn linear_transform_at(
        &self,
        matrix: &Diagonals,
        limbs: usize,
        scale: f64,
        baby_steps: usize,
    ) -> Result<LinearTransform, HeError> {
        self.encode_diagonals(matrix, limbs, scale, baby_steps, |turned| self.encode_at(turned, limbs, scale))
    }

    /// As [`Params::linear_transform_at`] with a scale that is the product of `factors`, and encoded as
    /// [`Params::encode_wide`] does: for answers that are to be right to more bits than doubles give.
    ///
    /// # Errors
    /// As [`Params::linear_transform_at`] and [`Params::encode_wide`].
    ///
    /// # Panics
    /// Unless 1 <= limbs <= L.
    pub fn linear_transform_wide(
        &self,
        matrix: &Diagonals,
        limbs: usize,
        factors: &[u64],
        baby_steps: usize,
    ) -> Result<LinearTransform, HeError> {
        let scale = factors.iter().map(|&factor| factor as f64).product();
        self.encode_diagonals(matrix, limbs, scale, baby_steps, |turned| {
            self.encode_wide(turned, limbs, factors)
        })
    }

    fn encode_diagonals(
        &self,
        matrix: &Diagonals,
        limbs: usize,
        scale: f64,
        baby_steps: usize,
        encode: impl Fn(&[Complex]) -> Result<Plaintext, HeError> + Sync,
    ) -> Result<LinearTransform, HeError> {
        let slots = self.slots();
        if matrix.slots != slots {
            return Err(HeError::Length { what: "a diagonal", expected: slots, found: matrix.slots });
        }
        if !(1..=slots).contains(&baby_steps) {
            return Err(HeError::Count { what: "baby steps", found: baby_steps, least: 1, most: slots });
        }
        let encode = |(&k, diagonal): (&usize, &Vec<Complex>)| {
            let giant = k - k % baby_steps;
            // rot_-giant: slot i of the turned diagonal is slot i - giant.
            let mut turned = diagonal.clone();
            turned.rotate_right(giant);
            Ok((giant, k - giant, encode(&turned)?))
        };
        let encoded: Vec<_> = matrix.diagonals.par_iter().map(encode).collect::<Result<_, HeError>>()?;
        let mut groups: Vec<(usize, Vec<_>)> = Vec::new();
        for (giant, baby, plaintext) in encoded {
            match groups.last_mut() {
                Some((last, terms)) if *last == giant => terms.push((baby, plaintext)),
                _ => groups.push((giant, vec![(baby, plaintext)])),
            }
        }
        Ok(LinearTransform { groups, limbs, scale })
    }

    /// M x, not rescaled. A matrix of zeros is refused, because its answer would be a transparent ciphertext.
    ///
    /// # Errors
    /// [`HeError::Limbs`] when the transform was made for fewer limbs, [`HeError::Count`] for a matrix of zeros,
    /// [`HeError::NoGaloisKey`], [`HeError::Length`] for a ciphertext of degree 2, [`HeError::ScaleRange`] when the
    /// new scale does not fit.
    ///
    /// # Panics
    /// When operands are of other parameters.
    pub fn transform(
        &self,
        x: &Ciphertext,
        matrix: &LinearTransform,
        keys: &GaloisKeys,
    ) -> Result<Ciphertext, HeError> {
        let babies = self.babies(x, matrix, keys)?;
        let group = |(giant, terms): &Group| self.rotate(&babies.sum(self, terms), *giant as i64, keys);
        let groups: Vec<_> = matrix.groups.par_iter().map(group).collect::<Result<_, _>>()?;
        let mut groups = groups.into_iter();
        let mut sum = groups.next().ok_or_else(|| self.zeros())?;
        groups.try_for_each(|group| sum.add(&group))?;
        Ok(sum)
    }

    /// M x as [`Params::transform`], with other rotations: giant steps are made one after the other, each from one group
    /// to the next (Horner's rule), so that equal distances share a key. As many rotations, far fewer keys
    /// ([`Diagonals::chained_rotations`]), and what a rotation adds to the noise is carried through those after it.
    ///
    /// # Errors
    /// As [`Params::transform`].
    ///
    /// # Panics
    /// When operands are of other parameters.
    pub fn transform_chained(
        &self,
        x: &Ciphertext,
        matrix: &LinearTransform,
        keys: &GaloisKeys,
    ) -> Result<Ciphertext, HeError> {
        let babies = self.babies(x, matrix, keys)?;
        let giants: Vec<usize> = matrix.groups.iter().map(|&(giant, _)| giant).collect();
        let (order, start) = chain(&giants, self.slots());
        // Diagonals were turned back by their whole giant step; that is what the chain adds up to.
        let sums: Vec<_> =
            order.par_iter().map(|&(group, _)| babies.sum(self, &matrix.groups[group].1)).collect();
        let mut chain = order.iter().zip(sums).rev();
        let (_, mut sum) = chain.next().ok_or_else(|| self.zeros())?;
        for (&(_, gap), own) in chain {
            sum = self.rotate(&sum, gap as i64, keys)?;
            sum.add(&own)?;
        }
        self.rotate(&sum, start as i64, keys)
    }

    /// The baby steps of a transform.
    fn babies(&self, x: &Ciphertext, matrix: &LinearTransform, keys: &GaloisKeys) -> Result<Babies, HeError> {
        let limbs = x.limbs();
        if matrix.limbs < limbs {
            return Err(HeError::Limbs { needed: limbs, found: matrix.limbs });
        }
        let scale = self.product_scale(x.scale, matrix.scale, limbs)?;
        let babies: BTreeSet<_> =
            matrix.groups.iter().flat_map(|(_, terms)| terms.iter().map(|&(j, _)| j)).collect();
        let steps: Vec<_> = babies.iter().map(|&j| j as i64).collect();
        let turned = babies.into_iter().zip(self.rotate_many(x, &steps, keys)?).collect();
        Ok(Babies { turned, limbs, scale })
    }

    /// What is said of a matrix of zeros.
    fn zeros(&self) -> HeError {
        HeError::Count { what: "diagonals that are not zero", found: 0, least: 1, most: self.slots() }
    }

    /// The sum of products with plaintexts, of ciphertexts of degree 1 and `limbs` limbs, with one reduction per limb.
    fn dot_plain(&self, terms: &[(&Ciphertext, &Plaintext)], limbs: usize, scale: f64) -> Ciphertext {
        let part = |part: usize| {
            let limb = |(i, table): (usize, &NttTable)| {
                let terms: Vec<_> =
                    terms.iter().map(|(x, d)| (x.inner.parts()[part].limb(i), d.poly.limb(i))).collect();
                Poly::dot(table, &terms)
            };
            RnsPoly::from_limbs(self.tables(limbs).iter().enumerate().map(limb).collect())
        };
        let inner = rlwe::Ciphertext::from_parts(vec![part(0), part(1)]);
        Ciphertext { inner: inner.expect("two parts of the same limbs"), scale }
    }
}

/// A ciphertext turned by every baby step of a matrix, and what its products with diagonals are.
struct Babies {
    turned: BTreeMap<usize, Ciphertext>,
    limbs: usize,
    scale: f64,
}

impl Babies {
    /// The sum of a group, before its giant step.
    fn sum(&self, params: &Params, terms: &[(usize, Plaintext)]) -> Ciphertext {
        let terms: Vec<_> = terms.iter().map(|(j, diagonal)| (&self.turned[j], diagonal)).collect();
        params.dot_plain(&terms, self.limbs, self.scale)
    }
}
