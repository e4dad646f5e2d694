//! Every kernel against `rand_chacha` and against the example of RFC 8439.

use super::*;
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// How a caller may read.
#[derive(Debug, Clone)]
enum Read {
    Word,
    Double,
    Bytes(usize),
}

fn any_read() -> impl Strategy<Value = Read> {
    prop_oneof![
        2 => Just(Read::Word),
        2 => Just(Read::Double),
        4 => (0_usize..40).prop_map(Read::Bytes),
        2 => (0_usize..3000).prop_map(Read::Bytes),
        1 => (0_usize..12).prop_map(|groups| Read::Bytes(256 * groups)),
    ]
}

fn read(rng: &mut impl Rng, read: &Read) -> Vec<u8> {
    match read {
        Read::Word => rng.next_u32().to_le_bytes().to_vec(),
        Read::Double => rng.next_u64().to_le_bytes().to_vec(),
        Read::Bytes(count) => {
            let mut bytes = vec![0xaa; *count];
            rng.fill_bytes(&mut bytes);
            bytes
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn the_bytes_of_rand_chacha_for_any_way_of_reading(
        key: [u8; 32],
        reads in prop::collection::vec(any_read(), 0..60),
    ) {
        for simd in Simd::available() {
            let (mut ours, mut theirs) = (Stream::with_simd(&key, simd), ChaCha20Rng::from_seed(key));
            for one in &reads {
                prop_assert_eq!(read(&mut ours, one), read(&mut theirs, one), "{:?}, {:?}", simd, one);
            }
        }
    }

    #[test]
    fn the_bytes_of_rand_chacha_from_any_block(key: [u8; 32], high: u32, before in 0_u64..40, end: bool) {
        // Where the low word of the counter wraps, or the whole of it.
        let high = if end { u64::from(u32::MAX) } else { u64::from(high) };
        let counter = ((high << 32) | u64::from(u32::MAX)) - before;
        for simd in Simd::available() {
            let (mut ours, mut theirs) = (Stream::with_simd(&key, simd), ChaCha20Rng::from_seed(key));
            ours.counter = counter;
            theirs.set_word_pos(16 * u128::from(counter));
            let all = Read::Bytes(48 * BLOCK + 5);
            prop_assert_eq!(read(&mut ours, &all), read(&mut theirs, &all), "{:?}, block {}", simd, counter);
        }
    }
}

#[test]
fn a_long_read() {
    let key = core::array::from_fn(|i| i as u8);
    for simd in Simd::available() {
        for length in [1 << 20, (1 << 20) + 1, (1 << 20) - 1] {
            let (mut ours, mut theirs) = (Stream::with_simd(&key, simd), ChaCha20Rng::from_seed(key));
            let all = Read::Bytes(length);
            assert!(read(&mut ours, &all) == read(&mut theirs, &all), "{simd:?}");
            assert_eq!(ours.next_u64(), theirs.next_u64(), "{simd:?}");
        }
    }
}

#[test]
fn the_first_block_of_a_key_of_zeros() {
    // RFC 8439, appendix A.1, test vector 1 (counter and nonce are zero, so its layout and ours agree).
    let head =
        [0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90, 0x40, 0x5d, 0x6a, 0xe5, 0x53, 0x86, 0xbd, 0x28];
    for simd in Simd::available() {
        let mut bytes = [0; 16];
        Stream::with_simd(&[0; 32], simd).fill_bytes(&mut bytes);
        assert_eq!(bytes, head, "{simd:?}");
    }
}

#[test]
fn nothing_is_printed() {
    assert_eq!(format!("{:?}", Stream::new(&[3; 32])), "Stream(..)");
}
