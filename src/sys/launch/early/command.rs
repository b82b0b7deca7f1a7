//! What the kernel has put on the stack: whether the app can be started early with it, and where the app may lie.

use super::put;
use crate::sys::launch::setup::DEFAULT_PATH;
use crate::sys::launch::text::{List, Text};

/// With more words on the command line the app is started later.
pub(super) const WORDS: usize = 250;

/// How the variables begin that concern graceinit, or the app by its pid; and one that the C library replaces when it
/// starts, while the app's child may be reading it. (One text, because a table of texts would hold pointers.)
static CONCERNING: [u8; 79] =
    *b"GRACE\0KUBERNETES_SERVICE_HOST=\0NOTIFY_SOCKET=\0WATCHDOG_\0LISTEN_\0GLIBC_TUNABLES=";

/// A command line without options, in an environment that does not concern graceinit.
pub(super) struct Command<'a> {
    /// The app's words, of which there is one at least.
    pub(super) argv: List<'a>,
    pub(super) environment: List<'a>,
    path: Option<Text<'a>>,
}

impl<'a> Command<'a> {
    /// Reads the stack. `None` if the app has to be started later.
    ///
    /// # Safety
    /// As for [`super::begin`]; the stack stays as it is during `'a`.
    pub(super) unsafe fn read(stack: *const usize) -> Option<Command<'a>> {
        // SAFETY: the kernel's layout: a number, as many pointers to strings, a null pointer; pointers to strings and a
        // null pointer.
        let (count, words, environment) = unsafe {
            let (count, words) = (*stack, stack.add(1).cast());
            (count, List::from_raw(words), List::from_raw(words.add(count + 1)))
        };
        if count > WORDS {
            return None;
        }
        let (name, words) = words.split_first()?;
        // The names of other programs select other defaults. None of them begins with this letter.
        if after_last(name, b'/').unwrap_or(name).first() != b'g' {
            return None;
        }
        let (first, rest) = words.split_first()?;
        let argv = match strip_prefix(first, b"--") {
            Some(option) if option.first() == 0 => rest,
            _ if first.first() == b'-' => return None,
            _ => words,
        };
        let (app, _) = argv.split_first()?;
        if app.first() == 0 {
            return None;
        }
        let (mut entries, mut path) = (environment, None);
        while let Some((entry, rest)) = entries.split_first() {
            if concerns_us(entry) {
                return None;
            }
            path = path.or_else(|| strip_prefix(entry, b"PATH="));
            entries = rest;
        }
        // SAFETY: the auxiliary vector lies behind the null pointer that ends the environment: pairs of a key and a
        // value up to the key AT_NULL.
        unsafe {
            let mut pair: *const usize = entries.as_raw().add(1).cast();
            while *pair != libc::AT_NULL as usize {
                // The C library removes variables if the program has more rights than its caller.
                if *pair == libc::AT_SECURE as usize && *pair.add(1) != 0 {
                    return None;
                }
                pair = pair.add(2);
            }
        }
        Some(Command { argv, environment, path })
    }

    /// Writes where the app may lie to `paths`, in the order of PATH, as [`Program`] has it. The strings are written to
    /// `letters`. `None` if one of them has no room.
    ///
    /// [`Program`]: crate::sys::launch::setup::Program
    pub(super) fn find(
        &self,
        paths: &mut [Option<Text<'a>>],
        mut letters: &'a mut [u8],
    ) -> Option<()> {
        let mut paths = paths.iter_mut();
        let (name, _) = self.argv.split_first()?;
        if after_last(name, b'/').is_some() {
            put(paths.next()?, Some(name));
            return Some(());
        }
        let mut rest = self.path.unwrap_or(DEFAULT_PATH.into());
        loop {
            let mut length = 0;
            let mut write = |letter| {
                put(letters.get_mut(length)?, letter);
                length += 1;
                Some(())
            };
            // An empty part of PATH is the current directory.
            if matches!(rest.first(), 0 | b':') {
                write(b'.')?;
            }
            let next = loop {
                match rest.split_first() {
                    None => break None,
                    Some((b':', after)) => break Some(after),
                    Some((letter, after)) => {
                        write(letter)?;
                        rest = after;
                    }
                }
            };
            write(b'/')?;
            let mut left = name;
            while let Some((letter, after)) = left.split_first() {
                write(letter)?;
                left = after;
            }
            write(0)?;
            let (path, free) = std::mem::take(&mut letters).split_at_mut_checked(length)?;
            letters = free;
            put(paths.next()?, Text::from_bytes(path));
            match next {
                Some(after) => rest = after,
                None => return Some(()),
            }
        }
    }
}

