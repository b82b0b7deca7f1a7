//! The documentation: every link of a page leads to something that exists, and every page is in the table of contents.
//! The site that mdBook makes of it has every page, can be searched, and has no dead link.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::supply::tool;
use super::text;
use crate::support::files::Place;
use crate::support::{Fault, Outcome, need};
use crate::{ensure, ensure_eq};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The pages, by their paths.
fn pages() -> Outcome<Vec<(PathBuf, String)>> {
    let mut found = vec![root().join("README.md"), root().join("CHANGELOG.md")];
    for entry in fs::read_dir(root().join("docs"))? {
        found.push(entry?.path());
    }
    found.retain(|path| path.extension().is_some_and(|ending| ending == "md"));
    found.sort();
    found.into_iter().map(|path| Ok((path.clone(), fs::read_to_string(path)?))).collect()
}

/// The lines outside of code blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// The targets of `[text](target)`.
fn links(text: &str) -> Vec<String> {
    let text = prose(text).collect::<Vec<_>>().join("\n");
    let targets = text.split("](").skip(1);
    targets.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
}

/// The places of a page that a link can name: its headings, as GitHub and mdBook spell them.
fn places(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in prose(text).filter(|line| line.starts_with('#')) {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        let name: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let again = (1..).map(|count| format!("{name}-{count}"));
        let mut free = std::iter::once(name.clone()).chain(again);
        found.extend(free.find(|name| !found.contains(name)));
    }
    found
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_exist() -> Outcome {
    let mut wrong = Vec::new();
    let mut count = 0;
    for (path, text) in pages()? {
        for link in links(&text).into_iter().filter(|link| !link.contains("://")) {
            count += 1;
            let (file, place) = link.split_once('#').unwrap_or((&link, ""));
            let target = match file {
                "" => path.clone(),
                file => path.parent().unwrap_or(root()).join(file),
            };
            let is_there = match place {
                "" => target.exists(),
                place => {
                    fs::read_to_string(&target).is_ok_and(|text| places(&text).contains(place))
                }
            };
            if !is_there {
                wrong.push(format!("{}: {link}", path.display()));
            }
        }
    }
    ensure!(count > 100, "only {count} links found");
    ensure_eq!(wrong, Vec::<String>::new(), "links that lead nowhere");
    Ok(())
}

#[test]
fn every_page_is_in_the_table_of_contents() -> Outcome {
    let contents = links(&fs::read_to_string(root().join("docs/README.md"))?);
    for (path, _) in pages()? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name == "README.md" {
            continue;
        }
        let listed = contents.iter().any(|link| link.trim_start_matches("../") == name);
        ensure!(listed, "{name} is not in docs/README.md");
    }
    Ok(())
}

#[test]
fn the_pages_that_the_help_names_exist() -> Outcome {
    let help = Command::new(env!("CARGO_BIN_EXE_graceinit")).arg("--help").output()?;
    let help = String::from_utf8(help.stdout)?;
    let is_page = |word: &&str| word.ends_with(".md");
    let words = help.split(|c: char| c.is_whitespace() || ",;:()".contains(c));
    let named: Vec<&str> = words.map(|word| word.trim_end_matches('.')).filter(is_page).collect();
    ensure!(!named.is_empty(), "the help names no page");
    for page in named {
        let is_there = root().join("docs").join(page).exists() || root().join(page).exists();
        ensure!(is_there, "--help names {page}");
    }
    Ok(())
}

fn book(words: &[&str]) -> Outcome<Output> {
    Ok(Command::new(root().join("packaging/book.py")).args(words).output()?)
}

#[test]
fn the_site_has_every_page_and_no_dead_link() -> Outcome {
    let Some(mdbook) = tool("mdbook") else { return Ok(()) };
    if !need::program("/usr/bin/python3") {
        return Ok(());
    }
    let place = Place::new();
    let site = place.text("site");
    let done = book(&["--mdbook", &mdbook, &site])?;
    ensure!(done.status.success(), "{}", text(&done.stderr));
    for (path, _) in pages()? {
        let page = path.strip_prefix(root())?.with_extension("html").display().to_string();
        let made = format!("{site}/{}", page.replace("README.html", "index.html"));
        ensure!(Path::new(&made).exists(), "{page} is not in the site");
    }
    // The index of the search, which the browser loads.
    let names = super::files(Path::new(&site))?;
    let is_index = |path: &&PathBuf| path.to_string_lossy().contains("/searchindex");
    let index = names.iter().find(is_index).ok_or_else(|| Fault::new("no index"))?;
    ensure!(fs::read_to_string(index)?.contains("drain-idle"), "the index has no words");

    // The check can fail.
    fs::remove_file(format!("{site}/docs/drain.html"))?;
    let done = book(&["--check", &site])?;
    let said = text(&done.stderr);
    ensure!(!done.status.success() && said.contains(": drain.html"), "not noticed: {said}");
    let done = book(&["--mdbook", "/bin/echo", &place.text("other")])?;
    let expected = "packaging/book.py: /bin/echo is echo ";
    ensure!(text(&done.stderr).starts_with(expected), "{done:?}");
    Ok(())
}

#[test]
fn headings_are_found_as_they_are_linked() {
    let found =
        places("# One `word`\n```sh\n# a comment\n```\n## Two: it's (so)\n## Two: it's (so)\n");
    let expected = ["one-word", "two-its-so", "two-its-so-1"].map(str::to_owned);
    assert_eq!(found, BTreeSet::from(expected));
    assert_eq!(links("[a](b.md#c) [d\ne](f)\n```\n[x](y)\n```\n"), ["b.md#c", "f"]);
}
