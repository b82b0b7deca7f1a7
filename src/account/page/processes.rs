//! The processes that were still there before SIGKILL, and those of this moment.

use std::collections::{BTreeMap, BTreeSet};

use super::super::document::{Account, Process, Survivor};
use super::super::text::size;
use super::html::{self, Html};
use super::{ROWS, first, more, offset, table};

/// The section of the processes that died of a SIGKILL which graceinit did not send, if there are any.
pub(super) fn deaths(out: &mut Html, account: &Account) {
    if account.deaths.is_empty() {
        return;
    }
    out.raw("<section id=\"deaths\"><h2>Killed, but not by graceinit</h2>\n");
    table(
        out,
        "deaths",
        "Processes that died of SIGKILL",
        &["at", "pid", "name", "role", "killed by"],
    );
    for death in first(&account.deaths) {
        out.raw("<tr class=\"death\"").attr("data-pid", death.pid).raw("><td class=\"n\">");
        offset(out, account, death.at);
        out.raw("</td><td class=\"n\">").text(death.pid).raw("</td><td>").text(&death.name);
        out.raw("</td><td>").text(&death.kind).raw("</td><td>");
        match death.by.as_str() {
            "oom" => out.raw("<b class=\"bad\">the kernel: out of memory</b>"),
            "elsewhere" => out.raw("neither graceinit nor the kernel's OOM killer"),
            _ => out.raw("unknown: ").text(&death.why),
        };
        let sizes = [("limit", death.limit), ("peak", death.peak)];
        for (name, bytes) in sizes {
            if let Some(bytes) = bytes.filter(|_| death.by == "oom") {
                out.raw(", ").raw(name).raw(" ").text(size(bytes));
            }
        }
        out.raw("</td></tr>\n");
    }
    out.raw("</table></div>\n");
    more(out, account.deaths.len(), "processes");
    out.raw("</section>\n");
}

/// The section, if SIGKILL was sent.
pub(super) fn survivors(out: &mut Html, account: &Account) {
    let Some(killed) = &account.killed else { return };
    out.raw("<section id=\"survivors\"><h2>Still there when the budget ended</h2>\n<p>");
    out.raw(match killed.early {
        true => {
            "A second stop request ended the budget: SIGKILL was sent to everything that was left. "
        }
        false => "SIGKILL was sent to everything that was left. ",
    });
    out.raw(match killed.unkillable {
        true => "<b class=\"bad\">A process has not ended after it.</b> ",
        false => "",
    });
    out.raw(match (killed.unseen, account.survivors.is_empty()) {
        (true, _) => "There was no time to record the survivors.",
        (false, true) => "",
        (false, false) => "What each survivor was doing just before:",
    });
    out.raw("</p>\n");
    if !account.survivors.is_empty() {
        let columns =
            ["pid", "ppid", "command", "state", "waits in", "age", "threads", "connections"];
        table(out, "survivors", "Processes before SIGKILL", &columns);
        for survivor in first(&account.survivors) {
            row(out, survivor);
        }
        out.raw("</table></div>\n");
        more(out, account.survivors.len(), "processes");
    }
    if killed.more > 0 {
        out.raw("<p>And <b>").text(killed.more).raw("</b> more that are not named.</p>\n");
    }
    out.raw("</section>\n");
}

fn row(out: &mut Html, survivor: &Survivor) {
    out.raw("<tbody class=\"survivor\"><tr").attr("data-pid", survivor.pid).raw(">");
    out.raw("<td class=\"n\">").text(survivor.pid).raw("</td>");
    out.raw("<td class=\"n\">").text(survivor.ppid).raw("</td>");
    out.raw("<td><code>").text(&survivor.command).raw("</code></td>");
    out.raw("<td>").text(&survivor.state).raw("</td>");
    out.raw("<td class=\"n\"><code>").text(known(survivor).unwrap_or("–")).raw("</code></td>");
    out.raw("<td class=\"n\">").text(html::span(survivor.age)).raw("</td>");
    out.raw("<td class=\"n\">").text(survivor.threads).raw("</td><td class=\"n\">");
    match survivor.connections {
        Some(count) => out.text(count),
        None => out.raw("–"),
    };
    out.raw("</td></tr><tr class=\"means\"><td></td><td></td><td colspan=\"6\">");
    out.text(meaning(survivor));
    if !survivor.unread.is_empty() {
        out.raw(" <span class=\"dim\">(could not be read: ").text(&survivor.unread).raw(")</span>");
    }
    out.raw("</td></tr></tbody>\n");
}

/// The function that it waited in; the kernel writes 0 for a running process.
fn known(survivor: &Survivor) -> Option<&str> {
    survivor.wchan.as_deref().filter(|wchan| *wchan != "0")
}

