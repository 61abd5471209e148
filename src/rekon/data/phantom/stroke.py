"""An acute ischaemic stroke: the part of an artery's territory that lies beyond an occlusion."""

from __future__ import annotations

import numpy as np

from rekon.data.phantom.grids import Floats
from rekon.data.phantom.shapes import inside
from rekon.data.phantom.tissue import INDEX
from rekon.data.phantom.warp import evaluate, lattice

# artery -> where its branches set out and the cortex that they reach, both on the right in template mm, how wide they
# fan out in degrees from the middle, and the part of patients whose artery it is
TERRITORIES: dict[str, tuple[tuple[int, int, int], tuple[int, int, int], tuple[float, float], float]] = {
    "middle cerebral, superior trunk": ((24, 4, 14), (60, 14, 22), (18, 32), 0.35),
    "middle cerebral, inferior trunk": ((26, -22, 10), (56, -50, 16), (18, 32), 0.35),
    "middle cerebral": ((18, -8, 12), (62, -14, 16), (36, 46), 0.15),
    "posterior cerebral": ((14, -54, 10), (18, -98, 12), (20, 30), 0.15),
}
BORDER = 12.0  # mm between the knots of the field that makes the border irregular
IRREGULAR, SOFT = 6.0, 2.5  # mm: amplitude of that field, and half the width of the border's ramp
MIDLINE = 1.5  # mm: the falx keeps territories apart


class Stroke:
    """One subject's infarct: a cone from the arterial trunk to the cortex, in one hemisphere. Positions: template."""

    def __init__(self, rng: np.random.Generator) -> None:
        """rng: a stream of its own, so that heads are the same with and without an infarct."""
        odds = [odds for *_, odds in TERRITORIES.values()]
        self.territory = list(TERRITORIES)[rng.choice(len(TERRITORIES), p=odds)]
        apex, cortex, fan, _ = TERRITORIES[self.territory]
        self.side = float(rng.choice((-1.0, 1.0)))  # right: 1
        hemisphere = np.array((self.side, 1, 1))
        start = apex * hemisphere + rng.normal(0, 2.5, 3)
        axis = cortex * hemisphere + rng.normal(0, (4, 7, 3)) - start
        self.apex, self.axis = start.astype(np.float32), (axis / np.linalg.norm(axis)).astype(np.float32)
        self.angle = np.deg2rad(rng.uniform(*fan))
        self.border = lattice(rng, BORDER)
        self.stage = np.float32(rng.uniform(0.6, 1.0))  # how far the tissue is on its way to `tissue.TABLE`'s infarct

    def share(self, p: Floats) -> Floats:
        """How much (n) of the grey and white matter at points (n, 3) is infarcted, in [0, 1]."""
        r = p - self.apex
        along = r @ self.axis
        across = np.sqrt(np.maximum(np.sum(r * r, axis=1) - along**2, 0))
        # signed distance in mm from the cone's surface; positive behind the apex too
        distance = across * np.float32(np.cos(self.angle)) - along * np.float32(np.sin(self.angle))
        distance = np.maximum(distance, np.float32(MIDLINE) - np.float32(self.side) * p[:, 0])
        out = np.zeros(len(p), np.float32)
        near = np.flatnonzero(distance < IRREGULAR + SOFT)
        field = evaluate(self.border, BORDER, p[near])
        out[near] = self.stage * inside(distance[near] + np.float32(IRREGULAR) * np.clip(field, -1, 1), SOFT)
        return out

    def befall(self, fractions: Floats, p: Floats) -> None:
        """Turn grey and white matter into their infarcted kinds, in place: fractions (tissue, n) at points (n, 3)."""
        share = self.share(p)
        for name in ("grey", "white"):
            lost = fractions[INDEX[name]] * share
            fractions[INDEX[name]] -= lost
            fractions[INDEX[f"infarcted_{name}"]] += lost
