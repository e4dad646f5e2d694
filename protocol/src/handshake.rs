//! The handshake: two strangers find out whether they fit, before anything depends on a secret.
//!
//! | | from | content |
//! |---|---|---|
//! | hello | C | magic, version, 32-byte nonce |
//! | welcome | S | version, nonce, epoch, the public manifest, what the server offers |
//! | request | C | the output wanted, the manifest's digest as the client computed it |
//! | agreed | S | nothing: or a refusal that says why |
//!
//! Both derive the *session identifier* from everything that was said; all later hashes and transfers are bound to
//! it, so messages of one session mean nothing in another. The first twelve bytes of hello and the first four of
//! welcome keep their meaning in every version, so that a mismatch is one clear sentence.

use he_core::split::Epoch;
use nn_merge::model::{MAX_MANIFEST_BYTES, Manifest};
use serde::{Deserialize, Serialize};
use sha3::{Digest, Sha3_256};

use crate::channel::{Channel, Kind};
use crate::error::{PeerFault, PeerResult, ProtocolError, Refusal, RefusalCode};
use crate::offline::BundleId;
use crate::plan::OutputMode;

/// Version of everything on the wire. Equal or refused.
pub const PROTOCOL_VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"hushnet\0";
const HELLO_BYTES: usize = 44;
const REQUEST_CAP: usize = 1024;
const WELCOME_CAP: usize = MAX_MANIFEST_BYTES + 1024;

/// What a server gives and how much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Logits, rounded to this many bits, besides labels; `None`: labels only.
    pub logit_bits: Option<u32>,
    /// Most images in one bundle.
    pub max_images: usize,
    /// Field bits of the transfer extension (1, 2, 4 or 8): more are fewer bytes and more hashing.
    pub field_bits: u32,
}

/// What the client asks for; all but base transfers and the goodbye are answered by [`Kind::Agreed`] or a refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Fixes the session.
    Agree {
        /// The output wanted.
        mode: OutputMode,
        /// The manifest as the client understood it.
        digest: [u8; 32],
    },
    /// Base transfers, before the first bundle.
    Transfers,
    /// A bundle of this many images.
    Prepare {
        /// Images.
        images: usize,
    },
    /// Keep the named bundle beyond this connection.
    Keep {
        /// Its name.
        id: BundleId,
    },
    /// Run the named bundle now.
    Infer {
        /// Its name.
        id: BundleId,
    },
    /// The client is done.
    Finish,
}

#[derive(Serialize, Deserialize)]
struct Welcome {
    nonce: [u8; 32],
    epoch: [u8; 32],
    offer: Offer,
    manifest: Vec<u8>,
}

/// What the client learned from the welcome.
#[derive(Debug)]
pub struct Greeting {
    /// The public half of the model.
    pub manifest: Manifest,
    /// Its digest.
    pub digest: [u8; 32],
    /// The server's public label for all public polynomials.
    pub epoch: Epoch,
    /// What the server gives.
    pub offer: Offer,
    nonces: [[u8; 32]; 2],
}

/// Client: hello and welcome.
///
/// # Errors
/// A refusal, a server of another version, or a manifest that does not hold together.
pub fn greet(channel: &mut Channel, nonce: [u8; 32]) -> Result<Greeting, ProtocolError> {
    let mut hello = [0; HELLO_BYTES];
    hello[..8].copy_from_slice(MAGIC);
    hello[8..12].copy_from_slice(&PROTOCOL_VERSION.to_le_bytes());
    hello[12..].copy_from_slice(&nonce);
    channel.send(Kind::Hello, 0, &hello)?;
    let welcome = channel.receive_up_to(Kind::Welcome, WELCOME_CAP)?;
    let (version, rest) = welcome
        .split_first_chunk::<4>()
        .ok_or_else(|| PeerFault::Malformed { what: "welcome", reason: "shorter than a version".into() })?;
    let version = u32::from_le_bytes(*version);
    if version != PROTOCOL_VERSION {
        return Err(ProtocolError::Incompatible(version_refusal(
            "server",
            version,
            "client",
            PROTOCOL_VERSION,
        )));
    }
    let welcome: Welcome = decode(rest, "welcome")?;
    let offer = welcome.offer;
    if !matches!(offer.field_bits, 1 | 2 | 4 | 8)
        || offer.logit_bits.is_some_and(|bits| !(6..=20).contains(&bits))
    {
        return Err(PeerFault::Malformed { what: "welcome", reason: "an impossible offer".into() }.into());
    }
    let manifest = Manifest::decode(&welcome.manifest).or_malformed("manifest")?;
    Ok(Greeting {
        digest: manifest.digest().or_malformed("manifest")?,
        manifest,
        epoch: Epoch::new(welcome.epoch),
        offer,
        nonces: [nonce, welcome.nonce],
    })
}

