//! A pickle shown to a person: its opcodes, its values, what it would do.

use taintline_formats::pickle::{Limits, Line, decompile, disassemble, expression, run};

fn shown(bytes: &[u8]) -> String {
    let program = run(bytes, &Limits::default());
    program
        .root
        .map_or_else(String::new, |root| expression(&program, root, 2000))
}

fn lines(bytes: &[u8]) -> Vec<String> {
    let program = run(bytes, &Limits::default());
    decompile(&program)
        .map(|line| format!("{} {}", line.offset, line.text))
        .collect()
}

#[test]
fn values_and_calls_look_like_python() {
    let known: [(&[u8], &str); 14] = [
        (
            b"cos\nsystem\n(S'echo MARKER'\ntR.",
            "os.system('echo MARKER')",
        ),
        (b"(K\x01NI01\nF1.5\nt.", "(1, None, True, 1.5)"),
        (b"K\x01\x85.", "(1,)"),
        (b"}(S'a'\n](K\x01K\x02eu.", "{'a': [1, 2]}"),
        (b"(K\x01\x91.", "frozenset({1})"),
        (b"\x8f.", "set()"),
        (b"C\x03a\x00'.", "b\"a\\x00'\""),
        (
            b"V\\u001b[31m\\u202e\\ud800\n.",
            "'\\x1b[31m\\u202e\\ud800'",
        ),
        (
            b"ca\nB\n)\x81}S'x'\nK\x01sb.",
            "a.B.__new__(a.B).__dict__.update({'x': 1})",
        ),
        (b"ca\nB\n)RK\x01b.", "a.B().__setstate__(1)"),
        (b"ca\nB\n)R(K\x01K\x02u.", "a.B().update({1: 2})"),
        (b"ca b\nc;d\n.", "getattr(import_module('a b'), 'c;d')"),
        (b"\x82\x07.", "<extension 7>"),
        (
            b"(S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nK\x40tQ.",
            "<storage '0' torch.FloatStorage [64]>",
        ),
    ];
    for (bytes, text) in known {
        assert_eq!(shown(bytes), text, "{}", bytes.escape_ascii());
    }
}

#[test]
fn what_is_met_twice_has_a_name_and_a_cycle_ends() {
    assert_eq!(shown(b"]q\x00h\x00a."), "(v0 := [v0])");
    assert_eq!(shown(b"(](K\x01eq\x00h\x00t."), "((v0 := [1]), v0)");
}

#[test]
fn no_value_is_longer_than_its_budget_allows() {
    let mut bomb = b"]q\x00".to_vec();
    for level in 0..40u8 {
        bomb.extend([b']', b'q', level + 1, b'(', b'h', level, b'h', level, b'e']);
    }
    let wide = [
        b"](".to_vec(),
        b"S'some text'\n".repeat(5000),
        b"e.".to_vec(),
    ]
    .concat();
    let deep = [b"N".to_vec(), b"\x85".repeat(5000), b".".to_vec()].concat();
    let long = [
        b"X\x00\x00\x01\x00".to_vec(),
        b"y".repeat(65536),
        b".".to_vec(),
    ]
    .concat();
    for bytes in [[bomb, b".".to_vec()].concat(), wide, deep, long] {
        let program = run(&bytes, &Limits::default());
        let text = expression(&program, program.root.unwrap(), 500);
        assert!(text.len() < 1500, "{}", text.len());
        assert!(decompile(&program).all(|Line { text, .. }| text.len() < 2500));
    }
}

#[test]
fn a_program_is_listed_as_what_it_would_do() {
    assert_eq!(
        lines(b"\x80\x02c__builtin__\neval\nS'1'\n\x85Rq\x00}S'a'\nh\x00sb."),
        [
            "2 import builtins.eval  # written '__builtin__.eval'",
            "26 v3 = builtins.eval('1')",
            "38 v3.__dict__.update({'a': v3})",
            "39 return v3",
        ]
    );
    assert_eq!(
        lines(b"csys\nmodules\nS'os'\nNsN\xff"),
        [
            "0 import sys.modules",
            "20 sys.modules.update({'os': None})",
            "22 # byte 0xff is no opcode",
        ]
    );
}

#[test]
fn a_listing_has_every_opcode_by_its_name() {
    let bytes: &[u8] = b"\x80\x04\x95\x02\0\0\0\0\0\0\0cos\nsystem\n\x8c\x02\x1baG\x3f\xf0\0\0\0\0\0\0J\xff\xff\xff\xff.x";
    let mut listing = disassemble(&bytes, 0..bytes.len() as u64);
    let steps: Vec<String> = (&mut listing)
        .map(|step| step.unwrap().to_string())
        .collect();
    assert_eq!(
        steps,
        [
            "       0: PROTO 4",
            "       2: FRAME 2",
            "      11: GLOBAL 'os system'",
            "      22: SHORT_BINUNICODE '\\x1ba'",
            "      26: BINFLOAT 1.0",
            "      35: BININT -1",
            "      40: STOP",
        ]
    );
    assert_eq!(listing.position(), 41);
    let bytes: &[u8] = b"N\xff.";
    let steps: Vec<bool> = disassemble(&bytes, 0..3).map(|step| step.is_ok()).collect();
    assert_eq!(steps, [true, false]);
}
