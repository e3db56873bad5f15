//! Text that people will read on a terminal, a screen or paper: what must not be in it, and how it is shown when it is.

use std::borrow::Cow;

/// Whether a character moves the cursor, turns the direction of what follows, or cannot be seen at all: it could make a name show as
/// another, or a terminal do something. Joiners that scripts and emoji need are none of these.
#[must_use]
pub fn is_deceptive(symbol: char) -> bool {
    symbol.is_control()
        || matches!(symbol,
            // Marks, embeddings, overrides and isolates of direction.
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // Line and paragraph separators.
            | '\u{2028}' | '\u{2029}'
            // Invisible: zero-width space, byte order mark, annotations, tags.
            | '\u{200b}' | '\u{2060}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The first character that does not belong into a name.
#[must_use]
pub fn first_deceptive(text: &str) -> Option<char> {
    text.chars().find(|symbol| is_deceptive(*symbol))
}

/// The text with such characters written out: `\u{1b}`.
#[must_use]
pub fn escaped(text: &str) -> Cow<'_, str> {
    if first_deceptive(text).is_none() {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for symbol in text.chars() {
        if is_deceptive(symbol) {
            shown.extend(symbol.escape_unicode());
        } else {
            shown.push(symbol);
        }
    }
    Cow::Owned(shown)
}

/// Lines for a terminal, be they words or JSON: what would deceive is written as JSON escapes it (`\u202e`); line breaks and tabs stay.
#[must_use]
pub fn for_terminal(text: &str) -> Cow<'_, str> {
    let harmful = |symbol: char| is_deceptive(symbol) && !matches!(symbol, '\n' | '\t');
    if !text.chars().any(harmful) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for symbol in text.chars() {
        if harmful(symbol) {
            for unit in symbol.encode_utf16(&mut [0; 2]) {
                shown.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            shown.push(symbol);
        }
    }
    Cow::Owned(shown)
}

/// Whether a text is a payment card's number: 13 to 19 digits, however grouped, with a right check digit (ISO/IEC 7812).
#[must_use]
pub fn is_card_number(text: &str) -> bool {
    let mut digits = Vec::with_capacity(19);
    for symbol in text.chars() {
        match symbol.to_digit(10) {
            Some(digit) => digits.push(digit),
            None if matches!(symbol, ' ' | '-' | '.' | '/' | '_') => {}
            None => return false,
        }
    }
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            if place % 2 == 1 {
                digit * 2 / 10 + digit * 2 % 10
            } else {
                *digit
            }
        })
        .sum();
    (13..=19).contains(&digits.len()) && sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_all_scripts_are_clean() {
        for name in [
            "Caffè latte",
            "아메리카노",
            "קפה הפוך",
            "قهوة",
            "कॉफ़ी",
            "👩‍🍳 special",
        ] {
            assert_eq!(escaped(name), name);
            assert_eq!(first_deceptive(name), None, "{name}");
        }
    }

    #[test]
    fn what_would_deceive_is_written_out() {
        assert_eq!(escaped("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(escaped("x\u{202e}y\0"), "x\\u{202e}y\\u{0}");
        assert_eq!(first_deceptive("tea\u{200b}"), Some('\u{200b}'));
    }

    #[test]
    fn json_for_a_terminal_stays_the_same_json() {
        let value = "tea\u{1b}[2J\u{202e}\u{e0041}";
        let json = format!("{{\n\t\"name\": {}\n}}", serde_json::json!(value));
        let shown = for_terminal(&json);
        assert!(shown.is_ascii() && shown.contains("\\u202e"), "{shown}");
        let read: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(read["name"], value);
        assert_eq!(for_terminal("도피오\n"), "도피오\n");
    }

    #[test]
    fn a_card_number_is_told_from_an_approval_number() {
        assert!(is_card_number("4111111111111111"));
        assert!(is_card_number("4111-1111 1111-1111"));
        assert!(is_card_number("4111.1111.1111.1111"));
        assert!(!is_card_number("4111111111111112"));
        assert!(!is_card_number("30129485"));
        assert!(!is_card_number("A4111111111111111"));
    }
}
