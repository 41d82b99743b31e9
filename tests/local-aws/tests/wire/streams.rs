//! Streams, shards, putting and polling.

use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;

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
