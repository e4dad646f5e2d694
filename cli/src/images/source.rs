//! A file being read: plain or gzip, its kind, and the caps.
//!
//! [`Source`] opens a regular file, unpacks gzip on the fly, tells the kind from the first bytes, and hands out bytes in
//! order. Readers announce how many bytes the header promises ([`Source::promise`]) before they read them: a plain file
//! must have exactly that length, a gzip file may promise 1 GiB at most and is unpacked no further than promised.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::ImageError;

/// Bytes that a gzip file may unpack to: 1 GiB.
pub(super) const LARGEST_UNPACKED: u64 = 1 << 30;

/// Bytes looked at to tell the kind of a file.
const HEAD: usize = 8;

/// The kinds of files, told apart by their first bytes or, for CIFAR, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// PNG, JPEG or a portable anymap.
    Picture,
    /// Images in MNIST's form.
    Idx3,
    /// Labels in MNIST's form.
    Idx1,
    /// CIFAR records: the name ends in `.bin`.
    Cifar,
    /// A NumPy array.
    Npy,
    /// None of these.
    Unknown,
}

/// An open file, positioned at its start.
pub(super) struct Source {
    path: PathBuf,
    head: Vec<u8>,
    body: Body,
    consumed: u64,
}

/// Where the bytes come from.
enum Body {
    Plain { reader: BufReader<File>, length: u64 },
    Gzip(Box<dyn Read>),
}

impl Source {
    /// Opens a regular file and looks at its first bytes.
    pub(super) fn open(path: &Path) -> Result<Self, ImageError> {
        let failed = |source| ImageError::Io { path: path.to_owned(), source };
        // Asked before opening: opening a named pipe would wait for a writer.
        let metadata = std::fs::metadata(path).map_err(failed)?;
        if !metadata.is_file() {
            return Err(ImageError::NotAFile { path: path.to_owned() });
        }
        let mut reader = BufReader::new(File::open(path).map_err(failed)?);
        let is_gzip = reader.fill_buf().map_err(failed)?.starts_with(&[0x1f, 0x8b]);
        let mut head = Vec::with_capacity(HEAD);
        let body = if is_gzip {
            let mut unpacked = BufReader::new(MultiGzDecoder::new(reader));
            unpacked.by_ref().take(HEAD as u64).read_to_end(&mut head).map_err(|e| unpack_error(path, e))?;
            Body::Gzip(Box::new(Cursor::new(head.clone()).chain(unpacked)))
        } else {
            reader.by_ref().take(HEAD as u64).read_to_end(&mut head).map_err(failed)?;
            reader.rewind().map_err(failed)?;
            Body::Plain { reader, length: metadata.len() }
        };
        Ok(Self { path: path.to_owned(), head, body, consumed: 0 })
    }

