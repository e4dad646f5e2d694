//! The regression attack on the weights, played against one fully connected layer (protocol statement, section 3).
//!
//! A client knows its own noise: the errors e_j of its masks and what rounding them to p bits adds. What it computes with
//! the server is therefore W·(D + E) with E known to it, and who repeats one input and sees the outputs finely can regress
//! them on E. The server's answer is the dither; its size against W·E decides how many queries the attack takes.
//!
//! | case | what the client sees | must |
//! |---|---|---|
//! | planted fault | `wide`, outputs in Z_q, the dither subtracted (recomputed from the recorded seed) | succeed |
//! | the dither alone | the same with the dither left in | fail |
//! | as shipped | `wide`, outputs switched to k bits | fail |
//! | no room | `narrow`, outputs switched to k bits: why it never serves logits | succeed |
//!
//! The attacker here is the strongest of its kind: it models every output as a linear function of *all* weights, with
//! the coefficients that outputs read beside their own data (known zeros, whose masks it knows as well) included.

#![expect(clippy::unwrap_used, reason = "a failing step fails the test")]

mod common;

use common::fresh_seed;
use conv_fast::ConvGeometry;
use he_core::poly::{Coeff, Poly};
use he_core::split::{ClientSecret, Epoch, Reply};
use he_core::{Profile, Seed, sample};
use nn_merge::fixed_point::dither_log2_sigma;
use nn_merge::model::{InputSpec, LayerSpec, Manifest, limits};
use protocol::offline::linear::{LayerHints, client_keys, client_open, server_reply};
use protocol::plan::LayerPlan;
use protocol::{OutputMode, Plan};
use rand_core::Rng;

const INPUTS: usize = 16;
const OUTPUTS: usize = 16;
const WEIGHTS: usize = INPUTS * OUTPUTS;
const QUERIES: u64 = 500;

/// What the client gets to see of an output.
#[derive(Clone, Copy, Debug, PartialEq)]
enum View {
    /// m + c in Z_q, the dither taken away: the planted fault.
    FineWithoutDither,
    /// m + c in Z_q.
    Fine,
    /// The shares after their switch to k bits, as the protocol reveals them.
    Shipped,
}

/// A fully connected layer and the bits that its logits are revealed with. `t` bits per coefficient of the replies.
fn plan(profile: Profile, bits: u32, t: u32) -> Plan {
    let p = limits(profile).masked_bits;
    let geometry = ConvGeometry::fully_connected(INPUTS, OUTPUTS).unwrap();
    let manifest = Manifest {
        name: "one layer".into(),
        profile,
        input: InputSpec {
            channels: INPUTS,
            height: 1,
            width: 1,
            channels_last: false,
            scale: 1.0,
            mean: vec![0.0; INPUTS],
            std: vec![1.0; INPUTS],
            units: f64::from(p - 16).exp2(),
            limit: 1.0,
        },
        layers: vec![LayerSpec {
            name: "only".into(),
            geometry,
            masked_bits: p,
            ring_bits: bits,
            reply_bits: t,
            activation: None,
        }],
        classes: OUTPUTS,
        logit_scale: 1.0,
        weights_commitment: [0; 32],
    };
    manifest.validate().unwrap();
    Plan::new(&manifest, 1, OutputMode::Logits { bits }).unwrap()
}

/// Polynomial and coefficient that a weight meets at an output, and with which sign; none if they do not meet.
type Meeting = Option<(usize, usize, f64)>;

/// For every output and weight: the polynomial and coefficient of E that the weight meets there, and with which sign.
fn meetings(layer: &LayerPlan, n: usize) -> Vec<Vec<Meeting>> {
    let mut table = vec![vec![None; WEIGHTS]; OUTPUTS];
    for weight in 0..WEIGHTS {
        let mut unit = vec![0; WEIGHTS];
        unit[weight] = 1;
        for (row, &(o, at)) in table.iter_mut().zip(&layer.output_index) {
            for j in layer.packing.pairs(o as usize) {
                let terms = layer.packing.weight_terms(o as usize, j, &unit);
                for (place, sign) in terms.into_iter().filter(|&(_, sign)| sign != 0) {
                    // X^place · X^from = ±X^at.
                    let (from, wrap) = if at as usize >= place {
                        (at as usize - place, 1.0)
                    } else {
                        (at as usize + n - place, -1.0)
                    };
                    row[weight] = Some((j, from, sign as f64 * wrap));
                }
            }
        }
    }
    table
}

