//! What the loop asks of a stop that goes on, and what is remembered of it.

use graceinit::machine::who::{Manner, Who};
use graceinit::types::process::Process;
use graceinit::types::{Pid, Signal, Status};

use super::scene::{BUDGET, Differs, at, process, tree};

fn begin(processes: Option<Vec<Process>>) -> Who {
    let tree = processes.map(|processes| tree(at(0), processes));
    let (end, main) = (Some(at(BUDGET)), (Pid(2), None));
    Who::begin(at(0), end, Manner::Auto, Signal::TERM, main, tree.as_ref())
}

#[test]
fn it_is_new_until_a_tree_was_read() {
    let app = || vec![process(2, 1, "app").catches()];
    assert!(!begin(Some(app())).is_new());
    let mut who = begin(None);
    assert!(who.is_new());
    who.look(at(10), &tree(at(10), app()));
    assert!(!who.is_new());
}

#[test]
fn an_end_is_awaited_of_those_that_were_asked_and_live() {
    let app = process(2, 1, "app").catches();
    assert!(!begin(None).awaits_an_end(), "none was asked");
    let mut who = begin(Some(vec![app.clone()]));
    assert!(who.awaits_an_end());
    who.ended(Pid(7), Status::Code(0));
    assert!(who.awaits_an_end(), "another process has ended");
    who.ended(Pid(2), Status::Code(0));
    assert!(!who.awaits_an_end());
    // Of a process that is no child of graceinit only a reading tells that it has ended.
    let mut who = begin(Some(vec![app]));
    who.look(at(20), &tree(at(20), Vec::new()));
    assert!(!who.awaits_an_end());
}

#[test]
fn what_has_gone_is_forgotten() {
    let main = || process(2, 1, "app").catches();
    let mut who = begin(Some(vec![main()]));
    let mut size = |n: u64| {
        let child = process(3, 2, "job").edit(|process| process.started += n);
        who.look(at(20 * n), &tree(at(20 * n), vec![main(), child]));
        format!("{who:?}").len()
    };
    let first = size(1);
    let last = (2..100).map(&mut size).last().unwrap();
    assert!(last < 2 * first, "{first} and {last} letters");
}
