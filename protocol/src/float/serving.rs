//! The server's side of a session on floating-point shares: the messages of [`super::session`], and their checks.

use he_core::Seed;

use super::Plan;
use super::client::within;
use super::masks::rounded;
use super::server::{Ready, ServerBundle, ServerKeys, opened, squared};
use super::session::{bytes, name, no_transfers, numbers};
use crate::channel::{Channel, Kind};
use crate::error::ProtocolError;
use crate::online::missing_gate;
use crate::report::{Report, Stage, Start};
use crate::steps::prepare as steps;
use crate::transfers::Transfers;

/// What a session has of its client: keys, and transfers where there are ReLUs.
pub(crate) struct Peer {
    pub(crate) keys: ServerKeys,
    pub(crate) transfers: Option<Transfers>,
}

/// Terms and keys of a session.
pub(crate) fn receive_keys(channel: &mut Channel, ready: &Ready) -> Result<ServerKeys, ProtocolError> {
    let terms: Vec<u8> = ready.reaches().iter().map(|&reach| reach as u8).collect();
    channel.send(Kind::Agreed, 0, &terms)?;
    channel.flush()?;
    let [public, galois] = ready.layouts().key_bytes();
    let public = channel.receive(Kind::Keys, 0, public)?;
    let galois = channel.receive(Kind::Keys, 1, galois)?;
    ServerKeys::read(ready.layouts(), &public, &galois)
}

/// A bundle, after its request was granted.
pub(crate) fn prepare(
    channel: &mut Channel,
    ready: &Ready,
    plan: &Plan,
    peer: &mut Peer,
    images: usize,
    seed: &Seed,
    report: &mut Report,
) -> Result<ServerBundle, ProtocolError> {
    let Peer { keys, transfers } = peer;
    let layers: Vec<usize> = (0..plan.layers()).collect();
    let squares: Vec<usize> = (0..plan.layers()).filter(|&at| plan.is_square(at)).collect();
    let mut bundle = ServerBundle { images, shares: Vec::new(), factors: Vec::new(), steps: Vec::new() };
    let start = Start::now(channel);
    // All of it is read before the first answer: two parties that both write would wait for each other.
    let receive = |channel: &mut Channel, kind, layers: &[usize], length: &dyn Fn(usize) -> usize| {
        layers.iter().map(|&at| channel.receive(kind, at, length(at))).collect::<Result<Vec<_>, _>>()
    };
    let messages = receive(channel, Kind::Keys, &layers, &|at| plan.mask_bytes(at, images))?;
    for (at, message) in messages.iter().enumerate() {
        let seed = seed.fork("shares", &[at as u64]);
        let (answer, own) = ready.shares(plan, at, images, keys, message, &seed)?;
        channel.send(Kind::Replies, at, &answer)?;
        bundle.shares.push(own);
    }
    channel.flush()?;
    report.add(Stage::Preprocessing, "all maps", "linear", &start, channel);
    if !squares.is_empty() {
        let start = Start::now(channel);
        let messages = receive(channel, Kind::Corrections, &squares, &|at| plan.factor_bytes(at, images))?;
        for (&at, message) in squares.iter().zip(&messages) {
            let seed = seed.fork("products", &[at as u64]);
            let (answer, factors) = ready.products(plan, at, images, keys, message, &seed)?;
            channel.send(Kind::Replies, at, &answer)?;
            bundle.factors.push(factors);
        }
        channel.flush()?;
        report.add(Stage::Preprocessing, "all squares", "square", &start, channel);
    }
    if plan.has_steps() {
        let start = Start::now(channel);
        let transfers = transfers.as_mut().ok_or_else(no_transfers)?;
        bundle.steps = steps::server(channel, transfers, &plan.steps(images), &mut |_, _, _| ())?;
        report.add(Stage::Preprocessing, "all ReLUs", "ReLU", &start, channel);
    }
    Ok(bundle)
}

/// Runs the server's half of a bundle.
pub(crate) fn run(
    channel: &mut Channel,
    ready: &Ready,
    plan: &Plan,
    bundle: ServerBundle,
    report: &mut Report,
) -> Result<(), ProtocolError> {
    let ServerBundle { images, shares, factors, steps } = bundle;
    let (mut factors, mut steps) = (factors.into_iter(), steps.into_iter().enumerate());
    let start = Start::now(channel);
    channel.send(Kind::Agreed, 0, &[])?;
    let mut x = numbers(&channel.receive(Kind::Input, 0, 8 * images * plan.geometry(0).input_len())?);
    within(&x, f64::from(plan.magnitudes(0).input_mask).exp2() + plan.limit() + 1.0, "masked input")?;
    report.add(Stage::Online, "input", "input", &start, channel);
    for (at, own) in shares.iter().enumerate() {
        let start = Start::now(channel);
        let a = ready.linear(at, images, &x, own);
        report.add(Stage::Online, &name("map", at), "linear", &start, channel);
        let start = Start::now(channel);
        if let Some(activation) = plan.activation(at) {
            x = activation.server(channel, images, &a, &mut steps, (at + 1, &mut *report))?;
        } else if plan.is_square(at) {
            let factors = factors.next().ok_or_else(missing_gate)?;
            let opened = opened(plan, at, &a, &factors.own);
            channel.send(Kind::Gate, at, &bytes(&opened))?;
            let back = numbers(&channel.receive(Kind::Gate, at, 8 * opened.len())?);
            within(&back, plan.magnitudes(at).back, "products")?;
            x = squared(&back, &opened, &factors);
            report.add(Stage::Online, &name("square", at), "square", &start, channel);
        } else {
            // Low bits of a double would show those of W X.
            let grid = plan.magnitudes(at).opened_grid;
            let last: Vec<f64> = a.iter().map(|&a| rounded(a, grid)).collect();
            channel.send(Kind::Output, 0, &bytes(&last))?;
            channel.flush()?;
            report.add(Stage::Online, "output", "output", &start, channel);
        }
    }
    Ok(())
}
