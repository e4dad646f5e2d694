//! The ranges of both transforms, level by level with whole intervals, for every mode that is ever chosen.

use super::*;

/// Values from the first to the last number, both possible.
#[derive(Debug, Clone, Copy)]
struct Range(i128, i128);

impl Range {
    /// A value that the multiplier can read.
    fn readable(self) -> Self {
        assert!(0 <= self.0 && self.1 < CAPACITY as i128, "{self:?}");
        self
    }

    fn plus(self, other: Self) -> Self {
        Self(self.0 + other.0, self.1 + other.1)
    }

    fn minus(self, other: Self) -> Self {
        Self(self.0 - other.1, self.1 - other.0)
    }

    fn or(self, other: Self) -> Self {
        Self(self.0.min(other.0), self.1.max(other.1))
    }

    /// Step by step through a table that has an entry for each step modulo 2^52.
    fn mapped(self, table: &[u64; LANES], map: impl Fn(i128, i128) -> i128) -> Self {
        let half = LANES as i128 / 2;
        let step = |k: i128| {
            let (from, to) = ((k * STEP as i128).max(self.0), ((k + 1) * STEP as i128 - 1).min(self.1));
            let entry = i128::from(table[k.rem_euclid(2 * half) as usize].cast_signed());
            let (one, other) = (map(from, entry), map(to, entry));
            (from <= to).then_some(Self(one.min(other), one.max(other)))
        };
        (-half..2 * half).filter_map(step).reduce(Self::or).unwrap()
    }

    fn tamed(self, table: &[u64; LANES]) -> Self {
        self.readable().mapped(table, |x, entry| x - entry)
    }

    /// One bit decides whether to take `most` away.
    fn tamed_once(self, most: i128) -> Self {
        let half = (CAPACITY / 2) as i128;
        let whole = Self(half.max(self.0) - most, self.1 - most);
        let kept = Self(self.0, self.1.min(half - 1));
        let tamed = if half <= self.readable().1 { kept.or(whole) } else { kept };
        assert!(0 <= tamed.0 && tamed.1 < half, "{self:?}");
        tamed
    }

    fn negated(self, table: &[u64; LANES]) -> Self {
        self.readable().mapped(table, |x, entry| entry - x)
    }

    /// Of a signed value of either sign: `most` is added to a negative one.
    fn signed(self, most: i128) -> Self {
        let half = (CAPACITY / 2) as i128;
        assert!(-half <= self.0 && self.0 < 0 && 0 <= self.1 && self.1 < half, "{self:?}");
        Self(0, self.1).or(Self(self.0 + most, most - 1))
    }
}

/// Moduli of 3 to 50 bits: around every eighth of an octave, and the ends.
fn moduli() -> impl Iterator<Item = u64> {
    (24..50 * 8)
        .flat_map(|eighth| {
            let q = 2_f64.powf(f64::from(eighth) / 8.0) as u64 | 1;
            [q - 2, q, q + 2]
        })
        .chain((1 << 48..1 << 50).step_by((1 << 40) + 2).map(|q| q | 1))
        .chain([3, 5, (1 << 50) - 27, (1 << 50) - 1])
        .filter(|&q| q < 1 << 50 && q > 2)
}

fn modes(levels: u64, q: u64) -> (u8, u8) {
    let first =
        |fits: &dyn Fn(u8) -> bool| [FREE, SPARSE, DENSE].into_iter().find(|&mode| fits(mode)).unwrap();
    (first(&|mode| forward_fits(mode, levels, q)), first(&|mode| inverse_fits(mode, q)))
}

#[test]
fn forward_values_can_be_read() {
    for q in moduli() {
        for levels in 8..=16 {
            let mode = modes(levels, q).0;
            let bias = forward_bias(mode, levels) * q;
            let table = taming(q, bias);
            let q = i128::from(q);
            // The levels of a block are the last six; the passes before have two each, the first three where `levels` is odd.
            let first = 2 + levels % 2;
            let mut all = Range(0, q - 1);
            for level in 0..levels {
                let place = match level.checked_sub(levels - 6) {
                    Some(place) => place % 3,
                    None if level < first => level,
                    None => (level - first) % 2,
                };
                let x = match (level, mode) {
                    (0, _) => all.plus(Range(bias.into(), bias.into())),
                    (_, DENSE) => all.tamed_once(2 * q),
                    (_, SPARSE) if place == 0 => all.tamed(&table),
                    _ => all,
                };
                all.readable();
                let [r, lift] = match mode {
                    DENSE => [Range(0, 2 * q - 1), Range(2 * q, 2 * q)],
                    _ => [Range(-q, q - 1), Range(0, 0)],
                };
                all = x.plus(r).or(x.minus(r).plus(lift)).readable();
            }
        }
    }
}

