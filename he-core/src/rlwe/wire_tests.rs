//! Wire forms: back as they were, and every way to be wrong is refused without a panic.

use rand_core::Rng;

use super::*;
use crate::HeError;
use crate::galois::rotation;
use crate::seed::Seed;

fn ring() -> RlweParams {
    let literal = RlweLiteral::from_bits(64, &[45, 40, 40], &[46, 41]).unwrap();
    RlweParams::insecure_for_tests(&literal).unwrap()
}

fn fresh() -> Seed {
    Seed::from_os().unwrap()
}

/// One reader per kind: whether it takes the bytes, and if so what it would write.
type Reader = fn(&RlweParams, &[u8]) -> Result<Vec<u8>, HeError>;

const READERS: [Reader; 6] = [
    |p, b| Ciphertext::from_bytes(p, b).map(|x| x.to_bytes(p)),
    |p, b| SeededCiphertext::from_bytes(p, b).map(|x| x.to_bytes(p)),
    |p, b| PublicKey::from_bytes(p, b).map(|x| x.to_bytes()),
    |p, b| RelinKey::from_bytes(p, b).map(|x| x.to_bytes(p)),
    |p, b| GaloisKeys::from_bytes(p, b).map(|x| x.to_bytes(p)),
    |p, b| SecretKey::from_bytes(p, b).map(|x| x.to_bytes().to_vec()),
];

/// One message of each kind.
fn messages(params: &RlweParams) -> Vec<Vec<u8>> {
    let secret = SecretKey::generate(params, fresh());
    let exponents = [rotation(params.n(), 1), rotation(params.n(), 7), 2 * params.n() - 1];
    vec![
        secret.encrypt_zero(2, fresh()).expand(params).to_bytes(params),
        secret.encrypt_zero(3, fresh()).to_bytes(params),
        PublicKey::new(&secret, fresh()).to_bytes(),
        RelinKey::new(&secret, fresh()).to_bytes(params),
        GaloisKeys::new(&secret, &exponents, fresh()).to_bytes(params),
        secret.to_bytes().to_vec(),
    ]
}

#[test]
fn back_as_they_were_and_only_by_their_own_reader() {
    let params = ring();
    for (kind, message) in messages(&params).iter().enumerate() {
        for (other, reader) in READERS.iter().enumerate() {
            match reader(&params, message) {
                Ok(bytes) => assert!(kind == other && bytes == *message),
                Err(error) => assert!(kind != other, "kind {kind}: {error}"),
            }
        }
    }
    let secret = SecretKey::generate(&params, fresh());
    let zero = secret.encrypt_zero(3, fresh());
    assert_eq!(zero.to_bytes(&params).len(), SeededCiphertext::wire_len(&params, 3));
    let zero = zero.expand(&params).to_bytes(&params);
    assert_eq!(zero.len(), Ciphertext::wire_len(&params, 3, 1));
    // 64 coefficients of 45 + 40 + 40 bits.
    assert_eq!(zero.len(), 12 + 2 * 8 * 125);
    let again = SecretKey::from_bytes(&params, &secret.to_bytes()).unwrap();
    let read = again.phase(&Ciphertext::from_bytes(&params, &zero).unwrap());
    let whole = secret.phase(&Ciphertext::from_bytes(&params, &zero).unwrap());
    assert_eq!(read.limb(2).values(), whole.limb(2).values());
}

#[test]
fn a_change_of_any_byte_gives_another_message_or_an_error() {
    let params = ring();
    let mut rng = fresh().stream();
    for (message, reader) in messages(&params).iter().zip(READERS) {
        for at in (0..message.len().min(64)).chain([message.len() - 1]) {
            let mut changed = message.clone();
            changed[at] ^= 1 << (rng.next_u32() % 8);
            if let Ok(bytes) = reader(&params, &changed) {
                assert!(bytes == changed && at >= 12, "byte {at}");
            }
        }
        for length in [0, 1, 11, 12, 13, message.len() - 1] {
            assert!(reader(&params, &message[..length]).is_err(), "{length} bytes");
        }
        assert!(reader(&params, &[&message[..], &[0]].concat()).is_err());
    }
}

