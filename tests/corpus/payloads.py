"""What the samples would do: print a marker. Every string is drawn from the seed, so that no rule can know it."""

import string

from assembly import Name

ALPHABET = string.ascii_lowercase + string.digits


def marker(rng):
    """A word that no file has by chance."""
    return "".join(rng.choice(ALPHABET) for _ in range(rng.randrange(6, 14)))


def command(rng):
    """A shell command without effect."""
    word = marker(rng)
    return rng.choice(
        [
            f"echo {word}",
            f"printf {word}",
            f"true {word}",
            f"/bin/echo {word}",
            f"sh -c 'echo {word}'",
            f"cmd /c echo {word}",
            f"test {word} = {word}",
            f": {word}",
        ]
    )


def code(rng):
    """A Python statement without effect."""
    word = marker(rng)
    return rng.choice(
        [
            f"print('{word}')",
            f"import os; os.system('echo {word}')",
            f"__import__('os').system('echo {word}')",
            f"{word[0]}_ = '{word}'",
            f"import sys\nsys.stdout.write('{word}\\n')",
            f"exec(compile('print(1)', '{word}', 'exec'))",
        ]
    )


def expression(rng):
    """A Python expression without effect."""
    word = marker(rng)
    return rng.choice(
        [
            f"__import__('os').system('echo {word}')",
            f"print('{word}')",
            f"[c for c in ().__class__.__base__.__subclasses__()][0] and '{word}'",
            f"open('/dev/null').read() + '{word}'",
        ]
    )


def argv(rng):
    """The same as `command`, taken apart."""
    return rng.choice([["echo", marker(rng)], ["sh", "-c", command(rng)], ("true", marker(rng))])


def path(rng):
    """A file that nothing else would use."""
    return rng.choice(["/tmp/", "/dev/shm/", "~/.config/", ""]) + marker(rng)


def address(rng):
    """A URL that leads nowhere: a reserved name or this host's discard port."""
    scheme = rng.choice(["http", "https", "ftp", "file"])
    return f"{scheme}://{rng.choice(['127.0.0.1:9', 'host.invalid', 'example.invalid'])}/{marker(rng)}"


def module(rng):
    """A module that does not exist."""
    return rng.choice(["", "pkg_", "model_"]) + "m" + marker(rng)


def function(rng):
    """A callable that does harm when somebody else calls it."""
    return Name(*rng.choice([("os", "system"), ("builtins", "exec"), ("subprocess", "getoutput")]))


# Placeholders in the tables of gadgets, each replaced by a fresh value.
MAKERS = {
    "$CMD": command,
    "$CODE": code,
    "$EXPR": expression,
    "$ARGV": argv,
    "$PATH": path,
    "$URL": address,
    "$MOD": module,
    "$WORD": marker,
    "$FUNC": function,
    "$PY": lambda rng: path(rng) + ".py",
    "$SO": lambda rng: path(rng) + ".so",
    "$BYTES": lambda rng: code(rng).encode(),
    "$PICKLE": lambda rng: b"cos\nsystem\n(V" + command(rng).encode() + b"\ntR.",
}


def fill(template, rng):
    """The template with its placeholders replaced, at any depth."""
    if isinstance(template, str):
        return MAKERS[template](rng) if template in MAKERS else template
    if isinstance(template, tuple):
        return tuple(fill(item, rng) for item in template)
    if isinstance(template, list):
        return [fill(item, rng) for item in template]
    if isinstance(template, dict):
        return {fill(key, rng): fill(value, rng) for key, value in template.items()}
    return template
