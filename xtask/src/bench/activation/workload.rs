//! What is measured and checked: activations by name, with the widths of their rings.
//!
//! | name | function of the inputs | h |
//! |---|---|---|
//! | relu, relu-narrow, relu6, hard-sigmoid | max(y, 0), clips | k − 12: sign tests of twelve bits |
//! | leaky-relu, abs | slopes 1 and 100, −1 and 1 | k − 12 |
//! | prelu | max(y, 0) and y side by side | k − 12 |
//! | square, cubic | y², y³ | |
//! | hard-swish | y·clip(y + t, 0, 2t) | k − 12 |
//! | sigmoid, gelu, silu on ±8, tanh on ±4 | by tables, within 2^−10 of their largest value | |
//! | max-pool-2x2, global-max-7x7 | the largest of 4, of 49 | k − 12 |
//! | arg-max-10, arg-max-1000, top-5-of-1000 | values with their indices | k − 17, or 0 |
//!
//! The results of the first groups go to the ring of masked inputs of the profile `wide`, Z_2^46, scaled by 2^14 where
//! there is room, relu-narrow's to that of the profile `narrow`, Z_2^28, unscaled; those of products to a ring that
//! holds them. Maxima stay in Z_2^k.

use anyhow::{Context, Result, bail};
use he_core::Seed;
use rand_core::Rng;
use ss_core::activation::{Activation, ActivationPlan, Operands, Widths};
use ss_core::compare::Comparison;
use ss_core::garble::GarbleSpec;
use ss_core::gate::GateSpec;
use ss_core::lookup::{Input, LookupSpec, Output};
use ss_core::maximum::Tournament;
use ss_core::ring::Z2k;
use ss_core::spline::Smooth;
use ss_core::step::StepSpec;

/// All names in the order of the table.
pub(crate) const NAMES: [&str; 19] = [
    "relu",
    "relu-narrow",
    "relu6",
    "hard-sigmoid",
    "leaky-relu",
    "abs",
    "prelu",
    "square",
    "cubic",
    "hard-swish",
    "sigmoid",
    "tanh",
    "gelu",
    "silu",
    "max-pool-2x2",
    "global-max-7x7",
    "arg-max-10",
    "arg-max-1000",
    "top-5-of-1000",
];

/// Whether `only`, if given, chooses an activation: by its whole name, or by a part if it is no whole one.
pub(crate) fn chosen(only: Option<&str>, name: &str) -> bool {
    only.is_none_or(|only| if NAMES.contains(&only) { name == only } else { name.contains(only) })
}

/// One activation with its rings.
#[derive(Debug)]
pub(crate) struct Workload {
    /// One of [`NAMES`].
    pub(crate) name: &'static str,
    /// k.
    pub(crate) ring_bits: u32,
    /// h.
    pub(crate) ignored_bits: u32,
    /// Largest |y| that the activation promises something about.
    pub(crate) range: i64,
    /// Values at which the function bends, for edge inputs.
    pub(crate) corners: Vec<i64>,
    /// How many units of the result are one unit of y; one real unit for smooth functions.
    pub(crate) unit: f64,
    pub(crate) work: Work,
}

/// How it is computed.
#[derive(Debug)]
pub(crate) enum Work {
    /// Every value by itself, into a ring.
    Values(ActivationPlan, Z2k),
    /// Windows of values.
    Maxima(Maxima),
}

/// The largest of windows.
#[derive(Debug)]
pub(crate) struct Maxima {
    /// Values per window.
    pub(crate) cells: usize,
    /// Results per window.
    pub(crate) top: usize,
    /// The gate of every level.
    spec: StepSpec,
    /// Ring per lane: values, and perhaps indices.
    pub(crate) rings: Vec<Z2k>,
}

/// The results' ring of the profile `wide`, and the scale.
const OUTPUT: (u32, u32) = (46, 14);

/// The results' ring of the profile `narrow`.
const NARROW: u32 = 28;

/// Error that smooth functions may have, as a part of their largest value.
const TOLERANCE: f64 = 1.0 / 1024.0;

