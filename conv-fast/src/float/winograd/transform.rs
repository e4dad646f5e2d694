//! The forms applied to stretches of tiles, in both directions.
//!
//! Strides of the arguments are in elements, counts in vectors. Every function picks the form at run time and is compiled
//! for each.

#![expect(unsafe_code, reason = "vector arithmetic on strided memory")]

use super::form::Form;
use crate::float::lanes::{Lanes, loads, stores};

/// Runs `$run::<L, m, r, n>(...)` for the form with m outputs and r taps.
macro_rules! by_form {
    ($form:expr, $run:ident($($argument:expr),*)) => {
        match $form {
            [2, 3] => $run::<L, 2, 3, 4>($($argument),*),
            [4, 3] => $run::<L, 4, 3, 6>($($argument),*),
            [6, 3] => $run::<L, 6, 3, 8>($($argument),*),
            [2, 5] => $run::<L, 2, 5, 6>($($argument),*),
            [4, 5] => $run::<L, 4, 5, 8>($($argument),*),
            [6, 5] => $run::<L, 6, 5, 10>($($argument),*),
            form => panic!("no form F{form:?}"),
        }
    };
}

/// Bᵀ down the columns: `[n][columns]` vectors to the same.
///
/// # Safety
/// The machine has the instruction set of L; both hold n·columns vectors.
#[inline(always)]
pub(super) unsafe fn down<L: Lanes>(
    form: [usize; 2],
    from: *const L::Number,
    to: *mut L::Number,
    columns: usize,
) {
    // SAFETY: as the caller's.
    unsafe { by_form!(form, down_by(from, to, columns)) }
}

#[inline(always)]
unsafe fn down_by<L: Lanes, const M: usize, const R: usize, const N: usize>(
    from: *const L::Number,
    to: *mut L::Number,
    columns: usize,
) {
    for column in 0..columns {
        // SAFETY: row and column are inside.
        unsafe {
            let d = loads::<L, N>(from.add(column * L::LEN), columns * L::LEN);
            stores(&Form::<M, R, N>::input(d), to.add(column * L::LEN), columns * L::LEN);
        }
    }
}

/// Bᵀ across the rows: `[rows][columns]` vectors, tiles m columns apart, to `[row·n + position][tile]`, `to_steps` apart.
///
/// # Safety
/// The machine has the instruction set of L; columns ≥ tiles·m + r − 1; the steps stay inside `to`.
#[inline(always)]
pub(super) unsafe fn across<L: Lanes>(
    form: [usize; 2],
    from: *const L::Number,
    counts: [usize; 3],
    to: *mut L::Number,
    to_steps: [usize; 2],
) {
    // SAFETY: as the caller's.
    unsafe { by_form!(form, across_by(from, counts, to, to_steps)) }
}

#[inline(always)]
unsafe fn across_by<L: Lanes, const M: usize, const R: usize, const N: usize>(
    from: *const L::Number,
    [rows, tiles, columns]: [usize; 3],
    to: *mut L::Number,
    [position_step, tile_step]: [usize; 2],
) {
    for row in 0..rows {
        for tile in 0..tiles {
            // SAFETY: tile·m + n − 1 is below columns.
            unsafe {
                let from = from.add((row * columns + tile * M) * L::LEN);
                let d = loads::<L, N>(from, L::LEN);
                let to = to.add(row * N * position_step + tile * tile_step);
                stores(&Form::<M, R, N>::input(d), to, position_step);
            }
        }
    }
}

/// Aᵀ across the rows: `[row·n + position][tile]`, `from_steps` apart, to `[rows][columns]` vectors, tiles m columns apart.
///
/// # Safety
/// The machine has the instruction set of L; the steps stay inside `from`; columns ≥ tiles·m.
#[inline(always)]
pub(super) unsafe fn across_back<L: Lanes>(
    form: [usize; 2],
    from: *const L::Number,
    from_steps: [usize; 2],
    counts: [usize; 3],
    to: *mut L::Number,
) {
    // SAFETY: as the caller's.
    unsafe { by_form!(form, across_back_by(from, from_steps, counts, to)) }
}

#[inline(always)]
unsafe fn across_back_by<L: Lanes, const M: usize, const R: usize, const N: usize>(
    from: *const L::Number,
    [position_step, tile_step]: [usize; 2],
    [rows, tiles, columns]: [usize; 3],
    to: *mut L::Number,
) {
    for row in 0..rows {
        for tile in 0..tiles {
            // SAFETY: tile·m + m − 1 is below columns.
            unsafe {
                let from = from.add(row * N * position_step + tile * tile_step);
                let y = loads::<L, N>(from, position_step);
                let to = to.add((row * columns + tile * M) * L::LEN);
                stores(&Form::<M, R, N>::output(y), to, L::LEN);
            }
        }
    }
}

/// Aᵀ down the columns: `[n][columns]` vectors to `[m][columns]`.
///
/// # Safety
/// The machine has the instruction set of L; `from` holds n·columns and `to` m·columns vectors.
#[inline(always)]
pub(super) unsafe fn down_back<L: Lanes>(
    form: [usize; 2],
    from: *const L::Number,
    to: *mut L::Number,
    columns: usize,
) {
    // SAFETY: as the caller's.
    unsafe { by_form!(form, down_back_by(from, to, columns)) }
}

#[inline(always)]
unsafe fn down_back_by<L: Lanes, const M: usize, const R: usize, const N: usize>(
    from: *const L::Number,
    to: *mut L::Number,
    columns: usize,
) {
    for column in 0..columns {
        // SAFETY: row and column are inside.
        unsafe {
            let y = loads::<L, N>(from.add(column * L::LEN), columns * L::LEN);
            stores(&Form::<M, R, N>::output(y), to.add(column * L::LEN), columns * L::LEN);
        }
    }
}