/// Plays the attack; gives the correlation of recovered and true weights.
fn attack(profile: Profile, bits: u32, t: u32, view: View) -> f64 {
    let root = Seed::from_bytes(fresh_seed("attack"));
    let mut rng = root.fork("weights and input", &[]).stream();
    let weights: Vec<i32> = (0..WEIGHTS).map(|_| (rng.next_u32() % 2047) as i32 - 1023).collect();
    let plan = plan(profile, bits, t);
    let (layer, params) = (&plan.layers()[0], plan.params());
    let (q, n) = (*params.modulus(), params.n());
    let limit = 1i64 << (layer.masked_bits - 16);
    let input: Vec<u64> = (0..INPUTS)
        .map(|_| (rng.next_u64() as i64 % limit) as u64 & ((1 << layer.masked_bits) - 1))
        .collect();
    let epoch = Epoch::new([3; 32]);
    let hints = LayerHints::new(params, &epoch, layer, &weights);
    let meetings = meetings(layer, n);

    let mut regressors: Vec<Vec<f64>> = Vec::new();
    let mut outputs: Vec<Vec<f64>> = Vec::new();
    for query in 0..QUERIES {
        let (client, server) = (root.fork("client", &[query]), root.fork("server", &[query]));
        let (keys, own) = client_keys(&plan, layer, &epoch, &client);
        let (replies, mask) = server_reply(&plan, layer, &hints, &[0; OUTPUTS], &keys, &server).unwrap();
        let (input_mask, share) = client_open(&plan, layer, own, &replies).unwrap();

        // The server's online step, in plain arithmetic.
        let masked: Vec<u64> = input
            .iter()
            .zip(input_mask.values())
            .map(|(&d, &r)| layer.masked.up(d.wrapping_sub(r) & ((1 << layer.masked_bits) - 1)))
            .collect();
        let dither = dither(layer, q.value(), &server, params.modulus());
        let m: Vec<u64> = weights
            .chunks(INPUTS)
            .zip(mask.values())
            .map(|(row, &mask)| {
                let products = row.iter().zip(&masked).map(|(&w, &x)| q.mul(q.from_i64(i64::from(w)), x));
                products.fold(mask, |sum, product| q.add(sum, product))
            })
            .collect();

        // What the client knows of its noise, and what it sees.
        let secret = ClientSecret::generate(params, &mut group(&client).fork("secret", &[]).stream());
        regressors.extend(known_errors(&plan, &epoch, &client, &secret, &input, &masked, &keys, &meetings));
        let fine = |with_dither: bool| -> Vec<f64> {
            let size = Reply::wire_len(params, layer.reply_bits);
            let open =
                |bytes| secret.open(params, &Reply::from_bytes(params, layer.reply_bits, bytes).unwrap());
            let opened: Vec<Poly<Coeff>> = replies.chunks(size).map(open).collect();
            let one = |((&m, &dither), &(o, at)): ((&u64, &u64), &(u32, u32))| {
                let c = opened[o as usize].coefficients()[at as usize];
                let m = if with_dither { m } else { q.sub(m, dither) };
                q.center(q.add(m, c)) as f64
            };
            m.iter().zip(&dither).zip(&layer.output_index).map(one).collect()
        };
        outputs.push(match view {
            View::FineWithoutDither => fine(false),
            View::Fine => fine(true),
            View::Shipped => {
                let unit = q.value() as f64 / f64::from(bits).exp2();
                let sum = |(&m, &c): (&u64, &u64)| {
                    ((layer.ring.down(m).wrapping_add(c) << (64 - bits)) as i64 >> (64 - bits)) as f64
                };
                m.iter().zip(share.values()).map(|pair| sum(pair) * unit).collect()
            }
        });
    }
    let recovered = regress(regressors, &outputs.concat());
    let truth: Vec<f64> = weights.iter().map(|&w| f64::from(w)).collect();
    let result = correlation(&recovered, &truth);
    println!("{profile} k = {bits} t = {t} {view:?}: correlation {result:.3} after {QUERIES} queries");
    result
}

/// The seed of the only group, as the client's preprocessing derives it.
fn group(client: &Seed) -> Seed {
    client.fork("client group", &[0])
}

/// The server's dither of a query, from its recorded seed.
fn dither(layer: &LayerPlan, q: u64, server: &Seed, modulus: &he_core::Modulus) -> Vec<u64> {
    let mut dither = vec![0; OUTPUTS];
    let sigma = dither_log2_sigma(q, layer.ring_bits);
    let seed = server.fork("server group", &[0]).fork("dither", &[]);
    sample::dither(&mut seed.stream(), modulus, sigma, &mut dither).unwrap();
    dither
}

