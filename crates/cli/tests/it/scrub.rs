//! Whole outputs with everything that differs from run to run replaced: names, ids, times, digests, paths, this host.

use super::world::World;

/// `text` with the world's own things replaced by words in capitals. `names` are run names, in the order of their numbers.
pub(crate) fn scrub(world: &World, names: &[String], text: &str) -> String {
    let mut text = text.replace(&world.folder().display().to_string(), "WORLD");
    for (number, name) in names.iter().enumerate() {
        let token = format!("RUN{}", number + 1);
        let padded = format!("{name:<24}");
        text = text
            .replace(&padded, &format!("{token:<24}"))
            .replace(name.as_str(), &token);
    }
    let text = clock(&text);
    let mut scrubbed = String::new();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let end = rest
            .find(|character: char| !is_word(character))
            .unwrap_or(rest.len());
        if end == 0 {
            let first = rest.chars().next().map_or(1, char::len_utf8);
            scrubbed.push_str(&rest[..first]);
            rest = &rest[first..];
            continue;
        }
        let (token, after) = rest.split_at(end);
        rest = after;
        let measured = [" s", " CPU-s", " kB", " ms", " %"]
            .iter()
            .any(|unit| rest.starts_with(unit));
        if measured && scrubbed.ends_with(' ') {
            scrubbed.truncate(scrubbed.trim_end_matches(' ').len());
            scrubbed.push(' ');
        }
        scrubbed.push_str(&replaced(token, measured));
    }
    scrubbed
}

/// What the kernel says of this machine's clock is this machine's.
fn clock(text: &str) -> String {
    let line = |line: &str| match line.strip_prefix("  clock        ") {
        Some(said) => {
            let ending = if said.ends_with('\n') { "\n" } else { "" };
            format!("  clock        CLOCK{ending}")
        }
        None => line.to_owned(),
    };
    text.split_inclusive('\n').map(line).collect()
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '-' | ':' | '.' | '@' | '_')
}

fn replaced(word: &str, measured: bool) -> String {
    let hexadecimal = word.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    let dashes = word.matches('-').count();
    let number = word.parse::<f64>().is_ok();
    match () {
        () if hexadecimal && dashes == 4 && word.len() == 36 => "ID".to_owned(),
        () if hexadecimal && dashes == 0 && (word.len() == 64 || word.len() == 12) => {
            "DIGEST".to_owned()
        }
        () if word.ends_with('Z') && word.contains('T') && dashes == 2 => "TIME".to_owned(),
        () if word.contains('@') && !word.starts_with('@') => "WRITER".to_owned(),
        () if number && measured => "N".to_owned(),
        () => word.to_owned(),
    }
}

/// JSON with numbers that are measured replaced, then as text, scrubbed as above.
pub(crate) fn json(world: &World, names: &[String], value: &serde_json::Value) -> String {
    let mut value = value.clone();
    blank(&mut value);
    scrub(world, names, &serde_json::to_string_pretty(&value).unwrap())
}

fn blank(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, field) in fields {
                let measured =
                    name.ends_with("_seconds") || matches!(name.as_str(), "pid" | "bytes");
                if name == "clock" {
                    *field = "CLOCK".into();
                } else if measured && field.is_number() {
                    *field = "NUMBER".into();
                } else {
                    blank(field);
                }
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(blank),
        _ => {}
    }
}

/// Replaces `pid 123` by `pid N`: in acts and ranks.
pub(crate) fn pids(text: &str) -> String {
    let mut parts = text.split("pid ");
    let mut scrubbed = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        scrubbed.push_str("pid N");
        scrubbed.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    scrubbed
}
