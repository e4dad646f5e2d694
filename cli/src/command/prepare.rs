//! `hushnet prepare`: the preprocessing stage ahead of the inputs.
//!
//! Each bundle is prepared, the server is asked to keep its half beyond the connection, and ours goes into the folder.
//! A bundle serves one session of the same model, server process and output, once.

use protocol::store::Store;
use serde::Serialize;

use crate::args::Prepare;
use crate::error::Failure;
use crate::output::{Console, StageCost, Stages, counted, hex, layer_table, print, print_json, stage_table};
use crate::progress::Progress;
use crate::session::{Session, bundles};
use crate::terms::{Agreed, modelled};

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    model: String,
    digest: String,
    output: &'static str,
    images: usize,
    bundles: Vec<usize>,
    files: Vec<String>,
    waiting: usize,
    terms: Agreed,
    setup: StageCost,
    preprocessing: StageCost,
}

/// Prepares bundles into the folder.
///
/// # Errors
/// A folder that can't be written, or what ended the session; bundles made until then stay.
pub(super) fn run(arguments: &Prepare, console: &Console) -> Result<(), Failure> {
    let store = Store::open(&arguments.pool).map_err(Failure::Pool)?;
    let mut session = Session::open(&arguments.connect, arguments.output, &arguments.methods)?;
    let sizes = bundles(arguments.count, arguments.bundle, session.most_images());
    let progress = Progress::new(console, arguments.json, sizes.len());
    let mut files = Vec::with_capacity(sizes.len());
    for (at, &size) in sizes.iter().enumerate() {
        progress.doing(format!("preparing {}/{}", at + 1, sizes.len()));
        files.push(session.prepare_ahead(size, &store)?.display().to_string());
        progress.at(at + 1);
    }
    drop(progress);
    let (model, digest) = (session.manifest().name.clone(), hex(&session.digest()));
    let terms = session.agreed();
    let report = session.finish()?;
    let stages = Stages::of(&report);
    if arguments.json {
        return print_json(&Document {
            schema: "hushnet-prepare/1",
            model,
            digest,
            output: arguments.output.word(),
            images: arguments.count,
            bundles: sizes,
            files,
            waiting: store.waiting(),
            terms,
            setup: stages.setup,
            preprocessing: stages.preprocessing,
        });
    }
    let mut text = format!(
        "{} for {} of {model} prepared in {} ({} waiting there)\n\n{}",
        counted(sizes.len(), "bundle"),
        counted(arguments.count, "image"),
        arguments.pool.display(),
        store.waiting(),
        stage_table(&[("setup", stages.setup), ("preprocessing", stages.preprocessing)], arguments.count),
    );
    if let Some(link) = arguments.methods.link {
        text.push_str(&format!("\n{}", modelled("what this client sends goes", link)));
    }
    if console.verbose > 0 {
        text.push_str(&format!("\n\n{}\n\n{}", terms.table(), layer_table(&report)));
    }
    print(&text)
}
