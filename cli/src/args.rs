//! The command line: every command, flag and default, and the help that a person reads.
//!
//! Names and defaults are an interface that scripts rely on: add freely, rename nothing. Ranges are checked here, so
//! that a wrong flag ends with clap's usage message and exit code 2 before anything is opened.
//!
//! Input scaling is `(x·scale − mean) / deviation` on raw pixels 0..=255; [`Scale`] accepts `1/255` as well as decimals,
//! since 0.00392 is not the same number.

mod merge;
mod methods;
mod outputs;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use protocol::RoundChoice;
use protocol::channel::Link;

pub(crate) use merge::{Merge, ProfileName};
pub(crate) use methods::{
    BaseName, MethodFlags, PreprocessingName, RoundsName, ServeMethods, TransfersName, word,
};
pub(crate) use outputs::{ArithmeticName, ModeName, OutputFlags, OutputName, check_top};

/// Where a server listens and a client connects if nothing else is said.
const ADDRESS: &str = "127.0.0.1:7700";

const TOP_EXAMPLES: &str = "\
Examples:
  hushnet demo                                 both parties on this machine, in under a minute

  The same by hand. First, the owner of a network makes it ready (once):
    hushnet merge network.onnx -o network.hush --calibrate samples/
  Terminal 1, the server, which sees no image:
    hushnet serve network.hush
  Terminal 2, the client, which sees no weights:
    hushnet infer picture.png";

/// The table of exit codes, part of `--help`.
const EXIT_CODES: &str = "\
Exit codes:
  0  success
  1  something else went wrong: a file, an image, a port in use
  2  wrong usage of the command line
  3  the network or model file is broken, or not supported
  4  the other side was not reachable, hung up, or did not answer in time
  5  the other side refused: logits or more labels than the server gives, a quota, a method
  6  the two sides do not fit: version, model, or a peer that breaks the protocol
  7  no prepared bundle (any more): run `hushnet prepare`
  8  a self-check failed: a private label differs from the plaintext one

Environment:
  HUSHNET_LOG  what is logged on stderr, as in `info` or `protocol=debug`; -v is short for info
  NO_COLOR     no colours and no block graphics";

/// Private neural network inference between two parties: the client's images stay with the client, the server's
/// weights with the server.
#[derive(Debug, Parser)]
#[command(name = "hushnet", version, max_term_width = 100, after_help = TOP_EXAMPLES)]
#[command(after_long_help = format!("{TOP_EXAMPLES}\n\n{EXIT_CODES}"), subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Arguments {
    /// Flags of every command.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Global {
    /// Print results and errors only: no progress, no log
    #[arg(
        short,
        long,
        global = true,
        conflicts_with = "verbose",
        help_heading = "Everywhere",
        display_order = 100
    )]
    pub(crate) quiet: bool,
    /// Print more tables, and log to stderr; twice for details
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Everywhere", display_order = 101)]
    pub(crate) verbose: u8,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Both parties on this machine: classify drawn digits privately and compare
    Demo(Demo),
    /// Turn an ONNX network into a model that can be served
    Merge(Merge),
    /// Show a model's public side, its costs and its security parameters
    Inspect(Inspect),
    /// Serve a model to clients
    Serve(Serve),
    /// Prepare inferences ahead of their inputs
    Prepare(Prepare),
    /// Classify images privately with a server's model
    Infer(Infer),
    /// Print a completion script for a shell
    Completions(Completions),
}

/// `hushnet demo`
#[derive(Debug, Args)]
#[command(after_help = "\
Starts a server as a second process on a free port of this machine, merges a small embedded
network, prepares, and classifies sixteen drawn digits: once with the label as the only output,
once with logits, to compare them with the network in plaintext. Ends with exit code 8 if a
private label differs from the plaintext one.

With --link, both processes delay what they send, so both directions are modelled.

Examples:
  hushnet demo
  hushnet demo --json | jq .stages
  hushnet demo --link wan                        as between two sites, 100 Mbit/s and 40 ms
  hushnet demo --transfers silent --base ml-kem")]
pub(crate) struct Demo {
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
    /// What to ask of the server.
    #[command(flatten)]
    pub(crate) methods: MethodFlags,
}

