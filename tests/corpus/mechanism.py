"""What a mechanism is."""

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Mechanism:
    """One way to do harm. `rows` is how many different gadgets it has: a variant each, at least."""

    group: str
    name: str
    make: object
    variants: int = 6

    def build(self, seed, variant):
        return self.make(random.Random(f"{seed}/{self.name}/{variant}"), variant)
