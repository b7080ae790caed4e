//! A store for tests: runs written entry by entry, without starting anything.

use domain::entry::{Act, ENTRY_VERSION, End, Launch};
use domain::{Body, Digest, Entry, Gap, Outcome, Person, Process, RunId, Tier};
use ledger::{Store, Writer};

use crate::place::Surroundings;
use crate::queries::Reading;

/// When the first run of a test began: 2023-11-14T22:13:20Z.
pub(crate) const START_US: i64 = 1_700_000_000_000_000;

/// A folder with a store and private keys.
pub(crate) struct Place {
    _folder: tempfile::TempDir,
    pub(crate) surroundings: Surroundings,
    pub(crate) store: Store,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let store = Store::open_or_create(&at("store")).unwrap();
        let surroundings = Surroundings {
            cwd: folder.path().to_owned(),
            store: Some(at("store")),
            data_home: Some(at("data")),
            cache_home: Some(at("cache")),
            ..Surroundings::default()
        };
        Self {
            _folder: folder,
            surroundings,
            store,
        }
    }

    /// The writer that the use-cases have too.
    pub(crate) fn writer(&self) -> Writer {
        crate::writing::open(&self.store, &self.surroundings.keys().unwrap()).unwrap()
    }

    /// Where the private key of a log lies.
    pub(crate) fn key_file(&self, log: &str) -> std::path::PathBuf {
        let keys = self.surroundings.keys().unwrap();
        keys.join(format!("{}.{log}.key", self.store.id()))
    }

    /// Puts a private key back.
    pub(crate) fn restore_key(&self, log: &str, bytes: &[u8]) {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::write(self.key_file(log), bytes).unwrap();
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(self.key_file(log), mode).unwrap();
    }

    pub(crate) fn append(&self, entries: &[Entry]) {
        let entries: Vec<_> = entries
            .iter()
            .map(|entry| entry.encode().unwrap())
            .collect();
        self.writer().append(&entries).unwrap();
    }

    pub(crate) fn reading(&self) -> Reading {
        Reading::open(&self.surroundings).unwrap()
    }

    /// A run that begins `number` days after [`START_US`].
    pub(crate) fn run(&self, number: u8) -> TestRun {
        let at_us = START_US + i64::from(number) * 86_400_000_000;
        let ms = u64::try_from(at_us / 1000).unwrap();
        let command = br#"{"argv":["true"],"cwd":"/"}"#;
        let sealed = [&[number; 32][..], command].concat();
        TestRun {
            id: RunId::new(ms, [number; 10]),
            at_us,
            command: self.store.put_blob(&sealed).unwrap(),
            variables: self.store.put_blob(&[number; 40]).unwrap(),
        }
    }
}

/// A run to be written.
pub(crate) struct TestRun {
    pub(crate) id: RunId,
    pub(crate) at_us: i64,
    pub(crate) command: Digest,
    pub(crate) variables: Digest,
}

impl TestRun {
    pub(crate) fn entry(&self, seq: u64, body: Body) -> Entry {
        let at = self.at_us + i64::try_from(seq).unwrap() * 1_000_000;
        Entry {
            v: ENTRY_VERSION,
            run: self.id,
            seq,
            event_us: at,
            capture_us: at,
            tier: Tier::Supervisor,
            body,
        }
    }

    pub(crate) fn launch(&self, seq: u64) -> Entry {
        let launch = Launch {
            name: self.id.name(0),
            taintline: "test".to_owned(),
            supervisor: Process {
                boot: "another boot".to_owned(),
                pid: 1,
                started: 1,
            },
            kernel: "test".to_owned(),
            person: Person {
                host: host::identity::host_name(),
                ..Person::default()
            },
            command: self.command,
            same: Digest::of(b"the same command"),
            variables: self.variables,
            head: 0,
            heartbeat_us: Some(30_000_000),
        };
        self.entry(seq, Body::Act(Act::Launch(Box::new(launch))))
    }

    pub(crate) fn gap(&self, seq: u64, what: &str) -> Entry {
        let gap = Gap {
            what: what.to_owned(),
            why: "test".to_owned(),
        };
        self.entry(seq, Body::Gap(gap))
    }

    pub(crate) fn end(&self, seq: u64) -> Entry {
        let end = End {
            outcome: Outcome::Exited { code: 0 },
            wall_us: 1,
            watch_cpu_us: 0,
            sensor_us: 0,
            steps: 0,
            findings: 0,
            gaps: 0,
        };
        self.entry(seq, Body::Act(Act::End(Box::new(end))))
    }
}
