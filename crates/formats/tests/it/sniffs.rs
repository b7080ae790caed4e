//! Which formats bytes are in, several at once where several hold.

use taintline_formats::compressed::Codec;
use taintline_formats::sniff::{Format, formats, sniff};

use crate::compressed::{gzip, unhex};
use crate::support::{Zip, good, sample};

fn of(bytes: &[u8]) -> Vec<Format> {
    good(formats(&bytes))
}

/// `os.system('echo MARKER')` in protocol 0; never run.
const CALL: &[u8] = b"cos\nsystem\n(S'echo MARKER'\ntR.";

#[test]
fn a_pickle_needs_no_protocol() {
    let pickles: [&[u8]; 18] = [
        CALL,
        b"N.",
        b"]q\0(K\x01K\x02e.",
        b"(dp0\nS'a'\np1\nI1\ns.",
        b"(lp0\nI1\naI2\na.\n",
        b"Vtext\n0cos\nsystem\n(S'echo MARKER'\ntR.",
        b"I1\n0cos\nsystem\n(S'echo MARKER'\ntR.",
        b"S'a'\n0cos\nsystem\n(S'echo MARKER'\ntR.",
        b"}\x94.",
        b"\x95\x02\0\0\0\0\0\0\0N.",
        b"(S'echo MARKER'\nios\nsystem\n.",
        b"(cos\nsystem\nS'echo MARKER'\no.",
        b"\x80\x00cos\nsystem\n)R.",
        b"X\x01\0\0\0a\x8c\x02os\x8c\x06system\x93)R0.",
        // It breaks, but not before the call.
        b"cos\nsystem\n(S'echo MARKER'\ntR this is no opcode",
        // They break as well, but not before what they change in a module that is there.
        b"csys\nmodules\nX\x02\0\0\0oscabc\nabc\ns0000.",
        b"csys\npath\n(S'/tmp'\ne this is no opcode",
        // Two pickles one behind the other.
        b"I1\n.\x80\x04N.",
    ];
    for bytes in pickles {
        assert_eq!(
            of(bytes)[0],
            Format::Pickle,
            "{:?}",
            String::from_utf8_lossy(bytes)
        );
    }
}

#[test]
fn a_long_prelude_does_not_hide_a_pickle() {
    let many = [b"N0".repeat(100_000), CALL.to_vec()].concat();
    assert_eq!(of(&many), [Format::Pickle]);
    let long = [b"V".as_slice(), &b"x".repeat(3 << 20), b"\n0", CALL].concat();
    assert_eq!(of(&long), [Format::Pickle]);
    let size = (12u32 << 20).to_le_bytes();
    let longer = [b"X".as_slice(), &size, &b"x".repeat(12 << 20), b"0", CALL].concat();
    assert_eq!(of(&longer), [Format::Pickle]);
}

#[test]
fn a_name_longer_than_any_that_is_kept_does_not_hide_a_call() {
    // Cut at any byte: behind a dot, before one, within a part.
    for pad in 0..9 {
        let walk = "path.os.".repeat(9000);
        let bytes = format!("{}{walk}system\n(S'id'\ntR", "x".repeat(pad));
        let bytes = [b"N0\x80\x04cos\n", bytes.as_bytes(), b"\xff"].concat();
        assert!(of(&bytes).contains(&Format::Pickle), "{pad}");
    }
    // The same where so many names came before that each is cut early.
    let many = "posixpath.os.".repeat(4000);
    let mut bytes = b"N0\x80\x04".to_vec();
    for number in 0..90 {
        bytes.extend(format!("cos\npath{number}.{many}x\n0").bytes());
    }
    for pad in 0..9 {
        let walk = "path.os.".repeat(40);
        let call = format!("cos\n{}{walk}system\n(S'id'\ntR", "x".repeat(pad));
        let bytes = [&bytes[..], call.as_bytes(), b"\xff"].concat();
        assert!(of(&bytes).contains(&Format::Pickle), "{pad}");
    }
}

