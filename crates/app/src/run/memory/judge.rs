//! Facts about memory to findings: the table of judgements. Pure.
//!
//! Code is *vouched for* when its digest is among those that its file compiles to. Whose the code is, goes by that file.
//!
//! | what | whose code | answer |
//! | --- | --- | --- |
//! | a function where it was written | vouched for | nothing |
//! | … | not what the file compiles to | `code-in-memory` |
//! | … | another function's of that file | `function-replaced` |
//! | a wrapper, a decorator, a rebound name of an installed module | an installed package's, Python's, the sensor's, vouched for | instrumentation: kept as a fact |
//! | … | made from text, under a name that the source leaves open, where the file makes code from text or a decorator of the class does | kept as a fact |
//! | a module whose loader is an installed package's and makes its code | no file, or code that the file does not compile to | kept as a fact; a gap where there is a file |
//! | … | the project's | `function-replaced`, *unknown*: the project may mean it |
//! | … | a file that no package owns, or no file | `function-replaced` |
//! | a name that the source binds once to its own function | a function that is written at another place of that file, or of any file if it came later | `function-replaced` |
//! | a hook, a method of one object | the project's | kept as a fact: that is what hooks are for |
//! | … | no file, a file that no package owns, not what its file compiles to | `hook-unexplained` |
//! | a hook that a checkpoint brought | an installed package's, which is not Python's own | kept as a fact |
//! | … | anything else | `hook-unexplained`: no line of the program registers it |
//! | a finder, a trace function, a mode | no file, a file that no package owns | `hook-unexplained` |
//! | a module without a file | functions of no file or of the project's | `module-without-file` |
//! | a function's `__code__`, `__defaults__` set | by code of a package or of Python | kept as a fact |
//! | … | by anything else, on an installed function | `code-in-memory` |
//!
//! Where the file changed since it was imported, or cannot be compiled, the code is not compared, and that is a gap.

use domain::memory::{CodePlace, HookFact, MemoryFact, Namespace, SetFact, Standing};
use domain::{PathText, Rule};

use super::reference::Table;
use super::{PENDING, Whose};

/// The rule, and what makes two findings one: module and place, or what kind of hook on what.
pub(super) type Key = (Rule, String, String);

/// A finding before it is put in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) key: Key,
    /// What it is about: `torch.optim.adamw.AdamW.step`.
    pub(super) subject: String,
    /// What is wrong.
    pub(super) wrong: Wrong,
    /// The code that it comes down to, with whose it is.
    pub(super) code: Option<(CodePlace, Whose)>,
    /// What stands there, by its class.
    pub(super) object: String,
    /// Whether the chain reaches the function that belongs there.
    pub(super) wraps: bool,
    /// Whether something else was seen there before.
    pub(super) later: bool,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wrong {
    /// Its code is not what its file compiles to.
    Differs {
        /// The file.
        file: PathText,
    },
    /// Something else stands at its name.
    Replaced,
    /// Another function that is genuine elsewhere stands at its name.
    Misplaced {
        /// Which.
        other: String,
    },
    /// A hook whose code nothing vouches for.
    Hook,
    /// A hook that a checkpoint brought.
    Carried {
        /// The checkpoint.
        by: PathText,
    },
    /// Between the job and its interpreter.
    Machinery,
    /// A module that came from no file has code.
    NoFile,
    /// Set in place.
    Set {
        /// What: `__code__`.
        name: String,
        /// Line that did it.
        line: u32,
    },
}

/// What became of a fact.
#[derive(Debug, Default)]
pub(super) struct Judged {
    pub(super) found: Vec<Found>,
    /// What could not be compared, and why.
    pub(super) gaps: Vec<(String, String)>,
}

/// What a fact is judged by.
pub(super) struct Judge<'a, 't> {
    pub(super) whose: &'a dyn Fn(&PathText) -> Whose,
    pub(super) table: &'a dyn Fn(&PathText) -> Result<&'t Table, String>,
    /// The program came from the command line (`python -c`).
    pub(super) program_has_no_file: bool,
}

