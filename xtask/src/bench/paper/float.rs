//! Rings and floating-point shares side by side: the same networks and images, both parties in this process.
//!
//! Floating-point shares are the published scheme's and **insecure** ([`protocol::float`]); the ring is this project's
//! default. Networks may have squares or ReLUs, with max-pooling before these: there both arithmetics take the same steps, in
//! floats always those of three round trips. Times are medians over single images in bundles of their own, sessions of
//! both kinds in turn; labels come from further images in larger bundles, of which there are 300 at most.
//!
//! | column | what |
//! |---|---|
//! | online, preprocessing | the client's wall time, waiting included |
//! | online linear | the server's part of it in linear layers |
//! | same label | as the imported network in double precision |
//! | distance | statistical distance of the server's views of two images, per image, as the plan states it; a ring's is 0 |

use anyhow::{Result, anyhow};
use he_core::{Profile, Seed};
use nn_merge::build;
use nn_merge::evaluate::Evaluator;
use nn_merge::fixed_point::{first_largest, quantize_image};
use nn_merge::model::Model;
use protocol::float::DEFAULT_MASK_BITS;
use protocol::report::{Report, Stage};
use protocol::testing::in_process;
use protocol::{Arithmetic, Output, Policy, ProtocolError, Server};
use serde::Serialize;

use crate::bench::timing::middle;
use crate::networks::{self, Network, images};

/// Mask bits that are tried.
const MASK_BITS: [u32; 3] = [8, 12, DEFAULT_MASK_BITS];
/// Images per bundle when labels are counted.
const BUNDLE: usize = 32;

/// One network in one arithmetic; per image.
#[derive(Clone, Serialize)]
pub(super) struct Row {
    pub(super) arithmetic: String,
    pub(super) insecure: bool,
    pub(super) mask_bits: Option<u32>,
    pub(super) setup_bytes: u64,
    pub(super) preprocessing_seconds: f64,
    pub(super) preprocessing_bytes: u64,
    pub(super) online_seconds: f64,
    pub(super) online_linear_seconds: f64,
    pub(super) online_bytes: u64,
    pub(super) online_rounds: u64,
    pub(super) images: usize,
    pub(super) same_label: usize,
    pub(super) right: usize,
    /// 0 in a ring.
    pub(super) distance_images: f64,
    pub(super) distance_weights: f64,
}

/// Heads of the table.
pub(super) const HEADS: [&str; 10] = [
    "shares",
    "online linear ms",
    "online ms",
    "pre ms",
    "online KB",
    "pre KB",
    "online rounds",
    "label of float",
    "right",
    "distance",
];

/// What runs of one arithmetic have found so far.
#[derive(Default)]
struct Found {
    online: Vec<f64>,
    preprocessing: Vec<f64>,
    linear_seconds: f64,
    images: usize,
    report: Report,
    labels: Vec<usize>,
}

/// Test images as either arithmetic takes them.
struct Inputs {
    real: Vec<Vec<f64>>,
    whole: Vec<Vec<i64>>,
}

