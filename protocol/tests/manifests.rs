//! What a peer merely announces: lengths of four gigabytes, manifests that break a rule, and manifests that keep every
//! rule and describe networks that no machine holds. Each is refused at once, and nothing is allocated for it: the
//! process's peak of virtual memory is watched, and shown to see an allocation of that size.

#![expect(clippy::unwrap_used, reason = "a failing step fails the test")]

mod common;
#[allow(dead_code, reason = "each test file uses a part of it")]
#[path = "common/script.rs"]
mod script;

use std::time::{Duration, Instant};

use common::{fresh_seed, inputs, model};
use conv_fast::{ConvGeometry, ConvShape};
use he_core::{Profile, Seed};
use nn_merge::model::{Manifest, PoolGeometry, PoolShape};
use protocol::{OutputMode, PeerFault, Plan, Policy, ProtocolError, Server};
use script::{End, IMAGES, PATIENCE, Recording, Script, connect, welcome};

fn server(seed: &Seed) -> Server {
    Server::new(model(Profile::Tiny, seed), Policy::default(), seed.fork("server", &[])).unwrap()
}

/// Peak of the process's virtual memory in bytes; lazily mapped pages count, so an allocation is seen even if unused.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// What `act` added to the peak. (A peak never falls: what was reached before hides what comes after.)
fn growth(act: impl FnOnce()) -> u64 {
    let before = peak().unwrap_or(0);
    act();
    peak().unwrap_or(0) - before
}

/// Far above what an honest session of the test network takes, far below any bomb.
const MEMORY_CAP: u64 = 1 << 30;

#[test]
fn what_is_merely_announced_is_never_allocated() {
    let seed = Seed::from_bytes(fresh_seed("model"));
    let server = server(&seed);
    let recording = Recording::new(&server, fresh_seed("session"), &inputs(server.model(), IMAGES, &seed));
    let bomb = |frames: &[Vec<u8>], at: usize| {
        let mut bytes = frames[..at].concat();
        bytes.extend_from_slice(&frames[at][..8]);
        bytes.extend(u32::MAX.to_le_bytes());
        Script::new(bytes, End::Silence)
    };
    let bombs = growth(|| {
        for at in 0..recording.server.len() {
            let result = recording.client_meets(bomb(&recording.server, at), PATIENCE);
            assert!(matches!(result, Err(ProtocolError::Peer(PeerFault::Length { .. }))), "{at}: {result:?}");
        }
        for at in 0..recording.client.len() {
            let result = recording.server_meets(&server, bomb(&recording.client, at), PATIENCE);
            assert!(matches!(result, Err(ProtocolError::Peer(PeerFault::Length { .. }))), "{at}: {result:?}");
        }
    });
    let monsters = growth(|| {
        for (what, manifest) in monsters(&server) {
            let manifest = Manifest::decode(&manifest.encode().unwrap())
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            let start = Instant::now();
            match Plan::new(&manifest, 1, OutputMode::Label) {
                Err(ProtocolError::Peer(PeerFault::Malformed { what: "manifest", .. })) => {}
                other => panic!("{what}: {:?}", other.map(drop)),
            }
            assert!(start.elapsed() < Duration::from_secs(1), "{what} took its time");
        }
    });
    println!("peak grew by {bombs} bytes over the length bombs, {monsters} over the monstrous networks");
    assert!(bombs < MEMORY_CAP && monsters < MEMORY_CAP);
    if peak().is_some() {
        // The twin: a receiver that believed the header would have been seen.
        let before = peak().unwrap_or(0);
        drop(std::hint::black_box(vec![0u8; u32::MAX as usize]));
        assert!(peak().unwrap_or(0) - before > MEMORY_CAP, "the measurement is blind");
    }
}

/// Manifests that keep every rule of a manifest, of networks that no machine holds. Each plane fits a polynomial.
fn monsters(server: &Server) -> Vec<(&'static str, Manifest)> {
    let layer =
        |in_channels: usize, side: usize, out_channels: usize, kernel: usize, groups: usize| ConvShape {
            in_channels,
            in_height: side,
            in_width: side,
            out_channels,
            kernel: [kernel; 2],
            stride: [1; 2],
            padding: [kernel / 2; 4],
            dilation: [1; 2],
            groups,
        };
    let pool = |channels: usize, stride: usize, padding: usize| PoolShape {
        channels,
        in_height: 32,
        in_width: 32,
        kernel: [32; 2],
        stride: [stride; 2],
        padding: [padding; 4],
    };
    // Layers with their pools, and a fully connected one behind them.
    let build = |layers: &[(ConvShape, Option<PoolShape>)]| {
        let mut manifest = server.model().manifest.clone();
        let (template, mut last) = (manifest.layers[0].clone(), manifest.layers[2].clone());
        manifest.layers.clear();
        let mut passed = 0;
        for (shape, pool) in layers {
            let mut layer = template.clone();
            layer.geometry = ConvGeometry::new(*shape).unwrap();
            let pool = pool.clone().map(|pool| PoolGeometry::new(pool).unwrap());
            passed = pool.as_ref().map_or(layer.geometry.output_len(), PoolGeometry::output_len);
            layer.activation.as_mut().unwrap().pool = pool;
            manifest.layers.push(layer);
        }
        last.geometry = ConvGeometry::fully_connected(passed, 5).unwrap();
        manifest.layers.push(last);
        let first = &layers[0].0;
        (manifest.input.channels, manifest.input.height, manifest.input.width) =
            (first.in_channels, first.in_height, first.in_width);
        manifest.input.mean = vec![0.0; first.in_channels];
        manifest.input.std = vec![1.0; first.in_channels];
        manifest
    };
    let many = 1 << 18;
    vec![
        ("huge planes", build(&[(layer(1, 32, many, 1, 1), Some(pool(many, 32, 0)))])),
        // One pixel per channel in a sea of known zeros, all of which are read.
        ("huge borders", build(&[(layer(1, 1, many, 1, 1), None), (layer(many, 1, many, 31, many), None)])),
        ("huge windows", build(&[(layer(1, 32, 254, 1, 1), Some(pool(254, 1, 31)))])),
        ("a thousand layers", build(&vec![(layer(64, 32, 64, 1, 64), None); 1000])),
    ]
}

