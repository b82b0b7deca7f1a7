//! The shapes of entry scripts and servers, one test for each kind. The budget is 7 s: half of it is over
//! at 3.5 s, the moments of patience are at 5.25 and 6.3 s.

use graceinit::machine::who::{Ended, Manner, Who, Why};
use graceinit::types::process::{Handling, Process, Unreadable};
use graceinit::types::{Pid, Signal, SignalSet, Status};

use super::scene::{BUDGET, Differs, Scene, at, end, process, tree};

/// An entry script without a trap.
fn sh() -> Process {
    process(2, 1, "dash")
}

/// An entry script with one.
fn trap() -> Process {
    process(2, 1, "bash").catches()
}

/// An entry script that ignores TERM.
fn deaf() -> Process {
    process(2, 1, "bash").ignores(&[Signal::TERM])
}

fn app(pid: i32, parent: i32) -> Process {
    process(pid, parent, "app").catches()
}

#[track_caller]
fn told(scene: &mut Scene, log: &[&str]) {
    scene.until(BUDGET);
    assert_eq!(scene.log(), log);
}

#[test]
fn a_plain_app_needs_no_further_look() {
    let scene = Scene::stop(vec![process(2, 1, "app").catches()]);
    assert_eq!((scene.log(), scene.next()), (vec![], None));
}

#[test]
fn trap_and_foreground_app_with_a_handler() {
    let mut scene = Scene::stop(vec![trap(), app(3, 2)]);
    scene.until(1_000).exit(&[3, 2]);
    told(&mut scene, &["300: 3 TERM Foreground"]);
    assert_eq!(scene.warned, ["Foreground: app"]);
}

#[test]
fn trap_and_foreground_sleep_or_tail() {
    // In Alpine Linux both are applets of busybox, as is the shell.
    for idler in ["sleep", "tail", "busybox"] {
        let name = process(3, 2, idler).titled(if idler == "busybox" { "sleep" } else { idler });
        let shell = process(2, 1, "busybox").catches().titled("entry");
        let mut scene = Scene::stop(vec![shell, name]);
        scene.until(400).exit(&[3, 2]);
        told(&mut scene, &["300: 3 TERM Foreground"]);
    }
}

#[test]
fn a_trap_that_forwards_and_waits_once() {
    let mut scene = Scene::stop(vec![trap(), app(3, 2).job()]);
    scene.change(3, |app| *app = app.clone().catches().edit(|p| p.parent = Pid(2)));
    // The trap has run at 20 ms: the app was told, and the shell is gone.
    scene.until(20).runs(3).exit(&[2]);
    scene.until(3_000).exit(&[3]);
    told(&mut scene, &[]);
}

#[test]
fn a_trap_that_has_told_its_job_and_a_job_that_has_not_run_yet() {
    let mut scene = Scene::stop(vec![trap(), app(3, 2)]);
    // Woken by the signal, but the processor is busy with others.
    scene.until(260).change(3, |app| app.activity.iter_mut().for_each(|a| a.busy = true));
    scene.exit(&[2]);
    told(&mut scene, &["3500: 3 TERM Topmost"]);
}

#[test]
fn a_trap_that_forgets_its_job() {
    let job = || process(3, 2, "app").job();
    let catching = |p: &mut Process| {
        *p = p.clone().handling(|h| h.caught = app(3, 2).handling.unwrap().caught)
    };
    // It has not run in a quarter of a second: it has heard nothing.
    let mut scene = Scene::stop(vec![trap(), job().edit(catching)]);
    scene.until(10).exit(&[2]);
    told(&mut scene, &["250: 3 TERM Topmost"]);
    // It runs all the time, so it may have heard.
    let mut scene = Scene::stop(vec![trap(), job().edit(catching)]);
    scene.until(10).runs(3).exit(&[2]);
    told(&mut scene, &["3500: 3 TERM Topmost"]);
    // Without a handler it would be gone.
    let mut scene = Scene::stop(vec![trap(), job()]);
    scene.until(10).exit(&[2]);
    told(&mut scene, &["10: 3 TERM Topmost"]);
}

