//! The paths and their answers.

use super::accept;
use super::copy::AccountCopy;
use super::health::{Health, Which};
use super::http::{Answer, text};
use super::snapshot::Snapshot;
use crate::account::document::Drain;
use crate::account::metrics::{self, Form};
use crate::account::page::{self, Edition};
use crate::account::waiting;
use crate::types::Time;

/// What an answer may depend on.
pub(super) struct View<'a> {
    /// The last snapshot of PID 1.
    pub snapshot: &'a Snapshot,
    /// The copy of the account.
    pub copy: &'a mut AccountCopy,
    /// The answers of the checks.
    pub health: &'a Health,
    /// The request's `Accept`.
    pub accept: &'a str,
    /// Now.
    pub now: Time,
}

/// A path and its answer.
pub(super) struct Route {
    /// The path, without the query.
    pub path: &'static str,
    /// What it is for, in the list of `/`.
    pub about: &'static str,
    /// The answer.
    pub answer: fn(&mut View<'_>) -> Answer,
}

/// All paths.
pub(super) const ROUTES: [Route; 6] = [
    Route { path: "/", about: "this list", answer: index },
    Route { path: "/readyz", about: "200 while the app can be sent work, else 503", answer: ready },
    Route {
        path: "/servez",
        about: "200 while the app accepts work, a drain included",
        answer: serves,
    },
    Route { path: "/livez", about: "200 while graceinit lives", answer: live },
    Route { path: "/metrics", about: "for Prometheus", answer: measured },
    Route {
        path: "/debug/graceinit",
        about: "the account of this life: a page for browsers, else JSON",
        answer: account,
    },
];

/// The answer to `path`.
pub(super) fn answer(method: &str, path: &str, view: &mut View<'_>) -> Answer {
    let Some(route) = ROUTES.iter().find(|route| route.path == path) else {
        return text(404, format!("not found; there is:\n{}", list()));
    };
    match method {
        "GET" | "HEAD" => (route.answer)(view),
        _ => text(405, "only GET and HEAD\n"),
    }
}

fn list() -> String {
    ROUTES.iter().map(|route| format!("{:<17} {}\n", route.path, route.about)).collect()
}

fn index(_: &mut View<'_>) -> Answer {
    text(200, format!("graceinit\n\n{}", list()))
}

/// The checks that the answer to this path depends on. `/livez` asks an app that is ready only: an app that still starts,
/// or stops, is not to be restarted.
pub(super) fn asks(path: &str, now: &Snapshot) -> Option<Which> {
    match path {
        "/readyz" if now.ready => Some(Which::Health),
        "/servez" if now.serving => Some(Which::Health),
        "/livez" if now.ready => Some(Which::Live),
        _ => None,
    }
}

fn ready(view: &mut View<'_>) -> Answer {
    let now = view.snapshot;
    match now.ready {
        true => match view.health.trouble(Which::Health) {
            None => text(200, "ready\n"),
            Some(trouble) => text(503, format!("not ready: unhealthy: {trouble}\n")),
        },
        false => {
            let stopping = now.stopping;
            let drain = view.copy.account(view.now).drain.as_ref().filter(|_| stopping);
            let holds = drain.map(Drain::holds).unwrap_or_default();
            let holds: String = holds.iter().map(|line| format!("draining: {line}\n")).collect();
            let answer = text(503, format!("not ready: {}{}\n{holds}", now.phase, missing(view)));
            Answer { counts: now.stopping, ..answer }
        }
    }
}

/// Unlike readiness, this does not fall when a stop begins: a pod that is the last one is still sent work in its drain.
fn serves(view: &mut View<'_>) -> Answer {
    let now = view.snapshot;
    match (now.serving, view.health.trouble(Which::Health)) {
        (true, None) => text(200, "serving\n"),
        (true, Some(trouble)) => text(503, format!("not serving: unhealthy: {trouble}\n")),
        (false, _) => text(503, format!("not serving: {}{}\n", now.phase, missing(view))),
    }
}

/// What an app that has not been ready yet waits for, as the rest of a line.
fn missing(view: &mut View<'_>) -> String {
    if view.snapshot.stopping {
        return String::new();
    }
    let waits = waiting::text(&view.copy.account(view.now).waiting);
    if waits.is_empty() { waits } else { format!(": {waits}") }
}

/// Liveness is not readiness: it holds while the app starts and stops, because a container that is restarted in the
/// middle of its stop loses requests.
fn live(view: &mut View<'_>) -> Answer {
    let now = view.snapshot;
    let trouble = asks("/livez", now).and_then(|which| view.health.trouble(which));
    match (now.live, trouble) {
        (true, None) => text(200, "live\n"),
        (true, Some(trouble)) => text(503, format!("not live: {trouble}\n")),
        (false, _) => text(503, format!("not live: {}\n", now.phase)),
    }
}

fn measured(view: &mut View<'_>) -> Answer {
    let form = metrics_form(view.accept);
    view.copy.add_health(view.now, view.health.list(view.now));
    let answer = text(200, metrics::render(view.copy.account(view.now), form));
    Answer { content_type: form.content_type(), headers: &[("Vary", "Accept")], ..answer }
}

/// The form that a scraper's `Accept` asks for: OpenMetrics only by its name, and only if it is wanted as much as text.
fn metrics_form(accept: &str) -> Form {
    let open = accept::wanted(accept, "application/openmetrics-text", &["1.0.0", "0.0.1"]);
    let text = accept::wanted(accept, "text/plain", &["0.0.4"]);
    match open.specific == 3 && open.weight > 0 && open.weight >= text.weight {
        true => Form::OpenMetrics,
        false => Form::Text,
    }
}

/// A page for browsers, which ask for HTML; JSON for programs, most of which accept anything.
fn account(view: &mut View<'_>) -> Answer {
    view.copy.add_health(view.now, view.health.list(view.now));
    let (accept, account) = (view.accept, view.copy.whole(view.now));
    let wanted = |media_type| accept::wanted(accept, media_type, &[]).weight;
    let page = wanted("text/html") > wanted("application/json");
    match page {
        true => Answer {
            content_type: "text/html; charset=utf-8",
            headers: &[("Vary", "Accept"), ("Content-Security-Policy", page::POLICY)],
            ..text(200, page::render(account, Edition::Live))
        },
        false => Answer {
            content_type: "application/json",
            headers: &[("Vary", "Accept")],
            ..text(200, serde_json::to_string(account).unwrap_or_default() + "\n")
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::document::Account;
    use crate::sys::clock;
    use crate::sys::dial::Checks;

    fn snapshot(ready: bool, stopping: bool) -> Snapshot {
        let serving = ready || stopping;
        Snapshot { ready, serving, stopping, phase: "pre-stop".into(), ..Snapshot::default() }
    }

    fn asked(method: &str, path: &str, snapshot: &Snapshot, accept: &str) -> Answer {
        let now = clock::now();
        let copy =
            &mut AccountCopy::new(Account { phase: "drain".into(), ..Account::default() }, now);
        let health = &Health::new(&Checks::default());
        answer(method, path, &mut View { snapshot, copy, health, accept, now })
    }

    #[test]
    fn readiness() {
        let yes = asked("GET", "/readyz", &snapshot(true, false), "");
        assert_eq!((yes.status, &*yes.body, yes.counts), (200, "ready\n", false));
        let no = asked("HEAD", "/readyz", &snapshot(false, false), "");
        assert_eq!((no.status, &*no.body, no.counts), (503, "not ready: pre-stop\n", false));
        assert!(asked("GET", "/readyz", &snapshot(false, true), "").counts);
    }

    #[test]
    fn work_is_accepted_until_the_stop_signal() {
        let status = |snapshot: &Snapshot| asked("GET", "/servez", snapshot, "").status;
        assert_eq!([true, false].map(|ready| status(&snapshot(ready, !ready))), [200, 200]);
        let stopped = Snapshot { serving: false, ..snapshot(false, true) };
        let no = asked("GET", "/servez", &stopped, "");
        assert_eq!((no.status, &*no.body, no.counts), (503, "not serving: pre-stop\n", false));
        assert_eq!(status(&snapshot(false, false)), 503);
    }

    #[test]
    fn liveness_outlasts_readiness() {
        let now = snapshot(false, true);
        assert_eq!(asked("GET", "/livez", &now, "").status, 200);
        let dead = Snapshot { live: false, ..now };
        assert_eq!(asked("GET", "/livez", &dead, "").status, 503);
    }

    #[test]
    fn an_unknown_path_is_answered_with_the_list() {
        let now = snapshot(true, false);
        for (path, status) in [("/", 200), ("/metric", 404), ("*", 404)] {
            let lost = asked("GET", path, &now, "");
            assert_eq!(lost.status, status);
            assert!(ROUTES.iter().all(|route| lost.body.contains(route.path)));
        }
        assert_eq!(asked("POST", "/nowhere", &now, "").status, 404);
        assert!(ROUTES.iter().all(|route| asked("POST", route.path, &now, "").status == 405));
        assert!(ROUTES.iter().all(|route| asked("HEAD", route.path, &now, "").status == 200));
    }

    #[test]
    fn programs_get_json_and_browsers_a_page() {
        let now = snapshot(true, false);
        for accept in ["", "*/*", "application/json", "application/json, text/html"] {
            let answer = asked("GET", "/debug/graceinit", &now, accept);
            assert_eq!(answer.content_type, "application/json", "{accept}");
            let account: Account = serde_json::from_str(&answer.body).expect("JSON");
            assert_eq!(account.phase, "drain");
        }
        for accept in ["text/html", "text/html,application/xhtml+xml,*/*;q=0.8"] {
            let answer = asked("GET", "/debug/graceinit", &now, accept);
            assert_eq!(answer.content_type, "text/html; charset=utf-8", "{accept}");
        }
    }

    #[test]
    fn metrics_come_in_the_form_that_is_asked_for() {
        let now = snapshot(true, false);
        for (accept, begin) in [
            ("", "text/plain; version=0.0.4"),
            (
                "application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1",
                "application/openmetrics-text; version=1.0.0",
            ),
        ] {
            let answer = asked("GET", "/metrics", &now, accept);
            assert!(answer.content_type.starts_with(begin), "{accept}: {}", answer.content_type);
            assert_eq!(answer.headers, [("Vary", "Accept")]);
        }
    }

    #[test]
    fn the_form_is_negotiated() {
        use Form::{OpenMetrics, Text};
        let prometheus_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;\
                            version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                            application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;\
                            escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        let text_first = "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;\
                          q=0.5,*/*;q=0.1";
        for (accept, form) in [
            (prometheus_2, OpenMetrics),
            (prometheus_3, OpenMetrics),
            (text_first, Text),
            // A client that does not ask for it by name cannot read it.
            ("", Text),
            ("*/*", Text),
            ("application/*", Text),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Text),
            ("text/plain", Text),
            ("application/openmetrics-text", OpenMetrics),
            ("application/openmetrics-text; version=0.0.1", OpenMetrics),
            ("application/openmetrics-text; version=2.0.0", Text),
            (
                "application/openmetrics-text; version=2.0.0, application/openmetrics-text",
                OpenMetrics,
            ),
            ("application/openmetrics-text;q=0", Text),
            ("application/openmetrics-text;q=0.0, text/plain;q=0", Text),
            // As good as text is good enough.
            ("text/plain, application/openmetrics-text", OpenMetrics),
            ("text/plain;q=0.5, application/openmetrics-text;q=0.500", OpenMetrics),
            ("text/plain;q=0.6, application/openmetrics-text;q=0.5", Text),
            // The more specific range says how much text is wanted.
            ("*/*;q=0.9, application/openmetrics-text;q=0.5", Text),
            ("*/*;q=0.9, text/plain;q=0.1, application/openmetrics-text;q=0.5", OpenMetrics),
            ("text/*;q=0.1, */*;q=0.9, application/openmetrics-text;q=0.5", OpenMetrics),
            // A text format that is not written counts for nothing.
            ("text/plain;version=1.0.0, application/openmetrics-text;q=0.5", OpenMetrics),
            // Letters, blanks, quotes, and what is wrong.
            ("Application/OpenMetrics-Text ; Version=\"1.0.0\" ; Q=1", OpenMetrics),
            ("a/b;c=\"d,application/openmetrics-text,e\"", Text),
            ("a/b;c=\"application/openmetrics-text", Text),
            ("application/openmetrics-text;q=nan, text/plain;q=0.9", OpenMetrics),
            ("application/openmetrics-text;q=7;;=;x, text/plain;q=0.9", OpenMetrics),
            (",;,=,application/openmetrics-text-not", Text),
        ] {
            assert_eq!(metrics_form(accept), form, "{accept}");
        }
    }
}
