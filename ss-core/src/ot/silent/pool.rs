//! Iterations in stock, and how transfers are taken from them: the part that both parties share.
//!
//! A pool is a queue of iterations. Usable trees are taken from the front one on, in order; the kept trees of
//! the last iteration wait for the next refill and are expanded once, then. Outputs that were expanded but not
//! yet taken, the rest of one tree, are held as columns. Both parties number the transfers that they hand out
//! from 0; the number is the tweak of the hash, and is never reset.
//!
//! | in stock | shape | bytes at (1170, 17, 11) |
//! |---|---|---|
//! | base, per iteration | k words | 2 MiB |
//! | trees, per iteration | sender: t roots; receiver: t paths and t·h sums | 19 KB; 211 KB |
//! | rest | less than 2^h words | 32 KiB |
//!
//! An iteration whose transfers are all taken is dropped as soon as it is not the last. Taking runs in
//! parallel over trees; results do not depend on the number of threads.

use super::Blocks;
use super::code::LocalCode;
use super::params::SilentParams;
use crate::error::SsError;
use crate::hash::{CircularHash, TweakedHash, wipe};
use rayon::prelude::*;
use sha3::{Digest, Sha3_256};
use std::collections::VecDeque;

/// What differs between the two parties.
pub(super) trait Side: Sync {
    /// What the trees of one iteration grow from.
    type Trees: Send + Sync;
    /// Room for some finished transfers.
    type Out<'a>: Send;

