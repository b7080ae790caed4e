//! The reader of byte code on streams that are written out here, so that what is equal and what is not can be seen.

use proptest::prelude::*;

use super::*;

const NEW: u8 = 11;

/// A module of 3.11 with these constants, names and instructions.
fn module(constants: &[u8], names: &[u8], instructions: &[u8]) -> Vec<u8> {
    code(constants, names, instructions, b"z\x01p", b"s\0\0\0\0")
}

fn code(constants: &[u8], names: &[u8], instructions: &[u8], file: &[u8], lines: &[u8]) -> Vec<u8> {
    let length = u32::try_from(instructions.len()).unwrap().to_le_bytes();
    let name = b"z\x08<module>";
    [
        &b"c"[..],
        &[0; 20],
        b"s",
        &length,
        instructions,
        constants,
        names,
        b")\0s\0\0\0\0",
        file,
        name,
        name,
        &[1, 0, 0, 0],
        lines,
        b"s\0\0\0\0",
    ]
    .concat()
}

fn of(bytes: &[u8]) -> Result<domain::Digest, MarshalError> {
    meaning(bytes, Dialect::of(NEW).unwrap())
}

fn constants(bytes: &[u8]) -> Result<domain::Digest, MarshalError> {
    of(&module(bytes, b")\0", b"xx"))
}

#[test]
fn one_value_is_one_meaning_however_it_is_written() {
    let same: [(&[u8], &[u8]); 6] = [
        // An integer in two forms, a tuple in two forms.
        (b")\x01i\x07\0\0\0", b"(\x01\0\0\0l\x01\0\0\0\x07\0"),
        // A text short, long, interned, and as UTF-8.
        (b")\x01z\x01a", b")\x01u\x01\0\0\0a"),
        (b")\x01Z\x01a", b")\x01A\x01\0\0\0a"),
        (b")\x01z\x01\xe9", b")\x01u\x02\0\0\0\xc3\xa9"),
        // An object again, and a pointer to the first.
        (b")\x02\xda\x01ar\0\0\0\0", b")\x02z\x01az\x01a"),
        // A set in another order.
        (
            b")\x01>\x02\0\0\0z\x01az\x01b",
            b")\x01>\x02\0\0\0z\x01bz\x01a",
        ),
    ];
    for (one, other) in same {
        assert_eq!(
            constants(one).unwrap(),
            constants(other).unwrap(),
            "{one:?}"
        );
    }
}

#[test]
fn other_values_kinds_and_orders_are_other_meanings() {
    let all: [&[u8]; 12] = [
        b")\0",
        b")\x01N",
        b")\x01T",
        b")\x01i\x01\0\0\0",
        b")\x01i\xff\xff\xff\xff",
        b")\x01g\0\0\0\0\0\0\xf0\x3f",
        b")\x01z\x01a",
        b")\x01s\x01\0\0\0a",
        b")\x02z\x01az\x01b",
        b")\x02z\x01bz\x01a",
        b")\x01)\x02z\x01az\x01b",
        b")\x01>\x02\0\0\0z\x01az\x01b",
    ];
    let mut meanings: Vec<_> = all.iter().map(|one| constants(one).unwrap()).collect();
    meanings.sort();
    meanings.dedup();
    assert_eq!(meanings.len(), all.len());
}

#[test]
fn file_and_positions_have_no_meaning_and_instructions_names_and_first_line_have() {
    let plain = of(&module(b")\0", b")\0", b"xx")).unwrap();
    let elsewhere = code(b")\0", b")\0", b"xx", b"z\x05other", b"s\x02\0\0\0ab");
    assert_eq!(of(&elsewhere).unwrap(), plain);
    assert_ne!(of(&module(b")\0", b")\0", b"xy")).unwrap(), plain);
    assert_ne!(of(&module(b")\0", b")\x01z\x01a", b"xx")).unwrap(), plain);
    let mut other_line = module(b")\0", b")\0", b"xx");
    let at = other_line.len() - 14;
    assert_eq!(other_line[at], 1);
    other_line[at] = 2;
    assert_ne!(of(&other_line).unwrap(), plain);
}

#[test]
fn what_no_compiler_writes_is_an_error_and_never_a_guess() {
    let good = module(b")\x01N", b")\0", b"xx");
    assert!(of(&good).is_ok());
    for end in 0..good.len() {
        assert!(of(&good[..end]).is_err(), "{end}");
    }
    let longer = [good.as_slice(), b"N"].concat();
    assert_eq!(of(&longer), Err(MarshalError::Trailing(1)));
    assert_eq!(of(b"N"), Err(MarshalError::NotCode));
    let errors: [(&[u8], MarshalError); 6] = [
        (b")\x01[\0\0\0\0", MarshalError::Kind('[')),
        (b")\x01{0", MarshalError::Kind('{')),
        (b")\x01r\x05\0\0\0", MarshalError::Reference),
        // A tuple that holds itself.
        (b"\xa9\x01r\0\0\0\0", MarshalError::Reference),
        (b")\x01l\x01\0\0\0\0\0", MarshalError::Number),
        (b"(\xff\xff\xff\xff", MarshalError::Number),
    ];
    for (bytes, error) in errors {
        assert_eq!(constants(bytes), Err(error));
    }
    let deep = b")\x01".repeat(100_000);
    assert_eq!(constants(&deep), Err(MarshalError::TooMuch));
    assert_eq!(
        constants(b"(\xff\xff\xff\x7f"),
        Err(MarshalError::Truncated)
    );
}

