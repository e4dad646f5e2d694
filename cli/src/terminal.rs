//! What a person sees: small pictures, tables, sizes and times.
//!
//! Pictures are drawn with half blocks, two pixels above each other in one character, which comes out nearly square in
//! most terminals. What the terminal can do is decided once, by [`Paint::choose`]:
//!
//! | condition, first match | paint |
//! |---|---|
//! | not a terminal, or `NO_COLOR` set and not empty, or `TERM` is `dumb` or not set | ASCII shades |
//! | `COLORTERM` is `truecolor` or `24bit` | half blocks, 24-bit grey |
//! | else | half blocks, the 24 greys, black and white of the 256-colour table |
//!
//! Bytes are decimal (1 KB = 1000 bytes). Widths count characters, so captions should keep to letters, digits and signs
//! that are one column wide.

use std::env;
use std::fmt::Write as _;

use comfy_table::{CellAlignment, LineStyle, Table, TableStyle, presets};

/// Spaces between two pictures of a row.
const GAP: usize = 2;

/// Tables: lines above, below, and under the header.
const LINES: TableStyle = presets::UTF8_HORIZONTAL_ONLY
    .header_separator(LineStyle::none().fill('─').junction('─'))
    .row_separator(LineStyle::none());

/// Shades from dark to light, for a dark background.
const SHADES: &[u8; 10] = b" .:-=+*#%@";

/// How pictures are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    /// Half blocks in 24-bit colour.
    TrueColor,
    /// Half blocks in the 256-colour table.
    Colors256,
    /// Characters of different darkness.
    Ascii,
}

impl Paint {
    /// The paint for an output that is a terminal or not, by this process's environment.
    pub(crate) fn detect(is_terminal: bool) -> Self {
        let variable = |name| env::var(name).unwrap_or_default();
        Self::choose(is_terminal, &variable("NO_COLOR"), &variable("TERM"), &variable("COLORTERM"))
    }

    /// The same from the values of the three variables; empty: not set.
    fn choose(is_terminal: bool, no_color: &str, term: &str, color_term: &str) -> Self {
        if !is_terminal || !no_color.is_empty() || term.is_empty() || term == "dumb" {
            Self::Ascii
        } else if matches!(color_term, "truecolor" | "24bit") {
            Self::TrueColor
        } else {
            Self::Colors256
        }
    }
}

/// A small greyscale picture with a caption.
#[derive(Clone, Debug)]
pub(crate) struct Picture {
    width: usize,
    height: usize,
    grey: Vec<u8>,
    caption: Vec<String>,
}

impl Picture {
    /// A picture from values in 0..=255 in CHW order (others are clamped); channels are averaged.
    ///
    /// The caption's lines are centred below it. `chw` holds `channels · height · width` values; missing ones are drawn
    /// black.
    pub(crate) fn new(chw: &[f32], height: usize, width: usize, caption: &str) -> Self {
        let pixels = height * width;
        let planes = chw.len().checked_div(pixels).unwrap_or(0).max(1) as f32;
        let grey = (0..pixels)
            // A cast of f32 to u8 saturates.
            .map(|at| (chw.iter().skip(at).step_by(pixels).sum::<f32>() / planes).round() as u8)
            .collect();
        Self { width, height, grey, caption: caption.lines().map(str::to_owned).collect() }
    }

    /// The grey at a place, black outside.
    fn at(&self, row: usize, column: usize) -> u8 {
        if row < self.height { self.grey[row * self.width + column] } else { 0 }
    }

    /// Characters per line, caption included.
    fn columns(&self) -> usize {
        self.caption.iter().map(|line| line.chars().count()).max().unwrap_or(0).max(self.width)
    }

    /// Lines of the picture without its caption.
    fn lines(&self) -> usize {
        self.height.div_ceil(2)
    }

