//! Secrets in command lines, variables and URLs are blanked before anything is shown.
//!
//! The bytes themselves lie sealed in the blob store, erasable. What a person sees keeps the flag and loses the value. The
//! rule goes by the name in front of a value and by the shape of the value, since a list of known secrets cannot exist.

const NAMES: &[&str] = &[
    "key",
    "token",
    "secret",
    "passw",
    "pwd",
    "credential",
    "auth",
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

/// One text: `name=value` with a secret name, credentials in a URL, and tokens by their shape are blanked.
pub(crate) fn text(text: &str) -> String {
    if let Some((name, _)) = text
        .split_once('=')
        .filter(|(name, _)| is_secret_name(name) && !name.contains("://"))
    {
        return format!("{name}={BLANK}");
    }
    let mut shown = text.to_owned();
    if let Some((scheme, rest)) = text.split_once("://") {
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
    if looks_like_token(&shown) {
        BLANK.to_owned()
    } else {
        shown
    }
}

fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    NAMES.iter().any(|part| name.contains(part))
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
}
