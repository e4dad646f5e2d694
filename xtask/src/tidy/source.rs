//! Rules about Rust source, and about settings that tie a build to one CPU.
//!
//! - a file has at most 500 lines;
//! - it opens with a module essay (`//!`);
//! - no left-over macros (`todo`, `unimplemented`, `dbg`) in code and no fix-me marks in comments;
//! - `unsafe` stands only in kernels: files in a folder `simd`, `ifma`, `wide256` or `wide512`, or with `simd`, `avx2`, `avx512`,
//!   `ifma`, `neon`, `kernel` or `vector` in their name; the algorithms of `conv-fast`, whose tasks write disjoint stretches of one
//!   output; and a few single files, listed below;
//! - nothing outside of comments and Markdown fixes the CPU that code is compiled for: kernels are chosen at run time.

use super::lexer::{Views, is_word};
use super::{Finding, Tree};

/// Lines that a file may have.
const LONGEST: usize = 500;

/// Macros that have no place in finished code.
const LEFT_OVER: [&str; 3] = ["todo", "unimplemented", "dbg"];

/// Marks in comments of work that was not done. Put together so that this file does not hold them.
const MARKS: [&str; 2] = [concat!("FIX", "ME"), concat!("XX", "X")];

/// Algorithms whose tasks share an output: folders of `conv-fast/src`, or files of that name.
const SHARED_OUTPUT: [&str; 7] = ["depthwise", "float", "im2col", "matmul", "ntt", "wide", "winograd"];

/// Folders of kernels.
const KERNEL_FOLDERS: [&str; 4] = ["simd", "ifma", "wide256", "wide512"];

/// What names of kernels contain.
const KERNELS: [&str; 7] = ["simd", "avx2", "avx512", "ifma", "neon", "kernel", "vector"];

/// Single files: words of an output that tasks share, kernels beside their portable twins, and client requests to valgrind.
const SINGLE: [&str; 4] = [
    "conv-fast/src/word.rs",
    "he-core/src/ckks/residues.rs",
    "he-core/src/constant_time.rs",
    "he-core/src/rns/tiles.rs",
];

/// The compiler's setting that fixes the CPU.
const FIXED_CPU: &str = concat!("target", "-cpu");

/// Checks all texts of the repository.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let rust = tree.ending(".rs").flat_map(|(path, text)| check_rust(path, text));
    let settings = tree
        .texts
        .iter()
        .filter(|(path, _)| !path.ends_with(".rs") && !path.ends_with(".md"))
        .flat_map(|(path, text)| fixed_cpu(path, text));
    rust.chain(settings).collect()
}

fn check_rust(path: &str, text: &str) -> Vec<Finding> {
    let views = Views::of(text);
    let mut findings = Vec::new();
    let lines = text.lines().count();
    if lines > LONGEST {
        findings.push(Finding::new(
            path,
            LONGEST + 1,
            format!("{lines} lines; split it, {LONGEST} is the most"),
        ));
    }
    let first = text.lines().position(|line| !line.trim().is_empty());
    if first.is_none_or(|at| !text.lines().nth(at).unwrap_or_default().starts_with("//!")) {
        findings.push(Finding::new(
            path,
            first.unwrap_or(0) + 1,
            "does not open with a module essay (`//!`)",
        ));
    }
    for (line, word, after) in words(&views.code) {
        if LEFT_OVER.contains(&word) && after.starts_with('!') {
            findings.push(Finding::new(path, line, format!("`{word}!` is left over")));
        }
        if word == "unsafe" && !is_kernel(path) {
            findings.push(Finding::new(
                path,
                line,
                "`unsafe` outside of a kernel (simd, avx2, avx512, ifma, neon, algorithms of conv-fast)",
            ));
        }
    }
    for (line, word, _) in words(&views.comments) {
        if MARKS.contains(&word) {
            findings.push(Finding::new(path, line, format!("the mark {word} is left over")));
        }
    }
    findings.extend(fixed_cpu(path, &views.code));
    findings.extend(fixed_cpu(path, &views.literals));
    findings
}

/// Whether a file may hold `unsafe`.
fn is_kernel(path: &str) -> bool {
    let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
    let algorithm = path.strip_prefix("conv-fast/src/").map(|rest| rest.split(['/', '.']).next());
    SINGLE.contains(&path)
        || folders.split('/').any(|folder| KERNEL_FOLDERS.contains(&folder))
        || KERNELS.iter().any(|kernel| name.contains(kernel))
        || algorithm.flatten().is_some_and(|algorithm| SHARED_OUTPUT.contains(&algorithm))
}

fn fixed_cpu(path: &str, text: &str) -> Vec<Finding> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| line.contains(FIXED_CPU))
        .map(|(at, _)| {
            Finding::new(path, at + 1, format!("{FIXED_CPU} is set; kernels are chosen at run time"))
        })
        .collect()
}

