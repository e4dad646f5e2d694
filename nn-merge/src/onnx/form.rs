//! Scalar expressions of one tensor: polynomials, and at most one bounded function times a polynomial.
//!
//! Exporters write an activation as several operators (x·sigmoid(x), 0.5·x·(1 + erf(x/√2)), a·x·x + b·x + c). What such a
//! piece of the graph computes is, for every element x of the tensor at its root,
//!
//! ```text
//! free(x) + factor(x) · atom(argument(x))        free, factor, argument: polynomials of degree at most 8
//! ```
//!
//! a [`Form`]. Forms can be added, multiplied and composed as long as they stay of this kind, in whatever order the file
//! does it; [`Form::recognise`] then says which activation a form is. Coefficients are one number for all channels, or one
//! per channel.

use crate::graph::Function;
use crate::model::SmoothName;

/// Highest degree.
pub(super) const MAX_DEGREE: usize = 8;

/// Relative difference within which a constant of the file counts as the one of the definition (half precision allowed).
const CLOSE: f64 = 1e-3;

/// A polynomial, from the constant coefficient up; each coefficient is one number or one per channel.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Poly(Vec<Vec<f64>>);

/// A bounded function.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Atom {
    Erf,
    Tanh,
    Sigmoid,
    /// min(max(x, 0), 1)
    Unit,
}

/// See the [module](self).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Form {
    free: Poly,
    atom: Option<(Poly, Atom, Poly)>,
}

/// scale·x + shift, one number each or one per channel.
pub(super) type Affine = (Vec<f64>, Vec<f64>);

/// What a form turned out to be.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Recognised {
    /// scale·x + shift.
    Affine(Affine),
    /// A polynomial of degree 2 or more: rows for [`Function::Polynomial`].
    Polynomial(Vec<Vec<f64>>),
    /// outer(function(inner(x))).
    Composed { inner: Affine, function: Function, outer: Affine },
}

impl Poly {
    /// The variable.
    pub(super) fn x() -> Self {
        Self(vec![vec![0.0], vec![1.0]])
    }

    /// scale·x + shift.
    pub(super) fn affine(scale: &[f64], shift: &[f64]) -> Self {
        Self(vec![compressed(shift), compressed(scale)]).trimmed()
    }

    /// Of rows as in [`Function::Polynomial`].
    pub(super) fn of_rows(rows: &[Vec<f64>]) -> Self {
        let degree = rows.iter().map(Vec::len).max().unwrap_or(0).max(1) - 1;
        let at = |e: usize| rows.iter().map(|r| r.get(e).copied().unwrap_or(0.0)).collect::<Vec<_>>();
        Self((0..=degree).map(|e| compressed(&at(e))).collect()).trimmed()
    }

    /// x^degree.
    pub(super) fn power(degree: usize) -> Self {
        let mut coefficients = vec![vec![0.0]; degree];
        coefficients.push(vec![1.0]);
        Self(coefficients)
    }

    fn degree(&self) -> usize {
        self.0.len() - 1
    }

    fn coefficient(&self, e: usize) -> &[f64] {
        self.0.get(e).map_or(&[0.0], Vec::as_slice)
    }

    fn trimmed(mut self) -> Self {
        while self.0.len() > 1 && self.0.last().is_some_and(|c| c.iter().all(|&v| v == 0.0)) {
            self.0.pop();
        }
        self
    }

    fn is_zero(&self) -> bool {
        self.degree() == 0 && self.0[0].iter().all(|&v| v == 0.0)
    }

