//! What is wrong with the files of an import, each mistake at its place.

use std::fmt;

use contract::text::escaped;

/// Longest part of a value that a message shows.
const SHOWN_CHARACTERS: usize = 40;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Mistake {
    pub file: String,
    /// Of the file, from 1; 0 when the file as a whole is meant.
    pub line: u64,
    /// Empty when the row as a whole is meant.
    pub column: String,
    pub what: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escaped(&self.file))?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if !self.column.is_empty() {
            write!(f, " {}", escaped(&self.column))?;
        }
        write!(f, ": {}", self.what)
    }
}

/// All mistakes of one import: a bad row does not hide the next.
#[derive(Debug, Default)]
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    pub fn note(&mut self, file: &str, line: u64, column: &str, what: impl fmt::Display) {
        self.0.push(Mistake {
            file: file.to_owned(),
            line,
            column: column.to_owned(),
            what: what.to_string(),
        });
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In the order of the files' lines.
    #[must_use]
    pub fn sorted(mut self) -> Vec<Mistake> {
        self.0
            .sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        self.0
    }
}

/// A value of a file for a message: in quotes, short, and without anything that a terminal would obey.
#[must_use]
pub fn shown(text: &str) -> String {
    let short: String = text.chars().take(SHOWN_CHARACTERS).collect();
    let rest = if short.len() < text.len() { "…" } else { "" };
    format!("\"{}{rest}\"", escaped(&short))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_escaped() {
        assert_eq!(shown("a\u{1b}[2J"), "\"a\\u{1b}[2J\"");
        assert_eq!(shown("x\u{202e}y\0"), "\"x\\u{202e}y\\u{0}\"");
        assert_eq!(shown(&"é".repeat(41)), format!("\"{}…\"", "é".repeat(40)));
    }
}