/// `hushnet inspect`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hushnet inspect mnist.hush
  hushnet inspect mnist.hush --bundle 16
  hushnet inspect mnist.hush --link wan        activations as a client over such a link chooses them
  hushnet inspect mnist.hush --preprocessing bfv
  hushnet inspect mnist.hush --json | jq .security")]
pub(crate) struct Inspect {
    /// The model file
    #[arg(value_name = "MODEL.hush")]
    pub(crate) model: PathBuf,
    /// Show the messages of a bundle of this many images
    #[arg(long, value_name = "B", default_value_t = 1, value_parser = positive(256))]
    pub(crate) bundle: usize,
    /// Show the noise of logits rounded to this many bits (6 to 20)
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(6..=20))]
    pub(crate) logit_bits: u32,
    /// Show the steps of a search for the N best labels (1 to 16), not for the best one only
    #[arg(long, value_name = "N", value_parser = outputs::labels())]
    pub(crate) top: Option<u32>,
    /// Show all activations in one round trip each, or in three (the default)
    #[arg(long, value_name = "CHOICE", value_parser = methods::one_or_three(), conflicts_with = "link")]
    pub(crate) rounds: Option<RoundChoice>,
    /// Show this construction of the linear layers' preprocessing
    #[arg(long, value_enum, value_name = "KIND", default_value_t = PreprocessingName::Split)]
    pub(crate) preprocessing: PreprocessingName,
    /// Show what is faster over a link, step by step: `lan`, `wan`, or as in `100mbit/40ms`
    #[arg(long, value_name = "LINK")]
    pub(crate) link: Option<Link>,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// `hushnet serve`
#[derive(Debug, Args)]
#[command(after_help = "\
Prints `listening on ADDR` on stdout when ready, and one line per ended session on stderr.
SIGTERM and SIGINT end it. Whoever can connect can use it: the connection is neither encrypted
nor authenticated, so listen on this machine or on a trusted network only.

Examples:
  hushnet serve mnist.hush
  hushnet serve mnist.hush --listen 0.0.0.0:7700 --quota 1000
  hushnet serve mnist.hush --output logits --logit-bits 8
  hushnet serve mnist.hush --top 3             the three best labels, to whoever asks
  hushnet serve mnist_poly.hush --mode he      also for `infer --mode he`
  hushnet serve mnist.hush --arithmetic float  INSECURE, to compare with
  hushnet serve mnist.hush --post-quantum      base transfers by ML-KEM only
  hushnet serve mnist.hush --preprocessing bfv no other construction of the linear layers' preprocessing")]
pub(crate) struct Serve {
    /// The model file
    #[arg(value_name = "MODEL.hush")]
    pub(crate) model: PathBuf,
    /// Address and port; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = ADDRESS)]
    pub(crate) listen: String,
    /// What clients may get
    #[arg(long, value_enum, default_value_t = OutputName::Label)]
    pub(crate) output: OutputName,
    /// Bits to which logits are rounded (6 to 20): fewer tell less about the weights
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(6..=20))]
    pub(crate) logit_bits: u32,
    /// Most labels of an image that clients may get, largest logit first (1 to 16; 1: the best only): more
    /// tell them more about the network
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = outputs::labels())]
    pub(crate) top: u32,
    /// How clients may compute: `he` takes both kinds. Clients of --mode he get logits, whatever --output says,
    /// and the network has to be a chain of linear maps and squares
    #[arg(long, value_enum, value_name = "MODE", default_value_t = ModeName::Shares)]
    pub(crate) mode: ModeName,
    /// What the server computes on. INSECURE if it is `float`: floating-point shares leak the images and the
    /// weights; such a server does nothing else, refuses clients that do not ask for it too, and gives logits
    #[arg(long, value_enum, value_name = "KIND", default_value_t = ArithmeticName::Ring)]
    pub(crate) arithmetic: ArithmeticName,
    /// Most images that are prepared together (1 to 256)
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = positive(256))]
    pub(crate) max_images: usize,
    /// Most images for each network address while the server runs; aborted ones count
    #[arg(long, value_name = "N")]
    pub(crate) quota: Option<u64>,
    /// Most images in prepared bundles that are kept in memory, over all clients
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub(crate) shelf: usize,
    /// Most clients at once
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = positive(10_000))]
    pub(crate) clients: usize,
    /// End when standard input closes: for programs that start a server of their own
    #[arg(long, hide = true)]
    pub(crate) until_stdin_closes: bool,
    /// What clients may ask for.
    #[command(flatten)]
    pub(crate) methods: ServeMethods,
}

