//! Bytecode in a description: what it looks up, as far as that can be read.
//!
//! Nobody can vouch for bytecode, so it is never silent. What it reaches for decides between unknown and dangerous: the
//! names of a lambda that scales pixels are those of the tensors' library, those of an attack are not.

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use domain::scan::{Rule, Weight};
use formats::marshal::{self, Code};
use formats::pyjson::Json;

use super::Judge;
use crate::calls;

/// As Python decodes: padding is optional.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The bytes of a base64 text, letters outside of the alphabet left out as Python does.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let in_alphabet = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let dense: Vec<u8> = text.bytes().filter(in_alphabet).collect();
    BASE64.decode(dense).ok().filter(|bytes| !bytes.is_empty())
}

impl Judge<'_, '_> {
    /// A lambda: a text, or a text first in a list, or under a key.
    pub(super) fn lambda(&mut self, config: Option<&Json>) {
        let texts = config.map(code_texts).unwrap_or_default();
        let codes: Vec<Code> = texts.iter().filter_map(|text| code(text)).collect();
        if codes.is_empty() {
            let why = "The model brings a function as bytecode, in a form that cannot be read.";
            return self.found(Rule::RunsCode, Weight::Dangerous, String::new(), why);
        }
        for code in &codes {
            self.bytecode(code);
        }
    }

    fn bytecode(&mut self, code: &Code) {
        let shown = format!("bytecode that uses {}", listed(&code.names));
        let mut reached = code
            .names
            .iter()
            .filter_map(|name| calls::hostile_identifier(name));
        let text = code.texts.iter().find(|text| calls::is_code(text));
        if let Some(rule) = reached.next() {
            let why =
                "The model brings a function as bytecode, and it reaches for more than tensors.";
            self.found(rule, Weight::Dangerous, shown, why);
        } else if let Some(text) = text {
            let why = "The model brings a function as bytecode, and a text in it is code as well.";
            self.found(Rule::RunsCode, Weight::Dangerous, text.clone(), why);
        } else {
            let why =
                "The model brings a function as bytecode: loading or running it runs that code.";
            self.found(Rule::RunsCode, Weight::Unknown, shown, why);
        }
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        return "no names".to_owned();
    }
    names
        .iter()
        .take(24)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}

/// The texts that may be code: the value itself, the first of a list, those of an object.
fn code_texts(config: &Json) -> Vec<&str> {
    match config {
        Json::Text(text) => vec![text],
        Json::List(items) => items.first().map(code_texts).unwrap_or_default(),
        Json::Object(pairs) => {
            let keys = ["code", "value", "config"];
            let wanted = pairs.iter().filter(|(key, _)| keys.contains(&key.as_str()));
            wanted
                .flat_map(|(_, value)| code_texts_once(value))
                .collect()
        }
        _ => Vec::new(),
    }
}

fn code_texts_once(value: &Json) -> Vec<&str> {
    match value {
        Json::Text(text) => vec![text],
        Json::List(items) => items.first().and_then(Json::text).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// Base64 since Keras 2.1; before that the bytes themselves, a letter each.
fn code(text: &str) -> Option<Code> {
    let read = decode(text).and_then(|bytes| marshal::read(&bytes));
    read.or_else(|| {
        let raw: Option<Vec<u8>> = text
            .chars()
            .map(|letter| u8::try_from(letter).ok())
            .collect();
        marshal::read(&raw?)
    })
}
