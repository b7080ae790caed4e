//! Numbers and strings of protocol 0, as CPython's C code reads them, and texts that UTF-8 cannot hold.
//!
//! `strtol` with base 0 takes `0x1`, `010` and leading blanks and stops at a NUL; escapes in strings are those of Python
//! source. Pickles that use this load, and tools that read the documentation instead of the code do not see what is in
//! them.

use super::Value;
use super::surrogate::push_code;

/// Why a number is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoNumber {
    /// No loader reads it.
    Malformed,
    /// Decimal with more digits than Python converts since 3.10.7.
    TooLong,
}

/// Decimals with more digits are refused by Python, because conversion is quadratic.
const MAX_DIGITS: usize = 4300;

/// The value of an `INT` line: a truth value, what `strtol` makes of it, or what `int(text, 0)` does.
pub(super) fn int_line(line: &[u8]) -> Result<Value, NoNumber> {
    if line.is_empty() {
        return Err(NoNumber::Malformed);
    }
    match strtol(until_nul(line), line.first() == Some(&0)) {
        Some(value @ (0 | 1)) if line.len() == 2 => Ok(Value::Bool(value == 1)),
        Some(value) => Ok(Value::Int(value)),
        None => int(line, 0),
    }
}

/// The value of a `LONG` line.
pub(super) fn long_line(line: &[u8]) -> Result<Value, NoNumber> {
    int(line.strip_suffix(b"L").unwrap_or(line), 0)
}

/// The value of a `FLOAT` line, and whether the C unpickler takes it; `pickle.py` takes what `float` takes.
pub(super) fn float_line(line: &[u8]) -> Option<(f64, bool)> {
    let number = |text: &[u8]| -> Option<f64> { str::from_utf8(text).ok()?.parse().ok() };
    let c = until_nul(line);
    if let Some(value) = number(c).filter(|value| value.is_finite() || !overflowed(c)) {
        return Some((value, true));
    }
    let text = line.trim_ascii();
    let plain: Vec<u8> = if single_underscores(text) {
        text.iter().copied().filter(|byte| *byte != b'_').collect()
    } else {
        text.to_vec()
    };
    number(&plain).map(|value| (value, false))
}

/// Whether an infinite number was written as digits.
fn overflowed(text: &[u8]) -> bool {
    text.iter().any(u8::is_ascii_digit)
}

/// Whether each underscore stands between two digits.
fn single_underscores(text: &[u8]) -> bool {
    let digit = |index: Option<usize>| {
        index
            .and_then(|index| text.get(index))
            .is_some_and(u8::is_ascii_digit)
    };
    text.iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'_')
        .all(|(index, _)| digit(index.checked_sub(1)) && digit(index.checked_add(1)))
}

/// A memo index. The second is false where only `pickle.py` has an entry with that number.
pub(super) fn index_line(line: &[u8]) -> Option<(u64, bool)> {
    match int(line, 10).ok()? {
        Value::Int(index) => u64::try_from(index).ok().map(|index| (index, true)),
        Value::Big(bytes) if bytes.last().is_some_and(|byte| *byte < 0x80) => {
            let low = bytes.first_chunk().copied().unwrap_or_default();
            Some((u64::from_le_bytes(low) | 1 << 63, false))
        }
        _ => None,
    }
}

fn until_nul(line: &[u8]) -> &[u8] {
    line.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    let blanks = text
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t'..=b'\r'))
        .count();
    text.get(blanks..).unwrap_or_default()
}

fn sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    }
}

