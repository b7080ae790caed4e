//! GGUF headers: walked to their end, and every sum checked.

use proptest::prelude::*;
use taintline_formats::gguf::{self, Oddity, Value};

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

struct Info {
    name: &'static str,
    shape: Vec<u64>,
    kind: u32,
    offset: u64,
}

fn file(pairs: &[(&str, Vec<u8>)], infos: &[Info], data: usize) -> Vec<u8> {
    let mut out = b"GGUF\x03\0\0\0".to_vec();
    out.extend((infos.len() as u64).to_le_bytes());
    out.extend((pairs.len() as u64).to_le_bytes());
    for (key, value) in pairs {
        text(&mut out, key);
        out.extend(value);
    }
    for info in infos {
        text(&mut out, info.name);
        let dimensions = u32::try_from(info.shape.len());
        out.extend(dimensions.unwrap_or_default().to_le_bytes());
        for size in &info.shape {
            out.extend(size.to_le_bytes());
        }
        out.extend(info.kind.to_le_bytes());
        out.extend(info.offset.to_le_bytes());
    }
    let padded = out.len().next_multiple_of(32) + data;
    out.resize(padded, 7);
    out
}

fn string(value: &str) -> Vec<u8> {
    let mut out = 8_u32.to_le_bytes().to_vec();
    text(&mut out, value);
    out
}

fn strings(values: &[&str]) -> Vec<u8> {
    let mut out = 9_u32.to_le_bytes().to_vec();
    out.extend(8_u32.to_le_bytes());
    out.extend((values.len() as u64).to_le_bytes());
    for value in values {
        text(&mut out, value);
    }
    out
}

fn info(name: &'static str, shape: &[u64], offset: u64) -> Info {
    Info {
        name,
        shape: shape.to_vec(),
        kind: 0,
        offset,
    }
}

fn oddities(bytes: &[u8]) -> Vec<Oddity> {
    gguf::read(&bytes).unwrap_or_default().oddities
}

#[test]
fn a_good_file_is_read_to_its_end_and_nothing_is_odd() {
    let pairs = [
        ("general.name", string("tiny")),
        ("tokenizer.ggml.tokens", strings(&["a", "b", "{{ x }}"])),
        ("tokenizer.chat_template", string("{{ messages }}")),
    ];
    let bytes = file(&pairs, &[info("a", &[8], 0), info("b", &[2, 4], 32)], 64);
    let read = gguf::read(&bytes.as_slice()).unwrap();
    assert!(read.complete && read.oddities.is_empty() && read.holes.is_empty());
    assert_eq!(read.tensor_bytes, 64);
    assert_eq!(
        read.pairs[2].value,
        Value::Text(Some("{{ messages }}".to_owned()))
    );
    let Value::Array { count, templates } = &read.pairs[1].value else {
        panic!("an array is an array")
    };
    assert_eq!((*count, templates.len(), templates[0].0), (3, 1, 2));
}

#[test]
fn sizes_that_overflow_a_loaders_numbers_are_told() {
    let huge = info("w", &[1 << 62, 1 << 62], 0);
    assert_eq!(
        oddities(&file(&[], &[huge], 0)),
        [Oddity::Overflow("w".to_owned())]
    );
    let end = info("w", &[8], u64::MAX - 31);
    assert!(oddities(&file(&[], &[end], 0)).contains(&Oddity::Overflow("w".to_owned())));
    let mut array = 9_u32.to_le_bytes().to_vec();
    array.extend(10_u32.to_le_bytes());
    array.extend(u64::MAX.to_le_bytes());
    assert_eq!(
        oddities(&file(&[("k", array)], &[], 0)),
        [Oddity::Overflow("k".to_owned())]
    );
}

#[test]
fn tensors_that_overlap_or_leave_the_file_are_told() {
    let bytes = file(&[], &[info("a", &[16], 0), info("b", &[8], 32)], 64);
    assert_eq!(oddities(&bytes), [Oddity::Overlap("b".to_owned())]);
    let bytes = file(&[], &[info("a", &[99], 0)], 64);
    assert_eq!(oddities(&bytes), [Oddity::OutOfBounds("a".to_owned())]);
    let bytes = file(&[], &[info("a", &[8], 0), info("a", &[8], 33)], 96);
    let found = oddities(&bytes);
    assert!(found.contains(&Oddity::DuplicateTensor("a".to_owned())));
    assert!(found.contains(&Oddity::Unaligned("a".to_owned())));
}

#[test]
fn what_belongs_to_no_tensor_is_a_hole() {
    let bytes = file(&[], &[info("a", &[8], 0), info("b", &[8], 96)], 400);
    let read = gguf::read(&bytes.as_slice()).unwrap();
    let data = read.data_offset;
    assert_eq!(read.holes, [(data + 32, 64), (data + 128, 272)]);
}

#[test]
fn a_header_that_breaks_off_says_where() {
    let bytes = file(&[("general.name", string("tiny"))], &[], 0);
    for end in 8..50 {
        let read = gguf::read(&&bytes[..end]).unwrap();
        assert!(!read.complete);
        assert!(matches!(read.oddities[..], [Oddity::Truncated(_)]), "{end}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..400), cut in 0_usize..200) {
        let mut hostile = b"GGUF\x03\0\0\0".to_vec();
        hostile.extend(&bytes);
        gguf::read(&hostile.as_slice()).unwrap();
        let pairs = [("tokenizer.chat_template", string("{{ x }}"))];
        let mut good = file(&pairs, &[info("a", &[8], 0)], 32);
        for (at, byte) in bytes.iter().enumerate().take(4) {
            let place = (cut + at * 7) % good.len();
            good[place] = *byte;
        }
        gguf::read(&good.as_slice()).unwrap();
    }
}
