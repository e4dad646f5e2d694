//! Products of what the server will know by what the client knows already, from random transfers.
//!
//! After Gilboa, *Two party RSA key generation* (CRYPTO 1999): an integer x times v is Σ_j x_j·(2^j·v) over the bits
//! of x, and bit times value is one oblivious transfer. Here the server's x appears online and the client's v exists
//! offline, so nearly everything moves offline and a product costs *one bit per bit of x* online, whatever the ring.
//! This module sums any number of such products for each element, in Z_2^w:
//!
//! > z = own + local + Σ_f 2^(e_f)·x_f·v_f  (+ b·2^(e_s)·D),   result = z·2^shift + κ mod 2^(w + shift)
//!
//! | symbol | known to | what | range |
//! |---|---|---|---|
//! | x_f | S, online | the factor of *field* f | n_f bits, at most 60 |
//! | v_f | C, offline | its factor | Z_2^(w − e_f) |
//! | e_f | both | exponent: the low bits of the product that are zero | e_f + n_f ≤ w |
//! | b, D | C offline, S online | an optional *selected* value: a bit times D | Z_2^(w − e_s) |
//! | local, own | S online, C offline | what either party adds by itself | Z_2^w |
//!
//! **One bit.** Bit j of field f lives in Z_2^(w'), w' = w − e_f − j, and takes one random transfer: C has the pads
//! P0, P1, S a random choice ρ and P_ρ. Offline C sends P0 − P1 + v, so S forms s = P0 + ρ·v. Online S sends
//! φ = x_j ⊕ ρ. Then x_j·v = (1 − 2φ)·s − P0 + φ·(v + 2·P0): S adds ±s, C adds −P0 and, if φ = 1, its *flip*
//! v + 2·P0.
//!
//! **The selected value.** One transfer in which C receives with choice b, K_b. Online S sends t = K0 − K1 + D; C adds
//! K_b + b·t = K0 + b·D, S adds −K0.
//!
//! | message | from | content | bits per element |
//! |---|---|---|---|
//! | corrections | C, offline | P0 − P1 + v | Σ_f Σ_j (w − e_f − j) |
//! | S1 | S | φ of every bit, t | Σ_f n_f (+ w − e_s) |
//! | C1 | C | its sum of everything, times 2^shift, plus κ | w + shift |
//!
//! At rest the client holds its flips, b and one sum: as many bits as the corrections, and w + shift + 1. The server
//! holds as many bits as the corrections, ρ, and K0, K0 − K1.
//!
//! **Security** (semi-honest). Corrections: S lacks one pad of each pair, which is used here only, so they are uniform.
//! S1: ρ is uniform and unknown to C, and so is one of K0, K1. C1: S can compute it from z + κ and what it holds, and
//! κ is for the caller to draw uniformly from Z_2^(w + shift). Each pad masks one correction and enters one
//! answer. Nothing branches on or indexes by a secret.
//!
//! Not promised: anything about fields whose values exceed their bits; they are cut.

use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::bits::{BitReader, BitWriter, bytes_for_bits};
use crate::error::{SsError, expect_length};
use crate::ring::Z2k;
use crate::secret::Secret;

/// Most fields that one element may have.
pub const MAX_FIELDS: usize = 16;

/// The factors of one element, one per field.
pub type Factors = [u64; MAX_FIELDS];

/// One product: an integer of `bits` bits at the server times a ring element at the client, times 2^`exponent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Bits n_f of the server's factor, 1 to 60.
    pub bits: u32,
    /// Exponent e_f; `exponent + bits` is at most the ring's bits.
    pub exponent: u32,
}

/// What is summed for each element: public, equal on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProductSpec {
    ring: u32,
    shift: u32,
    fields: Vec<Field>,
    select: Option<u32>,
}

impl ProductSpec {
    /// Products in Z_2^`ring`, the sum times 2^`shift`; `select` is the exponent of the selected value, if there is one.
    ///
    /// # Errors
    /// [`SsError::BadValue`] unless 1 ≤ ring and ring + shift ≤ 60, there are at most [`MAX_FIELDS`] fields of at
    /// least one bit, and fields and the selected value keep within the ring.
    pub fn new(ring: u32, shift: u32, fields: Vec<Field>, select: Option<u32>) -> Result<Self, SsError> {
        if ring == 0 || ring > 60 || shift > 60 - ring {
            return Err(SsError::BadValue { what: "ring of a product (1 to 60 bits with its shift)" });
        }
        let fits = |f: &Field| f.bits >= 1 && f.exponent < ring && f.bits <= ring - f.exponent;
        if fields.len() > MAX_FIELDS || !fields.iter().all(fits) || select.is_some_and(|e| e >= ring) {
            return Err(SsError::BadValue {
                what: "fields of a product (at most 16, each within the ring of the product)",
            });
        }
        Ok(Self { ring, shift, fields, select })
    }