/// Per output the row of regressors: E = X + a·s − D·q/2^p at every coefficient that the output reads.
fn known_errors(
    plan: &Plan,
    epoch: &Epoch,
    client: &Seed,
    secret: &ClientSecret,
    input: &[u64],
    masked: &[u64],
    keys: &[u8],
    meetings: &[Vec<Meeting>],
) -> Vec<Vec<f64>> {
    let (layer, params) = (&plan.layers()[0], plan.params());
    let q = params.modulus();
    // What the server holds at every coefficient, and what it should hold; zero where nobody reads.
    let mut errors: Vec<Vec<f64>> = vec![vec![0.0; params.n()]; layer.packing.input_polys()];
    let key_bytes = he_core::split::PublicKey::wire_len(params);
    let zeros = if layer.zeros() > 0 {
        he_core::wire::unpack(&keys[key_bytes..], layer.zeros(), layer.masked_bits).unwrap()
    } else {
        Vec::new()
    };
    let mut zeros = zeros.into_iter();
    for (j, errors) in errors.iter_mut().enumerate() {
        // a·s = r − e, both of which the client can draw again.
        let a = epoch.public_a(params, 0, j as u32);
        let noise = || group(client).fork("mask noise", &[j as u64]).stream();
        let mut product = secret.mask(params, &a, &mut noise());
        product -= &Poly::<Coeff>::error(params.table(), &mut noise());
        let mut note = |at: u32, held: u64, meant: u64| {
            let sum = q.add(held, product.coefficients()[at as usize]);
            errors[at as usize] = q.center(q.sub(sum, meant)) as f64;
        };
        for (i, &(poly, at)) in layer.input_index.iter().take(INPUTS).enumerate() {
            if poly as usize == j {
                note(at, masked[i], layer.masked.up(input[i]));
            }
        }
        for &at in &layer.zero_reads[j] {
            note(at, layer.masked.up(zeros.next().unwrap()), 0);
        }
    }
    meetings
        .iter()
        .map(|row| row.iter().map(|place| place.map_or(0.0, |(j, at, sign)| sign * errors[j][at])).collect())
        .collect()
}

/// Least squares with one intercept per output: rows are query-major.
fn regress(mut rows: Vec<Vec<f64>>, outputs: &[f64]) -> Vec<f64> {
    let mut targets = outputs.to_vec();
    let queries = (rows.len() / OUTPUTS) as f64;
    for output in 0..OUTPUTS {
        let mean = targets.iter().skip(output).step_by(OUTPUTS).sum::<f64>() / queries;
        targets.iter_mut().skip(output).step_by(OUTPUTS).for_each(|target| *target -= mean);
        for weight in 0..WEIGHTS {
            let mean =
                rows.iter().skip(output).step_by(OUTPUTS).map(|row| row[weight]).sum::<f64>() / queries;
            rows.iter_mut().skip(output).step_by(OUTPUTS).for_each(|row| row[weight] -= mean);
        }
    }
    // Normal equations, a whiff of ridge so that unread directions stay at zero, Gauss.
    let mut system = vec![vec![0.0; WEIGHTS + 1]; WEIGHTS];
    for (row, target) in rows.iter().zip(&targets) {
        for (equation, &value) in system.iter_mut().zip(row).filter(|(_, value)| **value != 0.0) {
            equation.iter_mut().zip(row).for_each(|(cell, other)| *cell += value * other);
            equation[WEIGHTS] += value * target;
        }
    }
    (0..WEIGHTS).for_each(|i| system[i][i] += 1e-6);
    for pivot in 0..WEIGHTS {
        let best = (pivot..WEIGHTS)
            .max_by(|&a, &b| system[a][pivot].abs().total_cmp(&system[b][pivot].abs()))
            .unwrap();
        system.swap(pivot, best);
        let own = system[pivot].clone();
        for (i, equation) in system.iter_mut().enumerate() {
            let factor = equation[pivot] / own[pivot];
            if i != pivot && factor != 0.0 {
                equation.iter_mut().zip(&own).skip(pivot).for_each(|(cell, own)| *cell -= factor * own);
            }
        }
    }
    system.iter().enumerate().map(|(i, equation)| equation[WEIGHTS] / equation[i]).collect()
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let product =
        |f: &dyn Fn(f64, f64) -> f64| a.iter().zip(b).map(|(&a, &b)| f(a - mean_a, b - mean_b)).sum::<f64>();
    product(&|a, b| a * b) / (product(&|a, _| a * a) * product(&|_, b| b * b)).sqrt()
}

/// Replies as fine as the modulus allows, so that nothing but the dither stands between the client and W·E.
const FINE_REPLY: u32 = 49;

#[test]
fn without_the_dither_fine_outputs_give_the_weights_away() {
    assert!(attack(Profile::Wide, 20, FINE_REPLY, View::FineWithoutDither) > 0.85);
}

#[test]
fn the_dither_alone_hides_them() {
    // With 256 weights, chance correlations have a deviation of 1/16.
    assert!(attack(Profile::Wide, 20, FINE_REPLY, View::Fine).abs() < 0.3);
}

#[test]
fn the_wide_profile_as_shipped_hides_them() {
    for bits in [12, 20] {
        assert!(attack(Profile::Wide, bits, bits + 6, View::Shipped).abs() < 0.3, "{bits} bits");
    }
}

#[test]
fn the_narrow_profile_has_no_room_and_so_never_serves_logits() {
    assert!(attack(Profile::Narrow, 16, 22, View::Shipped) > 0.85);
}
