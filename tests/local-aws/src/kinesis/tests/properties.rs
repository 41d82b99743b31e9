//! Whatever is done to a stream, in any order and at any time, its promises hold.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Put { key: u16, size: usize },
    Split { pick: usize, part: u8 },
    Merge { pick: usize },
    Resize { target: u32 },
    Advance { ms: Millis },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (any::<u16>(), 0..2000_usize).prop_map(|(key, size)| Step::Put { key, size }),
        2 => (any::<usize>(), 1..255_u8).prop_map(|(pick, part)| Step::Split { pick, part }),
        2 => any::<usize>().prop_map(|pick| Step::Merge { pick }),
        1 => (1..12_u32).prop_map(|target| Step::Resize { target }),
        3 => (0..5_000_i64).prop_map(|ms| Step::Advance { ms }),
        1 => (0..30 * 3_600_000_i64).prop_map(|ms| Step::Advance { ms }),
    ]
}

/// Carries out a step; what the service would refuse is refused and changes nothing.
fn carry_out(kinesis: &mut Kinesis, clock: &Clock, step: &Step) {
    let open: Vec<(ShardId, HashRange)> = kinesis.describe("s").unwrap().open_shards().map(|shard| (shard.id, shard.range)).collect();
    match *step {
        Step::Put { key, size } => {
            kinesis.put_record("s", record(&format!("k{key}"), size)).unwrap();
        }
        Step::Split { pick, part } => {
            let (id, range) = open[pick % open.len()];
            let at = range.start + (range.end - range.start) / 256 * u128::from(part);
            allow_refusal(&kinesis.split_shard("s", id, at));
        }
        Step::Merge { pick } if open.len() > 1 => {
            let left = pick % (open.len() - 1);
            allow_refusal(&kinesis.merge_shards("s", open[left].0, open[left + 1].0));
        }
        Step::Merge { .. } => {}
        Step::Resize { target } => {
            allow_refusal(&kinesis.update_shard_count("s", target));
        }
        Step::Advance { ms } => {
            clock.advance(ms).unwrap();
        }
    }
}

/// A change may come while another is under way, or ask for what cannot be.
fn allow_refusal<T>(answer: &Result<T, KinesisError>) {
    if let Err(error) = answer {
        assert!(matches!(error.kind, ErrorKind::ResourceInUse | ErrorKind::InvalidArgument), "{error}");
    }
}

/// Shards which cover every hash key once.
fn assert_tiles(mut ranges: Vec<HashRange>, what: &str) {
    ranges.sort_by_key(|range| range.start);
    assert_eq!(ranges.first().map(|range| range.start), Some(0), "{what}: the first hash key");
    assert_eq!(ranges.last().map(|range| range.end), Some(u128::MAX), "{what}: the last hash key");
    for pair in ranges.windows(2) {
        assert_eq!(pair[0].end + 1, pair[1].start, "{what}: a gap or an overlap");
    }
}

fn list(kinesis: &mut Kinesis, filter: Option<ShardFilter>) -> Vec<(ShardId, HashRange)> {
    let request = ListShardsRequest { filter, ..ListShardsRequest::default() };
    let page = kinesis.list_shards("s", &request).unwrap();
    assert!(page.next_token.is_none());
    page.shards.into_iter().map(|shard| (shard.id, shard.range)).collect()
}

fn assert_listings(kinesis: &mut Kinesis, now: Millis, earlier: Millis) {
    let ranges = |shards: Vec<(ShardId, HashRange)>| shards.into_iter().map(|(_, range)| range).collect::<Vec<_>>();
    for filter in [ShardFilter::AtLatest, ShardFilter::AtTrimHorizon, ShardFilter::AtTimestamp((now - earlier).max(START))] {
        let listed = list(kinesis, Some(filter));
        assert_tiles(ranges(listed), &format!("{filter:?}"));
    }
    let everything = list(kinesis, None);
    let since = list(kinesis, Some(ShardFilter::FromTrimHorizon));
    let at = list(kinesis, Some(ShardFilter::AtTrimHorizon));
    assert!(at.iter().all(|shard| since.contains(shard)) && since.iter().all(|shard| everything.contains(shard)));
}

