//! The kernel's own description of its structures (BTF): where a field lies in the kernel that runs now.
//!
//! With it a program for the kernel can be put together at run time, without a compiler and without headers of that very kernel. Only what
//! is needed for that is read: names, sizes and members of structures. It comes from the kernel, but every length and index is checked all the
//! same: a parser that trusts is a way in as soon as somebody hands it a file.

use std::ops::Range;

/// The first bytes, in the order of this machine.
const MAGIC: u16 = 0xEB9F;
/// Bytes of a type before what is particular to its kind.
const TYPE_BYTES: usize = 12;
/// How deep structures without a name, and names for other types, may stand in each other.
const DEPTH_MAX: u32 = 16;
/// Most types that are read: a kernel has some hundred thousand.
const TYPES_MAX: usize = 4 << 20;

const INT: u32 = 1;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const TYPEDEF: u32 = 8;
const VOLATILE: u32 = 9;
const CONST: u32 = 10;
const RESTRICT: u32 = 11;
const FUNC_PROTO: u32 = 13;
const VAR: u32 = 14;
const DATASEC: u32 = 15;
const DECL_TAG: u32 = 17;
const TYPE_TAG: u32 = 18;
const ENUM64: u32 = 19;

/// Why a description cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BtfError {
    /// It is not one, or of another kind.
    #[error("no BTF of this machine's byte order and a known version")]
    Head,
    /// It ends too early, or points out of itself.
    #[error("BTF is cut off or damaged at byte {0}")]
    Damaged(usize),
    /// A kind of type that is not known, so that what comes behind it cannot be found.
    #[error("BTF has a type of kind {0}, which is not known")]
    Kind(u32),
    /// The kernel has no such structure or field.
    #[error("this kernel has no {0}")]
    Missing(String),
}

/// A description that was read.
#[derive(Debug)]
pub struct Btf {
    bytes: Vec<u8>,
    /// Where each type stands; type 0 is `void` and stands nowhere.
    types: Vec<usize>,
    strings: Range<usize>,
}

/// One type.
#[derive(Debug, Clone, Copy)]
struct Type {
    name: u32,
    kind: u32,
    /// Members.
    count: usize,
    /// Whether members are bit fields.
    flag: bool,
    /// Size in bytes, or the type that is meant.
    other: u32,
    /// Where what is particular to its kind begins.
    rest: usize,
}

