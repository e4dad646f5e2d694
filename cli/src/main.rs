//! The hushnet command line: parse, run, and turn what went wrong into a sentence and an exit code.
//!
//! Results go to standard output, everything else to standard error. One module per command lies in [`command`]; what
//! they share is beside it: [`session`] (a client's walk), [`images`] (files of images and labels), [`output`] (JSON
//! documents and tables), [`terms`] (what was agreed), [`terminal`] (pictures, sizes, times), [`progress`], [`error`]
//! (exit codes).

#![forbid(unsafe_code)]

mod args;
mod command;
mod error;
mod images;
mod output;
mod progress;
mod session;
mod terminal;
mod terms;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::args::{Arguments, Command};
use crate::output::Console;

/// Variable with the log filter.
const LOG_VARIABLE: &str = "HUSHNET_LOG";

fn main() -> ExitCode {
    let Arguments { global, command } = Arguments::parse();
    let console = Console::new(global.quiet, global.verbose);
    log_to_stderr(&console, matches!(command, Command::Serve(_)));
    match command::run(command, &console) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.is_silent() {
                let hint = failure.hint().map(|hint| format!("\n  hint: {hint}")).unwrap_or_default();
                // If standard error is closed too, the exit code is all that is left to say.
                let _ = writeln!(std::io::stderr(), "{} {failure}{hint}", console.error_word());
            }
            ExitCode::from(failure.code())
        }
    }
}

/// A server tells how sessions end without being asked; other commands log only what the variable or `-v` says.
fn log_to_stderr(console: &Console, is_server: bool) {
    let default = match (console.quiet, console.verbose, is_server) {
        (true, ..) => "off",
        (_, 0, false) => "warn",
        (_, 0 | 1, _) => "info",
        (_, 2, _) => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::builder()
        .with_default_directive(tracing_subscriber::filter::LevelFilter::OFF.into())
        .parse_lossy(std::env::var(LOG_VARIABLE).unwrap_or_else(|_| default.to_owned()));
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(console.stderr && console.colour)
        .with_target(console.verbose > 1)
        .with_env_filter(filter)
        .log_internal_errors(false)
        .init();
}
