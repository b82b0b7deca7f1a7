//! What is answered to what: one line per path.

use std::borrow::Cow;

use super::http;
use super::shown::Shown;
use super::snapshot::Snapshot;
use crate::account::metrics::{self, Form};
use crate::account::page;
use crate::types::Time;

/// An answer, without what HTTP makes of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Answer {
    /// The status line's code.
    pub status: u16,
    /// Its body.
    pub body: Cow<'static, str>,
    /// Of what type that is.
    pub content_type: &'static str,
    /// What else its head says.
    pub headers: &'static [(&'static str, &'static str)],
    /// It told a probe that the app is not ready, after a stop was requested: the balancer that asked
    /// knows now (`--drain-acks`).
    pub counts: bool,
}

/// What an answer may depend on.
pub(super) struct View<'a> {
    /// What PID 1 has said last.
    pub snapshot: &'a Snapshot,
    /// The account, as far as PID 1 has shown it.
    pub shown: &'a mut Shown,
    /// The request's `Accept`.
    pub accept: &'a str,
    /// Now.
    pub now: Time,
}

/// A path and who answers it.
pub(super) struct Route {
    /// The path, without the query.
    pub path: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// The answer.
    pub answer: fn(&mut View<'_>) -> Answer,
}

/// All there is.
pub(super) const ROUTES: [Route; 5] = [
    Route { path: "/", about: "this list", answer: index },
    Route { path: "/readyz", about: "200 while the app can be sent work, else 503", answer: ready },
    Route { path: "/livez", about: "200 as long as graceinit lives", answer: live },
    Route { path: "/metrics", about: "for Prometheus", answer: measured },
    Route {
        path: "/debug/graceinit",
        about: "what happened and what happens: a page for browsers, else JSON",
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

/// An answer in plain text.
pub(super) fn text(status: u16, body: impl Into<Cow<'static, str>>) -> Answer {
    let content_type = "text/plain; charset=utf-8";
    Answer { status, body: body.into(), content_type, headers: &[], counts: false }
}

fn list() -> String {
    ROUTES.iter().map(|route| format!("{:<17} {}\n", route.path, route.about)).collect()
}

fn index(_: &mut View<'_>) -> Answer {
    text(200, format!("graceinit\n\n{}", list()))
}

fn ready(view: &mut View<'_>) -> Answer {
    let now = view.snapshot;
    match now.ready {
        true => text(200, "ready\n"),
        false => {
            let answer = text(503, format!("not ready: {}\n", now.phase));
            Answer { counts: now.stopping, ..answer }
        }
    }
}

/// Liveness is no readiness: it holds while the app starts and while it stops, since a container that
/// is started again in the middle of its stop has lost what the stop was for.
fn live(view: &mut View<'_>) -> Answer {
    let now = view.snapshot;
    match now.live {
        true => text(200, "live\n"),
        false => text(503, format!("not live: {}\n", now.phase)),
    }
}

fn measured(view: &mut View<'_>) -> Answer {
    let form = Form::wanted(view.accept);
    let answer = text(200, metrics::render(view.shown.account(view.now), form));
    Answer { content_type: form.content_type(), headers: &[("Vary", "Accept")], ..answer }
}

/// For people who look with a browser, and for programs, which as a rule take anything.
fn account(view: &mut View<'_>) -> Answer {
    let (accept, account) = (view.accept, view.shown.whole(view.now));
    let page = http::wanted(accept, "text", "html") > http::wanted(accept, "application", "json");
    match page {
        true => Answer {
            content_type: "text/html; charset=utf-8",
            headers: &[("Vary", "Accept"), ("Content-Security-Policy", page::POLICY)],
            ..text(200, page::render(account, page::Shown::Live))
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
    use crate::account::account::Account;
    use crate::sys::clock;

    fn snapshot(ready: bool, stopping: bool) -> Snapshot {
        Snapshot { ready, stopping, phase: "pre-stop".into(), ..Snapshot::default() }
    }

    fn asked(method: &str, path: &str, snapshot: &Snapshot, accept: &str) -> Answer {
        let now = clock::now();
        let shown = &mut Shown::new(Account { phase: "drain".into(), ..Account::default() }, now);
        answer(method, path, &mut View { snapshot, shown, accept, now })
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
    fn liveness_outlasts_readiness() {
        let now = snapshot(false, true);
        assert_eq!(asked("GET", "/livez", &now, "").status, 200);
        let dead = Snapshot { live: false, ..now };
        assert_eq!(asked("GET", "/livez", &dead, "").status, 503);
    }

    #[test]
    fn whoever_is_lost_is_told_what_there_is() {
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
}
