//! The server's side of a session on ciphertexts alone ([`crate::encrypted`]).
//!
//! The model is made ready for a mode when the first client asks for it. Keys and the memory of an evaluation count
//! against the policy's memory as long as the session lasts, so that clients that keep a server waiting are refused like
//! those of prepared bundles; images count against the quota. The prepared weights count against the same memory, once for
//! all clients, from when they are made.

use std::time::Duration;

use he_core::Seed;

use super::Served;
use super::server::{Server, lock, unexpected};
use crate::channel::{Channel, Kind};
use crate::encrypted::chain::Accepted;
use crate::encrypted::network::Shapes;
use crate::encrypted::session::{Ready, receive_keys, refusal, serve};
use crate::encrypted::{Mode, Plan};
use crate::error::{ProtocolError, Refusal, RefusalCode};
use crate::handshake::{Request, next_request};
use crate::report::{Report, Stage, Start};

impl Server {
    /// The model made ready for a mode; a refusal with the reason where it can't be, the policy forbids it, or its weights do
    /// not fit the memory that is free now.
    ///
    /// # Errors
    /// The refusal for the client.
    pub fn encrypted(&self, mode: Mode) -> Result<&Ready, Refusal> {
        if !self.policy().encrypted {
            let reason = "this server does not evaluate on ciphertexts alone".to_owned();
            return Err(Refusal { code: RefusalCode::Method, reason });
        }
        let made = &self.encrypted[mode as usize];
        if let Some(known) = made.get() {
            return known.as_ref().map_err(Clone::clone);
        }
        // One at a time: whoever comes second finds it made.
        let _making = lock(&self.making);
        let place = match made.get() {
            Some(_) => None,
            None => {
                // A network that can't be planned takes nothing, and is refused below with the reason.
                let plan = Shapes::new(&self.model().manifest, Accepted::Squares)
                    .and_then(|shapes| Plan::new(&shapes, mode));
                let bytes = plan.map_or(0, |plan| plan.prepared_bytes());
                Some(self.hold_bytes("the network as this mode needs it", bytes)?)
            }
        };
        let make = || Ready::new(self.model(), mode).map_err(|error| refusal(&error));
        let known = made.get_or_init(make).as_ref().map_err(Clone::clone)?;
        if let Some(place) = place {
            place.stay();
        }
        Ok(known)
    }

    /// The rest of a session after its first request.
    pub(super) fn serve_encrypted(
        &self,
        channel: &mut Channel,
        who: &str,
        message: Duration,
        (mode, digest): (Mode, [u8; 32]),
        (seed, mut report, start): (&Seed, Report, Start),
    ) -> Result<Served, ProtocolError> {
        self.check_digest(channel, &digest)?;
        let ready = match self.encrypted(mode) {
            Ok(ready) => ready,
            Err(refusal) => return Err(channel.refuse(refusal)),
        };
        let bytes = ready.plan().server_bytes();
        let _place = self.hold_or_refuse(channel, "this evaluation", bytes)?;
        report.add(Stage::Setup, "handshake", "handshake", &start, channel);
        let start = Start::now(channel);
        let keys = receive_keys(channel, ready)?;
        report.add(Stage::Setup, "keys", "keys", &start, channel);
        let (mut images_run, mut evaluations) = (0, 0);
        loop {
            channel.set_patience(self.policy().idle);
            let request = next_request(channel)?;
            channel.set_patience(message);
            match request {
                Request::Evaluate { images } => {
                    let most = ready.plan().most_images();
                    if images == 0 || images > most {
                        let reason =
                            format!("{images} images were asked for, this mode takes 1 to {most} at once");
                        return Err(channel.refuse(Refusal { code: RefusalCode::Limit, reason }));
                    }
                    // Every slot of a batch is answered, whatever the client says it filled.
                    let charged = if ready.plan().mode() == Mode::Batch { most } else { images };
                    self.charge(channel, who, charged)?;
                    channel.send(Kind::Agreed, 0, &[])?;
                    channel.flush()?;
                    let start = Start::now(channel);
                    serve(channel, ready, &keys, &seed.fork("evaluation", &[evaluations]))?;
                    report.add(Stage::Online, "network", "evaluation", &start, channel);
                    evaluations += 1;
                    images_run += images;
                }
                Request::Finish => return Ok(Served { report, images: images_run }),
                _ => return Err(unexpected("a request of another kind of session")),
            }
        }
    }
}
