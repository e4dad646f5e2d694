//! Set-up of the transfer extension: from a session identifier to punctured trees.
//!
//! Roy, *SoftSpokenOT* (CRYPTO 2022, eprint 2022/192): 128 base transfers turn into 128/f all-but-one
//! transfers of 2^f seeds. Once per pair of parties and direction; *the extension's receiver acts as the
//! sender of the base transfers*:
//!
//! | message | who | what | bytes: Ristretto | ML-KEM |
//! |---|---|---|---|---|
//! | 1 | receiver → sender | base transfer offer | 32 | 0 |
//! | 2 | sender → receiver | base transfer reply; the choices are the complement of Δ | 4,096 | 303,104 |
//! | 3 | receiver → sender | base transfer answer; per bit of Δ two sums of tree nodes, under base keys | 4,096 | 282,624 |
//!
//! The lengths are those of [`SetupParams::message_bytes`]. With ML-KEM message 1 is empty: its first message
//! is the sender's, and the three messages and their directions stay the same for both kinds.
//!
//! Each step consumes the state before it, so that steps cannot be left out or repeated. Bit i of Δ belongs
//! to base transfer i and to bit i mod f of the leaf that is missing in tree ⌊i/f⌋.
//!
//! The **session** identifier has to be unique per set-up: two directions between the same parties are two
//! set-ups, with two identifiers. Field and kind of base transfers are hashed into it, so parties that
//! disagree on either share no keys. Security is that of [`base`], semi-honest; a malicious peer
//! can make the trees of the two sides differ, which shows as transfers that do not agree.

use super::base::{self, BaseKind};
use super::ggm::{grow, grow_punctured};
use super::softspoken::{ExtensionParams, ExtensionReceiver, ExtensionSender};
use super::vole::{ROWS, Streams};
use crate::error::{SsError, expect_length};
use crate::hash::TweakedHash;
use core::fmt;
use rand_core::CryptoRng;
use sha3::{Digest, Sha3_256};
use subtle::{Choice, ConditionallySelectable};
use zeroize::{ZeroizeOnDrop, Zeroizing};

/// Bytes of the sums of tree nodes in message 3.
const SUMS_BYTES: usize = ROWS * 32;

/// What both parties agree on before the set-up; public.
///
/// An [`ExtensionParams`] alone stands for base transfers of the default kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SetupParams {
    /// The field of the extension.
    pub extension: ExtensionParams,
    /// The kind of base transfers.
    pub base: BaseKind,
}

impl SetupParams {
    /// Lengths of messages 1, 2 and 3.
    #[must_use]
    pub const fn message_bytes(self) -> [usize; 3] {
        let kind = self.base;
        [kind.offer_bytes(), ROWS * kind.reply_bytes(), ROWS * kind.answer_bytes() + SUMS_BYTES]
    }

    /// The session of both the base transfers and the hash.
    fn bind(self, session: &[u8; 32]) -> [u8; 32] {
        Sha3_256::new()
            .chain_update(b"hushnet/softspoken/v2")
            .chain_update(session)
            .chain_update(self.extension.field_bits().to_le_bytes())
            .chain_update(self.base.name())
            .finalize()
            .into()
    }
}

impl From<ExtensionParams> for SetupParams {
    fn from(extension: ExtensionParams) -> Self {
        Self { extension, base: BaseKind::default() }
    }
}

/// Set-up of the extension's receiver, between messages 1 and 2.
#[derive(Debug)]
pub struct ReceiverSetup {
    session: [u8; 32],
    params: SetupParams,
    base: base::Sender,
}

impl ReceiverSetup {
    /// Starts the set-up: message 1.
    ///
    /// `session` is unique to this set-up and known to both parties.
    pub fn begin<R: CryptoRng + ?Sized>(
        session: &[u8; 32],
        params: impl Into<SetupParams>,
        rng: &mut R,
    ) -> (Vec<u8>, Self) {
        let params = params.into();
        let session = params.bind(session);
        let (message, base) = base::Sender::begin(params.base, &session, rng);
        (message, Self { session, params, base })
    }

