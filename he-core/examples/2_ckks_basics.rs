//! CKKS in one sitting: encrypt real numbers, compute on them, rotate them, look at the precision, publish the answer.
//!
//! The owner of a key has a vector of temperatures and a vector of weights. Somebody else computes, without seeing either, the
//! weighted squares, their sum, and a moving average. Both are played here by one function, in the order in which
//! things happen.
//!
//! Run: `cargo run --release --package he-core --example 2_ckks_basics`

use he_core::ckks::{Complex, Flooding, NoiseEstimate, Params, PrecisionReport, sum::sum_rotations};
use he_core::rlwe::{PublicKey, RelinKey, SecretKey};
use he_core::{HeError, Seed};

fn main() -> Result<(), HeError> {
    // 1. Parameters: N/2 slots, a scale of 2^40, room for six products in a row.
    let params = Params::preset(16384)?;
    println!("1. {} slots, scale 2^{}, depth {}", params.slots(), params.scale().log2(), params.depth());

    // 2. Keys. The secret key stays; the others go to whoever computes. Each comes from a seed that is used up.
    let secret = SecretKey::generate(params.rlwe(), Seed::from_os()?);
    let public = PublicKey::new(&secret, Seed::from_os()?);
    let relin = RelinKey::new(&secret, Seed::from_os()?);
    let mut steps = sum_rotations(params.slots(), 1);
    steps.push(-1);
    let rotations = params.galois_keys(&secret, &steps, false, Seed::from_os()?);
    println!("2. keys for {} rotations", rotations.keys().len());

    // 3. Encryption: values are rounded to multiples of 1/scale, and the ciphertext adds a little noise.
    let temperatures: Vec<f64> = (0..params.slots()).map(|i| (i as f64 / 300.0).sin()).collect();
    let weights: Vec<f64> = (0..params.slots()).map(|i| 1.0 / (1.0 + i as f64)).collect();
    let x = params.encrypt(&secret, &params.encode(&temperatures)?, Seed::from_os()?);
    println!("3. the owner sends one polynomial and a seed, {} limbs of {} words", x.limbs(), params.n());
    let x = x.expand(&params);
    // Anybody can encrypt with the public key.
    let w = params.encrypt_public(&public, &params.encode(&weights)?, Seed::from_os()?);

    // 4. w x^2: two products. Each multiplies the scales, and rescaling brings the scale back and uses up a prime.
    let square = params.multiply_rescale(&x, &x, &relin)?;
    let mut w_low = w;
    params.drop_to(&mut w_low, square.limbs())?;
    let weighted = params.multiply_rescale(&square, &w_low, &relin)?;
    println!("4. w x^2 has scale 2^{:.6} and {} limbs left", weighted.scale().log2(), weighted.limbs());

    // 5. The sum of all slots, in every slot, by doubling.
    let total = params.sum_slots(&weighted, params.slots(), 1, &rotations)?;

    // 6. A moving average of three: two rotations that share their expensive half, and a public factor.
    let turned = params.rotate_many(&x, &[1, -1], &rotations)?;
    let mut average = x.duplicate();
    for neighbour in &turned {
        average.add(neighbour)?;
    }
    average.multiply_constant(&params, 1.0 / 3.0, params.last_prime(average.limbs()))?;
    params.rescale(&mut average)?;

    // 7. Back at the owner: decrypt, decode, and see how precise it is.
    let expected: Vec<f64> = temperatures.iter().zip(&weights).map(|(x, w)| w * x * x).collect();
    let sum: f64 = expected.iter().sum();
    let n = params.slots();
    let averages: Vec<Complex> = (0..n)
        .map(|i| (temperatures[(i + n - 1) % n] + temperatures[i] + temperatures[(i + 1) % n]) / 3.0)
        .map(Complex::from)
        .collect();
    for (what, ciphertext, expected) in [
        ("the weighted squares", &weighted, expected.into_iter().map(Complex::from).collect()),
        ("their sum", &total, vec![Complex::from(sum); n]),
        ("the moving average", &average, averages),
    ] {
        let found = params.decode(&params.decrypt(&secret, ciphertext));
        let report = PrecisionReport::new(&expected, &found)?;
        println!("7. {what}: {report}");
        assert!(report.worst_error < 1e-4, "{what}: an error of {}", report.worst_error);
    }

    // 8. Such raw values must not be published: their noise is a clue to the key. A flooded and rounded decoding may be.
    //    It wants a bound on the noise that follows from the computation alone, and many more bits than it shows: here the
    //    product is opened at the scale 2^80 of its factors, before any rescaling.
    let square = params.relinearise(params.square(&x)?, &relin);
    let fresh = NoiseEstimate::secret_key(&params, 1.0, params.limbs(), params.scale());
    let noise = fresh.product(&fresh).key_switched();
    let flooding = Flooding { statistical_bits: 20, decryptions: 1 };
    let bits = flooding.possible_bits(&params, &noise)?.floor() as u32;
    let decrypted = params.decrypt(&secret, &square);
    let published = params.decode_safe(&decrypted, &noise, &flooding, bits, Seed::from_os()?)?;
    println!("8. published to {bits} bits: {} for {}", published[500].re, temperatures[500].powi(2));
    assert!((published[500].re - temperatures[500].powi(2)).abs() <= f64::from(bits).exp2().recip());
    Ok(())
}
