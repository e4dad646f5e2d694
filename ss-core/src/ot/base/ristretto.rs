//! Base oblivious transfers over the Ristretto group.
//!
//! Chou and Orlandi, *The simplest protocol for oblivious transfer* (LATINCRYPT 2015), in its semi-honest
//! use. With G the generator of the Ristretto group:
//!
//! | step | who | what | bytes |
//! |---|---|---|---|
//! | 1 | sender → receiver | A = a·G | 32 |
//! | 2 | receiver → sender | B_i = b_i·G + c_i·A | 32 per transfer |
//! | | sender | k_i^0 = H(i, A, B_i, a·B_i), k_i^1 = H(i, A, B_i, a·B_i − a·A) | |
//! | | receiver | k_i^{c_i} = H(i, A, B_i, b_i·A) | |
//!
//! H is SHA3-256 over a domain label, the session, the index, both points and the shared point, cut to 128
//! bits. Session and index in the hash keep keys of different sessions and positions apart.
//!
//! Security: the choices are hidden perfectly, the other key by the computational Diffie–Hellman assumption
//! with H a random oracle, against semi-honest parties. Not promised: universally composable security against
//! a malicious receiver, which the protocol is known not to have.

use crate::error::{SsError, expect_length};
use core::fmt;
use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{Identity, IsIdentity};
use rand_core::CryptoRng;
use rayon::prelude::*;
use sha3::{Digest, Sha3_256};
use subtle::{Choice, ConditionallySelectable};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Bytes of the first message, sender to receiver.
pub const OFFER_BYTES: usize = 32;

/// Bytes per transfer of the second message, receiver to sender.
pub const REPLY_BYTES: usize = 32;

/// The sender between its two steps; holds the discrete logarithm of its offer.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct BaseSender {
    secret: Scalar,
    #[zeroize(skip)]
    offer: [u8; 32],
    #[zeroize(skip)]
    session: [u8; 32],
}

impl BaseSender {
    /// Step 1: the offer A, [`OFFER_BYTES`] bytes, and the sender that waits for the reply.
    pub fn begin<R: CryptoRng + ?Sized>(session: &[u8; 32], rng: &mut R) -> (Vec<u8>, Self) {
        let secret = Scalar::random(rng);
        let offer = RistrettoPoint::mul_base(&secret).compress().to_bytes();
        (offer.to_vec(), Self { secret, offer, session: *session })
    }

    /// The key pairs of `count` transfers, from the reply: `count`·[`REPLY_BYTES`] bytes.
    ///
    /// # Errors
    /// [`SsError::WrongLength`] for a reply of another length, [`SsError::BadPoint`] for an encoding that is
    /// not canonical.
    pub fn finish(self, count: usize, reply: &[u8]) -> Result<Zeroizing<Vec<[u128; 2]>>, SsError> {
        expect_length("the base transfer reply (bytes)", count.saturating_mul(REPLY_BYTES), reply.len())?;
        let (points, _) = reply.as_chunks::<REPLY_BYTES>();
        // a·A, the difference of the two shared points of every transfer.
        let shift = Zeroizing::new(self.secret * RistrettoPoint::mul_base(&self.secret));
        let keys: Result<Vec<_>, _> = points
            .par_iter()
            .enumerate()
            .map(|(index, bytes)| {
                let point = CompressedRistretto(*bytes).decompress().ok_or(SsError::BadPoint { index })?;
                let shared = Zeroizing::new(self.secret * point);
                let other = Zeroizing::new(*shared - *shift);
                let key = |shared: &RistrettoPoint| derive(&self.session, index, &self.offer, bytes, shared);
                Ok([key(&shared), key(&other)])
            })
            .collect();
        keys.map(Zeroizing::new)
    }
}

impl fmt::Debug for BaseSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BaseSender(secret)")
    }
}

