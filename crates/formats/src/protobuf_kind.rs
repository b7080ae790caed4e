//! Which of the known messages a protocol buffer is; the encoding itself does not say.
//!
//! There is no magic, and fields may come in any order with unknown ones between them. So the top of the whole message is
//! walked and each schema asks for what only it has, one or two levels down. A text or random bytes pass none of them: a
//! text breaks off within a few fields, and the inner shape has to hold too. A message that breaks off after it showed what
//! it is, is still told as that, since a loader may say so as well.

use crate::ReadAt;
use crate::protobuf::{Span, Value, Wire};

/// A message that a loader of models takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Message {
    /// `onnx.ModelProto`.
    Onnx,
    /// `tensorflow.SavedModel`.
    SavedModel,
    /// `tensorflow.MetaGraphDef`.
    MetaGraph,
    /// `tensorflow.GraphDef`: a frozen graph.
    GraphDef,
    /// `keras` metadata beside a SavedModel.
    KerasMetadata,
    /// `CoreML.Specification.Model`.
    CoreMl,
    /// `paddle.framework.proto.ProgramDesc`.
    Paddle,
    /// `caffe.NetParameter`.
    Caffe,
    /// `sentencepiece.ModelProto`.
    SentencePiece,
    /// `tensorflow.FingerprintDef` beside a SavedModel.
    Fingerprint,
}

/// Whether a message is of a kind.
type Test = fn(&Top<'_, '_>) -> bool;

/// Fields of the top that are looked at.
const MAX_LOOK: usize = 100_000;
/// Items of a repeated field whose inside is looked at.
const MAX_ITEMS: usize = 64;

/// What `input` is, if it is a message of a known kind.
pub fn recognise(input: &dyn ReadAt) -> Option<Message> {
    let wire = Wire::new(input);
    let top = Top::look(&wire)?;
    let kinds: [(Message, Test); 10] = [
        (Message::Onnx, is_onnx),
        (Message::CoreMl, is_core_ml),
        (Message::SavedModel, is_saved_model),
        (Message::MetaGraph, is_meta_graph),
        (Message::GraphDef, is_graph),
        (Message::KerasMetadata, is_keras_metadata),
        (Message::SentencePiece, is_sentence_piece),
        (Message::Paddle, is_paddle),
        (Message::Caffe, is_caffe),
        (Message::Fingerprint, is_fingerprint),
    ];
    let mut known = kinds.into_iter().filter(|(_, is)| is(&top));
    known.next().map(|(kind, _)| kind)
}

/// The top level of a message.
struct Top<'w, 'a> {
    wire: &'w Wire<'a>,
    fields: Vec<(u32, Value)>,
    whole: bool,
}

impl<'w, 'a> Top<'w, 'a> {
    fn look(wire: &'w Wire<'a>) -> Option<Self> {
        let mut top = Self {
            wire,
            fields: Vec::new(),
            whole: true,
        };
        for field in wire.fields(wire.whole()).take(MAX_LOOK) {
            match field {
                Ok(field) => top.fields.push((field.number, field.value)),
                Err(_) => top.whole = false,
            }
        }
        (!top.fields.is_empty()).then_some(top)
    }

    fn spans(&self, number: u32) -> impl Iterator<Item = Span> {
        let fields = self.fields.iter();
        fields.filter_map(move |(found, value)| match value {
            Value::Bytes(span) if *found == number => Some(*span),
            _ => None,
        })
    }

    fn varint(&self, number: u32) -> Option<u64> {
        let mut fields = self.fields.iter();
        fields.find_map(|(found, value)| match value {
            Value::Varint(value) if *found == number => Some(*value),
            _ => None,
        })
    }

    fn only(&self, known: impl Fn(u32) -> bool) -> bool {
        self.fields.iter().all(|(number, _)| known(*number))
    }

    /// Whether one of the first items of field `number` satisfies `is`.
    fn any(&self, number: u32, is: impl Fn(Span) -> bool) -> bool {
        self.spans(number).take(MAX_ITEMS).any(is)
    }

    /// Whether field `number` of the message in `span` is a short printable text.
    fn word(&self, span: Span, number: u32) -> bool {
        let text = self.wire.find(span, number);
        text.is_some_and(|text| self.is_word(text))
    }

    fn is_word(&self, text: Span) -> bool {
        let bytes = self.wire.bytes(text, 512);
        bytes.is_ok_and(|bytes| {
            !bytes.is_empty() && bytes.iter().all(|byte| (0x21..0x7f).contains(byte))
        })
    }

