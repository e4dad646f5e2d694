//! `hushnet inspect`: what a client will be told of a model, what it costs, and what protects its weights.
//!
//! All but the noise figures comes from the public manifest; those come from the weights' norms, so the whole page is
//! the server's to see.

use nn_merge::fixed_point::logit_bound;
use nn_merge::model::{InputSpec, LayerSpec};
use protocol::plan::LayerPlan;
use protocol::{LinkEstimate, RoundChoice};
use serde::Serialize;

use super::read_model;
use super::security::{Lattice, Messages, Noise, SMALL_RATIO, lattice, least_ratio, messages, noise, plan};
use super::steps::{Step, step_table, steps};
use crate::args::{Inspect, check_top};
use crate::error::Failure;
use crate::output::{Console, counted, hex, print, print_json};
use crate::terminal::{bytes, table};

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    name: &'a str,
    digest: String,
    weights_commitment: String,
    input: &'a InputSpec,
    classes: usize,
    logit_scale: f64,
    logit_bound: f64,
    logit_bits: u32,
    logit_bound_rounded: f64,
    bundle: usize,
    layers: Vec<Layer<'a>>,
    /// How the steps are chosen: `one`, `three`, or `auto` for the link below.
    rounds: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<String>,
    /// Labels per image that the last steps search.
    top: u32,
    steps: Vec<Step>,
    security: Security,
}

#[derive(Serialize)]
struct Layer<'a> {
    #[serde(flatten)]
    spec: &'a LayerSpec,
    products: u64,
    weights: usize,
    activations: usize,
    packing: Packing,
    #[serde(flatten)]
    messages: Messages,
    noise: Noise,
}

#[derive(Serialize)]
struct Packing {
    images: usize,
    channels: usize,
    outputs: usize,
    groups: usize,
    input_polynomials: usize,
    output_polynomials: usize,
}

#[derive(Serialize)]
struct Security {
    #[serde(flatten)]
    lattice: Lattice,
    gives_logits: bool,
    least_ratio_labels: f64,
    log2_queries_labels: f64,
    least_ratio_logits: f64,
    log2_queries_logits: f64,
}

/// Shows a model file.
///
/// # Errors
/// A file that is no model, or standard output that is closed.
pub(super) fn run(arguments: &Inspect, console: &Console) -> Result<(), Failure> {
    let model = read_model(&arguments.model)?;
    let manifest = &model.manifest;
    let lattice = lattice(manifest);
    let rounds = match arguments.link {
        Some(link) => RoundChoice::Fastest(LinkEstimate::from(link)),
        None => arguments.rounds.unwrap_or_default(),
    };
    check_top(arguments.top, manifest.classes)?;
    let top = arguments.top.unwrap_or(1);
    let plan = plan(manifest, arguments.bundle, top, rounds)?;
    let (labels, logits) = (noise(&model, &plan, None), noise(&model, &plan, Some(arguments.logit_bits)));
    let (ratio, logit_ratio) = (least_ratio(&labels), least_ratio(&logits));
    let layers = manifest
        .layers
        .iter()
        .zip(plan.layers().iter().zip(messages(&plan)))
        .zip(&labels)
        .enumerate()
        .map(|(index, ((spec, (planned, messages)), &noise))| Layer {
            spec,
            products: spec.geometry.macs(),
            weights: spec.geometry.weights_len(),
            activations: manifest.activations(index),
            packing: packing(planned),
            messages,
            noise,
        })
        .collect();
    let broken = |source| Failure::Model { path: arguments.model.clone(), source };
    let document = Document {
        schema: "hushnet-inspect/1",
        name: &manifest.name,
        digest: hex(&manifest.digest().map_err(broken)?),
        weights_commitment: hex(&manifest.weights_commitment),
        input: &manifest.input,
        classes: manifest.classes,
        logit_scale: manifest.logit_scale,
        logit_bound: logit_bound(&model, None),
        logit_bits: arguments.logit_bits,
        logit_bound_rounded: logit_bound(&model, Some(arguments.logit_bits)),
        bundle: arguments.bundle,
        layers,
        rounds: match rounds {
            RoundChoice::One => "one",
            RoundChoice::Three => "three",
            RoundChoice::Fastest(_) => "auto",
        },
        link: arguments.link.map(|link| link.to_string()),
        top,
        steps: steps(&plan),
        security: Security {
            gives_logits: lattice.profile == "wide",
            lattice,
            least_ratio_labels: ratio,
            log2_queries_labels: 2.0 * ratio.log2(),
            least_ratio_logits: logit_ratio,
            log2_queries_logits: 2.0 * logit_ratio.log2(),
        },
    };
    if arguments.json { print_json(&document) } else { print(&document.text(console)) }
}

