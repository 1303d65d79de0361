//! Processor time and memory of the processes under load, from `/proc`.

use std::collections::HashMap;
use std::fs;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde::Serialize;
use tokio::time::sleep;

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
struct Usage {
    cpu_seconds: f64,
    resident_kib: u64,
    peak_kib: u64,
}

/// What a process used between two looks.
#[derive(Debug, Serialize)]
pub struct Used {
    name: String,
    cpu_seconds: f64,
    /// Memory that several of its processes share counts once.
    resident_kib: u64,
    /// The most that each of its processes ever had, summed; what they share counts for each.
    peak_kib: u64,
}

/// A look at all of them, at this process and at the machine.
pub struct Look<'w> {
    watched: &'w [Watched],
    usage: Vec<Usage>,
    load_cpu_seconds: f64,
    machine: Machine,
}

/// Ticks of all processors since the machine began.
#[derive(Debug, Clone, Copy, Default)]
struct Machine {
    all: u64,
    /// In which they had nothing to do.
    idle: u64,
    /// In which the host gave them to others.
    stolen: u64,
}

/// What the machine's processors did between two looks, whoever for: parts of all their time.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Processors {
    pub busy: f64,
    stolen: f64,
}

/// What was used between two looks.
pub struct Spent {
    pub processes: Vec<Used>,
    /// Of them together.
    pub cpu_seconds: f64,
    pub load_cpu_seconds: f64,
    pub processors: Processors,
}

/// What each has used so far.
pub fn look(watched: &[Watched]) -> anyhow::Result<Look<'_>> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some(parent) = stat(pid).and_then(|fields| fields.get(1)?.parse().ok()) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let usage =
        watched.iter().map(|watched| of_tree(watched, &children)).collect::<Result<_, _>>()?;
    let own = Watched { name: "load".to_owned(), pid: std::process::id() };
    let load_cpu_seconds = of_tree(&own, &HashMap::new())?.cpu_seconds;
    Ok(Look { watched, usage, load_cpu_seconds, machine: machine()? })
}

impl Look<'_> {
    /// What was used since.
    pub fn until_now(&self) -> anyhow::Result<Spent> {
        let now = look(self.watched)?;
        let used = self.watched.iter().zip(self.usage.iter().zip(&now.usage));
        let processes: Vec<_> = used
            .map(|(watched, (before, after))| Used {
                name: watched.name.clone(),
                cpu_seconds: after.cpu_seconds - before.cpu_seconds,
                resident_kib: after.resident_kib,
                peak_kib: after.peak_kib,
            })
            .collect();
        let cpu_seconds = processes.iter().map(|used| used.cpu_seconds).sum();
        let load_cpu_seconds = now.load_cpu_seconds - self.load_cpu_seconds;
        let all = (now.machine.all - self.machine.all).max(1) as f64;
        let idle = (now.machine.idle - self.machine.idle) as f64 / all;
        let stolen = (now.machine.stolen - self.machine.stolen) as f64 / all;
        let processors = Processors { busy: (1.0 - idle - stolen).max(0.0), stolen };
        Ok(Spent { processes, cpu_seconds, load_cpu_seconds, processors })
    }

    pub fn resident_kib(&self) -> u64 {
        self.usage.iter().map(|usage| usage.resident_kib).sum()
    }
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
        all.resident_kib += kib(pid, "smaps_rollup", "Pss:");
        all.peak_kib += peak_kib(pid);
    }
    Ok(all)
}

/// From the first line of `/proc/stat`: user, nice, system, idle, waiting for a disk, both kinds of
/// interrupts, stolen.
fn machine() -> anyhow::Result<Machine> {
    let text = fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> =
        line.split_whitespace().skip(1).take(8).filter_map(|field| field.parse().ok()).collect();
    ensure!(ticks.len() == 8, "/proc/stat begins with {line:?}");
    Ok(Machine { all: ticks.iter().sum(), idle: ticks[3] + ticks[4], stolen: ticks[7] })
}

/// Processor time of this process's children that have ended, in seconds.
pub fn ended_children() -> anyhow::Result<f64> {
    let fields = stat(std::process::id()).context("/proc shows no processes")?;
    let ticks: u64 = fields[13..15].iter().filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(ticks as f64 / TICKS)
}

/// The most memory that a process ever had; 0 if it has ended.
pub fn peak_kib(pid: u32) -> u64 {
    kib(pid, "status", "VmHWM:")
}

/// The fields of a process's `stat` from its state on; `None` if it has ended.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before them may hold anything.
    let fields = text.rsplit_once(") ")?.1;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

/// A line of one of a process's files; 0 if it has ended.
fn kib(pid: u32, file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Waits until all of them together take less than a twentieth of a processor, a minute at most:
/// until nothing of what was done before is still being worked on. How many seconds it was until then, if
/// it came to that.
pub async fn quiet(watched: &[Watched]) -> anyhow::Result<Option<f64>> {
    let begun = Instant::now();
    for _ in 0..120 {
        let (before, at) = (look(watched)?, begun.elapsed());
        sleep(Duration::from_millis(500)).await;
        if before.until_now()?.cpu_seconds < 0.025 {
            return Ok(Some(at.as_secs_f64()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_no_process_is_refused() {
        for bad in ["", "server", "server=", "server=x", "server=-1"] {
            assert!(bad.parse::<Watched>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_process_that_has_ended_is_told_of() {
        let ended = Watched { name: "server".to_owned(), pid: u32::MAX };
        let told = look(&[ended]).err().expect("an error").to_string();
        assert!(told.contains("server has ended"), "{told}");
    }

    #[test]
    fn processor_time_is_counted() {
        let own = [Watched { name: "own".to_owned(), pid: std::process::id() }];
        let before = look(&own).expect("a look");
        let begun = std::time::Instant::now();
        while begun.elapsed() < Duration::from_millis(200) {
            std::hint::spin_loop();
        }
        let spent = before.until_now().expect("another");
        assert!(spent.cpu_seconds > 0.01 && spent.load_cpu_seconds > 0.01, "{:?}", spent.processes);
        assert!(
            spent.processors.busy > 0.0 && spent.processors.busy <= 1.0,
            "{:?}",
            spent.processors
        );
        assert!(before.resident_kib() > 0);
    }
}
