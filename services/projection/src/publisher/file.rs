//! Checkpoints in a file, one after the other, a blank line behind each.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, bail};
use verbatim_proof::notes;

/// Longer than any checkpoint.
const LONGEST: u64 = 8 * 1024;
const TAIL: u64 = 2 * LONGEST;
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

/// The last whole checkpoint in a file, if there is one.
pub(crate) fn last_note(path: &Path) -> Option<String> {
    let tail = Tail::read(&mut File::open(path).ok()?).ok()?;
    let whole = &tail.text[..tail.whole?];
    notes(whole).last().map(str::to_owned)
}

/// Where the last whole checkpoint ends.
fn whole(file: &mut File) -> anyhow::Result<u64> {
    let tail = Tail::read(file)?;
    let length = file.metadata()?.len();
    match tail.whole.map(|whole| tail.begin + whole as u64) {
        Some(end) if length - end < LONGEST => Ok(end),
        None if length == 0 => Ok(0),
        _ => bail!("it holds something else than checkpoints: give another file, or remove it"),
    }
}

/// The end of a file.
struct Tail {
    begin: u64,
    text: String,
    /// Where in the text the last whole checkpoint ends, the blank line behind it included.
    whole: Option<usize>,
}

impl Tail {
    fn read(file: &mut File) -> anyhow::Result<Self> {
        let mut begin = file.metadata()?.len().saturating_sub(TAIL);
        file.seek(SeekFrom::Start(begin))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        if begin > 0 {
            // It may begin within a character.
            let line = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(0);
            bytes.drain(..line);
            begin += line as u64;
        }
        let text = String::from_utf8(bytes).unwrap_or_else(|error| {
            // A character was cut off at the end, or it is no text.
            let end = error.utf8_error().valid_up_to();
            String::from_utf8_lossy(&error.into_bytes()[..end]).into_owned()
        });
        let (mut end, mut whole) = (text.len(), None);
        while let Some(blank) = text[..end].rfind("\n\n") {
            let line = text[..blank].rsplit('\n').next().unwrap_or_default();
            if line.starts_with(MARK) {
                whole = Some(blank + 2);
                break;
            }
            end = blank + 1;
        }
        Ok(Self { begin, text, whole })
    }
}
