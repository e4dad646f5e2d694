//! The products of transformed values: for each of the N values a small matrix product, outputs × inputs × polynomials.
//!
//! | array | order | steps of eight words |
//! |---|---|---|
//! | inputs x | group of four values, polynomial, input block, value, \[channel\] | groups·(polynomials·blocks·4 + 1) |
//! | weights w | value, output block, input channel, \[output channel\] | N·blocks·channels |
//! | sums y | group of four values, polynomial, output block, value, \[output channel\] | groups·(polynomials·blocks·4 + 1) |
//!
//! (The one more step per group keeps neighbours off the same cache sets.) Everything that belongs to one value lies
//! together, so that the weights stream through the core once. Register blocks are OB output blocks × TB polynomials:
//! each weight step is loaded once for TB of them and each input word is spread once for OB.

use super::cut::Blocks;
use super::field::Field;
use super::transform::GROUP;
use crate::kernel::Task;
use crate::lanes::{LANES, Words};

/// Steps of one group of an array with that many polynomials × blocks.
pub(super) fn group_rows(columns: usize) -> usize {
    columns * GROUP + 1
}

/// All products of one group of four values.
pub(super) struct Products<'a, F> {
    pub(super) field: F,
    pub(super) blocks: Blocks,
    /// Polynomials T.
    pub(super) count: usize,
    /// Of the four values.
    pub(super) weights: &'a [Words],
    /// Of this group.
    pub(super) inputs: &'a [Words],
    /// Of this group.
    pub(super) sums: &'a mut [Words],
}

impl<F: Field> Task for Products<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run(mut self) {
        for value in 0..GROUP {
            if self.blocks.lanewise {
                self.lanewise(value);
                continue;
            }
            for group in 0..self.blocks.groups {
                self.group(value, group);
            }
        }
    }
}

