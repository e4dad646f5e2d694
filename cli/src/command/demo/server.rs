//! The demonstration's server: this program once more, as a process of its own.
//!
//! It ends with us on every path: [`ServerProcess`] kills it on drop, and if we are killed ourselves, its standard
//! input closes, which it was told to take as a sign to stop.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use protocol::channel::Link;

use crate::error::Failure;

/// How long the server may take to listen.
const PATIENCE: Duration = Duration::from_secs(60);

/// What it says when it does.
const READY: &str = "listening on ";

/// A running server.
#[derive(Debug)]
pub(super) struct ServerProcess {
    child: Child,
    address: String,
}

impl ServerProcess {
    /// Starts this program as a server of `model` that gives labels and logits, on a free port of this machine, over a
    /// modelled link if there is one.
    ///
    /// # Errors
    /// [`Failure::System`] with the server's own words when it does not come to listen.
    pub(super) fn start(model: &Path, link: Option<Link>) -> Result<Self, Failure> {
        let failed = |reason: String| Failure::System { doing: "starting the server's process", reason };
        let program = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
        let link = link.map(|link| ["--link".to_owned(), link.to_string()]);
        let mut child = Command::new(program)
            .args(["--quiet", "serve"])
            .arg(model)
            .args(["--listen", "127.0.0.1:0", "--output", "logits", "--until-stdin-closes"])
            .args(link.iter().flatten())
            // A log would fill the pipe that nobody empties.
            .env_remove("HUSHNET_LOG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        let stdout = child.stdout.take();
        // From here on, whatever happens ends the child.
        let mut server = Self { child, address: String::new() };
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            if let Some(stdout) = stdout {
                // An error is a line that is not the one we wait for.
                let _ = BufReader::new(stdout).take(1024).read_line(&mut line);
            }
            let _ = sender.send(line);
        });
        let line = receiver.recv_timeout(PATIENCE).unwrap_or_default();
        match line.trim_end().strip_prefix(READY) {
            Some(address) => server.address = address.to_owned(),
            None => return Err(failed(server.last_words())),
        }
        Ok(server)
    }

    /// Where it listens.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Its process.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Why it did not come up: what it wrote to standard error.
    fn last_words(&mut self) -> String {
        self.end();
        let mut words = String::new();
        if let Some(stderr) = &mut self.child.stderr {
            let _ = stderr.take(4096).read_to_string(&mut words);
        }
        let words = words.trim();
        if words.is_empty() { "it did not come to listen".to_owned() } else { words.to_owned() }
    }

    /// Ends it. Errors mean that it has ended already.
    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.end();
    }
}
