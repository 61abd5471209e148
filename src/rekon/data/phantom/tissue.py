"""Relaxation times and proton density of every tissue, as functions of the field strength."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Tissue:
    """Properties at 3 T (ms; proton density relative to water) and how they change with the field B in T.

    T1 = t1 · (B / 3)^t1_power;  1/T2 = 1/t2 · (B / 3)^t2_power;  1/T2* = 1/T2 + r2_prime · B / 3.
    t1_agent: T1 in ms after gadolinium, for tissues that take it up.
    """

    pd: float
    t1: float
    t2: float
    r2_prime: float = 2.0  # 1/s at 3 T
    t1_power: float = 0.38  # brain: Rooney et al., Magn Reson Med 57 (2007) 308
    t2_power: float = 0.3
    t1_agent: float | None = None
    fat: bool = False  # chemical shift, and suppressed by fat saturation
    of: str | None = None  # the tissue it was: varies between subjects as that one does, not on its own
    flow: bool = False  # leaves the slice between excitation and refocusing: dark in spin echoes


# brain at 3 T: Stanisz et al., Magn Reson Med 54 (2005) 507; Wansapura et al., JMRI 9 (1999) 531. T2 of fat is the
# apparent one of fast spin echoes, in which J-coupling is refocused.
TABLE: dict[str, Tissue] = {
    "grey": Tissue(0.84, 1400, 95, 6.5),
    "white": Tissue(0.71, 820, 72, 12.0),
    "iron": Tissue(0.78, 1050, 60, 22.0),  # globus pallidus, substantia nigra, red nucleus
    "csf": Tissue(1.0, 4300, 1500, 1.0, t1_power=0.0, t2_power=0.0),
    "bone": Tissue(0.12, 400, 4, 80.0, t1_power=0.2),
    "marrow": Tissue(0.66, 420, 85, 50.0, t1_power=0.2, t2_power=0.1, fat=True),
    "fat": Tissue(0.72, 380, 95, 30.0, t1_power=0.2, t2_power=0.1, fat=True),
    "skin": Tissue(0.65, 1000, 45, 12.0, t1_agent=600),
    "muscle": Tissue(0.78, 1350, 38, 8.0, t1_power=0.35, t1_agent=900),
    "mucosa": Tissue(0.85, 1300, 90, 10.0, t1_agent=350),
    "blood": Tissue(0.85, 1650, 120, 15.0, t1_power=0.2, t2_power=1.0, t1_agent=120, flow=True),
    "oedema": Tissue(0.88, 1600, 150, 6.0),
    "tumour": Tissue(0.86, 1450, 115, 8.0, t1_agent=320),
    "necrosis": Tissue(0.95, 2600, 320, 3.0),
    "cartilage": Tissue(0.78, 1150, 42, 6.0, t1_power=0.25),
    "ligament": Tissue(0.45, 900, 9, 20.0, t1_power=0.3),  # also menisci and tendons
    "fluid": Tissue(0.98, 3300, 600, 1.0, t1_power=0.05),
    # a day after the occlusion: T2 rises by 1.5 ms an hour in grey and 1.4 in white matter (Damion et al., Phys Med
    # Biol 64 (2019) 095016; there up to 9 hours, here extrapolated); T1 and water less, by assumption
    "infarcted_grey": Tissue(0.87, 1560, 131, 6.5, of="grey"),
    "infarcted_white": Tissue(0.75, 950, 106, 10.0, of="white"),
}
NAMES = tuple(TABLE)
INDEX = {name: position for position, name in enumerate(NAMES)}
OWN = [name for name, tissue in TABLE.items() if tissue.of is None]  # tissues that vary on their own
VARIES = np.array([OWN.index(tissue.of or name) for name, tissue in TABLE.items()])  # per tissue: with which of OWN
FAT = np.array([tissue.fat for tissue in TABLE.values()])


@dataclass(frozen=True)
class Relaxation:
    """One subject's tissues at one field: arrays (tissue,) in the order of NAMES; times in ms."""

    pd: NDArray[np.float64]
    t1: NDArray[np.float64]
    t2: NDArray[np.float64]
    t2_star: NDArray[np.float64]


def relaxation(
    field: float, contrast_agent: bool = False, rng: np.random.Generator | None = None, spread: float = 0.03
) -> Relaxation:
    """Tissue properties at `field` in T; with `rng`, a subject's own, log-normal around the table by `spread`."""
    ratio = field / 3.0
    table = TABLE.values()
    vary = np.ones((3, len(NAMES)))
    if rng is not None:  # mostly alike for all tissues (age, temperature, calibration), a third of it each one's own
        vary = np.exp(rng.normal(0, spread, (3, 1)) + rng.normal(0, spread / 3, (3, len(OWN)))[:, VARIES])
    agent = [tissue.t1_agent if contrast_agent else None for tissue in table]
    t1 = np.array([a or tissue.t1 * ratio**tissue.t1_power for a, tissue in zip(agent, table, strict=True)])
    r2 = np.array([1 / tissue.t2 * ratio**tissue.t2_power for tissue in table]) / vary[2]
    r2_star = r2 + np.array([tissue.r2_prime for tissue in table]) * ratio / 1000
    pd = np.array([tissue.pd for tissue in table])
    return Relaxation(pd=pd * vary[0], t1=t1 * vary[1], t2=1 / r2, t2_star=1 / r2_star)
