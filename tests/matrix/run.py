"""The matrix: sabotage against trainings, under guard, with what finds it and how soon; beside it what a watcher of the loss would see.

    run.py BINARY FOLDER [--each]      every variant on every training, every clean configuration; `--each`: every variant once

One guarded run for each training: its cells are forked one after the other from a process that has imported torch. Prints a table in
Markdown; exits with 1 where a clean cell has a finding, or a variant is not told by one of its rules at its first steps.
"""

import dataclasses
import json
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

import sabotage

JOB = Path(__file__).resolve().parent / "job.py"
TRAININGS = ("gpt", "cnn", "hf", "mlp")
# What honest users vary. The first three, of other seeds, are what the watcher of the loss is calibrated on.
CLEAN = {
    "gpt": [{"seed": 8}, {"seed": 9}, {"seed": 10}, {"threads": 2}, {"workers": 2}, {"accumulate": 1}, {"accumulate": 4}, {"ranks": 2}, {"resume": True}],
    "cnn": [{"seed": 8}, {"seed": 9}, {"seed": 10}, {"threads": 2}, {"workers": 2}, {"accumulate": 1}, {"bf16": True}, {"compiled": True}, {"resume": True}],
    "hf": [{"seed": 8}, {"seed": 9}, {"seed": 10}, {"threads": 2}, {"workers": 2}, {"accumulate": 1}, {"bf16": True}, {"resume": True}],
    "mlp": [{"seed": 8}, {"seed": 9}, {"seed": 10}, {"threads": 2}, {"workers": 2}, {"accumulate": 1}, {"bf16": True}, {"resume": True}],
}
SEEDS = 3
# Rules about what stands in memory or in files: they tell the mechanism, whatever the numbers say.
BY_MECHANISM = ("function-replaced", "hook-unexplained", "code-in-memory", "module-without-file")


@dataclasses.dataclass
class Cell:
    training: str
    variant: str | None
    options: dict
    findings: list = dataclasses.field(default_factory=list)
    losses: dict = dataclasses.field(default_factory=dict)
    code: int = 0

    @property
    def name(self):
        more = " ".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self.training} {self.variant or 'clean'} {more}".strip()


def cells_of(training, each):
    """The clean cells and the variants of one training; with `each`, every variant is one training's."""
    clean = CLEAN[training]
    cells = [Cell(training, None, options) for options in ([clean[0], *clean[SEEDS:]] if each else clean)]
    for number, (name, variant) in enumerate(sabotage.VARIANTS.items()):
        of = [it.removesuffix("-ranks") for it in variant.trainings]
        if training in of and (not each or of[number % len(of)] == training):
            options = {"ranks": 2} if variant.trainings[0].endswith("-ranks") else {}
            cells.append(Cell(training, name, options))
    return cells


def run(binary, python, folder, cells, **environment):
    """Runs the cells under guard and reads what was found in each."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = folder / "cells.json"
    wanted.write_text(json.dumps([{"training": it.training, "variant": it.variant, "options": it.options} for it in cells]))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "TOKENIZERS_PARALLELISM": "false", **environment}
    command = [str(binary), "run", "--exit-code", "command", "--", str(python), str(JOB), str(folder), str(wanted)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done.stdout + done.stderr
    shown = subprocess.run([str(binary), "show", "last", "--json"], cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    view = json.loads(shown.stdout)
    pids = json.loads((folder / "pids.json").read_text())
    whose = {pid: cells[int(number)] for number, told in pids.items() for pid, _ in told}
    for number, told in pids.items():
        cells[int(number)].code = max(abs(code) for _, code in told)
    for finding in view["findings"]:
        text = _text(finding)
        for pid in {int(pid) for pid in re.findall(r"process (\d+)", text)} & set(whose):
            whose[pid].findings.append(finding)
    for rank in view["ranks"]:
        cell = whose.get(rank["pid"])
        for step in rank["steps"] if cell else []:
            numbers = [float(loss) for loss in step["losses"]]
            if numbers:
                cell.losses[step["step"]] = statistics.fmean(numbers)
    return view


def plain(python, folder, cells, **environment):
    """Runs the cells without guard."""
    folder.mkdir(parents=True)
    wanted = folder / "cells.json"
    wanted.write_text(json.dumps([{"training": it.training, "variant": it.variant, "options": it.options} for it in cells]))
    subprocess.run([str(python), str(JOB), str(folder), str(wanted)], cwd=folder, env={**os.environ, **environment}, check=True, timeout=600)


def weights(folder, number):
    """What the cell of that number printed of its weights at its end."""
    text = (folder / f"cell-{number}/out-0").read_text()
    return re.findall(r"^weights ([0-9a-f]{64})$", text, re.M)[-1]


# --- judgement ----------------------------------------------------------------------------------


def found(cell, view):
    """The first finding of the variant's own rules: (rule, step); `None` where there is none."""
    variant = sabotage.VARIANTS[cell.variant]
    told = [it for it in cell.findings if it["rule"] in variant.rules]
    if not variant.by_numbers:
        told = [it for it in view["findings"] if it["rule"] in variant.rules and variant.named in it["what"]]
    told.sort(key=lambda it: it["step"] or 0)
    return (told[0]["rule"], told[0]["step"], told[0]["grade"]) if told else None


