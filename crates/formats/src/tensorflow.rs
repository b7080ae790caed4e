//! TensorFlow's graphs: `SavedModel`, `MetaGraphDef`, `GraphDef`, and the objects that Keras hangs on them.
//!
//! A graph is nodes, each with the name of an operator; functions of its library are graphs as well. Every operator is
//! counted once over all of them. Of those that the caller asks about, the nodes are kept with the texts that they get:
//! attributes, and inputs as far as they are constants of the same graph.
//! <https://github.com/tensorflow/tensorflow/tree/master/tensorflow/core>

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::protobuf::{Field, Span, Wire, WireError};
use crate::protobuf_kind::Message;

/// The most operators, functions, nodes, assets and objects that are kept, each.
pub const MAX_RECORDS: usize = 2048;
/// The most names of functions, and constants a graph, that are remembered while reading.
const MAX_NAMES: usize = 1 << 15;
/// The longest text of a node that is kept, in bytes.
const MAX_TEXT: usize = 512;
/// The longest description of a Keras object that is kept, in bytes.
pub const MAX_METADATA: usize = 1 << 20;

/// What a file holds.
#[derive(Debug, Default)]
pub struct Graphs {
    /// Operators: how often, and where first.
    pub operators: BTreeMap<String, (u64, u64)>,
    /// Names of functions that it brings; using one looks like using an operator.
    pub functions: BTreeSet<String>,
    /// Nodes with operators that the caller asked about.
    pub nodes: Vec<Node>,
    /// Files beside the model that it names, with their offsets.
    pub assets: Vec<(String, u64)>,
    /// Descriptions of Keras objects: identifier and where its JSON stands.
    pub objects: Vec<(String, Span)>,
    /// Bytes of tensors within the file.
    pub raw_bytes: u64,
    /// Where reading ended, if not at the end.
    pub broken: Option<WireError>,
    /// Records beyond the limits.
    pub left_out: u64,
}

/// One node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its operator.
    pub operator: String,
    /// Text attributes.
    pub attributes: Vec<(String, String)>,
    /// Texts of those inputs that are constants, by position.
    pub inputs: Vec<Option<String>>,
    /// Where it stands.
    pub offset: u64,
}

/// Reads `wire` as a message of `kind`; nodes are kept where `wants` says so of their operator.
pub fn read(wire: &Wire<'_>, kind: Message, wants: &dyn Fn(&str) -> bool) -> Graphs {
    let mut reader = Reader {
        wire,
        wants,
        graphs: Graphs::default(),
    };
    let whole = wire.whole();
    let result = match kind {
        Message::SavedModel => reader.each(whole, 2, Reader::meta_graph),
        Message::MetaGraph => reader.meta_graph(whole),
        Message::KerasMetadata => reader.each(whole, 1, |reader, node| reader.object(node, 4, 5)),
        _ => reader.graph(whole),
    };
    if let Err(error) = result {
        reader.graphs.broken = Some(error);
    }
    reader.graphs
}

struct Reader<'w, 'a> {
    wire: &'w Wire<'a>,
    wants: &'w dyn Fn(&str) -> bool,
    graphs: Graphs,
}

/// Constants of one graph by the name of their node; what passes a value on has the name of its source.
type Constants = HashMap<String, Constant>;

enum Constant {
    Text(String),
    Like(String),
}

impl Reader<'_, '_> {
    fn each(
        &mut self,
        span: Span,
        number: u32,
        read: impl Fn(&mut Self, Span) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        for field in self.wire.fields(span) {
            let field = field?;
            if let Some(inside) = field.span().filter(|_| field.number == number) {
                read(self, inside)?;
            }
        }
        Ok(())
    }

    fn meta_graph(&mut self, span: Span) -> Result<(), WireError> {
        for field in self.wire.fields(span) {
            let field = field?;
            match (field.number, field.span()) {
                (2, Some(graph)) => self.graph(graph)?,
                (6, Some(asset)) => self.asset(asset, field.offset)?,
                (7, Some(objects)) => self.each(objects, 1, |reader, node| {
                    reader.each(node, 4, |reader, user| reader.object(user, 1, 3))
                })?,
                _ => {}
            }
        }
        Ok(())
    }

