//! What Keras would build from a model's description, and what it would call on the way.
//!
//! A description is JSON that names classes and functions; loading it looks them up and calls them. Layers of Keras are
//! silent. What is looked up outside of Keras is judged by what it does; what belongs to nobody known is the project's own.
//! Versions differ in what they refuse: a file is judged by the most permissive of them, because the file does not choose
//! who loads it.

mod lambda;
mod names;
mod values;

use domain::scan::{GapKind, Need, Role, Rule, Weight};
use formats::ReadAt;
use formats::pyjson::{Json, JsonError, parse};

use crate::{Examiner, calls};
use names::Kind;

/// The largest description that is read, in bytes.
pub(crate) const MAX_CONFIG: u64 = 16 << 20;

/// Examines the JSON that describes a model, an optimizer or a layer. `offset` is where it starts in the member.
pub(crate) fn examine_config(examiner: &mut Examiner<'_>, json: &[u8], offset: u64) {
    if json.len() as u64 > MAX_CONFIG {
        let place = examiner.at(offset);
        let what = format!(
            "a description of {} bytes, more than {MAX_CONFIG}",
            json.len()
        );
        return examiner.gap(GapKind::Limit, place, what);
    }
    match parse(json) {
        Ok(config) => Judge { examiner, offset }.walk(&config, None),
        Err(error) => {
            let kind = match error {
                JsonError::Syntax(_) => GapKind::Broken,
                JsonError::TooDeep => GapKind::TooDeep,
                JsonError::TooLarge => GapKind::Limit,
            };
            let place = examiner.at(offset);
            examiner.gap(
                kind,
                place,
                format!("the description of a Keras model: {error}"),
            );
        }
    }
}

/// Examines `config.json` of a Keras archive.
pub(crate) fn examine_member(examiner: &mut Examiner<'_>, input: &dyn ReadAt) {
    examiner.part("description of a Keras model", input.len(), None);
    let here = examiner.here();
    if input.len() > MAX_CONFIG || !examiner.hold(input.len()) {
        let what = format!("a description of {} bytes, more than is read", input.len());
        return examiner.gap(GapKind::Limit, here, what);
    }
    let mut json = vec![0; usize::try_from(input.len()).unwrap_or_default()];
    match input.read_at(0, &mut json) {
        Ok(()) => examine_config(examiner, &json, 0),
        Err(error) => examiner.gap(GapKind::Unreadable, here, error.to_string()),
    }
    examiner.release(input.len());
}

struct Judge<'e, 'r> {
    examiner: &'e mut Examiner<'r>,
    offset: u64,
}

impl Judge<'_, '_> {
    fn found(&mut self, rule: Rule, weight: Weight, expression: String, why: &str) {
        let place = self.examiner.at(self.offset);
        self.examiner.found(rule, weight, place, expression, why);
    }

    /// Walks all values; `key` is the name under which this one stands. The parser has bounded the depth.
    fn walk(&mut self, value: &Json, key: Option<&str>) {
        match value {
            Json::List(items) => items.iter().for_each(|item| self.walk(item, key)),
            Json::Object(pairs) => {
                self.twice(pairs);
                if value.get("class_name").is_some() {
                    self.object(value);
                }
                for (name, inner) in pairs {
                    self.walk(inner, Some(name));
                }
            }
            Json::Text(text) => self.text(text, key),
            _ => {}
        }
    }

    /// Keras takes the last of two equal keys; another reader may take the first.
    fn twice(&mut self, pairs: &[(String, Json)]) {
        const KEYS: [&str; 4] = ["class_name", "module", "config", "registered_name"];
        for key in KEYS {
            let count = pairs.iter().filter(|(name, _)| name == key).count();
            if count > 1 {
                let why = "A key of the description stands twice, and readers take different ones.";
                self.found(
                    Rule::ReadersDisagree,
                    Weight::Dangerous,
                    format!("{key:?}"),
                    why,
                );
            }
        }
    }

    /// A text that Keras looks up as an activation.
    fn text(&mut self, text: &str, key: Option<&str>) {
        let is_activation = matches!(key, Some("activation" | "recurrent_activation"));
        if is_activation && !names::is_function(text) {
            self.custom("", text, Role::Reference);
        }
    }

