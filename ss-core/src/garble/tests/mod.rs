//! Garbled gates against the arithmetic they stand for and against the three-round gate, with transfers from an ideal
//! dealer and real randomness.

mod faults;
mod function;
mod statistics;

use crate::testing::{deal, fresh_rng};
use rand_chacha::ChaCha20Rng;
use rand_core::Rng;

use super::*;
use crate::compare::Comparison;
use crate::gate::ClientInputs;
use crate::ot::{RotReceiver, RotSender};

fn random_bits(rng: &mut ChaCha20Rng, n: usize) -> Vec<u8> {
    (0..n).map(|_| (rng.next_u32() & 1) as u8).collect()
}

/// One chunk's inputs: what both parties bring.
struct Inputs {
    spec: GarbleSpec,
    /// The client's shares, T per element; the server's, one per element.
    client: Vec<u64>,
    server: Vec<u64>,
    /// Per lane, empty for a lifted gate.
    client_lanes: Vec<Vec<u64>>,
    server_lanes: Vec<Vec<u64>>,
    constants: Vec<Vec<u64>>,
}

impl Inputs {
    /// Random constants, and for a gate without lift the compared value in lane 0 and random values behind it.
    fn new(spec: GarbleSpec, client: Vec<u64>, server: Vec<u64>, rng: &mut ChaCha20Rng) -> Self {
        let n = server.len();
        let mut random =
            |lane: &Lane| (0..n).map(|_| rng.next_u64() & lane.output().mask()).collect::<Vec<u64>>();
        let constants = spec.lanes().iter().map(&mut random).collect();
        let (mut client_lanes, mut server_lanes) = (Vec::new(), Vec::new());
        if !spec.lifted() {
            (client_lanes, server_lanes) =
                spec.lanes().iter().map(|lane| (random(lane), random(lane))).unzip();
            client_lanes[0].clone_from(&client);
            server_lanes[0].clone_from(&server);
        }
        Self { spec, client, server, client_lanes, server_lanes, constants }
    }

