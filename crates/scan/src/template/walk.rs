//! The nodes of a template, several times over: until what its names may hold no longer changes, and once to tell.

use std::collections::HashMap;

use domain::scan::{Rule, Weight};
use formats::jinja::{Expr, Kind, Node, Template};

use super::messages::place_of;
use super::value::{Constant, Marks, Value};
use super::{Remark, words};

/// Rounds after which names are taken as they are.
const ROUNDS: usize = 4;
/// Remarks that are kept.
const MAX_REMARKS: usize = 64;
/// Turns of loops, all nested ones together, that no honest template makes by itself.
const MAX_TURNS: i128 = 10_000_000;
/// What the engine of the usual loaders allows.
const MAX_RANGE: i128 = 100_000;

pub(super) fn remarks(template: &Template) -> Vec<Remark> {
    let mut judge = Judge::default();
    for round in 0..=ROUNDS {
        judge.telling = round == ROUNDS;
        judge.steps = 0;
        judge.body(&template.nodes);
    }
    judge.remarks
}

/// The state of one walk.
#[derive(Default)]
pub(super) struct Judge {
    /// What names hold, wherever they are set; attributes of namespaces under `name.attribute`.
    pub(super) names: HashMap<String, Value>,
    /// On what the calls of a macro depend.
    pub(super) macros: HashMap<String, Marks>,
    /// The parameters of each macro.
    pub(super) parameters: HashMap<String, Vec<String>>,
    /// On what the present place depends.
    pub(super) under: Marks,
    /// Messages that are known to be the operator's own.
    pub(super) guards: Vec<String>,
    /// Turns of the loops around the present place.
    pub(super) turns: i128,
    pub(super) loops: usize,
    /// Steps that were taken in this round.
    pub(super) steps: usize,
    /// Whether this is the round that tells.
    pub(super) telling: bool,
    pub(super) remarks: Vec<Remark>,
}

impl Judge {
    pub(super) fn say(
        &mut self,
        rule: Rule,
        weight: Weight,
        offset: usize,
        why: impl Into<String>,
    ) {
        let same = |known: &Remark| known.rule == rule && known.offset == offset;
        if !self.telling {
            return;
        }
        let why = why.into();
        if let Some(known) = self.remarks.iter_mut().find(|known| same(known)) {
            if known.weight < weight {
                (known.weight, known.why) = (weight, why);
            }
            return;
        }
        // A flood of light remarks must not hide a heavy one.
        if self.remarks.len() >= MAX_REMARKS {
            self.remarks
                .sort_by_key(|known| std::cmp::Reverse(known.weight));
            if self
                .remarks
                .last()
                .is_none_or(|known| known.weight >= weight)
            {
                return;
            }
            self.remarks.pop();
        }
        self.remarks.push(Remark {
            rule,
            weight,
            offset,
            why,
        });
    }

    /// So many words of speech are emitted, or set to be emitted, at this place.
    pub(super) fn speak(&mut self, offset: usize, words: usize) {
        let under = self.under;
        let why = if under.has(Marks::IF_WORDS) && words > 0 {
            "this text reaches the model only if a message says certain words"
        } else if under.has(Marks::IF_SAID) && words > 2 {
            "this text reaches the model only if a message contains a certain mark"
        } else if under.has(Marks::IF_DATE) && words > 2 {
            "this text reaches the model only at certain dates"
        } else {
            return;
        };
        self.say(Rule::ConditionalTemplate, Weight::Unknown, offset, why);
    }

    fn body(&mut self, nodes: &[Node]) {
        let before = self.under;
        for node in nodes {
            self.node(node);
            // What follows a jump that depends on something depends on it too.
            if let Node::If { arms, otherwise } = node {
                let bodies = arms.iter().map(|(_, body)| body).chain([otherwise]);
                if bodies.into_iter().any(|body| jumps(body)) {
                    for (test, _) in arms {
                        let tests = self.evaluate(test, false).marks.tests();
                        self.under = self.under.with(tests);
                    }
                }
            }
        }
        self.under = before;
    }

    fn node(&mut self, node: &Node) {
        match node {
            Node::Text { offset, text } => self.speak(*offset, words::words(text)),
            Node::Output(value) => {
                let given = self.evaluate(value, true);
                let spoken = given.constants.iter().map(Constant::words).max();
                self.speak(value.offset, spoken.unwrap_or(0));
            }
            Node::Set { target, value } => {
                let given = self.evaluate(value, true);
                self.grows(target, value);
                self.bind(target, &given);
                self.bind_namespace(target, value);
            }
            Node::SetBlock { target, body } => {
                self.body(body);
                let given = self.emitted(body);
                self.bind(target, &given);
            }
            Node::If { arms, otherwise } => self.condition(arms, otherwise),
            Node::For {
                target,
                over,
                only,
                body,
                otherwise,
            } => {
                self.repetition(target, over, only.as_ref(), body);
                self.body(otherwise);
            }
            Node::Macro {
                name,
                parameters,
                body,
            } => self.macro_body(name, parameters, body),
            Node::Around {
                values,
                names,
                body,
                tag,
            } => {
                for (index, value) in values.iter().enumerate() {
                    let given = self.evaluate(value, true);
                    if let Some(name) = names.get(index) {
                        self.hold(name, &given);
                    }
                }
                let _ = tag;
                self.body(body);
            }
            Node::File { tag, name } => self.file(tag, name),
            Node::Do(value) => {
                self.evaluate(value, true);
            }
            Node::Jump => {}
        }
    }

