"""Taintline and another implementation of C2SP tlog-witness (PyPI aics-witness), both ways, over loopback.

    python3.12 -m venv venv && venv/bin/pip install aics-witness==0.1.0 aics-tlog==0.2.1
    venv/bin/python tests/conformance/aics_both_ways.py target/debug/taintline

Their witness cosigns our log, refuses it after it was rolled back, and we tell that it did. Our witness cosigns for their
client, which verifies the answer. Ends with 0 agreed, 1 not, 2 where aics-witness is missing (it needs Python 3.12).
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time


def main(binary: str) -> int:
    """Plays both."""
    try:
        from aics_witness.feeder import WitnessClient, WitnessRejected
    except ImportError as error:
        print(f"aics: {error}", file=sys.stderr)
        return 2
    binary = os.path.realpath(binary)
    with tempfile.TemporaryDirectory() as folder:
        place = World(pathlib.Path(folder), binary)
        try:
            place.theirs_for_us()
            place.ours_for_them(WitnessClient, WitnessRejected)
        finally:
            place.end()
    print("agreed: their witness for our log, our witness for their client")
    return 0


class World:
    """A folder with a store, and the servers that were started."""

    def __init__(self, folder: pathlib.Path, binary: str) -> None:
        self.folder, self.binary = folder, binary
        self.servers: list[subprocess.Popen[str]] = []
        self.environment = dict(os.environ)
        self.environment.pop("TAINTLINE_STORE", None)
        self.environment["XDG_DATA_HOME"] = str(folder / "data")
        (folder / "taintline.toml").touch()  # a named file must be there; nothing is settled yet
        self.environment["TAINTLINE_CONFIG"] = str(folder / "taintline.toml")
        self.ours("run", "--", "/bin/true")
        self.log = next((folder / ".taintline/ledger").iterdir())
        self.vkey = (self.log / "vkey").read_text().strip()

    def ours(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run([self.binary, *arguments], cwd=self.folder, env=self.environment,
                              capture_output=True, text=True)
        assert done.returncode == code, (arguments, done)
        return done.stdout + done.stderr

    def serve(self, command: list[str], pattern: str) -> str:
        """Starts a server and gives the address that it prints."""
        output = self.folder / f"server{len(self.servers)}"
        with output.open("w") as file:
            server = subprocess.Popen(command, cwd=self.folder, env=self.environment,
                                      stdout=file, stderr=subprocess.STDOUT, text=True)
        self.servers.append(server)
        for _ in range(200):
            found = re.search(pattern, output.read_text())
            if found:
                return found.group(1)
            time.sleep(0.1)
        raise AssertionError((command, output.read_text()))

    def theirs_for_us(self) -> None:
        """Their witness and our client."""
        config = str(self.folder / "witness.json")
        theirs = [sys.executable, "-m", "aics_witness"]
        run = dict(cwd=self.folder, check=True, capture_output=True, text=True)
        told = subprocess.run([*theirs, "init", "--config", config, "--name", "w.example/theirs"], **run)
        key = re.search(r"w\.example/theirs\+[0-9a-f]{8}\+\S+", told.stdout + told.stderr)
        assert key, told
        origin = self.vkey.split("+")[0]
        subprocess.run([*theirs, "add-log", "--config", config, "--origin", origin,
                        "--vkey", self.vkey], **run)
        port = "17380"
        url = f"http://127.0.0.1:{port}"
        self.serve([*theirs, "serve", "--config", config, "--listen", f"127.0.0.1:{port}"], f"({port})")
        (self.folder / "policy").write_text(f"witness theirs {key.group(0)} {url}\nquorum theirs\n")
        (self.folder / "taintline.toml").write_text('[ledger]\nwitnesses = "policy"\n')
        shutil.copytree(self.folder / ".taintline", self.folder / "earlier")
        assert "by 1 of 1 (theirs)" in self.ours("ledger", "cosign")
        assert "by 1 of 1 (theirs)" in self.ours("run", "--", "/bin/true")
        self.ours("ledger", "audit")
        newest = self.folder / "newest"
        (self.folder / ".taintline").rename(newest)
        (self.folder / "earlier").rename(self.folder / ".taintline")
        told_of = self.ours("ledger", "cosign", code=1)
        assert "old head" in told_of and "theirs" in told_of, told_of
        shutil.rmtree(self.folder / ".taintline")
        newest.rename(self.folder / ".taintline")

    def ours_for_them(self, client: type, rejected: type) -> None:
        """Our witness and their client."""
        keys = self.ours("ledger", "witness", "key", "--folder", "w", "--name", "w.example/ours")
        command = [self.binary, "ledger", "witness", "serve", "--folder", "w",
                   "--listen", "127.0.0.1:0", "--log", str(self.log / "vkey")]
        url = self.serve(command, r"listening on (http://[0-9.:]+)")
        note = (self.log / "checkpoint").read_bytes()

        def no_proof(*_: object) -> list[bytes]:
            raise AssertionError("no proof is needed")

        with client(url, keys.splitlines()[0]) as asking:
            line = asking.submit(note, no_proof)
            assert line.startswith("\u2014 w.example/ours "), line
            again = asking.submit(note, no_proof)
            assert again.startswith("\u2014 w.example/ours "), again
            forged = note.replace(b"taintline/", b"elsewhere/")
            try:
                asking.submit(forged, no_proof)
            except rejected as error:
                assert error.status == 404, error
            else:
                raise AssertionError("a log that is not known was cosigned")

    def end(self) -> None:
        """Ends what was started."""
        for server in self.servers:
            server.terminate()
        for server in self.servers:
            server.wait(10)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
