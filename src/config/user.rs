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
        .map_err(|why| format!("{why}; write a name from there, or a number"))
}

/// Resolves `USER[:GROUP]`, each a name or a number. A number without an entry is its own group as well. With an
/// explicit group there are no supplementary groups.
fn resolve(spec: &str, passwd: &str, group: &str) -> Result<User, String> {
    let (user, wanted_group) = match spec.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (spec, None),
    };
    let entry = passwd
        .lines()
        .filter_map(Entry::parse)
        .find(|entry| entry.name == user || Some(entry.uid) == id(user));
    let (uid, own_gid) = match (&entry, id(user)) {
        (Some(entry), _) => (entry.uid, entry.gid),
        (None, Some(uid)) => (uid, uid),
        (None, None) => return Err(format!("there is no user '{user}' in /etc/passwd")),
    };
    let Some(wanted) = wanted_group else {
        let groups = entry.map_or(Vec::new(), |entry| groups_of(entry.name, own_gid, group));
        return Ok(User { uid, gid: own_gid, groups });
    };
    let named = group.lines().filter_map(group_entry).find(|(name, ..)| *name == wanted);
    match named.map(|(_, gid, _)| gid).or_else(|| id(wanted)) {
        Some(gid) => Ok(User { uid, gid, groups: Vec::new() }),
        None => Err(format!("there is no group '{wanted}' in /etc/group")),
    }
}

/// The kernel takes 4294967295, which is (uid_t)-1, as "do not change".
fn id(text: &str) -> Option<u32> {
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
        Some(Entry { name, uid: id(uid)?, gid: id(gid)? })
    }
}

fn group_entry(line: &str) -> Option<(&str, u32, &str)> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let gid = id(fields.nth(1)?)?;
    Some((name, gid, fields.next().unwrap_or("")))
}

fn groups_of(user: &str, gid: u32, group: &str) -> Vec<u32> {
    let mut groups: Vec<u32> = group
        .lines()
        .filter_map(group_entry)
        .filter(|(_, other, members)| *other != gid && members.split(',').any(|name| name == user))
        .map(|(_, gid, _)| gid)
        .collect();
    groups.dedup();
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# a comment\nbroken\n\
                          www:x:33:44::/var/www:/bin/false\n+nis\n";
    const GROUP: &str = "root:x:0:\nweb:x:44:www\nlog:x:5:adm,www\nadm:x:6:wwwx\nnone:x:\n";

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
            ("www:log", user(33, 5, &[])),
            ("www:7", user(33, 7, &[])),
            ("12:34", user(12, 34, &[])),
        ] {
            assert_eq!(resolve(spec, PASSWD, GROUP), want, "{spec}");
        }
    }

    #[test]
    fn the_message_names_the_user_or_group_that_does_not_exist() {
        for (spec, name) in [
            ("nobody", "'nobody'"),
            ("", "''"),
            ("www:wheel", "'wheel'"),
            ("www:", "''"),
            ("4294967295", "'4294967295'"),
            ("99999999999", "'99999999999'"),
            ("-1", "'-1'"),
        ] {
            let error = resolve(spec, PASSWD, GROUP).expect_err(spec);
            assert!(error.contains(name), "{spec}: {error}");
        }
    }
}
