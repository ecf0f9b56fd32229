//! What the kernel and its children take, and their end.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sysinfo::{MemoryRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate, RefreshKind, System};

/// How long children that have been asked to end may take.
const GRACE: Duration = Duration::from_millis(400);

/// Remembers the times of the last question: shares of processors are since then.
pub(crate) struct Usage {
    system: System,
}

impl Usage {
    pub(crate) fn new() -> Self {
        // By default it keeps a file open for each process of the machine.
        sysinfo::set_open_files_limit(0);
        Self {
            system: System::new_with_specifics(RefreshKind::nothing()),
        }
    }

    /// The content of a `usage_reply`, as ipykernel's.
    pub(crate) fn reply(&mut self) -> Value {
        let kinds = ProcessRefreshKind::nothing()
            .with_cpu()
            .with_memory()
            .without_tasks();
        let system = &mut self.system;
        system.refresh_processes_specifics(ProcessesToUpdate::All, true, kinds);
        system.refresh_cpu_usage();
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        let own = Pid::from_u32(std::process::id());
        let mut ours = descendants(system, own);
        ours.push(own);
        let ours = ours.iter().filter_map(|pid| system.process(*pid));
        let (cpu, memory) = ours.fold((0.0, 0), |(cpu, memory), process| {
            (cpu + process.cpu_usage(), memory + process.memory())
        });
        let (total, available) = (system.total_memory(), system.available_memory());
        json!({
            "status": "ok",
            "hostname": System::host_name(),
            "pid": std::process::id(),
            "kernel_cpu": cpu,
            "kernel_memory": memory,
            "cpu_count": system.cpus().len(),
            "host_cpu_percent": system.global_cpu_usage(),
            "host_virtual_memory": {
                "total": total,
                "available": available,
                "percent": 100.0 * (1.0 - available as f64 / total.max(1) as f64),
                "used": system.used_memory(),
                "free": system.free_memory(),
            },
        })
    }
}

/// Ends all that this process has started, also what left its group: asks, and
/// kills who is still there.
pub(crate) fn end_children() {
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

/// Running processes below `root`. The dead are not counted.
fn descendants(system: &System, root: Pid) -> Vec<Pid> {
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
