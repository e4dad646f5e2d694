//! `hushnet infer`: images go in, labels come out, and the server sees neither.
//!
//! The model's public manifest comes from the server and says how large images are and how pixels become the network's
//! input; so the session is opened first, and an image that does not fit ends it before anything is prepared.

mod encrypted;
mod float;

use nn_merge::model::Manifest;
use protocol::OutputMode;
use protocol::report::{Report, Row, peak_memory_bytes};
use serde::Serialize;

use crate::args::{ArithmeticName, Infer, ModeName};
use crate::error::Failure;
use crate::images::{Image, Wanted, read, read_labels};
use crate::output::{Console, StageCost, Stages, counted, hex, layer_table, print, print_json, stage_table};
use crate::progress::Progress;
use crate::session::{Answers, Session, bundles, quantised, wanted};
use crate::terminal::{Paint, Picture, draw, table};
use crate::terms::{Agreed, modelled};

/// Images whose answers are listed one by one.
const LISTED: usize = 20;

/// Mistakes that are listed.
const MISTAKES: usize = 10;

/// Sides of pictures that are drawn: up to this many pixels.
const SMALL: usize = 64;

/// Columns of a picture that stands alone.
const COLUMNS: usize = 80;

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    model: &'a str,
    digest: String,
    profile: String,
    output: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    logit_bits: Option<u32>,
    images: usize,
    bundles: &'a [usize],
    labels: &'a [usize],
    #[serde(skip_serializing_if = "Option::is_none")]
    top: Option<&'a [Vec<usize>]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logits: Option<&'a [Vec<f64>]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<&'a [usize]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accuracy: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_accuracy: Option<f64>,
    terms: &'a Agreed,
    setup: StageCost,
    preprocessing: StageCost,
    online: StageCost,
    peak_memory_bytes: Option<u64>,
    layers: &'a [Row],
}

/// What was asked, what came out.
struct Results<'a> {
    images: &'a [Image],
    answers: &'a Answers,
    expected: Option<&'a [usize]>,
}

/// Classifies the images.
///
/// # Errors
/// Files that can't be used, or what ended the session.
pub(super) fn run(arguments: &Infer, console: &Console) -> Result<(), Failure> {
    if let (Some(_), Some(flag)) = (&arguments.pool, arguments.methods.of_preparing()) {
        return Err(Failure::Usage(format!(
            "{flag} can't be used with --pool: bundles are prepared for it, by `hushnet prepare {flag} …`"
        )));
    }
    if arguments.batch && arguments.mode != ModeName::He {
        return Err(Failure::Usage("--batch is for --mode he".into()));
    }
    let is_float = arguments.arithmetic == ArithmeticName::Float;
    if arguments.mask_bits.is_some() && !is_float {
        return Err(Failure::Usage("--mask-bits is for --arithmetic float".into()));
    }
    if is_float && let Some(flag) = float::out_of_place(arguments) {
        return Err(Failure::Usage(format!("{flag} has no meaning with --arithmetic float")));
    }
    // Before a server is bothered: do the files exist?
    for path in std::iter::once(&arguments.images).chain(&arguments.labels) {
        std::fs::metadata(path).map_err(|source| Failure::File {
            path: path.clone(),
            doing: "reading",
            source,
        })?;
    }
    if let Some(pool) = arguments.pool.as_ref().filter(|pool| !pool.is_dir()) {
        return Err(Failure::NoBundle { pool: pool.clone(), done: 0, wanted: arguments.count.unwrap_or(0) });
    }
    if is_float {
        return float::run(arguments, console);
    }
    if arguments.mode == ModeName::He {
        return encrypted::run(arguments, console);
    }
    let mut session = Session::open(&arguments.connect, arguments.output, &arguments.methods)?;
    let examples = Examples::read(arguments, session.manifest())?;
    let images = &examples.images;
    let inputs = quantised(session.manifest(), images)?;
    let answers = match &arguments.pool {
        Some(pool) => {
            let progress = Progress::new(console, arguments.json, 100);
            session.classify_prepared(&inputs, pool, &progress)?
        }
        None => {
            let sizes = bundles(images.len(), arguments.bundle, session.most_images());
            let progress = Progress::new(console, arguments.json, 100 * sizes.len());
            session.classify(&inputs, &sizes, &progress)?
        }
    };
    let (manifest, digest, mode) = (session.manifest().clone(), session.digest(), session.mode());
    let terms = match &arguments.pool {
        Some(_) => session.agreed().prepared_elsewhere(),
        None => session.agreed(),
    };
    let report = session.finish()?;
    let results = examples.results(&answers);
    if arguments.json {
        let stages = Stages::of(&report);
        return print_json(&Document {
            schema: "hushnet-infer/1",
            model: &manifest.name,
            digest: hex(&digest),
            profile: manifest.profile.to_string(),
            output: arguments.output.word(),
            logit_bits: match mode {
                OutputMode::Logits { bits } => Some(bits),
                OutputMode::Label | OutputMode::Top { .. } => None,
            },
            images: images.len(),
            bundles: &answers.bundles,
            labels: &answers.labels,
            top: answers.top.as_deref(),
            logits: answers.logits.as_deref(),
            expected: results.expected,
            accuracy: results.accuracy(),
            top_accuracy: results.top_accuracy(),
            terms: &terms,
            setup: stages.setup,
            preprocessing: stages.preprocessing,
            online: stages.online,
            peak_memory_bytes: peak_memory_bytes(),
            layers: report.rows(),
        });
    }
    let mut text = results.text(examples.want.height, examples.want.width, console);
    if !console.quiet {
        text.push_str(&costs(&report, images.len()));
        text.push_str(&link(arguments));
        if console.verbose > 0 {
            text.push_str(&format!("\n{}\n\n{}\n", terms.table(), layer_table(&report)));
        }
    }
    print(&text)
}

