//! Shares of W·r against a convolution in the clear, what a missing mask would show, and what is refused.

use std::iter::zip;
use std::sync::Arc;

use conv_fast::direct;
use he_core::Profile;
use he_core::ckks::NoiseEstimate;
use nn_merge::fixed_point::networks::{Conv, Sketch};
use nn_merge::model::{LocalOp, Model, limits};
use rand_core::Rng;

use super::*;
use crate::fixtures::fresh_seed;
use crate::offline::construction::Preprocessing;
use crate::plan::OutputMode;
use crate::rounds::RoundChoice;

/// Layers of many kinds on one input, cut to one size and added up: padded, strided, dilated, in groups, with uneven strides,
/// with more channels than fit a ciphertext.
fn convolutions(profile: Profile, seed: &Seed) -> Model {
    let mut rng = seed.fork("model", &[]).stream();
    let width = limits(profile).max_width.min(26);
    let mut net = Sketch::new(profile, [4, 12, 10], width, 100.0, &mut rng);
    let same = net.conv(0, Conv::same(4, 3)).unwrap();
    let strided =
        net.conv(0, Conv { stride: [2, 2], padding: [1, 2, 0, 1], ..Conv::plain(6, [3, 4]) }).unwrap();
    let dilated = net.conv(0, Conv { dilation: [2, 1], groups: 2, ..Conv::plain(4, [2, 3]) }).unwrap();
    let uneven = net.conv(0, Conv { stride: [1, 3], ..Conv::plain(3, [1, 2]) }).unwrap();
    let many = net.conv(0, Conv::plain(40, [1, 1])).unwrap();
    let nodes = [same, strided, dilated, uneven, many];
    let sizes = nodes.map(|node| net.shape(node));
    let size = [0, 1, 2].map(|axis| sizes.iter().map(|shape| shape[axis]).min().unwrap());
    let cuts =
        nodes.map(|node| net.local(&[node], LocalOp::Slice { start: [0; 3], step: [1; 3], size }).unwrap());
    let sum = net.sum(&cuts);
    small(net.finish(sum).unwrap())
}

/// A fully connected layer with far fewer outputs than inputs.
fn dense(profile: Profile, seed: &Seed) -> Model {
    let mut rng = seed.fork("dense", &[]).stream();
    let mut net = Sketch::new(profile, [3, 8, 5], limits(profile).max_width.min(26), 100.0, &mut rng);
    let last = net.dense(0, 5).unwrap();
    small(net.finish(last).unwrap())
}

/// Weights as small as the profile wants them.
fn small(mut model: Model) -> Model {
    let most = 1 << limits(model.manifest.profile).weight_bits;
    model.nodes.iter_mut().flat_map(|node| &mut node.weights).for_each(|w| {
        while w.abs() > most {
            *w /= 2;
        }
    });
    model
}

fn plan(model: &Model, images: usize) -> Result<Arc<Plan>, ProtocolError> {
    let mode = OutputMode::Label;
    Plan::with_preprocessing(&model.manifest, images, mode, RoundChoice::Three, Preprocessing::Ckks)
        .map(Arc::new)
}

fn scheme(plan: &Plan) -> &Scheme {
    match plan.scheme() {
        crate::offline::construction::Scheme::Ckks(scheme) => scheme,
        other => panic!("{:?}", other.preprocessing()),
    }
}

/// All that one session needs.
struct Session {
    model: Model,
    plan: Arc<Plan>,
    own: ClientKeys,
    theirs: ServerKeys,
    setup: Vec<u8>,
}

impl Session {
    fn new(model: Model, images: usize, seed: &Seed) -> Self {
        let plan = plan(&model, images).unwrap();
        let (setup, own) = client_setup(scheme(&plan), &seed.fork("setup", &[]));
        assert_eq!(setup.len(), scheme(&plan).setup_bytes());
        let theirs = server_setup(scheme(&plan), &setup).unwrap();
        Self { model, plan, own, theirs, setup }
    }

    fn scheme(&self) -> &Scheme {
        scheme(&self.plan)
    }

    fn matrix(&self, layer: &LinearPlan) -> Matrix {
        Matrix::new(&self.plan, self.scheme(), layer, &self.model.nodes[layer.node].weights).unwrap()
    }

    /// W·Σρ/2^w modulo one, images × elements, in units of 2^-62.
    fn products(&self, layer: &LinearPlan, rho: &Rho) -> Vec<u64> {
        let sums = masks::elements(&self.plan, layer, rho);
        let weights: Vec<i64> = self.model.nodes[layer.node].weights.iter().map(|&w| i64::from(w)).collect();
        let (geometry, width) = (layer.geometry(), layer.width);
        let ring = conv_fast::Ring::power_of_two(62).unwrap();
        let lifted: Vec<u64> = sums.iter().map(|&sum| sum << (62 - width)).collect();
        lifted
            .chunks(geometry.input_len())
            .flat_map(|image| direct(geometry, ring, &weights, image))
            .collect()
    }
}

