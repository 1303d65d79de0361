//! Checkpoints in a file, one after the other, a blank line behind each.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, bail};

/// More than a checkpoint takes.
const TAIL: u64 = 16 * 1024;
/// What a line with a signature begins with.
const MARK: &str = "— ";

/// Appends a checkpoint, and waits for the disk. What was cut off in the middle before is cut away.
///
/// # Errors
/// The file can't be written, or what is in it are no checkpoints; then it is left alone.
pub(super) fn append(path: &Path, note: &str) -> anyhow::Result<()> {
    let told = || path.display().to_string();
    let options = OpenOptions::new().create(true).truncate(false).read(true).write(true).clone();
    let mut file = options.open(path).with_context(told)?;
    let end = whole(&mut file).with_context(told)?;
    let written = write(&mut file, end, note);
    if written.is_err() {
        // As far as it can be: the next attempt looks again.
        let _ = file.set_len(end);
    }
    written.with_context(told)
}

fn write(file: &mut File, end: u64, note: &str) -> io::Result<()> {
    file.set_len(end)?;
    file.seek(SeekFrom::Start(end))?;
    file.write_all(format!("{note}\n").as_bytes())?;
    file.sync_all()
}

/// Where the last whole checkpoint ends.
fn whole(file: &mut File) -> anyhow::Result<u64> {
    let length = file.metadata()?.len();
    let begin = length.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(begin))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    // It may begin within a character.
    let text = String::from_utf8_lossy(&tail);
    let lossless = text.len() == tail.len();
    let mut end = text.len();
    while let Some(blank) = text[..end].rfind("\n\n") {
        let line = text[..blank].rsplit('\n').next().unwrap_or_default();
        if line.starts_with(MARK) && lossless {
            return Ok(begin + blank as u64 + 2);
        }
        end = blank + 1;
    }
    if length == 0 {
        return Ok(0);
    }
    bail!("it holds something else than checkpoints: give another file, or remove it");
}
