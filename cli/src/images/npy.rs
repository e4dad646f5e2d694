//! NumPy arrays, `.npy` versions 1 and 2 (NEP 1, "A simple file format for NumPy arrays"); plain or gzip.
//!
//! | bytes | content |
//! |---|---|
//! | 0..6 | `93 4e 55 4d 50 59` ("\x93NUMPY") |
//! | 6..8 | version: 1, 0 or 2, 0 |
//! | 8..10 (version 2: 8..12) | length of the header, little-endian |
//! | then | the header, a Python dictionary of `descr`, `fortran_order`, `shape` |
//! | then | the values in C order |
//!
//! | `descr` | values are taken as |
//! |---|---|
//! | `u1`, `i8` (little-endian) | pixels, which must lie in 0..=255 |
//! | `f4`, `f8` (little-endian) | network input as it is; finite; `f8` is rounded to `f32` |
//!
//! | `shape` | images, for a network input of C×H×W (or H×W×C, where the network says so) |
//! |---|---|
//! | N×C×H×W, N×H×W×C | N |
//! | C×H×W, H×W×C, H×W if C = 1 | 1 |
//! | N×H×W if C = 1; N×(C·H·W) | N |
//! | any, for a network that takes a flat vector of the same length | 1, or as many as the first dimension says |
//!
//! Other types, byte orders, Fortran order and pickled objects are refused.

use super::source::Source;
use super::{Image, ImageError, Wanted, name_of, window};

/// Bytes that a header may have: what version 1 can express.
const LARGEST_HEADER: u32 = 1 << 16;

/// Reads images `first .. first + count`.
pub(super) fn read_images(
    mut source: Source,
    want: Wanted,
    first: usize,
    count: Option<usize>,
) -> Result<Vec<Image>, ImageError> {
    let header = Header::read(&mut source)?;
    let images = images_in(&header.shape, want).ok_or_else(|| ImageError::WrongSize {
        path: source.path().to_owned(),
        found: format!("an array of shape {}", shape_text(&header.shape)),
        wanted: want,
    })?;
    let range = window(source.path(), "images", images, first, count, want.values())?;
    let reads_to_the_end = range.end == images;
    let bytes_each = want.values() * header.element.size();
    source.skip(range.start as u64 * bytes_each as u64, "the images that are passed over")?;
    let mut result = Vec::new();
    let mut bytes = vec![0; bytes_each];
    for index in range {
        source.exact(&mut bytes, &format!("image {index}"))?;
        let values = values(&source, header.element, &bytes, index)?;
        let chw = if want.channels_last { channels_first(&values, want) } else { values };
        let pixels = header.element.is_integer();
        result.push(Image { name: name_of(source.path(), index), chw, pixels });
    }
    if reads_to_the_end {
        source.finish()?;
    }
    Ok(result)
}

/// Reads labels `first .. first + count` of a one-dimensional array of integers.
pub(super) fn read_labels(
    mut source: Source,
    first: usize,
    count: Option<usize>,
) -> Result<Vec<usize>, ImageError> {
    let header = Header::read(&mut source)?;
    let &[labels] = header.shape.as_slice() else {
        let shape = shape_text(&header.shape);
        return Err(source.damaged(&format!("labels need one dimension, its shape is {shape}")));
    };
    if !header.element.is_integer() {
        return Err(source.damaged("labels need integers, it holds floating-point numbers"));
    }
    let range = window(source.path(), "labels", labels, first, count, 1)?;
    let reads_to_the_end = range.end == labels;
    let size = header.element.size();
    source.skip(range.start as u64 * size as u64, "the labels that are passed over")?;
    let mut result = Vec::new();
    let mut bytes = vec![0; size];
    for index in range {
        source.exact(&mut bytes, &format!("label {index}"))?;
        let label = header.element.integer(&bytes);
        result.push(usize::try_from(label).map_err(|_| {
            source.damaged(&format!("label {index} is {label}; labels are whole numbers from 0 on"))
        })?);
    }
    if reads_to_the_end {
        source.finish()?;
    }
    Ok(result)
}

/// The types of values that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    F4,
    F8,
    U1,
    I8,
}

impl Element {
    /// Parses `descr`. A single byte has no byte order; NumPy writes `|`.
    fn parse(descr: &str) -> Option<Self> {
        match descr {
            "<f4" => Some(Self::F4),
            "<f8" => Some(Self::F8),
            "|u1" | "<u1" | "u1" => Some(Self::U1),
            "<i8" => Some(Self::I8),
            _ => None,
        }
    }

    /// Bytes per value.
    fn size(self) -> usize {
        match self {
            Self::U1 => 1,
            Self::F4 => 4,
            Self::F8 | Self::I8 => 8,
        }
    }

    fn is_integer(self) -> bool {
        matches!(self, Self::U1 | Self::I8)
    }

    /// The value in `bytes` (as many as [`Self::size`] says) of an integer type.
    fn integer(self, bytes: &[u8]) -> i64 {
        match self {
            Self::U1 => i64::from(bytes[0]),
            _ => i64::from_le_bytes(eight(bytes)),
        }
    }
}

/// The values of one image, checked.
fn values(source: &Source, element: Element, bytes: &[u8], image: usize) -> Result<Vec<f32>, ImageError> {
    let value_at = |(position, chunk): (usize, &[u8])| {
        if element.is_integer() {
            let value = element.integer(chunk);
            return match u8::try_from(value) {
                Ok(pixel) => Ok(f32::from(pixel)),
                Err(_) => {
                    Err(ImageError::NotAPixel { path: source.path().to_owned(), image, position, value })
                }
            };
        }
        let value = match element {
            Element::F4 => f64::from(f32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]])),
            _ => f64::from_le_bytes(eight(chunk)),
        };
        // Also catches an f8 beyond the range of f32, which the cast turns into an infinity.
        if (value as f32).is_finite() {
            Ok(value as f32)
        } else {
            Err(ImageError::NotFinite { path: source.path().to_owned(), image, position, value })
        }
    };
    bytes.chunks_exact(element.size()).enumerate().map(value_at).collect()
}

