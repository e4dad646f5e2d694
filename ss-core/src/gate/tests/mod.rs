//! Gates against the arithmetic they stand for, with transfers from an ideal dealer and real randomness.
//!
//! The twin of a gate is [`expected`]: a few lines of integer arithmetic in the clear, bit for bit what the server must
//! end with. It holds wherever the lift does; the filters of the single tests say where.

mod exact;
mod faults;
mod speed;
mod uniform;

use crate::testing::{deal, fresh_rng};
use rand_chacha::ChaCha20Rng;
use rand_core::Rng;

use super::*;
use crate::compare::Comparison;
use crate::error::SsError;
use crate::ring::Z2k;

/// Both parties' inputs of one gate.
#[derive(Clone)]
struct Case {
    spec: GateSpec,
    /// The server's shares: one per element, and per lane where the gate does not lift.
    server: Vec<u64>,
    server_lanes: Vec<Vec<u64>>,
    /// The client's: one per term, and per lane.
    client: Vec<u64>,
    client_lanes: Vec<Vec<u64>>,
    constants: Vec<Vec<u64>>,
}

impl Case {
    /// A lifted gate on y = m + c − τ_t with random constants.
    fn lifted(
        spec: GateSpec,
        server: Vec<u64>,
        client: &[u64],
        thresholds: &[i64],
        rng: &mut ChaCha20Rng,
    ) -> Self {
        let ring = Z2k::new(spec.comparison().ring_bits()).unwrap();
        let own = |&c: &u64| thresholds.iter().map(move |&t| ring.sub(c, ring.from_signed(t)));
        let client = client.iter().flat_map(own).collect();
        let mask = spec.lanes()[0].output().mask();
        let constants = vec![server.iter().map(|_| rng.next_u64() & mask).collect()];
        Self { spec, server, server_lanes: vec![], client, client_lanes: vec![], constants }
    }

    /// A maximum of two lanes on random shares of the differences `y` and of an index.
    fn arg_max(spec: GateSpec, y: &[i64], rng: &mut ChaCha20Rng) -> Self {
        let mut case = Self {
            spec,
            server: vec![],
            server_lanes: vec![],
            client: vec![],
            client_lanes: vec![],
            constants: vec![],
        };
        for (l, lane) in case.spec.lanes().iter().enumerate() {
            let ring = lane.output();
            let value = |i: usize| if l == 0 { y[i] } else { i as i64 };
            let client: Vec<u64> = y.iter().map(|_| rng.next_u64() & ring.mask()).collect();
            let server = (0..y.len()).map(|i| ring.sub(ring.from_signed(value(i)), client[i])).collect();
            case.client_lanes.push(client);
            case.server_lanes.push(server);
            case.constants.push(y.iter().map(|_| rng.next_u64() & ring.mask()).collect());
        }
        (case.client, case.server) = (case.client_lanes[0].clone(), case.server_lanes[0].clone());
        case
    }

    fn n(&self) -> usize {
        self.server.len()
    }

    /// y_t of element i as a signed value.
    fn value(&self, i: usize, t: usize) -> i64 {
        let ring = Z2k::new(self.spec.comparison().ring_bits()).unwrap();
        ring.signed(ring.add(self.server[i], self.client[i * self.spec.terms() + t]))
    }

    /// What the server has to end with, per lane.
    fn expected(&self) -> Vec<Vec<u64>> {
        let (spec, test) = (&self.spec, self.spec.comparison());
        // The sign of the sum of the shares' floors, mod 2^(k−h).
        let verdict = |i: usize, t: usize| {
            let floors = (self.server[i] >> test.ignored_bits())
                + (self.client[i * spec.terms() + t] >> test.ignored_bits());
            floors >> test.low_bits() & 1 == 0
        };
        let gated = |l: usize, i: usize| {
            if spec.lift() == Lift::None {
                let sum = self.server_lanes[l][i].wrapping_add(self.client_lanes[l][i]);
                return if verdict(i, 0) { sum as i64 } else { 0 };
            }
            let steps = spec.slopes().iter().enumerate();
            let steps =
                steps.map(|(t, &slope)| if verdict(i, t) { slope.wrapping_mul(self.value(i, t)) } else { 0 });
            steps.fold(spec.base().wrapping_mul(self.value(i, 0)), i64::wrapping_add)
        };
        let lanes = spec.lanes().iter().enumerate();
        lanes
            .map(|(l, lane)| {
                let constants = self.constants[l].iter().enumerate();
                constants.map(|(i, &k)| lane.output().add((gated(l, i) << lane.shift()) as u64, k)).collect()
            })
            .collect()
    }
}

