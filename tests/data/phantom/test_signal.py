from __future__ import annotations

import numpy as np
import pytest

from rekon.config.datasets import Sequence
from rekon.data.phantom import signal
from rekon.data.phantom.tissue import INDEX, NAMES, TABLE, Relaxation, relaxation


def one(t1: float, t2: float = 80.0) -> Relaxation:
    return Relaxation(np.ones(1), np.array([t1]), np.array([t2]), np.array([t2]))


def propagate(t1: float, steps: list[tuple[str, float]], cycles: int) -> float:
    """Mz by brute force: the value at the step 'read' of the last cycle."""
    mz, read = 1.0, np.nan
    for _ in range(cycles):
        for kind, amount in steps:
            if kind == "wait":
                mz = 1 - (1 - mz) * np.exp(-amount / t1)
            elif kind == "read":
                read = mz
            else:
                mz *= np.cos(np.deg2rad(amount))
    return float(read)


@pytest.mark.parametrize("t1", [300.0, 900.0, 4300.0])
def test_spin_echo_is_the_steady_state_of_its_pulses(t1: float) -> None:
    tr, te = 700.0, 20.0
    steps = [("read", 0), ("flip", 90), ("wait", te / 2), ("flip", 180), ("wait", tr - te / 2)]
    expected = propagate(t1, steps, 60) * np.exp(-te / 80)
    assert signal.spin_echo(one(t1), tr, te) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("t1", [300.0, 900.0, 4300.0])
def test_inversion_recovery_is_the_steady_state_of_its_pulses(t1: float) -> None:
    tr, te, ti = 9000.0, 90.0, 2500.0
    steps = [("flip", 180), ("wait", ti), ("read", 0), ("flip", 90), ("wait", te / 2), ("flip", 180)]
    steps.append(("wait", tr - ti - te / 2))
    expected = propagate(t1, steps, 60) * np.exp(-te / 80)
    assert signal.inversion_recovery(one(t1), tr, te, ti) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("t1", [300.0, 900.0, 4300.0])
def test_gradient_echo_is_the_steady_state_of_its_pulses(t1: float) -> None:
    expected = propagate(t1, [("read", 0), ("flip", 40), ("wait", 200)], 400)
    expected *= np.sin(np.deg2rad(40)) * np.exp(-8 / 80)
    assert signal.gradient_echo(one(t1), 200, 8, 40) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("before", [0.0, 7.0])
def test_mprage_is_the_steady_state_of_its_pulses(before: float) -> None:
    t1, tr, ti, flip, spacing = 1200.0, 6000.0, 3000.0, 6.0, 20.0
    n, first = signal.TRAIN, signal.TRAIN * signal.SPACING
    steps: list[tuple[str, float]] = [("flip", 180)]
    clock = 0.0
    if before:
        steps.append(("wait", signal.FIRST_TRAIN - first / 2))
        steps += [("flip", before), ("wait", signal.SPACING)] * n
        clock = signal.FIRST_TRAIN + first / 2
    steps.append(("wait", ti - n * spacing / 2 - clock))
    steps += [("flip", flip), ("wait", spacing)] * (n // 2) + [("read", 0)]
    steps += [("flip", flip), ("wait", spacing)] * (n - n // 2)
    steps.append(("wait", tr - ti - n * spacing / 2))
    expected = propagate(t1, steps, 12) * np.sin(np.deg2rad(flip)) * np.exp(-3 / 80)
    assert signal.mprage(one(t1), tr, 3, ti, flip, spacing, before) == pytest.approx(expected, rel=1e-6)


def test_fat_saturation_spares_water() -> None:
    tissue = relaxation(3.0)
    plain = Sequence(kind="spin_echo", tr=2800.0, te=30.0)
    ratio = signal.signal(plain.model_copy(update={"fat_saturation": True}), tissue) / signal.signal(plain, tissue)
    for name, value in zip(NAMES, ratio, strict=True):
        assert value == pytest.approx(signal.SUPPRESSED if TABLE[name].fat else 1.0)


def test_flowing_blood_is_dark_without_and_bright_with_contrast_agent() -> None:
    plain = Sequence(kind="spin_echo", tr=500.0, te=9.0)
    agent = plain.model_copy(update={"contrast_agent": True})
    before = signal.signal(plain, relaxation(3.0))
    after = signal.signal(agent, relaxation(3.0, contrast_agent=True))
    blood, white = INDEX["blood"], INDEX["white"]
    assert before[blood] < 0.3 * before[white]
    assert after[blood] > 1.5 * after[white]
    assert after[white] == pytest.approx(before[white])


def test_relaxation_follows_the_field() -> None:
    low, high = relaxation(0.3), relaxation(7.0)
    for name in ("grey", "white", "muscle"):
        i = INDEX[name]
        assert low.t1[i] < high.t1[i]
        assert low.t2_star[i] > high.t2_star[i]
        assert high.t2_star[i] < high.t2[i]
