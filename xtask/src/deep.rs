//! `cargo xtask deep`: checks that need more than the pinned toolchain.
//!
//! | check | what | needs |
//! |---|---|---|
//! | `constant-time` | he-core's secrets steer no branch and no address, on the machine code | valgrind |
//! | `miri` | no undefined behaviour on the portable paths of he-core | nightly Rust with miri |
//! | `fuzz` | every decoder of he-core, guided by coverage | nightly Rust, cargo-fuzz |
//! | `neon` | unit tests of he-core and conv-fast on aarch64, emulated | its target, a linker, qemu-aarch64 |
//!
//! A check whose tools are missing is left out, and says so loudly; that is not a failure unless it was asked for by name.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Which checks, and how long.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only this check; it must be able to run then
    #[arg(value_enum)]
    check: Option<Check>,
    /// Leave out what takes minutes: miri and the other processor
    #[arg(long)]
    brief: bool,
    /// Seconds of fuzzing for each target
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Check {
    ConstantTime,
    Miri,
    Fuzz,
    Neon,
}

/// The fuzz targets of `fuzz/Cargo.toml`.
const TARGETS: [&str; 4] = ["rlwe", "split", "ckks", "bfv"];

/// Tests that miri runs: words, bytes and buffers by the portable paths, small enough for an interpreter and on one thread
/// (the thread pool's own crates cast integers to pointers, which miri cannot follow).
const MIRI: [&str; 7] = [
    "modulus::tests::edges",
    "poly::tests",
    "galois::tests",
    "pool::tests",
    "scratch::tests",
    "seed::tests",
    "wire::tests::what",
];

/// The machine of the check `neon`, what links its programs, what runs them, and where they find their libraries.
const ARM: &str = "aarch64-unknown-linux-gnu";
const ARM_LINKER: &str = "aarch64-linux-gnu-gcc";
const ARM_EMULATOR: &str = "qemu-aarch64";
const ARM_LIBRARIES: &str = "/usr/aarch64-linux-gnu";

/// Tests that run there: every kernel for NEON against its twin, what doubles do, and known answers. Emulation is slow;
/// these take a minute.
const NEON: [&str; 15] = [
    // he-core
    "known_answers::",
    "ntt::narrow::tests",
    "ntt::elementwise::tests",
    "rns::tests",
    "ckks::embedding::tests",
    "ckks::residues::tests",
    "sample::tests::twins",
    "seed::",
    // conv-fast
    "simd::",
    "matmul::",
    "im2col::tests::any_geometry",
    "ntt::tests::any_geometry",
    "float::tests::im2col",
    "depthwise::tests",
    "prepared::tests::every_algorithm",
];

/// Runs the checks; true if none failed.
pub(crate) fn run(root: &Path, args: &Args) -> Result<bool> {
    let all = [Check::ConstantTime, Check::Fuzz, Check::Miri, Check::Neon];
    let all = if args.brief { &all[..2] } else { &all[..] };
    let mut good = true;
    for check in all.iter().copied().filter(|check| args.check.is_none_or(|only| only == *check)) {
        if let Some(missing) = check.missing(root) {
            if args.check.is_some() {
                bail!("{check:?} cannot run: {missing}");
            }
            println!("LEFT OUT {check:?}: {missing}");
            continue;
        }
        println!("== {check:?}");
        good &= match check {
            Check::ConstantTime => constant_time(root)?,
            Check::Miri => passes(miri(root))?,
            Check::Fuzz => fuzz(root, args.seconds)?,
            Check::Neon => passes(neon(root))?,
        };
    }
    Ok(good)
}

impl Check {
    /// What keeps the check from running, and how to get it.
    fn missing(self, root: &Path) -> Option<&'static str> {
        let works = |program: &str, arguments: &[&str]| {
            let mut command = Command::new(program);
            command.args(arguments).current_dir(root).stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        match self {
            Self::ConstantTime => (!works("valgrind", &["--version"])).then_some("install valgrind"),
            Self::Miri => (!works("cargo", &["+nightly", "miri", "--version"]))
                .then_some("run: rustup +nightly component add miri rust-src"),
            Self::Fuzz => (!works("cargo", &["+nightly", "fuzz", "--version"]))
                .then_some("run: rustup toolchain install nightly; cargo install cargo-fuzz"),
            Self::Neon if !works(ARM_LINKER, &["--version"]) => Some("install gcc-aarch64-linux-gnu"),
            Self::Neon if !works(ARM_EMULATOR, &["--version"]) => Some("install qemu-user"),
            Self::Neon => (!has_arm(root)).then_some("run: rustup target add aarch64-unknown-linux-gnu"),
        }
    }
}

