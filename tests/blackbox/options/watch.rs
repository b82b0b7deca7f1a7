//! What becomes of the options of the account, and of those that make a tool of the program.

use std::process::{Command, Output};

use graceinit::account::log::Format;
use graceinit::config::outputs::{Question, Tool};
use graceinit::config::{self, Config, Place as Where};

use super::{Said, on, setting};
use crate::support::files::Place;
use crate::support::{Fault, Outcome, Program};
use crate::{ensure, ensure_eq};

#[test]
fn the_format_depends_on_the_place() -> Outcome {
    let kubernetes = on("kubernetes");
    for (place, value, why) in [
        (Where::default(), "text", "default"),
        (on("docker"), "text", "default"),
        (on("azure-container-apps"), "json", "default on azure-container-apps"),
        (kubernetes, "json", "default on kubernetes"),
        // kubectl debug, or somebody who tries the image out.
        (Where { terminal: true, ..kubernetes }, "text", "default"),
    ] {
        let said = Said { place, ..Said::default() };
        ensure_eq!(setting(&said, "log-format"), (why.into(), value.into()), "{place:?}");
        let format = if value == "json" { Format::Json } else { Format::Text };
        ensure_eq!(said.build().map(|config| config.log_format), Ok(format), "{place:?}");
    }
    let said = Said { flags: vec!["--log-format=text"], place: kubernetes, ..Said::default() };
    ensure_eq!(said.build().map(|config| config.log_format), Ok(Format::Text), "asked for");
    Ok(())
}

fn probes(said: &Said<'_>) -> Result<(Option<Tool>, Vec<String>), Vec<String>> {
    let told = |config: Config| {
        let listen = config.listen.iter().map(ToString::to_string).collect();
        assert_eq!((config.warnings, config.command), (vec![], vec![]), "a probe warns of nothing");
        assert_eq!(config.watch, config::outputs::Watch::default(), "and opens nothing");
        (config.tool, listen)
    };
    said.run(&[]).map(told)
}

/// In a container all that the graceinit of the app was told is there for the probe too. None of it
/// is for the probe, but for the address; and what has gone wrong with the rest since is no reason
/// to say that the app is not ready.
#[test]
fn a_probe_wants_to_know_the_address_and_nothing_else() -> Outcome {
    let file = Some("listen = ['unix:/x', ':2']\nreport = '/'\ngrase = 1");
    let others = vec![
        ("GRACEINIT_LISTEN", "127.0.0.1:1"),
        ("GRACEINIT_REPORT", "/dev/termination-log"),
        ("GRACEINIT_METRICS_FILE", "/run/metrics"),
        ("GRACEINIT_READY_FILE", "/"),
        // Right only beside a flag of the entry point.
        ("GRACEINIT_DRAIN_IDLE", "3s"),
        ("GRACEINIT_USER", "nobody-here"),
        ("GRACEINIT_PROFILE", "none"),
        ("GRACEINIT_CHECK", "docker"),
        ("GRACEINIT_PRE_STOP", "a && 'b"),
        ("GRACEINIT_PORT", "tcp://10.0.0.1:80"),
        ("GRACEINIT_LOG_FORMAT", "xml"),
    ];
    for (flags, variables, file, listen) in [
        (&["--probe=ready"][..], others.clone(), None, &["127.0.0.1:1"][..]),
        (&["--probe=ready"], others.clone(), file, &["127.0.0.1:1"]),
        (&["--probe=ready"], others[1..].to_vec(), file, &["unix:/x", "[::]:2"]),
        (&["--probe=ready", "--listen=:3"], others, Some("grase ="), &["[::]:3"]),
    ] {
        let said = Said { flags: flags.to_vec(), variables, file, place: on("kubernetes") };
        let listen = listen.iter().map(ToString::to_string).collect();
        ensure_eq!(probes(&said), Ok((Some(Tool::Probe(Question::Ready)), listen)), "{flags:?}");
    }
    for (value, question) in [("live", Question::Live), ("status", Question::Status)] {
        let flags = vec!["--probe", value, "--listen=:3"];
        let tool = probes(&Said { flags, ..Said::default() }).map(|(tool, _)| tool);
        ensure_eq!(tool, Ok(Some(Tool::Probe(question))), "{value}");
    }
    Ok(())
}

