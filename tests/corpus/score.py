"""Scores `taintline scan` on the corpus, beside picklescan and modelscan.

    python score.py run --binary taintline [--seed 7] [--write docs/scan-corpus.md]
    python score.py rebuild SEED MECHANISM VARIANT FOLDER

Ends with 1 when the contract is broken, and names each sample that broke it with the command that builds it again:

- malicious: none passes with exit code 0; at least 99.5 % are stopped, at most 5 % of all by refusing to call them
  examined (exit code 3); the same again with each framework's own rules removed;
- benign: none is called dangerous, at most 2 % unknown; a project's own classes are called custom.

Runs in the environment of `environment.py`. The seed is fresh unless it is given, and printed.
"""

import argparse
import collections
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import report

HERE = Path(__file__).resolve().parent
# The weights of verdicts, the heaviest first, and the exit code that each alone would give.
CODES = {
    "dangerous": 1,
    "unknown": 1,
    "failed": 2,
    "custom": 3,
    "incomplete": 3,
    "clean": 0,
    "not_a_model": 0,
    "link": 0,
}
STOPPED, REFUSED, UNKNOWN = 0.995, 0.05, 0.02


def frameworks(binary):
    """Those that have rules of their own: the tool names them when it is asked for one that has none."""
    command = [str(binary), "scan", "--without-rules", "no such framework", os.devnull]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    _, told, names = done.stderr.strip().partition("there are: ")
    if not told:
        sys.exit(f"score.py: {' '.join(command)} does not name the frameworks\n{done.stderr}")
    return names.splitlines()[0].split(", ")


def scan(binary, root, without=()):
    """Verdict and findings by absolute path, of every file below `root`; one process."""
    command = [str(binary), "scan", "--output-format", "json", str(root)]
    for framework in without:
        command += ["--without-rules", framework]
    began = time.monotonic()
    with tempfile.TemporaryFile() as out:
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, check=False)
        out.seek(0)
        text = out.read().decode("utf-8", "replace")
    if done.returncode not in (0, 1, 2, 3):
        sys.exit(f"score.py: {' '.join(command)} ended with {done.returncode}\n{done.stderr.decode()[-2000:]}")
    files = {os.path.abspath(entry["path"]): entry for entry in json.loads(text)["files"]}
    return files, time.monotonic() - began


def judged(row, files):
    """The heaviest verdict among a sample's files. A file that the scan never named counts as passed."""
    verdicts = [files.get(os.path.abspath(path), {}).get("verdict", "clean") for path in row["files"]]
    return min(verdicts, key=list(CODES).index)


def asked(tool, rows, scratch):
    """A peer at work on the samples; `answered` reads what it said."""
    questions, answer = scratch / f"{tool}.asked.json", scratch / f"{tool}.json"
    questions.write_text(json.dumps([row["home"] for row in rows]))
    environment = dict(os.environ, PYTHONDONTWRITEBYTECODE="1")
    command = [sys.executable, "-W", "ignore", str(HERE / "peers.py"), tool, str(questions), str(answer)]
    # modelscan prints whatever it likes.
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL), answer


def answered(work, rows):
    child, answer = work
    if child.wait():
        sys.exit(f"score.py: {child.args} ended with {child.returncode}")
    found = json.loads(answer.read_text())
    return [found[row["home"]] for row in rows]


def judge_malicious(rows, broken, label):
    """Counts by exit code; adds what breaks the contract."""
    codes = collections.Counter(CODES[row[label]] for row in rows)
    total = len(rows)
    for row in rows:
        if CODES[row[label]] == 0:
            broken.append((label, "passed", row))
    stopped = (codes[1] + codes[3]) / total
    if stopped < STOPPED:
        broken.append((label, f"only {stopped:.2%} stopped", None))
    if codes[3] / total > REFUSED:
        broken.append((label, f"{codes[3] / total:.2%} stopped by refusal alone", None))
    return codes


def judge_benign(rows, broken):
    for row in rows:
        if row["taintline"] == "dangerous":
            broken.append(("benign", "called dangerous", row))
        if row["expect"] == "custom" and row["taintline"] != "custom":
            broken.append(("benign", f"custom class called {row['taintline']}", row))
    counted = [row for row in rows if row["expect"] in ("clean", "plain")]
    unknown = [row for row in counted if row["taintline"] == "unknown"]
    if len(unknown) > UNKNOWN * len(counted):
        broken.extend(("benign", "called unknown", row) for row in unknown)
    return collections.Counter(row["taintline"] for row in counted)


def untold(broken):
    """Advisories that the gadget tables name and the museum of evasions does not."""
    import gadgets_ml
    import gadgets_stdlib

    museum = (HERE.parents[1] / "docs/evasions.md").read_text()
    for table in [*gadgets_stdlib.KINDS.values(), *gadgets_ml.KINDS.values()]:
        for target, _, advisories in table:
            for advisory in re.findall(r"(?:GHSA|CVE)-[\w-]+", advisories):
                if advisory not in museum:
                    broken.append(("docs/evasions.md", f"{advisory} ({target}) is missing", None))


