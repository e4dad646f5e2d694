//! What `bench conv` found out, as its JSON document has it: rows of layers and sums of networks.
//!
//! Seconds are of one image (a batch's, divided). `ratio` is always ours over ONNX Runtime's, least over least: below one we
//! are faster.

use conv_fast::{ConvGeometry, ConvShape};
use serde::Serialize;

use super::contest::Timing;
use super::onnxruntime::Turn;
use crate::bench::machine::Machine;

/// All that was measured.
#[derive(Serialize)]
pub(super) struct Document {
    pub(super) schema: &'static str,
    pub(super) machine: Machine,
    pub(super) commit: String,
    /// Cycles per second at the start.
    pub(super) clock: f64,
    pub(super) rivals: Rivals,
    pub(super) rows: Vec<Row>,
    pub(super) networks: Vec<Sum>,
}

/// Who else runs.
#[derive(Serialize)]
pub(super) struct Rivals {
    /// Its version, or why it does not run.
    pub(super) onnxruntime: String,
    pub(super) tract: &'static str,
}

/// One layer at one batch size and number of threads.
#[derive(Clone, Serialize)]
pub(super) struct Row {
    pub(super) network: &'static str,
    pub(super) layer: String,
    /// How often the network has it.
    pub(super) count: usize,
    pub(super) shape: ConvShape,
    pub(super) batch: usize,
    pub(super) threads: usize,
    /// Multiplications of one image.
    pub(super) macs: u64,
    pub(super) ours: Vec<Ours>,
    pub(super) onnxruntime: Option<Turn>,
    /// One thread, whatever the row says.
    pub(super) tract: Option<Timing>,
    pub(super) direct: Option<Direct>,
}

/// Ours with one profile.
#[derive(Clone, Serialize)]
pub(super) struct Ours {
    pub(super) profile: String,
    /// Bits of the words that elements come and go in (ONNX Runtime's have 32).
    pub(super) word_bits: u32,
    /// The planner's choice.
    pub(super) algorithm: String,
    #[serde(flatten)]
    pub(super) timing: Timing,
    /// Once per layer, not per image.
    pub(super) prepare_seconds: f64,
    /// Multiplications of the definition per cycle of one core.
    pub(super) macs_per_cycle: f64,
    /// The same beside what the processor's multipliers could do.
    pub(super) limit_share: Option<f64>,
    pub(super) ratio: Option<f64>,
    /// Other algorithms, if they were asked for.
    pub(super) others: Vec<Other>,
    /// Time of the choice over the least of all algorithms, minus one.
    pub(super) regret: Option<f64>,
}

/// An algorithm that was not chosen.
#[derive(Clone, Serialize)]
pub(super) struct Other {
    pub(super) algorithm: String,
    /// What the planner's model says.
    pub(super) estimate: f64,
    pub(super) least: f64,
}

/// The direct convolution, first profile, one thread.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Direct {
    pub(super) seconds: f64,
    /// The part of the output channels that was run.
    pub(super) share: f64,
}

/// A whole network: sums of its layers, and all of them in one go.
#[derive(Serialize)]
pub(super) struct Sum {
    pub(super) network: &'static str,
    pub(super) batch: usize,
    pub(super) threads: usize,
    pub(super) macs: u64,
    pub(super) ours: Vec<OursSum>,
    /// Σ count · least over lone layers.
    pub(super) onnxruntime: Option<f64>,
    pub(super) whole: Option<Whole>,
    pub(super) tract: Option<f64>,
    pub(super) direct: Option<f64>,
}

/// ONNX Runtime with the whole network, activations and normalisations left out.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Whole {
    #[serde(flatten)]
    pub(super) timing: Timing,
    /// The share of its convolutions and fully connected layers, by its own profile.
    pub(super) linear_share: f64,
}

