"""Benign samples of the training frameworks: transformers, Lightning, accelerate, Keras, and what DeepSpeed and Megatron leave."""

import argparse
import collections
import json
import logging
import os
import random

import numpy
import torch
from torch import nn

from benign import maker

os.environ.setdefault("KERAS_BACKEND", "torch")
logging.disable(logging.WARNING)


def tiny_gpt():
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(
        GPT2Config(n_layer=1, n_embd=16, n_head=2, vocab_size=50, n_positions=16, bos_token_id=0, eos_token_id=0)
    )


def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE(unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.train_from_iterator(
        ["a small text to learn from", "another one"],
        trainers.BpeTrainer(vocab_size=45, special_tokens=["<unk>", "<s>"], show_progress=False),
    )
    return PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>", bos_token="<s>", pad_token="<s>")


CHAT = (
    "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}{% endif %}"
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] | trim + '<|im_end|>' + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
TOOLS = (
    "{%- if tools %}{{- '<tools>\\n' }}{%- for tool in tools %}{{- tool | tojson }}{%- endfor %}{{- '</tools>' }}{%- endif %}"
    "{%- set ns = namespace(last=none) %}{%- for message in messages %}{%- if message.role == 'assistant' and message.tool_calls is defined %}"
    "{%- for call in message.tool_calls %}{{- call.function.name ~ ': ' ~ call.function.arguments | tojson }}{%- endfor %}"
    "{%- elif message.content is string %}{%- set content = message.content.split('</think>')[-1].lstrip('\\n') %}{{- content }}"
    "{%- else %}{{- raise_exception('Only texts are supported') }}{%- endif %}{%- set ns.last = message.role %}{%- endfor %}"
    "{%- macro greet(name) %}Hello {{ name | upper }}{%- endmacro %}{{- greet('you') }}{{- strftime_now('%d %b %Y') if strftime_now is defined }}"
)


@maker("transformers", per_file=False)
def trainer_folder(folder):
    from transformers import Trainer, TrainingArguments

    data = [{"input_ids": torch.arange(8), "labels": torch.arange(8)} for _ in range(4)]
    options = TrainingArguments(
        output_dir=str(folder),
        max_steps=2,
        save_steps=2,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        per_device_train_batch_size=2,
    )
    trainer = Trainer(tiny_gpt(), options, train_dataset=data, processing_class=tokenizer())
    trainer.train()
    trainer.save_model(str(folder / "final"))


@maker("transformers")
def trainer_files(folder):
    """The same files, each a sample."""
    trainer_folder(folder)


@maker("transformers")
def models_and_tokenizers(folder):
    from transformers import BertConfig, BertModel, GenerationConfig, T5Config, ViTConfig

    net = tiny_gpt()
    net.save_pretrained(folder / "gpt", safe_serialization=True)
    torch.save(net.state_dict(), folder / "pytorch_model.bin")
    torch.save({"config": tiny_gpt().config.to_dict(), "state": net.state_dict()}, folder / "with_config.pt")
    bert = BertModel(
        BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, vocab_size=20)
    )
    torch.save(bert.state_dict(), folder / "bert.bin")
    torch.save(bert, folder / "bert_whole.pt")
    for number, config in enumerate([T5Config(), ViTConfig(), GenerationConfig()]):
        config.save_pretrained(folder / f"config{number}")
    words = tokenizer()
    words.chat_template = CHAT
    words.save_pretrained(folder / "tokenizer")
    words.chat_template = {"default": CHAT, "tool_use": TOOLS}
    words.save_pretrained(folder / "tokenizer_tools")
    (folder / "chat_template.jinja").write_text(TOOLS)


class Regression:
    """Made late, because Lightning is slow to import."""

    @staticmethod
    def make():
        import lightning

        class Line(lightning.LightningModule):
            def __init__(self, width=2, rate=0.1):
                super().__init__()
                self.save_hyperparameters()
                self.body = nn.Linear(width, 1)

            def training_step(self, batch, _):
                return self.body(batch).square().mean()

            def configure_optimizers(self):
                optimizer = torch.optim.AdamW(self.parameters(), self.hparams.rate)
                return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 2)]

        return Line()


