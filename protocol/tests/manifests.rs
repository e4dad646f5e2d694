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
use nn_merge::model::{
    ActivationSpec, FunctionSpec, LocalOp, Manifest, NodeSpec, OpSpec, PoolGeometry, PoolShape, SmoothName,
};
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

/// Manifests that keep every rule of a manifest, of networks that no machine holds.
fn monsters(server: &Server) -> Vec<(&'static str, Manifest)> {
    let conv = |in_channels: usize, side: usize, out_channels: usize, kernel: usize, groups: usize| {
        let geometry = ConvGeometry::new(ConvShape {
            in_channels,
            in_height: side,
            in_width: side,
            out_channels,
            kernel: [kernel; 2],
            stride: [1; 2],
            padding: [kernel / 2; 4],
            dilation: [1; 2],
            groups,
        });
        OpSpec::Linear { geometry: geometry.unwrap(), reply_bits: 20 }
    };
    let pool = |channels: usize, side: usize, kernel: usize, stride: usize, padding: usize| {
        PoolGeometry::new(PoolShape {
            channels,
            in_height: side,
            in_width: side,
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: [padding; 4],
        })
        .unwrap()
    };
    let good = &server.model().manifest;
    let activation = |channels: usize, pool: Option<PoolGeometry>| {
        let OpSpec::Activation(template) = &good.nodes[2].op else { panic!("an activation") };
        let parts = ActivationSpec::single(FunctionSpec::Relu, channels);
        OpSpec::Activation(ActivationSpec { pool, parts, ..template.clone() })
    };
    let node = |op: OpSpec, inputs: &[u32]| NodeSpec { name: "monster".into(), op, inputs: inputs.to_vec() };
    let dense = |inputs: usize| OpSpec::Linear {
        geometry: ConvGeometry::fully_connected(inputs, 5).unwrap(),
        reply_bits: 20,
    };
    let build = |shape: [usize; 3], nodes: Vec<NodeSpec>| {
        let mut manifest = good.clone();
        [manifest.input.channels, manifest.input.height, manifest.input.width] = shape;
        (manifest.input.mean, manifest.input.std) = (vec![0.0; shape[0]], vec![1.0; shape[0]]);
        manifest.nodes.truncate(1);
        manifest.nodes.extend(nodes);
        manifest.output.node = manifest.nodes.len() as u32 - 1;
        manifest
    };
    // Layer after layer, and a fully connected one behind them.
    let chain = |shape: [usize; 3], ops: Vec<OpSpec>, passed: usize| {
        let ops = ops.into_iter().chain([dense(passed)]).enumerate();
        build(shape, ops.map(|(at, op)| node(op, &[at as u32])).collect())
    };
    let (many, wide) = (1 << 16, 1 << 18);
    let thousand = (0..1000).flat_map(|_| [conv(64, 32, 64, 1, 64), activation(64, None)]).collect();
    // A corner of what the maps gave, small enough for a layer.
    let corner = || OpSpec::Local(LocalOp::Slice { start: [0; 3], step: [1; 3], size: [1, 2, 2] });
    let doubled = |map: usize| match map {
        10 => corner(),
        map if map.is_multiple_of(2) => OpSpec::Local(LocalOp::Upsample([2, 2])),
        _ => OpSpec::Local(LocalOp::SumPool(pool(1, 4096, 2, 2, 0))),
    };
    let sums = (0..300).flat_map(|at| {
        let base = 2 * at as u32;
        [node(OpSpec::Sum { factors: vec![1] }, &[base]), node(activation(1, None), &[base + 1])]
    });
    vec![
        (
            "huge planes",
            chain(
                [1, 32, 32],
                vec![conv(1, 32, many - 1, 1, 1), activation(many - 1, Some(pool(many - 1, 32, 32, 32, 0)))],
                many - 1,
            ),
        ),
        // One pixel per channel in a sea of known zeros, all of which are read.
        (
            "huge borders",
            chain(
                [1, 1, 1],
                vec![
                    conv(1, 1, wide, 1, 1),
                    activation(wide, None),
                    conv(wide, 1, wide, 31, wide),
                    activation(wide, None),
                ],
                wide,
            ),
        ),
        (
            "huge windows",
            chain(
                [1, 32, 32],
                vec![conv(1, 32, 254, 1, 1), activation(254, Some(pool(254, 32, 32, 1, 31)))],
                254 * 63 * 63,
            ),
        ),
        ("a thousand layers", chain([64, 32, 32], thousand, 64 * 32 * 32)),
        ("sums of sums of windows", chain([1, 2048, 2048], (0..=10).map(doubled).collect(), 4)),
        (
            "a window over everything for everyone",
            chain(
                [1, 2048, 2048],
                vec![OpSpec::Local(LocalOp::SumPool(pool(1, 2048, 16, 1, 7))), corner()],
                4,
            ),
        ),
        // Few elements, each the sum of many, for many readers; and one tensor, added to itself all over again.
        ("readers of large windows", {
            let mut nodes = vec![node(OpSpec::Local(LocalOp::SumPool(pool(1, 2048, 512, 256, 0))), &[0])];
            nodes.extend((0..10).map(|_| node(dense(49), &[1])));
            build([1, 2048, 2048], nodes)
        }),
        ("sums that read large windows", {
            let mut nodes = vec![node(OpSpec::Local(LocalOp::SumPool(pool(1, 2048, 512, 256, 0))), &[0])];
            nodes.push(node(OpSpec::Sum { factors: vec![1; 10] }, &[1; 10]));
            build([1, 2048, 2048], nodes)
        }),
        ("a sum of a thousand", {
            let sum = OpSpec::Sum { factors: vec![1; 1000] };
            build([1, 512, 512], vec![node(sum, &[0; 1000])])
        }),
        ("many large sums", {
            let mut nodes: Vec<NodeSpec> = sums.collect();
            let last = nodes.len() as u32;
            nodes.push(node(OpSpec::Sum { factors: vec![1] }, &[last]));
            nodes.push(node(activation(1, Some(pool(1, 512, 512, 512, 0))), &[last + 1]));
            nodes.push(node(dense(1), &[last + 2]));
            build([1, 512, 512], nodes)
        }),
    ]
}

