//! One private convolution between two threads over TCP, and nothing else of the network stack.
//!
//! Chapter 1 describes the layer, chapter 2 starts the party that knows the weights, chapter 3 is the party that knows
//! the input. Run it with `cargo run --release -p protocol --example one_layer`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};
use conv_fast::{ConvGeometry, ConvShape};
use he_core::{Profile, Seed};
use nn_merge::fixed_point::{evaluate_exact, quantize_image};
use nn_merge::model::{InputSpec, Manifest, Model, NodeSpec, NodeWeights, OpSpec, OutputSpec};
use protocol::channel::{TcpOptions, connect};
use protocol::report::Stage;
use protocol::serve::{ListenOptions, Listener};
use protocol::{Client, Output, Policy, Server};

fn main() -> Result<()> {
    // 1. The layer: 3 input channels of 16×16, a 3×3 kernel with zero padding, 2 output channels.
    let geometry = ConvGeometry::new(ConvShape {
        in_channels: 3,
        in_height: 16,
        in_width: 16,
        out_channels: 2,
        kernel: [3, 3],
        stride: [1, 1],
        padding: [1, 1, 1, 1],
        dilation: [1, 1],
        groups: 1,
    })?;
    let model = model(&geometry)?;

    // 2. The server: knows the weights. It gives the layer's outputs rounded to 16 bits of their range.
    let mut policy = Policy::default();
    policy.offer.logit_bits = Some(16);
    let oracle = model.clone();
    let server = Arc::new(Server::new(model, policy, Seed::from_os()?)?);
    let listener = Listener::bind("127.0.0.1:0", ListenOptions::default())?;
    let address = listener.address()?.to_string();
    let stop = Arc::new(AtomicBool::new(false));
    let serving = {
        let stop = stop.clone();
        std::thread::spawn(move || listener.run(&server, &stop, |_, _| {}))
    };

    // 3. The client: knows the input. Preprocessing needs no input; the online stage is one message each way.
    let channel = connect(&address, TcpOptions::default())?;
    let mut client = Client::connect(channel, Seed::from_os()?)?.agree(true)?;
    let bundle = client.prepare(1, &mut |_, _| {})?;
    let image: Vec<f32> = (0..geometry.input_len()).map(|i| (i as f32 * 0.37).sin()).collect();
    let inputs = quantize_image(client.manifest(), &image)?;
    let Output::Logits(values) = client.infer(bundle, &inputs, &mut |_, _| {})? else {
        anyhow::bail!("logits were agreed on");
    };
    let unit = client.manifest().output.scale / 16f64.exp2();
    let report = client.finish()?;
    stop.store(true, Ordering::Relaxed);
    serving.join().map_err(|_| anyhow::anyhow!("the server panicked"))??;

    // What came out, beside the same layer in the clear.
    let exact = evaluate_exact(&oracle, &inputs, Some(16))?;
    let (expected, bound) = (exact.logits, exact.bounds.iter().copied().fold(0.0, f64::max));
    let worst = values[0]
        .iter()
        .zip(&expected)
        .map(|(&value, exact)| (value as f64 * unit - exact).abs())
        .fold(0.0, f64::max);
    println!("{} outputs, largest error {worst:.6}, stated bound {bound:.6}", expected.len());
    for stage in [Stage::Setup, Stage::Preprocessing, Stage::Online] {
        let total = report.total(stage);
        println!(
            "{stage:?}: {:.1} ms, {} bytes sent, {} received, {} rounds",
            1e3 * total.seconds,
            total.bytes_sent,
            total.bytes_received,
            total.rounds
        );
    }
    ensure!(worst <= bound, "the private result left its stated bound");
    Ok(())
}

/// A model of this one layer: weights of 12 bits, outputs in ±32.
fn model(geometry: &ConvGeometry) -> Result<Model> {
    let (bound, width, weight_scale) = (32.0, 36, 1024.0);
    let weights =
        (0..geometry.weights_len()).map(|i| ((i as f64 * 1.7).cos() * weight_scale) as i32).collect();
    let own = NodeWeights { weights, bias: vec![0; geometry.shape().out_channels] };
    let nodes = vec![NodeWeights::default(), own];
    let salt = [0; 32];
    let linear = OpSpec::Linear { geometry: geometry.clone(), reply_bits: 26 };
    let manifest = Manifest {
        name: "one layer".into(),
        profile: Profile::Wide,
        input: InputSpec {
            channels: 3,
            height: 16,
            width: 16,
            channels_last: false,
            scale: 1.0,
            mean: vec![0.0; 3],
            std: vec![1.0; 3],
            // Integers per real unit, so that input · weight reaches half the torus at the bound.
            units: f64::from(width).exp2() / (2.0 * bound * weight_scale),
            limit: 1.0,
        },
        nodes: vec![
            NodeSpec { name: "input".into(), op: OpSpec::Input { width }, inputs: vec![] },
            NodeSpec { name: "conv".into(), op: linear, inputs: vec![0] },
        ],
        output: OutputSpec { node: 1, ring_bits: 20, scale: 2.0 * bound },
        weights_commitment: Model::commitment(&salt, &nodes),
    };
    let model = Model { manifest, nodes, salt };
    model.validate()?;
    Ok(model)
}
