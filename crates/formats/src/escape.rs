//! Escapes in texts as Python resolves them, which Jinja and Python source share.

/// Resolves the backslash escapes of a Python text literal; with `bytes`, those of a bytes literal, where `\u` and `\N`
/// mean nothing. What is no escape stays as it stands.
pub(crate) fn unescape(text: &str, bytes: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let behind = &rest[at + 1..];
        let used = if let Some((value, used)) = escape(behind, bytes) {
            out.extend(value);
            used
        } else {
            out.push('\\');
            0
        };
        rest = &behind[used..];
    }
    out.push_str(rest);
    out
}

/// What stands behind a backslash, a character or the empty joint of lines, and the bytes used; `None` if it is no escape.
fn escape(text: &str, bytes: bool) -> Option<(Option<char>, usize)> {
    let first = text.chars().next()?;
    let simple = match first {
        '\n' => return Some((None, 1)),
        '\\' | '\'' | '"' => first,
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        'x' => return number(text, 1, 2, 16),
        'u' if !bytes => return number(text, 1, 4, 16),
        'U' if !bytes => return number(text, 1, 8, 16),
        'N' if !bytes => return named(text),
        '0'..='7' => {
            let digits = text.bytes().take(3);
            let digits = digits.take_while(|byte| (b'0'..=b'7').contains(byte));
            return number(text, 0, digits.count(), 8);
        }
        _ => return None,
    };
    Some((Some(simple), 1))
}

fn number(text: &str, skip: usize, digits: usize, radix: u32) -> Option<(Option<char>, usize)> {
    let value = text
        .get(skip..skip + digits)
        .and_then(|digits| u32::from_str_radix(digits, radix).ok());
    // A surrogate has no character of its own; what it hides is told by the mark.
    let found = char::from_u32(value?).unwrap_or(char::REPLACEMENT_CHARACTER);
    Some((Some(found), skip + digits))
}

/// `\N{…}`: letters, digits and the few marks that names are made of.
fn named(text: &str) -> Option<(Option<char>, usize)> {
    let (name, _) = text.strip_prefix("N{")?.split_once('}')?;
    let upper = name.to_ascii_uppercase();
    let letter = |prefix: &str| {
        let letter = upper.strip_prefix(prefix)?;
        letter.chars().next().filter(|_| letter.len() == 1)
    };
    let found = match upper.as_str() {
        "LOW LINE" => '_',
        "FULL STOP" => '.',
        "SPACE" => ' ',
        "LEFT PARENTHESIS" => '(',
        "RIGHT PARENTHESIS" => ')',
        _ => letter("LATIN CAPITAL LETTER ")
            .or_else(|| letter("LATIN SMALL LETTER ").map(|letter| letter.to_ascii_lowercase()))
            .unwrap_or(char::REPLACEMENT_CHARACTER),
    };
    Some((Some(found), name.len() + 3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_those_of_python() {
        let same = [
            (r"\x5f\x5fclass\137\137", "__class__"),
            (r"\u005f\U0000005f\N{LOW LINE}", "___"),
            (r"\N{LATIN SMALL LETTER C}lass", "class"),
            ("a\\\nb\\q\\", "ab\\q\\"),
            (r"\n\t\\", "\n\t\\"),
            (r"\x5", r"\x5"),
        ];
        for (written, meant) in same {
            assert_eq!(unescape(written, false), meant);
        }
        assert_eq!(unescape(r"\u005f", true), r"\u005f");
    }
}
