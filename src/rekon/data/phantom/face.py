"""What lies in front of and below the brain: face, airways, neck and cervical spine, in template coordinates.

A drawing in the sagittal plane, once for the midline and once for about 30 mm beside it; positions in between blend
the two. It is there so that sagittal slices look like heads, and is no atlas.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from rekon.data.phantom.grids import Floats
from rekon.data.phantom.shapes import inside, polygon
from rekon.data.phantom.tissue import INDEX, NAMES

STEP = 1.5  # mm
Y = np.arange(-140, 140, STEP)  # posterior to anterior
Z = np.arange(-230, 60, STEP)  # inferior to superior

PROFILE = [  # skin in the midline
    (70, 40), (81, 20), (84, 2), (83, -18), (80, -30), (86, -42), (97, -60), (102, -68), (95, -74), (86, -77),
    (92, -86), (91, -92), (87, -96), (90, -103), (86, -110), (88, -122), (82, -133), (64, -138), (42, -140),
    (34, -150), (33, -175), (37, -200), (40, -229), (-88, -229), (-85, -190), (-78, -160), (-78, -130), (-88, -100),
    (-95, -70), (-90, -40), (0, 20),
]  # fmt: skip
Box = tuple[float, float, float, float]  # y, z of an ellipse's centre, its semi-axes


def _ellipse(box: Box, tilt: float = 0.0) -> np.ndarray:
    y, z = Y[:, None] - box[0], Z[None, :] - box[1]
    c, s = np.cos(np.deg2rad(tilt)), np.sin(np.deg2rad(tilt))
    return ((c * y + s * z) / box[2]) ** 2 + ((c * z - s * y) / box[3]) ** 2 < 1


def _spine(z: np.ndarray | float) -> np.ndarray:
    """y of the cervical cord: from the medulla down, with the neck's forward curve."""
    return np.asarray(-44 + 6 * np.sin((-np.asarray(z) - 70) / 45) - 0.03 * (np.asarray(z) + 70))


def _outline() -> np.ndarray:
    """Signed distance (y, z) in mm from the profile."""
    mask = polygon(PROFILE, Y, Z)
    mask[:, 0] = mask[:, 1]
    outside = ndimage.distance_transform_edt(~np.pad(mask, ((0, 0), (1, 0)), mode="edge"))[:, 1:]
    within = ndimage.distance_transform_edt(np.pad(mask, ((0, 0), (40, 0)), mode="edge"))[:, 40:]
    return (ndimage.gaussian_filter(outside - within, 1.0) * STEP).astype(np.float32)


def _midline() -> np.ndarray:
    """Tissue index (y, z) in the median plane."""
    air, bone, marrow, muscle = -1, INDEX["bone"], INDEX["marrow"], INDEX["muscle"]
    mucosa, fat, csf, white = INDEX["mucosa"], INDEX["fat"], INDEX["csf"], INDEX["white"]
    label = np.full((len(Y), len(Z)), muscle)
    yy, zz = np.broadcast_arrays(Y[:, None], Z[None, :])
    cord = _spine(zz)
    behind = (yy < cord - 14) & (zz < -75)
    planes = np.sin(zz / 14 + yy / 7 + 1.5 * np.sin(zz / 21))
    label[behind & (np.abs(planes) < 0.13)] = fat  # between the neck muscles
    label[_ellipse((-62, -86, 10, 9))] = fat
    # face: nasal cavity with turbinates, palate, tongue, jaws
    label[_ellipse((63, -49, 27, 20))] = mucosa
    for box in ((64, -40, 22, 4), (66, -52, 23, 3.5), (68, -62, 21, 2.5), (30, -45, 8, 9)):
        label[_ellipse(box)] = air
    label[_ellipse((24, -33, 11, 8))] = mucosa
    label[_ellipse((24, -33, 9.5, 6.5))] = air  # sphenoid sinus
    label[_ellipse((72, -4, 7, 13), -8)] = bone
    label[_ellipse((72, -5, 4.5, 10), -8)] = air  # frontal sinus
    label[_ellipse((62, -69, 26, 3.5))] = bone  # hard palate
    label[_ellipse((80, -76, 7, 7))] = bone
    label[_ellipse((80, -75, 5, 5))] = marrow
    label[_ellipse((34, -74, 13, 3.5), 30)] = mucosa  # soft palate
    label[_ellipse((56, -99, 27, 22))] = muscle  # tongue
    septum = _ellipse((54, -103, 20, 13)) & (np.abs(np.sin(np.arctan2(zz + 126, yy - 80) * 7)) < 0.13)
    label[septum] = fat  # planes that fan out from the mandible
    label[_ellipse((60, -77, 21, 2.0))] = air
    label[_ellipse((74, -116, 9, 13), -12)] = bone  # mandible
    label[_ellipse((74, -116, 6.5, 10.5), -12)] = marrow
    label[_ellipse((83, -86, 3.2, 8))] = bone  # teeth: no signal
    label[_ellipse((46, -126, 16, 6))] = fat
    # pharynx, larynx, trachea
    airway = 17 + 0.06 * (zz + 60) + 5 * np.exp(-(((zz + 140) / 12) ** 2))
    label[(np.abs(yy - airway - 5) < 11) & (zz < -55)] = mucosa
    label[(np.abs(yy - airway - 6) < 5 + 2 * (zz < -150)) & (zz < -48)] = air
    label[_ellipse((30, -122, 3, 11), -25)] = mucosa  # epiglottis
    # skull base: clivus, occiput
    label[_ellipse((-4, -55, 24, 8), -52)] = bone
    label[_ellipse((-4, -55, 21, 5.5), -52)] = marrow
    # cervical spine: vertebral bodies with discs, canal, cord, spinous processes
    front = cord + 20
    label[(np.abs(yy - front) < 10.5) & (zz < -82)] = bone
    level = np.mod(-zz - 112, 19.0)
    label[(np.abs(yy - front) < 8.5) & (zz < -112) & (level > 4)] = marrow
    label[(np.abs(yy - front) < 8.5) & (zz < -112) & (level < 3)] = INDEX["cartilage"]
    label[_ellipse((-30 + 2, -98, 6.5, 15))] = marrow  # axis and its dens
    label[_ellipse((-16, -84, 3.5, 5))] = marrow  # arch of the atlas
    spinous = (yy < cord - 9) & (yy > cord - 34) & (zz < -92) & (np.mod(-zz - 96 - 0.35 * (cord - yy), 19.0) < 7.5)
    label[spinous] = marrow
    label[(np.abs(yy - cord) < 8.0) & (zz < -66)] = csf
    label[(np.abs(yy - cord + 0.5) < 5.0) & (zz < -60)] = white
    return label


