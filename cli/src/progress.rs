//! Progress on standard error: a bar where something may take over a second.
//!
//! Bars are drawn only if standard error is a terminal, and never with `--quiet` or `--json`; they are wiped when done,
//! so that what remains on the screen is results.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::Console;

/// A bar, or nothing.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar of `steps` steps; `json`: the command prints a document and draws nothing.
    pub(crate) fn new(console: &Console, json: bool, steps: usize) -> Self {
        let hidden = console.quiet || json || !console.stderr;
        let target = if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(steps as u64), target);
        // The template is a constant; without it the default one is drawn.
        if let Ok(style) = ProgressStyle::with_template("{msg:24} {bar:30} {percent:>3} %  {elapsed}") {
            bar.set_style(style.progress_chars("━╸ "));
        }
        if !hidden {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self { bar }
    }

    /// Says what is being done.
    pub(crate) fn doing(&self, what: impl Into<String>) {
        self.bar.set_message(what.into());
    }

    /// How far it is.
    pub(crate) fn at(&self, step: usize) {
        self.bar.set_position(step as u64);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
