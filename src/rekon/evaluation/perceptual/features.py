"""AlexNet and VGG16 up to their last convolution, under the names of torchvision's published weights.

AlexNet: Krizhevsky, arXiv 1404.5997 (one tower); VGG16: Simonyan and Zisserman, arXiv 1409.1556. Layers are numbered
as in torchvision's `features`, so that a layer's weights are `features.<number>.weight` and `.bias`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from rekon import safetensors
from rekon.errors import UserError


class Taps(nn.Module):
    """Outputs of some layers of a network whose weights come from a file and stay as they are.

    channels: number of a tapped layer -> its channels; smallest: pixels a side for which the last one has a pixel.
    """

    def __init__(self, layers: nn.Sequential, channels: Mapping[int, int], smallest: int, weights: Path) -> None:
        super().__init__()
        self.features, self.taps = layers, tuple(channels)
        self.channels, self.smallest = tuple(channels.values()), smallest
        own = self.state_dict()
        self.load_state_dict(read(weights, {name: tuple(tensor.shape) for name, tensor in own.items()}))
        self.eval().requires_grad_(False)

    def forward(self, image: Tensor) -> list[Tensor]:
        """image: float32 (batch, 3, H, W), normalised as the network expects. Returns (batch, channels, h, w) per tap.

        Gradients reach the image, not the weights.
        """
        found = []
        for number, layer in enumerate(self.features):
            image = layer(image)
            if number in self.taps:
                found.append(image)
        return found


class MaxPool(nn.Module):
    """Maximum over windows of `side` x `side` pixels, every second one, as nn.MaxPool2d(side, 2).

    Written with slices because the gradient of the library's has no deterministic form on a GPU.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, image: Tensor) -> Tensor:
        """image: (batch, channels, H, W)"""
        rows, columns = (2 * ((n - self.side) // 2) + 1 for n in image.shape[-2:])
        window = range(self.side)
        return torch.stack([image[..., i : i + rows : 2, j : j + columns : 2] for i in window for j in window]).amax(0)


def alexnet(weights: Path) -> Taps:
    """Layers 0 to 11, tapped at the ReLU of each convolution."""
    layers = nn.Sequential(
        _convolution(3, 64, 11, stride=4, padding=2), nn.ReLU(), MaxPool(3),
        _convolution(64, 192, 5, padding=2), nn.ReLU(), MaxPool(3),
        _convolution(192, 384, 3, padding=1), nn.ReLU(),
        _convolution(384, 256, 3, padding=1), nn.ReLU(),
        _convolution(256, 256, 3, padding=1), nn.ReLU(),
    )  # fmt: skip
    return Taps(layers, {1: 64, 4: 192, 7: 384, 9: 256, 11: 256}, 31, weights)


def vgg16(weights: Path, pool: Callable[[int], nn.Module] = lambda channels: MaxPool(2)) -> Taps:
    """Layers 0 to 29, tapped at ReLU 1_2, 2_2, 3_3, 4_3, 5_3. pool: what stands for the pooling of so many channels."""
    layers: list[nn.Module] = []
    before = 3
    for stage, (channels, convolutions) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))):
        if stage:
            layers.append(pool(before))
        for _ in range(convolutions):
            layers += [_convolution(before, channels, 3, padding=1), nn.ReLU()]
            before = channels
    return Taps(nn.Sequential(*layers), {3: 64, 8: 128, 15: 256, 22: 512, 29: 512}, 16, weights)


def read(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Tensors of a safetensors file, float32, by name; the file may hold more.

    Raises UserError naming the file and the tensor that is missing or has another shape.
    """
    tensors, _ = safetensors.read(path)
    for name, shape in shapes.items():
        found = tuple(tensors[name].shape) if name in tensors else None
        if found != shape:
            problem = "is missing" if found is None else f"is {found}, not {shape}"
            raise UserError(f"{path}: tensor {name!r} {problem}; fetch the file again with 'rekon fetch-backbone'.")
    return {name: tensors[name].float() for name in shapes}


def _convolution(before: int, after: int, side: int, stride: int = 1, padding: int = 0) -> nn.Module:
    # no first weights: they would cost time, and draws from the generator that training has seeded
    return nn.utils.skip_init(nn.Conv2d, before, after, side, stride=stride, padding=padding)
