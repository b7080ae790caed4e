//! Numbers and strings of protocol 0, as CPython's C code reads them.
//!
//! `strtol` with base 0 takes `0x1`, `010` and leading blanks; escapes in strings are those of Python source. Pickles
//! that use this load, and tools that read the documentation instead of the code do not see what is in them.

use super::Value;

/// The integer that `text` is with base 0, or `None`.
pub(super) fn integer(text: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(text)
        .ok()?
        .trim_matches(|c: char| c.is_ascii_whitespace() || c == '\0');
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (base, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, &lower[..]),
    };
    magnitude(digits, base).map(|bytes| signed(bytes, negative))
}

/// Base conversion by schoolbook; long decimals are refused because that is quadratic (and Python refuses them too).
fn magnitude(digits: &str, base: u32) -> Option<Vec<u8>> {
    const MAX_DIGITS: usize = 4300;
    let digits: Vec<u32> = digits
        .chars()
        .filter(|c| *c != '_')
        .map(|c| c.to_digit(base))
        .collect::<Option<_>>()?;
    if digits.is_empty() || digits.len() > MAX_DIGITS {
        return None;
    }
    let mut bytes: Vec<u8> = Vec::new();
    for digit in digits {
        let mut carry = digit;
        for byte in &mut bytes {
            let [low, rest @ ..] = (u32::from(*byte) * base + carry).to_le_bytes();
            *byte = low;
            carry = u32::from(rest[0]);
        }
        if carry > 0 {
            bytes.push(carry.to_le_bytes()[0]);
        }
    }
    Some(bytes)
}

fn signed(mut bytes: Vec<u8>, negative: bool) -> Value {
    bytes.push(0);
    if negative {
        let mut carry = true;
        for byte in &mut bytes {
            let (sum, over) = (!*byte).overflowing_add(u8::from(carry));
            *byte = sum;
            carry = over;
        }
    }
    long(&bytes)
}

/// The integer whose two's complement, little endian, is `bytes`.
pub(super) fn long(bytes: &[u8]) -> Value {
    let fill = if bytes.last().is_some_and(|byte| *byte >= 0x80) {
        0xff
    } else {
        0
    };
    let (low, high) = bytes.split_at(bytes.len().min(8));
    let mut small = [fill; 8];
    small[..low.len()].copy_from_slice(low);
    let value = i64::from_le_bytes(small);
    let fits = high.iter().all(|byte| *byte == fill) && (value < 0) == (fill == 0xff);
    if fits {
        Value::Int(value)
    } else {
        Value::Big(bytes.to_vec())
    }
}

/// The content of a quoted `STRING`, escapes resolved. Text if it is UTF-8, as torch asks for, else bytes.
pub(super) fn quoted(line: &[u8]) -> Option<Value> {
    let line = line.trim_ascii_end();
    let ([b'\'', inner @ .., b'\''] | [b'"', inner @ .., b'"']) = line else {
        return None;
    };
    Some(text_or_bytes(unescape(inner)))
}

/// Text if `bytes` are UTF-8, else bytes.
pub(super) fn text_or_bytes(bytes: Vec<u8>) -> Value {
    String::from_utf8(bytes).map_or_else(|error| Value::Bytes(error.into_bytes()), Value::Text)
}

fn unescape(mut rest: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(rest.len());
    while let Some((first, tail)) = rest.split_first() {
        let (byte, used) = if *first == b'\\' {
            escape(tail)
        } else {
            (Some(*first), 0)
        };
        bytes.extend(byte);
        rest = tail.get(used..).unwrap_or_default();
    }
    bytes
}

/// What stands behind a backslash: the byte that it means and how many bytes that took.
fn escape(tail: &[u8]) -> (Option<u8>, usize) {
    let Some(kind) = tail.first() else {
        return (Some(b'\\'), 0);
    };
    match kind {
        b'\n' => (None, 1),
        b'\\' | b'\'' | b'"' => (Some(*kind), 1),
        b'a' => (Some(7), 1),
        b'b' => (Some(8), 1),
        b'f' => (Some(12), 1),
        b'n' => (Some(b'\n'), 1),
        b'r' => (Some(b'\r'), 1),
        b't' => (Some(b'\t'), 1),
        b'v' => (Some(11), 1),
        b'x' => match number(tail.get(1..3), 16) {
            Some(value) => (Some(value.to_le_bytes()[0]), 3),
            None => (Some(b'\\'), 0),
        },
        b'0'..=b'7' => {
            let digits = tail
                .iter()
                .take(3)
                .take_while(|digit| (b'0'..=b'7').contains(digit))
                .count();
            (
                number(tail.get(..digits), 8).map(|value| value.to_le_bytes()[0]),
                digits,
            )
        }
        _ => (Some(b'\\'), 0),
    }
}

fn number(digits: Option<&[u8]>, base: u32) -> Option<u32> {
    let digits = std::str::from_utf8(digits?).ok()?;
    let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u32::from_str_radix(digits, base).ok().filter(|_| plain)
}

/// The text of a `UNICODE` line: Latin-1 with `\uXXXX` and `\UXXXXXXXX`.
pub(super) fn raw_unicode(line: &[u8]) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((first, tail)) = rest.split_first() {
        let digits = match (first, tail.first()) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            _ => 0,
        };
        let code = if digits > 0 {
            number(tail.get(1..=digits), 16)
        } else {
            None
        };
        if let Some(code) = code {
            text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            rest = tail.get(digits + 1..).unwrap_or_default();
        } else {
            text.push(char::from(*first));
            rest = tail;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_as_strtol_does() {
        let known: [(&str, i64); 8] = [
            ("0x1", 1),
            ("-0x10", -16),
            ("010", 8),
            (" 12", 12),
            ("0", 0),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
            ("1_000", 1000),
        ];
        for (text, value) in known {
            assert_eq!(integer(text.as_bytes()), Some(Value::Int(value)), "{text}");
        }
        assert_eq!(
            integer(b"9223372036854775808"),
            Some(Value::Big(vec![0, 0, 0, 0, 0, 0, 0, 0x80, 0]))
        );
        assert_eq!(integer(b"12a"), None);
        assert_eq!(integer(b""), None);
    }

    #[test]
    fn longs_are_two_s_complement() {
        assert_eq!(long(&[]), Value::Int(0));
        assert_eq!(long(&[0xff]), Value::Int(-1));
        assert_eq!(long(&[0xff, 0]), Value::Int(255));
        assert_eq!(
            long(&[0, 0, 0, 0, 0, 0, 0, 0x80, 0xff]),
            Value::Int(i64::MIN)
        );
        assert!(matches!(long(&[0xff; 8]), Value::Int(-1)));
        assert!(matches!(
            long(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]),
            Value::Big(_)
        ));
    }

    #[test]
    fn strings_and_texts_lose_their_escapes() {
        assert_eq!(
            quoted(br"'a\x41\101\n\q'"),
            Some(Value::Text("aAA\n\\q".to_owned()))
        );
        assert_eq!(quoted("'é'".as_bytes()), Some(Value::Text("é".to_owned())));
        assert_eq!(quoted(b"'open"), None);
        assert_eq!(raw_unicode(b"a\\u00e9\\U0001F600\\x\xe9"), "aé😀\\xé");
    }
}
