//! The table of docs/reliability.md.

use std::collections::{BTreeMap, BTreeSet};

use super::life::Life;

/// What became of the lives in which a call failed.
#[derive(Default)]
struct Row {
    errors: BTreeSet<String>,
    lives: BTreeMap<String, usize>,
    same: usize,
    warned: usize,
    lost: usize,
    broken: usize,
    what: BTreeMap<String, usize>,
}

/// One line of a file of results: the fault, the verdict and what is lost or broken, separated by tabs.
pub(crate) struct Entry<'a> {
    pub(crate) name: &'a str,
    pub(crate) verdict: &'a str,
    pub(crate) what: Vec<&'a str>,
}

impl<'a> Entry<'a> {
    pub(crate) fn parse(line: &'a str) -> Option<Entry<'a>> {
        let mut fields = line.split('\t');
        let (name, verdict) = (fields.next()?, fields.next()?);
        Some(Entry { name, verdict, what: fields.collect() })
    }
}

/// The table of all results.
pub(crate) fn table<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    for entry in lines.filter_map(Entry::parse) {
        let mut words = entry.name.split(' ');
        let (Some(life), Some(call), Some(error)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let row = rows.entry(call).or_default();
        match entry.verdict {
            "same" => row.same += 1,
            "warned" => row.warned += 1,
            "lost" => row.lost += 1,
            "broken" => row.broken += 1,
            _ => continue,
        }
        row.errors.insert(error.to_owned());
        *row.lives.entry(life.to_owned()).or_default() += 1;
        if entry.verdict != "same" {
            entry
                .what
                .iter()
                .for_each(|what| *row.what.entry((*what).to_owned()).or_default() += 1);
        }
    }
    let names = Life::ALL.map(Life::name).join(" | ");
    let mut text = format!(
        "| call | errors | {names} | nothing differs | a warning | a warning, and it is missing | broken |\n\
        |---|---|---|---|---|---|---|---|---|---|\n"
    );
    let mut sum = Row::default();
    for (call, row) in &rows {
        sum.errors.extend(row.errors.iter().map(|error| format!("{call} {error}")));
        line(&mut text, &format!("{call}(2)"), row);
        row.lives.iter().for_each(|(life, n)| *sum.lives.entry(life.clone()).or_default() += n);
        sum.same += row.same;
        sum.warned += row.warned;
        sum.lost += row.lost;
        sum.broken += row.broken;
    }
    line(&mut text, &format!("**{} calls**", rows.len()), &sum);
    text
}

fn line(text: &mut String, name: &str, row: &Row) {
    let lives = Life::ALL.map(|life| row.lives.get(life.name()).copied().unwrap_or(0).to_string());
    let what: Vec<&str> = row.what.keys().map(String::as_str).collect();
    let what = if what.is_empty() { String::new() } else { format!(": {}", what.join("; ")) };
    text.push_str(&format!(
        "| {name} | {} | {} | {} | {} | {}{what} | {} |\n",
        row.errors.len(),
        lives.join(" | "),
        row.same,
        row.warned,
        row.lost,
        row.broken,
    ));
}

const BEGIN: &str = "<!-- faults: begin (written by cargo bench --bench faults) -->\n";
const END: &str = "<!-- faults: end -->";

/// The page with this text between the two marks.
pub(crate) fn put(page: &str, text: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{text}{END}{after}"))
}
