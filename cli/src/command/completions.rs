//! `hushnet completions`: a completion script, made from the definition of the command line itself.

use clap::CommandFactory;

use crate::args::{Arguments, Completions};
use crate::error::Failure;
use crate::output::print;

/// Prints the script.
///
/// # Errors
/// [`Failure::Output`].
pub(super) fn run(arguments: &Completions) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "hushnet", &mut script);
    print(&String::from_utf8_lossy(&script))
}
