//! A file of rows under a header: read whole, and every row that is not as the header says is a mistake.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use contract::text::{escaped, first_deceptive};

use super::mapping::{Mapping, Theirs};
use super::mistake::{Mistakes, shown};

/// Larger files are to be split by date.
const MAX_FILE_BYTES: u64 = 512 * 1024 * 1024;

/// How a file is written.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    pub delimiter: u8,
    pub decimal_comma: bool,
    /// The last row is whole although no line break follows it.
    pub last_row_is_whole: bool,
}

/// A column that Doppio knows.
pub struct Column {
    pub name: &'static str,
    pub required: bool,
}

pub struct Row {
    pub line: u64,
    cells: Vec<String>,
}

/// The rows that are as their header says.
pub struct Sheet {
    pub file: String,
    /// Places in a row of each known column; several are joined with a blank.
    columns: BTreeMap<&'static str, Vec<usize>>,
    pub rows: Vec<Row>,
}

impl Sheet {
    #[must_use]
    pub fn has(&self, column: &str) -> bool {
        self.columns.contains_key(column)
    }

    /// Empty where the file has no such column.
    #[must_use]
    pub fn cell<'a>(&self, row: &'a Row, column: &str) -> Cow<'a, str> {
        let text = |place: &usize| row.cells.get(*place).map_or("", String::as_str);
        match self.columns.get(column).map(Vec::as_slice) {
            None | Some([]) => Cow::Borrowed(""),
            Some([place]) => Cow::Borrowed(text(place)),
            Some(places) => {
                let parts: Vec<&str> = places.iter().map(text).collect();
                Cow::Owned(parts.join(" ").trim().to_owned())
            }
        }
    }
}

/// What a file is called in messages.
#[must_use]
pub fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

/// The text of a file; or why there is none, without waiting for anything.
pub fn text_of(path: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    // Before it is opened: opening a pipe waits for its writer.
    let about = std::fs::metadata(path).map_err(unreadable)?;
    if about.is_dir() {
        return Err("is a directory, not a file".to_owned());
    }
    if !about.is_file() {
        return Err(
            "is a pipe or device: write it to a file first, so that it can be checked whole"
                .to_owned(),
        );
    }
    if about.len() > MAX_FILE_BYTES {
        let most = MAX_FILE_BYTES / 1024 / 1024;
        return Err(format!("is longer than {most} MiB: split it by date"));
    }
    decoded(std::fs::read(path).map_err(unreadable)?)
}

fn decoded(bytes: Vec<u8>) -> Result<String, String> {
    if bytes.is_empty() {
        return Err("is empty: it has not even a header".to_owned());
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err("is UTF-16: save it as UTF-8".to_owned());
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("is not UTF-8 in line {line}; iconv -f WINDOWS-1252 -t UTF-8 may convert it")
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

/// The rows of a text. `None` when its header is of no use.
pub fn parse(
    file: &str,
    text: &str,
    form: Form,
    known: &[Column],
    naming: &BTreeMap<String, Theirs>,
    mapping: &Mapping,
    mistakes: &mut Mistakes,
) -> Option<Sheet> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(form.delimiter)
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let mut records = reader.records();
    let header = match records.next() {
        Some(Ok(header)) => header,
        Some(Err(error)) => {
            mistakes.note(file, 1, "", error);
            return None;
        }
        None => {
            mistakes.note(file, 0, "", "has no header");
            return None;
        }
    };
    let header: Vec<&str> = header.iter().collect();
    let columns = columns_of(file, &header, form, known, naming, mapping, mistakes)?;
    let mut rows = Vec::new();
    let mut last_line = 1;
    for record in records {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                mistakes.note(file, last_line + 1, "", error);
                continue;
            }
        };
        let line = record.position().map_or(0, csv::Position::line);
        last_line = line;
        if record.len() != header.len() {
            let fields = if record.len() == 1 { "field" } else { "fields" };
            mistakes.note(
                file,
                line,
                "",
                format_args!("has {} {fields}, the header {}", record.len(), header.len()),
            );
            continue;
        }
        rows.push(Row {
            line,
            cells: record.iter().map(str::to_owned).collect(),
        });
    }
    if !form.last_row_is_whole && !text.ends_with(['\n', '\r']) {
        mistakes.note(
            file,
            last_line,
            "",
            "no line break ends the last row: is the file cut off? If it is whole, say --last-row-is-whole",
        );
    }
    let mut sheet = Sheet {
        file: file.to_owned(),
        columns,
        rows: Vec::new(),
    };
    for row in rows {
        if is_clean(&sheet, &row, mistakes) {
            sheet.rows.push(row);
        }
    }
    Some(sheet)
}

