//! Safetensors files: weights beside a network that was exported without them.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | length n of the header, little-endian |
//! | 8 | n | JSON: name → `{"dtype": "F32", "shape": [..], "data_offsets": [begin, end]}`, and perhaps `__metadata__` |
//! | 8+n | … | the elements of all tensors, little-endian; offsets count from here |
//!
//! Read are F64, F32, F16, BF16, I64, I32, I16, I8, U8 and BOOL. Lengths and offsets are checked before anything is read;
//! tensors that the network does not ask for are never decoded.
//!
//! Format: <https://github.com/huggingface/safetensors>, "Format".

use std::collections::BTreeMap;
use std::fmt;

use rten_onnx::onnx::DataType;
use serde::Deserialize;

use super::tensor::{self, Constant};
use crate::error::{NnError, shown};

/// Longest header.
pub const MAX_HEADER: usize = 1 << 24;

/// Shape and elements of a tensor, row-major.
pub type Values = (Vec<usize>, Vec<f64>);

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<i64>,
    data_offsets: [usize; 2],
}

/// A parsed safetensors file. Its `Debug` form prints no weight.
pub struct SafeTensors {
    entries: BTreeMap<String, Entry>,
    bytes: Vec<u8>,
    /// Where the elements begin.
    start: usize,
}

impl fmt::Debug for SafeTensors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SafeTensors({} tensors, {} bytes)", self.entries.len(), self.bytes.len())
    }
}

