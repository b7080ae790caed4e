//! Sets of parts in memory: what an honest one tells (nothing), and what each contradiction does.

use std::collections::BTreeMap;

use domain::scan::{GapKind, Rule, Weight};

use super::*;
use crate::model_tests::full::checkpoint;

/// Files by their paths, and whether folders are there.
#[derive(Default)]
struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    fn with(mut self, path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.0.insert(path.to_owned(), bytes.into());
        self
    }

    /// What the set that `name` names comes to.
    fn judge(&self, name: &str) -> Examination {
        let rules = Rules::builtin();
        let mut done = Examination::default();
        let input = self.0[name].as_slice();
        judge(&rules, Options::default(), name, &input, self, &mut done);
        done
    }
}

impl Beside for Files {
    fn names(&self, folder: &str) -> Option<Vec<String>> {
        let front = if folder.is_empty() {
            String::new()
        } else {
            format!("{folder}/")
        };
        let below = self.0.keys().filter_map(|path| path.strip_prefix(&front));
        let names = below.map(|rest| rest.split('/').next().unwrap_or(rest).to_owned());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names.dedup();
        Some(names)
    }

    fn presence(&self, path: &str) -> Presence {
        match self.0.get(path) {
            Some(bytes) => Presence::File(bytes.len() as u64),
            None if self.names(path).is_some_and(|names| !names.is_empty()) => Presence::Folder,
            None => Presence::Missing,
        }
    }

    fn open(&self, path: &str) -> Option<Box<dyn ReadAt>> {
        struct Owned(Vec<u8>);
        impl ReadAt for Owned {
            fn len(&self) -> u64 {
                self.0.len() as u64
            }
            fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
                self.0.as_slice().read_at(offset, buffer)
            }
        }
        let bytes = self.0.get(path)?.clone();
        Some(Box::new(Owned(bytes)))
    }
}

fn tensors(names: &[&str]) -> Vec<u8> {
    let entries: Vec<String> = names
        .iter()
        .enumerate()
        .map(|(at, name)| {
            format!(
                r#""{name}":{{"dtype":"F32","shape":[1],"data_offsets":[{},{}]}}"#,
                at * 4,
                at * 4 + 4
            )
        })
        .collect();
    let header = format!("{{{}}}", entries.join(","));
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(vec![0; names.len() * 4]);
    bytes
}

const INDEX: &str = "model.safetensors.index.json";
const ONE: &str = "model-00001-of-00002.safetensors";
const TWO: &str = "model-00002-of-00002.safetensors";

fn indexed(pairs: &[(&str, &str)], total: u64) -> Files {
    let map: Vec<String> = pairs
        .iter()
        .map(|(tensor, file)| format!("{tensor:?}:{file:?}"))
        .collect();
    let index = format!(
        r#"{{"metadata":{{"total_size":{total}}},"weight_map":{{{}}}}}"#,
        map.join(",")
    );
    Files::default().with(INDEX, index)
}

fn honest() -> Files {
    indexed(&[("a", ONE), ("b", TWO), ("c", TWO)], 12)
        .with(ONE, tensors(&["a"]))
        .with(TWO, tensors(&["b", "c"]))
}

fn rules_of(done: &Examination) -> Vec<(Rule, Weight)> {
    let found = done.findings.iter();
    found
        .map(|finding| (finding.rule, finding.weight))
        .collect()
}

#[test]
fn an_honest_set_with_an_index_has_nothing_to_tell() {
    let done = honest()
        .with("adapter_model.safetensors", tensors(&["lora"]))
        .with("model.fp16-00001-of-00001.safetensors", tensors(&["a"]))
        .with(
            "model.safetensors.index.fp16.json",
            r#"{"weight_map":{"a":"model.fp16-00001-of-00001.safetensors"}}"#,
        )
        .judge(INDEX);
    assert_eq!((rules_of(&done), done.gaps), (vec![], vec![]));
}

#[test]
fn a_part_that_is_named_and_not_there_is_a_gap() {
    let mut files = honest();
    files.0.remove(TWO);
    let done = files.judge(INDEX);
    assert_eq!(done.gaps.len(), 1);
    assert!(done.gaps[0].kind == GapKind::Missing && done.gaps[0].what.contains(TWO));
    assert_eq!(rules_of(&done), []);
}

