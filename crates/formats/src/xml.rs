//! XML to elements and declared entities. Entities are never followed: how far they would grow, and which of them lie
//! outside of the file, is what matters about them.

use std::collections::BTreeMap;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// Elements that are read.
pub const MAX_ELEMENTS: u64 = 4_000_000;
/// Declared entities that are read.
const MAX_ENTITIES: usize = 1000;
/// Attributes of one element that are read.
const MAX_ATTRIBUTES: usize = 64;
/// Characters of one attribute that are kept.
const MAX_VALUE: usize = 400;

/// An element that opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// Offset behind it.
    pub offset: u64,
    /// Its name without a prefix.
    pub name: String,
    /// Its attributes as written, shortened.
    pub attributes: Vec<(String, String)>,
}

impl Element {
    /// The value of an attribute.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut all = self.attributes.iter();
        all.find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// What stands around the elements.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Document {
    /// Name of the outermost element.
    pub root: Option<String>,
    /// What lies outside of the file: entities and the declaration of the document itself.
    pub external: Vec<String>,
    /// Characters to which the largest entity grows.
    pub expanded: u64,
    /// Where reading ended early.
    pub fault: Option<u64>,
    /// Whether there were more elements than are read.
    pub cut: bool,
}

/// Reads a text and gives each element to `each`.
pub fn read(text: &str, each: &mut dyn FnMut(&Element)) -> Document {
    let mut reader = Reader::from_str(text);
    reader.config_mut().check_end_names = false;
    let mut document = Document::default();
    let mut elements = 0;
    loop {
        match reader.read_event() {
            Ok(Event::Start(start) | Event::Empty(start)) => {
                elements += 1;
                if elements > MAX_ELEMENTS {
                    document.cut = true;
                    return document;
                }
                let element = element(&start, reader.buffer_position());
                document.root.get_or_insert_with(|| element.name.clone());
                each(&element);
            }
            Ok(Event::DocType(content)) => doctype(&mut document, content.as_ref()),
            Ok(Event::Eof) => return document,
            Ok(_) => {}
            Err(_) => {
                document.fault = Some(reader.error_position());
                return document;
            }
        }
    }
}

fn element(start: &BytesStart<'_>, offset: u64) -> Element {
    let cut = |text: &str| text.chars().take(MAX_VALUE).collect::<String>();
    let mut attributes = start.attributes();
    let attributes = attributes.with_checks(false).flatten();
    Element {
        offset,
        name: cut(start.local_name().as_ref()),
        attributes: attributes
            .take(MAX_ATTRIBUTES)
            .map(|attribute| {
                (
                    cut(attribute.key.local_name().as_ref()),
                    cut(&attribute.value),
                )
            })
            .collect(),
    }
}

/// Entities of the internal subset, and what the declaration names.
fn doctype(document: &mut Document, content: &str) {
    let (head, subset) = content.split_once('[').unwrap_or((content, ""));
    let outside = |text: &str| {
        let system = text.find("SYSTEM").or_else(|| text.find("PUBLIC"))?;
        // The last quoted text is the address.
        text.get(system..)?
            .rsplit(['"', '\''])
            .nth(1)
            .map(str::to_owned)
    };
    document.external.extend(outside(head));
    let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
    for declared in subset.split("<!ENTITY").skip(1).take(MAX_ENTITIES) {
        let declared = declared.trim_start();
        let declared = declared.strip_prefix('%').unwrap_or(declared).trim_start();
        let (name, rest) = declared
            .split_once(char::is_whitespace)
            .unwrap_or((declared, ""));
        let rest = rest.trim_start();
        let quote = rest
            .chars()
            .next()
            .filter(|quote| matches!(quote, '"' | '\''));
        let Some(quote) = quote else {
            let rest = rest.split('>').next().unwrap_or_default();
            document.external.extend(outside(rest));
            continue;
        };
        let value = rest
            .get(1..)
            .and_then(|rest| rest.split(quote).next())
            .unwrap_or_default();
        let mut size = value.len() as u64;
        for used in value.split(['&', '%']).skip(1) {
            let used = used.split(';').next().unwrap_or_default();
            // Of an entity that follows, the size is not known: it is at least large.
            size = size.saturating_add(sizes.get(used).copied().unwrap_or(16));
        }
        document.expanded = document.expanded.max(size);
        sizes.entry(name.to_owned()).or_insert(size);
    }
}
