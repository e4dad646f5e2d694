//! Flags for the constructions of a session, and for a modelled link to try them on.
//!
//! | flag | client ([`MethodFlags`]) | server ([`ServeMethods`]) |
//! |---|---|---|
//! | transfers | `--transfers`: which to ask for | `--field-bits`: the default, `--no-silent` |
//! | base transfers | `--base` | `--post-quantum`: by ML-KEM only |
//! | round trips of activations | `--rounds` | `--no-one-round` |
//! | preprocessing of linear layers | `--preprocessing` | `--preprocessing`: a list |
//! | a modelled link | `--link`: for what this end sends | `--link`: likewise |
//!
//! A client that asks for nothing takes what the server allows; what it does ask for the server may refuse. Words are an
//! interface, as all names of the command line: the same ones stand in the documents of `--json`.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use protocol::channel::Link;
use protocol::{BaseKind, ClientOptions, Methods, Preprocessing, RoundChoice, Rounds, TransferKind};

use super::OutputFlags;

/// What a client may ask for.
#[derive(Clone, Copy, Debug, Default, Args)]
#[command(next_help_heading = "Methods")]
pub(crate) struct MethodFlags {
    /// Kind of oblivious transfers; default: the server's
    #[arg(long, value_enum, value_name = "KIND")]
    pub(crate) transfers: Option<TransfersName>,
    /// What the base transfers rest on; default: ristretto, where the server allows it
    #[arg(long, value_enum, value_name = "KIND")]
    pub(crate) base: Option<BaseName>,
    /// Round trips of an activation; default: auto
    #[arg(long, value_enum, value_name = "CHOICE")]
    pub(crate) rounds: Option<RoundsName>,
    /// Construction of the linear layers' preprocessing; default: the first that the server allows
    #[arg(long, value_enum, value_name = "KIND")]
    pub(crate) preprocessing: Option<PreprocessingName>,
    /// For trying things out: delay what this side sends as over a slower link: `lan`, `wan`, or rate and
    /// round trip as in `100mbit/40ms`. Half of the round trip is this direction's; `serve --link` has the other
    #[arg(long, value_name = "LINK")]
    pub(crate) link: Option<Link>,
}

/// What a server allows.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Methods")]
pub(crate) struct ServeMethods {
    /// Field bits of the transfer extension (1, 2, 4 or 8) for clients that do not choose: more are fewer
    /// bytes and more hashing
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = field_bits)]
    pub(crate) field_bits: u32,
    /// Take base transfers by ML-KEM only, none by Diffie–Hellman. All then rests on lattices and symmetric
    /// primitives, and on LPN where a client chooses silent transfers; parameters are sized for classical attacks
    #[arg(long)]
    pub(crate) post_quantum: bool,
    /// Refuse silent transfers, which take more memory and work
    #[arg(long)]
    pub(crate) no_silent: bool,
    /// Refuse activations in one round trip, which take more bytes and memory
    #[arg(long)]
    pub(crate) no_one_round: bool,
    /// Constructions of the linear layers' preprocessing that clients may choose among
    #[arg(
        long,
        value_enum,
        value_name = "KINDS",
        value_delimiter = ',',
        default_value = "split,bfv,ckks,bfv-packed"
    )]
    pub(crate) preprocessing: Vec<PreprocessingName>,
    /// For trying things out: delay what the server sends as over a slower link: `lan`, `wan`, or rate and
    /// round trip as in `100mbit/40ms`. Half of the round trip is this direction's; the client's --link has the other
    #[arg(long, value_name = "LINK")]
    pub(crate) link: Option<Link>,
}

/// Names of the transfers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TransfersName {
    /// SoftSpoken over bits: most bytes, least hashing
    #[value(name = "soft-1")]
    Soft1,
    /// SoftSpoken over a field of 2 bits
    #[value(name = "soft-2")]
    Soft2,
    /// SoftSpoken over a field of 4 bits
    #[value(name = "soft-4")]
    Soft4,
    /// SoftSpoken over a field of 8 bits: fewest bytes, most hashing
    #[value(name = "soft-8")]
    Soft8,
    /// Expanded from a few (LPN): next to no bytes, more memory and work
    Silent,
}

/// Names of the base transfers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BaseName {
    /// Diffie–Hellman over Ristretto255: small messages, falls to a quantum computer
    Ristretto,
    /// ML-KEM-768: lattices, some 600 KB each way per connection
    MlKem,
}

/// Names of the choices of round trips.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoundsName {
    /// Measure the link, then whatever is faster, step by step
    Auto,
    /// One round trip and more bytes, by garbled circuits
    One,
    /// Three round trips and the fewest bytes
    Three,
}

/// Names of the constructions of the preprocessing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PreprocessingName {
    /// Products with weights done before any client comes: fewest bytes, least work
    Split,
    /// Encrypted masks, products and uniform masks: right to a unit, megabytes and more work
    Bfv,
    /// Encrypted masks in slots, rotations: the paper's
    Ckks,
    /// As bfv, sparse replies packed by key switching: fewer bytes per image, megabytes of keys per session
    BfvPacked,
}

impl MethodFlags {
    /// The options of a session that asks for these and that output.
    pub(crate) fn options(&self, output: OutputFlags) -> ClientOptions {
        let mut options = output.into_options(ClientOptions::new()).rounds(self.rounds_name().into());
        if let Some(transfers) = self.transfers {
            options = options.transfers(transfers.into());
        }
        if let Some(base) = self.base {
            options = options.base(base.into());
        }
        if let Some(preprocessing) = self.preprocessing {
            options = options.preprocessing(preprocessing.into());
        }
        options
    }