/// Server: reads hello, sends welcome; gives the nonces.
///
/// # Errors
/// Whatever greets us is no client, or one of another version.
pub fn welcome(
    channel: &mut Channel,
    nonce: [u8; 32],
    epoch: &Epoch,
    manifest: &[u8],
    offer: Offer,
) -> Result<[[u8; 32]; 2], ProtocolError> {
    let hello = channel.receive_up_to(Kind::Hello, 1024)?;
    let (Some(magic), Some(version)) = (hello.first_chunk::<8>(), hello.get(8..12)) else {
        return Err(PeerFault::Malformed { what: "hello", reason: "shorter than a version".into() }.into());
    };
    if magic != MAGIC {
        return Err(PeerFault::Malformed { what: "hello", reason: "not a hushnet client".into() }.into());
    }
    let version = u32::from_le_bytes([version[0], version[1], version[2], version[3]]);
    if version != PROTOCOL_VERSION {
        return Err(channel.refuse(version_refusal("client", version, "server", PROTOCOL_VERSION)));
    }
    let Some(client_nonce) = hello.get(12..).and_then(|rest| <[u8; 32]>::try_from(rest).ok()) else {
        return Err(PeerFault::Malformed { what: "hello", reason: "a nonce has 32 bytes".into() }.into());
    };
    let welcome = Welcome { nonce, epoch: *epoch.bytes(), offer, manifest: manifest.to_vec() };
    let mut bytes = PROTOCOL_VERSION.to_le_bytes().to_vec();
    bytes.extend(encode(&welcome)?);
    channel.send(Kind::Welcome, 0, &bytes)?;
    Ok([client_nonce, nonce])
}

impl Greeting {
    /// Names the server process (by its epoch) and its model.
    pub fn origin(&self) -> [u8; 32] {
        let mut hash = Sha3_256::new();
        hash.update(b"hushnet origin v1");
        hash.update(self.digest);
        hash.update(self.epoch.bytes());
        hash.finalize().into()
    }

    /// The session identifier for an agreed output.
    pub fn session(&self, mode: OutputMode) -> [u8; 32] {
        session(&self.nonces, &self.digest, &self.epoch, mode)
    }
}

/// Binds everything that was said.
pub fn session(nonces: &[[u8; 32]; 2], digest: &[u8; 32], epoch: &Epoch, mode: OutputMode) -> [u8; 32] {
    let bits = match mode {
        OutputMode::Label => 0,
        OutputMode::Logits { bits } => bits,
    };
    let mut hash = Sha3_256::new();
    hash.update(b"hushnet session v1");
    hash.update(PROTOCOL_VERSION.to_le_bytes());
    nonces.iter().for_each(|nonce| hash.update(nonce));
    hash.update(digest);
    hash.update(epoch.bytes());
    hash.update(bits.to_le_bytes());
    hash.finalize().into()
}

/// A name derived from the session: of a bundle, or of one direction of the transfers.
pub fn derive(session: &[u8; 32], label: &str, index: u64) -> [u8; 32] {
    let mut hash = Sha3_256::new();
    hash.update(b"hushnet derived v1");
    hash.update(session);
    hash.update((label.len() as u64).to_le_bytes());
    hash.update(label);
    hash.update(index.to_le_bytes());
    hash.finalize().into()
}

/// Client: sends a request.
pub(crate) fn ask(channel: &mut Channel, request: &Request) -> Result<(), ProtocolError> {
    channel.send(Kind::Request, 0, &encode(request)?)
}

/// Server: the next request.
pub(crate) fn next_request(channel: &mut Channel) -> Result<Request, ProtocolError> {
    let bytes = channel.receive_up_to(Kind::Request, REQUEST_CAP)?;
    decode(&bytes, "request")
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, ProtocolError> {
    postcard::to_stdvec(value).map_err(|error| ProtocolError::Caller(error.to_string()))
}

pub(crate) fn decode<'a, T: Deserialize<'a>>(
    bytes: &'a [u8],
    what: &'static str,
) -> Result<T, ProtocolError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => {
            Err(PeerFault::Malformed { what, reason: format!("{} bytes too many", rest.len()) }.into())
        }
        Err(error) => Err(PeerFault::Malformed { what, reason: error.to_string() }.into()),
    }
}

fn version_refusal(one: &str, version: u32, other: &str, own: u32) -> Refusal {
    Refusal {
        code: RefusalCode::Version,
        reason: format!(
            "the {one} speaks protocol version {version}, the {other} version {own}: use equal releases"
        ),
    }
}
