//! The house: which crate stands on which floor, and which walls hold between them.

use super::Finding;
use crate::failure::{Failure, Outcome};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Every crate of the house and its floor. Imports go down only; crates of one floor never see each other.
const FLOORS: &[(&str, u8)] = &[
    ("domain", 0),
    ("formats", 0),
    ("hashing", 0),
    ("allocation", 1),
    ("environment", 1),
    ("host", 1),
    ("ledger", 1),
    ("policy", 1),
    ("report", 1),
    ("scan", 1),
    ("training", 1),
    ("trust", 1),
    ("casework", 2),
    ("app", 3),
    ("python", 4),
    ("server", 4),
    ("cli", 5),
];

/// Pairs that must not meet, not even through others: that someone was treated unfairly must never raise suspicion.
const WALLS: &[(&str, &str)] = &[("allocation", "casework"), ("casework", "allocation")];

/// What the library that enters a training process may link of ours.
const PYTHON_MAY_USE: &[&str] = &["domain", "training"];

/// What must not be anywhere below it: no runtime, no database, no TLS, no command line.
const NEVER_IN_PYTHON: &[&str] = &[
    "async-std",
    "clap",
    "clap_builder",
    "hyper",
    "libsqlite3-sys",
    "native-tls",
    "openssl-sys",
    "reqwest",
    "rusqlite",
    "rustls",
    "tokio",
];

/// How one crate uses another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// In the build that ships, build scripts included.
    Normal,
    /// In tests alone.
    Dev,
}

/// The crates of the workspace and everything below them.
pub(super) struct Graph {
    /// Short name (`ledger`) to what its manifest names.
    pub(super) own: BTreeMap<String, Vec<(String, Kind)>>,
    /// Package name to the names of what it links, tests left out; versions of one name are merged.
    pub(super) links: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    /// Reads the answer of `cargo metadata` with its resolved graph.
    pub(super) fn read(metadata: &Value) -> Outcome<Self> {
        let members: BTreeSet<&str> = list(metadata, "workspace_members")?
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let mut own = BTreeMap::new();
        let mut names = BTreeMap::new();
        for package in list(metadata, "packages")? {
            let (id, name) = (text(package, "id")?, text(package, "name")?);
            names.insert(id, name);
            if members.contains(id) {
                own.insert(short(name).to_owned(), manifest(package)?);
            }
        }
        let mut links: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for node in list(&metadata["resolve"], "nodes")? {
            let name = names.get(text(node, "id")?).copied().unwrap_or_default();
            let below = links.entry(name.to_owned()).or_default();
            for dependency in list(node, "deps")? {
                if is_linked(dependency)? {
                    let linked = names.get(text(dependency, "pkg")?).copied();
                    below.extend(linked.map(str::to_owned));
                }
            }
        }
        Ok(Self { own, links })
    }

    /// Everything below a package, itself left out.
    fn below(&self, package: &str) -> BTreeSet<&str> {
        let mut seen = BTreeSet::new();
        let mut next = vec![package];
        while let Some(name) = next.pop() {
            for linked in self.links.get(name).into_iter().flatten() {
                if seen.insert(linked.as_str()) {
                    next.push(linked);
                }
            }
        }
        seen
    }
}

/// All the laws of the house.
pub(super) fn check(graph: &Graph) -> Vec<Finding> {
    let mut findings = floors(graph);
    findings.extend(walls(graph));
    findings.extend(python(graph));
    findings
}

/// Imports go down only; tests included.
fn floors(graph: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, uses) in &graph.own {
        let ours = uses.iter().map(|(used, _)| short(used));
        let ours = ours.filter(|used| graph.own.contains_key(*used));
        if name == "xtask" {
            let what = |used| Finding::new("xtask", 0, format!("must build without {used}"));
            findings.extend(ours.map(what));
            continue;
        }
        let Some(floor) = floor(name) else {
            findings.push(Finding::new(name, 0, "has no floor in the table"));
            continue;
        };
        for used in ours {
            if floor_or_top(used) >= floor {
                let what = format!("floor {floor} must not use {used}: imports go down only");
                findings.push(Finding::new(name, 0, what));
            }
        }
    }
    findings
}

fn walls(graph: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (from, to) in WALLS {
        let package = format!("taintline-{from}");
        if graph
            .below(&package)
            .into_iter()
            .any(|used| short(used) == *to)
        {
            findings.push(Finding::new(*from, 0, format!("must never see {to}")));
        }
    }
    findings
}

/// What enters a training process stays small.
fn python(graph: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    for used in graph.below("taintline-python") {
        let ours = graph.own.contains_key(short(used));
        let refused = if ours {
            !PYTHON_MAY_USE.contains(&short(used))
        } else {
            NEVER_IN_PYTHON.contains(&used)
        };
        if refused {
            let what = format!("{used} must not enter a training process");
            findings.push(Finding::new("python", 0, what));
        }
    }
    findings
}

fn floor(name: &str) -> Option<u8> {
    let row = FLOORS.iter().find(|(listed, _)| *listed == name);
    row.map(|(_, floor)| *floor)
}

fn floor_or_top(name: &str) -> u8 {
    floor(name).unwrap_or(u8::MAX)
}

