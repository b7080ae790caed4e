//! What the references say, in words.

use std::collections::BTreeMap;

use domain::Gap;
use environment::Snapshot;
use environment::reference::{
    Checked, Difference, DifferenceKind, NoWheel, PackageCount, RecordWord, Silence, Voucher,
};
use report::environment::{EnvFindingView, EnvPackageView};

/// Name and version of a package.
fn package(snapshot: &Snapshot, index: usize) -> Option<String> {
    let package = snapshot.packages.get(index)?;
    Some(format!("{} {}", package.name, package.version))
}

/// Every difference as a finding.
pub(crate) fn findings(checked: &Checked, snapshot: &Snapshot) -> Vec<EnvFindingView> {
    let all = checked.differences.iter();
    all.map(|it| finding(it, snapshot)).collect()
}

fn finding(it: &Difference, snapshot: &Snapshot) -> EnvFindingView {
    EnvFindingView {
        path: it.path.to_string(),
        package: it.package.and_then(|index| package(snapshot, index)),
        how: how(&it.kind),
        what: sentence(it),
        voucher: it.voucher.map(Voucher::word),
        expected: it.expected.map(|digest| digest.to_string()),
        found: it.found.map(|digest| digest.to_string()),
        record: match it.record {
            RecordWord::Agrees => "agrees",
            RecordWord::Differs => "differs",
            RecordWord::NoDigest => "no-digest",
            RecordWord::Silent => "silent",
        },
    }
}

fn how(kind: &DifferenceKind) -> &'static str {
    match kind {
        DifferenceKind::Changed => "changed",
        DifferenceKind::FirstLine { .. } => "first-line",
        DifferenceKind::NoLauncher => "no-launcher",
        DifferenceKind::Missing => "missing",
        DifferenceKind::NotInWheel => "not-in-wheel",
        DifferenceKind::Unowned => "unowned",
        DifferenceKind::UnownedHook => "unowned-hook",
        DifferenceKind::OtherVersion { .. } => "other-version",
        DifferenceKind::OtherWheel { .. } => "other-wheel",
    }
}

/// What differs, and what that says of RECORD where it does.
pub(crate) fn sentence(it: &Difference) -> String {
    let source = it.voucher.map_or("nobody", source);
    let what = match &it.kind {
        DifferenceKind::Changed => format!("it is not the file that {source} has"),
        DifferenceKind::FirstLine { starts } => {
            format!("its first line starts {starts}, which is not the Python of this environment")
        }
        DifferenceKind::NoLauncher => {
            "it does more than an installer's launcher for this entry point, or something else"
                .to_owned()
        }
        DifferenceKind::Missing => format!("it is gone; {source} has it"),
        DifferenceKind::NotInWheel => format!("{source} does not have it"),
        DifferenceKind::Unowned => "it is code among the packages and belongs to none".to_owned(),
        DifferenceKind::UnownedHook => {
            "every start of Python reads it, and it belongs to no package".to_owned()
        }
        DifferenceKind::OtherVersion { locked } => {
            format!("the lock file names version {locked}")
        }
        DifferenceKind::OtherWheel { file } => {
            format!(
                "{file}, which was looked at for it, is not the file that the lock file names: its digest is another"
            )
        }
    };
    let speaks = !matches!(it.voucher, None | Some(Voucher::Record));
    let record = match (&it.kind, it.record) {
        (DifferenceKind::NotInWheel, _) => "; RECORD lists it: somebody added it to both",
        (_, RecordWord::Agrees) if speaks && it.found.is_some() => {
            "; RECORD says that it is as installed: RECORD was rewritten with it"
        }
        (_, RecordWord::Differs) if speaks && it.found.is_some() => "; RECORD says so too",
        (_, RecordWord::NoDigest) if speaks => "; RECORD has no digest of it",
        _ => "",
    };
    what + record
}

fn source(voucher: Voucher) -> &'static str {
    match voucher {
        Voucher::LockedWheel => "the wheel that the lock file names",
        Voucher::Wheel => "the wheel of this version",
        Voucher::Baseline => "the signed baseline",
        Voucher::Conda => "conda's list",
        Voucher::Dpkg => "dpkg's list",
        Voucher::Record => "its package's RECORD",
        Voucher::FirstSeen => "the last check without findings",
    }
}

/// Each package with what speaks for it.
pub(crate) fn packages(checked: &Checked, snapshot: &Snapshot) -> Vec<EnvPackageView> {
    let all = checked.counts.iter();
    all.map(|count| view(count, snapshot)).collect()
}

