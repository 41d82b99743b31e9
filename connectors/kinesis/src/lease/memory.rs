//! A lease table in memory, for tests and simulations: the same rows and the same compare-and-set as DynamoDB, with faults by script.
//!
//! A hook sees each operation before it is carried out and may order a [`Fault`]. A write whose reply is lost may land at once,
//! later, or never, as on a real network.

use super::change::{Action, Update};
use super::row::{CHECKPOINT, CHILDREN, COUNTER, Item, LEASE_KEY, Lease, OWNER, RowError, number, shard_set, text};
use super::table::{Created, Ensured, LeaseTable, TableRow, Written};
use crate::config::BillingMode;
use crate::ids::ShardId;
use aws_sdk_dynamodb::types::AttributeValue;
use connector_sdk::{Error, ErrorKind};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// What is asked of the table, as the hook sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Which operation.
    pub kind: OperationKind,
    /// On which row, where it is one row.
    pub shard: Option<ShardId>,
    /// How many operations came before it.
    pub number: u64,
}

/// The operations of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationKind {
    /// Existence or creation of the table, or rows of another one.
    Table,
    /// A scan.
    Scan,
    /// A consistent read.
    Get,
    /// A new row.
    Create,
    /// A compare-and-set.
    Update,
    /// Children put on a row.
    PutChildren,
    /// A removal.
    Delete,
}

/// What goes wrong with an operation.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It never arrives and is never answered.
    LostBefore,
    /// It is carried out; the answer is lost.
    LostAfter,
    /// The answer is lost; it is carried out after this many further operations.
    Late(u64),
    /// It is never answered, and carried out this much later, whether or not anybody still waits.
    LandsAfter(Duration),
    /// It is throttled.
    Throttled,
    /// It fails with this error; nothing is written.
    Error(Error),
    /// It reaches the table this much later, and is answered then.
    Slow(Duration),
}

/// Decides what goes wrong.
type Hook = Box<dyn FnMut(&Operation) -> Option<Fault> + Send>;

/// A table in memory.
pub struct MemoryTable {
    name: String,
    state: Mutex<State>,
    hook: Mutex<Option<Hook>>,
}

#[derive(Default)]
struct State {
    exists: bool,
    rows: BTreeMap<String, Item>,
    side: BTreeMap<String, Vec<Item>>,
    operations: u64,
    late: Vec<(u64, Write)>,
    /// On their way to the table, in the order of their arrival.
    landing: BTreeMap<(Instant, u64), Write>,
}

enum Write {
    Create(Lease),
    Update(Update),
    PutChildren(ShardId, Vec<ShardId>),
    Delete(Lease),
}

enum Landed {
    Applied,
    Refused,
}