impl Btf {
    /// Reads a description, as it stands in `/sys/kernel/btf/vmlinux`.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, BtfError> {
        let (magic, version) = (u16_at(&bytes, 0)?, bytes.get(2).copied());
        if magic != MAGIC || version != Some(1) {
            return Err(BtfError::Head);
        }
        let head = size(u32_at(&bytes, 4)?);
        let part = |at: usize| -> Result<Range<usize>, BtfError> {
            let start = head.checked_add(size(u32_at(&bytes, at)?));
            let start = start.ok_or(BtfError::Damaged(at))?;
            let end = start.checked_add(size(u32_at(&bytes, at + 4)?));
            let end = end.filter(|end| *end <= bytes.len());
            Ok(start..end.ok_or(BtfError::Damaged(at))?)
        };
        let (all, strings) = (part(8)?, part(16)?);
        let (mut types, mut at) = (vec![0], all.start);
        while at < all.end {
            if types.len() >= TYPES_MAX {
                return Err(BtfError::Damaged(at));
            }
            types.push(at);
            at += TYPE_BYTES + length_behind(&type_at(&bytes, at)?)?;
        }
        if at != all.end {
            return Err(BtfError::Damaged(at));
        }
        Ok(Self {
            bytes,
            types,
            strings,
        })
    }

    /// Bytes from the beginning of the structure `name` to a member: `loginuid.val` goes into a member's own structure. What stands behind a
    /// pointer is no part of it.
    pub fn offset(&self, name: &str, path: &str) -> Result<u32, BtfError> {
        let missing = || BtfError::Missing(format!("struct {name} with {path}"));
        let mut at = self.named(name).ok_or_else(missing)?;
        let mut bytes = 0u32;
        for part in path.split('.') {
            let (offset, member) = self.member(at, part, 0)?.ok_or_else(missing)?;
            bytes = bytes.checked_add(offset).ok_or_else(missing)?;
            at = member;
        }
        Ok(bytes)
    }

    /// The structure of this name that is defined, not only announced.
    fn named(&self, name: &str) -> Option<u32> {
        let wanted = |at: usize| {
            let it = type_at(&self.bytes, at).ok()?;
            (matches!(it.kind, STRUCT | UNION) && self.text(it.name) == Some(name.as_bytes()))
                .then_some(())
        };
        let mut places = self.types.iter().skip(1);
        let found = places.position(|at| wanted(*at).is_some())?;
        u32::try_from(found + 1).ok()
    }

    /// Where a member of a type is, and of which type it is; members of members without a name count as its own.
    fn member(&self, of: u32, name: &str, depth: u32) -> Result<Option<(u32, u32)>, BtfError> {
        let Some(of) = self.resolved(of).filter(|_| depth < DEPTH_MAX) else {
            return Ok(None);
        };
        for number in 0..of.count {
            let at = of.rest + number * 12;
            let (called, kind) = (u32_at(&self.bytes, at)?, u32_at(&self.bytes, at + 4)?);
            let place = u32_at(&self.bytes, at + 8)?;
            let bits = if of.flag { place & 0x00FF_FFFF } else { place };
            if self.text(called) == Some(name.as_bytes()) {
                return Ok(Some((bits / 8, kind)));
            }
            if called == 0
                && let Some((offset, found)) = self.member(kind, name, depth + 1)?
            {
                return Ok(Some((offset.saturating_add(bits / 8), found)));
            }
        }
        Ok(None)
    }

    /// The structure that a type is, behind other names for it.
    fn resolved(&self, mut number: u32) -> Option<Type> {
        for _ in 0..DEPTH_MAX {
            let at = self.types.get(size(number)).filter(|_| number > 0)?;
            let it = type_at(&self.bytes, *at).ok()?;
            match it.kind {
                STRUCT | UNION => return Some(it),
                TYPEDEF | VOLATILE | CONST | RESTRICT | TYPE_TAG => number = it.other,
                _ => return None,
            }
        }
        None
    }

    fn text(&self, offset: u32) -> Option<&[u8]> {
        let strings = self.bytes.get(self.strings.clone())?;
        let text = strings.get(size(offset)..)?;
        let end = text.iter().position(|byte| *byte == 0)?;
        text.get(..end)
    }
}

fn type_at(bytes: &[u8], at: usize) -> Result<Type, BtfError> {
    let info = u32_at(bytes, at + 4)?;
    Ok(Type {
        name: u32_at(bytes, at)?,
        kind: info >> 24 & 0x1F,
        count: size(info & 0xFFFF),
        flag: info >> 31 == 1,
        other: u32_at(bytes, at + 8)?,
        rest: at + TYPE_BYTES,
    })
}