/// a − b in turns, in [-1/2, 1/2), of numbers in units of 2^-62 turns.
fn apart(a: u64, b: u64) -> f64 {
    ((a.wrapping_sub(b) << 2) as i64) as f64 / 64.0_f64.exp2()
}

/// A share's elements in units of 2^-62 turns.
fn turns(plan: &Plan, share: &Raw) -> Vec<u64> {
    share.down(plan.params(), 62).to_vec()
}

#[test]
fn shares_add_up_to_the_product_in_every_profile() {
    let seed = fresh_seed();
    for (profile, images) in zip(Profile::ALL, [3, 1, 2, 1]) {
        let parts = add_up(Session::new(dense(profile, &seed), images, &seed), images, &seed);
        assert!(parts > 1, "no layer comes in parts");
    }
    for (profile, images) in [(Profile::Tiny, 3), (Profile::Wide, 1)] {
        add_up(Session::new(convolutions(profile, &seed), images, &seed), images, &seed);
    }
}

/// Checks every layer; gives the most parts.
fn add_up(session: Session, images: usize, seed: &Seed) -> usize {
    let (plan, scheme, profile) = (&session.plan, session.scheme(), session.model.manifest.profile);
    println!(
        "{profile}: N = {}, {:.1} bits, {} limbs of {}, {} keys of {} KiB in all, {} baby steps",
        scheme.he.n(),
        scheme.he.rlwe().log2_q(scheme.he.limbs()) + scheme.he.rlwe().log2_p(),
        scheme.last_limbs,
        scheme.he.limbs(),
        scheme.exponents.len(),
        scheme.setup_bytes() >> 10,
        scheme.baby_steps
    );
    let rho = Rho::new(plan, &seed.fork("rho", &[]));
    let mut parts = 1;
    for layer in plan.layers() {
        let own = scheme.layer(layer).unwrap();
        parts = parts.max(own.parts);
        let at = seed.fork("layer", &[layer.node as u64]);
        let (message, kept, _) = client_keys(plan, scheme, layer, &session.own, &at, &rho).unwrap();
        assert_eq!(message.len(), keys_bytes(plan, scheme, layer));
        let matrix = session.matrix(layer);
        let rotations: Vec<i64> = matrix.0.iter().flatten().flat_map(LinearTransform::rotations).collect();
        let known = |step: &i64| scheme.exponents.contains(&he_core::galois::rotation(scheme.he.n(), *step));
        assert!(rotations.iter().all(known), "{}: a rotation without a key", layer.name);
        let (reply, theirs) =
            server_reply(plan, scheme, layer, &matrix, &session.theirs, &message, &at).unwrap();
        assert_eq!(reply.len(), replies_bytes(plan, scheme, layer));
        let mut share = client_open(plan, scheme, layer, &session.own, kept, &reply).unwrap();
        share.add(plan.params(), &theirs);

        let expected = session.products(layer, &rho);
        let found = turns(plan, &share);
        assert_eq!(found.len(), expected.len());
        let worst = zip(&found, &expected).map(|(&a, &b)| apart(a, b).abs()).fold(0.0, f64::max);
        let unit = 2.0 / plan.params().q() as f64 + 2.0_f64.powi(-60);
        let k = f64::from(own.fraction_bits - own.parts.trailing_zeros() - 6);
        let bound = (1.5 + 2.0_f64.powi(-10)) * (-k - 6.0).exp2() + unit;
        assert!(worst <= bound, "{profile} {}: {worst:e} against {bound:e}", layer.name);
        assert!(scheme.log2_distance(layer).unwrap() <= -40.0);
        let operations = operations(plan, scheme, layer).unwrap();
        println!("{}: {:.3} of the bound, {operations:?}", layer.name, worst / bound);
        assert_eq!(operations.sent, images.div_ceil(2) * own.output.ciphertexts());
        assert!(operations.products >= operations.rotations / 2);
    }
    parts
}

/// How uniform numbers are on the torus, in 16 bins: 15 degrees of freedom.
fn chi_square(values: impl Iterator<Item = u64>) -> f64 {
    let mut counts = [0_u32; 16];
    values.for_each(|value| counts[(value << 2 >> 60) as usize] += 1);
    let mean = f64::from(counts.iter().sum::<u32>()) / 16.0;
    counts.iter().map(|&count| (f64::from(count) - mean).powi(2) / mean).sum()
}

