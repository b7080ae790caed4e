//! Expressions: what they may give, and what evaluating them reaches for.

use domain::scan::{Rule, Weight};
use formats::jinja::{Arguments, Expr, Kind};

use super::fold::{arithmetic, folded, methods};
use super::messages::{from_message, origin_of, what_is_asked};
use super::value::{Constant, Marks, Value};
use super::walk::{Judge, operators_own};
use super::{known, words};

/// Characters that no honest template makes with one operation.
const MAX_WIDTH: i128 = 1_000_000;
/// Steps of one round.
const MAX_STEPS: usize = 600_000;
/// Filters whose named argument is an attribute.
const BY_ATTRIBUTE: [&str; 11] = [
    "map",
    "selectattr",
    "rejectattr",
    "groupby",
    "sort",
    "unique",
    "sum",
    "min",
    "max",
    "join",
    "dictsort",
];

/// Methods of a text whose result says something about what is in it.
const ASKING: [&str; 14] = [
    "startswith",
    "endswith",
    "find",
    "rfind",
    "index",
    "rindex",
    "count",
    "split",
    "rsplit",
    "partition",
    "rpartition",
    "replace",
    "removeprefix",
    "removesuffix",
];

impl Judge {
    /// What `expr` may give. With `emit` its texts are on their way to the model.
    pub(super) fn evaluate(&mut self, expr: &Expr, emit: bool) -> Value {
        if self.steps > MAX_STEPS {
            let why = "it takes more steps than are followed";
            self.say(Rule::Bomb, Weight::Unknown, 0, why);
            return Value::default();
        }
        let given = self.value(expr, emit);
        // Values that may be many things are what costs.
        self.steps += 1 + 16 * given.constants.len();
        given
    }

    fn value(&mut self, expr: &Expr, emit: bool) -> Value {
        match &expr.kind {
            Kind::Bool(_) | Kind::None | Kind::Float(_) => Value::default(),
            Kind::Int(number) => Value::constant(Constant::Int(*number)),
            Kind::Text(text) => self.text(expr, text, emit),
            Kind::Name(name) => self.name(expr, name),
            Kind::Attribute(base, name) => self.attribute(expr, base, name),
            Kind::Item(base, index) => self.item(expr, base, index, emit),
            Kind::Slice(base, parts) => self.slice(base, parts, emit),
            Kind::Call(called, arguments) => self.call(expr, called, arguments, emit),
            Kind::Filter(base, name, arguments) => self.filter(expr, base, name, arguments, emit),
            Kind::Test(base, name, arguments) => self.test(base, name, arguments),
            Kind::Not(base) => {
                let given = self.evaluate(base, false);
                Value::unknown(given.marks.tests())
            }
            Kind::Sign(sign, base) => {
                let negative = *sign == '-';
                self.evaluate(base, false).map(|value| match value {
                    Constant::Int(number) if negative => Some(Constant::Int(-number)),
                    Constant::Int(number) => Some(Constant::Int(*number)),
                    _ => None,
                })
            }
            Kind::Binary(operator, left, right) => self.binary(expr, operator, left, right, emit),
            Kind::Compare(first, rest) => self.compare(first, rest),
            Kind::Choice {
                then,
                test,
                otherwise,
            } => {
                let tests = self.evaluate(test, false).marks.tests();
                let under = self.under;
                self.under = self.under.with(tests);
                let guards = self.guards.len();
                operators_own(test, &mut self.guards);
                let mut given = self.evaluate(then, emit);
                self.guards.truncate(guards);
                if let Some(otherwise) = otherwise {
                    given = given.or(&self.evaluate(otherwise, emit));
                }
                self.under = under;
                given.marks = given.marks.with(tests);
                given
            }
            Kind::List(items) => self.list(items, emit),
            Kind::Dict(pairs) => {
                let mut keys = Vec::new();
                let mut marks = Marks::default();
                for (key, value) in pairs {
                    let key = self.evaluate(key, false);
                    marks = marks.with(self.evaluate(value, emit).marks);
                    keys.extend(key.constants.into_iter().next());
                }
                Value {
                    marks,
                    ..Value::constant(Constant::Dict(keys))
                }
            }
        }
    }

    fn text(&mut self, expr: &Expr, text: &str, emit: bool) -> Value {
        if words::unseen(text) == words::Unseen::Message {
            let why = "this text has parts that people do not see and that the model reads";
            self.say(Rule::Hidden, Weight::Unknown, expr.offset, why);
        }
        if emit {
            self.speak(expr.offset, words::words(text));
        }
        Value::text(text)
    }

