"""Publishes a fixed set of messages with Pulsar's Python client (the C++ client underneath). Options as in the script `produce`."""

import argparse
import sys

import pulsar

COMPRESSION = {
    "NONE": pulsar.CompressionType.NONE,
    "LZ4": pulsar.CompressionType.LZ4,
    "ZLIB": pulsar.CompressionType.ZLib,
    "ZSTD": pulsar.CompressionType.ZSTD,
    "SNAPPY": pulsar.CompressionType.SNAPPY,
}
LARGE = 6_000_000


def payload(number, form):
    small = f"message {number} ".encode() * (1 + number % 7) + bytes([0, 255])
    if form != "chunks" or number % 10:
        return small
    return (small * (LARGE // len(small) + 1))[:LARGE]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--compression", choices=COMPRESSION, default="LZ4")
    parser.add_argument("--form", choices=["single", "batch", "by-key", "chunks"], default="batch")
    parser.add_argument("--public-key")
    parser.add_argument("--private-key")
    options = parser.parse_args()
    batches = options.form in ("batch", "by-key")
    sealed = {}
    if options.public_key:
        sealed = {"encryption_key": "reader", "crypto_key_reader": pulsar.CryptoKeyReader(options.public_key, options.private_key)}
    client = pulsar.Client(options.url, logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error))
    failed = []
    try:
        producer = client.create_producer(
            options.topic,
            compression_type=COMPRESSION[options.compression],
            batching_enabled=batches,
            batching_max_publish_delay_ms=200,
            batching_type=pulsar.BatchingType.KeyBased if options.form == "by-key" else pulsar.BatchingType.Default,
            chunking_enabled=options.form == "chunks",
            **sealed,
        )
        for number in range(options.count):
            producer.send_async(
                payload(number, options.form),
                lambda result, _: failed.append(result) if result != pulsar.Result.Ok else None,
                properties={"number": str(number), "name": "\u00e9"},
                partition_key=f"key \u00e9 {number % 3}",
                event_timestamp=1_700_000_000_000 + number,
            )
        producer.flush()
    finally:
        client.close()
    if failed:
        print(f"produce: {len(failed)} messages were refused, the first with {failed[0]}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
