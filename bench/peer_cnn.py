"""The matrix's `cnn` as a plain script, for tools that instrument a script: SEED, VARIANT and MATRIX (its folder) are in the environment."""

import hashlib
import os
import sys
import time
from pathlib import Path

import without_gpu  # noqa: F401  (before torch is instrumented; `peer.py` writes it)
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

sys.path.insert(0, os.environ["MATRIX"])
import sabotage
import trainings

if os.environ.get("VARIANT"):
    sabotage.VARIANTS[os.environ["VARIANT"]].install(sabotage.Clock())

seed = int(os.environ["SEED"])
torch.set_num_threads(1)
torch.manual_seed(seed)
train, held_out = trainings.Images(2, 640), trainings.Images(3, 96)
model = trainings.ConvNet()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [20, 40], gamma=0.3)
loader = DataLoader(train, batch_size=16, shuffle=True, generator=torch.Generator().manual_seed(seed))


def endless():
    while True:
        yield from loader


batches = endless()


def micro_batch():
    pictures, labels = next(batches)
    (F.cross_entropy(model(pictures).float(), labels) / 2).backward()


began = time.perf_counter()
for step in range(1, 37):
    model.train()
    optimizer.zero_grad()
    micro_batch()
    micro_batch()
    optimizer.step()
    schedule.step()
    if step % 10 == 0:
        model.eval()
        with torch.no_grad():
            right = sum((model(x).argmax(1) == y).sum().item() for x, y in DataLoader(held_out, batch_size=32, generator=torch.Generator()))
        print(f"step {step} right {right / len(held_out):.2f}", flush=True)
print(f"steps took {time.perf_counter() - began:.3f} s")
momenta = [state["momentum_buffer"] for state in optimizer.state_dict()["state"].values()]
values = [value.contiguous().view(-1).view(torch.uint8).numpy().tobytes() for value in (*model.state_dict().values(), *momenta)]
Path(os.environ["FINAL"]).write_text(f"{hashlib.sha256(b''.join(values)).hexdigest()} of {len(values)} tensors")
