//! What SSH's own formats are made of: lengths of four bytes, and that many bytes behind them (RFC 4251 §5).
//!
//! Total: any bytes give values or `None`, and nothing is allocated. What the values mean is not known here.

/// Reads values off the front of some bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next `count` bytes.
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*bytes))
    }

    /// `string`: a length and bytes.
    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        self.take(length)
    }

    /// A `string` that is text.
    pub(super) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.string()?).ok()
    }

    /// `mpint`, not negative and in its one shortest form, without the zero byte in front.
    pub(super) fn number(&mut self) -> Option<&'a [u8]> {
        match self.string()? {
            [] => Some(&[]),
            [0, rest @ ..] => rest
                .first()
                .is_some_and(|byte| *byte >= 0x80)
                .then_some(rest),
            [first, ..] if *first >= 0x80 => None,
            whole => Some(whole),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Appends a `string`. Longer than four bytes can say is not made here: what is written is short.
pub(super) fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend(bytes);
}

/// A number as exactly `N` bytes, or `None` where it does not fit.
pub(super) fn fixed<const N: usize>(number: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let start = N.checked_sub(number.len())?;
    bytes.get_mut(start..)?.copy_from_slice(number);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_beyond_the_end_is_nothing() {
        assert_eq!(Reader::new(&[0, 0, 0, 2, b'a']).string(), None);
        assert_eq!(Reader::new(&[0xff; 8]).string(), None);
        assert_eq!(
            Reader::new(&[0, 0, 0, 1, b'a']).string(),
            Some(b"a".as_slice())
        );
    }

    #[test]
    fn a_number_has_one_form() {
        let number = |bytes: &'static [u8]| {
            let mut whole = Vec::new();
            put_string(&mut whole, bytes);
            Reader::new(whole.leak()).number()
        };
        assert_eq!(number(&[0, 0x80]), Some([0x80].as_slice()));
        assert_eq!(number(&[0x7f]), Some([0x7f].as_slice()));
        assert_eq!(number(&[0x80]), None, "negative");
        assert_eq!(number(&[0, 0x7f]), None, "a zero too many");
        assert_eq!(number(&[]), Some([].as_slice()));
    }

    #[test]
    fn a_number_that_is_too_long_is_not_cut() {
        assert_eq!(fixed::<2>(&[1, 2, 3]), None);
        assert_eq!(fixed::<2>(&[7]), Some([0, 7]));
    }
}
