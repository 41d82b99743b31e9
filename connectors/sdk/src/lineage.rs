//! What a source and a sink know together of the producers of one partition, where each record is to be stored exactly once.
//!
//! A lineage is named after what owns the partition's checkpoint, not after who holds it: the name and the numbers sent under it
//! outlive every owner. The source keeps it in its checkpoint's own write; the sink sends by it and says what the broker answered.
//! Promised: what a name, a number or a route depends on was stored before the sink hears of it; what the sink must not forget is
//! waited for until it is stored. Never: a decision on what the broker's answers mean, which is the sink's, or on when something
//! is written, which is the source's.

use crate::{Error, Fence, PartitionId};
use bytestring::ByteString;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

/// Receipts remembered for one partition of the topic; beyond it every second one is forgotten, which costs precision only.
const RECEIPTS: usize = 4_096;

/// Where an entry stands in its topic partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MessageId {
    /// The ledger's id.
    pub ledger: i64,
    /// The entry in the ledger.
    pub entry: i64,
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.ledger, self.entry)
    }
}

/// The newest of one topic partition that a checkpoint covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Covered {
    /// The highest number.
    pub number: u64,
    /// Where the newest entry that was receipted with a place of its own stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<MessageId>,
}

/// How the topic is cut, and how keys choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicShape {
    /// The topic's full name.
    pub topic: ByteString,
    /// Its partitions; 0: not partitioned.
    pub partitions: u32,
    /// The hash of keys, by its configured name.
    pub hashing: ByteString,
}

/// A lineage as the source's row has it.
#[derive(Debug)]
pub struct LineageSpec {
    /// The source's partition, to name it in messages.
    pub partition: PartitionId,
    /// The producer's name on every partition of the topic.
    pub name: ByteString,
    /// Partitions of the topic that records are routed over; 0: it is not partitioned.
    pub partitions: u32,
    /// Whether an owner before may have sent more than the checkpoint covers.
    pub in_doubt: bool,
    /// Last ids read before this moment do not bound the doubt: an owner before may not know yet that it is none any more.
    pub doubt_from: Option<Instant>,
    /// What the checkpoint covers, by partition of the topic.
    pub covered: BTreeMap<u32, Covered>,
    /// Numbers that must not be sent under the name itself: refused, and overtaken by higher ones.
    pub spent: BTreeSet<u64>,
    /// No send that the checkpoint does not cover is older than this, in milliseconds since the epoch.
    pub uncovered_since: u64,
    /// Stands while its records may be put on a wire.
    pub fence: Fence,
}

/// What the source and the sink share for all partitions of an instance: made by the engine, handed to both.
#[derive(Clone)]
pub struct Lineages(Arc<Hub>);

struct Hub {
    requests: Mutex<Vec<LineageRequest>>,
    bell: Notify,
    topic: watch::Sender<Option<TopicShape>>,
    opened: AtomicU64,
}

/// What the source asks of the sink.
#[derive(Debug)]
pub enum LineageRequest {
    /// Records of this lineage are about to come.
    Open(Arc<Lineage>),
    /// Something about a lineage has changed: what was spent is stored, its fence fell, it was closed.
    Look(Arc<Lineage>),
    /// No sender of these names is to live any more.
    Seal(Seal),
    /// How is the topic cut now? What was learnt before may be old.
    AskShape(ShapeQuestion),
}

/// Producers to open and close again, which ends whoever still sends under their names.
#[derive(Debug)]
pub struct Seal {
    /// Their names.
    pub names: Vec<ByteString>,
    /// The topic's full name.
    pub topic: ByteString,
    /// On all of its partitions; 0: it is not partitioned.
    pub partitions: u32,
    answer: oneshot::Sender<Result<Option<u64>, Error>>,
}

impl Seal {
    /// It is done: the highest number any of the names has sent, where the broker knows one; or it cannot be done.
    pub fn answer(self, outcome: Result<Option<u64>, Error>) {
        // Whoever asked may have lost the partition meanwhile.
        drop(self.answer.send(outcome));
    }

    /// Whether nobody waits for it any more.
    pub fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }
}

/// Who waits for the topic's shape as of now.
#[derive(Debug)]
pub struct ShapeQuestion(oneshot::Sender<TopicShape>);

impl ShapeQuestion {
    /// It is cut like this, as somebody said who was asked after the question was.
    pub fn answer(self, shape: TopicShape) {
        // Whoever asked may have lost the partition meanwhile.
        drop(self.0.send(shape));
    }
}