fn eight(bytes: &[u8]) -> [u8; 8] {
    std::array::from_fn(|at| bytes[at])
}

/// H×W×C to C×H×W.
fn channels_first(hwc: &[f32], want: Wanted) -> Vec<f32> {
    (0..want.channels).flat_map(|c| hwc.iter().skip(c).step_by(want.channels).copied()).collect()
}

/// How many images an array of this shape holds, by the table above.
fn images_in(shape: &[usize], want: Wanted) -> Option<usize> {
    let Wanted { channels, height, width, channels_last } = want;
    let one = if channels_last { [height, width, channels] } else { [channels, height, width] };
    let values = want.values();
    let is_one = |dims: &[usize]| {
        let product = dims.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
        dims == one
            || dims == [values]
            || (channels == 1 && dims == [height, width])
            || (want.is_flat() && product == Some(values))
    };
    match shape {
        shape if is_one(shape) => Some(1),
        [images, rest @ ..] if is_one(rest) => Some(*images),
        _ => None,
    }
}

/// A shape as Python writes it.
fn shape_text(shape: &[usize]) -> String {
    match shape {
        [one] => format!("({one},)"),
        _ => format!("({})", shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")),
    }
}

/// What a file says about its array.
struct Header {
    element: Element,
    shape: Vec<usize>,
}

impl Header {
    /// Reads and checks everything before the values, and that there are as many values as it says.
    fn read(source: &mut Source) -> Result<Self, ImageError> {
        let mut start = [0; 8];
        source.exact(&mut start, "its header")?;
        let mut length = [0; 4];
        let length_bytes = match start[6..] {
            [1, 0] => 2,
            [2, 0] => 4,
            _ => {
                let version = format!("{}.{}", start[6], start[7]);
                return Err(source.damaged(&format!("its version is {version}, read are 1.0 and 2.0")));
            }
        };
        source.exact(&mut length[..length_bytes], "its header")?;
        let length = u32::from_le_bytes(length);
        if length > LARGEST_HEADER {
            return Err(source.damaged(&format!("its header claims to be {length} bytes long")));
        }
        let mut text = vec![0; length as usize];
        source.exact(&mut text, "its header")?;
        let header = Dictionary::parse(&text)
            .ok_or(
                "its header is not the dictionary of descr, fortran_order and shape that NumPy writes".into(),
            )
            .and_then(Self::check)
            .map_err(|problem| source.damaged(&problem))?;
        let data = header.shape.iter().try_fold(header.element.size() as u64, |bytes, &size| {
            bytes.checked_mul(u64::try_from(size).ok()?)
        });
        let before = 8 + length_bytes as u64 + u64::from(length);
        source.promise(data.and_then(|data| data.checked_add(before)))?;
        Ok(header)
    }

    fn check(dictionary: Dictionary<'_>) -> Result<Self, String> {
        let Dictionary { descr, fortran_order, shape } = dictionary;
        let element = Element::parse(descr)
            .ok_or_else(|| format!("its values have the type {descr:?}; read are <f4, <f8, |u1 and <i8"))?;
        if fortran_order && shape.len() > 1 {
            return Err("its values are in Fortran order; save it with numpy.ascontiguousarray".to_owned());
        }
        Ok(Self { element, shape })
    }
}

/// The header's dictionary.
struct Dictionary<'a> {
    descr: &'a str,
    fortran_order: bool,
    shape: Vec<usize>,
}

impl<'a> Dictionary<'a> {
    /// Parses `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`, keys in any order, each once.
    fn parse(text: &'a [u8]) -> Option<Self> {
        let mut rest = str::from_utf8(text).ok()?.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        while !rest.is_empty() {
            let (key, after) = quoted(rest)?;
            let value = after.trim_start().strip_prefix(':')?.trim_start();
            let after = match key {
                "descr" if descr.is_none() => {
                    let (text, after) = quoted(value)?;
                    descr = Some(text);
                    after
                }
                "fortran_order" if fortran_order.is_none() => {
                    let end = value.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(value.len());
                    fortran_order = match &value[..end] {
                        "True" => Some(true),
                        "False" => Some(false),
                        _ => return None,
                    };
                    &value[end..]
                }
                "shape" if shape.is_none() => {
                    let (inside, after) = value.strip_prefix('(')?.split_once(')')?;
                    shape = Some(tuple(inside)?);
                    after
                }
                _ => return None,
            };
            rest = match after.trim_start().strip_prefix(',') {
                Some(after) => after.trim_start(),
                None if after.trim().is_empty() => "",
                None => return None,
            };
        }
        Some(Self { descr: descr?, fortran_order: fortran_order?, shape: shape? })
    }
}

/// A string literal without escapes, and what follows it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let (inside, after) = text[1..].split_once(quote)?;
    (!inside.contains('\\')).then_some((inside, after))
}

/// The inside of a tuple of whole numbers.
fn tuple(inside: &str) -> Option<Vec<usize>> {
    let mut parts: Vec<&str> = inside.split(',').map(str::trim).collect();
    if parts.last() == Some(&"") {
        parts.pop();
    }
    parts
        .into_iter()
        .map(|part| if part.bytes().all(|byte| byte.is_ascii_digit()) { part.parse().ok() } else { None })
        .collect()
}

#[cfg(test)]
mod tests;
