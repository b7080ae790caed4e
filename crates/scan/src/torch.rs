//! What torch writes: checkpoints in a ZIP, TorchScript, packages, the formats before, distributed checkpoints.
//!
//! Which member is a program and which is a tensor follows from how torch's readers take them: they go by name, without
//! case, below the folder of the first member. A member elsewhere is no tensor to them, so it is examined by its content.

use formats::ReadAt;
use formats::zip::{Directory, Member};

use crate::Examiner;
use crate::archive::{Handling, members};
use crate::pickle::Origin;

/// Examines the archive if torch would read it; `false` if not, and then nothing was done.
pub(crate) fn archive(
    examiner: &mut Examiner<'_>,
    name: &str,
    input: &dyn ReadAt,
    directory: &Directory,
) -> bool {
    let Some(flavour) = Flavour::of(directory) else {
        return false;
    };
    examiner.part(flavour.words(name), input.len(), None);
    let root = root(directory);
    members(examiner, input, directory, &mut |_, member| {
        handling(flavour, &root, member)
    });
    true
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flavour {
    Checkpoint,
    Script,
    Package,
}

impl Flavour {
    fn of(directory: &Directory) -> Option<Self> {
        let names = || directory.members_all_views().map(|member| &*member.name);
        let any = |test: &dyn Fn(&[u8]) -> bool| names().any(test);
        let has = |wanted: &'static [u8]| any(&|member| base(member).eq_ignore_ascii_case(wanted));
        if any(&|member| contains(member, b".data/extern_modules")) {
            Some(Self::Package)
        } else if has(b"constants.pkl") || has(b"bytecode.pkl") {
            Some(Self::Script)
        } else {
            has(b"data.pkl").then_some(Self::Checkpoint)
        }
    }

    const fn words(self, _name: &str) -> &'static str {
        match self {
            Self::Checkpoint => "a torch checkpoint",
            Self::Script => "a TorchScript program",
            Self::Package => "a torch package",
        }
    }
}

/// The folder of the first member, which torch's reader takes for the archive's; lower case, with its slash.
fn root(directory: &Directory) -> Vec<u8> {
    let first = directory.members.first().map(|member| &*member.name);
    let first = first.unwrap_or_default();
    let end = first.iter().position(|byte| *byte == b'/');
    first
        .get(..end.map_or(0, |end| end + 1))
        .unwrap_or_default()
        .to_ascii_lowercase()
}

fn handling(flavour: Flavour, root: &[u8], member: &Member) -> Handling {
    let name = member.name.to_ascii_lowercase();
    let below = name.strip_prefix(root).unwrap_or(&name);
    let numbers = |folder: &[u8]| {
        let key = below.strip_prefix(folder);
        key.is_some_and(|key| !key.is_empty() && key.iter().all(u8::is_ascii_digit))
    };
    let storage = below.starts_with(b".data/") && below.ends_with(b".storage");
    if numbers(b"data/") || numbers(b"constants/") || numbers(b"tensors/") || storage {
        return Handling::Raw;
    }
    if base(&name).ends_with(b".pkl") {
        return Handling::Pickle(match flavour {
            Flavour::Script => Origin::TorchScript,
            Flavour::Checkpoint | Flavour::Package => Origin::TorchZip,
        });
    }
    Handling::Content
}

fn base(name: &[u8]) -> &[u8] {
    name.rsplit(|byte| *byte == b'/').next().unwrap_or(name)
}

fn contains(name: &[u8], part: &[u8]) -> bool {
    name.windows(part.len()).any(|window| window == part)
}
