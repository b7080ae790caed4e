"""The benign half of the corpus: what the real packages save when people train, evaluate and publish models.

A sample is a name, an expectation and files. Expectations:

- `clean`   nothing may be found: exit 0;
- `custom`  a class of the project itself: the scanner cannot know it, and says so (exit 3), but calls it neither
  dangerous nor unknown;
- `plain`   no model at all: a text, an image, an empty file.

Each maker is a function of a folder that writes one or more files; `samples()` collects them. Nothing here is meant to
look suspicious, and some of it does.
"""

import importlib.metadata
import json
import os
import sys
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path

MAKERS = []


@dataclass(frozen=True)
class Maker:
    """`make(folder)` writes files; `per_file` tells whether each is a sample, or all together are one."""

    group: str
    name: str
    make: object
    expect: str
    per_file: bool


def maker(group, expect="clean", per_file=True):
    """Registers a maker under its function's name."""

    def register(function):
        MAKERS.append(Maker(group, function.__name__, function, expect, per_file))
        return function

    return register


def versions():
    """Names the packages at hand, for the cache."""
    names = Path(__file__).with_name("requirements.txt").read_text().split()
    named = [name.split("==")[0] for name in names] + ["torch", "numpy"]
    sources = sorted(Path(__file__).parent.glob("benign*.py"))
    import hashlib

    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources))
    for name in named:
        digest.update(f"{name}=={importlib.metadata.version(name)}\n".encode())
    return digest.hexdigest()[:16]


def build(folder):
    """Writes all samples; returns rows. A maker that fails is told, and fails the build."""
    import benign_arrays  # noqa: F401
    import benign_frameworks  # noqa: F401
    import benign_other  # noqa: F401
    import benign_torch  # noqa: F401

    warnings.simplefilter("ignore")
    rows, failed = [], []
    for entry in MAKERS:
        home = folder / entry.group / entry.name
        home.mkdir(parents=True, exist_ok=True)
        try:
            entry.make(home)
        except Exception:  # noqa: BLE001  all failures are told at once
            failed.append(f"{entry.name}: {traceback.format_exc(limit=3)}")
            continue
        files = sorted(path for path in home.rglob("*") if path.is_file())
        units = [[path] for path in files] if entry.per_file else [files]
        for unit in units:
            rows.append(
                {
                    "mechanism": entry.name,
                    "group": entry.group,
                    "home": str(unit[0] if entry.per_file else home),
                    "files": [str(path) for path in unit],
                    "expect": entry.expect,
                }
            )
    return rows, failed


def load(cache):
    """The samples, from the cache if the same packages and makers made them before."""
    folder = cache / f"benign-{versions()}"
    index = folder / "benign.json"
    if not index.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        rows, failed = build(folder)
        if failed:
            sys.exit("benign.py: these could not be saved\n" + "\n".join(failed))
        index.write_text(json.dumps(rows, indent=1))
    return json.loads(index.read_text())


if __name__ == "__main__":
    # Makers register in the module of this name, which is not this one when it runs as a script.
    import benign

    os.environ.setdefault("KERAS_BACKEND", "torch")
    out = Path(sys.argv[1])
    made, broken = benign.build(out)
    print(f"{len(made)} samples, {sum(len(row['files']) for row in made)} files")
    print("\n".join(broken))