/// One network with squares or ReLUs: single images for times, `test` images for labels; nothing without test images.
pub(super) fn measure(network: &'static Network, single: usize, test: usize) -> Result<Vec<Row>> {
    let (Some(set), Some(_)) = (network.set(), networks::shared_data()) else { return Ok(Vec::new()) };
    let Some(loaded) = network.load()? else { return Ok(Vec::new()) };
    let options = network.options(Profile::Wide);
    let (model, _) = build(&loaded.graph, &loaded.calibration, &options, &mut Seed::from_os()?.stream())?;
    let data = images::test(set, test.max(single))?;
    let normalised: Vec<Vec<f32>> =
        data.pixels.iter().map(|pixels| network.normalised(set, pixels)).collect();
    let inputs = Inputs {
        real: normalised.iter().map(|image| image.iter().map(|&x| f64::from(x)).collect()).collect(),
        whole: normalised
            .iter()
            .map(|image| quantize_image(&model.manifest, image))
            .collect::<Result<_, _>>()?,
    };
    let expected: Vec<usize> = Evaluator::<f64>::new(&loaded.graph)?
        .run_all(&inputs.real)?
        .iter()
        .map(|logits| first_largest(logits))
        .collect();
    let server = |arithmetic| serving(model.clone(), arithmetic);
    let (ring, float) = (server(Arithmetic::Ring)?, server(Arithmetic::Float)?);
    let ways: Vec<Option<u32>> = [None].into_iter().chain(MASK_BITS.map(Some)).collect();
    let mut all: Vec<Found> = ways.iter().map(|_| Found::default()).collect();
    // In turn, so that whatever else the machine does meets all of them.
    for _ in 0..3 {
        for (way, found) in ways.iter().zip(&mut all) {
            eprintln!("{}, {}", network.name, name(*way));
            let server = if way.is_some() { &float } else { &ring };
            times(server, *way, &inputs, single.div_ceil(3).max(1), found)?;
        }
    }
    let mut rows = Vec::new();
    for (way, mut found) in ways.into_iter().zip(all) {
        let server = if way.is_some() { &float } else { &ring };
        labels(server, way, &inputs, test.min(inputs.real.len()), &mut found)?;
        let pairs = || found.labels.iter().zip(expected.iter().zip(&data.labels));
        let distance = match way.zip(server.float()) {
            None => None,
            Some((bits, ready)) => Some(ready.plan(bits).map_err(failed)?.distance()),
        };
        let per_image = |stage| {
            let row = found.report.total(stage);
            ((row.bytes_sent + row.bytes_received) / found.images as u64, row.rounds / found.images as u64)
        };
        let setup = found.report.total(Stage::Setup);
        rows.push(Row {
            arithmetic: name(way),
            insecure: way.is_some(),
            mask_bits: way,
            setup_bytes: setup.bytes_sent + setup.bytes_received,
            preprocessing_seconds: middle(&mut found.preprocessing.clone()),
            preprocessing_bytes: per_image(Stage::Preprocessing).0,
            online_seconds: middle(&mut found.online.clone()),
            online_linear_seconds: found.linear_seconds / found.images as f64,
            online_bytes: per_image(Stage::Online).0,
            online_rounds: per_image(Stage::Online).1,
            images: found.labels.len(),
            same_label: pairs().filter(|(label, (same, _))| label == same).count(),
            right: pairs().filter(|(label, (_, right))| label == right).count(),
            distance_images: distance.map_or(0.0, |distance| distance.images),
            distance_weights: distance.map_or(0.0, |distance| distance.weights),
        });
    }
    Ok(rows)
}

/// Rows for people.
pub(super) fn table(rows: &[Row]) -> Vec<Vec<String>> {
    let ms = |seconds: f64| format!("{:.2}", 1e3 * seconds);
    let kb = |bytes: u64| format!("{:.1}", bytes as f64 / 1e3);
    let percent = |count: usize, of: usize| format!("{:.2} %", 100.0 * count as f64 / of.max(1) as f64);
    let row = |row: &Row| {
        vec![
            row.arithmetic.clone(),
            ms(row.online_linear_seconds),
            ms(row.online_seconds),
            ms(row.preprocessing_seconds),
            kb(row.online_bytes),
            kb(row.preprocessing_bytes),
            row.online_rounds.to_string(),
            percent(row.same_label, row.images),
            format!("{} of {}", percent(row.right, row.images), row.images),
            if row.insecure { format!("{:.4}", row.distance_images) } else { "0".to_owned() },
        ]
    };
    rows.iter().map(row).collect()
}

fn name(way: Option<u32>) -> String {
    way.map_or_else(|| "ring".to_owned(), |bits| format!("float, {bits} mask bits (INSECURE)"))
}

fn serving(model: Model, arithmetic: Arithmetic) -> Result<Server> {
    let policy = Policy { arithmetic, ..Policy::default() };
    Server::new(model, policy, Seed::from_os()?).map_err(failed)
}

fn failed(error: ProtocolError) -> anyhow::Error {
    anyhow!("{error}")
}

