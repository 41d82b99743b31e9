import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.Base64;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import org.apache.pulsar.client.api.ClientBuilder;
import org.apache.pulsar.client.api.Consumer;
import org.apache.pulsar.client.api.ConsumerBuilder;
import org.apache.pulsar.client.api.Message;
import org.apache.pulsar.client.api.MessageIdAdv;
import org.apache.pulsar.client.api.PulsarClient;
import org.apache.pulsar.client.api.Schema;
import org.apache.pulsar.client.api.SubscriptionInitialPosition;
import org.apache.pulsar.client.api.SubscriptionType;
import org.apache.pulsar.client.api.schema.GenericRecord;
import org.apache.pulsar.client.impl.ChunkMessageIdImpl;
import org.apache.pulsar.client.impl.JavaStringHash;
import org.apache.pulsar.client.impl.Murmur3Hash32;
import org.apache.pulsar.client.util.MathUtils;

/**
 * Reads a topic with Pulsar's own Java client and prints one JSON object a message, in the order of arrival; consume.py prints
 * most of the same fields. Options as in the script `consume`. It also says what the message was on its way (batch, chunks, wrapped
 * keys, version of the schema) and, for a partitioned topic, which partition Java would have chosen for the key (`java_partition` by
 * Murmur3, `java_string_partition` by JavaStringHash), so that a reader can see whether keys keep their partitions.
 */
public final class Consume {
  private static final ObjectMapper JSON = new ObjectMapper();

  public static void main(String[] args) throws Exception {
    Map<String, String> options = new TreeMap<>();
    for (int i = 0; i + 1 < args.length; i += 2) options.put(args[i], args[i + 1]);
    String topic = options.get("--topic");
    long count = Long.parseLong(options.getOrDefault("--count", "0"));
    long idleSeconds = Long.parseLong(options.getOrDefault("--idle", "10"));
    String form = options.getOrDefault("--value", "base64");
    ClientBuilder builder = PulsarClient.builder().serviceUrl(options.get("--url")).statsInterval(0, TimeUnit.SECONDS);
    if (options.containsKey("--token")) {
      builder.authentication("org.apache.pulsar.client.impl.auth.AuthenticationToken", "token:" + options.get("--token"));
    }
    if (options.containsKey("--trust")) builder.tlsTrustCertsFilePath(options.get("--trust"));
    PrintStream out = new PrintStream(new BufferedOutputStream(System.out, 1 << 20), false, StandardCharsets.UTF_8);
    long seen = 0;
    Schema<?> schema = form.equals("record") ? Schema.AUTO_CONSUME() : Schema.BYTES;
    try (PulsarClient client = builder.build(); Consumer<?> consumer = consumer(client, schema, topic, options)) {
      int partitions = client.getPartitionsForTopic(topic).get().size();
      boolean partitioned = client.getPartitionsForTopic(topic).get().get(0).contains("-partition-");
      while (count == 0 || seen < count) {
        Message<?> message = consumer.receive((int) Math.min(idleSeconds * 1000, Integer.MAX_VALUE), TimeUnit.MILLISECONDS);
        if (message == null) break;
        if (form.equals("line")) {
          out.println(line(message));
        } else {
          JSON.writeValue(new Unclosed(out), fields(message, form, partitioned ? partitions : 0));
          out.println();
        }
        if (count == 0 || seen + 1 == count || form.equals("text") || form.equals("line")) out.flush();
        consumer.acknowledge(message);
        seen++;
      }
    }
    out.flush();
    if (seen < count) {
      System.err.println("consume: " + seen + " of " + count + " messages came; the topic was silent for " + idleSeconds + " s");
      System.exit(3);
    }
    System.exit(0);
  }

  private static <T> Consumer<T> consumer(PulsarClient client, Schema<T> schema, String topic, Map<String, String> options) throws Exception {
    ConsumerBuilder<T> builder = client.newConsumer(schema).topic(topic).subscriptionName(options.getOrDefault("--subscription", "interop"))
        .subscriptionType(SubscriptionType.Exclusive).subscriptionInitialPosition(SubscriptionInitialPosition.Earliest);
    if (options.containsKey("--private-key")) builder.defaultCryptoKeyReader(Path.of(options.get("--private-key")).toUri().toString());
    return builder.subscribe();
  }

  /** One message for people: key, value, properties. */
  private static String line(Message<?> message) {
    StringBuilder line = new StringBuilder(String.format("%-12s %s", message.hasKey() ? message.getKey() : "-", new String(message.getData(), StandardCharsets.UTF_8)));
    new TreeMap<>(message.getProperties()).forEach((name, value) -> line.append("  ").append(name).append('=').append(value));
    return line.toString();
  }

  private static Map<String, Object> fields(Message<?> message, String form, int partitions) throws Exception {
    Map<String, Object> fields = new LinkedHashMap<>();
    MessageIdAdv id = (MessageIdAdv) message.getMessageId();
    fields.put("topic", message.getTopicName());
    fields.put("id", id.getLedgerId() + ":" + id.getEntryId() + ":" + id.getBatchIndex());
    fields.put("producer", message.getProducerName());
    fields.put("sequence", message.getSequenceId());
    fields.put("key", message.hasKey() ? message.getKey() : null);
    fields.put("key_is_base64", message.hasBase64EncodedKey());
    fields.put("event_time", message.getEventTime());
    fields.put("publish_time", message.getPublishTime());
    fields.put("batch_size", id.getBatchSize());
    fields.put("chunked", id instanceof ChunkMessageIdImpl);
    fields.put("encryption_keys", message.getEncryptionCtx().map(context -> new TreeSet<>(context.getKeys().keySet())).orElseGet(TreeSet::new));
    fields.put("schema_version", message.getSchemaVersion() == null ? null : HexFormat.of().formatHex(message.getSchemaVersion()));
    fields.put("properties", new TreeMap<>(message.getProperties()));
    byte[] data = message.getData();
    fields.put("size", data.length);
    switch (form) {
      case "base64" -> fields.put("value", Base64.getEncoder().encodeToString(data));
      case "sha256" -> fields.put("value", HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(data)));
      case "record" -> fields.put("value", String.valueOf(((GenericRecord) message.getValue()).getNativeObject()));
      case "text" -> fields.put("value", new String(data, StandardCharsets.UTF_8));
      default -> { }
    }
    if (partitions > 0 && message.hasKey()) {
      fields.put("java_partition", MathUtils.signSafeMod(Murmur3Hash32.getInstance().makeHash(message.getKey()), partitions));
      fields.put("java_string_partition", MathUtils.signSafeMod(JavaStringHash.getInstance().makeHash(message.getKey()), partitions));
    }
    return fields;
  }

  /** Jackson closes what it writes to; the line is ours to end. */
  private static final class Unclosed extends java.io.FilterOutputStream {
    Unclosed(PrintStream out) { super(out); }
    @Override public void write(byte[] bytes, int from, int length) { ((PrintStream) out).write(bytes, from, length); }
    @Override public void flush() { }
    @Override public void close() { }
  }
}