/// The listing by pages of two is the listing at once, even while the stream is resharded between pages.
fn assert_pages(kinesis: &mut Kinesis, filter: Option<ShardFilter>) {
    let whole: Vec<ShardId> = list(kinesis, filter).into_iter().map(|(id, _)| id).collect();
    let first = kinesis.list_shards("s", &ListShardsRequest { filter, most: Some(2), ..ListShardsRequest::default() }).unwrap();
    let mut paged: Vec<ShardId> = first.shards.iter().map(|shard| shard.id).collect();
    let mut token = first.next_token;
    while let Some(next) = token {
        let page = kinesis.list_shards_next(&next, Some(2)).unwrap();
        paged.extend(page.shards.iter().map(|shard| shard.id));
        token = page.next_token;
    }
    assert_eq!(paged, whole);
}

fn assert_numbers(stream: &Stream) {
    for shard in &stream.shards {
        let mut last = shard.starting_sequence_number();
        for record in shard.all_records() {
            assert!(record.sequence_number > last, "numbers of {} do not increase", shard.id);
            assert!(shard.range.contains(hash_of(&record.partition_key)));
            last = record.sequence_number;
        }
        if let Some(ending) = shard.ending_sequence_number() {
            assert!(ending > last);
            for child in &shard.children {
                let child = &stream.shards[child.0 as usize];
                assert!(child.starting_sequence_number() > ending, "{} begins below the end of {}", child.id, shard.id);
                assert!(child.parents.contains(&shard.id));
            }
        } else {
            assert!(shard.children.is_empty());
        }
    }
}

/// Reads every shard that is left from its horizon to its end or tip.
fn assert_readable(kinesis: &mut Kinesis, now: Millis, limit: usize) {
    let retention = kinesis.stream("s").unwrap().retention;
    for (id, _) in list(kinesis, None) {
        let kept: Vec<SequenceNumber> = kinesis.stream("s").unwrap().shards[id.0 as usize]
            .all_records()
            .iter()
            .filter(|record| record.arrived_at >= now - retention)
            .map(|record| record.sequence_number)
            .collect();
        let mut token = Some(iterator(kinesis, id.0, StartingPosition::TrimHorizon));
        let mut read = Vec::new();
        while let Some(next) = token {
            let answer = kinesis.get_records(&next, Some(limit)).unwrap();
            assert_eq!(
                answer.next_iterator.is_none(),
                !answer.child_shards.is_empty(),
                "children are given if and only if there is no next iterator"
            );
            read.extend(stored(&answer.records).iter().map(|record| record.sequence_number));
            let at_tip = read.len() == kept.len();
            assert_eq!(answer.millis_behind_latest == 0, at_tip, "only the tip is 0 ms behind");
            assert!(answer.child_shards.is_empty() || at_tip, "children before the last record");
            token = answer.next_iterator.filter(|_| !at_tip || !kinesis.stream("s").unwrap().shards[id.0 as usize].is_open());
        }
        assert_eq!(read, kept, "records of {id}");
        assert_subscription(kinesis, id, &kept);
    }
}

