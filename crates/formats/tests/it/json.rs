//! JSON as Python reads it.

use proptest::prelude::*;
use taintline_formats::json_text::{self, Document, Node, Oddity};

fn read(text: &str) -> Document {
    json_text::read(&text.as_bytes(), |key| key == "auto_map").unwrap_or_default()
}

#[test]
fn what_python_reads_is_read() {
    let document = read(
        "\u{feff} {\"a\": [1, -2.5e3, NaN, -Infinity, true, null, \"x\\u0041\\n\"], \"b\": {}, \"a\": 2}",
    );
    assert!(document.complete);
    assert!(matches!(&document.oddities[..], [Oddity::DuplicateKey { key, .. }] if key == "a"));
    let root = document.root.unwrap();
    assert_eq!(root.get("a"), Some(&Node::Number(2.0)));
}

#[test]
fn what_is_no_json_says_where() {
    for (text, at) in [
        ("{\"a\": }", 6),
        ("[1,]", 3),
        ("{\"a\" 1}", 5),
        ("[1 2]", 3),
        ("'a'", 0),
        ("[1]x", 3),
    ] {
        let document = read(text);
        assert!(!document.complete, "{text}");
        let found = match document.oddities[..] {
            [Oddity::Syntax(at) | Oddity::Trailing(at)] => at,
            ref other => panic!("{text}: {other:?}"),
        };
        assert_eq!(found, at, "{text}");
    }
    assert!(matches!(
        read(&"[".repeat(100_000)).oddities[..],
        [Oddity::Depth(_)]
    ));
    assert!(!read("").complete && !read("{\"a\": \"").complete);
}

#[test]
fn what_is_asked_for_is_kept_behind_any_number_of_others() {
    let many: Vec<String> = (0..json_text::MAX_NODES + 10)
        .map(|n| format!("\"k{n}\": 1, "))
        .collect();
    let many = many.concat();
    let document = read(&format!(
        "{{{many} \"x\": {{\"y\": [{{\"auto_map\": {{\"a\": \"b\"}}}}]}}}}"
    ));
    assert!(document.complete && !document.cut);
    let [(key, node)] = &document.loose[..] else {
        panic!("one value was asked for")
    };
    assert_eq!(key, "auto_map");
    assert_eq!(node.get("a").and_then(Node::text), Some("b"));
}

proptest! {
    #[test]
    fn json_of_another_writer_reads_the_same(numbers in proptest::collection::vec(any::<i32>(), 0..20), text in any::<String>()) {
        let value = serde_json::json!({"n": numbers, "t": text, "o": {"x": [[], {}]}});
        let document = read(&value.to_string());
        prop_assert!(document.complete && document.oddities.is_empty());
        let root = document.root.unwrap();
        if !text.chars().any(|c| u32::from(c) > 0xffff) {
            prop_assert_eq!(root.get("t").and_then(Node::text), Some(text.as_str()));
        }
    }

    #[test]
    fn any_text_is_answered(text in "[{}\\[\\]:,\"a1.\\\\u -]{0,200}") {
        read(&text);
    }
}
