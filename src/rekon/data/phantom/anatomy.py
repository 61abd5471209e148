"""A head: MNI grey and white matter in a skull, with subject-specific folds, ventricles, vessels and lesions."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rekon.data.phantom.face import Face
from rekon.data.phantom.shapes import Floats, ellipsoid, inside, over, smooth_min
from rekon.data.phantom.tissue import INDEX, NAMES
from rekon.data.phantom.vessels import Vessels
from rekon.data.phantom.warp import Warp, evaluate, lattice

FILE = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
COARSE = 4  # mm; grid of the distance to the brain's surface
PAD = 15  # coarse voxels around the template

# thickness in mm of the layers over the vault, from the brain outwards
SUBARACHNOID, TABLE_INNER, DIPLOE, TABLE_OUTER, SCALP_FAT, SKIN = 2.2, 1.6, 2.6, 1.6, 3.3, 1.8
FOLDS, THICK = 5.0, 26.0  # mm between the knots of the fields that vary the cortex, and the shells
SINUSES = ((0, 66, -30), (58, -20, -38), (-58, -20, -38))  # air in the skull base, which disturbs B0


def template_file(name: str) -> Path:
    """Path of nilearn's copy of an MNI ICBM-152 2009a volume ("gm", "wm", "t1"); does not import nilearn (2 s)."""
    spec = importlib.util.find_spec("nilearn")
    assert spec is not None and spec.origin is not None, "nilearn is a dependency of rekon"
    return Path(spec.origin).parent / "datasets" / "data" / FILE.format(name)


@cache
def template() -> tuple[NDArray[np.uint8], NDArray[np.uint8], Floats, Floats]:
    """Grey and white matter (x, y, z) in 1/255, distance in mm from the brain's surface (coarse), template origin in mm."""
    import nibabel

    loaded = [nibabel.load(template_file(name)) for name in ("gm", "wm", "t1")]
    grey, white, t1 = (np.asanyarray(volume.dataobj) for volume in loaded)
    mask = np.pad(t1[::COARSE, ::COARSE, ::COARSE] > 0, PAD)
    mask = ndimage.binary_closing(mask, iterations=3)  # the skull does not follow the fissures
    mask = ndimage.binary_fill_holes(mask)
    distance = ndimage.distance_transform_edt(~mask) - ndimage.distance_transform_edt(mask)
    distance = ndimage.gaussian_filter(distance.astype(np.float32), 0.8) * np.float32(COARSE)
    return grey, white, distance, loaded[0].affine[:3, 3].astype(np.float32)


def _surface(points: Floats) -> Floats:
    """Signed distance (n) in mm of template points (n, 3) from the brain's surface."""
    _, _, distance, origin = template()
    index = ((points - origin) / COARSE + PAD).T
    return ndimage.map_coordinates(distance, index, order=1, mode="nearest", output=np.float32)


