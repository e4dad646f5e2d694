//! Developer tasks: `cargo xtask ci`, `cargo xtask tidy`, `cargo xtask bench`, `cargo xtask exact`,
//! `cargo xtask accuracy`, `cargo xtask deep`.
//!
//! An ordinary program instead of scripts (the pattern of matklad/cargo-xtask), so that a checkout needs nothing but a
//! Rust toolchain and the checks run the same on every machine. It works on the workspace that it was built from.
//!
//! Exit codes: 0 all is well, 1 a check failed or could not run, 2 wrong usage.

mod accuracy;
mod bench;
mod ci;
mod deep;
mod exact;
mod networks;
mod tidy;

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tasks for people who work on hushnet.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run every check, in order, stopping at the first that fails.
    Ci(ci::Args),
    /// Run networks on labelled images under the protocol and compare with float arithmetic.
    Accuracy(accuracy::Args),
    /// Measure what things cost.
    Bench(bench::Args),
    /// Checks by tools beyond the toolchain: constant time, miri, fuzzing, another processor.
    Deep(deep::Args),
    /// Hold activations to their plaintext oracle on many inputs.
    Exact(exact::Args),
    /// Check the rules of the repository that the compiler does not know.
    Tidy,
}

/// The cargo that runs this program, or the one on the path.
fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Ci(args) => ci::run(root(), &args),
        Task::Accuracy(args) => accuracy::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::Deep(args) => deep::run(root(), &args),
        Task::Exact(args) => exact::run(&args),
        Task::Tidy => tidy::run(root()),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's root: the folder above this crate.
fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}