/// Ours with one profile, over a network.
#[derive(Serialize)]
pub(super) struct OursSum {
    pub(super) profile: String,
    /// Σ count · least over lone layers.
    pub(super) seconds: f64,
    pub(super) macs_per_cycle: f64,
    /// Over ONNX Runtime's sum of lone layers.
    pub(super) ratio: Option<f64>,
    /// All layers one after the other, each with its own weights.
    pub(super) whole: Option<Timing>,
    /// Over the linear share of ONNX Runtime's whole network.
    pub(super) whole_ratio: Option<f64>,
    pub(super) prepare_seconds: f64,
    /// Greatest regret of a layer, and of the sum.
    pub(super) regret: Option<[f64; 2]>,
}

impl Timing {
    /// Per image.
    pub(super) fn per(self, batch: usize) -> Self {
        let images = batch as f64;
        Self { least: self.least / images, median: self.median / images, runs: self.runs }
    }
}

impl Row {
    pub(super) fn new(
        network: &'static str,
        (layer, geometry, count): (&str, &ConvGeometry, usize),
        batch: usize,
        threads: usize,
    ) -> Self {
        Self {
            network,
            layer: layer.to_owned(),
            count,
            shape: *geometry.shape(),
            batch,
            threads,
            macs: geometry.macs(),
            ours: Vec::new(),
            onnxruntime: None,
            tract: None,
            direct: None,
        }
    }

    /// Fills in what follows from the times: speeds, ratios and, if other algorithms were to be `compared`, regrets.
    /// `limits` are multiply-adds per cycle by profile.
    pub(super) fn finish(&mut self, clock: f64, limits: &[Option<f64>], compared: bool) {
        let rival = self.onnxruntime.as_ref().map(|turn| turn.timing.least).filter(|&least| least > 0.0);
        for (ours, limit) in self.ours.iter_mut().zip(limits) {
            let least = ours.timing.least;
            ours.macs_per_cycle = self.macs as f64 / (least * clock * self.threads as f64);
            ours.limit_share = limit.map(|limit| ours.macs_per_cycle / limit);
            ours.ratio = rival.map(|rival| least / rival);
            if compared {
                let best = ours.others.iter().map(|other| other.least).fold(least, f64::min);
                ours.regret = Some(least / best - 1.0);
            }
        }
    }
}

impl Sum {
    /// The sum over the rows of one network, batch size and number of threads; the wholes are left out.
    pub(super) fn of(rows: &[Row], clock: f64) -> Option<Self> {
        let first = rows.first()?;
        let times = |row: &Row| row.count as f64;
        let macs: u64 = rows.iter().map(|row| row.macs * row.count as u64).sum();
        let total = |seconds: fn(&Row) -> Option<f64>| -> Option<f64> {
            rows.iter().map(|row| seconds(row).map(|s| s * times(row))).sum()
        };
        let onnxruntime = total(|row| row.onnxruntime.as_ref().map(|turn| turn.timing.least));
        let ours = (0..first.ours.len()).map(|at| {
            let seconds: f64 = rows.iter().map(|row| row.ours[at].timing.least * times(row)).sum();
            let best = |ours: &Ours| ours.regret.map(|regret| ours.timing.least / (1.0 + regret));
            let least: Option<f64> = rows.iter().map(|row| best(&row.ours[at]).map(|s| s * times(row))).sum();
            let worst = rows.iter().filter_map(|row| row.ours[at].regret).fold(0.0, f64::max);
            OursSum {
                profile: first.ours[at].profile.clone(),
                seconds,
                macs_per_cycle: macs as f64 / (seconds * clock * first.threads as f64),
                ratio: onnxruntime.map(|rival| seconds / rival),
                whole: None,
                whole_ratio: None,
                prepare_seconds: rows.iter().map(|row| row.ours[at].prepare_seconds * times(row)).sum(),
                regret: least.map(|least| [worst, seconds / least - 1.0]),
            }
        });
        Some(Self {
            network: first.network,
            batch: first.batch,
            threads: first.threads,
            macs,
            ours: ours.collect(),
            onnxruntime,
            whole: None,
            tract: total(|row| row.tract.map(|timing| timing.least)),
            direct: total(|row| row.direct.map(|direct| direct.seconds)),
        })
    }