#[test]
fn what_the_client_decrypts_is_uniform_and_without_the_mask_it_is_the_product() {
    let seed = fresh_seed();
    let session = Session::new(convolutions(Profile::Tiny, &seed), 1, &seed);
    let (plan, scheme) = (&session.plan, session.scheme());
    let rho = Rho::new(plan, &seed.fork("rho", &[]));
    let layer = &plan.layers()[4];
    let own = scheme.layer(layer).unwrap();
    let (message, kept, _) = client_keys(plan, scheme, layer, &session.own, &seed, &rho).unwrap();
    let matrix = session.matrix(layer);
    let (reply, _) = server_reply(plan, scheme, layer, &matrix, &session.theirs, &message, &seed).unwrap();
    let share = client_open(plan, scheme, layer, &session.own, kept, &reply).unwrap();
    let expected = session.products(layer, &rho);
    let differences = |share: &Raw| -> Vec<u64> {
        zip(turns(plan, share), &expected).map(|(a, &b)| a.wrapping_sub(b) & ((1 << 62) - 1)).collect()
    };
    let masked = chi_square(differences(&share).into_iter());
    assert!(masked < 60.0, "{masked}");

    // The same with the share's mask left out: products as they come from the matrix.
    let masks = wire::seeded(&scheme.he, &message, scheme.he.scale(), "encrypted masks").unwrap();
    let inputs = own.input.ciphertexts();
    let bare: Vec<WideSlots> = (0..own.output.ciphertexts())
        .map(|output| {
            let row = &matrix.0[output * inputs..][..inputs];
            let product = multiply(scheme, own, &masks[..inputs], row, &session.theirs, &seed).unwrap();
            open(scheme, own, &session.own, &product.as_rlwe().to_bytes(scheme.he.rlwe())).unwrap()
        })
        .collect();
    let bare = lifted(plan, layer, own, &bare);
    let plain = chi_square(differences(&bare).into_iter());
    assert!(plain > 1000.0, "{plain}");
    let worst = zip(turns(plan, &bare), &expected).map(|(a, &b)| apart(a, b).abs()).fold(0.0, f64::max);
    assert!(worst < 2.0_f64.powi(-19), "{worst:e}");
}

#[test]
fn replies_are_made_anew_and_follow_from_their_seeds() {
    let seed = fresh_seed();
    let session = Session::new(convolutions(Profile::Tiny, &seed), 1, &seed);
    let (plan, scheme) = (&session.plan, session.scheme());
    let rho = Rho::new(plan, &seed);
    let layer = &plan.layers()[0];
    let (message, ..) = client_keys(plan, scheme, layer, &session.own, &seed, &rho).unwrap();
    let matrix = session.matrix(layer);
    let reply = |label: u64| {
        let seed = seed.fork("reply", &[label]);
        let (bytes, share) =
            server_reply(plan, scheme, layer, &matrix, &session.theirs, &message, &seed).unwrap();
        (bytes, share.limbs().to_vec())
    };
    assert!(reply(1) == reply(1));
    let (a, b) = (reply(1), reply(2));
    assert!(a.0 != b.0 && a.1 != b.1);
    // A layer of zeros answers with an encryption of nothing, as long as any other.
    let zeros = vec![0; session.model.nodes[layer.node].weights.len()];
    let nothing = Matrix::new(plan, scheme, layer, &zeros).unwrap();
    let (bytes, theirs) =
        server_reply(plan, scheme, layer, &nothing, &session.theirs, &message, &seed).unwrap();
    assert_eq!(bytes.len(), a.0.len());
    let mut sum = client_open(plan, scheme, layer, &session.own, ClientLayer, &bytes).unwrap();
    sum.add(plan.params(), &theirs);
    assert!(turns(plan, &sum).iter().all(|&x| apart(x, 0).abs() < 2.0_f64.powi(-19)));
}

