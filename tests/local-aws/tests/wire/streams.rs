//! Streams, shards, putting and polling.

use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;

use aws_sdk_kinesis::types::{EncryptionType, ShardFilter, ShardFilterType, ShardIteratorType};
use local_aws::{Clock, LocalAws, NewRecord, Options};

use crate::support::{kinesis, read_shard, start};

#[tokio::test]
async fn records_put_are_read_back_bit_for_bit_and_in_order() {
    let local = start().await;
    let client = kinesis(&local);
    client.create_stream().stream_name("orders").shard_count(2).send().await.unwrap();
    let payload = |index: usize| (0..index * 7).map(|byte| (byte * 31 + index) as u8).collect::<Vec<u8>>();
    let entries = (0..100)
        .map(|index| {
            PutRecordsRequestEntry::builder().partition_key(format!("käse\"{index}")).data(Blob::new(payload(index))).build().unwrap()
        })
        .collect();
    let put = client.put_records().stream_name("orders").set_records(Some(entries)).send().await.unwrap();
    assert_eq!(put.failed_record_count, Some(0));

    let mut read = Vec::new();
    for shard in ["shardId-000000000000", "shardId-000000000001"] {
        let records = read_shard(&client, "orders", shard).await;
        assert!(records.is_sorted_by(|one, other| one.sequence_number < other.sequence_number));
        assert!(records.iter().all(|record| record.approximate_arrival_timestamp.is_some() && record.encryption_type.is_none()));
        read.extend(records);
    }
    assert_eq!(read.len(), 100);
    for record in &read {
        let index: usize = record.partition_key.as_deref().and_then(|key| key.strip_prefix("käse\"")).unwrap().parse().unwrap();
        assert_eq!(record.data.as_ref(), payload(index));
        assert_eq!(record.sequence_number.len(), 56);
        assert_eq!(put.records[index].sequence_number.as_ref(), Some(&record.sequence_number));
    }
    let truth: usize = local.records("orders").iter().map(Vec::len).sum();
    assert_eq!(truth, 100);
    local.shutdown().await;
}

#[tokio::test]
async fn a_merge_is_seen_in_lists_and_answers() {
    let local = start().await;
    let client = kinesis(&local);
    client.create_stream().stream_name("orders").shard_count(2).send().await.unwrap();
    local.kinesis(|kinesis| kinesis.settings_mut().list_shards_page = 2);
    client
        .merge_shards()
        .stream_name("orders")
        .shard_to_merge("shardId-000000000001")
        .adjacent_shard_to_merge("shardId-000000000000")
        .send()
        .await
        .unwrap();
    let first = client.list_shards().stream_name("orders").send().await.unwrap();
    assert_eq!(first.shards().len(), 2);
    assert!(first.shards()[0].sequence_number_range.as_ref().unwrap().ending_sequence_number.is_some());
    let second = client.list_shards().next_token(first.next_token.unwrap()).send().await.unwrap();
    let merged = &second.shards()[0];
    assert_eq!(merged.parent_shard_id.as_deref(), Some("shardId-000000000001"));
    assert_eq!(merged.adjacent_parent_shard_id.as_deref(), Some("shardId-000000000000"));
    assert!(second.next_token.is_none());
    let latest = ShardFilter::builder().r#type(ShardFilterType::AtLatest).build().unwrap();
    let open = client.list_shards().stream_name("orders").shard_filter(latest).send().await.unwrap();
    assert_eq!(open.shards().iter().map(|shard| shard.shard_id.as_str()).collect::<Vec<_>>(), ["shardId-000000000002"]);

    let iterator =
        client.get_shard_iterator().stream_name("orders").shard_id("shardId-000000000000").shard_iterator_type(ShardIteratorType::Latest);
    let token = iterator.send().await.unwrap().shard_iterator.unwrap();
    let answer = client.get_records().shard_iterator(token).send().await.unwrap();
    assert!(answer.next_shard_iterator.is_none());
    let child = &answer.child_shards.unwrap()[0];
    assert_eq!(child.parent_shards, ["shardId-000000000001", "shardId-000000000000"]);
    assert_eq!(child.hash_key_range.as_ref().unwrap().ending_hash_key, u128::MAX.to_string());
    local.shutdown().await;
}

