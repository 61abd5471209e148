"""A head: MNI grey and white matter in a skull, with subject-specific folds, ventricles, vessels and lesions."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rekon.data.phantom.face import Face
from rekon.data.phantom.grids import Floats, on_plane
from rekon.data.phantom.shapes import ellipsoid, inside, over, smooth_min
from rekon.data.phantom.stroke import Stroke
from rekon.data.phantom.tissue import INDEX, NAMES
from rekon.data.phantom.vessels import Vessels
from rekon.data.phantom.warp import Warp, evaluate, lattice

FILE = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
COARSE = 4  # mm; grid of the distance to the brain's surface
PAD = 15  # coarse voxels around the template

# thickness in mm of the layers over the vault, from the brain outwards
SUBARACHNOID, TABLE_INNER, DIPLOE, TABLE_OUTER, SCALP_FAT, SKIN = 1.0, 1.6, 2.4, 1.6, 2.9, 1.8
FOLDS, THICK = 5.0, 26.0  # mm between the knots of the fields that vary the cortex, and the shells
SINUSES = ((0, 66, -30), (58, -20, -38), (-58, -20, -38))  # air in the skull base, which disturbs B0


def template_file(name: str) -> Path:
    """Path of nilearn's copy of an MNI ICBM-152 2009a volume ("gm", "wm", "t1"); does not import nilearn (2 s)."""
    spec = importlib.util.find_spec("nilearn")
    assert spec is not None and spec.origin is not None, "nilearn is a dependency of rekon"
    return Path(spec.origin).parent / "datasets" / "data" / FILE.format(name)


@dataclass(frozen=True)
class Template:
    """The average head: grey and white matter (x, y, z) in 1/255; on a coarse grid, distances in mm; origin in mm."""

    grey: NDArray[np.uint8]
    white: NDArray[np.uint8]
    brain: Floats  # signed distance from the brain's surface
    origin: Floats

    def at(self, grid: Floats, points: Floats) -> Floats:
        """Value (n) of a coarse grid at template points (n, 3)."""
        index = ((points - self.origin) / np.float32(COARSE) + np.float32(PAD)).T
        # a quadratic B-spline without prefilter: smooth, so that the skull has no facets
        return ndimage.map_coordinates(grid, index, order=2, prefilter=False, mode="nearest", output=np.float32)


@cache
def template() -> Template:
    """Read what nilearn carries of MNI ICBM-152; about 0.3 s, once per process."""
    import nibabel

    loaded: list[Any] = [nibabel.load(template_file(name)) for name in ("gm", "wm", "t1")]
    grey, white, t1 = (np.asanyarray(volume.dataobj) for volume in loaded)
    mask = np.pad(t1[::COARSE, ::COARSE, ::COARSE] > 0, PAD)

    # growing and shrinking by 12 mm closes fissures: the skull does not follow them
    outside = ndimage.distance_transform_edt(~mask).astype(np.float32) * np.float32(COARSE)
    within = 12 - ndimage.distance_transform_edt(outside <= 12).astype(np.float32) * np.float32(COARSE)
    brain = ndimage.gaussian_filter(np.where(outside > 12, outside, within), 0.8)
    return Template(grey, white, brain, loaded[0].affine[:3, 3].astype(np.float32))


def _cranium(points: Floats) -> Floats:
    """Signed distance (n) in mm from a smooth egg just inside the template's skull, which has no temporal fossae."""
    radii = np.where(points[:, 1:2] > -20, np.array([66, 91, 76], np.float32), np.array([66, 80, 76], np.float32))
    q = np.abs(points - np.array([0, -20, 6], np.float32)) / radii
    return (np.sum(q**2.4, axis=1) ** np.float32(1 / 2.4) - 1) * np.float32(70)


