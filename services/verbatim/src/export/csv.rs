//! Comma-separated values after RFC 4180, in UTF-8, with a line of names. A text is always quoted, so
//! that an empty one differs from none.

use std::io::{self, Write};

use verbatim_protocol::Recorded;

use super::Encoder;
use super::columns::{COLUMNS, Value, row};
use super::files::Sink;

const LINE_END: &[u8] = b"\r\n";

pub struct Csv(Sink);

impl Csv {
    pub fn new(mut sink: Sink) -> io::Result<Self> {
        let names = COLUMNS.map(|column| column.name);
        sink.write_all(names.join(",").as_bytes())?;
        sink.write_all(LINE_END)?;
        Ok(Self(sink))
    }
}

impl Encoder for Csv {
    fn write(&mut self, recorded: &Recorded) -> io::Result<()> {
        for (number, value) in row(recorded)?.iter().enumerate() {
            if number > 0 {
                self.0.write_all(b",")?;
            }
            match value {
                Value::Null => {}
                Value::Number(number) => write!(self.0, "{number}")?,
                Value::Time(time) => write!(self.0, "{time}")?,
                Value::Text(text) => quoted(&mut self.0, text)?,
                Value::Written(text) => quoted(&mut self.0, text)?,
            }
        }
        self.0.write_all(LINE_END)
    }

    fn finish(self: Box<Self>) -> io::Result<Sink> {
        Ok(self.0)
    }
}

fn quoted(sink: &mut impl Write, text: &str) -> io::Result<()> {
    write!(sink, "\"{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_doubled_and_everything_else_stays() {
        let mut written = Vec::new();
        quoted(&mut written, "a \"b\",\r\n🦀").expect("it is written");
        assert_eq!(String::from_utf8(written).expect("text"), "\"a \"\"b\"\",\r\n🦀\"");
    }
}
