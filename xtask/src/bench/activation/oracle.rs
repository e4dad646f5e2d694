//! What the parties must get: bit for bit by the protocol's own rule, and within a bound of the real function.
//!
//! For values one by one the rule is [`ActivationPlan::oracle`](ss_core::activation::ActivationPlan). For maxima it
//! is written down here once more: a pair's verdict is the sign of the sum of the shares of the difference, both without
//! their low h bits. It depends on the shares, so the client's fresh ones are an input.

use anyhow::{Result, bail};

use super::workload::{Batch, ClientShares, Maxima, Work, add, subtract};

/// How a batch came out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    /// Results looked at.
    pub(crate) results: u64,
    /// Results that are not what the rule gives.
    pub(crate) wrong: u64,
    /// Results of the rule that are farther from the real function than allowed.
    pub(crate) beyond: u64,
    /// Largest distance from the real function, in units of the result.
    pub(crate) largest_error: f64,
    /// Largest distance that was allowed anywhere.
    pub(crate) bound: f64,
}

impl Outcome {
    /// Whether everything is as it must be, and anything was looked at.
    pub(crate) fn is_good(&self) -> bool {
        self.results > 0 && self.wrong == 0 && self.beyond == 0
    }

    /// Takes another batch in.
    pub(crate) fn add(&mut self, other: &Self) {
        self.results += other.results;
        self.wrong += other.wrong;
        self.beyond += other.beyond;
        self.largest_error = self.largest_error.max(other.largest_error);
        self.bound = self.bound.max(other.bound);
    }

    fn judge(&mut self, right: bool, distance: f64, allowed: f64) {
        self.results += 1;
        self.wrong += u64::from(!right);
        self.beyond += u64::from(distance > allowed);
        self.largest_error = self.largest_error.max(distance);
        self.bound = self.bound.max(allowed);
    }
}

/// Judges the server's results of a batch: inputs y, the client's shares c of them, and what the client fixed.
pub(crate) fn judge(
    batch: &Batch<'_>,
    inputs: &[i64],
    shares: &[u64],
    client: &ClientShares,
    server: &[Vec<u64>],
) -> Result<Outcome> {
    let rings = batch.output_rings();
    if server.len() != rings.len() || server.iter().zip(&client.results).any(|(a, b)| a.len() != b.len()) {
        bail!("the server's results do not have the shape of the client's");
    }
    let opened: Vec<Vec<u64>> = rings
        .iter()
        .zip(server.iter().zip(&client.results))
        .map(|(&ring, (server, client))| add(ring, server, client))
        .collect();
    let ring = batch.workload.ring()?;
    let values: Vec<u64> = inputs.iter().map(|&y| ring.from_signed(y)).collect();
    let masked = subtract(ring, &values, shares);
    let mut outcome = Outcome::default();
    match &batch.workload.work {
        Work::Values(plan, output) => {
            for (at, (&y, (&m, &c))) in inputs.iter().zip(masked.iter().zip(shares)).enumerate() {
                let expected = plan.oracle(m, c);
                for ((lane, expected), (ideal, allowed)) in opened.iter().zip(expected).zip(plan.ideal(y)) {
                    // The real function is computed in doubles: their own rounding is no error of ours.
                    let (rounding, error) =
                        (ideal.abs() * 2f64.powi(-50), (output.signed(expected) as f64 - ideal).abs());
                    outcome.judge(lane[at] == expected, error, allowed + rounding);
                }
            }
        }
        Work::Maxima(maxima) => {
            let expected = replay(batch, maxima, masked, shares, client);
            let allowed = batch.steps.len() as f64 * f64::from(batch.workload.ignored_bits).exp2();
            for (window, inputs) in inputs.chunks(maxima.cells).enumerate() {
                let mut sorted = inputs.to_vec();
                sorted.sort_unstable_by(|a, b| b.cmp(a));
                for (rank, real) in sorted[..maxima.top].iter().enumerate() {
                    let at = window * maxima.top + rank;
                    let value = ring.signed(expected[0][at]);
                    let right = opened.iter().zip(&expected).all(|(lane, expected)| lane[at] == expected[at]);
                    // An index has to name a value of the right size.
                    let named = expected.get(1).is_none_or(|index| inputs[index[at] as usize] == value);
                    outcome.judge(right && named, (value - real).abs() as f64, allowed);
                }
            }
        }
    }
    Ok(outcome)
}

