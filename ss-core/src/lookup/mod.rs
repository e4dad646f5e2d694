//! Smooth activations by a garbled table of short polynomials: one round trip, few bytes online.
//!
//! y is shared as m + c modulo 2^k, m at the server and online, c at the client and offline. The server's top g bits i of
//! m and the client's c together say where y is: for given c, entry i covers the 2^u values y = a_i + x, where a_i =
//! i·2^u + c (a signed k-bit number) and x is the rest of m. There the client approximates f by a polynomial
//! ([`crate::spline`]) with integer coefficients, offline, for all 2^g entries:
//!
//! > f(y) ≈ 2^e0·β_i + 2^e1·α_i·x + 2^e2·γ_i·T(x) in Z_2^w, times 2^shift
//!
//! T is the square part: with x̂ the top q bits of x and s = x̂ − 2^(q−1), (2s + 1)² = 8·T + 1, T = s(s + 1)/2 ≥ 0, a
//! number of only 2q − 3 bits, half the bits of x². Degree 1 is without T. The table in the clear would tell the server
//! f at its own i, so the three coefficients are shifted by masks r_β, r_α, r_γ common to an element's entries, and
//! the server obtains r_β + r_α·x + r_γ·T + κ as a sum of products ([`crate::product`]).
//!
//! **The table** is sent offline, in the order of i, entry i under the key L ⊕ ⊕_b i_b·Δ_b. One random transfer per bit
//! of i, in which the server has ρ_b and k_b^{ρ_b}, defines Δ_b = k_b^0 ⊕ k_b^1 without a message; L is the client's. Online
//! the server sends φ = i ⊕ ρ, the client answers with the one block **L ⊕ ⊕_b k_b^{φ_b}**, and that, together with the
//! server's own ⊕_b k_b^{ρ_b}, is L ⊕ ⊕_b i_b·Δ_b: the key of entry i. A table of any width is so opened with 16 bytes.
//!
//! | message | from | content | bits per element |
//! |---|---|---|---|
//! | corrections | C, offline | 32 bytes that key the hash, once; corrections of the products; the table | 2^g entries of whole bytes, and the products' |
//! | S1 | S | φ of x and T; φ of i | u + (2q − 3) + g |
//! | C1 | C | the sum for the products, with κ; the aligned keys | w + shift + 128 |
//!
//! **Parameters** follow from the function, its input (k bits, one unit worth `step`), its output (p = w + shift bits, 1.0
//! worth `scale`), g and the degree: as many low bits h of both shares are dropped, q is as small, and shift as great, as
//! keeps each of their errors within a quarter of the interpolation's. [`LookupSpec::error_bound`] is the sum of all,
//! for |y| < 2^(k−1) − 2^(k−g) − 2^(h+1):
//!
//! | part | at most |
//! |---|---|
//! | interpolation | [`crate::spline`], with pieces of length 2^(k−g)·step |
//! | h dropped bits | max\|f'\|·(2^h − 1)·step |
//! | x̂ for x in the square | max\|f''\|·length²/4·2^−q; nothing where q = u |
//! | coefficients rounded to integers | (2^(e1+u−2) + 2^(e2+2q−5) + 2^(e0−1))·2^shift/scale |
//!
//! The last line is why the output ring has more *fraction bits* than the result is good for: p must exceed the wanted
//! precision by about max(u, 2q − 3) bits. Where the next ring has fewer bits, both parties drop low bits of their
//! output share and of κ: shares of a point of the circle, so that costs one unit and never wraps.
//!
//! The output ring needs room for the error beside the values: a result of 1 + 2^−10 wraps to −1 in a ring that spans ±1.
//! [`LookupSpec::new`] refuses that, so sigmoid and tanh want a scale a little below half the ring.
//!
//! Measured on 10^6 random and edge arguments each, with a 46-bit output ring that spans ±2 for sigmoid and tanh, ±8 for
//! GELU and SiLU, ±16 for the others (degree d; errors are real; bytes per element: offline without the transfers
//! themselves, and at rest with the client; the server holds the offline bytes and about 20 more):
//!
//! | function, range | k | g | d | h | error | bound | transfers | offline | online | client |
//! |---|---|---|---|---|---|---|---|---|---|---|
//! | sigmoid ±8 | 16 | 4 | 2 | 1 | 7.6e-4 | 9.4e-4 | 28 | 206 | 25.2 | 147 |
//! | sigmoid ±8 | 16 | 5 | 2 | 0 | 9.3e-5 | 1.1e-4 | 31 | 399 | 25.6 | 180 |
//! | sigmoid ±8 | 20 | 5 | 2 | 2 | 1.0e-4 | 1.2e-4 | 33 | 438 | 25.9 | 187 |
//! | sigmoid ±8 | 20 | 6 | 2 | 0 | 1.2e-5 | 1.4e-5 | 37 | 878 | 26.4 | 227 |
//! | tanh ±4 | 16 | 4 | 2 | 1 | 1.5e-3 | 1.9e-3 | 28 | 203 | 25.2 | 144 |
//! | tanh ±4 | 16 | 5 | 2 | 0 | 1.8e-4 | 2.2e-4 | 31 | 396 | 25.6 | 177 |
//! | tanh ±4 | 20 | 5 | 2 | 2 | 2.0e-4 | 2.4e-4 | 33 | 403 | 25.9 | 184 |
//! | tanh ±4 | 20 | 6 | 2 | 0 | 2.3e-5 | 2.8e-5 | 37 | 874 | 26.4 | 223 |
//! | gelu ±8 | 16 | 4 | 2 | 2 | 5.1e-3 | 6.2e-3 | 27 | 203 | 25.1 | 144 |
//! | gelu ±8 | 16 | 5 | 2 | 0 | 5.7e-4 | 6.7e-4 | 31 | 399 | 25.6 | 180 |
//! | gelu ±8 | 20 | 5 | 2 | 3 | 6.4e-4 | 7.9e-4 | 32 | 435 | 25.8 | 183 |
//! | gelu ±8 | 20 | 6 | 2 | 0 | 7.1e-5 | 8.4e-5 | 37 | 878 | 26.4 | 227 |
//! | silu ±8 | 16 | 4 | 2 | 1 | 1.9e-3 | 2.4e-3 | 30 | 232 | 25.5 | 157 |
//! | silu ±8 | 16 | 5 | 2 | 0 | 2.3e-4 | 2.7e-4 | 33 | 443 | 25.9 | 192 |
//! | silu ±8 | 20 | 5 | 2 | 1 | 2.3e-4 | 2.8e-4 | 36 | 454 | 26.2 | 203 |
//! | silu ±8 | 20 | 6 | 2 | 0 | 3.0e-5 | 3.3e-5 | 39 | 956 | 26.6 | 241 |
//! | softplus ±8 | 16 | 5 | 2 | 0 | 7.3e-5 | 8.7e-5 | 33 | 485 | 25.9 | 202 |
//! | elu ±8 | 16 | 6 | 1 | 2 | 4.8e-3 | 5.2e-3 | 14 | 339 | 23.5 | 136 |
//!
//! **Security** (semi-honest). The server's view: for all j ≠ i the key of entry j differs from its own by a nonzero sum
//! of Δ_b, each uniform and unknown to it (it has one of k_b^0, k_b^1), so those entries stay under a hash of an unknown
//! block (H of [`crate::hash::TweakedHash`], keyed afresh for every call, the element's number as tweak: the inputs under one
//! tweak are the 2^g keys of one element). The opened coefficients are uniform by r; the products give z + κ only.
//! The client's view: φ is uniform by ρ. The server reads its table in full for every element, whatever i is, and the
//! client evaluates f without branches or tables; everything is used once and consumed by value.
//!
//! Not promised: anything for y outside the range above; the result may then be f at y ± 2^k.

mod client;
mod server;
mod spec;

pub use client::{LookupClient, choices};
pub use server::{LookupFinish, LookupServer, LookupWaiting};
pub use spec::{Input, LookupSpec, Output};

/// The hash of one call: both sides get the 32 bytes with the corrections.
const SESSION_BYTES: usize = 32;

/// Bytes of an aligned key.
const KEY_BYTES: usize = 16;

#[cfg(test)]
mod tests;
