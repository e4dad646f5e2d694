//! The two terminals: a server and clients as processes, the drawn digits as input.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod common;

use common::{Server, digit_labels, digits, hushnet, model, network, text};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Every stage of a document has all four figures, and those that must be positive are.
#[track_caller]
fn check_stage(document: &Value, stage: &str) {
    for field in ["seconds", "bytes_sent", "bytes_received", "rounds"] {
        let value =
            document[stage][field].as_f64().unwrap_or_else(|| panic!("{stage}.{field} in {document}"));
        assert!(value > 0.0, "{stage}.{field} is {value}");
    }
}

#[test]
fn labels_of_the_drawn_digits() {
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let labels = folder.path().join("labels.csv");
    let lines: String =
        digit_labels().iter().enumerate().map(|(at, label)| format!("{at},{label}\n")).collect();
    std::fs::write(&labels, format!("index,label\n{lines}")).unwrap();

    let document = hushnet(&[
        "infer",
        text(digits()),
        "--connect",
        &server.address,
        "--labels",
        text(&labels),
        "--json",
    ])
    .json();
    assert_eq!(document["schema"], "hushnet-infer/1");
    assert_eq!(document["labels"], document["expected"]);
    assert_eq!(document["labels"], serde_json::json!(digit_labels()));
    assert_eq!(document["accuracy"], 1.0);
    assert_eq!(document["bundles"], serde_json::json!([16]));
    assert!(document.get("logits").is_none(), "labels only");
    for stage in ["setup", "preprocessing", "online"] {
        check_stage(&document, stage);
    }
    assert!(document["peak_memory_bytes"].as_u64().is_none_or(|bytes| bytes > 1 << 20));
    let layers = document["layers"].as_array().unwrap();
    assert!(layers.len() > 8, "{layers:?}");
    for field in ["stage", "layer", "part", "seconds", "bytes_sent", "bytes_received", "rounds"] {
        assert!(layers.iter().all(|row| row.get(field).is_some()), "{field}");
    }

    // One image, as a person sees it; others of the folder by --first and --count.
    let one = digits().join("digit_7_a.png");
    let page = hushnet(&["-v", "infer", text(&one), "--connect", &server.address]).success();
    assert!(page.starts_with("digit_7_a.png: 7\n"), "{page}");
    for word in ["setup", "preprocessing", "online", "max-pool", "ReLU", "arg-max"] {
        assert!(page.contains(word), "{word} in {page}");
    }
    let some = ["infer", text(digits()), "--first", "4", "--count", "3", "--bundle", "2", "--json"];
    let some = hushnet(&[&some[..], &["--connect", &server.address]].concat()).json();
    assert_eq!(some["labels"], serde_json::json!(digit_labels()[4..7]));
    assert_eq!(some["bundles"], serde_json::json!([2, 1]));

    // A client that says nothing does not hold it up.
    let _idle = std::net::TcpStream::connect(&server.address).unwrap();
    let asked = Instant::now();
    let (code, log) = server.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(asked.elapsed() < Duration::from_secs(2));
    assert_eq!(log.matches("done, ").count(), 3, "{log}");
    assert!(log.contains("16 images"), "{log}");
}

#[test]
fn logits_of_the_drawn_digits() {
    let server = Server::start(&["--output", "logits", "--logit-bits", "14"]);
    let arguments = ["infer", text(digits()), "--connect", &server.address, "--logits", "--json"];
    let document = hushnet(&arguments).json();
    let exact = fixed_point_logits();
    assert_eq!(document["logit_bits"], 14);
    let rows = document["logits"].as_array().unwrap();
    assert_eq!(rows.len(), exact.len());
    for (row, exact) in rows.iter().zip(&exact) {
        let row: Vec<f64> = row.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
        assert_eq!(row.len(), exact.logits.len());
        for ((private, exact), bound) in row.iter().zip(&exact.logits).zip(&exact.bounds) {
            assert!((private - exact).abs() <= *bound, "{private} and {exact} differ by more than {bound}");
            // The bound holds for the worst noise; of this network's, reaching 20 and more, far less is seen.
            assert!((private - exact).abs() <= 0.2, "{private} and {exact}");
        }
    }
    assert_eq!(document["labels"], serde_json::json!(digit_labels()));
    // Whoever asks for less gets less.
    let labels = hushnet(&["infer", text(digits()), "--connect", &server.address, "--json"]).json();
    assert_eq!(labels["labels"], document["labels"]);
    assert!(labels.get("logits").is_none());
}

