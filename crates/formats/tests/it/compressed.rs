//! Compressed streams: the samples are what Python's libraries write of one text.

use std::io::Write as _;

use crate::support::good;
use taintline_formats::compressed::{Budget, Codec, Decoder, End, Fault, Limit, Oddity};

const XZ: &str = "fd377a585a000004e6d6b4460200210116000000742fe5a3e000c700105d003a184972887bf9b73061993871f9c000001a1c0250182d498800012cc801000000efd5e2d2b1c467fb020000000004595a";
const XZ_DELTA_SHA256: &str = "fd377a585a00000ae1fb0ca102010301092101 16f36fcc93e000c700115d003a184972887bf9b730618004341b1c000000000000391f48e8c25dea10e244029b9117e0e25b167fe938f7c4b43cd4fed52ed2ca43000145c8010000007d8b19fdb6e9df1c02000000000a595a";
const LZMA: &str = "5d00008000ffffffffffffffff003a184972887bf9b7306199387316 6db7ffff82478000";
const ZIP_LZMA: &str = "090405005d00008000003a184972887bf9b73061993873166db7ffff82478000";
const ZSTD: &str = "28b52ffd24c88d0000507461696e746c696e65200100bb520509310d9b1e";
const LZ4: &str =
    "04224d186840c800000000000000d414000000af7461696e746c696e65200a00a6506c696e652000000000";
const BZIP2: &str = "425a68393141592653594d1be8c00000599180400022250400200031 0c0052a867aa7a4c4c4c4e93e261313a4fc5dc914e14241346fa3000";
const ZLIB: &str = "789c2b49cccc2bc9c9cc4b552819d22c00ca764e21";

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b' ').collect();
    let pair = |pair: &[u8]| good(u8::from_str_radix(good(str::from_utf8(pair)), 16));
    digits.chunks(2).map(pair).collect()
}

fn text() -> Vec<u8> {
    b"taintline ".repeat(20)
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    good(writer.write_all(bytes));
    good(writer.finish())
}

fn samples() -> Vec<(Codec, Vec<u8>)> {
    vec![
        (Codec::Gzip, gzip(&text())),
        (Codec::Zlib, unhex(ZLIB)),
        (Codec::Bzip2, unhex(BZIP2)),
        (Codec::Xz, unhex(XZ)),
        (Codec::Xz, unhex(XZ_DELTA_SHA256)),
        (Codec::Lzma, unhex(LZMA)),
        (Codec::Zstd, unhex(ZSTD)),
        (Codec::Lz4, unhex(LZ4)),
    ]
}

fn spool(bytes: &[u8], codec: Codec) -> (Vec<u8>, End, Vec<Oddity>) {
    let (output, outcome) = good(Decoder::new(&bytes, codec, Budget::default()).spool());
    assert_eq!(outcome.written, output.len() as u64);
    (output, outcome.end, outcome.oddities)
}

#[test]
fn every_codec_is_told_by_its_bytes_and_gives_the_text_back() {
    for (codec, bytes) in samples() {
        assert_eq!(Codec::of(&bytes), Some(codec));
        assert_eq!(
            spool(&bytes, codec),
            (text(), End::Complete, vec![]),
            "{codec:?}"
        );
    }
    let member = unhex(ZIP_LZMA);
    assert_eq!(
        spool(&member, Codec::ZipLzma),
        (text(), End::Complete, vec![])
    );
    let bare = &unhex(ZLIB)[2..17];
    assert_eq!(spool(bare, Codec::Deflate), (text(), End::Complete, vec![]));
}

#[test]
fn streams_one_behind_the_other_are_one() {
    for (codec, bytes) in samples() {
        if codec == Codec::Lzma {
            continue;
        }
        let twice = [bytes.clone(), bytes].concat();
        let whole = [text(), text()].concat();
        assert_eq!(
            spool(&twice, codec),
            (whole, End::Complete, vec![]),
            "{codec:?}"
        );
    }
}

#[test]
fn what_stands_behind_the_last_stream_is_named_to_the_byte() {
    for (codec, mut bytes) in samples() {
        let offset = bytes.len() as u64;
        bytes.extend(b"cos\nsystem\n");
        let trailing = Oddity::Trailing { offset, bytes: 11 };
        assert_eq!(
            spool(&bytes, codec),
            (text(), End::Complete, vec![trailing]),
            "{codec:?}"
        );
    }
}

#[test]
fn a_stream_cut_anywhere_gives_the_start_of_the_text_and_says_that_it_breaks_off() {
    for (codec, bytes) in samples() {
        for cut in 0..bytes.len() {
            let (output, end, _) = spool(&bytes[..cut], codec);
            assert!(text().starts_with(&output), "{codec:?} cut at {cut}");
            assert_eq!(end, End::Broken(Fault::Truncated), "{codec:?} cut at {cut}");
        }
    }
}

#[test]
fn what_stands_before_a_broken_block_is_given() {
    let mut frame = unhex("28b52ffd0458");
    let raw = |last: u32, bytes: &[u8]| {
        let head = last | u32::try_from(bytes.len()).unwrap() << 3;
        [&head.to_le_bytes()[..3], bytes].concat()
    };
    frame.extend(raw(0, b"before the break"));
    let cut = frame.clone();
    // A compressed block of nonsense.
    frame.extend([0x2d, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff]);
    for (bytes, fault) in [(cut, Fault::Truncated), (frame, Fault::Malformed)] {
        let (output, end, _) = spool(&bytes, Codec::Zstd);
        assert_eq!(
            (output.as_slice(), end),
            (&b"before the break"[..], End::Broken(fault))
        );
    }
}

