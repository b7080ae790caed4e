//! Pruning in a store of runs that were written entry by entry.

use std::time::{Duration, SystemTime};

use domain::entry::{Act, Kind, Load, Seal, Steps, Write};
use domain::vouch::{Approval, ApprovalOf};
use domain::{Body, Digest, Entry, Finding, Grade, Node, PathText, Process, Rule, Tree};
use report::view::{PruneView, RunView};

use super::*;
use crate::testing::{Place, TestRun};

fn process() -> Process {
    Process {
        boot: "b".to_owned(),
        pid: 2,
        started: 2,
    }
}

impl Place {
    fn blob(&self, text: &str) -> Digest {
        self.store.put_blob(text.as_bytes()).unwrap()
    }

    fn steps(&self, run: &TestRun, seq: u64, text: &str) -> Entry {
        let steps = Steps {
            process: process(),
            rank: None,
            first: 1,
            last: 1,
            count: 1,
            segment: self.blob(text),
        };
        run.entry(seq, Body::Steps(steps))
    }

    fn saved(&self, run: &TestRun, seq: u64, path: &str, content: &str) -> Entry {
        let write = Write {
            path: PathText::from_text(path),
            from: None,
            digest: Some(Digest::of(content.as_bytes())),
            identity: None,
            process: process(),
            rank: None,
            step: None,
            summary: Some(self.blob(&format!("summary of {content}"))),
        };
        run.entry(seq, Body::Write(write))
    }

    fn load(run: &TestRun, seq: u64, what: Kind, path: &str, digest: Digest) -> Entry {
        let load = Load {
            what,
            path: PathText::from_text(path),
            digest: Some(digest),
            stored: what != Kind::Checkpoint,
            identity: None,
            process: None,
            rank: None,
            step: None,
            summary: None,
            examined: None,
        };
        run.entry(seq, Body::Load(load))
    }

    /// A run with steps of its own and a script that all runs share.
    fn simple(&self, number: u8) -> TestRun {
        let run = self.run(number);
        let shared = self.blob("a script");
        self.append(&[
            run.launch(0),
            self.steps(&run, 1, &format!("steps of {number}")),
            Self::load(&run, 2, Kind::Script, "/a.py", shared),
            run.end(3),
        ]);
        run
    }

    /// As if all blobs had been stored yesterday.
    fn age(&self) {
        for blob in self.store.stored_blobs().unwrap() {
            let name = blob.digest.to_string();
            let path = self
                .store
                .root()
                .join("blobs")
                .join(&name[..2])
                .join(&name[2..]);
            let file = std::fs::File::options().write(true).open(path).unwrap();
            let then = SystemTime::now() - Duration::from_hours(24);
            file.set_modified(then).unwrap();
        }
    }

    fn prune(&self, rules: Rules) -> PruneView {
        self.age();
        let request = PruneRequest {
            rules,
            reason: "a test".to_owned(),
            dry_run: false,
        };
        prune(&self.surroundings, &request).unwrap()
    }

    fn is_sound(&self) {
        let view = crate::audit(&self.surroundings, &[], &[]).unwrap();
        assert!(view.problems.is_empty(), "{:?}", view.problems);
        assert!(view.gaps.is_empty(), "{:?}", view.gaps);
    }

    fn show(&self, run: &TestRun) -> RunView {
        self.reading().show(&run.id.to_string()).unwrap()
    }
}

fn keep(count: u64) -> Rules {
    Rules {
        keep: Some(count),
        ..Rules::default()
    }
}

