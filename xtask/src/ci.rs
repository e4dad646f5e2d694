//! `cargo xtask ci`: every check in one order, the same on a desk and on the machine that guards the main branch.
//!
//! | step | what | with `--quick` |
//! |---|---|---|
//! | format | rustfmt would change nothing | yes |
//! | clippy | no warnings, all targets | yes |
//! | tidy | the repository's own rules | yes |
//! | doc | rustdoc without warnings | |
//! | test | all tests and doc tests, optimised | |
//! | example … | every example of every crate runs through | |
//! | smoke … | the finished programs do their main job: the table [`SMOKES`] | |
//!
//! Each step's name and time is printed. The first failure ends the run with the command that repeats it. Dependencies
//! are never re-resolved (`--locked`), so that a lock file that lags behind is a failure, not a surprise.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// The finished programs at work, after everything else has passed. Commands that print JSON name the members that the
/// document must have, none of them empty.
const SMOKES: &[Smoke] = &[
    Smoke {
        name: "demo",
        program: Program::Cargo,
        arguments: &["run", "--release", "--locked", "--", "demo", "--json"],
        json: &["schema"],
    },
    bench("bench kernels", &["bench", "kernels", "--effort", "smoke", "--json"]),
    bench("bench conv", &["bench", "conv", "--effort", "smoke", "--json"]),
    bench("bench he", &["bench", "he", "--effort", "smoke", "--json"]),
    bench("bench layers", &["bench", "layers", "--effort", "smoke", "--json"]),
    bench("bench network", &["bench", "network", "--effort", "smoke", "--json"]),
    Smoke {
        name: "bench paper",
        program: Program::Xtask,
        arguments: &["bench", "paper", "--effort", "smoke", "--json"],
        json: &["schema", "machine", "commit", "networks"],
    },
    bench("bench activation", &["bench", "activation", "--effort", "smoke", "--json"]),
    Smoke {
        name: "deep",
        program: Program::Xtask,
        arguments: &["deep", "--brief", "--seconds", "5"],
        json: &[],
    },
    Smoke {
        name: "exact",
        program: Program::Xtask,
        arguments: &["exact", "--count", "20000", "--json"],
        json: &["schema", "rows"],
    },
];

/// A bench that only has to run through.
const fn bench(name: &'static str, arguments: &'static [&'static str]) -> Smoke {
    Smoke { name, program: Program::Xtask, arguments, json: &["schema", "machine", "commit", "rows"] }
}

/// The checks that a run consists of.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only the checks that need no tests to be built: format, clippy, tidy
    #[arg(long)]
    quick: bool,
}

/// Runs the steps; true if all passed.
pub(crate) fn run(root: &Path, args: &Args) -> Result<bool> {
    let programs = Programs::find()?;
    let steps = steps(args.quick, &examples(root, &programs)?);
    let mut times: Vec<(&str, Duration)> = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        println!("\n== {} of {}, {}: {}", at + 1, steps.len(), step.name, step.shown());
        let started = Instant::now();
        let outcome = step.perform(root, &programs)?;
        times.push((&step.name, started.elapsed()));
        if let Err(problem) = outcome {
            println!("\n{}", time_table(&times));
            println!("\nFAILED: {} ({problem}). To repeat it:\n\n    {}\n", step.name, step.shown());
            return Ok(false);
        }
    }
    println!("\n{}", time_table(&times));
    println!("all {} checks passed", steps.len());
    Ok(true)
}

/// One check.
#[derive(Debug, PartialEq)]
struct Step {
    name: String,
    environment: &'static [(&'static str, &'static str)],
    program: Program,
    arguments: Vec<String>,
    /// Members of the JSON document that it must print; empty: its output is for people.
    json: &'static [&'static str],
}

/// What a check starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Cargo,
    Xtask,
}

/// A command of a finished program.
struct Smoke {
    name: &'static str,
    program: Program,
    arguments: &'static [&'static str],
    json: &'static [&'static str],
}

