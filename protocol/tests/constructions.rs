//! The other constructions of the preprocessing: the same inference, against the same oracles.
//!
//! What is asked of each beside results: sizes of messages as computed, an online stage that is byte for byte as long as with
//! `split`, masks that hide, refusals where the two parties do not want the same, bundles that are not mistaken for others.

#![expect(clippy::unwrap_used, reason = "a failing step fails the test")]

mod common;

use std::iter::zip;
use std::sync::Arc;

use common::{check_by, check_messages, fitting, fresh_seed, inputs, model, plan_by, width};
use he_core::rlwe::SeededCiphertext;
use he_core::split::Epoch;
use he_core::{Modulus, Profile, Seed};
use nn_merge::fixed_point::networks::{Conv, Sketch, random};
use nn_merge::model::Model;
use protocol::handshake::Methods;
use protocol::offline::construction::{
    ClientKeys, Material, Scheme, ServerKeys, client_keys, client_open, client_setup, keys_bytes, prepared,
    replies_bytes, server_reply, server_setup,
};
use protocol::offline::rho::Rho;
use protocol::store::Store;
use protocol::testing::in_process;
use protocol::{
    ClientOptions, OutputMode, Plan, Policy, Preprocessing, ProtocolError, RefusalCode, Rounds, Server,
};
use rand_core::Rng;

/// What is tested here: all that is built in, but `split`, which all other tests are about.
const OTHERS: [Preprocessing; 3] = [Preprocessing::Bfv, Preprocessing::BfvPacked, Preprocessing::Ckks];

fn server(model: Model, methods: Methods, seed: &Seed) -> Server {
    let mut policy = Policy::default();
    policy.offer.methods = methods;
    Server::new(model, policy, seed.fork("server", &[])).unwrap()
}

/// A layer in tiles, one with groups and strides, one with dilation, one that is fully connected.
fn tiled(profile: Profile, seed: &Seed) -> Model {
    let mut rng = seed.fork("model", &[]).stream();
    let limit = f64::from(width(profile) - 12).exp2();
    let mut s = Sketch::new(profile, [2, 100, 90], width(profile), limit, &mut rng);
    let first = s.conv(0, Conv { padding: [1, 2, 0, 1], ..Conv::plain(4, [3, 4]) }).unwrap();
    let relu = s.pooled_relu(first, 4, 4).unwrap();
    let grouped = s.conv(relu, Conv { groups: 2, stride: [2, 3], ..Conv::plain(6, [2, 3]) }).unwrap();
    let relu = s.relu(grouped).unwrap();
    let dilated =
        s.conv(relu, Conv { dilation: [2, 1], padding: [2, 1, 2, 0], ..Conv::plain(3, [3, 2]) }).unwrap();
    let relu = s.relu(dilated).unwrap();
    let last = s.dense(relu, 4).unwrap();
    s.finish(last).unwrap()
}

/// Channels enough that the keys for joining replies come back: sparse outputs of a plain, a strided grouped and a fully connected
/// layer.
fn many_channels(profile: Profile, seed: &Seed) -> Model {
    let mut rng = seed.fork("model", &[]).stream();
    let limit = f64::from(width(profile) - 18).exp2();
    let mut s = Sketch::new(profile, [32, 9, 8], width(profile), limit, &mut rng);
    let first = s.conv(0, Conv { padding: [1, 1, 1, 0], ..Conv::plain(48, [3, 3]) }).unwrap();
    let relu = s.relu(first).unwrap();
    let grouped = s.conv(relu, Conv { groups: 2, stride: [2, 1], ..Conv::plain(32, [2, 3]) }).unwrap();
    let relu = s.relu(grouped).unwrap();
    let last = s.dense(relu, 40).unwrap();
    s.finish(last).unwrap()
}

/// A network in whose first layer the construction does all that it can do.
fn model_for(construction: Preprocessing, profile: Profile, seed: &Seed) -> Model {
    match construction {
        Preprocessing::BfvPacked => many_channels(profile, seed),
        _ => fitting(construction, model(profile, seed)),
    }
}

