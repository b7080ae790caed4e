//! How entries and hashes are cut into files (C2SP tlog-tiles). Pure: names and bytes, no file is opened here.
//!
//! A tile holds up to 256 hashes of 32 bytes, a bundle up to 256 entries, each behind its length in two big-endian bytes.
//! A file is named by its level (or `entries`), its index, and, while it is not full, by its width:
//! `tile/0/x001/x234/067.p/5`. A partial file is therefore never rewritten when the log grows: the wider one gets another
//! name. **Prefix property**: whatever a file of width w holds is the beginning of every wider file with the same level and
//! index; that is why the narrower ones can be removed once a tree head that needs the wider one is published.

use domain::Digest;

use crate::tree::TILE_WIDTH;

/// The most bytes that one entry may have: its length is written in two bytes. Larger evidence is a blob, and its digest
/// the entry.
pub const MAX_ENTRY_BYTES: usize = 65_535;

/// The most bytes that a bundle can have.
pub const MAX_BUNDLE_BYTES: u64 = TILE_WIDTH as u64 * (MAX_ENTRY_BYTES as u64 + 2);

/// The most bytes that a tile of hashes can have.
pub const MAX_TILE_BYTES: u64 = TILE_WIDTH as u64 * 32;

/// The level above which no tile can exist: 2^64 entries would need eight.
const LEVELS: u8 = 8;

/// What a file below `tile/` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Entries, 256 in a full bundle.
    Entries,
    /// Hashes of this level; level 0 is the leaves.
    Hashes(u8),
}

/// The name of one file below `tile/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// Entries, or hashes of a level.
    pub kind: Kind,
    /// Which one of its kind, from 0.
    pub index: u64,
    /// How many entries or hashes it holds, 1 to 256.
    pub width: usize,
}

impl Name {
    /// The file that a log of `size` entries has at this place; `None` when it has none there.
    pub fn at(kind: Kind, index: u64, size: u64) -> Option<Self> {
        let shift = match kind {
            Kind::Entries => 0,
            Kind::Hashes(level) => 8 * u32::from(level),
        };
        let count = size.checked_shr(shift)?;
        let before = index.checked_mul(TILE_WIDTH as u64)?;
        let width = usize::try_from(count.checked_sub(before)?.min(TILE_WIDTH as u64)).ok()?;
        (width > 0).then_some(Self { kind, index, width })
    }

    /// Whether it holds 256.
    pub fn is_full(&self) -> bool {
        self.width == TILE_WIDTH
    }

    /// Its path below the log's folder, with `/`.
    pub fn path(&self) -> String {
        let full = self.full_path();
        if self.is_full() {
            full
        } else {
            format!("{full}.p/{}", self.width)
        }
    }

    /// The directory that holds the partial files of this place.
    pub fn partial_directory(&self) -> String {
        format!("{}.p", self.full_path())
    }

    fn full_path(&self) -> String {
        let kind = match self.kind {
            Kind::Entries => "entries".to_owned(),
            Kind::Hashes(level) => level.to_string(),
        };
        let mut groups = format!("{:03}", self.index % 1000);
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups = format!("x{:03}/{groups}", rest % 1000);
            rest /= 1000;
        }
        format!("tile/{kind}/{groups}")
    }

    /// Reads a path below the log's folder; only the exact form that [`Name::path`] writes is a name.
    pub fn parse(path: &str) -> Option<Self> {
        let (kind, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let kind = match kind {
            "entries" => Kind::Entries,
            level => Kind::Hashes(level.parse().ok().filter(|level| *level < LEVELS)?),
        };
        let (groups, width) = match rest.split_once(".p/") {
            Some((groups, width)) => (
                groups,
                width
                    .parse()
                    .ok()
                    .filter(|width| (1..TILE_WIDTH).contains(width))?,
            ),
            None => (rest, TILE_WIDTH),
        };
        let mut index = 0_u64;
        for group in groups.split('/') {
            let digits = group.strip_prefix('x').unwrap_or(group);
            let digits: u64 = digits.parse().ok().filter(|value| *value < 1000)?;
            index = index.checked_mul(1000)?.checked_add(digits)?;
        }
        let name = Self { kind, index, width };
        (name.path() == path).then_some(name)
    }
}

/// Bytes that are not a bundle of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BundleSyntax {
    /// The last entry or its length is cut off.
    #[error("entry {entry} of the bundle is cut off")]
    CutOff {
        /// Which entry, from 0.
        entry: usize,
    },
    /// More than 256 entries.
    #[error("a bundle holds at most 256 entries")]
    TooMany,
}