#[test]
fn one_line_without_an_end_is_no_pickle() {
    for start in ["c", "P", "I", "X", "p", "B"] {
        let line = start.to_owned() + &"y".repeat(9 << 20);
        assert_eq!(of(line.as_bytes()), [Format::Text], "{start}");
    }
}

#[test]
fn text_is_no_pickle() {
    let texts: [(&str, Format); 22] = [
        ("Version 1.0 of the thing\nNothing else.\n", Format::Text),
        ("Installation\n============\n.\n", Format::Text),
        ("I am a text. I have lines.\n", Format::Text),
        ("class A:\n    pass\n", Format::Text),
        ("cat\ndog\neel\nfox\n", Format::Text),
        ("(define (f x) x)\n", Format::Text),
        ("import os\nos.system('true')\n", Format::Text),
        ("]\n", Format::Text),
        ("c\n", Format::Text),
        ("a,b,c\n1,2,3\n", Format::Text),
        ("0.1 0.2 0.3\n", Format::Text),
        ("[PAD]\n[UNK]\n.\n,\n", Format::Text),
        ("Copyright (c) 2026. All rights.\n", Format::Text),
        ("Use of this is free.\nUnder the licence.\n", Format::Text),
        ("# A title\n\nSome prose: with a colon.\n", Format::Text),
        ("{\"a\": [1, 2]}", Format::Json),
        ("[\n  {\"a\": 1}\n]", Format::Json),
        ("[section]\nkey=value\n", Format::Text),
        ("a: 1\nb:\n  - c\n", Format::Yaml),
        ("--- !!python/object/apply:os.system\n- x\n", Format::Yaml),
        ("<?xml version=\"1.0\"?><a/>", Format::Xml),
        ("<!DOCTYPE html><html></html>", Format::Html),
    ];
    for (text, format) in texts {
        assert_eq!(of(text.as_bytes()), [format], "{text}");
    }
    assert_eq!(of(b"#!/usr/bin/env python3\nimport os\n"), [Format::Script]);
}

#[test]
fn torchs_number_is_known_in_every_spelling() {
    let spellings: [&[u8]; 3] = [
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.",
        b"L119547037146038801333356L\n.",
        b"\x80\x04\x95\x0d\0\0\0\0\0\0\0\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.",
    ];
    for bytes in spellings {
        assert_eq!(of(bytes), [Format::TorchLegacy]);
    }
}

#[test]
fn a_file_that_is_two_things_is_called_both() {
    let archive = Zip::default().stored("a", b"x").finish();
    let behind = |head: &[u8]| of(&[head, &archive].concat());
    assert_eq!(behind(CALL), [Format::Pickle, Format::Zip]);
    assert_eq!(behind(b"\x80\x04N."), [Format::Pickle, Format::Zip]);
    assert_eq!(behind(b"GGUF\x03\0\0\0"), [Format::Gguf, Format::Zip]);
    assert_eq!(behind(b"\x7fELF\x02\x01\x01\0"), [Format::Elf, Format::Zip]);
    assert_eq!(behind(b"\x89PNG\r\n\x1a\n"), [Format::Image, Format::Zip]);
    assert_eq!(behind(b"%PDF-1.7\n"), [Format::Pdf, Format::Zip]);
    assert_eq!(
        behind(b"\x02\0\0\0\0\0\0\0{}"),
        [Format::SafeTensors, Format::Zip]
    );
    assert_eq!(
        behind(&b"prose before\n".repeat(100)),
        [Format::Text, Format::Zip]
    );
    assert_eq!(behind(b"\0\xff\0\xff"), [Format::Zip]);
    // A header of safetensors that is the start of a program: the length is its protocol and a long integer.
    let both = [b"\x80\x04\x8a\x05\0\0\0\0{ ".as_slice(), CALL].concat();
    assert_eq!(of(&both)[0], Format::Pickle);
}