fn view(count: &PackageCount, snapshot: &Snapshot) -> EnvPackageView {
    let package = count.package.and_then(|it| snapshot.packages.get(it));
    let vouched = count.vouched.iter();
    let silent = count.silent.iter();
    EnvPackageView {
        name: package.map(|it| it.name.clone()),
        version: package.map(|it| it.version.clone()),
        root: package
            .map(|it| it.root.clone())
            .or_else(|| count.root.clone())
            .unwrap_or_default(),
        vouched: vouched.map(|(it, count)| (it.word(), *count)).collect(),
        not_vouched: silent.map(|(it, count)| (it.word(), *count)).collect(),
        no_wheel: count.no_wheel.as_ref().map(no_wheel),
    }
}

/// Why no wheel speaks for a package.
fn no_wheel(why: &NoWheel) -> String {
    match why {
        NoWheel::NotAsked => "no lock file and no folder of wheels".to_owned(),
        NoWheel::NotFound => "its wheel is not here".to_owned(),
        NoWheel::NotLocked => "the lock file does not name it".to_owned(),
        NoWheel::OtherVersion { locked } => format!("the lock file names version {locked}"),
        NoWheel::SourceOnly => {
            "the lock file names source archives alone, and what is built of one is not in it"
                .to_owned()
        }
        NoWheel::NoDigest => "the lock file has no SHA-256 of it".to_owned(),
        NoWheel::Editable => "it is installed in place".to_owned(),
        NoWheel::Built => "it was built from a folder or from version control".to_owned(),
        NoWheel::NotAllowed { file, .. } => format!("the lock file does not allow {file}"),
        NoWheel::Refused { file, reason } => format!("{file} is no reference: {reason}"),
    }
}

/// What nobody, or too little, vouches for: gaps, each with its reason.
pub(crate) fn silences(checked: &Checked, snapshot: &Snapshot) -> Vec<Gap> {
    let mut gaps = without_wheels(checked, snapshot);
    for count in checked.counts.iter().filter(|it| it.outside > 0) {
        let name = count.package.and_then(|it| package(snapshot, it));
        gaps.push(Gap {
            what: format!("{} files of {}", count.outside, name.unwrap_or_default()),
            why: "they lie outside of the folders that were listed".to_owned(),
        });
    }
    let silent = checked.silent();
    let told = [
        (
            Silence::Interpreter,
            "of the interpreter and its library",
            "nothing here vouches for them; `taintline env baseline` signs them as they are",
        ),
        (
            Silence::Stranger,
            "beside the launchers",
            "they are programs, and no package lists them",
        ),
        (
            Silence::NoDigest,
            "of packages",
            "their RECORD lists them without a digest, and nothing else speaks for them",
        ),
    ];
    for (silence, what, why) in told {
        let count = silent.get(&silence).copied().unwrap_or(0);
        if count > 0 {
            gaps.push(Gap {
                what: format!("{count} files {what}"),
                why: why.to_owned(),
            });
        }
    }
    gaps
}

/// Packages of which no wheel speaks although one was asked for, by the reason.
pub(crate) fn without_wheels(checked: &Checked, snapshot: &Snapshot) -> Vec<Gap> {
    let is_found = |count: &PackageCount| {
        let mut all = checked.differences.iter();
        all.any(|it| {
            let is_version = matches!(it.kind, DifferenceKind::OtherVersion { .. });
            is_version && it.package == count.package
        })
    };
    let mut reasons: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for count in &checked.counts {
        let name = count.package.and_then(|it| package(snapshot, it));
        let (Some(why), Some(name)) = (&count.no_wheel, name) else {
            continue;
        };
        // That nobody asked for wheels, and what the lock file leaves to others, is in the counts and no gap.
        let is_told = match why {
            NoWheel::NotAsked | NoWheel::NotLocked | NoWheel::Editable => false,
            NoWheel::OtherVersion { .. } => !is_found(count),
            _ => true,
        };
        if is_told {
            reasons.entry(no_wheel(why)).or_default().push(name);
        }
    }
    let gap = |(why, names): (String, Vec<String>)| {
        let shown: Vec<_> = names.iter().take(6).cloned().collect();
        let more = match names.len().saturating_sub(shown.len()) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Gap {
            what: format!(
                "the wheels of {} packages: {}{more}",
                names.len(),
                shown.join(", ")
            ),
            why,
        }
    };
    reasons.into_iter().map(gap).collect()
}
