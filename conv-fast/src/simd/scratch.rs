//! Scratch memory that a thread keeps from call to call, aligned to the vectors.
//!
//! A fresh buffer of a few megabytes costs more page faults than the transforms that fill it. So a thread keeps the buffers
//! that it gave back: at most as many as it ever held at once, each as large as its largest use, up to [`KEPT_ROWS`].

#![expect(unsafe_code, reason = "views of aligned steps as plain words")]

use super::lanes::{LANES, Words};
use crate::Word;
use std::cell::RefCell;

/// One step of eight words on a cache line of its own.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line(Words);

/// Steps of eight words, each aligned to 64 bytes.
#[derive(Debug, Default)]
pub(crate) struct Lines(Vec<Line>);

impl Lines {
    /// That many steps of zeros.
    pub(crate) fn zeros(rows: usize) -> Self {
        Self(vec![Line([0; LANES]); rows])
    }

    pub(crate) fn rows(&self) -> &[Words] {
        // SAFETY: a line is eight words and nothing else, at the alignment of words or more.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len()) }
    }

    pub(crate) fn rows_mut(&mut self) -> &mut [Words] {
        // SAFETY: as above; the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len()) }
    }
}

/// Steps of the largest buffer that a thread keeps (32 MiB).
const KEPT_ROWS: usize = 1 << 19;

thread_local! {
    static KEPT: RefCell<Vec<Lines>> = const { RefCell::new(Vec::new()) };
}

/// `rows` steps with any content; given back to this thread when `body` returns.
pub(crate) fn with_scratch<T>(rows: usize, body: impl FnOnce(&mut [Words]) -> T) -> T {
    let mut lines = KEPT.with_borrow_mut(Vec::pop).unwrap_or_default();
    if lines.0.len() < rows {
        lines = Lines::zeros(rows);
    }
    let result = body(&mut lines.rows_mut()[..rows]);
    if lines.0.len() <= KEPT_ROWS {
        KEPT.with_borrow_mut(|kept| kept.push(lines));
    }
    result
}

/// As [`with_scratch`] in words of either kind.
pub(crate) fn with_words<W: Word, T>(words: usize, body: impl FnOnce(&mut [W]) -> T) -> T {
    with_scratch((words * W::BITS as usize).div_ceil(64 * LANES), |rows| {
        // SAFETY: the rows are at least as many bits as the words, aligned for any word, and all bits make words.
        body(unsafe { std::slice::from_raw_parts_mut(rows.as_mut_ptr().cast(), words) })
    })
}