/// The files whose code is needed to judge a fact.
pub(super) fn files(fact: &MemoryFact) -> Vec<&PathText> {
    match fact {
        MemoryFact::Namespace(namespace) => {
            let mut files = vec![&namespace.file];
            files.extend(namespace.maker.iter().map(|code| &code.file));
            for standing in &namespace.standing {
                for code in &standing.chain {
                    if files.last() != Some(&&code.file) {
                        files.push(&code.file);
                    }
                }
            }
            files
        }
        MemoryFact::Hook(HookFact { chain, .. }) | MemoryFact::Machinery { chain, .. } => {
            chain.iter().map(|code| &code.file).collect()
        }
        MemoryFact::Module { .. } | MemoryFact::Set(_) => Vec::new(),
    }
}

/// What is known of one piece of code.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Vouch {
    /// It is what stands in its file, at this place.
    At(String),
    /// Its file compiles to other code.
    Differs,
    /// It could not be compared.
    Unknown(String),
}

impl Judge<'_, '_> {
    /// Judges one fact.
    pub(super) fn judge(&self, fact: &MemoryFact) -> Judged {
        let mut judged = Judged::default();
        match fact {
            MemoryFact::Namespace(namespace) => self.namespace(namespace, &mut judged),
            MemoryFact::Hook(hook) => self.hook(hook, &mut judged),
            MemoryFact::Machinery {
                what,
                object,
                chain,
            } => {
                if let Some(code) = self.suspicious(chain, false) {
                    judged.found.push(Found {
                        key: (Rule::HookUnexplained, what.clone(), object.clone()),
                        subject: what.clone(),
                        wrong: Wrong::Machinery,
                        code: Some(code),
                        object: object.clone(),
                        wraps: false,
                        later: false,
                    });
                }
            }
            MemoryFact::Module { .. } => {}
            MemoryFact::Set(set) => self.set(set, &mut judged),
        }
        judged
    }

    fn vouch(&self, code: &CodePlace) -> Vouch {
        match (self.table)(&code.file) {
            Err(why) => Vouch::Unknown(why),
            Ok(table) => match table.codes.get(&code.digest) {
                None => Vouch::Differs,
                Some(places) => {
                    let at_line = places.iter().find(|(_, line)| *line == code.line);
                    let place = at_line.or(places.first()).map(|(place, _)| place.clone());
                    place.map_or(Vouch::Differs, Vouch::At)
                }
            },
        }
    }

    fn is_library(&self, file: &PathText) -> bool {
        matches!(
            (self.whose)(file),
            Whose::Package(_) | Whose::Stdlib | Whose::Ours
        )
    }

    /// The first code of a chain that nothing vouches for; the project's only if `project` counts as such.
    fn suspicious(&self, chain: &[CodePlace], project: bool) -> Option<(CodePlace, Whose)> {
        let mut codes = chain.iter().map(|code| (code, (self.whose)(&code.file)));
        let found = codes.find(|(code, whose)| match whose {
            Whose::Nowhere => !(self.program_has_no_file && code.module == "__main__"),
            Whose::Nobody => true,
            Whose::Project => project || self.vouch(code) == Vouch::Differs,
            Whose::Package(_) | Whose::Stdlib | Whose::Ours => self.vouch(code) == Vouch::Differs,
        });
        found.map(|(code, whose)| (code.clone(), whose))
    }

