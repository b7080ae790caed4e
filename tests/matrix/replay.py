"""The matrix of replays: each sabotage is recorded in a poisoned environment and computed again in a clean one.

    replay.py BINARY FOLDER [--all] [--threads N] [--clean] [VARIANT…]      each variant on one training, in turn

`--all`: on every training it means something for. `--threads N`: computed again with N threads, where the runs have one, within the band that is
learnt from clean replays; then a variant may be told five steps later. `--clean`: no variant, only the trainings as they are.

What sabotages comes in over PYTHONPATH, which a replay leaves out. Prints a table in Markdown: the first step that a replay calls bad, and what it
says was done. Exits with 1 where a clean run differs, or a variant that changes numbers is not told at its first step.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import sabotage

HERE = Path(__file__).resolve().parent
TRAININGS = ("gpt", "cnn", "hf", "mlp")
# With another number of threads, a variant may be told so many steps later.
LATER = 5
# These change no number of a training step: what tells them is their own check while the run is going (tests/matrix/run.py), or a
# saved or reported value.
OTHERWISE = ("sleeps", "killed", "evaluation", "dropout on in evaluation", "reported loss")


def environment(folder, variant):
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("TAINTLINE_", "PYTHON")) or key == "TAINTLINE_SENSOR_DIR"}
    kept.update(OMP_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1", TOKENIZERS_PARALLELISM="false", TAINTLINE_STORE=str(folder / "store"))
    if variant:
        kept.update(PYTHONPATH=str(HERE / "poison"), POISON=variant, POISON_HOME=str(HERE))
    return kept


def cell(binary, python, folder, training, variant, threads):
    """Records the training and computes it again: exit code of the replay, and what it says."""
    place = folder / f"{training}-{(variant or 'clean').replace(' ', '-')}"
    place.mkdir(parents=True)
    command = [str(binary), "run", "--quiet", "--exit-code", "command", "--", str(python), str(HERE / "one.py"), training, "{}"]
    with open(place / "out", "w") as out:
        subprocess.run(command, cwd=place, env=environment(folder, variant), stdout=out, stderr=out, timeout=600)
    command = [str(binary), "replay", "last", "--json", "--quiet", *threads]
    done = subprocess.run(command, cwd=place, env=environment(folder, None), capture_output=True, text=True, timeout=600)
    if done.returncode not in (0, 1, 3):
        return done.returncode, {"verdict": "error", "finding": None, "said": done.stderr, "limits": []}
    return done.returncode, json.loads(done.stdout)


def cells(every, clean, wanted):
    for training in TRAININGS:
        yield training, None
    if clean:
        return
    for number, (name, variant) in enumerate(sabotage.VARIANTS.items()):
        of = [it for it in variant.trainings if not it.endswith("-ranks")]
        if wanted and name not in wanted:
            continue
        for training in of if every else of[number % len(of or [0]) :][:1]:
            yield training, name


def judge(variant, view, later):
    """What is wrong with the answer, or nothing."""
    if variant is None:
        return "" if view["verdict"] == "same" else f"a clean run is told as {view['verdict']}"
    if variant.startswith(OTHERWISE):
        return ""
    step = (view["finding"] or {}).get("step")
    about = sabotage.VARIANTS[variant]
    last = about.first + (about.within if about.technique.startswith("D") else 0) + later
    return "" if step is not None and about.first <= step <= last else f"told at step {step}, begins at {about.first}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--clean", action="store_true")
    parser.add_argument("--threads")
    parser.add_argument("variants", nargs="*")
    arguments = parser.parse_intermixed_args()
    binary, folder = arguments.binary.resolve(), arguments.folder.resolve()
    threads = ["--threads", arguments.threads] if arguments.threads else []
    python = os.environ.get("TAINTLINE_TEST_PYTHON", sys.executable)
    wrong = []
    print("| variant | technique | training | first bad step | what the replay says |\n| --- | --- | --- | --- | --- |")
    for training, variant in cells(arguments.all, arguments.clean, arguments.variants):
        code, view = cell(binary, python, folder, training, variant, threads)
        finding = view["finding"] or {}
        said = finding.get("what", view["verdict"]).split("clean process: ")[-1]
        technique = sabotage.VARIANTS[variant].technique if variant else ""
        print(f"| {variant or 'clean'} | {technique} | {training} | {finding.get('step', '–')} | {said} |", flush=True)
        answer = judge(variant, view, LATER if threads else 0)
        if answer:
            wrong.append(f"{training} {variant or 'clean'}: {answer} (exit {code})")
            print(f"  {wrong[-1]}: {view.get('said', '')} {view['limits']} {finding.get('details')}"[:1500], file=sys.stderr, flush=True)
    for text in wrong:
        print(text, file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
