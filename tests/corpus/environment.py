"""Makes the Python environment of the corpus once, over an interpreter that has torch, and runs `score.py` in it.

    PYTHON-WITH-TORCH environment.py run --binary taintline …
    PYTHON-WITH-TORCH environment.py script bench/scan.py …     any other script of ours, in the same environment

The environment lies in the cache folder. It holds only what `requirements.txt` pins and looks through to the packages
beneath it, which it never changes. Whatever died half-way is removed and made again.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).resolve().parent


def cache():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "taintline"


def make(folder, recipe):
    """The environment, in its final place: it cannot be moved."""
    if folder.exists():
        shutil.rmtree(folder)
    print(f"environment.py: installing the packages of the corpus into {folder}, once", flush=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin/python"
    query = [str(python), "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"]
    site = Path(subprocess.run(query, check=True, capture_output=True, text=True).stdout.strip())
    beneath = {sysconfig.get_paths()[kind] for kind in ("purelib", "platlib")}
    (site / "beneath.pth").write_text("\n".join(sorted(beneath)) + "\n")
    command = [
        str(python),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "-r",
        str(HERE / "requirements.txt"),
    ]
    subprocess.run(command, check=True)
    (folder / "complete").write_text(recipe)


def ready():
    """Its interpreter."""
    recipe = sys.executable + "\n" + (HERE / "requirements.txt").read_text()
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:12]
    folder = cache() / f"corpus-venv-{digest}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        marker = folder / "complete"
        if not (marker.is_file() and marker.read_text() == recipe):
            make(folder, recipe)
    return folder / "bin/python"


def main():
    environment = dict(os.environ, PYTHONDONTWRITEBYTECODE="1", KERAS_BACKEND="torch", TQDM_DISABLE="1")
    environment |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": ""}
    told = sys.argv[2:] if sys.argv[1:2] == ["script"] else [str(HERE / "score.py"), *sys.argv[1:]]
    arguments = [str(ready()), "-W", "ignore", *told]
    os.execve(arguments[0], arguments, environment)


if __name__ == "__main__":
    main()
