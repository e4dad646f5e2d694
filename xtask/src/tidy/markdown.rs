//! Links and paths in Markdown lead somewhere.
//!
//! Looked at outside of fenced code blocks:
//!
//! - inline links and images `[text](target)` and definitions `[name]: target`, if the target is relative: the file or
//!   folder must exist, and a `#fragment` must be a heading of that file (spelt as common Markdown hosts do);
//! - inline code that looks like a path of this repository, `crate/src/file.rs`: only letters, digits and `_ . - /`, and
//!   the part before the first slash is a folder at the root. It must exist from the root or from the text's folder.
//!
//! Addresses in the net are not opened.

use super::{Finding, Tree};

/// Checks all Markdown files of the repository.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.ending(".md").flat_map(|(path, text)| check_one(tree, path, text)).collect()
}

fn check_one(tree: &Tree, path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    for (line, prose) in prose_lines(text) {
        let (code, prose) = split_code(prose);
        for span in code {
            let span = without_line_number(span.trim()).trim_end_matches('/');
            let from_folder = resolve(folder, span).is_some_and(|found| tree.contains(&found));
            if is_path(tree, span) && !tree.contains(span) && !from_folder {
                findings.push(Finding::new(path, line, format!("the path `{span}` does not exist")));
            }
        }
        for target in links(&prose) {
            if let Err(problem) = check_link(tree, path, folder, target) {
                findings.push(Finding::new(path, line, format!("the link to {target} is dead: {problem}")));
            }
        }
    }
    findings
}

/// The lines (from 1) that are not in fenced code blocks.
fn prose_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fence: Option<&str> = None;
    text.lines().enumerate().filter_map(move |(at, line)| {
        let start = line.trim_start();
        match fence {
            Some(open) => {
                if start.starts_with(open) {
                    fence = None;
                }
                None
            }
            None => {
                fence = ["```", "~~~"].into_iter().find(|mark| start.starts_with(mark));
                fence.is_none().then_some((at + 1, line))
            }
        }
    })
}

/// The inline code of a line, and the line without it.
fn split_code(line: &str) -> (Vec<&str>, String) {
    let mut code = Vec::new();
    let mut prose = String::new();
    let mut rest = line;
    while let Some(start) = rest.find('`') {
        prose.push_str(&rest[..start]);
        let after = rest[start..].trim_start_matches('`');
        let ticks = &rest[start..rest.len() - after.len()];
        match after.find(ticks) {
            Some(end) => {
                code.push(&after[..end]);
                // Something must stand there: `[`name`](target)` is a link.
                prose.push('x');
                rest = &after[end + ticks.len()..];
            }
            None => rest = after,
        }
    }
    prose.push_str(rest);
    (code, prose)
}

/// `file.rs:12` without the number.
fn without_line_number(span: &str) -> &str {
    match span.rsplit_once(':') {
        Some((before, number)) if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => before,
        _ => span,
    }
}

fn is_path(tree: &Tree, span: &str) -> bool {
    let plain = span.bytes().all(|b| b.is_ascii_alphanumeric() || b"_./-".contains(&b));
    let is_known = |first: &str| !first.is_empty() && !tree.is_file(first) && tree.contains(first);
    plain && !span.contains("...") && span.split_once('/').is_some_and(|(first, _)| is_known(first))
}

/// The targets of the links in a line of prose.
fn links(prose: &str) -> Vec<&str> {
    let definition = prose.trim_start().strip_prefix('[').and_then(|rest| rest.split_once("]:"));
    if let Some((name, target)) = definition
        && !name.contains(']')
    {
        return first_word(target).into_iter().collect();
    }
    let inline = prose.split("](").skip(1);
    inline.filter_map(|after| after.split(')').next().and_then(first_word)).collect()
}

/// A target without its title and angle brackets.
fn first_word(target: &str) -> Option<&str> {
    let word = target.split_whitespace().next()?;
    Some(word.strip_prefix('<').and_then(|word| word.strip_suffix('>')).unwrap_or(word))
}

fn check_link(tree: &Tree, path: &str, folder: &str, target: &str) -> Result<(), String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return Ok(());
    }
    let (file, fragment) = match target.split_once('#') {
        Some((file, fragment)) => (file, Some(fragment)),
        None => (target, None),
    };
    let found = match file {
        "" => path.to_owned(),
        _ => resolve(folder, file).ok_or("it leaves the repository")?,
    };
    if !tree.contains(&found) {
        return Err(format!("there is no {found}"));
    }
    match (fragment, tree.texts.get(&found)) {
        (Some(fragment), Some(text))
            if found.ends_with(".md") && !anchors(text).contains(&fragment.to_owned()) =>
        {
            Err(format!("{found} has no heading #{fragment}"))
        }
        _ => Ok(()),
    }
}

