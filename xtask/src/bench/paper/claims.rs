//! The paper's claims beside what was measured here.
//!
//! Its abstract claims, against the schemes that it compares itself with: at least 11 % less time of online linear
//! operations, about 48 % less online computation, 66 % less communication, and accuracies of 99.24 % on MNIST and 90.26 %
//! on Fashion-MNIST. Its full text is not public, so that each claim is set against the comparison that is nearest in
//! meaning, and the row says which. An accuracy is a share of a sample: the row names the number of images and the interval
//! that 95 % of such samples have the true share in, and the claim holds, or does not, where that whole interval says so.

use super::figures::{Document, NetworkFigures, Session};

/// A claim, what was found, and whether that is as good.
#[derive(Debug, PartialEq)]
pub(super) struct Claim {
    pub(super) network: String,
    pub(super) what: &'static str,
    pub(super) claimed: &'static str,
    pub(super) found: String,
    pub(super) verdict: Verdict,
}

/// What the figures say of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Holds,
    Fails,
    /// The sample does not tell.
    Open,
}

impl Verdict {
    /// For tables.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Fails => "does NOT hold",
            Self::Open => "too few images to tell",
        }
    }
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
            let verdict = if less >= least { Verdict::Holds } else { Verdict::Fails };
            claims.push(Claim { network: network.name.clone(), what, claimed, found, verdict });
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
    let interval = wilson(accuracy, measured.images);
    let [low, high] = interval.map(|share| 100.0 * share);
    // An image more or less is not what decides: only what the sample shows with the confidence stated.
    let verdict = match (interval[0] >= least, interval[1] < least) {
        (true, _) => Verdict::Holds,
        (_, true) => Verdict::Fails,
        _ => Verdict::Open,
    };
    let found =
        format!("{:.2} % of {} images, 95 %: {low:.2}–{high:.2} %", 100.0 * accuracy, measured.images);
    let network = network.name.clone();
    Some(Claim { network, what: "accuracy under the protocol", claimed, found, verdict })
}

/// The interval of E. B. Wilson (*Probable inference, the law of succession, and statistical inference*, JASA 22, 1927) for a
/// share of so many trials, at 95 %.
fn wilson(share: f64, trials: usize) -> [f64; 2] {
    let (n, z) = (trials.max(1) as f64, 1.959_964);
    let middle = share + z * z / (2.0 * n);
    let half = z * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    [middle - half, middle + half].map(|end| (end / (1.0 + z * z / n)).clamp(0.0, 1.0))
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
            arithmetics: Vec::new(),
        }
    }

    #[test]
    fn a_claim_holds_from_its_figure_on() {
        let found: Vec<Verdict> = of_network(&network(0.85)).iter().map(|claim| claim.verdict).collect();
        assert_eq!(found, [Verdict::Holds; 2]);
        let worse = of_network(&network(1.5));
        assert_eq!((worse[0].verdict, worse[1].verdict), (Verdict::Holds, Verdict::Fails));
        assert_eq!(worse[1].found, "50.0 % more");
    }

    #[test]
    fn a_sample_shows_no_more_than_it_can() {
        // From the formula by hand: 9 of 10, and the ends.
        let [low, high] = wilson(0.9, 10);
        assert!((low - 0.5958).abs() < 1e-4 && (high - 0.9821).abs() < 1e-4, "{low} {high}");
        assert!(wilson(1.0, 40)[1] > 1.0 - 1e-12 && wilson(0.0, 40)[0] < 1e-12);
        for (right, images, verdict) in [
            // All of 300 leave room for 99.24 % being wrong by more than the claim allows.
            (1.0, 300, Verdict::Open),
            (1.0, 5000, Verdict::Holds),
            (0.9924, 5000, Verdict::Open),
            (0.98, 5000, Verdict::Fails),
            (0.98, 50, Verdict::Open),
        ] {
            let mut network = network(1.0);
            network.sessions.push(Session::with_accuracy("ours", right, images));
            let claim = accuracy(&network).unwrap();
            assert_eq!(claim.verdict, verdict, "{}", claim.found);
            assert!(claim.found.contains(&format!("of {images} images")), "{}", claim.found);
        }
    }
}
