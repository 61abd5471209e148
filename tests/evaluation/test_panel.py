"""Panels survive the disk and damaged files are named."""

import numpy as np
import pytest

from rekon.errors import UserError
from rekon.evaluation.metrics import Score
from rekon.evaluation.panel import Panel, panel_key, read_panels, write_panels


def panel(**changes) -> Panel:
    image = np.arange(12, dtype=np.float32).reshape(3, 4)
    return Panel(
        **{"volume": "v1", "slice": 3, "reconstruction": image, "zero_filled": image + 1, "data_range": 2.5} | changes
    )


@pytest.mark.parametrize("scored", [True, False])
def test_round_trip(tmp_path, scored):
    extra = {"target": np.ones((3, 4), np.float32), "score": Score(30.0, 0.9, 0.01, 0.1)} if scored else {}
    written = panel(**extra)
    write_panels(tmp_path / "p.npz", {"radial-R32": written, "es-x-R32": panel(slice=4)})
    panels = read_panels(tmp_path / "p.npz")
    assert list(panels) == ["radial-R32", "es-x-R32"] and panels["es-x-R32"].slice == 4  # in the order written
    back = panels["radial-R32"]
    assert (back.volume, back.slice, back.data_range, back.score) == ("v1", 3, 2.5, written.score)
    np.testing.assert_array_equal(back.reconstruction, written.reconstruction)
    assert (back.target is None) == (not scored)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p.npz"]


def test_keys_name_pattern_and_acceleration():
    assert panel_key("es-x", 32) == "es-x-R32" and panel_key("as acquired", None) == "as-acquired"


def test_equal_panels_give_equal_bytes(tmp_path):
    for name in ("a.npz", "b.npz"):
        write_panels(tmp_path / name, {"es-x-R4": panel()})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_damaged_missing_and_foreign_files_are_named(tmp_path):
    write_panels(tmp_path / "p.npz", {"es-x-R4": panel()})
    (tmp_path / "cut.npz").write_bytes((tmp_path / "p.npz").read_bytes()[:100])
    np.savez(tmp_path / "other.npz", x=np.ones(3))
    np.savez(tmp_path / "none.npz")
    np.savez(tmp_path / "objects.npz", volume=np.array({"a": 1}, dtype=object))
    for name in ("cut.npz", "other.npz", "none.npz", "absent.npz", "objects.npz"):
        with pytest.raises(UserError, match=name):
            read_panels(tmp_path / name)
