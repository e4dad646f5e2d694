//! Images of the shared data sets: raw pixels, channel by channel, with their labels.
//!
//! | set | test images (never used to tune anything) | training images (calibration) |
//! |---|---|---|
//! | MNIST, Fashion-MNIST | the first 5,000, idx in gzip | 60,000, likewise |
//! | digits | rows 1297..1796 of one table, pixels 0..=16 | rows 0..1296 |
//! | CIFAR-10 | 5,000: label, then three planes | 1,000, likewise |
//! | CIFAR-100 | 2,000, likewise | none of its own: those of CIFAR-10 |
//! | photographs | five of 227×227, PNG | none: those of CIFAR-10, enlarged without smoothing and with it |

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

/// A data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Set {
    Mnist,
    Fashion,
    Digits,
    Cifar10,
    Cifar100,
    Photographs,
}

/// Test images and what they show.
pub(crate) struct Labelled {
    /// C×H×W raw pixels each.
    pub(crate) pixels: Vec<Vec<u8>>,
    /// Classes; the photographs have none.
    pub(crate) labels: Vec<usize>,
    /// File names of the photographs.
    pub(crate) names: Vec<String>,
}

impl Set {
    /// The folder's name.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Mnist => "mnist",
            Self::Fashion => "fashion-mnist",
            Self::Digits => "digits",
            Self::Cifar10 => "cifar10",
            Self::Cifar100 => "cifar100",
            Self::Photographs => "imagenet",
        }
    }

    /// Colour channels.
    pub(crate) fn channels(self) -> usize {
        match self {
            Self::Mnist | Self::Fashion | Self::Digits => 1,
            _ => 3,
        }
    }
}

/// The first `count` test images, fewer where there are no more.
pub(crate) fn test(set: Set, count: usize) -> Result<Labelled> {
    let folder = folder(set)?;
    let (mut labels, mut names) = (Vec::new(), Vec::new());
    let pixels = match set {
        Set::Mnist | Set::Fashion => {
            labels = idx(&folder.join("t10k-first5000-labels-idx1-ubyte.gz"), 1, count)?.concat();
            idx(&folder.join("t10k-first5000-images-idx3-ubyte.gz"), 3, count)?
        }
        Set::Digits => {
            let (pixels, own) = digits(&folder, 1297..1797, count)?;
            labels = own;
            pixels
        }
        Set::Cifar10 | Set::Cifar100 => {
            let file = if set == Set::Cifar10 { "test-first5000.bin" } else { "test-a2000.bin" };
            let (pixels, own) = cifar(&folder.join(file), count)?;
            labels = own;
            pixels
        }
        Set::Photographs => {
            let folder = folder.join("photos");
            names = std::fs::read_dir(&folder)?
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .filter(|name: &Result<String>| name.as_ref().map_or(true, |name| name.ends_with("_227.png")))
                .collect::<Result<_>>()?;
            names.sort_unstable();
            names.truncate(count);
            names.iter().map(|name| png(&folder.join(name))).collect::<Result<_>>()?
        }
    };
    Ok(Labelled { pixels, labels: labels.into_iter().map(usize::from).collect(), names })
}

/// About `count` training images; see the table for the sets that have none.
pub(crate) fn train(set: Set, count: usize) -> Result<Vec<Vec<u8>>> {
    match set {
        Set::Mnist | Set::Fashion => idx(&folder(set)?.join("train-images-idx3-ubyte.gz"), 3, count),
        Set::Digits => Ok(digits(&folder(set)?, 0..1297, count)?.0),
        Set::Cifar10 | Set::Cifar100 => Ok(cifar(&folder(Set::Cifar10)?.join("train-1000.bin"), count)?.0),
        Set::Photographs => {
            let small = train(Set::Cifar10, count)?;
            Ok(small.iter().enumerate().map(|(at, image)| enlarge(image, 227, at % 2 == 0)).collect())
        }
    }
}

fn folder(set: Set) -> Result<std::path::PathBuf> {
    let root = super::shared_data().context("the shared data are not there (set HUSHNET_DATA)")?;
    Ok(root.join(set.folder()))
}

fn open(path: &Path) -> Result<Box<dyn Read>> {
    let file = BufReader::new(File::open(path).with_context(|| path.display().to_string())?);
    let gzip = path.extension().is_some_and(|extension| extension == "gz");
    Ok(if gzip { Box::new(flate2::read::GzDecoder::new(file)) } else { Box::new(file) })
}