#[test]
fn a_page_needs_a_report_and_nothing_else() -> Outcome {
    for path in ["report.json", "-"] {
        let variables = vec![("GRACEINIT_LISTEN", "nonsense"), ("GRACEINIT_CONFIG", "/nowhere")];
        let said = Said { flags: vec!["--render", path], variables, ..Said::default() };
        let tool = Tool::Render(std::ffi::CString::new(path).expect("no 0"));
        ensure_eq!(probes(&said), Ok((Some(tool), vec![])), "{path}");
    }
    Ok(())
}

#[test]
fn what_a_tool_is_not_told_together() -> Outcome {
    let starts = "a probe starts nothing, and reads --listen and --config only";
    let once = "each of them is a mode of its own; choose one";
    let nobody =
        "'ready': the address of graceinit is unknown; add --listen ADDR, or set GRACEINIT_LISTEN";
    for (flags, command, want) in [
        (&["--probe", "ready"][..], &[][..], vec![format!("--probe {nobody}")]),
        (&["--probe=x", "--listen=:1"], &[], {
            vec!["--probe 'x': not a question; write ready, live or status".to_owned()]
        }),
        // All of them at once; without an address that could not be read nothing is missing.
        (&["--probe=x", "--listen=1"], &["app"], {
            vec![
                "--probe 'x': not a question; write ready, live or status".to_owned(),
                format!("--probe together with the command 'app': {starts}; leave the command out"),
                "--listen '1': the address is missing; write [::]:1 for all of them or 127.0.0.1:1"
                    .to_owned(),
            ]
        }),
        (&["--probe=live", "--listen=:1", "--grace=5", "-v"], &[], {
            vec![
                format!("--grace together with --probe: {starts}; leave --grace out"),
                format!("-v together with --probe: {starts}; leave -v out"),
            ]
        }),
        (&["--probe=live", "--listen=:1", "--render=x", "--check"], &[], {
            vec![
                format!("--probe together with --check: {once}"),
                format!("--probe together with --render: {once}"),
            ]
        }),
        (&["--render=x", "--config=/x"], &["app", "-x"], {
            let alone = "a page is made from the report alone";
            vec![
                format!("--config together with --render: {alone}; leave --config out"),
                format!("--render together with the command 'app': {alone}; leave the command out"),
            ]
        }),
        (&["--render="], &[], vec!["--render '': an empty path; write report.json".to_owned()]),
    ] {
        let said = Said { flags: flags.to_vec(), ..Said::default() };
        let want: Vec<String> = want.iter().map(|why| format!("unable to use {why}")).collect();
        let mistakes = said.run(command).err().unwrap_or_default();
        ensure_eq!(mistakes, want, "{flags:?}");
    }
    // A file that cannot be read counts where there is no other address.
    for (file, want) in [
        ("grase = 1\n[listen]", &["FILE:1:1 grase: ", "FILE:2:1 listen = [listen]: "][..]),
        ("listen = []", &["--probe 'ready': the address of graceinit is unknown"]),
        ("listen = 'x:1'", &["FILE:1:10 listen = 'x:1': names are not looked up"]),
    ] {
        let said = Said { flags: vec!["--probe=ready"], file: Some(file), ..Said::default() };
        let mistakes = said.run(&[]).err().unwrap_or_default();
        let begin = |(mistake, want): (&String, &&str)| {
            mistake.starts_with(&format!("unable to use {want}"))
        };
        let all = mistakes.len() == want.len() && mistakes.iter().zip(want).all(begin);
        ensure!(all, "{file}: {mistakes:?}");
    }
    Ok(())
}

/// The textfile collector would never read it, and would not say so.
#[test]
fn a_metrics_file_of_another_name_is_a_warning() -> Outcome {
    for (path, warns) in [("/run/app.prom", false), ("/run/app.txt", true), ("/run/.prom", true)] {
        let said = Said { flags: vec!["--metrics-file", path], ..Said::default() };
        let want = format!(
            "--metrics-file '{path}': the textfile collector reads only files that end in .prom"
        );
        let warnings = said.build().map(|config| config.warnings);
        ensure_eq!(warnings, Ok(if warns { vec![want] } else { vec![] }), "{path}");
    }
    Ok(())
}

fn graceinit(variables: &[(&str, &str)], words: &[&str]) -> Outcome<Output> {
    let mut command = Command::new(Program::Graceinit.path());
    command.env_clear().env("PATH", "/usr/bin:/bin");
    Ok(command.envs(variables.iter().copied()).args(words).output()?)
}

