//! The lease table as each worker reaches it: through a network of its own, which is slow, loses replies, and stands still.

use crate::life::Life;
use crate::world::{World, lock};
use connector_kinesis::config::BillingMode;
use connector_kinesis::ids::ShardId;
use connector_kinesis::lease::{Created, Ensured, Fault, Item, Lease, LeaseTable, MemoryTable, TableRow, Update, Written};
use connector_sdk::Error;
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How long the table's client waits for an answer, whatever its caller does.
const PATIENCE: Duration = Duration::from_millis(2_500);

/// What goes wrong with the table's answers, each in so many of a thousand operations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TableTrouble {
    /// Carried out, and the answer is lost.
    pub reply_lost: u64,
    /// Not carried out, and no answer.
    pub request_lost: u64,
    /// No answer, and carried out up to eight seconds later.
    pub late: u64,
    /// Refused for now.
    pub throttled: u64,
    /// Answered up to two seconds later.
    pub slow: u64,
}

/// What a worker asks of the table, for a script to order a fault.
#[derive(Debug)]
pub struct Call<'a> {
    /// Which worker.
    pub worker: &'a str,
    /// What it writes, if it is a compare-and-set.
    pub update: Option<&'a Update>,
}

impl Call<'_> {
    /// Whether it is a renewal: a compare-and-set that changes nothing but the counter.
    pub fn is_renewal(&self) -> bool {
        self.update.is_some_and(|update| {
            let change = &update.change;
            change.checkpoint.is_none() && change.attribute.is_none() && change.owner == connector_kinesis::lease::OwnerChange::Keep
        })
    }

    /// Whether it stores something.
    pub fn is_store(&self) -> bool {
        self.update.is_some_and(|update| update.change.checkpoint.is_some())
    }
}

