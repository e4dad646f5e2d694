//! The two halves of one batch over a channel: used by the two processes of the bench and by `cargo xtask exact`.
//!
//! A barrier (one empty frame each way) stands between the preprocessing and the online stage: each party's time online
//! starts when both are ready, so that neither stage pays for the other.

use std::time::{Duration, Instant};

use anyhow::Result;
use he_core::Seed;
use protocol::channel::{Channel, Kind, Traffic};
use protocol::handshake::Terms;
use protocol::steps::{ClientSteps, ServerSteps, prepare, run};
use protocol::transfers::Transfers;
use protocol::{BaseKind, OutputMode, Preprocessing, TransferKind};
use serde::{Deserialize, Serialize};
use ss_core::ring::Z2k;

use super::workload::{Batch, ClientShares, Work, add, subtract};

/// How long a party waits for a message: batches are large, machines busy.
const PATIENCE: Duration = Duration::from_secs(300);

/// One party's cost of one stage.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct StageCost {
    pub(crate) seconds: f64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) rounds: u64,
}

impl StageCost {
    /// The mean of some repetitions, traffic rounded to the next whole number.
    pub(crate) fn mean(costs: &[Self]) -> Self {
        let count = costs.len().max(1) as u64;
        let mean = |part: fn(&Self) -> u64| (costs.iter().map(part).sum::<u64>() + count / 2) / count;
        Self {
            seconds: costs.iter().map(|cost| cost.seconds).sum::<f64>() / count as f64,
            sent: mean(|cost| cost.sent),
            received: mean(|cost| cost.received),
            rounds: mean(|cost| cost.rounds),
        }
    }

    /// What `act` costs on `channel`.
    fn of<T>(channel: &mut Channel, act: impl FnOnce(&mut Channel) -> Result<T>) -> Result<(T, Self)> {
        let (start, before) = (Instant::now(), channel.traffic());
        let result = act(channel)?;
        let Traffic { sent, received, rounds } = channel.traffic() - before;
        Ok((result, Self { seconds: start.elapsed().as_secs_f64(), sent, received, rounds }))
    }
}

/// Which extension makes the transfers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Extension {
    /// SoftSpoken with field bits 2
    Softspoken2,
    /// SoftSpoken with field bits 4
    Softspoken4,
    /// SoftSpoken with field bits 8
    Softspoken8,
    /// Silent: few bytes
    Silent,
}

impl Extension {
    /// The kind of transfers as the protocol names it.
    pub(crate) fn kind(self) -> TransferKind {
        match self {
            Self::Softspoken2 => TransferKind::SoftSpoken { field_bits: 2 },
            Self::Softspoken4 => TransferKind::SoftSpoken { field_bits: 4 },
            Self::Softspoken8 => TransferKind::SoftSpoken { field_bits: 8 },
            Self::Silent => TransferKind::Silent,
        }
    }

    /// What both parties agree on for it.
    fn terms(self) -> Terms {
        Terms {
            mode: OutputMode::Label,
            transfers: self.kind(),
            base: BaseKind::Ristretto,
            preprocessing: Preprocessing::Split,
        }
    }

    /// The name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Softspoken2 => "softspoken2",
            Self::Softspoken4 => "softspoken4",
            Self::Softspoken8 => "softspoken8",
            Self::Silent => "silent",
        }
    }
}

/// A party with its connection.
pub(crate) struct Party {
    pub(crate) channel: Channel,
    transfers: Transfers,
    seed: Seed,
    batches: u64,
    is_client: bool,
    /// What the base transfers cost.
    pub(crate) setup: StageCost,
}

impl Party {
    /// Runs the base transfers on a fresh channel.
    pub(crate) fn set_up(mut channel: Channel, extension: Extension, is_client: bool) -> Result<Self> {
        channel.set_patience(PATIENCE);
        let seed = Seed::from_os()?;
        let (transfers, setup) = StageCost::of(&mut channel, |channel| {
            // A connection of its own per measurement: any identifier does.
            Ok(Transfers::set_up(channel, &[1; 32], &extension.terms(), &seed, is_client)?)
        })?;
        Ok(Self { channel, transfers, seed, batches: 0, is_client, setup })
    }