#[test]
fn results_equal_the_oracle_in_every_profile() {
    let options = ClientOptions::new().rounds(Rounds::Three);
    for construction in OTHERS {
        for (profile, images) in zip(Profile::ALL, [1, 3, 5, 2]) {
            let what = format!("{construction} {profile}");
            let seed = Seed::from_bytes(fresh_seed(&what));
            let model = fitting(construction, model(profile, &seed));
            let worst = check_by(construction, &model, images, options, &what);
            println!("{what}: {worst:.2} of the bound");
        }
    }
}

#[test]
fn tiles_groups_and_strides_equal_the_oracle() {
    let options = ClientOptions::new().rounds(Rounds::One);
    // In `ckks` planes are not cut.
    for construction in OTHERS.into_iter().filter(|&one| one != Preprocessing::Ckks) {
        for profile in [Profile::Narrow, Profile::Wide, Profile::Exact] {
            let what = format!("tiles, {construction} {profile}");
            let seed = Seed::from_bytes(fresh_seed(&what));
            check_by(construction, &tiled(profile, &seed), 1, options, &what);
        }
    }
}

#[test]
fn joined_replies_equal_the_oracle() {
    let options = ClientOptions::new().rounds(Rounds::Three);
    for (profile, images) in zip(Profile::ALL, [1, 2, 3, 1]) {
        let what = format!("joined {profile}");
        let seed = Seed::from_bytes(fresh_seed(&what));
        let model = many_channels(profile, &seed);
        let worst = check_by(Preprocessing::BfvPacked, &model, images, options, &what);
        println!("{what}: {worst:.2} of the bound");
    }
}

/// What joining is for: fewer bytes per image, and within eight images of a session the keys have come back.
#[test]
fn joined_replies_are_fewer_bytes() {
    let seed = Seed::from_bytes(fresh_seed("sizes"));
    for profile in Profile::ALL {
        let model = many_channels(profile, &seed);
        let sizes = |construction| {
            let plan = plan_by(construction, &model, 1, OutputMode::Label);
            let layer = |layer| [keys_bytes(&plan, layer), replies_bytes(&plan, layer)];
            let layers: Vec<[usize; 2]> = plan.layers().iter().map(layer).collect();
            (plan.scheme().setup_bytes(), layers)
        };
        let [(keys, apart), (more_keys, joined)] = [Preprocessing::Bfv, Preprocessing::BfvPacked].map(sizes);
        println!("{profile}: {keys} and {apart:?}, {more_keys} and {joined:?}");
        let sum = |layers: &[[usize; 2]]| layers.iter().flatten().sum::<usize>();
        assert!(more_keys > keys && 3 * joined[0].iter().sum::<usize>() < 2 * apart[0].iter().sum::<usize>());
        assert!(more_keys + 8 * sum(&joined) < keys + 8 * sum(&apart), "{profile}");
        // Small layers buy no keys, and have the same ring.
        let small = common::model(profile, &seed);
        let setup = |construction| plan_by(construction, &small, 1, OutputMode::Label).scheme().setup_bytes();
        assert_eq!(setup(Preprocessing::BfvPacked), setup(Preprocessing::Bfv), "{profile}");
    }
}

#[test]
fn random_graphs_equal_the_oracle() {
    let options = ClientOptions::new().rounds(Rounds::Three);
    for construction in OTHERS {
        for round in 0..6 {
            let what = format!("random, {construction}");
            let mut rng = Seed::from_bytes(fresh_seed(&what)).stream();
            let profile = Profile::ALL[round % 4];
            let model = fitting(construction, random(profile, 12, &mut rng).unwrap());
            check_by(construction, &model, 2, options, &what);
        }
    }
}

#[test]
fn messages_have_the_computed_sizes_and_the_online_stage_is_that_of_split() {
    for (construction, profile) in OTHERS.into_iter().flat_map(|c| Profile::ALL.map(|p| (c, p))) {
        let seed = Seed::from_bytes(fresh_seed("model"));
        let server = server(model_for(construction, profile, &seed), Methods::default(), &seed);
        check_messages(construction, &server, &seed, &format!("{construction} {profile}"));
    }
}