/// The text behind this beginning, if it begins like this.
fn strip_prefix<'a>(text: Text<'a>, beginning: &[u8]) -> Option<Text<'a>> {
    let mut rest = text;
    for wanted in beginning {
        match rest.split_first() {
            Some((byte, after)) if byte == *wanted => rest = after,
            _ => return None,
        }
    }
    Some(rest)
}

/// The text behind the last such byte, if there is one.
fn after_last(text: Text<'_>, wanted: u8) -> Option<Text<'_>> {
    let (mut rest, mut found) = (text, None);
    while let Some((byte, after)) = rest.split_first() {
        if byte == wanted {
            found = Some(after);
        }
        rest = after;
    }
    found
}

/// Whether a variable begins like one of [`CONCERNING`].
fn concerns_us(entry: Text<'_>) -> bool {
    // `None` from the first difference on.
    let mut rest = Some(entry);
    for wanted in &CONCERNING {
        if *wanted == 0 {
            if rest.is_some() {
                return true;
            }
            rest = Some(entry);
            continue;
        }
        rest = match rest.and_then(Text::split_first) {
            Some((byte, after)) if byte == *wanted => Some(after),
            _ => None,
        };
    }
    rest.is_some()
}

/// What would be started with these words and this environment: the paths that are tried, and the app's words.
#[cfg(test)]
pub(crate) fn would_start(
    words: &[&str],
    variables: &[&str],
) -> Option<(Vec<String>, Vec<String>)> {
    use std::ffi::CString;

    fn string(mut text: Text<'_>) -> String {
        let mut bytes = Vec::new();
        while let Some((byte, rest)) = text.split_first() {
            bytes.push(byte);
            text = rest;
        }
        String::from_utf8(bytes).expect("UTF-8")
    }
    let texts = |all: &[&str]| -> Vec<CString> {
        all.iter().map(|text| CString::new(*text).expect("no NUL")).collect()
    };
    let (words, variables) = (texts(words), texts(variables));
    let pointers = |texts: &[CString]| -> Vec<usize> {
        texts.iter().map(|text| text.as_ptr() as usize).chain([0]).collect()
    };
    let vector = [libc::AT_SECURE as usize, 0, libc::AT_NULL as usize, 0];
    let stack =
        [vec![words.len()], pointers(&words), pointers(&variables), vector.to_vec()].concat();
    // SAFETY: laid out as the kernel does it, and live to the end of this function.
    let command = unsafe { Command::read(stack.as_ptr()) }?;
    let (mut paths, mut letters) = ([None; super::PATHS], [0; super::LETTERS]);
    command.find(&mut paths, &mut letters)?;
    let (mut argv, mut rest) = (Vec::new(), command.argv);
    while let Some((word, after)) = rest.split_first() {
        argv.push(string(word));
        rest = after;
    }
    Some((paths.into_iter().map_while(|path| path.map(string)).collect(), argv))
}

#[cfg(test)]
mod tests {
    use super::super::{LETTERS, PATHS};
    use super::*;

    fn paths(name: &str, path: &str) -> Option<Vec<String>> {
        would_start(&["graceinit", name], &["HOME=/", &format!("PATH={path}"), "PATH=/no"])
            .map(|(paths, _)| paths)
    }

    #[test]
    fn the_app_is_looked_for_in_path_like_without_an_early_start() {
        assert_eq!(paths("app", "/a:/b").unwrap(), ["/a/app", "/b/app"]);
        assert_eq!(paths("app", ":/b:").unwrap(), ["./app", "/b/app", "./app"]);
        assert_eq!(paths("app", "").unwrap(), ["./app"]);
        assert_eq!(paths("./app", "/a:/b").unwrap(), ["./app"]);
        let (found, _) = would_start(&["g", "app"], &[]).unwrap();
        assert_eq!(found, ["/bin/app", "/usr/bin/app"]);
    }

    #[test]
    fn an_app_is_started_later_if_its_words_or_paths_do_not_fit() {
        let fits = vec!["/a"; PATHS].join(":");
        assert_eq!(paths("app", &fits).map(|paths| paths.len()), Some(PATHS));
        assert_eq!(paths("app", &format!("{fits}:/a")), None);
        let long = "x".repeat(LETTERS - "/a//\0".len());
        assert!(paths(&long, "/a/").is_some());
        assert_eq!(paths(&format!("{long}x"), "/a/"), None);
        let words = |count: usize| would_start(&vec!["g"; count], &[]).is_some();
        assert!(words(WORDS) && !words(WORDS + 1));
    }
}
