//! `cargo xtask tidy`: the rules of the repository that the compiler does not know.
//!
//! | module | rules |
//! |---|---|
//! | [`arrows`] | crates depend on each other along the drawn arrows only; `anyhow` at the edges only |
//! | [`manifest`] | every crate inherits the lints; versions stand in the root manifest only |
//! | [`source`] | file lengths, opening essays, left-over macros and marks, where `unsafe` may be, no fixed CPU |
//! | [`markdown`] | links and paths in Markdown lead somewhere |
//!
//! Every rule is a function of values in memory (a [`Tree`] of texts, the crates as `cargo metadata` gives them) and
//! returns [`Finding`]s, so that its tests can plant a fault and look whether it is found. Findings are printed one per
//! line, `path:line: sentence`.

mod arrows;
mod lexer;
mod manifest;
mod markdown;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// Hidden folders that belong to the repository; others are editors' and tools'.
const KNOWN_HIDDEN: [&str; 3] = [".cargo", ".ci", ".github"];

/// Visible folders that do not belong to the repository.
const FOREIGN: [&str; 3] = ["target", "node_modules", "__pycache__"];

/// Extensions of files whose text is looked at; in hidden folders every text is.
const TEXTS: [&str; 7] = ["rs", "md", "toml", "sh", "yml", "yaml", "cff"];

/// Runs all rules on a checkout and prints the findings; true if there are none.
pub(crate) fn run(root: &Path) -> Result<bool> {
    let tree = Tree::read(root)?;
    let members = members(root, &tree)?;
    let mut findings = arrows::check(&members);
    findings.extend(manifest::check(&members));
    findings.extend(source::check(&tree));
    findings.extend(markdown::check(&tree));
    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => println!("tidy: {} crates, {} texts, nothing found", members.len(), tree.texts.len()),
        count => println!("tidy: {count} found"),
    }
    Ok(findings.is_empty())
}

/// One broken rule at one place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    /// Path from the repository's root, with slashes.
    path: String,
    /// Line, from 1.
    line: usize,
    /// What is wrong.
    sentence: String,
}

impl Finding {
    fn new(path: &str, line: usize, sentence: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, sentence: sentence.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.sentence)
    }
}

/// The repository's files by path from its root, with slashes.
#[derive(Debug, Default)]
struct Tree {
    /// Files whose text is looked at.
    texts: BTreeMap<String, String>,
    /// All other files.
    others: BTreeSet<String>,
}

impl Tree {
    fn read(root: &Path) -> Result<Self> {
        let mut tree = Self::default();
        tree.add_folder(root, "")?;
        Ok(tree)
    }

    fn add_folder(&mut self, folder: &Path, prefix: &str) -> Result<()> {
        let unreadable = || format!("cannot read the folder {}", folder.display());
        for entry in std::fs::read_dir(folder).with_context(unreadable)? {
            let entry = entry.with_context(unreadable)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{prefix}{name}");
            // Links are not followed: they may lead out of the repository or in circles.
            let kind = entry.file_type().with_context(unreadable)?;
            if kind.is_dir() {
                let is_ours = match name.starts_with('.') {
                    true => KNOWN_HIDDEN.contains(&name.as_str()),
                    false => !FOREIGN.contains(&name.as_str()),
                };
                if is_ours {
                    self.add_folder(&entry.path(), &format!("{path}/"))?;
                }
                continue;
            }
            let extension = Path::new(&name).extension().unwrap_or_default().to_string_lossy();
            let is_text = prefix.starts_with('.') || TEXTS.contains(&&*extension);
            match std::fs::read_to_string(entry.path()) {
                Ok(text) if kind.is_file() && is_text => self.texts.insert(path, text).is_none(),
                Err(error) if kind.is_file() && is_text => bail!("cannot read {path} as text: {error}"),
                _ => self.others.insert(path),
            };
        }
        Ok(())
    }

    /// Whether there is a file or folder of this name. The empty path is the root.
    fn contains(&self, path: &str) -> bool {
        let folder = format!("{path}/");
        let inside = |found: Option<&String>| found.is_some_and(|file| file.starts_with(&folder));
        path.is_empty()
            || self.texts.contains_key(path)
            || self.others.contains(path)
            || inside(self.texts.range(folder.clone()..).next().map(|(file, _)| file))
            || inside(self.others.range(folder.clone()..).next())
    }

