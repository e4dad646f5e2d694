//! The demonstration, as a document and as a page.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod common;

use common::{digit_labels, hushnet};

#[test]
fn the_document_holds_every_fact() {
    let document = hushnet(&["demo", "--json"]).json();
    assert_eq!(document["schema"], "hushnet-demo/1");
    assert_eq!(document["labels_agree"], true);
    let digits = document["digits"].as_array().unwrap();
    assert_eq!(digits.len(), digit_labels().len());
    for (digit, label) in digits.iter().zip(digit_labels()) {
        assert_eq!(digit["drawn"], label);
        assert_eq!(digit["private_label"], digit["plaintext_label"]);
        assert_eq!(digit["private_logits"].as_array().unwrap().len(), 10);
    }
    let number = |value: &serde_json::Value| value.as_f64().unwrap_or_else(|| panic!("{value}"));
    assert!(number(&document["largest_logit_difference"]) > 0.0);
    assert_eq!(document["within_bounds"], true);
    assert!(number(&document["largest_fixed_point_difference"]) <= number(&document["logit_bound"]));
    let stages = &document["stages"];
    assert!(number(&stages["merging"]["seconds"]) > 0.0);
    for stage in [&stages["setup"], &stages["preprocessing"], &stages["online"], &stages["logits"]["online"]]
    {
        for field in ["seconds", "bytes_sent", "bytes_received", "rounds"] {
            assert!(number(&stage[field]) > 0.0, "{field} in {stages}");
        }
    }
    let security = &document["security"];
    assert_eq!((&security["profile"], &security["ring_degree"]), (&"wide".into(), &2048.into()));
    assert!(number(&security["security_bits"]) >= 128.0);
    assert_ne!(security["server_process"], security["client_process"]);
    let server = security["server_process"].to_string();
    assert!(!std::path::Path::new("/proc").join(server).exists(), "the server outlived the demonstration");
}

#[test]
fn methods_reach_both_processes() {
    let flags = ["--transfers", "silent", "--base", "ml-kem", "--rounds", "auto", "--link", "1gbit/10ms"];
    let flags = [&flags[..], &["--preprocessing", "bfv"]].concat();
    let document = hushnet(&[&["demo", "--json"], &flags[..]].concat()).json();
    assert_eq!(document["labels_agree"], true);
    let terms = &document["terms"];
    assert_eq!([&terms["transfers"], &terms["base"], &terms["preprocessing"]], ["silent", "ml-kem", "bfv"]);
    assert_eq!(terms["modelled_link"], "1gbit/10ms");
    // One direction alone would make it 5 ms.
    assert!(terms["link"]["round_trip_seconds"].as_f64().unwrap() >= 0.0099, "{terms}");
    assert!(terms["steps"]["one_round"].as_u64().unwrap() > 0, "{terms}");
}

#[test]
fn the_page_shows_digits_and_tables() {
    let page = hushnet(&["demo"]).success();
    for label in digit_labels() {
        assert!(page.contains(&format!("private {label}, plain {label}")), "{page}");
    }
    for word in [
        "merging",
        "preprocessing",
        "online",
        "one-time",
        "bits of security",
        "semi-honest",
        "base transfers",
        "activation steps",
        "@",
    ] {
        assert!(page.contains(word), "{word} in {page}");
    }
    assert!(!page.contains('\x1b'), "colours without a terminal");
}
