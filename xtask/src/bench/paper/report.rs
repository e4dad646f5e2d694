//! The report: Markdown with tables and pictures, written anew by one command.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};

use super::figures::{Document, NetworkFigures, Session};
use super::float;
use super::svg::{Bars, Points};
use super::table::{
    CLAIM_HEADS, COUNT_HEADS, ENCRYPTED_HEADS, LINEAR_HEADS, OPERATION_HEADS, SESSION_HEADS, claim_rows,
    counts, encrypted, linear, operations, sessions,
};

/// Writes `paper.md`, `paper.json` and the pictures into `folder`.
pub(super) fn write(document: &Document, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let put = |name: &str, text: &str| {
        let file = folder.join(name);
        std::fs::write(&file, text).with_context(|| file.display().to_string())
    };
    for network in &document.networks {
        for (name, picture) in pictures(network) {
            put(&name, &picture)?;
        }
    }
    put("paper.json", &(serde_json::to_string_pretty(document)? + "\n"))?;
    put("paper.md", &markdown(document))?;
    eprintln!("written: {}", folder.join("paper.md").display());
    Ok(())
}

fn markdown(document: &Document) -> String {
    let mut out = String::from("# The scheme's claims, tested\n\n");
    let _ = writeln!(
        out,
        "Written by `cargo xtask {}`; do not edit. Machine: {}. Commit `{}`. Profile `{}`, {} image(s) per bundle, link: \
         {}. Secrets, masks and random inputs come from the system's randomness and are not kept, so that times vary from run \
         to run; test images are the first of the test sets, in order, of which 5,000 of 10,000 are there. All figures in one file: [paper.json](paper.json).\n",
        document.command, document.machine, document.commit, document.profile, document.images, document.link
    );
    out += "Rivals are configurations of this project's own parts, in the manner of the published systems; they are not \
            those systems.\n\n## Claims\n\n";
    grid(&mut out, &CLAIM_HEADS, claim_rows(document));
    out += "## Configurations\n\n";
    if let Some(network) = document.networks.first() {
        for session in &network.sessions {
            let _ = writeln!(out, "- `{}`: {}", session.name, session.what);
        }
    }
    out += "\nMilliseconds and KB (1000 bytes, both directions) per image, rounds per bundle; *online linear* is the server's \
            share of the online time in linear layers; *setup* is paid once per connection.\n";
    for network in &document.networks {
        let _ = writeln!(out, "\n## {}\n\nNetwork: {}.\n", network.name, network.origin);
        grid(&mut out, &SESSION_HEADS, sessions(network));
        for (name, _) in pictures(network) {
            let _ = writeln!(out, "![{}]({name})\n", name.trim_end_matches(".svg"));
        }
        out += "The server's operations on ciphertexts in the preprocessing, per image (products with plaintexts; in `split` \
                those with weights are made once per model, ahead of all images, and not counted; levels: primes of the \
                modulus used up):\n\n";
        grid(&mut out, &OPERATION_HEADS, operations(network));
        if !network.encrypted.is_empty() {
            out += "One round trip of CKKS ciphertexts, no shares (see [encrypted](../encrypted.md)); a batch is \
                    full, some test images a second time, and labels count each once; both parties in one process:\n\n";
            grid(&mut out, &ENCRYPTED_HEADS, encrypted(network));
        }
        if !network.arithmetics.is_empty() {
            out += "Shares in a ring beside floating-point shares as the paper has them, which are insecure (see \
                    [float](../float.md)); both parties in one process, medians of single images:\n\n";
            grid(&mut out, &float::HEADS, float::table(&network.arithmetics));
        }
        out += "Counts of the graph for one image, before and after merging:\n\n";
        grid(&mut out, &COUNT_HEADS, counts(network));
        out += "Online products of all linear layers by algorithm (im2col where it computes a layer not at all):\n\n";
        grid(&mut out, &LINEAR_HEADS, linear(network));
    }
    out
}

fn grid(out: &mut String, heads: &[&str], rows: Vec<Vec<String>>) {
    let _ = writeln!(out, "| {} |\n|{}", heads.join(" | "), "---|".repeat(heads.len()));
    for row in rows {
        let _ = writeln!(out, "| {} |", row.join(" | "));
    }
    out.push('\n');
}

/// File names and contents.
fn pictures(network: &NetworkFigures) -> Vec<(String, String)> {
    if network.sessions.is_empty() {
        return Vec::new();
    }
    let bars = |parts: fn(&Session) -> Vec<f64>| -> Vec<(String, Vec<f64>)> {
        network.sessions.iter().map(|session| (session.name.to_owned(), parts(session))).collect()
    };
    let stages = Bars {
        title: &format!("{}: time per image", network.name),
        unit: "ms",
        parts: &["preprocessing", "online linear", "online, the rest"],
        bars: bars(|session| {
            let linear = session.online_linear_seconds.min(session.online_seconds);
            [session.preprocessing_seconds, linear, session.online_seconds - linear].map(|s| 1e3 * s).to_vec()
        }),
    };
    let bytes = Bars {
        title: &format!("{}: bytes per image", network.name),
        unit: "KB",
        parts: &["preprocessing", "online"],
        bars: bars(|session| {
            [session.preprocessing_bytes, session.online_bytes].map(|bytes| bytes as f64 / 1e3).to_vec()
        }),
    };
    let point = |session: &Session| {
        let accuracy = session.accuracy.as_ref()?.accuracy?;
        Some((session.name.to_owned(), 1e3 * session.online_seconds, 100.0 * accuracy))
    };
    let accuracy = Points {
        title: &format!("{}: accuracy against online time", network.name),
        x: "online ms per image (logarithmic)",
        y: "accuracy, %",
        points: network.sessions.iter().filter_map(point).collect(),
    };
    let mut pictures = vec![
        (format!("{}-stages.svg", network.name), stages.svg()),
        (format!("{}-bytes.svg", network.name), bytes.svg()),
    ];
    if !accuracy.points.is_empty() {
        pictures.push((format!("{}-accuracy.svg", network.name), accuracy.svg()));
    }
    pictures
}