/// What ends the start is written as the log would be. Where there is no log it is for people.
#[test]
fn mistakes_are_told_in_the_format_of_the_log() -> Outcome {
    let place = Place::new();
    let file = place.file("graceinit.toml", "log-format = 'json'\ngrace = 'x'", 0o644);
    let file = file.display().to_string();
    let pod = ("KUBERNETES_SERVICE_HOST", "10.0.0.1");
    for (variables, words, json) in [
        (&[][..], &["--grace=x", "app"][..], false),
        (&[pod][..], &["--grace=x", "app"], true),
        (&[pod], &["--grase=x", "app"], true),
        (&[pod], &["--log-format=x", "app"], true),
        (&[pod, ("GRACEINIT_LOG_FORMAT", "text")], &["--grace=x", "app"], false),
        (&[("GRACEINIT_LOG_FORMAT", "json")], &["--grace=x", "app"], true),
        (&[("GRACEINIT_LOG_FORMAT", "json")], &["--log-format=text", "--grace=x", "app"], false),
        (&[], &["--config", &file, "app"], true),
        (&[pod], &["--check", "--grace=x"], false),
        (&[pod, ("GRACEINIT_CHECK", "1")], &["--grace=x"], false),
        (&[pod], &["--probe=x", "--listen=:1"], false),
        // The first one that is found after that.
        (&[pod], &["no-such-app"], true),
        (&[], &["no-such-app"], false),
    ] {
        let output = graceinit(variables, words)?;
        let code = if words == ["no-such-app"] { 127 } else { 125 };
        ensure_eq!(output.status.code(), Some(code), "{words:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure_eq!(said.contains("graceinit: fatal: un"), !json, "{words:?}: {said}");
        let objects = said.lines().filter_map(|line| serde_json::from_str(line).ok());
        let is_fatal = |object: &serde_json::Value| {
            object["fact"] == "fatal" || object["fact"] == "not-executed"
        };
        let fatal: Vec<serde_json::Value> = objects.filter(is_fatal).collect();
        ensure_eq!(fatal.len(), usize::from(json), "{words:?}: {said}");
        for object in fatal {
            let text = object["msg"].as_str().unwrap_or_default();
            ensure!(text.starts_with("un") && object["level"] == "error", "{words:?}: {said}");
        }
    }
    Ok(())
}

/// The values of a hook's variables are nobody's business: not in the plan, not in the log.
#[test]
fn the_environment_of_a_hook_is_not_told() -> Outcome {
    let place = Place::new();
    let text =
        "log-level = 'trace'\n[[hook.pre-start]]\ncommand = ['true']\nenv = { TOKEN = 'hunter2' }";
    let file = place.file("graceinit.toml", text, 0o644).display().to_string();
    for words in [&["--check", "--config", &file, "true"][..], &["--config", &file, "true"]] {
        let output = graceinit(&[], words)?;
        ensure_eq!(output.status.code(), Some(0), "{words:?}");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        ensure!(said.contains("pre-start-1"), "the hook is not told: {said}");
        ensure!(!said.contains("hunter2") && !said.contains("TOKEN"), "{said}");
    }
    Ok(())
}

/// Whatever the variables of the container say: they are for the graceinit that runs the app.
#[test]
fn a_probe_leaves_the_files_alone() -> Outcome {
    let place = Place::new();
    let report = place.file("report.json", "of the app's graceinit", 0o644).display().to_string();
    let metrics = place.file("app.txt", "its metrics", 0o644).display().to_string();
    let ready = place.file("ready", "", 0o644).display().to_string();
    let listen = format!("unix:{}", place.text("sock"));
    let variables = [
        ("GRACEINIT_REPORT", &report[..]),
        ("GRACEINIT_METRICS_FILE", &metrics),
        ("GRACEINIT_READY_FILE", &ready),
        ("GRACEINIT_LISTEN", &listen),
        ("GRACEINIT_NONE_OF_OURS", "1"),
        ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
    ];
    let output = graceinit(&variables, &["--probe", "ready"])?;
    // Nobody listens there.
    ensure_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr).map_err(|_| Fault::new("no UTF-8"))?;
    ensure!(!said.contains("warn") && !said.starts_with('{'), "{said}");
    ensure_eq!(place.expect("report.json")?, "of the app's graceinit", "the report");
    ensure_eq!(place.expect("app.txt")?, "its metrics", "the metrics");
    ensure!(place.read("ready").is_some(), "the ready file");
    ensure!(place.read("sock").is_none(), "the socket");
    Ok(())
}