fn packing(layer: &LayerPlan) -> Packing {
    let layout = layer.packing.layout();
    Packing {
        images: layout.images,
        channels: layout.channels,
        outputs: layout.outputs,
        groups: layer.groups,
        input_polynomials: layer.packing.input_polys(),
        output_polynomials: layer.packing.output_polys(),
    }
}

impl Document<'_> {
    /// What a person reads.
    fn text(&self, console: &Console) -> String {
        let input = self.input;
        let list = |values: &[f64]| {
            let texts: Vec<String> = values.iter().map(|value| format!("{value:.4}")).collect();
            texts.join(", ")
        };
        let mut text = format!(
            "{}\n\
             digest      {}\n\
             commitment  {}\n\
             input       {}×{}×{} (channels, rows, columns), (pixel · {:.6} − [{}]) / [{}]\n\
             output      {}; worst case over all inputs: {:.3} from the fixed-point network's\n",
            console.heading(self.name),
            self.digest,
            self.weights_commitment,
            input.channels,
            input.height,
            input.width,
            input.scale,
            list(&input.mean),
            list(&input.std),
            counted(self.classes, "logit"),
            self.logit_bound,
        );
        text.push_str(&format!(
            "            the same, rounded to {} bits: {:.3}\n",
            self.logit_bits, self.logit_bound_rounded
        ));
        text.push_str(&format!("\n{}\n{}\n", console.heading("Layers"), self.layer_table()));
        let what = counted(self.bundle, "image");
        text.push_str(&format!(
            "\n{}\n{}\n",
            console.heading(&format!("Preprocessing of a bundle of {what}")),
            self.message_table()
        ));
        let chosen = match &self.link {
            Some(link) => format!("whatever is faster over {link}, step by step"),
            None => format!("{} round trips each", self.rounds).replace("one round trips", "one round trip"),
        };
        let labels = if self.top > 1 { format!(", the best {} labels", self.top) } else { String::new() };
        text.push_str(&format!(
            "\n{}\n{}\n",
            console.heading(&format!("Activations of a bundle of {what}{labels}: {chosen}")),
            step_table(&self.steps)
        ));
        text.push_str(
            "S and C receives: random transfers by who receives. Corrections, client to server, are preprocessing; what is\n\
             sent is online. Transfers and the headers of messages come on top.\n",
        );
        text.push_str(&format!("\n{}\n{}", console.heading("Security"), self.security_text()));
        text
    }

    fn layer_table(&self) -> String {
        let rows: Vec<Vec<String>> = self
            .layers
            .iter()
            .map(|layer| {
                let spec = layer.spec;
                let activation = spec.activation.as_ref();
                let bits =
                    |value: Option<u32>| value.map_or_else(|| "–".to_owned(), |value| value.to_string());
                vec![
                    spec.name.clone(),
                    shape(spec),
                    layer.products.to_string(),
                    then(spec),
                    layer.activations.to_string(),
                    spec.masked_bits.to_string(),
                    spec.ring_bits.to_string(),
                    spec.reply_bits.to_string(),
                    bits(activation.map(|activation| activation.ignored_bits)),
                    bits(activation.map(|activation| activation.shift)),
                ]
            })
            .collect();
        table(&["layer", "shape", "products", "then", "ReLUs", "p", "k", "t", "h", "j"], &rows)
    }

    fn message_table(&self) -> String {
        let mut rows: Vec<Vec<String>> = self
            .layers
            .iter()
            .map(|layer| {
                let packing = &layer.packing;
                vec![
                    layer.spec.name.clone(),
                    format!("{}×{}×{}", packing.images, packing.channels, packing.outputs),
                    packing.groups.to_string(),
                    packing.input_polynomials.to_string(),
                    packing.output_polynomials.to_string(),
                    bytes(layer.messages.key_bytes as u64),
                    bytes(layer.messages.reply_bytes as u64),
                ]
            })
            .collect();
        let sum = |part: fn(&Messages) -> usize| {
            bytes(self.layers.iter().map(|layer| part(&layer.messages) as u64).sum())
        };
        rows.push(vec![
            "all".to_owned(),
            String::new(),
            String::new(),
            String::new(),
            String::new(),
            sum(|messages| messages.key_bytes),
            sum(|messages| messages.reply_bytes),
        ]);
        table(
            &["layer", "images×channels×outputs", "groups", "input polys", "output polys", "keys", "replies"],
            &rows,
        )
    }

    fn security_text(&self) -> String {
        let Security { lattice, gives_logits, least_ratio_labels, log2_queries_labels, .. } = &self.security;
        let rows: Vec<Vec<String>> = self
            .layers
            .iter()
            .map(|layer| {
                let noise = &layer.noise;
                let unit = lattice.modulus as f64 / f64::from(noise.result_bits).exp2();
                vec![
                    layer.spec.name.clone(),
                    format!("{:.1e}", noise.known / unit),
                    format!("{:.2}", noise.dither / unit),
                    power(noise.ratio.log2()),
                    power(noise.log2_queries),
                ]
            })
            .collect();
        let mut text = format!(
            "profile {}: N = {}, q = {} ({:.1} bits), {:.1} bits of security\n\
             one-time masks: every bundle is used once; labels {}\n\
             {}\n",
            lattice.profile,
            lattice.ring_degree,
            lattice.modulus,
            lattice.log2_q,
            lattice.security_bits,
            if *gives_logits {
                "by default, logits where the server allows them"
            } else {
                "only in this profile"
            },
            table(&["layer", "noise the client knows", "server's dither", "ratio", "queries"], &rows),
        );
        text.push_str(&format!(
            "Noise in units of the layer's result. The server's dither is at least {} times what a client knows of the\n\
             noise: averaging it away takes some {} queries. A stated figure, not a proof; quotas count queries.\n",
            power(least_ratio_labels.log2()),
            power(*log2_queries_labels),
        ));
        if *least_ratio_labels < SMALL_RATIO {
            text.push_str(
                "That is too small to hide the weights from a client that may ask often: serve with a small --quota, or\n\
                 merge for profile `wide`.\n",
            );
        }
        text
    }
}

