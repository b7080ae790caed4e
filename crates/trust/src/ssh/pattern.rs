//! Patterns as OpenSSH has them (ssh_config(5), PATTERNS): `*`, `?`, lists with commas, `!` to take back.

/// Whether `text` matches a list of patterns. One `!` pattern that matches outweighs all others.
pub(super) fn list_matches(list: &str, text: &str) -> bool {
    let mut matched = false;
    for pattern in list.split(',').map(str::trim) {
        match pattern.strip_prefix('!') {
            Some(refused) if matches(refused, text) => return false,
            Some(_) => {}
            None => matched |= matches(pattern, text),
        }
    }
    matched
}

/// One pattern. The last `*` is the only one that ever has to be tried again, so this is at worst the product of the
/// lengths.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut from) = (0, 0);
    let mut retry = None;
    while let Some(byte) = text.get(from) {
        match pattern.get(at) {
            Some(b'*') => {
                retry = Some((at + 1, from));
                at += 1;
            }
            Some(wanted) if wanted == byte || *wanted == b'?' => {
                at += 1;
                from += 1;
            }
            _ => match &mut retry {
                Some((behind, start)) => {
                    *start += 1;
                    (at, from) = (*behind, *start);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(at).all(|rest| *rest == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_with_an_exclamation_mark_takes_back() {
        assert!(list_matches("*@example.org,!eve@*", "ada@example.org"));
        assert!(!list_matches("*@example.org,!eve@*", "eve@example.org"));
        assert!(
            !list_matches("!eve@*", "ada@example.org"),
            "nothing was given"
        );
    }

    #[test]
    fn stars_and_question_marks_match_as_in_openssh() {
        for (pattern, text, wanted) in [
            ("*", "", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("", "a", false),
            ("a**", "a", true),
        ] {
            assert_eq!(matches(pattern, text), wanted, "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        assert!(!matches(&"*a".repeat(2_000), &"a".repeat(1_999)));
    }
}
