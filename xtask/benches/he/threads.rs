//! A batch of ciphertexts on all threads of the machine, beside the same on one.
//!
//! Both give the same bytes, which is checked here once more before anything is measured.

use std::hint::black_box;
use std::io;

use he_core::Seed;
use he_core::bfv::{BatchEncoder, Ciphertext, Params};
use he_core::rlwe::{RelinKey, SecretKey};
use rayon::ThreadPool;
use rayon::prelude::*;

use super::{Bench, Peer};

const BATCH: usize = 16;

fn failed(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(error.to_string())
}

/// Multiplications with relinearisation, one for each ciphertext of a batch.
pub(super) fn run(bench: &Bench, one: &ThreadPool) -> io::Result<()> {
    let all = rayon::ThreadPoolBuilder::new().build().map_err(io::Error::other)?;
    let name = format!("bfv multiply, relinearise, {BATCH} on {} threads", all.current_num_threads());
    if !bench.wants(&name) {
        return Ok(());
    }
    for degree in [4096, 8192] {
        let params = Params::preset(degree).map_err(failed)?;
        let rlwe = params.rlwe();
        let bits = (rlwe.log2_q(rlwe.limbs()) + rlwe.log2_p()).ceil() as u32;
        let seed = Seed::from_os().map_err(failed)?;
        let secret = SecretKey::generate(rlwe, seed.fork("bench: secret", &[]));
        let relin = RelinKey::new(&secret, seed.fork("bench: relinearise", &[]));
        let encoder = BatchEncoder::new(&params).map_err(failed)?;
        let encrypt = |i: usize| {
            let plaintext = encoder.encode(&[i as u64, 2, 3]).map_err(failed)?;
            Ok(params.encrypt(&secret, &plaintext, seed.fork("bench", &[i as u64])).expand(&params))
        };
        let batch = (0..BATCH).map(encrypt).collect::<io::Result<Vec<Ciphertext>>>()?;
        let square = |x: &Ciphertext| -> io::Result<Ciphertext> {
            Ok(params.relinearise(params.multiply(x, x).map_err(failed)?, &relin))
        };
        let squares = || batch.par_iter().map(square).collect::<io::Result<Vec<_>>>();
        let bytes = |pool: &ThreadPool| -> io::Result<Vec<Vec<u8>>> {
            Ok(pool.install(squares)?.iter().map(|x| x.to_bytes(&params)).collect())
        };
        if bytes(&all)? != bytes(one)? {
            return Err(io::Error::other("other bytes on more threads"));
        }
        let mut ours = || drop(black_box(all.install(squares)));
        let mut alone = || drop(black_box(one.install(squares)));
        let peer = Peer { name: "one thread", work: &mut alone };
        bench.row((&name, degree, bits), &mut ours, Some(peer), None)?;
    }
    Ok(())
}
