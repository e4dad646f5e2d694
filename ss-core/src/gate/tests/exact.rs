//! Results, bit for bit: every pair of shares of small rings, and edges and random values of large ones.

use super::*;

/// All pairs of shares of a ring in which every term of the gate is in the range of its lift.
fn all_pairs(
    spec: &GateSpec,
    thresholds: &[i64],
    rng: &mut ChaCha20Rng,
    mut check: impl FnMut(&Case, &[u64]),
) {
    let test = spec.comparison();
    let ring = Z2k::new(test.ring_bits()).unwrap();
    let (half, quarter) = (1i64 << (test.ring_bits() - 1), 1i64 << (test.ring_bits() - 2));
    let fits = |m: u64, c: u64| {
        thresholds.iter().all(|&t| {
            let y = ring.signed(ring.sub(ring.add(m, c), ring.from_signed(t)));
            match spec.lift() {
                Lift::Guarded => (-quarter..quarter).contains(&y),
                _ => y >= -half + (1 << test.ignored_bits()),
            }
        })
    };
    for c in 0..=ring.mask() {
        let server: Vec<u64> = (0..=ring.mask()).filter(|&m| fits(m, c)).collect();
        let client = vec![c; server.len()];
        let case = Case::lifted(spec.clone(), server, &client, thresholds, rng);
        let out = run(rng, &case);
        assert_eq!(out, case.expected(), "{spec:?} c = {c}");
        check(&case, &out[0]);
    }
}

#[test]
fn every_pair_of_small_rings_in_every_lift() {
    let mut rng = fresh_rng();
    for (k, h) in [(4, 0), (5, 1), (6, 0), (7, 2), (8, 0), (8, 4), (3, 0)] {
        let test = Comparison::new(k, h).unwrap();
        let quarter = 1i64 << (k - 2);
        for (bits, shift) in [(k, 0), (k + 3, 0), (k + 9, 5)] {
            let mut wrong = [0u64; 2];
            let relu = GateSpec::relu(test, bits + shift, shift).unwrap();
            all_pairs(&relu, &[0], &mut rng, |case, out| {
                for (i, &z) in out.iter().enumerate() {
                    let y = case.value(i, 0);
                    let z = relu.lanes()[0].output().sub(z, case.constants[0][i]);
                    assert!(z == 0 || z == (y as u64) << shift && y > 0, "y = {y}: {z}");
                    wrong[0] += u64::from(z == 0 && y > 0);
                    assert!(z > 0 || y < 1 << h, "a large positive was dropped");
                }
            });
            let clip = GateSpec::clip(test, bits + shift, shift).unwrap();
            all_pairs(&clip, &[-quarter / 2, quarter - 1], &mut rng, |_, _| ());
            let slopes = if bits == k { (-1, 1) } else { (-3, 4) };
            let leaky = GateSpec::leaky(test, bits + shift, shift, slopes.0, slopes.1).unwrap();
            all_pairs(&leaky, &[0], &mut rng, |case, out| {
                // Guarded: also where the verdict is wrong the value is whole, only the slope is the other one.
                for (i, &z) in out.iter().enumerate() {
                    let (y, ring) = (case.value(i, 0), leaky.lanes()[0].output());
                    let z = ring.signed(ring.sub(z, case.constants[0][i]));
                    let [low, high] =
                        [slopes.0, slopes.1].map(|s| ring.signed(ring.from_signed((s * y) << shift)));
                    assert!(z == if y < 0 { low } else { high } || z == low && y < 1 << h, "y = {y}: {z}");
                    wrong[1] += u64::from(y > 0 && z == low);
                }
            });
            // The floors lose at most 2^h − 2 together: with h = 1 no positive value is missed.
            assert!(
                h < 2 || wrong.iter().all(|&count| count > 0),
                "the region of wrong verdicts was reached"
            );
        }
        let spec = GateSpec::piecewise(test, k + 12, 2, -5, &[9, -1, 2]).unwrap();
        all_pairs(&spec, &[0, -1, quarter / 2], &mut rng, |_, _| ());
        let spec = GateSpec::piecewise(test, k + 12, 2, 0, &[3, 2, -4]).unwrap();
        all_pairs(&spec, &[0, -quarter, 1], &mut rng, |_, _| ());
    }
}

#[test]
fn every_pair_of_shares_of_three_digits() {
    let test = Comparison::new(10, 0).unwrap();
    assert_eq!(test.digits(), 3);
    let spec = GateSpec::relu(test, 14, 2).unwrap();
    all_pairs(&spec, &[0], &mut fresh_rng(), |_, _| ());
}