type Script = Box<dyn FnMut(&Call<'_>) -> Option<Fault> + Send>;

/// The table of a run. Clones are the same.
#[derive(Clone)]
pub struct Tables {
    world: World,
    table: Arc<MemoryTable>,
    /// The fault of the operation that comes next.
    next: Arc<Mutex<Option<Fault>>>,
    trouble: Arc<Mutex<TableTrouble>>,
    script: Arc<Mutex<Option<Script>>>,
    /// The table as workers see it for whom no time passes.
    frozen: Arc<Mutex<BTreeMap<String, Arc<MemoryTable>>>>,
}

impl Tables {
    /// A table without rows, and without troubles.
    pub fn new(world: &World) -> Self {
        let table = Arc::new(MemoryTable::new("orders"));
        let next: Arc<Mutex<Option<Fault>>> = Arc::default();
        let ordered = Arc::clone(&next);
        table.set_hook(move |_| lock(&ordered).take());
        Self { world: world.clone(), table, next, trouble: Arc::default(), script: Arc::default(), frozen: Arc::default() }
    }

    /// The table itself.
    pub fn table(&self) -> &Arc<MemoryTable> {
        &self.table
    }

    /// A worker's machine stands still, and its clocks with it: for it nobody else ever writes again.
    pub fn freeze(&self, worker: &str) {
        let copy = MemoryTable::new(self.table.name());
        for item in self.table.items() {
            copy.put(item);
        }
        lock(&self.frozen).insert(worker.to_owned(), Arc::new(copy));
    }

    /// What goes wrong from now on.
    pub fn set_trouble(&self, trouble: TableTrouble) {
        *lock(&self.trouble) = trouble;
    }

    /// From now on `script` sees each operation and may order its fault.
    pub fn set_script(&self, script: impl FnMut(&Call<'_>) -> Option<Fault> + Send + 'static) {
        *lock(&self.script) = Some(Box::new(script));
    }

    /// The table as a worker reaches it.
    pub fn of(&self, worker: &str, life: &Life) -> Arc<dyn LeaseTable> {
        Arc::new(WorkerTable { tables: self.clone(), worker: worker.to_owned(), life: life.clone() })
    }

    fn fault(&self, call: &Call<'_>) -> Option<Fault> {
        if let Some(fault) = lock(&self.script).as_mut().and_then(|script| script(call)) {
            return Some(fault);
        }
        let trouble = *lock(&self.trouble);
        let world = &self.world;
        let roll = world.below(1_000);
        let mut bound = 0;
        let mut falls_in = |share: u64| {
            bound += share;
            roll < bound
        };
        if falls_in(trouble.reply_lost) {
            Some(Fault::LostAfter)
        } else if falls_in(trouble.request_lost) {
            Some(Fault::LostBefore)
        } else if falls_in(trouble.late) {
            Some(Fault::LandsAfter(world.millis_between(200, 8_000)))
        } else if falls_in(trouble.throttled) {
            Some(Fault::Throttled)
        } else if falls_in(trouble.slow) {
            Some(Fault::Slow(world.millis_between(10, 2_000)))
        } else {
            None
        }
    }
}

struct WorkerTable {
    tables: Tables,
    worker: String,
    life: Life,
}

impl WorkerTable {
    /// The table as this worker sees it.
    fn table(&self) -> Arc<MemoryTable> {
        lock(&self.tables.frozen).get(&self.worker).map_or_else(|| Arc::clone(&self.tables.table), Arc::clone)
    }

    /// The way there: time, and whatever goes wrong.
    async fn there(&self, what: impl Fn() -> String, update: Option<&Update>) {
        sleep(Duration::from_millis(self.tables.world.between(0, 3))).await;
        self.life.proceed().await;
        if !self.life.step(&what) {
            std::future::pending::<()>().await;
        }
        let fault = self.tables.fault(&Call { worker: &self.worker, update });
        self.tables.world.note(|| {
            let fault = fault.as_ref().map_or_else(String::new, |fault| format!(", {}", in_words(fault)));
            format!("{} -> table: {}{fault}", self.worker, what())
        });
        *lock(&self.tables.next) = fault;
    }

    /// The way back.
    async fn back(&self) {
        sleep(Duration::from_millis(self.tables.world.between(0, 3))).await;
        self.life.proceed().await;
    }
}

fn unanswered() -> Error {
    Error::transient("the table did not answer in time")
}

fn in_words(fault: &Fault) -> String {
    match fault {
        Fault::LostBefore => "the request is lost".to_owned(),
        Fault::LostAfter => "the reply is lost".to_owned(),
        Fault::Late(operations) => format!("no reply, carried out {operations} operations later"),
        Fault::LandsAfter(duration) => format!("no reply, carried out {} ms later", duration.as_millis()),
        Fault::Throttled => "throttled".to_owned(),
        Fault::Error(error) => format!("refused: {error}"),
        Fault::Slow(duration) => format!("{} ms late", duration.as_millis()),
    }
}

fn update_in_words(update: &Update) -> String {
    let change = &update.change;
    let mut words = match &change.owner {
        connector_kinesis::lease::OwnerChange::Take { .. } => "take".to_owned(),
        connector_kinesis::lease::OwnerChange::Clear => "give away".to_owned(),
        connector_kinesis::lease::OwnerChange::Keep if change.attribute.is_some() => "store".to_owned(),
        connector_kinesis::lease::OwnerChange::Keep => "renew".to_owned(),
    };
    words.push_str(&format!(" {} at counter {}", update.shard, update.counter));
    if let Some(checkpoint) = &change.checkpoint {
        words.push_str(&format!(", checkpoint {checkpoint}"));
    }
    if let Some(attribute) = &change.attribute {
        words.push_str(&format!(", {}", attribute.text()));
    }
    words
}

impl LeaseTable for WorkerTable {
    fn name(&self) -> &str {
        self.tables.table.name()
    }

    fn exists<'a>(&'a self, table: &'a str) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            self.there(|| "exists".to_owned(), None).await;
            self.table().exists(table).await
        })
    }

    fn ensure(&self, billing: BillingMode) -> BoxFuture<'_, Result<Ensured, Error>> {
        Box::pin(async move {
            self.there(|| "ensure".to_owned(), None).await;
            self.table().ensure(billing).await
        })
    }

    fn scan(&self) -> BoxFuture<'_, Result<Vec<TableRow>, Error>> {
        Box::pin(async move {
            self.there(|| "scan".to_owned(), None).await;
            let answer = self.table().scan().await;
            self.back().await;
            answer
        })
    }

    fn get<'a>(&'a self, shard: &'a ShardId) -> BoxFuture<'a, Result<Option<Lease>, Error>> {
        Box::pin(async move {
            self.there(|| "get".to_owned(), None).await;
            let answer = timeout(PATIENCE, self.table().get(shard)).await;
            self.back().await;
            answer.unwrap_or_else(|_| Err(unanswered()))
        })
    }

    fn create<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<Created, Error>> {
        Box::pin(async move {
            self.there(|| "create".to_owned(), None).await;
            let answer = timeout(PATIENCE, self.table().create(lease)).await;
            self.back().await;
            answer.unwrap_or_else(|_| Ok(Created::Unknown(unanswered())))
        })
    }

    fn update<'a>(&'a self, update: &'a Update) -> BoxFuture<'a, Result<Written, Error>> {
        Box::pin(async move {
            self.there(|| update_in_words(update), Some(update)).await;
            let answer = timeout(PATIENCE, self.table().update(update)).await;
            let answer = answer.unwrap_or_else(|_| Ok(Written::Unknown(unanswered())));
            if let Ok(Written::Refused(_)) = &answer {
                self.tables.world.note(|| format!("table -> {}: refused", self.worker));
            }
            self.back().await;
            answer
        })
    }

    fn put_children<'a>(&'a self, shard: &'a ShardId, children: &'a [ShardId]) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            self.there(|| "put children".to_owned(), None).await;
            let answer = timeout(PATIENCE, self.table().put_children(shard, children)).await;
            self.back().await;
            answer.unwrap_or_else(|_| Err(unanswered()))
        })
    }

    fn delete<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            self.there(|| "delete".to_owned(), None).await;
            let answer = self.table().delete(lease).await;
            self.back().await;
            answer
        })
    }

    fn side_rows<'a>(&'a self, table: &'a str) -> BoxFuture<'a, Result<Option<Vec<Item>>, Error>> {
        Box::pin(async move {
            self.there(|| "side rows".to_owned(), None).await;
            self.table().side_rows(table).await
        })
    }
}
