//! The tables of `bench conv` for people: layers of each network, then sums, then who won where.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, LineStyle, Table, presets::UTF8_HORIZONTAL_ONLY};

use super::figures::{Document, Row, Sum};
use super::limits;

/// Prints everything.
pub(super) fn print(document: &Document) {
    println!("{}", document.machine);
    println!(
        "clock {:.2} GHz; ONNX Runtime (f32): {}; tract (f32, one thread): {}",
        document.clock / 1e9,
        document.rivals.onnxruntime,
        document.rivals.tract
    );
    let mut rest = &document.rows[..];
    while let Some(first) = rest.first() {
        let key = |row: &Row| (row.network, row.batch, row.threads);
        let (rows, after) = rest.split_at(rest.iter().take_while(|row| key(row) == key(first)).count());
        rest = after;
        println!("\n{}, batch {}, {}", first.network, first.batch, threads(first.threads));
        println!("{}", layers(rows));
    }
    if !document.rows.is_empty() {
        println!(
            "µs per image, least of many runs, hot caches, into memory that is there; u32, u64: words in and out; /ORT: over ONNX Runtime's lone layer (its faster layout, call \
             overhead subtracted); M/c: multiplications of the definition per cycle and core; limit: M/c over what the \
             multipliers could do (above 100 % an algorithm saves multiplications); ORT's own limit is {} M/c; direct: \
             first profile, one thread, measured on some of the output channels",
            limits::FLOAT
        );
    }
    if !document.networks.is_empty() {
        println!("\nsums over all layers of each network\n{}", sums(&document.networks));
        println!(
            "sum: Σ count × lone layer; whole: all layers in one go, each with weights of its own (ONNX Runtime: the network \
             without activations, and in /ORT only the share of its linear nodes)"
        );
    }
    if !document.rows.is_empty() {
        println!("\nalgorithms chosen\n{}", winners(&document.rows));
    }
}

fn threads(count: usize) -> String {
    if count == 1 { "1 thread".to_owned() } else { format!("{count} threads") }
}

fn table(header: Vec<String>, text_columns: usize) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_header(header);
    for column in table.column_iter_mut().skip(text_columns) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The layers of one network at one setting.
fn layers(rows: &[Row]) -> Table {
    let regrets = rows.iter().flat_map(|row| &row.ours).any(|ours| ours.regret.is_some());
    let mut header = vec!["layer".to_owned(), "×".to_owned(), "MMAC".to_owned()];
    for ours in &rows[0].ours {
        let profile = format!("{} u{}", ours.profile, ours.word_bits);
        header.extend([profile, "µs".into(), "/ORT".into(), "M/c".into(), "limit".into()]);
        header.extend(regrets.then(|| "regret".to_owned()));
    }
    header.extend(["ORT µs", "ORT M/c", "tract µs", "direct µs"].map(str::to_owned));
    let mut table = table(header, 1);
    for row in rows {
        let mut cells =
            vec![row.layer.clone(), row.count.to_string(), format!("{:.2}", row.macs as f64 / 1e6)];
        for ours in &row.ours {
            cells.extend([
                ours.algorithm.clone(),
                micros(Some(ours.timing.least)),
                ratio(ours.ratio),
                format!("{:.1}", ours.macs_per_cycle),
                percent(ours.limit_share),
            ]);
            if regrets {
                let best = ours.others.iter().min_by(|a, b| a.least.total_cmp(&b.least));
                let better = best.filter(|_| ours.regret.is_some_and(|regret| regret > 0.0));
                let name = better.map_or(String::new(), |other| format!(" {}", other.algorithm));
                cells.push(format!("{}{name}", percent(ours.regret)));
            }
        }
        let rival = row.onnxruntime.as_ref().map(|turn| turn.timing.least).filter(|&least| least > 0.0);
        // The clock is in every row of ours: macs / (cycles per second · seconds).
        let speed = row
            .ours
            .first()
            .zip(rival)
            .map(|(ours, rival)| format!("{:.1}", ours.macs_per_cycle * ours.timing.least / rival));
        cells.extend([
            micros(rival),
            speed.unwrap_or_else(missing),
            micros(row.tract.map(|timing| timing.least)),
            micros(row.direct.map(|direct| direct.seconds)),
        ]);
        table.add_row(cells);
    }
    table
}

