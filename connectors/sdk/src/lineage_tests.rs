#![allow(clippy::unwrap_used)]
use super::*;
use futures_util::FutureExt;

fn id(entry: i64) -> Option<MessageId> {
    Some(MessageId { ledger: 7, entry })
}

fn spec(in_doubt: bool) -> LineageSpec {
    LineageSpec {
        partition: "shard".into(),
        name: "app/orders/shard/1".into(),
        partitions: 2,
        in_doubt,
        doubt_from: None,
        covered: BTreeMap::from([(0, Covered { number: 5, message: id(1) })]),
        spent: BTreeSet::from([9]),
        uncovered_since: 1_000,
        fence: Fence::new(),
    }
}

#[test]
fn a_checkpoint_covers_the_newest_entry_of_each_partition_that_lies_whole_before_it() {
    let lineage = Lineages::default().open(spec(false));
    lineage.receipted(0, 12, id(2));
    lineage.receipted(1, 14, id(8));
    lineage.receipted(0, 20, id(3));
    let covered = lineage.coverage(19);
    assert_eq!(covered, BTreeMap::from([(0, Covered { number: 12, message: id(2) }), (1, Covered { number: 14, message: id(8) })]));
    let (spent, version) = lineage.spent_beyond(19);
    assert!(spent.is_empty());
    lineage.stored(19, covered, version);
    assert_eq!(lineage.covered(1).unwrap().number, 14);
    assert!(!lineage.is_spent(9), "the checkpoint has passed it");
    assert_eq!(lineage.coverage(20)[&0], Covered { number: 20, message: id(3) });
}

#[test]
fn an_answer_without_a_place_keeps_the_older_one() {
    let lineage = Lineages::default().open(spec(false));
    lineage.receipted(0, 6, None);
    assert_eq!(lineage.coverage(6)[&0], Covered { number: 6, message: id(1) }, "from the row");
    lineage.receipted(0, 7, id(4));
    let covered = lineage.coverage(7);
    lineage.stored(7, covered, 0);
    lineage.receipted(0, 8, None);
    assert_eq!(lineage.coverage(8)[&0], Covered { number: 8, message: id(4) });
}

#[test]
fn what_is_spent_is_waited_for_until_it_is_stored() {
    let lineage = Lineages::default().open(spec(true));
    let version = lineage.declare_spent([11, 12]);
    assert!(lineage.is_spent(11) && lineage.has_to_store() && !lineage.is_stored(version));
    let (spent, snapshot) = lineage.spent_beyond(5);
    let second = lineage.declare_spent([13]);
    lineage.stored(5, lineage.coverage(5), snapshot);
    assert_eq!(spent, BTreeSet::from([9, 11, 12]));
    assert!(lineage.is_stored(version) && !lineage.is_stored(second), "declared while the write was on its way");
    assert!(lineage.is_spent(13), "and not forgotten by it");
}

#[test]
fn a_partition_is_written_down_before_its_first_use() {
    let lineage = Lineages::default().open(spec(false));
    assert_eq!(lineage.used(), [0]);
    let (_, version) = lineage.spent_beyond(5);
    let snapshot = lineage.coverage(5);
    let declared = lineage.declare_used(1, id(40));
    lineage.stored(5, snapshot, version);
    assert!(!lineage.is_stored(declared), "declared while the write was on its way");
    let (_, version) = lineage.spent_beyond(5);
    let covered = lineage.coverage(5);
    assert_eq!(covered[&1], Covered { number: 0, message: id(40) });
    lineage.stored(5, covered, version);
    assert!(lineage.is_stored(declared) && lineage.used() == [0, 1]);
}

#[test]
fn where_nothing_is_sent_a_reading_begins_later_once_all_that_was_sent_is_covered() {
    let lineage = Lineages::default().open(spec(false));
    // On the wire, and never receipted: it may be stored all the same.
    lineage.writing(0, 12);
    lineage.declare_newest(0, id(30).unwrap());
    assert!(!lineage.has_to_store(), "a successor would send 12 again, which may lie before it");
    lineage.receipted(0, 12, id(2));
    lineage.declare_newest(0, id(30).unwrap());
    assert!(!lineage.has_to_store(), "the same, until the checkpoint covers it");
    lineage.stored(12, lineage.coverage(12), 0);
    lineage.declare_newest(0, MessageId { ledger: 40, entry: -1 });
    assert!(!lineage.has_to_store(), "what an empty ledger is followed by may be trimmed unseen");
    lineage.declare_newest(1, id(30).unwrap());
    assert!(!lineage.has_to_store(), "never used there");
    lineage.declare_newest(0, id(30).unwrap());
    assert!(lineage.has_to_store());
    assert_eq!(lineage.coverage(12)[&0], Covered { number: 12, message: id(30) });
    let (before, version) = (BTreeMap::from([(0, Covered { number: 12, message: id(2) })]), lineage.spent_beyond(12).1);
    lineage.stored(12, before, version);
    assert_eq!(lineage.covered(0).unwrap().message, id(30), "a write that was on its way does not take it back");
    lineage.declare_newest(0, id(29).unwrap());
    assert!(!lineage.has_to_store(), "it never moves back");
    lineage.receipted(0, 13, None);
    assert_eq!(lineage.newest(0), Some(Covered { number: 13, message: id(30) }));
}

#[test]
fn doubt_ends_with_a_checkpoint_at_its_end_and_not_before_the_end_is_known() {
    let lineage = Lineages::default().open(spec(true));
    lineage.stored(50, lineage.coverage(50), 0);
    assert!(lineage.is_in_doubt());
    lineage.set_doubt_end(60);
    lineage.stored(59, lineage.coverage(59), 0);
    assert!(lineage.is_in_doubt());
    lineage.stored(60, lineage.coverage(60), 0);
    assert!(!lineage.is_in_doubt());
}

#[tokio::test]
async fn requests_reach_the_sink_and_answers_the_source() {
    let lineages = Lineages::default();
    assert!(lineages.asked().now_or_never().is_none());
    let sealing = lineages.seal(vec!["old".into()], "topic".into(), 3);
    tokio::pin!(sealing);
    assert!(sealing.as_mut().now_or_never().is_none());
    lineages.asked().await;
    let Some(LineageRequest::Seal(seal)) = lineages.take_requests().pop() else { panic!("one request") };
    seal.answer(Ok(Some(4)));
    assert_eq!(sealing.await.unwrap(), Some(4));
    let lineage = lineages.open(spec(false));
    assert!(matches!(&lineages.take_requests()[..], [LineageRequest::Open(opened)] if Arc::ptr_eq(opened, &lineage)));
    let waiting = lineage.until(Lineage::doubt_end);
    tokio::pin!(waiting);
    assert!(waiting.as_mut().now_or_never().is_none());
    lineage.set_doubt_end(3);
    assert_eq!(waiting.await, 3);
    lineage.close();
    assert!(lineage.is_over() && matches!(&lineages.take_requests()[..], [LineageRequest::Look(_)]));
}

#[test]
fn receipts_are_bounded_and_stay_in_order() {
    let lineage = Lineages::default().open(spec(false));
    for number in 10..20_000 {
        lineage.receipted(0, number, id(1));
    }
    assert!(lineage.state().receipts[&0].len() <= RECEIPTS);
    assert_eq!(lineage.coverage(u64::MAX - 1)[&0].number, 19_999);
    assert!(lineage.coverage(15_000)[&0].number <= 15_000);
}
