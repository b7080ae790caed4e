"""Runs cells of the matrix, each in a child of its own: `job.py FOLDER CELLS.json`.

A cell is a training, its options and maybe a sabotage. What torch and the trainers need is imported once, before the children are
forked. Each cell's number and the process numbers of its ranks are written to `FOLDER/pids.json`.
"""

import hashlib
import json
import multiprocessing
import os
import sys
from pathlib import Path

import torch

import sabotage
import trainings

PORT = 29_600


def child(folder, cell, rank, port):
    os.makedirs(folder, exist_ok=True)
    os.chdir(folder)
    log = os.open(f"out-{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    options = trainings.Options(**cell["options"])
    if options.ranks > 1:
        os.environ.update(
            RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(options.ranks), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
        )
    if cell["variant"]:
        sabotage.VARIANTS[cell["variant"]].install(sabotage.Clock())
    model = trainings.ALL[cell["training"]](options)
    if model is not None:
        weights = [value.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes() for value in model.state_dict().values()]
        print("weights", hashlib.sha256(b"".join(weights)).hexdigest(), flush=True)


def main():
    base, cells = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
    if any(cell["training"] == "hf" for cell in cells):
        import transformers  # noqa: F401
    if any(cell["training"] == "mlp" for cell in cells):
        import lightning  # noqa: F401
    torch.set_num_threads(1)
    context = multiprocessing.get_context("fork")
    pids = {}
    for number, cell in enumerate(cells):
        folder = str(base / f"cell-{number}")
        ranks = cell["options"].get("ranks", 1)
        children = [context.Process(target=child, args=(folder, cell, rank, PORT + number)) for rank in range(ranks)]
        for process in children:
            process.start()
        for process in children:
            process.join(120)
            if process.is_alive():
                process.kill()
                process.join()
        pids[number] = [(process.pid, process.exitcode) for process in children]
        (base / "pids.json").write_text(json.dumps(pids))


if __name__ == "__main__":
    main()
