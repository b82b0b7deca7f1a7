//! The manifests of `packaging/k8s` and of `docs/kubernetes.md`: held against the published schemas of
//! Kubernetes, and the settings in them against the period of their pods, by graceinit itself. What is
//! left of a stop is what a kubelet can show.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use graceinit::account::document::Account;

use crate::support::files::Place;
use crate::support::{Fault, Launch, Outcome, Program, Room, need};
use crate::{ensure, ensure_eq};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where `tests/run` installs the schemas.
fn python() -> PathBuf {
    root().join("target/python/bin/python3")
}

fn needs() -> bool {
    let import = Command::new(python()).args(["-c", "import kubernetes_validate"]).output();
    let there = import.is_ok_and(|output| output.status.success());
    need::met(there, "kubernetes-validate of PyPI in target/python")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Judges one manifest.
fn judge(place: &Place, manifest: &str) -> Outcome<Output> {
    let file = place.file("manifest.yaml", manifest, 0o644);
    let mut judge = Command::new(python());
    judge.arg(root().join("tests/k8s.py")).arg(file).arg(place.path("."));
    Ok(judge.output()?)
}

/// Every manifest: its name, and what it says.
fn manifests() -> Outcome<Vec<(String, String)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(root().join("packaging/k8s"))? {
        let path = entry?.path();
        all.push((path.display().to_string(), fs::read_to_string(&path)?));
    }
    ensure!(all.len() >= 4, "where are they: {all:?}");
    // The blocks that are whole; the others are fragments.
    let doc = fs::read_to_string(root().join("docs/kubernetes.md"))?;
    let blocks = doc.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let whole: Vec<&str> = blocks.filter(|block| block.starts_with("apiVersion: ")).collect();
    ensure!(!whole.is_empty(), "docs/kubernetes.md shows none");
    all.extend(whole.into_iter().map(|block| ("docs/kubernetes.md".into(), block.to_string())));
    Ok(all)
}

/// The plan of a stop, as graceinit sees it in that container.
fn plan(environment: &[&str], period: u32) -> Outcome<Output> {
    let mut check = Command::new(Program::Graceinit.path());
    check.env_clear().env("KUBERNETES_SERVICE_HOST", "10.0.0.1");
    check.envs(environment.iter().filter_map(|entry| entry.split_once('=')));
    Ok(check
        .arg(format!("--check=k8s:{period}s"))
        .arg("--")
        .arg(Program::Graceinit.path())
        .output()?)
}

/// The account of a stop in that container, as `kubectl describe pod` would show it.
fn report(place: &Place, environment: &[&str]) -> Outcome<Account> {
    let (path, listen) = (place.text("report"), format!("unix:{}", place.text("sock")));
    let mut launch = Launch::graceinit(Room::Plain).env("KUBERNETES_SERVICE_HOST", "10.0.0.1");
    for (name, value) in environment.iter().filter_map(|entry| entry.split_once('=')) {
        launch = match name {
            "GRACEINIT_REPORT" => launch.env(name, &path),
            "GRACEINIT_LISTEN" => launch.env(name, &listen),
            _ => launch.env(name, value),
        };
    }
    let mut run = launch.app("block ready echo=TERM:0").start()?;
    run.ready()?;
    run.signal("TERM")?;
    run.exits(0)?;
    let text = place.expect("report")?;
    // Kubelets cut what is longer.
    ensure!(text.len() <= 4096, "{} bytes: {text}", text.len());
    serde_json::from_str(&text).map_err(|error| Fault::new(format!("{error}: {text}")))
}

