//! What the kernel tells: its description of itself, and what our programs in it write.

use host::files::{HANDLE_MAX, Record, records};
use host::kernel::{Btf, decode};

/// A description of structures: whatever stands in it, looking for a field ends, and what is found lies where it says.
pub fn btf(data: &[u8]) -> bool {
    let Ok(btf) = Btf::parse(data.to_vec()) else {
        return false;
    };
    for (structure, path) in [
        ("task", "pid"),
        ("task", "login.val"),
        ("loop", "x.y.z"),
        ("", ""),
    ] {
        let once = btf.offset(structure, path);
        assert_eq!(once, btf.offset(structure, path));
    }
    true
}

/// A record of a signal: what is read is the same twice, and its names fit.
pub fn signal_record(data: &[u8]) -> bool {
    let Some(signal) = decode(data) else {
        return false;
    };
    assert_eq!(decode(data), Some(signal.clone()));
    // Each byte that is no text becomes one sign of three bytes at most.
    assert!(signal.actor.name.len() <= 48 && signal.target.name.len() <= 48);
    true
}

/// Records of changes to files: as many as there can be, the same twice, with handles and names that fit, and nothing is left but
/// what is no record.
pub fn fanotify_record(data: &[u8]) -> bool {
    let mut all = records(data);
    let found: Vec<Record<'_>> = all.by_ref().collect();
    assert!(found.len() <= data.len() / 24);
    assert!(all.next().is_none() && all.rest().len() <= data.len());
    assert_eq!(found, records(data).collect::<Vec<_>>());
    for record in &found {
        for named in record.place.iter().chain(&record.from) {
            let name = named.name.as_encoded_bytes();
            assert!(!name.is_empty() && name.len() < data.len());
            assert!(!name.contains(&0) && !name.contains(&b'/'));
            assert!(named.folder.bytes().len() <= HANDLE_MAX);
        }
    }
    // The same again behind it changes nothing in what was whole.
    if all.rest().is_empty() {
        let twice = [data, data].concat();
        assert_eq!(records(&twice).count(), 2 * found.len());
    }
    !found.is_empty()
}

/// A message of the connector for processes: what is read is the same twice, and what stands behind it changes nothing.
pub fn connector_record(data: &[u8]) -> bool {
    use host::connector::decode;
    let Some(message) = decode(data) else {
        return false;
    };
    assert_eq!(decode(data), Some(message));
    assert_eq!(decode(&[data, data].concat()), Some(message));
    true
}

/// A record of a life: what is read is the same twice, and a table that takes it in names nobody who was not told of.
pub fn life_record(data: &[u8]) -> bool {
    use host::kernel::{Happened, Table, Who, decode_life};
    let Some(happened) = decode_life(data) else {
        return false;
    };
    assert_eq!(decode_life(data), Some(happened.clone()));
    let (Happened::Made { child: task, .. }
    | Happened::Executed { task, .. }
    | Happened::Ended { task, .. }) = &happened;
    let pid = task.pid;
    let mut table = Table::default();
    for _ in 0..2 {
        table.hear(happened.clone());
    }
    if let Who::One(life) = table.who(pid, 0, u64::MAX) {
        assert_eq!(life.pid(), pid);
        assert!(table.above(&life).len() <= 64);
    }
    assert!(matches!(table.who(pid.wrapping_add(1), 0, u64::MAX), Who::Nobody));
    true
}

pub(crate) mod seeds {
    /// One number, one structure with a member of its own kind, another name for it, and a structure with a part that has no name.
    pub(crate) fn descriptions() -> Vec<Vec<u8>> {
        let strings = b"\0int\0kuid\0val\0kuid_t\0task\0pid\0login\0loop\0x\0";
        let at = |text: &str| {
            let found = strings
                .split(|byte| *byte == 0)
                .scan(0u32, |at, part| {
                    let start = *at;
                    *at += u32::try_from(part.len()).unwrap_or(0) + 1;
                    Some((start, part))
                })
                .find(|(_, part)| *part == text.as_bytes());
            found.map_or(0, |(start, _)| start)
        };
        let words = [
            vec![at("int"), 1 << 24, 4, 32],
            vec![at("kuid"), 4 << 24 | 1, 4, at("val"), 1, 0],
            vec![at("kuid_t"), 8 << 24, 2],
            vec![0, 5 << 24 | 1, 4, at("login"), 3, 0],
            vec![at("task"), 4 << 24 | 2, 16, at("pid"), 1, 0, 0, 4, 64],
            vec![at("loop"), 4 << 24 | 1, 4, 0, 6, 0],
        ];
        let types: Vec<u8> = words
            .concat()
            .into_iter()
            .flat_map(u32::to_ne_bytes)
            .collect();
        let mut all = 0xEB9F_u16.to_ne_bytes().to_vec();
        all.extend([1, 0]);
        for word in [24, 0, types.len(), types.len(), strings.len()] {
            all.extend(u32::try_from(word).unwrap_or(0).to_ne_bytes());
        }
        all.extend(types);
        all.extend(strings);
        vec![all]
    }

