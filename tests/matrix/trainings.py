"""Four small trainings of different make. None of them knows of Taintline or of the sabotage that is tried on it.

Each is a function of `Options` that runs to its end in the calling process, in the current folder, and answers the model; the example
prints the digest of its weights itself.
"""

import dataclasses
import os
import runpy
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/gpt/train.py"


@dataclasses.dataclass
class Options:
    """What the clean configurations vary."""

    steps: int = 45
    seed: int = 7
    threads: int = 1
    workers: int = 0
    accumulate: int = 2
    lr_factor: float = 1.0
    bf16: bool = False
    compiled: bool = False
    ranks: int = 1
    resume: bool = False


# --- the example: a byte-level GPT, AdamW in two groups, clipping, warm-up and cosine ------------


def gpt(options):
    arguments = (
        f"--layers 2 --width 32 --heads 2 --block 32 --batch-size 4 --accumulate {options.accumulate} --dropout 0.1"
        f" --threads {options.threads} --num-workers {options.workers} --seed {options.seed} --steps {options.steps}"
        f" --lr {1e-3 * options.lr_factor} --warmup 5 --save-every 15 --eval-every 10 --log-every 1000"
    ).split()
    if options.resume:
        _example([*arguments, "--steps", "20"])
        arguments += ["--resume", "latest"]
    _example(arguments)


def _example(arguments):
    before = sys.argv
    sys.argv = [str(EXAMPLE), *arguments]
    try:
        runpy.run_path(str(EXAMPLE), run_name="__main__")
    finally:
        sys.argv = before


# --- plain SGD on images -----------------------------------------------------------------------


class Images(Dataset):
    """Ten kinds of noisy pictures; evaluation has its own."""

    def __init__(self, seed, count):
        generator = torch.Generator().manual_seed(seed)
        kinds = torch.randn(10, 1, 8, 8, generator=torch.Generator().manual_seed(1))
        self.labels = torch.randint(0, 10, (count,), generator=generator)
        self.pictures = kinds[self.labels] + 0.8 * torch.randn(count, 1, 8, 8, generator=generator)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.pictures[index], self.labels[index]


class ConvNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU()
        )
        self.classify = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(16 * 16, 10))

    def forward(self, x):
        return self.classify(self.features(x))


