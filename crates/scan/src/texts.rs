//! Which files are text that loaders interpret, and a few binary formats that are recognised by their head.
//!
//! Text has no magic number, so content and name decide together: content where it is strong (`<?xml`, a brace and a
//! quote), the name where a loader goes by the name (`.py`, `.pth`, `.yaml`). What is none of these is no model.

use domain::scan::{GapKind, Rule, Weight};
use formats::ReadAt;

use crate::{Examiner, config, python_source, template, xml, yaml};

/// A kind of file that is examined here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Text {
    /// JSON, notebooks and lines of JSON among it.
    Json,
    /// YAML.
    Yaml,
    /// Python source.
    Python,
    /// A `.pth` file of Python's packages.
    PathFile,
    /// A Jinja template.
    Template,
    /// XML.
    Xml,
    /// A script of a shell.
    Shell,
    /// LightGBM's text.
    LightGbm,
    /// CatBoost's binary format.
    CatBoost,
    /// XGBoost's binary formats.
    XgBoost,
    /// Rockchip's format.
    Rknn,
    /// Objects of R.
    R,
    /// Objects of Torch7.
    Torch7,
    /// A program that runs on several systems; llamafile is one.
    Program,
}

/// What a file is by its name and its first bytes (a kilobyte or more); `None` when it is nothing of this.
pub(crate) fn recognise(name: &str, head: &[u8]) -> Option<Text> {
    let name = name.to_ascii_lowercase();
    if let Some(found) = by_magic(head) {
        return Some(found);
    }
    if !is_text(head) {
        return None;
    }
    let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    let text = head
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(head)
        .trim_ascii_start();
    if ends(&[".py", ".pyw", ".pyi"]) {
        return Some(Text::Python);
    }
    // Other programs have Jinja templates too; those that models are asked through say so.
    let of_chats = name.contains("chat") || name.contains("template") || name.contains("prompt");
    if (ends(&[".jinja", ".jinja2", ".j2"]) && of_chats)
        || (name.starts_with("chat_template.") && !ends(&[".json"]))
    {
        return Some(Text::Template);
    }
    if ends(&[".yaml", ".yml"]) || text.starts_with(b"%YAML") || text.starts_with(b"%TAG") {
        return Some(Text::Yaml);
    }
    if [b"<?xml".as_slice(), b"<PMML", b"<net ", b"<!DOCTYPE PMML"]
        .iter()
        .any(|start| text.starts_with(start))
    {
        return Some(Text::Xml);
    }
    if text.starts_with(b"#!") {
        let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let python = String::from_utf8_lossy(line).contains("python");
        return Some(if python { Text::Python } else { Text::Shell });
    }
    if ends(&[".pth"]) {
        return Some(Text::PathFile);
    }
    if ends(&[".sh", ".bash"]) {
        return Some(Text::Shell);
    }
    if ends(&[".json", ".ipynb", ".jsonl"]) || is_json(text) {
        return Some(Text::Json);
    }
    if ends(&[".xml", ".pmml"]) {
        return Some(Text::Xml);
    }
    if text.starts_with(b"{%") || text.starts_with(b"{{") || text.starts_with(b"{#") {
        return Some(Text::Template);
    }
    let says = |mark: &[u8]| head.windows(mark.len()).any(|window| window == mark);
    if says(b"!!python/") || says(b"2002:python/") {
        return Some(Text::Yaml);
    }
    None
}

fn by_magic(head: &[u8]) -> Option<Text> {
    const MAGIC: [(&[u8], Text); 19] = [
        (b"tree\nversion=v", Text::LightGbm),
        (b"tree\r\nversion=v", Text::LightGbm),
        (b"CBM1", Text::CatBoost),
        (b"binf", Text::XgBoost),
        (b"bs64", Text::XgBoost),
        (b"{L\0\0\0\0\0\0\0", Text::XgBoost),
        (b"RKNN", Text::Rknn),
        (b"RDX2\n", Text::R),
        (b"RDX3\n", Text::R),
        (b"RDA2\n", Text::R),
        (b"RDA3\n", Text::R),
        (b"X\n\0\0\0\x02", Text::R),
        (b"X\n\0\0\0\x03", Text::R),
        (b"A\n2\n", Text::R),
        (b"A\n3\n", Text::R),
        (b"\x04\0\0\0\x01\0\0\0\x03\0\0\0V 1", Text::Torch7),
        (b"4\n1\n3\nV 1\n", Text::Torch7),
        (b"MZqFpD='", Text::Program),
        (b"jartsr='", Text::Program),
    ];
    let found = MAGIC.iter().find(|(magic, _)| head.starts_with(magic));
    found.map(|(_, text)| *text)
}

