"""Every variant of the matrix once, on trainings of different make, and clean configurations of each beside them.

All of them on all trainings: `cargo xtask matrix`.
"""

import sys

import pytest
from conftest import BINARY, PYTHON, REPOSITORY

sys.path.insert(0, str(REPOSITORY / "tests/matrix"))

import run as matrix  # noqa: E402


@pytest.mark.parametrize("training", matrix.TRAININGS)
def test_clean_cells_have_no_finding_and_each_sabotage_has_its_own(training, world):
    cells = matrix.cells_of(training, each=True)
    view = matrix.run(BINARY, PYTHON, world.folder / "cells", cells, **world.environment())
    matrix.plain(PYTHON, world.folder / "plain", cells[:1], **world.environment())
    assert matrix.weights(world.folder / "cells", 0) == matrix.weights(world.folder / "plain", 0)
    wrong = matrix.strange(cells, view)
    wrong += [f"{cell.name}: {why}" for cell in cells if (why := matrix.judge(cell, view))]
    assert not wrong, "\n".join(wrong)
