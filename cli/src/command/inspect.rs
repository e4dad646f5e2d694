//! `hushnet inspect`: what a client will be told of a model, what it costs, and what protects its weights.
//!
//! All but the noise figures comes from the public manifest; those come from the weights' norms, so the whole page is
//! the server's to see.

use nn_merge::model::{InputSpec, NodeSpec, OutputSpec, Shape};
use nn_merge::noise::{NodeNoise, least_ratio};
use protocol::plan::LinearPlan;
use protocol::{LinkEstimate, Plan, RoundChoice};
use serde::Serialize;

use super::describe::{kind, shape, widths};
use super::read_model;
use super::security::{
    Construction, Lattice, Messages, SMALL_RATIO, construction, lattice, messages, noise, plan, primes,
};
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
    output: &'a OutputSpec,
    logit_bits: u32,
    nodes: Vec<Node<'a>>,
    bundle: usize,
    /// The construction of the layers' preprocessing that the messages are of.
    preprocessing: Construction,
    layers: Vec<Layer>,
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
struct Node<'a> {
    #[serde(flatten)]
    spec: &'a NodeSpec,
    shape: Shape,
}

#[derive(Serialize)]
struct Layer {
    node: usize,
    name: String,
    products: u64,
    weights: usize,
    packing: Packing,
    #[serde(flatten)]
    messages: Messages,
    noise: NodeNoise,
}

#[derive(Serialize)]
struct Packing {
    tiles: usize,
    images: usize,
    channels: usize,
    outputs: usize,
    groups: usize,
    input_polynomials: usize,
    output_polynomials: usize,
    /// Slots of one image whose difference is short.
    bound_slots: usize,
    /// All others that are read.
    other_slots: usize,
}

#[derive(Serialize)]
struct Security {
    #[serde(flatten)]
    lattice: Lattice,
    gives_logits: bool,
    log2_distance_labels: f64,
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
    let broken = |source| Failure::Model { path: arguments.model.clone(), source };
    let tensors = manifest.tensors().map_err(broken)?;
    let classes = tensors[manifest.output.node as usize].elements();
    check_top(arguments.top, classes)?;
    let top = arguments.top.unwrap_or(1);
    let plan = plan(manifest, arguments.bundle, top, rounds, arguments.preprocessing.into())?;
    let labels = noise(&model, &plan, None).map_err(broken)?;
    let logits = noise(&model, &plan, Some(arguments.logit_bits)).map_err(broken)?;
    let (ratio, logit_ratio) = (least_ratio(&labels), least_ratio(&logits));
    let distance = labels.iter().map(|layer| layer.log2_distance).fold(f64::NEG_INFINITY, f64::max);
    let document = Document {
        schema: "hushnet-inspect/2",
        name: &manifest.name,
        digest: hex(&manifest.digest().map_err(broken)?),
        weights_commitment: hex(&manifest.weights_commitment),
        input: &manifest.input,
        classes,
        output: &manifest.output,
        logit_bits: arguments.logit_bits,
        nodes: manifest
            .nodes
            .iter()
            .zip(&tensors)
            .map(|(spec, tensor)| Node { spec, shape: tensor.shape })
            .collect(),
        bundle: arguments.bundle,
        preprocessing: construction(&plan),
        layers: layers(&plan, labels),
        rounds: match rounds {
            RoundChoice::One => "one",
            RoundChoice::Three => "three",
            RoundChoice::Fastest(_) => "auto",
        },
        link: arguments.link.map(|link| link.to_string()),
        top,
        steps: steps(&plan),
        security: Security {
            gives_logits: matches!(lattice.profile.as_str(), "wide" | "exact"),
            log2_distance_labels: distance,
            lattice,
            least_ratio_labels: ratio,
            log2_queries_labels: 2.0 * ratio.log2(),
            least_ratio_logits: logit_ratio,
            log2_queries_logits: 2.0 * logit_ratio.log2(),
        },
    };
    if arguments.json { print_json(&document) } else { print(&document.text(console)) }
}

/// Every linear layer with its messages and its noise.
fn layers(plan: &Plan, noise: Vec<NodeNoise>) -> Vec<Layer> {
    plan.layers()
        .iter()
        .zip(messages(plan))
        .zip(noise)
        .map(|((layer, messages), noise)| Layer {
            node: layer.node,
            name: layer.name.clone(),
            products: layer.geometry().macs(),
            weights: layer.geometry().weights_len(),
            packing: packing(layer),
            messages,
            noise,
        })
        .collect()
}

