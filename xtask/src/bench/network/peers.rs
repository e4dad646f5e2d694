//! What other systems state or were seen to need for the same layers, one image, everything included.
//!
//! Figures of SPU are of its Cheetah back end (semi-honest, two parties), run over loopback on two cores of a machine like
//! the one that ours were first measured on; SecONNds's are its paper's, on sixteen threads. They stand beside ours for
//! orientation: machines and moments differ.

use serde::Serialize;

/// One system's figures for a network.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Peer {
    pub(super) system: &'static str,
    /// Least and most seconds.
    pub(super) seconds: [f64; 2],
    /// Millions of bytes, both directions.
    pub(super) megabytes: f64,
    /// Peak memory of a party, where known.
    pub(super) gibibytes: Option<f64>,
}

const SPU: &str = "SPU/Cheetah, 2 cores";

/// The peers of a network, by its layers.
pub(super) fn of(name: &str) -> Vec<Peer> {
    let spu = |seconds, megabytes, gibibytes| Peer { system: SPU, seconds, megabytes, gibibytes };
    match name {
        "resnet18" => vec![spu([216.0; 2], 568.0, Some(7.9))],
        _ if name.contains("resnet20") => vec![spu([12.0, 23.0], 36.6, Some(1.4))],
        _ if name.contains("minionn_cifar10") => vec![spu([9.0, 21.0], 28.9, None)],
        _ if name.contains("squeezenet") => vec![
            spu([135.0; 2], 643.0, Some(5.4)),
            Peer { system: "SecONNds, 16 threads", seconds: [3.6; 2], megabytes: 440.4, gibibytes: None },
        ],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::networks;

    #[test]
    fn peers_belong_to_networks() {
        let with_peers = networks::ALL.iter().filter(|network| !of(network.name).is_empty()).count();
        assert!(with_peers >= 8, "{with_peers}");
        assert!(of("mnist-8").is_empty());
    }
}
