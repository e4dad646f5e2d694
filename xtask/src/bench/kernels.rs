//! Kernels one at a time, on one thread.

use std::hint::black_box;
use std::time::Duration;

use anyhow::Result;
use conv_fast::matmul::SmallMatrix;
use conv_fast::{Algorithm, ConvGeometry, ConvShape, PreparedConv, Products, direct};
use he_core::split::{ClientSecret, Epoch, Hint, masked_reply};
use he_core::{Kernel, Modulus, NttTable, Params, Profile, RnsPoly, Seed, sample};
use rand_core::Rng;
use ss_core::bits;
use ss_core::ot::silent::{SilentParams, SilentReceiver, SilentSender};
use ss_core::ot::{ExtensionParams, ExtensionReceiver, ExtensionSender, ReceiverSetup, SenderSetup};

use super::timing::median;
use super::{KernelFigures, Options, Row};

struct Bench<'a> {
    options: &'a Options,
    rows: Vec<Row>,
}

impl Bench<'_> {
    /// Measures `act` beside `baseline`, both per call, and reports them per `units` units.
    fn row(
        &mut self,
        name: String,
        profile: &str,
        (unit, units): (&'static str, usize),
        act: impl FnMut(),
        baseline: &'static str,
        other: impl FnMut(),
    ) {
        if !self.options.wants(&name) {
            return;
        }
        let budget = Duration::from_millis(if self.options.smoke() { 2 } else { 150 });
        let per = 1e9 / units as f64;
        let (nanoseconds, baseline_nanoseconds) = (median(budget, act) * per, median(budget, other) * per);
        let ratio = nanoseconds / baseline_nanoseconds;
        let figures = KernelFigures { nanoseconds, unit, baseline, baseline_nanoseconds, ratio };
        self.rows.push(Row { name, profile: profile.to_owned(), kernel: Some(figures), ..Row::default() });
    }
}

/// All kernels.
pub(super) fn run(options: &Options) -> Result<Vec<Row>> {
    let mut bench = Bench { options, rows: Vec::new() };
    let seed = Seed::from_os()?;
    for profile in Profile::ALL {
        transforms(&mut bench, profile, &seed)?;
        split(&mut bench, profile, &seed)?;
    }
    products(&mut bench, &seed)?;
    convolutions(&mut bench, &seed)?;
    transfers(&mut bench, &seed)?;
    packing(&mut bench, &seed);
    Ok(bench.rows)
}

fn transforms(bench: &mut Bench<'_>, profile: Profile, seed: &Seed) -> Result<()> {
    let params = Params::new(profile);
    let (n, modulus) = (params.n(), *params.modulus());
    let portable = NttTable::with_kernel(n, modulus, Kernel::Portable)?;
    let mut words = vec![0; n];
    sample::uniform(&mut seed.stream(), &modulus, &mut words);
    let mut other = words.clone();
    for kernel in Kernel::available().into_iter().filter(|kernel| kernel.serves(n, &modulus)) {
        let table = NttTable::with_kernel(n, modulus, kernel)?;
        let name = |what: &str| format!("{what} N={n} {kernel:?}");
        let profile = profile.to_string();
        bench.row(
            name("ntt forward"),
            &profile,
            ("transform", 1),
            || table.forward(black_box(&mut words)),
            "portable",
            || {
                portable.forward(black_box(&mut other));
            },
        );
        bench.row(
            name("ntt inverse"),
            &profile,
            ("transform", 1),
            || table.inverse(black_box(&mut words)),
            "portable",
            || {
                portable.inverse(black_box(&mut other));
            },
        );
    }
    Ok(())
}

fn split(bench: &mut Bench<'_>, profile: Profile, seed: &Seed) -> Result<()> {
    let params = Params::new(profile);
    let portable = params.with_kernel(Kernel::Portable)?;
    let epoch = Epoch::new([1; 32]);
    let mut rng = seed.stream();
    let a = epoch.public_key_a(&params, 0);
    let secret = ClientSecret::generate(&params, &mut rng);
    let key = secret.public_key(&params, &a, &mut rng);
    let weights = RnsPoly::from_signed(&params, &[(0, 5), (7, -3)]).into_ntt(&params);
    let hint = Hint::new(&params, &[(&weights, &a)]);
    let bits = params.modulus().bits().min(24);
    let mut number = 0;
    let mut fresh = || {
        number += 1;
        seed.fork("reply", &[number])
    };
    let mut other_number = 1 << 40;
    let mut other_fresh = || {
        other_number += 1;
        seed.fork("reply", &[other_number])
    };
    let name = profile.to_string();
    bench.row(
        format!("masked reply N={}", params.n()),
        &name,
        ("polynomial", 1),
        || drop(black_box(masked_reply(&params, &hint, &a, &key, bits, fresh()))),
        "portable",
        || drop(black_box(masked_reply(&portable, &hint, &a, &key, bits, other_fresh()))),
    );
    Ok(())
}

