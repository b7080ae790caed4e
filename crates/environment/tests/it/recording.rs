//! RECORD files, honest and hostile.

use std::sync::atomic::{AtomicUsize, Ordering};

use domain::Digest;
use proptest::prelude::{ProptestConfig, any, prop_assert, proptest};
use taintline_environment::records::OddityKind::{BadDigest, LongLine, NoName};
use taintline_environment::records::{Claim, check};
use taintline_environment::{Cache, Options, Origin, Snapshot};

use crate::site::{Site, line, name, options, scan_folder};

const TORCH: &str = "torch-2.0.dist-info/RECORD";

fn named<'a>(paths: impl IntoIterator<Item = &'a domain::PathText>) -> Vec<&'a str> {
    paths.into_iter().map(domain::PathText::as_str).collect()
}

fn package(snapshot: &Snapshot, index: usize) -> &str {
    &snapshot.packages[index].name
}

#[test]
fn a_fresh_install_is_vouched_for_file_by_file() {
    let snapshot = Site::new().snapshot();
    let names: Vec<_> = snapshot
        .packages
        .iter()
        .map(|package| (package.name.as_str(), package.version.as_str()))
        .collect();
    assert_eq!(
        names,
        [("shared-a", "1.0"), ("six", "1.16"), ("torch", "2.0")]
    );
    assert_eq!(snapshot.packages[2].installer.as_deref(), Some("pip"));
    assert_eq!(snapshot.packages[2].origin, Origin::Index);
    let report = check(&snapshot);
    // Six files and two papers of each package; REQUESTED and RECORD carry no digest.
    assert_eq!(
        (report.packages, report.vouched, report.without_digest),
        (3, 12, 6)
    );
    assert!(report.mismatched.is_empty() && report.missing.is_empty() && report.unowned.is_empty());
    assert!(report.oddities.is_empty() && report.without_record.is_empty());
    let owners = report.owners(&name("purelib/torch/optim/adamw.py"));
    assert_eq!(
        (
            owners.len(),
            package(&snapshot, owners[0].package),
            owners[0].claim
        ),
        (1, "torch", Claim::Vouched)
    );
}

#[test]
fn an_edit_a_removal_and_a_stranger_are_told_apart() {
    let site = Site::new();
    site.write_in_site("torch/optim/adamw.py", "evil");
    site.remove_in_site("torch/data.json");
    for stranger in [
        "evil.py",
        "torch/_evil.so",
        "a.pth",
        "torch/sourceless.pyc",
        "torch/notes.txt",
        "torch/lib/x.so.1",
    ] {
        site.write_in_site(stranger, "import evil");
    }
    site.write_in_site("torch/__pycache__/adamw.cpython-311.pyc", "code");
    let report = check(&site.snapshot());
    assert_eq!(report.mismatched.len(), 1);
    assert_eq!(
        report.mismatched[0].path,
        name("purelib/torch/optim/adamw.py")
    );
    assert_eq!(
        (report.mismatched[0].expected, report.mismatched[0].found),
        (Digest::of(b"adamw"), Digest::of(b"evil"))
    );
    assert_eq!(
        named(report.missing.iter().map(|missing| &missing.path)),
        ["purelib/torch/data.json"]
    );
    let strangers = [
        "purelib/a.pth",
        "purelib/evil.py",
        "purelib/torch/_evil.so",
        "purelib/torch/lib/x.so.1",
        "purelib/torch/sourceless.pyc",
    ];
    assert_eq!(named(&report.unowned), strangers);
}

#[test]
fn an_edit_that_rewrites_its_line_is_not_seen_here() {
    let site = Site::new();
    site.install(
        "torch",
        "2.0",
        &[
            ("torch/__init__.py", "torch"),
            ("torch/optim/adamw.py", "evil"),
            ("torch/data.json", "{}"),
        ],
    );
    assert!(check(&site.snapshot()).mismatched.is_empty());
}

#[test]
fn a_line_that_climbs_counts_where_it_ends_in_a_root() {
    let site = Site::new();
    site.write("bin/torchrun", "#!python");
    let record = [
        line("../../../bin/torchrun", "#!python"),
        line("../../../../../../../../etc/hostname", "x"),
        line("/etc/hostname", "x"),
        line(&site.path("bin/python3.11").to_string_lossy(), "elf"),
        line("torch/../torch/./optim//adamw.py", "other"),
    ];
    site.write_in_site(TORCH, record.concat());
    let snapshot = site.snapshot();
    let report = check(&snapshot);
    assert_eq!(report.outside, 2);
    assert_eq!(
        report.owners(&name("scripts/torchrun"))[0].claim,
        Claim::Vouched
    );
    assert_eq!(
        report.owners(&name("interpreter/python3.11"))[0].claim,
        Claim::Vouched
    );
    assert_eq!(
        report.owners(&name("purelib/torch/optim/adamw.py"))[0].claim,
        Claim::Mismatched
    );
}

