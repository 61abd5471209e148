"""The perceptual metrics that a study asks for, on magnitude slices; where one cannot be had, why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rekon.config.backbones import PERCEPTUAL

if TYPE_CHECKING:
    import torch

    from rekon.evaluation.perceptual import DISTS, LPIPS


class Perceptual:
    """Metrics by name, loaded once.

    metrics: those asked for, keys of PERCEPTUAL; backbones: files of pretrained networks by name, as far as they are
    there. Raises UserError for a file that is damaged or of another network.
    """

    def __init__(
        self, metrics: Sequence[str], backbones: Mapping[str, Path], device: str | torch.device = "cpu"
    ) -> None:
        self.metrics = tuple(metrics)
        self.networks: dict[str, LPIPS | DISTS] = {}
        self.absent: dict[str, str] = {}
        self.device = device
        for metric in self.metrics:
            missing = [name for name in PERCEPTUAL[metric] if name not in backbones]
            if missing:
                self.absent[metric] = f"pretrained {' and '.join(missing)} not there"
            else:
                self.networks[metric] = _network(metric, *(backbones[name] for name in PERCEPTUAL[metric])).to(device)

    def __call__(self, target: np.ndarray, picture: np.ndarray, full_scale: float) -> tuple[dict[str, float], str]:
        """Metrics of one slice that could be had, and a sentence on those that could not ("" if none).

        target, picture: magnitude (h, w); full_scale: what becomes 1, > 0; brighter pixels count as 1. The single
        channel stands for all three that the networks expect.
        """
        import torch

        values, reasons = {}, dict(self.absent)
        with torch.inference_mode():
            images = [
                torch.from_numpy(np.clip(image / full_scale, 0, 1).astype(np.float32))
                .to(self.device)
                .expand(1, 3, -1, -1)
                for image in (target, picture)
            ]
            for metric, network in self.networks.items():
                if min(target.shape) < network.smallest:
                    size = " x ".join(map(str, target.shape))
                    reasons[metric] = f"an image of {size} is smaller than the {network.smallest} pixels needed"
                    continue
                inputs = images if metric == "dists" else [2 * image - 1 for image in images]
                values[metric] = float(network(*inputs))
        return values, "; ".join(f"{metric}: {reasons[metric]}" for metric in self.metrics if metric in reasons)


def _network(metric: str, backbone: Path, weights: Path) -> LPIPS | DISTS:
    from rekon.evaluation.perceptual import DISTS, LPIPS

    match metric:
        case "lpips_alex":
            return LPIPS("alex", backbone, weights)
        case "lpips_vgg":
            return LPIPS("vgg", backbone, weights)
        case _:
            return DISTS(backbone, weights)