#[test]
fn what_only_old_runs_need_goes_and_what_is_shared_stays() {
    let place = Place::new();
    let runs: Vec<_> = (1..=5).map(|number| place.simple(number)).collect();
    let heads: Vec<_> = place
        .store
        .logs()
        .unwrap()
        .iter()
        .map(|log| log.head().unwrap())
        .collect();
    let view = place.prune(keep(2));
    assert_eq!((view.blobs, view.runs), (9, 3), "{view:?}");
    for (number, run) in (1..=5).zip(&runs) {
        let has = place
            .store
            .has_blob(&Digest::of(format!("steps of {number}").as_bytes()));
        assert_eq!(has, number > 3);
        assert_eq!(place.store.has_blob(&run.command), number > 3);
    }
    assert!(place.store.has_blob(&Digest::of(b"a script")));
    place.is_sound();
    // The log goes on from where it was: nothing of it was touched.
    let snapshot = place.store.logs().unwrap()[0].snapshot().unwrap();
    assert!(snapshot.continues(heads[0]).unwrap());
    let key = place.store.logs().unwrap()[0].key().unwrap();
    assert!(snapshot.prove(1).unwrap().verify(&key, None).is_ok());
}

#[test]
fn checkpoints_that_were_kept_for_a_run_go_with_it() {
    let place = Place::new();
    let runs: Vec<_> = (1..=2).map(|number| place.simple(number)).collect();
    let kept = |run: &TestRun| {
        let folder = place.store.root().join("kept").join(run.id.to_string());
        folder.join("step-7")
    };
    for run in &runs {
        std::fs::create_dir_all(kept(run)).unwrap();
        std::fs::write(kept(run).join("a.pt"), b"weights").unwrap();
    }
    let view = place.prune(keep(1));
    assert!(!kept(&runs[0]).exists() && kept(&runs[1]).exists());
    let told = view.kinds.iter().find(|kind| kind.kind == "kept").unwrap();
    assert_eq!((told.blobs, told.bytes), (1, 7));
    let audit = crate::audit(&place.surroundings, &[], &[]).unwrap();
    assert!(
        audit.pruned[0]
            .reason
            .contains("kept checkpoints of 1 runs")
    );
    place.is_sound();
}

#[test]
fn the_audit_says_what_was_pruned_and_show_says_what_is_missing_of_a_run() {
    let place = Place::new();
    let runs: Vec<_> = (1..=3).map(|number| place.simple(number)).collect();
    place.prune(keep(1));
    let audit = crate::audit(&place.surroundings, &[], &[]).unwrap();
    assert_eq!((audit.pruned.len(), audit.pruned[0].blobs), (1, 6));
    assert_eq!(audit.pruned[0].reason, "a test");
    let told = |run| {
        let gaps = place.show(run).gaps;
        let gap = gaps.into_iter().find(|gap| gap.why.contains("pruned on"));
        gap.map(|gap| gap.what)
    };
    let what = told(&runs[0]).unwrap();
    assert!(
        what.contains("2 of launches") && what.contains("1 of steps"),
        "{what}"
    );
    assert_eq!(told(&runs[2]), None);
}

#[test]
fn a_blob_that_is_missing_without_the_ledger_saying_so_is_damage_as_ever() {
    let place = Place::new();
    place.simple(1);
    place.simple(2);
    place.prune(keep(1));
    place.is_sound();
    let path = |digest: &Digest| {
        let name = digest.to_string();
        place
            .store
            .root()
            .join("blobs")
            .join(&name[..2])
            .join(&name[2..])
    };
    std::fs::remove_file(path(&Digest::of(b"steps of 2"))).unwrap();
    let problems = || {
        crate::audit(&place.surroundings, &[], &[])
            .unwrap()
            .problems
            .len()
    };
    assert_eq!(problems(), 1);
    place.blob("steps of 2");
    place.is_sound();
    // Stored again by a later run, and then taken away by somebody: the pruning before does not excuse that.
    assert!(!place.store.has_blob(&Digest::of(b"steps of 1")));
    let later = place.run(3);
    let mut steps = place.steps(&later, 1, "steps of 1");
    steps.capture_us = host::clock::wall_us() + 1_000_000;
    place.append(&[later.launch(0), steps]);
    place.is_sound();
    std::fs::remove_file(path(&Digest::of(b"steps of 1"))).unwrap();
    assert_eq!(problems(), 1);
}

