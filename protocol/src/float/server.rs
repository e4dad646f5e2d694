//! The server's half, without messages: a model made ready, answers to encrypted masks and shares, arithmetic online.
//!
//! | step | what |
//! |---|---|
//! | [`Ready::shares`] | W r − s under the client's key: diagonals, rotations, one rescaling, minus a mask in every slot |
//! | [`Ready::products`] | 2 d c − t: one product with a plaintext, minus a mask in every slot |
//! | [`Ready::linear`] | a = W X + s + b in doubles |
//! | [`opened`], [`squared`] | before a square: D = a − d on the grid; X = V + d² + 2 D d + t |
//!
//! Every answer gets an encryption of zero under the client's key on top, so that its second part is fresh. Copies of an
//! element, where a small tensor is repeated in the slots, have one mask: two masks would say twice as much.
//!
//! **Reach.** What a result can be as large as, in units of the largest mask: the largest Σ\|w\| of a row, or 5 sqrt(Σ w²) if
//! that is less. A uniform mask in ±M is sub-Gaussian with variance M²/3 (sinh x / x ≤
//! exp(x²/6)), so that it is exceeded with probability 2 exp(-75/2) < 2^-52.

use std::sync::Arc;

use conv_fast::FloatConv;
use he_core::Seed;
use he_core::ckks::complex::Complex;
use he_core::ckks::{Ciphertext, Params};
use he_core::rlwe::{GaloisKeys, PublicKey};
use nn_merge::model::Model;
use rayon::prelude::*;
use zeroize::Zeroizing;

use super::layout::Layouts;
use super::masks::{Exact, even, rounded, vector};
use super::plan::{FACTOR_BITS, MASK_SCALE, PRODUCT_BITS, Plan, SHARE_SCALE, reach_exponent};
use crate::encrypted::Network;
use crate::encrypted::chain::Accepted;
use crate::encrypted::network::Layer;
use crate::error::{PeerResult, ProtocolError, caller};
use crate::slots::{EncodedMap, Room, pairs, wire};
use crate::steps::ServerSteps;

/// Most bytes of prepared matrices.
const MOST_BYTES: usize = 2_000_000_000;
/// What clients send to be computed on, in errors.
const WHAT: &str = "encrypted shares";
/// Standard deviations of a sum of masks, times sqrt(3), that are not exceeded; see the module essay.
const TAIL: f64 = 5.0;

/// A model made ready. It holds weights: no `Debug`.
pub struct Ready {
    layouts: Arc<Layouts>,
    stages: Vec<Stage>,
    reaches: Vec<i8>,
    limit: f64,
    bytes: usize,
}

struct Stage {
    map: EncodedMap,
    conv: FloatConv<f64>,
    bias: Vec<f64>,
}

/// The client's public keys.
pub struct ServerKeys {
    public: PublicKey,
    galois: GaloisKeys,
}

/// The server's half of a bundle, usable once.
pub struct ServerBundle {
    /// Images.
    pub(super) images: usize,
    /// Masks s of all layers, images × elements.
    pub(super) shares: Vec<Zeroizing<Vec<f64>>>,
    /// d and t of all squares, in their order, likewise.
    pub(super) factors: Vec<Factors>,
    /// The halves of all ReLUs' steps.
    pub(super) steps: Vec<ServerSteps>,
}

/// d and t of a square.
pub struct Factors {
    /// d.
    pub own: Zeroizing<Vec<f64>>,
    /// t.
    pub product: Zeroizing<Vec<f64>>,
}

impl ServerBundle {
    /// Images.
    #[must_use]
    pub fn images(&self) -> usize {
        self.images
    }
}

impl Ready {
    /// Makes a model ready.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] with a sentence for the client: a network that is no chain of linear maps with squares or
    /// ReLUs between, or one that slots, memory or doubles have no room for.
    pub fn new(model: &Model) -> Result<Self, ProtocolError> {
        let network = Network::accepting(model, Accepted::Activations)?;
        let layouts = Arc::new(Layouts::new(network.shapes())?);
        let params = layouts.params();
        let reaches = network.layers().iter().map(reach).collect::<Result<_, _>>()?;
        let (mut stages, mut room) = (Vec::new(), Room::new(MOST_BYTES));
        for (layer, layout) in network.layers().iter().zip(layouts.layers()) {
            let (geometry, weights, limbs) = (&layer.geometry, &layer.weights, params.limbs());
            let (between, baby_steps) = ([&layout.input, &layout.output], layout.baby_steps);
            stages.push(Stage {
                map: EncodedMap::new(params, geometry, weights, between, baby_steps, limbs, &mut room)?,
                conv: FloatConv::best(geometry.clone(), weights).map_err(caller)?,
                bias: layer.bias.clone(),
            });
        }
        let limit = model.manifest.input.limit;
        let ready = Self { layouts, stages, reaches, limit, bytes: room.taken() };
        // A network that no masks fit is none for this.
        ready.plan(*super::MASK_BITS.start())?;
        Ok(ready)
    }

