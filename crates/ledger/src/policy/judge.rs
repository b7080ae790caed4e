//! Holds a cosigned tree head against a policy: who cosigned and when, who did not, whether that is enough.
//!
//! Every way in which a witness of the policy can fail to count has a name of its own, because they mean different things:
//! silence, a cosignature that does not verify, one from the future, one by another key under the same name.

use std::fmt;

use super::{Member, Policy};
use crate::cosignature::{CosignatureError, CosignerKey};
use crate::note::Note;
use crate::tree_head::{self, TreeHead, TreeHeadError};

/// How far a cosignature's time may lie ahead of the own clock, in seconds.
pub const MAX_AHEAD_SECONDS: u64 = 3600;

/// What a policy says of a tree head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// Each witness of the policy, in its order.
    pub witnesses: Vec<Judged>,
    /// Names of keys that signed and are neither the log's nor a witness's of the policy.
    pub strangers: Vec<String>,
    /// Whether enough of them cosigned.
    pub quorum: bool,
    /// The fewest that would be enough.
    pub needed: usize,
}

/// One witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// Its name in the policy.
    pub name: String,
    /// What is there of it.
    pub state: State,
}

/// What is there of a witness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It cosigned.
    Cosigned {
        /// When, in seconds since 1970; 0 when it did not say.
        at: u64,
    },
    /// Nothing.
    Missing,
    /// A cosignature under its name, by another key.
    OtherKey,
    /// A cosignature under its name and key that does not hold.
    Bad(CosignatureError),
    /// A good cosignature whose time has not come; it does not count.
    Ahead {
        /// When, in seconds since 1970.
        at: u64,
    },
}

impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cosigned { .. } => formatter.write_str("cosigned"),
            Self::Missing => formatter.write_str("no cosignature"),
            Self::OtherKey => formatter.write_str("wrong witness: a cosignature by another key"),
            Self::Bad(error) => error.fmt(formatter),
            Self::Ahead { .. } => formatter.write_str("a cosignature from the future"),
        }
    }
}

impl Judgement {
    /// The witnesses that cosigned.
    pub fn cosigned(&self) -> impl Iterator<Item = &Judged> {
        let is = |it: &&Judged| matches!(it.state, State::Cosigned { .. });
        self.witnesses.iter().filter(is)
    }

    /// Those that did not, for whatever reason.
    pub fn lacking(&self) -> impl Iterator<Item = &Judged> {
        let is = |it: &&Judged| !matches!(it.state, State::Cosigned { .. });
        self.witnesses.iter().filter(is)
    }
}

impl Policy {
    /// Opens a signed tree head of one of the policy's logs.
    pub fn open(&self, bytes: &[u8]) -> Result<(TreeHead, Note), TreeHeadError> {
        let mut last = TreeHeadError::Origin;
        for log in &self.logs {
            match tree_head::open(bytes, &log.key) {
                Err(TreeHeadError::Origin) => {}
                Err(error) => last = error,
                opened => return opened,
            }
        }
        Err(last)
    }

    /// Judges a signed tree head, at `now` seconds since 1970. That the log signed it is for [`tree_head::open`] to say;
    /// `log` is the name of the log's key.
    pub fn judge(&self, note: &Note, log: &str, now: u64) -> Judgement {
        let judged = |(name, key): (&String, &CosignerKey)| Judged {
            name: name.clone(),
            state: state(key, note, now),
        };
        let keys = self.witnesses.iter().map(|it| (&it.name, &it.key));
        let witnesses: Vec<_> = keys.map(judged).collect();
        let is_known = |name: &str, id: [u8; 4]| {
            let mut keys = self.witnesses.iter().map(|it| &it.key);
            name == log || keys.any(|key| key.name() == name && key.id() == id)
        };
        let strangers = note.signatures().iter();
        let strangers = strangers.filter(|it| !is_known(&it.name, it.key_id));
        Judgement {
            quorum: self.is_enough(&witnesses),
            strangers: strangers.map(|it| it.name.clone()).collect(),
            witnesses,
            needed: self.needed(),
        }
    }

    /// The judgement of a head that nobody cosigned.
    pub fn judge_nothing(&self) -> Judgement {
        let witnesses: Vec<_> = self
            .witnesses
            .iter()
            .map(|it| Judged {
                name: it.name.clone(),
                state: State::Missing,
            })
            .collect();
        Judgement {
            quorum: self.is_enough(&witnesses),
            strangers: Vec::new(),
            witnesses,
            needed: self.needed(),
        }
    }

    /// Groups name only what stands above them, so one pass settles all.
    fn is_enough(&self, witnesses: &[Judged]) -> bool {
        let holds = |member: Member, groups: &[bool]| match member {
            Member::Witness(at) => witnesses
                .get(at)
                .is_some_and(|it| matches!(it.state, State::Cosigned { .. })),
            Member::Group(at) => groups.get(at).copied().unwrap_or_default(),
        };
        let mut groups: Vec<bool> = Vec::new();
        for group in &self.groups {
            let members = group.members.iter().filter(|it| holds(**it, &groups));
            let enough = members.count() >= group.at_least;
            groups.push(enough);
        }
        self.quorum.is_none_or(|quorum| holds(quorum, &groups))
    }
}

