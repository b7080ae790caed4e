//! However a program was written to fill memory, what it would do behind that is seen.

use taintline_formats::pickle::{Limits, Oddity, Program, Value, run};

/// Limits so small that every way to fill memory is short.
fn tight() -> Limits {
    Limits {
        values: 3000,
        memo: 2000,
        records: 500,
        stack: 1000,
        bytes: 400 << 10,
        kept: 4096,
        ..Limits::default()
    }
}

const PAYLOAD: &[u8] = b"cos\nsystem\n(S'echo MARKER'\ntR.";

fn hides_nothing(filling: &[u8]) -> Program {
    let program = run(&[b"\x80\x02", filling, PAYLOAD].concat(), &tight());
    let shown = filling[..filling.len().min(60)].escape_ascii();
    assert!(program.complete, "{shown}: {:?}", program.anomalies.last());
    assert!(program.values().count() <= tight().values + 1);
    let imports: Vec<String> = program.imports().iter().map(ToString::to_string).collect();
    assert!(imports.contains(&"os.system".to_owned()), "{shown}");
    let called = program.values().any(|value| {
        let Value::Call(call) = value else {
            return false;
        };
        let is_system = program
            .global(call.callable)
            .is_some_and(|it| it.is("os", "system"));
        let first = program.items(call.args).and_then(<[_]>::first);
        is_system && first.and_then(|id| program.text(*id)) == Some("echo MARKER")
    });
    assert!(called, "{shown}");
    program
}

fn counted(program: &Program) -> bool {
    program
        .anomalies
        .iter()
        .any(|anomaly| matches!(anomaly.oddity, Oddity::Limit { .. }))
}

#[test]
fn what_is_popped_away_costs_nothing() {
    let floats: Vec<u8> = (0..20_000u64)
        .flat_map(|number| [b"G".as_slice(), &number.to_le_bytes(), b"0"].concat())
        .collect();
    let lists = b"]0".repeat(20_000);
    let nested = b"]]a0".repeat(20_000);
    for filling in [floats, lists, nested, b"N0".repeat(20_000)] {
        assert!(!counted(&hides_nothing(&filling)));
    }
}

#[test]
fn no_filling_hides_what_stands_behind_it() {
    let numbered = |text: fn(u32) -> Vec<u8>| (0..20_000).flat_map(text).collect::<Vec<u8>>();
    let fillings = [
        b"N".repeat(20_000),
        b"]".repeat(20_000),
        b"(".repeat(20_000),
        b"(N".repeat(20_000),
        b"}q\x00".repeat(20_000),
        b"]\x94".repeat(20_000),
        b"]\x94(h\x00h\x00l\x940".repeat(2000),
        [b"N".as_slice(), &b"\x94".repeat(20_000)].concat(),
        numbered(|n| format!("X\u{5}\0\0\0{n:05}\u{1}").into_bytes())
            .into_iter()
            .map(|byte| if byte == 1 { 0x94 } else { byte })
            .collect(),
        numbered(|n| [b"J".as_slice(), &n.to_le_bytes()].concat()),
        numbered(|n| [b"J".as_slice(), &n.to_le_bytes(), b"\x85\x94"].concat()),
        numbered(|n| [b"]J".as_slice(), &n.to_le_bytes(), b"a\x94"].concat()),
        [
            b"]".to_vec(),
            numbered(|n| format!("F{n}.5\na").into_bytes()),
        ]
        .concat(),
        [
            b"}".to_vec(),
            numbered(|n| format!("F{n}.5\nI{n}\ns").into_bytes()),
        ]
        .concat(),
        numbered(|n| format!("cmod\nname{}\n0", n % 50).into_bytes()),
        [
            b"ccollections\nOrderedDict\n\x94".to_vec(),
            b"h\x00)R0".repeat(20_000),
        ]
        .concat(),
        b"Pa\n0".repeat(20_000),
    ];
    for filling in fillings {
        hides_nothing(&filling);
    }
}

#[test]
fn a_long_list_keeps_its_length_and_what_is_not_plain() {
    let floats = |count: u64| -> Vec<u8> {
        (0..count)
            .flat_map(|number| [b"G".as_slice(), &number.to_le_bytes()].concat())
            .collect()
    };
    let batches = [floats(900), b"ca\nb\n)Re(".to_vec()].concat().repeat(20);
    let bytes = [b"\x80\x02](".to_vec(), batches, b"e.".to_vec()].concat();
    let program = run(&bytes, &tight());
    assert!(program.complete && counted(&program));
    let root = program.root.unwrap();
    let items = program.items(root).unwrap();
    assert_eq!(items.len() as u64 + program.elided(root), 20 * 901);
    let calls = items
        .iter()
        .filter(|id| matches!(program.value(**id), Value::Call(_)));
    assert_eq!(calls.count(), 20);
}

#[test]
fn a_name_that_only_the_memo_knows_is_still_known() {
    let mut bytes = b"\x80\x04\x8c\x02os\x940\x8c\x06system\x940".to_vec();
    for number in 0..1500u32 {
        bytes.extend(
            [
                b"X\x28\0\0\0".as_slice(),
                &format!("{number:040}").into_bytes(),
                b"\x940",
            ]
            .concat(),
        );
    }
    for number in 0..6000u32 {
        bytes.extend(format!("cmodule\nname{}\n0", number % 7).into_bytes());
        bytes.extend([b"]J".as_slice(), &number.to_le_bytes(), b"a"].concat());
    }
    bytes.extend(b"h\x00h\x01\x93.");
    let program = run(&bytes, &tight());
    assert!(counted(&program));
    assert!(
        program
            .global(program.root.unwrap())
            .unwrap()
            .is("os", "system")
    );
}

#[test]
fn bytes_are_passed_by_and_known_by_their_place() {
    let size = 3 << 20;
    let filling = [
        b"B".as_slice(),
        &u32::try_from(size).unwrap().to_le_bytes(),
        &vec![b'x'; size],
        b"0",
    ]
    .concat();
    assert!(!counted(&hides_nothing(&filling)));
}

#[test]
fn the_same_bytes_give_the_same_program() {
    let bytes = [
        b"](".to_vec(),
        b"J\x01\x02\x03\x04".repeat(9000),
        b"e.".to_vec(),
    ]
    .concat();
    let (first, second) = (run(&bytes, &tight()), run(&bytes, &tight()));
    assert_eq!(first.effects, second.effects);
    assert_eq!(first.anomalies, second.anomalies);
    assert!(first.values().eq(second.values()));
}
