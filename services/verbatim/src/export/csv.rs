//! Comma-separated values after RFC 4180, in UTF-8, with a line of names. A text is always quoted, so
//! that an empty one differs from none.

use std::io::{self, Write};

use verbatim_protocol::Recorded;

use super::columns::{COLUMNS, Value, row};
use super::lines::Line;

const LINE_END: &str = "\r\n";

pub struct Csv;

impl Line for Csv {
    fn head(&self) -> String {
        COLUMNS.map(|column| column.name).join(",") + LINE_END
    }

    fn write(&self, recorded: &Recorded, line: &mut Vec<u8>) -> io::Result<()> {
        for (number, value) in row(recorded)?.iter().enumerate() {
            if number > 0 {
                line.push(b',');
            }
            match value {
                Value::Null => {}
                Value::Number(number) => write!(line, "{number}")?,
                Value::Time(time) => write!(line, "{time}")?,
                Value::Text(text) => quoted(line, text)?,
                Value::Written(text) => quoted(line, text)?,
            }
        }
        line.extend_from_slice(LINE_END.as_bytes());
        Ok(())
    }
}

fn quoted(line: &mut impl Write, text: &str) -> io::Result<()> {
    write!(line, "\"{}\"", text.replace('"', "\"\""))
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
