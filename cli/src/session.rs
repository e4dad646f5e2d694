//! A client's session as the commands use it: connect, prepare, run bundle after bundle.
//!
//! Images are cut into bundles by [`bundles`]; each is prepared and run at once ([`Session::classify`]), or taken from
//! a folder of prepared ones ([`Session::classify_prepared`]). There a bundle that is larger than what is left is filled
//! up with zero inputs, whose results are dropped.

use std::path::Path;

use nn_merge::fixed_point::{first_largest, quantize_image};
use nn_merge::model::{InputSpec, Manifest};
use protocol::channel::{TcpOptions, connect};
use protocol::offline::ClientBundle;
use protocol::plan::MAX_IMAGES;
use protocol::report::Report;
use protocol::session::{Greeted, Ready};
use protocol::store::Store;
use protocol::{Client, Output, OutputMode, ProtocolError, Seed};

use crate::args::{MethodFlags, OutputFlags, checked_address};
use crate::error::Failure;
use crate::images::{Image, Wanted};
use crate::progress::Progress;
use crate::terms::{Agreed, Steps};

/// Images per bundle if nothing else is said.
const BUNDLE: usize = 16;

/// A session in which the terms are agreed.
pub(crate) struct Session {
    client: Client<Ready>,
    address: String,
    methods: MethodFlags,
    /// Of all bundles so far.
    steps: Steps,
}

/// What the client learns of its images, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answers {
    /// The best one of each image.
    pub(crate) labels: Vec<usize>,
    /// The best ones of each image, largest logit first, if several were asked for.
    pub(crate) top: Option<Vec<Vec<usize>>>,
    /// One row per image, if logits were asked for.
    pub(crate) logits: Option<Vec<Vec<f64>>>,
    /// Sizes of the bundles that were used.
    pub(crate) bundles: Vec<usize>,
}

/// Fresh randomness for a session or a server.
///
/// # Errors
/// [`Failure::System`] when the operating system has none.
pub(crate) fn fresh_seed() -> Result<Seed, Failure> {
    Seed::from_os()
        .map_err(|error| Failure::System { doing: "drawing randomness", reason: error.to_string() })
}

/// Sizes of the bundles for `count` images: as asked, else 16 at most; the last one may be smaller.
pub(crate) fn bundles(count: usize, asked: Option<usize>, most: usize) -> Vec<usize> {
    // What was asked for explicitly is left to the server to refuse.
    let size = asked.unwrap_or(BUNDLE.min(most)).max(1);
    (0..count).step_by(size).map(|start| size.min(count - start)).collect()
}

/// The input that a network wants, as the readers of images put it.
pub(crate) fn wanted(input: &InputSpec) -> Wanted {
    Wanted {
        channels: input.channels,
        height: input.height,
        width: input.width,
        channels_last: input.channels_last,
    }
}

/// The network's input for an image: pixels are scaled as it says, floats are taken as they are.
pub(crate) fn network_input(input: &InputSpec, image: &Image) -> Vec<f32> {
    if !image.pixels {
        return image.chw.clone();
    }
    let plane = (input.height * input.width).max(1);
    let scaled = |(at, &pixel): (usize, &f32)| {
        let value = input.normalize(f64::from(pixel), at / plane);
        within(value as f32, if value.abs() <= input.limit { input.limit } else { f64::INFINITY })
    };
    image.chw.iter().enumerate().map(scaled).collect()
}

/// The value, or its neighbour towards zero if rounding to single precision lifted it above `limit`.
fn within(value: f32, limit: f64) -> f32 {
    match f64::from(value).abs() > limit {
        true if value > 0.0 => value.next_down(),
        true => value.next_up(),
        false => value,
    }
}

/// The integers that go into the protocol, one image after another's.
///
/// # Errors
/// [`Failure::Value`] for an image with values that the model does not take.
pub(crate) fn quantised(manifest: &Manifest, images: &[Image]) -> Result<Vec<Vec<i64>>, Failure> {
    let one = |image: &Image| {
        quantize_image(manifest, &network_input(&manifest.input, image))
            .map_err(|source| Failure::Value { name: image.name.clone(), source })
    };
    images.iter().map(one).collect()
}

/// Connects to a server, as every session begins.
///
/// # Errors
/// No such server, or one of another version.
pub(crate) fn dial(address: &str, methods: &MethodFlags) -> Result<Client<Greeted>, Failure> {
    let address = checked_address(address).map_err(Failure::Usage)?;
    let failed = |source| Failure::session(address, source);
    let seed = fresh_seed()?;
    let options = TcpOptions { link: methods.link, ..TcpOptions::default() };
    let channel = connect(address, options).map_err(failed)?;
    Client::connect(channel, seed).map_err(failed)
}