class Head:
    """One subject's head. Positions are scanner mm, right-anterior-superior, the isocentre at the template's origin."""

    def __init__(self, rng: np.random.Generator, face: bool) -> None:
        """rng: the subject's stream; face: draw what lies below the brain (sagittal and coronal views)."""
        self.warp = Warp(rng, mean=0.95, scale=0.03)
        self.folds = lattice(rng, FOLDS)
        self.thick = lattice(rng, THICK)
        self.vessels = Vessels(rng)
        self.face = Face() if face else None
        self.sharpness = rng.uniform(1.8, 2.4)
        self.ventricles = rng.normal(0.0, 0.5)  # log-odds of CSF near the ventricles
        self.atrophy = rng.normal(0.15, 0.4)  # log-odds of CSF near the cortex
        self.scalp = np.exp(rng.normal(0, 0.25))
        self.iron = np.clip(rng.normal(0.75, 0.15), 0.3, 1)
        self.b0 = rng.normal(0, 1, 9) * (0.05, 0.05, 0.08, 0.05, 0.05, 0.05, 0.08, 0.08, 0.08)  # ppm at 100 mm
        self.sinus = rng.uniform(0.7, 1.3, 3)
        self.lesions = self._lesions(rng)

    @staticmethod
    def _lesions(rng: np.random.Generator) -> list[tuple[str, NDArray, float]]:
        """(kind, centre, radius): white-matter spots in most, a ring-enhancing mass in one head of four."""
        out: list[tuple[str, NDArray, float]] = []
        for _ in range(rng.poisson(4)):
            side = rng.choice((-1.0, 1.0))
            centre = np.array([side * rng.uniform(20, 34), rng.uniform(-60, 40), rng.uniform(10, 38)])
            out.append(("spot", centre, float(rng.uniform(1.2, 3.2))))
        if rng.random() < 0.25:
            side = rng.choice((-1.0, 1.0))
            centre = np.array([side * rng.uniform(24, 42), rng.uniform(-60, 40), rng.uniform(5, 35)])
            out.append(("mass", centre, float(rng.uniform(7, 13))))
        return out

    def fractions(self, points: Floats, through: Floats) -> Floats:
        """Tissue fractions, averaged through the slice.

        points: (n, 3) in mm at the slice's centre; through: (k, 3) offsets in mm of the sub-slices.
        Returns float32 (tissue, n); what is missing to 1 is air.
        """
        out = np.zeros((len(NAMES), len(points)), np.float32)
        keep = self._not_far(points)
        centre = self.warp(points[keep])
        folds, thick = evaluate(self.folds, FOLDS, centre), evaluate(self.thick, THICK, centre)
        for offset in through @ self.warp.matrix.T:
            out[:, keep] += self._fractions(centre + offset, folds, thick)
        return out / len(through)

    def _not_far(self, points: Floats) -> NDArray[np.intp]:
        """Points that may be inside the head: close by the affine part of the warp, with room for the rest of it."""
        p = (points - self.warp.shift) @ self.warp.matrix.T
        close = _surface(p) < 36
        if self.face is not None:
            close |= self.face.distance(p) < 12
        return np.flatnonzero(close)

    def _fractions(self, p: Floats, folds: Floats, thick: Floats) -> Floats:
        out = np.zeros((len(NAMES), len(p)), np.float32)
        skull = _surface(p) - (1.0 + 0.5 * thick)  # from the arachnoid space's inner surface, less its slack
        near = np.flatnonzero(skull < SUBARACHNOID + 2)
        out[:, near] = self._brain(p[near], folds[near], skull[near])
        far = np.flatnonzero(skull > SUBARACHNOID - 2)
        out[:, far] += self._shells(p[far], skull[far], thick[far])
        where = np.flatnonzero(skull < SUBARACHNOID + 1)
        blood = self.vessels.fraction(p[where])
        bleeds = blood > 0
        where, blood = where[bleeds], blood[bleeds]
        out[:, where] *= 1 - blood
        out[INDEX["blood"], where] += blood
        return out

    def _brain(self, p: Floats, folds: Floats, depth: Floats) -> Floats:
        """Fractions (tissue, n) inside the skull: sharpened template probabilities, iron, lesions."""
        grey, white, _, origin = template()
        index = (p - origin).T
        g = ndimage.map_coordinates(grey, index, order=1, output=np.float32) / 255
        w = ndimage.map_coordinates(white, index, order=1, output=np.float32) / 255
        c = np.clip(1 - g - w, 0, 1)
        central = np.exp(-(((p[:, 0] / 32) ** 2) + ((p[:, 1] + 12) / 48) ** 2 + ((p[:, 2] - 10) / 26) ** 2))
        # an average of many brains is blurred: a power of the odds restores one brain's sharp borders, and a random
        # field moves them, more at the cortex than around the ventricles
        k = np.float32(self.sharpness)
        rough = 1 - 0.75 * central
        log = [k * np.log(np.maximum(x, 1e-3)) for x in (g, w, c)]
        log[0] += 0.55 * folds * rough
        log[1] -= 0.25 * folds * rough
        log[2] += self.ventricles * central + self.atrophy * (1 - central) - 0.9 * folds * rough
        top = np.maximum(np.maximum(log[0], log[1]), log[2])
        weight = np.exp(np.stack(log) - top)
        weight /= weight.sum(axis=0)
        out = np.zeros((len(NAMES), len(p)), np.float32)
        brain = inside(depth - np.float32(SUBARACHNOID), 0.7)
        for name, fraction in zip(("grey", "white", "csf"), weight, strict=True):
            out[INDEX[name]] = fraction * brain
        self._nuclei(out, p)
        self._add_lesions(out, p, folds)
        return out

    def _nuclei(self, out: Floats, p: Floats) -> None:
        """Iron-rich nuclei: pallidum, red nucleus, substantia nigra."""
        mirrored = p * np.float32([1, 1, 1])
        mirrored[:, 0] = np.abs(p[:, 0])
        nuclei = (((19, -4, 0), (4.5, 9, 5.5)), ((5, -20, -9), (3, 3, 4)), ((10, -16, -12), (2.2, 6, 4)))
        for centre, radii in nuclei:
            share = np.float32(self.iron) * inside(ellipsoid(mirrored, centre, radii), 1.2)
            moved = (out[INDEX["grey"]] + out[INDEX["white"]]) * share
            out[INDEX["grey"]] *= 1 - share
            out[INDEX["white"]] *= 1 - share
            out[INDEX["iron"]] += moved

    def _add_lesions(self, out: Floats, p: Floats, folds: Floats) -> None:
        csf = out[INDEX["csf"]].copy()
        for kind, centre, radius in self.lesions:
            d = np.linalg.norm(p - centre.astype(np.float32), axis=1)
            if kind == "spot":
                over(out, INDEX["oedema"], 0.8 * inside(d - radius - 0.8 * folds, 1.0) * (1 - csf))
                continue
            if d.min() > 3 * radius:
                continue
            mostly_white = np.clip(out[INDEX["white"]] * 1.3, 0, 1)
            over(out, INDEX["oedema"], inside(d - 1.9 * radius - 2.5 * folds, 3.0) * mostly_white)
            over(out, INDEX["tumour"], inside(d - radius - 1.2 * folds, 0.8))
            over(out, INDEX["necrosis"], inside(d - 0.68 * radius - 1.2 * folds, 0.8))

    def _shells(self, p: Floats, skull: Floats, thick: Floats) -> Floats:
        """Fractions (tissue, n) of skull, scalp and, where drawn, face, in what the brain leaves empty."""
        vary = np.clip(1 + 0.22 * thick, 0.5, 1.6)
        fat = SCALP_FAT * np.float32(self.scalp) * vary
        layers = np.zeros((len(NAMES), len(p)), np.float32)
        # temporal muscle, between skull and fat at the sides
        side = np.exp(-(((p[:, 1] - 10) / 34) ** 2) - ((p[:, 2] + 12) / 30) ** 2) * np.clip(np.abs(p[:, 0]) / 60, 0, 1)
        inner = skull - np.float32(SUBARACHNOID)  # distance from the skull's inner surface
        diploe, outer_table = TABLE_INNER * vary, (TABLE_INNER + DIPLOE) * vary
        bone = outer_table + TABLE_OUTER * vary
        muscle = bone + 0.8 + 9 * side.astype(np.float32)
        outer = inner - muscle - fat - np.float32(SKIN)  # distance from the skin
        low = np.zeros(len(p), np.float32)
        if self.face is not None:
            outer = smooth_min(outer, self.face.distance(p), 14.0)
            front, back = np.clip(p[:, 1] - 30, 0, 40), np.clip(-p[:, 1] - 40, 0, None)
            low = inside(p[:, 2] + 28 + 0.30 * front - 0.25 * back, 8.0)
        marrow = inside(diploe - inner) * inside(inner - outer_table)
        layers[INDEX["marrow"]] = marrow
        layers[INDEX["bone"]] = inside(inner - bone) * (1 - marrow)
        layers[INDEX["muscle"]] = inside(bone - inner) * inside(inner - muscle)
        layers[INDEX["fat"]] = inside(muscle - inner) * inside(outer + SKIN)
        if low.any():
            assert self.face is not None
            where = np.flatnonzero(low > 0)
            deep = self.face.tissues(p[where])
            under = inside(outer[where] + np.float32(SKIN) + fat[where], 0.8)
            deep *= under
            deep[INDEX["fat"]] += (1 - under) * inside(outer[where] + SKIN)
            canal = (np.abs(p[where, 0]) < 10) & (p[where, 2] < -58)
            over(deep, INDEX["bone"], inside(inner[where] - 1.6) * ~canal)
            layers[:, where] = layers[:, where] * (1 - low[where]) + deep * low[where]
        over(layers, INDEX["skin"], inside(outer) * (1 - inside(outer + SKIN)))
        return layers * (1 - inside(inner, 0.7)) * inside(outer)

    def off_resonance(self, points: Floats) -> Floats:
        """B0 deviation (n) in ppm at points (n, 3): imperfect shim, and the fields of the air-filled sinuses."""
        x, y, z = points.T / np.float32(100)
        basis = (x, y, z, x * y, y * z, x * z, x * x - y * y, 2 * z * z - x * x - y * y, np.ones_like(x))
        ppm = sum(np.float32(a) * term for a, term in zip(self.b0, basis, strict=True))
        for centre, strength in zip(SINUSES, self.sinus, strict=True):
            r = points - np.float32(centre)
            square = np.sum(r * r, axis=1)
            # a sphere of air of radius 14 mm in water (9.4 ppm): field of a dipole along z, flat inside
            ppm += np.float32(strength * 9.4 / 3 * 14**3) * (3 * r[:, 2] ** 2 - square) / (square + 18**2) ** 2.5
        return ppm.astype(np.float32)