    /// Takes message 2, gives message 3 and the receiver.
    ///
    /// # Errors
    /// [`SsError::WrongLength`] unless `message` has the length of [`SetupParams::message_bytes`],
    /// [`SsError::BadPoint`] for an element that is not canonical.
    pub fn finish<R: CryptoRng + ?Sized>(
        self,
        rng: &mut R,
        message: &[u8],
    ) -> Result<(Vec<u8>, ExtensionReceiver), SsError> {
        let Self { session, params, base } = self;
        let [_, expected, reply_bytes] = params.message_bytes();
        expect_length("set-up message 2 of the transfer extension (bytes)", expected, message.len())?;
        let (mut reply, keys) = base.finish(ROWS, message, rng)?;
        let field_bits = params.extension.field_bits() as usize;
        reply.reserve_exact(reply_bytes - reply.len());
        let mut trees = Vec::with_capacity(params.extension.trees());
        for keys in keys.chunks_exact(field_bits) {
            let mut root = Zeroizing::new([0u8; 16]);
            rng.fill_bytes(&mut *root);
            let tree = grow(u128::from_le_bytes(*root), field_bits);
            for (keys, sums_of_bit) in keys.iter().zip(tree.sums.iter()) {
                for side in 0..2 {
                    reply.extend_from_slice(&(keys[side] ^ sums_of_bit[side]).to_le_bytes());
                }
            }
            trees.push(Streams::full(&tree.leaves));
        }
        let hash = TweakedHash::new(&session);
        Ok((reply, ExtensionReceiver::new(params.extension, trees, hash)))
    }
}

/// Set-up of the extension's sender, between messages 2 and 3.
///
/// Its secret parts wipe themselves.
pub struct SenderSetup {
    delta: Zeroizing<u128>,
    base: base::Receiver,
    session: [u8; 32],
    params: SetupParams,
}

impl SenderSetup {
    /// Takes message 1, gives message 2.
    ///
    /// # Errors
    /// [`SsError::WrongLength`] unless `message` has the length of [`SetupParams::message_bytes`],
    /// [`SsError::BadPoint`] for an element that is not canonical, or neutral.
    pub fn begin<R: CryptoRng + ?Sized>(
        session: &[u8; 32],
        params: impl Into<SetupParams>,
        rng: &mut R,
        message: &[u8],
    ) -> Result<(Vec<u8>, Self), SsError> {
        let params = params.into();
        let session = params.bind(session);
        let mut bytes = Zeroizing::new([0u8; 16]);
        rng.fill_bytes(&mut *bytes);
        // The lowest bit is 1: the silent extension carries choice bits there. 127 secret bits remain.
        let delta = Zeroizing::new(u128::from_le_bytes(*bytes) | 1);
        // The side to ask for is the one that the path to Δ does not take.
        let sides = Zeroizing::new((0..ROWS).map(|bit| (!*delta >> bit) as u8 & 1).collect::<Vec<_>>());
        let (reply, base) = base::Receiver::begin(params.base, &session, message, &sides, rng)?;
        Ok((reply, Self { delta, base, session, params }))
    }

    /// Takes message 3 and gives the sender.
    ///
    /// # Errors
    /// [`SsError::WrongLength`] unless `message` has the length of [`SetupParams::message_bytes`].
    pub fn finish(self, message: &[u8]) -> Result<ExtensionSender, SsError> {
        let Self { delta, base, session, params } = self;
        let [_, _, expected] = params.message_bytes();
        expect_length("set-up message 3 of the transfer extension (bytes)", expected, message.len())?;
        let (answer, sums) = message.split_at(expected - SUMS_BYTES);
        let keys = base.finish(answer)?;
        let (blocks, _) = sums.as_chunks::<16>();
        let (offers, _) = blocks.as_chunks::<2>();
        let sums: Zeroizing<Vec<u128>> = Zeroizing::new(
            (0..ROWS)
                .map(|bit| {
                    let [left, right] = offers[bit].map(u128::from_le_bytes);
                    let side = Choice::from((!*delta >> bit) as u8 & 1);
                    u128::conditional_select(&left, &right, side) ^ keys[bit]
                })
                .collect(),
        );
        let field_bits = params.extension.field_bits();
        let trees = (0..)
            .zip(sums.chunks_exact(field_bits as usize))
            .map(|(tree, sums)| {
                let missing = (*delta >> (tree * field_bits)) as u32 & ((1 << field_bits) - 1);
                Streams::punctured(&grow_punctured(missing, sums))
            })
            .collect();
        let hash = TweakedHash::new(&session);
        Ok(ExtensionSender::new(params.extension, *delta, trees, hash))
    }
}

impl ZeroizeOnDrop for SenderSetup {}

