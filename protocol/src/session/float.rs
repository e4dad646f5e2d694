//! The server's side of a session on floating-point shares ([`crate::float`]): **insecure**, and served by servers that do
//! nothing else.
//!
//! A server computes on rings or on floating-point numbers, never on both: whoever starts one with
//! [`Arithmetic::Float`] has asked for it, a client that does not ask for it too is refused, and so is one that asks a
//! server of the other kind. Keys, and the bundle that waits, count against the policy's memory; images count against the
//! quota.

use std::time::Duration;

use he_core::Seed;

use super::server::{Server, unexpected};
use super::{ClientOptions, Served};
use crate::channel::{Channel, Kind};
use crate::error::{ProtocolError, Refusal, RefusalCode};
use crate::float::serving::{Peer, prepare, receive_keys, run};
use crate::float::session::transfers_name;
use crate::float::{Arithmetic, Plan, Ready};
use crate::handshake::{Request, next_request, session};
use crate::report::{Report, Stage, Start};
use crate::transfers::Transfers;

impl Server {
    /// The model made ready for floating-point shares; nothing where the policy is to compute on rings.
    #[must_use]
    pub fn float(&self) -> Option<&Ready> {
        self.float.as_ref()
    }

    /// Refuses a first request of the other arithmetic than the policy's.
    pub(super) fn check_arithmetic(
        &self,
        channel: &mut Channel,
        first: &Request,
    ) -> Result<(), ProtocolError> {
        let asked = matches!(first, Request::Float { .. });
        let reason = match (self.policy().arithmetic, asked) {
            (Arithmetic::Ring, false) | (Arithmetic::Float, true) => return Ok(()),
            (Arithmetic::Ring, true) => {
                "this server computes on rings: floating-point shares are insecure, and both parties must ask for them"
            }
            (Arithmetic::Float, false) => {
                "this server computes on floating-point shares, which are insecure, and on nothing else: both parties must \
                 ask for it (--arithmetic float)"
            }
        };
        Err(channel.refuse(Refusal { code: RefusalCode::Method, reason: reason.to_owned() }))
    }

    /// The rest of a session after its first request.
    pub(super) fn serve_float(
        &self,
        channel: &mut Channel,
        who: &str,
        message: Duration,
        (mask_bits, digest, nonces): (u32, [u8; 32], [[u8; 32]; 2]),
        (seed, mut report, start): (&Seed, Report, Start),
    ) -> Result<Served, ProtocolError> {
        self.check_digest(channel, &digest)?;
        let Some(ready) = self.float() else {
            return Err(unexpected("a request for the other arithmetic"));
        };
        let plan = match ready.plan(mask_bits) {
            Ok(plan) => plan,
            Err(error) => {
                let refusal = Refusal { code: RefusalCode::Limit, reason: error.to_string() };
                return Err(channel.refuse(refusal));
            }
        };
        tell(who, &plan);
        let _keys_place = self.hold_or_refuse(channel, "this session", plan.server_bytes(0))?;
        report.add(Stage::Setup, "handshake", "handshake", &start, channel);
        let start = Start::now(channel);
        let keys = receive_keys(channel, ready)?;
        report.add(Stage::Setup, "keys", "keys", &start, channel);
        let mut peer = Peer { keys, transfers: None };
        if plan.has_steps() {
            let start = Start::now(channel);
            // What a client without wishes asks for, who has seen the same offer.
            let terms = ClientOptions::new().terms(&self.policy().offer)?;
            let session = transfers_name(&session(&nonces, &digest, self.epoch(), &terms), mask_bits);
            peer.transfers = Some(Transfers::set_up(channel, &session, &terms, seed, false)?);
            report.add(Stage::Setup, "base transfers", "base transfers", &start, channel);
        }
        let (mut waiting, mut bundles, mut images_run) = (None, 0, 0);
        loop {
            channel.set_patience(self.policy().idle);
            let request = next_request(channel)?;
            channel.set_patience(message);
            match request {
                Request::FloatPrepare { images } => {
                    self.check_quota(channel, who, images)?;
                    // One waiting bundle per session.
                    drop(waiting.take());
                    let place = self.hold_or_refuse(channel, "this bundle", plan.server_bytes(images))?;
                    channel.send(Kind::Agreed, 0, &[])?;
                    channel.flush()?;
                    let seed = seed.fork("float: bundle", &[bundles]);
                    let bundle = prepare(channel, ready, &plan, &mut peer, images, &seed, &mut report)?;
                    waiting = Some((bundles, bundle, place));
                    bundles += 1;
                }
                Request::FloatInfer { bundle: number } => {
                    // Claimed by taking it: from here on it is gone, whatever happens.
                    let Some((_, bundle, _place)) = waiting.take().filter(|(own, ..)| *own == number) else {
                        let reason =
                            "the named bundle is not here: used already, or never prepared".to_owned();
                        return Err(channel.refuse(Refusal { code: RefusalCode::Bundle, reason }));
                    };
                    images_run += bundle.images();
                    run(channel, ready, &plan, bundle, &mut report)?;
                }
                Request::Finish => return Ok(Served { report, images: images_run }),
                _ => return Err(unexpected("a request of another kind of session")),
            }
        }
    }
}

/// What this session's masks are worth, in the log.
fn tell(who: &str, plan: &Plan) {
    let (bits, distance) = (plan.mask_bits(), plan.distance());
    tracing::warn!("{who}: INSECURE floating-point shares with masks of {bits} bits, {distance}");
}
