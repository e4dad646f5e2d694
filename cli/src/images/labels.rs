//! Labels: the classes that images are known to belong to.
//!
//! | file | known by | labels |
//! |---|---|---|
//! | MNIST idx1, plain or gzip | first bytes | one byte each |
//! | CIFAR-10 / CIFAR-100 binary | name ends in `.bin` | first in each record, see [`super::cifar`] |
//! | NumPy `.npy`, one dimension, `u1` or `i8` | first bytes | the values |
//! | text | anything else | one per line |
//!
//! Text files are UTF-8 without quotes. Either every line is one whole number, or the first line is a header of names
//! separated by commas; then the column `label` is taken, and if there is a column `index`, it must count 0, 1, 2, …,
//! so that a shuffled file is not compared with the wrong images. Empty lines are allowed at the end only.

use std::path::Path;

use super::source::{Kind, Source};
use super::{ImageError, cifar, idx, npy, window};

/// Bytes that a text file of labels may have: 64 MiB.
const LARGEST_TEXT: u64 = 64 << 20;

/// Reads the labels `first .. first + count` of a file, or all from `first` on.
///
/// # Errors
///
/// The file cannot be read, breaks its format, or holds fewer labels than asked for.
pub(crate) fn read_labels(path: &Path, first: usize, count: Option<usize>) -> Result<Vec<usize>, ImageError> {
    let mut source = Source::open(path)?;
    match source.kind() {
        Kind::Idx1 => idx::read_labels(source, first, count),
        Kind::Cifar => cifar::read_labels(source, first, count),
        Kind::Npy => npy::read_labels(source, first, count),
        Kind::Idx3 | Kind::Picture => Err(source.damaged("it holds images, not labels")),
        Kind::Unknown => {
            let bytes = source.whole(LARGEST_TEXT)?;
            let text = str::from_utf8(&bytes).map_err(|error| ImageError::Format {
                path: path.to_owned(),
                problem: format!("it is neither idx, CIFAR, NumPy nor text ({error})"),
            })?;
            let labels = parse(text).map_err(|(line, problem)| ImageError::Label {
                path: path.to_owned(),
                line,
                problem,
            })?;
            Ok(labels[window(path, "labels", labels.len(), first, count, 1)?].to_vec())
        }
    }
}

/// The labels of a text, or the line (from 1) and what is wrong with it.
fn parse(text: &str) -> Result<Vec<usize>, (usize, String)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim_end();
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let mut lines = text.lines().enumerate().peekable();
    let header = lines.next_if(|(_, line)| line.contains(|c: char| c.is_ascii_alphabetic()));
    let columns = match header {
        Some((_, names)) => Columns::named(names)?,
        None => Columns { count: 1, label: 0, index: None },
    };
    lines
        .enumerate()
        .map(|(row, (at, line))| columns.label_of(row, line).map_err(|problem| (at + 1, problem)))
        .collect()
}

/// Where the label stands in a line.
struct Columns {
    count: usize,
    label: usize,
    index: Option<usize>,
}

impl Columns {
    fn named(header: &str) -> Result<Self, (usize, String)> {
        let names: Vec<&str> = header.split(',').map(str::trim).collect();
        let position = |name| names.iter().position(|&column| column.eq_ignore_ascii_case(name));
        let label = match (position("label"), names.len()) {
            (Some(label), _) => label,
            (None, _) => return Err((1, format!("is a header without a column \"label\": {header:?}"))),
        };
        Ok(Self { count: names.len(), label, index: position("index") })
    }

    fn label_of(&self, row: usize, line: &str) -> Result<usize, String> {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        if fields.len() != self.count {
            return Err(match self.count {
                1 => format!(
                    "has {} fields; without a header that names a column \"label\" there must be one",
                    fields.len()
                ),
                count => format!("has {} fields, the header has {count}", fields.len()),
            });
        }
        if let Some(index) = self.index
            && number(fields[index])? != row
        {
            return Err(format!("has the index {}, expected was {row}", fields[index]));
        }
        number(fields[self.label])
    }
}

