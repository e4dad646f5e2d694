//! The server's side of a look-up: it opens one entry of the client's table and sums up.

use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::{KEY_BYTES, LookupSpec, SESSION_BYTES};
use crate::bits::BitWriter;
use crate::error::{SsError, expect_length};
use crate::hash::TweakedHash;
use crate::ot::{RotReceiver, RotSender};
use crate::product::{ProductFinish, ProductServer, ProductWaiting};
use crate::secret::Secret;

/// The server's half before the client's corrections are there.
pub struct LookupWaiting {
    pub(super) spec: LookupSpec,
    pub(super) products: ProductWaiting,
    /// Per element ρ, and ⊕_b k_b^{ρ_b}.
    pub(super) random: Zeroizing<Vec<u8>>,
    pub(super) keys: Secret<u128>,
}

impl ZeroizeOnDrop for LookupWaiting {}

impl LookupWaiting {
    /// Takes the corrections and the table; `sent` is empty, for the client receives nothing.
    ///
    /// # Errors
    /// [`SsError`] when a count or the message does not fit.
    pub fn complete(self, sent: RotSender, corrections: &[u8]) -> Result<LookupServer, SsError> {
        let Self { spec, products, random, keys } = self;
        let n = random.len();
        expect_length("look-up corrections", spec.message_bytes(n)[0], corrections.len())?;
        let (session, rest) = corrections.split_at(SESSION_BYTES);
        let (of_products, table) = rest.split_at(spec.product.message_bytes(n)[0]);
        let bytes = spec.entry_bytes();
        let unused = !(spec.entry_mask() >> (8 * (bytes - 1))) as u8;
        if table.chunks(bytes).fold(0, |all, entry| all | (entry[bytes - 1] & unused)) != 0 {
            return Err(SsError::BadValue { what: "unused bits of a look-up table must be zero" });
        }
        let products = products.complete(sent.pairs(), of_products)?;
        // Some bytes more, so that an entry can be read as a word.
        let mut own = Vec::with_capacity(table.len() + 16);
        own.extend_from_slice(table);
        own.resize(table.len() + 16, 0);
        let mut key = [0; SESSION_BYTES];
        key.copy_from_slice(session);
        Ok(LookupServer { hash: TweakedHash::new(&key), spec, products, random, keys, table: own })
    }
}

/// Prepared, unused server material for a look-up. One-time.
pub struct LookupServer {
    pub(super) spec: LookupSpec,
    pub(super) hash: TweakedHash,
    pub(super) products: ProductServer,
    pub(super) random: Zeroizing<Vec<u8>>,
    pub(super) keys: Secret<u128>,
    /// The client's table as received: no secret.
    pub(super) table: Vec<u8>,
}

impl ZeroizeOnDrop for LookupServer {}

impl LookupServer {
    /// Keeps of `received`, [`LookupSpec::server_transfers`] per element, what is needed.
    ///
    /// # Errors
    /// [`SsError::WrongLength`] where the counts do not fit.
    pub fn receive(spec: &LookupSpec, n: usize, received: RotReceiver) -> Result<LookupWaiting, SsError> {
        expect_length("transfers received for a look-up", n * spec.server_transfers(), received.len())?;
        let split = n * spec.product.server_transfers();
        let (choices, index_choices) = received.choices().split_at(split);
        let (pads, index_pads) = received.pads().split_at(split);
        let products = ProductWaiting::receive(&spec.product, n, choices, pads)?;
        let g = spec.index_bits as usize;
        let pack = |bits: &[u8]| bits.iter().enumerate().fold(0, |all, (b, bit)| all | bit << b);
        let random = Zeroizing::new(index_choices.chunks(g).map(pack).collect());
        let mut keys = Secret::zeros(n);
        for (key, pads) in keys.iter_mut().zip(index_pads.chunks(g)) {
            *key = pads.iter().fold(0, |all, pad| all ^ pad);
        }
        Ok(LookupWaiting { spec: spec.clone(), products, random, keys })
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.random.len()
    }

    /// Whether the look-up has no elements.
    pub fn is_empty(&self) -> bool {
        self.random.is_empty()
    }

