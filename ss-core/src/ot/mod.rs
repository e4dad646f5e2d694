//! Oblivious transfer: from nothing but a session identifier to millions of random transfers.
//!
//! A *random oblivious transfer* (ROT) gives one party, the sender, two random 128-bit pads `k0, k1`, and the
//! other, the receiver, a bit `c` and the pad `k_c`. The sender learns nothing about `c`, the receiver
//! nothing about `k_{1−c}`. All activation protocols of this crate consume ROTs and nothing else.
//!
//! | module | what | source |
//! |---|---|---|
//! | [`base`] | 128 transfers from the discrete logarithm, or from lattices | Chou, Orlandi, LATINCRYPT 2015; Masny, Rindal, CCS 2019 |
//! | `ggm` | puncturable pseudorandom functions from the base transfers | Goldreich, Goldwasser, Micali; Roy 2022 |
//! | `vole` | small-field vector oblivious linear evaluation by expanding the trees | Roy 2022, figure 7 |
//! | `transpose` | bit matrices, 128 × n to n × 128 | |
//! | [`setup`] | three messages that give both parties their trees | Roy 2022 |
//! | [`softspoken`] | the extension: any number of ROTs, one message per batch | Roy 2022 |
//! | [`silent`] | the silent extension: millions of ROTs out of 0.1 byte each | Yang et al. 2020, Guo et al. 2023 |
//! | `check` | running consistency check of the extension | Roy 2022, section 4 |
//! | [`rot`] | the ROTs as one-time material | |
//! | [`chosen`] | from ROTs to chosen, correlated and 1-of-2^w transfers | Beaver, CRYPTO 1995; Naor, Pinkas, STOC 1999 |
//! | [`pads`] | 1-of-2^w pads for short tables | after Naor, Pinkas, STOC 1999 |
//!
//! Roy 2022 is *SoftSpokenOT: quieter OT extension from small-field silent VOLE in the Minicrypt model*, CRYPTO
//! 2022, eprint 2022/192.
//!
//! Everything is sans-IO: functions take and give byte vectors. Security is against semi-honest parties. Beyond that a
//! consistency check ([`ExtensionReceiver::prove`], [`ExtensionSender::verify`]) finds a receiver of the extension that puts
//! different choices into different rows, and nothing else is claimed against parties that deviate; bytes from the other
//! party are still never trusted to have the right length or form.
//!
//! ```
//! use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
//! use ss_core::ot::{ExtensionParams, ReceiverSetup, SenderSetup};
//! # let mut rng = ChaCha20Rng::from_seed([7; 32]); // an example; use the system's generator
//! let session = [1u8; 32];
//! let params = ExtensionParams::default();
//! let (message1, receiver) = ReceiverSetup::begin(&session, params, &mut rng);
//! let (message2, sender) = SenderSetup::begin(&session, params, &mut rng, &message1)?;
//! let (message3, mut receiver) = receiver.finish(&mut rng, &message2)?;
//! let mut sender = sender.finish(&message3)?;
//!
//! let (message, mine) = receiver.extend(&[1, 0, 1])?;
//! let theirs = sender.extend(3, &message)?;
//! assert_eq!(mine.pads()[1], theirs.pairs()[1][0]);
//! assert_eq!(mine.pads()[2], theirs.pairs()[2][1]);
//! # Ok::<(), ss_core::error::SsError>(())
//! ```

pub mod base;
mod check;
pub mod chosen;
mod ggm;
pub mod pads;
pub mod rot;
pub mod setup;
pub mod silent;
pub mod softspoken;
mod transpose;
mod vole;

pub use base::BaseKind;
pub use rot::{RotReceiver, RotSender};
pub use setup::{ReceiverSetup, SenderSetup, SetupParams};
pub use softspoken::{ExtensionParams, ExtensionReceiver, ExtensionSender};
