//! Help, completions and wrong usage.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod common;

use common::hushnet;

const COMMANDS: [&str; 7] = ["demo", "merge", "inspect", "serve", "prepare", "infer", "completions"];

#[test]
fn every_command_has_help_with_examples() {
    for command in COMMANDS {
        for flag in ["--help", "-h"] {
            let page = hushnet(&[command, flag]).success();
            assert!(page.contains(&format!("hushnet {command}")) && page.contains("Examples:"), "{page}");
        }
    }
    let page = hushnet(&["--help"]).success();
    for word in COMMANDS.iter().chain(&["Terminal 1", "Terminal 2", "Exit codes", "HUSHNET_LOG", "NO_COLOR"])
    {
        assert!(page.contains(word), "{word} in {page}");
    }
    assert!(hushnet(&["--version"]).success().starts_with("hushnet "));
}

#[test]
fn the_exit_codes_are_documented() {
    let page = hushnet(&["--help"]).success();
    let table = page.split("Exit codes:").nth(1).unwrap();
    for code in 0..=8 {
        assert!(table.contains(&format!("\n  {code}  ")), "{code} in {table}");
    }
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = hushnet(&["completions", shell]).success();
        for command in COMMANDS {
            assert!(script.contains(command), "{command} in the script for {shell}");
        }
    }
    hushnet(&["completions", "cobol"]).failure(2, &["cobol"]);
}

#[test]
fn wrong_usage_is_told_with_code_2() {
    for arguments in [
        &["frobnicate"][..],
        &["infer"],
        &["merge", "a.onnx"],
        &["serve", "a.hush", "--output", "everything"],
        &["serve", "a.hush", "--logit-bits", "5"],
        &["serve", "a.hush", "--field-bits", "3"],
        &["serve", "a.hush", "--top", "0"],
        &["serve", "a.hush", "--top", "17"],
        &["infer", "a.png", "--top", "17"],
        &["infer", "a.png", "--top", "few"],
        &["infer", "a.png", "--top", "3", "--logits"],
        &["prepare", "--pool", "p", "--logits", "--top", "3"],
        &["inspect", "a.hush", "--top", "0"],
        &["infer", "a.png", "--count", "0"],
        &["infer", "a.png", "--bundle", "257"],
        &["infer", "a.png", "--bundle", "2", "--pool", "b"],
        &["demo", "--quiet", "--verbose"],
    ] {
        let run = hushnet(arguments);
        assert_eq!(run.code, Some(2), "{arguments:?}: {run:?}");
        assert!(run.stderr.contains("error:") && run.stdout.is_empty(), "{run:?}");
    }
    assert_eq!(hushnet::<&str>(&[]).code, Some(2));
}
