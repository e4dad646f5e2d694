//! Nanoseconds per unit of work, for each kernel, and their measurement on the machine at hand.

use super::{Algorithm, Planner, Products, Unit};
use crate::{ConvError, ConvGeometry, ConvShape, Kernel, PreparedConv};
use he_core::Modulus;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

const UNITS: usize = Unit::ALL.len();

/// Nanoseconds of one core per [`Unit`].
#[derive(Clone, Debug, PartialEq)]
pub struct Speed {
    nanoseconds: [f64; UNITS],
}

/// Fitted to `cargo xtask bench conv --algorithms` on one core of an AMD EPYC (Zen 5) at 3.75 GHz.
const ZEN: [f64; UNITS] = [
    1.5, 0.135, 0.05, 0.102, 1.32, 0.127, 0.404, 1.95, 2.63, 0.412, 0.564, 1.02, 12.0, 0.151, 0.875, 1.5,
    0.341, 0.35, 12.0, 38.5, 38.5, 680.0,
];

/// Likewise, on one core of an Intel Xeon with IFMA and VNNI at 3 GHz: one word product a cycle where Zen 5 has two.
const XEON: [f64; UNITS] = [
    2.4, 0.147, 0.052, 0.224, 2.51, 0.269, 0.587, 1.82, 8.93, 0.515, 0.754, 1.65, 17.5, 0.46, 1.82, 3.16,
    0.498, 0.627, 21.1, 8.58, 102.0, 504.0,
];

/// The table nearer to this machine: ratios differ by a factor of two between the two makers, and the wrong table costs a
/// third of a network's time. Other kernels' constants are scaled from it, whichever it is; those have been measured on
/// neither maker's machines without AVX-512.
static AVX512: LazyLock<[f64; UNITS]> = LazyLock::new(|| {
    #[cfg(target_arch = "x86_64")]
    {
        let leaf = core::arch::x86_64::__cpuid(0);
        if [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).concat() == b"GenuineIntel" {
            return XEON;
        }
    }
    ZEN
});

impl Speed {
    /// The built-in constants of a kernel: fitted for [`Kernel::Avx512`] on a processor of either maker, scaled from those
    /// for the others.
    pub fn of(kernel: Kernel) -> Self {
        // By how much plain arithmetic and products are slower than on 512 bits.
        let (plain, digits, words) = match kernel {
            Kernel::Avx512 => (1.0, 1.0, 1.0),
            Kernel::Avx2 => (3.5, 4.0, 5.0),
            Kernel::Neon => (5.0, 8.0, 10.0),
            Kernel::Portable => (6.0, 12.0, 12.0),
        };
        let factor = |unit| match unit {
            Unit::Multiply | Unit::Weights | Unit::FarWeights | Unit::RemoteWeights | Unit::Call => 1.0,
            Unit::Digits | Unit::Spill => digits,
            Unit::Words | Unit::Pointwise => words,
            _ => plain,
        };
        let mut nanoseconds = *AVX512;
        for (unit, value) in Unit::ALL.into_iter().zip(&mut nanoseconds) {
            *value *= factor(unit);
        }
        Self { nanoseconds }
    }

    /// Nanoseconds per unit.
    pub fn per(&self, unit: Unit) -> f64 {
        self.nanoseconds[unit as usize]
    }

    /// The constants of a kernel on this machine: a few small layers are timed, and the units that each algorithm stands
    /// for are scaled by what they took against what was expected. Takes about a tenth of a second.
    ///
    /// # Errors
    /// None in practice: the layers are fixed. [`ConvError`] if the kernel's algorithms refuse one all the same.
    pub fn measured(kernel: Kernel) -> Result<Self, ConvError> {
        let mut speed = Self::of(kernel);
        let words = Products::Words;
        let dense = ConvGeometry::new(plain(32, 64, 1))?;
        let grouped = ConvGeometry::new(plain(64, 64, 64))?;
        let cases = [
            (&dense, Algorithm::Direct, &[Unit::Multiply][..]),
            (&dense, Algorithm::Im2col, &[Unit::Digits, Unit::Spill, Unit::Encode, Unit::Decode]),
            (
                &dense,
                Algorithm::Winograd { tile: [4, 4], products: words },
                &[Unit::Words, Unit::WordSums, Unit::TileIn, Unit::TileOut, Unit::Move],
            ),
            (&grouped, Algorithm::Depthwise, &[Unit::Tap, Unit::Reduce]),
            (&dense, Algorithm::Ntt, &[Unit::Butterfly, Unit::Pointwise, Unit::Coefficient]),
        ];
        for (geometry, algorithm, units) in cases {
            let modulus = Modulus::new(MODULUS)
                .map_err(|_| ConvError::Modulus { modulus: MODULUS, wanted: "prime" })?;
            let candidates = Planner::new(kernel).speed(speed.clone()).candidates(geometry, modulus);
            let Some(candidate) = candidates.iter().find(|candidate| candidate.algorithm == algorithm) else {
                continue;
            };
            let took = time(geometry, modulus, algorithm, kernel)?;
            let share: f64 = candidate
                .work
                .iter()
                .filter(|(unit, _)| units.contains(unit))
                .map(|&(unit, count)| count * speed.per(unit))
                .sum();
            let rest = candidate.nanoseconds - share;
            // A disturbed measurement must not make an algorithm look free.
            let factor = ((took - rest) / share).max(0.1);
            for &unit in units {
                speed.nanoseconds[unit as usize] *= factor;
            }
        }
        Ok(speed)
    }
}

/// A prime of the default profile.
const MODULUS: u64 = 1_125_899_906_826_241;

fn plain(inputs: usize, outputs: usize, groups: usize) -> ConvShape {
    ConvShape { groups, ..ConvShape::same([inputs, outputs], [16, 16], 3) }
}

/// Least nanoseconds of a few runs.
fn time(
    geometry: &ConvGeometry,
    modulus: Modulus,
    algorithm: Algorithm,
    kernel: Kernel,
) -> Result<f64, ConvError> {
    let weights: Vec<i32> = (0..geometry.weights_len()).map(|i| (i * 977 % 4095) as i32 - 2047).collect();
    let input: Vec<u64> = (0..geometry.input_len() as u64)
        .map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) % modulus.value())
        .collect();
    let layer = PreparedConv::with_kernel(geometry.clone(), modulus, &weights, algorithm, kernel)?;
    let start = Instant::now();
    let mut least = f64::INFINITY;
    while start.elapsed() < Duration::from_millis(15) {
        let before = Instant::now();
        std::hint::black_box(layer.run(std::hint::black_box(&input), 1));
        least = least.min(before.elapsed().as_nanos() as f64);
    }
    Ok(least)
}
