//! The commands: each takes its arguments, prints its results, and fails with one sentence.

mod completions;
mod demo;
mod describe;
mod infer;
mod inspect;
mod merge;
mod prepare;
mod security;
mod serve;
mod steps;

use std::path::Path;

use nn_merge::model::{MAX_MODEL_BYTES, Model};

use crate::args::Command;
use crate::error::Failure;
use crate::output::Console;

/// Runs a command.
///
/// # Errors
/// Why it failed.
pub(crate) fn run(command: Command, console: &Console) -> Result<(), Failure> {
    match command {
        Command::Demo(arguments) => demo::run(&arguments, console),
        Command::Merge(arguments) => merge::run(&arguments, console),
        Command::Inspect(arguments) => inspect::run(&arguments, console),
        Command::Serve(arguments) => serve::run(&arguments, console),
        Command::Prepare(arguments) => prepare::run(&arguments, console),
        Command::Infer(arguments) => infer::run(&arguments, console),
        Command::Completions(arguments) => completions::run(&arguments),
    }
}

/// A whole file, if it is not larger than `cap` bytes.
fn read_file(path: &Path, cap: usize) -> Result<Vec<u8>, Failure> {
    let failed = |source| Failure::File { path: path.to_owned(), doing: "reading", source };
    let length = std::fs::metadata(path).map_err(failed)?.len();
    if length > cap as u64 {
        let sentence = format!("{length} bytes, more than the {cap} that are read");
        return Err(failed(std::io::Error::new(std::io::ErrorKind::FileTooLarge, sentence)));
    }
    std::fs::read(path).map_err(failed)
}

/// A model file.
fn read_model(path: &Path) -> Result<Model, Failure> {
    let bytes = read_file(path, MAX_MODEL_BYTES)?;
    Model::from_bytes(&bytes).map_err(|source| Failure::Model { path: path.to_owned(), source })
}
