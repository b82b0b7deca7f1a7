//! A JVM runs its shutdown hooks on TERM and then reports 143, as if it had been killed. On QUIT it prints
//! what each thread is doing, which is what one wants to know of a hook that hangs.

use super::apps::{Busy, Fate, Gate, How, free_address, needs, said};
use crate::ensure_eq;
use crate::support::{Launch, Outcome, Status};

const JAVA: &str = "/usr/bin/java";

/// A server whose shutdown hook waits for the requests (`stop` does). With the argument `helper` another
/// program does the work of a request; with `hang` the hook never ends. `java FILE` compiles it in memory,
/// for which the runtime alone will do.
const APP: &str = r#"import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executors;

public class App {
    static void hangForEver() {
        System.out.println("hanging");
        try {
            new CountDownLatch(1).await();
        } catch (InterruptedException e) {
            throw new RuntimeException(e);
        }
    }

    static boolean helped() throws IOException {
        try {
            Process cat = new ProcessBuilder("cat", System.getenv("GATE")).start();
            return cat.waitFor() == 0;
        } catch (InterruptedException e) {
            throw new IOException(e);
        }
    }

    public static void main(String[] args) throws Exception {
        String mode = args.length > 0 ? args[0] : "";
        String[] address = System.getenv("ADDRESS").split(":");
        HttpServer server = HttpServer.create(
            new InetSocketAddress(address[0], Integer.parseInt(address[1])), 0);
        server.setExecutor(Executors.newCachedThreadPool());
        server.createContext("/", exchange -> {
            boolean done = true;
            if (mode.equals("helper")) {
                done = helped();
            } else {
                Files.readAllBytes(Path.of(System.getenv("GATE")));
            }
            byte[] body = "whole".getBytes();
            exchange.sendResponseHeaders(done ? 200 : 500, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            System.out.println("in the hook");
            if (mode.equals("hang")) hangForEver();
            server.stop(60);
        }));
        server.start();
        System.out.println("serving");
    }
}
"#;

/// The launch of the program above, as small as a JVM gets. (UsePerfData would have a file in /tmp, named
/// after the pid, which is the same in every pid namespace.)
fn app(launch: Launch, gate: &Gate, address: &str) -> Launch {
    let file = gate.place.file("App.java", APP, 0o644);
    launch
        .env("GATE", gate.path())
        .env("ADDRESS", address)
        .command([JAVA, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData"])
        .app_arg(file)
}

/// A request in flight during a stop; `finish`: it is let go on once the hook runs.
fn stop(how: How, mode: &str, finish: bool) -> Outcome<(Fate, Status)> {
    let gate = Gate::new();
    let address = free_address()?;
    let launch = app(how.launch(), &gate, &address.to_string()).app_arg(mode);
    let mut busy = Busy::start(launch, &gate, address)?;
    busy.stop("TERM", "in the hook")?;
    if finish {
        busy.release();
    }
    busy.end()
}

/// Here the profile changes the code alone: in both cases the hook waits for the work.
#[test]
fn a_request_finishes_and_with_the_profile_the_code_is_0() -> Outcome {
    if needs(&[JAVA]) {
        for (how, code) in [(How::Profile("jvm"), 0), (How::Plain, 143)] {
            ensure_eq!(stop(how, "", true)?, (Fate::Whole, Status::Code(code)), "{how:?}");
        }
    }
    Ok(())
}

#[test]
fn with_the_profile_a_helpers_work_finishes() -> Outcome {
    if needs(&[JAVA]) {
        let end = stop(How::Profile("jvm"), "helper", true)?;
        ensure_eq!(end, (Fate::Whole, Status::Code(0)), "the request");
    }
    Ok(())
}

/// That is why the profile tells the main process alone.
#[test]
fn a_term_for_the_group_kills_the_helper() -> Outcome {
    if needs(&[JAVA]) {
        let end = stop(How::Plain, "helper", false)?;
        ensure_eq!(end, (Fate::CutOff, Status::Code(143)), "the request");
    }
    Ok(())
}

/// A hook that hangs is seen in the thread dump before the JVM is killed.
#[test]
fn with_the_profile_a_hanging_hook_is_seen() -> Outcome {
    if !needs(&[JAVA]) {
        return Ok(());
    }
    let gate = Gate::new();
    let launch = How::Profile("jvm").launch().flags("--grace 3s");
    let mut run = app(launch, &gate, &free_address()?.to_string()).app_arg("hang").start()?;
    said(&run, "serving")?;
    run.signal("TERM")?;
    said(&run, "hanging")?;
    said(&run, "Full thread dump")?;
    said(&run, "App.hangForEver")?;
    run.exits(137)
}
