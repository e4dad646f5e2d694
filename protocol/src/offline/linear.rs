//! Preprocessing of one linear layer with the `split` construction (protocol statement, section 3).
//!
//! Client: a fresh secret s per group, its key polynomial, masks r_j = a_j·s + e_j of the group's input
//! polynomials. Of a mask only its value in Z_2^p survives, r_p = r·2^p/q rounded at random; the server will hold
//! X_p = D − r_p mod 2^p for every coefficient, data or known zero (D = 0).
//!
//! Server: per output polynomial a masked reply (an RLWE sample under a fresh u added to the hint) and its own mask
//! M. What the known zeros contribute, W·Z, depends on nothing but the weights and what the client just sent, so
//! it is added to M here and the online convolution is the ordinary zero-padded one. Bias and dither are added
//! here as well.
//!
//! Afterwards, with X the lifted masked input on data coefficients: W·X + mask + c = W·D·q/2^p + bias + noise in
//! Z_q on every used output, `noise` being bounded by the network's noise budget.

use he_core::poly::{Coeff, Ntt, Poly};
use he_core::sample;
use he_core::seed::Seed;
use he_core::split::{ClientSecret, Epoch, Hint, PublicKey, Reply, masked_reply};
use he_core::{Params, wire};
use nn_merge::fixed_point::dither_log2_sigma;
use rand_core::Rng;
use rayon::prelude::*;
use ss_core::share::Share;
use zeroize::Zeroizing;

use crate::error::{PeerFault, PeerResult, ProtocolError};
use crate::plan::{LayerPlan, Plan};

/// The server's hints and weights of one layer in one layout; serves all clients of an epoch.
pub struct LayerHints {
    /// Per output polynomial.
    hints: Vec<Hint>,
    /// Per output polynomial: (input polynomial, weights), kept where known zeros have to be multiplied.
    weights: Vec<Vec<(usize, Poly<Ntt>)>>,
    /// Public half of the clients' keys.
    public_a: Poly<Ntt>,
}

impl LayerHints {
    /// Computes the hints of `layer` once per model, epoch and layout.
    pub fn new(params: &Params, epoch: &Epoch, layer: &LayerPlan, weights: &[i32]) -> Self {
        let packing = &layer.packing;
        let place = layer.index as u32;
        let a: Vec<Poly<Ntt>> = (0..packing.input_polys())
            .into_par_iter()
            .map(|j| epoch.public_a(params, place, j as u32))
            .collect();
        let (hints, kept) = (0..packing.output_polys())
            .into_par_iter()
            .map(|o| {
                let terms: Vec<(usize, Poly<Ntt>)> = packing
                    .pairs(o)
                    .into_iter()
                    .map(|j| {
                        (
                            j,
                            Poly::from_signed(params.table(), &packing.weight_terms(o, j, weights))
                                .into_ntt(params.table()),
                        )
                    })
                    .collect();
                let products: Vec<(&Poly<Ntt>, &Poly<Ntt>)> =
                    terms.iter().map(|(j, w)| (w, &a[*j])).collect();
                let hint = Hint::new(params, &products);
                (hint, if layer.zeros() > 0 { terms } else { Vec::new() })
            })
            .unzip();
        Self { hints, weights: kept, public_a: epoch.public_key_a(params, place) }
    }
}

/// The client between its keys and the server's replies.
pub struct ClientLayer {
    secrets: Vec<ClientSecret>,
    /// r_p of the data, images × input elements.
    pub(crate) input_mask: Share,
}

/// Bytes of the keys message of a layer.
pub fn keys_bytes(plan: &Plan, layer: &LayerPlan) -> usize {
    layer.groups * (PublicKey::wire_len(plan.params()) + zeros_bytes(layer))
}

/// Bytes of one group's masks of known zeros.
fn zeros_bytes(layer: &LayerPlan) -> usize {
    (layer.zeros() * layer.masked_bits as usize).div_ceil(8)
}

/// Bytes of the replies message of a layer.
pub fn replies_bytes(plan: &Plan, layer: &LayerPlan) -> usize {
    layer.groups * layer.packing.output_polys() * Reply::wire_len(plan.params(), layer.reply_bits)
}

