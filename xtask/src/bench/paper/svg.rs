//! Pictures of figures: stacked bars and points, as SVG that any browser shows.
//!
//! Colours are those of Okabe and Ito (2008), which people with any colour vision tell apart; text is escaped.

use std::fmt::Write;

const COLOURS: [&str; 6] = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00"];
const WIDTH: f64 = 860.0;
/// Room for the names at the left.
const LEFT: f64 = 150.0;
const RIGHT: f64 = 90.0;
const BAR: f64 = 22.0;
const TOP: f64 = 64.0;

/// Horizontal bars, each a stack of parts.
pub(super) struct Bars<'a> {
    pub(super) title: &'a str,
    pub(super) unit: &'a str,
    /// Names of the parts.
    pub(super) parts: &'a [&'a str],
    /// Name and parts of each bar, in the unit.
    pub(super) bars: Vec<(String, Vec<f64>)>,
}

/// Points with names; x is logarithmic.
pub(super) struct Points<'a> {
    pub(super) title: &'a str,
    pub(super) x: &'a str,
    pub(super) y: &'a str,
    pub(super) points: Vec<(String, f64, f64)>,
}

impl Bars<'_> {
    /// The picture.
    pub(super) fn svg(&self) -> String {
        let most = self.bars.iter().map(|(_, parts)| parts.iter().sum::<f64>()).fold(0.0, f64::max).max(1e-9);
        let height = TOP + (BAR + 8.0) * self.bars.len() as f64 + 12.0;
        let mut out = open(height, self.title);
        let mut x = LEFT;
        for (part, colour) in self.parts.iter().zip(COLOURS) {
            let _ = writeln!(out, "<rect x='{x}' y='36' width='12' height='12' fill='{colour}'/>");
            let _ = writeln!(out, "<text x='{}' y='46'>{}</text>", x + 17.0, escape(part));
            x += 40.0 + 7.0 * part.chars().count() as f64;
        }
        for (at, (name, parts)) in self.bars.iter().enumerate() {
            let y = TOP + (BAR + 8.0) * at as f64;
            let middle = y + BAR / 2.0 + 4.0;
            let _ = writeln!(
                out,
                "<text x='{}' y='{middle}' text-anchor='end'>{}</text>",
                LEFT - 8.0,
                escape(name)
            );
            let mut x = LEFT;
            for (value, colour) in parts.iter().zip(COLOURS) {
                let width = value / most * (WIDTH - LEFT - RIGHT);
                let _ = writeln!(
                    out,
                    "<rect x='{x:.1}' y='{y}' width='{width:.1}' height='{BAR}' fill='{colour}'/>"
                );
                x += width;
            }
            let sum = number(parts.iter().sum());
            let _ = writeln!(out, "<text x='{:.1}' y='{middle}'>{sum} {}</text>", x + 6.0, escape(self.unit));
        }
        out + "</svg>\n"
    }
}

impl Points<'_> {
    /// The picture; nothing but the axes without points.
    pub(super) fn svg(&self) -> String {
        let (height, bottom) = (360.0, 310.0);
        let mut out = open(height, self.title);
        let span = |values: Vec<f64>| {
            let (low, high) =
                values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
            let room = if high > low { 0.12 * (high - low) } else { 0.5 };
            (low - room, high + room)
        };
        let (x_low, x_high) = span(self.points.iter().map(|(_, x, _)| x.max(1e-9).log10()).collect());
        let (y_low, y_high) = span(self.points.iter().map(|(.., y)| *y).collect());
        let _ =
            writeln!(out, "<path d='M{LEFT} {TOP}V{bottom}H{}' fill='none' stroke='#444'/>", WIDTH - RIGHT);
        let _ = writeln!(out, "<text x='{}' y='{}'>{}</text>", LEFT, height - 12.0, escape(self.x));
        let _ = writeln!(out, "<text x='12' y='{}'>{}</text>", TOP - 8.0, escape(self.y));
        for (at, (name, x, y)) in self.points.iter().enumerate() {
            let px = LEFT + (x.max(1e-9).log10() - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT);
            let py = bottom - (y - y_low) / (y_high - y_low) * (bottom - TOP);
            let colour = COLOURS[at % COLOURS.len()];
            let _ = writeln!(out, "<circle cx='{px:.1}' cy='{py:.1}' r='5' fill='{colour}'/>");
            let _ = writeln!(
                out,
                "<text x='{:.1}' y='{:.1}'>{} ({}, {})</text>",
                px + 8.0,
                py + 4.0,
                escape(name),
                number(*x),
                number(*y)
            );
        }
        out + "</svg>\n"
    }
}

fn open(height: f64, title: &str) -> String {
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' font-family='sans-serif' font-size='13'>\n\
         <rect width='{WIDTH}' height='{height}' fill='white'/>\n<text x='12' y='22' font-size='16'>{}</text>\n",
        escape(title)
    )
}

/// Three digits that count.
fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_values() {
        let bars = vec![("a<b".to_owned(), vec![1.0, 3.0]), ("c".to_owned(), vec![2.0, 0.0])];
        let svg = Bars { title: "t", unit: "ms", parts: &["one", "two"], bars }.svg();
        let full = WIDTH - LEFT - RIGHT;
        for width in [full / 4.0, full * 3.0 / 4.0, full / 2.0] {
            assert!(svg.contains(&format!("width='{width:.1}' height='{BAR}'")), "{width}: {svg}");
        }
        assert!(svg.contains("a&lt;b") && !svg.contains("a<b") && svg.ends_with("</svg>\n"));
    }

    #[test]
    fn points_keep_their_order_and_no_points_are_no_panic() {
        let points = vec![("slow".to_owned(), 100.0, 0.5), ("quick".to_owned(), 1.0, 0.9)];
        let svg = Points { title: "t", x: "ms", y: "%", points }.svg();
        let at = |which: usize| -> f64 {
            let part = svg.split("cx='").nth(which).unwrap();
            part.split('\'').next().unwrap().parse().unwrap()
        };
        assert!(at(1) > at(2));
        assert!(Points { title: "t", x: "ms", y: "%", points: Vec::new() }.svg().contains("path"));
    }
}
