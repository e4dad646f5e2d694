//! Every kernel against the operations of [`Modulus`], one word at a time.

use proptest::prelude::*;

use super::{add, difference, neg, scale, sub, sum};
use crate::modulus::Modulus;
use crate::ntt::{Kernel, NttTable};
use crate::prime::largest_ntt_prime;

/// A table for each kernel and width of prime; degree 256 is served by all.
fn tables() -> Vec<NttTable> {
    [9, 20, 31, 32, 47, 49, 50, 51, 61]
        .into_iter()
        .filter_map(|bits| largest_ntt_prime(bits, 256))
        .flat_map(|q| {
            let modulus = Modulus::new(q).unwrap();
            Kernel::available().into_iter().filter_map(move |k| NttTable::with_kernel(256, modulus, k).ok())
        })
        .collect()
}

#[test]
fn every_kernel_is_met() {
    let met: Vec<_> = tables().iter().map(NttTable::kernel).collect();
    let kernels = Kernel::available().into_iter().filter(|&kernel| kernel != Kernel::Neon);
    assert!(kernels.into_iter().all(|kernel| met.contains(&kernel)), "{met:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn word_by_word(x in prop::collection::vec(any::<u64>(), 256), y in prop::collection::vec(any::<u64>(), 256)) {
        for table in tables() {
            let m = table.modulus();
            let q = m.value();
            // Random residues, and the extremes 0 and q-1 in every combination.
            let residue = |i: usize, words: &[u64], bit: usize| match i {
                0..4 => (i >> bit & 1) as u64 * (q - 1),
                _ => words[i] % q,
            };
            let x: Vec<_> = (0..256).map(|i| residue(i, &x, 0)).collect();
            let y: Vec<_> = (0..256).map(|i| residue(i, &y, 1)).collect();
            let run = |what: &dyn Fn(&mut [u64])| { let mut words = x.clone(); what(&mut words); words };
            let each = |f: &dyn Fn(u64, u64) -> u64| x.iter().zip(&y).map(|(&x, &y)| f(x, y)).collect::<Vec<_>>();
            let label = format!("{:?} modulo {q}", table.kernel());
            prop_assert_eq!(run(&|x| table.add_assign(x, &y)), each(&|x, y| m.add(x, y)), "{}", label);
            prop_assert_eq!(run(&|x| table.sub_assign(x, &y)), each(&|x, y| m.sub(x, y)), "{}", label);
            let new = |what: &dyn Fn(&mut [u64])| { let mut words = vec![7; 256]; what(&mut words); words };
            let kernel = table.kernel();
            prop_assert_eq!(new(&|out| sum(kernel, &x, &y, out, m)), each(&|x, y| m.add(x, y)), "{}", label);
            prop_assert_eq!(new(&|out| difference(kernel, &x, &y, out, m)), each(&|x, y| m.sub(x, y)), "{}", label);
            prop_assert_eq!(new(&|out| table.mul(&x, &y, out)), each(&|x, y| m.mul(x, y)), "{}", label);
            prop_assert_eq!(run(&|x| table.mul_assign(x, &y)), each(&|x, y| m.mul(x, y)), "{}", label);
            prop_assert_eq!(run(&|x| table.neg_assign(x)), each(&|x, _| m.neg(x)), "{}", label);
            for factor in [0, 1, 2, q / 2, q / 2 + 1, q - 1, y[77]] {
                prop_assert_eq!(run(&|x| table.scale_assign(x, factor)), each(&|x, _| m.mul(x, factor)), "{}", label);
            }
        }
    }
}

#[test]
fn lengths_that_fill_no_register() {
    let modulus = Modulus::new(12289).unwrap();
    for kernel in Kernel::available() {
        for n in 0..20 {
            let y: Vec<_> = (0..n).map(|i| i * 977 % 12289).collect();
            let mut x: Vec<_> = y.iter().map(|&y| 12288 - y).collect();
            let mut out = vec![7; x.len()];
            sum(kernel, &x, &y, &mut out, &modulus);
            assert!(out.iter().all(|&sum| sum == 12288), "{kernel:?} {n}");
            let whole = out.clone();
            difference(kernel, &whole, &y, &mut out, &modulus);
            assert_eq!(out, x, "{kernel:?} {n}");
            add(kernel, &mut x, &y, &modulus);
            assert!(x.iter().all(|&x| x == 12288), "{kernel:?} {n}");
            neg(kernel, &mut x, &modulus);
            assert!(x.iter().all(|&x| x == 1), "{kernel:?} {n}");
            sub(kernel, &mut x, &y, &modulus);
            assert!(x.iter().zip(&y).all(|(&x, &y)| x == modulus.sub(1, y)), "{kernel:?} {n}");
            scale(kernel, &mut x, 12288, &modulus);
            assert!(x.iter().zip(&y).all(|(&x, &y)| x == modulus.sub(y, 1)), "{kernel:?} {n}");
        }
    }
}

#[test]
#[should_panic(expected = "another length")]
fn lengths_are_checked() {
    let table = NttTable::new(128, Modulus::new(12289).unwrap()).unwrap();
    table.add_assign(&mut [0; 128], &[0; 127]);
}

#[test]
#[should_panic(expected = "a factor is not a residue")]
fn factors_are_checked() {
    let table = NttTable::new(128, Modulus::new(12289).unwrap()).unwrap();
    table.scale_assign(&mut [0; 128], 12289);
}
