//! The local linear code: every output adds ten entries of the base to a leaf.
//!
//! Yang, Weng, Lan, Zhang, Wang, *Ferret: fast extension for correlated OT with small communication* (CCS
//! 2020, eprint 2020/924): the primal form of learning parity with noise over F_2, the public matrix with d =
//! 10 ones in every row, at random places.
//!
//! > y_j = leaf_j ⊕ base\[i_{j,0}\] ⊕ … ⊕ base\[i_{j,9}\]
//!
//! The places are a public stream, AES in counter mode under a key that the session and the iteration give:
//! row j takes blocks 2j and 2j + 1, and of each block the three lowest 21-bit fields of its low and the two
//! lowest of its high half, cut to log2 k bits. k is a power of two, so every place is equally likely.
//!
//! | | shape | range |
//! |---|---|---|
//! | base | k = 2^16 to 2^19 words | |
//! | rows | any number, from any first row | row index below 2^63 |
//!
//! Memory is read at random places of a table of 1 to 8 MiB, which is what the time goes into: all places of a
//! batch of rows are known before the first is read, so that many reads are under way at once. The places are
//! public; nothing depends on the values.

use crate::hash::Prg;

/// Ones per row of the matrix.
#[cfg(test)]
const ROW_WEIGHT: usize = 10;

/// Rows whose places are computed at once.
const BATCH: usize = 64;

/// Bits between the places inside a half block.
const FIELD: u32 = 21;

/// The matrix of one iteration, in the form of the key of its stream.
pub(super) struct LocalCode {
    places: Prg,
}

impl LocalCode {
    /// The matrix of a public key.
    pub(super) fn new(key: u128) -> Self {
        Self { places: Prg::new(key) }
    }

    /// Adds rows `first`, `first + 1`, … of the matrix times `base` to `rows`.
    ///
    /// `base` has 2^16, 2^17, 2^18 or 2^19 entries, the sizes of the parameter sets.
    pub(super) fn add(&self, base: &[u128], first: u64, rows: &mut [u128]) {
        match base.len().ilog2() {
            16 => self.add_sized::<{ 1 << 16 }>(base, first, rows),
            17 => self.add_sized::<{ 1 << 17 }>(base, first, rows),
            18 => self.add_sized::<{ 1 << 18 }>(base, first, rows),
            _ => self.add_sized::<{ 1 << 19 }>(base, first, rows),
        }
    }

    /// With the length a constant, masked places need no further check.
    fn add_sized<const LEN: usize>(&self, base: &[u128], first: u64, rows: &mut [u128]) {
        let base: &[u128; LEN] = base.try_into().expect("the base has the length of its parameter set");
        let mut places = [0u128; 2 * BATCH];
        for (first, rows) in (first..).step_by(BATCH).zip(rows.chunks_mut(BATCH)) {
            let places = &mut places[..2 * rows.len()];
            self.places.blocks_at(2 * first, places);
            let (places, _) = places.as_chunks::<2>();
            for (row, blocks) in rows.iter_mut().zip(places) {
                let mut sum = *row;
                for block in blocks {
                    let (low, high) = (*block as u64, (block >> 64) as u64);
                    sum ^= base[low as usize & (LEN - 1)];
                    sum ^= base[(low >> FIELD) as usize & (LEN - 1)];
                    sum ^= base[(low >> (2 * FIELD)) as usize & (LEN - 1)];
                    sum ^= base[high as usize & (LEN - 1)];
                    sum ^= base[(high >> FIELD) as usize & (LEN - 1)];
                }
                *row = sum;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The places of the first `rows` rows, from the formula, block by block.
    fn places_slow(key: u128, rows: usize, log_len: u32) -> Vec<[usize; ROW_WEIGHT]> {
        let mut stream = vec![0u8; 32 * rows];
        Prg::new(key).fill(&mut stream);
        let place = |row: &[u8], bit: usize| {
            let field =
                (0..log_len as usize).map(|b| usize::from(row[(bit + b) / 8] >> ((bit + b) % 8) & 1) << b);
            field.sum()
        };
        let bits = [0, 21, 42, 64, 85, 128, 149, 170, 192, 213];
        stream.chunks(32).map(|row| bits.map(|bit| place(row, bit))).collect()
    }

    #[test]
    fn rows_match_the_slow_twin_at_all_sizes_and_borders() {
        for log_len in 16..=19 {
            let mut base = vec![0u128; 1 << log_len];
            for (word, stream) in base.iter_mut().zip(0u128..) {
                *word = (stream + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
            }
            for (first, count) in [(0, 1), (5, 63), (0, 64), (130, 65), (1000, 200), (3, 0)] {
                let before: Vec<u128> = (0..count).map(|j| j as u128 * 77).collect();
                let mut rows = before.clone();
                LocalCode::new(42).add(&base, first as u64, &mut rows);
                let all = places_slow(42, first + count, log_len);
                for ((row, before), places) in rows.iter().zip(&before).zip(&all[first..]) {
                    assert_eq!(*row, places.iter().fold(*before, |sum, &place| sum ^ base[place]));
                }
            }
        }
    }

    #[test]
    fn places_are_spread_evenly_and_keys_separate() {
        // 40 960 places into 256 bins of 160 each: chi-square has mean 255, standard deviation 22.6.
        let mut bins = [0f64; 256];
        for place in places_slow(7, 4096, 16).as_flattened() {
            bins[place >> 8] += 1.0;
        }
        let chi: f64 = bins.iter().map(|bin| (bin - 160.0).powi(2) / 160.0).sum();
        assert!((255.0 - 120.0..255.0 + 140.0).contains(&chi), "chi-square {chi:.1}");
        let (rows, others) = (places_slow(7, 2, 16), places_slow(8, 2, 16));
        assert_ne!(rows[0], rows[1]);
        assert_ne!(rows, others);
    }
}