/// Runs one gate through all its messages; `tamper` may change any of them, `plant` the prepared material.
fn run_with(
    rng: &mut ChaCha20Rng,
    case: &Case,
    mut tamper: impl FnMut(usize, &mut Vec<u8>),
    plant: impl FnOnce(&mut ClientGate, &mut ServerGate),
) -> Result<Vec<Vec<u64>>, SsError> {
    let (spec, n) = (&case.spec, case.n());
    let own = choices(spec, &case.client, rng);
    assert_eq!(own.len(), n * spec.client_transfers());
    let random = (0..n * spec.server_transfers()).map(|_| (rng.next_u32() & 1) as u8).collect();
    let (server_sends, client_receives) = deal(rng, own.to_vec());
    let (client_sends, server_receives) = deal(rng, random);
    let sizes = spec.message_bytes(n);
    let mut pass = |step: usize, mut message: Vec<u8>| {
        assert_eq!(message.len(), sizes[step], "message {step} has its stated size");
        tamper(step, &mut message);
        message
    };
    let (lanes, constants): (Vec<&[u64]>, Vec<&[u64]>) =
        (case.client_lanes.iter().map(|l| &l[..]).collect(), case.constants.iter().map(|l| &l[..]).collect());
    let inputs = ClientInputs { compare: &case.client, lanes: &lanes, constants: &constants };
    let waiting = ServerGate::receive(spec, n, server_receives)?;
    let (message, gate) = ClientGate::prepare(spec, &inputs, client_sends, client_receives, rng)?;
    assert_eq!((gate.len(), waiting.len()), (n, n));
    // Every gate of these tests waits as bytes once.
    let bytes = gate.into_bytes();
    assert_eq!(bytes.len(), ClientGate::stored_len(spec, n));
    assert!(ClientGate::from_bytes(spec, n + 1, &bytes).is_err());
    let mut gate = ClientGate::from_bytes(spec, n, &bytes)?;
    let mut server = waiting.complete(server_sends, &pass(0, message))?;
    plant(&mut gate, &mut server);
    let (message, server) = server.begin(case.server.clone(), case.server_lanes.clone())?;
    let (message, gate) = gate.tables(&pass(1, message))?;
    let (message, server) = server.combine(&pass(2, message))?;
    let (message, gate) = gate.respond(&pass(3, message))?;
    let (message, server) = server.select(&pass(4, message))?;
    let message = gate.finish(&pass(5, message))?;
    server.finish(&pass(6, message))
}

/// An honest run.
fn run(rng: &mut ChaCha20Rng, case: &Case) -> Vec<Vec<u64>> {
    run_with(rng, case, |_, _| (), |_, _| ()).unwrap()
}

/// Random shares of given values: server's, client's.
fn share(y: &[i64], ring: Z2k, rng: &mut ChaCha20Rng) -> (Vec<u64>, Vec<u64>) {
    let client: Vec<u64> = y.iter().map(|_| rng.next_u64() & ring.mask()).collect();
    (y.iter().zip(&client).map(|(&y, &c)| ring.sub(ring.from_signed(y), c)).collect(), client)
}

/// Every shape of gate on the default test, with thresholds, for tests that go through all of them.
fn shapes() -> Vec<(GateSpec, Vec<i64>)> {
    let test = Comparison::new(18, 6).unwrap();
    vec![
        (GateSpec::relu(test, 46, 14).unwrap(), vec![0]),
        (GateSpec::clip(test, 46, 8).unwrap(), vec![-1000, 20_000]),
        (GateSpec::leaky(test, 46, 8, -1, 1).unwrap(), vec![0]),
        (GateSpec::maximum(test, Some(5)).unwrap(), vec![]),
        (GateSpec::piecewise(test, 50, 3, 7, &[-2, 90, 1]).unwrap(), vec![-500, 3, 800]),
        (GateSpec::relu(Comparison::new(8, 3).unwrap(), 8, 0).unwrap(), vec![0]),
        (GateSpec::maximum(Comparison::new(18, 1).unwrap(), None).unwrap(), vec![]),
    ]
}

/// A case of one of [`shapes`] with values in the range of its lift.
fn random_case(shape: &(GateSpec, Vec<i64>), n: usize, rng: &mut ChaCha20Rng) -> Case {
    let (spec, thresholds) = shape;
    let ring = Z2k::new(spec.comparison().ring_bits()).unwrap();
    let reach = thresholds.iter().map(|t| t.abs()).max().unwrap_or(0);
    let edge = match spec.lift() {
        Lift::Guarded => 1i64 << (ring.bits() - 2),
        _ => (1 << (ring.bits() - 1)) - (1 << spec.comparison().ignored_bits()),
    };
    let y: Vec<i64> = (0..n).map(|_| rng.next_u64() as i64 % (edge - reach)).collect();
    if spec.lift() == Lift::None {
        return Case::arg_max(spec.clone(), &y, rng);
    }
    let (server, client) = share(&y, ring, rng);
    Case::lifted(spec.clone(), server, &client, thresholds, rng)
}
