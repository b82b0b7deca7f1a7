//! What a process says, line by line, read by a thread of its own so that a test can wait for a line
//! with a deadline and never blocks the one who writes.

use std::cell::RefCell;
use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::time::{Duration, Instant};

use super::{Fault, Outcome, PATIENCE};

/// One line of an account: `word key=value key=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line(pub String);

impl Line {
    /// The value of `key=`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }

    /// The value of `key=` as a number.
    pub fn number(&self, key: &str) -> Outcome<i32> {
        self.get(key)
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| Fault::new(format!("no number {key}= in {:?}", self.0)))
    }

    /// The rest of the line after its first word.
    pub fn rest(&self) -> &str {
        self.0.split_once(' ').map_or("", |(_, rest)| rest)
    }
}

#[derive(Default)]
struct State {
    text: Vec<u8>,
    lines: Vec<String>,
    ended: bool,
}

/// A stream that is being read.
pub struct Account {
    label: String,
    patience: Duration,
    state: Mutex<State>,
    changed: Condvar,
    /// How many lines the test has taken.
    taken: Mutex<usize>,
}

thread_local! {
    static OPEN: RefCell<Vec<Weak<Account>>> = const { RefCell::new(Vec::new()) };
}

impl Account {
    /// Reads `stream` to its end in the background.
    pub fn of(label: &str, stream: impl Read + Send + 'static) -> Arc<Account> {
        Account::with_patience(label, stream, PATIENCE)
    }

    /// [`Account::of`] whose readers wait for a line so long and not longer.
    pub fn with_patience(
        label: &str,
        mut stream: impl Read + Send + 'static,
        patience: Duration,
    ) -> Arc<Account> {
        let account = Arc::new(Account {
            label: label.to_string(),
            patience,
            state: Mutex::default(),
            changed: Condvar::new(),
            taken: Mutex::new(0),
        });
        OPEN.with_borrow_mut(|open| {
            open.retain(|weak| weak.strong_count() > 0);
            open.push(Arc::downgrade(&account));
        });
        let writer = Arc::clone(&account);
        std::thread::spawn(move || {
            let mut buffer = [0; 65536];
            loop {
                let n = match stream.read(&mut buffer) {
                    Ok(n) => n,
                    Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                    Err(_) => 0,
                };
                let mut state = writer.state.lock().unwrap();
                state.text.extend_from_slice(&buffer[..n]);
                while let Some(end) = state.text.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = state.text.drain(..=end).collect();
                    let line = String::from_utf8_lossy(&line[..end]).into_owned();
                    state.lines.push(line);
                }
                state.ended = n == 0;
                writer.changed.notify_all();
                if n == 0 {
                    return;
                }
            }
        });
        account
    }

    /// The next line; a fault when it does not come in time or the stream ends.
    pub fn next(&self) -> Outcome<Line> {
        self.next_within(self.patience)?
            .ok_or_else(|| Fault::new(format!("{} ended before the next line", self.label)))
    }

    /// The next line, or `None` at the end of the stream; a fault when neither comes in time.
    pub fn next_within(&self, patience: Duration) -> Outcome<Option<Line>> {
        let end = Instant::now() + patience;
        let mut taken = self.taken.lock().unwrap();
        let mut state = self.state.lock().unwrap();
        loop {
            if let Some(line) = state.lines.get(*taken) {
                *taken += 1;
                return Ok(Some(Line(line.clone())));
            }
            if state.ended {
                return Ok(None);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // The transcript locks the state again.
                drop(state);
                return Err(Fault::new(format!("{}: no line in {patience:?}", self.label)));
            }
            state = self.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    /// The next line, which must begin with `start`.
    pub fn expect(&self, start: &str) -> Outcome<Line> {
        let line = self.next()?;
        match line.0.starts_with(start) {
            true => Ok(line),
            false => Err(Fault::new(format!(
                "{}: expected a line {start:?}…, got {:?}",
                self.label, line.0
            ))),
        }
    }

    /// Takes lines until one begins with `start`.
    pub fn until(&self, start: &str) -> Outcome<Line> {
        let end = Instant::now() + self.patience;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.next_within(left)? {
                Some(line) if line.0.starts_with(start) => return Ok(line),
                Some(_) => {}
                None => {
                    return Err(Fault::new(format!(
                        "{} ended before a line {start:?}…",
                        self.label
                    )));
                }
            }
        }
    }

    /// Waits until some line, taken or not, contains `part`.
    pub fn find(&self, part: &str) -> Outcome<Line> {
        let end = Instant::now() + self.patience;
        let mut state = self.state.lock().unwrap();
        loop {
            if let Some(line) = state.lines.iter().find(|line| line.contains(part)) {
                return Ok(Line(line.clone()));
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || state.ended {
                drop(state);
                return Err(Fault::new(format!("{}: nothing contains {part:?}", self.label)));
            }
            state = self.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    /// All lines until now, taken or not.
    pub fn so_far(&self) -> Vec<Line> {
        self.state.lock().unwrap().lines.iter().cloned().map(Line).collect()
    }

    /// All lines, once the last writer has closed the stream.
    pub fn all(&self) -> Outcome<Vec<Line>> {
        let end = Instant::now() + self.patience;
        let mut state = self.state.lock().unwrap();
        while !state.ended {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(state);
                return Err(Fault::new(format!("{} is still open", self.label)));
            }
            state = self.changed.wait_timeout(state, left).unwrap().0;
        }
        Ok(state.lines.iter().cloned().map(Line).collect())
    }

    /// Waits until the last writer has closed the stream, but not for one that outlives the program.
    pub(super) fn settle(&self, patience: Duration) {
        let end = Instant::now() + patience;
        let mut state = self.state.lock().unwrap();
        while !state.ended {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    /// How many lines, taken or not, begin with `start`.
    pub fn count(&self, start: &str) -> usize {
        self.so_far().iter().filter(|line| line.0.starts_with(start)).count()
    }
}

/// What the streams read in this thread have said: the end of every fault.
pub(super) fn transcripts() -> String {
    const MOST: usize = 60;
    let mut text = String::new();
    OPEN.with_borrow(|open| {
        for account in open.iter().filter_map(Weak::upgrade) {
            let lines = account.so_far();
            text.push_str(&format!("--- {} ({} lines)\n", account.label, lines.len()));
            for line in lines.iter().skip(lines.len().saturating_sub(MOST)) {
                text.push_str(&format!("{}\n", line.0));
            }
        }
    });
    text
}
