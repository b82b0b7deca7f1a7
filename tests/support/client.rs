//! A program of a test's own that takes commands by line.

use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;

use super::account::Account;
use super::{Fault, Outcome};

/// A client program that takes commands by line. Ends when dropped.
pub struct Client {
    child: Child,
    stdin: ChildStdin,
    /// What it prints on its standard output.
    pub out: Arc<Account>,
}

impl Client {
    pub fn start(command: &mut Command) -> Outcome<Client> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let stdin = stdin.ok_or_else(|| Fault::new("no stdin"))?;
        let stdout = stdout.ok_or_else(|| Fault::new("no stdout"))?;
        Ok(Client { child, stdin, out: Account::of("the client", stdout) })
    }

    pub fn say(&mut self, line: &str) -> Outcome {
        Ok(writeln!(self.stdin, "{line}")?)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
