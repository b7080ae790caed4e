//! A small assembler for pickles: one method an opcode, and a few words for what pickles usually say.

/// A pickle in the making.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pickle {
    bytes: Vec<u8>,
}

/// Something that pushes one value.
pub(crate) type Push<'a> = &'a dyn Fn(Pickle) -> Pickle;

impl Pickle {
    /// Of protocol 4.
    pub(crate) fn new() -> Self {
        Self::of_protocol(4)
    }

    /// Of any protocol that is declared.
    pub(crate) fn of_protocol(protocol: u8) -> Self {
        Self::default().op(0x80).op(protocol)
    }

    pub(crate) fn op(mut self, opcode: u8) -> Self {
        self.bytes.push(opcode);
        self
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// `STOP`: the bytes.
    pub(crate) fn stop(self) -> Vec<u8> {
        self.op(b'.').bytes
    }

    pub(crate) fn none(self) -> Self {
        self.op(b'N')
    }

    pub(crate) fn int(self, value: i32) -> Self {
        self.op(b'J').raw(&value.to_le_bytes())
    }

    pub(crate) fn text(self, text: &str) -> Self {
        let size = u32::try_from(text.len()).unwrap_or(u32::MAX);
        self.op(b'X').raw(&size.to_le_bytes()).raw(text.as_bytes())
    }

    pub(crate) fn data(self, bytes: &[u8]) -> Self {
        let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.op(b'B').raw(&size.to_le_bytes()).raw(bytes)
    }

    /// `GLOBAL`.
    pub(crate) fn global(self, module: &str, name: &str) -> Self {
        self.op(b'c').raw(format!("{module}\n{name}\n").as_bytes())
    }

    /// `STACK_GLOBAL`.
    pub(crate) fn stack_global(self, module: &str, name: &str) -> Self {
        self.text(module).text(name).op(0x93)
    }

    /// What is pushed by `items` becomes a tuple.
    pub(crate) fn tuple(self, items: &[Push<'_>]) -> Self {
        let filled = items
            .iter()
            .fold(self.op(b'('), |pickle, item| item(pickle));
        filled.op(b't')
    }

    /// A tuple of texts.
    pub(crate) fn texts(self, texts: &[&str]) -> Self {
        let filled = texts
            .iter()
            .fold(self.op(b'('), |pickle, text| pickle.text(text));
        filled.op(b't')
    }

    /// What is pushed by pairs becomes a dict.
    pub(crate) fn dict(self, pairs: &[(&str, Push<'_>)]) -> Self {
        let filled = pairs
            .iter()
            .fold(self.op(b'}').op(b'('), |pickle, (key, value)| {
                value(pickle.text(key))
            });
        filled.op(b'u')
    }

    /// `REDUCE`: `module.name(*args)`.
    pub(crate) fn call(self, module: &str, name: &str, args: &[Push<'_>]) -> Self {
        self.global(module, name).tuple(args).op(b'R')
    }

    /// `NEWOBJ` without arguments.
    pub(crate) fn object(self, module: &str, name: &str) -> Self {
        self.global(module, name).op(b')').op(0x81)
    }

    /// `BUILD` with what is pushed.
    pub(crate) fn build(self, state: Push<'_>) -> Self {
        state(self).op(b'b')
    }

    pub(crate) fn pop(self) -> Self {
        self.op(b'0')
    }
}

/// Pushes a text.
pub(crate) fn text(text: &'static str) -> impl Fn(Pickle) -> Pickle {
    move |pickle| pickle.text(text)
}

/// Pushes a number.
pub(crate) fn int(value: i32) -> impl Fn(Pickle) -> Pickle {
    move |pickle| pickle.int(value)
}

/// Pushes an import.
pub(crate) fn global(module: &'static str, name: &'static str) -> impl Fn(Pickle) -> Pickle {
    move |pickle| pickle.global(module, name)
}
