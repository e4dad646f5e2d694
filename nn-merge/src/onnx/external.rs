//! Initialisers stored in other files, as ONNX's external data has them.
//!
//! Every such tensor names a location, an offset and a length. The location comes from the network, that is, from a
//! stranger: it must be a plain relative path (no `..`, no drive, no root), and which file stands behind it is the caller's
//! affair. Offset and length are checked against the file.

use std::collections::HashMap;

use rten_onnx::onnx::{DataLocation, DataType, TensorProto};

use super::tensor::{self, Constant};
use crate::error::{NnError, shown};

/// Most bytes of all external files together.
const MAX_BYTES: u64 = 1 << 32;
/// Most external files.
const MAX_FILES: usize = 256;

/// Where external files come from; each is asked for once.
pub(super) struct Files<'f> {
    read: &'f mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
    known: HashMap<String, Vec<u8>>,
    bytes: u64,
}

impl<'f> Files<'f> {
    pub(super) fn new(read: &'f mut dyn FnMut(&str) -> Result<Vec<u8>, String>) -> Self {
        Self { read, known: HashMap::new(), bytes: 0 }
    }

    fn get(&mut self, location: &str) -> Result<&[u8], NnError> {
        if !self.known.contains_key(location) {
            let refused =
                |what: String| NnError::onnx(format!("the external file {}: {what}", shown(location)));
            if self.known.len() >= MAX_FILES {
                return Err(refused(format!("more than {MAX_FILES} files")));
            }
            let bytes = (self.read)(location).map_err(|what| refused(shown(&what)))?;
            self.bytes += bytes.len() as u64;
            if self.bytes > MAX_BYTES {
                let what = "the external data".into();
                return Err(NnError::TooLarge { what, size: self.bytes, cap: MAX_BYTES });
            }
            self.known.insert(location.to_string(), bytes);
        }
        Ok(self.known.get(location).map_or(&[], Vec::as_slice))
    }
}

/// An initialiser, wherever its elements are.
pub(super) fn constant(proto: &TensorProto, files: &mut Files<'_>) -> Result<Constant, NnError> {
    if proto.data_location != Some(DataLocation::EXTERNAL) {
        return tensor::from_proto(proto, "(initializer)");
    }
    let name = proto.name.as_deref().unwrap_or_default();
    let wrong =
        |what: String| NnError::onnx(format!("tensor {}, stored outside the file: {what}", shown(name)));
    let entry = |key: &str| {
        proto.external_data.iter().find(|e| e.key.as_deref() == Some(key)).and_then(|e| e.value.as_deref())
    };
    let number = |key: &str| match entry(key) {
        None => Ok(None),
        Some(text) => {
            text.trim().parse::<u64>().map(Some).map_err(|_| wrong(format!("its {key} is {}", shown(text))))
        }
    };
    let location = entry("location").ok_or_else(|| wrong("it names no location".into()))?;
    if !is_plain(location) {
        return Err(wrong(format!(
            "its location {} is not a plain path below the network's folder",
            shown(location)
        )));
    }
    let offset = number("offset")?.unwrap_or(0);
    let length = number("length")?;
    let bytes = files.get(location)?;
    let rest = usize::try_from(offset).ok().and_then(|o| bytes.get(o..));
    let data = match (rest, length) {
        (Some(rest), None) => Some(rest),
        (Some(rest), Some(length)) => usize::try_from(length).ok().and_then(|l| rest.get(..l)),
        (None, _) => None,
    };
    let data = data.ok_or_else(|| {
        let length = length.map_or("the rest".into(), |l| format!("{l} bytes"));
        wrong(format!("{length} from {offset} of {}, which has {} bytes", shown(location), bytes.len()))
    })?;
    tensor::from_raw(name, &proto.dims, proto.data_type.unwrap_or(DataType(0)), data)
}

/// A relative path with `/` that does not leave its folder.
fn is_plain(location: &str) -> bool {
    !location.is_empty()
        && location.len() <= 4096
        && !location.contains(['\\', ':', '\0'])
        && location.split('/').all(|part| !part.is_empty() && part != "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_leave_the_folder_are_not_plain() {
        for good in ["w.bin", "weights/a.data", "./w", "a..b"] {
            assert!(is_plain(good), "{good}");
        }
        for bad in ["", "/etc/passwd", "../w", "a/../../w", "C:w", "a\\..\\w", "a//b", "a/\0"] {
            assert!(!is_plain(bad), "{bad}");
        }
    }
}
