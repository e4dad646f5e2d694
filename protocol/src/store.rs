//! A client's prepared bundles on disk: each usable once, whatever crashes.
//!
//! One file per bundle, readable by its owner only. *Keeping* writes to a temporary name, syncs, renames, syncs the
//! folder. *Claiming* reads the file, unlinks it and syncs the folder **before** the claimed bundle is handed out: so
//! before any byte that depends on it can leave. After a crash in between the bundle is lost, never used twice. The
//! server's half lives in the server's memory only and is claimed by removal; a copied or restored file finds no
//! other half.
//!
//! The file: magic with version, origin (which server process and model the other half is with), bundle id, images, output
//! mode, choice of rounds, preprocessing, then ρ of the input, the share of the output and the steps in the order of the plan (fixed lengths), then SHA3-256 over everything before it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nn_merge::model::Manifest;
use sha3::{Digest, Sha3_256};
use ss_core::share::Share;
use zeroize::Zeroizing;

use crate::error::ProtocolError;
use crate::offline::ClientBundle;
use crate::offline::construction::Preprocessing;
use crate::plan::{OutputMode, Plan};
use crate::rounds::RoundChoice;
use crate::steps::ClientSteps;

const MAGIC: &[u8; 8] = b"HUSHBND\x04";
const HEADER: usize = 8 + 32 + 32 + 4 + 4 + 9 + 1;
const EXTENSION: &str = "bundle";
const UNFINISHED: &str = "part";

/// A folder of prepared bundles for one or more models.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// Opens (or makes) the folder, readable by its owner only.
    ///
    /// # Errors
    /// [`ProtocolError::Store`] when it can't be made.
    pub fn open(folder: &Path) -> Result<Self, ProtocolError> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder).map_err(|error| failed(folder, &error))?;
        let store = Self { folder: folder.to_owned() };
        store.remove_unfinished();
        Ok(store)
    }

    /// Writes a bundle that the server keeps its half of. `origin` is [`crate::Client::origin`]. On any error nothing is
    /// left behind.
    ///
    /// # Errors
    /// [`ProtocolError::Store`]: disk full, no rights, …
    pub fn keep(&self, bundle: ClientBundle, origin: &[u8; 32]) -> Result<PathBuf, ProtocolError> {
        let name: String = bundle.id.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let (path, temporary) = (
            self.folder.join(format!("{name}.{EXTENSION}")),
            self.folder.join(format!("{name}.{UNFINISHED}")),
        );
        let bytes = encode(bundle, origin);
        let result = (|| -> io::Result<()> {
            let mut options = OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(&temporary)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            self.sync()
        })();
        result.map_err(|error| {
            // The rename may have worked and the sync failed: neither name may stay.
            let _ = (fs::remove_file(&temporary), fs::remove_file(&path));
            failed(&path, &error)
        })?;
        Ok(path)
    }

    /// Takes the next bundle of this origin, output and preprocessing with at most `images` images, burning its file first.
    /// Files of other origins, versions or preprocessings stay; a damaged file of this origin is removed and reported.
    ///
    /// # Errors
    /// [`ProtocolError::Store`] for a damaged file or a folder that does not sync: the bundle is burnt all the same.
    pub fn claim(
        &self,
        manifest: &Manifest,
        origin: &[u8; 32],
        mode: OutputMode,
        preprocessing: Preprocessing,
        images: usize,
    ) -> Result<Option<ClientBundle>, ProtocolError> {
        let entries = fs::read_dir(&self.folder).map_err(|error| failed(&self.folder, &error))?;
        let mut paths: Vec<PathBuf> =
            entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == EXTENSION));
        paths.sort();
        for path in paths {
            // The first bytes decide whether the file is ours to claim; only then is all of it read.
            let mut start = [0; HEADER];
            if File::open(&path).and_then(|mut file| file.read_exact(&mut start)).is_err()
                || &start[..8] != MAGIC
            {
                continue;
            }
            let header = Header::parse(&start);
            let alike = &header.origin == origin
                && header.mode == mode
                && header.preprocessing == Some(preprocessing);
            if !alike || header.images > images {
                continue;
            }
            let Ok(bytes) = fs::read(&path).map(Zeroizing::new) else { continue };
            // Burn, sync, then use. Whoever else removes it first has claimed it.
            match fs::remove_file(&path) {
                Ok(()) => self.sync().map_err(|error| failed(&path, &error))?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(&path, &error)),
            }
            let damaged = || ProtocolError::Store {
                path: path.clone(),
                reason: "the file is damaged; it was removed".into(),
            };
            let whole = bytes
                .split_last_chunk::<32>()
                .filter(|(body, check)| Sha3_256::digest(body).as_slice() == *check);
            if whole.is_none() {
                return Err(damaged());
            }
            let plan = Plan::with_preprocessing(manifest, header.images, mode, header.rounds, preprocessing)?;
            let plan = Arc::new(plan);
            return decode(&bytes, header, plan).ok_or_else(damaged).map(Some);
        }
        Ok(None)
    }

    /// Number of bundles waiting (of any model).
    pub fn waiting(&self) -> usize {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries
            .filter(|entry| entry.path().extension().is_some_and(|extension| extension == EXTENSION))
            .count()
    }

    /// Files that a crash left half written hold secrets and serve nobody. Young ones may still be being written.
    fn remove_unfinished(&self) {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for path in
            entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == UNFINISHED))
        {
            let age = fs::metadata(&path)
                .and_then(|facts| facts.modified())
                .ok()
                .and_then(|time| time.elapsed().ok());
            if age.is_some_and(|age| age > Duration::from_secs(600)) {
                let _ = fs::remove_file(&path);
            }
        }
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }
}