impl<F: Field> Products<'_, F> {
    #[inline(always)]
    fn lanewise(&mut self, value: usize) {
        let blocks = self.blocks.outputs;
        let weights = &self.weights[value * blocks..][..blocks];
        for column in 0..self.count * blocks {
            let at = column * GROUP + value;
            let (w, x) = (self.field.load(&weights[column % blocks]), self.field.load(&self.inputs[at]));
            let sum = self.field.add_product(self.field.nothing(), w, x);
            self.field.store(self.field.close(sum), &mut self.sums[at]);
        }
    }

    /// The outputs of one group of channels.
    #[inline(always)]
    fn group(&mut self, value: usize, group: usize) {
        let outputs = self.blocks.outputs;
        let height = match (F::MANY_REGISTERS, self.count) {
            (true, 0..=3) => 4,
            (true, _) => 2,
            (false, _) => 1,
        };
        let width = if F::MANY_REGISTERS { 12 / height } else { 2 };
        let mut block = 0;
        while block < outputs {
            let high = if block + height <= outputs { height } else { 1 };
            let mut first = 0;
            while first < self.count {
                // Even shares: 16 polynomials are 6 + 5 + 5.
                let left = self.count - first;
                let wide = left.div_ceil(left.div_ceil(width));
                let at = Place { value, group, block, first };
                match (high, wide) {
                    (4, 1) => self.tile::<4, 1>(at),
                    (4, 2) => self.tile::<4, 2>(at),
                    (4, 3) => self.tile::<4, 3>(at),
                    (2, 1) => self.tile::<2, 1>(at),
                    (2, 2) => self.tile::<2, 2>(at),
                    (2, 3) => self.tile::<2, 3>(at),
                    (2, 4) => self.tile::<2, 4>(at),
                    (2, 5) => self.tile::<2, 5>(at),
                    (2, 6) => self.tile::<2, 6>(at),
                    (_, 1) => self.tile::<1, 1>(at),
                    (_, 2) => self.tile::<1, 2>(at),
                    (_, 3) => self.tile::<1, 3>(at),
                    (_, 4) => self.tile::<1, 4>(at),
                    (_, 5) => self.tile::<1, 5>(at),
                    _ => self.tile::<1, 6>(at),
                }
                first += wide;
            }
            block += high;
        }
    }

    /// One register block over all input channels of a group.
    #[inline(always)]
    fn tile<const OB: usize, const TB: usize>(&mut self, at: Place) {
        let (field, blocks) = (self.field, self.blocks);
        let terms = blocks.terms;
        let first_block = at.group * blocks.outputs + at.block;
        let start = (at.value * blocks.all_outputs() + first_block) * terms;
        let weights: [&[Words]; OB] = split(&self.weights[start..start + OB * terms], terms);
        let stride = blocks.inputs * GROUP;
        let inputs: [&[Words]; TB] = split(&self.inputs[at.first * stride..][..TB * stride], stride);
        let mut lanes = [[field.splat(0); TB]; OB];
        let mut done = 0;
        while done < terms {
            let end = terms.min(done.saturating_add(field.most_terms() / LANES * LANES).max(done + 1));
            let mut sums = [[field.nothing(); TB]; OB];
            let mut channel = at.group * terms + done;
            let mut weight = done;
            while weight < end {
                let lane = channel % LANES;
                let row = (channel / LANES) * GROUP + at.value;
                let mut words = [&[0; LANES]; TB];
                for t in 0..TB {
                    words[t] = &inputs[t][row];
                }
                if lane == 0 && weight + LANES <= end {
                    let mut steps = [&[[0; LANES]; LANES]; OB];
                    for o in 0..OB {
                        steps[o] = weights[o][weight..weight + LANES].as_array().expect("eight steps");
                    }
                    for lane in 0..LANES {
                        let mut w = [field.splat(0); OB];
                        for o in 0..OB {
                            w[o] = field.load(&steps[o][lane]);
                        }
                        for t in 0..TB {
                            let x = field.splat(words[t][lane]);
                            for o in 0..OB {
                                sums[o][t] = field.add_product(sums[o][t], w[o], x);
                            }
                        }
                        if lane % 4 == 3 {
                            tidy(field, &mut sums);
                        }
                    }
                    weight += LANES;
                    channel += LANES;
                } else {
                    for o in 0..OB {
                        let w = field.load(&weights[o][weight]);
                        for t in 0..TB {
                            sums[o][t] = field.add_product(sums[o][t], w, field.splat(words[t][lane]));
                        }
                    }
                    tidy(field, &mut sums);
                    weight += 1;
                    channel += 1;
                }
            }
            for o in 0..OB {
                for t in 0..TB {
                    let sum = field.close(sums[o][t]);
                    lanes[o][t] = if done == 0 { sum } else { field.join(lanes[o][t], sum) };
                }
            }
            done = end;
        }
        for t in 0..TB {
            let first = (at.first + t) * blocks.all_outputs() + first_block;
            for (o, lanes) in lanes.iter().enumerate() {
                field.store(lanes[t], &mut self.sums[(first + o) * GROUP + at.value]);
            }
        }
    }
}

/// Which register block.
#[derive(Clone, Copy)]
struct Place {
    value: usize,
    group: usize,
    /// First output block within the group.
    block: usize,
    /// First polynomial.
    first: usize,
}

#[inline(always)]
fn tidy<F: Field, const OB: usize, const TB: usize>(field: F, sums: &mut [[F::Sum; TB]; OB]) {
    for sums in sums {
        for sum in sums {
            *sum = field.tidy(*sum);
        }
    }
}

/// `COUNT` stretches of `each`.
#[inline(always)]
fn split<const COUNT: usize>(rows: &[Words], each: usize) -> [&[Words]; COUNT] {
    let mut out = [rows; COUNT];
    for (i, part) in out.iter_mut().enumerate() {
        *part = &rows[i * each..(i + 1) * each];
    }
    out
}
