//! The hushnet command line.

// Used by the commands that follow; until then by tests alone.
#[cfg_attr(not(test), expect(dead_code, reason = "the commands that read images use it"))]
mod images;
#[cfg_attr(not(test), expect(dead_code, reason = "the commands that print results use it"))]
mod terminal;

fn main() {}
