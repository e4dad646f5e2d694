//! The field GF(2^128), for consistency checks.
//!
//! Elements are `u128`: bit i is the coefficient of X^i, modulo X^128 + X^7 + X^2 + X + 1 (not the reflected order
//! of GCM). Addition is exclusive or. The operations are the ones that a random linear combination of long bit
//! rows needs:
//!
//! | function | computes | shape |
//! |---|---|---|
//! | [`mul`] | a·b | |
//! | [`dot`] | Σ w_i·a_i | n and n elements, the second as bytes |
//! | [`dots`] | the same for many rows | m sums |
//! | [`add_scaled`] | t_i += w·a_i | n and n elements |
//!
//! Products are carry-less multiplications, 128 × 128 to 256 bits, summed before they are reduced. They are chosen
//! at run time: `VPCLMULQDQ` on 512-bit vectors, `PCLMULQDQ`, or else integer multiplications with holes: operands
//! are cut into four masks with every fourth bit, so that the columns of sums, at most 16 per digit, cannot carry
//! into the next bit in use (the method of Pornin's BearSSL). All of it runs in constant time where integer
//! multiplication does.
//!
//! Not promised: anything about powers, inverses, or fast single products.

#[cfg(target_arch = "x86_64")]
mod simd;

/// The product of two elements.
#[must_use]
pub fn mul(a: u128, b: u128) -> u128 {
    dot(&[a], &[b.to_le_bytes()])
}

/// Σ weight_i·value_i over two slices of one length; values are little-endian bytes, as in a bit row.
///
/// # Panics
/// Where the lengths differ.
#[must_use]
pub fn dot(weights: &[u128], values: &[[u8; 16]]) -> u128 {
    assert_eq!(weights.len(), values.len(), "one length");
    #[cfg(target_arch = "x86_64")]
    if let Some(wide) = simd::dot(weights, values) {
        return reduce(wide);
    }
    reduce(dot_portable(weights, values))
}

/// [`dot`] of the weights with every row; as many rows as sums.
///
/// # Panics
/// Where a row has not as many values as there are weights.
pub fn dots<'a>(weights: &[u128], rows: impl Iterator<Item = &'a [[u8; 16]]>, sums: &mut [u128]) {
    let rows = rows.inspect(|row| assert_eq!(weights.len(), row.len(), "one length"));
    #[cfg(target_arch = "x86_64")]
    let rows = match simd::dots(weights, rows, sums) {
        Ok(()) => return,
        Err(rows) => rows,
    };
    for (sum, row) in sums.iter_mut().zip(rows) {
        *sum = reduce(dot_portable(weights, row));
    }
}

/// `totals_i += weight·values_i` for slices of one length.
///
/// # Panics
/// Where the lengths differ.
pub fn add_scaled(totals: &mut [u128], weight: u128, values: &[u128]) {
    assert_eq!(totals.len(), values.len(), "one length");
    #[cfg(target_arch = "x86_64")]
    if simd::add_scaled(totals, weight, values) {
        return;
    }
    for (total, &value) in totals.iter_mut().zip(values) {
        *total ^= reduce(multiply_portable(weight, value));
    }
}

/// 256 bits: the low and the high half.
type Wide = [u128; 2];

/// A 256-bit product modulo the polynomial of the field.
#[inline(always)]
fn reduce([low, high]: Wide) -> u128 {
    // X^128 = X^7 + X^2 + X + 1: the high half comes in four times, and what that shifts out comes in again.
    let over = high >> 127 ^ high >> 126 ^ high >> 121;
    let folded = high ^ over;
    low ^ folded ^ folded << 1 ^ folded << 2 ^ folded << 7
}

/// The unreduced sum of products by integer multiplications.
fn dot_portable(weights: &[u128], values: &[[u8; 16]]) -> Wide {
    weights.iter().zip(values).fold([0; 2], |sum, (&weight, &value)| {
        let product = multiply_portable(weight, u128::from_le_bytes(value));
        [sum[0] ^ product[0], sum[1] ^ product[1]]
    })
}

