//! A listener for many clients: one thread each, a cap on their number (one address may take half of it), a clean stop.
//! Connections that fail while they are accepted do not end it.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use he_core::Seed;

use crate::channel::{Kind, TcpOptions, accept};
use crate::error::{ProtocolError, Refusal, RefusalCode};
use crate::session::{Served, Server};

/// How often the listener looks at the stop flag.
const POLL: Duration = Duration::from_millis(20);
/// Pause after a failed accept.
const BACK_OFF: Duration = Duration::from_millis(100);
/// How long a client that will be refused may take to say hello.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(2);

/// Limits of a listener.
#[derive(Clone, Copy, Debug)]
pub struct ListenOptions {
    /// Clients at once; more are refused with a sentence. One address may take half of the places (but one at least).
    pub clients: usize,
    /// Deadlines per message.
    pub tcp: TcpOptions,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self { clients: 32, tcp: TcpOptions::default() }
    }
}

/// A bound listener.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    options: ListenOptions,
}

impl Listener {
    /// Binds `address`.
    ///
    /// # Errors
    /// [`ProtocolError::Connection`]: the port is taken, the address is not ours, …
    pub fn bind(address: &str, options: ListenOptions) -> Result<Self, ProtocolError> {
        let failed = |source: io::Error| {
            let hint = if source.kind() == io::ErrorKind::AddrInUse {
                " (is another server running there?)"
            } else {
                ""
            };
            let source = io::Error::new(source.kind(), format!("{address}: {source}{hint}"));
            ProtocolError::Connection { during: "opening the listening port".into(), source }
        };
        let socket = TcpListener::bind(address).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        Ok(Self { socket, options })
    }

    /// The bound address, with the port the system chose for port 0.
    ///
    /// # Errors
    /// [`ProtocolError::Connection`] when the socket is gone.
    pub fn address(&self) -> Result<SocketAddr, ProtocolError> {
        self.socket
            .local_addr()
            .map_err(|source| ProtocolError::Connection { during: "listening".into(), source })
    }

    /// Serves clients until `stop` is set; `ended` is told how each session ended. Running sessions are cut after
    /// the stop: their material is one-time and in memory only.
    ///
    /// # Errors
    /// [`ProtocolError::Connection`] when accepting fails for good.
    pub fn run(
        &self,
        server: &Arc<Server>,
        stop: &AtomicBool,
        ended: impl Fn(SocketAddr, Result<Served, ProtocolError>) + Send + Sync + 'static,
    ) -> Result<(), ProtocolError> {
        let (ended, active) = (Arc::new(ended), Active::default());
        while !stop.load(Ordering::Relaxed) {
            match self.socket.accept() {
                Ok((stream, address)) => self.start(server, stream, address, &ended, &active),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(POLL),
                // The socket itself is no listener (any more): for good.
                Err(source) if source.kind() == io::ErrorKind::InvalidInput => {
                    return Err(ProtocolError::Connection { during: "accepting clients".into(), source });
                }
                // A client that left before we picked it up, a signal, no descriptors or memory right now: it passes.
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    std::thread::sleep(BACK_OFF);
                }
            }
        }
        Ok(())
    }

    fn start(
        &self,
        server: &Arc<Server>,
        stream: TcpStream,
        address: SocketAddr,
        ended: &Arc<impl Fn(SocketAddr, Result<Served, ProtocolError>) + Send + Sync + 'static>,
        active: &Active,
    ) {
        let (server, ended, options) = (server.clone(), ended.clone(), self.options);
        let place = Place::take(active, address.ip());
        if place.all > 2 * options.clients {
            // Even saying no takes a thread: beyond this the connection is just closed.
            return;
        }
        let busy = place.all > options.clients || place.own > options.clients.div_ceil(2);
        let session = move || {
            let _place = place;
            let result = stream
                .set_nonblocking(false)
                .map_err(|source| ProtocolError::Connection { during: "accepting clients".into(), source })
                .and_then(|()| accept(stream, options.tcp))
                .and_then(|mut channel| {
                    if busy {
                        // Read what it said first: closing on unread bytes would reset the connection.
                        channel.set_patience(REFUSAL_PATIENCE);
                        channel.receive_up_to(Kind::Hello, 1024)?;
                        let reason = format!(
                            "this server already serves {} clients: try again later",
                            options.clients
                        );
                        return Err(channel.refuse(Refusal { code: RefusalCode::Busy, reason }));
                    }
                    let seed = Seed::from_os().map_err(|error| ProtocolError::Caller(error.to_string()))?;
                    server.serve(&mut channel, &address.ip().to_string(), options.tcp.message, seed)
                });
            ended(address, result);
        };
        // Without a thread there is no session: the stream closes, and the client sees it.
        let _ = std::thread::Builder::new().name(format!("client {address}")).spawn(session);
    }
}

/// Connections per address.
type Active = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// One connection's place, given back however its thread ends.
struct Place {
    active: Active,
    address: IpAddr,
    /// Connections when it was taken, itself included: all, and those of its address.
    all: usize,
    own: usize,
}

impl Place {
    fn take(active: &Active, address: IpAddr) -> Self {
        let mut counts = active.lock().unwrap_or_else(PoisonError::into_inner);
        let own = counts.entry(address).or_insert(0);
        *own += 1;
        let own = *own;
        Self { active: active.clone(), address, all: counts.values().sum(), own }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = counts.get_mut(&self.address) {
            *own -= 1;
            if *own == 0 {
                counts.remove(&self.address);
            }
        }
    }
}
