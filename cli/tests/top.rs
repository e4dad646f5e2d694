//! The best labels on request: in order, and the first is the plain label; from prepared bundles too; refused by
//! servers that give one only.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod common;

use common::{Run, Server, digit_labels, digits, hushnet, model, text};
use nn_merge::fixed_point::{evaluate_exact, quantize_image};
use nn_merge::model::Model;
use serde_json::{Value, json};

fn infer(server: &Server, more: &[&str]) -> Run {
    hushnet(&[&["infer", text(digits()), "--connect", &server.address], more].concat())
}

/// The lists of a document.
fn top(document: &Value) -> Vec<Vec<usize>> {
    serde_json::from_value(document["top"].clone()).unwrap()
}

/// Logits of the drawn digits by the fixed-point network without noise.
fn exact_logits() -> Vec<Vec<f64>> {
    let model = Model::from_bytes(&std::fs::read(model()).unwrap()).unwrap();
    let mut paths: Vec<_> = std::fs::read_dir(digits()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let one = |path: &std::path::PathBuf| {
        let pixels = image::open(path).unwrap().into_luma8().into_raw();
        let input = &model.manifest.input;
        let values: Vec<f32> =
            pixels.iter().map(|&pixel| input.normalize(f64::from(pixel), 0) as f32).collect();
        let input = quantize_image(&model.manifest, &values).unwrap();
        evaluate_exact(&model, &input, None).unwrap().logits
    };
    paths.iter().map(one).collect()
}

/// The list holds different labels, and no logit in it or after it is larger than the one before by more than noise.
#[track_caller]
fn check_order(list: &[usize], logits: &[f64]) {
    const NOISE: f64 = 0.2;
    let mut sorted = logits.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    for (&label, best) in list.iter().zip(sorted) {
        assert!((logits[label] - best).abs() <= NOISE, "{list:?} of {logits:?}");
    }
    let different: std::collections::BTreeSet<_> = list.iter().collect();
    assert_eq!(different.len(), list.len(), "{list:?}");
}

#[test]
fn the_best_labels_in_order() {
    let server = Server::start(&["--top", "3"]);
    let folder = tempfile::tempdir().unwrap();
    let logits = exact_logits();
    let plain = infer(&server, &["--json"]).json();
    assert_eq!((&plain["output"], &plain["labels"]), (&json!("label"), &json!(digit_labels())));
    assert!(plain.get("top").is_none() && plain.get("top_accuracy").is_none());

    let all = infer(&server, &["--top", "3", "--json"]).json();
    assert_eq!((&all["output"], &all["labels"]), (&json!("top"), &plain["labels"]));
    assert!(all.get("logits").is_none() && all.get("top_accuracy").is_none());
    let lists = top(&all);
    assert_eq!(lists.len(), digit_labels().len());
    for ((list, label), logits) in lists.iter().zip(digit_labels()).zip(&logits) {
        assert_eq!((list.len(), list[0]), (3, label));
        check_order(list, logits);
    }

    // One label is what comes second, one comes nowhere: the first of a list decides, the list counts apart.
    let mut expected = digit_labels();
    expected[3] = lists[3][1];
    expected[5] = (0..10).find(|label| !lists[5].contains(label)).unwrap();
    let labels = folder.path().join("labels.csv");
    let lines: String = expected.iter().enumerate().map(|(at, label)| format!("{at},{label}\n")).collect();
    std::fs::write(&labels, format!("index,label\n{lines}")).unwrap();
    let few = ["--labels", text(&labels), "--count", "8"];
    let counted = infer(&server, &[&few[..], &["--top", "3", "--json"]].concat()).json();
    assert_eq!([&counted["accuracy"], &counted["top_accuracy"]], [&json!(0.75), &json!(0.875)]);
    let page = infer(&server, &[&few[..], &["-v", "--top", "3"]].concat()).success();
    let [one, two, three] = [0, 1, 2].map(|place| lists[0][place]);
    for words in [
        &format!(": {one}, {two}, {three}\n"),
        "6 of 8 right: 75.00 %",
        "7 of 8 among the best 3: 87.50 %",
        "top labels",
    ] {
        assert!(page.contains(words), "{words} in {page}");
    }

    // Fewer than allowed, none in particular, more than allowed.
    let two = infer(&server, &["--top", "2", "--count", "4", "--rounds", "one", "--json"]).json();
    for (list, logits) in top(&two).iter().zip(&logits) {
        assert_eq!(list.len(), 2);
        check_order(list, logits);
    }
    let one = infer(&server, &["--top", "1", "--count", "2", "--json"]).json();
    assert_eq!((&one["output"], one.get("top")), (&json!("label"), None));
    infer(&server, &["--top", "4"]).failure(5, &["best 3 labels", "not 4", "--top"]);
}

#[test]
fn servers_and_models_have_as_many_as_they_have() {
    let server = Server::start(&[]);
    infer(&server, &["--top", "3"]).failure(5, &["this server gives", "not the best 3", "hint", "--top"]);
    let pool = tempfile::tempdir().unwrap();
    let prepare = ["prepare", "--connect", &server.address, "--pool", text(pool.path()), "--top", "2"];
    hushnet(&prepare).failure(5, &["this server gives", "not the best 2"]);
    assert_eq!(std::fs::read_dir(pool.path()).unwrap().count(), 0);
    // One is what every server gives.
    let one = infer(&server, &["--top", "1", "--json"]).json();
    assert_eq!(one["labels"], json!(digit_labels()));

    let server = Server::start(&["--top", "16"]);
    infer(&server, &["--top", "11"]).failure(2, &["--top 11", "10 classes"]);
    let all = top(&infer(&server, &["--top", "10", "--count", "1", "--json"]).json());
    check_order(&all[0], &exact_logits()[0]);
    hushnet(&["inspect", text(model()), "--top", "11"]).failure(2, &["--top 11", "10 classes"]);
}

#[test]
fn bundles_are_prepared_for_as_many() {
    let server = Server::start(&["--top", "3"]);
    let folder = tempfile::tempdir().unwrap();
    let pool = text(folder.path());
    let prepare = ["prepare", "--connect", &server.address, "--pool", pool, "--top", "3", "--json"];
    let prepared = hushnet(&[&prepare[..], &["--count", "6", "--bundle", "4"]].concat()).json();
    assert_eq!((&prepared["output"], &prepared["waiting"]), (&json!("top"), &json!(2)));

    // Good for three labels and for nothing else; trying uses nothing up.
    for other in [&["--top", "2"][..], &[]] {
        infer(&server, &[&["--pool", pool, "--count", "1"], other].concat())
            .failure(7, &["no prepared bundle", "hushnet prepare"]);
    }
    // Five images: the bundle of four, and that of two filled up with nothing.
    let used = infer(&server, &["--pool", pool, "--top", "3", "--count", "5", "--json"]).json();
    assert_eq!(used["labels"], json!(digit_labels()[..5]));
    assert_eq!(used["preprocessing"]["bytes_sent"], 0);
    let lists = top(&used);
    assert_eq!(lists.len(), 5);
    for (list, logits) in lists.iter().zip(&exact_logits()) {
        check_order(list, logits);
    }
    infer(&server, &["--pool", pool, "--top", "3", "--count", "1"]).failure(7, &["no prepared bundle"]);
}

#[test]
fn the_steps_of_the_search_are_shown() {
    let inspect = |more: &[&str]| hushnet(&[&["inspect", text(model()), "--json"], more].concat()).json();
    let (one, three) = (inspect(&[]), inspect(&["--top", "3"]));
    assert_eq!([&one["top"], &three["top"]], [&json!(1), &json!(3)]);
    // Comparisons in all steps of a name: nine find the largest of ten, the three best take more.
    let elements = |document: &Value, part: &str| {
        let steps = document["steps"].as_array().unwrap().iter().filter(|step| step["part"] == part);
        steps.map(|step| step["elements"].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!([elements(&one, "arg-max"), elements(&one, "top labels")], [9, 0], "{one}");
    assert!(elements(&three, "arg-max") == 0 && elements(&three, "top labels") > 9, "{three}");
    // As it then is.
    let server = Server::start(&["--top", "3"]);
    let real = infer(&server, &["--top", "3", "--count", "1", "--rounds", "three", "--json"]).json();
    assert_eq!(real["terms"]["steps"]["three_rounds"], three["steps"].as_array().unwrap().len());

    let page = hushnet(&["inspect", text(model()), "--top", "3"]).success();
    assert!(page.contains("Activations of a bundle of 1 image, the best 3 labels: three"), "{page}");
}

#[test]
fn the_flag_is_explained() {
    for (command, words) in [
        ("serve", "more tell them more about the network"),
        ("infer", "largest logit first"),
        ("prepare", "nothing else about the logits leaves"),
        ("inspect", "the N best labels"),
    ] {
        let page = hushnet(&[command, "--help"]).success();
        // Wherever its lines are broken.
        let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(page.contains("--top <N>") && page.contains(words), "{words} in {page}");
        let script = hushnet(&["completions", "fish"]).success();
        let mut lines = script.lines();
        assert!(
            lines.any(|line| line.contains(&format!("subcommand {command}")) && line.contains("-l top")),
            "{command}"
        );
    }
}
