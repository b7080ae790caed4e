//! Python source: what Python takes is read, and what is not understood is noted and passed.

use proptest::prelude::*;
use taintline_formats::python::{self, Kind, StatementKind};

const HONEST: &str = r#"# -*- coding: utf-8 -*-
"""A model."""
from __future__ import annotations
import math, os.path as p
from typing import (
    Optional,
    Tuple,
)
from ..utils import *

@dataclass(frozen=True)
class Config(Base, metaclass=Meta):
    size: int = 4
    names: list[str] = field(default_factory=lambda: ["a", *b])
    def __init__(self, a, /, b: int = 1, *args, c=None, **kwargs) -> None:
        super().__init__(**kwargs)
        self.x, self.y = a, b
        if (n := len(args)) > 10 and not c or a is not None: pass
        elif a in (1, 2): return
        else:
            x = [i for i in range(3) if i % 2 for j in i]
        try:
            with open(a, "rb") as f, lock: data = f.read()
        except (OSError, ValueError) as error:
            raise RuntimeError(f"bad {a!r:>{b}} {d['k']} {{}}") from error
        finally:
            del x
        for k, (v, w) in d.items():
            y = x[1:, ..., None] @ w ** -2 if k else ~v
        while True: x += 1; break
        d = {**a, "k": 1, k: v for_ in z} if False else {k: v for k, v in z}
async def f(x): return await g(x)
lambda *a, k=1: (yield)
match = 1
match x:
    case [1, *rest] if rest: print(rest)
    case _: pass
print(x, file=sys.stderr, *args)
type = 3; t: int
x = """a
b""" r'\d' b'\x00' if 0 else 1e-5 + 0xff + 1_0j
"#;

#[test]
fn ordinary_source_is_read() {
    let source = HONEST.replace("k: v for_ in z}", "k: v}");
    let module = python::parse(&source);
    assert_eq!(
        module.fault,
        None,
        "{:?}",
        module.fault.map(|at| &source[at..])
    );
    assert_eq!(module.encoding.as_deref(), Some("utf-8"));
    let classes = module
        .body
        .iter()
        .filter(|s| matches!(s.kind, StatementKind::Class { .. }));
    assert_eq!(classes.count(), 1);
}

#[test]
fn a_line_that_is_not_understood_is_noted_and_the_next_one_is_read() {
    let module = python::parse("x = = 1\nimport os\nif a b:\n    import sys\nimport re\n");
    assert_eq!(module.fault, Some(4));
    let imports = module
        .body
        .iter()
        .filter(|s| matches!(s.kind, StatementKind::Import(_)));
    assert_eq!(imports.count(), 3);
}

#[test]
fn names_and_texts_are_those_of_python() {
    let module = python::parse("ｏs.𝓼ystem('\\x61' \"b\")");
    let StatementKind::Evaluate(values) = &module.body[0].kind else {
        panic!("an expression")
    };
    let Kind::Call(called, arguments) = &values[0].kind else {
        panic!("a call")
    };
    assert!(matches!(&called.kind, Kind::Attribute(_, name) if name == "system"));
    assert_eq!(arguments[0].1.kind, Kind::Text("ab".to_owned()));
}

#[test]
fn nesting_is_bounded() {
    for text in [
        "(".repeat(200_000),
        "-".repeat(200_000) + "1",
        "not ".repeat(100_000),
        format!("x{}", ".a".repeat(100_000)),
        format!("x{}", " + 1".repeat(100_000)),
        format!("x{}", "()".repeat(100_000)),
        "if x:\n ".repeat(50_000),
        "lambda:".repeat(50_000),
        "f'{".repeat(50_000),
        (0..2000)
            .map(|n| " ".repeat(n) + "if x:\n")
            .collect::<Vec<_>>()
            .concat(),
        "if x: pass\nelif y: pass\n".to_owned() + &"elif y: pass\n".repeat(20_000),
        "@x\n".repeat(100_000),
        "async ".repeat(100_000),
    ] {
        python::parse(&text);
    }
}

proptest! {
    #[test]
    fn any_text_is_answered(text in "[a-z(){}\\[\\]'\"fb:=.,;@# \n\t\\\\*!-]{0,200}", cut in 0_usize..1500) {
        python::parse(&text);
        let end = cut.min(HONEST.len());
        if HONEST.is_char_boundary(end) {
            python::parse(&format!("{}{text}", &HONEST[..end]));
        }
    }
}

#[test]
fn a_number_that_breaks_off_before_a_wide_character_is_a_number() {
    for text in [
        "4e\u{fffd}",
        "x = 1e\u{20ac}",
        "1e",
        "1e+\u{fffd}",
        "0xe\u{fffd}",
        "1e-5",
    ] {
        python::parse(text);
    }
}
