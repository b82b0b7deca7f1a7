//! Settings and servers that are wrong in one way. Each way is named and cured, or it is said that nothing cures it.

use super::{Result, Site, needs};
use crate::support::port::free_port;
use crate::support::{Outcome, need};
use crate::{ensure, ensure_eq};

/// A rehearsal of the server with something wrong.
fn planted(options: &str, wrong: &str) -> Outcome<Option<(Site, Result)>> {
    if !needs() {
        return Ok(None);
    }
    let site = Site::new()?;
    let result = site.rehearse(&format!("{options} --url :{{port}}/"), &site.server(wrong))?;
    Ok(Some((site, result)))
}

#[test]
fn a_grace_longer_than_the_platforms_is_named_and_shortened() -> Outcome {
    let options = "--rehearse=docker:4s --grace 40s --rate 50 --rounds 1";
    let Some((_, result)) = planted(options, "term=ignore")? else { return Ok(()) };
    ensure_eq!((result.code, result.lost()), (1, 0), "{}", result.text);
    ensure_eq!(result.json["rows"][0]["exit"], "killed", "{}", result.text);
    result.says(&["Docker kills PID 1 after 4.", "own budget is 40s (--grace)"])?;
    result.is_cured_by(&["--grace 2.4s"])
}

#[test]
fn a_handler_longer_than_the_platforms_time_is_refused() -> Outcome {
    let options = "--rehearse=docker:3s --rate 5 --rounds 1";
    let Some((_, result)) = planted(options, "sleep=4000")? else { return Ok(()) };
    result.lost_some()?;
    ensure!(result.json["found"].is_null(), "{}", result.text);
    result.says(&["No settings", "an answer took 4.", "kills after 3s", "docker stop -t"])
}

#[test]
fn a_server_with_a_shorter_timeout_of_its_own_is_drained() -> Outcome {
    let options = "--rehearse=docker:8s --rate 20 --rounds 1";
    let Some((site, result)) = planted(options, "term=close late=200 sleep=700")? else {
        return Ok(());
    };
    result.lost_some()?;
    result.says(&["lost its connection", "when the app ended"])?;
    result.is_cured_by(&[&format!("--drain {}", site.port)])
}

#[test]
fn a_listener_that_closes_at_term_is_named_and_drained() -> Outcome {
    let options = "--rehearse=k8s:30s --rate 50 --rounds 1";
    let Some((site, result)) = planted(options, "term=close")? else { return Ok(()) };
    result.lost_some()?;
    result.says(&["got TERM, and refused connections", "the balancer knew 1.", "too late"])?;
    result.is_cured_by(&[&format!("--drain {}", site.port)])
}

#[test]
fn readiness_on_the_wrong_port_is_named_and_moved() -> Outcome {
    let options = format!(
        "--rehearse=docker:8s --rate 50 --rounds 1 --drain {{port}} --ready tcp:{}",
        free_port()?
    );
    let Some((site, result)) = planted(&options, "")? else { return Ok(()) };
    result.lost_some()?;
    result.says(&["does not take it for ready", "--ready tcp:"])?;
    result.is_cured_by(&[&format!("--ready tcp:{}", site.port)])
}

#[test]
fn a_drain_of_an_unused_port_is_named_and_moved() -> Outcome {
    let options = format!("--rehearse=docker:8s --rate 50 --rounds 1 --drain {}", free_port()?);
    let Some((site, result)) = planted(&options, "")? else { return Ok(()) };
    result.lost_some()?;
    result.says(&["does not take it for ready", "(--drain)"])?;
    result.is_cured_by(&[&format!("--drain {}", site.port)])
}

#[test]
fn a_hook_that_eats_the_budget_is_named_and_limited() -> Outcome {
    let options = "--rehearse=docker:8s --rate 10 --rounds 1 --grace 4s --drain {port} \
                   --pre-stop 'sleep 30' --hook-timeout 3s";
    let Some((_, result)) = planted(options, "sleep=3300")? else { return Ok(()) };
    result.lost_some()?;
    result.says(&["The hook pre-stop-1 was still running 3.", "budget of 4s"])?;
    result.is_cured_by(&["--hook-timeout 1s"])
}