#[test]
fn pointers_that_multiply_without_end_cost_one_look_each() {
    // Each tuple holds the one before it twice: 2^200 values, 200 objects.
    let mut bytes = b")\xc8".to_vec();
    bytes.extend(b"\xa9\x01N");
    for number in 0..199_u32 {
        bytes.extend(b"\xa9\x02");
        bytes.extend([b"r".as_slice(), &number.to_le_bytes()].concat().repeat(2));
    }
    assert!(constants(&bytes).is_ok());
}

#[test]
fn the_texts_of_a_class_have_no_order_in_the_version_that_shuffles_them_and_only_there() {
    let class = |texts: &[u8]| {
        let constants = [b")\x02N)\x02".as_slice(), texts].concat();
        module(&constants, b")\x01z\x15__static_attributes__", b"xx")
    };
    let (one, other) = (class(b"z\x01az\x01b"), class(b"z\x01bz\x01a"));
    let of = |bytes: &[u8], minor| meaning(bytes, Dialect::of(minor).unwrap()).unwrap();
    assert_eq!(of(&one, 13), of(&other, 13));
    assert_ne!(of(&one, 12), of(&other, 12));
    assert_ne!(of(&one, 14), of(&other, 14));
    let plain = |texts: &[u8]| {
        let constants = [b")\x02N)\x02".as_slice(), texts].concat();
        module(&constants, b")\0", b"xx")
    };
    assert_ne!(
        of(&plain(b"z\x01az\x01b"), 13),
        of(&plain(b"z\x01bz\x01a"), 13)
    );
}

#[test]
fn a_function_before_3_11_stands_where_its_parents_say() {
    let old = |name: &[u8], constants: &[u8]| {
        let ends = [b")\0)\0)\0)\0z\x01p", name, &[1, 0, 0, 0][..], b"s\0\0\0\0"];
        [&b"c"[..], &[0; 24], b"s\0\0\0\0", constants, &ends.concat()].concat()
    };
    let inner = old(b"z\x01f", b")\0");
    let class = old(b"z\x01C", &[b")\x01".as_slice(), &inner].concat());
    let whole = old(b"z\x08<module>", &[b")\x01".as_slice(), &class].concat());
    let told = facts(&whole, Dialect::of(9).unwrap()).unwrap();
    let places: Vec<_> = told.iter().map(|one| one.place.as_str()).collect();
    assert_eq!(places, ["<module>", "C", "C.f"]);
    assert_eq!(Dialect::of(7), None);
}

#[test]
fn what_differs_is_told_by_function_and_part() {
    let told = |bytes: &[u8]| facts(bytes, Dialect::of(NEW).unwrap()).unwrap();
    let inner = |constant: &[u8]| {
        let mut inner = module(constant, b")\x01z\x06system", b"xx");
        let name = inner
            .windows(8)
            .position(|part| part == b"<module>")
            .unwrap();
        inner[name..name + 8].copy_from_slice(b"evaluate");
        let name = inner
            .windows(8)
            .position(|part| part == b"<module>")
            .unwrap();
        inner[name..name + 8].copy_from_slice(b"evaluate");
        inner
    };
    let whole = |inner: &[u8]| module(&[b")\x02N".as_slice(), inner].concat(), b")\0", b"xx");
    let expected = told(&whole(&inner(b")\x01i\x01\0\0\0")));
    let found = told(&whole(&inner(b")\x01i\x02\0\0\0")));
    assert_eq!(
        differences(&found, &expected),
        ["evaluate: constants 2 instead of 1"]
    );
    let without = told(&module(b")\x02NN", b")\0", b"xx"));
    let words = differences(&found, &without).join("\n");
    assert!(
        words.contains("evaluate is in the byte code and not in the source; it uses \"system\""),
        "{words}"
    );
    let words = differences(&without, &found).join("\n");
    assert!(
        words.contains("evaluate is in the source and not in the byte code"),
        "{words}"
    );
    assert!(differences(&found, &found).is_empty());
}

proptest! {
    #[test]
    fn no_bytes_break_the_reader_and_what_is_told_is_what_is_read(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        place in any::<proptest::sample::Index>(),
        minor in 8_u8..16,
    ) {
        let mut file = module(b")\x02\xda\x01a)\x02r\0\0\0\0N", b")\x01z\x01b", b"xxxx");
        let at = place.index(file.len());
        file.splice(at..(at + bytes.len() / 8).min(file.len()), bytes.iter().copied());
        let dialect = Dialect::of(minor).unwrap();
        let whole = meaning(&file, dialect);
        if let Ok(told) = facts(&file, dialect) {
            prop_assert!(whole.is_ok());
            prop_assert!(differences(&told, &told).is_empty());
        }
        let _ = Header::read(&file);
    }
}
