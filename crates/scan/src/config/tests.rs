//! Documents as the hubs have them, and what somebody could put into one.

use domain::scan::{Examination, Rule, Weight};

use super::examine;
use crate::{Examiner, Options, Rules};

fn scan(name: &str, text: &str) -> Examination {
    let rules = Rules::builtin();
    let mut examiner = Examiner::new(&rules, Options::default());
    examine(&mut examiner, name, &text.as_bytes());
    examiner.finish(text.len() as u64)
}

fn has(text: &str, rule: Rule, weight: Weight) {
    let done = scan("config.json", text);
    let found = done
        .findings
        .iter()
        .any(|found| found.rule == rule && found.weight == weight);
    assert!(found, "{text}\n{:#?}", done.findings);
}

#[test]
fn code_that_a_loader_would_run_is_told() {
    for text in [
        r#"{"auto_map": {"AutoModel": "modeling_x.Model"}}"#,
        r#"{"auto_map": {"AutoTokenizer": ["a/b--tokenization_x.T", null]}}"#,
        r#"{"text_config": {"auto_map": {"AutoConfig": "a/b--c.D"}}}"#,
        r#"{"custom_pipelines": {"x": {"impl": "pipe.P", "pt": ["AutoModel"]}}}"#,
        r#"{"custom_generate": "a/b"}"#,
        r#"{"trust_remote_code": true}"#,
        r#"{"_class_name": "P", "unet": ["my_unet", "Net"]}"#,
        r#"{"_class_name": ["pipeline", "P"]}"#,
        r#"[{"idx": 0, "name": "0", "path": "", "type": "mine.Pool"}]"#,
        r#"{"archiverVersion": "1", "model": {"handler": "h.py", "requirementsFile": "r.txt"}}"#,
    ] {
        has(text, Rule::RemoteCode, Weight::Unknown);
    }
}

#[test]
fn names_that_act_are_dangerous() {
    has(
        r#"{"_class_name": "P", "unet": ["subprocess", "Popen"]}"#,
        Rule::RunsCommand,
        Weight::Dangerous,
    );
    has(
        r#"{"peft_type": "LORA", "auto_mapping": {"base_model_class": "system", "parent_library": "os"}}"#,
        Rule::RunsCommand,
        Weight::Dangerous,
    );
    has(
        r#"{"a": [{"_target_": "os.system"}]}"#,
        Rule::RunsCommand,
        Weight::Dangerous,
    );
    has(
        r#"[{"idx": 0, "type": "os.system"}]"#,
        Rule::RunsCommand,
        Weight::Dangerous,
    );
    has(
        r#"{"metadata": {}, "weight_map": {"a": "../../x.bin"}}"#,
        Rule::PathEscapes,
        Weight::Dangerous,
    );
    has(
        r#"{"auto_map": {"AutoModel": "../x.Model"}}"#,
        Rule::PathEscapes,
        Weight::Dangerous,
    );
    has(
        r#"{"chat_template": "{{ x.__class__ }}"}"#,
        Rule::UnsafeTemplate,
        Weight::Dangerous,
    );
    has(
        r#"{"chat_template": [{"name": "a", "template": "ok"}, {"name": "tool", "template": "{{ x.__class__ }}"}]}"#,
        Rule::UnsafeTemplate,
        Weight::Dangerous,
    );
    has(
        r#"{"chat_template": {"rag": "{{ x.__class__ }}"}}"#,
        Rule::UnsafeTemplate,
        Weight::Dangerous,
    );
    has(
        r#"{"__class__": "system", "__module__": "os", "__loader__": "FunctionNode"}"#,
        Rule::RunsCommand,
        Weight::Dangerous,
    );
    has(
        r#"{"__class__": "Pipeline", "__module__": "sklearn.pipeline", "__loader__": "ObjectNode", "content": {"__class__": "methodcaller", "__module__": "operator", "__loader__": "OperatorFuncNode"}}"#,
        Rule::ResolvesAttributes,
        Weight::Dangerous,
    );
    has(
        r#"{"__class__": "str", "__module__": "builtins", "__loader__": "OperatorFuncNode"}"#,
        Rule::ReadersDisagree,
        Weight::Dangerous,
    );
    has(
        r#"{"auto_map": {}, "auto_map": {}}"#,
        Rule::ReadersDisagree,
        Weight::Unknown,
    );
}

#[test]
fn honest_configuration_is_clean() {
    for text in [
        r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "rope_scaling": {"factor": 8.0}, "torch_dtype": "bfloat16", "_name_or_path": "/data/x"}"#,
        r#"{"tokenizer_class": "LlamaTokenizer", "chat_template": "{% for m in messages %}{{ m.content }}{% endfor %}", "model_max_length": 1e30, "added_tokens_decoder": {"0": {"content": "<unk>", "lstrip": false}}}"#,
        r#"{"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.29", "unet": ["diffusers", "UNet2DConditionModel"], "safety_checker": [null, null], "text_encoder": ["transformers", "CLIPTextModel"]}"#,
        r#"[{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]"#,
        r#"{"metadata": {"total_size": 1}, "weight_map": {"a": "model-00001-of-00002.safetensors"}}"#,
        r#"{"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": {"__class__": 1, "a": 2}, "merges": ["a b"]}, "post_processor": {"type": "TemplateProcessing"}}"#,
        r#"{"peft_type": "LORA", "base_model_name_or_path": "meta-llama/Llama-3", "auto_mapping": null}"#,
        r#"{"peft_type": "LORA", "auto_mapping": {"base_model_class": "BertModel", "parent_library": "transformers.models.bert.modeling_bert"}}"#,
        r#"{"__class__": "Pipeline", "__module__": "sklearn.pipeline", "__loader__": "ObjectNode", "content": {"__class__": "dict", "__module__": "builtins", "__loader__": "DictNode", "content": {}}, "protocol": 2}"#,
        r#"{"learner": {"attributes": {}}, "version": [2, 1, 0]}"#,
    ] {
        let done = scan("config.json", text);
        assert_eq!((done.findings, done.gaps), (vec![], vec![]), "{text}");
    }
}

#[test]
fn what_is_no_json_is_a_gap() {
    assert!(!scan("config.json", "{\"a\": ").is_complete());
    assert!(!scan("config.json", "{} {}").is_complete());
    assert!(scan("data.jsonl", "{}\n{}").is_complete());
    assert!(!scan("config.json", &"[".repeat(5000)).is_complete());
}

#[test]
fn cells_of_a_notebook_are_read() {
    let text = r#"{"nbformat": 4, "cells": [{"cell_type": "code", "source": ["!pip install x\n", "import os\n", "os.system('echo MARKER')"]}]}"#;
    has(text, Rule::RunsCommand, Weight::Unknown);
}
