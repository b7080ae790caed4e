//! `spec amend`: a change with its reason, signed, in the ledger.

use std::collections::BTreeMap;
use std::path::PathBuf;

use domain::Digest;
use report::view::SpecSignedView;
use training::spec::model::{Amendment, Setting};

use super::sign::{Key, record, signed_over};
use super::{SpecError, disk, load, signature_of, write};
use crate::error::AppError;
use crate::place::Surroundings;

/// What is to be amended.
#[derive(Debug, Clone, Default)]
pub struct AmendRequest {
    /// The spec.
    pub file: PathBuf,
    /// From this step on.
    pub from_step: u64,
    /// `optimizer.0.group.0.lr=1e-4`.
    pub set: Vec<String>,
    /// Why.
    pub why: String,
    /// The key.
    pub key: Option<PathBuf>,
    /// The first key of the agent.
    pub agent: bool,
}

/// Appends an amendment, has the user sign all of it, and records that. Nothing is written before the signature is there.
pub fn amend(
    surroundings: &Surroundings,
    request: &AmendRequest,
) -> Result<SpecSignedView, AppError> {
    let mut loaded = load(surroundings, &request.file)?;
    let mut set = BTreeMap::new();
    for given in &request.set {
        let (key, value) = setting(given)?;
        set.insert(key, value);
    }
    let mut text = loaded.text.clone();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(
        "\n# What was changed since, in order: each names all text before it by digest.\n",
    );
    let person = crate::run::person();
    let amendment = Amendment {
        from_step: request.from_step,
        set,
        why: request.why.clone(),
        author: format!("{}@{}", person.user, person.host),
        at: report::time::rfc3339(host::clock::wall_us()),
        before: Digest::of(text.as_bytes()),
    };
    text.push_str(&write::amendment(&amendment));
    loaded.spec.amendment.push(amendment);
    loaded.spec.sound().map_err(|why| SpecError::Setting {
        given: request.set.join(" "),
        why: why.to_string(),
    })?;
    loaded.text = text;
    let key = Key {
        file: request.key.as_deref(),
        agent: request.agent,
    };
    let armoured = signed_over(surroundings, &key, &loaded.text)?;
    // The signature first: a spec whose signature is newer than its text is refused, and never taken for unsigned.
    let beside = signature_of(&loaded.path);
    std::fs::write(&beside, &armoured).map_err(disk(&beside))?;
    std::fs::write(&loaded.path, &loaded.text).map_err(disk(&loaded.path))?;
    record(surroundings, &loaded.path, &armoured)
}

/// `KEY=VALUE`: a whole number, a number, or a word.
fn setting(given: &str) -> Result<(String, Setting), SpecError> {
    let bad = |why: &str| SpecError::Setting {
        given: given.to_owned(),
        why: why.to_owned(),
    };
    let (key, value) = given
        .split_once('=')
        .ok_or_else(|| bad("a setting is KEY=VALUE"))?;
    let (key, value) = (key.trim(), value.trim());
    let setting = match (value.parse::<i64>(), value.parse::<f64>()) {
        (Ok(whole), _) => Setting::Whole(whole),
        (_, Ok(number)) if number.is_finite() => Setting::Number(number),
        _ if value.is_empty() => return Err(bad("there is no value")),
        _ => Setting::Word(value.to_owned()),
    };
    Ok((key.to_owned(), setting))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_a_number_where_it_can_be() {
        let of = |text: &str| setting(text).map(|(_, value)| value).ok();
        assert_eq!(of("a=3"), Some(Setting::Whole(3)));
        assert_eq!(of("a=1e-4"), Some(Setting::Number(1e-4)));
        assert_eq!(of("a=*1.5"), Some(Setting::Word("*1.5".to_owned())));
        assert_eq!((of("a"), of("a=")), (None, None));
    }
}
