//! The renderers on one result that holds something of everything, hostile text included.

use domain::scan::{Finding, Gap, GapKind, Listing, Need, Part, Place, Role, Rule};

use super::*;

const ACTS: &str = "\u{1b}[2J\u{202e}\u{9b}31m\n::error::x";

fn place(member: &str, offset: u64) -> Place {
    Place {
        members: vec![member.to_owned()],
        stream: Some(1),
        offset: Some(offset),
    }
}

fn hostile() -> FileReport {
    let finding = |rule, weight, offset| Finding {
        rule,
        weight,
        place: place("archive/data.pkl", offset),
        expression: format!("os.system('echo MARKER {ACTS}')"),
        why: "it is called while loading".to_owned(),
    };
    FileReport {
        path: PathText::from_bytes(b"ckpt/a,b\xff\x1b[2J:c.pt"),
        named: true,
        verdict: Verdict::Dangerous,
        examination: Examination {
            size: 4096,
            formats: vec!["a torch checkpoint".to_owned()],
            findings: vec![
                finding(Rule::RunsCommand, Weight::Dangerous, 12),
                finding(Rule::CustomClass, Weight::Custom, 1200),
            ],
            gaps: vec![Gap {
                kind: GapKind::Encrypted,
                place: place(&format!("x{ACTS}"), 0),
                what: format!("member {ACTS}"),
            }],
            parts: vec![Part {
                place: Place::default(),
                format: "pickle".to_owned(),
                size: 99,
                digest: Some(domain::Digest::of(b"x")),
            }],
            needs: vec![Need {
                module: "os".to_owned(),
                name: "system".to_owned(),
                role: Role::Call,
                weight: Some(Weight::Dangerous),
            }],
            raw_bytes: 3000,
            digest: None,
            left_out: 2,
        },
        accepted: vec![Acceptance {
            finding: 1,
            reason: "our own class".to_owned(),
            expires: "2027-02-20".to_owned(),
            expired: false,
        }],
        listings: Vec::new(),
        as_in: None,
    }
}

fn clean(named: bool) -> FileReport {
    FileReport {
        path: PathText::from_text("ckpt/good.pt"),
        named,
        verdict: Verdict::Clean,
        examination: Examination {
            size: 1234,
            formats: vec!["pickle".to_owned()],
            ..Examination::default()
        },
        accepted: Vec::new(),
        listings: Vec::new(),
        as_in: None,
    }
}

fn head() -> Head {
    Head {
        version: "0.0.0".to_owned(),
        fail_on: Weight::Unknown,
        full: false,
        policy: None,
        baseline: Some(PathText::from_text("baseline.toml")),
    }
}

fn tail() -> Tail {
    Tail {
        totals: Totals {
            files: 2,
            dangerous: 1,
            clean: 1,
            counting: 1,
            findings: 2,
            accepted: 1,
            gaps: 1,
            parts: 3,
            bytes: 5330,
            raw_bytes: 3000,
            ..Totals::default()
        },
        exit_code: 1,
        notices: vec![Notice {
            about: "policy",
            text: format!("module {ACTS} changed"),
        }],
        confinement: Confinement::default(),
        since: Some(Since {
            old: PathText::from_text("old.pt"),
            needs_added: hostile().examination.needs,
            formats_removed: vec!["safetensors".to_owned()],
            beyond: 1,
            ..Since::default()
        }),
        seconds: 0.5,
    }
}

fn whole(renderer: &mut dyn Renderer) -> String {
    let mut text = renderer.begin(&head());
    text.push_str(&renderer.file(&hostile()));
    text.push_str(&renderer.file(&clean(false)));
    text.push_str(&renderer.file(&clean(true)));
    text.push_str(&renderer.end(&tail()));
    text
}

/// Snapshots are read by people: nothing in them may act.
fn pretty(value: &serde_json::Value) -> String {
    crate::sanitise::harmless_json(serde_json::to_string_pretty(value).unwrap())
        .replace("\\u000a", "\n")
}

#[test]
fn plain_text_as_people_see_it() {
    insta::assert_snapshot!(whole(&mut Plain::default()));
}

#[test]
fn json_as_programs_read_it() {
    let text = whole(&mut Json::default());
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["files"].as_array().unwrap().len(), 3);
    insta::assert_snapshot!(pretty(&value));
}

#[test]
fn sarif_as_services_read_it() {
    let mut value: serde_json::Value = serde_json::from_str(&whole(&mut Sarif::default())).unwrap();
    let rules = &mut value["runs"][0]["tool"]["driver"]["rules"];
    assert_eq!(rules.as_array().unwrap().len(), Rule::ALL.len());
    *rules = rules[0].take();
    insta::assert_snapshot!(pretty(&value));
}

#[test]
fn annotations_as_the_runner_reads_them() {
    insta::assert_snapshot!(whole(&mut Github));
}

#[test]
fn no_renderer_lets_anything_act_on_a_terminal() {
    let mut renderers: [Box<dyn Renderer>; 4] = [
        Box::new(Plain::default()),
        Box::new(Json::default()),
        Box::new(Sarif::default()),
        Box::new(Github),
    ];
    for renderer in &mut renderers {
        let text = whole(renderer.as_mut());
        let acts = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!text.chars().any(acts), "{text:?}");
        assert!(
            !text.lines().any(|line| line.starts_with("::error::")),
            "{text:?}"
        );
    }
}

#[test]
fn a_clean_file_is_listed_only_when_it_was_named() {
    assert_eq!(Plain::default().file(&clean(false)), "");
    assert!(Plain::default().file(&clean(true)).starts_with("clean"));
}

#[test]
fn a_file_with_no_more_than_notes_is_listed_where_notes_count() {
    let mut file = clean(false);
    file.examination.findings.push(Finding {
        rule: Rule::BringsCode,
        weight: Weight::Note,
        place: Place::default(),
        expression: String::new(),
        why: String::new(),
    });
    let mut plain = Plain::default();
    plain.begin(&head());
    assert_eq!(plain.file(&file), "");
    plain.begin(&Head {
        fail_on: Weight::Note,
        ..head()
    });
    assert!(plain.file(&file).contains("[brings-code]"));
}

#[test]
fn a_result_without_files_is_still_a_document() {
    for renderer in [
        &mut Json::default() as &mut dyn Renderer,
        &mut Sarif::default(),
    ] {
        let text = renderer.begin(&head()) + &renderer.end(&tail());
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
    }
}

#[test]
fn an_explanation_has_each_finding_below_its_line() {
    let listing = Listing {
        place: Place {
            offset: None,
            ..place("archive/data.pkl", 0)
        },
        lines: vec![
            (0, "# protocol 2".to_owned()),
            (10, format!("os.system('echo MARKER{ACTS}')")),
            (1000, "mine.Thing()".to_owned()),
        ],
        cut: true,
    };
    let file = FileReport {
        listings: vec![listing],
        ..hostile()
    };
    insta::assert_snapshot!(Plain::default().file(&file));
}
