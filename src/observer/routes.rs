//! What is answered to what: one line per path.

use std::borrow::Cow;

use super::snapshot::Snapshot;

/// An answer, without what HTTP makes of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Answer {
    /// The status line's code.
    pub status: u16,
    /// Its body.
    pub body: Cow<'static, str>,
    /// Of what type that is.
    pub content_type: &'static str,
    /// It told a probe that the app is not ready, after a stop was requested: the balancer that asked
    /// knows now (`--drain-acks`).
    pub counts: bool,
}

/// A path and who answers it.
pub(super) struct Route {
    /// The path, without the query.
    pub path: &'static str,
    /// The answer.
    pub answer: fn(&Snapshot) -> Answer,
}

/// All there is.
pub(super) const ROUTES: [Route; 2] =
    [Route { path: "/readyz", answer: ready }, Route { path: "/livez", answer: live }];

/// The answer to `path`.
pub(super) fn answer(method: &str, path: &str, now: &Snapshot) -> Answer {
    let Some(route) = ROUTES.iter().find(|route| route.path == path) else {
        let paths: String = ROUTES.iter().map(|route| format!("{}\n", route.path)).collect();
        return text(404, format!("not found; there is:\n{paths}"));
    };
    match method {
        "GET" | "HEAD" => (route.answer)(now),
        _ => text(405, "only GET and HEAD\n"),
    }
}

/// An answer in plain text.
pub(super) fn text(status: u16, body: impl Into<Cow<'static, str>>) -> Answer {
    let content_type = "text/plain; charset=utf-8";
    Answer { status, body: body.into(), content_type, counts: false }
}

fn ready(now: &Snapshot) -> Answer {
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
fn live(now: &Snapshot) -> Answer {
    match now.live {
        true => text(200, "live\n"),
        false => text(503, format!("not live: {}\n", now.phase)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(ready: bool, stopping: bool) -> Snapshot {
        Snapshot { ready, stopping, phase: "pre-stop".into(), ..Snapshot::default() }
    }

    #[test]
    fn readiness() {
        let yes = answer("GET", "/readyz", &snapshot(true, false));
        assert_eq!((yes.status, &*yes.body, yes.counts), (200, "ready\n", false));
        let no = answer("HEAD", "/readyz", &snapshot(false, false));
        assert_eq!((no.status, &*no.body, no.counts), (503, "not ready: pre-stop\n", false));
        assert!(answer("GET", "/readyz", &snapshot(false, true)).counts);
    }

    #[test]
    fn liveness_outlasts_readiness() {
        let now = snapshot(false, true);
        assert_eq!(answer("GET", "/livez", &now).status, 200);
        let dead = Snapshot { live: false, ..now };
        assert_eq!(answer("GET", "/livez", &dead).status, 503);
    }

    #[test]
    fn whoever_is_lost_is_told_what_there_is() {
        let lost = answer("GET", "/", &snapshot(true, false));
        assert_eq!(lost.status, 404);
        assert!(ROUTES.iter().all(|route| lost.body.contains(route.path)));
        assert_eq!(answer("POST", "/", &snapshot(true, false)).status, 404);
        assert_eq!(answer("POST", "/readyz", &snapshot(true, false)).status, 405);
    }
}
