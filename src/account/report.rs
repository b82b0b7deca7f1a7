//! The account in JSON, cut to a size.

use std::io;

use serde::Serialize;

use super::document::{Account, Hook};
use super::summary;
use super::time::Span;
use super::value::Value;

/// The longest report: a kubelet reads no more of a termination message.
pub const LONGEST: usize = 4096;

/// The account as one line of JSON of at most `longest` bytes, without a newline. What matters least is left out
/// first and counted in `cut`. An account that fits is not changed.
///
/// Each part is measured when it is removed, so the whole is written only a few times, however much is left out.
pub fn fit(account: &Account, longest: usize) -> Vec<u8> {
    let mut whole = account.clone();
    whole.summary = summary::of(account);
    let text = serde_json::to_vec(&whole).unwrap_or_default();
    if text.len() <= longest {
        return text;
    }
    round(&mut whole);
    let mut cut = Cut { account: whole, freed: 0, wanted: 0, moved: false };
    // The measure ignores the digits in `cut`, so a second turn may be needed. Each turn removes something, until not
    // even the head fits.
    loop {
        let text = serde_json::to_vec(&cut.account).unwrap_or_default();
        let excess = text.len().saturating_sub(longest);
        if excess == 0 {
            return text;
        }
        (cut.freed, cut.wanted, cut.moved) = (0, excess, false);
        if !STEPS.iter().any(|step| cut.take(*step)) && !cut.moved {
            return b"{}".get(..longest).unwrap_or_default().to_vec();
        }
    }
}

/// What is left out, in this order.
const STEPS: [fn(&mut Cut); 23] = [
    |cut| cut.pop("processes", 0, |account| &mut account.processes),
    |cut| cut.shift("timeline", FIRST, FIRST + LAST, |account| &mut account.timeline),
    Cut::defaults,
    |cut| cut.pop("settings", 0, |account| &mut account.settings),
    Cut::series,
    |cut| cut.shift("timeline", 0, 0, |account| &mut account.timeline),
    |cut| cut.each_hook("hooks.output", 0, |hook| &mut hook.output),
    Cut::histograms,
    |cut| cut.each_hook("hooks.attempts", 1, |hook| &mut hook.attempts),
    |cut| cut.long_texts(120),
    |cut| cut.shift("troubles", 0, 3, |account| &mut account.troubles),
    |cut| cut.pop("survivors", 5, |account| &mut account.survivors),
    |cut| cut.shift("deaths", 0, 2, |account| &mut account.deaths),
    |cut| cut.pop("waiting", 4, |account| &mut account.waiting),
    Cut::idle_hooks,
    Cut::counts,
    |cut| cut.shift("troubles", 0, 0, |account| &mut account.troubles),
    |cut| cut.pop("waiting", 0, |account| &mut account.waiting),
    |cut| cut.pop("hooks", 0, |account| &mut account.hooks),
    |cut| cut.shift("phases", 0, 0, |account| &mut account.phases),
    |cut| cut.pop("survivors", 0, |account| &mut account.survivors),
    |cut| cut.shift("deaths", 0, 0, |account| &mut account.deaths),
    Cut::drain_and_words,
];

/// The entries of the time line that are kept longest: the beginning of a life and its end tell most.
const FIRST: usize = 4;
const LAST: usize = 10;

/// An account that is being cut.
struct Cut {
    account: Account,
    /// How many bytes were freed since the whole was measured.
    freed: usize,
    /// How many have to be freed.
    wanted: usize,
    /// Something was removed since then.
    moved: bool,
}

impl Cut {
    /// Takes a step. Returns whether it was enough.
    fn take(&mut self, step: fn(&mut Cut)) -> bool {
        step(self);
        self.is_enough()
    }

    fn is_enough(&self) -> bool {
        self.freed >= self.wanted
    }

    /// Counts one removed part of this length.
    fn removed(&mut self, what: &str, bytes: usize) {
        self.removed_many(what, 1, bytes);
    }

    fn removed_many(&mut self, what: &str, count: usize, bytes: usize) {
        // With the commas.
        self.freed += bytes + count;
        self.moved |= count > 0;
        let Some(known) = self.account.cut.get_mut(what) else {
            // `"what":1,`
            self.freed = self.freed.saturating_sub(what.len() + 5);
            self.account.cut.insert(what.to_owned(), count as u64);
            return;
        };
        *known += count as u64;
    }

