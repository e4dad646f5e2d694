//! Levels, scales and noise: what a computation uses up, how to foretell it, and what to do when scales disagree.
//!
//! Run: `cargo run --release --package he-core --example 3_levels_and_noise`

use he_core::ckks::{Complex, NoiseEstimate, Params, Polynomial, PolynomialPlan, PrecisionReport};
use he_core::rlwe::{RelinKey, SecretKey};
use he_core::{HeError, Seed};

fn main() -> Result<(), HeError> {
    let params = Params::preset(16384)?;
    let secret = SecretKey::generate(params.rlwe(), Seed::from_os()?);
    let relin = RelinKey::new(&secret, Seed::from_os()?);
    let x: Vec<f64> = (0..params.slots()).map(|i| 2.0 * i as f64 / params.slots() as f64 - 1.0).collect();
    let encrypt = |values: &[f64]| -> Result<_, HeError> {
        Ok(params.encrypt(&secret, &params.encode(values)?, Seed::from_os()?).expand(&params))
    };
    let report = |ciphertext: &_, f: &dyn Fn(f64) -> f64| -> Result<_, HeError> {
        let expected: Vec<Complex> = x.iter().map(|&x| Complex::from(f(x))).collect();
        PrecisionReport::new(&expected, &params.decode(&params.decrypt(&secret, ciphertext)))
    };

    // 1. Every product and rescaling uses up a prime; the estimate knows the precision beforehand, without any key.
    println!("1. x^(2^k) by squaring");
    let mut power = encrypt(&x)?;
    let mut noise = NoiseEstimate::secret_key(&params, 1.0, params.limbs(), params.scale());
    let mut exponent = 1;
    loop {
        let measured = report(&power, &|x| x.powi(exponent))?;
        println!(
            "   x^{exponent:<3} {} limbs, scale 2^{:.6}: foretold {:.1} bits, measured at least {:.1}",
            power.limbs(),
            power.scale().log2(),
            noise.precision(),
            -measured.worst_error.log2()
        );
        assert!(measured.worst_error <= noise.error_bound(), "an error above its bound");
        if power.depth() == 0 {
            break;
        }
        power = params.multiply_rescale(&power, &power, &relin)?;
        noise = noise.product(&noise).key_switched().rescaled();
        exponent *= 2;
    }

    // 2. Two ways to the same level have slightly different scales. Adding them is refused; aligning them is not.
    let fresh = encrypt(&x)?;
    let mut square = params.multiply_rescale(&fresh, &fresh, &relin)?;
    let mut same_level = fresh.duplicate();
    same_level.multiply_constant(&params, 1.0, 1.001 * params.scale())?;
    params.rescale(&mut same_level)?;
    match same_level.add(&square) {
        Err(error) => println!("2. refused: {error}"),
        Ok(()) => unreachable!("scales a thousandth apart are not equal"),
    }
    params.align(&mut same_level, &mut square)?;
    same_level.add(&square)?;
    println!("   aligned at {} limbs, x + x^2: {}", square.limbs(), report(&same_level, &|x| x + x * x)?);

    // 3. A function is a polynomial, and a polynomial of degree d takes ceil(log2(d + 1)) levels, however it is written.
    for degree in [3, 7, 15, 31] {
        let polynomial = Polynomial::interpolate(|x| (3.0 * x).tanh(), degree, -1.0, 1.0)?;
        let plan = PolynomialPlan::new(polynomial);
        let answer = params.evaluate_polynomial(&fresh, &plan, &relin)?;
        let approximation =
            x.iter().map(|&x| (plan.polynomial().value(x) - (3.0 * x).tanh()).abs()).fold(0.0, f64::max);
        println!(
            "3. tanh(3x) of degree {degree}: {} products, {} levels, {:.1} bits of the function, {:.1} of the polynomial",
            plan.products(),
            plan.polynomial().depth(),
            -approximation.log2(),
            -report(&answer, &|x| plan.polynomial().value(x))?.worst_error.log2()
        );
        assert!(report(&answer, &|x| (3.0 * x).tanh())?.worst_error < approximation + 1e-5);
    }
    Ok(())
}
