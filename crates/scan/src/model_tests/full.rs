//! The full-byte mode: every byte is seen once, whatever holds it, and what is seen is told where it stands.

use domain::Digest;
use domain::scan::{Examination, GapKind, Rule, Weight};
use formats::zip::sum_of;

use super::{count, field, findings};
use crate::{Options, Rules, examine};

fn elf() -> Vec<u8> {
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0\x01\0\0\0".to_vec();
    elf.resize(64, 0);
    elf[52] = 64;
    elf
}

/// Numbers with a library among them.
fn numbers() -> Vec<u8> {
    [vec![0x3f; 4096], elf(), vec![0x3f; 4096]].concat()
}

fn scanned(name: &str, bytes: &[u8], full: bool) -> Examination {
    let options = Options {
        full,
        ..Options::default()
    };
    examine(&Rules::builtin(), options, name, &bytes)
}

struct Member {
    name: String,
    data: Vec<u8>,
    deflated: bool,
    sum: u32,
}

fn member(name: &str, data: &[u8]) -> Member {
    Member {
        name: name.to_owned(),
        data: data.to_vec(),
        deflated: false,
        sum: sum_of(data),
    }
}

/// A deflate stream of one stored block.
fn deflate(data: &[u8]) -> Vec<u8> {
    let size = u16::try_from(data.len()).unwrap();
    let head = [&[1][..], &size.to_le_bytes(), &(!size).to_le_bytes()];
    [head.concat(), data.to_vec()].concat()
}

fn header(member: &Member, stored: usize) -> Vec<u8> {
    let mut bytes = vec![20, 0, 0, 0, if member.deflated { 8 } else { 0 }, 0];
    bytes.extend([0, 0, 0x21, 0]);
    for number in [member.sum, small(stored), small(member.data.len())] {
        bytes.extend(number.to_le_bytes());
    }
    let name = u16::try_from(member.name.len()).unwrap();
    bytes.extend(name.to_le_bytes());
    bytes
}

fn small(size: usize) -> u32 {
    u32::try_from(size).unwrap()
}

fn entry(member: &Member, stored: usize, offset: usize) -> Vec<u8> {
    let mut bytes = b"PK\x01\x02\x14\0".to_vec();
    bytes.extend(header(member, stored));
    bytes.extend([0; 12]);
    bytes.extend(small(offset).to_le_bytes());
    bytes.extend(member.name.bytes());
    bytes
}

fn ended(mut bytes: Vec<u8>, directory: &[Vec<u8>]) -> Vec<u8> {
    let offset = bytes.len();
    let entries = u16::try_from(directory.len()).unwrap().to_le_bytes();
    let directory = directory.concat();
    bytes.extend(&directory);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend([entries, entries].concat());
    bytes.extend(small(directory.len()).to_le_bytes());
    bytes.extend(small(offset).to_le_bytes());
    bytes.extend([0, 0]);
    bytes
}

fn zip(members: &[Member]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for member in members {
        let stored = if member.deflated {
            deflate(&member.data)
        } else {
            member.data.clone()
        };
        directory.push(entry(member, stored.len(), bytes.len()));
        bytes.extend(b"PK\x03\x04");
        bytes.extend(header(member, stored.len()));
        bytes.extend([0, 0]);
        bytes.extend(member.name.bytes());
        bytes.extend(stored);
    }
    ended(bytes, &directory)
}

/// A checkpoint of torch without tensors: this program, and what makes the archive one of torch's.
pub(crate) fn checkpoint(program: &[u8]) -> Vec<u8> {
    zip(&[
        member("a/data.pkl", program),
        member("a/byteorder", b"little"),
        member("a/version", b"3\n"),
    ])
}

fn torch(data: &[u8]) -> Vec<Member> {
    vec![
        member("a/data.pkl", b"\x80\x02}."),
        member("a/byteorder", b"little"),
        member("a/data/0", &[0x3f; 999]),
        member("a/data/1", data),
        member("a/version", b"3\n"),
    ]
}

fn array(data: &[u8]) -> Vec<u8> {
    let dictionary = format!(
        "{{'descr': '|u1', 'fortran_order': False, 'shape': ({},), }}\n",
        data.len()
    );
    let size = u16::try_from(dictionary.len()).unwrap().to_le_bytes();
    [b"\x93NUMPY\x01\0", &size[..], dictionary.as_bytes(), data].concat()
}

fn onnx(data: &[u8]) -> Vec<u8> {
    let tensor = [
        count(1, data.len() as u64),
        count(2, 2),
        field(8, "w"),
        field(9, data),
    ];
    let node = [field(1, "w"), field(2, "y"), field(4, "Relu")].concat();
    let graph = [field(1, node), field(2, "g"), field(5, tensor.concat())].concat();
    let opset = [field(1, ""), count(2, 17)].concat();
    [count(1, 8), field(7, graph), field(8, opset)].concat()
}

fn gguf(data: &[u8]) -> Vec<u8> {
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend([1_u64, 0, 1].map(u64::to_le_bytes).concat());
    bytes.extend(b"w");
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend((data.len() as u64).to_le_bytes());
    bytes.extend(24_u32.to_le_bytes());
    bytes.extend(0_u64.to_le_bytes());
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    bytes
}

