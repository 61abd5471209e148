"""Signal of each tissue: steady-state solutions of the Bloch equations, with ideal pulses and spoiling."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rekon.config.datasets import Sequence
from rekon.data.phantom.tissue import FAT, TABLE, Relaxation

Array = NDArray[np.float64]

FLOW_VOID = 0.12  # of the static signal: what flowing blood keeps in a spin echo without contrast agent
SUPPRESSED = 0.12  # of the static signal: what fat saturation leaves of fat
TRAIN = 128  # excitations per inversion (MP-RAGE, MP2RAGE)
SPACING = 7.0  # ms between them
SECOND_SPACING = 31.0  # ms, in the second train of MP2RAGE, which reads several echoes
FIRST_TRAIN = 670.0  # ms: first inversion time of MP2RAGE; `ti` is the second (Caan et al., HBM 40 (2019) 1786)
FIRST_FLIP = 7.0  # degrees


def spin_echo(tissue: Relaxation, tr: float, te: float, flip: float = 90.0) -> Array:
    """(tissue,) transverse magnetisation at the echo of a spin echo; times in ms, flip angle in degrees."""
    a = np.deg2rad(flip)
    e1, half = np.exp(-tr / tissue.t1), np.exp(-(tr - te / 2) / tissue.t1)
    # the refocusing pulse inverts Mz at te / 2; steady state of Mz just before the excitation
    mz = (1 - 2 * half + e1) / (1 + np.cos(a) * e1)
    return tissue.pd * mz * np.sin(a) * np.exp(-te / tissue.t2)


def inversion_recovery(tissue: Relaxation, tr: float, te: float, ti: float) -> Array:
    """(tissue,) signed signal of an inversion-recovery spin echo (FLAIR); times in ms."""
    e_tr, e_ti = np.exp(-tr / tissue.t1), np.exp(-ti / tissue.t1)
    late = np.exp(-(tr - te / 2) / tissue.t1)
    mz = 1 - 2 * e_ti + 2 * late - e_tr
    return tissue.pd * mz * np.exp(-te / tissue.t2)


def gradient_echo(tissue: Relaxation, tr: float, te: float, flip: float) -> Array:
    """(tissue,) signal of a spoiled gradient echo (Ernst); times in ms, flip angle in degrees."""
    a, e1 = np.deg2rad(flip), np.exp(-tr / tissue.t1)
    return tissue.pd * np.sin(a) * (1 - e1) / (1 - np.cos(a) * e1) * np.exp(-te / tissue.t2_star)


def mprage(
    tissue: Relaxation,
    tr: float,
    te: float,
    ti: float,
    flip: float,
    spacing: float = SPACING,
    before: float = 0.0,
    read_before: bool = False,
) -> Array:
    """(tissue,) signal at the centre of a train of TRAIN excitations, `ti` ms after an inversion repeated every `tr`.

    Steady state over inversions: Mz is propagated through inversion, recovery, the train (Mz → Mz cos α with
    recovery in between) and recovery; every step is affine in Mz, so the fixed point is exact. `spacing`:
    between excitations. `before`: flip angle in degrees of a train of spacing SPACING centred on FIRST_TRAIN, as in
    MP2RAGE; 0 for none. read_before: the signal at that train's centre instead. Times in ms.
    """
    first, duration = TRAIN * SPACING, TRAIN * spacing

    def recover(state: tuple[Array, Array], time: float) -> tuple[Array, Array]:
        gain, offset = state
        e = np.exp(-time / tissue.t1)
        return gain * e, offset * e + (1 - e)

    def pulses(state: tuple[Array, Array], count: int, angle: float, gap: float) -> tuple[Array, Array]:
        gain, offset = state
        c, e = np.cos(np.deg2rad(angle)), np.exp(-gap / tissue.t1)
        power = (c * e) ** count
        return gain * power, offset * power + (1 - e) * (1 - power) / (1 - c * e)

    def cycle(state: tuple[Array, Array]) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        state = (-state[0], -state[1])
        clock, early = 0.0, state
        if before:
            state = recover(state, FIRST_TRAIN - first / 2)
            early = pulses(state, TRAIN // 2, before, SPACING)
            state = pulses(early, TRAIN - TRAIN // 2, before, SPACING)
            clock = FIRST_TRAIN + first / 2
        state = recover(state, max(ti - duration / 2 - clock, 0.0))
        centre = pulses(state, TRAIN // 2, flip, spacing)
        state = pulses(centre, TRAIN - TRAIN // 2, flip, spacing)
        return recover(state, max(tr - ti - duration / 2, 0.0)), early if read_before else centre

    one, zero = np.ones_like(tissue.t1), np.zeros_like(tissue.t1)
    (gain, offset), centre = cycle((one, zero))
    start = offset / (1 - gain)
    mz = centre[0] * start + centre[1]
    return tissue.pd * mz * np.sin(np.deg2rad(before if read_before else flip)) * np.exp(-te / tissue.t2_star)


def signal(sequence: Sequence, tissue: Relaxation) -> Array:
    """(tissue,) signed signal of `sequence` for the tissues in the order of `tissue.NAMES`."""
    s = sequence
    match s.kind:
        case "spin_echo":
            value = spin_echo(tissue, s.tr, s.te, s.flip)
        case "inversion_recovery":
            value = inversion_recovery(tissue, s.tr, s.te, s.ti or 0.0)
        case "gradient_echo":
            value = gradient_echo(tissue, s.tr, s.te, s.flip)
        case "mprage":
            value = mprage(tissue, s.tr, s.te, s.ti or 0.0, s.flip)
        case "mp2rage":
            value = mprage(tissue, s.tr, s.te, s.ti or 0.0, s.flip, SECOND_SPACING, FIRST_FLIP)
        case "mp2rage_first":
            value = mprage(tissue, s.tr, s.te, s.ti or 0.0, s.flip, SECOND_SPACING, FIRST_FLIP, read_before=True)
    if s.kind in ("spin_echo", "inversion_recovery") and not s.contrast_agent:
        value = np.where([t.flow for t in TABLE.values()], FLOW_VOID * value, value)
    if s.fat_saturation:
        value = np.where(FAT, SUPPRESSED * value, value)
    return value


def refocused(sequence: Sequence) -> bool:
    """True when off-resonance is refocused at the echo (spin echoes)."""
    return sequence.kind in ("spin_echo", "inversion_recovery")