def build(options, scratch):
    import benign
    import build_malicious

    began = time.monotonic()
    good = benign.load(options.cache)
    print(f"benign: {len(good)} samples, {time.monotonic() - began:.0f} s", flush=True)
    began = time.monotonic()
    bad = build_malicious.build(scratch / "malicious", options.seed, options.cache, options.scale)
    alive = [row for row in bad if not row["dead"]]
    print(
        f"malicious: {len(alive)} samples, {len(bad) - len(alive)} that no loader reaches left out, {time.monotonic() - began:.0f} s",
        flush=True,
    )
    return good, alive


def measure(options, good, bad, scratch):
    """Fills in every tool's verdict; returns seconds by tool."""
    took = collections.Counter()
    peers = {tool: asked(tool, good + bad, scratch) for tool in options.peers}
    root = options.cache / Path(good[0]["home"]).relative_to(options.cache).parts[0]
    for rows, place in ((good, root), (bad, scratch / "malicious")):
        files, seconds = scan(options.binary, place)
        took["taintline"] += seconds
        for row in rows:
            row["taintline"] = judged(row, files)
            row["rules"] = sorted(
                {found["rule"] for path in row["files"] for found in files.get(path, {}).get("findings", [])}
            )
    for framework in options.without:
        files, _ = scan(options.binary, scratch / "malicious", [framework])
        for row in bad:
            row[f"without {framework}"] = judged(row, files)
    for tool, work in peers.items():
        for row, answer in zip(good + bad, answered(work, good + bad), strict=True):
            row[tool] = answer
    return took


def run(options):
    scratch = Path(tempfile.mkdtemp(prefix="taintline-corpus-"))
    if options.without is None:
        options.without = frameworks(options.binary)
    print(f"seed {options.seed}", flush=True)
    try:
        good, bad = build(options, scratch)
        took = measure(options, good, bad, scratch)
        broken = []
        judge_malicious(bad, broken, "taintline")
        for framework in options.without:
            judge_malicious(bad, broken, f"without {framework}")
        judge_benign(good, broken)
        untold(broken)
        print(report.per_mechanism(good, bad, CODES))
        text = report.document(good, bad, options, took, CODES)
        print(report.summary(good, bad, options, took, CODES))
        if options.write:
            options.write.write_text(text)
        if options.rows:
            options.rows.write_text(json.dumps({"good": good, "bad": bad}, indent=1))
        tell(broken, options.seed)
        print(f"{len(good) + len(bad)} samples scored, {len(broken)} breaches of the contract")
        return 1 if broken else 0
    finally:
        if options.keep:
            print(f"kept {scratch}")
        else:
            shutil.rmtree(scratch)


def tell(broken, seed):
    """Each breach, and how to build the sample again."""
    for label, what, row in broken:
        if row is None:
            print(f"BROKEN {label}: {what}")
        elif "variant" in row:
            again = f"score.py rebuild {seed} {row['mechanism']} {row['variant']} FOLDER"
            print(
                f"BROKEN {label}: {what}: {row['mechanism']} {row['variant']} {row['note']} ({row['loader']}); {again}"
            )
        else:
            print(f"BROKEN {label}: {what}: {row['home']} {row['rules']}")


def rebuild(options):
    """One sample, as the seed made it."""
    import build_malicious

    wanted = [entry for entry in build_malicious.ready(options.cache) if entry.name == options.mechanism]
    if not wanted:
        sys.exit(f"score.py: no mechanism {options.mechanism}")
    sample = wanted[0].build(options.seed, options.variant)
    print(build_malicious.place(options.folder, wanted[0], options.variant, sample), sample.loader, sample.note)
    return 0


def cache_folder():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "taintline" / "corpus"


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=cache_folder())
    commands = parser.add_subparsers(required=True)
    runner = commands.add_parser("run")
    runner.set_defaults(work=run)
    runner.add_argument("--binary", type=Path, required=True)
    runner.add_argument(
        "--seed", default=os.environ.get("TAINTLINE_CORPUS_SEED") or str(random.SystemRandom().randrange(10**9))
    )
    runner.add_argument("--scale", type=float, default=1.0, help="variants, as a multiple of the usual number")
    runner.add_argument("--peers", nargs="*", default=["picklescan", "modelscan"])
    runner.add_argument("--without", nargs="*", help="frameworks whose rules are removed in turn; all by default")
    runner.add_argument("--write", type=Path)
    runner.add_argument("--rows", type=Path, help="every sample and verdict, as JSON")
    runner.add_argument("--keep", action="store_true")
    again = commands.add_parser("rebuild")
    again.set_defaults(work=rebuild)
    again.add_argument("seed")
    again.add_argument("mechanism")
    again.add_argument("variant", type=int)
    again.add_argument("folder", type=Path)
    return parser.parse_args()


def main():
    os.environ.setdefault("KERAS_BACKEND", "torch")
    options = parse()
    sys.exit(options.work(options))


if __name__ == "__main__":
    main()
