//! Whole sessions with the preprocessing `ckks`: results against both oracles, sizes of messages, the same online stage.

#![expect(clippy::unwrap_used, reason = "a failing step fails the test")]

mod common;

use common::{check_by, fresh_seed, inputs, model, plan_by};
use he_core::{Profile, Seed};
use nn_merge::model::{Model, limits};
use protocol::channel::Traffic;
use protocol::offline::construction::{keys_bytes, replies_bytes};
use protocol::report::{Report, Stage};
use protocol::testing::in_process;
use protocol::{ClientOptions, OutputMode, Policy, Preprocessing, Rounds, Server};

/// A small network with weights as small as those of merged networks are.
fn narrow(profile: Profile, seed: &Seed) -> Model {
    let mut model = model(profile, seed);
    let most = 1 << limits(profile).weight_bits;
    let weights = model.nodes.iter_mut().flat_map(|node| &mut node.weights);
    weights.for_each(|w| {
        while w.abs() > most {
            *w /= 2;
        }
    });
    model.manifest.weights_commitment = Model::commitment(&model.salt, &model.nodes);
    model
}

#[test]
fn results_equal_the_oracle_in_every_profile() {
    for (profile, images, rounds) in [
        (Profile::Tiny, 1, Rounds::Three),
        (Profile::Narrow, 2, Rounds::One),
        (Profile::Wide, 3, Rounds::Three),
        (Profile::Exact, 1, Rounds::One),
    ] {
        let what = format!("ckks {profile}");
        let seed = Seed::from_bytes(fresh_seed(&what));
        let options = ClientOptions::new().rounds(rounds);
        let worst = check_by(Preprocessing::Ckks, &narrow(profile, &seed), images, options, &what);
        println!("{what}: {worst:.2} of the bound");
    }
}

/// One session of two bundles: its report, and the traffic of each online stage.
fn session(server: &Server, construction: Preprocessing, inputs: &[i64]) -> (Report, [Traffic; 2]) {
    let seed = Seed::from_bytes(fresh_seed("session"));
    let options = ClientOptions::new().preprocessing(construction).rounds(Rounds::Three);
    let (result, served) = in_process(server, seed.fork("serving", &[]), seed, |client| {
        let mut client = client.agree_on(options)?;
        let mut online = [Traffic::default(); 2];
        for online in &mut online {
            let bundle = client.prepare(2, &mut |_, _| {})?;
            let before = client.traffic();
            client.infer(bundle, inputs, &mut |_, _| {})?;
            *online = client.traffic() - before;
        }
        Ok((client.finish()?, online))
    });
    served.unwrap();
    result.unwrap()
}

#[test]
fn messages_have_the_computed_sizes_and_the_online_stage_is_that_of_split() {
    const HEADER: u64 = 12;
    let seed = Seed::from_bytes(fresh_seed("model"));
    let server =
        Server::new(narrow(Profile::Tiny, &seed), Policy::default(), seed.fork("server", &[])).unwrap();
    let inputs = inputs(server.model(), 2, &seed);
    let (report, online) = session(&server, Preprocessing::Ckks, &inputs);
    let plan = plan_by(Preprocessing::Ckks, server.model(), 2, OutputMode::Label);
    let sizes = |layer: &str| {
        let row = report
            .rows()
            .iter()
            .find(|row| row.stage == Stage::Preprocessing && row.part == "linear" && row.layer == layer);
        row.map(|row| (row.bytes_sent, row.bytes_received)).unwrap()
    };
    for layer in plan.layers() {
        let [sent, received] =
            [keys_bytes(&plan, layer), replies_bytes(&plan, layer)].map(|bytes| 2 * (HEADER + bytes as u64));
        assert_eq!(sizes(&layer.name), (sent, received));
        assert_eq!(layer.deltas, [0, 0]);
    }
    let setup = HEADER + plan.scheme().setup_bytes() as u64;
    assert_eq!(sizes("keys of the session"), (setup, 0), "once for two bundles");
    let (_, split) = session(&server, Preprocessing::Split, &inputs);
    for (own, other) in online.iter().zip(&split) {
        assert_eq!((own.sent, own.received, own.rounds), (other.sent, other.received, other.rounds));
    }
}

#[test]
fn weights_without_room_are_not_offered() {
    let seed = Seed::from_bytes(fresh_seed("model"));
    for (weight, offered) in [(256, true), (257, false)] {
        let mut model = narrow(Profile::Tiny, &seed);
        let node = model.nodes.iter().rposition(|node| !node.weights.is_empty()).unwrap();
        model.nodes[node].weights[0] = weight;
        model.manifest.weights_commitment = Model::commitment(&model.salt, &model.nodes);
        let server = Server::new(model, Policy::default(), seed.fork("server", &[])).unwrap();
        let (result, _) =
            in_process(&server, seed.fork("serving", &[]), seed.fork("client", &[]), |client| {
                Ok(client.offer().methods.ckks)
            });
        assert_eq!(result.unwrap(), offered, "{weight}");
    }
}