/// The linear map in words.
fn shape(spec: &LayerSpec) -> String {
    let (geometry, shape) = (&spec.geometry, spec.geometry.shape());
    if [shape.in_height, shape.in_width, geometry.out_height(), geometry.out_width()] == [1; 4] {
        return format!("{} → {}", shape.in_channels, shape.out_channels);
    }
    let mut text = format!(
        "{}×{}×{} → {}×{}×{}, {}×{}",
        shape.in_channels,
        shape.in_height,
        shape.in_width,
        shape.out_channels,
        geometry.out_height(),
        geometry.out_width(),
        shape.kernel[0],
        shape.kernel[1]
    );
    if shape.stride != [1, 1] {
        text.push_str(&format!(", stride {}×{}", shape.stride[0], shape.stride[1]));
    }
    if shape.dilation != [1, 1] {
        text.push_str(&format!(", dilation {}×{}", shape.dilation[0], shape.dilation[1]));
    }
    if shape.groups > 1 {
        text.push_str(&format!(", {} groups", shape.groups));
    }
    text
}

/// What follows the linear map, in words.
fn then(spec: &LayerSpec) -> String {
    match spec.activation.as_ref().map(|activation| &activation.pool) {
        None => "output".to_owned(),
        Some(None) => "ReLU".to_owned(),
        Some(Some(pool)) => {
            let [rows, columns] = pool.shape().kernel;
            format!("max-pool {rows}×{columns}, ReLU")
        }
    }
}

/// A power of two.
fn power(log2: f64) -> String {
    format!("2^{log2:.1}")
}