/// `hushnet prepare`
#[derive(Debug, Args)]
#[command(after_help = "\
A prepared bundle is one-time material: half of it lies in DIR, the other half in the server's
memory until the server ends. `infer --pool DIR` uses it up and is then as fast as it gets.

Examples:
  hushnet prepare --pool pool/ --count 64
  hushnet prepare --pool pool/ --count 8 --bundle 1 --logits
  hushnet prepare --pool pool/ --rounds one    for a link on which round trips are dear")]
pub(crate) struct Prepare {
    /// The server
    #[arg(long, value_name = "ADDR", default_value = ADDRESS)]
    pub(crate) connect: String,
    /// Folder that keeps the prepared bundles
    #[arg(long, value_name = "DIR")]
    pub(crate) pool: PathBuf,
    /// Images to prepare for
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = positive(1 << 20))]
    pub(crate) count: usize,
    /// Images per bundle (1 to 256); default: 16 at most
    #[arg(long, value_name = "B", value_parser = positive(256))]
    pub(crate) bundle: Option<usize>,
    /// What to prepare for.
    #[command(flatten)]
    pub(crate) output: OutputFlags,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
    /// What to ask of the server.
    #[command(flatten)]
    pub(crate) methods: MethodFlags,
}

/// `hushnet infer`
#[derive(Debug, Args)]
#[command(after_help = "\
IMAGES is a PNG, JPEG or PGM picture, a folder of them, MNIST idx (plain or .gz), CIFAR
binary (.bin), or NumPy .npy: there, bytes are pixels, floats are network input as they are.

Examples:
  hushnet infer digit.png
  hushnet infer t10k-images-idx3-ubyte.gz --labels t10k-labels-idx1-ubyte.gz --count 100
  hushnet infer digits/ --connect server.example:7700 --logits --json
  hushnet infer digits/ --top 3                 the three best labels, largest logit first
  hushnet infer digits/ --pool pool/            with bundles from `hushnet prepare`
  hushnet infer digits/ --base ml-kem           no Diffie–Hellman
  hushnet infer digit.png --mode he             one round trip of ciphertexts, of a `serve --mode he`
  hushnet infer digit.png --arithmetic float    INSECURE, of a `serve --arithmetic float`
  hushnet infer digits/ --preprocessing bfv     the masks encrypted, as in Delphi and Cheetah
  hushnet infer digits/ --preprocessing bfv-packed   the same, replies packed
  hushnet infer digits/ --rounds one --link wan tries a slower link; `serve --link wan` is its other half")]
pub(crate) struct Infer {
    /// The images
    #[arg(value_name = "IMAGES")]
    pub(crate) images: PathBuf,
    /// The server
    #[arg(long, value_name = "ADDR", default_value = ADDRESS)]
    pub(crate) connect: String,
    /// The true labels, to compare with
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: Option<PathBuf>,
    /// First image, from 0
    #[arg(long, value_name = "I", default_value_t = 0)]
    pub(crate) first: usize,
    /// Number of images; default: all
    #[arg(long, value_name = "N", value_parser = positive(1 << 30))]
    pub(crate) count: Option<usize>,
    /// Images per bundle (1 to 256); default: 16 at most
    #[arg(long, value_name = "B", value_parser = positive(256))]
    pub(crate) bundle: Option<usize>,
    /// What to ask for.
    #[command(flatten)]
    pub(crate) output: OutputFlags,
    /// Use bundles that `hushnet prepare` left in this folder
    #[arg(long, value_name = "DIR", conflicts_with = "bundle")]
    pub(crate) pool: Option<PathBuf>,
    /// How the two parties compute
    #[arg(long, value_enum, value_name = "MODE", default_value_t = ModeName::Shares)]
    pub(crate) mode: ModeName,
    /// With --mode he: all images in one evaluation, one in each slot of the ciphertexts. The work and the
    /// bytes are the same for one image as for thousands
    #[arg(long)]
    pub(crate) batch: bool,
    /// What the shares are numbers of. INSECURE if it is `float`: floating-point shares tell the server about
    /// the images; the server must have been started for it
    #[arg(long, value_enum, value_name = "KIND", default_value_t = ArithmeticName::Ring)]
    pub(crate) arithmetic: ArithmeticName,
    /// With --arithmetic float: bits by which masks are larger than what they mask (4 to 24; default: 16). More
    /// leak less and cost accuracy
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(4..=24))]
    pub(crate) mask_bits: Option<u32>,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
    /// What to ask of the server.
    #[command(flatten)]
    pub(crate) methods: MethodFlags,
}

