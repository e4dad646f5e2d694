//! Floating-point shares, as processes: the labels of the other arithmetic, warnings, refusals, and flags that do not fit.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod common;

use common::{Server, digits, hushnet, model, network, squares, text};
use serde_json::json;

#[test]
fn floating_point_shares_give_the_labels_that_rings_give() {
    let float = Server::of(squares(), &["--arithmetic", "float"]);
    let ring = Server::of(squares(), &[]);
    let infer = |server: &Server, more: &[&str]| {
        let arguments = ["infer", text(digits()), "--connect", &server.address, "--count", "3"];
        hushnet(&[&arguments, more].concat())
    };
    let expected = infer(&ring, &["--json"]).json();
    let run = infer(&float, &["--json", "--arithmetic", "float", "--quiet", "--bundle", "2"]);
    assert!(run.stderr.contains("warning: INSECURE"), "{run:?}");
    let found = run.json();
    assert_eq!(found["labels"], expected["labels"]);
    assert_eq!(found["schema"], json!("hushnet-infer-float/1"));
    assert_eq!((&found["arithmetic"], &found["insecure"]), (&json!("float"), &json!(true)));
    assert_eq!((&found["mask_bits"], &found["bundles"]), (&json!(16), &json!([2, 1])));
    assert_eq!(found["logits"].as_array().unwrap().len(), 3);
    let distance = |found: &serde_json::Value| found["distance"]["images"].as_f64().unwrap();
    // 784 pixels and more, at 2^-16 each.
    assert!((784.0 / 65536.0..0.1).contains(&distance(&found)), "{}", found["distance"]);
    assert_eq!(found["distance"]["weights"], json!(1.0));
    let few = infer(&float, &["--json", "--arithmetic", "float", "--mask-bits", "12"]).json();
    assert!((distance(&few) / distance(&found) - 16.0).abs() < 0.1);
    let shown = infer(&float, &["--arithmetic", "float"]).success();
    assert!(shown.contains("INSECURE, masks of 16 bits: statistical distance"), "{shown}");

    // Both have to ask for it.
    infer(&ring, &["--arithmetic", "float"]).failure(5, &["insecure", "both parties"]);
    infer(&float, &[]).failure(5, &["insecure", "--arithmetic float"]);
    infer(&float, &["--mode", "he"]).failure(5, &["insecure", "--arithmetic float"]);
    let (code, log) = float.stop();
    assert_eq!(code, Some(0));
    assert!(
        log.contains("warning: INSECURE") && log.contains("masks of 12 bits, statistical distance"),
        "{log}"
    );
}

#[test]
fn so_they_do_with_relus_and_max_pooling() {
    let float = Server::of(model(), &["--arithmetic", "float"]);
    let ring = Server::of(model(), &[]);
    let infer = |server: &Server, more: &[&str]| {
        let arguments = ["infer", text(digits()), "--connect", &server.address, "--json"];
        hushnet(&[&arguments, more].concat()).json()
    };
    let expected = infer(&ring, &[]);
    let found = infer(&float, &["--arithmetic", "float"]);
    assert_eq!(found["labels"], expected["labels"]);
    assert_eq!((&found["insecure"], &found["distance"]["weights"]), (&json!(true), &json!(1.0)));
    // What goes into a ReLU is opened to nobody; the server sees what comes out.
    assert_eq!(found["distance"]["hidden_values"], json!(0.0));
    assert!((784.0 / 65536.0..0.1).contains(&found["distance"]["images"].as_f64().unwrap()), "{found}");
    let parts: Vec<&str> =
        found["layers"].as_array().unwrap().iter().filter_map(|layer| layer["part"].as_str()).collect();
    assert!(parts.contains(&"ReLU") && parts.contains(&"base transfers"), "{parts:?}");
    assert_eq!(float.stop().0, Some(0));
}

#[test]
fn other_networks_and_flags_are_refused() {
    // Another function in place of a ReLU.
    let folder = tempfile::tempdir().unwrap();
    let [path, list] = ["cubes.hush", "list.json"].map(|name| folder.path().join(name));
    std::fs::write(&list, r#"[{"layer": "relu1", "function": {"polynomial": [0, 0.5, 0, 0.1]}}]"#).unwrap();
    let (network, calibration) = (text(network()), text(digits()));
    let merge = ["merge", network, "-o", text(&path), "--calibrate", calibration, "--replace", text(&list)];
    hushnet(&merge).success();
    let serve = ["serve", text(&path), "--listen", "127.0.0.1:0", "--arithmetic", "float"];
    let run = hushnet(&serve);
    run.failure(3, &["layer `", "floating-point shares", "squares or ReLUs"]);
    assert!(run.stderr.contains("INSECURE"), "{run:?}");
    hushnet(&[&serve[..], &["--mode", "he"]].concat()).failure(2, &["--mode he", "--arithmetic float"]);
    let infer =
        |more: &[&str]| hushnet(&[&["infer", text(digits()), "--connect", "127.0.0.1:1"], more].concat());
    infer(&["--mask-bits", "8"]).failure(2, &["--mask-bits", "--arithmetic float"]);
    for flag in [
        &["--logits"][..],
        &["--top", "2"],
        &["--rounds", "one"],
        &["--mode", "he"],
        &["--preprocessing", "ckks"],
        &["--pool", "nowhere"],
    ] {
        infer(&[flag, &["--arithmetic", "float"]].concat()).failure(2, &[flag[0], "--arithmetic float"]);
    }
    for bits in ["3", "25"] {
        infer(&["--arithmetic", "float", "--mask-bits", bits]).failure(2, &["4..=24"]);
    }
}
