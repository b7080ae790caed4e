//! Opcodes that import, call, set states or ask the loader: what a pickle does beside building plain values.

use super::arena::Flags;
use super::compat;
use super::input::{Input, Line};
use super::machine::{Flow, Machine, hash};
use super::value::{Call, Global, How, Id, Opaque, Value};
use super::{Deed, Oddity, Refusal};

/// The longest name, in bytes, that is kept. No module of any Python has one of a tenth of this.
pub(crate) const MAX_NAME: usize = 64 << 10;
/// The longest name that is kept when there were very many already.
pub(crate) const SHORT_NAME: usize = 256;

/// The limit that is told where names are cut to [`SHORT_NAME`].
pub(crate) const NAMES: &str = "bytes of names";

impl Machine {
    pub(super) fn global_lines(&mut self, input: &mut Input<'_>, ascii: bool) -> Flow<Id> {
        let line = input.line();
        let mut ended = line.ended;
        let module = self.name(&line, ascii)?;
        let mut name = String::new();
        if ended {
            let line = input.line();
            ended = line.ended;
            name = self.name(&line, ascii)?;
        }
        if module.is_empty() {
            return Err(if ended {
                Oddity::Refused(Refusal::NotAName)
            } else {
                Oddity::Truncated
            });
        }
        // `pickle.py` cuts the last byte of a line, whatever it is, and imports; that it ends there it finds out later.
        if !ended {
            self.note(Oddity::LoadersDisagree(Refusal::OpenLine));
        } else if name.is_empty() {
            self.note(Oddity::LoadersDisagree(Refusal::NotAName));
        }
        self.import(&module, &name)
    }

