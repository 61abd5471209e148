"""Panels survive the disk and damaged files are named."""

import numpy as np
import pytest

from rekon.errors import UserError
from rekon.evaluation.metrics import Score
from rekon.evaluation.panel import Panel, read_panel, write_panel


def panel(**changes) -> Panel:
    image = np.arange(12, dtype=np.float32).reshape(3, 4)
    return Panel(
        **{"volume": "v1", "slice": 3, "reconstruction": image, "zero_filled": image + 1, "data_range": 2.5} | changes
    )


@pytest.mark.parametrize("scored", [True, False])
def test_round_trip(tmp_path, scored):
    extra = {"target": np.ones((3, 4), np.float32), "score": Score(30.0, 0.9, 0.01)} if scored else {}
    written = panel(**extra)
    write_panel(tmp_path / "p.npz", written)
    back = read_panel(tmp_path / "p.npz")
    assert (back.volume, back.slice, back.data_range, back.score) == ("v1", 3, 2.5, written.score)
    np.testing.assert_array_equal(back.reconstruction, written.reconstruction)
    assert (back.target is None) == (not scored)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p.npz"]


def test_equal_panels_give_equal_bytes(tmp_path):
    for name in ("a.npz", "b.npz"):
        write_panel(tmp_path / name, panel())
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_damaged_missing_and_foreign_files_are_named(tmp_path):
    write_panel(tmp_path / "p.npz", panel())
    (tmp_path / "cut.npz").write_bytes((tmp_path / "p.npz").read_bytes()[:100])
    np.savez(tmp_path / "other.npz", x=np.ones(3))
    np.savez(tmp_path / "objects.npz", volume=np.array({"a": 1}, dtype=object))
    for name in ("cut.npz", "other.npz", "absent.npz", "objects.npz"):
        with pytest.raises(UserError, match=name):
            read_panel(tmp_path / name)