#[test]
fn a_trap_that_waits_for_its_job() {
    let mut scene = Scene::stop(vec![trap(), process(3, 2, "app").job()]);
    scene.until(2_000).exit(&[3, 2]);
    told(&mut scene, &[]);
    assert!(scene.warned.is_empty());
}

#[test]
fn a_job_under_a_trap_is_asked_at_the_last_moment() {
    let mut scene = Scene::stop(vec![
        trap(),
        app(3, 2).handling(|h| h.ignored = process(0, 0, "").job().handling.unwrap().ignored),
    ]);
    told(&mut scene, &["6300: 3 TERM Patience"]);
    assert_eq!(scene.warned, ["Patience: app"]);
}

#[test]
fn a_child_of_a_shell_that_is_neither_job_nor_waited_for() {
    // Handlers for both keys, and an input of its own: what the shell did is not to be seen.
    let both = [Signal::TERM, Signal::INT, Signal::QUIT];
    let unknown = process(3, 2, "node").catches_all(&both).reads(9).files(|files| {
        files.stdin.iter_mut().for_each(|stdin| stdin.pipe = false);
        files.pipes.clear();
    });
    let mut scene = Scene::stop(vec![trap(), unknown]);
    told(&mut scene, &["5250: 3 TERM Patience"]);
    // The shell's own input: it is waited for.
    let mut scene = Scene::stop(vec![trap(), process(3, 2, "node").catches_all(&both)]);
    told(&mut scene, &["300: 3 TERM Foreground"]);
}

#[test]
fn trap_and_foreground_pool() {
    let pool = vec![trap(), app(3, 2), process(4, 3, "python"), process(5, 3, "python")];
    let mut scene = Scene::stop(pool);
    scene.until(1_000).exit(&[4, 5, 3, 2]);
    told(&mut scene, &["300: 3 TERM Foreground"]);
}

#[test]
fn trap_and_batch_job() {
    let mut scene = Scene::stop(vec![trap(), process(3, 2, "batch")]);
    scene.until(3_000).exit(&[3, 2]);
    told(&mut scene, &[]);
    let mut scene = Scene::stop(vec![trap(), process(3, 2, "batch")]);
    told(&mut scene, &["3500: 3 TERM Foreground"]);
}

#[test]
fn subshells_and_nested_shells_under_a_trap() {
    let mut scene = Scene::stop(vec![trap(), process(3, 2, "bash"), app(4, 3)]);
    scene.until(300).exit(&[3]);
    scene.until(310);
    // It is an orphan now, and graceinit is not told so: it comes with the next look.
    scene.until(800).exit(&[4, 2]);
    let log = scene.log();
    assert_eq!(log[0], "300: 3 TERM Foreground");
    assert!(log[1].ends_with(": 4 TERM Topmost"), "{log:?}");
    assert_eq!(log.len(), 2, "{log:?}");
    let mut scene = Scene::stop(vec![trap(), process(3, 2, "dash").catches(), app(4, 3)]);
    told(&mut scene, &["300: 3 TERM Foreground", "450: 4 TERM Foreground"]);
}

#[test]
fn sh_without_exec_and_npm() {
    for wrapper in ["dash", "node", "su"] {
        let mut scene = Scene::stop(vec![process(2, 1, wrapper), app(3, 2)]);
        scene.until(5).dies(2);
        assert_eq!(scene.log(), ["5: 3 TERM Topmost"]);
        let wrapper = Ended { pid: Pid(2), name: wrapper.into(), signal: Signal::TERM };
        assert_eq!(scene.asks[0].instead_of, Some(wrapper));
    }
    // It caught the signal and then ended by it, or left with a code: TERM did not end it.
    for (main, status) in [
        (app(2, 1), Status::Signal(Signal::TERM)),
        (sh(), Status::Code(143)),
        (sh(), Status::Signal(Signal::KILL)),
    ] {
        let mut scene = Scene::stop(vec![main, app(3, 2)]);
        scene.until(5).end(&[2], status);
        assert_eq!(scene.asks[0].instead_of, None);
    }
}

