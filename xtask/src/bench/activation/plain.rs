//! The baseline: the same function in plaintext, on one thread, as a loop over single-precision numbers.

use std::hint::black_box;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::bench::timing::median;

/// Seconds for `elements` values.
pub(super) fn seconds(name: &str, elements: usize) -> Result<f64> {
    let values: Vec<f32> = (0..elements).map(|i| (i as f32 * 0.37).sin() * 6.0).collect();
    let mut out = vec![0.0f32; elements];
    let mut each = |f: fn(f32) -> f32| {
        median(Duration::from_millis(20), || {
            black_box(&mut out).iter_mut().zip(black_box(&values)).for_each(|(z, &y)| *z = f(y));
        })
    };
    let windows = |cells: usize, top: usize| {
        let mut indices: Vec<usize> = (0..cells).collect();
        median(Duration::from_millis(20), || {
            for window in black_box(&values).chunks_exact(cells) {
                match top {
                    1 => drop(black_box(window.iter().copied().fold(f32::MIN, f32::max))),
                    _ => {
                        indices.select_nth_unstable_by(top, |&a, &b| window[b].total_cmp(&window[a]));
                        black_box(&indices);
                    }
                }
            }
        })
    };
    Ok(match name {
        "relu" | "relu-narrow" | "prelu" => each(|y| y.max(0.0)),
        "relu6" => each(|y| y.clamp(0.0, 6.0)),
        "hard-sigmoid" => each(|y| (y / 6.0 + 0.5).clamp(0.0, 1.0)),
        "leaky-relu" => each(|y| if y < 0.0 { 0.01 * y } else { y }),
        "abs" => each(f32::abs),
        "square" => each(|y| y * y),
        "cubic" => each(|y| y * y * y),
        "hard-swish" => each(|y| y * (y + 3.0).clamp(0.0, 6.0) / 6.0),
        "sigmoid" => each(|y| 1.0 / (1.0 + (-y).exp())),
        "tanh" => each(f32::tanh),
        "gelu" => each(|y| 0.5 * y * (1.0 + (0.797_884_6 * (y + 0.044_715 * y * y * y)).tanh())),
        "silu" => each(|y| y / (1.0 + (-y).exp())),
        "max-pool-2x2" => windows(4, 1),
        "global-max-7x7" => windows(49, 1),
        "arg-max-10" => windows(10, 1),
        "arg-max-1000" => windows(1000, 1),
        "top-5-of-1000" => windows(1000, 5),
        _ => bail!("no plain twin of {name}"),
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_activation_has_a_plain_twin() {
        for name in super::super::NAMES {
            assert!(super::seconds(name, 4000).unwrap() > 0.0, "{name}");
        }
    }
}
