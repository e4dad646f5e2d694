//! Where a session's transfers come from: both directions, either kind of extension.
//!
//! | kind | bytes per transfer | work per transfer and party | |
//! |---|---|---|---|
//! | SoftSpoken, f = 2, 4, 8 | 8, 4, 2 | little at f = 2 and 4 | a message with every batch |
//! | silent | 0.03 to 0.2, and one bit where choices are chosen | a dozen memory reads | a *supply* is agreed on ahead |
//!
//! A silent direction begins as a SoftSpoken one and changes over when that saves bytes (some 131,000 transfers).
//! [`Transfers::supply`] makes sure that a demand is met, [`Transfers::check`] ends a preprocessing: each party shows that
//! all its rows of the extension held the same choices. Whoever fails is not talked to again; the transfers are gone.

use he_core::Seed;
use ss_core::SsError;
use ss_core::bits::bytes_for_bits;
use ss_core::ot::silent::{SilentParams, SilentReceiver, SilentSender};
use ss_core::ot::{
    ExtensionParams, ExtensionReceiver, ExtensionSender, ReceiverSetup, RotReceiver, RotSender, SenderSetup,
    SetupParams,
};

use crate::channel::{Channel, Kind};
use crate::error::{PeerResult, ProtocolError};
use crate::handshake::{Terms, TransferKind, derive};

/// Field of the extension that seeds a silent one: few transfers, so the fewest bytes.
const SEEDING_FIELD_BITS: u32 = 8;

/// Random transfers that steps take, by who receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// The server receives, with random choices.
    pub server_receives: usize,
    /// The client receives, with choices of its own.
    pub client_receives: usize,
}

/// The direction in which this party sends.
enum Sending {
    SoftSpoken(Box<ExtensionSender>),
    Silent(Box<SilentSender>),
    /// Being exchanged for a silent one.
    Gone,
}

/// The direction in which this party receives.
enum Receiving {
    SoftSpoken(Box<ExtensionReceiver>),
    Silent(Box<SilentReceiver>),
    /// Being exchanged for a silent one.
    Gone,
}

/// The oblivious transfers of one session, both directions.
pub struct Transfers {
    sending: Sending,
    receiving: Receiving,
    /// Identifiers of the directions (sending, receiving) where silent ends are wanted.
    silent: Option<[[u8; 32]; 2]>,
    /// Transfers asked for so far: sending, receiving.
    asked: [usize; 2],
}

impl Transfers {
    /// Base transfers in both directions, three messages each way; both parties name the same session and the same terms.
    /// Where silent transfers are agreed on, each direction becomes silent as soon as that saves bytes.
    ///
    /// # Errors
    /// [`ProtocolError::Caller`] for a field that does not exist, else what the channel or the peer did.
    pub fn set_up(
        channel: &mut Channel,
        session: &[u8; 32],
        terms: &Terms,
        seed: &Seed,
        is_client: bool,
    ) -> Result<Self, ProtocolError> {
        let field_bits = match terms.transfers {
            TransferKind::SoftSpoken { field_bits } => field_bits,
            TransferKind::Silent => SEEDING_FIELD_BITS,
        };
        let extension =
            ExtensionParams::new(field_bits).map_err(|error| ProtocolError::Caller(error.to_string()))?;
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
        Ok(Self {
            sending: Sending::SoftSpoken(Box::new(sender)),
            receiving: Receiving::SoftSpoken(Box::new(receiver)),
            silent,
            asked: [0; 2],
        })
    }

