"""What a replay costs: the time of a replayed step beside that of the recorded one, and what comes on top.

    PYTHON bench/replay.py BINARY [--rounds 3] [--steps 60]

Each round records the example and computes it again. Prints the median, least and greatest of the ratios, and of the seconds beside the steps.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

TRAIN = Path(__file__).resolve().parents[1] / "examples/gpt/train.py"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    ratios, beside = [], []
    with tempfile.TemporaryDirectory() as folder:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("TAINTLINE_") or key == "TAINTLINE_SENSOR_DIR"}
        environment.update(OMP_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1", XDG_DATA_HOME=f"{folder}/data", XDG_CACHE_HOME=f"{folder}/cache")
        binary = str(options.binary.resolve())
        training = [sys.executable, str(TRAIN), "--threads", "1", "--steps", str(options.steps), "--log-every", "1000"]
        # The first round reads and compiles the environment: it is not counted.
        for number in range(options.rounds + 1):
            subprocess.run([binary, "run", "--quiet", "--", *training], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
            done = subprocess.run([binary, "replay", "last", "--json", "--quiet"], cwd=folder, env=environment, check=True, capture_output=True, text=True)
            view = json.loads(done.stdout)
            assert view["verdict"] == "same" and view["compared"] == options.steps, view
            cost = view["cost"]
            if number:
                ratios.append(cost["steps_seconds"] / cost["recorded_seconds"])
                beside.append(cost["wall_seconds"] - cost["steps_seconds"])
    for name, values in (("replayed step / recorded step", ratios), ("seconds beside the steps", beside)):
        print(f"{name}: median {statistics.median(values):.2f}, least {min(values):.2f}, greatest {max(values):.2f}")


if __name__ == "__main__":
    main()
