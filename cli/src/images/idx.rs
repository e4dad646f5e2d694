//! MNIST's idx files: `idx3` holds images, `idx1` labels; plain or gzip.
//!
//! Layout (Y. LeCun's page on MNIST), all integers big-endian:
//!
//! | bytes | idx3 | idx1 |
//! |---|---|---|
//! | 0..4 | 0, 0, 8 (`u8` data), 3 dimensions | 0, 0, 8, 1 dimension |
//! | 4..8 | number of images | number of labels |
//! | 8..16 | rows, columns (4 bytes each) | |
//! | then | pixels row by row, 0..=255, one byte each | labels, one byte each |

use super::source::Source;
use super::{Image, ImageError, Wanted, name_of, window};

/// Reads images `first .. first + count` of an idx3 file.
pub(super) fn read_images(
    mut source: Source,
    want: Wanted,
    first: usize,
    count: Option<usize>,
) -> Result<Vec<Image>, ImageError> {
    let mut header = [0; 16];
    source.exact(&mut header, "its header")?;
    let [images, height, width] = [4, 8, 12].map(|at| big_endian(&header, at));
    let pixels = u64::from(height) * u64::from(width);
    source.promise(pixels.checked_mul(images.into()).and_then(|all| all.checked_add(16)))?;
    if !want.accepts(1, height as usize, width as usize) {
        let found = format!("{images} images of 1×{height}×{width}");
        return Err(ImageError::WrongSize { path: source.path().to_owned(), found, wanted: want });
    }
    let range = window(source.path(), "images", images as usize, first, count, want.values())?;
    let reads_to_the_end = range.end == images as usize;
    source.skip(range.start as u64 * pixels, "the images that are passed over")?;
    // Grown while reading, so that a header that lies costs nothing.
    let mut result = Vec::new();
    let mut bytes = vec![0; want.values()];
    for index in range {
        source.exact(&mut bytes, &format!("image {index}"))?;
        let chw = bytes.iter().map(|&pixel| f32::from(pixel)).collect();
        result.push(Image { name: name_of(source.path(), index), chw, pixels: true });
    }
    if reads_to_the_end {
        source.finish()?;
    }
    Ok(result)
}

/// Reads labels `first .. first + count` of an idx1 file.
pub(super) fn read_labels(
    mut source: Source,
    first: usize,
    count: Option<usize>,
) -> Result<Vec<usize>, ImageError> {
    let mut header = [0; 8];
    source.exact(&mut header, "its header")?;
    let labels = big_endian(&header, 4);
    source.promise(Some(u64::from(labels) + 8))?;
    let range = window(source.path(), "labels", labels as usize, first, count, 1)?;
    let reads_to_the_end = range.end == labels as usize;
    source.skip(range.start as u64, "the labels that are passed over")?;
    let mut result = Vec::new();
    let mut byte = [0];
    for index in range {
        source.exact(&mut byte, &format!("label {index}"))?;
        result.push(usize::from(byte[0]));
    }
    if reads_to_the_end {
        source.finish()?;
    }
    Ok(result)
}

/// The 32-bit number at a position that the caller knows to be inside.
fn big_endian(header: &[u8], at: usize) -> u32 {
    header[at..at + 4].iter().fold(0, |number, &byte| number << 8 | u32::from(byte))
}