    /// The texts whose path ends so.
    fn ending(&self, end: &'static str) -> impl Iterator<Item = (&str, &str)> {
        self.texts
            .iter()
            .filter(move |(path, _)| path.ends_with(end))
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }
}

/// A crate of the workspace.
#[derive(Clone, Debug)]
struct Member {
    name: String,
    /// Path of its manifest from the root.
    manifest_path: String,
    manifest: String,
    dependencies: Vec<Dependency>,
}

impl Member {
    /// The line of the manifest that names a dependency; the first line if it is not found.
    fn line_of(&self, dependency: &str) -> usize {
        let names = |line: &str| {
            line.trim_start().strip_prefix(dependency).is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
        };
        self.manifest.lines().position(names).map_or(1, |at| at + 1)
    }
}

/// A dependency of a crate, as `cargo metadata` prints it.
#[derive(Clone, Debug, Deserialize)]
struct Dependency {
    name: String,
    /// None: normal; else "dev" or "build".
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: std::path::PathBuf,
    dependencies: Vec<Dependency>,
}

/// Asks cargo for the workspace's crates.
fn members(root: &Path, tree: &Tree) -> Result<Vec<Member>> {
    let output = Command::new(crate::cargo())
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(root)
        .output()
        .context("cannot run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).context("cargo metadata printed an unknown form")?;
    let member = |package: Package| {
        let path = package.manifest_path.strip_prefix(root).unwrap_or(&package.manifest_path);
        let manifest_path = path.to_string_lossy().replace('\\', "/");
        let manifest = tree
            .texts
            .get(&manifest_path)
            .with_context(|| {
                format!("the manifest {manifest_path} of {} is not in the repository", package.name)
            })?
            .clone();
        Ok(Member { name: package.name, manifest_path, manifest, dependencies: package.dependencies })
    };
    metadata.packages.into_iter().map(member).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of texts.
    pub(super) fn tree(texts: &[(&str, &str)]) -> Tree {
        let texts = texts.iter().map(|(path, text)| (path.to_string(), text.to_string())).collect();
        Tree { texts, ..Tree::default() }
    }

    #[test]
    fn folders_and_files_are_contained() {
        let mut tree = tree(&[("a/b/c.rs", ""), ("a.md", "")]);
        tree.others.insert("d/e.png".to_owned());
        for path in ["", "a", "a/b", "a/b/c.rs", "a.md", "d", "d/e.png"] {
            assert!(tree.contains(path), "{path}");
        }
        for path in ["b", "a/b/c", "a/b/c.rs/d", "a.m", "e.png", "d/e"] {
            assert!(!tree.contains(path), "{path}");
        }
    }

    #[test]
    fn the_repository_is_read_without_what_is_not_its_own() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["a/x.rs", "a/x.png", "target/debug/y.rs", ".git/config", ".ci/run", "z.md", ".venv/w.rs"]
        {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "text").unwrap();
        }
        let tree = Tree::read(folder.path()).unwrap();
        assert_eq!(tree.texts.keys().collect::<Vec<_>>(), [".ci/run", "a/x.rs", "z.md"]);
        assert_eq!(tree.others.iter().collect::<Vec<_>>(), ["a/x.png"]);
    }

    #[test]
    fn findings_print_as_compilers_do() {
        let finding = Finding::new("a/b.rs", 7, "the sky is falling");
        assert_eq!(finding.to_string(), "a/b.rs:7: the sky is falling");
    }

    #[test]
    fn this_workspace_is_understood() {
        let root = crate::root();
        let tree = Tree::read(root).unwrap();
        let members = members(root, &tree).unwrap();
        let own = members.iter().find(|member| member.name == "xtask").unwrap();
        assert_eq!(own.manifest_path, "xtask/Cargo.toml");
        assert!(own.dependencies.iter().any(|dependency| dependency.name == "clap"));
        assert!(own.line_of("clap") > 1);
    }
}