#[test]
fn manifests_that_break_a_rule_are_refused() {
    let seed = Seed::from_bytes(fresh_seed("model"));
    let good = server(&seed).model().manifest.clone();
    type Bend = fn(&mut Manifest);
    let bends: [Bend; 40] = [
        |m| m.nodes.clear(),
        |m| m.output.node = 0,
        |m| m.output.node = u32::MAX,
        |m| m.output.ring_bits = 0,
        |m| m.output.ring_bits = u32::MAX,
        |m| m.output.scale = f64::NAN,
        // Topology: no input, two inputs, a cycle, itself, a node that is not there, too few, too many.
        |m| m.nodes[0] = m.nodes[1].clone(),
        |m| m.nodes[3] = m.nodes[0].clone(),
        |m| m.nodes[0].inputs = vec![0],
        |m| m.nodes[1].inputs = vec![2],
        |m| m.nodes[1].inputs = vec![1],
        |m| m.nodes[3].inputs = vec![u32::MAX],
        |m| m.nodes[3].inputs = vec![],
        |m| m.nodes[3].inputs = vec![2, 2],
        |m| m.nodes[5].inputs = vec![3; 1 << 15],
        |m| m.nodes = vec![m.nodes[1].clone(); 1 << 13],
        |m| m.nodes.swap(1, 2),
        // Kinds: a linear map or a local join of what is raw, an activation of what is masked.
        |m| m.nodes[3].inputs = vec![1],
        |m| m.nodes[6].inputs = vec![2],
        |m| (m.nodes[7].op, m.nodes[7].inputs) = (OpSpec::Local(LocalOp::Concat), vec![5, 6]),
        // Sums: other shapes, missing or impossible factors.
        |m| m.nodes[5].inputs = vec![3, 1],
        |m| m.nodes[5].inputs = vec![3],
        |m| sum(m, vec![1]),
        |m| sum(m, vec![1, 2]),
        |m| sum(m, vec![0, 1]),
        |m| (m.nodes[5].inputs = vec![3, 6], m.nodes.swap(5, 6)).1,
        // Numbers.
        |m| m.nodes[0].op = OpSpec::Input { width: 63 },
        |m| linear(m, |bits| *bits = 0),
        |m| linear(m, |bits| *bits = u32::MAX),
        |m| activation(m, |a| a.ignored_bits = u32::MAX),
        |m| activation(m, |a| a.width = 64),
        |m| activation(m, |a| a.ring_bits = 60),
        |m| activation(m, |a| a.pool = None),
        |m| activation(m, |a| a.parts.clear()),
        |m| activation(m, |a| a.parts[0].channels = vec![(0, u32::MAX)]),
        |m| activation(m, |a| a.parts[0].channels = vec![(u32::MAX, u32::MAX)]),
        |m| activation(m, |a| a.parts[0].function = FunctionSpec::Clip { low: i64::MIN, high: i64::MAX }),
        |m| {
            activation(m, |a| {
                a.parts[0].function = FunctionSpec::Leaky { negative: i64::MIN, positive: i64::MAX }
            })
        },
        |m| {
            activation(m, |a| {
                a.parts[0].function = FunctionSpec::Polynomial { coefficients: vec![i64::MAX; 64] }
            })
        },
        |m| activation(m, |a| a.parts[0].function = smooth(f64::NAN, f64::INFINITY)),
    ];
    let inputs: [Bend; 9] = [
        |m| m.input.channels = usize::MAX,
        |m| m.input.height = 0,
        |m| m.input.mean.clear(),
        |m| m.input.std[1] = 0.0,
        |m| m.input.units = f64::NAN,
        |m| m.input.units = f64::INFINITY,
        |m| m.input.limit = 1e300,
        |m| m.input.scale = -1.0,
        |m| m.name = "n".repeat(1 << 16),
    ];
    for (at, bend) in bends.iter().chain(&inputs).enumerate() {
        let mut manifest = good.clone();
        bend(&mut manifest);
        let result = connect(Script::new(welcome(&postcard::to_stdvec(&manifest).unwrap()), End::HangUp));
        let named =
            matches!(&result, Err(ProtocolError::Peer(PeerFault::Malformed { what: "manifest", .. })));
        assert!(named, "rule {at}: {result:?}");
    }
    // Shapes that no checked type can hold, written into the bytes of the first layer.
    let bytes = postcard::to_stdvec(&good).unwrap();
    let OpSpec::Linear { geometry, .. } = &good.nodes[1].op else { panic!("a linear node") };
    let shape = *geometry.shape();
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

fn sum(manifest: &mut Manifest, own: Vec<i64>) {
    let OpSpec::Sum { factors } = &mut manifest.nodes[5].op else { panic!("a sum") };
    *factors = own;
}

fn linear(manifest: &mut Manifest, bend: impl Fn(&mut u32)) {
    let OpSpec::Linear { reply_bits, .. } = &mut manifest.nodes[1].op else { panic!("a linear node") };
    bend(reply_bits);
}

fn activation(manifest: &mut Manifest, bend: impl Fn(&mut ActivationSpec)) {
    let OpSpec::Activation(spec) = &mut manifest.nodes[2].op else { panic!("an activation") };
    bend(spec);
}

fn smooth(step: f64, scale: f64) -> FunctionSpec {
    FunctionSpec::Smooth { function: SmoothName::Gelu, step, scale, tolerance: 0.0 }
}
