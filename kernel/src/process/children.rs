//! The child processes that this process has started, and their end.

use std::time::{Duration, Instant};

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, RefreshKind, System};

/// Time for child processes to end after they were asked to.
const GRACE: Duration = Duration::from_millis(400);

/// Ends all child processes, even those that left our process group: asks them,
/// and then kills those that are left.
pub(super) fn end_children() {
    let own = Pid::from_u32(std::process::id());
    let mut system = System::new_with_specifics(RefreshKind::nothing());
    let mut found = |signal: libc::c_int| {
        let kinds = ProcessRefreshKind::nothing().without_tasks();
        system.refresh_processes_specifics(ProcessesToUpdate::All, true, kinds);
        let children = descendants(&system, own);
        for child in &children {
            // SAFETY: a plain system call.
            unsafe { libc::kill(child.as_u32() as libc::pid_t, signal) };
        }
        children.len()
    };
    let end = Instant::now() + GRACE;
    let mut left = found(libc::SIGTERM);
    while left > 0 && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
        left = found(0);
    }
    if left > 0 {
        found(libc::SIGKILL);
    }
}

/// Running processes below `root`; dead ones are not counted.
pub(super) fn descendants(system: &System, root: Pid) -> Vec<Pid> {
    let mut found = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for (pid, process) in system.processes() {
            let dead = process.status() == sysinfo::ProcessStatus::Zombie;
            if process.parent() == Some(parent) && !dead {
                found.push(*pid);
                parents.push(*pid);
            }
        }
    }
    found
}
