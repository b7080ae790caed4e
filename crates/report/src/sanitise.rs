//! Hostile text never reaches a terminal, a page or a log raw.
//!
//! File names, run arguments and strings out of checkpoints are written by whoever wants to hide. Control characters move
//! the cursor, bidirectional marks reorder what is read, zero-width and tag characters hide text in text. All of them are
//! shown as `\u{…}`, so that nothing is lost and nothing acts.

use std::borrow::Cow;

/// `text` with everything that could act on a terminal, reorder or hide made visible.
pub fn sanitise(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_active) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_active(character) {
            safe.extend(character.escape_unicode());
        } else {
            safe.push(character);
        }
    }
    Cow::Owned(safe)
}

/// The same, shortened in the middle to at most `width` characters.
pub fn shorten(text: &str, width: usize) -> String {
    let safe = sanitise(text);
    let length = safe.chars().count();
    if length <= width || width < 8 {
        return safe.into_owned();
    }
    let head = (width - 1) / 2;
    let tail = width - 1 - head;
    let start: String = safe.chars().take(head).collect();
    let end: String = safe.chars().skip(length - tail).collect();
    format!("{start}…{end}")
}

/// JSON in which everything that could act is an escape of JSON's own: the same document, harmless on a terminal.
pub(crate) fn harmless_json(json: String) -> String {
    if !json.chars().any(is_active) {
        return json;
    }
    let mut safe = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        if is_active(character) {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                safe.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            safe.push(character);
        }
    }
    safe
}

fn is_active(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_acts_comes_through() {
        let hostile = "a\x1b[2Jb\u{202e}c\u{200b}d\u{e0041}e\rf\ng\u{9b}31m";
        let safe = sanitise(hostile);
        assert!(!safe.chars().any(is_active), "{safe:?}");
        assert_eq!(
            safe,
            "a\\u{1b}[2Jb\\u{202e}c\\u{200b}d\\u{e0041}e\\u{d}f\\u{a}g\\u{9b}31m"
        );
    }

    #[test]
    fn json_means_the_same_and_nothing_in_it_acts() {
        let hostile = "a\u{9b}31mb\u{202e}c\u{e0041}\u{7f}";
        let safe = harmless_json(serde_json::to_string(hostile).unwrap());
        assert!(!safe.chars().any(is_active), "{safe:?}");
        assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), hostile);
    }

    #[test]
    fn ordinary_text_is_left_alone() {
        assert!(matches!(sanitise("ckpt/größe-日本.pt"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_long_text_keeps_both_ends() {
        assert_eq!(shorten("abcdefghijklmnop", 9), "abcd…mnop");
        assert_eq!(shorten("short", 9), "short");
    }
}
