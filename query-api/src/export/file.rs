//! Rows as a file: CSV, or Parquet.

use contract::api::types::Freshness;
use read_model::{Column, ColumnKind, ExportRow, ExportTable, Value};

use super::parquet::ParquetFile;
use crate::error::EncodeError;

/// Key of a Parquet file's metadata.
const QUARANTINED: &str = "doppio.quarantined";

/// The stores whose projection stands still, each with the last revision that is reflected: `busan@17, gangnam@3`. Empty: none.
#[must_use]
pub fn quarantined(freshness: &Freshness) -> String {
    let mut named: Vec<String> = freshness
        .quarantined
        .iter()
        .map(|store| format!("{}@{}", store.store_id, store.revision))
        .collect();
    let more = usize::try_from(freshness.quarantined_count)
        .unwrap_or(0)
        .saturating_sub(named.len());
    if more > 0 {
        named.push(format!("and {more} more"));
    }
    named.join(", ")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// RFC 4180 with a line of column names; UTF-8, text in quotes, instants and dates as in RFC 3339, nothing for null. Text that a
    /// spreadsheet would take for a formula begins with an apostrophe.
    Csv,
    /// Strings, 64-bit integers, dates, and instants in microseconds of UTC; compressed with Snappy.
    Parquet,
}

impl Format {
    pub const ALL: [Self; 2] = [Self::Csv, Self::Parquet];

    /// The ending of file names.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }
}

/// Makes a file of an export's pages, bit by bit.
pub struct Encoder {
    table: ExportTable,
    rows: u64,
    file: File,
}

enum File {
    /// The bytes that are ready.
    Csv(String),
    Parquet(Box<ParquetFile>),
}

impl Encoder {
    pub fn new(table: ExportTable, format: Format) -> Result<Self, EncodeError> {
        let file = match format {
            Format::Csv => {
                let names: Vec<&str> = table.columns().iter().map(|column| column.name).collect();
                File::Csv(format!("{}\n", names.join(",")))
            }
            Format::Parquet => {
                File::Parquet(Box::new(ParquetFile::new(table.name(), table.columns())?))
            }
        };
        Ok(Self {
            table,
            rows: 0,
            file,
        })
    }

    /// Says in the file itself which stores' rows end early, where the format has room for it: in Parquet's metadata.
    pub fn mark(&mut self, freshness: &Freshness) {
        let stores = quarantined(freshness);
        if let File::Parquet(file) = &mut self.file
            && !stores.is_empty()
        {
            file.remark(QUARANTINED, stores);
        }
    }

    /// Rows so far.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Adds a page's rows; returns the bytes of the file that are ready, which may be none.
    pub fn page(&mut self, rows: &[ExportRow]) -> Result<Vec<u8>, EncodeError> {
        for row in rows {
            match &mut self.file {
                File::Csv(text) => csv_row(text, self.table.columns(), row),
                File::Parquet(file) => file.add(row)?,
            }
            self.rows += 1;
        }
        match &mut self.file {
            File::Csv(text) => Ok(std::mem::take(text).into_bytes()),
            File::Parquet(file) => Ok(file.take()),
        }
    }

    /// The rest of the file.
    pub fn end(&mut self) -> Result<Vec<u8>, EncodeError> {
        match &mut self.file {
            File::Csv(text) => Ok(std::mem::take(text).into_bytes()),
            File::Parquet(file) => Ok(file.end()?),
        }
    }
}

fn csv_row(line: &mut String, columns: &[Column], values: &[Value]) {
    for (index, (column, value)) in columns.iter().zip(values).enumerate() {
        if index > 0 {
            line.push(',');
        }
        match value {
            Value::Null => {}
            Value::Integer(number) => line.push_str(&number.to_string()),
            Value::Text(text) if column.kind == ColumnKind::Text => quote(line, text),
            Value::Text(text) => line.push_str(text),
            Value::Instant(instant) => line.push_str(&instant.to_string()),
        }
    }
    line.push('\n');
}

/// In quotes, so that a reader need not guess whether `007` is a number and `null` a word. What begins like a formula would be carried out
/// by a spreadsheet even in quotes: an apostrophe makes it text.
fn quote(line: &mut String, text: &str) {
    line.push('"');
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        line.push('\'');
    }
    line.push_str(&text.replace('"', "\"\""));
    line.push('"');
}

#[cfg(test)]
mod tests {
    use contract::api::query::{ExportSalesResponse, ExportedTender, ExportedZReport};
    use contract::timestamp_to_proto;
    use jiff::Timestamp;

    use super::super::rows;
    use super::*;

