//! YAML with its tags.

use proptest::prelude::*;
use taintline_formats::yaml::{self, Fault, Kind};

#[test]
fn a_tag_is_known_however_it_is_spelt() {
    for text in [
        "!!python/object/apply:os.system [echo]",
        "!<tag:yaml.org,2002:python/object/apply:os.system> [echo]",
        "%TAG !p! tag:yaml.org,2002:python/\n---\n!p!object/apply:os.system [echo]",
        "%TAG ! tag:yaml.org,2002:\n---\n!python/object/apply:os.system [echo]",
        "!!python/object%2Fapply:os.system [echo]",
    ] {
        let stream = yaml::parse(text);
        assert_eq!(stream.fault, None, "{text}");
        let tag = stream.documents[0].tag.as_deref();
        assert_eq!(
            tag,
            Some("tag:yaml.org,2002:python/object/apply:os.system"),
            "{text}"
        );
    }
}

#[test]
fn mappings_sequences_and_documents_are_kept() {
    let stream = yaml::parse("a: 1\nb: [x, {c: d}]\n? e\n---\n- f\n");
    assert_eq!((stream.fault, stream.documents.len()), (None, 2));
    let first = &stream.documents[0];
    assert_eq!(first.get("a").and_then(|node| node.text()), Some("1"));
    assert!(
        matches!(first.get("b").map(|node| &node.kind), Some(Kind::List(items)) if items.len() == 2)
    );
}

#[test]
fn what_aliases_grow_to_is_counted_and_not_built() {
    let mut text = "a0: &a0 [x, x]\n".to_owned();
    for n in 1..60 {
        text.push_str(&format!("a{n}: &a{n} [*a{0}, *a{0}]\n", n - 1));
    }
    assert!(yaml::parse(&text).expanded > 1 << 50);
}

#[test]
fn what_is_no_yaml_or_too_much_of_it_says_where() {
    assert!(matches!(
        yaml::parse("a: [1\nb: }").fault,
        Some(Fault::Syntax(_))
    ));
    assert!(yaml::parse(&"[".repeat(100_000)).fault.is_some());
    assert!(matches!(
        yaml::parse(&"- a\n".repeat(200_000)).fault,
        Some(Fault::Limit(_))
    ));
}

proptest! {
    #[test]
    fn any_text_is_answered(text in "[a-c:!&*%|>\\[\\]{},?\"'#\n -]{0,150}") {
        yaml::parse(&text);
    }
}
