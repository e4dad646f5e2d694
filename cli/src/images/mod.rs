//! Reading images and labels from files.
//!
//! What the client classifies comes from files of very different kinds. This module turns each into the same thing:
//! one vector of `f32` per image, ordered channel, row, column (CHW), of exactly the size that the network wants.
//!
//! | file | known by | images | values |
//! |---|---|---|---|
//! | PNG, JPEG, PGM, PPM, PBM | first bytes | 1 | pixels 0..=255 |
//! | MNIST idx3, plain or gzip | first bytes | as the header says | pixels 0..=255 |
//! | CIFAR-10 / CIFAR-100 binary | name ends in `.bin` | file length / record length | pixels 0..=255 |
//! | NumPy `.npy` version 1 or 2, plain or gzip | first bytes | as the shape says | `u1`, `i8`: pixels 0..=255; `f4`, `f8`: network input |
//! | a directory | | its pictures, sorted by the bytes of their names | pixels 0..=255 |
//!
//! **Pixels and inputs.** Pixels ([`Image::pixels`] is true) still await the model's input scaling,
//! `(x·scale − mean) / deviation` per channel. A NumPy array of floats is taken as network input *as it is*: whoever
//! writes floats has scaled them already, and scaling them twice would give wrong labels without any error.
//!
//! **Sizes are never adapted.** An image of another height or width is an error that names both sizes; cropping and
//! resizing belong to whoever trained the network. The one freedom: a network that takes a flat vector (two of its three
//! dimensions are 1) accepts a greyscale image with as many pixels, row by row. Colours are adapted: see [`picture`].
//!
//! **Hostile files.** Sizes in headers are checked against the file's length, or for gzip against a cap of 1 GiB, before
//! anything is allocated or unpacked; unpacking stops where the header says the data end. NaN and infinities are
//! refused with their index. No input panics.
//!
//! Not promised: orientation tags in photographs are not applied, colour profiles are ignored, and the checksum of a
//! gzip file is only verified when its last image is read.

mod cifar;
mod error;
mod idx;
mod labels;
mod npy;
mod picture;
mod source;

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod real_data_tests;

use std::ops::Range;
use std::path::{Path, PathBuf};

pub(crate) use error::ImageError;
pub(crate) use labels::read_labels;

use source::{Kind, Source};

/// Values that one image may have at most: 2^26, a quarter of a gigabyte as `f32`.
const LARGEST_IMAGE: usize = 1 << 26;

/// Values that one call of [`read`] may return at most: 2^28, one gibibyte as `f32`.
const LARGEST_READ: usize = 1 << 28;

/// Entries that a directory of images may have at most.
const LARGEST_DIRECTORY: usize = 1_000_000;

/// The input that a network wants, without the batch dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Channels, at least 1.
    pub(crate) channels: usize,
    /// Rows, at least 1.
    pub(crate) height: usize,
    /// Columns, at least 1.
    pub(crate) width: usize,
    /// The network was exported with inputs N×H×W×C: arrays in `.npy` files have that order. Vectors that [`read`]
    /// returns are CHW all the same.
    pub(crate) channels_last: bool,
}

impl Wanted {
    /// Values of one image, `channels · height · width`.
    ///
    /// Saturates; [`read`] refuses sizes above 2^26.
    pub(crate) fn values(&self) -> usize {
        self.channels.saturating_mul(self.height).saturating_mul(self.width)
    }

    /// Whether the network takes a flat vector: at most one dimension is above 1.
    fn is_flat(&self) -> bool {
        [self.channels, self.height, self.width].iter().filter(|&&size| size > 1).count() <= 1
    }

    /// Whether an image of this size is the input, or unrolls to it.
    fn accepts(&self, channels: usize, height: usize, width: usize) -> bool {
        (channels, height, width) == (self.channels, self.height, self.width)
            || (self.is_flat() && channels == 1 && height.checked_mul(width) == Some(self.values()))
    }
}

