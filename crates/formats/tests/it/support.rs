//! Writers for the formats under test: small, and able to lie.

use taintline_formats::checkpoint::{Checkpoint, Reading, read};

fn low32(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn low16(name: &str) -> u16 {
    u16::try_from(name.len()).unwrap_or(u16::MAX)
}

/// The value of a result that must be good.
pub(crate) fn good<T, E: std::fmt::Debug>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => unreachable!("{error:?}"),
    }
}

/// A ZIP archive in the making.
#[derive(Default)]
pub(crate) struct Zip {
    bytes: Vec<u8>,
    directory: Vec<u8>,
    count: u16,
    /// Writes sizes and offsets in 64-bit fields.
    pub(crate) wide: bool,
}

impl Zip {
    pub(crate) fn stored(self, name: &str, data: &[u8]) -> Self {
        self.member(name, name, 0, data)
    }

    pub(crate) fn member(mut self, name: &str, local_name: &str, method: u16, data: &[u8]) -> Self {
        let offset = self.bytes.len() as u64;
        let size = data.len() as u64;
        self.bytes.extend(b"PK\x03\x04\x2d\0\0\0");
        self.bytes.extend(method.to_le_bytes());
        self.bytes.extend([0; 8]);
        self.bytes.extend(low32(size).to_le_bytes());
        self.bytes.extend(low32(size).to_le_bytes());
        self.bytes.extend(low16(local_name).to_le_bytes());
        self.bytes.extend([0; 2]);
        self.bytes.extend(local_name.as_bytes());
        self.bytes.extend(data);
        self.list(name, method, offset, size);
        self
    }

    /// A member whose local header and bytes are there and that the directory does not list.
    pub(crate) fn unlisted(mut self, name: &str, data: &[u8]) -> Self {
        let (directory, count) = (self.directory.clone(), self.count);
        self = self.stored(name, data);
        (self.directory, self.count) = (directory, count);
        self
    }

    /// Bytes that belong to no member.
    pub(crate) fn loose(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend(bytes);
        self
    }

    /// A directory entry for bytes at `offset` of the archive, whatever stands there.
    pub(crate) fn list(&mut self, name: &str, method: u16, offset: u64, size: u64) {
        let mut extra = Vec::new();
        let mut field = |value: u64| -> u32 {
            if self.wide {
                extra.extend(value.to_le_bytes());
                return u32::MAX;
            }
            low32(value)
        };
        let (full, packed, at) = (field(size), field(size), field(offset));
        if self.wide {
            let mut head = vec![1, 0, 24, 0];
            head.append(&mut extra);
            extra = head;
        }
        let directory = &mut self.directory;
        directory.extend(b"PK\x01\x02\x2d\0\x2d\0\0\0");
        directory.extend(method.to_le_bytes());
        directory.extend([0; 8]);
        directory.extend(packed.to_le_bytes());
        directory.extend(full.to_le_bytes());
        directory.extend(low16(name).to_le_bytes());
        directory.extend((if self.wide { 28u16 } else { 0 }).to_le_bytes());
        directory.extend([0; 10]);
        directory.extend(at.to_le_bytes());
        directory.extend(name.as_bytes());
        directory.extend(extra);
        self.count += 1;
    }

    /// Marks the last directory entry as one whose sizes and sum stand behind its bytes.
    pub(crate) fn describe(&mut self) {
        let at = self
            .directory
            .windows(4)
            .rposition(|bytes| bytes == b"PK\x01\x02");
        if let Some(flags) = at.and_then(|at| self.directory.get_mut(at + 8)) {
            *flags |= 8;
        }
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        let mut bytes = self.bytes;
        let offset = bytes.len() as u64;
        let size = self.directory.len() as u64;
        bytes.extend(self.directory);
        let (count, size32, offset32) = if self.wide {
            let end64 = bytes.len() as u64;
            bytes.extend(b"PK\x06\x06\x2c\0\0\0\0\0\0\0\x2d\0\x2d\0\0\0\0\0\0\0\0\0");
            for value in [u64::from(self.count), u64::from(self.count), size, offset] {
                bytes.extend(value.to_le_bytes());
            }
            bytes.extend(b"PK\x06\x07\0\0\0\0");
            bytes.extend(end64.to_le_bytes());
            bytes.extend([1, 0, 0, 0]);
            (u16::MAX, u32::MAX, u32::MAX)
        } else {
            (self.count, low32(size), low32(offset))
        };
        bytes.extend(b"PK\x05\x06\0\0\0\0");
        bytes.extend(count.to_le_bytes());
        bytes.extend(count.to_le_bytes());
        bytes.extend(size32.to_le_bytes());
        bytes.extend(offset32.to_le_bytes());
        bytes.extend([0; 2]);
        bytes
    }
}

