//! Sign tests and maxima on two shares, as the parties decide them.

use ss_core::maximum::Tournament;

use crate::NnError;
use crate::model::PoolGeometry;

/// The sign test of Z_2^k that ignores h bits, on a server's and a client's share.
pub(super) struct Sign {
    pub(super) k: u32,
    pub(super) h: u32,
}

/// The pooling tournament over all images of a bundle.
pub(super) fn bundle_pool(pool: &PoolGeometry, images: usize) -> Result<Tournament, NnError> {
    pool.tournament(images).map_err(|error| NnError::Value { what: error.to_string() })
}

impl Sign {
    pub(super) fn signed(&self, value: u64) -> i64 {
        ((value << (64 - self.k)) as i64) >> (64 - self.k)
    }

    fn positive(&self, server: u64, client: u64) -> bool {
        let mask = (1u64 << self.k) - 1;
        let sum = ((server & mask) >> self.h) + ((client & mask) >> self.h);
        (sum >> (self.k - self.h - 1)) & 1 == 0
    }

    /// Lane 0 is compared, all lanes follow; `fresh` holds the client's new shares of lane 0. `None` where these do not
    /// fit the tournament.
    pub(super) fn play(
        &self,
        tournament: &Tournament,
        lanes: &mut [(Vec<u64>, Vec<u64>)],
        bits: &[u32],
        fresh: &[Vec<u64>],
    ) -> Option<()> {
        if fresh.len() != tournament.levels().len() {
            return None;
        }
        for (level, fresh) in tournament.levels().iter().zip(fresh) {
            if fresh.len() != level.gates() {
                return None;
            }
            let difference = |values: &[u64]| -> Vec<u64> {
                level
                    .first(values)
                    .iter()
                    .zip(level.second(values))
                    .map(|(&a, b)| a.wrapping_sub(b))
                    .collect()
            };
            let (server, client) = (difference(&lanes[0].0), difference(&lanes[0].1));
            let verdicts: Vec<bool> =
                server.iter().zip(&client).map(|(&s, &c)| self.positive(s, c)).collect();
            for (lane, ((server, client), &bits)) in lanes.iter_mut().zip(bits).enumerate() {
                let mask = (1u64 << bits) - 1;
                let total = |values: &dyn Fn(&[u64]) -> Vec<u64>| -> Vec<u64> {
                    values(server)
                        .iter()
                        .zip(values(client))
                        .map(|(&s, c)| s.wrapping_add(c) & mask)
                        .collect()
                };
                let (first, second) = (total(&|v| level.first(v)), total(&|v| level.second(v)));
                let winners = verdicts
                    .iter()
                    .zip(first.iter().zip(&second))
                    .map(|(&d, (&a, &b))| if d { a } else { b });
                // Only lane 0's sharing matters for later sign tests; the others are carried in the clear.
                let new: Vec<u64> = if lane == 0 { fresh.clone() } else { vec![0; fresh.len()] };
                let own: Vec<u64> = winners.zip(&new).map(|(w, &c)| w.wrapping_sub(c) & mask).collect();
                (*server, *client) = (level.advance(server, &own), level.advance(client, &new));
            }
        }
        for ((server, client), &bits) in lanes.iter_mut().zip(bits) {
            let masked = |values: Vec<u64>| values.iter().map(|v| v & ((1 << bits) - 1)).collect();
            (*server, *client) = (masked(tournament.winners(server)), masked(tournament.winners(client)));
        }
        Some(())
    }
}