/// Step 2: answers an offer with one transfer per choice, and gives the reply and the chosen keys.
///
/// `choices` are 0 or 1 each (the lowest bit counts). Takes the same time for all choices.
///
/// # Errors
/// [`SsError::WrongLength`] for an offer of another length than [`OFFER_BYTES`], [`SsError::BadPoint`] for an
/// offer that is not the canonical encoding of a group element, or is the neutral one.
pub fn receive<R: CryptoRng + ?Sized>(
    session: &[u8; 32],
    offer: &[u8],
    choices: &[u8],
    rng: &mut R,
) -> Result<(Vec<u8>, Zeroizing<Vec<u128>>), SsError> {
    let offer: [u8; OFFER_BYTES] = offer.try_into().map_err(|_| SsError::WrongLength {
        what: "the base transfer offer (bytes)",
        expected: OFFER_BYTES,
        got: offer.len(),
    })?;
    let point = CompressedRistretto(offer).decompress().ok_or(SsError::BadPoint { index: 0 })?;
    // Under a neutral offer both keys of every transfer would be equal, and the choice bits be in plain
    // sight.
    if point.is_identity() {
        return Err(SsError::BadPoint { index: 0 });
    }
    let secrets = Zeroizing::new(choices.iter().map(|_| Scalar::random(rng)).collect::<Vec<_>>());
    let (replies, keys): (Vec<[u8; 32]>, Vec<u128>) = secrets
        .par_iter()
        .zip(choices)
        .enumerate()
        .map(|(index, (secret, &choice))| {
            let choice = Choice::from(choice & 1);
            let added = RistrettoPoint::conditional_select(&RistrettoPoint::identity(), &point, choice);
            let reply = (RistrettoPoint::mul_base(secret) + added).compress().to_bytes();
            let shared = Zeroizing::new(secret * point);
            (reply, derive(session, index, &offer, &reply, &shared))
        })
        .unzip();
    Ok((replies.into_flattened(), Zeroizing::new(keys)))
}

/// H: the key of one transfer.
fn derive(session: &[u8; 32], index: usize, offer: &[u8], reply: &[u8], shared: &RistrettoPoint) -> u128 {
    let digest = Sha3_256::new()
        .chain_update(b"hushnet/base-ot/v1")
        .chain_update(session)
        .chain_update((index as u64).to_le_bytes())
        .chain_update(offer)
        .chain_update(reply)
        .chain_update(shared.compress().as_bytes())
        .finalize();
    let mut key = [0u8; 16];
    key.copy_from_slice(&digest[..16]);
    u128::from_le_bytes(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    fn rng(label: u8) -> ChaCha20Rng {
        ChaCha20Rng::from_seed([label; 32])
    }

    #[test]
    fn the_receiver_gets_the_chosen_key_and_only_that() {
        let mut rng = rng(1);
        let session = [5; 32];
        let choices: Vec<u8> = (0..40).map(|i| (i * 7 / 3) as u8 & 1).collect();
        let (offer, sender) = BaseSender::begin(&session, &mut rng);
        let (reply, keys) = receive(&session, &offer, &choices, &mut rng).unwrap();
        let pairs = sender.finish(40, &reply).unwrap();
        for (i, &choice) in choices.iter().enumerate() {
            assert_eq!(pairs[i][choice as usize], keys[i]);
            assert_ne!(pairs[i][1 - choice as usize], keys[i]);
        }
    }

    #[test]
    fn another_session_or_position_gives_other_keys() {
        let mut rng = rng(2);
        let (offer, sender) = BaseSender::begin(&[5; 32], &mut rng);
        let (reply, keys) = receive(&[6; 32], &offer, &[0, 1], &mut rng).unwrap();
        let pairs = sender.finish(2, &reply).unwrap();
        assert!(pairs[0].iter().all(|key| *key != keys[0]));
        assert!(pairs[1].iter().all(|key| *key != keys[1]));

        let (offer, sender) = BaseSender::begin(&[5; 32], &mut rng);
        let (reply, keys) = receive(&[5; 32], &offer, &[0, 1], &mut rng).unwrap();
        let swapped = [&reply[32..], &reply[..32]].concat();
        let pairs = sender.finish(2, &swapped).unwrap();
        assert!(pairs.iter().flatten().all(|key| !keys.contains(key)));
    }

    #[test]
    fn bad_bytes_are_refused() {
        let mut rng = rng(3);
        let session = [0; 32];
        // All ones is above the field's prime, so not canonical; all zeros is the neutral element.
        for (offer, error) in [
            (vec![255; 32], SsError::BadPoint { index: 0 }),
            (vec![0; 32], SsError::BadPoint { index: 0 }),
            (
                vec![0; 31],
                SsError::WrongLength { what: "the base transfer offer (bytes)", expected: 32, got: 31 },
            ),
        ] {
            assert_eq!(receive(&session, &offer, &[0], &mut rng).unwrap_err(), error);
        }
        let (offer, _) = BaseSender::begin(&session, &mut rng);
        let (reply, _) = receive(&session, &offer, &[0, 1, 0], &mut rng).unwrap();
        let finish =
            |reply: &[u8], rng: &mut ChaCha20Rng| BaseSender::begin(&session, rng).1.finish(3, reply);
        assert!(finish(&reply, &mut rng).is_ok());
        assert!(matches!(finish(&reply[..64], &mut rng), Err(SsError::WrongLength { .. })));
        assert!(matches!(finish(&[&reply[..], &[0]].concat(), &mut rng), Err(SsError::WrongLength { .. })));
        let mut bad = reply.clone();
        bad[32..64].fill(255);
        assert_eq!(finish(&bad, &mut rng).unwrap_err(), SsError::BadPoint { index: 1 });
    }
}
