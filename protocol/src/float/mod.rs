//! **Insecure**: inference on additive shares of real numbers, as floating-point numbers.
//!
//! The online stage of the published scheme (Chen, Yang, Zhang, Ma, FITEE 26(9), 2025) shares real numbers: the server
//! holds x − r, the client r, and both are floating-point numbers. There is no uniform law on the reals, so such a share
//! always tells something about x: with r uniform in ±M and |x| ≤ X, the statistical distance of two inputs' shares is
//! X/M at worst, and 53 bits of a number leave no room for an M at which that would be negligible over all elements. The
//! default of this project shares in rings, where the same distance is zero. This kind of session is here to be measured
//! beside it; it runs only where both parties ask for it, and says what it is in help, log, documents and results.
//!
//! Networks are chains of linear maps with squares or ReLUs between ([`crate::encrypted::chain`], which names the layer
//! that is in the way of others): u_l = W_l x_l + b_l, and x_(l+1) = u_l², element by element, or x_(l+1) = max(u_l, 0),
//! of the largest element of each window where there is a max-pool.
//!
//! # Ahead of the images, per bundle
//! | | from | content |
//! |---|---|---|
//! | 1 | C | for every l: CKKS encryptions of masks r_l, two images as real and imaginary parts |
//! | 2 | S | for every l: encryptions of c_l = W_l r_l − s_l, re-randomised; S keeps s_l |
//! | 3 | C | for every square: encryptions of c_l |
//! | 4 | S | for every square: encryptions of e_l = 2 d_l c_l − t_l, re-randomised; S keeps d_l and t_l |
//! | 5 | S, C | for every ReLU: the halves of its steps, C's from c_l and r_(l+1) ([`activation`]) |
//!
//! # With the images
//! | | from | content | then |
//! |---|---|---|---|
//! | 1 | C | X_1 = x_1 − r_1 | S: a_l = W_l X_l + s_l + b_l, so u_l = a_l + c_l |
//! | 2 | S | D_l = a_l − d_l | C: y_l = D_l + c_l = u_l − d_l |
//! | 3 | C | V_l = y_l² + e_l − r_(l+1) | S: X_(l+1) = V_l + d_l² + 2 D_l d_l + t_l = u_l² − r_(l+1) |
//! | 2, 3 | S, C | for a ReLU: the messages of its steps, which begin with a_l and c_l | S: X_(l+1) = x_(l+1) − r_(l+1) |
//! | 4 | S | a_L | C: logits (a_L + c_L) times their unit, the label itself |
//!
//! Steps 2 and 3 are one round trip per square; per ReLU three, and three for each level of its max-pool. Steps have their
//! own messages ([`crate::steps`]), and take transfers, by the server's defaults, from base transfers in the session's
//! set-up; networks of squares have neither. All other numbers on the wire are doubles, 8 bytes each, finite and below the
//! plan's bounds, or the message is malformed. S computes a_l by [`conv_fast::FloatConv`], prepared once.
//!
//! **Opened values.** What is squared is u_l as C's y_l and S's d_l, not as a_l and c_l: c_l is 2^g times a row sum of
//! weights larger than u_l, and its square would cost 2^(2g) of the 53 bits instead of what t_l costs.
//!
//! **Grids.** A mask drawn as a double lies on a grid, and bits of x below it show through whatever the mask is. So x_1,
//! y_l² + e_l and a_l − d_l, a_L are rounded to multiples of a public 2^-j first, masks r lie on the same grid, and j is
//! such that every sum is exact in 53 bits ([`Plan`] has the grids). Only then is the distance that of the table below.
//!
//! **Encodings.** An encoded vector is the nearest integer polynomial. c_l, d_l and t_l are *what was encoded*, decoded
//! with 128-bit integers, not what was meant; what is left of the scheme's noise in e_l is some 2^-17. Slots without an
//! element, and imaginary parts, are masked like the others.
//!
//! # What is hidden, and how badly
//! g are the *mask bits*, 4 to 24, which the client asks for. [`Distance`] sums over all elements:
//!
//! | seen by | what | mask | distance per element |
//! |---|---|---|---|
//! | S | x_1, by X_1 | r_1, ±2^g times the power of two above the inputs' limit | 2^-g at most |
//! | S | x_(l+1) behind a square, by V_l | r_(l+1), ±2^g · 4 | 2^-(g+1) and half a grid step |
//! | S | x_(l+1) behind a ReLU, by X_(l+1) | r_(l+1), ±2^g · 2 | 2^-(g+1) and half a grid step |
//! | C | u_l before a square, by D_l and e_l together | d_l, ±2^g · 2, and t_l, ±2^g · 4 times a bound on c_l | 2 · 2^-g |
//! | C | u_l before a ReLU | nothing is opened | 0, up to the steps' transfers and hashes |
//! | C | W_l, by c_l | s_l, ±2^g times the bound on u_l | **1**: W_l r_l is as large as s_l |
//!
//! The last row is no slip: a mask 2^g times larger than W_l r_l would have 2g bits, and d_l c_l, like its mask t_l, 3g
//! and more: at g = 16 that is all a double has. (Before a ReLU and behind the last map nothing is multiplied with c_l, and a
//! double would have room for wider s_l: masks are the same everywhere all the same.) So weights are not hidden at all in a statistical sense: every bundle gives the client
//! noisy linear equations for them. The bounds on u_l are those of calibration; who computes on other inputs has larger
//! values under the same masks. Encryptions of masks hide them from S as RLWE samples do. Distances in S's favour
//! count the masks d_l and t_l as continuous, without the rounding of their encodings.
//!
//! | room | what |
//! |---|---|
//! | [`layout`], [`plan`] | slots and rotations; magnitudes, grids, distances |
//! | [`masks`] | numbers on grids, and encodings as what they encode |
//! | [`activation`] | ReLU and max-pooling by the steps of the ring protocol |
//! | [`client`], [`server`] | the two halves without messages |
//! | [`session`], `serving` | the messages and their checks, the client's and the server's |

pub mod activation;
pub mod client;
pub mod layout;
pub mod masks;
pub mod plan;
pub mod server;
pub(crate) mod serving;
pub mod session;

pub use client::{Answers, Bundle};
pub use layout::Layouts;
pub use plan::{DEFAULT_MASK_BITS, Distance, MASK_BITS, Plan};
pub use server::Ready;
pub use session::FloatSession;

/// What a server computes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arithmetic {
    /// Rings: everything else in this crate.
    #[default]
    Ring,
    /// Floating-point shares, and nothing else: **insecure**.
    Float,
}

/// The sentence that goes before everything in this arithmetic.
pub const WARNING: &str =
    "INSECURE: floating-point shares leak their values; for comparisons only, never for data that matter";

#[cfg(test)]
mod tests;
