//! The handshake: two strangers find out whether they fit, before anything depends on a secret.
//!
//! | | from | content |
//! |---|---|---|
//! | hello | C | magic, version, 32-byte nonce |
//! | welcome | S | version, nonce, epoch, the public manifest, what the server offers |
//! | request | C | the *terms* (output, kinds of transfers, preprocessing), the manifest's digest as the client computed it |
//! | agreed | S | nothing: or a refusal that says why |
//!
//! The server shows which [`Methods`] it allows, the client chooses among them, the server checks. What only matters to one
//! bundle (its images, its round trips) comes with the request for it and goes into the bundle's name.
//!
//! Both derive the *session identifier* from everything that was said; all later hashes and transfers are bound to
//! it, so messages of one session mean nothing in another. The first twelve bytes of hello and the first four of
//! welcome keep their meaning in every version, so that a mismatch is one clear sentence.

use he_core::split::Epoch;
use nn_merge::model::{MAX_MANIFEST_BYTES, Manifest};
use serde::{Deserialize, Serialize};
use sha3::{Digest, Sha3_256};
use ss_core::ot::{BaseKind, ExtensionParams};

use crate::channel::{Channel, Kind};
use crate::encrypted::Mode;
use crate::error::{PeerFault, PeerResult, ProtocolError, Refusal, RefusalCode};
use crate::offline::BundleId;
use crate::offline::construction::Preprocessing;
use crate::plan::OutputMode;
use crate::rounds::RoundChoice;

/// Version of everything on the wire. Equal or refused.
pub const PROTOCOL_VERSION: u32 = 5;
const MAGIC: &[u8; 8] = b"hushnet\0";
const HELLO_BYTES: usize = 44;
const REQUEST_CAP: usize = 1024;
const WELCOME_CAP: usize = MAX_MANIFEST_BYTES + 1024;

/// What a server gives and how much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Logits, rounded to this many bits, besides labels; `None`: labels only.
    pub logit_bits: Option<u32>,
    /// Most labels per image, 1 for the best one only.
    pub labels: u32,
    /// Most images in one bundle.
    pub max_images: usize,
    /// Field bits of the transfer extension (1, 2, 4 or 8) that a client without a wish takes: more are fewer bytes and
    /// more hashing.
    pub field_bits: u32,
    /// What else it allows.
    pub methods: Methods,
}

/// The constructions that a server allows; the client chooses among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Methods {
    /// [`TransferKind::SoftSpoken`], any field.
    pub soft_spoken: bool,
    /// [`TransferKind::Silent`].
    pub silent: bool,
    /// [`BaseKind::Ristretto`].
    pub ristretto: bool,
    /// [`BaseKind::MlKem`].
    pub ml_kem: bool,
    /// Activations in one round trip: more bytes and more of the server's memory.
    pub one_round: bool,
    /// [`Preprocessing::Split`].
    pub split: bool,
    /// [`Preprocessing::Bfv`].
    pub bfv: bool,
    /// [`Preprocessing::Ckks`].
    pub ckks: bool,
    /// [`Preprocessing::BfvPacked`].
    pub bfv_packed: bool,
}

impl Default for Methods {
    /// Everything that is built in.
    fn default() -> Self {
        Self {
            soft_spoken: true,
            silent: true,
            ristretto: true,
            ml_kem: true,
            one_round: true,
            split: true,
            bfv: true,
            ckks: true,
            bfv_packed: true,
        }
    }
}

/// How the session's transfers are made from the base transfers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransferKind {
    /// SoftSpoken: a message with every batch.
    SoftSpoken {
        /// 1, 2, 4 or 8: more are fewer bytes and more hashing.
        field_bits: u32,
    },
    /// Silent: next to no bytes, more memory and work.
    Silent,
}

/// What is fixed for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The output.
    pub mode: OutputMode,
    /// The transfers.
    pub transfers: TransferKind,
    /// The base transfers.
    pub base: BaseKind,
    /// The construction of the linear layers' preprocessing.
    pub preprocessing: Preprocessing,
}

/// What the client asks for; all but base transfers and the goodbye are answered by [`Kind::Agreed`] or a refusal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Fixes the session.
    Agree {
        /// What the client wants.
        terms: Terms,
        /// The manifest as the client understood it.
        digest: [u8; 32],
    },
    /// Base transfers, before the first bundle.
    Transfers,
    /// Filler: a frame of `up` bytes follows, one of `down` bytes is the answer.
    Probe {
        /// Bytes from the client.
        up: usize,
        /// Bytes from the server.
        down: usize,
    },
    /// A bundle of this many images.
    Prepare {
        /// Images.
        images: usize,
        /// How its activations trade round trips for bytes.
        rounds: RoundChoice,
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
    /// Fixes a session on ciphertexts alone ([`crate::encrypted`]), in place of [`Request::Agree`].
    Encrypted {
        /// What a ciphertext holds.
        mode: Mode,
        /// The manifest as the client understood it.
        digest: [u8; 32],
    },
    /// Evaluate the network on encrypted images.
    Evaluate {
        /// Images.
        images: usize,
    },
    /// The client is done.
    Finish,
    /// Fixes an **insecure** session on floating-point shares ([`crate::float`]), in place of [`Request::Agree`]; only a
    /// server that was started for it grants this.
    Float {
        /// Bits by which masks are larger than what they mask.
        mask_bits: u32,
        /// The manifest as the client understood it.
        digest: [u8; 32],
    },
    /// A bundle of this many images for floating-point shares.
    FloatPrepare {
        /// Images.
        images: usize,
    },
    /// Run that bundle now.
    FloatInfer {
        /// Its number in the session, from 0.
        bundle: u64,
    },
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
    if !is_field(offer.field_bits)
        || offer.logit_bits.is_some_and(|bits| !(6..=20).contains(&bits))
        || !offer.methods.suffice()
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

    /// The session identifier for agreed terms.
    pub fn session(&self, terms: &Terms) -> [u8; 32] {
        session(&self.nonces, &self.digest, &self.epoch, terms)
    }
}

