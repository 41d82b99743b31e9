//! What a broker knows of its producers' numbers, by topic and producer name, and the verdict it gives by it.
//!
//! Only the lowest number of an entry is judged, and the entry as a whole; the answer comes from what was pushed to storage, not
//! from what is stored. That is so on purpose: it is what a real broker does.

use std::collections::BTreeMap;

/// The verdict on an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// New.
    Accept,
    /// Stored before.
    Duplicate,
    /// Pushed before, and not known to be stored.
    Unknown,
}

/// One topic's numbers.
#[derive(Debug, Clone)]
pub(super) struct Dedup {
    on: bool,
    pushed: BTreeMap<String, i64>,
    persisted: BTreeMap<String, i64>,
}

impl Default for Dedup {
    fn default() -> Self {
        Self { on: true, pushed: BTreeMap::new(), persisted: BTreeMap::new() }
    }
}

impl Dedup {
    /// Judges an entry, and takes note of one that is accepted.
    pub(super) fn judge(&mut self, name: &str, lowest: i64, highest: i64) -> Verdict {
        if !self.on {
            return Verdict::Accept;
        }
        if self.pushed.get(name).is_some_and(|pushed| lowest <= *pushed) {
            let stored = self.persisted.get(name).is_some_and(|persisted| lowest <= *persisted);
            return if stored { Verdict::Duplicate } else { Verdict::Unknown };
        }
        self.pushed.insert(name.to_owned(), highest);
        Verdict::Accept
    }

    /// An accepted entry is stored.
    pub(super) fn stored(&mut self, name: &str, highest: i64) {
        if self.on {
            self.persisted.insert(name.to_owned(), highest);
        }
    }

    /// What PRODUCER is answered with.
    pub(super) fn last(&self, name: &str) -> i64 {
        self.pushed.get(name).copied().unwrap_or(-1)
    }

    /// A write failed, or the topic was loaded again: only what is stored counts.
    pub(super) fn reset(&mut self) {
        self.pushed = self.persisted.clone();
    }

    /// What is known to be stored, by name.
    pub(super) fn numbers(&self) -> BTreeMap<String, i64> {
        self.persisted.clone()
    }

    /// A second recovery of the topic puts the numbers it has read over newer ones.
    pub(super) fn put_over(&mut self, numbers: BTreeMap<String, i64>) {
        if self.on {
            self.pushed.extend(numbers.clone());
            self.persisted.extend(numbers);
        }
    }

    /// A name was away for too long.
    pub(super) fn forget(&mut self, name: &str) {
        self.pushed.remove(name);
        self.persisted.remove(name);
    }

    /// Names that are known.
    pub(super) fn names(&self) -> Vec<String> {
        self.pushed.keys().cloned().collect()
    }

    /// Switches deduplication; what was known is gone when it is switched off.
    pub(super) fn switch(&mut self, on: bool) {
        if !on {
            self.pushed.clear();
            self.persisted.clear();
        }
        self.on = on;
    }

    /// Whether it is on.
    pub(super) fn is_on(&self) -> bool {
        self.on
    }
}

#[cfg(test)]
mod tests {
    use super::{Dedup, Verdict};

    #[test]
    fn an_entry_is_judged_as_a_whole_by_its_lowest_number() {
        let mut dedup = Dedup::default();
        assert_eq!(dedup.judge("a", 5, 7), Verdict::Accept);
        dedup.stored("a", 7);
        assert_eq!(dedup.judge("a", 6, 9), Verdict::Duplicate, "8 and 9 are lost behind it");
        assert_eq!(dedup.judge("a", 8, 9), Verdict::Accept);
        assert_eq!(dedup.judge("b", 1, 1), Verdict::Accept, "each name by itself");
    }

    #[test]
    fn what_is_pushed_and_not_stored_is_unknown() {
        let mut dedup = Dedup::default();
        assert_eq!(dedup.judge("a", 5, 5), Verdict::Accept);
        assert_eq!((dedup.judge("a", 5, 5), dedup.last("a")), (Verdict::Unknown, 5));
        dedup.reset();
        assert_eq!((dedup.last("a"), dedup.judge("a", 5, 5)), (-1, Verdict::Accept));
    }

    #[test]
    fn a_stored_number_is_put_as_it_is() {
        let mut dedup = Dedup::default();
        dedup.judge("a", 5, 5);
        dedup.judge("a", 6, 6);
        dedup.stored("a", 6);
        dedup.stored("a", 5);
        dedup.reset();
        assert_eq!(dedup.last("a"), 5, "the last write wins");
    }

    #[test]
    fn a_second_recovery_forgets_what_was_stored_since_the_first() {
        let mut dedup = Dedup::default();
        dedup.judge("a", 5, 5);
        dedup.stored("a", 5);
        let numbers = dedup.numbers();
        dedup.judge("a", 6, 6);
        dedup.stored("a", 6);
        dedup.put_over(numbers);
        assert_eq!((dedup.last("a"), dedup.judge("a", 6, 6)), (5, Verdict::Accept), "stored again");
    }

    #[test]
    fn switched_off_everything_is_taken_and_forgotten() {
        let mut dedup = Dedup::default();
        dedup.judge("a", 5, 5);
        dedup.stored("a", 5);
        dedup.switch(false);
        assert_eq!((dedup.judge("a", 5, 5), dedup.last("a")), (Verdict::Accept, -1));
        dedup.switch(true);
        assert_eq!(dedup.judge("a", 5, 5), Verdict::Accept);
    }
}