#[test]
fn a_broken_record_is_reported_and_the_rest_is_read() {
    let site = Site::new();
    let record = [
        ",sha256=x,\n".to_owned(),
        "torch/__init__.py,sha256=short,1\n".to_owned(),
        format!("{},,\n", "x".repeat(100_000)),
        "nul\0byte,,\n".to_owned(),
        line("torch/optim/adamw.py", "adamw"),
        "\"open quote,".to_owned(),
        "y".repeat(100_000),
    ];
    site.write_in_site(TORCH, record.concat());
    let report = check(&site.snapshot());
    let oddities: Vec<_> = report
        .oddities
        .iter()
        .map(|oddity| (oddity.line, oddity.kind))
        .collect();
    assert_eq!(
        oddities,
        [
            (1, NoName),
            (2, BadDigest),
            (3, LongLine),
            (4, NoName),
            (6, LongLine)
        ]
    );
    assert_eq!(
        report.owners(&name("purelib/torch/optim/adamw.py"))[0].claim,
        Claim::Vouched
    );
    assert_eq!(
        report.owners(&name("purelib/torch/__init__.py"))[0].claim,
        Claim::WithoutDigest
    );
}

#[test]
fn a_second_package_cannot_vouch_away_a_mismatch() {
    let site = Site::new();
    site.write_in_site("torch/optim/adamw.py", "evil");
    site.install("helper", "1.0", &[("torch/optim/adamw.py", "evil")]);
    let snapshot = site.snapshot();
    let report = check(&snapshot);
    assert_eq!(package(&snapshot, report.mismatched[0].package), "torch");
    assert_eq!(
        report.owners(&name("purelib/torch/optim/adamw.py")).len(),
        2
    );
}

#[test]
fn packages_of_old_installers_own_their_files_without_vouching() {
    let site = Site::new();
    site.write_in_site("old/a.py", "a");
    site.write_in_site("old-1.0.egg-info/PKG-INFO", "Name: old\nVersion: 1.0\n");
    site.write_in_site(
        "old-1.0.egg-info/installed-files.txt",
        "../old/a.py\nPKG-INFO\n",
    );
    site.write_in_site("older/b.py", "b");
    site.write_in_site("lone.py", "c");
    site.write_in_site("older-1.0.egg-info/PKG-INFO", "Name: older\nVersion: 1.0\n");
    site.write_in_site("older-1.0.egg-info/top_level.txt", "older\nlone\n");
    site.write_in_site("oldest-0.1-py3.11.egg-info", "Name: oldest\nVersion: 0.1\n");
    let snapshot = site.snapshot();
    let report = check(&snapshot);
    assert!(report.unowned.is_empty(), "{:?}", report.unowned);
    let without: Vec<_> = report
        .without_record
        .iter()
        .map(|index| package(&snapshot, *index))
        .collect();
    assert_eq!(without, ["old", "older", "oldest"]);
    assert_eq!(
        report.owners(&name("purelib/old/a.py"))[0].claim,
        Claim::WithoutDigest
    );
    assert_eq!(report.owners(&name("purelib/lone.py")).len(), 1);
}

#[test]
fn what_could_not_be_listed_is_not_missing() {
    let mut met_the_gap = false;
    for moment in 0..8 {
        let site = Site::new();
        let (folder, aside) = (site.path(&Site::in_site("torch/optim")), site.path("aside"));
        let calls = AtomicUsize::new(0);
        let hide = || {
            if calls.fetch_add(1, Ordering::Relaxed) == moment {
                std::fs::rename(&folder, &aside).unwrap();
            }
            false
        };
        let options = Options {
            should_stop: &hide,
            threads: 1,
            ..options()
        };
        let snapshot = scan_folder(
            &site.path(&Site::in_site("")),
            &mut Cache::empty(),
            &options,
        );
        let report = check(&snapshot);
        if snapshot.flat.contains_key(&name("root/torch/optim/.")) {
            met_the_gap = true;
            assert_eq!((report.missing.len(), report.unread), (0, 1));
        }
    }
    assert!(met_the_gap);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_record_makes_the_check_fail(bytes in proptest::collection::vec(any::<u8>(), 0..400), text in "[a-z./,\"\n=0-9]{0,200}") {
        let site = Site::new();
        site.write_in_site(TORCH, [bytes.as_slice(), text.as_bytes()].concat());
        let report = check(&site.snapshot());
        prop_assert!(report.mismatched.is_empty());
    }
}