/// All steps in their order.
fn steps(quick: bool, examples: &[Example]) -> Vec<Step> {
    let step = |name: &str, program, arguments: &[&str]| Step {
        name: name.to_owned(),
        environment: &[],
        program,
        arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
        json: &[],
    };
    let mut steps = vec![
        step("format", Program::Cargo, &["fmt", "--all", "--check"]),
        step(
            "clippy",
            Program::Cargo,
            &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"],
        ),
        step("tidy", Program::Xtask, &["tidy"]),
    ];
    if quick {
        return steps;
    }
    steps.push(Step {
        environment: &[("RUSTDOCFLAGS", "-D warnings")],
        ..step("doc", Program::Cargo, &["doc", "--workspace", "--no-deps", "--locked"])
    });
    steps.push(step("test", Program::Cargo, &["test", "--workspace", "--release", "--locked"]));
    for Example { package, name } in examples {
        let arguments = ["run", "--release", "--locked", "--package", package, "--example", name];
        steps.push(step(&format!("example {package}/{name}"), Program::Cargo, &arguments));
    }
    for Smoke { name, program, arguments, json } in SMOKES {
        steps.push(Step { json, ..step(&format!("smoke {name}"), *program, arguments) });
    }
    steps
}

impl Step {
    /// The command as one would type it.
    fn shown(&self) -> String {
        let program = match self.program {
            Program::Cargo => "cargo",
            Program::Xtask => "cargo xtask",
        };
        let mut words: Vec<String> =
            self.environment.iter().map(|(name, value)| format!("{name}={}", quoted(value))).collect();
        words.push(program.to_owned());
        words.extend(self.arguments.iter().map(|argument| quoted(argument)));
        words.join(" ")
    }

    /// Runs the command: an outer error if it cannot be started, an inner one if it fails.
    fn perform(&self, root: &Path, programs: &Programs) -> Result<Result<(), String>> {
        let program: &std::ffi::OsStr = match self.program {
            Program::Cargo => &programs.cargo,
            Program::Xtask => programs.xtask.as_os_str(),
        };
        let mut command = Command::new(program);
        command.args(&self.arguments).envs(self.environment.iter().copied()).current_dir(root);
        if !self.json.is_empty() {
            command.stdout(Stdio::piped());
        }
        let child = command.spawn().with_context(|| format!("cannot start {}", self.shown()))?;
        let output = child.wait_with_output().with_context(|| format!("cannot wait for {}", self.shown()))?;
        if !output.status.success() {
            return Ok(Err(output.status.to_string()));
        }
        Ok(match self.json {
            [] => Ok(()),
            members => check_document(&output.stdout, members),
        })
    }
}

/// Checks that an output is one JSON object with these members, none of them null or empty.
fn check_document(output: &[u8], members: &[&str]) -> Result<(), String> {
    let document: serde_json::Value =
        serde_json::from_slice(output).map_err(|error| format!("its output is no JSON document: {error}"))?;
    for &name in members {
        let is_empty = match document.get(name) {
            None | Some(serde_json::Value::Null) => true,
            Some(value) => {
                value.as_array().is_some_and(Vec::is_empty)
                    || value.as_object().is_some_and(serde_json::Map::is_empty)
                    || value.as_str().is_some_and(str::is_empty)
            }
        };
        if is_empty {
            return Err(format!("its JSON document has no {name:?}, or an empty one"));
        }
    }
    Ok(())
}

/// Quotes an argument for a shell if it needs that.
fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./,:+".contains(c);
    match !argument.is_empty() && argument.chars().all(plain) {
        true => argument.to_owned(),
        false => format!("'{}'", argument.replace('\'', "'\\''")),
    }
}

/// The times of the steps so far, one line each.
fn time_table(times: &[(&str, Duration)]) -> String {
    let together = ("together", times.iter().map(|(_, time)| *time).sum());
    let width = times.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max(together.0.len());
    let line = |(name, time): &(&str, Duration)| format!("{name:width$} {:8.1} s", time.as_secs_f64());
    times.iter().chain([&together]).map(line).collect::<Vec<_>>().join("\n")
}

