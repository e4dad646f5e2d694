//! Activations: which steps compute which function, with whose numbers.
//!
//! A linear layer leaves a value y shared in Z_2^k, y = m + c, and wants X = z·2^j − r at the server, z = φ(y) and r the
//! mask of the next linear layer in Z_2^p. An [`ActivationPlan`] says by which [steps](crate::step) that is done:
//!
//! | activation | z, in units of y | steps | error of z |
//! |---|---|---|---|
//! | ReLU | max(y, 0) | gate | none, but 0 for some 0 < y < 2^h |
//! | clip (ReLU6, hard sigmoid) | min(max(y, low), high) | gate of two terms | below 2^h, in the 2^h units above each corner |
//! | leaky ReLU, absolute value | n·y for y < 0, else p·y | gate with a base slope | (p − n)·2^h at most, in 0 < y < 2^h |
//! | PReLU | two outputs, max(y, 0) and y | gate; lift | as ReLU |
//! | polynomial, square | Σ a_e·y^e | polynomial | none |
//! | hard swish | y·clip(y + t, 0, 2t) | clip gate, product | below \|y\|·2^h |
//! | sigmoid, tanh, GELU, SiLU, … | f(y) | look-up | stated by [`crate::lookup`] |
//!
//! Real slopes and scales are the caller's: hard sigmoid is ReLU6 scaled, hard swish is y·ReLU6(y + 3)/6, and such
//! factors go into the weights of the next linear layer. So do the slopes of PReLU, which are *private* weights: with
//! ReLU(y) and y side by side as inputs, W·(a·y + (1 − a)·ReLU(y)) is an ordinary linear layer. The slopes of the leaky
//! ReLU are public integers.
//!
//! Ranges. |y| < 2^(k−1) − 2^h for ReLU and clip (there of y − low and y − high, so that high − low is at most 2^(k−1) −
//! 2^h), |y| < 2^(k−2) (one guard bit) for what lifts without knowing a sign: leaky, PReLU, polynomials, hard swish (whose
//! corner is at most 2^(k−2) − 2^h). Beyond, results are wrong without notice.
//!
//! [`ActivationPlan::oracle`] is the same function in plaintext, bit for bit, of the two shares.

use core::fmt;
use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::compare::Comparison;
use crate::error::SsError;
use crate::garble::GarbleSpec;
use crate::gate::GateSpec;
use crate::lookup::LookupSpec;
use crate::polynomial::PolynomialSpec;
use crate::ring::Z2k;
use crate::step::StepSpec;

/// A function of one shared value; all numbers in units of y.
#[derive(Clone, Debug, PartialEq)]
pub enum Activation {
    /// max(y, 0).
    Relu,
    /// min(max(y, low), high).
    Clip {
        /// Lower end.
        low: i64,
        /// Upper end, above `low`.
        high: i64,
    },
    /// negative·y below zero, positive·y above.
    Leaky {
        /// Slope below zero.
        negative: i64,
        /// Slope above zero.
        positive: i64,
    },
    /// Two outputs: max(y, 0), and y.
    PRelu,
    /// Σ coefficients\[e\]·y^e.
    Polynomial {
        /// From the constant up.
        coefficients: Vec<i64>,
    },
    /// y·min(max(y + three, 0), 2·three).
    HardSwish {
        /// The real number three in units of y.
        three: i64,
    },
    /// A smooth function by its table.
    Smooth(LookupSpec),
}

/// The rings of an activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Widths {
    /// k: y lives in Z_2^k.
    pub ring_bits: u32,
    /// h: low bits that sign tests ignore.
    pub ignored_bits: u32,
    /// p: the result lives in Z_2^p.
    pub output_bits: u32,
    /// j: the result is z·2^j.
    pub shift: u32,
}

/// The client's numbers for one step, all known before any input; wiped when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Operands {
    /// Shares of the compared value: one per element and term, term-minor.
    pub compare: Vec<u64>,
    /// Per lane the shares of the gated value, or of the second factor of a product; none where the compared value is
    /// the gated one.
    pub lanes: Vec<Vec<u64>>,
    /// Per lane the constant κ per element, in the output ring.
    pub constants: Vec<Vec<u64>>,
}

impl fmt::Debug for Operands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Operands({} values, redacted)", self.compare.len())
    }
}

/// An activation as steps.
#[derive(Clone, Debug, PartialEq)]
pub struct ActivationPlan {
    activation: Activation,
    widths: Widths,
    steps: Vec<StepSpec>,
}