    fn namespace(&self, namespace: &Namespace, judged: &mut Judged) {
        let has_file = !namespace.file.as_str().is_empty();
        let table = has_file.then(|| (self.table)(&namespace.file));
        let library = !has_file || self.is_library(&namespace.file);
        match &table {
            Some(Ok(table)) => self.natural(namespace, table, judged),
            Some(Err(why)) if !namespace.functions.is_empty() => {
                judged.gaps.push(not_compared(namespace, why));
            }
            _ => {}
        }
        for standing in &namespace.standing {
            self.standing(namespace, standing, table.as_ref(), library, judged);
        }
        let Some(Ok(table)) = table else { return };
        for (place, module, home) in &namespace.imported {
            // A library that was taught to use another package's function is instrumentation.
            let top = |name: &str| name.split('.').next().unwrap_or(name).to_owned();
            if library && table.defines_once(place) && top(module) == top(&namespace.module) {
                let mut found = replaced(namespace, place);
                found.wrong = Wrong::Misplaced {
                    other: format!("{module}.{home}"),
                };
                judged.found.push(found);
            }
        }
    }

    /// Functions that say of themselves that they stand where they were written.
    fn natural(&self, namespace: &Namespace, table: &Table, judged: &mut Judged) {
        let maker = self.maker(namespace);
        for (place, line, digest) in &namespace.functions {
            let places = table.codes.get(digest);
            if places.is_some_and(|places| places.iter().any(|(at, _)| at == place)) {
                continue;
            }
            if let (Some(maker), None) = (&maker, places) {
                judged.gaps.push(made_by(namespace, maker));
                continue;
            }
            let mut found = replaced(namespace, place);
            found.code = Some((
                CodePlace {
                    file: namespace.file.clone(),
                    line: *line,
                    name: place.clone(),
                    module: namespace.module.clone(),
                    digest: digest.clone(),
                },
                (self.whose)(&namespace.file),
            ));
            if let Some((other, _)) = places.and_then(|places| places.first()) {
                found.wrong = Wrong::Misplaced {
                    other: format!("{}.{other}", namespace.module),
                };
            } else {
                found.key.0 = Rule::CodeInMemory;
                found.wrong = Wrong::Differs {
                    file: namespace.file.clone(),
                };
            }
            judged.found.push(found);
        }
    }

    fn standing(
        &self,
        namespace: &Namespace,
        standing: &Standing,
        table: Option<&Result<&Table, String>>,
        library: bool,
        judged: &mut Judged,
    ) {
        let reaches = standing.chain.iter().any(|code| {
            code.file == namespace.file && self.vouch(code) == Vouch::At(standing.place.clone())
        });
        let mut found = replaced(namespace, &standing.place);
        found.object.clone_from(&standing.object);
        found.wraps = reaches;
        found.later = standing.later;
        let maker = self.maker(namespace);
        let differs = standing
            .chain
            .iter()
            .find(|code| self.vouch(code) == Vouch::Differs);
        let own = |code: &CodePlace| code.file == namespace.file;
        if let Some(maker) = &maker {
            if namespace.file.as_str().is_empty() {
                return; // made from text by a package: there is no file to compare with
            }
            if differs.is_some_and(own) {
                judged.gaps.push(made_by(namespace, maker));
                return;
            }
        }
        if let Some(code) = differs {
            let whose = (self.whose)(&code.file);
            found.key.0 = Rule::CodeInMemory;
            found.wrong = Wrong::Differs {
                file: code.file.clone(),
            };
            found.code = Some((code.clone(), whose));
            judged.found.push(found);
            return;
        }
        if !library {
            return;
        }
        self.at_a_library(namespace, standing, table, found, judged);
    }

