//! The form that is given a run's masks and shares, and then equals the protocol bit for bit.

use conv_fast::direct;
use he_core::Params;
use ss_core::maximum::Tournament;

use crate::NnError;
use crate::model::{Model, PoolGeometry};

/// What preprocessing fixed for one bundle: both parties' secrets, so only ever made by tests and measurements.
#[derive(Default)]
pub struct Tape {
    /// Per linear layer.
    pub layers: Vec<LayerTape>,
    /// The client's value shares after each level of the arg-max, in label mode.
    pub arg_max_shares: Vec<Vec<u64>>,
}

/// One layer's part of a [`Tape`]; all tensors image after image.
#[derive(Default)]
pub struct LayerTape {
    /// r_p of the layer's input, p bits.
    pub input_mask: Vec<u64>,
    /// What the server adds to W·X on its outputs, in Z_q.
    pub server_mask: Vec<u64>,
    /// The client's share of the result, k bits.
    pub client_share: Vec<u64>,
    /// The client's shares after each level of max-pooling, k bits.
    pub pool_shares: Vec<Vec<u64>>,
}

/// Bit for bit what the protocol gives for a bundle with this tape: per image the logits in the ring of `logit_bits`
/// (or of the last layer), and the label of the protocol's arg-max where the tape has one.
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
    let params = Params::new(model.manifest.profile);
    let q = *params.modulus();
    let misfit = |what: &str| NnError::Value { what: format!("the tape's {what} does not fit the model") };
    let mut activations: Vec<u64> = inputs.iter().map(|&d| d as u64).collect();
    let mut shares = (Vec::new(), Vec::new());
    let mut last_bits = 0;
    for (l, (spec, own)) in model.manifest.layers.iter().zip(&model.layers).enumerate() {
        let layer = tape.layers.get(l).ok_or_else(|| misfit("number of layers"))?;
        let (p, last) = (spec.masked_bits, spec.activation.is_none());
        let k = if last { logit_bits.unwrap_or(spec.ring_bits) } else { spec.ring_bits };
        if layer.input_mask.len() != activations.len()
            || layer.server_mask.len() != images * spec.geometry.output_len()
        {
            return Err(misfit("layer"));
        }
        let lifted: Vec<u64> = activations
            .iter()
            .zip(&layer.input_mask)
            .map(|(&d, &r)| up(d.wrapping_sub(r) & ((1 << p) - 1), q.value(), p))
            .collect();
        let weights: Vec<i64> = own.weights.iter().map(|&w| i64::from(w)).collect();
        let product: Vec<u64> = lifted
            .chunks(spec.geometry.input_len())
            .flat_map(|image| direct(&spec.geometry, &q, &weights, image))
            .collect();
        let server: Vec<u64> =
            product.iter().zip(&layer.server_mask).map(|(&w, &m)| down(q.add(w, m), q.value(), k)).collect();
        let mut pair = (server, layer.client_share.clone());
        let Some(activation) = &spec.activation else {
            (shares, last_bits) = (pair, k);
            break;
        };
        let sign = Sign { k, h: activation.ignored_bits };
        if let Some(pool) = &activation.pool {
            let tournament = bundle_pool(pool, spec.geometry.output_len(), images)?;
            let mut values = vec![(pair.0, pair.1)];
            sign.play(&tournament, &mut values, &[k], &layer.pool_shares).ok_or_else(|| misfit("maxima"))?;
            pair = values.swap_remove(0);
        }
        activations =
            pair.0.iter().zip(&pair.1).map(|(&s, &c)| (sign.relu(s, c) << activation.shift) as u64).collect();
    }

    let (server, client) = shares;
    let ring = Sign { k: last_bits, h: 0 };
    let classes = model.manifest.classes;
    let total: Vec<i64> = server.iter().zip(&client).map(|(&s, &c)| ring.signed(s.wrapping_add(c))).collect();
    let mut labels = Vec::new();
    if !tape.arg_max_shares.is_empty() {
        let windows: Vec<Vec<u32>> =
            (0..images).map(|b| (0..classes).map(|i| (b * classes + i) as u32).collect()).collect();
        let tournament = Tournament::new(server.len(), &windows)
            .map_err(|error| NnError::Value { what: error.to_string() })?;
        let indices = ((0..server.len()).map(|i| (i % classes) as u64).collect(), vec![0; server.len()]);
        let mut values = vec![(server, client), indices];
        let sign = Sign { k: last_bits, h: last_bits.saturating_sub(17) };
        sign.play(&tournament, &mut values, &[last_bits, 32], &tape.arg_max_shares)
            .ok_or_else(|| misfit("arg-max"))?;
        labels = values[1].0.iter().map(|&i| i as usize).collect();
    }
    Ok((total.chunks(classes).map(<[i64]>::to_vec).collect(), labels))
}

