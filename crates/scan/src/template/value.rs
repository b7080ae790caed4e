//! What an expression of a template may give, as far as it follows from the template alone.

use std::collections::BTreeSet;

use super::words;

/// Values that a name may have at the same time; beyond that it counts as computed.
const MAX_CONSTANTS: usize = 8;
/// Characters of a text that is followed through computations. Names are short.
const MAX_TEXT: usize = 512;
/// Items of a list that is followed.
const MAX_ITEMS: usize = 128;

/// Where a value comes from and what it depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Marks(u16);

impl Marks {
    /// Messages, or one of them.
    pub(super) const MESSAGE: Self = Self(1);
    /// What a message says.
    pub(super) const CONTENT: Self = Self(2);
    /// A part of what a message says: a dict with a type, or a piece of text.
    pub(super) const PART: Self = Self(4);
    /// The date.
    pub(super) const DATE: Self = Self(8);
    /// It depends on whether a message says certain words.
    pub(super) const IF_WORDS: Self = Self(16);
    /// It depends on something else that a message says: marks, switches, length.
    pub(super) const IF_SAID: Self = Self(32);
    /// It depends on the date.
    pub(super) const IF_DATE: Self = Self(64);

    const TESTS: u16 = 16 | 32 | 64;

    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Only what it depends on.
    pub(super) fn tests(self) -> Self {
        Self(self.0 & Self::TESTS)
    }
}

/// A value that follows from the template alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Constant {
    Text(String),
    Int(i128),
    List(Vec<Constant>),
    /// A dict: its keys.
    Dict(Vec<Constant>),
}

/// What an expression may give.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Value {
    /// All that it may be, if that is known; empty when it is not.
    pub(super) constants: BTreeSet<Constant>,
    /// It is put together by the template, and what it becomes is not known.
    pub(super) built: bool,
    pub(super) marks: Marks,
    /// The expression of the message whose content it is.
    pub(super) origin: Option<String>,
}

impl Value {
    pub(super) fn unknown(marks: Marks) -> Self {
        Self {
            marks,
            ..Self::default()
        }
    }

    pub(super) fn constant(constant: Constant) -> Self {
        Self {
            constants: BTreeSet::from([constant]),
            ..Self::default()
        }
    }

    pub(super) fn text(text: &str) -> Self {
        if text.len() > MAX_TEXT {
            return Self::default();
        }
        Self::constant(Constant::Text(text.to_owned()))
    }

    pub(super) fn is_constant(&self) -> bool {
        !self.constants.is_empty()
    }

    /// The texts among what it may be.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.constants.iter().filter_map(|constant| match constant {
            Constant::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// The largest whole number that it may be.
    pub(super) fn int(&self) -> Option<i128> {
        let ints = self.constants.iter().filter_map(|constant| match constant {
            Constant::Int(value) => Some(*value),
            _ => None,
        });
        ints.max()
    }

    /// Either of both. Whether that grew is told by comparing.
    pub(super) fn or(mut self, other: &Self) -> Self {
        let known = self.is_constant() && other.is_constant();
        self.built |= other.built;
        self.marks = self.marks.with(other.marks);
        if self.origin != other.origin {
            self.origin = None;
        }
        if known {
            self.constants.extend(other.constants.iter().cloned());
            if self.constants.len() > MAX_CONSTANTS {
                self.constants.clear();
                self.built = true;
            }
        } else {
            // What the template says stays possible beside what it does not say.
            let other = other.constants.iter().cloned();
            self.constants.extend(other);
            self.constants = std::mem::take(&mut self.constants)
                .into_iter()
                .take(MAX_CONSTANTS)
                .collect();
        }
        self
    }

    /// What comes of computing with two values; `None` of `work` is a result that is not known.
    pub(super) fn combine(
        &self,
        other: &Self,
        work: impl Fn(&Constant, &Constant) -> Option<Constant>,
    ) -> Self {
        let marks = self.marks.with(other.marks);
        let mut constants = BTreeSet::new();
        let mut lost = !self.is_constant() || !other.is_constant();
        for left in &self.constants {
            for right in &other.constants {
                match work(left, right).filter(Constant::is_small) {
                    Some(made) if constants.len() < MAX_CONSTANTS => {
                        constants.insert(made);
                    }
                    _ => lost = true,
                }
            }
        }
        if constants.is_empty() {
            lost = true;
        }
        let text = |value: &Self| value.texts().next().is_some();
        // Pure data of the caller is not built by the template.
        let built = self.built || other.built || (lost && (text(self) || text(other)));
        Self {
            constants,
            built,
            marks,
            origin: self.origin.clone(),
        }
    }

    /// The same computation on one value.
    pub(super) fn map(&self, work: impl Fn(&Constant) -> Option<Constant>) -> Self {
        let one = Self::constant(Constant::Int(0));
        self.combine(&one, |left, _| work(left))
    }
}

impl Constant {
    fn is_small(&self) -> bool {
        match self {
            Self::Text(text) => text.len() <= MAX_TEXT,
            Self::Int(_) => true,
            Self::List(items) | Self::Dict(items) => {
                items.len() <= MAX_ITEMS && items.iter().all(Self::is_leaf)
            }
        }
    }

    fn is_leaf(&self) -> bool {
        match self {
            Self::Text(text) => text.len() <= MAX_TEXT,
            Self::Int(_) => true,
            Self::List(_) | Self::Dict(_) => false,
        }
    }

