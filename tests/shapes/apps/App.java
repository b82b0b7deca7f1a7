import java.nio.file.Files;
import java.nio.file.Path;

/** A shutdown hook that takes 0.8 s. */
public class App {
    public static void main(String[] args) throws Exception {
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                Thread.sleep(800);
                Files.createFile(Path.of("saved"));
            } catch (Exception e) {
                throw new RuntimeException(e);
            }
        }));
        Files.createFile(Path.of("ready"));
        Thread.currentThread().join();
    }
}
