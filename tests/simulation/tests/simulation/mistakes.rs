//! Mistakes planted one at a time in the code that ships: the oracle sees each, and only then.

use crate::schedules::{late_renewal, limit_lowered};
use connector_sdk::{Guarantee, Mistake};
use simulation::chaos::chaos;

/// Seeds tried before a mistake counts as unseen.
const TRIED: u64 = 4_000;

/// The first seed from `first` on at which the oracle complains about the mistake, and does not without it.
fn caught(mistake: Mistake, first: u64) {
    let guarantee = Guarantee::EffectivelyOnce;
    let seed = (first..first + TRIED).find(|seed| !chaos(*seed, guarantee, false, Some(mistake)).holds(guarantee));
    let seed = seed.unwrap_or_else(|| panic!("{mistake:?} was not seen in {TRIED} seeds"));
    let complaint = chaos(seed, guarantee, false, Some(mistake)).in_words();
    println!("{mistake:?}: seed {seed}: {complaint}");
    let without = chaos(seed, guarantee, false, None);
    assert!(without.holds(guarantee), "seed {seed} without the mistake: {}", without.in_words());
}

macro_rules! caught {
    ($($name:ident: $mistake:ident from $first:expr;)*) => {
        $(#[test]
        fn $name() {
            caught(Mistake::$mistake, $first);
        })*
    };
}

caught! {
    what_numbers_depend_on_stored_after_the_first_send: StoredAfterFirstSend from 1;
    a_batch_across_the_last_id: BatchAcrossLastId from 1;
    minus_one_trusted: DuplicateTrusted from 1;
    a_name_by_instance: NameByInstance from 1;
    a_take_that_keeps_clean: TakeKeepsClean from 1;
    growth_inside_doubt: GrowthInsideDoubt from 1;
    opened_again_without_success: ReopenWithoutSuccess from 1;
    read_back_from_the_checkpoint: ReadBackFromCheckpoint from 1;
    the_last_id_believed_after_a_crash: LastIdBelieved from 1;
}

/// What can be read back shows it: so it is out of reach here, where the shard has to stand still.
#[test]
fn what_was_refused_goes_again() {
    let (with, without) = (limit_lowered(Some(Mistake::RefusedGoesAgain), false), limit_lowered(None, false));
    assert!(!without.finished && !without.said.is_empty(), "{}", without.in_words());
    let in_silence = with.finished && with.said.is_empty() && !with.findings.lost.is_empty();
    assert!(in_silence, "{}\n{}", with.in_words(), with.trace.join("\n"));
}

/// Rare by chance: a renewal that was given up has to land right before a store.
#[test]
fn a_late_renewal_is_my_write() {
    let (with, without) = (late_renewal(Some(Mistake::LateRenewalIsMyWrite)), late_renewal(None));
    assert!(without.holds(Guarantee::EffectivelyOnce), "{}", without.in_words());
    assert!(!with.holds(Guarantee::EffectivelyOnce), "{}\n{}", with.in_words(), with.trace.join("\n"));
}
