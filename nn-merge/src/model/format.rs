//! The bytes of a manifest and of a model file.
//!
//! A manifest is postcard, at most 1 MiB. A model file is:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `HUSHNET1` |
//! | 8 | 4 | format version, little-endian (now 2) |
//! | 12 | 8 | length L of the body |
//! | 20 | 4 | length of the manifest |
//! | 24 | m | the manifest |
//! | 24+m | 32 | salt |
//! | … | per node | number of biases (4 bytes), weights (i32 little-endian each; their number follows from the manifest), biases (i64 each) |
//! | 20+L | 32 | SHA3-256 of everything before |
//!
//! The decoder checks lengths before it allocates, the trailer before it parses, and the model's invariants
//! and commitment before it returns. The trailer finds damage, not forgery: who can write the file can write
//! the trailer.

use sha3::{Digest, Sha3_256};

use super::{Manifest, Model, NodeWeights, OpSpec};
use crate::error::NnError;

/// Cap on an encoded manifest.
pub const MAX_MANIFEST_BYTES: usize = 1 << 20;
/// Cap on a model file: all weights the manifest may name, and the manifest.
pub const MAX_MODEL_BYTES: usize = 1 << 31;

const MAGIC: &[u8; 8] = b"HUSHNET1";
const VERSION: u32 = 2;
const HEADER: usize = 20;
const TRAILER: usize = 32;

impl Manifest {
    /// The manifest as bytes.
    ///
    /// # Errors
    /// [`NnError::Manifest`] if it exceeds [`MAX_MANIFEST_BYTES`].
    pub fn encode(&self) -> Result<Vec<u8>, NnError> {
        let bytes = postcard::to_stdvec(self)
            .map_err(|e| NnError::manifest(format!("it cannot be encoded ({e})")))?;
        if bytes.len() > MAX_MANIFEST_BYTES {
            return Err(NnError::manifest(format!("{} bytes, more than {MAX_MANIFEST_BYTES}", bytes.len())));
        }
        Ok(bytes)
    }

    /// Reads and validates a manifest; any bytes may be given.
    ///
    /// # Errors
    /// [`NnError::Manifest`] if the bytes are too many, malformed, followed by others, or break an invariant.
    pub fn decode(bytes: &[u8]) -> Result<Self, NnError> {
        if bytes.len() > MAX_MANIFEST_BYTES {
            return Err(NnError::manifest(format!("{} bytes, more than {MAX_MANIFEST_BYTES}", bytes.len())));
        }
        let (manifest, rest) = postcard::take_from_bytes::<Self>(bytes)
            .map_err(|e| NnError::manifest(format!("it cannot be decoded ({e})")))?;
        if !rest.is_empty() {
            return Err(NnError::manifest(format!("{} bytes follow it", rest.len())));
        }
        manifest.validate()?;
        Ok(manifest)
    }
}