fn passes(mut command: Command) -> Result<bool> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        println!("FAILED: {command:?}");
    }
    Ok(status.success())
}

/// Another toolchain than this program was built with: cargo's own variables would get in its way.
fn nightly(root: &Path) -> Command {
    let mut command = Command::new("cargo");
    command.arg("+nightly").current_dir(root);
    for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(name);
    }
    command
}

fn miri(root: &Path) -> Command {
    let mut command = nightly(root);
    // Seeds come from the operating system; nothing else leaves the interpreter.
    command.env("MIRIFLAGS", "-Zmiri-disable-isolation");
    command.args(["miri", "test", "--package", "he-core", "--lib", "--"]).args(MIRI);
    command
}

fn fuzz(root: &Path, seconds: u32) -> Result<bool> {
    let mut good = true;
    for target in TARGETS {
        let mut command = nightly(root);
        command.args(["fuzz", "run", target, "--"]);
        command.args([
            format!("-max_total_time={seconds}"),
            "-max_len=4096".to_owned(),
            "-timeout=10".to_owned(),
        ]);
        good &= passes(command)?;
    }
    Ok(good)
}

/// Whether the pinned toolchain has the standard library for [`ARM`].
fn has_arm(root: &Path) -> bool {
    let mut command = Command::new("rustc");
    command.args(["--target", ARM, "--print", "target-libdir"]).current_dir(root).stderr(Stdio::null());
    command.output().is_ok_and(|output| {
        output.status.success() && Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir()
    })
}

fn neon(root: &Path) -> Command {
    let mut command = Command::new(crate::cargo());
    command.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", ARM_LINKER);
    let runner = format!("{ARM_EMULATOR} -L {ARM_LIBRARIES}");
    command.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", runner);
    command.args(["test", "--locked", "--target", ARM, "--lib"]);
    command.args(["--package", "he-core", "--package", "conv-fast"]);
    command.arg("--").args(NEON).current_dir(root);
    command
}

/// Builds he-core's unit tests and runs those of its module `constant_time` under valgrind.
fn constant_time(root: &Path) -> Result<bool> {
    let output = Command::new(crate::cargo())
        .args(["test", "--release", "--locked", "--package", "he-core", "--lib", "--no-run"])
        .args(["--message-format", "json"])
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("the tests of he-core do not build");
    }
    let tests = executable(&output.stdout).context("cargo built no tests of he-core")?;
    let mut command = Command::new("valgrind");
    command.args(["--quiet", "--error-exitcode=0"]).arg(tests);
    command.args(["--ignored", "--test-threads", "1", "constant_time"]).current_dir(root);
    // What valgrind counts as errors is what the tests compare; its own report of planted ones would only confuse.
    command.stderr(Stdio::null());
    passes(command)
}

/// The last program that cargo says to have built.
fn executable(messages: &[u8]) -> Option<String> {
    let messages = String::from_utf8_lossy(messages);
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| message.get("executable")?.as_str().map(str::to_owned))
        .next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tests_to_run_are_of_modules_that_exist() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let exists = |package: &str, module: &str| {
            let source = root.join(package).join("src");
            source.join(module).is_dir() || source.join(format!("{module}.rs")).is_file()
        };
        for name in MIRI {
            assert!(exists("he-core", name.split("::").next().unwrap()), "{name}");
        }
        for name in NEON {
            let module = name.split("::").next().unwrap();
            assert!(exists("he-core", module) || exists("conv-fast", module), "{name}");
        }
    }

    #[test]
    fn the_program_is_found_among_messages() {
        let messages =
            b"{\"reason\": \"x\", \"executable\": null}\nnoise\n{\"executable\": \"/a/b\"}\n{\"n\": 1}\n";
        assert_eq!(executable(messages).as_deref(), Some("/a/b"));
        assert_eq!(executable(b""), None);
    }

    #[test]
    fn the_targets_are_those_of_the_fuzz_crate() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let manifest = std::fs::read_to_string(root.join("fuzz/Cargo.toml")).unwrap();
        let names: Vec<_> =
            manifest.lines().filter(|line| line.starts_with("path = \"fuzz_targets")).collect();
        assert_eq!(names.len(), TARGETS.len());
        for (line, target) in names.iter().zip(TARGETS) {
            assert!(line.contains(&format!("/{target}.rs")), "{line}");
        }
    }
}