    fn file(&mut self, tag: &str, name: &Expr) {
        let given = self.evaluate(name, false);
        let which: Vec<&str> = given.texts().collect();
        let why = if which.is_empty() {
            format!("it makes the engine {tag} a file whose name is computed")
        } else {
            format!(
                "it makes the engine {tag} the file {:?}",
                which.join(" or ")
            )
        };
        self.say(Rule::ExternalFile, Weight::Unknown, name.offset, why);
    }

    fn condition(&mut self, arms: &[(Expr, Vec<Node>)], otherwise: &[Node]) {
        let under = self.under;
        for (test, body) in arms {
            let tests = self.evaluate(test, false).marks.tests();
            self.under = self.under.with(tests);
            let guards = self.guards.len();
            operators_own(test, &mut self.guards);
            self.body(body);
            self.guards.truncate(guards);
        }
        self.body(otherwise);
        self.under = under;
    }

    fn repetition(&mut self, target: &Expr, over: &Expr, only: Option<&Expr>, body: &[Node]) {
        let given = self.evaluate(over, false);
        self.bind_items(target, over, &given);
        let (under, turns, guards) = (self.under, self.turns, self.guards.len());
        self.under = self.under.with(given.marks.tests());
        if let Some(only) = only {
            let tests = self.evaluate(only, false).marks.tests();
            self.under = self.under.with(tests);
            operators_own(only, &mut self.guards);
        }
        let size = turns_of(&given).max(1);
        self.turns = self.turns.max(1).saturating_mul(size);
        if self.turns > MAX_TURNS && size > 1 {
            let why = format!("its loops make {} turns", self.turns);
            self.say(Rule::Bomb, Weight::Dangerous, over.offset, why);
        }
        self.loops += 1;
        self.body(body);
        self.loops -= 1;
        (self.under, self.turns) = (under, turns);
        self.guards.truncate(guards);
    }

    fn macro_body(&mut self, name: &str, parameters: &[(String, Option<Expr>)], body: &[Node]) {
        let names = parameters.iter().map(|(name, _)| name.clone());
        self.parameters.insert(name.to_owned(), names.collect());
        let calls = self.macros.entry(name.to_owned()).or_default().tests();
        for (name, default) in parameters {
            let given = default.as_ref().map(|value| self.evaluate(value, true));
            self.hold(name, &given.unwrap_or_default());
        }
        let under = self.under;
        self.under = self.under.with(calls);
        self.body(body);
        self.under = under;
    }

    /// Binds what a target names to a value.
    fn bind(&mut self, target: &Expr, given: &Value) {
        match &target.kind {
            Kind::List(targets) => {
                for (index, target) in targets.iter().enumerate() {
                    let part = given.map(|value| value.item(i128::try_from(index).ok()?));
                    self.bind(target, &part);
                }
            }
            Kind::Name(name) => self.hold(name, given),
            Kind::Attribute(base, attribute) => {
                if let Kind::Name(base) = &base.kind {
                    self.hold(&format!("{base}.{attribute}"), given);
                }
                if let Some(weight) = super::known::attribute(attribute) {
                    let why = format!("it sets the attribute {attribute:?}");
                    self.say(Rule::UnsafeTemplate, weight, target.offset, why);
                }
            }
            _ => {}
        }
    }

    /// `namespace(a=…)` and `dict(a=…)` bind their attributes.
    fn bind_namespace(&mut self, target: &Expr, value: &Expr) {
        let (Kind::Name(name), Kind::Call(called, arguments)) = (&target.kind, &value.kind) else {
            return;
        };
        if !matches!(&called.kind, Kind::Name(called) if called == "namespace" || called == "dict")
        {
            return;
        }
        for (attribute, value) in arguments {
            if let Some(attribute) = attribute {
                let given = self.evaluate(value, true);
                self.hold(&format!("{name}.{attribute}"), &given);
            }
        }
    }

    /// Lets a name hold a value, beside what else it may hold.
    pub(super) fn hold(&mut self, name: &str, given: &Value) {
        let mut given = given.clone();
        // That it is set here at all depends on what this place depends on.
        given.marks = given.marks.with(self.under.tests());
        let held = match self.names.remove(name) {
            Some(held) if held == given => held,
            Some(held) => held.or(&given),
            None => given,
        };
        self.names.insert(name.to_owned(), held);
    }

