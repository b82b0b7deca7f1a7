import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.util.concurrent.Executors;

/** The JDK's own server, and nothing said about signals: TERM ends it at once. */
public class App {
    static void answer(HttpExchange exchange) throws IOException, InterruptedException {
        String path = exchange.getRequestURI().getPath();
        String[] parts = path.split("/");
        int ms = Integer.parseInt(parts[2]);
        byte[] done = (path + " done\n").getBytes();
        if (!parts[1].equals("stream")) {
            Thread.sleep(ms);
            exchange.sendResponseHeaders(200, done.length);
            exchange.getResponseBody().write(done);
            return;
        }
        exchange.sendResponseHeaders(200, 0);
        OutputStream body = exchange.getResponseBody();
        for (int piece = 1; piece <= ms / 250; piece++) {
            Thread.sleep(250);
            body.write(("piece " + piece + "\n").getBytes());
            body.flush();
        }
        body.write(done);
    }

    public static void main(String[] args) throws Exception {
        int port = Integer.parseInt(args[0]);
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 4096);
        server.setExecutor(Executors.newCachedThreadPool());
        server.createContext("/", exchange -> {
            try (exchange) {
                answer(exchange);
            } catch (InterruptedException e) {
                throw new IOException(e);
            }
        });
        server.start();
    }
}