/// Client: keys and masks of one layer from a seed of its own.
pub fn client_keys(plan: &Plan, layer: &LayerPlan, epoch: &Epoch, seed: &Seed) -> (Vec<u8>, ClientLayer) {
    let params = plan.params();
    let place = layer.index as u32;
    let public_a = epoch.public_key_a(params, place);
    let a: Vec<Poly<Ntt>> = (0..layer.packing.input_polys())
        .into_par_iter()
        .map(|j| epoch.public_a(params, place, j as u32))
        .collect();
    let groups: Vec<(ClientSecret, Vec<u8>, Vec<Share>)> = (0..layer.groups)
        .into_par_iter()
        .map(|g| {
            let own = seed.fork("client group", &[g as u64]);
            let secret = ClientSecret::generate(params, &mut own.fork("secret", &[]).stream());
            let key = secret.public_key(params, &public_a, &mut own.fork("key noise", &[]).stream());
            let masks: Vec<Share> = (0..a.len())
                .into_par_iter()
                .map(|j| {
                    let mask = secret.mask(params, &a[j], &mut own.fork("mask noise", &[j as u64]).stream());
                    // A random fraction below the mask makes its value in Z_2^p exactly as uniform as the mask in Z_q.
                    let mut fractions = own.fork("mask fraction", &[j as u64]).stream();
                    let full = (1u64 << layer.masked_bits) - 1;
                    let round = |&r: &u64| layer.masked.down_mask(r, fractions.next_u64() & full);
                    Share::new(mask.coefficients().iter().map(round).collect())
                })
                .collect();
            (secret, key.to_bytes(), masks)
        })
        .collect();

    let full = (1u64 << layer.masked_bits) - 1;
    let mut message = Vec::with_capacity(keys_bytes(plan, layer));
    let mut input_mask = Vec::with_capacity(plan.images() * layer.geometry.input_len());
    for (g, (_, key, masks)) in groups.iter().enumerate() {
        message.extend_from_slice(key);
        // Room from the start: a vector that grows leaves copies behind that nobody wipes.
        let mut zeros = Zeroizing::new(Vec::with_capacity(layer.zeros()));
        for (reads, mask) in layer.zero_reads.iter().zip(masks) {
            zeros.extend(reads.iter().map(|&i| mask.values()[i as usize].wrapping_neg() & full));
        }
        message.extend_from_slice(&wire::pack(&zeros, layer.masked_bits));
        let used = layer.group(g, plan.images()).len() * layer.geometry.input_len();
        input_mask
            .extend(layer.input_index[..used].iter().map(|&(j, i)| masks[j as usize].values()[i as usize]));
    }
    let secrets = groups.into_iter().map(|(secret, ..)| secret).collect();
    (message, ClientLayer { secrets, input_mask: Share::new(input_mask) })
}

/// Client: opens the replies; gives its share of the layer's result in Z_2^k, images × output elements.
///
/// # Errors
/// [`ProtocolError::Peer`] for replies that do not decode.
pub fn client_open(
    plan: &Plan,
    layer: &LayerPlan,
    own: ClientLayer,
    replies: &[u8],
) -> Result<(Share, Share), ProtocolError> {
    let (params, polys) = (plan.params(), layer.packing.output_polys());
    let size = Reply::wire_len(params, layer.reply_bits);
    let opened: Vec<Poly<Coeff>> = replies
        .par_chunks(size)
        .enumerate()
        .map(|(at, bytes)| {
            let reply = Reply::from_bytes(params, layer.reply_bits, bytes).or_malformed("reply")?;
            Ok(own.secrets[at / polys].open(params, &reply))
        })
        .collect::<Result<_, ProtocolError>>()?;
    let mut share = Vec::with_capacity(plan.images() * layer.geometry.output_len());
    for (g, polys) in opened.chunks(polys).enumerate() {
        let used = layer.group(g, plan.images()).len() * layer.geometry.output_len();
        share.extend(
            layer.output_index[..used]
                .iter()
                .map(|&(o, i)| layer.ring.down(polys[o as usize].coefficients()[i as usize])),
        );
    }
    Ok((own.input_mask, Share::new(share)))
}

