//! Which pid plays which part. A pid is forgotten at the moment it is reaped: from then on the kernel
//! may give the number to a stranger.

use crate::machine::hooks::HookId;
use crate::types::Pid;

/// What a child is to graceinit. A child that is not in the table is a stray: an orphan that came
/// from below.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The app.
    App,
    /// An attempt of a hook.
    Hook(HookId),
    /// Looks who is still there.
    SurvivorScan,
    /// Makes or removes the ready file.
    ReadyFileWriter,
    /// Stood in the terminal's foreground while that was given up. Ends at once.
    TerminalHolder,
}

/// The children that graceinit started itself and that were not reaped.
#[derive(Debug, Default)]
pub struct Children(Vec<(Pid, Role)>);

impl Children {
    /// A new child.
    pub fn add(&mut self, pid: Pid, role: Role) {
        self.0.push((pid, role));
    }

    /// It was reaped.
    pub fn forget(&mut self, pid: Pid) {
        self.0.retain(|(known, _)| *known != pid);
    }

    /// The part of this pid; `None` for a stray.
    pub fn role(&self, pid: Pid) -> Option<Role> {
        self.0.iter().find(|(known, _)| *known == pid).map(|(_, role)| *role)
    }

    /// The pid of this part, while it is unreaped.
    pub fn pid(&self, role: Role) -> Option<Pid> {
        self.0.iter().find(|(_, known)| *known == role).map(|(pid, _)| *pid)
    }

    /// All pids.
    pub fn pids(&self) -> impl Iterator<Item = Pid> + '_ {
        self.0.iter().map(|(pid, _)| *pid)
    }

    /// The pids of all helpers of ours: everybody but the app.
    pub fn helpers(&self) -> Vec<Pid> {
        self.0.iter().filter(|(_, role)| *role != Role::App).map(|(pid, _)| *pid).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::hooks::HookPhase;

    #[test]
    fn a_reaped_pid_plays_no_part() {
        let hook = Role::Hook(HookId::first(HookPhase::OnStop, 0));
        let mut table = Children::default();
        table.add(Pid(7), Role::App);
        table.add(Pid(8), hook);
        assert_eq!((table.role(Pid(7)), table.pid(hook)), (Some(Role::App), Some(Pid(8))));
        assert_eq!(table.helpers(), [Pid(8)]);
        table.forget(Pid(8));
        assert_eq!((table.role(Pid(8)), table.pid(hook)), (None, None));
        assert_eq!(table.pids().collect::<Vec<_>>(), [Pid(7)]);
    }
}