def cnn(options):
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    train, held_out = Images(2, 640), Images(3, 96)
    model = ConvNet()
    called = torch.compile(model) if options.compiled else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05 * options.lr_factor, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [20, 40], gamma=0.3)
    loader = DataLoader(train, batch_size=16, shuffle=True, num_workers=options.workers, generator=torch.Generator().manual_seed(options.seed))
    step = 0
    if options.resume and not os.path.exists("cnn.pt"):
        cnn(dataclasses.replace(options, steps=20, resume=False))
    if options.resume:
        saved = torch.load("cnn.pt", weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        step = saved["step"]
    batches = _endless(loader)
    while step < options.steps:
        called.train()
        optimizer.zero_grad()
        for _ in range(options.accumulate):
            pictures, labels = next(batches)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=options.bf16):
                scores = called(pictures)
            (F.cross_entropy(scores.float(), labels) / options.accumulate).backward()
        optimizer.step()
        schedule.step()
        step += 1
        if step % 10 == 0:
            called.eval()
            with torch.no_grad():
                right = sum((called(x).argmax(1) == y).sum().item() for x, y in DataLoader(held_out, batch_size=32, generator=torch.Generator()))
            print(f"step {step} right {right / len(held_out):.2f}", flush=True)
        if step % 20 == 0:
            state = {"step": step, "model": model.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
            torch.save(state, "cnn.pt")
    return model


def _endless(loader):
    while True:
        yield from loader


# --- a Hugging Face Trainer, a tiny model made from its configuration -----------------------------


class Sentences(Dataset):
    """Sentences of 6 to 14 words of a small vocabulary; the class is which half of it they come from."""

    def __init__(self, seed, count):
        generator = torch.Generator().manual_seed(seed)
        self.rows = []
        for _ in range(count):
            label = int(torch.randint(0, 2, (), generator=generator))
            length = int(torch.randint(6, 15, (), generator=generator))
            words = torch.randint(5, 40, (length,), generator=generator) + 35 * label
            noise = torch.rand(length, generator=generator) < 0.25
            words[noise] = torch.randint(5, 75, (int(noise.sum()),), generator=generator)
            self.rows.append((words.tolist(), label))

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        words, label = self.rows[index]
        pad = 16 - len(words)
        return {"input_ids": words + [0] * pad, "attention_mask": [1] * len(words) + [0] * pad, "labels": label}


def hf(options):
    import transformers

    torch.set_num_threads(options.threads)
    transformers.set_seed(options.seed)
    configuration = transformers.BertConfig(
        vocab_size=80,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
        num_labels=2,
    )
    model = transformers.BertForSequenceClassification(configuration)
    arguments = transformers.TrainingArguments(
        output_dir="hf",
        max_steps=options.steps,
        per_device_train_batch_size=8,
        gradient_accumulation_steps=options.accumulate,
        learning_rate=2e-3 * options.lr_factor,
        weight_decay=0.01,
        warmup_steps=5,
        max_grad_norm=1.0,
        eval_strategy="steps",
        eval_steps=15,
        save_steps=20,
        save_total_limit=1,
        logging_steps=3,
        report_to=[],
        seed=options.seed,
        bf16=options.bf16,
        use_cpu=True,
        dataloader_num_workers=options.workers,
        disable_tqdm=True,
    )
    if options.resume:
        first = dataclasses.replace(options, steps=20, resume=False)
        hf(first)
    trainer = transformers.Trainer(model=model, args=arguments, train_dataset=Sentences(5, 400), eval_dataset=Sentences(6, 48))
    trainer.train(resume_from_checkpoint=True if options.resume else None)
    return model


# --- Lightning, a regression -------------------------------------------------------------------


class Curve(Dataset):
    """Points of a noisy function of eight numbers."""

    def __init__(self, seed, count):
        generator = torch.Generator().manual_seed(seed)
        self.x = torch.randn(count, 8, generator=generator)
        weights = torch.randn(8, generator=torch.Generator().manual_seed(1))
        self.y = torch.tanh(self.x @ weights) + 0.1 * torch.randn(count, generator=generator)

    def __len__(self):
        return len(self.y)

    def __getitem__(self, index):
        return self.x[index], self.y[index]


def mlp(options):
    import lightning

    class Regression(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            layers = nn.Linear(8, 32), nn.Tanh(), nn.Dropout(0.1), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1)
            self.layers = nn.Sequential(*layers)

        def forward(self, x):
            return self.layers(x).squeeze(-1)

        def training_step(self, batch, number):
            x, y = batch
            loss = F.mse_loss(self(x), y)
            self.log("loss", loss)
            return loss

        def validation_step(self, batch, number):
            x, y = batch
            self.log("validation", F.mse_loss(self(x), y))

        def configure_optimizers(self):
            optimizer = torch.optim.Adam(self.parameters(), lr=3e-3 * options.lr_factor)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    torch.set_num_threads(options.threads)
    if options.resume and not os.path.exists("mlp.ckpt"):
        mlp(dataclasses.replace(options, steps=20, resume=False))
    lightning.seed_everything(options.seed, verbose=False)
    trainer = lightning.Trainer(
        max_steps=options.steps,
        max_epochs=-1,
        accelerator="cpu",
        devices=1,
        accumulate_grad_batches=options.accumulate,
        gradient_clip_val=0.5,
        precision="bf16-mixed" if options.bf16 else "32-true",
        logger=lightning.pytorch.loggers.CSVLogger("."),
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        val_check_interval=20,
        check_val_every_n_epoch=None,
    )
    train = DataLoader(Curve(5, 480), batch_size=16, shuffle=True, num_workers=options.workers)
    model, held_out = Regression(), DataLoader(Curve(6, 64), batch_size=32)
    trainer.fit(model, train, held_out, ckpt_path="mlp.ckpt" if options.resume else None, weights_only=True)
    trainer.save_checkpoint("mlp.ckpt")
    return model


ALL = {"gpt": gpt, "cnn": cnn, "hf": hf, "mlp": mlp}