#[test]
fn a_prune_that_died_between_the_entry_and_the_last_blob_harms_nobody_and_is_finished_by_the_next()
{
    let place = Place::new();
    place.simple(1);
    place.simple(2);
    place.prune(keep(1));
    // As if the removal had not come that far.
    place.blob("steps of 1");
    place.is_sound();
    let view = place.prune(keep(1));
    assert_eq!(view.blobs, 1);
    place.is_sound();
}

#[test]
fn a_dry_run_changes_nothing() {
    let place = Place::new();
    place.simple(1);
    place.simple(2);
    place.age();
    let before = place.store.stored_blobs().unwrap().len();
    let request = PruneRequest {
        rules: keep(0),
        reason: String::new(),
        dry_run: true,
    };
    let view = prune(&place.surroundings, &request).unwrap();
    assert!(view.blobs > 0 && view.dry_run);
    assert_eq!(place.store.stored_blobs().unwrap().len(), before);
    let entries = place.store.logs().unwrap()[0].head().unwrap().size;
    assert_eq!(entries, 8);
}

#[test]
fn a_run_with_a_finding_stays_unless_forced() {
    let place = Place::new();
    let tainted = place.run(1);
    let finding = Finding {
        rule: Rule::LedgerRewritten,
        grade: Grade::Observed,
        what: "x".to_owned(),
        details: Vec::new(),
        path: None,
        step: None,
        rank: None,
        earlier: None,
        evidence: vec![place.blob("evidence")],
        innocent: Vec::new(),
    };
    let finding = tainted.entry(1, Body::Finding(finding));
    place.append(&[tainted.launch(0), finding, tainted.end(2)]);
    let view = place.prune(keep(0));
    let reasons: Vec<_> = view.spared.iter().map(|it| it.why.as_str()).collect();
    assert_eq!(
        (view.blobs, reasons),
        (0, vec!["something was found in it"])
    );
    let forced = Rules {
        force: true,
        ..keep(0)
    };
    assert_eq!(place.prune(forced).blobs, 3);
    place.is_sound();
}

#[test]
fn the_environment_that_the_next_run_is_compared_with_stays_and_the_steps_beside_it_go() {
    let place = Place::new();
    let tree = |number: u8| {
        let mut tree = Tree::new();
        let target = PathText::from_text(&number.to_string());
        tree.insert(PathText::from_text("l"), Node::Link { target });
        place.store.put_blob(&tree.encode()).unwrap()
    };
    for number in [1, 2] {
        let run = place.run(number);
        let steps = place.steps(&run, 2, &format!("steps of {number}"));
        let environment = Place::load(&run, 1, Kind::Environment, "/venv", tree(number));
        place.append(&[run.launch(0), environment, steps, run.end(3)]);
    }
    place.simple(3);
    let trees = [tree(1), tree(2)];
    place.prune(keep(1));
    assert_eq!(trees.map(|it| place.store.has_blob(&it)), [false, true]);
    assert!(!place.store.has_blob(&Digest::of(b"steps of 2")));
    place.is_sound();
}

#[test]
fn summaries_of_checkpoints_that_a_kept_run_came_from_stay_through_the_whole_chain() {
    let place = Place::new();
    let [first, second, third] = [1, 2, 3].map(|number| place.run(number));
    let loads = |run, content: &str| {
        Place::load(
            run,
            1,
            Kind::Checkpoint,
            "/elsewhere",
            Digest::of(content.as_bytes()),
        )
    };
    place.append(&[
        first.launch(0),
        place.saved(&first, 1, "/a", "A"),
        place.saved(&first, 2, "/x", "X"),
        first.end(3),
    ]);
    place.append(&[
        second.launch(0),
        loads(&second, "A"),
        place.saved(&second, 2, "/b", "B"),
        second.end(3),
    ]);
    place.append(&[third.launch(0), loads(&third, "B"), third.end(2)]);
    place.prune(keep(1));
    let has = |name: &str| {
        place
            .store
            .has_blob(&Digest::of(format!("summary of {name}").as_bytes()))
    };
    assert_eq!((has("A"), has("B"), has("X")), (true, true, false));
    place.is_sound();
}

