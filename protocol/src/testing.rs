//! Both parties in one process, and the oracle's tape: for tests, benches and the accuracy command.
//!
//! The tape holds *both* parties' secrets of a run, rebuilt from recorded seeds: it exists so that the bit-exact
//! oracle of `nn_merge::fixed_point` can be given a run's noise. Nothing that serves real clients calls this.
//!
//! The oracle is told what was drawn and what was exchanged in preprocessing, not how the online stage uses it: slots,
//! masks and the server's additive masks come from the plan and the two parties' own preprocessing, everything after is the
//! oracle's own arithmetic.

use std::iter::zip;
use std::sync::Arc;
use std::time::Duration;

use he_core::Seed;
use nn_merge::fixed_point::{LinearTape, NodeTape, Tape};
use ss_core::share::Share;

use crate::channel::{Channel, Link, Stream, pair, shaped};
use crate::error::ProtocolError;
use crate::offline::construction::{client_keys, client_open, client_setup, server_reply, server_setup};
use crate::offline::correlations::client_operands;
use crate::offline::rho::Rho;
use crate::offline::stage::{layer_seed, masks_seed, operands_seed, setup_seed};
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
    let (message, own_keys) = client_setup(plan, &setup_seed(client))?;
    let keys = server_setup(plan, &message)?;
    let (client, serving) = (client.fork("bundle", &[bundle]), serving.fork("bundle", &[bundle]));
    let (materials, biases) = (server.materials(plan)?, server.biases(plan));
    let mut nodes: Vec<NodeTape> = plan.nodes().iter().map(|_| NodeTape::default()).collect();
    let mut rho = Rho::new(plan, &masks_seed(&client));
    let mut shares = Vec::with_capacity(plan.layers().len());
    for (layer, (material, bias)) in zip(plan.layers(), zip(&materials, &biases)) {
        let seeds = [&client, &serving].map(|seed| layer_seed(seed, layer));
        let (message, own, slots) = client_keys(plan, layer, &own_keys, server.epoch(), &seeds[0], &mut rho)?;
        let (replies, half) = server_reply(plan, layer, material, &keys, bias, &message, &seeds[1])?;
        let share = client_open(plan, layer, &own_keys, own, &replies)?;
        nodes[layer.node].linear = Some(LinearTape {
            tile: layer.tiling.tile().clone(),
            slots: layer.tiling.slots(),
            outputs: layer.tiling.outputs(),
            slot_masks: slots.values().to_vec(),
            server_mask: half.mask.limbs().to_vec(),
            client_share: share.limbs().to_vec(),
        });
        shares.push(share);
    }
    for producer in plan.producers() {
        nodes[producer.node].mask = rho.of_producer(producer).to_vec();
    }
    let mut tape = Tape { nodes, arg_max_shares: Vec::new(), labels: plan.mode().labels() };
    let mut rng = operands_seed(&client).stream();
    client_operands(plan, shares, &rho, &mut rng, &mut |at, results: &[Share]| {
        let fresh = results[0].values().to_vec();
        // The choice of labels belongs to no node.
        match tape.nodes.get_mut(plan.gates()[at].node) {
            Some(node) => node.pool_shares.push(fresh),
            None => tape.arg_max_shares.push(fresh),
        }
    })?;
    Ok(tape)
}
