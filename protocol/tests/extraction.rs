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
//! | as shipped | `wide`, `exact`, outputs switched to k bits | fail |
//! | no room | `narrow`, outputs switched to k bits: why it never serves logits | succeed |
//!
//! All of it against the first reader of a tensor, whose slots are bound to its masks, and against the second, whose slots
//! are free: both know their noise alike.
//!
//! The attacker here is the strongest of its kind: it models every output as a linear function of *all* weights, with
//! the coefficients that outputs read beside their own data (known zeros, whose masks it knows as well) included.

#![expect(clippy::unwrap_used, reason = "a failing step fails the test")]

mod common;

use std::iter::zip;
use std::sync::Arc;

use common::fresh_seed;
use conv_fast::ConvGeometry;
use he_core::split::{ClientSecret, Epoch, PublicKey};
use he_core::{Coeff, Params, Profile, RnsPoly, Seed};
use nn_merge::fixed_point::dither_log2_sigma;
use nn_merge::model::{InputSpec, Manifest, NodeSpec, OpSpec, OutputSpec, limits};
use protocol::offline::construction::{
    ClientKeys, Material, ServerKeys, SlotMasks, client_keys, client_open, prepared, server_reply,
};
use protocol::offline::rho::Rho;
use protocol::plan::LinearPlan;
use protocol::{OutputMode, Plan};
use rand_core::Rng;
use ss_core::bits::{bytes_for_bits, unpack};

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

/// Fully connected layers that all read the input, and the bits that their sum is revealed with. `t` bits per coefficient
/// of the replies.
fn plan(profile: Profile, readers: usize, bits: u32, t: u32) -> Plan {
    let width = common::width(profile);
    let node = |op: OpSpec, inputs: Vec<u32>| NodeSpec { name: "a node".into(), op, inputs };
    let linear = || OpSpec::Linear {
        geometry: ConvGeometry::fully_connected(INPUTS, OUTPUTS).unwrap(),
        reply_bits: t,
    };
    let mut nodes = vec![node(OpSpec::Input { width }, vec![])];
    nodes.extend((0..readers).map(|_| node(linear(), vec![0])));
    nodes.push(node(OpSpec::Sum { factors: vec![1; readers] }, (1..=readers as u32).collect()));
    let manifest = Manifest {
        name: "layers".into(),
        profile,
        input: InputSpec {
            channels: INPUTS,
            height: 1,
            width: 1,
            channels_last: false,
            scale: 1.0,
            mean: vec![0.0; INPUTS],
            std: vec![1.0; INPUTS],
            units: f64::from(width - 16).exp2(),
            limit: 1.0,
        },
        output: OutputSpec { node: nodes.len() as u32 - 1, ring_bits: bits, scale: 1.0 },
        nodes,
        weights_commitment: [0; 32],
    };
    manifest.validate().unwrap();
    Plan::new(&manifest, 1, OutputMode::Logits { bits }).unwrap()
}

/// Polynomial and coefficient that a weight meets at an output, and with which sign; none if they do not meet.
type Meeting = Option<(usize, usize, f64)>;

