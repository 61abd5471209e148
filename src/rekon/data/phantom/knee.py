"""A procedural knee: bones, cartilage, menisci, ligaments, muscle, fat. Drawn from distances, no atlas."""

from __future__ import annotations

import numpy as np

from rekon.data.phantom.grids import Floats, on_plane
from rekon.data.phantom.shapes import ellipsoid, inside, over, rod, smooth_min
from rekon.data.phantom.tissue import INDEX, NAMES
from rekon.data.phantom.warp import Warp, evaluate, lattice

LEVELS = ((44.0, 2.6), (20.0, 0.9))  # mm, gentler than a head's: joint surfaces stay congruent
FINE, COARSE = 3.2, 14.0  # mm between the knots of the texture fields
SKIN = 1.6  # mm
Rod = tuple[tuple[float, float, float], tuple[float, float, float], float]  # start, end, radius in mm


class Knee:
    """One subject's knee. Scanner mm, right-anterior-superior; x > 0 is medial before `side` mirrors it."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.warp = Warp(rng, scale=0.05, angle=3.0, shift=3.0, levels=LEVELS)
        self.side = np.float32(rng.choice((-1.0, 1.0)))
        self.fine = lattice(rng, FINE)
        self.coarse = lattice(rng, COARSE)
        self.fat = rng.uniform(0.5, 1.6)  # of subcutaneous fat
        self.effusion = rng.uniform(0.25, 1.0)
        self.cartilage = np.float32(rng.uniform(1.7, 2.6))  # mm
        self.physis = rng.uniform(0.15, 0.7)
        # bone bruise in every third knee: bright where fat is suppressed
        self.bruised = rng.random() < 0.35
        spot = (rng.choice((-22.0, 22.0)), rng.uniform(-12, 12), rng.choice((-18.0, 18.0)), rng.uniform(6, 12))
        self.bruise = np.array(spot, np.float32)  # centre, radius
        self.b0 = rng.normal(0, 0.15, 3)

    def fractions(self, points: Floats, through: Floats) -> Floats:
        """Tissue fractions (tissue, h, w) on a plane of points (h, w, 3); see acquire.Anatomy. The rest to 1 is air."""
        out = np.zeros((len(NAMES), points.shape[0] * points.shape[1]), np.float32)
        mirror = np.array([self.side, 1, 1], np.float32)
        centre = on_plane(self.warp, points, 6).reshape(-1, 3) * mirror
        keep = np.flatnonzero(self._skin(centre) < 5)
        centre = centre[keep]
        fine, coarse = evaluate(self.fine, FINE, centre), evaluate(self.coarse, COARSE, centre)
        for offset in through @ self.warp.matrix.T:
            out[:, keep] += self._fractions(centre + offset * mirror, fine, coarse)
        return (out / len(through)).reshape(-1, *points.shape[:2])

    def off_resonance(self, points: Floats) -> Floats:
        """B0 deviation (...) in ppm: an imperfect shim."""
        return (points @ (self.b0 / 100)).astype(np.float32)

    def _fractions(self, p: Floats, fine: Floats, coarse: Floats) -> Floats:
        out = np.zeros((len(NAMES), len(p)), np.float32)
        femur, tibia = self._femur(p), self._tibia(p)
        self._soft_tissue(out, p, fine, coarse)
        self._joint(out, p, femur, tibia, fine)
        fibula = ellipsoid(p, (-38, -22, -27), (9, 9, 10))
        shaft = np.hypot(p[:, 0] + 38, p[:, 1] + 22) - 6
        fibula = smooth_min(fibula, np.maximum(shaft, p[:, 2] + 27), 4)
        x, z = p[:, 0], p[:, 2]
        scars = (z - 33 - 4 * np.cos(x / 9), z + 24 + 2 * np.cos(x / 12), z + 38)
        for bone, scar in zip((femur, tibia, fibula), scars, strict=True):
            self._bone(out, p, bone, scar, fine, coarse)
        return out

    @staticmethod
    def _skin(p: Floats) -> Floats:
        """Signed distance from the skin."""
        x, y, z = p.T
        wide = 57 + 6 * np.clip(z / 70, -1, 1) - 5 * np.exp(-(((z + 38) / 26) ** 2))
        deep = 60 + 5 * np.clip(z / 70, -1, 1)
        return ((np.hypot(x / wide, (y + 4) / deep) - 1) * 52).astype(np.float32)

    @staticmethod
    def _femur(p: Floats) -> Floats:
        x, y, z = p.T
        medial = ellipsoid(p, (23.5, -3, 19), (19.5, 30, 21))
        lateral = ellipsoid(p, (-24, -1, 19), (19, 31, 21))
        condyles = smooth_min(medial, lateral, 5)
        radius = 14.0 + 19 * np.exp(-(((z - 18) / 19) ** 2))
        shaft = np.maximum(np.hypot(x / 1.1, y - 3) - radius, 20 - z)
        bone = smooth_min(condyles, shaft, 9)
        notch = np.maximum(np.hypot(x + 1, (z - 1) / 1.7) - 8.5, y - 8)
        return np.maximum(bone, -notch).astype(np.float32)

    @staticmethod
    def _tibia(p: Floats) -> Floats:
        x, y, z = p.T
        wide = 13.5 + 27 * np.exp(-(((z + 10) / 21) ** 2))
        deep = 14.0 + 14 * np.exp(-(((z + 10) / 24) ** 2))
        column = (np.hypot(x / wide, (y + 1) / deep) - 1) * np.minimum(wide, deep)
        # plateaus dip under the condyles; two low spines stand between them
        top = -9.0 + 1.4 * np.clip((np.abs(x) - 23) / 13, -1, 1) ** 2
        spine = 5.5 * np.exp(-(((np.abs(x) - 5) / 3.6) ** 2)) * np.exp(-((y / 12) ** 2))
        return -smooth_min(-column, top + spine - z, 5)

    def _soft_tissue(self, out: Floats, p: Floats, fine: Floats, coarse: Floats) -> None:
        """Skin, fat with septa, muscles, vessels."""
        x, y, z = p.T
        skin = self._skin(p) + np.float32(0.8) * coarse
        over(out, INDEX["skin"], inside(skin))
        over(out, INDEX["fat"], inside(skin + SKIN))
        septa = inside(np.abs(fine + 0.4 * coarse) * 3 - 0.5) * inside(skin + SKIN)
        over(out, INDEX["ligament"], 0.15 * septa)
        # above: vastus medialis and lateralis beside the shaft; below: calf behind, tibialis lateral
        depth = skin + np.float32(4.0 + 7.0 * self.fat)
        vastus = inside(34 - 0.35 * np.abs(x) - z + 2 * coarse, 2.0)
        calf = inside(z + 26 - 0.1 * np.abs(x) + 2 * coarse, 2.0) * inside(8 - np.maximum(-x, 6 - y), 3.0)
        fascia = 1 - 0.8 * inside(np.abs(np.sin(x / 9.0 + z / 45 + 0.5 * coarse)) * 9 - 0.5, 0.5)
        over(
            out,
            INDEX["muscle"],
            inside(depth, 1.0) * np.maximum(vastus, calf) * fascia * (0.93 + 0.05 * fine).clip(0, 1),
        )
        for x0, radius in ((1.0, 3.4), (-6.0, 4.0)):  # popliteal artery and vein
            over(out, INDEX["blood"], rod(p, (x0, -40, -120), (x0 + 3, -40, 120), radius))

    def _joint(self, out: Floats, p: Floats, femur: Floats, tibia: Floats, fine: Floats) -> None:
        """Cartilage, menisci, fluid, ligaments."""
        x, y, z = p.T
        between = np.minimum(femur, tibia)  # distance from the nearer bone
        level = np.abs(z + 4) - 9
        radius = np.hypot(x / 1.28, y * 1.1)
        space = inside(np.maximum(level, radius - 32), 0.8)
        over(out, INDEX["mucosa"], 0.55 * space)
        rim = np.hypot(np.abs(x) - 21, y * 0.75)
        gap = space * inside(self.cartilage - between, 0.4)
        over(out, INDEX["fluid"], np.float32(0.75 * self.effusion) * gap * inside(between - 4.0, 1.5))
        over(out, INDEX["ligament"], gap * inside(np.maximum(9.5 - rim, rim - 20.0), 0.7) * inside(12 - np.abs(x), 1.0))
        on_femur = inside(femur - self.cartilage, 0.5) * inside(z - 12 - 0.1 * np.abs(y), 2.0)
        on_tibia = inside(tibia - self.cartilage, 0.5) * inside(np.abs(z + 8) - 4, 1.0) * inside(10 - np.abs(x), 1.0)
        over(out, INDEX["cartilage"], np.maximum(on_femur, on_tibia) * inside(np.abs(x) - 41, 1.0))
        # cruciate ligaments in the notch, collateral ligaments at the sides
        cruciate: tuple[Rod, Rod] = ((-9, -12, 16), (4, 10, -5), 3.6), ((8, 0, 13), (-2, -22, -12), 4.4)
        for start, end, thick in cruciate:
            over(out, INDEX["ligament"], rod(p, start, end, thick, 1.2) * (0.75 - 0.15 * np.abs(fine)).clip(0, 1))
        collateral: tuple[Rod, Rod] = ((43.5, -2, 26), (39, 0, -38), 1.5), ((-45.5, -6, 22), (-42.5, -18, -22), 1.5)
        for start, end, thick in collateral:
            over(out, INDEX["ligament"], rod(p, start, end, thick))

    def _bone(self, out: Floats, p: Floats, bone: Floats, scar: Floats, fine: Floats, coarse: Floats) -> None:
        """Cortex, trabecular marrow with the scar of the growth plate, a bruise."""
        over(out, INDEX["bone"], inside(bone))
        cortex = 0.8 + 1.6 * np.clip((np.abs(p[:, 2]) - 32) / 30, 0, 1)  # thicker along the shafts
        marrow = inside(bone + cortex)
        scarred = np.float32(self.physis) * inside(np.abs(scar) - 0.7)
        red = np.clip(0.12 + 0.05 * fine + 0.10 * coarse, 0, 0.4)  # red marrow holds water
        over(out, INDEX["marrow"], marrow * (1 - scarred))
        over(out, INDEX["muscle"], marrow * red * 0.6)
        if self.bruised:
            spot = np.sqrt(np.sum((p - self.bruise[:3]) ** 2, axis=1)) - self.bruise[3] - 2 * coarse
            over(out, INDEX["oedema"], inside(spot, 4.0) * marrow * np.float32(0.45))