    /// The file's path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The kind of the file.
    pub(super) fn kind(&self) -> Kind {
        let named_bin = self.path.extension().is_some_and(|e| e.eq_ignore_ascii_case("bin"));
        match self.head.as_slice() {
            [0x89, b'P', b'N', b'G', ..] | [0xff, 0xd8, 0xff, ..] => Kind::Picture,
            [b'P', b'1'..=b'7', white, ..] if white.is_ascii_whitespace() => Kind::Picture,
            [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => Kind::Npy,
            // A CIFAR record may begin like an idx header, but nobody calls an idx file ".bin".
            _ if named_bin && self.plain_length().is_some() => Kind::Cifar,
            [0, 0, 8, 3, ..] => Kind::Idx3,
            [0, 0, 8, 1, ..] => Kind::Idx1,
            _ => Kind::Unknown,
        }
    }

    /// The length in bytes of a file that is not packed.
    pub(super) fn plain_length(&self) -> Option<u64> {
        match &self.body {
            Body::Plain { length, .. } => Some(*length),
            Body::Gzip(_) => None,
        }
    }

    /// States that the file consists of exactly `bytes` bytes (unpacked), header included.
    ///
    /// # Errors
    ///
    /// A plain file has another length, or a gzip file promises more than [`LARGEST_UNPACKED`].
    pub(super) fn promise(&self, bytes: Option<u64>) -> Result<(), ImageError> {
        let Some(bytes) = bytes else {
            return Err(self.damaged("the sizes in its header are absurd"));
        };
        match self.plain_length() {
            Some(length) if length < bytes => Err(ImageError::Truncated {
                path: self.path.clone(),
                what: format!("its data: {bytes} bytes are promised by the header, {length} are there"),
            }),
            Some(length) if length > bytes => {
                Err(self
                    .damaged(&format!("{bytes} bytes are promised by the header, but {length} are there")))
            }
            None if bytes > LARGEST_UNPACKED => {
                Err(ImageError::TooLarge { path: self.path.clone(), bytes, cap: LARGEST_UNPACKED })
            }
            _ => Ok(()),
        }
    }

    /// Fills `buffer` with the next bytes; `what` names them in the error.
    pub(super) fn exact(&mut self, buffer: &mut [u8], what: &str) -> Result<(), ImageError> {
        let result = match &mut self.body {
            Body::Plain { reader, .. } => reader.read_exact(buffer),
            Body::Gzip(reader) => reader.read_exact(buffer),
        };
        self.consumed += buffer.len() as u64;
        result.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                ImageError::Truncated { path: self.path.clone(), what: what.to_owned() }
            }
            _ => self.read_error(error),
        })
    }

    /// Passes over `bytes` bytes; `what` names them in the error.
    pub(super) fn skip(&mut self, bytes: u64, what: &str) -> Result<(), ImageError> {
        self.consumed += bytes;
        let passed = match &mut self.body {
            Body::Plain { reader, .. } => {
                let target = self.consumed;
                reader.seek(SeekFrom::Start(target)).map(|_| bytes)
            }
            Body::Gzip(reader) => io::copy(&mut reader.take(bytes), &mut io::sink()),
        };
        match passed {
            Ok(passed) if passed == bytes => Ok(()),
            Ok(_) => Err(ImageError::Truncated { path: self.path.clone(), what: what.to_owned() }),
            Err(error) => Err(self.read_error(error)),
        }
    }

    /// Checks that nothing follows: for gzip this also verifies the checksum.
    pub(super) fn finish(mut self) -> Result<(), ImageError> {
        let mut one = [0];
        let result = match &mut self.body {
            Body::Plain { reader, .. } => reader.read(&mut one),
            Body::Gzip(reader) => reader.read(&mut one),
        };
        match result {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.damaged("there is more data than its header promises")),
            Err(error) => Err(self.read_error(error)),
        }
    }

    /// The whole file, if it is plain and no larger than `cap` bytes.
    pub(super) fn whole(&mut self, cap: u64) -> Result<Vec<u8>, ImageError> {
        let bytes = match &mut self.body {
            Body::Plain { length, .. } if *length > cap => {
                return Err(ImageError::TooLarge { path: self.path.clone(), bytes: *length, cap });
            }
            Body::Plain { reader, .. } => {
                let mut bytes = Vec::new();
                // The file may have grown since its length was asked for: the cap still holds.
                reader.take(cap).read_to_end(&mut bytes).map(|_| bytes)
            }
            Body::Gzip(_) => {
                return Err(ImageError::Format {
                    path: self.path.clone(),
                    problem: "files of this kind are not read from gzip; unpack it first".to_owned(),
                });
            }
        };
        bytes.map_err(|error| self.read_error(error))
    }

    /// The error of a file that breaks the rules of its kind.
    pub(super) fn damaged(&self, problem: &str) -> ImageError {
        ImageError::Format { path: self.path.clone(), problem: problem.to_owned() }
    }

    fn read_error(&self, error: io::Error) -> ImageError {
        match self.body {
            Body::Plain { .. } => ImageError::Io { path: self.path.clone(), source: error },
            Body::Gzip(_) => unpack_error(&self.path, error),
        }
    }
}

/// Tells apart a damaged gzip stream from a failing disk.
fn unpack_error(path: &Path, error: io::Error) -> ImageError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            ImageError::Truncated { path: path.to_owned(), what: "its gzip data".to_owned() }
        }
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => ImageError::Format {
            path: path.to_owned(),
            problem: format!("its gzip data do not unpack ({error})"),
        },
        _ => ImageError::Io { path: path.to_owned(), source: error },
    }
}
