"""Randomness as a pure function of (seed, purpose, step, index).

No generator is ever carried along, so nothing about random numbers has to be saved, and neither a restart nor
another number of workers changes a draw.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def key(seed: int, purpose: str, step: int = 0, index: int = 0) -> int:
    """128-bit integer that names one stream; distinct arguments give (practically) independent streams."""
    text = f"{seed}/{purpose}/{step}/{index}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:16], "little")


def generator(seed: int, purpose: str, step: int = 0, index: int = 0) -> np.random.Generator:
    """NumPy generator of one stream (Philox, counter-based)."""
    return np.random.Generator(np.random.Philox(key=key(seed, purpose, step, index)))


def torch_generator(
    seed: int, purpose: str, step: int = 0, index: int = 0, device: str | torch.device = "cpu"
) -> torch.Generator:
    """PyTorch generator of one stream, on `device`."""
    import torch

    return torch.Generator(device=device).manual_seed(key(seed, purpose, step, index) % (2**63))