    fn bind_items(&mut self, target: &Expr, over: &Expr, given: &Value) {
        let mut item = Value::unknown(given.marks);
        if given.is_constant() {
            let items = given.constants.iter().flat_map(Constant::items).take(64);
            for (index, constant) in items.enumerate() {
                let constant = Value::constant(constant);
                item = if index == 0 {
                    constant
                } else {
                    item.or(&constant)
                };
            }
            item.marks = given.marks;
        }
        item.built |= given.built;
        let called = matches!(over.kind, Kind::Call(..) | Kind::Filter(..));
        if item.marks.has(Marks::CONTENT) && !called {
            item.marks = item.marks.without(Marks::CONTENT).with(Marks::PART);
        }
        item.origin.clone_from(&given.origin);
        match &target.kind {
            Kind::List(targets) => {
                for target in targets {
                    self.bind(target, &Value::unknown(item.marks));
                }
            }
            _ => self.bind(target, &item),
        }
    }

    /// What a body emits, put together.
    fn emitted(&mut self, body: &[Node]) -> Value {
        let mut all = Value::text("");
        for node in body {
            let part = match node {
                Node::Text { text, .. } => Value::text(text.trim()),
                Node::Output(value) => self.evaluate(value, false),
                Node::Do(_) | Node::Set { .. } | Node::Macro { .. } => continue,
                Node::Around { values, body, .. } if values.is_empty() => self.emitted(body),
                _ => Value {
                    built: true,
                    ..Value::default()
                },
            };
            all = all.combine(&part, |left, right| {
                Some(Constant::Text(left.emitted()? + &right.emitted()?))
            });
        }
        all
    }

    /// A text that is set to itself twice over in a loop doubles in every turn.
    fn grows(&mut self, target: &Expr, value: &Expr) {
        let Some(place) = place_of(target).filter(|_| self.loops > 0) else {
            return;
        };
        if occurrences(value, &place) > 1 {
            let why = format!("{place:?} doubles in every turn of a loop");
            self.say(Rule::Bomb, Weight::Unknown, target.offset, why);
        }
    }

    pub(super) fn range(&mut self, offset: usize, size: i128) {
        if size > MAX_RANGE {
            let weight = if size > MAX_TURNS {
                Weight::Dangerous
            } else {
                Weight::Unknown
            };
            let why = format!("it counts to {size}");
            self.say(Rule::Bomb, weight, offset, why);
        }
    }
}

/// How often `place` is a part of the text that `value` puts together.
fn occurrences(value: &Expr, place: &str) -> usize {
    match &value.kind {
        Kind::Binary("~" | "+", left, right) => {
            occurrences(left, place) + occurrences(right, place)
        }
        Kind::List(items) => items.iter().map(|item| occurrences(item, place)).sum(),
        Kind::Filter(base, ..) => occurrences(base, place),
        _ => usize::from(place_of(value).as_deref() == Some(place)),
    }
}

/// Turns of a loop over a value that is known.
fn turns_of(given: &Value) -> i128 {
    let sizes = given.constants.iter().map(|constant| match constant {
        // A range is kept as its size.
        Constant::Int(size) => *size,
        other => i128::try_from(other.items().len()).unwrap_or(i128::MAX),
    });
    sizes.max().unwrap_or(1)
}

fn jumps(body: &[Node]) -> bool {
    body.iter().any(|node| match node {
        Node::Jump => true,
        Node::If { arms, otherwise } => {
            arms.iter().any(|(_, body)| jumps(body)) || jumps(otherwise)
        }
        _ => false,
    })
}

/// The messages of which a condition says that the operator wrote them: `message.role == 'system'`.
pub(super) fn operators_own(test: &Expr, guards: &mut Vec<String>) {
    match &test.kind {
        Kind::Binary("and", left, right) => {
            operators_own(left, guards);
            operators_own(right, guards);
        }
        Kind::Compare(left, rest) => {
            let [(operator, right)] = &rest[..] else {
                return;
            };
            let own = match (&right.kind, *operator) {
                (Kind::Text(role), "==") => is_operator(role),
                (Kind::List(roles), "in") => roles
                    .iter()
                    .all(|role| matches!(&role.kind, Kind::Text(role) if is_operator(role))),
                _ => false,
            };
            if own && let Some(message) = role_of(left) {
                guards.push(message);
            }
        }
        _ => {}
    }
}

fn is_operator(role: &str) -> bool {
    role == "system" || role == "developer"
}

/// Of which message an expression is the role.
fn role_of(expr: &Expr) -> Option<String> {
    match &expr.kind {
        Kind::Attribute(base, name) if name == "role" => place_of(base),
        Kind::Item(base, name) if matches!(&name.kind, Kind::Text(name) if name == "role") => {
            place_of(base)
        }
        _ => None,
    }
}
