//! Safetensors.

use taintline_formats::checkpoint::{Gap, NotReadable, Reading, Scalar, read};
use taintline_formats::safetensors::{HeaderError, Oddity};

use crate::support::checkpoint;

fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 3);
    bytes
}

#[test]
fn names_shapes_and_places_are_read() {
    let header = r#"{"__metadata__":{"format":"pt"},"w":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},"b":{"dtype":"I64","shape":[],"data_offsets":[12,20]}}"#;
    let checkpoint = checkpoint(&file(header, 20));
    assert_eq!(checkpoint.gaps, []);
    let rows: Vec<_> = checkpoint
        .tensors
        .iter()
        .map(|t| (t.name.as_str(), t.dtype, &t.shape[..], t.bytes))
        .collect();
    assert_eq!(
        rows,
        [("w", "bfloat16", &[2, 3][..], 12), ("b", "int64", &[], 8)]
    );
    assert_eq!(checkpoint.tensors[1].offset, 8 + header.len() as u64 + 12);
    assert_eq!(
        checkpoint.scalars,
        [(
            "__metadata__.format".to_owned(),
            Scalar::Text("pt".to_owned())
        )]
    );
}

#[test]
fn overlaps_holes_doubles_and_wrong_sizes_are_gaps() {
    let header = r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"a":{"dtype":"U8","shape":[4],"data_offsets":[2,6]},"c":{"dtype":"U8","shape":[9],"data_offsets":[7,8]},"d":{"dtype":"U8","shape":[1],"data_offsets":[99,100]}}"#;
    let checkpoint = checkpoint(&file(header, 10));
    let oddities: Vec<_> = checkpoint
        .gaps
        .iter()
        .filter_map(|gap| match gap {
            Gap::Header(oddity) => Some(oddity.clone()),
            _ => None,
        })
        .collect();
    let start = 8 + header.len() as u64;
    assert_eq!(
        oddities,
        [
            Oddity::DuplicateName("a".to_owned()),
            Oddity::Size("c".to_owned()),
            Oddity::OutOfBounds("d".to_owned()),
            Oddity::Overlap("a".to_owned()),
            Oddity::Hole {
                offset: start + 6,
                bytes: 1
            },
            Oddity::Hole {
                offset: start + 8,
                bytes: 2
            },
        ]
    );
    assert_eq!(checkpoint.tensors.len(), 2);
}

#[test]
fn a_header_that_is_no_json_is_told() {
    let reading = read(&file("{\"a\":1}", 0).as_slice()).unwrap();
    assert!(matches!(
        reading,
        Reading::NotReadable(NotReadable::Header(HeaderError::Json { .. }))
    ));
    let deep = format!("{{\"a\":{}", "[".repeat(100_000));
    let reading = read(&file(&deep, 0).as_slice()).unwrap();
    assert!(matches!(
        reading,
        Reading::NotReadable(NotReadable::Header(HeaderError::Json { .. }))
    ));
}
