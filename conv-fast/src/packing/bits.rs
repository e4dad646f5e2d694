//! A set of coefficients of one polynomial, 64 to a word, with the rotations that multiplication by X^j means for it.

/// A subset of 0..degree.
#[derive(Clone, Debug)]
pub(super) struct Bits {
    words: Vec<u64>,
    degree: usize,
}

impl Bits {
    /// The empty set for a power-of-two degree.
    pub(super) fn new(degree: usize) -> Self {
        Self { words: vec![0; degree.div_ceil(64)], degree }
    }

    /// Words that each operation on a whole set touches.
    pub(super) fn words(degree: usize) -> usize {
        degree.div_ceil(64)
    }

    /// Adds a position, taken modulo the degree.
    pub(super) fn insert(&mut self, position: isize) {
        let (word, bit) = self.locate(position);
        self.words[word] |= bit;
    }

    /// The positions that are not in `other`, a set of the same degree.
    pub(super) fn without(mut self, other: &Self) -> Self {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word &= !other;
        }
        self
    }

    pub(super) fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The positions, ascending.
    pub(super) fn positions(&self) -> Vec<u32> {
        let mut positions = Vec::with_capacity(self.count());
        for (index, &word) in (0u32..).zip(&self.words) {
            let mut rest = word;
            while rest != 0 {
                positions.push(64 * index + rest.trailing_zeros());
                rest &= rest - 1;
            }
        }
        positions
    }

    /// The union of the rotations by first·distance, (first + 1)·distance, … (`count` ≥ 1 of them): doubled until it covers.
    pub(super) fn rotations(&self, first: isize, count: usize, distance: usize) -> Self {
        let mut all = self.rotated(first * distance as isize);
        let mut covered = 1;
        while covered < count {
            let more = covered.min(count - covered);
            let rotated = all.rotated((more * distance) as isize);
            for (word, rotated) in all.words.iter_mut().zip(rotated.words) {
                *word |= rotated;
            }
            covered += more;
        }
        all
    }

    /// Every position plus `by`, modulo the degree.
    fn rotated(&self, by: isize) -> Self {
        let by = self.reduce(by);
        if self.degree < 64 {
            let mask = (1 << self.degree) - 1;
            let word = self.words[0];
            // `by` is below the degree, so that no shift reaches 64.
            return Self {
                words: vec![(word << by | word >> (self.degree - by)) & mask],
                degree: self.degree,
            };
        }
        let (words, bits, len) = (by / 64, by % 64, self.words.len());
        // The number of words is a power of two as the degree is.
        let from = |index: usize| self.words[(index + len - words) & (len - 1)];
        let word = |index: usize| match bits {
            0 => from(index),
            _ => from(index) << bits | from(index + len - 1) >> (64 - bits),
        };
        Self { words: (0..len).map(word).collect(), degree: self.degree }
    }

    fn locate(&self, position: isize) -> (usize, u64) {
        let position = self.reduce(position);
        (position / 64, 1 << (position % 64))
    }

    /// Modulo a power of two; two's complement makes it right for negative positions too.
    fn reduce(&self, position: isize) -> usize {
        position as usize & (self.degree - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;
    use std::collections::BTreeSet;

    #[test]
    fn rotations_match_a_plain_set() {
        let mut random = Random::new("bits");
        for round in 0..400 {
            let degree = 1 << random.between(1, 10);
            let mut bits = Bits::new(degree);
            let mut set = BTreeSet::new();
            let position = |random: &mut Random| random.between(0, 6 * degree) as isize - 3 * degree as isize;
            let (mut removed, mut fewer) = (Bits::new(degree), BTreeSet::new());
            for _ in 0..random.between(0, degree) {
                let at = position(&mut random);
                let plain = at.rem_euclid(degree as isize);
                bits.insert(at);
                set.insert(plain);
                if random.below(4) == 0 {
                    removed.insert(plain);
                    fewer.insert(plain);
                }
            }
            set.retain(|at| !fewer.contains(at));
            let bits = bits.without(&removed);
            let (first, count) = (random.between(0, 20) as isize - 10, random.between(1, 20));
            let distance = random.between(1, degree);
            let expected: BTreeSet<u32> = (first..first + count as isize)
                .flat_map(|shift| set.iter().map(move |at| at + shift * distance as isize))
                .map(|at| at.rem_euclid(degree as isize) as u32)
                .collect();
            let rotated = bits.rotations(first, count, distance);
            assert_eq!(rotated.positions(), Vec::from_iter(expected), "round {round}, degree {degree}");
            assert_eq!(rotated.count(), rotated.positions().len());
        }
    }
}
