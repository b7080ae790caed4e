//! ZIP directories.

use std::io::Write as _;

use taintline_formats::ReadAt;
use taintline_formats::compressed::{Budget, Decoder};
use taintline_formats::zip::{
    Content, CrcError, Directory, LocalField, Member, Oddity, Refused, SeenBy, ZipError, end,
    is_unsafe_name, open, read, salvage, verify,
};

use crate::compressed::unhex;
use crate::support::{Zip, good};

#[test]
fn members_are_found_with_the_place_of_their_bytes() {
    for wide in [false, true] {
        let mut zip = Zip::default();
        zip.wide = wide;
        let bytes = zip
            .stored("a/x", b"first")
            .stored("a/y", b"second")
            .finish();
        let directory = read(&bytes.as_slice()).unwrap();
        assert_eq!(directory.oddities, []);
        let member = directory.find(b"A/Y").unwrap();
        let start = usize::try_from(member.data_offset).unwrap();
        assert_eq!(&bytes[start..start + 6], b"second");
        assert!(member.is_stored());
    }
}

#[test]
fn names_twice_overlaps_and_other_local_names_are_noted() {
    let mut zip = Zip::default()
        .stored("a", b"first")
        .member("b", "c", 0, b"x")
        .stored("A", b"second");
    zip.list("d", 0, 0, 5);
    let directory = read(&zip.finish().as_slice()).unwrap();
    assert_eq!(
        directory.oddities,
        [
            Oddity::LocalName("b".to_owned()),
            Oddity::LocalName("d".to_owned()),
            Oddity::DuplicateName("a".to_owned()),
            Oddity::Overlap("d".to_owned())
        ]
    );
    assert_eq!(directory.find(b"a").unwrap().size, 6);
}

#[test]
fn members_whose_bytes_are_missing_are_noted_and_left_out() {
    let mut zip = Zip::default().stored("a", b"first");
    zip.list("far", 0, 1 << 30, 5);
    zip.list("long", 0, 0, 1 << 30);
    let directory = read(&zip.finish().as_slice()).unwrap();
    assert_eq!(directory.members.len(), 1);
    assert_eq!(
        directory.oddities,
        [
            Oddity::BytesMissing("far".to_owned()),
            Oddity::BytesMissing("long".to_owned())
        ]
    );
}