impl Model {
    /// The model as the bytes of a file. They hold the weights: treat them as secret.
    ///
    /// # Errors
    /// As [`Model::validate`]: a model that would be refused on reading is not written.
    pub fn to_bytes(&self) -> Result<Vec<u8>, NnError> {
        self.validate()?;
        let manifest = self.manifest.encode()?;
        let body = 4 + manifest.len() + 32 + self.nodes.iter().map(node_bytes).sum::<usize>();
        let mut out = Vec::with_capacity(HEADER + body + TRAILER);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&(body as u64).to_le_bytes());
        out.extend_from_slice(&(manifest.len() as u32).to_le_bytes());
        out.extend_from_slice(&manifest);
        out.extend_from_slice(&self.salt);
        for node in &self.nodes {
            out.extend_from_slice(&(node.bias.len() as u32).to_le_bytes());
            node.weights.iter().for_each(|w| out.extend_from_slice(&w.to_le_bytes()));
            node.bias.iter().for_each(|b| out.extend_from_slice(&b.to_le_bytes()));
        }
        let trailer: [u8; 32] = Sha3_256::digest(&out).into();
        out.extend_from_slice(&trailer);
        Ok(out)
    }

    /// Reads a model file; any bytes may be given.
    ///
    /// # Errors
    /// [`NnError::File`] for another kind of file, another version, truncation or damage;
    /// [`NnError::Manifest`] for a manifest that breaks an invariant.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NnError> {
        let body = checked_body(bytes)?;
        let (length, rest) = split(body, 4, "the manifest's length")?;
        let length = u32::from_le_bytes(array(length)) as usize;
        if length > MAX_MANIFEST_BYTES {
            return Err(NnError::file(format!(
                "a manifest of {length} bytes, the cap is {MAX_MANIFEST_BYTES}"
            )));
        }
        let (manifest, rest) = split(rest, length, "the manifest")?;
        let manifest = Manifest::decode(manifest)?;
        let (salt, mut rest) = split(rest, 32, "the salt")?;
        let mut nodes = Vec::with_capacity(manifest.nodes.len());
        for spec in &manifest.nodes {
            let weights = match &spec.op {
                OpSpec::Linear { geometry, .. } => geometry.weights_len(),
                _ => 0,
            };
            // Weights are capped by the manifest's own validation and a count has 32 bits: the products cannot overflow.
            let (biases, after) = split(rest, 4, "the number of biases")?;
            let biases = u32::from_le_bytes(array(biases)) as usize;
            let (weights, after) = split(after, 4 * weights, "weights")?;
            let (bias, after) = split(after, 8 * biases, "biases")?;
            nodes.push(NodeWeights {
                weights: weights.chunks_exact(4).map(|c| i32::from_le_bytes(array(c))).collect(),
                bias: bias.chunks_exact(8).map(|c| i64::from_le_bytes(array(c))).collect(),
            });
            rest = after;
        }
        if !rest.is_empty() {
            return Err(NnError::file(format!("{} bytes follow the last node", rest.len())));
        }
        let model = Self { manifest, nodes, salt: array(salt) };
        model.validate()?;
        Ok(model)
    }
}

/// Magic, version, length and trailer checked; what lies between.
fn checked_body(bytes: &[u8]) -> Result<&[u8], NnError> {
    if bytes.len() > MAX_MODEL_BYTES {
        return Err(NnError::file(format!("{} bytes, the cap is {MAX_MODEL_BYTES}", bytes.len())));
    }
    let (magic, rest) = split(bytes, 8, "the header")?;
    if magic != MAGIC {
        return Err(NnError::file(
            "it does not begin with HUSHNET1 (an ONNX file must go through merging first)",
        ));
    }
    let (version, rest) = split(rest, 4, "the version")?;
    let version = u32::from_le_bytes(array(version));
    if version != VERSION {
        return Err(NnError::file(format!("format version {version}, this program reads version {VERSION}")));
    }
    let (length, rest) = split(rest, 8, "the length")?;
    let length = u64::from_le_bytes(array(length));
    let wanted = length.saturating_add(TRAILER as u64);
    if rest.len() as u64 != wanted {
        let state = if (rest.len() as u64) < wanted { "truncated" } else { "longer than it says" };
        return Err(NnError::file(format!(
            "it is {state}: {} bytes after the header, wanted {wanted}",
            rest.len()
        )));
    }
    let (body, trailer) = rest.split_at(rest.len() - TRAILER);
    let digest: [u8; 32] = Sha3_256::digest(&bytes[..bytes.len() - TRAILER]).into();
    if digest[..] != *trailer {
        return Err(NnError::file("its checksum does not match: the file is damaged"));
    }
    Ok(body)
}

fn node_bytes(node: &NodeWeights) -> usize {
    4 + 4 * node.weights.len() + 8 * node.bias.len()
}

fn split<'a>(bytes: &'a [u8], at: usize, what: &str) -> Result<(&'a [u8], &'a [u8]), NnError> {
    bytes.split_at_checked(at).ok_or_else(|| {
        NnError::file(format!("it is truncated: {what} take {at} bytes, {} are left", bytes.len()))
    })
}

/// A slice of known length as an array.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(bytes);
    out
}
