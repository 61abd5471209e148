"""How metrics are shown: name, unit, factor from the stored value, decimals, direction."""

from __future__ import annotations

import math
from typing import NamedTuple


class Shown(NamedTuple):
    """A metric as tables and figures show it."""

    name: str
    unit: str
    factor: float  # shown = stored * factor
    decimals: int
    higher_is_better: bool

    @property
    def label(self) -> str:
        return f"{self.name} ({self.unit})" if self.unit else self.name

    @property
    def points(self) -> str:
        """Unit of differences: of values in per cent they are points."""
        return "points" if self.unit == "%" else self.unit

    @property
    def arrow(self) -> str:
        return "↑" if self.higher_is_better else "↓"

    def text(self, value: float | None, *, sign: bool = False) -> str:
        """A value that is already in the shown unit; "–" for none."""
        if value is None or math.isnan(value):
            return "–"
        if math.isinf(value):
            return "∞"
        # a rounded zero has no sign
        number = f"{value:{'+' if sign else ''}.{self.decimals}f}"
        return number.replace("-", "−") if float(number) else f"{0:.{self.decimals}f}"


METRICS = {
    "psnr": Shown("PSNR", "dB", 1.0, 2, True),
    "ssim": Shown("SSIM", "%", 100.0, 2, True),
    "nmse": Shown("NMSE", "%", 100.0, 2, False),
    "nrmse": Shown("NRMSE", "%", 100.0, 2, False),
    "lpips_alex": Shown("LPIPS (Alex)", "", 1.0, 3, False),
    "lpips_vgg": Shown("LPIPS (VGG)", "", 1.0, 3, False),
    "dists": Shown("DISTS", "", 1.0, 3, False),
    "milliseconds": Shown("Runtime", "ms", 1.0, 2, False),
}
