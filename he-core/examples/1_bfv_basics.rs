//! BFV in seven steps: exact arithmetic on encrypted vectors of integers.
//!
//! A client encrypts two vectors; a server that holds only public keys adds them, multiplies them, turns them, and sums
//! all slots of a scalar product; the client decrypts. At each step the noise that was foretold without keys stands
//! beside the noise that the secret key measures: the difference is what the bound keeps in hand.
//!
//! Run: `cargo run --release --example 1_bfv_basics --package he-core`

use he_core::bfv::{BatchEncoder, Ciphertext, NoiseBound, Params, Plaintext, Turn};
use he_core::rlwe::{PublicKey, RelinKey, SecretKey};
use he_core::{HeError, Seed};

fn main() -> Result<(), HeError> {
    // 1. Parameters: N = 8192, four ciphertext primes and a special one, and a plaintext prime of 20 bits that batches.
    let params = Params::preset(8192)?;
    let encoder = BatchEncoder::new(&params)?;
    let t = params.t();
    println!(
        "1. N = {}, t = {t}, log2 q = {:.0}, {} slots",
        params.n(),
        params.rlwe().log2_q(params.limbs()),
        encoder.slots()
    );

    // 2. Keys. Seeds are used up, so that no randomness serves twice. The rotations by powers of two sum all columns.
    let secret = SecretKey::generate(params.rlwe(), Seed::from_os()?);
    let public = PublicKey::new(&secret, Seed::from_os()?);
    let relin = RelinKey::new(&secret, Seed::from_os()?);
    let turns: Vec<Turn> =
        (0..encoder.columns().ilog2()).map(|k| Turn::Rotate(1 << k)).chain([Turn::SwapRows]).collect();
    let galois = params.galois_keys(&secret, &turns, Seed::from_os()?);
    println!("2. a secret key, a public key, a relinearisation key and {} Galois keys", turns.len());

    // 3. Encryption: under the secret key half of the ciphertext is a seed; under the public key anybody can do it.
    let x: Vec<u64> = (0..encoder.slots() as u64).map(|i| i % 1000).collect();
    let y: Vec<u64> = (0..encoder.slots() as u64).map(|i| (i * i) % 997).collect();
    let ex = params.encrypt(&secret, &encoder.encode(&x)?, Seed::from_os()?).expand(&params);
    let ey = params.encrypt_public(&public, &encoder.encode(&y)?, Seed::from_os()?);
    let (nx, ny) = (NoiseBound::secret_key(&params), NoiseBound::public_key(&params));
    let report = |what: &str, ciphertext: &Ciphertext, bound: &NoiseBound| {
        println!(
            "{what}: {:.1} bits of noise budget left, {:.1} foretold, {} limbs",
            params.noise_budget(&secret, ciphertext),
            bound.budget(),
            ciphertext.limbs()
        );
    };
    report("3. x", &ex, &nx);
    report("   y", &ey, &ny);
    let slots = |ciphertext: &Ciphertext| encoder.decode(&params.decrypt(&secret, ciphertext));

    // 4. A sum of ciphertexts and a sum with a plaintext.
    let mut sum = ex.duplicate();
    sum.add(&ey);
    sum.add_plain(&params, &encoder.encode(&vec![7; encoder.slots()])?);
    report("4. x + y + 7", &sum, &nx.add_independent(&ny).add_plain());
    assert!(slots(&sum).iter().zip(x.iter().zip(&y)).all(|(sum, (x, y))| *sum == (x + y + 7) % t));

    // 5. A product, slot by slot, brought back to two parts.
    let product = params.relinearise(params.multiply(&ex, &ey)?, &relin);
    let bound = nx.multiply(&ny).key_switch();
    report("5. x y", &product, &bound);
    assert!(slots(&product).iter().zip(x.iter().zip(&y)).all(|(product, (x, y))| *product == x * y % t));

    // 6. Down two levels: less noise budget to lose, and everything after it is cheaper. Then the sum of all slots.
    let mut total = params.switch_modulus(product, 2);
    let mut bound = bound.switch_modulus(2);
    report("6. at two limbs", &total, &bound);
    for &turn in &turns {
        let moved = params.turn(&total, turn, &galois)?;
        total.add(&moved);
        bound = bound.add(&bound.key_switch());
    }
    let expected = x.iter().zip(&y).fold(0, |sum, (x, y)| (sum + x * y) % t);
    report("   <x, y>", &total, &bound);
    assert!(slots(&total).iter().all(|&slot| slot == expected));

    // 7. Without batching any plaintext modulus serves, a power of two for instance: coefficients multiply as polynomials.
    let words = Params::new(params.rlwe(), 1 << 32)?;
    let f = Plaintext::from_signed(&words, &[1, 1])?;
    let g = Plaintext::from_signed(&words, &[-1, 1])?;
    let mut product = words.encrypt(&secret, &f, Seed::from_os()?).expand(&words);
    product.multiply_plain(&words, &g.prepare(&words, product.limbs()));
    let product = words.decrypt(&secret, &product).signed();
    println!("7. (X + 1)(X - 1) modulo 2^32 has the coefficients {:?}", &product[..3]);
    assert_eq!(product[..4], [-1, 0, 1, 0]);
    Ok(())
}