/// Pushes the shard and compares.
fn assert_subscription(kinesis: &mut Kinesis, id: ShardId, kept: &[SequenceNumber]) {
    let consumer = kinesis.describe_consumer(&ConsumerName::Named { stream: "s", consumer: "c" }).unwrap().1.arn;
    let (subscription, _) = kinesis.subscribe(&consumer, id, &StartingPosition::TrimHorizon).unwrap();
    let mut pushed = Vec::new();
    loop {
        match kinesis.subscription_next(subscription) {
            SubscriptionStep::Event(event) => {
                assert_eq!(event.continuation.is_none(), !event.child_shards.is_empty());
                pushed.extend(stored(&event.records).iter().map(|record| record.sequence_number));
                if let Some(continuation) = event.continuation {
                    let after = StartingPosition::AfterSequenceNumber(continuation.to_string());
                    let rest = iterator(kinesis, id.0, after);
                    let left = stored(&kinesis.get_records(&rest, None).unwrap().records).len();
                    assert_eq!(pushed.len() + left, kept.len(), "a continuation number goes on right after the event");
                } else {
                    assert!(matches!(kinesis.subscription_next(subscription), SubscriptionStep::End));
                    break;
                }
            }
            SubscriptionStep::WaitUntil(_) => break,
            other => panic!("{other:?}"),
        }
    }
    kinesis.unsubscribe(subscription);
    assert_eq!(pushed, kept);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn promises_hold_whatever_is_done(
        shards in 1..6_u32,
        update_ms in prop_oneof![Just(0), Just(2_500)],
        limit in 1..50_usize,
        earlier in 0..100_000_i64,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let settings = KinesisSettings { update_stream_ms: update_ms, resubscribe_ms: 0, event_records: 7, event_bytes: 5_000, ..unlimited() };
        let (mut kinesis, clock) = with_stream(settings, shards);
        kinesis.register_consumer("s", "c").unwrap();
        for step in &steps {
            carry_out(&mut kinesis, &clock, step);
            let stream = kinesis.describe("s").unwrap();
            assert_tiles(stream.open_shards().map(|shard| shard.range).collect(), "open shards");
            assert_numbers(stream);
            assert_listings(&mut kinesis, clock.now(), earlier);
        }
        for filter in [None, Some(ShardFilter::AtLatest), Some(ShardFilter::AtTrimHorizon), Some(ShardFilter::FromTrimHorizon)] {
            assert_pages(&mut kinesis, filter);
        }
        assert_readable(&mut kinesis, clock.now(), limit);
    }

    #[test]
    fn even_ranges_are_those_of_the_service(count in 1..5_000_u32) {
        let (mut kinesis, _) = with_stream(unlimited(), count);
        let ranges: Vec<HashRange> = kinesis.describe("s").unwrap().open_shards().map(|shard| shard.range).collect();
        prop_assert_eq!(ranges.len(), count as usize);
        let widest = ranges.iter().map(|range| range.end - range.start).max().unwrap();
        let narrowest = ranges.iter().map(|range| range.end - range.start).min().unwrap();
        prop_assert!(widest - narrowest < u128::from(count));
        assert_tiles(ranges, "a new stream");
    }
}

#[test]
fn four_shards_are_cut_as_the_service_cuts_them() {
    let (mut kinesis, _) = with_stream(unlimited(), 4);
    let first = kinesis.describe("s").unwrap().open_shards().next().unwrap().range;
    assert_eq!((first.start, first.end), (0, 85_070_591_730_234_615_865_843_651_857_942_052_863));
}

#[test]
fn a_resize_keeps_the_lineage_and_ends_even() {
    let (mut kinesis, clock) = with_stream(KinesisSettings { update_stream_ms: 1_000, ..unlimited() }, 4);
    assert_eq!(kinesis.update_shard_count("s", 6).unwrap(), 4);
    assert_eq!(kinesis.describe("s").unwrap().status, StreamStatus::Updating);
    let refused = kinesis.split_shard("s", ShardId(0), 5).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::ResourceInUse);
    clock.advance(1_000).unwrap();
    let stream = kinesis.describe("s").unwrap();
    assert_eq!(stream.status, StreamStatus::Active);
    let starts: Vec<u128> = stream.open_shards().map(|shard| shard.range.start).collect();
    assert_eq!(starts, (0..6).map(|index| even_start(index, 6)).collect::<Vec<_>>());
    assert!(stream.shards[4..].iter().all(|shard| matches!(shard.parents.len(), 1 | 2)));
}

#[test]
fn a_stream_of_the_same_name_knows_nothing_of_the_one_before() {
    let (mut kinesis, _) = with_stream(unlimited(), 1);
    let old = kinesis.put_record("s", record("k", 1)).unwrap().sequence_number;
    let token = iterator(&mut kinesis, 0, StartingPosition::TrimHorizon);
    kinesis.delete_stream("s", false).unwrap();
    kinesis.create_stream("s", Some(1), BTreeMap::new()).unwrap();
    assert_eq!(kinesis.get_records(&token, None).unwrap_err().kind, ErrorKind::ResourceNotFound);
    kinesis.put_record("s", record("k", 1)).unwrap();
    let after = StartingPosition::AfterSequenceNumber(old.to_string());
    assert_eq!(kinesis.get_shard_iterator("s", ShardId(0), &after).unwrap_err().kind, ErrorKind::InvalidArgument);
}
