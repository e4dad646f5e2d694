//! Whole sessions with the preprocessing `ckks`: results against both oracles, sizes of messages, the same online stage.

mod common;

use common::{check_by, check_messages, fresh_seed, model};
use he_core::{Profile, Seed};
use nn_merge::model::{Model, limits};
use protocol::testing::in_process;
use protocol::{ClientOptions, Policy, Preprocessing, Rounds, Server};

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

#[test]
fn messages_have_the_computed_sizes_and_the_online_stage_is_that_of_split() {
    let seed = Seed::from_bytes(fresh_seed("model"));
    let server =
        Server::new(narrow(Profile::Tiny, &seed), Policy::default(), seed.fork("server", &[])).unwrap();
    check_messages(Preprocessing::Ckks, &server, &seed, "ckks tiny");
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
