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
        let product = fresh.multiply(&public_fresh);
        within(&world, "product", &z, &product, SLACK);
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
        // The power of the secret makes tails heavier by a bit or so per level.
        within(&world, &format!("depth {depth}"), &x, &bound, SLACK + f64::from(depth) / 2.0);
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
