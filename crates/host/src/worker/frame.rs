//! A frame: the length of its payload, the number of its request, the payload. Numbers are little-endian.

/// Bytes before the payload.
pub(super) const HEADER: usize = 12;

/// The number under which a worker greets; requests are numbered from 1.
pub(super) const HELLO: u64 = 0;

/// Length of the payload, and number.
pub(super) fn header(bytes: [u8; HEADER]) -> (usize, u64) {
    let [a, b, c, d, number @ ..] = bytes;
    let length = u32::from_le_bytes([a, b, c, d]);
    (
        usize::try_from(length).unwrap_or(usize::MAX),
        u64::from_le_bytes(number),
    )
}

/// Appends a frame; `false`, and nothing appended, where the payload is too long for one.
pub(super) fn put(to: &mut Vec<u8>, number: u64, payload: &[u8]) -> bool {
    let Ok(length) = u32::try_from(payload.len()) else {
        return false;
    };
    to.extend_from_slice(&length.to_le_bytes());
    to.extend_from_slice(&number.to_le_bytes());
    to.extend_from_slice(payload);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_says_its_length_and_its_number() {
        let mut bytes = b"before".to_vec();
        assert!(put(&mut bytes, 0x1234_5678_9abc, b"payload"));
        let (front, payload) = bytes[6..].split_first_chunk().unwrap();
        assert_eq!(header(*front), (7, 0x1234_5678_9abc));
        assert_eq!(payload, b"payload");
    }
}
