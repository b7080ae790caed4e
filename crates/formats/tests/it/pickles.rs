//! The symbolic machine.

use taintline_formats::pickle::{Deed, Limits, Oddity, Opaque, Program, Value, run};

use crate::support::Asm;

fn follow(bytes: &[u8]) -> Program {
    run(bytes, &Limits::default())
}

/// The result of a program that reaches its STOP.
fn root(bytes: &[u8]) -> Option<Value> {
    let program = follow(bytes);
    program
        .root
        .filter(|_| program.complete)
        .map(|id| program.value(id).clone())
}

#[test]
fn every_scalar_of_every_protocol_has_its_value() {
    let known: [(&[u8], Value); 20] = [
        (b"N.", Value::None),
        (b"I01\n.", Value::Bool(true)),
        (b"I1\n.", Value::Int(1)),
        (b"I0x1f\n.", Value::Int(31)),
        (b"L0x1fL\n.", Value::Int(31)),
        (b"L-5L\n.", Value::Int(-5)),
        (b"J\xfe\xff\xff\xff.", Value::Int(-2)),
        (b"M\x01\x02.", Value::Int(513)),
        (b"\x8a\x01\xff.", Value::Int(-1)),
        (b"\x8b\x00\0\0\0.", Value::Int(0)),
        (b"F-1.5e3\n.", Value::Float(-1500.0)),
        (b"G\x3f\xf0\0\0\0\0\0\0.", Value::Float(1.0)),
        (b"S'a\\x41'\n.", Value::Text("aA".to_owned())),
        (b"U\x01\xff.", Value::Bytes(vec![0xff])),
        (b"V\\u00e9\n.", Value::Text("é".to_owned())),
        (b"\x8c\x02ok.", Value::Text("ok".to_owned())),
        (b"\x8d\x02\0\0\0\0\0\0\0ok.", Value::Text("ok".to_owned())),
        (b"C\x01a.", Value::Bytes(vec![b'a'])),
        (b"\x96\x01\0\0\0\0\0\0\0a.", Value::Bytes(vec![b'a'])),
        (b"\x97\x98.", Value::Opaque(Opaque::OutOfBand)),
    ];
    for (bytes, value) in known {
        assert_eq!(root(bytes), Some(value), "{}", bytes.escape_ascii());
    }
}

#[test]
fn every_way_to_call_is_a_call_that_was_not_made() {
    let system = b"cos\nsystem\n";
    let ways: [Vec<u8>; 6] = [
        [&system[..], b"(S'x'\ntR."].concat(),
        [&system[..], b"(S'x'\nt\x81."].concat(),
        [&system[..], b"(S'x'\nt}\x92."].concat(),
        b"(S'x'\nios\nsystem\n.".to_vec(),
        [b"(", &system[..], b"S'x'\no."].concat(),
        b"\x8c\x02os\x8c\x06system\x93(S'x'\ntR.".to_vec(),
    ];
    for bytes in ways {
        let program = follow(&bytes);
        let Value::Call(call) = program.value(program.root.unwrap()) else {
            panic!("{}", bytes.escape_ascii())
        };
        assert!(program.global(call.callable).unwrap().is("os", "system"));
        let args = program.items(call.args).unwrap();
        assert_eq!(program.value(args[0]), &Value::Text("x".to_owned()));
        let deeds: Vec<_> = program
            .effects
            .iter()
            .map(|effect| std::mem::discriminant(&effect.deed))
            .collect();
        let id = program.root.unwrap();
        assert_eq!(
            deeds,
            [Deed::Import(id), Deed::Call(id)].map(|deed| std::mem::discriminant(&deed))
        );
    }
}

#[test]
fn a_call_that_is_popped_away_stays_in_the_record() {
    let program = follow(b"N(cos\nsystem\nS'x'\no0.");
    assert_eq!(program.value(program.root.unwrap()), &Value::None);
    assert_eq!(
        program
            .effects
            .iter()
            .filter(|effect| matches!(effect.deed, Deed::Call(_)))
            .count(),
        1
    );
    assert_eq!(program.imports()[0].to_string(), "os.system");
}

#[test]
fn changing_something_imported_is_recorded() {
    let program = follow(b"ctorch.nn\nfunctional\n}S'dropout'\nNsb.");
    let target = program.root.unwrap();
    assert!(
        program
            .effects
            .iter()
            .any(|effect| matches!(effect.deed, Deed::Build { target: id, .. } if id == target))
    );
    let program = follow(b"ctorch\nconfig\nS'a'\nNs.");
    assert!(
        program
            .effects
            .iter()
            .any(|effect| matches!(effect.deed, Deed::SetItems(_)))
    );
}