    /// A tracer that comes and goes, an answer, and another event.
    pub(crate) fn messages() -> Vec<Vec<u8>> {
        let message = |kind: u32, about: [u32; 4]| {
            let words = [0u32, 0, 1, 1, 5, 0, 40];
            let head = [76u32, 3].into_iter().chain(words);
            let event = [kind, 1, 77, 0].into_iter().chain(about).chain([0, 0]);
            head.chain(event).flat_map(u32::to_ne_bytes).collect()
        };
        vec![
            message(0x100, [42, 41, 8, 7]),
            message(0x100, [42, 41, 0, 0]),
            message(0, [0; 4]),
            message(2, [42, 41, 0, 0]),
        ]
    }

    /// A shell that is executed, and its end.
    pub(crate) fn lives() -> Vec<Vec<u8>> {
        let one = |kind: u32| {
            let mut bytes = 5_000u64.to_ne_bytes().to_vec();
            bytes.extend([kind, 0, 41, 41, 0, 0, 61_001, 7].into_iter().flat_map(u32::to_ne_bytes));
            bytes.extend([7_000u64, 44].into_iter().flat_map(u64::to_ne_bytes));
            bytes.extend(b"bash\0\0\0\0\0\0\0\0\0\0\0\0");
            bytes.extend([0; 8]);
            bytes.extend(b"/bin/bash\0");
            bytes.resize(16 + 64 + 128, 0);
            bytes
        };
        [1, 2, 3].map(one).to_vec()
    }

    /// A signal from one shell to another.
    pub(crate) fn signals() -> Vec<Vec<u8>> {
        let mut bytes = 5_000u64.to_ne_bytes().to_vec();
        bytes.extend([9i32, 0, 0, 2].into_iter().flat_map(i32::to_ne_bytes));
        for pid in [41u32, 42] {
            let words = [pid, pid, 0, 0, 61_001, 7];
            bytes.extend(words.into_iter().flat_map(u32::to_ne_bytes));
            bytes.extend([7_000u64, 44].into_iter().flat_map(u64::to_ne_bytes));
            bytes.extend(b"bash\0\0\0\0\0\0\0\0\0\0\0\0");
            bytes.extend([0; 8]);
        }
        vec![bytes]
    }

    /// A file that is written, one that is renamed, and a queue that was full.
    pub(crate) fn changes() -> Vec<Vec<u8>> {
        let part = |kind: u8, body: &[u8]| {
            let length = u16::try_from(4 + body.len()).unwrap_or(0);
            [&[kind, 0][..], &length.to_ne_bytes(), body].concat()
        };
        let place = |kind: u8, name: &[u8; 4]| {
            let words = [0x11u32, 0x22, 8, 1];
            let mut body: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
            body.extend(b"folder-1");
            body.extend(name);
            part(kind, &body)
        };
        let record = |mask: u64, parts: &[Vec<u8>]| {
            let parts = parts.concat();
            let length = u32::try_from(24 + parts.len()).unwrap_or(0);
            let mut bytes = length.to_ne_bytes().to_vec();
            bytes.extend([3, 0]);
            bytes.extend(24u16.to_ne_bytes());
            bytes.extend(mask.to_ne_bytes());
            bytes.extend([-1i32, 41].into_iter().flat_map(i32::to_ne_bytes));
            bytes.extend(parts);
            bytes
        };
        let process = part(4, &(-1i32).to_ne_bytes());
        let written = record(0xA, &[place(2, b"a\0\0\0"), process.clone()]);
        let (old, new) = (place(10, b"old\0"), place(12, b"new\0"));
        let renamed = record(0x1000_0000, &[old, new, process]);
        let full = record(0x4000, &[]);
        vec![[written.clone(), renamed, full].concat(), written]
    }
}
