//! The short form: every shape under graceinit as it is without a flag. What counts is whether the work was saved
//! and the app asked once, never a time.

use std::collections::BTreeSet;

use super::run::{self, Cell, Runner};
use super::{UNTOLD, all};
use crate::support::{Fault, Outcome};
use crate::{ensure, ensure_eq};

/// A shape under an init; `None` where it cannot be tried.
fn cell(id: &str, init: Runner) -> Outcome<Option<Cell>> {
    let shape = all().find(|shape| shape.id == id);
    let shape = shape.ok_or_else(|| Fault::new(format!("no shape {id}")))?;
    run::possible(shape, init).then(|| run::run(shape, init, None)).transpose()
}

/// The work was saved, the app asked once (where that can be seen), and nothing had to be killed.
fn saves(id: &str, init: Runner) -> Outcome {
    let Some(cell) = cell(id, init)? else { return Ok(()) };
    ensure!(cell.saved, "the work is lost: {cell:?}");
    ensure_eq!(cell.asked.unwrap_or(1), 1, "how often the app was asked");
    ensure!(!cell.killed, "something had to be killed: {cell:?}");
    Ok(())
}

/// The work is lost: else the shape would prove nothing.
fn loses(id: &str, init: Runner) -> Outcome {
    let Some(cell) = cell(id, init)? else { return Ok(()) };
    ensure!(!cell.saved, "the work is saved: {cell:?}");
    Ok(())
}

/// A test for each shape.
macro_rules! shapes {
    ($($shape:ident)*) => {
        mod graceinit {
            use super::{Runner, Outcome, saves};

            $(
                #[test]
                fn $shape() -> Outcome {
                    saves(stringify!($shape), Runner::Graceinit)
                }
            )*
        }

        const TESTED: &[&str] = &[$(stringify!($shape)),*];
    };
}

shapes! {
        trap_and_foreground_app busybox_trap_and_foreground_app trap_in_nested_shells
        trap_and_tail trap_and_sleep trap_deregisters trap_and_node trap_and_java
        trap_and_nginx trap_and_gunicorn ignored_and_a_loop mysqld_safe sh_c_without_exec
        wait_n background_app_and_tail daemonised_workers gunicorn_behind_sh
        tail_before_the_app nginx_and_a_reload_loop python_that_sets_a_flag perl_system su gosu
        trap_and_setpriv unreadable_trap_and_foreground_app npm xvfb_run unshare_fork strace supervisord pm2_runtime plain node
        java gunicorn apache2ctl postfix cron sshd
        trap_forwards_one_wait trap_forwards_two_waits trap_forwards_late
        wait_n_trap_forwards_to_all trap_waits_for_its_job trap_and_batch_job trap_and_pool
        app_to_while_read app_to_tee app_to_awk trap_and_a_pipeline exec_to_tee_and_a_trap
        exec_to_tee_and_exec exec_to_tee_and_ignored app_to_fifo long_drain_to_tee
        supervisor_in_its_own_session pool_behind_sh celery_behind_sh celery_detached runsvdir
        tunnel_beside_the_app int_and_then_term sudo uv pm2_runtime_cluster pool celery
        gunicorn_hup varnishd unreadable_app_to_while_read
        unreadable_exec_to_tee_and_exec unreadable_exec_to_tee_and_ignored
        unreadable_trap_forwards_one_wait timeout timeout_and_a_job flock
        trap_and_app_that_ignores_int trap_and_here_document trap_and_tini
        trap_and_reader_with_a_handler int_and_a_leftover trap_and_app_behind_a_pipe
        trap_and_flock trap_and_timeout
}

#[test]
fn every_shape_has_a_test() {
    let tested: BTreeSet<&str> = TESTED.iter().copied().chain([UNTOLD]).collect();
    let shapes: BTreeSet<&str> = all().map(|shape| shape.id).collect();
    assert_eq!(tested, shapes);
    assert_eq!(all().count(), shapes.len(), "a name is there twice");
}

/// The one that no rule can tell from another: a second TERM comes when most of the budget is gone.
#[test]
fn a_supervisor_with_a_long_drain_needs_scope_main() -> Outcome {
    saves(UNTOLD, Runner::Main)
}

/// What the shapes are about: each of the others loses some of them.
mod others {
    use super::{Outcome, Runner, loses};

    #[test]
    fn tini_does_not_reach_what_a_shell_with_a_trap_waits_for() -> Outcome {
        loses("trap_and_foreground_app", Runner::Tini)
    }

    #[test]
    fn catatonit_leaves_with_a_shell_that_does_not_exec() -> Outcome {
        loses("sh_c_without_exec", Runner::Catatonit)
    }

    #[test]
    fn dumb_init_asks_what_the_trap_asks_too() -> Outcome {
        loses("trap_forwards_two_waits", Runner::DumbInit)
    }

    #[test]
    fn dumb_init_ends_the_tunnel_before_the_app() -> Outcome {
        loses("tunnel_beside_the_app", Runner::DumbInit)
    }

    #[test]
    fn the_group_loses_the_reader_of_the_apps_output() -> Outcome {
        loses("exec_to_tee_and_exec", Runner::Group)
    }

    #[test]
    fn the_main_process_alone_may_be_a_shell_that_ignores_the_signal() -> Outcome {
        loses("ignored_and_a_loop", Runner::Main)
    }
}