#[test]
fn a_pipeline_and_a_logger() {
    // `app | while read line`, then `app > >(tee)`.
    for (script, reader) in [(sh(), "bash"), (sh().writes(1), "tee")] {
        let tree = vec![script, app(3, 2).writes(1), process(4, 2, reader).reads(1)];
        let mut scene = Scene::stop(tree);
        scene.until(5).dies(2);
        scene.until(2_000).exit(&[3]);
        scene.until(2_100).exit(&[4]);
        told(&mut scene, &["5: 3 TERM Topmost"]);
    }
}

#[test]
fn a_reader_is_asked_when_it_has_read_everything() {
    let logger = |pid| process(pid, 2, "tee").reads(1);
    let after_app = |logger: Process| {
        let mut scene = Scene::stop(vec![sh().writes(1), logger]);
        scene.until(1_000).dies(2);
        scene
    };
    // It has seen the end of its input, and hangs.
    told(&mut after_app(logger(3)), &["2000: 3 TERM Reader"]);
    // It waits for more: it holds the other end itself.
    told(&mut after_app(logger(3).writes(1)), &["1200: 3 TERM Reader"]);
    // The last line is not read yet.
    let mut scene = after_app(logger(3).writes(1));
    scene.runs(3).until(1_100).runs(3);
    told(&mut scene, &["1420: 3 TERM Reader"]);
    // It has work to do all the time.
    let never_rests =
        |reader: Process| reader.edit(|p| p.activity.iter_mut().for_each(|a| a.busy = true));
    told(&mut after_app(never_rests(logger(3))), &["3500: 3 TERM Reader"]);
    told(&mut after_app(never_rests(logger(3).catches())), &["2000: 3 TERM Reader"]);
    // The app takes more than half of the budget: the reader gets its second all the same.
    let mut scene = Scene::stop(vec![sh().writes(1), logger(3)]);
    scene.until(5_000).dies(2);
    told(&mut scene, &["6000: 3 TERM Reader"]);
}

#[test]
fn readers_by_another_descriptor() {
    let with = |process: Process, reads, writes| {
        process.files(|files| files.pipes.push(end(5, reads, writes)))
    };
    let at_once = |process: Process| {
        let mut scene = Scene::stop(vec![sh(), process]);
        scene.until(5).dies(2);
        !scene.log().is_empty()
    };
    assert!(!at_once(with(process(3, 2, "bash"), true, false)));
    // A pipe of its own, as a server wakes itself up with.
    assert!(at_once(with(with(process(3, 2, "app"), true, false), false, true)));
    // With a handler it is asked like others.
    assert!(at_once(with(app(3, 2), true, false)));
    // The standard input of the container: `docker run -i`.
    assert!(at_once(process(3, 2, "cat").files(|files| {
        files.stdin = tree(at(0), Vec::new())
            .stdin
            .map(|stdin| graceinit::types::process::Opened { pipe: true, ..stdin });
    })));
}

#[test]
fn what_is_hidden() {
    // gosu: the files of another user's process. Without a handler it may be a reader.
    let hidden = |process: Process| process.edit(|process| process.files = Err(Unreadable));
    let mut scene = Scene::stop(vec![sh(), hidden(process(3, 2, "app"))]);
    scene.until(5).dies(2);
    told(&mut scene, &["1005: 3 TERM Reader"]);
    let mut scene = Scene::stop(vec![sh(), hidden(app(3, 2))]);
    scene.until(5).dies(2);
    told(&mut scene, &["5: 3 TERM Topmost"]);
    // Not even its masks: it is not asked too early.
    let mut scene = Scene::stop(vec![
        process(2, 1, "app").catches(),
        hidden(process(3, 2, "app")).edit(|p| p.handling = None),
    ]);
    told(&mut scene, &["5250: 3 TERM Patience"]);
}

