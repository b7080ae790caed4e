//! A learnt table: one line a module, sorted, found by bisection of the text itself, so that loading it costs nothing.
//!
//! A line is `module Name Name:letters …`; the letters are those of [`Entry::learnt`].

use super::Entry;

#[derive(Debug, Clone, Copy)]
pub(super) struct Table {
    text: &'static str,
}

impl Table {
    /// `text` may begin with lines of comment.
    pub(super) fn new(text: &'static str) -> Self {
        let mut rest = text;
        while rest.starts_with('#') || rest.starts_with('\n') {
            rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
        }
        Self { text: rest }
    }

    /// What it says about `name` of `module`.
    pub(super) fn find(&self, module: &str, name: &str) -> Option<Entry> {
        let line = self.line(module)?;
        line.split(' ').skip(1).find_map(|word| {
            let (known, letters) = word.split_once(':').unwrap_or((word, ""));
            (known == name).then(|| Entry::learnt(letters)).flatten()
        })
    }

    /// What it says about `name` of whichever module comes first.
    pub(super) fn anywhere(&self, name: &str) -> Option<Entry> {
        self.text.match_indices(name).find_map(|(at, _)| {
            let before = self.text.as_bytes().get(at.checked_sub(1)?)?;
            let rest = self.text.get(at + name.len()..)?;
            let word = rest.split([' ', '\n']).next()?;
            let letters = match word.strip_prefix(':') {
                Some(letters) => letters,
                None if word.is_empty() => "",
                None => return None,
            };
            (*before == b' ').then(|| Entry::learnt(letters)).flatten()
        })
    }

    fn line(&self, module: &str) -> Option<&'static str> {
        let mut rest = self.text;
        while !rest.is_empty() {
            let middle = rest.len() / 2;
            let bytes = rest.as_bytes();
            let before = bytes.get(..middle)?;
            let start = before
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |at| at + 1);
            let behind = bytes.get(middle..)?;
            let end = behind
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(rest.len(), |at| middle + at);
            let line = rest.get(start..end)?;
            match line.split(' ').next().unwrap_or_default().cmp(module) {
                std::cmp::Ordering::Equal => return Some(line),
                std::cmp::Ordering::Less => rest = rest.get(end + 1..).unwrap_or_default(),
                std::cmp::Ordering::Greater => rest = rest.get(..start)?,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{Kind, Makes};

    #[test]
    fn names_are_found_in_their_module_and_elsewhere_only_when_asked() {
        let table = Table::new("# comment\n\na A\na.b Box:d Boxes\nc fun:f\n");
        assert!(table.find("a.b", "Boxes").is_some());
        assert!(table.find("a.b", "Box").unwrap().makes.has(Makes::ITEMS));
        assert_eq!(table.find("c", "fun").unwrap().kind, Kind::Function);
        assert!(table.find("a", "Box").is_none() && table.find("b", "A").is_none());
        assert!(table.anywhere("Box").unwrap().makes.has(Makes::ITEMS));
        assert!(table.anywhere("Bo").is_none() && table.anywhere("a.b").is_none());
    }
}