    /// Calls with the client's inputs as it borrows them.
    fn borrowed<T>(&self, call: impl FnOnce(&ClientInputs<'_>) -> T) -> T {
        let lanes: Vec<&[u64]> = self.client_lanes.iter().map(Vec::as_slice).collect();
        let constants: Vec<&[u64]> = self.constants.iter().map(Vec::as_slice).collect();
        call(&ClientInputs { compare: &self.client, lanes: &lanes, constants: &constants })
    }

    /// Both halves, prepared; `tamper` may change the corrections (step 0).
    fn prepare(
        &self,
        rng: &mut ChaCha20Rng,
        tamper: &mut impl FnMut(usize, &mut Vec<u8>),
    ) -> Result<(GarbleClient, GarbleServer), SsError> {
        let (spec, n) = (&self.spec, self.server.len());
        let own = choices(spec, &self.client, rng);
        let (server_sends, client_receives) = deal(rng, own.to_vec());
        let random = random_bits(rng, n * spec.server_transfers());
        let (client_sends, server_receives) = deal(rng, random);
        let (mut message, client) =
            self.borrowed(|inputs| GarbleClient::prepare(spec, inputs, client_sends, client_receives, rng))?;
        assert_eq!(message.len(), spec.message_bytes(n)[0], "the corrections have their stated size");
        tamper(0, &mut message);
        let waiting = GarbleServer::receive(spec, n, server_receives)?;
        assert_eq!((client.len(), waiting.len()), (n, n));
        Ok((client, waiting.complete(server_sends, &message)?))
    }

    /// The online part; `tamper` may change messages 1 and 2.
    fn online(
        &self,
        client: GarbleClient,
        server: GarbleServer,
        tamper: &mut impl FnMut(usize, &mut Vec<u8>),
    ) -> Result<Vec<Vec<u64>>, SsError> {
        let sizes = self.spec.message_bytes(self.server.len());
        let mut pass = |step: usize, mut message: Vec<u8>| {
            assert_eq!(message.len(), sizes[step], "message {step} has its stated size");
            tamper(step, &mut message);
            message
        };
        let (message, server) = server.begin(self.server.clone(), self.server_lanes.clone())?;
        let message = client.answer(&pass(1, message))?;
        server.finish(&pass(2, message))
    }

    /// The whole gate; every client half of it waits as bytes once.
    fn run(
        &self,
        rng: &mut ChaCha20Rng,
        mut tamper: impl FnMut(usize, &mut Vec<u8>),
    ) -> Result<Vec<Vec<u64>>, SsError> {
        let (client, server) = self.prepare(rng, &mut tamper)?;
        let bytes = client.into_bytes();
        let client = GarbleClient::from_bytes(&self.spec, self.server.len(), &bytes)?;
        self.online(client, server, &mut tamper)
    }

    /// What the shares stand for, straight from the definitions: the verdict rule, and the lifted values as integers.
    fn oracle(&self) -> Vec<Vec<u64>> {
        let (spec, gate) = (&self.spec, self.spec.gate());
        let test = gate.comparison();
        let (k, h, low) = (test.ring_bits(), test.ignored_bits(), test.low_bits());
        let bit = |value: u64, at: u32| i128::from(value >> at & 1);
        let signed = |value: u64| i128::from(value) - (bit(value, k - 1) << k);
        let (full, quarter) = ((1u64 << k) - 1, 1u64 << (k - 2));
        let element = |l: usize, i: usize| -> u64 {
            let m = self.server[i];
            let mut sum = 0i128;
            for term in 0..spec.terms() {
                let c = self.client[i * spec.terms() + term];
                let below = |value: u64| value >> h & ((1 << low) - 1);
                let carry = bit(below(m) + below(c), low);
                let verdict = 1 ^ bit(m, k - 1) ^ bit(c, k - 1) ^ carry;
                let value = match gate.lift() {
                    Lift::None => i128::from(self.server_lanes[l][i]) + i128::from(self.client_lanes[l][i]),
                    Lift::Positive => signed(m) + signed(c) + ((bit(m, k - 1) & bit(c, k - 1)) << k),
                    Lift::Guarded => {
                        let moved = c.wrapping_add(quarter) & full;
                        let own = signed(moved) - i128::from(quarter);
                        i128::from(m) + own - ((bit(m, k - 1) & (1 ^ bit(moved, k - 1))) << k)
                    }
                };
                let base = if term == 0 { gate.base() } else { 0 };
                sum += (i128::from(base) + i128::from(gate.slopes()[term]) * verdict) * value;
            }
            let lane = spec.lanes()[l];
            lane.output().add((sum << lane.shift()) as u64, self.constants[l][i])
        };
        (0..spec.lanes().len()).map(|l| (0..self.server.len()).map(|i| element(l, i)).collect()).collect()
    }
}

/// Shares of `n` values that matter: around zero, at the ends of the range, and anywhere; the client's share of term
/// t is moved by `thresholds[t]`.
fn shares(
    rng: &mut ChaCha20Rng,
    test: Comparison,
    n: usize,
    thresholds: &[i64],
) -> (Vec<u64>, Vec<u64>, Vec<i64>) {
    let (k, slack) = (test.ring_bits(), 1i64 << test.ignored_bits());
    let (edge, full) = (1i64 << (k - 1), (1u64 << k) - 1);
    let (mut client, mut server, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for i in 0..n as i64 {
        let y = match i % 5 {
            0 => i / 5 % (4 * slack) - 2 * slack,
            1 => edge - 1 - i / 5 % (2 * slack),
            2 => -edge + slack + i / 5 % (2 * slack),
            3 => rng.next_u64() as i64 % (edge / 2),
            _ => rng.next_u64() as i64 % (edge - slack),
        };
        let random = rng.next_u64();
        let c = if i % 7 == 0 { random & 3 } else { random } & full;
        client.extend(thresholds.iter().map(|&tau| c.wrapping_sub(tau as u64) & full));
        server.push((y as u64).wrapping_sub(c) & full);
        values.push(y);
    }
    (client, server, values)
}