/// C's `strtol` with base 0, if it takes all of `text` and the number fits.
fn strtol(text: &[u8], nul_first: bool) -> Option<i64> {
    if nul_first {
        // No digit is taken, and the place at which it stopped is the end.
        return Some(0);
    }
    let (negative, rest) = sign(skip_blanks(text));
    let (base, digits) = match rest {
        [b'0', b'x' | b'X', digit, ..] if digit.is_ascii_hexdigit() => (16, rest.get(2..)?),
        [b'0', ..] => (8, rest),
        _ => (10, rest),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value: i64 = 0;
    for digit in digits {
        let digit = i64::from(char::from(*digit).to_digit(base)?);
        let digit = if negative { -digit } else { digit };
        value = value.checked_mul(i64::from(base))?.checked_add(digit)?;
    }
    Some(value)
}

/// `PyLong_FromString` with base 0 or 10.
fn int(line: &[u8], base: u32) -> Result<Value, NoNumber> {
    let (negative, rest) = sign(skip_blanks(until_nul(line)));
    let (base, mut digits, zero_only) = match (base, rest) {
        (0, [b'0', b'x' | b'X', digits @ ..]) => (16, digits, false),
        (0, [b'0', b'o' | b'O', digits @ ..]) => (8, digits, false),
        (0, [b'0', b'b' | b'B', digits @ ..]) => (2, digits, false),
        (0, [b'0', ..]) => (10, rest, true),
        _ => (10, rest, false),
    };
    if base != 10 {
        digits = digits.strip_prefix(b"_").unwrap_or(digits);
    }
    let length = digits
        .iter()
        .take_while(|byte| **byte == b'_' || char::from(**byte).is_digit(base))
        .count();
    let (digits, behind) = digits.split_at(length);
    let double = |pair: &[u8]| pair == b"__";
    let bad = digits.is_empty()
        || digits.first() == Some(&b'_')
        || digits.last() == Some(&b'_')
        || digits.windows(2).any(double)
        || !skip_blanks(behind).is_empty();
    if bad {
        return Err(NoNumber::Malformed);
    }
    let digits: Vec<u8> = digits
        .iter()
        .filter_map(|byte| char::from(*byte).to_digit(base))
        .filter_map(|digit| u8::try_from(digit).ok())
        .collect();
    if zero_only && digits.iter().any(|digit| *digit != 0) {
        return Err(NoNumber::Malformed);
    }
    let magnitude = match base {
        10 if digits.len() > MAX_DIGITS => return Err(NoNumber::TooLong),
        10 => decimal(&digits),
        _ => binary(&digits, base.ilog2()),
    };
    Ok(signed(magnitude, negative))
}

/// Base conversion by schoolbook, for few digits; little endian.
fn decimal(digits: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::new();
    for digit in digits {
        let mut carry = u32::from(*digit);
        for byte in &mut bytes {
            let [low, rest @ ..] = (u32::from(*byte) * 10 + carry).to_le_bytes();
            *byte = low;
            carry = u32::from(rest[0]);
        }
        if carry > 0 {
            bytes.push(carry.to_le_bytes()[0]);
        }
    }
    bytes
}

/// Digits of `bits` bits each, the first the highest.
fn binary(digits: &[u8], bits: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(digits.len() / 2 + 1);
    let (mut held, mut count) = (0u32, 0);
    for digit in digits.iter().rev() {
        held |= u32::from(*digit) << count;
        count += bits;
        if count >= 8 {
            bytes.push(held.to_le_bytes()[0]);
            held >>= 8;
            count -= 8;
        }
    }
    bytes.push(held.to_le_bytes()[0]);
    bytes
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

/// The bytes of a quoted `STRING`, escapes resolved.
pub(super) fn quoted(line: &[u8]) -> Option<Vec<u8>> {
    let ([b'\'', inner @ .., b'\''] | [b'"', inner @ .., b'"']) = line else {
        return None;
    };
    unescape(inner)
}

/// As much of a cut-off quoted `STRING` as can be read.
pub(super) fn quoted_head(line: &[u8]) -> Vec<u8> {
    let inner = line
        .get(1..line.len().saturating_sub(4))
        .unwrap_or_default();
    unescape(inner).unwrap_or_else(|| inner.to_vec())
}

fn unescape(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(rest.len());
    while let Some((first, tail)) = rest.split_first() {
        let (byte, used) = if *first == b'\\' {
            escape(tail)?
        } else {
            (Some(*first), 0)
        };
        bytes.extend(byte);
        rest = tail.get(used..).unwrap_or_default();
    }
    Some(bytes)
}

/// What stands behind a backslash: the byte that it means and how many bytes that took. `None`: Python refuses it.
fn escape(tail: &[u8]) -> Option<(Option<u8>, usize)> {
    let kind = tail.first()?;
    Some(match kind {
        b'\n' => (None, 1),
        b'\\' | b'\'' | b'"' => (Some(*kind), 1),
        b'a' => (Some(7), 1),
        b'b' => (Some(8), 1),
        b'f' => (Some(12), 1),
        b'n' => (Some(b'\n'), 1),
        b'r' => (Some(b'\r'), 1),
        b't' => (Some(b'\t'), 1),
        b'v' => (Some(11), 1),
        b'x' => (Some(number(tail.get(1..3), 16)?.to_le_bytes()[0]), 3),
        b'0'..=b'7' => {
            let octal = |byte: &&u8| (b'0'..=b'7').contains(*byte);
            let digits = tail.iter().take(3).take_while(octal).count();
            let value = number(tail.get(..digits), 8)?;
            (Some(value.to_le_bytes()[0]), digits)
        }
        _ => (Some(b'\\'), 0),
    })
}

fn number(digits: Option<&[u8]>, base: u32) -> Option<u32> {
    let digits = std::str::from_utf8(digits?).ok()?;
    let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u32::from_str_radix(digits, base).ok().filter(|_| plain)
}

/// The text of a `UNICODE` line: Latin-1 with `\uXXXX` and `\UXXXXXXXX`; a backslash before anything else stands for
/// itself, and so does what follows it.
pub(super) fn raw_unicode(line: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        let digits = match (first, tail.first()) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            (b'\\', Some(other)) => {
                text.push('\\');
                text.push(char::from(*other));
                rest = tail.get(1..).unwrap_or_default();
                continue;
            }
            _ => {
                text.push(char::from(*first));
                continue;
            }
        };
        push_code(&mut text, number(tail.get(1..=digits), 16)?)?;
        rest = tail.get(digits + 1..).unwrap_or_default();
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_as_strtol_does() {
        let known: [(&[u8], i64); 14] = [
            (b"0x1", 1),
            (b"-0x10", -16),
            (b"010", 8),
            (b" 12", 12),
            (b"\x0b+12", 12),
            (b"0", 0),
            (b"7\0rest", 7),
            (b"\0rest", 0),
            (b"9223372036854775807", i64::MAX),
            (b"-9223372036854775808", i64::MIN),
            (b"1_000", 1000),
            (b"0b1_1", 3),
            (b"0o_17", 15),
            (b"12 ", 12),
        ];
        for (text, value) in known {
            assert_eq!(
                int_line(text),
                Ok(Value::Int(value)),
                "{}",
                text.escape_ascii()
            );
        }
        assert_eq!(
            int_line(b"9223372036854775808"),
            Ok(Value::Big(vec![0, 0, 0, 0, 0, 0, 0, 0x80, 0]))
        );
        let none: [&[u8]; 8] = [b"12a", b"", b"_1", b"1__0", b"1_", b"0x", b" ", b"08"];
        for text in none {
            assert_eq!(int_line(text), Err(NoNumber::Malformed));
        }
    }

    #[test]
    fn two_characters_that_are_0_or_1_are_a_truth_value() {
        for (text, value) in [(b"01", true), (b"00", false), (b" 1", true), (b"-0", false)] {
            assert_eq!(int_line(text), Ok(Value::Bool(value)));
        }
        assert_eq!(int_line(b"1\0"), Ok(Value::Bool(true)));
        assert_eq!(int_line(b"001"), Ok(Value::Int(1)));
    }

    #[test]
    fn a_long_takes_no_octal_and_no_second_l() {
        assert_eq!(long_line(b"0x1L"), Ok(Value::Int(1)));
        assert_eq!(long_line(b"00L"), Ok(Value::Int(0)));
        assert_eq!(long_line(b"010L"), Err(NoNumber::Malformed));
        assert_eq!(long_line(b"1LL"), Err(NoNumber::Malformed));
        assert_eq!(long_line(&[b'9'; 4301]), Err(NoNumber::TooLong));
        let large = [b"0x".to_vec(), b"f".repeat(100_000)].concat();
        assert!(matches!(long_line(&large), Ok(Value::Big(bytes)) if bytes.len() >= 50_000));
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
    fn floats_that_only_python_reads_are_known_as_such() {
        assert_eq!(float_line(b"1.5"), Some((1.5, true)));
        assert_eq!(float_line(b"-1.e3\0x"), Some((-1000.0, true)));
        assert_eq!(float_line(b"-inf"), Some((f64::NEG_INFINITY, true)));
        assert_eq!(float_line(b" 1_0.5 "), Some((10.5, false)));
        assert_eq!(float_line(b"1e999"), Some((f64::INFINITY, false)));
        assert_eq!(float_line(b"0x1"), None);
        assert_eq!(float_line(b"1e"), None);
    }

    #[test]
    fn strings_and_texts_lose_their_escapes() {
        assert_eq!(quoted(br"'a\x41\101\n\q'"), Some(b"aAA\n\\q".to_vec()));
        assert_eq!(quoted("'é'".as_bytes()), Some("é".into()));
        for bad in [br"'open".as_slice(), br"'\x4'", br"'\'", b"'", b"'a' "] {
            assert_eq!(quoted(bad), None);
        }
        assert_eq!(
            raw_unicode(b"a\\u00e9\\U0001F600\\x\xe9\\\\u0041").as_deref(),
            Some("aé😀\\xé\\\\u0041")
        );
        assert_eq!(raw_unicode(b"\\u12"), None);
        assert_eq!(raw_unicode(b"\\U00110000"), None);
    }
}
