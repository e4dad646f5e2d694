//! Sums of ciphertexts times whole numbers: every kernel against the slow twin, and what is refused.

use rand_core::Rng;

use super::*;
use crate::rlwe::RlweLiteral;
use crate::seed::Seed;

fn kernels() -> Vec<Kernel> {
    let mut all = vec![Kernel::Words];
    #[cfg(target_arch = "x86_64")]
    all.extend(crate::simd::Ifma::detect().map(Kernel::Ifma));
    all
}

fn uniform(
    params: &RlweParams,
    parts: usize,
    limbs: usize,
    stream: &mut impl rand_core::CryptoRng,
) -> Ciphertext {
    let tables = params.ciphertext_tables(limbs);
    Ciphertext::from_parts((0..parts).map(|_| RnsPoly::uniform(tables, stream)).collect()).unwrap()
}

fn words(ciphertext: &Ciphertext) -> Vec<&[u64]> {
    ciphertext.parts().iter().flat_map(|part| part.limbs().iter().map(Poly::values)).collect()
}

#[test]
fn every_kernel_is_the_slow_twin() {
    let mut stream = Seed::from_bytes([91; 32]).stream();
    // Primes above 50 bits are for words alone.
    for (bits, weights) in
        [(30, 9), (42, 9), (43, 1), (50, 9), (50, 12), (51, 12), (61, 9), (42, 20), (61, 20)]
    {
        let literal = RlweLiteral::from_bits(64, &[bits, bits], &[]).unwrap();
        let params = RlweParams::insecure_for_tests(&literal).unwrap();
        for (parts, inputs, outputs) in [(2, 1, 1), (3, 5, 9), (2, 70, 8), (2, 33, 17)] {
            let limbs = 1 + inputs % 2;
            let x: Vec<_> = (0..inputs).map(|_| uniform(&params, parts, limbs, &mut stream)).collect();
            let x: Vec<_> = x.iter().collect();
            let most = (1_i32 << weights) - 1;
            let mut matrix: Vec<i32> =
                (0..inputs * outputs).map(|_| stream.next_u64() as i32 % (most + 1)).collect();
            matrix[0] = most;
            *matrix.last_mut().unwrap() = -most;
            let expected = params.combine_with(&x, &matrix, weights, Kernel::Slow).unwrap();
            assert_eq!(expected.len(), outputs);
            for kernel in kernels() {
                let found = params.combine_with(&x, &matrix, weights, kernel).unwrap();
                for (found, expected) in found.iter().zip(&expected) {
                    assert_eq!(
                        words(found),
                        words(expected),
                        "{kernel:?}, {bits} bits, {weights}-bit weights"
                    );
                }
            }
        }
    }
}

#[test]
fn extremes_do_not_overflow() {
    // The largest residues times the largest weights of one sign, more terms than one run takes.
    for (bits, weights, terms) in [(42, 9, 4500), (50, 20, 4001), (61, 20, 4001), (30, 1, 3)] {
        let params =
            RlweParams::insecure_for_tests(&RlweLiteral::from_bits(64, &[bits], &[]).unwrap()).unwrap();
        let table = &params.ciphertext_tables(1)[0];
        let top = Poly::from_values(table, vec![table.modulus().value() - 1; 64]).unwrap();
        let part = || RnsPoly::from_limbs(vec![top.duplicate()]);
        let x = Ciphertext::from_parts(vec![part(), part()]).unwrap();
        let x = vec![&x; terms];
        let most = (1_i32 << weights) - 1;
        for sign in [1, -1] {
            let matrix = vec![sign * most; terms];
            // (q - 1) w K = -w K modulo q.
            let expected = table.modulus().from_i64(-i64::from(sign * most) * terms as i64);
            for kernel in kernels() {
                let found = params.combine_with(&x, &matrix, weights, kernel).unwrap();
                assert!(words(&found[0]).iter().all(|w| w.iter().all(|&w| w == expected)), "{kernel:?}");
            }
        }
    }
}

#[test]
fn what_is_refused() {
    let mut stream = Seed::from_bytes([92; 32]).stream();
    let params =
        RlweParams::insecure_for_tests(&RlweLiteral::from_bits(64, &[30, 30], &[]).unwrap()).unwrap();
    let [one, two] = [1, 2].map(|limbs| uniform(&params, 2, limbs, &mut stream));
    let three = uniform(&params, 3, 2, &mut stream);
    assert!(matches!(params.combine(&[], &[], 9), Err(HeError::Count { .. })));
    assert!(matches!(params.combine(&[&one, &one], &[1; 3], 9), Err(HeError::Length { .. })));
    assert!(matches!(params.combine(&[&one, &two], &[1; 2], 9), Err(HeError::Limbs { .. })));
    assert!(matches!(params.combine(&[&three, &two], &[1; 2], 9), Err(HeError::Length { .. })));
    assert!(matches!(params.combine(&[&one], &[512], 9), Err(HeError::OutOfRange { .. })));
    assert!(matches!(params.combine(&[&one], &[-512], 9), Err(HeError::OutOfRange { .. })));
    for bits in [0, 21] {
        assert!(matches!(params.combine(&[&one], &[0], bits), Err(HeError::Bits { .. })));
    }
    assert_eq!(params.combine(&[&one], &[511, -511], 9).unwrap().len(), 2);
    assert!(params.combine(&[&one], &[], 9).unwrap().is_empty());
}
