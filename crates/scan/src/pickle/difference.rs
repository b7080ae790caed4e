//! What a file needs that an earlier one of the same project did not: the question behind `scan --since`.

use std::collections::BTreeMap;

use domain::scan::{Need, Role};

/// How the needs of two files differ, each list sorted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Difference {
    /// Names in roles in which the earlier file did not need them.
    pub new: Vec<Need>,
    /// Names in roles that the later file does not need any more.
    pub gone: Vec<Need>,
    /// Names in the same role that are judged more heavily now; as they are now.
    pub heavier: Vec<Need>,
}

impl Difference {
    /// Whether the later file needs nothing that the earlier one did not need.
    pub fn is_harmless(&self) -> bool {
        self.new.is_empty() && self.heavier.is_empty()
    }
}

/// From the needs of an earlier and a later file.
pub fn difference(old: &[Need], new: &[Need]) -> Difference {
    let (before, after) = (by_name(old), by_name(new));
    let missing = |from: &BTreeMap<Key<'_>, &Need>, other: &BTreeMap<Key<'_>, &Need>| {
        let lacking = from.iter().filter(|(key, _)| !other.contains_key(*key));
        lacking.map(|(_, need)| (*need).clone()).collect()
    };
    let heavier = after.iter().filter(|(key, need)| {
        before
            .get(*key)
            .is_some_and(|known| known.weight < need.weight)
    });
    Difference {
        new: missing(&after, &before),
        gone: missing(&before, &after),
        heavier: heavier.map(|(_, need)| (*need).clone()).collect(),
    }
}

type Key<'n> = (&'n str, &'n str, Role);

fn by_name(needs: &[Need]) -> BTreeMap<Key<'_>, &Need> {
    let mut map: BTreeMap<Key<'_>, &Need> = BTreeMap::new();
    for need in needs {
        let kept = map
            .entry((&need.module, &need.name, need.role))
            .or_insert(need);
        if kept.weight < need.weight {
            *kept = need;
        }
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::scan::Weight;

    fn need(name: &str, weight: Option<Weight>) -> Need {
        Need {
            module: "app".to_owned(),
            name: name.to_owned(),
            role: Role::Call,
            weight,
        }
    }

    #[test]
    fn a_name_that_was_not_needed_before_is_new() {
        let old = [need("a", None), need("b", Some(Weight::Custom))];
        let new = [
            need("b", Some(Weight::Dangerous)),
            need("c", Some(Weight::Custom)),
        ];
        let difference = difference(&old, &new);
        assert_eq!(difference.new, [new[1].clone()]);
        assert_eq!(difference.gone, [old[0].clone()]);
        assert_eq!(difference.heavier, [new[0].clone()]);
        assert!(!difference.is_harmless());
        assert!(super::difference(&old, &old).is_harmless());
    }
}