    /// The layouts.
    #[must_use]
    pub fn layouts(&self) -> &Layouts {
        &self.layouts
    }

    /// What the client is told of every layer; see [`super::plan`].
    #[must_use]
    pub fn reaches(&self) -> &[i8] {
        &self.reaches
    }

    /// Bytes of the prepared matrices.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The plan for so many mask bits.
    ///
    /// # Errors
    /// As [`Plan::new`], with a sentence for the client.
    pub fn plan(&self, mask_bits: u32) -> Result<Plan, ProtocolError> {
        Plan::new(self.layouts.clone(), mask_bits, &self.reaches, self.limit)
    }

    /// Layer `at`: the answer to encrypted masks, and s. The seed is used up.
    ///
    /// # Errors
    /// [`ProtocolError::Peer`] for a message that does not decode.
    ///
    /// # Panics
    /// For a message of another length than the plan says, or a layer that is not there.
    pub fn shares(
        &self,
        plan: &Plan,
        at: usize,
        images: usize,
        keys: &ServerKeys,
        message: &[u8],
        seed: &Seed,
    ) -> Result<(Vec<u8>, Zeroizing<Vec<f64>>), ProtocolError> {
        assert_eq!(message.len(), plan.mask_bytes(at, images), "bytes of encrypted masks");
        let (layout, stage, params) = (&self.layouts.layers()[at], &self.stages[at], plan.params());
        let masks = wire::seeded(params, message, MASK_SCALE, WHAT)?;
        let (inputs, outputs) = (layout.input.ciphertexts(), layout.output.ciphertexts());
        let most = f64::from(plan.magnitudes(at).own_mask).exp2();
        let answer = |index: usize| {
            let (pair, output) = (index / outputs, index % outputs);
            let seed = seed.fork("share", &[index as u64]);
            let own_masks = &masks[pair * inputs..][..inputs];
            let mut product = match stage.map.product(params, own_masks, output, &keys.galois)? {
                Some(product) => product,
                // Outputs that read nothing but padding.
                None => {
                    let scale = MASK_SCALE * params.last_prime(params.limbs());
                    keys.zero(params, params.limbs(), scale, seed.fork("empty", &[]))?
                }
            };
            params.rescale(&mut product).map_err(caller)?;
            // One period of masks, repeated as the elements are.
            let mut rng = seed.fork("s", &[]).stream();
            let mut number = || even(&mut rng, most);
            let slots: Zeroizing<Vec<Complex>> = Zeroizing::new(
                (0..layout.output.period()).map(|_| Complex { re: number(), im: number() }).collect(),
            );
            let repeated: Zeroizing<Vec<Complex>> =
                Zeroizing::new(slots.iter().copied().cycle().take(params.slots()).collect());
            let mask = params.encode_at(&repeated, product.limbs(), product.scale()).map_err(caller)?;
            product.sub_plain(&mask).map_err(caller)?;
            keys.refresh(params, &mut product, &seed)?;
            Ok((product.as_rlwe().to_bytes(params.rlwe()), slots))
        };
        let count = pairs::count(images) * outputs;
        let (answers, slots): (Vec<Vec<u8>>, Vec<Zeroizing<Vec<Complex>>>) = (0..count)
            .into_par_iter()
            .map(answer)
            .collect::<Result<Vec<_>, ProtocolError>>()?
            .into_iter()
            .unzip();
        Ok((answers.concat(), pairs::read(&layout.output, images, &slots)))
    }