impl SafeTensors {
    /// Reads the header of a file; any bytes may be given.
    ///
    /// # Errors
    /// [`NnError::File`] if the header is cut off, too long or not of its form, or an entry lies outside the file.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, NnError> {
        let wrong = |what: String| NnError::File { what: format!("safetensors: {what}") };
        let (length, rest) = bytes.split_first_chunk::<8>().ok_or_else(|| wrong("no header".into()))?;
        let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if length > MAX_HEADER || length > rest.len() {
            return Err(wrong(format!("a header of {length} bytes in a file of {}", bytes.len())));
        }
        let (header, data) = rest.split_at(length);
        let header: BTreeMap<String, serde_json::Value> =
            serde_json::from_slice(header).map_err(|e| wrong(format!("its header is not readable ({e})")))?;
        let mut entries = BTreeMap::new();
        for (name, value) in header.into_iter().filter(|(name, _)| name != "__metadata__") {
            let entry: Entry =
                serde_json::from_value(value).map_err(|e| wrong(format!("tensor {}: {e}", shown(&name))))?;
            let [begin, end] = entry.data_offsets;
            if begin > end || end > data.len() {
                return Err(wrong(format!(
                    "tensor {} at bytes {begin} to {end} of {}",
                    shown(&name),
                    data.len()
                )));
            }
            entries.insert(name, entry);
        }
        let start = 8 + length;
        Ok(Self { entries, bytes, start })
    }

    /// The names of all tensors, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Shape and elements of a tensor, row-major; `None` if there is none of that name.
    ///
    /// # Errors
    /// [`NnError::Onnx`] for an element type that is not read or a length that does not fit the shape,
    /// [`NnError::NotFinite`] for NaN or infinite elements, [`NnError::TooLarge`] beyond
    /// [`MAX_CONSTANT`](super::MAX_CONSTANT) elements.
    pub fn tensor(&self, name: &str) -> Option<Result<Values, NnError>> {
        self.get(name).map(|constant| constant.map(|c| (c.shape.clone(), c.to_f64())))
    }

    pub(super) fn get(&self, name: &str) -> Option<Result<Constant, NnError>> {
        let entry = self.entries.get(name)?;
        let data_type = match entry.dtype.as_str() {
            "F64" => DataType::DOUBLE,
            "F32" => DataType::FLOAT,
            "F16" => DataType::FLOAT16,
            "BF16" => DataType::BFLOAT16,
            "I64" => DataType::INT64,
            "I32" => DataType::INT32,
            "I16" => DataType::INT16,
            "I8" => DataType::INT8,
            "U8" | "BOOL" => DataType::UINT8,
            other => {
                return Some(Err(NnError::onnx(format!(
                    "tensor {} of a safetensors file has element type {}, which is not supported",
                    shown(name),
                    shown(other)
                ))));
            }
        };
        let [begin, end] = entry.data_offsets;
        let raw = self.bytes.get(self.start + begin..self.start + end).unwrap_or_default();
        Some(tensor::from_raw(name, &entry.shape, data_type, raw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
    }

    #[test]
    fn tensors_of_all_widths_are_read() {
        let header = r#"{"__metadata__":{"format":"pt"},
            "a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
            "b":{"dtype":"F16","shape":[1,2],"data_offsets":[8,12]},
            "c":{"dtype":"BF16","shape":[],"data_offsets":[12,14]},
            "d":{"dtype":"F64","shape":[1],"data_offsets":[14,22]},
            "n":{"dtype":"F32","shape":[1],"data_offsets":[22,26]},
            "q":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}   "#;
        let mut data = Vec::new();
        data.extend(1.5f32.to_le_bytes());
        data.extend((-2.0f32).to_le_bytes());
        data.extend([0x00, 0x3c, 0x00, 0xc0, 0x40, 0xc0]);
        data.extend(0.1f64.to_le_bytes());
        data.extend(f32::NAN.to_le_bytes());
        let tensors = SafeTensors::parse(file(header, &data)).expect("a good file");
        assert_eq!(tensors.names().collect::<Vec<_>>(), ["a", "b", "c", "d", "n", "q"]);
        let get = |name: &str| tensors.tensor(name).expect("there").expect("readable");
        assert_eq!(get("a"), (vec![2], vec![1.5, -2.0]));
        assert_eq!(get("b"), (vec![1, 2], vec![1.0, -2.0]));
        assert_eq!(get("c"), (vec![], vec![-3.0]));
        assert_eq!(get("d"), (vec![1], vec![0.1]));
        assert_eq!(tensors.tensor("n"), Some(Err(NnError::NotFinite { tensor: "n".into() })));
        assert!(tensors.tensor("q").is_some_and(|r| r.is_err()));
        assert!(tensors.tensor("x").is_none());
    }

    #[test]
    fn hostile_headers_are_refused() {
        let entry = |shape: &str, offsets: &str| {
            format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#)
        };
        let good = entry("[2]", "[0,8]");
        assert!(SafeTensors::parse(file(&good, &[0; 8])).is_ok());
        for (header, data) in [
            (entry("[2]", "[0,9]"), 8),
            (entry("[2]", "[8,0]"), 8),
            (entry("[2]", "[0,18446744073709551615]"), 8),
            (entry("[2]", "[-1,8]"), 8),
            (entry("[2.5]", "[0,8]"), 8),
            (entry("[2]", "[0]"), 8),
            ("[1,2]".into(), 0),
            ("{".into(), 0),
            ("[".repeat(100_000), 0),
        ] {
            assert!(SafeTensors::parse(file(&header, &vec![0; data])).is_err(), "{header:.60}");
        }
        for (shape, offsets) in
            [("[3]", "[0,8]"), ("[-2]", "[0,8]"), ("[9223372036854775807,4]", "[0,8]"), ("[2]", "[0,7]")]
        {
            let tensors =
                SafeTensors::parse(file(&entry(shape, offsets), &[0; 8])).expect("the header is well-formed");
            assert!(tensors.tensor("a").is_some_and(|r| r.is_err()), "{shape} {offsets}");
        }
        let whole = file(&good, &[0; 8]);
        for length in 0..whole.len() {
            assert!(SafeTensors::parse(whole[..length].to_vec()).is_err(), "{length}");
        }
        let mut huge = whole;
        huge[7] = 0xff;
        assert!(SafeTensors::parse(huge).is_err());
    }
}
