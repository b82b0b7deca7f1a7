//! A browser without a window, led through WebDriver (W3C): one request, one answer, over a socket.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::support::account::Account;
use crate::support::files::Place;
use crate::support::{Fault, Outcome, need, proc, sys};

const BROWSER: &str = "/usr/bin/chromium";
const DRIVER: &str = "/usr/bin/chromedriver";

/// It starts slowly where the machine is busy.
const LONG: Duration = Duration::from_secs(60);

/// Whether there is one.
pub(super) fn is_there() -> bool {
    need::program(BROWSER) && need::program(DRIVER)
}

/// What all processes of a browser have in their environment, and only they.
const MARK: &str = "BLACKBOX_BROWSER";

/// One at a time: a browser is as much work as all other tests together.
static ALONE: Mutex<()> = Mutex::new(());

/// A browser with one window. It goes when it is dropped.
pub(super) struct Browser {
    _alone: MutexGuard<'static, ()>,
    driver: Child,
    port: u16,
    session: String,
    profile: Place,
}

impl Browser {
    /// Starts one, which runs the pages' scripts or does not.
    pub(super) fn start(scripts: bool) -> Outcome<Browser> {
        // The driver chooses a port for IPv6 first, and exits if another program has that port for IPv4.
        let taken = |fault: &Fault| fault.reason().contains("port not available");
        let first = Browser::try_to_start(scripts);
        match &first {
            Err(fault) if taken(fault) => Browser::try_to_start(scripts),
            _ => first,
        }
    }

    fn try_to_start(scripts: bool) -> Outcome<Browser> {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let profile = Place::new();
        let mut driver = Command::new(DRIVER)
            .arg("--port=0")
            .env("HOME", profile.path("."))
            .env(MARK, profile.text("."))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let stream = driver.stdout.take().ok_or_else(|| Fault::new("no output of the driver"))?;
        let said = Account::with_patience("chromedriver", stream, LONG);
        let mut browser =
            Browser { _alone: alone, driver, port: 0, session: String::new(), profile };
        let line = said.find("was started successfully on port ")?;
        let port =
            line.0.rsplit(' ').next().and_then(|port| port.trim_end_matches('.').parse().ok());
        browser.port = port.ok_or_else(|| Fault::new(format!("no port in {:?}", line.0)))?;
        browser.open(scripts)?;
        Ok(browser)
    }

    fn open(&mut self, scripts: bool) -> Outcome {
        let folder = format!("--user-data-dir={}", self.profile.text("profile"));
        let mut arguments = vec![
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--no-proxy-server",
            "--window-size=1200,1400",
            &folder,
        ];
        if !scripts {
            arguments.push("--blink-settings=scriptEnabled=false");
        }
        let options = json!({ "binary": BROWSER, "args": arguments });
        let wanted = json!({
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        });
        let body = json!({ "capabilities": { "alwaysMatch": wanted } });
        let answer = self.ask("POST", "/session", &body)?;
        let id = answer["sessionId"].as_str().ok_or_else(|| Fault::new(format!("{answer}")))?;
        self.session = format!("/session/{id}");
        Ok(())
    }

    /// Goes to this address.
    pub(super) fn go(&self, address: &str) -> Outcome {
        self.tell("url", &json!({ "url": address })).map(drop)
    }

    /// What this script returns.
    pub(super) fn run(&self, script: &str) -> Outcome<Json> {
        self.tell("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// The text that is seen of this element, empty if there is none.
    pub(super) fn text(&self, selector: &str) -> Outcome<String> {
        let wanted = json!({ "using": "css selector", "value": selector });
        let Some(element) = self.tell("elements", &wanted)?.get(0).cloned() else {
            return Ok(String::new());
        };
        let id = element.as_object().and_then(|ids| ids.values().next()?.as_str());
        let id = id.ok_or_else(|| Fault::new(format!("no element: {element}")))?;
        let path = format!("{}/element/{id}/text", self.session);
        match self.ask("GET", &path, &Json::Null) {
            Ok(text) => Ok(text.as_str().unwrap_or_default().to_owned()),
            // It was replaced between the two questions.
            Err(fault) if fault.reason().contains("stale element") => Ok(String::new()),
            Err(fault) => Err(fault),
        }
    }

    /// Until the text of an element is as wanted.
    pub(super) fn until(&self, selector: &str, wanted: &str) -> Outcome {
        let mut last = String::new();
        let seen = proc::poll_within(LONG, &format!("{wanted:?} in {selector}"), || {
            last = self.text(selector).ok()?;
            last.contains(wanted).then_some(())
        });
        seen.map_err(|fault| Fault::new(format!("{}; last: {last:?}", fault.reason())))
    }

    /// What the browser has complained of since the last time.
    pub(super) fn complaints(&self) -> Outcome<Vec<String>> {
        let log = self.tell("se/log", &json!({ "type": "browser" }))?;
        let lines = log.as_array().into_iter().flatten();
        Ok(lines.map(|line| line["message"].to_string()).collect())
    }

    /// The addresses that it has asked for since the last time.
    pub(super) fn requests(&self) -> Outcome<Vec<String>> {
        let log = self.tell("se/log", &json!({ "type": "performance" }))?;
        let events = log.as_array().into_iter().flatten().filter_map(|line| {
            let event: Json = serde_json::from_str(line["message"].as_str()?).ok()?;
            let message = &event["message"];
            let sent = message["method"] == "Network.requestWillBeSent";
            let url = message["params"]["request"]["url"].as_str().map(str::to_owned);
            url.filter(|_| sent)
        });
        // Its own first page is none of ours, and what is in the page comes from nowhere.
        let own = |url: &String| {
            url.starts_with("chrome:")
                || url.starts_with("chrome-untrusted:")
                || url.starts_with("data:")
        };
        Ok(events.filter(|url| !own(url)).collect())
    }

    fn tell(&self, command: &str, body: &Json) -> Outcome<Json> {
        self.ask("POST", &format!("{}/{command}", self.session), body)
    }

    fn ask(&self, method: &str, path: &str, body: &Json) -> Outcome<Json> {
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(LONG))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer: Json = serde_json::from_slice(&body_of(&mut stream)?)?;
        let value = answer["value"].take();
        match value.get("error") {
            Some(error) => {
                Err(Fault::new(format!("{method} {path}: {error} {}", value["message"])))
            }
            None => Ok(value),
        }
    }
}

/// The body of an answer. The driver leaves the connection open, whatever it says.
fn body_of(stream: &mut TcpStream) -> Outcome<Vec<u8>> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length = length.and_then(|length| length.trim().parse().ok());
    let mut body = vec![0; length.ok_or_else(|| Fault::new(format!("no length in {head}")))?];
    stream.read_exact(&mut body)?;
    Ok(body)
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            drop(self.ask("DELETE", &self.session, &Json::Null));
        }
        drop(self.driver.kill());
        drop(self.driver.wait());
        // A driver that is killed leaves its browser behind.
        let mark = format!("{MARK}={}", self.profile.text("."));
        for pid in proc::with_environ(&mark, self.driver.id() as i32) {
            drop(sys::kill(pid, libc::SIGKILL));
        }
    }
}

/// The address of a file.
pub(super) fn address_of(path: &Path) -> String {
    format!("file://{}", path.display())
}
