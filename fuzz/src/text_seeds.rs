//! Seeds and bombs of the text formats.

pub(crate) const TEXT: &[&[u8]] = &[
    b"{{ ",
    b" }}",
    b"{% ",
    b" %}",
    b"{% for m in messages %}",
    b"{% if x %}",
    b"{% endif %}",
    b"{% endfor %}",
    b"|attr(",
    b"['__class__']",
    b" ~ ",
    b"{\"",
    b"\": ",
    b"[",
    b"]",
    b"auto_map",
    b"chat_template",
    b"import os\n",
    b"os.system(",
    b"exec(",
    b"def f():\n ",
    b"class A:\n ",
    b"f'{",
    b"\"\"\"",
    b"!!python/object/apply:",
    b"&a ",
    b"*a",
    b"<!ENTITY ",
    b"<!DOCTYPE ",
    b"%TAG ",
    b"_target_: ",
    b"GGUF\x03\0\0\0",
    b"\x08\0\0\0",
    b"\x09\0\0\0",
];

pub(crate) fn templates() -> Vec<Vec<u8>> {
    [
        "{% for m in messages %}{{ '<|' ~ m['role'] + '|>' + m.content | trim }}{% endfor %}",
        "{% set ns = namespace(a=1) %}{% if 'x' in messages[-1].content %}a{% elif b is none %}c{% else %}d{% endif %}",
        "{% macro f(a, b=1) %}{{ a[::-1] ~ 'b'.join(c) }}{% endmacro %}{{ f(1, b={'a': [1]}) if x else '' }}",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

pub(crate) fn sources() -> Vec<Vec<u8>> {
    [
        "import os\nfrom a import (b as c,)\n@d\nclass A(B, c=1):\n    def f(self, x: int = 1) -> None:\n        return f'{x!r}'\n",
        "if a: pass\nelif b:\n    x = [i for i in y if i]\nelse:\n    with open(a) as f, b: x += f.read()\nexec(x[::-1])\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

pub(crate) fn ggufs() -> Vec<Vec<u8>> {
    let mut file = b"GGUF\x03\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0".to_vec();
    file.extend(b"\x17\0\0\0\0\0\0\0tokenizer.chat_template\x08\0\0\0\x07\0\0\0\0\0\0\0{{ x }}");
    file.extend(b"\x01\0\0\0\0\0\0\0w\x01\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    file.resize(file.len().next_multiple_of(32) + 32, 0);
    vec![file]
}

pub(crate) fn markups() -> Vec<Vec<u8>> {
    [
        "{\"auto_map\": {\"a\": \"b.C\"}, \"n\": [1, -2.5e3, NaN, \"\\u0041\"]}",
        "a: &x [1, !!python/tuple [2]]\nb: *x\n_target_: os.system\n---\n? c\n: |\n  d\n",
        "<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'c'><!ENTITY d SYSTEM 'e'>]><a f='g'><h/></a>",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

pub(crate) fn named_texts() -> Vec<Vec<u8>> {
    let named = |name: u8, texts: Vec<Vec<u8>>| {
        let texts = texts.into_iter();
        texts.map(move |text| [vec![name], text].concat())
    };
    let json = markups().into_iter().take(1).collect();
    named(1, sources())
        .chain(named(0, json))
        .chain(named(3, templates()))
        .chain(named(4, markups()))
        .chain(named(5, markups()))
        .chain(named(6, ggufs()))
        .collect()
}

pub(crate) mod bombs {
    /// How often a heavy thing stands.
    const MANY: usize = 60_000;

    pub(crate) fn templates() -> Vec<Vec<u8>> {
        [
            "{% set a = a ~ b %}{% set b = a ~ a %}".repeat(MANY / 3),
            format!("{{{{ x{} }}}}", ".strip()".repeat(120)),
            "{% raw %}".repeat(MANY),
            "{% if 'x' in messages[0].content %}a b c{% endif %}".repeat(MANY / 4),
            "{{ ['a','b']|join ~ 'c'*3 }}".repeat(MANY / 2),
        ]
        .map(String::into_bytes)
        .to_vec()
    }

    pub(crate) fn sources() -> Vec<Vec<u8>> {
        let list = "x, ".repeat(MANY);
        [
            format!("x = [{list}]\nexec(x)\nopen(x)\n"),
            "x = x + x\nexec(x)\n".repeat(MANY),
            "def f():\n    f()\nf()\n".repeat(MANY),
            "os.system(a.b.c.d)\n".repeat(MANY),
            "(".repeat(1 << 20),
            "f'{f\"{a}\"}'\n".repeat(MANY),
            (0..90)
                .map(|depth| " ".repeat(depth) + "if x:\n")
                .collect::<Vec<_>>()
                .concat()
                .repeat(20),
        ]
        .map(String::into_bytes)
        .to_vec()
    }

    pub(crate) fn markups() -> Vec<Vec<u8>> {
        [
            "[".repeat(1 << 20),
            "{\"a\":".repeat(MANY),
            "- !!python/object/apply:os.system [x]\n".repeat(MANY / 2),
            "- é: !x é\n".repeat(MANY),
            "<a b='c'>".repeat(MANY),
            "- - - - ".repeat(MANY),
            format!("<!DOCTYPE a [{}]>", "<!ENTITY b '&b;&b;'>".repeat(MANY)),
            "a: b: ".repeat(MANY),
            "\"a\n".repeat(MANY),
            "? ".repeat(MANY),
            "&a ".repeat(MANY),
        ]
        .map(String::into_bytes)
        .to_vec()
    }

    pub(crate) fn named_texts() -> Vec<Vec<u8>> {
        let named = |name: u8, texts: Vec<Vec<u8>>| {
            let texts = texts.into_iter();
            texts.map(move |text| [vec![name], text].concat())
        };
        named(1, sources())
            .chain(named(3, templates()))
            .chain(named(0, markups()))
            .chain(named(4, markups()))
            .chain(named(5, markups()))
            .collect()
    }
}
