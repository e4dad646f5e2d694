//! Wire forms: back as they were, or refused.

use super::*;
use crate::HeError;
use crate::rlwe;

#[test]
fn back_as_they_were() {
    let world = World::new(&rlwe(32, &[40, 41], &[42]), 65537);
    let params = &world.params;
    let words = world.words();
    let seeded = params.encrypt(&world.secret, &world.plain(&words), world.seed());
    let bytes = seeded.to_bytes(params);
    assert_eq!(bytes.len(), SeededCiphertext::wire_len(params, 2));
    let again = SeededCiphertext::from_bytes(params, &bytes).unwrap();
    assert_eq!(again.to_bytes(params), bytes);
    let fresh = again.expand(params);
    assert_eq!(world.decrypt(&fresh), words);
    let low = params.switched(&fresh, 1);
    for ciphertext in [&fresh, &params.multiply(&fresh, &fresh).unwrap(), &low] {
        let bytes = ciphertext.to_bytes(params);
        assert_eq!(bytes.len(), Ciphertext::wire_len(params, ciphertext.limbs(), ciphertext.degree()));
        let again = Ciphertext::from_bytes(params, &bytes).unwrap();
        assert_eq!((again.limbs(), again.degree()), (ciphertext.limbs(), ciphertext.degree()));
        assert_eq!(again.to_bytes(params), bytes);
        assert_eq!(world.decrypt(&again), world.decrypt(ciphertext));
    }
}

#[test]
fn what_is_refused() {
    let ring = rlwe(32, &[40, 41], &[42]);
    let world = World::new(&ring, 65537);
    let params = &world.params;
    let seeded = params.encrypt(&world.secret, &world.plain(&world.words()), world.seed());
    let (short, bytes) =
        (seeded.to_bytes(params), params.encrypt(&world.secret, &world.plain(&[1]), world.seed()));
    let bytes = bytes.expand(params).to_bytes(params);
    for t in [65536, 257, 65537 << 8] {
        let other = Params::new(&ring, t).unwrap();
        let refused = HeError::OtherParameters { what: "a BFV ciphertext" };
        assert_eq!(Ciphertext::from_bytes(&other, &bytes).unwrap_err(), refused);
        assert_eq!(SeededCiphertext::from_bytes(&other, &short).unwrap_err(), refused);
    }
    for cut in [0, 1, 8, 9, 20, bytes.len() - 1] {
        assert!(Ciphertext::from_bytes(params, &bytes[..cut]).is_err(), "{cut} bytes");
    }
    assert!(Ciphertext::from_bytes(params, &[&bytes[..], &[0]].concat()).is_err());
    assert!(Ciphertext::from_bytes(params, &short).is_err());
    assert!(SeededCiphertext::from_bytes(params, &bytes).is_err());
    // The form without t, as it was.
    let old = Ciphertext::from_bytes(params, &bytes[9..]).unwrap_err();
    assert_eq!(old, HeError::WireVersion { found: 1, known: 2 });
    assert!(rlwe::Ciphertext::from_bytes(params.rlwe(), &bytes[9..]).is_ok());
    let other = World::new(&rlwe(32, &[41, 40], &[42]), 65537);
    assert!(Ciphertext::from_bytes(&other.params, &bytes).is_err());
}
