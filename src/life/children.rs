//! Which pid has which role. A pid is forgotten at the moment it is reaped: from then on the kernel may give the
//! number to another process.

use crate::machine::hooks::HookId;
use crate::types::Pid;

/// The role of a child. A child without one is an orphan that was reparented to graceinit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The app.
    App,
    /// An attempt of a hook.
    Hook(HookId),
    /// Records the processes that are still there (`survivors`).
    SurvivorScan,
    /// Sends signals as another user (`deputy`).
    Deputy,
    /// Was in the terminal's foreground while graceinit gave the terminal up. Ends at once.
    TerminalHolder,
}

/// The children that graceinit started itself and has not reaped.
#[derive(Debug, Default)]
pub struct Children(Vec<(Pid, Role)>);

impl Children {
    /// Adds a child that was started.
    pub fn add(&mut self, pid: Pid, role: Role) {
        self.0.push((pid, role));
    }

    /// Removes a child that was reaped.
    pub fn forget(&mut self, pid: Pid) {
        self.0.retain(|(known, _)| *known != pid);
    }

    /// The role of `pid`; `None` for an orphan.
    pub fn role(&self, pid: Pid) -> Option<Role> {
        self.0.iter().find(|(known, _)| *known == pid).map(|(_, role)| *role)
    }

    /// The pid of the child with this role.
    pub fn pid(&self, role: Role) -> Option<Pid> {
        self.0.iter().find(|(_, known)| *known == role).map(|(pid, _)| *pid)
    }

    /// All pids.
    pub fn pids(&self) -> impl Iterator<Item = Pid> + '_ {
        self.0.iter().map(|(pid, _)| *pid)
    }

    /// The pids of all children but the app.
    pub fn except_app(&self) -> impl Iterator<Item = Pid> + '_ {
        self.0.iter().filter(|(_, role)| *role != Role::App).map(|(pid, _)| *pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::hooks::HookPhase;

    #[test]
    fn a_child_is_known_until_it_is_forgotten() {
        let hook = Role::Hook(HookId::first(HookPhase::OnStop, 0));
        let mut children = Children::default();
        children.add(Pid(7), Role::App);
        children.add(Pid(8), hook);
        assert_eq!((children.role(Pid(7)), children.pid(hook)), (Some(Role::App), Some(Pid(8))));
        assert_eq!(children.except_app().collect::<Vec<_>>(), [Pid(8)]);
        children.forget(Pid(8));
        assert_eq!((children.role(Pid(8)), children.pid(hook)), (None, None));
        assert_eq!(children.pids().collect::<Vec<_>>(), [Pid(7)]);
    }
}
