//! `formats`, the containers: nothing is given that is not there, budgets hold, no byte is in two places.

use formats::compressed::{Budget, Codec, Decoder, End, MAX_ODDITIES};
use formats::pickle::Limits;
use formats::{ReadAt as _, joblib as dumped, numpy, tar as tape, torch_legacy as old};

/// Reading from memory cannot fail, so an error of reading is a wrong offset inside the parser.
const IN_MEMORY: &str = "bytes in memory were asked for outside of the input";

/// Limits that end before a test does.
fn limits() -> Limits {
    Limits {
        opcodes: 200_000,
        ..Limits::default()
    }
}

fn inside(data: &[u8], offset: u64, size: u64) -> bool {
    let end = offset.checked_add(size);
    end.is_some_and(|end| end <= data.len() as u64)
}

/// Every codec of [`formats::compressed`] on the same bytes.
pub fn compressed(data: &[u8]) -> bool {
    const CODECS: [Codec; 9] = [
        Codec::Gzip,
        Codec::Zlib,
        Codec::Deflate,
        Codec::Bzip2,
        Codec::Xz,
        Codec::Lzma,
        Codec::ZipLzma,
        Codec::Zstd,
        Codec::Lz4,
    ];
    let budget = Budget {
        output: 1 << 16,
        input: 1 << 20,
        ratio: 100_000,
    };
    let mut taken = false;
    for codec in CODECS {
        let Ok((bytes, outcome)) = Decoder::new(&data, codec, budget).spool() else {
            unreachable!("{IN_MEMORY}")
        };
        assert_eq!(bytes.len() as u64, outcome.written);
        assert!(outcome.written <= budget.output);
        assert!(outcome.consumed <= data.len() as u64);
        assert!(outcome.oddities.len() <= MAX_ODDITIES);
        taken |= !bytes.is_empty();
        let Ok((head, _)) = Decoder::new(&data, codec, budget).head(10) else {
            unreachable!("{IN_MEMORY}")
        };
        // A decoder that finds a break gives nothing of the step in which it finds it, though it may have filled a part of
        // its room. The head has room for ten bytes a step and the whole for 64 KiB, so the two steps that end at one
        // break begin at different bytes, and either may give more. Without a break no byte may be missing.
        let broken = matches!(outcome.end, End::Broken(_));
        let same = head.len().min(bytes.len());
        assert_eq!(head[..same], bytes[..same.min(10)], "the head is another");
        assert!(broken || head.len() == bytes.len().min(10));
    }
    taken
}

/// [`formats::tar::read`].
pub fn tar(data: &[u8]) -> bool {
    let Ok(archive) = tape::read(&data) else {
        unreachable!("{IN_MEMORY}")
    };
    assert!(archive.members.len() <= tape::MAX_MEMBERS);
    assert!(archive.oddities.len() <= tape::MAX_ODDITIES);
    for member in &archive.members {
        assert!(member.size == 0 || inside(data, member.data_offset, member.size));
        assert!(member.name.len() <= tape::MAX_NAME);
    }
    for (offset, size) in &archive.unclaimed {
        assert!(inside(data, *offset, *size));
    }
    assert!(tape::flavour(&data).is_ok());
    !archive.members.is_empty()
}

/// [`formats::numpy::read`].
pub fn npy(data: &[u8]) -> bool {
    let Ok(read) = numpy::read(&data) else {
        unreachable!("{IN_MEMORY}")
    };
    let Ok(array) = read else {
        return false;
    };
    assert!(inside(data, array.trailing.0, array.trailing.1));
    assert!(array.data_offset <= array.trailing.0);
    if let numpy::Payload::Elements(bytes) = array.payload {
        let missing = array.oddities.iter().find_map(|oddity| match oddity {
            numpy::Oddity::Missing(missing) => Some(*missing),
            _ => None,
        });
        let there = bytes - missing.unwrap_or_default();
        assert_eq!(array.data_offset + there, array.trailing.0);
    }
    true
}

/// [`formats::joblib::read`]: each byte is in one part.
pub fn joblib(data: &[u8]) -> bool {
    let Ok(found) = dumped::read(&data, &limits()) else {
        unreachable!("{IN_MEMORY}")
    };
    assert!(found.end <= data.len() as u64);
    let mut parts = [found.program, found.arrays, found.nested].concat();
    parts.sort_unstable();
    let mut covered = 0;
    for (start, size) in &parts {
        assert!(*start >= covered && inside(data, *start, *size));
        covered = start + size;
    }
    parts.len() > 1
}

/// [`formats::torch_legacy`]: the parts are the file.
pub fn torch_legacy(data: &[u8]) -> bool {
    let limits = limits();
    let window = formats::Window::from(&data, 0);
    let layouts = [
        old::layout(&data, &limits),
        old::tar_storages(&window, &limits),
        old::tar_tensors(&window, &limits),
    ];
    let mut complete = false;
    for layout in layouts {
        let Ok(layout) = layout else {
            unreachable!("{IN_MEMORY}")
        };
        let end = layout.parts.iter().fold(0, |end, part| {
            assert_eq!(part.offset, end, "a hole or an overlap");
            end + part.size
        });
        assert_eq!(end, window.len());
        complete |= layout.complete;
    }
    complete
}
