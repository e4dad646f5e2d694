//! Base oblivious transfers from ML-KEM-768.
//!
//! Masny and Rindal, *Endemic oblivious transfer* (CCS 2019, eprint 2019/706): a two-message transfer from
//! any key agreement whose first message looks uniform in a group. The key encapsulation is ML-KEM-768 (FIPS
//! 203, from the `ml-kem` crate); its encapsulation keys are pairs (t, ρ) with t in Z_q^768, q = 3329, and ρ
//! in {0,1}^256, a group under addition modulo q and exclusive or. Hash is a random function into that
//! group. For transfer i with choice c:
//!
//! | step | who | what | bytes per transfer |
//! |---|---|---|---|
//! | 1 | receiver | (ek, dk) ← KeyGen, r_{1−c} uniform, r_c = ek − Hash(i, c, r_{1−c}) | |
//! | | receiver → sender | r_0, r_1 | [`REPLY_BYTES`] = 2·1184 |
//! | 2 | sender | ek_b = r_b + Hash(i, b, r_{1−b}) for b = 0, 1; (s_b, ct_b) ← Encaps(ek_b) | |
//! | | sender → receiver | ct_0, ct_1 | [`ANSWER_BYTES`] = 2·1088 |
//! | | sender | k^b = H(i, b, r_0, r_1, s_b, ct_b) | |
//! | 3 | receiver | s_c = Decaps(dk, ct_c), k^c likewise | |
//!
//! Sizes are those of FIPS 203, table 3. H is SHA3-256 cut to 128 bits; both hashes take a domain label and
//! the session, so that keys of different sessions and positions are apart.
//!
//! **Hash** is SHAKE256 squeezed to 128 bits per coefficient, each reduced modulo q, and 256 bits for ρ.
//! Rejecting 12-bit candidates would squeeze less, but in a time that depends on the input, and the order in
//! which the receiver hashes the two slots is its secret. The reduction takes the same time always and is
//! within 2^−98 of uniform over all coefficients of 128 transfers.
//!
//! **What it rests on.** *The choice*: ek is (A·s + e, ρ), pseudorandom under module learning with errors, so
//! r_c, which is ek less a value that does not depend on it, looks as uniform as r_{1−c}. *The other key*:
//! ek_{1−c} = r_{1−c} + Hash(i, 1−c, r_c). The receiver fixed both summands' inputs before it could know the
//! hash, a random oracle, so ek_{1−c} is a uniform key with no known secret; what is encapsulated to it is
//! hidden by the same assumption, and H makes a key of it. Decapsulation fails with probability 2^−164.8 per
//! transfer (FIPS 203, table 1). FIPS 203 puts ML-KEM-768 at the strength of AES-192.
//!
//! **Semi-honest is enough here**, as everywhere in this crate. A sender that answers with false ciphertexts
//! makes keys differ, which shows as transfers that do not agree, and whether they do tells it choices: a
//! failed set-up is thrown away, never repeated with the same choices. The source proves more, against
//! malicious parties; it is not claimed for this instance.
//!
//! **Time** does not depend on the choices: slots are selected by masks. Expanding A from ρ rejects
//! candidates, and takes a time that depends on ρ; ρ is public, but *which* of the two is the receiver's is
//! not. So the receiver encapsulates to the key that it did not make, in both of its steps, and drops the
//! result: the sum is that of both keys whatever the choice.

mod group;

use self::group::{GroupElement, KEY_BYTES, KeyBytes};
use crate::error::{SsError, expect_length};
use core::fmt;
use core::hint::black_box;
use ml_kem::kem::{Decapsulate, KeyExport};
use ml_kem::ml_kem_768::{Ciphertext, DecapsulationKey, EncapsulationKey};
use ml_kem::{B32, Seed};
use rand_core::CryptoRng;
use rayon::prelude::*;
use sha3::{Digest, Sha3_256};
use subtle::{Choice, ConditionallySelectable};
use zeroize::{ZeroizeOnDrop, Zeroizing};

/// Bytes of a ciphertext.
const CIPHERTEXT_BYTES: usize = 1088;

/// Bytes per transfer of the first message, receiver to sender: r_0, r_1.
pub const REPLY_BYTES: usize = 2 * KEY_BYTES;

/// Bytes per transfer of the second message, sender to receiver: ct_0, ct_1.
pub const ANSWER_BYTES: usize = 2 * CIPHERTEXT_BYTES;

