//! A session between one client and one server: the handshake, then as many bundles as the client asks for.
//!
//! ```text
//! Client<Greeted> ── agree ──▶ Client<Ready> ── prepare ──▶ ClientBundle ── infer ──▶ Output
//! ```
//!
//! The order is in the types: there is no `prepare` before `agree`, and a bundle is moved into `infer`.

mod client;
mod options;
mod server;

pub use client::{Client, Greeted, Ready};
pub use options::ClientOptions;
pub use server::{Policy, Served, Server};

use he_core::Seed;
use ss_core::ot::{ExtensionParams, ReceiverSetup, SenderSetup, SetupParams};

use crate::channel::{Channel, Kind};
use crate::error::{PeerResult, ProtocolError};
use crate::handshake::{Terms, TransferKind, derive};
use crate::transfers::Transfers;

/// Field of the extension that seeds a silent one: few transfers, so the fewest bytes.
const SEEDING_FIELD_BITS: u32 = 8;

/// Base transfers in both directions: two round trips, once per connection.
fn set_up_transfers(
    channel: &mut Channel,
    session: &[u8; 32],
    terms: &Terms,
    seed: &Seed,
    is_client: bool,
) -> Result<Transfers, ProtocolError> {
    let field_bits = match terms.transfers {
        TransferKind::SoftSpoken { field_bits } => field_bits,
        TransferKind::Silent => SEEDING_FIELD_BITS,
    };
    let extension = ExtensionParams::new(field_bits).or_malformed("offer")?;
    let params = SetupParams { extension, base: terms.base };
    let [length1, length2, length3] = params.message_bytes();
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
    let theirs = exchange(&offer, length1)?;
    let (points, sender) =
        SenderSetup::begin(&sending, params, &mut rng, &theirs).or_malformed("base transfers")?;
    let theirs = exchange(&points, length2)?;
    let (sums, receiver) = receiver.finish(&mut rng, &theirs).or_malformed("base transfers")?;
    let theirs = exchange(&sums, length3)?;
    let sender = sender.finish(&theirs).or_malformed("base transfers")?;
    let silent = (terms.transfers == TransferKind::Silent)
        .then(|| [&sending, &receiving].map(|direction| derive(direction, "silent", 0)));
    Ok(Transfers::new(sender, receiver, silent))
}
