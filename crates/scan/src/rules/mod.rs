//! The allow model: which names checkpoints legitimately need, and in which role.
//!
//! The model is data, in `rules/scan/`: what frameworks' own reducers need was learnt from the frameworks and, for every
//! call, reviewed by what it does with its arguments. Judgement never depends on a list of bad names. The one table that
//! holds some ([`Rules::effect`]) finds words for what was stopped already. What is installed here plays no role.

mod entry;
mod project;
mod table;

use std::collections::{HashMap, HashSet};

use domain::scan::Rule;
use domain::{Digest, Hasher};

pub use entry::{Entry, Guard, Kind, Makes};
pub use project::{Admitted, Project, ProjectError};

use table::Table;

/// One framework's part of the model.
struct Source {
    name: &'static str,
    /// Written and reviewed by hand.
    reviewed: &'static str,
    /// Made by `rules/scan/learn.py`, sorted.
    learnt: &'static str,
}

macro_rules! sources {
    ($($name:literal),* $(,)?) => {
        &[$(Source {
            name: $name,
            reviewed: include_str!(concat!("../../../../rules/scan/", $name, ".rules")),
            learnt: include_str!(concat!("../../../../rules/scan/", $name, ".learnt")),
        }),*]
    };
}

const SOURCES: &[Source] = sources![
    "python",
    "numpy",
    "torch",
    "sklearn",
    "huggingface",
    "others"
];
const LIBRARY: &str = include_str!("../../../../rules/scan/library.modules");
const EFFECTS: &str = include_str!("../../../../rules/scan/effects.words");

/// The rules that a judgement is made by.
#[derive(Debug, Default)]
pub struct Rules {
    reviewed: HashMap<(&'static str, &'static str), Entry>,
    /// Top-level package to the framework that it belongs to.
    packages: HashMap<&'static str, &'static str>,
    learnt: Vec<(&'static str, Table)>,
    library: HashSet<&'static str>,
    project: Project,
}

/// How well a name is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// The model has it.
    Listed(Entry),
    /// It belongs to this framework; the model does not have it.
    Framework(&'static str),
    /// It belongs to Python's standard library; the model does not have it.
    Library,
    /// It is defined by the program that wrote the file.
    Main,
    /// Nobody knows it.
    Foreign,
}

impl Rules {
    /// The rules that ship with this program.
    pub fn builtin() -> Self {
        let mut rules = Self {
            library: lines(LIBRARY).flat_map(str::split_whitespace).collect(),
            ..Self::default()
        };
        for source in SOURCES {
            rules.admit(source);
        }
        rules
    }

    /// The same rules as if `framework` had never been heard of. Names of frameworks: [`Rules::frameworks`].
    #[must_use]
    pub fn without(mut self, framework: &str) -> Self {
        self.reviewed
            .retain(|_, entry| entry.framework != framework);
        self.packages.retain(|_, name| *name != framework);
        self.learnt.retain(|(name, _)| *name != framework);
        self
    }

    /// The same rules and what the project admits on top. It admits custom classes and unknown calls, nothing dangerous.
    #[must_use]
    pub fn with_project(mut self, project: Project) -> Self {
        self.project = project;
        self
    }

    /// The frameworks whose names the model has.
    pub fn frameworks() -> impl Iterator<Item = &'static str> {
        SOURCES
            .iter()
            .flat_map(|source| lines(source.reviewed))
            .filter_map(|line| line.strip_prefix("framework "))
            .filter_map(|line| line.split_whitespace().next())
    }

    /// What names the rules that ship: the digest of all their text.
    pub fn digest() -> Digest {
        let mut hasher = Hasher::new();
        let texts = SOURCES.iter();
        let texts = texts.flat_map(|source| [source.name, source.reviewed, source.learnt]);
        for text in texts.chain([LIBRARY, EFFECTS]) {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        hasher.finish()
    }

    /// What the project admits.
    pub fn project(&self) -> &Project {
        &self.project
    }

    /// How well `name` of `module` is known.
    pub fn standing(&self, module: &str, name: &str) -> Standing {
        let canonical = canonical(module);
        let module = canonical.as_deref().unwrap_or(module);
        if let Some(entry) = self.reviewed.get(&(module, name)) {
            return Standing::Listed(*entry);
        }
        let package = module.split('.').next().unwrap_or(module);
        if let Some(framework) = self.packages.get(package) {
            let found = self
                .tables(framework)
                .find_map(|table| table.find(module, name));
            return match found.or_else(|| self.moved(framework, name)) {
                Some(entry) => Standing::Listed(Entry { framework, ..entry }),
                None if *framework == PYTHON => Standing::Library,
                None => Standing::Framework(framework),
            };
        }
        if package == "__main__" || package == "__mp_main__" {
            return Standing::Main;
        }
        if self.library.contains(package) {
            return Standing::Library;
        }
        Standing::Foreign
    }

    /// Whether `name` is a module of the standard library or the top of a known framework: modules import each other, so
    /// such a name within a module is that module and not a thing of its own.
    pub fn is_module(&self, name: &str) -> bool {
        self.library.contains(name) || self.packages.contains_key(name)
    }

    /// Words for what a name that the model does not have would do. Says nothing about whether it may.
    pub fn effect(module: &str, name: &str) -> Option<Rule> {
        lines(EFFECTS).find_map(|line| effect_of_line(line, module, name))
    }

    fn tables(&self, framework: &str) -> impl Iterator<Item = &Table> {
        self.learnt
            .iter()
            .filter(move |(name, _)| *name == framework)
            .map(|(_, table)| table)
    }

    /// A class that another version of the same framework keeps in another module.
    fn moved(&self, framework: &str, name: &str) -> Option<Entry> {
        if framework == PYTHON || !looks_like_class(name) {
            return None;
        }
        self.tables(framework)
            .find_map(|table| table.anywhere(name))
    }

    fn admit(&mut self, source: &Source) {
        let mut framework = source.name;
        for line in lines(source.reviewed) {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("framework") => {
                    let mut packages = words;
                    framework = packages.next().unwrap_or(framework);
                    self.packages
                        .extend(packages.map(|package| (package, framework)));
                    self.learnt.push((framework, Table::new(source.learnt)));
                }
                Some(verb) => {
                    let module = words.next().unwrap_or_default();
                    let Some(entry) = Entry::parse(verb, line, framework) else {
                        continue;
                    };
                    let names = words.take_while(|word| *word != "|");
                    self.reviewed
                        .extend(names.map(|name| ((module, name), entry)));
                }
                None => {}
            }
        }
    }
}