    fn name(&mut self, expr: &Expr, name: &str) -> Value {
        if let Some(held) = self.names.get(name) {
            return held.clone();
        }
        if known::is_messages(name) {
            return Value::unknown(Marks::MESSAGE);
        }
        if known::is_said(name) {
            return Value::unknown(Marks::CONTENT.with(Marks::MESSAGE));
        }
        if name.contains("__") {
            let why = format!("it names {name:?}, which is a part of Python's machinery");
            self.say(Rule::UnsafeTemplate, Weight::Dangerous, expr.offset, why);
        }
        Value::default()
    }

    fn list(&mut self, items: &[Expr], emit: bool) -> Value {
        let mut constants = Vec::new();
        let mut all = Value::default();
        let mut known = true;
        for item in items {
            let given = self.evaluate(item, emit);
            all.marks = all.marks.with(given.marks);
            all.built |= given.built || given.constants.len() > 1;
            known &= given.constants.len() == 1;
            constants.extend(given.constants.into_iter().next());
        }
        if known {
            all.constants.insert(Constant::List(constants));
        } else {
            all.built |= !constants.is_empty();
        }
        all
    }

    fn attribute(&mut self, expr: &Expr, base: &Expr, name: &str) -> Value {
        if let Kind::Name(base) = &base.kind {
            self.door(expr, base);
            if let Some(held) = self.names.get(&format!("{base}.{name}")) {
                return held.clone();
            }
        }
        let given = self.evaluate(base, false);
        self.reach(expr, name, false);
        self.of_message(&given, Some(name), base)
    }

    /// What a key of a message holds; what the operator's own message says is nobody's to fear.
    fn of_message(&self, given: &Value, key: Option<&str>, base: &Expr) -> Value {
        let mut taken = from_message(given, key, base);
        if self.is_own(&taken) {
            taken.marks = taken.marks.without(Marks::CONTENT).without(Marks::PART);
        }
        taken
    }

    /// Attributes of names that lead to a web server's machinery.
    fn door(&mut self, expr: &Expr, base: &str) {
        if known::is_door(base) && !self.names.contains_key(base) {
            let why =
                format!("it reaches into {base:?}, which no renderer of chat templates offers");
            self.say(Rule::UnsafeTemplate, Weight::Unknown, expr.offset, why);
        }
    }

    /// An attribute or key of this name is looked up.
    fn reach(&mut self, expr: &Expr, name: &str, called: bool) {
        if let Some(weight) = known::attribute(name) {
            let why = format!("it looks up {name:?}, which leads out of the template into Python");
            self.say(Rule::UnsafeTemplate, weight, expr.offset, why);
        } else if name == "format" && !called {
            let why = "it takes the method `format` without calling it, which evades the sandbox";
            self.say(Rule::UnsafeTemplate, Weight::Unknown, expr.offset, why);
        }
    }

    /// A name that is used as an attribute, from wherever it comes.
    fn reach_computed(&mut self, expr: &Expr, name: &Value) {
        let texts: Vec<String> = name.texts().map(str::to_owned).collect();
        for text in &texts {
            for part in text.split('.') {
                self.reach(expr, part, true);
            }
        }
        if !name.is_constant() || name.built {
            let why = "it looks up an attribute whose name is computed";
            self.say(Rule::ComputedName, Weight::Unknown, expr.offset, why);
        }
    }

    fn item(&mut self, expr: &Expr, base: &Expr, index: &Expr, emit: bool) -> Value {
        let key = self.evaluate(index, false);
        let chosen = key.marks.tests().with(self.asks(&key));
        let under = self.under;
        // Which of several texts is taken depends on the key.
        self.under = self.under.with(chosen);
        let given = self.evaluate(base, emit);
        self.under = under;
        if let Kind::Name(base) = &base.kind {
            self.door(expr, base);
        }
        let texts: Vec<String> = key.texts().map(str::to_owned).collect();
        for text in &texts {
            self.reach(expr, text, true);
        }
        if key.built && key.int().is_none() {
            let why = "it looks up a key that the template puts together";
            self.say(Rule::ComputedName, Weight::Unknown, expr.offset, why);
        }
        if let Some(index) = key.int() {
            let taken = given.map(|value| value.item(index));
            let part = given.marks.has(Marks::CONTENT) && !matches!(base.kind, Kind::Call(..));
            let origin = origin_of(expr, &given);
            let marks = if part {
                taken.marks.with(Marks::PART)
            } else {
                taken.marks
            };
            return Value {
                marks,
                origin,
                ..taken
            };
        }
        let mut taken = self.of_message(&given, texts.first().map(String::as_str), base);
        taken.marks = taken.marks.with(chosen);
        taken
    }

