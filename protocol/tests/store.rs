//! Prepared bundles on disk: used once, burnt first, damaged ones reported.

#![expect(clippy::unwrap_used, reason = "a failing step fails the test")]

mod common;

use std::sync::atomic::{AtomicU64, Ordering};

use common::{fresh_seed, inputs, model};
use he_core::{Profile, Seed};
use protocol::store::Store;
use protocol::testing::in_process;
use protocol::{Output, OutputMode, Policy, Preprocessing, ProtocolError, RefusalCode, Server};

fn quiet(_: usize, _: usize) {}

struct Bench {
    server: Server,
    folder: tempfile::TempDir,
    inputs: Vec<i64>,
    /// Bytes the client sent in its last inference.
    sent: AtomicU64,
}

impl Bench {
    fn new() -> Self {
        let seed = Seed::from_bytes(fresh_seed("session"));
        let server =
            Server::new(model(Profile::Wide, &seed), Policy::default(), seed.fork("server", &[])).unwrap();
        let inputs = inputs(server.model(), 2, &seed);
        Self { server, folder: tempfile::tempdir().unwrap(), inputs, sent: AtomicU64::new(0) }
    }

    /// One connection that keeps `count` bundles.
    fn prepare(&self, count: u64) {
        let store = Store::open(self.folder.path()).unwrap();
        let seed = Seed::from_bytes(fresh_seed("preparing"));
        let (result, _) = in_process(&self.server, seed.fork("serving", &[]), seed, |client| {
            let origin = client.origin();
            let mut client = client.agree(false)?;
            for _ in 0..count {
                let bundle = client.prepare(2, &mut quiet)?;
                client.keep(&bundle)?;
                store.keep(bundle, &origin)?;
            }
            client.finish().map(drop)
        });
        result.unwrap();
    }

    /// Another connection that uses one.
    fn infer(&self) -> Result<Option<Output>, ProtocolError> {
        let store = Store::open(self.folder.path()).unwrap();
        let seed = Seed::from_bytes(fresh_seed("inferring"));
        let (result, _) = in_process(&self.server, seed.fork("serving", &[]), seed, |client| {
            let (manifest, origin) = (client.manifest().clone(), client.origin());
            let mut client = client.agree(false)?;
            match store.claim(&manifest, &origin, OutputMode::Label, Preprocessing::Split, 2)? {
                Some(bundle) => {
                    let before = client.traffic().sent;
                    let result = client.infer(bundle, &self.inputs, &mut quiet);
                    self.sent.store(client.traffic().sent - before, Ordering::Relaxed);
                    result.map(Some)
                }
                None => Ok(None),
            }
        });
        result
    }
}

#[test]
fn a_kept_bundle_works_once_on_another_connection() {
    let bench = Bench::new();
    bench.prepare(2);
    let Some(Output::Labels(first)) = bench.infer().unwrap() else { panic!("a bundle was waiting") };
    let Some(Output::Labels(second)) = bench.infer().unwrap() else { panic!("a second bundle was waiting") };
    assert_eq!((first.len(), first), (2, second));
    assert_eq!(bench.infer().unwrap(), None, "both are used up");
}

#[test]
fn a_restored_copy_finds_no_other_half() {
    let bench = Bench::new();
    bench.prepare(1);
    let file = std::fs::read_dir(bench.folder.path()).unwrap().next().unwrap().unwrap().path();
    let copy = std::fs::read(&file).unwrap();
    assert!(bench.infer().unwrap().is_some());
    assert!(!file.exists(), "burnt before use");
    let input = (bench.inputs.len() * 46 / 8) as u64;
    assert!(bench.sent.load(Ordering::Relaxed) > input, "the twin: the first use does send its masked input");
    std::fs::write(&file, copy).unwrap();
    match bench.infer() {
        Err(ProtocolError::Refused(refusal)) => assert_eq!(refusal.code, RefusalCode::Bundle),
        other => panic!("a bundle was used twice: {other:?}"),
    }
    // Not even the masked input left: two inputs under one mask would show their difference.
    assert!(bench.sent.load(Ordering::Relaxed) < 100, "only the request may have been sent");
}

#[test]
fn damage_anywhere_is_found_and_the_file_burnt() {
    let bench = Bench::new();
    bench.prepare(1);
    let file = std::fs::read_dir(bench.folder.path()).unwrap().next().unwrap().unwrap().path();
    let whole = std::fs::read(&file).unwrap();
    let store = Store::open(bench.folder.path()).unwrap();
    let origin: [u8; 32] = whole[8..40].try_into().unwrap();
    let manifest = &bench.server.model().manifest;
    for at in (0..whole.len()).step_by(whole.len() / 50).chain([9, 41, 73, 77, whole.len() - 1]) {
        for cut in [false, true] {
            let mut bytes = whole.clone();
            if cut {
                bytes.truncate(at)
            } else {
                bytes[at] ^= 16
            }
            std::fs::write(&file, bytes).unwrap();
            let result = store.claim(manifest, &origin, OutputMode::Label, Preprocessing::Split, 2);
            if result.as_ref().is_ok_and(Option::is_none) {
                // Its first bytes no longer say that it is ours: then it is left alone, unread.
                assert!(at < 90 && file.exists(), "byte {at} cut {cut}");
                continue;
            }
            assert!(matches!(result, Err(ProtocolError::Store { .. })), "byte {at} cut {cut}: {result:?}");
            assert!(!file.exists());
        }
    }
    // The twin: the whole file is fine.
    std::fs::write(&file, &whole).unwrap();
    assert!(store.claim(manifest, &origin, OutputMode::Label, Preprocessing::Split, 2).unwrap().is_some());
    // Another model's, another output's and a too large bundle are left alone.
    std::fs::write(&file, &whole).unwrap();
    assert!(store.claim(manifest, &[1; 32], OutputMode::Label, Preprocessing::Split, 2).unwrap().is_none());
    assert!(
        store
            .claim(manifest, &origin, OutputMode::Logits { bits: 12 }, Preprocessing::Split, 2)
            .unwrap()
            .is_none()
    );
    assert!(store.claim(manifest, &origin, OutputMode::Label, Preprocessing::Split, 1).unwrap().is_none());
    assert!(file.exists());
}

#[test]
fn a_folder_that_cannot_be_written_is_one_error() {
    let bench = Bench::new();
    let path = bench.folder.path().join("file");
    std::fs::write(&path, b"not a folder").unwrap();
    assert!(matches!(Store::open(&path), Err(ProtocolError::Store { .. })));
}
