"""Scoring a reconstructor on a fake data set."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from rekon.classical.zero_filled import ZeroFilled
from rekon.config import EvaluationSettings, ExactMaskSettings, MaskSettings
from rekon.errors import UserError
from rekon.evaluation.metrics import score
from rekon.evaluation.reconstructor import Reconstructor, Scan
from rekon.evaluation.score import COLUMNS, Sampling, evaluate
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


class Perfect(Reconstructor):
    """Knows the answer; notes what it was given."""

    name, needs_maps = "perfect", False

    def __init__(self, data):
        self.data, self.calls, self.scans = data, [], []

    def prepare(self, scan):
        assert len(self.scans) == len(self.calls)  # one before each call
        self.scans.append(scan)

    def __call__(self, kspace, mask, maps=None):
        self.calls.append((kspace, mask, maps))
        scored = max(len(self.calls) - 2, 0)  # the first call warms up
        return self.data.items[scored].target


def run(reconstructor, data, mask=MASK, settings=None, **options):
    return evaluate(
        reconstructor,
        data,
        [Sampling(MaskSettings(), lambda example: mask)],
        settings or EvaluationSettings(),
        dataset="set",
        **options,
    )


def by_slice(example):
    """A mask of both axes that differs from slice to slice."""
    return np.random.default_rng(example.slice).random((H, W)) < 0.25


TWO = [
    Sampling(ExactMaskSettings(pattern="es-x", acceleration=4), lambda example: np.arange(W) % 4 == 0),
    Sampling(ExactMaskSettings(pattern="gaussian", acceleration=8), by_slice),
]


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
    assert tuple(row[["psnr", "ssim", "nmse", "nrmse"]]) == pytest.approx(
        score(data.items[0].target.numpy(), image, 4.0)
    )


def test_the_method_sees_only_measured_samples_and_no_uncounted_call_but_the_first():
    data = FakeSet([example(i) for i in range(3)])
    method = Perfect(data)
    rows = run(method, data).rows
    assert len(method.calls) == 4
    for kspace, mask, maps in method.calls:
        assert maps is None and torch.equal(mask, torch.from_numpy(MASK))
        assert torch.count_nonzero(kspace[..., ~torch.from_numpy(MASK)]) == 0
    assert rows["psnr"].tolist() == [float("inf")] * 3


class Together(ZeroFilled):
    """Takes several slices at once."""

    batch, warms_up = 4, False

    def __init__(self):
        self.sizes = []

    def many(self, kspace, mask, maps, scans):
        assert len(scans) == len(kspace)
        self.sizes.append(len(kspace))
        return super().many(kspace, mask, maps, scans)


def test_slices_come_together_as_far_as_mask_and_coils_agree():
    """Six slices of three coils, then two of five: batches of four, two and two, and the rows of single calls."""
    wide = [fft2c(torch.randn(5, H, W, dtype=torch.complex64)) for _ in range(2)]
    items = [example(i) for i in range(6)]
    items += [example(6 + i, kspace=one, target=rss(ifft2c(one), 0)) for i, one in enumerate(wide)]
    method = Together()
    rows, panels = run(method, FakeSet(items))
    assert method.sizes == [4, 2, 2]
    alone, panels_alone = run(ZeroFilled(), FakeSet(items))
    assert rows.drop(columns="milliseconds").equals(alone.drop(columns="milliseconds"))
    for name, panel in panels.items():
        np.testing.assert_array_equal(panel.reconstruction, panels_alone[name].reconstruction)


def test_with_maps_the_number_of_coils_does_not_part_slices():
    """Coils that are not there come as zeros, with maps of zeros."""
    kspaces = [fft2c(torch.randn(coils, H, W, dtype=torch.complex64)) for coils in (3, 5)]
    items = [example(i, kspace=one, target=rss(ifft2c(one), 0)) for i, one in enumerate(kspaces)]
    seen = []

    class Mapped(Together):
        needs_maps = True

        def many(self, kspace, mask, maps, scans):
            seen.append((kspace, maps))
            return super().many(kspace, mask, maps, scans)

    rows, _ = run(Mapped(), FakeSet(items), maps=lambda example: torch.ones_like(example.kspace))
    (kspace, maps), *others = seen
    assert not others and kspace.shape == maps.shape == (2, 5, H, W)
    assert not kspace[0, 3:].any() and not maps[0, 3:].any() and maps[0, :3].all() and maps[1].all()
    alone, _ = run(ZeroFilled(), FakeSet(items))
    assert rows["psnr"].tolist() == pytest.approx(alone["psnr"].tolist()) and rows["coils"].tolist() == [3, 5]


def test_masks_of_their_own_are_not_mixed():
    method = Together()
    evaluate(method, FakeSet([example(i) for i in range(6)]), TWO, EvaluationSettings(), dataset="set")
    assert method.sizes == [4, 2, 1, 1, 1, 1, 1, 1]


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
    rows, panels = run(ZeroFilled(), data, settings=EvaluationSettings(crop=crop))
    panel = panels["equispaced-R4"]
    assert panel.target.shape == panel.reconstruction.shape == panel.zero_filled.shape == shape
    if crop == "raw":
        np.testing.assert_array_equal(panel.target, data.items[0].target[2:22, 6:24])
    assert rows["psnr"][0] == pytest.approx(score(panel.target, panel.reconstruction, 4.0).psnr)


def test_data_range_per_slice_or_volume():
    data = FakeSet([example(0, data_range=100.0)])
    by_volume, by_slice = (
        run(ZeroFilled(), data, settings=EvaluationSettings(data_range=name)).rows["psnr"][0]
        for name in ("volume", "slice")
    )
    assert by_volume - by_slice == pytest.approx(20 * np.log10(100.0 / float(data.items[0].target.max())))


def test_prospective_sets_are_reconstructed_but_not_scored():
    own = torch.rand(H, W, generator=torch.Generator().manual_seed(0)) > 0.5
    full = example(0)
    data = FakeSet([example(0, kspace=full.kspace * own, target=None, mask=own)])
    rows, panels = run(ZeroFilled(), data)
    panel = panels["as-acquired"]
    assert rows[["psnr", "ssim", "nmse", "nrmse"]].isna().all(axis=None)
    assert rows["reason"][0].startswith("no reference") and rows["pattern"][0] == "as acquired"
    assert rows["effective_acceleration"][0] == pytest.approx(H * W / int(own.sum()))
    assert panel.target is None and panel.score is None and panel.reconstruction.shape == (H, W)


def test_several_samplings_give_rows_and_a_panel_each():
    data = FakeSet([example(i) for i in range(4)])
    seen = []
    rows, panels = evaluate(
        ZeroFilled(), data, TWO, EvaluationSettings(), dataset="set", progress=lambda *now: seen.append(now)
    )
    assert rows["pattern"].tolist() == ["es-x"] * 4 + ["gaussian"] * 4
    assert rows["acceleration"].tolist() == [4] * 4 + [8] * 4
    assert rows["slice"].tolist() == [0, 1, 2, 0] * 2
    assert list(panels) == ["es-x-R4", "gaussian-R8"] and seen == [(n, 8) for n in range(1, 9)]
    for number in range(4):
        example_ = data.items[number]
        image = rss(ifft2c(example_.kspace * torch.from_numpy(by_slice(example_))), 0).numpy()
        assert rows["psnr"][4 + number] == pytest.approx(score(example_.target.numpy(), image, 4.0).psnr)
        assert rows["effective_acceleration"][4 + number] == pytest.approx(H * W / by_slice(example_).sum())
    assert [panels[key].score.psnr for key in panels] == [rows["psnr"][1], rows["psnr"][5]]


def test_slices_as_acquired_are_reconstructed_once_whatever_the_samplings():
    own = torch.arange(W) % 2 == 0
    data = FakeSet([example(0, target=None, mask=own), example(1)])
    rows, panels = evaluate(ZeroFilled(), data, TWO, EvaluationSettings(), dataset="set", panel_index=0)
    assert rows["pattern"].tolist() == ["as acquired", "es-x", "gaussian"]
    assert rows["acceleration"].isna().tolist() == [True, False, False]
    assert list(panels) == ["as-acquired"]


def test_methods_are_told_the_scan_before_every_call_and_their_note_stands_in_the_rows():
    data = FakeSet([example(0)])
    method = Perfect(data)
    method.note = "a phrase"
    rows = evaluate(method, data, TWO[:1], EvaluationSettings(), dataset="set").rows
    assert method.scans == [Scan("set", "v0", "s0", "T1", 0, "es-x", 4)] * 2  # uncounted and counted
    assert rows["note"].tolist() == ["a phrase"]


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
    rows, panels = run(ZeroFilled(), data)
    panel = panels["equispaced-R4"]
    assert (panel.volume, panel.slice) == ("v0", 1)
    assert panel.score.psnr == rows["psnr"][1]
    np.testing.assert_array_equal(panel.reconstruction, panel.zero_filled)
    assert run(ZeroFilled(), data, panel_index=5).panels["equispaced-R4"].volume == "v1"


def test_perceptual_metrics_that_cannot_be_had_are_empty_with_the_reason():
    data = FakeSet([example(0), example(1, target=torch.zeros(H, W), data_range=0.0)])
    asked = EvaluationSettings(perceptual=("dists", "lpips_alex"))
    rows = run(ZeroFilled(), data, settings=asked, backbones={}).rows
    assert rows[["lpips_alex", "lpips_vgg", "dists"]].isna().all(axis=None)
    missing = "dists: pretrained vgg16 and dists not there; lpips_alex: pretrained alexnet and lpips-alex not there"
    assert rows["perceptual_reason"].tolist() == [missing, ""]  # the second row's `reason` speaks for all its metrics
    assert rows["psnr"].notna().tolist() == [True, False]
    assert set(run(ZeroFilled(), data).rows["perceptual_reason"]) == {""}  # not asked for


def test_perceptual_metrics_are_those_of_the_scored_pixels(monkeypatch):
    seen = []

    class Fake:
        def __init__(self, metrics, backbones, device):
            assert metrics == ("lpips_alex",) and list(backbones) == ["alexnet"]

        def __call__(self, target, picture, full_scale):
            seen.append((target.shape, picture.shape, full_scale))
            return {"lpips_alex": 0.25}, "a reason"

    monkeypatch.setattr("rekon.evaluation.score.Perceptual", Fake)
    data = FakeSet([example(0, crop_box=(2, 22, 6, 24))])
    settings = EvaluationSettings(perceptual=("lpips_alex",))
    rows = run(ZeroFilled(), data, settings=settings, backbones={"alexnet": "file"}).rows
    assert seen == [((20, 18), (20, 18), 4.0)]
    assert rows["lpips_alex"].tolist() == [0.25] and rows["perceptual_reason"].tolist() == ["a reason"]
    assert rows["dists"].isna().all()


@pytest.mark.parametrize(
    ("data", "mask", "word"),
    [([], MASK, "no slices"), ([example(0)], MASK[:-2], "shape"), ([example(0)], np.zeros(W, bool), "nothing")],
)
def test_bad_input_is_named(data, mask, word):
    with pytest.raises(UserError, match=word):
        run(ZeroFilled(), FakeSet(data), mask)
