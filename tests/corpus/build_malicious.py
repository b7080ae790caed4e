"""Writes the malicious half of the corpus into a folder and checks that a loader would reach every gadget."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import bases
import benign
import malicious
import mined

HERE = Path(__file__).resolve().parent


def ready(cache):
    """The mechanisms, with honest bases and mined gadgets from the cache folder."""
    tag = benign.versions()
    return malicious.mechanisms(bases.load(cache / f"bases-{tag}.pkl"), mined.mine(cache / f"mined-{tag}.json"))


def place(folder, mechanism, variant, sample):
    """Writes a sample below `folder`; a sample of one file is that file, else it is a folder."""
    home = folder / mechanism.name / f"{variant:03}"
    for name, data in sample.files.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return home


def build(folder, seed, cache, scale=1.0):
    """Builds everything. Returns rows of dictionaries; those that no loader would run are marked."""
    rows, work = [], []
    for mechanism in ready(cache):
        for variant in range(max(1, round(mechanism.variants * scale))):
            sample = mechanism.build(seed, variant)
            home = place(folder, mechanism, variant, sample)
            rows.append(
                {
                    "mechanism": mechanism.name,
                    "group": mechanism.group,
                    "variant": variant,
                    "home": str(home),
                    "files": [str(home / name) for name in sample.files],
                    "loader": sample.loader,
                    "note": sample.note,
                    "dead": None,
                }
            )
            owner = len(rows) - 1
            work += [(owner, str(home / name), kind, wanted) for name, kind, wanted in checks_of(sample, home)]
    verify(rows, work, folder)
    return rows


def checks_of(sample, home):
    """The sample's checks, and those of the sample that it wraps, which is laid beside for the purpose."""
    yield from sample.checks
    inside = sample.extra.get("inside")
    if inside:
        outside = home.parent.parent
        aside = outside.with_name(outside.name + ".inside") / home.parent.name / home.name
        aside.mkdir(parents=True, exist_ok=True)
        for name, kind, wanted in inside[1].checks:
            (aside / name).write_bytes(inside[1].files[name])
            yield aside / name, kind, wanted


def verify(rows, work, folder):
    """Marks the rows whose gadget no loader reaches, with the reason."""
    asked, answered = folder.with_name("reach.json"), folder.with_name("reached.json")
    asked.write_text(json.dumps([entry[1:] for entry in work]))
    command = [sys.executable, str(HERE / "reach.py"), str(asked), str(answered)]
    environment = dict(os.environ, PYTHONDONTWRITEBYTECODE="1")
    done = subprocess.run(command, env=environment, check=False)
    if done.returncode:
        sys.exit(f"reach.py ended with {done.returncode}: a sample was about to do something")
    for (owner, *_), (_, missing, errors) in zip(work, json.loads(answered.read_text()), strict=True):
        if missing:
            rows[owner]["dead"] = f"not reached: {missing}; {errors}"


def main():
    folder, seed, cache = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    seed = str(random.SystemRandom().randrange(10**9)) if seed == "fresh" else seed
    rows = build(folder, seed, cache)
    (folder / "malicious.json").write_text(json.dumps(rows, indent=1))
    dead = [row for row in rows if row["dead"]]
    print(
        f"seed {seed}: {len(rows)} samples of {len({row['mechanism'] for row in rows})} mechanisms, {len(dead)} dead"
    )
    for row in dead[:60]:
        print(row["mechanism"], row["variant"], row["note"], row["dead"][:300])


if __name__ == "__main__":
    main()
