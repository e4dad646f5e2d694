//! The form that is given a run's masks and shares, and then equals the protocol bit for bit.
//!
//! A linear layer whose plane is cut into tiles is computed tile by tile, because every slot of every tile has a mask of its
//! own, which rounding does not forget; that the tiles together are the layer is what the noise-free form, which knows no
//! tiles, is compared for.

use conv_fast::{ConvGeometry, direct};
use he_core::Params;
use rayon::prelude::*;
use ss_core::activation::{ActivationPlan, Widths};
use ss_core::maximum::Tournament;

use super::tournament::{Sign, bundle_pool};
use crate::NnError;
use crate::model::{ActivationSpec, IndexMap, Model, NodeWeights, OpSpec, Tensor, limits};

/// What preprocessing fixed for one bundle: both parties' secrets, so only ever made by tests and measurements.
#[derive(Default)]
pub struct Tape {
    /// Per node of the manifest.
    pub nodes: Vec<NodeTape>,
    /// The client's value shares after each level of the arg-max, in label modes.
    pub arg_max_shares: Vec<Vec<u64>>,
    /// Labels per image that the arg-max gives, 0 where logits leave.
    pub labels: usize,
}

/// One node's part of a [`Tape`]; empty where the node has none. All tensors image after image.
#[derive(Default)]
pub struct NodeTape {
    /// ρ of an input's or an activation's result, w bits.
    pub mask: Vec<u64>,
    /// The client's shares after each level of an activation's max-pooling, k bits.
    pub pool_shares: Vec<Vec<u64>>,
    /// What belongs to a linear layer.
    pub linear: Option<LinearTape>,
}

/// A linear layer's part of a [`Tape`]. Residues are limb-major.
pub struct LinearTape {
    /// The geometry that is convolved: that of the node, or of one of its tiles.
    pub tile: ConvGeometry,
    /// Per slot of an image, tile after tile, the element of the input tensor that it holds; none for a known zero.
    pub slots: Vec<Option<u32>>,
    /// Per element of the node's result its place in the tiles' results, tile after tile.
    pub outputs: Vec<u32>,
    /// r of the slots, images × slots: one vector in Z_2^p, or, with two primes, a vector of residues per prime. Known zeros
    /// that are no slots (implicit padding) are in `server_mask`.
    pub slot_masks: Vec<Vec<u64>>,
    /// What the server adds to W·X, images × results, per prime.
    pub server_mask: Vec<Vec<u64>>,
    /// The client's share of the result, images × results, per prime.
    pub client_share: Vec<Vec<u64>>,
}

/// A tensor as the two parties hold it.
enum Shared {
    /// z and ρ, both in Z_2^w: the server has z − ρ.
    Masked { width: u32, value: Vec<u64>, mask: Vec<u64> },
    /// The server's and the client's share in Z_q.
    Raw { server: Vec<u128>, client: Vec<u128> },
}

