//! Constants: ONNX tensors as plain vectors, checked once.
//!
//! Every floating-point constant is held as `f64` and every integer one as `i64`. NaN is refused, and so is infinity but
//! for single numbers (the open end of a Clip): whatever goes on into a layer has to be finite.
//!
//! | stored as | read as |
//! |---|---|
//! | FLOAT, DOUBLE, FLOAT16, BFLOAT16 | `f64`, exactly |
//! | INT8 to INT64, UINT8 to UINT32, BOOL | `i64`, exactly |

use rten_onnx::onnx::{DataLocation, DataType, TensorProto};
use rten_onnx::protobuf::{DecodeMessage, ValueReader};

use super::wire;
use crate::error::{NnError, shown};
use crate::shape::MAX_RANK;

/// Most elements of one constant.
pub const MAX_CONSTANT: usize = 1 << 27;

/// A constant's elements.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Data {
    Float(Vec<f64>),
    Int(Vec<i64>),
}

/// A constant: shape (rank 0 allowed) and row-major elements.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Constant {
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Data,
}

impl Constant {
    pub(crate) fn ints(values: Vec<i64>) -> Self {
        Self { shape: vec![values.len()], data: Data::Int(values) }
    }

    pub(crate) fn len(&self) -> usize {
        match &self.data {
            Data::Float(v) => v.len(),
            Data::Int(v) => v.len(),
        }
    }

    /// No NaN, and infinity only as a single number.
    pub(crate) fn is_usable(&self) -> bool {
        match &self.data {
            Data::Float(v) if v.len() == 1 => !v[0].is_nan(),
            Data::Float(v) => v.iter().all(|v| v.is_finite()),
            Data::Int(_) => true,
        }
    }

    /// The elements as real numbers, whatever they are stored as.
    pub(crate) fn to_f64(&self) -> Vec<f64> {
        match &self.data {
            Data::Float(v) => v.clone(),
            Data::Int(v) => v.iter().map(|&x| x as f64).collect(),
        }
    }

    /// The elements if they are integers.
    pub(crate) fn as_ints(&self) -> Option<&[i64]> {
        match &self.data {
            Data::Int(v) => Some(v),
            Data::Float(_) => None,
        }
    }
}

/// Reads a serialised `TensorProto` (as in ONNX test data sets): its shape and elements.
///
/// # Errors
/// [`NnError::Onnx`] for malformed bytes, [`NnError::NotFinite`] for NaN or infinite elements,
/// [`NnError::TooLarge`] beyond [`MAX_CONSTANT`] elements.
pub fn read_tensor(bytes: &[u8]) -> Result<super::Values, NnError> {
    let bytes = wire::unpacked(bytes, wire::Message::Tensor)?;
    let proto =
        TensorProto::decode(ValueReader::from_buf(&bytes[..])).map_err(|e| NnError::onnx(e.to_string()))?;
    let constant = from_proto(&proto, "")?;
    let values = constant.to_f64();
    Ok((constant.shape, values))
}

/// Checks and converts a tensor; `fallback` names it when it has no name itself.
pub(super) fn from_proto(proto: &TensorProto, fallback: &str) -> Result<Constant, NnError> {
    let own = proto.name.as_deref().unwrap_or_default();
    let name = shown(if own.is_empty() { fallback } else { own });
    if proto.data_location == Some(DataLocation::EXTERNAL) || !proto.external_data.is_empty() {
        return Err(NnError::onnx(format!(
            "tensor {name} is stored outside the file, where only initialisers can be; export the model with its weights \
             inside"
        )));
    }
    let shape = sides(&proto.dims, &name)?;
    let raw = proto.raw_data.as_ref().map(|cell| cell.borrow());
    let data_type = proto.data_type.unwrap_or(DataType(0));
    let data = match raw.as_ref().map(|bytes| bytes.as_slice()) {
        Some(raw) => from_bytes(data_type, raw, &name)?,
        None => from_fields(proto, data_type, &name)?,
    };
    finished(shape, data, name)
}

/// A tensor of little-endian bytes, as in external files.
pub(super) fn from_raw(
    name: &str,
    dims: &[i64],
    data_type: DataType,
    raw: &[u8],
) -> Result<Constant, NnError> {
    let name = shown(name);
    let shape = sides(dims, &name)?;
    let data = from_bytes(data_type, raw, &name)?;
    finished(shape, data, name)
}

/// The sides of a tensor; their product is capped.
fn sides(dims: &[i64], name: &str) -> Result<Vec<usize>, NnError> {
    if dims.len() > MAX_RANK || (dims.len() > 1 && dims.contains(&0)) {
        return Err(NnError::onnx(format!("tensor {name} has no elements or more than {MAX_RANK} axes")));
    }
    let mut elements = 1usize;
    let mut shape = Vec::with_capacity(dims.len());
    for &dim in dims {
        let side = usize::try_from(dim)
            .map_err(|_| NnError::onnx(format!("tensor {name} has a negative side {dim}")))?;
        elements = elements.checked_mul(side).filter(|&n| n <= MAX_CONSTANT).ok_or_else(|| {
            NnError::TooLarge { what: format!("tensor {name}"), size: u64::MAX, cap: MAX_CONSTANT as u64 }
        })?;
        shape.push(side);
    }
    Ok(shape)
}