/// One session of single images, the first of them not measured.
fn times(server: &Server, way: Option<u32>, inputs: &Inputs, count: usize, found: &mut Found) -> Result<()> {
    let seeds = [Seed::from_os()?, Seed::from_os()?];
    let [own, other] = seeds;
    let seconds =
        |report: &Report| [Stage::Preprocessing, Stage::Online].map(|stage| report.total(stage).seconds);
    let mut each = Vec::new();
    let (report, served) = in_process(server, own, other, |client| {
        let mut before = [0.0; 2];
        let mut note = |report: &Report| {
            let now = seconds(report);
            each.push([now[0] - before[0], now[1] - before[1]]);
            before = now;
        };
        match way {
            None => {
                let mut client = client.agree(false)?;
                for image in inputs.whole.iter().cycle().take(count + 1) {
                    let bundle = client.prepare(1, &mut |_, _| ())?;
                    client.infer(bundle, image, &mut |_, _| ())?;
                    note(client.report());
                }
                client.finish()
            }
            Some(bits) => {
                let mut session = client.float(bits)?;
                for image in inputs.real.iter().cycle().take(count + 1) {
                    let bundle = session.prepare(1, &mut |_, _| ())?;
                    session.infer(bundle, std::slice::from_ref(image))?;
                    note(session.report());
                }
                session.finish()
            }
        }
    });
    found.report = report.map_err(failed)?;
    let linear = served.map_err(failed)?.report;
    let linear = linear.rows().iter().filter(|row| row.stage == Stage::Online && row.part == "linear");
    found.linear_seconds = linear.map(|row| row.seconds).sum();
    found.images = count + 1;
    for [preprocessing, online] in each.into_iter().skip(1) {
        found.preprocessing.push(preprocessing);
        found.online.push(online);
    }
    Ok(())
}

/// Labels of the first images.
fn labels(server: &Server, way: Option<u32>, inputs: &Inputs, count: usize, found: &mut Found) -> Result<()> {
    let (labels, served) = in_process(server, Seed::from_os()?, Seed::from_os()?, |client| {
        let mut labels = Vec::new();
        match way {
            None => {
                let mut client = client.agree(false)?;
                for images in inputs.whole[..count].chunks(BUNDLE) {
                    let bundle = client.prepare(images.len(), &mut |_, _| ())?;
                    match client.infer(bundle, &images.concat(), &mut |_, _| ())? {
                        Output::Labels(found) => labels.extend(found),
                        _ => return Err(ProtocolError::Caller("another output than labels".into())),
                    }
                }
                client.finish()?;
            }
            Some(bits) => {
                let mut session = client.float(bits)?;
                for images in inputs.real[..count].chunks(BUNDLE) {
                    let bundle = session.prepare(images.len(), &mut |_, _| ())?;
                    labels.extend(session.infer(bundle, images)?.labels);
                }
                session.finish()?;
            }
        }
        Ok(labels)
    });
    found.labels = labels.map_err(failed)?;
    served.map(drop).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_names_its_arithmetic() {
        let row = |way: Option<u32>| Row {
            arithmetic: name(way),
            insecure: way.is_some(),
            mask_bits: way,
            setup_bytes: 0,
            preprocessing_seconds: 0.5,
            preprocessing_bytes: 2000,
            online_seconds: 0.25,
            online_linear_seconds: 0.125,
            online_bytes: 1000,
            online_rounds: 4,
            images: 200,
            same_label: 199,
            right: 198,
            distance_images: way.map_or(0.0, |_| 0.0625),
            distance_weights: 1.0,
        };
        let found = table(&[row(None), row(Some(12))]);
        assert!(found.iter().all(|row| row.len() == HEADS.len()));
        assert_eq!((found[0][0].as_str(), found[0][9].as_str()), ("ring", "0"));
        assert_eq!(found[1][0], "float, 12 mask bits (INSECURE)");
        assert_eq!(found[1][7..], ["99.50 %", "99.00 % of 200", "0.0625"].map(str::to_owned));
    }
}