    /// What stands at a name of a library, of code that is what its file compiles to.
    fn at_a_library(
        &self,
        namespace: &Namespace,
        standing: &Standing,
        table: Option<&Result<&Table, String>>,
        mut found: Found,
        judged: &mut Judged,
    ) {
        let from_text = |code: &CodePlace| code.file.as_str().starts_with('<');
        let suspicious = self.suspicious(&standing.chain, true);
        if suspicious.as_ref().is_some_and(|(code, _)| from_text(code)) {
            match table {
                // What the file makes of text, nobody knows who has not read it.
                Some(Err(why)) if why.ends_with(PENDING) || is_special(&standing.place) => {
                    judged.gaps.push(not_compared(namespace, why));
                    return;
                }
                _ => {}
            }
        }
        let table = table.and_then(|table| table.as_ref().ok().copied());
        let generated = table.is_some_and(|table| is_generated(&standing.place, table));
        if let Some(code) = suspicious.filter(|(code, _)| !(generated && from_text(code))) {
            if namespace.file.as_str().is_empty() && !is_native(&namespace.module) {
                // Its functions are those of the program itself, or of nothing.
                if namespace.module == "__main__" {
                    return;
                }
                found.key = (
                    Rule::ModuleWithoutFile,
                    namespace.module.clone(),
                    String::new(),
                );
                found.subject.clone_from(&namespace.module);
                found.wrong = Wrong::NoFile;
            }
            found.code = Some(code);
            judged.found.push(found);
        } else if self.is_foreign_class(standing) {
            found.code = Some((
                CodePlace {
                    file: standing.home.clone(),
                    line: 0,
                    name: standing.object.clone(),
                    module: String::new(),
                    digest: String::new(),
                },
                (self.whose)(&standing.home),
            ));
            judged.found.push(found);
        } else if standing.object == "function with other globals" {
            let first = standing.chain.first();
            found.code = first.map(|code| (code.clone(), (self.whose)(&code.file)));
            judged.found.push(found);
        } else if let Some((other, code)) = self
            .elsewhere(standing, &namespace.file, table)
            .filter(|_| !found.wraps)
        {
            found.wrong = Wrong::Misplaced { other };
            found.code = Some((code.clone(), (self.whose)(&code.file)));
            judged.found.push(found);
        }
    }

    /// The function that is written at another place and stands, wrapped or not, where the source has its own.
    /// What a function makes when it is called (a closure) has no place of its own and may stand anywhere.
    fn elsewhere<'c>(
        &self,
        standing: &'c Standing,
        file: &PathText,
        table: Option<&Table>,
    ) -> Option<(String, &'c CodePlace)> {
        let table = table?;
        let code = standing.chain.last()?;
        let Vouch::At(other) = self.vouch(code) else {
            return None;
        };
        // A class may take over names from another module while it is made; from its own file it would be written so.
        let own = table.defines_once(&standing.place) && (code.file == *file || standing.later);
        let placed = !other.contains('<') && other != standing.place;
        (own && placed).then(|| (format!("{}.{other}", code.module), code))
    }

    /// A class whose module is the project's or nobody's, at a name of a library.
    fn is_foreign_class(&self, standing: &Standing) -> bool {
        standing.object.starts_with("class ")
            && !standing.home.as_str().is_empty()
            && !self.is_library(&standing.home)
    }

    /// The package whose loader makes the module's code, if it is one that is vouched for.
    fn maker(&self, namespace: &Namespace) -> Option<String> {
        let code = namespace.maker.first()?;
        match (self.whose)(&code.file) {
            Whose::Package(name) if self.vouch(code) != Vouch::Differs => Some(name),
            _ => None,
        }
    }

    fn hook(&self, hook: &HookFact, judged: &mut Judged) {
        let mut found = Found {
            key: (Rule::HookUnexplained, hook.kind.clone(), hook.on.clone()),
            subject: format!("{} on {}", hook.kind, hook.on),
            wrong: Wrong::Hook,
            code: None,
            object: hook.object.clone(),
            wraps: false,
            later: false,
        };
        if let Some(by) = &hook.carried {
            let package = !hook.chain.is_empty()
                && hook.chain.iter().all(|code| {
                    matches!((self.whose)(&code.file), Whose::Package(_))
                        && self.vouch(code) != Vouch::Differs
                });
            if !package {
                let first = hook.chain.first();
                found.wrong = Wrong::Carried { by: by.clone() };
                found.code = first.map(|code| (code.clone(), (self.whose)(&code.file)));
                judged.found.push(found);
            }
        } else if let Some(code) = self.suspicious(&hook.chain, false) {
            found.code = Some(code);
            judged.found.push(found);
        }
    }

    fn set(&self, set: &SetFact, judged: &mut Judged) {
        if self.is_library(&set.file) || !self.is_library(&set.home) {
            return;
        }
        judged.found.push(Found {
            key: (Rule::CodeInMemory, set.module.clone(), set.place.clone()),
            subject: format!("{}.{}", set.module, set.place),
            wrong: Wrong::Set {
                name: set.name.clone(),
                line: set.line,
            },
            code: Some((
                CodePlace {
                    file: set.file.clone(),
                    line: set.line,
                    name: set.by.clone(),
                    module: String::new(),
                    digest: String::new(),
                },
                (self.whose)(&set.file),
            )),
            object: "function".to_owned(),
            wraps: false,
            later: true,
        });
    }
}