    /// A key that is what a message says asks for what it says.
    fn asks(&self, key: &Value) -> Marks {
        if key.marks.has(Marks::CONTENT) && !self.is_own(key) {
            Marks::IF_WORDS
        } else {
            Marks::default()
        }
    }

    fn is_own(&self, value: &Value) -> bool {
        let origin = value.origin.as_ref();
        origin.is_some_and(|origin| self.guards.contains(origin))
    }

    fn slice(&mut self, base: &Expr, parts: &[Option<Box<Expr>>; 3], emit: bool) -> Value {
        let mut numbers = [None; 3];
        let mut known = true;
        let mut tests = Marks::default();
        for (number, part) in numbers.iter_mut().zip(parts) {
            if let Some(part) = part {
                let given = self.evaluate(part, false);
                *number = given.int();
                known &= number.is_some() || matches!(part.kind, Kind::None);
                tests = tests.with(given.marks.tests());
            }
        }
        let under = self.under;
        self.under = self.under.with(tests);
        let given = self.evaluate(base, emit);
        self.under = under;
        let mut taken = given.map(|value| value.slice(numbers).filter(|_| known));
        taken.marks = taken.marks.with(tests);
        taken
    }

    fn binary(
        &mut self,
        expr: &Expr,
        operator: &str,
        left: &Expr,
        right: &Expr,
        emit: bool,
    ) -> Value {
        let first = self.evaluate(left, emit);
        let (under, guards) = (self.under, self.guards.len());
        if matches!(operator, "and" | "or" | "*") {
            self.under = self.under.with(first.marks.tests());
            if operator == "and" {
                operators_own(left, &mut self.guards);
            }
        }
        let second = self.evaluate(right, emit);
        self.guards.truncate(guards);
        self.under = under;
        match operator {
            "and" | "or" => first.or(&second),
            "~" => first.combine(&second, |left, right| {
                Some(Constant::Text(left.emitted()? + &right.emitted()?))
            }),
            _ => {
                self.large(expr, operator, &first, &second);
                if operator == "*" {
                    // `'text' * (… in content)`.
                    let under = self.under;
                    self.under = self.under.with(second.marks.tests());
                    let spoken = first.constants.iter().map(Constant::words).max();
                    self.speak(left.offset, spoken.unwrap_or(0));
                    self.under = under;
                }
                let operator = operator.to_owned();
                first.combine(&second, move |left, right| {
                    arithmetic(&operator, left, right)
                })
            }
        }
    }

    /// Results that take far more than what is written.
    fn large(&mut self, expr: &Expr, operator: &str, left: &Value, right: &Value) {
        let (first, second) = (left.int(), right.int());
        let long = |value: &Value| {
            value
                .constants
                .iter()
                .any(|c| !matches!(c, Constant::Int(_)))
        };
        let many = match operator {
            "*" if long(left) => second,
            "*" if long(right) => first,
            "**" => second.filter(|_| first.is_some_and(|base| base.abs() > 1)),
            _ => None,
        };
        if let Some(many) = many.filter(|many| *many > MAX_WIDTH) {
            let why = format!("it computes something {many} times as large as what is written");
            self.say(Rule::Bomb, Weight::Dangerous, expr.offset, why);
        }
    }