    /// Starts the look-up: `compare` the server's k-bit shares of y; there are no lanes. Gives S1. The operands are wiped.
    ///
    /// # Errors
    /// [`SsError::WrongLength`] when the operands do not have the look-up's size.
    pub fn begin(self, compare: Vec<u64>, lanes: Vec<Vec<u64>>) -> Result<(Vec<u8>, LookupFinish), SsError> {
        let (compare, lanes) = (Zeroizing::new(compare), Zeroizing::new(lanes));
        let Self { spec, hash, products, random, keys, table } = self;
        let n = random.len();
        expect_length("operands of a look-up", n, compare.len())?;
        expect_length("lanes of a look-up", 0, lanes.len())?;
        let (mut message, products) = products.begin(|i, factors| {
            let (_, x, square) = spec.split(compare[i]);
            factors[..2].copy_from_slice(&[x, square]);
            (0, 0)
        })?;
        let mut offsets = BitWriter::with_capacity_bits(spec.index_bits as usize * n);
        let mut entries = Secret::<u128>::zeros(n);
        let (slots, bytes) = (1usize << spec.index_bits, spec.entry_bytes());
        for (i, ((&share, &random), entry)) in
            compare.iter().zip(random.iter()).zip(entries.iter_mut()).enumerate()
        {
            let (index, _, _) = spec.split(share);
            offsets.push(index ^ u64::from(random), spec.index_bits);
            let own = &table[i * slots * bytes..][..slots * bytes + 16];
            // Every entry is read; a mask keeps the one that is wanted.
            let kept = (0..slots).fold(0, |kept, slot| {
                let wanted = ((slot as u64 ^ index).wrapping_sub(1) >> 63).wrapping_neg();
                let mut word = [0; 16];
                word.copy_from_slice(&own[slot * bytes..][..16]);
                kept | (u128::from_le_bytes(word) & (u128::from(wanted) << 64 | u128::from(wanted)))
            });
            *entry = kept & spec.entry_mask();
        }
        message.extend_from_slice(&offsets.finish());
        Ok((message, LookupFinish { spec, hash, products, compare, keys, entries }))
    }
}

/// After S1.
pub struct LookupFinish {
    pub(super) spec: LookupSpec,
    pub(super) hash: TweakedHash,
    pub(super) products: ProductFinish,
    pub(super) compare: Zeroizing<Vec<u64>>,
    pub(super) keys: Secret<u128>,
    /// The entry of every element, still under its key.
    pub(super) entries: Secret<u128>,
}

impl ZeroizeOnDrop for LookupFinish {}

impl LookupFinish {
    /// C1 in; one lane out: the function's value plus κ in the output ring, a share, for the caller to wipe.
    ///
    /// # Errors
    /// [`SsError`] when the client's message has the wrong length or stray bits.
    pub fn finish(self, message: &[u8]) -> Result<Vec<Vec<u64>>, SsError> {
        let Self { spec, hash, products, compare, mut keys, entries } = self;
        let n = compare.len();
        expect_length("look-up answers", spec.message_bytes(n)[2], message.len())?;
        let (of_products, aligned) = message.split_at(spec.product.message_bytes(n)[2]);
        for (key, aligned) in keys.iter_mut().zip(aligned.as_chunks::<KEY_BYTES>().0) {
            *key ^= u128::from_le_bytes(*aligned);
        }
        hash.hash_slice(0, &mut keys);
        let mut results = Zeroizing::new(products.finish(of_products)?);
        let (output, [e0, e1, e2]) = (spec.output(), spec.exponents);
        for (((result, &share), key), entry) in
            results.iter_mut().zip(compare.iter()).zip(keys.iter()).zip(entries.iter())
        {
            let [beta, alpha, gamma] = spec.unpack((entry ^ key) & spec.entry_mask());
            let (_, x, square) = spec.split(share);
            let own = (beta << e0)
                .wrapping_add(alpha.wrapping_mul(x) << e1)
                .wrapping_add(gamma.wrapping_mul(square) << e2);
            *result = output.add(*result, own << spec.product.shift());
        }
        Ok(vec![core::mem::take(&mut *results)])
    }
}
