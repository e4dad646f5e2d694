//! Manifests: lints are inherited, versions stand in the root's table only.
//!
//! Read line by line instead of as TOML: the manifests are ours and formatted plainly, and findings need line numbers.

use super::{Finding, Member};

/// Checks all crates' manifests.
pub(super) fn check(members: &[Member]) -> Vec<Finding> {
    members.iter().flat_map(|member| check_one(&member.manifest_path, &member.manifest)).collect()
}

fn check_one(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut section = Section::Other;
    let mut inherits_lints = false;
    for (at, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'))
            && !line.contains('=')
        {
            section = Section::named(name);
            if let Section::OneDependency(name) = &section {
                let sentence = format!("write the dependency {name} as one line, `{name}.workspace = true`");
                findings.push(Finding::new(path, at + 1, sentence));
            }
            continue;
        }
        let Some((key, value)) = line.split_once('=').map(|(key, value)| (key.trim(), value.trim())) else {
            continue;
        };
        match &section {
            Section::Lints if key == "workspace" && value == "true" => inherits_lints = true,
            Section::Dependencies if !is_inherited(key, value) => {
                let name = key.split('.').next().unwrap_or(key);
                let sentence = format!(
                    "the dependency {name} must be inherited (`{name}.workspace = true`); versions and paths stand in \
                     the root manifest"
                );
                findings.push(Finding::new(path, at + 1, sentence));
            }
            _ => {}
        }
    }
    if !inherits_lints {
        findings.push(Finding::new(
            path,
            1,
            "the workspace's lints are not inherited (`[lints] workspace = true`)",
        ));
    }
    findings
}

/// `name.workspace = true` or `name = { workspace = true, … }`.
fn is_inherited(key: &str, value: &str) -> bool {
    let plain: String = value.split_whitespace().collect();
    (key.ends_with(".workspace") && plain == "true")
        || (plain.starts_with('{')
            && plain.contains("workspace=true")
            && !["version=", "path=", "git="].iter().any(|word| plain.contains(word)))
}

enum Section {
    Lints,
    Dependencies,
    OneDependency(String),
    Other,
}

impl Section {
    fn named(name: &str) -> Self {
        let is_table =
            |part: &str| matches!(part, "dependencies" | "dev-dependencies" | "build-dependencies");
        match name.rsplit_once('.') {
            _ if name == "lints" => Self::Lints,
            _ if is_table(name) => Self::Dependencies,
            Some((_, last)) if is_table(last) => Self::Dependencies,
            Some((before, last)) if is_table(before.rsplit('.').next().unwrap_or_default()) => {
                Self::OneDependency(last.to_owned())
            }
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[package]\nname = \"a\"\nversion.workspace = true\n\n[lints]\nworkspace = true\n\n\
        [dependencies]\nserde.workspace = true # for tables\nclap = { workspace = true, features = [\n  \"env\",\n] }\n\n\
        [target.'cfg(unix)'.dependencies]\nlibc.workspace = true\n\n[[bin]]\nname = \"a\"\npath = \"src/main.rs\"\n";

    #[test]
    fn inherited_manifests_are_fine() {
        assert_eq!(check_one("a/Cargo.toml", GOOD), []);
    }

    #[test]
    fn own_versions_are_found_in_every_form_and_table() {
        for line in [
            "rand = \"0.9\"",
            "rand.version = \"0.9\"",
            "rand = { version = \"0.9\" }",
            "rand = { path = \"../rand\" }",
            "rand = { git = \"https://example.org/rand\" }",
            "rand = { workspace = true, version = \"0.9\" }",
            "rand.workspace = false",
        ] {
            for table in
                ["dependencies", "dev-dependencies", "build-dependencies", "target.'cfg(unix)'.dependencies"]
            {
                let text = format!("[lints]\nworkspace = true\n[{table}]\n{line}\n");
                let findings = check_one("a/Cargo.toml", &text);
                assert_eq!(findings.len(), 1, "{text}");
                assert_eq!(findings[0].line, 4, "{text}");
                assert!(findings[0].sentence.contains("rand must be inherited"), "{}", findings[0]);
            }
        }
        let findings = check_one("a", "[lints]\nworkspace = true\n[dependencies.rand]\nversion = \"0.9\"\n");
        assert_eq!((findings.len(), findings[0].line), (1, 3));
    }

    #[test]
    fn lints_that_are_not_inherited_are_found() {
        for text in [
            GOOD.replace("[lints]\nworkspace = true\n", ""),
            GOOD.replace("[lints]\nworkspace = true", "[lints]\nworkspace = false"),
            GOOD.replace("[lints]\nworkspace = true", "[lints.rust]\nmissing_docs = \"warn\""),
            GOOD.replace("[lints]\nworkspace = true", "[lints]\n# workspace = true"),
        ] {
            let findings = check_one("a/Cargo.toml", &text);
            assert_eq!(findings.len(), 1, "{text}");
            assert!(findings[0].sentence.contains("lints"), "{}", findings[0]);
        }
    }
}
