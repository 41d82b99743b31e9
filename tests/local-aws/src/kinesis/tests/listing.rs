//! Page tokens and filters that name a shard or a time.

use super::*;

fn ids(page: &ShardPage<'_>) -> Vec<u64> {
    page.shards.iter().map(|shard| shard.id.0).collect()
}

#[test]
fn a_page_is_no_larger_than_the_setting_and_its_token_expires() {
    let (mut kinesis, clock) = with_stream(KinesisSettings { list_shards_page: 3, ..unlimited() }, 7);
    let page = kinesis.list_shards("s", &ListShardsRequest::default()).unwrap();
    assert_eq!(ids(&page), [0, 1, 2]);
    let token = page.next_token.unwrap();
    assert_eq!(ids(&kinesis.list_shards_next(&token, None).unwrap()), [3, 4, 5]);
    clock.advance(300_001).unwrap();
    assert_eq!(kinesis.list_shards_next(&token, None).unwrap_err().kind, ErrorKind::ExpiredNextToken);
    assert_eq!(kinesis.list_shards_next("forged", None).unwrap_err().kind, ErrorKind::InvalidArgument);
}

#[test]
fn filters_see_the_shards_of_their_moment() {
    let (mut kinesis, clock) = with_stream(unlimited(), 2);
    clock.advance(1_000).unwrap();
    kinesis.split_shard("s", ShardId(0), 7).unwrap();
    clock.advance(1_000).unwrap();
    kinesis.merge_shards("s", ShardId(3), ShardId(1)).unwrap();
    clock.advance(1_000).unwrap();
    let mut list =
        |filter| ids(&kinesis.list_shards("s", &ListShardsRequest { filter: Some(filter), ..ListShardsRequest::default() }).unwrap());
    assert_eq!(list(ShardFilter::AtTrimHorizon), [0, 1]);
    assert_eq!(list(ShardFilter::AtTimestamp(START + 999)), [0, 1]);
    assert_eq!(list(ShardFilter::AtTimestamp(START + 1_000)), [1, 2, 3]);
    assert_eq!(list(ShardFilter::AtLatest), [2, 4]);
    assert_eq!(list(ShardFilter::FromTimestamp(START + 1_500)), [1, 2, 3, 4]);
    assert_eq!(list(ShardFilter::AfterShardId(ShardId(2))), [3, 4]);
    let merged = &kinesis.stream("s").unwrap().shards[4];
    assert_eq!(merged.parents, [ShardId(3), ShardId(1)]);
    let future = ListShardsRequest { filter: Some(ShardFilter::AtTimestamp(clock.now() + 1)), ..ListShardsRequest::default() };
    assert_eq!(kinesis.list_shards("s", &future).unwrap_err().kind, ErrorKind::InvalidArgument);
}