    /// Sees to it that `demand` can be met. Nothing to do for SoftSpoken, whose batches bring their own messages; a silent
    /// direction takes a request (the first time) and an answer per iteration.
    ///
    /// # Errors
    /// What the channel or the peer did.
    pub fn supply(
        &mut self,
        channel: &mut Channel,
        demand: Demand,
        is_client: bool,
    ) -> Result<(), ProtocolError> {
        let (to_send, to_receive) = if is_client {
            (demand.server_receives, demand.client_receives)
        } else {
            (demand.client_receives, demand.server_receives)
        };
        self.silence(to_send, to_receive);
        // One direction after the other, the client's first: nobody writes while the other does.
        if is_client {
            self.ask(channel, to_receive)?;
            self.serve(channel, to_send)
        } else {
            self.serve(channel, to_send)?;
            self.ask(channel, to_receive)
        }
    }

    /// The receiving end of a supply.
    fn ask(&mut self, channel: &mut Channel, demand: usize) -> Result<(), ProtocolError> {
        let Receiving::Silent(receiver) = &mut self.receiving else { return Ok(()) };
        while receiver.available() < demand {
            let request = receiver.refill_begin().or_malformed("supply")?;
            if !request.is_empty() {
                channel.send(Kind::Supply, 0, &request)?;
            }
            let answer = channel.receive(Kind::Supply, 1, receiver.params().answer_len())?;
            receiver.refill_finish(&answer).or_malformed("supply")?;
        }
        Ok(())
    }

    /// The sending end of a supply.
    fn serve(&mut self, channel: &mut Channel, demand: usize) -> Result<(), ProtocolError> {
        let Sending::Silent(sender) = &mut self.sending else { return Ok(()) };
        while sender.available() < demand {
            // Later iterations have no request: their answers follow each other without waiting.
            let request = match sender.request_len() {
                0 => Vec::new(),
                length => channel.receive(Kind::Supply, 0, length)?,
            };
            channel.send(Kind::Supply, 1, &sender.refill(&request).or_malformed("supply")?)?;
            channel.flush()?;
        }
        Ok(())
    }

    /// Puts silent ends in place of the extensions, where they are wanted and pay.
    fn silence(&mut self, to_send: usize, to_receive: usize) {
        self.asked = [self.asked[0].saturating_add(to_send), self.asked[1].saturating_add(to_receive)];
        let Some([sending, receiving]) = self.silent else { return };
        self.sending = match std::mem::replace(&mut self.sending, Sending::Gone) {
            Sending::SoftSpoken(sender) => match worthwhile(to_send, self.asked[0], sender.params()) {
                Some(params) => Sending::Silent(Box::new(SilentSender::new(&sending, *sender, params))),
                None => Sending::SoftSpoken(sender),
            },
            other => other,
        };
        self.receiving = match std::mem::replace(&mut self.receiving, Receiving::Gone) {
            Receiving::SoftSpoken(receiver) => match worthwhile(to_receive, self.asked[1], receiver.params())
            {
                Some(params) => {
                    Receiving::Silent(Box::new(SilentReceiver::new(&receiving, *receiver, params)))
                }
                None => Receiving::SoftSpoken(receiver),
            },
            other => other,
        };
    }

    /// Ends a preprocessing: both parties show that their extension messages were consistent, the client first. A silent
    /// direction has shown it for the only message that it had.
    ///
    /// # Errors
    /// [`ProtocolError::Peer`] where the peer's were not.
    pub fn check(&mut self, channel: &mut Channel, is_client: bool) -> Result<(), ProtocolError> {
        if is_client {
            self.prove(channel)?;
            self.verify(channel)
        } else {
            self.verify(channel)?;
            self.prove(channel)
        }
    }

    fn prove(&mut self, channel: &mut Channel) -> Result<(), ProtocolError> {
        let Receiving::SoftSpoken(receiver) = &mut self.receiving else { return Ok(()) };
        channel.send(Kind::Check, 0, &receiver.prove())?;
        channel.flush()
    }

    fn verify(&mut self, channel: &mut Channel) -> Result<(), ProtocolError> {
        let Sending::SoftSpoken(sender) = &mut self.sending else { return Ok(()) };
        let proof = channel.receive(Kind::Check, 0, sender.params().proof_len())?;
        sender.verify(&proof).or_malformed("transfer check")
    }