fn columns_of(
    file: &str,
    header: &[&str],
    form: Form,
    known: &[Column],
    naming: &BTreeMap<String, Theirs>,
    mapping: &Mapping,
    mistakes: &mut Mistakes,
) -> Option<BTreeMap<&'static str, Vec<usize>>> {
    let mut whole = true;
    let mut wrong = |what: String| {
        whole = false;
        mistakes.note(file, 1, "", what);
    };
    if let [only] = header
        && let Some(other) = [';', '\t', ',', '|']
            .into_iter()
            .find(|other| only.contains(*other))
    {
        let delimiter = char::from(form.delimiter);
        wrong(format!(
            "the header is one column when split at {delimiter:?}: say --delimiter {other:?}? (It is of both files.)"
        ));
        return None;
    }
    for key in naming.keys() {
        if !known.iter().any(|column| column.name == key) {
            let names: Vec<&str> = known.iter().map(|column| column.name).collect();
            wrong(format!(
                "the mapping names a column {}; there are {}",
                shown(key),
                names.join(", ")
            ));
        }
    }
    let mut columns = BTreeMap::new();
    let mut used = vec![false; header.len()];
    for column in known {
        let own = [column.name.to_owned()];
        let mapped = naming.get(column.name);
        let names = mapped.map_or(&own[..], Theirs::columns);
        let mut places = Vec::new();
        for name in names {
            let found: Vec<usize> = (0..header.len())
                .filter(|place| header[*place] == name)
                .collect();
            match found.as_slice() {
                [place] => {
                    used[*place] = true;
                    places.push(*place);
                }
                [] if column.required || mapped.is_some() => {
                    wrong(format!("there is no column {}", shown(name)));
                }
                [] => {}
                _ => wrong(format!("the column {} is there twice", shown(name))),
            }
        }
        if !places.is_empty() {
            columns.insert(column.name, places);
        }
    }
    for (name, used) in header.iter().zip(used) {
        if !used && !mapping.ignores(name) {
            wrong(format!(
                "the column {} is not known: map it, or list it under ignore in a --mapping file",
                shown(name)
            ));
        }
    }
    whole.then_some(columns)
}