    /// Removes from the end of a list, down to `least`.
    fn pop<T: Serialize>(
        &mut self,
        what: &str,
        least: usize,
        list: impl Fn(&mut Account) -> &mut Vec<T>,
    ) {
        while !self.is_enough() && list(&mut self.account).len() > least {
            let Some(one) = list(&mut self.account).pop() else { return };
            self.removed(what, size(&one));
        }
    }

    /// Removes from place `from` on, down to `least` in all.
    fn shift<T: Serialize>(
        &mut self,
        what: &str,
        from: usize,
        least: usize,
        list: impl Fn(&mut Account) -> &mut Vec<T>,
    ) {
        let missing = self.wanted.saturating_sub(self.freed);
        let all = list(&mut self.account);
        let most = all.len().saturating_sub(least.max(from));
        let mut bytes = 0;
        let mut count = 0;
        for one in all.iter().skip(from).take(most) {
            if bytes + count >= missing {
                break;
            }
            bytes += size(one);
            count += 1;
        }
        if count > 0 {
            all.drain(from..from + count);
            self.removed_many(what, count, bytes);
        }
    }

    /// Removes the settings that are defaults.
    fn defaults(&mut self) {
        let mut place = self.account.settings.len();
        while !self.is_enough() && place > 0 {
            place -= 1;
            if self.account.settings[place].source.starts_with("default") {
                let gone = self.account.settings.remove(place);
                self.removed("settings", size(&gone));
            }
        }
    }

    /// Removes every second sample, until one is left; then the last one too.
    fn series(&mut self) {
        while !self.is_enough() {
            let Some(drain) = &mut self.account.drain else { return };
            let before = drain.series.len();
            let mut bytes = 0;
            let mut stays = before <= 1;
            drain.series.retain(|seen| {
                stays = !stays;
                bytes += if stays { 0 } else { size(seen) };
                stays
            });
            let gone = before - drain.series.len();
            if gone == 0 {
                return;
            }
            self.removed_many("drain.series", gone, bytes);
        }
    }

    /// Removes the oldest parts of each hook, one hook after the other, down to `least`.
    fn each_hook<T: Serialize>(
        &mut self,
        what: &str,
        least: usize,
        list: impl Fn(&mut Hook) -> &mut Vec<T>,
    ) {
        let mut place = 0;
        while !self.is_enough() && place < self.account.hooks.len() {
            let all = list(&mut self.account.hooks[place]);
            if all.len() > least {
                let gone = all.remove(0);
                self.removed(what, size(&gone));
            } else {
                place += 1;
            }
        }
    }

    /// Removes the durations of hooks.
    fn histograms(&mut self) {
        for place in 0..self.account.hooks.len() {
            let is_enough = self.is_enough();
            let took = &mut self.account.hooks[place].took;
            if !is_enough && !took.is_empty() {
                let gone = std::mem::take(took);
                self.removed("hooks.took", size(&gone));
            }
        }
    }

    /// Shortens the commands of survivors and the sentences of troubles.
    fn long_texts(&mut self, longest: usize) {
        self.shorten_all(longest, |account| {
            let commands = account.survivors.iter_mut().map(|survivor| &mut survivor.command);
            commands.chain(account.troubles.iter_mut().map(|entry| &mut entry.msg)).collect()
        });
    }

    /// Cuts these texts, until it is enough.
    fn shorten_all(&mut self, longest: usize, texts: fn(&mut Account) -> Vec<&mut String>) {
        for text in texts(&mut self.account) {
            if self.freed < self.wanted {
                let removed = shorten(text, longest);
                self.freed += removed;
                self.moved |= removed > 0;
            }
        }
    }

    /// Removes hooks that have not run.
    fn idle_hooks(&mut self) {
        let mut place = self.account.hooks.len();
        while !self.is_enough() && place > 0 {
            place -= 1;
            let hook = &self.account.hooks[place];
            if hook.attempts.is_empty() && !hook.skipped {
                let gone = self.account.hooks.remove(place);
                self.removed("hooks", size(&gone));
            }
        }
    }

    /// Removes counters, of which there is one for each signal.
    fn counts(&mut self) {
        while !self.is_enough() {
            let counts = &mut self.account.counts;
            let last = counts.forwarded.pop_last();
            let last = last.or_else(|| counts.stop_requests.pop_last());
            let Some((name, _)) = last.or_else(|| counts.reaped.pop_last()) else { break };
            self.removed("counts", size(&name) + 2);
        }
    }

