//! Messages of the split construction and packed words, from any bytes.
#![no_main]

use std::sync::LazyLock;

use he_core::split::{PublicKey, Reply};
use he_core::{Params, Profile, wire};
use libfuzzer_sys::fuzz_target;

static PARAMS: LazyLock<Params> = LazyLock::new(|| Params::new(Profile::Tiny));

fuzz_target!(|bytes: &[u8]| {
    let Some((&[kind, bits, count], body)) = bytes.split_first_chunk::<3>() else { return };
    match kind % 3 {
        0 => {
            if let Ok(reply) = Reply::from_bytes(&PARAMS, u32::from(bits), body) {
                assert_eq!(reply.to_bytes(), body);
            }
        }
        1 => {
            if let Ok(key) = PublicKey::from_bytes(&PARAMS, body) {
                assert_eq!(key.to_bytes(), body);
            }
        }
        _ => {
            if let Ok(words) = wire::unpack(body, usize::from(count), u32::from(bits)) {
                assert_eq!(wire::pack(&words, u32::from(bits)), body);
            }
        }
    }
});