/// A relative path from a folder as a path from the root; none if it leads out of the repository.
fn resolve(folder: &str, relative: &str) -> Option<String> {
    let mut parts: Vec<&str> = match relative.strip_prefix('/') {
        Some(_) => Vec::new(),
        None => folder.split('/').filter(|part| !part.is_empty()).collect(),
    };
    for part in relative.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The fragments that the headings of a text can be linked by.
fn anchors(text: &str) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    for (_, line) in prose_lines(text) {
        let title = line.trim_start_matches('#');
        let level = line.len() - title.len();
        if !(1..=6).contains(&level) || !title.starts_with(' ') {
            continue;
        }
        let title = title.trim().to_lowercase();
        let anchor: String = title
            .chars()
            .filter_map(|c| match c {
                ' ' => Some('-'),
                c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
                _ => None,
            })
            .collect();
        let again = (1..).map(|count| format!("{anchor}-{count}"));
        let free = std::iter::once(anchor.clone()).chain(again).find(|name| !anchors.contains(name));
        anchors.extend(free);
    }
    anchors
}

impl Tree {
    fn is_file(&self, path: &str) -> bool {
        self.texts.contains_key(path) || self.others.contains(path)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;

    fn found(path: &str, text: &str) -> Vec<(usize, String)> {
        let mut tree = tree(&[
            ("a-crate/src/lib.rs", "//! Essay."),
            (
                "docs/guide.md",
                "# The Guide\n\n## Two words: `code`!\n## Two words: code\n```text\n# no heading\n```\n",
            ),
            ("README.md", ""),
            (path, text),
        ]);
        tree.others.insert("docs/picture.png".to_owned());
        let own = check(&tree).into_iter().filter(|finding| finding.path == path);
        own.map(|finding| (finding.line, finding.sentence)).collect()
    }

    #[test]
    fn living_links_and_paths_are_fine() {
        for text in [
            "[guide](docs/guide.md) and ![picture](docs/picture.png \"title\")",
            "[guide](docs/guide.md#the-guide), [two](docs/guide.md#two-words-code), [three](docs/guide.md#two-words-code-1)",
            "[`lib.rs`](a-crate/src/lib.rs) [folder](a-crate/src) [folder](./a-crate/) [root](/docs/guide.md)",
            "# Own heading\n[below](#own-heading)",
            "[net](https://example.org/docs/none.md) [mail](mailto:a@example.org)",
            "[name]: docs/guide.md\n[name]: <docs/guide.md>",
            "`a-crate/src/lib.rs`, `a-crate/src/lib.rs:12`, `a-crate/src/`, ``docs/guide.md``",
            "`other/none.rs` `a-crate` `a-crate/src/*.rs` `a-crate/...` `README.md/none` `a-crate/none with spaces`",
            "```\n[dead](none.md) `a-crate/none.rs`\n```\n~~~text\n`a-crate/none.rs`\n```\n~~~",
            "one ` tick and [brackets] (no link)",
        ] {
            assert_eq!(found("index.md", text), [], "{text}");
        }
        assert_eq!(found("docs/more.md", "[up](../README.md) [side](guide.md) `../a-crate/src/lib.rs`"), []);
    }

    #[test]
    fn dead_links_are_found_at_their_line() {
        for (text, fact) in [
            ("[dead](none.md)", "there is no none.md"),
            ("![dead](docs/none.png)", "there is no docs/none.png"),
            ("[good](README.md) then [dead](docs/guide)", "there is no docs/guide"),
            ("[dead](docs/guide.md#three-words)", "no heading #three-words"),
            ("[dead](docs/guide.md#no-heading)", "no heading #no-heading"),
            ("[dead](#none)", "no heading #none"),
            ("[name]: docs/none.md", "there is no docs/none.md"),
            ("[out](../elsewhere/file.md)", "leaves the repository"),
            ("| [`a`](none.md) | `[code](is-no-link.md)` |", "there is no none.md"),
        ] {
            let findings = found("index.md", &format!("# Title\n\n```\ncode\n```\n{text}\n"));
            assert_eq!(findings.len(), 1, "{text}: {findings:?}");
            assert!(findings[0].0 == 6 && findings[0].1.contains(fact), "{text}: {findings:?}");
        }
        assert_eq!(found("docs/more.md", "[up](docs/guide.md)").len(), 1);
    }

    #[test]
    fn dead_paths_are_found_at_their_line() {
        for path in ["a-crate/src/none.rs", "a-crate/src/none.rs:7", "docs/none/", "a-crate/src/lib.rs/x"] {
            let findings = found("index.md", &format!("text\nsee `README.md` and `{path}`.\n"));
            assert_eq!(findings.len(), 1, "{path}: {findings:?}");
            assert!(findings[0].0 == 2 && findings[0].1.contains("does not exist"), "{path}: {findings:?}");
        }
    }
}