/// `hushnet completions`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hushnet completions bash > ~/.local/share/bash-completion/completions/hushnet
  hushnet completions zsh > ~/.zfunc/_hushnet")]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: Shell,
}

/// A positive factor, written as a number or as a fraction of two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scale(pub(crate) f64);

impl FromStr for Scale {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (numerator, denominator) = text.split_once('/').unwrap_or((text, "1"));
        Ok(Self(above_zero(numerator)? / above_zero(denominator)?))
    }
}

fn finite(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err(format!("`{}` is not a number", text.trim())),
    }
}

fn above_zero(text: &str) -> Result<f64, String> {
    match finite(text)? {
        // Denormal numbers would overflow what is divided by them.
        value if (1e-30..=1e30).contains(&value) => Ok(value),
        _ => Err(format!("{} is not above 0, or out of any sensible range", text.trim())),
    }
}

fn at_least_one(text: &str) -> Result<f64, String> {
    match finite(text)? {
        value if (1.0..=1e6).contains(&value) => Ok(value),
        _ => Err("it has to be a number from 1 to 1000000".to_owned()),
    }
}

fn positive(most: usize) -> impl Fn(&str) -> Result<usize, String> + Clone + Send + Sync + 'static {
    move |text| match text.parse() {
        Ok(value) if (1..=most).contains(&value) => Ok(value),
        _ => Err(format!("it has to be a whole number from 1 to {most}")),
    }
}

/// The part of an address after the last colon must be a port; names are left to the system's resolver.
pub(crate) fn checked_address(text: &str) -> Result<&str, String> {
    let port = text.rsplit_once(':').and_then(|(host, port)| (!host.is_empty()).then_some(port));
    if text.parse::<SocketAddr>().is_ok() || port.is_some_and(|port| port.parse::<u16>().is_ok()) {
        return Ok(text);
    }
    Err(format!("`{text}` is not an address like {ADDRESS} or server.example:7700"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn fractions_are_scales() {
        assert_eq!("1/255".parse(), Ok(Scale(1.0 / 255.0)));
        assert_eq!("0.5".parse(), Ok(Scale(0.5)));
        assert_eq!(" 2 / 4 ".parse(), Ok(Scale(0.5)));
        for wrong in ["", "/", "1/0", "-1", "nan", "inf", "1/2/3", "1e-300", "x"] {
            assert!(wrong.parse::<Scale>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn means_may_be_negative_and_lists() {
        let parsed = Arguments::try_parse_from([
            "hushnet",
            "merge",
            "a",
            "-o",
            "b",
            "--mean",
            "-0.5,0.25",
            "--std",
            "1,2",
        ]);
        let Command::Merge(merge) = parsed.unwrap().command else { panic!("another command") };
        assert_eq!((merge.mean, merge.std), (vec![-0.5, 0.25], vec![1.0, 2.0]));
        assert!(Arguments::try_parse_from(["hushnet", "merge", "a", "-o", "b", "--std", "0"]).is_err());
    }

    #[test]
    fn addresses_have_ports() {
        for right in ["127.0.0.1:0", "[::1]:7700", "localhost:80"] {
            assert_eq!(checked_address(right), Ok(right));
        }
        for wrong in ["", "localhost", ":80", "localhost:http", "1.2.3.4:70000"] {
            assert!(checked_address(wrong).is_err(), "{wrong}");
        }
    }
}
