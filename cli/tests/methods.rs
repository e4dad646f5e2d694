//! The constructions by choice: what is asked for is agreed, used and shown; what a server does not allow it refuses;
//! modelled links are felt.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod common;

use common::{Run, Server, digit_labels, digits, hushnet, model, text};
use serde_json::{Value, json};

/// Classifies all drawn digits; the document.
fn classified(server: &Server, more: &[&str]) -> Value {
    let document = infer(server, &[more, &["--json"]].concat()).json();
    assert_eq!(document["labels"], json!(digit_labels()), "{more:?}");
    document
}

fn infer(server: &Server, more: &[&str]) -> Run {
    hushnet(&[&["infer", text(digits()), "--connect", &server.address], more].concat())
}

fn steps(document: &Value) -> [u64; 2] {
    ["one_round", "three_rounds"].map(|kind| document["terms"]["steps"][kind].as_u64().unwrap())
}

#[test]
fn every_construction_gives_the_same_labels() {
    let server = Server::start(&["--field-bits", "4"]);
    let usual = classified(&server, &[]);
    let terms = &usual["terms"];
    assert_eq!(
        [&terms["transfers"], &terms["base"], &terms["rounds"]],
        [&json!("soft-4"), &json!("ristretto"), &json!("auto")]
    );
    let link = &terms["link"];
    assert!(link["round_trip_seconds"].as_f64().unwrap() < 1.0, "{link}");
    assert!(link["bits_per_second"].as_f64().unwrap() > 1e6, "{link}");
    // A near link's rate is assumed; on a busy machine one of a few tries must find it near.
    let is_near = |_| classified(&server, &[])["terms"]["link"]["rate_is_assumed"] == true;
    assert!(link["rate_is_assumed"] == true || (0..4).any(is_near), "{link}");
    assert!(terms.get("modelled_link").is_none());

    let three = classified(&server, &["--rounds", "three", "--transfers", "soft-2"]);
    let one = classified(
        &server,
        &["--rounds", "one", "--transfers", "silent", "--base", "ml-kem", "--preprocessing", "bfv"],
    );
    let (terms, of_one) = (&three["terms"], &one["terms"]);
    assert_eq!(
        *terms,
        json!({
            "transfers": "soft-2", "base": "ristretto", "rounds": "three", "preprocessing": "split",
            "steps": terms["steps"]
        })
    );
    assert_eq!(
        *of_one,
        json!({
            "transfers": "silent", "base": "ml-kem", "rounds": "one", "preprocessing": "bfv",
            "steps": of_one["steps"]
        })
    );
    let [of_three, of_one] = [steps(&three), steps(&one)];
    assert!(of_three[0] == 0 && of_three[1] > 3, "{terms}");
    assert_eq!(of_one, [of_three[1], 0]);
    assert_eq!(steps(&usual).iter().sum::<u64>(), of_three[1]);

    // What the words promise: fewer rounds for more bytes.
    let online = |document: &Value, field: &str| document["online"][field].as_u64().unwrap();
    assert!(online(&one, "rounds") + 2 * of_one[0] <= online(&three, "rounds"));
    let bytes = |document: &Value| online(document, "bytes_sent") + online(document, "bytes_received");
    assert!(bytes(&one) > bytes(&three), "{} {}", bytes(&one), bytes(&three));
    // ML-KEM's messages are some 600 KB each way; Ristretto's are a few KB in all.
    let setup = |document: &Value| document["setup"]["bytes_sent"].as_u64().unwrap();
    assert!(setup(&one) > 100_000 && setup(&three) < 50_000, "{} {}", setup(&one), setup(&three));

    let page = infer(&server, &["-v", "--rounds", "one", "--base", "ml-kem"]).success();
    for word in ["agreed", "soft-4", "ml-kem", "each in one round trip", "setup"] {
        assert!(page.contains(word), "{word} in {page}");
    }
    assert!(!page.contains("Modelled link"), "{page}");
}

#[test]
fn servers_refuse_what_they_do_not_allow() {
    let server = Server::start(&["--post-quantum"]);
    let refused = infer(&server, &["--base", "ristretto"]);
    refused.failure(5, &["does not take base transfers over Ristretto", "ask for ML-KEM", "--base"]);
    // A client without wishes takes what there is, as does one that asks for it.
    assert_eq!(classified(&server, &[])["terms"]["base"], "ml-kem");
    assert_eq!(classified(&server, &["--base", "ml-kem", "--count", "16"])["terms"]["base"], "ml-kem");
    let (code, log) = server.stop();
    assert_eq!(code, Some(0));
    assert_eq!(log.matches("does not take base transfers over Ristretto").count(), 1, "{log}");

    let server = Server::start(&["--no-silent", "--no-one-round"]);
    infer(&server, &["--transfers", "silent"]).failure(5, &["silent transfers", "hint"]);
    infer(&server, &["--rounds", "one"]).failure(5, &["one round trip"]);
    let document = classified(&server, &["--transfers", "soft-8"]);
    assert_eq!(steps(&document)[0], 0);
}

