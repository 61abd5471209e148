"""The costs of a run's network, measured on tensors without memory (torch's meta device): nothing is computed.

Operations are counted by torch's own counter while the network runs forwards and back: convolutions and matrix
products. Fourier transforms, norms, activations and the optimiser's step are not counted. Activations are what autograd
keeps for the way back, every block of memory once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from rekon.config import Recipe
from rekon.estimate.cost import NOTHING, Cost, Linear, Recipes
from rekon.estimate.probes import Probe, probe


def measure(recipe: Recipe, recipes: Recipes) -> Cost:
    """The costs of a run's network and its training. recipes: of all runs, among them its parents.

    Raises UserError where the network cannot be built from the recipe.
    """
    with torch.device("meta"):
        found = probe(recipe, recipes)
    trained = sum(p.numel() for p in _tensors(found.trained) if p.requires_grad)
    counts = (1, 2) if found.by_coil else (1,)
    steps = [_step(found, coils) for coils in counts]
    forward = _use(found.use, counts)
    validate = forward if found.validate is found.use else _use(found.validate, counts)
    return Cost(
        parameters=trained,
        held=sum(t.numel() for t in _tensors([*found.trained, *found.held])) - trained,
        published=sum(t.numel() for module in found.published for t in module.state_dict().values()),
        train=_linear([flops for flops, _ in steps]),
        forward=forward,
        validate=validate,
        activations=_linear([kept for _, kept in steps]),
        guided=Linear(_counted(found.guided)) if found.guided else NOTHING,
        encode=Linear(_counted(found.encode)) if found.encode else NOTHING,
    )


def _linear(values: list[float]) -> Linear:
    """From values with one coil and with two; from a single one where coils make no difference."""
    return Linear(values[0]) if len(values) == 1 else Linear(2 * values[0] - values[1], values[1] - values[0])


def _step(found: Probe, coils: int) -> tuple[float, float]:
    """Operations of a training step, and the bytes that autograd holds at most at a time, but for the networks' own."""
    kept = _Kept({_place(t) for t in _tensors([*found.trained, *found.held])})
    with kept.watched():
        flops = _counted(partial(found.step, coils))
    return flops, float(kept.most)


def _counted(run: Callable[[], Any]) -> float:
    with _weightless(), FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())


@contextmanager
def _weightless() -> Iterator[None]:
    """Tensors without memory; everything in float32, as autocast knows no such device."""
    with torch.device("meta"), _Fused(), patch.object(torch, "autocast", lambda *args, **kwargs: nullcontext()):
        yield


def _use(run: Callable[[int], Any], counts: tuple[int, ...]) -> Linear:
    """Operations without a way back."""
    values = []
    for coils in counts:
        with torch.no_grad():
            values.append(_counted(partial(run, coils)))
    return _linear(values)


def _tensors(modules: list[nn.Module]) -> list[Tensor]:
    """Parameters and buffers of some networks, each once."""
    return list({id(t): t for module in modules for t in (*module.parameters(), *module.buffers())}.values())


class _Kept:
    """Blocks of memory that saved tensors hold: how much at a time, and at most."""

    def __init__(self, own: set[int]) -> None:
        self.own, self.count = own, dict[int, int]()
        self.now = self.most = 0

    @contextmanager
    def watched(self) -> Iterator[None]:
        with torch.autograd.graph.saved_tensors_hooks(lambda t: _Saved(t, self), lambda saved: saved.tensor):
            yield

    def add(self, place: int, size: int) -> None:
        if place not in self.own:
            self.count[place] = self.count.get(place, 0) + 1
            if self.count[place] == 1:
                self.now += size
                self.most = max(self.most, self.now)

    def remove(self, place: int, size: int) -> None:
        if place not in self.own:
            self.count[place] -= 1
            if not self.count[place]:
                del self.count[place]
                self.now -= size


class _Saved:
    """A saved tensor, which tells when it is let go."""

    def __init__(self, tensor: Tensor, kept: _Kept) -> None:
        self.tensor, self.kept = tensor, kept
        self.place, self.size = _place(tensor), tensor.untyped_storage().nbytes()
        kept.add(self.place, self.size)

    def __del__(self) -> None:
        self.kept.remove(self.place, self.size)


def _place(tensor: Tensor) -> int:
    """What names a tensor's block of memory, as long as the tensor is held."""
    return tensor.untyped_storage()._cdata


class _Fused(TorchFunctionMode):
    """Attention as the fused kernels of a GPU do it: the scores are never kept, and computed again on the way back."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is scaled_dot_product_attention:
            return _Attention.apply(*args[:3])
        return func(*args, **(kwargs or {}))


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = (q @ k.transpose(-2, -1)) @ v
        ctx.save_for_backward(q, k, v, out)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        q, k, v, _ = ctx.saved_tensors
        scores = q @ k.transpose(-2, -1)
        by_scores = gradient @ v.transpose(-2, -1)
        return by_scores @ k, by_scores.transpose(-2, -1) @ q, scores.transpose(-2, -1) @ gradient
