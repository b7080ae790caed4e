//! Parameters to one number that changes when they do, at memory speed.
//!
//! This runs inside the training process between two steps, so it allocates nothing and reads each byte once. It knows
//! no names and no shapes: the caller hands the buffers over in a fixed order. What it says is a claim of the process
//! it runs in; what it is good for is that the claim cannot be altered later.

use domain::Fingerprint;
use xxhash_rust::xxh3::Xxh3;

pub use crate::element::ElementKind;
use crate::element::{brain, half};

/// The fingerprint of `buffers` in their order: xxh3-128 over each buffer's length (8 bytes, little endian) and bytes.
///
/// The lengths bind the boundaries: moving a byte from the end of one tensor to the start of the next is a change, and
/// so is an empty tensor more.
pub fn of_buffers<'a>(buffers: impl IntoIterator<Item = &'a [u8]>) -> Fingerprint {
    let mut state = Xxh3::new();
    for buffer in buffers {
        state.update(&(buffer.len() as u64).to_le_bytes());
        state.update(buffer);
    }
    Fingerprint::from_bits(state.digest128())
}

/// The sum of the squares of all elements, in double precision; its root is the norm.
///
/// `bytes` are little-endian elements without gaps. Not-a-number and infinity pass through to the sum. `None` if `kind`
/// is no float of 16, 32 or 64 bits, or if `bytes` does not end with a whole element.
pub fn sum_of_squares(kind: ElementKind, bytes: &[u8]) -> Option<f64> {
    match kind {
        ElementKind::F32 => squares(bytes, f32::from_le_bytes),
        ElementKind::F64 => squares(bytes, f64::from_le_bytes),
        ElementKind::F16 => squares(bytes, |element| half(u16::from_le_bytes(element))),
        ElementKind::Bf16 => squares(bytes, |element| brain(u16::from_le_bytes(element))),
        _ => None,
    }
}

const LANES: usize = 8;

/// Eight sums side by side: the compiler turns them into vector registers, and rounding errors stay small.
#[inline]
fn squares<const SIZE: usize, V: Into<f64>>(
    bytes: &[u8],
    value: impl Fn([u8; SIZE]) -> V,
) -> Option<f64> {
    let (elements, rest) = bytes.as_chunks::<SIZE>();
    if !rest.is_empty() {
        return None;
    }
    let (groups, tail) = elements.as_chunks::<LANES>();
    let mut sums = [0.0f64; LANES];
    for group in groups {
        for (sum, element) in sums.iter_mut().zip(group) {
            let number: f64 = value(*element).into();
            *sum += number * number;
        }
    }
    for (sum, element) in sums.iter_mut().zip(tail) {
        let number: f64 = value(*element).into();
        *sum += number * number;
    }
    Some(sums.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(values: &[f32]) -> Vec<u8> {
        values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect()
    }

    #[test]
    fn a_byte_that_crosses_a_boundary_is_a_change() {
        let whole = of_buffers([&b"abcd"[..], b"ef"]);
        assert_eq!(whole, of_buffers([&b"abcd"[..], b"ef"]));
        for other in [
            vec![&b"abc"[..], b"def"],
            vec![b"abcdef"],
            vec![b"abcd", b"ef", b""],
            vec![b"ef", b"abcd"],
        ] {
            assert_ne!(whole, of_buffers(other.iter().copied()), "{other:?}");
        }
    }

    #[test]
    fn the_fingerprint_is_xxh3_of_lengths_and_bytes() {
        let large = vec![7u8; 5000];
        let mut flat = 5000u64.to_le_bytes().to_vec();
        flat.extend(&large);
        flat.extend([1, 0, 0, 0, 0, 0, 0, 0, 9]);
        let expected = xxhash_rust::xxh3::xxh3_128(&flat);
        assert_eq!(of_buffers([&large[..], &[9]]).bits(), expected);
    }

    #[test]
    fn squares_are_summed_over_groups_and_tail() {
        let values: Vec<f32> = (1..=19u8).map(f32::from).collect();
        assert_eq!(
            sum_of_squares(ElementKind::F32, &bytes_of(&values)),
            Some(2470.0)
        );
        let doubles: Vec<u8> = values
            .iter()
            .flat_map(|value| f64::from(*value).to_le_bytes())
            .collect();
        assert_eq!(sum_of_squares(ElementKind::F64, &doubles), Some(2470.0));
        let brains: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes()[2..].to_vec())
            .collect();
        assert_eq!(sum_of_squares(ElementKind::Bf16, &brains), Some(2470.0));
        assert_eq!(
            sum_of_squares(ElementKind::F16, &[0x00, 0x3c, 0x00, 0xc0]),
            Some(5.0)
        );
    }

    #[test]
    fn what_cannot_be_summed_is_said_and_not_guessed() {
        assert_eq!(sum_of_squares(ElementKind::F32, &[0; 7]), None);
        assert_eq!(sum_of_squares(ElementKind::I32, &[0; 8]), None);
        assert_eq!(sum_of_squares(ElementKind::F32, &[]), Some(0.0));
        assert!(
            sum_of_squares(ElementKind::F32, &bytes_of(&[1.0, f32::NAN])).is_some_and(f64::is_nan)
        );
        assert_eq!(
            sum_of_squares(ElementKind::F32, &bytes_of(&[f32::INFINITY])),
            Some(f64::INFINITY)
        );
    }
}