#[test]
fn who_ignores_hands_down() {
    // mysqld_safe; `trap '' TERM` with `> >(tee)`.
    let mut scene =
        Scene::stop(vec![deaf().writes(1), app(3, 2).writes(1), process(4, 2, "tee").reads(1)]);
    scene.until(700).exit(&[3]);
    // A loop starts the next one.
    scene.starts(app(5, 2));
    scene.until(2_000).exit(&[5, 2]);
    scene.until(2_050).exit(&[4]);
    let log = scene.log();
    assert_eq!((log[0], log.len()), ("0: 3 TERM HandedDown", 2), "{log:?}");
    assert!(log[1].ends_with(": 5 TERM HandedDown"), "{log:?}");
}

#[test]
fn who_blocks_the_signal_and_does_not_take_it_hands_it_down() {
    let blocks = |pending: &'static [Signal]| {
        process(2, 1, "unshare").handling(|handling| {
            handling.blocked = SignalSet::of(&[Signal::TERM, Signal::INT]);
            handling.pending = SignalSet::of(pending);
        })
    };
    // Told before the signal is there, so another look shows whether it was taken.
    let mut scene = Scene::stop(vec![blocks(&[]), app(3, 2)]);
    scene.change(2, |main| *main = blocks(&[Signal::TERM])).until(1_000).exit(&[3, 2]);
    told(&mut scene, &["300: 3 TERM HandedDown"]);
    // sigwait(3): taken at once, and handled by the process itself.
    let mut scene = Scene::stop(vec![blocks(&[]), app(3, 2)]);
    scene.until(1_000).exit(&[3, 2]);
    told(&mut scene, &[]);
}

#[test]
fn a_trap_that_ignores_while_it_runs_does_not_hand_down() {
    // `trap 'trap "" TERM; kill 0; wait' TERM`
    let mut scene = Scene::stop(vec![trap(), app(3, 2).edit(|p| p.group = Pid(3))]);
    scene.until(10).change(2, |shell| *shell = deaf()).runs(3);
    scene.until(200).look();
    assert_eq!(scene.log(), Vec::<&str>::new());
}

#[test]
fn winch_reaches_httpd_through_its_script() {
    let httpd = process(3, 2, "httpd").catches_all(&[Signal::WINCH, Signal::TERM]);
    let workers = process(4, 3, "httpd").catches_all(&[Signal::WINCH, Signal::TERM]);
    let mut scene = Scene::stop_with(
        Signal::WINCH,
        Manner::Auto,
        vec![sh(), process(5, 2, "sleep"), httpd, workers],
    );
    scene.until(100);
    assert_eq!(scene.log(), ["0: 3 WINCH HandedDown"]);
}

#[test]
fn a_master_keeps_its_workers() {
    // celery behind sh, and detached with `tail -f /dev/null`.
    let celery = |parent| {
        let pool = process(4, 3, "python");
        vec![sh(), app(3, parent), pool.clone(), Process { pid: Pid(5), ..pool }]
    };
    let mut scene = Scene::stop(celery(2));
    scene.until(5).dies(2);
    scene.until(5_000).exit(&[4, 5, 3]);
    told(&mut scene, &["5: 3 TERM Topmost"]);
    let mut scene = Scene::stop(celery(1));
    assert_eq!(scene.log(), Vec::<&str>::new());
    scene.until(5).dies(2);
    scene.until(5_000).exit(&[4, 5, 3]);
    told(&mut scene, &["5: 3 TERM Topmost"]);
}

#[test]
fn a_supervisor_in_a_session_of_its_own() {
    let runsvdir = process(3, 2, "runsvdir")
        .catches_all(&[Signal::TERM, Signal::HUP])
        .edit(|p| p.group = Pid(3));
    let service = app(5, 4).edit(|p| p.group = Pid(4));
    let mut scene = Scene::stop(vec![sh(), runsvdir, process(4, 3, "runsv").catches(), service]);
    scene.until(5).dies(2);
    scene.until(1_000).exit(&[5, 4, 3]);
    told(&mut scene, &["5: 3 TERM Topmost"]);
}

#[test]
fn a_tunnel_beside_a_slow_app() {
    // `tail -F log & exec app`
    let mut scene = Scene::stop(vec![app(2, 1), process(3, 2, "tail").job()]);
    scene.until(6_000).exit(&[2]);
    told(&mut scene, &["6000: 3 TERM Topmost"]);
}