    fn asset(&mut self, span: Span, offset: u64) -> Result<(), WireError> {
        if let Some(name) = self.wire.find(span, 2) {
            let name = self.wire.text(name, MAX_TEXT)?;
            if self.graphs.assets.len() < MAX_RECORDS {
                self.graphs.assets.push((name, offset));
            } else {
                self.graphs.left_out += 1;
            }
        }
        Ok(())
    }

    /// An object with the text of its identifier and its description in these fields.
    fn object(&mut self, span: Span, identifier: u32, metadata: u32) -> Result<(), WireError> {
        let Some(text) = self
            .wire
            .find(span, metadata)
            .filter(|text| !text.is_empty())
        else {
            return Ok(());
        };
        let identifier = match self.wire.find(span, identifier) {
            Some(name) => self.wire.text(name, MAX_TEXT)?,
            None => String::new(),
        };
        if self.graphs.objects.len() < MAX_RECORDS {
            self.graphs.objects.push((identifier, text));
        } else {
            self.graphs.left_out += 1;
        }
        Ok(())
    }

    fn graph(&mut self, span: Span) -> Result<(), WireError> {
        self.each(span, 2, |reader, library| {
            reader.each(library, 1, Reader::function_name)
        })?;
        self.nodes(span, 1)?;
        self.each(span, 2, |reader, library| {
            reader.each(library, 1, |reader, function| reader.nodes(function, 3))
        })
    }

    fn function_name(&mut self, function: Span) -> Result<(), WireError> {
        let signature = self.wire.find(function, 1);
        if let Some(name) = signature.and_then(|signature| self.wire.find(signature, 1)) {
            let name = self.wire.text(name, MAX_TEXT)?;
            if self.graphs.functions.len() < MAX_NAMES {
                self.graphs.functions.insert(name);
            } else {
                self.graphs.left_out += 1;
            }
        }
        Ok(())
    }

    /// The nodes in field `number` of `span`; constants first, since they may stand behind their users.
    fn nodes(&mut self, span: Span, number: u32) -> Result<(), WireError> {
        let mut wanted = Vec::new();
        let mut constants = Constants::new();
        for field in self.wire.fields(span) {
            let field = field?;
            let Some(inside) = field.span().filter(|_| field.number == number) else {
                continue;
            };
            let operator = self.node(inside, field)?;
            let keeps = matches!(operator.as_str(), "Const" | "Identity" | "Placeholder");
            if keeps && constants.len() < MAX_NAMES {
                self.constant(inside, &operator, &mut constants)?;
            }
            if (self.wants)(&operator) {
                if wanted.len() < MAX_RECORDS {
                    wanted.push((operator, inside, field.offset));
                } else {
                    self.graphs.left_out += 1;
                }
            }
        }
        for (operator, inside, offset) in wanted {
            let mut node = self.detail(inside, &constants)?;
            (node.operator, node.offset) = (operator, offset);
            if self.graphs.nodes.len() < MAX_RECORDS {
                self.graphs.nodes.push(node);
            } else {
                self.graphs.left_out += 1;
            }
        }
        Ok(())
    }

    /// Counts the node and gives its operator.
    fn node(&mut self, span: Span, field: Field) -> Result<String, WireError> {
        let mut operator = String::new();
        for inner in self.wire.fields(span) {
            let inner = inner?;
            match (inner.number, inner.span()) {
                (2, Some(name)) => operator = self.wire.text(name, MAX_TEXT)?,
                (5, Some(attribute)) => {
                    let tensor = self.wire.find(attribute, 2);
                    let tensor = tensor.and_then(|value| self.wire.find(value, 8));
                    self.graphs.raw_bytes += tensor.map_or(0, Span::len);
                }
                _ => {}
            }
        }
        if let Some((count, _)) = self.graphs.operators.get_mut(&operator) {
            *count += 1;
        } else if self.graphs.operators.len() < MAX_RECORDS {
            let first = (1, field.offset);
            self.graphs.operators.insert(operator.clone(), first);
        } else {
            self.graphs.left_out += 1;
        }
        Ok(operator)
    }

