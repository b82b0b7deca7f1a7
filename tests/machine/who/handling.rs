//! What a process does with a signal, and what its program's name says of it.

use graceinit::machine::who::{Manner, is_read_first};
use graceinit::types::process::{PipeEnd, Process, Unreadable};
use graceinit::types::{Signal, SignalSet, Status};

use super::scene::{BUDGET, Differs, Scene, end, process};

#[track_caller]
fn told(processes: Vec<Process>, log: &[&str]) {
    let mut scene = Scene::stop(processes);
    scene.until(BUDGET);
    assert_eq!(scene.log(), log);
}

#[test]
fn the_tree_is_read_before_shells_and_relays_are_asked() {
    for program in ["sh", "bash", "busybox", "timeout"] {
        assert!(is_read_first(program), "{program}");
    }
    for program in ["app", "tini", "sleep"] {
        assert!(!is_read_first(program), "{program}");
    }
}

#[test]
fn who_blocks_the_signal_waits_for_it_unless_it_is_a_shell() {
    let blocks =
        |program| process(3, 2, program).handling(|h| h.blocked = SignalSet::of(&[Signal::TERM]));
    let main = || process(2, 1, "app").catches();
    told(vec![main(), blocks("daemon")], &["5250: 3 TERM Patience"]);
    told(vec![main(), blocks("dash")], &["6300: 3 TERM Patience"]);
    // An init waits in sigtimedwait(2), which leaves no trace in /proc.
    told(vec![main(), process(3, 2, "tini")], &["5250: 3 TERM Patience"]);
    told(vec![main(), process(3, 2, "pool")], &["6300: 3 TERM Patience"]);
}

/// A reader that is fed is asked when it rests, any other when it had time to see the end of its input.
#[test]
fn a_reader_is_fed_by_the_pipe_that_it_reads() {
    let log = |reader: Process, feeds: u64| {
        let feeder = process(4, 2, "tee").reads(2).writes(feeds);
        let mut scene = Scene::stop(vec![process(2, 1, "dash"), reader, feeder]);
        scene.until(1_000).dies(2);
        scene.until(BUDGET);
        scene.log().join(", ")
    };
    let by_stdin = || process(3, 2, "tee").reads(1);
    let by_another = || process(3, 2, "bash").files(|files| files.pipes.push(end(1, true, false)));
    for reader in [by_stdin, by_another] {
        assert_eq!(log(reader(), 1), "1200: 3 TERM Reader, 2000: 4 TERM Reader");
        assert_eq!(log(reader(), 9), "2000: 3 TERM Reader, 2000: 4 TERM Reader");
    }
}

#[test]
fn a_file_as_standard_input_makes_no_reader() {
    let sorts = process(3, 2, "sort").reads(9).files(|files| {
        files.stdin.iter_mut().for_each(|stdin| stdin.pipe = false);
        files.pipes.clear();
    });
    let mut scene = Scene::stop(vec![process(2, 1, "dash"), sorts]);
    scene.until(5).dies(2);
    assert_eq!(scene.log(), ["5: 3 TERM Topmost"]);
    // Nor does graceinit's own standard input, by whichever descriptor.
    let own = PipeEnd { target: "/dev/null".into(), reads: true, writes: false };
    let inherits = process(3, 2, "app").files(|files| files.pipes.push(own));
    let mut scene = Scene::stop(vec![process(2, 1, "dash"), inherits]);
    scene.until(5).dies(2);
    assert_eq!(scene.log(), ["5: 3 TERM Topmost"]);
}

#[test]
fn an_orphan_is_left_to_the_ancestor_that_was_asked_and_lives() {
    let catches = |pid, parent| process(pid, parent, "app").catches();
    let mut scene = Scene::stop(vec![catches(2, 1), process(3, 2, "helper"), catches(4, 3)]);
    scene.until(100).exit(&[3]).look();
    scene.until(BUDGET);
    assert_eq!(scene.log(), ["5250: 4 TERM Patience"]);
}

/// Rule 7a: each of the three signs of a background job is enough, and timeout(1) makes a group of its own anyway.
#[test]
fn a_shell_does_not_wait_for_its_background_jobs() {
    let trap = || process(2, 1, "bash").catches();
    let app = |program| process(3, 2, program).catches();
    let alone = |process: Process| process.edit(|process| process.group = process.pid);
    let deaf = app("app").handling(|h| h.ignored = SignalSet::of(&[Signal::INT, Signal::QUIT]));
    let null = app("app").job().handling(|h| h.ignored = SignalSet::default());
    for background in [alone(app("app")), deaf, null] {
        told(vec![trap(), background], &["6300: 3 TERM Patience"]);
    }
    for foreground in [app("app"), alone(app("timeout"))] {
        told(vec![trap(), foreground], &["300: 3 TERM Foreground"]);
    }
}