#[test]
fn trees_that_only_trees_name_are_needed_and_their_loss_is_named() {
    let place = Place::new();
    let mut inner = Tree::new();
    let link = Node::Link {
        target: PathText::from_text("x"),
    };
    inner.insert(PathText::from_text("l"), link);
    let inner_digest = place.store.put_blob(&inner.encode()).unwrap();
    let mut outer = Tree::new();
    outer.insert(PathText::from_text("package"), inner.to_node());
    let root = place.store.put_blob(&outer.encode()).unwrap();
    let run = place.run(9);
    place.append(&[
        run.launch(0),
        Place::load(&run, 1, Kind::Environment, "/venv", root),
        run.end(2),
    ]);
    let usage = du(&place.surroundings).unwrap();
    let kind = |name: &str| {
        usage
            .kinds
            .iter()
            .find(|it| it.kind == name)
            .map_or(0, |it| it.blobs)
    };
    assert_eq!((kind("environments"), kind("strays")), (2, 0));
    place.simple(10);
    place.prune(keep(2));
    assert!(place.store.has_blob(&inner_digest));
    let name = inner_digest.to_string();
    let path = place
        .store
        .root()
        .join("blobs")
        .join(&name[..2])
        .join(&name[2..]);
    std::fs::remove_file(path).unwrap();
    let problems = crate::audit(&place.surroundings, &[], &[])
        .unwrap()
        .problems;
    assert!(
        problems[0].file.ends_with(&name[2..]) && problems.len() == 1,
        "{problems:?}"
    );
    place.prune(Rules {
        force: true,
        ..keep(1)
    });
    place.is_sound();
}

#[test]
fn a_budget_takes_the_oldest_first_and_no_more_than_it_must() {
    let place = Place::new();
    for number in 1..=6 {
        let run = place.run(number);
        let steps = place.steps(&run, 1, &format!("{number}").repeat(10_000));
        place.append(&[run.launch(0), steps, run.end(2)]);
    }
    let view = place.prune(Rules {
        budget: Some(35_000),
        ..Rules::default()
    });
    assert_eq!(view.runs, 3, "{view:?}");
    assert!(view.left_bytes <= 35_000);
    let has = |number: u8| {
        place
            .store
            .has_blob(&Digest::of(format!("{number}").repeat(10_000).as_bytes()))
    };
    assert_eq!([1, 3, 4, 6].map(has), [false, false, true, true]);
}

#[test]
fn only_the_kinds_that_were_asked_for_go_and_strays_only_by_name() {
    let place = Place::new();
    place.simple(1);
    place.simple(2);
    let stray = place.blob("stray");
    let kinds = |kinds: &[BlobKind]| Rules {
        kinds: kinds.to_vec(),
        ..keep(1)
    };
    assert_eq!(place.prune(kinds(&[BlobKind::Steps])).blobs, 1);
    assert!(place.store.has_blob(&stray));
    place.prune(keep(1));
    assert!(place.store.has_blob(&stray));
    place.prune(kinds(&[BlobKind::Strays]));
    assert!(!place.store.has_blob(&stray));
    place.is_sound();
}

#[test]
fn blobs_that_were_just_stored_stay() {
    let place = Place::new();
    place.simple(1);
    place.simple(2);
    let request = PruneRequest {
        rules: keep(0),
        reason: String::new(),
        dry_run: false,
    };
    assert_eq!(prune(&place.surroundings, &request).unwrap().blobs, 0);
}

