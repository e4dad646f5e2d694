//! A structural check of ONNX bytes before the parser sees them.
//!
//! The parser proper (rten-onnx) trusts lengths more than hostile bytes deserve: a length near 2^64 makes it ask
//! for that much memory, and nested sub-graphs or types make it recurse as deep as the file says. This walk reads
//! only tags and lengths, and passes a file on when
//!
//! - every length-delimited field lies inside the message that holds it,
//! - nesting is at most [`MAX_DEPTH`] messages deep,
//! - there are at most [`MAX_MESSAGES`] messages,
//! - every base-128 number ends within ten bytes, packed ones included,
//! - no field uses the obsolete group encoding.
//!
//! What a field means is left to the parser. Message layout: onnx.proto3 of ONNX 1.x.
//!
//! One repair: writers that follow proto3 pack lists of numbers (dims, ints, floats) into one field, which the parser knows
//! for a tensor's elements only. [`unpacked`] writes such lists one number at a time.

use std::borrow::Cow;

use crate::error::NnError;

/// Deepest nesting of messages.
const MAX_DEPTH: usize = 24;
/// Most messages in one file.
const MAX_MESSAGES: usize = 1 << 20;

/// The messages whose fields are messages again.
#[derive(Clone, Copy, Debug)]
pub(super) enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    ValueInfo,
    Type,
    TensorType,
    SequenceType,
    Shape,
    Leaf,
}

impl Message {
    /// The message that length-delimited field `number` holds, if it holds one.
    fn child(self, number: u64) -> Option<Self> {
        Some(match (self, number) {
            (Self::Model, 7) | (Self::Attribute, 6) => Self::Graph,
            (Self::Model, 8 | 14) | (Self::Tensor, 13) | (Self::Shape, 1) => Self::Leaf,
            (Self::Graph, 1) => Self::Node,
            (Self::Graph, 5) | (Self::Attribute, 5) => Self::Tensor,
            (Self::Graph, 11..=13) => Self::ValueInfo,
            (Self::Node, 5) => Self::Attribute,
            (Self::ValueInfo, 2) | (Self::SequenceType, 1) => Self::Type,
            (Self::Type, 1) => Self::TensorType,
            (Self::Type, 4) => Self::SequenceType,
            (Self::TensorType, 2) => Self::Shape,
            _ => return None,
        })
    }

    /// Whether length-delimited field `number` holds packed base-128 numbers (`int32_data`, `int64_data`, or a list to be
    /// unpacked).
    fn packs_numbers(self, number: u64) -> bool {
        matches!((self, number), (Self::Tensor, 5 | 7)) || self.unpacks(number) == Some(0)
    }

    /// The wire type of the numbers of a packed list that the parser wants one by one.
    fn unpacks(self, number: u64) -> Option<u64> {
        match (self, number) {
            (Self::Tensor, 1) | (Self::Attribute, 8) => Some(0),
            (Self::Attribute, 7) => Some(5),
            _ => None,
        }
    }
}

/// What the walk has seen so far.
#[derive(Default)]
struct Seen {
    messages: usize,
    packed: bool,
}

/// Walks `bytes` as a message of kind `kind`; gives the bytes with lists as the parser wants them.
///
/// # Errors
/// [`NnError::Onnx`] or [`NnError::TooLarge`] at the first thing that does not hold.
pub(super) fn unpacked(bytes: &[u8], kind: Message) -> Result<Cow<'_, [u8]>, NnError> {
    let mut seen = Seen::default();
    walk(bytes, kind, 0, &mut seen)?;
    if !seen.packed {
        return Ok(Cow::Borrowed(bytes));
    }
    rewritten(bytes, kind).map(Cow::Owned).ok_or_else(|| NnError::onnx("a packed list is cut off"))
}

/// The same message with all packed lists unpacked; of bytes that passed the walk.
fn rewritten(mut bytes: &[u8], kind: Message) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 8);
    while !bytes.is_empty() {
        let whole = bytes;
        let tag = varint(&mut bytes)?;
        let number = tag >> 3;
        match tag & 7 {
            0 => drop(varint(&mut bytes)?),
            1 => bytes = bytes.get(8..)?,
            5 => bytes = bytes.get(4..)?,
            _ => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let (mut field, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                if let Some(child) = kind.child(number) {
                    let inner = rewritten(field, child)?;
                    put(&mut out, tag);
                    put(&mut out, inner.len() as u64);
                    out.extend_from_slice(&inner);
                    continue;
                }
                if let Some(wire_type) = kind.unpacks(number) {
                    while !field.is_empty() {
                        let one = field;
                        match wire_type {
                            0 => drop(varint(&mut field)?),
                            _ => field = field.get(4..)?,
                        }
                        put(&mut out, number << 3 | wire_type);
                        out.extend_from_slice(&one[..one.len() - field.len()]);
                    }
                    continue;
                }
            }
        }
        out.extend_from_slice(&whole[..whole.len() - bytes.len()]);
    }
    Some(out)
}

