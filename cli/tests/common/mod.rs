//! What the tests share: the program as a process, a server that ends with its test, a model merged once.

#![allow(dead_code, reason = "each test program uses its own part")]

use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// The embedded network's file.
pub(crate) fn network() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/mnist_cnn.onnx"))
}

/// The file of the trained network of squares.
pub(crate) fn square_network() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../training/networks/mnist_poly.onnx"))
}

/// The folder of drawn digits.
pub(crate) fn digits() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/digits"))
}

/// Their labels, in the order of their names.
pub(crate) fn digit_labels() -> Vec<usize> {
    let mut names: Vec<String> =
        std::fs::read_dir(digits()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names.iter().map(|name| name["digit_".len()..][..1].parse().unwrap()).collect()
}

/// What a run of the program left behind.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The standard output of a run that must succeed.
    #[track_caller]
    pub(crate) fn success(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// The one JSON document of a run that must succeed.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        let text = self.success();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
    }

    /// A failure with this code, nothing on standard output, and one clear error that holds all these words.
    #[track_caller]
    pub(crate) fn failure(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        assert_eq!(self.stderr.matches("error:").count(), 1, "{self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "`{word}` is not in {self:?}");
        }
    }
}

/// The program with arguments, not yet started.
pub(crate) fn command<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hushnet"));
    command.args(arguments).env_remove("HUSHNET_LOG").stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub(crate) fn hushnet<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Run {
    Run::of(command(arguments).output().unwrap())
}

/// A network merged, once per test program.
type Merged = OnceLock<(TempDir, PathBuf)>;

/// The embedded network, merged once per test program.
pub(crate) fn model() -> &'static Path {
    static MODEL: Merged = OnceLock::new();
    merged(&MODEL, network())
}

/// The trained network of squares, likewise.
pub(crate) fn squares() -> &'static Path {
    static MODEL: Merged = OnceLock::new();
    merged(&MODEL, square_network())
}

fn merged(model: &'static Merged, network: &Path) -> &'static Path {
    let (_, path) = model.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("merged.hush");
        hushnet(&["merge", text(network), "-o", text(&path), "--calibrate", text(digits())]).success();
        (folder, path)
    });
    path
}

/// A path as text.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A server process on a port of its own.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
}

impl Server {
    /// Serves the merged network with these further flags.
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::of(model(), flags)
    }

    /// Serves another model.
    pub(crate) fn of(model: &Path, flags: &[&str]) -> Self {
        let arguments: Vec<&str> =
            ["serve", text(model), "--listen", "127.0.0.1:0"].iter().chain(flags).copied().collect();
        let mut child = command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address =
            line.trim_end().strip_prefix("listening on ").unwrap_or_else(|| panic!("`{line}`")).to_owned();
        Self { child, address }
    }

    /// Asks it to end; gives its exit code and log once it has.
    pub(crate) fn stop(mut self) -> (Option<i32>, String) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let status = self.child.wait().unwrap();
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (status.code(), log)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Stopped already, or to be killed now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A peer of one connection that does what a test wants, on a port of its own.
pub(crate) fn fake_server(act: impl FnOnce(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        act(stream);
    });
    address
}