#[test]
fn a_subshell_is_asked_early_only_for_a_handler_below_it() {
    let shells = [process(2, 1, "bash").catches(), process(3, 2, "bash")];
    // A job with a handler beside it is none below it.
    let keys = SignalSet::of(&[Signal::INT, Signal::QUIT]);
    let job = process(5, 2, "app").catches().handling(|h| h.ignored = keys);
    let tree = |below| shells.iter().cloned().chain([below, job.clone()]).collect();
    told(
        tree(process(4, 3, "batch")),
        &["3500: 3 TERM Foreground", "6300: 4 TERM Patience", "6300: 5 TERM Patience"],
    );
    told(
        tree(process(4, 3, "app").catches()),
        &["300: 3 TERM Foreground", "5250: 4 TERM Patience", "6300: 5 TERM Patience"],
    );
    // A program that waits for its child and does nothing else is like a subshell; a batch job is work.
    for (program, first) in
        [("flock", "300: 3 TERM Foreground"), ("batch", "3500: 3 TERM Foreground")]
    {
        let app = process(4, 3, "app").catches();
        let shell = shells[0].clone();
        told(vec![shell, process(3, 2, program), app], &[first, "5250: 4 TERM Patience"]);
    }
}

#[test]
fn a_reader_under_a_trap_is_asked_early_only_if_all_writers_are_known() {
    let tree =
        |reader: Process, other: Process| vec![process(2, 1, "bash").catches(), reader, other];
    let reader = || process(3, 2, "app").reads(7);
    let other = || process(4, 3, "pool");
    let hidden = other().edit(|process| process.files = Err(Unreadable));
    let log = ["300: 3 TERM Foreground", "6300: 4 TERM Patience"];
    told(tree(reader().catches(), other()), &log);
    let log = ["6300: 3 TERM Patience", "6300: 4 TERM Patience"];
    told(tree(reader().catches(), hidden), &log);
    told(tree(reader(), other()), &log);
}

#[test]
fn who_has_a_handler_and_blocks_the_signal_for_a_while_does_not_hand_it_down() {
    let blocks = |program| {
        process(2, 1, program).handling(|handling| {
            handling.blocked = SignalSet::of(&[Signal::TERM]);
            handling.pending = SignalSet::of(&[Signal::TERM]);
        })
    };
    let caught = blocks("app").handling(|h| h.caught = SignalSet::of(&[Signal::TERM]));
    for main in [caught, blocks("bash")] {
        told(vec![main, process(3, 2, "app").catches()], &["5250: 3 TERM Patience"]);
    }
    let log = ["300: 3 TERM HandedDown"];
    told(vec![blocks("unshare"), process(3, 2, "app").catches()], &log);
    assert_eq!(Scene::stop(vec![blocks("unshare")]).next(), None, "it has no child");
}

#[test]
fn what_an_earlier_reading_has_missed_is_not_taken_for_work_of_a_leftover() {
    let app = |pid, parent| process(pid, parent, "app").catches();
    let mut scene = Scene::stop(vec![process(2, 1, "dash"), app(3, 2)]);
    scene.until(500).dies(2);
    let started = app(4, 1).started;
    scene.until(600).starts(app(4, 1)).starts(app(5, 1));
    scene.change(4, |process| process.started = started).look();
    scene.until(BUDGET);
    assert_eq!(scene.log(), ["500: 3 TERM Topmost", "600: 4 TERM Topmost"]);
}

/// A child of a living process that was asked may be told TERM by it. Any other that ignores INT is sent TERM.
#[test]
fn term_is_sent_in_place_of_int_to_what_has_no_master() {
    let deaf = |pid, parent| process(pid, parent, "app").catches().ignores(&[Signal::INT]);
    let int = |main: Process, more: [Process; 2]| {
        let tree = std::iter::once(main).chain(more).collect();
        Scene::stop_with(Signal::INT, Manner::Auto, tree)
    };
    // Its parent ignores both.
    let keeper = process(3, 2, "keeper").ignores(&[Signal::INT, Signal::TERM]);
    let mut scene = int(process(2, 1, "dash"), [keeper, deaf(4, 3)]);
    scene.until(5).end(&[2], Status::Signal(Signal::INT));
    assert_eq!(scene.log(), ["5: 4 TERM HandedDown"]);
    // It has become an orphan, and the main process lives.
    let catches = |pid, parent, name| process(pid, parent, name).catches_all(&[Signal::INT]);
    let mut scene = int(catches(2, 1, "bash"), [catches(3, 2, "su"), deaf(4, 3)]);
    scene.until(400).exit(&[3]).look();
    assert_eq!(scene.log(), ["300: 3 INT Foreground", "400: 4 TERM Topmost"]);
    // Its parent has not told it until nearly the end of the budget.
    let mut scene = int(catches(2, 1, "app"), [catches(3, 2, "app"), deaf(4, 3)]);
    scene.until(BUDGET);
    assert_eq!(scene.log(), ["5250: 3 INT Patience", "6300: 4 TERM Patience"]);
}