/// An object or array, by its first two signs.
fn is_json(text: &[u8]) -> bool {
    let Some((first, rest)) = text.split_first() else {
        return false;
    };
    let rest = rest.trim_ascii_start();
    let next = rest.first();
    // A section of an INI or TOML file begins with a bracket too.
    let is_word = [&b"true"[..], b"false", b"null", b"NaN"]
        .iter()
        .any(|word| rest.starts_with(word));
    match first {
        b'{' => matches!(next, Some(b'"' | b'}')),
        b'[' => is_word || matches!(next, Some(b'"' | b'{' | b'[' | b']' | b'-' | b'0'..=b'9')),
        _ => false,
    }
}

/// No zero bytes, and UTF-8 but for a character that is cut at the end.
fn is_text(head: &[u8]) -> bool {
    if head.is_empty() || head.contains(&0) {
        return false;
    }
    match str::from_utf8(head) {
        Ok(_) => true,
        // Other encodings of text are rare, and Python reads its source with a mark in them.
        Err(error) => error.error_len().is_none() || head.is_ascii() || head.starts_with(b"#"),
    }
}

/// Examines a file as what was recognised.
pub(crate) fn examine(examiner: &mut Examiner<'_>, found: Text, name: &str, input: &dyn ReadAt) {
    match found {
        Text::Json => config::examine(examiner, name, input),
        Text::Yaml => yaml::examine(examiner, name, input),
        Text::Python => python_source::examine(examiner, name, input),
        Text::PathFile => python_source::examine_pth(examiner, name, input),
        Text::Template => template::examine(examiner, name, input),
        Text::Xml => xml::examine(examiner, name, input),
        Text::Shell => {
            examiner.part("shell script", input.len(), None);
            let why = "it is a script: no loader runs it by itself";
            examiner.found(Rule::BringsCode, Weight::Note, examiner.here(), "", why);
        }
        Text::LightGbm => numbers(examiner, "LightGBM model", input),
        Text::CatBoost => numbers(examiner, "CatBoost model", input),
        Text::XgBoost => numbers(examiner, "XGBoost model", input),
        Text::Rknn => unread(examiner, "RKNN model", input),
        Text::R => {
            unread(examiner, "R objects", input);
            let why = "objects of R may hold functions and promises, which run when they are used";
            examiner.found(Rule::BringsCode, Weight::Unknown, examiner.here(), "", why);
        }
        Text::Torch7 => {
            unread(examiner, "Torch7 objects", input);
            let why = "objects of Torch7 may hold functions as code of its machine";
            examiner.found(Rule::BringsCode, Weight::Unknown, examiner.here(), "", why);
        }
        Text::Program => {
            unread(examiner, "program for several systems", input);
            let why = "it is a program, which runs as soon as it is started";
            examiner.found(Rule::NativeCode, Weight::Unknown, examiner.here(), "", why);
        }
    }
}

/// Trees and numbers: nothing in these formats names code.
fn numbers(examiner: &mut Examiner<'_>, format: &str, input: &dyn ReadAt) {
    examiner.part(format, input.len(), None);
    examiner.raw(input.len());
}

fn unread(examiner: &mut Examiner<'_>, format: &str, input: &dyn ReadAt) {
    examiner.part(format, input.len(), None);
    let what = format!("{format}: recognised by its head");
    examiner.gap(GapKind::NotRead, examiner.here(), what);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_and_name_decide_together() {
        let cases: [(&str, &[u8], Option<Text>); 20] = [
            ("config.json", b"{\"a\": 1}", Some(Text::Json)),
            ("weights.bin", b" \n{\"auto_map\": {}}", Some(Text::Json)),
            ("x.ipynb", b"{", Some(Text::Json)),
            ("model.py", b"import os", Some(Text::Python)),
            ("run", b"#!/usr/bin/env python3\n", Some(Text::Python)),
            ("run", b"#!/bin/sh\n", Some(Text::Shell)),
            ("x.pth", b"import os; x()", Some(Text::PathFile)),
            ("x.pth", b"\x80\x02\x8a\0", None),
            ("chat_template.jinja", b"{% for", Some(Text::Template)),
            (
                "chat_template.json",
                b"{\"chat_template\": 1}",
                Some(Text::Json),
            ),
            ("x.txt", b"{{ bos_token }}", Some(Text::Template)),
            ("model_config.yaml", b"a: 1", Some(Text::Yaml)),
            (
                "x.cfg",
                b"a: !!python/object/apply:os.system [x]",
                Some(Text::Yaml),
            ),
            ("model.xml", b"<?xml version='1.0'?>", Some(Text::Xml)),
            ("model.txt", b"tree\nversion=v4", Some(Text::LightGbm)),
            ("x.ubj", b"{L\0\0\0\0\0\0\0\x07learner", Some(Text::XgBoost)),
            ("x.rds", b"X\n\0\0\0\x03\0", Some(Text::R)),
            ("README.md", b"# A model", None),
            ("requirements.txt", b"torch>=2\n", None),
            ("x.bin", b"\0\x01", None),
        ];
        for (name, head, found) in cases {
            assert_eq!(recognise(name, head), found, "{name}");
        }
    }
}
