//! Lone surrogates in a Rust `String`.
//!
//! Python's texts may hold halves of surrogate pairs, pickles write them, and UTF-8 has no room for them. Replacing them
//! by one mark would make two different names look alike, so each keeps its number: U+FFFF, which no text means, and then
//! U+E000 plus the low eleven bits. U+FFFF itself is doubled. Every text has exactly one such form.

const ESCAPE: char = '\u{ffff}';

/// Adds the character with this number; `None` if Python has none.
pub(super) fn push_code(text: &mut String, code: u32) -> Option<()> {
    if let Some(character) = char::from_u32(code) {
        if character == ESCAPE {
            text.push(ESCAPE);
        }
        text.push(character);
        return Some(());
    }
    let half = code.checked_sub(0xd800).filter(|half| *half < 0x800)?;
    text.push(ESCAPE);
    text.push(char::from_u32(0xe000 + half)?);
    Some(())
}

/// The numbers of the characters that Python has for `text`.
pub fn codes(text: &str) -> impl Iterator<Item = u32> {
    let mut characters = text.chars();
    std::iter::from_fn(move || {
        let first = characters.next()?;
        if first != ESCAPE {
            return Some(u32::from(first));
        }
        Some(match characters.next() {
            Some(half @ '\u{e000}'..='\u{e7ff}') => u32::from(half) - 0xe000 + 0xd800,
            _ => u32::from(ESCAPE),
        })
    })
}

/// The text that `bytes` are in UTF-8 with surrogates; `None` if they are none. Of the head of a longer text, a character
/// that is cut at the end is left out.
pub(super) fn decode(bytes: &[u8], is_head: bool) -> Option<String> {
    if let Ok(text) = str::from_utf8(bytes)
        && !text.contains(ESCAPE)
    {
        return Some(text.to_owned());
    }
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    loop {
        let (valid, behind) = match str::from_utf8(rest) {
            Ok(valid) => (valid, &[][..]),
            Err(error) => {
                let (valid, behind) = rest.split_at(error.valid_up_to());
                (str::from_utf8(valid).ok()?, behind)
            }
        };
        for character in valid.chars() {
            push_code(&mut text, u32::from(character))?;
        }
        match behind {
            [] => return Some(text),
            [0xed, second @ 0xa0..=0xbf, third @ 0x80..=0xbf, behind @ ..] => {
                let code = 0xd000 | u32::from(second & 0x3f) << 6 | u32::from(third & 0x3f);
                push_code(&mut text, code)?;
                rest = behind;
            }
            cut if is_head && cut.len() < 4 => return Some(text),
            _ => return None,
        }
    }
}

/// The text that `bytes` are in UTF-8 proper.
pub(super) fn decode_strict(bytes: &[u8]) -> Option<String> {
    str::from_utf8(bytes).ok()?;
    decode(bytes, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_of_python_has_one_form_and_comes_back() {
        let texts: [&[u32]; 5] = [
            &[0x61, 0xd800, 0x62],
            &[0xdfff, 0xd800],
            &[0xffff, 0xe000],
            &[0xffff, 0xffff],
            &[0xfffd, 0x1f600],
        ];
        let forms: Vec<String> = texts
            .iter()
            .map(|text| {
                let mut form = String::new();
                for code in *text {
                    push_code(&mut form, *code).unwrap();
                }
                assert_eq!(codes(&form).collect::<Vec<_>>(), *text);
                form
            })
            .collect();
        for (index, form) in forms.iter().enumerate() {
            assert!(!forms[index + 1..].contains(form));
        }
    }

    #[test]
    fn utf_8_is_read_as_surrogatepass_does() {
        assert_eq!(decode(b"ok", false).as_deref(), Some("ok"));
        let lone = decode(b"a\xed\xa0\x80", false).unwrap();
        assert_eq!(codes(&lone).collect::<Vec<_>>(), [0x61, 0xd800]);
        assert_eq!(decode(b"a\xff", false), None);
        assert_eq!(decode(b"a\xed\xa0", false), None);
        assert_eq!(decode(b"a\xed\xa0", true).as_deref(), Some("a"));
        assert_ne!(
            decode(b"\xed\xa0\x80", false),
            decode("\u{fffd}".as_bytes(), false)
        );
    }
}
