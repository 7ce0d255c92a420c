//! The process itself, under the names that Prometheus' own libraries use.

use std::fs;

use jiff::Timestamp;

use super::exposition::{Description, Exposition, Kind};

/// What the system does not tell is left out.
pub(super) fn write(started: Timestamp, page: &mut Exposition) {
    let build = Description {
        name: "association_archiver_build_info",
        kind: Kind::Gauge,
        help: "1, with the version that runs.",
        labels: &["version"],
    };
    page.family(build).sample(&[env!("CARGO_PKG_VERSION")], 1);
    let mut metric = |name, kind, help, value: Option<f64>| {
        let mut family = page.family(Description { name, kind, help, labels: &[] });
        if let Some(value) = value {
            family.sample(&[], value);
        }
    };
    let began = started.as_millisecond() as f64 / 1e3;
    metric("process_start_time_seconds", Kind::Gauge, "Unix time at which the process began.", Some(began));
    metric("process_cpu_seconds_total", Kind::Counter, "Processor time used.", cpu_seconds());
    metric("process_resident_memory_bytes", Kind::Gauge, "Memory in use.", resident_bytes());
    metric("process_open_fds", Kind::Gauge, "Open file descriptors.", open_files());
    metric("process_max_fds", Kind::Gauge, "File descriptors that may be open.", open_files_allowed());
}

/// Linux counts processor time for user space in hundredths of a second, whatever the kernel's own tick is.
const TICKS_PER_SECOND: f64 = 100.0;

fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the name in brackets, which may hold spaces; user and system time are the 14th and 15th.
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut times = after_name.split(' ').skip(11).map(str::parse::<f64>);
    Some((times.next()?.ok()? + times.next()?.ok()?) / TICKS_PER_SECOND)
}

fn resident_bytes() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?;
    Some(kilobytes.parse::<f64>().ok()? * 1_024.0)
}

fn open_files() -> Option<f64> {
    Some(fs::read_dir("/proc/self/fd").ok()?.count() as f64)
}

fn open_files_allowed() -> Option<f64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn linux_tells_everything() {
        let bytes = resident_bytes();
        assert!(bytes.is_some_and(|bytes| bytes > 1e6), "{bytes:?}");
        assert!(open_files().is_some_and(|files| files >= 3.0));
        assert!(open_files_allowed() >= open_files());
        assert!(cpu_seconds().is_some());
    }
}
