//! `cargo xtask bench conv`: every distinct linear layer of six networks, ours beside float engines and beside our own
//! direct convolution.
//!
//! | column | what | where |
//! |---|---|---|
//! | ours | [`PreparedConv`](conv_fast::PreparedConv) with the planner's choice, modulo the profile's q, weights at its limit; words of 32 bits where q allows | [`ours`] |
//! | ORT | ONNX Runtime in f32, as many threads | [`onnxruntime`] |
//! | tract | `tract` in f32, one thread; only with `--features tract` | [`tract`] |
//! | direct | [`conv_fast::direct()`], a part of it | [`ours`] |
//! | limit | what the multipliers of the processor could do | [`limits`] |
//!
//! All of them run in turn, several times ([`contest`]). Two sums are made per network. The *sum of lone layers*, by their
//! multiplicities: hot caches, and for the rival a conversion of layouts at each end of a layer. And *the whole in one go*:
//! the rival runs the network without activations, in its own layout and with its weights coming from memory, of which its
//! convolutions and fully connected layers count; ours runs all layers one after the other, each with weights of its own.
//!
//! Preparing is not part of the times; it is reported apart. With `--algorithms` the planner's choice has to stand beside
//! the other algorithms that could be the best: the *regret* is what a better choice would have saved.

mod catalogue;
mod contest;
mod figures;
mod limits;
mod onnxruntime;
mod ours;
mod race;
mod table;
mod tract;

use anyhow::{Result, bail};
use he_core::Profile;
use rayon::ThreadPoolBuilder;

use super::{Effort, machine};
use catalogue::{NAMES, Network};
use figures::Document;
use race::Bench;

/// What to measure.
#[derive(clap::Args, Clone)]
pub(crate) struct Args {
    /// Networks: resnet20, vgg16 (its form for CIFAR), squeezenet1_1, resnet18, resnet50, mobilenetv2; all if none is named
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    network: Vec<String>,
    /// Only layers whose name contains this; no sums then
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Images at a time (default: 1,8)
    #[arg(long, value_delimiter = ',')]
    batch: Vec<usize>,
    /// Threads, of the rival too (default: 1,2)
    #[arg(long, value_delimiter = ',')]
    threads: Vec<usize>,
    /// Profiles: tiny, narrow, wide, exact
    #[arg(long, value_delimiter = ',', default_values_t = [Profile::Narrow, Profile::Wide])]
    profile: Vec<Profile>,
    /// Every algorithm that could be the best, to judge the planner's choice
    #[arg(long)]
    algorithms: bool,
    /// Without ONNX Runtime and tract
    #[arg(long)]
    alone: bool,
    /// Print one JSON document instead of tables
    #[arg(long)]
    json: bool,
    /// How long to measure: `full`, or `smoke` to see that everything runs (one small network, once)
    #[arg(long, value_enum, default_value_t = Effort::Full)]
    effort: Effort,
}

/// Measures and prints; false if nothing is called that.
pub(super) fn run(args: &Args) -> Result<bool> {
    let mut bench = Bench::new(args)?;
    let names = chosen(&args.network, bench.smoke)?;
    let or = |given: &[usize], full: &[usize]| match given {
        [] if bench.smoke => vec![1],
        [] => full.to_vec(),
        given => given.to_vec(),
    };
    let (batches, threads) = (or(&args.batch, &[1, 8]), or(&args.threads, &[1, 2]));
    let rivals = bench.rivals();
    let (mut rows, mut networks) = (Vec::new(), Vec::new());
    for name in names {
        let network = Network::new(name, &mut bench.seed.fork("network", &[]).stream())?;
        for &batch in &batches {
            let layers = bench.prepare(&network, batch)?;
            for &threads in &threads {
                let pool = ThreadPoolBuilder::new().num_threads(threads).build()?;
                let measured = bench.layers(&network, &layers, batch, &pool)?;
                if args.only.is_none() {
                    networks.extend(bench.network(&network, &layers, &measured, batch, &pool)?);
                }
                rows.extend(measured);
            }
        }
    }
    bench.progress.finish_and_clear();
    let found = !rows.is_empty();
    let document = Document {
        schema: "hushnet-bench-conv/2",
        machine: machine::Machine::read(),
        commit: machine::commit(),
        clock: bench.clock,
        rivals,
        rows,
        networks,
    };
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&document)?),
        false => table::print(&document),
    }
    if !found {
        eprintln!("nothing is called that: see the names without --only");
    }
    Ok(found)
}

/// The catalogue's names for those on the command line; in a smoke run the smallest network stands for all.
fn chosen(names: &[String], smoke: bool) -> Result<Vec<&'static str>> {
    let find = |name: &String| match NAMES.iter().find(|known| *known == name) {
        Some(&known) => Ok(known),
        None => bail!("there is no network `{name}` here: there are {}", NAMES.join(", ")),
    };
    match names {
        [] if smoke => Ok(NAMES[..1].to_vec()),
        [] => Ok(NAMES.to_vec()),
        names => names.iter().map(find).collect(),
    }
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
    fn names_and_lists() {
        let args = Line::parse_from(["bench", "--network", "vgg16,resnet18", "--threads", "1,2"]).args;
        assert_eq!(chosen(&args.network, true).unwrap(), ["vgg16", "resnet18"]);
        assert_eq!((args.threads, args.batch), (vec![1, 2], vec![]));
        assert_eq!(args.profile, [Profile::Narrow, Profile::Wide]);
        assert_eq!(chosen(&[], true).unwrap(), ["resnet20"]);
        assert_eq!(chosen(&[], false).unwrap(), NAMES);
        assert!(chosen(&["vgg19".to_owned()], false).is_err());
    }
}