    fn constant(
        &self,
        span: Span,
        operator: &str,
        constants: &mut Constants,
    ) -> Result<(), WireError> {
        let Some(name) = self.wire.find(span, 1) else {
            return Ok(());
        };
        let name = self.wire.text(name, MAX_TEXT)?;
        if operator == "Identity" {
            if let Some(source) = self.wire.find(span, 3) {
                let source = self.wire.text(source, MAX_TEXT)?;
                constants.insert(name, Constant::Like(source));
            }
            return Ok(());
        }
        let mut text = None;
        self.attributes(span, |wire, key, value| {
            if key == "value"
                && let Some(tensor) = wire.find(value, 8)
                && let Some(first) = wire.find(tensor, 8)
            {
                text = Some(wire.text(first, MAX_TEXT)?);
            }
            Ok(())
        })?;
        if let Some(text) = text {
            constants.insert(name, Constant::Text(text));
        }
        Ok(())
    }

    fn attributes(
        &self,
        span: Span,
        mut each: impl FnMut(&Wire<'_>, &str, Span) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        for field in self.wire.fields(span) {
            let field = field?;
            let Some(attribute) = field.span().filter(|_| field.number == 5) else {
                continue;
            };
            let (key, value) = (self.wire.find(attribute, 1), self.wire.find(attribute, 2));
            if let (Some(key), Some(value)) = (key, value) {
                let key = self.wire.text(key, MAX_TEXT)?;
                each(self.wire, &key, value)?;
            }
        }
        Ok(())
    }

    fn detail(&self, span: Span, constants: &Constants) -> Result<Node, WireError> {
        const MOST: usize = 16;
        let mut node = Node::default();
        for field in self.wire.fields(span) {
            let field = field?;
            match (field.number, field.span()) {
                (1, Some(name)) => node.name = self.wire.text(name, MAX_TEXT)?,
                (3, Some(input)) if node.inputs.len() < MOST => {
                    let input = self.wire.text(input, MAX_TEXT)?;
                    node.inputs.push(resolve(&input, constants));
                }
                _ => {}
            }
        }
        let mut texts = Vec::new();
        self.attributes(span, |wire, key, value| {
            for text in strings(wire, value)? {
                if texts.len() < MOST {
                    texts.push((key.to_owned(), text));
                }
            }
            Ok(())
        })?;
        node.attributes = texts;
        Ok(node)
    }
}

/// The strings of an `AttrValue`: its own and those of its list.
fn strings(wire: &Wire<'_>, value: Span) -> Result<Vec<String>, WireError> {
    const MOST: usize = 16;
    let mut texts = Vec::new();
    for field in wire.fields(value) {
        let field = field?;
        match (field.number, field.span()) {
            (2, Some(text)) => texts.push(wire.text(text, MAX_TEXT)?),
            (1, Some(list)) => {
                for item in wire.fields(list).take(MOST) {
                    let item = item?;
                    if let Some(text) = item.span().filter(|_| item.number == 2) {
                        texts.push(wire.text(text, MAX_TEXT)?);
                    }
                }
            }
            _ => {}
        }
    }
    Ok(texts)
}

/// The text behind the input `name` of a node, through a few nodes that pass values on.
fn resolve(name: &str, constants: &Constants) -> Option<String> {
    const HOPS: usize = 8;
    let mut name = name;
    for _ in 0..HOPS {
        let node = name.split(':').next().unwrap_or(name);
        match constants.get(node)? {
            Constant::Text(text) => return Some(text.clone()),
            Constant::Like(source) => name = source,
        }
    }
    None
}
