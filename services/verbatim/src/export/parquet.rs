//! Parquet with a typed schema: each column is what it is, and may be missing only where it can be.

use std::io;
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as PhysicalType};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{Type, TypePtr};
use verbatim_protocol::Recorded;

use super::columns::{COLUMNS, Column, Kind, Value, row};
use super::files::Sink;
use super::{Encoding, Writer};

/// A row group is written after so many rows, or so many bytes of text: until then it is in memory.
const GROUP_ROWS: usize = 65_536;
const GROUP_BYTES: usize = 32 << 20;

/// What takes most of the time is done on whole row groups, by the writer.
pub struct Parquet;

impl Encoding for Parquet {
    type Encoded = Arc<Recorded>;
    type Writer = Table;

    fn encode(&self, recorded: &Arc<Recorded>) -> io::Result<Arc<Recorded>> {
        Ok(Arc::clone(recorded))
    }

    fn begin(&self, sink: Sink) -> io::Result<Table> {
        Table::new(sink)
    }
}

pub struct Table {
    writer: SerializedFileWriter<Sink>,
    columns: Vec<Buffer>,
    rows: usize,
    bytes: usize,
}

/// The values of one column, and where there are some: 1 for a value, 0 for none.
struct Buffer {
    column: &'static Column,
    levels: Vec<i16>,
    numbers: Vec<i64>,
    texts: Vec<ByteArray>,
}

impl Table {
    fn new(sink: Sink) -> io::Result<Self> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            // Texts may be long, and their bounds serve nobody.
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_created_by(format!("verbatim {}", env!("CARGO_PKG_VERSION")))
            .build();
        let writer = SerializedFileWriter::new(sink, schema()?, Arc::new(properties))?;
        let columns = COLUMNS.iter().map(Buffer::new).collect();
        Ok(Self { writer, columns, rows: 0, bytes: 0 })
    }

    fn write_group(&mut self) -> Result<(), ParquetError> {
        let mut group = self.writer.next_row_group()?;
        for buffer in &mut self.columns {
            let mut writer = group.next_column()?.ok_or_else(|| mismatch(buffer.column))?;
            let levels = (!buffer.column.required).then_some(&*buffer.levels);
            match buffer.column.kind {
                Kind::Number | Kind::Time => {
                    writer.typed::<Int64Type>().write_batch(&buffer.numbers, levels, None)?;
                }
                Kind::Text => {
                    writer.typed::<ByteArrayType>().write_batch(&buffer.texts, levels, None)?;
                }
            }
            writer.close()?;
            buffer.clear();
        }
        group.close()?;
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }
}

impl Writer<Arc<Recorded>> for Table {
    fn write(&mut self, recorded: Arc<Recorded>) -> io::Result<()> {
        for (buffer, value) in self.columns.iter_mut().zip(row(&recorded)?) {
            self.bytes += buffer.push(&value);
        }
        self.rows += 1;
        if self.rows >= GROUP_ROWS || self.bytes >= GROUP_BYTES {
            self.write_group()?;
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<Sink> {
        if self.rows > 0 {
            self.write_group()?;
        }
        Ok(self.writer.into_inner()?)
    }
}

impl Buffer {
    fn new(column: &'static Column) -> Self {
        Self { column, levels: Vec::new(), numbers: Vec::new(), texts: Vec::new() }
    }

    /// Gives the size of what it keeps.
    fn push(&mut self, value: &Value<'_>) -> usize {
        self.levels.push(i16::from(*value != Value::Null));
        let text = match value {
            Value::Null => return 0,
            Value::Number(number) => {
                self.numbers.push(*number as i64);
                return size_of::<i64>();
            }
            Value::Time(time) => {
                self.numbers.push(time.0);
                return size_of::<i64>();
            }
            Value::Text(text) => text,
            Value::Written(text) => text.as_str(),
        };
        self.texts.push(text.into());
        text.len() + size_of::<ByteArray>()
    }

    fn clear(&mut self) {
        self.levels.clear();
        self.numbers.clear();
        self.texts.clear();
    }
}

fn schema() -> Result<TypePtr, ParquetError> {
    let fields = COLUMNS.iter().map(field).collect::<Result<_, _>>()?;
    Ok(Arc::new(Type::group_type_builder("event").with_fields(fields).build()?))
}

fn field(column: &Column) -> Result<TypePtr, ParquetError> {
    let (physical, logical) = match column.kind {
        Kind::Number => (PhysicalType::INT64, None),
        Kind::Time => (PhysicalType::INT64, Some(LogicalType::timestamp(true, TimeUnit::MILLIS))),
        Kind::Text => (PhysicalType::BYTE_ARRAY, Some(LogicalType::String)),
    };
    let repetition = if column.required { Repetition::REQUIRED } else { Repetition::OPTIONAL };
    let built = Type::primitive_type_builder(column.name, physical)
        .with_logical_type(logical)
        .with_repetition(repetition)
        .build()?;
    Ok(Arc::new(built))
}

fn mismatch(column: &Column) -> ParquetError {
    ParquetError::General(format!("the schema lacks {}", column.name))
}