    /// Numbers that it holds.
    pub(super) fn size(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    fn plus(&self, other: &Self) -> Self {
        let degree = self.degree().max(other.degree());
        Self(
            (0..=degree).map(|e| pairwise(self.coefficient(e), other.coefficient(e), |a, b| a + b)).collect(),
        )
        .trimmed()
    }

    fn times(&self, other: &Self) -> Option<Self> {
        if self.degree() + other.degree() > MAX_DEGREE {
            return None;
        }
        let mut out = vec![vec![0.0]; self.degree() + other.degree() + 1];
        for (i, a) in self.0.iter().enumerate() {
            for (j, b) in other.0.iter().enumerate() {
                let product = pairwise(a, b, |a, b| a * b);
                out[i + j] = pairwise(&out[i + j], &product, |a, b| a + b);
            }
        }
        Some(Self(out).trimmed())
    }

    /// self(inner(x)).
    fn after(&self, inner: &Self) -> Option<Self> {
        let mut out = Self(vec![self.0[self.degree()].clone()]);
        for coefficient in self.0.iter().rev().skip(1) {
            out = out.times(inner)?.plus(&Self(vec![coefficient.clone()]));
        }
        Some(out)
    }

    /// Rows for [`Function::Polynomial`].
    fn rows(&self) -> Vec<Vec<f64>> {
        let rows = self.0.iter().map(Vec::len).max().unwrap_or(1);
        (0..rows).map(|r| self.0.iter().map(|c| if c.len() == 1 { c[0] } else { c[r] }).collect()).collect()
    }

    /// Scale and shift of a polynomial of degree at most one.
    fn as_affine(&self) -> Option<Affine> {
        (self.degree() <= 1).then(|| (self.coefficient(1).to_vec(), self.coefficient(0).to_vec()))
    }

    /// The factor, constant in x, by which this is a multiple of `other`.
    fn multiple_of(&self, other: &Self) -> Option<Vec<f64>> {
        let top = other.degree();
        if self.degree() != top || other.coefficient(top).contains(&0.0) {
            return None;
        }
        let factor = pairwise(self.coefficient(top), other.coefficient(top), |a, b| a / b);
        let scale = (0..top).map(|e| norm(other.coefficient(e))).fold(norm(other.coefficient(top)), f64::max);
        (0..top)
            .all(|e| {
                let wanted = pairwise(&factor, other.coefficient(e), |a, b| a * b);
                let off = pairwise(&wanted, self.coefficient(e), |a, b| (a - b).abs());
                norm(&off) <= CLOSE * norm(&factor) * scale
            })
            .then_some(factor)
    }
}

impl Form {
    /// The tensor itself.
    pub(super) fn x() -> Self {
        Self::of(Poly::x())
    }

    /// A polynomial.
    pub(super) fn of(poly: Poly) -> Self {
        Self { free: poly, atom: None }
    }

    /// An atom of a polynomial.
    pub(super) fn atom(atom: Atom, argument: Poly) -> Self {
        Self { free: Poly(vec![vec![0.0]]), atom: Some((Poly(vec![vec![1.0]]), atom, argument)) }
    }

    /// Numbers that it holds.
    pub(super) fn size(&self) -> usize {
        self.free.size() + self.atom.as_ref().map_or(0, |(f, _, a)| f.size() + a.size())
    }

    /// Whether it is a polynomial.
    pub(super) fn is_polynomial(&self) -> bool {
        self.atom.is_none()
    }

    /// The sum, if it is a form again.
    pub(super) fn plus(&self, other: &Self) -> Option<Self> {
        let atom = match (&self.atom, &other.atom) {
            (None, only) | (only, None) => only.clone(),
            (Some((f, kind, arg)), Some((g, other_kind, other_arg))) => {
                (kind == other_kind && arg == other_arg).then(|| Some((f.plus(g), *kind, arg.clone())))?
            }
        };
        Some(Self { free: self.free.plus(&other.free), atom }.trimmed())
    }

    /// The product, if it is a form again.
    pub(super) fn times(&self, other: &Self) -> Option<Self> {
        let (plain, rich) = if self.atom.is_none() { (self, other) } else { (other, self) };
        if plain.atom.is_some() {
            return None;
        }
        let atom = match &rich.atom {
            None => None,
            Some((factor, kind, argument)) => Some((factor.times(&plain.free)?, *kind, argument.clone())),
        };
        Some(Self { free: rich.free.times(&plain.free)?, atom }.trimmed())
    }

    /// self(inner(x)), if it is a form again.
    pub(super) fn after(&self, inner: &Self) -> Option<Self> {
        if inner.atom.is_none() {
            let atom = match &self.atom {
                None => None,
                Some((f, kind, arg)) => Some((f.after(&inner.free)?, *kind, arg.after(&inner.free)?)),
            };
            return Some(Self { free: self.free.after(&inner.free)?, atom }.trimmed());
        }
        if self.atom.is_some() || self.free.degree() > 1 {
            return None;
        }
        let slope = Self::of(Poly(vec![self.free.coefficient(1).to_vec()]));
        slope.times(inner)?.plus(&Self::of(Poly(vec![self.free.coefficient(0).to_vec()])))
    }

    fn trimmed(mut self) -> Self {
        if self.atom.as_ref().is_some_and(|(factor, ..)| factor.is_zero()) {
            self.atom = None;
        }
        self
    }