fn state(key: &CosignerKey, note: &Note, now: u64) -> State {
    match key.read(note) {
        Some(Ok(cosigned)) if cosigned.at > now.saturating_add(MAX_AHEAD_SECONDS) => {
            State::Ahead { at: cosigned.at }
        }
        Some(Ok(cosigned)) => State::Cosigned { at: cosigned.at },
        Some(Err(error)) => State::Bad(error),
        None if note.signatures().iter().any(|it| it.name == key.name()) => State::OtherKey,
        None => State::Missing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cosignature::Algorithm;
    use crate::cosigner::Cosigner;
    use crate::disk::Kernel;
    use crate::policy::parse;

    const NOW: u64 = 1_800_000_000;

    struct World {
        folder: tempfile::TempDir,
        note: Note,
    }

    impl World {
        fn new() -> Self {
            Self {
                folder: tempfile::tempdir().unwrap(),
                note: Note::new(TreeHead::empty().text("log"), Vec::new()),
            }
        }

        /// The cosigner that lies in a file; its key's name is told apart from the file's.
        fn cosigner(&self, file: &str, name: &str) -> Cosigner {
            let kind = if file.ends_with("pq") {
                Algorithm::MlDsa44
            } else {
                Algorithm::Ed25519
            };
            let path = self.folder.path().join(file);
            Cosigner::load_or_make(&Kernel, &path, name, kind).unwrap()
        }

        fn policy(&self, names: &[&str], rest: &str) -> Policy {
            let lines = names.iter().map(|name| {
                let key = self.cosigner(name, &format!("{name}.example"));
                format!("witness {name} {}\n", key.key().encode())
            });
            parse((lines.collect::<String>() + rest).as_bytes()).unwrap()
        }

        fn cosigned(&self, names: &[&str], at: u64) -> Note {
            names.iter().fold(self.note.clone(), |note, name| {
                let cosigner = self.cosigner(name, &format!("{name}.example"));
                let signature = cosigner.cosign(&note, at).unwrap();
                note.signed_also(signature)
            })
        }
    }

    #[test]
    fn a_quorum_over_groups_holds_with_enough_of_each_and_not_otherwise() {
        let world = World::new();
        let names = ["a", "b", "c", "d", "e-pq"];
        let rest = "group x 2 a b c\ngroup y any d e-pq\ngroup both all x y\nquorum both\n";
        let policy = world.policy(&names, rest);
        assert_eq!(policy.needed(), 3);
        for set in 0..32_u32 {
            let has = |at: usize| set & (1 << at) != 0;
            let present: Vec<&str> = (0..5).filter(|at| has(*at)).map(|at| names[at]).collect();
            let judgement = policy.judge(&world.cosigned(&present, NOW), "log", NOW);
            let of_x = (0..3).filter(|at| has(*at)).count();
            assert_eq!(judgement.quorum, of_x >= 2 && (has(3) || has(4)), "{set:b}");
            assert_eq!(judgement.cosigned().count(), present.len());
            assert_eq!(judgement.lacking().count(), 5 - present.len());
            assert_eq!(judgement.strangers, [""; 0]);
        }
    }

    #[test]
    fn no_quorum_needs_nobody_and_one_witness_needs_that_one() {
        let world = World::new();
        let none = world.policy(&["a"], "quorum none\n");
        assert!(none.judge(&world.note, "log", NOW).quorum);
        assert_eq!(none.needed(), 0);
        let one = world.policy(&["a", "b"], "quorum b\n");
        assert!(!one.judge(&world.cosigned(&["a"], NOW), "log", NOW).quorum);
        assert!(one.judge(&world.cosigned(&["b"], NOW), "log", NOW).quorum);
    }

    #[test]
    fn every_way_of_not_counting_has_its_name() {
        let world = World::new();
        let policy = world.policy(&["a", "b", "c", "d"], "group g any a b c d\nquorum g\n");
        let mut note = world.cosigned(&["a", "b"], NOW);
        // a: damaged; b: from the future; c: by a key that is not c's; d: silent; and somebody unknown.
        let mut damaged = note.signatures()[0].clone();
        damaged.signature[20] ^= 1;
        note = note.signed_also(damaged);
        let late = world.cosigner("b", "b.example");
        let late = late.cosign(&note, NOW + MAX_AHEAD_SECONDS + 1).unwrap();
        note = note.signed_also(late);
        for (file, name) in [("false c", "c.example"), ("somebody", "somebody.example")] {
            let signature = world.cosigner(file, name).cosign(&note, NOW).unwrap();
            note = note.signed_also(signature);
        }
        let judgement = policy.judge(&note, "log", NOW);
        let states: Vec<State> = judgement.witnesses.iter().map(|it| it.state).collect();
        assert_eq!(
            states,
            [
                State::Bad(CosignatureError::Signature),
                State::Ahead {
                    at: NOW + MAX_AHEAD_SECONDS + 1
                },
                State::OtherKey,
                State::Missing
            ]
        );
        assert_eq!(judgement.strangers, ["c.example", "somebody.example"]);
        assert!(!judgement.quorum);
    }
}