    fn inside(&self, span: Span, number: u32, is: impl Fn(Span) -> bool) -> bool {
        let fields = self.wire.fields(span).map_while(Result::ok).take(MAX_LOOK);
        fields
            .filter(|field| field.number == number)
            .filter_map(crate::protobuf::Field::span)
            .take(MAX_ITEMS)
            .any(is)
    }

    /// A `NodeDef` of TensorFlow: name and operator.
    fn is_node(&self, span: Span) -> bool {
        self.word(span, 1) && self.word(span, 2)
    }

    /// A `GraphDef`: its first nodes, its functions or its versions say so.
    fn is_graph(&self, span: Span) -> bool {
        self.inside(span, 1, |node| self.is_node(node))
            || self.inside(span, 2, |library| self.is_library(library))
    }

    /// A `FunctionDefLibrary`: a function with a signature that has a name.
    fn is_library(&self, span: Span) -> bool {
        self.inside(span, 1, |function| {
            self.inside(function, 1, |signature| self.word(signature, 1))
                && self.inside(function, 3, |node| self.is_node(node))
        })
    }
}

fn is_onnx(top: &Top<'_, '_>) -> bool {
    let graph = |graph: Span| {
        top.inside(graph, 1, |node| top.word(node, 4))
            || top.inside(graph, 12, |value| top.word(value, 1))
            || top.inside(graph, 5, |tensor| top.wire.find(tensor, 9).is_some())
    };
    let opset = |opset: Span| {
        let mut fields = top.wire.fields(opset).map_while(Result::ok);
        fields.any(|field| field.number == 2 && field.varint().is_some())
    };
    let version = top.varint(1).is_some_and(|version| version < 1000);
    let function =
        |function: Span| top.word(function, 1) && top.inside(function, 7, |node| top.word(node, 4));
    (top.any(7, graph) && (version || top.any(8, opset))) || (top.any(25, function) && version)
}

fn is_saved_model(top: &Top<'_, '_>) -> bool {
    top.any(2, |meta| {
        top.inside(meta, 2, |graph| top.is_graph(graph))
            || (top.inside(meta, 1, |info| top.wire.find(info, 5).is_some())
                && top.varint(1).is_some())
    })
}

fn is_meta_graph(top: &Top<'_, '_>) -> bool {
    top.any(2, |graph| top.is_graph(graph))
        && top.only(|number| (1..=7).contains(&number))
        && !top.any(1, |node| top.is_node(node))
}

fn is_graph(top: &Top<'_, '_>) -> bool {
    top.any(1, |node| top.is_node(node)) || top.any(2, |library| top.is_library(library))
}

fn is_keras_metadata(top: &Top<'_, '_>) -> bool {
    top.any(1, |node| {
        top.word(node, 3) && top.word(node, 4) && top.wire.find(node, 5).is_some()
    })
}

fn is_core_ml(top: &Top<'_, '_>) -> bool {
    let version = top.varint(1).is_some_and(|version| version < 64);
    let named = |description: Span| {
        top.inside(description, 1, |feature| top.word(feature, 1))
            || top.inside(description, 10, |feature| top.word(feature, 1))
    };
    version
        && top.any(2, named)
        && top
            .fields
            .iter()
            .any(|(number, _)| (200..=3000).contains(number))
}

fn is_sentence_piece(top: &Top<'_, '_>) -> bool {
    top.any(1, |piece| {
        let mut fields = top.wire.fields(piece).map_while(Result::ok);
        top.wire.find(piece, 1).is_some()
            && fields.any(|field| field.number == 2 && matches!(field.value, Value::Fixed32(_)))
    })
}

fn is_paddle(top: &Top<'_, '_>) -> bool {
    top.any(1, |block| {
        top.inside(block, 4, |operator| top.word(operator, 3))
            || top.inside(block, 3, |variable| top.word(variable, 1))
    })
}

fn is_caffe(top: &Top<'_, '_>) -> bool {
    top.any(100, |layer| top.word(layer, 1) && top.word(layer, 2))
}

fn is_fingerprint(top: &Top<'_, '_>) -> bool {
    let numbers = top.fields.iter().filter(|(number, value)| {
        (1..=5).contains(number) && matches!(value, Value::Varint(_) | Value::Fixed64(_))
    });
    top.whole && numbers.count() >= 4 && top.only(|number| (1..=8).contains(&number))
}