impl Workload {
    /// The activation `name` in Z_2^`ring_bits`; `one_round` by one-round constructions where there are two.
    pub(crate) fn new(name: &str, ring_bits: u32, one_round: bool) -> Result<Self> {
        let name = *NAMES.iter().find(|known| **known == name).context("no activation is called that")?;
        if !(14..=32).contains(&ring_bits) {
            bail!("rings of 14 to 32 bits are measured, not of {ring_bits}");
        }
        let h = ring_bits - 12;
        let (half, quarter) = (1i64 << (ring_bits - 1), 1i64 << (ring_bits - 2));
        let tested = half - (1 << h) - 1;
        let guarded = quarter - 1;
        let six = quarter - (1 << h);
        let three = quarter / 4;
        let (p, j) = (OUTPUT.0, OUTPUT.1.min(OUTPUT.0 - ring_bits - 2));
        let wide = Widths { ring_bits, ignored_bits: h, output_bits: p, shift: j };
        let values = |activation: Activation, widths: Widths, range: i64, corners: &[i64]| -> Result<Self> {
            let plan = ActivationPlan::new(&activation, widths, one_round)?;
            let work = Work::Values(plan, Z2k::new(widths.output_bits)?);
            let (corners, unit) = (corners.to_vec(), f64::from(widths.shift).exp2());
            Ok(Self { name, ring_bits, ignored_bits: h, range, corners, unit, work })
        };
        let power = |degree: u32| -> Result<Self> {
            let output_bits = (degree * (ring_bits - 2) + 2).clamp(ring_bits + 1, 60);
            let widths = Widths { ring_bits, ignored_bits: h, output_bits, shift: 0 };
            let mut coefficients = vec![0; degree as usize];
            coefficients.push(1);
            let largest = ((output_bits - 2) as f64 / f64::from(degree)).exp2() as i64;
            values(Activation::Polynomial { coefficients }, widths, guarded.min(largest), &[0])
        };
        let smooth = |function: Smooth, end: f64, peak: f64| -> Result<Self> {
            let input = Input { bits: ring_bits, step: end / half as f64 };
            // A little room above the peak, since the error counts as well.
            let output = Output { bits: p, scale: f64::from(p - 1).exp2() / (1.01 * peak) };
            let spec = LookupSpec::within(function, input, output, peak * TOLERANCE)?;
            let range = spec.limit() - 1;
            let unit = output.scale;
            Ok(Self { unit, ..values(Activation::Smooth(spec), wide, range, &[0])? })
        };
        match name {
            "relu" => values(Activation::Relu, wide, tested, &[0]),
            "relu-narrow" => {
                let widths = Widths { output_bits: NARROW.max(ring_bits + 2), shift: 0, ..wide };
                values(Activation::Relu, widths, tested, &[0])
            }
            "relu6" => values(Activation::Clip { low: 0, high: six }, wide, tested - six, &[0, six]),
            "hard-sigmoid" => {
                let clip = Activation::Clip { low: -three, high: three };
                values(clip, wide, tested - three, &[-three, three])
            }
            "leaky-relu" => {
                // Seven bits more, for the slope.
                let widths = Widths { shift: j.min(p - ring_bits - 9), ..wide };
                values(Activation::Leaky { negative: 1, positive: 100 }, widths, guarded, &[0])
            }
            "abs" => values(Activation::Leaky { negative: -1, positive: 1 }, wide, guarded, &[0]),
            "prelu" => values(Activation::PRelu, wide, guarded, &[0]),
            "square" => power(2),
            "cubic" => power(3),
            "hard-swish" => {
                let output_bits = (2 * ring_bits - 3).clamp(ring_bits + 2, 60);
                let widths = Widths { output_bits, shift: 0, ..wide };
                values(Activation::HardSwish { three }, widths, guarded, &[-three, 0, three])
            }
            "sigmoid" => smooth(Smooth::Sigmoid, 8.0, 1.0),
            "tanh" => smooth(Smooth::Tanh, 4.0, 1.0),
            "gelu" => smooth(Smooth::Gelu, 8.0, 8.0),
            "silu" => smooth(Smooth::Silu, 8.0, 8.0),
            "max-pool-2x2" => Self::maxima(name, ring_bits, h, [4, 1], false, one_round),
            "global-max-7x7" => Self::maxima(name, ring_bits, h, [49, 1], false, one_round),
            "arg-max-10" => {
                Self::maxima(name, ring_bits, ring_bits.saturating_sub(17), [10, 1], true, one_round)
            }
            "arg-max-1000" => {
                Self::maxima(name, ring_bits, ring_bits.saturating_sub(17), [1000, 1], true, one_round)
            }
            _ => Self::maxima(name, ring_bits, ring_bits.saturating_sub(17), [1000, 5], true, one_round),
        }
    }