#[test]
fn a_tensor_in_two_parts_or_in_a_part_that_nobody_names_is_a_disagreement() {
    let twice = honest().with(ONE, tensors(&["a", "c"])).judge(INDEX);
    assert!(rules_of(&twice).contains(&(Rule::ReadersDisagree, Weight::Unknown)));
    let beside = honest().with("zz.safetensors", tensors(&["c", "new"]));
    let told = beside.judge(INDEX);
    assert_eq!(rules_of(&told), [(Rule::ReadersDisagree, Weight::Unknown)]);
    let copy = honest().with("model.safetensors", tensors(&["a", "b", "c"]));
    assert_eq!(
        rules_of(&copy.judge(INDEX)),
        [(Rule::ReadersDisagree, Weight::Note)]
    );
}

#[test]
fn a_size_or_a_place_that_the_parts_contradict_is_noted() {
    let size = indexed(&[("a", ONE)], 999).with(ONE, tensors(&["a"]));
    assert_eq!(rules_of(&size.judge(INDEX)), [(Rule::Broken, Weight::Note)]);
    let place = indexed(&[("a", ONE), ("b", ONE)], 8)
        .with(ONE, tensors(&["a"]))
        .judge(INDEX);
    assert!(rules_of(&place).contains(&(Rule::Broken, Weight::Note)));
}