    /// Splits room after the first `count` transfers.
    fn split(out: Self::Out<'_>, count: usize) -> (Self::Out<'_>, Self::Out<'_>);

    /// Fills `leaves` with the leaves of a tree.
    fn grow(&self, hash: &CircularHash, trees: &Self::Trees, tree: usize, leaves: &mut [u128]);

    /// Hashes columns into transfers; the first has the number `first`. `out` has room for as many.
    fn emit(&self, hash: &TweakedHash, first: u64, columns: &[u128], out: Self::Out<'_>);
}

/// The iterations in stock.
pub(super) struct Pool<S: Side> {
    pub(super) params: SilentParams,
    pub(super) side: S,
    session: [u8; 32],
    hash: TweakedHash,
    stock: VecDeque<Iteration<S::Trees>>,
    /// Iterations so far.
    count: u64,
    /// Columns of the last tree expanded; those before `rest_start` are taken and wiped.
    rest: Blocks,
    rest_start: usize,
    /// Number of the next transfer.
    next_transfer: u64,
}

struct Iteration<T> {
    base: Blocks,
    trees: T,
    hash: CircularHash,
    code: LocalCode,
    /// The first usable tree that is not yet expanded.
    next: usize,
}

/// A tree to expand, and where to.
struct Job<'stock, 'out, S: Side> {
    iteration: &'stock Iteration<S::Trees>,
    tree: usize,
    first: u64,
    count: usize,
    out: S::Out<'out>,
}

impl<S: Side> Pool<S> {
    pub(super) fn new(session: &[u8; 32], params: SilentParams, side: S) -> Self {
        let session: [u8; 32] = Sha3_256::new()
            .chain_update(b"hushnet/silent/v1")
            .chain_update(session)
            .chain_update(params.log_base().to_le_bytes())
            .finalize()
            .into();
        Self {
            params,
            side,
            session,
            hash: TweakedHash::new(&session),
            stock: VecDeque::new(),
            count: 0,
            rest: Blocks::zeros(0),
            rest_start: 0,
            next_transfer: 0,
        }
    }

    /// Transfers that can be taken now.
    pub(super) fn available(&self) -> usize {
        let trees: usize = self.stock.iter().map(|it| self.params.usable_trees() - it.next).sum();
        (trees << self.params.depth()) + self.rest.len() - self.rest_start
    }

    /// The public key of the trees' hash in the next iteration, and the code.
    pub(super) fn next_keys(&self) -> (CircularHash, LocalCode) {
        let digest = Sha3_256::new()
            .chain_update(b"hushnet/silent-iteration/v1")
            .chain_update(self.session)
            .chain_update(self.count.to_le_bytes())
            .finalize();
        let (halves, _) = digest.as_chunks::<16>();
        let [hash, code] = [halves[0], halves[1]].map(u128::from_le_bytes);
        (CircularHash::new(hash), LocalCode::new(code))
    }

    /// The base of the next iteration out of the kept trees of the last; `None` before the first. Its first
    /// [`SilentParams::base_len`] words count. To be called once per iteration.
    pub(super) fn next_base(&self) -> Option<Blocks> {
        let last = self.stock.back()?;
        let mut columns = Blocks::zeros(self.params.kept_trees() << self.params.depth());
        columns.par_chunks_mut(self.params.leaves()).enumerate().for_each(|(place, columns)| {
            self.expand(last, self.params.usable_trees() + place, columns);
        });
        Some(columns)
    }

    /// Takes a new iteration into stock; `base` is k words.
    pub(super) fn put(&mut self, base: Blocks, trees: S::Trees) {
        let (hash, code) = self.next_keys();
        self.stock.push_back(Iteration { base, trees, hash, code, next: 0 });
        self.count += 1;
        self.drop_spent();
    }

    /// The hash for the tree that transfer number `first` comes from.
    fn hash_of(&self, first: u64) -> TweakedHash {
        self.hash.part(first >> self.params.depth())
    }

    /// Refuses to take more than there is.
    pub(super) fn check(&self, wanted: usize) -> Result<(), SsError> {
        let left = self.available();
        if wanted > left {
            return Err(SsError::Exhausted { what: "silent transfers", wanted, left });
        }
        Ok(())
    }

    /// The next `count` transfers into `out`, which has room for exactly as many.
    pub(super) fn take(&mut self, count: usize, out: S::Out<'_>) -> Result<(), SsError> {
        self.check(count)?;
        let from_rest = count.min(self.rest.len() - self.rest_start);
        let (head, out) = S::split(out, from_rest);
        let hash = self.hash_of(self.next_transfer);
        let columns = &mut self.rest[self.rest_start..][..from_rest];
        self.side.emit(&hash, self.next_transfer, columns, head);
        wipe(columns);
        self.rest_start += from_rest;
        self.next_transfer += from_rest as u64;

        let mut jobs = self.jobs(count - from_rest, out);
        let leaves = self.params.leaves();
        let last = jobs.pop_if(|job| job.count < leaves);
        let (taken, partial) = (jobs.len(), last.is_some());
        jobs.into_par_iter().for_each_init(
            || Blocks::zeros(leaves),
            |columns, job| {
                self.expand(job.iteration, job.tree, columns);
                self.side.emit(&self.hash_of(job.first), job.first, columns, job.out);
            },
        );
        let rest = last.map(|job| {
            let mut columns = Blocks::zeros(leaves);
            self.expand(job.iteration, job.tree, &mut columns);
            self.side.emit(&self.hash_of(job.first), job.first, &columns[..job.count], job.out);
            wipe(&mut columns[..job.count]);
            (columns, job.count)
        });
        if let Some((columns, taken)) = rest {
            (self.rest, self.rest_start) = (columns, taken);
        }
        self.next_transfer += (count - from_rest) as u64;
        self.advance(taken + usize::from(partial));
        Ok(())
    }

    /// The trees that `count` transfers take, in order; the last one may be taken in part.
    fn jobs<'out>(&self, mut count: usize, mut out: S::Out<'out>) -> Vec<Job<'_, 'out, S>> {
        let mut jobs = Vec::with_capacity(count.div_ceil(self.params.leaves()));
        let mut first = self.next_transfer;
        for iteration in &self.stock {
            for tree in iteration.next..self.params.usable_trees() {
                if count == 0 {
                    return jobs;
                }
                let part = count.min(self.params.leaves());
                let (piece, rest) = S::split(out, part);
                jobs.push(Job { iteration, tree, first, count: part, out: piece });
                out = rest;
                count -= part;
                first += part as u64;
            }
        }
        jobs
    }

    /// Marks the next `trees` trees as expanded.
    fn advance(&mut self, mut trees: usize) {
        for iteration in &mut self.stock {
            let step = trees.min(self.params.usable_trees() - iteration.next);
            iteration.next += step;
            trees -= step;
        }
        self.drop_spent();
    }

    /// Drops iterations that neither transfers nor a base will be taken from.
    fn drop_spent(&mut self) {
        while self.stock.len() > 1 && self.stock[0].next == self.params.usable_trees() {
            self.stock.pop_front();
        }
    }

    /// The outputs of one tree: its leaves plus its rows of the code.
    fn expand(&self, iteration: &Iteration<S::Trees>, tree: usize, columns: &mut [u128]) {
        self.side.grow(&iteration.hash, &iteration.trees, tree, columns);
        iteration.code.add(&iteration.base, (tree << self.params.depth()) as u64, columns);
    }
}
