//! Where a session's transfers come from: both directions, either kind of extension.
//!
//! | kind | bytes per transfer | work per transfer and party | |
//! |---|---|---|---|
//! | SoftSpoken, f = 2, 4, 8 | 8, 4, 2 | little at f = 2 and 4 | a message with every batch |
//! | silent | 0.03 to 0.2, and one bit where choices are chosen | a dozen memory reads | a *supply* is agreed on ahead |
//!
//! [`Transfers::supply`] makes sure that a demand is met, [`Transfers::check`] ends a preprocessing: each party shows that
//! all its rows of the extension held the same choices. Whoever fails is not talked to again; the transfers are gone.

use ss_core::bits::bytes_for_bits;
use ss_core::ot::silent::{SilentParams, SilentReceiver, SilentSender};
use ss_core::ot::{ExtensionReceiver, ExtensionSender, RotReceiver, RotSender};
use ss_core::SsError;

use crate::channel::{Channel, Kind};
use crate::error::{PeerResult, ProtocolError};

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
    SoftSpoken(ExtensionSender),
    Silent(SilentSender),
    /// Being exchanged for a silent one.
    Gone,
}

/// The direction in which this party receives.
enum Receiving {
    SoftSpoken(ExtensionReceiver),
    Silent(SilentReceiver),
    /// Being exchanged for a silent one.
    Gone,
}

/// The oblivious transfers of one session, both directions.
pub struct Transfers {
    sending: Sending,
    receiving: Receiving,
    /// What is still to become a silent pair, at the first demand.
    silent: Option<[[u8; 32]; 2]>,
}

impl Transfers {
    /// Transfers from two extensions, one per direction. With `silent`, the identifiers of both directions (sending,
    /// receiving), the extensions only serve to make the first base of a silent one, at the first demand.
    pub fn new(sender: ExtensionSender, receiver: ExtensionReceiver, silent: Option<[[u8; 32]; 2]>) -> Self {
        Self { sending: Sending::SoftSpoken(sender), receiving: Receiving::SoftSpoken(receiver), silent }
    }

    /// Sees to it that `demand` can be met. Nothing to do for SoftSpoken, whose batches bring their own messages; silent
    /// supplies take one round trip and a half per iteration.
    ///
    /// # Errors
    /// What the channel or the peer did.
    pub fn supply(
        &mut self,
        channel: &mut Channel,
        demand: Demand,
        is_client: bool,
    ) -> Result<(), ProtocolError> {
        self.silence(demand, is_client);
        let (to_send, to_receive) = if is_client {
            (demand.server_receives, demand.client_receives)
        } else {
            (demand.client_receives, demand.server_receives)
        };
        loop {
            let (Sending::Silent(sender), Receiving::Silent(receiver)) =
                (&mut self.sending, &mut self.receiving)
            else {
                return Ok(());
            };
            let (serve, ask) = (sender.available() < to_send, receiver.available() < to_receive);
            if !serve && !ask {
                return Ok(());
            }
            // Client's request; server's answer and request; client's answer. Nobody writes while the other does.
            if is_client && ask {
                channel.send(Kind::Supply, 0, &receiver.refill_begin().or_malformed("supply")?)?;
            }
            if is_client && ask {
                let answer = channel.receive(Kind::Supply, 1, receiver.params().answer_len())?;
                receiver.refill_finish(&answer).or_malformed("supply")?;
            }
            if serve {
                let request = channel.receive(Kind::Supply, 0, sender.request_len())?;
                channel.send(Kind::Supply, 1, &sender.refill(&request).or_malformed("supply")?)?;
            }
            if !is_client && ask {
                channel.send(Kind::Supply, 0, &receiver.refill_begin().or_malformed("supply")?)?;
                let answer = channel.receive(Kind::Supply, 1, receiver.params().answer_len())?;
                receiver.refill_finish(&answer).or_malformed("supply")?;
            }
            channel.flush()?;
        }
    }

    /// Puts silent ends in place of the extensions, if they are wanted and not there yet.
    fn silence(&mut self, demand: Demand, is_client: bool) {
        let Some([sending, receiving]) = self.silent.take() else { return };
        let server = SilentParams::for_demand(demand.server_receives);
        let client = SilentParams::for_demand(demand.client_receives);
        let (to_send, to_receive) = if is_client { (server, client) } else { (client, server) };
        self.sending = match std::mem::replace(&mut self.sending, Sending::Gone) {
            Sending::SoftSpoken(sender) => Sending::Silent(SilentSender::new(&sending, sender, to_send)),
            other => other,
        };
        self.receiving = match std::mem::replace(&mut self.receiving, Receiving::Gone) {
            Receiving::SoftSpoken(receiver) => {
                Receiving::Silent(SilentReceiver::new(&receiving, receiver, to_receive))
            }
            other => other,
        };
    }

    /// Ends a preprocessing: both parties show that their extension messages were consistent, the client first.
    ///
    /// # Errors
    /// [`ProtocolError::Peer`] where the peer's were not.
    pub fn check(&mut self, channel: &mut Channel, is_client: bool) -> Result<(), ProtocolError> {
        let (Sending::SoftSpoken(sender), Receiving::SoftSpoken(receiver)) =
            (&mut self.sending, &mut self.receiving)
        else {
            // A silent pair has checked the only extension message that it had.
            return Ok(());
        };
        let length = sender.params().proof_len();
        if is_client {
            channel.send(Kind::Check, 0, &receiver.prove())?;
            let proof = channel.receive(Kind::Check, 0, length)?;
            return sender.verify(&proof).or_malformed("transfer check");
        }
        let proof = channel.receive(Kind::Check, 0, length)?;
        sender.verify(&proof).or_malformed("transfer check")?;
        channel.send(Kind::Check, 0, &receiver.prove())?;
        channel.flush()
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

fn gone() -> SsError {
    SsError::OutOfOrder { what: "the transfers of this session are gone" }
}
