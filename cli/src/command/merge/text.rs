//! What merging did, in tables that a person reads.

use nn_merge::pass::Cost;
use nn_merge::{MergeReport, NodeReport};

use crate::command::describe::shape;
use crate::output::{Console, counted};
use crate::terminal::{bytes, table};

/// All of it.
pub(super) fn report_text(report: &MergeReport, console: &Console) -> String {
    let mut text = console.heading(&format!("{} ({} profile)", report.name, report.profile));
    text.push_str("\n\n");
    text.push_str(&pass_table(report));
    text.push_str("\n\n");
    text.push_str(&node_table(report));
    text.push('\n');
    if report.replaced > 0 {
        text.push_str(&format!("\n{} replaced as the list says.\n", counted(report.replaced, "activation")));
    }
    if report.calibration_is_synthetic {
        text.push_str(&format!(
            "\nNo calibration images were given: ranges come from {} random inputs with margin {}.\n\
             Give --calibrate IMAGES for ranges that fit what the network will see.\n",
            report.calibration_images, report.margin
        ));
    } else {
        text.push_str(&format!(
            "\nCalibrated on {} with margin {}.\n",
            counted(report.calibration_images, "image"),
            report.margin
        ));
    }
    if report.wild_images > 0 {
        text.push_str(&format!(
            "On {} of them values explode, far beyond what nine of ten images reach: they were left out, and their like\n\
             will overflow and get wrong labels.\n",
            report.wild_images
        ));
    }
    text.push_str(&format!(
        "Merging moved logits by at most {:.1e}; {} of {} labels stayed.\n\
         Fixed point moves logits of up to {:.2} by at most {:.3}; {} of {} labels stay.\n",
        report.merging_error,
        report.same_labels,
        report.compared_images,
        report.largest_logit,
        report.fixed_point_error,
        report.fixed_point_labels,
        report.compared_images
    ));
    text
}

/// The network before, after each pass, and as it will run.
fn pass_table(report: &MergeReport) -> String {
    let row = |name: &str, cost: &Cost| {
        vec![
            name.to_owned(),
            cost.linear_levels.to_string(),
            cost.products.to_string(),
            cost.additions.to_string(),
            cost.activation_levels.to_string(),
            cost.activations.to_string(),
            cost.comparisons.to_string(),
            cost.rounds.to_string(),
            bytes(cost.preprocessing_bytes),
            bytes(cost.online_bytes),
        ]
    };
    let mut rows = vec![row("as imported", &report.before)];
    rows.extend(report.passes.iter().map(|pass| row(pass.pass, &pass.after)));
    rows.push(row("as run", &report.after));
    let heads = [
        "after",
        "linear maps",
        "products",
        "additions",
        "interactive levels",
        "activations",
        "comparisons",
        "rounds (est.)",
        "preprocessing (est.)",
        "online (est.)",
    ];
    table(&heads, &rows)
}

/// Ranges and widths of every node.
fn node_table(report: &MergeReport) -> String {
    let bits = |value: Option<u32>| value.map_or_else(|| "–".to_owned(), |value| value.to_string());
    let real = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.2}"));
    let row = |node: &NodeReport| {
        vec![
            node.name.clone(),
            node.kind.clone(),
            shape(node.shape),
            bits(node.weight_bits),
            bits(node.ring_bits),
            bits(node.ignored_bits),
            bits(node.width),
            bits(node.reply_bits),
            real(node.measured),
            real(node.sized_for),
            real(node.static_bound),
            node.zeroed.map_or_else(|| "–".to_owned(), |share| format!("{:.2} %", 100.0 * share)),
            match node.overflow_impossible {
                None => "–",
                Some(true) => "impossible",
                Some(false) => "beyond bound",
            }
            .to_owned(),
        ]
    };
    let rows: Vec<Vec<String>> = report.nodes.iter().map(row).collect();
    let heads = [
        "node",
        "computes",
        "result",
        "weight bits",
        "k",
        "h",
        "w",
        "t",
        "largest",
        "bound",
        "static",
        "to zero",
        "overflow",
    ];
    table(&heads, &rows)
}
