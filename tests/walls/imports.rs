//! Which file of `src` uses which: `use` trees with their groups, and paths that begin with `crate::` or `graceinit::`.
//! Unit tests are left out: they may use more than the code that they test.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

/// A module by its path from the crate's root; the root itself is empty.
pub(super) type Module = Vec<String>;

/// The module of a file, given its path below `src`.
pub(super) fn module(path: &Path) -> Module {
    let mut parts: Module = path
        .with_extension("")
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => name.to_str().map(str::to_owned),
            _ => None,
        })
        .collect();
    if parts.last().is_some_and(|last| last == "mod" || last == "lib") {
        parts.pop();
    }
    parts
}

/// The text without comments, string literals and unit tests.
pub(super) fn code(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        if line.trim() == "#[cfg(test)]" {
            // By the project's custom unit tests are the last item of a file.
            if text.contains("#[cfg(test)]\nmod tests {") && !out.contains("mod tests;") {
                break;
            }
            continue;
        }
        let line = line.split("//").next().unwrap_or("");
        let mut inside = false;
        for part in line.split_inclusive('"') {
            if !inside {
                out.push_str(part.trim_end_matches('"'));
            }
            if part.ends_with('"') && !part.ends_with("\\\"") && !part.ends_with("'\"") {
                inside = !inside;
            }
        }
        out.push('\n');
    }
    out
}

/// Every path that the code of `module` names, from the crate's root.
pub(super) fn paths(code: &str, module: &Module) -> BTreeSet<Module> {
    let mut found = BTreeSet::new();
    for (place, _) in code.match_indices("use ") {
        let before = code[..place].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let Some(end) = code[place..].find(';') else { continue };
        let mut leaves = Vec::new();
        expand("", &code[place + 4..place + end], &mut leaves);
        found.extend(leaves.iter().filter_map(|path| resolve(path, module)));
    }
    for start in ["crate::", "graceinit::", "super::"] {
        for (place, _) in code.match_indices(start) {
            let before = code[..place].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let path: String = code[place..]
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_' || *c == ':')
                .collect();
            found.extend(resolve(&path, module));
        }
    }
    found
}

/// Writes one path for each leaf of a `use` tree.
fn expand(prefix: &str, tree: &str, leaves: &mut Vec<String>) {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        let path = tree.split(" as ").next().unwrap_or(tree).trim();
        if !path.is_empty() {
            leaves.push(format!("{prefix}{path}"));
        }
        return;
    };
    let prefix = format!("{prefix}{}", tree[..open].trim());
    let inner = tree[open + 1..].trim_end();
    let inner = inner.strip_suffix('}').unwrap_or(inner);
    let (mut depth, mut start) = (0, 0);
    for (place, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(&prefix, &inner[start..place], leaves);
                start = place + 1;
            }
            _ => {}
        }
    }
    expand(&prefix, &inner[start..], leaves);
}

fn resolve(path: &str, module: &Module) -> Option<Module> {
    let mut parts = path.split("::").map(str::trim).filter(|part| !part.is_empty()).peekable();
    let mut base = match *parts.peek()? {
        "crate" | "graceinit" => {
            parts.next();
            Vec::new()
        }
        "super" => module.clone(),
        "self" => {
            parts.next();
            module.clone()
        }
        // Another crate, or a child of this module.
        name => {
            let mut child = module.clone();
            child.push(name.to_owned());
            parts.next();
            child.extend(parts.map(str::to_owned));
            return Some(child);
        }
    };
    while parts.next_if_eq(&"super").is_some() {
        base.pop();
    }
    base.extend(parts.filter(|part| *part != "self" && *part != "*").map(str::to_owned));
    Some(base)
}

/// The file that a path leads into: the longest module that is one.
pub(super) fn file<'a>(path: &Module, files: &'a BTreeMap<Module, String>) -> Option<&'a Module> {
    (1..=path.len())
        .rev()
        .find_map(|length| files.get_key_value(&path[..length].to_vec()))
        .map(|(key, _)| key)
}

/// Groups of files that use each other in a circle.
pub(super) fn circles(edges: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<BTreeSet<Module>> {
    let reach = |from: &Module| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(module) = next.pop() {
            for to in edges.get(module).into_iter().flatten() {
                if seen.insert(to.clone()) {
                    next.push(to);
                }
            }
        }
        seen
    };
    let all: BTreeMap<&Module, BTreeSet<Module>> =
        edges.keys().map(|module| (module, reach(module))).collect();
    let mut found: Vec<BTreeSet<Module>> = Vec::new();
    for (module, reached) in &all {
        let circle: BTreeSet<Module> = reached
            .iter()
            .filter(|to| all.get(to).is_some_and(|back| back.contains(*module)))
            .cloned()
            .collect();
        if circle.contains(*module) && !found.contains(&circle) {
            found.push(circle);
        }
    }
    found
}

#[test]
fn grouped_and_relative_imports_are_seen() {
    let module = |text: &str| -> Module { text.split("::").map(str::to_owned).collect() };
    let code = code(
        "use crate::a::{b::{self, C}, d::E as F};\nuse super::x::Y; // use crate::comment::Z;\n\
         fn f() { let s = \"crate::text::T\"; graceinit::g::h(); }\n",
    );
    let found = paths(&code, &module("room::file"));
    for path in ["a::b", "a::b::C", "a::d::E", "room::x::Y", "g::h"] {
        assert!(found.contains(&module(path)), "{path} is not in {found:?}");
    }
    for path in ["comment::Z", "text::T"] {
        assert!(!found.contains(&module(path)), "{path} is in {found:?}");
    }
}

#[test]
fn a_circle_is_found() {
    let one = |name: &str| vec![name.to_owned()];
    let edges = BTreeMap::from([
        (one("a"), BTreeSet::from([one("b")])),
        (one("b"), BTreeSet::from([one("c")])),
        (one("c"), BTreeSet::from([one("b")])),
    ]);
    assert_eq!(circles(&edges), [BTreeSet::from([one("b"), one("c")])]);
}
