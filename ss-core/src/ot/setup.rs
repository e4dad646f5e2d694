//! Set-up of the transfer extension: from a session identifier to punctured trees.
//!
//! Roy, *SoftSpokenOT* (CRYPTO 2022, eprint 2022/192): 128 base transfers turn into 128/f all-but-one
//! transfers of 2^f seeds. Once per pair of parties and direction; *the extension's receiver acts as the
//! sender of the base transfers*:
//!
//! | message | who | what | bytes |
//! |---|---|---|---|
//! | 1 | receiver → sender | base transfer offer | [`MESSAGE1_BYTES`] |
//! | 2 | sender → receiver | base transfer reply: 128 points, choices are the complement of Δ | [`MESSAGE2_BYTES`] |
//! | 3 | receiver → sender | per bit of Δ two sums of tree nodes, each under its base key | [`MESSAGE3_BYTES`] |
//!
//! Each step consumes the state before it, so that steps cannot be left out or repeated. Bit i of Δ belongs
//! to base transfer i and to bit i mod f of the leaf that is missing in tree ⌊i/f⌋.
//!
//! The **session** identifier has to be unique per set-up: two directions between the same parties are two
//! set-ups, with two identifiers. Security is that of [`base`](super::base), semi-honest; a malicious peer
//! can make the trees of the two sides differ, which shows as transfers that do not agree.

use super::base::{BaseSender, OFFER_BYTES, REPLY_BYTES, receive};
use super::ggm::{grow, grow_punctured};
use super::softspoken::{ExtensionParams, ExtensionReceiver, ExtensionSender};
use super::vole::{ROWS, Streams};
use crate::error::{SsError, expect_length};
use crate::hash::TweakedHash;
use core::fmt;
use rand_core::CryptoRng;
use sha3::{Digest, Sha3_256};
use subtle::{Choice, ConditionallySelectable};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Length of the first set-up message, receiver to sender.
pub const MESSAGE1_BYTES: usize = OFFER_BYTES;

/// Length of the second set-up message, sender to receiver.
pub const MESSAGE2_BYTES: usize = ROWS * REPLY_BYTES;

/// Length of the third set-up message, receiver to sender.
pub const MESSAGE3_BYTES: usize = ROWS * 32;

/// Set-up of the extension's receiver, between messages 1 and 2.
#[derive(Debug)]
pub struct ReceiverSetup {
    session: [u8; 32],
    params: ExtensionParams,
    base: BaseSender,
}

impl ReceiverSetup {
    /// Starts the set-up: message 1, [`MESSAGE1_BYTES`] bytes.
    ///
    /// `session` is unique to this set-up and known to both parties.
    pub fn begin<R: CryptoRng + ?Sized>(
        session: &[u8; 32],
        params: ExtensionParams,
        rng: &mut R,
    ) -> (Vec<u8>, Self) {
        let session = bind_params(session, params);
        let (message, base) = BaseSender::begin(&session, rng);
        (message, Self { session, params, base })
    }

    /// Takes message 2, gives message 3 ([`MESSAGE3_BYTES`] bytes) and the receiver.
    ///
    /// # Errors
    /// [`SsError::WrongLength`] unless `message` has [`MESSAGE2_BYTES`] bytes, [`SsError::BadPoint`] for an
    /// element that is not canonical.
    pub fn finish<R: CryptoRng + ?Sized>(
        self,
        rng: &mut R,
        message: &[u8],
    ) -> Result<(Vec<u8>, ExtensionReceiver), SsError> {
        let Self { session, params, base } = self;
        expect_length("set-up message 2 of the transfer extension (bytes)", MESSAGE2_BYTES, message.len())?;
        let keys = base.finish(ROWS, message)?;
        let field_bits = params.field_bits() as usize;
        let mut sums = Vec::with_capacity(MESSAGE3_BYTES);
        let mut trees = Vec::with_capacity(params.trees());
        for keys in keys.chunks_exact(field_bits) {
            let mut root = Zeroizing::new([0u8; 16]);
            rng.fill_bytes(&mut *root);
            let tree = grow(u128::from_le_bytes(*root), field_bits);
            for (keys, sums_of_bit) in keys.iter().zip(tree.sums.iter()) {
                for side in 0..2 {
                    sums.extend_from_slice(&(keys[side] ^ sums_of_bit[side]).to_le_bytes());
                }
            }
            trees.push(Streams::full(&tree.leaves));
        }
        let hash = TweakedHash::new(&session);
        Ok((sums, ExtensionReceiver::new(params, trees, hash)))
    }
}

/// Set-up of the extension's sender, between messages 2 and 3.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SenderSetup {
    delta: u128,
    keys: Vec<u128>,
    #[zeroize(skip)]
    session: [u8; 32],
    #[zeroize(skip)]
    params: ExtensionParams,
}