/// One image, as large as the network wants it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Image {
    /// The file's name; for files that hold many images followed by `[index]`.
    pub(crate) name: String,
    /// Values by channel, row, column: `channels · height · width` of them, all finite.
    pub(crate) chw: Vec<f32>,
    /// True: raw pixels in 0..=255, which the model's input scaling must still be applied to. False: network input,
    /// to be used as it is.
    pub(crate) pixels: bool,
}

/// Reads the images `first .. first + count` of a file or directory, or all from `first` on.
///
/// `path` is any of the kinds in the module's table; each returned image has `want.values()` values in CHW order.
///
/// # Errors
///
/// The file cannot be read, is none of these kinds, breaks its format, holds images of another size, values that are
/// not finite or (as integers) not in 0..=255, or fewer images than asked for; or more than 2^28 values are asked for.
pub(crate) fn read(
    path: &Path,
    want: Wanted,
    first: usize,
    count: Option<usize>,
) -> Result<Vec<Image>, ImageError> {
    if want.channels == 0 || want.height == 0 || want.width == 0 || want.values() > LARGEST_IMAGE {
        return Err(ImageError::ImpossibleInput { wanted: want });
    }
    if path.is_dir() {
        return read_directory(path, want, first, count);
    }
    let mut source = Source::open(path)?;
    match source.kind() {
        Kind::Picture => window(path, "images", 1, first, count, want.values())?
            .map(|_| picture::read(&mut source, want))
            .collect(),
        Kind::Idx3 => idx::read_images(source, want, first, count),
        Kind::Cifar => cifar::read_images(source, want, first, count),
        Kind::Npy => npy::read_images(source, want, first, count),
        Kind::Idx1 => Err(ImageError::Format {
            path: path.to_owned(),
            problem: "it holds labels (idx1), not images (idx3)".to_owned(),
        }),
        Kind::Unknown => Err(ImageError::UnknownFormat { path: path.to_owned() }),
    }
}

/// The pictures of a directory, sorted by name.
fn read_directory(
    path: &Path,
    want: Wanted,
    first: usize,
    count: Option<usize>,
) -> Result<Vec<Image>, ImageError> {
    let failed = |source| ImageError::Io { path: path.to_owned(), source };
    let mut pictures: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        if picture::has_picture_name(&file) {
            if pictures.len() == LARGEST_DIRECTORY {
                return Err(ImageError::Format {
                    path: path.to_owned(),
                    problem: format!("the directory holds more than {LARGEST_DIRECTORY} pictures"),
                });
            }
            pictures.push(file);
        }
    }
    pictures.sort();
    window(path, "images", pictures.len(), first, count, want.values())?
        .map(|index| {
            let mut source = Source::open(&pictures[index])?;
            match source.kind() {
                Kind::Picture => picture::read(&mut source, want),
                _ => Err(ImageError::UnknownFormat { path: pictures[index].clone() }),
            }
        })
        .collect()
}

/// The indices to read, checked against what there is and against [`LARGEST_READ`].
fn window(
    path: &Path,
    what: &'static str,
    available: usize,
    first: usize,
    count: Option<usize>,
    values_each: usize,
) -> Result<Range<usize>, ImageError> {
    let end = match count {
        Some(count) => first.checked_add(count),
        None if first < available => Some(available),
        None => None,
    };
    match end {
        Some(end) if end <= available => {
            if (end - first).saturating_mul(values_each) > LARGEST_READ {
                let largest = LARGEST_READ / values_each.max(1);
                return Err(ImageError::TooManyAtOnce { path: path.to_owned(), asked: end - first, largest });
            }
            Ok(first..end)
        }
        _ => Err(ImageError::TooFew { path: path.to_owned(), what, first, count, available }),
    }
}

