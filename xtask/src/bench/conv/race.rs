//! The race itself: layers prepared for every profile, then all contestants of a layer or of a whole network in turn.

use anyhow::{Result, bail};
use conv_fast::{ConvGeometry, Kernel};
use he_core::Seed;
use indicatif::{ProgressBar, ProgressStyle};
use rayon::ThreadPool;

use super::catalogue::{Layer, Network};
use super::contest::{self, Contestant, Rules, Timing, hold};
use super::figures::{Direct, Other, Ours, Rivals, Row, Sum, Whole};
use super::onnxruntime::{OnnxRuntime, Turn};
use super::ours::{Arithmetic, Elements, Prepared};
use super::{Args, limits, tract};
use crate::bench::Effort;

/// What stays the same during a run.
pub(super) struct Bench<'a> {
    args: &'a Args,
    pub(super) smoke: bool,
    arithmetics: Vec<Arithmetic>,
    limits: Vec<Option<f64>>,
    rival: Option<OnnxRuntime>,
    pub(super) clock: f64,
    pub(super) seed: Seed,
    pub(super) progress: ProgressBar,
}

/// A layer prepared for each profile, as often as the network has it (once if no sums are wanted).
pub(super) struct Ready<'a> {
    layer: &'a Layer,
    /// By instance and profile.
    instances: Vec<Vec<Prepared>>,
}

