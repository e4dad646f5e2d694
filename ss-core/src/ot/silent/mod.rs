//! Silent transfer extension: millions of random transfers out of 0.1 byte each.
//!
//! Ferret (Yang, Weng, Lan, Zhang, Wang, CCS 2020, eprint 2020/924) with regular noise, over the correlated
//! trees of Half-Tree (Guo, Yang, Wang, Zhang, Xie, Liu, Zhao, EUROCRYPT 2023, eprint 2022/1431), in the
//! semi-honest setting. A *correlated transfer* is a pair of equations
//!
//! > M = K ⊕ b·Δ,  the sender has K and Δ, the receiver b and M.
//!
//! | module | what |
//! |---|---|
//! | [`params`] | the four parameter sets, sizes, choice by demand |
//! | `tree` | h correlated transfers into 2^h with one bit set |
//! | `code` | the local linear code that hides where the bits are |
//! | `pool` | iterations in stock, expanded tree by tree as transfers are taken |
//! | [`sender`], [`receiver`] | the two ends |
//!
//! **Iteration.** A base of k + t·h correlated transfers is split: k entries stay as the secret of the code,
//! h go into each of t trees. Leaf j of all trees and row j of the code give output j,
//!
//! > K'_j = v_j ⊕ (A·K)_j,  M'_j = w_j ⊕ (A·M)_j,  b'_j = e_j ⊕ (A·b)_j,
//!
//! where e is 1 at one leaf of every tree. Outputs of the last trees are the base of the next iteration; the
//! first base comes from an [`ExtensionReceiver`](super::ExtensionReceiver) and its sender, before its hash.
//!
//! | message | who | bytes |
//! |---|---|---|
//! | request | receiver → sender | first iteration: [`SilentParams::first_request_len`]; later: empty |
//! | answer | sender → receiver | [`SilentParams::answer_len`]: per tree the sums `K_i ⊕ L_i` of levels 2 to h |
//!
//! Two savings over the papers' description. The place of a tree's set bit is what the choice bits of its h
//! base transfers say (its path turns right at level i where bit i is 0), instead of a random place that flip
//! bits would have to announce; it is uniform for the sender just the same. And the root of a tree is the
//! sender's `K_1` itself, of which the receiver already has `M_1 = K_1 ⊕ b_1·Δ`, the node of level 1 that it
//! is to know: level 1 sends nothing. So neither party needs a generator here, all is a function of the base.
//!
//! **Lowest bits.** Δ is odd. K has bit 0 cleared and bit 0 of M is b; trees and code keep it so, and choice
//! bits take no room and no time of their own.
//!
//! **Cost** per transfer at (1170, 17, 11): 0.083 bytes on the wire; AES blocks: one for the leaf, two for the
//! places of the code, four (sender) or two (receiver) for the pads, and another for the sender's answer; ten
//! reads from a table of 2 MiB.
//!
//! **Laziness.** Per iteration in stock a party holds k blocks of the base (1 to 8 MiB) and per tree the root
//! (16 bytes), or h sums and the path. A tree is expanded when its transfers are taken, the kept trees when
//! the next iteration begins, so memory does not grow with the batch: beside what is handed out, one tree of
//! 2^h blocks per thread.
//!
//! **Pads.** A transfer taken is hashed with the tweakable hash of [`crate::hash`] under a running number i that is
//! never used twice: H(M, i) for the receiver, H(K, i) and H(K ⊕ Δ, i) for the sender. The key is that of the tree
//! that the transfer comes from, number i div 2^h in this session (`TweakedHash::part`), so at most 2^13 transfers
//! share one. The hash inside the trees and the code have public keys of their own, new in every iteration.
//!
//! **Security**, semi-honest:
//!
//! * *Against the sender.* It gets nothing but the first request, which the extension masks. The places of
//!   the set bits are choice bits of the base, uniform for it; the choices handed out are A·b ⊕ e with b
//!   uniform, pseudorandom by learning parity with regular noise for the sets of [`params`].
//! * *Against the receiver.* Every answer block is, by what the receiver knows, the sum of known nodes and of
//!   one sibling of its path, H(y ⊕ Δ) or H(y ⊕ Δ) ⊕ y ⊕ Δ with y known and different in all uses but with
//!   negligible probability: pseudorandom while Δ is unknown, since H is circular correlation-robust for Δ.
//!   That is the argument of Half-Tree for its correlated trees; the tweakable hash does the same for the
//!   pads. 127 bits of Δ are secret.
//!
//! Not promised: anything against a party that deviates. A sender that changes a bit of an answer makes pads
//! of both sides differ, everywhere the code reads what it changed, and can learn from which transfers fail.
//!
//! ```
//! # use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
//! # use ss_core::ot::{ExtensionParams, ReceiverSetup, SenderSetup};
//! use ss_core::ot::silent::{SilentParams, SilentReceiver, SilentSender};
//! # let mut rng = ChaCha20Rng::from_seed([7; 32]); // an example; use the system's generator
//! # let session = [1u8; 32];
//! # let params = ExtensionParams::default();
//! # let (message1, receiver) = ReceiverSetup::begin(&session, params, &mut rng);
//! # let (message2, sender) = SenderSetup::begin(&session, params, &mut rng, &message1)?;
//! # let (message3, extension_receiver) = receiver.finish(&mut rng, &message2)?;
//! # let extension_sender = sender.finish(&message3)?;
//! let params = SilentParams::for_demand(500_000);
//! let mut receiver = SilentReceiver::new(&session, extension_receiver, params);
//! let mut sender = SilentSender::new(&session, extension_sender, params);
//!
//! let request = receiver.refill_begin()?;
//! let answer = sender.refill(&request)?;
//! receiver.refill_finish(&answer)?;
//!
//! let (mine, theirs) = (receiver.take_random(1000)?, sender.take(1000)?);
//! let choice = usize::from(mine.choices()[7]);
//! assert_eq!(mine.pads()[7], theirs.pairs()[7][choice]);
//! # Ok::<(), ss_core::error::SsError>(())
//! ```

mod code;
pub mod params;
mod pool;
pub mod receiver;
pub mod sender;
mod tree;

pub use params::SilentParams;
pub use receiver::SilentReceiver;
pub use sender::SilentSender;

use crate::secret::Secret;

/// Secret blocks of correlated transfers, wiped on drop.
type Blocks = Secret<u128>;

#[cfg(test)]
mod tests;