class Head:
    """One subject's head. Positions are scanner mm, right-anterior-superior, the isocentre at the template's origin."""

    def __init__(self, rng: np.random.Generator, face: bool, stroke: Stroke | None = None) -> None:
        """rng: the subject's stream; face: draw what lies below the brain (sagittal and coronal views).

        stroke: an infarct; such a head has no mass beside it.
        """
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
        self.stroke = stroke
        if stroke is not None:
            self.lesions = [lesion for lesion in self.lesions if lesion[0] != "mass"]

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
        """Tissue fractions (tissue, h, w) on a plane of points (h, w, 3); see acquire.Anatomy. The rest to 1 is air."""
        out = np.zeros((len(NAMES), points.shape[0] * points.shape[1]), np.float32)
        centre = on_plane(self.warp, points, 6)
        thick = on_plane(lambda p: evaluate(self.thick, THICK, self.warp(p)), points, 6).ravel()
        keep = self._not_far(centre.reshape(-1, 3))
        centre, thick = centre.reshape(-1, 3)[keep], thick[keep]
        folds = evaluate(self.folds, FOLDS, centre)
        deep = self.face.tissues(centre) if self.face is not None else None
        for offset in through @ self.warp.matrix.T:
            out[:, keep] += self._fractions(centre + offset, folds, thick, deep)
        return (out / len(through)).reshape(-1, *points.shape[:2])

    def _not_far(self, p: Floats) -> NDArray[np.intp]:
        """Points (n, 3) that may be inside the head."""
        brain, origin = template().brain, template().origin
        index = np.clip(np.rint((p - origin) / COARSE + PAD).astype(np.intp), 0, np.array(brain.shape) - 1)
        close = brain[index[:, 0], index[:, 1], index[:, 2]] < 30
        if self.face is not None:
            close |= self.face.distance(p) < 6
        return np.flatnonzero(close)

    def _fractions(self, p: Floats, folds: Floats, thick: Floats, deep: Floats | None) -> Floats:
        out = np.zeros((len(NAMES), len(p)), np.float32)
        # distance from the inner surface of the arachnoid space, which leaves the brain some slack
        skull = template().at(template().brain, p) - (0.5 + 0.5 * thick)
        near = np.flatnonzero(skull < SUBARACHNOID + 2)
        out[:, near] = self._brain(p[near], folds[near], skull[near])
        far = np.flatnonzero(skull > SUBARACHNOID - 2)
        out[:, far] += self._shells(p[far], skull[far], thick[far], None if deep is None else deep[:, far])
        where = np.flatnonzero(skull < SUBARACHNOID + 1)
        blood = self.vessels.fraction(p[where])
        bleeds = blood > 0
        where, blood = where[bleeds], blood[bleeds]
        out[:, where] *= 1 - blood
        out[INDEX["blood"], where] += blood
        return out

    def _brain(self, p: Floats, folds: Floats, depth: Floats) -> Floats:
        """Fractions (tissue, n) inside the skull: sharpened template probabilities, iron, lesions."""
        index = (p - template().origin).T
        g = ndimage.map_coordinates(template().grey, index, order=1, output=np.float32) / 255
        w = ndimage.map_coordinates(template().white, index, order=1, output=np.float32) / 255
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
        if self.stroke is not None:
            self.stroke.befall(out, p)
        self._add_lesions(out, p, folds)
        return out

    def _nuclei(self, out: Floats, p: Floats) -> None:
        """Iron-rich nuclei: pallidum, red nucleus, substantia nigra."""
        mirrored = p.copy()
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
            if not d.size or d.min() > 3 * radius:
                continue
            mostly_white = np.clip(out[INDEX["white"]] * 1.3, 0, 1)
            over(out, INDEX["oedema"], inside(d - 1.9 * radius - 2.5 * folds, 3.0) * mostly_white)
            over(out, INDEX["tumour"], inside(d - radius - 1.2 * folds, 0.8))
            over(out, INDEX["necrosis"], inside(d - 0.68 * radius - 1.2 * folds, 0.8))

    def _shells(self, p: Floats, skull: Floats, thick: Floats, deep: Floats | None) -> Floats:
        """Fractions (tissue, n) of skull, scalp and, where drawn, face (`deep`), in what the brain leaves empty."""
        vary = np.clip(1 + 0.30 * thick, 0.4, 1.8)
        behind = np.clip(-p[:, 1] / 90, 0, 1) ** 2  # the scalp is thickest at the occiput
        fat = SCALP_FAT * np.float32(self.scalp) * np.clip(1 - 0.35 * thick + 0.5 * behind, 0.4, 2.0)
        layers = np.zeros((len(NAMES), len(p)), np.float32)
        side = np.exp(-(((p[:, 1] - 15) / 30) ** 2) - ((p[:, 2] + 12) / 34) ** 2) * np.clip(np.abs(p[:, 0]) / 60, 0, 1)
        inner = skull - np.float32(SUBARACHNOID)  # distance from the skull's inner surface
        diploe = TABLE_INNER * vary
        outer_table = diploe + DIPLOE * vary * np.clip(1.1 - 1.6 * side, 0, 1)
        bone = outer_table + TABLE_OUTER * vary
        # the scalp bridges the temporal fossae; what lies between it and the skull is the temporal muscle
        bridge = smooth_min(_cranium(p) - 0.5 * thick, inner, 5)
        outer = bridge - bone - np.float32(1.0) - 3 * side.astype(np.float32) - fat - np.float32(SKIN)
        low = np.zeros(len(p), np.float32)
        if self.face is not None:
            outer = smooth_min(outer, self.face.distance(p), 14.0)
            front, back = np.clip(p[:, 1] - 30, 0, 40), np.clip(-p[:, 1] - 40, 0, None)
            low = inside(p[:, 2] + 28 + 0.30 * front - 0.25 * back, 8.0)
        marrow = inside(diploe - inner) * inside(inner - outer_table)
        layers[INDEX["marrow"]] = marrow
        layers[INDEX["bone"]] = inside(inner - bone) * (1 - marrow)
        deeper = inside(outer + SKIN + fat)
        layers[INDEX["muscle"]] = inside(bone - inner) * deeper
        layers[INDEX["fat"]] = inside(bone - inner) * (1 - deeper) * inside(outer + SKIN)
        if deep is not None and low.any():
            where = np.flatnonzero(low > 0)
            deep = deep[:, where]
            under = inside(outer[where] + np.float32(SKIN) + fat[where], 0.8)
            deep *= under
            deep[INDEX["fat"]] += (1 - under) * inside(outer[where] + SKIN)
            canal = (np.abs(p[where, 0]) < 10) & (p[where, 2] < -58)
            over(deep, INDEX["bone"], inside(inner[where] - 1.6) * ~canal)
            layers[:, where] = layers[:, where] * (1 - low[where]) + deep * low[where]
        over(layers, INDEX["skin"], inside(outer) * (1 - inside(outer + SKIN)))
        return layers * (1 - inside(inner, 0.7)) * inside(outer)

    def off_resonance(self, points: Floats) -> Floats:
        """B0 deviation (...) in ppm at points (..., 3): imperfect shim, and the fields of the air-filled sinuses."""
        x, y, z = np.moveaxis(points, -1, 0) / np.float32(100)
        basis = (x, y, z, x * y, y * z, x * z, x * x - y * y, 2 * z * z - x * x - y * y, np.ones_like(x))
        ppm = np.zeros_like(x)
        for weight, term in zip(self.b0, basis, strict=True):
            ppm += np.float32(weight) * term
        for centre, strength in zip(SINUSES, self.sinus, strict=True):
            r = points - np.array(centre, np.float32)
            square = np.sum(r * r, axis=-1)
            # a sphere of air of radius 14 mm in water (9.4 ppm): the field of a dipole along z, softened inside
            ppm += np.float32(strength * 9.4 / 3 * 14**3) * (3 * r[..., 2] ** 2 - square) / (square + 18**2) ** 2.5
        return ppm.astype(np.float32)
