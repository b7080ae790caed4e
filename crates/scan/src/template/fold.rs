//! Operators, filters and methods on what is known: texts that a template puts together from pieces.

use super::value::{self, Constant, Value};

pub(super) fn arithmetic(operator: &str, left: &Constant, right: &Constant) -> Option<Constant> {
    Some(match (operator, left, right) {
        ("+", Constant::Text(left), Constant::Text(right)) => {
            Constant::Text(format!("{left}{right}"))
        }
        ("+", Constant::List(left), Constant::List(right)) => {
            Constant::List([left.as_slice(), right].concat())
        }
        ("*", Constant::Text(text), Constant::Int(times))
        | ("*", Constant::Int(times), Constant::Text(text)) => {
            let times = usize::try_from(*times).unwrap_or(0);
            Constant::Text(text.repeat((times <= 64).then_some(times)?))
        }
        ("%", Constant::Text(form), Constant::List(values)) => value::percent(form, values)?,
        ("%", Constant::Text(form), one) => value::percent(form, std::slice::from_ref(one))?,
        (_, Constant::Int(left), Constant::Int(right)) => Constant::Int(match operator {
            "+" => left.checked_add(*right)?,
            "-" => left.checked_sub(*right)?,
            "*" => left.checked_mul(*right)?,
            "//" => left.checked_div_euclid(*right)?,
            "%" => left.checked_rem_euclid(*right)?,
            "**" => left.checked_pow(u32::try_from(*right).ok()?)?,
            _ => return None,
        }),
        _ => return None,
    })
}

/// Filters that make texts, and those that change nothing that matters here.
pub(super) fn folded(name: &str, given: &Value, values: &[(Option<&str>, Value)]) -> Value {
    let plain: Vec<&Value> = values.iter().map(|(_, value)| value).collect();
    match name {
        "join" => given.combine(
            plain.first().unwrap_or(&&Value::text("")),
            |list, between| list.joined(&between.emitted()?),
        ),
        "reverse" => given.map(Constant::reversed),
        "first" => given.map(|list| list.item(0)),
        "last" => given.map(|list| list.item(-1)),
        "list" => given.map(|list| Some(Constant::List(list.items()))),
        "format" => {
            let all = constants(&plain);
            given.map(|form| match (form, &all) {
                (Constant::Text(form), Some(all)) => value::percent(form, all),
                _ => None,
            })
        }
        "length" | "count" | "int" | "float" | "abs" | "round" | "wordcount" => {
            Value::unknown(given.marks)
        }
        "string" | "safe" | "e" | "escape" | "forceescape" | "unique" | "sort" | "default"
        | "d" => {
            let base = given.clone();
            match plain.first().filter(|_| name.starts_with('d')) {
                Some(other) => base.or(other),
                None => base,
            }
        }
        "tojson" | "map" | "select" | "reject" | "selectattr" | "rejectattr" | "items"
        | "dictsort" | "groupby" | "batch" | "slice" | "sum" | "min" | "max" | "random"
        | "pprint" => Value {
            built: given.built || given.texts().next().is_some(),
            ..Value::unknown(given.marks)
        },
        _ => methods(name, given, &plain),
    }
}

fn constants(values: &[&Value]) -> Option<Vec<Constant>> {
    let one =
        |value: &&Value| (value.constants.len() == 1).then(|| value.constants.first().cloned());
    values.iter().map(|value| one(value).flatten()).collect()
}

/// Methods that make texts.
pub(super) fn methods(name: &str, given: &Value, values: &[&Value]) -> Value {
    let all = constants(values);
    let all = all.as_deref();
    let text = |work: &dyn Fn(&str) -> Option<String>| {
        given.map(|value| match value {
            Constant::Text(text) => Some(Constant::Text(work(text)?)),
            _ => None,
        })
    };
    let argument = match all {
        Some([Constant::Text(argument), ..]) => Some(argument.as_str()),
        _ => None,
    };
    match name {
        "lower" | "casefold" => text(&|text| Some(text.to_lowercase())),
        "upper" => text(&|text| Some(text.to_uppercase())),
        "trim" | "strip" | "lstrip" | "rstrip" => text(&|text| {
            let set = if values.is_empty() {
                None
            } else {
                Some(argument?)
            };
            let cut = |c: char| set.map_or(c.is_whitespace(), |set| set.contains(c));
            Some(match name {
                "lstrip" => text.trim_start_matches(cut).to_owned(),
                "rstrip" => text.trim_end_matches(cut).to_owned(),
                _ => text.trim_matches(cut).to_owned(),
            })
        }),
        "title" | "capitalize" | "swapcase" => text(&|_| None),
        "replace" => text(&|text| match all {
            Some([Constant::Text(from), Constant::Text(to), ..]) => {
                Some(text.replace(from.as_str(), to))
            }
            _ => None,
        }),
        "removeprefix" => {
            text(&|text| Some(text.strip_prefix(argument?).unwrap_or(text).to_owned()))
        }
        "removesuffix" => {
            text(&|text| Some(text.strip_suffix(argument?).unwrap_or(text).to_owned()))
        }
        "split" => split(given, argument, values.is_empty()),
        "join" => match values.first() {
            Some(list) => list.combine(given, |list, between| list.joined(&between.emitted()?)),
            None => Value::default(),
        },
        "format" => given.map(|form| match (form, all) {
            (Constant::Text(form), Some(all)) => value::braces(form, all),
            _ => None,
        }),
        "startswith" | "endswith" | "find" | "rfind" | "index" | "rindex" | "count" => {
            Value::unknown(given.marks.tests())
        }
        "keys" => given.clone(),
        _ => Value {
            built: given.built || given.texts().next().is_some(),
            ..Value::unknown(given.marks)
        },
    }
}

/// `text.split(by)`, or at white space where there is no argument.
fn split(given: &Value, argument: Option<&str>, bare: bool) -> Value {
    given.map(|value| match value {
        Constant::Text(text) => {
            let parts: Vec<Constant> = match argument {
                Some(by) => text
                    .split(by)
                    .map(|part| Constant::Text(part.to_owned()))
                    .collect(),
                None if bare => {
                    let words = text.split_whitespace();
                    words.map(|part| Constant::Text(part.to_owned())).collect()
                }
                None => return None,
            };
            Some(Constant::List(parts))
        }
        _ => None,
    })
}
