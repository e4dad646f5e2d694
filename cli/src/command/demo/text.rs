//! What a person sees of the demonstration: the digits with both labels, costs, and what protects them.

use super::{Digit, Document, SIDE};
use crate::output::{Console, StageCost, stage_table};
use crate::terminal::{Paint, Picture, draw, table};

/// Columns of the page.
const COLUMNS: usize = 80;

/// Pixels cut off on each side of a drawing: most of its border is black.
const CUT: usize = 3;

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
             fixed-point network's by at most {:.4} (bound {:.3}).\n\n",
            self.digits.len(),
            self.largest_logit_difference,
            self.largest_logit(),
            self.largest_fixed_point_difference,
            self.logit_bound,
        ));
        let stages = &self.stages;
        let rows: Vec<(&str, StageCost)> =
            std::iter::once(("merging (once per model)", stages.merging)).chain(stages.labels.rows()).collect();
        text.push_str(&format!(
            "{}\n{}\n\n",
            console.heading(&format!("Cost of {} labels, as the client sees it", self.digits.len())),
            stage_table(&rows, self.digits.len())
        ));
        text.push_str(&format!("{}\n{}\n", console.heading("Security parameters in force"), self.security_table()));
        text.push_str("\nBy hand, in two terminals: `hushnet --help`\n");
        text
    }

    fn pictures(&self, console: &Console) -> String {
        let picture = |digit: &Digit| {
            let side = SIDE - 2 * CUT;
            let rows = digit.pixels.chunks(SIDE).skip(CUT).take(side);
            let inner: Vec<f32> = rows.flat_map(|row| row[CUT..CUT + side].iter().copied()).collect();
            let sign = if digit.private_label == digit.plaintext_label { "=" } else { "≠" };
            let caption = format!("private {} {sign} {} plain", digit.private_label, digit.plaintext_label);
            Picture::new(&inner, side, side, &caption)
        };
        let pictures: Vec<Picture> = self.digits.iter().map(picture).collect();
        draw(&pictures, Paint::detect(console.stdout), COLUMNS)
    }

    fn largest_logit(&self) -> f64 {
        let logits = self.digits.iter().flat_map(|digit| &digit.plaintext_logits);
        logits.fold(0.0, |largest, logit| largest.max(logit.abs()))
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
                    lattice.ring_degree, lattice.modulus, lattice.log2_q, lattice.security_bits
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
        let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
        table(&["parameter", "value"], &rows)
    }
}