/// Logits of the fixed-point network without noise for the drawn digits, with bounds for logits of 14 bits.
fn fixed_point_logits() -> Vec<nn_merge::fixed_point::Exact> {
    let model = nn_merge::model::Model::from_bytes(&std::fs::read(model()).unwrap()).unwrap();
    let mut paths: Vec<_> = std::fs::read_dir(digits()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let one = |path: &std::path::PathBuf| {
        let pixels = image::open(path).unwrap().into_luma8().into_raw();
        let input: Vec<f32> =
            pixels.iter().map(|&pixel| model.manifest.input.normalize(f64::from(pixel), 0) as f32).collect();
        let input = nn_merge::fixed_point::quantize_image(&model.manifest, &input).unwrap();
        nn_merge::fixed_point::evaluate_exact(&model, &input, Some(14)).unwrap()
    };
    paths.iter().map(one).collect()
}

#[test]
fn prepared_bundles_work_once() {
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let pool = folder.path().join("pool");
    let prepare = ["prepare", "--connect", &server.address, "--pool", text(&pool), "--json"];
    let document = hushnet(&[&prepare[..], &["--count", "6", "--bundle", "4"]].concat()).json();
    assert_eq!(document["schema"], "hushnet-prepare/1");
    assert_eq!(
        (&document["bundles"], &document["waiting"]),
        (&serde_json::json!([4, 2]), &serde_json::json!(2))
    );
    check_stage(&document, "preprocessing");

    // Five images: the bundle of four, and that of two filled up with nothing.
    let infer = ["infer", text(digits()), "--connect", &server.address, "--pool", text(&pool)];
    let infer = |more: &[&str]| hushnet(&[&infer[..], more].concat());
    let document = infer(&["--count", "5", "--json"]).json();
    assert_eq!(document["labels"], serde_json::json!(digit_labels()[..5]));
    assert_eq!(document["preprocessing"]["bytes_sent"], 0);
    assert_eq!(
        document["bundles"].as_array().unwrap().iter().map(|size| size.as_u64().unwrap()).sum::<u64>(),
        6
    );
    check_stage(&document, "online");
    infer(&["--count", "5"]).failure(7, &["no prepared bundle", "hushnet prepare"]);

    // A copy of a used bundle finds no other half.
    hushnet(&[&prepare[..], &["--count", "1"]].concat()).success();
    let file = std::fs::read_dir(&pool).unwrap().next().unwrap().unwrap().path();
    let copy = std::fs::read(&file).unwrap();
    infer(&["--count", "1"]).success();
    std::fs::write(&file, copy).unwrap();
    infer(&["--count", "1"]).failure(7, &["used already"]);

    let missing = folder.path().join("missing");
    let nothing = ["infer", text(digits()), "--connect", &server.address, "--pool", text(&missing)];
    hushnet(&nothing).failure(7, &["missing"]);
    assert!(!missing.exists());

    // A pool that is too small says how far it got.
    hushnet(&[&prepare[..], &["--count", "2", "--bundle", "2"]].concat()).success();
    infer(&["--count", "3"]).failure(7, &["after 2 of 3 images"]);
}

#[test]
fn merging_and_inspecting_report_what_they_say() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("narrow.hush");
    let merge = ["merge", text(network()), "-o", text(&path), "--profile", "narrow", "--scale", "1/255"];
    let merged = hushnet(&[&merge[..], &["--json", "--name", "small"]].concat()).json();
    assert_eq!(merged["schema"], "hushnet-merge/2");
    assert_eq!((&merged["name"], &merged["profile"]), (&"small".into(), &"narrow".into()));
    assert_eq!(merged["calibration_is_synthetic"], true);
    assert!(merged["passes"].as_array().is_some_and(|passes| !passes.is_empty()));
    let linear = |node: &&serde_json::Value| node["weights"].as_u64() > Some(0);
    assert_eq!(merged["nodes"].as_array().unwrap().iter().filter(linear).count(), 4);
    assert_eq!(merged["bytes"].as_u64().unwrap(), std::fs::metadata(&path).unwrap().len());

    let inspected = hushnet(&["inspect", text(&path), "--json", "--bundle", "16"]).json();
    assert_eq!(inspected["schema"], "hushnet-inspect/2");
    assert_eq!(inspected["digest"], merged["digest"]);
    assert_eq!(inspected["security"]["ring_degree"], 2048);
    assert_eq!(inspected["security"]["gives_logits"], false);
    let narrow = inspected["security"]["least_ratio_labels"].as_f64().unwrap();
    let wide = hushnet(&["inspect", text(model()), "--json"]).json();
    let wide = wide["security"]["least_ratio_labels"].as_f64().unwrap();
    assert!(wide > 1000.0 * narrow, "{wide} {narrow}");
    for layer in inspected["layers"].as_array().unwrap() {
        assert!(
            layer["reply_bytes"].as_u64().unwrap() > 0 && layer["noise"]["dither"].as_f64().unwrap() > 0.0
        );
    }
    let page = hushnet(&["inspect", text(&path)]).success();
    for word in ["2^", "bits of security", "--quota", "max-pool", "1×28×28"] {
        assert!(page.contains(word), "{word} in {page}");
    }
    let page = hushnet(&merge).success();
    for word in ["batch-norm", "max-pool before activation", "random inputs", "written to"] {
        assert!(page.contains(word), "{word} in {page}");
    }

    // Logits are not to be had in this profile.
    hushnet(&["serve", text(&path), "--listen", "127.0.0.1:0", "--output", "logits"])
        .failure(3, &["narrow", "wide"]);
}

#[test]
fn activations_are_replaced_by_a_list_and_networks_checked() {
    let folder = tempfile::tempdir().unwrap();
    let (path, list) = (folder.path().join("out.hush"), folder.path().join("list.json"));
    let merge = ["merge", text(network()), "-o", text(&path), "--replace", text(&list)];
    std::fs::write(&list, r#"[{"layer": "no such layer", "function": "square"}]"#).unwrap();
    hushnet(&merge).failure(3, &["no such layer"]);
    std::fs::write(&list, "{").unwrap();
    hushnet(&merge).failure(2, &["list.json", "replacements"]);
    assert!(!path.exists());

    // Without Python the check is against our own float evaluation, and says so.
    let check = ["merge", text(network()), "-o", text(&path), "--check", text(digits()), "--json"];
    let checked = hushnet(&check).json();
    let rows = checked["check"]["rows"].as_array().unwrap();
    let fixed = rows.last().unwrap();
    assert_eq!(fixed["form"], "merged, fixed point");
    assert_eq!(fixed["same_labels"], checked["check"]["inputs"]);
    assert!(fixed["largest_difference"].as_f64().unwrap() < 1.0);
}