    /// Random transfers per element in which the server receives with random choices: one per bit of a field.
    pub fn server_transfers(&self) -> usize {
        self.fields.iter().map(|field| field.bits as usize).sum()
    }

    /// Random transfers per element in which the client receives: one if a value is selected.
    pub fn client_transfers(&self) -> usize {
        usize::from(self.select.is_some())
    }

    /// Bits w of the ring of the products.
    pub fn ring_bits(&self) -> u32 {
        self.ring
    }

    /// The shift of the result.
    pub fn shift(&self) -> u32 {
        self.shift
    }

    /// The fields.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The ring of the results, w + shift bits.
    pub fn output(&self) -> Z2k {
        Z2k::new(self.ring + self.shift).expect("checked at construction")
    }

    /// Bits of the corrections, of S1 and of C1, per element.
    pub fn message_bits(&self) -> [u32; 3] {
        let offsets: u32 = self.fields.iter().map(|field| field.bits).sum();
        [self.pad_bits(), offsets + self.selected_bits(), self.ring + self.shift]
    }

    /// Bytes of the corrections, of S1 and of C1, for `n` elements.
    pub fn message_bytes(&self, n: usize) -> [usize; 3] {
        self.message_bits().map(|bits| bytes_for_bits(bits as usize * n))
    }

    /// Σ over all bits of all fields of the ring that the bit lives in.
    fn pad_bits(&self) -> u32 {
        self.fields.iter().map(|f| f.bits * (self.ring - f.exponent) - f.bits * (f.bits - 1) / 2).sum()
    }

    fn selected_bits(&self) -> u32 {
        self.select.map_or(0, |exponent| self.ring - exponent)
    }

    /// Bits of an element of the client at rest: flips, b, sum.
    fn client_bits(&self) -> u32 {
        self.pad_bits() + self.client_transfers() as u32 + self.ring + self.shift
    }

    /// Bits of an element of the server at rest: ρ and pads, and once complete K0 and K0 − K1.
    fn server_bits(&self, complete: bool) -> u32 {
        let select = if complete { 2 * self.selected_bits() } else { 0 };
        self.pad_bits() + self.server_transfers() as u32 + select
    }

    fn open<'a>(&self, step: usize, n: usize, message: &'a [u8]) -> Result<BitReader<'a>, SsError> {
        const STEPS: [&str; 3] = ["product corrections", "product offsets", "product answers"];
        expect_length(STEPS[step], self.message_bytes(n)[step], message.len())?;
        BitReader::new(message, self.message_bits()[step] as usize * n)
    }
}

/// Prepared, unused client material for n sums of products. One-time.
pub struct ProductClient {
    spec: ProductSpec,
    n: usize,
    material: Secret<u8>,
}

impl ZeroizeOnDrop for ProductClient {}

