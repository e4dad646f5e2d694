//! What a server gives at most: images by client, images and bytes of bundles in memory.
//!
//! Both are counted before the work is done, and what is aborted counts for the quota as well. A [`Place`] is what a bundle
//! takes of the memory for all clients, until it is dropped.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::server::{Server, lock};
use crate::channel::Channel;
use crate::error::{ProtocolError, Refusal, RefusalCode};
use crate::plan::Plan;

/// Clients whose quota is kept count of.
const MOST_CLIENTS: usize = 1 << 16;

impl Server {
    /// As [`Server::charge`], and refuses bundles of more images than the server prepares at once.
    pub(super) fn check_quota(
        &self,
        channel: &mut Channel,
        who: &str,
        images: usize,
    ) -> Result<(), ProtocolError> {
        let most = self.policy.offer.max_images;
        if images == 0 || images > most {
            let reason = format!(
                "a bundle of {images} images was asked for, this server prepares 1 to {most} at once"
            );
            return Err(channel.refuse(Refusal { code: RefusalCode::Limit, reason }));
        }
        self.charge(channel, who, images)
    }

    /// Counts images against a client's quota, and refuses those beyond it.
    pub(super) fn charge(
        &self,
        channel: &mut Channel,
        who: &str,
        images: usize,
    ) -> Result<(), ProtocolError> {
        if self.policy.quota == u64::MAX {
            return Ok(());
        }
        let mut all = lock(&self.asked);
        // Who is new when the book is full is not served: better than forgetting somebody's count.
        let over = if all.len() >= MOST_CLIENTS && !all.contains_key(who) {
            true
        } else {
            // Counted before the work: what is aborted counts too.
            let asked = all.entry(who.to_owned()).or_default();
            *asked = asked.saturating_add(images as u64);
            *asked > self.policy.quota
        };
        drop(all);
        if over {
            let reason = format!("this server answers at most {} images per client", self.policy.quota);
            return Err(channel.refuse(Refusal { code: RefusalCode::Limit, reason }));
        }
        Ok(())
    }

    /// A place for the images of a bundle until the session has used, kept or lost it.
    pub(super) fn reserve(&self, channel: &mut Channel, plan: &Plan) -> Result<Place<'_>, ProtocolError> {
        let (place, [images, bytes]) = self.hold(plan);
        let reason = if images > self.policy.preparing {
            format!(
                "this server prepares at most {} images at once: try later, or fewer",
                self.policy.preparing
            )
        } else if bytes > self.policy.memory {
            format!(
                "this bundle needs {} MB of this server, which has {} MB for all at once: try later, fewer images, or \
                 three rounds per step",
                place.taken[1] / 1_000_000,
                self.policy.memory / 1_000_000
            )
        } else {
            return Ok(place);
        };
        Err(channel.refuse(Refusal { code: RefusalCode::Busy, reason }))
    }

    /// Counts a bundle as held; with what is held then.
    pub(super) fn hold(&self, plan: &Plan) -> (Place<'_>, [usize; 2]) {
        let place = Place { held: &self.held, taken: [plan.images(), plan.server_bytes()] };
        let held =
            [0, 1].map(|at| self.held[at].fetch_add(place.taken[at], Ordering::SeqCst) + place.taken[at]);
        (place, held)
    }

    /// As [`Server::hold_bytes`]; the refusal is sent.
    pub(super) fn hold_or_refuse(
        &self,
        channel: &mut Channel,
        what: &str,
        bytes: usize,
    ) -> Result<Place<'_>, ProtocolError> {
        self.hold_bytes(what, bytes).map_err(|refusal| channel.refuse(refusal))
    }

    /// Counts bytes of the server's memory as held until the place is dropped; refuses what there is no room for.
    pub(super) fn hold_bytes(&self, what: &str, bytes: usize) -> Result<Place<'_>, Refusal> {
        let place = Place { held: &self.held, taken: [0, bytes] };
        let held = self.held[1].fetch_add(bytes, Ordering::SeqCst).saturating_add(bytes);
        if held <= self.policy.memory {
            return Ok(place);
        }
        let reason = format!(
            "{what} needs {} MB of this server, which has {} MB for all at once: try later",
            bytes.div_ceil(1_000_000),
            self.policy.memory / 1_000_000
        );
        Err(Refusal { code: RefusalCode::Busy, reason })
    }
}

/// Images and bytes counted as held until this is dropped.
pub(super) struct Place<'a> {
    held: &'a [AtomicUsize; 2],
    taken: [usize; 2],
}

impl Place<'_> {
    /// Counts them as held for as long as there is the server.
    pub(super) fn stay(mut self) {
        self.taken = [0; 2];
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        for (held, taken) in self.held.iter().zip(self.taken) {
            held.fetch_sub(taken, Ordering::SeqCst);
        }
    }
}
