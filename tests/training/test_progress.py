import io

import pytest

from rekon.training import progress
from rekon.training.progress import Progress, duration, rate


class Clock:
    now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_plain_lines_every_few_seconds_with_the_time_left(clock):
    log = io.StringIO()
    shown = Progress("ueps/ueps", 1000, done=100, stream=log)
    for step in range(101, 201):
        clock.now += 0.125
        if shown.due:
            shown.update(step, "loss 0.5")
    assert log.getvalue().splitlines() == [
        "ueps/ueps: step 140/1000 (14 %), loss 0.5, 8.0 steps/s, 1 min 48 s left",
        "ueps/ueps: step 180/1000 (18 %), loss 0.5, 8.0 steps/s, 1 min 42 s left",
    ]


def test_other_processes_are_silent(clock):
    log = io.StringIO()
    shown = Progress("r", 10, show=False, stream=log)
    clock.now = 100
    assert not shown.due
    shown.update(5)
    shown.say("hello")
    assert log.getvalue() == ""


def test_a_terminal_gets_a_bar():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    log = Terminal()
    shown = Progress("ueps/ueps", 10, stream=log)
    shown.say("validation")
    shown.close(10)
    assert "ueps/ueps" in log.getvalue()
    assert "10/10" in log.getvalue()


def test_durations_and_rates():
    assert [duration(s) for s in (0.4, 41, 185, 7800)] == ["0 s", "41 s", "3 min 05 s", "2 h 10 min"]
    assert [rate(r) for r in (12.34, 0.5)] == ["12.3 steps/s", "2.0 s/step"]