    fn maxima(
        name: &'static str,
        ring_bits: u32,
        ignored_bits: u32,
        [cells, top]: [usize; 2],
        indexed: bool,
        one_round: bool,
    ) -> Result<Self> {
        let index_bits = indexed.then(|| cells.next_power_of_two().ilog2());
        let spec = GateSpec::maximum(Comparison::new(ring_bits, ignored_bits)?, index_bits)?;
        let spec = if one_round { StepSpec::Garbled(GarbleSpec::new(&spec)) } else { StepSpec::Gate(spec) };
        let rings =
            [Some(ring_bits), index_bits].into_iter().flatten().map(Z2k::new).collect::<Result<_, _>>()?;
        // Half the range, since differences have to fit.
        let range = (1i64 << (ring_bits - 2)) - (1 << ignored_bits);
        let work = Work::Maxima(Maxima { cells, top, spec, rings });
        Ok(Self { name, ring_bits, ignored_bits, range, corners: Vec::new(), unit: 1.0, work })
    }

    /// The ring of the inputs.
    pub(crate) fn ring(&self) -> Result<Z2k> {
        Ok(Z2k::new(self.ring_bits)?)
    }

    /// Whether there is a gate in it, so that it has a one-round and a three-round construction.
    pub(crate) fn is_gated(&self) -> bool {
        let gated = |step: &StepSpec| matches!(step, StepSpec::Gate(_) | StepSpec::Garbled(_));
        match &self.work {
            Work::Values(plan, _) => plan.steps().iter().any(gated),
            Work::Maxima(maxima) => gated(&maxima.spec),
        }
    }

    /// Inputs per result or window; the number of elements is a multiple of it.
    pub(crate) fn cells(&self) -> usize {
        match &self.work {
            Work::Values(..) => 1,
            Work::Maxima(maxima) => maxima.cells,
        }
    }
}

/// A workload on a number of elements: everything that both parties know.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    pub(crate) workload: &'a Workload,
    pub(crate) elements: usize,
    /// Steps in their order.
    pub(crate) steps: Vec<(StepSpec, usize)>,
    pub(crate) tournament: Option<Tournament>,
}

/// What the client knows before there is an input.
pub(crate) struct ClientShares {
    /// One per step.
    pub(crate) operands: Vec<Operands>,
    /// What opens the results: to be added to the server's, per lane.
    pub(crate) results: Vec<Vec<u64>>,
    /// Fresh shares of every level of a tournament, per lane.
    pub(crate) fresh: Vec<Vec<Vec<u64>>>,
}

impl<'a> Batch<'a> {
    /// `elements` inputs, rounded down to whole windows, but at least one.
    pub(crate) fn new(workload: &'a Workload, elements: usize) -> Result<Self> {
        let windows = (elements / workload.cells()).max(1);
        let elements = windows * workload.cells();
        let (steps, tournament) = match &workload.work {
            Work::Values(plan, _) => {
                (plan.steps().iter().map(|spec| (spec.clone(), elements)).collect(), None)
            }
            Work::Maxima(maxima) => {
                let own = |w: usize| (w * maxima.cells..(w + 1) * maxima.cells).map(|i| i as u32).collect();
                let windows: Vec<Vec<u32>> = (0..windows).map(own).collect();
                let tournament = Tournament::top(elements, &windows, maxima.top)?;
                let levels = tournament.levels().iter();
                (levels.map(|level| (maxima.spec.clone(), level.gates())).collect(), Some(tournament))
            }
        };
        Ok(Self { workload, elements, steps, tournament })
    }

