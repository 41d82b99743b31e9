//! What the coordinator tells of its rounds over the lease table, in the KCL's terms.

/// What a round of taking leases saw and did. The names are the KCL's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TakeRound {
    /// `TotalLeases`: leases in the table.
    pub total: u64,
    /// `NumWorkers`: workers that hold leases, this one included.
    pub workers: u64,
    /// `ExpiredLeases`: leases that nobody holds, or whose holder went silent.
    pub expired: u64,
    /// `VeryOldLeases`: of these, the ones that are free for much longer than the failover time.
    pub very_old: u64,
    /// `NeededLeases`: what this worker lacks for its fair share.
    pub needed: u64,
    /// `LeasesToTake`: what it tried to take.
    pub to_take: u64,
    /// `TakenLeases`: what it took.
    pub taken: u64,
    /// `UntakenLeases`: what another worker was faster with.
    pub untaken: u64,
    /// `LeaseSpillover`: what it left because of its own maximum.
    pub spillover: u64,
}

/// A single call of the lease table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseCall {
    /// The scan of a taking round.
    List,
    /// The take of one lease.
    Take,
    /// The renewal of one lease.
    Renew,
    /// The creation of a lease by the shard sync.
    Create,
}