#[test]
fn a_modelled_link_is_felt_and_chosen_by() {
    let server = Server::start(&["--link", "1gbit/30ms"]);
    let document = classified(&server, &["--link", "1gbit/30ms"]);
    let terms = &document["terms"];
    assert_eq!(terms["modelled_link"], "1gbit/30ms");
    assert!(terms["link"]["round_trip_seconds"].as_f64().unwrap() >= 0.0299, "{terms}");
    assert_eq!(terms["link"]["rate_is_assumed"], false);
    // Two round trips less are worth megabytes on such a link.
    assert!(steps(&document)[0] > 0, "{terms}");
    let [seconds, rounds] = ["seconds", "rounds"].map(|field| document["online"][field].as_f64().unwrap());
    assert!(seconds >= 0.5 * 0.03 * rounds, "{document}");

    let page = infer(&server, &["--link", "1gbit/30ms", "--count", "1"]).success();
    assert!(page.contains("Modelled link: what this client sends goes as over 1gbit/30ms"), "{page}");
    let (_, log) = server.stop();
    assert!(log.contains("Modelled link: what this server sends goes as over 1gbit/30ms"), "{log}");
}

#[test]
fn bundles_keep_the_rounds_that_they_were_prepared_for() {
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let pool = text(folder.path());
    let prepare = ["prepare", "--connect", &server.address, "--pool", pool, "--count", "16"];
    let flags = ["--rounds", "one", "--transfers", "soft-2", "--base", "ml-kem"];
    let prepared = hushnet(&[&prepare[..], &flags, &["--json"]].concat()).json();
    let terms = &prepared["terms"];
    assert_eq!([&terms["transfers"], &terms["rounds"]], [&json!("soft-2"), &json!("one")]);
    assert!(steps(&prepared)[0] > 3 && steps(&prepared)[1] == 0, "{prepared}");

    // They can't be chosen any more; nothing is used up by trying.
    for flag in [["--rounds", "three"], ["--base", "ml-kem"], ["--transfers", "silent"]] {
        infer(&server, &[&["--pool", pool], &flag[..]].concat()).failure(2, &[flag[0], "hushnet prepare"]);
    }
    let used = classified(&server, &["--pool", pool]);
    assert_eq!(used["terms"], json!({"preprocessing": "split", "steps": terms["steps"]}));

    let page = hushnet(&[&["-v"], &prepare[..], &flags].concat()).success();
    for word in ["soft-2", "ml-kem", "each in one round trip", "base transfers"] {
        assert!(page.contains(word), "{word} in {page}");
    }
}

#[test]
fn inspect_foretells_the_messages() {
    let inspect = |more: &[&str]| {
        hushnet(&[&["inspect", text(model()), "--bundle", "16", "--json"], more].concat()).json()
    };
    let (one, three) = (inspect(&["--rounds", "one"]), inspect(&[]));
    assert_eq!([&one["rounds"], &three["rounds"]], [&json!("one"), &json!("three")]);
    let online =
        |step: &Value| step["server_bytes"].as_u64().unwrap() + step["client_bytes"].as_u64().unwrap();
    let pairs = |a: &Value, b: &Value| -> Vec<(Value, Value)> {
        let list = |document: &Value| document["steps"].as_array().unwrap().clone();
        assert_eq!(list(a).len(), list(b).len());
        list(a).into_iter().zip(list(b)).collect()
    };
    for (one, three) in pairs(&one, &three) {
        assert_eq!([&one["rounds"], &three["rounds"]], [&json!(1), &json!(3)]);
        assert_eq!([&one["construction"], &three["construction"]], ["one round", "three rounds"]);
        assert_eq!([&one["layer"], &one["elements"]], [&three["layer"], &three["elements"]]);
        assert!(online(&one) > online(&three), "{one} {three}");
    }
    // Over a slow link without latency bytes decide, over a fast one with much of it round trips do.
    for (link, same) in [("1mbit/0ms", &three), ("1000gbit/1000ms", &one)] {
        let chosen = inspect(&["--link", link]);
        assert_eq!([&chosen["rounds"], &chosen["link"]], ["auto", link]);
        assert_eq!(chosen["steps"], same["steps"]);
    }

    // The real thing: these bytes, and twelve per message.
    let server = Server::start(&[]);
    for (choice, foretold) in [("one", &one), ("three", &three)] {
        let document = classified(&server, &["--rounds", choice]);
        let mut activations = document["layers"].as_array().unwrap().clone();
        activations.retain(|row| {
            row["stage"] == "online"
                && ["ReLU", "max-pool", "arg-max"].contains(&row["part"].as_str().unwrap())
        });
        for row in &activations {
            let own = foretold["steps"].as_array().unwrap().iter();
            let own = own.filter(|step| step["layer"] == row["layer"] && step["part"] == row["part"]);
            let own: Vec<&Value> = own.collect();
            let real = row["bytes_sent"].as_u64().unwrap() + row["bytes_received"].as_u64().unwrap();
            let headers = real - own.iter().map(|step| online(step)).sum::<u64>();
            assert!(
                !own.is_empty() && headers > 0 && headers % 12 == 0 && headers < real / 4,
                "{row} {own:?}"
            );
        }
        assert!(activations.len() >= 4, "{activations:?}");
    }

    let page = hushnet(&["inspect", text(model()), "--link", "wan"]).success();
    for word in ["Activations of a bundle of 1 image", "whatever is faster over 100mbit/40ms", "one round"] {
        assert!(page.contains(word), "{word} in {page}");
    }
    assert!(hushnet(&["inspect", text(model())]).success().contains("three round trips each"));
}

