//! Which names a file binds, which functions it has, and which of them a piece of code calls.

use std::collections::{BTreeMap, BTreeSet};

use formats::python::{Expr, Kind, Statement, StatementKind};

use super::fold::{Bound, Names};

/// Binds all names of a file.
pub(super) fn bind<'m>(body: &'m [Statement], names: &mut Names<'m>) {
    for statement in body {
        match &statement.kind {
            StatementKind::Import(modules) => {
                for (module, alias) in modules {
                    let top = module.split('.').next().unwrap_or(module);
                    match alias {
                        Some(alias) => names.bound.insert(alias, Bound::Path(module, None)),
                        None => names.bound.insert(top, Bound::Path(top, None)),
                    };
                }
            }
            StatementKind::From {
                module,
                names: list,
            } => {
                for (name, alias) in list {
                    if name == "*" {
                        names.stars.push(module);
                    } else {
                        let bound = alias.as_deref().unwrap_or(name);
                        names.bound.insert(bound, Bound::Path(module, Some(name)));
                    }
                }
            }
            StatementKind::Function { name, body, .. }
            | StatementKind::Class { name, body, .. } => {
                names.bound.insert(name, Bound::Own);
                bind(body, names);
            }
            StatementKind::If {
                body, otherwise, ..
            } => {
                bind(body, names);
                bind(otherwise, names);
            }
            StatementKind::Block { body, .. } => bind(body, names),
            StatementKind::Assign { targets, value } => {
                for target in targets {
                    bind_target(target, value, names);
                }
            }
            StatementKind::Evaluate(_) => {}
        }
    }
}

fn bind_target<'m>(target: &'m Expr, value: &'m Expr, names: &mut Names<'m>) {
    match (&target.kind, &value.kind) {
        (Kind::Name(name), _) => {
            // An import or an own function keeps its name where it is only wrapped anew.
            names.bound.insert(name, Bound::Value(value));
        }
        (Kind::List(targets), Kind::List(values)) if targets.len() == values.len() => {
            for (target, value) in targets.iter().zip(values) {
                bind_target(target, value, names);
            }
        }
        _ => {}
    }
}

pub(super) type Functions<'m> = BTreeMap<&'m str, Vec<&'m [Statement]>>;

/// Bodies of functions by name; those of a class stand under its name too, because calling it calls them.
pub(super) fn functions_of<'m>(body: &'m [Statement], functions: &mut Functions<'m>) {
    for statement in body {
        match &statement.kind {
            StatementKind::Function { name, body, .. } => {
                functions.entry(name).or_default().push(body);
                functions_of(body, functions);
            }
            StatementKind::Class { name, body, .. } => {
                for inner in body {
                    if let StatementKind::Function {
                        name: method, body, ..
                    } = &inner.kind
                        && ["__init__", "__new__", "__post_init__", "__call__"]
                            .contains(&method.as_str())
                    {
                        functions.entry(name).or_default().push(body);
                    }
                }
                functions_of(body, functions);
            }
            StatementKind::If {
                body, otherwise, ..
            } => {
                functions_of(body, functions);
                functions_of(otherwise, functions);
            }
            StatementKind::Block { body, .. } => functions_of(body, functions),
            StatementKind::Assign { .. }
            | StatementKind::Evaluate(_)
            | StatementKind::Import(_)
            | StatementKind::From { .. } => {}
        }
    }
}

/// `__name__ == "__main__"`.
pub(super) fn is_main(test: &Expr) -> bool {
    let Kind::Other(items) = &test.kind else {
        return false;
    };
    matches!(&items[..], [left, right]
        if matches!(&left.kind, Kind::Name(name) if name == "__name__")
            && matches!(&right.kind, Kind::Text(text) if text == "__main__"))
}

/// Own functions that a body calls, or hands to something that may call them. Bodies of functions count with `inside`.
pub(super) fn calls_of<'m>(
    body: &'m [Statement],
    functions: &Functions<'m>,
    called: &mut BTreeSet<&'m str>,
    inside: bool,
) {
    for statement in body {
        match &statement.kind {
            StatementKind::Function {
                evaluated, body, ..
            } => {
                for value in evaluated {
                    mentions(value, functions, called);
                }
                if inside {
                    calls_of(body, functions, called, inside);
                }
            }
            StatementKind::Class {
                evaluated, body, ..
            } => {
                for value in evaluated {
                    decorators(value, functions, called);
                }
                calls_of(body, functions, called, inside);
            }
            StatementKind::If {
                test,
                body,
                otherwise,
            } => {
                mentions(test, functions, called);
                if !is_main(test) {
                    calls_of(body, functions, called, inside);
                }
                calls_of(otherwise, functions, called, inside);
            }
            StatementKind::Block { evaluated, body } => {
                for value in evaluated {
                    mentions(value, functions, called);
                }
                calls_of(body, functions, called, inside);
            }
            StatementKind::Assign { value, .. } => mentions(value, functions, called),
            StatementKind::Evaluate(values) => {
                for value in values {
                    mentions(value, functions, called);
                }
            }
            StatementKind::Import(_) | StatementKind::From { .. } => {}
        }
    }
}

/// Bases of a class are not called; its decorators are.
fn decorators<'m>(value: &'m Expr, functions: &Functions<'m>, called: &mut BTreeSet<&'m str>) {
    if !matches!(value.kind, Kind::Attribute(..)) {
        mentions(value, functions, called);
    }
}

/// Calls of own functions in an expression, and own functions that are handed to other calls.
fn mentions<'m>(expr: &'m Expr, functions: &Functions<'m>, called: &mut BTreeSet<&'m str>) {
    let mut note = |name: &'m str| {
        if functions.contains_key(name) {
            called.insert(name);
        }
    };
    if let Kind::Call(callee, arguments) = &expr.kind {
        for value in std::iter::once(&**callee).chain(arguments.iter().map(|(_, value)| value)) {
            match &value.kind {
                Kind::Name(name) => note(name),
                Kind::Attribute(base, name)
                    if matches!(&base.kind, Kind::Name(_) | Kind::Call(..)) =>
                {
                    note(name);
                }
                _ => {}
            }
        }
    } else if let Kind::Name(name) = &expr.kind {
        // A decorator without a call.
        if expr.height == 1 {
            note(name);
        }
    }
    for child in expr.children() {
        if !matches!(child.kind, Kind::Name(_)) {
            mentions(child, functions, called);
        }
    }
}
