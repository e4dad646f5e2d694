//! The paper's claims beside what was measured here.
//!
//! Its abstract claims, against the schemes that it compares itself with: at least 11 % less time of online linear
//! operations, about 48 % less online computation, 66 % less communication, and accuracies of 99.24 % on MNIST and 90.26 %
//! on Fashion-MNIST. Its full text is not public, so that each claim is set against the comparison that is nearest in
//! meaning, and the row says which.

use super::figures::{Document, NetworkFigures, Session};

/// A claim, what was found, and whether that is as good.
#[derive(Debug, PartialEq)]
pub(super) struct Claim {
    pub(super) network: String,
    pub(super) what: &'static str,
    pub(super) claimed: &'static str,
    pub(super) found: String,
    pub(super) holds: bool,
}

/// Every claim that the figures say something about.
pub(super) fn claims(document: &Document) -> Vec<Claim> {
    document.networks.iter().flat_map(of_network).collect()
}

fn of_network(network: &NetworkFigures) -> Vec<Claim> {
    let mut claims = Vec::new();
    let mut reduction = |what, claimed, least: f64, pair: Option<(f64, f64)>| {
        if let Some((ours, other)) = pair.filter(|(_, other)| *other > 0.0) {
            let less = 100.0 * (1.0 - ours / other);
            let found =
                if less >= 0.0 { format!("{less:.1} % less") } else { format!("{:.1} % more", -less) };
            claims.push(Claim { network: network.name.clone(), what, claimed, found, holds: less >= least });
        }
    };
    let linear = |merging, algorithm| network.linear(merging, algorithm);
    let both = |a: Option<f64>, b: Option<f64>| a.zip(b);
    reduction(
        "online linear time, merged and fast against as written and im2col",
        "11 % less at least",
        11.0,
        both(linear(true, "planned"), linear(false, "im2col")),
    );
    reduction(
        "online linear time, fast convolution alone (merged both), against the definition",
        "11 % less at least",
        11.0,
        both(linear(true, "planned"), linear(true, "direct")),
    );
    reduction(
        "online linear time, fast convolution alone (merged both), against im2col",
        "11 % less at least",
        11.0,
        both(linear(true, "planned"), linear(true, "im2col")),
    );
    let pair = |other: &str, part: fn(&Session) -> f64| {
        both(network.session("ours").map(part), network.session(other).map(part))
    };
    reduction(
        "online time, against the network as written",
        "48 % less, about",
        43.0,
        pair("unmerged", |session| session.online_seconds),
    );
    reduction(
        "online time, against the manner of Delphi",
        "48 % less, about",
        43.0,
        pair("delphi-like", |session| session.online_seconds),
    );
    let bytes: fn(&Session) -> f64 = |session| session.total_bytes() as f64;
    reduction("bytes in all, against the manner of Delphi", "66 % less", 66.0, pair("delphi-like", bytes));
    reduction("bytes in all, against the manner of Cheetah", "66 % less", 66.0, pair("cheetah-like", bytes));
    claims.extend(accuracy(network));
    claims
}

fn accuracy(network: &NetworkFigures) -> Option<Claim> {
    let (claimed, least) = if network.name.contains("fashion") {
        ("90.26 % on Fashion-MNIST", 0.9026)
    } else {
        ("99.24 % on MNIST", 0.9924)
    };
    let measured = network.session("ours")?.accuracy.as_ref()?;
    let accuracy = measured.accuracy?;
    Some(Claim {
        network: network.name.clone(),
        what: "accuracy under the protocol",
        claimed,
        found: format!("{:.2} % of {} images", 100.0 * accuracy, measured.images),
        holds: accuracy >= least,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::paper::figures::Convolutions;

    fn network(fast: f64) -> NetworkFigures {
        let row = |merging, algorithm, seconds| Convolutions {
            merging,
            algorithm,
            seconds,
            layers: 1,
            of_layers: 1,
        };
        NetworkFigures {
            name: "x".into(),
            origin: String::new(),
            written: Default::default(),
            merged: Default::default(),
            convolutions: vec![
                row(true, "planned", fast),
                row(true, "im2col", 1.0),
                row(false, "im2col", 2.0),
            ],
            sessions: Vec::new(),
            encrypted: Vec::new(),
        }
    }

    #[test]
    fn a_claim_holds_from_its_figure_on() {
        let found: Vec<bool> = of_network(&network(0.85)).iter().map(|claim| claim.holds).collect();
        assert_eq!(found, [true, true]);
        let worse = of_network(&network(1.5));
        assert_eq!((worse[0].holds, worse[1].holds), (true, false));
        assert_eq!(worse[1].found, "50.0 % more");
    }
}
