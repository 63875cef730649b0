import java.net.URI;
import java.net.http.*;
import java.time.Duration;
import java.util.UUID;
import java.util.concurrent.*;
import java.util.regex.*;

/** A till's two loyalty calls in one sale. Java 11 or later; run it with `java Till.java`. */
public class Till {
  static final int PAUSE_MS = 1000, ATTEMPTS = 2;
  // One client for the whole program: it keeps the connection, and asks no proxy.
  static final HttpClient AGENT = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1)
      .proxy(HttpClient.Builder.NO_PROXY).connectTimeout(Duration.ofSeconds(1)).build();

  public static void main(String[] arguments) throws InterruptedException {
    String url = arguments.length > 0 ? arguments[0] : "http://127.0.0.1:8480";
    String sale = UUID.randomUUID().toString();
    String start = "{\"correlationId\":\"" + sale + "\",\"locale\":\"fr-CA\"}";
    String session = call("POST", url + "/client/users/anonymous/sessions", start);
    if (session != null) {
      System.out.println("Ask: " + member("promptMessage", session));
      String answer = "{\"status\":\"accepted\",\"emailAddress\":\"guest@example.com\"}";
      call("PUT", url + "/client/users/" + sale + "/profile/email", answer);
      System.out.println("Print: " + member("receiptMessage", session));
    }
    System.out.println("Sold.");
  }

  /** Return the agent's answer, or null: the sale goes on without loyalty. */
  static String call(String method, String url, String body) throws InterruptedException {
    HttpRequest request = HttpRequest.newBuilder(URI.create(url))
        .method(method, HttpRequest.BodyPublishers.ofString(body)).build();
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) { // the same request: same id, same body
      Thread.sleep(PAUSE_MS * attempt);
      try {
        // The request's own timeout would end with the head of an answer.
        HttpResponse<String> answer = AGENT.sendAsync(request, HttpResponse.BodyHandlers.ofString())
            .orTimeout(3, TimeUnit.SECONDS).join();
        if (answer.statusCode() == 200) {
          System.out.println("Receipt: " + answer.headers().firstValue("Loyalty-Receipt").get());
          return answer.body();
        }
        System.err.println(answer.headers().firstValue("Loyalty-Reason").orElse("no reason"));
        if (answer.statusCode() < 500) return null; // a repeat would be as wrong
      } catch (CompletionException lost) { // answered or not: the repeat finds out
        System.err.println("no answer (" + lost.getCause() + ")");
      }
    }
    return null;
  }

  /** Return a text of the answer. Java has no JSON parser: use your till's. */
  static String member(String name, String json) {
    Matcher found = Pattern.compile('"' + name + "\":\"((?:[^\"\\\\]|\\\\.)*)\"").matcher(json);
    String text = found.find() ? found.group(1) : "";
    return Pattern.compile("\\\\u([0-9a-f]{4})").matcher(text).replaceAll(
        escape -> String.valueOf((char) Integer.parseInt(escape.group(1), 16)));
  }
}