    /// The choice of round trips, the default included.
    pub(crate) fn rounds_name(&self) -> RoundsName {
        self.rounds.unwrap_or(RoundsName::Auto)
    }

    /// The first flag given that only matters where something is prepared.
    pub(crate) fn of_preparing(&self) -> Option<&'static str> {
        let given = [
            (self.transfers.is_some(), "--transfers"),
            (self.base.is_some(), "--base"),
            (self.rounds.is_some(), "--rounds"),
        ];
        given.into_iter().find_map(|(is_given, flag)| is_given.then_some(flag))
    }
}

impl ServeMethods {
    /// The constructions that clients may choose among.
    pub(crate) fn allowed(&self) -> Methods {
        Methods {
            silent: !self.no_silent,
            ristretto: !self.post_quantum,
            one_round: !self.no_one_round,
            split: self.preprocessing.contains(&PreprocessingName::Split),
            bfv: self.preprocessing.contains(&PreprocessingName::Bfv),
            ckks: self.preprocessing.contains(&PreprocessingName::Ckks),
            bfv_packed: self.preprocessing.contains(&PreprocessingName::BfvPacked),
            ..Methods::default()
        }
    }
}

impl From<TransfersName> for TransferKind {
    fn from(name: TransfersName) -> Self {
        match name {
            TransfersName::Soft1 => Self::SoftSpoken { field_bits: 1 },
            TransfersName::Soft2 => Self::SoftSpoken { field_bits: 2 },
            TransfersName::Soft4 => Self::SoftSpoken { field_bits: 4 },
            TransfersName::Soft8 => Self::SoftSpoken { field_bits: 8 },
            TransfersName::Silent => Self::Silent,
        }
    }
}

impl From<BaseName> for BaseKind {
    fn from(name: BaseName) -> Self {
        match name {
            BaseName::Ristretto => Self::Ristretto,
            BaseName::MlKem => Self::MlKem,
        }
    }
}

impl From<RoundsName> for Rounds {
    fn from(name: RoundsName) -> Self {
        match name {
            RoundsName::Auto => Self::Auto,
            RoundsName::One => Self::One,
            RoundsName::Three => Self::Three,
        }
    }
}

impl From<PreprocessingName> for Preprocessing {
    fn from(name: PreprocessingName) -> Self {
        match name {
            PreprocessingName::Split => Self::Split,
            PreprocessingName::Bfv => Self::Bfv,
            PreprocessingName::Ckks => Self::Ckks,
            PreprocessingName::BfvPacked => Self::BfvPacked,
        }
    }
}

/// The word of the command line that means `kind`, for any of these names.
pub(crate) fn word<N: ValueEnum + Copy + Into<K>, K: PartialEq>(kind: &K) -> String {
    let name = N::value_variants().iter().find(|&&name| name.into() == *kind);
    let value = name.and_then(ValueEnum::to_possible_value);
    value.map_or_else(|| "unknown".to_owned(), |value| value.get_name().to_owned())
}

/// The choices of round trips that need no link to choose by.
pub(super) fn one_or_three() -> impl TypedValueParser<Value = RoundChoice> {
    let choice = |word: String| if word == "one" { RoundChoice::One } else { RoundChoice::Three };
    PossibleValuesParser::new(["one", "three"]).map(choice)
}

fn field_bits(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(value @ (1 | 2 | 4 | 8)) => Ok(value),
        _ => Err("it has to be 1, 2, 4 or 8".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_word() {
        let soft = |field_bits| TransferKind::SoftSpoken { field_bits };
        let words = [soft(1), soft(2), soft(4), soft(8), TransferKind::Silent]
            .map(|kind| word::<TransfersName, _>(&kind));
        assert_eq!(words, ["soft-1", "soft-2", "soft-4", "soft-8", "silent"]);
        let words = BaseKind::ALL.map(|kind| word::<BaseName, _>(&kind));
        assert_eq!(words, ["ristretto", "ml-kem"]);
        let words = [Rounds::Auto, Rounds::One, Rounds::Three].map(|choice| word::<RoundsName, _>(&choice));
        assert_eq!(words, ["auto", "one", "three"]);
        let words = Preprocessing::ALL.map(|kind| word::<PreprocessingName, _>(&kind));
        assert_eq!(words, Preprocessing::ALL.map(Preprocessing::name));
        assert_eq!(word::<TransfersName, _>(&soft(3)), "unknown");
    }

    #[test]
    fn flags_become_options() {
        let (labels, logits) = (OutputFlags::default(), OutputFlags { logits: true, top: None });
        assert_eq!(MethodFlags::default().options(logits), ClientOptions::new().logits(true));
        let flags = MethodFlags {
            transfers: Some(TransfersName::Silent),
            base: Some(BaseName::MlKem),
            rounds: Some(RoundsName::One),
            preprocessing: Some(PreprocessingName::Bfv),
            link: None,
        };
        let options = ClientOptions::new().transfers(TransferKind::Silent).base(BaseKind::MlKem);
        assert_eq!(flags.options(labels), options.rounds(Rounds::One).preprocessing(Preprocessing::Bfv));
        assert_eq!(flags.of_preparing(), Some("--transfers"));
        assert_eq!(MethodFlags { link: Some(Link::WAN), ..MethodFlags::default() }.of_preparing(), None);
    }
}
