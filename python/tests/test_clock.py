"""The clock of the thread that trains tells sleep from work."""

import importlib.util
import time

import pytest

SCHEDSTAT = "/proc/thread-self/schedstat"
DATA, FORWARD, BACKWARD, BETWEEN, OPTIMIZER, SENSOR, AFTER_FORWARD, AFTER_BACKWARD = range(8)


@pytest.fixture(scope="module")
def native(sensor):
    spec = importlib.util.spec_from_file_location("_native", sensor / "taintline/_native.abi3.so")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def clock(native, path=SCHEDSTAT):
    made = native.Clock(path)
    now = made.turn(DATA)
    error = made.take(now)[2]
    made.leave(now)
    return made, error


def taken(made):
    now = made.turn(DATA)
    told = made.take(now)
    made.leave(now)
    return told


def test_sleep_is_asleep_and_work_is_not(native):
    made, error = clock(native)
    assert error is None
    made.leave(made.turn(FORWARD))
    time.sleep(0.05)
    spent, waits, _ = taken(made)
    ((phase, asleep, queued, _, _),) = waits
    assert phase == FORWARD and asleep + queued >= 49_000 and spent[FORWARD] >= 49_000
    assert taken(made)[1] == []


def test_a_pause_belongs_to_what_comes_behind_it(native):
    cases = [
        (AFTER_FORWARD, BACKWARD, FORWARD),
        (AFTER_FORWARD, OPTIMIZER, BETWEEN),
        (AFTER_FORWARD, FORWARD, DATA),
        (AFTER_BACKWARD, FORWARD, DATA),
        (AFTER_BACKWARD, OPTIMIZER, BETWEEN),
    ]
    for ending, beginning, whose in cases:
        made, _ = clock(native)
        made.leave(made.turn(ending))
        time.sleep(0.02)
        made.leave(made.turn(beginning))
        spent, waits, _ = taken(made)
        assert max(range(SENSOR), key=spent.__getitem__) == whose, (ending, beginning, spent)
        assert [wait[0] for wait in waits] == [whose]


def test_without_the_kernels_figures_nothing_is_told(native):
    made, error = clock(native, "/does/not/exist")
    assert "exist" in error
    made.leave(made.turn(FORWARD))
    time.sleep(0.01)
    assert taken(made)[1] == [] and taken(made)[2] is None


def test_a_file_that_is_no_longer_the_kernels_is_not_believed(native, tmp_path):
    path = tmp_path / "schedstat"
    path.write_text("1 2 3\n")
    made, error = clock(native, str(path))
    assert error is None
    path.write_text("the job's own")
    made.leave(made.turn(FORWARD))
    time.sleep(0.01)
    assert taken(made)[2] is not None and taken(made)[2] is None
