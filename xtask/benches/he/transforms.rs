//! The transform beside tfhe-ntt, the fastest that the registry has: same degree, same prime, data in cache.

use std::hint::black_box;
use std::io;

use he_core::ntt::NarrowTable;
use he_core::prime::largest_ntt_prime;
use he_core::{Modulus, NttTable, Seed, sample};

use super::{Bench, Peer};

const PEER: &str = "tfhe-ntt";

/// All degrees and widths.
pub(super) fn run(bench: &Bench) -> io::Result<()> {
    for n in [2048, 4096, 8192, 16384, 32768] {
        for bits in [30, 47, 50, 60] {
            wide(bench, n, bits)?;
        }
        for bits in [30, 31, 32] {
            narrow(bench, n, bits)?;
        }
    }
    Ok(())
}

fn wide(bench: &Bench, n: usize, bits: u32) -> io::Result<()> {
    let q = largest_ntt_prime(bits, 2 * n as u64).ok_or_else(|| io::Error::other("no such prime"))?;
    let modulus = Modulus::new(q).map_err(io::Error::other)?;
    let table = NttTable::new(n, modulus).map_err(io::Error::other)?;
    // The peer's plan for the width: its 50-bit kernel serves all primes below 2^50.
    let plan =
        tfhe_ntt::prime64::Plan::try_new(n, q).ok_or_else(|| io::Error::other("the peer has no plan"))?;
    let mut words = vec![0; n];
    sample::uniform(&mut Seed::from_os().map_err(io::Error::other)?.stream(), &modulus, &mut words);
    let mut other = words.clone();
    let mut ours = || table.forward(black_box(&mut words));
    let mut theirs = || plan.fwd(black_box(&mut other));
    let peer = Peer { name: PEER, work: &mut theirs };
    bench.row(("ntt forward", n, bits), &mut ours, Some(peer), None)?;
    let mut other = words.clone();
    let mut ours = || table.inverse(black_box(&mut words));
    let mut theirs = || {
        plan.inv(black_box(&mut other));
        plan.normalize(black_box(&mut other));
    };
    let peer = Peer { name: PEER, work: &mut theirs };
    bench.row(("ntt inverse", n, bits), &mut ours, Some(peer), None)
}

/// On words of 32 bits.
fn narrow(bench: &Bench, n: usize, bits: u32) -> io::Result<()> {
    let q = largest_ntt_prime(bits, 2 * n as u64).ok_or_else(|| io::Error::other("no such prime"))?;
    let modulus = Modulus::new(q).map_err(io::Error::other)?;
    let table = NarrowTable::new(n, modulus).map_err(io::Error::other)?;
    let plan = tfhe_ntt::prime32::Plan::try_new(n, q as u32)
        .ok_or_else(|| io::Error::other("the peer has no plan"))?;
    let mut wide = vec![0; n];
    sample::uniform(&mut Seed::from_os().map_err(io::Error::other)?.stream(), &modulus, &mut wide);
    let mut words: Vec<u32> = wide.iter().map(|&word| word as u32).collect();
    let mut other = words.clone();
    let mut ours = || table.forward(black_box(&mut words));
    let mut theirs = || plan.fwd(black_box(&mut other));
    let peer = Peer { name: PEER, work: &mut theirs };
    bench.row(("ntt forward, 32-bit words", n, bits), &mut ours, Some(peer), None)?;
    let mut other = words.clone();
    let mut ours = || table.inverse(black_box(&mut words));
    let mut theirs = || {
        plan.inv(black_box(&mut other));
        plan.normalize(black_box(&mut other));
    };
    let peer = Peer { name: PEER, work: &mut theirs };
    bench.row(("ntt inverse, 32-bit words", n, bits), &mut ours, Some(peer), None)
}
