//! Safetensors.

use taintline_formats::checkpoint::{Gap, NotReadable, Reading, Scalar, read};
use taintline_formats::safetensors::{self, Header, HeaderError, MAX_TENSORS, Oddity};

use crate::support::{checkpoint, good};

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
    let reading = read(&file("{\"a\" 1}", 0).as_slice()).unwrap();
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

fn header(text: &str, data: usize) -> Header {
    good(good(safetensors::read(&file(text, data).as_slice())))
}

fn name(text: &str) -> String {
    text.to_owned()
}

#[test]
fn every_name_counts_however_often_and_wherever_it_stands() {
    let found = header(
        r#"{"__metadata__":{"a":"1","a":"2"},"__metadata__":{"b":"3"},"w":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}"#,
        1,
    );
    assert_eq!(found.metadata.len(), 3);
    assert_eq!(found.tensors[0].dtype, "I8");
    assert_eq!(
        found.oddities,
        [
            Oddity::DuplicateName(name("a")),
            Oddity::DuplicateName(name("__metadata__")),
            Oddity::Fields(name("w")),
        ]
    );
}

#[test]
fn what_is_no_tensor_and_no_text_is_noted_and_the_rest_is_read() {
    let found = header(
        r#"{"__metadata__":{"a":1,"b":["x"],"c":"text"},"n":1,"o":{"dtype":"U8"},"s":{"dtype":"U8","shape":["1"],"data_offsets":[0,1]},"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"more":{"deep":[[]]}},"q":{"dtype":"X9","shape":[1],"data_offsets":[1,2]},"h":{"dtype":"F64","shape":[9223372036854775808,2],"data_offsets":[2,2]}}"#,
        2,
    );
    assert_eq!(
        found.oddities,
        [
            Oddity::Metadata(name("a")),
            Oddity::Metadata(name("b")),
            Oddity::NoTensor(name("n")),
            Oddity::NoTensor(name("o")),
            Oddity::Fields(name("s")),
            Oddity::NoTensor(name("s")),
            Oddity::Fields(name("w")),
            Oddity::UnknownType(name("q")),
            Oddity::Size(name("h")),
        ]
    );
    assert_eq!(found.metadata, [(name("c"), name("text"))]);
    assert_eq!(found.tensors.len(), 3);
    let found = header(r#"{"__metadata__":3}"#, 0);
    assert_eq!(found.oddities, [Oddity::Metadata(name("__metadata__"))]);
}

#[test]
fn bytes_that_are_neither_json_nor_a_tensor_are_places_to_look_into() {
    assert_eq!(header("{}   ", 0).oddities, []);
    let text = "{}\0\0hidden";
    let found = header(text, 0);
    let behind = Oddity::BehindJson {
        offset: 10,
        bytes: 8,
    };
    assert_eq!(found.oddities, [behind]);
    assert_eq!(found.unclaimed, [(10, 8)]);
    assert_eq!(header("{}\n\t", 0).oddities.len(), 1);
    assert_eq!(header(" {}", 0).oddities, [Oddity::Start]);
    let found = header(
        r#"{"w":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#,
        4,
    );
    let places: Vec<u64> = found.unclaimed.iter().map(|(_, bytes)| *bytes).collect();
    assert_eq!(places, [1, 2]);
}

#[test]
fn more_tensors_than_are_listed_are_told() {
    let tensor = r#""a":{"dtype":"U8","shape":[],"data_offsets":[0,0]},"#.repeat(MAX_TENSORS + 5);
    let found = header(&format!("{{{}}}", tensor.trim_end_matches(',')), 0);
    assert_eq!(found.tensors.len(), MAX_TENSORS);
    assert_eq!(found.oddities[0], Oddity::TooMany);
}