fn packing(layer: &LinearPlan) -> Packing {
    let (packing, [bound_slots, other_slots]) = (layer.packing(), layer.deltas);
    let layout = packing.layout();
    Packing {
        tiles: layer.tiling.tiles(),
        images: layout.images,
        channels: layout.channels,
        outputs: layout.outputs,
        groups: layer.groups,
        input_polynomials: packing.input_polys(),
        output_polynomials: packing.output_polys(),
        bound_slots,
        other_slots,
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
             output      {}, read in {} bits of ±{:.3}; logits leave in {} bits\n",
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
            self.output.ring_bits,
            self.output.scale / 2.0,
            self.logit_bits,
        );
        text.push_str(&format!("\n{}\n{}\n", console.heading("Nodes"), self.node_table()));
        let what = counted(self.bundle, "image");
        text.push_str(&format!(
            "\n{}\n{}\n",
            console.heading(&format!("Preprocessing of a bundle of {what} by {}", self.preprocessing.name)),
            self.message_table()
        ));
        if self.preprocessing.session_key_bytes > 0 {
            let size = bytes(self.preprocessing.session_key_bytes as u64);
            text.push_str(&format!("Keys of a session, client to server, once: {size}.\n"));
        }
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

    fn node_table(&self) -> String {
        let rows: Vec<Vec<String>> = self
            .nodes
            .iter()
            .enumerate()
            .map(|(index, node)| {
                let reads: Vec<String> = node.spec.inputs.iter().map(u32::to_string).collect();
                let mut row = vec![
                    index.to_string(),
                    node.spec.name.clone(),
                    kind(&node.spec.op),
                    reads.join(" "),
                    shape(node.shape),
                ];
                row.extend(
                    widths(&node.spec.op)
                        .map(|bits| bits.map_or_else(|| "–".to_owned(), |bits| bits.to_string())),
                );
                row
            })
            .collect();
        table(&["", "node", "computes", "of", "result", "k", "h", "w", "t"], &rows)
    }

    fn message_table(&self) -> String {
        let mut rows: Vec<Vec<String>> = self
            .layers
            .iter()
            .map(|layer| {
                let packing = &layer.packing;
                vec![
                    layer.name.clone(),
                    layer.products.to_string(),
                    packing.tiles.to_string(),
                    format!("{}×{}×{}", packing.images, packing.channels, packing.outputs),
                    packing.groups.to_string(),
                    packing.input_polynomials.to_string(),
                    packing.output_polynomials.to_string(),
                    packing.bound_slots.to_string(),
                    packing.other_slots.to_string(),
                    bytes(layer.messages.key_bytes as u64),
                    bytes(layer.messages.reply_bytes as u64),
                ]
            })
            .collect();
        let sum = |part: fn(&Messages) -> usize| {
            bytes(self.layers.iter().map(|layer| part(&layer.messages) as u64).sum())
        };
        let mut all =
            vec!["all".to_owned(), self.layers.iter().map(|layer| layer.products).sum::<u64>().to_string()];
        all.extend(std::iter::repeat_n(String::new(), 7));
        all.extend([sum(|messages| messages.key_bytes), sum(|messages| messages.reply_bytes)]);
        rows.push(all);
        let heads = [
            "layer",
            "products",
            "tiles",
            "images×channels×outputs",
            "groups",
            "input polys",
            "output polys",
            "bound slots",
            "other slots",
            "keys",
            "replies",
        ];
        table(&heads, &rows)
    }

    fn security_text(&self) -> String {
        let Security {
            lattice,
            gives_logits,
            least_ratio_labels,
            log2_queries_labels,
            log2_distance_labels,
            ..
        } = &self.security;
        let rows: Vec<Vec<String>> = self
            .layers
            .iter()
            .map(|layer| {
                let noise = &layer.noise;
                let unit = (lattice.log2_q - f64::from(noise.result_bits)).exp2();
                vec![
                    layer.name.clone(),
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
            primes(&lattice.moduli),
            lattice.log2_q,
            lattice.security_bits,
            if *gives_logits {
                "by default, logits where the server allows them"
            } else {
                "only in this profile"
            },
            table(&["layer", "noise the client knows", "server's dither", "ratio", "queries"], &rows),
        );
        if let Some(ring) = &self.preprocessing.ring {
            text.push_str(&format!(
                "preprocessing {}: N = {}, ciphertexts modulo 2^{:.1}, replies modulo 2^{:.1}, at least {:.0} bits of security;\n\
                 shares more than one unit off with probability 2^{:.0} per polynomial at most. Its noise is below that of the\n\
                 table, which is of `split`.\n",
                self.preprocessing.name,
                ring.degree,
                ring.log2_ciphertext,
                ring.log2_reply,
                ring.security_bits.floor(),
                ring.log2_failure,
            ));
        } else {
            text.push_str(&format!("preprocessing {}: over the profile's ring\n", self.preprocessing.name));
        }
        text.push_str(&format!(
            "Noise in units of the layer's result. The server's dither is at least {} times what a client knows of the\n\
             noise: averaging it away takes some {} queries. A stated figure, not a proof; quotas count queries.\n",
            power(least_ratio_labels.log2()),
            power(*log2_queries_labels),
        ));
        if lattice.profile == "exact" {
            text.push_str(&format!(
                "Every result is within 2^{log2_distance_labels:.1} (statistical distance) of one that does not depend on what a\n\
                 client knows of the noise: its view is that of the fixed-point network with fresh rounding noise.\n"
            ));
        }
        if *least_ratio_labels < SMALL_RATIO {
            text.push_str(
                "That is too small to hide the weights from a client that may ask often: serve with a small --quota, or\n\
                 merge for profile `wide`.\n",
            );
        }
        text
    }
}

/// A power of two.
fn power(log2: f64) -> String {
    format!("2^{log2:.1}")
}
