"""Private environments that cost nothing: links to all of another one, real files where something is to be changed."""

import base64
import hashlib
import os
import subprocess
from pathlib import Path

ASK = """
import os, sys, torch
base = os.path.dirname(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))
print(os.path.dirname(os.path.dirname(torch.__file__)), "%d.%d" % sys.version_info[:2], base, sep="\\n")
"""


class Environment:
    """A private copy of the environment: links to everything, real files where something is changed."""

    def __init__(self, python, folder):
        answer = subprocess.run([python, "-c", ASK], check=True, capture_output=True, text=True)
        packages, version, home = answer.stdout.splitlines()
        self.site = folder / f"lib/python{version}/site-packages"
        self.site.mkdir(parents=True)
        link_all(packages, self.site, {"torch", "__pycache__"})
        (self.site / "torch/optim").mkdir(parents=True)
        link_all(f"{packages}/torch", self.site / "torch", {"optim", "__pycache__"})
        link_all(f"{packages}/torch/optim", self.site / "torch/optim", {"sgd.py", "__pycache__"})
        self.sgd = self.site / "torch/optim/sgd.py"
        self.sgd.write_bytes(Path(packages, "torch/optim/sgd.py").read_bytes())
        (folder / "bin").mkdir()
        (folder / "pyvenv.cfg").write_text(
            f"home = {home}\ninclude-system-site-packages = false\nversion = {version}\n"
        )
        self.python = folder / "bin/python"
        self.python.symlink_to(Path(python).resolve())
        self.install("tool", "1.0", b"LEVEL = 1\n")

    def install(self, name, version, content):
        """What an installer leaves: the module, and a RECORD that vouches for it."""
        for old in self.site.glob(f"{name}-*.dist-info"):
            for file in old.iterdir():
                file.unlink()
            old.rmdir()
        info = self.site / f"{name}-{version}.dist-info"
        info.mkdir()
        (self.site / f"{name}.py").write_bytes(content)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "INSTALLER").write_text("pip\n")
        lines = [record_line(self.site, path) for path in (f"{name}.py", f"{info.name}/METADATA", f"{info.name}/INSTALLER")]
        (info / "RECORD").write_text("\n".join([*lines, f"{info.name}/RECORD,,", ""]))


def record_line(site, path):
    content = (site / path).read_bytes()
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{path},sha256={digest},{len(content)}"


def link_all(source, target, without):
    for entry in os.scandir(source):
        if entry.name not in without:
            (target / entry.name).symlink_to(entry.path)
