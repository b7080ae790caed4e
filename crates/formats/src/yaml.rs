//! YAML to a tree that keeps tags, with the size that its aliases would expand to.
//!
//! Tags are the whole point: they tell a loader which objects to make. They are resolved as `%TAG` says, so that a short
//! spelling does not hide a long one. Aliases stay aliases; what they would grow to is counted, not built.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, Tag};

/// Values that are read.
pub const MAX_NODES: usize = 100_000;
/// How deep values may lie in values.
pub const MAX_DEPTH: usize = 200;

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stream {
    /// The documents.
    pub documents: Vec<Node>,
    /// How many values there are when all aliases are followed.
    pub expanded: u64,
    /// Why reading ended early.
    pub fault: Option<Fault>,
}

/// Why reading ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No YAML from the character with this number on.
    #[error("it is not YAML from character {0} on")]
    Syntax(usize),
    /// More than is read, from the character with this number on.
    #[error("it has more or deeper values than are read, from character {0} on")]
    Limit(usize),
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Number of its first character.
    pub at: usize,
    /// Its tag in full, if it has one.
    pub tag: Option<String>,
    /// What it is.
    pub kind: Kind,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A text, number or the like, as written.
    Scalar(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in its order.
    Map(Vec<(Node, Node)>),
    /// What an anchor before it names.
    Alias,
}

impl Node {
    /// The value of a key that is plain text.
    pub fn get(&self, key: &str) -> Option<&Node> {
        let Kind::Map(pairs) = &self.kind else {
            return None;
        };
        let mut pairs = pairs.iter().rev();
        pairs
            .find(|(name, _)| name.text() == Some(key))
            .map(|(_, value)| value)
    }

    /// The text, if it is a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(text) => Some(text),
            _ => None,
        }
    }
}

/// A container that is being read.
struct Frame {
    node: Node,
    /// The key that waits for its value.
    key: Option<Node>,
    anchor: usize,
    expanded: u64,
}

#[derive(Default)]
struct Builder {
    stream: Stream,
    frames: Vec<Frame>,
    nodes: usize,
    anchors: HashMap<usize, u64>,
}

/// Reads all documents of a text.
pub fn parse(text: &str) -> Stream {
    let mut parser = Parser::new_from_str(text);
    let mut builder = Builder::default();
    while let Some(event) = parser.next_event() {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                builder.stream.fault = Some(Fault::Syntax(error.marker().index()));
                break;
            }
        };
        let at = span.start.index();
        if builder.nodes >= MAX_NODES || builder.frames.len() >= MAX_DEPTH {
            builder.stream.fault = Some(Fault::Limit(at));
            break;
        }
        builder.take(event, at);
    }
    while !builder.frames.is_empty() {
        builder.close();
    }
    builder.stream
}

impl Builder {
    fn take(&mut self, event: Event<'_>, at: usize) {
        match event {
            Event::Scalar(text, _, anchor, tag) => {
                let kind = Kind::Scalar(text.into_owned());
                self.anchors.insert(anchor, 1);
                self.place(node(at, tag.as_deref(), kind), 1);
            }
            Event::Alias(anchor) => {
                let size = self.anchors.get(&anchor).copied().unwrap_or(1);
                self.place(node(at, None, Kind::Alias), size);
            }
            Event::SequenceStart(anchor, tag) => {
                self.open(node(at, tag.as_deref(), Kind::List(Vec::new())), anchor);
            }
            Event::MappingStart(anchor, tag) => {
                self.open(node(at, tag.as_deref(), Kind::Map(Vec::new())), anchor);
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::StreamStart
            | Event::StreamEnd
            | Event::Nothing => {}
        }
    }

    fn open(&mut self, node: Node, anchor: usize) {
        self.frames.push(Frame {
            node,
            key: None,
            anchor,
            expanded: 1,
        });
    }

    fn close(&mut self) {
        if let Some(mut frame) = self.frames.pop() {
            self.anchors.insert(frame.anchor, frame.expanded);
            if let (Kind::Map(pairs), Some(key)) = (&mut frame.node.kind, frame.key.take()) {
                // Broken off behind a key.
                let kind = Kind::Scalar(String::new());
                let at = key.at;
                pairs.push((key, node(at, None, kind)));
            }
            self.place(frame.node, frame.expanded);
        }
    }

    fn place(&mut self, node: Node, size: u64) {
        self.nodes += 1;
        let Some(frame) = self.frames.last_mut() else {
            self.stream.expanded = self.stream.expanded.saturating_add(size);
            self.stream.documents.push(node);
            return;
        };
        frame.expanded = frame.expanded.saturating_add(size);
        match (&mut frame.node.kind, frame.key.take()) {
            (Kind::List(items), _) => items.push(node),
            (Kind::Map(pairs), Some(key)) => pairs.push((key, node)),
            _ => frame.key = Some(node),
        }
    }
}

fn node(at: usize, tag: Option<&Tag>, kind: Kind) -> Node {
    let tag = tag.map(|tag| format!("{}{}", tag.handle, tag.suffix));
    Node { at, tag, kind }
}