    /// Appends one line of the picture, `self.width` characters.
    fn draw_line(&self, line: usize, paint: Paint, out: &mut String) {
        for column in 0..self.width {
            let (upper, lower) = (self.at(2 * line, column), self.at(2 * line + 1, column));
            match paint {
                Paint::Ascii => {
                    let mean = (usize::from(upper) + usize::from(lower)) / 2;
                    out.push(char::from(SHADES[mean * (SHADES.len() - 1) / 255]));
                }
                Paint::TrueColor => {
                    let _ = write!(
                        out,
                        "\x1b[38;2;{upper};{upper};{upper};48;2;{lower};{lower};{lower}m\u{2580}"
                    );
                }
                Paint::Colors256 => {
                    let (upper, lower) = (grey_of_256(upper), grey_of_256(lower));
                    let _ = write!(out, "\x1b[38;5;{upper};48;5;{lower}m\u{2580}");
                }
            }
        }
        if paint != Paint::Ascii {
            out.push_str("\x1b[0m");
        }
    }
}

/// The nearest of black (16), the greys 8, 18, …, 238 (232 to 255) and white (231).
fn grey_of_256(grey: u8) -> u8 {
    match grey {
        0..=3 => 16,
        247..=255 => 231,
        _ => 232 + (grey.saturating_sub(3) / 10).min(23),
    }
}

/// Draws pictures side by side with their captions below, in as many rows as `columns` characters per line need.
///
/// Each line ends with a line feed; a picture wider than `columns` has a row to itself.
pub(crate) fn draw(pictures: &[Picture], paint: Paint, columns: usize) -> String {
    let mut out = String::new();
    let mut rest = pictures;
    while !rest.is_empty() {
        let mut used = 0;
        let fitting = rest.iter().take_while(|picture| {
            used += picture.columns() + GAP;
            used - GAP <= columns
        });
        let (row, after) = rest.split_at(fitting.count().max(1));
        draw_row(row, paint, &mut out);
        rest = after;
        if !rest.is_empty() {
            out.push('\n');
        }
    }
    out
}

fn draw_row(row: &[Picture], paint: Paint, out: &mut String) {
    let picture_lines = row.iter().map(Picture::lines).max().unwrap_or(0);
    let caption_lines = row.iter().map(|picture| picture.caption.len()).max().unwrap_or(0);
    for line in 0..picture_lines + caption_lines {
        let mut pending = 0;
        for picture in row {
            let caption = line.checked_sub(picture_lines).and_then(|at| picture.caption.get(at));
            let is_drawn = line < picture.lines();
            let width = match caption {
                Some(text) => text.chars().count(),
                None if is_drawn => picture.width,
                None => 0,
            };
            let left = (picture.columns() - width) / 2;
            if width > 0 {
                // Spaces are only written before something, so that no line ends with them.
                out.extend(std::iter::repeat_n(' ', pending + left));
                match caption {
                    Some(text) => out.push_str(text),
                    None => picture.draw_line(line, paint, out),
                }
                pending = 0;
            } else {
                pending += left;
            }
            pending += picture.columns() - left - width + GAP;
        }
        out.push('\n');
    }
}