impl<'a> Bench<'a> {
    pub(super) fn new(args: &'a Args) -> Result<Self> {
        if [&args.batch, &args.threads].iter().any(|list| list.contains(&0)) {
            bail!("batches and threads are counted from one");
        }
        let arithmetics: Vec<Arithmetic> =
            args.profile.iter().map(|&profile| Arithmetic::new(profile)).collect();
        let limits = arithmetics.iter().map(|a| limits::per_cycle(Kernel::best(), &a.bits())).collect();
        let bar = if args.json { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
        let style =
            ProgressStyle::with_template("{msg:60!} {elapsed}").unwrap_or(ProgressStyle::default_bar());
        Ok(Self {
            args,
            smoke: args.effort == Effort::Smoke,
            arithmetics,
            limits,
            rival: None,
            clock: limits::clock(),
            seed: Seed::from_os()?,
            progress: bar.with_style(style),
        })
    }

    /// Starts the rivals and says who is there, loudly if one is not.
    pub(super) fn rivals(&mut self) -> Rivals {
        if self.args.alone {
            return Rivals { onnxruntime: "left out (--alone)".to_owned(), tract: "left out (--alone)" };
        }
        let onnxruntime = match OnnxRuntime::start() {
            Ok(runtime) => {
                let version = runtime.version.clone();
                self.rival = Some(runtime);
                version
            }
            Err(error) => {
                eprintln!(
                    "NO ONNX Runtime: its columns stay empty and there are no ratios ({error:#}). To have it:\n\n    \
                     python3 -m venv venv && venv/bin/pip install onnxruntime onnx numpy && export \
                     HUSHNET_PYTHON=$PWD/venv/bin/python\n"
                );
                format!("MISSING: {error:#}")
            }
        };
        let tract = if tract::BUILT { "built in" } else { "not built in (cargo feature `tract` of xtask)" };
        Rivals { onnxruntime, tract }
    }

    fn wants(&self, layer: &Layer) -> bool {
        self.args.only.as_ref().is_none_or(|only| layer.name.contains(only.as_str()))
    }

    pub(super) fn prepare<'n>(&self, network: &'n Network, batch: usize) -> Result<Vec<Ready<'n>>> {
        let mut ready = Vec::new();
        for layer in network.layers.iter().filter(|layer| self.wants(layer)) {
            self.progress.set_message(format!("{}: preparing {}", network.name, layer.name));
            self.progress.tick();
            let count = if self.args.only.is_some() { 1 } else { layer.count };
            let mut rng = self.seed.fork("weights", &[ready.len() as u64]).stream();
            let mut one = |arithmetic: &Arithmetic| {
                arithmetic.prepare_chosen(
                    &layer.geometry,
                    &arithmetic.weights(&layer.geometry, &mut rng),
                    batch,
                )
            };
            let instances = (0..count)
                .map(|_| self.arithmetics.iter().map(&mut one).collect::<Result<_>>())
                .collect::<Result<_>>()?;
            ready.push(Ready { layer, instances });
        }
        Ok(ready)
    }

    /// Every layer by itself.
    pub(super) fn layers(
        &mut self,
        network: &Network,
        layers: &[Ready<'_>],
        batch: usize,
        pool: &ThreadPool,
    ) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for ready in layers {
            self.progress.set_message(format!(
                "{}, batch {batch}, threads {}: {}",
                network.name,
                pool.current_num_threads(),
                ready.layer.name
            ));
            self.progress.tick();
            rows.push(self.layer(network.name, ready, batch, pool)?);
        }
        Ok(rows)
    }

    fn layer(
        &mut self,
        network: &'static str,
        ready: &Ready<'_>,
        batch: usize,
        pool: &ThreadPool,
    ) -> Result<Row> {
        let (geometry, threads) = (&ready.layer.geometry, pool.current_num_threads());
        let rules = if self.smoke { Rules::SMOKE } else { Rules::LAYER };
        let chosen = &ready.instances[0];
        let inputs: Vec<Vec<Elements>> =
            self.arithmetics.iter().map(|a| a.inputs(batch * geometry.input_len(), &self.seed)).collect();
        let room = |arithmetic: &Arithmetic| arithmetic.outputs(batch * geometry.output_len());
        // By profile: the other algorithms, prepared, with the planner's estimates.
        let others: Vec<Vec<(Prepared, f64)>> = match self.args.algorithms {
            true => {
                self.arithmetics.iter().zip(chosen).map(|(a, p)| self.others(a, geometry, p, batch)).collect()
            }
            false => self.arithmetics.iter().map(|_| Vec::new()).collect(),
        };
        let mut row = Row::new(network, (&ready.layer.name, geometry, ready.layer.count), batch, threads);

        let mut turns: Vec<Turn> = Vec::new();
        let keep = &mut turns;
        let mut contestants: Vec<Contestant<'_>> = Vec::new();
        for (((arithmetic, prepared), inputs), others) in
            self.arithmetics.iter().zip(chosen).zip(&inputs).zip(&others)
        {
            for prepared in std::iter::once(prepared).chain(others.iter().map(|(other, _)| other)) {
                let mut outputs = room(arithmetic);
                contestants.push(contest::own(pool, move || prepared.run(inputs, &mut outputs, batch)));
            }
        }
        let own = contestants.len();
        let ticket = match &mut self.rival {
            Some(rival) => Some(rival.layer(geometry.shape(), batch, threads)?),
            None => None,
        };
        if let Some((rival, ticket)) = self.rival.as_mut().zip(ticket) {
            contestants.push(Box::new(move |rules| {
                let turn = rival.time(ticket, rules, threads)?;
                let timing = turn.timing;
                keep.push(turn);
                Ok(timing)
            }));
        }
        let rival_at = contestants.len() - 1;
        if tract::BUILT && !self.args.alone {
            contestants.push(tract::contestant(geometry, batch)?);
        }
        let timings = hold(&rules, &mut contestants)?;
        drop(contestants);
        if let Some((rival, ticket)) = self.rival.as_mut().zip(ticket) {
            rival.forget(ticket)?;
            let best = turns.into_iter().min_by(|a, b| a.timing.least.total_cmp(&b.timing.least));
            row.onnxruntime = best.map(|turn| Turn { timing: timings[rival_at].per(batch), ..turn });
        }
        if tract::BUILT && !self.args.alone {
            row.tract = timings.last().map(|timing| timing.per(batch));
        }
        let mut own_timings = timings[..own].iter().map(|timing| timing.per(batch));
        for ((arithmetic, prepared), others) in self.arithmetics.iter().zip(chosen).zip(&others) {
            let timing = own_timings.next().unwrap_or_default();
            row.ours.push(Ours {
                profile: arithmetic.profile.to_string(),
                word_bits: arithmetic.word_bits(),
                algorithm: prepared.algorithm.to_string(),
                timing,
                prepare_seconds: prepared.seconds,
                macs_per_cycle: 0.0,
                limit_share: None,
                ratio: None,
                others: (others.iter().zip(&mut own_timings))
                    .map(|((other, estimate), timing)| Other {
                        algorithm: other.algorithm.to_string(),
                        estimate: *estimate,
                        least: timing.least,
                    })
                    .collect(),
                regret: None,
            });
        }
        if let Some(arithmetic) = self.arithmetics.first() {
            let (seconds, share) = arithmetic.direct(geometry, &rules, &self.seed)?;
            row.direct = Some(Direct { seconds, share });
        }
        row.finish(self.clock, &self.limits, self.args.algorithms);
        Ok(row)
    }

    /// The other candidates that can be prepared (the planner's list is of geometries, weights may forbid one).
    fn others(
        &self,
        arithmetic: &Arithmetic,
        geometry: &ConvGeometry,
        chosen: &Prepared,
        batch: usize,
    ) -> Vec<(Prepared, f64)> {
        let weights = arithmetic.weights(geometry, &mut self.seed.fork("others", &[]).stream());
        let prepare = |(algorithm, estimate)| {
            arithmetic.prepare(geometry, &weights, algorithm).ok().map(|other| (other, estimate))
        };
        arithmetic.others(geometry, chosen.algorithm, batch).into_iter().filter_map(prepare).collect()
    }

    /// The sums of a network, and the network in one go.
    pub(super) fn network(
        &mut self,
        network: &Network,
        layers: &[Ready<'_>],
        rows: &[Row],
        batch: usize,
        pool: &ThreadPool,
    ) -> Result<Option<Sum>> {
        let Some(mut sum) = Sum::of(rows, self.clock) else { return Ok(None) };
        let threads = pool.current_num_threads();
        self.progress.set_message(format!("{}, batch {batch}, threads {threads}: the whole", network.name));
        let rules = if self.smoke { Rules::SMOKE } else { Rules::NETWORK };
        let longest = network.layers.iter().map(|layer| layer.geometry.input_len()).max().unwrap_or(0);
        let widest = network.layers.iter().map(|layer| layer.geometry.output_len()).max().unwrap_or(0);
        let inputs: Vec<Vec<Elements>> =
            self.arithmetics.iter().map(|a| a.inputs(batch * longest, &self.seed)).collect();
        let mut contestants: Vec<Contestant<'_>> = Vec::new();
        for (profile, inputs) in inputs.iter().enumerate() {
            let order = in_order(network, layers, profile);
            let mut outputs = self.arithmetics[profile].outputs(batch * widest);
            contestants.push(contest::own(pool, move || {
                order.iter().for_each(|prepared| prepared.run(inputs, &mut outputs, batch));
            }));
        }
        let ticket = match &mut self.rival {
            Some(rival) => Some(rival.network(&network.nodes, batch, threads)?),
            None => None,
        };
        if let Some((rival, ticket)) = self.rival.as_mut().zip(ticket) {
            contestants.push(Box::new(move |rules| Ok(rival.time(ticket, rules, threads)?.timing)));
        }
        let timings: Vec<Timing> =
            hold(&rules, &mut contestants)?.into_iter().map(|timing| timing.per(batch)).collect();
        drop(contestants);
        let (ours, rest) = timings.split_at(self.arithmetics.len());
        let mut whole = None;
        if let (Some(rival), Some(ticket), Some(&timing)) = (self.rival.as_mut(), ticket, rest.first()) {
            let runs = if self.smoke { 1 } else { 20 };
            whole = Some(Whole { timing, linear_share: rival.linear_share(ticket, runs)? });
            rival.forget(ticket)?;
        }
        sum.add_whole(ours.to_vec(), whole);
        Ok(Some(sum))
    }
}

/// All layers of a network as they follow each other, for one profile.
fn in_order<'r>(network: &Network, layers: &'r [Ready<'_>], profile: usize) -> Vec<&'r Prepared> {
    let mut used = vec![0; layers.len()];
    let next = |&at: &usize| {
        used[at] += 1;
        &layers[at].instances[used[at] - 1][profile]
    };
    network.sequence.iter().map(next).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn every_instance_of_a_layer_runs_once() {
        let args = Line::parse_from(["bench", "--alone", "--effort", "smoke", "--profile", "narrow"]).args;
        let bench = Bench::new(&args).unwrap();
        let network = Network::new("resnet20", &mut bench.seed.stream()).unwrap();
        let layers = bench.prepare(&network, 1).unwrap();
        let order = in_order(&network, &layers, 0);
        let mut addresses: Vec<*const Prepared> =
            order.iter().map(|&prepared| std::ptr::from_ref(prepared)).collect();
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), 20);
    }
}