#[test]
fn every_pair_of_a_small_maximum() {
    let mut rng = fresh_rng();
    for (k, h) in [(5, 1), (6, 0)] {
        let spec = GateSpec::maximum(Comparison::new(k, h).unwrap(), Some(3)).unwrap();
        for _ in 0..1 << k {
            // Random shares of all values: the client's share varies from round to round.
            let edge = 1i64 << (k - 1);
            let y: Vec<i64> = (-edge + (1 << h)..edge).collect();
            let case = Case::arg_max(spec.clone(), &y, &mut rng);
            assert_eq!(run(&mut rng, &case), case.expected());
        }
    }
}

/// Values that matter: all around zero and the edges, and random ones.
fn values(rng: &mut ChaCha20Rng, n: usize, low: i64, high: i64, slack: i64) -> Vec<i64> {
    (0..n as i64)
        .map(|i| match i % 5 {
            0 => (i / 5 % (4 * slack) - 2 * slack).clamp(low, high),
            1 => (high - i / 5 % (2 * slack)).max(low),
            2 => (low + i / 5 % (2 * slack)).min(high),
            3 => [0, 1, -1, slack, -slack, slack - 1, low, high][(i / 5 % 8) as usize],
            _ => low + (rng.next_u64() % (high - low + 1) as u64) as i64,
        })
        .collect()
}

#[test]
fn large_rings_at_edges_and_at_random() {
    let mut rng = fresh_rng();
    for (k, h, p, j) in [
        (18, 6, 46, 10),
        (18, 6, 46, 28),
        (16, 4, 28, 12),
        (14, 3, 22, 0),
        (20, 3, 46, 5),
        (20, 8, 60, 14),
        (10, 4, 12, 1),
        (18, 2, 40, 3),
        (18, 3, 40, 3),
        (17, 3, 40, 3),
        (32, 20, 60, 9),
        (40, 24, 60, 0),
        (18, 14, 46, 10),
    ] {
        let test = Comparison::new(k, h).unwrap();
        let (half, slack) = (1i64 << (k - 1), 1i64 << h);
        let ring = Z2k::new(k).unwrap();
        let mut check = |spec: GateSpec, thresholds: &[i64], low: i64, high: i64| {
            let y = values(&mut rng, 2003, low, high, slack);
            let (server, mut client) = share(&y, ring, &mut rng);
            // Some shares are small, so that the floors of the halves carry rarely.
            client.iter_mut().step_by(7).for_each(|c| *c &= 3);
            let server = server
                .iter()
                .zip(&client)
                .zip(&y)
                .map(|((_, &c), &y)| ring.sub(ring.from_signed(y), c))
                .collect();
            let case = Case::lifted(spec, server, &client, thresholds, &mut rng);
            assert_eq!(run(&mut rng, &case), case.expected(), "{:?}", case.spec);
        };
        check(GateSpec::relu(test, p, j).unwrap(), &[0], -half + slack, half - 1);
        // y − 0 and y − τ both have to stay in the ring.
        let six = half / 3;
        check(GateSpec::clip(test, p, j).unwrap(), &[-six, six], -half + slack + six, half - 1 - six);
        check(GateSpec::leaky(test, p, j, 0, 1).unwrap(), &[0], -half / 2, half / 2 - 1);
        if p - j > k + 1 {
            check(GateSpec::leaky(test, p, j, 1, 3).unwrap(), &[0], -half / 2, half / 2 - 1);
        }
        check(GateSpec::leaky(test, p, j, -1, 1).unwrap(), &[0], -half / 2, half / 2 - 1);
        let y = values(&mut rng, 2003, -half + slack, half - 1, slack);
        for index_bits in [None, Some(5), Some(32)] {
            let case = Case::arg_max(GateSpec::maximum(test, index_bits).unwrap(), &y, &mut rng);
            assert_eq!(run(&mut rng, &case), case.expected());
        }
    }
}

