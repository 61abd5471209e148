"""What the demo has to reach. Reads the results of `make demo`; skipped where it has not run."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results" / "demo"
RUNGS = ("e2e-varnet", "ue-unet", "ue-vit", "uep-vit", "ueps")

pytestmark = [
    pytest.mark.workflow,
    pytest.mark.skipif(not (ROOT / "reports/index.html").exists() or not RESULTS.exists(), reason="run `make demo`"),
]


def psnr(run: str) -> float:
    import pandas as pd

    return float(pd.read_csv(RESULTS / run / "sim-fastmri-brain.csv")["psnr"].mean())


@pytest.mark.parametrize("rung", RUNGS)
def test_every_learned_rung_beats_zero_filled_by_two_decibels(rung):
    assert psnr(f"ueps/{rung}") >= psnr("classical/zero-filled") + 2.0


def test_the_report_is_one_file_that_needs_no_network():
    page = (ROOT / "reports/index.html").read_text(encoding="utf-8")
    assert len(page) < 2**20
    assert "sim-fastmri-brain" in page and "Table 2" in page
    for needle in ('src="http', "src='http", 'href="http://fonts', "<link rel", "@import"):
        assert needle not in page
