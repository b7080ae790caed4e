//! Good containers to start from, built in code; streams are what the usual libraries write of a short text.

pub(crate) const STREAM: &[&[u8]] = &[
    b"\x1f\x8b\x08\0",
    b"\x78\x9c",
    b"BZh9",
    b"1AY&SY",
    b"\xfd7zXZ\0",
    b"\x28\xb5\x2f\xfd",
    b"\x04\x22\x4d\x18",
    b"\x02\x21\x4c\x18",
    b"\x50\x2a\x4d\x18",
    b"\x01\0\0",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
];
pub(crate) const TAR: &[&[u8]] = &[
    b"ustar\x0000",
    b"ustar  \0",
    b"././@LongLink",
    b"path=",
    b"size=",
    b"linkpath=",
    b"\x80\0\0\0\0\0\0\0",
    b"77777777777",
    b"../",
];
pub(crate) const NPY: &[&[u8]] = &[
    b"'descr': ",
    b"'|O'",
    b"'<f4'",
    b"[('a', '<f4')]",
    b"'fortran_order': False",
    b"'shape': (3,)",
    b"(",
    b")",
    b"[",
    b"{",
    b"}",
    b",",
    b"9223372036854775807",
    b"-1",
    b"\\x4f",
];

pub(crate) fn streams() -> Vec<Vec<u8>> {
    [
        "789c2b49cccc2bc9c9cc4b552819d22c00ca764e21",
        "425a68393141592653594d1be8c000005991804000222504002000310c0052a867aa7a4c4c4c4e93e261313a4fc5dc914e14241346fa3000",
        "fd377a585a000004e6d6b4460200210116000000742fe5a3e000c700105d003a184972887bf9b73061993871f9c000001a1c0250182d498800012cc801000000efd5e2d2b1c467fb020000000004595a",
        "5d00008000ffffffffffffffff003a184972887bf9b73061993873166db7ffff82478000",
        "28b52ffd24c88d0000507461696e746c696e65200100bb520509310d9b1e",
        "04224d186840c800000000000000d414000000af7461696e746c696e65200a00a6506c696e652000000000",
        "1f8b08000000000002032b49cccc2bc9c9cc4b5528a19d2c00",
    ]
    .into_iter()
    .map(unhex)
    .collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => byte - b'0',
        _ => byte - b'a' + 10,
    };
    let digits: Vec<u8> = text.bytes().map(digit).collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

fn tar_member(name: &str, kind: u8, data: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[124..135].copy_from_slice(format!("{:011o}", data.len()).as_bytes());
    block[148..156].fill(b' ');
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.extend(data);
    block.resize(block.len().next_multiple_of(512), 0);
    block
}

pub(crate) fn tars() -> Vec<Vec<u8>> {
    let members = [
        tar_member("a", b'0', b"first"),
        tar_member("././@LongLink", b'L', b"a/long/name"),
        tar_member("b", b'0', b"second"),
        tar_member("x", b'x', b"11 path=abc\n"),
        tar_member("link", b'2', b""),
    ];
    vec![[members.concat(), vec![0; 1024]].concat()]
}

pub(crate) fn arrays() -> Vec<Vec<u8>> {
    let of = |header: &str, data: &[u8]| {
        let size = u16::try_from(header.len()).unwrap_or_default();
        [
            b"\x93NUMPY\x01\0",
            size.to_le_bytes().as_slice(),
            header.as_bytes(),
            data,
        ]
        .concat()
    };
    vec![
        of(
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }",
            &[0; 8],
        ),
        of(
            "{'descr': '|O', 'fortran_order': False, 'shape': (), }",
            b"N.",
        ),
        of(
            "{'descr': [('a', '<f4', (2,)), ('b', '|S3')], 'fortran_order': True, 'shape': (1, 1), }",
            &[0; 12],
        ),
    ]
}

pub(crate) fn dumps() -> Vec<Vec<u8>> {
    let wrapper = |kind: &str, data: &[u8]| {
        [
            b"\x80\x02]cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}(X\x05\0\0\0shape(K\x02tX\x05\0\0\0dtypecnumpy\ndtype\n(U\x02".as_slice(),
            kind.as_bytes(),
            b"\x89\x88tRX\x1b\0\0\0numpy_array_alignment_bytesK\x10ub",
            data,
            b"a.",
        ]
        .concat()
    };
    vec![
        wrapper("i4", b"\x02\xff\xff\x01\0\0\0\x02\0\0\0"),
        wrapper("O8", b"\x80\x02]."),
    ]
}

pub(crate) fn old_files() -> Vec<Vec<u8>> {
    let object =
        b"\x80\x02((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x007X\x03\0\0\0cpuK\x02NtQt.";
    let file = [
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.".as_slice(),
        object,
        b"\x80\x02]X\x01\0\0\x007a.\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    ]
    .concat();
    let storages = b"\x80\x02K\x01.\x80\x02K\x07X\x03\0\0\0cpuctorch\nByteStorage\n\x87.\x01\0\0\0\0\0\0\0\x09\x80\x02].";
    vec![file, storages.to_vec()]
}

/// Headers and blocks without content, over and over; and one header that promises everything.
pub(crate) fn stream_bombs() -> Vec<Vec<u8>> {
    vec![
        unhex("1f8b080000000000020303000000000000000000").repeat(20_000),
        unhex("28b52ffd0000010000").repeat(40_000),
        [unhex("28b52ffd0088"), unhex("020000")].concat(),
        [unhex("fd377a585a000000ff12d94100"), vec![0xff; 100_000]].concat(),
        [unhex("04224d186070ff"), unhex("ffff3f00").repeat(50_000)].concat(),
    ]
}

pub(crate) fn dump_bombs() -> Vec<Vec<u8>> {
    let first = dumps().swap_remove(0);
    let one = [&first[3..first.len() - 2], b"0"].concat();
    vec![[b"\x80\x02]".to_vec(), one.repeat(800), b".".to_vec()].concat()]
}

pub(crate) fn tar_bombs() -> Vec<Vec<u8>> {
    let member = tar_member("same", b'0', b"");
    vec![member.repeat(400), vec![b'x'; 400_000]]
}
