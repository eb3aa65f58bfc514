import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

class Service {
    public static void main(String[] arguments) throws Exception {
        int requests = Integer.parseInt(System.getenv().getOrDefault("REQUESTS", "2000"));
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", 8000), 0);
        byte[] body = "x".repeat(1000).getBytes();
        server.createContext("/", exchange -> {
            exchange.sendResponseHeaders(200, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        var handlers = Executors.newFixedThreadPool(4);
        server.setExecutor(handlers);
        server.start();
        HttpClient client = HttpClient.newHttpClient();
        HttpRequest request = HttpRequest.newBuilder(URI.create("http://127.0.0.1:8000/")).build();
        var pool = Executors.newFixedThreadPool(4);
        long started = System.nanoTime();
        var answers = new ArrayList<Future<Integer>>();
        for (int n = 0; n < requests; n++) {
            answers.add(pool.submit(() -> client.send(request, HttpResponse.BodyHandlers.ofByteArray()).body().length));
        }
        int good = 0;
        for (var answer : answers) {
            good += answer.get() == 1000 ? 1 : 0;
        }
        double rate = requests / ((System.nanoTime() - started) / 1e9);
        System.gc();
        Path file = Files.createTempFile("service", ".txt");
        Files.writeString(file, "text");
        String text = Files.readString(file);
        Files.delete(file);
        Process process = new ProcessBuilder("echo", "said").start();
        String said = new String(process.getInputStream().readAllBytes()).trim();
        process.waitFor();
        System.out.printf("rate: %.1f%n", rate);
        System.out.printf("outcome: %d of %d, %s, %s%n", good, requests, text, said);
        System.exit(0);
    }
}