#[test]
fn manifests_fit_the_schemas_and_their_stops_fit_the_pods() -> Outcome {
    if !needs() {
        return Ok(());
    }
    let place = Place::new();
    let mut reports = 0;
    for (name, content) in manifests()? {
        let judged = judge(&place, &content)?;
        ensure!(judged.status.success(), "{name}: {}", text(&judged.stderr));
        let account = text(&judged.stdout);
        let mut containers = 0;
        for container in account.split("container ").skip(1) {
            containers += 1;
            let mut lines = container.lines();
            let head = lines.next().unwrap_or_default();
            let period = head.rsplit(' ').next().and_then(|period| period.parse().ok());
            let period: u32 = period.unwrap_or(0);
            let environment: Vec<&str> =
                lines.filter_map(|line| line.strip_prefix("env ")).collect();
            let checked = plan(&environment, period)?;
            let (out, err) = (text(&checked.stdout), text(&checked.stderr));
            ensure_eq!(checked.status.code(), Some(0), "{name}, {head}: {out}{err}");
            // An unknown variable, for one, is a warning.
            ensure!(!out.contains("warning: "), "{name}, {head}: {out}");
            ensure!(out.contains("terminationGracePeriodSeconds"), "{name}, {head}: {out}");
            // The period that is there is needed: with half of it the same plan does not fit.
            let halved = plan(&environment, period / 2)?;
            ensure_eq!(halved.status.code(), Some(1), "{name}, {head}: half the period");
            if environment.iter().any(|entry| entry.starts_with("GRACEINIT_REPORT=")) {
                let report = report(&place, &environment)?;
                let exit = report.exit.map(|exit| (exit.code, exit.reason));
                ensure_eq!(exit, Some((0, "signal".to_owned())), "{name}, {head}");
                let stop = report.stop.map(|stop| stop.signal);
                ensure_eq!(stop.as_deref(), Some("TERM"), "{name}, {head}");
                reports += 1;
            }
        }
        ensure!(containers > 0, "{name}: no container in {account:?}");
    }
    ensure!(reports >= 3, "only {reports} have a report");
    Ok(())
}

/// What the test above would not let pass.
#[test]
fn a_wrong_manifest_is_refused() -> Outcome {
    if !needs() {
        return Ok(());
    }
    let place = Place::new();
    let web = fs::read_to_string(root().join("packaging/k8s/web.yaml"))?;
    let job = fs::read_to_string(root().join("packaging/k8s/job.yaml"))?;
    for (right, wrong, complaint) in [
        ("restartPolicyRules:", "restartPolicyRule:", "'restartPolicyRule' was unexpected"),
        ("exitCodes: { operator", "exitCodes: { operators", "operator"),
        (
            "      restartPolicy: Never\n      terminationGrace",
            "      terminationGrace",
            "needs a pod with",
        ),
        (
            "          restartPolicy: Never\n          restartPolicyRules",
            "          restartPolicyRules",
            "need a restartPolicy",
        ),
        ("action: FailJob", "action: FailJobs", "FailJobs"),
        ("containerName: import", "containerName: export", "no container export"),
        ("values: [124]", "values: [123]", "123 is not a code of graceinit"),
        ("value: \"99\"", "value: \"98\"", "99 is not a code of graceinit"),
    ] {
        ensure!(job.contains(right), "job.yaml has no {right:?}");
        let judged = judge(&place, &job.replace(right, wrong))?;
        let err = text(&judged.stderr);
        ensure_eq!(judged.status.code(), Some(1), "{wrong}: {err}");
        ensure!(err.contains(complaint), "{wrong}: no {complaint:?} in {err}");
    }
    for (right, wrong, complaint) in [
        ("readinessProbe:", "readynessProbe:", "'readynessProbe' was unexpected"),
        ("maxSurge: 1", "maxSurge: [1]", "maxSurge"),
        ("terminationGracePeriodSeconds: 30", "terminationGracePeriodSeconds: 30s", "'30s' is not"),
        ("containerPort: 9180", "containerPort: 9181", "graceinit listens on 9180"),
        ("value: \"8080\"", "value: \"8081\"", "8081 is drained"),
        ("targetPort: http", "targetPort: web", "no port web"),
        ("drop: [ALL]", "drop: [KILL]", "capabilities"),
        ("runAsNonRoot: true", "runAsNonRoot: false", "runAsNonRoot"),
        ("selector: { app: web }", "selector: { app: wep }", "Service web selects no pod"),
        ("prometheus.io/port: \"9180\"", "prometheus.io/port: \"80\"", "80 is scraped"),
        ("value: /dev/termination-log", "value: /dev/termination", "the kubelet looks at"),
        ("FallbackToLogsOnError", "File", "before any report"),
    ] {
        ensure!(web.contains(right), "web.yaml has no {right:?}");
        let judged = judge(&place, &web.replace(right, wrong))?;
        let err = text(&judged.stderr);
        ensure_eq!(judged.status.code(), Some(1), "{wrong}: {err}");
        ensure!(err.contains(complaint), "{wrong}: no {complaint:?} in {err}");
    }
    Ok(())
}