struct Header {
    origin: [u8; 32],
    id: [u8; 32],
    images: usize,
    mode: OutputMode,
    rounds: RoundChoice,
    preprocessing: Option<Preprocessing>,
}

impl Header {
    /// The fields of a file's first bytes, whatever they say.
    fn parse(bytes: &[u8; HEADER]) -> Self {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let part = |at: usize| std::array::from_fn(|i| bytes[at + i]);
        Self {
            rounds: RoundChoice::from_bytes(std::array::from_fn(|i| bytes[80 + i])),
            preprocessing: Preprocessing::from_byte(bytes[89]),
            origin: part(8),
            id: part(40),
            images: word(72) as usize,
            mode: OutputMode::from_word(word(76)),
        }
    }
}

fn encode(bundle: ClientBundle, origin: &[u8; 32]) -> Zeroizing<Vec<u8>> {
    let ClientBundle { id, plan, input_mask, gates, output } = bundle;
    // Reserved exactly: growing would leave copies of the secrets behind.
    let stored: usize =
        plan.gates().iter().map(|step| ClientSteps::stored_len(&step.spec, step.elements)).sum();
    let length = HEADER + 8 * (input_mask.len() + output.len()) + stored + 32;
    let mut bytes = Zeroizing::new(Vec::with_capacity(length));
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(origin);
    bytes.extend_from_slice(&id);
    bytes.extend_from_slice(&(plan.images() as u32).to_le_bytes());
    bytes.extend_from_slice(&plan.mode().word().to_le_bytes());
    bytes.extend_from_slice(&plan.rounds().bytes());
    bytes.push(plan.preprocessing().byte());
    for share in [input_mask.as_slice(), output.values()] {
        share.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
    }
    gates.into_iter().for_each(|gate| gate.store(&mut bytes));
    let check = Sha3_256::digest(bytes.as_slice());
    bytes.extend_from_slice(&check);
    bytes
}

fn decode(bytes: &[u8], header: Header, plan: Arc<Plan>) -> Option<ClientBundle> {
    let mut rest = bytes.get(HEADER..bytes.len().checked_sub(32)?)?;
    let mut take = |length: usize| {
        let (part, more) = rest.split_at_checked(length)?;
        rest = more;
        Some(part)
    };
    let words = |part: &[u8]| -> Vec<u64> {
        part.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect()
    };
    let inputs = plan.images() * plan.input_len();
    let outputs = plan.images() * plan.outputs();
    let input_mask = Zeroizing::new(words(take(8 * inputs)?));
    let output = Share::new(words(take(8 * outputs)?));
    let mut gates = Vec::with_capacity(plan.gates().len());
    for step in plan.gates() {
        let part = take(ClientSteps::stored_len(&step.spec, step.elements))?;
        gates.push(ClientSteps::restore(&step.spec, step.elements, part).ok()?);
    }
    if !rest.is_empty() {
        return None;
    }
    Some(ClientBundle { id: header.id, plan, input_mask, gates, output })
}

fn failed(path: &Path, error: &io::Error) -> ProtocolError {
    ProtocolError::Store { path: path.to_owned(), reason: error.to_string() }
}