#[test]
fn a_code_that_is_not_mapped_is_named_and_is_no_loss() -> Outcome {
    let options = "--rehearse=docker --only --rate 50 --drain {port} --drain-idle 1s";
    let Some((_, result)) = planted(options, "")? else { return Ok(()) };
    ensure_eq!((result.code, result.lost()), (0, 0), "{}", result.text);
    result.says(&["exit code is 143", "--stop-exit-ok 143"])?;
    let Some((_, result)) = planted(&format!("{options} --stop-exit-ok 143"), "")? else {
        return Ok(());
    };
    ensure_eq!(result.json["findings"].as_array().map(Vec::len), Some(0), "{}", result.text);
    ensure_eq!(result.json["rows"][0]["exit"], "0", "{}", result.text);
    Ok(())
}

/// The load is so slow that the connections are quiet between two requests.
#[test]
fn a_delay_shorter_than_the_lag_is_named_and_lengthened() -> Outcome {
    let options = "--rehearse=docker:12s --rate 4 --rounds 1 --lag 2s --drain {port} --drain-delay 100ms \
                   --drain-idle 50ms";
    let Some((_, result)) = planted(options, "")? else { return Ok(()) };
    result.lost_some()?;
    result.says(&["--drain-delay is too short", "the balancer knew 2."])?;
    result.is_cured_by(&["--drain-delay 4s"])
}

/// Nothing is wrong with them, but the balancer tells graceinit when it knows.
#[test]
fn a_balancer_that_asks_graceinit_shortens_the_delay() -> Outcome {
    let check = free_port()?;
    let options = format!(
        "--rehearse=docker:8s --rate 50 --rounds 1 --drain {{port}} --drain-idle 300ms --listen 127.0.0.1:{check} \
         --rehearse-health :{check}/readyz"
    );
    let Some((_, result)) = planted(&options, "")? else { return Ok(()) };
    ensure_eq!((result.code, result.lost()), (0, 0), "{}", result.text);
    result.is_cured_by(&["--drain-acks 1"])?;
    result.says(&["where one balancer asks"])
}

#[test]
fn a_wrapper_that_swallows_term_is_named_and_passed_by() -> Outcome {
    if !needs() {
        return Ok(());
    }
    let site = Site::new()?;
    let mut command = vec![super::PYTHON.to_owned(), site.place.text("wrapper.py")];
    command.extend(site.server(""));
    let options =
        "--rehearse=docker:8s --rate 50 --rounds 1 --grace 4s --scope main --url :{port}/";
    let result = site.rehearse(options, &command)?;
    ensure_eq!(result.json["rows"][0]["exit"], "137", "{}", result.text);
    result.says(&["had not ended within", "did not act on the signal", "--scope group"])?;
    result.is_cured_by(&["--scope group", "--drain"])
}

/// Clients that keep their connections learn of the stop from the app alone.
#[test]
fn clients_that_keep_their_connections_are_lost_and_no_setting_cures_it() -> Outcome {
    let options = "--rehearse=docker:5s --rate 100 --rounds 1 --pinned --grace 3s --post-stop-timeout 1s \
                   --drain {port}";
    let Some((_, result)) = planted(options, "sleep=200")? else { return Ok(()) };
    result.lost_some()?;
    result.says(&["requests were lost on connections that clients keep", "(--pinned)"])?;
    result.says(&["No settings", "Connection: close"])?;
    ensure!(result.json["found"].is_null(), "{}", result.text);
    Ok(())
}

#[test]
fn clients_that_keep_their_connections_go_elsewhere_when_the_app_says_so() -> Outcome {
    let options = "--rehearse=docker:8s --only --rate 50 --pinned";
    let Some((_, result)) = planted(options, "term=tell late=2000")? else { return Ok(()) };
    ensure_eq!((result.code, result.lost()), (0, 0), "{}", result.text);
    ensure_eq!(result.json["rows"][0]["exit"], "0", "{}", result.text);
    Ok(())
}