fn safetensors(data: &[u8]) -> Vec<u8> {
    let size = data.len();
    let json = format!(r#"{{"w":{{"dtype":"U8","shape":[{size}],"data_offsets":[0,{size}]}}}}"#);
    let length = (json.len() as u64).to_le_bytes();
    [&length[..], json.as_bytes(), data].concat()
}

fn pickled(data: &[u8]) -> Vec<u8> {
    let size = small(data.len()).to_le_bytes();
    [b"\x80\x03B", &size[..], data, b"."].concat()
}

fn legacy(data: &[u8]) -> Vec<u8> {
    let head = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.";
    [&head[..], b"\x80\x02}.\x80\x02].", data].concat()
}

fn tflite(data: &[u8]) -> Vec<u8> {
    [b"\x1c\0\0\0TFL3", &[0; 24][..], &[4, 0, 0, 0], data].concat()
}

fn hdf5(data: &[u8]) -> Vec<u8> {
    [
        b"\x89HDF\r\n\x1a\n\0\0\0\0\0\x08\x08\0",
        &[0xff; 80][..],
        data,
    ]
    .concat()
}

fn compressed(mut members: Vec<Member>) -> Vec<Member> {
    for member in &mut members {
        member.deflated = true;
    }
    members
}

type Carrier = (&'static str, fn(&[u8]) -> Vec<u8>);

const CARRIERS: [Carrier; 13] = [
    ("w.pt", |data| zip(&torch(data))),
    ("deflated.pt", |data| zip(&compressed(torch(data)))),
    ("w.npz", |data| zip(&[member("a.npy", &array(data))])),
    ("deflated.npz", |data| {
        zip(&compressed(vec![member("a.npy", &array(data))]))
    }),
    ("w.npy", array),
    ("w.onnx", onnx),
    ("w.gguf", gguf),
    ("w.safetensors", safetensors),
    ("w.pkl", pickled),
    ("legacy.pt", legacy),
    ("w.tflite", tflite),
    ("w.h5", hdf5),
    ("twice.zip", |data| {
        let inner = zip(&torch(data));
        zip(&[member("inner.pt", &inner)])
    }),
];

fn code(seen: &Examination) -> Vec<(Weight, u64, Vec<String>)> {
    let code = seen
        .findings
        .iter()
        .filter(|finding| finding.rule == Rule::NativeCode);
    code.map(|finding| {
        let place = finding.place.clone();
        (finding.weight, place.offset.unwrap(), place.members)
    })
    .collect()
}

#[test]
fn code_among_the_numbers_of_every_format_is_told_at_its_place() {
    for (name, carrier) in CARRIERS {
        let bytes = carrier(&numbers());
        let seen = scanned(name, &bytes, true);
        let told = code(&seen);
        let [(Weight::Dangerous, offset, members)] = told.as_slice() else {
            panic!("{name}: {told:?} {seen:?}");
        };
        if members.is_empty() {
            let at = usize::try_from(*offset).unwrap();
            assert_eq!(bytes[at..at + 64], elf(), "{name}");
        } else {
            assert!(members.last().unwrap().ends_with(['1', 'y']), "{name}");
        }
        let honest = scanned(name, &carrier(&[0x3f; 8192]), true);
        assert_eq!(code(&honest), [], "{name}");
    }
}

#[test]
fn numbers_of_a_model_that_lie_in_a_file_of_their_own_are_searched() {
    for number in [b"\x3f\x3f\x3f\x3f", b"\x9a\xd9\xc0\x3f"] {
        let bytes = [number.repeat(1024), elf(), number.repeat(1024)].concat();
        let told = code(&scanned("model.onnx.data", &bytes, true));
        assert_eq!(told, [(Weight::Unknown, 4096, Vec::new())]);
        let honest = number.repeat(4096);
        assert_eq!(findings(&scanned("model.onnx.data", &honest, true)), []);
    }
}

#[test]
fn the_digest_is_that_of_the_file_and_of_a_part_that_is_the_file() {
    let bytes = zip(&torch(&numbers()));
    assert_eq!(
        scanned("w.pt", &bytes, true).digest,
        Some(Digest::of(&bytes))
    );
    let bytes = pickled(&numbers());
    let seen = scanned("w.pkl", &bytes, true);
    assert_eq!(seen.digest, Some(Digest::of(&bytes)));
    assert_eq!(seen.parts[0].digest, seen.digest);
    assert_eq!(scanned("w.pt", &bytes, false).digest, None);
}

#[test]
fn a_wrong_check_sum_of_any_member_is_told_with_its_name() {
    for deflated in [false, true] {
        for index in 0..5 {
            let mut members = torch(&[0x3f; 9000]);
            if deflated {
                members = compressed(members);
            }
            let honest = scanned("w.pt", &zip(&members), true);
            assert_eq!((findings(&honest), honest.gaps.len()), (vec![], 0));
            members[index].sum ^= 1;
            let seen = scanned("w.pt", &zip(&members), true);
            assert_eq!(findings(&seen), [(Rule::Broken, Weight::Unknown)]);
            assert_eq!(seen.findings.len(), 1);
            assert_eq!(
                seen.findings[0].place.members,
                [members[index].name.clone()]
            );
        }
    }
}

#[test]
fn a_library_that_is_a_member_is_no_library_among_numbers() {
    let library = [elf(), vec![0; 5000], elf()].concat();
    let seen = scanned("a.zip", &zip(&[member("lib.so", &library)]), true);
    assert_eq!(findings(&seen), [(Rule::NativeCode, Weight::Unknown)]);
}

#[test]
fn a_flood_of_code_beside_numbers_does_not_hide_code_in_them() {
    let library: Vec<u8> = std::iter::repeat_n(elf(), 500).flatten().collect();
    let mut members = torch(&numbers());
    members.insert(0, member("a/lib.so", &library));
    let told = code_in_numbers(&scanned("w.pt", &zip(&members), true));
    assert_eq!(told, [vec!["a/data/1".to_owned()]]);
}

fn code_in_numbers(seen: &Examination) -> Vec<Vec<String>> {
    let found = seen.findings.iter();
    let found = found.filter(|f| f.rule == Rule::NativeCode && f.weight == Weight::Dangerous);
    found.map(|finding| finding.place.members.clone()).collect()
}

#[test]
fn members_that_share_bytes_are_each_judged_as_long_as_that_is_bounded() {
    // Each member starts one byte behind the one before it and has the same end: no two ranges are the same.
    let body = vec![0x3f; 1 << 20];
    let mut bytes = zip(&torch(&body));
    let end = bytes
        .windows(4)
        .position(|four| four == b"PK\x01\x02")
        .unwrap();
    bytes.truncate(end);
    let first = bytes
        .windows(8)
        .position(|name| name == b"a/data/1")
        .unwrap()
        - 30;
    let shared = |number: usize| {
        let mut shared = member(&format!("a/data/{number}"), &body[number..]);
        shared.sum = 7;
        entry(&shared, shared.data.len(), first)
    };
    let mut directory: Vec<Vec<u8>> = (1..1000).map(shared).collect();
    let program = member("a/data.pkl", b"\x80\x02}.");
    directory.push(entry(&program, 4, 0));
    let seen = scanned("w.pt", &ended(bytes, &directory), true);
    let limits = seen.gaps.iter();
    let limits = limits.filter(|gap| gap.kind == GapKind::Limit && gap.what.contains("share"));
    assert_eq!(limits.count(), 1);
}

#[test]
fn programs_of_one_file_share_one_bound() {
    let program = [b"N0".repeat(300), b"N.".to_vec()].concat();
    let limits = |copies: usize| {
        let options = Options {
            opcodes: 3000,
            ..Options::default()
        };
        let members = (0..copies).map(|n| member(&format!("{n}.pkl"), &program));
        let bytes = zip(&members.collect::<Vec<_>>());
        let seen = examine(&Rules::builtin(), options, "a.zip", &bytes.as_slice());
        let gaps = seen.gaps.iter();
        gaps.filter(|gap| gap.what.contains("opcodes")).count()
    };
    assert_eq!((limits(1), limits(2)), (0, 0));
    assert!(limits(9) > 0);
}

#[test]
fn a_member_that_is_listed_a_thousand_times_is_examined_once() {
    let data = b"cnot_known\nrun\n)R.";
    let one = member("a.pkl", data);
    let mut bytes = zip(std::slice::from_ref(&one));
    let end = bytes.windows(4).position(|four| four == b"PK\x01\x02");
    bytes.truncate(end.unwrap());
    let directory = vec![entry(&one, data.len(), 0); 1000];
    let seen = scanned("a.zip", &ended(bytes, &directory), false);
    let programs = seen.parts.iter();
    let programs = programs.filter(|part| part.place.members == ["a.pkl"]);
    assert_eq!(programs.count(), 1);
    assert!(findings(&seen).contains(&(Rule::Bomb, Weight::Unknown)));
}

#[test]
fn an_archive_without_check_sums_is_told_once_and_is_no_damage() {
    for deflated in [false, true] {
        let mut members = torch(&[0x3f; 9000]);
        for member in &mut members {
            member.sum = 0;
            member.deflated = deflated;
        }
        let told = scanned("a.pt", &zip(&members), true);
        let broken: Vec<_> = told
            .findings
            .iter()
            .filter(|finding| finding.rule == Rule::Broken)
            .collect();
        assert_eq!(broken.len(), 1, "{deflated}: {broken:?}");
        assert_eq!(broken[0].weight, Weight::Note);
        assert!(told.gaps.is_empty(), "{:?}", told.gaps);
        // One that says a sum, and a wrong one, is damaged as ever.
        members[3].sum = 1;
        let told = scanned("a.pt", &zip(&members), true);
        let is_damage =
            |it: &&domain::scan::Finding| it.rule == Rule::Broken && it.weight == Weight::Unknown;
        assert_eq!(told.findings.iter().filter(is_damage).count(), 1);
    }
}
