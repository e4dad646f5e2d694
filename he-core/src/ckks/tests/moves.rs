//! Rotations, conjugation, sums over slots, matrices.

use super::*;
use crate::error::HeError;
use crate::rlwe::GaloisKeys;

fn rotated(x: &[Complex], steps: i64) -> Vec<Complex> {
    (0..x.len()).map(|j| x[(j as i64 + steps).rem_euclid(x.len() as i64) as usize]).collect()
}

fn keys(party: &mut Party, steps: &[i64]) -> GaloisKeys {
    let seed = party.seed();
    party.params.galois_keys(&party.secret, steps, true, seed)
}

#[test]
fn rotations_by_all_steps_and_conjugation() {
    for (n, inner, special) in [(16, 1, 1), (64, 2, 1), (64, 4, 2)] {
        let mut party = Party::new(small(n, inner, special), 60);
        let params = party.params.clone();
        let slots = params.slots() as i64;
        let all: Vec<i64> = (0..slots).collect();
        let keys = keys(&mut party, &all);
        let x = party.slots();
        let a = party.encrypt(&x);
        for limbs in 1..=params.limbs() {
            let mut a = a.duplicate();
            params.drop_to(&mut a, limbs).unwrap();
            let noise = party.fresh().dropped_to(limbs).key_switched();
            let hoisted = params.rotate_many(&a, &all, &keys).unwrap();
            for (&steps, hoisted) in all.iter().zip(&hoisted) {
                let turned = params.rotate(&a, steps, &keys).unwrap();
                party.check("rotation", &turned, &rotated(&x, steps), &noise);
                // The same bits, hoisted, from the other side, and beyond a full turn.
                for same in [
                    hoisted.duplicate(),
                    params.rotate(&a, steps - slots, &keys).unwrap(),
                    params.rotate(&a, steps + 3 * slots, &keys).unwrap(),
                ] {
                    for (p, q) in turned.as_rlwe().parts().iter().zip(same.as_rlwe().parts()) {
                        assert!(p.limbs().iter().zip(q.limbs()).all(|(p, q)| p.values() == q.values()));
                    }
                }
            }
            let conjugate = params.conjugate(&a, &keys).unwrap();
            party.check("conjugate", &conjugate, &zip(&x, &x, |x, _| x.conj()), &noise);
        }
    }
}

#[test]
fn moves_without_keys_or_of_degree_two_are_errors() {
    let mut party = Party::new(small(64, 2, 1), 61);
    let params = party.params.clone();
    let x = party.slots();
    let a = party.encrypt(&x);
    let keys = keys(&mut party, &[1]);
    assert!(matches!(params.rotate(&a, 2, &keys), Err(HeError::NoGaloisKey { .. })));
    assert!(matches!(params.rotate_many(&a, &[1, 2], &keys), Err(HeError::NoGaloisKey { .. })));
    let square = params.square(&a).unwrap();
    for steps in [0, 1, 32] {
        assert!(matches!(params.rotate(&square, steps, &keys), Err(HeError::Length { .. })), "{steps}");
    }
    assert!(matches!(params.sum_slots(&square, 1, 1, &keys), Err(HeError::Length { .. })));
    assert!(matches!(params.replicate(&square, 1, 1, &keys), Err(HeError::Length { .. })));
    assert!(matches!(params.conjugate(&square, &keys), Err(HeError::Length { .. })));
    assert!(matches!(params.rotate_many(&square, &[1], &keys), Err(HeError::Length { .. })));
    assert!(matches!(params.sum_slots(&a, 0, 1, &keys), Err(HeError::Count { .. })));
    assert!(matches!(params.sum_slots(&a, 33, 1, &keys), Err(HeError::Count { .. })));
}