impl MemoryTable {
    /// A table that does not exist yet.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), state: Mutex::default(), hook: Mutex::default() }
    }

    /// Puts a row as it is, over whatever is there; the table exists then.
    pub fn put(&self, item: Item) {
        let mut state = self.state();
        state.exists = true;
        state.rows.insert(text(&item, LEASE_KEY).unwrap_or_default().to_owned(), item);
    }

    /// Makes another table with these rows.
    pub fn put_side_table(&self, table: impl Into<String>, rows: Vec<Item>) {
        self.state().side.insert(table.into(), rows);
    }

    /// All items, by key.
    pub fn items(&self) -> Vec<Item> {
        self.state().rows.values().cloned().collect()
    }

    /// The leases among the rows, by key.
    pub fn leases(&self) -> Vec<Lease> {
        self.items().iter().filter_map(|item| Lease::decode(item).ok().flatten()).collect()
    }

    /// One lease.
    pub fn lease(&self, shard: &str) -> Option<Lease> {
        self.state().rows.get(shard).and_then(|item| Lease::decode(item).ok().flatten())
    }

    /// From now on `hook` sees each operation first.
    pub fn set_hook(&self, hook: impl FnMut(&Operation) -> Option<Fault> + Send + 'static) {
        *self.hook.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(hook));
    }

    /// Operations asked so far.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.landing.is_empty() {
            state.land(Instant::now());
        }
        state
    }

    /// Counts the operation, lets late writes land, asks the hook.
    async fn begin(&self, kind: OperationKind, shard: Option<&ShardId>) -> Option<Fault> {
        let fault = self.ask(kind, shard);
        if let Some(Fault::Slow(duration)) = fault {
            tokio::time::sleep(duration).await;
            return None;
        }
        fault
    }

    fn ask(&self, kind: OperationKind, shard: Option<&ShardId>) -> Option<Fault> {
        let number = {
            let mut state = self.state();
            let number = state.operations;
            state.operations += 1;
            let (landing, waiting) = std::mem::take(&mut state.late).into_iter().partition(|(due, _)| *due <= number);
            state.late = waiting;
            let landing: Vec<(u64, Write)> = landing;
            for (_, write) in landing {
                state.apply(&write);
            }
            number
        };
        let mut hook = self.hook.lock().unwrap_or_else(PoisonError::into_inner);
        hook.as_mut()?(&Operation { kind, shard: shard.cloned(), number })
    }

    /// What is never answered.
    async fn no_answer<T>(&self) -> T {
        std::future::pending().await
    }

    /// Fails a read, as the fault says.
    async fn begin_read(&self, kind: OperationKind, shard: Option<&ShardId>) -> Result<(), Error> {
        match self.begin(kind, shard).await {
            None | Some(Fault::Slow(_)) => Ok(()),
            Some(Fault::Throttled) => Err(self.throttled()),
            Some(Fault::Error(error)) => Err(error),
            Some(Fault::LostBefore | Fault::LostAfter | Fault::Late(_)) => Err(self.lost()),
            Some(Fault::LandsAfter(_)) => self.no_answer().await,
        }
    }

    /// Carries a write out, as the fault says: `Err` is certain, `Ok(None)` unknown.
    async fn write(&self, kind: OperationKind, shard: &ShardId, write: Write) -> Result<Option<Landed>, Error> {
        match self.begin(kind, Some(shard)).await {
            None | Some(Fault::Slow(_)) => Ok(Some(self.state().apply(&write))),
            Some(Fault::Throttled) => Err(self.throttled()),
            Some(Fault::Error(error)) => Err(error),
            Some(Fault::LostBefore) => Ok(None),
            Some(Fault::LostAfter) => {
                self.state().apply(&write);
                Ok(None)
            }
            Some(Fault::Late(after)) => {
                let mut state = self.state();
                let due = state.operations + after;
                state.late.push((due, write));
                Ok(None)
            }
            Some(Fault::LandsAfter(duration)) => {
                {
                    let mut state = self.state();
                    let number = state.operations;
                    state.landing.insert((Instant::now() + duration, number), write);
                }
                self.no_answer().await
            }
        }
    }

    fn throttled(&self) -> Error {
        Error::new(ErrorKind::Throttled(None), format!("table `{}` was throttled", self.name))
    }

    fn lost(&self) -> Error {
        Error::transient(format!("table `{}` did not answer", self.name))
    }

    fn read(&self, shard: &ShardId) -> Result<Option<Lease>, Error> {
        match self.state().rows.get(shard.as_str()) {
            Some(item) => Lease::decode(item).map_err(|error: RowError| Error::new(ErrorKind::Data, error.to_string())),
            None => Ok(None),
        }
    }
}

impl State {
    /// Carries out what has arrived by now.
    fn land(&mut self, now: Instant) {
        while let Some(first) = self.landing.first_entry()
            && first.key().0 <= now
        {
            let write = first.remove();
            self.apply(&write);
        }
    }

    fn apply(&mut self, write: &Write) -> Landed {
        match write {
            Write::Create(lease) => {
                if self.rows.contains_key(lease.shard.as_str()) {
                    return Landed::Refused;
                }
                self.rows.insert(lease.shard.to_string(), lease.encode());
            }
            Write::Update(update) => {
                let Some(item) = self.rows.get_mut(update.shard.as_str()) else { return Landed::Refused };
                let owned = update.owner.as_deref().is_none_or(|owner| text(item, OWNER) == Some(owner));
                if number(item, COUNTER) != Ok(Some(update.counter)) || !owned {
                    return Landed::Refused;
                }
                carry_out(item, &update.actions());
            }
            Write::PutChildren(shard, children) => {
                let Some(item) = self.rows.get_mut(shard.as_str()) else { return Landed::Refused };
                carry_out(item, &[(CHILDREN, Action::Set(shard_set(children)))]);
            }
            Write::Delete(lease) => {
                let Some(item) = self.rows.get(lease.shard.as_str()) else { return Landed::Refused };
                if number(item, COUNTER) != Ok(Some(lease.counter)) || text(item, CHECKPOINT) != Some("SHARD_END") {
                    return Landed::Refused;
                }
                self.rows.remove(lease.shard.as_str());
            }
        }
        Landed::Applied
    }
}