impl Default for Lineages {
    fn default() -> Self {
        Self(Arc::new(Hub { requests: Mutex::default(), bell: Notify::new(), topic: watch::Sender::new(None), opened: AtomicU64::new(0) }))
    }
}

impl fmt::Debug for Lineages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lineages")
    }
}

impl Lineages {
    /// Source: records of this lineage are about to come.
    pub fn open(&self, spec: LineageSpec) -> Arc<Lineage> {
        let LineageSpec { partition, name, partitions, in_doubt, doubt_from, covered, spent, uncovered_since, fence } = spec;
        let state = State { partitions, in_doubt, covered, spent, ..State::default() };
        let lineage = Arc::new(Lineage {
            id: self.0.opened.fetch_add(1, Ordering::Relaxed),
            hub: self.clone(),
            partition,
            name,
            doubt_from,
            uncovered_since,
            fence,
            state: Mutex::new(state),
            changed: Notify::new(),
        });
        self.ask(LineageRequest::Open(Arc::clone(&lineage)));
        lineage
    }

    /// Source: opens and closes producers of these names on every partition of the topic, which ends whoever still sends under them.
    /// Gives the highest number the broker knows of any.
    ///
    /// # Errors
    /// What the sink cannot do; transient when it is closing.
    pub async fn seal(&self, names: Vec<ByteString>, topic: ByteString, partitions: u32) -> Result<Option<u64>, Error> {
        let (answer, outcome) = oneshot::channel();
        self.ask(LineageRequest::Seal(Seal { names, topic, partitions, answer }));
        outcome.await.unwrap_or_else(|_| Err(Error::transient("the publisher was closed while it ended former producers")))
    }