/// A pickle in the making, protocol 2 without memo, as `torch.save` writes it.
#[derive(Clone, Default)]
pub(crate) struct Asm(pub(crate) Vec<u8>);

impl Asm {
    pub(crate) fn new() -> Self {
        Self(vec![0x80, 2])
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub(crate) fn text(self, text: &str) -> Self {
        self.raw(b"X")
            .raw(&low32(text.len() as u64).to_le_bytes())
            .raw(text.as_bytes())
    }

    pub(crate) fn int(self, value: i32) -> Self {
        self.raw(b"J").raw(&value.to_le_bytes())
    }

    pub(crate) fn global(self, module: &str, name: &str) -> Self {
        self.raw(format!("c{module}\n{name}\n").as_bytes())
    }

    pub(crate) fn ints(self, values: &[i32]) -> Self {
        values
            .iter()
            .fold(self.raw(b"("), |asm, value| asm.int(*value))
            .raw(b"t")
    }

    /// `_rebuild_tensor_v2(storage, offset, size, stride, False, OrderedDict())`.
    pub(crate) fn tensor(
        self,
        storage: (&str, &str, i32),
        offset: i32,
        size: &[i32],
        stride: &[i32],
    ) -> Self {
        let (kind, key, elements) = storage;
        self.global("torch._utils", "_rebuild_tensor_v2")
            .raw(b"((")
            .text("storage")
            .global("torch", kind)
            .text(key)
            .text("cpu")
            .int(elements)
            .raw(b"tQ")
            .int(offset)
            .ints(size)
            .ints(stride)
            .raw(b"\x89")
            .global("collections", "OrderedDict")
            .raw(b")RtR")
    }

    pub(crate) fn stop(self) -> Vec<u8> {
        self.raw(b".").0
    }
}

/// A model with tied weights and a transposed view, an optimizer and plain values.
pub(crate) fn sample_pickle() -> Vec<u8> {
    Asm::new()
        .raw(b"}(")
        .text("model")
        .global("collections", "OrderedDict")
        .raw(b")R(")
        .text("h.0.weight")
        .tensor(("FloatStorage", "0", 6), 0, &[2, 3], &[3, 1])
        .text("head.weight")
        .tensor(("FloatStorage", "0", 6), 1, &[3, 1], &[1, 3])
        .text("h.0.bias")
        .global("torch._utils", "_rebuild_parameter")
        .raw(b"(")
        .tensor(("BFloat16Storage", "1", 2), 0, &[2], &[1])
        .raw(b"\x88")
        .global("collections", "OrderedDict")
        .raw(b")RtR")
        .raw(b"u}")
        .text("_metadata")
        .raw(b"}sb")
        .text("optimizer")
        .raw(b"}(")
        .text("state")
        .raw(b"}")
        .int(0)
        .raw(b"}")
        .text("exp_avg")
        .tensor(("FloatStorage", "0", 6), 5, &[], &[])
        .raw(b"ss")
        .text("param_groups")
        .raw(b"](}(")
        .text("lr")
        .raw(b"G\x3f\x33\xa9\x2a\x30\x55\x32\x61")
        .text("betas")
        .raw(b"G\x3f\xec\xcc\xcc\xcc\xcc\xcc\xcdG\x3f\xee\x66\x66\x66\x66\x66\x66\x86")
        .raw(b"ueu")
        .text("step")
        .int(400)
        .text("best")
        .raw(b"N")
        .raw(b"u")
        .stop()
}

pub(crate) const STORAGE_0: [u8; 24] = [7; 24];

pub(crate) fn sample() -> Vec<u8> {
    with_pickle(&sample_pickle())
}

pub(crate) fn with_pickle(pickle: &[u8]) -> Vec<u8> {
    Zip::default()
        .stored("ckpt/data.pkl", pickle)
        .stored("ckpt/byteorder", b"little")
        .stored("ckpt/data/0", &STORAGE_0)
        .stored("ckpt/data/1", &[9; 4])
        .stored("ckpt/version", b"3\n")
        .finish()
}

/// The checkpoint that `bytes` must be.
pub(crate) fn checkpoint(bytes: &[u8]) -> Checkpoint {
    let reading = read(&bytes);
    let Ok(Reading::Checkpoint(checkpoint)) = reading else {
        unreachable!("no checkpoint: {reading:?}")
    };
    checkpoint
}
