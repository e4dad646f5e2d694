//! Every message looks like noise whatever the inputs are: a count of ones per bit position of an element.

use super::*;

/// The bit positions of messages 0 to 6 whose number of ones over all elements is beyond six standard deviations, as
/// (message, position).
fn biased(
    rng: &mut ChaCha20Rng,
    case: &Case,
    mut spoil: impl FnMut(usize, &mut Vec<u8>),
) -> Vec<(usize, u32)> {
    let (bits, n) = (case.spec.message_bits(), case.n());
    let mut out = vec![];
    let watch = |step: usize, message: &mut Vec<u8>| {
        spoil(step, message);
        for position in 0..bits[step] {
            let at = |i: usize| i * bits[step] as usize + position as usize;
            let ones = (0..n).filter(|&i| message[at(i) / 8] >> (at(i) % 8) & 1 == 1).count();
            // The variance of a count of n fair bits is n/4.
            if (2.0 * ones as f64 - n as f64).abs() > 6.0 * (n as f64).sqrt() {
                out.push((step, position));
            }
        }
    };
    // A spoilt message makes the rest meaningless, but not shorter.
    run_with(rng, case, watch, |_, _| ()).unwrap();
    out
}

#[test]
fn messages_are_uniform_for_extreme_inputs() {
    let (mut rng, n) = (fresh_rng(), 4096);
    for (spec, thresholds) in shapes() {
        let mask = (1u64 << spec.comparison().ring_bits()) - 1;
        for (m, c) in [(0, 0), (mask, mask), (0, mask), (mask / 2, mask / 2), (mask / 2 + 1, 0), (1, 0)] {
            let mut case = random_case(&(spec.clone(), thresholds.clone()), n, &mut rng);
            case.server.fill(m);
            case.client.fill(c);
            for lane in 0..case.server_lanes.len() {
                case.server_lanes[lane].fill(m & spec.lanes()[lane].output().mask());
                case.client_lanes[lane].fill(c & spec.lanes()[lane].output().mask());
            }
            // The last message is masked by its constants: uniform here, as the masks of a network are.
            let found = biased(&mut rng, &case, |_, _| ());
            assert_eq!(found, [], "{spec:?} on shares {m}, {c}");
        }
    }
}

/// The count sees a mask that is missing on one bit in eight, in any message.
#[test]
fn the_count_sees_a_missing_mask() {
    let mut rng = fresh_rng();
    let case = random_case(&shapes()[0], 4096, &mut rng);
    for step in 0..7 {
        let spoil = |at: usize, message: &mut Vec<u8>| {
            if at == step {
                message.iter_mut().for_each(|byte| *byte &= !0x08);
            }
        };
        let found = biased(&mut rng, &case, spoil);
        assert!(found.iter().any(|&(at, _)| at == step), "step {step}");
    }
}

/// Without constants nothing hides the result: the last message alone shows it.
#[test]
fn the_last_message_needs_its_constants() {
    let mut rng = fresh_rng();
    let mut case = random_case(&shapes()[0], 4096, &mut rng);
    case.constants[0].fill(0);
    let results = run(&mut rng, &case);
    let positions = (0..46).filter(|bit| {
        let ones = results[0].iter().filter(|&&z| z >> bit & 1 == 1).count() as f64;
        (2.0 * ones - 4096.0).abs() > 6.0 * 64.0
    });
    assert!(positions.count() > 20, "bits of z itself are far from fair");
}
