//! Tar archives and what torch made of them, and the format of pickles one behind the other.

use taintline_formats::pickle::Limits;
use taintline_formats::sniff::{Format, formats};
use taintline_formats::tar::{Kind, Oddity, read, starts};
use taintline_formats::torch_legacy::{Layout, Role, layout, tar_storages, tar_tensors};
use taintline_formats::{ReadAt as _, Window};

use crate::support::{Asm, Zip, good};

fn sealed(mut block: Vec<u8>) -> Vec<u8> {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn header(name: &[u8], kind: u8, size: &[u8], link: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name);
    block[124..124 + size.len()].copy_from_slice(size);
    block[156] = kind;
    block[157..157 + link.len()].copy_from_slice(link);
    block[257..265].copy_from_slice(b"ustar\x0000");
    sealed(block)
}

fn member(name: &[u8], kind: u8, data: &[u8]) -> Vec<u8> {
    let mut bytes = header(name, kind, format!("{:011o}", data.len()).as_bytes(), b"");
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn ended(members: &[Vec<u8>]) -> Vec<u8> {
    [members.concat(), vec![0; 1024]].concat()
}

#[test]
fn members_have_their_names_by_every_way_of_giving_them() {
    let long = "n/".repeat(80) + "long";
    let pax = format!("{} path={long}x\n", long.len() + 11);
    let mut prefixed = header(b"name", b'0', b"00000000001", b"");
    prefixed[345..351].copy_from_slice(b"prefix");
    let bytes = ended(&[
        member(b"short", b'0', b"first"),
        member(b"././@LongLink", b'L', long.as_bytes()),
        member(b"cut", b'0', b"second"),
        member(b"x", b'x', pax.as_bytes()),
        member(b"cut", b'0', b"third"),
        sealed(prefixed),
        vec![b'!'; 512],
        member(b"folder/", b'5', b""),
    ]);
    let archive = read(&bytes.as_slice()).unwrap();
    let names: Vec<String> = archive
        .members
        .iter()
        .map(|member| member.name_text().into_owned())
        .collect();
    let expected = [
        "short",
        &long,
        &format!("{long}x"),
        "prefix/name",
        "folder/",
    ];
    assert_eq!(names, expected);
    let third = &archive.members[2];
    let start = usize::try_from(third.data_offset).unwrap();
    assert_eq!(&bytes[start..start + 5], b"third");
    assert_eq!(archive.members[4].kind, Kind::Folder);
    assert!(starts(&bytes[..512]));
    assert_eq!(formats(&bytes.as_slice()).unwrap(), [Format::Tar]);
    // The bytes behind the prefixed member are one and its padding is not zero: that is no oddity of tar.
    assert_eq!(archive.oddities, []);
}

#[test]
fn sizes_come_in_octal_and_in_base_256_and_in_records() {
    let mut base = vec![0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3];
    let mut bytes = header(b"a", b'0', &base, b"");
    bytes.extend([b'x'; 512]);
    bytes.extend(member(b"r", b'x', b"9 size=2\n"));
    bytes.extend(header(b"b", b'0', b"00000000777", b""));
    bytes.extend([b'y'; 512]);
    let archive = read(&ended(&[bytes]).as_slice()).unwrap();
    let sizes: Vec<u64> = archive.members.iter().map(|member| member.size).collect();
    assert_eq!(sizes, [3, 2]);
    base[0] = 0xff;
    let archive = read(&ended(&[header(b"a", b'0', &base, b"")]).as_slice()).unwrap();
    assert_eq!(archive.oddities, [Oddity::BadSize("a".to_owned())]);
    let huge = header(b"a", b'0', b"77777777777", b"");
    let archive = read(&huge.as_slice()).unwrap();
    assert_eq!(archive.oddities, [Oddity::BytesMissing("a".to_owned())]);
    assert_eq!(archive.members[0].size, 0);
}

#[test]
fn what_harms_who_unpacks_is_noted() {
    let bytes = ended(&[
        member(b"../up", b'0', b""),
        member(b"/root", b'0', b""),
        header(b"link", b'2', b"", b"../../etc"),
        header(b"device", b'3', b"", b""),
        member(b"twice", b'0', b""),
        member(b"twice", b'0', b""),
    ]);
    let archive = read(&bytes.as_slice()).unwrap();
    let name = |text: &str| text.to_owned();
    assert_eq!(
        archive.oddities,
        [
            Oddity::UnsafeName(name("../up")),
            Oddity::UnsafeName(name("/root")),
            Oddity::UnsafeLink {
                name: name("link"),
                target: name("../../etc")
            },
            Oddity::Special(name("device")),
            Oddity::DuplicateName(name("twice")),
        ]
    );
}

#[test]
fn what_stands_behind_the_end_is_found() {
    let second = member(b"hidden", b'0', b"x");
    let bytes = [
        ended(&[member(b"a", b'0', b"x")]),
        second,
        b"loose".to_vec(),
    ]
    .concat();
    let archive = read(&bytes.as_slice()).unwrap();
    assert!(!archive.members[0].behind_end);
    assert!(archive.members[1].behind_end);
    let end = bytes.len() as u64 - 5;
    assert_eq!(archive.unclaimed, [(end, 5)]);
    assert!(archive.oddities.contains(&Oddity::BehindEnd(2048)));
}

#[test]
fn members_behind_a_broken_header_are_found() {
    let mut broken = member(b"b", b'0', b"");
    broken[0] = b'?';
    let bytes = ended(&[member(b"a", b'0', b""), broken, member(b"c", b'0', b"")]);
    let archive = read(&bytes.as_slice()).unwrap();
    let names: Vec<&[u8]> = archive
        .members
        .iter()
        .map(|member| member.name.as_slice())
        .collect();
    assert_eq!(names, [b"a", b"c"]);
    assert!(archive.oddities.contains(&Oddity::BrokenHeader(512)));
    assert_eq!(archive.unclaimed, [(512, 512)]);
}

#[test]
fn an_archive_within_the_archive_makes_it_no_other_one() {
    let zip = Zip::default().stored("a", b"x").finish();
    let tar = ended(&[member(b"a.zip", b'0', &zip)]);
    assert_eq!(formats(&tar.as_slice()).unwrap(), [Format::Tar]);
    let both = [ended(&[member(b"a", b'0', b"x")]), zip].concat();
    assert_eq!(
        formats(&both.as_slice()).unwrap(),
        [Format::Tar, Format::Zip]
    );
}

#[test]
fn text_is_no_archive() {
    assert!(!starts(&[b'a'; 600]));
    assert!(!starts(&[0; 600]));
    assert!(!starts(b"short"));
}

/// The five pickles and two storages, as torch before 1.6 wrote them.
fn legacy() -> Vec<u8> {
    let storage = |key: &str| {
        Asm::default()
            .raw(b"(")
            .text("storage")
            .global("torch", "FloatStorage")
            .text(key)
            .text("cpu")
            .int(2)
            .raw(b"NtQ")
            .0
    };
    let object = Asm::new()
        .raw(b"](")
        .raw(&storage("7"))
        .raw(&storage("8"))
        .raw(b"e")
        .stop();
    let keys = Asm::new().raw(b"](").text("7").text("8").raw(b"e").stop();
    let raw = [2u64.to_le_bytes().as_slice(), &[1; 8]].concat();
    [
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.".to_vec(),
        b"\x80\x02M\xe9\x03.".to_vec(),
        b"\x80\x02}.".to_vec(),
        object,
        keys,
        raw.clone(),
        raw,
    ]
    .concat()
}

fn roles(layout: &Layout) -> Vec<Role> {
    layout.parts.iter().map(|part| part.role).collect()
}

fn covers(layout: &Layout, length: u64) {
    let end = layout.parts.iter().fold(0, |end, part| {
        assert_eq!(part.offset, end);
        end + part.size
    });
    assert_eq!(end, length);
}

#[test]
fn the_old_format_is_accounted_for_to_the_byte() {
    let limits = Limits::default();
    let mut bytes = legacy();
    assert_eq!(formats(&bytes.as_slice()).unwrap(), [Format::TorchLegacy]);
    let mut expected = vec![
        Role::Magic,
        Role::Protocol,
        Role::SysInfo,
        Role::Object,
        Role::StorageKeys,
        Role::Raw,
        Role::Raw,
    ];
    let found = layout(&bytes.as_slice(), &limits).unwrap();
    assert!(found.complete);
    assert_eq!(roles(&found), expected);
    covers(&found, bytes.len() as u64);
    bytes.extend(b"cos\n");
    expected.push(Role::Rest);
    let found = layout(&bytes.as_slice(), &limits).unwrap();
    assert_eq!(roles(&found), expected);
    covers(&found, bytes.len() as u64);
}

#[test]
fn an_old_file_cut_anywhere_has_no_holes_and_says_that_it_is_not_whole() {
    let bytes = legacy();
    for cut in 1..bytes.len() {
        let found = layout(&&bytes[..cut], &Limits::default()).unwrap();
        covers(&found, cut as u64);
        assert!(!found.complete, "{cut}");
    }
}

#[test]
fn the_oldest_format_has_its_pickles_between_raw_bytes() {
    let item = Asm::new()
        .raw(b"(K\x07")
        .text("cpu")
        .global("torch", "DoubleStorage")
        .raw(b"t")
        .stop();
    let storages = [
        b"\x80\x02K\x01.".to_vec(),
        item,
        [1u64.to_le_bytes(), [9; 8]].concat(),
        b"\x80\x02].".to_vec(),
    ]
    .concat();
    let tensors = [
        b"\x80\x02K\x01.".to_vec(),
        b"\x80\x02K\x07.".to_vec(),
        [1u64.to_le_bytes(), [1; 8], [1; 8], [0; 8]].concat(),
    ]
    .concat();
    let bytes = ended(&[
        member(b"sys_info", b'0', b"\x80\x02}."),
        member(b"pickle", b'0', b"\x80\x02}."),
        member(b"storages", b'0', &storages),
        member(b"tensors", b'0', &tensors),
    ]);
    let input = bytes.as_slice();
    assert_eq!(formats(&input).unwrap(), [Format::TorchTar]);
    let archive = read(&input).unwrap();
    let limits = Limits::default();
    let window = |index: usize| {
        let member = &archive.members[index];
        Window::new(&input, member.data_offset, member.size)
    };
    let found = tar_storages(&window(2), &limits).unwrap();
    assert_eq!(
        roles(&found),
        [Role::Item, Role::Item, Role::Raw, Role::Item]
    );
    assert!(found.complete);
    covers(&found, window(2).len());
    let found = tar_tensors(&window(3), &limits).unwrap();
    assert_eq!(roles(&found), [Role::Item, Role::Item, Role::Raw]);
    assert!(found.complete);
    covers(&found, window(3).len());
}

#[test]
fn an_archive_of_noise_is_read_and_has_no_member() {
    let archive = good(read(&vec![7; 100_000].as_slice()));
    assert_eq!(archive.members, []);
    assert_eq!(archive.unclaimed, [(0, 100_000)]);
}