#[test]
fn an_archive_cut_anywhere_is_an_error_or_says_what_is_odd() {
    let bytes = Zip::default()
        .stored("a", b"first")
        .stored("b", b"second")
        .finish();
    for cut in 0..bytes.len() {
        match read(&&bytes[..cut]) {
            Ok(directory) => assert!(!directory.oddities.is_empty(), "cut at {cut}"),
            Err(ZipError::NoEnd | ZipError::OutOfBounds) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn bytes_behind_the_end_and_a_wrong_count_are_noted() {
    let mut bytes = Zip::default().stored("a", b"first").finish();
    let count = bytes.len() - 12;
    bytes[count] = 7;
    bytes.extend(b"tail");
    let directory = read(&bytes.as_slice()).unwrap();
    assert_eq!(
        directory.oddities,
        [
            Oddity::TrailingBytes(4),
            Oddity::Count { found: 1, said: 7 },
            Oddity::Unclaimed {
                offset: bytes.len() as u64 - 4,
                bytes: 4
            },
        ]
    );
}

const BOTH: SeenBy = SeenBy {
    torch: true,
    python: true,
};
const PYTHON: SeenBy = SeenBy {
    torch: false,
    python: true,
};
const TORCH: SeenBy = SeenBy {
    torch: true,
    python: false,
};
const NOBODY: SeenBy = SeenBy {
    torch: false,
    python: false,
};

fn content(archive: &[u8], member: &Member) -> Vec<u8> {
    let mut bytes = Vec::new();
    match good(open(&archive, member)) {
        Content::Stored(window) => {
            bytes.resize(usize::try_from(window.len()).unwrap_or(usize::MAX), 0);
            good(window.read_at(0, &mut bytes));
        }
        Content::Compressed(window, codec) => {
            bytes = good(Decoder::new(&window, codec, Budget::default()).spool()).0;
        }
    }
    bytes
}

fn seen(archive: &[u8], directory: &Directory) -> Vec<(String, Vec<u8>, SeenBy)> {
    let row = |member: &Member| {
        let name = member.name_text().into_owned();
        (name, content(archive, member), member.seen_by)
    };
    directory.members_all_views().map(row).collect()
}

fn row(name: &str, bytes: &[u8], seen_by: SeenBy) -> (String, Vec<u8>, SeenBy) {
    (name.to_owned(), bytes.to_vec(), seen_by)
}

#[test]
fn a_member_that_no_directory_lists_is_found_with_its_bytes() {
    let bytes = Zip::default()
        .stored("a", b"first")
        .unlisted("b", b"hidden")
        .stored("c", b"third")
        .finish();
    let directory = read(&bytes.as_slice()).unwrap();
    assert_eq!(
        seen(&bytes, &directory),
        [
            row("a", b"first", BOTH),
            row("c", b"third", BOTH),
            row("b", b"hidden", NOBODY)
        ]
    );
    let name = "b".to_owned();
    assert_eq!(directory.oddities, [Oddity::Unlisted { name, offset: 36 }]);
    assert_eq!(directory.unclaimed, []);
}

#[test]
fn bytes_between_members_are_named_unless_they_are_zero() {
    let bytes = Zip::default()
        .stored("a", b"first")
        .loose(&[0; 64])
        .stored("b", b"second")
        .loose(b"\x80\x04N.")
        .finish();
    let directory = read(&bytes.as_slice()).unwrap();
    let offset = 36 + 64 + 37;
    assert_eq!(directory.unclaimed, [(offset, 4)]);
    assert_eq!(directory.oddities, [Oddity::Unclaimed { offset, bytes: 4 }]);
}

#[test]
fn a_comment_is_a_place_to_look_into() {
    let mut bytes = Zip::default().stored("a", b"first").finish();
    let size = bytes.len() - 2;
    bytes[size] = 4;
    bytes.extend(b"cos\n");
    let directory = read(&bytes.as_slice()).unwrap();
    assert_eq!(directory.unclaimed, [(bytes.len() as u64 - 4, 4)]);
}

#[test]
fn bytes_before_the_archive_move_everything_for_python_and_end_it_for_torch() {
    let archive = Zip::default().stored("a", b"first").finish();
    let bytes = [b"#!/bin/sh\n".as_slice(), &archive].concat();
    let directory = read(&bytes.as_slice()).unwrap();
    let found = seen(&bytes, &directory);
    assert!(found.contains(&row("a", b"first", PYTHON)), "{found:?}");
    assert!(directory.oddities.contains(&Oddity::TwoDirectories));
    assert_eq!(directory.unclaimed, [(0, 10)]);
    let length = bytes.len() as u64;
    assert_eq!(end(&bytes.as_slice()).unwrap(), Some(length));
}

#[test]
fn two_64_bit_records_give_each_reader_its_own_directory() {
    let mut zip = Zip::default();
    zip.wide = true;
    let first = zip.stored("a", b"for torch").finish();
    // Behind the first archive, without its end, comes the whole second one; the locator still points to the record
    // of the first.
    let end64 = first.len() - 22 - 20 - 56;
    let mut zip = Zip::default();
    zip.wide = true;
    let second = zip.stored("b", b"for python").finish();
    let mut bytes = first[..end64 + 56].to_vec();
    bytes.extend(&second);
    let locator = bytes.len() - 22 - 20 + 8;
    bytes[locator..locator + 8].copy_from_slice(&(end64 as u64).to_le_bytes());
    let directory = read(&bytes.as_slice()).unwrap();
    let found = seen(&bytes, &directory);
    assert_eq!(
        found,
        [
            row("a", b"for torch", TORCH),
            row("b", b"for python", PYTHON)
        ]
    );
    assert!(directory.oddities.contains(&Oddity::TwoDirectories));
}

#[test]
fn a_second_archive_behind_the_first_gives_both() {
    let first = Zip::default().stored("a", b"first").finish();
    let second = Zip::default().stored("b", b"second").finish();
    let bytes = [first, second].concat();
    let directory = read(&bytes.as_slice()).unwrap();
    let found = seen(&bytes, &directory);
    assert!(found.contains(&row("b", b"second", PYTHON)), "{found:?}");
    assert!(found.contains(&row("a", b"first", NOBODY)), "{found:?}");
}

#[test]
fn without_an_end_the_local_headers_are_salvaged() {
    let bytes = Zip::default()
        .stored("a", b"first")
        .stored("b", b"second")
        .finish();
    let cut = &bytes[..80];
    assert_eq!(end(&cut).unwrap(), None);
    let directory = salvage(&cut).unwrap();
    assert_eq!(
        seen(cut, &directory),
        [row("a", b"first", NOBODY), row("b", b"second", NOBODY)]
    );
}

#[test]
fn what_the_local_header_says_otherwise_is_noted_and_looked_into() {
    let mut zip = Zip::default();
    zip.list("a", 0, 0, 6);
    let bytes = zip
        .loose(
            b"PK\x03\x04\x2d\0\x01\0\x08\0\0\0\0\0\x01\0\0\0\x05\0\0\0\x05\0\0\0\x01\0\0\0abytes!",
        )
        .finish();
    let directory = read(&bytes.as_slice()).unwrap();
    let fields: Vec<LocalField> = directory
        .oddities
        .iter()
        .filter_map(|oddity| match oddity {
            Oddity::LocalDiffers { field, .. } => Some(*field),
            _ => None,
        })
        .collect();
    let expected = [
        LocalField::Method,
        LocalField::Encryption,
        LocalField::Size,
        LocalField::Crc,
    ];
    assert_eq!(fields, expected);
    let methods: Vec<u16> = directory
        .members_all_views()
        .map(|member| member.method)
        .collect();
    assert_eq!(methods, [0, 8]);
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    good(writer.write_all(bytes));
    good(writer.finish())
}

#[test]
fn members_are_read_through_every_method_and_checked_on_request() {
    let text = b"taintline ".repeat(20);
    let methods = [
        (8, deflated(&text)),
        (
            12,
            unhex(
                "425a68393141592653594d1be8c000005991804000222504002000310c0052a867aa7a4c4c4c4e93e261313a4fc5dc914e14241346fa3000",
            ),
        ),
        (
            14,
            unhex("090405005d00008000003a184972887bf9b73061993873166db7ffff82478000"),
        ),
        (
            93,
            unhex("28b52ffd24c88d0000507461696e746c696e65200100bb520509310d9b1e"),
        ),
    ];
    for (method, data) in methods {
        let bytes = Zip::default().member("a", "a", method, &data).finish();
        let directory = read(&bytes.as_slice()).unwrap();
        let mut member = directory.members[0].clone();
        assert_eq!(content(&bytes, &member), text, "{method}");
        let check =
            |member: &Member| good(verify(&bytes.as_slice(), member, Budget::default(), |_| ()));
        assert_eq!(check(&member), Err(CrcError::Size));
        member.size = text.len() as u64;
        assert!(matches!(check(&member), Err(CrcError::Differs { .. })));
        member.crc = 1;
        if let Err(CrcError::Differs { found, .. }) = check(&member) {
            member.crc = found;
        }
        assert_eq!(check(&member), Ok(()));
    }
}

#[test]
fn what_cannot_be_opened_says_why() {
    let mut zip = Zip::default();
    zip.list("a", 99, 0, 5);
    let bytes = zip.stored("b", b"first").finish();
    let directory = read(&bytes.as_slice()).unwrap();
    let mut member = directory.members[0].clone();
    let refused = |member: &Member| open(&bytes.as_slice(), member).err();
    assert_eq!(refused(&member), Some(Refused::Method(99)));
    member.flags = 1;
    assert_eq!(refused(&member), Some(Refused::Encrypted));
}

#[test]
fn names_that_lead_out_of_the_folder_are_told() {
    for name in ["../a", "/a", "a/../../b", "..\\a", "C:a", "a\0.txt", "a\\b"] {
        assert!(is_unsafe_name(name.as_bytes()), "{name}");
    }
    for name in ["a", "a/b", "..a", "a/..b/c", "archive/data.pkl", ".hidden"] {
        assert!(!is_unsafe_name(name.as_bytes()), "{name}");
    }
    let bytes = Zip::default().stored("../a", b"x").finish();
    let directory = read(&bytes.as_slice()).unwrap();
    assert_eq!(directory.oddities, [Oddity::UnsafeName("../a".to_owned())]);
}

#[test]
fn a_descriptor_behind_the_bytes_is_no_oddity() {
    for wide in [false, true] {
        let mut zip = Zip::default();
        zip.list("a", 0, 0, 5);
        let mut zip = zip
            .loose(b"PK\x03\x04\x2d\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0afirst")
            .loose(b"PK\x07\x08\0\0\0\0")
            .loose(if wide {
                &[5, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]
            } else {
                &[5, 0, 0, 0, 5, 0, 0, 0]
            });
        zip.describe();
        let bytes = zip.finish();
        let directory = read(&bytes.as_slice()).unwrap();
        assert_eq!(directory.oddities, [], "{wide}");
    }
}

#[test]
fn an_archive_of_nothing_but_signatures_costs_little_and_is_told() {
    let bytes = [
        b"PK\x01\x02PK\x03\x04".repeat(200_000),
        Zip::default().stored("a", b"x").finish(),
    ]
    .concat();
    let directory = read(&bytes.as_slice()).unwrap();
    assert!(!directory.oddities.is_empty());
    assert!(directory.oddities.len() <= taintline_formats::zip::MAX_ODDITIES);
}
