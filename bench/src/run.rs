//! A command, from its start to its end.

use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde::Serialize;

use crate::processes;

/// How often its memory is looked at.
const LOOK: Duration = Duration::from_millis(10);

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// How many events it works through.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    events: u64,
    /// The command. What it prints is thrown away, but for what goes to standard error.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

#[derive(Debug, Serialize)]
pub struct Report {
    seconds: f64,
    events_per_second: f64,
    cpu_us_per_event: f64,
    /// The most memory it had, as far as was seen.
    peak_kib: u64,
}

pub fn run(args: &Args) -> anyhow::Result<Report> {
    let [program, arguments @ ..] = &*args.command else { anyhow::bail!("no command") };
    let before = processes::ended_children()?;
    let begun = Instant::now();
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| program.display().to_string())?;
    let mut peak_kib = 0;
    let status = loop {
        peak_kib = processes::peak_kib(child.id()).max(peak_kib);
        if let Some(status) = child.try_wait()? {
            break status;
        }
        thread::sleep(LOOK);
    };
    let seconds = begun.elapsed().as_secs_f64();
    ensure!(status.success(), "{} has ended with {status}", program.display());
    let cpu_seconds = processes::ended_children()? - before;
    Ok(Report {
        seconds,
        events_per_second: args.events as f64 / seconds,
        cpu_us_per_event: cpu_seconds * 1e6 / args.events as f64,
        peak_kib,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Args {
        let command = ["sh", "-c", script].map(OsString::from).to_vec();
        Args { events: 10, command }
    }

    #[test]
    fn what_a_command_takes_is_told() {
        let script = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; sleep 0.1; echo done";
        let report = run(&shell(script)).expect("it works");
        assert!(report.seconds > 0.1 && report.events_per_second < 100.0, "{report:?}");
        assert!(report.cpu_us_per_event > 1_000.0 && report.peak_kib > 100, "{report:?}");
    }

    #[test]
    fn a_command_that_fails_is_told_of() {
        let failed = run(&shell("exit 3")).expect_err("it fails").to_string();
        assert!(failed.contains("exit status: 3"), "{failed}");
        let missing = Args { events: 1, command: vec!["/proc/nowhere".into()] };
        assert!(run(&missing).expect_err("there is none").to_string().contains("/proc/nowhere"));
    }
}