/// All words of a text with their lines (from 1) and what follows them on the line.
fn words(text: &str) -> impl Iterator<Item = (usize, &str, &str)> {
    text.lines().enumerate().flat_map(|(at, line)| {
        let mut rest = line;
        std::iter::from_fn(move || {
            rest = rest.trim_start_matches(|c| !is_word(c));
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            rest = after;
            (!word.is_empty()).then_some((at + 1, word, after))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;

    const GOOD: &str = "//! What it is.\n\nfn main() {\n    println!(\"hello\");\n}\n";

    /// The findings in a file, as (line, sentence).
    fn found(path: &str, text: &str) -> Vec<(usize, String)> {
        check(&tree(&[(path, text)])).into_iter().map(|finding| (finding.line, finding.sentence)).collect()
    }

    #[test]
    fn good_files_are_fine() {
        assert_eq!(found("a/src/lib.rs", GOOD), []);
        assert_eq!(found("a/src/lib.rs", &format!("\n{GOOD}")), []);
        assert_eq!(found("README.md", &format!("no {FIXED_CPU} here")), []);
    }

    #[test]
    fn long_files_are_found() {
        let lines = |count: usize| format!("//! Essay.\n{}", "// line\n".repeat(count - 1));
        assert_eq!(found("a/src/lib.rs", &lines(500)), []);
        let findings = found("a/src/lib.rs", &lines(501));
        assert_eq!(findings.len(), 1);
        assert!(findings[0].0 == 501 && findings[0].1.contains("501 lines"), "{findings:?}");
        assert_eq!(found("table.toml", &lines(501)), []);
    }

    #[test]
    fn files_without_an_essay_are_found() {
        for (text, line) in
            [("", 1), ("fn main() {}\n", 1), ("\n\n// note\n//! essay\n", 3), ("/// item\nfn a() {}\n", 1)]
        {
            let findings = found("a/examples/b.rs", text);
            assert_eq!(findings.len(), 1, "{text:?}");
            assert!(findings[0].0 == line && findings[0].1.contains("essay"), "{text:?}: {findings:?}");
        }
    }

    #[test]
    fn left_over_macros_are_found_in_code_only() {
        for word in LEFT_OVER {
            let findings = found("a/src/lib.rs", &GOOD.replace("println", word));
            assert_eq!(findings, [(4, format!("`{word}!` is left over"))]);
            for harmless in [
                format!("//! Essay about {word}!\n// no {word}!()\n"),
                format!("//! Essay.\nconst A: &str = \"{word}!()\";\n"),
                format!("//! Essay.\nfn {word}() {{ my_{word}!() }}\n"),
            ] {
                assert_eq!(found("a/src/lib.rs", &harmless), [], "{harmless}");
            }
        }
    }

    #[test]
    fn marks_are_found_in_comments() {
        for mark in MARKS {
            for text in [format!("//! Essay.\n// {mark}: later\n"), format!("//! Essay.\n/* {mark}(me) */\n")]
            {
                assert_eq!(found("a/src/lib.rs", &text), [(2, format!("the mark {mark} is left over"))]);
            }
            assert_eq!(found("a/src/lib.rs", &format!("//! Essay.\nconst A{mark}B: u8 = 0;\n")), []);
        }
    }

    #[test]
    fn unsafe_code_is_found_outside_of_kernels() {
        let text = "//! Essay on unsafe.\n#![expect(unsafe_code, reason = \"unsafe\")]\nunsafe fn f() {}\n";
        for path in [
            "a/src/lib.rs",
            "a/src/simd_free/lib.rs",
            "avx2/src/lib.rs",
            "a/simd.d/lib.rs",
            "a/src/ntt/mod.rs",
            "conv-fast/src/plan/mod.rs",
            "conv-fast/src/lib.rs",
        ] {
            let findings = found(path, text);
            assert_eq!(findings.len(), 1, "{path}");
            assert!(findings[0].0 == 3 && findings[0].1.contains("`unsafe`"), "{path}: {findings:?}");
        }
        for path in [
            "a/src/ntt/avx2.rs",
            "a/src/avx512ifma.rs",
            "a/src/neon.rs",
            "a/src/simd/add.rs",
            "a/src/simd.rs",
            "a/src/ntt/ifma/mod.rs",
            "a/src/elementwise/vector.rs",
            "he-core/src/constant_time.rs",
            "conv-fast/src/ntt/tiles.rs",
            "conv-fast/src/depthwise.rs",
        ] {
            assert_eq!(found(path, text), [], "{path}");
        }
    }

    #[test]
    fn a_fixed_cpu_is_found() {
        let setting = format!("[build]\nrustflags = [\"-C\", \"{FIXED_CPU}=native\"]\n");
        for path in [".cargo/config.toml", ".ci/run", "a/build.sh"] {
            assert_eq!(found(path, &setting).len(), 1, "{path}");
            assert_eq!(found(path, &setting)[0].0, 2, "{path}");
        }
        let in_code = format!("//! Essay.\nconst FLAG: &str = \"-C{FIXED_CPU}=native\";\n");
        assert_eq!(found("a/src/lib.rs", &in_code).len(), 1);
        assert_eq!(found("a/src/lib.rs", &format!("//! Never {FIXED_CPU}.\n")), []);
    }
}
