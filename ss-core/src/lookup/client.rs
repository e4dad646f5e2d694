//! The client's side of a look-up: it garbles its table offline and answers once online.

use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{KEY_BYTES, LookupSpec};
use crate::bits::BitReader;
use crate::error::{SsError, expect_length};
use crate::gate::ClientInputs;
use crate::hash::{TweakedHash, wipe};
use crate::ot::{RotReceiver, RotSender};
use crate::product::ProductClient;
use crate::secret::Secret;
use crate::spline::{Piece, pieces};

/// Elements whose keys are hashed together, entry by entry.
const BLOCK: usize = 64;

/// The choice bits of the transfers in which the client receives: there are none.
pub fn choices(_spec: &LookupSpec, _compare: &[u64], _rng: &mut impl CryptoRng) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(Vec::new())
}

/// Prepared, unused client material for a look-up. One-time.
///
/// ```compile_fail
/// fn twice(half: ss_core::lookup::LookupClient) -> [ss_core::lookup::LookupClient; 2] {
///     [half.clone(), half]
/// }
/// ```
pub struct LookupClient {
    pub(super) spec: LookupSpec,
    pub(super) products: ProductClient,
    /// Per element L ⊕ ⊕_b k_b^0, then Δ_0 to Δ_(g−1).
    pub(super) keys: Secret<u128>,
}

impl ZeroizeOnDrop for LookupClient {}

impl LookupClient {
    /// Turns random transfers into material; returns the corrections, table included, with it.
    ///
    /// `inputs.compare` are the client's shares of y, `inputs.constants[0]` κ in the output ring; there are no lanes.
    /// `sent` are [`LookupSpec::server_transfers`] per element, all those of the products first; `received` is empty.
    ///
    /// # Errors
    /// [`SsError::WrongLength`] where a slice does not fit.
    pub fn prepare(
        spec: &LookupSpec,
        inputs: &ClientInputs<'_>,
        sent: RotSender,
        received: RotReceiver,
        rng: &mut impl CryptoRng,
    ) -> Result<(Vec<u8>, Self), SsError> {
        let n = inputs.compare.len();
        expect_length("lanes of a look-up", 0, inputs.lanes.len())?;
        expect_length("constants of a look-up (lanes)", 1, inputs.constants.len())?;
        expect_length("constants of a look-up", n, inputs.constants[0].len())?;
        expect_length("transfers sent for a look-up", n * spec.server_transfers(), sent.len())?;
        expect_length("transfers received for a look-up", 0, received.len())?;
        let (of_products, of_index) = sent.pairs().split_at(n * spec.product.server_transfers());

        let mut session = [0; 32];
        rng.fill_bytes(&mut session);
        // −r of every element, packed like an entry.
        let mut masks = Secret::<u128>::zeros(n);
        let (products_message, products) = ProductClient::prepare(
            &spec.product,
            inputs.constants[0],
            of_products,
            (&[], &[]),
            |i, factors| {
                let masked = [rng.next_u64(), rng.next_u64(), rng.next_u64()];
                masks[i] = spec.pack(masked);
                factors[..2].copy_from_slice(&masked[1..]);
                masked[0] << spec.exponents[0]
            },
        )?;
        let g = spec.index_bits as usize;
        let mut keys = Secret::<u128>::zeros(n * (g + 1));
        let mut zero_keys = Secret::<u128>::zeros(n);
        for ((pairs, keys), label) in of_index.chunks(g).zip(keys.chunks_mut(g + 1)).zip(zero_keys.iter_mut())
        {
            *label = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
            keys[0] = pairs.iter().fold(*label, |sum, [zero, _]| sum ^ zero);
            keys[1..].iter_mut().zip(pairs).for_each(|(key, [zero, one])| *key = zero ^ one);
        }

        let mut message = Vec::with_capacity(spec.message_bytes(n)[0] + KEY_BYTES);
        message.extend_from_slice(&session);
        message.extend_from_slice(&products_message);
        let table = Table { spec, shares: inputs.compare, masks: &masks, keys: &keys, zero_keys: &zero_keys };
        table.garble(&session, &mut message);
        Ok((message, Self { spec: spec.clone(), products, keys }))
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.products.len()
    }

    /// Whether the look-up has no elements.
    pub fn is_empty(&self) -> bool {
        self.products.is_empty()
    }

    /// Bytes of a stored look-up of `n` elements.
    pub fn stored_len(spec: &LookupSpec, n: usize) -> usize {
        ProductClient::stored_len(&spec.product, n) + n * KEY_BYTES * (spec.index_bits as usize + 1)
    }