#[test]
fn the_memo_shares_and_does_not_copy() {
    let program = follow(b"(]q\x00h\x00K\x01at.");
    let items = program.items(program.root.unwrap()).unwrap();
    assert_eq!(items[0], items[1]);
    assert_eq!(program.items(items[0]).unwrap().len(), 1);
    assert_eq!(
        root(b"\x8c\x01a\x940\x8c\x01b\x940h\x00."),
        Some(Value::Text("a".to_owned()))
    );
    assert_eq!(
        root(b"Nr\xff\xff\xff\x7f0j\xff\xff\xff\x7f."),
        Some(Value::None)
    );
}

#[test]
fn extensions_and_computed_names_are_unknown_and_said_so() {
    let program = follow(b"\x82\x07)R.");
    assert!(
        program
            .effects
            .iter()
            .any(|effect| effect.deed == Deed::Extension(7))
    );
    let program = follow(b"ca\nb\n)R\x8c\x01x\x93.");
    assert_eq!(
        program.value(program.root.unwrap()),
        &Value::Opaque(Opaque::ComputedGlobal)
    );
    assert_eq!(program.anomalies[0].oddity, Oddity::ComputedGlobal);
}

#[test]
fn every_break_has_its_place_and_its_kind() {
    let broken: [(&[u8], usize, Oddity); 12] = [
        (b"", 0, Oddity::Truncated),
        (b"NX\xff\xff\xff\xffab", 1, Oddity::Truncated),
        (
            b"N\x8d\xff\xff\xff\xff\xff\xff\xff\xff",
            1,
            Oddity::Truncated,
        ),
        (b"NI12", 1, Oddity::Truncated),
        (b"N\xff.", 1, Oddity::UnknownOpcode(0xff)),
        (b".", 0, Oddity::StackUnderflow),
        (b"N(a.", 2, Oddity::StackUnderflow),
        (b"NR.", 1, Oddity::StackUnderflow),
        (b"Nt.", 1, Oddity::NoMark),
        (b"Nh\x05.", 1, Oddity::UnknownMemo(5)),
        (b"NI1x\n.", 1, Oddity::Malformed),
        (b"(Nd.", 2, Oddity::OddItems),
    ];
    for (bytes, offset, oddity) in broken {
        let program = follow(bytes);
        assert!(!program.complete);
        let last = program.anomalies.last().unwrap();
        assert_eq!(
            (last.offset, &last.oddity),
            (offset, &oddity),
            "{}",
            bytes.escape_ascii()
        );
    }
}

#[test]
fn limits_stop_the_machine_and_have_a_name() {
    let limits = Limits {
        opcodes: 40,
        values: 5,
        memo: 2,
        records: 3,
        name_bytes: 8,
        ..Limits::default()
    };
    let roomy = Limits {
        values: 50,
        opcodes: 500,
        ..limits
    };
    let last = |bytes: &[u8], limits: &Limits| match run(bytes, limits)
        .anomalies
        .last()
        .map(|anomaly| anomaly.oddity.clone())
    {
        Some(Oddity::Limit { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    let stopped = |bytes: &[u8]| last(bytes, &limits);
    assert_eq!(stopped(&[b'('; 50]), "opcodes");
    assert_eq!(stopped(b"((]]]]]]]]t."), "values");
    assert_eq!(stopped(b"Nq\x00q\x01q\x02."), "memo entries");
    assert_eq!(last(b"Pa\nPa\nPa\nPa\n.", &roomy), "effects");
    assert_eq!(stopped(b"\x8c\x05hello2\x93."), "bytes of names");
}

#[test]
fn a_pickle_ends_at_its_stop() {
    let bytes = Asm::new().int(1).stop();
    let program = follow(&[&bytes[..], b"rest"].concat());
    assert_eq!((program.end, program.protocol), (bytes.len(), Some(2)));
}

#[test]
fn frames_that_lie_do_not_hide_what_they_hold() {
    let program = follow(b"\x80\x04\x95\xff\0\0\0\0\0\0\0cos\nsystem\n.");
    assert_eq!(program.imports()[0].to_string(), "os.system");
    assert_eq!(program.anomalies[0].oddity, Oddity::FramePastEnd);
}
