//! Codes of articles and categories that come with a name alone.

use contract::{IdError, Slug};
use sha2::{Digest, Sha256};

const READABLE: usize = 21;
const HASHED: usize = 10;
/// 32 digits without those that are mistaken for others.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A code that is a function of the name alone, for ever: a part that people can read, and 50 bits of the name's SHA-256, so that no two names
/// share one whatever they have in common. Hangul is romanised; Latin letters lose their marks; everything else is left to the hash.
pub fn code(name: &str) -> Result<Slug, IdError> {
    let mut readable = String::new();
    for symbol in name.chars() {
        if symbol.is_ascii_alphanumeric() {
            readable.push(symbol.to_ascii_lowercase());
        } else if let Some([initial, vowel, last]) = romanised(symbol) {
            readable.extend([initial, vowel, last]);
        } else if let Some(letters) = without_mark(symbol) {
            readable.push_str(letters);
        } else if !readable.is_empty() && !readable.ends_with('-') {
            readable.push('-');
        }
    }
    readable.truncate(READABLE);
    let readable = match readable.trim_end_matches('-') {
        "" => "x",
        some => some,
    };
    Slug::new(&format!("{readable}-{}", hashed(name)))
}

fn hashed(name: &str) -> String {
    let digest = Sha256::digest(format!("doppio code 1\n{name}"));
    let mut bits = digest
        .iter()
        .take(8)
        .fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    let mut text = String::with_capacity(HASHED);
    for _ in 0..HASHED {
        bits = bits.rotate_left(5);
        text.push(DIGITS[usize::try_from(bits & 31).unwrap_or(0)].into());
    }
    text
}

/// Revised Romanization of one syllable, letter by letter: initial, vowel, final.
fn romanised(symbol: char) -> Option<[&'static str; 3]> {
    const INITIALS: [&str; 19] = [
        "g", "kk", "n", "d", "tt", "r", "m", "b", "pp", "s", "ss", "", "j", "jj", "ch", "k", "t",
        "p", "h",
    ];
    const VOWELS: [&str; 21] = [
        "a", "ae", "ya", "yae", "eo", "e", "yeo", "ye", "o", "wa", "wae", "oe", "yo", "u", "wo",
        "we", "wi", "yu", "eu", "ui", "i",
    ];
    const FINALS: [&str; 28] = [
        "", "k", "k", "k", "n", "n", "n", "t", "l", "k", "m", "l", "l", "l", "p", "l", "m", "p",
        "p", "t", "t", "ng", "t", "t", "k", "t", "p", "t",
    ];
    let index = usize::try_from(u32::from(symbol).checked_sub(0xac00)?).ok()?;
    let initial = INITIALS.get(index / (VOWELS.len() * FINALS.len()))?;
    let vowel = VOWELS.get(index / FINALS.len() % VOWELS.len())?;
    let last = FINALS.get(index % FINALS.len())?;
    Some([initial, vowel, last])
}

fn without_mark(symbol: char) -> Option<&'static str> {
    Some(match symbol {
        'à'..='å' | 'À'..='Å' | 'ā' | 'ă' | 'ą' | 'Ā' | 'Ă' | 'Ą' => "a",
        'æ' | 'Æ' => "ae",
        'ç' | 'Ç' | 'ć' | 'Ć' | 'č' | 'Č' => "c",
        'ď' | 'Ď' | 'ð' | 'Ð' | 'đ' | 'Đ' => "d",
        'è'..='ë' | 'È'..='Ë' | 'ē' | 'Ē' | 'ę' | 'Ę' | 'ě' | 'Ě' => "e",
        'ğ' | 'Ğ' => "g",
        'ì'..='ï' | 'Ì'..='Ï' | 'ī' | 'Ī' | 'ı' | 'İ' => "i",
        'ł' | 'Ł' => "l",
        'ñ' | 'Ñ' | 'ń' | 'Ń' | 'ň' | 'Ň' => "n",
        'ò'..='ö' | 'Ò'..='Ö' | 'ø' | 'Ø' | 'ō' | 'Ō' | 'ő' | 'Ő' => "o",
        'œ' | 'Œ' => "oe",
        'ř' | 'Ř' => "r",
        'ś' | 'Ś' | 'š' | 'Š' | 'ş' | 'Ş' => "s",
        'ß' | 'ẞ' => "ss",
        'ť' | 'Ť' | 'ţ' | 'Ţ' => "t",
        'ù'..='ü' | 'Ù'..='Ü' | 'ū' | 'Ū' | 'ů' | 'Ů' | 'ű' | 'Ű' => "u",
        'ý' | 'ÿ' | 'Ý' => "y",
        'ź' | 'Ź' | 'ż' | 'Ż' | 'ž' | 'Ž' => "z",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str) -> String {
        code(name).unwrap().to_string()
    }

    /// These stand in ledgers: they never change.
    #[test]
    fn codes_are_frozen() {
        let codes: Vec<String> = ["Bread", "커피", "베이커리", "Café crème", "日替わり", "☕"]
            .iter()
            .map(|name| format!("{name} {}", text(name)))
            .collect();
        insta::assert_snapshot!(codes.join("\n"));
    }

    #[test]
    fn names_that_read_alike_have_codes_of_their_own() {
        let long = "A very long name of an article that differs at its end";
        let names = [
            "커피",
            "베이커리",
            "日替わり",
            "本日",
            "Latte",
            "latte",
            "Latte!",
            "Latte ",
            "bread",
            "Bread",
            &text("Bread"),
            &format!("{long} 1"),
            &format!("{long} 2"),
            "",
            "-",
            "--",
        ];
        let codes: std::collections::BTreeSet<String> =
            names.iter().map(|name| text(name)).collect();
        assert_eq!(codes.len(), names.len(), "{codes:?}");
        assert!(codes.iter().all(|code| code.len() <= 32));
    }
}
