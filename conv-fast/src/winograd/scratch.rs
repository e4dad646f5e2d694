//! One buffer per thread, kept between calls: fresh memory costs more than the arithmetic of a small layer.

use std::cell::Cell;

/// Words that a thread keeps at most (16 MiB); longer buffers are given back after use.
const KEPT: usize = 1 << 21;
/// Words of a cache line.
const LINE: usize = 8;

thread_local! {
    static BUFFER: Cell<Vec<u64>> = const { Cell::new(Vec::new()) };
}

/// Calls `work` with `words` words of arbitrary content, aligned to a cache line. While it runs, other work on this
/// thread gets buffers of its own.
pub(super) fn with<T>(words: usize, work: impl FnOnce(&mut [u64]) -> T) -> T {
    let mut buffer = BUFFER.take();
    if buffer.len() < words + LINE {
        buffer = vec![0; words + LINE];
    }
    let start = buffer.as_ptr().align_offset(size_of::<u64>() * LINE).min(LINE);
    let result = work(&mut buffer[start..start + words]);
    if buffer.len() <= KEPT {
        BUFFER.set(buffer);
    }
    result
}
