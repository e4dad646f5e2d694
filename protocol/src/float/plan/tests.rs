//! Distances, grids and bounds of small plans.

use std::sync::Arc;

use conv_fast::ConvGeometry;

use super::*;
use crate::encrypted::chain::Relu;
use crate::encrypted::network::Shapes;

fn plan(bits: u32, reaches: [i8; 2]) -> Result<Plan, ProtocolError> {
    let layers = [(6, 5), (5, 3)].map(|(i, o)| ConvGeometry::fully_connected(i, o).unwrap());
    let layouts = Layouts::new(&Shapes::of_squares([6, 1, 1], layers.to_vec())).unwrap();
    Plan::new(Arc::new(layouts), bits, &reaches, 1.0)
}

#[test]
fn distances_are_sums_over_elements() {
    let found = plan(16, [4, 4]).unwrap().distance();
    // Six inputs at 2^-16 each, five squares at 2^-17 each, and steps of grids.
    let expected = 6.0 / 65536.0 + 5.0 / 131072.0;
    assert!((1.0..1.01).contains(&(found.images / expected)), "{found:?}");
    let hidden = 5.0 * 2.0 / 65536.0;
    assert!((1.0..1.01).contains(&(found.hidden_values / hidden)), "{found:?}");
    assert_eq!(found.weights, 1.0);
    // A bit less is twice as much.
    let worse = plan(15, [4, 4]).unwrap().distance();
    assert!((worse.images / found.images - 2.0).abs() < 0.01);
    assert!(plan(4, [4, 4]).unwrap().distance().images < 1.0);
}

#[test]
fn sums_are_exact_on_their_grids() {
    for bits in MASK_BITS {
        for reach in [-20, 0, 8, 20] {
            let Ok(plan) = plan(bits, [reach, reach]) else { continue };
            let [first, second] = [0, 1].map(|at| *plan.magnitudes(at));
            let steps = |value: f64, grid: i32| (value.log2() + f64::from(grid)) <= EXACT;
            assert!(steps(first.back, second.input_grid) && second.input_grid >= LEAST_GRID);
            assert!(steps(first.opened, first.opened_grid) && steps(second.opened, second.opened_grid));
            assert!(first.product_mask.log2() < 126.0 - f64::from(PRODUCT_BITS));
            // c fits the two primes that it comes back with, e all three.
            assert!((first.share * MASK_SCALE).log2() < 92.0);
            assert!((first.back.log2() + f64::from(PRODUCT_BITS)) < 137.0);
        }
    }
}

/// The same maps with a ReLU between.
fn with_relu(bits: u32, reach: i8) -> Plan {
    let layers = [(6, 5), (5, 3)].map(|(i, o)| ConvGeometry::fully_connected(i, o).unwrap());
    let between = vec![Between::Relu(Relu { pool: None, compared_bits: 12 })];
    let shapes = Shapes { input: [6, 1, 1], layers: layers.to_vec(), between };
    Plan::new(Arc::new(Layouts::new(&shapes).unwrap()), bits, &[reach; 2], 1.0).unwrap()
}

#[test]
fn relus_leak_to_the_server_alone() {
    let found = with_relu(16, 4).distance();
    // As behind a square: values half as large under masks half as large.
    let expected = 6.0 / 65536.0 + 5.0 / 131072.0;
    assert!((1.0..1.01).contains(&(found.images / expected)), "{found:?}");
    assert_eq!((found.hidden_values, found.weights), (0.0, 1.0));
    // No product of masks has to fit: the widest masks leave the finest grid.
    for bits in MASK_BITS {
        for reach in [-20, 0, 20] {
            let plan = with_relu(bits, reach);
            let [first, second] = [0, 1].map(|at| *plan.magnitudes(at));
            assert!((first.opened.log2() + f64::from(second.input_grid)) <= EXACT);
            assert!(second.input_grid >= 17 && first.back == 0.0 && first.product_mask == 0.0);
            assert_eq!((plan.factor_bytes(0, 1), plan.product_bytes(0, 1)), (0, 0));
        }
    }
}

#[test]
fn what_can_not_be_is_refused() {
    for bits in [0, 3, 25, u32::MAX] {
        assert!(plan(bits, [0, 0]).is_err());
    }
    assert!(plan(16, [127, 0]).is_err() && plan(16, [-128, 0]).is_err());
    let sentence = plan(24, [20, 0]).err().unwrap().to_string();
    assert!(sentence.contains("fewer mask bits"), "{sentence}");
    assert!(reach_exponent(f64::INFINITY).is_err() && reach_exponent(f64::NAN).is_err());
    assert_eq!((reach_exponent(0.0).unwrap(), reach_exponent(2.0).unwrap()), (-80, 4));
}
