//! The observer's copy of the account, as PID 1 sent it last.

use super::processes::Tree;
use crate::account::document::{Account, Health};
use crate::account::time::Span;
use crate::types::Time;

/// The first byte of a message with the account: one JSON document follows.
pub(super) const KIND: u8 = b'A';
/// The longest document.
pub(super) const LONGEST: usize = 65_536;

/// The account, brought up to date when it is needed.
#[derive(Debug)]
pub(super) struct AccountCopy {
    account: Account,
    /// Its age when it arrived, and when that was.
    age: Span,
    at: Time,
    /// A newer document that was not needed yet, and when it arrived.
    unread: Option<(Vec<u8>, Time)>,
    tree: Tree,
}

impl AccountCopy {
    pub(super) fn new(account: Account, at: Time) -> AccountCopy {
        AccountCopy { age: account.age, account, at, unread: None, tree: Tree::default() }
    }

    /// Takes a message, if it has the account.
    pub(super) fn take(&mut self, message: &[u8], now: Time) {
        if let [KIND, document @ ..] = message {
            // Parsed when it is needed: most never are.
            let (held, at) = self.unread.get_or_insert_default();
            held.clear();
            held.extend_from_slice(document);
            *at = now;
        }
    }

    /// The account as of now, without the processes.
    pub(super) fn account(&mut self, now: Time) -> &Account {
        if let Some((document, at)) = self.unread.take() {
            // A document that cannot be parsed is ignored.
            if let Ok(account) = serde_json::from_slice::<Account>(&document) {
                (self.age, self.at) = (account.age, at);
                self.account = account;
            }
        }
        self.account.age = Span(self.age.0.saturating_add(Span::from(now.since(self.at)).0));
        &self.account
    }

    /// Adds the answers of the checks to the account as of now.
    pub(super) fn add_health(&mut self, now: Time, health: Vec<Health>) {
        self.account(now);
        self.account.health = health;
    }

    /// The account with the processes of this moment.
    pub(super) fn whole(&mut self, now: Time) -> &Account {
        self.account(now);
        let (processes, more) = self.tree.read();
        self.account.processes = processes.to_vec();
        match more {
            0 => drop(self.account.cut.remove("processes")),
            more => drop(self.account.cut.insert("processes".to_owned(), more as u64)),
        }
        &self.account
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sys::clock;

    fn message(phase: &str, age: u64) -> Vec<u8> {
        let account = Account { phase: phase.into(), age: Span(age), ..Account::default() };
        let mut message = vec![KIND];
        message.extend(serde_json::to_vec(&account).expect("JSON"));
        message
    }

    #[test]
    fn the_last_document_counts_and_grows_older() {
        let begin = clock::now();
        let mut copy = AccountCopy::new(Account { age: Span(5), ..Account::default() }, begin);
        assert_eq!(copy.account(begin.after(Duration::from_micros(3))).age, Span(8));
        copy.take(&message("running", 10), begin);
        copy.take(&message("ready", 20), begin.after(Duration::from_micros(7)));
        // Other kinds and broken documents change nothing.
        copy.take(b"S\x01\x01\x01drain", begin);
        let later = begin.after(Duration::from_micros(9));
        let seen = |copy: &mut AccountCopy| {
            let account = copy.account(later);
            (account.phase.clone(), account.age)
        };
        assert_eq!(seen(&mut copy), ("ready".to_owned(), Span(22)));
        copy.take(b"A{\"phase\":\"dr", later);
        assert_eq!(seen(&mut copy), ("ready".to_owned(), Span(22)));
    }
}