#[test]
fn manifests_that_break_a_rule_are_refused() {
    let seed = Seed::from_bytes(fresh_seed("model"));
    let good = server(&seed).model().manifest.clone();
    type Bend = fn(&mut Manifest);
    let bends: [Bend; 26] = [
        |m| m.layers.clear(),
        |m| m.classes = 0,
        |m| m.classes = usize::MAX,
        |m| m.layers[0].masked_bits = 0,
        |m| m.layers[1].masked_bits = 63,
        |m| m.layers[0].ring_bits = 0,
        |m| m.layers[2].ring_bits = u32::MAX,
        |m| m.layers[0].reply_bits = 0,
        |m| m.layers[1].reply_bits = u32::MAX,
        |m| m.layers[0].activation.as_mut().unwrap().ignored_bits = u32::MAX,
        |m| m.layers[0].activation.as_mut().unwrap().shift = u32::MAX,
        |m| m.layers[0].activation.as_mut().unwrap().pool = None,
        |m| m.layers[1].activation = None,
        |m| m.layers[2].activation = m.layers[1].activation.clone(),
        |m| m.layers.swap(0, 1),
        |m| m.layers = vec![m.layers[0].clone(); 1 << 12],
        |m| m.input.channels = usize::MAX,
        |m| m.input.height = 0,
        |m| m.input.mean.clear(),
        |m| m.input.std[1] = 0.0,
        |m| m.input.units = f64::NAN,
        |m| m.input.units = f64::INFINITY,
        |m| m.input.limit = 1e300,
        |m| m.input.scale = -1.0,
        |m| m.logit_scale = f64::NAN,
        |m| m.name = "n".repeat(1 << 16),
    ];
    for (at, bend) in bends.iter().enumerate() {
        let mut manifest = good.clone();
        bend(&mut manifest);
        let result = connect(Script::new(welcome(&postcard::to_stdvec(&manifest).unwrap()), End::HangUp));
        let named =
            matches!(&result, Err(ProtocolError::Peer(PeerFault::Malformed { what: "manifest", .. })));
        assert!(named, "rule {at}: {result:?}");
    }
    // Shapes that no checked type can hold, written into the bytes of the first layer.
    let bytes = postcard::to_stdvec(&good).unwrap();
    let shape = *good.layers[0].geometry.shape();
    let own = postcard::to_stdvec(&shape).unwrap();
    let place =
        bytes.windows(own.len()).position(|window| window == own).expect("the shape is in the manifest");
    let absurd = [
        ConvShape { in_channels: 0, ..shape },
        ConvShape { in_channels: usize::MAX, in_height: usize::MAX, in_width: usize::MAX, ..shape },
        ConvShape { out_channels: usize::MAX, ..shape },
        ConvShape { kernel: [0, 3], ..shape },
        ConvShape { kernel: [usize::MAX; 2], padding: [usize::MAX; 4], ..shape },
        ConvShape { stride: [0, 0], ..shape },
        ConvShape { dilation: [usize::MAX; 2], ..shape },
        ConvShape { groups: 3, ..shape },
        ConvShape { groups: 0, ..shape },
        ConvShape { kernel: [100, 100], ..shape },
    ];
    for shape in absurd.into_iter().map(|shape| (shape, false)).chain([(shape, true)]) {
        let (shape, fits) = shape;
        let mut bent = bytes[..place].to_vec();
        bent.extend(postcard::to_stdvec(&shape).unwrap());
        bent.extend(&bytes[place + own.len()..]);
        let result = connect(Script::new(welcome(&bent), End::HangUp));
        let named =
            matches!(&result, Err(ProtocolError::Peer(PeerFault::Malformed { what: "manifest", .. })));
        assert!(if fits { result.is_ok() } else { named }, "{shape:?}: {result:?}");
    }
}