impl ActivationPlan {
    /// Plans `activation`; `one_round` takes the one-round construction where there are two.
    ///
    /// # Errors
    /// [`SsError::BadValue`] where the numbers do not fit each other.
    pub fn new(activation: &Activation, widths: Widths, one_round: bool) -> Result<Self, SsError> {
        let Widths { ring_bits, ignored_bits, output_bits, shift } = widths;
        let comparison = || Comparison::new(ring_bits, ignored_bits);
        let gate =
            |spec| if one_round { StepSpec::Garbled(GarbleSpec::new(&spec)) } else { StepSpec::Gate(spec) };
        let lane = output_bits.checked_sub(shift).filter(|&bits| bits > ring_bits);
        let lane = lane.ok_or(SsError::BadValue {
            what: "activation (the output ring is too narrow for the shifted value)",
        })?;
        let limit = 1i64 << (ring_bits.clamp(2, 62) - 1);
        let dead = 1i64 << ignored_bits.min(61);
        let steps = match activation {
            Activation::Relu => vec![gate(GateSpec::relu(comparison()?, output_bits, shift)?)],
            &Activation::Clip { low, high } => {
                // The values between the ends must be in range at both ends' tests.
                if low >= high || low <= -limit || high >= limit || high - low > limit - dead {
                    return Err(SsError::BadValue {
                        what: "clip (needs low < high inside the ring, less than half a turn apart)",
                    });
                }
                vec![gate(GateSpec::clip(comparison()?, output_bits, shift)?)]
            }
            &Activation::Leaky { negative, positive } => {
                vec![gate(GateSpec::leaky(comparison()?, output_bits, shift, negative, positive)?)]
            }
            Activation::PRelu => vec![
                gate(GateSpec::relu(comparison()?, output_bits, shift)?),
                StepSpec::Polynomial(PolynomialSpec::lift(ring_bits, lane, shift)?),
            ],
            Activation::Polynomial { coefficients } => {
                vec![StepSpec::Polynomial(PolynomialSpec::polynomial(ring_bits, coefficients, lane, shift)?)]
            }
            &Activation::HardSwish { three } => {
                // Then y ± three is in range for every guarded y.
                if three <= 0 || three > limit / 2 - dead {
                    return Err(SsError::BadValue { what: "hard swish (its corner is outside the ring)" });
                }
                vec![
                    gate(GateSpec::clip(comparison()?, lane, 0)?),
                    StepSpec::Polynomial(PolynomialSpec::product(ring_bits, lane, shift)?),
                ]
            }
            Activation::Smooth(spec) => {
                // A mask drawn for a narrower ring than the table's would leave its top bits in the open.
                if spec.input().bits != ring_bits || spec.output_scale().bits != output_bits {
                    return Err(SsError::BadValue {
                        what: "smooth activation (its table is for other rings)",
                    });
                }
                vec![StepSpec::Lookup(spec.clone())]
            }
        };
        Ok(Self { activation: activation.clone(), widths, steps })
    }

    /// The steps, in the order in which they run; every one has as many elements as the activation.
    pub fn steps(&self) -> &[StepSpec] {
        &self.steps
    }

    /// Values that leave per value that enters.
    pub fn outputs(&self) -> usize {
        if self.activation == Activation::PRelu { 2 } else { 1 }
    }

    /// The ring of the results.
    fn output(&self) -> Z2k {
        Z2k::new(self.widths.output_bits).expect("every construction has checked it")
    }

    /// The ring of y.
    fn ring(&self) -> Z2k {
        Z2k::new(self.widths.ring_bits).expect("every construction has checked it")
    }