/// Takes a bundle apart into its entries. Pure and total: any bytes give entries or an error.
pub fn parse_bundle(bytes: &[u8]) -> Result<Vec<&[u8]>, BundleSyntax> {
    let mut entries = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let cut_off = BundleSyntax::CutOff {
            entry: entries.len(),
        };
        if entries.len() == TILE_WIDTH {
            return Err(BundleSyntax::TooMany);
        }
        let (length, tail) = rest.split_first_chunk::<2>().ok_or(cut_off)?;
        let (entry, tail) = tail
            .split_at_checked(usize::from(u16::from_be_bytes(*length)))
            .ok_or(cut_off)?;
        entries.push(entry);
        rest = tail;
    }
    Ok(entries)
}

/// Adds an entry to a bundle; `false`, and nothing added, when it is larger than [`MAX_ENTRY_BYTES`].
pub fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> bool {
    let Ok(length) = u16::try_from(entry.len()) else {
        return false;
    };
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    true
}

/// Takes a tile of hashes apart; `None` unless it holds exactly `width` of them.
pub fn parse_hashes(bytes: &[u8], width: usize) -> Option<Vec<Digest>> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    (hashes.len() == width && rest.is_empty())
        .then(|| hashes.iter().copied().map(Digest::from_bytes).collect())
}

/// The bytes of a tile of hashes.
pub fn encode_hashes(hashes: &[Digest]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_specification() {
        let name = Name {
            kind: Kind::Hashes(0),
            index: 1_234_067,
            width: 256,
        };
        assert_eq!(name.path(), "tile/0/x001/x234/067");
        let name = Name {
            kind: Kind::Entries,
            index: 273,
            width: 112,
        };
        assert_eq!(name.path(), "tile/entries/273.p/112");
        // The example of the specification: a log of 70,000 entries.
        let names = |kind, index| Name::at(kind, index, 70_000).map(|name| name.path());
        assert_eq!(names(Kind::Hashes(0), 272).unwrap(), "tile/0/272");
        assert_eq!(names(Kind::Hashes(0), 273).unwrap(), "tile/0/273.p/112");
        assert_eq!(names(Kind::Hashes(1), 0).unwrap(), "tile/1/000");
        assert_eq!(names(Kind::Hashes(1), 1).unwrap(), "tile/1/001.p/17");
        assert_eq!(names(Kind::Hashes(2), 0).unwrap(), "tile/2/000.p/1");
        assert_eq!(names(Kind::Hashes(3), 0), None);
        assert_eq!(names(Kind::Hashes(0), 274), None);
    }

    #[test]
    fn only_the_exact_form_is_a_name() {
        for bad in [
            "tile/0/1",
            "tile/0/0001",
            "tile/0/x000/001",
            "tile/00/001",
            "tile/8/001",
            "tile/0/001.p/0",
            "tile/0/001.p/256",
            "tile/0/001.p/05",
            "tile/0/001.p/",
            "tile/0/001/",
            "tile/0/001/002",
            "tile/0/+01",
            "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
            "tile/x/001",
            "entries/001",
            "tile/0",
            "",
        ] {
            assert_eq!(Name::parse(bad), None, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_name_is_read_back(level in 0_u8..9, index: u64, width in 1_usize..=256) {
            let kind = if level == 8 { Kind::Entries } else { Kind::Hashes(level) };
            let name = Name { kind, index, width };
            proptest::prop_assert_eq!(Name::parse(&name.path()), Some(name));
        }

        #[test]
        fn a_bundle_gives_back_its_entries_and_any_bytes_a_bundle_or_an_error(
            entries in proptest::collection::vec(proptest::collection::vec(0_u8.., 0..40), 0..256), junk: Vec<u8>,
        ) {
            let mut bundle = Vec::new();
            for entry in &entries {
                proptest::prop_assert!(push_entry(&mut bundle, entry));
            }
            proptest::prop_assert_eq!(parse_bundle(&bundle).unwrap(), entries);
            if let Ok(entries) = parse_bundle(&junk) {
                let mut again = Vec::new();
                for entry in entries { push_entry(&mut again, entry); }
                proptest::prop_assert_eq!(again, junk);
            }
        }
    }

    #[test]
    fn the_largest_entry_fits_and_one_byte_more_does_not() {
        let mut bundle = Vec::new();
        assert!(push_entry(&mut bundle, &vec![7; MAX_ENTRY_BYTES]));
        assert!(!push_entry(&mut bundle, &vec![7; MAX_ENTRY_BYTES + 1]));
        assert_eq!(parse_bundle(&bundle).unwrap()[0].len(), MAX_ENTRY_BYTES);
        assert_eq!(parse_bundle(&[0; 2 * 257]), Err(BundleSyntax::TooMany));
        assert_eq!(
            parse_bundle(&[0, 0, 0, 1]),
            Err(BundleSyntax::CutOff { entry: 1 })
        );
    }
}