fn products(bench: &mut Bench<'_>, seed: &Seed) -> Result<()> {
    let (rows, depth, columns) = (64, 576, 1024);
    let mut rng = seed.fork("products", &[]).stream();
    let weights: Vec<i32> = (0..rows * depth).map(|_| (rng.next_u32() % 8191) as i32 - 4095).collect();
    for profile in [Profile::Narrow, Profile::Wide] {
        let modulus = *Params::new(profile).modulus();
        let mut values = vec![0; depth * columns];
        sample::uniform(&mut rng, &modulus, &mut values);
        let matrix = SmallMatrix::new(rows, depth, &weights, modulus)?;
        let portable = SmallMatrix::with_kernel(rows, depth, &weights, modulus, conv_fast::Kernel::Portable)?;
        bench.row(
            format!("modular product {rows}×{depth}×{columns}"),
            &profile.to_string(),
            ("product", rows * depth * columns),
            || drop(black_box(matrix.multiply(&values, columns))),
            "portable",
            || drop(black_box(portable.multiply(&values, columns))),
        );
    }
    Ok(())
}

fn convolutions(bench: &mut Bench<'_>, seed: &Seed) -> Result<()> {
    let geometry = ConvGeometry::new(ConvShape::same([16, 16], [32, 32], 3))?;
    let modulus: Modulus = *Params::new(Profile::Wide).modulus();
    let mut rng = seed.fork("convolutions", &[]).stream();
    let weights: Vec<i32> =
        (0..geometry.weights_len()).map(|_| (rng.next_u32() % 4095) as i32 - 2047).collect();
    let slow: Vec<i64> = weights.iter().map(|&w| i64::from(w)).collect();
    let mut input = vec![0; geometry.input_len()];
    sample::uniform(&mut rng, &modulus, &mut input);
    for algorithm in
        [Algorithm::Im2col, Algorithm::Winograd { tile: [4, 4], products: Products::Words }, Algorithm::Ntt]
    {
        let layer = PreparedConv::new(geometry.clone(), modulus, &weights, algorithm)?;
        bench.row(
            format!("convolution 3×3 16→16 32×32 {algorithm}"),
            "wide",
            ("product", geometry.macs() as usize),
            || drop(black_box(layer.run(&input, 1))),
            "direct",
            || drop(black_box(direct(&geometry, modulus, &slow, &input))),
        );
    }
    Ok(())
}

fn transfers(bench: &mut Bench<'_>, seed: &Seed) -> Result<()> {
    const COUNT: usize = 1 << 16;
    let pair = |field_bits: u32, label: &'static str| -> Result<(ExtensionSender, ExtensionReceiver)> {
        let (params, session) = (ExtensionParams::new(field_bits)?, [7; 32]);
        let mut rng = seed.fork(label, &[u64::from(field_bits)]).stream();
        let (message, receiver) = ReceiverSetup::begin(&session, params, &mut rng);
        let (message, sender) = SenderSetup::begin(&session, params, &mut rng, &message)?;
        let (message, receiver) = receiver.finish(&mut rng, &message)?;
        Ok((sender.finish(&message)?, receiver))
    };
    for field_bits in [2, 4, 8] {
        let ((mut sender, mut receiver), (mut slow_sender, mut slow_receiver)) =
            (pair(field_bits, "transfers")?, pair(1, "twin")?);
        let both = |sender: &mut ExtensionSender, receiver: &mut ExtensionReceiver| {
            if let Ok((message, received)) = receiver.extend_random(COUNT) {
                drop(black_box((received, sender.extend_random(COUNT, &message))));
            }
        };
        let other = both;
        bench.row(
            format!("transfer extension f={field_bits}, both parties"),
            "-",
            ("transfer", COUNT),
            || both(&mut sender, &mut receiver),
            "f=1 (IKNP)",
            || other(&mut slow_sender, &mut slow_receiver),
        );
    }
    let ((sender, receiver), (mut slow_sender, mut slow_receiver)) = (pair(8, "seeding")?, pair(1, "twin")?);
    let params = SilentParams::for_demand(100 * COUNT);
    let mut sender = SilentSender::new(&[8; 32], sender, params);
    let mut receiver = SilentReceiver::new(&[8; 32], receiver, params);
    bench.row(
        "silent extension with its supplies, both parties".into(),
        "-",
        ("transfer", COUNT),
        || {
            let supplied = receiver.available() >= COUNT || {
                let request = receiver.refill_begin();
                let answer = request.and_then(|request| sender.refill(&request));
                answer.and_then(|answer| receiver.refill_finish(&answer)).is_ok()
            };
            if supplied {
                drop(black_box((receiver.take_random(COUNT), sender.take(COUNT))));
            }
        },
        "f=1 (IKNP)",
        || {
            if let Ok((message, received)) = slow_receiver.extend_random(COUNT) {
                drop(black_box((received, slow_sender.extend_random(COUNT, &message))));
            }
        },
    );
    Ok(())
}

fn packing(bench: &mut Bench<'_>, seed: &Seed) {
    let mut rng = seed.fork("packing", &[]).stream();
    let values: Vec<u64> = (0..1 << 14).map(|_| rng.next_u64() & ((1 << 46) - 1)).collect();
    let packed = bits::pack(&values, 46);
    bench.row(
        "pack 46-bit words".into(),
        "-",
        ("word", values.len()),
        || drop(black_box(bits::pack(black_box(&values), 46))),
        "unpack",
        || drop(black_box(bits::unpack(black_box(&packed), values.len(), 46))),
    );
}
