//! Both parties in one process, and the oracle's tape: for tests, benches and the accuracy command.
//!
//! The tape holds *both* parties' secrets of a run, rebuilt from recorded seeds: it exists so that the bit-exact
//! oracle of `nn_merge::fixed_point` can be given a run's noise. Nothing that serves real clients calls this.

use std::sync::Arc;
use std::time::Duration;

use he_core::Seed;
use nn_merge::fixed_point::{LayerTape, Tape};
use ss_core::share::Share;

use crate::channel::{Channel, Link, Stream, pair, shaped};
use crate::error::ProtocolError;
use crate::offline::linear::{client_keys, client_open, server_reply};
use crate::offline::stage::replay_operands;
use crate::plan::Plan;
use crate::session::{Client, Greeted, Served, Server};

/// Deadline of in-process messages: generous, since debug builds on busy machines are slow.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs `act` as the client of a session with `server` over memory. Gives both results.
pub fn in_process<T: Send>(
    server: &Server,
    server_seed: Seed,
    client_seed: Seed,
    act: impl FnOnce(Client<Greeted>) -> Result<T, ProtocolError> + Send,
) -> (Result<T, ProtocolError>, Result<Served, ProtocolError>) {
    in_process_over(pair(), None, server, server_seed, client_seed, act)
}

/// Runs `act` as the client of a session with `server` over the two ends of a connection, the client's first; with a
/// `link`, as over that link. Gives both results.
pub fn in_process_over<T: Send, S: Stream + Send>(
    (left, right): (S, S),
    link: Option<Link>,
    server: &Server,
    server_seed: Seed,
    client_seed: Seed,
    act: impl FnOnce(Client<Greeted>) -> Result<T, ProtocolError> + Send,
) -> (Result<T, ProtocolError>, Result<Served, ProtocolError>) {
    let open = |stream: S| match link {
        None => Ok(Channel::new(stream, PATIENCE)),
        Some(link) => shaped(stream, link)
            .map(|stream| Channel::new(stream, PATIENCE))
            .map_err(|source| ProtocolError::Connection { during: "shaping the link".into(), source }),
    };
    std::thread::scope(|scope| {
        let serving = scope.spawn(move || {
            let mut channel = open(right)?;
            server.serve(&mut channel, "in process", PATIENCE, server_seed)
        });
        let result = open(left).and_then(|channel| Client::connect(channel, client_seed)).and_then(act);
        let served = serving
            .join()
            .unwrap_or_else(|_| Err(ProtocolError::Caller("the server's thread panicked".into())));
        (result, served)
    })
}

/// The material of bundle number `bundle` of a session, rebuilt from the seeds both sessions were given.
///
/// # Errors
/// As the preprocessing stage itself.
pub fn replay(
    server: &Server,
    plan: &Arc<Plan>,
    client: &Seed,
    serving: &Seed,
    bundle: u64,
) -> Result<Tape, ProtocolError> {
    let (client, serving) = (client.fork("bundle", &[bundle]), serving.fork("bundle", &[bundle]));
    let hints = server.hints(plan);
    let (mut masks, mut shares, mut server_masks): (Vec<Share>, Vec<Share>, Vec<Share>) = Default::default();
    for (layer, (hints, bias)) in plan.layers().iter().zip(hints.iter().zip(server.biases())) {
        let place = [layer.index as u64];
        let (keys, own) = client_keys(plan, layer, server.epoch(), &client.fork("layer", &place));
        let (replies, mask) = server_reply(plan, layer, hints, bias, &keys, &serving.fork("layer", &place))?;
        let (input, share) = client_open(plan, layer, own, &replies)?;
        masks.push(input);
        shares.push(share);
        server_masks.push(mask);
    }
    let operands = replay_operands(plan, &shares, &masks, &client)?;
    let values = |share: &Share| share.values().to_vec();
    let mut layers: Vec<LayerTape> = (0..plan.layers().len())
        .map(|l| LayerTape {
            input_mask: values(&masks[l]),
            server_mask: values(&server_masks[l]),
            client_share: values(&shares[l]),
            pool_shares: Vec::new(),
        })
        .collect();
    let mut arg_max_shares = Vec::new();
    for (step, results) in plan.gates().iter().zip(&operands.results) {
        match step.part {
            "max-pool" => layers[step.layer].pool_shares.push(values(&results[0])),
            "arg-max" => arg_max_shares.push(values(&results[0])),
            _ => {}
        }
    }
    Ok(Tape { layers, arg_max_shares })
}