/// A table with a header; columns whose cells all look like numbers are aligned right, the others left.
///
/// Rows that are shorter than the header end in empty cells. The last line has no line feed.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_style(LINES);
    table.set_header(header.iter().copied());
    for row in rows {
        table.add_row(row.iter().map(String::as_str).chain(std::iter::repeat("")).take(header.len()));
    }
    for index in 0..header.len() {
        let mut cells =
            rows.iter().filter_map(|row| row.get(index)).filter(|cell| !cell.is_empty()).peekable();
        if cells.peek().is_some()
            && cells.all(|cell| looks_like_a_number(cell))
            && let Some(column) = table.column_mut(index)
        {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

/// Numbers with or without a unit: they begin with a digit, perhaps after a sign, and have few letters.
fn looks_like_a_number(cell: &str) -> bool {
    let unsigned = cell.trim_start_matches(['-', '−', '+', '<', '≤', '~', '≈', ' ']);
    cell == "-"
        || cell == "–"
        || (unsigned.starts_with(|c: char| c.is_ascii_digit())
            && unsigned
                .split_whitespace()
                .all(|word| word.starts_with(|c: char| c.is_ascii_digit()) || word.chars().count() <= 4))
}

/// A number of bytes with three significant digits: `999 B`, `1.23 KB`, `45.6 MB`. 1 KB = 1000 bytes.
pub(crate) fn bytes(count: u64) -> String {
    if count < 1000 {
        return format!("{count} B");
    }
    let mut value = count as f64;
    for unit in ["KB", "MB", "GB", "TB", "PB"] {
        value /= 1000.0;
        // Rounding must not print 1000 of a unit.
        if value < 999.5 {
            return format!("{} {unit}", three_digits(value));
        }
    }
    format!("{} EB", three_digits(value / 1000.0))
}

/// A duration in seconds with three significant digits: `850 ns`, `12.3 µs`, `4.56 ms`, `7.89 s`; from 100 s on
/// `1 min 40 s` or `2 h 5 min`. Negative values and NaN print as `0 s`.
pub(crate) fn seconds(duration: f64) -> String {
    if duration.is_nan() || duration <= 0.0 {
        return "0 s".to_owned();
    }
    for (unit, factor) in [("ns", 1e9), ("µs", 1e6), ("ms", 1e3)] {
        let value = duration * factor;
        if value < 999.5 {
            return format!("{} {unit}", three_digits(value));
        }
    }
    if duration < 99.95 {
        return format!("{} s", three_digits(duration));
    }
    let whole = duration.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// Three significant digits of a number below 999.5.
fn three_digits(value: f64) -> String {
    match value {
        value if value < 9.995 => format!("{value:.2}"),
        value if value < 99.95 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A 4×3 picture whose left half is white.
    fn half(caption: &str) -> Picture {
        let chw: Vec<f32> = (0..12).map(|at| if at % 4 < 2 { 255.0 } else { 0.0 }).collect();
        Picture::new(&chw, 3, 4, caption)
    }

    #[test]
    fn paint_follows_the_environment() {
        assert_eq!(Paint::choose(true, "", "xterm-256color", "truecolor"), Paint::TrueColor);
        assert_eq!(Paint::choose(true, "", "xterm-256color", "24bit"), Paint::TrueColor);
        assert_eq!(Paint::choose(true, "", "xterm-256color", ""), Paint::Colors256);
        for (is_terminal, no_color, term) in
            [(false, "", "xterm"), (true, "1", "xterm"), (true, "", "dumb"), (true, "", "")]
        {
            assert_eq!(Paint::choose(is_terminal, no_color, term, "truecolor"), Paint::Ascii);
        }
        assert_eq!(Paint::detect(false), Paint::Ascii);
    }

    #[test]
    fn ascii_pictures_stand_side_by_side() {
        let row = draw(&[half("7"), half("seven!"), half("")], Paint::Ascii, 80);
        // Cells of 4, 6 and 4 columns. Three rows of pixels are two lines; below the last row all is black.
        let expected = ["@@     @@     @@  ", "==     ==     ==  ", " 7    seven!"];
        assert_eq!(row.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn rows_are_broken_where_the_terminal_ends() {
        let pictures = [half("a"), half("b"), half("c")];
        let lines = |columns| draw(&pictures, Paint::Ascii, columns).lines().count();
        assert_eq!(lines(16), 3);
        assert_eq!(lines(15), 3 + 1 + 3);
        assert_eq!(lines(10), 3 + 1 + 3);
        assert_eq!(lines(9), 3 * 3 + 2);
        assert_eq!(lines(0), 3 * 3 + 2);
        assert_eq!(draw(&[], Paint::Ascii, 80), "");
    }

    #[test]
    fn half_blocks_hold_two_pixels() {
        let picture = Picture::new(&[10.0, 300.0, -5.0, 127.6], 2, 2, "x");
        let drawn = draw(std::slice::from_ref(&picture), Paint::TrueColor, 80);
        assert_eq!(
            drawn,
            "\x1b[38;2;10;10;10;48;2;0;0;0m▀\x1b[38;2;255;255;255;48;2;128;128;128m▀\x1b[0m\nx\n"
        );
        let drawn = draw(&[picture], Paint::Colors256, 80);
        assert_eq!(drawn, "\x1b[38;5;232;48;5;16m▀\x1b[38;5;231;48;5;244m▀\x1b[0m\nx\n");
    }

    #[test]
    fn greys_of_the_colour_table_are_the_nearest() {
        let table: Vec<(u8, i32)> = (232..=255)
            .map(|index| (index, 8 + 10 * (i32::from(index) - 232)))
            .chain([(16, 0), (231, 255)])
            .collect();
        for grey in 0..=255u8 {
            let distance = |index: u8| {
                let (_, value) = table.iter().find(|(i, _)| *i == index).unwrap();
                (value - i32::from(grey)).abs()
            };
            let nearest = table.iter().map(|&(index, _)| distance(index)).min().unwrap();
            assert!(distance(grey_of_256(grey)) <= nearest, "{grey}: {}", grey_of_256(grey));
        }
    }

    #[test]
    fn colours_are_averaged() {
        let picture = Picture::new(&[30.0, 60.0, 90.0], 1, 1, "");
        assert_eq!(picture.grey, [60]);
        assert_eq!(Picture::new(&[], 1, 2, "").grey, [0, 0]);
    }

    #[test]
    fn tables_align_numbers_right() {
        let rows = [("conv1", "1.23 MB", "7"), ("relu", "45.6 KB", "12")]
            .map(|(a, b, c)| vec![a.to_owned(), b.to_owned(), c.to_owned()]);
        let text = table(&["layer", "sent", "rounds"], &rows);
        let lines: Vec<&str> = text.lines().collect();
        // Three rules, the header, two rows.
        assert_eq!(lines.len(), 6, "{text}");
        let line = |name: &str| *lines.iter().find(|line| line.contains(name)).unwrap();
        let end = |line: &str, cell: &str| line[..line.find(cell).unwrap()].chars().count() + cell.len();
        assert_eq!(end(line("conv1"), "1.23 MB"), end(line("relu"), "45.6 KB"));
        assert_eq!(line("conv1").trim_end().chars().count(), line("relu").trim_end().chars().count());
        assert_eq!(line("conv1").find("conv1"), line("relu").find("relu"));
    }

    #[test]
    fn numbers_are_told_from_names() {
        for number in ["0", "-1.5", "12 µs", "1 min 40 s", "1.2e-5", "≤ 3", "99.2 %", "-"] {
            assert!(looks_like_a_number(number), "{number}");
        }
        for name in ["conv1", "", "relu", "3x3 convolution", "no"] {
            assert!(!looks_like_a_number(name), "{name}");
        }
    }

    #[test]
    fn sizes_have_three_digits() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 KB"),
            (1234, "1.23 KB"),
            (9_994, "9.99 KB"),
            (9_996, "10.0 KB"),
            (99_960, "100 KB"),
            (999_499, "999 KB"),
            (999_500, "1.00 MB"),
            (2_000_000_000, "2.00 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn times_have_three_digits() {
        for (duration, text) in [
            (0.0, "0 s"),
            (-1.0, "0 s"),
            (f64::NAN, "0 s"),
            (8.5e-7, "850 ns"),
            (1.234e-5, "12.3 µs"),
            (0.004_56, "4.56 ms"),
            (0.9996, "1.00 s"),
            (7.891, "7.89 s"),
            (99.9, "99.9 s"),
            (99.96, "1 min 40 s"),
            (3599.7, "1 h 0 min"),
            (7_500.0, "2 h 5 min"),
        ] {
            assert_eq!(seconds(duration), text);
        }
    }
}
