"""The clock of the thread that trains tells sleep from work."""

import time

from taintline import _clock


class Sensor:
    def __init__(self):
        self.gaps = []

    def gap(self, what, why):
        self.gaps.append((what, why))


def clock():
    made = _clock.Clock(Sensor())
    made.take()
    made.begins()
    return made


def test_sleep_is_asleep_and_work_is_not():
    made = clock()
    begun = time.perf_counter_ns()
    time.sleep(0.05)
    made.ends(1, time.perf_counter_ns() - begun)
    ((phase, asleep, queued, _, _, workers),) = made.take()
    assert phase == 1 and asleep + queued >= 49_000 and not workers
    assert made.take() == []


def test_without_the_kernels_figures_nothing_is_told(monkeypatch):
    monkeypatch.setattr(_clock, "SCHEDSTAT", "/does/not/exist")
    made = clock()
    made.ends(1, 10**9)
    assert made.take() == [] and made.sensor.gaps


def test_a_file_that_the_job_took_over_is_not_believed(tmp_path):
    made = clock()
    other = open(tmp_path / "other", "w+")
    made.file = other.fileno()
    made.ends(1, 10**9)
    assert made.file is None and made.sensor.gaps
    other.write("still open")
