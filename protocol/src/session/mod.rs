//! A session between one client and one server: the handshake, then as many bundles as the client asks for.
//!
//! ```text
//! Client<Greeted> ── agree ──▶ Client<Ready> ── prepare ──▶ ClientBundle ── infer ──▶ Output
//! ```
//!
//! The order is in the types: there is no `prepare` before `agree`, and a bundle is moved into `infer`.

mod client;
mod server;

pub use client::{Client, Greeted, Ready};
pub use server::{Policy, Served, Server};

use he_core::Seed;
use ss_core::ot::setup::{MESSAGE1_BYTES, MESSAGE2_BYTES, MESSAGE3_BYTES};
use ss_core::ot::{ExtensionParams, ReceiverSetup, SenderSetup};

use crate::channel::{Channel, Kind};
use crate::error::{PeerResult, ProtocolError};
use crate::handshake::derive;
use crate::offline::stage::Transfers;

/// Base transfers in both directions: two round trips, once per connection.
fn set_up_transfers(
    channel: &mut Channel,
    session: &[u8; 32],
    field_bits: u32,
    seed: &Seed,
    is_client: bool,
) -> Result<Transfers, ProtocolError> {
    let params = ExtensionParams::new(field_bits).or_malformed("offer")?;
    let receiving = derive(session, if is_client { "client receives" } else { "server receives" }, 0);
    let sending = derive(session, if is_client { "server receives" } else { "client receives" }, 0);
    let mut rng = seed.fork("base transfers", &[]).stream();
    let (offer, receiver) = ReceiverSetup::begin(&receiving, params, &mut rng);
    // Both sides say the same three things; the client goes first so that nobody writes against a full pipe.
    let mut exchange = |message: &[u8], length: usize| {
        if is_client {
            channel.send(Kind::BaseTransfer, 0, message)?;
            channel.receive(Kind::BaseTransfer, 0, length)
        } else {
            let received = channel.receive(Kind::BaseTransfer, 0, length)?;
            channel.send(Kind::BaseTransfer, 0, message)?;
            channel.flush()?;
            Ok(received)
        }
    };
    let theirs = exchange(&offer, MESSAGE1_BYTES)?;
    let (points, sender) =
        SenderSetup::begin(&sending, params, &mut rng, &theirs).or_malformed("base transfers")?;
    let theirs = exchange(&points, MESSAGE2_BYTES)?;
    let (sums, receiver) = receiver.finish(&mut rng, &theirs).or_malformed("base transfers")?;
    let theirs = exchange(&sums, MESSAGE3_BYTES)?;
    Ok(Transfers { sender: sender.finish(&theirs).or_malformed("base transfers")?, receiver })
}
