//! MessagePack, as far as telling that a file is one and which extension types it uses.
//!
//! Flax keeps checkpoints in it: a map with text keys, arrays as extensions of type 1 to 3. Nothing in the encoding runs;
//! other extension types are for whoever registered them. <https://github.com/msgpack/msgpack/blob/master/spec.md>

use std::collections::BTreeSet;

use crate::ReadAt;
use crate::paged::{PageError, Pages};

/// The most values that are walked.
pub const MAX_VALUES: u64 = 4 << 20;

/// What was seen.
#[derive(Debug, Default)]
pub struct Walk {
    /// Types of extensions.
    pub extensions: BTreeSet<i8>,
    /// Bytes of texts, binaries and extensions.
    pub raw_bytes: u64,
    /// Whether it ends where the file does.
    pub whole: bool,
    /// Whether the walk ended at [`MAX_VALUES`].
    pub cut: bool,
}

/// Whether `input` starts as a map whose first key is a printable text.
pub fn recognise(input: &dyn ReadAt) -> bool {
    let mut head = [0; 64];
    let size = usize::try_from(input.len())
        .unwrap_or(usize::MAX)
        .min(head.len());
    let Some(head) = head.get_mut(..size) else {
        return false;
    };
    if input.read_at(0, head).is_err() {
        return false;
    }
    let rest = match head {
        [0x81..=0x8f, rest @ ..] | [0xde, _, _, rest @ ..] | [0xdf, _, _, _, _, rest @ ..] => {
            &*rest
        }
        _ => return false,
    };
    let key = match rest {
        [size @ 0xa1..=0xbf, rest @ ..] => rest.get(..usize::from(size & 0x1f)),
        [0xd9, size, rest @ ..] => rest.get(..usize::from(*size).min(rest.len())),
        _ => None,
    };
    key.is_some_and(|key| key.iter().all(|byte| (0x20..0x7f).contains(byte)))
        && walk(input).is_ok_and(|walk| walk.whole || walk.cut)
}

/// Walks the one value that `input` is.
pub fn walk(input: &dyn ReadAt) -> Result<Walk, PageError> {
    let pages = Pages::new(input);
    let mut walk = Walk::default();
    let mut at = 0u64;
    // Values that are still to come, all levels together.
    let mut left = 1u64;
    for _ in 0..MAX_VALUES {
        if left == 0 {
            walk.whole = at == pages.len();
            return Ok(walk);
        }
        left -= 1;
        let (inside, behind) = value(&pages, at, &mut walk)?;
        left = left.saturating_add(inside);
        at = behind;
    }
    walk.cut = true;
    Ok(walk)
}

/// How many values the one at `at` holds, and where the next one stands.
fn value(pages: &Pages<'_>, at: u64, walk: &mut Walk) -> Result<(u64, u64), PageError> {
    let tag = pages.u8(at)?;
    let wide = |width: u64| -> Result<u64, PageError> {
        let mut bytes = [0; 8];
        let from = 8 - usize::try_from(width).unwrap_or(8).min(8);
        pages.fill(at + 1, bytes.get_mut(from..).unwrap_or_default())?;
        Ok(u64::from_be_bytes(bytes))
    };
    let counted = |width: u64, each: u64| wide(width).map(|count| (count * each, at + 1 + width));
    let short = u64::from(tag & 0x0f);
    Ok(match tag {
        0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => (0, at + 1),
        0x80..=0x8f => (2 * short, at + 1),
        0x90..=0x9f => (short, at + 1),
        0xa0..=0xbf => (0, bytes(pages, at + 1, u64::from(tag & 0x1f), walk)?),
        0xc1 => return Err(PageError::Outside(at)),
        0xc4 | 0xd9 => (0, bytes(pages, at + 2, wide(1)?, walk)?),
        0xc5 | 0xda => (0, bytes(pages, at + 3, wide(2)?, walk)?),
        0xc6 | 0xdb => (0, bytes(pages, at + 5, wide(4)?, walk)?),
        0xc7 => (0, extension(pages, at + 2, wide(1)?, walk)?),
        0xc8 => (0, extension(pages, at + 3, wide(2)?, walk)?),
        0xc9 => (0, extension(pages, at + 5, wide(4)?, walk)?),
        0xcc | 0xd0 => (0, at + 2),
        0xcd | 0xd1 => (0, at + 3),
        0xca | 0xce | 0xd2 => (0, at + 5),
        0xcb | 0xcf | 0xd3 => (0, at + 9),
        0xd4..=0xd8 => (0, extension(pages, at + 1, 1 << (tag - 0xd4), walk)?),
        0xdc => counted(2, 1)?,
        0xdd => counted(4, 1)?,
        0xde => counted(2, 2)?,
        0xdf => counted(4, 2)?,
    })
}

fn bytes(pages: &Pages<'_>, start: u64, size: u64, walk: &mut Walk) -> Result<u64, PageError> {
    let end = start + size;
    if end > pages.len() {
        return Err(PageError::Outside(start));
    }
    walk.raw_bytes += size;
    Ok(end)
}

fn extension(pages: &Pages<'_>, at: u64, size: u64, walk: &mut Walk) -> Result<u64, PageError> {
    let [kind] = pages.array(at)?;
    walk.extensions.insert(i8::from_le_bytes([kind]));
    bytes(pages, at + 1, size, walk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_of_flax_is_known_and_a_text_is_not() {
        let file = b"\x82\xa6params\xc7\x03\x01abc\xa4step\x05";
        assert!(recognise(&file.as_slice()));
        let walk = walk(&file.as_slice()).unwrap();
        assert!(
            walk.whole && walk.extensions == BTreeSet::from([1]) && walk.raw_bytes == 6 + 3 + 4
        );
        for other in [
            &b"{\"a\": 1}"[..],
            b"\x82\xa6params",
            b"\x81\xa1a\x05 and more",
            b"",
        ] {
            assert!(!recognise(&other), "{other:?}");
        }
    }

    #[test]
    fn claimed_counts_cost_nothing() {
        let file = b"\x81\xa1a\xdd\xff\xff\xff\xff";
        assert!(super::walk(&file.as_slice()).is_err());
    }
}
