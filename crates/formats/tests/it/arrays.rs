//! Arrays of NumPy and of joblib.

use taintline_formats::joblib::{self, is_joblib, zfile_payload};
use taintline_formats::numpy::{self, NotNpy, Oddity, Payload};
use taintline_formats::pickle::{Limits, run};
use taintline_formats::{ReadAt as _, Segments, Walked};

use crate::support::{Asm, good};

fn npy(header: &str, data: &[u8]) -> Vec<u8> {
    let size = u16::try_from(header.len()).unwrap_or(u16::MAX);
    [
        b"\x93NUMPY\x01\0",
        size.to_le_bytes().as_slice(),
        header.as_bytes(),
        data,
    ]
    .concat()
}

fn array(header: &str, data: &[u8]) -> numpy::Array {
    good(good(numpy::read(&npy(header, data).as_slice())))
}

fn header(descr: &str) -> String {
    format!("{{'descr': {descr}, 'fortran_order': False, 'shape': (2, 3), }}")
}

#[test]
fn plain_elements_are_accounted_for_to_the_byte() {
    let types = [
        ("'<f4'", 4),
        ("'|b1'", 1),
        ("'?'", 1),
        ("'<U3'", 12),
        ("'|S7'", 7),
        ("'<c16'", 16),
        ("'<M8[ns]'", 8),
        ("[('a', '<i2'), ('b', '<f8', (2,))]", 18),
        ("[('a', [('x', '|u1'), ('y', '|V3')])]", 4),
        ("[(('title', 'a'), '<i2')]", 2),
    ];
    for (descr, size) in types {
        let bytes = vec![1; 6 * size + 3];
        let found = array(&header(descr), &bytes);
        let expected = 6 * size as u64;
        assert_eq!(found.payload, Payload::Elements(expected), "{descr}");
        assert_eq!(found.trailing, (found.data_offset + expected, 3));
        assert_eq!(found.oddities, []);
    }
}

#[test]
fn objects_anywhere_in_the_type_mean_a_pickle() {
    let types = [
        "'|O'",
        "'O'",
        "'<O8'",
        "'\\x7cO'",
        "[('a', '<i4'), ('b', '|O')]",
        "[('a', [('x', [('y', 'O')])])]",
        "[('a', '|O', (2,))]",
    ];
    for descr in types {
        assert_eq!(
            array(&header(descr), b"N.").payload,
            Payload::Pickle,
            "{descr}"
        );
    }
}

#[test]
fn what_is_not_surely_plain_is_not_called_plain() {
    for descr in [
        "'object'",
        "'i4,O'",
        "'f3'",
        "'<q'",
        "'(2,)O'",
        "{'names': ['a']}",
        "None",
        "'<f4' + 'x'",
    ] {
        assert_eq!(
            array(&header(descr), b"N.").payload,
            Payload::Unknown,
            "{descr}"
        );
    }
}

#[test]
fn tricks_in_the_header_are_noted() {
    let twice = "{'descr': '<f4', 'descr': '|O', 'fortran_order': False, 'shape': (1,)}";
    let found = array(twice, b"N.");
    assert_eq!(
        (found.payload, found.oddities),
        (Payload::Pickle, vec![Oddity::DuplicateKey])
    );
    let found = array("__import__('os')", b"N.");
    assert_eq!(
        (found.payload, found.oddities),
        (Payload::Unknown, vec![Oddity::Header])
    );
    let found = array(&header("'<f4'"), b"1234");
    assert_eq!(found.oddities, [Oddity::Missing(20)]);
    let negative = "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}";
    assert_eq!(array(negative, b"").payload, Payload::Unknown);
    let huge = "{'descr': '<f8', 'fortran_order': False, 'shape': (4611686018427387904, 4)}";
    assert_eq!(array(huge, b"").payload, Payload::Unknown);
}

#[test]
fn headers_of_every_version_are_read_and_long_ones_are_not() {
    let text = header("'|O'");
    let size = u32::try_from(text.len()).unwrap();
    let wide = |version: u8, size: u32| {
        let head = [b"\x93NUMPY".as_slice(), &[version, 0], &size.to_le_bytes()].concat();
        [head, text.clone().into_bytes(), vec![0; 2 << 20]].concat()
    };
    for version in [2, 3] {
        let found = good(good(numpy::read(&wide(version, size).as_slice())));
        assert_eq!((found.payload, found.oddities), (Payload::Pickle, vec![]));
    }
    let found = good(good(numpy::read(&wide(4, size).as_slice())));
    assert_eq!(found.oddities, [Oddity::Version]);
    let found = good(good(numpy::read(&wide(2, 1 << 20 | 1).as_slice())));
    assert_eq!(found.oddities, [Oddity::LongHeader((1 << 20) + 1)]);
    assert_eq!(found.payload, Payload::Unknown);
    assert_eq!(
        good(numpy::read(&wide(2, u32::MAX).as_slice())),
        Err(NotNpy::Truncated)
    );
    assert_eq!(
        good(numpy::read(&b"\x93NUMPX".as_slice())),
        Err(NotNpy::Magic)
    );
}

