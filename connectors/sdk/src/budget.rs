//! The byte budget of the process: from the socket to the receipt, one pool for all partitions, fair between them.
//!
//! Half of the budget is guaranteed in even parts, one to each partition; the other half is lent to whoever asks first, at most
//! half of that to one. So a partition whose topic is blocked never takes what the others need, and a busy one may use more than
//! its part. A request that could never fit passes alone, when its partition holds nothing: the bound is then the budget plus one
//! such request. Nothing here waits while holding the lock, and a waiter that is dropped leaves no trace.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::oneshot;

/// The pool. Cheap to clone; all clones are the same pool.
#[derive(Clone)]
pub struct ByteBudget(Arc<Mutex<Pool>>);

#[derive(Default)]
struct Pool {
    total: u64,
    used: u64,
    peak: u64,
    lent: u64,
    /// Bytes held by each partition; a free slot is `None`.
    members: Vec<Option<u64>>,
    count: u64,
    alone: Option<usize>,
    waiting: VecDeque<Waiter>,
}

struct Waiter {
    /// Weak, so that a wait that was dropped keeps no share alive.
    member: Weak<Member>,
    bytes: u64,
    grant: oneshot::Sender<Reservation>,
}

impl Pool {
    fn guaranteed(&self) -> u64 {
        self.total / 2 / self.count.max(1)
    }

    fn lendable(&self) -> u64 {
        self.total - self.total / 2
    }

    fn held(&self, member: usize) -> u64 {
        self.members[member].unwrap_or(0)
    }

    fn set(&mut self, member: usize, held: u64) {
        let before = self.held(member);
        let part = self.guaranteed();
        self.used = self.used - before + held;
        self.lent = self.lent - before.saturating_sub(part) + held.saturating_sub(part);
        self.peak = self.peak.max(self.used);
        self.members[member] = Some(held);
        if held == 0 && self.alone == Some(member) {
            self.alone = None;
        }
    }

    fn recount(&mut self) {
        let part = self.guaranteed();
        self.lent = self.members.iter().flatten().map(|held| held.saturating_sub(part)).sum();
    }

    /// Takes the bytes if the rules allow it now. `lending` is false while an earlier waiter has first call on the lent half.
    fn take(&mut self, member: usize, bytes: u64, lending: bool) -> bool {
        let held = self.held(member);
        let part = self.guaranteed();
        let extra = (held + bytes).saturating_sub(part.max(held));
        let within = held + bytes <= part;
        let cap = self.lendable() / if self.count > 1 { 2 } else { 1 };
        let lent = lending && (held + bytes).saturating_sub(part) <= cap && self.lent + extra <= self.lendable();
        let never_fits = bytes > part + cap;
        let alone = lending && never_fits && held == 0 && self.alone.is_none();
        if within || lent || alone {
            if !within && !lent {
                self.alone = Some(member);
            }
            self.set(member, held + bytes);
            return true;
        }
        false
    }
}

impl ByteBudget {
    /// A pool of `total` bytes.
    pub fn new(total: u64) -> Self {
        Self(Arc::new(Mutex::new(Pool { total, ..Pool::default() })))
    }

    /// A new partition's share. The even parts shrink for all while it lives.
    pub fn share(&self) -> Share {
        let mut pool = self.lock();
        let slot = pool.members.iter().position(Option::is_none).unwrap_or(pool.members.len());
        if slot == pool.members.len() {
            pool.members.push(None);
        }
        pool.members[slot] = Some(0);
        pool.count += 1;
        pool.recount();
        Share(Arc::new(Member { budget: self.clone(), slot }))
    }

    /// Bytes held now.
    pub fn used(&self) -> u64 {
        self.lock().used
    }

    /// The most bytes that were ever held at once.
    pub fn peak(&self) -> u64 {
        self.lock().peak
    }

