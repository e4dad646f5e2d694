//! Inference on ciphertexts alone, as processes: the labels of the other mode, refusals, and flags that do not fit.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod common;

use common::{Server, digits, hushnet, square_network, squares, text};
use serde_json::json;

#[test]
fn ciphertexts_give_the_labels_that_shares_give() {
    let server = Server::of(squares(), &["--mode", "he"]);
    let infer = |more: &[&str]| {
        let arguments = ["infer", text(digits()), "--connect", &server.address, "--json", "--count", "3"];
        hushnet(&[&arguments, more].concat()).json()
    };
    let shares = infer(&[]);
    let single = infer(&["--mode", "he"]);
    assert_eq!(single["labels"], shares["labels"]);
    assert_eq!((&single["schema"], &single["mode"]), (&json!("hushnet-infer-he/1"), &json!("single")));
    assert_eq!(single["logits"].as_array().unwrap().len(), 3);
    assert!(single["keys"]["sent"].as_u64().unwrap() > 1 << 20, "{}", single["keys"]);
    assert!(single["online"]["sent"].as_u64().unwrap() < 3 << 20, "{}", single["online"]);

    // A server gives this only when told to.
    let usual = Server::of(squares(), &[]);
    hushnet(&["infer", text(digits()), "--connect", &usual.address, "--mode", "he"])
        .failure(5, &["does not evaluate on ciphertexts alone"]);
}

#[test]
fn other_networks_and_flags_are_refused() {
    // The embedded network has ReLUs: the server says which layer is in the way, and does not start.
    hushnet(&["serve", text(common::model()), "--listen", "127.0.0.1:0", "--mode", "he"])
        .failure(3, &["layer `", "on ciphertexts alone"]);
    let nobody = ["infer", text(digits()), "--connect", "127.0.0.1:1"];
    let infer = |more: &[&str]| hushnet(&[&nobody, more].concat());
    infer(&["--batch"]).failure(2, &["--batch", "--mode he"]);
    for flag in [&["--logits"][..], &["--top", "2"], &["--bundle", "2"], &["--rounds", "one"]] {
        infer(&[flag, &["--mode", "he"]].concat()).failure(2, &[flag[0], "--mode he"]);
    }
    assert!(square_network().is_file());
}
