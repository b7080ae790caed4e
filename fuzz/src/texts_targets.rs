//! Text formats: parsers on any text, and the whole examination under names that choose a reader.

use std::sync::LazyLock;

use scan::{Options, Rules, examine};

/// Names that choose a reader where content alone does not.
const NAMES: [&str; 8] = [
    "config.json",
    "modeling_x.py",
    "x.pth",
    "chat_template.jinja",
    "model_config.yaml",
    "model.xml",
    "x.gguf",
    "x.bin",
];

/// [`formats::jinja::parse`].
pub fn jinja(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    let template = formats::jinja::parse(&text);
    assert!(
        template
            .fault
            .is_none_or(|fault| fault.offset <= text.len())
    );
    template.fault.is_none() && !template.nodes.is_empty()
}

/// [`formats::python::parse`].
pub fn python(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    let module = formats::python::parse(&text);
    assert!(module.fault.is_none_or(|fault| fault <= text.len()));
    module.fault.is_none() && !module.body.is_empty()
}

/// [`formats::gguf::read`].
pub fn gguf(data: &[u8]) -> bool {
    let Ok(file) = formats::gguf::read(&data) else {
        panic!("bytes in memory were asked for outside of the input");
    };
    assert!(file.tensor_bytes <= data.len() as u64);
    for (offset, size) in &file.holes {
        assert!(
            offset
                .checked_add(*size)
                .is_some_and(|end| end <= data.len() as u64)
        );
    }
    file.complete
}

/// [`formats::json_text::read`], [`formats::yaml::parse`] and [`formats::xml::read`].
pub fn markup(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    let Ok(document) = formats::json_text::read(&data, |key| key.len() == 1) else {
        panic!("bytes in memory were asked for outside of the input");
    };
    let stream = formats::yaml::parse(&text);
    let mut elements = 0_u32;
    let xml = formats::xml::read(&text, &mut |_| elements += 1);
    document.complete || stream.fault.is_none() || (xml.fault.is_none() && elements > 0)
}

/// [`scan::examine`]; the first byte chooses the name.
pub fn texts(data: &[u8]) -> bool {
    let Some((first, body)) = data.split_first() else {
        return false;
    };
    let name = NAMES[usize::from(*first) % NAMES.len()];
    static RULES: LazyLock<Rules> = LazyLock::new(Rules::builtin);
    let rules = &*RULES;
    let done = examine(rules, Options::default(), name, &body);
    let again = examine(rules, Options::default(), name, &body);
    assert_eq!(done, again, "two looks differ");
    assert!(done.findings.len() <= Options::default().records);
    !done.parts.is_empty()
}