#[test]
fn parties_that_want_different_constructions_part_with_one_sentence() {
    let all = Methods::default();
    let seed = Seed::from_bytes(fresh_seed("model"));
    let cases = [
        (Methods { bfv: false, ..all }, Preprocessing::Bfv, ["`bfv`", "split"]),
        (Methods { ckks: false, ..all }, Preprocessing::Ckks, ["`ckks`", "split"]),
        (Methods { split: false, ..all }, Preprocessing::Split, ["`split`", "bfv"]),
    ];
    for (methods, wish, words) in cases {
        let server = server(model(Profile::Tiny, &seed), methods, &seed);
        let (result, served) =
            in_process(&server, seed.fork("serving", &[]), seed.fork("client", &[]), |client| {
                client.agree_on(ClientOptions::new().preprocessing(wish)).map(drop)
            });
        for refusal in [result.unwrap_err(), served.unwrap_err()] {
            match refusal {
                ProtocolError::Refused(refusal) | ProtocolError::Incompatible(refusal) => {
                    assert_eq!(refusal.code, RefusalCode::Method);
                    assert!(words.iter().all(|word| refusal.reason.contains(word)), "{}", refusal.reason);
                }
                other => panic!("{other:?}"),
            }
        }
        // A client without a wish takes what there is.
        let (result, served) =
            in_process(&server, seed.fork("serving", &[]), seed.fork("client", &[]), |client| {
                let client = client.agree_on(ClientOptions::new())?;
                let agreed = client.terms().preprocessing;
                client.finish().map(|_| agreed)
            });
        served.unwrap();
        assert_ne!(result.unwrap(), wish);
    }
    let nothing = Methods { split: false, bfv: false, ckks: false, bfv_packed: false, ..all };
    let mut policy = Policy::default();
    policy.offer.methods = nothing;
    let result = Server::new(model(Profile::Tiny, &seed), policy, seed.fork("server", &[]));
    assert!(matches!(result, Err(ProtocolError::Caller(_))));
}

#[test]
fn weights_beyond_the_public_bound_are_not_offered() {
    let seed = Seed::from_bytes(fresh_seed("model"));
    let bounds = [(Preprocessing::Bfv, Profile::Wide, 1 << 20), (Preprocessing::Ckks, Profile::Tiny, 1 << 8)];
    let cases = bounds.into_iter().flat_map(|(construction, profile, most)| {
        [(most, true), (most + 1, false), (i32::MIN, false)].map(|(w, fits)| (construction, profile, w, fits))
    });
    for (construction, profile, weight, offered) in cases {
        let mut model = fitting(construction, model(profile, &seed));
        let node = model.nodes.iter().rposition(|node| !node.weights.is_empty()).unwrap();
        model.nodes[node].weights[0] = weight;
        let server = server(model.clone(), Methods::default(), &seed);
        let (result, _) =
            in_process(&server, seed.fork("serving", &[]), seed.fork("client", &[]), |client| {
                Ok(client.offer().methods)
            });
        let methods = result.unwrap();
        let offers = if construction == Preprocessing::Bfv { methods.bfv } else { methods.ckks };
        assert_eq!(offers, offered, "{construction} {weight}");
        // Nor would they be prepared.
        let plan = plan_by(construction, &model, 1, OutputMode::Label);
        assert_eq!(server.materials(&plan).is_ok(), offered);
        // Without the others there is nothing left to offer.
        let mut policy = Policy::default();
        let [bfv, bfv_packed, ckks] = OTHERS.map(|other| other == construction);
        policy.offer.methods = Methods { split: false, bfv, ckks, bfv_packed, ..policy.offer.methods };
        assert_eq!(Server::new(model, policy, seed.fork("server", &[])).is_ok(), offered);
    }
}

#[test]
fn bundles_of_another_construction_are_left_alone_and_refused() {
    let seed = Seed::from_bytes(fresh_seed("model"));
    for (construction, profile) in OTHERS.into_iter().zip([Profile::Wide, Profile::Tiny, Profile::Tiny]) {
        bundles_of(construction, fitting(construction, model(profile, &seed)), &seed);
    }
}

