//! ChaCha20 blocks four at a time in plain Rust.
//!
//! A word of the state is an array of four lanes, one per block; compilers turn the lane loops into vectors of 128 bits
//! where the target has them. The definition of what the other kernels compute: RFC 8439, sections 2.1 and 2.3, with
//! the counter of 64 bits in words 12 and 13 and a nonce of zeros in words 14 and 15 (as in Bernstein's paper).

use core::array::from_fn;

use super::{BLOCK, CONSTANTS};

/// Blocks of a group.
pub(super) const GROUP: usize = 4;

type Lanes = [u32; GROUP];

/// Fills `out`, a whole number of groups, with the blocks `counter`, `counter + 1`, ...
pub(super) fn blocks(key: &[u32; 8], counter: u64, out: &mut [u8]) {
    for (at, group) in out.chunks_exact_mut(GROUP * BLOCK).enumerate() {
        let first = counter.wrapping_add((at * GROUP) as u64);
        let counters: [u64; GROUP] = from_fn(|lane| first.wrapping_add(lane as u64));
        let mut start = [[0; GROUP]; 16];
        for (word, &value) in start.iter_mut().zip(CONSTANTS.iter().chain(key)) {
            *word = [value; GROUP];
        }
        start[12] = counters.map(|counter| counter as u32);
        start[13] = counters.map(|counter| (counter >> 32) as u32);
        let mut state = start;
        for _ in 0..10 {
            quarter(&mut state, 0, 4, 8, 12);
            quarter(&mut state, 1, 5, 9, 13);
            quarter(&mut state, 2, 6, 10, 14);
            quarter(&mut state, 3, 7, 11, 15);
            quarter(&mut state, 0, 5, 10, 15);
            quarter(&mut state, 1, 6, 11, 12);
            quarter(&mut state, 2, 7, 8, 13);
            quarter(&mut state, 3, 4, 9, 14);
        }
        for (lane, block) in group.chunks_exact_mut(BLOCK).enumerate() {
            for (bytes, (word, start)) in block.chunks_exact_mut(4).zip(state.iter().zip(&start)) {
                bytes.copy_from_slice(&word[lane].wrapping_add(start[lane]).to_le_bytes());
            }
        }
    }
}

#[inline(always)]
fn quarter(state: &mut [Lanes; 16], a: usize, b: usize, c: usize, d: usize) {
    step::<16>(state, a, b, d);
    step::<12>(state, c, d, b);
    step::<8>(state, a, b, d);
    step::<7>(state, c, d, b);
}

/// x += y; z = (z ^ x) rotated left by R.
#[inline(always)]
fn step<const R: u32>(state: &mut [Lanes; 16], x: usize, y: usize, z: usize) {
    state[x] = from_fn(|lane| state[x][lane].wrapping_add(state[y][lane]));
    state[z] = from_fn(|lane| (state[z][lane] ^ state[x][lane]).rotate_left(R));
}
