"""A procedural knee: femur, tibia, fibula, cartilage, menisci, ligaments, muscle, fat. Drawn from distances, no atlas."""

from __future__ import annotations

import numpy as np

from rekon.data.phantom.shapes import Floats, capsule, ellipsoid, inside, over, smooth_min
from rekon.data.phantom.tissue import INDEX, NAMES
from rekon.data.phantom.warp import Warp, evaluate, lattice

LEVELS = ((44.0, 2.6), (17.0, 0.9))  # mm, gentler than a head's: joint surfaces stay congruent
FINE, COARSE = 3.2, 14.0  # mm between the knots of the texture fields


class Knee:
    """One subject's knee. Scanner mm, right-anterior-superior; x > 0 is medial before `side` mirrors it."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.warp = Warp(rng, scale=0.05, angle=3.0, shift=3.0, levels=LEVELS)
        self.side = np.float32(rng.choice((-1.0, 1.0)))
        self.fine = lattice(rng, FINE)
        self.coarse = lattice(rng, COARSE)
        self.fat = rng.uniform(0.5, 1.6)  # of subcutaneous fat
        self.effusion = rng.uniform(0.2, 1.2)
        self.cartilage = rng.uniform(1.7, 2.6)  # mm
        self.physis = rng.uniform(0.15, 0.7)
        # bone bruise in every third knee: bright where fat is suppressed
        self.bruise = (rng.choice((-22.0, 22.0)), rng.uniform(-12, 12), rng.choice((-16.0, 20.0)), rng.uniform(6, 12))
        self.bruised = rng.random() < 0.35
        self.b0 = rng.normal(0, 0.15, 3)

    def fractions(self, points: Floats, through: Floats) -> Floats:
        """Tissue fractions (tissue, n) of points (n, 3), averaged over offsets (k, 3); see acquire.Anatomy."""
        centre = self.warp(points)
        turned = through @ self.warp.matrix.T
        fine, coarse = evaluate(self.fine, FINE, centre), evaluate(self.coarse, COARSE, centre)
        total = np.zeros((len(NAMES), len(points)), np.float32)
        for offset in turned:
            total += self._fractions((centre + offset) * np.float32([self.side, 1, 1]), fine, coarse)
        return total / len(through)

    def _femur(self, p: Floats) -> Floats:
        x, y, z = p.T
        medial = ellipsoid(p, (22, -3, 20), (22, 30, 22))
        lateral = ellipsoid(p, (-23, -1, 20), (21, 31, 22))
        radius = 13.5 + 15 * np.exp(-(((z - 14) / 24) ** 2))
        shaft = np.maximum(np.hypot(x / 1.15, y - 4) - radius, 18 - z)
        bone = smooth_min(smooth_min(medial, lateral, 6), shaft.astype(np.float32), 12)
        notch = np.maximum(np.hypot(x + 1, (z - 4) / 1.25) - 8.5, y - 8)
        return np.maximum(bone, -notch).astype(np.float32)

    def _tibia(self, p: Floats) -> Floats:
        x, y, z = p.T
        wide = 13.0 + 27 * np.exp(-(((z + 8) / 21) ** 2)) + 2 * np.exp(-(((z + 55) / 40) ** 2))
        deep = 13.0 + 14 * np.exp(-(((z + 8) / 24) ** 2))
        column = (np.hypot(x / wide, (y + 1) / deep) - 1) * np.minimum(wide, deep)
        # plateaus dip under the condyles; two spines stand between them
        top = -8.5 + 1.6 * ((np.abs(x) - 22) / 15) ** 2 * (np.abs(x) > 12)
        spine = 7.5 * np.exp(-(((np.abs(x) - 5) / 3.2) ** 2)) * np.exp(-((y / 12) ** 2))
        plate = z - (np.clip(top, -8.5, -5) + spine)
        return smooth_min(-smooth_min(-column.astype(np.float32), -plate.astype(np.float32), 6), np.float32(1e3), 1)

    def _fractions(self, p: Floats, fine: Floats, coarse: Floats) -> Floats:
        x, y, z = p.T
        out = np.zeros((len(NAMES), len(p)), np.float32)
        rx = 57 + 6 * np.clip(z / 70, -1, 1) - 5 * np.exp(-(((z + 38) / 26) ** 2))
        ry = 60 + 5 * np.clip(z / 70, -1, 1)
        skin = ((np.hypot(x / rx, (y + 4) / ry) - 1) * 52 + 0.8 * coarse).astype(np.float32)
        femur, tibia = self._femur(p), self._tibia(p)
        fibula = smooth_min(
            capsule(p, (-38, -20, -28), (-36, -22, -120), 6.0), ellipsoid(p, (-38, -20, -25), (9, 9, 10)), 4
        )
        over(out, INDEX["skin"], inside(skin))
        over(out, INDEX["fat"], inside(skin + 1.6))
        # muscles: above beside the shaft, below behind and outside the tibia; with fat between the bundles
        inner = skin + np.float32(4.0 + 8.0 * self.fat) * (1 + 0.45 * np.sign(x) * (np.abs(x) > 20))
        bundles = inside((np.sin(x / 6.0 + 1.3 * coarse) * 1.6 + fine * 0.35 + 1.25).astype(np.float32) * -1, 0.6)
        above = inside((22 + 0.25 * np.abs(x) - z).astype(np.float32), 3.0) * inside((26 - z + 0.4 * (40 - np.abs(x))).astype(np.float32), 4.0)
        below = inside((z + 30 - 0.2 * np.abs(x)).astype(np.float32), 3.0) * inside((np.minimum(-x - 8, 0) * 0 + 12 - np.maximum(-x, -y)).astype(np.float32), 4.0)
        over(out, INDEX["muscle"], inside(inner.astype(np.float32), 1.2) * np.clip(above + below, 0, 1) * bundles)
        # capsule: synovial fluid and soft tissue around the joint line
        joint = np.abs(z + 2) - 7
        around = np.maximum(np.hypot(x / 1.25, y) - 34, joint).astype(np.float32)
        over(out, INDEX["mucosa"], inside(around, 1.0) * 0.8)
        between = np.minimum(femur, tibia)
        # cartilage on the surfaces that meet
        facing_f = inside((z - 10 - 0.1 * np.abs(y)).astype(np.float32), 2.0)
        facing_t = inside((np.abs(z + 6) - 5).astype(np.float32), 1.0) * inside((9 - np.abs(x)).astype(np.float32), 1.0)
        over(out, INDEX["fluid"], inside(np.maximum(between - 3.4, joint + 1.5).astype(np.float32), 0.8) * np.float32(min(self.effusion, 1)))
        # menisci: wedges between the surfaces, thick at the rim
        rim = np.hypot(np.abs(x) - 21, y * 0.75)
        wedge = np.maximum(np.maximum(femur, tibia) - 0.42 * (rim - 9), np.maximum(rim - 19.5, 10.5 - rim))
        over(out, INDEX["ligament"], inside(np.maximum(wedge, np.abs(z + 3.5) - 7).astype(np.float32), 0.6))
        over(out, INDEX["cartilage"], inside((femur - self.cartilage).astype(np.float32), 0.5) * facing_f)
        over(out, INDEX["cartilage"], inside((tibia - self.cartilage).astype(np.float32), 0.5) * facing_t)
        # cruciate ligaments in the notch, collateral ligaments at the sides, popliteal vessels behind
        for start, end, radius in (((-9, -12, 16), (4, 10, -4), 4.2), ((8, 0, 12), (-2, -22, -12), 5.0)):
            over(out, INDEX["ligament"], inside(capsule(p, start, end, radius), 1.2) * np.float32(0.75) * (1 - 0.25 * np.abs(fine)).clip(0, 1))
        for start, end in (((43.5, -2, 26), (39.0, 0, -38)), ((-45.5, -6, 22), (-42.5, -18, -22))):
            over(out, INDEX["ligament"], inside(capsule(p, start, end, 1.5), 0.7))
        for x0, radius in ((1.0, 3.4), (-6.0, 4.0)):
            over(out, INDEX["blood"], inside(capsule(p, (x0, -40, -120), (x0 + 3, -40, 120), radius)))
        # bones: cortical shell, trabecular marrow, the scar of the growth plate
        for bone, scar in ((femur, z - 30 - 4 * np.cos(x / 9)), (tibia, z + 22 + 2 * np.cos(x / 12)), (fibula, z + 36)):
            over(out, INDEX["bone"], inside(bone))
            marrow = inside(bone + np.float32(1.3)) * (1 - np.float32(self.physis) * inside(np.abs(scar).astype(np.float32) - 0.7))
            red = np.clip(0.10 + 0.05 * fine + 0.10 * coarse, 0, 0.4)  # red marrow holds water
            over(out, INDEX["marrow"], marrow * (1 - red))
            out[INDEX["muscle"]] += marrow * red * (1 - out.sum(axis=0)).clip(0, 1)
            if self.bruised:
                spot = np.linalg.norm(p - np.float32(self.bruise[:3]), axis=1) - np.float32(self.bruise[3]) - 2 * coarse
                over(out, INDEX["oedema"], inside(spot.astype(np.float32), 4.0) * marrow * np.float32(0.45))
        return out

    def off_resonance(self, points: Floats) -> Floats:
        """B0 deviation (n) in ppm: an imperfect shim."""
        return (points @ (self.b0 / 100)).astype(np.float32)
