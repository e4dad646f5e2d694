//! CIFAR's binary files.
//!
//! A file is a row of records without a header (A. Krizhevsky's page on CIFAR):
//!
//! | set | record | label read |
//! |---|---|---|
//! | CIFAR-10 | 1 label byte, then 3 planes (red, green, blue) of 32×32 bytes: 3073 bytes | the label |
//! | CIFAR-100, as first published | coarse label, fine label, planes: 3074 bytes | the fine label |
//! | CIFAR-100, one label | as CIFAR-10 | the label |
//!
//! The record length is told from the file's length: a multiple of 3073 (tried first) or of 3074.

use super::source::Source;
use super::{Image, ImageError, Wanted, name_of, window};

const PIXELS: usize = 3 * 32 * 32;

/// Reads images `first .. first + count`.
pub(super) fn read_images(
    mut source: Source,
    want: Wanted,
    first: usize,
    count: Option<usize>,
) -> Result<Vec<Image>, ImageError> {
    let (records, labels) = layout(&source)?;
    if !want.accepts(3, 32, 32) {
        let found = format!("{records} images of 3×32×32");
        return Err(ImageError::WrongSize { path: source.path().to_owned(), found, wanted: want });
    }
    let range = window(source.path(), "images", records, first, count, PIXELS)?;
    source.skip(range.start as u64 * (labels + PIXELS) as u64, "the images that are passed over")?;
    let mut record = vec![0; labels + PIXELS];
    range
        .map(|index| {
            source.exact(&mut record, &format!("image {index}"))?;
            let chw = record[labels..].iter().map(|&pixel| f32::from(pixel)).collect();
            Ok(Image { name: name_of(source.path(), index), chw, pixels: true })
        })
        .collect()
}

/// Reads labels `first .. first + count`.
pub(super) fn read_labels(
    mut source: Source,
    first: usize,
    count: Option<usize>,
) -> Result<Vec<usize>, ImageError> {
    let (records, labels) = layout(&source)?;
    let range = window(source.path(), "labels", records, first, count, 1)?;
    source.skip(range.start as u64 * (labels + PIXELS) as u64, "the labels that are passed over")?;
    let mut record = vec![0; labels + PIXELS];
    range
        .map(|index| {
            source.exact(&mut record, &format!("record {index}"))?;
            Ok(usize::from(record[labels - 1]))
        })
        .collect()
}

/// Number of records and label bytes in each.
fn layout(source: &Source) -> Result<(usize, usize), ImageError> {
    let length = source.plain_length().unwrap_or(0) as usize;
    for labels in [1, 2] {
        if length > 0 && length.is_multiple_of(labels + PIXELS) {
            return Ok((length / (labels + PIXELS), labels));
        }
    }
    Err(source.damaged(&format!(
        "its length, {length} bytes, is no multiple of a CIFAR record (3073 bytes, or 3074 with two labels)"
    )))
}