    fn compare(&mut self, first: &Expr, rest: &[(&'static str, Expr)]) -> Value {
        let mut marks = Marks::default();
        let mut left = self.evaluate(first, false);
        for (operator, right) in rest {
            let right = self.evaluate(right, false);
            marks = marks.with(self.tested(operator, &left, &right));
            left = right;
        }
        Value::unknown(marks)
    }

    /// On what the result of comparing two values depends.
    pub(super) fn tested(&self, operator: &str, left: &Value, right: &Value) -> Marks {
        let mut marks = left.marks.tests().with(right.marks.tests());
        let membership = operator.ends_with("in");
        for (subject, other, container) in [(left, right, false), (right, left, membership)] {
            if subject.marks.has(Marks::DATE) {
                marks = marks.with(Marks::IF_DATE);
            }
            let whole = subject.marks.has(Marks::CONTENT);
            let part = subject.marks.has(Marks::PART);
            if (whole || part) && !self.is_own(subject) && !(membership && !container && !whole) {
                marks = marks.with(what_is_asked(other, part || container));
            }
        }
        marks
    }

    fn test(&mut self, base: &Expr, name: &str, arguments: &Arguments) -> Value {
        let given = self.evaluate(base, false);
        let mut marks = given.marks.tests();
        for (_, argument) in arguments {
            let argument = self.evaluate(argument, false);
            let compares = matches!(
                name,
                "eq" | "==" | "equalto" | "ne" | "sameas" | "in" | "lt" | "le" | "gt" | "ge"
            );
            if compares {
                marks = marks.with(self.tested(name, &given, &argument));
            }
        }
        Value::unknown(marks)
    }

    fn filter(
        &mut self,
        expr: &Expr,
        base: &Expr,
        name: &str,
        arguments: &Arguments,
        emit: bool,
    ) -> Value {
        let given = self.evaluate(base, emit);
        let shown = emit && name != "replace";
        let values: Vec<(Option<&str>, Value)> = arguments
            .iter()
            .map(|(key, value)| (key.as_deref(), self.evaluate(value, shown)))
            .collect();
        let first = values.first().map(|(_, value)| value);
        if name == "attr" {
            let name = first.cloned().unwrap_or_default();
            self.reach_computed(expr, &name);
            if name.texts().any(|text| text.starts_with("format")) {
                let why = "it takes the method `format` through a filter, which evades the sandbox";
                self.say(Rule::UnsafeTemplate, Weight::Dangerous, expr.offset, why);
            }
            let text = name.texts().next().map(str::to_owned);
            return self.of_message(&given, text.as_deref(), base);
        }
        if BY_ATTRIBUTE.contains(&name) {
            self.by_attribute(expr, name, &values);
        }
        if name == "replace" {
            let [from, to] = [0, 1].map(|index| values.get(index).map(|(_, value)| value));
            self.rewrites(expr, &given, from, to);
        }
        let width = matches!(name, "center" | "indent" | "ljust" | "rjust" | "format");
        if width {
            self.width(expr, &given, values.iter().map(|(_, value)| value));
        }
        let picks = values.iter().any(|(key, value)| {
            let names = value
                .texts()
                .any(|text| text.split('.').any(known::is_text_key));
            names && (*key == Some("attribute") || name.ends_with("attr"))
        });
        let mut made = folded(name, &given, &values);
        for (_, value) in &values {
            made.marks = made.marks.with(value.marks.tests());
        }
        if picks && given.marks.has(Marks::MESSAGE) {
            if name.ends_with("attr") && values.len() > 2 {
                let other = values.last().map(|(_, value)| what_is_asked(value, false));
                made.marks = made.marks.with(other.unwrap_or_default());
            } else if !name.ends_with("attr") {
                made.marks = made.marks.with(Marks::CONTENT).without(Marks::MESSAGE);
            }
        }
        let whole = matches!(
            name,
            "string" | "tojson" | "join" | "pprint" | "e" | "escape"
        );
        if whole && given.marks.has(Marks::MESSAGE) {
            made.marks = made.marks.with(Marks::CONTENT).without(Marks::MESSAGE);
        }
        if matches!(name, "select" | "reject") && values.len() > 1 {
            let asked = values
                .last()
                .map(|(_, value)| self.tested("==", &given, value));
            made.marks = made.marks.with(asked.unwrap_or_default());
        }
        made
    }

    /// Filters that look up attributes by name, and `map` with the filter `attr`.
    fn by_attribute(&mut self, expr: &Expr, name: &str, values: &[(Option<&str>, Value)]) {
        for (index, (key, value)) in values.iter().enumerate() {
            let attribute = *key == Some("attribute")
                || (index == 0
                    && key.is_none()
                    && matches!(name, "selectattr" | "rejectattr" | "groupby"));
            if attribute && value.int().is_none() {
                self.reach_computed(expr, value);
            }
        }
        let Some((None, called)) = values.first() else {
            return;
        };
        if name != "map" {
            return;
        }
        if !called.is_constant() {
            let why = "it applies a filter whose name is computed";
            self.say(Rule::ComputedName, Weight::Unknown, expr.offset, why);
        }
        if called.texts().any(|text| text == "attr") {
            let name = values.get(1).map(|(_, value)| value.clone());
            self.reach_computed(expr, &name.unwrap_or_default());
        }
    }

    /// Words of a message are replaced by other words.
    fn rewrites(&mut self, expr: &Expr, given: &Value, from: Option<&Value>, to: Option<&Value>) {
        let says = |value: Option<&Value>| {
            value.is_some_and(|value| value.constants.iter().any(|text| text.words() > 0))
        };
        let content = given.marks.has(Marks::CONTENT) && !self.is_own(given);
        if content && says(from) && says(to) {
            let why = "it replaces words of a message by other words";
            self.say(Rule::ConditionalTemplate, Weight::Unknown, expr.offset, why);
        }
    }

    fn width<'v>(&mut self, expr: &Expr, given: &Value, values: impl Iterator<Item = &'v Value>) {
        let mut widest = values.filter_map(Value::int).max().unwrap_or(0);
        for text in given.texts() {
            for digits in text.split(|c: char| !c.is_ascii_digit()).skip(1) {
                let width = digits.trim_start_matches('0');
                let number = width
                    .parse()
                    .unwrap_or(if width.is_empty() { 0 } else { i128::MAX });
                // A number in a text is a width only where a conversion can be.
                if text.contains(['%', '{']) {
                    widest = widest.max(number);
                }
            }
        }
        if widest > MAX_WIDTH {
            let why = format!("it pads a text to {widest} characters");
            self.say(Rule::Bomb, Weight::Dangerous, expr.offset, why);
        }
    }

    fn call(&mut self, expr: &Expr, called: &Expr, arguments: &Arguments, emit: bool) -> Value {
        match &called.kind {
            Kind::Name(name) => self.function(expr, name, arguments, emit),
            Kind::Attribute(base, name) => self.method(expr, base, name, arguments, emit),
            _ => {
                let given = self.evaluate(called, emit);
                let values = self.arguments(arguments, emit);
                if !matches!(called.kind, Kind::Filter(..) | Kind::Item(..)) || given.built {
                    let why = "it calls what an expression gives";
                    self.say(Rule::UnknownCall, Weight::Unknown, expr.offset, why);
                }
                let marks = values
                    .iter()
                    .fold(given.marks, |all, (_, value)| all.with(value.marks));
                Value {
                    built: true,
                    ..Value::unknown(marks)
                }
            }
        }
    }

    fn arguments(&mut self, arguments: &Arguments, emit: bool) -> Vec<(Option<String>, Value)> {
        let values = arguments.iter();
        values
            .map(|(name, value)| (name.clone(), self.evaluate(value, emit)))
            .collect()
    }

    fn function(&mut self, expr: &Expr, name: &str, arguments: &Arguments, emit: bool) -> Value {
        // What an exception says does not reach the model.
        let emit = emit && name != "raise_exception";
        let values = self.arguments(arguments, emit);
        let marks = values
            .iter()
            .fold(Marks::default(), |all, (_, value)| all.with(value.marks));
        if let Some(parameters) = self.parameters.get(name).cloned() {
            let under = self.under.tests();
            let calls = self.macros.entry(name.to_owned()).or_default();
            *calls = calls.with(under);
            for (index, (key, value)) in values.iter().enumerate() {
                if let Some(parameter) = key.as_ref().or(parameters.get(index)) {
                    self.hold(parameter, value);
                }
            }
            return Value {
                built: true,
                ..Value::unknown(marks)
            };
        }
        if known::is_power(name) {
            let why = format!("it calls {name:?}, a function of Python and of no template");
            self.say(Rule::UnsafeTemplate, Weight::Dangerous, expr.offset, why);
        } else if !known::is_function(name) && !self.names.contains_key(name) {
            let why = format!("it calls {name:?}, which no renderer of chat templates offers");
            self.say(Rule::UnknownCall, Weight::Unknown, expr.offset, why);
        }
        let ints: Vec<Option<i128>> = values.iter().map(|(_, value)| value.int()).collect();
        match name {
            "range" => {
                let size = match ints[..] {
                    [Some(end)] => Some(end),
                    [Some(start), Some(end), ..] => end.checked_sub(start),
                    _ => None,
                };
                self.range(expr.offset, size.unwrap_or(0));
                Value {
                    marks: marks.tests(),
                    ..size.map_or_else(Value::default, |size| Value::constant(Constant::Int(size)))
                }
            }
            "lipsum" => {
                let widest = ints.into_iter().flatten().max().unwrap_or(0);
                self.range(expr.offset, widest);
                Value::default()
            }
            "dict" => {
                let keys = values.iter().filter_map(|(key, _)| key.clone());
                let keys = keys.filter(|key| !key.starts_with('*')).map(Constant::Text);
                Value {
                    marks,
                    ..Value::constant(Constant::Dict(keys.collect()))
                }
            }
            "strftime_now" => Value::unknown(Marks::DATE),
            "str" | "len" | "list" | "int" => Value::unknown(marks),
            _ => Value::unknown(marks.tests()),
        }
    }

    fn method(
        &mut self,
        expr: &Expr,
        base: &Expr,
        name: &str,
        arguments: &Arguments,
        emit: bool,
    ) -> Value {
        let mut looked_up = Value::default();
        if let Kind::Name(base) = &base.kind {
            self.door(expr, base);
            let held = self.names.get(&format!("{base}.{name}"));
            looked_up = held.cloned().unwrap_or_default();
        }
        self.reach(expr, name, true);
        // Once: a chain of calls would be walked twice as often for each call.
        let given = self.evaluate(base, emit);
        let rewrite = matches!(
            name,
            "replace" | "startswith" | "endswith" | "split" | "find"
        );
        let values = self.arguments(arguments, emit && !rewrite);
        if known::is_power(name) {
            let why = format!("it calls the method {name:?}, which no template needs");
            self.say(Rule::UnsafeTemplate, Weight::Dangerous, expr.offset, why);
        } else if !known::is_method(name) && !self.is_imported(base) && name != "format_map" {
            let why =
                format!("it calls the method {name:?}, which is none of a text, list or dict");
            self.say(Rule::UnknownCall, Weight::Unknown, expr.offset, why);
        }
        let plain: Vec<&Value> = values.iter().map(|(_, value)| value).collect();
        let first = plain.first().copied();
        match name {
            "get" | "pop" | "setdefault" => return self.got(expr, base, &given, first, emit),
            "replace" => self.rewrites(expr, &given, first, plain.get(1).copied()),
            "format" => self.formats(expr, &given),
            _ => {}
        }
        if matches!(name, "center" | "ljust" | "rjust" | "zfill" | "format") {
            self.width(expr, &given, plain.iter().copied());
        }
        let mut made = methods(name, &given, &plain);
        if ASKING.contains(&name)
            && let Some(first) = first
        {
            made.marks = made.marks.with(self.tested("in", first, &given));
        }
        if matches!(name, "values" | "items") && given.marks.has(Marks::MESSAGE) {
            made.marks = made.marks.with(Marks::CONTENT);
        }
        if given.marks == Marks::default() {
            made.marks = made.marks.with(looked_up.marks);
        }
        for value in plain {
            made.marks = made.marks.with(value.marks);
        }
        made
    }

    /// Whether a name was set by the template itself to something that may have any method.
    fn is_imported(&self, base: &Expr) -> bool {
        matches!(&base.kind, Kind::Name(name) if name == "loop" || name == "caller")
            && !self.names.contains_key("loop")
    }

    fn got(
        &mut self,
        expr: &Expr,
        base: &Expr,
        given: &Value,
        key: Option<&Value>,
        emit: bool,
    ) -> Value {
        let key = key.cloned().unwrap_or_default();
        let asks = self.asks(&key);
        let written = matches!(base.kind, Kind::Dict(_));
        if emit && written && asks != Marks::default() {
            let under = self.under;
            self.under = self.under.with(asks);
            self.evaluate(base, true);
            self.under = under;
        }
        let texts: Vec<String> = key.texts().map(str::to_owned).collect();
        for text in &texts {
            self.reach(expr, text, true);
        }
        self.of_message(given, texts.first().map(String::as_str), base)
    }

    /// `'…'.format(…)` walks attributes that its text names.
    fn formats(&mut self, expr: &Expr, given: &Value) {
        let walks = given.texts().any(|text| {
            let mut fields = text
                .split('{')
                .skip(1)
                .filter_map(|rest| rest.split('}').next());
            fields.any(|field| field.contains("__"))
        });
        if walks {
            let why = "its format walks to Python's internals";
            self.say(Rule::UnsafeTemplate, Weight::Dangerous, expr.offset, why);
        } else if given.built && !given.is_constant() {
            let why = "it formats with a text that the template puts together";
            self.say(Rule::ComputedName, Weight::Unknown, expr.offset, why);
        }
    }
}
