//! Files that people and other programs write: the configuration, and reports that are read back.

use std::fs;
use std::path::PathBuf;

use graceinit::account::document::Account;
use graceinit::account::metrics::{self, Form};
use graceinit::account::page::{self, Edition};
use graceinit::account::report;
use graceinit::cli::{Given, OptionId};
use graceinit::config::{self, Place};
use graceinit::machine::Machine;
use graceinit::machine::plan::Surroundings;
use graceinit::tools::{check, probe, render};

use super::assert_plain;

/// The value of a hook's variable: no message may show it.
const SECRET: &str = "s3cr3t-value";

/// The configuration file, up to a machine.
pub(super) fn config(bytes: &[u8]) {
    let hook = format!("\n[[hook.pre-stop]]\ncommand = \"x\"\nenv = {{ TOKEN = \"{SECRET}\" }}\n");
    if let Err(mistakes) = built(&[bytes, hook.as_bytes()].concat()) {
        assert!(!mistakes.iter().any(|mistake| mistake.contains(SECRET)), "{mistakes:?}");
    }
    match built(bytes) {
        Ok(text) => assert_plain(&text, true),
        Err(mistakes) => {
            assert!(!mistakes.is_empty());
            for mistake in &mistakes {
                assert_plain(mistake, true);
                // A sentence, and at most a line of the file with a caret below it.
                assert!(mistake.lines().count() <= 3, "{mistake}");
                assert!(mistake.contains("; "), "{mistake}");
            }
        }
    }
}

/// What `--check` says of a file.
fn built(bytes: &[u8]) -> Result<String, Vec<String>> {
    // Tests run side by side.
    let thread = format!("{:?}", std::thread::current().id()).replace(['(', ')'], "");
    let name = format!("graceinit-fuzz-{}-{thread}.toml", std::process::id());
    let path: PathBuf = std::env::temp_dir().join(name);
    fs::write(&path, bytes).expect("a file");
    let options = vec![(OptionId::Config, vec![path.clone().into_os_string()])];
    let given = Given { options, command: vec!["app".into()] };
    let config = config::build_with_settings(given, &[], Place::default());
    fs::remove_file(&path).expect("the file");
    let config = config.map_err(|refusal| refusal.mistakes)?;
    let machine = Machine::new(config.plan.clone(), Surroundings::default());
    assert_eq!(machine.next_wakeup(), None, "before the start");
    Ok(check::render(&config).0)
}

/// Reports, as `--render`, `--probe status` and the observer read them.
pub(super) fn report(bytes: &[u8]) {
    let account = match render::parse(bytes) {
        Ok(account) => account,
        Err(why) => return assert!(why.contains("; name ") || why.contains("; use "), "{why}"),
    };
    let again = serde_json_again(&account);
    assert_eq!(serde_json_again(&again), again);
    for edition in [Edition::Saved, Edition::Live] {
        let page = page::render(&account, edition);
        // The account is text in it, and no element.
        assert!(!page.contains("<x"), "{page}");
        assert!(page.len() <= 200_000 + 200 * bytes.len(), "{} bytes", page.len());
    }
    let status = probe::status(&account);
    assert_plain(&status, true);
    assert!(status.len() <= 4000 + 40 * bytes.len(), "{} bytes", status.len());
    for form in [Form::Text, Form::OpenMetrics] {
        for line in metrics::render(&account, form).lines() {
            assert!(line.starts_with("graceinit_") || line.starts_with("# "), "{line}");
        }
    }
    let fits = report::fit(&account, report::LONGEST);
    assert!(fits.len() <= report::LONGEST && !fits.contains(&b'\n'), "{} bytes", fits.len());
    if fits != b"{}" {
        assert_eq!(render::parse(&fits).map(|read| read.v), Ok(account.v));
    }
}

/// The account, written and read.
fn serde_json_again(account: &Account) -> Account {
    let text = serde_json::to_vec(account).expect("JSON");
    render::parse(&text).expect("a report")
}
