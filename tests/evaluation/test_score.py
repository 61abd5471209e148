"""Scoring a reconstructor on a fake data set."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from rekon.classical.zero_filled import ZeroFilled
from rekon.config import EvaluationSettings, MaskSettings
from rekon.errors import UserError
from rekon.evaluation.metrics import score
from rekon.evaluation.score import COLUMNS, evaluate
from rekon.physics.coils import rss
from rekon.physics.fft import fft2c, ifft2c

H, W = 24, 32
MASK = np.arange(W) % 3 == 0


@dataclass
class FakeExample:
    volume: str
    subject: str
    slice: int
    kspace: torch.Tensor
    target: torch.Tensor | None
    data_range: float
    contrast: str = "T1"
    crop_box: tuple[int, int, int, int] = (0, H, 0, W)
    mask: torch.Tensor | None = None


@dataclass
class FakeSet:
    items: list[FakeExample]

    def __len__(self):
        return len(self.items)

    def item(self, index):
        return self.items[index]


def example(index: int, **changes) -> FakeExample:
    random = torch.Generator().manual_seed(index)
    kspace = fft2c(torch.randn(3, H, W, dtype=torch.complex64, generator=random))
    values = {"volume": f"v{index // 3}", "subject": f"s{index // 3}", "slice": index % 3}
    return FakeExample(**values | {"kspace": kspace, "target": rss(ifft2c(kspace), 0), "data_range": 4.0} | changes)


class Perfect:
    """Knows the answer; notes what it was given."""

    name, needs_maps = "perfect", False

    def __init__(self, data):
        self.data, self.calls = data, []

    def __call__(self, kspace, mask, maps=None):
        self.calls.append((kspace, mask, maps))
        scored = max(len(self.calls) - 2, 0)  # the first call warms up
        return self.data.items[scored].target


def run(reconstructor, data, mask=MASK, settings=None, **options):
    return evaluate(
        reconstructor,
        data,
        mask,
        settings or EvaluationSettings(),
        dataset="set",
        mask_settings=MaskSettings(),
        **options,
    )


def test_rows_and_their_order():
    data = FakeSet([example(i) for i in range(6)])
    rows = run(ZeroFilled(), data).rows
    assert list(rows.columns) == COLUMNS
    assert list(zip(rows["volume"], rows["slice"], strict=True)) == [(e.volume, e.slice) for e in data.items]
    assert set(rows["coils"]) == {3} and set(rows["reason"]) == {""} and set(rows["dataset"]) == {"set"}
    assert rows["effective_acceleration"].tolist() == pytest.approx([W / MASK.sum()] * 6)
    assert (rows["milliseconds"] > 0).all()


def test_metrics_are_those_of_the_masked_reconstruction():
    data = FakeSet([example(0)])
    row = run(ZeroFilled(), data).rows.iloc[0]
    image = rss(ifft2c(data.items[0].kspace * torch.from_numpy(MASK)), 0).numpy()
    assert tuple(row[["psnr", "ssim", "nmse"]]) == pytest.approx(score(data.items[0].target.numpy(), image, 4.0))


def test_the_method_sees_only_measured_samples_and_no_uncounted_call_but_the_first():
    data = FakeSet([example(i) for i in range(3)])
    method = Perfect(data)
    rows = run(method, data).rows
    assert len(method.calls) == 4
    for kspace, mask, maps in method.calls:
        assert maps is None and torch.equal(mask, torch.from_numpy(MASK))
        assert torch.count_nonzero(kspace[..., ~torch.from_numpy(MASK)]) == 0
    assert rows["psnr"].tolist() == [float("inf")] * 3


def test_maps_reach_the_method_that_needs_them():
    data = FakeSet([example(0)])
    method = Perfect(data)
    method.needs_maps = True
    with pytest.raises(UserError, match="maps"):
        run(method, data)
    run(method, data, maps=lambda e: torch.full_like(e.kspace, 2))
    assert all(maps is not None and maps.shape == (3, H, W) for *_, maps in method.calls)


@pytest.mark.parametrize(("crop", "shape"), [("raw", (20, 18)), ("none", (H, W))])
def test_crop_scores_the_acquired_image_alone(crop, shape):
    data = FakeSet([example(0, crop_box=(2, 22, 6, 24))])
    rows, panel = run(ZeroFilled(), data, settings=EvaluationSettings(crop=crop))
    assert panel.target.shape == panel.reconstruction.shape == panel.zero_filled.shape == shape
    if crop == "raw":
        np.testing.assert_array_equal(panel.target, data.items[0].target[2:22, 6:24])
    assert rows["psnr"][0] == pytest.approx(score(panel.target, panel.reconstruction, 4.0).psnr)


def test_data_range_per_slice_or_volume():
    data = FakeSet([example(0, data_range=100.0)])
    volume, by_slice = (
        run(ZeroFilled(), data, settings=EvaluationSettings(data_range=name)).rows["psnr"][0]
        for name in ("volume", "slice")
    )
    assert volume - by_slice == pytest.approx(20 * np.log10(100.0 / float(data.items[0].target.max())))


def test_prospective_sets_are_reconstructed_but_not_scored():
    own = torch.rand(H, W, generator=torch.Generator().manual_seed(0)) > 0.5
    full = example(0)
    data = FakeSet([example(0, kspace=full.kspace * own, target=None, mask=own)])
    rows, panel = run(ZeroFilled(), data)
    assert rows[["psnr", "ssim", "nmse"]].isna().all(axis=None)
    assert rows["reason"][0].startswith("no reference") and rows["pattern"][0] == "as acquired"
    assert rows["effective_acceleration"][0] == pytest.approx(H * W / int(own.sum()))
    assert panel.target is None and panel.score is None and panel.reconstruction.shape == (H, W)


def test_an_empty_slice_has_a_reason_and_no_number():
    zero = torch.zeros(3, H, W, dtype=torch.complex64)
    data = FakeSet([example(0), example(1, kspace=zero, target=torch.zeros(H, W), data_range=0.0)])
    rows = run(ZeroFilled(), data).rows
    assert rows["reason"].tolist() == ["", "empty slice: the reference is zero"] and rows["psnr"].notna().tolist() == [
        True,
        False,
    ]


def test_the_panel_is_the_middle_of_the_first_volume_and_agrees_with_its_row():
    data = FakeSet([example(i) for i in range(6)])
    rows, panel = run(ZeroFilled(), data)
    assert (panel.volume, panel.slice) == ("v0", 1)
    assert panel.score.psnr == rows["psnr"][1]
    np.testing.assert_array_equal(panel.reconstruction, panel.zero_filled)
    assert run(ZeroFilled(), data, panel_index=5).panel.volume == "v1"


@pytest.mark.parametrize(
    ("data", "mask", "word"),
    [([], MASK, "no slices"), ([example(0)], MASK[:-2], "shape"), ([example(0)], np.zeros(W, bool), "nothing")],
)
def test_bad_input_is_named(data, mask, word):
    with pytest.raises(UserError, match=word):
        run(ZeroFilled(), FakeSet(data), mask)