fn short(package: &str) -> &str {
    package.strip_prefix("taintline-").unwrap_or(package)
}

fn manifest(package: &Value) -> Outcome<Vec<(String, Kind)>> {
    let mut uses = Vec::new();
    for dependency in list(package, "dependencies")? {
        let kind = match dependency["kind"].as_str() {
            Some("dev") => Kind::Dev,
            _ => Kind::Normal,
        };
        uses.push((text(dependency, "name")?.to_owned(), kind));
    }
    Ok(uses)
}

/// True when some build other than a test's links it.
fn is_linked(dependency: &Value) -> Outcome<bool> {
    let kinds = list(dependency, "dep_kinds")?;
    Ok(kinds
        .iter()
        .any(|kind| kind["kind"].as_str() != Some("dev")))
}

fn list<'a>(value: &'a Value, key: &str) -> Outcome<&'a [Value]> {
    let found = value[key].as_array().map(Vec::as_slice);
    found.ok_or_else(|| missing(key))
}

fn text<'a>(value: &'a Value, key: &str) -> Outcome<&'a str> {
    value[key].as_str().ok_or_else(|| missing(key))
}

fn missing(key: &str) -> Failure {
    Failure::Unreadable {
        what: "cargo metadata",
        detail: format!("no {key}"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A graph from `crate: used used`, all of it linked; short names are ours.
    pub(in crate::tidy) fn graph(rows: &[(&str, &[&str])], outside: &[(&str, &[&str])]) -> Graph {
        let ours: BTreeSet<&str> = rows.iter().map(|row| row.0).collect();
        let full = |name: &str| {
            if ours.contains(name) && name != "xtask" {
                format!("taintline-{name}")
            } else {
                name.to_owned()
            }
        };
        let mut own = BTreeMap::new();
        let mut links: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (name, uses) in rows {
            let uses: Vec<String> = uses.iter().map(|used| full(used)).collect();
            links.insert(full(name), uses.iter().cloned().collect());
            let uses = uses.into_iter().map(|used| (used, Kind::Normal));
            own.insert((*name).to_owned(), uses.collect());
        }
        for (name, uses) in outside {
            let uses = uses.iter().map(|used| (*used).to_owned()).collect();
            links.insert((*name).to_owned(), uses);
        }
        Graph { own, links }
    }

    fn told(findings: &[Finding]) -> String {
        let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
        lines.join("\n")
    }

    #[test]
    fn an_engine_that_uses_an_engine_is_found_and_one_that_uses_the_ground_is_not() {
        let bad = graph(
            &[
                ("domain", &[]),
                ("host", &[]),
                ("ledger", &["host", "domain"]),
            ],
            &[],
        );
        assert_eq!(
            told(&floors(&bad)),
            "ledger: floor 1 must not use host: imports go down only"
        );
        let good = graph(&[("domain", &[]), ("ledger", &["domain"])], &[]);
        assert_eq!(floors(&good), []);
    }

    #[test]
    fn a_crate_without_a_floor_is_found() {
        assert!(told(&floors(&graph(&[("cellar", &[])], &[]))).contains("cellar"));
    }

    #[test]
    fn the_chores_must_build_without_the_project() {
        let bad = graph(&[("domain", &[]), ("xtask", &["domain"])], &[]);
        assert!(told(&floors(&bad)).contains("without domain"));
    }

    #[test]
    fn the_wall_between_fairness_and_suspicion_holds_through_others_too() {
        let bad = graph(
            &[("allocation", &[]), ("casework", &["between"])],
            &[("between", &["taintline-allocation"])],
        );
        assert!(told(&walls(&bad)).contains("must never see allocation"));
    }

    #[test]
    fn a_database_deep_below_the_sensor_is_found() {
        let rows: &[(&str, &[&str])] = &[("domain", &["innocent"]), ("python", &["domain"])];
        assert_eq!(python(&graph(rows, &[])), []);
        let bad = graph(rows, &[("innocent", &["rusqlite"])]);
        assert!(told(&python(&bad)).contains("rusqlite"));
        let app = graph(&[("app", &[]), ("python", &["app"])], &[]);
        assert!(told(&python(&app)).contains("taintline-app"));
    }

    #[test]
    fn metadata_is_read_with_tests_told_apart_from_what_ships() {
        let metadata = serde_json::json!({
            "workspace_members": ["d"],
            "packages": [
                {"id": "d", "name": "taintline-domain", "dependencies": [
                    {"name": "ring", "kind": null}, {"name": "proptest", "kind": "dev"}]},
                {"id": "r", "name": "ring", "dependencies": []},
                {"id": "p", "name": "proptest", "dependencies": []},
            ],
            "resolve": {"nodes": [
                {"id": "d", "deps": [
                    {"pkg": "r", "dep_kinds": [{"kind": null}]},
                    {"pkg": "p", "dep_kinds": [{"kind": "dev"}]}]},
            ]},
        });
        let graph = Graph::read(&metadata).unwrap();
        assert_eq!(graph.own["domain"][1], ("proptest".to_owned(), Kind::Dev));
        assert!(graph.below("taintline-domain").contains("ring"));
        assert!(!graph.below("taintline-domain").contains("proptest"));
        assert!(Graph::read(&serde_json::json!({})).is_err());
    }
}