/// The tournament in plaintext, level by level, on both parties' shares.
fn replay(
    batch: &Batch<'_>,
    maxima: &Maxima,
    masked: Vec<u64>,
    shares: &[u64],
    client: &ClientShares,
) -> Vec<Vec<u64>> {
    let Some(tournament) = &batch.tournament else { return Vec::new() };
    let (k, h) = (batch.workload.ring_bits, batch.workload.ignored_bits);
    let cells = maxima.cells as u64;
    let indices: Vec<u64> = (0..shares.len() as u64).map(|i| i % cells).collect();
    let mut lanes = vec![(masked, shares.to_vec()), (indices, vec![0; shares.len()])];
    lanes.truncate(maxima.rings.len());
    for (level, fresh) in tournament.levels().iter().zip(&client.fresh) {
        let difference =
            |values: &[u64]| subtract(maxima.rings[0], &level.first(values), &level.second(values));
        let verdicts: Vec<bool> = difference(&lanes[0].0)
            .iter()
            .zip(difference(&lanes[0].1))
            .map(|(&m, c)| ((m >> h) + (c >> h)) >> (k - h - 1) & 1 == 0)
            .collect();
        for ((&ring, fresh), (server, client)) in maxima.rings.iter().zip(fresh).zip(&mut lanes) {
            let open = |side: fn(&ss_core::maximum::Level, &[u64]) -> Vec<u64>| {
                add(ring, &side(level, server), &side(level, client))
            };
            let both =
                open(ss_core::maximum::Level::first).into_iter().zip(open(ss_core::maximum::Level::second));
            let winners: Vec<u64> =
                both.zip(&verdicts).map(|((a, b), &first)| if first { a } else { b }).collect();
            *server = level.advance_in(ring, server, &subtract(ring, &winners, fresh));
            *client = level.advance_in(ring, client, fresh);
        }
    }
    let opened =
        maxima.rings.iter().zip(&lanes).map(|(&ring, (server, client))| {
            add(ring, &tournament.winners(server), &tournament.winners(client))
        });
    opened.collect()
}

#[cfg(test)]
mod tests {
    use super::super::workload::{NAMES, Workload};
    use super::*;
    use he_core::Seed;

    /// A batch whose server has computed nothing but the oracle's results, and what it came out as.
    fn judged(name: &str, tamper: impl Fn(&mut Vec<Vec<u64>>)) -> Outcome {
        let workload = Workload::new(name, 18, false).unwrap();
        let batch = Batch::new(&workload, 3000).unwrap();
        let seed = Seed::from_bytes([7; 32]);
        let mut rng = seed.fork("inputs", &[]).stream();
        let (inputs, shares) = (batch.inputs(&mut rng), batch.client_inputs(&mut rng).unwrap());
        let client = batch.client(&shares, &seed).unwrap();
        let ring = workload.ring().unwrap();
        let values: Vec<u64> = inputs.iter().map(|&y| ring.from_signed(y)).collect();
        let masked = subtract(ring, &values, &shares);
        let opened = match &workload.work {
            Work::Maxima(maxima) => replay(&batch, maxima, masked, &shares, &client),
            Work::Values(plan, _) => {
                let all: Vec<Vec<u64>> =
                    masked.iter().zip(&shares).map(|(&m, &c)| plan.oracle(m, c)).collect();
                (0..plan.outputs()).map(|lane| all.iter().map(|row| row[lane]).collect()).collect()
            }
        };
        let rings = batch.output_rings();
        let lanes = rings.iter().zip(opened.iter().zip(&client.results));
        let mut server: Vec<Vec<u64>> =
            lanes.map(|(&ring, (opened, own))| subtract(ring, opened, own)).collect();
        tamper(&mut server);
        judge(&batch, &inputs, &shares, &client, &server).unwrap()
    }

    #[test]
    fn the_rule_is_within_its_bound_of_the_real_function() {
        for name in NAMES {
            let outcome = judged(name, |_| {});
            assert!(outcome.is_good(), "{name}: {outcome:?}");
        }
    }

    #[test]
    fn one_wrong_bit_is_seen() {
        for name in NAMES {
            let outcome = judged(name, |server| server[0][1] ^= 1);
            assert_eq!((outcome.wrong, outcome.is_good()), (1, false), "{name}");
        }
    }

    #[test]
    fn nothing_looked_at_is_not_good() {
        assert!(!Outcome::default().is_good());
    }
}
