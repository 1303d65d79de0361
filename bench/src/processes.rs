//! Processor time and memory of the processes under load, from `/proc`.

use std::collections::HashMap;
use std::fs;
use std::str::FromStr;

use anyhow::Context;
use serde::Serialize;

/// Clock ticks a second, the same on every Linux that Rust's standard library runs on.
const TICKS: f64 = 100.0;

/// A process, and all that it started.
#[derive(Debug, Clone)]
pub struct Watched {
    name: String,
    pid: u32,
}

impl FromStr for Watched {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, pid) = text.split_once('=').ok_or("NAME=PID is wanted")?;
        let pid = pid.parse().map_err(|_| format!("{pid:?} is no process's number"))?;
        Ok(Self { name: name.to_owned(), pid })
    }
}

/// What a process has used so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    pub cpu_seconds: f64,
    pub resident_kib: u64,
    pub peak_kib: u64,
}

/// What a process used between two looks.
#[derive(Debug, Serialize)]
pub struct Used {
    pub name: String,
    pub cpu_seconds: f64,
    pub resident_kib: u64,
    pub peak_kib: u64,
}

/// What each has used so far.
pub fn look(watched: &[Watched]) -> anyhow::Result<Vec<Usage>> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some(parent) = stat(pid).and_then(|fields| fields.get(1)?.parse().ok()) {
            children.entry(parent).or_default().push(pid);
        }
    }
    watched.iter().map(|watched| of_tree(watched, &children)).collect()
}

fn of_tree(watched: &Watched, children: &HashMap<u32, Vec<u32>>) -> anyhow::Result<Usage> {
    let mut all = Usage::default();
    let mut pids = vec![watched.pid];
    stat(watched.pid).with_context(|| format!("{} has ended", watched.name))?;
    while let Some(pid) = pids.pop() {
        pids.extend(children.get(&pid).into_iter().flatten());
        let Some(fields) = stat(pid) else { continue };
        // Its own, and that of children that have ended and were waited for.
        let ticks: u64 = fields[11..15].iter().filter_map(|field| field.parse::<u64>().ok()).sum();
        all.cpu_seconds += ticks as f64 / TICKS;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let kib = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        all.resident_kib += kib("VmRSS:");
        all.peak_kib += kib("VmHWM:");
    }
    Ok(all)
}

/// The fields of a process's `stat` from its state on; `None` if it has ended.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before them may hold anything.
    let fields = text.rsplit_once(") ")?.1;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

pub fn between(watched: &[Watched], before: &[Usage], after: &[Usage]) -> Vec<Used> {
    let used = watched.iter().zip(before.iter().zip(after));
    used.map(|(watched, (before, after))| Used {
        name: watched.name.clone(),
        cpu_seconds: after.cpu_seconds - before.cpu_seconds,
        resident_kib: after.resident_kib,
        peak_kib: after.peak_kib,
    })
    .collect()
}

/// The processor time of this process, in seconds.
pub fn own_cpu() -> anyhow::Result<f64> {
    let own = Watched { name: "load".to_owned(), pid: std::process::id() };
    Ok(look(&[own])?[0].cpu_seconds)
}
