//! Reads a policy file. Pure and total: any bytes give a policy or an error with its line.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Group, LineError, MAX_ITEMS, MAX_POLICY_BYTES, Member, Policy, PolicyError, PolicyLog,
    PolicyWitness,
};
use crate::cosignature::CosignerKey;
use crate::note::{VerifierKey, VerifierKeySyntax};

/// Reads a policy.
pub fn parse(bytes: &[u8]) -> Result<Policy, PolicyError> {
    if bytes.len() > MAX_POLICY_BYTES {
        return Err(PolicyError::TooLong);
    }
    let mut reader = Reader::default();
    for (at, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let read = reader.line(line);
        read.map_err(|why| PolicyError::Line { line: at + 1, why })?;
    }
    let quorum = reader.quorum.ok_or(PolicyError::NoQuorum)?;
    Ok(Policy {
        logs: reader.logs,
        witnesses: reader.witnesses,
        groups: reader.groups,
        quorum: match quorum {
            Quorum::Nobody => None,
            Quorum::Of(member) => Some(member),
        },
    })
}

/// What the quorum line said.
enum Quorum {
    Nobody,
    Of(Member),
}

/// What the lines so far said. Names are bytes here, because the specification knows no alphabet.
#[derive(Default)]
struct Reader<'a> {
    logs: Vec<PolicyLog>,
    witnesses: Vec<PolicyWitness>,
    groups: Vec<Group>,
    quorum: Option<Quorum>,
    names: BTreeMap<&'a [u8], Member>,
    in_groups: BTreeSet<&'a [u8]>,
}

impl<'a> Reader<'a> {
    fn line(&mut self, line: &'a [u8]) -> Result<(), LineError> {
        let line = line.strip_suffix(b"\n").ok_or(LineError::Unended)?;
        if line
            .iter()
            .any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f)
        {
            return Err(LineError::Control);
        }
        let words: Vec<&[u8]> = line
            .split(|byte| matches!(byte, b' ' | b'\t'))
            .filter(|word| !word.is_empty())
            .collect();
        let Some((keyword, rest)) = words.split_first() else {
            return Ok(());
        };
        if keyword.starts_with(b"#") {
            return Ok(());
        }
        match (*keyword, rest) {
            (b"log", [key]) => self.log(key, None),
            (b"log", [key, url]) => self.log(key, Some(url)),
            (b"witness", [name, key]) => self.witness(name, key, None),
            (b"witness", [name, key, url]) => self.witness(name, key, Some(url)),
            (b"group", [name, threshold, members @ ..]) => self.group(name, threshold, members),
            (b"quorum", [name]) => self.quorum(name),
            (b"log" | b"witness" | b"group" | b"quorum", _) => Err(LineError::Words),
            _ => Err(LineError::Keyword),
        }
    }

    fn log(&mut self, key: &[u8], url: Option<&[u8]>) -> Result<(), LineError> {
        let key = VerifierKey::parse(text_of_key(key)?)?;
        if self.logs.iter().any(|it| it.key.public() == key.public()) {
            return Err(LineError::KeyTwice);
        }
        check_room(&self.logs)?;
        let url = url.map(shown);
        self.logs.push(PolicyLog { key, url });
        Ok(())
    }

    fn witness(&mut self, name: &'a [u8], key: &[u8], url: Option<&[u8]>) -> Result<(), LineError> {
        let key = CosignerKey::parse(text_of_key(key)?)?;
        let same = |it: &PolicyWitness| it.key.public() == key.public();
        if self.witnesses.iter().any(same) {
            return Err(LineError::KeyTwice);
        }
        check_room(&self.witnesses)?;
        self.define(name, Member::Witness(self.witnesses.len()))?;
        self.witnesses.push(PolicyWitness {
            name: shown(name),
            key,
            url: url.map(shown),
        });
        Ok(())
    }

    fn group(
        &mut self,
        name: &'a [u8],
        threshold: &[u8],
        names: &[&'a [u8]],
    ) -> Result<(), LineError> {
        if names.is_empty() {
            return Err(LineError::Words);
        }
        check_room(&self.groups)?;
        let mut members = Vec::new();
        for member in names {
            members.push(self.named(member)?);
            if !self.in_groups.insert(member) {
                return Err(LineError::MemberTwice {
                    name: shown(member),
                });
            }
        }
        let at_least = match threshold {
            b"all" => names.len(),
            b"any" => 1,
            number => decimal(number)
                .filter(|number| (1..=names.len()).contains(number))
                .ok_or(LineError::Threshold)?,
        };
        self.define(name, Member::Group(self.groups.len()))?;
        self.groups.push(Group { at_least, members });
        Ok(())
    }

    fn quorum(&mut self, name: &[u8]) -> Result<(), LineError> {
        if self.quorum.is_some() {
            return Err(LineError::SecondQuorum);
        }
        self.quorum = Some(if name == b"none" {
            Quorum::Nobody
        } else {
            Quorum::Of(self.named(name)?)
        });
        Ok(())
    }

    fn define(&mut self, name: &'a [u8], member: Member) -> Result<(), LineError> {
        if name == b"none" || self.names.contains_key(name) {
            return Err(LineError::NameTaken { name: shown(name) });
        }
        self.names.insert(name, member);
        Ok(())
    }

    fn named(&self, name: &[u8]) -> Result<Member, LineError> {
        let found = self.names.get(name).copied();
        found.ok_or_else(|| LineError::NoSuchName { name: shown(name) })
    }
}

fn text_of_key(key: &[u8]) -> Result<&str, VerifierKeySyntax> {
    std::str::from_utf8(key).map_err(|_| VerifierKeySyntax::Form)
}