#[test]
fn sums_and_copies_of_all_counts() {
    let mut party = Party::new(small(32, 1, 1), 62);
    let params = party.params.clone();
    let x = party.slots();
    let a = party.encrypt(&x);
    for stride in [1, -1, 3, 4] {
        for count in 1..=params.slots() {
            let steps = sum::sum_rotations(count, stride);
            assert!(steps.len() <= 2 * count.ilog2() as usize, "{count}: {steps:?}");
            // Exactly the keys that are named.
            let some = keys(&mut party, &steps);
            let summed = params.sum_slots(&a, count, stride, &some).unwrap();
            let term = |k: usize| rotated(&x, k as i64 * stride);
            let expected = (1..count).map(term).fold(x.clone(), |sum, term| zip(&sum, &term, |a, b| a + b));
            let error = PrecisionReport::new(&expected, &party.open(&summed)).unwrap().worst_error;
            let bound = party.fresh().key_switched().error_bound() * 2.0 * count as f64;
            assert!(error <= bound, "{count} by {stride}: {error:e}, {bound:e}");
        }
    }
    // Strides at the ends of their type count modulo the slots like all others: 0 and -1.
    for (stride, same) in [(i64::MIN, 0), (i64::MAX, -1), (i64::MIN + 3, 3)] {
        let some = keys(&mut party, &sum::sum_rotations(7, stride));
        let back = keys(&mut party, &sum::sum_rotations(7, stride.wrapping_neg()));
        for (sign, found) in [
            (1, params.sum_slots(&a, 7, stride, &some).unwrap()),
            (-1, params.replicate(&a, 7, stride, &back).unwrap()),
        ] {
            let term = |k: i64| rotated(&x, k * same * sign);
            let expected = (1..7).map(term).fold(x.clone(), |sum, term| zip(&sum, &term, |a, b| a + b));
            let error = PrecisionReport::new(&expected, &party.open(&found)).unwrap().worst_error;
            assert!(error < 1e-7, "stride {stride}, sign {sign}: {error:e}");
        }
    }
    // A single slot, copied to the five after it.
    let mut single = vec![Complex::ZERO; params.slots()];
    single[3] = x[3];
    let b = party.encrypt(&single);
    let some = keys(&mut party, &sum::sum_rotations(6, -1));
    let copies = party.open(&params.replicate(&b, 6, 1, &some).unwrap());
    for (j, z) in copies.iter().enumerate() {
        let expected = if (3..9).contains(&j) { x[3] } else { Complex::ZERO };
        assert!((*z - expected).abs() < 1e-8, "slot {j}");
    }
}

/// The product from the definition, row by row.
fn product(rows: &[Vec<Complex>], x: &[Complex]) -> Vec<Complex> {
    rows.iter().map(|row| row.iter().zip(x).map(|(&m, &x)| m * x).sum()).collect()
}

#[test]
fn matrices_of_every_shape_against_the_definition() {
    let mut party = Party::new(small(64, 2, 1), 63);
    let params = party.params.clone();
    let slots = params.slots();
    let keys = keys(&mut party, &(1..slots as i64).collect::<Vec<_>>());
    let x = party.slots();
    let a = party.encrypt(&x);
    let dense: Vec<Vec<Complex>> = (0..slots).map(|_| party.slots()).collect();
    let matrix = Diagonals::from_matrix(slots, &dense).unwrap();
    let expected = product(&dense, &x);
    let in_the_clear = matrix.apply(&x);
    assert!(PrecisionReport::new(&expected, &in_the_clear).unwrap().worst_error < 1e-12);
    assert!((4..=16).contains(&matrix.baby_steps(2)));
    for baby_steps in [1, 2, 5, 8, 13, 32] {
        let prepared = params.linear_transform_at(&matrix, 3, params.last_prime(3), baby_steps).unwrap();
        assert!(prepared.rotations().len() <= baby_steps + slots / baby_steps);
        for limbs in 2..=3 {
            let mut a = a.duplicate();
            params.drop_to(&mut a, limbs).unwrap();
            let mut answer = params.transform(&a, &prepared, &keys).unwrap();
            params.rescale(&mut answer).unwrap();
            let error = PrecisionReport::new(&expected, &party.open(&answer)).unwrap().worst_error;
            let bound = slots as f64 * party.fresh().key_switched().error_bound();
            assert!(error <= bound, "{baby_steps} baby steps, {limbs} limbs: {error:e}, {bound:e}");
            if limbs == 3 {
                assert!((answer.scale() / a.scale() - 1.0).abs() < 1e-12);
            }
            // The chain with no keys but its own.
            let few = self::keys(&mut party, &matrix.chained_rotations(baby_steps));
            let mut answer = params.transform_chained(&a, &prepared, &few).unwrap();
            params.rescale(&mut answer).unwrap();
            let error = PrecisionReport::new(&expected, &party.open(&answer)).unwrap().worst_error;
            assert!(error <= bound, "chained, {baby_steps} baby steps, {limbs} limbs: {error:e}, {bound:e}");
        }
        assert!(matrix.chained_rotations(baby_steps).len() <= baby_steps + 2);
    }
    // Three diagonals only: exactly the keys that are named.
    let sparse =
        Diagonals::new(slots, [(-1, party.slots()), (0, party.slots()), (9, vec![Complex::I])]).unwrap();
    assert_eq!(sparse.indices().collect::<Vec<_>>(), [0, 9, 31]);
    let prepared = params.linear_transform(&sparse, 3).unwrap();
    let some = super::moves::keys(&mut party, &prepared.rotations());
    let mut answer = params.transform(&a, &prepared, &some).unwrap();
    params.rescale(&mut answer).unwrap();
    let error = PrecisionReport::new(&sparse.apply(&x), &party.open(&answer)).unwrap().worst_error;
    assert!(error < 1e-8, "{error:e}");
}