    fn name(&mut self, line: &Line<'_>, ascii: bool) -> Flow<String> {
        let end = line.head.len().saturating_sub(usize::from(!line.ended));
        let bytes = line.head.get(..end).unwrap_or_default();
        let bytes = if bytes.len() > MAX_NAME {
            self.say_limit(32, "bytes of one name", MAX_NAME as u64);
            let mut end = MAX_NAME;
            while bytes.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) && end > MAX_NAME - 4 {
                end -= 1;
            }
            bytes.get(..end).unwrap_or_default()
        } else {
            bytes
        };
        if ascii && !bytes.is_ascii() {
            return Err(Oddity::Refused(Refusal::NotAscii));
        }
        super::surrogate::decode_strict(bytes).ok_or(Oddity::NotUtf8)
    }

    /// The global of this name as the loader finds it, and the effect of importing it.
    pub(super) fn import(&mut self, module: &str, name: &str) -> Flow<Id> {
        let (mut module, mut name) = (module, name);
        let size = module.len() + name.len();
        if let Some(left) = self.name_bytes_left.checked_sub(size) {
            self.name_bytes_left = left;
        } else {
            self.say_limit(64, NAMES, self.limits.name_bytes as u64);
            module = module
                .get(..module.floor_char_boundary(SHORT_NAME))
                .unwrap_or_default();
            name = name
                .get(..name.floor_char_boundary(SHORT_NAME))
                .unwrap_or_default();
        }
        let old = self.protocol < 3;
        let literal = self.protocol < 4 && name.contains('.');
        let key = hash(hash(6, module.as_bytes()), name.as_bytes())
            ^ u64::from(old)
            ^ u64::from(literal) << 1;
        let (real_module, real_name) = if old {
            compat::resolve(module, name)
        } else {
            (module, name)
        };
        if let Some(id) = self.globals.get(&key).copied() {
            let known = self
                .program
                .global(id)
                .is_some_and(|global| global.is(real_module, real_name))
                && self
                    .program
                    .written(id)
                    .is_some_and(|global| global.is(module, name))
                && self.program.literal_dots(id) == literal;
            if known {
                self.effect(Deed::Import(id));
                return Ok(id);
            }
        }
        let global = Global {
            module: real_module.to_owned(),
            name: real_name.to_owned(),
        };
        let id = self.store(Value::Global(Box::new(global)), Flags::SHARED)?;
        self.globals.insert(key, id);
        if (real_module, real_name) != (module, name) {
            let written = Global {
                module: module.to_owned(),
                name: name.to_owned(),
            };
            self.program.beside.written.insert(id, written);
        }
        if literal {
            self.program.beside.literal.insert(id);
        }
        self.effect(Deed::Import(id));
        Ok(id)
    }

    pub(super) fn stack_global(&mut self) -> Flow {
        let (name, module) = (self.pop()?, self.pop()?);
        let not_text = |id: Id| {
            let encoded = self.program.is_encoded(id);
            self.is_plain(id) && !matches!(self.program.value(id), Value::Text(_)) && !encoded
        };
        if not_text(name) || not_text(module) {
            return Err(Oddity::Refused(Refusal::NotAName));
        }
        let texts = self.program.text(module).zip(self.program.text(name));
        let names = texts.map(|(module, name)| (module.to_owned(), name.to_owned()));
        let cut = self.program.whole(module).is_some() || self.program.whole(name).is_some();
        if cut {
            self.say_limit(32, "bytes of one name", MAX_NAME as u64);
        }
        let id = if let Some((module, name)) = names {
            if module.is_empty() {
                return Err(Oddity::Refused(Refusal::NotAName));
            }
            self.import(&module, &name)?
        } else {
            self.note(Oddity::ComputedGlobal);
            let id = self.store(Value::Opaque(Opaque::ComputedGlobal), Flags::SHARED)?;
            self.effect(Deed::Import(id));
            id
        };
        self.push(id);
        Ok(())
    }

    /// REDUCE, NEWOBJ, NEWOBJ_EX, INST, OBJ.
    pub(super) fn object(&mut self, opcode: u8, input: &mut Input<'_>) -> Flow {
        match opcode {
            b'R' | 0x81 => {
                let how = if opcode == b'R' {
                    How::Reduce
                } else {
                    How::New
                };
                let (args, callable) = (self.pop()?, self.pop()?);
                self.arguments(args)?;
                self.call(callable, args, None, how)
            }
            0x92 => {
                let (keywords, args, callable) = (self.pop()?, self.pop()?, self.pop()?);
                self.arguments(args)?;
                if self.is_plain(keywords)
                    && !matches!(self.program.value(keywords), Value::Dict(_))
                {
                    return Err(Oddity::Refused(Refusal::Keywords));
                }
                self.call(callable, args, Some(keywords), How::New)
            }
            b'i' => {
                // `pickle.py` imports before it looks for the mark.
                let class = self.global_lines(input, true)?;
                let height = self.pop_mark()?;
                self.pinned.push(class);
                let args = self.tuple(height);
                self.pinned.pop();
                self.call(class, args?, None, How::Instance)
            }
            _ => {
                let height = self.pop_mark()?;
                let class = self.stack.get(height).copied();
                let class = class.ok_or(Oddity::StackUnderflow)?;
                self.pinned.push(class);
                let args = self.tuple(height + 1);
                self.pinned.pop();
                self.stack.truncate(height);
                self.call(class, args?, None, How::Instance)
            }
        }
    }

    /// C takes a tuple; `pickle.py` writes `f(*args)`.
    fn arguments(&mut self, args: Id) -> Flow {
        match self.program.value(args) {
            Value::Tuple(_) => {}
            Value::List(_) | Value::Dict(_) | Value::Set(_) | Value::Text(_) | Value::Bytes(_) => {
                self.note(Oddity::LoadersDisagree(Refusal::Arguments));
            }
            _ if self.is_plain(args) => return Err(Oddity::Refused(Refusal::Arguments)),
            _ => {}
        }
        Ok(())
    }

    fn call(&mut self, callable: Id, args: Id, keywords: Option<Id>, how: How) -> Flow {
        if self.is_plain(callable) {
            return Err(Oddity::Refused(Refusal::NotCallable));
        }
        let call = Call {
            callable,
            args,
            keywords,
            how,
            states: Vec::new(),
            entries: Vec::new(),
            appended: Vec::new(),
        };
        for id in [callable, args] {
            self.share(id);
        }
        if let Some(id) = keywords {
            self.share(id);
        }
        let id = self.store(Value::Call(Box::new(call)), 0)?;
        self.push(id);
        self.effect(Deed::Call(id));
        self.follow_add_extension(callable, args);
        Ok(())
    }

    pub(super) fn build(&mut self) -> Flow {
        let state = self.pop()?;
        let target = self.top()?;
        self.share(state);
        if self.is_plain(target) {
            return self.build_plain(state);
        }
        if let Some(Value::Call(call)) = self.program.values.get_mut(target.index()) {
            call.states.push(state);
            self.heap += 5;
        }
        self.effect(Deed::Build { target, state });
        Ok(())
    }

    /// A plain value has neither `__setstate__` nor `__dict__`; only a state that says nothing passes.
    fn build_plain(&mut self, state: Id) -> Flow {
        let program = &self.program;
        let (state, slots) = match program.value(state) {
            Value::Tuple(items) => match items.as_slice() {
                [state, slots] => (*state, Some(*slots)),
                _ => (state, None),
            },
            _ => (state, None),
        };
        let empty_dict =
            |id: Id| matches!(program.value(id), Value::Dict(pairs) if pairs.is_empty());
        let is_none = |id: Id| matches!(program.value(id), Value::None);
        let known = self.is_plain(state) && slots.is_none_or(|slots| self.is_plain(slots));
        if !known || (is_none(state) && slots.is_none_or(empty_dict)) {
            return Ok(());
        }
        let falsy = |id: Id| match program.value(id) {
            Value::None | Value::Bool(false) | Value::Int(0) => true,
            Value::Float(value) => *value == 0.0,
            Value::Text(text) => text.is_empty(),
            Value::Bytes(bytes) => bytes.is_empty(),
            Value::List(items) | Value::Tuple(items) | Value::Set(items) => items.is_empty(),
            Value::Dict(pairs) => pairs.is_empty(),
            _ => false,
        };
        if falsy(state) && slots.is_none_or(falsy) {
            self.note(Oddity::LoadersDisagree(Refusal::NoState));
            return Ok(());
        }
        Err(Oddity::Refused(Refusal::NoState))
    }

    pub(super) fn persistent(&mut self, opcode: u8, input: &mut Input<'_>) -> Flow {
        let name = if opcode == b'Q' {
            self.pop()?
        } else {
            let line = input.line();
            let ended = line.ended;
            let text = self.name(&line, true)?;
            if !ended && text.is_empty() {
                return Err(Oddity::Truncated);
            }
            if !ended {
                self.note(Oddity::LoadersDisagree(Refusal::OpenLine));
            }
            self.store(Value::Text(text), Flags::VARIANT)?
        };
        self.share(name);
        let id = self.store(Value::Persistent(name), 0)?;
        self.push(id);
        self.effect(Deed::Persistent(id));
        Ok(())
    }

    pub(super) fn extension(&mut self, opcode: u8, input: &mut Input<'_>) -> Flow {
        let code = match opcode {
            0x82 => i32::from(input.byte()?),
            0x83 => i32::from(u16::from_le_bytes(input.array()?)),
            _ => i32::from_le_bytes(input.array()?),
        };
        let number = u32::from_le_bytes(code.to_le_bytes());
        let names = self.registry.get(i64::from(code));
        let names = names.map(|(module, name)| (module.to_owned(), name.to_owned()));
        if let Some((module, name)) = names {
            self.effect(Deed::Extension(number));
            let id = self.import(&module, &name)?;
            self.push(id);
            return Ok(());
        }
        if code <= 0 {
            return Err(Oddity::Refused(Refusal::ExtensionCode));
        }
        self.note(Oddity::Unregistered(number));
        self.effect(Deed::Extension(number));
        let id = self.store(Value::Opaque(Opaque::Extension(number)), Flags::SHARED)?;
        self.push(id);
        Ok(())
    }

    /// `copyreg.add_extension(module, name, code)`.
    fn follow_add_extension(&mut self, callable: Id, args: Id) {
        let is_it = self
            .program
            .global(callable)
            .is_some_and(|global| global.is("copyreg", "add_extension"));
        if !is_it {
            return;
        }
        let program = &self.program;
        if let Some([module, name, code]) = program.items(args)
            && let (Some(module), Some(name), Value::Int(code)) = (
                program.text(*module),
                program.text(*name),
                program.value(*code),
            )
        {
            self.registry.add(*code, module, name);
        }
    }

    /// Items that are set in the dicts behind the registry; they stand on the stack from `height` on.
    pub(super) fn register(&mut self, target: Id, height: usize) {
        let Some(global) = self
            .program
            .global(target)
            .filter(|it| it.module == "copyreg")
        else {
            return;
        };
        let cache = match global.name.as_str() {
            "_inverted_registry" => false,
            "_extension_cache" => true,
            _ => return,
        };
        let (pairs, _) = self
            .stack
            .get(height..)
            .unwrap_or_default()
            .as_chunks::<2>();
        for [key, value] in pairs {
            let Value::Int(code) = self.program.value(*key) else {
                continue;
            };
            let names = if cache {
                self.program.written(*value).cloned()
            } else {
                self.text_pair(*value)
            };
            if let Some(names) = names {
                self.registry.add(*code, &names.module, &names.name);
            }
        }
    }
}
