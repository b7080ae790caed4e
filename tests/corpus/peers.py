"""What picklescan and modelscan say of the same samples. Neither of them unpickles anything.

    python peers.py TOOL HOMES.json RESULT.json

A result is `found` (the tool fails on it), `told` (it is mentioned, and the tool's exit code is that of a clean file),
`error`, or `silent`.
"""

import json
import logging
import signal
import sys
from pathlib import Path

LIMIT = 20


class TooLong(Exception):
    """The sample took more than `LIMIT` seconds."""


def files_below(home):
    path = Path(home)
    return sorted(inner for inner in path.rglob("*") if inner.is_file()) if path.is_dir() else [path]


def picklescan(home):
    from picklescan.scanner import scan_file_path

    issues = told = 0
    errors = False
    for path in files_below(home):
        result = scan_file_path(str(path))
        issues += result.issues_count
        told += result.suspicious_count
        errors |= result.scan_err
    return "found" if issues else "error" if errors else "told" if told else "silent"


def modelscan(home):
    from modelscan.modelscan import ModelScan

    result = ModelScan().scan(home)
    if result["summary"]["total_issues"]:
        return "found"
    return "error" if result["errors"] else "silent"


def guarded(tool, home):
    signal.alarm(LIMIT)
    try:
        return tool(home)
    except Exception:  # noqa: BLE001  a crash of the tool is its answer
        return "error"
    finally:
        signal.alarm(0)


def too_long(*_):
    raise TooLong


def main():
    tool = {"picklescan": picklescan, "modelscan": modelscan}[sys.argv[1]]
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGALRM, too_long)
    homes = json.loads(Path(sys.argv[2]).read_text())
    results = {home: guarded(tool, home) for home in homes}
    Path(sys.argv[3]).write_text(json.dumps(results))


if __name__ == "__main__":
    main()