/// The pooling tournament over all images of a bundle.
fn bundle_pool(pool: &PoolGeometry, length: usize, images: usize) -> Result<Tournament, NnError> {
    let own: Vec<Vec<usize>> = pool.windows().collect();
    let all: Vec<Vec<u32>> = (0..images)
        .flat_map(|b| own.iter().map(move |w| w.iter().map(|&i| (b * length + i) as u32).collect()))
        .collect();
    Tournament::new(images * length, &all).map_err(|error| NnError::Value { what: error.to_string() })
}

/// The sign test and what hangs on it, on a server's and a client's share.
struct Sign {
    k: u32,
    h: u32,
}

impl Sign {
    fn signed(&self, value: u64) -> i64 {
        ((value << (64 - self.k)) as i64) >> (64 - self.k)
    }

    fn positive(&self, server: u64, client: u64) -> bool {
        let mask = (1u64 << self.k) - 1;
        let sum = ((server & mask) >> self.h) + ((client & mask) >> self.h);
        (sum >> (self.k - self.h - 1)) & 1 == 0
    }

    fn relu(&self, server: u64, client: u64) -> i64 {
        let (a, c) = (self.signed(server), self.signed(client));
        let both = i64::from(a < 0 && c < 0);
        if self.positive(server, client) { a + c + (both << self.k) } else { 0 }
    }

    /// Lane 0 is compared, all lanes follow; `fresh` holds the client's new shares of lane 0.
    fn play(
        &self,
        tournament: &Tournament,
        lanes: &mut [(Vec<u64>, Vec<u64>)],
        bits: &[u32],
        fresh: &[Vec<u64>],
    ) -> Option<()> {
        for (level, fresh) in tournament.levels().iter().zip(fresh) {
            if fresh.len() != level.gates() {
                return None;
            }
            let difference = |values: &[u64]| -> Vec<u64> {
                level
                    .first(values)
                    .iter()
                    .zip(level.second(values))
                    .map(|(&a, b)| a.wrapping_sub(b))
                    .collect()
            };
            let (server, client) = (difference(&lanes[0].0), difference(&lanes[0].1));
            let verdicts: Vec<bool> =
                server.iter().zip(&client).map(|(&s, &c)| self.positive(s, c)).collect();
            for (lane, ((server, client), &bits)) in lanes.iter_mut().zip(bits).enumerate() {
                let mask = (1u64 << bits) - 1;
                let total = |values: &dyn Fn(&[u64]) -> Vec<u64>| -> Vec<u64> {
                    values(server)
                        .iter()
                        .zip(values(client))
                        .map(|(&s, c)| s.wrapping_add(c) & mask)
                        .collect()
                };
                let (first, second) = (total(&|v| level.first(v)), total(&|v| level.second(v)));
                let winners = verdicts
                    .iter()
                    .zip(first.iter().zip(&second))
                    .map(|(&d, (&a, &b))| if d { a } else { b });
                // Only lane 0's sharing matters for later sign tests; the others are carried in the clear.
                let new: Vec<u64> = if lane == 0 { fresh.clone() } else { vec![0; fresh.len()] };
                let own: Vec<u64> = winners.zip(&new).map(|(w, &c)| w.wrapping_sub(c) & mask).collect();
                (*server, *client) = (level.advance(server, &own), level.advance(client, &new));
            }
        }
        for (server, client) in lanes {
            (*server, *client) = (tournament.winners(server), tournament.winners(client));
        }
        Some(())
    }
}

/// round(v·2^k/q) mod 2^k, from the definition.
fn down(v: u64, q: u64, k: u32) -> u64 {
    let doubled = (u128::from(v) << (k + 1)) + u128::from(q);
    (doubled / (2 * u128::from(q))) as u64 & ((1 << k) - 1)
}

/// round(d·q/2^p) mod q, from the definition.
fn up(d: u64, q: u64, p: u32) -> u64 {
    let doubled = u128::from(d) * 2 * u128::from(q) + (1u128 << p);
    ((doubled >> (p + 1)) % u128::from(q)) as u64
}