/// Server: replies to a layer's keys. Gives the message and its masks on the used outputs, in Z_q.
///
/// # Errors
/// [`ProtocolError::Peer`] for keys that do not decode (a zero key, a coefficient out of range, …).
pub fn server_reply(
    plan: &Plan,
    layer: &LayerPlan,
    hints: &LayerHints,
    bias: &[u64],
    keys: &[u8],
    seed: &Seed,
) -> Result<(Vec<u8>, Share), ProtocolError> {
    let params = plan.params();
    let (key_len, zeros_len) = (PublicKey::wire_len(params), zeros_bytes(layer));
    let expected = keys_bytes(plan, layer);
    if keys.len() != expected {
        return Err(PeerFault::Length {
            what: "layer keys",
            expected: expected as u64,
            got: keys.len() as u64,
        }
        .into());
    }
    let polys = layer.packing.output_polys();
    let mut message = Vec::with_capacity(replies_bytes(plan, layer));
    let mut masks = Zeroizing::new(Vec::with_capacity(plan.images() * layer.geometry.output_len()));
    for (g, part) in keys.chunks(key_len + zeros_len).enumerate() {
        let own = seed.fork("server group", &[g as u64]);
        let key = PublicKey::from_bytes(params, &part[..key_len]).or_malformed("key polynomial")?;
        let zeros = known_zeros(params, layer, &part[key_len..])?;
        let replies = (0..polys)
            .into_par_iter()
            .map(|o| {
                let fresh = own.fork("reply", &[o as u64]);
                let (reply, mask) =
                    masked_reply(params, &hints.hints[o], &hints.public_a, &key, layer.reply_bits, fresh)
                        .or_malformed("layer keys")?;
                let mut mask = mask.into_poly();
                if !zeros.is_empty() {
                    let terms: Vec<(&Poly<Ntt>, &Poly<Ntt>)> =
                        hints.weights[o].iter().map(|(j, w)| (w, &zeros[*j])).collect();
                    mask += &Poly::dot(params.table(), &terms).into_coeff(params.table());
                }
                Ok((reply.to_bytes(), mask))
            })
            .collect::<Result<Vec<(Vec<u8>, Poly<Coeff>)>, ProtocolError>>()?;
        replies.iter().for_each(|(bytes, _)| message.extend_from_slice(bytes));

        let q = params.modulus();
        let outputs = layer.geometry.output_len();
        let used = layer.group(g, plan.images()).len() * outputs;
        let mut dither = Zeroizing::new(vec![0u64; used]);
        let sigma = dither_log2_sigma(q.value(), layer.ring_bits);
        sample::dither(&mut own.fork("dither", &[]).stream(), q, sigma, &mut dither)
            .map_err(|error| ProtocolError::Caller(error.to_string()))?;
        let plane = layer.geometry.out_height() * layer.geometry.out_width();
        masks.extend(layer.output_index[..used].iter().zip(dither.iter()).enumerate().map(
            |(at, (&(o, i), &dither))| {
                let mask = replies[o as usize].1.coefficients()[i as usize];
                q.add(q.add(mask, dither), bias[at % outputs / plane])
            },
        ));
    }
    Ok((message, Share::new(std::mem::take(&mut *masks))))
}

/// The polynomials that hold only the lifted masks of known zeros, in NTT form; none if there are no such zeros.
fn known_zeros(params: &Params, layer: &LayerPlan, bytes: &[u8]) -> Result<Vec<Poly<Ntt>>, ProtocolError> {
    if layer.zeros() == 0 {
        return Ok(Vec::new());
    }
    let values = Zeroizing::new(
        wire::unpack(bytes, layer.zeros(), layer.masked_bits).or_malformed("masks of known zeros")?,
    );
    let mut rest = values.as_slice();
    let mut polys = Vec::with_capacity(layer.zero_reads.len());
    for reads in &layer.zero_reads {
        let (own, more) = rest.split_at(reads.len());
        rest = more;
        let mut coefficients = vec![0u64; params.n()];
        for (&at, &value) in reads.iter().zip(own) {
            coefficients[at as usize] = layer.masked.up(value);
        }
        polys.push(
            Poly::<Coeff>::from_coefficients(params.table(), coefficients)
                .or_malformed("masks of known zeros")?,
        );
    }
    Ok(polys.into_par_iter().map(|poly| poly.into_ntt(params.table())).collect())
}