fn carry_out(item: &mut Item, actions: &[(&'static str, Action)]) {
    for (name, action) in actions {
        match action {
            Action::Set(value) => {
                item.insert((*name).to_owned(), value.clone());
            }
            Action::Add(more) => {
                let sum = number(item, name).ok().flatten().unwrap_or(0) + more;
                item.insert((*name).to_owned(), AttributeValue::N(sum.to_string()));
            }
            Action::Remove => {
                item.remove(*name);
            }
        }
    }
}

impl LeaseTable for MemoryTable {
    fn name(&self) -> &str {
        &self.name
    }

    fn exists<'a>(&'a self, table: &'a str) -> BoxFuture<'a, Result<bool, Error>> {
        async move {
            self.begin_read(OperationKind::Table, None).await?;
            let state = self.state();
            Ok(if table == self.name { state.exists } else { state.side.contains_key(table) })
        }
        .boxed()
    }

    fn ensure(&self, _billing: BillingMode) -> BoxFuture<'_, Result<Ensured, Error>> {
        async move {
            self.begin_read(OperationKind::Table, None).await?;
            let existed = std::mem::replace(&mut self.state().exists, true);
            Ok(if existed { Ensured::Existed } else { Ensured::Created })
        }
        .boxed()
    }

    fn scan(&self) -> BoxFuture<'_, Result<Vec<TableRow>, Error>> {
        async move {
            self.begin_read(OperationKind::Scan, None).await?;
            Ok(self.items().into_iter().map(TableRow::from_item).collect())
        }
        .boxed()
    }

    fn get<'a>(&'a self, shard: &'a ShardId) -> BoxFuture<'a, Result<Option<Lease>, Error>> {
        async move {
            self.begin_read(OperationKind::Get, Some(shard)).await?;
            self.read(shard)
        }
        .boxed()
    }

    fn create<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<Created, Error>> {
        async move {
            Ok(match self.write(OperationKind::Create, &lease.shard, Write::Create(lease.clone())).await? {
                Some(Landed::Applied) => Created::New,
                Some(Landed::Refused) => Created::Existed,
                None => Created::Unknown(self.lost()),
            })
        }
        .boxed()
    }

    fn update<'a>(&'a self, update: &'a Update) -> BoxFuture<'a, Result<Written, Error>> {
        async move {
            let landed = self.write(OperationKind::Update, &update.shard, Write::Update(update.clone())).await?;
            let row = || self.read(&update.shard).map(|row| row.map(Box::new));
            Ok(match landed {
                Some(Landed::Applied) => Written::Applied(row()?.expect("the row was changed just now")),
                Some(Landed::Refused) => Written::Refused(row()?),
                None => Written::Unknown(self.lost()),
            })
        }
        .boxed()
    }

    fn put_children<'a>(&'a self, shard: &'a ShardId, children: &'a [ShardId]) -> BoxFuture<'a, Result<bool, Error>> {
        async move {
            match self.write(OperationKind::PutChildren, shard, Write::PutChildren(shard.clone(), children.to_vec())).await? {
                Some(landed) => Ok(matches!(landed, Landed::Applied)),
                None => Err(self.lost()),
            }
        }
        .boxed()
    }

    fn delete<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<bool, Error>> {
        async move {
            match self.write(OperationKind::Delete, &lease.shard, Write::Delete(lease.clone())).await? {
                Some(landed) => Ok(matches!(landed, Landed::Applied)),
                None => Err(self.lost()),
            }
        }
        .boxed()
    }

    fn side_rows<'a>(&'a self, table: &'a str) -> BoxFuture<'a, Result<Option<Vec<Item>>, Error>> {
        async move {
            self.begin_read(OperationKind::Table, None).await?;
            Ok(self.state().side.get(table).cloned())
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Fault, LeaseTable, MemoryTable, OperationKind};
    use crate::lease::{Change, Lease, Update};
    use std::time::Duration;
    use tokio::time::{sleep, timeout};

    #[tokio::test(start_paused = true)]
    async fn a_write_may_land_when_nobody_waits_for_it_any_more() {
        let table = MemoryTable::new("orders");
        let lease = Lease::decode(&table_row()).unwrap().unwrap();
        table.create(&lease).await.unwrap();
        table.set_hook(|operation| (operation.kind == OperationKind::Update).then_some(Fault::LandsAfter(Duration::from_secs(3))));
        let update = Update { shard: lease.shard.clone(), counter: 0, owner: None, change: Change::default() };
        timeout(Duration::from_secs(1), table.update(&update)).await.unwrap_err();
        assert_eq!(table.lease("shard").unwrap().counter, 0, "it is on its way");
        sleep(Duration::from_secs(2)).await;
        assert_eq!(table.get(&lease.shard).await.unwrap().unwrap().counter, 1);
    }

    fn table_row() -> super::Item {
        use aws_sdk_dynamodb::types::AttributeValue::{N, S};
        let row = [("leaseKey", S("shard".into())), ("leaseCounter", N("0".into())), ("checkpoint", S("TRIM_HORIZON".into()))];
        row.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}