#[tokio::test]
async fn an_iterator_expires_on_the_machine_s_clock() {
    let clock = Clock::stepped(1_700_000_000_000);
    let local = LocalAws::start(Options { clock, ..Options::default() }).await.unwrap();
    let client = kinesis(&local);
    client.create_stream().stream_name("orders").shard_count(1).send().await.unwrap();
    let iterator =
        client.get_shard_iterator().stream_name("orders").shard_id("shardId-000000000000").shard_iterator_type(ShardIteratorType::Latest);
    let token = iterator.send().await.unwrap().shard_iterator.unwrap();
    local.advance(300_001).unwrap();
    let refused = client.get_records().shard_iterator(token).send().await.unwrap_err().into_service_error();
    assert!(refused.is_expired_iterator_exception());
    local.shutdown().await;
}

#[tokio::test]
async fn limits_are_felt_and_can_be_switched_off() {
    let clock = Clock::stepped(1_700_000_000_000);
    let local = LocalAws::start(Options { clock, ..Options::default() }).await.unwrap();
    let client = kinesis(&local);
    client.create_stream().stream_name("orders").shard_count(1).send().await.unwrap();
    let large = vec![0; 700 * 1024];
    let entry = || PutRecordsRequestEntry::builder().partition_key("k").data(Blob::new(large.clone())).build().unwrap();
    let put = || client.put_records().stream_name("orders").records(entry()).records(entry()).send();
    let answer = put().await.unwrap();
    assert_eq!(answer.failed_record_count, Some(1));
    assert_eq!(answer.records[1].error_code.as_deref(), Some("ProvisionedThroughputExceededException"));
    assert!(answer.records[1].sequence_number.is_none());
    local.kinesis(|kinesis| kinesis.settings_mut().limits.writes = false);
    assert_eq!(put().await.unwrap().failed_record_count, Some(0));
    local.shutdown().await;
}

#[tokio::test]
async fn an_encrypted_stream_says_so_everywhere() {
    let local = start().await;
    let client = kinesis(&local);
    client.create_stream().stream_name("orders").shard_count(1).send().await.unwrap();
    client
        .start_stream_encryption()
        .stream_name("orders")
        .encryption_type(EncryptionType::Kms)
        .key_id("alias/aws/kinesis")
        .send()
        .await
        .unwrap();
    let summary = client.describe_stream_summary().stream_name("orders").send().await.unwrap().stream_description_summary.unwrap();
    assert_eq!((summary.encryption_type, summary.key_id.as_deref()), (Some(EncryptionType::Kms), Some("alias/aws/kinesis")));
    local.kinesis(|kinesis| kinesis.put_record("orders", NewRecord::new("k", "x"))).unwrap();
    let records = read_shard(&client, "orders", "shardId-000000000000").await;
    assert_eq!(records[0].encryption_type, Some(EncryptionType::Kms));
    client
        .stop_stream_encryption()
        .stream_name("orders")
        .encryption_type(EncryptionType::Kms)
        .key_id("alias/aws/kinesis")
        .send()
        .await
        .unwrap();
    let stream = client.describe_stream().stream_name("orders").send().await.unwrap().stream_description.unwrap();
    assert_eq!(stream.encryption_type, Some(EncryptionType::None));
    assert_eq!(stream.shards.len(), 1);
    local.shutdown().await;
}

#[tokio::test]
async fn tags_retention_and_modes_are_kept() {
    let local = start().await;
    let client = kinesis(&local);
    client.create_stream().stream_name("orders").shard_count(1).tags("team", "a").send().await.unwrap();
    client.add_tags_to_stream().stream_name("orders").tags("cost", "b").send().await.unwrap();
    let tags = client.list_tags_for_stream().stream_name("orders").send().await.unwrap().tags;
    assert_eq!(tags.iter().map(|tag| tag.key.as_str()).collect::<Vec<_>>(), ["cost", "team"]);
    client.increase_stream_retention_period().stream_name("orders").retention_period_hours(48).send().await.unwrap();
    let summary = client.describe_stream_summary().stream_name("orders").send().await.unwrap().stream_description_summary.unwrap();
    assert_eq!((summary.retention_period_hours, summary.open_shard_count), (48, 1));
    // Everything takes the ARN in the place of the name.
    client.decrease_stream_retention_period().stream_arn(&summary.stream_arn).retention_period_hours(24).send().await.unwrap();
    client.update_max_record_size().stream_arn(&summary.stream_arn).max_record_size_in_kib(10_240).send().await.unwrap();
    let refused = client.put_record().stream_arn(&summary.stream_arn).partition_key("").data(Blob::new("x")).send().await;
    assert!(refused.is_err());
    assert_eq!(client.list_streams().send().await.unwrap().stream_names, ["orders"]);
    client.delete_stream().stream_arn(&summary.stream_arn).send().await.unwrap();
    assert!(client.list_streams().send().await.unwrap().stream_names.is_empty());
    local.shutdown().await;
}
