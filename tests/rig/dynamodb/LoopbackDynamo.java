import java.lang.reflect.Field;
import java.lang.reflect.Method;

/**
 * DynamoDB Local on loopback. Its own main class listens on every interface; this one starts the same server with the same
 * options, and moves its connectors to 127.0.0.1 before they open.
 */
public final class LoopbackDynamo {
  private static final String RUNNER = "com.amazonaws.services.dynamodbv2.local.main.ServerRunner";

  public static void main(String[] options) throws Exception {
    Object dynamo = Class.forName(RUNNER).getMethod("createServerFromCommandLineArgs", String[].class).invoke(null, (Object) options);
    Field jetty = dynamo.getClass().getDeclaredField("server");
    jetty.setAccessible(true);
    Object server = jetty.get(dynamo);
    for (Object connector : (Object[]) call(server, "getConnectors")) {
      connector.getClass().getMethod("setHost", String.class).invoke(connector, "127.0.0.1");
    }
    call(dynamo, "safeStart");
    Runtime.getRuntime().addShutdownHook(new Thread(() -> {
      try {
        call(dynamo, "stop");
      } catch (ReflectiveOperationException e) {
        e.printStackTrace();
      }
    }));
    call(dynamo, "join");
  }

  private static Object call(Object target, String name) throws ReflectiveOperationException {
    Method method = target.getClass().getMethod(name);
    return method.invoke(target);
  }
}
