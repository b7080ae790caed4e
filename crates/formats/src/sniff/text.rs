//! Text, and what it is written in.
//!
//! Only what a scanner treats differently is told apart, by how it starts; a parser of the format decides.

use super::Format;

/// The format of text that starts with `head`; `None` for what is no text. `whole` when that is all of it.
pub(super) fn of(head: &[u8], whole: bool) -> Option<Format> {
    if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
        return Some(Format::Text);
    }
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let text = match str::from_utf8(text) {
        Ok(text) => text,
        // The head may end within a character.
        Err(error) if !whole && error.error_len().is_none() => {
            str::from_utf8(text.get(..error.valid_up_to()).unwrap_or_default()).unwrap_or_default()
        }
        Err(_) => return None,
    };
    let printable = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t' | '\x0c' | '\x1b');
    if text.is_empty() || !text.chars().all(printable) {
        return None;
    }
    let start = text.trim_start();
    let lower = start.get(..64).unwrap_or(start).to_ascii_lowercase();
    Some(if is_json(start) {
        Format::Json
    } else if lower.starts_with("<!doctype html") || lower.starts_with("<html") {
        Format::Html
    } else if is_xml(start) {
        Format::Xml
    } else if is_yaml(start) {
        Format::Yaml
    } else {
        Format::Text
    })
}

fn is_json(text: &str) -> bool {
    let after = |open: char| text.strip_prefix(open).map(str::trim_start);
    let object = after('{').is_some_and(|rest| rest.is_empty() || rest.starts_with(['"', '}']));
    let starts_value = ['[', '{', '"', ']', '-', 't', 'f', 'n'];
    let array = after('[').is_some_and(|rest| {
        let digit = rest.starts_with(|c: char| c.is_ascii_digit());
        rest.is_empty() || digit || rest.starts_with(starts_value)
    });
    // A section of an INI file starts as an array does.
    let section = text
        .lines()
        .next()
        .is_some_and(|line| line.trim_end().ends_with(']') && !line.contains(['"', ',']));
    object || (array && !section) || matches!(text.trim_end(), "[]")
}

fn is_xml(text: &str) -> bool {
    text.strip_prefix('<').is_some_and(|rest| {
        rest.starts_with("?xml") || rest.starts_with("!--") || rest.starts_with("!DOCTYPE") || {
            let name = rest.starts_with(|c: char| c.is_ascii_alphabetic());
            name && rest.contains('>')
        }
    })
}

fn is_yaml(text: &str) -> bool {
    let lines = || {
        text.lines()
            .map(str::trim_end)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
    };
    let Some(first) = lines().next() else {
        return false;
    };
    if first == "---" || first.starts_with("--- ") || first.starts_with("%YAML") {
        return true;
    }
    let keyed = |line: &str| {
        line.split_once(':').is_some_and(|(key, rest)| {
            let plain = |c: char| c.is_alphanumeric() || "_-./\"'".contains(c);
            let key = key.strip_prefix("- ").unwrap_or(key);
            !key.is_empty() && key.chars().all(plain) && (rest.is_empty() || rest.starts_with(' '))
        })
    };
    // Prose has a colon here and there; a document has one in every line that is not indented.
    lines()
        .filter(|line| !line.starts_with([' ', '-', '}', ']']))
        .take(8)
        .all(keyed)
        && lines().any(keyed)
}
