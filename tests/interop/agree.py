"""Compares what two clients read from one topic; called by the script `agree`."""

import json
import sys

JAVA_ONLY = {
    "sequence",
    "java_partition",
    "java_string_partition",
    "key_is_base64",
    "batch_size",
    "chunked",
    "encryption_keys",
    "schema_version",
}


def partitions(path):
    """The messages of each partition, in the order in which they were read."""
    found = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            message = json.loads(line)
            found.setdefault(message["topic"], []).append(message)
    return found


def main(java_path, python_path, routed):
    java, python = partitions(java_path), partitions(python_path)
    differences = []
    for topic in sorted(java.keys() | python.keys()):
        left, right = java.get(topic, []), python.get(topic, [])
        if len(left) != len(right):
            differences.append(f"{topic}: java read {len(left)} messages, python {len(right)}")
        for one, other in zip(left, right):
            for field in sorted((one.keys() | other.keys()) - JAVA_ONLY):
                if one.get(field) != other.get(field):
                    differences.append(f"{topic} {one['id']}: `{field}` is {one.get(field)!r} for java, {other.get(field)!r} for python")
            if routed and "java_partition" in one and not topic.endswith(f"-partition-{one['java_partition']}"):
                differences.append(f"{topic} {one['id']}: key {one['key']!r} belongs on partition {one['java_partition']}")
    for difference in differences[:20]:
        print(difference, file=sys.stderr)
    if differences:
        print(f"agree: {len(differences)} differences", file=sys.stderr)
        return 1
    messages = sum(len(read) for read in java.values())
    print(f"agree: {messages} messages in {len(java)} partitions are the same to both clients")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], "--routed-as-java" in sys.argv[3:]))
