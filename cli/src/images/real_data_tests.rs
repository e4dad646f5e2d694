//! The readers on real data sets, where those are there.
//!
//! The folder is named by `HUSHNET_DATA`, else `../shared/data` beside the repository. Without it these tests say so and
//! check nothing.

use std::path::{Path, PathBuf};

use super::{Image, Wanted, read, read_labels};

const DIGIT: Wanted = Wanted { channels: 1, height: 28, width: 28, channels_last: false };

/// A file of the data folder; none, loudly, if it is not there.
fn data(file: &str) -> Option<PathBuf> {
    let folder = match std::env::var_os("HUSHNET_DATA") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
    };
    let path = folder.join(file);
    if path.exists() {
        return Some(path);
    }
    eprintln!("SKIPPED: {} is not there; set HUSHNET_DATA to the folder of data sets", path.display());
    None
}

fn mean(image: &Image) -> f32 {
    image.chw.iter().sum::<f32>() / image.chw.len() as f32
}

#[test]
fn mnist() {
    let (Some(images), Some(labels), Some(expected)) = (
        data("mnist/t10k-first5000-images-idx3-ubyte.gz"),
        data("mnist/t10k-first5000-labels-idx1-ubyte.gz"),
        data("mnist/expected/mnist-8.csv"),
    ) else {
        return;
    };
    let all = read(&images, DIGIT, 0, None).unwrap();
    assert_eq!(all.len(), 5000);
    assert!(all.iter().all(|image| image.pixels && (5.0..120.0).contains(&mean(image))));
    // The mean grey of MNIST is known to be near 0.13.
    let grey = all.iter().map(mean).sum::<f32>() / 5000.0 / 255.0;
    assert!((0.12..0.14).contains(&grey), "{grey}");
    assert_eq!(read(&images, DIGIT, 4321, Some(2)).unwrap(), all[4321..4323]);
    let known = read_labels(&labels, 0, None).unwrap();
    assert_eq!(known[..5], [7, 2, 1, 0, 4]);
    assert_eq!(known, read_labels(&expected, 0, None).unwrap());
}

#[test]
fn cifar10() {
    let (Some(file), Some(expected)) =
        (data("cifar10/test-first5000.bin"), data("cifar10/expected/resnet20_cifar10.csv"))
    else {
        return;
    };
    let want = Wanted { channels: 3, height: 32, width: 32, channels_last: false };
    let some = read(&file, want, 100, Some(50)).unwrap();
    assert_eq!(some.len(), 50);
    assert!(some.iter().all(|image| (10.0..245.0).contains(&mean(image))));
    let labels = read_labels(&file, 0, None).unwrap();
    assert_eq!(labels, read_labels(&expected, 0, None).unwrap());
    assert!((0..10).all(|class| labels.iter().filter(|&&label| label == class).count() == 500));
}

#[test]
fn photographs() {
    let Some(folder) = data("imagenet/photos") else { return };
    let want = Wanted { channels: 3, height: 227, width: 227, channels_last: false };
    for name in ["bridge", "cat", "coyote", "flamingo", "torch"] {
        let image = read(&folder.join(format!("{name}_227.png")), want, 0, None).unwrap().remove(0);
        assert_eq!(image.chw.len(), 3 * 227 * 227);
        assert!((20.0..235.0).contains(&mean(&image)), "{name}: {}", mean(&image));
        let photograph = folder.join(format!("{name}.jpg"));
        let error = read(&photograph, want, 0, None).unwrap_err().to_string();
        assert!(error.contains("3×227×227"), "{error}");
        // Its own size is in the error; with that it is read.
        let size = error.split("a picture of 3×").nth(1).unwrap().split(',').next().unwrap();
        let (height, width) = size.split_once('×').unwrap();
        let own = Wanted { height: height.parse().unwrap(), width: width.parse().unwrap(), ..want };
        assert_eq!(read(&photograph, own, 0, None).unwrap()[0].chw.len(), own.values());
    }
}
