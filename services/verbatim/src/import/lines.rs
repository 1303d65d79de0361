//! The lines of the file, which may be long, but not without end.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::Path;

use super::{is_stdin, read_failed};

/// A file that can be read twice. What comes from a pipe is put into one without a name.
pub struct Spool {
    file: File,
    len: u64,
}

impl Spool {
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = if is_stdin(path) {
            spool(io::stdin().lock())?
        } else {
            let file = File::open(path)?;
            match file.metadata()? {
                metadata if metadata.is_file() => file,
                metadata if metadata.is_dir() => {
                    return Err(io::Error::from(io::ErrorKind::IsADirectory));
                }
                _ => spool(file)?,
            }
        };
        let len = file.metadata()?.len();
        Ok(Self { file, len })
    }

    /// In bytes.
    pub fn len(&self) -> u64 {
        self.len
    }
}

fn spool(mut from: impl Read) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    io::copy(&mut from, &mut file)?;
    Ok(file)
}

/// Lines, one after the other. Empty ones are left out.
pub struct Lines<R> {
    reader: R,
    longest: u64,
    number: u64,
    read: u64,
    line: Vec<u8>,
}

pub struct Line<'l> {
    /// 1, 2, 3 … in the file.
    pub number: u64,
    /// Or what is wrong with it.
    pub text: Result<&'l str, &'static str>,
}

impl<'f> Lines<BufReader<&'f File>> {
    /// From the beginning. Lines of more than `longest` bytes are refused.
    pub fn of(spool: &'f Spool, longest: usize) -> anyhow::Result<Self> {
        let mut file = &spool.file;
        file.rewind().map_err(read_failed)?;
        Ok(Self::new(BufReader::with_capacity(256 * 1024, file), longest))
    }
}

impl<R: BufRead> Lines<R> {
    fn new(reader: R, longest: usize) -> Self {
        Self { reader, longest: longest as u64, number: 0, read: 0, line: Vec::new() }
    }

    /// Bytes that were read.
    pub fn read(&self) -> u64 {
        self.read
    }

    pub fn next(&mut self) -> anyhow::Result<Option<Line<'_>>> {
        loop {
            let Some(is_long) = self.read_line().map_err(read_failed)? else { return Ok(None) };
            self.number += 1;
            if is_long || !self.line.trim_ascii().is_empty() {
                let text = if is_long {
                    Err("is too long")
                } else {
                    str::from_utf8(&self.line).map_err(|_| "is not UTF-8")
                };
                return Ok(Some(Line { number: self.number, text }));
            }
        }
    }

    /// Reads a line; whether it is longer than may be, in which case it is only passed over.
    fn read_line(&mut self) -> io::Result<Option<bool>> {
        let mut is_long = false;
        loop {
            self.line.clear();
            let read =
                self.reader.by_ref().take(self.longest + 1).read_until(b'\n', &mut self.line)?;
            self.read += read as u64;
            if read == 0 {
                return Ok(is_long.then_some(true));
            }
            if self.line.last() == Some(&b'\n') || read as u64 <= self.longest {
                return Ok(Some(is_long));
            }
            is_long = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8], longest: usize) -> Vec<(u64, Result<String, &'static str>)> {
        let mut lines = Lines::new(text, longest);
        let mut found = Vec::new();
        while let Some(line) = lines.next().expect("it can be read") {
            found.push((line.number, line.text.map(|text| text.trim_end().to_owned())));
        }
        assert_eq!(lines.read(), text.len() as u64);
        found
    }

    #[test]
    fn lines_are_numbered_as_in_the_file_and_empty_ones_left_out() {
        let ok = |text: &str| Ok(text.to_owned());
        assert_eq!(lines(b"", 9), []);
        assert_eq!(lines(b"\n \r\n", 9), []);
        assert_eq!(lines(b"a\n\n b\r\nc", 9), [(1, ok("a")), (3, ok(" b")), (4, ok("c"))]);
    }

    #[test]
    fn what_is_too_long_or_no_text_is_told_and_the_next_line_is_read() {
        let text = b"123456789\n12345\n\xff\n1234\n123456";
        let found: Vec<_> = lines(text, 5).into_iter().map(|(_, line)| line).collect();
        let ok = |text: &str| Ok(text.to_owned());
        assert_eq!(
            found,
            [Err("is too long"), ok("12345"), Err("is not UTF-8"), ok("1234"), Err("is too long")]
        );
    }
}
