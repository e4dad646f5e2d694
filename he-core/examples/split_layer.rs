//! One private linear layer, from the first label to the checked result.
//!
//! A client holds two channels of an image, a server one 3x3 kernel per channel. The client learns the sum of the two
//! convolutions and nothing else about the kernels; the server learns nothing about the image. Both parties are played
//! here by one function, in the order in which things happen; what would cross the network goes through bytes.
//!
//! Run: `cargo run --release --example split_layer --package he-core`, with `-- exact` behind it for that profile

use he_core::split::{ClientSecret, Epoch, Hint, PublicKey, Reply, masked_reply};
use he_core::{Coeff, HeError, Params, Profile, RnsPoly, Seed, noise::SplitNoise};

const CHANNELS: usize = 2;
const SIDE: usize = 40;
/// Bits per coefficient of the preprocessing reply, and of the ring that the shares are switched to.
const REPLY_BITS: u32 = 26;
const RING_BITS: u32 = 20;

fn main() -> Result<(), HeError> {
    // 1. Both parties agree on parameters and on a public label. `Params` exists only if it is below the security cap.
    let exact = std::env::args().any(|argument| argument == "exact");
    let profile = if exact { Profile::Exact } else { Profile::Wide };
    let params = Params::new(profile);
    let epoch = Epoch::new(*b"a fresh public label of 32 bytes");
    println!(
        "1. {profile}: N = {}, q = {} in {} limb(s), {} kernel, {:.1} bits of security",
        params.n(),
        params.q(),
        params.limbs(),
        format!("{:?}", params.table().kernel()).to_lowercase(),
        params.security_bits()
    );

    // 2. The server encodes its kernels: tap (i, j), reversed, at coefficient (2 - i) * SIDE + (2 - j). With the image laid
    //    out row by row, the product's coefficient (y + 2) * SIDE + (x + 2) is the convolution at (y, x).
    let taps: Vec<Vec<(usize, i64)>> = (0..CHANNELS)
        .map(|c| (0..9).map(|k| (k / 3 * SIDE + k % 3, ((c * 9 + k) as i64 * 977) % 4001 - 2000)).collect())
        .collect();
    let weights: Vec<_> = taps.iter().map(|t| RnsPoly::from_signed(&params, t).into_ntt(&params)).collect();

    // 3. Once per model: the hint, the weights applied to public randomness. It serves every client and every image.
    let layer = 0;
    let publics: Vec<_> = (0..CHANNELS as u32).map(|j| epoch.public_a(&params, layer, j)).collect();
    let pk_a = epoch.public_key_a(&params, layer);
    let hint = Hint::new(&params, &weights.iter().zip(&publics).collect::<Vec<_>>());
    println!("3. the hint of one output polynomial is {} words", params.limbs() * params.n());

    // 4. Once per bundle: the client draws a secret and masks, and sends its public key.
    let mut rng = Seed::from_os()?.stream();
    let secret = ClientSecret::generate(&params, &mut rng);
    let key_bytes = secret.public_key(&params, &pk_a, &mut rng).to_bytes();
    let masks: Vec<_> = publics.iter().map(|a| secret.mask(&params, a, &mut rng)).collect();
    println!("4. client -> server: a key of {} bytes", key_bytes.len());

    // 5. The server answers with one reply per output polynomial, from a seed that is used up, and keeps its mask.
    let key = PublicKey::from_bytes(&params, &key_bytes)?;
    let server_seed = Seed::from_os()?;
    let (reply, mut mask) =
        masked_reply(&params, &hint, &pk_a, &key, REPLY_BITS, server_seed.fork("reply", &[0, 0]))?;
    //    Noise of the server's own, a quarter unit of the ring that the result lands in, hides what the client knows
    //    of the noise, in proportion: 2^46 times more of it in `exact` than in `wide`.
    let unit = params.q() as f64 / f64::from(RING_BITS).exp2();
    mask.add_dither(&params, (unit / 4.0).log2(), &mut server_seed.fork("dither", &[0, 0]).stream())?;
    let reply_bytes = reply.to_bytes();
    println!("5. server -> client: a reply of {} bytes", reply_bytes.len());

    // 6. The client opens the reply: its additive share, known before there is any input.
    let reply = Reply::from_bytes(&params, REPLY_BITS, &reply_bytes)?;
    let client_share = secret.open(&params, &reply);

    // 7. Online. The client has an image and sends x - r, which the server cannot tell from random.
    let pixels = |c: usize| -> Vec<(usize, i64)> {
        (0..SIDE * SIDE).map(|p| (p, ((p * (c + 3) * 7919) % 60_000) as i64 - 30_000)).collect()
    };
    let inputs: Vec<_> = (0..CHANNELS).map(|c| RnsPoly::from_signed(&params, &pixels(c))).collect();
    let mut expected = vec![0_i128; params.n()];
    for (c, taps) in taps.iter().enumerate() {
        for (&(at, tap), (place, pixel)) in
            taps.iter().flat_map(|t| pixels(c).into_iter().map(move |p| (t, p)))
        {
            // No product reaches X^N here: SIDE rows and the kernel fit.
            expected[at + place] += i128::from(tap) * i128::from(pixel);
        }
    }
    let masked: Vec<_> = inputs
        .into_iter()
        .zip(&masks)
        .map(|(mut x, r)| {
            x -= r;
            x
        })
        .collect();
    println!("7. client -> server: {} masked values", CHANNELS * SIDE * SIDE);

    // 8. The server convolves in the clear, modulo q, and adds its mask: its share. Nothing is sent.
    let mut server_share = mask.into_poly();
    for (w, x) in weights.iter().zip(masked) {
        server_share += &w.mul(&params, &x.into_ntt(&params)).into_coeff(&params);
    }

    // 9. The two shares add up to the convolution plus a small noise, at every coefficient.
    let noise = SplitNoise::new(&params, REPLY_BITS);
    let mut sum = copy(&params, &server_share)?;
    sum += &client_share;
    let worst = (0..params.n())
        .map(|i| sum.limbs().iter().map(|limb| limb.coefficients()[i]).collect::<Vec<_>>())
        .zip(&expected)
        .map(|(residues, &y)| (params.center(&residues) - y).unsigned_abs())
        .max()
        .unwrap_or(0);
    let norm = taps.iter().flatten().map(|&(_, w)| (w * w) as f64).sum::<f64>().sqrt();
    let dither_bound = 12.0_f64.sqrt() * unit / 4.0;
    let bound = noise.small_bound() + noise.rounding_bound() + noise.input_bound(norm) + dither_bound;
    println!("9. largest noise {worst}, bound {bound:.0}, modulus {}", params.q());
    assert!((worst as f64) < bound, "the shares do not add up to the convolution");

    // 10. Both switch to a ring of few bits, each alone: a truncation that needs no message.
    let down = |poly: &RnsPoly<Coeff>| {
        params.down(&poly.limbs().iter().map(|limb| limb.coefficients()).collect::<Vec<_>>(), RING_BITS)
    };
    let ring = f64::from(RING_BITS).exp2();
    let worst = down(&server_share)
        .iter()
        .zip(down(&client_share))
        .zip(&expected)
        .map(|((&server, client), &y)| {
            let off = (server as f64 + client as f64 - y as f64 / unit).rem_euclid(ring);
            off.min(ring - off)
        })
        .fold(0.0, f64::max);
    println!("10. in the ring of {RING_BITS} bits the largest error is {worst:.2} units");
    assert!(worst < bound / unit + 1.0, "the switched shares are too far off");
    Ok(())
}

/// A polynomial has no `Clone`; this one is public here, where one function plays both parties.
fn copy(params: &Params, poly: &RnsPoly<Coeff>) -> Result<RnsPoly<Coeff>, HeError> {
    RnsPoly::from_residues(params, poly.limbs().iter().map(|limb| limb.coefficients().to_vec()).collect())
}