#[test]
fn a_main_process_that_tells_none_of_its_children() {
    // python that only sets a flag, perl's system()
    let mut scene = Scene::stop(vec![app(2, 1), app(3, 2)]);
    scene.until(5_950).exit(&[3, 2]);
    told(&mut scene, &["5250: 3 TERM Patience"]);
    assert_eq!(scene.warned, ["Patience: app"]);
    // `--scope main` switches patience off; what is left is asked in every scope.
    for patience in [false, true] {
        let manner = Manner::Leftovers { patience };
        let mut scene =
            Scene::stop_with(Signal::TERM, manner, vec![app(2, 1), app(3, 2), app(4, 3)]);
        assert_eq!(scene.next(), None);
        scene.until(5_500).exit(&[2]);
        let log: &[&str] = match patience {
            false => &["5500: 3 TERM Topmost"],
            true => &["5500: 3 TERM Topmost", "6300: 4 TERM Patience"],
        };
        told(&mut scene, log);
    }
}

#[test]
fn patience_is_for_the_topmost_first() {
    let mut scene = Scene::stop(vec![app(2, 1), app(3, 2), app(4, 3), process(5, 2, "pool")]);
    scene.until(1_000).starts(app(6, 2)).starts(process(7, 2, "young"));
    told(
        &mut scene,
        &[
            "5250: 3 TERM Patience",
            "6300: 4 TERM Patience",
            "6300: 5 TERM Patience",
            "6300: 7 TERM Patience",
        ],
    );
    assert_eq!(scene.warned, ["Patience: app"]);
}

#[test]
fn patience_counts_from_the_end_of_a_long_budget() {
    let tree = tree(at(0), vec![app(2, 1), app(3, 2), process(4, 2, "pool")]);
    let begin = |seconds: u64| {
        let (end, main) = (Some(at(seconds * 1_000)), (Pid(2), None));
        Who::begin(at(0), end, Manner::Auto, Signal::TERM, main, Some(&tree))
    };
    let mut who = begin(30);
    assert_eq!(who.look(at(0), &tree).next, Some(at(27_000)));
    assert_eq!(who.look(at(27_000), &tree).next, Some(at(29_000)));
    // The app asks for more time.
    let mut who = begin(30);
    who.set_budget(at(0), Some(at(60_000)));
    assert_eq!(who.look(at(27_000), &tree).next, Some(at(57_000)));
}

#[test]
fn int_and_then_term() {
    // GitHub Actions, Fly. The app saves on TERM only; its script has a trap for that.
    let app = process(2, 1, "bash").catches().ignores(&[Signal::INT]);
    let loops = process(3, 2, "sleep").ignores(&[Signal::INT]);
    let mut scene = Scene::stop_with(Signal::INT, Manner::Auto, vec![app, loops]);
    scene.until(1_000).escalate(Signal::TERM);
    assert_eq!(scene.log(), ["1000: 2 TERM Again"]);
    scene.escalate(Signal::TERM);
    scene.until(1_400);
    assert_eq!(scene.log(), ["1000: 2 TERM Again", "1300: 3 TERM Foreground"]);
}

#[test]
fn a_leftover_that_ignores_the_signal_is_sent_term() {
    // A job of a shell ignores INT; nginx's image stops with QUIT.
    for signal in [Signal::INT, Signal::QUIT] {
        let mut scene =
            Scene::stop_with(signal, Manner::Auto, vec![sh(), process(3, 2, "app").job()]);
        scene.until(5).end(&[2], Status::Signal(signal));
        assert_eq!(scene.log(), ["5: 3 TERM Topmost"]);
        // It has had its TERM.
        scene.until(100).escalate(Signal::TERM);
        assert_eq!(scene.log(), ["5: 3 TERM Topmost"]);
    }
    // Nor does a trap's TERM come twice.
    let job = process(3, 2, "app")
        .catches()
        .handling(|h| h.ignored = process(0, 0, "").job().handling.unwrap().ignored);
    let shell = process(2, 1, "bash").catches_all(&[Signal::INT]);
    let mut scene = Scene::stop_with(Signal::INT, Manner::Auto, vec![shell, job]);
    scene.until(20).runs(3).exit(&[2]);
    told(&mut scene, &["3500: 3 TERM Topmost"]);
    // Deaf to both: its children are asked.
    let deaf = process(3, 2, "mysqld_safe").ignores(&[Signal::TERM, Signal::INT]);
    let mut scene = Scene::stop_with(
        Signal::INT,
        Manner::Auto,
        vec![sh(), deaf, process(4, 3, "mysqld").catches()],
    );
    scene.until(5).end(&[2], Status::Signal(Signal::INT));
    assert_eq!(scene.log(), ["5: 4 INT HandedDown"]);
}