    #[test]
    fn text_is_quoted_and_null_is_nothing() {
        let at: Timestamp = "2026-03-02T09:00:00.25Z".parse().unwrap();
        let tender = ExportedTender {
            store_id: "gangnam".into(),
            tender_id: "a \"b\", c\nd".into(),
            business_date: "2026-03-02".into(),
            recorded_at: Some(timestamp_to_proto(at)),
            taken: -7,
            ..ExportedTender::default()
        };
        let mut encoder = Encoder::new(ExportTable::Tenders, Format::Csv).unwrap();
        let page = ExportSalesResponse {
            tenders: vec![tender],
            ..ExportSalesResponse::default()
        };
        let mut bytes = encoder.page(&rows(&page)).unwrap();
        bytes.extend(encoder.end().unwrap());
        let text = String::from_utf8(bytes).unwrap();
        let header = "store_id,order_id,business_date,sale_business_date,tender_id,kind,drawer_id,recorded_at,currency,tendered,change_given,\
                      taken,returned,currency_decimals\n";
        assert_eq!(
            text,
            format!(
                "{header}\"gangnam\",\"\",2026-03-02,,\"a \"\"b\"\", c\nd\",\"\",,2026-03-02T09:00:00.25Z,\"\",0,0,-7,0,0\n"
            )
        );
        assert_eq!(encoder.rows(), 1);
    }

    #[test]
    fn codes_are_text_and_no_cell_begins_like_a_formula() {
        let row = |drawer: &str| ExportedTender {
            store_id: "007".into(),
            drawer_id: Some(drawer.into()),
            business_date: "2026-03-02".into(),
            taken: -7,
            ..ExportedTender::default()
        };
        let drawers = ["null", "nan", "007", "-1-1", "=1+1", "@a", "+1"];
        let page = ExportSalesResponse {
            tenders: drawers.into_iter().map(row).collect(),
            ..ExportSalesResponse::default()
        };
        let mut encoder = Encoder::new(ExportTable::Tenders, Format::Csv).unwrap();
        let text = String::from_utf8(encoder.page(&rows(&page)).unwrap()).unwrap();
        for (line, drawer) in text
            .lines()
            .skip(1)
            .zip(["null", "nan", "007", "'-1-1", "'=1+1", "'@a", "'+1"])
        {
            assert!(line.starts_with("\"007\",\"\",2026-03-02,"), "{line}");
            assert!(line.contains(&format!(",\"{drawer}\",")), "{line}");
            assert!(line.ends_with(",-7,0,0"), "{line}");
        }
    }

    #[test]
    fn an_empty_table_is_a_file_all_the_same() {
        for table in ExportTable::ALL {
            let mut csv = Encoder::new(table, Format::Csv).unwrap();
            assert!(
                String::from_utf8(csv.end().unwrap())
                    .unwrap()
                    .starts_with("store_id,")
            );
            let mut parquet = Encoder::new(table, Format::Parquet).unwrap();
            let bytes = parquet.end().unwrap();
            assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
        }
    }

    #[test]
    fn a_file_of_a_store_that_stands_still_says_so() {
        use contract::api::types::StoreQuarantine;
        use parquet::file::reader::{FileReader as _, SerializedFileReader};
        let store = StoreQuarantine {
            store_id: "busan".into(),
            revision: 17,
            ..StoreQuarantine::default()
        };
        let freshness = Freshness {
            quarantined: vec![store],
            quarantined_count: 3,
            ..Freshness::default()
        };
        assert_eq!(quarantined(&freshness), "busan@17, and 2 more");
        let mut encoder = Encoder::new(ExportTable::Orders, Format::Parquet).unwrap();
        encoder.mark(&freshness);
        let file = SerializedFileReader::new(bytes::Bytes::from(encoder.end().unwrap())).unwrap();
        let remarks = file
            .metadata()
            .file_metadata()
            .key_value_metadata()
            .cloned()
            .unwrap_or_default();
        let said = remarks.iter().find(|remark| remark.key == QUARANTINED);
        assert_eq!(
            said.and_then(|remark| remark.value.as_deref()),
            Some("busan@17, and 2 more")
        );
    }

    #[test]
    fn a_value_of_another_kind_is_refused() {
        let mut encoder = Encoder::new(ExportTable::ZReports, Format::Parquet).unwrap();
        let page = ExportSalesResponse {
            z_reports: vec![ExportedZReport::default()],
            ..ExportSalesResponse::default()
        };
        assert!(matches!(
            encoder.page(&rows(&page)),
            Err(EncodeError::Value {
                column: "business_date",
                ..
            })
        ));
    }

    #[test]
    fn kinds_of_columns() {
        let of = |table: ExportTable, name: &str| {
            table
                .columns()
                .iter()
                .find(|column| column.name == name)
                .copied()
                .unwrap()
        };
        assert_eq!(
            of(ExportTable::Orders, "placed_at").kind,
            ColumnKind::Instant
        );
        assert_eq!(
            of(ExportTable::Orders, "business_date").kind,
            ColumnKind::Date
        );
        assert!(
            of(ExportTable::Tenders, "drawer_id").nullable
                && !of(ExportTable::Tenders, "kind").nullable
        );
    }
}