@maker("lightning")
def lightning_checkpoints(folder):
    import lightning
    from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

    callbacks = [
        ModelCheckpoint(folder / "best", save_last=True, every_n_train_steps=2),
        EarlyStopping("x", strict=False),
    ]
    callbacks[1].on_train_epoch_end = lambda *_: None
    trainer = lightning.Trainer(
        max_steps=4,
        accelerator="cpu",
        logger=False,
        callbacks=callbacks[:1],
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(Regression.make(), torch.utils.data.DataLoader(torch.ones(8, 2), batch_size=2))
    trainer.save_checkpoint(folder / "manual.ckpt")
    trainer.save_checkpoint(folder / "weights.ckpt", weights_only=True)


@maker("lightning")
def fabric(folder):
    from lightning.fabric import Fabric

    runner = Fabric(accelerator="cpu", devices=1)
    net = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    runner.save(folder / "fabric.ckpt", {"model": net, "optimizer": optimizer, "step": 5})
    from omegaconf import OmegaConf

    config = OmegaConf.create({"lr": 0.1, "model": {"width": 3}, "names": ["a"]})
    torch.save({"hyper_parameters": config, "state_dict": net.state_dict()}, folder / "omegaconf.ckpt")
    (folder / "hparams.yaml").write_text(OmegaConf.to_yaml(config))


@maker("accelerate")
def accelerate_state(folder):
    from accelerate import Accelerator

    runner = Accelerator(cpu=True)
    net = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(net.parameters())
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    net, optimizer, schedule = runner.prepare(net, optimizer, schedule)
    runner.save_state(str(folder / "safe"))
    runner.save_state(str(folder / "pickled"), safe_serialization=False)


@maker("deepspeed_like", per_file=False)
def deepspeed_like(folder):
    """Model states and optimizer shards as DeepSpeed lays them out."""
    home = folder / "global_step10"
    home.mkdir()
    arguments = argparse.Namespace(local_rank=0, deepspeed=True, lr=1e-4, zero_stage=2, train_batch_size=8)
    net = nn.Linear(4, 4)
    shapes = [collections.OrderedDict((name, value.shape) for name, value in net.named_parameters())]
    common = {
        "module": net.state_dict(),
        "buffer_names": [],
        "param_shapes": shapes,
        "frozen_param_shapes": None,
        "lr_scheduler": {"last_batch_iteration": 10},
        "sparse_tensor_module_names": set(),
        "skipped_steps": 0,
        "global_steps": 10,
        "dp_world_size": 2,
        "mp_world_size": 1,
        "ds_config": {"train_batch_size": 8, "zero_optimization": {"stage": 2}},
        "ds_version": "0.18.0",
        "args": arguments,
        "random_rng_state": random.getstate(),
        "np_rng_state": numpy.random.get_state(),
        "torch_rng_state": torch.get_rng_state(),
    }
    torch.save(common, home / "mp_rank_00_model_states.pt")
    for rank in range(2):
        shard = {
            "optimizer_state_dict": {
                "zero_stage": 2,
                "partition_count": [2],
                "single_partition_of_fp32_groups": [torch.randn(10)],
                "base_optimizer_state": {"state": {0: {"exp_avg": torch.zeros(10)}}, "param_groups": [{"lr": 1e-4}]},
                "overflow": False,
                "clip_grad": 1.0,
            },
            "ds_config": common["ds_config"],
        }
        torch.save(shard, home / f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")
    (folder / "latest").write_text("global_step10")
    (folder / "notes.txt").write_text("from a run of yesterday\n")


@maker("megatron_like", per_file=False)
def megatron_like(folder):
    home = folder / "iter_0000010" / "mp_rank_00"
    home.mkdir(parents=True)
    arguments = argparse.Namespace(num_layers=2, hidden_size=8, params_dtype=torch.bfloat16, data_path=["a"], rank=0)
    state = {
        "args": arguments,
        "checkpoint_version": 3.0,
        "iteration": 10,
        "model": {"language_model": {"encoder": nn.Linear(3, 3).state_dict(), "_extra_state": None}},
        "optimizer": {
            "optimizer": torch.optim.SGD(nn.Linear(2, 2).parameters(), 0.1).state_dict(),
            "fp32_from_fp16_params": [[torch.ones(2)]],
        },
        "opt_param_scheduler": {"max_lr": 1e-4, "num_steps": 80},
        "rng_state": [
            {
                "random_rng_state": random.getstate(),
                "np_rng_state": numpy.random.get_state(),
                "torch_rng_state": torch.get_rng_state(),
                "rng_tracker_states": {},
            }
        ],
    }
    torch.save(state, home / "model_optim_rng.pt")
    (folder / "latest_checkpointed_iteration.txt").write_text("10")


@maker("keras")
def keras_models(folder):
    import keras

    def dense():
        return keras.Sequential(
            [keras.Input((4,)), keras.layers.Dense(3, "relu"), keras.layers.Dropout(0.1), keras.layers.Dense(1)]
        )

    model = dense()
    model.compile("adam", "mse")
    model.fit(numpy.ones((4, 4)), numpy.ones((4, 1)), verbose=0)
    model.save(folder / "dense.keras")
    model.save(folder / "dense.h5")
    model.save_weights(folder / "dense.weights.h5")
    (folder / "dense.json").write_text(model.to_json())
    image = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3), keras.layers.BatchNormalization(), keras.layers.Flatten()]
    )
    image.save(folder / "image.keras")
    image.save(folder / "image.h5")
    text = keras.Sequential([keras.Input((5,)), keras.layers.Embedding(10, 4), keras.layers.LSTM(3)])
    text.save(folder / "text.keras")
    inputs = keras.Input((4,))
    outputs = keras.layers.Add()([keras.layers.Dense(4)(inputs), inputs])
    keras.Model(inputs, outputs).save(folder / "functional.keras")


@maker("lists")
def training_notes(folder):
    """The small files that lie about a training."""
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": 2, "log_history": [{"loss": 1.0}]}))
    (folder / "hparams.yaml").write_text("lr: 0.1\nmodel:\n  layers: [1, 2]\n  name: small\nsystem: os\n")
    (folder / "config.yaml").write_text("trainer:\n  max_epochs: 3\n# exec is only a word here\nnote: 'eval(x)'\n")
    (folder / "pytorch_model.bin.index.json").write_text(
        json.dumps({"metadata": {"total_size": 8}, "weight_map": {"a": "pytorch_model-00001-of-00001.bin"}})
    )
    (folder / "vocab.txt").write_text("a\nb\n__class__\nos.system\n")
    (folder / "merges.txt").write_text("#version: 0.2\na b\n")
    (folder / "special_tokens_map.json").write_text(json.dumps({"bos_token": "<s>"}))
    (folder / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 8, "target_modules": ["q_proj"], "auto_mapping": None})
    )
    (folder / "model_index.json").write_text(
        json.dumps(
            {
                "_class_name": "StableDiffusionPipeline",
                "unet": ["diffusers", "UNet2DConditionModel"],
                "vae": [None, None],
            }
        )
    )
    (folder / "mlm.conf").write_text("[train]\nlr = 0.1\n")
