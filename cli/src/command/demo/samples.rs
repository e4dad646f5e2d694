//! What the demonstration runs: the embedded network and the digits drawn for it.
//!
//! The network is `assets/mnist_cnn.onnx` (trained as `training/README.md` tells), batch normalisation left in. The
//! digits are `assets/digits/digit_LABEL_VARIANT.png`, drawn for this project; none is from a data set. Calibration
//! uses the same drawings, each in nine places.

use std::path::Path;

use crate::error::Failure;
use crate::images::{Image, Wanted, read};

/// The network's file.
pub(super) const NETWORK: &[u8] = include_bytes!("../../../assets/mnist_cnn.onnx");

/// The name that the model gets.
pub(super) const NAME: &str = "mnist_cnn";

/// Largest shift of a drawing for calibration, in pixels.
const SHIFT: isize = 1;

macro_rules! digits {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_bytes!(concat!("../../../assets/digits/digit_", $name, ".png")) as &[u8])),*]
    };
}

/// Name, whose first character is the label, and PNG file of every drawing.
const DIGITS: [(&str, &[u8]); 16] = digits![
    "0_a", "0_b", "1_a", "1_b", "2_a", "2_b", "3_a", "4_a", "4_b", "5_a", "6_a", "7_a", "7_b", "8_a", "9_a",
    "9_b",
];

/// Writes the drawings into a folder and reads them as any others; gives the drawn labels with them.
///
/// # Errors
/// A folder that can't be written; a network that takes images of another size.
pub(super) fn digits(folder: &Path, want: Wanted) -> Result<(Vec<Image>, Vec<usize>), Failure> {
    for (name, file) in DIGITS {
        let path = folder.join(format!("digit_{name}.png"));
        std::fs::write(&path, file).map_err(|source| Failure::File { path, doing: "writing", source })?;
    }
    let labels = DIGITS.iter().map(|(name, _)| usize::from(name.as_bytes()[0] - b'0')).collect();
    Ok((read(folder, want, 0, Some(DIGITS.len()))?, labels))
}

/// The drawings in nine places each, for calibration.
pub(super) fn shifted(images: &[Image], height: usize, width: usize) -> Vec<Image> {
    let steps = || -SHIFT..=SHIFT;
    let places: Vec<(isize, isize)> =
        steps().flat_map(|rows| steps().map(move |columns| (rows, columns))).collect();
    images
        .iter()
        .flat_map(|image| {
            places.iter().map(move |&(rows, columns)| shift(image, height, width, rows, columns))
        })
        .collect()
}

/// An image moved down and to the right; what comes in is black.
fn shift(image: &Image, height: usize, width: usize, rows: isize, columns: isize) -> Image {
    let at = |row: usize, column: usize| {
        let source = row.checked_add_signed(-rows).zip(column.checked_add_signed(-columns));
        source.filter(|&(row, column)| row < height && column < width)
    };
    let plane = |pixels: &[f32]| -> Vec<f32> {
        (0..height)
            .flat_map(|row| (0..width).map(move |column| (row, column)))
            .map(|(row, column)| at(row, column).map_or(0.0, |(row, column)| pixels[row * width + column]))
            .collect()
    };
    let chw = image.chw.chunks_exact(height * width).flat_map(plane).collect();
    Image { name: image.name.clone(), chw, pixels: image.pixels }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drawings_are_digits_of_every_class() {
        let folder = tempfile::tempdir().unwrap();
        let want = Wanted { channels: 1, height: 28, width: 28, channels_last: false };
        let (images, labels) = digits(folder.path(), want).unwrap();
        assert_eq!(images.len(), labels.len());
        for (image, label) in images.iter().zip(&labels) {
            assert!(image.name.contains(&format!("digit_{label}_")), "{} is no {label}", image.name);
            assert!(image.pixels && image.chw.iter().any(|&pixel| pixel > 128.0), "{}", image.name);
        }
        assert!((0..10).all(|class| labels.contains(&class)));
        assert_eq!(shifted(&images, 28, 28).len(), 9 * images.len());
    }

    #[test]
    fn shifting_moves_pixels() {
        let image = Image { name: String::new(), chw: (1..=6).map(|v| v as f32).collect(), pixels: true };
        assert_eq!(shift(&image, 2, 3, 0, 0).chw, image.chw);
        assert_eq!(shift(&image, 2, 3, 1, 0).chw, [0.0, 0.0, 0.0, 1.0, 2.0, 3.0]);
        assert_eq!(shift(&image, 2, 3, 0, -1).chw, [2.0, 3.0, 0.0, 5.0, 6.0, 0.0]);
        assert_eq!(shift(&image, 2, 3, -1, 1).chw, [0.0, 4.0, 5.0, 0.0, 0.0, 0.0]);
    }
}
