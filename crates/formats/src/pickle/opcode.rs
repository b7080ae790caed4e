//! The opcodes of all protocols, by the names that `pickletools` gives them, and what stands behind each.

/// What stands behind an opcode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Argument {
    /// Nothing.
    None,
    /// An unsigned number of this many bytes, little endian.
    Unsigned(u8),
    /// A signed number of four bytes, little endian.
    Signed,
    /// A float of eight bytes, big endian.
    Float,
    /// A line, without its line feed.
    Line,
    /// Two lines.
    Lines,
    /// Text in UTF-8, preceded by its length in this many bytes.
    Text(u8),
    /// Bytes, preceded by their length in this many bytes.
    Bytes(u8),
    /// A whole number in two's complement, preceded by its length in this many bytes.
    Long(u8),
}

/// An opcode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opcode {
    /// The byte.
    pub code: u8,
    /// Its name.
    pub name: &'static str,
    /// The first protocol that has it.
    pub protocol: u8,
    /// What stands behind it.
    pub argument: Argument,
}

/// The opcode that `code` is, if it is one.
pub fn opcode(code: u8) -> Option<&'static Opcode> {
    let index = OPCODES
        .binary_search_by_key(&code, |opcode| opcode.code)
        .ok()?;
    OPCODES.get(index)
}

const fn row(code: u8, name: &'static str, protocol: u8, argument: Argument) -> Opcode {
    Opcode {
        code,
        name,
        protocol,
        argument,
    }
}

/// All opcodes, by their bytes.
#[rustfmt::skip]
pub const OPCODES: &[Opcode] = &[
    row(0x28, "MARK", 0, Argument::None),
    row(0x29, "EMPTY_TUPLE", 1, Argument::None),
    row(0x2e, "STOP", 0, Argument::None),
    row(0x30, "POP", 0, Argument::None),
    row(0x31, "POP_MARK", 1, Argument::None),
    row(0x32, "DUP", 0, Argument::None),
    row(0x42, "BINBYTES", 3, Argument::Bytes(4)),
    row(0x43, "SHORT_BINBYTES", 3, Argument::Bytes(1)),
    row(0x46, "FLOAT", 0, Argument::Line),
    row(0x47, "BINFLOAT", 1, Argument::Float),
    row(0x49, "INT", 0, Argument::Line),
    row(0x4a, "BININT", 1, Argument::Signed),
    row(0x4b, "BININT1", 1, Argument::Unsigned(1)),
    row(0x4c, "LONG", 0, Argument::Line),
    row(0x4d, "BININT2", 1, Argument::Unsigned(2)),
    row(0x4e, "NONE", 0, Argument::None),
    row(0x50, "PERSID", 0, Argument::Line),
    row(0x51, "BINPERSID", 1, Argument::None),
    row(0x52, "REDUCE", 0, Argument::None),
    row(0x53, "STRING", 0, Argument::Line),
    row(0x54, "BINSTRING", 1, Argument::Bytes(4)),
    row(0x55, "SHORT_BINSTRING", 1, Argument::Bytes(1)),
    row(0x56, "UNICODE", 0, Argument::Line),
    row(0x58, "BINUNICODE", 1, Argument::Text(4)),
    row(0x5d, "EMPTY_LIST", 1, Argument::None),
    row(0x61, "APPEND", 0, Argument::None),
    row(0x62, "BUILD", 0, Argument::None),
    row(0x63, "GLOBAL", 0, Argument::Lines),
    row(0x64, "DICT", 0, Argument::None),
    row(0x65, "APPENDS", 1, Argument::None),
    row(0x67, "GET", 0, Argument::Line),
    row(0x68, "BINGET", 1, Argument::Unsigned(1)),
    row(0x69, "INST", 0, Argument::Lines),
    row(0x6a, "LONG_BINGET", 1, Argument::Unsigned(4)),
    row(0x6c, "LIST", 0, Argument::None),
    row(0x6f, "OBJ", 1, Argument::None),
    row(0x70, "PUT", 0, Argument::Line),
    row(0x71, "BINPUT", 1, Argument::Unsigned(1)),
    row(0x72, "LONG_BINPUT", 1, Argument::Unsigned(4)),
    row(0x73, "SETITEM", 0, Argument::None),
    row(0x74, "TUPLE", 0, Argument::None),
    row(0x75, "SETITEMS", 1, Argument::None),
    row(0x7d, "EMPTY_DICT", 1, Argument::None),
    row(0x80, "PROTO", 2, Argument::Unsigned(1)),
    row(0x81, "NEWOBJ", 2, Argument::None),
    row(0x82, "EXT1", 2, Argument::Unsigned(1)),
    row(0x83, "EXT2", 2, Argument::Unsigned(2)),
    row(0x84, "EXT4", 2, Argument::Signed),
    row(0x85, "TUPLE1", 2, Argument::None),
    row(0x86, "TUPLE2", 2, Argument::None),
    row(0x87, "TUPLE3", 2, Argument::None),
    row(0x88, "NEWTRUE", 2, Argument::None),
    row(0x89, "NEWFALSE", 2, Argument::None),
    row(0x8a, "LONG1", 2, Argument::Long(1)),
    row(0x8b, "LONG4", 2, Argument::Long(4)),
    row(0x8c, "SHORT_BINUNICODE", 4, Argument::Text(1)),
    row(0x8d, "BINUNICODE8", 4, Argument::Text(8)),
    row(0x8e, "BINBYTES8", 4, Argument::Bytes(8)),
    row(0x8f, "EMPTY_SET", 4, Argument::None),
    row(0x90, "ADDITEMS", 4, Argument::None),
    row(0x91, "FROZENSET", 4, Argument::None),
    row(0x92, "NEWOBJ_EX", 4, Argument::None),
    row(0x93, "STACK_GLOBAL", 4, Argument::None),
    row(0x94, "MEMOIZE", 4, Argument::None),
    row(0x95, "FRAME", 4, Argument::Unsigned(8)),
    row(0x96, "BYTEARRAY8", 5, Argument::Bytes(8)),
    row(0x97, "NEXT_BUFFER", 5, Argument::None),
    row(0x98, "READONLY_BUFFER", 5, Argument::None),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_opcodes_are_sorted_so_that_each_is_found() {
        assert!(OPCODES.is_sorted_by_key(|opcode| opcode.code));
        assert_eq!(OPCODES.len(), 68);
        assert_eq!(opcode(b'.').map(|opcode| opcode.name), Some("STOP"));
        assert_eq!(opcode(0xff), None);
    }
}
