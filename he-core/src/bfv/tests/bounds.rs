//! Measured noise is below the predicted bound, and not far below.

use super::*;
use crate::rlwe::PublicKey;

/// The bound is for 2^-64 and N coefficients, about ten deviations; the largest of N is at about four.
const SLACK: f64 = 3.0;

/// Asserts that the noise of a ciphertext is within its bound, less at most `slack` bits.
fn within(world: &World, what: &str, x: &Ciphertext, bound: &NoiseBound, slack: f64) {
    let (measured, predicted) = (world.params.noise_bits(&world.secret, x), bound.log2_bound());
    println!("{what}: {measured:.2} bits measured, {predicted:.2} bound");
    assert!(measured <= predicted, "{what}: {measured} bits of noise above the bound of {predicted}");
    assert!(
        measured > predicted - slack,
        "{what}: {measured} bits of noise far below the bound of {predicted}"
    );
    assert_eq!(bound.limbs(), x.limbs());
    let budget = world.params.noise_budget(&world.secret, x);
    assert!(budget >= bound.budget() && (budget - bound.budget() - (predicted - measured)).abs() < 1e-6);
}

#[test]
fn every_operation_of_a_real_ring() {
    for (bits, special, t) in [(&[35, 35][..], &[36][..], 786_433), (&[34, 34], &[38], 1 << 8)] {
        let ring = RlweParams::new(&RlweLiteral::from_bits(4096, bits, special).unwrap()).unwrap();
        let world = World::new(&ring, t);
        let params = world.params.clone();
        let public = PublicKey::new(&world.secret, world.seed());
        let words = world.words();
        let plain = world.plain(&words);
        let x = world.encrypt(&words);
        let fresh = NoiseBound::secret_key(&params);
        within(&world, "secret key", &x, &fresh, SLACK);
        let y = params.encrypt_public(&public, &plain, world.seed());
        let public_fresh = NoiseBound::public_key(&params);
        within(&world, "public key", &y, &public_fresh, SLACK);
        let mut z = x.duplicate();
        z.add(&y);
        within(&world, "independent sum", &z, &fresh.add_independent(&public_fresh), SLACK);
        let mut z = y.duplicate();
        z.add(&y);
        within(&world, "sum with itself", &z, &public_fresh.add(&public_fresh), SLACK);
        let mut z = x.duplicate();
        z.add_plain(&params, &plain);
        within(&world, "plain sum", &z, &fresh.add_plain(), SLACK);
        let mut z = y.duplicate();
        z.multiply_plain(&params, &plain.prepare(&params, 2));
        let times_plain = public_fresh.multiply_plain(plain.norm());
        within(&world, "plain product", &z, &times_plain, SLACK);
        let mut z = y.duplicate();
        z.multiply_scalar(&params, -1234);
        within(&world, "scalar product", &z, &public_fresh.multiply_scalar(-1234), SLACK);
        let keys = params.galois_keys(&world.secret, &[Turn::Rotate(3)], world.seed());
        let z = params.turn(&x, Turn::Rotate(3), &keys).unwrap();
        within(&world, "rotation", &z, &fresh.key_switch(), SLACK);
        if times_plain.switch_modulus(1).decrypts() {
            let z = params.switch_modulus(z, 1);
            within(&world, "one limb", &z, &fresh.key_switch().switch_modulus(1), SLACK);
        }
        let mut z = x.duplicate();
        params.rerandomise(&mut z, &public, None, world.seed()).unwrap();
        within(&world, "re-randomised", &z, &fresh.rerandomise(None), SLACK);
        params.rerandomise(&mut z, &public, Some(30.0), world.seed()).unwrap();
        within(&world, "flooded", &z, &fresh.rerandomise(None).rerandomise(Some(30.0)), SLACK);
        let z = params.multiply(&x, &y).unwrap();
        let product = fresh.multiply_independent(&public_fresh);
        within(&world, "product", &z, &product, SLACK);
        within(&world, "product of any two", &z, &fresh.multiply(&public_fresh), SLACK + 0.5);
        let low = product.switch_modulus(1);
        if low.decrypts() {
            within(&world, "product of one limb", &params.switch_modulus(z.duplicate(), 1), &low, SLACK);
        }
        let z = params.relinearise(z, &world.relin);
        within(&world, "relinearised", &z, &product.key_switch(), SLACK);
        let packing = params.packing_keys(&world.secret, world.seed());
        let lwe = params.extract(&x, &[7, 4095, 0]).unwrap();
        let packed = params.pack(&lwe, &packing).unwrap();
        // Doubled at every step is the noise at the places that count, here four; the largest of so few is smaller.
        within(&world, "packed", &packed, &fresh.pack(), SLACK + 3.0);
    }
}