/// One line per network, setting and profile.
fn sums(networks: &[Sum]) -> Table {
    let header = [
        "network",
        "profile",
        "batch",
        "threads",
        "MMAC",
        "sum µs",
        "ORT µs",
        "/ORT",
        "M/c",
        "whole µs",
        "ORT µs",
        "linear",
        "/ORT",
        "tract µs",
        "direct µs",
        "/direct",
        "prepare ms",
        "regret",
        "of the sum",
    ];
    let mut table = table(header.map(str::to_owned).to_vec(), 2);
    for sum in networks {
        for ours in &sum.ours {
            table.add_row([
                sum.network.to_owned(),
                ours.profile.clone(),
                sum.batch.to_string(),
                sum.threads.to_string(),
                format!("{:.1}", sum.macs as f64 / 1e6),
                micros(Some(ours.seconds)),
                micros(sum.onnxruntime),
                ratio(ours.ratio),
                format!("{:.1}", ours.macs_per_cycle),
                micros(ours.whole.map(|timing| timing.least)),
                micros(sum.whole.map(|whole| whole.timing.least)),
                percent(sum.whole.map(|whole| whole.linear_share)),
                ratio(ours.whole_ratio),
                micros(sum.tract),
                micros(sum.direct),
                ratio(sum.direct.map(|direct| ours.seconds / direct)),
                format!("{:.1}", 1e3 * ours.prepare_seconds),
                percent(ours.regret.map(|[worst, _]| worst)),
                percent(ours.regret.map(|[_, total]| total)),
            ]);
        }
    }
    table
}

/// How many layers each algorithm got, and how it fared.
fn winners(rows: &[Row]) -> Table {
    #[derive(Default)]
    struct Tally {
        rows: usize,
        macs: f64,
        cycles: f64,
        ratios: Vec<f64>,
    }
    let mut tallies: BTreeMap<(&str, &str), Tally> = BTreeMap::new();
    for row in rows {
        for ours in &row.ours {
            let tally = tallies.entry((&ours.profile, &ours.algorithm)).or_default();
            tally.rows += 1;
            tally.macs += row.macs as f64;
            tally.cycles += row.macs as f64 / ours.macs_per_cycle;
            tally.ratios.extend(ours.ratio);
        }
    }
    let header = ["profile", "algorithm", "rows", "M/c", "/ORT least", "/ORT median", "/ORT most"];
    let mut table = table(header.map(str::to_owned).to_vec(), 2);
    for ((profile, algorithm), mut tally) in tallies {
        tally.ratios.sort_by(f64::total_cmp);
        table.add_row([
            profile.to_owned(),
            algorithm.to_owned(),
            tally.rows.to_string(),
            format!("{:.1}", tally.macs / tally.cycles),
            ratio(tally.ratios.first().copied()),
            ratio(tally.ratios.get(tally.ratios.len() / 2).copied()),
            ratio(tally.ratios.last().copied()),
        ]);
    }
    table
}

fn missing() -> String {
    "-".to_owned()
}

fn micros(seconds: Option<f64>) -> String {
    seconds.map_or_else(missing, |seconds| match seconds * 1e6 {
        micros if micros < 100.0 => format!("{micros:.1}"),
        micros => format!("{micros:.0}"),
    })
}

fn ratio(value: Option<f64>) -> String {
    value
        .map_or_else(missing, |value| if value < 0.1 { format!("{value:.3}") } else { format!("{value:.2}") })
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(missing, |share| format!("{:.0} %", 100.0 * share))
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::row;
    use super::*;

    #[test]
    fn tables_have_a_cell_for_every_column() {
        let plain = [row(2, 4.0, Some(2.0), &[]), row(1, 1.0, None, &[])];
        let compared = [row(2, 4.0, Some(2.0), &[3.0])];
        for rows in [&plain[..], &compared] {
            for mut table in [layers(rows), sums(&[Sum::of(rows, 1.0).unwrap()]), winners(rows)] {
                let columns = table.column_count();
                assert!(table.row_iter().all(|row| row.cell_count() == columns), "{table}");
            }
        }
        assert!(layers(&compared).to_string().contains("33 % other"));
        assert!(!layers(&plain).to_string().contains("regret"));
    }

    #[test]
    fn figures_for_people() {
        assert_eq!([micros(Some(12.34e-6)), micros(Some(1.2345e-3)), micros(None)], ["12.3", "1234", "-"]);
        assert_eq!([ratio(Some(1.234)), ratio(Some(0.0123)), percent(Some(0.5))], ["1.23", "0.012", "50 %"]);
        assert_eq!([threads(1), threads(2)], ["1 thread", "2 threads"]);
    }
}
