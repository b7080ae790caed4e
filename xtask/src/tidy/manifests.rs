//! Which crates from outside each manifest may name. A new dependency is a decision, and this table is where it shows.

use super::Finding;
use super::crates::{Graph, Kind};

/// One crate's allowance: its short name, what ships, what its tests use besides.
type Row = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);

const ALLOWED: &[Row] = &[
    (
        "app",
        &[
            "getrandom",
            "jiff",
            "rusqlite",
            "rustix",
            "rustls",
            "rustls-native-certs",
            "serde",
            "serde_json",
            "thiserror",
            "toml",
            "ureq",
            "uuid",
        ],
        &["tempfile"],
    ),
    (
        "cli",
        &["clap", "clap_complete", "clap_mangen", "serde"],
        &["insta", "serde_json", "tempfile"],
    ),
    (
        "domain",
        &["ring", "serde", "serde_json", "thiserror", "uuid"],
        &["proptest"],
    ),
    (
        "environment",
        &[
            "base64",
            "csv-core",
            "md-5",
            "rustix",
            "serde",
            "serde_json",
            "thiserror",
            "toml",
        ],
        &["proptest", "tempfile"],
    ),
    (
        "formats",
        &[
            "aho-corasick",
            "bzip2",
            "crc32fast",
            "flate2",
            "lz4_flex",
            "lzma-rust2",
            "memchr",
            "quick-xml",
            "ruzstd",
            "saphyr-parser",
            "serde",
            "serde_json",
            "thiserror",
        ],
        &["proptest", "tempfile"],
    ),
    ("hashing", &["ring", "thiserror"], &["proptest"]),
    (
        "host",
        &[
            "libc",
            "rustix",
            "serde",
            "serde_json",
            "signal-hook",
            "thiserror",
        ],
        &["tempfile"],
    ),
    (
        "ledger",
        &[
            "base64",
            "getrandom",
            "ml-dsa",
            "ring",
            "rustix",
            "serde",
            "serde_json",
            "thiserror",
            "xxhash-rust",
        ],
        &["proptest", "tempfile"],
    ),
    (
        "python",
        &["libc", "pyo3", "rustix", "serde", "serde_json"],
        &["tempfile"],
    ),
    ("report", &["jiff", "serde", "serde_json"], &["insta"]),
    (
        "scan",
        &["base64", "serde", "serde_json", "thiserror"],
        &["proptest"],
    ),
    (
        "server",
        &[
            "http-body-util",
            "hyper",
            "hyper-util",
            "thiserror",
            "tokio",
        ],
        &[],
    ),
    (
        "training",
        &["base64", "serde", "thiserror", "xxhash-rust"],
        &["proptest", "serde_json"],
    ),
    (
        "trust",
        &[
            "base64",
            "blake3",
            "der",
            "ecdsa",
            "getrandom",
            "jiff",
            "p256",
            "p384",
            "p521",
            "ring",
            "rustix",
            "rustls-pki-types",
            "rustls-webpki",
            "serde",
            "serde_json",
            "thiserror",
            "x509-cert",
        ],
        &["proptest", "tempfile"],
    ),
    ("xtask", &["serde_json"], &[]),
];

/// Every name in every manifest against the table.
pub(super) fn check(graph: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, uses) in &graph.own {
        let row = ALLOWED.iter().find(|row| row.0 == name);
        let Some((_, ships, tests)) = row else {
            let what = "has no row in the table of allowed dependencies";
            findings.push(Finding::new(name, 0, what));
            continue;
        };
        for (used, kind) in uses {
            let ours = used.starts_with("taintline-");
            let used = used.as_str();
            let allowed = ships.contains(&used) || (*kind == Kind::Dev && tests.contains(&used));
            if !ours && !allowed {
                let what = format!("must not depend on {used}: it is not in the table");
                findings.push(Finding::new(name, 0, what));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::crates::tests::graph;
    use super::*;

    #[test]
    fn a_dependency_outside_the_table_is_found() {
        let findings = check(&graph(&[("report", &["serde", "tokio"])], &[]));
        assert_eq!(findings.len(), 1);
        assert!(findings[0].what.contains("tokio"));
    }

    #[test]
    fn what_tests_may_use_may_not_ship() {
        let mut ours = graph(&[("report", &["insta"])], &[]);
        assert_eq!(check(&ours).len(), 1);
        ours.own
            .insert("report".to_owned(), vec![("insta".to_owned(), Kind::Dev)]);
        assert_eq!(check(&ours), []);
    }

    #[test]
    fn a_crate_without_a_row_is_found() {
        assert_eq!(check(&graph(&[("cellar", &[])], &[])).len(), 1);
    }
}
