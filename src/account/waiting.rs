//! What the app is not ready for: each condition of readiness that does not hold, with the answer of the last look at
//! it. Log, endpoints, metrics, page and report show it as `text` makes it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::document::Wait;
use super::text::cut_to;
use crate::machine::hooks::HookId;
use crate::types::text::in_one_line;

/// The longest name of a condition and the longest answer that are kept, and the longest text of all, in bytes.
const LONGEST_NAME: usize = 120;
const LONGEST_ANSWER: usize = 200;
const LONGEST_TEXT: usize = 1000;

/// The conditions of this life, and the last answers. graceinit has one thread, so the lock is always free.
static CONDITIONS: Mutex<Conditions> = Mutex::new(Conditions { of_plan: Vec::new(), ports: None });

struct Conditions {
    /// In the order of the plan.
    of_plan: Vec<Condition>,
    /// The app has to listen on the ports of `--drain`.
    ports: Option<Wait>,
}

struct Condition {
    wait: Wait,
    /// The last line that an attempt has printed, and the number of the attempt.
    said: Option<(u32, String)>,
}

/// What an answer is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Awaited {
    /// The condition of `--ready` with this index in the plan.
    Condition(usize),
    /// Listening on the ports of `--drain`.
    Ports,
}

fn conditions() -> MutexGuard<'static, Conditions> {
    CONDITIONS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait(condition: &str, answer: &str) -> Wait {
    Wait {
        condition: cut_to(&in_one_line(condition), LONGEST_NAME),
        answer: cut_to(&in_one_line(answer), LONGEST_ANSWER),
    }
}

/// Sets the conditions, in the order of the plan, each with what is known before the first look. `drains`: the app also
/// has to listen on the ports of `--drain`.
pub fn set(of_plan: &[(&str, String)], drains: bool) {
    let condition =
        |(name, answer): &(&str, String)| Condition { wait: wait(name, answer), said: None };
    *conditions() = Conditions {
        of_plan: of_plan.iter().map(condition).collect(),
        ports: drains.then(|| wait("--drain", "not looked for a listener yet")),
    };
}

/// Keeps a line that an attempt of a probe has printed, if it is about a condition.
pub(super) fn said(id: HookId, line: &str) {
    if let Some(condition) = conditions().of_plan.get_mut(id.index) {
        condition.said = Some((id.attempt, line.to_owned()));
    }
}

/// The last line that this attempt of a probe has printed.
pub fn last_line(id: HookId) -> Option<String> {
    let conditions = conditions();
    let (attempt, line) = conditions.of_plan.get(id.index)?.said.as_ref()?;
    (*attempt == id.attempt).then(|| line.clone())
}

/// Keeps the answer of the last look; `None` if it is the same as before.
pub(super) fn answer(awaited: Awaited, answer: &str) -> Option<Wait> {
    let mut conditions = conditions();
    let known = match awaited {
        Awaited::Condition(index) => &mut conditions.of_plan.get_mut(index)?.wait,
        Awaited::Ports => conditions.ports.as_mut()?,
    };
    let new = wait(&known.condition, answer);
    (new != *known).then(|| {
        *known = new.clone();
        new
    })
}

/// What is waited for. `missing`: a bit for each condition of the plan; `ports`: the ports of `--drain`.
pub fn list(missing: u64, ports: bool) -> Vec<Wait> {
    let conditions = conditions();
    let of_plan = conditions.of_plan.iter().enumerate();
    let of_plan = of_plan.filter(|(index, _)| *index < 64 && missing & 1 << index != 0);
    let ports = conditions.ports.iter().filter(|_| ports);
    of_plan.map(|(_, condition)| &condition.wait).chain(ports).cloned().collect()
}

/// `http://127.0.0.1:8080/up: 404 Not Found; nothing listens on 8080 (--drain)`
pub fn text(waits: &[Wait]) -> String {
    let text: Vec<String> = waits.iter().map(Wait::text).collect();
    cut_to(&text.join("; "), LONGEST_TEXT)
}

impl Wait {
    /// One of them.
    fn text(&self) -> String {
        let Wait { condition, answer } = self;
        match condition.starts_with("--") {
            // The answer says what is waited for.
            true => format!("{answer} ({condition})"),
            false => format!("{condition}: {answer}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_whatever_is_waited_for() {
        let waits = [
            wait("http://127.0.0.1:80/up", "404 Not Found"),
            wait("exec:a\nb", "exit code 3: \u{1b}[2Jno"),
            wait("--drain", "nothing listens on 8080"),
        ];
        assert_eq!(
            text(&waits),
            "http://127.0.0.1:80/up: 404 Not Found; exec:a\\nb: exit code 3: \\u{1b}[2Jno; nothing listens on \
             8080 (--drain)"
        );
        assert_eq!(text(&[]), "");
        let many = vec![wait(&"c".repeat(999), &"a".repeat(999)); 64];
        assert!(text(&many).len() < LONGEST_TEXT + 10);
    }
}