    /// The size of the pool.
    pub fn total(&self) -> u64 {
        self.lock().total
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves who can be served, in the order they came. The first who waits for the lent half has first call on it.
    fn serve(&self) {
        // Shares looked at here may be the last of their kind: they are dropped after the lock, which their end takes again.
        let mut looked_at = Vec::new();
        let mut granted = Vec::new();
        {
            let mut pool = self.lock();
            let mut lending = true;
            let mut index = 0;
            while index < pool.waiting.len() {
                let member = pool.waiting[index].member.upgrade().filter(|_| !pool.waiting[index].grant.is_closed());
                let Some(member) = member else {
                    pool.waiting.remove(index);
                    continue;
                };
                let bytes = pool.waiting[index].bytes;
                if pool.take(member.slot, bytes, lending) {
                    let waiter = pool.waiting.remove(index).expect("the index was just read");
                    granted.push((waiter.grant, Reservation { share: Share(Arc::clone(&member)), bytes }));
                } else {
                    lending = false;
                    index += 1;
                }
                looked_at.push(member);
            }
        }
        for (grant, reservation) in granted {
            // A waiter that left in this moment drops the reservation, which gives the bytes back.
            drop(grant.send(reservation));
        }
    }

    fn give_back(&self, slot: usize, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let mut pool = self.lock();
        let held = pool.held(slot);
        debug_assert!(bytes <= held, "more bytes freed than held");
        pool.set(slot, held.saturating_sub(bytes));
        let waiting = !pool.waiting.is_empty();
        drop(pool);
        if waiting {
            self.serve();
        }
    }
}

struct Member {
    budget: ByteBudget,
    slot: usize,
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut pool = self.budget.lock();
        pool.set(self.slot, 0);
        pool.members[self.slot] = None;
        pool.count -= 1;
        pool.recount();
        drop(pool);
        self.budget.serve();
    }
}

/// One partition's part of the pool. Clones are the same share; it ends with the last of them.
#[derive(Clone)]
pub struct Share(Arc<Member>);

impl Share {
    /// Waits until `bytes` may be held. Cancel-safe: a dropped wait holds nothing.
    pub async fn reserve(&self, bytes: u64) -> Reservation {
        let budget = &self.0.budget;
        let receiver = {
            let mut pool = budget.lock();
            let lending = pool.waiting.iter().all(|waiter| waiter.grant.is_closed());
            if pool.take(self.0.slot, bytes, lending) {
                return Reservation { share: self.clone(), bytes };
            }
            let (grant, receiver) = oneshot::channel();
            pool.waiting.push_back(Waiter { member: Arc::downgrade(&self.0), bytes, grant });
            receiver
        };
        receiver.await.expect("a waiter is removed only when it is served or gone")
    }

    /// Takes `bytes` when the rules allow it now.
    pub fn try_reserve(&self, bytes: u64) -> Option<Reservation> {
        let mut pool = self.0.budget.lock();
        let lending = pool.waiting.iter().all(|waiter| waiter.grant.is_closed());
        let taken = pool.take(self.0.slot, bytes, lending);
        drop(pool);
        taken.then(|| Reservation { share: self.clone(), bytes })
    }

    /// Holds `bytes` whatever the rules say: for what has arrived already. May overshoot the pool.
    pub fn charge(&self, bytes: u64) {
        let mut pool = self.0.budget.lock();
        let held = pool.held(self.0.slot);
        pool.set(self.0.slot, held + bytes);
    }

    /// Frees bytes held by [`Share::charge`] or kept from a reservation.
    pub fn release(&self, bytes: u64) {
        self.0.budget.give_back(self.0.slot, bytes);
    }

    /// The bytes this partition can count on whatever the others do.
    pub fn guaranteed(&self) -> u64 {
        self.0.budget.lock().guaranteed()
    }

    /// The most bytes this partition may hold at once.
    pub fn most(&self) -> u64 {
        let pool = self.0.budget.lock();
        pool.guaranteed() + pool.lendable() / if pool.count > 1 { 2 } else { 1 }
    }

    /// The bytes this partition holds.
    pub fn held(&self) -> u64 {
        self.0.budget.lock().held(self.0.slot)
    }
}

/// Bytes held in advance; dropping it frees them.
#[must_use = "a dropped reservation is given back"]
pub struct Reservation {
    share: Share,
    bytes: u64,
}

impl Reservation {
    /// Bytes still held by it.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What was reserved turned out to be `actual`: the rest is freed, or the excess is held as well. The bytes then belong to the
    /// share's records, to be freed by [`Share::release`].
    pub fn settle(mut self, actual: u64) {
        let reserved = std::mem::take(&mut self.bytes);
        if actual < reserved {
            self.share.release(reserved - actual);
        } else if actual > reserved {
            self.share.charge(actual - reserved);
        }
    }

    /// Frees a part of it.
    pub fn shrink_to(&mut self, bytes: u64) {
        if bytes < self.bytes {
            let freed = self.bytes - bytes;
            self.bytes = bytes;
            self.share.release(freed);
        }
    }

    /// Holds more when the rules allow it now; says whether it does.
    #[must_use = "nothing more is held when it says no"]
    pub fn try_grow_by(&mut self, bytes: u64) -> bool {
        let Some(mut more) = self.share.try_reserve(bytes) else { return false };
        self.bytes += std::mem::take(&mut more.bytes);
        true
    }

    /// Holds more, whatever the rules say: for what has arrived already. May overshoot the pool.
    pub fn grow_by(&mut self, bytes: u64) {
        self.share.charge(bytes);
        self.bytes += bytes;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.share.release(self.bytes);
    }
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