/// A carry-less product, 128 × 128 to 256 bits: four products of halves.
fn multiply_portable(a: u128, b: u128) -> Wide {
    let halves = |word: u128| [word as u64, (word >> 64) as u64];
    let ([a0, a1], [b0, b1]) = (halves(a), halves(b));
    let middle = multiply_64(a0, b1) ^ multiply_64(a1, b0);
    [multiply_64(a0, b0) ^ middle << 64, multiply_64(a1, b1) ^ middle >> 64]
}

/// A carry-less product, 64 × 64 to 128 bits.
fn multiply_64(a: u64, b: u64) -> u128 {
    const EVERY_FOURTH: u64 = 0x1111_1111_1111_1111;
    const EVERY_FOURTH_WIDE: u128 = (EVERY_FOURTH as u128) << 64 | EVERY_FOURTH as u128;
    let cut = |word: u64| [0, 1, 2, 3].map(|shift| u128::from(word & EVERY_FOURTH << shift));
    let (a, b) = (cut(a), cut(b));
    let mut product = 0;
    for place in 0..4 {
        // Sums of up to 16 ones fit into four bits with one exception, 16 itself; it carries into the next digit
        // of the same residue, so the top digit of each mask is multiplied by itself.
        let mut sum = 0;
        for (i, a) in a.iter().enumerate() {
            sum ^= holes_product(*a, b[(place + 4 - i) % 4]);
        }
        product ^= sum & (EVERY_FOURTH_WIDE << place);
    }
    product
}

/// The integer product of two 64-bit words with one bit in four, right at every bit of the residue of the sum.
fn holes_product(a: u128, b: u128) -> u128 {
    const TOP: u128 = 0xf << 60;
    // Without the top digit of a there are at most 15 ones per column.
    ((a & !TOP) * b) ^ ((a & TOP) * b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Shift and add, bit by bit.
    fn mul_slow(a: u128, mut b: u128) -> u128 {
        let mut product = 0;
        for i in 0..128 {
            if a >> i & 1 == 1 {
                product ^= b;
            }
            b = b << 1 ^ if b >> 127 == 1 { 0x87 } else { 0 };
        }
        product
    }

    #[test]
    fn edges() {
        assert_eq!(mul(1 << 127, 2), 0x87);
        let edges =
            [0, 1, 2, 0x87, u128::MAX, 1 << 127, 1 << 64, u128::from(u64::MAX), 0xf << 60, 0xf << 124];
        for a in edges {
            for b in edges {
                assert_eq!(mul(a, b), mul_slow(a, b), "{a:x} · {b:x}");
                assert_eq!(reduce(multiply_portable(a, b)), mul_slow(a, b), "portable, {a:x} · {b:x}");
            }
        }
    }

    /// X has no small order, and 2^128 − 1 applications of a → a² give the unit again: as many squarings as bits
    /// are the identity.
    #[test]
    fn squaring_128_times_is_the_identity() {
        let a = 0x0123_4567_89ab_cdef_0f1e_2d3c_4b5a_6978;
        let mut power = a;
        for step in 1..=128 {
            power = mul(power, power);
            assert_eq!(power == a, step == 128, "after {step} squarings");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn all_ways_match_bit_by_bit(
            pairs in proptest::collection::vec((any::<u128>(), any::<u128>()), 0..70),
            weight in any::<u128>(),
        ) {
            let (a, b): (Vec<u128>, Vec<u128>) = pairs.iter().copied().unzip();
            let slow = pairs.iter().fold(0, |sum, &(a, b)| sum ^ mul_slow(a, b));
            let bytes: Vec<[u8; 16]> = b.iter().map(|b| b.to_le_bytes()).collect();
            prop_assert_eq!(dot(&a, &bytes), slow);
            prop_assert_eq!(reduce(dot_portable(&a, &bytes)), slow);
            #[cfg(target_arch = "x86_64")]
            for (name, wide) in simd::all_dots(&a, &bytes) {
                prop_assert_eq!(reduce(wide), slow, "{}", name);
            }
            let mut sums = [1, 2, 3];
            dots(&a, [&bytes[..]; 3].into_iter(), &mut sums);
            prop_assert_eq!(sums, [slow; 3]);
            let mut totals = a.clone();
            add_scaled(&mut totals, weight, &b);
            for (j, total) in totals.iter().enumerate() {
                prop_assert_eq!(*total, a[j] ^ mul_slow(weight, b[j]));
            }
        }
    }
}