impl Session {
    /// Connects and agrees on the output and the methods.
    ///
    /// # Errors
    /// No such server, a refusal, another version, more labels than the model has classes.
    pub(crate) fn open(address: &str, output: OutputFlags, methods: &MethodFlags) -> Result<Self, Failure> {
        let client = dial(address, methods)?;
        output.check(client.manifest().classes())?;
        let failed = |source| Failure::session(address, source);
        let client = client.agree_on(methods.options(output)).map_err(failed)?;
        tracing::debug!(model = %client.manifest().name, terms = ?client.terms(), "agreed with {address}");
        Ok(Self { client, address: address.to_owned(), methods: *methods, steps: Steps::default() })
    }

    /// The server's public manifest.
    pub(crate) fn manifest(&self) -> &Manifest {
        self.client.manifest()
    }

    /// Its digest.
    pub(crate) fn digest(&self) -> [u8; 32] {
        *self.client.digest()
    }

    /// The agreed output.
    pub(crate) fn mode(&self) -> OutputMode {
        self.client.mode()
    }

    /// What was agreed, and what the bundles so far made of it.
    pub(crate) fn agreed(&self) -> Agreed {
        Agreed::new(&self.methods, &self.client.terms(), self.steps, self.client.link())
    }

    /// Most images that the server prepares at once.
    pub(crate) fn most_images(&self) -> usize {
        self.client.offer().max_images.clamp(1, MAX_IMAGES)
    }

    /// Prepares and runs the images, bundle after bundle.
    ///
    /// # Errors
    /// What ended the session.
    pub(crate) fn classify(
        &mut self,
        inputs: &[Vec<i64>],
        sizes: &[usize],
        progress: &Progress,
    ) -> Result<Answers, Failure> {
        let mut answers = Answers::default();
        let mut rest = inputs;
        for (at, &size) in sizes.iter().enumerate() {
            let (now, later) = rest.split_at(size.min(rest.len()));
            rest = later;
            let of = if sizes.len() > 1 { format!(" {}/{}", at + 1, sizes.len()) } else { String::new() };
            progress.doing(format!("preparing{of}"));
            let base = 100 * at;
            let bundle = self.prepare(size, &mut |done, of| progress.at(base + 75 * done / of.max(1)))?;
            progress.doing(format!("inferring{of}"));
            self.run(bundle, now, &mut answers, &mut |done, of| {
                progress.at(base + 75 + 25 * done / of.max(1))
            })?;
        }
        Ok(answers)
    }

    /// Runs the images with prepared bundles from a folder.
    ///
    /// # Errors
    /// [`Failure::NoBundle`] when the folder has none that fits, else what ended the session.
    pub(crate) fn classify_prepared(
        &mut self,
        inputs: &[Vec<i64>],
        pool: &Path,
        progress: &Progress,
    ) -> Result<Answers, Failure> {
        let store = Store::open(pool).map_err(Failure::Pool)?;
        let (mut answers, mut rest) = (Answers::default(), inputs);
        progress.doing("inferring");
        while !rest.is_empty() {
            let bundle = self.claim(&store, rest.len())?.ok_or_else(|| Failure::NoBundle {
                pool: pool.to_owned(),
                done: inputs.len() - rest.len(),
                wanted: inputs.len(),
            })?;
            let (now, later) = rest.split_at(bundle.plan().images().min(rest.len()));
            rest = later;
            self.run(bundle, now, &mut answers, &mut |_, _| ())?;
            progress.at(100 * (inputs.len() - rest.len()) / inputs.len());
        }
        Ok(answers)
    }

    /// Prepares a bundle and keeps both halves: ours in the folder, the other with the server.
    ///
    /// # Errors
    /// What ended the session, or kept the file from being written.
    pub(crate) fn prepare_ahead(
        &mut self,
        images: usize,
        store: &Store,
    ) -> Result<std::path::PathBuf, Failure> {
        let bundle = self.prepare(images, &mut |_, _| ())?;
        self.steps.add(bundle.plan());
        self.client.keep(&bundle).map_err(|source| self.failed(source))?;
        store.keep(bundle, &self.client.origin()).map_err(|source| self.failed(source))
    }

    /// Says goodbye; gives the costs.
    ///
    /// # Errors
    /// What ended the session.
    pub(crate) fn finish(self) -> Result<Report, Failure> {
        let Self { client, address, .. } = self;
        client.finish().map_err(|source| Failure::session(&address, source))
    }

