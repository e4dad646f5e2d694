//! The gate: what a sign selects, re-shared under masks that the client fixed in advance.
//!
//! An *element* is a value y = m + c mod 2^k; the server has m, the client c. It has T ≥ 1 *terms*: term t compares y with
//! a threshold τ_t that only the client's share knows, c_t = c − τ_t, and so tests y_t = y − τ_t. With d_t = [y_t ≥ 0],
//! public slopes s_t and a public base slope b a gate computes
//!
//! > z = b·y_0 + Σ_t s_t·d_t·y_t   in Z_2^w, times 2^j, plus κ
//!
//! | activation | terms and slopes | base | [`Lift`] | client's constant κ |
//! |---|---|---|---|---|
//! | ReLU | 1 | 0 | positive | −r, the mask of the next linear layer |
//! | clip: min(max(y, τ_0), τ_1) − τ_0 | +1, −1 | 0 | positive | τ_0·2^j − r |
//! | leaky ReLU, absolute value | positive − negative | negative | guarded | −r |
//! | max(a, b) = b + d·(a−b) | 1, on a − b in Z_2^k | 0 | none | c_b − c', c' the new random share |
//! | arg-max | likewise, and the difference of the indices as a second lane | 0 | none | likewise, per lane |
//!
//! The server ends with z + κ (per lane) and adds what it holds itself; the client ends with nothing new: all its
//! shares were fixed before the input existed. Without a lift the gated values are shared apart from the compared one,
//! as [`Lane`]s of their own; with one, the gated value is the compared value.
//!
//! **Messages**, for n elements; bits are per *term* for the corrections and messages 1 to 5 and per *element* for
//! message 6; ℓ, D as in [`compare`](crate::compare), w a lane's bits, p = w + j:
//!
//! | | from | content | bits | default ReLU |
//! |---|---|---|---|---|
//! | offline | C | corrections of the transfers in which the server chooses (P0 − P1 + V·(1−2d_C)) | Σ w | 32 |
//! | 1 | S | digits ⊕ random indices | ℓ | 11 |
//! | 2 | C | masked digit tables | see there | 64 |
//! | 3 | S | shares of the digits' verdicts ⊕ random index | 2(D−1) | 4 |
//! | 4 | C | masked combining table; the server opens its share d_S of the verdict | 2^(2(D−1)) | 16 |
//! | 5 | S | d_S ⊕ the random choice; corrections for U·(1−2d_S), and the two of the lift | 1 + Σ w (+ 2(w−k)) | 61 |
//! | 6 | C | its sum over all terms plus κ | Σ p | 46 |
//!
//! With D = 1 messages 3 and 4 are empty: the client's random share of the one digit's verdict is then chosen so that
//! the server's opened bit, with its own sign bit, is d_S.
//!
//! **Product.** d·s·y_t splits into d·U and d·V, U = s·A known to the server and V = s·C to the client, and
//! d = d_S + d_C·(1 − 2d_S) = d_C + d_S·(1 − 2d_C): one transfer in which the client chooses d_C, one in which the
//! server chooses.
//!
//! **Lifting** without knowing the sign in advance. The integers A, C stand for m and c_t with A + C ≡ y_t modulo 2^k;
//! what is missing to y_t itself is a multiple of 2^k that is a product of one bit of each party.
//!
//! - *Positive.* A, C the signed values of m and c_t, μ, γ their sign bits: y = A + C + 2^k·μγ whenever y ≥ 0. If the
//!   signs differ, A + C is in range. If μ = γ = 0, A + C is in [0, 2^k) and equals the non-negative y unless it is
//!   2^(k−1) or more, where y would be negative. If μ = γ = 1, A + C is in [−2^k, −2] and y is 2^k more, unless A + C is
//!   −2^(k−1) or more, where again y would be negative. Since only d·y is needed, and d = 1 only where y ≥ 0, that is
//!   enough.
//! - *Guarded*, for −2^(k−2) ≤ y < 2^(k−2), whatever the verdict. Let c'' = c_t + 2^(k−2) mod 2^k, g its top bit,
//!   C = c'' − 2^k·g − 2^(k−2) and A = m unsigned, μ its top bit: y = A + C − 2^k·μ(1 − g). If g = 0, C is in
//!   [−2^(k−2), 2^(k−2)), so y − C is in (−2^(k−1), 2^(k−1)) and congruent to m: it is m as a signed value,
//!   A − 2^k·μ. If g = 1, C is in [−2^(k−1) − 2^(k−2), −2^(k−2)), so y − C is in (0, 2^k): it is A.
//!
//! Either way the coefficient of 2^k in (b + s·d)·y is λ·μ·(B + S·d) with λ = γ or 1 − g known to the client, B = 0 and
//! S = s or B = −b and S = −s: λ·μ·(B + S·d_S) + λ·d_C·μ·S·(1 − 2d_S), two transfers with choices λ and λ·d_C that the
//! client knows in advance, of w − k bits each.
//!
//! Slopes and sums are exact modulo 2^w, whatever their size; that the result fits is the caller's to see. So is the
//! range of every y_t: −2^(k−1) + 2^h ≤ y_t < 2^(k−1) (positive, none), and the above (guarded).
//!
//! **Material at rest**, bytes; L lanes:
//!
//! | | per term | per element | default ReLU |
//! |---|---|---|---|
//! | server, before the corrections | 4 + 8L | | 12 |
//! | server | 4 + 16L, 16 more with a lift | 8L | 44 |
//! | client | 18 + 8L, 8 more if D > 1, 16 more for a second table word (ℓ ≥ 12) | 8L | 42 |
//!
//! **Security** (semi-honest). Every message is masked by transfer pads that are used once: the client's view is
//! uniform, and the server's is uniform but for the final z + κ, which κ masks. Slopes, base and thresholds' number are
//! public; the thresholds are in the client's shares. Both parties' material is consumed by value. Nothing branches on
//! or indexes by a secret (shifts by secret amounts below 64 are used; they take constant time on the targets of this
//! crate). What a step holds is wiped when it ends, in success or not.

pub mod client;
pub mod server;
mod spec;
mod stored;
mod tables;

pub use client::{ClientCombine, ClientGate, ClientInputs, ClientSelect, choices};
pub use server::{ServerCombine, ServerFinish, ServerGate, ServerSelect, ServerWaiting};
pub use spec::{GateSpec, Lane, Lift};

/// Calls `$object.$method::<D>` for the number of digits D of a test.
macro_rules! by_digits {
    ($test:expr, $object:ident . $method:ident ( $($argument:expr),* )) => {
        match $test.digits() {
            1 => $object.$method::<1>($($argument),*),
            2 => $object.$method::<2>($($argument),*),
            3 => $object.$method::<3>($($argument),*),
            _ => $object.$method::<4>($($argument),*),
        }
    };
}
use by_digits;

/// Which half of a 128-bit pad masks a lane.
#[inline]
fn lane_pad(pad: u128, lane: usize) -> u64 {
    (pad >> (64 * lane)) as u64
}

#[cfg(test)]
mod tests;