#[test]
fn bytes_of_a_peer_are_refused() {
    let seed = fresh_seed();
    let session = Session::new(convolutions(Profile::Tiny, &seed), 1, &seed);
    let (plan, scheme) = (&session.plan, session.scheme());
    let peer = |error: ProtocolError| assert!(matches!(error, ProtocolError::Peer(_)), "{error:?}");
    let mut rng = seed.fork("bends", &[]).stream();
    // Keys for another rotation, and headers bent.
    let rlwe = scheme.he.rlwe();
    let secret = SecretKey::generate(rlwe, seed.fork("other", &[]));
    let mut exponents = scheme.exponents.clone();
    let last = exponents.last_mut().unwrap();
    *last = 2 * scheme.he.n() - 1;
    let others = GaloisKeys::new(&secret, &exponents, seed.fork("keys", &[])).to_bytes(rlwe);
    let public = &session.setup[..scheme.public_bytes()];
    peer(server_setup(scheme, &[public, &others].concat()).unwrap_err());
    for bytes in [&session.setup[1..], &[], &vec![0xff; session.setup.len()], &vec![0; session.setup.len()]] {
        peer(server_setup(scheme, bytes).unwrap_err());
    }
    // A reply of other limbs, or bent.
    let rho = Rho::new(plan, &seed);
    let layer = &plan.layers()[0];
    let (message, ..) = client_keys(plan, scheme, layer, &session.own, &seed, &rho).unwrap();
    let (reply, _) =
        server_reply(plan, scheme, layer, &session.matrix(layer), &session.theirs, &message, &seed).unwrap();
    let open = |bytes: &[u8]| client_open(plan, scheme, layer, &session.own, ClientLayer, bytes).map(drop);
    for at in 0..12 {
        let mut bent = reply.clone();
        bent[at] ^= 1;
        peer(open(&bent).unwrap_err());
    }
    for _ in 0..20 {
        let mut bent = reply.clone();
        let at = rng.next_u64() as usize % bent.len();
        bent[at] ^= 1 << (rng.next_u32() % 8);
        if let Err(error) = open(&bent) {
            peer(error);
        }
    }
    peer(open(&vec![0xff; reply.len()]).unwrap_err());
}

#[test]
fn what_is_too_much_is_refused_in_one_sentence() {
    let seed = fresh_seed();
    let mut model = convolutions(Profile::Tiny, &seed);
    let plan = plan(&model, 1).unwrap();
    let layer = &plan.layers()[0];
    for (weight, fits) in [(256, true), (-256, true), (257, false), (i32::MIN, false)] {
        model.nodes[layer.node].weights[0] = weight;
        let weights = &model.nodes[layer.node].weights;
        assert_eq!(Matrix::new(&plan, scheme(&plan), layer, weights).is_ok(), fits, "{weight}");
        assert_eq!(scheme(&plan).has_room_for(weights), fits);
    }
    // Fully connected layers with more diagonals than are kept, and with more products than are listed.
    for (outputs, what) in [(4096, "MiB"), (8192, "products")] {
        let mut rng = seed.fork("large", &[]).stream();
        let mut net = Sketch::new(Profile::Tiny, [4096, 1, 1], 24, 10.0, &mut rng);
        let last = net.dense(0, outputs).unwrap();
        let large = net.finish(last).unwrap();
        match self::plan(&large, 1).unwrap_err() {
            ProtocolError::Caller(reason) => {
                assert!(reason.contains("ckks") && reason.contains(what), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }
    // A small manifest whose ciphertexts meet in 2^16 pairs.
    let mut rng = seed.fork("pairs", &[]).stream();
    let mut net = Sketch::new(Profile::Tiny, [256, 64, 64], 24, 10.0, &mut rng);
    let first = net.conv(0, Conv { groups: 256, ..Conv::plain(256, [1, 1]) }).unwrap();
    let relu = net.relu(first).unwrap();
    let last = net.conv(relu, Conv { stride: [64, 64], ..Conv::plain(10, [1, 1]) }).unwrap();
    let error = self::plan(&net.finish(last).unwrap(), 1).unwrap_err();
    assert!(matches!(&error, ProtocolError::Caller(reason) if reason.contains("pairs")), "{error:?}");
}

/// A layer so wide that encodings in doubles would not be right to the last bit of its shares: thousands of slots in parts,
/// as the first fully connected layer of a network for images has them.
#[test]
fn a_wide_fully_connected_layer_is_right_to_its_last_bit() {
    let seed = fresh_seed();
    let mut rng = seed.fork("wide", &[]).stream();
    let profile = Profile::Wide;
    let mut net = Sketch::new(profile, [16, 14, 14], limits(profile).max_width.min(26), 1e6, &mut rng);
    let last = net.dense(0, 100).unwrap();
    let model = small(net.finish(last).unwrap());
    let session = Session::new(model, 2, &seed);
    let own = session.scheme().layer(&session.plan.layers()[0]).unwrap();
    // What doubles would add to the error, of which half a step is left for all there is.
    let he = session.scheme().params();
    let terms = own.distances[0].len() as f64;
    let weight = f64::from(session.scheme().most_weight);
    let [mask, matrix] = [0.5_f64.sqrt(), weight]
        .map(|size| NoiseEstimate::plaintext(he, size, he.limbs(), 100.0_f64.exp2()).error_bound());
    let doubles = terms.sqrt() * (weight * mask + 0.5_f64.sqrt() * matrix);
    let steps = doubles * f64::from(own.fraction_bits).exp2();
    println!("doubles would add {steps:.2} steps");
    assert!(steps > 0.5, "the layer is not wide enough to show it: {steps} steps");
    add_up(session, 2, &seed);
}
