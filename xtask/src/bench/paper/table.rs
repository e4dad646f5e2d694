//! The tables for a terminal.

use comfy_table::{CellAlignment, LineStyle, Table, presets::UTF8_HORIZONTAL_ONLY};

use super::claims::claims;
use super::figures::{Document, NetworkFigures, Session};
use super::float;

/// Heads of the configurations' table; the report has the same.
pub(super) const SESSION_HEADS: [&str; 12] = [
    "configuration",
    "online linear ms",
    "online ms",
    "pre ms",
    "total ms",
    "online KB",
    "pre KB",
    "online rounds",
    "pre rounds",
    "setup KB",
    "server MB",
    "accuracy",
];

/// Heads of the table of operations on ciphertexts.
pub(super) const OPERATION_HEADS: [&str; 8] = [
    "configuration",
    "preprocessing",
    "products",
    "additions",
    "rotations",
    "ciphertexts up",
    "ciphertexts down",
    "levels",
];

/// Heads of the convolutions' table.
pub(super) const LINEAR_HEADS: [&str; 5] = ["network", "algorithm", "layers", "µs", "against im2col"];

/// Heads of the table of what runs on ciphertexts alone.
pub(super) const ENCRYPTED_HEADS: [&str; 10] = [
    "on ciphertexts alone",
    "images",
    "client ms",
    "server ms",
    "KB up",
    "KB down",
    "keys MB",
    "label of float",
    "right",
    "worst logit error",
];

/// Heads of the claims' table.
pub(super) const CLAIM_HEADS: [&str; 5] = ["network", "what", "claimed", "found", ""];

/// Heads of the counts' table.
pub(super) const COUNT_HEADS: [&str; 8] = [
    "network",
    "linear levels",
    "products",
    "additions",
    "activation levels",
    "activations",
    "comparisons",
    "rounds",
];

/// Prints everything.
pub(super) fn print(document: &Document) {
    println!("{}", document.machine);
    println!("profile {}, {} image(s) per bundle, {}\n", document.profile, document.images, document.link);
    for network in &document.networks {
        println!("{} ({})", network.name, network.origin);
        show(&COUNT_HEADS, counts(network), 1);
        show(&LINEAR_HEADS, linear(network), 2);
        show(&SESSION_HEADS, sessions(network), 1);
        show(&OPERATION_HEADS, operations(network), 2);
        show(&ENCRYPTED_HEADS, encrypted(network), 1);
        show(&float::HEADS, float::table(&network.arithmetics), 1);
    }
    println!("claims");
    show(&CLAIM_HEADS, claim_rows(document), 5);
    println!(
        "ms and KB (1000 bytes, both directions) per image; rounds and MB per bundle; online linear: the server's part"
    );
}

/// Counts of the network as written and merged.
pub(super) fn counts(network: &NetworkFigures) -> Vec<Vec<String>> {
    [("as written", &network.written), ("merged", &network.merged)]
        .map(|(name, cost)| {
            let numbers = [
                cost.linear_levels,
                cost.products,
                cost.additions,
                cost.activation_levels,
                cost.activations,
                cost.comparisons,
                cost.rounds,
            ];
            [name.to_owned()].into_iter().chain(numbers.map(|number| number.to_string())).collect()
        })
        .to_vec()
}

/// Linear layers by algorithm.
pub(super) fn linear(network: &NetworkFigures) -> Vec<Vec<String>> {
    let row = |row: &super::figures::Convolutions| {
        let against = network.linear(row.merging, "im2col").map_or(0.0, |seconds| row.seconds / seconds);
        vec![
            if row.merging { "merged" } else { "as written" }.to_owned(),
            row.algorithm.to_owned(),
            format!("{} of {}", row.layers, row.of_layers),
            format!("{:.1}", 1e6 * row.seconds),
            format!("{against:.2}"),
        ]
    };
    network.convolutions.iter().map(row).collect()
}

/// Configurations.
pub(super) fn sessions(network: &NetworkFigures) -> Vec<Vec<String>> {
    network.sessions.iter().map(session).collect()
}

fn session(session: &Session) -> Vec<String> {
    let ms = |seconds: f64| format!("{:.2}", 1e3 * seconds);
    let kb = |bytes: u64| format!("{:.1}", bytes as f64 / 1e3);
    let accuracy = session.accuracy.as_ref().map_or("–".to_owned(), |measured| {
        let share = measured.accuracy.map_or("–".to_owned(), |share| format!("{:.2} %", 100.0 * share));
        format!("{share} of {}", measured.images)
    });
    vec![
        session.name.to_owned(),
        ms(session.online_linear_seconds),
        ms(session.online_seconds),
        ms(session.preprocessing_seconds),
        ms(session.total_seconds()),
        kb(session.online_bytes),
        kb(session.preprocessing_bytes),
        session.online_rounds.to_string(),
        session.preprocessing_rounds.to_string(),
        kb(session.setup_bytes),
        format!("{:.1}", session.server_peak_bytes as f64 / 1e6),
        accuracy,
    ]
}

/// The server's operations on ciphertexts, per image.
pub(super) fn operations(network: &NetworkFigures) -> Vec<Vec<String>> {
    // Whole numbers unless a bundle's ciphertexts are shared by its images.
    let number =
        |count: f64| if count.fract() == 0.0 { format!("{count:.0}") } else { format!("{count:.1}") };
    let row = |session: &Session| {
        let own = &session.operations;
        let counts = [own.products, own.additions, own.rotations, own.up, own.down].map(number);
        let names = [session.name.to_owned(), session.preprocessing.clone()];
        names.into_iter().chain(counts).chain([own.levels.to_string()]).collect()
    };
    network.sessions.iter().map(row).collect()
}

/// On ciphertexts alone, per image but for the keys.
pub(super) fn encrypted(network: &NetworkFigures) -> Vec<Vec<String>> {
    let percent = |count: usize, of: usize| format!("{:.2} %", 100.0 * count as f64 / of.max(1) as f64);
    let row = |row: &crate::bench::he_mode::Row| {
        vec![
            if row.mode == "batch" { "batch, as CryptoNets" } else { "one image" }.to_owned(),
            row.images.to_string(),
            format!("{:.3}", 1e3 * row.client_seconds_per_image),
            format!("{:.3}", 1e3 * row.server_seconds_per_image),
            format!("{:.1}", row.bytes_sent_per_image / 1e3),
            format!("{:.1}", row.bytes_received_per_image / 1e3),
            format!("{:.1}", row.key_bytes as f64 / 1e6),
            percent(row.same_label, row.tested),
            percent(row.right, row.tested),
            format!("{:.4} of {:.1}", row.worst_logit_error, row.largest_logit),
        ]
    };
    network.encrypted.iter().map(row).collect()
}

/// Claims.
pub(super) fn claim_rows(document: &Document) -> Vec<Vec<String>> {
    let row = |claim: super::claims::Claim| {
        let words = claim.verdict.words().to_owned();
        vec![claim.network, claim.what.to_owned(), claim.claimed.to_owned(), claim.found, words]
    };
    claims(document).into_iter().map(row).collect()
}

fn show(heads: &[&str], rows: Vec<Vec<String>>, names: usize) {
    if rows.is_empty() {
        return;
    }
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_header(heads.to_vec());
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(names) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}\n");
}