/// For every output and weight: the polynomial and coefficient of E that the weight meets there, and with which sign.
fn meetings(layer: &LinearPlan, n: usize) -> Vec<Vec<Meeting>> {
    let mut table = vec![vec![None; WEIGHTS]; OUTPUTS];
    for weight in 0..WEIGHTS {
        let mut unit = vec![0; WEIGHTS];
        unit[weight] = 1;
        for (row, (o, at)) in zip(&mut table, layer.packing().output_map()) {
            for j in layer.packing().pairs(o as usize) {
                let terms = layer.packing().weight_terms(o as usize, j, &unit);
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

/// Plays the attack against the last of `readers`; gives the correlation of recovered and true weights.
fn attack(profile: Profile, readers: usize, bits: u32, t: u32, view: View) -> f64 {
    let root = Seed::from_bytes(fresh_seed("attack"));
    let mut rng = root.fork("weights and input", &[]).stream();
    let weights: Vec<i32> = (0..WEIGHTS).map(|_| (rng.next_u32() % 2047) as i32 - 1023).collect();
    let plan = plan(profile, readers, bits, t);
    let (layer, params) = (&plan.layers()[readers - 1], plan.params());
    let identity: Vec<Option<u32>> = (0..INPUTS as u32).map(Some).collect();
    assert_eq!(layer.tiling.slots(), identity, "one slot per input");
    let bound = if readers == 1 && layer.masked_bits.is_some() { [INPUTS, 0] } else { [0, INPUTS] };
    assert_eq!(layer.deltas, bound, "the first reader's slots are bound, the second's are free");
    let limit = 1i64 << (layer.width - 16);
    let input: Vec<u64> =
        (0..INPUTS).map(|_| (rng.next_u64() as i64 % limit) as u64 & ((1 << layer.width) - 1)).collect();
    let epoch = Epoch::new([3; 32]);
    let prepare = |geometry: &_| prepared(params, geometry, &weights).map(Arc::new);
    let material = Material::new(&plan, &epoch, layer, &weights, prepare).unwrap();
    let none = (ClientKeys::Split, ServerKeys::Split);
    let bias = vec![vec![0; OUTPUTS]; params.limbs()];
    let meetings = meetings(layer, params.n());

    let mut regressors: Vec<Vec<f64>> = Vec::new();
    let mut outputs: Vec<Vec<f64>> = Vec::new();
    for query in 0..QUERIES {
        let (client, server) = (root.fork("client", &[query]), root.fork("server", &[query]));
        let own_seed = |number: usize| client.fork("layer", &[number as u64]);
        let mut rho = Rho::new(&plan, &client.fork("masks", &[]));
        for (number, earlier) in plan.layers()[..readers - 1].iter().enumerate() {
            client_keys(&plan, earlier, &none.0, &epoch, &own_seed(number), &mut rho).unwrap();
        }
        let client = own_seed(readers - 1);
        let (keys, own, masks) = client_keys(&plan, layer, &none.0, &epoch, &client, &mut rho).unwrap();
        let (replies, half) = server_reply(&plan, layer, &material, &none.1, &bias, &keys, &server).unwrap();
        let share = client_open(&plan, layer, &none.0, own, &replies).unwrap();

        // The server's online step, in plain arithmetic.
        let x = slots(&plan, layer, &masks, &rho.of_producer(&plan.producers()[0]), &input);
        let dither = dither(layer, params, &server);
        let m: Vec<Vec<u64>> = zip(params.moduli(), zip(&x, half.mask.limbs()))
            .map(|(q, (x, mask))| {
                zip(weights.chunks(INPUTS), mask)
                    .map(|(row, &mask)| {
                        let products = zip(row, x).map(|(&w, &x)| q.mul(q.from_i64(i64::from(w)), x));
                        products.fold(mask, |sum, product| q.add(sum, product))
                    })
                    .collect()
            })
            .collect();

        // What the client knows of its noise, and what it sees.
        let lifted = params.up(&input, layer.width);
        regressors.extend(known_errors(&plan, layer, &epoch, &client, [&lifted, &x], &keys, &meetings));
        let fine = |with_dither: bool| -> Vec<f64> {
            let one = |i: usize| {
                let residues: Vec<u64> = zip(params.moduli(), 0..)
                    .map(|(q, limb): (_, usize)| {
                        let m = m[limb][i];
                        let m = if with_dither { m } else { q.sub(m, dither[limb][i]) };
                        q.add(m, share.limbs()[limb][i])
                    })
                    .collect();
                params.center(&residues) as f64
            };
            (0..OUTPUTS).map(one).collect()
        };
        outputs.push(match view {
            View::FineWithoutDither => fine(false),
            View::Fine => fine(true),
            View::Shipped => {
                let down = |limbs: &[Vec<u64>]| {
                    params.down(&limbs.iter().map(Vec::as_slice).collect::<Vec<_>>(), bits)
                };
                let unit = params.q() as f64 / f64::from(bits).exp2();
                let sum =
                    |(m, c): (u64, u64)| ((m.wrapping_add(c) << (64 - bits)) as i64 >> (64 - bits)) as f64;
                zip(down(&m), down(share.limbs())).map(|pair| sum(pair) * unit).collect()
            }
        });
    }
    let recovered = regress(regressors, &outputs.concat());
    let truth: Vec<f64> = weights.iter().map(|&w| f64::from(w)).collect();
    let result = correlation(&recovered, &truth);
    println!(
        "{profile}, reader {readers}, k = {bits} t = {t} {view:?}: correlation {result:.3} after {QUERIES} queries"
    );
    result
}

/// The seed of the only group, as the client's preprocessing derives it.
fn group(client: &Seed) -> Seed {
    client.fork("client group", &[0])
}

/// X of every slot, limb by limb, from the definition.
fn slots(plan: &Plan, layer: &LinearPlan, masks: &SlotMasks, rho: &[u64], input: &[u64]) -> Vec<Vec<u64>> {
    let params = plan.params();
    match layer.masked_bits {
        Some(p) => {
            let one = |(&z, &r): (&u64, &u64)| (z << (p - layer.width)).wrapping_sub(r) & ((1 << p) - 1);
            params.up(&zip(input, &masks.values()[0]).map(one).collect::<Vec<u64>>(), p)
        }
        None => {
            let full = (1u64 << layer.width) - 1;
            let own: Vec<u64> = zip(input, rho).map(|(&z, &rho)| z.wrapping_sub(rho) & full).collect();
            let (own, rho) = (params.up(&own, layer.width), params.up(rho, layer.width));
            zip(params.moduli(), zip(masks.values(), zip(&own, &rho)))
                .map(|(q, (r, (own, rho)))| {
                    zip(r, zip(own, rho)).map(|(&r, (&own, &rho))| q.sub(q.add(own, rho), r)).collect()
                })
                .collect()
        }
    }
}

/// The server's dither of a query, from its recorded seed.
fn dither(layer: &LinearPlan, params: &Params, server: &Seed) -> Vec<Vec<u64>> {
    let sigma = dither_log2_sigma(params, layer.ring_bits);
    params.dither(&mut server.fork("dither", &[0]).stream(), sigma, OUTPUTS).unwrap().to_vec()
}

/// Per output the row of regressors: E = X + a·s − x at every coefficient that the output reads.
fn known_errors(
    plan: &Plan,
    layer: &LinearPlan,
    epoch: &Epoch,
    client: &Seed,
    [meant, held]: [&[Vec<u64>]; 2],
    keys: &[u8],
    meetings: &[Vec<Meeting>],
) -> Vec<Vec<f64>> {
    let params = plan.params();
    let secret = ClientSecret::generate(params, &mut group(client).fork("secret", &[]).stream());
    // What the server holds at every coefficient, and what it should hold; zero where nobody reads.
    let mut errors: Vec<Vec<f64>> = vec![vec![0.0; params.n()]; layer.packing().input_polys()];
    let mut rest = &keys[PublicKey::wire_len(params)..];
    let zeros: Vec<Vec<u64>> = (0..params.limbs())
        .map(|limb| {
            let bits = layer.masked_bits.unwrap_or_else(|| params.moduli()[limb].bits());
            let (own, more) = rest.split_at(bytes_for_bits(layer.zeros() * bits as usize));
            rest = more;
            unpack(own, layer.zeros(), bits).unwrap()
        })
        .collect();
    let zeros = layer.masked_bits.map_or_else(|| zeros.clone(), |p| params.up(&zeros[0], p));
    let map = layer.packing().input_map();
    let mut next = 0;
    for (j, errors) in errors.iter_mut().enumerate() {
        // a·s = r − e, both of which the client can draw again.
        let a = epoch.public_a(params, layer.node as u32, j as u32);
        let noise = || group(client).fork("mask noise", &[j as u64]).stream();
        let mut product = secret.mask(params, &a, &mut noise());
        product -= &RnsPoly::<Coeff>::error(params, &mut noise());
        let mut note = |at: u32, held: &[u64], meant: &[u64]| {
            let residues: Vec<u64> = zip(params.moduli(), zip(held, meant))
                .enumerate()
                .map(|(limb, (q, (&held, &meant)))| {
                    q.sub(q.add(held, product.limb(limb).coefficients()[at as usize]), meant)
                })
                .collect();
            errors[at as usize] = params.center(&residues) as f64;
        };
        let column = |limbs: &[Vec<u64>], i: usize| limbs.iter().map(|limb| limb[i]).collect::<Vec<u64>>();
        for (i, &(poly, at)) in map.iter().take(INPUTS).enumerate() {
            if poly as usize == j {
                note(at, &column(held, i), &column(meant, i));
            }
        }
        for &at in &layer.zero_reads[j] {
            note(at, &column(&zeros, next), &vec![0; params.limbs()]);
            next += 1;
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
fn fine_reply(profile: Profile) -> u32 {
    (limits(profile).modulus_bits - 1).min(62)
}

#[test]
fn without_the_dither_fine_outputs_give_the_weights_away() {
    for readers in [1, 2] {
        let found = attack(Profile::Wide, readers, 20, fine_reply(Profile::Wide), View::FineWithoutDither);
        assert!(found > 0.85, "reader {readers}: {found}");
    }
}

#[test]
fn the_dither_alone_hides_them() {
    // With 256 weights, chance correlations have a deviation of 1/16.
    for profile in [Profile::Wide, Profile::Exact] {
        for readers in [1, 2] {
            let found = attack(profile, readers, 20, fine_reply(profile), View::Fine);
            assert!(found.abs() < 0.3, "{profile}, reader {readers}: {found}");
        }
    }
}

#[test]
fn what_is_shipped_hides_them() {
    for (profile, readers, bits) in [(Profile::Wide, 1, 12), (Profile::Wide, 2, 20), (Profile::Exact, 1, 20)]
    {
        assert!(
            attack(profile, readers, bits, bits + 6, View::Shipped).abs() < 0.3,
            "{profile}, {bits} bits"
        );
    }
}

#[test]
fn the_narrow_profile_has_no_room_and_so_never_serves_logits() {
    for readers in [1, 2] {
        let found = attack(Profile::Narrow, readers, 16, 22, View::Shipped);
        assert!(found > 0.85, "reader {readers}: {found}");
    }
}
