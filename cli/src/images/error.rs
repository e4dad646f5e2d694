//! What can be wrong with a file of images or labels.
//!
//! Each error is one sentence that names the file and the facts: which image, which position, which size was found and
//! which was wanted. Nothing here is the network's or the peer's fault.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::Wanted;

/// Why images or labels could not be read.
#[derive(Debug)]
#[non_exhaustive]
pub(crate) enum ImageError {
    /// The operating system refused.
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The path is neither a regular file nor a directory.
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The file is none of the known kinds.
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// The file breaks the rules of its kind.
    Format {
        /// The file.
        path: PathBuf,
        /// Which rule, as the rest of a sentence.
        problem: String,
    },
    /// The file ends too early.
    Truncated {
        /// The file.
        path: PathBuf,
        /// What was being read when it ended.
        what: String,
    },
    /// The file, or what it says it unpacks to, is larger than this program reads.
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes, as far as known.
        bytes: u64,
        /// The cap in bytes.
        cap: u64,
    },
    /// An image has another size than the network's input.
    WrongSize {
        /// The file.
        path: PathBuf,
        /// What it holds, in words.
        found: String,
        /// What the network takes.
        wanted: Wanted,
    },
    /// The network's input is empty or too large to be an image.
    ImpossibleInput {
        /// What the network takes.
        wanted: Wanted,
    },
    /// A value is NaN, infinite, or too large for `f32`.
    NotFinite {
        /// The file.
        path: PathBuf,
        /// Index of the image in the file.
        image: usize,
        /// Position of the value in the image, in the order of the file.
        position: usize,
        /// The value.
        value: f64,
    },
    /// An integer is no pixel.
    NotAPixel {
        /// The file.
        path: PathBuf,
        /// Index of the image in the file.
        image: usize,
        /// Position of the value in the image, in the order of the file.
        position: usize,
        /// The value.
        value: i64,
    },
    /// The file holds fewer images or labels than were asked for.
    TooFew {
        /// The file.
        path: PathBuf,
        /// "images" or "labels".
        what: &'static str,
        /// The first one asked for.
        first: usize,
        /// How many were asked for; none: all from `first` on.
        count: Option<usize>,
        /// How many there are.
        available: usize,
    },
    /// More images were asked for than are read in one go.
    TooManyAtOnce {
        /// The file.
        path: PathBuf,
        /// How many were asked for.
        asked: usize,
        /// How many are possible.
        largest: usize,
    },
    /// A line of a text file holds no label.
    Label {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong, as the rest of a sentence.
        problem: String,
    },
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "cannot read {}: {source}", path.display()),
            Self::NotAFile { path } => {
                write!(f, "{} is neither a regular file nor a directory", path.display())
            }
            Self::UnknownFormat { path } => write!(
                f,
                "{} is no known kind of image file (PNG, JPEG, PGM/PPM, MNIST idx, CIFAR .bin, NumPy .npy)",
                path.display()
            ),
            Self::Format { path, problem } => write!(f, "{} is damaged: {problem}", path.display()),
            Self::Truncated { path, what } => {
                write!(f, "{} is cut off: it ends inside {what}", path.display())
            }
            Self::TooLarge { path, bytes, cap } => {
                write!(f, "{} holds {bytes} bytes; at most {cap} are read", path.display())
            }
            Self::WrongSize { path, found, wanted } => {
                write!(f, "{} holds {found}, but the network takes {wanted}", path.display())
            }
            Self::ImpossibleInput { wanted } => {
                write!(f, "the network's input, {wanted}, is empty or too large for an image")
            }
            Self::NotFinite { path, image, position, value } => write!(
                f,
                "image {image} of {} has the value {value} at position {position}; finite 32-bit numbers are needed",
                path.display()
            ),
            Self::NotAPixel { path, image, position, value } => write!(
                f,
                "image {image} of {} has the value {value} at position {position}; integers must be pixels in 0..=255",
                path.display()
            ),
            Self::TooFew { path, what, first, count, available } => {
                write!(f, "{} holds {available} {what}; ", path.display())?;
                match count {
                    Some(count) => write!(f, "{count} from index {first} on were asked for"),
                    None => write!(f, "all from index {first} on were asked for"),
                }
            }
            Self::TooManyAtOnce { path, asked, largest } => write!(
                f,
                "{asked} images of {} do not fit into memory at once; read at most {largest} at a time",
                path.display()
            ),
            Self::Label { path, line, problem } => write!(f, "line {line} of {} {problem}", path.display()),
        }
    }
}

impl std::error::Error for ImageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { channels, height, width, channels_last } = self;
        if *channels_last {
            write!(f, "{height}×{width}×{channels} (height × width × channels)")
        } else {
            write!(f, "{channels}×{height}×{width} (channels × height × width)")
        }
    }
}