fn replaced(namespace: &Namespace, place: &str) -> Found {
    Found {
        key: (
            Rule::FunctionReplaced,
            namespace.module.clone(),
            place.to_owned(),
        ),
        subject: format!("{}.{place}", namespace.module),
        wrong: Wrong::Replaced,
        code: None,
        object: "function".to_owned(),
        wraps: false,
        later: false,
    }
}

/// Modules of native code, whose names are set by no file of Python.
fn is_native(module: &str) -> bool {
    module == "builtins" || module.split('.').any(|part| part == "_C")
}

/// Whether the function at `place` is one that is made from text: the source leaves the name open, and makes code from
/// text itself, or a decorator of the class does so for methods with double underscores; tuples and enumerations get two.
fn is_generated(place: &str, table: &Table) -> bool {
    if table.definitions.contains_key(place) || table.bound.contains_key(place) {
        return false;
    }
    let Some((class, name)) = place.rsplit_once('.') else {
        return table.makes;
    };
    let special = is_special(place);
    let made = table.decorated.contains(class) || matches!(name, "__new__" | "__repr__");
    table.makes || special && made
}

/// Whether a place is a method that Python calls by itself: those are what decorators of classes make.
fn is_special(place: &str) -> bool {
    place
        .rsplit_once('.')
        .is_some_and(|(_, name)| name.starts_with("__") && name.ends_with("__"))
}

/// What a file compiles to is not known.
fn not_compared(namespace: &Namespace, why: &str) -> (String, String) {
    (
        format!("functions of module {} in memory", namespace.module),
        format!("not compared with {}: {why}", namespace.file),
    )
}

