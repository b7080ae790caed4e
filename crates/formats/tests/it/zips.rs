//! ZIP directories.

use taintline_formats::zip::{Oddity, ZipError, read};

use crate::support::Zip;

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
            Oddity::Count { found: 1, said: 7 }
        ]
    );
}