#[test]
fn inverse_values_can_be_read() {
    for q in moduli() {
        let mode = modes(8, q).1;
        let table = taming(q, 0);
        let roles = inverse_roles(mode, q).map(|role| {
            assert!(
                [role.bias, role.starts[0], role.starts[1]]
                    .iter()
                    .all(|&x| x.cast_signed() % q.cast_signed() == 0)
            );
            let number = |x: u64| Range(x.cast_signed().into(), x.cast_signed().into());
            assert_eq!(role.starts[0].wrapping_add(role.starts[1]), role.bias);
            (number(role.bias), role.starts.map(number))
        });
        let bound = Range(0, i128::from(inverse_bound(mode, q)) - 1);
        let [first, second] = inverse_offsets(mode, q).map(|offset| Range(offset.into(), offset.into()));
        let negated = taming_negated(q);
        let divided = |table: &[u64; LANES]| table.iter().all(|&x| x.cast_signed() % q.cast_signed() == 0);
        assert!(divided(&table) && divided(&negated));
        let q = i128::from(q);
        let (zero, one, two) = (Range(0, 0), Range(q, q), Range(2 * q, 2 * q));
        let product = Range(0, 2 * q - 1);
        // A level: what is multiplied can be read. The sum, which is read when it is tamed, comes back.
        let level = |x: Range, y: Range, offset: Range| {
            x.minus(y).plus(offset).readable();
            x.plus(y)
        };
        let tamed_if = |tame: bool, x: Range| if tame { x.tamed(&table) } else { x };
        // A word without its bias, at the end of two levels or of one.
        let small = |x: Range| assert!(0 <= x.0 && x.1 <= bound.1, "modulo {q}: {x:?} in mode {mode}");
        // Half-lengths 1 and 2: sums and products share registers in between.
        let residue = Range(0, q - 1);
        let x = level(residue, residue, one).or(product);
        let x = tamed_if(mode != FREE, level(x, x, if mode == DENSE { first } else { two }));
        small(x);
        small(product);
        // Half-lengths 4 and 8: sums and products share registers, and both are tamed in the end.
        let sum = tamed_if(mode == DENSE, level(bound, bound, first)).or(product);
        if mode == DENSE {
            small(sum);
            let sum = level(sum, sum, first);
            small(sum.tamed(&table));
            small(sum.negated(&negated));
            // Of x and -y.
            bound.plus(bound).readable();
            assert!((bound.1 + 1) % q == 0 && first.0 == bound.1 + 1);
            small(bound.minus(bound).signed(first.0));
            bound.minus(bound).plus(first).readable();
            continue;
        }
        small(level(sum, sum, second).tamed(&table));
        let biased = |j: usize| bound.plus(roles[j].0);
        // Two levels: sums of sums, sums of products.
        let sums = [[0, 1], [2, 3]].map(|[left, right]| level(biased(left), biased(right), zero));
        small(level(sums[0], sums[1], zero).tamed(&table));
        for (bias, starts) in roles {
            let starts = if mode == FREE { starts } else { roles[1].1 };
            let [left, right] = starts.map(|start| product.plus(start));
            let sum = level(left, right, zero);
            small(if mode == FREE { sum.minus(bias) } else { sum.tamed(&table) });
        }
        // The last of three: its sum is multiplied.
        level(biased(0), biased(1), zero).readable();
    }
}

#[test]
fn modes_are_as_the_essay_says() {
    for q in moduli() {
        for levels in 8..=16 {
            let (forward, inverse) = modes(levels, q);
            let free = u128::from((2 * levels + 1) * q) <= CAPACITY;
            assert_eq!(forward == FREE, free, "{levels} {q}");
            assert_eq!(inverse == FREE, q < 1 << 48, "{q}");
            if q < 1 << 49 {
                let band = (5 * (1 << 48) / 3..=(1_u64 << 52) / 9).contains(&q);
                assert!(forward <= SPARSE && (inverse <= SPARSE || band), "{q}");
            }
            if levels <= 15 && q < 1 << 47 {
                assert_eq!(forward, FREE);
            }
        }
    }
}

#[test]
fn factors_lie_in_the_order_of_reading() {
    // With the index itself as factor, modulo a q so large that quotients tell all factors apart.
    let (n, q) = (256, (1 << 50) - 27);
    let roots: Vec<u64> = (0..n as u64).map(|i| i << 40).collect();
    let side = Side::new(&roots, q, FREE, |_| false, [0; LANES], [0; 2]);
    let index = |quotient: u64| (0..n).find(|&i| shoup_52(roots[i], q) == quotient).unwrap();
    let (pairs, blocks) = (&side.pairs, &side.blocks);
    assert!(pairs.iter().zip(&roots).all(|(pair, &w)| *pair == [w, shoup_52(w, q)]));
    assert_eq!((pairs.len(), blocks.len()), (8, 2));
    assert_eq!(blocks[1].h32.map(|pair| index(pair[1])), [6, 7]);
    assert_eq!(blocks[1].h16.map(|pair| index(pair[1])), [12, 13, 14, 15]);
    assert_eq!(blocks[0].h8.map(|pair| index(pair[1])), [16, 17, 18, 19, 20, 21, 22, 23]);
    for ([values, quotients], indices) in
        [(blocks[1].h4[7], [62, 62, 63, 63]), (blocks[1].h2[0], [96, 97, 98, 99])]
    {
        assert_eq!((values, quotients.map(index)), (indices.map(|i| roots[i]), indices));
    }
    assert_eq!(blocks[1].h1[7].map(index), [248, 252, 249, 253, 250, 254, 251, 255]);
}