    fn object(&mut self, object: &Json) {
        let Some(class) = object.text_of("class_name") else {
            let why = "The name of a class is no text.";
            return self.found(Rule::Broken, Weight::Unknown, String::new(), why);
        };
        let module = object.text_of("module");
        match class {
            "__lambda__" => return self.lambda(object.get("config")),
            "function" => return self.function(object, module),
            "__typespec__" => {
                let name = object.text_of("spec_name").unwrap_or_default();
                return self.name(module, name, object, Role::Construct);
            }
            _ if names::is_structure(class) => return,
            _ => {}
        }
        self.name(module, class, object, Role::Construct);
        self.layer(class, object);
    }

    /// A function by name. One that stands in the place of a layer is called while the model is put together.
    fn function(&mut self, object: &Json, module: Option<&str>) {
        let config = object.get("config");
        let name = config.and_then(Json::text);
        let name = name.or_else(|| config.and_then(|config| config.text_of("name")));
        let name = name.or_else(|| object.text_of("registered_name"));
        let called = object.get("inbound_nodes").is_some();
        let used_as = if called { Role::Call } else { Role::Reference };
        self.name(module, name.unwrap_or_default(), object, used_as);
        if called {
            let shown = format!(
                "{}.{}(…)",
                module.unwrap_or_default(),
                name.unwrap_or_default()
            );
            let why = "A function stands in the place of a layer: it is called with given arguments while loading.";
            self.found(Rule::UnneededCall, Weight::Unknown, shown, why);
        }
    }

    /// Judges `module.name` as it is looked up.
    fn name(&mut self, module: Option<&str>, name: &str, object: &Json, role: Role) {
        let registered = object.text_of("registered_name").unwrap_or_default();
        let module = module.unwrap_or_default();
        let top = module.split('.').next().unwrap_or_default();
        let kind = names::kind(module, name);
        match kind {
            Kind::Keras => {
                if let Some((package, custom)) = registered.split_once('>')
                    && !names::is_known_package(package)
                {
                    self.custom(package, custom, role);
                }
            }
            Kind::Gadget(harm) => {
                let why = "A function of Keras that acts on files, the network or Keras itself, and no part of a model.";
                self.danger(harm, Weight::Dangerous, module, name, why);
            }
            Kind::Odd => {
                let why = "A function of Keras that no model description needs.";
                self.danger(Rule::UnneededCall, Weight::Unknown, module, name, why);
            }
            Kind::Companion => {}
            Kind::Outside => match calls::effect(module, name) {
                // A plain function is said to be of `builtins`, whatever module it is from.
                Some(_) if top == "builtins" && !names::is_python_builtin(name) => {
                    self.custom("", name, role);
                }
                Some(effect) => {
                    let why =
                        "The description makes Keras import and use a name from outside of Keras.";
                    self.danger(effect.rule, effect.weight, module, name, why);
                }
                None => {
                    let (package, custom) = registered.split_once('>').unwrap_or((module, name));
                    let known = names::is_known_package(package) && names::is_class(custom);
                    if !known {
                        self.custom(package, custom, role);
                    }
                }
            },
        }
    }

    fn danger(&mut self, rule: Rule, weight: Weight, module: &str, name: &str, why: &str) {
        self.found(rule, weight, format!("{module}.{name}"), why);
        self.need(module, name, Role::Call, weight);
    }

    fn custom(&mut self, module: &str, name: &str, role: Role) {
        let (module, name) = name.split_once('>').unwrap_or((module, name));
        if names::is_known_package(module) && names::is_class(name) {
            return;
        }
        let dot = if module.is_empty() { "" } else { "." };
        let shown = format!("{module}{dot}{name}");
        let why =
            "Keras does not have this: the project must bring it, and its code was not examined.";
        self.found(Rule::CustomClass, Weight::Custom, shown, why);
        self.need(module, name, role, Weight::Custom);
    }

    fn need(&mut self, module: &str, name: &str, role: Role, weight: Weight) {
        self.examiner.need(Need {
            module: module.to_owned(),
            name: name.to_owned(),
            role,
            weight: Some(weight),
        });
    }
}