/// The receiver between its two steps: the secret keys, and the choices.
pub struct BaseReceiver {
    transfers: Vec<Pending>,
}

/// One transfer of the receiver; the secret key wipes itself.
struct Pending {
    secret: Box<DecapsulationKey>,
    other: Box<EncapsulationKey>,
    choice: Choice,
    transcript: [u8; 32],
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.choice = Choice::from(0);
        zeroize::optimization_barrier(&self.choice);
    }
}

impl BaseReceiver {
    /// Step 1: one transfer per choice, [`REPLY_BYTES`] bytes each.
    ///
    /// `choices` are 0 or 1 each (the lowest bit counts). Takes the same time for all choices.
    pub fn begin<R: CryptoRng + ?Sized>(session: &[u8; 32], choices: &[u8], rng: &mut R) -> (Vec<u8>, Self) {
        // Drawn in order and first, so that the bytes do not depend on the number of threads.
        let mut seeds = Zeroizing::new(vec![[0u8; 96]; choices.len()]);
        seeds.iter_mut().for_each(|seed| rng.fill_bytes(seed));
        let (reply, transfers): (Vec<[KeyBytes; 2]>, Vec<Pending>) = seeds
            .par_iter()
            .zip(choices)
            .enumerate()
            .map(|(index, (seed, &choice))| begin_one(session, index, Choice::from(choice & 1), seed))
            .unzip();
        (reply.into_flattened().into_flattened(), Self { transfers })
    }

    /// Step 3: the chosen keys, from the answer: [`ANSWER_BYTES`] bytes per transfer. Every byte string of
    /// that length is a valid answer.
    ///
    /// # Errors
    /// [`SsError::WrongLength`] for an answer of another length.
    pub fn finish(self, answer: &[u8]) -> Result<Zeroizing<Vec<u128>>, SsError> {
        let expected = self.transfers.len() * ANSWER_BYTES;
        expect_length("the base transfer answer (bytes)", expected, answer.len())?;
        let (ciphertexts, _) = answer.as_chunks::<CIPHERTEXT_BYTES>();
        let (pairs, _) = ciphertexts.as_chunks::<2>();
        let keys =
            self.transfers.par_iter().zip(pairs).map(|(pending, pair)| finish_one(pending, pair)).collect();
        Ok(Zeroizing::new(keys))
    }
}

impl ZeroizeOnDrop for BaseReceiver {}

impl fmt::Debug for BaseReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BaseReceiver({} transfers, secret)", self.transfers.len())
    }
}

/// Step 2: the answer, [`ANSWER_BYTES`] bytes per transfer, and the key pairs of `count` transfers.
///
/// # Errors
/// [`SsError::WrongLength`] unless the reply has `count`·[`REPLY_BYTES`] bytes, [`SsError::BadPoint`] for a
/// coefficient that is not below q; its index counts keys, two per transfer.
#[expect(clippy::type_complexity, reason = "a message and what is kept, as in every step")]
pub fn send<R: CryptoRng + ?Sized>(
    session: &[u8; 32],
    count: usize,
    reply: &[u8],
    rng: &mut R,
) -> Result<(Vec<u8>, Zeroizing<Vec<[u128; 2]>>), SsError> {
    expect_length("the base transfer reply (bytes)", count.saturating_mul(REPLY_BYTES), reply.len())?;
    let (keys, _) = reply.as_chunks::<KEY_BYTES>();
    let (pairs, _) = keys.as_chunks::<2>();
    let mut seeds = Zeroizing::new(vec![[[0u8; 32]; 2]; count]);
    seeds.iter_mut().flatten().for_each(|seed| rng.fill_bytes(seed));
    let sent: Result<Vec<_>, SsError> = pairs
        .par_iter()
        .zip(seeds.par_iter())
        .enumerate()
        .map(|(index, (pair, seeds))| send_one(session, index, pair, seeds))
        .collect();
    let (answer, keys): (Vec<_>, Vec<_>) = sent?.into_iter().unzip();
    Ok((answer.into_flattened().into_flattened(), Zeroizing::new(keys)))
}

