"""Every raw matrix of the papers onto 320 x 320, as UEPS does it, and back for evaluation."""

import numpy as np
import pytest
import torch
from samples import head, make_dataset

from rekon.data.fitting import fit_kspace, plan
from rekon.data.slices import SliceSet
from rekon.data.summarise import summarise
from rekon.data.volume import write_volume
from rekon.physics.fft import fft2c, ifft2c

SIZE = (320, 320)
# fastMRI brain and knee, Stanford, CC-359 axial and sagittal, AHEAD, M4Raw
MATRICES = [
    (320, 320), (320, 264), (396, 396), (320, 372), (320, 640), (256, 218), (218, 170), (218, 180), (290, 216),
    (256, 256), (128, 96),
]  # fmt: skip


def by_hand(image: np.ndarray) -> np.ndarray:
    """Centre crop to at most 320, then mirror outwards without the edge pixel, half on either side."""
    for axis in (-2, -1):
        n = image.shape[axis]
        if n > 320:
            image = np.take(image, range((n - 320) // 2, (n - 320) // 2 + 320), axis)
        missing = 320 - image.shape[axis]
        before = [(0, 0)] * image.ndim
        before[axis] = (missing // 2, missing - missing // 2)
        image = np.pad(image, before, mode="reflect")
    return image


@pytest.mark.parametrize("raw", MATRICES)
def test_the_image_is_cropped_or_mirrored_to_320(raw):
    kspace = head(1, 2, *raw)[0]
    fitted = fit_kspace(kspace, plan(raw, SIZE, "crop"))
    wanted = by_hand(ifft2c(kspace))
    assert fitted.shape == (2, *SIZE) and fitted.dtype == np.complex64
    np.testing.assert_allclose(ifft2c(fitted), wanted, atol=2e-5 * np.abs(wanted).max())
    np.testing.assert_allclose(fitted, fft2c(wanted), atol=2e-5 * np.abs(fitted).max())


@pytest.mark.parametrize("raw", MATRICES)
def test_evaluation_takes_the_raw_pixels_back(raw):
    """What the box cuts out is the raw image, or its centre where it was larger: no mirrored pixel is ever scored."""
    kspace = head(1, 1, *raw)[0]
    fitting = plan(raw, SIZE, "crop")
    top, bottom, left, right = fitting.box
    image = ifft2c(kspace)
    rows, columns = min(raw[0], 320), min(raw[1], 320)
    y, x = (raw[0] - rows) // 2, (raw[1] - columns) // 2
    back = ifft2c(fit_kspace(kspace, fitting))[:, top:bottom, left:right]
    np.testing.assert_allclose(back, image[:, y : y + rows, x : x + columns], atol=2e-5 * np.abs(image).max())


@pytest.fixture
def slices(tmp_path):
    """Volumes of 4, 16 and 28 coils and of three matrices, one with a black border."""
    paths = []
    for number, (coils, raw) in enumerate([(4, (256, 256)), (16, (320, 264)), (28, (218, 170))]):
        kspace = head(1, coils, *raw, seed=number)
        if number == 0:
            image = ifft2c(kspace)
            image[..., :20, :] = image[..., -30:] = 0
            kspace = fft2c(image)
        paths.append(tmp_path / f"v{number}.h5")
        write_volume(paths[-1], kspace, attrs={"patient_id": f"p{number}", "acquisition": "AXT1"})
    summarise("set", "test", make_dataset(fit="crop"), paths, tmp_path / "m.json")
    return SliceSet(tmp_path / "m.json", SIZE)


def test_slices_of_any_set_are_of_one_size_and_scored_without_their_border(slices):
    shapes = [tuple(slices.item(i).kspace.shape) for i in range(3)]
    assert shapes == [(4, *SIZE), (16, *SIZE), (28, *SIZE)]
    assert [slices.item(i).raw_shape for i in range(3)] == [(256, 256), (320, 264), (218, 170)]
    sizes = [(b - t, r - left) for t, b, left, r in (slices.item(i).crop_box for i in range(3))]
    assert sizes == [(236, 226), (320, 264), (218, 170)]  # the first without what was black


def test_training_sees_at_most_24_coils_and_the_target_of_these(slices):
    for index, coils in enumerate((4, 16, 24)):
        example = slices.training(index, seed=1, step=3, position=0, max_coils=24)
        assert len(example.kspace) == coils
        rss = ifft2c(example.kspace).abs().square().sum(0).sqrt()
        torch.testing.assert_close(example.target, rss, rtol=1e-4, atol=1e-4 * float(rss.max()))
    assert len(slices.item(2).kspace) == 28, "evaluation sees all"