#[test]
fn an_app_that_never_gets_ready_is_refused() -> Outcome {
    let options = "--rehearse=docker:8s --rate 50 --ready tcp:{port} --ready-timeout 2s";
    let Some((_, result)) = planted(options, "listen=no")? else { return Ok(()) };
    ensure_eq!(result.code, 1, "{}", result.text);
    result.says(&["never got ready", "last result: refused", "code 124", "waited for tcp:"])?;
    ensure!(result.json["found"].is_null(), "{}", result.text);
    Ok(())
}

// ---- the wrong signal ------------------------------------------------------------------------------

#[test]
fn nginx_gets_its_profile_and_a_drain() -> Outcome {
    const NGINX: &str = "/usr/sbin/nginx";
    if !need::program(NGINX) {
        return Ok(());
    }
    let site = Site::new()?;
    let (dir, port) = (site.place.text("."), site.port);
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|name| format!("{name}_temp_path {dir}/{name}; "))
        .collect();
    // A file that takes a second: TERM cuts it off, QUIT does not.
    site.place.file("file", vec![b'x'; 300_000], 0o644);
    let text = format!(
        "daemon off; pid {dir}/pid; error_log stderr error; events {{ worker_connections 1024; }}\n\
         http {{ access_log off; {temporary} server {{ listen 127.0.0.1:{port}; root {dir}; limit_rate 200k; }} }}"
    );
    let conf = site.place.file("conf", text, 0o644).display().to_string();
    let command = ["nginx", "-e", "stderr", "-c", &conf].map(String::from);
    let options = "--rehearse=k8s:30s --rate 20 --rounds 1 --url :{port}/file";
    let result = site.rehearse(options, &command)?;
    result.lost_some()?;
    result.is_cured_by(&["--profile nginx", &format!("--drain {port}")])
}

#[test]
fn httpd_gets_its_profile_and_a_drain() -> Outcome {
    const HTTPD: &str = "/usr/sbin/apache2";
    if !need::root() || !need::program(HTTPD) {
        return Ok(());
    }
    let site = Site::new()?;
    let (dir, port) = (site.place.text("."), site.port);
    site.place.file("file", "hello\n", 0o644);
    let modules: String = ["mpm_event", "authz_core"]
        .iter()
        .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
        .collect();
    let text = format!(
        "ServerRoot {dir}\nServerName x\nPidFile {dir}/pid\nDefaultRuntimeDir {dir}\nListen 127.0.0.1:{port}\n\
         {modules}ErrorLog /proc/self/fd/2\nUser www-data\nGroup www-data\nDocumentRoot {dir}\n"
    );
    let conf = site.place.file("conf", text, 0o644).display().to_string();
    let command = [HTTPD, "-DFOREGROUND", "-f", &conf].map(String::from);
    let options = "--rehearse=k8s:30s --rate 50 --rounds 1 --url :{port}/file";
    let result = site.rehearse(options, &command)?;
    result.lost_some()?;
    result.is_cured_by(&["--profile httpd", &format!("--drain {port}")])
}

/// uWSGI reloads on TERM, and does not end.
#[test]
fn uwsgi_is_said_not_to_end_and_gets_its_profile() -> Outcome {
    const UWSGI: &str = "/usr/bin/uwsgi-core";
    if !need::program(UWSGI) {
        return Ok(());
    }
    let site = Site::new()?;
    site.place.file(
        "cgi",
        "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\nhello'\n",
        0o755,
    );
    let (port, cgi) = (site.port, site.place.text("cgi"));
    let words = format!(
        "{UWSGI} --plugin cgi --http-socket 127.0.0.1:{port} --http-socket-modifier1 9 --cgi {cgi} --master \
         --processes 4"
    );
    let command: Vec<String> = words.split_whitespace().map(String::from).collect();
    let options = "--rehearse=docker:8s --rate 5 --rounds 1 --grace 4s --url :{port}/";
    let result = site.rehearse(options, &command)?;
    result.says(&["had not ended within", "of TERM", "--profile uwsgi"])?;
    ensure_eq!(result.json["rows"][0]["exit"], "137", "{}", result.text);
    Ok(())
}