    /// The material as bytes, wiped when dropped: as secret as the material, and to be used at most once.
    pub fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(Self::stored_len(&self.spec, self.len())));
        self.keys.iter().for_each(|key| bytes.extend_from_slice(&key.to_le_bytes()));
        bytes.extend_from_slice(&self.products.into_bytes());
        bytes
    }

    /// A stored look-up of `n` elements.
    ///
    /// # Errors
    /// [`SsError`] unless the record has exactly its size and no stray bits.
    pub fn from_bytes(spec: &LookupSpec, n: usize, bytes: &[u8]) -> Result<Self, SsError> {
        expect_length("stored look-up", Self::stored_len(spec, n), bytes.len())?;
        let (keys, products) = bytes.split_at(n * KEY_BYTES * (spec.index_bits as usize + 1));
        let keys: Vec<_> =
            keys.as_chunks::<KEY_BYTES>().0.iter().map(|key| u128::from_le_bytes(*key)).collect();
        let keys = Secret::from(keys);
        Ok(Self {
            spec: spec.clone(),
            products: ProductClient::from_bytes(&spec.product, n, products)?,
            keys,
        })
    }

    /// S1 in, C1 out; the client is done and its material wiped.
    ///
    /// # Errors
    /// [`SsError`] when the server's message has the wrong length or stray bits.
    pub fn answer(self, message: &[u8]) -> Result<Vec<u8>, SsError> {
        let Self { spec, products, keys } = self;
        let n = products.len();
        expect_length("look-up offsets", spec.message_bytes(n)[1], message.len())?;
        let (of_products, of_index) = message.split_at(spec.product.message_bytes(n)[1]);
        let mut offsets = BitReader::new(of_index, spec.index_bits as usize * n)?;
        let mut answer = products.answer(of_products)?;
        answer.reserve_exact(n * KEY_BYTES);
        for key in keys.chunks(spec.index_bits as usize + 1) {
            let offset = offsets.read(spec.index_bits);
            let aligned = key[1..]
                .iter()
                .enumerate()
                .fold(key[0], |sum, (b, delta)| sum ^ (delta & u128::from(offset >> b & 1).wrapping_neg()));
            answer.extend_from_slice(&aligned.to_le_bytes());
        }
        offsets.finish()?;
        Ok(answer)
    }
}

/// What a garbled table is made of.
struct Table<'a> {
    spec: &'a LookupSpec,
    shares: &'a [u64],
    masks: &'a [u128],
    keys: &'a [u128],
    zero_keys: &'a [u128],
}

impl Table<'_> {
    /// Appends the table of every element: entries in order, each of whole bytes.
    fn garble(&self, session: &[u8; 32], message: &mut Vec<u8>) {
        let spec = self.spec;
        let (g, slots, bytes) = (spec.index_bits as usize, 1usize << spec.index_bits, spec.entry_bytes());
        let hash = TweakedHash::new(session);
        let quantizer = spec.factors();
        let mut centres = vec![0.0f64; slots];
        let mut real: Vec<Piece> = vec![[0.0; 3]; slots];
        // Entry by entry, BLOCK elements side by side.
        let mut pads = vec![0u128; slots * BLOCK];
        let keep = spec.entry_mask();
        for (block, shares) in self.shares.chunks(BLOCK).enumerate() {
            let first = block * BLOCK;
            for (e, &label) in self.zero_keys[first..].iter().take(shares.len()).enumerate() {
                let deltas = &self.keys[(first + e) * (g + 1)..][1..=g];
                pads[e] = label;
                for (b, delta) in deltas.iter().enumerate() {
                    for slot in 1 << b..2 << b {
                        pads[slot * BLOCK + e] = pads[(slot ^ (1 << b)) * BLOCK + e] ^ delta;
                    }
                }
            }
            for pads in pads.chunks_mut(BLOCK) {
                hash.hash_slice(first as u64, &mut pads[..shares.len()]);
            }
            for (e, &share) in shares.iter().enumerate() {
                let part = spec.client_part(share);
                for (slot, centre) in (0u64..).zip(centres.iter_mut()) {
                    *centre = spec.centre(part, slot);
                }
                pieces(spec.function, spec.degree, &centres, spec.half(), &mut real);
                let mask = spec.unpack(self.masks[first + e]);
                for (slot, piece) in real.iter().enumerate() {
                    let mut values = quantizer.quantize(piece);
                    values.iter_mut().zip(mask).for_each(|(value, r)| *value = value.wrapping_sub(r));
                    let entry = (spec.pack(values) ^ pads[slot * BLOCK + e]) & keep;
                    message.extend_from_slice(&entry.to_le_bytes()[..bytes]);
                }
            }
        }
        wipe(&mut pads);
        wipe(&mut centres);
        real.zeroize();
    }
}
