//! The transform beside tfhe-ntt, the fastest that the registry has: same degree, same prime, data in cache. The words of
//! both begin where a cache line begins, as those of all polynomials of ours do.

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
    let mut residues = vec![0; n];
    sample::uniform(&mut Seed::from_os().map_err(io::Error::other)?.stream(), &modulus, &mut residues);
    let (mut words, mut other) = (Aligned::new(&residues), Aligned::new(&residues));
    let (words, other) = (words.get(), other.get());
    let mut ours = || table.forward(black_box(words));
    let mut theirs = || plan.fwd(black_box(other));
    let peer = Peer { name: PEER, work: &mut theirs };
    bench.row(("ntt forward", n, bits), &mut ours, Some(peer), None)?;
    let mut ours = || table.inverse(black_box(words));
    let mut theirs = || {
        plan.inv(black_box(other));
        plan.normalize(black_box(other));
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
    let residues: Vec<u32> = wide.iter().map(|&word| word as u32).collect();
    let (mut words, mut other) = (Aligned::new(&residues), Aligned::new(&residues));
    let (words, other) = (words.get(), other.get());
    let mut ours = || table.forward(black_box(words));
    let mut theirs = || plan.fwd(black_box(other));
    let peer = Peer { name: PEER, work: &mut theirs };
    bench.row(("ntt forward, 32-bit words", n, bits), &mut ours, Some(peer), None)?;
    let mut ours = || table.inverse(black_box(words));
    let mut theirs = || {
        plan.inv(black_box(other));
        plan.normalize(black_box(other));
    };
    let peer = Peer { name: PEER, work: &mut theirs };
    bench.row(("ntt inverse, 32-bit words", n, bits), &mut ours, Some(peer), None)
}

/// Words that begin where a cache line of 64 bytes begins.
struct Aligned<T> {
    room: Vec<T>,
    start: usize,
}

impl<T: Copy> Aligned<T> {
    fn new(words: &[T]) -> Self {
        let line = 64 / size_of::<T>();
        let mut room = [words, &words[..line]].concat();
        let start = room.as_ptr().align_offset(64).min(line);
        room.copy_within(..words.len(), start);
        room.truncate(start + words.len());
        Self { room, start }
    }

    fn get(&mut self) -> &mut [T] {
        &mut self.room[self.start..]
    }
}