#[test]
fn what_a_leftover_starts_is_not_cut_off() {
    let mut scene = Scene::stop(vec![sh(), app(3, 2)]);
    scene.until(5).dies(2);
    scene.until(500).starts(process(4, 3, "sync")).starts(app(5, 3)).exit(&[3]);
    told(&mut scene, &["5: 3 TERM Topmost"]);
    // What the main process has started last is asked with the others.
    let mut scene = Scene::stop(vec![app(2, 1)]);
    scene.until(500).starts(app(3, 2));
    scene.until(600).exit(&[2]);
    assert_eq!(scene.log(), ["600: 3 TERM Topmost"]);
}

#[test]
fn a_young_process_may_still_become_a_reader() {
    let mut scene = Scene::stop(vec![sh()]);
    scene.until(500).starts(process(3, 2, "bash")).starts(app(4, 2));
    scene.until(550).dies(2);
    assert_eq!(scene.log(), ["550: 4 TERM Topmost"]);
    scene.until(700);
    assert_eq!(scene.log(), ["550: 4 TERM Topmost", "700: 3 TERM Topmost"]);
    // What executes another program than a shell has been redirected by then.
    let mut scene = Scene::stop(vec![sh()]);
    scene.until(500).starts(process(3, 2, "bash")).starts(process(4, 2, "cp"));
    scene.until(550).dies(2);
    assert_eq!(scene.log(), ["550: 4 TERM Topmost"]);
}

#[test]
fn a_reused_pid_is_another_process() {
    let mut scene = Scene::stop(vec![deaf(), app(3, 2)]);
    let first = scene.ids();
    scene.until(100).exit(&[3]);
    scene.starts(app(3, 2)).look();
    assert_eq!(scene.log(), ["0: 3 TERM HandedDown", "100: 3 TERM HandedDown"]);
    assert_ne!(first, scene.ids());
}

#[test]
fn an_app_that_has_ended_by_itself() {
    let orphans = vec![app(3, 1), process(4, 3, "pool"), app(5, 1)];
    let mut who = Who::leftovers(at(0), Some(at(BUDGET)), true, Signal::TERM);
    who.mark_asked(at(0), &tree(at(0), orphans.clone()), |process| process.pid == Pid(5));
    let answer = who.look(at(0), &tree(at(0), orphans));
    let asked: Vec<(i32, Why)> = answer.asks.iter().map(|ask| (ask.id.0.0, ask.why)).collect();
    assert_eq!(asked, [(3, Why::Topmost)]);
}

#[test]
fn a_reading_that_is_torn_is_made_again() {
    // The parent ended while the tree was read, and the child still names it.
    let mut scene = Scene::stop(vec![app(2, 1), app(4, 3)]);
    assert_eq!(scene.next(), Some(at(20)));
    assert_eq!(scene.log(), Vec::<&str>::new());
    scene.change(4, |process| process.parent = Pid(2)).until(20);
    assert_eq!(scene.next(), Some(at(5_250)));
}

#[test]
fn without_proc_the_rest_is_asked_at_the_first_moment() {
    let begin =
        |manner| Who::begin(at(0), Some(at(BUDGET)), manner, Signal::TERM, (Pid(2), None), None);
    let mut who = begin(Manner::Auto);
    assert_eq!(who.without_proc(at(10), true), (None, Some(at(5_250))));
    assert_eq!(who.without_proc(at(5_250), true), (Some(Signal::TERM), None));
    assert_eq!(who.without_proc(at(5_300), true), (None, None));
    let mut who = begin(Manner::Leftovers { patience: false });
    assert_eq!(who.without_proc(at(6_000), true), (None, None));
    assert_eq!(who.without_proc(at(6_010), false), (Some(Signal::TERM), None));
}

