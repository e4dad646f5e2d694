//! The server's side of a session on ciphertexts alone ([`crate::encrypted`]).
//!
//! The model is made ready for a mode when the first client asks for it. Keys and the memory of an evaluation count
//! against the policy's memory as long as the session lasts, so that clients that keep a server waiting are refused like
//! those of prepared bundles; images count against the quota.

use std::time::Duration;

use he_core::Seed;

use super::Served;
use super::server::{Server, unexpected};
use crate::channel::{Channel, Kind};
use crate::encrypted::Mode;
use crate::encrypted::session::{Ready, receive_keys, refusal, serve};
use crate::error::{ProtocolError, Refusal, RefusalCode};
use crate::handshake::{Request, next_request};
use crate::report::{Report, Stage, Start};

impl Server {
    /// The model made ready for a mode; a refusal with the reason where it can't be, or the policy forbids it.
    ///
    /// # Errors
    /// The refusal for the client.
    pub fn encrypted(&self, mode: Mode) -> Result<&Ready, Refusal> {
        if !self.policy().encrypted {
            let reason = "this server does not evaluate on ciphertexts alone".to_owned();
            return Err(Refusal { code: RefusalCode::Method, reason });
        }
        let make = || Ready::new(self.model(), mode).map_err(|error| refusal(&error));
        self.encrypted[mode as usize].get_or_init(make).as_ref().map_err(Clone::clone)
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
        let _place = self.hold_bytes(channel, ready.plan().server_bytes())?;
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
                    self.charge(channel, who, images)?;
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