/// Whether a name reads as that of a class: `Linear`, `_Private`, `Outer.Inner`.
pub fn looks_like_class(name: &str) -> bool {
    name.split('.').all(|part| {
        let bare = part.trim_start_matches('_');
        bare.starts_with(char::is_uppercase)
    })
}

const PYTHON: &str = "python";

/// Modules that were renamed as a whole.
fn canonical(module: &str) -> Option<String> {
    let renamed = [
        ("numpy._core", "numpy.core"),
        ("pathlib._local", "pathlib"),
        // Python 2, where the machine has not mapped it already.
        ("__builtin__", "builtins"),
        ("copy_reg", "copyreg"),
    ];
    renamed.iter().find_map(|(from, to)| {
        let rest = module.strip_prefix(from)?;
        (rest.is_empty() || rest.starts_with('.')).then(|| format!("{to}{rest}"))
    })
}

fn lines(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// A line is `rule module name…`; a star in a module or name stands for anything.
fn effect_of_line(line: &str, module: &str, name: &str) -> Option<Rule> {
    let mut words = line.split_whitespace();
    let (rule, pattern) = (words.next()?, words.next()?);
    if !fits(pattern, module) || !words.any(|word| fits(word, name)) {
        return None;
    }
    Rule::ALL.iter().find(|known| known.id() == rule).copied()
}

fn fits(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return text == pattern;
    };
    let Some(mut text) = text.strip_prefix(start) else {
        return false;
    };
    let Some((middle, end)) = rest.rsplit_once('*') else {
        return text.ends_with(rest);
    };
    if let Some(at) = text.find(middle) {
        text = text.get(at + middle.len()..).unwrap_or_default();
        return text.ends_with(end);
    }
    false
}

impl std::fmt::Debug for Source {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_model_says_something() {
        for source in SOURCES {
            for line in lines(source.reviewed) {
                let verb = line.split_whitespace().next().unwrap();
                let known = verb == "framework" || Entry::parse(verb, line, "any").is_some();
                assert!(known, "{}: {line}", source.name);
            }
        }
        for line in lines(EFFECTS) {
            let mut words = line.split_whitespace();
            let rule = words.next().unwrap();
            assert!(Rule::ALL.iter().any(|known| known.id() == rule), "{line}");
            assert!(words.count() >= 2, "{line}");
        }
    }

    #[test]
    fn learnt_tables_are_sorted_so_that_bisection_finds_every_module() {
        for source in SOURCES {
            let modules: Vec<&str> = lines(source.learnt)
                .filter_map(|line| line.split_whitespace().next())
                .collect();
            assert!(modules.is_sorted(), "{}", source.name);
            let table = Table::new(source.learnt);
            for line in lines(source.learnt) {
                let mut words = line.split_whitespace();
                let module = words.next().unwrap();
                let name = words.next().unwrap().split(':').next().unwrap();
                assert!(table.find(module, name).is_some(), "{module} {name}");
            }
        }
    }

    #[test]
    fn a_framework_that_is_taken_away_is_foreign() {
        let name = ("torch._utils", "_rebuild_tensor_v2");
        let rules = Rules::builtin();
        assert!(matches!(
            rules.standing(name.0, name.1),
            Standing::Listed(_)
        ));
        let rules = rules.without("torch");
        assert_eq!(rules.standing(name.0, name.1), Standing::Foreign);
    }

    #[test]
    fn a_renamed_module_keeps_its_names() {
        let rules = Rules::builtin();
        let old = rules.standing("numpy.core.multiarray", "_reconstruct");
        assert!(matches!(old, Standing::Listed(_)));
        assert_eq!(
            old,
            rules.standing("numpy._core.multiarray", "_reconstruct")
        );
    }
}
