//! Keys and replies as bytes: exact forms, and bytes that a peer made up.

use super::*;

#[test]
fn wire_forms_are_exact() {
    for profile in Profile::ALL {
        let params = Params::new(profile);
        let layer = Layer::new(&params, 1, &root(19));
        let bytes = layer.key.to_bytes();
        assert_eq!(bytes.len(), PublicKey::wire_len(&params));
        assert_eq!(PublicKey::from_bytes(&params, &bytes).unwrap().to_bytes(), bytes);
        assert!(matches!(PublicKey::from_bytes(&params, &bytes[1..]), Err(HeError::Length { .. })));
        // All zero, in every limb or in one: that limb of M would have no mask.
        let size = bytes.len() / params.limbs();
        let zeroed: Vec<_> = (0..params.limbs()).map(|limb| limb * size..(limb + 1) * size).collect();
        for range in zeroed.into_iter().chain(core::iter::once(0..bytes.len())) {
            let mut bytes = bytes.clone();
            bytes[range.clone()].fill(0);
            assert_eq!(
                PublicKey::from_bytes(&params, &bytes).unwrap_err(),
                HeError::DegenerateKey,
                "{range:?}"
            );
        }
        for limb in 0..params.limbs() {
            // The first word of a limb, no longer below its prime.
            let mut bytes = bytes.clone();
            bytes[limb * size..limb * size + 8].fill(0xff);
            assert!(matches!(
                PublicKey::from_bytes(&params, &bytes),
                Err(HeError::OutOfRange { index: 0, bound, .. }) if bound == params.moduli()[limb].value()
            ));
        }
        assert!(matches!(
            PublicKey::from_bytes(&params, &[&bytes[..], &[0]].concat()),
            Err(HeError::Length { .. })
        ));
        assert!(matches!(
            PublicKey::from_bytes(&params, &vec![0xff; bytes.len()]),
            Err(HeError::OutOfRange { index: 0, .. })
        ));
        let (reply, _) = masked_reply(&params, &layer.hint, &layer.pk_a, &layer.key, 20, root(20)).unwrap();
        let bytes = reply.to_bytes();
        assert_eq!((bytes.len(), reply.bits()), (20 * params.n() / 8, 20));
        assert_eq!(bytes.len(), Reply::wire_len(&params, 20));
        assert!(Reply::from_bytes(&params, 20, &bytes).unwrap() == reply);
        for t in [0, params.q_bits().min(62) + 1, 63, 64, u32::MAX] {
            assert!(matches!(Reply::from_bytes(&params, t, &bytes), Err(HeError::Bits { .. })));
            let refused = masked_reply(&params, &layer.hint, &layer.pk_a, &layer.key, t, root(20));
            assert!(matches!(refused, Err(HeError::Bits { .. })));
        }
    }
}

fn exact_params() -> Params {
    static PARAMS: std::sync::OnceLock<Params> = std::sync::OnceLock::new();
    PARAMS.get_or_init(|| Params::new(Profile::Exact)).clone()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn bytes_of_a_peer_never_panic(seed: u64, cut in 0_usize..3, flip in any::<prop::sample::Index>(), t in 0_u32..70, exact: bool) {
        use rand_core::Rng;
        // The table of `exact` takes long to build, so it is built once.
        let params = if exact { exact_params() } else { Params::new(Profile::Tiny) };
        let mut label = [0; 32];
        label[..8].copy_from_slice(&seed.to_le_bytes());
        let mut rng = Seed::from_bytes(label).stream();
        for length in [PublicKey::wire_len(&params), Reply::wire_len(&params, t), 8 * cut] {
            let mut bytes = vec![0; length.saturating_sub(cut)];
            rng.fill_bytes(&mut bytes);
            if let Some(byte) = (!bytes.is_empty()).then(|| flip.index(bytes.len())) {
                bytes[byte] = 0xff;
            }
            if let Ok(key) = PublicKey::from_bytes(&params, &bytes) {
                prop_assert_eq!(&key.to_bytes(), &bytes);
            }
            if let Ok(reply) = Reply::from_bytes(&params, t, &bytes) {
                prop_assert_eq!(&reply.to_bytes(), &bytes);
                // Whatever was accepted can be opened.
                let secret = ClientSecret::generate(&params, &mut rng);
                prop_assert_eq!(secret.open(&params, &reply).n(), params.n());
            }
        }
    }
}