/// Bytes of what is particular to its kind.
fn length_behind(it: &Type) -> Result<usize, BtfError> {
    Ok(match it.kind {
        INT | VAR | DECL_TAG => 4,
        ARRAY => 12,
        STRUCT | UNION | DATASEC | ENUM64 => 12 * it.count,
        ENUM | FUNC_PROTO => 8 * it.count,
        // Pointers, announcements, other names, functions, floating point.
        2 | 7 | TYPEDEF | VOLATILE | CONST | RESTRICT | 12 | 16 | TYPE_TAG => 0,
        other => return Err(BtfError::Kind(other)),
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, BtfError> {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk());
    found
        .map(|it| u16::from_ne_bytes(*it))
        .ok_or(BtfError::Damaged(at))
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, BtfError> {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk());
    found
        .map(|it| u32::from_ne_bytes(*it))
        .ok_or(BtfError::Damaged(at))
}

fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts a description together as a compiler would.
    #[derive(Default)]
    struct Made {
        types: Vec<u8>,
        strings: Vec<u8>,
    }

    impl Made {
        fn text(&mut self, text: &str) -> u32 {
            if self.strings.is_empty() {
                self.strings.push(0);
            }
            if text.is_empty() {
                return 0;
            }
            let at = u32::try_from(self.strings.len()).unwrap();
            self.strings.extend(text.as_bytes());
            self.strings.push(0);
            at
        }

        fn head(&mut self, name: &str, kind: u32, count: u32, other: u32) {
            let name = self.text(name);
            for word in [name, kind << 24 | count, other] {
                self.types.extend(word.to_ne_bytes());
            }
        }

        fn members(&mut self, members: &[(&str, u32, u32)]) {
            for (name, kind, bits) in members {
                let name = self.text(name);
                for word in [name, *kind, *bits] {
                    self.types.extend(word.to_ne_bytes());
                }
            }
        }

        fn bytes(&self) -> Vec<u8> {
            let mut all = MAGIC.to_ne_bytes().to_vec();
            all.extend([1, 0]);
            let (types, strings) = (self.types.len(), self.strings.len());
            for word in [24, 0, types, types, strings] {
                all.extend(u32::try_from(word).unwrap().to_ne_bytes());
            }
            all.extend(&self.types);
            all.extend(&self.strings);
            all
        }
    }

    /// 1 int, 2 struct kuid { val }, 3 typedef to 2, 4 union without a name { a; login: 3 }, 5 struct task { pid; (4); name }.
    fn sample() -> Made {
        let mut made = Made::default();
        made.head("int", INT, 0, 4);
        made.types.extend(32u32.to_ne_bytes());
        made.head("kuid", STRUCT, 1, 4);
        made.members(&[("val", 1, 0)]);
        made.head("kuid_t", TYPEDEF, 0, 2);
        made.head("", UNION, 2, 4);
        made.members(&[("a", 1, 0), ("login", 3, 0)]);
        made.head("task", STRUCT, 3, 16);
        made.members(&[("pid", 1, 0), ("", 4, 64), ("name", 1, 96)]);
        made
    }

    #[test]
    fn members_are_found_through_names_and_the_nameless() {
        let btf = Btf::parse(sample().bytes()).unwrap();
        assert_eq!(btf.offset("task", "pid"), Ok(0));
        assert_eq!(btf.offset("task", "name"), Ok(12));
        assert_eq!(btf.offset("task", "login.val"), Ok(8));
        assert_eq!(
            btf.offset("task", "nothing"),
            Err(BtfError::Missing("struct task with nothing".to_owned()))
        );
        assert!(btf.offset("nothing", "pid").is_err());
        assert!(btf.offset("task", "pid.val").is_err());
    }

    #[test]
    fn what_is_cut_off_or_turned_is_an_error() {
        let whole = sample().bytes();
        for end in 0..whole.len() {
            let cut = whole.get(..end).unwrap().to_vec();
            assert!(Btf::parse(cut).is_err(), "{end}");
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut turned = whole.clone();
                *turned.get_mut(at).unwrap() ^= 1 << bit;
                if let Ok(btf) = Btf::parse(turned) {
                    let _ = btf.offset("task", "login.val"); // whatever it says: it ends
                }
            }
        }
    }

    #[test]
    fn a_structure_that_holds_itself_without_a_name_ends() {
        let mut made = Made::default();
        made.head("loop", STRUCT, 1, 4);
        made.members(&[("", 1, 0)]);
        let btf = Btf::parse(made.bytes()).unwrap();
        assert!(btf.offset("loop", "x").is_err());
    }
}