/// Characters that a terminal would obey, or that turn a name around, are a mistake wherever they stand in a column that is read.
fn is_clean(sheet: &Sheet, row: &Row, mistakes: &mut Mistakes) -> bool {
    let mut clean = true;
    for column in sheet.columns.keys() {
        let cell = sheet.cell(row, column);
        let Some(symbol) = first_deceptive(&cell) else {
            continue;
        };
        clean = false;
        let what = if matches!(symbol, '\n' | '\r') {
            format!("{} holds a line break: is a quote missing?", shown(&cell))
        } else {
            let symbol = symbol.to_string();
            format!(
                "{} holds {}, which cannot be in a name",
                shown(&cell),
                escaped(&symbol)
            )
        };
        mistakes.note(&sheet.file, row.line, column, what);
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [Column; 3] = [
        Column {
            name: "receipt",
            required: true,
        },
        Column {
            name: "sold_at",
            required: true,
        },
        Column {
            name: "item",
            required: false,
        },
    ];
    const FORM: Form = Form {
        delimiter: b',',
        decimal_comma: false,
        last_row_is_whole: false,
    };

    fn read(text: &str, form: Form, mapping: &str) -> (Option<Sheet>, Vec<String>) {
        let mapping = Mapping::parse(mapping).unwrap();
        let mut mistakes = Mistakes::default();
        let sheet = parse(
            "r.csv",
            text,
            form,
            &KNOWN,
            &mapping.receipts,
            &mapping,
            &mut mistakes,
        );
        let mistakes = mistakes.sorted().iter().map(ToString::to_string).collect();
        (sheet, mistakes)
    }

    #[test]
    fn every_bad_row_is_listed_at_once() {
        let (sheet, mistakes) = read(
            "receipt,sold_at,item\n1,2016,tea\n2,2016\n3,2016,a,b\n4,2016,a\u{1b}[2J\n5,2016,\u{202e}eat\n6,2016,\"x\n7,2016,y\n",
            FORM,
            "",
        );
        assert_eq!(sheet.unwrap().rows.len(), 1);
        assert_eq!(
            mistakes,
            [
                "r.csv:3: has 2 fields, the header 3",
                "r.csv:4: has 4 fields, the header 3",
                "r.csv:5 item: \"a\\u{1b}[2J\" holds \\u{1b}, which cannot be in a name",
                "r.csv:6 item: \"\\u{202e}eat\" holds \\u{202e}, which cannot be in a name",
                "r.csv:7 item: \"x\\u{a}7,2016,y\" holds a line break: is a quote missing?",
            ]
        );
    }

    #[test]
    fn a_file_that_is_cut_off_is_refused() {
        let cut = "receipt,sold_at,item\n1,2016,te";
        assert_eq!(read(cut, FORM, "").1.len(), 1);
        let whole = Form {
            last_row_is_whole: true,
            ..FORM
        };
        assert!(read(cut, whole, "").1.is_empty());
        assert_eq!(
            read("receipt,sold_at,item\n1,20", FORM, "").1,
            [
                "r.csv:2: has 2 fields, the header 3",
                "r.csv:2: no line break ends the last row: is the file cut off? If it is whole, say --last-row-is-whole"
            ]
        );
        assert!(
            read("receipt,sold_at,item\r\n1,2016,tea\r\n", FORM, "")
                .1
                .is_empty()
        );
    }

    #[test]
    fn a_column_is_known_named_or_ignored_never_guessed() {
        let (sheet, mistakes) = read("Receipt,sold_at,item,Menge\n", FORM, "");
        assert!(sheet.is_none());
        assert_eq!(mistakes.len(), 3, "{mistakes:?}");
        let (sheet, mistakes) = read(
            "Bon;Tag;Zeit;Menge\n1;2016;10:05;7\n",
            Form {
                delimiter: b';',
                ..FORM
            },
            "ignore = [\"Menge\"]\n[receipts]\nreceipt = \"Bon\"\nsold_at = [\"Tag\", \"Zeit\"]",
        );
        assert!(mistakes.is_empty(), "{mistakes:?}");
        let sheet = sheet.unwrap();
        assert_eq!(sheet.cell(&sheet.rows[0], "sold_at"), "2016 10:05");
        assert_eq!(sheet.cell(&sheet.rows[0], "item"), "");
        let (_, mistakes) = read("receipt;sold_at;item\n", FORM, "");
        assert_eq!(
            mistakes,
            [
                "r.csv:1: the header is one column when split at ',': say --delimiter ';'? (It is of both files.)"
            ]
        );
        let (_, mistakes) = read("receipt,sold_at,item,item\n", FORM, "");
        assert!(mistakes[0].contains("is there twice"), "{mistakes:?}");
    }

    #[test]
    fn what_is_no_text_is_told_without_waiting() {
        let bytes = |text: &str| text.as_bytes().to_vec();
        assert_eq!(
            decoded(bytes("\u{feff}receipt\n")),
            Ok("receipt\n".to_owned())
        );
        assert!(decoded(Vec::new()).unwrap_err().contains("is empty"));
        assert!(
            decoded(vec![0xff, 0xfe, b'r', 0])
                .unwrap_err()
                .contains("UTF-16")
        );
        assert!(
            decoded(b"a\nb\xe9\n".to_vec())
                .unwrap_err()
                .contains("line 2")
        );
        assert!(text_of(Path::new("/")).unwrap_err().contains("directory"));
        assert!(
            text_of(Path::new("/dev/null"))
                .unwrap_err()
                .contains("pipe or device")
        );
        assert!(
            text_of(Path::new("/nowhere/at/all"))
                .unwrap_err()
                .contains("cannot be read")
        );
    }
}