fn bundles_of(construction: Preprocessing, model: Model, seed: &Seed) {
    let server = server(model, Methods::default(), seed);
    let inputs = inputs(server.model(), 1, seed);
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let of = |construction| ClientOptions::new().preprocessing(construction).rounds(Rounds::Three);
    let (result, _) = in_process(&server, seed.fork("serving", &[]), seed.fork("client", &[]), |client| {
        let origin = client.origin();
        let mut client = client.agree_on(of(construction))?;
        for _ in 0..2 {
            let bundle = client.prepare(1, &mut |_, _| {})?;
            client.keep(&bundle)?;
            store.keep(bundle, &origin)?;
        }
        client.finish().map(drop)
    });
    result.unwrap();
    // (asked of the store, agreed with the server): only both alike work.
    for (number, (claimed, agreed)) in
        [(Preprocessing::Split, None), (construction, Some(false)), (construction, Some(true))]
            .into_iter()
            .enumerate()
    {
        let seeds = [seed.fork("serving", &[number as u64]), seed.fork("client", &[number as u64])];
        let [serving, own] = seeds;
        let agreed_on = if agreed == Some(false) { Preprocessing::Split } else { construction };
        let (result, _) = in_process(&server, serving, own, |client| {
            let (manifest, origin) = (client.manifest().clone(), client.origin());
            let mut client = client.agree_on(of(agreed_on))?;
            match store.claim(&manifest, &origin, OutputMode::Label, claimed, 1)? {
                Some(bundle) => client.infer(bundle, &inputs, &mut |_, _| {}).map(Some),
                None => Ok(None),
            }
        });
        match (result, agreed) {
            (Ok(None), None) => assert_eq!(store.waiting(), 2, "left alone"),
            (Ok(Some(_)), Some(true)) => {}
            (Err(ProtocolError::Refused(refusal)), Some(false)) => {
                assert_eq!(refusal.code, RefusalCode::Method, "{}", refusal.reason);
            }
            (other, _) => panic!("{claimed} {agreed:?}: {other:?}"),
        }
    }
}

/// One layer of a network between its two parties.
struct Layer {
    plan: Arc<Plan>,
    keys: (ClientKeys, ServerKeys),
    material: Material,
    setup: Vec<u8>,
}

impl Layer {
    fn new(construction: Preprocessing, model: &Model, images: usize, seed: &Seed) -> Self {
        let plan = plan_by(construction, model, images, OutputMode::Label);
        let (setup, own) = client_setup(&plan, &seed.fork("keys", &[])).unwrap();
        let theirs = server_setup(&plan, &setup).unwrap();
        let layer = &plan.layers()[0];
        let weights = &model.nodes[layer.node].weights;
        let prepare = |geometry: &_| prepared(plan.params(), geometry, weights).map(Arc::new);
        let material = Material::new(&plan, &Epoch::new([1; 32]), layer, weights, prepare).unwrap();
        Self { plan, keys: (own, theirs), material, setup }
    }

    /// The client's message, and both shares of W·r without bias: the server's has the dither on it.
    fn run(&self, seed: &Seed) -> (Vec<u8>, Vec<Vec<u64>>, Vec<Vec<u64>>) {
        let (plan, layer) = (&self.plan, &self.plan.layers()[0]);
        let mut rho = Rho::new(plan, &seed.fork("rho", &[]));
        let epoch = Epoch::new([1; 32]);
        let (message, own, _) =
            client_keys(plan, layer, &self.keys.0, &epoch, &seed.fork("client", &[]), &mut rho).unwrap();
        let (reply, half) = self.reply(&message, seed).unwrap();
        let share = client_open(plan, layer, &self.keys.0, own, &reply).unwrap();
        (message, share.limbs().to_vec(), half)
    }

    fn reply(&self, message: &[u8], seed: &Seed) -> Result<(Vec<u8>, Vec<Vec<u64>>), ProtocolError> {
        let (plan, layer) = (&self.plan, &self.plan.layers()[0]);
        let bias = vec![vec![]; plan.params().limbs()];
        let seed = seed.fork("server", &[]);
        let (reply, half) = server_reply(plan, layer, &self.material, &self.keys.1, &bias, message, &seed)?;
        Ok((reply, half.mask.limbs().to_vec()))
    }
}

/// χ² of the top four bits of numbers modulo q, 15 degrees of freedom.
fn chi_square(values: &[u128], q: u128) -> f64 {
    let mut counts = [0u32; 16];
    values.iter().for_each(|&value| counts[(value / (q / 16 + 1)) as usize] += 1);
    let mean = values.len() as f64 / 16.0;
    counts.iter().map(|&count| (f64::from(count) - mean).powi(2) / mean).sum()
}