def _lateral() -> np.ndarray:
    """Tissue index (y, z) about 30 mm beside the median plane."""
    bone, fat, mucosa, muscle = INDEX["bone"], INDEX["fat"], INDEX["mucosa"], INDEX["muscle"]
    label = np.full((len(Y), len(Z)), muscle)
    yy, zz = np.broadcast_arrays(Y[:, None], Z[None, :])
    planes = np.sin(yy / 6.5 + 1.8 * np.sin(zz / 19) + zz / 40) + 0.5 * np.sin(zz / 7 - yy / 11)
    label[(np.abs(planes) < 0.09) & (zz < -60)] = fat
    label[_ellipse((52, -33, 27, 17))] = fat  # orbit
    label[_ellipse((66, -33, 12.5, 12))] = INDEX["fluid"]  # eye
    label[_ellipse((73, -33, 2.5, 5))] = muscle  # lens
    label[_ellipse((40, -33, 16, 2.2))] = INDEX["white"]  # optic nerve
    label[_ellipse((40, -24, 18, 2.5), 8)] = muscle
    label[_ellipse((40, -42, 18, 2.5), -8)] = muscle
    label[_ellipse((55, -66, 16, 14))] = mucosa
    label[_ellipse((55, -66, 14, 12.5))] = -1  # maxillary sinus
    label[_ellipse((60, -88, 22, 5))] = bone
    label[_ellipse((60, -118, 22, 8), -8)] = bone
    label[_ellipse((60, -118, 20, 5), -8)] = INDEX["marrow"]
    label[_ellipse((-15, -50, 22, 9))] = bone  # petrous bone
    label[_ellipse((-12, -50, 10, 4))] = -1
    return label


class Face:
    """The drawing, ready to be sampled. Costs about 20 ms, so only slices that need it make one."""

    def __init__(self) -> None:
        self.outline = _outline()
        self.sheets: list[tuple[list[int], Floats]] = []
        for label in (_midline(), _lateral()):
            present = sorted(set(np.unique(label)) - {-1})
            images = [ndimage.gaussian_filter((label == i).astype(np.float32), 0.45) for i in present]
            self.sheets.append((present, np.stack(images, axis=-1)))

    def distance(self, points: Floats) -> Floats:
        """Signed distance (n) in mm of points (n, 3) from the skin of face and neck."""
        flat = self._sample(self.outline, points)
        z = points[:, 2]
        # half width: neck 58, jaw and cheeks 66; what sticks out in front (nose, chin) is narrow
        wide = 66 - 8 * np.clip((-z - 110) / 40, 0, 1) - np.clip(points[:, 1] - 20, 0, None) ** 2 / 120
        lateral = np.abs(points[:, 0]) - np.clip(wide, 14, None)
        return np.maximum(flat, lateral).astype(np.float32)

    def tissues(self, points: Floats) -> Floats:
        """Fractions (tissue, n) at points (n, 3) that lie deeper than the subcutaneous fat; air has none."""
        x = np.abs(points[:, 0])
        out = np.zeros((len(NAMES), len(points)), np.float32)
        middle = inside((x - 17).astype(np.float32), 5.0)
        for (present, images), weight in zip(self.sheets, (middle, 1 - middle), strict=True):
            out[present] += weight * self._sample(images, points).T
        return out

    @staticmethod
    def _sample(image: np.ndarray, points: Floats) -> Floats:
        """Bilinear interpolation of `image` (y, z) or (y, z, channel) at points (n, 3): (n) or (n, channel)."""
        a = np.clip((points[:, 1] - Y[0]) / STEP, 0, len(Y) - 1.001).astype(np.float32)
        b = np.clip((points[:, 2] - Z[0]) / STEP, 0, len(Z) - 1.001).astype(np.float32)
        i, j = a.astype(np.intp), b.astype(np.intp)
        a, b = a - i, b - j
        if image.ndim == 3:
            a, b = a[:, None], b[:, None]
        upper = image[i, j] * (1 - b) + image[i, j + 1] * b
        return upper * (1 - a) + (image[i + 1, j] * (1 - b) + image[i + 1, j + 1] * b) * a
