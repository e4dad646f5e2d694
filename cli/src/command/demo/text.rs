//! What a person sees of the demonstration: the digits with both labels, costs, and what protects them.

use super::{Digit, Document, SIDE};
use crate::command::security::primes;
use crate::output::{Console, StageCost, stage_table};
use crate::terminal::{Paint, Picture, draw, table};
use crate::terms::modelled;

/// Columns of the page.
const COLUMNS: usize = 80;

/// Rows and columns cut off on each side of a drawing: its border is black, and four fit side by side without it.
const CUT: [usize; 2] = [3, 5];

impl Document {
    /// The page.
    pub(super) fn text(&self, console: &Console) -> String {
        let security = &self.security;
        let mut text = format!(
            "{}\nserver: process {} at {}    client: process {}\n\n{}\n",
            console.heading(&format!("Private inference with {}", self.model)),
            security.server_process,
            security.address,
            security.client_process,
            self.pictures(console),
        );
        let right = self.digits.iter().filter(|digit| digit.private_label == digit.plaintext_label).count();
        let drawn = self.digits.iter().filter(|digit| digit.private_label == digit.drawn).count();
        text.push_str(&format!(
            "{right} of {} private labels equal the plaintext ones; {drawn} are what was drawn.\n\
             Labels come from a session whose only output is the label; logits from a second one, to compare:\n\
             private logits differ from the float network's by at most {:.4} (of {:.1}), and from the\n\
             fixed-point network's by at most {:.4} (bound for these inputs {:.2}).\n\n",
            self.digits.len(),
            self.largest_logit_difference,
            self.largest_logit(),
            self.fixed_point.largest_fixed_point_difference,
            self.fixed_point.logit_bound,
        ));
        let stages = &self.stages;
        let rows: Vec<(&str, StageCost)> = std::iter::once(("merging (once per model)", stages.merging))
            .chain(stages.labels.rows())
            .collect();
        let link = self.terms.modelled_link().map(|link| modelled("what either party sends goes", link));
        text.push_str(&format!(
            "{}\n{}\n{}\n",
            console.heading(&format!("Cost of {} labels, as the client sees it", self.digits.len())),
            stage_table(&rows, self.digits.len()),
            link.map(|link| format!("{link}\n")).unwrap_or_default(),
        ));
        text.push_str(&format!(
            "{}\n{}\n",
            console.heading("Security parameters in force"),
            self.security_table()
        ));
        text.push_str("\nBy hand, in two terminals: `hushnet --help`\n");
        text
    }

    fn pictures(&self, console: &Console) -> String {
        let picture = |digit: &Digit| {
            let [height, width] = CUT.map(|cut| SIDE - 2 * cut);
            let rows = digit.pixels.chunks(SIDE).skip(CUT[0]).take(height);
            let inner: Vec<f32> = rows.flat_map(|row| row[CUT[1]..][..width].iter().copied()).collect();
            let caption = format!("private {}, plain {}", digit.private_label, digit.plaintext_label);
            Picture::new(&inner, height, width, &caption)
        };
        let pictures: Vec<Picture> = self.digits.iter().map(picture).collect();
        draw(&pictures, Paint::detect(console.stdout), COLUMNS)
    }

    fn security_table(&self) -> String {
        let security = &self.security;
        let lattice = &security.lattice;
        let rows = [
            ("profile", lattice.profile.clone()),
            (
                "lattice",
                format!(
                    "N = {}, q = {} ({:.1} bits): {:.1} bits of security",
                    lattice.ring_degree,
                    primes(&lattice.moduli),
                    lattice.log2_q,
                    lattice.security_bits
                ),
            ),
            ("adversary", "semi-honest: both sides follow the protocol".to_owned()),
            ("masks", "one-time: a prepared bundle is used once and gone".to_owned()),
            (
                "output",
                format!(
                    "{} only; the second session: logits of {} bits",
                    security.output,
                    security.compared_logit_bits.unwrap_or(0)
                ),
            ),
            (
                "weights",
                format!(
                    "the server's dither is 2^{:.1} times the noise a client knows: some 2^{:.0} queries",
                    security.least_ratio.log2(),
                    security.log2_queries
                ),
            ),
        ];
        let rows: Vec<Vec<String>> = rows
            .into_iter()
            .chain(self.terms.rows())
            .map(|(name, value)| vec![name.to_owned(), value])
            .collect();
        table(&["parameter", "value"], &rows)
    }
}