    /// The last resort: only the head is left, with shorter and shorter texts.
    fn drain_and_words(&mut self) {
        if let Some(drain) = self.account.drain.take() {
            self.removed("drain", size(&drain));
        }
        if self.moved {
            // More was removed than was measured (the names of empty lists), so it may be enough.
            return;
        }
        if self.account.cut.len() > 1 {
            // What is there matters more than the numbers of what is missing.
            self.freed += size(&self.account.cut);
            self.moved = true;
            let all = self.account.cut.values().sum();
            self.account.cut = [("all".to_owned(), all)].into();
        }
        for longest in [300, 120, 60, 30, 15] {
            self.shorten_all(longest, words);
        }
    }
}

/// The texts of the head, the least important first.
fn words(account: &mut Account) -> Vec<&mut String> {
    let Account { summary, exit, stop, app, phase, program, trace_id, .. } = account;
    let mut all = vec![&mut app.command, summary, program, trace_id, phase];
    all.extend(stop.iter_mut().flat_map(|stop| [&mut stop.from, &mut stop.signal]));
    all.extend(exit.iter_mut().map(|exit| &mut exit.reason));
    if let Some(ended) = &mut app.ended {
        all.extend([&mut ended.phase, &mut ended.how]);
        all.extend(&mut ended.signal);
    }
    all
}

/// Cuts a text to about `longest` bytes of JSON. Returns how many were removed.
fn shorten(text: &mut String, longest: usize) -> usize {
    const MARK: &str = "...";
    let before = size(text);
    if before <= longest {
        return 0;
    }
    let mut bytes = MARK.len() + 2;
    let end = text.char_indices().find(|(_, c)| {
        // Without its quotes.
        bytes += size(c) - 2;
        bytes > longest
    });
    let end = end.map_or(text.len(), |(at, _)| at);
    text.truncate(end);
    text.push_str(MARK);
    before.saturating_sub(size(text))
}

/// The length of a part in JSON.
fn size(part: &(impl Serialize + ?Sized)) -> usize {
    let mut counter = Counter(0);
    // Cannot fail: numbers and texts can be written, and the counter takes all of it.
    let _ = serde_json::to_writer(&mut counter, part);
    counter.0
}

struct Counter(usize);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Rounds all times to the millisecond: a report has a hundred of them.
fn round(account: &mut Account) {
    let Account { exit, stop, app, killed, age, phases, survivors, .. } = account;
    let Account { hooks, drain, troubles, timeline, processes, deaths, .. } = account;
    deaths.iter_mut().for_each(|death| to_millis(&mut death.at));
    let ended = app.ended.iter_mut().map(|ended| &mut ended.at);
    let of_app = app.started.iter_mut().chain(&mut app.ready_after).chain(&mut app.forwarded);
    let of_app = of_app.chain(ended);
    let of_stop =
        stop.iter_mut().flat_map(|stop| [&mut stop.at].into_iter().chain(&mut stop.budget));
    let of_exit = exit.iter_mut().map(|exit| &mut exit.at);
    let of_killed = killed.iter_mut().map(|killed| &mut killed.at);
    of_app.chain(of_stop).chain(of_exit).chain(of_killed).chain([age]).for_each(to_millis);
    for stretch in phases {
        std::iter::once(&mut stretch.at).chain(&mut stretch.took).for_each(to_millis);
    }
    survivors.iter_mut().for_each(|survivor| to_millis(&mut survivor.age));
    processes.iter_mut().for_each(|process| to_millis(&mut process.age));
    for hook in hooks {
        hook.output.iter_mut().for_each(|said| to_millis(&mut said.at));
        to_millis(&mut hook.took.sum);
        for attempt in &mut hook.attempts {
            let times = [&mut attempt.at, &mut attempt.limit];
            times.into_iter().chain(&mut attempt.took).for_each(to_millis);
        }
    }
    if let Some(drain) = drain {
        let times = [&mut drain.at, &mut drain.delay];
        times.into_iter().chain(&mut drain.ended).for_each(to_millis);
        drain.series.iter_mut().chain(&mut drain.last).for_each(|seen| to_millis(&mut seen.at));
    }
    for entry in troubles.iter_mut().chain(timeline) {
        to_millis(&mut entry.at);
        for value in entry.fields.values_mut() {
            if let Value::Span(span) = value {
                let mut rounded = Span::from(*span);
                to_millis(&mut rounded);
                *span = std::time::Duration::from_micros(rounded.0);
            }
        }
    }
}

fn to_millis(span: &mut Span) {
    span.0 = span.0.saturating_add(500) / 1000 * 1000;
}
