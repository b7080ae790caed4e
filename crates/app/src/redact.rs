//! Secrets in command lines, variables and URLs are blanked before anything is shown.
//!
//! The bytes themselves lie sealed in the blob store, erasable. What a person sees keeps the flag and loses the value. The
//! rule goes by the name in front of a value and by the shape of the value, since a list of known secrets cannot exist.

/// Endings of words.
const NAMES: &[&str] = &[
    "key",
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "credential",
    "credentials",
    "auth",
    "authorization",
    "cookie",
    "session",
    "private",
    "signature",
];
const BLANK: &str = "•••";

/// The arguments of a command with secret values blanked.
pub(crate) fn arguments(argv: &[String]) -> Vec<String> {
    let mut blank_next = false;
    argv.iter()
        .map(|argument| {
            let blank = std::mem::take(&mut blank_next) && !argument.starts_with('-');
            if blank {
                return BLANK.to_owned();
            }
            if argument.starts_with('-') && !argument.contains('=') && is_secret_name(argument) {
                blank_next = true;
            }
            text(argument)
        })
        .collect()
}

/// One text: `name=value` with a secret name, the value behind a secret flag or header, credentials in a URL, and tokens by
/// their shape are blanked, wherever in the text they are: a shell's script is one argument.
pub(crate) fn text(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut blank_next = false;
    let mut named = false;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(is_separator).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let separators = after.find(|c| !is_separator(c)).unwrap_or(after.len());
        let (separator, after) = after.split_at(separators);
        rest = after;
        if word.is_empty() {
            shown.push_str(separator);
            continue;
        }
        let blank = std::mem::take(&mut blank_next) && !word.starts_with('-');
        // `Authorization: Bearer x`: the scheme is shown, what follows it is not.
        let scheme = matches!(word.to_ascii_lowercase().as_str(), "bearer" | "basic");
        if blank && !scheme {
            shown.push_str(BLANK);
        } else {
            shown.push_str(&one_word(word));
        }
        let sign = matches!(word, ":" | "=");
        blank_next = scheme || announces(word, separator) || (sign && named);
        named = is_secret_name(word);
        shown.push_str(separator);
    }
    shown
}

fn is_separator(character: char) -> bool {
    character.is_whitespace()
        || matches!(
            character,
            '"' | '\'' | '`' | ';' | ',' | '|' | '(' | ')' | '{' | '}' | '<' | '>'
        )
}

/// Whether what follows `word` is the value of a secret: a flag, a header, a key of JSON or YAML.
fn announces(word: &str, separator: &str) -> bool {
    if separator.contains([';', '|', '\n']) {
        return false;
    }
    match word {
        flag if flag.starts_with('-') => !flag.contains('=') && is_secret_name(flag),
        _ => word.strip_suffix([':', '=']).is_some_and(is_secret_name),
    }
}

fn one_word(word: &str) -> String {
    let assigned = word
        .split_once('=')
        .filter(|(name, value)| !value.is_empty() && is_secret_name(name) && !name.contains("://"));
    if let Some((name, _)) = assigned {
        return format!("{name}={BLANK}");
    }
    let mut shown = word.to_owned();
    if let Some((scheme, rest)) = word.split_once("://") {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        let host = authority.rsplit('@').next().unwrap_or(authority);
        let path = rest.get(authority.len()..).unwrap_or_default();
        let (path, query) = path
            .split_once(['?', '#'])
            .map_or((path, ""), |(path, _)| (path, "?•••"));
        let user = if host.len() == authority.len() {
            String::new()
        } else {
            format!("{BLANK}@")
        };
        shown = format!("{scheme}://{user}{host}{path}{query}");
    }
    let value = shown
        .split_once('=')
        .map_or(shown.as_str(), |(_, value)| value);
    if looks_like_token(value) {
        let name = shown.strip_suffix(value).unwrap_or_default();
        format!("{name}{BLANK}")
    } else {
        shown
    }
}

/// Whether a part of the name, as words are put together in names, speaks of a secret. `--max-tokens` does not.
fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.split(|c: char| !c.is_ascii_alphanumeric())
        .any(|part| NAMES.iter().any(|end| part.ends_with(end)))
}

/// `hf_…`, `ghp_…`, `sk-…`, `AKIA…` and their like: a short prefix and then at least 20 letters and digits of both kinds.
fn looks_like_token(text: &str) -> bool {
    let body = text.rsplit_once(['_', '-']).map_or(text, |(_, body)| body);
    let long = text.len() >= 24 && body.len() >= 20 && !text.contains(['/', '.', ' ']);
    let alphanumeric = body.chars().all(|c| c.is_ascii_alphanumeric());
    let mixed =
        body.chars().any(|c| c.is_ascii_digit()) && body.chars().any(|c| c.is_ascii_uppercase());
    long && alphanumeric && mixed && body.chars().any(|c| c.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(argv: &[&str]) -> String {
        arguments(&argv.iter().map(|&a| a.to_owned()).collect::<Vec<_>>()).join(" ")
    }

    #[test]
    fn values_of_secret_flags_are_blanked_and_the_rest_is_kept() {
        assert_eq!(
            shown(&[
                "train.py",
                "--lr",
                "3e-4",
                "--api-key",
                "abc",
                "--seed",
                "1"
            ]),
            "train.py --lr 3e-4 --api-key ••• --seed 1"
        );
        assert_eq!(
            shown(&["--wandb-token=abc", "HF_TOKEN=abc", "--flag-auth", "--x"]),
            "--wandb-token=••• HF_TOKEN=••• --flag-auth --x"
        );
    }

    #[test]
    fn credentials_in_urls_and_tokens_by_shape_are_blanked() {
        assert_eq!(
            text("https://me:pw@host/p?sig=abc"),
            "https://•••@host/p?•••"
        );
        assert_eq!(text("s3://bucket/data.bin"), "s3://bucket/data.bin");
        assert_eq!(text("hf_AbCdEfGhIjKlMnOpQrStUv1234"), "•••");
        assert_eq!(text("ckpt/step-000100.pt"), "ckpt/step-000100.pt");
    }

    #[test]
    fn secrets_in_the_middle_of_a_script_are_blanked_and_the_rest_is_kept() {
        for (written, shown) in [
            (
                "curl https://a:pw@h/x https://b:pw@h/y",
                "curl https://•••@h/x https://•••@h/y",
            ),
            (
                "-H 'Authorization: Bearer abc' -v",
                "-H 'Authorization: Bearer •••' -v",
            ),
            (
                "export A=1 API_KEY=abc; train",
                "export A=1 API_KEY=•••; train",
            ),
            ("train --api-key abc --lr 1", "train --api-key ••• --lr 1"),
            (
                "{\"api_key\": \"abc\", \"lr\": 1}",
                "{\"api_key\": \"•••\", \"lr\": 1}",
            ),
            ("password: abc", "password: •••"),
            ("echo one; echo two=3", "echo one; echo two=3"),
        ] {
            assert_eq!(text(written), shown);
        }
    }

    #[test]
    fn what_only_sounds_like_a_secret_is_kept() {
        for kept in [
            "--max-tokens=512",
            "--tokenizer gpt2 --author me",
            "--keypoints 17",
            "--num_tokens 3e9",
        ] {
            assert_eq!(text(kept), kept);
        }
    }
}
