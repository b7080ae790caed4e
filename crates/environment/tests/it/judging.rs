//! One test a row of the table in `judge.rs`.

use taintline_environment::records::check;
use taintline_environment::{Judgement, Snapshot, compare, judge};

use crate::site::{Site, line};

const SIX: &[(&str, &str)] = &[("six.py", "six")];

fn judged(before: &Snapshot, site: &Site, same_interpreter: bool) -> Vec<(String, Judgement)> {
    let after = site.snapshot();
    let changes = compare(&before.flat, &after.flat);
    let all = judge(
        changes,
        &before.packages,
        &after,
        &check(&after),
        same_interpreter,
    );
    all.into_iter()
        .map(|one| (one.change.path.to_string(), one.judgement))
        .collect()
}

/// What `change` does to a fresh environment.
fn after(change: impl FnOnce(&Site)) -> Vec<(String, Judgement)> {
    after_both(|_| {}, change)
}

fn after_both(prepare: impl FnOnce(&Site), change: impl FnOnce(&Site)) -> Vec<(String, Judgement)> {
    let site = Site::new();
    prepare(&site);
    let before = site.snapshot();
    change(&site);
    judged(&before, &site, true)
}

fn expect(found: &[(String, Judgement)], path: &str, judgement: Judgement) {
    let of_path = found
        .iter()
        .find(|(name, _)| name == path)
        .map(|(_, judgement)| *judgement);
    assert_eq!(of_path, Some(judgement), "{path} in {found:?}");
}

fn findings(found: &[(String, Judgement)]) -> Vec<&str> {
    found
        .iter()
        .filter(|(_, judgement)| judgement.is_finding())
        .map(|(path, _)| path.as_str())
        .collect()
}

fn upgrade_torch(site: &Site, adamw: &str) {
    site.remove_in_site("torch-2.0.dist-info");
    site.remove_in_site("torch/data.json");
    site.install(
        "torch",
        "2.1",
        &[
            ("torch/__init__.py", "torch 2.1"),
            ("torch/optim/adamw.py", adamw),
            ("torch/new.py", "new"),
        ],
    );
}

#[test]
fn nothing_changed_is_nothing_to_judge() {
    assert_eq!(
        after(|site| site.write_in_site("torch/__pycache__/a.cpython-311.pyc", "code")),
        []
    );
}

#[test]
fn an_upgrade_is_a_list_of_notes() {
    let found = after(|site| upgrade_torch(site, "adamw 2.1"));
    assert_eq!(findings(&found), [""; 0]);
    expect(&found, "purelib/torch/optim/adamw.py", Judgement::Upgraded);
    expect(&found, "purelib/torch/new.py", Judgement::Upgraded);
    expect(&found, "purelib/torch/data.json", Judgement::Removed);
    expect(
        &found,
        "purelib/torch-2.0.dist-info/METADATA",
        Judgement::Bookkeeping,
    );
    expect(
        &found,
        "purelib/torch-2.1.dist-info/METADATA",
        Judgement::Bookkeeping,
    );
}

#[test]
fn an_install_and_an_uninstall_are_lists_of_notes() {
    let found = after(|site| {
        site.install(
            "numpy",
            "2.0",
            &[
                ("numpy/__init__.py", "n"),
                ("numpy/core.so", "elf"),
                ("n.pth", "import n"),
            ],
        );
    });
    assert_eq!(findings(&found), [""; 0]);
    expect(&found, "purelib/numpy/core.so", Judgement::Installed);
    expect(&found, "purelib/n.pth", Judgement::Installed);
    let found = after(|site| {
        site.remove_in_site("six.py");
        site.remove_in_site("six-1.16.dist-info");
    });
    assert_eq!(findings(&found), [""; 0]);
    expect(&found, "purelib/six.py", Judgement::Removed);
}

#[test]
fn what_installers_note_about_themselves_is_bookkeeping() {
    let found = after(|site| {
        site.write_in_site("six-1.16.dist-info/INSTALLER", "uv");
        site.remove_in_site("six-1.16.dist-info/REQUESTED");
        site.write_in_site("six-1.16.dist-info/direct_url.json", "{}");
        site.write_in_site("six-1.16.dist-info/RECORD", line("six.py", "six"));
    });
    assert_eq!(found.len(), 4);
    assert!(
        found
            .iter()
            .all(|(_, judgement)| *judgement == Judgement::Bookkeeping),
        "{found:?}"
    );
}

#[test]
fn an_edit_is_a_mismatch() {
    let found = after(|site| site.write_in_site("torch/optim/adamw.py", "evil"));
    assert_eq!(
        found,
        [(
            "purelib/torch/optim/adamw.py".to_owned(),
            Judgement::MismatchesRecord
        )]
    );
}

