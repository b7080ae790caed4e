//! Arrays of NumPy: numbers, or a pickle behind a header that says so.

/// Whether bytes are the beginning of an array of plain numbers.
pub(crate) fn is_plain_head(bytes: &[u8]) -> bool {
    let head = bytes.get(..bytes.len().min(1024)).unwrap_or_default();
    head.starts_with(b"\x93NUMPY") && !head.windows(2).any(|pair| pair == b"|O" || pair == b"'O")
}
