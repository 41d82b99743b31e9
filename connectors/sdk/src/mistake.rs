//! Mistakes that can be planted, to prove that a simulation would find them.
//!
//! Without the feature `mistakes` the question is answered at compile time: no. With it, one mistake at a time is planted for the
//! current thread; nothing is planted unless a test asks for it.

/// A plausible way to get effectively-once wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mistake {
    /// What numbers depend on is stored only after the first send.
    StoredAfterFirstSend,
    /// A batch may hold numbers on both sides of the producer's last id.
    BatchAcrossLastId,
    /// "Stored before" is believed for numbers that nobody can have sent.
    DuplicateTrusted,
    /// The producer's name is that of whoever holds the lease.
    NameByInstance,
    /// A take leaves the mark of a clean row as it is.
    TakeKeepsClean,
    /// A topic that has grown is followed while an owner before may have sent by the old count.
    GrowthInsideDoubt,
    /// What was refused with something stored behind it goes again under the same name.
    RefusedGoesAgain,
    /// A producer is opened again before its close was answered.
    ReopenWithoutSuccess,
    /// What a forgotten producer stored is read from the time of the checkpoint on.
    ReadBackFromCheckpoint,
    /// After a crash the broker's last number is believed wherever it is not below what is known to be stored.
    LastIdBelieved,
    /// The topic is read back at once, before what was on its way can be in it.
    ReadBackAtOnce,
    /// A row with our name and the next counter is taken for our write.
    LateRenewalIsMyWrite,
}

impl Mistake {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::StoredAfterFirstSend,
        Self::BatchAcrossLastId,
        Self::DuplicateTrusted,
        Self::NameByInstance,
        Self::TakeKeepsClean,
        Self::GrowthInsideDoubt,
        Self::RefusedGoesAgain,
        Self::ReopenWithoutSuccess,
        Self::ReadBackFromCheckpoint,
        Self::LastIdBelieved,
        Self::ReadBackAtOnce,
        Self::LateRenewalIsMyWrite,
    ];
}

/// Whether the mistake is to be made.
#[cfg(not(feature = "mistakes"))]
pub const fn planted(_mistake: Mistake) -> bool {
    false
}

#[cfg(feature = "mistakes")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Mistake>> = const { std::cell::Cell::new(None) };
}

/// Whether the mistake is to be made.
#[cfg(feature = "mistakes")]
pub fn planted(mistake: Mistake) -> bool {
    PLANTED.get() == Some(mistake)
}

/// From now on this mistake, or none, is made by what runs on the current thread.
#[cfg(feature = "mistakes")]
pub fn plant(mistake: Option<Mistake>) {
    PLANTED.set(mistake);
}
