//! `--user`. /etc/passwd and /etc/group are read here (passwd(5), group(5)): the C library's name service can crash a
//! static program.

/// The user that the app and the hooks run as.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups, `gid` not repeated.
    pub groups: Vec<u32>,
}

impl User {
    /// The ids in the form that `sys` takes.
    pub fn ids(&self) -> (u32, u32, &[u32]) {
        (self.uid, self.gid, &self.groups)
    }
}

/// Reads `USER[:GROUP]`, with the names of /etc/passwd and /etc/group.
pub(super) fn read(text: &str) -> Result<User, String> {
    let read = |path| std::fs::read(path).unwrap_or_default();
    let text_of = |path| String::from_utf8_lossy(&read(path)).into_owned();
    resolve(text, &text_of("/etc/passwd"), &text_of("/etc/group"))
}

/// Resolves `USER[:GROUP]`, each a name or a number. A number without an entry is its own group as well. With an
/// explicit group there are no supplementary groups.
///
/// # Errors
/// What cannot be resolved, and what to write instead.
pub fn resolve(spec: &str, passwd: &str, group: &str) -> Result<User, String> {
    let (user, wanted_group) = match spec.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (spec, None),
    };
    let id = id("user", user)?;
    let mut entries = passwd.lines().filter_map(Entry::parse);
    let entry = entries.find(|entry| match id {
        Some(uid) => entry.uid == uid,
        None => entry.name == user,
    });
    let (uid, own_gid) = match (&entry, id) {
        (Some(entry), _) => (entry.uid, entry.gid),
        (None, Some(uid)) => (uid, uid),
        (None, None) => return Err(unknown("user", user, "/etc/passwd")),
    };
    let Some(wanted) = wanted_group else {
        let groups = entry.map_or(Vec::new(), |entry| groups_of(entry.name, own_gid, group));
        return Ok(User { uid, gid: own_gid, groups });
    };
    let named = || group.lines().filter_map(group_entry).find(|(name, ..)| *name == wanted);
    match self::id("group", wanted)?.or_else(|| named().map(|(_, gid, _)| gid)) {
        Some(gid) => Ok(User { uid, gid, groups: Vec::new() }),
        None => Err(unknown("group", wanted, "/etc/group")),
    }
}

fn unknown(what: &str, name: &str, file: &str) -> String {
    format!("there is no {what} '{name}' in {file}; write a name from there, or a number")
}

/// The id that a word of digits is; `None`: the word is a name. Digits are never looked up as a name: with a user that
/// is named `1000` and has the id 0 in the /etc/passwd of an image, 1000 would be root (CVE-2016-3697). What only looks
/// like a number is refused for the same reason.
fn id(what: &str, word: &str) -> Result<Option<u32>, String> {
    let digits = word.strip_prefix(['+', '-']).unwrap_or(word);
    if digits.is_empty() || digits.bytes().any(|byte| !byte.is_ascii_digit()) {
        return Ok(None);
    }
    let refuse = |why: &str| Err(format!("'{word}' is no id of a {what}: {why}"));
    match number(digits) {
        _ if digits.len() < word.len() => refuse("an id has no sign; write digits alone"),
        None => refuse("the largest is 4294967294; write a smaller number, or a name"),
        Some(id) if id.to_string() != digits => {
            refuse(&format!("leading zeros are ambiguous; write {id}"))
        }
        Some(id) => Ok(Some(id)),
    }
}

/// A number of /etc/passwd or /etc/group. The kernel takes 4294967295, which is (uid_t)-1, as "do not change".
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().filter(|id| *id != u32::MAX)
}

struct Entry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
}

impl<'a> Entry<'a> {
    fn parse(line: &'a str) -> Option<Entry<'a>> {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let (uid, gid) = (fields.nth(1)?, fields.next()?);
        Some(Entry { name, uid: number(uid)?, gid: number(gid)? })
    }
}

fn group_entry(line: &str) -> Option<(&str, u32, &str)> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let gid = number(fields.nth(1)?)?;
    Some((name, gid, fields.next().unwrap_or("")))
}

fn groups_of(user: &str, gid: u32, group: &str) -> Vec<u32> {
    let mut groups: Vec<u32> = group
        .lines()
        .filter_map(group_entry)
        .filter(|(_, other, members)| *other != gid && members.split(',').any(|name| name == user))
        .map(|(_, gid, _)| gid)
        .collect();
    // A group may have several lines.
    groups.sort_unstable();
    groups.dedup();
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# a comment\nbroken\n\
                          www:x:33:44::/var/www:/bin/false\n+nis\nadm:x:3:4::/:\n";
    const GROUP: &str = "root:x:0:\nweb:x:44:www\nlog:x:5:adm,www\nadm:x:6:wwwx,adm\n\
                          none:x:\nlog:x:5:adm\n";

    fn user(uid: u32, gid: u32, groups: &[u32]) -> Result<User, String> {
        Ok(User { uid, gid, groups: groups.to_vec() })
    }

    #[test]
    fn names_and_numbers() {
        for (spec, want) in [
            ("root", user(0, 0, &[])),
            ("www", user(33, 44, &[5])),
            ("33", user(33, 44, &[5])),
            ("65534", user(65534, 65534, &[])),
            ("adm", user(3, 4, &[5, 6])),
            ("www:log", user(33, 5, &[])),
            ("www:7", user(33, 7, &[])),
            ("12:34", user(12, 34, &[])),
            ("0:0", user(0, 0, &[])),
            ("4294967294", user(4_294_967_294, 4_294_967_294, &[])),
        ] {
            assert_eq!(resolve(spec, PASSWD, GROUP), want, "{spec}");
        }
    }

    /// Names of digits in /etc/passwd and /etc/group, as an image may have them.
    #[test]
    fn digits_are_ids_and_never_names() {
        let passwd = "1000:x:0:0::/root:/bin/sh\n33:x:0:0::/:/bin/sh\n+1000:x:0:0::/:/bin/sh\n\
                      01000:x:0:0::/:/bin/sh\n4294967295:x:0:0::/:/bin/sh\n";
        let passwd = format!("{passwd}{PASSWD}");
        let group = format!("2000:x:0:\n07:x:0:\n{GROUP}");
        for (spec, want) in [
            ("1000", user(1000, 1000, &[])),
            ("33", user(33, 44, &[5])),
            ("65534:2000", user(65534, 2000, &[])),
            ("www:2000", user(33, 2000, &[])),
        ] {
            assert_eq!(resolve(spec, &passwd, &group), want, "{spec}");
        }
        for (spec, advice) in [
            ("+1000", "write digits alone"),
            ("-1", "write digits alone"),
            ("01000", "write 1000"),
            ("00", "write 0"),
            ("4294967295", "the largest is 4294967294"),
            ("99999999999", "the largest is 4294967294"),
            ("www:07", "write 7"),
            ("www:+7", "write digits alone"),
            ("0:4294967295", "the largest is 4294967294"),
        ] {
            let error = resolve(spec, &passwd, &group).expect_err(spec);
            assert!(error.contains(advice), "{spec}: {error}");
        }
    }

    #[test]
    fn the_message_names_the_user_or_group_that_does_not_exist() {
        for (spec, name) in [
            ("nobody", "'nobody'"),
            ("", "''"),
            ("www:wheel", "'wheel'"),
            ("www:", "''"),
            ("1000 ", "'1000 '"),
            ("0x10", "'0x10'"),
        ] {
            let error = resolve(spec, PASSWD, GROUP).expect_err(spec);
            assert!(error.contains(name), "{spec}: {error}");
        }
    }
}