impl ProductClient {
    /// Turns random transfers into material; returns the corrections with it.
    ///
    /// `pairs` are the transfers in which the server receives, [`ProductSpec::server_transfers`] per element;
    /// `selected` the choices and pads of those in which the client receives. `operands(i, factors)` writes v_f of
    /// element i for every field and returns what the client adds by itself, in Z_2^w. `constants` are κ.
    ///
    /// # Errors
    /// [`SsError::WrongLength`] where a slice does not fit.
    pub fn prepare(
        spec: &ProductSpec,
        constants: &[u64],
        pairs: &[[u128; 2]],
        (choices, pads): (&[u8], &[u128]),
        mut operands: impl FnMut(usize, &mut Factors) -> u64,
    ) -> Result<(Vec<u8>, Self), SsError> {
        let n = constants.len();
        let per = spec.server_transfers();
        expect_length("transfers sent for a product", n * per, pairs.len())?;
        expect_length("choices of a product", n * spec.client_transfers(), choices.len())?;
        expect_length("pads of a product", n * spec.client_transfers(), pads.len())?;
        let mut corrections = BitWriter::with_capacity_bits(n * spec.pad_bits() as usize);
        let mut material = BitWriter::with_capacity_bits(n * spec.client_bits() as usize);
        let mut factors = Zeroizing::new([0; MAX_FIELDS]);
        let output = spec.output();
        for (i, &constant) in constants.iter().enumerate() {
            let mut own = operands(i, &mut factors);
            let mut transfers = pairs[i * per..][..per].iter();
            for (field, &factor) in spec.fields.iter().zip(factors.iter()) {
                let transfers = transfers.by_ref().take(field.bits as usize);
                for (exponent, &[zero, one]) in (field.exponent..).zip(transfers) {
                    let width = spec.ring - exponent;
                    let (zero, one) = (zero as u64, one as u64);
                    corrections.push(zero.wrapping_sub(one).wrapping_add(factor), width);
                    material.push(factor.wrapping_add(zero << 1), width);
                    own = own.wrapping_sub(zero << exponent);
                }
            }
            if let Some(exponent) = spec.select {
                own = own.wrapping_add((pads[i] as u64) << exponent);
                material.push(u64::from(choices[i]), 1);
            }
            material.push(output.add(own << spec.shift, constant), spec.ring + spec.shift);
        }
        let material = Secret::from(material.finish());
        Ok((corrections.finish(), Self { spec: spec.clone(), n, material }))
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.n
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// Bytes of stored material for `n` elements.
    pub fn stored_len(spec: &ProductSpec, n: usize) -> usize {
        bytes_for_bits(spec.client_bits() as usize * n)
    }

    /// The material as bytes, wiped when dropped. As secret as the material, and to be used at most once.
    pub fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.material.into_inner())
    }

    /// Stored material of `n` elements.
    ///
    /// # Errors
    /// [`SsError`] unless the record has exactly its size and no stray bits.
    pub fn from_bytes(spec: &ProductSpec, n: usize, bytes: &[u8]) -> Result<Self, SsError> {
        expect_length("stored products", Self::stored_len(spec, n), bytes.len())?;
        BitReader::new(bytes, spec.client_bits() as usize * n)?;
        Ok(Self { spec: spec.clone(), n, material: Secret::copy_of(bytes) })
    }

    /// S1 in, C1 out; the client is done.
    ///
    /// # Errors
    /// [`SsError`] when the server's message has the wrong length or stray bits.
    pub fn answer(self, message: &[u8]) -> Result<Vec<u8>, SsError> {
        let spec = &self.spec;
        let mut offsets = spec.open(1, self.n, message)?;
        let mut material = BitReader::new(&self.material, spec.client_bits() as usize * self.n)?;
        let mut writer = BitWriter::with_capacity_bits((spec.ring + spec.shift) as usize * self.n);
        for _ in 0..self.n {
            let mut sum = 0u64;
            for field in &spec.fields {
                let flipped = offsets.read(field.bits);
                for j in 0..field.bits {
                    let exponent = field.exponent + j;
                    let flip = material.read(spec.ring - exponent) & (flipped >> j & 1).wrapping_neg();
                    sum = sum.wrapping_add(flip << exponent);
                }
            }
            if let Some(exponent) = spec.select {
                let mask = material.read(1).wrapping_neg();
                sum = sum.wrapping_add((offsets.read(spec.ring - exponent) & mask) << exponent);
            }
            let base = material.read(spec.ring + spec.shift);
            writer.push(base.wrapping_add(sum << spec.shift), spec.ring + spec.shift);
        }
        offsets.finish()?;
        material.finish()?;
        Ok(writer.finish())
    }
}

/// The server's material before the client's corrections are there.
pub struct ProductWaiting {
    spec: ProductSpec,
    n: usize,
    material: Secret<u8>,
}

impl ZeroizeOnDrop for ProductWaiting {}

impl ProductWaiting {
    /// Keeps of random transfers, [`ProductSpec::server_transfers`] per element, what is needed.
    ///
    /// # Errors
    /// [`SsError::WrongLength`] where the counts do not fit.
    pub fn receive(spec: &ProductSpec, n: usize, choices: &[u8], pads: &[u128]) -> Result<Self, SsError> {
        expect_length("choices received for a product", n * spec.server_transfers(), choices.len())?;
        expect_length("transfers received for a product", n * spec.server_transfers(), pads.len())?;
        let mut material = BitWriter::with_capacity_bits(n * spec.server_bits(false) as usize);
        let mut transfers = choices.iter().zip(pads);
        for _ in 0..n {
            for field in &spec.fields {
                for (exponent, (&choice, &pad)) in
                    (field.exponent..).zip(transfers.by_ref().take(field.bits as usize))
                {
                    material.push(u64::from(choice), 1);
                    material.push(pad as u64, spec.ring - exponent);
                }
            }
        }
        Ok(Self { spec: spec.clone(), n, material: Secret::from(material.finish()) })
    }