    /// The client's operands, one set per step, from its shares c of y and the masks r of each output.
    ///
    /// # Errors
    /// [`SsError::WrongLength`] where masks and shares differ in number.
    pub fn client(
        &self,
        shares: &[u64],
        masks: &[&[u64]],
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<Operands>, SsError> {
        crate::error::expect_length("outputs of an activation", self.outputs(), masks.len())?;
        for mask in masks {
            crate::error::expect_length("masks of an activation", shares.len(), mask.len())?;
        }
        let (ring, output) = (self.ring(), self.output());
        let negated = |masks: &[u64]| masks.iter().map(|&r| output.sub(0, r)).collect::<Vec<u64>>();
        let at = |thresholds: [i64; 2]| -> Vec<u64> {
            let shifted = |&c: &u64| thresholds.map(|t| ring.sub(c, ring.from_signed(t)));
            shares.iter().flat_map(shifted).collect()
        };
        let one =
            |compare: Vec<u64>, lanes, constants| Operands { compare, lanes, constants: vec![constants] };
        Ok(match self.activation {
            Activation::Clip { low, high } => {
                // The gate gives z − low.
                let lift = output.from_signed(low << self.widths.shift);
                let constants = masks[0].iter().map(|&r| output.sub(lift, r)).collect();
                vec![one(at([low, high]), vec![], constants)]
            }
            Activation::HardSwish { three } => {
                let lane = self.widths.output_bits - self.widths.shift;
                let inner = Z2k::new(lane)?;
                let fresh: Vec<u64> = shares.iter().map(|_| rng.next_u64() & inner.mask()).collect();
                let constants = fresh.iter().map(|&u| inner.sub(0, u)).collect();
                let clip = one(at([-three, three]), vec![], constants);
                vec![clip, one(shares.to_vec(), vec![fresh], negated(masks[0]))]
            }
            _ => masks.iter().map(|masks| one(shares.to_vec(), vec![], negated(masks))).collect(),
        })
    }

    /// The server's operands of step `step` from its shares m and the results of earlier steps: first operand, lanes.
    pub fn server_operands(
        &self,
        step: usize,
        shares: &[u64],
        earlier: &[Vec<Vec<u64>>],
    ) -> (Vec<u64>, Vec<Vec<u64>>) {
        let lanes = match (&self.activation, earlier) {
            (Activation::HardSwish { .. }, [first]) if step == 1 => first.clone(),
            _ => Vec::new(),
        };
        (shares.to_vec(), lanes)
    }

    /// What the server has in the end, per output: X = z·2^j − r.
    pub fn server_outputs(&self, mut results: Vec<Vec<Vec<u64>>>) -> Vec<Vec<u64>> {
        let kept = results.len() - self.outputs();
        results.drain(kept..).flatten().collect()
    }

    /// What the parties must get for shares m and c: z·2^j per output, bit for bit, as elements of Z_2^p.
    pub fn oracle(&self, m: u64, c: u64) -> Vec<u64> {
        let (ring, output) = (self.ring(), self.output());
        let y = ring.signed(ring.add(m, c));
        let test = Verdict { widths: self.widths };
        let relu = |threshold: i64| {
            let own = ring.sub(c, ring.from_signed(threshold));
            if test.positive(m, own) { ring.signed(ring.add(m, own)) } else { 0 }
        };
        let values = match &self.activation {
            Activation::Relu => vec![i128::from(relu(0))],
            &Activation::Clip { low, high } => vec![i128::from(low + relu(low) - relu(high))],
            &Activation::Leaky { negative, positive } => {
                let slope = if test.positive(m, c) { positive } else { negative };
                vec![i128::from(slope) * i128::from(y)]
            }
            Activation::PRelu => vec![i128::from(relu(0)), i128::from(y)],
            Activation::Polynomial { coefficients } => {
                // Modulo 2^64, which the output ring divides.
                let wrapped =
                    coefficients.iter().rev().fold(0i64, |sum, &a| sum.wrapping_mul(y).wrapping_add(a));
                vec![i128::from(wrapped)]
            }
            &Activation::HardSwish { three } => {
                vec![i128::from(y) * i128::from(relu(-three) - relu(three))]
            }
            Activation::Smooth(spec) => return vec![spec.value(m, c)],
        };
        values.into_iter().map(|z| output.from_signed((z << self.widths.shift) as i64)).collect()
    }

    /// The function itself, per output in units of z·2^j, and how far [`ActivationPlan::oracle`] may be from it there.
    pub fn ideal(&self, y: i64) -> Vec<(f64, f64)> {
        let scale = f64::from(self.widths.shift).exp2();
        let (real, dead) = (y as f64, f64::from(self.widths.ignored_bits).exp2());
        let near = |corner: i64| if (0..dead as i64).contains(&(y - corner)) { dead } else { 0.0 };
        let values = match &self.activation {
            Activation::Relu => vec![(real.max(0.0), near(0))],
            &Activation::Clip { low, high } => {
                vec![(real.max(low as f64).min(high as f64), near(low).max(near(high)))]
            }
            &Activation::Leaky { negative, positive } => {
                let slope = if y < 0 { negative } else { positive };
                vec![(slope as f64 * real, near(0) * (positive - negative).abs() as f64)]
            }
            Activation::PRelu => vec![(real.max(0.0), near(0)), (real, 0.0)],
            Activation::Polynomial { coefficients } => {
                vec![(coefficients.iter().rev().fold(0.0, |sum, &a| sum * real + a as f64), 0.0)]
            }
            &Activation::HardSwish { three } => {
                let t = three as f64;
                vec![(real * (real + t).clamp(0.0, 2.0 * t), near(-three).max(near(three)) * real.abs())]
            }
            Activation::Smooth(spec) => {
                let scale = spec.output_scale().scale;
                let value = spec.function().value(real * spec.input().step);
                return vec![(value * scale, spec.error_bound() * scale)];
            }
        };
        values.into_iter().map(|(value, error)| (value * scale, error * scale)).collect()
    }
}

/// The rule by which the parties decide a sign from their shares' floors.
struct Verdict {
    widths: Widths,
}

impl Verdict {
    fn positive(&self, m: u64, c: u64) -> bool {
        let kept = self.widths.ring_bits - self.widths.ignored_bits;
        let floors = (m >> self.widths.ignored_bits) + (c >> self.widths.ignored_bits);
        floors >> (kept - 1) & 1 == 0
    }
}

#[cfg(test)]
mod tests;