/// The name that the image `index` of a file with many images gets.
fn name_of(path: &Path, index: usize) -> String {
    let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    format!("{file}[{index}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGIT: Wanted = Wanted { channels: 1, height: 28, width: 28, channels_last: false };

    #[test]
    fn window_names_what_is_missing() {
        let path = Path::new("digits");
        assert_eq!(window(path, "images", 10, 3, Some(4), 1).unwrap(), 3..7);
        assert_eq!(window(path, "images", 10, 3, None, 1).unwrap(), 3..10);
        assert_eq!(window(path, "images", 10, 10, Some(0), 1).unwrap(), 10..10);
        for (first, count) in
            [(10, None), (11, None), (7, Some(4)), (usize::MAX, Some(2)), (1, Some(usize::MAX))]
        {
            let error = window(path, "images", 10, first, count, 1).unwrap_err();
            assert!(matches!(error, ImageError::TooFew { available: 10, .. }), "{error}");
            assert!(error.to_string().contains("10 images"), "{error}");
        }
        let error = window(path, "images", 1 << 20, 0, None, 1 << 10).unwrap_err();
        assert!(matches!(error, ImageError::TooManyAtOnce { largest: 262_144, .. }), "{error}");
    }

    #[test]
    fn flat_networks_unroll_grey_images_only() {
        let flat = Wanted { channels: 1, height: 784, width: 1, channels_last: false };
        assert!(flat.accepts(1, 28, 28) && flat.accepts(1, 784, 1) && flat.accepts(1, 14, 56));
        assert!(!flat.accepts(3, 28, 28) && !flat.accepts(1, 28, 27));
        assert!(DIGIT.accepts(1, 28, 28) && !DIGIT.accepts(1, 784, 1) && !DIGIT.accepts(1, 14, 56));
    }

    #[test]
    fn impossible_inputs_are_refused_before_any_file_is_opened() {
        for (channels, height, width) in [(0, 28, 28), (1, 0, 1), (1, 1 << 14, 1 << 13), (usize::MAX, 2, 2)] {
            let want = Wanted { channels, height, width, channels_last: false };
            let error = read(Path::new("/no/such/file"), want, 0, None).unwrap_err();
            assert!(matches!(error, ImageError::ImpossibleInput { .. }), "{error}");
        }
    }

    #[test]
    fn missing_files_are_named() {
        let error = read(Path::new("/no/such/file.png"), DIGIT, 0, None).unwrap_err();
        assert!(error.to_string().contains("/no/such/file.png"), "{error}");
    }

    #[test]
    fn directories_are_read_in_the_order_of_names() {
        let folder = tempfile::tempdir().unwrap();
        for (name, shade) in [("b.png", 2u8), ("a.pgm", 1), ("c.jpg", 30), ("notes.txt", 0)] {
            let path = folder.path().join(name);
            if name == "notes.txt" {
                std::fs::write(path, "not a picture").unwrap();
            } else {
                image::GrayImage::from_pixel(28, 28, image::Luma([shade])).save(path).unwrap();
            }
        }
        let images = read(folder.path(), DIGIT, 0, None).unwrap();
        let names: Vec<_> = images.iter().map(|image| image.name.as_str()).collect();
        assert_eq!(names, ["a.pgm", "b.png", "c.jpg"]);
        assert_eq!(images[0].chw, vec![1.0; 784]);
        assert_eq!(images[1].chw, vec![2.0; 784]);
        let last = read(folder.path(), DIGIT, 2, Some(1)).unwrap();
        assert_eq!(last, images[2..]);
        let error = read(folder.path(), DIGIT, 2, Some(2)).unwrap_err();
        assert!(matches!(error, ImageError::TooFew { available: 3, .. }), "{error}");

        std::fs::write(folder.path().join("aa.png"), "not a picture at all").unwrap();
        let error = read(folder.path(), DIGIT, 0, None).unwrap_err();
        assert!(error.to_string().contains("aa.png"), "{error}");
    }
}
