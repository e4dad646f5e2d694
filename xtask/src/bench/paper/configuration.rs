//! What is compared: our defaults, one thing changed at a time, and the constructions of published systems.

use protocol::{Preprocessing, Rounds};

/// One way to run a network.
#[derive(Debug)]
pub(super) struct Configuration {
    /// Short name, for tables and `--only`.
    pub(super) name: &'static str,
    /// What it is, in a sentence for the report.
    pub(super) what: &'static str,
    /// Merged, or as written.
    pub(super) merging: bool,
    /// How masks' products are made.
    pub(super) preprocessing: Preprocessing,
    /// Round trips of activations.
    pub(super) rounds: Rounds,
    /// Whether the input-independent half is made ahead of the input; if not, all of it counts as online.
    pub(super) precomputed: bool,
    /// Most bundles that are measured, and most test images: some constructions take their time.
    pub(super) most_bundles: usize,
    pub(super) most_images: usize,
    /// Images per bundle when accuracy is measured.
    pub(super) bundle: usize,
}

const OURS: Configuration = Configuration {
    name: "ours",
    what: "merged network, `split` preprocessing, activations by transfers, everything at its default",
    merging: true,
    preprocessing: Preprocessing::Split,
    rounds: Rounds::Auto,
    precomputed: true,
    most_bundles: usize::MAX,
    most_images: usize::MAX,
    bundle: 32,
};

/// Test images of the others: enough for an interval of about one percent.
const OTHERS: usize = 1000;

/// In the order of the tables; the first is what the others are compared with.
const ALL: &[Configuration] = &[
    OURS,
    Configuration {
        name: "unmerged",
        what: "as `ours`, the network as it was written: every normalisation and every pool a step of its own",
        merging: false,
        most_images: OTHERS,
        ..OURS
    },
    Configuration {
        name: "bfv",
        what: "as `ours`, masks' products under BFV: exact, client's ciphertexts up, masked products down",
        preprocessing: Preprocessing::Bfv,
        most_images: OTHERS,
        ..OURS
    },
    Configuration {
        name: "bfv-packed",
        what: "as `bfv`, sparse replies joined by key switching where that pays within a session",
        preprocessing: Preprocessing::BfvPacked,
        most_images: OTHERS,
        ..OURS
    },
    Configuration {
        name: "ckks",
        what: "as `ours`, masks' products under CKKS in slots, matrices by rotations: the paper's preprocessing",
        preprocessing: Preprocessing::Ckks,
        most_bundles: 2,
        most_images: 200,
        // As many as share a ciphertext.
        bundle: 2,
        ..OURS
    },
    Configuration {
        name: "delphi-like",
        what: "in the manner of GAZELLE and Delphi: network as written, BFV ahead of the input, garbled circuits",
        merging: false,
        preprocessing: Preprocessing::Bfv,
        rounds: Rounds::One,
        most_images: OTHERS,
        bundle: 8,
        ..OURS
    },
    Configuration {
        name: "cheetah-like",
        what: "in the manner of Cheetah: network as written, BFV in coefficients, transfers, nothing made ahead",
        merging: false,
        preprocessing: Preprocessing::Bfv,
        rounds: Rounds::Three,
        precomputed: false,
        most_images: OTHERS,
        ..OURS
    },
];

/// All of them; a smoke run keeps to the quick ones.
pub(super) fn all(smoke: bool) -> impl Iterator<Item = &'static Configuration> {
    ALL.iter().filter(move |configuration| !smoke || configuration.most_bundles == usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_ours_comes_first() {
        let names: std::collections::HashSet<&str> =
            ALL.iter().map(|configuration| configuration.name).collect();
        assert_eq!((names.len(), ALL[0].name), (ALL.len(), "ours"));
        assert!(
            ALL.iter()
                .filter(|one| one.name.ends_with("-like"))
                .all(|one| one.what.contains("in the manner"))
        );
    }

    #[test]
    fn a_smoke_run_leaves_out_what_takes_long() {
        assert!(all(true).all(|configuration| configuration.name != "ckks"));
        assert_eq!(all(false).count(), ALL.len());
    }
}