    /// The square behind layer `at`: the answer to encrypted shares, and d and t. The seed is used up.
    ///
    /// # Errors
    /// [`ProtocolError::Peer`] for a message that does not decode.
    ///
    /// # Panics
    /// For a message of another length than the plan says, or a square that is not there.
    pub fn products(
        &self,
        plan: &Plan,
        at: usize,
        images: usize,
        keys: &ServerKeys,
        message: &[u8],
        seed: &Seed,
    ) -> Result<(Vec<u8>, Factors), ProtocolError> {
        assert_eq!(message.len(), plan.factor_bytes(at, images), "bytes of encrypted shares");
        let (params, own) = (plan.params(), plan.magnitudes(at));
        let (slots, total) = (params.slots(), images * plan.geometry(at).output_len());
        let shares = wire::seeded(params, message, SHARE_SCALE, WHAT)?;
        let answer = |(index, share): (usize, &Ciphertext)| {
            let seed = seed.fork("product", &[index as u64]);
            let count = slots.min(total - index * slots);
            let mut doubled = vector(&seed.fork("d", &[]), count, own.own_mask, own.opened_grid);
            doubled.iter_mut().for_each(|d| *d *= 2.0);
            let mut factor = Exact::new(params, &doubled, FACTOR_BITS)?;
            let mut rng = seed.fork("t", &[]).stream();
            let mask = Exact::mask(params, &mut rng, own.product_mask, PRODUCT_BITS, count)?;
            let mut product = params.multiply_plain(share, &factor.plaintext).map_err(caller)?;
            product.sub_plain(&mask.plaintext).map_err(caller)?;
            keys.refresh(params, &mut product, &seed)?;
            factor.values.iter_mut().for_each(|d| *d *= 0.5);
            Ok((product.as_rlwe().to_bytes(params.rlwe()), factor.values, mask.values))
        };
        let all: Vec<_> = shares.par_iter().enumerate().map(answer).collect::<Result<_, ProtocolError>>()?;
        let mut bytes = Vec::with_capacity(plan.product_bytes(at, images));
        let mut factors = Factors {
            own: Zeroizing::new(Vec::with_capacity(total)),
            product: Zeroizing::new(Vec::with_capacity(total)),
        };
        for (answer, d, t) in all {
            bytes.extend(answer);
            factors.own.extend_from_slice(&d);
            factors.product.extend_from_slice(&t);
        }
        Ok((bytes, factors))
    }

    /// a = W X + s + b of layer `at`, image after image.
    ///
    /// # Panics
    /// For other numbers of values than so many images have.
    #[must_use]
    pub fn linear(&self, at: usize, images: usize, x: &[f64], own: &[f64]) -> Zeroizing<Vec<f64>> {
        let stage = &self.stages[at];
        let mut a = Zeroizing::new(stage.conv.run(x, images));
        assert_eq!(a.len(), own.len(), "masks of a layer");
        let added = own.iter().zip(stage.bias.iter().cycle());
        a.iter_mut().zip(added).for_each(|(a, (s, b))| *a += s + b);
        a
    }
}

impl ServerKeys {
    /// Reads the client's keys.
    ///
    /// # Errors
    /// [`ProtocolError::Peer`] for keys that do not decode, or for other rotations than the network's.
    pub fn read(layouts: &Layouts, public: &[u8], galois: &[u8]) -> Result<Self, ProtocolError> {
        let rlwe = layouts.params().rlwe();
        let public = PublicKey::from_bytes(rlwe, public).or_malformed("public key")?;
        let galois = wire::rotation_keys(rlwe, galois, layouts.exponents())?;
        Ok(Self { public, galois })
    }

    /// An encryption of zero under the client's key; the seed is used up.
    fn zero(
        &self,
        params: &Params,
        limbs: usize,
        scale: f64,
        seed: Seed,
    ) -> Result<Ciphertext, ProtocolError> {
        Ciphertext::from_rlwe(params, self.public.encrypt_zero(limbs, seed), scale).map_err(caller)
    }

    /// Adds an encryption of zero to an answer.
    fn refresh(&self, params: &Params, answer: &mut Ciphertext, seed: &Seed) -> Result<(), ProtocolError> {
        let zero = self.zero(params, answer.limbs(), answer.scale(), seed.fork("zero", &[]))?;
        answer.add(&zero).map_err(caller)
    }
}

/// D = a − d on the plan's grid.
#[must_use]
pub fn opened(plan: &Plan, at: usize, a: &[f64], d: &[f64]) -> Zeroizing<Vec<f64>> {
    let grid = plan.magnitudes(at).opened_grid;
    Zeroizing::new(a.iter().zip(d).map(|(a, d)| rounded(a - d, grid)).collect())
}

/// X = V + d² + 2 D d + t.
#[must_use]
pub fn squared(back: &[f64], opened: &[f64], factors: &Factors) -> Zeroizing<Vec<f64>> {
    let own = factors.own.iter().zip(factors.product.iter());
    let one = |((v, big), (d, t)): ((&f64, &f64), (&f64, &f64))| d.mul_add(2.0 * big + d, *t) + v;
    Zeroizing::new(back.iter().zip(opened).zip(own).map(one).collect())
}

/// The reach of a layer, as its exponent.
fn reach(layer: &Layer) -> Result<i8, ProtocolError> {
    let row = |row: &[f64]| {
        let sum: f64 = row.iter().map(|w| w.abs()).sum();
        let squares: f64 = row.iter().map(|w| w * w).sum();
        sum.min(TAIL * squares.sqrt())
    };
    reach_exponent(layer.weights.chunks(layer.geometry.terms()).map(row).fold(0.0, f64::max))
}