fn check_room<T>(items: &[T]) -> Result<(), LineError> {
    if items.len() < MAX_ITEMS {
        Ok(())
    } else {
        Err(LineError::TooMany)
    }
}

/// For people: names are told apart by their bytes.
fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// A number without sign and without a zero in front.
fn decimal(digits: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(digits).ok()?;
    let number: usize = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cosignature::Algorithm;

    const LOG: &str = include_str!("../../tests/vectors/tlog-1000/vkey");

    fn key(byte: u8) -> String {
        CosignerKey::new("w.example", Algorithm::Ed25519, &[byte; 32])
            .unwrap()
            .encode()
    }

    fn error(text: &str) -> LineError {
        match parse(text.as_bytes()) {
            Err(PolicyError::Line { why, .. }) => why,
            other => panic!("{text:?}: {other:?}"),
        }
    }

    #[test]
    fn the_example_of_the_specification_is_read() {
        let mut text = format!("# a comment\n\n \t# another\nlog {}\n", LOG.trim_end());
        for (at, name) in (1..).zip(["X1", "X2", "X3", "Y1", "Y2", "Y3"]) {
            text += &format!("\twitness {name}   {} https://{name}.example/w \n", key(at));
        }
        text += "group X-witnesses 2 X1 X2 X3\ngroup Y-witnesses any Y1 Y2 Y3\n";
        text += "group X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n";
        let policy = parse(text.as_bytes()).unwrap();
        assert_eq!(policy.logs().len(), 1);
        assert_eq!(policy.witnesses().len(), 6);
        let third = policy.witnesses().get(2).unwrap();
        assert_eq!(third.name, "X3");
        assert_eq!(third.url.as_deref(), Some("https://X3.example/w"));
        assert_eq!(policy.needed(), 3);
    }

    #[test]
    fn what_is_not_understood_is_told_with_its_line_and_never_passed_over() {
        let one = format!("witness a {}\n", key(1));
        let told = |rest: &str| error(&format!("{one}{rest}\n"));
        assert_eq!(told("witnes b c"), LineError::Keyword);
        assert_eq!(told("quorum"), LineError::Words);
        assert_eq!(told("group g all"), LineError::Words);
        assert_eq!(told("quorum a\nquorum a"), LineError::SecondQuorum);
        assert_eq!(told("quorum a\rb"), LineError::Control);
        for threshold in ["0", "2", "01", "+1", "most", "18446744073709551616"] {
            assert_eq!(
                told(&format!("group g {threshold} a")),
                LineError::Threshold
            );
        }
        assert!(matches!(told("quorum b"), LineError::NoSuchName { .. }));
        assert!(matches!(
            told("group g all none"),
            LineError::NoSuchName { .. }
        ));
        assert!(matches!(
            told("group none all a"),
            LineError::NameTaken { .. }
        ));
        assert!(matches!(told("group a all a"), LineError::NameTaken { .. }));
        assert!(matches!(
            told("group g all a a"),
            LineError::MemberTwice { .. }
        ));
        assert!(matches!(
            told("group g all a\ngroup h all a"),
            LineError::MemberTwice { .. }
        ));
        assert_eq!(told(&format!("witness b {}", key(1))), LineError::KeyTwice);
        let log = LOG.trim_end();
        assert_eq!(
            told(&format!("log {log}\nlog {log} url")),
            LineError::KeyTwice
        );
        assert_eq!(
            told(&format!("witness b {log}")),
            LineError::Key(VerifierKeySyntax::Algorithm)
        );
        assert_eq!(
            told(&format!("log {}", key(2))),
            LineError::Key(VerifierKeySyntax::Algorithm)
        );
        assert_eq!(error(&format!("{one}quorum a")), LineError::Unended);
        assert_eq!(parse(one.as_bytes()), Err(PolicyError::NoQuorum));
        assert_eq!(
            parse(format!("{one}# x\nquorum b\n").as_bytes())
                .unwrap_err()
                .to_string(),
            "line 3: no witness or group above is called b"
        );
        assert_eq!(
            parse(&vec![b'\n'; MAX_POLICY_BYTES + 1]),
            Err(PolicyError::TooLong)
        );
    }

    #[test]
    fn names_are_bytes_and_two_that_look_alike_are_two() {
        let mut text = b"witness \xff ".to_vec();
        text.extend_from_slice(key(1).as_bytes());
        text.extend_from_slice(b"\nwitness \xfe ");
        text.extend_from_slice(key(2).as_bytes());
        text.extend_from_slice(b"\nquorum \xfe\n");
        let policy = parse(&text).unwrap();
        assert_eq!(policy.quorum, Some(Member::Witness(1)));
    }

    #[test]
    fn there_is_room_for_so_many_and_no_more() {
        let mut text = String::new();
        for at in 0..=MAX_ITEMS {
            let mut public = [0; 32];
            public[..8].copy_from_slice(&(at as u64).to_be_bytes());
            let key = CosignerKey::new("w", Algorithm::Ed25519, &public).unwrap();
            text += &format!("witness w{at} {}\n", key.encode());
            let whole = parse(format!("{text}quorum w0\n").as_bytes());
            match at {
                MAX_ITEMS => assert!(whole.is_err()),
                31 | 255 => assert!(whole.is_ok()),
                _ => {}
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_give_a_policy_or_an_error(
            lines in proptest::collection::vec("(log|witness|group|quorum|#)?[ \t]?[ab]?[ ](all|any|1|2|none)?[ ab]{0,5}\n", 0..8),
        ) {
            let text = format!("witness a {}\nwitness b {}\n{}", key(1), key(2), lines.concat());
            if let Ok(policy) = parse(text.as_bytes()) {
                proptest::prop_assert!(policy.needed() <= policy.witnesses().len());
            }
        }
    }
}
