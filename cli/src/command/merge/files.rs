//! The files that a network brings along: the network itself, external weights, safetensors, the list of replacements.

use std::path::{Component, Path};

use nn_merge::onnx::{MAX_ONNX_BYTES, SafeTensors, import_with};
use nn_merge::{Graph, Replacement};

use crate::command::read_file;
use crate::error::Failure;

/// Most bytes of a list of replacements.
const MAX_LIST: usize = 1 << 20;

/// Imports the network at `path`, with the external files that it names (in its own folder or below) and the tensors of a
/// safetensors file, if one is given.
///
/// # Errors
/// Files that can't be read, a network that is broken or not supported.
pub(super) fn import(path: &Path, tensors: Option<&Path>) -> Result<Graph, Failure> {
    let bytes = read_file(path, MAX_ONNX_BYTES)?;
    let side = match tensors {
        Some(tensors) => {
            let parsed = SafeTensors::parse(read_file(tensors, MAX_ONNX_BYTES)?);
            vec![parsed.map_err(|source| Failure::Model { path: tensors.to_owned(), source })?]
        }
        None => Vec::new(),
    };
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let mut external = |name: &str| -> Result<Vec<u8>, String> {
        let relative = Path::new(name);
        // A network file must not make us read what lies elsewhere.
        if relative.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
            return Err("it leaves the network's folder".to_owned());
        }
        let file = folder.join(relative);
        let real = |path: &Path| std::fs::canonicalize(path).map_err(|error| error.to_string());
        let root = real(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })?;
        if !real(&file)?.starts_with(root) {
            return Err("it is a link out of the network's folder".to_owned());
        }
        read_file(&file, MAX_ONNX_BYTES).map_err(|failure| failure.to_string())
    };
    import_with(&bytes, &mut external, &side)
        .map_err(|source| Failure::Model { path: path.to_owned(), source })
}

/// The list of activations to exchange, a JSON array.
///
/// # Errors
/// A file that can't be read, or is no such list.
pub(super) fn replacements(path: &Path) -> Result<Vec<Replacement>, Failure> {
    serde_json::from_slice(&read_file(path, MAX_LIST)?).map_err(|error| {
        Failure::Usage(format!(
            "{} is no list of replacements: {error}; see `hushnet merge --help`",
            path.display()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_their_faults_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list.json");
        std::fs::write(
            &path,
            r#"[{"layer": "relu3", "function": "square"},
                {"layer": "relu5", "channels": [0, "5..9"], "function": "identity"},
                {"layer": "relu6", "function": {"polynomial": [0.2, 0.5, 0.2]}}]"#,
        )
        .unwrap();
        let list = replacements(&path).unwrap();
        assert_eq!((list.len(), list[1].layer.as_str()), (3, "relu5"));
        std::fs::write(&path, r#"[{"layer": "relu3", "function": "cosine"}]"#).unwrap();
        let failure = replacements(&path).unwrap_err();
        assert_eq!(failure.code(), 2);
        assert!(failure.to_string().contains("cosine"), "{failure}");
    }
}
