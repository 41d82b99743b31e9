"""Reads a topic with Pulsar's Python client (the C++ client underneath) and prints one JSON object a message, in the order of
arrival. Consume.java prints the same fields, and what this client does not show. Options as in the script `consume`."""

import argparse
import base64
import hashlib
import json
import sys

import pulsar


def fields(message, form):
    ident = message.message_id()
    data = message.data()
    out = {
        "topic": message.topic_name(),
        "id": f"{ident.ledger_id()}:{ident.entry_id()}:{ident.batch_index()}",
        "producer": message.producer_name(),
        # This client gives an absent key as an empty one.
        "key": message.partition_key() or None,
        "event_time": message.event_timestamp(),
        "publish_time": message.publish_timestamp(),
        "properties": dict(sorted(message.properties().items())),
        "size": len(data),
    }
    if form == "base64":
        out["value"] = base64.b64encode(data).decode()
    elif form == "sha256":
        out["value"] = hashlib.sha256(data).hexdigest()
    elif form == "text":
        out["value"] = data.decode("utf-8", "replace")
    return out


def line(message):
    """One message for people: key, value, properties."""
    properties = "".join(f"  {name}={value}" for name, value in sorted(message.properties().items()))
    return f"{message.partition_key() or '-':<12} {message.data().decode('utf-8', 'replace')}{properties}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--subscription", default="interop")
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--idle", type=int, default=10)
    parser.add_argument("--value", choices=["base64", "sha256", "text", "line", "none"], default="base64")
    parser.add_argument("--token")
    parser.add_argument("--trust")
    parser.add_argument("--private-key")
    options = parser.parse_args()
    client = pulsar.Client(
        options.url,
        authentication=pulsar.AuthenticationToken(options.token) if options.token else None,
        tls_trust_certs_file_path=options.trust,
        logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error),
    )
    seen = 0
    try:
        consumer = client.subscribe(
            options.topic,
            options.subscription,
            consumer_type=pulsar.ConsumerType.Exclusive,
            initial_position=pulsar.InitialPosition.Earliest,
            # The reader of keys wants a public key, too, which a consumer never uses.
            crypto_key_reader=pulsar.CryptoKeyReader(options.private_key, options.private_key) if options.private_key else None,
        )
        while options.count == 0 or seen < options.count:
            try:
                message = consumer.receive(timeout_millis=options.idle * 1000)
            except pulsar.Timeout:
                break
            text = line(message) if options.value == "line" else json.dumps(fields(message, options.value), ensure_ascii=False)
            print(text, flush=options.count == 0 or options.value in ("text", "line"))
            consumer.acknowledge(message)
            seen += 1
    finally:
        client.close()
    if seen < options.count:
        print(f"consume: {seen} of {options.count} messages came; the topic was silent for {options.idle} s", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