#[test]
fn what_a_broken_stream_gave_before_is_given_whatever_the_codec() {
    let mut stored = vec![0, 16, 0, 0xef, 0xff];
    stored.extend(b"before the break");
    // A block of the kind that does not exist.
    stored.push(7);
    let (output, end, _) = spool(&stored, Codec::Deflate);
    assert_eq!(
        (output.as_slice(), end),
        (&b"before the break"[..], End::Broken(Fault::Malformed))
    );
    let zeros = vec![0; 100_000];
    let mut writer = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    writer.write_all(&zeros).unwrap();
    writer.flush().unwrap();
    let mut bytes = writer.get_ref().clone();
    bytes.push(7);
    let (output, end, _) = spool(&bytes, Codec::Deflate);
    assert_eq!(
        (output.len(), end),
        (zeros.len(), End::Broken(Fault::Malformed))
    );
    let mut bytes = unhex(BZIP2);
    bytes.extend(b"BZh9 and no block");
    let (output, end, _) = spool(&bytes, Codec::Bzip2);
    assert_eq!((output, end), (text(), End::Broken(Fault::Malformed)));
}

#[test]
fn a_wrong_check_sum_is_noted_and_the_text_is_given() {
    let mut bytes = gzip(&text());
    let offset = bytes.len() as u64 - 8;
    let last = bytes.len() - 8;
    bytes[last] ^= 1;
    let (output, end, oddities) = spool(&bytes, Codec::Gzip);
    assert_eq!((output, end), (text(), End::Complete));
    assert_eq!(oddities, [Oddity::CheckSum { offset }]);
}

#[test]
fn a_frame_that_readers_skip_is_named() {
    for (codec, sample) in [(Codec::Zstd, ZSTD), (Codec::Lz4, LZ4)] {
        let mut bytes = unhex(sample);
        let offset = bytes.len() as u64 + 8;
        bytes.extend(unhex("532a4d1803000000"));
        bytes.extend(b"abc");
        let skipped = Oddity::Skipped { offset, bytes: 3 };
        assert_eq!(spool(&bytes, codec), (text(), End::Complete, vec![skipped]));
    }
}

#[test]
fn every_part_of_the_budget_holds() {
    let bomb = gzip(&vec![0; 8 << 20]);
    let run = |budget: Budget| {
        let (output, outcome) = Decoder::new(&bomb.as_slice(), Codec::Gzip, budget)
            .spool()
            .unwrap();
        (output.len() as u64, outcome.end)
    };
    let (written, end) = run(Budget::bytes(1000));
    assert_eq!((written, end), (1000, End::Limit(Limit::Output(1000))));
    let (written, end) = run(Budget::bytes(8 << 20));
    assert_eq!((written, end), (8 << 20, End::Complete));
    let ratio = Budget {
        ratio: 100,
        ..Budget::default()
    };
    let (written, end) = run(ratio);
    assert_eq!(end, End::Limit(Limit::Ratio(100)));
    assert!(written <= Budget::RATIO_SLACK + (128 << 10), "{written}");
    let empty = gzip(b"").repeat(10_000);
    let input = Budget {
        input: 100_000,
        ..Budget::default()
    };
    let (_, outcome) = Decoder::new(&empty.as_slice(), Codec::Gzip, input)
        .spool()
        .unwrap();
    assert_eq!(outcome.end, End::Limit(Limit::Input(100_000)));
}

#[test]
fn empty_streams_without_end_are_ended_by_the_budget() {
    let empty = [
        (Codec::Gzip, gzip(b"")),
        (Codec::Zstd, unhex("28b52ffd0000010000")),
        (Codec::Zstd, unhex("532a4d1800000000")),
        (Codec::Lz4, unhex("04224d186070ff00000000")),
    ];
    for (codec, stream) in empty {
        let many = stream.repeat(1000);
        let budget = Budget {
            input: 1 << 20,
            ..Budget::default()
        };
        let (_, outcome) = Decoder::new(&many.as_slice(), codec, budget)
            .spool()
            .unwrap();
        assert_eq!(outcome.end, End::Limit(Limit::Input(1 << 20)), "{codec:?}");
    }
}

#[test]
fn a_dictionary_that_is_not_there_and_a_window_too_large_are_told() {
    let dictionary = unhex("28b52ffd210700000001");
    let (_, end, _) = spool(&dictionary, Codec::Zstd);
    assert_eq!(end, End::Broken(Fault::Dictionary));
    let window = unhex("28b52ffd00f8010000");
    let (_, end, _) = spool(&window, Codec::Zstd);
    assert!(matches!(end, End::Broken(Fault::Window(_))), "{end:?}");
    let (_, end, _) = spool(&unhex("78bb000000002b"), Codec::Zlib);
    assert_eq!(end, End::Broken(Fault::Dictionary));
}

#[test]
fn what_is_not_decompressed_says_so() {
    for (head, codec) in [
        (&b"LZIP\x01"[..], Codec::Lzip),
        (b"\xff\x06\0\0sNaPpY", Codec::Snappy),
    ] {
        assert_eq!(Codec::of(head), Some(codec));
        assert_eq!(spool(head, codec).1, End::Broken(Fault::Unsupported));
    }
}

#[test]
fn text_is_no_compressed_stream() {
    for head in [
        "hello, world of text",
        "",
        "x",
        "{\"a\": 1}",
        "BZ",
        "import os\n",
    ] {
        assert_eq!(Codec::of(head.as_bytes()), None, "{head}");
    }
}