#[test]
fn the_clients_share_hides_the_product_and_a_missing_mask_is_noticed() {
    // A dense layer without room for chance: the same masks ρ each time, fresh randomness of the server.
    let seed = Seed::from_bytes(fresh_seed("masks"));
    for (construction, profile) in OTHERS.into_iter().flat_map(|c| Profile::ALL.map(|p| (c, p))) {
        let layer = Layer::new(construction, &model_for(construction, profile, &seed), 1, &seed);
        let params = layer.plan.params();
        let (mut shares, mut unmasked) = (Vec::new(), Vec::new());
        let own = seed.fork("client", &[]);
        let mut rho = Rho::new(&layer.plan, &own);
        let of = &layer.plan.layers()[0];
        for run in 0..16 {
            let fresh = seed.fork("run", &[run]);
            let epoch = Epoch::new([1; 32]);
            let (message, kept, _) =
                client_keys(&layer.plan, of, &layer.keys.0, &epoch, &fresh, &mut rho).unwrap();
            let (reply, half) = layer.reply(&message, &fresh).unwrap();
            let share = client_open(&layer.plan, of, &layer.keys.0, kept, &reply).unwrap();
            // What the client would open had the server left its mask out: the masks ρ are the same in all runs.
            let residues = |sum: bool, i: usize| -> Vec<u64> {
                let limb = |(limb, q): (usize, &Modulus)| {
                    let (c, m) = (share.limbs()[limb][i], half[limb][i]);
                    if sum { q.add(c, m) } else { c }
                };
                params.moduli().iter().enumerate().map(limb).collect()
            };
            shares.extend((0..share.len()).map(|i| params.compose(&residues(false, i))));
            unmasked.extend((0..share.len()).map(|i| params.compose(&residues(true, i))));
        }
        let (q, length) = (params.q(), shares.len() / 16);
        // Differences between runs: uniform with the mask, next to nothing without.
        let differences = |values: &[u128]| -> Vec<u128> {
            values.windows(length + 1).map(|pair| (q + pair[length] - pair[0]) % q).collect()
        };
        let (with, without) = (chi_square(&differences(&shares), q), chi_square(&differences(&unmasked), q));
        assert!(with < 60.0, "{construction} {profile}: {with}");
        assert!(without > 1000.0, "{construction} {profile}: a missing mask went unseen: {without}");
    }
}

#[test]
fn hostile_messages_are_refused() {
    let seed = Seed::from_bytes(fresh_seed("hostile"));
    let mut rng = seed.fork("bends", &[]).stream();
    for construction in OTHERS {
        let layer = Layer::new(construction, &model_for(construction, Profile::Tiny, &seed), 1, &seed);
        let (message, ..) = layer.run(&seed);
        let peer = |result: Result<(), ProtocolError>| matches!(result, Err(ProtocolError::Peer(_)));
        // Wrong lengths, words beyond their modulus, other parameters, nothing at all.
        for bent in [&message[1..], &[], &[message.as_slice(), &[0]].concat(), &vec![0xff; message.len()]] {
            assert!(peer(layer.reply(bent, &seed).map(drop)), "{} bytes", bent.len());
        }
        for bent in [&layer.setup[1..], &[], &vec![0xff; layer.setup.len()], &vec![0; layer.setup.len()]] {
            assert!(peer(server_setup(&layer.plan, bent).map(drop)), "{} bytes", bent.len());
        }
        // A zero key would show what is encrypted with it: the first public key, of a layer or of all.
        let mut zero = layer.setup.clone();
        let rlwe = match layer.plan.scheme() {
            Scheme::Bfv(scheme) => scheme.ring().rlwe(),
            Scheme::Ckks(scheme) => scheme.params().rlwe(),
            Scheme::Split => panic!("{construction} has a ring of its own"),
        };
        zero[44..SeededCiphertext::wire_len(rlwe, rlwe.limbs())].fill(0);
        assert!(peer(server_setup(&layer.plan, &zero).map(drop)));
        // Any bit: an answer or the peer's fault, never a panic; headers are always checked.
        for _ in 0..20 {
            let mut bent = message.clone();
            let (at, bit) = (rng.next_u64() as usize % bent.len(), rng.next_u32() % 8);
            bent[at] ^= 1 << bit;
            let result = layer.reply(&bent, &seed).map(drop);
            assert!(result.is_ok() || peer(result), "byte {at}");
        }
        for at in 0..12 {
            let mut bent = message.clone();
            bent[at] ^= 1;
            assert!(peer(layer.reply(&bent, &seed).map(drop)), "header byte {at}");
        }
    }
}