    /// Everything that the client fixes, from its shares c of the inputs.
    pub(crate) fn client(&self, shares: &[u64], seed: &Seed) -> Result<ClientShares> {
        let mut rng = seed.fork("client", &[]).stream();
        match (&self.workload.work, &self.tournament) {
            (Work::Maxima(maxima), Some(tournament)) => {
                let mut lanes = vec![shares.to_vec(), vec![0; shares.len()]];
                lanes.truncate(maxima.rings.len());
                let (mut operands, mut all_fresh) = (Vec::new(), Vec::new());
                for level in tournament.levels() {
                    let mut own = Operands { compare: vec![], lanes: vec![], constants: vec![] };
                    let mut level_fresh = Vec::new();
                    for (&ring, values) in maxima.rings.iter().zip(&mut lanes) {
                        let fresh: Vec<u64> =
                            (0..level.gates()).map(|_| rng.next_u64() & ring.mask()).collect();
                        let second = level.second(values);
                        own.lanes.push(subtract(ring, &level.first(values), &second));
                        own.constants.push(subtract(ring, &second, &fresh));
                        *values = level.advance_in(ring, values, &fresh);
                        level_fresh.push(fresh);
                    }
                    own.compare = own.lanes[0].clone();
                    operands.push(own);
                    all_fresh.push(level_fresh);
                }
                let results = lanes.iter().map(|values| tournament.winners(values)).collect();
                Ok(ClientShares { operands, results, fresh: all_fresh })
            }
            (Work::Values(plan, ring), _) => {
                let masks: Vec<Vec<u64>> = (0..plan.outputs())
                    .map(|_| shares.iter().map(|_| rng.next_u64() & ring.mask()).collect())
                    .collect();
                let borrowed: Vec<&[u64]> = masks.iter().map(Vec::as_slice).collect();
                let operands = plan.client(shares, &borrowed, &mut rng)?;
                Ok(ClientShares { operands, results: masks, fresh: Vec::new() })
            }
            _ => bail!("maxima without a tournament"),
        }
    }

    /// The ring of each lane of the results.
    pub(crate) fn output_rings(&self) -> Vec<Z2k> {
        match &self.workload.work {
            Work::Values(plan, ring) => vec![*ring; plan.outputs()],
            Work::Maxima(maxima) => maxima.rings.clone(),
        }
    }

    /// Inputs y of this batch: random ones in the range, and many at its ends and about the corners.
    pub(crate) fn inputs(&self, rng: &mut impl Rng) -> Vec<i64> {
        let Workload { range, ignored_bits, corners, .. } = self.workload;
        let dead = 1i64 << ignored_bits;
        // Every other window has all its values close to each other, about some place.
        let cells = self.workload.cells();
        let mut place = None;
        (0..self.elements)
            .map(|at| {
                let word = rng.next_u64();
                let random = (rng.next_u64() % (2 * *range as u64 + 1)) as i64 - range;
                if cells > 1 && at % cells == 0 {
                    place = (at / cells % 2 == 1).then_some(random);
                }
                if let Some(place) = place {
                    return (place + random % (6 * dead)).clamp(-range, *range);
                }
                let corner = corners.get((word >> 8) as usize % corners.len().max(1)).copied().unwrap_or(0);
                let near = [-dead - 1, -dead, 1 - dead, -2, -1, 0, 1, 2, dead - 1, dead, dead + 1];
                let y = match word % 16 {
                    0 => corner + near[(word >> 16) as usize % near.len()],
                    1 => corner + random % (4 * dead),
                    2 => range - (word >> 16) as i64 % 3,
                    3 => -range + (word >> 16) as i64 % 3,
                    _ => random,
                };
                y.clamp(-range, *range)
            })
            .collect()
    }

    /// The client's shares of the inputs: random, and some at the ring's ends.
    pub(crate) fn client_inputs(&self, rng: &mut impl Rng) -> Result<Vec<u64>> {
        let ring = self.workload.ring()?;
        let half = 1u64 << (ring.bits() - 1);
        let edges = [0, 1, half - 1, half, half + 1, ring.mask()];
        let share = |_| {
            let word = rng.next_u64();
            if word.is_multiple_of(16) {
                edges[(word >> 8) as usize % edges.len()]
            } else {
                word >> 8 & ring.mask()
            }
        };
        Ok((0..self.elements).map(share).collect())
    }
}

/// a − b, place by place.
pub(crate) fn subtract(ring: Z2k, a: &[u64], b: &[u64]) -> Vec<u64> {
    a.iter().zip(b).map(|(&a, &b)| ring.sub(a, b)).collect()
}

/// a + b, place by place.
pub(crate) fn add(ring: Z2k, a: &[u64], b: &[u64]) -> Vec<u64> {
    a.iter().zip(b).map(|(&a, &b)| ring.add(a, b)).collect()
}
