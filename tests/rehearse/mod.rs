//! `--rehearse`: real stops of small servers, each with one thing wrong. What was lost is counted, the reason is named,
//! and the settings that are printed cure it, or the rehearsal says that none does.

mod life;
mod planted;

use std::process::Command;

use serde_json::Value;

use crate::support::files::Place;
use crate::support::port::free_port;
use crate::support::{Fault, Outcome, Program, need};
use crate::{ensure, ensure_eq};

const PYTHON: &str = "/usr/bin/python3";

/// A server of tests/rehearse, and where it listens.
struct Site {
    place: Place,
    port: u16,
}

impl Site {
    fn new() -> Outcome<Site> {
        let site = Site { place: Place::new(), port: free_port()? };
        site.place.file("server.py", include_str!("server.py"), 0o644);
        site.place.file("wrapper.py", include_str!("wrapper.py"), 0o644);
        Ok(site)
    }

    /// The words of the server, with what it does wrong.
    fn server(&self, wrong: &str) -> Vec<String> {
        let mut words = vec![PYTHON.into(), self.place.text("server.py"), self.port.to_string()];
        words.extend(wrong.split_whitespace().map(String::from));
        words
    }

    /// A rehearsal of this command; `{port}` in the options is the server's.
    fn rehearse(&self, options: &str, command: &[String]) -> Outcome<Result> {
        let options = options.replace("{port}", &self.port.to_string());
        let mut words: Vec<String> = shlex::split(&options).ok_or(Fault::new("a bad option"))?;
        words.extend(["--json".into(), "--".into()]);
        let program = Program::Graceinit.path();
        let mut rehearsal = Command::new(program);
        rehearsal
            .args(words)
            .args(command)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        let done = rehearsal.output()?;
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        let errors = String::from_utf8_lossy(&done.stderr);
        let json = serde_json::from_str(&text)
            .map_err(|error| Fault::new(format!("{error}: {text}{errors}")))?;
        Ok(Result { json, code: done.status.code().unwrap_or(-1), text })
    }
}

/// What a rehearsal has printed.
struct Result {
    json: Value,
    code: i32,
    text: String,
}

impl Result {
    /// A number of the row with the settings as they are.
    fn first(&self, field: &str) -> u64 {
        self.json["rows"][0][field].as_u64().unwrap_or(u64::MAX)
    }

    fn lost(&self) -> u64 {
        ["refused", "cut", "failed"].iter().map(|field| self.first(field)).sum()
    }

    /// One of the findings says all of this.
    fn says(&self, parts: &[&str]) -> Outcome {
        let findings = self.json["findings"].as_array().cloned().unwrap_or_default();
        let has = |finding: &Value| {
            finding.as_str().is_some_and(|text| parts.iter().all(|part| text.contains(part)))
        };
        ensure!(findings.iter().any(has), "no finding says {parts:?}: {}", self.text);
        Ok(())
    }

    /// The settings that were found hold these, and lose nothing.
    fn is_cured_by(&self, settings: &[&str]) -> Outcome {
        let found = self.json["found"].as_str().unwrap_or("none");
        for setting in settings {
            ensure!(found.contains(setting), "{found} lacks {setting}: {}", self.text);
        }
        let rows = self.json["rows"].as_array().cloned().unwrap_or_default();
        let row = rows.iter().find(|row| row["settings"] == found);
        ensure_eq!(row.map(|row| row["ok"].clone()), Some(true.into()), "{}", self.text);
        Ok(())
    }

    /// As it was, it lost requests, and that is an error.
    fn lost_some(&self) -> Outcome {
        ensure!(self.lost() > 0, "nothing was lost: {}", self.text);
        ensure_eq!((self.code, self.json["ok"].as_bool()), (1, Some(false)), "{}", self.text);
        Ok(())
    }
}

fn needs() -> bool {
    need::program(PYTHON)
}