/// Bit for bit what the protocol gives for a bundle with this tape: per image the logits in the ring of `logit_bits`
/// (or of the manifest), and the labels of the protocol's arg-max where the tape has one, image after image.
///
/// # Errors
/// [`NnError::Value`] when the tape or the inputs do not fit the model.
pub fn evaluate_with(
    model: &Model,
    images: usize,
    inputs: &[i64],
    tape: &Tape,
    logit_bits: Option<u32>,
) -> Result<(Vec<Vec<i64>>, Vec<usize>), NnError> {
    let manifest = &model.manifest;
    let tensors = manifest.tensors()?;
    let params = Params::new(manifest.profile);
    if inputs.len() != images * manifest.input_len() || tape.nodes.len() != tensors.len() {
        return Err(misfit("number of nodes or inputs"));
    }
    let walk = Walk { model, images, q: params.q(), params, tensors };
    let mut done: Vec<Shared> = Vec::new();
    for (index, (node, tape)) in manifest.nodes.iter().zip(&tape.nodes).enumerate() {
        let sources: Vec<&Shared> = node.inputs.iter().map(|&s| &done[s as usize]).collect();
        let own = &model.nodes[index];
        done.push(match (&node.op, &sources[..]) {
            (&OpSpec::Input { width }, _) => {
                let value = inputs.iter().map(|&d| d as u64 & low(width)).collect();
                Shared::Masked { width, value, mask: tape.mask.clone() }
            }
            (OpSpec::Linear { .. }, [Shared::Masked { width, value, mask }]) => {
                let linear = tape.linear.as_ref().ok_or_else(|| misfit("linear layer"))?;
                walk.linear(index, linear, *width, value, mask)?
            }
            (OpSpec::Sum { factors }, _) => walk.sum(index, factors, &sources),
            (OpSpec::Activation(spec), [Shared::Raw { server, client }]) => {
                walk.activation(spec, own, tape, server, client)?
            }
            (OpSpec::Local(op), _) => {
                let shapes: Vec<_> = node.inputs.iter().map(|&s| walk.tensors[s as usize].shape).collect();
                walk.local(&op.index_map(&shapes), &sources)
            }
            _ => return Err(misfit("kinds of tensors")),
        });
        let length = match &done[index] {
            Shared::Masked { value, mask, .. } if mask.len() == value.len() => value.len(),
            Shared::Raw { server, client } if server.len() == client.len() => server.len(),
            _ => return Err(misfit("shares")),
        };
        if length != images * walk.tensors[index].elements() {
            return Err(misfit("tensors"));
        }
    }
    let Some(Shared::Raw { server, client }) = done.get(manifest.output.node as usize) else {
        return Err(misfit("output"));
    };
    walk.output(tape, server, client, logit_bits.unwrap_or(manifest.output.ring_bits))
}

struct Walk<'a> {
    model: &'a Model,
    images: usize,
    params: Params,
    q: u128,
    tensors: Vec<Tensor>,
}