    fn prepare(
        &mut self,
        images: usize,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<ClientBundle, Failure> {
        self.client.prepare(images, progress).map_err(|source| self.failed(source))
    }

    /// The next bundle of the pool: one that is filled, if there is one, else any.
    fn claim(&self, store: &Store, left: usize) -> Result<Option<ClientBundle>, Failure> {
        let claim = |most| {
            let (client, preprocessing) = (&self.client, self.client.terms().preprocessing);
            store
                .claim(client.manifest(), &client.origin(), client.mode(), preprocessing, most)
                .map_err(|source| self.failed(source))
        };
        match claim(left)? {
            Some(bundle) => Ok(Some(bundle)),
            None => claim(MAX_IMAGES),
        }
    }

    fn run(
        &mut self,
        bundle: ClientBundle,
        inputs: &[Vec<i64>],
        answers: &mut Answers,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<(), Failure> {
        let images = bundle.plan().images();
        self.steps.add(bundle.plan());
        let mut values: Vec<i64> = inputs.iter().flatten().copied().collect();
        values.resize(images * self.manifest().input_len(), 0);
        let output = self.client.infer(bundle, &values, progress).map_err(|source| self.failed(source))?;
        answers.bundles.push(images);
        match (output, self.mode()) {
            (Output::Top(lists), _) => {
                let top = answers.top.get_or_insert_default();
                for list in lists.into_iter().take(inputs.len()) {
                    answers.labels.extend(list.first());
                    top.push(list);
                }
            }
            (Output::Labels(labels), _) => answers.labels.extend(labels.into_iter().take(inputs.len())),
            (Output::Logits(logits), mode) => {
                let unit = logit_unit(self.manifest(), mode);
                let rows = answers.logits.get_or_insert_default();
                for row in logits.into_iter().take(inputs.len()) {
                    answers.labels.push(first_largest(&row));
                    rows.push(row.into_iter().map(|value| value as f64 * unit).collect());
                }
            }
        }
        Ok(())
    }

    fn failed(&self, source: ProtocolError) -> Failure {
        Failure::session(&self.address, source)
    }
}

/// What one unit of a received logit is worth.
fn logit_unit(manifest: &Manifest, mode: OutputMode) -> f64 {
    match mode {
        OutputMode::Logits { bits } => manifest.output.scale / f64::from(bits).exp2(),
        OutputMode::Label | OutputMode::Top { .. } => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundles_hold_all_images() {
        assert_eq!(bundles(1, None, 64), [1]);
        assert_eq!(bundles(16, None, 64), [16]);
        assert_eq!(bundles(20, None, 64), [16, 4]);
        assert_eq!(bundles(20, None, 8), [8, 8, 4]);
        assert_eq!(bundles(5, Some(2), 64), [2, 2, 1]);
        assert_eq!(bundles(100, Some(100), 64), [100]);
        assert_eq!(bundles(0, None, 64), [0; 0]);
        for count in 0..70 {
            for asked in [None, Some(1), Some(3), Some(64)] {
                let sizes = bundles(count, asked, 24);
                assert_eq!(sizes.iter().sum::<usize>(), count);
                assert!(sizes.iter().all(|&size| size > 0));
            }
        }
    }

    #[test]
    fn rounding_to_single_precision_does_not_leave_the_accepted_range() {
        // (1 − 0.1307) / 0.3081 in double precision lies below its single-precision neighbour.
        let limit = (1.0 - 0.1307) / 0.3081;
        let values = [limit, -limit, 0.5 * limit, 1.0];
        let lifted = values.iter().filter(|&&value| f64::from(value as f32).abs() > limit).count();
        let moved: Vec<f32> = values.iter().map(|&value| within(value as f32, limit)).collect();
        assert!(moved.iter().all(|&value| f64::from(value).abs() <= limit), "{moved:?}");
        assert!(
            moved.iter().zip(values).all(|(&m, v)| (f64::from(m) - v).abs() < 1e-6),
            "{moved:?} {lifted}"
        );
        let above = f64::from(2.5f32) - 1e-12;
        assert_eq!((within(2.5, above), within(-2.5, above)), (2.5f32.next_down(), -2.5f32.next_down()));
    }

    #[test]
    fn the_first_of_equals_is_the_label() {
        assert_eq!(first_largest(&[1, 3, 3, 2]), 1);
        assert_eq!(first_largest(&[-4.0, -3.5]), 1);
        assert_eq!(first_largest::<i64>(&[]), 0);
    }
}