/// The meaning of its state in a sentence.
fn meaning(survivor: &Survivor) -> String {
    let wchan = known(survivor).unwrap_or("");
    let waits = |names: &[&str]| names.iter().any(|name| wchan.contains(name));
    let what = match survivor.state.chars().next() {
        Some('D') => {
            "It slept in the kernel where no signal reaches it: most often a disk or a network file \
             system that does not answer."
        }
        Some('R') => "It was computing: it was busy, or in an endless loop.",
        Some('T' | 't') => {
            "It was stopped, by a signal or a debugger, and could not act on anything."
        }
        Some('Z') => "It had ended already, and its parent had not waited for it.",
        _ if waits(&["futex"]) => {
            "It waited for another thread: for a lock, or for a thread to end. A thread dump \
             (--diagnose) tells which."
        }
        _ if waits(&["epoll", "ep_poll", "poll_schedule", "do_poll", "do_sys_poll", "select"]) => {
            "It sat in its event loop: the stop signal did not reach it, was not handled, or \
             it waited for something else to happen."
        }
        _ if waits(&["do_wait", "wait_consider", "kernel_wait"]) => {
            "It waited for one of its children to end."
        }
        _ if waits(&["hrtimer"]) => "It slept until a time that it had set.",
        _ if waits(&["pipe_", "wait_for_partner", "fifo"]) => {
            "It waited for the other end of a pipe."
        }
        _ if waits(&["inet_csk_accept"]) => "It waited for new connections.",
        _ if waits(&["sk_wait", "wait_for_more_packets", "unix_stream", "tcp_", "recv"]) => {
            "It waited for the other end of a connection."
        }
        _ if waits(&["sigsuspend", "sigtimedwait", "do_pause", "__se_sys_pause"]) => {
            "It waited for a signal other than the one that it got."
        }
        _ if waits(&["lock", "flock", "locks_"]) => "It waited for a file lock.",
        _ => "It waited for something.",
    };
    let clients = match survivor.connections {
        Some(1) => " 1 connection to it was still open.".to_owned(),
        Some(count) if count > 1 => format!(" {count} connections to it were still open."),
        _ => String::new(),
    };
    format!("{what}{clients}")
}

/// The section of the processes of this moment, each below its parent.
pub(super) fn tree(out: &mut Html, account: &Account) {
    if account.processes.is_empty() {
        return;
    }
    out.raw("<section id=\"processes\"><h2>Processes</h2>\n");
    let columns = ["name", "pid", "ppid", "state", "age", "threads", "memory"];
    table(out, "tree", "The processes of this moment", &columns);
    out.raw("<tbody>\n");
    for (depth, process) in nested(first(&account.processes)) {
        out.raw("<tr").attr("data-pid", process.pid).raw("><td><span aria-hidden=\"true\">");
        // Deeper ones are not indented further, so that there is room for the name.
        for _ in 1..depth.min(12) {
            out.raw("<i class=\"step\"></i>");
        }
        out.raw(if depth > 0 { "<i class=\"branch\"></i>" } else { "" });
        out.raw("</span><code>").text(&process.name).raw("</code></td>");
        out.raw("<td class=\"n\">").text(process.pid).raw("</td>");
        out.raw("<td class=\"n\">").text(process.ppid).raw("</td>");
        out.raw("<td>").text(&process.state).raw("</td>");
        out.raw("<td class=\"n\">").text(html::span(process.age)).raw("</td>");
        out.raw("<td class=\"n\">").text(process.threads).raw("</td>");
        out.raw("<td class=\"n\">").text(html::bytes(process.rss)).raw("</td></tr>\n");
    }
    out.raw("</tbody></table></div>\n");
    more(out, account.processes.len(), "processes");
    out.raw("</section>\n");
}

/// Each process once, with its depth: first those whose parent is not among them. A ring, which only a forged report
/// has, has no such process: it comes last.
fn nested(processes: &[Process]) -> Vec<(usize, &Process)> {
    let pids: BTreeSet<i32> = processes.iter().map(|process| process.pid).collect();
    let mut children: BTreeMap<i32, Vec<&Process>> = BTreeMap::new();
    let mut roots = Vec::new();
    for process in processes {
        match pids.contains(&process.ppid) && process.ppid != process.pid {
            true => children.entry(process.ppid).or_default().push(process),
            false => roots.push(process),
        }
    }
    let mut order = Vec::with_capacity(processes.len().min(ROWS));
    let mut next: Vec<(usize, &Process)> = roots.into_iter().rev().map(|root| (0, root)).collect();
    loop {
        while let Some((depth, process)) = next.pop() {
            order.push((depth, process));
            // Removed, so that no process is there twice.
            let below = children.remove(&process.pid).unwrap_or_default();
            next.extend(below.into_iter().rev().map(|child| (depth + 1, child)));
        }
        match children.pop_first() {
            Some((_, ring)) => next.extend(ring.into_iter().rev().map(|process| (0, process))),
            None => return order,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, ppid: i32) -> Process {
        Process { pid, ppid, ..Process::default() }
    }

    #[test]
    fn children_stand_below_their_parents() {
        let processes =
            [process(7, 1), process(1, 0), process(9, 7), process(8, 1), process(10, 7)];
        let order: Vec<_> = nested(&processes).iter().map(|(depth, p)| (*depth, p.pid)).collect();
        assert_eq!(order, [(0, 1), (1, 7), (2, 9), (2, 10), (1, 8)]);
    }

    #[test]
    fn rings_and_doubles_are_shown_once() {
        let processes = [process(2, 3), process(3, 2), process(4, 4), process(4, 9), process(5, 4)];
        let mut pids: Vec<_> = nested(&processes).iter().map(|(_, process)| process.pid).collect();
        pids.sort_unstable();
        assert_eq!(pids, [2, 3, 4, 4, 5]);
    }
}