/// Writes a base-128 number.
fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn walk(mut bytes: &[u8], kind: Message, depth: usize, seen: &mut Seen) -> Result<(), NnError> {
    seen.messages += 1;
    let messages = seen.messages;
    if messages > MAX_MESSAGES {
        return Err(NnError::TooLarge {
            what: "the number of parts of the ONNX file".into(),
            size: messages as u64,
            cap: MAX_MESSAGES as u64,
        });
    }
    if depth > MAX_DEPTH {
        return Err(NnError::onnx(format!("it is nested more than {MAX_DEPTH} deep")));
    }
    let malformed =
        |what: &str| NnError::onnx(format!("{what} in a {kind:?} message (truncated or not ONNX)"));
    while !bytes.is_empty() {
        let tag = varint(&mut bytes).ok_or_else(|| malformed("a field tag is cut off"))?;
        let skip = match tag & 7 {
            0 => {
                varint(&mut bytes).ok_or_else(|| malformed("a number is cut off"))?;
                0
            }
            1 => 8,
            2 => varint(&mut bytes).ok_or_else(|| malformed("a length is cut off"))?,
            5 => 4,
            other => return Err(malformed(&format!("wire type {other}"))),
        };
        let (field, rest) = usize::try_from(skip)
            .ok()
            .and_then(|skip| bytes.split_at_checked(skip))
            .ok_or_else(|| malformed(&format!("a field of {skip} bytes where {} are left", bytes.len())))?;
        if tag & 7 == 2
            && let Some(child) = kind.child(tag >> 3)
        {
            walk(field, child, depth + 1, seen)?;
        }
        seen.packed |= tag & 7 == 2 && kind.unpacks(tag >> 3).is_some();
        if tag & 7 == 2 && kind.packs_numbers(tag >> 3) {
            let mut numbers = field;
            while !numbers.is_empty() {
                varint(&mut numbers).ok_or_else(|| malformed("a packed number is cut off or too long"))?;
            }
        }
        bytes = rest;
    }
    Ok(())
}

/// Reads a base-128 number of at most 64 bits; `None` when cut off or too long.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for (index, &byte) in bytes.iter().enumerate().take(10) {
        if index == 9 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            *bytes = &bytes[index + 1..];
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], kind: Message) -> Result<(), NnError> {
        unpacked(bytes, kind).map(|_| ())
    }

    #[test]
    fn packed_lists_are_unpacked() {
        // Attribute {name "k", ints [1, 300]} and {floats [1.0]}, in a node, in a graph; dims of a tensor.
        let packed = [0x0a, 1, b'k', 0x42, 3, 1, 0xac, 2, 0x3a, 4, 0, 0, 0x80, 0x3f];
        let plain = [0x0a, 1, b'k', 0x40, 1, 0x40, 0xac, 2, 0x3d, 0, 0, 0x80, 0x3f];
        assert_eq!(unpacked(&packed, Message::Attribute).as_deref(), Ok(&plain[..]));
        let wrapped = |inner: &[u8]| [&[0x2a, inner.len() as u8], inner].concat();
        let node = wrapped(&packed);
        assert_eq!(unpacked(&node, Message::Node).as_deref(), Ok(&wrapped(&plain)[..]));
        assert_eq!(unpacked(&[0x0a, 2, 3, 4], Message::Tensor).as_deref(), Ok(&[0x08, 3, 0x08, 4][..]));
        assert!(matches!(unpacked(&plain, Message::Attribute), Ok(Cow::Borrowed(_))));
        assert!(unpacked(&[0x0a, 2, 3, 0x84], Message::Tensor).is_err(), "the second number has no end");
        assert!(unpacked(&[0x3a, 3, 0, 0, 0], Message::Attribute).is_err(), "three bytes of a float");
    }

    #[test]
    fn hostile_lengths_and_depths_are_refused() {
        // Field 7 (graph) with a length of 2^64 − 1.
        let mut huge = vec![0x3a];
        huge.extend([0xff; 9]);
        huge.push(1);
        assert!(check(&huge, Message::Model).is_err());
        // Sub-graphs nested: graph > node > attribute > graph > ...
        let mut nested = Vec::new();
        for level in 0..200 {
            let tag = [0x32, 0x2a, 0x0a][level % 3];
            let mut outer = vec![tag];
            let mut length = nested.len();
            while length >= 0x80 {
                outer.push((length & 0x7f) as u8 | 0x80);
                length >>= 7;
            }
            outer.push(length as u8);
            outer.extend(&nested);
            nested = outer;
        }
        let kinds = [Message::Graph, Message::Node, Message::Attribute];
        assert!(kinds.iter().any(|&kind| {
            check(&nested, kind).is_err_and(|e| e.to_string().contains("nested more than"))
        }));
        assert!(check(&[0x0b], Message::Model).is_err(), "groups");
        let mut packed = vec![0x3a, 12];
        packed.extend([0xff; 12]);
        assert!(check(&packed, Message::Tensor).is_err(), "a packed number without end");
        assert!(check(&[0x3a, 3, 1, 0x80, 1], Message::Tensor).is_ok());
        assert!(check(&[0x80; 12], Message::Model).is_err(), "endless number");
    }

    #[test]
    fn a_plain_message_passes() {
        // ir_version = 8, then an opset entry {version = 13}.
        assert_eq!(check(&[0x08, 8, 0x42, 2, 0x10, 13], Message::Model), Ok(()));
        assert!(check(&[0x08, 8, 0x42, 3, 0x10, 13], Message::Model).is_err());
    }
}