/// Images as the network wants them, and the labels that are expected of it.
struct Examples {
    want: Wanted,
    images: Vec<Image>,
    expected: Option<Vec<usize>>,
}

impl Examples {
    /// Reads the files that were named.
    ///
    /// # Errors
    /// Files that can't be used.
    fn read(arguments: &Infer, manifest: &Manifest) -> Result<Self, Failure> {
        let want = wanted(&manifest.input);
        let images = read(&arguments.images, want, arguments.first, arguments.count)?;
        let expected = match &arguments.labels {
            Some(path) => Some(read_labels(path, arguments.first, Some(images.len()))?),
            None => None,
        };
        Ok(Self { want, images, expected })
    }

    fn results<'a>(&'a self, answers: &'a Answers) -> Results<'a> {
        Results { images: &self.images, answers, expected: self.expected.as_deref() }
    }
}

/// The line on a slower link that was modelled, if one was.
fn link(arguments: &Infer) -> String {
    let line = |link| format!("{}\n", modelled("what this client sends goes", link));
    arguments.methods.link.map_or_else(String::new, line)
}

/// The first flag that was given of some, or of those that are about preparing.
fn first_given(arguments: &Infer, given: &[(bool, &'static str)]) -> Option<&'static str> {
    given.iter().find_map(|&(is_given, flag)| is_given.then_some(flag)).or(arguments.methods.of_preparing())
}

fn costs(report: &Report, images: usize) -> String {
    format!("\n{}\n", stage_table(&Stages::of(report).rows(), images))
}

impl Results<'_> {
    /// Share of the images whose label is the expected one, 0 to 1.
    fn accuracy(&self) -> Option<f64> {
        let expected = self.expected?;
        let right = expected.iter().zip(&self.answers.labels).filter(|(one, other)| one == other).count();
        Some(right as f64 / expected.len().max(1) as f64)
    }

    /// Share of the images whose expected label is among the best ones, if several were asked for.
    fn top_accuracy(&self) -> Option<f64> {
        let (expected, top) = (self.expected?, self.answers.top.as_deref()?);
        let right = expected.iter().zip(top).filter(|(label, list)| list.contains(label)).count();
        Some(right as f64 / expected.len().max(1) as f64)
    }

    /// What an image got: its label, or the best ones in order.
    fn label(&self, at: usize, label: usize) -> String {
        match self.answers.top.as_deref().and_then(|lists| lists.get(at)) {
            Some(list) => list.iter().map(usize::to_string).collect::<Vec<_>>().join(", "),
            None => label.to_string(),
        }
    }

    /// What a person reads.
    fn text(&self, height: usize, width: usize, console: &Console) -> String {
        let mut text = String::new();
        if let ([image], true) = (self.images, console.stdout)
            && image.pixels
            && image.chw.len() == height * width
            && (1..=SMALL).contains(&height)
            && (1..=SMALL).contains(&width)
        {
            let picture = Picture::new(&image.chw, height, width, "");
            text.push_str(&draw(&[picture], Paint::detect(console.stdout), COLUMNS));
        }
        if self.images.len() <= LISTED {
            self.list(&mut text);
        } else {
            self.classes(&mut text);
        }
        if let (Some(accuracy), Some(expected)) = (self.accuracy(), self.expected) {
            let right = (accuracy * expected.len() as f64).round();
            text.push_str(&format!("\n{right} of {} right: {:.2} %\n", expected.len(), 100.0 * accuracy));
            if let (Some(accuracy), Some(top)) = (self.top_accuracy(), &self.answers.top) {
                let right = (accuracy * expected.len() as f64).round();
                text.push_str(&format!(
                    "{right} of {} among the best {}: {:.2} %\n",
                    expected.len(),
                    top.first().map_or(0, Vec::len),
                    100.0 * accuracy
                ));
            }
            self.mistakes(expected, &mut text);
        }
        text
    }

    /// One line per image.
    fn list(&self, text: &mut String) {
        let logits = self.answers.logits.as_deref();
        for (at, (image, &label)) in self.images.iter().zip(&self.answers.labels).enumerate() {
            text.push_str(&format!("{}: {}", image.name, self.label(at, label)));
            if let Some(row) = logits.and_then(|rows| rows.get(at)) {
                let row: Vec<String> = row.iter().map(|value| format!("{value:.3}")).collect();
                text.push_str(&format!("  [{}]", row.join(", ")));
            }
            text.push('\n');
        }
    }

    /// How many images each label got, the best one of each counted.
    fn classes(&self, text: &mut String) {
        let mut counts = std::collections::BTreeMap::<usize, usize>::new();
        self.answers.labels.iter().for_each(|&label| *counts.entry(label).or_default() += 1);
        let mut rows: Vec<(usize, usize)> = counts.into_iter().collect();
        // Networks with many classes: the most frequent ones.
        if rows.len() > LISTED {
            rows.sort_by_key(|&(label, count)| (std::cmp::Reverse(count), label));
            rows.truncate(LISTED);
        }
        let cells: Vec<Vec<String>> =
            rows.iter().map(|(label, count)| vec![label.to_string(), count.to_string()]).collect();
        text.push_str(&format!("{} classified\n\n", counted(self.images.len(), "image")));
        text.push_str(&table(&["label", "images"], &cells));
        text.push('\n');
    }

    /// The first images that got another label than expected.
    fn mistakes(&self, expected: &[usize], text: &mut String) {
        let wrong: Vec<Vec<String>> = self
            .images
            .iter()
            .zip(expected.iter().zip(&self.answers.labels))
            .enumerate()
            .filter(|(_, (_, (expected, label)))| expected != label)
            .map(|(at, (image, (expected, label)))| {
                vec![image.name.clone(), self.label(at, *label), expected.to_string()]
            })
            .collect();
        if wrong.is_empty() {
            return;
        }
        let shown = wrong.len().min(MISTAKES);
        text.push_str(&format!("\n{}\n", table(&["image", "label", "expected"], &wrong[..shown])));
        if wrong.len() > shown {
            text.push_str(&format!("and {} more\n", wrong.len() - shown));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(count: usize) -> Vec<Image> {
        (0..count).map(|at| Image { name: format!("set[{at}]"), chw: vec![0.0; 4], pixels: true }).collect()
    }

    fn console() -> Console {
        Console { quiet: false, verbose: 0, stdout: false, stderr: false, colour: false }
    }

    #[test]
    fn few_images_are_listed_and_mistakes_named() {
        let images = images(3);
        let answers = Answers { labels: vec![7, 1, 2], bundles: vec![3], ..Answers::default() };
        let results = Results { images: &images, answers: &answers, expected: Some(&[7, 3, 2]) };
        let text = results.text(2, 2, &console());
        assert!(text.contains("set[1]: 1\n"), "{text}");
        assert!(text.contains("2 of 3 right: 66.67 %"), "{text}");
        assert!(text.contains("expected") && text.matches("set[1]").count() == 2, "{text}");
        assert_eq!(text.matches("set[0]").count(), 1, "{text}");
        assert!(!text.contains("best"), "{text}");
        assert_eq!(results.top_accuracy(), None);
    }

    #[test]
    fn several_labels_are_listed_in_order_and_counted_apart() {
        let images = images(3);
        let top = vec![vec![7, 0], vec![1, 3], vec![2, 5]];
        let answers = Answers { labels: vec![7, 1, 2], top: Some(top), ..Answers::default() };
        let results = Results { images: &images, answers: &answers, expected: Some(&[7, 3, 0]) };
        let text = results.text(2, 2, &console());
        assert!(text.starts_with("set[0]: 7, 0\nset[1]: 1, 3\nset[2]: 2, 5\n"), "{text}");
        assert!(text.contains("\n1 of 3 right: 33.33 %\n2 of 3 among the best 2: 66.67 %\n"), "{text}");
        assert_eq!(text.matches("1, 3").count(), 2, "among the mistakes: {text}");
        assert_eq!(results.accuracy().zip(results.top_accuracy()), Some((1.0 / 3.0, 2.0 / 3.0)));
    }

    #[test]
    fn many_images_are_counted_and_mistakes_capped() {
        let images = images(50);
        let answers = Answers { labels: vec![4; 50], bundles: vec![50], ..Answers::default() };
        let expected = [5; 50];
        let results = Results { images: &images, answers: &answers, expected: Some(&expected) };
        let text = results.text(2, 2, &console());
        assert!(text.contains("50 images classified"), "{text}");
        assert!(text.contains("0 of 50 right: 0.00 %"), "{text}");
        assert!(text.contains("and 40 more"), "{text}");
        assert_eq!(results.accuracy(), Some(0.0));
    }
}