    /// Which activation this is, if it is one (or an affine map).
    pub(super) fn recognise(&self) -> Option<Recognised> {
        let Some((factor, kind, argument)) = &self.atom else {
            return match self.free.as_affine() {
                Some(affine) => Some(Recognised::Affine(affine)),
                None => Some(Recognised::Polynomial(self.free.rows())),
            };
        };
        if factor.degree() == 0 {
            return self.alone(factor.coefficient(0), *kind, argument);
        }
        let (function, inner) = match kind {
            Atom::Sigmoid => (Function::Smooth(SmoothName::Silu), argument.clone()),
            // clip(a, 0, 1) = clip(u + 3, 0, 6)/6 with u = 6a − 3.
            Atom::Unit => (Function::HardSwish, Poly(vec![vec![-3.0], vec![6.0]]).after(argument)?),
            // Φ(z) = (1 + erf(z/√2))/2.
            Atom::Erf => (
                Function::Smooth(SmoothName::Gelu),
                Poly(vec![vec![0.0], vec![std::f64::consts::SQRT_2]]).after(argument)?,
            ),
            Atom::Tanh => (Function::Smooth(SmoothName::GeluTanh), gelu_argument(argument)?),
        };
        let inner = snapped(&inner);
        let mut outer = factor.multiple_of(&inner)?;
        match kind {
            Atom::Sigmoid | Atom::Unit if self.free.is_zero() => {}
            // x·(1 + erf) = 2·x·Φ: the free part equals the factor.
            Atom::Erf | Atom::Tanh => {
                let half = self.free.multiple_of(&inner)?;
                if norm(&pairwise(&half, &outer, |a, b| a - b)) > CLOSE * norm(&outer) {
                    return None;
                }
                outer.iter_mut().for_each(|v| *v *= 2.0);
            }
            _ => return None,
        }
        Some(Recognised::Composed { inner: inner.as_affine()?, function, outer: (outer, vec![0.0]) })
    }

    /// The atom times a constant plus a constant.
    fn alone(&self, factor: &[f64], kind: Atom, argument: &Poly) -> Option<Recognised> {
        if self.free.degree() > 0 {
            return None;
        }
        let outer = (factor.to_vec(), self.free.coefficient(0).to_vec());
        let function = match kind {
            Atom::Sigmoid => Function::Smooth(SmoothName::Sigmoid),
            Atom::Tanh => Function::Smooth(SmoothName::Tanh),
            Atom::Unit => Function::Clip { low: 0.0, high: 1.0 },
            Atom::Erf => return None,
        };
        Some(Recognised::Composed { inner: argument.as_affine()?, function, outer })
    }
}

/// z with argument = √(2/π)·(z + 0.044715·z³) (z = β·x).
fn gelu_argument(argument: &Poly) -> Option<Poly> {
    let slope = (2.0 / std::f64::consts::PI).sqrt();
    let z = Poly(vec![vec![0.0], argument.coefficient(1).iter().map(|v| v / slope).collect()]).trimmed();
    let wanted = Poly(vec![vec![0.0], vec![slope], vec![0.0], vec![slope * 0.044_715]]).after(&z)?;
    let same = argument.multiple_of(&wanted)?;
    same.iter().all(|f| (f - 1.0).abs() <= CLOSE).then_some(z)
}

/// A slope within rounding of ±1 becomes ±1, an offset within rounding of 0 becomes 0.
fn snapped(poly: &Poly) -> Poly {
    let mut poly = poly.clone();
    if poly.degree() == 1 {
        let snap = |v: &mut f64| {
            if (v.abs() - 1.0).abs() <= CLOSE {
                *v = v.signum();
            }
        };
        poly.0[1].iter_mut().for_each(snap);
        let unit = norm(&poly.0[1]);
        poly.0[0].iter_mut().filter(|v| v.abs() <= CLOSE * unit).for_each(|v| *v = 0.0);
        poly.0[0] = compressed(&poly.0[0]);
        poly.0[1] = compressed(&poly.0[1]);
    }
    poly
}

/// Largest absolute value.
fn norm(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |top, v| v.abs().max(top))
}

/// One number where all are equal.
fn compressed(values: &[f64]) -> Vec<f64> {
    match values {
        [first, rest @ ..] if rest.iter().all(|v| v == first) => vec![*first],
        _ => values.to_vec(),
    }
}

fn pairwise(a: &[f64], b: &[f64], f: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    let at = |v: &[f64], i: usize| if v.len() == 1 { v[0] } else { v[i] };
    (0..a.len().max(b.len())).map(|i| f(at(a, i), at(b, i))).collect()
}
