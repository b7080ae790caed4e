//! Sets of parts in memory: what an honest one tells (nothing), and what each contradiction does.

use std::collections::BTreeMap;

use domain::scan::{GapKind, Rule, Weight};

use super::*;

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
    fn names(&self, folder: &str) -> Vec<String> {
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
        names
    }

    fn presence(&self, path: &str) -> Presence {
        match self.0.get(path) {
            Some(bytes) => Presence::File(bytes.len() as u64),
            None if !self.names(path).is_empty() => Presence::Folder,
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
    let map: Vec<String> = (0..30_000).map(|n| format!(r#""{n}":"{n}""#)).collect();
    let many = format!(r#"{{"weight_map":{{{}}}}}"#, map.join(","));
    let done = Files::default().with(INDEX, many).judge(INDEX);
    assert_eq!(done.gaps.len(), TOLD + 1);
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
