//! Telling code, literals and comments apart in Rust source.
//!
//! Just enough of the language's lexical structure (The Rust Reference, chapter "Lexical structure") that rules about
//! code are not triggered by words in strings or comments: line comments, nested block comments, strings, raw strings,
//! byte and C strings, character literals, and lifetimes, which begin like character literals.

/// A source text three times, each with everything else blanked out by spaces. Lines stay where they are.
pub(super) struct Views {
    /// Without comments and without the contents of literals.
    pub(super) code: String,
    /// Contents of strings and characters only.
    pub(super) literals: String,
    /// Comments only.
    pub(super) comments: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Code,
    Literal,
    Comment,
}

impl Views {
    /// Splits a source text. Broken source (a string that never ends) ends in a literal or comment; nothing fails.
    pub(super) fn of(source: &str) -> Self {
        let mut views = Self { code: String::new(), literals: String::new(), comments: String::new() };
        let mut rest = source;
        let mut previous = ' ';
        while !rest.is_empty() {
            let (class, length) = token(rest, previous);
            let (text, after) = rest.split_at(length);
            views.push(class, text);
            previous = text.chars().next_back().unwrap_or(' ');
            rest = after;
        }
        views
    }

    fn push(&mut self, class: Class, text: &str) {
        let blank: String = text.chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        for (view, own) in [
            (&mut self.code, Class::Code),
            (&mut self.literals, Class::Literal),
            (&mut self.comments, Class::Comment),
        ] {
            view.push_str(if class == own { text } else { &blank });
        }
    }
}

/// Class and length in bytes (at least one character) of what comes next; `previous` is the character before it.
fn token(rest: &str, previous: char) -> (Class, usize) {
    if rest.starts_with("//") {
        return (Class::Comment, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (Class::Comment, block_comment(rest));
    }
    if rest.starts_with('"') {
        return (Class::Literal, quoted(rest, '"'));
    }
    if rest.starts_with('\'') {
        return match character(rest) {
            Some(length) => (Class::Literal, length),
            None => (Class::Code, 1),
        };
    }
    if rest.starts_with(['r', 'b', 'c'])
        && !is_word(previous)
        && let Some(length) = raw_string(rest)
    {
        return (Class::Literal, length);
    }
    (Class::Code, rest.chars().next().map_or(1, char::len_utf8))
}

/// Part of an identifier.
pub(super) fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// Length of a block comment, comments inside it included.
fn block_comment(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let mut depth = 0;
    let mut at = 0;
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => {
                depth += 1;
                at += 2;
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    rest.len()
}

/// Length of a literal between two quotes with backslash escapes.
fn quoted(rest: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

/// Length of a character literal; none for a lifetime.
fn character(rest: &str) -> Option<usize> {
    let mut chars = rest.char_indices().skip(1);
    let (_, first) = chars.next()?;
    let (at, second) = chars.next()?;
    match (first, second) {
        ('\\', _) => Some(quoted(rest, '\'')),
        (_, '\'') => Some(at + 1),
        _ => None,
    }
}

/// Length of `r"…"`, `r#"…"#`, `br"…"`, `cr"…"`; none if it is none of these.
fn raw_string(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix(['b', 'c']).unwrap_or(rest).strip_prefix('r')?;
    let inside = after.trim_start_matches('#');
    let hashes = &after[..after.len() - inside.len()];
    let inside = inside.strip_prefix('"')?;
    let end = inside.find(&format!("\"{hashes}"));
    let start = rest.len() - inside.len();
    Some(end.map_or(rest.len(), |end| start + end + 1 + hashes.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn views_hold_what_they_should() {
        let source = r###"let a = "in // text"; // note "quoted"
/* outer /* inner */ still */ let b: &'static str = r#"raw " text"#; let c = '"'; let d = '\''; let e = 'x';
fn f<'a>(g: &'a str) -> char { b"bytes"; br"raw bytes"; for_r"s"; 'é' } //! last"###;
        let views = Views::of(source);
        for (view, present) in [
            (&views.code, vec!["let a =", "let b: &'static str", "fn f<'a>(g: &'a str)", "for_r"]),
            (
                &views.literals,
                vec!["in // text", "raw \" text", "'\"'", "'\\''", "'x'", "bytes", "raw bytes", "'é'"],
            ),
            (&views.comments, vec!["note \"quoted\"", "outer /* inner */ still", "last"]),
        ] {
            for word in present {
                assert!(view.contains(word), "{word:?} is missing in {view}");
                let count = [&views.code, &views.literals, &views.comments].map(|v| v.matches(word).count());
                assert_eq!(count.iter().filter(|&&count| count > 0).count(), 1, "{word:?}: {count:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn every_character_is_in_one_view_and_lines_stay(
            source in "[a-c'\"/*r#\\\\ \nbé]{0,60}",
        ) {
            let Views { code, literals, comments } = Views::of(&source);
            let merged: String = code
                .chars()
                .zip(literals.chars())
                .zip(comments.chars())
                .map(|((a, b), c)| [a, b, c].into_iter().find(|&c| c != ' ').unwrap_or(' '))
                .collect();
            prop_assert_eq!(merged, source);
        }
    }
}