#[test]
fn archives_are_told_apart_by_their_members() {
    let of_names = |names: &[&str]| {
        let zip = names
            .iter()
            .fold(Zip::default(), |zip, name| zip.stored(name, b"N."));
        of(&zip.finish())
    };
    assert_eq!(of(&sample()), [Format::TorchZip]);
    assert_eq!(of_names(&["x/version", "x/DATA.PKL"]), [Format::TorchZip]);
    assert_eq!(
        of_names(&["m/data.pkl", "m/code/a.py", "m/constants.pkl"]),
        [Format::TorchScript]
    );
    assert_eq!(
        of_names(&["p/.data/extern_modules", "p/model.py"]),
        [Format::TorchPackage]
    );
    assert_eq!(
        of_names(&["e/archive_format", "e/data/weights/w"]),
        [Format::TorchExport]
    );
    assert_eq!(
        of_names(&["metadata.json", "config.json", "model.weights.h5"]),
        [Format::KerasZip]
    );
    assert_eq!(of_names(&["schema.json", "1.npy"]), [Format::SkopsZip]);
    assert_eq!(of_names(&["a.npy", "b.npy"]), [Format::Npz]);
    assert_eq!(
        of_names(&["MAR-INF/MANIFEST.json", "handler.py"]),
        [Format::Mar]
    );
    assert_eq!(of_names(&["a", "b"]), [Format::Zip]);
    // Broken archives are archives.
    assert_eq!(of(b"PK\x03\x04 and nothing more"), [Format::Zip]);
}

#[test]
fn streams_without_magic_must_decompress() {
    assert_eq!(of(&gzip(b"x")), [Format::Packed(Codec::Gzip)]);
    let zlib = unhex("789c2b49cccc2bc9c9cc4b552819d22c00ca764e21");
    assert_eq!(of(&zlib), [Format::Packed(Codec::Zlib)]);
    let lzma = unhex("5d00008000ffffffffffffffff003a184972887bf9b730619938731 66db7ffff82478000");
    assert_eq!(of(&lzma), [Format::Packed(Codec::Lzma)]);
    // The first bytes are those of zlib and the rest is text.
    assert_eq!(of(b"HKIRS is a word\n"), [Format::Text]);
}

#[test]
fn other_formats_are_recognised() {
    let mut user_block = vec![1; 2048];
    user_block.extend(b"\x89HDF\r\n\x1a\n");
    let mut windows = vec![0; 128];
    windows[..2].copy_from_slice(b"MZ");
    windows[0x3c] = 100;
    windows[100..104].copy_from_slice(b"PE\0\0");
    let known: [(&[u8], Format); 15] = [
        (b"", Format::Empty),
        (b"\x89HDF\r\n\x1a\n\0\0", Format::Hdf5),
        (&user_block, Format::Hdf5),
        (&windows, Format::Pe),
        (b"\x93NUMPY\x01\0\x02\0{}", Format::Npy),
        (b"\x1c\0\0\0TFL3\0\0\0\0", Format::TfLite),
        (b"\x1c\0\0\0ET12\0\0\0\0", Format::ExecuTorch),
        (b"7z\xbc\xaf\x27\x1c\0\x04", Format::SevenZip),
        (b"Rar!\x1a\x07\x01\0", Format::Rar),
        (b"MSCF\0\0\0\0\x01", Format::Cab),
        (b"\xcf\xfa\xed\xfe\x07\0\0\x01", Format::MachO),
        (b"\xca\xfe\xba\xbe\0\0\0\x02\0", Format::MachO),
        (
            b"\xa7\x0d\r\n\0\0\0\0\0\0\0\0\0\0\0\0",
            Format::PythonBytecode,
        ),
        (b"tjgg\x03\0\0\0\0", Format::Ggml),
        (b"\0\x01\x02\xff", Format::Unknown),
    ];
    for (bytes, format) in known {
        assert_eq!(of(bytes), [format], "{bytes:?}");
    }
}

#[test]
fn the_quick_answer_is_one_of_the_full_one() {
    let samples: [&[u8]; 5] = [
        &sample(),
        b"\x80\x04N.",
        b"\x02\0\0\0\0\0\0\0{}",
        &gzip(b"x"),
        b"GGUF\x03\0\0\0",
    ];
    for bytes in samples {
        assert!(of(bytes).contains(&good(sniff(&bytes))));
    }
}
