import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.pulsar.client.api.BatcherBuilder;
import org.apache.pulsar.client.api.CompressionType;
import org.apache.pulsar.client.api.Producer;
import org.apache.pulsar.client.api.ProducerBuilder;
import org.apache.pulsar.client.api.PulsarClient;

/** Publishes a fixed set of messages with Pulsar's own Java client. Options as in the script `produce`. */
public final class Produce {
  private static final int LARGE = 6_000_000;

  public static void main(String[] args) throws Exception {
    Map<String, String> options = new TreeMap<>();
    for (int i = 0; i + 1 < args.length; i += 2) options.put(args[i], args[i + 1]);
    int count = Integer.parseInt(options.getOrDefault("--count", "20"));
    String form = options.getOrDefault("--form", "batch");
    try (PulsarClient client = PulsarClient.builder().serviceUrl(options.get("--url")).statsInterval(0, TimeUnit.SECONDS).build()) {
      ProducerBuilder<byte[]> builder =
          client
              .newProducer()
              .topic(options.get("--topic"))
              .compressionType(CompressionType.valueOf(options.getOrDefault("--compression", "LZ4")))
              .enableBatching(form.equals("batch") || form.equals("by-key"))
              .batchingMaxPublishDelay(200, TimeUnit.MILLISECONDS)
              .enableChunking(form.equals("chunks"));
      if (form.equals("by-key")) builder.batcherBuilder(BatcherBuilder.KEY_BASED);
      if (options.containsKey("--public-key")) {
        builder.addEncryptionKey("reader").defaultCryptoKeyReader("file://" + options.get("--public-key"));
      }
      try (Producer<byte[]> producer = builder.create()) {
        List<CompletableFuture<?>> sent = new ArrayList<>();
        for (int number = 0; number < count; number++) {
          sent.add(
              producer
                  .newMessage()
                  .key("key \u00e9 " + number % 3)
                  .property("number", String.valueOf(number))
                  .property("name", "\u00e9")
                  .eventTime(1_700_000_000_000L + number)
                  .value(payload(number, form))
                  .sendAsync());
        }
        producer.flush();
        CompletableFuture.allOf(sent.toArray(CompletableFuture[]::new)).get();
      }
    }
  }

  private static byte[] payload(int number, String form) throws Exception {
    ByteArrayOutputStream small = new ByteArrayOutputStream();
    small.write(("message " + number + " ").repeat(1 + number % 7).getBytes(StandardCharsets.UTF_8));
    small.write(new byte[] {0, (byte) 255});
    if (!form.equals("chunks") || number % 10 != 0) return small.toByteArray();
    byte[] unit = small.toByteArray();
    byte[] large = new byte[LARGE];
    for (int at = 0; at < LARGE; at++) large[at] = unit[at % unit.length];
    return large;
  }
}