impl Methods {
    /// Whether any session is possible.
    pub fn suffice(&self) -> bool {
        (self.soft_spoken || self.silent)
            && (self.ristretto || self.ml_kem)
            && Preprocessing::ALL.into_iter().any(|construction| self.allows(construction))
    }

    /// Whether this construction is allowed.
    pub fn allows(&self, construction: Preprocessing) -> bool {
        match construction {
            Preprocessing::Split => self.split,
            Preprocessing::Bfv => self.bfv,
            Preprocessing::Ckks => self.ckks,
            Preprocessing::BfvPacked => self.bfv_packed,
        }
    }

    /// The first construction that is allowed, which a client without a wish takes.
    pub fn preprocessing(&self) -> Preprocessing {
        Preprocessing::ALL.into_iter().find(|&construction| self.allows(construction)).unwrap_or_default()
    }

    /// Why these terms are refused, in one sentence; `None` where they are fine.
    pub fn objection(&self, terms: &Terms) -> Option<String> {
        if !self.allows(terms.preprocessing) {
            let own: Vec<&str> = Preprocessing::ALL
                .into_iter()
                .filter(|&construction| self.allows(construction))
                .map(Preprocessing::name)
                .collect();
            return Some(format!(
                "this server does not preprocess by `{}`: ask for {}",
                terms.preprocessing,
                own.join(" or ")
            ));
        }
        let transfers = match terms.transfers {
            TransferKind::SoftSpoken { field_bits } if !is_field(field_bits) => {
                return Some(format!(
                    "a transfer extension over a field of {field_bits} bits was asked for: it has 1, 2, 4 or 8"
                ));
            }
            TransferKind::SoftSpoken { .. } if !self.soft_spoken => "SoftSpoken",
            TransferKind::Silent if !self.silent => "silent",
            _ => match terms.base {
                BaseKind::Ristretto if !self.ristretto => {
                    return Some(
                        "this server does not take base transfers over Ristretto: ask for ML-KEM".into(),
                    );
                }
                BaseKind::MlKem if !self.ml_kem => {
                    return Some(
                        "this server does not take base transfers by ML-KEM: ask for Ristretto".into(),
                    );
                }
                _ => return None,
            },
        };
        Some(format!("this server does not take {transfers} transfers: ask for the other kind"))
    }

    /// Likewise for a bundle's round trips.
    pub fn objection_to_rounds(&self, rounds: &RoundChoice) -> Option<String> {
        match rounds {
            RoundChoice::Three => None,
            _ if !self.one_round => {
                Some("this server does not take activations in one round trip: ask for three".into())
            }
            RoundChoice::One => None,
            RoundChoice::Fastest(link) if link.is_plausible() => None,
            RoundChoice::Fastest(link) => Some(format!("there is no link of {link}")),
        }
    }
}

/// Whether the extension works over fields of so many bits.
pub(crate) fn is_field(bits: u32) -> bool {
    ExtensionParams::new(bits).is_ok()
}

/// Binds everything that was said.
pub fn session(nonces: &[[u8; 32]; 2], digest: &[u8; 32], epoch: &Epoch, terms: &Terms) -> [u8; 32] {
    let output = terms.mode.word();
    let field_bits = match terms.transfers {
        TransferKind::Silent => 0,
        TransferKind::SoftSpoken { field_bits } => field_bits,
    };
    let (base, preprocessing) = (terms.base.name().as_bytes(), terms.preprocessing.name().as_bytes());
    let mut hash = Sha3_256::new();
    hash.update(b"hushnet session v4");
    hash.update(PROTOCOL_VERSION.to_le_bytes());
    nonces.iter().for_each(|nonce| hash.update(nonce));
    hash.update(digest);
    hash.update(epoch.bytes());
    let lengths = [base.len() as u32, preprocessing.len() as u32];
    [output, field_bits].iter().chain(&lengths).for_each(|word| hash.update(word.to_le_bytes()));
    hash.update(base);
    hash.update(preprocessing);
    hash.finalize().into()
}

/// The name of the session's bundle number `number`: it holds all that both parties must understand alike about it.
pub fn bundle_name(session: &[u8; 32], number: u64, images: usize, rounds: RoundChoice) -> BundleId {
    let mut hash = Sha3_256::new();
    hash.update(b"hushnet bundle v3");
    hash.update(session);
    hash.update(number.to_le_bytes());
    hash.update((images as u64).to_le_bytes());
    hash.update(rounds.bytes());
    hash.finalize().into()
}

/// A name derived from the session: of one direction of the transfers, say.
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