    /// Adds the runs of the whole network.
    pub(super) fn add_whole(&mut self, ours: Vec<Timing>, rival: Option<Whole>) {
        self.whole = rival;
        for (sum, timing) in self.ours.iter_mut().zip(ours) {
            sum.whole = Some(timing);
            sum.whole_ratio = rival.map(|rival| timing.least / (rival.timing.least * rival.linear_share));
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn timing(least: f64) -> Timing {
        Timing { least, median: 2.0 * least, runs: 3 }
    }

    /// A layer of 1000 multiplications.
    pub(in super::super) fn row(count: usize, ours: f64, rival: Option<f64>, others: &[f64]) -> Row {
        let geometry = ConvGeometry::fully_connected(100, 10).unwrap();
        let mut row = Row::new("net", ("layer", &geometry, count), 2, 1);
        row.ours.push(Ours {
            profile: "wide".to_owned(),
            word_bits: 64,
            algorithm: "direct".to_owned(),
            timing: timing(ours),
            prepare_seconds: 1.0,
            macs_per_cycle: 0.0,
            limit_share: None,
            ratio: None,
            others: others
                .iter()
                .map(|&least| Other { algorithm: "other".to_owned(), estimate: 1.0, least })
                .collect(),
            regret: None,
        });
        row.onnxruntime =
            rival.map(|least| Turn { timing: timing(least), form: "planes".to_owned(), call: 0.0 });
        row.direct = Some(Direct { seconds: 10.0, share: 0.5 });
        row.finish(10.0, &[Some(20.0)], !others.is_empty());
        row
    }

    #[test]
    fn rows_by_hand() {
        let row = row(1, 4.0, Some(2.0), &[5.0, 3.2]);
        let ours = &row.ours[0];
        assert_eq!((ours.macs_per_cycle, ours.limit_share, ours.ratio), (25.0, Some(1.25), Some(2.0)));
        assert!((ours.regret.unwrap() - 0.25).abs() < 1e-12);
        assert_eq!(super::tests::row(1, 4.0, None, &[]).ours[0].regret, None);
        assert_eq!(timing(8.0).per(4), Timing { least: 2.0, median: 4.0, runs: 3 });
    }

    #[test]
    fn sums_count_multiplicities() {
        let rows = [row(2, 4.0, Some(2.0), &[2.0]), row(1, 1.0, Some(5.0), &[9.0])];
        let mut sum = Sum::of(&rows, 10.0).unwrap();
        assert_eq!((sum.macs, sum.onnxruntime, sum.direct, sum.tract), (3000, Some(9.0), Some(30.0), None));
        let ours = &sum.ours[0];
        assert_eq!((ours.seconds, ours.ratio, ours.prepare_seconds), (9.0, Some(1.0), 3.0));
        assert!((ours.macs_per_cycle - 3000.0 / 90.0).abs() < 1e-12);
        // 2·4 + 1 instead of 2·2 + 1.
        let [worst, total] = ours.regret.unwrap();
        assert!((worst - 1.0).abs() < 1e-12 && (total - 0.8).abs() < 1e-12);
        sum.add_whole(vec![timing(3.0)], Some(Whole { timing: timing(4.0), linear_share: 0.5 }));
        assert_eq!(sum.ours[0].whole_ratio, Some(1.5));
    }

    #[test]
    fn a_missing_rival_has_no_sum() {
        let rows = [row(1, 1.0, Some(1.0), &[]), row(1, 1.0, None, &[])];
        let sum = Sum::of(&rows, 1.0).unwrap();
        assert_eq!((sum.onnxruntime, sum.ours[0].ratio, sum.ours[0].regret), (None, None, None));
        assert!(Sum::of(&[], 1.0).is_none());
    }
}