/// A loader makes the code of a module: it cannot be compared with the file.
fn made_by(namespace: &Namespace, package: &str) -> (String, String) {
    (
        format!("functions of module {} in memory", namespace.module),
        format!(
            "its code is made by a loader of {package}, which need not be what a file compiles to"
        ),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const TORCH: &str = "/site/torch/optim/adamw.py";

    fn whose(path: &PathText) -> Whose {
        match path.as_str() {
            path if path.starts_with("/site/loose") => Whose::Nobody,
            path if path.starts_with("/site/") => Whose::Package("torch 2.15.0".to_owned()),
            path if path.starts_with("/project/") => Whose::Project,
            _ => Whose::Nowhere,
        }
    }

    /// Tables of two files: the library's `AdamW.step` and `adamw`, and the project's `step`.
    fn tables() -> BTreeMap<&'static str, Table> {
        let mut library = Table::default();
        for (place, line) in [("AdamW.step", 3), ("adamw", 9)] {
            let codes = library.codes.entry(format!("digest of {place}"));
            codes.or_default().push((place.to_owned(), line));
            library.definitions.insert(place.to_owned(), 1);
            library.bound.insert(place.to_owned(), 1);
        }
        library.decorated.insert("Options".to_owned());
        let mut project = Table::default();
        let codes = project.codes.entry("digest of step".to_owned());
        codes.or_default().push(("step".to_owned(), 1));
        BTreeMap::from([(TORCH, library), ("/project/train.py", project)])
    }

    fn judge(fact: &MemoryFact) -> Judged {
        let tables = tables();
        let table = |path: &PathText| tables.get(path.as_str()).ok_or("not there".to_owned());
        Judge {
            whose: &whose,
            table: &table,
            program_has_no_file: false,
        }
        .judge(fact)
    }

    fn code(file: &str, digest: &str) -> CodePlace {
        CodePlace {
            file: PathText::from_text(file),
            line: 1,
            name: "f".to_owned(),
            module: "m".to_owned(),
            digest: digest.to_owned(),
        }
    }

    fn namespace() -> Namespace {
        Namespace {
            module: "torch.optim.adamw".to_owned(),
            file: PathText::from_text(TORCH),
            loader: None,
            maker: Vec::new(),
            functions: Vec::new(),
            imported: Vec::new(),
            standing: Vec::new(),
        }
    }

    fn standing(place: &str, chain: Vec<CodePlace>, later: bool) -> MemoryFact {
        let mut namespace = namespace();
        namespace.standing.push(Standing {
            place: place.to_owned(),
            object: "function".to_owned(),
            chain,
            home: PathText::from_text(""),
            later,
        });
        MemoryFact::Namespace(namespace)
    }

    fn natural(place: &str, digest: &str) -> MemoryFact {
        let mut namespace = namespace();
        namespace
            .functions
            .push((place.to_owned(), 3, digest.to_owned()));
        MemoryFact::Namespace(namespace)
    }

    fn rules(judged: &Judged) -> Vec<Rule> {
        judged.found.iter().map(|found| found.key.0).collect()
    }

    #[test]
    fn a_function_that_is_what_its_file_compiles_to_is_nothing() {
        assert!(
            judge(&natural("AdamW.step", "digest of AdamW.step"))
                .found
                .is_empty()
        );
    }

    #[test]
    fn other_code_in_place_is_found_and_so_is_another_function_of_the_same_file() {
        let swapped = judge(&natural("AdamW.step", "digest of nothing"));
        assert_eq!(rules(&swapped), [Rule::CodeInMemory]);
        let other = judge(&natural("AdamW.step", "digest of adamw"));
        assert_eq!(rules(&other), [Rule::FunctionReplaced]);
        let Some(Found {
            wrong: Wrong::Misplaced { other },
            ..
        }) = other.found.first()
        else {
            panic!("{other:?}");
        };
        assert_eq!(other, "torch.optim.adamw.adamw");
    }

    #[test]
    fn a_wrapper_is_judged_by_whose_code_it_is_and_whether_it_holds_the_original() {
        let original = code(TORCH, "digest of AdamW.step");
        let own = vec![
            code("/project/train.py", "digest of step"),
            original.clone(),
        ];
        let found = judge(&standing("AdamW.step", own, true));
        assert_eq!(rules(&found), [Rule::FunctionReplaced]);
        assert!(found.found.iter().all(|found| found.wraps));
        let text = judge(&standing("AdamW.step", vec![code("<string>", "?")], true));
        assert_eq!(rules(&text), [Rule::FunctionReplaced]);
        assert!(text.found.iter().all(|found| !found.wraps));
        let loose = vec![code("/site/loose.py", "?"), original.clone()];
        assert_eq!(
            rules(&judge(&standing("AdamW.step", loose, false))),
            [Rule::FunctionReplaced]
        );
        let library = vec![code(TORCH, "digest of adamw"), original];
        assert!(
            judge(&standing("AdamW.step", library, true))
                .found
                .is_empty()
        );
    }

    #[test]
    fn a_genuine_function_at_a_name_that_is_not_its_own_is_found() {
        let elsewhere = vec![code(TORCH, "digest of adamw")];
        let found = judge(&standing("AdamW.step", elsewhere.clone(), true));
        assert_eq!(rules(&found), [Rule::FunctionReplaced]);
        assert!(
            judge(&standing("AdamW.other", elsewhere, false))
                .found
                .is_empty()
        );
    }

    #[test]
    fn what_a_class_decorator_generates_is_none_but_only_under_names_that_the_source_leaves_open() {
        let text = || vec![code("<string>", "?")];
        assert!(
            judge(&standing("Options.__eq__", text(), false))
                .found
                .is_empty()
        );
        for place in ["Options.step", "AdamW.__eq__", "AdamW.__setattr__"] {
            let found = judge(&standing(place, text(), false));
            assert_eq!(rules(&found), [Rule::FunctionReplaced], "{place}");
        }
    }

    #[test]
    fn what_may_be_generated_waits_for_its_file_and_a_step_made_from_text_only_while_it_is_pending()
    {
        let judge = |place: &str, why: &str| {
            let table = |_: &PathText| Err::<&Table, _>(why.to_owned());
            let judge = Judge {
                whose: &whose,
                table: &table,
                program_has_no_file: false,
            };
            let judged = judge.judge(&standing(place, vec![code("<string>", "?")], false));
            (judged.found.len(), judged.gaps.len())
        };
        assert_eq!(judge("Options.__eq__", PENDING), (0, 1));
        assert_eq!(judge("AdamW.step", PENDING), (0, 1));
        assert_eq!(judge("Options.__eq__", "it is gone"), (0, 1));
        assert_eq!(judge("AdamW.step", "it is gone"), (1, 0));
    }

    fn hook(chain: Vec<CodePlace>, carried: Option<&str>) -> MemoryFact {
        MemoryFact::Hook(HookFact {
            kind: "forward hook".to_owned(),
            on: "module 0".to_owned(),
            object: "function".to_owned(),
            chain,
            carried: carried.map(PathText::from_text),
        })
    }

    #[test]
    fn a_hook_of_the_program_is_its_own_and_one_that_a_checkpoint_brought_is_found() {
        let own = || vec![code("/project/train.py", "digest of step")];
        assert!(judge(&hook(own(), None)).found.is_empty());
        for chain in [own(), Vec::new(), vec![code("<string>", "?")]] {
            let found = judge(&hook(chain, Some("/ckpt.pt")));
            assert_eq!(rules(&found), [Rule::HookUnexplained]);
        }
        let torch = vec![code(TORCH, "digest of adamw")];
        assert!(judge(&hook(torch, Some("/ckpt.pt"))).found.is_empty());
        let text = judge(&hook(vec![code("<string>", "?")], None));
        assert_eq!(rules(&text), [Rule::HookUnexplained]);
    }

    #[test]
    fn code_that_cannot_be_compared_is_a_gap_and_not_clean() {
        let mut unknown = namespace();
        unknown.file = PathText::from_text("/site/torch/other.py");
        unknown.functions.push(("f".to_owned(), 1, "?".to_owned()));
        let judged = judge(&MemoryFact::Namespace(unknown));
        assert!(
            judged.found.is_empty() && judged.gaps.len() == 1,
            "{judged:?}"
        );
    }

    #[test]
    fn code_set_in_place_by_the_project_is_found_and_by_a_package_is_none() {
        let set = |file: &str| {
            MemoryFact::Set(SetFact {
                module: "torch.optim.adamw".to_owned(),
                home: PathText::from_text(TORCH),
                place: "AdamW.step".to_owned(),
                name: "__code__".to_owned(),
                file: PathText::from_text(file),
                line: 7,
                by: "<module>".to_owned(),
            })
        };
        assert_eq!(
            rules(&judge(&set("/project/train.py"))),
            [Rule::CodeInMemory]
        );
        assert!(judge(&set(TORCH)).found.is_empty());
    }
}