impl fmt::Debug for SenderSetup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SenderSetup({:?}, secret)", self.params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    fn params(base: BaseKind) -> SetupParams {
        SetupParams { extension: ExtensionParams::new(4).unwrap(), base }
    }

    #[test]
    fn lengths_are_as_documented_and_checked() {
        let mut rng = ChaCha20Rng::from_seed([21; 32]);
        for (kind, lengths) in
            [(BaseKind::Ristretto, [32, 4096, 4096]), (BaseKind::MlKem, [0, 303_104, 282_624])]
        {
            let params = params(kind);
            assert_eq!(params.message_bytes(), lengths);
            let (message1, receiver) = ReceiverSetup::begin(&[1; 32], params, &mut rng);
            assert_eq!(message1.len(), lengths[0]);
            let long = [&message1[..], &[0]].concat();
            let error = SenderSetup::begin(&[1; 32], params, &mut rng, &long).unwrap_err();
            let (expected, got) = (lengths[0], lengths[0] + 1);
            assert_eq!(
                error,
                SsError::WrongLength { what: "the base transfer offer (bytes)", expected, got }
            );
            let (message2, sender) = SenderSetup::begin(&[1; 32], params, &mut rng, &message1).unwrap();
            assert_eq!(message2.len(), lengths[1]);
            let (message3, _) = receiver.finish(&mut rng, &message2).unwrap();
            assert_eq!(message3.len(), lengths[2]);
            let (_, another) = SenderSetup::begin(&[1; 32], params, &mut rng, &message1).unwrap();
            assert!(sender.finish(&message3).is_ok());
            assert!(matches!(another.finish(&message3[32..]), Err(SsError::WrongLength { .. })));

            // The 77th element of the Ristretto reply, and its last; the 77th and last key of the other.
            let element = kind.reply_bytes().min(1184);
            let last = message2.len() / element - 1;
            let bad = |index| Some((corrupt(&message2, element, index), index));
            for bad in [bad(77), bad(last), None] {
                let (_, receiver) = ReceiverSetup::begin(&[1; 32], params, &mut rng);
                match bad {
                    None => assert!(matches!(
                        receiver.finish(&mut rng, &message2[1..]),
                        Err(SsError::WrongLength { .. })
                    )),
                    Some((bad, index)) => {
                        assert_eq!(receiver.finish(&mut rng, &bad).unwrap_err(), SsError::BadPoint { index });
                    }
                }
            }
        }
    }

    /// What comes out are transfers, whatever they are made from; with different kinds there is nothing.
    #[test]
    fn both_kinds_make_transfers_and_do_not_mix() {
        // How many of 256 transfers agree where every byte of message 3 is changed by `damage`.
        let agreeing = |kind, damage: u8| {
            let (mut rng, params) = (ChaCha20Rng::from_seed([23; 32]), params(kind));
            let (message1, receiver) = ReceiverSetup::begin(&[1; 32], params, &mut rng);
            let (message2, sender) = SenderSetup::begin(&[1; 32], params, &mut rng, &message1).unwrap();
            let (mut message3, mut receiver) = receiver.finish(&mut rng, &message2).unwrap();
            message3.iter_mut().for_each(|byte| *byte ^= damage);
            let mut sender = sender.finish(&message3).unwrap();
            let (message, mine) = receiver.extend_random(256).unwrap();
            let theirs = sender.extend_random(256, &message).unwrap();
            (0..256).filter(|&i| theirs.pairs()[i][mine.choices()[i] as usize] == mine.pads()[i]).count()
        };
        for kind in BaseKind::ALL {
            assert_eq!(agreeing(kind, 0), 256, "{kind}");
            assert_eq!(agreeing(kind, 1), 0, "{kind}");
        }
        let bound = |kind| params(kind).bind(&[1; 32]);
        assert_ne!(bound(BaseKind::Ristretto), bound(BaseKind::MlKem));
        let default = SetupParams::from(ExtensionParams::new(4).unwrap());
        assert_eq!(default, params(BaseKind::Ristretto));
    }

    #[test]
    fn nothing_secret_is_printed() {
        let mut rng = ChaCha20Rng::from_seed([22; 32]);
        for kind in BaseKind::ALL {
            let params = params(kind);
            let (message1, receiver) = ReceiverSetup::begin(&[1; 32], params, &mut rng);
            let (_, sender) = SenderSetup::begin(&[1; 32], params, &mut rng, &message1).unwrap();
            assert_eq!(format!("{sender:?}"), format!("SenderSetup({params:?}, secret)"));
            let printed = format!("{receiver:?}");
            match kind {
                BaseKind::Ristretto => assert!(printed.contains("BaseSender(secret)"), "{printed}"),
                // The sender has no secret yet.
                BaseKind::MlKem => assert!(printed.contains("MlKem"), "{printed}"),
            }
        }
    }

    fn corrupt(message: &[u8], element: usize, index: usize) -> Vec<u8> {
        let mut bad = message.to_vec();
        bad[element * index..element * (index + 1)].fill(255);
        bad
    }
}