/// The first items of an idx file of bytes with `dimensions` dimensions.
fn idx(path: &Path, dimensions: usize, count: usize) -> Result<Vec<Vec<u8>>> {
    let mut source = open(path)?;
    let mut header = vec![0; 4 + 4 * dimensions];
    source.read_exact(&mut header).with_context(|| path.display().to_string())?;
    ensure!(header[..4] == [0, 0, 8, dimensions as u8], "{} is no idx file of bytes", path.display());
    let size = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|i| header[4 + 4 * at + i])) as usize;
    let length: usize = (1..dimensions).map(size).product();
    ensure!(length <= 1 << 20, "{} has items of {length} bytes", path.display());
    items(&mut source, length, count.min(size(0)))
}

/// Labels and planes of a CIFAR file.
fn cifar(path: &Path, count: usize) -> Result<(Vec<Vec<u8>>, Vec<u8>)> {
    let records = items(&mut open(path)?, 3073, count)?;
    let labels = records.iter().map(|record| record[0]).collect();
    Ok((records.into_iter().map(|record| record[1..].to_vec()).collect(), labels))
}

/// At most `count` items of `length` bytes; a last one that is cut off is an error.
fn items(source: &mut dyn Read, length: usize, count: usize) -> Result<Vec<Vec<u8>>> {
    let mut items = Vec::new();
    while items.len() < count {
        let mut item = Vec::with_capacity(length);
        source.take(length as u64).read_to_end(&mut item)?;
        match item.len() {
            0 => break,
            got if got < length => bail!("item {} has {got} bytes, not {length}", items.len()),
            _ => items.push(item),
        }
    }
    Ok(items)
}

/// Rows of the table of digits: 64 pixels and a label.
fn digits(folder: &Path, rows: std::ops::Range<usize>, count: usize) -> Result<(Vec<Vec<u8>>, Vec<u8>)> {
    let path = folder.join("digits.csv");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    let lines = text.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_digit()));
    for line in lines.skip(rows.start).take(rows.len().min(count)) {
        // Some tables write whole numbers with a point.
        let mut values = line
            .split(',')
            .map(|word| Ok(word.trim().parse::<f32>()? as u8))
            .collect::<Result<Vec<u8>>>()
            .with_context(|| format!("{}: `{line}`", path.display()))?;
        ensure!(values.len() == 65, "{}: {} columns, not 65", path.display(), values.len());
        labels.extend(values.pop());
        pixels.push(values);
    }
    Ok((pixels, labels))
}

fn png(path: &Path) -> Result<Vec<u8>> {
    let picture = image::open(path).with_context(|| path.display().to_string())?.to_rgb8();
    let interleaved = picture.as_raw();
    Ok((0..3).flat_map(|channel| interleaved.iter().skip(channel).step_by(3).copied()).collect())
}

/// Three planes of 32×32 enlarged to `side`×`side`: bilinear, or each pixel repeated.
fn enlarge(image: &[u8], side: usize, smooth: bool) -> Vec<u8> {
    let at = |plane: usize, y: usize, x: usize| f64::from(image[(plane * 32 + y.min(31)) * 32 + x.min(31)]);
    let place = |coordinate: usize| coordinate as f64 * 31.0 / (side - 1) as f64;
    let mut pixels = Vec::with_capacity(3 * side * side);
    for plane in 0..3 {
        for row in 0..side {
            for column in 0..side {
                let (y, x) = (place(row), place(column));
                let (top, left) = (y as usize, x as usize);
                let (down, right) = if smooth { (y.fract(), x.fract()) } else { (0.0, 0.0) };
                let upper = at(plane, top, left) * (1.0 - right) + at(plane, top, left + 1) * right;
                let lower = at(plane, top + 1, left) * (1.0 - right) + at(plane, top + 1, left + 1) * right;
                pixels.push((upper * (1.0 - down) + lower * down).round() as u8);
            }
        }
    }
    pixels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_off_items_are_errors() {
        assert_eq!(items(&mut &[1u8, 2, 3, 4][..], 2, 5).unwrap(), [[1, 2], [3, 4]]);
        assert_eq!(items(&mut &[1u8, 2, 3, 4][..], 2, 1).unwrap(), [[1, 2]]);
        assert!(items(&mut &[1u8, 2, 3][..], 2, 5).is_err());
    }

    #[test]
    fn enlarging_keeps_corners_and_planes() {
        let image: Vec<u8> = (0..3 * 1024).map(|at| (at / 1024 * 80 + at % 32) as u8).collect();
        for smooth in [false, true] {
            let large = enlarge(&image, 227, smooth);
            assert_eq!(large.len(), 3 * 227 * 227);
            assert_eq!((large[0], large[226], large[227 * 227]), (0, 31, 80));
        }
    }
}