    /// Receives `count` transfers with random choices; the message for the peer's [`Transfers::send_random`] with them.
    ///
    /// # Errors
    /// [`SsError::TooLarge`] for a batch beyond the extension's limit, [`SsError::Exhausted`] beyond the supply.
    pub fn receive_random(&mut self, count: usize) -> Result<(Vec<u8>, RotReceiver), SsError> {
        match &mut self.receiving {
            Receiving::SoftSpoken(receiver) => receiver.extend_random(count),
            Receiving::Silent(receiver) => Ok((Vec::new(), receiver.take_random(count)?)),
            Receiving::Gone => Err(gone()),
        }
    }

    /// Receives transfers with the given choices; the message for the peer's [`Transfers::send_chosen`] with them.
    ///
    /// # Errors
    /// As [`Transfers::receive_random`].
    pub fn receive_chosen(&mut self, choices: &[u8]) -> Result<(Vec<u8>, RotReceiver), SsError> {
        match &mut self.receiving {
            Receiving::SoftSpoken(receiver) => receiver.extend(choices),
            Receiving::Silent(receiver) => receiver.take_chosen(choices),
            Receiving::Gone => Err(gone()),
        }
    }

    /// The sender's end of the peer's [`Transfers::receive_random`].
    ///
    /// # Errors
    /// [`SsError`] for a message that does not fit.
    pub fn send_random(&mut self, count: usize, message: &[u8]) -> Result<RotSender, SsError> {
        match &mut self.sending {
            Sending::SoftSpoken(sender) => sender.extend_random(count, message),
            Sending::Silent(sender) => sender.take(count),
            Sending::Gone => Err(gone()),
        }
    }

    /// The sender's end of the peer's [`Transfers::receive_chosen`].
    ///
    /// # Errors
    /// [`SsError`] for a message that does not fit.
    pub fn send_chosen(&mut self, count: usize, message: &[u8]) -> Result<RotSender, SsError> {
        match &mut self.sending {
            Sending::SoftSpoken(sender) => sender.extend(count, message),
            Sending::Silent(sender) => sender.take_chosen(count, message),
            Sending::Gone => Err(gone()),
        }
    }

    /// Bytes of the message for [`Transfers::send_random`].
    ///
    /// # Errors
    /// [`SsError::TooLarge`] for a batch beyond the extension's limit.
    pub fn random_len(&self, count: usize) -> Result<usize, SsError> {
        match &self.sending {
            Sending::SoftSpoken(sender) => sender.params().random_message_len(count),
            Sending::Silent(_) => Ok(0),
            Sending::Gone => Err(gone()),
        }
    }

    /// Bytes of the message for [`Transfers::send_chosen`].
    ///
    /// # Errors
    /// [`SsError::TooLarge`] for a batch beyond the extension's limit.
    pub fn chosen_len(&self, count: usize) -> Result<usize, SsError> {
        match &self.sending {
            Sending::SoftSpoken(sender) => sender.params().message_len(count),
            Sending::Silent(_) => Ok(bytes_for_bits(count)),
            Sending::Gone => Err(gone()),
        }
    }
}

/// The silent set for a direction, if it pays: nobody knows what will be asked for later, so the change comes when what was
/// asked for altogether would have cost more in extension messages than in supplies. So it never costs more than
/// twice the better choice.
fn worthwhile(demand: usize, asked: usize, extension: ExtensionParams) -> Option<SilentParams> {
    // A session that asks for so much will ask again: the set is for a few such demands.
    let params = SilentParams::for_demand(demand.saturating_mul(4));
    // As large a batch as there is: whoever asks for more than one batch may hold is past the point anyway.
    let messages = extension.message_len(asked).unwrap_or(usize::MAX);
    (params.wire_bytes(demand, extension) < messages).then_some(params)
}

fn gone() -> SsError {
    SsError::OutOfOrder { what: "the transfers of this session are gone" }
}
