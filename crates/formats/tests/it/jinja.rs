//! Templates: what Jinja2 takes is read to its end, and what it does not take stops with its place.

use proptest::prelude::*;
use taintline_formats::jinja::{self, FaultKind, Kind, Node};

/// Syntax that chat templates use, one a line; all of it is Jinja2.
const TAKEN: &[&str] = &[
    "{{ bos_token }}{% for message in messages %}{{ message['content'] | trim + eos_token }}{% endfor %}",
    "{%- if not loop.first or x is not none and y is defined %}a{%- elif z %}b{% else %}c{%- endif -%}",
    "{% for k, v in d.items() if v is not string recursive %}{{ loop(v) }}{% else %}none{% endfor %}",
    "{% set ns = namespace(a=1, b='x', **d) %}{% set ns.a = ns.a + 1 %}{% set a, b = 1, 2 %}",
    "{% set x %}text {{ y }}{% endset %}{% set x | upper %}a{% endset %}",
    "{% macro f(a, b=none) -%}{{ a ~ b }}{{ caller() }}{%- endmacro %}{% call(u) f(1, b=2) %}x{% endcall %}",
    "{{ {'a': {'b': 1}} }}{{ [1, 2,][::-1] }}{{ (1,) }}{{ () }}{{ x[1:] }}{{ x[-1] }}{{ x[:2, 3] }}",
    "{{ 'a' 'b' ~ \"c\\x41\" if x else 'd' }}{{ -x.y ** 2 }}{{ not x is divisibleby 3 }}{{ x is in [1] }}",
    "{{ raise_exception('no') if a > 1 <= b }}{{ x | selectattr('role', 'equalto', 'user') | list | length }}",
    "{% raw %}{{ not read }}{% endraw %}{# {{ nor this }} #}{% generation %}{{ x }}{% endgeneration %}",
    "{% with a = 1, b = 2 %}{{ a }}{% endwith %}{% filter upper | trim %}x{% endfilter %}",
    "{% block head %}x{% endblock head %}{% include 'a' ignore missing %}{% from 'b' import c as d with context %}",
    "{% do x.append(1) %}{% for i in range(3) %}{% if i %}{% continue %}{% endif %}{% break %}{% endfor %}",
    "{{ x.0.1 }}{{ 1_000 + 0x5f + 1.5e3 }}{{ 'a%}b' }}{% if 'a' not in x and (x | length) %}y{% endif %}",
    "{%+ if x %}{{+ y -}} {% endif +%}",
];

#[test]
fn what_jinja_takes_is_read_to_its_end() {
    for text in TAKEN {
        let read = jinja::parse(text);
        assert_eq!(read.fault, None, "{text}");
        assert!(!read.nodes.is_empty());
    }
}

#[test]
fn escapes_and_neighbouring_texts_make_one_text() {
    let read = jinja::parse(r"{{ '\x5f\137' '\u005f' }}");
    let [Node::Output(value)] = &read.nodes[..] else {
        panic!("one output")
    };
    assert_eq!(value.kind, Kind::Text("___".to_owned()));
}

#[test]
fn white_space_is_eaten_where_a_tag_asks_for_it() {
    let read = jinja::parse("a  {%- do 1 -%}  b  {{ 1 }}");
    let texts: Vec<&str> = read
        .nodes
        .iter()
        .filter_map(|node| match node {
            Node::Text { text, .. } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(texts, ["a", "b  "]);
}

#[test]
fn a_fault_has_a_place_and_what_stood_before_it_is_kept() {
    let bad = [
        ("{{ a }}{{ 1 + }}", 14, FaultKind::Syntax),
        ("{{ a }}{% what %}", 10, FaultKind::Tag),
        ("{{ a }}{{ 'x }}", 10, FaultKind::Token),
        ("{{ a }}{% raw %}x", 7, FaultKind::Token),
        ("{{ a }}{% endif %}", 10, FaultKind::Tag),
    ];
    for (text, offset, kind) in bad {
        let read = jinja::parse(text);
        assert_eq!(read.nodes.len(), 1, "{text}");
        let fault = read.fault.unwrap();
        assert_eq!((fault.offset, fault.kind), (offset, kind), "{text}");
    }
}

#[test]
fn nesting_ends_with_a_fault() {
    let deep = [
        format!("{{{{ {}x }}}}", "(".repeat(100_000)),
        format!("{{{{ {}x }}}}", "not ".repeat(100_000)),
        format!("{{{{ {}x }}}}", "-".repeat(100_000)),
        format!("{{{{ x{} }}}}", ".a".repeat(100_000)),
        format!("{{{{ x{} }}}}", " + x".repeat(90_000)),
        format!("{{{{ x{} }}}}", "|a".repeat(90_000)),
        format!("{{{{ x{} }}}}", " if x else x".repeat(30_000)),
        "{% if x %}".repeat(30_000),
        "{% raw %}".repeat(100_000),
    ];
    for text in deep {
        assert!(jinja::parse(&text).fault.is_some(), "{}", &text[..20]);
    }
}

proptest! {
    #[test]
    fn any_text_is_answered(parts in proptest::collection::vec(
        prop_oneof![
            proptest::sample::select(TAKEN.to_vec()).prop_map(str::to_owned),
            "[{}%#()\\[\\]|.,'\"a-z0-9 =~+*-]{0,12}",
        ], 0..8), cut in 0_usize..300) {
        let mut text = parts.concat();
        let mut end = cut.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        jinja::parse(&text.split_off(end));
        jinja::parse(&text);
    }
}