#[test]
fn without_a_rule_and_with_an_entry_that_nobody_understands_nothing_is_removed() {
    let place = Place::new();
    place.simple(1);
    place.age();
    let error = prune(&place.surroundings, &PruneRequest::default()).unwrap_err();
    assert!(error.to_string().contains("--older-than"), "{error}");
    place.writer().append(&[br#"{"v":2,"body":{}}"#]).unwrap();
    let request = PruneRequest {
        rules: keep(0),
        ..PruneRequest::default()
    };
    let error = prune(&place.surroundings, &request).unwrap_err();
    assert!(error.to_string().contains("nothing was removed"), "{error}");
}

#[test]
fn du_tells_own_and_shared_blobs_apart() {
    let place = Place::new();
    place.simple(1);
    place.simple(2);
    place.blob("stray");
    let view = du(&place.surroundings).unwrap();
    let counts: Vec<_> = view
        .runs
        .iter()
        .map(|run| (run.blobs, run.shared_blobs))
        .collect();
    assert_eq!(counts, [(3, 1), (3, 1)]);
    let strays = view
        .kinds
        .iter()
        .find(|kind| kind.kind == "strays")
        .unwrap();
    assert_eq!((strays.blobs, strays.bytes), (1, 5));
    assert_eq!(view.blobs, 8);
    assert_eq!(view.logs[0].entries, 8);
}

#[test]
fn a_seal_or_a_tree_that_cannot_be_read_stops_a_prune() {
    let place = Place::new();
    place.simple(1);
    let run = place.run(2);
    let mut tree = Tree::new();
    let link = Node::Link {
        target: PathText::from_text("x"),
    };
    tree.insert(PathText::from_text("l"), link);
    let root = place.store.put_blob(&tree.encode()).unwrap();
    place.append(&[
        run.launch(0),
        Place::load(&run, 1, Kind::Environment, "/venv", root),
        run.end(2),
    ]);
    let name = root.to_string();
    let blobs = place.store.root().join("blobs");
    let path = blobs.join(&name[..2]).join(&name[2..]);
    std::fs::write(&path, "another tree").unwrap();
    let request = PruneRequest {
        rules: keep(0),
        ..PruneRequest::default()
    };
    let refused = prune(&place.surroundings, &request).unwrap_err();
    assert!(refused.to_string().contains("tree"), "{refused}");
    std::fs::write(&path, tree.encode()).unwrap();
    let seal = Seal {
        path: PathText::from_text("/model"),
        root: Digest::of(b"root"),
        tree: String::new(),
        key: String::new(),
        signature: place.store.put_blob(b"no signature").unwrap(),
        seal: place.store.put_blob(b"no seal").unwrap(),
        files: 1,
        bytes: 1,
        person: domain::Person::default(),
    };
    let act = Body::Act(Act::Sealed(Box::new(seal)));
    place.append(&[place.run(3).entry(0, act)]);
    let refused = prune(&place.surroundings, &request).unwrap_err();
    assert!(refused.to_string().contains("the seal"), "{refused}");
}

#[test]
fn what_somebody_approved_of_stays_and_so_does_what_vouches() {
    let place = Place::new();
    for number in 1..=3 {
        let run = place.run(number);
        let steps = place.steps(&run, 1, &format!("{number}").repeat(1000));
        place.append(&[run.launch(0), steps, run.end(2)]);
    }
    let envelope = place.store.put_blob(b"an envelope").unwrap();
    let by_name = place.run(4);
    let approve = |of| {
        Body::Act(Act::Approved(Box::new(Approval {
            of,
            key: "SHA256:x".to_owned(),
            envelope,
            person: domain::Person::default(),
        })))
    };
    let bytes = Digest::of("2".repeat(1000).as_bytes());
    place.append(&[
        by_name.entry(
            0,
            approve(ApprovalOf::Run {
                run: place.run(1).id,
            }),
        ),
        place
            .run(5)
            .entry(0, approve(ApprovalOf::Bytes { digest: bytes })),
    ]);
    let view = place.prune(keep(0));
    let has = |number: u8| {
        place
            .store
            .has_blob(&Digest::of(format!("{number}").repeat(1000).as_bytes()))
    };
    assert_eq!([1, 2, 3].map(has), [true, true, false], "{view:?}");
    assert!(place.store.has_blob(&envelope));
    place.prune(Rules {
        force: true,
        ..keep(0)
    });
    assert_eq!([1, 2, 3].map(has), [false, false, false]);
    assert!(place.store.has_blob(&envelope), "what vouches never goes");
    place.is_sound();
}
