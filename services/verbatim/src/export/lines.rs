//! Files that are lines, one event's behind the other's.

use std::io::{self, Write};
use std::sync::Arc;

use verbatim_protocol::Recorded;

use super::files::Sink;
use super::{Encoding, Writer};

/// What most lines fit into.
const LINE_BYTES: usize = 1_024;

/// An event as a line.
pub trait Line: Send + Sync + 'static {
    /// What a file begins with.
    fn head(&self) -> String {
        String::new()
    }

    fn write(&self, recorded: &Recorded, line: &mut Vec<u8>) -> io::Result<()>;
}

pub struct Lines<L>(pub L);

impl<L: Line> Encoding for Lines<L> {
    type Encoded = Vec<u8>;
    type Writer = Sink;

    fn encode(&self, recorded: &Arc<Recorded>) -> io::Result<Vec<u8>> {
        let mut line = Vec::with_capacity(LINE_BYTES);
        self.0.write(recorded, &mut line)?;
        Ok(line)
    }

    fn begin(&self, mut sink: Sink) -> io::Result<Sink> {
        sink.write_all(self.0.head().as_bytes())?;
        Ok(sink)
    }
}

impl Writer<Vec<u8>> for Sink {
    fn write(&mut self, line: Vec<u8>) -> io::Result<()> {
        self.write_all(&line)
    }

    fn finish(self) -> io::Result<Sink> {
        Ok(self)
    }
}
