//! A line of /proc/PID/stat (proc_pid_stat(5)). Nothing is allocated, so that the handler of the dead-man timer can
//! parse one.

use crate::types::Pid;

/// The fields that graceinit uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stat<'a> {
    /// The pid.
    pub pid: Pid,
    /// The name: at most 15 bytes, any but NUL. The kernel cuts a longer name, in the middle of a character if need be.
    pub name: &'a [u8],
    /// The state: `R`, `S`, `D`, `Z`…
    pub state: char,
    /// The pid of the parent.
    pub parent: Pid,
    /// The process group.
    pub group: Pid,
    /// The page faults of the process.
    pub faults: u64,
    /// The page faults of the children that it has waited for.
    pub faults_of_children: u64,
    /// The number of threads.
    pub threads: u32,
    /// When the process started, in hundredths of a second since boot.
    pub started: u64,
    /// The pages of memory that the process has in RAM.
    pub resident: u64,
}

impl<'a> Stat<'a> {
    /// Parses a line; `None` if it is cut off before the last of these fields.
    pub fn parse(line: &'a [u8]) -> Option<Stat<'a>> {
        // The name may hold spaces and parentheses, and no other field does.
        let open = line.iter().position(|byte| *byte == b'(')?;
        let close = line.iter().rposition(|byte| *byte == b')')?;
        let mut fields = line.get(close + 2..)?.split(|byte| *byte == b' ');
        let mut field = |skip: usize| fields.nth(skip);
        let pid = |text| decimal(text).and_then(|number| i32::try_from(number).ok()).map(Pid);
        // Field 3 of the manual page, and so on.
        let state = field(0)?.first().copied().map(char::from)?;
        let (parent, group) = (pid(field(0)?)?, pid(field(0)?)?);
        let (minor, minor_of_children) = (decimal(field(4)?)?, decimal(field(0)?)?);
        let (major, major_of_children) = (decimal(field(0)?)?, decimal(field(0)?)?);
        Some(Stat {
            pid: pid(line.get(..open)?.trim_ascii_end())?,
            name: line.get(open + 1..close)?,
            state,
            parent,
            group,
            faults: minor.saturating_add(major),
            faults_of_children: minor_of_children.saturating_add(major_of_children),
            threads: decimal(field(6)?)?.try_into().ok()?,
            started: decimal(field(1)?)?,
            resident: decimal(field(1)?)?,
        })
    }

    /// Whether the process has ended and is not reaped yet. If its first thread alone has ended, the state is Z as
    /// well, but the other threads run.
    pub fn is_zombie(&self) -> bool {
        matches!(self.state, 'Z' | 'X') && self.threads <= 1
    }
}

/// The number that these decimal digits are.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, digit| {
        let value = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        sum.checked_mul(10)?.checked_add(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_may_look_like_other_fields() {
        let line =
            b"42 (a) S (b) R 7 40 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 987654 1000 2 18446\n";
        let stat = Stat::parse(line).expect("a valid line");
        assert_eq!((stat.pid, stat.name, stat.state), (Pid(42), &b"a) S (b"[..], 'R'));
        assert_eq!((stat.parent, stat.group, stat.threads), (Pid(7), Pid(40), 3));
        assert_eq!((stat.started, stat.resident, stat.is_zombie()), (987_654, 2, false));
        assert_eq!((stat.faults, stat.faults_of_children), (1 + 3, 2 + 4));
    }

    #[test]
    fn a_process_with_running_threads_is_no_zombie() {
        let line = |threads: u32| {
            format!("9 (z) Z 1 9 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 {threads} 0 5 1000 2")
        };
        assert!(Stat::parse(line(1).as_bytes()).expect("a valid line").is_zombie());
        assert!(!Stat::parse(line(2).as_bytes()).expect("a valid line").is_zombie());
    }

    #[test]
    fn a_line_that_is_cut_off_is_refused() {
        for broken in [&b""[..], b"1", b"1 (x)", b"1 (x) S", b"1 (x) S 1 1", b"x (x) S 1 1 1"] {
            assert_eq!(Stat::parse(broken), None);
        }
        let line = b"9 (z) Z 1 9 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 5 1000 2";
        for cut in 0..line.len() {
            assert_eq!(Stat::parse(&line[..cut]), None, "{cut}");
        }
        let odd = b"9 (z) Z x 9 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 5 1000 2";
        assert_eq!(Stat::parse(odd), None);
    }
}