#[test]
fn noise_is_refused() {
    let params = ring();
    let mut rng = fresh().stream();
    for round in 0..4000 {
        let kind = round % 6;
        let mut bytes = messages_head(&params, kind);
        let mut body = vec![0; rng.next_u64() as usize % 3000];
        rng.fill_bytes(&mut body);
        bytes.extend_from_slice(&body);
        // A random body hardly ever has the right length; where it has, its values are now and then in range, and a seed
        // always is.
        for greatest in [false, true] {
            if greatest && bytes.len() > 16 {
                bytes[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
            }
            if let Ok(again) = READERS[kind](&params, &bytes) {
                assert_eq!(again, bytes);
            }
        }
    }
}

/// The header of a true message with random limbs and count.
fn messages_head(params: &RlweParams, kind: usize) -> Vec<u8> {
    let secret = SecretKey::generate(params, fresh());
    let mut head = secret.encrypt_zero(1, fresh()).to_bytes(params)[..12].to_vec();
    head[1] = kind as u8 + 1;
    let mut rng = fresh().stream();
    head[2] = (rng.next_u32() % 7) as u8;
    head[3] = (rng.next_u32() % 5) as u8;
    head
}

#[test]
fn each_fault_has_its_error() {
    let params = ring();
    let all = messages(&params);
    let read = |kind: usize, at: usize, value: u8| {
        let mut bytes = all[kind].clone();
        bytes[at] = value;
        READERS[kind](&params, &bytes).unwrap_err()
    };
    assert_eq!(read(0, 0, 2), HeError::WireVersion { found: 2, known: 1 });
    assert_eq!(read(0, 1, 9), HeError::WireKind { expected: "a ciphertext", found: 9 });
    assert!(matches!(read(0, 2, 0), HeError::Count { least: 1, most: 3, .. }));
    assert!(matches!(read(0, 2, 4), HeError::Count { .. }));
    assert!(matches!(read(0, 2, 3), HeError::Length { .. }));
    assert!(matches!(read(0, 3, 1), HeError::Count { least: 2, most: 3, .. }));
    assert!(matches!(read(2, 2, 2), HeError::Length { .. }));
    assert!(matches!(read(3, 2, 4), HeError::Count { .. }));
    assert!(matches!(read(3, 3, 1), HeError::Count { .. }));
    // The second exponent made equal to the first, or even.
    let one = (all[4].len() - 16) / 3;
    assert!(matches!(read(4, 16 + one, all[4][16]), HeError::Exponent { .. }));
    assert!(matches!(read(4, 16, 4), HeError::Exponent { exponent: 4, n: 64 }));
    assert!(matches!(read(5, 12, 3), HeError::OutOfRange { index: 0, bound: 3, .. }));

    let other = RlweLiteral::from_bits(64, &[45, 40, 40], &[46, 42]).unwrap();
    let other = RlweParams::insecure_for_tests(&other).unwrap();
    let refused = READERS[0](&other, &all[0]).unwrap_err();
    assert_eq!(refused, HeError::OtherParameters { what: "a ciphertext" });

    let mut zero = all[5].clone();
    zero[12..].fill(0);
    assert_eq!(READERS[5](&params, &zero).unwrap_err(), HeError::DegenerateKey);
    let mut zero = all[2].clone();
    let first_limb = 44..44 + 64 * 45 / 8;
    zero[first_limb].fill(0);
    assert_eq!(READERS[2](&params, &zero).unwrap_err(), HeError::DegenerateKey);
    // All ones are beyond every prime.
    let mut ones = all[0].clone();
    ones[12..].fill(0xff);
    assert!(matches!(READERS[0](&params, &ones), Err(HeError::OutOfRange { index: 0, .. })));
}