#[test]
fn an_edit_with_its_record_rewritten_is_a_change_without_a_version() {
    let found = after(|site| {
        site.install(
            "six",
            "1.16",
            &[
                ("six.py", "evil"),
                ("six_more.py", "evil"),
                ("six.txt", "t"),
            ],
        );
    });
    expect(
        &found,
        "purelib/six.py",
        Judgement::ChangedWithoutVersionChange,
    );
    expect(
        &found,
        "purelib/six_more.py",
        Judgement::ChangedWithoutVersionChange,
    );
    expect(&found, "purelib/six.txt", Judgement::Data);
}

#[test]
fn an_edit_hidden_in_an_upgrade_is_a_mismatch() {
    let found = after(|site| {
        upgrade_torch(site, "adamw 2.1");
        site.write_in_site("torch/optim/adamw.py", "evil");
    });
    assert_eq!(findings(&found), ["purelib/torch/optim/adamw.py"]);
}

#[test]
fn a_package_that_claims_the_file_of_another_takes_it_over() {
    // A new package vouches for the edit; the owner's own line still tells.
    let found = after(|site| site.install("helper", "1.0", &[("six.py", "evil")]));
    expect(&found, "purelib/six.py", Judgement::MismatchesRecord);
    // The owner's line is struck out as well.
    let strike = |site: &Site| {
        site.write_in_site(
            "torch-2.0.dist-info/RECORD",
            line("torch/__init__.py", "torch"),
        );
    };
    let found = after(|site| {
        strike(site);
        site.install("helper", "1.0", &[("torch/optim/adamw.py", "evil")]);
    });
    expect(&found, "purelib/torch/optim/adamw.py", Judgement::TakenOver);
    // The helper was there before and gets a new version.
    let found = after_both(
        |site| site.install("helper", "1.0", &[("helper.py", "h")]),
        |site| {
            strike(site);
            site.remove_in_site("helper-1.0.dist-info");
            site.install(
                "helper",
                "1.1",
                &[("torch/optim/adamw.py", "evil"), ("helper.py", "h")],
            );
        },
    );
    expect(&found, "purelib/torch/optim/adamw.py", Judgement::TakenOver);
    // A file that nobody owned before.
    let claim = |site: &Site| site.install("helper", "1.0", &[("own.py", "evil")]);
    let found = after_both(|site| site.write_in_site("own.py", "mine"), claim);
    expect(&found, "purelib/own.py", Judgement::TakenOver);
}

#[test]
fn a_package_that_replaces_another_installs_its_files() {
    let found = after(|site| {
        site.remove_in_site("six-1.16.dist-info");
        site.install("six-fork", "2.0", &[("six.py", "fork")]);
    });
    assert_eq!(findings(&found), [""; 0]);
    expect(&found, "purelib/six.py", Judgement::Installed);
}

#[test]
fn a_folder_shared_by_packages_is_upgraded_by_one_of_them() {
    let shared = |version: &str, text: &str| {
        let text = text.to_owned();
        let version = version.to_owned();
        move |site: &Site| {
            site.install(
                "shared-b",
                &version,
                &[("shared/__init__.py", ""), ("shared/b.py", &text)],
            );
        }
    };
    let found = after_both(shared("1.0", "b"), |site| {
        site.remove_in_site("shared_b-1.0.dist-info");
        shared("1.1", "b 1.1")(site);
    });
    assert_eq!(findings(&found), [""; 0]);
    expect(&found, "purelib/shared/b.py", Judgement::Upgraded);
}

#[test]
fn a_file_gone_from_a_package_that_stays_is_a_finding() {
    let found = after(|site| site.remove_in_site("torch/optim/adamw.py"));
    expect(
        &found,
        "purelib/torch/optim/adamw.py",
        Judgement::RemovedFromPackage,
    );
    let found = after(|site| {
        site.remove_in_site("torch/optim/adamw.py");
        site.write_in_site(
            "torch-2.0.dist-info/RECORD",
            line("torch/__init__.py", "torch"),
        );
    });
    expect(
        &found,
        "purelib/torch/optim/adamw.py",
        Judgement::RemovedFromPackage,
    );
}

#[test]
fn code_that_a_new_version_lists_without_digest_is_unvouched() {
    let found = after(|site| {
        site.remove_in_site("six-1.16.dist-info");
        site.install("six", "1.17", SIX);
        site.write_in_site("six.py", "evil");
        site.write_in_site("six.txt", "text");
        site.write_in_site("six-1.17.dist-info/RECORD", "six.py,,\nsix.txt,,\n");
    });
    expect(&found, "purelib/six.py", Judgement::Unvouched);
    expect(&found, "purelib/six.txt", Judgement::Upgraded);
}