fn number(field: &str) -> Result<usize, String> {
    field.parse().map_err(|_| format!("holds {field:?}, which is no whole number from 0 on"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read_text(text: &str) -> Result<Vec<usize>, ImageError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.csv");
        std::fs::write(&path, text).unwrap();
        read_labels(&path, 0, None)
    }

    #[test]
    fn texts_are_read() {
        assert_eq!(read_text("7\n2\n1\n").unwrap(), [7, 2, 1]);
        assert_eq!(read_text("7\r\n 2\r\n1\r\n\r\n").unwrap(), [7, 2, 1]);
        assert_eq!(read_text("\u{feff}7\n2").unwrap(), [7, 2]);
        assert_eq!(read_text("label\n4\n0\n").unwrap(), [4, 0]);
        assert_eq!(read_text("index,label,pred\n0,7,3\n1,2,4\n").unwrap(), [7, 2]);
        assert_eq!(read_text("name, Label\n9,7\n9,2\n").unwrap(), [7, 2]);
    }

    #[test]
    fn broken_texts_name_the_line() {
        for (text, line, fact) in [
            ("7\nx\n1\n", 2, "\"x\""),
            ("7\n\n1\n", 2, "\"\""),
            ("7\n-2\n", 2, "\"-2\""),
            ("7\n2.0\n", 2, "\"2.0\""),
            ("7\n99999999999999999999999\n", 2, "99999999999999999999999"),
            ("1,2,3\n", 1, "3 fields"),
            ("index,pred\n0,1\n", 1, "index,pred"),
            ("index,label\n0,1\n2,1\n", 3, "index 2"),
            ("index,label\n0,1\n1\n", 3, "1 fields"),
        ] {
            let error = read_text(text).unwrap_err();
            assert!(
                matches!(error, ImageError::Label { line: found, .. } if found == line),
                "{text:?}: {error}"
            );
            assert!(error.to_string().contains(fact), "{text:?}: {error}");
        }
        assert!(matches!(read_text("").unwrap_err(), ImageError::TooFew { available: 0, .. }));
        assert!(matches!(read_text("label\n").unwrap_err(), ImageError::TooFew { available: 0, .. }));
    }

    #[test]
    fn idx1_is_read_plain_and_packed_and_refused_when_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = vec![0, 0, 8, 1, 0, 0, 0, 5];
        file.extend([5, 0, 4, 1, 9]);
        let path = folder.path().join("labels");
        std::fs::write(&path, &file).unwrap();
        assert_eq!(read_labels(&path, 0, None).unwrap(), [5, 0, 4, 1, 9]);
        assert_eq!(read_labels(&path, 3, Some(2)).unwrap(), [1, 9]);
        assert!(read_labels(&path, 3, Some(3)).is_err());
        for length in 8..file.len() {
            std::fs::write(&path, &file[..length]).unwrap();
            assert!(matches!(read_labels(&path, 0, Some(1)), Err(ImageError::Truncated { .. })), "{length}");
        }

        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&file).unwrap();
        let packed = encoder.finish().unwrap();
        std::fs::write(&path, &packed).unwrap();
        assert_eq!(read_labels(&path, 1, Some(2)).unwrap(), [0, 4]);
        for length in 0..packed.len() {
            std::fs::write(&path, &packed[..length]).unwrap();
            assert!(read_labels(&path, 0, None).is_err(), "packed, cut to {length} of {}", packed.len());
        }
    }

    #[test]
    fn files_of_images_are_no_labels() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("images");
        std::fs::write(&path, [0, 0, 8, 3, 0, 0, 0, 0, 0, 0, 0, 28, 0, 0, 0, 28]).unwrap();
        assert!(read_labels(&path, 0, None).unwrap_err().to_string().contains("not labels"));
        std::fs::write(&path, [0xff, 0xfe, 0x00, 0xc3, 0x28]).unwrap();
        assert!(read_labels(&path, 0, None).unwrap_err().to_string().contains("neither"));
    }
}
