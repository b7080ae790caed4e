//! The registry of extensions, as far as a program fills it itself.
//!
//! `EXT1` to `EXT4` take an object by a number that `copyreg` knows. In a fresh interpreter it knows none; a program can
//! call `copyreg.add_extension`, or set items of the dicts behind it, and then import without any opcode that names what
//! is imported. So those calls are followed. Programs that are loaded one behind another share one registry.

use std::collections::HashMap;

/// The most codes that are followed.
const MAX: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Registry {
    names: HashMap<i64, (String, String)>,
}

impl Registry {
    pub(super) fn add(&mut self, code: i64, module: &str, name: &str) {
        if self.names.len() < MAX || self.names.contains_key(&code) {
            self.names
                .insert(code, (module.to_owned(), name.to_owned()));
        }
    }

    pub(super) fn get(&self, code: i64) -> Option<(&str, &str)> {
        self.names
            .get(&code)
            .map(|(module, name)| (module.as_str(), name.as_str()))
    }
}