#[test]
fn packages_of_old_installers_are_upgraded_by_version_alone() {
    let old = |version: &str, text: &str| {
        let (version, text) = (version.to_owned(), text.to_owned());
        move |site: &Site| {
            site.write_in_site("old/a.py", &text);
            site.write_in_site(
                "old.egg-info/PKG-INFO",
                format!("Name: old\nVersion: {version}\n"),
            );
            site.write_in_site("old.egg-info/top_level.txt", "old\n");
        }
    };
    let found = after_both(old("1", "a"), old("2", "b"));
    expect(&found, "purelib/old/a.py", Judgement::Upgraded);
    let found = after_both(old("1", "a"), old("1", "b"));
    expect(
        &found,
        "purelib/old/a.py",
        Judgement::ChangedWithoutVersionChange,
    );
}

#[test]
fn whatever_starts_with_the_interpreter_needs_an_owner() {
    let found = after(|site| {
        for hook in [
            "evil.pth",
            "sitecustomize.py",
            "usercustomize/__init__.py",
            "sitecustomize.cpython-311-x86_64-linux-gnu.so",
        ] {
            site.write_in_site(hook, "import evil");
        }
    });
    assert_eq!(found.len(), 4);
    assert!(
        found
            .iter()
            .all(|(_, judgement)| *judgement == Judgement::UnownedHook),
        "{found:?}"
    );
}

#[test]
fn the_list_of_editable_installs_is_a_note_until_it_runs_code() {
    let found = after(|site| site.write_in_site("easy-install.pth", "/home/me/project\n"));
    expect(&found, "purelib/easy-install.pth", Judgement::EditableHook);
    let found =
        after(|site| site.write_in_site("easy-install.pth", "/home/me/project\nimport evil\n"));
    expect(&found, "purelib/easy-install.pth", Judgement::UnownedHook);
}

#[test]
fn code_without_owner_is_a_finding_and_data_without_owner_a_note() {
    let found = after(|site| {
        site.write_in_site("evil.py", "x");
        site.write_in_site("torch/evil.so", "x");
        site.write_in_site("torch/weights.bin", "x");
        site.write("bin/activate", "x");
    });
    expect(&found, "purelib/evil.py", Judgement::Unowned);
    expect(&found, "purelib/torch/evil.so", Judgement::Unowned);
    expect(&found, "purelib/torch/weights.bin", Judgement::Data);
    expect(&found, "scripts/activate", Judgement::Data);
    let found = after_both(
        |site| site.write("bin/activate", "x"),
        |site| site.write("bin/activate", "y"),
    );
    expect(&found, "scripts/activate", Judgement::Unowned);
}

#[test]
fn the_standard_library_changes_with_its_interpreter_only() {
    let site = Site::new();
    let before = site.snapshot();
    site.write("lib/python3.11/os.py", "evil");
    site.write("lib/python3.11/sitecustomize.py", "evil");
    site.write("lib/python3.11/lib2to3/Grammar.txt", "other");
    site.write("bin/python3.11", "patched");
    let found = judged(&before, &site, true);
    expect(&found, "stdlib/os.py", Judgement::StdlibChanged);
    expect(&found, "stdlib/sitecustomize.py", Judgement::StdlibChanged);
    expect(&found, "stdlib/lib2to3/Grammar.txt", Judgement::Data);
    expect(&found, "interpreter/python3.11", Judgement::ChangedInPlace);
    let found = judged(&before, &site, false);
    expect(&found, "stdlib/os.py", Judgement::InterpreterUpgraded);
    expect(
        &found,
        "interpreter/python3.11",
        Judgement::InterpreterUpgraded,
    );
    expect(&found, "scripts/python3.11", Judgement::InterpreterUpgraded);
}

#[test]
fn permission_bits_and_gaps_are_notes() {
    use std::os::unix::fs::PermissionsExt as _;
    let found = after(|site| {
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(site.path(&Site::in_site("six.py")), mode).unwrap();
        site.remove_in_site("torch/data.json");
        let socket = site.path(&Site::in_site("torch/data.json"));
        drop(std::os::unix::net::UnixListener::bind(socket).unwrap());
    });
    expect(&found, "purelib/six.py", Judgement::ModeOnly);
    expect(&found, "purelib/torch/data.json", Judgement::Gap);
}

#[test]
fn code_and_plug_ins_in_a_folder_of_papers_are_no_bookkeeping() {
    let found = after(|site| {
        site.write_in_site("six-1.16.dist-info/entry_points.txt", "[x]\ny = evil");
        site.write_in_site("new-1.dist-info/METADATA", "Name: new\nVersion: 1\n");
        site.write_in_site("new-1.dist-info/evil.py", "x");
    });
    let hook = "purelib/six-1.16.dist-info/entry_points.txt";
    expect(&found, hook, Judgement::UnownedHook);
    let code = "purelib/new-1.dist-info/evil.py";
    expect(&found, code, Judgement::Unowned);
    let paper = "purelib/new-1.dist-info/METADATA";
    expect(&found, paper, Judgement::Bookkeeping);
}
