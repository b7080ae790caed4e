//! `/proc/PID/stat`, parsed so that a process cannot lie by its name.
//!
//! The second field is the name in parentheses, and a process may call itself `x) Z 1 (`. So the name ends at the *last*
//! `)`: nothing after the name can hold one.

use std::io;
use std::path::Path;

use crate::bounded;

/// More than any kernel writes: 52 numbers and a name of at most 64 bytes.
const STAT_LIMIT: usize = 8192;

/// The fields of `/proc/PID/stat` that are used here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stat {
    /// The name as the kernel keeps it, at most 15 bytes, chosen by the process.
    pub(crate) name: String,
    /// `R`, `S`, `D`, `Z` (dead, not yet reaped), `T`, `t`, `X` …
    pub(crate) state: char,
    pub(crate) parent: u32,
    /// The leader of its session; 0 when that lives outside our PID namespace.
    pub(crate) session: u32,
    /// Clock ticks that its threads ran.
    pub(crate) worked: u64,
    /// Clock ticks since boot.
    pub(crate) started: u64,
    /// Where the command line lies in its memory, if we may know.
    pub(crate) arguments: Option<(usize, usize)>,
    /// How nice it is to others: its first thread; less is more.
    pub(crate) nice: i32,
    /// How it is scheduled, as the kernel numbers that.
    pub(crate) policy: u32,
    /// Wait status; only meaningful in state `Z`, and 0 also when we may not know.
    pub(crate) exit_code: Option<i32>,
}

impl Stat {
    /// Reads the record of one process.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        Self::at(&format!("/proc/{pid}/stat"))
    }

    /// Reads the record of this process.
    pub(crate) fn of_self() -> io::Result<Self> {
        Self::at("/proc/self/stat")
    }

    fn at(path: &str) -> io::Result<Self> {
        let (bytes, _) = bounded::read(Path::new(path), STAT_LIMIT)?;
        Self::parse(&bytes).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }

    /// Parses the bytes of a record; `None` if they are none.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let open = bytes.iter().position(|byte| *byte == b'(')?;
        let close = bytes.iter().rposition(|byte| *byte == b')')?;
        let name = bytes.get(open + 1..close)?;
        let rest = std::str::from_utf8(bytes.get(close + 1..)?).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // Numbered as in proc(5), where the state is field 3.
        let field = |number: usize| fields.get(number - 3).copied();
        let address = |number: usize| field(number)?.parse::<usize>().ok();
        Some(Self {
            name: String::from_utf8_lossy(name).into_owned(),
            state: field(3)?.chars().next()?,
            parent: field(4)?.parse().ok()?,
            session: field(6)?.parse().ok()?,
            worked: field(14)?.parse::<u64>().ok()? + field(15)?.parse::<u64>().ok()?,
            started: field(22)?.parse().ok()?,
            arguments: address(48)
                .zip(address(49))
                .filter(|(start, end)| *start != 0 && start < end),
            nice: field(19)?.parse().ok()?,
            policy: field(41)?.parse().ok()?,
            exit_code: field(52).and_then(|text| text.parse().ok()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAIL: &str = "S 7 7 7 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 1 0 4242 8192 10 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 1 1 1 4096 5000 5000 5001 9";

    #[test]
    fn a_name_with_parentheses_and_spaces_hides_nothing() {
        for name in ["sh", "x) Z 1 (", ") (", "(((", "a b\nc", ""] {
            let stat = Stat::parse(format!("12 ({name}) {TAIL}").as_bytes()).unwrap();
            assert_eq!(stat.name, name);
            assert_eq!((stat.state, stat.parent, stat.started), ('S', 7, 4242));
            assert_eq!(stat.arguments, Some((4096, 5000)));
            assert_eq!(stat.exit_code, Some(9));
        }
    }

    #[test]
    fn a_record_cut_short_is_no_record() {
        let whole = format!("12 (sh) {TAIL}");
        assert!(Stat::parse(whole.as_bytes()).is_some());
        let started = whole.find("4242").unwrap();
        for end in 0..=started {
            assert_eq!(Stat::parse(&whole.as_bytes()[..end]), None, "cut at {end}");
        }
        assert_eq!(Stat::parse(b")("), None);
        assert_eq!(Stat::parse(&[0xff; 64]), None);
    }

    #[test]
    fn our_own_record_is_ours() {
        let stat = Stat::of_self().unwrap();
        assert_eq!(
            stat,
            Stat {
                state: stat.state,
                worked: stat.worked,
                ..Stat::of(std::process::id()).unwrap()
            }
        );
        assert_eq!(stat.parent, std::os::unix::process::parent_id());
    }
}
