//! The arrows between the crates, and where `anyhow` may be.
//!
//! The table below is the drawing in the architecture document: layers from below to above, each crate with those of
//! ours that it may depend on. Dependencies of tests and examples (`dev`) are free; build scripts count as normal.

use super::{Finding, Member};

/// Each crate and what it may depend on.
const ARROWS: [(&str, &[&str]); 7] = [
    ("he-core", &[]),
    ("ss-core", &[]),
    ("conv-fast", &["he-core", "ss-core"]),
    ("nn-merge", &["he-core", "ss-core", "conv-fast"]),
    ("protocol", &["he-core", "ss-core", "conv-fast", "nn-merge"]),
    ("cli", &["nn-merge", "protocol"]),
    ("xtask", &["he-core", "ss-core", "conv-fast", "nn-merge", "protocol", "cli"]),
];

/// Crates whose errors end before a person: only these may use `anyhow`.
const EDGES: [&str; 2] = ["cli", "xtask"];

/// Checks all crates.
pub(super) fn check(members: &[Member]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in members {
        let found = |line, sentence| Finding::new(&member.manifest_path, line, sentence);
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == member.name) else {
            findings.push(found(1, format!("the crate {} has no place in the layers", member.name)));
            continue;
        };
        for dependency in &member.dependencies {
            if dependency.kind.as_deref() == Some("dev") {
                continue;
            }
            let name = dependency.name.as_str();
            let is_ours = members.iter().any(|other| other.name == name);
            if is_ours && !allowed.contains(&name) {
                let sentence = format!("{} must not depend on {name}", member.name);
                findings.push(found(member.line_of(name), sentence));
            }
            if name == "anyhow" && !EDGES.contains(&member.name.as_str()) {
                let sentence = format!("{} must not use anyhow: its errors are enums", member.name);
                findings.push(found(member.line_of(name), sentence));
            }
        }
    }
    for (name, _) in ARROWS {
        if !members.iter().any(|member| member.name == name) {
            findings.push(Finding::new("Cargo.toml", 1, format!("the crate {name} is missing")));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::Dependency;
    use super::*;

    fn workspace() -> Vec<Member> {
        let member = |&(name, allowed): &(&str, &[&str])| Member {
            name: name.to_owned(),
            manifest_path: format!("{name}/Cargo.toml"),
            manifest: format!("[package]\nname = \"{name}\"\n"),
            dependencies: allowed.iter().map(|name| dependency(name, None)).collect(),
        };
        ARROWS.iter().map(member).collect()
    }

    fn dependency(name: &str, kind: Option<&str>) -> Dependency {
        Dependency { name: name.to_owned(), kind: kind.map(str::to_owned) }
    }

    /// Checks the workspace with one dependency more.
    fn with(from: &str, to: &str, kind: Option<&str>) -> Vec<Finding> {
        let mut members = workspace();
        let member = members.iter_mut().find(|member| member.name == from).unwrap();
        member.manifest.push_str(&format!("\n[dependencies]\n{to}.workspace = true\n"));
        member.dependencies.push(dependency(to, kind));
        check(&members)
    }

    #[test]
    fn all_drawn_arrows_are_allowed() {
        assert_eq!(check(&workspace()), []);
    }

    #[test]
    fn every_arrow_that_is_not_drawn_is_found_at_its_line() {
        let mut planted = 0;
        for (from, allowed) in ARROWS {
            for (to, _) in ARROWS {
                if from == to || allowed.contains(&to) {
                    continue;
                }
                planted += 1;
                for kind in [None, Some("build")] {
                    let expected = Finding::new(
                        &format!("{from}/Cargo.toml"),
                        5,
                        format!("{from} must not depend on {to}"),
                    );
                    assert_eq!(with(from, to, kind), [expected]);
                }
                assert_eq!(with(from, to, Some("dev")), []);
            }
        }
        // 42 pairs, 17 of them drawn.
        assert_eq!(planted, 42 - 17);
    }

    #[test]
    fn anyhow_is_found_below_the_edges() {
        for (name, _) in ARROWS {
            assert_eq!(with(name, "anyhow", None).len(), usize::from(!EDGES.contains(&name)), "{name}");
            assert_eq!(with(name, "anyhow", Some("dev")), []);
            assert_eq!(with(name, "serde", None), []);
        }
    }

    #[test]
    fn unknown_and_missing_crates_are_found() {
        let mut members = workspace();
        members[3].name = "nn-split".to_owned();
        let sentences: Vec<String> = check(&members).into_iter().map(|finding| finding.sentence).collect();
        assert!(sentences.contains(&"the crate nn-split has no place in the layers".to_owned()));
        assert!(sentences.contains(&"the crate nn-merge is missing".to_owned()));
    }
}