/// The last checks: as many elements as the shape wants, and finite ones.
fn finished(shape: Vec<usize>, data: Data, name: String) -> Result<Constant, NnError> {
    let elements: usize = shape.iter().product();
    let constant = Constant { shape, data };
    if constant.len() != elements {
        return Err(NnError::onnx(format!(
            "tensor {name} holds {} elements, its shape {:?} wants {elements}",
            constant.len(),
            constant.shape
        )));
    }
    if !constant.is_usable() {
        return Err(NnError::NotFinite { tensor: name });
    }
    Ok(constant)
}

fn from_bytes(data_type: DataType, raw: &[u8], name: &str) -> Result<Data, NnError> {
    Ok(match data_type {
        DataType::FLOAT => Data::Float(words(raw, name, |b: [u8; 4]| f64::from(f32::from_le_bytes(b)))?),
        DataType::DOUBLE => Data::Float(words(raw, name, f64::from_le_bytes)?),
        DataType::FLOAT16 => Data::Float(words(raw, name, |b: [u8; 2]| half(u16::from_le_bytes(b)))?),
        DataType::BFLOAT16 => Data::Float(words(raw, name, |b: [u8; 2]| brain(u16::from_le_bytes(b)))?),
        DataType::INT64 => Data::Int(words(raw, name, i64::from_le_bytes)?),
        DataType::INT32 => Data::Int(words(raw, name, |b: [u8; 4]| i64::from(i32::from_le_bytes(b)))?),
        DataType::UINT32 => Data::Int(words(raw, name, |b: [u8; 4]| i64::from(u32::from_le_bytes(b)))?),
        DataType::INT16 => Data::Int(words(raw, name, |b: [u8; 2]| i64::from(i16::from_le_bytes(b)))?),
        DataType::UINT16 => Data::Int(words(raw, name, |b: [u8; 2]| i64::from(u16::from_le_bytes(b)))?),
        DataType::INT8 => Data::Int(words(raw, name, |b: [u8; 1]| i64::from(i8::from_le_bytes(b)))?),
        DataType::UINT8 | DataType::BOOL => Data::Int(words(raw, name, |b: [u8; 1]| i64::from(b[0]))?),
        other => return Err(unknown_type(name, other)),
    })
}

fn from_fields(proto: &TensorProto, data_type: DataType, name: &str) -> Result<Data, NnError> {
    let small = || proto.int32_data.iter();
    Ok(match data_type {
        DataType::FLOAT => Data::Float(proto.float_data.iter().map(|&v| f64::from(v)).collect()),
        DataType::DOUBLE => Data::Float(proto.double_data.clone()),
        DataType::FLOAT16 => Data::Float(small().map(|&v| half(v as u16)).collect()),
        DataType::BFLOAT16 => Data::Float(small().map(|&v| brain(v as u16)).collect()),
        DataType::INT64 => Data::Int(proto.int64_data.clone()),
        DataType::INT32
        | DataType::INT16
        | DataType::UINT16
        | DataType::INT8
        | DataType::UINT8
        | DataType::BOOL => Data::Int(small().map(|&v| i64::from(v)).collect()),
        other => return Err(unknown_type(name, other)),
    })
}

fn unknown_type(name: &str, data_type: DataType) -> NnError {
    NnError::onnx(format!("tensor {name} has element type {data_type}, which is not supported"))
}

fn words<T, const N: usize>(raw: &[u8], name: &str, read: impl Fn([u8; N]) -> T) -> Result<Vec<T>, NnError> {
    let (words, rest) = raw.as_chunks::<N>();
    if !rest.is_empty() {
        return Err(NnError::onnx(format!("tensor {name} ends inside an element")));
    }
    Ok(words.iter().map(|&w| read(w)).collect())
}

/// IEEE 754 binary16 to `f64`.
fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    sign * match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
    }
}

/// bfloat16 to `f64`: the upper half of a single.
fn brain(bits: u16) -> f64 {
    f64::from(f32::from_bits(u32::from(bits) << 16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_values() {
        for (bits, value) in
            [(0x3c00, 1.0), (0xc000, -2.0), (0x3555, 0.333_251_953_125), (1, 2f64.powi(-24)), (0, 0.0)]
        {
            assert_eq!(half(bits), value);
        }
        assert!(half(0x7c00).is_infinite() && half(0x7e00).is_nan());
        assert_eq!([brain(0x3f80), brain(0xc040), brain(0x3eab)], [1.0, -3.0, 0.333_984_375]);
    }

    #[test]
    fn bad_tensors_are_refused_by_name() {
        let good = TensorProto {
            name: Some("w".into()),
            dims: vec![2],
            data_type: Some(DataType::FLOAT),
            float_data: vec![1.0, 2.0],
            ..Default::default()
        };
        assert_eq!(from_proto(&good, "").expect("good").to_f64(), [1.0, 2.0]);
        let mut nan = good.clone();
        nan.float_data[1] = f32::NAN;
        assert_eq!(from_proto(&nan, ""), Err(NnError::NotFinite { tensor: "w".into() }));
        for dims in [vec![3], vec![-2], vec![i64::MAX, 4], vec![1 << 40]] {
            let bad = TensorProto { dims, ..good.clone() };
            assert!(from_proto(&bad, "").is_err_and(|e| e.to_string().contains("tensor w")));
        }
        let external = TensorProto { data_location: Some(DataLocation::EXTERNAL), ..good.clone() };
        assert!(from_proto(&external, "").is_err());
        let strange = TensorProto { data_type: Some(DataType::STRING), ..good };
        assert!(from_proto(&strange, "").is_err());
    }
}
