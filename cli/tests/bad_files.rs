//! Files that are damaged, of another kind, or not there: one clear error and an exit code each.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod common;

use common::{Run, Server, digits, hushnet, model, network, text};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A folder and the file `name` in it with these contents.
fn file(name: &str, contents: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, contents).unwrap();
    (folder, path)
}

/// Merges a network file; whatever comes, no model may be left behind.
fn merge(network: &Path, more: &[&str]) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.hush");
    let run = hushnet(&[&["merge", text(network), "-o", text(&output)], more].concat());
    if run.code != Some(0) {
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{run:?}");
    }
    run
}

#[test]
fn truncated_and_damaged_models_are_refused() {
    let whole = std::fs::read(model()).unwrap();
    for length in [0, 7, 19, 100, whole.len() / 2, whole.len() - 1] {
        let (_folder, path) = file("cut.hush", &whole[..length]);
        hushnet(&["inspect", text(&path)]).failure(3, &["cut.hush", "not a usable model file"]);
        let serve = ["serve", text(&path), "--listen", "127.0.0.1:0"];
        hushnet(&serve).failure(3, &["cut.hush", "not a usable model file"]);
    }
    for place in [9, 40, whole.len() / 2, whole.len() - 5] {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x10;
        let (_folder, path) = file("bent.hush", &bytes);
        hushnet(&["inspect", text(&path)]).failure(3, &["bent.hush"]);
    }
    hushnet(&["inspect", text(network())]).failure(3, &["merg"]);
    hushnet(&["inspect", "/no/such.hush"]).failure(1, &["/no/such.hush"]);
}

#[test]
fn networks_that_cannot_be_used_are_named() {
    let whole = std::fs::read(network()).unwrap();
    let (_folder, path) = file("cut.onnx", &whole[..whole.len() / 2]);
    merge(&path, &[]).failure(3, &["cut.onnx"]);
    let (_folder, path) = file("empty.onnx", b"");
    merge(&path, &[]).failure(3, &["empty.onnx"]);

    // An operator that nobody knows.
    let (known, unknown) = (b"\x22\x04Relu", b"\x22\x04Blip");
    let mut bytes = whole.clone();
    let places: Vec<usize> =
        (0..bytes.len() - known.len()).filter(|&at| bytes[at..].starts_with(known)).collect();
    assert_eq!(places.len(), 3, "the network has three ReLUs");
    places.iter().for_each(|&at| bytes[at..at + known.len()].copy_from_slice(unknown));
    let (_folder, path) = file("odd.onnx", &bytes);
    merge(&path, &[]).failure(3, &["odd.onnx", "Blip", "not supported"]);

    // Eight bytes of ones hold a whole NaN, wherever the weights begin.
    let mut bytes = whole;
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8].fill(0xff);
    let (_folder, path) = file("nan.onnx", &bytes);
    merge(&path, &[]).failure(3, &["nan.onnx", "NaN"]);
    merge(Path::new("/no/such.onnx"), &[]).failure(1, &["/no/such.onnx"]);
}

#[test]
fn merging_checks_its_flags() {
    merge(network(), &["--mean", "0.1,0.2"]).failure(2, &["--mean", "1 channel"]);
    merge(network(), &["--scale", "0"]).failure(2, &["--scale"]);
    merge(network(), &["--margin", "0.5"]).failure(2, &["--margin"]);
    merge(network(), &["--calibrate", "/no/such/images"]).failure(1, &["/no/such/images"]);
    let run = hushnet(&["merge", text(network()), "-o", "/no/such/folder/x.hush"]);
    run.failure(1, &["/no/such/folder/x.hush"]);
}

#[test]
fn images_that_do_not_fit_are_named() {
    let server = Server::start(&[]);
    let infer = |images: &str, more: &[&str]| {
        hushnet(&[&["infer", images, "--connect", &server.address], more].concat())
    };
    let folder = tempfile::tempdir().unwrap();
    let small = folder.path().join("small.png");
    image::GrayImage::new(20, 24).save(&small).unwrap();
    infer(text(&small), &[]).failure(1, &["small.png", "24", "20", "28"]);
    let (_folder, path) = file("notes.png", b"not a picture");
    infer(text(&path), &[]).failure(1, &["notes.png"]);
    infer("/no/such.png", &[]).failure(1, &["/no/such.png"]);
    infer(text(digits()), &["--first", "10", "--count", "10"]).failure(1, &["16 images"]);
    let (_folder, path) = file("labels.txt", b"1\n2\n");
    infer(text(digits()), &["--labels", text(&path)]).failure(1, &["labels.txt", "2"]);
    let (_folder, path) = file("labels.txt", b"one\n");
    infer(text(digits()), &["--labels", text(&path)]).failure(1, &["labels.txt"]);
}