def judge(cell, view):
    """What is wrong with this cell's answer, or nothing."""
    if cell.variant is None:
        if cell.code:
            return f"ended with {cell.code}"
        told = [f"{it['rule']}: {it['what']}" for it in cell.findings]
        return "; ".join(told)
    variant = sabotage.VARIANTS[cell.variant]
    if cell.code and cell.variant != "killed":
        return f"ended with {cell.code}"
    answer = found(cell, view)
    if answer is None and (not variant.by_numbers or cell.training in variant.missed):
        return ""
    if answer is None:
        return "not found; told: " + (", ".join(sorted({it["rule"] for it in cell.findings})) or "nothing")
    if variant.by_numbers and answer[1] is not None and not variant.first <= answer[1] <= variant.first + variant.within:
        return f"found at step {answer[1]}, begins at {variant.first}"
    return ""


def strange(cells, view):
    """Findings that no cell has and that no sabotage explains."""
    of_cells = [id(it) for cell in cells for it in cell.findings]
    others = [it for it in view["findings"] if id(it) not in of_cells]
    return [f"nobody's: {it['rule']}: {it['what']}" for it in others if not (it["rule"] in BY_MECHANISM and "sabotage.py" in _text(it))]


def _text(finding):
    return " ".join([finding["what"], *finding["details"]])


class Watcher:
    """A spike and a band over the loss, as wide as the clean runs of other seeds need."""

    def __init__(self, clean):
        # One curve alone is no measure of what is usual.
        self.curves = [it.losses for it in clean if it.losses] if len(clean) > 1 else []
        steps = set.intersection(*(set(it) for it in self.curves)) if self.curves else set()
        self.middle = {step: statistics.fmean(it[step] for it in self.curves) for step in steps}
        self.band = max((abs(it[step] - self.middle[step]) for it in self.curves for step in steps), default=float("inf"))
        self.spike = max((spike for it in self.curves for _, spike in spikes(it)), default=float("inf"))

    def first(self, losses, start):
        if not self.curves:
            return None
        for step, spike in spikes(losses):
            off = abs(losses[step] - self.middle[step]) if step in self.middle else 0
            if step >= start and (spike > self.spike or off > self.band):
                return step
        return None


def spikes(losses):
    """For each step, how many deviations the loss stands above the ten before it."""
    steps = sorted(losses)
    for at in range(10, len(steps)):
        before = [losses[step] for step in steps[at - 10 : at]]
        yield steps[at], (losses[steps[at]] - statistics.fmean(before)) / (statistics.pstdev(before) + 1e-9)


# --- the table ----------------------------------------------------------------------------------


def table(answers):
    """Markdown: a line a variant, a column a training; and what the loss alone would have shown."""
    lines = [
        "| variant | technique | begins | " + " | ".join(TRAININGS) + " | loss alone |",
        "| --- | --- | --- |" + " --- |" * (len(TRAININGS) + 1),
    ]
    for name, variant in sabotage.VARIANTS.items():
        cells, losses = [], []
        for training in TRAININGS:
            answer = answers.get((training, name))
            if answer is None:
                cells.append("")
                continue
            rule, step, seen = answer
            if rule is None:
                cells.append("**missed**" if variant.by_numbers else "not covered")
            else:
                cells.append(f"{rule} {step - variant.first:+d}" if variant.by_numbers else f"{rule} (memory)")
            losses.append(f"{training} {seen - variant.first:+d}" if seen is not None else "")
        alone = ", ".join(it for it in losses if it) or "–"
        lines.append(f"| {name} | {variant.technique} | {variant.first} | " + " | ".join(cells) + f" | {alone} |")
    return "\n".join(lines)


def main():
    binary, folder, each = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), "--each" in sys.argv[3:]
    answers, wrong = {}, []
    for training in TRAININGS:
        cells = cells_of(training, each)
        view = run(binary, sys.executable, folder / training, cells, TAINTLINE_STORE=str(folder / "store"))
        watcher = Watcher([it for it in cells if it.variant is None and set(it.options) == {"seed"}])
        for cell in cells:
            why = judge(cell, view)
            if why:
                wrong.append(f"{cell.name}: {why}")
            if cell.variant:
                rule, step, _ = found(cell, view) or (None, None, None)
                first = sabotage.VARIANTS[cell.variant].first
                answers[training, cell.variant] = (rule, step, watcher.first(cell.losses, first))
        wrong += [f"{training}: {it}" for it in strange(cells, view)]
        clean = [it for it in cells if it.variant is None]
        print(f"{training}: {len(clean)} clean configurations, {len(cells) - len(clean)} variants", file=sys.stderr, flush=True)
    print(table(answers))
    seen = sum(1 for rule, _, alone in answers.values() if alone is not None)
    told = sum(1 for rule, _, _ in answers.values() if rule is not None)
    print(f"\n{told} of {len(answers)} found; by the loss alone {seen}.")
    for line in wrong:
        print(f"wrong: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
