//! Requirements with `--hash`, as pip reads them: lines that a backslash joins, comments, options.

use super::{Artifact, Lock, LockError, Locked, LockedSource, file_name, sha256_of};

/// The most characters of one requirement, its digests included.
const MAX_LINE: usize = 1 << 20;

/// The most files that one file includes.
const MAX_INCLUDES: usize = 100;

pub(super) fn parse(text: &str) -> Result<Lock, LockError> {
    let mut lock = Lock::default();
    let mut whole = String::new();
    let mut began = 1;
    for (number, line) in text.lines().enumerate() {
        if whole.is_empty() {
            began = number + 1;
        }
        // A comment ends a continued line, as in pip; its own backslash does not count.
        let is_comment = line.trim_start().starts_with('#');
        match line.strip_suffix('\\') {
            Some(part) if !is_comment => {
                whole.push_str(part);
                whole.push(' ');
            }
            _ => {
                if !is_comment {
                    whole.push_str(line);
                }
                take(&mut lock, &whole, began)?;
                whole.clear();
            }
        }
        if whole.len() > MAX_LINE {
            return Err(wrong(
                began,
                "a requirement of more than a million characters",
            ));
        }
    }
    take(&mut lock, &whole, began)?;
    Ok(lock)
}

fn wrong(line: usize, why: &str) -> LockError {
    LockError::Syntax {
        line,
        why: why.to_owned(),
    }
}

fn take(lock: &mut Lock, line: &str, number: usize) -> Result<(), LockError> {
    let line = without_comment(line).trim();
    if line.is_empty() {
        return Ok(());
    }
    if line.starts_with('-') {
        return include(lock, line, number);
    }
    let (requirement, options) = match line.find(" --").or_else(|| line.find("\t--")) {
        Some(at) => line.split_at(at),
        None => (line, ""),
    };
    let (name, rest) = named(requirement.trim());
    if name.is_empty() {
        return Err(wrong(number, "a requirement without a name"));
    }
    let mut locked = Locked {
        version: exact_version(rest),
        artifacts: Vec::new(),
        other_digests: 0,
        source: LockedSource::Files,
    };
    let address = rest.trim_start().strip_prefix('@').map(str::trim);
    let file = address
        .and_then(|text| text.split_whitespace().next())
        .and_then(file_name);
    if address.is_some_and(|text| text.contains("git+") || text.starts_with("hg+")) {
        locked.source = LockedSource::Vcs;
    }
    let fragment = address
        .and_then(|text| text.split_once("#sha256="))
        .map(|(_, digits)| format!("sha256:{}", digits.get(..64).unwrap_or_default()));
    let hashes = hashes(options).map(str::to_owned).chain(fragment);
    for hash in hashes {
        match sha256_of(&hash) {
            Some(digest) => locked.artifacts.push(Artifact {
                digest,
                file: file.clone(),
            }),
            None => locked.other_digests += 1,
        }
    }
    lock.add(name, locked)
}

/// Cuts at `#` at the start or behind white space; within an address it is part of it.
fn without_comment(line: &str) -> &str {
    let mut before = ' ';
    for (at, character) in line.char_indices() {
        if character == '#' && before.is_whitespace() {
            return line.get(..at).unwrap_or(line);
        }
        before = character;
    }
    line
}

fn include(lock: &mut Lock, line: &str, number: usize) -> Result<(), LockError> {
    for option in ["-r", "--requirement", "-c", "--constraint"] {
        let Some(rest) = line.strip_prefix(option) else {
            continue;
        };
        let file = rest.trim_start_matches(['=', ' ', '\t']).trim();
        // `-rfile` is what pip takes too; `--requirements-x` is another option.
        if file.is_empty() || option.len() > 2 && !rest.starts_with(['=', ' ', '\t']) {
            continue;
        }
        if lock.includes.len() >= MAX_INCLUDES {
            return Err(wrong(number, "more than 100 included files"));
        }
        lock.includes.push(file.to_owned());
        return Ok(());
    }
    // `-e`, `--index-url` and the like say nothing of digests.
    Ok(())
}

/// The name at the start, without extras, and what follows.
fn named(requirement: &str) -> (&str, &str) {
    let end = requirement
        .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')))
        .unwrap_or(requirement.len());
    let (name, rest) = requirement.split_at(end);
    let rest = rest.trim_start();
    let behind_extras = rest
        .strip_prefix('[')
        .and_then(|extras| extras.split_once(']'))
        .map(|(_, rest)| rest);
    (name, behind_extras.unwrap_or(rest))
}

/// The version behind `==` or `===`, unless it ends in a wildcard or others are required as well.
fn exact_version(rest: &str) -> Option<String> {
    let clause = rest.split(';').next()?.trim();
    let clause = clause.trim_start_matches('(').trim_end_matches(')').trim();
    let version = clause
        .strip_prefix("===")
        .or_else(|| clause.strip_prefix("=="))?
        .trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || ".+!_-".contains(c);
    let is_one = !version.is_empty() && version.len() <= 200 && version.chars().all(plain);
    is_one.then(|| version.to_owned())
}

/// The values of `--hash=` and `--hash `.
fn hashes(options: &str) -> impl Iterator<Item = &str> {
    options.split("--hash").skip(1).filter_map(|rest| {
        rest.trim_start_matches(['=', ' ', '\t', '"', '\''])
            .split([' ', '\t', '"', '\''])
            .next()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Digest;

    #[test]
    fn lines_are_joined_and_comments_cut_as_pip_does() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let text = format!(
            "--index-url https://i.invalid\n# comment \\\nTorch[opt,x] == 2.9.0 ; python_version > '3' \\\n    --hash=sha256:{a} \\\n    --hash sha256:{b}  # via x\n\nsix==1.16.0 --hash=sha512:abcd --hash=\"SHA256:{}\"\r\n-r more.txt\n--requirement=even/more.txt\nopen>=1,<2 --hash=sha256:{a}\nx @ https://h.invalid/x-1-py3-none-any.whl#sha256={b}\n",
            a.to_string().to_uppercase()
        );
        let lock = parse(&text).unwrap();
        assert_eq!(lock.len(), 4);
        let torch = &lock.versions("torch")[0];
        assert_eq!(torch.version.as_deref(), Some("2.9.0"));
        let digests: Vec<_> = torch.artifacts.iter().map(|it| it.digest).collect();
        assert_eq!(digests, [a, b]);
        let six = &lock.versions("six")[0];
        assert_eq!((six.artifacts.len(), six.other_digests), (1, 1));
        assert_eq!(lock.includes, ["more.txt", "even/more.txt"]);
        assert_eq!(lock.versions("open")[0].version, None);
        let address = &lock.versions("x")[0].artifacts[0];
        assert_eq!(address.file.as_deref(), Some("x-1-py3-none-any.whl"));
        assert_eq!(address.digest, b);
    }

    #[test]
    fn a_comment_ends_a_continued_line() {
        let digest = Digest::of(b"a");
        let text = format!("six==1 \\\n# no more \\\n--hash=sha256:{digest}\n");
        let lock = parse(&text).unwrap();
        assert_eq!(lock.versions("six")[0].artifacts, []);
    }

    #[test]
    fn a_version_with_a_wildcard_or_a_range_is_open() {
        for open in ["==1.*", ">=1", "==1,!=2", "~=1.0", ""] {
            assert_eq!(exact_version(open), None, "{open}");
        }
        assert_eq!(exact_version("===1.0+x ; a").as_deref(), Some("1.0+x"));
    }
}
