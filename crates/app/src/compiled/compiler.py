"""Compiles sources for a process that reads the result itself. Nothing is imported that is not in the interpreter already.

A request is the length, the level and the source; an answer is a status, a length and a payload behind the source's hash.
"""

import _imp
import marshal
import sys

import _frozen_importlib_external as external

requests, answers = sys.stdin.buffer, sys.stdout.buffer
magic = external.MAGIC_NUMBER
key = int.from_bytes(magic, "little")
loader = external.SourceFileLoader("module", "source")


def answer(status, hashed, payload):
    answers.write(status + len(payload).to_bytes(4, "little") + hashed)
    answers.write(payload)
    answers.flush()


suffixes = "\0".join(_imp.extension_suffixes())
version = ".".join(str(part) for part in sys.version_info[:3])
facts = (sys.implementation.name, version, sys.implementation.cache_tag or "", magic.hex(), sys.version, suffixes)
answer(b"h", bytes(8), "\0".join(facts).encode())
while True:
    head = requests.read(5)
    if len(head) < 5:
        break
    source = requests.read(int.from_bytes(head[:4], "little"))
    hashed = _imp.source_hash(key, source)
    try:
        code = marshal.dumps(loader.source_to_code(source, "source", _optimize=head[4]))
    except (SyntaxError, ValueError, UnicodeError) as error:
        answer(b"s", hashed, type(error).__name__.encode())
    except BaseException as error:
        answer(b"f", hashed, type(error).__name__.encode())
    else:
        answer(b"c", hashed, code)