impl SenderSetup {
    /// Takes message 1, gives message 2: [`MESSAGE2_BYTES`] bytes.
    ///
    /// # Errors
    /// [`SsError::WrongLength`] unless `message` has [`MESSAGE1_BYTES`] bytes, [`SsError::BadPoint`] for an
    /// element that is not canonical, or neutral.
    pub fn begin<R: CryptoRng + ?Sized>(
        session: &[u8; 32],
        params: ExtensionParams,
        rng: &mut R,
        message: &[u8],
    ) -> Result<(Vec<u8>, Self), SsError> {
        let session = bind_params(session, params);
        let mut bytes = Zeroizing::new([0u8; 16]);
        rng.fill_bytes(&mut *bytes);
        let delta = u128::from_le_bytes(*bytes);
        // The side to ask for is the one that the path to Δ does not take.
        let sides = Zeroizing::new((0..ROWS).map(|bit| (!delta >> bit) as u8 & 1).collect::<Vec<_>>());
        let (reply, keys) = receive(&session, message, &sides, rng)?;
        Ok((reply, Self { delta, keys: keys.to_vec(), session, params }))
    }

    /// Takes message 3 and gives the sender.
    ///
    /// # Errors
    /// [`SsError::WrongLength`] unless `message` has [`MESSAGE3_BYTES`] bytes.
    pub fn finish(self, message: &[u8]) -> Result<ExtensionSender, SsError> {
        expect_length("set-up message 3 of the transfer extension (bytes)", MESSAGE3_BYTES, message.len())?;
        let (blocks, _) = message.as_chunks::<16>();
        let (offers, _) = blocks.as_chunks::<2>();
        let sums: Zeroizing<Vec<u128>> = Zeroizing::new(
            (0..ROWS)
                .map(|bit| {
                    let [left, right] = offers[bit].map(u128::from_le_bytes);
                    let side = Choice::from((!self.delta >> bit) as u8 & 1);
                    u128::conditional_select(&left, &right, side) ^ self.keys[bit]
                })
                .collect(),
        );
        let field_bits = self.params.field_bits();
        let trees = (0..)
            .zip(sums.chunks_exact(field_bits as usize))
            .map(|(tree, sums)| {
                let missing = (self.delta >> (tree * field_bits)) as u32 & ((1 << field_bits) - 1);
                Streams::punctured(&grow_punctured(missing, sums))
            })
            .collect();
        let hash = TweakedHash::new(&self.session);
        Ok(ExtensionSender::new(self.params, self.delta, trees, hash))
    }
}

impl fmt::Debug for SenderSetup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SenderSetup({:?}, secret)", self.params)
    }
}

/// The session of both the base transfers and the hash: parties that disagree on the parameters share no
/// keys.
fn bind_params(session: &[u8; 32], params: ExtensionParams) -> [u8; 32] {
    Sha3_256::new()
        .chain_update(b"hushnet/softspoken/v1")
        .chain_update(session)
        .chain_update(params.field_bits().to_le_bytes())
        .finalize()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    #[test]
    fn lengths_are_as_documented_and_checked() {
        let mut rng = ChaCha20Rng::from_seed([21; 32]);
        let params = ExtensionParams::default();
        let (message1, receiver) = ReceiverSetup::begin(&[1; 32], params, &mut rng);
        assert_eq!(message1.len(), MESSAGE1_BYTES);
        let short = &message1[1..];
        assert!(matches!(
            SenderSetup::begin(&[1; 32], params, &mut rng, short),
            Err(SsError::WrongLength { expected: MESSAGE1_BYTES, got: 31, .. })
        ));
        let (message2, sender) = SenderSetup::begin(&[1; 32], params, &mut rng, &message1).unwrap();
        assert_eq!(message2.len(), MESSAGE2_BYTES);
        let (message3, _) = receiver.finish(&mut rng, &message2).unwrap();
        assert_eq!(message3.len(), MESSAGE3_BYTES);
        let (_, another) = SenderSetup::begin(&[1; 32], params, &mut rng, &message1).unwrap();
        assert!(sender.finish(&message3).is_ok());
        assert!(matches!(another.finish(&message3[32..]), Err(SsError::WrongLength { .. })));

        for (bad, index) in [(message2[..4000].to_vec(), None), (corrupt(&message2, 77), Some(77))] {
            let (_, receiver) = ReceiverSetup::begin(&[1; 32], params, &mut rng);
            let error = receiver.finish(&mut rng, &bad).unwrap_err();
            match index {
                None => assert!(matches!(error, SsError::WrongLength { .. })),
                Some(index) => assert_eq!(error, SsError::BadPoint { index }),
            }
        }
    }

    #[test]
    fn nothing_secret_is_printed() {
        let mut rng = ChaCha20Rng::from_seed([22; 32]);
        let params = ExtensionParams::new(4).unwrap();
        let (message1, receiver) = ReceiverSetup::begin(&[1; 32], params, &mut rng);
        let (_, sender) = SenderSetup::begin(&[1; 32], params, &mut rng, &message1).unwrap();
        assert_eq!(format!("{sender:?}"), "SenderSetup(ExtensionParams { field_bits: 4 }, secret)");
        assert!(format!("{receiver:?}").contains("base: BaseSender(secret)"));
    }

    fn corrupt(message: &[u8], point: usize) -> Vec<u8> {
        let mut bad = message.to_vec();
        bad[32 * point..32 * (point + 1)].fill(255);
        bad
    }
}
