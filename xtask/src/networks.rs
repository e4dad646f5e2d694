//! The networks that the tasks measure and judge: where they are, what their inputs look like, which data belong to them.
//!
//! | origin | where | weights |
//! |---|---|---|
//! | repository | `cli/assets`, `training/networks` | trained |
//! | shared | a folder of data sets with `models`, `expected` and images beside the repository, or at `HUSHNET_DATA` | trained |
//! | zoo | [`nn_merge::zoo`] | random: for costs, not for labels |
//!
//! A network of the shared data that is not there is replaced by the zoo's network of the same layers where there is one,
//! and left out otherwise; both are said aloud. Networks are calibrated on training images only (see [`images`]).

pub(crate) mod images;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use he_core::{Profile, Seed};
use nn_merge::{BuildOptions, Graph, onnx, zoo};

use images::Set;

/// Training images that calibrate a network; fewer for large inputs.
const CALIBRATION_IMAGES: usize = 256;

/// One network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Network {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    source: Source,
    form: Form,
    /// Measured only when named, or when all are wanted.
    pub(crate) large: bool,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    /// File below the repository's root, and the data set that it was trained on.
    Repository(&'static str, Set),
    /// `models/<name>.onnx` in the folder of its data set; the zoo's network of the same layers, if there is one.
    Shared(Set, Option<&'static str>),
    /// Name in the zoo.
    Zoo(&'static str),
}

/// How raw pixels become the network's input: (pixel · scale − mean) / std.
#[derive(Clone, Copy, Debug)]
struct Form {
    scale: f64,
    mean: &'static [f64],
    std: &'static [f64],
}

const PLAIN: Form = Form { scale: 1.0 / 255.0, mean: &[], std: &[] };
const DIGITS: Form = Form { scale: 1.0 / 16.0, ..PLAIN };
const MNIST: Form = Form { mean: &[0.1307], std: &[0.3081], ..PLAIN };
const IMAGENET: Form = Form { mean: &[0.485, 0.456, 0.406], std: &[0.229, 0.224, 0.225], ..PLAIN };
const CIFAR10: Form = Form { mean: &[0.4914, 0.4822, 0.4465], std: &[0.2023, 0.1994, 0.2010], ..PLAIN };
const CIFAR100: Form = Form { mean: &[0.5071, 0.4867, 0.4408], std: &[0.2675, 0.2565, 0.2761], ..PLAIN };

const fn shared(name: &'static str, set: Set, form: Form, zoo: Option<&'static str>) -> Network {
    Network { name, source: Source::Shared(set, zoo), form, large: false }
}

const fn own(name: &'static str, file: &'static str, set: Set) -> Network {
    Network { name, source: Source::Repository(file, set), form: PLAIN, large: false }
}

const fn large(network: Network) -> Network {
    Network { large: true, ..network }
}

const fn from_zoo(name: &'static str) -> Network {
    Network { name, source: Source::Zoo(name), form: IMAGENET, large: true }
}

/// All networks, small ones first.
pub(crate) const ALL: &[Network] = &[
    own("mnist_cnn", "cli/assets/mnist_cnn.onnx", Set::Mnist),
    own("mnist_poly", "training/networks/mnist_poly.onnx", Set::Mnist),
    own("fashion_poly", "training/networks/fashion_poly.onnx", Set::Fashion),
    shared("digits_mlp", Set::Digits, DIGITS, None),
    shared("mnist-8", Set::Mnist, PLAIN, None),
    shared("falcon_minionn_mnist", Set::Mnist, PLAIN, Some("minionn_mnist")),
    shared("falcon_secureml_mnist", Set::Mnist, PLAIN, Some("mlp")),
    shared("burn_cnn_bn_mnist", Set::Mnist, MNIST, None),
    shared("vnncomp_mlp_256x2_mnist", Set::Mnist, PLAIN, None),
    shared("fashion_cnn_bn", Set::Fashion, PLAIN, Some("lenet")),
    shared("delphi_minionn_cifar10_relu", Set::Cifar10, PLAIN, Some("minionn_cifar")),
    shared("delphi_minionn_cifar10_relu6", Set::Cifar10, PLAIN, None),
    shared("delphi_minionn_cifar10_poly", Set::Cifar10, PLAIN, None),
    shared("vnncomp_cifar10_small_nhwc", Set::Cifar10, PLAIN, None),
    shared("resnet20_cifar10", Set::Cifar10, IMAGENET, Some("resnet20")),
    shared("resnet20_cifar10_conv1x1", Set::Cifar10, IMAGENET, None),
    shared("resnet20_cifar10_bnfolded", Set::Cifar10, IMAGENET, None),
    shared("resnet20_cifar10_torchexport", Set::Cifar10, IMAGENET, None),
    shared("fhempcnn_resnet20_cifar10", Set::Cifar10, CIFAR10, None),
    shared("resnet32_cifar10", Set::Cifar10, IMAGENET, Some("resnet32")),
    shared("resnet56_cifar10", Set::Cifar10, IMAGENET, Some("resnet56")),
    shared("fhempcnn_resnet32_cifar100", Set::Cifar100, CIFAR100, None),
    shared("delphi_resnet32_cifar100", Set::Cifar100, PLAIN, None),
    large(shared("squeezenet1_0_imagenet", Set::Photographs, IMAGENET, Some("squeezenet1_0"))),
    from_zoo("resnet18"),
    from_zoo("mobilenetv2"),
    from_zoo("resnet50"),
    from_zoo("vgg16"),
];

/// The networks called so; an unknown name is an error that lists the known ones.
pub(crate) fn named(names: &[String]) -> Result<Vec<&'static Network>> {
    names
        .iter()
        .map(|name| {
            ALL.iter().find(|network| network.name == name).with_context(|| {
                let known: Vec<&str> = ALL.iter().map(|network| network.name).collect();
                format!("there is no network `{name}`: there are {}", known.join(", "))
            })
        })
        .collect()
}

/// A network's graph and where it is from.
pub(crate) struct Loaded {
    pub(crate) graph: Graph,
    /// For tables.
    pub(crate) origin: String,
    /// Training images for it, C×H×W and normalised; none for networks of random weights.
    pub(crate) calibration: Vec<Vec<f32>>,
}

impl Network {
    /// Reads or makes the network; `None`, said aloud, if its file is not there and nothing can stand for it.
    pub(crate) fn load(&self) -> Result<Option<Loaded>> {
        let from_zoo = |name: &str| -> Result<Loaded> {
            let graph = zoo::by_name(name, None, &mut Seed::from_os()?.stream())?;
            Ok(Loaded { graph, origin: format!("zoo {name}, random weights"), calibration: Vec::new() })
        };
        let read = |file: &Path| -> Result<Graph> {
            let bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
            onnx::import(&bytes).with_context(|| file.display().to_string())
        };
        match self.source {
            Source::Zoo(name) => from_zoo(name).map(Some),
            Source::Repository(file, set) => {
                let graph = read(&crate::root().join(file))?;
                let calibration = match shared_data() {
                    Some(_) => self.calibration(set)?,
                    None => Vec::new(),
                };
                Ok(Some(Loaded { graph, origin: file.to_owned(), calibration }))
            }
            Source::Shared(set, instead) => match (self.file(), instead) {
                (Some(file), _) => {
                    let origin = format!("shared {}/models", set.folder());
                    Ok(Some(Loaded { graph: read(&file)?, origin, calibration: self.calibration(set)? }))
                }
                (None, Some(name)) => {
                    eprintln!(
                        "{}: NOT THERE (no shared data; set HUSHNET_DATA): the zoo's {name} with random weights instead",
                        self.name
                    );
                    from_zoo(name).map(Some)
                }
                (None, None) => {
                    eprintln!("{}: SKIPPED (no shared data; set HUSHNET_DATA)", self.name);
                    Ok(None)
                }
            },
        }
    }

    /// Its data set.
    pub(crate) fn set(&self) -> Option<Set> {
        match self.source {
            Source::Shared(set, _) | Source::Repository(_, set) => Some(set),
            Source::Zoo(_) => None,
        }
    }

    /// Its file of classes that float arithmetic gives, if it has one.
    pub(crate) fn expected_file(&self) -> Option<PathBuf> {
        let Source::Shared(set, _) = self.source else { return None };
        let folder = shared_data()?.join(set.folder()).join("expected");
        let ending = if set == Set::Photographs { "top5.csv" } else { "csv" };
        Some(folder.join(format!("{}.{ending}", self.name))).filter(|file| file.is_file())
    }

    /// Build options that say what the input looks like.
    pub(crate) fn options(&self, profile: Profile) -> BuildOptions {
        let Form { scale, mean, std } = self.form;
        let mut options = BuildOptions::new(profile, self.name);
        (options.scale, options.mean, options.std) = (scale, mean.to_vec(), std.to_vec());
        options
    }

    fn file(&self) -> Option<PathBuf> {
        let Source::Shared(set, _) = self.source else { return None };
        let file = shared_data()?.join(set.folder()).join("models").join(format!("{}.onnx", self.name));
        file.is_file().then_some(file)
    }

    /// Training images in the network's form.
    fn calibration(&self, set: Set) -> Result<Vec<Vec<f32>>> {
        let count = if set == Set::Photographs { 16 } else { CALIBRATION_IMAGES };
        let images = images::train(set, count)?;
        if images.is_empty() {
            bail!("{} has no training images", set.folder());
        }
        Ok(images.iter().map(|pixels| self.normalised(set, pixels)).collect())
    }

    /// Raw pixels as the network takes them.
    pub(crate) fn normalised(&self, set: Set, pixels: &[u8]) -> Vec<f32> {
        let plane = pixels.len() / set.channels();
        let at = |values: &[f64], channel: usize, otherwise: f64| match values {
            [] => otherwise,
            [one] => *one,
            many => many[channel],
        };
        pixels
            .iter()
            .enumerate()
            .map(|(index, &pixel)| {
                let channel = index / plane;
                let (mean, std) = (at(self.form.mean, channel, 0.0), at(self.form.std, channel, 1.0));
                ((f64::from(pixel) * self.form.scale - mean) / std) as f32
            })
            .collect()
    }
}

/// The folder of the shared data, if it is there.
pub(crate) fn shared_data() -> Option<PathBuf> {
    let folder =
        std::env::var_os("HUSHNET_DATA").map_or_else(|| crate::root().join("../shared/data"), PathBuf::from);
    folder.is_dir().then_some(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_known() {
        let names: std::collections::HashSet<&str> = ALL.iter().map(|network| network.name).collect();
        assert_eq!(names.len(), ALL.len());
        assert_eq!(named(&["resnet18".into(), "mnist-8".into()]).unwrap().len(), 2);
        let error = named(&["resnet19".into()]).unwrap_err().to_string();
        assert!(error.contains("resnet19") && error.contains("resnet20_cifar10"), "{error}");
    }

    #[test]
    fn the_zoo_has_what_is_asked_of_it() {
        for network in ALL {
            if let Source::Zoo(name) | Source::Shared(_, Some(name)) = network.source {
                assert!(zoo::NAMES.contains(&name), "{name}");
            }
        }
    }

    #[test]
    fn pixels_are_normalised_by_channel() {
        let network = named(&["resnet20_cifar10".into()]).unwrap()[0];
        let mut pixels = vec![0u8; 3 * 1024];
        pixels[1024] = 255;
        let values = network.normalised(Set::Cifar10, &pixels);
        assert!((values[0] + 0.485 / 0.229).abs() < 1e-6);
        assert!((values[1024] - (1.0 - 0.456) / 0.224).abs() < 1e-6);
        assert!((values[3071] + 0.406 / 0.225).abs() < 1e-6);
    }
}