#[test]
fn squares_of_squares() {
    let ring = rlwe(2048, &[45; 5], &[46]);
    let world = World::new(&ring, 65537);
    let params = world.params.clone();
    let public = PublicKey::new(&world.secret, world.seed());
    let words = world.words();
    let mut x = params.encrypt_public(&public, &world.plain(&words), world.seed());
    let mut bound = NoiseBound::public_key(&params);
    for depth in 1..=4 {
        x = params.relinearise(params.square(&x).unwrap(), &world.relin);
        bound = bound.multiply(&bound).key_switch();
        assert!(bound.decrypts());
        // The factors are dependent, but their lifts are not the same at two levels: up to a bit or so is left each time.
        within(&world, &format!("depth {depth}"), &x, &bound, SLACK + 1.2 * f64::from(depth));
    }
}

#[test]
fn trees_of_independent_products() {
    let world = World::new(&rlwe(2048, &[45; 4], &[46]), 65537);
    let params = world.params.clone();
    let mut layer: Vec<_> = (0..8).map(|_| world.encrypt(&world.words())).collect();
    let mut bound = NoiseBound::secret_key(&params);
    for depth in 1..=3 {
        let join = |pair: &[Ciphertext]| {
            params.relinearise(params.multiply(&pair[0], &pair[1]).unwrap(), &world.relin)
        };
        layer = layer.chunks(2).map(join).collect();
        bound = bound.multiply_independent(&bound).key_switch();
        for x in &layer {
            // Deviations are added where noise is independent: half a bit each time.
            within(&world, &format!("depth {depth}"), x, &bound, SLACK + f64::from(depth) / 2.0);
        }
    }
}

/// How far measured noise of x^2 to x^8, each the one before times x, is above two bounds, in bits: the largest excess over
/// the bound for any factors, and what x^8 has over the one for independent factors.
fn power_chain(world: &World, words: &[u64]) -> (f64, f64) {
    let params = world.params.clone();
    let x = world.encrypt(words);
    let fresh = NoiseBound::secret_key(&params);
    let (mut power, mut any, mut independent) = (x.duplicate(), fresh.clone(), fresh.clone());
    let (mut worst, mut last) = (f64::NEG_INFINITY, 0.0);
    for _ in 2..=8 {
        power = params.relinearise(params.multiply(&power, &x).unwrap(), &world.relin);
        any = any.multiply(&fresh).key_switch();
        independent = independent.multiply_independent(&fresh).key_switch();
        assert!(any.decrypts(), "{any:?}");
        let measured = params.noise_bits(&world.secret, &power);
        worst = f64::max(worst, measured - any.log2_bound());
        last = measured - independent.log2_bound();
    }
    (worst, last)
}

#[test]
fn powers_of_one_ciphertext() {
    for (n, t) in [(64, 2), (64, 257), (256, 2), (256, 65537), (1024, 1 << 10)] {
        let ring = rlwe(n, &[50; 7], &[50, 50]);
        let mut most = f64::NEG_INFINITY;
        for trial in 0..16 {
            let world = World::new(&ring, t);
            let words = if trial % 2 == 0 { world.words() } else { vec![0, 1] };
            let (worst, last) = power_chain(&world, &words);
            println!(
                "n {n} t {t}: {worst:.2} over the bound, {last:.2} over the one for independent factors"
            );
            assert!(worst <= 0.0, "n {n} t {t}: {worst} bits above the bound");
            most = most.max(last);
        }
        // The tighter bound is not for these factors: more than half of the keys show it at this degree.
        assert!(n < 1024 || most > 0.0, "n {n} t {t}: {most}");
    }
}

#[test]
fn failure_probabilities() {
    let params = Params::preset(4096).unwrap();
    let fresh = NoiseBound::secret_key(&params);
    assert!(fresh.decrypts() && fresh.log2_failure() < -1e6 && fresh.budget() > 40.0);
    // The bound and the probability say the same: just where the budget is used up, failure is 2^-64.
    let mut noise = fresh;
    while noise.budget() > 0.5 {
        noise = noise.add(&noise);
    }
    let last = noise.multiply_plain(noise.budget().exp2());
    assert!(
        last.budget().abs() < 1e-9 && (last.log2_failure() + 64.0).abs() < 1e-6,
        "{}",
        last.log2_failure()
    );
    assert!(!last.multiply_plain(1.01).decrypts());
    assert!((last.multiply_plain(1e9).log2_failure()).abs() < 1e-9);
    assert_eq!(last.switch_modulus(2), last);
}