    /// Source: waits until the topic's shape is known.
    pub async fn shape(&self) -> TopicShape {
        let mut topic = self.0.topic.subscribe();
        match topic.wait_for(Option::is_some).await.map(|shape| shape.clone()) {
            Ok(Some(shape)) => shape,
            // The sender lives as long as `self`.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// Source: the topic's shape as of now, asked for anew. Waits as long as nobody says it.
    pub async fn shape_now(&self) -> TopicShape {
        let (answer, told) = oneshot::channel();
        self.ask(LineageRequest::AskShape(ShapeQuestion(answer)));
        match told.await {
            Ok(shape) => shape,
            // The sink has ended, and whoever asks is about to.
            Err(_) => std::future::pending().await,
        }
    }

    /// Source: the topic's shape as last told by the sink, and its changes.
    pub fn watch_shape(&self) -> watch::Receiver<Option<TopicShape>> {
        self.0.topic.subscribe()
    }

    /// Sink: the topic is cut like this from now on.
    pub fn set_shape(&self, shape: TopicShape) {
        self.0.topic.send_if_modified(|known| {
            let news = known.as_ref() != Some(&shape);
            *known = Some(shape);
            news
        });
    }

    /// Sink: waits until the source has asked for something. Cancel-safe.
    pub async fn asked(&self) {
        loop {
            let rung = self.0.bell.notified();
            if !self.lock().is_empty() {
                return;
            }
            rung.await;
        }
    }

    /// Sink: what the source has asked for since the last call.
    pub fn take_requests(&self) -> Vec<LineageRequest> {
        std::mem::take(&mut *self.lock())
    }

    fn ask(&self, request: LineageRequest) {
        self.lock().push(request);
        self.0.bell.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<LineageRequest>> {
        self.0.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One partition's lineage, while one owner holds it.
pub struct Lineage {
    id: u64,
    hub: Lineages,
    partition: PartitionId,
    name: ByteString,
    doubt_from: Option<Instant>,
    uncovered_since: u64,
    fence: Fence,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    partitions: u32,
    in_doubt: bool,
    doubt_end: Option<u64>,
    covered: BTreeMap<u32, Covered>,
    /// Stored, or declared and about to be.
    spent: BTreeSet<u64>,
    declared: u64,
    stored: u64,
    receipts: BTreeMap<u32, VecDeque<Covered>>,
    /// The highest number this owner has put on a wire, by partition of the topic.
    written: BTreeMap<u32, u64>,
    /// The highest number that the stored checkpoint covers, of those this owner has stored.
    stored_number: u64,
    closed: bool,
}

impl Lineage {
    /// Its number among those that were opened.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The source's partition.
    pub fn partition(&self) -> &PartitionId {
        &self.partition
    }

    /// The producer's name.
    pub fn name(&self) -> &ByteString {
        &self.name
    }

    /// The name under which spent numbers are sent.
    pub fn late_name(&self) -> ByteString {
        late_name(&self.name)
    }

    /// Stands while its records may be put on a wire.
    pub fn fence(&self) -> &Fence {
        &self.fence
    }

    /// Last ids read before this moment do not bound the doubt.
    pub fn doubt_from(&self) -> Option<Instant> {
        self.doubt_from
    }

    /// No send of an owner before that the checkpoint does not cover is older than this.
    pub fn uncovered_since(&self) -> u64 {
        self.uncovered_since
    }

    /// Partitions of the topic that records are routed over.
    pub fn partitions(&self) -> u32 {
        self.state().partitions
    }

    /// Whether an owner before may have sent more than the stored checkpoint covers.
    pub fn is_in_doubt(&self) -> bool {
        self.state().in_doubt
    }

    /// Whether it was closed, or the right to it is lost.
    pub fn is_over(&self) -> bool {
        self.fence.has_fallen() || self.state().closed
    }

    /// Sink: what the stored checkpoint covers of one partition of the topic.
    pub fn covered(&self, partition: u32) -> Option<Covered> {
        self.state().covered.get(&partition).copied()
    }

    /// Sink: the newest of one partition of the topic that is known to be stored, by the checkpoint or by a receipt.
    pub fn newest(&self, partition: u32) -> Option<Covered> {
        let state = self.state();
        let receipt = state.receipts.get(&partition).and_then(|receipts| receipts.back()).copied();
        let covered = state.covered.get(&partition).copied();
        match (receipt, covered) {
            (Some(receipt), Some(covered)) if receipt.number < covered.number => Some(covered),
            (Some(receipt), covered) => {
                Some(Covered { message: receipt.message.or(covered.and_then(|covered| covered.message)), ..receipt })
            }
            (None, covered) => covered,
        }
    }

    /// Sink: whether the number must not be sent under the name itself.
    pub fn is_spent(&self, number: u64) -> bool {
        self.state().spent.contains(&number)
    }

    /// Sink: whether there are spent numbers.
    pub fn has_spent(&self) -> bool {
        !self.state().spent.is_empty()
    }

    /// Sink: these numbers must never be sent under the name itself. Nothing of it may be sent before
    /// [`Lineage::is_stored`] says so for the returned version.
    pub fn declare_spent(&self, numbers: impl IntoIterator<Item = u64>) -> u64 {
        let mut state = self.state();
        state.spent.extend(numbers);
        state.declared += 1;
        let version = state.declared;
        drop(state);
        self.changed.notify_waiters();
        version
    }

    /// Sink: the name is about to be used on one more partition of the topic, whose newest message stands there. Nothing of it may
    /// be sent there before [`Lineage::is_stored`] says so for the returned version: then a name without numbers on a partition
    /// that is not written down was never used there.
    pub fn declare_used(&self, partition: u32, newest: Option<MessageId>) -> u64 {
        let mut state = self.state();
        state.covered.entry(partition).or_insert(Covered { number: 0, message: newest });
        state.declared += 1;
        let version = state.declared;
        drop(state);
        self.changed.notify_waiters();
        version
    }

    /// Sink: nothing was sent on this partition of the topic for a while, which ended there meanwhile: a reading back may begin there.
    /// Left as it is where the stored checkpoint does not cover everything that was put on a wire for it, and where the topic was empty.
    pub fn declare_newest(&self, partition: u32, end: MessageId) {
        let mut state = self.state();
        let (written, stored) = (state.written.get(&partition).copied(), state.stored_number);
        let Some(covered) = state.covered.get_mut(&partition) else { return };
        if written.is_some_and(|written| written > stored) || end.entry < 0 || covered.message >= Some(end) {
            return;
        }
        covered.message = Some(end);
        state.receipts.remove(&partition);
        state.declared += 1;
        drop(state);
        self.changed.notify_waiters();
    }

    /// Sink: whether what was declared is stored.
    pub fn is_stored(&self, version: u64) -> bool {
        self.state().stored >= version
    }

    /// Sink: partitions of the topic on which the name was, or is about to be, used.
    pub fn used(&self) -> Vec<u32> {
        self.state().covered.keys().copied().collect()
    }

    /// Sink: numbers up to this are about to be put on a wire, for this partition of the topic.
    pub fn writing(&self, partition: u32, number: u64) {
        let mut state = self.state();
        let written = state.written.entry(partition).or_default();
        *written = number.max(*written);
    }

    /// Sink: everything of a topic partition through `number` is stored; `message` is where the newest stands, when the broker said.
    pub fn receipted(&self, partition: u32, number: u64, message: Option<MessageId>) {
        let mut state = self.state();
        let receipts = state.receipts.entry(partition).or_default();
        let message = message.or_else(|| receipts.back().and_then(|receipt| receipt.message));
        receipts.push_back(Covered { number, message });
        if receipts.len() > RECEIPTS {
            let mut keep = false;
            receipts.retain(|_| {
                keep = !keep;
                keep
            });
        }
    }

    /// Sink: no owner before has sent a number above this.
    pub fn set_doubt_end(&self, number: u64) {
        self.state().doubt_end = Some(number);
        self.changed.notify_waiters();
    }

    /// Source: the highest number an owner before may have sent, once the sink has found out.
    pub fn doubt_end(&self) -> Option<u64> {
        self.state().doubt_end
    }

    /// Source: the highest number this owner has put on a wire.
    pub fn highest_written(&self) -> Option<u64> {
        self.state().written.values().max().copied()
    }

    /// Source: what a checkpoint through `number` covers, by partition of the topic on which the name is used. To be taken
    /// together with [`Lineage::spent_beyond`], this one after it.
    pub fn coverage(&self, number: u64) -> BTreeMap<u32, Covered> {
        let state = self.state();
        let mut covered = state.covered.clone();
        for (partition, receipts) in &state.receipts {
            let newest = receipts.partition_point(|receipt| receipt.number <= number);
            if let Some(receipt) = newest.checked_sub(1).and_then(|at| receipts.get(at)) {
                let before = covered.get(partition).copied();
                let message = receipt.message.or_else(|| before.and_then(|before| before.message));
                if before.is_none_or(|before| receipt.number >= before.number) {
                    covered.insert(*partition, Covered { number: receipt.number, message });
                }
            }
        }
        covered
    }

    /// Source: the spent numbers behind a checkpoint through `number`, with the version to confirm by [`Lineage::stored`].
    pub fn spent_beyond(&self, number: u64) -> (BTreeSet<u64>, u64) {
        let state = self.state();
        (state.spent.range(number + 1..).copied().collect(), state.declared)
    }

    /// Whether something that the sink declared, spent numbers or a use or a place, is not stored yet.
    pub fn has_to_store(&self) -> bool {
        let state = self.state();
        state.declared > state.stored
    }

    /// Source: a checkpoint through `number` is stored, with this coverage and what was declared up to this version.
    pub fn stored(self: &Arc<Self>, number: u64, covered: BTreeMap<u32, Covered>, version: u64) {
        let mut state = self.state();
        // What was declared while the write was on its way is not in it, and stays.
        for (partition, covered) in covered {
            let known = state.covered.entry(partition).or_insert(covered);
            let message = if known.number == covered.number { known.message.max(covered.message) } else { covered.message };
            *known = Covered { message, ..covered };
        }
        state.stored = state.stored.max(version);
        state.stored_number = number;
        state.spent = state.spent.split_off(&(number + 1));
        if state.doubt_end.is_some_and(|end| number >= end) {
            state.in_doubt = false;
        }
        for receipts in state.receipts.values_mut() {
            let newest = receipts.partition_point(|receipt| receipt.number <= number);
            // The last one covered is kept: it has the message id that a later answer without one goes by.
            receipts.drain(..newest.saturating_sub(1));
        }
        drop(state);
        self.look();
    }

    /// Source: records are routed over this many partitions from now on. Nothing of the lineage may be on its way.
    pub fn set_partitions(&self, partitions: u32) {
        self.state().partitions = partitions;
    }

    /// Source: nothing more comes of it.
    pub fn close(self: &Arc<Self>) {
        self.state().closed = true;
        self.look();
    }

    /// Source: waits until `look` finds something, asked again whenever the sink has news. Cancel-safe.
    pub async fn until<T>(&self, look: impl Fn(&Self) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before the look, so that news between look and wait are not missed.
            changed.as_mut().enable();
            if let Some(found) = look(self) {
                return found;
            }
            changed.await;
        }
    }

    fn look(self: &Arc<Self>) {
        self.hub.ask(LineageRequest::Look(Arc::clone(self)));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lineage({})", self.name)
    }
}

/// The name under which a producer's spent numbers are sent.
pub fn late_name(name: &ByteString) -> ByteString {
    format!("{name}-late").into()
}

#[cfg(test)]
#[path = "lineage_tests.rs"]
mod tests;