    /// Waits until both parties are here.
    pub(crate) fn meet(&mut self) -> Result<()> {
        if self.is_client {
            self.channel.receive(Kind::Agreed, 0, 0)?;
        }
        self.channel.send(Kind::Agreed, 0, &[])?;
        self.channel.flush()?;
        if !self.is_client {
            self.channel.receive(Kind::Agreed, 0, 0)?;
        }
        Ok(())
    }

    /// Client: the material of a batch.
    pub(crate) fn prepare_client(
        &mut self,
        batch: &Batch<'_>,
        shares: &ClientShares,
    ) -> Result<(Vec<ClientSteps>, StageCost)> {
        self.batches += 1;
        let seed = self.seed.fork("batch", &[self.batches]);
        let Self { channel, transfers, .. } = self;
        StageCost::of(channel, |channel| {
            Ok(prepare::client(channel, transfers, &batch.steps, &shares.operands, &seed, &mut |_, _, _| {})?)
        })
    }

    /// Server: the material of a batch.
    pub(crate) fn prepare_server(&mut self, batch: &Batch<'_>) -> Result<(Vec<ServerSteps>, StageCost)> {
        let Self { channel, transfers, .. } = self;
        StageCost::of(channel, |channel| {
            Ok(prepare::server(channel, transfers, &batch.steps, &mut |_, _, _| {})?)
        })
    }

    /// Client: answers through all steps.
    pub(crate) fn run_client(&mut self, halves: Vec<ClientSteps>) -> Result<StageCost> {
        let ((), cost) = StageCost::of(&mut self.channel, |channel| {
            for (at, half) in halves.into_iter().enumerate() {
                run::client(channel, at, half)?;
            }
            Ok(channel.flush()?)
        })?;
        Ok(cost)
    }

    /// Server: its shares m through all steps; gives its results per lane and the cost of each step.
    pub(crate) fn run_server(
        &mut self,
        batch: &Batch<'_>,
        halves: Vec<ServerSteps>,
        shares: &[u64],
    ) -> Result<(Vec<Vec<u64>>, StageCost, Vec<StageCost>)> {
        let mut steps = Vec::with_capacity(halves.len());
        let (results, cost) = StageCost::of(&mut self.channel, |channel| {
            let halves = halves.into_iter().enumerate();
            let mut timed = |channel: &mut Channel, at, half, compare: &[u64], lanes: &[Vec<u64>]| {
                let (results, cost) =
                    StageCost::of(channel, |channel| Ok(run::server(channel, at, half, compare, lanes)?))?;
                steps.push(cost);
                anyhow::Ok(results)
            };
            match (&batch.workload.work, &batch.tournament) {
                (Work::Maxima(maxima), Some(tournament)) => {
                    let cells = maxima.cells as u64;
                    let mut lanes =
                        vec![shares.to_vec(), (0..shares.len() as u64).map(|i| i % cells).collect()];
                    lanes.truncate(maxima.rings.len());
                    for ((at, half), level) in halves.zip(tournament.levels()) {
                        let met: Vec<(Vec<u64>, Vec<u64>)> =
                            lanes.iter().map(|values| (level.first(values), level.second(values))).collect();
                        let pairs = maxima.rings.iter().zip(&met);
                        let differences: Vec<Vec<u64>> =
                            pairs.map(|(&ring, (a, b))| subtract(ring, a, b)).collect();
                        let gated = timed(channel, at, half, &differences[0], &differences)?;
                        let rings: &[Z2k] = &maxima.rings;
                        for (((values, gated), (_, second)), &ring) in
                            lanes.iter_mut().zip(&gated).zip(&met).zip(rings)
                        {
                            *values = level.advance_in(ring, values, &add(ring, gated, second));
                        }
                    }
                    Ok(lanes.iter().map(|values| tournament.winners(values)).collect())
                }
                (Work::Values(plan, _), _) => {
                    let mut results = Vec::new();
                    for (at, half) in halves {
                        let (compare, lanes) = plan.server_operands(at, shares, &results);
                        results.push(timed(channel, at, half, &compare, &lanes)?);
                    }
                    Ok(plan.server_outputs(results))
                }
                _ => Ok(Vec::new()),
            }
        })?;
        Ok((results, cost, steps))
    }
}