    /// Applies the corrections. `pairs` are the transfers in which the client receives, one per element if a value is
    /// selected.
    ///
    /// # Errors
    /// [`SsError`] where a count or the message does not fit.
    pub fn complete(self, pairs: &[[u128; 2]], corrections: &[u8]) -> Result<ProductServer, SsError> {
        let Self { spec, n, material } = self;
        expect_length("transfers sent for a product", n * spec.client_transfers(), pairs.len())?;
        let mut message = spec.open(0, n, corrections)?;
        let mut old = BitReader::new(&material, spec.server_bits(false) as usize * n)?;
        let mut new = BitWriter::with_capacity_bits(n * spec.server_bits(true) as usize);
        let mut selected = pairs.iter();
        for _ in 0..n {
            for field in &spec.fields {
                for exponent in field.exponent..field.exponent + field.bits {
                    let width = spec.ring - exponent;
                    let choice = old.read(1);
                    let correction = message.read(width) & choice.wrapping_neg();
                    new.push(choice, 1);
                    new.push(old.read(width).wrapping_add(correction), width);
                }
            }
            // There are none unless a value is selected.
            if let Some(pair) = selected.next() {
                let [zero, one] = pair.map(|pad| pad as u64);
                new.push(zero, spec.selected_bits());
                new.push(zero.wrapping_sub(one), spec.selected_bits());
            }
        }
        message.finish()?;
        old.finish()?;
        Ok(ProductServer { spec, n, material: Secret::from(new.finish()) })
    }
}

/// Prepared, unused server material for n sums of products. One-time.
pub struct ProductServer {
    spec: ProductSpec,
    n: usize,
    material: Secret<u8>,
}

impl ZeroizeOnDrop for ProductServer {}

impl ProductServer {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.n
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// Gives S1. `operands(i, factors)` writes x_f of element i for every field and returns what the server adds by
    /// itself, in Z_2^w, and D, in Z_2^(w − e_s) (ignored where nothing is selected).
    ///
    /// # Errors
    /// [`SsError::OutOfOrder`] only if this code misreads its own material.
    pub fn begin(
        self,
        mut operands: impl FnMut(usize, &mut Factors) -> (u64, u64),
    ) -> Result<(Vec<u8>, ProductFinish), SsError> {
        let Self { spec, n, material } = self;
        let mut material = BitReader::new(&material, spec.server_bits(true) as usize * n)?;
        let mut writer = BitWriter::with_capacity_bits(spec.message_bits()[1] as usize * n);
        let mut results = Zeroizing::new(Vec::with_capacity(n));
        let mut factors = Zeroizing::new([0; MAX_FIELDS]);
        for i in 0..n {
            let (mut own, selected) = operands(i, &mut factors);
            for (field, &factor) in spec.fields.iter().zip(factors.iter()) {
                let mut random = 0u64;
                for j in 0..field.bits {
                    let exponent = field.exponent + j;
                    let choice = material.read(1);
                    random |= choice << j;
                    let sign = (factor >> j & 1 ^ choice).wrapping_neg();
                    let term = (material.read(spec.ring - exponent) ^ sign).wrapping_sub(sign);
                    own = own.wrapping_add(term << exponent);
                }
                writer.push(factor ^ random, field.bits);
            }
            if let Some(exponent) = spec.select {
                let bits = spec.selected_bits();
                own = own.wrapping_sub(material.read(bits) << exponent);
                writer.push(material.read(bits).wrapping_add(selected), bits);
            }
            results.push(own << spec.shift);
        }
        material.finish()?;
        Ok((writer.finish(), ProductFinish { spec, results }))
    }
}

/// After S1.
pub struct ProductFinish {
    spec: ProductSpec,
    results: Zeroizing<Vec<u64>>,
}

impl ZeroizeOnDrop for ProductFinish {}

impl ProductFinish {
    /// C1 in; z·2^shift + κ per element out, in the ring of w + shift bits: a share, for the caller to wipe.
    ///
    /// # Errors
    /// [`SsError`] when the client's message has the wrong length or stray bits.
    pub fn finish(self, message: &[u8]) -> Result<Vec<u64>, SsError> {
        let Self { spec, mut results } = self;
        let mut reader = spec.open(2, results.len(), message)?;
        let output = spec.output();
        for result in results.iter_mut() {
            *result = output.add(*result, reader.read(output.bits()));
        }
        reader.finish()?;
        Ok(core::mem::take(&mut *results))
    }
}

#[cfg(test)]
pub(crate) mod tests;