#[test]
fn indexes_that_are_none_are_let_be_and_take_no_time() {
    for text in [
        "",
        "[]",
        "{",
        r#"{"weight_map":3}"#,
        r#"{"weight_map":{"a":3}}"#,
        r#"{"weight_map":{"a":"../x"}}"#,
    ] {
        let done = Files::default().with(INDEX, text).judge(INDEX);
        assert_eq!((rules_of(&done), done.gaps), (vec![], vec![]), "{text}");
    }
    let done = Files::default().with(INDEX, many_of(30_000)).judge(INDEX);
    assert_eq!(done.gaps.len(), TOLD + 1);
    // One part that is there, so that the tensors are compared, and many that it shares with a second.
    let all: Vec<String> = (0..9_000).map(|n| format!("{n}")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let done = Files::default()
        .with(INDEX, many_of(100_000))
        .with("0", tensors(&all))
        .with("1", tensors(&all))
        .judge(INDEX);
    assert_eq!(done.gaps.len(), TOLD + 1);
    assert_eq!(done.findings.len(), TOLD);
}

/// An index of so many files with a tensor each.
fn many_of(count: usize) -> String {
    let map: Vec<String> = (0..count).map(|n| format!(r#""{n}":"{n}""#)).collect();
    format!(r#"{{"weight_map":{{{}}}}}"#, map.join(","))
}

#[test]
fn ranks_that_are_not_there_are_counted_and_the_first_are_named() {
    let state =
        b"\x80\x02}(U\x0cglobal_stepsK\x0aU\x0ddp_world_sizeM\xff\x0fU\x0dmp_world_sizeM\xff\x0fu.";
    let name = "mp_rank_00_model_states.pt";
    let files = (0..4095).fold(
        Files::default().with(name, checkpoint(state)),
        |files, rank| {
            files.with(
                &format!("zero_pp_rank_7_mp_rank_{rank:02}_optim_states.pt"),
                "",
            )
        },
    );
    let gaps = files.judge(name).gaps;
    assert_eq!(gaps.len(), TOLD + 1);
    assert!(gaps.iter().all(|gap| gap.kind == GapKind::Missing));
    assert!(
        gaps[0]
            .what
            .contains("zero_pp_rank_0_mp_rank_00_optim_states.pt")
    );
    let further = 4094 + 4095 * 4094 - TOLD;
    assert_eq!(
        gaps[TOLD].what,
        format!("{further} further parts are not there")
    );
    let front = "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt";
    let one = b"\x80\x02}(U\x0cglobal_stepsK\x0aU\x0ddp_world_sizeK\x02u.";
    let files = Files::default().with(name, checkpoint(one)).with(front, "");
    let gaps = files.judge(name).gaps;
    assert_eq!(gaps.len(), 1);
    assert!(gaps[0].what.contains(&front.replace("rank_0_", "rank_1_")));
}

/// `.metadata` as its pickle would be: objects with a path, an offset and a length.
fn metadata(items: &[(&str, i32, i32)]) -> Vec<u8> {
    let mut bytes = b"\x80\x02]".to_vec();
    for (path, offset, length) in items {
        bytes.extend(b"ctorch.distributed.checkpoint.filesystem\n_StorageInfo\n)\x81}(");
        let size = u8::try_from(path.len()).unwrap();
        bytes.extend(b"U\x0drelative_pathU");
        bytes.push(size);
        bytes.extend(path.as_bytes());
        bytes.extend(b"U\x06offsetJ");
        bytes.extend(offset.to_le_bytes());
        bytes.extend(b"U\x06lengthJ");
        bytes.extend(length.to_le_bytes());
        bytes.extend(b"uba");
    }
    bytes.push(b'.');
    bytes
}

const ITEMS: &str = "__0_0.distcp";

#[test]
fn ranges_of_a_distributed_checkpoint_stay_in_their_files_and_apart() {
    let judged = |items: &[(&str, i32, i32)]| {
        let files = Files::default()
            .with(".metadata", metadata(items))
            .with(ITEMS, vec![0; 100])
            .judge(".metadata");
        (rules_of(&files), files.gaps.len())
    };
    assert_eq!(judged(&[(ITEMS, 0, 50), (ITEMS, 50, 50)]), (vec![], 0));
    let unknown = |rule| (vec![(rule, Weight::Unknown)], 0);
    assert_eq!(judged(&[(ITEMS, 60, 50)]), unknown(Rule::Broken));
    assert_eq!(judged(&[(ITEMS, -5, 5)]), unknown(Rule::Broken));
    assert_eq!(
        judged(&[(ITEMS, 0, 50), (ITEMS, 40, 50)]),
        unknown(Rule::ReadersDisagree)
    );
    assert_eq!(judged(&[(ITEMS, 0, 100), ("__1_0.distcp", 0, 9)]).1, 1);
    for path in ["/etc/passwd", "../other/__0_0.distcp", "a/../../b"] {
        let (rules, _) = judged(&[(path, 0, 9)]);
        assert_eq!(rules[0], (Rule::PathEscapes, Weight::Dangerous), "{path}");
    }
}

#[test]
fn a_program_at_a_place_that_only_the_metadata_names_is_examined() {
    let program = b"\x80\x02cos\nsystem\nU\x0becho MARKER\x85R.";
    let mut bytes = vec![7; 200];
    bytes[100..100 + program.len()].copy_from_slice(program);
    let length = i32::try_from(program.len()).unwrap();
    let done = Files::default()
        .with(".metadata", metadata(&[(ITEMS, 100, length)]))
        .with(ITEMS, bytes)
        .judge(".metadata");
    assert!(rules_of(&done).contains(&(Rule::RunsCommand, Weight::Dangerous)));
    assert!(done.findings[0].place.members[0].contains("at 100"));
}

#[test]
fn items_that_nobody_names_are_noted() {
    let done = Files::default()
        .with(".metadata", metadata(&[(ITEMS, 0, 9)]))
        .with(ITEMS, vec![0; 9])
        .with("__7_0.distcp", vec![0; 9])
        .judge(".metadata");
    assert_eq!(rules_of(&done), [(Rule::Hidden, Weight::Note)]);
}

#[test]
fn a_tag_leads_to_a_folder_of_its_own_that_is_there_and_is_the_newest() {
    let world = |tag: &str| {
        Files::default()
            .with("zero_to_fp32.py", "")
            .with("global_step10/mp_rank_00_model_states.pt", "x")
            .with("global_step20/mp_rank_00_model_states.pt", "x")
            .with("latest", tag)
            .judge("latest")
    };
    assert_eq!(world("global_step20\n"), Examination::default());
    assert_eq!(
        rules_of(&world("global_step10")),
        [(Rule::Broken, Weight::Note)]
    );
    assert_eq!(world("global_step30").gaps[0].kind, GapKind::Missing);
    for tag in ["../elsewhere", "/tmp/x"] {
        assert_eq!(
            rules_of(&world(tag)),
            [(Rule::PathEscapes, Weight::Dangerous)]
        );
    }
    // The loader takes the space around it away, however much there is.
    let padded = format!("\n\n../elsewhere{}", "\n".repeat(6000));
    assert_eq!(
        rules_of(&world(&padded)),
        [(Rule::PathEscapes, Weight::Dangerous)]
    );
    let endless = format!("../elsewhere{}", " ".repeat(70_000));
    assert_eq!(world(&endless).gaps[0].kind, GapKind::NotRead);
    // A large file of that name that is no such text.
    assert_eq!(world(&"x".repeat(70_000)), Examination::default());
    // Other programs have a file of this name.
    let other = Files::default().with("latest", "step 5 of run 7");
    assert_eq!(other.judge("latest"), Examination::default());
}

#[test]
fn a_tracker_leads_to_an_iteration_that_is_there() {
    let world = |text: &str| {
        Files::default()
            .with("iter_0000010/mp_rank_00/model_optim_rng.pt", "x")
            .with("latest_checkpointed_iteration.txt", text)
            .judge("latest_checkpointed_iteration.txt")
    };
    assert_eq!(world("10\n"), Examination::default());
    assert_eq!(world("5").gaps[0].kind, GapKind::Missing);
    assert_eq!(rules_of(&world("../x")), [(Rule::Broken, Weight::Note)]);
}

/// The protocol, one object of torch's class, what `told` does to it, and the end.
fn item(told: &[u8]) -> Vec<u8> {
    let class = b"\x80\x02ctorch.distributed.checkpoint.filesystem\n_StorageInfo\n)\x81";
    [class, told, b"."].concat()
}

/// A dict of literal texts and numbers, as opcodes.
fn dict(pairs: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"}(".to_vec();
    for (key, value) in pairs {
        bytes.extend([b'U', u8::try_from(key.len()).unwrap()]);
        bytes.extend(key.as_bytes());
        bytes.extend(*value);
    }
    bytes.push(b'u');
    bytes
}

const PROGRAM: &[u8] = b"\x80\x02cos\nsystem\nU\x0becho MARKER\x85R.";

/// The rules that a `.metadata` makes of a file that shows numbers, and has a program at 100.
fn pointed(metadata: Vec<u8>) -> Vec<(Rule, Weight)> {
    let mut bytes = vec![7; 200];
    bytes[100..100 + PROGRAM.len()].copy_from_slice(PROGRAM);
    let files = Files::default().with(".metadata", metadata);
    let mut rules = rules_of(&files.with(ITEMS, bytes).judge(".metadata"));
    rules.sort();
    rules.dedup();
    rules
}

#[test]
fn a_range_is_the_one_that_the_finished_object_has_however_it_was_put_together() {
    let path: &[u8] = b"U\x0c__0_0.distcp";
    let size = [b'K', u8::try_from(PROGRAM.len()).unwrap()];
    let honest = [
        ("relative_path", path),
        ("offset", b"K\x00"),
        ("length", &size),
    ];
    let evil = (Rule::RunsCommand, Weight::Dangerous);
    let doubt = (Rule::ReadersDisagree, Weight::Unknown);
    let straight = [honest[0], ("offset", b"Kd"), honest[2]];
    assert_eq!(
        pointed(item(&[dict(&straight), b"b".into()].concat())),
        [evil]
    );
    let twice = [
        dict(&honest),
        b"b".into(),
        dict(&[("offset", b"Kd")]),
        b"b".into(),
    ];
    let again = [dict(&honest), b"(U\x06offsetKdu".into(), b"b".into()];
    let slots = [b"N".into(), dict(&straight), b"\x86b".into()];
    let split = [dict(&honest[..1]), dict(&straight[1..]), b"\x86b".into()];
    let filled = [
        b"ccollections\nOrderedDict\n)R".to_vec(),
        dict(&straight)[1..].to_vec(),
        b"b".into(),
    ];
    // The object has taken its state; then the dict is changed.
    let later = [dict(&straight)
        .iter()
        .copied()
        .chain(*b"q\x01bh\x01U\x06offsetK\x00s0")
        .collect()];
    for told in [&twice[..], &again, &slots, &split, &filled, &later] {
        let rules = pointed(item(&told.concat()));
        assert!(rules.contains(&evil) && rules.contains(&doubt), "{rules:?}");
    }
}

#[test]
fn a_place_of_an_item_that_is_no_literal_is_a_disagreement() {
    let path: &[u8] = b"U\x0c__0_0.distcp";
    let said = |path: &[u8], offset: &[u8], length: &[u8]| {
        let pairs = [
            ("relative_path", path),
            ("offset", offset),
            ("length", length),
        ];
        pointed(item(&[dict(&pairs), b"b".into()].concat()))
    };
    let doubt = [(Rule::ReadersDisagree, Weight::Unknown)];
    let scalar =
        b"cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nU\x02i8\x85RU\x08d\0\0\0\0\0\0\0\x86R";
    assert_eq!(said(path, b"K\x00", b"K\xc8"), []);
    assert_eq!(said(path, b"\x88", b"K\x05"), doubt);
    assert_eq!(said(path, scalar, b"K\x05"), doubt);
    assert_eq!(said(path, b"K\x00", b"N"), doubt);
    assert_eq!(said(path, b"\x8a\x09\0\0\0\0\0\0\0\0\x01", b"K\x05"), doubt);
    assert_eq!(said(b"C\x0c__0_0.distcp", b"K\x00", b"K\x05"), doubt);
    // Nothing is said, or the class is called with it.
    assert_eq!(pointed(item(b"")), doubt);
    let called = [
        b"\x80\x02ctorch.distributed.checkpoint.filesystem\n_StorageInfo\n(".as_slice(),
        path,
        b"KdK\x20tR.",
    ];
    assert_eq!(pointed(called.concat()), doubt);
    // Another object in the place of torch's, with what the loader asks for.
    let table =
        b"\x80\x02ctorch.distributed.checkpoint.metadata\nMetadata\n)\x81}U\x0cstorage_dataX";
    let table = [
        &table[..table.len() - 1],
        b"ccollections\nOrderedDict\n)Rsb.",
    ]
    .concat();
    assert_eq!(pointed(table), doubt);
}

#[test]
fn of_more_files_of_items_than_are_opened_the_rest_is_a_gap() {
    let names: Vec<String> = (0..=OPENED).map(|n| format!("__{n}_0.distcp")).collect();
    let items: Vec<(&str, i32, i32)> = names.iter().map(|name| (name.as_str(), 0, 9)).collect();
    let judged = |left_out: usize| {
        let files = Files::default().with(".metadata", metadata(&items));
        let there = names.iter().enumerate().filter(|(at, _)| *at != left_out);
        let files = there.fold(files, |files, (_, name)| files.with(name, vec![0; 9]));
        let gaps = files.judge(".metadata").gaps;
        gaps.into_iter().map(|gap| gap.kind).collect::<Vec<_>>()
    };
    assert_eq!(judged(usize::MAX), [GapKind::Limit]);
    assert_eq!(judged(3), [GapKind::Missing]);
    // The first that is too many is missing itself.
    let mut sorted = names.clone();
    sorted.sort();
    let more = [("zz.distcp", 0, 9)];
    let all: Vec<(&str, i32, i32)> = items.iter().copied().chain(more).collect();
    let files = Files::default().with(".metadata", metadata(&all));
    let there = sorted.iter().enumerate().filter(|(at, _)| *at != OPENED);
    let files = there.fold(files, |files, (_, name)| files.with(name, vec![0; 9]));
    let gaps = files.with("zz.distcp", vec![0; 9]).judge(".metadata").gaps;
    let kinds: Vec<GapKind> = gaps.iter().map(|gap| gap.kind).collect();
    assert_eq!(kinds, [GapKind::Limit, GapKind::Missing]);
}

/// Files of which some can be seen and not opened.
struct Closed<'f>(&'f Files, &'f str);

impl Beside for Closed<'_> {
    fn names(&self, folder: &str) -> Option<Vec<String>> {
        (folder != self.1).then(|| self.0.names(folder)).flatten()
    }

    fn presence(&self, path: &str) -> Presence {
        self.0.presence(path)
    }

    fn open(&self, path: &str) -> Option<Box<dyn ReadAt>> {
        self.0.open(path).filter(|_| path != self.1)
    }
}

#[test]
fn what_is_there_and_cannot_be_opened_is_a_gap() {
    let kinds = |files: &Files, name: &str, closed: &str| {
        let rules = Rules::builtin();
        let mut done = Examination::default();
        let input = files.0[name].as_slice();
        let beside = Closed(files, closed);
        judge(&rules, Options::default(), name, &input, &beside, &mut done);
        let kinds = done.gaps.iter().map(|gap| gap.kind);
        kinds.collect::<Vec<_>>()
    };
    let items = Files::default()
        .with(".metadata", metadata(&[(ITEMS, 0, 9)]))
        .with(ITEMS, vec![0; 9]);
    let iterations = Files::default()
        .with("iter_0000010/mp_rank_00/model_optim_rng.pt", "x")
        .with("latest_checkpointed_iteration.txt", "10");
    let tracker = "latest_checkpointed_iteration.txt";
    let rank = "iter_0000010/mp_rank_00/model_optim_rng.pt";
    for (files, name, closed) in [
        (&items, ".metadata", ITEMS),
        (&items, ".metadata", ""),
        (&honest(), INDEX, TWO),
        (&honest(), INDEX, ""),
        (
            &honest().with("zz.safetensors", ""),
            INDEX,
            "zz.safetensors",
        ),
        (&iterations, tracker, rank),
        (&iterations, tracker, ""),
        (&iterations, tracker, "iter_0000010"),
    ] {
        assert_eq!(
            kinds(files, name, closed),
            [GapKind::NotRead],
            "{name} {closed:?}"
        );
        assert_eq!(kinds(files, name, "-"), [], "{name}");
    }
}