#[test]
fn inspect_foretells_the_preprocessing_by_every_construction() {
    let server = Server::start(&[]);
    for (construction, keys_of_session) in [("split", false), ("bfv", true), ("ckks", true)] {
        let own = ["--preprocessing", construction];
        let foretold = ["inspect", text(model()), "--bundle", "2", "--json"];
        let foretold = hushnet(&[&foretold[..], &own].concat()).json();
        let preprocessing = &foretold["preprocessing"];
        assert_eq!(preprocessing["name"], construction);
        let setup = preprocessing["session_key_bytes"].as_u64().unwrap();
        assert_eq!(setup > 0, keys_of_session, "{preprocessing}");
        assert_eq!(preprocessing["ring"].is_null(), !keys_of_session, "{preprocessing}");

        let two = ["--count", "2", "--json"];
        let document = infer(&server, &[&own[..], &two].concat()).json();
        assert_eq!(document["labels"], json!(digit_labels()[..2]), "{construction}");
        assert_eq!(document["terms"]["preprocessing"], construction);
        let sizes = |layer: &str| {
            let row = document["layers"].as_array().unwrap().iter().find(|row| {
                row["stage"] == "preprocessing" && row["part"] == "linear" && row["layer"] == layer
            });
            let row = row.unwrap_or_else(|| panic!("{layer} in {document}"));
            ["bytes_sent", "bytes_received"].map(|field| row[field].as_u64().unwrap())
        };
        // Messages, and twelve bytes for each.
        for layer in foretold["layers"].as_array().unwrap() {
            let foretold = ["key_bytes", "reply_bytes"].map(|field| layer[field].as_u64().unwrap() + 12);
            assert_eq!(sizes(layer["name"].as_str().unwrap()), foretold, "{construction}, {}", layer["name"]);
        }
        if keys_of_session {
            assert_eq!(sizes("keys of the session")[0], setup + 12);
        }
    }
    let page = hushnet(&["inspect", text(model()), "--preprocessing", "ckks"]).success();
    for word in ["by ckks", "Keys of a session", "preprocessing ckks: N ="] {
        assert!(page.contains(word), "{word} in {page}");
    }
}

#[test]
fn wrong_words_are_refused_with_what_there_is() {
    let cases: [(&[&str], &str); 10] = [
        (&["infer", "a.png", "--transfers", "soft-3"], "soft-4"),
        (&["infer", "a.png", "--base", "rsa"], "ml-kem"),
        (&["prepare", "--pool", "p", "--rounds", "two"], "three"),
        (&["demo", "--link", "fast"], "100mbit/40ms"),
        (&["infer", "a.png", "--link", "100mbit"], "`lan`, `wan`"),
        (&["serve", "a.hush", "--link", "100/40"], "100mbit/40ms"),
        (&["serve", "a.hush", "--link", "0mbit/40ms"], "1kbit"),
        (&["inspect", "a.hush", "--link", ""], "100mbit/40ms"),
        (&["inspect", "a.hush", "--rounds", "auto"], "three"),
        (&["inspect", "a.hush", "--rounds", "one", "--link", "lan"], "--link"),
    ];
    for (arguments, word) in cases {
        let run = hushnet(arguments);
        assert_eq!(run.code, Some(2), "{arguments:?}: {run:?}");
        assert!(run.stderr.contains(word) && run.stdout.is_empty(), "{arguments:?}: {run:?}");
    }
    for command in ["infer", "prepare", "demo"] {
        let page = hushnet(&[command, "--help"]).success();
        for word in ["--transfers", "--base", "--rounds", "--link", "silent", "slower link"] {
            assert!(page.contains(word), "{word} in {page}");
        }
    }
    let page = hushnet(&["serve", "--help"]).success();
    // Wherever its lines are broken.
    let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
    for word in ["--post-quantum", "lattices and symmetric primitives", "--no-one-round", "slower link"] {
        assert!(page.contains(word), "{word} in {page}");
    }
    let script = hushnet(&["completions", "bash"]).success();
    for word in ["ml-kem", "soft-4", "--no-silent"] {
        assert!(script.contains(word), "{word} in the script");
    }
}