/// Shapes nobody would list: any test, any lane, any slopes, up to five terms.
#[test]
fn random_shapes() {
    let mut rng = fresh_rng();
    let mut digits = [0; 4];
    for _ in 0..600 {
        let mut draw = |low: i64, high: i64| low + (rng.next_u64() % (high - low + 1) as u64) as i64;
        let low = draw(2, 16) as u32;
        let h = draw(0, 8) as u32;
        let k = low + h + 1;
        let bits = k + draw(0, i64::from(50 - k)) as u32;
        let shift = draw(0, i64::from(60 - bits)) as u32;
        let test = Comparison::new(k, h).unwrap();
        digits[test.digits() - 1] += 1;
        let edge = 1i64 << (k - 3);
        let thresholds: Vec<i64> = (0..draw(1, 5)).map(|_| draw(-edge / 2, edge / 2)).collect();
        let size = 1 << draw(0, 29);
        let slopes: Vec<i64> =
            thresholds.iter().map(|_| draw(1, size) * [1, -1][draw(0, 1) as usize]).collect();
        let base = draw(-size, size) * draw(0, 1);
        let Ok(spec) = GateSpec::piecewise(test, bits + shift, shift, base, &slopes) else {
            // The ends of the line do not fit: results wrap, exactly; only the twin of the range check would mind.
            let reach = base.unsigned_abs().max((base + slopes.iter().sum::<i64>()).unsigned_abs());
            let largest = k - if base == 0 { 1 } else { 2 };
            assert!(u128::from(reach) << largest > 1 << (bits - 1), "{slopes:?} {base} {bits}");
            continue;
        };
        // In the range of either lift: |y − τ| < 2^(k−2).
        let y: Vec<i64> = (0..100).map(|_| draw(-edge, edge)).collect();
        let (server, client) = share(&y, Z2k::new(k).unwrap(), &mut rng);
        let case = Case::lifted(spec, server, &client, &thresholds, &mut rng);
        assert_eq!(run(&mut rng, &case), case.expected(), "{:?}", case.spec);
    }
    assert!(digits.iter().all(|&count| count > 20), "{digits:?}");
}

/// What the activations mean, apart from the bit-exact twin: straight from their definitions.
#[test]
fn activations_are_what_their_names_say() {
    let mut rng = fresh_rng();
    let (n, slack) = (5000, 64);
    let test = Comparison::new(18, 6).unwrap();
    let (small, large) = (Z2k::new(18).unwrap(), Z2k::new(46).unwrap());
    let mut results = |spec: GateSpec, thresholds: &[i64], reach: i64| -> Vec<(i64, i64)> {
        let y = values(&mut rng, n, -reach, reach - 1, slack);
        let (server, client) = share(&y, small, &mut rng);
        let case = Case::lifted(spec, server, &client, thresholds, &mut rng);
        let out = run(&mut rng, &case);
        let open = out[0].iter().zip(&case.constants[0]).map(|(&z, &k)| large.signed(large.sub(z, k)) >> 8);
        y.into_iter().zip(open).collect()
    };
    for (y, z) in results(GateSpec::clip(test, 46, 8).unwrap(), &[-3000, 9000], 100_000) {
        let ideal = y.clamp(-3000, 9000) + 3000;
        let corner = (-3000..-3000 + slack).contains(&y) || (9000..9000 + slack).contains(&y);
        assert!(z == ideal || corner && (z - ideal).abs() < slack, "clip({y}) = {z}");
    }
    for (y, z) in results(GateSpec::leaky(test, 46, 8, -1, 1).unwrap(), &[0], 1 << 16) {
        assert!(z == y.abs() || z == -y && y < slack, "|{y}| = {z}");
    }
    for (y, z) in results(GateSpec::leaky(test, 46, 8, 1, 100).unwrap(), &[0], 1 << 16) {
        assert!(z == if y < 0 { y } else { 100 * y } || z == y && y < slack, "leaky({y}) = {z}");
    }
}

#[test]
fn specs_that_cannot_work_are_refused() {
    let test = Comparison::new(18, 6).unwrap();
    for spec in [
        GateSpec::relu(test, 31, 14),
        GateSpec::relu(test, 61, 14),
        GateSpec::relu(test, 10, 14),
        GateSpec::leaky(test, 46, 8, 3, 3),
        GateSpec::leaky(test, 26, 8, -3, 3),
        GateSpec::leaky(test, 46, 8, i64::MIN, i64::MAX),
        GateSpec::piecewise(test, 46, 8, 0, &[]),
        GateSpec::piecewise(test, 46, 8, 0, &[1; 33]),
        GateSpec::piecewise(test, 46, 8, 0, &[1, 0]),
        GateSpec::piecewise(test, 46, 8, 1 << 30, &[1]),
        GateSpec::piecewise(test, 27, 8, 0, &[3]),
        GateSpec::maximum(test, Some(33)),
        GateSpec::maximum(test, Some(0)),
    ] {
        assert!(matches!(spec, Err(SsError::BadValue { .. })), "{spec:?}");
    }
    assert!(GateSpec::relu(test, 32, 14).is_ok() && GateSpec::leaky(test, 26, 8, -1, 1).is_ok());
}