fn begin_one(session: &[u8; 32], index: usize, choice: Choice, seed: &[u8; 96]) -> ([KeyBytes; 2], Pending) {
    let mut key_seed = Seed::default();
    key_seed.copy_from_slice(&seed[..64]);
    let secret = Box::new(DecapsulationKey::from_seed(key_seed));
    zeroize::Zeroize::zeroize(key_seed.as_mut_slice());
    let own: KeyBytes = secret.encapsulation_key().to_bytes().into();

    let slot = choice.unwrap_u8();
    // r_{1−c}: any uniform element; a stream of the group's own kind makes one.
    let other = GroupElement::stream(&[b"hushnet/base-ot-ml-kem/draw/v1", &seed[64..]]);
    let other_bytes = other.encode();
    let masked = GroupElement::of_valid(&own).subtract(&mask(session, index, slot, &other_bytes));
    let masked_bytes = masked.encode();
    let mut reply = [masked_bytes, other_bytes];
    let (left, right) = reply.split_at_mut(1);
    for (left, right) in left[0].iter_mut().zip(right[0].iter_mut()) {
        u8::conditional_swap(left, right, choice);
    }
    // The key that the receiver has no secret to; only its work counts, see the module on time.
    let other_key = other.add(&mask(session, index, slot ^ 1, &masked_bytes));
    let other = Box::new(other_key.into_key());
    black_box(other.encapsulate_deterministic(&B32::default()));
    let transcript = transcript(session, index, &reply);
    (reply, Pending { secret, other, choice, transcript })
}

fn finish_one(pending: &Pending, pair: &[[u8; CIPHERTEXT_BYTES]; 2]) -> u128 {
    let mut ciphertext = Ciphertext::default();
    for (byte, (zero, one)) in ciphertext.iter_mut().zip(pair[0].iter().zip(&pair[1])) {
        *byte = u8::conditional_select(zero, one, pending.choice);
    }
    let shared = Zeroizing::new(<[u8; 32]>::from(pending.secret.decapsulate(&ciphertext)));
    black_box(pending.other.encapsulate_deterministic(&B32::default()));
    derive(&pending.transcript, pending.choice.unwrap_u8(), &shared, &ciphertext)
}

type Sent = ([[u8; CIPHERTEXT_BYTES]; 2], [u128; 2]);

fn send_one(
    session: &[u8; 32],
    index: usize,
    pair: &[KeyBytes; 2],
    seeds: &[[u8; 32]; 2],
) -> Result<Sent, SsError> {
    let transcript = transcript(session, index, pair);
    let mut answer = [[0u8; CIPHERTEXT_BYTES]; 2];
    let mut keys = [0u128; 2];
    for slot in 0..2 {
        let element =
            GroupElement::decode(&pair[slot]).ok_or(SsError::BadPoint { index: 2 * index + slot })?;
        let key = element.add(&mask(session, index, slot as u8, &pair[1 - slot])).into_key();
        let (ciphertext, shared) = key.encapsulate_deterministic(&B32::from(seeds[slot]));
        let shared = Zeroizing::new(<[u8; 32]>::from(shared));
        keys[slot] = derive(&transcript, slot as u8, &shared, &ciphertext);
        answer[slot] = ciphertext.into();
    }
    Ok((answer, keys))
}

/// Hash: the element that masks slot `slot`, from the other slot's element.
fn mask(session: &[u8; 32], index: usize, slot: u8, other: &KeyBytes) -> GroupElement {
    let index = (index as u64).to_le_bytes();
    GroupElement::stream(&[b"hushnet/base-ot-ml-kem/mask/v1", session, &index, &[slot], other])
}

/// What both parties saw of one transfer before any key.
fn transcript(session: &[u8; 32], index: usize, pair: &[KeyBytes; 2]) -> [u8; 32] {
    Sha3_256::new()
        .chain_update(b"hushnet/base-ot-ml-kem/transcript/v1")
        .chain_update(session)
        .chain_update((index as u64).to_le_bytes())
        .chain_update(pair.as_flattened())
        .finalize()
        .into()
}

/// H: the key of one slot of one transfer.
fn derive(transcript: &[u8; 32], slot: u8, shared: &[u8; 32], ciphertext: &[u8]) -> u128 {
    let digest = Sha3_256::new()
        .chain_update(b"hushnet/base-ot-ml-kem/key/v1")
        .chain_update(transcript)
        .chain_update([slot])
        .chain_update(shared)
        .chain_update(ciphertext)
        .finalize();
    let mut key = [0u8; 16];
    key.copy_from_slice(&digest[..16]);
    u128::from_le_bytes(key)
}

#[cfg(test)]
mod tests;
