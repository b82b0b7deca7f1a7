//! The account as a page.

use super::account::Account;

/// Where the page is seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shown {
    /// Served by the observer of a life that goes on: it updates itself.
    Live,
    /// Made from a saved report.
    Saved,
}

/// The whole page.
pub fn render(account: &Account, shown: Shown) -> String {
    let _ = (account, shown);
    String::new()
}