impl Walk<'_> {
    fn linear(
        &self,
        index: usize,
        tape: &LinearTape,
        width: u32,
        value: &[u64],
        mask: &[u64],
    ) -> Result<Shared, NnError> {
        let limbs = self.params.moduli();
        let (elements, per_image) = (value.len() / self.images, tape.slots.len());
        let outputs = self.images * tape.outputs.len();
        let lengths = [
            (&tape.slot_masks, self.images * per_image),
            (&tape.server_mask, outputs),
            (&tape.client_share, outputs),
        ];
        let fits = lengths.iter().all(|(v, n)| v.len() == limbs.len() && v.iter().all(|v| v.len() == *n))
            && per_image.is_multiple_of(tape.tile.input_len())
            && tape.slots.iter().flatten().all(|&element| (element as usize) < elements);
        let tiles = per_image / tape.tile.input_len() * tape.tile.output_len();
        if !fits || tape.outputs.iter().any(|&place| place as usize >= tiles) {
            return Err(misfit("linear layer"));
        }
        let p = limits(self.model.manifest.profile).masked_bits;
        let weights: Vec<i64> = self.model.nodes[index].weights.iter().map(|&w| i64::from(w)).collect();
        let shares: Vec<Vec<u64>> = limbs
            .iter()
            .zip(tape.slot_masks.iter().zip(&tape.server_mask))
            .map(|(q, (masks, added))| {
                let slot = |at: usize| {
                    let source = tape.slots[at % per_image].map(|e| at / per_image * elements + e as usize);
                    let (z, rho) = source.map_or((0, 0), |source| (value[source], mask[source]));
                    match p {
                        Some(p) => {
                            let x = (z << (p - width)).wrapping_sub(masks[at]) & low(p);
                            (up(x, self.q, p) % self.q) as u64
                        }
                        None => {
                            let own = up(z.wrapping_sub(rho) & low(width), self.q, width);
                            let sum = (own + up(rho, self.q, width)) % u128::from(q.value());
                            q.sub(sum as u64, masks[at])
                        }
                    }
                };
                let x: Vec<u64> = (0..self.images * per_image).map(slot).collect();
                let product: Vec<u64> = x
                    .par_chunks(tape.tile.input_len())
                    .flat_map_iter(|tile| direct(&tape.tile, q, &weights, tile))
                    .collect();
                (0..outputs)
                    .map(|i| {
                        let (image, element) = (i / tape.outputs.len(), i % tape.outputs.len());
                        q.add(product[image * tiles + tape.outputs[element] as usize], added[i])
                    })
                    .collect()
            })
            .collect();
        Ok(Shared::Raw { server: self.compose(&shares), client: self.compose(&tape.client_share) })
    }

    /// Numbers modulo q from their residues.
    fn compose(&self, residues: &[Vec<u64>]) -> Vec<u128> {
        let length = residues.first().map_or(0, Vec::len);
        let one = |i: usize| self.params.compose(&residues.iter().map(|limb| limb[i]).collect::<Vec<u64>>());
        (0..length).map(one).collect()
    }

    fn sum(&self, index: usize, factors: &[i64], sources: &[&Shared]) -> Shared {
        let own = &self.model.nodes[index];
        let elements = self.tensors[index].elements();
        let each = elements.checked_div(own.bias.len()).unwrap_or(1).max(1);
        let bias = |i: usize| {
            let turn = own.bias.get(i % elements / each).copied().unwrap_or(0) as u64 & low(62);
            // Two halves of q, since 62 and 96 bits are beyond 128.
            let (high, rest) = (self.q >> 64, self.q & u128::from(u64::MAX));
            (((u128::from(turn) * high) << 2) + ((u128::from(turn) * rest + (1 << 61)) >> 62)) % self.q
        };
        let mut server: Vec<u128> = (0..self.images * elements).map(bias).collect();
        let mut client = vec![0; server.len()];
        for (source, &factor) in sources.iter().zip(factors) {
            for i in 0..server.len() {
                let (m, c) = match source {
                    Shared::Raw { server, client } => (server[i], client[i]),
                    Shared::Masked { width, value, mask } => {
                        let scaled = |v: u64| up(v.wrapping_mul(factor as u64) & low(*width), self.q, *width);
                        (scaled(value[i].wrapping_sub(mask[i])), scaled(mask[i]))
                    }
                };
                server[i] = (server[i] + m) % self.q;
                client[i] = (client[i] + c) % self.q;
            }
        }
        Shared::Raw { server, client }
    }

    fn local(&self, map: &IndexMap, sources: &[&Shared]) -> Shared {
        let raw = |part: fn(&Shared) -> &[u128]| self.mapped(map, sources, part, |a, b| (a + b) % self.q);
        match sources[0] {
            &Shared::Masked { width, .. } => {
                let add = |a: u64, b: u64| a.wrapping_add(b) & low(width);
                let value = |s: &Shared| match s {
                    Shared::Masked { value, .. } => value.clone(),
                    Shared::Raw { .. } => Vec::new(),
                };
                let mask = |s: &Shared| match s {
                    Shared::Masked { mask, .. } => mask.clone(),
                    Shared::Raw { .. } => Vec::new(),
                };
                let values: Vec<Vec<u64>> = sources.iter().map(|s| value(s)).collect();
                let masks: Vec<Vec<u64>> = sources.iter().map(|s| mask(s)).collect();
                Shared::Masked {
                    width,
                    value: apply(map, &values, self.images, add),
                    mask: apply(map, &masks, self.images, add),
                }
            }
            Shared::Raw { .. } => Shared::Raw {
                server: raw(|s| if let Shared::Raw { server, .. } = s { server } else { &[] }),
                client: raw(|s| if let Shared::Raw { client, .. } = s { client } else { &[] }),
            },
        }
    }

    fn mapped(
        &self,
        map: &IndexMap,
        sources: &[&Shared],
        part: fn(&Shared) -> &[u128],
        add: impl Fn(u128, u128) -> u128,
    ) -> Vec<u128> {
        let parts: Vec<Vec<u128>> = sources.iter().map(|s| part(s).to_vec()).collect();
        apply(map, &parts, self.images, add)
    }

    fn activation(
        &self,
        spec: &ActivationSpec,
        own: &NodeWeights,
        tape: &NodeTape,
        server: &[u128],
        client: &[u128],
    ) -> Result<Shared, NnError> {
        let (k, width) = (spec.ring_bits, spec.width);
        let mut pair = (self.down(server, k), self.down(client, k));
        if let Some(pool) = &spec.pool {
            let tournament = bundle_pool(pool, self.images)?;
            let mut values = vec![pair];
            Sign { k, h: spec.ignored_bits }
                .play(&tournament, &mut values, &[k], &tape.pool_shares)
                .ok_or_else(|| misfit("maxima"))?;
            pair = values.swap_remove(0);
        }
        let widths = Widths { ring_bits: k, ignored_bits: spec.ignored_bits, output_bits: width, shift: 0 };
        let per_image = pair.0.len() / self.images;
        let channels: usize =
            spec.parts.iter().flat_map(|part| &part.channels).map(|run| run.1 as usize).sum();
        let plane = per_image / channels.max(1);
        let results = spec.outputs() * per_image;
        let mut value = vec![0u64; self.images * results];
        for part in &spec.parts {
            let plan = ActivationPlan::new(&part.function.activation(k, width)?, widths, false)
                .map_err(|error| NnError::Value { what: error.to_string() })?;
            for (first, count) in part.channels.iter().map(|&(a, n)| (a as usize, n as usize)) {
                for image in 0..self.images {
                    for at in first * plane..(first + count) * plane {
                        let source = image * per_image + at;
                        for (output, z) in plan.oracle(pair.0[source], pair.1[source]).into_iter().enumerate()
                        {
                            value[image * results + output * per_image + at] = z;
                        }
                    }
                }
            }
        }
        for (i, z) in value.iter_mut().enumerate() {
            let offset = own.bias.get(i % results / plane).copied().unwrap_or(0);
            *z = z.wrapping_add(offset as u64) & low(width);
        }
        Ok(Shared::Masked { width, value, mask: tape.mask.clone() })
    }

    fn output(
        &self,
        tape: &Tape,
        server: &[u128],
        client: &[u128],
        k: u32,
    ) -> Result<(Vec<Vec<i64>>, Vec<usize>), NnError> {
        let (server, client) = (self.down(server, k), self.down(client, k));
        let ring = Sign { k, h: 0 };
        let classes = server.len() / self.images.max(1);
        let total: Vec<i64> =
            server.iter().zip(&client).map(|(&s, &c)| ring.signed(s.wrapping_add(c))).collect();
        let mut labels = Vec::new();
        if tape.labels > 0 {
            let windows: Vec<Vec<u32>> =
                (0..self.images).map(|b| (0..classes).map(|i| (b * classes + i) as u32).collect()).collect();
            let tournament = Tournament::top(server.len(), &windows, tape.labels.max(1))
                .map_err(|error| NnError::Value { what: error.to_string() })?;
            let indices = ((0..server.len()).map(|i| (i % classes) as u64).collect(), vec![0; server.len()]);
            let mut values = vec![(server, client), indices];
            let sign = Sign { k, h: k.saturating_sub(17) };
            sign.play(&tournament, &mut values, &[k, 32], &tape.arg_max_shares)
                .ok_or_else(|| misfit("arg-max"))?;
            labels = values[1].0.iter().map(|&i| i as usize).collect();
        }
        Ok((total.chunks(classes.max(1)).map(<[i64]>::to_vec).collect(), labels))
    }

    /// round(v·2^k/q) mod 2^k, from the definition.
    fn down(&self, values: &[u128], k: u32) -> Vec<u64> {
        let one = |&v: &u128| (((v << (k + 1)) + self.q) / (2 * self.q)) as u64 & low(k);
        values.iter().map(one).collect()
    }
}

/// A local map on the joined parts of every image.
fn apply<T: Copy + Default>(
    map: &IndexMap,
    parts: &[Vec<T>],
    images: usize,
    add: impl Fn(T, T) -> T,
) -> Vec<T> {
    let mut result = Vec::with_capacity(images * map.len());
    for b in 0..images {
        let joined: Vec<T> = parts
            .iter()
            .flat_map(|part| part[b * (part.len() / images)..(b + 1) * (part.len() / images)].iter().copied())
            .collect();
        result.extend(map.apply(&joined, T::default(), &add));
    }
    result
}

/// round(v·q/2^w), from the definition; q is below 2^96 and v below 2^32, or q below 2^50 and v below 2^50.
fn up(v: u64, q: u128, w: u32) -> u128 {
    (u128::from(v) * q + (1 << (w - 1))) >> w
}

/// A mask of the low `bits`.
fn low(bits: u32) -> u64 {
    (1 << bits) - 1
}

fn misfit(what: &str) -> NnError {
    NnError::Value { what: format!("the tape's {what} does not fit the model") }
}
