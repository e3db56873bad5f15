//! A Parquet file that grows: rows are gathered column by column, and written a row group at a time.

use std::sync::Arc;

use jiff::civil::{Date, date};
use parquet::basic::Compression;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use read_model::{Column, ColumnKind, Value};

use crate::error::EncodeError;

/// A row group is written when it has so many rows, or bytes of text.
const ROWS_A_GROUP: usize = 65_536;
const BYTES_A_GROUP: usize = 16 * 1024 * 1024;

pub(super) struct ParquetFile {
    writer: SerializedFileWriter<Vec<u8>>,
    columns: Vec<Gathered>,
    rows: usize,
    bytes: usize,
}

/// A column of the row group to come.
struct Gathered {
    column: Column,
    values: Values,
    /// Of a nullable column: 1 where there is a value.
    present: Vec<i16>,
}

enum Values {
    Days(Vec<i32>),
    Integers(Vec<i64>),
    Texts(Vec<ByteArray>),
}

impl ParquetFile {
    pub fn new(table: &str, columns: &[Column]) -> ParquetResult<Self> {
        let mut schema = format!("message {table} {{ ");
        for column in columns {
            let kind = match column.kind {
                ColumnKind::Integer => ("INT64", ""),
                ColumnKind::Text => ("BYTE_ARRAY", " (STRING)"),
                ColumnKind::Date => ("INT32", " (DATE)"),
                ColumnKind::Instant => ("INT64", " (TIMESTAMP(MICROS,true))"),
            };
            let needed = if column.nullable {
                "OPTIONAL"
            } else {
                "REQUIRED"
            };
            schema.push_str(&format!("{needed} {} {}{}; ", kind.0, column.name, kind.1));
        }
        schema.push('}');
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(concat!("doppio ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let gathered = columns.iter().map(|column| Gathered {
            column: *column,
            values: match column.kind {
                ColumnKind::Integer | ColumnKind::Instant => Values::Integers(Vec::new()),
                ColumnKind::Date => Values::Days(Vec::new()),
                ColumnKind::Text => Values::Texts(Vec::new()),
            },
            present: Vec::new(),
        });
        Ok(Self {
            writer: SerializedFileWriter::new(
                Vec::new(),
                Arc::new(parse_message_type(&schema)?),
                Arc::new(properties),
            )?,
            columns: gathered.collect(),
            rows: 0,
            bytes: 0,
        })
    }

    pub fn remark(&mut self, key: &str, value: String) {
        self.writer
            .append_key_value_metadata(KeyValue::new(key.to_owned(), value));
    }

    pub fn add(&mut self, row: &[Value]) -> Result<(), EncodeError> {
        for (gathered, value) in self.columns.iter_mut().zip(row) {
            let column = gathered.column;
            let wrong = || EncodeError::Value {
                column: column.name,
                value: format!("{value:?}"),
            };
            match (&mut gathered.values, value) {
                (_, Value::Null) if column.nullable => {}
                (Values::Integers(values), Value::Integer(number)) => values.push(*number),
                (Values::Integers(values), Value::Instant(instant)) => {
                    values.push(instant.as_microsecond());
                }
                (Values::Days(values), Value::Text(text)) => {
                    values.push(days(text).ok_or_else(wrong)?);
                }
                (Values::Texts(values), Value::Text(text)) => {
                    self.bytes += text.len();
                    values.push(ByteArray::from(text.as_str()));
                }
                _ => return Err(wrong()),
            }
            if column.nullable {
                gathered
                    .present
                    .push(i16::from(!matches!(value, Value::Null)));
            }
        }
        self.rows += 1;
        if self.rows >= ROWS_A_GROUP || self.bytes >= BYTES_A_GROUP {
            self.write_group()?;
        }
        Ok(())
    }

    /// What is ready of the file since the last call.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.writer.inner_mut())
    }

    pub fn end(&mut self) -> ParquetResult<Vec<u8>> {
        self.write_group()?;
        self.writer.finish()?;
        Ok(self.take())
    }

    fn write_group(&mut self) -> ParquetResult<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let mut group = self.writer.next_row_group()?;
        for gathered in &mut self.columns {
            let mut column = group
                .next_column()?
                .ok_or_else(|| ParquetError::General("a column is missing".into()))?;
            let present = std::mem::take(&mut gathered.present);
            let present = gathered.column.nullable.then_some(present.as_slice());
            match (column.untyped(), &mut gathered.values) {
                (ColumnWriter::Int32ColumnWriter(writer), Values::Days(values)) => {
                    writer.write_batch(values, present, None)?;
                    values.clear();
                }
                (ColumnWriter::Int64ColumnWriter(writer), Values::Integers(values)) => {
                    writer.write_batch(values, present, None)?;
                    values.clear();
                }
                (ColumnWriter::ByteArrayColumnWriter(writer), Values::Texts(values)) => {
                    writer.write_batch(values, present, None)?;
                    values.clear();
                }
                _ => {
                    return Err(ParquetError::General(format!(
                        "column {} is not of its kind",
                        gathered.column.name
                    )));
                }
            }
            column.close()?;
        }
        group.close()?;
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }
}

/// Days since 1970-01-01.
fn days(text: &str) -> Option<i32> {
    const EPOCH: Date = date(1970, 1, 1);
    let day: Date = text.parse().ok()?;
    EPOCH.until(day).ok().map(|span| span.get_days())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_from_1970() {
        assert_eq!(
            (days("1970-01-01"), days("2026-03-02"), days("1969-12-31")),
            (Some(0), Some(20_514), Some(-1))
        );
        assert_eq!(days("2026-13-01"), None);
    }
}