/// The programs that steps start, looked up once: cargo may replace this program's file while steps run.
struct Programs {
    cargo: OsString,
    xtask: PathBuf,
}

impl Programs {
    fn find() -> Result<Self> {
        let cargo = crate::cargo();
        let xtask = std::env::current_exe().context("cannot find this program's own file")?;
        Ok(Self { cargo, xtask })
    }
}

/// An example of one of the crates.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Example {
    package: String,
    name: String,
}

/// All examples, by `cargo metadata`.
fn examples(root: &Path, programs: &Programs) -> Result<Vec<Example>> {
    let output = Command::new(&programs.cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--locked"])
        .current_dir(root)
        .output()
        .context("cannot run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    examples_in(&output.stdout)
}

fn examples_in(metadata: &[u8]) -> Result<Vec<Example>> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        targets: Vec<Target>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
        kind: Vec<String>,
    }
    let metadata: Metadata =
        serde_json::from_slice(metadata).context("cargo metadata printed an unknown form")?;
    let mut examples = Vec::new();
    for package in metadata.packages {
        for target in package.targets {
            if target.kind.iter().any(|kind| kind == "example") {
                examples.push(Example { package: package.name.clone(), name: target.name });
            }
        }
    }
    Ok(examples)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Example {
        Example { package: "he-core".to_owned(), name: "one_layer".to_owned() }
    }

    #[test]
    fn steps_come_in_order_and_quick_is_their_beginning() {
        let all = steps(false, &[example()]);
        let names: Vec<&str> = all.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(names[..6], ["format", "clippy", "tidy", "doc", "test", "example he-core/one_layer"]);
        assert_eq!(names.len(), 6 + SMOKES.len());
        assert_eq!(steps(true, &[example()]), all[..3]);
    }

    #[test]
    fn commands_are_shown_as_one_would_type_them() {
        let all = steps(false, &[example()]);
        assert_eq!(all[2].shown(), "cargo xtask tidy");
        assert_eq!(all[3].shown(), "RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked");
        assert_eq!(all[5].shown(), "cargo run --release --locked --package he-core --example one_layer");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }

    #[test]
    fn examples_are_found_among_targets() {
        let metadata = br#"{"packages": [{"name": "he-core", "targets": [
            {"name": "he_core", "kind": ["lib"]}, {"name": "one_layer", "kind": ["example"]}]}]}"#;
        assert_eq!(examples_in(metadata).unwrap(), [example()]);
        assert!(examples_in(b"{}").is_err());
    }

    #[test]
    fn documents_without_what_they_must_have_are_refused() {
        assert_eq!(
            check_document(br#"{"schema": "a", "rows": [1], "n": 0}"#, &["schema", "rows", "n"]),
            Ok(())
        );
        for output in
            ["", "text", "{}", "[1]", r#"{"rows": []}"#, r#"{"rows": null}"#, r#"{"rows": {}}"#, "{} {}"]
        {
            assert!(check_document(output.as_bytes(), &["rows"]).is_err(), "{output}");
        }
    }

    #[test]
    fn failing_commands_fail_their_step() {
        let programs = Programs { cargo: "sh".into(), xtask: "/no/such/program".into() };
        let step = |script: &str, json| Step {
            name: "shell".to_owned(),
            environment: &[("GREETING", "[1]")],
            program: Program::Cargo,
            arguments: vec!["-c".to_owned(), script.to_owned()],
            json,
        };
        let perform = |step: Step| step.perform(Path::new("."), &programs);
        assert_eq!(perform(step("test \"$GREETING\" = '[1]'", &[])).unwrap(), Ok(()));
        assert!(perform(step("exit 3", &[])).unwrap().unwrap_err().contains('3'));
        assert_eq!(perform(step("echo \"{\\\"rows\\\": $GREETING}\"", &["rows"])).unwrap(), Ok(()));
        assert!(perform(step("echo '{}'", &["rows"])).unwrap().is_err());
        let missing = Step { program: Program::Xtask, ..step("", &[]) };
        assert!(perform(missing).is_err());
    }
}
