//! Core ML: what a model leaves to classes of the application or to other files.
//!
//! Everything else in the format is numbers for Apple's own operators. <https://apple.github.io/coremltools/mlmodel/>

use crate::protobuf::{Span, Wire, WireError};

/// The most records that are kept.
pub const MAX_RECORDS: usize = 1024;
/// How deep pipelines and programs are followed.
const MAX_DEPTH: usize = 24;
/// The longest text that is kept, in bytes.
const MAX_TEXT: usize = 1024;

/// Something that the model does not hold itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// A class of the application that computes a layer.
    CustomLayer(String),
    /// A class of the application that is the model.
    CustomModel(String),
    /// Another model: its file and the path where it is searched for.
    Linked(String, String),
    /// A file with numbers.
    Blob(String),
}

/// What a file holds.
#[derive(Debug, Default)]
pub struct Model {
    /// Needs with their offsets, each once.
    pub needs: Vec<(Need, u64)>,
    /// Where reading ended, if not at the end.
    pub broken: Option<WireError>,
    /// Whether something nests deeper than is followed.
    pub too_deep: bool,
    /// Records beyond the limit.
    pub left_out: u64,
}

/// Reads the whole of `wire`.
pub fn read(wire: &Wire<'_>) -> Model {
    let mut reader = Reader {
        wire,
        model: Model::default(),
    };
    if let Err(error) = reader.model(wire.whole(), 0) {
        reader.model.broken = Some(error);
    }
    reader.model
}

struct Reader<'w, 'a> {
    wire: &'w Wire<'a>,
    model: Model,
}

impl Reader<'_, '_> {
    fn model(&mut self, span: Span, depth: usize) -> Result<(), WireError> {
        if depth > MAX_DEPTH {
            self.model.too_deep = true;
            return Ok(());
        }
        for field in self.wire.fields(span) {
            let field = field?;
            let Some(inside) = field.span() else {
                continue;
            };
            match field.number {
                200 | 201 => self.pipelines(inside, depth)?,
                202 => self.pipeline(inside, depth)?,
                303 | 403 | 500 => self.network(inside)?,
                502 => self.program(inside, depth)?,
                555 => {
                    let name = self.string(inside, 10)?;
                    self.need(Need::CustomModel(name), field.offset);
                }
                556 => self.linked(inside, field.offset)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// A classifier or regressor around a pipeline.
    fn pipelines(&mut self, span: Span, depth: usize) -> Result<(), WireError> {
        match self.wire.find(span, 1) {
            Some(pipeline) => self.pipeline(pipeline, depth),
            None => Ok(()),
        }
    }

    fn pipeline(&mut self, span: Span, depth: usize) -> Result<(), WireError> {
        for field in self.wire.fields(span) {
            let field = field?;
            if let Some(model) = field.span().filter(|_| field.number == 1) {
                self.model(model, depth + 1)?;
            }
        }
        Ok(())
    }

    fn linked(&mut self, span: Span, offset: u64) -> Result<(), WireError> {
        for field in self.wire.fields(span) {
            let field = field?;
            if let Some(file) = field.span().filter(|_| field.number == 1) {
                let name = self.parameter(file, 1)?;
                let path = self.parameter(file, 2)?;
                self.need(Need::Linked(name, path), offset);
            }
        }
        Ok(())
    }

    /// A text with its default value, as the format wraps it.
    fn parameter(&self, span: Span, number: u32) -> Result<String, WireError> {
        match self.wire.find(span, number) {
            Some(parameter) => self.string(parameter, 1),
            None => Ok(String::new()),
        }
    }

    fn network(&mut self, span: Span) -> Result<(), WireError> {
        for field in self.wire.fields(span) {
            let field = field?;
            let Some(layer) = field.span().filter(|_| field.number == 1) else {
                continue;
            };
            if let Some(custom) = self.wire.find(layer, 500) {
                let name = self.string(custom, 10)?;
                self.need(Need::CustomLayer(name), field.offset);
            }
        }
        Ok(())
    }

    /// A program: files of numbers are named deep inside of its values. The schema nests through a dozen messages, so each
    /// message is walked and a value is known by its shape: field 5 with a text in 1 and a number in 2.
    fn program(&mut self, span: Span, depth: usize) -> Result<(), WireError> {
        if depth > MAX_DEPTH {
            return Ok(());
        }
        for field in self.wire.fields(span) {
            // What is no message breaks off; its bytes are a text or numbers.
            let Ok(field) = field else {
                return Ok(());
            };
            let Some(inside) = field.span().filter(|inside| inside.len() > 4) else {
                continue;
            };
            if field.number == 5
                && let Some(name) = self.blob(inside)
            {
                self.need(Need::Blob(name), field.offset);
                continue;
            }
            self.program(inside, depth + 1)?;
        }
        Ok(())
    }

    fn blob(&self, span: Span) -> Option<String> {
        let mut fields = self.wire.fields(span);
        let name = fields.next()?.ok().filter(|field| field.number == 1)?;
        let offset = fields.next();
        let numbered = match offset {
            Some(Ok(offset)) => offset.number == 2 && offset.varint().is_some(),
            Some(Err(_)) => false,
            None => true,
        };
        let name = self.wire.text(name.span()?, MAX_TEXT).ok()?;
        let path = name.contains('/') && !name.chars().any(char::is_control);
        (numbered && fields.next().is_none() && path).then_some(name)
    }

    fn string(&self, span: Span, number: u32) -> Result<String, WireError> {
        match self.wire.find(span, number) {
            Some(text) => self.wire.text(text, MAX_TEXT),
            None => Ok(String::new()),
        }
    }

    fn need(&mut self, need: Need, offset: u64) {
        if self.model.needs.iter().any(|(known, _)| *known == need) {
            return;
        }
        if self.model.needs.len() < MAX_RECORDS {
            self.model.needs.push((need, offset));
        } else {
            self.model.left_out += 1;
        }
    }
}