#[test]
fn what_ignores_the_signal_only_since_it_came_has_passed_it_on() {
    let deaf = process(2, 1, "supervisor").ignores(&[Signal::TERM]);
    let tree = vec![deaf.clone(), app(3, 2)];
    let before = Handling { caught: SignalSet::of(&[Signal::TERM]), ..Handling::default() };
    let mut scene = Scene::begun(Signal::TERM, Manner::Auto, Some(before), tree.clone());
    scene.until(5_000).exit(&[3, 2]);
    told(&mut scene, &[]);
    let scene = Scene::begun(Signal::TERM, Manner::Auto, deaf.handling, tree);
    assert_eq!(scene.log(), ["0: 3 TERM HandedDown"], "one that has ignored it all along");
}

#[test]
fn timeout_may_have_told_its_whole_group() {
    let tree = || vec![process(2, 1, "timeout").catches(), process(3, 2, "dash"), app(4, 3)];
    let mut scene = Scene::stop(tree());
    scene.until(10).runs(4).exit(&[3, 2]);
    scene.until(3_000).exit(&[4]);
    told(&mut scene, &[]);
    let mut scene = Scene::stop(tree());
    scene.until(10).exit(&[3, 2]);
    scene.until(1_000).exit(&[4]);
    told(&mut scene, &["250: 4 TERM Topmost"]);
}

#[test]
fn an_app_that_ignores_int_by_itself_is_no_job() {
    let shell = process(2, 1, "bash").catches_all(&[Signal::INT, Signal::TERM]);
    let shell = shell.ignores(&[Signal::QUIT]);
    let tree = vec![shell, app(3, 2).ignores(&[Signal::INT])];
    let mut scene = Scene::stop_with(Signal::INT, Manner::Auto, tree);
    scene.until(1_000).escalate(Signal::TERM);
    scene.until(2_000).exit(&[3, 2]);
    told(&mut scene, &["1000: 2 TERM Again", "1300: 3 TERM Foreground"]);
}

#[test]
fn a_program_that_may_not_be_read_may_have_been_a_shell() {
    let hidden = process(2, 1, "entry").catches().edit(|p| p.files = Err(Unreadable));
    let mut scene = Scene::stop(vec![hidden, app(3, 2)]);
    scene.until(10).runs(3).exit(&[2]);
    scene.until(3_000).exit(&[3]);
    told(&mut scene, &[]);
}

/// It was found to be no shell before it was asked; in the first reading it is about to exit.
#[test]
fn an_app_that_exits_while_the_tree_is_read_was_no_shell() {
    let exiting = process(2, 1, "python3").catches().edit(|p| p.files = Err(Unreadable));
    let before = exiting.handling;
    let tree = vec![exiting, app(3, 2)];
    let mut scene = Scene::begun(Signal::TERM, Manner::Auto, before, tree);
    scene.until(10).runs(3).exit(&[2]);
    scene.until(3_000).exit(&[3]);
    told(&mut scene, &["10: 3 TERM Topmost"]);
}

#[test]
fn a_here_document_makes_no_reader_of_a_pipeline() {
    let mut scene = Scene::stop(vec![trap(), app(3, 2).reads(7)]);
    scene.until(1_000).exit(&[3, 2]);
    told(&mut scene, &["300: 3 TERM Foreground"]);
    // In a pipeline it reads on until the app has ended, and rests.
    let tree = vec![trap(), app(3, 2).writes(7), app(4, 2).reads(7)];
    let mut scene = Scene::stop(tree);
    scene.until(1_000).runs(4).exit(&[3]);
    scene.until(2_000).exit(&[4, 2]);
    told(&mut scene, &["300: 3 TERM Foreground", "1300: 4 TERM Foreground"]);
}
