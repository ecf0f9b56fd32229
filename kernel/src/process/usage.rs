//! CPU and memory usage of this process and its children.

use serde_json::{Value, json};
use sysinfo::{MemoryRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate, RefreshKind, System};

use super::children::descendants;

/// Remembers CPU times, because CPU usage is measured since the last request.
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

    /// The content of a `usage_reply`, with ipykernel's fields.
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