#[test]
fn small_matrices_act_on_blocks() {
    let mut party = Party::new(small(64, 1, 1), 64);
    let params = party.params.clone();
    let rows: Vec<Vec<f64>> = (0..4).map(|_| (0..4).map(|_| party.number()).collect()).collect();
    let matrix = Diagonals::from_matrix(params.slots(), &rows).unwrap();
    assert_eq!(matrix.indices().count(), 4);
    let x: Vec<Complex> = (0..4).map(|_| Complex::from(party.number())).collect();
    let repeated: Vec<Complex> = x.iter().copied().cycle().take(params.slots()).collect();
    let a = party.encrypt(&repeated);
    let prepared = params.linear_transform(&matrix, 2).unwrap();
    let keys = keys(&mut party, &prepared.rotations());
    let mut answer = params.transform(&a, &prepared, &keys).unwrap();
    params.rescale(&mut answer).unwrap();
    let complex: Vec<Vec<Complex>> = rows.iter().map(|row| row.iter().map(|&m| m.into()).collect()).collect();
    let expected: Vec<Complex> = product(&complex, &x).into_iter().cycle().take(params.slots()).collect();
    let error = PrecisionReport::new(&expected, &party.open(&answer)).unwrap().worst_error;
    assert!(error < 1e-8, "{error:e}");
}

#[test]
fn what_matrices_refuse() {
    let mut party = Party::new(small(64, 1, 1), 65);
    let params = party.params.clone();
    let x = party.slots();
    let a = party.encrypt(&x);
    let keys = keys(&mut party, &[]);
    let zero = Diagonals::new(32, [(3, vec![Complex::ZERO])]).unwrap();
    let zero = params.linear_transform(&zero, 2).unwrap();
    assert!(matches!(params.transform(&a, &zero, &keys), Err(HeError::Count { .. })));
    let one = Diagonals::new(32, [(0, vec![Complex::ONE])]).unwrap();
    assert!(matches!(params.linear_transform_at(&one, 2, 1e12, 0), Err(HeError::Count { .. })));
    let low = params.linear_transform_at(&one, 1, 1e6, 1).unwrap();
    assert!(matches!(params.transform(&a, &low, &keys), Err(HeError::Limbs { needed: 2, found: 1 })));
    assert!(matches!(Diagonals::new(32, [(0, vec![Complex::ONE; 3])]), Err(HeError::Length { .. })));
    assert!(matches!(Diagonals::from_matrix(32, &[vec![1.0; 2]]), Err(HeError::Length { .. })));
    let other = Diagonals::new(16, [(0, vec![Complex::ONE])]).unwrap();
    assert!(matches!(params.linear_transform(&other, 2), Err(HeError::Length { .. })));
}
