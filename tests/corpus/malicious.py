"""The malicious half of the corpus: mechanisms, each with as many fresh variants as asked for.

A mechanism is a name, a group (m01… of the study) and a function of a random generator that gives one `Sample`. The
generator is seeded by (seed, mechanism, variant), so that any one file can be built again by naming these three:

    python score.py rebuild SEED MECHANISM VARIANT FOLDER
"""

import chains
import gadgets_ml
import gadgets_stdlib
import mined
import patches
import payloads
from assembly import Call, Name
from carriers import Carriers
from mechanism import Mechanism


def call_of(row, rng):
    """The tree and the reach of a row of a gadget table."""
    target, arguments = row[0], row[1]
    module, _, name = target.partition(":")
    tree = Call(Name(module, name), payloads.fill(tuple(arguments), rng))
    return tree, (f"call {target}",)


def catalogue(rows, carriers):
    """A mechanism function over a table: each variant takes the next row, and wraps it differently."""

    def make(rng, variant):
        row = rows[variant % len(rows)]
        tree, reach = call_of(row, rng)
        sample = carriers.any(rng, tree, reach)
        sample.note = row[0] + (f" ({row[2]})" if row[2] else "")
        return sample

    return make


def drawn(rows, carriers):
    """The same with rows drawn from the seed."""

    def make(rng, variant):
        row = rng.choice(rows)
        tree, reach = call_of(row, rng)
        sample = carriers.any(rng, tree, reach)
        sample.note = row[0]
        return sample

    return make


def woven(function, carriers):
    """A chain or a patch in any carrier."""

    def make(rng, variant):
        tree, reach = function(rng)
        return carriers.any(rng, tree, reach)

    return make


def gadget_mechanisms(carriers):
    for kind, rows in gadgets_stdlib.KINDS.items():
        yield Mechanism("m05a_gadget_stdlib", f"stdlib_{kind}", catalogue(rows, carriers), len(rows))
    for kind, rows in gadgets_ml.KINDS.items():
        yield Mechanism("m05b_gadget_ml", f"ml_{kind}", catalogue(rows, carriers), len(rows))
    for function in chains.CHAINS:
        yield Mechanism("m05c_chains", f"chain_{function.__name__}", woven(function, carriers))
    for function in patches.PATCHES:
        yield Mechanism("m06_monkeypatch", f"patch_{function.__name__}", woven(function, carriers), 8)


def mined_mechanisms(carriers, found):
    rows = {
        "mined_sinks": list(mined.sinks(found)),
        "mined_doors": list(mined.doors(found)),
        "mined_aliases": list(mined.aliases(found)),
    }
    for name, table in rows.items():
        group = "m04_dotted_traversal" if name == "mined_doors" else "m05b_gadget_ml"
        yield Mechanism(group, name, drawn(table, carriers), 40)


def mechanisms(bases, found):
    """All of them."""
    import containers
    import formats
    import sets
    import spellings

    carriers = Carriers(bases)
    made = [
        *gadget_mechanisms(carriers),
        *mined_mechanisms(carriers, found),
        *spellings.mechanisms(carriers),
        *containers.mechanisms(carriers),
        *sets.mechanisms(carriers),
        *formats.mechanisms(carriers),
    ]
    names = [mechanism.name for mechanism in made]
    assert len(names) == len(set(names)), "two mechanisms of one name"
    return made