/// `NumpyArrayWrapper` with these facts, built by BUILD, as joblib writes it.
fn wrapper(asm: Asm, shape: &[i32], kind: &str) -> Asm {
    asm.global("joblib.numpy_pickle", "NumpyArrayWrapper")
        .raw(b")\x81}(")
        .text("shape")
        .ints(shape)
        .text("dtype")
        .global("numpy", "dtype")
        .raw(b"(")
        .text(kind)
        .raw(b"\x89\x88tR(K\x03")
        .text("<")
        .raw(b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb")
        .text("numpy_array_alignment_bytes")
        .raw(b"K\x10ub")
}

#[test]
fn arrays_are_cut_out_and_the_program_goes_on_behind_them() {
    let first = wrapper(Asm::new().raw(b"]("), &[2, 3], "f8").0;
    let second = wrapper(Asm::default(), &[1], "O8").0;
    let nested = b"\x80\x02]cos\nsystem\n(S'echo MARKER'\ntRa.";
    let third = wrapper(Asm::default(), &[4], "i4").0;
    let end = Asm::default()
        .raw(b"eq\0")
        .global("builtins", "print")
        .raw(b")R0.")
        .0;
    // What looks like the end of a program stands in the raw bytes.
    let raw = [b"\x03\0\0\0".as_slice(), &b"N.".repeat(24)].concat();
    let bytes = [
        first.as_slice(),
        &raw,
        &second,
        nested,
        &third,
        b"\0",
        &[9; 16],
        &end,
        b"behind",
    ]
    .concat();
    let input = bytes.as_slice();
    assert!(is_joblib(&run(&bytes, &Limits::default())));
    let found = joblib::read(&input, &Limits::default()).unwrap();
    assert_eq!(found.oddities, []);
    assert!(found.effects.complete);
    let at = first.len() as u64;
    let raw_size = raw.len() as u64;
    let object = at + raw_size + second.len() as u64;
    assert_eq!(found.arrays[0], (at, 52));
    assert_eq!(found.nested, [(object, nested.len() as u64)]);
    assert_eq!(found.arrays.len(), 2);
    assert_eq!(found.end, bytes.len() as u64 - 6);
    let imports: Vec<String> = found
        .effects
        .imports()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(
        imports.contains(&"builtins.print".to_owned()),
        "{imports:?}"
    );
    // Every byte is the program's, an array's, a nested pickle's, or stands behind the end.
    let mut ranges = [found.program.clone(), found.arrays, found.nested].concat();
    ranges.sort_unstable();
    let covered = ranges.iter().fold(0, |end, (start, size)| {
        assert_eq!(*start, end);
        end + size
    });
    assert_eq!(covered, found.end);
    let segments = Segments::new(&input, found.program);
    let again = Walked::at(&segments, 0, &Limits::default()).unwrap();
    assert!(again.program.complete);
    assert_eq!(again.size, segments.len());
}

#[test]
fn a_wrapper_that_lies_is_told() {
    let bytes = wrapper(Asm::new(), &[1000], "f8").stop();
    let found = joblib::read(&bytes.as_slice(), &Limits::default()).unwrap();
    let place = bytes.len() as u64 - 1;
    assert_eq!(found.oddities, [joblib::Oddity::Truncated(place)]);
    let bytes = wrapper(Asm::new(), &[1], "weird").stop();
    let found = joblib::read(&bytes.as_slice(), &Limits::default()).unwrap();
    let place = bytes.len() as u64 - 1;
    assert_eq!(found.oddities, [joblib::Oddity::Unmeasured(place)]);
    let bytes = wrapper(Asm::new(), &[-1], "f8").stop();
    let found = joblib::read(&bytes.as_slice(), &Limits::default()).unwrap();
    assert_eq!(found.oddities.len(), 1);
}

#[test]
fn an_array_in_a_file_of_its_own_is_named() {
    let bytes = Asm::new()
        .global("joblib.numpy_pickle", "NDArrayWrapper")
        .raw(b")\x81}(")
        .text("filename")
        .text("model.pkl_01.npy")
        .raw(b"ub")
        .stop();
    let found = joblib::read(&bytes.as_slice(), &Limits::default()).unwrap();
    let name = "model.pkl_01.npy".to_owned();
    assert_eq!(found.oddities, [joblib::Oddity::External(name)]);
    assert!(found.effects.complete);
}

#[test]
fn the_oldest_header_is_known() {
    assert_eq!(zfile_payload(b"ZF0x8e               x\x9c"), Some(21));
    assert_eq!(zfile_payload(b"ZF0x8e                x\x9c"), Some(22));
    assert_eq!(zfile_payload(b"ZF is a text of letters"), None);
}