    /// As it is emitted.
    pub(super) fn emitted(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Int(value) => Some(value.to_string()),
            Self::List(_) | Self::Dict(_) => None,
        }
    }

    pub(super) fn words(&self) -> usize {
        match self {
            Self::Text(text) => words::words(text),
            Self::Int(_) => 0,
            Self::List(items) | Self::Dict(items) => items.iter().map(Self::words).sum(),
        }
    }

    /// Its items, where it is something with items.
    pub(super) fn items(&self) -> Vec<Constant> {
        match self {
            Self::Text(text) => text.chars().map(|c| Self::Text(c.into())).collect(),
            Self::Int(_) => Vec::new(),
            Self::List(items) | Self::Dict(items) => items.clone(),
        }
    }

    /// The items one behind the other.
    pub(super) fn joined(&self, between: &str) -> Option<Constant> {
        let items: Option<Vec<String>> = self.items().iter().map(Self::emitted).collect();
        Some(Self::Text(items?.join(between)))
    }

    pub(super) fn reversed(&self) -> Option<Constant> {
        match self {
            Self::Text(text) => Some(Self::Text(text.chars().rev().collect())),
            Self::List(items) => Some(Self::List(items.iter().rev().cloned().collect())),
            Self::Int(_) | Self::Dict(_) => None,
        }
    }

    /// `self[start:end:step]`.
    pub(super) fn slice(&self, parts: [Option<i128>; 3]) -> Option<Constant> {
        let items = self.items();
        let length = i128::try_from(items.len()).ok()?;
        let step = parts[2].unwrap_or(1);
        if step == 0 {
            return None;
        }
        let place = |part: i128| if part < 0 { part + length } else { part };
        let (low, high) = if step > 0 {
            (0, length)
        } else {
            (-1, length - 1)
        };
        let start = parts[0].map_or(if step > 0 { 0 } else { length - 1 }, |part| {
            place(part).clamp(low, high)
        });
        let end = parts[1].map_or(if step > 0 { length } else { -1 }, |part| {
            place(part).clamp(low, high)
        });
        let mut taken = Vec::new();
        let mut at = start;
        while (step > 0 && at < end) || (step < 0 && at > end) {
            taken.push(items.get(usize::try_from(at).ok()?)?.clone());
            at = at.checked_add(step)?;
        }
        match self {
            Self::Text(_) => Self::List(taken).joined(""),
            _ => Some(Self::List(taken)),
        }
    }

    /// `self[index]`.
    pub(super) fn item(&self, index: i128) -> Option<Constant> {
        let items = self.items();
        let length = i128::try_from(items.len()).ok()?;
        let index = if index < 0 { index + length } else { index };
        items.get(usize::try_from(index).ok()?).cloned()
    }
}

/// `form % values`, for the conversions that make text; `None` for what is not followed.
pub(super) fn percent(form: &str, values: &[Constant]) -> Option<Constant> {
    let mut out = String::new();
    let mut values = values.iter();
    let mut chars = form.chars();
    while let Some(found) = chars.next() {
        if found != '%' {
            out.push(found);
            continue;
        }
        match chars.next()? {
            '%' => out.push('%'),
            's' | 'd' | 'i' => out.push_str(&values.next()?.emitted()?),
            'c' => match values.next()? {
                Constant::Int(code) => out.push(char::from_u32(u32::try_from(*code).ok()?)?),
                other => out.push_str(&other.emitted()?),
            },
            _ => return None,
        }
    }
    Some(Constant::Text(out))
}

/// `form.format(values…)`, for plain fields.
pub(super) fn braces(form: &str, values: &[Constant]) -> Option<Constant> {
    let mut out = String::new();
    let mut next = 0;
    let mut rest = form;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let tail = &rest[at..];
        if let Some(tail) = tail.strip_prefix("{{").or_else(|| tail.strip_prefix("}}")) {
            out.push_str(&rest[at..=at]);
            rest = tail;
            continue;
        }
        let (field, tail) = tail.strip_prefix('{')?.split_once('}')?;
        let (field, spec) = field.split_once(':').unwrap_or((field, ""));
        let index = if field.is_empty() {
            next += 1;
            next - 1
        } else {
            field.parse().ok()?
        };
        match (values.get(index)?, spec) {
            (Constant::Int(code), "c") => {
                out.push(char::from_u32(u32::try_from(*code).ok()?)?);
            }
            (value, "" | "s" | "d") => out.push_str(&value.emitted()?),
            _ => return None,
        }
        rest = tail;
    }
    out.push_str(rest);
    Some(Constant::Text(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Constant {
        Constant::Text(text.to_owned())
    }

    #[test]
    fn slices_are_those_of_python() {
        let word = text("abcdef");
        let cases = [
            ([None, None, Some(-1)], "fedcba"),
            ([Some(1), Some(-1), None], "bcde"),
            ([Some(-2), None, None], "ef"),
            ([None, None, Some(2)], "ace"),
            ([Some(4), Some(1), Some(-1)], "edc"),
            ([Some(-99), Some(99), Some(i128::MAX)], "a"),
            ([Some(9), None, None], ""),
        ];
        for (parts, meant) in cases {
            assert_eq!(word.slice(parts), Some(text(meant)), "{parts:?}");
        }
        assert_eq!(word.slice([None, None, Some(0)]), None);
        assert_eq!(word.item(-1), Some(text("f")));
        assert_eq!(word.item(6), None);
    }

    #[test]
    fn formats_are_those_of_python() {
        let values = [text("cla"), Constant::Int(95)];
        assert_eq!(percent("__%sss%c_%%", &values), Some(text("__class__%")));
        assert_eq!(braces("{1:c}_{0}{{}}", &values), Some(text("__cla{}")));
        assert_eq!(braces("{}{}", &values), Some(text("cla95")));
        assert_eq!(braces("{0.x}", &values), None);
        assert_eq!(percent("%", &values), None);
    }
}
