//! `hushnet serve`: a model for many clients, until a signal ends it.
//!
//! Standard output gets one line, `listening on ADDR`, when clients may come; everything else is log on standard error.
//! SIGTERM and SIGINT stop the listener and end the process with code 0: running sessions are cut, their material was
//! one-time and in memory only. A second signal ends the process at once.

use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use protocol::channel::TcpOptions;
use protocol::encrypted::Mode;
use protocol::float::{DEFAULT_MASK_BITS, WARNING};
use protocol::handshake::Offer;
use protocol::report::Stage;
use protocol::serve::{ListenOptions, Listener};
use protocol::session::Served;
use protocol::{Arithmetic, Policy, ProtocolError, Refusal, Server};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::read_model;
use crate::args::{ArithmeticName, ModeName, OutputName, Serve, checked_address};
use crate::error::Failure;
use crate::output::{Console, counted, print};
use crate::session::fresh_seed;
use crate::terminal::{bytes, seconds};
use crate::terms::modelled;

/// Exit code of a process that Ctrl-C had to end at once.
const INTERRUPTED: i32 = 130;

/// Serves until told to stop.
///
/// # Errors
/// A model that can't be served, a port that can't be opened.
pub(super) fn run(arguments: &Serve, console: &Console) -> Result<(), Failure> {
    let address = checked_address(&arguments.listen).map_err(Failure::Usage)?;
    if arguments.arithmetic == ArithmeticName::Float {
        if arguments.mode == ModeName::He {
            return Err(Failure::Usage(
                "--mode he has no meaning with --arithmetic float: such a server does nothing else".into(),
            ));
        }
        console.warning(WARNING);
    }
    let stop = stop_on_signals()?;
    if arguments.until_stdin_closes {
        stop_with_stdin(stop.clone());
    }
    let model = read_model(&arguments.model)?;
    let tcp = TcpOptions { link: arguments.methods.link, ..TcpOptions::default() };
    let options = ListenOptions { clients: arguments.clients, tcp };
    // The port first: it fails fast, and a client that comes early waits instead of being turned away.
    let listener = Listener::bind(address, options).map_err(Failure::Listening)?;
    let seed = fresh_seed()?;
    let server = Arc::new(Server::new(model, policy(arguments), seed).map_err(Failure::Unservable)?);
    if arguments.mode == ModeName::He {
        // Now, not when the first client asks: a network that can't be is said at once, and nobody waits.
        for mode in [Mode::Single, Mode::Batch] {
            let unservable = |refusal: Refusal| Failure::Unservable(ProtocolError::Caller(refusal.reason));
            server.encrypted(mode).map(drop).map_err(unservable)?;
        }
    }
    if let Some(ready) = server.float() {
        let plan = ready.plan(DEFAULT_MASK_BITS).map_err(Failure::Unservable)?;
        console.remark(&format!("masks of {DEFAULT_MASK_BITS} bits: {}", plan.distance()));
    }
    let bound = listener.address().map_err(Failure::Listening)?;
    tracing::info!(model = %server.model().manifest.name, output = ?arguments.output, "serving");
    if let Some(link) = arguments.methods.link {
        console.remark(&modelled("what this server sends goes", link));
    }
    print(&format!("listening on {bound}"))?;
    listener.run(&server, &stop, log_end).map_err(Failure::Listening)?;
    console.remark("stopped");
    Ok(())
}

fn policy(arguments: &Serve) -> Policy {
    Policy {
        offer: Offer {
            logit_bits: (arguments.output == OutputName::Logits).then_some(arguments.logit_bits),
            labels: arguments.top,
            max_images: arguments.max_images,
            field_bits: arguments.methods.field_bits,
            methods: arguments.methods.allowed(),
        },
        quota: arguments.quota.unwrap_or(u64::MAX),
        shelf: arguments.shelf,
        encrypted: arguments.mode == ModeName::He,
        arithmetic: match arguments.arithmetic {
            ArithmeticName::Ring => Arithmetic::Ring,
            ArithmeticName::Float => Arithmetic::Float,
        },
        ..Policy::default()
    }
}

/// A flag that the first signal sets; the second one ends the process.
fn stop_on_signals() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register_conditional_shutdown(signal, INTERRUPTED, stop.clone())
            .and_then(|_| signal_hook::flag::register(signal, stop.clone()))
            .map_err(|error| Failure::System {
                doing: "installing signal handlers",
                reason: error.to_string(),
            })?;
    }
    Ok(stop)
}

/// Sets the flag when standard input ends: when the program that started us is gone, however it went.
fn stop_with_stdin(stop: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while matches!(std::io::stdin().read(&mut buffer), Ok(read) if read > 0) {}
        stop.store(true, Ordering::Relaxed);
    });
}

/// One line per session.
fn log_end(address: SocketAddr, result: Result<Served, ProtocolError>) {
    match result {
        Ok(served) => {
            let stages =
                [Stage::Setup, Stage::Preprocessing, Stage::Online].map(|stage| served.report.total(stage));
            let time = stages.iter().map(|row| row.seconds).sum();
            let (sent, received) =
                stages.iter().fold((0, 0), |(s, r), row| (s + row.bytes_sent, r + row.bytes_received));
            tracing::info!(
                "{address}: done, {} in {}, {} sent, {} received",
                counted(served.images, "image"),
                seconds(time),
                bytes(sent),
                bytes(received)
            );
        }
        Err(error) => tracing::warn!("{address}: {error}"),
    }
}
